/* SPDX-License-Identifier: Apache-2.0
 * support.c -- activity of adjoints, as graph values (see the decision on "zero gradient" in docs/routing.md).
 * The adjoint graph is linear in its seeds, so the only declared zeros are MASK factors, and the only
 * structural ones are paddings; everything else (local derivatives, conditions of a ReLU, data) counts as
 * nonzero. Where nothing masks, the answer is yes and costs no code. */
#include "support.h"
#include <string.h>

typedef struct Known { Partial p; bool done; } Known;
struct Support {
  Graph *g;
  Arena *arena;
  Known *reach; uint32_t n;  /* [adjoint]; values that the analysis itself makes are not asked for */
  Known *small;              /* [value]: the same on the axes that it varies along */
};

Support *support_create(Graph *g, Arena *a) {
  Support *s = ARENA_NEW(a, Support);
  s->g = g, s->arena = a, s->n = g->n;
  s->reach = ARENA_NEWS(a, Known, g->n);
  s->small = ARENA_NEWS(a, Known, g->n);
  return s;
}

static uint32_t all_axes(const Shape *s) { return (1u << s->rank) - 1; }
static bool constant(Partial p) { return partial_is(p, true) || partial_is(p, false); }

/* ---- forward values on the axes that they vary along: factors are mostly conditions and weights spread over a tensor ---- */
static Partial small(Support *s, ValueId v);

static Partial small_elementwise(Support *s, ValueId v) {
  Value val = *ir_value(s->g, v);
  Partial *arg = ARENA_NEWS(s->arena, Partial, val.n_args);
  ValueId *args = ARENA_NEWS(s->arena, ValueId, val.n_args);
  uint32_t axes = 0;
  for (uint32_t i = 0; i < val.n_args; i++) arg[i] = small(s, val.args[i]), axes |= arg[i].axes;
  if (axes == all_axes(&val.shape)) return (Partial){v, axes};
  int64_t id[IR_MAX_RANK], to[IR_MAX_RANK];
  Shape shape;
  for (uint32_t i = 0; i < val.n_args; i++) {
    partial_axes(arg[i].axes, &val.shape, id, &shape);
    partial_axes(axes, &val.shape, to, &shape);
    args[i] = partial_arrange(s->g, arg[i].v, id, to, &shape);
  }
  return (Partial){ir_make(s->g, val.op, val.span, args, val.n_args, val.ints, val.n_ints, val.num, &shape, val.dtype), axes};
}

static Partial small_compute(Support *s, ValueId v) {
  Value val = *ir_value(s->g, v);
  Shape scalar = {.rank = 0};
  if (!val.shape.rank) return (Partial){v, 0};
  if (val.op == OP_CONST && !val.data) return (Partial){ir_const(s->g, val.span, val.num, &scalar, val.dtype), 0};
  if (op_class(val.op) == OPC_ELT) return small_elementwise(s, v);
  if (val.op != OP_BCAST) return (Partial){v, all_axes(&val.shape)};
  Partial arg = small(s, val.args[0]);
  uint32_t axes = 0;
  for (int i = 0; i < val.shape.rank; i++)
    if (val.ints[i] >= 0 && arg.axes & (1u << val.ints[i])) axes |= 1u << i;
  return (Partial){arg.v, axes};
}

static Partial small(Support *s, ValueId v) {
  if (!s->small[v].done) s->small[v] = (Known){small_compute(s, v), true};
  return s->small[v].p;
}

/* ---- adjoints ----------------------------------------------------------------------------------------------------- */
static Partial of_mask(Support *s, ValueId v) {
  Value val = *ir_value(s->g, v);
  Partial open = small(s, val.args[1]);
  const Value f = *ir_value(s->g, open.v);
  if (f.op == OP_CONST && !f.data && !f.shape.rank) open = partial_of(f.num != 0);
  else {
    Shape scalar = {.rank = 0};
    ValueId zero = ir_bcast_scalar(s->g, ir_const(s->g, f.span, 0, &scalar, DT_F32), &f.shape);
    open.v = ir_cast(s->g, ir_bin(s->g, OP_NE, open.v, zero), DT_F32);
  }
  Partial x = support_of(s, val.args[0]);
  return partial_and(s->g, x, open, &val.shape);
}

/* Position of axis `axis` among those of the set. */
static int64_t place(uint32_t set, int64_t axis) { return __builtin_popcount(set & ((1u << axis) - 1)); }

