/* SPDX-License-Identifier: Apache-2.0
 * trainer_main.c -- the command line of a built trainer: the same words as routec's. */
#include "error.h"
#include "mem.h"
#include "plugin_call.h"
#include "rt.h"
#include "run.h"
#include <getopt.h>
#include <limits.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef enum CommandBit { ON_RUN = 1, ON_RESUME = 2, ON_EVAL = 4, ON_ALL = 7 } CommandBit;
typedef struct Command {
  const char *name, *argument;
  CommandBit bit;
  const char *doc;
} Command;
static const Command commands[] = {
    {"run", NULL, ON_RUN, "train, evaluate, and test what the spec expects"},
    {"resume", "RUN", ON_RESUME, "go on with an interrupted run"},
    {"eval", "RUN|CHECKPOINT", ON_EVAL, "evaluate a checkpoint"},
};
enum { N_COMMANDS = sizeof commands / sizeof *commands };

enum {
  OPT_HELP = 'h',
  OPT_QUIET = 'q',
  OPT_VERBOSE = 'v',
  OPT_SET = 256,
  OPT_SEED,
  OPT_THREADS,
  OPT_INIT,
  OPT_DATA,
  OPT_RUN_DIR,
  OPT_SWEEP,
  OPT_STEPS,
  OPT_AUDIT,
  OPT_PROFILE,
  OPT_PLUGIN_PATH,
  OPT_JSON,
  OPT_VERSION
};
typedef struct OptionRow {
  const char *name, *value; /* value: in [] it may be left out */
  int key, on;
  const char *doc;
} OptionRow;
static const OptionRow options[] = {
    {"set", "NAME=VALUE", OPT_SET, ON_RUN, "give a param another value; may be repeated"},
    {"seed", "N", OPT_SEED, ON_RUN, "seed of initial values, order of data and all draws"},
    {"threads", "N", OPT_THREADS, ON_ALL, "threads; the results do not depend on it (default: all CPUs)"},
    {"init", "FILE", OPT_INIT, ON_RUN, "initial parameters from a safetensors file, by path"},
    {"data", "DIR", OPT_DATA, ON_ALL, "what $ROUTEC_DATA stands for in the spec"},
    {"run-dir", "DIR", OPT_RUN_DIR, ON_RUN | ON_EVAL, "folder for the results (default: runs/TITLE-sSEED)"},
    {"sweep", "NAME", OPT_SWEEP, ON_RUN,
     "run once for each value of a sweep, then print means and intervals"},
    {"steps", "N", OPT_STEPS, ON_RUN | ON_RESUME, "stop, as if interrupted, after N steps of the whole run"},
    {"audit", "N", OPT_AUDIT, ON_RUN | ON_RESUME,
     "repeat each Nth step with every class's data exchanged: the proof, tried"},
    {"profile", "[=FILE]", OPT_PROFILE, ON_RUN | ON_RESUME,
     "time, FLOP and bytes of each plan step; a trace to FILE (default: in the run folder). Of a trainer that was built with --profile"},
    {"plugin-path", "DIR", OPT_PLUGIN_PATH, ON_ALL,
     "where to look for plugins that are not where they were; may be repeated. Then beside the trainer"},
    {"json", NULL, OPT_JSON, ON_ALL, "write progress, errors and tables as JSON lines"},
    {"quiet", NULL, OPT_QUIET, ON_ALL, "-q: no progress; twice: errors only"},
    {"verbose", NULL, OPT_VERBOSE, ON_ALL, "-v: every logged line, and times"},
    {"help", NULL, OPT_HELP, ON_ALL, "-h: this text"},
    {"version", NULL, OPT_VERSION, ON_ALL, "versions of compiler and runtime, and the target"},
};
enum { N_OPTIONS = sizeof options / sizeof *options };

