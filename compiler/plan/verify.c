/* SPDX-License-Identifier: Apache-2.0
 * verify.c -- a plan is checked from its steps and buffers alone; nothing of the planner's own state is
 * trusted. */
#include "plan_work.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { NEVER = UINT32_MAX };
typedef struct Check {
  Arena *a;
  const Plan *plan;
  const PlanFn *f;
  const Graph *g;
  uint32_t *written; /* [value] step that stores it, or NEVER */
  uint32_t *stamp, now, *stack;
  uint32_t *reads, n_reads; /* values loaded by the present step */
  bool *elsewhere;
  ShareScratch scratch;
  const char *why;
} Check;

#define FAIL(c, ...) ((c)->why = (c)->why ? (c)->why : arena_printf((c)->a, __VA_ARGS__))

static bool is_out(const Step *s, ValueId v) {
  for (uint32_t i = 0; i < s->n_outs; i++)
    if (s->outs[i].value == v) return true;
  return false;
}

static void visit(Check *c, ValueId v, bool elsewhere, uint32_t *top) {
  uint32_t at = 2 * v + elsewhere;
  if (c->stamp[at] == c->now || c->stamp[2 * v + 1] == c->now) return;
  c->stamp[at] = c->now;
  c->stack[(*top)++] = at;
}

static void loads(Check *c, ValueId v, bool elsewhere) {
  for (uint32_t i = 0; i < c->n_reads; i++)
    if (c->reads[i] == v) {
      c->elsewhere[i] |= elsewhere;
      return;
    }
  c->elsewhere[c->n_reads] = elsewhere;
  c->reads[c->n_reads++] = v;
}

/* All values that step i loads, by the emitter's rules. */
static void step_loads(Check *c, uint32_t i) {
  const Step *s = &c->f->steps[i];
  uint32_t top = 0;
  c->now++, c->n_reads = 0;
  for (uint32_t k = 0; k < s->n_outs; k++) {
    ValueId v = s->outs[k].value;
    const Value *u = &c->g->v[v];
    for (uint32_t j = 0; (s->kind != STEP_GEMM || v != s->dot) && j < u->n_args; j++)
      visit(c, u->args[j], op_class(u->op) != OPC_ELT, &top);
  }
  while (top) {
    uint32_t at = c->stack[--top];
    ValueId v = at / 2;
    const Value *u = &c->g->v[v];
    if (s->kind == STEP_GEMM && v == s->dot) {
      if (at & 1) FAIL(c, "step %u reads its dot %%%u at another index", i, v);
    } else if (is_out(s, v)) {
      if (at & 1) FAIL(c, "step %u reads its own output %%%u at another index", i, v);
    } else if (c->f->buffer_of[v]) loads(c, v, at & 1);
    else if (op_class(u->op) == OPC_RED || u->op == OP_DOT || u->op == OP_SCATTER || u->op == OP_FOLD || u->op == OP_CALL)
      FAIL(c, "step %u would compute %%%u (%s) where it is read", i, v, op_name(u->op));
    else if (u->op == OP_GATHER && !c->f->buffer_of[u->args[0]])
      FAIL(c, "the table of gather %%%u has no buffer", v);
    else
      for (uint32_t j = 0; j < u->n_args; j++)
        visit(c, u->args[j], (at & 1) || op_class(u->op) != OPC_ELT, &top);
  }
}

/* ---- buffers ---------------------------------------------------------------------------------------- */

static int64_t span_elements(const Shape *s, const int64_t *strides, int64_t rows) {
  int64_t last = 0;
  for (int i = 0; i < s->rank; i++) last = sat_add(last, sat_mul(extent_max(s->d[i], rows) - 1, strides[i]));
  return sat_add(last, 1);
}

static bool strides_distinct(const Shape *s, const int64_t *strides, int64_t rows) {
  /* Axes sorted by stride must nest. */
  int axes[IR_MAX_RANK], n = 0;
  for (int i = 0; i < s->rank; i++)
    if (extent_max(s->d[i], rows) > 1) axes[n++] = i;
  for (int i = 1; i < n; i++)
    for (int j = i; j > 0 && strides[axes[j - 1]] > strides[axes[j]]; j--) {
      int t = axes[j];
      axes[j] = axes[j - 1], axes[j - 1] = t;
    }
  int64_t need = 1;
  for (int i = 0; i < n; i++) {
    if (strides[axes[i]] < need) return false;
    need = sat_mul(strides[axes[i]], extent_max(s->d[axes[i]], rows));
  }
  return true;
}

