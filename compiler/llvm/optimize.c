/* SPDX-License-Identifier: Apache-2.0
 * optimize.c -- the pass pipeline. The emitter places code and vectorises by itself, so that little is left:
 * registers out of allocas, common subexpressions, addresses, loop rotation. No pass here reorders float
 * arithmetic. */
#include "kernel.h"
#include <llvm-c/Analysis.h>
#include <llvm-c/Transforms/PassBuilder.h>
#include <stdio.h>
#include <stdlib.h>

static void verify(LLVMModuleRef mod) {
  char *text = NULL;
  if (LLVMVerifyModule(mod, LLVMReturnStatusAction, &text)) {
    fprintf(stderr, "routec: internal error: emitted code does not verify: %s\n", text);
    abort();
  }
  LLVMDisposeMessage(text);
}

static bool dump(LLVMModuleRef mod, const char *path, Arena *a, const char **why) {
  char *text = NULL;
  if (!path || !LLVMPrintModuleToFile(mod, path, &text)) return true;
  *why = arena_printf(a, "%s: %s", path, text);
  LLVMDisposeMessage(text);
  return false;
}

static bool run(Backend *be, LLVMTargetMachineRef tm, const char *passes, const char **why) {
  LLVMPassBuilderOptionsRef options = LLVMCreatePassBuilderOptions();
  LLVMErrorRef error = LLVMRunPasses(be->e.mod, passes, tm, options);
  LLVMDisposePassBuilderOptions(options);
  if (!error) return true;
  char *text = LLVMGetErrorMessage(error);
  *why = arena_printf(be->e.arena, "%s: %s", passes, text);
  LLVMDisposeErrorMessage(text);
  return false;
}

bool optimize_module(Backend *be, LLVMTargetMachineRef tm, const char **why) {
  const BackendOptions *o = be->options;
  if (!dump(be->e.mod, o->dump_ir_before, be->e.arena, why)) return false;
  if (be->n_units > 1 && !run(be, tm, "elim-avail-extern,globaldce", why)) return false; /* what unit.c gave away */
  verify(be->e.mod);
  const char *passes = o->opt_level == 0 ? "function(sroa)"
                                         : "function(sroa,early-cse,instcombine<no-verify-fixpoint;max-"
                                           "iterations=1>,simplifycfg,loop-mssa(licm))";
  if (!run(be, tm, passes, why)) return false;
  if (o->sanitize == SANITIZE_ADDRESS && !run(be, tm, "asan", why)) return false;
  if (o->sanitize == SANITIZE_THREAD) watch_module(be), verify(be->e.mod);
  return dump(be->e.mod, o->dump_ir_after, be->e.arena, why);
}
