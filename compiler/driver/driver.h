/* SPDX-License-Identifier: Apache-2.0
 * driver.h -- the command's own header: options, the column of stages, and what the commands share.
 * Nothing outside compiler/driver/main.c and compiler/driver*.c includes it. */
#ifndef ROUTEC_DRIVER_H
#define ROUTEC_DRIVER_H
#include "backend.h"
#include "compiler.h"
#include "plan.h"
#include "proof.h"
#include "rt.h"

/* In the order in which they run: S(ID, "name", can be dumped, what --dump shows). */
#define DRIVER_STAGES(S)                                                                                           \
  S(READ, "read", 0, "the file's bytes")                                                                           \
  S(PARSE, "parse", 1, "the syntax tree, one node a line")                                                         \
  S(CHECK, "check", 1, "names, types and shapes, defaults filled in")                                              \
  S(LOWER, "lower", 1, "tables and the forward graph")                                                             \
  S(AUTODIFF, "autodiff", 1, "the graph with adjoints, one seed for each origin")                                  \
  S(MASK, "mask", 1, "adjoints with the routes' masks; diff it against autodiff")                                  \
  S(UPDATE, "update", 1, "with decay, clipping and optimizer")                                                     \
  S(PROVE, "prove", 1, "which data may change which parameters")                                                   \
  S(SIMPLIFY, "simplify", 1, "dead and repeated work removed")                                                     \
  S(PLAN, "plan", 1, "steps, buffers and chosen kernels")                                                          \
  S(BIND, "bind", 0, "the job's constant data")                                                                    \
  S(LLVM, "llvm", 1, "LLVM IR after optimization")                                                                 \
  S(ASM, "asm", 1, "assembly")                                                                                     \
  S(LOAD, "load", 0, "machine code in memory")

typedef enum Stage {
#define S(id, name, dump, doc) STAGE_##id,
  DRIVER_STAGES(S)
#undef S
  N_STAGES
} Stage;

/* Where --json puts the diagnostics of a spec without errors. With errors they are all that is printed: an array. */
typedef enum JsonDiags {
  JSON_DIAGS_ARRAY, /* check: they are the output */
  JSON_DIAGS_FIELD, /* plan: the field "diagnostics" of its object */
  JSON_DIAGS_LINE   /* run: one line {"diagnostics": [...]}, if there are any */
} JsonDiags;

/* `routec grad`. */
typedef struct GradOptions {
  bool on, no_routes, oracle;
  const char *class;            /* NULL: all data */
  const char **losses; uint32_t n_losses;
  int64_t rows, batch;          /* rows 0: the training's batch */
} GradOptions;

/* `routec plugin`. */
typedef struct PluginOptions { const char *op, *kind, *ability; bool asan; } PluginOptions;

typedef struct Options {
  const char *argument;         /* the command's first argument: SPEC, RUN or CODE */
  const char *arguments[3]; uint32_t n_arguments;
  Override *sets; uint32_t n_sets;
  uint32_t dump;                /* bit set of Stage */
  Stage last;                   /* --stop-after, or N_STAGES */
  const char *target, *output, *sweep;
  const char *plugin_path;      /* folders, `:` between them, or NULL */
  bool no_fuse, blas, in_place, no_cache;
  bool measure, memory;         /* `routec plan --measure`, `--memory` */
  bool prove;                   /* the proof is asked for */
  const char *region, *svg; bool strictly; /* `routec prove` */
  GradOptions grad;
  PluginOptions plugin;
  bool keep_grads;              /* the step's gradients can be read back: tests */
  JsonDiags json_diags;
  RtOptions rt;
  double t_main, t_before_main; /* seconds: clock at main(), and what passed in the process before it */
} Options;

/* What LLVM says of this machine and of itself. */
typedef struct HostInfo { char llvm[32]; char cpu[64]; char features[4096]; } HostInfo;

/* All that one compilation owns. Zero it, set arena, sources, diags and options; driver_close() frees it. */
typedef struct Compilation {
  Arena *arena; Sources *sources; Diags *diags;
  const Options *o;
  uint32_t file;                /* of the spec */
  ParseResult parse;
  Model *model; Program *program; Plan *plan; Job *job;
  Proof *proof;                 /* NULL: not asked for, and no `forbid` */
  TargetInfo target; HostInfo host;
  const char *choices;          /* kernels of products that a resumed run had; NULL: what this machine measured */
  bool cached;                  /* the object comes from the cache */
  ObjectCode object; BackendTimes backend; LoadedCode *code;
  const char *grad_what; int32_t grad_class; /* driver_grad_prepare() */
  char *json_text;              /* JSON_DIAGS_FIELD: the array, in the arena */
  double seconds[N_STAGES], clock; /* per stage; clock: when the last one ended */
} Compilation;

