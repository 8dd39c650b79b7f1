/* SPDX-License-Identifier: Apache-2.0
 * mask_param.c -- primitive P without passes of its own: the mask is pushed from a parameter's adjoint
 * towards the data, down to the operation that sums over them, and there it selects or scales rows or columns
 * of one operand.
 *
 * An adjoint is linear in its seed, so a factor on an entry goes through every operation: views and
 * element-wise products hand on whose each entry is (units.h); where an operation mixes entries of different
 * parts, the adjoint is made once for each part and each entry takes its own. Sums over the data are of four
 * kinds: DOT (dW of a linear layer or convolution), SUM (biases, gains), SCATTER (embeddings), and constants,
 * which no datum contributes to: a regularizer that reads the parameter itself, which is left as it is.
 *
 * In a DOT the rows of the result are units of one operand and the columns units of the other, so a part made
 * of whole rows is a factor on one, and a part made of whole columns a factor on the other. A table that
 * needs both is cut along the axis with fewer different lines: each line has factors on the other operand
 * only, and the results are put together again. That costs no multiplication more. Lines that no datum
 * reaches are not computed.
 *
 * Convention of op_vjp.c that this relies on: the first argument of a product is the adjoint. */
#include "mask_param.h"
#include "ops.h"
#include "units.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct MaskWork {
  Graph *g;
  Arena *a;
  const ProgRoute *route;
  const ValueId *weight;
  OriginSet origins;
  int32_t *same; /* [part]: the first part with the same factors */
  double *known; /* [part]: the factor, where it is one number for all data; else NAN */
} MaskWork;

typedef struct Labels {
  UnitMap row, col;
} Labels; /* along the two axes of ProgOwners, wherever they have gone */

/* ---- what is known about the factors ---- */
static bool constant_of(const Graph *g, ValueId v, int depth, double *out) {
  double x, y;
  if (ir_is_splat(g, v, out)) return true;
  const Value *val = &g->v[v];
  if (!depth) return false;
  switch (val->op) {
  case OP_BCAST:
  case OP_RESHAPE:
  case OP_CAST: return constant_of(g, val->args[0], depth - 1, out);
  case OP_WHERE:
    if (!constant_of(g, val->args[1], depth - 1, &x) || !constant_of(g, val->args[2], depth - 1, &y))
      return false;
    *out = x;
    return x == y;
  case OP_ADD:
  case OP_SUB:
  case OP_MUL: {
    const bool kx = constant_of(g, val->args[0], depth - 1, &x),
               ky = constant_of(g, val->args[1], depth - 1, &y);
    if (val->op == OP_MUL && ((kx && x == 0) || (ky && y == 0)))
      return *out = 0, true; /* strengths are finite */
    *out = val->op == OP_ADD ? x + y : val->op == OP_SUB ? x - y : x * y;
    return kx && ky;
  }
  default: return false;
  }
}

static bool same_value(const Graph *g, ValueId x, ValueId y, int depth) {
  const Value *a = &g->v[x], *b = &g->v[y];
  if (x == y) return true;
  if (!depth || a->op != b->op || a->n_args != b->n_args || a->n_ints != b->n_ints || a->dtype != b->dtype)
    return false;
  if (a->num != b->num || a->data != b->data || !shape_equal(&a->shape, &b->shape)) return false;
  if (a->n_ints && memcmp(a->ints, b->ints, a->n_ints * sizeof *a->ints) != 0) return false;
  for (uint32_t i = 0; i < a->n_args; i++)
    if (!same_value(g, a->args[i], b->args[i], depth - 1)) return false;
  return true;
}

static void know_weights(MaskWork *m) {
  const uint32_t n = m->route->n_weights;
  m->same = ARENA_NEWS(m->a, int32_t, n + 1);
  m->known = ARENA_NEWS(m->a, double, n + 1);
  for (uint32_t k = 0; k < n; k++) {
    double c = 0;
    m->known[k] = constant_of(m->g, m->weight[k], 64, &c) ? c : (double)NAN;
    m->same[k] = (int32_t)k;
    for (uint32_t j = 0; j < k && m->same[k] == (int32_t)k; j++)
      if (m->known[k] == m->known[j] || same_value(m->g, m->weight[k], m->weight[j], 64))
        m->same[k] = (int32_t)j;
  }
}

