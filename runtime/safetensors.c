/* SPDX-License-Identifier: Apache-2.0
 * safetensors.c -- reader and writer. */
#include "safetensors.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

enum { ST_MAX_HEADER = 100000000 }; /* the reference implementation's own bound */

static int64_t st_dtype_size(const char *s) {
  static const struct {
    const char *name;
    int64_t size;
  } table[] = {{"F32", 4}, {"F64", 8}, {"F16", 2}, {"BF16", 2}, {"I64", 8}, {"I32", 4}, {"I16", 2},
               {"I8", 1},  {"U64", 8}, {"U32", 4}, {"U16", 2},  {"U8", 1},  {"BOOL", 1}};
  for (size_t i = 0; i < sizeof table / sizeof *table; i++)
    if (!strcmp(table[i].name, s)) return table[i].size;
  return 0;
}

/* One entry of the header: {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]} */
static const char *st_read_tensor(const char *name, json_t *o, size_t data_bytes, StTensor *t) {
  json_t *dtype = json_object_get(o, "dtype"), *shape = json_object_get(o, "shape"),
         *range = json_object_get(o, "data_offsets");
  if (!json_is_string(dtype) || !json_is_array(shape) || !json_is_array(range) || json_array_size(range) != 2)
    return "a tensor's entry lacks dtype, shape or data_offsets";
  int64_t size = st_dtype_size(json_string_value(dtype)), n;
  if (!size) return "a tensor has an unknown dtype";
  if (json_array_size(shape) > JOB_MAX_RANK) return "a tensor has more than 8 axes";
  *t = (StTensor){.name = name, .dtype = json_string_value(dtype), .rank = (int32_t)json_array_size(shape)};
  for (int32_t i = 0; i < t->rank; i++) {
    json_t *d = json_array_get(shape, (size_t)i);
    if (!json_is_integer(d) || json_integer_value(d) < 0) return "a tensor's shape is not made of counts";
    t->dims[i] = json_integer_value(d);
  }
  if (!mem_product(t->dims, t->rank, &n) || !mem_mul(n, size, &n)) return "a tensor's shape overflows";
  json_t *b = json_array_get(range, 0), *s = json_array_get(range, 1);
  if (!json_is_integer(b) || !json_is_integer(s)) return "data_offsets are not integers";
  int64_t begin = json_integer_value(b), stop = json_integer_value(s);
  if (begin < 0 || stop < begin || (uint64_t)stop > data_bytes) return "a tensor lies outside the file";
  if (stop - begin != n) return "a tensor's bytes do not match its shape";
  t->begin = (uint64_t)begin, t->bytes = (size_t)n;
  return NULL;
}

