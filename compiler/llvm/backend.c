/* SPDX-License-Identifier: Apache-2.0
 * backend.c -- plan to object: build, verify, optimise, generate. One LLVM context owns all that is built and
 * dies at the end; only the object bytes stay, in the caller's arena. */
#include "kernel.h"
#include <stdio.h>
#include <time.h>

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

const char *backend_version(void) {
  static char text[32];
  unsigned major, minor, patch;
  LLVMGetVersion(&major, &minor, &patch);
  snprintf(text, sizeof text, "LLVM %u.%u.%u", major, minor, patch);
  return text;
}

/* `routec_train_work`: how large the work slab must be, scratch included; read by the loader. */
void work_symbol(Backend *be, const char *name, int64_t bytes) {
  LLVMValueRef g = LLVMAddGlobal(be->e.mod, be->e.i64, name);
  LLVMSetInitializer(g, em_i64(&be->e, bytes));
  LLVMSetGlobalConstant(g, 1);
}

static void build_function(Backend *be, const PlanFn *f) {
  char name[128];
  function_emit(be, f);
  snprintf(name, sizeof name, "%s_work", f->symbol);
  work_symbol(be, name, plan_work_bytes(f));
}

static void build(Backend *be) {
  const Plan *p = be->plan;
  if (!p) {
    products_emit(be, be->products, be->n_products);
    return;
  }
  if (p->train.graph) build_function(be, &p->train);
  for (uint32_t i = 0; i < p->program->n_evals; i++) build_function(be, &p->evals[i]);
  for (uint32_t i = 0; i < p->program->n_derived; i++) build_function(be, &p->derived[i]);
  if (p->gradient.graph) build_function(be, &p->gradient);
}

static void set_target(Backend *be, LLVMTargetMachineRef tm) {
  char *triple = LLVMGetTargetMachineTriple(tm);
  LLVMTargetDataRef layout = LLVMCreateTargetDataLayout(tm);
  LLVMSetTarget(be->e.mod, triple);
  LLVMSetModuleDataLayout(be->e.mod, layout);
  LLVMDisposeTargetData(layout);
  LLVMDisposeMessage(triple);
}

static bool phases(Backend *be, LLVMTargetMachineRef tm, ObjectCode *out, const char **why) {
  BackendTimes *t = be->times;
  double start = now();
  set_target(be, tm);
  build(be);
  double built = now();
  t->build = built - start, t->kernels = be->n_slots;
  if (!optimize_module(be, tm, why)) return false;
  double optimized = now();
  t->optimize = optimized - built;
  if (!object_emit(be, tm, out, why)) return false;
  t->codegen = now() - optimized;
  return true;
}

static bool compile(Backend *be, Arena *a, const TargetInfo *t, ObjectCode *out, const char **why) {
  *be->times = (BackendTimes){0};
  double start = now();
  LLVMTargetMachineRef tm = target_machine(t, be->options->opt_level, why);
  if (!tm) return false;
  Emit *e = &be->e;
  e->arena = a, e->target = t;
  e->ctx = LLVMContextCreate();
  e->mod = LLVMModuleCreateWithNameInContext("routec", e->ctx);
  e->b = LLVMCreateBuilderInContext(e->ctx);
  types_init(e);
  be->times->init = now() - start;
  bool ok = phases(be, tm, out, why);
  LLVMDisposeBuilder(e->b);
  LLVMDisposeModule(e->mod);
  LLVMContextDispose(e->ctx);
  LLVMDisposeTargetMachine(tm);
  return ok;
}

bool backend_compile(Arena *a, const Plan *p, const BackendOptions *o, ObjectCode *out, BackendTimes *t,
                     const char **why) {
  Backend be = {.plan = p, .options = o, .times = t};
  return compile(&be, a, &p->target, out, why);
}

bool backend_products(Arena *a, const TargetInfo *target, const BackendProduct *p, uint32_t n, ObjectCode *out,
                      const char **why) {
  BackendTimes times;
  Backend be = {.options = &(BackendOptions){.opt_level = 2}, .times = &times, .products = p, .n_products = n};
  return compile(&be, a, target, out, why);
}
