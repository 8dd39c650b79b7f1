/* SPDX-License-Identifier: Apache-2.0
 * emit_view.c -- views as maps of coordinates. Where a view adds zeros its argument is read under a guard. */
#include "kernel.h"
#include <string.h>

static int deeper(int a, int b) { return a > b ? a : b; }

Val zero_outside(Kernel *k, Guard inside, Val x) {
  if (type_is_vector(inside.v)) x = emit_widen(k, x);
  else if (type_is_vector(x.v)) inside = emit_widen(k, inside);
  Val r = {NULL, deeper(inside.depth, x.depth)};
  int old = scope_enter(k, r.depth);
  r.v = LLVMBuildSelect(k->e->b, inside.v, x.v, LLVMConstNull(LLVMTypeOf(x.v)), "padded");
  scope_leave(k, old);
  return r;
}

/* A progression first, first + step, ... with step >= 1. */
static bool is_progression(const int64_t *list, int64_t n, int64_t *step) {
  *step = n > 1 ? list[1] - list[0] : 1;
  for (int64_t i = 1; i < n; i++)
    if (list[i] - list[i - 1] != *step) return false;
  return *step >= 1;
}

/* The list behind ints[0] as i32, or for each of `wide` places its position in the list, -1 for none. */
static LLVMValueRef make_table(Kernel *k, const Value *v, int64_t wide) {
  int64_t n = (int64_t)v->n_ints - 1, size = wide ? wide : n;
  int32_t *table = ARENA_NEWS(k->e->arena, int32_t, size);
  for (int64_t i = 0; i < wide; i++) table[i] = -1;
  for (int64_t i = 0; i < n; i++) {
    if (wide) table[v->ints[1 + i]] = (int32_t)i;
    else table[i] = (int32_t)v->ints[1 + i];
  }
  return types_global_bytes(k->e, "table", table, (size_t)size * sizeof *table);
}

static LLVMValueRef table_of(Kernel *k, const Value *v, int64_t wide) {
  Backend *be = k->be;
  for (uint32_t i = 0; i < be->n_tables; i++)
    if (be->tables[i].ints == v->ints && be->tables[i].inverse == (wide != 0)) return be->tables[i].global;
  if (be->n_tables == be->cap_tables) {
    uint32_t cap = 2 * be->cap_tables + 8;
    TableSlot *grown = ARENA_NEWS(k->e->arena, TableSlot, cap);
    if (be->n_tables) memcpy(grown, be->tables, be->n_tables * sizeof *grown);
    be->tables = grown, be->cap_tables = cap;
  }
  be->tables[be->n_tables] = (TableSlot){v->ints, wide != 0, make_table(k, v, wide)};
  return be->tables[be->n_tables++].global;
}

/* table[at] as an index. */
static Idx look_up(Kernel *k, const Value *v, int64_t wide, Idx at, Guard g) {
  return idx_from_val(k, emit_read_pointer(k, table_of(k, v, wide), DT_I32, at, g, false));
}

/* Coordinate of the source of `start, start + step, ...` (len of them) and whether there is one. */
static Idx undo_slice(Kernel *k, Idx a, int64_t start, int64_t step, int64_t len, Guard *g) {
  Idx x = idx_offset(k, a, -start);
  if (step > 1) {
    Idx rest;
    *g = idx_in_range(k, x, (len - 1) * step + 1, *g);
    idx_divmod(k, x, step, &x, &rest);
    *g = idx_in_range(k, rest, 1, *g);
    return x;
  }
  *g = idx_in_range(k, x, len, *g);
  return x;
}

static Val emit_take(Kernel *k, const Value *v, Idx *c, Guard g) {
  int64_t axis = v->ints[0], n = (int64_t)v->n_ints - 1, step;
  if (is_progression(v->ints + 1, n, &step)) {
    c[axis] = idx_offset(k, idx_scale(k, c[axis], step), v->ints[1]);
  } else {
    c[axis] = look_up(k, v, 0, c[axis], g);
  }
  return emit_value(k, v->args[0], c, g);
}

static Val emit_put(Kernel *k, const Value *v, Idx *c, Guard g) {
  int64_t axis = v->ints[0], n = (int64_t)v->n_ints - 1, wide = v->shape.d[axis], step;
  Guard inside = g;
  if (is_progression(v->ints + 1, n, &step)) {
    c[axis] = undo_slice(k, c[axis], v->ints[1], step, n, &inside);
  } else {
    c[axis] = look_up(k, v, wide, c[axis], g);
    inside = idx_in_range(k, c[axis], n, inside);
  }
  return zero_outside(k, inside, emit_value(k, v->args[0], c, inside));
}

