/* SPDX-License-Identifier: Apache-2.0
 * data_npy.c -- NPY (numpy/lib/format.py, versions 1 to 3) and NPZ, which is a zip archive of NPY files
 * (PKWARE APPNOTE: end record, central directory, local headers). */
#include "array.h"
#include <libdeflate.h>
#include <stdlib.h>
#include <string.h>

typedef struct NpyText {
  const char *p, *end;
} NpyText;

static void npy_blank(NpyText *t) {
  while (t->p < t->end && (*t->p == ' ' || *t->p == '\n' || *t->p == '\t')) t->p++;
}
static bool npy_eat(NpyText *t, char c) {
  npy_blank(t);
  return t->p < t->end && *t->p == c ? (t->p++, true) : false;
}
/* A quoted Python string without escapes, copied. */
static bool npy_string(NpyText *t, char *out, size_t cap) {
  npy_blank(t);
  if (t->p >= t->end || (*t->p != '\'' && *t->p != '"')) return false;
  char quote = *t->p++;
  size_t n = 0;
  for (; t->p < t->end && *t->p != quote; t->p++) {
    if (n + 1 >= cap) return false;
    out[n++] = *t->p;
  }
  out[n] = 0;
  return t->p < t->end ? (t->p++, true) : false;
}
static bool npy_word(NpyText *t, const char *word) {
  npy_blank(t);
  size_t n = strlen(word);
  return (size_t)(t->end - t->p) >= n && !memcmp(t->p, word, n) ? (t->p += n, true) : false;
}

/* "(3, 4)", "(3,)" or "()" */
static bool npy_shape(NpyText *t, int64_t *dims, int32_t *rank) {
  if (!npy_eat(t, '(')) return false;
  for (*rank = 0; !npy_eat(t, ')');) {
    int64_t n = 0;
    int digits = 0;
    npy_blank(t);
    for (; t->p < t->end && *t->p >= '0' && *t->p <= '9'; t->p++, digits++)
      if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, *t->p - '0', &n)) return false;
    if (!digits || *rank > JOB_MAX_RANK) return false;
    if (t->p < t->end && *t->p == 'L') t->p++; /* Python 2 wrote long extents so */
    dims[(*rank)++] = n;
    if (!npy_eat(t, ',')) return npy_eat(t, ')');
  }
  return true;
}

static bool npy_type(const char *descr, RawType *out) {
  static const struct {
    const char *name;
    RawType type;
  } table[] = {{"|u1", RAW_U8},  {"<u1", RAW_U8},  {"|i1", RAW_I8},  {"<i1", RAW_I8},  {"|b1", RAW_BOOL},
               {"<u2", RAW_U16}, {"<i2", RAW_I16}, {"<u4", RAW_U32}, {"<i4", RAW_I32}, {"<u8", RAW_U64},
               {"<i8", RAW_I64}, {"<f4", RAW_F32}, {"<f8", RAW_F64}};
  for (size_t i = 0; i < sizeof table / sizeof *table; i++)
    if (!strcmp(table[i].name, descr)) return *out = table[i].type, true;
  return false;
}

typedef struct NpyHeader {
  char descr[32];
  bool fortran, has_descr, has_order, has_shape;
} NpyHeader;

/* The header is a Python dictionary literal with just the three keys below. */
static bool npy_dictionary(NpyText *t, NpyHeader *h, RawArray *out) {
  if (!npy_eat(t, '{')) return false;
  while (!npy_eat(t, '}')) {
    char key[32];
    if (!npy_string(t, key, sizeof key) || !npy_eat(t, ':')) return false;
    if (!strcmp(key, "descr")) {
      npy_blank(t);
      if (t->p < t->end && *t->p == '[')
        return strcpy(h->descr, "a structured type"), h->has_descr = h->has_order = h->has_shape = true;
      if (!npy_string(t, h->descr, sizeof h->descr)) return false;
      h->has_descr = true;
    } else if (!strcmp(key, "fortran_order")) {
      h->fortran = npy_word(t, "True");
      if (!h->fortran && !npy_word(t, "False")) return false;
      h->has_order = true;
    } else if (!strcmp(key, "shape")) {
      if (!npy_shape(t, out->dims, &out->rank)) return false;
      h->has_shape = true;
    } else {
      return false;
    }
    if (!npy_eat(t, ',')) return npy_eat(t, '}') && h->has_descr && h->has_order && h->has_shape;
  }
  return h->has_descr && h->has_order && h->has_shape;
}

