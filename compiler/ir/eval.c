/* SPDX-License-Identifier: Apache-2.0
 * eval.c -- the oracle: runs a graph in double, value by value in graph order. */
#include "ops.h"
#include <stdlib.h>

Shape eval_extents(const EvalInput *in, const Shape *s) {
  Shape r = *s;
  for (int32_t i = 0; i < r.rank; i++) {
    if (r.d[i] == DIM_ROWS) r.d[i] = in->rows;
    else if (dim_is_rows(r.d[i])) r.d[i] = in->sets[dim_set(r.d[i])][1];
  }
  return r;
}

EvalResult graph_eval(const Graph *g, Arena *a, const EvalInput *in) {
  bool *wanted = ARENA_NEWS(a, bool, g->n);
  for (uint32_t i = 0; i < g->n_roots; i++) wanted[g->roots[i].value] = true;
  for (ValueId id = g->n; id-- > 1;)
    for (uint32_t k = 0; wanted[id] && k < g->v[id].n_args; k++) wanted[g->v[id].args[k]] = true;
  EvalCtx c = {g, a, in, ARENA_NEWS(a, double *, g->n)};
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
    for (int64_t k = 0; in->single && v->dtype == DT_F32 && k < n; k++) c.value[id][k] = (float)c.value[id][k];
  }
  return (EvalResult){c.value};
}
