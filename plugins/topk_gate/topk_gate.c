/* SPDX-License-Identifier: Apache-2.0
 * topk_gate.c -- built-in plugin: the k branches with the largest scores. */
#include "route_plugin.h"
#include <math.h>
#include <string.h>

enum { K, HARD, DENSE, TEMPERATURE, N_PARAMS };
static const RouteInput INPUTS[] = {{"scores", "one for each branch", ROUTE_REAL, 0}};
static const RouteParam PARAMS[] = {
    {"k", "branches that each row takes; all, if there are no more", NAN, 1, INFINITY, ROUTE_PARAM_INT, 0},
    {"hard", "1: weights 1 / k; 0: softmax over the chosen", 0, 0, 1, ROUTE_PARAM_INT, 0},
    {"dense", "1: the gradient of a softmax over all branches; 0: over the chosen", 0, 0, 1, ROUTE_PARAM_INT, 0},
    {"temperature", "of the softmax", 1, 1e-6, INFINITY, 0, 0}};

typedef struct State {
  size_t k;
  bool hard, dense;
  double temperature;
} State;

static void *create(const RouteOp *self, const RouteHost *host, const double *params) {
  State *s = host->alloc(host->ctx, sizeof *s, sizeof(double));
  (void)self;
  if (s)
    *s = (State){params[K] < 1e9 ? (size_t)params[K] : (size_t)1e9, params[HARD] != 0, params[DENSE] != 0,
                 params[TEMPERATURE]};
  else host->fail(host->ctx, "no memory");
  return s;
}

static size_t units(const double *params, const size_t *cols) {
  (void)params;
  return cols[0];
}

/* The smallest score that is chosen, and how many of its equals are: the first ones. Rank by rank, without memory; of
 * numbers only, 1 <= k <= n. */
typedef struct Chosen {
  float bound;
  size_t ties;
} Chosen;
static Chosen chosen_of(const float *x, size_t n, size_t k) {
  float bound = 0;
  size_t above = 0;
  for (bool first = true;; first = false) {
    float next = 0;
    size_t count = 0;
    for (size_t c = 0; c < n; c++) {
      if (!first && !(x[c] < bound)) continue;
      if (!count || x[c] > next) next = x[c], count = 1;
      else if (x[c] == next) count++;
    }
    bound = next;
    if (above + count >= k) return (Chosen){bound, k - above};
    above += count;
  }
}

static bool is_chosen(Chosen *f, float x) { return x > f->bound || (x == f->bound && f->ties && f->ties--); }

static float largest(const float *x, size_t n) {
  float m = x[0];
  for (size_t c = 0; c < n; c++) {
    if (isnan(x[c])) return x[c];
    if (x[c] > m) m = x[c];
  }
  return m;
}

static void value(const void *state, const RouteView *in, const RouteKey *key, float *y, size_t ldy) {
  const State *s = state;
  const size_t n = in->cols, k = s->k < n ? s->k : n;
  (void)key;
  for (size_t r = 0; r < in->rows; r++, y += ldy) {
    const float *x = in->x + r * in->ld, top = largest(x, n);
    if (isnan(top)) { /* nothing can be chosen: a row of NaN */
      for (size_t c = 0; c < n; c++) y[c] = top;
      continue;
    }
    Chosen f = chosen_of(x, n, k);
    double sum = 0;
    for (size_t c = 0; c < n; c++) {
      y[c] = !is_chosen(&f, x[c]) ? 0 : s->hard ? 1 / (float)k : (float)exp(((double)x[c] - top) / s->temperature);
      sum += y[c];
    }
    for (size_t c = 0; c < n && !s->hard; c++) y[c] = (float)(y[c] / sum);
  }
}

/* dx += p (dy - sum p dy) / temperature, p the softmax over the chosen or over all */
static void grad(const void *state, const RouteView *in, const RouteKey *key, const RouteView *y, const RouteView *dy,
                 float *const *dx, const size_t *ldd) {
  const State *s = state;
  const size_t n = in->cols;
  (void)key, (void)y;
  for (size_t r = 0; dx[0] && r < in->rows; r++) {
    const float *x = in->x + r * in->ld, *d = dy->x + r * dy->ld, top = largest(x, n);
    const Chosen all = isnan(top) ? (Chosen){0, 0} : chosen_of(x, n, s->dense || s->k > n ? n : s->k);
    double sum = 0, mean = 0;
    for (int pass = 0; pass < 2; pass++) {
      Chosen f = all;
      for (size_t c = 0; c < n; c++) {
        if (!isnan(top) && !is_chosen(&f, x[c])) continue;
        const double p = exp(((double)x[c] - top) / s->temperature);
        if (pass == 0) sum += p, mean += p * d[c];
        else dx[0][r * ldd[0] + c] += (float)(p / sum * (d[c] - mean / sum) / s->temperature);
      }
    }
  }
}
static const RouteGate GATE = {sizeof(RouteGate), ROUTE_GATE_ESTIMATE, units, value, grad};

static const void *extension(const RouteOp *self, const char *id) {
  (void)self;
  return strcmp(id, ROUTE_EXT_GATE) == 0 ? &GATE : NULL;
}

static const RouteOp OP = {
    sizeof(RouteOp),
    ROUTE_GATE,
    "topk_gate",
    "weights for the k branches with the largest scores, 0 for the others\n"
    "Formula: y = exp(x / temperature) / sum over the k largest (of equal ones the first), 0 elsewhere; with hard: 1 "
    "/ k and 0\n"
    "Gradient: p (dy - sum p dy) / temperature, p = the soft y; with dense: p = softmax(x / temperature) over all "
    "branches\n"
    "Source: Shazeer et al. 2017\n"
    "Use: sparse mixtures, in `select`: a branch with weight 0 is not computed. Without dense only the chosen learn; "
    "add "
    "load_balance(softmax_gate(scores)), so that no branch starves. A NaN score gives a row of NaN.",
    INPUTS,
    PARAMS,
    1,
    N_PARAMS,
    sizeof(RouteInput),
    sizeof(RouteParam),
    create,
    extension};
static const RouteOp *const OPS[] = {&OP, NULL};
static const RoutePlugin PLUGIN = {sizeof(RoutePlugin), ROUTE_ABI_INIT, "topk_gate", "1.0.0", "Apache-2.0", OPS};

ROUTE_EXPORT const RoutePlugin *ROUTE_PLUGIN_ENTRY(void) { return &PLUGIN; }
