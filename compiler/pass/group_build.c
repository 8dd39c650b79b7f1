/* SPDX-License-Identifier: Apache-2.0
 * group_build.c -- a graph again, from its roots up, with each value computed only where it is needed and may be other
 * than 0: for a row set, at some indices of one axis.
 * requires:  what is known of every value, for each kind of datum
 * maintains: roots up to the order of sums over the batch (GROUP_NONE: every bit of a finite result)
 * changes:   sums over the batch become sums over row sets, products are as large as what is not 0 in them */
#include "group.h"
#include "fault.h"
#include "ops.h"
#include <math.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

enum { MAX_SEGMENTS = 16, MAX_SELECTIONS = 1024 };

/* Indices of an axis, ascending. Number 0 of the table: all of them. */
typedef struct Selection { int64_t n; const int64_t *index; bool run; } Selection;

/* What is asked for: v's rows of a row set, at a selection along one axis (-1: everywhere). */
typedef struct Want { ValueId v; uint32_t set; int32_t axis; uint32_t sel; } Want;
typedef struct Slot { Want want; ValueId made; } Slot;

typedef struct Build {
  const Graph *g;
  const Kinds *k;
  const Grouping *groups;
  GroupMode mode;
  Arena *arena;
  Graph *to;
  RowSets *sets;
  bool overflow;      /* of row sets or selections */
  uint32_t *readers;  /* [value] live ones */
  bool *whole;        /* [value] computed for all rows if it is asked for at all; forward: everywhere */
  Selection *sel; uint32_t n_sel;
  Slot *table; uint32_t mask, filled;
} Build;

static ValueId want(Build *b, ValueId v, uint32_t set, int32_t axis, uint32_t sel);

/* ---- selections and row sets ------------------------------------------------------------------------------------- */
static uint32_t select_indices(Build *b, const int64_t *index, int64_t n, int64_t extent) {
  if (n == extent) return 0;
  for (uint32_t i = 1; i < b->n_sel; i++)
    if (b->sel[i].n == n && !memcmp(b->sel[i].index, index, (size_t)n * sizeof *index)) return i;
  if (b->n_sel == MAX_SELECTIONS) {
    b->overflow = true;
    return 0;
  }
  int64_t *copy = ARENA_NEWS(b->arena, int64_t, n + 1);
  if (n) memcpy(copy, index, (size_t)n * sizeof *index);
  b->sel[b->n_sel] = (Selection){n, copy, n > 0 && copy[n - 1] - copy[0] == n - 1};
  return b->n_sel++;
}

static uint32_t row_set(Build *b, uint32_t lo, uint32_t hi) {
  RowSets *s = b->sets;
  for (uint32_t i = 0; i < s->n; i++)
    if (s->lo[i] == lo && s->hi[i] == hi) return i;
  if (s->n == IR_MAX_SETS) {
    b->overflow = true;
    return 0;
  }
  s->lo[s->n] = lo, s->hi[s->n] = hi;
  return s->n++;
}

static uint64_t kinds_of_set(const Build *b, uint32_t set) {
  uint64_t kinds = 0;
  for (uint32_t i = b->sets->lo[set]; i < b->sets->hi[set]; i++) kinds |= b->groups->kinds[i];
  return kinds;
}

/* ---- what is known of a value in a row set -------------------------------------------------------------------------- */
/* True if all numbers there are equal; *num is that number. */
static bool known_number(const Build *b, ValueId v, uint64_t kinds, int32_t axis, uint32_t sel, double *num) {
  const Known *x = &b->k->of[v];
  if (!x->num) return false;
  const Selection *s = axis >= 0 && axis == x->axis && sel ? &b->sel[sel] : NULL;
  bool first = true;
  for (uint32_t kind = 0; kind < b->k->n; kind++) {
    if (!(kinds >> kind & 1)) continue;
    for (int64_t i = 0; i < (s ? s->n : x->n); i++) {
      double y = x->num[kind * x->n + (s ? s->index[i] : i)];
      if (isnan(y) || (!first && y != *num)) return false;
      *num = y, first = false;
    }
  }
  return !first;
}

