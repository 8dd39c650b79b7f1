/* SPDX-License-Identifier: Apache-2.0
 * fuse.c -- the function's own graph, and what is computed in the epilogue of which GEMM. */
#include "plan_work.h"
#include <stdlib.h>
#include <string.h>

_Noreturn void plan_broken(const Graph *g, ValueId v, const char *what) {
  const char *name = v && v < g->n && g->v[v].name ? g->v[v].name : "";
  fprintf(stderr, "routec: internal error: plan of %s: %s: %%%u %s %s\n", g->name ? g->name : "?", what, v,
          v && v < g->n ? op_name(g->v[v].op) : "", name);
  abort();
}

bool value_has_leaf_buffer(const Value *v) {
  return v->op == OP_COLUMN || v->op == OP_PARAM || v->op == OP_STATE || v->op == OP_SCALAR ||
         (v->op == OP_CONST && v->data);
}
bool value_is_update(const Value *v) { return v->phase == PHASE_UPDATE; }

/* ---- appending to the copy -------------------------------------------------------------------------- */

static void *grown(Arena *a, const void *old, uint32_t n, uint32_t cap, size_t size) {
  void *p = arena_array(a, cap, size);
  if (n) memcpy(p, old, n * size);
  return p;
}

static void work_reserve(Work *w) {
  Graph *g = w->g;
  if (g->n < g->cap) return;
  uint32_t cap = g->cap * 2;
  g->v = grown(w->arena, g->v, g->n, cap, sizeof *g->v);
  w->force = grown(w->scratch, w->force, g->n, cap, sizeof *w->force);
  w->layout = grown(w->scratch, w->layout, g->n, cap, sizeof *w->layout);
  w->store_root = grown(w->scratch, w->store_root, g->n, cap, sizeof *w->store_root);
  g->cap = w->cap = cap;
}

ValueId work_put(Work *w, const Value *proto, const ValueId *args, uint32_t n_args) {
  Value v = *proto;
  v.args = ARENA_NEWS(w->arena, ValueId, n_args);
  if (n_args) memcpy(v.args, args, n_args * sizeof *args);
  v.n_args = n_args;
  int64_t *ints = ARENA_NEWS(w->arena, int64_t, v.n_ints);
  if (v.n_ints) memcpy(ints, v.ints, v.n_ints * sizeof *ints);
  v.ints = ints;
  work_reserve(w);
  ValueId id = w->g->n++;
  w->g->v[id] = v;
  w->layout[id] = layout_default((uint32_t)v.shape.rank);
  return id;
}

ValueId work_put_un(Work *w, Op op, ValueId arg, const Shape *shape, const int64_t *ints, uint32_t n_ints) {
  const Value *a = &w->g->v[arg];
  Value v = {.op = op,
             .dtype = a->dtype,
             .shape = *shape,
             .phase = w->g->phase,
             .span = a->span,
             .name = a->name,
             .origins = a->origins,
             .ints = (int64_t *)(uintptr_t)ints,
             .n_ints = n_ints};
  return work_put(w, &v, &arg, 1);
}

/* ---- peepholes -------------------------------------------------------------------------------------- */

static bool is_zero(const Graph *g, ValueId v) {
  const Value *u = &g->v[v];
  while (u->op == OP_BCAST || u->op == OP_CAST || u->op == OP_RESHAPE) u = &g->v[u->args[0]];
  return u->op == OP_CONST && !u->data && u->num == 0;
}

/* Whether a reshape can be pushed through v down to the columns and constants it is made of. */
static bool can_push(const Graph *g, ValueId v, int *budget, bool *column) {
  const Value *u = &g->v[v];
  if (--*budget < 0) return false;
  if (u->op == OP_COLUMN) return *column = true;
  if (u->op == OP_CONST) return !u->data;
  if (u->op == OP_BCAST) return g->v[u->args[0]].shape.rank == 0;
  if (op_class(u->op) != OPC_ELT) return false;
  for (uint32_t i = 0; i < u->n_args; i++)
    if (!can_push(g, u->args[i], budget, column)) return false;
  return true;
}

