/* span.finite: the gradient for x[0][0] = 0 is nan */
/* SPDX-License-Identifier: Apache-2.0 */
#include "bad.h"

/* weight * sum of |x|; its slope is taken for x / |x| at 0 too. */
static double value(const void *state, const RouteView *x) {
  double sum = 0;
  for (size_t i = 0; i < x->rows; i++)
    for (size_t j = 0; j < x->cols; j++) sum += (double)fabsf(x->x[i * x->ld + j]);
  return (double)*(const float *)state * sum;
}
static void grad(const void *state, const RouteView *x, float scale, float *dx, size_t ldd) {
  for (size_t i = 0; i < x->rows; i++)
    for (size_t j = 0; j < x->cols; j++) {
      const float v = x->x[i * x->ld + j];
      dx[i * ldd + j] += scale * *(const float *)state * v / fabsf(v);
    }
}
static const RouteSpan span = {.size = sizeof span, .value = value, .grad = grad};
BAD_PLUGIN(ROUTE_REGULARIZER, ROUTE_EXT_SPAN, span)