/* Where v may be other than 0 for these kinds: an axis and a selection of it (-1 and 0: everywhere), or nowhere (false). */
static bool support(Build *b, ValueId v, uint64_t kinds, int32_t *axis, uint32_t *sel) {
  const Known *x = &b->k->of[v];
  double num;
  *axis = -1, *sel = 0;
  if (known_number(b, v, kinds, -1, 0, &num) && num == 0) return false;
  if (!x->num || x->axis < 0) return true;
  int64_t *index = ARENA_NEWS(b->arena, int64_t, x->n + 1), n = 0;
  for (int64_t i = 0; i < x->n; i++) {
    bool zero = true;
    for (uint32_t kind = 0; kind < b->k->n; kind++)
      if (kinds >> kind & 1) zero &= x->num[kind * x->n + i] == 0;
    if (!zero) index[n++] = i;
  }
  int64_t hull = n ? index[n - 1] - index[0] + 1 : 0;
  if (n < hull && 5 * n >= 4 * hull) { /* gathering a few less is not worth it */
    int64_t lo = index[0];
    for (n = 0; n < hull; n++) index[n] = lo + n;
  }
  if (n < hull && 4 * n >= 3 * x->n) return true;
  *sel = select_indices(b, index, n, x->n);
  if (*sel) *axis = x->axis;
  return true;
}

/* ---- making values ----------------------------------------------------------------------------------------------------- */
static Shape new_shape(const Build *b, const Shape *s, const Want *w) {
  Shape r = *s;
  for (int32_t i = 0; i < r.rank; i++)
    if (dim_is_rows(r.d[i])) r.d[i] = dim_of_set(w->set);
  if (w->axis >= 0 && w->sel) r.d[w->axis] = b->sel[w->sel].n;
  return r;
}

static ValueId make(Build *b, ValueId like, Op op, const ValueId *args, uint32_t n, const int64_t *ints, uint32_t n_ints,
                    const Shape *shape) {
  const Value *v = &b->g->v[like];
  b->to->phase = v->phase;
  ValueId id = ir_make(b->to, op, v->span, args, n, ints, n_ints, v->num, shape, v->dtype);
  Value *now = ir_value(b->to, id);
  if (op == v->op && v->data) now->data = v->data;
  now->origins = v->origins, now->name = v->name;
  return id;
}

static ValueId number(Build *b, ValueId like, const Shape *shape, double num) {
  const Value *v = &b->g->v[like];
  b->to->phase = v->phase;
  ValueId id = ir_const(b->to, v->span, num, shape, v->dtype);
  ir_value(b->to, id)->origins = v->origins;
  return id;
}

/* made: a value of all indices along `axis`. */
static ValueId cut(Build *b, ValueId like, ValueId made, int32_t axis, uint32_t sel) {
  if (axis < 0 || !sel) return made;
  const Selection *s = &b->sel[sel];
  Shape to = ir_value(b->to, made)->shape;
  to.d[axis] = s->n;
  if (s->run) return make(b, like, OP_SLICE, &made, 1, (int64_t[]){axis, s->index[0], 1}, 3, &to);
  int64_t *ints = ARENA_NEWS(b->arena, int64_t, s->n + 1);
  ints[0] = axis;
  memcpy(ints + 1, s->index, (size_t)s->n * sizeof *ints);
  return make(b, like, OP_TAKE, &made, 1, ints, (uint32_t)s->n + 1, &to);
}

/* The opposite: zeros elsewhere. */
static ValueId uncut(Build *b, ValueId like, ValueId made, int32_t axis, uint32_t sel, int64_t extent) {
  if (axis < 0 || !sel) return made;
  const Selection *s = &b->sel[sel];
  Shape to = ir_value(b->to, made)->shape;
  to.d[axis] = extent;
  if (s->run) return make(b, like, OP_PAD, &made, 1, (int64_t[]){axis, s->index[0], 1}, 3, &to);
  int64_t *ints = ARENA_NEWS(b->arena, int64_t, s->n + 1);
  ints[0] = axis;
  memcpy(ints + 1, s->index, (size_t)s->n * sizeof *ints);
  return make(b, like, OP_PUT, &made, 1, ints, (uint32_t)s->n + 1, &to);
}

/* Computed everywhere along the axis, then cut. */
static ValueId want_cut(Build *b, const Want *w) {
  return cut(b, w->v, want(b, w->v, w->set, -1, 0), w->axis, w->sel);
}

