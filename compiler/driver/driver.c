/* SPDX-License-Identifier: Apache-2.0
 * driver.c -- the compiler as one column of stages, read top to bottom: each prints itself on request, is checked,
 * and is the last one on request. */
#include "driver.h"
#include "driver_cache.h"
#include "driver_prove.h"
#include <jansson.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *const stage_names[N_STAGES] = {
#define S(id, name, dump, doc) name,
    DRIVER_STAGES(S)
#undef S
};

double driver_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

const char *driver_own_folder(Arena *a) {
  char exe[PATH_MAX];
  const ssize_t len = readlink("/proc/self/exe", exe, sizeof exe - 1);
  if (len <= 0) return NULL;
  exe[len] = 0;
  char *slash = strrchr(exe, '/');
  if (slash) *slash = 0;
  return arena_strdup(a, exe);
}

/* Where plugins are looked for, behind the folder of the file that declares them. */
const char *const *driver_plugin_folders(Arena *a, const char *option) {
  const char *environment = getenv("ROUTEC_PLUGIN_PATH"), *own = driver_own_folder(a);
  const char *lists[] = {option, environment, own ? arena_printf(a, "%s/../" ROUTEC_LIBDIR "/routec/plugins", own) : NULL,
                         own && strcmp(ROUTEC_LIBDIR, "lib") != 0 ? arena_printf(a, "%s/../lib/routec/plugins", own) : NULL};
  size_t n = 0, room = 2;
  for (size_t i = 0; i < 4; i++) room += lists[i] ? strlen(lists[i]) + 1 : 0;
  const char **folders = ARENA_NEWS(a, const char *, room);
  for (size_t i = 0; i < 4; i++) {
    for (const char *s = lists[i]; s && *s; s += strspn(s, ":")) {
      const size_t len = strcspn(s, ":");
      if (len) folders[n++] = arena_strndup(a, s, len);
      s += len;
    }
  }
  return folders;
}

void driver_open(Compilation *c, const Options *o) {
  memset(c, 0, sizeof *c);
  c->o = o;
  c->arena = arena_create();
  c->sources = sources_create(c->arena);
  c->sources->plugin_folders = driver_plugin_folders(c->arena, o->plugin_path);
  c->diags = diags_create(c->arena, c->sources);
  c->clock = driver_now();
}

void driver_close(Compilation *c) {
  rt_prefetch_end(); /* it reads what the job says */
  loader_close(c->code);
  arena_destroy(c->arena);
  memset(c, 0, sizeof *c);
}

/* The diagnostics as one JSON array, compact, in the arena. */
static char *diags_json(const Compilation *c) {
  char *text = NULL, *copy;
  size_t n = 0;
  FILE *f = open_memstream(&text, &n);
  if (!f) return NULL;
  diags_print_json(c->diags, f);
  fclose(f);
  json_t *array = json_loads(text, 0, NULL);
  char *compact = array ? json_dumps(array, JSON_COMPACT) : NULL;
  copy = compact ? arena_strdup(c->arena, compact) : NULL;
  free(compact), free(text);
  json_decref(array);
  return copy;
}

void driver_print_diags(Compilation *c) {
  const bool line = c->o->json_diags == JSON_DIAGS_LINE;
  if (!c->o->rt.json) {
    if (c->diags->n) diags_print_text(c->diags, stderr, c->o->rt.color);
  } else if (c->diags->n_errors || c->o->json_diags == JSON_DIAGS_ARRAY) {
    diags_print_json(c->diags, stdout);
  } else if (!line) {
    c->json_text = diags_json(c);
  } else if (c->diags->n) {
    printf("{\"diagnostics\":%s}\n", diags_json(c));
  }
  fflush(stdout);
  c->diags = diags_create(c->arena, c->sources); /* printed: a later call must not repeat them */
}