static int32_t part_of(const MaskWork *m, int32_t row, int32_t col) {
  const ProgOwners *o = &m->route->owners;
  return m->same[o->part[(row < 0 ? 0 : row) * o->n_labels[1] + (col < 0 ? 0 : col)]];
}

/* ---- lines: labels with the same factors all along ---- */
typedef struct Lines {
  int32_t n, *line, *first;
} Lines; /* [label] its line or -1: nowhere; [line] a label of it */

static Lines lines_of(const MaskWork *m, const Labels *l, bool rows, const Shape *s) {
  const ProgOwners *o = &m->route->owners;
  const UnitMap *mine = rows ? &l->row : &l->col, *other = rows ? &l->col : &l->row;
  const int32_t n = o->n_labels[rows ? 0 : 1], n_other = o->n_labels[rows ? 1 : 0];
  Lines r = {0, ARENA_NEWS(m->a, int32_t, n), ARENA_NEWS(m->a, int32_t, n)};
  bool *there = ARENA_NEWS(m->a, bool, n), *crossed = ARENA_NEWS(m->a, bool, n_other);
  for (int64_t i = 0, k = units_count(mine, s); i < k; i++)
    there[mine->label[i] < 0 ? 0 : mine->label[i]] = true;
  for (int64_t i = 0, k = units_count(other, s); i < k; i++)
    crossed[other->label[i] < 0 ? 0 : other->label[i]] = true;
  for (int32_t x = 0; x < n; x++) {
    r.line[x] = -1;
    for (int32_t k = 0; k < r.n && there[x] && r.line[x] < 0; k++) {
      bool same = true;
      for (int32_t y = 0; y < n_other && same; y++)
        same = !crossed[y] || (rows ? part_of(m, x, y) == part_of(m, r.first[k], y)
                                    : part_of(m, y, x) == part_of(m, y, r.first[k]));
      if (same) r.line[x] = k;
    }
    if (there[x] && r.line[x] < 0) r.line[x] = r.n, r.first[r.n++] = x;
  }
  return r;
}

/* ---- building ---- */
static ValueId named(MaskWork *m, ValueId v) {
  Value *val = ir_value(m->g, v);
  val->origins = m->origins;
  val->span = m->route->span;
  return v;
}

static ValueId zero_like(MaskWork *m, ValueId v) {
  Shape s = ir_value(m->g, v)->shape;
  return named(m, ir_const(m->g, m->route->span, 0, &s, DT_F32));
}

/* Where the entries of part k are, in a value of this shape. */
static ValueId part_mask(MaskWork *m, const Labels *l, int32_t k, const Shape *s) {
  const uint32_t axes = l->row.axes | l->col.axes;
  Shape small = {.rank = 0};
  int64_t map[IR_MAX_RANK], n = 1, at[IR_MAX_RANK] = {0};
  for (int i = 0; i < s->rank; i++) {
    map[i] = axes >> i & 1 ? small.rank : -1;
    if (map[i] >= 0) n *= small.d[small.rank++] = s->d[i];
  }
  double *data = ARENA_NEWS(m->a, double, n);
  for (int64_t e = 0; e < n; e++) {
    int64_t row = 0, col = 0;
    for (int i = 0; i < s->rank; i++) {
      if (l->row.axes >> i & 1) row = row * s->d[i] + at[i];
      if (l->col.axes >> i & 1) col = col * s->d[i] + at[i];
    }
    data[e] = part_of(m, l->row.label[row], l->col.label[col]) == k;
    for (int i = s->rank; i-- > 0;) {
      if (map[i] < 0) continue;
      if (++at[i] < s->d[i]) break;
      at[i] = 0;
    }
  }
  return ir_bcast(m->g, ir_const_data(m->g, m->route->span, data, &small, DT_BOOL), s, map);
}

/* The parts that entries of a value have. */
static bool *parts_there(const MaskWork *m, const Labels *l, const Shape *s) {
  const ProgOwners *o = &m->route->owners;
  bool *there = ARENA_NEWS(m->a, bool, m->route->n_weights + 1);
  if (l->row.axes & l->col.axes) { /* the two labels of an entry depend on each other: be generous */
    for (int32_t k = 0; k < o->n_labels[0] * o->n_labels[1]; k++) there[m->same[o->part[k]]] = true;
    return there;
  }
  for (int64_t i = 0, n = units_count(&l->row, s); i < n; i++)
    for (int32_t c = 0; c < o->n_labels[1]; c++) {
      const int32_t part = part_of(m, l->row.label[i], c);
      for (int64_t k = 0, w = units_count(&l->col, s); k < w && !there[part]; k++)
        there[part] = (l->col.label[k] < 0 ? 0 : l->col.label[k]) == c;
    }
  return there;
}

