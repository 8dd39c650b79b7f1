/* SPDX-License-Identifier: Apache-2.0
 * target.c -- the machine that code is emitted for. */
#include "kernel.h"
#include <llvm-c/Support.h>
#include <llvm-c/Target.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef struct NamedTarget {
  const char *name;
  int32_t vector_floats;
} NamedTarget;
static const NamedTarget named[] = {{"x86-64-v3", 8}, {"x86-64-v4", 16}};

static void init_once(void) {
  LLVMInitializeX86TargetInfo();
  LLVMInitializeX86Target();
  LLVMInitializeX86TargetMC();
  LLVMInitializeX86AsmPrinter();
  /* A quarter of the time of code generation, and no gain: addresses are emitted in the form they should
   * have. (An LLVM without the option would tell nobody and go on.) */
  const char *options[] = {"routec", "-disable-lsr"};
  LLVMParseCommandLineOptions(2, options, "");
}
void target_init(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, init_once);
}

static int64_t cache(int name, int64_t otherwise) {
  long n = sysconf(name);
  return n > 0 ? n : otherwise;
}

static bool has_feature(const char *features, const char *name) {
  const char *p = strstr(features, name);
  size_t n = strlen(name);
  return p && (p[n] == ',' || p[n] == 0);
}

static void host(TargetInfo *t) {
  char *cpu = LLVMGetHostCPUName(), *features = LLVMGetHostCPUFeatures();
  snprintf(t->cpu, sizeof t->cpu, "%s", cpu);
  snprintf(t->features, sizeof t->features, "%s", features);
  bool avx512 = has_feature(features, "+avx512f") && has_feature(features, "+avx512vl") &&
                has_feature(features, "+avx512dq");
  t->fma = has_feature(features, "+fma");
  t->vector_floats = avx512 ? 16 : has_feature(features, "+avx2") && t->fma ? 8 : 4;
  LLVMDisposeMessage(cpu);
  LLVMDisposeMessage(features);
}

bool backend_target(const char *cpu, TargetInfo *out) {
  memset(out, 0, sizeof *out);
  out->l1 = cache(_SC_LEVEL1_DCACHE_SIZE, 32 << 10);
  out->l2 = cache(_SC_LEVEL2_CACHE_SIZE, 512 << 10);
  out->l3 = cache(_SC_LEVEL3_CACHE_SIZE, 8 << 20);
  if (!cpu || !strcmp(cpu, "native")) {
    host(out);
    return true;
  }
  for (size_t i = 0; i < sizeof named / sizeof *named; i++)
    if (!strcmp(cpu, named[i].name)) {
      snprintf(out->cpu, sizeof out->cpu, "%s", cpu);
      out->vector_floats = named[i].vector_floats;
      out->fma = true;
      return true;
    }
  return false;
}

/* "Less" selects and schedules as well as "Default" in the GEMM kernels (the same instructions in the inner
 * loops, no spills) and takes two thirds of its time. */
LLVMTargetMachineRef target_machine(const TargetInfo *t, int32_t opt_level, const char **why) {
  LLVMCodeGenOptLevel level = opt_level > 2 ? LLVMCodeGenLevelDefault : LLVMCodeGenLevelLess;
  target_init();
  char *triple = LLVMGetDefaultTargetTriple(), *text = NULL;
  LLVMTargetRef target;
  LLVMTargetMachineRef tm = NULL;
  if (LLVMGetTargetFromTriple(triple, &target, &text)) *why = "this LLVM has no x86-64 target";
  else
    tm = LLVMCreateTargetMachine(target, triple, t->cpu, t->features, level, LLVMRelocPIC,
                                 LLVMCodeModelDefault);
  if (text) LLVMDisposeMessage(text);
  LLVMDisposeMessage(triple);
  return tm;
}
