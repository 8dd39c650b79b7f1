/* SPDX-License-Identifier: Apache-2.0
 * build.c -- the small words of emission: constants, splats, 16-lane loads and stores, loops, thread shares.
 */
#include "emit.h"
#include "fault.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

LLVMValueRef em_i64(Emit *e, int64_t v) { return LLVMConstInt(e->i64, (unsigned long long)v, 1); }

LLVMValueRef em_extent(Emit *e, Extent x, const LLVMValueRef *rows) {
  if (!x.rows) return em_i64(e, x.n);
  if (x.n == 1) return rows[x.rows - 1];
  return LLVMBuildNSWMul(e->b, rows[x.rows - 1], em_i64(e, x.n), "extent");
}

LLVMValueRef em_splat(Emit *e, LLVMValueRef scalar) {
  LLVMTypeRef vector = LLVMVectorType(LLVMTypeOf(scalar), EMIT_LANES);
  if (LLVMIsConstant(scalar)) {
    LLVMValueRef lane[EMIT_LANES];
    for (int i = 0; i < EMIT_LANES; i++) lane[i] = scalar;
    return LLVMConstVector(lane, EMIT_LANES);
  }
  LLVMValueRef first =
      LLVMBuildInsertElement(e->b, LLVMGetPoison(vector), scalar, LLVMConstInt(e->i32, 0, 0), "");
  LLVMValueRef zeros = LLVMConstNull(LLVMVectorType(e->i32, EMIT_LANES));
  return LLVMBuildShuffleVector(e->b, first, LLVMGetPoison(vector), zeros, "splat");
}

/* Both overloads of the intrinsics that take two: masked loads and stores name the vector and the pointer. */
static LLVMValueRef call_overloaded(Emit *e, const char *name, LLVMTypeRef *types, size_t n_types,
                                    LLVMValueRef *args, unsigned n) {
  unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
  if (!id) {
    fprintf(stderr, "routec: internal error: LLVM has no intrinsic %s\n", name);
    abort();
  }
  LLVMValueRef f = LLVMGetIntrinsicDeclaration(e->mod, id, types, n_types);
  LLVMTypeRef type = LLVMIntrinsicGetType(e->ctx, id, types, n_types);
  bool is_void = LLVMGetTypeKind(LLVMGetReturnType(type)) == LLVMVoidTypeKind;
  return LLVMBuildCall2(e->b, type, f, args, n, is_void ? "" : "v");
}

LLVMValueRef em_intrinsic(Emit *e, const char *name, LLVMTypeRef overload, LLVMValueRef *args, unsigned n) {
  return call_overloaded(e, name, &overload, overload ? 1 : 0, args, n);
}

LLVMValueRef em_gep(Emit *e, LLVMTypeRef elem, LLVMValueRef base, LLVMValueRef index) {
  return LLVMBuildGEP2(e->b, elem, base, &index, 1, "p");
}

/* Storage bytes of a scalar type; vectors are only ever of these. */
static unsigned type_bytes(LLVMTypeRef t) {
  switch (LLVMGetTypeKind(t)) {
  case LLVMFloatTypeKind: return 4;
  case LLVMDoubleTypeKind: return 8;
  case LLVMIntegerTypeKind: return (LLVMGetIntTypeWidth(t) + 7) / 8;
  default: return 8;
  }
}

LLVMValueRef em_load16(Emit *e, LLVMTypeRef elem, LLVMValueRef ptr, LLVMValueRef mask) {
  LLVMTypeRef vector = LLVMVectorType(elem, EMIT_LANES);
  if (!mask) {
    LLVMValueRef v = LLVMBuildLoad2(e->b, vector, ptr, "load");
    LLVMSetAlignment(v, type_bytes(elem));
    return v;
  }
  LLVMTypeRef types[2] = {vector, e->ptr};
  LLVMValueRef args[4] = {ptr, LLVMConstInt(e->i32, type_bytes(elem), 0), mask, LLVMConstNull(vector)};
  return call_overloaded(e, "llvm.masked.load", types, 2, args, 4);
}

