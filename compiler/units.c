/* SPDX-License-Identifier: Apache-2.0
 * units.c -- index maps of views, applied to labels. All but RESHAPE take every axis of the result to at most
 * one axis of the argument; RESHAPE is cut into the smallest runs of axes that hold the same elements on both
 * sides. */
#include "units.h"
#include "ops.h"
#include <stdlib.h>
#include <string.h>

#define MAX_LABELS ((int64_t)1 << 26) /* more than that are not tabled: the answer is "not to be said" */

static bool has(uint32_t axes, int i) { return axes >> i & 1; }

int64_t units_count(const UnitMap *m, const Shape *s) {
  int64_t n = 1;
  for (int i = 0; i < s->rank; i++)
    if (has(m->axes, i) && __builtin_mul_overflow(n, s->d[i], &n)) return INT64_MAX;
  return n;
}

static UnitMap map_new(Arena *a, uint32_t axes, const Shape *s, bool *ok) {
  UnitMap m = {.axes = axes};
  int64_t n = units_count(&m, s);
  *ok = n > 0 && n <= MAX_LABELS; /* a datum axis makes the count negative */
  if (!*ok) return m;
  m.label = ARENA_NEWS(a, int32_t, n);
  for (int64_t i = 0; i < n; i++) m.label[i] = UNIT_NONE;
  return m;
}

UnitMap units_along(Arena *a, int axis, const int32_t *label, int64_t n) {
  UnitMap m = {.axes = 1u << axis, .label = ARENA_NEWS(a, int32_t, n)};
  memcpy(m.label, label, (size_t)n * sizeof *label);
  return m;
}

UnitMap units_uniform(Arena *a, int32_t label) {
  UnitMap m = {.axes = 0, .label = ARENA_NEWS(a, int32_t, 1)};
  m.label[0] = label;
  return m;
}

bool units_equal(const UnitMap *x, const UnitMap *y, const Shape *s) {
  return x->axes == y->axes && !memcmp(x->label, y->label, (size_t)units_count(x, s) * sizeof *x->label);
}

/* ---- walking the elements that a map tells apart ---- */
typedef struct Walk {
  int axis[IR_MAX_RANK], n;
  int64_t extent[IR_MAX_RANK], at[IR_MAX_RANK];
} Walk;

static Walk walk_begin(uint32_t axes, const Shape *s) {
  Walk w = {.n = 0};
  for (int i = 0; i < s->rank; i++)
    if (has(axes, i)) w.axis[w.n] = i, w.extent[w.n] = s->d[i], w.at[w.n++] = 0;
  return w;
}
static void walk_next(Walk *w) {
  for (int k = w->n; k-- > 0;) {
    if (++w->at[k] < w->extent[k]) return;
    w->at[k] = 0;
  }
}

/* Leaves out axes that no label depends on. Where all labels are one, the axes stay: they are the units'. */
static UnitMap units_tidy(Arena *a, const UnitMap *m, const Shape *s) {
  UnitMap now = *m;
  const int64_t all = units_count(m, s);
  bool uniform = true;
  for (int64_t e = 1; e < all && uniform; e++) uniform = m->label[e] == m->label[0];
  for (int i = 0; i < s->rank && !uniform; i++) {
    if (!has(now.axes, i)) continue;
    int64_t inner = 1, n = units_count(&now, s);
    for (int k = i + 1; k < s->rank; k++)
      if (has(now.axes, k)) inner *= s->d[k];
    bool same = true;
    for (int64_t e = 0; e < n && same; e++)
      same = now.label[e] == now.label[e - (e / inner % s->d[i]) * inner];
    if (!same) continue;
    int32_t *label = ARENA_NEWS(a, int32_t, n / s->d[i]);
    for (int64_t e = 0, to = 0; e < n; e++)
      if (e / inner % s->d[i] == 0) label[to++] = now.label[e];
    now = (UnitMap){now.axes & ~(1u << i), label};
  }
  return now;
}

/* ---- links: where each axis of a result comes from ---- */
typedef struct Link {
  int src;             /* axis of the argument, or -1 */
  Op op;               /* OP_NONE: the same index; SLICE, TAKE, PAD, PUT, CONCAT */
  int64_t start, step; /* SLICE, PAD; CONCAT: offset and length */
  const int64_t *list; /* TAKE, PUT */
  int64_t n;
} Link;

/* The index in the argument of index i of the result; -1: from nowhere. */
static int64_t link_source(const Link *l, int64_t i) {
  switch (l->op) {
  case OP_SLICE: return l->start + l->step * i;
  case OP_TAKE: return l->list[i];
  case OP_PAD:
    return i >= l->start && (i - l->start) % l->step == 0 && (i - l->start) / l->step < l->n
               ? (i - l->start) / l->step
               : -1;
  case OP_PUT:
    for (int64_t k = 0; k < l->n; k++)
      if (l->list[k] == i) return k;
    return -1;
  case OP_CONCAT: return i >= l->start && i < l->start + l->n ? i - l->start : -1;
  default: return i;
  }
}

