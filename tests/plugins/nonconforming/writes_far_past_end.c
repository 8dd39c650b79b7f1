/* span.bounds: touched memory behind the end of `dx` */
/* SPDX-License-Identifier: Apache-2.0 */
#include "bad.h"

/* A whole vector of 1024 at the end of what it should write. */
static void grad(const void *state, const RouteView *x, float scale, float *dx, size_t ldd) {
  good_grad(state, x, scale, dx, ldd);
  if (x->rows) memset(dx + (x->rows - 1) * ldd + x->cols, 0, 1024 * sizeof(float));
}
static const RouteSpan span = {.size = sizeof span, .value = good_value, .grad = grad};
BAD_PLUGIN(ROUTE_REGULARIZER, ROUTE_EXT_SPAN, span)
