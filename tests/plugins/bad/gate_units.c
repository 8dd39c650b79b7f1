/* SPDX-License-Identifier: Apache-2.0
 * gate_units.c -- asking it for its columns ends with a signal */
#define FIND(id) (strcmp(id, ROUTE_EXT_GATE) == 0 ? (const void *)&gate : (const void *)NULL)
#define OP_KIND ROUTE_GATE
#include "route_plugin.h"
static size_t units(const double *params, const size_t *cols) {
  (void)params, (void)cols;
  return *(const volatile size_t *)NULL;
}
static void value(const void *state, const RouteView *in, const RouteKey *key, float *y, size_t ldy) {
  (void)state, (void)in, (void)key, (void)y, (void)ldy;
}
static const RouteGate gate = {sizeof gate, 0, units, value, NULL};
#include "skeleton.h"
