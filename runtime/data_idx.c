/* SPDX-License-Identifier: Apache-2.0
 * data_idx.c -- the IDX format of the MNIST files (http://yann.lecun.com/exdb/mnist): magic 00 00 TT RR, RR
 * big-endian 32-bit extents, then values, big-endian. */
#include "array.h"
#include <stdlib.h>
#include <string.h>

int64_t raw_size(RawType t) {
  switch (t) {
  case RAW_U8:
  case RAW_I8:
  case RAW_BOOL: return 1;
  case RAW_U16:
  case RAW_I16: return 2;
  case RAW_U32:
  case RAW_I32:
  case RAW_F32: return 4;
  case RAW_U64:
  case RAW_I64:
  case RAW_F64: return 8;
  }
  fprintf(stderr, "runtime: raw type %d\n", (int)t), abort();
}

void raw_free(RawArray *a) {
  slab_free(&a->memory);
  *a = (RawArray){0};
}

static bool idx_type(uint8_t code, RawType *out) {
  static const struct {
    uint8_t code;
    RawType type;
  } table[] = {{0x08, RAW_U8},  {0x09, RAW_I8},  {0x0B, RAW_I16},
               {0x0C, RAW_I32}, {0x0D, RAW_F32}, {0x0E, RAW_F64}};
  for (size_t i = 0; i < sizeof table / sizeof *table; i++)
    if (table[i].code == code) return *out = table[i].type, true;
  return false;
}

/* Big-endian values to native order, in place, at `p` (unaligned). */
static void idx_swap(uint8_t *p, int64_t n, int64_t size) {
  for (int64_t i = 0; i < n; i++, p += size)
    for (int64_t a = 0, b = size - 1; a < b; a++, b--) {
      uint8_t t = p[a];
      p[a] = p[b], p[b] = t;
    }
}

static bool idx_header(const char *path, const Slab *f, RawArray *out, size_t *header, RtError *e) {
  if (f->size < 4)
    return rt_fail(e, f->size ? RT_E0703 : RT_E0702, path, f->size ? "it ends inside the header" : "IDX",
                   "it is empty");
  const uint8_t *b = f->bytes;
  if (b[0] || b[1] || !idx_type(b[2], &out->type) || b[3] == 0)
    return rt_fail(e, RT_E0702, path, "IDX", "wrong magic number");
  if (b[3] > JOB_MAX_RANK) return rt_fail(e, RT_E0704, path, "more axes than 8");
  out->rank = b[3];
  *header = 4 + 4 * (size_t)out->rank;
  if (f->size < *header) return rt_fail(e, RT_E0703, path, "it ends inside the header");
  for (int32_t i = 0; i < out->rank; i++) {
    const uint8_t *d = b + 4 + 4 * i;
    out->dims[i] = (int64_t)d[0] << 24 | (int64_t)d[1] << 16 | (int64_t)d[2] << 8 | (int64_t)d[3];
  }
  return true;
}

bool idx_parse(const char *path, Slab *file, RawArray *out, RtError *e) {
  size_t header = 0;
  int64_t n, bytes;
  *out = (RawArray){.memory = *file};
  *file = (Slab){0};
  bool ok = idx_header(path, &out->memory, out, &header, e);
  if (ok && (!mem_product(out->dims, out->rank, &n) || !mem_mul(n, raw_size(out->type), &bytes)))
    ok = rt_fail(e, RT_E0702, path, "IDX", "its header asks for more than 2^63 bytes");
  if (ok && (uint64_t)bytes != out->memory.size - header) {
    char why[160];
    snprintf(why, sizeof why, "the header promises %lld bytes of values, the file has %lld", (long long)bytes,
             (long long)(out->memory.size - header));
    ok = rt_fail(e, RT_E0703, path, why);
  }
  if (!ok) return raw_free(out), false;
  if (raw_size(out->type) > 1) idx_swap(out->memory.bytes + header, n, raw_size(out->type));
  out->values = out->memory.bytes + header;
  return true;
}