static Partial view_again(Support *s, const Value *val, Partial x, const ValueId *args, uint32_t n, const int64_t *ints) {
  Shape shape;
  int64_t id[IR_MAX_RANK];
  partial_axes(x.axes, &val->shape, id, &shape);
  return (Partial){ir_make(s->g, val->op, val->span, args, n, ints, val->n_ints, 0, &shape, DT_F32), x.axes};
}

/* Cuts of one axis: nothing to do where the answer does not vary along it. Paddings fill in what was never reached. */
static Partial of_cut(Support *s, const Value *val) {
  const Shape from = ir_value(s->g, val->args[0])->shape;
  const int64_t axis = val->ints[0];
  Partial x = support_of(s, val->args[0]);
  const bool fills = val->op == OP_PAD || val->op == OP_PUT;
  if (partial_is(x, false) || (!fills && !(x.axes & (1u << axis)))) return x;
  x = partial_on(s->g, x, 1u << axis, &from);
  int64_t *ints = ARENA_NEWS(s->arena, int64_t, val->n_ints);
  memcpy(ints, val->ints, val->n_ints * sizeof *ints);
  ints[0] = place(x.axes, axis);
  return view_again(s, val, x, &x.v, 1, ints);
}

static Partial of_concat(Support *s, const Value *val) {
  Partial *x = ARENA_NEWS(s->arena, Partial, val->n_args);
  ValueId *args = ARENA_NEWS(s->arena, ValueId, val->n_args);
  bool yes = true, no = true;
  uint32_t axes = 1u << val->ints[0];
  for (uint32_t i = 0; i < val->n_args; i++) {
    x[i] = support_of(s, val->args[i]);
    yes &= partial_is(x[i], true), no &= partial_is(x[i], false), axes |= x[i].axes;
  }
  if (yes || no) return partial_of(yes);
  for (uint32_t i = 0; i < val->n_args; i++) {
    Shape from = ir_value(s->g, val->args[i])->shape;
    args[i] = partial_on(s->g, x[i], axes, &from).v;
  }
  return view_again(s, val, (Partial){0, axes}, args, val->n_args, (int64_t[]){place(axes, val->ints[0])});
}

static Partial of_moved(Support *s, const Value *val) { /* BCAST, TRANSPOSE: ints[i] is the source of axis i */
  const Shape from = ir_value(s->g, val->args[0])->shape;
  Partial x = support_of(s, val->args[0]);
  if (constant(x)) return x;
  int64_t id[IR_MAX_RANK], to[IR_MAX_RANK], n = 0;
  Shape shape;
  uint32_t axes = 0;
  partial_axes(x.axes, &from, id, &shape);
  for (int i = 0; i < val->shape.rank; i++) {
    if (val->ints[i] < 0 || !(x.axes & (1u << val->ints[i]))) continue;
    axes |= 1u << i;
    shape.d[n] = val->shape.d[i], to[n++] = val->ints[i];
  }
  return (Partial){partial_arrange(s->g, x.v, id, to, &shape), axes};
}

/* RESHAPE keeps the datum axis where that is all; else, like UNFOLD, it is done on the whole. */
static Partial of_regrouped(Support *s, const Value *val) {
  const Shape from = ir_value(s->g, val->args[0])->shape;
  Partial x = support_of(s, val->args[0]);
  if (constant(x)) return x;
  if (x.axes <= 1 && from.d[0] == val->shape.d[0]) return x;
  x = partial_on(s->g, x, all_axes(&from), &from);
  return view_again(s, val, (Partial){0, all_axes(&val->shape)}, &x.v, 1, val->ints);
}

/* The axes in `gone` vanish: any of their elements. The bits of the others keep their numbers. */
static Partial any_over(Support *s, Partial x, uint32_t gone) {
  if (constant(x) || !(x.axes & gone)) return x;
  int64_t axes[IR_MAX_RANK];
  uint32_t n = 0;
  for (int i = 0; i < IR_MAX_RANK; i++)
    if (x.axes & gone & (1u << i)) axes[n++] = place(x.axes, i);
  return (Partial){ir_reduce(s->g, OP_AMAX, x.v, axes, n), x.axes & ~gone};
}

static Partial of_sum(Support *s, const Value *val) {
  uint32_t gone = 0, axes = 0;
  for (uint32_t i = 0; i < val->n_ints; i++) gone |= 1u << val->ints[i];
  Partial x = any_over(s, support_of(s, val->args[0]), gone);
  for (int i = 0, at = 0; i < IR_MAX_RANK; i++)
    if (!(gone & (1u << i))) axes |= ((x.axes >> i) & 1u) << at++;
  return (Partial){x.v, constant(x) ? 0 : axes};
}

