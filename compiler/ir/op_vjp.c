/* SPDX-License-Identifier: Apache-2.0
 * op_vjp.c -- derivatives: each function builds the adjoints of a value's arguments out of its own adjoint
 * dy. y = v. No Value pointer lives across a call that makes a value (g->v may move), and no call has two
 * arguments that make values: C leaves their order open, and value numbers must not depend on the compiler.
 */
#include "ops_impl.h"
#include "fault.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static ValueId arg(const Graph *g, ValueId v, uint32_t i) { return g->v[v].args[i]; }
static Shape shape(const Graph *g, ValueId v) { return g->v[v].shape; }
/* Adjoints flow through floats only. */
static bool differentiable(const Graph *g, ValueId v) {
  return g->v[v].dtype == DT_F32 || g->v[v].dtype == DT_F64;
}

/* A constant of v's shape and type. */
static ValueId splat(Graph *g, ValueId v, double num) {
  Shape s = shape(g, v);
  return ir_const(g, g->v[v].span, num, &s, g->v[v].dtype);
}
static ValueId bin(Graph *g, Op op, ValueId a, ValueId b) { return ir_bin(g, op, a, b); }
static ValueId mul(Graph *g, ValueId a, ValueId b) { return ir_bin(g, OP_MUL, a, b); }
static ValueId scale(Graph *g, ValueId a, double by) { return mul(g, a, splat(g, a, by)); }
static ValueId zero_unless(Graph *g, ValueId cond, ValueId a) { return ir_where(g, cond, a, splat(g, a, 0)); }

void op_vjp(Graph *g, ValueId v, ValueId dy, ValueId *dargs) {
  if (!shape_equal(&g->v[v].shape, &g->v[dy].shape) || g->v[v].dtype != g->v[dy].dtype) {
    fprintf(stderr,
            "routec: internal error: graph '%s': %%%u is no adjoint of %%%u, which has another type\n",
            g->name, dy, v);
    abort();
  }
  uint32_t n_args = g->v[v].n_args, first = g->n;
  for (uint32_t i = 0; i < n_args; i++) dargs[i] = 0;
  const OpInfo *info = op_info(g->v[v].op);
  if (info->vjp && differentiable(g, v)) info->vjp(g, v, dy, dargs);
  for (uint32_t i = 0; i < n_args; i++)
    if (!differentiable(g, arg(g, v, i))) dargs[i] = 0;
  for (ValueId i = first; i < g->n; i++) g->v[i].span = g->v[v].span;
}

/* ---- element-wise ------------------------------------------------------------------------------- */
void vjp_same(Graph *g, ValueId v, ValueId dy, ValueId *d) { (void)g, (void)v, d[0] = dy; }
void vjp_neg(Graph *g, ValueId v, ValueId dy, ValueId *d) { (void)v, d[0] = ir_un(g, OP_NEG, dy); }
void vjp_abs(Graph *g, ValueId v, ValueId dy, ValueId *d) {
  d[0] = mul(g, dy, ir_un(g, OP_SIGN, arg(g, v, 0)));
}
void vjp_exp(Graph *g, ValueId v, ValueId dy, ValueId *d) { d[0] = mul(g, dy, v); }
void vjp_log(Graph *g, ValueId v, ValueId dy, ValueId *d) { d[0] = bin(g, OP_DIV, dy, arg(g, v, 0)); }
void vjp_sqrt(Graph *g, ValueId v, ValueId dy, ValueId *d) { d[0] = bin(g, OP_DIV, scale(g, dy, 0.5), v); }
void vjp_sin(Graph *g, ValueId v, ValueId dy, ValueId *d) {
  d[0] = mul(g, dy, ir_un(g, OP_COS, arg(g, v, 0)));
}
void vjp_cos(Graph *g, ValueId v, ValueId dy, ValueId *d) {
  d[0] = ir_un(g, OP_NEG, mul(g, dy, ir_un(g, OP_SIN, arg(g, v, 0))));
}
/* 1 - y^2 */
void vjp_tanh(Graph *g, ValueId v, ValueId dy, ValueId *d) {
  ValueId square = mul(g, v, v);
  d[0] = mul(g, dy, bin(g, OP_SUB, splat(g, v, 1), square));
}
/* 2/sqrt(pi) exp(-x^2) */
void vjp_erf(Graph *g, ValueId v, ValueId dy, ValueId *d) {
  ValueId x = arg(g, v, 0);
  d[0] = mul(g, dy, scale(g, ir_un(g, OP_EXP, ir_un(g, OP_NEG, mul(g, x, x))), M_2_SQRTPI));
}
/* y (1 - y) */
void vjp_sigmoid(Graph *g, ValueId v, ValueId dy, ValueId *d) {
  d[0] = mul(g, dy, mul(g, v, bin(g, OP_SUB, splat(g, v, 1), v)));
}
void vjp_softplus(Graph *g, ValueId v, ValueId dy, ValueId *d) {
  d[0] = mul(g, dy, ir_un(g, OP_SIGMOID, arg(g, v, 0)));
}
void vjp_relu(Graph *g, ValueId v, ValueId dy, ValueId *d) {
  ValueId x = arg(g, v, 0);
  d[0] = fault("relu-passes") ? dy : zero_unless(g, bin(g, OP_LT, splat(g, x, 0), x), dy);
}
void vjp_cast(Graph *g, ValueId v, ValueId dy, ValueId *d) {
  ValueId x = arg(g, v, 0);
  if (differentiable(g, x)) d[0] = ir_cast(g, dy, g->v[x].dtype);
}
void vjp_tap(Graph *g, ValueId v, ValueId dy, ValueId *d) {
  int64_t tap = g->v[v].ints[0];
  d[0] = ir_make(g, OP_ADJTAP, g->v[v].span, &dy, 1, &tap, 1, 0, NULL, DT_NONE);
}

