/* SPDX-License-Identifier: Apache-2.0
 * prove_path.c -- why an influence is there: the shortest chain of values from the origin's seed to the parameter, and the
 * name of the way in.
 *
 * The search goes from the parameter back to the seed over cells. Below the point where content of the kind arrives a
 * cell must carry it (src); from there on towards the seed it must be an adjoint of the origin (base). A first search
 * stays within rows of the kind itself; only if it fails does content pass through other rows: something mixes data. */
#include "prove.h"
#include <string.h>

typedef struct Search {
  ProofFlow *f;
  uint32_t kind, origin;
  bool own_rows;
  uint32_t *offset;  /* [value]: number of its first cell */
  int64_t *parent;   /* [2 * cell + mode]: 1 + the node that led here; 0: not seen */
  uint32_t *queue, head, tail;
  ValueId *value_of; /* [cell number] */
} Search;
enum { CARRIES = 0, ADJOINT = 1 };

static bool has_src(const Search *s, ElemId e) {
  const Elem *x = elem(&s->f->elems, e);
  return (x->src_kinds >> s->kind & 1) && !proof_is_none(x->src[s->kind * s->f->elems.n_origins + s->origin]);
}
static bool has_dep(const Search *s, ElemId e) { return elem(&s->f->elems, e)->dep >> s->kind & 1; }

static void reach(Search *s, ValueId v, uint32_t cell, uint32_t mode, int64_t from) {
  const uint32_t node = 2 * (s->offset[v] + cell) + mode;
  if (s->parent[node]) return;
  s->parent[node] = from;
  s->queue[s->tail++] = node;
}

static bool row_allowed(const Search *s, ValueId v, uint32_t cell) {
  const Shape *shape = &ir_value(s->f->g, v)->shape;
  if (!s->own_rows) return true;
  int64_t index[IR_MAX_RANK];
  abs_index_of(&s->f->abs[v], shape->rank, cell, index);
  for (int32_t i = 0; i < shape->rank; i++)
    if (is_rows(shape->d[i])) return index[i] == s->kind;
  return true;
}

static void expand(Search *s, uint32_t node) {
  ProofFlow *f = s->f;
  const uint32_t mode = node & 1, number = node / 2;
  const ValueId v = s->value_of[number];
  const Value *val = ir_value(f->g, v);
  int64_t index[IR_MAX_RANK], turn[USE_MAX_LOOPS] = {0};
  Use u;
  if (!val->n_args) return;
  abs_index_of(&f->abs[v], val->shape.rank, number - s->offset[v], index);
  flow_use(f, v, index, &u);
  if (!u.n_args) return;
  do {
    uint32_t cell[3];
    ElemId x[3];
    bool content = false, carried = false;
    for (uint32_t i = 0; i < u.n_args; i++) {
      cell[i] = use_cell(f, v, &u, i, turn), x[i] = f->abs[val->args[u.arg[i]]].cell[cell[i]];
      content |= has_dep(s, x[i]), carried |= has_src(s, x[i]) || elem_has_base(&f->elems, x[i], s->origin);
    }
    for (uint32_t i = 0; i < u.n_args; i++) {
      const ValueId arg = val->args[u.arg[i]];
      if (!row_allowed(s, arg, cell[i])) continue;
      const bool base = elem_has_base(&f->elems, x[i], s->origin);
      if (mode == CARRIES && (has_src(s, x[i]) || (has_dep(s, x[i]) && !carried))) reach(s, arg, cell[i], CARRIES, 1 + (int64_t)node);
      if (base && (mode == ADJOINT || content)) reach(s, arg, cell[i], ADJOINT, 1 + (int64_t)node);
    }
  } while (use_next(&u, turn));
}

static bool is_goal(const Search *s, uint32_t node) {
  const ValueId v = s->value_of[node / 2];
  if (node & 1) return s->f->seed_of[v] == s->origin + 1;
  return ir_value(s->f->g, v)->op == OP_COLUMN;
}

