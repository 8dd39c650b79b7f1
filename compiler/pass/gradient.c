/* SPDX-License-Identifier: Apache-2.0
 * gradient.c -- a function beside the training step that ends at the routed gradients and stores nothing: what
 * `routec grad` writes and `monitor` measures.
 * requires:  the forward graph of p->step (before autodiff), with its origins' per-datum terms
 * maintains: p and its graph: the work is done on a fork
 * changes:   nothing; the result's roots are ROOT_GRADs, and the selections of branches
 *
 * Whose data contribute is chosen at run time by one number more than p has scalars: the index of a class, or a
 * negative number for all data. A term t of a datum becomes where(chosen, t, stop(t)), which is t forward and blocks
 * the adjoint of the other data; so denominators stay those of the whole batch, and the gradients of classes that
 * cover the data without overlap add up to the whole. A number of the whole batch has no class: it contributes to
 * "all data" only. */
#include "compiler.h"
#include "rewrite.h"

/* Copies v and what it reads, unless that was done before. */
static ValueId need(Rewrite *r, ValueId v) {
  if (r->map[v]) return r->map[v];
  for (uint32_t i = 0; i < ir_value(r->from, v)->n_args; i++) need(r, ir_value(r->from, v)->args[i]);
  return rewrite_copy(r, v);
}

static ValueId constant(Graph *g, double x) {
  Shape scalar = {.rank = 0};
  return ir_const(g, (Span){0}, x, &scalar, DT_F64);
}

/* BOOL [ROWS]: whether the datum belongs to the class. */
static ValueId belongs(Rewrite *r, const Program *p, const ProgDataClass *c) {
  ValueId any = 0;
  for (uint32_t i = 0; i < p->n_conds; i++) {
    if (!(c->conds >> i & 1)) continue;
    ValueId holds = ir_cast(r->to, need(r, p->conds[i].value), DT_BOOL); /* a weight: where it is not 0 */
    any = any ? ir_bin(r->to, OP_OR, any, holds) : holds;
  }
  return c->none ? ir_un(r->to, OP_NOT, any) : any;
}

/* BOOL [ROWS]: whether the datum contributes. */
static ValueId chosen_data(Rewrite *r, const Program *p, ValueId class, ValueId all) {
  Graph *g = r->to;
  Shape rows = shape_of(1, DIM_ROWS);
  ValueId chosen = ir_bcast_scalar(g, all, &rows);
  for (uint32_t k = 0; k < p->n_data_classes; k++) {
    if (!p->data_classes[k].by_datum) continue;
    ValueId is = ir_bcast_scalar(g, ir_bin(g, OP_EQ, class, constant(g, k)), &rows);
    chosen = ir_bin(g, OP_OR, chosen, ir_bin(g, OP_AND, is, belongs(r, p, &p->data_classes[k])));
  }
  return chosen;
}

/* x forward; its adjoint only where `open` (rank 0, or x's first axis) holds. */
static ValueId gate(Graph *g, ValueId open, ValueId x) {
  Shape s = ir_value(g, x)->shape;
  int64_t map[IR_MAX_RANK];
  for (int i = 0; i < s.rank; i++) map[i] = -1;
  if (ir_value(g, open)->shape.rank) map[0] = 0;
  ValueId closed = ir_un(g, OP_STOP, x);
  return ir_where(g, ir_bcast(g, open, &s, map), x, closed);
}

static void choose(Program *p, OriginSet origins) {
  Rewrite r = rewrite_begin(p->step, p->arena);
  Graph *g = r.to;
  Shape scalar = {.rank = 0};
  int64_t last = p->n_scalars;
  ValueId class = ir_make(g, OP_SCALAR, (Span){0}, NULL, 0, &last, 1, 0, &scalar, DT_F64);
  ValueId all = ir_bin(g, OP_LT, class, constant(g, 0)), chosen = chosen_data(&r, p, class, all);
  for (ValueId id = 1; id < p->step->n; id++) {
    if (r.map[id]) continue;
    rewrite_copy(&r, id);
    bool term = false;
    for (uint32_t i = 0; i < p->n_origins; i++) term |= p->origins[i].per_datum == id;
    if (term) r.map[id] = gate(g, chosen, r.map[id]);
  }
  for (uint32_t i = 0; i < p->step->n_roots; i++) {
    const Root *t = &p->step->roots[i];
    if (t->kind == ROOT_SELECTION) graph_root(g, t->kind, t->a, t->b, r.map[t->value]);
  }
  rewrite_program(&r, p);
  for (uint32_t i = 0; i < p->n_origins; i++) {
    ProgOrigin *o = &p->origins[i];
    if (!((origins >> i) & 1)) o->value = ir_un(g, OP_STOP, o->value);
    else if (!o->per_datum) o->value = gate(g, all, o->value);
  }
}

Graph *pass_gradient(const Program *p, OriginSet origins, bool routed) {
  Program *fork = program_fork(p);
  if (!routed) fork->n_routes = 0;
  choose(fork, origins);
  fork->step->name = "gradient";
  pass_autodiff(fork);
  pass_mask(fork);
  return pass_simplify(fork->step, p->arena);
}