/* Our own error: a pass left something behind that its contract rules out. */
static void check_sound(Stage s, const char *violation) {
  if (!violation) return;
  fprintf(stderr, "routec: internal error after stage `%s`: %s\n", stage_names[s], violation);
  abort();
}

static void print_file(const char *path, FILE *out) {
  FILE *f = fopen(path, "rb");
  if (!f) return;
  char buffer[1 << 14];
  for (size_t n; (n = fread(buffer, 1, sizeof buffer, f)) > 0;) fwrite(buffer, 1, n, out);
  fclose(f);
}

/* Simplifying gives values new numbers: from there on the tables' value ids mean nothing, the graphs' roots do. */
static void print_graphs(const Program *p, FILE *f) {
  if (p->step) graph_print(p->step, f);
  for (uint32_t i = 0; i < p->n_evals; i++) graph_print(p->evals[i].graph, f);
  for (uint32_t i = 0; i < p->n_derived; i++) graph_print(p->derived[i].graph, f);
}

static void check_graphs(const Program *p) {
  if (p->step) check_sound(STAGE_SIMPLIFY, graph_verify(p->step));
  for (uint32_t i = 0; i < p->n_evals; i++) check_sound(STAGE_SIMPLIFY, graph_verify(p->evals[i].graph));
  for (uint32_t i = 0; i < p->n_derived; i++) check_sound(STAGE_SIMPLIFY, graph_verify(p->derived[i].graph));
}

static void print_stage(const Compilation *c, Stage s) {
  switch (s) {
  case STAGE_PARSE: ast_print(c->parse.file, stdout); break;
  case STAGE_CHECK: model_print(c->model, stdout); break;
  case STAGE_LOWER:
  case STAGE_AUTODIFF:
  case STAGE_MASK:
  case STAGE_UPDATE: program_print(c->program, stdout); break;
  case STAGE_PROVE:
    if (c->proof && !c->proof->failure) prove_print_text(prove_table(c, c->proof), stdout, c->o->rt.verbose);
    break;
  case STAGE_SIMPLIFY: print_graphs(c->program, stdout); break;
  case STAGE_PLAN: plan_print(c->plan, stdout); break;
  default: break; /* llvm and asm are written while the back end works */
  }
}

/* Ends a stage: time, checker, dump. True if the column stops here. */
static bool stage_done(Compilation *c, Stage s, Stage last) {
  const double now = driver_now();
  c->seconds[s] = now - c->clock;
  if (c->diags->n_errors) return true;
  if (s >= STAGE_LOWER && s <= STAGE_UPDATE) check_sound(s, program_verify(c->program));
  if (s == STAGE_SIMPLIFY) check_graphs(c->program);
  if (s == STAGE_PLAN) check_sound(s, plan_verify(c->plan));
  if (c->o->dump & (1u << s)) print_stage(c, s);
  c->clock = driver_now();
  c->seconds[s] += c->clock - now; /* the checker's time belongs to its stage */
  return s >= last || s >= c->o->last;
}

/* Some plugin of the spec is not to be had, or not as it should be. */
static bool plugin_refused(const Diags *d) {
  for (uint32_t i = 0; i < d->n; i++)
    if (d->items[i]->code >= E0530 && d->items[i]->code <= E0533) return true;
  return false;
}

static int column_end(Compilation *c, bool *stopped) {
  const bool failed = c->diags->n_errors > 0, refused = plugin_refused(c->diags);
  *stopped = failed || c->o->last < N_STAGES;
  driver_print_diags(c);
  return refused ? RT_PLUGIN_REFUSED : failed ? RT_DIAGNOSTICS : RT_OK;
}

