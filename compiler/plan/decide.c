/* SPDX-License-Identifier: Apache-2.0
 * decide.c -- which values get a buffer and which are computed where they are read.
 * requires: w->force, w->region, users   changes: w->why, w->cost, some layouts
 *
 * Cost of one element where it is read: a load or a simple operation 1, division and root 4, a transcendental
 * 12, a draw 24, summed over the inlined expression. What several steps read is kept from COST_SHARED on:
 * below it, computing again costs less than a trip through memory (measured on AVX-512: exp 0.07 ns an
 * element in L2, a load and a store of 4 bytes from L3 or memory 0.1 to 0.2 ns). A number that all elements read is computed
 * once by each kernel and thread: up to COST_SCALAR that costs less than the barrier behind one thread's computing it. */
#include "plan_work.h"
#include <string.h>

enum { COST_SHARED = 12, COST_SPREAD = 6, COST_SCALAR = 6, COST_EPILOGUE = 8, COST_EXPRESSION = 1000 };

double value_cost(const Value *v) {
  switch (v->op) {
  case OP_CONST: return v->data ? 1 : 0;
  case OP_IOTA:
  case OP_CLOCK:
  case OP_SCALAR:
  case OP_STOP:
  case OP_TAP:
  case OP_ADJTAP:
  case OP_BCAST:
  case OP_TRANSPOSE:
  case OP_SLICE:
  case OP_RSLICE: return 0;
  case OP_EXP:
  case OP_LOG:
  case OP_TANH:
  case OP_ERF:
  case OP_SIGMOID:
  case OP_SOFTPLUS:
  case OP_SIN:
  case OP_COS: return 12;
  case OP_RANDOM:
  case OP_POW: return 24;
  case OP_DIV:
  case OP_SQRT:
  case OP_UNFOLD: return 4;
  case OP_PAD:
  case OP_PUT:
  case OP_TAKE:
  case OP_CONCAT:
  case OP_ROWPICK:
  case OP_GATHER: return 2;
  default: return 1;
  }
}

static bool must_store(const Value *v) {
  return op_class(v->op) == OPC_RED || v->op == OP_SCATTER || v->op == OP_FOLD || v->op == OP_ROWLIST || v->op == OP_ROWPLACE || v->op == OP_CALL;
}

/* Whether u evaluates its argument a many times for one element of a. */
static bool spreads(const Work *w, const Value *u, ValueId a) {
  const Shape *from = &w->g->v[a].shape;
  int64_t rows = w->fn->max_rows;
  if (u->op == OP_UNFOLD || (u->op == OP_GATHER && u->shape.rank > from->rank)) return true;
  return u->op == OP_BCAST && shape_count(&u->shape, rows) != shape_count(from, rows);
}

static bool too_dear_to_spread(const Work *w, ValueId a) {
  return w->cost[a] > (w->g->v[a].shape.rank ? COST_SPREAD : COST_SCALAR);
}

static void costs(Work *w) {
  Graph *g = w->g;
  for (ValueId v = 1; v < g->n; v++) {
    const Value *u = &g->v[v];
    if (!w->live[v]) continue;
    if (w->why[v] || w->region[v]) {
      w->cost[v] = 1;
      continue;
    }
    double c = value_cost(u);
    for (uint32_t i = 0; i < u->n_args; i++) /* what is too dear to be spread will have a buffer */
      c += spreads(w, u, u->args[i]) && too_dear_to_spread(w, u->args[i]) ? 1 : w->cost[u->args[i]];
    w->cost[v] = c;
  }
}

/* Steps that would compute v if it were inlined: at most READERS are told apart. */
enum { READERS = 4 };
typedef struct Readers {
  uint32_t n;
  ValueId step[READERS];
} Readers;

static void readers_add(Readers *r, ValueId step) {
  for (uint32_t i = 0; i < r->n; i++)
    if (r->step[i] == step) return;
  if (r->n < READERS) r->step[r->n++] = step;
}

static void readers_of(const Work *w, ValueId v, const Readers *all, Readers *out) {
  for (uint32_t i = w->user_at[v]; i < w->user_at[v + 1]; i++) {
    ValueId u = w->users[i];
    if (w->region[u]) readers_add(out, w->region[u]);
    else if (w->why[u]) readers_add(out, u);
    else
      for (uint32_t k = 0; k < all[u].n; k++) readers_add(out, all[u].step[k]);
  }
}