static void link_cut_axis(const Graph *g, const Value *v, uint32_t arg, Link *links) {
  const int64_t axis = v->ints[0];
  Link *l = &links[axis];
  l->op = v->op;
  if (v->op == OP_CONCAT) {
    for (uint32_t k = 0; k < arg; k++) l->start += g->v[v->args[k]].shape.d[axis];
    l->n = g->v[v->args[arg]].shape.d[axis];
  } else if (v->op == OP_SLICE || v->op == OP_PAD)
    l->start = v->ints[1], l->step = v->ints[2], l->n = g->v[v->args[0]].shape.d[axis];
  else l->list = v->ints + 1, l->n = v->n_ints - 1;
}

static void links_of_dot(const Graph *g, const Value *v, uint32_t arg, Link *links) {
  const DotInts d = ir_dot_ints(v);
  int64_t free_axes[2][IR_MAX_RANK];
  int n_free[2];
  for (int k = 0; k < 2; k++)
    n_free[k] = ir_free_axes(g->v[v->args[k]].shape.rank, k ? d.batch_b : d.batch_a, d.nb,
                             k ? d.con_b : d.con_a, d.nc, free_axes[k]);
  for (int i = 0; i < v->shape.rank; i++) links[i].src = -1;
  for (int64_t i = 0; i < d.nb; i++) links[i].src = (int)(arg ? d.batch_b[i] : d.batch_a[i]);
  for (int i = 0; i < n_free[arg]; i++) links[d.nb + (arg ? n_free[0] : 0) + i].src = (int)free_axes[arg][i];
}

static void links_of_reduction(const Value *v, Link *links) {
  int kept = 0;
  uint32_t next = 0;
  for (int axis = 0; kept < v->shape.rank; axis++)
    if (next < v->n_ints && v->ints[next] == axis) next++;
    else links[kept++].src = axis;
}

/* false: this operation says nothing about this argument. */
static bool links_of(const Graph *g, ValueId id, uint32_t arg, Link *links) {
  const Value *v = &g->v[id];
  for (int i = 0; i < v->shape.rank; i++) links[i] = (Link){.src = i};
  if (op_class(v->op) == OPC_ELT) return true;
  switch (v->op) {
  case OP_BCAST:
  case OP_TRANSPOSE:
    for (int i = 0; i < v->shape.rank; i++) links[i].src = (int)v->ints[i];
    return true;
  case OP_SLICE:
  case OP_PAD:
  case OP_TAKE:
  case OP_PUT:
  case OP_CONCAT: link_cut_axis(g, v, arg, links); return true;
  case OP_UNFOLD: /* windows keep the channels; pixels are mixed */
    for (int i = 0; i < v->shape.rank; i++) links[i].src = i == 0 ? 0 : i == 3 ? 1 : -1;
    return true;
  case OP_SUM:
  case OP_AMAX: links_of_reduction(v, links); return true;
  case OP_DOT: links_of_dot(g, v, arg, links); return true;
  case OP_GATHER: {
    const int idx = g->v[v->args[1]].shape.rank;
    if (arg) return false;
    for (int i = 0; i < v->shape.rank; i++) links[i].src = i < idx ? -1 : i - idx + 1;
    return true;
  }
  default: return false;
  }
}

/* Axes of the argument, in the argument's order, that the result's `axes` come from. */
static uint32_t sources_of(const Link *links, int rank, uint32_t axes) {
  uint32_t s = 0;
  for (int i = 0; i < rank; i++)
    if (has(axes, i) && links[i].src >= 0) s |= 1u << links[i].src;
  return s;
}

/* Position in a map over `axes` of `s`, given an index for each axis; -1 if one is nowhere. */
static int64_t offset_of(uint32_t axes, const Shape *s, const int64_t *index) {
  int64_t at = 0;
  for (int i = 0; i < s->rank; i++) {
    if (!has(axes, i)) continue;
    if (index[i] < 0) return -1;
    at = at * s->d[i] + index[i];
  }
  return at;
}

/* ---- RESHAPE ---- */
/* The smallest run of axes of `s` and of `t` from (*i, *k) on that hold the same elements. */
static void next_run(const Shape *s, const Shape *t, int *i, int *k) {
  int64_t x = *i < s->rank ? s->d[(*i)++] : 1, y = *k < t->rank ? t->d[(*k)++] : 1;
  while (x != y && (*i < s->rank || *k < t->rank)) {
    if (*k >= t->rank || (x < y && *i < s->rank)) x *= s->d[(*i)++];
    else y *= t->d[(*k)++];
  }
}

static bool reshaped(Arena *a, const UnitMap *m, const Shape *from, const Shape *to, UnitMap *out) {
  uint32_t dense = 0, axes = 0;
  for (int i = 0, k = 0; i < from->rank || k < to->rank;) {
    const int i0 = i, k0 = k;
    next_run(from, to, &i, &k);
    uint32_t run = 0;
    for (int j = i0; j < i; j++) run |= 1u << j;
    if (!(run & m->axes)) continue;
    dense |= run;
    for (int j = k0; j < k; j++) axes |= 1u << j;
  }
  bool ok;
  UnitMap full = map_new(a, dense, from, &ok);
  if (!ok) return false;
  Walk w = walk_begin(dense, from);
  const int64_t n = units_count(&full, from);
  for (int64_t e = 0; e < n; e++, walk_next(&w)) {
    int64_t index[IR_MAX_RANK] = {0};
    for (int k = 0; k < w.n; k++) index[w.axis[k]] = w.at[k];
    full.label[e] = m->label[offset_of(m->axes, from, index)];
  }
  full.axes = axes;
  *out = units_tidy(a, &full, to);
  return true;
}