static void check_buffer(Check *c, BufferId id) {
  const PlanFn *f = c->f;
  const Buffer *b = &f->buffers[id];
  if (!b->value || b->value >= c->g->n) {
    FAIL(c, "buffer %u of no value", id);
    return;
  }
  if (!strides_distinct(&b->shape, b->strides, f->max_rows)) FAIL(c, "elements of buffer %u coincide", id);
  if (b->space > SPACE_STORE) return;
  int64_t need = sat_mul(span_elements(&b->shape, b->strides, f->max_rows), (int64_t)dtype_size(b->dtype));
  if (need > b->bytes) FAIL(c, "buffer %u holds %" PRId64 " bytes of %" PRId64, id, b->bytes, need);
  if (b->offset < 0 || b->offset % PLAN_LINE) FAIL(c, "buffer %u at offset %" PRId64, id, b->offset);
  int64_t room = b->space == SPACE_WORK ? f->work_bytes : b->space == SPACE_OWN ? f->own_bytes : c->plan->store_bytes;
  if (sat_add(b->offset, b->bytes) > room) FAIL(c, "buffer %u ends beyond its slab", id);
}

static void check_overlap(Check *c) {
  const PlanFn *f = c->f;
  for (BufferId i = 1; i < f->n_buffers; i++)
    for (BufferId j = i + 1; j < f->n_buffers; j++) {
      const Buffer *x = &f->buffers[i], *y = &f->buffers[j];
      if (x->space != y->space || x->space > SPACE_STORE) continue;
      bool together = x->space != SPACE_WORK || (x->first <= y->last && y->first <= x->last);
      if (x->space == SPACE_WORK && (y->over == i || x->over == j)) together = false; /* check_kept */
      if (together && x->offset < sat_add(y->offset, y->bytes) && y->offset < sat_add(x->offset, x->bytes))
        FAIL(c, "live buffers %u and %u overlap", i, j);
    }
}

/* ---- steps ------------------------------------------------------------------------------------------ */

static void check_view(Check *c, uint32_t i, const View *v, const char *which) {
  if (!v->buffer || v->buffer >= c->f->n_buffers) {
    FAIL(c, "operand %s of step %u has no buffer", which, i);
    return;
  }
  const Buffer *b = &c->f->buffers[v->buffer];
  if (b->space > SPACE_STORE) FAIL(c, "operand %s of step %u lies in no slab", which, i);
  int64_t end = sat_add(v->start, span_elements(&v->shape, v->strides, c->f->max_rows));
  if (v->start < 0 || sat_mul(end, (int64_t)dtype_size(b->dtype)) > b->bytes)
    FAIL(c, "operand %s of step %u leaves its buffer", which, i);
  if (b->dtype != DT_F32) FAIL(c, "operand %s of step %u is not f32", which, i);
}

static bool extent_equal(Extent a, Extent b) { return a.n == b.n && a.rows == b.rows; }

static int64_t extent_most(const PlanFn *f, Extent e) { return e.rows ? sat_mul(e.n, f->max_rows) : e.n; }

static void check_gemm(Check *c, uint32_t i) {
  const Step *s = &c->f->steps[i];
  check_view(c, i, &s->a, "a"), check_view(c, i, &s->b, "b");
  if (c->why) return;
  if (!s->dot || s->dot >= c->g->n || c->g->v[s->dot].op != OP_DOT) {
    FAIL(c, "step %u has no dot", i);
    return;
  }
  const Value *d = &c->g->v[s->dot];
  const Buffer *out = s->n_outs ? &c->f->buffers[s->outs[0].buffer] : NULL;
  const bool held = out && (out->space == SPACE_WORK || (out->space == SPACE_STORE && s->tile.whole && s->impl == GEMM_EMITTED));
  if (!held || out->dtype != DT_F32) {
    FAIL(c, "step %u has no accumulator", i);
    return;
  }
  GemmGeom g;
  bool swapped;
  DotAxes x = dot_axes(c->g, d);
  if (!gemm_geometry(&x, s->swapped ? &s->b : &s->a, s->swapped ? &s->a : &s->b, &d->shape, out->strides,
                     c->f->max_rows, &g, &swapped) ||
      swapped != s->swapped || !extent_equal(g.m, s->geom.m) || !extent_equal(g.n, s->geom.n) ||
      !extent_equal(g.k, s->geom.k) || g.n_batch != s->geom.n_batch || g.am != s->geom.am ||
      g.ak != s->geom.ak || g.bk != s->geom.bk || g.bn != s->geom.bn || g.cm != s->geom.cm)
    FAIL(c, "geometry of step %u is not that of its operands and result", i);
  for (uint32_t k = 0; k < g.n_batch; k++)
    if (!extent_equal(g.batch[k], s->geom.batch[k]) || g.a_batch[k] != s->geom.a_batch[k] ||
        g.b_batch[k] != s->geom.b_batch[k] || g.c_batch[k] != s->geom.c_batch[k])
      FAIL(c, "batch axis %u of step %u differs", k, i);
  if (s->tile.whole && extent_most(c->f, s->geom.k) > s->tile.kc) FAIL(c, "sums of step %u are longer than a block", i);
  if (s->impl == GEMM_EMITTED && (s->tile.mr < 1 || s->tile.nv < 1)) FAIL(c, "step %u has no tile", i);
}

