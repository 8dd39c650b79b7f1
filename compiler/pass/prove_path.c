/* SPDX-License-Identifier: Apache-2.0
 * prove_path.c -- why an influence is there: the shortest chain of values from the origin's seed to the parameter, and the
 * name of the way in.
 *
 * The search goes from the parameter back to the seed over cells. Below the point where content of the kind arrives a
 * cell must carry it (src); from there on towards the seed it must be an adjoint of the origin (base). A first search
 * stays within the kind itself; the second one passes other positions of its rows, and only if that fails too does content
 * pass through other rows: something mixes data. */
#include "prove.h"
#include "route_plugin.h"
#include <string.h>

/* A place in the search: an entry of a value, of which `from` (a place, -1: none) is made. */
typedef struct Visit { ValueId value; uint8_t mode; int64_t from; int64_t index[IR_MAX_RANK]; } Visit;
enum { CARRIES = 0, ADJOINT = 1 };

typedef enum Reach { ANY_ROW, OWN_ROWS /* all of their positions */, OWN_PLACES } Reach;
typedef struct Search {
  ProofFlow *f;
  uint32_t kind, origin, param;
  Reach within;
  uint32_t *offset;  /* [value]: number of its first cell */
  bool *seen;        /* [2 * cell + mode] */
  Visit *queue;
  uint32_t head, tail;
} Search;

static bool has_src(const Search *s, ElemId e) {
  const Elem *x = elem(&s->f->elems, e);
  return (x->src_kinds >> s->kind & 1) && !proof_is_none(x->src[s->kind * s->f->elems.n_origins + s->origin]);
}
static bool has_dep(const Search *s, ElemId e) { return elem(&s->f->elems, e)->dep >> s->kind & 1; }

static ElemId elem_at(const ProofFlow *f, ValueId v, const int64_t *index) {
  return f->abs[v].cell[abs_cell_at(&f->abs[v], ir_value(f->g, v)->shape.rank, index)];
}

static void reach(Search *s, ValueId v, uint8_t mode, int64_t from, const int64_t *index) {
  const int32_t rank = ir_value(s->f->g, v)->shape.rank;
  const uint32_t node = 2 * (s->offset[v] + abs_cell_at(&s->f->abs[v], rank, index)) + mode;
  if (s->seen[node]) return;
  s->seen[node] = true;
  Visit *at = &s->queue[s->tail++];
  *at = (Visit){.value = v, .mode = mode, .from = from};
  memcpy(at->index, index, (size_t)rank * sizeof *index);
}

static bool row_allowed(const Search *s, ValueId v, const int64_t *index) {
  const Shape *shape = &ir_value(s->f->g, v)->shape;
  for (int32_t i = 0; s->within != ANY_ROW && i < shape->rank; i++)
    if (is_rows(shape->d[i])) return s->within == OWN_PLACES ? index[i] == s->kind : s->f->alike[s->kind] >> index[i] & 1;
  return true;
}

/* The element that a value reads of its argument, which it may read joined over the positions of a row. */
static ElemId elem_read(const ProofFlow *f, ValueId reader, uint32_t arg, const int64_t *index) {
  const ValueId v = ir_value(f->g, reader)->args[arg];
  const Abs *x = f->keep[reader] && !f->keep[reader][arg] ? f->joined[v] : &f->abs[v];
  return x->cell[abs_cell_at(x, ir_value(f->g, v)->shape.rank, index)];
}

