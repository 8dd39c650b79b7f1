/* SPDX-License-Identifier: Apache-2.0
 * unit.c -- which functions a unit keeps. Threads make the objects of a plan at once, each in a context of its own. Building the
 * module is a small part of the work, so every unit builds all of it and comes to the same division, by the sizes of the
 * functions; then it keeps its own and only declares the rest. */
#include "kernel.h"
#include <stdlib.h>

typedef struct Sized { LLVMValueRef fn; uint32_t n, at, unit; } Sized;

static uint32_t instructions(LLVMValueRef fn) {
  uint32_t n = 0;
  for (LLVMBasicBlockRef b = LLVMGetFirstBasicBlock(fn); b; b = LLVMGetNextBasicBlock(b))
    for (LLVMValueRef i = LLVMGetFirstInstruction(b); i; i = LLVMGetNextInstruction(i)) n++;
  return n;
}

static int larger_first(const void *a, const void *b) {
  const Sized *x = a, *y = b;
  return x->n != y->n ? (x->n < y->n ? 1 : -1) : (x->at > y->at) - (x->at < y->at);
}

/* Each to the unit that has least, the largest first. */
static void divide(Sized *all, uint32_t n, uint32_t n_units) {
  uint64_t load[OBJECT_PARTS] = {0};
  qsort(all, n, sizeof *all, larger_first);
  for (uint32_t i = 0; i < n; i++) {
    uint32_t least = 0;
    for (uint32_t u = 1; u < n_units; u++)
      if (load[u] < load[least]) least = u;
    all[i].unit = least, load[least] += all[i].n;
  }
}

void unit_keep_own(Backend *be) {
  if (be->n_units < 2) return;
  uint32_t n = 0;
  for (LLVMValueRef f = LLVMGetFirstFunction(be->e.mod); f; f = LLVMGetNextFunction(f)) n += !LLVMIsDeclaration(f);
  Sized *all = ARENA_NEWS(be->e.arena, Sized, n + 1);
  n = 0;
  for (LLVMValueRef f = LLVMGetFirstFunction(be->e.mod); f; f = LLVMGetNextFunction(f))
    if (!LLVMIsDeclaration(f)) all[n] = (Sized){f, instructions(f), n, 0}, n++;
  divide(all, n, be->n_units);
  for (uint32_t i = 0; i < n; i++) {
    LLVMValueRef f = all[i].fn;
    if (LLVMGetLinkage(f) == LLVMInternalLinkage) { /* the units see each other's, nobody else does */
      LLVMSetLinkage(f, LLVMExternalLinkage);
      LLVMSetVisibility(f, LLVMHiddenVisibility);
    }
    if (all[i].unit != be->unit) LLVMSetLinkage(f, LLVMAvailableExternallyLinkage);
  }
}