/* -1: several parts. */
static int32_t only_part(const MaskWork *m, const Labels *l, const Shape *s) {
  const bool *there = parts_there(m, l, s);
  int32_t only = -1;
  for (uint32_t k = 0; k < m->route->n_weights; k++)
    if (there[k]) {
      if (only >= 0) return -1;
      only = (int32_t)k;
    }
  return only;
}

/* Factors of part k in the shape of an operand whose axes datum[0 .. n) are the datum axes, in the order of
 * the weights'. */
static ValueId spread(MaskWork *m, int32_t k, const Shape *to, const int64_t *datum, int n) {
  ValueId w = m->weight[k];
  Shape s = ir_value(m->g, w)->shape;
  int64_t map[IR_MAX_RANK], perm[IR_MAX_RANK], order = 0;
  bool fits = s.rank <= n;
  for (int i = 0; i < s.rank && fits; i++) fits = to->d[datum[i]] == s.d[i];
  if (!fits) {
    fprintf(stderr, "routec: internal error: route %s: %%%u has not the datum axes of what it masks\n",
            m->route->name, w);
    abort();
  }
  for (int axis = 0; axis < to->rank; axis++) {
    map[axis] = -1;
    for (int i = 0; i < s.rank; i++)
      if (datum[i] == axis) perm[order] = i, map[axis] = order++;
  }
  return ir_bcast(m->g, ir_transpose(m->g, w, perm), to, map);
}

/* MASK(x, factor of each element's part), x with these labels. */
static ValueId mask_operand(MaskWork *m, ValueId x, const Labels *l, const int64_t *datum, int n) {
  Shape s = ir_value(m->g, x)->shape;
  const bool *there = parts_there(m, l, &s);
  ValueId f = 0;
  bool ones = true;
  for (int32_t k = 0; k < (int32_t)m->route->n_weights; k++) {
    if (!there[k]) continue;
    ones &= m->known[k] == 1;
    ValueId w = spread(m, k, &s, datum, n);
    f = f ? ir_where(m->g, part_mask(m, l, k, &s), w, f) : w;
  }
  return ones ? x : named(m, ir_bin(m->g, OP_MASK, x, f));
}

/* ---- sums over the data ---- */
static bool has_rows(const Shape *s) {
  for (int i = 0; i < s->rank; i++)
    if (s->d[i] == DIM_ROWS) return true;
  return false;
}

static bool sums_data(const Graph *g, ValueId v) {
  const Value *val = &g->v[v];
  if (val->op == OP_SCATTER) return has_rows(&g->v[val->args[1]].shape);
  return (val->op == OP_DOT || val->op == OP_SUM) && !has_rows(&val->shape) &&
         has_rows(&g->v[val->args[0]].shape);
}

/* Datum axes of argument k of a sum over the data, in the order of the axes of the use. */
static int datum_axes(const Graph *g, ValueId v, uint32_t k, int64_t *out) {
  const Value *val = &g->v[v];
  int n = 0;
  if (val->op == OP_SUM)
    for (; n < (int)val->n_ints; n++) out[n] = val->ints[n];
  else if (val->op == OP_SCATTER)
    for (; n < g->v[val->args[1]].shape.rank; n++) out[n] = n;
  else { /* both operands have them in one order, but for transposed ones: the first decides */
    const DotInts d = ir_dot_ints(val);
    for (int axis = 0; axis < g->v[val->args[0]].shape.rank; axis++)
      for (int64_t i = 0; i < d.nc; i++)
        if (d.con_a[i] == axis) out[n++] = k ? d.con_b[i] : d.con_a[i];
  }
  return n;
}

static ValueId remake(MaskWork *m, ValueId v, const ValueId *args) {
  const Value val = *ir_value(m->g, v);
  ValueId id = ir_make(m->g, val.op, val.span, args, val.n_args, val.ints, val.n_ints, val.num,
                       val.op == OP_DOT || val.op == OP_SUM ? NULL : &val.shape, val.dtype);
  ir_value(m->g, id)->origins = m->origins;
  return id;
}

