/* SPDX-License-Identifier: Apache-2.0
 * eval.c -- the oracle: runs a graph in double, value by value in graph order. */
#include "ops.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

Shape eval_extents(const EvalInput *in, const Shape *s) {
  Shape r = *s;
  for (int32_t i = 0; i < r.rank; i++) {
    if (r.d[i] == DIM_ROWS) r.d[i] = in->rows;
    else if (dim_is_rows(r.d[i])) r.d[i] = in->sets[dim_set(r.d[i])][1];
  }
  return r;
}

/* Stochastic rounding: upwards with the chance that makes the mean right. The draw is a function of the number's magnitude, so
 * that what cancels because it is computed twice in the same way still does. */
static void round_by_chance(double *v, int64_t n, uint64_t seed) {
  for (int64_t k = 0; k < n; k++) {
    const double size = fabs(v[k]);
    float near = (float)size;
    if ((double)near == size || !isfinite(near)) continue;
    const float low = (double)near < size ? near : nextafterf(near, 0), high = nextafterf(low, INFINITY);
    uint64_t draw;
    memcpy(&draw, &size, sizeof draw);
    draw = (draw ^ seed * 0x9E3779B97F4A7C15u) * 0xff51afd7ed558ccdu;
    draw = (draw ^ draw >> 32) * 0xc4ceb9fe1a85ec53u;
    const double chance = (size - (double)low) / ((double)high - (double)low);
    v[k] = copysign((double)((double)(draw >> 11) * 0x1p-53 < chance ? high : low), v[k]);
  }
}

/* The row sets of the input; those that the graph packs itself are written while it runs. */
static int64_t (*own_sets(const Graph *g, Arena *a, const EvalInput *in))[2] {
  int64_t(*sets)[2] = (int64_t(*)[2])arena_array(a, IR_MAX_SETS, sizeof *sets);
  uint64_t packed = 0, given = 0;
  for (ValueId id = 1; id < g->n; id++) {
    if (g->v[id].op == OP_ROWLIST) packed |= (uint64_t)1 << g->v[id].ints[0];
    for (int32_t i = 0; i < g->v[id].shape.rank; i++)
      if (dim_is_rows(g->v[id].shape.d[i])) given |= (uint64_t)1 << dim_set(g->v[id].shape.d[i]);
  }
  for (int s = 1; s < IR_MAX_SETS && in->sets; s++)
    for (int k = 0; k < 2 && (given & ~packed) >> s & 1; k++) sets[s][k] = in->sets[s][k];
  return sets;
}

EvalResult graph_eval(const Graph *g, Arena *a, const EvalInput *in) {
  bool *wanted = ARENA_NEWS(a, bool, g->n);
  for (uint32_t i = 0; i < g->n_roots; i++) wanted[g->roots[i].value] = true;
  for (ValueId id = g->n; id-- > 1;)
    for (uint32_t k = 0; wanted[id] && k < g->v[id].n_args; k++) wanted[g->v[id].args[k]] = true;
  EvalInput own = *in;
  int64_t(*sets)[2] = own_sets(g, a, in);
  own.sets = (const int64_t(*)[2])sets;
  EvalCtx c = {g, a, &own, ARENA_NEWS(a, double *, g->n), sets};
  for (ValueId id = 1; id < g->n; id++) {
    if (!wanted[id]) continue;
    const Value *v = &g->v[id];
    int64_t n = shape_count(&v->shape, in->rows);
    if (n < 0) {
      fprintf(stderr, "routec: internal error: graph '%s': %%%u overflows with %lld rows\n", g->name, id,
              (long long)in->rows);
      abort();
    }
    c.value[id] = ARENA_NEWS(a, double, n ? n : 1);
    op_info(v->op)->eval(&c, v, c.value[id]);
    if (in->rounding && v->dtype == DT_F32) round_by_chance(c.value[id], n, in->rounding);
  }
  return (EvalResult){c.value};
}
