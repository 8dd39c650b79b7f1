/* SPDX-License-Identifier: Apache-2.0
 * support.c -- activity of adjoints, as graph values (see the decision on "zero gradient" in docs/routing.md).
 * The adjoint graph is linear in its seeds, so the only declared zeros are MASK factors, and the only
 * structural ones are paddings; everything else (local derivatives, conditions of a ReLU, data) counts as
 * nonzero. Where nothing masks, the answer is SUPPORT_ALL and costs no code. */
#include "support.h"
#include <stdlib.h>
#include <string.h>

struct Support { Graph *g; Arena *arena; ValueId *memo; uint32_t n_memo; };

Support *support_create(Graph *g, Arena *a) {
  Support *s = ARENA_NEW(a, Support);
  s->g = g, s->arena = a, s->n_memo = g->n;
  s->memo = ARENA_NEWS(a, ValueId, g->n);
  return s;
}

static ValueId one_like(Support *s, ValueId v) {
  Shape shape = ir_value(s->g, v)->shape;
  return ir_const(s->g, ir_value(s->g, v)->span, 1.0, &shape, DT_F32);
}

static ValueId both(Support *s, ValueId a, ValueId b) {
  if (a == SUPPORT_NONE || b == SUPPORT_NONE) return SUPPORT_NONE;
  if (a == SUPPORT_ALL) return b;
  if (b == SUPPORT_ALL) return a;
  return ir_bin(s->g, OP_MIN, a, b);
}

static ValueId either(Support *s, ValueId a, ValueId b) {
  if (a == SUPPORT_ALL || b == SUPPORT_ALL) return SUPPORT_ALL;
  if (a == SUPPORT_NONE) return b;
  if (b == SUPPORT_NONE) return a;
  return ir_bin(s->g, OP_MAX, a, b);
}

static ValueId of_mask(Support *s, ValueId v) {
  ValueId x = ir_value(s->g, v)->args[0], f = ir_value(s->g, v)->args[1];
  Shape shape = ir_value(s->g, f)->shape;
  ValueId zero = ir_const(s->g, ir_value(s->g, f)->span, 0.0, &shape, DT_F32);
  ValueId open = ir_cast(s->g, ir_bin(s->g, OP_NE, f, zero), DT_F32);
  return both(s, support_of(s, x), open);
}

/* The same index map applied to the support; what a PAD or PUT fills in was never reached. */
static ValueId of_view(Support *s, ValueId v) {
  const Value *val = ir_value(s->g, v);
  uint32_t n = val->n_args;
  ValueId *args = ARENA_NEWS(s->arena, ValueId, n);
  bool all = val->op != OP_PAD && val->op != OP_PUT, none = true;
  for (uint32_t i = 0; i < n; i++) {
    args[i] = support_of(s, ir_value(s->g, v)->args[i]);
    all &= args[i] == SUPPORT_ALL, none &= args[i] == SUPPORT_NONE;
  }
  if (all) return SUPPORT_ALL;
  if (none) return SUPPORT_NONE;
  for (uint32_t i = 0; i < n; i++) {
    ValueId arg = ir_value(s->g, v)->args[i];
    if (args[i] == SUPPORT_ALL) args[i] = one_like(s, arg);
    if (args[i] != SUPPORT_NONE) continue;
    Shape shape = ir_value(s->g, arg)->shape;
    args[i] = ir_const(s->g, ir_value(s->g, arg)->span, 0.0, &shape, DT_F32);
  }
  Value copy = *ir_value(s->g, v);
  return ir_make(s->g, copy.op, copy.span, args, n, copy.ints, copy.n_ints, 0, &copy.shape, DT_F32);
}

/* any over axes `axes` of x, then spread over `to`: kept axis i of x goes to axis map_kept[i] of `to`. */
static ValueId any_over(Support *s, ValueId x, const int64_t *axes, uint32_t n_axes, const Shape *to, const int64_t *map) {
  ValueId r = n_axes ? ir_reduce(s->g, OP_AMAX, x, axes, n_axes) : x;
  return ir_bcast(s->g, r, to, map);
}

