/* SPDX-License-Identifier: Apache-2.0
 * jit.c -- loads object bytes with ORC LLJIT: the same bytes that `routec build` links. */
#include "kernel.h"
#include <llvm-c/LLJIT.h>
#include <llvm-c/Orc.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct Jit {
  LLVMOrcLLJITRef lljit;
};

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The text is LLVM's and is not given back: it outlives us in the caller's message. */
static bool failed(LLVMErrorRef error, const char **why) {
  if (!error) return false;
  *why = LLVMGetErrorMessage(error);
  return true;
}

static bool create(Jit *j, const ObjectCode *o, const char **why) {
  target_init();
  if (failed(LLVMOrcCreateLLJIT(&j->lljit, NULL), why)) return false;
  LLVMOrcJITDylibRef lib = LLVMOrcLLJITGetMainJITDylib(j->lljit);
  LLVMOrcDefinitionGeneratorRef process; /* libm, memset */
  char prefix = LLVMOrcLLJITGetGlobalPrefix(j->lljit);
  if (failed(LLVMOrcCreateDynamicLibrarySearchGeneratorForProcess(&process, prefix, NULL, NULL), why))
    return false;
  LLVMOrcJITDylibAddGenerator(lib, process);
  LLVMMemoryBufferRef b =
      LLVMCreateMemoryBufferWithMemoryRangeCopy((const char *)o->bytes, o->size, "routec.o");
  return !failed(LLVMOrcLLJITAddObjectFile(j->lljit, lib, b), why);
}

/* A function that the job does not have has no symbol. */
static bool look_up(Jit *j, JobFunction *f, const char **why) {
  char name[128];
  if (!f->symbol) return true;
  LLVMOrcExecutorAddress at, work;
  if (failed(LLVMOrcLLJITLookup(j->lljit, &at, f->symbol), why)) return false;
  snprintf(name, sizeof name, "%s_work", f->symbol);
  if (failed(LLVMOrcLLJITLookup(j->lljit, &work, name), why)) return false;
  union {
    LLVMOrcExecutorAddress address;
    JobEntry entry;
  } u = {.address = at};
  f->entry = u.entry;
  f->work_bytes = *(const int64_t *)(uintptr_t)work;
  return true;
}

Jit *backend_load(const ObjectCode *o, Job *job, BackendTimes *t, const char **why) {
  double start = now();
  Jit *j = calloc(1, sizeof *j);
  if (!j) {
    *why = "out of memory";
    return NULL;
  }
  bool ok = create(j, o, why) && look_up(j, &job->train.fn, why);
  for (uint32_t i = 0; ok && i < job->n_evals; i++) ok = look_up(j, &job->evals[i].fn, why);
  for (uint32_t i = 0; ok && i < job->n_derived; i++) ok = look_up(j, &job->derived[i].fn, why);
  ok = ok && look_up(j, &job->gradient.fn, why);
  t->link = now() - start;
  if (ok) return j;
  backend_unload(j);
  return NULL;
}

void backend_unload(Jit *j) {
  if (!j) return;
  if (j->lljit) LLVMConsumeError(LLVMOrcDisposeLLJIT(j->lljit));
  free(j);
}
