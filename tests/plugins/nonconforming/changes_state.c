/* span.inputs: changed its state */
/* SPDX-License-Identifier: Apache-2.0 */
#include "bad.h"

static double value(const void *state, const RouteView *x) {
  *(float *)(uintptr_t)state += 1e-3f;
  return good_value(state, x);
}
static const RouteSpan span = {.size = sizeof span, .value = value, .grad = good_grad};
BAD_PLUGIN(ROUTE_REGULARIZER, ROUTE_EXT_SPAN, span)
