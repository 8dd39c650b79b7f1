/* SPDX-License-Identifier: Apache-2.0
 * params.c -- the store. */
#include "params.h"
#include "rng.h"
#include "safetensors.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

bool params_alloc(const Job *job, Slab *store, RtError *e) {
  return slab_alloc(store, job->store_bytes, "parameters", e);
}

int64_t param_elements(const JobParam *p) {
  int64_t n;
  if (!mem_product(p->dims, p->rank, &n)) fprintf(stderr, "runtime: extents of %s\n", p->path), abort();
  return n;
}

float *param_base(const JobParam *p, uint8_t *store, int which) {
  return (float *)(void *)(store + (which < 0 ? p->offset : p->state_offset[which]));
}

/* Calls for each run of the last axis: dense + start, storage + offset, length, stride. */
typedef struct ParamWalk {
  int64_t index[JOB_MAX_RANK], row, rows, length, stride;
} ParamWalk;

/* Rows from .. to, or as many as there are. */
static void walk_begin(ParamWalk *w, const JobParam *p, int64_t from, int64_t to) {
  *w = (ParamWalk){.length = p->rank ? p->dims[p->rank - 1] : 1,
                   .stride = p->rank ? p->strides[p->rank - 1] : 1};
  w->rows = w->length ? param_elements(p) / w->length : 0;
  if (w->rows > to) w->rows = to;
  w->row = from < w->rows ? from : w->rows;
}
static bool walk_next(ParamWalk *w, const JobParam *p, int64_t *offset) {
  if (w->row == w->rows) return false;
  *offset = 0;
  int64_t rest = w->row++;
  for (int32_t i = p->rank - 2; i >= 0; i--) {
    *offset += rest % p->dims[i] * p->strides[i];
    rest /= p->dims[i];
  }
  return true;
}

void param_read(const JobParam *p, const float *base, float *dense) {
  ParamWalk w;
  int64_t at;
  for (walk_begin(&w, p, 0, INT64_MAX); walk_next(&w, p, &at); dense += w.length) {
    if (w.stride == 1) memcpy(dense, base + at, (size_t)w.length * sizeof *dense);
    else
      for (int64_t i = 0; i < w.length; i++) dense[i] = base[at + i * w.stride];
  }
}

void param_write(const JobParam *p, float *base, const float *dense) {
  ParamWalk w;
  int64_t at;
  for (walk_begin(&w, p, 0, INT64_MAX); walk_next(&w, p, &at); dense += w.length) {
    if (w.stride == 1) memcpy(base + at, dense, (size_t)w.length * sizeof *dense);
    else
      for (int64_t i = 0; i < w.length; i++) base[at + i * w.stride] = dense[i];
  }
}

/* ---- initial values ---- */
static void init_words(const uint32_t w[4], const JobParam *p, float out[4]) {
  if (p->init == JOB_INIT_UNIFORM) {
    for (int i = 0; i < 4; i++) out[i] = (float)(p->a + (p->b - p->a) * ((double)(w[i] >> 8) * 0x1p-24));
    return;
  }
  for (int i = 0; i < 4; i += 2) { /* u in (0, 1], so that the logarithm is finite */
    double radius = sqrt(-2 * log(((double)(w[i] >> 8) + 1) * 0x1p-24)),
           angle = 6.283185307179586 * ((double)(w[i + 1] >> 8) * 0x1p-24);
    out[i] = (float)(p->a + p->b * radius * cos(angle));
    out[i + 1] = (float)(p->a + p->b * radius * sin(angle));
  }
}

/* Elements first .. first + n in logical order. */
static void param_draw(const JobParam *p, uint64_t seed, int64_t first, int64_t n, float *out) {
  const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
  if (p->init == JOB_INIT_CONSTANT) {
    for (int64_t i = 0; i < n; i++) out[i] = (float)p->a;
    return;
  }
  for (int64_t done = 0; done < n;) {
    const uint64_t quad = (uint64_t)(first + done) / 4;
    const uint32_t counter[4] = {(uint32_t)quad, (uint32_t)(quad >> 32), (uint32_t)(p->stream >> 32), (uint32_t)p->stream};
    const int64_t skip = (first + done) % 4, m = n - done < 4 - skip ? n - done : 4 - skip;
    uint32_t words[4];
    float four[4];
    rng_philox(counter, key, words);
    init_words(words, p, four);
    memcpy(out + done, four + skip, (size_t)m * sizeof *out);
    done += m;
  }
}

