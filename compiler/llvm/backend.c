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
static void work_symbol(Backend *be, const PlanFn *f) {
  char name[128];
  snprintf(name, sizeof name, "%s_work", f->symbol);
  LLVMValueRef g = LLVMAddGlobal(be->e.mod, be->e.i64, name);
  LLVMSetInitializer(g, em_i64(&be->e, plan_work_bytes(f)));
  LLVMSetGlobalConstant(g, 1);
}

static void build(Backend *be) {
  const Plan *p = be->plan;
  if (p->train.graph) function_emit(be, &p->train), work_symbol(be, &p->train);
  for (uint32_t i = 0; i < p->program->n_evals; i++)
    function_emit(be, &p->evals[i]), work_symbol(be, &p->evals[i]);
  for (uint32_t i = 0; i < p->program->n_derived; i++)
    function_emit(be, &p->derived[i]), work_symbol(be, &p->derived[i]);
  if (p->gradient.graph) function_emit(be, &p->gradient), work_symbol(be, &p->gradient);
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

bool backend_compile(Arena *a, const Plan *p, const BackendOptions *o, ObjectCode *out, BackendTimes *t,
                     const char **why) {
  *t = (BackendTimes){0};
  double start = now();
  LLVMTargetMachineRef tm = target_machine(&p->target, o->opt_level, why);
  if (!tm) return false;
  Backend be = {.plan = p, .options = o, .times = t};
  Emit *e = &be.e;
  e->arena = a, e->target = &p->target;
  e->ctx = LLVMContextCreate();
  e->mod = LLVMModuleCreateWithNameInContext("routec", e->ctx);
  e->b = LLVMCreateBuilderInContext(e->ctx);
  types_init(e);
  t->init = now() - start;
  bool ok = phases(&be, tm, out, why);
  LLVMDisposeBuilder(e->b);
  LLVMDisposeModule(e->mod);
  LLVMContextDispose(e->ctx);
  LLVMDisposeTargetMachine(tm);
  return ok;
}