/* Rows that take a branch, packed: in the step, in the gradient function and in evaluations. */
static void pack_all(Compilation *c) {
  Program *p = c->program;
  const bool blas = c->o->blas || c->target.vector_floats < 8 || !c->target.fma; /* as plan_gemm_choose() says */
  const int64_t batch = p->train.present && p->train.batch > 0 ? p->train.batch : 1;
  PackOptions o = {.batch = batch, .n_sets = p->groups.n_sets, .share = p->groups.share, .blas = blas};
  o.asked = p->train.present ? p->train.pack_rows : -1;
  if (p->step) p->step = pass_pack(p->step, c->arena, &o, &p->packing);
  for (uint32_t i = 0; i < p->n_evals; i++) {
    ProgEval *e = &p->evals[i];
    const PackOptions of = {.batch = plan_eval_rows(p), .asked = o.asked, .blas = blas};
    e->graph = pass_pack(e->graph, c->arena, &of, &e->packing);
  }
  ProgPacking unused;
  const PackOptions alone = {.batch = batch, .asked = o.asked, .blas = blas};
  if (p->gradient) p->gradient = pass_pack(p->gradient, c->arena, &alone, &unused);
  for (uint32_t i = 0; i < p->n_derived; i++) {
    ProgDerived *d = &p->derived[i];
    d->graph = pass_pack(d->graph, c->arena, &(PackOptions){0}, &unused);
  }
}

static void simplify_all(Compilation *c) {
  Program *p = c->program;
  if (p->step) p->step = pass_simplify(p->step, c->arena);
  for (uint32_t i = 0; i < p->n_evals; i++) p->evals[i].graph = pass_simplify(p->evals[i].graph, c->arena);
  for (uint32_t i = 0; i < p->n_derived; i++) p->derived[i].graph = pass_simplify(p->derived[i].graph, c->arena);
}

/* Runs the back end; --dump=llvm and --dump=asm pass through temporary files, since LLVM writes to paths. */
static int compile_object(Compilation *c) {
  char ir[] = "/tmp/routec-ir-XXXXXX", assembly[] = "/tmp/routec-asm-XXXXXX";
  BackendOptions b = {.opt_level = 2, .profile = c->o->rt.profile != NULL};
  b.threads = (uint32_t)(c->o->rt.threads > 0 ? c->o->rt.threads : rt_cpus());
#ifdef ROUTEC_SANITIZE
  b.sanitize = ROUTEC_SANITIZE;
#endif
  int fd_ir = -1, fd_asm = -1;
  if (c->o->dump & (1u << STAGE_LLVM) && (fd_ir = mkstemp(ir)) >= 0) b.dump_ir_after = ir;
  if (c->o->dump & (1u << STAGE_ASM) && (fd_asm = mkstemp(assembly)) >= 0) b.dump_asm = assembly;
  const char *why = NULL;
  const CacheKey key = cache_key(c, &b); /* empty: no cache */
  const bool look = !b.dump_ir_after && !b.dump_asm;
  c->cached = look && cache_find(c->o, &key, c->arena, &c->object);
  const bool ok = c->cached || backend_compile(c->arena, c->plan, &b, &c->object, &c->backend, &why);
  if (ok && !c->cached) cache_keep(c->o, &key, &c->object);
  if (b.dump_ir_after) print_file(ir, stdout);
  if (b.dump_asm) print_file(assembly, stdout);
  if (fd_ir >= 0) close(fd_ir), unlink(ir);
  if (fd_asm >= 0) close(fd_asm), unlink(assembly);
  return ok ? RT_OK : driver_fail(c->o, RT_RUN_FAILED, E0514, why ? why : "no reason was given", NULL);
}

int driver_compile(Compilation *c, const char *path, Stage last, bool *stopped) {
  const char *why = NULL;
  c->file = sources_add_file(c->sources, path, &why);
  if (!c->file) diag_add(c->diags, E0101, (Span){0, 0, 0}, path, why);
  if (stage_done(c, STAGE_READ, last)) return column_end(c, stopped);
  return driver_compile_source(c, last, stopped);
}

/* --dump of a later stage than the command needs asks for that stage. */
static Stage last_stage(const Options *o, Stage last) {
  for (uint32_t s = 0; s < N_STAGES; s++)
    if (o->dump & (1u << s) && s > (uint32_t)last) last = (Stage)s;
  return last;
}

