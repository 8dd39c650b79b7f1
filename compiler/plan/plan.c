/* SPDX-License-Identifier: Apache-2.0
 * plan.c -- plans all functions of a program: the column of stages, parameters' places, buffers, steps. */
#include "plan_work.h"
#include <string.h>
#include <xxhash.h>
#include <stdlib.h>

/* ---- parameters ------------------------------------------------------------------------------------- */

/* How a DOT wants its operand v to lie: [batch, contraction, free], free axes innermost, so that the free
 * axis can be read as vectors. Follows transposes down to a parameter; false if v is none. */
static bool operand_layout(const Graph *g, ValueId v, const uint8_t *const lists[3], const uint32_t n[3],
                           uint32_t *param, Layout *l) {
  uint8_t axes[IR_MAX_RANK], rank = 0;
  for (int part = 0; part < 3; part++)
    for (uint32_t i = 0; i < n[part]; i++) axes[rank++] = lists[part][i];
  for (const Value *u = &g->v[v];; u = &g->v[u->args[0]]) {
    if (u->op == OP_PARAM) {
      *param = (uint32_t)u->ints[0];
      break;
    }
    if (u->op == OP_TRANSPOSE)
      for (int i = 0; i < rank; i++) axes[i] = (uint8_t)u->ints[axes[i]];
    else if (!op_is_identity(u->op)) return false;
  }
  *l = layout_default(rank);
  memcpy(l->order, axes, rank);
  if (n[2]) l->tail = (uint8_t)n[2];
  return l->set = true;
}

/* The first forward use decides. */
static void layouts_from(const Graph *g, Layout *of) {
  for (ValueId v = 1; v < g->n; v++) {
    if (g->v[v].op != OP_DOT) continue;
    DotAxes x = dot_axes(g, &g->v[v]);
    const uint8_t *const a[3] = {x.ba, x.ca, x.fa}, *const b[3] = {x.bb, x.cb, x.fb};
    const uint32_t na[3] = {x.nb, x.nc, x.nfa}, nb[3] = {x.nb, x.nc, x.nfb};
    for (int s = 0; s < 2; s++) {
      Layout l;
      uint32_t k;
      if (operand_layout(g, g->v[v].args[s], s ? b : a, s ? nb : na, &k, &l) && !of[k].set) of[k] = l;
    }
  }
}

/* Byte offset of the next copy: aligned, and copies that are walked side by side start in different cache
 * sets. */
static int64_t place(int64_t *top, int64_t floats, uint32_t *number) {
  int64_t bytes = sat_mul(floats, 4), at = *top;
  if (bytes >= 4096) {
    int64_t want = (int64_t)(*number * 17u % 64u) * PLAN_LINE;
    at = sat_add(at, ((want - at) % 4096 + 4096) % 4096);
  }
  ++*number;
  *top = sat_add(at, bytes);
  return at;
}

static Layout *plan_params(Plan *plan) {
  const Program *p = plan->program;
  Layout *l = ARENA_NEWS(plan->arena, Layout, p->n_params);
  if (p->step) layouts_from(p->step, l);
  for (uint32_t i = 0; i < p->n_evals; i++)
    if (p->evals[i].graph) layouts_from(p->evals[i].graph, l);
  plan->params = ARENA_NEWS(plan->arena, ParamPlace, p->n_params);
  uint32_t number = 0;
  for (uint32_t i = 0; i < p->n_params; i++) {
    ParamPlace *q = &plan->params[i];
    const Shape *s = &p->params[i].shape;
    if (!l[i].set) l[i] = layout_default((uint32_t)s->rank);
    int64_t n = layout_strides(&l[i], s, DT_F32, 1, q->strides);
    q->floats = n > INT64_MAX - PLAN_VEC ? INT64_MAX : (n + PLAN_VEC - 1) / PLAN_VEC * PLAN_VEC;
    q->offset = place(&plan->store_bytes, q->floats, &number);
    for (uint32_t k = 0; k < p->params[i].n_states && k < PLAN_MAX_STATES; k++)
      q->state_offset[k] = place(&plan->store_bytes, q->floats, &number);
  }
  return l;
}

/* ---- buffers ---------------------------------------------------------------------------------------- */