#define MOST_PLUGIN_PATHS 32
typedef struct Trainer {
  Job *job;
  const Command *command;
  RtOptions o;
  const char *sweep, *name;
  const char *plugin_path[MOST_PLUGIN_PATHS + 2]; /* then the trainer's folder, then NULL */
  uint32_t n_plugin_paths;
  RtError error;
  bool done;
} Trainer;

static void help_print(const Trainer *t) {
  const Job *job = t->job;
  printf("usage: %s [COMMAND] [options] [ARGUMENT]\n\nA trainer built from %s.\n\ncommands (default: run):\n",
         t->name, job->spec_path ? job->spec_path : job->title);
  for (int i = 0; i < N_COMMANDS; i++) {
    char left[48];
    snprintf(left, sizeof left, "%s %s", commands[i].name, commands[i].argument ? commands[i].argument : "");
    printf("  %-24s  %s\n", left, commands[i].doc);
  }
  printf("\noptions:\n");
  for (int i = 0; i < N_OPTIONS; i++) {
    char left[48];
    const char *value = options[i].value ? options[i].value : "";
    snprintf(left, sizeof left, "--%s%s%s", options[i].name, *value == '[' ? "" : " ", value);
    printf("  %-24s  %s\n", left, options[i].doc);
  }
  if (job->n_settings) printf("\nparams:\n");
  for (uint32_t i = 0; i < job->n_settings; i++) {
    const JobSetting *s = &job->settings[i];
    printf("  %-24s  = %s%s%s%s\n", s->name, s->value,
           s->scalar < 0 && strcmp(s->name, "seed") != 0 ? " (fixed when it was built)" : "",
           s->doc ? "  " : "", s->doc ? s->doc : "");
  }
  printf("\nNO_COLOR in the environment switches colours off.\n"
         "exit codes: 0 success, 2 usage, 3 the run failed, 4 an `expect` failed, 5 a plugin was refused, 70 internal error, 130 "
         "interrupted\n");
}

static void version_print(const Job *job) {
  printf("trainer of %s\ncompiler: %s\nruntime: routec %s\ntarget: %s\nplan: %016llx\n", job->title,
         job->compiler ? job->compiler : "?", ROUTEC_VERSION, job->target_cpu ? job->target_cpu : "?",
         (unsigned long long)job->plan_hash);
}