/* A contraction. Its axes have names: 0 .. rank-1 are those of the result, from rank on the contracted ones. */
typedef struct Side { Partial p; uint32_t names; Shape of; int64_t name[IR_MAX_RANK]; } Side;

static uint32_t named(const Side *a, uint32_t axes) {
  uint32_t set = 0;
  for (int i = 0; i < a->of.rank; i++)
    if (axes & (1u << i)) set |= 1u << a->name[i];
  return set;
}

static Side dot_side(Support *s, const Value *dot, int which) {
  const int64_t nb = dot->ints[0], nc = dot->ints[1], rank = dot->shape.rank;
  const int64_t *batch = dot->ints + 2 + (which ? nb : 0), *con = dot->ints + 2 + 2 * nb + (which ? nc : 0);
  Side side = {.p = support_of(s, dot->args[which]), .of = ir_value(s->g, dot->args[which])->shape};
  int64_t free_at = which ? rank - (side.of.rank - nb - nc) : nb;
  for (int i = 0; i < side.of.rank; i++) {
    side.name[i] = -1;
    for (int64_t b = 0; b < nb; b++) if (batch[b] == i) side.name[i] = b;
    for (int64_t c = 0; c < nc; c++) if (con[c] == i) side.name[i] = rank + c;
    if (side.name[i] < 0) side.name[i] = free_at++;
  }
  side.names = named(&side, side.p.axes);
  return side;
}

static void dot_any(Support *s, Side *a, uint32_t gone) {
  uint32_t axes = 0;
  for (int i = 0; i < a->of.rank; i++)
    if (gone & (1u << a->name[i])) axes |= 1u << i;
  a->p = any_over(s, a->p, axes);
  a->names = named(a, a->p.axes);
}

/* a's answer on all axes of the set, ascending by name. */
static ValueId dot_arrange(Support *s, const Side *a, uint32_t set, const int64_t *extent) {
  int64_t id[IR_MAX_RANK], to[IR_MAX_RANK], n = 0;
  Shape shape = {.rank = 0};
  for (int i = 0; i < a->of.rank; i++)
    if (a->p.axes & (1u << i)) id[n++] = a->name[i];
  for (int i = 0; i < 2 * IR_MAX_RANK; i++)
    if (set & (1u << i)) to[shape.rank] = i, shape.d[shape.rank++] = extent[i];
  return partial_arrange(s->g, a->p.v, id, to, &shape);
}

/* How many contracted indices are open on both sides, above 0. Names ascend in the result as a dot leaves them: shared ones,
 * then a's own, then b's. */
static ValueId dot_count(Support *s, const Side *a, const Side *b, uint32_t contracted, const int64_t *extent) {
  int64_t at[4][IR_MAX_RANK];
  uint32_t n[2] = {0};
  for (int i = 0; i < 2 * IR_MAX_RANK; i++) {
    if (!(a->names & b->names & (1u << i))) continue;
    const int c = (contracted >> i) & 1;
    at[2 * c][n[c]] = place(a->names, i), at[2 * c + 1][n[c]++] = place(b->names, i);
  }
  ValueId x = dot_arrange(s, a, a->names, extent), y = dot_arrange(s, b, b->names, extent);
  ValueId count = ir_dot(s->g, x, y, at[0], at[1], n[0], at[2], at[3], n[1]);
  const Shape shape = ir_value(s->g, count)->shape;
  ValueId zero = ir_const(s->g, (Span){0}, 0, &shape, DT_F32);
  return ir_cast(s->g, ir_bin(s->g, OP_LT, zero, count), DT_F32);
}

/* An element of the product is reached where some contracted index is open on both sides. */
static Partial of_dot(Support *s, const Value *dot) {
  Side a = dot_side(s, dot, 0), b = dot_side(s, dot, 1);
  int64_t extent[2 * IR_MAX_RANK];
  if (partial_is(a.p, false) || partial_is(b.p, false)) return partial_of(false);
  const uint32_t result = (1u << dot->shape.rank) - 1, joint = a.names & b.names & ~result;
  dot_any(s, &a, ~result & ~joint), dot_any(s, &b, ~result & ~joint);
  if (constant(a.p) && constant(b.p)) return partial_of(true);
  for (int i = 0; i < a.of.rank; i++) extent[a.name[i]] = a.of.d[i];
  for (int i = 0; i < b.of.rank; i++) extent[b.name[i]] = b.of.d[i];
  const uint32_t all = a.names | b.names;
  if (constant(a.p)) return (Partial){dot_arrange(s, &b, all, extent), all};
  if (constant(b.p)) return (Partial){dot_arrange(s, &a, all, extent), all};
  if (a.names & ~b.names && b.names & ~a.names) return (Partial){dot_count(s, &a, &b, joint, extent), all & result};
  ValueId x = dot_arrange(s, &a, all, extent), y = dot_arrange(s, &b, all, extent), open = ir_bin(s->g, OP_MIN, x, y);
  int64_t axes[IR_MAX_RANK];
  uint32_t n = 0;
  for (int i = 0; i < 2 * IR_MAX_RANK; i++)
    if (joint & (1u << i)) axes[n++] = place(all, i);
  return (Partial){ir_reduce(s->g, OP_AMAX, open, axes, n), all & result};
}

