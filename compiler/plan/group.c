/* SPDX-License-Identifier: Apache-2.0
 * group.c -- outputs over one iteration space share a step when they share loads: one pass over memory.
 * requires: nodes with reads   maintains: no cycles   changes: merged nodes are dead */
#include "plan_work.h"
#include <string.h>

enum {
  MAX_OUTS = 12,
  MAX_READS = 24
}; /* of a group over a tensor: beyond, registers spill and streams thrash */

/* Appends b's outputs to a's. */
static void merge(Work *w, uint32_t a, uint32_t b) {
  Node *x = &w->nodes[a], *y = &w->nodes[b];
  StepOut *outs = ARENA_NEWS(w->scratch, StepOut, x->n_outs + y->n_outs);
  memcpy(outs, x->outs, x->n_outs * sizeof *outs);
  memcpy(outs + x->n_outs, y->outs, y->n_outs * sizeof *outs);
  x->outs = outs, x->n_outs += y->n_outs;
  for (uint32_t i = 0; i < x->n_outs; i++) w->producer[outs[i].value] = a + 1;
  if (y->phase < x->phase) x->phase = y->phase;
  y->dead = true;
  node_find_reads(w, x);
}

typedef struct Paths {
  uint32_t *into, *seen, *stack, now;
} Paths; /* into[i]: node that i was merged into, or i */

static uint32_t alive(const Paths *p, uint32_t i) {
  while (p->into[i] != i) i = p->into[i];
  return i;
}

static uint32_t push_deps(const Work *w, Paths *p, uint32_t i, uint32_t except, uint32_t top) {
  for (uint32_t k = 0; k < w->nodes[i].n_deps; k++) {
    uint32_t d = alive(p, w->nodes[i].deps[k]);
    if (d != except && p->seen[d] != p->now) p->seen[d] = p->now, p->stack[top++] = d;
  }
  return top;
}

/* Whether a path of two or more dependencies leads from `from` to its ancestor `to`. */
static bool reaches_around(const Work *w, Paths *p, uint32_t from, uint32_t to) {
  p->now++;
  p->seen[from] = p->now;
  uint32_t top = push_deps(w, p, from, to, 0);
  while (top) {
    uint32_t i = p->stack[--top];
    if (i == to) return true;
    top = push_deps(w, p, i, w->n_nodes, top);
  }
  return false;
}

/* The dependencies of both, as long as edges are not computed anew. */
static void merge_deps(Work *w, Paths *p, uint32_t a, uint32_t b) {
  Node *x = &w->nodes[a], *y = &w->nodes[b];
  uint32_t *deps = ARENA_NEWS(w->scratch, uint32_t, x->n_deps + y->n_deps), n = 0;
  for (uint32_t i = 0; i < x->n_deps; i++)
    if (alive(p, x->deps[i]) != b) deps[n++] = x->deps[i];
  for (uint32_t i = 0; i < y->n_deps; i++) deps[n++] = y->deps[i];
  x->deps = deps, x->n_deps = n;
  p->into[b] = a;
}

static bool may_share(const Node *x, const Node *y) {
  return x->kind == y->kind && x->phase == y->phase && x->reduced == y->reduced &&
         shape_equal(&x->space, &y->space) &&
         (x->space.rank == 0 || (x->n_outs + y->n_outs <= MAX_OUTS && x->n_reads + y->n_reads <= MAX_READS));
}

/* Whether x stores in place what y loads at another index. */
static bool overwrites(const Work *w, const Node *x, const Node *y) {
  for (uint32_t k = 0; k < x->n_outs; k++) {
    uint32_t root = w->store_root[x->outs[k].value];
    for (uint32_t r = 0; root && r < y->n_reads; r++)
      if (y->elsewhere[r] && value_slot(&w->g->v[y->reads[r]]) == root_slot(&w->g->roots[root - 1])) return true;
  }
  return false;
}