static ValueId push_reshape(Work *w, ValueId v, const Shape *to) {
  Value u = w->g->v[v];
  ValueId args[3];
  u.shape = *to;
  int64_t map[IR_MAX_RANK];
  if (u.op == OP_BCAST) {
    for (int i = 0; i < to->rank; i++) map[i] = -1;
    u.ints = map, u.n_ints = (uint32_t)to->rank;
    return work_put(w, &u, u.args, 1);
  }
  if (op_is_identity(u.op)) u.op = OP_STOP, u.n_ints = 0; /* a tap is one place of one shape */
  for (uint32_t i = 0; i < u.n_args; i++) args[i] = push_reshape(w, u.args[i], to);
  return work_put(w, &u, args, u.n_args);
}

/* The new id of source value s whose arguments are renumbered already. */
static ValueId prepare_value(Work *w, const Value *s, ValueId *args) {
  if (s->op == OP_DOT) return operand_dot(w, s, args);
  if (s->op == OP_CALL) return call_prepare(w, s, args);
  int budget = 40;
  bool column = false;
  /* Flattened data: read the column itself in the flat shape, no index arithmetic per element. */
  if (s->op == OP_RESHAPE && can_push(w->g, args[0], &budget, &column) && column)
    return push_reshape(w, args[0], &s->shape);
  return work_put(w, s, args, s->n_args);
}

/* The copy of relu(v), where v is x or some rows or units of it and relu(x) was copied already; else 0. */
static ValueId copy_of_relu(Work *w, const Graph *src, ValueId v, const ValueId *relu, const ValueId *map) {
  const Value *s = &src->v[v];
  if (relu[v]) return map[relu[v]];
  if (s->op != OP_SLICE && s->op != OP_RSLICE) return 0;
  ValueId x = copy_of_relu(w, src, s->args[0], relu, map);
  return x ? work_put(w, s, &x, 1) : 0;
}

static uint64_t packed_sets(const Graph *g) {
  uint64_t packed = 0;
  for (ValueId v = 1; v < g->n; v++)
    if (g->v[v].op == OP_ROWLIST) packed |= (uint64_t)1 << g->v[v].ints[0];
  return packed;
}

static void copy_values(Work *w, const Graph *src, const bool *live, ValueId *map) {
  ValueId *relu = ARENA_NEWS(w->scratch, ValueId, src->n); /* [source x] the first relu(x) */
  for (ValueId v = 1; v < src->n; v++) {
    if (!live[v]) continue;
    const Value *s = &src->v[v];
    ValueId few[8], *args = s->n_args <= 8 ? few : ARENA_NEWS(w->scratch, ValueId, s->n_args);
    for (uint32_t i = 0; i < s->n_args; i++) args[i] = map[s->args[i]];
    w->g->phase = s->phase;
    if (s->op == OP_RELU && !relu[s->args[0]]) relu[s->args[0]] = v;
    /* 0 < x iff 0 < relu(x): the backward reads the stored output, and the pre-activation needs no buffer. */
    ValueId r = s->op == OP_LT && is_zero(src, s->args[0]) && !w->options->no_fuse
                    ? copy_of_relu(w, src, s->args[1], relu, map)
                    : 0;
    if (r) args[1] = r;
    map[v] = prepare_value(w, s, args);
  }
}

/* ---- roots ------------------------------------------------------------------------------------------ */

static ValueId put_stop(Work *w, ValueId v) {
  Shape s = w->g->v[v].shape;
  return work_put_un(w, OP_STOP, v, &s, NULL, 0);
}

static bool is_own_leaf(const Value *v, const Root *r) {
  if (r->kind == ROOT_PARAM) return v->op == OP_PARAM && v->ints[0] == (int64_t)r->a;
  return r->kind == ROOT_STATE && v->op == OP_STATE && v->ints[0] == (int64_t)r->a &&
         v->ints[1] == (int64_t)r->b;
}

/* Gives the root a value that can lie where the root's kind wants it. */
static void prepare_root(Work *w, uint32_t i) {
  Root *r = &w->g->roots[i];
  ValueId v = r->value;
  bool store = r->kind == ROOT_PARAM || r->kind == ROOT_STATE, leaf = op_class(w->g->v[v].op) == OPC_LEAF;
  w->g->phase = store ? PHASE_UPDATE : w->g->v[v].phase;
  if (!store) {
    if (leaf) v = put_stop(w, v);
    if (!w->force[v]) w->force[v] = "root";
  } else if (!is_own_leaf(&w->g->v[v], r)) {
    if (leaf) {
      v = put_stop(w, v);
      w->force[v] = "kept aside: what it reads is overwritten";
    } else if (w->defer[i]) w->force[v] = "kept aside: what it overwrites is still read";
    /* What a GEMM reads keeps the layout that was found for it. */
    if (w->force[v] || w->store_root[v] || op_class(w->g->v[v].op) != OPC_ELT) v = put_stop(w, v);
    w->force[v] = r->kind == ROOT_PARAM ? "next value of a parameter" : "next optimizer state";
    w->store_root[v] = i + 1;
  }
  r->value = v;
}