/* One side of a contraction: reached where any of the contracted elements was. */
static ValueId of_dot_side(Support *s, ValueId v, int side, ValueId sup) {
  Value dot = *ir_value(s->g, v);
  int64_t nb = dot.ints[0], nc = dot.ints[1];
  const int64_t *batch = dot.ints + 2 + (side ? nb : 0), *con = dot.ints + 2 + 2 * nb + (side ? nc : 0);
  Shape x = ir_value(s->g, sup)->shape, a = ir_value(s->g, dot.args[0])->shape;
  int64_t axes[IR_MAX_RANK], map[IR_MAX_RANK], position[IR_MAX_RANK];
  uint32_t n_axes = 0;
  int64_t kept = 0, free_at = nb + (side ? a.rank - nb - nc : 0);
  for (int i = 0; i < dot.shape.rank; i++) map[i] = -1;
  for (int64_t i = 0; i < x.rank; i++) {
    position[i] = -1;
    bool contracted = false;
    for (int64_t c = 0; c < nc; c++) contracted |= con[c] == i;
    if (contracted) { axes[n_axes++] = i; continue; }
    int64_t at = -1;
    for (int64_t b = 0; b < nb; b++) if (batch[b] == i) at = b;
    position[i] = at >= 0 ? at : free_at++;
    map[position[i]] = kept++;
  }
  /* BCAST wants its source axes in order; batch axes may be permuted only where a dot permutes them, which
   * no lowering does: be safe and call such an element reached. */
  int64_t last = -1;
  for (int i = 0; i < dot.shape.rank; i++) {
    if (map[i] < 0) continue;
    if (map[i] < last) return SUPPORT_ALL;
    last = map[i];
  }
  return any_over(s, sup, axes, n_axes, &dot.shape, map);
}

static ValueId of_dot(Support *s, ValueId v) {
  ValueId a = support_of(s, ir_value(s->g, v)->args[0]), b = support_of(s, ir_value(s->g, v)->args[1]);
  if (a == SUPPORT_NONE || b == SUPPORT_NONE) return SUPPORT_NONE;
  if (a == SUPPORT_ALL && b == SUPPORT_ALL) return SUPPORT_ALL;
  if (a != SUPPORT_ALL) a = of_dot_side(s, v, 0, a);
  if (b != SUPPORT_ALL) b = of_dot_side(s, v, 1, b);
  return both(s, a, b);
}

static ValueId of_sum(Support *s, ValueId v) {
  ValueId x = support_of(s, ir_value(s->g, v)->args[0]);
  if (x == SUPPORT_ALL || x == SUPPORT_NONE) return x;
  return ir_reduce(s->g, OP_AMAX, x, ir_value(s->g, v)->ints, ir_value(s->g, v)->n_ints);
}

/* Embedding rows are one atom: reached if anything is. Likewise the pixels of a FOLD. */
static ValueId of_spread(Support *s, ValueId v) {
  ValueId x = support_of(s, ir_value(s->g, v)->args[0]);
  if (x == SUPPORT_ALL || x == SUPPORT_NONE) return x;
  Shape shape = ir_value(s->g, x)->shape, to = ir_value(s->g, v)->shape;
  int64_t axes[IR_MAX_RANK], map[IR_MAX_RANK];
  for (int i = 0; i < shape.rank; i++) axes[i] = i;
  for (int i = 0; i < to.rank; i++) map[i] = -1;
  return any_over(s, x, axes, (uint32_t)shape.rank, &to, map);
}

static ValueId compute(Support *s, ValueId v) {
  Value val = *ir_value(s->g, v);
  if (val.op == OP_CONST && !val.data && val.num == 0) return SUPPORT_NONE;
  if (val.phase != PHASE_ADJOINT) return SUPPORT_ALL; /* a forward value is a local derivative */
  switch (val.op) {
  case OP_MASK: return of_mask(s, v);
  case OP_ADD: case OP_SUB: return either(s, support_of(s, val.args[0]), support_of(s, val.args[1]));
  case OP_MUL: return both(s, support_of(s, val.args[0]), support_of(s, val.args[1]));
  case OP_DIV: case OP_NEG: case OP_CAST: case OP_STOP: case OP_TAP: return support_of(s, val.args[0]);
  case OP_WHERE: return either(s, support_of(s, val.args[1]), support_of(s, val.args[2]));
  case OP_BCAST: case OP_RESHAPE: case OP_TRANSPOSE: case OP_SLICE: case OP_PAD: case OP_TAKE: case OP_PUT:
  case OP_CONCAT: case OP_UNFOLD: return of_view(s, v);
  case OP_SUM: return of_sum(s, v);
  case OP_DOT: return of_dot(s, v);
  case OP_SCATTER: case OP_FOLD: return of_spread(s, v);
  default: return SUPPORT_ALL;
  }
}

ValueId support_of(Support *s, ValueId v) {
  if (v >= s->n_memo) return compute(s, v);
  if (!s->memo[v]) s->memo[v] = compute(s, v);
  return s->memo[v];
}
