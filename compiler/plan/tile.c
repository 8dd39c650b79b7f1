/* SPDX-License-Identifier: Apache-2.0
 * tile.c -- sums over elements by plugins, a tile at a time. A gradient that one MAP reads, each element where the MAP is at it, is
 * computed inside of that MAP's step: tile by tile, into a scratch of the thread, so that it never goes through memory.
 * requires: grouped nodes   maintains: no cycles   changes: nodes of such gradients are dead, w->tiled */
#include "plan_work.h"
#include "route_plugin.h"
#include <string.h>

/* ---- where an argument is cut ---- */
TileCut plan_tile_cut(const Value *x) {
  const Shape *s = &x->shape;
  int64_t inner = 1;
  int axis = s->rank - 1;
  if (axis < 0) return (TileCut){.chunk = 1};
  for (; axis > 0 && sat_mul(inner, s->d[axis]) <= JOB_TILE_FLOATS; axis--) inner *= s->d[axis];
  while (axis + 1 < s->rank && s->d[axis] == 1) inner /= s->d[++axis]; /* one that a loop goes over */
  const int64_t d = s->d[axis], room = JOB_TILE_FLOATS / inner, n = (d + room - 1) / room;
  if (dim_is_rows(d) || d < 1) return (TileCut){.axis = axis, .chunk = room};
  const int64_t chunk = (d + n - 1) / n; /* tiles as even as can be; of the innermost axis whole vectors */
  return (TileCut){.axis = axis, .chunk = inner > 1 || n == 1 ? chunk : (chunk + PLAN_VEC - 1) / PLAN_VEC * PLAN_VEC};
}

/* ---- whether it can be computed where it is read ---- */

typedef struct Reads { View view; bool some, other; } Reads; /* of the gradient by the map: all alike, or `other` */

static void reads_add(Reads *r, const View *v) {
  const size_t n = (size_t)v->shape.rank * sizeof *v->strides;
  r->other |= v->set || v->start || (r->some && memcmp(r->view.strides, v->strides, n) != 0);
  r->view = *v, r->some = true;
}

static uint32_t push(Work *w, uint32_t top, ValueId v, bool moved) {
  const uint32_t at = 2 * v + moved;
  if (w->stamp[at] == w->now) return top;
  w->stamp[at] = w->now, w->stack[top] = at;
  return top + 1;
}

static bool is_view_over(const Work *w, ValueId v, ValueId g) {
  while (v != g && op_is_view(&w->g->v[v])) v = w->g->v[v].args[0];
  return v == g;
}

/* How map m reads g: the view over m's space, if it is the same everywhere. */
static Reads reads_of(Work *w, uint32_t m, ValueId g) {
  Reads r = {0};
  View view;
  uint32_t top = 0;
  w->now++;
  for (uint32_t i = 0; i < w->nodes[m].n_outs; i++) top = push(w, top, w->nodes[m].outs[i].value, false);
  while (top) {
    const uint32_t at = w->stack[--top];
    const ValueId v = at / 2;
    const Value *u = &w->g->v[v];
    bool moved = at & 1;
    if (is_view_over(w, v, g)) {
      if (moved || !view_over(w, v, g, &view)) r.other = true;
      else reads_add(&r, &view);
      continue;
    }
    if ((w->producer[v] && w->producer[v] != m + 1) || value_has_leaf_buffer(u)) continue;
    moved |= op_class(u->op) != OPC_ELT && !op_is_identity(u->op);
    for (uint32_t i = 0; i < u->n_args; i++) top = push(w, top, u->args[i], moved);
  }
  return r;
}

/* Extents and strides of the axes that have more than one element, in the given order (NULL: as they come). */
typedef struct Walk { int n; int64_t d[IR_MAX_RANK], stride[IR_MAX_RANK]; } Walk;
static Walk walk_of(const Shape *s, const int64_t *strides, const uint8_t *order) {
  Walk k = {0};
  for (int i = 0; i < s->rank; i++) {
    const int axis = order ? order[i] : i;
    if (s->d[axis] != 1) k.d[k.n] = s->d[axis], k.stride[k.n++] = strides[axis];
  }
  return k;
}
static bool walks_alike(const Walk *a, const Walk *b, bool strides) {
  const size_t n = (size_t)a->n * sizeof *a->d;
  return a->n == b->n && !memcmp(a->d, b->d, n) && (!strides || !memcmp(a->stride, b->stride, n));
}

/* What the map overwrites in place, the call reads at the same places: then a tile is read before it is overwritten. */
static bool overwrites_alike(const Work *w, const Node *m, const Node *call, const uint8_t *order) {
  const int64_t slot = value_slot(&w->g->v[call->arg_base[0]]);
  const View *x = &call->args[0];
  const Walk read = walk_of(&x->shape, x->strides, NULL);
  for (uint32_t i = 0; i < m->n_outs; i++) {
    int64_t strides[IR_MAX_RANK];
    const uint32_t root = w->store_root[m->outs[i].value];
    if (slot < 0 || !root || root_slot(&w->g->roots[root - 1]) != slot) continue;
    value_strides(w, m->outs[i].value, strides);
    const Walk written = walk_of(&m->space, strides, order);
    if (x->start || x->set || !walks_alike(&read, &written, true)) return false;
  }
  return true;
}