/* v again, with argument k masked by labels of that argument. */
static ValueId with_mask(MaskWork *m, ValueId v, uint32_t k, const Labels *l) {
  ValueId args[2] = {ir_value(m->g, v)->args[0],
                     ir_value(m->g, v)->n_args > 1 ? ir_value(m->g, v)->args[1] : 0};
  int64_t datum[IR_MAX_RANK];
  const int n = datum_axes(m->g, v, k, datum);
  const ValueId x = mask_operand(m, args[k], l, datum, n);
  if (x == args[k]) return v;
  args[k] = x;
  return remake(m, v, args);
}

/* The labels of a sum's argument k; false if they are not all its own. */
static bool labels_of_arg(const MaskWork *m, ValueId v, uint32_t k, const Labels *l, Labels *out) {
  const Value *val = ir_value(m->g, v);
  if (val->op != OP_SCATTER)
    return units_back(m->g, m->a, v, k, &l->row, &out->row) &&
           units_back(m->g, m->a, v, k, &l->col, &out->col);
  if ((l->row.axes | l->col.axes) & 1) return false; /* rows of the table are not rows of what is scattered */
  const int shift = m->g->v[val->args[1]].shape.rank - 1;
  *out = (Labels){{l->row.axes << shift, l->row.label}, {l->col.axes << shift, l->col.label}};
  return true;
}

static ValueId masked(MaskWork *m, ValueId v, const Labels *l);

static Labels labels_of_part(const MaskWork *m, int32_t part) {
  const ProgOwners *o = &m->route->owners;
  int32_t at = 0;
  while (m->same[o->part[at]] != part) at++;
  return (Labels){units_uniform(m->a, at / o->n_labels[1]), units_uniform(m->a, at % o->n_labels[1])};
}

/* Once for each part, and each entry takes its own. */
static ValueId each_part(MaskWork *m, ValueId v, const Labels *l) {
  const Shape s = ir_value(m->g, v)->shape;
  const bool *there = parts_there(m, l, &s);
  ValueId all = 0;
  for (int32_t k = 0; k < (int32_t)m->route->n_weights; k++) {
    if (!there[k]) continue;
    const Labels one = labels_of_part(m, k);
    const ValueId x = masked(m, v, &one);
    const ValueId own = named(m, ir_bin(m->g, OP_MASK, x, ir_cast(m->g, part_mask(m, l, k, &s), DT_F32)));
    all = all ? named(m, ir_bin(m->g, OP_ADD, all, own)) : own;
  }
  return all;
}

/* The indices along an axis whose label is in a line, of all `n`. */
typedef struct Cut {
  int axis;
  int64_t n;
  int64_t *index;
} Cut;

static ValueId take(MaskWork *m, ValueId v, const Cut *c) {
  bool run = true;
  for (int64_t i = 2; i < c->n; i++) run &= c->index[i] - c->index[i - 1] == c->index[1] - c->index[0];
  const int64_t step = c->n > 1 ? c->index[1] - c->index[0] : 1;
  if (run && step > 0) return ir_slice(m->g, v, c->axis, c->index[0], step, c->n);
  int64_t *ints = ARENA_NEWS(m->a, int64_t, c->n + 1);
  ints[0] = c->axis;
  memcpy(ints + 1, c->index, (size_t)c->n * sizeof *ints);
  return ir_make(m->g, OP_TAKE, m->route->span, &v, 1, ints, (uint32_t)c->n + 1, 0, NULL, DT_NONE);
}

/* A sum over the data whose result is a slice of v: operands that have the axis are sliced. 0: no operand has
 * it. */
static ValueId sliced_sum(MaskWork *m, ValueId v, const Cut *c) {
  const Value val = *ir_value(m->g, v);
  ValueId args[2] = {val.args[0], val.n_args > 1 ? val.args[1] : 0};
  const UnitMap axis = {.axes = 1u << c->axis, .label = ARENA_NEWS(m->a, int32_t, val.shape.d[c->axis])};
  bool any = false;
  if (val.op == OP_SCATTER) {
    if (!c->axis) return 0;
    const Cut of = {c->axis + ir_value(m->g, args[1])->shape.rank - 1, c->n, c->index};
    Shape s = val.shape;
    s.d[c->axis] = c->n;
    args[0] = take(m, args[0], &of);
    const ValueId id = ir_make(m->g, OP_SCATTER, val.span, args, 2, NULL, 0, 0, &s, DT_NONE);
    ir_value(m->g, id)->origins = m->origins;
    return id;
  }
  for (uint32_t k = 0; k < val.n_args; k++) {
    UnitMap at;
    if (!units_back(m->g, m->a, v, k, &axis, &at)) continue;
    const Cut of = {__builtin_ctz(at.axes), c->n, c->index};
    args[k] = take(m, args[k], &of);
    any = true;
  }
  return any ? remake(m, v, args) : 0;
}

