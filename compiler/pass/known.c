/* SPDX-License-Identifier: Apache-2.0
 * known.c -- one forward walk over a graph, with one abstract value for each kind of datum and each index along one
 * axis: a number or "not known". Exact for what selects (masks, conditions, views); sums and products keep zeros. */
#include "known.h"
#include "ops.h"
#include <math.h>
#include <string.h>

#define MAX_NUMBERS ((int64_t)1 << 22) /* of one value: beyond, nothing is known */

int32_t rows_axis(const Shape *s) {
  for (int32_t i = 0; i < s->rank; i++)
    if (dim_is_rows(s->d[i])) return i;
  return -1;
}

static const Known nothing = {.axis = -1, .n = 1};

/* NaN: not known. i: index along the axis of `of`. */
static double known_at(const Kinds *k, ValueId v, uint32_t kind, int64_t i) {
  const Known *x = &k->of[v];
  return x->num ? x->num[kind * x->n + (x->n > 1 ? i : 0)] : (double)NAN;
}

static Known known_new(const Kinds *k, int32_t axis, int64_t n) {
  Known r = {axis, axis < 0 ? 1 : n, NULL};
  if (r.n * k->n > MAX_NUMBERS) return nothing;
  r.num = ARENA_NEWS(k->arena, double, r.n * k->n);
  for (int64_t i = 0; i < r.n * k->n; i++) r.num[i] = (double)NAN;
  return r;
}

/* The same in all elements of a kind? Then that number, else NaN. */
static double uniform(const Known *x, uint32_t kind) {
  if (!x->num) return (double)NAN;
  const double *p = x->num + kind * x->n;
  for (int64_t i = 1; i < x->n; i++)
    if (!(p[i] == p[0])) return (double)NAN;
  return p[0];
}

/* Nothing known at all, or the same along the axis: the short form. */
static Known shortened(const Kinds *k, Known x) {
  if (!x.num) return nothing;
  bool any = false, same = true;
  for (uint32_t kind = 0; kind < k->n; kind++)
    for (int64_t i = 0; i < x.n; i++) {
      double v = x.num[kind * x.n + i], first = x.num[kind * x.n];
      any |= !isnan(v), same &= v == first || (isnan(v) && isnan(first));
    }
  if (!any) return nothing;
  if (!same || x.axis < 0) return x;
  Known r = known_new(k, -1, 1);
  for (uint32_t kind = 0; kind < k->n; kind++) r.num[kind] = x.num[kind * x.n];
  return r;
}

/* ---- element-wise --------------------------------------------------------------------------------------------- */
static bool is_exact(Op op) {
  switch (op) {
  case OP_NEG: case OP_ABS: case OP_SIGN: case OP_RELU: case OP_FLOOR: case OP_NOT: case OP_CAST: case OP_STOP:
  case OP_TAP: case OP_ADJTAP: case OP_ADD: case OP_SUB: case OP_MUL: case OP_DIV: case OP_MIN: case OP_MAX:
  case OP_LT: case OP_LE: case OP_EQ: case OP_NE: case OP_AND: case OP_OR: case OP_MASK: case OP_WHERE: return true;
  default: return false;
  }
}

static double number_of(const Value *v, const double *x) {
  bool all = true;
  for (uint32_t i = 0; i < v->n_args; i++) all &= !isnan(x[i]);
  switch (v->op) {
  case OP_MUL: if (x[0] == 0 || x[1] == 0) return 0; break;
  case OP_DIV: if (x[0] == 0) return 0; break;
  case OP_MASK: if (x[1] == 1) return x[0]; if (x[0] == 0 || x[1] == 0) return 0; break;
  case OP_WHERE:
    if (!isnan(x[0])) return x[0] != 0 ? x[1] : x[2];
    return x[1] == x[2] ? x[1] : (double)NAN;
  case OP_AND: if (x[0] == 0 || x[1] == 0) return 0; break;
  case OP_OR: if ((!isnan(x[0]) && x[0] != 0) || (!isnan(x[1]) && x[1] != 0)) return 1; break;
  default: break;
  }
  if (!all || !is_exact(v->op)) return (double)NAN;
  double y = op_info(v->op)->scalar(x, v->dtype);
  if (v->dtype == DT_F32) y = (double)(float)y;
  return isfinite(y) ? y : (double)NAN;
}