void vjp_add(Graph *g, ValueId v, ValueId dy, ValueId *d) { (void)g, (void)v, d[0] = d[1] = dy; }
void vjp_sub(Graph *g, ValueId v, ValueId dy, ValueId *d) { (void)v, d[0] = dy, d[1] = fault("sub-sign") ? dy : ir_un(g, OP_NEG, dy); }
void vjp_mul(Graph *g, ValueId v, ValueId dy, ValueId *d) {
  ValueId a = arg(g, v, 0), b = arg(g, v, 1);
  d[0] = mul(g, dy, b);
  d[1] = mul(g, dy, a);
}
/* dy/b and -dy y/b */
void vjp_div(Graph *g, ValueId v, ValueId dy, ValueId *d) {
  d[0] = bin(g, OP_DIV, dy, arg(g, v, 1));
  d[1] = ir_un(g, OP_NEG, mul(g, d[0], v));
}
/* The chosen side gets dy; a tie gives each side half. */
void vjp_minmax(Graph *g, ValueId v, ValueId dy, ValueId *d) {
  ValueId a = arg(g, v, 0), b = arg(g, v, 1);
  bool is_min = g->v[v].op == OP_MIN;
  ValueId half = scale(g, dy, 0.5);
  ValueId tie = zero_unless(g, bin(g, OP_EQ, a, b), half);
  ValueId a_less = bin(g, OP_LT, a, b);
  ValueId b_less = bin(g, OP_LT, b, a);
  d[0] = ir_where(g, is_min ? a_less : b_less, dy, tie);
  d[1] = ir_where(g, is_min ? b_less : a_less, dy, tie);
}
/* da = b a^(b-1), 0 where b is 0; db = y log a, 0 where a is 0 and b is not negative. A constant exponent has
 * no adjoint, and is folded into b-1. */
void vjp_pow(Graph *g, ValueId v, ValueId dy, ValueId *d) {
  ValueId a = arg(g, v, 0), b = arg(g, v, 1);
  double n;
  if (ir_is_splat(g, b, &n)) {
    if (n == 1) d[0] = dy;
    if (n == 0 || n == 1) return;
    ValueId power = n == 2 ? a : bin(g, OP_POW, a, splat(g, a, n - 1));
    d[0] = mul(g, scale(g, dy, n), power);
    return;
  }
  ValueId zero = splat(g, a, 0);
  ValueId less = bin(g, OP_SUB, b, splat(g, b, 1));
  ValueId slope = mul(g, b, bin(g, OP_POW, a, less));
  d[0] = mul(g, dy, zero_unless(g, bin(g, OP_NE, b, zero), slope));
  ValueId at_zero = bin(g, OP_EQ, a, zero);
  ValueId flat = bin(g, OP_AND, at_zero, bin(g, OP_LE, zero, b));
  ValueId rise = mul(g, v, ir_un(g, OP_LOG, a));
  d[1] = mul(g, dy, ir_where(g, flat, zero, rise));
}
void vjp_mask(Graph *g, ValueId v, ValueId dy, ValueId *d) { d[0] = bin(g, OP_MASK, dy, arg(g, v, 1)); }
void vjp_where(Graph *g, ValueId v, ValueId dy, ValueId *d) {
  ValueId c = arg(g, v, 0);
  ValueId zero = splat(g, v, 0);
  d[1] = ir_where(g, c, dy, zero);
  d[2] = ir_where(g, c, zero, dy);
}

