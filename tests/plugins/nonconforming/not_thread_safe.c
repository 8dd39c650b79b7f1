/* span.threads: called by 4 threads at once */
/* SPDX-License-Identifier: Apache-2.0 */
#include "bad.h"

/* A static scratch row, shared by all threads. */
static double value(const void *state, const RouteView *x) {
  static double square[1 << 16];
  double sum = 0;
  const size_t n = x->rows * x->cols;
  for (size_t k = 0; k < n; k++) {
    const double v = (double)x->x[k / x->cols * x->ld + k % x->cols];
    square[k % (1 << 16)] = v * v;
  }
  for (size_t k = 0; k < n; k++) sum += square[k % (1 << 16)];
  return (double)*(const float *)state * sum;
}
static const RouteSpan span = {.size = sizeof span, .value = value, .grad = good_grad};
BAD_PLUGIN(ROUTE_REGULARIZER, ROUTE_EXT_SPAN, span)