static bool npy_header(const char *path, const Slab *f, RawArray *out, size_t *start, RtError *e) {
  static const uint8_t magic[6] = {0x93, 'N', 'U', 'M', 'P', 'Y'};
  const uint8_t *b = f->bytes;
  if (f->size < 10 || memcmp(b, magic, 6) != 0)
    return rt_fail(e, RT_E0702, path, "NPY", f->size ? "wrong magic number" : "it is empty");
  if (b[6] < 1 || b[6] > 3) return rt_fail(e, RT_E0704, path, "an NPY version above 3");
  size_t lead = b[6] == 1 ? 10 : 12;
  if (f->size < lead) return rt_fail(e, RT_E0703, path, "it ends inside the header");
  size_t n = b[6] == 1 ? (size_t)(b[8] | b[9] << 8)
                       : (size_t)b[8] | (size_t)b[9] << 8 | (size_t)b[10] << 16 | (size_t)b[11] << 24;
  if (n > f->size - lead) return rt_fail(e, RT_E0703, path, "it ends inside the header");
  NpyText t = {(const char *)b + lead, (const char *)b + lead + n};
  NpyHeader h = {.fortran = false};
  if (!npy_dictionary(&t, &h, out)) return rt_fail(e, RT_E0702, path, "NPY", "its header cannot be read");
  if (h.descr[0] == '>')
    return rt_fail(e, RT_E0704, path, "big-endian values; save with astype(a.dtype.newbyteorder('<'))");
  if (!npy_type(h.descr, &out->type)) {
    char why[64];
    snprintf(why, sizeof why, "values of type %s", h.descr);
    return rt_fail(e, RT_E0704, path, why);
  }
  if (h.fortran && out->rank > 1)
    return rt_fail(e, RT_E0704, path, "Fortran order; save numpy.ascontiguousarray(a)");
  if (out->rank < 1) return rt_fail(e, RT_E0704, path, "a scalar: the first axis must count the data");
  *start = lead + n;
  return true;
}

bool npy_parse(const char *path, Slab *file, RawArray *out, RtError *e) {
  size_t start = 0;
  int64_t n, bytes;
  *out = (RawArray){.memory = *file};
  *file = (Slab){0};
  bool ok = npy_header(path, &out->memory, out, &start, e);
  if (ok && (!mem_product(out->dims, out->rank, &n) || !mem_mul(n, raw_size(out->type), &bytes)))
    ok = rt_fail(e, RT_E0702, path, "NPY", "its header asks for more than 2^63 bytes");
  if (ok && (uint64_t)bytes != out->memory.size - start) {
    char why[160];
    snprintf(why, sizeof why, "the header promises %lld bytes of values, the file has %lld", (long long)bytes,
             (long long)(out->memory.size - start));
    ok = rt_fail(e, RT_E0703, path, why);
  }
  if (!ok) return raw_free(out), false;
  out->values = out->memory.bytes + start;
  return true;
}

/* ---- zip
 * ------------------------------------------------------------------------------------------------------ */
static uint32_t zip_u16(const uint8_t *p) { return (uint32_t)p[0] | (uint32_t)p[1] << 8; }
static uint32_t zip_u32(const uint8_t *p) { return zip_u16(p) | zip_u16(p + 2) << 16; }

typedef struct ZipEntry {
  uint32_t flags, method, crc, packed, unpacked, offset;
} ZipEntry;

/* The end record is in the last 65557 bytes, searched backward. */
static bool zip_find_end(const Slab *f, size_t *at) {
  if (f->size < 22) return false;
  size_t lowest = f->size > 65557 ? f->size - 65557 : 0;
  for (size_t i = f->size - 22;; i--) {
    if (zip_u32(f->bytes + i) == 0x06054b50u && i + 22 + zip_u16(f->bytes + i + 20) <= f->size)
      return *at = i, true;
    if (i == lowest) return false;
  }
}

