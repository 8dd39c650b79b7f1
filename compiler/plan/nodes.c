/* SPDX-License-Identifier: Apache-2.0
 * nodes.c -- steps without an order: what each stores, what it loads, what must come before it.
 * requires: w->why, w->region   changes: w->nodes, w->producer */
#include "plan_work.h"
#include <string.h>

int64_t value_slot(const Value *v) {
  if (v->op == OP_PARAM) return PLAN_SLOTS * v->ints[0];
  return v->op == OP_STATE ? PLAN_SLOTS * v->ints[0] + 1 + v->ints[1] : -1;
}
int64_t root_slot(const Root *r) {
  if (r->kind == ROOT_PARAM) return PLAN_SLOTS * (int64_t)r->a;
  return r->kind == ROOT_STATE ? PLAN_SLOTS * (int64_t)r->a + 1 + r->b : -1;
}

bool value_is_root(const Work *w, ValueId v) {
  for (uint32_t i = 0; i < w->g->n_roots; i++)
    if (w->g->roots[i].value == v) return true;
  return false;
}

/* ---- GEMM: which buffers its operands look at ------------------------------------------------------- */

/* The view of v over the buffer that `base`, v itself or a value v is a view of, has. */
bool view_over(const Work *w, ValueId v, ValueId base, View *out) {
  const Value *u = &w->g->v[v];
  if (v != base) return op_is_view(u) && view_over(w, u->args[0], base, out) && view_apply(u, out);
  *out = (View){.shape = u->shape};
  if (value_slot(u) >= 0) memcpy(out->strides, w->plan->params[u->ints[0]].strides, sizeof out->strides);
  else layout_strides(&w->layout[v], &u->shape, u->dtype, w->fn->max_rows, out->strides);
  return true;
}

/* The k-th value with a buffer on v's chain of views, or 0. */
ValueId nth_base(const Work *w, ValueId v, uint32_t k) {
  for (;;) {
    const Value *u = &w->g->v[v];
    if ((w->why[v] && !w->store_root[v]) || value_slot(u) >= 0) {
      if (k-- == 0) return v;
    }
    if (!op_is_view(u)) return 0;
    v = u->args[0];
  }
}

static bool node_geometry(Work *w, Node *n) {
  const Value *d = &w->g->v[n->dot];
  int64_t cs[IR_MAX_RANK];
  layout_strides(&w->layout[n->dot], &d->shape, DT_F32, w->fn->max_rows, cs);
  DotAxes x = dot_axes(w->g, d);
  for (uint32_t i = 0; (n->base[0] = nth_base(w, d->args[0], i)) != 0; i++)
    for (uint32_t j = 0; (n->base[1] = nth_base(w, d->args[1], j)) != 0; j++) {
      View a, b;
      if (!view_over(w, d->args[0], n->base[0], &a) || !view_over(w, d->args[1], n->base[1], &b)) continue;
      if (!gemm_geometry(&x, &a, &b, &d->shape, cs, w->fn->max_rows, &n->geom, &n->swapped)) continue;
      n->a = n->swapped ? b : a;
      n->b = n->swapped ? a : b;
      if (n->swapped) {
        ValueId t = n->base[0];
        n->base[0] = n->base[1], n->base[1] = t;
      }
      return true;
    }
  return false;
}

/* ---- nodes ------------------------------------------------------------------------------------------ */

static void node_add_out(Work *w, Node *n, ValueId v) {
  StepOut *outs = ARENA_NEWS(w->scratch, StepOut, n->n_outs + 1);
  if (n->n_outs) memcpy(outs, n->outs, n->n_outs * sizeof *outs);
  outs[n->n_outs++].value = v;
  n->outs = outs;
  w->producer[v] = (uint32_t)(n - w->nodes) + 1;
}

/* The output that may hold partial sums comes first. */
static void accumulator_first(Work *w, Node *n) {
  int64_t want[IR_MAX_RANK], got[IR_MAX_RANK];
  const Value *d = &w->g->v[n->dot];
  layout_strides(&w->layout[n->dot], &d->shape, DT_F32, w->fn->max_rows, want);
  for (uint32_t i = 0; i < n->n_outs; i++) {
    ValueId v = n->outs[i].value;
    if (w->g->v[v].dtype != DT_F32 || (w->why[n->dot] && v != n->dot)) continue;
    value_strides(w, v, got);
    if (memcmp(want, got, (size_t)d->shape.rank * sizeof *got) != 0) continue;
    StepOut t = n->outs[i];
    n->outs[i] = n->outs[0], n->outs[0] = t;
    return;
  }
  plan_broken(w->g, n->dot, "gemm without an accumulator");
}