/* Rows of a table are one atom, as are the pixels of a FOLD: reached if any is. What lies beside the rows stays apart. */
static Partial of_scatter(Support *s, const Value *val) {
  Partial x = support_of(s, val->args[0]);
  const int32_t lead = ir_value(s->g, val->args[1])->shape.rank;
  x = any_over(s, x, (1u << lead) - 1);
  return (Partial){x.v, constant(x) ? 0 : x.axes >> lead << 1};
}

static Partial of_fold(Support *s, const Value *val) {
  const Shape from = ir_value(s->g, val->args[0])->shape;
  Partial x = support_of(s, val->args[0]);
  const bool datum = from.d[0] == val->shape.d[0];
  return any_over(s, x, all_axes(&from) & ~(datum ? 1u : 0u));
}

static Partial of_two(Support *s, const Value *val, Partial (*join)(Graph *, Partial, Partial, const Shape *)) {
  Partial a = support_of(s, val->args[0]), b = support_of(s, val->args[1]);
  return join(s->g, a, b, &val->shape);
}

/* A constant condition says whose each element is; any other is a local derivative, and either side may be it. */
static Partial of_where(Support *s, const Value *val) {
  Partial a = support_of(s, val->args[1]), b = support_of(s, val->args[2]), yes = small(s, val->args[0]), no = yes;
  const Value c = *ir_value(s->g, yes.v);
  if (c.op != OP_CONST || (a.v == b.v && a.axes == b.axes)) return partial_or(s->g, a, b, &val->shape);
  if (!c.data) return c.num != 0 ? a : b;
  yes.v = ir_cast(s->g, yes.v, DT_F32), no.v = ir_cast(s->g, ir_un(s->g, OP_NOT, no.v), DT_F32);
  a = partial_and(s->g, a, yes, &val->shape), b = partial_and(s->g, b, no, &val->shape);
  return partial_or(s->g, a, b, &val->shape);
}

/* A row of a gate is reached as a whole; of a number, everything or nothing. */
static Partial of_call(Support *s, const Value *val) {
  const Shape dy = ir_value(s->g, val->args[val->n_args - 1])->shape;
  Partial x = support_of(s, val->args[val->n_args - 1]);
  return dy.rank ? any_over(s, x, 1u << (dy.rank - 1)) : x;
}

static Partial compute(Support *s, ValueId v) {
  const Value val = *ir_value(s->g, v);
  if (val.op == OP_CONST && !val.data && val.num == 0) return partial_of(false);
  if (val.phase != PHASE_ADJOINT) return partial_of(true); /* a forward value is a local derivative */
  switch (val.op) {
  case OP_MASK: return of_mask(s, v);
  case OP_ADD: case OP_SUB: return of_two(s, &val, partial_or);
  case OP_MUL: return of_two(s, &val, partial_and);
  case OP_DIV: case OP_NEG: case OP_CAST: case OP_STOP: case OP_TAP: return support_of(s, val.args[0]);
  case OP_WHERE: return of_where(s, &val);
  case OP_SLICE: case OP_PAD: case OP_TAKE: case OP_PUT: return of_cut(s, &val);
  case OP_CONCAT: return of_concat(s, &val);
  case OP_BCAST: case OP_TRANSPOSE: return of_moved(s, &val);
  case OP_RESHAPE: case OP_UNFOLD: return of_regrouped(s, &val);
  case OP_SUM: return of_sum(s, &val);
  case OP_DOT: return of_dot(s, &val);
  case OP_SCATTER: return of_scatter(s, &val);
  case OP_FOLD: return of_fold(s, &val);
  case OP_CALL: return ir_call_is_gradient(&val) ? of_call(s, &val) : partial_of(true);
  default: return partial_of(true);
  }
}

Partial support_of(Support *s, ValueId v) {
  if (v >= s->n) return compute(s, v);
  if (!s->reach[v].done) s->reach[v] = (Known){compute(s, v), true};
  return s->reach[v].p;
}
