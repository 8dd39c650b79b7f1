/* SPDX-License-Identifier: Apache-2.0
 * watch.c -- tells the thread sanitizer of every access of emitted code. LLVM's own pass knows none that is wider than
 * 16 bytes, masked or gathered, and so nearly nothing of what is emitted here. Barriers are calls of the runtime, whose
 * atomic operations the sanitizer sees. */
#include "kernel.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef LLVMValueRef V;

typedef struct Watch {
  Emit *e;
  LLVMTargetDataRef layout;
  LLVMTypeRef range_type, lanes_type;
  V range[2], lanes[2]; /* [written] */
} Watch;

/* What an instruction reads or writes: `at` one address or a vector of them, under `mask` if there is one. */
typedef struct Access {
  V at, mask;
  LLVMTypeRef type;
  bool written, contiguous;
} Access;

static V declare_range(Watch *w, const char *name) { return LLVMAddFunction(w->e->mod, name, w->range_type); }

/* `name(at[], mask, bytes, n)`: an access of `bytes` at each of n addresses whose bit is set. */
static V emit_lanes(Watch *w, const char *name, V range) {
  Emit *e = w->e;
  V fn = e->fn = LLVMAddFunction(e->mod, name, w->lanes_type);
  LLVMSetLinkage(fn, LLVMInternalLinkage);
  types_attribute(e, fn, ON_FUNCTION, "noinline", 0);
  LLVMPositionBuilderAtEnd(e->b, LLVMAppendBasicBlockInContext(e->ctx, fn, "entry"));
  EmLoop l = em_loop_begin(e, "lane", em_i64(e, 0), LLVMGetParam(fn, 3), 1);
  LLVMBasicBlockRef seen = LLVMAppendBasicBlockInContext(e->ctx, fn, "seen"),
                    next = LLVMAppendBasicBlockInContext(e->ctx, fn, "next");
  V bit = LLVMBuildAnd(e->b, LLVMBuildLShr(e->b, LLVMGetParam(fn, 1), l.i, ""), em_i64(e, 1), "");
  LLVMBuildCondBr(e->b, LLVMBuildICmp(e->b, LLVMIntNE, bit, em_i64(e, 0), ""), seen, next);
  LLVMPositionBuilderAtEnd(e->b, seen);
  V p = LLVMBuildLoad2(e->b, e->ptr, em_gep(e, e->ptr, LLVMGetParam(fn, 0), l.i), "");
  LLVMBuildCall2(e->b, w->range_type, range, (V[]){p, LLVMGetParam(fn, 2)}, 2, "");
  LLVMBuildBr(e->b, next);
  LLVMPositionBuilderAtEnd(e->b, next);
  em_loop_end(e, &l);
  LLVMBuildRetVoid(e->b);
  return fn;
}

/* Memory that no other thread can know, or that nobody writes. */
static bool is_private(V at) {
  while (LLVMIsAGetElementPtrInst(at) || (LLVMIsAConstantExpr(at) && LLVMGetConstOpcode(at) == LLVMGetElementPtr))
    at = LLVMGetOperand(at, 0);
  return LLVMIsAAllocaInst(at) || (LLVMIsAGlobalVariable(at) && LLVMIsGlobalConstant(at));
}

static bool call_access(V call, Access *a) {
  V callee = LLVMGetCalledValue(call);
  size_t n;
  const char *name = LLVMIsAFunction(callee) ? LLVMGetValueName2(callee, &n) : "";
  static const struct { const char *name; int at, mask, value; } known[] = {
      {"llvm.masked.load.", 0, 2, -1}, {"llvm.masked.store.", 1, 3, 0}, {"llvm.masked.gather.", 0, 2, -1}, {"llvm.masked.scatter.", 1, 3, 0}};
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
    if (strncmp(name, known[i].name, strlen(known[i].name)) != 0) continue;
    const V at = LLVMGetOperand(call, (unsigned)known[i].at);
    *a = (Access){.at = at, .mask = LLVMGetOperand(call, (unsigned)known[i].mask), .contiguous = !type_is_vector(at),
                  .written = known[i].value >= 0};
    a->type = LLVMTypeOf(a->written ? LLVMGetOperand(call, (unsigned)known[i].value) : call);
    return true;
  }
  if (!strncmp(name, "llvm.mem", 8)) {
    fprintf(stderr, "routec: internal error: the thread sanitizer is not told of %s\n", name);
    abort();
  }
  return false;
}

