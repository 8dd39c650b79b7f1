/* span.tiles: with another padding */
/* SPDX-License-Identifier: Apache-2.0 */
#include "bad.h"

/* Takes ld for something about the contents. */
static double value(const void *state, const RouteView *x) { return good_value(state, x) + 1e-2 * (double)(x->ld * x->rows * x->cols); }
static const RouteSpan span = {.size = sizeof span, .value = value, .grad = good_grad};
BAD_PLUGIN(ROUTE_REGULARIZER, ROUTE_EXT_SPAN, span)
