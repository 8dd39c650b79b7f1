/* SPDX-License-Identifier: Apache-2.0
 * cost.c -- what a step computes and moves, as sums over products of row counts: exact whatever a batch's row sets are.
 * Operations: 2*m*n*k for a product, 1 for each element and operation elsewhere. Bytes: values that are loaded and stored, each
 * once, as if caches were large enough; padding, packing and partial sums are not counted. */
#include "plan_work.h"
#include <string.h>

static CostTerm term_of(const Shape *shape) {
  CostTerm t = {.flops = 1};
  for (int i = 0; i < shape->rank; i++) {
    if (!dim_is_rows(shape->d[i])) {
      t.flops *= (double)shape->d[i];
      continue;
    }
    uint32_t at = t.n++;
    for (; at > 0 && t.sets[at - 1] > dim_set(shape->d[i]); at--) t.sets[at] = t.sets[at - 1];
    t.sets[at] = (uint8_t)dim_set(shape->d[i]);
  }
  return t;
}

/* Products of the rows of its sets, of `rows` in the batch, each set with its expected share. */
static double expected_rows(const PlanFn *f, const CostTerm *t, double rows) {
  double n = 1;
  for (uint32_t i = 0; i < t->n; i++) n *= rows * (f->set_share ? f->set_share[t->sets[i]] : 1);
  return n;
}

static double expected_count(const PlanFn *f, const Shape *shape) {
  const CostTerm t = term_of(shape);
  return t.flops * expected_rows(f, &t, (double)f->max_rows);
}

/* The step's term for products of the same row sets as `t`. */
static CostTerm *term_like(Step *s, const CostTerm *t) {
  for (uint32_t i = 0; i < s->n_cost; i++)
    if (s->cost[i].n == t->n && !memcmp(s->cost[i].sets, t->sets, sizeof t->sets)) return &s->cost[i];
  CostTerm *fresh = &s->cost[s->n_cost++];
  *fresh = (CostTerm){.n = t->n};
  memcpy(fresh->sets, t->sets, sizeof t->sets);
  return fresh;
}

/* `flops` operations and `bytes` bytes for each element of `shape`. */
static void add(Step *s, const Shape *shape, double flops, double bytes) {
  const CostTerm t = term_of(shape);
  CostTerm *to = term_like(s, &t);
  to->flops += t.flops * flops;
  to->bytes += t.flops * bytes;
}

/* ---- values that are loaded */

/* Which buffers a step reads, and in what shapes. */
typedef struct CostReads {
  BufferId *buffer;
  Shape *shape;
  uint32_t n;
  CostTerm *terms; /* room for the step's */
} Reads;

static void reads_add(Reads *r, BufferId b, const Shape *shape) {
  r->buffer[r->n] = b, r->shape[r->n++] = *shape;
}

/* Each buffer at most once as a whole, however many places read it. */
static void reads_count(const PlanFn *f, const Reads *r, Step *s) {
  for (uint32_t i = 0; i < r->n; i++) {
    const Buffer *b = &f->buffers[r->buffer[i]];
    const double all = expected_count(f, &b->shape);
    double parts = 0;
    bool first = true;
    for (uint32_t k = 0; k < r->n; k++) {
      if (r->buffer[k] != r->buffer[i]) continue;
      if (k < i) first = false;
      parts += expected_count(f, &r->shape[k]);
    }
    if (parts < all) add(s, &r->shape[i], 0, (double)dtype_size(b->dtype));
    else if (first) add(s, &b->shape, 0, (double)dtype_size(b->dtype));
  }
}

/* Elements of the product of some extents. */
static Shape extents_shape(const Extent *e, uint32_t n) {
  Shape s = {.rank = 1, .d = {1}};
  for (uint32_t i = 0; i < n; i++) {
    s.d[0] = sat_mul(s.d[0], e[i].n);
    if (e[i].rows) s.d[s.rank++] = dim_of_set(e[i].rows - 1);
  }
  return s;
}