/* Visits the entry at an index, or where the reader joins positions, those of all kinds that it joins. */
static void reach_read(Search *s, ValueId reader, uint32_t arg, uint8_t mode, int64_t from, const int64_t *at) {
  const ProofFlow *f = s->f;
  const ValueId v = ir_value(f->g, reader)->args[arg];
  const Shape *shape = &ir_value(f->g, v)->shape;
  int64_t index[IR_MAX_RANK];
  int32_t rows = 0;
  memcpy(index, at, sizeof index);
  while (rows < shape->rank && !is_rows(shape->d[rows])) rows++;
  const bool joins = f->keep[reader] && !f->keep[reader][arg] && rows < shape->rank;
  for (uint32_t k = 0; k < f->elems.n_kinds; k++) {
    if (joins ? !(f->alike[at[rows]] >> k & 1) : k > 0) continue;
    if (joins) index[rows] = k;
    if (!row_allowed(s, v, index)) continue;
    const ElemId e = elem_at(f, v, index);
    if (mode == CARRIES ? has_src(s, e) || has_dep(s, e) : elem_has_base(&f->elems, e, s->origin)) reach(s, v, mode, from, index);
  }
}

static void expand(Search *s, uint32_t at) {
  ProofFlow *f = s->f;
  const Visit visit = s->queue[at];
  const Value *val = ir_value(f->g, visit.value);
  int64_t turn[USE_MAX_LOOPS] = {0};
  Use u = {0};
  if (val->n_args) flow_use(f, visit.value, visit.index, &u);
  if (!u.n_args) return;
  do {
    int64_t index[3][IR_MAX_RANK];
    ElemId x[3];
    bool content = false;
    for (uint32_t i = 0; i < u.n_args; i++) {
      use_index(f, visit.value, &u, i, turn, index[i]);
      x[i] = elem_read(f, visit.value, u.arg[i], index[i]);
      content |= has_dep(s, x[i]);
    }
    ElemId made = flow_apply(f, visit.value, x, u.n_args);
    const ElemId marked = flow_marked(f, visit.value, made, u.arg[0], index[0]);
    if (marked != made && has_src(s, marked)) made = marked, content = true;
    if (visit.mode == ADJOINT ? !elem_has_base(&f->elems, made, s->origin) : !has_src(s, made) && !has_dep(s, made)) continue;
    for (uint32_t i = 0; i < u.n_args; i++) {
      const bool base = elem_has_base(&f->elems, x[i], s->origin);
      if (visit.mode == CARRIES && (has_src(s, x[i]) || (has_dep(s, x[i]) && has_dep(s, made))))
        reach_read(s, visit.value, u.arg[i], CARRIES, at, index[i]);
      if (base && (visit.mode == ADJOINT || content)) reach_read(s, visit.value, u.arg[i], ADJOINT, at, index[i]);
    }
  } while (use_next(s->f, &u, turn));
}

static bool is_goal(const Search *s, const Visit *v) {
  return v->mode == ADJOINT ? s->f->seed_of[v->value] == s->origin + 1 : ir_value(s->f->g, v->value)->op == OP_COLUMN;
}

/* Entries of the piece that the step stores and that the content reaches. */
static void search_start(Search *s, const RegionPiece *piece) {
  const Graph *g = s->f->g;
  for (uint32_t root = 0, cell = 0; prove_next_cell(s->f, piece, &root, &cell); cell++) {
    const ValueId v = g->roots[root].value;
    const Abs *x = &s->f->abs[v];
    int64_t index[IR_MAX_RANK];
    if (!has_src(s, x->cell[cell]) && !has_dep(s, x->cell[cell])) continue;
    abs_index_of(x, ir_value(g, v)->shape.rank, cell, index);
    for (int64_t i = 0; i < piece->n && piece->axis >= 0; i++)
      if (label_at(x->axis[piece->axis], piece->index[i]) == label_at(x->axis[piece->axis], index[piece->axis])) {
        index[piece->axis] = piece->index[i];
        break;
      }
    reach(s, v, CARRIES, -1, index);
  }
}