/* ---- element-wise, leaves, views ------------------------------------------------------------------------------------------ */
static ValueId want_elt(Build *b, const Want *w) {
  const Value *v = &b->g->v[w->v];
  uint64_t kinds = kinds_of_set(b, w->set);
  double num;
  if (op_class(v->op) == OPC_ELT && (v->op == OP_STOP || v->op == OP_TAP)) return want(b, v->args[0], w->set, w->axis, w->sel);
  if (v->op == OP_MASK && known_number(b, v->args[1], kinds, w->axis, w->sel, &num) && num == 1)
    return want(b, v->args[0], w->set, w->axis, w->sel);
  if (v->op == OP_WHERE && known_number(b, v->args[0], kinds, w->axis, w->sel, &num))
    return want(b, v->args[num != 0 ? 1 : 2], w->set, w->axis, w->sel);
  for (int i = 0; b->mode != GROUP_NONE && v->op == OP_ADD && i < 2; i++)
    if (known_number(b, v->args[i], kinds, w->axis, w->sel, &num) && num == 0)
      return want(b, v->args[1 - i], w->set, w->axis, w->sel);
  ValueId args[3];
  for (uint32_t i = 0; i < v->n_args; i++) args[i] = want(b, v->args[i], w->set, w->axis, w->sel);
  Shape s = new_shape(b, &v->shape, w);
  return make(b, w->v, v->op, args, v->n_args, v->ints, v->n_ints, &s);
}

static ValueId want_leaf(Build *b, const Want *w) {
  const Value *v = &b->g->v[w->v];
  bool flat = (v->op == OP_CONST && !v->data) || (v->op == OP_IOTA && !dim_is_rows(v->shape.d[v->ints[0]]));
  if (flat && (v->op == OP_CONST || !w->sel)) {
    Shape s = new_shape(b, &v->shape, w);
    return make(b, w->v, v->op, NULL, 0, v->ints, v->n_ints, &s);
  }
  if (w->sel) return want_cut(b, w);
  if (!w->set) return make(b, w->v, v->op, NULL, 0, v->ints, v->n_ints, &v->shape);
  ValueId all = want(b, w->v, 0, -1, 0);
  b->to->phase = v->phase;
  return ir_rslice(b->to, all, w->set);
}

static ValueId want_bcast(Build *b, const Want *w) {
  const Value *v = &b->g->v[w->v];
  int32_t from = w->axis < 0 ? -1 : (int32_t)v->ints[w->axis];
  ValueId x = want(b, v->args[0], w->set, from, from < 0 ? 0 : w->sel);
  Shape s = new_shape(b, &v->shape, w);
  return make(b, w->v, v->op, &x, 1, v->ints, v->n_ints, &s);
}

static ValueId want_view(Build *b, const Want *w) {
  const Value *v = &b->g->v[w->v];
  int32_t axis = w->axis;
  if (v->op == OP_BCAST) return want_bcast(b, w);
  if (v->op == OP_TRANSPOSE && axis >= 0) axis = (int32_t)v->ints[axis];
  else if (w->sel && (v->op == OP_RESHAPE || v->op == OP_UNFOLD || v->ints[0] == axis)) return want_cut(b, w);
  ValueId *args = ARENA_NEWS(b->arena, ValueId, v->n_args);
  for (uint32_t i = 0; i < v->n_args; i++) args[i] = want(b, v->args[i], w->set, axis, w->sel);
  Shape s = new_shape(b, &v->shape, w);
  return make(b, w->v, v->op, args, v->n_args, v->ints, v->n_ints, &s);
}

/* ---- products ------------------------------------------------------------------------------------------------------------- */
typedef struct Side { const int64_t *batch, *con; int64_t free[IR_MAX_RANK]; int n_free, first; } Side;

static Side side_of(const Build *b, const Value *v, int s) {
  DotInts d = ir_dot_ints(v);
  Side r = {.batch = s ? d.batch_b : d.batch_a, .con = s ? d.con_b : d.con_a, .first = (int)d.nb};
  if (s) r.first += ir_free_axes(b->g->v[v->args[0]].shape.rank, d.batch_a, d.nb, d.con_a, d.nc, r.free);
  r.n_free = ir_free_axes(b->g->v[v->args[s]].shape.rank, r.batch, d.nb, r.con, d.nc, r.free);
  return r;
}

/* The argument's axis that is the result's axis, or -1. */
static int32_t axis_in_side(const Side *x, int64_t nb, int32_t axis) {
  if (axis < 0) return -1;
  if (axis < nb) return (int32_t)x->batch[axis];
  return axis >= x->first && axis < x->first + x->n_free ? (int32_t)x->free[axis - x->first] : -1;
}
/* And back; contracted: -1. */
static int32_t axis_of_result(const Side *x, int64_t nb, int32_t axis) {
  for (int i = 0; i < nb; i++)
    if (x->batch[i] == axis) return i;
  for (int i = 0; i < x->n_free; i++)
    if (x->free[i] == axis) return x->first + i;
  return -1;
}

