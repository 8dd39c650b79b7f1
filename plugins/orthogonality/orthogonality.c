/* SPDX-License-Identifier: Apache-2.0
 * orthogonality.c -- built-in plugin: how far the rows of a matrix are from orthonormal, and the units of two tensors
 * from orthogonal over the batch. */
#include "route_plugin.h"
#include <math.h>
#include <string.h>

enum { LAMBDA, OFF_DIAGONAL };
static const RouteInput W[] = {{"w", "matrix [out, in], as the weight of a layer is", ROUTE_REAL, 0}};
static const RouteInput AB[] = {{"a", "units", ROUTE_REAL, 0}, {"b", "other units of the same data", ROUTE_REAL, 0}};
static const RouteParam PARAMS[] = {{"lambda", "strength", 1, 0, INFINITY, 0, 0},
                                    {"off_diagonal",
                                     "1: rows need only be orthogonal to each other; 0: of length 1 too", 0, 0, 1,
                                     ROUTE_PARAM_INT, 0}};

typedef struct State {
  double lambda;
  bool off_diagonal;
} State;

static void *create(const RouteOp *self, const RouteHost *host, const double *params) {
  State *s = host->alloc(host->ctx, sizeof *s, sizeof(double));
  if (s) *s = (State){params[LAMBDA], self->n_params > OFF_DIAGONAL && params[OFF_DIAGONAL] != 0};
  else host->fail(host->ctx, "no memory");
  return s;
}

/* ---- one matrix ---- */
/* |W W'|^2 = |W' W|^2, which is a sum over rows. acc: W' W [cols, cols], then the sums over rows of |w|^4 and (|w|^2
 * - 1)^2. */
static size_t rows_acc_size(const void *state, const size_t *cols, size_t max_rows) {
  (void)state, (void)max_rows;
  return sizeof(double) * (cols[0] * cols[0] + 2);
}

static double row_norm2(const float *w, size_t n) {
  double sum = 0;
  for (size_t i = 0; i < n; i++) sum += (double)w[i] * w[i];
  return sum;
}

static void rows_partial(const void *state, const RouteView *in, void *acc) {
  const size_t n = in->cols;
  double *gram = acc, *diagonal = gram + n * n;
  (void)state;
  for (size_t r = 0; r < in->rows; r++) {
    const float *w = in->x + r * in->ld;
    const double norm2 = row_norm2(w, n);
    for (size_t i = 0; i < n; i++)
      for (size_t j = 0; j < n; j++) gram[i * n + j] += (double)w[i] * w[j];
    diagonal[0] += norm2 * norm2;
    diagonal[1] += (norm2 - 1) * (norm2 - 1);
  }
}

static void rows_merge(const void *state, const size_t *cols, void *acc, const void *other) {
  double *a = acc;
  const double *b = other;
  (void)state;
  for (size_t i = 0; i < cols[0] * cols[0] + 2; i++) a[i] += b[i];
}

static double rows_finish(const void *state, const size_t *cols, size_t rows, void *acc) {
  const State *s = state;
  const size_t n = cols[0] * cols[0];
  const double *gram = acc;
  double sum = 0;
  (void)rows;
  for (size_t i = 0; i < n; i++) sum += gram[i] * gram[i];
  sum -= gram[n];
  return s->lambda * (s->off_diagonal ? sum : sum + gram[n + 1]);
}

/* 4 lambda (W' W w - |w|^2 w), and 4 lambda (|w|^2 - 1) w */
static void rows_grad(const void *state, const void *acc, size_t rows, const RouteView *in, float scale,
                      float *const *dx, const size_t *ldd) {
  const State *s = state;
  const size_t n = in->cols;
  const double *gram = acc;
  (void)rows;
  for (size_t r = 0; dx[0] && r < in->rows; r++) {
    const float *w = in->x + r * in->ld;
    const double own = s->off_diagonal ? -row_norm2(w, n) : -1;
    for (size_t i = 0; i < n; i++) {
      double d = own * w[i];
      for (size_t j = 0; j < n; j++) d += gram[i * n + j] * w[j];
      dx[0][r * ldd[0] + i] += (float)(scale * 4 * s->lambda * d);
    }
  }
}
static const RouteReduce ROWS = {sizeof(RouteReduce), 0,           rows_acc_size, rows_partial,
                                 rows_merge,          rows_finish, rows_grad};

/* ---- two tensors over the batch ---- */
/* acc: A' B [units of a, units of b]; when finished: / rows */
static size_t between_acc_size(const void *state, const size_t *cols, size_t max_rows) {
  (void)state, (void)max_rows;
  return sizeof(double) * cols[0] * cols[1];
}