static void cost_gemm(Step *s, Reads *r) {
  const GemmGeom *g = &s->geom;
  Extent e[3 + PLAN_MAX_GEMM_BATCH] = {g->m, g->n, g->k};
  for (uint32_t i = 0; i < g->n_batch; i++) e[3 + i] = g->batch[i];
  Shape all = extents_shape(e, 3 + g->n_batch);
  const CostTerm t = term_of(&all);
  term_like(s, &t)->products = 2 * t.flops;
  add(s, &all, 2, 0);
  e[1] = (Extent){1, 0}; /* A has no N, B no M */
  all = extents_shape(e, 3 + g->n_batch);
  reads_add(r, s->a.buffer, &all);
  e[0] = e[1], e[1] = g->n;
  all = extents_shape(e, 3 + g->n_batch);
  reads_add(r, s->b.buffer, &all);
}

/* Views and gathers read no more than what they give. */
static const Shape *read_shape(const Work *w, const Value *u, ValueId arg) {
  const Shape *all = &w->g->v[arg].shape;
  const bool picks = op_class(u->op) == OPC_VIEW || u->op == OP_GATHER;
  return picks && expected_count(w->fn, &u->shape) < expected_count(w->fn, all) ? &u->shape : all;
}

static void cost_value(Work *w, Step *s, const Value *u) {
  if (op_class(u->op) == OPC_ELT && !op_is_identity(u->op)) add(s, &u->shape, 1, 0);
  if (op_class(u->op) == OPC_RED || u->op == OP_SCATTER || u->op == OP_FOLD) add(s, &w->g->v[u->args[0]].shape, 1, 0);
}

/* All values computed here, down to those that lie in buffers. */
static void cost_walk(Work *w, const Node *n, Step *s, Reads *r) {
  uint32_t top = 0;
  w->now++;
  for (uint32_t i = 0; i < n->n_outs; i++) {
    const Buffer *b = &w->fn->buffers[n->outs[i].buffer];
    w->stamp[n->outs[i].value] = w->now;
    w->stack[top++] = n->outs[i].value;
    if (n->outs[i].buffer) add(s, &b->shape, 0, (double)dtype_size(b->dtype));
  }
  while (top) {
    const ValueId v = w->stack[--top];
    const Value *u = &w->g->v[v];
    if (v == n->dot) continue;
    cost_value(w, s, u);
    for (uint32_t i = 0; i < u->n_args; i++) {
      const ValueId a = u->args[i];
      if (w->stamp[a] == w->now) continue;
      if (w->fn->buffer_of[a]) {
        reads_add(r, w->fn->buffer_of[a], read_shape(w, u, a));
        continue;
      }
      w->stamp[a] = w->now;
      w->stack[top++] = a;
    }
  }
}

/* Room for the largest step, made once for a function. */
static Reads *reads_room(Work *w) {
  if (w->cost_room) return w->cost_room;
  uint32_t edges = 2;
  for (ValueId v = 1; v < w->g->n; v++) edges += w->g->v[v].n_args;
  Reads *r = w->cost_room = ARENA_NEW(w->scratch, Reads);
  r->buffer = ARENA_NEWS(w->scratch, BufferId, edges), r->shape = ARENA_NEWS(w->scratch, Shape, edges);
  r->terms = ARENA_NEWS(w->scratch, CostTerm, w->g->n + 2 * edges); /* values, what is stored, what is read */
  return r;
}

void plan_cost(Work *w, const Node *n, Step *s) {
  Reads *r = reads_room(w);
  r->n = 0, s->cost = r->terms, s->n_cost = 0;
  if (n->kind == STEP_GEMM) cost_gemm(s, r);
  cost_walk(w, n, s, r);
  reads_count(w->fn, r, s);
  s->cost = ARENA_NEWS(w->arena, CostTerm, s->n_cost);
  if (s->n_cost) memcpy(s->cost, r->terms, s->n_cost * sizeof *s->cost);
  for (uint32_t i = 0; i < s->n_cost; i++) {
    const CostTerm *t = &s->cost[i];
    if (!t->n) s->flops_fixed += t->flops;
    else s->flops_per_row += t->flops * expected_rows(w->fn, t, (double)w->fn->max_rows) / (double)w->fn->max_rows;
  }
}

Phase plan_step_phase(const PlanFn *f, const Step *s) {
  if (!s->n_outs) return PHASE_FORWARD;
  return f->graph->v[s->kind == STEP_GEMM ? s->dot : s->outs[0].value].phase;
}