/* The map walks over its outputs as the gradient's elements follow each other. order: of its loops, outermost first. */
static bool fits(Work *w, uint32_t m, const Node *call, uint8_t *order) {
  const Node *map = &w->nodes[m];
  const ValueId g = call->outs[0].value;
  const Reads r = reads_of(w, m, g);
  int64_t own[IR_MAX_RANK], out[IR_MAX_RANK];
  if (!r.some || r.other || !shape_equal(&r.view.shape, &map->space)) return false;
  for (int i = 0; i < map->space.rank; i++)
    if (map->space.d[i] < 1) return false; /* rows of the batch too: nothing that gets here has them in another order */
  value_strides(w, map->outs[0].value, out);
  value_strides(w, g, own);
  plan_loop_order(&map->space, out, order);
  const Walk read = walk_of(&map->space, r.view.strides, order), stored = walk_of(&w->g->v[g].shape, own, NULL);
  return read.n && walks_alike(&read, &stored, true) && overwrites_alike(w, map, call, order);
}

/* ---- which ---- */

/* The only node that reads v, or n_nodes. */
static uint32_t only_reader(const Work *w, ValueId v) {
  uint32_t found = w->n_nodes;
  for (uint32_t i = 0; i < w->n_nodes; i++)
    for (uint32_t k = 0; !w->nodes[i].dead && k < w->nodes[i].n_reads; k++) {
      if (w->nodes[i].reads[k] != v) continue;
      if (found != w->n_nodes && found != i) return w->n_nodes;
      found = i;
    }
  return found;
}

static bool cut_alike(const Work *w, const Node *a, const Node *b) {
  const Shape *s = &w->g->v[a->outs[0].value].shape, *t = &w->g->v[b->outs[0].value].shape;
  return shape_equal(s, t);
}

static void take_in(Work *w, uint32_t m, uint32_t c, const uint8_t *order) {
  Node *map = &w->nodes[m], *call = &w->nodes[c];
  uint32_t *calls = ARENA_NEWS(w->scratch, uint32_t, map->n_calls + 1);
  if (map->n_calls) memcpy(calls, map->calls, map->n_calls * sizeof *calls);
  calls[map->n_calls++] = c;
  map->calls = calls;
  memcpy(map->order, order, sizeof map->order);
  call->dead = true;
  w->producer[call->outs[0].value] = m + 1;
  w->tiled[call->outs[0].value] = map->n_calls;
  node_find_reads(w, map);
}

void plan_tiles(Work *w) {
  w->tiled = ARENA_NEWS(w->scratch, uint32_t, w->g->n);
  for (uint32_t c = 0; !w->options->no_fuse && c < w->n_nodes; c++) {
    const Node *call = &w->nodes[c];
    if (call->dead || call->kind != STEP_CALL) continue;
    const ValueId g = call->outs[0].value;
    const Value *u = &w->g->v[g];
    if (!ir_call_is_gradient(u) || u->ints[2] != CALL_SPAN || value_is_root(w, g)) continue;
    const uint32_t m = only_reader(w, g);
    uint8_t order[IR_MAX_RANK] = {0};
    if (m == w->n_nodes || w->nodes[m].kind != STEP_MAP || w->nodes[m].n_calls == JOB_TILE_CALLS) continue;
    if (w->nodes[m].n_calls && !cut_alike(w, call, &w->nodes[w->nodes[m].calls[0]])) continue;
    if (fits(w, m, call, order)) take_in(w, m, c, order);
  }
}

/* ---- the step ---- */

/* Position in the map's loops of the axis that is cut: axes of one element are not counted. */
static int cut_position(const Step *s, const Shape *x, int axis) {
  int nth = 0, p = 0;
  for (int i = 0; i < axis; i++) nth += x->d[i] != 1;
  for (; p < s->space.rank; p++)
    if (s->space.d[s->order[p]] != 1 && nth-- == 0) return p;
  return s->space.rank - 1;
}

const char *tile_finish(Work *w, const Node *n, Step *s) {
  const char *why = w->why[n->outs[0].value];
  const Value *x = NULL;
  memcpy(s->order, n->order, sizeof s->order);
  s->calls = ARENA_NEWS(w->arena, Step, n->n_calls), s->n_calls = n->n_calls;
  for (uint32_t i = 0; i < n->n_calls; i++) {
    const Node *c = &w->nodes[n->calls[i]];
    Step *t = &s->calls[i];
    *t = (Step){.kind = STEP_CALL, .n_outs = 1, .space = c->space, .span = w->g->v[c->outs[0].value].span};
    t->outs = ARENA_NEWS(w->arena, StepOut, 1);
    t->outs[0] = (StepOut){c->outs[0].value, w->fn->buffer_of[c->outs[0].value]};
    call_finish(w, c, t);
    t->reason = call_reason(w, c);
    x = &w->g->v[w->g->v[c->outs[0].value].args[0]];
  }
  const TileCut cut = plan_tile_cut(x);
  s->tile_position = cut_position(s, &x->shape, cut.axis), s->tile_chunk = cut.chunk;
  return arena_printf(w->arena, "%s%s; %s by plugins computed where %s read, %lld at a time of axis %u", why,
                      n->n_outs > 1 ? arena_printf(w->arena, "; %u outputs in one pass", n->n_outs) : "",
                      n->n_calls > 1 ? arena_printf(w->arena, "%u gradients", n->n_calls) : "a gradient",
                      n->n_calls > 1 ? "they are" : "it is", (long long)s->tile_chunk, s->order[s->tile_position]);
}