/* The chain from the goal to the stored value; 0: none. */
static uint32_t search(Search *s, const RegionPiece *piece, const Visit ***chain) {
  const Graph *g = s->f->g;
  Arena *a = s->f->arena;
  uint32_t total = 0, n = 0;
  s->offset = ARENA_NEWS(a, uint32_t, g->n);
  for (ValueId v = 1; v < g->n; v++) s->offset[v] = total, total += s->f->abs[v].n_cells;
  s->seen = ARENA_NEWS(a, bool, 2 * total + 1), s->queue = ARENA_NEWS(a, Visit, 2 * total + 1), s->head = s->tail = 0;
  search_start(s, piece);
  while (s->head < s->tail && !is_goal(s, &s->queue[s->head])) expand(s, s->head++);
  if (s->head == s->tail) return 0;
  for (int64_t at = s->head; at >= 0; at = s->queue[at].from) n++;
  *chain = ARENA_NEWS(a, const Visit *, n);
  n = 0;
  for (int64_t at = s->head; at >= 0; at = s->queue[at].from) (*chain)[n++] = &s->queue[at];
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
  out->steps[out->n_steps++] = (ProofStep){name, span, false};
}

static void describe(const Search *s, const Visit *const *chain, uint32_t n, ProofPath *out) {
  const Program *p = s->f->p;
  out->steps = ARENA_NEWS(s->f->arena, ProofStep, n + 2);
  add_step(out, p->origins[s->origin].name, p->origins[s->origin].span);
  for (uint32_t i = 0; i < n; i++) {
    const Value *v = ir_value(s->f->g, chain[i]->value);
    if (!v->name || (v->phase == PHASE_UPDATE && strncmp(v->name, "clip scale", 10)) || s->f->seed_of[chain[i]->value]) continue;
    add_step(out, plain_name(s->f->arena, v->name), v->span);
  }
  add_step(out, p->params[out->param].path, p->params[out->param].span);
}

/* ---- the way in -------------------------------------------------------------------------------------------------- */
static bool same_span(Span a, Span b) { return a.file == b.file && a.start == b.start && a.end == b.end; }

/* Routes of parameters have no factor in the graph: mask_param.c makes masks, zeros and joins of its own, with the route's
 * span. One declaration has a route for each parameter that it masks. */
static const ProgRoute *route_of_mask(const Search *s, const Value *v) {
  const Program *p = s->f->p;
  for (uint32_t i = 0; i < p->n_routes && v->phase == PHASE_ADJOINT; i++) {
    const ProgRoute *r = &p->routes[i];
    if (r->primitive == ROUTE_PARAMETERS ? p->taps[r->tap].param == 1 + s->param && same_span(r->span, v->span)
                                         : v->op == OP_MASK && r->factor && r->factor == v->args[1])
      return r;
  }
  return NULL;
}

static bool passes_mask_of(const Search *s, const Visit *const *chain, uint32_t n, const ProgRoute *r) {
  for (uint32_t i = 0; i < n; i++)
    if (route_of_mask(s, ir_value(s->f->g, chain[i]->value)) == r) return true;
  return false;
}

