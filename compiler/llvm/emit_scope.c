/* SPDX-License-Identifier: Apache-2.0
 * emit_scope.c -- where code is placed, and what was already computed there.
 * Invariant: a value of depth d was emitted in a block that dominates everything inside scope d from there
 * on. */
#include "kernel.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Noreturn void kernel_die(const Kernel *k, ValueId v, const char *what) {
  const Value *x = v && k->g ? &k->g->v[v] : NULL;
  fprintf(stderr, "routec: internal error: emitting %s: %s: %%%u %s%s%s\n", k->pf ? k->pf->symbol : "?", what,
          v, x ? op_name(x->op) : "", x && x->name ? " " : "", x && x->name ? x->name : "");
  abort();
}

static void go_to(Kernel *k, int depth) {
  if (depth == k->depth) LLVMPositionBuilderAtEnd(k->e->b, k->tip);
  else LLVMPositionBuilderBefore(k->e->b, k->term[depth]);
  k->at = depth;
}

int scope_enter(Kernel *k, int depth) {
  int old = k->at;
  if (depth == old) return old;
  if (old == k->depth) k->tip = LLVMGetInsertBlock(k->e->b);
  go_to(k, depth);
  return old;
}

void scope_leave(Kernel *k, int old) {
  if (k->at == old) return;
  if (k->at == k->depth) k->tip = LLVMGetInsertBlock(k->e->b);
  go_to(k, old);
}

/* `before` has just got its terminator; the builder stands in the new scope's first block. */
static void push(Kernel *k, LLVMBasicBlockRef before) {
  if (k->depth + 1 >= KERNEL_SCOPES) kernel_die(k, 0, "too many nested loops");
  k->term[k->depth] = LLVMGetBasicBlockTerminator(before);
  k->depth++;
  k->at = k->depth;
  k->serial[k->depth] = ++k->next_serial;
  k->mine[k->depth] = false;
}

static void pop(Kernel *k) {
  k->depth--;
  k->at = k->depth;
}

EmLoop scope_loop(Kernel *k, const char *name, LLVMValueRef from, LLVMValueRef to, int64_t step) {
  LLVMBasicBlockRef before = LLVMGetInsertBlock(k->e->b);
  EmLoop l = em_loop_begin(k->e, name, from, to, step);
  push(k, before);
  return l;
}

void scope_loop_end(Kernel *k, EmLoop *l) {
  em_loop_end(k->e, l);
  pop(k);
}

LLVMBasicBlockRef scope_if(Kernel *k, const char *name, LLVMValueRef cond) {
  char text[64];
  LLVMBasicBlockRef before = LLVMGetInsertBlock(k->e->b);
  snprintf(text, sizeof text, "%s.then", name);
  LLVMBasicBlockRef then = LLVMAppendBasicBlockInContext(k->e->ctx, k->e->fn, text);
  snprintf(text, sizeof text, "%s.after", name);
  LLVMBasicBlockRef after = LLVMAppendBasicBlockInContext(k->e->ctx, k->e->fn, text);
  LLVMBuildCondBr(k->e->b, cond, then, after);
  LLVMPositionBuilderAtEnd(k->e->b, then);
  push(k, before);
  return after;
}

void scope_if_end(Kernel *k, LLVMBasicBlockRef after) {
  LLVMBuildBr(k->e->b, after);
  LLVMPositionBuilderAtEnd(k->e->b, after);
  pop(k);
}

void scope_of_some_threads(Kernel *k) { k->mine[k->depth] = true; }

int scope_of_reads(const Kernel *k) {
  int depth = k->depth;
  while (depth && !k->mine[depth]) depth--;
  return depth;
}

void scope_open(Kernel *k, const char *name) {
  LLVMBasicBlockRef before = LLVMGetInsertBlock(k->e->b);
  LLVMBasicBlockRef next = LLVMAppendBasicBlockInContext(k->e->ctx, k->e->fn, name);
  LLVMBuildBr(k->e->b, next);
  LLVMPositionBuilderAtEnd(k->e->b, next);
  push(k, before);
}

void scope_close(Kernel *k) { pop(k); }

/* In the entry block, so that sroa makes a register of it. */
LLVMValueRef scope_alloca(Kernel *k, LLVMTypeRef type, const char *name) {
  LLVMBasicBlockRef here = LLVMGetInsertBlock(k->e->b);
  LLVMValueRef first = LLVMGetFirstInstruction(k->entry);
  if (first) LLVMPositionBuilderBefore(k->e->b, first);
  else LLVMPositionBuilderAtEnd(k->e->b, k->entry);
  LLVMValueRef slot = LLVMBuildAlloca(k->e->b, type, name);
  if (k->at == k->depth) LLVMPositionBuilderAtEnd(k->e->b, here);
  else LLVMPositionBuilderBefore(k->e->b, k->term[k->at]);
  return slot;
}

/* ---- memo ------------------------------------------------------------------------------------------------
 */

static bool same_point(const Idx *a, const Idx *b, int rank) {
  for (int i = 0; i < rank; i++)
    if (!idx_same(a[i], b[i])) return false;
  return true;
}

bool memo_find(Kernel *k, ValueId v, const Idx *c, int rank, Guard g, Val *out) {
  for (int32_t i = k->memo_head[v]; i >= 0; i = k->memo[i].next) {
    const MemoEntry *m = &k->memo[i];
    bool alive = m->result.depth <= k->depth && m->serial == k->serial[m->result.depth];
    if (!alive || m->guard.v != g.v || !same_point(m->c, c, rank)) continue;
    *out = m->result;
    return true;
  }
  return false;
}

void memo_add(Kernel *k, ValueId v, const Idx *c, int rank, Guard g, Val result) {
  if (k->n_memo == k->cap_memo) {
    int32_t cap = k->cap_memo ? 2 * k->cap_memo : 256;
    MemoEntry *grown = ARENA_NEWS(k->e->arena, MemoEntry, cap);
    if (k->n_memo) memcpy(grown, k->memo, (size_t)k->n_memo * sizeof *grown);
    k->memo = grown, k->cap_memo = cap;
  }
  MemoEntry *m = &k->memo[k->n_memo];
  m->v = v, m->rank = rank, m->guard = g, m->result = result, m->serial = k->serial[result.depth];
  if (rank) memcpy(m->c, c, (size_t)rank * sizeof *c);
  m->next = k->memo_head[v];
  k->memo_head[v] = k->n_memo++;
}

void memo_forget(Kernel *k) { k->serial[k->depth] = ++k->next_serial; }

void emit_barrier(Kernel *k) {
  Emit *e = k->e;
  LLVMValueRef f = frame_field(e, k->frame, offsetof(JobFrame, barrier), e->ptr, "barrier");
  LLVMTypeRef params[2] = {e->ptr, e->i64};
  LLVMTypeRef type = LLVMFunctionType(LLVMVoidTypeInContext(e->ctx), params, 2, 0);
  LLVMBuildCall2(e->b, type, f, (LLVMValueRef[]){k->frame, k->tid}, 2, "");
}
