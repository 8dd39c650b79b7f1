/* SPDX-License-Identifier: Apache-2.0
 * gate_flags.c -- a gate whose flags mean nothing. */
#define OP_KIND ROUTE_GATE
#define FIND(id) (strcmp(id, ROUTE_EXT_GATE) == 0 ? (const void *)&gate : (const void *)NULL)
#include "route_plugin.h"
static size_t units(const double *params, const size_t *cols) {
  (void)params, (void)cols;
  return 1;
}
static void value(const void *state, const RouteView *in, const RouteKey *key, float *y, size_t ldy) {
  (void)state, (void)key;
  for (size_t r = 0; r < in->rows; r++) y[r * ldy] = 1;
}
static const RouteGate gate = {sizeof gate, 8, units, value, NULL};
#include "skeleton.h"
