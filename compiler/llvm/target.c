/* SPDX-License-Identifier: Apache-2.0
 * target.c -- the machine that code is emitted for. */
#include "kernel.h"
#include <llvm-c/Support.h>
#include <llvm-c/Target.h>
#include <pthread.h>
#include <string.h>

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

bool backend_target(const char *cpu, TargetInfo *out) {
  if (cpu && strcmp(cpu, "native") != 0) return target_named(cpu, out);
  char *name = LLVMGetHostCPUName(), *features = LLVMGetHostCPUFeatures();
  target_of_host(out, name, features);
  LLVMDisposeMessage(name);
  LLVMDisposeMessage(features);
  return true;
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