/* The node whose outputs u loads at its own index only, and with which it can be one pass; or n_nodes. */
static uint32_t feeder_of(const Work *w, Paths *paths, uint32_t u) {
  const Node *n = &w->nodes[u];
  for (uint32_t k = 0; k < n->n_reads; k++) {
    uint32_t p = w->producer[n->reads[k]];
    if (!p || p - 1 == u || !may_share(n, &w->nodes[p - 1])) continue;
    bool in_place = true;
    for (uint32_t j = 0; j < n->n_reads; j++) in_place &= w->producer[n->reads[j]] != p || !n->elsewhere[j];
    in_place &= !overwrites(w, n, &w->nodes[p - 1]) && !overwrites(w, &w->nodes[p - 1], n);
    if (in_place && !reaches_around(w, paths, u, p - 1)) return p - 1;
  }
  return w->n_nodes;
}

static void merge_feeders(Work *w) {
  Paths p = {ARENA_NEWS(w->scratch, uint32_t, w->n_nodes), ARENA_NEWS(w->scratch, uint32_t, w->n_nodes),
             ARENA_NEWS(w->scratch, uint32_t, w->n_nodes + 1), 0};
  for (uint32_t i = 0; i < w->n_nodes; i++) p.into[i] = i;
  for (uint32_t u = 0; u < w->n_nodes; u++) {
    if (w->nodes[u].dead || w->nodes[u].kind != STEP_MAP) continue;
    for (uint32_t f; (f = feeder_of(w, &p, u)) < w->n_nodes;) {
      merge(w, u, f);
      merge_deps(w, &p, u, f);
    }
  }
}

/* Same level: no path between them, so that merging makes none. */
static bool share_loads(const Work *w, const Node *x, const Node *y) {
  if (x->space.rank == 0) return true;
  for (uint32_t i = 0; i < x->n_reads; i++)
    for (uint32_t j = 0; j < y->n_reads; j++)
      if (x->reads[i] == y->reads[j] && w->g->v[x->reads[i]].shape.rank > 0) return true;
  return false;
}

static void merge_levels(Work *w) {
  for (uint32_t a = 0; a < w->n_nodes; a++) {
    if (w->nodes[a].dead || (w->nodes[a].kind != STEP_MAP && w->nodes[a].kind != STEP_REDUCE)) continue;
    for (uint32_t b = a + 1; b < w->n_nodes; b++) {
      const Node *y = &w->nodes[b];
      if (!y->dead && y->level == w->nodes[a].level && may_share(&w->nodes[a], y) &&
          share_loads(w, &w->nodes[a], y) && !overwrites(w, &w->nodes[a], y) && !overwrites(w, y, &w->nodes[a]))
        merge(w, a, b);
    }
  }
}

/* A value stored in place must not be loaded at another index by the step that overwrites it. */
static bool in_place_sound(Work *w) {
  bool sound = true;
  for (uint32_t i = 0; i < w->n_nodes; i++) {
    const Node *n = &w->nodes[i];
    for (uint32_t k = 0; !n->dead && k < n->n_outs; k++) {
      uint32_t root = w->store_root[n->outs[k].value];
      if (!root) continue;
      int64_t slot = root_slot(&w->g->roots[root - 1]);
      for (uint32_t r = 0; r < n->n_reads; r++)
        if (n->elsewhere[r] && value_slot(&w->g->v[n->reads[r]]) == slot) {
          if (w->defer[root - 1])
            plan_broken(w->g, n->outs[k].value, "copied value overwrites what it reads");
          w->defer[root - 1] = true;
          sound = false;
        }
    }
  }
  return sound;
}

bool plan_group(Work *w) {
  plan_edges(w);
  if (!plan_levels(w)) return false;
  if (!w->options->no_fuse) {
    merge_feeders(w);
    plan_edges(w);
    if (!plan_levels(w)) return false;
    merge_levels(w);
  }
  plan_tiles(w);
  plan_edges(w);
  if (!plan_levels(w)) return false;
  return in_place_sound(w);
}
