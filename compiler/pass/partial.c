/* SPDX-License-Identifier: Apache-2.0 */
#include "partial.h"

uint32_t partial_axes(uint32_t set, const Shape *of, int64_t *id, Shape *shape) {
  uint32_t n = 0;
  *shape = (Shape){0};
  for (int i = 0; i < of->rank; i++) {
    if (!(set & (1u << i))) continue;
    shape->d[n] = of->d[i];
    id[n++] = i;
  }
  shape->rank = (int32_t)n;
  return n;
}

ValueId partial_arrange(Graph *g, ValueId v, const int64_t *id, const int64_t *to, const Shape *shape) {
  const int32_t rank = ir_value(g, v)->shape.rank;
  int64_t perm[IR_MAX_RANK], map[IR_MAX_RANK], n = 0;
  for (int i = 0; i < shape->rank; i++) {
    map[i] = -1;
    for (int k = 0; k < rank; k++)
      if (id[k] == to[i]) perm[n] = k, map[i] = n++;
  }
  if (rank) v = ir_transpose(g, v, perm);
  return ir_bcast(g, v, shape, map);
}

Partial partial_on(Graph *g, Partial p, uint32_t axes, const Shape *of) {
  Shape scalar = {.rank = 0}, shape;
  int64_t id[IR_MAX_RANK], to[IR_MAX_RANK];
  if (p.v == PARTIAL_YES || p.v == PARTIAL_NO) p.v = ir_const(g, (Span){0}, p.v == PARTIAL_YES, &scalar, DT_F32);
  partial_axes(p.axes, of, id, &shape);
  partial_axes(p.axes | axes, of, to, &shape);
  return (Partial){partial_arrange(g, p.v, id, to, &shape), p.axes | axes};
}

static Partial combine(Graph *g, Op op, Partial a, Partial b, const Shape *of) {
  if (a.v == b.v && a.axes == b.axes) return a;
  const uint32_t axes = a.axes | b.axes;
  a = partial_on(g, a, axes, of), b = partial_on(g, b, axes, of);
  return (Partial){ir_bin(g, op, a.v, b.v), axes};
}

Partial partial_and(Graph *g, Partial a, Partial b, const Shape *of) {
  if (partial_is(a, false) || partial_is(b, true)) return a;
  if (partial_is(b, false) || partial_is(a, true)) return b;
  return combine(g, OP_MIN, a, b, of);
}

Partial partial_or(Graph *g, Partial a, Partial b, const Shape *of) {
  if (partial_is(a, true) || partial_is(b, false)) return a;
  if (partial_is(b, true) || partial_is(a, false)) return b;
  return combine(g, OP_MAX, a, b, of);
}

ValueId partial_whole(Graph *g, Partial p, const Shape *of) {
  int64_t id[IR_MAX_RANK], map[IR_MAX_RANK];
  Shape shape, scalar = {.rank = 0};
  p = partial_on(g, p, p.axes, of);
  const uint32_t n = partial_axes(p.axes, of, id, &shape);
  for (int i = 0; i < of->rank; i++) map[i] = -1;
  for (uint32_t i = 0; i < n; i++) map[id[i]] = i;
  ValueId zero = ir_bcast_scalar(g, ir_const(g, (Span){0}, 0, &scalar, DT_F32), &shape);
  return ir_bcast(g, ir_bin(g, OP_NE, p.v, zero), of, map);
}