/* The chain from the goal to the root, or 0 values. */
static uint32_t search(Search *s, const RegionPiece *pieces, uint32_t n_pieces, ValueId **chain, uint32_t **cells) {
  const Graph *g = s->f->g;
  uint32_t total = 0, n = 0;
  s->offset = ARENA_NEWS(s->f->arena, uint32_t, g->n);
  for (ValueId v = 1; v < g->n; v++) s->offset[v] = total, total += s->f->abs[v].n_cells;
  s->parent = ARENA_NEWS(s->f->arena, int64_t, 2 * total + 1), s->queue = ARENA_NEWS(s->f->arena, uint32_t, 2 * total + 1);
  s->value_of = ARENA_NEWS(s->f->arena, ValueId, total + 1), s->head = s->tail = 0;
  for (ValueId v = 1; v < g->n; v++)
    for (uint32_t c = 0; c < s->f->abs[v].n_cells; c++) s->value_of[s->offset[v] + c] = v;
  for (uint32_t i = 0; i < n_pieces; i++)
    for (uint32_t root = 0, cell = 0; prove_next_cell(s->f, &pieces[i], &root, &cell); cell++) {
      const ValueId v = g->roots[root].value;
      if (has_src(s, s->f->abs[v].cell[cell]) || has_dep(s, s->f->abs[v].cell[cell])) reach(s, v, cell, CARRIES, -1);
    }
  while (s->head < s->tail && !is_goal(s, s->queue[s->head])) expand(s, s->queue[s->head++]);
  if (s->head == s->tail) return 0;
  for (int64_t node = s->queue[s->head]; node >= 0; node = s->parent[node] - 1) n++;
  *chain = ARENA_NEWS(s->f->arena, ValueId, n), *cells = ARENA_NEWS(s->f->arena, uint32_t, n);
  uint32_t at = 0;
  for (int64_t node = s->queue[s->head]; node >= 0; node = s->parent[node] - 1, at++) {
    (*chain)[at] = s->value_of[node / 2];
    (*cells)[at] = (uint32_t)(node / 2) - s->offset[s->value_of[node / 2]];
  }
  return n;
}

/* ---- the chain in words ------------------------------------------------------------------------------------------ */
static const char *plain_name(Arena *a, const char *name) {
  if (!strncmp(name, "grad for ", 9)) name += 9;
  else if (!strncmp(name, "next ", 5)) name += 5;
  const char *end = strstr(name, ", routed by ");
  return end ? arena_strndup(a, name, (size_t)(end - name)) : name;
}

static void add_step(ProofPath *out, const char *name, Span span) {
  if (out->n_steps && !strcmp(out->steps[out->n_steps - 1].name, name)) return;
  out->steps[out->n_steps++] = (ProofStep){name, span};
}

static void describe(const Search *s, const ValueId *chain, uint32_t n, ProofPath *out) {
  const Program *p = s->f->p;
  out->steps = ARENA_NEWS(s->f->arena, ProofStep, n + 2);
  add_step(out, p->origins[s->origin].name, p->origins[s->origin].span);
  for (uint32_t i = 0; i < n; i++) {
    const Value *v = ir_value(s->f->g, chain[i]);
    if (!v->name || v->phase == PHASE_UPDATE || s->f->seed_of[chain[i]]) continue;
    add_step(out, plain_name(s->f->arena, v->name), v->span);
  }
  add_step(out, p->params[out->param].path, p->params[out->param].span);
}

/* ---- the way in -------------------------------------------------------------------------------------------------- */
static const ProgRoute *route_of_mask(const Program *p, const Value *v) {
  for (uint32_t i = 0; v->op == OP_MASK && i < p->n_routes; i++)
    if (p->routes[i].factor && p->routes[i].factor == v->args[1]) return &p->routes[i];
  return NULL;
}

static bool passes_mask_of(const Search *s, const ValueId *chain, uint32_t n, const ProgRoute *r) {
  for (uint32_t i = 0; i < n; i++)
    if (route_of_mask(s->f->p, ir_value(s->f->g, chain[i])) == r) return true;
  return false;
}

/* A route at a place that the chain passes, for other origins than this one. */
static bool passes_by_origin(const Search *s, const ValueId *chain, uint32_t n, ProofPath *out) {
  const Program *p = s->f->p;
  for (uint32_t r = 0; r < p->n_routes; r++) {
    const ProgRoute *route = &p->routes[r];
    const char *place = p->taps[route->tap].name;
    if (route->primitive != ROUTE_GRADIENT || route->origins >> s->origin & 1 || !place) continue;
    for (uint32_t i = 0; i < n; i++) {
      const Value *v = ir_value(s->f->g, chain[i]);
      if (!v->name || v->phase != PHASE_ADJOINT || strcmp(plain_name(s->f->arena, v->name), place)) continue;
      out->way = p->origins[s->origin].routed ? WAY_ORIGIN : WAY_UNROUTED;
      out->place = place, out->route = route->name;
      return true;
    }
  }
  return false;
}

