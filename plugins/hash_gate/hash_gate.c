/* SPDX-License-Identifier: Apache-2.0
 * hash_gate.c -- built-in plugin: a branch for each id, picked by a hash. */
#include "route_plugin.h"
#include <math.h>
#include <string.h>

enum { BRANCHES, SEED, N_PARAMS };
static const RouteInput INPUTS[] = {{"id", "integers: of a datum, a user, a token", ROUTE_LABEL, 0}};
static const RouteParam PARAMS[] = {
    {"branches", "how many", NAN, 1, 65536, ROUTE_PARAM_INT | ROUTE_PARAM_STRUCTURAL, 0},
    {"seed", "another seed, another hash", 0, 0, 4294967295.0, ROUTE_PARAM_INT, 0}};

typedef struct State {
  uint64_t seed;
  uint32_t branches;
} State;

static void *create(const RouteOp *self, const RouteHost *host, const double *params) {
  State *s = host->alloc(host->ctx, sizeof *s, sizeof(uint64_t));
  (void)self;
  if (s) *s = (State){(uint64_t)params[SEED], (uint32_t)params[BRANCHES]};
  else host->fail(host->ctx, "no memory");
  return s;
}

static size_t units(const double *params, const size_t *cols) {
  (void)cols;
  return (size_t)params[BRANCHES];
}

/* The upper half of SplitMix64's output (Steele, Lea and Flood 2014) after the state seed 2^32 + id. */
static uint32_t hash(uint64_t seed, int32_t id) {
  uint64_t z = (seed << 32 | (uint32_t)id) + 0x9E3779B97F4A7C15u;
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
  z = (z ^ z >> 27) * 0x94D049BB133111EBu;
  return (uint32_t)((z ^ z >> 31) >> 32);
}

static void value(const void *state, const RouteView *in, const RouteKey *key, float *y, size_t ldy) {
  const State *s = state;
  (void)key;
  for (size_t r = 0; r < in->rows; r++) {
    const uint32_t branch = (uint32_t)((uint64_t)hash(s->seed, in->label[r * in->ld]) * s->branches >> 32);
    for (uint32_t k = 0; k < s->branches; k++) y[r * ldy + k] = k == branch ? 1 : 0;
  }
}
static const RouteGate GATE = {sizeof(RouteGate), 0, units, value, NULL};

static const void *extension(const RouteOp *self, const char *id) {
  (void)self;
  return strcmp(id, ROUTE_EXT_GATE) == 0 ? &GATE : NULL;
}

static const RouteOp OP = {
    sizeof(RouteOp),
    ROUTE_GATE,
    "hash_gate",
    "1 for the branch that an id's hash says, 0 for the others\n"
    "Formula: branch = floor(h branches / 2^32), h = the upper half of SplitMix64 of seed 2^32 + id\n"
    "Gradient: none\n"
    "Source: Roller, Sukhbaatar, Szlam and Weston 2021 (hash layers); hash: Steele, Lea and Flood 2014\n"
    "Use: branches of equal size without learning: parts of memory for each sequence, a control for a learned gate.",
    INPUTS,
    PARAMS,
    1,
    N_PARAMS,
    sizeof(RouteInput),
    sizeof(RouteParam),
    create,
    extension};
static const RouteOp *const OPS[] = {&OP, NULL};
static const RoutePlugin PLUGIN = {sizeof(RoutePlugin), ROUTE_ABI_INIT, "hash_gate", "1.0.0", "Apache-2.0", OPS};

ROUTE_EXPORT const RoutePlugin *ROUTE_PLUGIN_ENTRY(void) { return &PLUGIN; }
