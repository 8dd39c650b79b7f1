/* span.gradient: but differences of the value say */
/* SPDX-License-Identifier: Apache-2.0 */
#include "bad.h"

static void grad(const void *state, const RouteView *x, float scale, float *dx, size_t ldd) { good_grad(state, x, scale * 1.02f, dx, ldd); }
static const RouteSpan span = {.size = sizeof span, .value = good_value, .grad = grad};
BAD_PLUGIN(ROUTE_REGULARIZER, ROUTE_EXT_SPAN, span)