/* Cuts v along one axis into groups of lines, masks each by itself, and puts them together again.
 * group[line]. */
static ValueId cut_lines(MaskWork *m, ValueId v, const Labels *l, bool rows, const Lines *lines,
                         const int32_t *group, int32_t n) {
  const Shape s = ir_value(m->g, v)->shape;
  const UnitMap *mine = rows ? &l->row : &l->col;
  const int axis = __builtin_ctz(mine->axes);
  ValueId *blocks = ARENA_NEWS(m->a, ValueId, n);
  int64_t *back = ARENA_NEWS(m->a, int64_t, s.d[axis] + 1), done = 0;
  bool ordered = true;
  back[0] = axis;
  for (int32_t k = 0; k < n; k++) {
    Cut c = {.axis = axis, .index = ARENA_NEWS(m->a, int64_t, s.d[axis])};
    int32_t *label = ARENA_NEWS(m->a, int32_t, s.d[axis]);
    for (int64_t i = 0; i < s.d[axis]; i++) {
      const int32_t line = lines->line[mine->label[i] < 0 ? 0 : mine->label[i]];
      if (group[line] != k) continue;
      ordered &= done + c.n == i;
      back[1 + i] = done + c.n;
      label[c.n] = lines->first[line];
      c.index[c.n++] = i;
    }
    done += c.n;
    bool uniform = true;
    for (int64_t i = 1; i < c.n; i++) uniform &= label[i] == label[0];
    Labels here = *l;
    *(rows ? &here.row : &here.col) =
        uniform ? units_uniform(m->a, label[0]) : units_along(m->a, axis, label, c.n);
    const ValueId part = sliced_sum(m, v, &c);
    blocks[k] = part ? masked(m, part, &here) : take(m, masked(m, v, &here), &c);
  }
  ValueId all =
      n == 1 ? blocks[0]
             : ir_make(m->g, OP_CONCAT, m->route->span, blocks, (uint32_t)n, back, 1, 0, NULL, DT_NONE);
  if (!ordered)
    all = ir_make(m->g, OP_TAKE, m->route->span, &all, 1, back, (uint32_t)s.d[axis] + 1, 0, NULL, DT_NONE);
  return named(m, all);
}

/* Each line by itself. */
static ValueId by_lines(MaskWork *m, ValueId v, const Labels *l, bool rows, const Lines *lines) {
  int32_t *group = ARENA_NEWS(m->a, int32_t, lines->n);
  for (int32_t k = 0; k < lines->n; k++) group[k] = k;
  return cut_lines(m, v, l, rows, lines, group, lines->n);
}

static bool one_axis(const UnitMap *u) { return u->axes && !(u->axes & (u->axes - 1)); }

/* Lines that no datum reaches, apart from the others: they are not computed. 0: there are none, or nothing
 * else. */
static ValueId without_dead(MaskWork *m, ValueId v, const Labels *l, bool rows, const Lines *lines) {
  const Shape s = ir_value(m->g, v)->shape;
  int32_t *group = ARENA_NEWS(m->a, int32_t, lines->n), dead = 0;
  for (int32_t k = 0; k < lines->n; k++) {
    Labels one = *l;
    *(rows ? &one.row : &one.col) = units_uniform(m->a, lines->first[k]);
    const int32_t part = only_part(m, &one, &s);
    dead += group[k] = part >= 0 && m->known[part] == 0;
  }
  if (!dead || dead == lines->n) return 0;
  if (rows && ir_value(m->g, v)->op == OP_SCATTER)
    return by_lines(m, v, l, true, lines); /* its rows are no rows of the operand */
  return cut_lines(m, v, l, rows, lines, group, 2);
}

