/* SPDX-License-Identifier: Apache-2.0
 * ops_scalar.c -- one element of each element-wise operation, in double: the meaning of the operation.
 * Integers are held exactly in doubles; I32 arithmetic wraps. A NaN argument gives NaN in MIN, MAX, RELU;
 * SIGN(NaN) is 0. */
#include "ops_impl.h"
#include <math.h>

static double wrap_i32(int64_t x) { return (double)(int32_t)(uint32_t)(uint64_t)x; }

double scalar_neg(const double *x, Dtype t) {
  (void)t;
  return -x[0];
}
double scalar_abs(const double *x, Dtype t) {
  (void)t;
  return fabs(x[0]);
}
double scalar_sign(const double *x, Dtype t) {
  (void)t;
  return (double)((x[0] > 0) - (x[0] < 0));
}
double scalar_exp(const double *x, Dtype t) {
  (void)t;
  return exp(x[0]);
}
double scalar_log(const double *x, Dtype t) {
  (void)t;
  return log(x[0]);
}
double scalar_sqrt(const double *x, Dtype t) {
  (void)t;
  return sqrt(x[0]);
}
double scalar_tanh(const double *x, Dtype t) {
  (void)t;
  return tanh(x[0]);
}
double scalar_erf(const double *x, Dtype t) {
  (void)t;
  return erf(x[0]);
}
double scalar_sin(const double *x, Dtype t) {
  (void)t;
  return sin(x[0]);
}
double scalar_cos(const double *x, Dtype t) {
  (void)t;
  return cos(x[0]);
}
double scalar_floor(const double *x, Dtype t) {
  (void)t;
  return floor(x[0]);
}
double scalar_relu(const double *x, Dtype t) {
  (void)t;
  return x[0] <= 0 ? 0.0 : x[0];
}
double scalar_not(const double *x, Dtype t) {
  (void)t;
  return x[0] == 0;
}
double scalar_same(const double *x, Dtype t) {
  (void)t;
  return x[0];
}

/* Either form is exact to an ulp or two on its side; exp never overflows. */
double scalar_sigmoid(const double *x, Dtype t) {
  (void)t;
  if (x[0] >= 0) return 1 / (1 + exp(-x[0]));
  double e = exp(x[0]);
  return e / (1 + e);
}

double scalar_softplus(const double *x, Dtype t) {
  (void)t;
  return (x[0] < 0 ? 0 : x[0]) + log1p(exp(-fabs(x[0])));
}

/* Float to I32 truncates towards zero and saturates, NaN gives 0; anything but 0 is true. Floats are not
 * rounded. */
double scalar_cast(const double *x, Dtype t) {
  if (t == DT_BOOL) return x[0] != 0;
  if (t != DT_I32) return x[0];
  if (isnan(x[0])) return 0;
  return x[0] <= INT32_MIN ? INT32_MIN : x[0] >= INT32_MAX ? INT32_MAX : trunc(x[0]);
}

double scalar_add(const double *x, Dtype t) {
  return t == DT_I32 ? wrap_i32((int64_t)x[0] + (int64_t)x[1]) : x[0] + x[1];
}
double scalar_sub(const double *x, Dtype t) {
  return t == DT_I32 ? wrap_i32((int64_t)x[0] - (int64_t)x[1]) : x[0] - x[1];
}
double scalar_mul(const double *x, Dtype t) {
  return t == DT_I32 ? wrap_i32((int64_t)x[0] * (int64_t)x[1]) : x[0] * x[1];
}
double scalar_div(const double *x, Dtype t) {
  (void)t;
  return x[0] / x[1];
}
double scalar_min(const double *x, Dtype t) {
  (void)t;
  return isnan(x[0]) || x[0] < x[1] ? x[0] : x[1];
}
double scalar_max(const double *x, Dtype t) {
  (void)t;
  return isnan(x[0]) || x[0] > x[1] ? x[0] : x[1];
}
double scalar_pow(const double *x, Dtype t) {
  (void)t;
  return pow(x[0], x[1]);
}

double scalar_lt(const double *x, Dtype t) {
  (void)t;
  return x[0] < x[1];
}
double scalar_le(const double *x, Dtype t) {
  (void)t;
  return x[0] <= x[1];
}
double scalar_eq(const double *x, Dtype t) {
  (void)t;
  return x[0] == x[1];
}
double scalar_ne(const double *x, Dtype t) {
  (void)t;
  return x[0] != x[1];
}
double scalar_and(const double *x, Dtype t) {
  (void)t;
  return x[0] != 0 && x[1] != 0;
}
double scalar_or(const double *x, Dtype t) {
  (void)t;
  return x[0] != 0 || x[1] != 0;
}

double scalar_mask(const double *x, Dtype t) {
  (void)t;
  return x[1] == 0 ? 0.0 : x[1] == 1 ? x[0] : x[1] * x[0];
}
double scalar_where(const double *x, Dtype t) {
  (void)t;
  return x[0] != 0 ? x[1] : x[2];
}
