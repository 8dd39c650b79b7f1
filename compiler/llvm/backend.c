/* SPDX-License-Identifier: Apache-2.0
 * backend.c -- plan to objects: build, divide, verify, optimise, generate. Each unit has a thread, an arena and an LLVM context
 * that owns all that is built; they die at the end, only the object bytes stay, in the caller's arena. */
#include "kernel.h"
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define STEPS_A_UNIT 16

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

/* `routec_train_work`: how large the work slab must be, scratch included; read by the loader. In the first unit's object. */
void work_symbol(Backend *be, const char *name, int64_t bytes) {
  if (be->unit != 0) return;
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

static bool phases(Backend *be, LLVMTargetMachineRef tm, ObjectPart *out, const char **why) {
  BackendTimes *t = be->times;
  double start = now();
  set_target(be, tm);
  build(be);
  unit_keep_own(be);
  double built = now();
  t->build = built - start, t->kernels = be->n_slots;
  if (!optimize_module(be, tm, why)) return false;
  double optimized = now();
  t->optimize = optimized - built;
  if (!object_emit(be, tm, out, why)) return false;
  t->codegen = now() - optimized;
  return true;
}

typedef struct CodeUnit {
  Backend be;
  const TargetInfo *target;
  BackendTimes times;
  Arena *arena;
  pthread_t thread;
  ObjectPart out;
  const char *why;
  bool ok;
} CodeUnit;

static bool for_readers(const BackendOptions *o) { return o->dump_ir_before || o->dump_ir_after || o->dump_asm; }

static void *unit_main(void *arg) {
  CodeUnit *u = arg;
  Backend *be = &u->be;
  Emit *e = &be->e;
  double start = now();
  LLVMTargetMachineRef tm = target_machine(u->target, be->options->opt_level, &u->why);
  if (!tm) return NULL;
  be->times = &u->times;
  e->arena = u->arena, e->target = u->target;
  e->ctx = LLVMContextCreate();
  LLVMContextSetDiscardValueNames(e->ctx, !for_readers(be->options)); /* a tenth of the time of building */
  e->mod = LLVMModuleCreateWithNameInContext("routec", e->ctx);
  e->b = LLVMCreateBuilderInContext(e->ctx);
  types_init(e);
  u->times.init = now() - start;
  u->ok = phases(be, tm, &u->out, &u->why);
  LLVMDisposeBuilder(e->b);
  LLVMDisposeModule(e->mod);
  LLVMContextDispose(e->ctx);
  LLVMDisposeTargetMachine(tm);
  return NULL;
}

/* Who looks at the code wants it whole. Below some steps a thread costs more than it takes over. */
static uint32_t count_units(const Plan *p, const BackendOptions *o) {
  uint32_t steps = p->train.n_steps + p->gradient.n_steps, n = o->threads;
  for (uint32_t i = 0; i < p->program->n_evals; i++) steps += p->evals[i].n_steps;
  for (uint32_t i = 0; i < p->program->n_derived; i++) steps += p->derived[i].n_steps;
  if (n > 1 + steps / STEPS_A_UNIT) n = 1 + steps / STEPS_A_UNIT;
  if (o->sanitize || for_readers(o)) n = 1;
  return n < 1 ? 1 : n > OBJECT_PARTS ? OBJECT_PARTS : n;
}

/* Threads that start with the signals of this one blocked: those are for the host. Unit 0 is this thread's; one that gets no
 * thread is, too. */
static void units_run(CodeUnit *units, uint32_t n) {
  bool started[OBJECT_PARTS] = {false};
  static const int faults[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
  sigset_t all, old;
  sigfillset(&all);
  for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) sigdelset(&all, faults[i]);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  for (uint32_t i = 1; i < n; i++) started[i] = pthread_create(&units[i].thread, NULL, unit_main, &units[i]) == 0;
  pthread_sigmask(SIG_SETMASK, &old, NULL);
  for (uint32_t i = 0; i < n; i++)
    if (!started[i]) unit_main(&units[i]);
  for (uint32_t i = 1; i < n; i++)
    if (started[i]) pthread_join(units[i].thread, NULL);
}

static void add_times(BackendTimes *t, const BackendTimes *u) {
  const double all = t->init + t->build + t->optimize + t->codegen, own = u->init + u->build + u->optimize + u->codegen;
  const uint32_t units = t->units + 1;
  if (own > all) *t = *u;
  t->units = units;
}

static bool compile(Arena *a, const Backend *be, const TargetInfo *target, uint32_t n, ObjectCode *out, BackendTimes *t,
                    const char **why) {
  CodeUnit units[OBJECT_PARTS];
  bool ok = true;
  *t = (BackendTimes){0}, *out = (ObjectCode){.n = n};
  target_init();
  for (uint32_t i = 0; i < n; i++) {
    units[i] = (CodeUnit){.be = *be, .target = target, .arena = n > 1 ? arena_create() : a};
    units[i].be.unit = i, units[i].be.n_units = n;
  }
  units_run(units, n);
  for (uint32_t i = 0; i < n; i++) {
    CodeUnit *u = &units[i];
    add_times(t, &u->times);
    if (u->ok) {
      out->part[i] = (ObjectPart){n > 1 ? arena_alloc(a, u->out.size) : u->out.bytes, u->out.size};
      if (n > 1) memcpy(out->part[i].bytes, u->out.bytes, u->out.size);
    } else if (ok) {
      ok = false, *why = arena_strdup(a, u->why);
    }
    if (n > 1) arena_destroy(u->arena);
  }
  return ok;
}

bool backend_compile(Arena *a, const Plan *p, const BackendOptions *o, ObjectCode *out, BackendTimes *t,
                     const char **why) {
  return compile(a, &(Backend){.plan = p, .options = o}, &p->target, count_units(p, o), out, t, why);
}

bool backend_products(Arena *a, const TargetInfo *target, const BackendProduct *p, uint32_t n, ObjectCode *out,
                      const char **why) {
  BackendTimes times;
  const BackendOptions o = {.opt_level = 2};
  return compile(a, &(Backend){.options = &o, .products = p, .n_products = n}, target, 1, out, &times, why);
}