/* The indices of a contracted axis at which neither argument is known to be 0: its number, or -1 for all. */
static int contraction(Build *b, const Value *v, uint64_t kinds, uint32_t *sel) {
  DotInts d = ir_dot_ints(v);
  *sel = 0;
  for (int c = 0; c < (int)d.nc; c++) {
    int64_t extent = b->g->v[v->args[0]].shape.d[d.con_a[c]], n = 0;
    if (dim_is_rows(extent)) continue;
    int32_t axis[2];
    uint32_t s[2];
    for (int i = 0; i < 2; i++) {
      support(b, v->args[i], kinds, &axis[i], &s[i]);
      if (axis[i] != (i ? d.con_b : d.con_a)[c]) s[i] = 0;
    }
    if (!s[0] && !s[1]) continue;
    if (!s[0] || !s[1] || s[0] == s[1]) {
      *sel = s[0] ? s[0] : s[1];
      return c;
    }
    int64_t *both = ARENA_NEWS(b->arena, int64_t, extent);
    const Selection *p = &b->sel[s[0]], *q = &b->sel[s[1]];
    for (int64_t i = 0, j = 0; i < p->n && j < q->n;)
      if (p->index[i] < q->index[j]) i++;
      else if (p->index[i] > q->index[j]) j++;
      else both[n++] = p->index[i], i++, j++;
    if (!n) both[n++] = 0; /* 0 everywhere: one product of nothing is made */
    *sel = select_indices(b, both, n, extent);
    return c;
  }
  return -1;
}

/* An argument at a selection of a contracted axis and at another of a free one. */
static ValueId want_operand(Build *b, ValueId v, uint32_t set, int32_t con, uint32_t con_sel, int32_t axis, uint32_t sel) {
  if (con >= 0 && con_sel && axis >= 0 && sel) return cut(b, v, want(b, v, set, con, con_sel), axis, sel);
  return con >= 0 && con_sel ? want(b, v, set, con, con_sel) : want(b, v, set, axis, axis >= 0 ? sel : 0);
}

static ValueId dot_at(Build *b, ValueId id, uint32_t set, const int32_t axis[2], const uint32_t sel[2]) {
  const Value *v = &b->g->v[id];
  DotInts d = ir_dot_ints(v);
  uint32_t con_sel;
  int c = contraction(b, v, kinds_of_set(b, set), &con_sel);
  ValueId args[2];
  for (int s = 0; s < 2; s++)
    args[s] = want_operand(b, v->args[s], set, c < 0 ? -1 : (int32_t)(s ? d.con_b : d.con_a)[c], con_sel, axis[s], sel[s]);
  return make(b, id, OP_DOT, args, 2, v->ints, v->n_ints, NULL);
}

/* The product at a selection of one of its axes. */
static ValueId dot_selected(Build *b, const Want *w, int32_t axis, uint32_t sel) {
  const Value *v = &b->g->v[w->v];
  int32_t at[2];
  uint32_t sels[2];
  for (int s = 0; s < 2; s++) {
    Side x = side_of(b, v, s);
    at[s] = axis_in_side(&x, v->ints[0], axis), sels[s] = at[s] >= 0 ? sel : 0;
  }
  return dot_at(b, w->v, w->set, at, sels);
}

/* A product that keeps the rows. */
static ValueId want_dot(Build *b, const Want *w) {
  int32_t own;
  uint32_t own_sel;
  support(b, w->v, kinds_of_set(b, w->set), &own, &own_sel);
  if (own_sel && !w->sel) /* not by way of want(): who wants a part of a forward value may be given a cut of all */
    return uncut(b, w->v, dot_selected(b, w, own, own_sel), own, own_sel, b->g->v[w->v].shape.d[own]);
  if (w->sel && b->readers[w->v] > 1 && !(own == w->axis && own_sel == w->sel)) return want_cut(b, w); /* others read more of it */
  return dot_selected(b, w, w->axis, w->sel);
}

/* ---- sums over the batch ---------------------------------------------------------------------------------------------------- */
/* One row set's part of a sum over the batch, with selections along up to two axes of the result. */
typedef struct Piece { uint32_t set; int32_t axis[2]; uint32_t sel[2]; ValueId made; } Piece;

static bool is_reduced(const Value *v, int32_t axis) {
  for (uint32_t i = 0; i < v->n_ints; i++)
    if (v->ints[i] == axis) return true;
  return false;
}

static bool sums_rows(const Graph *g, const Value *v) {
  if (v->op != OP_DOT && v->op != OP_SUM && v->op != OP_SCATTER) return false;
  int32_t rows = rows_axis(&g->v[v->args[0]].shape);
  if (rows < 0) return false;
  if (v->op == OP_SUM) return is_reduced(v, rows);
  if (v->op == OP_SCATTER) return true;
  DotInts d = ir_dot_ints(v);
  for (int64_t i = 0; i < d.nc; i++)
    if (d.con_a[i] == rows) return true;
  return false;
}