static void between_partial(const void *state, const RouteView *in, void *acc) {
  double *product = acc;
  (void)state;
  for (size_t r = 0; r < in[0].rows; r++)
    for (size_t i = 0; i < in[0].cols; i++)
      for (size_t j = 0; j < in[1].cols; j++)
        product[i * in[1].cols + j] += (double)in[0].x[r * in[0].ld + i] * in[1].x[r * in[1].ld + j];
}

static void between_merge(const void *state, const size_t *cols, void *acc, const void *other) {
  double *a = acc;
  const double *b = other;
  (void)state;
  for (size_t i = 0; i < cols[0] * cols[1]; i++) a[i] += b[i];
}

static double between_finish(const void *state, const size_t *cols, size_t rows, void *acc) {
  double *product = acc, sum = 0;
  if (!rows) return 0;
  for (size_t i = 0; i < cols[0] * cols[1]; i++) {
    product[i] /= (double)rows;
    sum += product[i] * product[i];
  }
  return ((const State *)state)->lambda * sum;
}

static void between_grad(const void *state, const void *acc, size_t rows, const RouteView *in, float scale,
                         float *const *dx, const size_t *ldd) {
  const double *product = acc, f = 2 * ((const State *)state)->lambda * scale / (double)rows;
  for (size_t r = 0; r < in[0].rows; r++) {
    const float *a = in[0].x + r * in[0].ld, *b = in[1].x + r * in[1].ld;
    for (size_t i = 0; dx[0] && i < in[0].cols; i++) {
      double d = 0;
      for (size_t j = 0; j < in[1].cols; j++) d += product[i * in[1].cols + j] * b[j];
      dx[0][r * ldd[0] + i] += (float)(f * d);
    }
    for (size_t j = 0; dx[1] && j < in[1].cols; j++) {
      double d = 0;
      for (size_t i = 0; i < in[0].cols; i++) d += product[i * in[1].cols + j] * a[i];
      dx[1][r * ldd[1] + j] += (float)(f * d);
    }
  }
}
static const RouteReduce BETWEEN = {
    sizeof(RouteReduce), 0, between_acc_size, between_partial, between_merge, between_finish, between_grad};

static const void *rows_extension(const RouteOp *self, const char *id) {
  (void)self;
  return strcmp(id, ROUTE_EXT_REDUCE) == 0 ? &ROWS : NULL;
}
static const void *between_extension(const RouteOp *self, const char *id) {
  (void)self;
  return strcmp(id, ROUTE_EXT_REDUCE) == 0 ? &BETWEEN : NULL;
}

static const RouteOp OP = {
    sizeof(RouteOp),
    ROUTE_REGULARIZER,
    "orthogonality",
    "how far the rows of a matrix are from orthonormal\n"
    "Formula: lambda |W W' - 1|^2, the sum of squares; with off_diagonal without the diagonal\n"
    "Gradient: 4 lambda (W W' - 1) W; with off_diagonal the diagonal of W W' - 1 counts as 0\n"
    "Source: Brock, Lim, Ritchie and Weston 2017, 2019\n"
    "Use: on weights whose units should look at different things. Computed as |W' W|^2, in memory columns^2.",
    W,
    PARAMS,
    1,
    2,
    sizeof(RouteInput),
    sizeof(RouteParam),
    create,
    rows_extension};
static const RouteOp OP_BETWEEN = {sizeof(RouteOp),
                                   ROUTE_REGULARIZER,
                                   "orthogonality_between",
                                   "how far the units of two tensors are from orthogonal over the batch\n"
                                   "Formula: lambda sum_ij (mean_rows a_i b_j)^2\n"
                                   "Gradient: by a_i: 2 lambda sum_j (mean_rows a_i b_j) b_j / rows; by b likewise\n"
                                   "Source: Bousmalis et al. 2016 (difference loss), over rows\n"
                                   "Use: to keep what is private of two encoders apart. Without centring and scale, "
                                   "unlike correlation_penalty: it is also made "
                                   "smaller by smaller values.",
                                   AB,
                                   PARAMS,
                                   2,
                                   1,
                                   sizeof(RouteInput),
                                   sizeof(RouteParam),
                                   create,
                                   between_extension};
static const RouteOp *const OPS[] = {&OP, &OP_BETWEEN, NULL};
static const RoutePlugin PLUGIN = {sizeof(RoutePlugin), ROUTE_ABI_INIT, "orthogonality", "1.0.0", "Apache-2.0", OPS};

ROUTE_EXPORT const RoutePlugin *ROUTE_PLUGIN_ENTRY(void) { return &PLUGIN; }