static void choose_kernel(Work *w, Node *n) {
  if (!node_geometry(w, n)) plan_broken(w->g, n->dot, "gemm without a geometry");
  plan_gemm_choose(&n->geom, w->fn->max_rows, &w->plan->target, w->options->force_blas, w->options->measured,
                   w->arena, &n->impl, &n->tile, &n->gemm_why);
  if (n->impl == GEMM_BLAS && !w->why[n->dot]) {
    w->why[n->dot] = "written by the BLAS";
    node_add_out(w, n, n->dot);
  }
  accumulator_first(w, n);
}

static void start_node(Work *w, Node *n, ValueId v) {
  const Value *u = &w->g->v[v];
  *n = (Node){.kind = STEP_MAP, .space = u->shape, .phase = u->phase};
  if (u->op == OP_DOT) n->kind = STEP_GEMM, n->dot = v;
  if (op_class(u->op) == OPC_RED) {
    n->kind = STEP_REDUCE;
    n->space = w->g->v[u->args[0]].shape;
    for (uint32_t i = 0; i < u->n_ints; i++) n->reduced |= 1u << u->ints[i];
  }
  if (u->op == OP_CALL) n->kind = STEP_CALL, n->space = (Shape){.rank = 0};
  if (u->op == OP_SCATTER || u->op == OP_FOLD) n->kind = STEP_SCATTER, n->space = w->g->v[u->args[0]].shape;
  if (u->op == OP_ROWLIST || u->op == OP_ROWPLACE) n->kind = STEP_PACK, n->space = w->g->v[u->args[0]].shape;
}

void plan_nodes(Work *w) {
  Graph *g = w->g;
  w->nodes = ARENA_NEWS(w->scratch, Node, g->n + 1);
  w->producer = ARENA_NEWS(w->scratch, uint32_t, g->n);
  w->stack = ARENA_NEWS(w->scratch, uint32_t, 2 * g->n + 2);
  w->stamp = ARENA_NEWS(w->scratch, uint32_t, 2 * g->n + 2);
  uint32_t *gemm = ARENA_NEWS(w->scratch, uint32_t, g->n); /* [dot] its node */
  bool check = false;
  for (ValueId v = 1; v < g->n; v++) {
    if (!w->live[v]) continue;
    if (g->v[v].op == OP_ROWLIST) w->lists[g->v[v].ints[0]] = v;
    if (g->v[v].op == OP_DOT) {
      gemm[v] = w->n_nodes;
      start_node(w, &w->nodes[w->n_nodes++], v);
    }
    if (!w->why[v]) continue;
    if (w->region[v]) {
      node_add_out(w, &w->nodes[gemm[w->region[v]]], v);
      continue;
    }
    Node *same = g->v[v].op == OP_CALL ? call_node(w, v) : NULL;
    if (!same) start_node(w, same = &w->nodes[w->n_nodes++], v);
    node_add_out(w, same, v);
  }
  for (uint32_t i = 0; i < w->n_nodes; i++)
    if (w->nodes[i].kind == STEP_GEMM) choose_kernel(w, &w->nodes[i]);
  for (uint32_t i = 0; i < w->n_nodes; i++)
    if (w->nodes[i].kind == STEP_CALL) call_arguments(w, &w->nodes[i]);
  for (uint32_t i = 0; i < g->n_roots; i++) check |= g->roots[i].kind == ROOT_LOSS;
  if (check) w->nodes[w->n_nodes++] = (Node){.kind = STEP_CHECK};
  for (uint32_t i = 0; i < w->n_nodes; i++) node_find_reads(w, &w->nodes[i]);
}

/* ---- loads ------------------------------------------------------------------------------------------ */

typedef struct Walk {
  Work *w;
  Node *n;
  uint32_t top, cap;
} Walk;

static void walk_push(Walk *k, ValueId v, bool elsewhere) {
  uint32_t at = 2 * v + elsewhere;
  if (k->w->stamp[at] == k->w->now || k->w->stamp[2 * v + 1] == k->w->now) return;
  k->w->stamp[at] = k->w->now;
  k->w->stack[k->top++] = at;
}

static void add_read(Walk *k, ValueId v, bool elsewhere) {
  Node *n = k->n;
  for (uint32_t i = 0; i < n->n_reads; i++)
    if (n->reads[i] == v) {
      n->elsewhere[i] |= elsewhere;
      return;
    }
  if (n->n_reads == k->cap) {
    uint32_t cap = k->cap ? 2 * k->cap : 8;
    ValueId *reads = ARENA_NEWS(k->w->scratch, ValueId, cap);
    bool *flags = ARENA_NEWS(k->w->scratch, bool, cap);
    if (n->n_reads)
      memcpy(reads, n->reads, n->n_reads * sizeof *reads), memcpy(flags, n->elsewhere, n->n_reads);
    n->reads = reads, n->elsewhere = flags, k->cap = cap;
  }
  n->reads[n->n_reads] = v;
  n->elsewhere[n->n_reads++] = elsewhere;
}