static BufferId add_buffer(Work *w, ValueId v, Space space) {
  PlanFn *f = w->fn;
  const Value *u = &w->g->v[v];
  BufferId id = f->n_buffers++;
  Buffer *b = &f->buffers[id];
  *b = (Buffer){.value = v, .space = space, .dtype = u->dtype, .shape = u->shape, .last = UINT32_MAX};
  return id;
}

static BufferId store_buffer(Work *w, BufferId *of_slot, int64_t slot, ValueId v) {
  if (of_slot[slot]) return of_slot[slot];
  BufferId id = of_slot[slot] = add_buffer(w, v, SPACE_STORE);
  Buffer *b = &w->fn->buffers[id];
  const ParamPlace *p = &w->plan->params[slot / PLAN_SLOTS];
  memcpy(b->strides, p->strides, sizeof b->strides);
  b->offset = slot % PLAN_SLOTS ? p->state_offset[slot % PLAN_SLOTS - 1] : p->offset;
  b->bytes = sat_mul(p->floats, 4);
  b->index = (uint32_t)(slot / PLAN_SLOTS);
  return id;
}

static BufferId leaf_buffer(Work *w, ValueId v) {
  const Value *u = &w->g->v[v];
  BufferId id = add_buffer(w, v,
                           u->op == OP_COLUMN   ? SPACE_COLUMN
                           : u->op == OP_SCALAR ? SPACE_SCALAR
                                                : SPACE_CONST);
  Buffer *b = &w->fn->buffers[id];
  if (u->op != OP_CONST) b->index = (uint32_t)u->ints[0];
  int64_t s = 1;
  for (int i = u->shape.rank; i-- > 0;)
    b->strides[i] = s, s = sat_mul(s, extent_max(u->shape.d[i], w->fn->max_rows));
  b->bytes = sat_mul(s, (int64_t)dtype_size(u->dtype));
  return id;
}

static BufferId work_buffer(Work *w, ValueId v) {
  const Value *u = &w->g->v[v];
  BufferId id = add_buffer(w, v, w->each[v] ? SPACE_OWN : SPACE_WORK);
  Buffer *b = &w->fn->buffers[id];
  int64_t n = layout_strides(&w->layout[v], &u->shape, u->dtype, w->fn->max_rows, b->strides);
  int64_t bytes = sat_mul(n, (int64_t)dtype_size(u->dtype));
  b->bytes = bytes > INT64_MAX - PLAN_LINE ? INT64_MAX : (bytes + PLAN_LINE - 1) / PLAN_LINE * PLAN_LINE;
  if (b->space == SPACE_OWN) b->offset = w->fn->own_bytes, w->fn->own_bytes += (b->bytes + PLAN_PAGE - 1) / PLAN_PAGE * PLAN_PAGE;
  return id;
}

static BufferId tile_buffer(Work *w, ValueId v) {
  const Value *u = &w->g->v[v];
  BufferId id = add_buffer(w, v, SPACE_TILE);
  Buffer *b = &w->fn->buffers[id];
  layout_strides(&w->layout[v], &u->shape, u->dtype, w->fn->max_rows, b->strides);
  b->index = w->tiled[v] - 1;
  return id;
}

void plan_buffers(Work *w) {
  PlanFn *f = w->fn;
  Graph *g = w->g;
  f->buffer_of = ARENA_NEWS(w->arena, BufferId, g->n);
  f->buffers = ARENA_NEWS(w->arena, Buffer, g->n + PLAN_SLOTS * w->plan->program->n_params + 1);
  f->n_buffers = 1, f->own_bytes = 0;
  BufferId *of_slot = ARENA_NEWS(w->scratch, BufferId, PLAN_SLOTS * w->plan->program->n_params + 1);
  for (ValueId v = 1; v < g->n; v++) {
    if (!w->live[v]) continue;
    int64_t slot = w->store_root[v] ? root_slot(&g->roots[w->store_root[v] - 1]) : value_slot(&g->v[v]);
    if (slot >= 0) f->buffer_of[v] = store_buffer(w, of_slot, slot, v);
    else if (value_has_leaf_buffer(&g->v[v])) f->buffer_of[v] = leaf_buffer(w, v);
    else if (w->tiled[v]) f->buffer_of[v] = tile_buffer(w, v);
    else if (w->why[v]) f->buffer_of[v] = work_buffer(w, v);
  }
  for (uint32_t i = 0; i < w->n_nodes; i++)
    for (uint32_t k = 0; !w->nodes[i].dead && k < w->nodes[i].n_outs; k++)
      w->nodes[i].outs[k].buffer = f->buffer_of[w->nodes[i].outs[k].value];
  f->root_buffer = ARENA_NEWS(w->arena, BufferId, g->n_roots);
  for (uint32_t i = 0; i < g->n_roots; i++) f->root_buffer[i] = f->buffer_of[g->roots[i].value];
}

