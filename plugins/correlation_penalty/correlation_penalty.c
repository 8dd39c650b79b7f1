/* SPDX-License-Identifier: Apache-2.0
 * correlation_penalty.c -- built-in plugin: mean |correlation| of the units of two tensors over the batch.
 *
 * One pass: mean, squared deviations and products of deviations, updated row by row and merged as Chan, Golub and
 * LeVeque 1979 do, so that nothing large cancels. The deviations are unbiased, the covariance is divided by n. */
#include "route_plugin.h"
#include <math.h>
#include <string.h>

static const RouteInput INPUTS[] = {{"a", "units", ROUTE_REAL, 0},
                                    {"b", "other units of the same data", ROUTE_REAL, 0}};
static const RouteParam PARAMS[] = {{"lambda", "strength", 1, 0, INFINITY, 0, 0}};

/* n, then of a and of b: means, sums of squared deviations (once finish() is done: the factor of a unit's own
 * deviation in the gradient), 1 / deviation; then sums of products of deviations [a, b] (then: the factor between two
 * units). */
typedef struct Acc {
  double *n, *mean_a, *mean_b, *own_a, *own_b, *inverse_a, *inverse_b, *product;
} Acc;
static Acc acc_of(const size_t *cols, void *acc) {
  const size_t a = cols[0], b = cols[1];
  double *p = acc, *q = p + 1;
  return (Acc){p, q, q + a, q + a + b, q + 2 * a + b, q + 2 * (a + b), q + 3 * a + 2 * b, q + 3 * (a + b)};
}

static void *create(const RouteOp *self, const RouteHost *host, const double *params) {
  double *lambda = host->alloc(host->ctx, sizeof *lambda, sizeof *lambda);
  (void)self;
  if (lambda) *lambda = params[0];
  else host->fail(host->ctx, "no memory");
  return lambda;
}

static size_t acc_size(const void *state, const size_t *cols, size_t max_rows) {
  (void)state, (void)max_rows;
  return sizeof(double) * (1 + 3 * cols[0] + 3 * cols[1] + cols[0] * cols[1]);
}

static void partial(const void *state, const RouteView *in, void *acc) {
  const size_t cols[2] = {in[0].cols, in[1].cols};
  const Acc s = acc_of(cols, acc);
  (void)state;
  for (size_t r = 0; r < in[0].rows; r++) {
    const float *a = in[0].x + r * in[0].ld, *b = in[1].x + r * in[1].ld;
    const double n = *s.n += 1,
                 old = (n - 1) / n; /* a deviation from the new mean is `old` of that from the old one */
    for (size_t i = 0; i < cols[0]; i++) {
      const double d = (a[i] - s.mean_a[i]) * old;
      for (size_t j = 0; j < cols[1]; j++) s.product[i * cols[1] + j] += d * (b[j] - s.mean_b[j]);
    }
    for (size_t i = 0; i < cols[0]; i++) {
      const double d = a[i] - s.mean_a[i];
      s.own_a[i] += d * d * old, s.mean_a[i] += d / n;
    }
    for (size_t j = 0; j < cols[1]; j++) {
      const double d = b[j] - s.mean_b[j];
      s.own_b[j] += d * d * old, s.mean_b[j] += d / n;
    }
  }
}

static void merge_moments(double na, double nb, size_t n, double *mean, double *square, const double *mean2,
                          const double *square2) {
  for (size_t i = 0; i < n; i++) {
    const double d = mean2[i] - mean[i];
    square[i] += square2[i] + d * d * (na * nb / (na + nb));
    mean[i] += d * (nb / (na + nb));
  }
}

static void merge(const void *state, const size_t *cols, void *acc, const void *other) {
  const Acc s = acc_of(cols, acc), o = acc_of(cols, (void *)(uintptr_t)other); /* read only */
  const double na = *s.n, nb = *o.n;
  (void)state;
  if (nb == 0) return;
  for (size_t i = 0; i < cols[0]; i++)
    for (size_t j = 0; j < cols[1]; j++)
      s.product[i * cols[1] + j] += o.product[i * cols[1] + j] +
                                    (o.mean_a[i] - s.mean_a[i]) * (o.mean_b[j] - s.mean_b[j]) * (na * nb / (na + nb));
  merge_moments(na, nb, cols[0], s.mean_a, s.own_a, o.mean_a, o.own_a);
  merge_moments(na, nb, cols[1], s.mean_b, s.own_b, o.mean_b, o.own_b);
  *s.n = na + nb;
}

/* 1 / deviation, 0 for a unit without variance: it has correlation 0 and no gradient. A NaN stays one. */
static void inverse_deviations(size_t n, double rows, const double *square, double *inverse) {
  for (size_t i = 0; i < n; i++) inverse[i] = square[i] == 0 ? 0 : 1 / sqrt(square[i] / (rows > 1 ? rows - 1 : 1));
}