static bool spread_by_user(const Work *w, ValueId v) {
  for (uint32_t i = w->user_at[v]; i < w->user_at[v + 1]; i++)
    if (spreads(w, &w->g->v[w->users[i]], v)) return true;
  return false;
}

static bool is_table(const Work *w, ValueId v) {
  for (uint32_t i = w->user_at[v]; i < w->user_at[v + 1]; i++) {
    const Value *u = &w->g->v[w->users[i]];
    if (u->op == OP_GATHER && u->args[0] == v) return true;
  }
  return false;
}

/* One thread asks it of every row. */
static bool is_scanned(const Work *w, ValueId v) {
  for (uint32_t i = w->user_at[v]; i < w->user_at[v + 1]; i++)
    if (w->g->v[w->users[i]].op == OP_ROWLIST) return op_class(w->g->v[v].op) != OPC_LEAF;
  return false;
}

/* Read for all rows where it was computed for some: inlined, it would be computed for all. */
static bool is_put_back(const Work *w, ValueId v) {
  if (op_is_view(&w->g->v[v]) || op_class(w->g->v[v].op) == OPC_LEAF || w->cost[v] <= 2) return false;
  for (uint32_t i = w->user_at[v]; i < w->user_at[v + 1]; i++) {
    const Value *u = &w->g->v[w->users[i]];
    if (u->op == OP_ROWPICK && u->args[0] == v && w->g->v[u->args[1]].op != OP_ROWLIST) return true;
  }
  return false;
}

static const char *reason_to_keep(const Work *w, ValueId v, const Readers *r) {
  const Value *u = &w->g->v[v];
  double c = w->cost[v];
  if (must_store(u))
    return u->op == OP_SCATTER ? "rows added up" : u->op == OP_FOLD ? "windows added up"
           : u->op == OP_ROWLIST ? "rows that take a branch" : u->op == OP_ROWPLACE ? "places of rows that take a branch" : u->op == OP_CALL ? "a plugin's result" : "reduction";
  if (is_table(w, v)) return "table of a gather";
  if (is_scanned(w, v)) return "asked row by row";
  if (is_put_back(w, v)) return "put back among all rows";
  if (op_class(u->op) == OPC_LEAF) {
    if (u->op != OP_RANDOM || r->n < 2) return NULL;
    return arena_printf(w->arena, "one draw read by %s%u steps", r->n == READERS ? "at least " : "", r->n);
  }
  bool scalar = u->shape.rank == 0;
  if (spread_by_user(w, v) && too_dear_to_spread(w, v))
    return arena_printf(w->arena, "read many times, cost %.0f", c);
  if (r->n > 1 && c > (scalar ? COST_SPREAD : COST_SHARED))
    return arena_printf(w->arena, "read by %s%u steps, cost %.0f", r->n == READERS ? "at least " : "", r->n,
                        c);
  if (c > COST_EXPRESSION) return arena_printf(w->arena, "long expression, cost %.0f", c);
  return NULL;
}

static void decide_outside(Work *w) {
  Graph *g = w->g;
  Readers *all = ARENA_NEWS(w->scratch, Readers, g->n);
  for (ValueId v = g->n; v-- > 1;) {
    if (!w->live[v] || w->region[v] || value_has_leaf_buffer(&g->v[v])) continue;
    readers_of(w, v, all, &all[v]);
    w->why[v] = w->force[v] ? w->force[v] : reason_to_keep(w, v, &all[v]);
  }
}

/* Members of an epilogue: what others read is stored, unless it follows cheaply from members that are stored
 * anyway. */
static void decide_epilogues(Work *w) {
  Graph *g = w->g;
  bool *avail = ARENA_NEWS(w->scratch, bool, g->n);
  for (ValueId v = 1; v < g->n; v++) {
    if (!w->live[v] || !w->region[v]) continue;
    const Value *u = &g->v[v];
    bool outside = false, inlinable = u->op != OP_DOT;
    for (uint32_t i = w->user_at[v]; i < w->user_at[v + 1]; i++)
      outside |= w->region[w->users[i]] != w->region[v];
    double c = value_cost(u);
    for (uint32_t i = 0; i < u->n_args; i++) {
      ValueId a = u->args[i];
      if (w->region[a] == w->region[v]) inlinable &= avail[a];
      c += w->cost[a];
    }
    if (w->force[v]) w->why[v] = w->force[v];
    else if (is_table(w, v)) w->why[v] = "table of a gather";
    else if (is_scanned(w, v)) w->why[v] = "asked row by row";
    else if (is_put_back(w, v)) w->why[v] = "put back among all rows";
    else if (outside && !(inlinable && c <= COST_EPILOGUE))
      w->why[v] = u->op == OP_DOT ? "gemm result" : "read after the epilogue";
    avail[v] = w->why[v] || inlinable;
    w->cost[v] = w->why[v] ? 1 : c;
  }
}