static ValueId masked_sum(MaskWork *m, ValueId v, const Labels *l) {
  const Shape s = ir_value(m->g, v)->shape;
  const Op op = ir_value(m->g, v)->op;
  const int32_t only = only_part(m, l, &s);
  if (only >= 0 && m->known[only] == 1) return v;
  if (only >= 0 && m->known[only] == 0) return zero_like(m, v);
  const Lines rows = lines_of(m, l, true, &s), cols = lines_of(m, l, false, &s);
  Labels few = *l;
  if (rows.n == 1) few.row = units_uniform(m->a, rows.first[0]);
  if (cols.n == 1) few.col = units_uniform(m->a, cols.first[0]);
  l = &few;
  ValueId live = one_axis(&l->row) ? without_dead(m, v, l, true, &rows) : 0;
  if (!live && one_axis(&l->col)) live = without_dead(m, v, l, false, &cols);
  if (live) return live;
  Labels of;
  const uint32_t adjoint = op == OP_DOT && ir_value(m->g, ir_value(m->g, v)->args[0])->phase != PHASE_ADJOINT;
  if (labels_of_arg(m, v, adjoint, l, &of)) return with_mask(m, v, adjoint, &of);
  if (op == OP_DOT && labels_of_arg(m, v, 1 - adjoint, l, &of)) return with_mask(m, v, 1 - adjoint, &of);
  const bool by_row = rows.n > 1 && one_axis(&l->row), by_col = cols.n > 1 && one_axis(&l->col);
  if (by_row && (!by_col || rows.n <= cols.n)) return by_lines(m, v, l, true, &rows);
  if (by_col) return by_lines(m, v, l, false, &cols);
  return each_part(m, v, l);
}

/* ---- from the parameter towards the data ---- */
static bool is_mixed(const UnitMap *u, const Shape *s) {
  for (int64_t i = 0, n = units_count(u, s); i < n; i++)
    if (u->label[i] == UNIT_MIXED) return true;
  return false;
}

static bool is_linear_in(const Value *v, uint32_t arg) {
  switch (v->op) {
  case OP_ADD:
  case OP_SUB:
  case OP_CONCAT: return true;
  case OP_WHERE: return arg > 0;
  case OP_CALL: return arg + 1 == v->n_args;
  default: return arg == 0;
  }
}

static ValueId masked(MaskWork *m, ValueId v, const Labels *l) {
  const Value val = *ir_value(m->g, v);
  Labels uniform;
  if (val.phase != PHASE_ADJOINT || !val.n_args) return v; /* no datum contributes to it */
  const int32_t part = l->row.axes | l->col.axes ? only_part(m, l, &val.shape) : -1;
  if (part >= 0) uniform = labels_of_part(m, part), l = &uniform;
  if (sums_data(m->g, v)) return masked_sum(m, v, l);
  uint32_t only = UINT32_MAX;
  if (val.op == OP_DOT) only = ir_value(m->g, val.args[0])->phase == PHASE_ADJOINT ? 0 : 1;
  ValueId *args = ARENA_NEWS(m->a, ValueId, val.n_args);
  bool changed = false;
  for (uint32_t i = 0; i < val.n_args; i++) {
    args[i] = val.args[i];
    if (only != UINT32_MAX ? i != only : !is_linear_in(&val, i)) continue;
    Labels of;
    const Shape s = ir_value(m->g, args[i])->shape;
    if (!units_back(m->g, m->a, v, i, &l->row, &of.row) || !units_back(m->g, m->a, v, i, &l->col, &of.col) ||
        is_mixed(&of.row, &s) || is_mixed(&of.col, &s)) {
      if (l->row.axes | l->col.axes) return each_part(m, v, l);
      of = *l;
    }
    args[i] = masked(m, args[i], &of);
    changed |= args[i] != val.args[i];
  }
  return changed ? remake(m, v, args) : v;
}

ValueId mask_parameter(Graph *g, const ProgRoute *route, const ValueId *weight, OriginSet origins,
                       ValueId dw) {
  MaskWork m = {.g = g, .a = g->arena, .route = route, .weight = weight, .origins = origins};
  const ProgOwners *o = &route->owners;
  Labels l = {units_uniform(m.a, 0), units_uniform(m.a, 0)};
  for (int k = 0; k < 2; k++)
    if (o->n_labels[k] > 1)
      *(k ? &l.col : &l.row) =
          units_along(m.a, o->axis[k], o->label[k], ir_value(g, dw)->shape.d[o->axis[k]]);
  know_weights(&m);
  if (!ir_value(g, weight[0])->shape.rank)
    return mask_operand(&m, dw, &l, NULL, 0); /* no data: one factor for all of it */
  return masked(&m, dw, &l);
}
