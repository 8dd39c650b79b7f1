/* SPDX-License-Identifier: Apache-2.0
 * topk_sparsity.c -- built-in plugin: a penalty on all but the k largest units of each row. */
#include "route_plugin.h"
#include <math.h>
#include <string.h>

enum { LAMBDA, K, N_PARAMS };
static const RouteInput INPUTS[] = {{"x", "activations", ROUTE_REAL, 0}};
static const RouteParam PARAMS[] = {{"lambda", "strength", 1, 0, INFINITY, 0, 0},
                                    {"k", "units of each row that are free", NAN, 1, INFINITY, ROUTE_PARAM_INT, 0}};

typedef struct State {
  double lambda;
  size_t k;
} State;

static void *create(const RouteOp *self, const RouteHost *host, const double *params) {
  State *s = host->alloc(host->ctx, sizeof *s, sizeof(double));
  (void)self;
  if (s) *s = (State){params[LAMBDA], params[K] < 1e9 ? (size_t)params[K] : (size_t)1e9};
  else host->fail(host->ctx, "no memory");
  return s;
}

/* The magnitude of the k-th largest unit, and how many units of just this magnitude are among the k. What is larger
 * than `bound` is free, and the first `ties` that equal it. Rank by rank, without memory: the next smaller magnitude
 * each time. A row with a NaN has the bound infinity: nothing of it is free. */
typedef struct Free {
  float bound;
  size_t ties;
} Free;
static Free free_of(const float *x, size_t n, size_t k) {
  float bound = INFINITY;
  size_t above = 0;
  for (size_t c = 0; c < n; c++)
    if (isnan(x[c])) return (Free){INFINITY, 0};
  for (bool first = true;; first = false) {
    float next = -1;
    size_t count = 0;
    for (size_t c = 0; c < n; c++) {
      const float v = fabsf(x[c]);
      if (!first && !(v < bound)) continue;
      if (v > next) next = v, count = 1;
      else if (v == next) count++;
    }
    bound = next;
    if (above + count >= k) return (Free){bound, k - above};
    above += count;
  }
}

/* Does unit c stay free? Asked from left to right, so that the first of equal ones are taken. */
static bool is_free(Free *f, float x) {
  const float v = fabsf(x);
  return v > f->bound || (v == f->bound && f->ties && f->ties--);
}

static size_t acc_size(const void *state, const size_t *cols, size_t max_rows) {
  (void)state, (void)cols, (void)max_rows;
  return sizeof(double);
}

static void partial(const void *state, const RouteView *in, void *acc) {
  const State *s = state;
  for (size_t r = 0; r < in->rows && in->cols > s->k; r++) {
    const float *x = in->x + r * in->ld;
    Free f = free_of(x, in->cols, s->k);
    for (size_t c = 0; c < in->cols; c++)
      if (!is_free(&f, x[c])) *(double *)acc += fabs((double)x[c]);
  }
}

static void merge(const void *state, const size_t *cols, void *acc, const void *other) {
  (void)state, (void)cols;
  *(double *)acc += *(const double *)other;
}

static double finish(const void *state, const size_t *cols, size_t rows, void *acc) {
  (void)cols;
  return rows ? ((const State *)state)->lambda * *(double *)acc / (double)rows : 0;
}

static void grad(const void *state, const void *acc, size_t rows, const RouteView *in, float scale, float *const *dx,
                 const size_t *ldd) {
  const State *s = state;
  const float f = (float)(scale * s->lambda / (double)rows);
  (void)acc;
  for (size_t r = 0; dx[0] && r < in->rows && in->cols > s->k; r++) {
    const float *x = in->x + r * in->ld;
    Free free = free_of(x, in->cols, s->k);
    for (size_t c = 0; c < in->cols; c++)
      if (!is_free(&free, x[c])) dx[0][r * ldd[0] + c] += isnan(x[c]) ? x[c] : f * (float)((x[c] > 0) - (x[c] < 0));
  }
}
static const RouteReduce REDUCE = {sizeof(RouteReduce), 0, acc_size, partial, merge, finish, grad};

static const void *extension(const RouteOp *self, const char *id) {
  (void)self;
  return strcmp(id, ROUTE_EXT_REDUCE) == 0 ? &REDUCE : NULL;
}

static const RouteOp OP = {sizeof(RouteOp),
                           ROUTE_REGULARIZER,
                           "topk_sparsity",
                           "absolute values of all but the k largest units of each row, mean over rows\n"
                           "Formula: lambda mean_rows sum |x| over the units that are not among the k of largest "
                           "|x|; of equal ones the first are\n"
                           "Gradient: lambda sign(x) / rows outside of the k largest, 0 at them; NaN at a NaN\n"
                           "Source: Makhzani and Frey 2014 (k-sparse), as a penalty\n"
                           "Use: to have k units carry each datum without making those smaller, as l1 does. 0 where "
                           "there are no more than k units.",
                           INPUTS,
                           PARAMS,
                           1,
                           N_PARAMS,
                           sizeof(RouteInput),
                           sizeof(RouteParam),
                           create,
                           extension};
static const RouteOp *const OPS[] = {&OP, NULL};
static const RoutePlugin PLUGIN = {sizeof(RoutePlugin), ROUTE_ABI_INIT, "topk_sparsity", "1.0.0", "Apache-2.0", OPS};

ROUTE_EXPORT const RoutePlugin *ROUTE_PLUGIN_ENTRY(void) { return &PLUGIN; }
