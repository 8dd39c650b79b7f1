/* reduce.tiles: merged */
/* SPDX-License-Identifier: Apache-2.0 */
#include "bad.h"
static size_t acc_size(const void *state, const size_t *cols, size_t max_rows) { return (void)state, (void)cols, (void)max_rows, sizeof(double); }
static void partial(const void *state, const RouteView *in, void *acc) { *(double *)acc += good_value(state, in); }

/* The larger of two sums, not their sum. */
static void merge(const void *state, const size_t *cols, void *acc, const void *other) {
  double *a = acc;
  const double *b = other;
  (void)state, (void)cols;
  *a = *a > *b ? *a : *b;
}
static double finish(const void *state, const size_t *cols, size_t rows, void *acc) { return (void)state, (void)cols, (void)rows, *(double *)acc; }
static void grad(const void *state, const void *acc, size_t rows, const RouteView *in, float scale, float *const *dx, const size_t *ldd) {
  (void)acc, (void)rows;
  if (dx[0]) good_grad(state, in, scale, dx[0], ldd[0]);
}
static const RouteReduce reduce = {.size = sizeof reduce, .acc_size = acc_size, .partial = partial, .merge = merge, .finish = finish, .grad = grad};
BAD_PLUGIN(ROUTE_REGULARIZER, ROUTE_EXT_REDUCE, reduce)
