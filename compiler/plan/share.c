/* SPDX-License-Identifier: Apache-2.0
 * share.c -- which thread computes what of a step, and whether a step reads only what the same thread has computed: then
 * threads need not meet between the two. A function of extents and the batch planned for, never of the number of threads. */
#include "plan_work.h"
#include <string.h>

enum {
  MANY_ROWS = 8, /* an outer axis of at least so many is what threads share */
  MANY_COLUMNS = 128,
  COLUMNS_GRAIN = 64, /* four cache lines of floats */
  ROWS_GRAIN = 16     /* rows of a batch in steps of all kinds: a vector, and tiles of products */
};

/* Shares in such multiples are as even for two and four threads as any. */
int64_t plan_rows_grain(int64_t max_rows) { return max_rows % (4 * ROWS_GRAIN) == 0 || max_rows >= 512 ? ROWS_GRAIN : 0; }

static int64_t units(int64_t n, int64_t unit) { return n / unit + (n % unit != 0); }

Share plan_share_axes(const PlanFn *f, const Shape *space, const uint8_t *axes, int n, bool vector) {
  int best = -1;
  int64_t most = 0;
  for (int i = 0; i < n; i++) {
    const int64_t d = space->d[axes[i]], extent = plan_max_extent(f, d);
    const bool lanes = vector && i == n - 1 && d != 1;
    const int64_t mine = lanes ? units(extent, PLAN_LANES) : extent;
    if (mine > most) best = i, most = mine;
    if (extent < (lanes ? MANY_COLUMNS : MANY_ROWS)) continue;
    best = i;
    break;
  }
  if (best < 0) return (Share){.axis = SHARE_ALONE};
  const int64_t d = space->d[axes[best]], extent = plan_max_extent(f, d);
  const bool lanes = vector && best == n - 1 && d != 1;
  Share s = {.axis = (int8_t)axes[best], .grain = !lanes ? 1 : extent >= MANY_COLUMNS ? COLUMNS_GRAIN : PLAN_LANES};
  if (d == DIM_ROWS && plan_rows_grain(f->max_rows)) s.grain = plan_rows_grain(f->max_rows);
  if (units(extent, s.grain) < 2) s.axis = SHARE_ALONE;
  return s;
}

/* Products by rows of the batch: the one axis of the result that M is. */
static Share share_of_gemm(const PlanFn *f, const Step *s) {
  const Share unknown = {.axis = SHARE_OTHERWISE};
  if (s->impl != GEMM_EMITTED || s->geom.n_batch || s->tile.split || !s->tile.grain) return unknown;
  const DotAxes x = dot_axes(f->graph, &f->graph->v[s->dot]);
  const uint32_t from = s->swapped ? x.nfa : 0, to = from + (s->swapped ? x.nfb : x.nfa);
  Share r = unknown;
  for (uint32_t i = from; i < to; i++) {
    if (s->space.d[i] == 1) continue;
    if (r.axis >= 0) return unknown;
    r = (Share){.axis = (int8_t)i, .grain = s->tile.grain};
  }
  return r;
}

Share plan_step_share(const PlanFn *f, const Step *s) {
  uint8_t kept[IR_MAX_RANK];
  int n = 0;
  if (s->kind == STEP_CHECK) return (Share){.axis = SHARE_ALONE};
  if (s->n_outs && f->buffers[s->outs[0].buffer].space == SPACE_OWN) return (Share){.axis = SHARE_EACH};
  if (s->kind == STEP_MAP && !s->n_calls) return plan_share_axes(f, &s->space, s->order, s->space.rank, true);
  if (s->kind == STEP_GEMM) return share_of_gemm(f, s);
  if (s->kind != STEP_REDUCE) return (Share){.axis = SHARE_OTHERWISE};
  if (!s->space.rank) return (Share){.axis = SHARE_ALONE};
  if (plan_reduce_split(f, s).n_chunks) return (Share){.axis = SHARE_OTHERWISE};
  for (int i = 0; i < s->space.rank; i++)
    if (!(s->reduced >> s->order[i] & 1)) kept[n++] = s->order[i];
  const int last = s->order[s->space.rank - 1];
  return plan_share_axes(f, &s->space, kept, n, s->space.d[last] != 1 && !(s->reduced >> last & 1));
}

/* ---- who reads whose results ---- */

enum { ANYWHERE = -1 };
typedef struct Walk {
  const PlanFn *f;
  const Step *from, *to;
  int stored; /* axis of from's outputs that its threads share */
  bool own;
  uint16_t *seen; /* [value] bit 1 + axis */
  ValueId *touched;
  uint32_t n;
} Walk;