static Known of_elt(const Kinds *k, const Value *v) {
  int32_t axis = -1;
  int64_t n = 1;
  bool any = false;
  for (uint32_t i = 0; i < v->n_args; i++) {
    const Known *x = &k->of[v->args[i]];
    any |= x->num != NULL;
    if (axis < 0 && x->num && x->axis >= 0) axis = x->axis, n = x->n;
  }
  if (!any) return nothing;
  Known r = known_new(k, axis, n);
  for (uint32_t kind = 0; r.num && kind < k->n; kind++)
    for (int64_t i = 0; i < r.n; i++) {
      double x[3];
      for (uint32_t a = 0; a < v->n_args; a++) {
        const Known *arg = &k->of[v->args[a]];
        x[a] = arg->axis >= 0 && arg->axis != axis ? uniform(arg, kind) : known_at(k, v->args[a], kind, i);
      }
      r.num[kind * r.n + i] = number_of(v, x);
    }
  return shortened(k, r);
}

/* ---- views ------------------------------------------------------------------------------------------------------ */
static int64_t inner_extent(const Shape *s, int32_t axis) {
  int64_t n = 1;
  for (int32_t i = axis + 1; i < s->rank; i++) n *= s->d[i];
  return n;
}

/* The source's axis is whole, joined with others, or cut: an axis of the target along which the numbers still stand. */
static Known of_reshape(const Kinds *k, const Value *v, const Known *x) {
  const Shape *from = &k->g->v[v->args[0]].shape, *to = &v->shape;
  int64_t in = inner_extent(from, x->axis), ext = from->d[x->axis];
  for (int32_t at = 0; at < to->rank; at++) {
    int64_t it = inner_extent(to, at), n = to->d[at];
    if (dim_is_rows(n) || n == 1) continue;
    bool joined = in % it == 0 && (it * n) % (in * ext) == 0, cut = it % in == 0 && it * n == in * ext;
    if (!joined && !cut) continue;
    Known r = known_new(k, at, n);
    for (uint32_t kind = 0; r.num && kind < k->n; kind++)
      for (int64_t j = 0; j < n; j++) {
        double y = x->num[kind * x->n + (joined ? j * it / in % ext : j * (it / in))];
        for (int64_t i = 1; cut && i < it / in; i++)
          if (!(x->num[kind * x->n + j * (it / in) + i] == y)) y = (double)NAN;
        r.num[kind * n + j] = y;
      }
    return shortened(k, r);
  }
  return nothing;
}

/* Index j of the part of a SLICE, PAD, TAKE or PUT stands here in the whole. */
static int64_t in_whole(const Value *v, int64_t j) {
  return v->op == OP_SLICE || v->op == OP_PAD ? v->ints[1] + j * v->ints[2] : v->ints[1 + j];
}

static Known of_cut(const Kinds *k, const Value *v, const Known *x) {
  if (x->axis != v->ints[0]) return *x;
  int64_t n = v->shape.d[x->axis];
  Known r = known_new(k, x->axis, n);
  for (uint32_t kind = 0; r.num && kind < k->n; kind++)
    for (int64_t j = 0; j < n; j++) r.num[kind * n + j] = x->num[kind * x->n + in_whole(v, j)];
  return shortened(k, r);
}

/* Zeros elsewhere. */
static Known of_put(const Kinds *k, const Value *v, const Known *x) {
  int32_t axis = (int32_t)v->ints[0];
  int64_t n = v->shape.d[axis], part = k->g->v[v->args[0]].shape.d[axis];
  Known r = known_new(k, axis, n);
  for (uint32_t kind = 0; r.num && kind < k->n; kind++) {
    for (int64_t j = 0; j < n; j++) r.num[kind * n + j] = 0;
    for (int64_t j = 0; j < part; j++)
      r.num[kind * n + in_whole(v, j)] = x->axis == axis ? x->num[kind * x->n + j] : uniform(x, kind);
  }
  return shortened(k, r);
}

static Known of_concat(const Kinds *k, const Value *v) {
  int32_t axis = (int32_t)v->ints[0];
  Known r = known_new(k, axis, v->shape.d[axis]);
  for (uint32_t kind = 0; r.num && kind < k->n; kind++)
    for (uint32_t a = 0, at = 0; a < v->n_args; a++) {
      const Known *x = &k->of[v->args[a]];
      for (int64_t j = 0; j < k->g->v[v->args[a]].shape.d[axis]; j++)
        r.num[kind * r.n + at++] = x->axis == axis ? known_at(k, v->args[a], kind, j) : uniform(x, kind);
    }
  return shortened(k, r);
}