void em_store16(Emit *e, LLVMValueRef v, LLVMValueRef ptr, LLVMValueRef mask) {
  LLVMTypeRef vector = LLVMTypeOf(v);
  unsigned align = type_bytes(LLVMGetElementType(vector));
  if (!mask) {
    LLVMSetAlignment(LLVMBuildStore(e->b, v, ptr), align);
    return;
  }
  LLVMTypeRef types[2] = {vector, e->ptr};
  LLVMValueRef args[4] = {v, ptr, LLVMConstInt(e->i32, align, 0), mask};
  call_overloaded(e, "llvm.masked.store", types, 2, args, 4);
}

LLVMValueRef em_tail_mask(Emit *e, LLVMValueRef count) {
  LLVMValueRef lane[EMIT_LANES], args[2] = {count, em_i64(e, EMIT_LANES)};
  for (unsigned i = 0; i < EMIT_LANES; i++) lane[i] = LLVMConstInt(e->i32, i, 0);
  if (fault("tail-short")) args[0] = LLVMBuildNSWSub(e->b, count, em_i64(e, 1), "");
  LLVMValueRef clamped = em_intrinsic(e, "llvm.smin", e->i64, args, 2);
  LLVMValueRef n = LLVMBuildTrunc(e->b, clamped, e->i32, "lanes");
  return LLVMBuildICmp(e->b, LLVMIntSLT, LLVMConstVector(lane, EMIT_LANES), em_splat(e, n), "tail");
}

/* ---- loops -----------------------------------------------------------------------------------------------
 */

EmLoop em_loop_begin(Emit *e, const char *name, LLVMValueRef from, LLVMValueRef to, int64_t step) {
  char text[64];
  EmLoop l = {0};
  LLVMBasicBlockRef before = LLVMGetInsertBlock(e->b);
  snprintf(text, sizeof text, "%s.head", name);
  l.head = LLVMAppendBasicBlockInContext(e->ctx, e->fn, text);
  snprintf(text, sizeof text, "%s.body", name);
  l.body = LLVMAppendBasicBlockInContext(e->ctx, e->fn, text);
  snprintf(text, sizeof text, "%s.exit", name);
  l.exit = LLVMAppendBasicBlockInContext(e->ctx, e->fn, text);
  LLVMBuildBr(e->b, l.head);
  LLVMPositionBuilderAtEnd(e->b, l.head);
  l.i = LLVMBuildPhi(e->b, e->i64, name);
  LLVMAddIncoming(l.i, &from, &before, 1);
  l.to = to, l.step = em_i64(e, step);
  LLVMBuildCondBr(e->b, LLVMBuildICmp(e->b, LLVMIntSLT, l.i, to, "more"), l.body, l.exit);
  LLVMPositionBuilderAtEnd(e->b, l.body);
  return l;
}

void em_loop_end(Emit *e, EmLoop *l) {
  LLVMValueRef next = LLVMBuildNSWAdd(e->b, l->i, l->step, "next");
  LLVMBasicBlockRef latch = LLVMGetInsertBlock(e->b);
  LLVMBuildBr(e->b, l->head);
  LLVMAddIncoming(l->i, &next, &latch, 1);
  LLVMPositionBuilderAtEnd(e->b, l->exit);
}

void em_share(Emit *e, LLVMValueRef n, int64_t grain, LLVMValueRef tid, LLVMValueRef n_threads,
              LLVMValueRef *lo, LLVMValueRef *hi) {
  LLVMBuilderRef b = e->b;
  LLVMValueRef v_grain = em_i64(e, grain);
  LLVMValueRef chunks = n;
  if (grain > 1)
    chunks = LLVMBuildSDiv(b, LLVMBuildNSWAdd(b, n, em_i64(e, grain - 1), ""), v_grain, "chunks");
  LLVMValueRef next = LLVMBuildNSWAdd(b, tid, em_i64(e, 1), "");
  LLVMValueRef first = LLVMBuildSDiv(b, LLVMBuildNSWMul(b, chunks, tid, ""), n_threads, "");
  LLVMValueRef last = LLVMBuildSDiv(b, LLVMBuildNSWMul(b, chunks, next, ""), n_threads, "");
  *lo = first, *hi = last;
  if (grain == 1) return;
  LLVMValueRef args[2] = {LLVMBuildNSWMul(b, last, v_grain, ""), n};
  *lo = LLVMBuildNSWMul(b, first, v_grain, "lo");
  *hi = em_intrinsic(e, "llvm.smin", e->i64, args, 2);
}
