/* SPDX-License-Identifier: Apache-2.0
 * llvm_jig.h -- what the tests of single emission rooms need: a module for one target, the few passes that
 * the back end runs too, and the loaded code. Header only, shared by tests and bench/gemm.c. */
#ifndef LLVM_JIG_H
#define LLVM_JIG_H
#include "emit.h"
#include <llvm-c/Analysis.h>
#include <llvm-c/LLJIT.h>
#include <llvm-c/Orc.h>
#include <llvm-c/Target.h>
#include <llvm-c/Transforms/PassBuilder.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef struct Jig {
  Emit e;
  TargetInfo target;
  LLVMTargetMachineRef machine;
  LLVMOrcLLJITRef jit;
  double seconds; /* of optimisation and code generation */
  size_t object_bytes;
} Jig;

static inline double jig_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static inline void jig_die(const char *what, const char *why) {
  fprintf(stderr, "jig: %s: %s\n", what, why ? why : "");
  abort();
}

static inline void jig_check(LLVMErrorRef err, const char *what) {
  if (err) jig_die(what, LLVMGetErrorMessage(err));
}

/* "native", or a name LLVM knows, such as "x86-64-v3". */
static inline void jig_target(TargetInfo *t, const char *cpu) {
  bool native = !strcmp(cpu, "native");
  char *name = native ? LLVMGetHostCPUName() : NULL, *features = native ? LLVMGetHostCPUFeatures() : NULL;
  memset(t, 0, sizeof *t);
  snprintf(t->cpu, sizeof t->cpu, "%s", native ? name : cpu);
  snprintf(t->features, sizeof t->features, "%s", native ? features : "");
  bool avx512 = native ? strstr(features, "+avx512f") != NULL : !strcmp(cpu, "x86-64-v4");
  bool fma = native ? strstr(features, "+fma") != NULL : avx512 || !strcmp(cpu, "x86-64-v3");
  t->vector_floats = avx512 ? 16 : fma ? 8 : 4;
  t->fma = fma;
  t->l1 = sysconf(_SC_LEVEL1_DCACHE_SIZE), t->l2 = sysconf(_SC_LEVEL2_CACHE_SIZE);
  LLVMDisposeMessage(name);
  LLVMDisposeMessage(features);
}

static inline void jig_open(Jig *j, const TargetInfo *t) {
  char *why = NULL;
  memset(j, 0, sizeof *j);
  LLVMInitializeX86TargetInfo();
  LLVMInitializeX86Target();
  LLVMInitializeX86TargetMC();
  LLVMInitializeX86AsmPrinter();
  j->target = *t;
  Emit *e = &j->e;
  e->arena = arena_create();
  e->target = &j->target;
  e->ctx = LLVMContextCreate();
  e->mod = LLVMModuleCreateWithNameInContext("jig", e->ctx);
  e->b = LLVMCreateBuilderInContext(e->ctx);
  e->i1 = LLVMInt1TypeInContext(e->ctx), e->i8 = LLVMInt8TypeInContext(e->ctx),
  e->i32 = LLVMInt32TypeInContext(e->ctx);
  e->i64 = LLVMInt64TypeInContext(e->ctx), e->f32 = LLVMFloatTypeInContext(e->ctx),
  e->f64 = LLVMDoubleTypeInContext(e->ctx);
  e->ptr = LLVMPointerTypeInContext(e->ctx, 0);
  e->v16f32 = LLVMVectorType(e->f32, 16), e->v16i32 = LLVMVectorType(e->i32, 16),
  e->v16i1 = LLVMVectorType(e->i1, 16);
  e->v16i64 = LLVMVectorType(e->i64, 16), e->v16f64 = LLVMVectorType(e->f64, 16);
  char *triple = LLVMGetDefaultTargetTriple();
  LLVMTargetRef target;
  if (LLVMGetTargetFromTriple(triple, &target, &why)) jig_die("target", why);
  j->machine = LLVMCreateTargetMachine(target, triple, t->cpu, t->features, LLVMCodeGenLevelDefault,
                                       LLVMRelocPIC, LLVMCodeModelDefault);
  LLVMSetTarget(e->mod, triple);
  LLVMTargetDataRef layout = LLVMCreateTargetDataLayout(j->machine);
  LLVMSetModuleDataLayout(e->mod, layout);
  LLVMDisposeTargetData(layout);
  LLVMDisposeMessage(triple);
}