static void param_draw_rows(const JobParam *p, uint64_t seed, uint8_t *store, int64_t from, int64_t to) {
  float *base = param_base(p, store, -1), block[256];
  ParamWalk w;
  int64_t at;
  for (walk_begin(&w, p, from, to); walk_next(&w, p, &at);) {
    const int64_t row = (w.row - 1) * w.length;
    if (w.stride == 1) {
      param_draw(p, seed, row, w.length, base + at);
      continue;
    }
    for (int64_t i = 0; i < w.length; i += 256) {
      const int64_t n = w.length - i < 256 ? w.length - i : 256;
      param_draw(p, seed, row + i, n, block);
      for (int64_t k = 0; k < n; k++) base[at + (i + k) * w.stride] = block[k];
    }
  }
}

#define DRAW_ELEMENTS 65536 /* of a piece, about: half a millisecond */
static int64_t rows_a_piece(const JobParam *p) {
  const int64_t length = p->rank && p->dims[p->rank - 1] ? p->dims[p->rank - 1] : 1;
  return length < DRAW_ELEMENTS ? DRAW_ELEMENTS / length : 1;
}
static int64_t pieces_of(const JobParam *p) {
  const int64_t length = p->rank ? p->dims[p->rank - 1] : 1, rows = length ? param_elements(p) / length : 0;
  return (rows + rows_a_piece(p) - 1) / rows_a_piece(p);
}

void draw_begin(ParamDraw *d, const Job *job, uint64_t seed, uint8_t *store) {
  d->job = job, d->seed = seed, d->store = store, d->n = 0;
  for (uint32_t i = 0; i < job->n_params; i++) d->n += pieces_of(&job->params[i]);
  atomic_init(&d->next, 0);
}

void draw_help(ParamDraw *d) {
  for (int64_t piece; (piece = atomic_fetch_add(&d->next, 1)) < d->n;) {
    const JobParam *p = d->job->params;
    for (int64_t n; piece >= (n = pieces_of(p)); p++) piece -= n;
    const int64_t rows = rows_a_piece(p);
    param_draw_rows(p, d->seed, d->store, piece * rows, (piece + 1) * rows);
  }
}

void params_init(const Job *job, uint64_t seed, uint8_t *store) {
  ParamDraw d;
  draw_begin(&d, job, seed, store);
  draw_help(&d);
}

static float *dense_alloc(int64_t n) {
  float *dense = mem_table((size_t)(n ? n : 1) * sizeof *dense);
  if (!dense) fprintf(stderr, "runtime: out of memory for %lld floats\n", (long long)n), abort();
  return dense;
}

static bool load_one(const JobParam *p, const StTensor *t, const char *path, uint8_t *store, RtError *e) {
  char why[512];
  bool fits = t && t->rank == p->rank;
  for (int32_t i = 0; fits && i < p->rank; i++) fits = t->dims[i] == p->dims[i];
  snprintf(why, sizeof why,
           !t      ? "parameter `%.400s` is missing"
           : !fits ? "parameter `%.400s` has another shape"
                   : "parameter `%.400s` is not F32",
           p->path);
  if (!t || !fits || strcmp(t->dtype, "F32") != 0) return rt_fail(e, RT_E0726, path, why);
  float *dense = dense_alloc(param_elements(p));
  memcpy(dense, t->data, t->bytes);
  param_write(p, param_base(p, store, -1), dense);
  mem_table_free(dense);
  return true;
}

bool params_load(const Job *job, const char *path, uint8_t *store, char *extra, size_t cap, RtError *e) {
  StFile f;
  if (!st_open(path, &f, e)) return false;
  bool ok = true;
  *extra = 0;
  for (uint32_t i = 0; ok && i < job->n_params; i++)
    ok = load_one(&job->params[i], st_find(&f, job->params[i].path), path, store, e);
  for (uint32_t t = 0; ok && t < f.n; t++) {
    bool taken = strchr(f.tensors[t].name, '#') != NULL; /* an optimizer state */
    for (uint32_t i = 0; i < job->n_params && !taken; i++)
      taken = !strcmp(job->params[i].path, f.tensors[t].name);
    if (!taken) snprintf(extra, cap, "%s", f.tensors[t].name);
  }
  st_close(&f);
  return ok;
}
