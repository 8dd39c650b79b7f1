/* span.pure: the same arguments give another value the second time */
/* SPDX-License-Identifier: Apache-2.0 */
#include "bad.h"

static double value(const void *state, const RouteView *x) {
  static int calls;
  return good_value(state, x) + 1e-3 * calls++ * (x->rows > 0);
}
static const RouteSpan span = {.size = sizeof span, .value = value, .grad = good_grad};
BAD_PLUGIN(ROUTE_REGULARIZER, ROUTE_EXT_SPAN, span)