static int32_t kept_axis(const Value *sum, int32_t axis) {
  int32_t at = axis;
  for (uint32_t i = 0; i < sum->n_ints; i++) {
    if (sum->ints[i] == axis) return -1;
    at -= sum->ints[i] < axis;
  }
  return at;
}

/* Where the groups' part of a sum over the batch may be other than 0; false: nowhere. */
static bool piece_support(Build *b, ValueId id, uint64_t kinds, Piece *p) {
  const Value *v = &b->g->v[id];
  *p = (Piece){.axis = {-1, -1}};
  for (int s = 0; s < (v->op == OP_DOT ? 2 : 1); s++) {
    int32_t axis;
    uint32_t sel;
    if (!support(b, v->args[s], kinds, &axis, &sel)) return false;
    if (axis < 0 || v->op == OP_SCATTER) continue;
    Side x = {0};
    if (v->op == OP_DOT) x = side_of(b, v, s);
    int32_t at = v->op == OP_SUM ? kept_axis(v, axis) : axis_of_result(&x, v->ints[0], axis);
    if (at >= 0) p->axis[s] = at, p->sel[s] = sel;
  }
  return true;
}

static bool same_piece(const Piece *p, const Piece *q) { return !memcmp(p->axis, q->axis, sizeof p->axis) && !memcmp(p->sel, q->sel, sizeof p->sel); }

/* Ranges of groups whose parts are made together. */
static uint32_t pieces_of(Build *b, ValueId id, Piece *p) {
  const Value *v = &b->g->v[id];
  uint32_t n = 0, last = UINT32_MAX, lo = 0, groups = b->groups->n;
  bool merge = true; /* operands that are there as a whole: a longer range is one product more */
  for (uint32_t i = 0; i < v->n_args; i++) merge &= b->whole[v->args[i]] || b->mode != GROUP_ALL;
  for (uint32_t i = 0; i < groups; i++) {
    Piece now;
    if (!piece_support(b, id, b->groups->kinds[i], &now)) continue;
    if (n && merge && last + 1 == i && same_piece(&p[n - 1], &now)) p[n - 1].set = row_set(b, lo, i + 1);
    else p[n] = now, p[n++].set = row_set(b, i, i + 1), lo = i;
    last = i;
  }
  if (fault("lose-group") && n > 1) n--;
  return n;
}

static ValueId make_piece(Build *b, ValueId id, const Piece *p) {
  const Value *v = &b->g->v[id];
  if (v->op == OP_DOT) {
    int32_t at[2];
    uint32_t sel[2];
    for (int s = 0; s < 2; s++) {
      Side x = side_of(b, v, s);
      at[s] = axis_in_side(&x, v->ints[0], p->axis[s]), sel[s] = p->sel[s];
    }
    return dot_at(b, id, p->set, at, sel);
  }
  int32_t axis = -1;
  Shape from = b->g->v[v->args[0]].shape;
  for (int32_t i = 0; v->op == OP_SUM && p->sel[0] && i < from.rank; i++)
    if (!is_reduced(v, i) && kept_axis(v, i) == p->axis[0]) axis = i;
  ValueId args[2] = {want(b, v->args[0], p->set, axis, axis < 0 ? 0 : p->sel[0])};
  if (v->op == OP_SCATTER) args[1] = want(b, v->args[1], p->set, -1, 0);
  return make(b, id, v->op, args, v->n_args, v->ints, v->n_ints, v->op == OP_SCATTER ? &v->shape : NULL);
}

static ValueId add_up(Build *b, ValueId like, ValueId x, ValueId y) {
  return x ? make(b, like, OP_ADD, (ValueId[]){x, y}, 2, NULL, 0, NULL) : y;
}

/* Indices [from, to) along the axis: the sum of the pieces that cover them. */
static ValueId segment(Build *b, ValueId id, const Piece *p, uint32_t n, int k, int32_t axis, int64_t from, int64_t to) {
  Shape s = b->g->v[id].shape;
  ValueId sum = 0;
  s.d[axis] = to - from;
  for (uint32_t i = 0; i < n; i++) {
    const Selection *x = &b->sel[p[i].sel[k]];
    int64_t lo = p[i].sel[k] ? x->index[0] : 0, len = p[i].sel[k] ? x->n : b->g->v[id].shape.d[axis];
    if (from < lo || from >= lo + len) continue;
    ValueId part = p[i].made;
    if (to - from < len) part = make(b, id, OP_SLICE, &part, 1, (int64_t[]){axis, from - lo, 1}, 3, &s);
    sum = add_up(b, id, sum, part);
  }
  return sum ? sum : number(b, id, &s, 0);
}