/* A void function of n_ptrs pointers, then n_ints i64; the builder stands at its start. */
static inline LLVMValueRef jig_function(Jig *j, const char *name, unsigned n_ptrs, unsigned n_ints) {
  LLVMTypeRef args[16];
  Emit *e = &j->e;
  for (unsigned i = 0; i < n_ptrs + n_ints; i++) args[i] = i < n_ptrs ? e->ptr : e->i64;
  e->fn = LLVMAddFunction(e->mod, name,
                          LLVMFunctionType(LLVMVoidTypeInContext(e->ctx), args, n_ptrs + n_ints, 0));
  LLVMPositionBuilderAtEnd(e->b, LLVMAppendBasicBlockInContext(e->ctx, e->fn, "entry"));
  return e->fn;
}

/* Ends the last function, verifies, optimises and loads the module. */
static inline void jig_load(Jig *j, const char *passes) {
  char *why = NULL;
  Emit *e = &j->e;
  if (getenv("JIG_DUMP_IR")) LLVMDumpModule(e->mod);
  if (LLVMVerifyModule(e->mod, LLVMReturnStatusAction, &why)) jig_die("verify", why);
  LLVMDisposeMessage(why);
  double start = jig_now();
  LLVMPassBuilderOptionsRef o = LLVMCreatePassBuilderOptions();
  jig_check(LLVMRunPasses(e->mod,
                          passes ? passes : "function(instcombine<no-verify-fixpoint>,early-cse,simplifycfg)",
                          j->machine, o),
            "passes");
  LLVMDisposePassBuilderOptions(o);
  LLVMMemoryBufferRef object;
  if (LLVMTargetMachineEmitToMemoryBuffer(j->machine, e->mod, LLVMObjectFile, &why, &object))
    jig_die("emit", why);
  j->seconds = jig_now() - start;
  j->object_bytes = LLVMGetBufferSize(object);
  if (getenv("JIG_DUMP_OBJECT")) {
    FILE *f = fopen(getenv("JIG_DUMP_OBJECT"), "wb");
    if (!f || fwrite(LLVMGetBufferStart(object), 1, j->object_bytes, f) != j->object_bytes)
      jig_die("dump", "write failed");
    fclose(f);
  }
  jig_check(LLVMOrcCreateLLJIT(&j->jit, NULL), "jit");
  LLVMOrcDefinitionGeneratorRef process;
  jig_check(LLVMOrcCreateDynamicLibrarySearchGeneratorForProcess(
                &process, LLVMOrcLLJITGetGlobalPrefix(j->jit), NULL, NULL),
            "symbols");
  LLVMOrcJITDylibAddGenerator(LLVMOrcLLJITGetMainJITDylib(j->jit),
                              process); /* memset, fmaf on targets without fma */
  jig_check(LLVMOrcLLJITAddObjectFile(j->jit, LLVMOrcLLJITGetMainJITDylib(j->jit), object), "add");
}

static inline void *jig_symbol(Jig *j, const char *name) {
  LLVMOrcExecutorAddress at = 0;
  jig_check(LLVMOrcLLJITLookup(j->jit, &at, name), name);
  return (void *)(uintptr_t)at;
}

static inline void jig_close(Jig *j) {
  if (j->jit) jig_check(LLVMOrcDisposeLLJIT(j->jit), "close");
  LLVMDisposeBuilder(j->e.b);
  LLVMDisposeModule(j->e.mod);
  LLVMContextDispose(j->e.ctx);
  LLVMDisposeTargetMachine(j->machine);
  arena_destroy(j->e.arena);
}
#endif
