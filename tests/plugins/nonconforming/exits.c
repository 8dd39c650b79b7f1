/* span.finite: ended the process with exit code 3 */
/* SPDX-License-Identifier: Apache-2.0 */
#include "bad.h"

#include <stdlib.h>
static double value(const void *state, const RouteView *x) {
  (void)state, (void)x;
  exit(3);
}
static const RouteSpan span = {.size = sizeof span, .value = value, .grad = good_grad};
BAD_PLUGIN(ROUTE_REGULARIZER, ROUTE_EXT_SPAN, span)
