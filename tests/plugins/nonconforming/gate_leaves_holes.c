/* gate.finite: was not stored */
/* SPDX-License-Identifier: Apache-2.0 */
#include "bad.h"
static size_t units(const double *values, const size_t *cols) { return (void)values, cols[0]; }

/* Stores the largest only, as if y had been zeroed. */
static void value(const void *state, const RouteView *in, const RouteKey *key, float *y, size_t ldy) {
  (void)state, (void)key;
  for (size_t i = 0; i < in->rows; i++) {
    size_t best = 0;
    for (size_t j = 1; j < in->cols; j++)
      if (in->x[i * in->ld + j] > in->x[i * in->ld + best]) best = j;
    y[i * ldy + best] = 1;
  }
}
static const RouteGate gate = {.size = sizeof gate, .units = units, .value = value};
BAD_PLUGIN(ROUTE_GATE, ROUTE_EXT_GATE, gate)