static int st_compare(const void *a, const void *b) {
  const StTensor *x = a, *y = b;
  if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
  return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

static const char *st_read_header(StFile *f) {
  const char *name;
  json_t *o;
  json_object_foreach(f->header, name, o) {
    if (!strcmp(name, "__metadata__")) {
      const char *key;
      json_t *v;
      if (!json_is_object(o)) return "__metadata__ is not an object";
      json_object_foreach(o, key,
                          v) if (!json_is_string(v)) return "__metadata__ holds something other than strings";
      continue;
    }
    const char *why = st_read_tensor(name, o, f->data_bytes, &f->tensors[f->n]);
    if (why) return why;
    f->tensors[f->n].data = f->data + f->tensors[f->n].begin;
    f->n++;
  }
  qsort(f->tensors, f->n, sizeof *f->tensors, st_compare);
  uint64_t at = 0;
  for (uint32_t i = 0; i < f->n; i++) {
    if (f->tensors[i].begin != at) return "tensors overlap or leave a hole";
    at += f->tensors[i].bytes;
  }
  return at == f->data_bytes ? NULL : "bytes are left over after the last tensor";
}

bool st_parse(const char *path, Slab *file, StFile *out, RtError *e) {
  *out = (StFile){.memory = *file};
  *file = (Slab){0};
  const Slab *m = &out->memory;
  uint64_t n = 0;
  const char *why = m->size < 8 ? "it ends inside the header" : NULL;
  for (int i = 0; !why && i < 8; i++) n |= (uint64_t)m->bytes[i] << (8 * i);
  if (!why && n > ST_MAX_HEADER) why = "its header is too long";
  if (!why && n > m->size - 8) why = "it ends inside the header";
  json_error_t error;
  char text[JSON_ERROR_TEXT_LENGTH + 40];
  if (!why) {
    out->data = m->bytes + 8 + n, out->data_bytes = m->size - 8 - (size_t)n;
    out->header = json_loadb((const char *)m->bytes + 8, (size_t)n, JSON_REJECT_DUPLICATES, &error);
    snprintf(text, sizeof text, "its header is not JSON: %s", out->header ? "" : error.text);
    if (!out->header) why = text;
    else if (!json_is_object(out->header)) why = "its header is not an object";
  }
  if (!why) {
    out->tensors = calloc(json_object_size(out->header) + 1, sizeof *out->tensors);
    why = out->tensors ? st_read_header(out) : "out of memory";
  }
  if (why) return rt_fail(e, RT_E0725, path, why), st_close(out), false;
  return true;
}

bool st_open(const char *path, StFile *out, RtError *e) {
  Slab file;
  *out = (StFile){0};
  return mem_read_raw(path, &file, e) && st_parse(path, &file, out, e);
}

void st_close(StFile *f) {
  json_decref(f->header);
  free(f->tensors);
  slab_free(&f->memory);
  *f = (StFile){0};
}

const StTensor *st_find(const StFile *f, const char *name) {
  for (uint32_t i = 0; i < f->n; i++)
    if (!strcmp(f->tensors[i].name, name)) return &f->tensors[i];
  return NULL;
}

const char *st_meta(const StFile *f, const char *key) {
  return json_string_value(json_object_get(json_object_get(f->header, "__metadata__"), key));
}

static int64_t st_out_elements(const StOut *t) {
  int64_t n;
  if (!mem_product(t->dims, t->rank, &n)) fprintf(stderr, "runtime: extents of %s\n", t->name), abort();
  return n;
}

uint64_t st_hash(const StOut *t, uint32_t n, StFill fill, void *user, float *scratch) {
  XXH64_state_t *state = XXH64_createState();
  if (!state) fprintf(stderr, "runtime: out of memory for a hash\n"), abort();
  XXH64_reset(state, 0);
  for (uint32_t i = 0; i < n; i++) {
    fill(user, i, scratch);
    XXH64_update(state, scratch, (size_t)st_out_elements(&t[i]) * sizeof *scratch);
  }
  uint64_t h = XXH64_digest(state);
  XXH64_freeState(state);
  return h;
}

/* Length field and header text, padded with blanks so that data begins at a multiple of 64. Caller frees. */
static char *st_header_text(const StOut *t, uint32_t n, json_t *meta, size_t *size) {
  json_t *o = json_object();
  uint64_t at = 0;
  if (meta) json_object_set(o, "__metadata__", meta);
  for (uint32_t i = 0; i < n; i++) {
    json_t *shape = json_array();
    for (int32_t k = 0; k < t[i].rank; k++) json_array_append_new(shape, json_integer(t[i].dims[k]));
    uint64_t stop = at + (uint64_t)st_out_elements(&t[i]) * 4;
    json_object_set_new(o, t[i].name,
                        json_pack("{s:s,s:o,s:[I,I]}", "dtype", "F32", "shape", shape, "data_offsets",
                                  (json_int_t)at, (json_int_t)stop));
    at = stop;
  }
  char *json = json_dumps(o, JSON_COMPACT);
  json_decref(o);
  if (!json) fprintf(stderr, "runtime: a tensor's name is not UTF-8\n"), abort();
  size_t text = strlen(json), padded = (text + 8 + 63) / 64 * 64 - 8;
  char *out = malloc(8 + padded);
  if (!out) fprintf(stderr, "runtime: out of memory for a header\n"), abort();
  for (int i = 0; i < 8; i++) out[i] = (char)((uint64_t)padded >> (8 * i) & 255);
  memcpy(out + 8, json, text);
  memset(out + 8 + text, ' ', padded - text);
  free(json);
  return *size = 8 + padded, out;
}

bool st_write(const char *path, const StOut *t, uint32_t n, StFill fill, void *user, float *scratch,
              json_t *meta, RtError *e) {
  size_t size;
  const bool device = mem_is_device(path);
  char *header = st_header_text(t, n, meta, &size), *temporary = mem_printf(device ? "%s" : "%s.tmp", path);
  int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  bool ok = fd >= 0 && mem_write_all(fd, header, size);
  for (uint32_t i = 0; ok && i < n; i++) {
    fill(user, i, scratch);
    ok = mem_write_all(fd, scratch, (size_t)st_out_elements(&t[i]) * sizeof *scratch);
  }
  ok = ok && (device || fsync(fd) == 0);
  int why = errno;
  if (fd >= 0 && close(fd) != 0 && ok) ok = false, why = errno;
  if (ok && !device && (rename(temporary, path) != 0 || !mem_sync_folder_of(path))) ok = false, why = errno;
  if (!ok) {
    if (fd >= 0 && !device) unlink(temporary);
    rt_fail(e, RT_E0720, path, strerror(why));
  }
  free(temporary), free(header);
  return ok;
}