static bool is_alone(const PlanFn *f, uint32_t i) { return plan_step_share(f, &f->steps[i]).axis == SHARE_ALONE; }
static bool is_each(const PlanFn *f, uint32_t i) { return plan_step_share(f, &f->steps[i]).axis == SHARE_EACH; }

static void check_space(Check *c, uint32_t i) {
  const Step *s = &c->f->steps[i];
  for (uint32_t k = 0; k < s->n_outs; k++) {
    const Value *u = &c->g->v[s->outs[k].value];
    const Buffer *b = &c->f->buffers[s->outs[k].buffer];
    const bool of_arg = s->kind == STEP_REDUCE || s->kind == STEP_SCATTER || s->kind == STEP_PACK;
    const Shape *space = of_arg ? &c->g->v[u->args[0]].shape : &u->shape;
    if (!shape_equal(&b->shape, &u->shape) || b->dtype != u->dtype)
      FAIL(c, "buffer %u is not made for output %%%u", s->outs[k].buffer, s->outs[k].value);
    if (s->kind != STEP_CALL && !shape_equal(space, &s->space))
      FAIL(c, "output %%%u of step %u has another space", s->outs[k].value, i);
    if (s->kind == STEP_REDUCE) {
      uint32_t set = 0;
      for (uint32_t j = 0; j < u->n_ints; j++) set |= 1u << u->ints[j];
      if (op_class(u->op) != OPC_RED || set != s->reduced)
        FAIL(c, "step %u reduces other axes than %%%u", i, s->outs[k].value);
    }
    if (b->space > SPACE_STORE) FAIL(c, "output %%%u of step %u cannot be stored", s->outs[k].value, i);
    if ((b->space == SPACE_OWN) != is_each(c->f, i) || (is_each(c->f, i) && (s->kind != STEP_MAP || s->n_calls)))
      FAIL(c, "output %%%u of step %u is a thread's own beside others", s->outs[k].value, i);
  }
  uint32_t axes = 0;
  for (int k = 0; k < s->space.rank; k++) axes |= 1u << s->order[k];
  if (s->kind != STEP_CHECK && axes != (1u << s->space.rank) - 1)
    FAIL(c, "loop order of step %u is no permutation", i);
  if (s->kind != STEP_CHECK && !s->n_outs) FAIL(c, "step %u stores nothing", i);
}

static bool collide(const Buffer *x, const Buffer *y) {
  return x->space == y->space && x->offset < sat_add(y->offset, y->bytes) && y->offset < sat_add(x->offset, x->bytes);
}

/* Whether each element of `fresh` lies on that of `old`, and step s stores it after its last look there. A product whose sums lie in its first
 * output between blocks stores before its epilogue looks. */
static bool in_place(const Step *s, const Buffer *old, const Buffer *fresh) {
  const bool ahead = s->kind == STEP_GEMM && (s->impl != GEMM_EMITTED || !s->tile.whole);
  if ((s->kind != STEP_MAP && s->kind != STEP_GEMM) || s->n_calls || ahead || old->offset != fresh->offset || old->dtype != fresh->dtype) return false;
  if (!shape_equal(&old->shape, &fresh->shape)) return false;
  for (int i = 0; i < old->shape.rank; i++)
    if (old->strides[i] != fresh->strides[i]) return false;
  return true;
}

/* Between the wave that stores v and that of step i, which reads it (NEVER: the end), nobody stores where it lies; step i itself may, in
 * place. */