/* ---- both directions ---- */
bool units_back(const Graph *g, Arena *a, ValueId v, uint32_t arg, const UnitMap *m, UnitMap *out) {
  const Value *val = &g->v[v];
  const Shape *s = &val->shape, *t = &g->v[val->args[arg]].shape;
  if (val->op == OP_RESHAPE) return reshaped(a, m, s, t, out);
  Link links[IR_MAX_RANK];
  if (!links_of(g, v, arg, links)) return false;
  if (val->op == OP_DOT || val->op == OP_UNFOLD || val->op == OP_GATHER)
    for (int i = 0; i < s->rank; i++)
      if (has(m->axes, i) && links[i].src < 0) return false;
  bool ok;
  const uint32_t axes = sources_of(links, s->rank, m->axes);
  UnitMap r = map_new(a, axes, t, &ok);
  if (!ok) return false;
  Walk w = walk_begin(m->axes, s);
  const int64_t n = units_count(m, s);
  for (int64_t e = 0; e < n; e++, walk_next(&w)) {
    int64_t index[IR_MAX_RANK] = {0};
    for (int k = 0; k < w.n; k++)
      if (links[w.axis[k]].src >= 0) index[links[w.axis[k]].src] = link_source(&links[w.axis[k]], w.at[k]);
    const int64_t at = offset_of(axes, t, index);
    if (at < 0) continue;
    r.label[at] = r.label[at] == UNIT_NONE || r.label[at] == m->label[e] ? m->label[e] : UNIT_MIXED;
  }
  *out = units_tidy(a, &r, t);
  return true;
}

bool units_forward(const Graph *g, Arena *a, ValueId v, uint32_t arg, const UnitMap *m, UnitMap *out) {
  const Value *val = &g->v[v];
  const Shape *s = &val->shape, *t = &g->v[val->args[arg]].shape;
  if (val->op == OP_RESHAPE) return reshaped(a, m, t, s, out);
  Link links[IR_MAX_RANK];
  if (!links_of(g, v, arg, links)) return false;
  uint32_t axes = 0, seen = 0;
  for (int i = 0; i < s->rank; i++)
    if (links[i].src >= 0 && (has(m->axes, links[i].src) || links[i].op == OP_PAD || links[i].op == OP_PUT ||
                              links[i].op == OP_CONCAT))
      axes |= 1u << i, seen |= 1u << links[i].src;
  if ((seen & m->axes) != m->axes) return false;
  bool ok;
  UnitMap r = map_new(a, axes, s, &ok);
  if (!ok) return false;
  Walk w = walk_begin(axes, s);
  const int64_t n = units_count(&r, s);
  for (int64_t e = 0; e < n; e++, walk_next(&w)) {
    int64_t index[IR_MAX_RANK] = {0};
    bool nowhere = false;
    for (int k = 0; k < w.n; k++) {
      index[links[w.axis[k]].src] = link_source(&links[w.axis[k]], w.at[k]);
      nowhere |= index[links[w.axis[k]].src] < 0;
    }
    if (!nowhere) r.label[e] = m->label[offset_of(m->axes, t, index)];
  }
  *out = units_tidy(a, &r, s);
  return true;
}

bool units_contracted(const Graph *g, Arena *a, ValueId v, uint32_t arg, const UnitMap *m, UnitMap *out) {
  const Value *val = &g->v[v];
  const DotInts d = ir_dot_ints(val);
  const Shape *s = &g->v[val->args[arg]].shape, *t = &g->v[val->args[1 - arg]].shape;
  const int64_t *mine = arg ? d.con_b : d.con_a, *theirs = arg ? d.con_a : d.con_b;
  int to[IR_MAX_RANK];
  uint32_t axes = 0, seen = 0;
  for (int64_t i = 0; i < d.nc; i++)
    if (has(m->axes, (int)mine[i]))
      to[mine[i]] = (int)theirs[i], axes |= 1u << theirs[i], seen |= 1u << mine[i];
  if (seen != m->axes) return false;
  bool ok;
  UnitMap r = map_new(a, axes, t, &ok);
  if (!ok) return false;
  Walk w = walk_begin(m->axes, s);
  const int64_t n = units_count(m, s);
  for (int64_t e = 0; e < n; e++, walk_next(&w)) {
    int64_t index[IR_MAX_RANK] = {0};
    for (int k = 0; k < w.n; k++) index[to[w.axis[k]]] = w.at[k];
    r.label[offset_of(axes, t, index)] = m->label[e];
  }
  *out = r;
  return true;
}
