/* gate.rows: rows are not independent */
/* SPDX-License-Identifier: Apache-2.0 */
#include "bad.h"
static size_t units(const double *values, const size_t *cols) { return (void)values, cols[0]; }

/* A softmax along the wrong axis. */
static void value(const void *state, const RouteView *in, const RouteKey *key, float *y, size_t ldy) {
  (void)state, (void)key;
  for (size_t j = 0; j < in->cols; j++) {
    float sum = 0;
    for (size_t i = 0; i < in->rows; i++) sum += y[i * ldy + j] = expf(-fabsf(in->x[i * in->ld + j]));
    for (size_t i = 0; i < in->rows; i++) y[i * ldy + j] /= sum;
  }
}
static const RouteGate gate = {.size = sizeof gate, .units = units, .value = value};
BAD_PLUGIN(ROUTE_GATE, ROUTE_EXT_GATE, gate)