static int by_number(const int64_t *a, const int64_t *b) { return *a < *b ? -1 : *a > *b; }

/* Pieces with selections along `axis` (their entry k) become one value: runs side by side, others put and added. */
static ValueId join(Build *b, ValueId id, Piece *p, uint32_t n, int k, int32_t axis) {
  int64_t extent = b->g->v[id].shape.d[axis], cuts[2 * MAX_GROUPS + 2] = {0, extent};
  uint32_t n_cuts = 2;
  bool runs = true;
  for (uint32_t i = 0; i < n; i++) {
    const Selection *s = &b->sel[p[i].sel[k]];
    if (!p[i].sel[k]) continue;
    runs &= s->run;
    cuts[n_cuts++] = s->index[0], cuts[n_cuts++] = s->index[0] + s->n;
  }
  qsort(cuts, n_cuts, sizeof *cuts, (int (*)(const void *, const void *))by_number);
  ValueId part[2 * MAX_GROUPS + 2], sum = 0;
  uint32_t parts = 0;
  for (uint32_t i = 0; runs && i + 1 < n_cuts; i++)
    if (cuts[i] < cuts[i + 1]) part[parts++] = segment(b, id, p, n, k, axis, cuts[i], cuts[i + 1]);
  int64_t at = axis;
  if (parts == 1) return part[0];
  if (parts) return make(b, id, OP_CONCAT, part, parts, &at, 1, NULL);
  for (uint32_t i = 0; i < n; i++) sum = add_up(b, id, sum, uncut(b, id, p[i].made, p[i].axis[k], p[i].sel[k], extent));
  return sum;
}

static ValueId want_sum(Build *b, ValueId id) {
  const Value *v = &b->g->v[id];
  Piece p[MAX_GROUPS];
  uint32_t n = pieces_of(b, id, p);
  if (!n) return number(b, id, &v->shape, 0);
  bool cut_on[2] = {false, false}, one_axis[2] = {true, true};
  for (uint32_t i = 0; i < n; i++) p[i].made = make_piece(b, id, &p[i]);
  for (int k = 0; k < 2; k++)
    for (uint32_t i = 0; i < n; i++) cut_on[k] |= p[i].sel[k] != 0;
  int main = cut_on[0] ? 0 : 1;
  int32_t axis = -1;
  for (uint32_t i = 0; i < n; i++) {
    int other = 1 - main;
    p[i].made = uncut(b, id, p[i].made, p[i].axis[other], p[i].sel[other], p[i].sel[other] ? v->shape.d[p[i].axis[other]] : 0);
    if (!p[i].sel[main]) continue;
    one_axis[main] &= axis < 0 || axis == p[i].axis[main];
    axis = p[i].axis[main];
  }
  if (axis >= 0 && one_axis[main]) return join(b, id, p, n, main, axis);
  ValueId sum = 0;
  for (uint32_t i = 0; i < n; i++) {
    ValueId all = uncut(b, id, p[i].made, p[i].axis[main], p[i].sel[main], p[i].sel[main] ? v->shape.d[p[i].axis[main]] : 0);
    sum = add_up(b, id, sum, all);
  }
  return sum;
}

/* max over the batch of what is the same in all data of a kind: along a few indices that stand for all. */
static ValueId want_amax(Build *b, ValueId id) {
  const Value *v = &b->g->v[id];
  ValueId x = v->args[0];
  const Known *known = &b->k->of[x];
  int32_t axis = known->num && known->axis >= 0 ? kept_axis(v, known->axis) : -1;
  Shape from = b->g->v[x].shape;
  bool plain = axis >= 0 && from.rank == 2 && v->n_ints == 1 && dim_is_rows(from.d[v->ints[0]]);
  int64_t n = 0, *stand = ARENA_NEWS(b->arena, int64_t, known->n + 1), *ints = ARENA_NEWS(b->arena, int64_t, known->n + 1);
  for (int64_t i = 0; plain && i < known->n; i++) {
    int64_t j = 0;
    for (; j < n; j++) {
      bool same = true;
      for (uint32_t kind = 0; kind < b->k->n; kind++) same &= known->num[kind * known->n + i] == known->num[kind * known->n + stand[j]];
      if (same) break;
    }
    if (j == n) stand[n++] = i;
    ints[1 + i] = j;
    plain &= n <= 16;
  }
  if (!plain || 4 * n > known->n) return 0;
  uint32_t sel = select_indices(b, stand, n, known->n);
  if (!sel) return 0;
  ValueId few = want(b, x, 0, known->axis, sel);
  few = make(b, id, OP_AMAX, &few, 1, v->ints, v->n_ints, NULL);
  ints[0] = axis;
  return make(b, id, OP_TAKE, &few, 1, ints, (uint32_t)known->n + 1, &v->shape);
}

