/* SPDX-License-Identifier: Apache-2.0
 * emit_index.c -- coordinates: scalars, base + lane * stride, or vectors; and the arithmetic of views on
 * them. */
#include "kernel.h"

static int deeper(int a, int b) { return a > b ? a : b; }

bool idx_is_vector(Idx a) { return a.vec != NULL || a.lane != 0; }

bool idx_same(Idx a, Idx b) { return a.base == b.base && a.vec == b.vec && a.lane == b.lane; }

Idx idx_const(Kernel *k, int64_t n) { return (Idx){.base = em_i64(k->e, n), .by16 = n % EMIT_LANES == 0}; }

Idx idx_scalar(Kernel *k, LLVMValueRef v, bool by16) {
  return (Idx){.base = v, .depth = LLVMIsConstant(v) ? 0 : k->depth, .by16 = by16};
}

Idx idx_lanes(Kernel *k, LLVMValueRef base, bool by16) {
  Idx i = idx_scalar(k, base, by16);
  i.lane = 1;
  return i;
}

static LLVMValueRef lane_numbers(Emit *e, int64_t stride) {
  LLVMValueRef n[EMIT_LANES];
  for (int i = 0; i < EMIT_LANES; i++) n[i] = em_i64(e, i * stride);
  return LLVMConstVector(n, EMIT_LANES);
}

LLVMValueRef idx_vec(Kernel *k, Idx a) {
  if (a.vec) return a.vec;
  LLVMValueRef base = em_splat(k->e, a.base);
  return a.lane ? LLVMBuildNSWAdd(k->e->b, base, lane_numbers(k->e, a.lane), "lanes") : base;
}

static bool is_const(LLVMValueRef v, int64_t *n) {
  if (!LLVMIsAConstantInt(v)) return false;
  *n = LLVMConstIntGetSExtValue(v);
  return true;
}

Idx idx_add(Kernel *k, Idx a, Idx b) {
  int64_t n;
  if (!a.vec && !a.lane && is_const(a.base, &n) && n == 0) return b;
  if (!b.vec && !b.lane && is_const(b.base, &n) && n == 0) return a;
  Idx r = {.depth = deeper(a.depth, b.depth)};
  int old = scope_enter(k, r.depth);
  if (a.vec || b.vec) {
    r.vec = LLVMBuildNSWAdd(k->e->b, idx_vec(k, a), idx_vec(k, b), "i");
  } else {
    r.base = LLVMBuildNSWAdd(k->e->b, a.base, b.base, "i");
    r.lane = a.lane + b.lane;
    r.by16 = a.by16 && b.by16;
  }
  scope_leave(k, old);
  return r;
}

Idx idx_offset(Kernel *k, Idx a, int64_t n) { return n ? idx_add(k, a, idx_const(k, n)) : a; }

Idx idx_scale(Kernel *k, Idx a, int64_t n) {
  if (n == 1) return a;
  if (n == 0) return idx_const(k, 0);
  Idx r = {.depth = a.depth};
  int old = scope_enter(k, r.depth);
  if (a.vec) {
    r.vec = LLVMBuildNSWMul(k->e->b, a.vec, em_splat(k->e, em_i64(k->e, n)), "i");
  } else {
    r.base = LLVMBuildNSWMul(k->e->b, a.base, em_i64(k->e, n), "i");
    r.lane = a.lane * n;
    r.by16 = a.by16 || n % EMIT_LANES == 0;
  }
  scope_leave(k, old);
  return r;
}

/* Vectors are divided as 32-bit numbers, which x86 can do by multiplication; extents stay below 2^31 per
 * group in every case that reaches here with lanes that cross (checked where a reshape is taken apart). */
static void divmod_vector(Kernel *k, Idx a, int64_t d, Idx *q, Idx *r) {
  Emit *e = k->e;
  LLVMValueRef x = idx_vec(k, a);
  if (d > INT32_MAX) {
    LLVMValueRef by = em_splat(e, em_i64(e, d));
    q->vec = LLVMBuildUDiv(e->b, x, by, "q");
    r->vec = LLVMBuildURem(e->b, x, by, "r");
    return;
  }
  LLVMValueRef by = em_splat(e, LLVMConstInt(e->i32, (unsigned long long)d, 0));
  LLVMValueRef narrow = LLVMBuildTrunc(e->b, x, e->v16i32, "");
  LLVMValueRef quotient = LLVMBuildUDiv(e->b, narrow, by, "q");
  LLVMValueRef rest = LLVMBuildSub(e->b, narrow, LLVMBuildMul(e->b, quotient, by, ""), "r");
  q->vec = LLVMBuildZExt(e->b, quotient, e->v16i64, "");
  r->vec = LLVMBuildZExt(e->b, rest, e->v16i64, "");
}