static Val emit_concat(Kernel *k, const Value *v, const Idx *c, Guard g) {
  int64_t axis = v->ints[0], start = 0;
  Val r = {NULL, 0};
  for (uint32_t i = 0; i < v->n_args; i++) {
    int64_t len = k->g->v[v->args[i]].shape.d[axis];
    Idx at[IR_MAX_RANK];
    memcpy(at, c, (size_t)v->shape.rank * sizeof *at);
    at[axis] = idx_offset(k, c[axis], -start);
    Guard mine = idx_in_range(k, at[axis], len, (Guard){NULL, 0});
    start += len;
    if (LLVMIsAConstantInt(mine.v) && !LLVMConstIntGetZExtValue(mine.v)) continue;
    Val x = zero_outside(k, mine, emit_value(k, v->args[i], at, guard_and(k, g, mine)));
    if (!r.v) {
      r = x;
      continue;
    }
    if (type_is_vector(r.v) || type_is_vector(x.v) || type_is_vector(mine.v))
      x = emit_widen(k, x), r = emit_widen(k, r), mine = emit_widen(k, mine);
    int depth = deeper(deeper(r.depth, x.depth), mine.depth), old = scope_enter(k, depth);
    r = (Val){LLVMBuildSelect(k->e->b, mine.v, x.v, r.v, "concat"), depth};
    scope_leave(k, old);
  }
  return r;
}

/* [N,OH,OW,C,KH,KW] at (n, oh, ow, c, i, j) is the image at (n, c, oh*sh + i*dh - ph, ow*sw + j*dw - pw), or
 * 0. */
static Val emit_unfold(Kernel *k, const Value *v, const Idx *c, Guard g) {
  const int64_t *p = v->ints;
  const Shape *image = &k->g->v[v->args[0]].shape;
  Idx at[4] = {c[0], c[3]};
  at[2] = idx_offset(k, idx_add(k, idx_scale(k, c[1], p[2]), idx_scale(k, c[4], p[6])), -p[4]);
  at[3] = idx_offset(k, idx_add(k, idx_scale(k, c[2], p[3]), idx_scale(k, c[5], p[7])), -p[5]);
  Guard inside = g;
  if (p[4]) inside = idx_in_range(k, at[2], image->d[2], inside);
  if (p[5]) inside = idx_in_range(k, at[3], image->d[3], inside);
  Val x = emit_value(k, v->args[0], at, inside);
  return p[4] || p[5] ? zero_outside(k, inside, x) : x;
}

Val emit_view(Kernel *k, ValueId id, const Idx *c, Guard g) {
  const Value *v = &k->g->v[id];
  const Shape *from = v->n_args ? &k->g->v[v->args[0]].shape : NULL;
  Idx at[IR_MAX_RANK];
  memcpy(at, c, sizeof(Idx) * (size_t)v->shape.rank);
  switch (v->op) {
  case OP_BCAST:
    for (int32_t i = 0; i < v->shape.rank; i++)
      if (v->ints[i] >= 0) at[v->ints[i]] = c[i];
    return emit_value(k, v->args[0], at, g);
  case OP_RESHAPE: idx_reshape(k, &v->shape, c, from, at); return emit_value(k, v->args[0], at, g);
  case OP_TRANSPOSE:
    for (int32_t i = 0; i < v->shape.rank; i++) at[v->ints[i]] = c[i];
    return emit_value(k, v->args[0], at, g);
  case OP_SLICE:
    at[v->ints[0]] = idx_offset(k, idx_scale(k, c[v->ints[0]], v->ints[2]), v->ints[1]);
    return emit_value(k, v->args[0], at, g);
  case OP_RSLICE:
    for (int32_t i = 0; i < v->shape.rank; i++)
      if (dim_is_rows(v->shape.d[i])) at[i] = idx_add(k, c[i], (Idx){.base = k->first_row[v->ints[0]]});
    return emit_value(k, v->args[0], at, g);
  case OP_PAD: {
    Guard inside = g;
    at[v->ints[0]] = undo_slice(k, c[v->ints[0]], v->ints[1], v->ints[2], from->d[v->ints[0]], &inside);
    return zero_outside(k, inside, emit_value(k, v->args[0], at, inside));
  }
  case OP_TAKE: return emit_take(k, v, at, g);
  case OP_PUT: return emit_put(k, v, at, g);
  case OP_CONCAT: return emit_concat(k, v, c, g);
  case OP_UNFOLD: return emit_unfold(k, v, c, g);
  default: kernel_die(k, id, "no emission for this view");
  }
}
