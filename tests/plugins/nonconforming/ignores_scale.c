/* span.scale: with scale 2 the gradient for */
/* SPDX-License-Identifier: Apache-2.0 */
#include "bad.h"

static void grad(const void *state, const RouteView *x, float scale, float *dx, size_t ldd) {
  (void)scale;
  good_grad(state, x, 1, dx, ldd);
}
static const RouteSpan span = {.size = sizeof span, .value = good_value, .grad = grad};
BAD_PLUGIN(ROUTE_REGULARIZER, ROUTE_EXT_SPAN, span)
