/* SPDX-License-Identifier: Apache-2.0
 * create_fails.c -- its op refuses to be made */
#define FIND(id) (strcmp(id, ROUTE_EXT_SPAN) == 0 ? (const void *)&span : (const void *)NULL)
#define CREATE create
#include "route_plugin.h"
static double value(const void *state, const RouteView *x) {
  (void)state;
  return (double)x->x[0];
}
static void grad(const void *state, const RouteView *x, float scale, float *dx, size_t ldd) {
  (void)state, (void)x, (void)ldd;
  dx[0] += scale;
}
static const RouteSpan span = {.size = sizeof span, .value = value, .grad = grad};
static void *create(const RouteOp *self, const RouteHost *host, const double *params) {
  (void)self, (void)params;
  host->fail(host->ctx, "it is not in the mood");
  return NULL;
}
#include "skeleton.h"