static void push_args(Walk *k, ValueId v, bool elsewhere) {
  const Value *u = &k->w->g->v[v];
  bool moved = elsewhere || op_class(u->op) != OPC_ELT;
  for (uint32_t i = 0; i < u->n_args; i++) walk_push(k, u->args[i], moved);
}

/* A step that goes over rows of a packed set waits for their count: for the step that lists them. */
static void add_lists(Walk *k, const Shape *s) {
  for (int32_t i = 0; i < s->rank; i++) {
    if (!dim_is_rows(s->d[i]) || !(k->w->fn->packed >> dim_set(s->d[i]) & 1)) continue;
    const ValueId list = k->w->lists[dim_set(s->d[i])];
    if (!list) plan_broken(k->w->g, 0, "rows of a packed set that nothing lists");
    add_read(k, list, true);
  }
}

void node_find_reads(Work *w, Node *n) {
  n->n_reads = 0, n->reads = NULL, n->elsewhere = NULL;
  Walk k = {.w = w, .n = n};
  uint32_t self = (uint32_t)(n - w->nodes) + 1;
  w->now++;
  add_lists(&k, &n->space);
  if (n->kind == STEP_GEMM) {
    add_read(&k, n->base[0], true);
    add_read(&k, n->base[1], true);
    for (int i = 0; i < 2; i++) add_lists(&k, &w->g->v[w->g->v[n->dot].args[i]].shape);
  }
  for (uint32_t i = 0; i < n->n_args; i++) add_read(&k, n->arg_base[i], true), add_lists(&k, &n->args[i].shape);
  for (uint32_t i = 0; i < n->n_calls; i++) /* a tile of the input, and all of the value and of dy */
    for (uint32_t a = 0; a < w->nodes[n->calls[i]].n_args; a++) add_read(&k, w->nodes[n->calls[i]].arg_base[a], a > 0);
  for (uint32_t i = 0; i < n->n_outs; i++)
    if (n->outs[i].value != n->dot && n->kind != STEP_CALL) push_args(&k, n->outs[i].value, false);
  while (k.top) {
    uint32_t at = w->stack[--k.top];
    ValueId v = at / 2;
    bool elsewhere = at & 1;
    const Value *u = &w->g->v[v];
    if (v == n->dot) continue;
    if (w->tiled && w->tiled[v] && w->producer[v] == self) continue;
    if (w->producer[v] == self) {
      if (elsewhere) add_read(&k, v, true); /* only in a group that must not be formed */
    } else if (w->producer[v] || value_has_leaf_buffer(u)) add_read(&k, v, elsewhere);
    else if (op_class(u->op) == OPC_RED || u->op == OP_DOT || u->op == OP_SCATTER || u->op == OP_FOLD || u->op == OP_ROWLIST || u->op == OP_CALL)
      plan_broken(w->g, v, "value without a buffer cannot be computed where it is read");
    else push_args(&k, v, elsewhere);
  }
}

/* ---- order constraints ------------------------------------------------------------------------------ */

typedef struct Edges {
  Work *w;
  uint32_t *seen, *list, n;
} Edges;

static void edge_add(Edges *e, uint32_t self, uint32_t before) {
  if (before == self || e->seen[before] == self + 1) return;
  e->seen[before] = self + 1;
  e->list[e->n++] = before;
}

/* [slot] nodes that load the old value, as a linked list through `next` */
typedef struct SlotReaders {
  uint32_t *head, *next, *node, n;
} SlotReaders;

static SlotReaders slot_readers(Work *w) {
  uint32_t total = 1;
  for (uint32_t i = 0; i < w->n_nodes; i++) total += w->nodes[i].n_reads;
  SlotReaders s = {ARENA_NEWS(w->scratch, uint32_t, PLAN_SLOTS * w->plan->program->n_params + 1),
                   ARENA_NEWS(w->scratch, uint32_t, total), ARENA_NEWS(w->scratch, uint32_t, total), 1};
  for (uint32_t i = 0; i < w->n_nodes; i++)
    for (uint32_t k = 0; !w->nodes[i].dead && k < w->nodes[i].n_reads; k++) {
      int64_t slot = value_slot(&w->g->v[w->nodes[i].reads[k]]);
      if (slot < 0) continue;
      s.node[s.n] = i, s.next[s.n] = s.head[slot], s.head[slot] = s.n++;
    }
  return s;
}

