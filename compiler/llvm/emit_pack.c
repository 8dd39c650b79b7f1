/* SPDX-License-Identifier: Apache-2.0
 * emit_pack.c -- STEP_PACK: which rows take a branch. One thread goes through them: their order is the list's. */
#include "kernel.h"

/* The row at the end of the list, which the next one overwrites unless this one is taken; or its place in the list. */
static void note_row(Kernel *k, const Value *v, Idx row, LLVMValueRef taken, LLVMValueRef n) {
  Emit *e = k->e;
  const BufferId id = k->step->outs[0].buffer;
  const Buffer *b = &k->pf->buffers[id];
  Idx at = row;
  Val what = idx_value(k, row);
  if (v->op == OP_ROWLIST) at = idx_scalar(k, n, false);
  else {
    LLVMValueRef place = LLVMBuildTrunc(e->b, n, e->i32, "place"), nowhere = LLVMConstAllOnes(e->i32);
    what = (Val){LLVMBuildSelect(e->b, taken, place, nowhere, "place"), k->depth};
  }
  emit_store(k, leaf_of_buffer(k, id), b->dtype, idx_linear(k, &at, &b->shape, b->strides), what);
}

void emit_pack(Kernel *k) {
  Emit *e = k->e;
  const Value *v = &k->g->v[k->step->outs[0].value];
  LLVMValueRef first = LLVMBuildICmp(e->b, LLVMIntEQ, k->tid, em_i64(e, 0), "first");
  LLVMBasicBlockRef after = scope_if(k, "one", first);
  scope_of_some_threads(k);
  LLVMValueRef count = scope_alloca(k, e->i64, "count");
  LLVMBuildStore(e->b, em_i64(e, 0), count);
  EmLoop l = scope_loop(k, "row", em_i64(e, 0), k->rows[0], 1);
  Idx row = idx_scalar(k, l.i, false);
  Val s = emit_value(k, v->args[0], &row, (Guard){NULL, 0});
  LLVMValueRef n = LLVMBuildLoad2(e->b, e->i64, count, "n");
  LLVMValueRef taken = LLVMBuildFCmp(e->b, LLVMRealUNE, s.v, LLVMConstReal(e->f32, 0), "taken");
  note_row(k, v, row, taken, n);
  LLVMBuildStore(e->b, LLVMBuildNSWAdd(e->b, n, LLVMBuildZExt(e->b, taken, e->i64, ""), "n"), count);
  scope_loop_end(k, &l);
  for (uint32_t i = 0; v->op == OP_ROWLIST && i < k->n_leaves; i++)
    if (k->leaves[i].kind == LEAF_COUNT)
      LLVMBuildStore(e->b, LLVMBuildLoad2(e->b, e->i64, count, "n"), k->leaves[i].arg);
  scope_if_end(k, after);
}