/* ---- functions -------------------------------------------------------------------------------------- */

static void plan_fn(Plan *plan, PlanFn *f, const Graph *source, const PlanOptions *o, const Layout *params) {
  bool *defer = ARENA_NEWS(plan->arena, bool, source->n_roots), done = false;
  while (!done) { /* each further round defers at least one more root */
    Work w = {.arena = plan->arena,
              .scratch = arena_create(),
              .plan = plan,
              .fn = f,
              .options = o,
              .param_layout = params,
              .defer = defer};
    plan_prepare(&w, source);
    plan_live(&w);
    plan_regions(&w);
    plan_layouts(&w);
    plan_decide(&w);
    plan_nodes(&w);
    if (plan_group(&w)) {
      f->graph = w.g;
      plan_owners(&w);
      plan_buffers(&w);
      plan_place(&w);
      plan_finish(&w);
      done = true;
    }
    arena_destroy(w.scratch);
  }
}

static uint64_t plan_hash(const Plan *p) {
  char *text = NULL;
  size_t n = 0;
  FILE *f = open_memstream(&text, &n);
  if (!f) {
    fputs("routec: out of memory\n", stderr);
    exit(70);
  }
  plan_print(p, f);
  fclose(f);
  uint64_t h = XXH64(text, n, 0);
  free(text);
  return h;
}

/* Data whose derived columns are computed at once. */
#define DERIVE_ROWS 1024

int64_t plan_eval_rows(const Program *p) {
  if (!p->train.present || p->train.batch >= 256) return 256;
  return p->train.batch > 0 ? p->train.batch : 1;
}

Plan *plan_make(Arena *a, const Program *p, const TargetInfo *t, const PlanOptions *o) {
  static const PlanOptions defaults = {.reuse_memory = true};
  if (!o) o = &defaults;
  Plan *plan = ARENA_NEW(a, Plan);
  plan->arena = a, plan->program = p, plan->target = *t;
  const Layout *layouts = plan_params(plan);
  if (p->train.present && p->step && !o->only_gradient) {
    plan->train.symbol = "routec_train";
    plan->train.max_rows = p->train.batch > 0 ? p->train.batch : 1;
    plan->train.n_sets = p->groups.n_sets;
    plan->train.set_share = p->packing.n_sets ? p->packing.share : p->groups.share;
    plan_fn(plan, &plan->train, p->step, o, layouts);
  }
  int64_t rows = o->eval_rows > 0 ? o->eval_rows : plan_eval_rows(p);
  plan->evals = ARENA_NEWS(a, PlanFn, p->n_evals);
  for (uint32_t i = 0; i < p->n_evals; i++) {
    plan->evals[i].symbol = arena_printf(a, "routec_eval_%u", i);
    plan->evals[i].max_rows = rows;
    plan->evals[i].set_share = p->evals[i].packing.share;
    plan_fn(plan, &plan->evals[i], p->evals[i].graph, o, layouts);
  }
  plan->derived = ARENA_NEWS(a, PlanFn, p->n_derived);
  for (uint32_t i = 0; i < p->n_derived; i++) {
    plan->derived[i].symbol = arena_printf(a, "routec_derive_%u", i);
    plan->derived[i].max_rows = DERIVE_ROWS;
    plan_fn(plan, &plan->derived[i], p->derived[i].graph, o, layouts);
  }
  if (p->train.present && p->gradient) {
    plan->gradient.symbol = "routec_gradient";
    plan->gradient.max_rows = p->train.batch > 0 ? p->train.batch : 1;
    plan_fn(plan, &plan->gradient, p->gradient, o, layouts);
  }
  plan->choices = plan_choices_used(a, plan, o->force_blas ? NULL : o->measured);
  plan->hash = plan_hash(plan);
  return plan;
}