static void check_kept(Check *c, uint32_t i, ValueId v, bool elsewhere) {
  const PlanFn *f = c->f;
  const BufferId id = f->buffer_of[v];
  const Buffer *b = &f->buffers[id];
  if (b->space != SPACE_WORK || c->written[v] == NEVER) return;
  uint32_t k = c->written[v];
  while (k && f->steps[k - 1].wave == f->steps[k].wave) k--;
  for (; k < f->n_steps && (i == NEVER || f->steps[k].wave <= f->steps[i].wave); k++)
    for (uint32_t j = 0; j < f->steps[k].n_outs; j++) {
      const BufferId o = f->steps[k].outs[j].buffer;
      if (o == id || !collide(&f->buffers[o], b)) continue;
      if (k == i && !elsewhere && in_place(&f->steps[k], b, &f->buffers[o])) continue;
      if (i == NEVER) FAIL(c, "step %u overwrites %%%u, a root", k, v);
      else FAIL(c, "step %u reads %%%u where step %u stores", i, v, k);
    }
}

/* The value, or NONE, whose store into buffer b happened before step i. */
static void check_read(Check *c, uint32_t i, ValueId v, bool elsewhere) {
  const PlanFn *f = c->f;
  const Step *s = &f->steps[i];
  BufferId id = f->buffer_of[v];
  const Buffer *b = &f->buffers[id];
  bool leaf = op_class(c->g->v[v].op) == OPC_LEAF && b->space != SPACE_WORK;
  if (is_each(f, i) && (!leaf || b->space == SPACE_STORE)) FAIL(c, "step %u, of every thread for itself, reads %%%u", i, v);
  if (b->space == SPACE_TILE) {
    if (b->index >= s->n_calls || s->calls[b->index].outs[0].value != v) FAIL(c, "step %u reads %%%u, of which it has no tile", i, v);
    return;
  }
  if (!leaf) {
    uint32_t w = c->written[v];
    if (w == NEVER || w >= i) FAIL(c, "step %u reads %%%u before it is written", i, v);
    else if (f->steps[w].wave > s->wave || (f->steps[w].wave == s->wave && !plan_shares_meet(f, &f->steps[w], s, &c->scratch)))
      FAIL(c, "step %u reads %%%u, written in the same wave", i, v);
    if (b->space == SPACE_WORK && (i < b->first || i > b->last))
      FAIL(c, "step %u reads %%%u outside of its buffer's life", i, v);
    check_kept(c, i, v, elsewhere);
    return;
  }
  if (b->space != SPACE_STORE) return;
  for (uint32_t k = 0; k < f->n_steps; k++)
    for (uint32_t j = 0; j < f->steps[k].n_outs; j++) {
      if (f->steps[k].outs[j].buffer != id) continue;
      if (k == i && elsewhere) FAIL(c, "step %u overwrites %%%u and reads it at another index", i, v);
      if (k < i || (k != i && f->steps[k].wave == s->wave && !(is_alone(f, k) && is_alone(f, i))))
        FAIL(c, "step %u reads %%%u after step %u has overwritten it", i, v, k);
    }
}

/* How many rows a packed set has is known in waves behind the step that lists them. */
static void check_count(Check *c, uint32_t i, int64_t set) {
  if (!(c->f->packed >> set & 1)) return;
  for (uint32_t k = 0; k < i; k++) {
    const Step *s = &c->f->steps[k];
    const Value *u = s->kind == STEP_PACK ? &c->g->v[s->outs[0].value] : NULL;
    if (u && u->op == OP_ROWLIST && u->ints[0] == set && s->wave < c->f->steps[i].wave) return;
  }
  FAIL(c, "step %u goes over row set %" PRId64 " before its rows are listed", i, set);
}

static void check_counts(Check *c, uint32_t i) {
  const Step *s = &c->f->steps[i];
  const Extent e[3] = {s->geom.m, s->geom.n, s->geom.k};
  for (int k = 0; k < s->space.rank; k++)
    if (dim_is_rows(s->space.d[k])) check_count(c, i, dim_set(s->space.d[k]));
  for (int k = 0; s->kind == STEP_GEMM && k < 3; k++)
    if (e[k].rows) check_count(c, i, e[k].rows - 1);
  for (uint32_t k = 0; s->kind == STEP_GEMM && k < s->geom.n_batch; k++)
    if (s->geom.batch[k].rows) check_count(c, i, s->geom.batch[k].rows - 1);
}