/* The folder of this executable, or NULL. */
const char *driver_own_folder(Arena *a);
/* Where plugins are looked for, in this order, beside the file that declares them; ends with NULL. option: --plugin-path. */
const char *const *driver_plugin_folders(Arena *a, const char *option);
double driver_now(void);        /* CLOCK_MONOTONIC, seconds */
void driver_open(Compilation *c, const Options *o);
void driver_close(Compilation *c);
/* Runs the column of stages up to and with `last`, printing what --dump asks for. RT_OK, RT_DIAGNOSTICS (which
 * are printed), or RT_RUN_FAILED when the machine cannot run the result. Sets *stopped if --stop-after ended it. */
int driver_compile(Compilation *c, const char *path, Stage last, bool *stopped);
/* The same for a text already in c->sources as c->file (a run folder's copy). */
int driver_compile_source(Compilation *c, Stage last, bool *stopped);
/* Prints collected diagnostics: JSON to stdout with --json, else text to stderr. Once only. */
void driver_print_diags(Compilation *c);
/* A message without a place in a spec, from a format that takes a, b or both; prints and returns `exit_code`. `word`, `candidates`: "did you mean". */
int driver_fail(const Options *o, int exit_code, DiagCode code, const char *a, const char *b);
int driver_fail_near(const Options *o, int exit_code, const char *word, const char *const *candidates, uint32_t n,
                     DiagCode code, const char *a, const char *b);
void driver_print_times(const Compilation *c, FILE *f);

/* driver_report.c: what `plan` prints. */
void driver_report_text(const Compilation *c, const RtMemory *m, FILE *f);
void driver_report_json(const Compilation *c, const RtMemory *m, FILE *f);

/* driver_memory.c: what a run of the job maps. */
void driver_memory_text(const RtMemory *m, FILE *f);
struct json_t *driver_memory_json(const RtMemory *m);

/* driver_group.c: work that masks make unnecessary. */
void driver_groups_text(const Compilation *c, FILE *f);
struct json_t *driver_groups_json(const Compilation *c);
/* Branches that not every datum takes: what packing their rows saves, or why they are not packed. */
void driver_packing_text(const Compilation *c, FILE *f);
struct json_t *driver_packing_json(const Compilation *c);

/* driver_backend.c: LLVM, where it is needed. false: it cannot be loaded, and *why. */
bool driver_host(const Options *o, HostInfo *out, const char **why);
void driver_identity(uint64_t id[12]);
/* `--target`, or this machine. RT_OK, or a message was printed. */
int driver_target(const Options *o, const HostInfo *h, TargetInfo *out);

/* driver_measure.c: kernels of products, timed on this machine. */
GemmChoices driver_choices(const Compilation *c);
int driver_measure(Compilation *c);

/* driver_job_c.c: the job as a C translation unit with main(). */
void driver_job_print_c(const Job *job, FILE *f);
/* driver_build.c: compiles and links a trainer from the job and its object code. */
int driver_build(Compilation *c, const char *output);
/* First of `places` below the folder of this executable where `file` can be read; NULL if none. */
const char *driver_find_beside(Arena *a, const char *const *places, uint32_t n, const char *file);

/* driver_run.c: the commands that run something. */
int driver_command_run(const Options *o);
int driver_command_resume(const Options *o);
int driver_command_eval(const Options *o);
int driver_command_build(const Options *o);
/* driver_grad.c. prepare: after lowering, the program becomes one whose only function is the gradient. */
int driver_command_grad(const Options *o);
int driver_grad_prepare(Compilation *c);
/* driver_prove.c */
int driver_command_prove(const Options *o);
/* driver_plugin.c */
int driver_command_plugin(const Options *o);
/* driver_tell.c: the commands that only tell something. */
int driver_command_check(const Options *o);
int driver_command_plan(const Options *o);
int driver_command_explain(const Options *o);
int driver_command_doctor(const Options *o);
int driver_command_fmt(const Options *o);
#endif