static void node_edges(Edges *e, uint32_t i, const SlotReaders *s, uint32_t check) {
  Work *w = e->w;
  Node *n = &w->nodes[i];
  e->n = 0;
  for (uint32_t k = 0; k < n->n_reads; k++)
    if (w->producer[n->reads[k]]) edge_add(e, i, w->producer[n->reads[k]] - 1);
  for (uint32_t k = 0; k < n->n_outs; k++) {
    uint32_t root = w->store_root[n->outs[k].value];
    if (!root) continue;
    if (check < w->n_nodes) edge_add(e, i, check);
    for (uint32_t r = s->head[root_slot(&w->g->roots[root - 1])]; r; r = s->next[r])
      edge_add(e, i, s->node[r]);
  }
  if (n->kind == STEP_CHECK)
    for (uint32_t r = 0; r < w->g->n_roots; r++)
      if (w->g->roots[r].kind == ROOT_LOSS) edge_add(e, i, w->producer[w->g->roots[r].value] - 1);
  n->deps = ARENA_NEWS(w->scratch, uint32_t, e->n);
  n->n_deps = e->n;
  if (e->n) memcpy(n->deps, e->list, e->n * sizeof *n->deps);
}

void plan_edges(Work *w) {
  Edges e = {.w = w,
             .seen = ARENA_NEWS(w->scratch, uint32_t, w->n_nodes),
             .list = ARENA_NEWS(w->scratch, uint32_t, w->n_nodes)};
  SlotReaders s = slot_readers(w);
  uint32_t check = w->n_nodes;
  for (uint32_t i = 0; i < w->n_nodes; i++)
    if (w->nodes[i].kind == STEP_CHECK) check = i;
  for (uint32_t i = 0; i < w->n_nodes; i++)
    if (!w->nodes[i].dead) node_edges(&e, i, &s, check);
}

/* A cycle runs through a value stored in place whose old contents are still to be read: keep such values
 * aside. */
static void defer_in_cycle(Work *w, const bool *done) {
  bool any = false;
  for (uint32_t i = 0; i < w->n_nodes; i++)
    for (uint32_t k = 0; !done[i] && !w->nodes[i].dead && k < w->nodes[i].n_outs; k++) {
      uint32_t root = w->store_root[w->nodes[i].outs[k].value];
      if (root && !w->defer[root - 1]) w->defer[root - 1] = any = true;
    }
  for (uint32_t i = 0; !any && i < w->n_nodes; i++)
    if (!done[i] && !w->nodes[i].dead)
      plan_broken(w->g, w->nodes[i].n_outs ? w->nodes[i].outs[0].value : 0, "steps wait for each other");
}

bool plan_levels(Work *w) {
  uint32_t n = w->n_nodes, left = 0, head = 0, tail = 0;
  uint32_t *missing = ARENA_NEWS(w->scratch, uint32_t, n), *at = ARENA_NEWS(w->scratch, uint32_t, n + 2);
  uint32_t *queue = ARENA_NEWS(w->scratch, uint32_t, n);
  bool *done = ARENA_NEWS(w->scratch, bool, n);
  for (uint32_t i = 0; i < n; i++)
    for (uint32_t k = 0; !w->nodes[i].dead && k < w->nodes[i].n_deps; k++)
      at[w->nodes[i].deps[k] + 2]++, missing[i]++;
  for (uint32_t i = 2; i < n + 2; i++) at[i] += at[i - 1];
  uint32_t *next = ARENA_NEWS(w->scratch, uint32_t, at[n + 1]);
  for (uint32_t i = 0; i < n; i++)
    for (uint32_t k = 0; !w->nodes[i].dead && k < w->nodes[i].n_deps; k++)
      next[at[w->nodes[i].deps[k] + 1]++] = i;
  for (uint32_t i = 0; i < n; i++) {
    w->nodes[i].level = 0;
    left += !w->nodes[i].dead;
    if (!w->nodes[i].dead && !missing[i]) queue[tail++] = i;
  }
  for (; head < tail; head++) {
    uint32_t i = queue[head];
    done[i] = true;
    for (uint32_t k = at[i]; k < at[i + 1]; k++) {
      Node *u = &w->nodes[next[k]];
      if (u->level < w->nodes[i].level + 1) u->level = w->nodes[i].level + 1;
      if (--missing[next[k]] == 0) queue[tail++] = next[k];
    }
  }
  if (tail == left) return true;
  defer_in_cycle(w, done);
  return false;
}
