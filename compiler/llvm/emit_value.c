/* SPDX-License-Identifier: Apache-2.0
 * emit_value.c -- the core: the value of `id` at a point. */
#include "kernel.h"
#include <string.h>

bool value_is_leaf(const Kernel *k, ValueId id) { return k->pf->buffer_of[id] && !k->inlined[id]; }

/* (table [V, ...], idx): the index is clamped, so that no data can make us read elsewhere. */
static Val emit_gather(Kernel *k, ValueId id, const Idx *c, Guard g) {
  const Value *v = &k->g->v[id];
  const Shape *table = &k->g->v[v->args[0]].shape, *index = &k->g->v[v->args[1]].shape;
  Val i = emit_value(k, v->args[1], c, g);
  Idx at[IR_MAX_RANK];
  at[0] = idx_clamped(k, i, table->d[0]);
  for (int32_t x = 1; x < table->rank; x++) at[x] = c[index->rank + x - 1];
  return emit_value(k, v->args[0], at, g);
}

/* (x, idx): row idx[r] of x; below 0 there is none. */
static Val emit_rowpick(Kernel *k, ValueId id, const Idx *c, Guard g) {
  const Value *v = &k->g->v[id];
  int32_t rows = 0;
  while (!dim_is_rows(v->shape.d[rows])) rows++;
  Idx at[IR_MAX_RANK];
  memcpy(at, c, sizeof *at * (size_t)v->shape.rank);
  at[rows] = idx_from_val(k, emit_value(k, v->args[1], &c[rows], g));
  if (k->g->v[v->args[1]].op == OP_ROWLIST) return emit_value(k, v->args[0], at, g);
  Guard inside = idx_in_range(k, at[rows], (int64_t)INT32_MAX + 1, g);
  return zero_outside(k, inside, emit_value(k, v->args[0], at, inside));
}

Idx idx_clamped(Kernel *k, Val i, int64_t n) {
  Emit *e = k->e;
  int old = scope_enter(k, i.depth);
  LLVMValueRef low = LLVMConstInt(e->i32, 0, 0), high = LLVMConstInt(e->i32, (unsigned long long)(n - 1), 0);
  if (type_is_vector(i.v)) low = em_splat(e, low), high = em_splat(e, high);
  LLVMTypeRef type = LLVMTypeOf(i.v);
  i.v = em_intrinsic(e, "llvm.smax", type, (LLVMValueRef[]){i.v, low}, 2);
  i.v = em_intrinsic(e, "llvm.smin", type, (LLVMValueRef[]){i.v, high}, 2);
  scope_leave(k, old);
  return idx_from_val(k, i);
}

static Val compute(Kernel *k, ValueId id, const Idx *c, Guard g) {
  const Value *v = &k->g->v[id];
  if (value_is_leaf(k, id)) return emit_buffer_at(k, id, c, g);
  switch (op_class(v->op)) {
  case OPC_LEAF: return emit_leaf_op(k, id, c, g);
  case OPC_ELT: {
    Val args[3];
    for (uint32_t i = 0; i < v->n_args; i++) args[i] = emit_value(k, v->args[i], c, g);
    return emit_elt(k, v, id, args);
  }
  case OPC_VIEW: return emit_view(k, id, c, g);
  default: break;
  }
  if (v->op == OP_GATHER) return emit_gather(k, id, c, g);
  if (v->op == OP_ROWPICK) return emit_rowpick(k, id, c, g);
  kernel_die(k, id, "a value that the plan should have materialised");
}

Val emit_value(Kernel *k, ValueId id, const Idx *c, Guard g) {
  Val r;
  int rank = k->g->v[id].shape.rank;
  if (memo_find(k, id, c, rank, g, &r)) return r;
  r = compute(k, id, c, g);
  memo_add(k, id, c, rank, g, r);
  return r;
}