static void check_wave(Check *c, uint32_t i) {
  const PlanFn *f = c->f;
  const Step *s = &f->steps[i];
  if (i && (s->wave < s[-1].wave || s->wave > s[-1].wave + 1)) FAIL(c, "wave of step %u", i);
  bool last = i + 1 == f->n_steps || s[1].wave != s->wave;
  if (last && !s->barrier) FAIL(c, "no barrier after step %u, the last of its wave", i);
}

/* A life covers whole waves: their steps overlap in time. */
static void check_life(Check *c, uint32_t i, BufferId id) {
  const PlanFn *f = c->f;
  const Buffer *b = &f->buffers[id];
  if (b->space != SPACE_WORK) return;
  uint32_t first = i, last = i;
  while (first && f->steps[first - 1].wave == f->steps[i].wave) first--;
  while (last + 1 < f->n_steps && f->steps[last + 1].wave == f->steps[i].wave) last++;
  if (b->first > first || b->last < last)
    FAIL(c, "life of buffer %u does not cover step %u and its wave", id, i);
}

/* Tiles of a map with calls cover each element of a gradient once, where the map reads it. */
static void check_tiles(Check *c, uint32_t i) {
  const Step *s = &c->f->steps[i];
  if (s->kind != STEP_MAP || s->n_calls > JOB_TILE_CALLS || s->tile_chunk < 1 || s->tile_position < 0 || s->tile_position >= s->space.rank) {
    FAIL(c, "step %u has calls that it cannot have", i);
    return;
  }
  int64_t floats = s->tile_chunk;
  for (int p = s->tile_position + 1; p < s->space.rank; p++) floats = sat_mul(floats, s->space.d[s->order[p]]);
  const int64_t cut = s->space.d[s->order[s->tile_position]];
  if (s->tile_position == s->space.rank - 1 && s->tile_chunk < cut && s->tile_chunk % PLAN_VEC) FAIL(c, "tiles of step %u cut vectors", i);
  if (floats > JOB_TILE_FLOATS) FAIL(c, "a tile of step %u has %" PRId64 " elements", i, floats);
  for (uint32_t k = 0; k < s->n_calls && !c->why; k++) {
    const Step *t = &s->calls[k];
    const Buffer *b = &c->f->buffers[t->outs[0].buffer];
    const Value *u = &c->g->v[t->outs[0].value];
    if (u->op != OP_CALL || b->space != SPACE_TILE || b->index != k || !shape_equal(&b->shape, &u->shape))
      FAIL(c, "call %u of step %u has no tile", k, i);
    const TileCut own = plan_tile_cut(&c->g->v[u->args[0]]);
    if (own.chunk != s->tile_chunk || c->g->v[u->args[0]].shape.d[own.axis] != cut || shape_count(&u->shape, 1) != shape_count(&s->space, 1)) FAIL(c, "call %u of step %u is cut otherwise", k, i);
    for (uint32_t a = 0; a < t->n_args && !c->why; a++) {
      check_read(c, i, c->f->buffers[t->args[a].buffer].value, a > 0);
      check_life(c, i, t->args[a].buffer);
    }
  }
}

static void check_step(Check *c, uint32_t i) {
  const PlanFn *f = c->f;
  const Step *s = &f->steps[i];
  check_wave(c, i);
  check_space(c, i);
  check_counts(c, i);
  if (c->why) return;
  if (s->kind == STEP_GEMM) check_gemm(c, i);
  if (s->n_calls) check_tiles(c, i);
  if (c->why) return;
  step_loads(c, i);
  for (uint32_t k = 0; k < c->n_reads && !c->why; k++) {
    check_read(c, i, c->reads[k], c->elsewhere[k]);
    check_life(c, i, f->buffer_of[c->reads[k]]);
  }
  for (uint32_t k = 0; s->kind == STEP_CALL && k < s->n_args && !c->why; k++) {
    check_read(c, i, f->buffers[s->args[k].buffer].value, true);
    check_life(c, i, s->args[k].buffer);
  }
  if (s->kind == STEP_GEMM && !c->why) {
    check_read(c, i, f->buffers[s->a.buffer].value, true);
    check_read(c, i, f->buffers[s->b.buffer].value, true);
    check_life(c, i, s->a.buffer), check_life(c, i, s->b.buffer);
  }
  for (uint32_t k = 0; k < s->n_outs; k++) {
    if (c->written[s->outs[k].value] != NEVER) FAIL(c, "%%%u is written twice", s->outs[k].value);
    if (f->buffer_of[s->outs[k].value] != s->outs[k].buffer)
      FAIL(c, "%%%u is written elsewhere than it is read", s->outs[k].value);
    c->written[s->outs[k].value] = i;
    check_life(c, i, s->outs[k].buffer);
  }
}