/* The nearest MASK of a route upstream of v in the adjoint graph, or NULL. */
static const ProgRoute *blocking_route(const Search *s, ValueId v, uint32_t depth) {
  const Value *val = ir_value(s->f->g, v);
  const ProgRoute *r = route_of_mask(s->f->p, val);
  if (r || depth == 0 || val->phase != PHASE_ADJOINT) return r;
  for (uint32_t i = 0; i < val->n_args && !r; i++) r = blocking_route(s, val->args[i], depth - 1);
  return r;
}

static bool is_upstream(const Search *s, ValueId of, ValueId v, uint32_t depth) {
  if (of == v) return true;
  const Value *val = ir_value(s->f->g, of);
  if (depth == 0 || of < v || val->phase != PHASE_ADJOINT) return false;
  for (uint32_t i = 0; i < val->n_args; i++)
    if (is_upstream(s, val->args[i], v, depth - 1)) return true;
  return false;
}

/* A sum of adjoints where the other term is blocked by a route, and this one is not. */
static bool goes_round(const Search *s, const ValueId *chain, const uint32_t *cells, uint32_t n, ProofPath *out) {
  const ProofFlow *f = s->f;
  for (uint32_t i = 1; i < n; i++) {
    const Value *v = ir_value(f->g, chain[i]);
    if (v->op != OP_ADD || v->phase != PHASE_ADJOINT) continue;
    const ValueId other = v->args[v->args[0] == chain[i - 1]];
    int64_t index[IR_MAX_RANK];
    abs_index_of(&f->abs[chain[i]], v->shape.rank, cells[i], index);
    const ElemId e = f->abs[other].cell[abs_cell_at(&f->abs[other], v->shape.rank, index)];
    if (has_src(s, e) || elem_has_base(&f->elems, e, s->origin)) continue;
    const ProgRoute *route = blocking_route(s, other, 12);
    if (!route) continue;
    bool of_param = i + 1 < n && ir_value(f->g, chain[i + 1])->phase == PHASE_UPDATE;
    for (int32_t k = 0; k < v->shape.rank; k++) of_param = of_param && !is_rows(v->shape.d[k]);
    out->way = of_param ? WAY_TIED : is_upstream(s, other, chain[i - 1], 24) ? WAY_SKIP : WAY_SECOND_READER;
    out->route = route->name, out->place = f->p->taps[route->tap].name;
    return true;
  }
  return false;
}

/* A factor on the way that is neither 0 nor 1 for this kind. */
static bool is_scaled(const Search *s, const ValueId *chain, const uint32_t *cells, uint32_t n, ProofPath *out) {
  const ProofFlow *f = s->f;
  for (uint32_t i = 0; i < n; i++) {
    const Value *v = ir_value(f->g, chain[i]);
    const ProgRoute *route = route_of_mask(f->p, v);
    if (!route) continue;
    int64_t index[IR_MAX_RANK];
    abs_index_of(&f->abs[chain[i]], v->shape.rank, cells[i], index);
    const Elem *e = elem(&f->elems, f->abs[v->args[1]].cell[abs_cell_at(&f->abs[v->args[1]], v->shape.rank, index)]);
    if (e->lo == 1 && e->hi == 1) continue;
    out->way = WAY_FACTOR, out->route = route->name, out->place = f->p->taps[route->tap].name;
    return true;
  }
  return false;
}

static const ProgRoute *route_at(const Program *p, const Graph *g, ValueId v) {
  const Value *val = ir_value(g, v);
  while (val->op != OP_TAP && op_class(val->op) == OPC_VIEW && val->n_args == 1) val = ir_value(g, val->args[0]);
  for (uint32_t i = 0; val->op == OP_TAP && i < p->n_routes; i++)
    if (p->routes[i].primitive == ROUTE_GRADIENT && p->routes[i].tap == (uint64_t)val->ints[0]) return &p->routes[i];
  return NULL;
}