/* One warning for all parameters of the training step that no origin reaches. */
static void warn_untrained(Compilation *c) {
  const Program *p = c->program;
  const Graph *g = p->step;
  Diag *d = NULL;
  bool *used = ARENA_NEWS(c->arena, bool, p->n_params + 1);
  for (ValueId v = 1; v < g->n; v++)
    if (ir_value(g, v)->op == OP_PARAM) used[ir_value(g, v)->ints[0]] = true;
  for (uint32_t i = 0; i < g->n_roots; i++)
    if (g->roots[i].kind == ROOT_GRAD) used[g->roots[i].a] = false;
  for (uint32_t i = 0; i < p->n_params; i++) {
    if (!used[i] || !p->params[i].trainable) continue;
    if (!d) d = diag_add(c->diags, W0501, p->params[i].span, p->params[i].path);
    else diag_note(c->diags, d, "nor `%s`", p->params[i].path);
  }
}

/* Where somebody asks: a `forbid`, a declared region, `routec prove`, --dump=prove, --audit; a built trainer can audit. */
static void prove(Compilation *c, Stage last) {
  Program *p = c->program;
  bool asked = c->o->prove || c->o->rt.audit > 0 || last == STAGE_ASM || p->n_forbids || (c->o->dump & (1u << STAGE_PROVE));
  for (uint32_t i = 0; i < p->n_regions; i++) asked |= p->regions[i].declared;
  const bool trains = p->step && p->optim.lr;
  for (uint32_t i = 0; i < p->n_forbids && !trains; i++)
    diag_add(c->diags, E0603, p->forbids[i].span, "the spec has no `train`");
  if (!asked || !trains) return;
  c->proof = pass_prove(p, c->arena);
  proof_report(c->proof, c->diags);
}

/* What looks at routing while it happens needs a function more. */
static int gradients_wanted(Compilation *c) {
  Program *p = c->program;
  int code = RT_OK;
  if (c->o->grad.on) code = driver_grad_prepare(c);
  else if (p->monitor.present && p->train.present) p->gradient = pass_gradient(p, ~(OriginSet)0, true);
  if (p->gradient) check_sound(STAGE_SIMPLIFY, graph_verify(p->gradient));
  return code;
}

