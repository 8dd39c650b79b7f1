/* span.tiles: in tiles of */
/* SPDX-License-Identifier: Apache-2.0 */
#include "bad.h"

/* A mean of the tile, as if the tile were the tensor. */
static double value(const void *state, const RouteView *x) {
  return x->rows ? good_value(state, x) / (double)(x->rows * x->cols) : 0;
}
static void grad(const void *state, const RouteView *x, float scale, float *dx, size_t ldd) {
  good_grad(state, x, scale / (float)(x->rows * x->cols), dx, ldd);
}
static const RouteSpan span = {.size = sizeof span, .value = value, .grad = grad};
BAD_PLUGIN(ROUTE_REGULARIZER, ROUTE_EXT_SPAN, span)
