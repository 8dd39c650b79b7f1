/* span.finite: did not return within 10 s of processor time from value */
/* SPDX-License-Identifier: Apache-2.0 */
#include "bad.h"

static volatile int forever = 1;
static double value(const void *state, const RouteView *x) {
  while (forever) {}
  return good_value(state, x);
}
static const RouteSpan span = {.size = sizeof span, .value = value, .grad = good_grad};
BAD_PLUGIN(ROUTE_REGULARIZER, ROUTE_EXT_SPAN, span)