void value_strides(const Work *w, ValueId v, int64_t *strides) {
  const Value *u = &w->g->v[v];
  const uint32_t root = w->store_root[v];
  if (root) memcpy(strides, w->plan->params[w->g->roots[root - 1].a].strides, IR_MAX_RANK * sizeof *strides);
  else layout_strides(&w->layout[v], &u->shape, u->dtype, w->fn->max_rows, strides);
}

static bool epilogue_has_accumulator(const Work *w, ValueId d) {
  int64_t want[IR_MAX_RANK], got[IR_MAX_RANK];
  const Value *u = &w->g->v[d];
  layout_strides(&w->layout[d], &u->shape, DT_F32, w->fn->max_rows, want);
  for (ValueId v = d; v < w->g->n; v++) {
    if (w->region[v] != d || !w->why[v] || w->g->v[v].dtype != DT_F32) continue;
    value_strides(w, v, got);
    if (memcmp(want, got, (size_t)u->shape.rank * sizeof *got) == 0) return true;
  }
  return false;
}

void plan_decide(Work *w) {
  Graph *g = w->g;
  w->why = ARENA_NEWS(w->scratch, const char *, g->n);
  w->cost = ARENA_NEWS(w->scratch, double, g->n);
  for (ValueId v = 1; v < g->n; v++)
    if (w->live[v] && !w->region[v] && !value_has_leaf_buffer(&g->v[v]))
      w->why[v] = w->force[v] ? w->force[v] : must_store(&g->v[v]) ? "reduction" : NULL;
  costs(w);
  decide_outside(w);
  costs(w);
  decide_epilogues(w);
  for (ValueId d = 1; d < g->n; d++)
    if (w->live[d] && g->v[d].op == OP_DOT && !w->why[d] && !epilogue_has_accumulator(w, d))
      w->why[d] = "holds the sums between blocks of the contraction";
}

/* ---- gradients lie like their parameter ------------------------------------------------------------- */

bool dot_fits(const Work *w, ValueId d, const Layout *l) {
  const Value *u = &w->g->v[d];
  View a, b;
  ValueId base;
  operand_view(w, u->args[0], &a, &base);
  operand_view(w, u->args[1], &b, &base);
  int64_t cs[IR_MAX_RANK];
  layout_strides(l, &u->shape, DT_F32, w->fn->max_rows, cs);
  DotAxes x = dot_axes(w->g, u);
  GemmGeom geom;
  bool swapped;
  return gemm_geometry(&x, &a, &b, &u->shape, cs, w->fn->max_rows, &geom, &swapped);
}

/* Gradients that are made of parts lie in parts that lie alike. */
static bool is_made_of_parts(Op op) { return op == OP_CONCAT || op == OP_PAD || op == OP_SLICE; }

static void follow(Work *w, ValueId v, const Layout *l, const Shape *shape, bool *seen) {
  while (!seen[v]) {
    seen[v] = true;
    const Value *u = &w->g->v[v];
    if (op_class(u->op) == OPC_LEAF || !shape_equal(&u->shape, shape) || w->layout[v].set) return;
    if (u->op == OP_DOT && !dot_fits(w, v, l)) return;
    w->layout[v] = *l;
    w->layout[v].set = true;
    bool parts = is_made_of_parts(u->op);
    if (op_class(u->op) != OPC_ELT && !parts) return;
    for (uint32_t i = 1; i < u->n_args; i++)
      follow(w, u->args[i], l, parts ? &w->g->v[u->args[i]].shape : shape, seen);
    v = u->args[0];
    if (parts) shape = &w->g->v[v].shape;
  }
}

void plan_layouts(Work *w) {
  bool *seen = ARENA_NEWS(w->scratch, bool, w->g->n);
  for (uint32_t i = 0; i < w->g->n_roots; i++) {
    const Root *r = &w->g->roots[i];
    if (r->kind == ROOT_PARAM || r->kind == ROOT_STATE || r->kind == ROOT_GRAD)
      follow(w, r->value, &w->param_layout[r->a], &w->plan->program->params[r->a].shape, seen);
  }
}