int driver_compile_source(Compilation *c, Stage last, bool *stopped) {
  const Options *o = c->o;
  last = last_stage(o, last);

  c->parse = dsl_parse(c->arena, c->sources, c->file, c->diags);
  if (stage_done(c, STAGE_PARSE, last)) return column_end(c, stopped);

  c->model = model_check(c->arena, c->sources, &c->parse, o->sets, o->n_sets, c->diags);
  if (stage_done(c, STAGE_CHECK, last)) return column_end(c, stopped);

  c->program = model_lower(c->model, c->diags);
  if (stage_done(c, STAGE_LOWER, last)) return column_end(c, stopped);

  const int refused = gradients_wanted(c);
  if (refused) return refused;
  if (c->program->step) pass_autodiff(c->program);
  if (c->program->train.present) warn_untrained(c);
  if (stage_done(c, STAGE_AUTODIFF, last)) return column_end(c, stopped);

  if (c->program->step) pass_mask(c->program);
  if (stage_done(c, STAGE_MASK, last)) return column_end(c, stopped);

  if (c->program->step && c->program->optim.lr) pass_update(c->program, o->keep_grads); /* without `optimize`: only to look at */
  if (stage_done(c, STAGE_UPDATE, last)) return column_end(c, stopped);

  if (c->program->n_classes) program_kind_column(c->program); /* the census of classes */
  prove(c, last);
  if (stage_done(c, STAGE_PROVE, last)) return column_end(c, stopped);

  if (c->program->train.present && c->program->step && c->program->optim.lr) pass_group(c->program);
  const char *why = NULL;
  if (!driver_host(o, &c->host, &why)) return driver_fail(o, RT_RUN_FAILED, E0525, why, NULL);
  const int unknown = driver_target(o, &c->host, &c->target);
  if (unknown) return unknown;
  pack_all(c);
  simplify_all(c);
  if (stage_done(c, STAGE_SIMPLIFY, last)) return column_end(c, stopped);

  const GemmChoices measured = driver_choices(c);
  const PlanOptions plan = {.reuse_memory = true, .force_blas = o->blas, .no_fuse = o->no_fuse, .only_gradient = o->grad.on, .measured = &measured};
  c->plan = plan_make(c->arena, c->program, &c->target, &plan);
  if (stage_done(c, STAGE_PLAN, last)) return column_end(c, stopped);

  c->job = plan_bind(c->arena, c->plan);
  if (c->o->rt.profile) plan_bind_profile(c->arena, c->job, c->plan);
  if (c->proof) plan_bind_audit(c->arena, c->job, c->proof);
  if (stage_done(c, STAGE_BIND, last)) return column_end(c, stopped);
  c->job->compiler = arena_printf(c->arena, "%s, %s", c->job->compiler, c->host.llvm);
  if (last == STAGE_LOAD && o->last >= N_STAGES) rt_prefetch(c->job, &o->rt); /* data is read while LLVM compiles */

  const int failed = compile_object(c);
  if (failed) return failed;
  stage_done(c, STAGE_LLVM, last);
  if (stage_done(c, STAGE_ASM, last) || o->last == STAGE_LLVM) return column_end(c, stopped);

  c->code = loader_open(&c->object, c->job, &why);
  if (!c->code) return driver_fail(o, RT_RUN_FAILED, E0514, why ? why : "no reason was given", NULL);
  stage_done(c, STAGE_LOAD, last);
  return column_end(c, stopped);
}

/* ---- messages without a place ------------------------------------------------------------------------------------ */
int driver_fail_near(const Options *o, int exit_code, const char *word, const char *const *candidates, uint32_t n,
                     DiagCode code, const char *a, const char *b) {
  Arena *arena = arena_create();
  Sources *sources = sources_create(arena);
  Diags *diags = diags_create(arena, sources);
  Diag *g = diag_add(diags, code, (Span){0, 0, 0}, a, b);
  if (word) diag_suggest(diags, g, word, candidates, n);
  g->fix_text = NULL; /* there is no text to mend */
  if (o->rt.json) diags_print_json(diags, stdout);
  else diags_print_text(diags, stderr, o->rt.color);
  fflush(stdout);
  arena_destroy(arena);
  return exit_code;
}

int driver_fail(const Options *o, int exit_code, DiagCode code, const char *a, const char *b) {
  return driver_fail_near(o, exit_code, NULL, NULL, 0, code, a, b);
}

void driver_print_times(const Compilation *c, FILE *f) {
  double total = c->o->t_before_main;
  fprintf(f, "time from the start of the process, milliseconds:\n");
  fprintf(f, "  %-22s %8.1f\n", "load the program", 1e3 * c->o->t_before_main);
  for (uint32_t s = 0; s < N_STAGES; s++) {
    total += c->seconds[s];
    if (s == STAGE_ASM) continue; /* written together with llvm */
    fprintf(f, "  %-22s %8.1f", stage_names[s], 1e3 * c->seconds[s]);
    if (s == STAGE_LLVM && c->cached) fprintf(f, "   (from the cache)");
    else if (s == STAGE_LLVM)
      fprintf(f, "   (start %.1f, build %.1f, optimize %.1f, code %.1f; %u kernels, used %u times; objects: %u)", 1e3 * c->backend.init,
              1e3 * c->backend.build, 1e3 * c->backend.optimize, 1e3 * c->backend.codegen, c->backend.kernels,
              c->backend.kernel_uses, c->backend.units);
    fputc('\n', f);
  }
  fprintf(f, "  %-22s %8.1f\n", "compiled", 1e3 * total);
}
