/* span.inputs: changed its input `x` */
/* SPDX-License-Identifier: Apache-2.0 */
#include "bad.h"

/* Squares in place. */
static double value(const void *state, const RouteView *x) {
  const double v = good_value(state, x);
  float *in = (float *)(uintptr_t)x->x;
  if (x->rows) in[0] *= in[0];
  return v;
}
static const RouteSpan span = {.size = sizeof span, .value = value, .grad = good_grad};
BAD_PLUGIN(ROUTE_REGULARIZER, ROUTE_EXT_SPAN, span)