static bool is_out(const Step *s, ValueId v) {
  for (uint32_t i = 0; i < s->n_outs; i++)
    if (s->outs[i].value == v) return true;
  return false;
}

static void visit(Walk *w, ValueId v, int axis);

/* Where u's argument k is read if u is asked for the rows of a thread along `axis`: along which of its axes, or anywhere. */
static int axis_of_argument(const Graph *g, const Value *u, uint32_t k, int axis) {
  const Shape *a = &g->v[u->args[k]].shape;
  if (axis == ANYWHERE) return ANYWHERE;
  if (op_class(u->op) == OPC_ELT || op_is_identity(u->op)) return axis;
  int r = ANYWHERE;
  if (u->op == OP_TRANSPOSE || u->op == OP_BCAST) r = (int)u->ints[axis];
  if (u->op == OP_SLICE && u->ints[0] != axis) r = axis;
  if (u->op == OP_GATHER && k == 1 && axis < a->rank) r = axis;
  if (u->op == OP_RESHAPE) {
    r = axis;
    for (int i = 0; i <= axis; i++)
      if (i >= a->rank || a->d[i] != u->shape.d[i]) r = ANYWHERE;
  }
  return r >= 0 && a->d[r] == u->shape.d[axis] ? r : ANYWHERE;
}

static void descend(Walk *w, ValueId v, int axis) {
  const Value *u = &w->f->graph->v[v];
  for (uint32_t k = 0; k < u->n_args; k++) visit(w, u->args[k], axis_of_argument(w->f->graph, u, k, axis));
}

static void visit(Walk *w, ValueId v, int axis) {
  const uint16_t bit = (uint16_t)(1u << (axis + 1));
  if (w->seen[v] & bit || !w->own) return;
  if (!w->seen[v]) w->touched[w->n++] = v;
  w->seen[v] |= bit;
  if (is_out(w->from, v)) w->own = axis == w->stored;
  else if (is_out(w->to, v) ? v != w->to->dot : !w->f->buffer_of[v] && v != w->to->dot) descend(w, v, axis);
}

/* An operand is a view of a buffer, of whichever value along its chain of views. */
static void visit_operand(Walk *w, ValueId v, int axis) {
  for (const Graph *g = w->f->graph;; v = g->v[v].args[0]) {
    const Value *u = &g->v[v];
    if (is_out(w->from, v)) w->own &= axis == w->stored;
    if (!op_is_view(u)) return;
    axis = axis_of_argument(g, u, 0, axis);
  }
}

static void walk_step(Walk *w, int axis) {
  const Graph *g = w->f->graph;
  const Step *s = w->to;
  if (s->kind == STEP_GEMM) {
    const Value *d = &g->v[s->dot];
    const DotAxes x = dot_axes(g, d);
    visit_operand(w, d->args[s->swapped], s->swapped ? x.fb[axis - (int)x.nfa] : x.fa[axis]);
    visit_operand(w, d->args[!s->swapped], ANYWHERE);
  }
  for (uint32_t i = 0; i < s->n_outs; i++) {
    const ValueId v = s->outs[i].value;
    if (s->kind == STEP_REDUCE) visit(w, g->v[v].args[0], axis);
    else if (v != s->dot) descend(w, v, axis);
  }
}

ShareScratch plan_share_scratch(Arena *a, uint32_t n_values) {
  return (ShareScratch){ARENA_NEWS(a, uint16_t, n_values), ARENA_NEWS(a, ValueId, n_values)};
}

bool plan_shares_meet(const PlanFn *f, const Step *from, const Step *to, ShareScratch *scratch) {
  const Share a = plan_step_share(f, from), b = plan_step_share(f, to);
  if (a.axis == SHARE_EACH || (a.axis == SHARE_ALONE && b.axis == SHARE_ALONE)) return true;
  if (a.axis < 0 || b.axis < 0 || a.grain != b.grain || from->space.d[a.axis] != to->space.d[b.axis]) return false;
  Walk w = {.f = f, .from = from, .to = to, .stored = a.axis, .own = true, .seen = scratch->seen, .touched = scratch->touched};
  if (from->kind == STEP_REDUCE)
    for (int i = 0; i < a.axis; i++) w.stored -= (int)(from->reduced >> i & 1);
  walk_step(&w, b.axis);
  for (uint32_t i = 0; i < w.n; i++) w.seen[w.touched[i]] = 0;
  return w.own;
}