/* Looks `name`.npy up in the central directory. */
static bool zip_find(const char *path, const Slab *f, const char *name, ZipEntry *out, bool *found,
                     RtError *e) {
  size_t end;
  *found = false;
  if (f->size < 4 || zip_u16(f->bytes) != 0x4b50u)
    return rt_fail(e, RT_E0702, path, "NPZ", f->size ? "wrong magic number" : "it is empty");
  if (!zip_find_end(f, &end)) return rt_fail(e, RT_E0703, path, "the zip directory is missing");
  uint32_t count = zip_u16(f->bytes + end + 10);
  size_t size = zip_u32(f->bytes + end + 12), at = zip_u32(f->bytes + end + 16);
  if (count == 0xffff || size == 0xffffffffu || at == 0xffffffffu)
    return rt_fail(e, RT_E0704, path, "a zip64 archive");
  if (at > end || size > end - at)
    return rt_fail(e, RT_E0703, path, "the zip directory lies outside the file");
  size_t stop = at + size, want = strlen(name);
  for (uint32_t i = 0; i < count; i++) {
    const uint8_t *p = f->bytes + at;
    if (stop - at < 46 || zip_u32(p) != 0x02014b50u)
      return rt_fail(e, RT_E0703, path, "the zip directory is broken");
    size_t n_name = zip_u16(p + 28), whole = 46 + n_name + zip_u16(p + 30) + zip_u16(p + 32);
    if (stop - at < whole) return rt_fail(e, RT_E0703, path, "the zip directory is broken");
    if (n_name == want + 4 && !memcmp(p + 46, name, want) && !memcmp(p + 46 + want, ".npy", 4)) {
      *out = (ZipEntry){zip_u16(p + 8),  zip_u16(p + 10), zip_u32(p + 16),
                        zip_u32(p + 20), zip_u32(p + 24), zip_u32(p + 42)};
      return *found = true;
    }
    at += whole;
  }
  return true;
}

/* Exactly out->size bytes. */
static bool zip_inflate(const uint8_t *packed, uint32_t n, Slab *out) {
  struct libdeflate_decompressor *d = libdeflate_alloc_decompressor();
  const bool ok = d && libdeflate_deflate_decompress(d, packed, n, out->bytes, out->size, NULL) == LIBDEFLATE_SUCCESS;
  return libdeflate_free_decompressor(d), ok;
}

bool npz_parse(const char *path, const Slab *f, const char *name, RawArray *out, bool *found, RtError *e) {
  ZipEntry z = {0};
  *out = (RawArray){0};
  if (!zip_find(path, f, name, &z, found, e)) return false;
  if (!*found) return true;
  if (z.flags & 1) return rt_fail(e, RT_E0704, path, "an encrypted archive");
  if (z.packed == 0xffffffffu || z.unpacked == 0xffffffffu || z.offset == 0xffffffffu)
    return rt_fail(e, RT_E0704, path, "a zip64 archive");
  if (z.method != 0 && z.method != 8) return rt_fail(e, RT_E0704, path, "a compression other than deflate");
  if (f->size < 30 || z.offset > f->size - 30 || zip_u32(f->bytes + z.offset) != 0x04034b50u)
    return rt_fail(e, RT_E0703, path, "a zip entry lies outside the file");
  const uint8_t *local = f->bytes + z.offset;
  size_t start = (size_t)z.offset + 30 + zip_u16(local + 26) + zip_u16(local + 28);
  if (start > f->size || z.packed > f->size - start)
    return rt_fail(e, RT_E0703, path, "a zip entry ends outside the file");
  if ((z.method == 0 && z.packed != z.unpacked) || (uint64_t)z.unpacked > ((uint64_t)z.packed + 16) * 1032)
    return rt_fail(e, RT_E0703, path, "a zip entry claims an impossible size");
  Slab file;
  if (!slab_alloc(&file, z.unpacked, name, e)) return false;
  bool ok = true;
  if (z.method == 0) memcpy(file.bytes, f->bytes + start, z.unpacked);
  else ok = zip_inflate(f->bytes + start, z.packed, &file);
  if (!ok || libdeflate_crc32(0, file.bytes, file.size) != z.crc)
    return slab_free(&file), rt_fail(e, RT_E0703, path, "an array of it fails its checksum");
  return npy_parse(path, &file, out, e);
}
