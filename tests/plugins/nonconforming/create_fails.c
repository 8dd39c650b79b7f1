/* create: create() refuses its default parameters: the moon is not full */
/* SPDX-License-Identifier: Apache-2.0 */
#define bad_create good_create
#include "bad.h"
#undef bad_create
static void *bad_create(const RouteOp *self, const RouteHost *host, const double *values) {
  (void)self, (void)values, (void)good_create;
  host->fail(host->ctx, "the moon is not full");
  return NULL;
}
static const RouteSpan span = {.size = sizeof span, .value = good_value, .grad = good_grad};
BAD_PLUGIN(ROUTE_REGULARIZER, ROUTE_EXT_SPAN, span)