/* What the parameter is to its readers: a gain, a bias, a reader of a routed place. */
static void by_use(const Search *s, ProofPath *out) {
  const Graph *g = s->f->g;
  bool *is = ARENA_NEWS(s->f->arena, bool, g->n);
  for (ValueId v = 1; v < g->n; v++) {
    const Value *val = ir_value(g, v);
    if (val->phase != PHASE_FORWARD) continue;
    if (val->op == OP_PARAM) is[v] = val->ints[0] == (int64_t)out->param;
    for (uint32_t i = 0; i < val->n_args; i++) {
      if (!is[val->args[i]]) continue;
      if (op_class(val->op) == OPC_VIEW || val->op == OP_TAP || val->op == OP_CAST) is[v] = true;
      if (val->op == OP_MUL) out->way = WAY_GAIN;
      if (val->op == OP_ADD && s->f->p->params[out->param].shape.rank == 1) out->way = WAY_BIAS;
      const ProgRoute *route = val->op == OP_DOT ? route_at(s->f->p, g, val->args[1 - i]) : NULL;
      if (route) out->way = WAY_READER, out->route = route->name, out->place = s->f->p->taps[route->tap].name;
    }
  }
}

static void name_way(const Search *s, const ValueId *chain, const uint32_t *cells, uint32_t n, ProofPath *out) {
  const Program *p = s->f->p;
  out->way = WAY_DIRECT;
  if (!s->own_rows) {
    out->way = WAY_MIXING;
    for (uint32_t r = 0; r < p->n_routes && !out->route; r++)
      if (passes_mask_of(s, chain, n, &p->routes[r])) out->route = p->routes[r].name, out->place = p->taps[p->routes[r].tap].name;
    return;
  }
  if (passes_by_origin(s, chain, n, out) || goes_round(s, chain, cells, n, out) || is_scaled(s, chain, cells, n, out)) return;
  by_use(s, out);
}

/* ---- the door ------------------------------------------------------------------------------------------------------ */
static bool path_of(const Proof *p, Search *s, const RegionPiece *pieces, uint32_t n_pieces, ProofPath *out) {
  ValueId *chain = NULL;
  uint32_t *cells = NULL, n = 0;
  for (int turn = 0; turn < 2 && !n; turn++) {
    s->own_rows = turn == 0;
    n = search(s, pieces, n_pieces, &chain, &cells);
  }
  *out = (ProofPath){.origin = s->origin, .param = pieces[0].param};
  if (n) {
    const ValueId root = chain[n - 1];
    for (uint32_t i = 0; i < s->f->g->n_roots; i++)
      if (s->f->g->roots[i].value == root && (s->f->g->roots[i].kind == ROOT_PARAM || s->f->g->roots[i].kind == ROOT_STATE))
        out->param = s->f->g->roots[i].a;
    name_way(s, chain, cells, n, out);
  }
  describe(s, chain, n, out);
  (void)p;
  return true;
}

bool proof_path(const Proof *p, const RegionPiece *pieces, uint32_t n_pieces, KindSet kinds, OriginSet origins, bool strictly,
                ProofPath *out) {
  ProofFlow *flow = strictly ? p->strict : p->loose;
  ProofPath best = {0};
  bool found = false;
  for (uint32_t o = 0; o < p->program->n_origins; o++)
    for (uint32_t k = 0; k < p->n_kinds; k++) {
      if (!(origins >> o & 1) || !(kinds >> k & 1)) continue;
      for (uint32_t i = 0; i < n_pieces; i++) {
        const KindSet one = (KindSet)1 << k;
        if (proof_is_none(proof_piece(p, &pieces[i], one, (OriginSet)1 << o, strictly))) continue;
        Search s = {.f = flow, .kind = k, .origin = o};
        ProofPath path;
        path_of(p, &s, &pieces[i], 1, &path);
        if (strictly && proof_is_none(proof_piece(p, &pieces[i], one, (OriginSet)1 << o, false))) path.way = WAY_CLIP;
        if (!found || path.n_steps < best.n_steps) best = path;
        found = true;
        break; /* the other pieces differ little */
      }
    }
  if (found) *out = best;
  return found;
}