/* x's numbers along another axis; only_zeros: what is not 0 is lost. */
static Known moved(const Kinds *k, const Known *x, int32_t axis, bool only_zeros) {
  Known r = known_new(k, axis, x->n);
  for (int64_t i = 0; r.num && i < (int64_t)k->n * r.n; i++)
    r.num[i] = !only_zeros || x->num[i] == 0 ? x->num[i] : (double)NAN;
  return shortened(k, r);
}

static Known of_view(const Kinds *k, const Value *v) {
  if (v->op == OP_CONCAT) return of_concat(k, v);
  const Known *x = &k->of[v->args[0]];
  if (v->op == OP_PAD || v->op == OP_PUT) return of_put(k, v, x->num ? x : &nothing);
  if (!x->num) return nothing;
  if (v->op == OP_UNFOLD) return x->axis > 1 ? nothing : moved(k, x, x->axis == 1 ? 3 : -1, true);
  if (x->axis < 0) return *x;
  switch (v->op) {
  case OP_BCAST:
  case OP_TRANSPOSE:
    for (int32_t i = 0; i < v->shape.rank; i++)
      if (v->ints[i] == x->axis) return moved(k, x, i, false);
    return nothing;
  case OP_RESHAPE: return of_reshape(k, v, x);
  case OP_SLICE:
  case OP_TAKE: return of_cut(k, v, x);
  default: return nothing;
  }
}

/* ---- sums and products: zeros alone survive ------------------------------------------------------------------------ */
/* Zeros of a value whose axis `from` becomes `to` (-1: summed over). all_kinds: rows are summed over too. */
static Known zeros(const Kinds *k, const Known *x, int32_t to, bool all_kinds) {
  if (!x->num) return nothing;
  Known r = known_new(k, to, x->n);
  for (uint32_t kind = 0; r.num && kind < k->n; kind++)
    for (int64_t i = 0; i < r.n; i++) {
      bool zero = true;
      for (uint32_t other = 0; other < k->n; other++) {
        if (!all_kinds && other != kind) continue;
        if (to >= 0 || x->n == 1) zero &= x->num[other * x->n + (x->n > 1 ? i : 0)] == 0;
        else zero &= uniform(x, other) == 0;
      }
      r.num[kind * r.n + i] = zero ? 0 : (double)NAN;
    }
  return shortened(k, r);
}

static Known of_sum(const Kinds *k, const Value *v) {
  const Known *x = &k->of[v->args[0]];
  int32_t rows = rows_axis(&k->g->v[v->args[0]].shape), to = x->axis;
  bool over_rows = false;
  for (uint32_t i = 0; i < v->n_ints; i++) {
    over_rows |= v->ints[i] == rows;
    if (v->ints[i] == x->axis) to = -1;
    else if (v->ints[i] < x->axis && to >= 0) to--;
  }
  return zeros(k, x, to, over_rows);
}

/* The axis of a DOT's result that axis `axis` of an argument becomes, or -1 if it is contracted. */
static int32_t dot_result_axis(const Kinds *k, const Value *v, int side, int32_t axis) {
  DotInts d = ir_dot_ints(v);
  const int64_t *batch = side ? d.batch_b : d.batch_a, *con = side ? d.con_b : d.con_a;
  for (int64_t i = 0; i < d.nb; i++)
    if (batch[i] == axis) return (int32_t)i;
  int64_t list[IR_MAX_RANK];
  int32_t at = (int32_t)d.nb;
  if (side) at += ir_free_axes(k->g->v[v->args[0]].shape.rank, d.batch_a, d.nb, d.con_a, d.nc, list);
  int n = ir_free_axes(k->g->v[v->args[side]].shape.rank, batch, d.nb, con, d.nc, list);
  for (int i = 0; i < n; i++)
    if (list[i] == axis) return at + i;
  return -1;
}

