/* gate.key: gates draw in training only */
/* SPDX-License-Identifier: Apache-2.0 */
#include "bad.h"
static size_t units(const double *values, const size_t *cols) { return (void)values, cols[0]; }

static void value(const void *state, const RouteView *in, const RouteKey *key, float *y, size_t ldy) {
  (void)state;
  for (size_t i = 0; i < in->rows; i++)
    for (size_t j = 0; j < in->cols; j++) y[i * ldy + j] = route_uniform(key, i, (uint32_t)j, (uint32_t)in->cols);
}
static const RouteGate gate = {.size = sizeof gate, .units = units, .value = value};
BAD_PLUGIN(ROUTE_GATE, ROUTE_EXT_GATE, gate)