/* A route at a place that the chain passes, for other origins than this one. */
static bool passes_by_origin(const Search *s, const Visit *const *chain, uint32_t n, ProofPath *out) {
  const Program *p = s->f->p;
  for (uint32_t r = 0; r < p->n_routes; r++) {
    const ProgRoute *route = &p->routes[r];
    const char *place = p->taps[route->tap].name;
    if (route->primitive != ROUTE_GRADIENT || route->origins >> s->origin & 1 || !place) continue;
    for (uint32_t i = 0; i < n; i++) {
      const Value *v = ir_value(s->f->g, chain[i]->value);
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
  const ProgRoute *r = route_of_mask(s, val);
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
static bool goes_round(const Search *s, const Visit *const *chain, uint32_t n, ProofPath *out) {
  const ProofFlow *f = s->f;
  for (uint32_t i = 1; i < n; i++) {
    const Value *v = ir_value(f->g, chain[i]->value);
    if (v->op != OP_ADD || v->phase != PHASE_ADJOINT) continue;
    const ValueId other = v->args[v->args[0] == chain[i - 1]->value];
    const ElemId e = elem_at(f, other, chain[i]->index);
    bool rows = false;
    for (int32_t k = 0; k < v->shape.rank; k++) rows |= is_rows(v->shape.d[k]);
    if (has_src(s, e) || (rows && elem_has_base(&f->elems, e, s->origin))) continue;
    const ProgRoute *route = blocking_route(s, other, 12);
    if (!route) continue;
    const bool of_param = !rows && i + 1 < n && ir_value(f->g, chain[i + 1]->value)->phase == PHASE_UPDATE;
    out->way = of_param ? WAY_TIED : is_upstream(s, other, chain[i - 1]->value, 24) ? WAY_SKIP : WAY_SECOND_READER;
    out->route = route->name, out->place = f->p->taps[route->tap].name;
    return true;
  }
  return false;
}

/* Does a factor depend on a condition at positions? */
static bool reads_positions(const ProofFlow *f, ValueId id) {
  const Value *v = ir_value(f->g, id);
  if (f->cond_of[f->same[id]]) return v->shape.rank > 1;
  for (uint32_t i = 0; i < v->n_args; i++)
    if (reads_positions(f, v->args[i])) return true;
  return false;
}

/* Is v a mask of a route whose factor at an index is not 1? */
static bool scales(const Search *s, ValueId v, const int64_t *index, ProofPath *out) {
  const ProofFlow *f = s->f;
  const Value *val = ir_value(f->g, v);
  const ProgRoute *route = val->op == OP_MASK ? route_of_mask(s, val) : NULL;
  if (!route) return false;
  const Elem *e = elem(&f->elems, elem_read(f, v, 1, index));
  if (e->lo == 1 && e->hi == 1) return false;
  out->unplaced = e->lo != e->hi && reads_positions(f, val->args[1]);
  out->way = WAY_FACTOR, out->route = route->name, out->place = f->p->taps[route->tap].name;
  return true;
}

/* A factor on the way that is neither 0 nor 1 for this kind. Columns of a parameter have theirs on the other operand of the
 * product that the way passes. */
static bool is_scaled(const Search *s, const Visit *const *chain, uint32_t n, ProofPath *out) {
  for (uint32_t i = 0; i < n; i++) {
    const ValueId v = chain[i]->value;
    const Value *val = ir_value(s->f->g, v);
    int64_t turn[USE_MAX_LOOPS] = {0}, index[IR_MAX_RANK];
    Use u = {0};
    if (scales(s, v, chain[i]->index, out)) return true;
    if (val->op != OP_DOT || val->phase != PHASE_ADJOINT) continue;
    flow_use(s->f, v, chain[i]->index, &u);
    do {
      for (uint32_t k = 0; k < u.n_args; k++) {
        use_index(s->f, v, &u, k, turn, index);
        if (row_allowed(s, val->args[k], index) && has_dep(s, elem_at(s->f, val->args[k], index)) &&
            scales(s, val->args[k], index, out))
          return true;
      }
    } while (use_next(s->f, &u, turn));
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

/* Where each use of the parameter has a route of parameters: one of them, one that does not name the origin first. Else NULL. */
static const ProgRoute *route_of_parameter(const Search *s) {
  const Program *p = s->f->p;
  const Graph *g = s->f->g;
  const ProgRoute *route = NULL;
  for (ValueId v = 1; v < g->n; v++) {
    const Value *val = ir_value(g, v);
    for (uint32_t i = 0; i < val->n_args && val->phase == PHASE_FORWARD; i++) {
      const Value *arg = ir_value(g, val->args[i]);
      if (arg->op != OP_PARAM || arg->ints[0] != (int64_t)s->param) continue;
      const ProgRoute *here = NULL;
      for (uint32_t r = 0; val->op == OP_TAP && r < p->n_routes; r++)
        if (p->routes[r].primitive == ROUTE_PARAMETERS && p->routes[r].tap == (uint64_t)val->ints[0]) here = &p->routes[r];
      if (!here) return NULL;
      if (!route || !(here->origins >> s->origin & 1)) route = here;
    }
  }
  return route;
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

static const char *mixer_name(const Search *s, const Value *v) {
  if (v->op == OP_CALL && v->ints[0] < (int64_t)s->f->p->n_calls)
    return arena_printf(s->f->arena, "reduces over the batch in `%s`", s->f->p->calls[v->ints[0]].op->name);
  return v->name ? v->name : op_name(v->op);
}

/* Whether a value reads positions joined, and content of the kind only from others than the one at the index. */
static bool joins_here(const Search *s, ValueId v, uint32_t arg, const int64_t *index) {
  const ProofFlow *f = s->f;
  return f->keep[v] && !f->keep[v][arg] && has_dep(s, elem_read(f, v, arg, index)) && !has_dep(s, elem_at(f, ir_value(f->g, v)->args[arg], index));
}

/* Steps from a forward value that holds content of other rows, or positions, back to the operation that brought it there. */
static ProofStep mixer_of(const Search *s, ValueId v, const int64_t *at) {
  ProofFlow *f = s->f;
  int64_t index[IR_MAX_RANK];
  memcpy(index, at, sizeof index);
  for (ValueId cur = v; cur;) {
    const Value *val = ir_value(f->g, cur);
    int64_t turn[USE_MAX_LOOPS] = {0}, arg_index[IR_MAX_RANK];
    ValueId next = 0;
    Use u = {0};
    if (val->n_args) flow_use(f, cur, index, &u);
    do {
      for (uint32_t i = 0; i < u.n_args && !next; i++) {
        use_index(f, cur, &u, i, turn, arg_index);
        if (joins_here(s, cur, u.arg[i], arg_index)) return (ProofStep){mixer_name(s, val), val->span, val->op == OP_CALL};
        if (has_dep(s, elem_at(f, val->args[u.arg[i]], arg_index))) next = val->args[u.arg[i]];
      }
    } while (!next && u.n_args && use_next(s->f, &u, turn));
    if (!next) break;
    const Shape *shape = &ir_value(f->g, next)->shape;
    for (int32_t i = 0; i < shape->rank; i++)
      if (is_rows(shape->d[i]) && arg_index[i] == s->kind) return (ProofStep){mixer_name(s, val), val->span, val->op == OP_CALL};
    memcpy(index, arg_index, sizeof index);
    cur = next;
  }
  return (ProofStep){0};
}

/* Where adjoints of positions meet, or where the chain turns from an adjoint into one that carries content: then the content's
 * forward value leads to the mixer. */
static ProofStep find_mixer(const Search *s, const Visit *const *chain, uint32_t n) {
  ProofFlow *f = s->f;
  for (uint32_t i = 1; i < n && s->within == OWN_ROWS; i++) {
    const Value *from = ir_value(f->g, chain[i - 1]->value), *to = ir_value(f->g, chain[i]->value);
    if (!from->shape.rank || !to->shape.rank || !is_rows(from->shape.d[0]) || !is_rows(to->shape.d[0])) continue;
    if (chain[i - 1]->index[0] != chain[i]->index[0]) return (ProofStep){to->name ? plain_name(f->arena, to->name) : op_name(to->op), to->span, false};
  }
  for (uint32_t i = 1; i < n; i++) {
    if (chain[i - 1]->mode != ADJOINT || chain[i]->mode != CARRIES) continue;
    const Value *val = ir_value(f->g, chain[i]->value);
    int64_t turn[USE_MAX_LOOPS] = {0}, index[IR_MAX_RANK];
    Use u;
    if (val->op == OP_CALL && val->ints[2] == CALL_REDUCE) return (ProofStep){mixer_name(s, val), val->span, val->op == OP_CALL};
    flow_use(f, chain[i]->value, chain[i]->index, &u);
    do {
      for (uint32_t k = 0; k < u.n_args; k++) {
        const ValueId arg = val->args[u.arg[k]];
        use_index(f, chain[i]->value, &u, k, turn, index);
        if (arg == chain[i - 1]->value || !has_dep(s, elem_at(f, arg, index))) continue;
        const ProofStep m = mixer_of(s, arg, index);
        if (m.name) return m;
      }
    } while (use_next(s->f, &u, turn));
  }
  return (ProofStep){0};
}

static void name_way(const Search *s, const Visit *const *chain, uint32_t n, ProofPath *out) {
  const Program *p = s->f->p;
  out->way = WAY_DIRECT;
  if (s->within == OWN_ROWS && s->f->n_places) {
    out->way = WAY_POSITIONS, out->mixer = find_mixer(s, chain, n);
    return;
  }
  if (s->within == ANY_ROW) {
    out->way = WAY_MIXING, out->mixer = find_mixer(s, chain, n);
    for (uint32_t r = 0; r < p->n_routes && !out->route; r++)
      if (passes_mask_of(s, chain, n, &p->routes[r])) out->route = p->routes[r].name, out->place = p->taps[p->routes[r].tap].name;
    return;
  }
  const ProgRoute *own = route_of_parameter(s);
  if (own && !(own->origins >> s->origin & 1)) out->way = p->origins[s->origin].routed ? WAY_ORIGIN : WAY_UNROUTED;
  else if (passes_by_origin(s, chain, n, out) || goes_round(s, chain, n, out) || is_scaled(s, chain, n, out)) return;
  else if (own) out->way = WAY_OPEN;
  else by_use(s, out);
  if (own) out->route = own->name, out->place = p->taps[own->tap].name;
}

/* A gate's own loss, or the value of a gate that nothing stops: it weighs branches that may be routed each. */
static void name_gate(const Program *p, ProofPath *out) {
  if (out->way != WAY_DIRECT && out->way != WAY_SECOND_READER && out->way != WAY_SKIP) return;
  for (uint32_t i = 0; i < p->n_gates; i++) {
    const ProgGate *gate = &p->gates[i];
    bool passes = false;
    for (uint32_t k = 1; k < out->n_steps; k++) passes = passes || !strcmp(out->steps[k].name, gate->value);
    if (gate->origin != (int32_t)out->origin && !(passes && out->way == WAY_DIRECT)) continue;
    out->way = gate->origin == (int32_t)out->origin ? WAY_TARGET : WAY_GATE;
    out->gate = gate->name, out->place = gate->value, out->route = NULL;
    return;
  }
}

/* ---- the door ------------------------------------------------------------------------------------------------------ */
/* From one kind through one origin to one piece; false if there is none within what is asked for. */
static bool path_of(Search *s, const RegionPiece *piece, Reach within, ProofPath *out) {
  const Visit **chain = NULL;
  s->within = within;
  const uint32_t n = search(s, piece, &chain);
  if (!n && within != ANY_ROW) return false;
  *out = (ProofPath){.origin = s->origin, .param = piece->param};
  if (n) name_way(s, chain, n, out);
  describe(s, chain, n, out);
  name_gate(s->f->p, out);
  return true;
}

bool proof_path(const Proof *p, const RegionPiece *pieces, uint32_t n_pieces, KindSet kinds, OriginSet origins, ProofView view,
                ProofPath *out) {
  bool found = false;
  for (int within = p->loose->n_places ? OWN_PLACES : OWN_ROWS; within >= ANY_ROW && !found; within--)
    for (uint32_t o = 0; o < p->program->n_origins; o++)
      for (uint32_t i = 0; i < n_pieces; i++)
        for (uint32_t k = 0; (origins >> o & 1) && k < p->n_kinds; k++) {
          const KindSet one = (KindSet)1 << k;
          ProofPath path;
          if (!(kinds >> k & 1) || proof_is_none(proof_piece(p, &pieces[i], one, (OriginSet)1 << o, view))) continue;
          Search s = {.f = proof_flow(p, view), .kind = k, .origin = o, .param = pieces[i].param};
          if (!path_of(&s, &pieces[i], (Reach)within, &path)) continue;
          if ((view & PROOF_STRICT) && proof_is_none(proof_piece(p, &pieces[i], one, (OriginSet)1 << o, view & PROOF_AT ? PROOF_AT : PROOF_LOOSE))) path.way = WAY_CLIP;
          if (!found || path.n_steps < out->n_steps) *out = path;
          found = true;
          break; /* other kinds of the class differ little */
        }
  return found;
}