static bool access_of(V i, Access *a) {
  if (LLVMIsALoadInst(i)) return *a = (Access){.at = LLVMGetOperand(i, 0), .type = LLVMTypeOf(i)}, true;
  if (LLVMIsAStoreInst(i))
    return *a = (Access){.at = LLVMGetOperand(i, 1), .type = LLVMTypeOf(LLVMGetOperand(i, 0)), .written = true}, true;
  return LLVMIsACallInst(i) && call_access(i, a);
}

static void watch_lanes(Watch *w, const Access *a, V room) {
  Emit *e = w->e;
  const unsigned n = LLVMGetVectorSize(a->type);
  LLVMTypeRef element = LLVMGetElementType(a->type);
  V at = a->at, lane[64];
  if (a->contiguous) {
    for (unsigned i = 0; i < n; i++) lane[i] = em_i64(e, i);
    V steps = LLVMConstVector(lane, n);
    at = LLVMBuildGEP2(e->b, element, a->at, &steps, 1, "lanes");
  }
  LLVMSetAlignment(LLVMBuildStore(e->b, at, room), 8);
  V bits = LLVMBuildZExt(e->b, LLVMBuildBitCast(e->b, a->mask, LLVMIntTypeInContext(e->ctx, n), ""), e->i64, "mask");
  V args[4] = {room, bits, em_i64(e, (int64_t)LLVMStoreSizeOfType(w->layout, element)), em_i64(e, n)};
  LLVMBuildCall2(e->b, w->lanes_type, w->lanes[a->written], args, 4, "");
}

static void watch_instruction(Watch *w, V i, V *room) {
  Emit *e = w->e;
  Access a;
  if (!access_of(i, &a) || is_private(a.at)) return;
  if (a.mask && !*room) { /* once a function: allocas in loops would grow the stack */
    LLVMPositionBuilderBefore(e->b, LLVMGetFirstInstruction(LLVMGetEntryBasicBlock(e->fn)));
    *room = LLVMBuildAlloca(e->b, LLVMArrayType(e->ptr, 64), "lanes");
  }
  LLVMPositionBuilderBefore(e->b, i);
  if (a.mask) watch_lanes(w, &a, *room);
  else
    LLVMBuildCall2(e->b, w->range_type, w->range[a.written],
                   (V[]){a.at, em_i64(e, (int64_t)LLVMStoreSizeOfType(w->layout, a.type))}, 2, "");
}

void watch_module(Backend *be) {
  Emit *e = &be->e;
  Watch w = {.e = e, .layout = LLVMGetModuleDataLayout(e->mod)};
  LLVMTypeRef p[4] = {e->ptr, e->i64, e->i64, e->i64}, nothing = LLVMVoidTypeInContext(e->ctx);
  w.range_type = LLVMFunctionType(nothing, p, 2, 0), w.lanes_type = LLVMFunctionType(nothing, p, 4, 0);
  V last = LLVMGetLastFunction(e->mod); /* what is added from here on is not watched itself */
  w.range[0] = declare_range(&w, "__tsan_read_range"), w.range[1] = declare_range(&w, "__tsan_write_range");
  w.lanes[0] = emit_lanes(&w, "lanes_read", w.range[0]), w.lanes[1] = emit_lanes(&w, "lanes_written", w.range[1]);
  for (V fn = LLVMGetFirstFunction(e->mod); fn; fn = fn == last ? NULL : LLVMGetNextFunction(fn)) {
    V room = NULL;
    e->fn = fn;
    for (LLVMBasicBlockRef b = LLVMGetFirstBasicBlock(fn); b; b = LLVMGetNextBasicBlock(b))
      for (V i = LLVMGetFirstInstruction(b), next; i; i = next) {
        next = LLVMGetNextInstruction(i);
        watch_instruction(&w, i, &room);
      }
  }
}
