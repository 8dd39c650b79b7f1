/* SPDX-License-Identifier: Apache-2.0
 * step_crashes.c -- its value ends with a signal inside of a step, in whatever thread it is called by */
#define FIND(id) (strcmp(id, ROUTE_EXT_SPAN) == 0 ? (const void *)&span : (const void *)NULL)
#include "route_plugin.h"
static double value(const void *state, const RouteView *x) {
  (void)x;
  return *(const volatile double *)state; /* it has no state */
}
static void grad(const void *state, const RouteView *x, float scale, float *dx, size_t ldd) {
  (void)state, (void)x, (void)ldd;
  dx[0] += scale;
}
static const RouteSpan span = {.size = sizeof span, .value = value, .grad = grad};
#include "skeleton.h"
