/* span.bounds: wrote into the padding between its columns and ld of `dx` */
/* SPDX-License-Identifier: Apache-2.0 */
#include "bad.h"

/* Takes the rows for whole ones: adds to what lies between cols and ld. The last row ends where it should. */
static void grad(const void *state, const RouteView *x, float scale, float *dx, size_t ldd) {
  good_grad(state, x, scale, dx, ldd);
  for (size_t i = 0; i + 1 < x->rows; i++)
    for (size_t j = x->cols; j < ldd; j++) dx[i * ldd + j] = 0;
}
static const RouteSpan span = {.size = sizeof span, .value = good_value, .grad = grad};
BAD_PLUGIN(ROUTE_REGULARIZER, ROUTE_EXT_SPAN, span)
