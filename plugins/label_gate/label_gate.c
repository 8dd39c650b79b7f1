/* SPDX-License-Identifier: Apache-2.0
 * label_gate.c -- built-in plugin: labels say the branch. */
#include "route_plugin.h"
#include <math.h>
#include <string.h>

enum { BRANCHES, WIDTH, N_PARAMS };
static const RouteInput INPUTS[] = {{"label", "integers from 0", ROUTE_LABEL, 0}};
static const RouteParam PARAMS[] = {
    {"branches", "how many", NAN, 1, 65536, ROUTE_PARAM_INT | ROUTE_PARAM_STRUCTURAL, 0},
    {"width", "how many labels in a row share a branch", 1, 1, 2147483647, ROUTE_PARAM_INT, 0}};

typedef struct State {
  int32_t branches, width;
} State;

static void *create(const RouteOp *self, const RouteHost *host, const double *params) {
  State *s = host->alloc(host->ctx, sizeof *s, sizeof(double));
  (void)self;
  if (s) *s = (State){(int32_t)params[BRANCHES], (int32_t)params[WIDTH]};
  else host->fail(host->ctx, "no memory");
  return s;
}

static size_t units(const double *params, const size_t *cols) {
  (void)cols;
  return (size_t)params[BRANCHES];
}

static void value(const void *state, const RouteView *in, const RouteKey *key, float *y, size_t ldy) {
  const State *s = state;
  (void)key;
  for (size_t r = 0; r < in->rows; r++) {
    const int32_t label = in->label[r * in->ld], branch = label < 0 ? -1 : label / s->width;
    for (int32_t k = 0; k < s->branches; k++) y[r * ldy + (size_t)k] = k == branch ? 1 : 0;
  }
}
static const RouteGate GATE = {sizeof(RouteGate), 0, units, value, NULL};

static const void *extension(const RouteOp *self, const char *id) {
  (void)self;
  return strcmp(id, ROUTE_EXT_GATE) == 0 ? &GATE : NULL;
}

static const RouteOp OP = {sizeof(RouteOp),
                           ROUTE_GATE,
                           "label_gate",
                           "1 for the branch of a label, 0 for the others\n"
                           "Formula: branch = floor(label / width); a label that is negative or beyond the last "
                           "branch gives a row of zeros\n"
                           "Gradient: none\n"
                           "Source: Gururangan et al. 2022 (DEMix)\n"
                           "Use: experts for known groups of the data: digits by group, domains. At deployment, "
                           "where no labels are, let a learned gate "
                           "take over.",
                           INPUTS,
                           PARAMS,
                           1,
                           N_PARAMS,
                           sizeof(RouteInput),
                           sizeof(RouteParam),
                           create,
                           extension};
static const RouteOp *const OPS[] = {&OP, NULL};
static const RoutePlugin PLUGIN = {sizeof(RoutePlugin), ROUTE_ABI_INIT, "label_gate", "1.0.0", "Apache-2.0", OPS};

ROUTE_EXPORT const RoutePlugin *ROUTE_PLUGIN_ENTRY(void) { return &PLUGIN; }
