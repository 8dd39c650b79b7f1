/* span.bounds: wrote behind its end of `dx` */
/* SPDX-License-Identifier: Apache-2.0 */
#include "bad.h"

/* One element too many in the last row. */
static void grad(const void *state, const RouteView *x, float scale, float *dx, size_t ldd) {
  good_grad(state, x, scale, dx, ldd);
  if (x->rows) dx[(x->rows - 1) * ldd + x->cols] = 0;
}
static const RouteSpan span = {.size = sizeof span, .value = good_value, .grad = grad};
BAD_PLUGIN(ROUTE_REGULARIZER, ROUTE_EXT_SPAN, span)