static bool usage(Trainer *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static bool usage(Trainer *t, const char *fmt, ...) {
  char text[512];
  va_list args;
  va_start(args, fmt);
  vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  return rt_fail(&t->error, RT_E0740, text);
}

static bool count_parse(Trainer *t, const char *option, const char *s, uint64_t most, uint64_t *out) {
  char *end;
  unsigned long long v = strtoull(s, &end, 10);
  if (*s < '0' || *s > '9' || *end || v > most) return usage(t, "--%s takes a count, not `%s`", option, s);
  return *out = v, true;
}

/* Length of the common start, as a cheap measure of likeness for "did you mean". */
static const char *setting_near(const Job *job, const char *name) {
  const char *best = NULL;
  size_t most = 0;
  for (uint32_t i = 0; i < job->n_settings; i++) {
    size_t n = 0;
    while (name[n] && name[n] == job->settings[i].name[n]) n++;
    if (n > most) most = n, best = job->settings[i].name;
  }
  return best;
}

static bool scalar_set(Trainer *t, const char *name, JobScalar *c, const char *text) {
  char *end;
  double v = strtod(text, &end);
  char why[128];
  if (!*text || *end || !isfinite(v)) return rt_fail(&t->error, RT_E0743, name, text, "is not a number");
  if (c->is_int && v != floor(v)) return rt_fail(&t->error, RT_E0743, name, text, "is not an integer");
  snprintf(why, sizeof why, "is outside %g ..= %g", c->lo, c->hi);
  if (!(v >= c->lo && v <= c->hi)) return rt_fail(&t->error, RT_E0743, name, text, why);
  return c->value = v, true;
}

static bool set_parse(Trainer *t, const char *text) {
  const char *equals = strchr(text, '=');
  char name[256], hint[320] = "";
  if (!equals || equals == text || equals - text > 255)
    return usage(t, "--set takes NAME=VALUE, not `%s`", text);
  snprintf(name, sizeof name, "%.*s", (int)(equals - text), text);
  if (!strcmp(name, "seed"))
    return t->o.has_seed = true, count_parse(t, "set seed", equals + 1, UINT64_MAX, &t->o.seed);
  for (uint32_t i = 0; i < t->job->n_settings; i++) {
    const JobSetting *s = &t->job->settings[i];
    if (strcmp(s->name, name) != 0) continue;
    if (s->scalar < 0)
      return rt_fail(&t->error, RT_E0742, name,
                     s->structural ? "structural params shape the compiled code"
                                   : "it was folded into the compiled code");
    return scalar_set(t, name, &t->job->scalars[s->scalar], equals + 1);
  }
  const char *near = setting_near(t->job, name);
  if (near) snprintf(hint, sizeof hint, "; did you mean `%s`?", near);
  return rt_fail(&t->error, RT_E0741, name, hint);
}

static bool option_apply(Trainer *t, const OptionRow *row, const char *value) {
  RtOptions *o = &t->o;
  uint64_t n = 0;
  switch (row->key) {
  case OPT_SET: return set_parse(t, value);
  case OPT_SEED: return o->has_seed = true, count_parse(t, "seed", value, UINT64_MAX, &o->seed);
  case OPT_THREADS:
    if (!count_parse(t, "threads", value, 1024, &n)) return false;
    return o->threads = (int)n, true;
  case OPT_STEPS:
    if (!count_parse(t, "steps", value, INT64_MAX, &n)) return false;
    return o->stop_after_steps = (int64_t)n, true;
  case OPT_AUDIT:
    if (!count_parse(t, "audit", value, INT64_MAX, &n)) return false;
    return o->audit = (int64_t)n, n > 0 || usage(t, "--audit takes a count from 1");
  case OPT_PROFILE: return o->profile = value ? value : "", profile_compiled(t->job) || rt_fail(&t->error, RT_E0748);
  case OPT_INIT: return o->init_weights = value, true;
  case OPT_DATA: return o->data_dir = value, true;
  case OPT_RUN_DIR: return o->run_dir = value, true;
  case OPT_SWEEP: return t->sweep = value, true;
  case OPT_PLUGIN_PATH:
    if (t->n_plugin_paths == MOST_PLUGIN_PATHS) return usage(t, "more than %d times --plugin-path", MOST_PLUGIN_PATHS);
    return t->plugin_path[t->n_plugin_paths++] = value, true;
  case OPT_JSON: return o->json = true;
  case OPT_QUIET: return o->quiet++, true;
  case OPT_VERBOSE: return o->verbose++, true;
  case OPT_HELP: return help_print(t), t->done = true;
  case OPT_VERSION: return version_print(t->job), t->done = true;
  }
  fprintf(stderr, "runtime: option %d\n", row->key), abort();
}

static bool options_parse(Trainer *t, int argc, char **argv) {
  struct option longs[N_OPTIONS + 1];
  memset(longs, 0, sizeof longs);
  for (int i = 0; i < N_OPTIONS; i++)
    longs[i] = (struct option){options[i].name,
                               !options[i].value         ? no_argument
                               : *options[i].value == '[' ? optional_argument
                                                          : required_argument,
                               NULL, options[i].key};
  opterr = 0, optind = 0;
  for (int key; !t->done && (key = getopt_long(argc, argv, ":hqv", longs, NULL)) != -1;) {
    if (key == ':') return usage(t, "`%s` needs a value", argv[optind - 1]);
    if (key == '?') return usage(t, "unknown option `%s`", argv[optind - 1]);
    for (int i = 0; i < N_OPTIONS; i++) {
      if (options[i].key != key) continue;
      if (!(options[i].on & (int)t->command->bit))
        return usage(t, "`%s` does not take --%s%s", t->command->name, options[i].name,
                     t->command->bit == ON_RESUME ? ": a run keeps its params and seed" : "");
      if (!option_apply(t, &options[i], optarg)) return false;
    }
  }
  return true;
}

static bool argument_parse(Trainer *t, int argc, char **argv) {
  const char *argument = optind < argc ? argv[optind] : NULL;
  if (optind + 1 < argc) return usage(t, "one argument too many: `%s`", argv[optind + 1]);
  if (!t->command->argument && argument)
    return usage(t, "`%s` takes no argument, but there is `%s`", t->command->name, argument);
  if (t->command->argument && !argument)
    return usage(t, "`%s` needs %s", t->command->name, t->command->argument);
  if (t->command->bit == ON_RESUME) t->o.resume = argument;
  if (t->command->bit == ON_EVAL) t->o.checkpoint = argument;
  return true;
}

static int trainer_start(Trainer *t) {
  if (t->command->bit == ON_EVAL) return rt_eval(t->job, &t->o);
  if (!t->sweep) {
    rt_prefetch(t->job, &t->o); /* data and initial values at once */
    const int code = rt_train(t->job, &t->o);
    return rt_prefetch_end(), code;
  }
  for (uint32_t i = 0; i < t->job->n_sweeps; i++)
    if (!strcmp(t->job->sweeps[i].name, t->sweep)) return rt_sweep(t->job, &t->o, &t->job->sweeps[i]);
  usage(t, "there is no sweep `%s`", t->sweep);
  rt_error_print(&t->error, t->o.json ? stdout : stderr, t->o.json, t->o.color);
  return RT_USAGE;
}

/* Their code is what the trainer was built with, or it does not start. */
static bool trainer_plugins(Trainer *t) {
  char exe[PATH_MAX];
  const ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
  char *slash = NULL;
  if (n > 0) exe[n] = 0, slash = strrchr(exe, '/');
  if (slash) *slash = 0, t->plugin_path[t->n_plugin_paths] = exe;
  if (plugins_load(t->job, t->plugin_path, &t->error)) return true;
  rt_error_print(&t->error, t->o.json ? stdout : stderr, t->o.json, t->o.color);
  return false;
}

#ifndef ROUTEC_SANITIZE
static volatile sig_atomic_t fault_json;
static void trainer_fault(int signal_number) {
  rt_plugin_fault(signal_number, fault_json);
  signal(signal_number, SIG_DFL);
  raise(signal_number);
}
#endif

int rt_trainer_main(Job *job, int argc, char **argv) {
  const char *no_color = getenv("NO_COLOR");
  Trainer t = {.job = job, .command = &commands[0], .name = argc > 0 ? argv[0] : "trainer"};
  t.o.color = (!no_color || !*no_color) && isatty(STDERR_FILENO);
  bool ok = true;
#ifndef ROUTEC_SANITIZE
  rt_faults_catch(trainer_fault);
#endif
  if (argc > 1 && argv[1][0] != '-') {
    t.command = NULL;
    for (int i = 0; i < N_COMMANDS; i++)
      if (!strcmp(argv[1], commands[i].name)) t.command = &commands[i];
    if (!t.command) ok = usage(&t, "unknown command `%s`; there are run, resume and eval", argv[1]);
    argv[1] = argv[0], argc--, argv++;
  }
  ok = ok && options_parse(&t, argc, argv);
#ifndef ROUTEC_SANITIZE
  fault_json = t.o.json;
#endif
  if (ok && t.done) return RT_OK;
  if (!ok || !argument_parse(&t, argc, argv)) {
    rt_error_print(&t.error, t.o.json ? stdout : stderr, t.o.json, t.o.color);
    return RT_USAGE;
  }
  return trainer_plugins(&t) ? trainer_start(&t) : RT_PLUGIN_REFUSED;
}
