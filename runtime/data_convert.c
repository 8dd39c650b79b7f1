/* SPDX-License-Identifier: Apache-2.0
 * data_convert.c -- from what a file holds to what compiled code reads. */
#include "data_read.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
  BLOCK = 512
}; /* values converted at a time, through double: exact for every type but 64-bit integers above 2^53 */

int64_t job_dtype_size(JobDtype t) {
  switch (t) {
  case JOB_F32:
  case JOB_I32: return 4;
  case JOB_F64: return 8;
  case JOB_U8:
  case JOB_BOOL: return 1;
  }
  fprintf(stderr, "runtime: dtype %d\n", (int)t), abort();
}

static const char *dtype_name(JobDtype t) {
  static const char *const names[] = {"?", "f32", "f64", "i32", "u8", "bool"};
  return names[t];
}

#define LOAD(type)                                                                                           \
  for (int64_t i = 0; i < n; i++) {                                                                          \
    type v;                                                                                                  \
    memcpy(&v, p + (size_t)i * sizeof v, sizeof v);                                                          \
    out[i] = (double)v;                                                                                      \
  }                                                                                                          \
  break

static void raw_load(RawType t, const uint8_t *p, int64_t n, double *out) {
  switch (t) {
  case RAW_U8:
  case RAW_BOOL: LOAD(uint8_t);
  case RAW_I8: LOAD(int8_t);
  case RAW_U16: LOAD(uint16_t);
  case RAW_I16: LOAD(int16_t);
  case RAW_U32: LOAD(uint32_t);
  case RAW_I32: LOAD(int32_t);
  case RAW_U64: LOAD(uint64_t);
  case RAW_I64: LOAD(int64_t);
  case RAW_F32: LOAD(float);
  case RAW_F64: LOAD(double);
  }
}

/* Index of the first value that t cannot hold exactly, or -1. Reals round to f32. */
static int64_t dtype_store(JobDtype t, const double *v, int64_t n, uint8_t *out) {
  static const double low[] = {0, 0, 0, INT32_MIN, 0, 0}, high[] = {0, 0, 0, INT32_MAX, 255, 1};
  if (t == JOB_F32) {
    for (int64_t i = 0; i < n; i++) ((float *)out)[i] = (float)v[i];
    return -1;
  }
  if (t == JOB_F64) return memcpy(out, v, (size_t)n * sizeof *v), -1;
  for (int64_t i = 0; i < n; i++)
    if (!(v[i] >= low[t] && v[i] <= high[t]) || v[i] != floor(v[i])) return i;
  for (int64_t i = 0; i < n; i++) {
    if (t == JOB_I32) ((int32_t *)out)[i] = (int32_t)v[i];
    else out[i] = (uint8_t)v[i];
  }
  return -1;
}

static void shape_print(char *out, size_t cap, const int64_t *dims, int32_t rank) {
  size_t n = 0;
  out[0] = 0;
  for (int32_t i = 0; i < rank && n < cap; i++)
    n += (size_t)snprintf(out + n, cap - n, "%s%lld", i ? ", " : "[", (long long)dims[i]);
  if (n < cap) snprintf(out + n, cap - n, rank ? "]" : "one value");
}

/* Equal but for axes of extent 1; a flat side fits any shape of the same size (csv has no other). */
static bool shape_fits(const JobColumn *c, const RawArray *raw) {
  int64_t want, have;
  if (!mem_product(c->dims, c->rank, &want) || !mem_product(raw->dims + 1, raw->rank - 1, &have) ||
      want != have)
    return false;
  if (c->rank <= 1 || raw->rank <= 2) return true;
  int32_t i = 0, j = 1;
  for (;;) {
    while (i < c->rank && c->dims[i] == 1) i++;
    while (j < raw->rank && raw->dims[j] == 1) j++;
    if (i == c->rank || j == raw->rank) return i == c->rank && j == raw->rank;
    if (c->dims[i++] != raw->dims[j++]) return false;
  }
}

static bool raw_is(RawType t, JobDtype d) {
  return (t == RAW_U8 && d == JOB_U8) || (t == RAW_F32 && d == JOB_F32) || (t == RAW_I32 && d == JOB_I32) ||
         (t == RAW_F64 && d == JOB_F64);
}

static bool range_check(const JobColumn *c, const double *v, int64_t n, int64_t first, int64_t per_datum,
                        const char *where, RtError *e) {
  for (int64_t i = 0; i < n; i++)
    if (!(v[i] >= c->lo && v[i] <= c->hi))
      return rt_fail_at(e, &c->span, RT_E0715, c->name, v[i], (long long)((first + i) / per_datum), where,
                        c->lo, c->hi);
  return true;
}

/* One pass in blocks: convert unless `same`, and check the range. */
static bool column_pass(const JobColumn *c, const RawArray *raw, int64_t n, int64_t per_datum, bool same,
                        uint8_t *out, const char *where, RtError *e) {
  double block[BLOCK];
  int64_t size = raw_size(raw->type), wide = job_dtype_size(c->dtype);
  for (int64_t i = 0; i < n; i += BLOCK) {
    int64_t m = n - i < BLOCK ? n - i : BLOCK, bad = -1;
    raw_load(raw->type, raw->values + i * size, m, block);
    if (c->has_range && !range_check(c, block, m, i, per_datum, where, e)) return false;
    if (!same) bad = dtype_store(c->dtype, block, m, out + i * wide);
    if (bad >= 0)
      return rt_fail_at(e, &c->span, RT_E0716, c->name, block[bad], (long long)((i + bad) / per_datum),
                        dtype_name(c->dtype));
  }
  return true;
}

bool column_convert(const JobColumn *c, RawArray *raw, const char *where, Slab *out, const void **base,
                    RtError *e) {
  *out = (Slab){0};
  if (!shape_fits(c, raw)) {
    char have[160], want[160];
    shape_print(have, sizeof have, raw->dims + 1, raw->rank - 1);
    shape_print(want, sizeof want, c->dims, c->rank);
    return rt_fail_at(e, &c->span, RT_E0713, c->name, have, want);
  }
  int64_t n, per_datum, wide = job_dtype_size(c->dtype), bytes;
  if (!mem_product(raw->dims, raw->rank, &n) || !mem_mul(n, wide, &bytes))
    return rt_fail(e, RT_E0719, 0LL, c->name);
  per_datum = raw->dims[0] ? n / raw->dims[0] : 1;
  bool same = raw_is(raw->type, c->dtype) && (uintptr_t)raw->values % (uintptr_t)wide == 0;
  if (!same && !slab_alloc(out, bytes, c->name, e)) return false;
  if ((!same || c->has_range) &&
      !column_pass(c, raw, n, per_datum ? per_datum : 1, same, out->bytes, where, e))
    return false;
  if (same) { /* the file's own memory becomes the column's */
    *out = raw->memory;
    *base = raw->values;
    *raw = (RawArray){0};
  } else {
    *base = out->bytes;
  }
  return true;
}