/* ---- views -------------------------------------------------------------------------------------- */
void vjp_bcast(Graph *g, ValueId v, ValueId dy, ValueId *d) {
  int64_t axes[IR_MAX_RANK];
  uint32_t n = 0;
  for (int32_t i = 0; i < g->v[v].shape.rank; i++)
    if (g->v[v].ints[i] < 0) axes[n++] = i;
  d[0] = ir_reduce(g, OP_SUM, dy, axes, n);
}
void vjp_reshape(Graph *g, ValueId v, ValueId dy, ValueId *d) {
  Shape to = shape(g, arg(g, v, 0));
  d[0] = ir_reshape(g, dy, &to);
}
void vjp_transpose(Graph *g, ValueId v, ValueId dy, ValueId *d) {
  int64_t back[IR_MAX_RANK];
  for (int32_t i = 0; i < g->v[v].shape.rank; i++) back[g->v[v].ints[i]] = i;
  d[0] = ir_transpose(g, dy, back);
}

/* dy through `op` with v's ints, to the shape of v's first argument. */
static ValueId mirrored(Graph *g, Op op, ValueId v, ValueId dy) {
  Shape to = shape(g, arg(g, v, 0));
  return ir_make(g, op, g->v[v].span, &dy, 1, g->v[v].ints, g->v[v].n_ints, 0, &to, DT_NONE);
}
void vjp_slice(Graph *g, ValueId v, ValueId dy, ValueId *d) { d[0] = mirrored(g, OP_PAD, v, dy); }
void vjp_pad(Graph *g, ValueId v, ValueId dy, ValueId *d) { d[0] = mirrored(g, OP_SLICE, v, dy); }
void vjp_put(Graph *g, ValueId v, ValueId dy, ValueId *d) { d[0] = mirrored(g, OP_TAKE, v, dy); }
void vjp_unfold(Graph *g, ValueId v, ValueId dy, ValueId *d) { d[0] = mirrored(g, OP_FOLD, v, dy); }
void vjp_fold(Graph *g, ValueId v, ValueId dy, ValueId *d) { d[0] = mirrored(g, OP_UNFOLD, v, dy); }

/* PUT wants distinct indices: the k-th occurrences of all indices go together, one PUT each, and are added.
 */
void vjp_take(Graph *g, ValueId v, ValueId dy, ValueId *d) {
  Shape whole = shape(g, arg(g, v, 0));
  const int64_t *ints = g->v[v].ints; /* does not move */
  uint32_t n = g->v[v].n_ints - 1, placed = 0;
  uint32_t *times = ARENA_NEWS(g->arena, uint32_t, whole.d[ints[0]]),
           *turn = ARENA_NEWS(g->arena, uint32_t, n);
  for (uint32_t i = 0; i < n; i++) turn[i] = times[ints[1 + i]]++;
  int64_t *from = ARENA_NEWS(g->arena, int64_t, n + 1), *to = ARENA_NEWS(g->arena, int64_t, n + 1);
  from[0] = to[0] = ints[0];
  for (uint32_t k = 0; placed < n; k++) {
    uint32_t m = 0;
    for (uint32_t i = 0; i < n; i++)
      if (turn[i] == k) m++, from[m] = i, to[m] = ints[1 + i];
    ValueId some = m == n ? dy : ir_make(g, OP_TAKE, g->v[v].span, &dy, 1, from, m + 1, 0, NULL, DT_NONE);
    ValueId back = ir_make(g, OP_PUT, g->v[v].span, &some, 1, to, m + 1, 0, &whole, DT_NONE);
    d[0] = k ? bin(g, OP_ADD, d[0], back) : back;
    placed += m;
  }
}

void vjp_concat(Graph *g, ValueId v, ValueId dy, ValueId *d) {
  int64_t axis = g->v[v].ints[0], start = 0;
  for (uint32_t i = 0; i < g->v[v].n_args; i++) {
    int64_t len = shape(g, arg(g, v, i)).d[axis];
    d[i] = ir_slice(g, dy, axis, start, 1, len);
    start += len;
  }
}

/* ---- reductions --------------------------------------------------------------------------------- */
/* A value of v's shape spread along the reduced axes to the shape of v's argument. */
static ValueId unreduced(Graph *g, ValueId v, ValueId a) {
  Shape to = shape(g, arg(g, v, 0));
  int64_t map[IR_MAX_RANK], next = 0;
  for (int32_t i = 0; i < to.rank; i++) {
    map[i] = next++;
    for (uint32_t k = 0; k < g->v[v].n_ints; k++)
      if (g->v[v].ints[k] == i) map[i] = -1, next--;
  }
  return ir_bcast(g, a, &to, map);
}
void vjp_sum(Graph *g, ValueId v, ValueId dy, ValueId *d) { d[0] = unreduced(g, v, dy); }
void vjp_amax(Graph *g, ValueId v, ValueId dy, ValueId *d) {
  ValueId x = arg(g, v, 0);
  ValueId tied = bin(g, OP_EQ, x, unreduced(g, v, v));
  ValueId ones = ir_cast(g, tied, g->v[v].dtype);
  ValueId count = ir_reduce(g, OP_SUM, ones, g->v[v].ints, g->v[v].n_ints);
  d[0] = zero_unless(g, tied, unreduced(g, v, bin(g, OP_DIV, dy, count)));
}