/* ---- the rest ------------------------------------------------------------------------------------------------------------------- */
static ValueId want_plain(Build *b, const Want *w) {
  const Value *v = &b->g->v[w->v];
  if (w->sel) return want_cut(b, w);
  ValueId *args = ARENA_NEWS(b->arena, ValueId, v->n_args + 1);
  for (uint32_t i = 0; i < v->n_args; i++) args[i] = want(b, v->args[i], w->set, -1, 0);
  Shape s = new_shape(b, &v->shape, w);
  return make(b, w->v, v->op, args, v->n_args, v->ints, v->n_ints, &s);
}

/* Statistics are of all rows, so their gradient is made for all; a part of it is cut. Rows of a gate stand for themselves. */
static ValueId want_call(Build *b, const Want *w) {
  const Value *v = &b->g->v[w->v];
  if (v->ints[2] == CALL_GATE || !w->set) return want_plain(b, w);
  ValueId all = want(b, w->v, 0, -1, 0);
  b->to->phase = v->phase;
  return cut(b, w->v, ir_rslice(b->to, all, w->set), w->axis, w->sel);
}

static ValueId compute(Build *b, const Want *w) {
  const Value *v = &b->g->v[w->v];
  double num;
  bool whole_number = op_class(v->op) != OPC_LEAF && v->dtype == DT_F32 &&
                      known_number(b, w->v, kinds_of_set(b, w->set), w->axis, w->sel, &num) && num == 0;
  if (whole_number) {
    Shape s = new_shape(b, &v->shape, w);
    return number(b, w->v, &s, 0);
  }
  bool part = w->set || (w->sel && v->phase == PHASE_FORWARD);
  if (part && b->whole[w->v] && op_class(v->op) != OPC_LEAF) {
    ValueId all = want(b, w->v, 0, -1, 0);
    b->to->phase = v->phase;
    return cut(b, w->v, ir_rslice(b->to, all, w->set), w->axis, w->sel);
  }
  switch (op_class(v->op)) {
  case OPC_LEAF: return want_leaf(b, w);
  case OPC_ELT: return want_elt(b, w);
  case OPC_VIEW: return want_view(b, w);
  default: break;
  }
  if (v->op == OP_CALL) return want_call(b, w);
  if (v->op == OP_DOT && !sums_rows(b->g, v)) return want_dot(b, w);
  if (!sums_rows(b->g, v)) {
    ValueId few = v->op == OP_AMAX && !w->sel ? want_amax(b, w->v) : 0;
    return few ? few : want_plain(b, w);
  }
  return w->sel ? want_cut(b, w) : want_sum(b, w->v);
}

/* ---- memory of what was made --------------------------------------------------------------------------------------------------- */
static Slot *slot_of(Build *b, const Want *w) {
  uint32_t at = (uint32_t)XXH64(w, sizeof *w, 0) & b->mask;
  while (b->table[at].made && memcmp(&b->table[at].want, w, sizeof *w) != 0) at = (at + 1) & b->mask;
  return &b->table[at];
}

static void remember(Build *b, const Want *w, ValueId made) {
  if (2 * b->filled >= b->mask) {
    Slot *old = b->table;
    uint32_t n = b->mask + 1;
    b->mask = 2 * n - 1;
    b->table = ARENA_NEWS(b->arena, Slot, 2 * n);
    for (uint32_t i = 0; i < n; i++)
      if (old[i].made) *slot_of(b, &old[i].want) = old[i];
  }
  *slot_of(b, w) = (Slot){*w, made};
  b->filled++;
}

static ValueId want(Build *b, ValueId v, uint32_t set, int32_t axis, uint32_t sel) {
  Want w = {v, rows_axis(&b->g->v[v].shape) < 0 ? 0 : set, sel ? axis : -1, axis < 0 ? 0 : sel};
  Slot *s = slot_of(b, &w);
  if (s->made) return s->made;
  ValueId made = compute(b, &w);
  remember(b, &w, made);
  return made;
}