void plan_prepare(Work *w, const Graph *src) {
  bool *live = ARENA_NEWS(w->scratch, bool, src->n);
  for (uint32_t i = 0; i < src->n_roots; i++) live[src->roots[i].value] = true;
  for (ValueId v = src->n; v-- > 1;)
    for (uint32_t i = 0; live[v] && i < src->v[v].n_args; i++) live[src->v[v].args[i]] = true;
  w->fn->packed = packed_sets(src);
  Graph *g = w->g = ARENA_NEW(w->arena, Graph);
  w->cap = src->n + src->n / 4 + 16;
  *g = (Graph){.arena = w->arena,
               .name = src->name,
               .n = 1,
               .cap = w->cap,
               .n_roots = src->n_roots,
               .cap_roots = src->n_roots};
  g->v = ARENA_NEWS(w->arena, Value, w->cap);
  w->force = ARENA_NEWS(w->scratch, const char *, w->cap);
  w->layout = ARENA_NEWS(w->scratch, Layout, w->cap);
  w->store_root = ARENA_NEWS(w->scratch, uint32_t, w->cap);
  ValueId *map = ARENA_NEWS(w->scratch, ValueId, src->n);
  copy_values(w, src, live, map);
  g->roots = ARENA_NEWS(w->arena, Root, src->n_roots);
  for (uint32_t i = 0; i < src->n_roots; i++) {
    g->roots[i] = src->roots[i];
    g->roots[i].value = map[src->roots[i].value];
  }
  /* In place first, so that a value that is also read back shares the store's buffer. */
  for (uint32_t i = 0; i < g->n_roots; i++)
    if (g->roots[i].kind == ROOT_PARAM || g->roots[i].kind == ROOT_STATE) prepare_root(w, i);
  for (uint32_t i = 0; i < g->n_roots; i++)
    if (g->roots[i].kind != ROOT_PARAM && g->roots[i].kind != ROOT_STATE) prepare_root(w, i);
}

void plan_live(Work *w) {
  Graph *g = w->g;
  w->live = ARENA_NEWS(w->scratch, bool, g->n);
  w->user_at = ARENA_NEWS(w->scratch, uint32_t, g->n + 2);
  for (uint32_t i = 0; i < g->n_roots; i++) w->live[g->roots[i].value] = true;
  for (ValueId v = g->n; v-- > 1;)
    for (uint32_t i = 0; w->live[v] && i < g->v[v].n_args; i++) {
      w->live[g->v[v].args[i]] = true;
      w->user_at[g->v[v].args[i] + 2]++;
    }
  for (uint32_t v = 2; v < g->n + 2; v++) w->user_at[v] += w->user_at[v - 1];
  w->users = ARENA_NEWS(w->scratch, uint32_t, w->user_at[g->n + 1]);
  for (ValueId v = 1; v < g->n; v++)
    for (uint32_t i = 0; w->live[v] && i < g->v[v].n_args; i++)
      w->users[w->user_at[g->v[v].args[i] + 1]++] = v;
}

/* ---- epilogues -------------------------------------------------------------------------------------- */

enum { SEEN_REGION = 1, SEEN_AFTER = 2 };
/* SGD costs 2 to 5: where the sums end it makes a step of a small net 5 % shorter. Adam's division and square root cost as much
 * there as they spare, or 4 % of a step more; in a pass of its own they hide behind memory. */
enum { COST_UPDATE = 8 };
typedef struct Scan {
  ValueId dot;
  bool updates; /* sums are complete when the epilogue begins to store, and what optimizers do there is cheap */
  uint8_t *seen;
  bool *region_after;
} Scan;

/* Terms of each sum of the dot, at most. */
static int64_t dot_depth(const Work *w, ValueId d) {
  const Value *u = &w->g->v[d];
  const DotAxes x = dot_axes(w->g, u);
  int64_t n = 1;
  for (uint32_t i = 0; i < x.nc; i++)
    n = sat_mul(n, extent_max(w->g->v[u->args[0]].shape.d[x.ca[i]], w->fn->max_rows));
  return n;
}

