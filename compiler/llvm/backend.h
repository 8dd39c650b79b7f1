/* SPDX-License-Identifier: Apache-2.0
 * backend.h -- the narrow door to LLVM: a plan goes in, object bytes come out (loader.h
 * turns them into entry points). Only files in this folder include llvm-c. */
#ifndef ROUTEC_BACKEND_H
#define ROUTEC_BACKEND_H
#include "loader.h"
#include "plan.h"

typedef enum Sanitizer { SANITIZE_NONE, SANITIZE_ADDRESS, SANITIZE_THREAD } Sanitizer;
typedef struct BackendOptions {
  const char *dump_ir_before, *dump_ir_after, *dump_asm; /* paths, or NULL */
  Sanitizer sanitize; /* that emitted code reports its accesses to */
  bool profile;       /* JobFrame.mark around every plan step */
  int32_t opt_level;
  uint32_t threads; /* at most so many make objects at once; 0: one */
} BackendOptions;

typedef struct BackendTimes { double init, build, optimize, codegen; uint32_t kernels, kernel_uses, units; } BackendTimes; /* seconds, of the slowest unit */

/* Detects the host (`cpu` NULL) or takes a name of the small table printed by `routec doctor`
 * ("native", "x86-64-v2", "x86-64-v3", "x86-64-v4"). false: unknown name. */
bool backend_target(const char *cpu, TargetInfo *out);

/* Emits the functions of the plan, into several objects where that is quicker. How they are divided changes no function's code.
 * Internal errors abort; *why is set (and false returned) for what the machine cannot do. */
bool backend_compile(Arena *a, const Plan *p, const BackendOptions *o, ObjectCode *out, BackendTimes *t, const char **why);

/* Products by themselves, to be timed. A function looks like a JobEntry: A lies at store, B b_at floats behind it, C at work, and what
 * the epilogue stores, unless plain, out_at floats behind that; every row set has total_steps rows; it is done n_steps times, and
 * threads meet at `barrier` after each. */
typedef struct BackendProduct { const char *symbol; GemmGeom geom; GemmTile tile; bool plain; int64_t b_at, out_at; } BackendProduct;
bool backend_products(Arena *a, const TargetInfo *target, const BackendProduct *p, uint32_t n, ObjectCode *out, const char **why);

/* The objects hold how large each function's work slab must be, scratch included: `<symbol>_work` (int64_t). */
const char *backend_version(void); /* "LLVM 19.1.7" */
#endif
