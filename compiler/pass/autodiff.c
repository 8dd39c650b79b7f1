/* SPDX-License-Identifier: Apache-2.0
 * autodiff.c -- reverse mode over the graph, one seed per origin.
 * requires:  a forward graph; origins are rank-0 F32 values; taps mark the places that routes name
 * maintains: every forward value
 * changes:   appends adjoints; a ROOT_GRAD for each trainable parameter that some origin reaches
 *
 * It knows no routes, only which origins each tap must keep apart. Two origins are told apart at a value
 * only if some tap at or above it (towards the parameters) does; everywhere else their adjoints are added
 * and travel as one. Partition labels: origins with equal labels travel together. */
#include "compiler.h"
#include "fault.h"
#include "ops.h"
#include <stdlib.h>
#include <string.h>

#define MAX_ORIGINS 64
typedef struct Partition { uint8_t label[MAX_ORIGINS]; } Partition; /* canonical: numbered by first occurrence */

typedef struct Adjoint { OriginSet origins; ValueId value; } Adjoint;
typedef struct AdjointList { Adjoint *items; uint32_t n, cap; } AdjointList;

typedef struct Autodiff {
  Program *p;
  Graph *g;
  Arena *arena;
  uint32_t n_forward;      /* values 1 .. n_forward-1 are differentiated */
  Partition *partition;    /* [value] */
  bool *needs;             /* [value]: a trainable parameter lies upstream */
  AdjointList *adjoint;    /* [value], one entry per block of its partition that was reached */
} Autodiff;

/* The coarsest partition finer than both. */
static void partition_refine(Partition *into, const Partition *by, uint32_t n) {
  uint8_t seen[MAX_ORIGINS][MAX_ORIGINS];
  memset(seen, 0xff, sizeof seen);
  uint8_t next = 0;
  for (uint32_t i = 0; i < n; i++) {
    uint8_t *slot = &seen[into->label[i]][by->label[i]];
    if (*slot == 0xff) *slot = next++;
    into->label[i] = *slot;
  }
}

/* Origins are alike at a tap if the same routes mask them there. */
static Partition partition_of_tap(const Program *p, int64_t tap) {
  Partition all = {{0}};
  for (uint32_t r = 0; r < p->n_routes; r++) {
    const ProgRoute *route = &p->routes[r];
    if (route->primitive == ROUTE_VALUE || route->tap != (uint64_t)tap) continue;
    Partition one = {{0}};
    for (uint32_t i = 0; i < p->n_origins; i++) one.label[i] = (uint8_t)((route->origins >> i) & 1);
    partition_refine(&all, &one, p->n_origins);
  }
  return all;
}

static bool differentiable(const Value *v) { return v->dtype == DT_F32 || v->dtype == DT_F64; }

static void analyse(Autodiff *ad) {
  for (ValueId id = 1; id < ad->n_forward; id++) {
    const Value *v = ir_value(ad->g, id);
    if (v->op == OP_PARAM) ad->needs[id] = ad->p->params[v->ints[0]].trainable;
    if (v->op == OP_STOP || !differentiable(v)) continue;
    for (uint32_t i = 0; i < v->n_args; i++) {
      if (!ad->needs[v->args[i]]) continue;
      ad->needs[id] = true;
      partition_refine(&ad->partition[id], &ad->partition[v->args[i]], ad->p->n_origins);
    }
    if (v->op == OP_TAP && ad->needs[id]) {
      Partition here = partition_of_tap(ad->p, v->ints[0]);
      partition_refine(&ad->partition[id], &here, ad->p->n_origins);
    }
  }
}