static Known of_dot(const Kinds *k, const Value *v) {
  DotInts d = ir_dot_ints(v);
  int32_t rows = rows_axis(&k->g->v[v->args[0]].shape);
  bool over_rows = false;
  for (int64_t i = 0; i < d.nc; i++) over_rows |= d.con_a[i] == rows && rows >= 0;
  Known side[2];
  for (int s = 0; s < 2; s++) {
    const Known *x = &k->of[v->args[s]];
    side[s] = zeros(k, x, x->axis < 0 ? -1 : dot_result_axis(k, v, s, x->axis), over_rows);
  }
  if (!side[0].num) return side[1];
  if (!side[1].num) return side[0];
  const Known *wide = side[0].axis >= 0 ? &side[0] : &side[1], *other = wide == side ? &side[1] : &side[0];
  Known r = known_new(k, wide->axis, wide->n);
  for (uint32_t kind = 0; r.num && kind < k->n; kind++)
    for (int64_t i = 0; i < r.n; i++) {
      bool a = wide->num[kind * wide->n + i] == 0;
      bool b = other->axis == wide->axis ? other->num[kind * other->n + i] == 0 : uniform(other, kind) == 0;
      r.num[kind * r.n + i] = a || b ? 0 : (double)NAN;
    }
  return shortened(k, r);
}

/* ---- the walk --------------------------------------------------------------------------------------------------------- */
static Known of_const(const Kinds *k, const Value *v) {
  if (isnan(v->num)) return nothing;
  if (!v->data || !v->shape.rank) {
    Known r = known_new(k, -1, 1);
    for (uint32_t kind = 0; kind < k->n; kind++) r.num[kind] = v->data ? v->data[0] : v->num;
    return r;
  }
  int32_t axis = -1; /* the only one that is longer than 1 */
  for (int32_t i = 0; i < v->shape.rank; i++) {
    if (v->shape.d[i] == 1) continue;
    if (axis >= 0) return nothing;
    axis = i;
  }
  Known r = known_new(k, axis, axis < 0 ? 1 : v->shape.d[axis]);
  for (uint32_t kind = 0; r.num && kind < k->n; kind++) memcpy(r.num + kind * r.n, v->data, (size_t)r.n * sizeof(double));
  return shortened(k, r);
}

static Known of_value(const Kinds *k, const Value *v) {
  switch (op_class(v->op)) {
  case OPC_ELT: return of_elt(k, v);
  case OPC_VIEW: return of_view(k, v);
  case OPC_LEAF: return v->op == OP_CONST ? of_const(k, v) : nothing;
  default: break;
  }
  if (v->op == OP_SUM) return of_sum(k, v);
  if (v->op == OP_DOT) return of_dot(k, v);
  if (v->op == OP_CALL) return ir_call_is_gradient(v) ? zeros(k, &k->of[v->args[v->n_args - 1]], -1, v->ints[2] != CALL_GATE) : nothing;
  const Known *x = v->n_args ? &k->of[v->args[0]] : &nothing;
  if (v->op == OP_FOLD && x->num && (x->axis < 0 || x->axis == 3)) return moved(k, x, x->axis < 0 ? -1 : 1, true);
  return nothing;
}

/* What kind says of condition i. A soft class that holds has a weight that nobody knows. */
static Known of_condition(const Kinds *k, const Program *p, uint32_t i) {
  Known r = known_new(k, -1, 1);
  for (uint32_t kind = 0; kind < k->n; kind++) {
    bool holds = p->kinds[kind] >> i & 1;
    r.num[kind] = !holds ? 0 : p->conds[i].soft ? (double)NAN : 1;
  }
  return r;
}

Kinds known_of_graph(const Program *p, const Graph *g, Arena *a) {
  bool apart = p->n_kinds > 0 && p->n_kinds <= KNOWN_MAX_KINDS;
  Kinds k = {.g = g, .arena = a, .n = apart ? p->n_kinds : 1, .of = ARENA_NEWS(a, Known, g->n)};
  uint32_t *cond = ARENA_NEWS(a, uint32_t, g->n);
  for (uint32_t i = 0; apart && i < p->n_conds; i++)
    if (p->conds[i].value && g->v[p->conds[i].value].shape.rank == 1) cond[p->conds[i].value] = i + 1;
  for (ValueId v = 1; v < g->n; v++) k.of[v] = cond[v] ? of_condition(&k, p, cond[v] - 1) : of_value(&k, &g->v[v]);
  return k;
}