/* ---- what stays whole -------------------------------------------------------------------------------------------------------------- */
/* Whether v has zeros that somebody may leave out. */
static bool has_zeros(Build *b, ValueId v) {
  int32_t axis;
  uint32_t sel;
  bool zeros = false;
  for (uint32_t i = 0; i < b->groups->n; i++) zeros |= !support(b, v, b->groups->kinds[i], &axis, &sel) || sel;
  return zeros;
}

/* Whether some group has zeros of its own in v. */
static bool has_own_zeros(Build *b, ValueId v) {
  int32_t axis, own_axis;
  uint32_t sel, own;
  bool any = support(b, v, kinds_of_set(b, 0), &axis, &sel), differs = false;
  for (uint32_t i = 0; i < b->groups->n; i++) differs |= support(b, v, b->groups->kinds[i], &own_axis, &own) != any || own != sel;
  return differs;
}

/* Forward values that have the same zeros for every kind of datum, as has all they are made of, and of which somebody
 * needs all. */
static void find_whole_forward(Build *b, const bool *live) {
  const Graph *g = b->g;
  bool *own = ARENA_NEWS(b->arena, bool, g->n), *apart = ARENA_NEWS(b->arena, bool, g->n), *needed = ARENA_NEWS(b->arena, bool, g->n);
  for (ValueId v = 1; v < g->n; v++) {
    const Value *x = &g->v[v];
    if (!live[v] || rows_axis(&x->shape) < 0) continue;
    own[v] = has_zeros(b, v), apart[v] = has_own_zeros(b, v);
    for (uint32_t i = 0; i < x->n_args; i++) apart[v] |= apart[x->args[i]];
  }
  for (uint32_t i = 0; i < g->n_roots; i++) needed[g->roots[i].value] = true;
  for (ValueId v = g->n; v-- > 1;) {
    const Value *x = &g->v[v];
    if (!live[v]) continue;
    bool passes = !own[v] && (sums_rows(g, x) ? x->phase == PHASE_FORWARD : needed[v]);
    for (uint32_t i = 0; passes && i < x->n_args; i++) needed[x->args[i]] = true;
    b->whole[v] = rows_axis(&x->shape) < 0 || (x->phase == PHASE_FORWARD && !apart[v] && !own[v] && needed[v]);
  }
}

/* What costs more than a pass, and all that such values read. */
static void find_whole_sums(Build *b, const bool *live) {
  const Graph *g = b->g;
  for (uint32_t i = 0; i < g->n_roots; i++) b->whole[g->roots[i].value] = true;
  for (ValueId v = g->n; v-- > 1;) {
    const Value *x = &g->v[v];
    OpClass c = op_class(x->op);
    if (!live[v]) continue;
    b->whole[v] |= (c != OPC_ELT && c != OPC_VIEW) || rows_axis(&x->shape) < 0;
    for (uint32_t i = 0; b->whole[v] && !sums_rows(g, x) && i < x->n_args; i++) b->whole[x->args[i]] = true;
  }
}

Graph *group_build(const Graph *g, const Kinds *k, const Grouping *groups, GroupMode mode, Arena *a, RowSets *sets) {
  Build b = {.g = g, .k = k, .groups = groups, .mode = mode, .arena = a, .sets = sets, .mask = 4095, .n_sel = 1};
  b.to = graph_create(a, g->name);
  b.readers = ARENA_NEWS(a, uint32_t, g->n), b.whole = ARENA_NEWS(a, bool, g->n);
  b.sel = ARENA_NEWS(a, Selection, MAX_SELECTIONS), b.table = ARENA_NEWS(a, Slot, 4096);
  *sets = (RowSets){.n = 1, .hi = {groups->n}};
  bool *live = ARENA_NEWS(a, bool, g->n);
  for (uint32_t i = 0; i < g->n_roots; i++) live[g->roots[i].value] = true;
  for (ValueId v = g->n; v-- > 1;)
    for (uint32_t i = 0; live[v] && i < g->v[v].n_args; i++) live[g->v[v].args[i]] = true, b.readers[g->v[v].args[i]]++;
  if (mode != GROUP_SUMS) find_whole_forward(&b, live);
  if (mode == GROUP_SUMS) find_whole_sums(&b, live);
  for (ValueId v = 1; v < g->n; v++) /* in order: what is whole anyway needs no deep recursion */
    if (live[v] && b.whole[v]) want(&b, v, 0, -1, 0);
  for (uint32_t i = 0; i < g->n_roots; i++) {
    const Root *r = &g->roots[i];
    graph_root(b.to, r->kind, r->a, r->b, want(&b, r->value, 0, -1, 0));
  }
  b.to->phase = PHASE_FORWARD;
  return b.overflow ? NULL : b.to;
}
