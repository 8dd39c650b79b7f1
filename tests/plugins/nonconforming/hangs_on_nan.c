/* span.nan: did not return within 10 s of processor time from value */
/* SPDX-License-Identifier: Apache-2.0 */
#include "bad.h"

/* Newton's steps until the root is right, which for NaN it never is. */
static double value(const void *state, const RouteView *x) {
  const double v = good_value(state, x);
  double root = v + 1;
  while (!(fabs(root * root - v) <= 1e-9 * v)) root = (root + v / root) / 2;
  return v + 0 * root;
}
static const RouteSpan span = {.size = sizeof span, .value = value, .grad = good_grad};
BAD_PLUGIN(ROUTE_REGULARIZER, ROUTE_EXT_SPAN, span)