/* ---- roots ------------------------------------------------------------------------------------------ */

/* Whether the thread that looks at the losses, at step `at`, finds what step i stored. */
static bool known_at(const PlanFn *f, uint32_t i, uint32_t at) {
  return f->steps[i].wave < f->steps[at].wave || (i < at && f->steps[i].wave == f->steps[at].wave && is_alone(f, i));
}

static void check_roots(Check *c) {
  const PlanFn *f = c->f;
  uint32_t at = NEVER, first_store = NEVER;
  for (uint32_t i = f->n_steps; i-- > 0;) {
    if (f->steps[i].kind == STEP_CHECK) at = i;
    for (uint32_t k = 0; k < f->steps[i].n_outs; k++)
      if (f->buffers[f->steps[i].outs[k].buffer].space == SPACE_STORE) first_store = i;
  }
  for (uint32_t r = 0; r < c->g->n_roots; r++) {
    const Root *root = &c->g->roots[r];
    BufferId id = f->root_buffer[r];
    if (!id || id >= f->n_buffers) {
      FAIL(c, "root %u is placed nowhere", r);
      return;
    }
    const Buffer *b = &f->buffers[id];
    bool leaf = op_class(c->g->v[root->value].op) == OPC_LEAF,
         store = root->kind == ROOT_PARAM || root->kind == ROOT_STATE;
    if (store && b->space != SPACE_STORE) FAIL(c, "root %u is not in the store", r);
    if (!store && b->space != SPACE_WORK && b->space != SPACE_STORE) FAIL(c, "root %u is in no slab", r);
    if (!(store && leaf) && c->written[root->value] == NEVER) FAIL(c, "root %u is never written", r);
    if (b->space == SPACE_WORK && b->last != UINT32_MAX) FAIL(c, "root %u is not kept", r);
    check_kept(c, NEVER, root->value, true);
    if (root->kind != ROOT_LOSS || c->why) continue;
    if (at == NEVER) FAIL(c, "losses are never checked");
    else if (!known_at(f, c->written[root->value], at))
      FAIL(c, "loss %u is checked before it is known", r);
    if (first_store != NEVER && (at == NEVER || f->steps[first_store].wave <= f->steps[at].wave))
      FAIL(c, "step %u stores before the losses are checked", first_store);
  }
}

static const char *verify_fn(const Plan *p, const PlanFn *f) {
  const Graph *g = f->graph;
  Arena *scratch = arena_create();
  Check c = {.a = p->arena, .plan = p, .f = f, .g = g};
  c.written = ARENA_NEWS(scratch, uint32_t, g->n);
  memset(c.written, 0xff, g->n * sizeof *c.written);
  c.stamp = ARENA_NEWS(scratch, uint32_t, 2 * g->n + 2);
  c.stack = ARENA_NEWS(scratch, uint32_t, 2 * g->n + 2);
  c.reads = ARENA_NEWS(scratch, uint32_t, g->n);
  c.elsewhere = ARENA_NEWS(scratch, bool, g->n);
  c.scratch = plan_share_scratch(scratch, g->n);
  for (BufferId b = 1; b < f->n_buffers && !c.why; b++) check_buffer(&c, b);
  if (!c.why) check_overlap(&c);
  for (uint32_t i = 0; i < f->n_steps && !c.why; i++) check_step(&c, i);
  if (!c.why) check_roots(&c);
  arena_destroy(scratch);
  return c.why ? arena_printf(p->arena, "%s: %s", f->symbol, c.why) : NULL;
}

const char *plan_verify(const Plan *p) {
  const char *why = p->train.graph ? verify_fn(p, &p->train) : NULL;
  for (uint32_t i = 0; i < p->program->n_evals && !why; i++) why = verify_fn(p, &p->evals[i]);
  for (uint32_t i = 0; i < p->program->n_derived && !why; i++) why = verify_fn(p, &p->derived[i]);
  return why || !p->gradient.graph ? why : verify_fn(p, &p->gradient);
}
