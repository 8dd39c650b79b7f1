/* SPDX-License-Identifier: Apache-2.0
 * products.c -- matrix products by themselves, to be timed: each a function that repeats its product n_steps times over
 * the memory that backend.h describes. */
#include "kernel.h"
#include <stdio.h>

typedef struct Copy {
  const GemmGeom *g;
  LLVMValueRef to;
} Copy;

/* Stands for what a step does with its sums: they are stored elsewhere. */
static void copy_epilogue(Emit *e, void *user, const LLVMValueRef *batch, LLVMValueRef row, LLVMValueRef col, LLVMValueRef acc,
                          LLVMValueRef mask) {
  const Copy *c = user;
  LLVMValueRef at = LLVMBuildNSWAdd(e->b, LLVMBuildNSWMul(e->b, row, em_i64(e, c->g->cm), ""), col, "");
  for (uint32_t i = 0; i < c->g->n_batch; i++)
    at = LLVMBuildNSWAdd(e->b, at, LLVMBuildNSWMul(e->b, batch[i], em_i64(e, c->g->c_batch[i]), ""), "");
  em_store16(e, acc, em_gep(e, e->f32, c->to, at), mask);
}

static LLVMValueRef new_function(Backend *be, const char *symbol) {
  Emit *e = &be->e;
  LLVMTypeRef p[2] = {e->ptr, e->i64};
  LLVMValueRef f = LLVMAddFunction(e->mod, symbol, LLVMFunctionType(LLVMVoidTypeInContext(e->ctx), p, 2, 0));
  types_fn_attributes(e, f, SANITIZE_NONE);
  e->fn = f;
  LLVMPositionBuilderAtEnd(e->b, LLVMAppendBasicBlockInContext(e->ctx, f, "entry"));
  return f;
}

static void product_emit(Backend *be, const BackendProduct *p) {
  Emit *e = &be->e;
  LLVMValueRef f = new_function(be, p->symbol), frame = LLVMGetParam(f, 0), tid = LLVMGetParam(f, 1), rows[IR_MAX_SETS];
  LLVMValueRef a = frame_field(e, frame, offsetof(JobFrame, store), e->ptr, "a");
  LLVMValueRef c = frame_field(e, frame, offsetof(JobFrame, work), e->ptr, "c");
  LLVMValueRef n = frame_field(e, frame, offsetof(JobFrame, n_steps), e->i64, "n");
  LLVMValueRef nt = frame_field(e, frame, offsetof(JobFrame, n_threads), e->i64, "n_threads");
  LLVMValueRef count = frame_field(e, frame, offsetof(JobFrame, total_steps), e->i64, "rows");
  LLVMValueRef meet = frame_field(e, frame, offsetof(JobFrame, barrier), e->ptr, "barrier");
  LLVMTypeRef types[2] = {e->ptr, e->i64}, meet_type = LLVMFunctionType(LLVMVoidTypeInContext(e->ctx), types, 2, 0);
  for (uint32_t i = 0; i < IR_MAX_SETS; i++) rows[i] = count;
  Copy copy = {&p->geom, em_gep(e, e->f32, c, em_i64(e, p->out_at))};
  const GemmEnd end = {.epilogue = copy_epilogue, .user = &copy};
  EmLoop l = em_loop_begin(e, "repeat", em_i64(e, 0), n, 1);
  gemm_emit(e, &p->geom, &p->tile, a, em_gep(e, e->f32, a, em_i64(e, p->b_at)), c, rows, tid, nt,
            p->plain ? NULL : &end);
  LLVMValueRef args[2] = {frame, tid};
  LLVMBuildCall2(e->b, meet_type, meet, args, 2, "");
  em_loop_end(e, &l);
  LLVMBuildRetVoid(e->b);
}

void products_emit(Backend *be, const BackendProduct *p, uint32_t n) {
  for (uint32_t i = 0; i < n; i++) {
    char name[128];
    product_emit(be, &p[i]);
    snprintf(name, sizeof name, "%s_work", p[i].symbol);
    work_symbol(be, name, 0);
  }
}