/* Adds a contribution to v's adjoint: into the entry whose origins travel with these, or as a new one. */
static void contribute(Autodiff *ad, ValueId v, OriginSet origins, ValueId value) {
  AdjointList *l = &ad->adjoint[v];
  const uint8_t *label = ad->partition[v].label;
  int block = label[__builtin_ctzll(origins)];
  for (uint32_t i = 0; i < l->n; i++) {
    if (label[__builtin_ctzll(l->items[i].origins)] != block) continue;
    if (fault("lose-second-use")) return;
    ValueId sum = ir_bin(ad->g, OP_ADD, l->items[i].value, value);
    l->items[i].origins |= origins;
    l->items[i].value = sum;
    ir_value(ad->g, sum)->origins = l->items[i].origins;
    return;
  }
  if (l->n == l->cap) {
    uint32_t cap = l->cap ? 2 * l->cap : 2;
    Adjoint *items = ARENA_NEWS(ad->arena, Adjoint, cap);
    if (l->n) memcpy(items, l->items, l->n * sizeof *items);
    l->items = items, l->cap = cap;
  }
  l->items[l->n++] = (Adjoint){origins, value};
}

static void name_adjoint(Autodiff *ad, ValueId of, ValueId adjoint) {
  Value *a = ir_value(ad->g, adjoint);
  const Value *v = ir_value(ad->g, of);
  if (v->name && !a->name) a->name = arena_printf(ad->arena, "grad for %s", v->name);
  if (!a->span.file) a->span = v->span;
}

static void propagate(Autodiff *ad, ValueId id) {
  uint32_t n_args = ir_value(ad->g, id)->n_args;
  ValueId *dargs = ARENA_NEWS(ad->arena, ValueId, n_args + 1);
  for (uint32_t b = 0; b < ad->adjoint[id].n; b++) {
    Adjoint dy = ad->adjoint[id].items[b];
    name_adjoint(ad, id, dy.value);
    memset(dargs, 0, n_args * sizeof *dargs);
    uint32_t first = ad->g->n;
    op_vjp(ad->g, id, dy.value, dargs);
    for (ValueId made = first; made < ad->g->n; made++) ir_value(ad->g, made)->origins = dy.origins;
    for (uint32_t i = 0; i < n_args; i++) {
      ValueId arg = ir_value(ad->g, id)->args[i];
      if (dargs[i] && ad->needs[arg]) contribute(ad, arg, dy.origins, dargs[i]);
    }
  }
}

static void collect_gradients(Autodiff *ad) {
  ValueId *total = ARENA_NEWS(ad->arena, ValueId, ad->p->n_params + 1);
  for (ValueId id = 1; id < ad->n_forward; id++) {
    const Value *v = ir_value(ad->g, id);
    if (v->op != OP_PARAM) continue;
    int64_t param = v->ints[0];
    for (uint32_t b = 0; b < ad->adjoint[id].n; b++) {
      ValueId dy = ad->adjoint[id].items[b].value;
      name_adjoint(ad, id, dy);
      total[param] = total[param] ? ir_bin(ad->g, OP_ADD, total[param], dy) : dy;
    }
  }
  for (uint32_t i = 0; i < ad->p->n_params; i++) {
    if (total[i]) graph_root(ad->g, ROOT_GRAD, i, 0, total[i]);
  }
}

void pass_autodiff(Program *p) {
  Graph *g = p->step;
  Autodiff ad = {.p = p, .g = g, .arena = p->arena, .n_forward = g->n};
  ad.partition = ARENA_NEWS(p->arena, Partition, g->n);
  ad.needs = ARENA_NEWS(p->arena, bool, g->n);
  ad.adjoint = ARENA_NEWS(p->arena, AdjointList, g->n);
  analyse(&ad);
  g->phase = PHASE_ADJOINT;
  for (uint32_t i = 0; i < p->n_origins; i++) {
    ValueId v = p->origins[i].value;
    if (!v || !ad.needs[v]) continue;
    Shape scalar = {.rank = 0};
    ValueId seed = ir_const(g, p->origins[i].span, 1.0, &scalar, DT_F32);
    ir_value(g, seed)->origins = (OriginSet)1 << i;
    contribute(&ad, v, (OriginSet)1 << i, seed);
  }
  for (ValueId id = ad.n_forward - 1; id >= 1; id--) {
    if (ad.needs[id] && ad.adjoint[id].n && ir_value(g, id)->op != OP_PARAM) propagate(&ad, id);
  }
  collect_gradients(&ad);
  g->phase = PHASE_FORWARD;
}