void idx_divmod(Kernel *k, Idx a, int64_t d, Idx *quotient, Idx *rest) {
  if (d == 1) {
    *quotient = a, *rest = idx_const(k, 0);
    return;
  }
  Emit *e = k->e;
  Idx q = {.depth = a.depth}, r = {.depth = a.depth};
  int old = scope_enter(k, a.depth);
  bool whole = !a.vec && a.lane == 1 && a.by16 && d % EMIT_LANES == 0; /* no lane crosses a multiple of d */
  if (!a.vec && (a.lane == 0 || whole)) {
    q.base = LLVMBuildUDiv(e->b, a.base, em_i64(e, d), "q");
    r.base = LLVMBuildNSWSub(e->b, a.base, LLVMBuildNSWMul(e->b, q.base, em_i64(e, d), ""), "r");
    r.lane = a.lane;
    r.by16 = a.by16 && d % EMIT_LANES == 0;
  } else {
    divmod_vector(k, a, d, &q, &r);
  }
  scope_leave(k, old);
  *quotient = q, *rest = r;
}

Idx idx_from_val(Kernel *k, Val v) {
  Idx r = {.depth = v.depth};
  int old = scope_enter(k, v.depth);
  if (type_is_vector(v.v)) r.vec = LLVMBuildSExt(k->e->b, v.v, k->e->v16i64, "i");
  else r.base = LLVMBuildSExt(k->e->b, v.v, k->e->i64, "i");
  scope_leave(k, old);
  return r;
}

Val idx_value(Kernel *k, Idx a) {
  int old = scope_enter(k, a.depth);
  LLVMValueRef v;
  if (!idx_is_vector(a)) {
    v = LLVMBuildTrunc(k->e->b, a.base, k->e->i32, "n");
  } else if (a.vec) {
    v = LLVMBuildTrunc(k->e->b, a.vec, k->e->v16i32, "n");
  } else {
    LLVMValueRef n[EMIT_LANES];
    for (int i = 0; i < EMIT_LANES; i++) n[i] = LLVMConstInt(k->e->i32, (unsigned long long)(i * a.lane), 1);
    LLVMValueRef base = em_splat(k->e, LLVMBuildTrunc(k->e->b, a.base, k->e->i32, ""));
    v = LLVMBuildAdd(k->e->b, base, LLVMConstVector(n, EMIT_LANES), "n");
  }
  scope_leave(k, old);
  return (Val){v, a.depth};
}

Guard guard_and(Kernel *k, Guard a, Guard b) {
  if (!a.v) return b;
  if (!b.v) return a;
  Guard r = {NULL, deeper(a.depth, b.depth)};
  int old = scope_enter(k, r.depth);
  LLVMValueRef x = a.v, y = b.v;
  if (type_is_vector(x) && !type_is_vector(y)) y = em_splat(k->e, y);
  if (type_is_vector(y) && !type_is_vector(x)) x = em_splat(k->e, x);
  r.v = LLVMBuildAnd(k->e->b, x, y, "guard");
  scope_leave(k, old);
  return r;
}

Guard idx_in_range(Kernel *k, Idx a, int64_t n, Guard g) {
  Guard r = {NULL, a.depth};
  int old = scope_enter(k, a.depth);
  LLVMValueRef limit = em_i64(k->e, n), x = a.base;
  if (idx_is_vector(a)) x = idx_vec(k, a), limit = em_splat(k->e, limit);
  r.v = LLVMBuildICmp(k->e->b, LLVMIntULT, x, limit, "inside"); /* unsigned: below 0 is far above n */
  scope_leave(k, old);
  return guard_and(k, g, r);
}

Idx idx_linear(Kernel *k, const Idx *c, const Shape *s, const int64_t *strides) {
  Idx sum = idx_const(k, 0);
  for (int pass = 0; pass < 2; pass++) /* scalars first: what can be hoisted is hoisted */
    for (int32_t i = 0; i < s->rank; i++)
      if (s->d[i] != 1 && idx_is_vector(c[i]) == (pass == 1))
        sum = idx_add(k, sum, idx_scale(k, c[i], strides[i]));
  return sum;
}

/* Takes both shapes apart into the smallest groups of axes with equal products; inside a group the
 * coordinates are joined to one number and divided again. A group of one axis on both sides passes through.
 */
void idx_reshape(Kernel *k, const Shape *from, const Idx *c, const Shape *to, Idx *out) {
  int32_t i = 0, j = 0;
  if (from->rank && dim_is_rows(from->d[0])) {
    out[0] = c[0];
    i = j = 1;
  }
  while (i < from->rank || j < to->rank) {
    int32_t i0 = i, j0 = j;
    int64_t a = i < from->rank ? from->d[i++] : 1, b = j < to->rank ? to->d[j++] : 1;
    while (a != b) {
      if (a < b) a *= from->d[i++];
      else b *= to->d[j++];
    }
    if (i - i0 == 1 && j - j0 == 1) {
      out[j0] = c[i0];
      continue;
    }
    Idx all = idx_const(k, 0);
    for (int32_t x = i0; x < i; x++)
      if (from->d[x] != 1) all = idx_add(k, idx_scale(k, all, from->d[x]), c[x]);
    for (int32_t y = j - 1; y >= j0; y--) {
      if (to->d[y] == 1) out[y] = idx_const(k, 0);
      else if (y == j0) out[y] = all;
      else idx_divmod(k, all, to->d[y], &all, &out[y]);
    }
  }
}