/* What the steps of optimizers cost an element that are made from d's elements one by one. */
static double update_cost(const Work *w, ValueId d, uint8_t *seen) {
  const Graph *g = w->g;
  double cost = 0;
  memset(seen, 0, g->n);
  seen[d] = SEEN_REGION;
  for (ValueId v = d + 1; v < g->n; v++) {
    const Value *u = &g->v[v];
    bool touched = false;
    for (uint32_t i = 0; w->live[v] && i < u->n_args; i++) touched |= seen[u->args[i]] != 0;
    if (!touched || op_class(u->op) != OPC_ELT || !shape_equal(&u->shape, &g->v[d].shape)) continue;
    seen[v] = SEEN_REGION;
    if (value_is_update(u)) cost += value_cost(u);
  }
  return cost;
}

/* Whether a step of the optimizer may be made where the gradient's sums end: in place, behind all of each sum, and along the
 * parameter's own layout. One pass over parameter and states is spared, and a gradient that is never stored. */
static bool may_fuse_update(const Work *w, ValueId v, const Scan *s) {
  if (!s->updates) return false;
  if (!w->store_root[v]) return true;
  const Root *r = &w->g->roots[w->store_root[v] - 1];
  return !w->defer[w->store_root[v] - 1] && dot_fits(w, s->dot, &w->param_layout[r->a]);
}

static bool may_fuse(const Work *w, ValueId v, const Shape *shape, const Scan *s) {
  const Value *u = &w->g->v[v];
  if (op_class(u->op) != OPC_ELT || u->dtype == DT_F64 || w->region[v] || !shape_equal(&u->shape, shape)) return false;
  bool update = w->store_root[v] || value_is_update(u);
  if (update && !may_fuse_update(w, v, s)) return false;
  for (uint32_t i = 0; i < u->n_args; i++) {
    const Value *a = &w->g->v[u->args[i]];
    if (s->seen[u->args[i]] == SEEN_AFTER) return false;
    if (!update && (a->op == OP_PARAM || a->op == OP_STATE)) return false;
  }
  return true;
}

/* Marks what is computed in the epilogue of d and what can only be computed after its step, in one sweep;
 * false if another region turned out to come after and the sweep must be repeated. */
static bool scan_region(const Work *w, ValueId d, Scan *s) {
  const Graph *g = w->g;
  memset(s->seen, 0, g->n);
  s->seen[d] = SEEN_REGION;
  for (ValueId v = d + 1; v < g->n; v++) {
    if (!w->live[v]) continue;
    bool touched = false;
    for (uint32_t i = 0; i < g->v[v].n_args; i++) touched |= s->seen[g->v[v].args[i]] != 0;
    ValueId r = w->region[v];
    if (!touched && !(r && s->region_after[r])) continue;
    if (touched && may_fuse(w, v, &g->v[d].shape, s)) {
      s->seen[v] = SEEN_REGION;
      continue;
    }
    s->seen[v] = SEEN_AFTER;
    if (!r || s->region_after[r]) continue;
    s->region_after[r] = true;
    if (r != v) return false; /* an earlier member of r may have been taken for available */
  }
  return true;
}

void plan_regions(Work *w) {
  Graph *g = w->g;
  w->region = ARENA_NEWS(w->scratch, ValueId, g->n);
  Scan s = {.seen = ARENA_NEWS(w->scratch, uint8_t, g->n),
            .region_after = ARENA_NEWS(w->scratch, bool, g->n)};
  /* Last to first: a sum of two dots belongs to the later one, which reads the earlier one's buffer. */
  for (ValueId d = g->n; d-- > 1;) {
    if (!w->live[d] || g->v[d].op != OP_DOT) continue;
    w->region[d] = d;
    if (w->options->no_fuse) continue;
    s.dot = d;
    s.updates = dot_depth(w, d) <= plan_gemm_whole_depth(&w->plan->target) && update_cost(w, d, s.seen) <= COST_UPDATE;
    memset(s.region_after, 0, g->n);
    while (!scan_region(w, d, &s)) {
    }
    for (ValueId v = d + 1; v < g->n; v++)
      if (s.seen[v] == SEEN_REGION) {
        w->region[v] = d;
        if (!w->layout[v].set) w->layout[v] = w->layout[d];
      }
  }
}