/* V = s sum_ij |c_ij|, c_ij = product_ij inverse_i inverse_j / n, s = lambda / (units of a * units of b). Its
 * derivative by a_i: s sum_j sign(c_ij) (inverse_i inverse_j (b_j - mean) / n - c_ij inverse_i^2 (a_i - mean) / (n -
 * 1)). */
static double finish(const void *state, const size_t *cols, size_t rows, void *acc) {
  const Acc s = acc_of(cols, acc);
  const double n = (double)rows, strength = *(const double *)state / ((double)cols[0] * (double)cols[1]),
               free = n > 1 ? n - 1 : 1;
  double sum = 0;
  if (!rows) return 0;
  inverse_deviations(cols[0], n, s.own_a, s.inverse_a);
  inverse_deviations(cols[1], n, s.own_b, s.inverse_b);
  memset(s.own_a, 0, (cols[0] + cols[1]) * sizeof(double));
  for (size_t i = 0; i < cols[0]; i++)
    for (size_t j = 0; j < cols[1]; j++) {
      double *p = &s.product[i * cols[1] + j];
      const double between = s.inverse_a[i] * s.inverse_b[j] / n, c = *p * between;
      sum += fabs(c);
      *p = strength * between * (double)((c > 0) - (c < 0));
      s.own_a[i] += strength * fabs(c) * s.inverse_a[i] * s.inverse_a[i] / free;
      s.own_b[j] += strength * fabs(c) * s.inverse_b[j] * s.inverse_b[j] / free;
    }
  return strength * sum;
}

static void grad(const void *state, const void *acc, size_t rows, const RouteView *in, float scale, float *const *dx,
                 const size_t *ldd) {
  const size_t cols[2] = {in[0].cols, in[1].cols};
  const Acc s = acc_of(cols, (void *)(uintptr_t)acc); /* read only */
  (void)state, (void)rows;
  for (size_t r = 0; r < in[0].rows; r++) {
    const float *a = in[0].x + r * in[0].ld, *b = in[1].x + r * in[1].ld;
    for (size_t i = 0; dx[0] && i < cols[0]; i++) {
      double d = -s.own_a[i] * (a[i] - s.mean_a[i]);
      for (size_t j = 0; j < cols[1]; j++) d += s.product[i * cols[1] + j] * (b[j] - s.mean_b[j]);
      dx[0][r * ldd[0] + i] += (float)(scale * d);
    }
    for (size_t j = 0; dx[1] && j < cols[1]; j++) {
      double d = -s.own_b[j] * (b[j] - s.mean_b[j]);
      for (size_t i = 0; i < cols[0]; i++) d += s.product[i * cols[1] + j] * (a[i] - s.mean_a[i]);
      dx[1][r * ldd[1] + j] += (float)(scale * d);
    }
  }
}
static const RouteReduce REDUCE = {sizeof(RouteReduce), 0, acc_size, partial, merge, finish, grad};

static const void *extension(const RouteOp *self, const char *id) {
  (void)self;
  return strcmp(id, ROUTE_EXT_REDUCE) == 0 ? &REDUCE : NULL;
}

static const RouteOp OP = {sizeof(RouteOp),
                           ROUTE_REGULARIZER,
                           "correlation_penalty",
                           "mean |correlation| between the units of two tensors over the batch\n"
                           "Formula: lambda mean_ij |c_ij|, c_ij = cov(a_i, b_j) / (dev(a_i) dev(b_j)); covariance "
                           "over n, deviations unbiased; a "
                           "unit without variance has c = 0\n"
                           "Gradient: lambda sign(c_ij) ((b_j - mean) / (n dev(a_i) dev(b_j)) - c_ij (a_i - mean) / "
                           "((n - 1) dev(a_i)^2)), mean over "
                           "ij; 0 for a unit without variance\n"
                           "Source: Cloud et al. 2024 (gradient routing); one pass: Chan, Golub and LeVeque 1979\n"
                           "Use: to keep two parts of a code from telling the same. The same number as "
                           "mean(abs(correlation(a, b, over = example))).",
                           INPUTS,
                           PARAMS,
                           2,
                           1,
                           sizeof(RouteInput),
                           sizeof(RouteParam),
                           create,
                           extension};
static const RouteOp *const OPS[] = {&OP, NULL};
static const RoutePlugin PLUGIN = {
    sizeof(RoutePlugin), ROUTE_ABI_INIT, "correlation_penalty", "1.0.0", "Apache-2.0", OPS};

ROUTE_EXPORT const RoutePlugin *ROUTE_PLUGIN_ENTRY(void) { return &PLUGIN; }