/* ---- contractions ------------------------------------------------------------------------------- */
/* One side of the dot: its batch, contracted and free axes. */
typedef struct DotSide {
  ValueId value;
  const int64_t *batch, *con;
  int64_t free[IR_MAX_RANK];
  int n_free;
} DotSide;

/* where[k] = the axis of `mine` that axis k of the contraction of dy with `other` is: dy_first gives
 * batch, mine.free, other's contracted axes (in other's order), else batch, other's contracted axes,
 * mine.free. */
static int layout(DotInts d, const DotSide *mine, const DotSide *other, int32_t other_rank, bool dy_first,
                  int64_t *where) {
  int n = 0;
  for (int64_t i = 0; i < d.nb; i++) where[n++] = mine->batch[i];
  for (int part = 0; part < 2; part++) {
    if ((part == 0) == dy_first) {
      for (int i = 0; i < mine->n_free; i++) where[n++] = mine->free[i];
      continue;
    }
    for (int32_t axis = 0; axis < other_rank; axis++)
      for (int64_t k = 0; k < d.nc; k++)
        if (other->con[k] == axis) where[n++] = mine->con[k];
  }
  return n;
}

/* The adjoint of `mine`: dy contracted with `other` over other's free axes, which stand in dy from axis
 * `free_at` on. The order of the two is the one that needs no transpose, if there is one, so that
 * y = dot(x, W[out,in]) gives dW = dot(dy, x) and y = dot(x, W[in,out]) gives dW = dot(x, dy). */
static ValueId dot_side(Graph *g, DotInts d, ValueId dy, const DotSide *mine, const DotSide *other,
                        int64_t free_at) {
  int32_t rank = shape(g, mine->value).rank, other_rank = shape(g, other->value).rank;
  int64_t batch[IR_MAX_RANK], con[IR_MAX_RANK], where[IR_MAX_RANK], perm[IR_MAX_RANK];
  for (int64_t i = 0; i < d.nb; i++) batch[i] = i;
  for (int i = 0; i < other->n_free; i++) con[i] = free_at + i;
  bool dy_first = true, straight = false;
  for (int turn = 0; turn < 2 && !straight; turn++) {
    dy_first = turn == 0;
    straight = true;
    layout(d, mine, other, other_rank, dy_first, where);
    for (int32_t i = 0; i < rank; i++) straight = straight && where[i] == i;
  }
  if (!straight) layout(d, mine, other, other_rank, dy_first = true, where);
  uint32_t nb = (uint32_t)d.nb, nc = (uint32_t)other->n_free;
  ValueId got = dy_first ? ir_dot(g, dy, other->value, batch, other->batch, nb, con, other->free, nc)
                         : ir_dot(g, other->value, dy, other->batch, batch, nb, other->free, con, nc);
  for (int32_t i = 0; i < rank; i++) perm[where[i]] = i;
  return ir_transpose(g, got, perm);
}

void vjp_dot(Graph *g, ValueId v, ValueId dy, ValueId *dargs) {
  DotInts d = ir_dot_ints(&g->v[v]); /* the ints do not move */
  DotSide a = {.value = arg(g, v, 0), .batch = d.batch_a, .con = d.con_a};
  DotSide b = {.value = arg(g, v, 1), .batch = d.batch_b, .con = d.con_b};
  a.n_free = ir_free_axes(shape(g, a.value).rank, a.batch, d.nb, a.con, d.nc, a.free);
  b.n_free = ir_free_axes(shape(g, b.value).rank, b.batch, d.nb, b.con, d.nc, b.free);
  dargs[0] = dot_side(g, d, dy, &a, &b, d.nb + a.n_free);
  dargs[1] = dot_side(g, d, dy, &b, &a, d.nb);
}

void vjp_gather(Graph *g, ValueId v, ValueId dy, ValueId *d) {
  Shape to = shape(g, arg(g, v, 0));
  d[0] = ir_make(g, OP_SCATTER, g->v[v].span, (ValueId[]){dy, arg(g, v, 1)}, 2, NULL, 0, 0, &to, DT_NONE);
}
void vjp_scatter(Graph *g, ValueId v, ValueId dy, ValueId *d) {
  d[0] = ir_make(g, OP_GATHER, g->v[v].span, (ValueId[]){dy, arg(g, v, 1)}, 2, NULL, 0, 0, NULL, DT_NONE);
}
