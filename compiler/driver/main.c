/* SPDX-License-Identifier: Apache-2.0
 * main.c -- the command line: one table of commands and one of options; both are parsed from and printed as help. */
#include "driver.h"
#include "plugin.h"
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef enum CommandBit {
  ON_CHECK = 1 << 0, ON_RUN = 1 << 1, ON_BUILD = 1 << 2, ON_RESUME = 1 << 3, ON_EVAL = 1 << 4, ON_PLAN = 1 << 5,
  ON_EXPLAIN = 1 << 6, ON_DOCTOR = 1 << 7, ON_FMT = 1 << 8, ON_GRAD = 1 << 9,
  ON_PROVE = 1 << 10, ON_PLUGIN = 1 << 11,
  ON_SPEC = ON_CHECK | ON_RUN | ON_BUILD | ON_EVAL | ON_PLAN | ON_GRAD | ON_PROVE,
  ON_COMPILE = ON_SPEC | ON_RESUME,
  ON_EXECUTE = ON_RUN | ON_RESUME | ON_EVAL | ON_GRAD,
  ON_ALL = (1 << 12) - 1
} CommandBit;

typedef struct Command {
  const char *name, *argument; /* arguments in [] are optional; several words are as many arguments */
  CommandBit bit;
  int (*run)(const Options *o);
  JsonDiags json_diags;
  const char *doc;
} Command;

static const Command commands[] = {
    {"check", "SPEC", ON_CHECK, driver_command_check, JSON_DIAGS_ARRAY, "report every error of a spec; reads no data"},
    {"run", "SPEC", ON_RUN, driver_command_run, JSON_DIAGS_LINE, "train, evaluate, and test what the spec expects"},
    {"build", "SPEC", ON_BUILD, driver_command_build, JSON_DIAGS_LINE, "compile a spec into a stand-alone trainer"},
    {"resume", "RUN", ON_RESUME, driver_command_resume, JSON_DIAGS_LINE, "go on with an interrupted run"},
    {"eval", "RUN|SPEC", ON_EVAL, driver_command_eval, JSON_DIAGS_LINE, "evaluate a checkpoint"},
    {"plan", "SPEC", ON_PLAN, driver_command_plan, JSON_DIAGS_FIELD, "show parameters, routes, passes, memory and GEMMs; reads no data"},
    {"grad", "SPEC", ON_GRAD, driver_command_grad, JSON_DIAGS_LINE, "the routed gradient of one batch, by parameter"},
    {"prove", "SPEC", ON_PROVE, driver_command_prove, JSON_DIAGS_FIELD, "which data may change which parameters, and on what way"},
    {"plugin", "show|check|new [NAME] [OP]", ON_PLUGIN, driver_command_plugin, JSON_DIAGS_ARRAY, "tell of plugins, test one, or begin one"},
    {"explain", "[CODE]", ON_EXPLAIN, driver_command_explain, JSON_DIAGS_ARRAY, "tell what a code such as E0312 means; without CODE list all"},
    {"doctor", NULL, ON_DOCTOR, driver_command_doctor, JSON_DIAGS_ARRAY, "test this machine: CPU, BLAS, back end"},
    {"fmt", "SPEC", ON_FMT, driver_command_fmt, JSON_DIAGS_LINE, "print a spec in canonical form"},
};
#define N_COMMANDS (sizeof commands / sizeof *commands)

typedef enum OptionKey {
  OPT_HELP = 'h', OPT_OUTPUT = 'o', OPT_QUIET = 'q', OPT_VERBOSE = 'v', OPT_IN_PLACE = 'i',
  OPT_SET = 256, OPT_SEED, OPT_THREADS, OPT_INIT, OPT_DATA, OPT_RUN_DIR, OPT_CHECKPOINT, OPT_SWEEP, OPT_JSON, OPT_DUMP,
  OPT_STOP_AFTER, OPT_NO_FUSE, OPT_NO_CACHE, OPT_BLAS, OPT_TARGET, OPT_STEPS, OPT_VERSION, OPT_CLASS, OPT_LOSS,
  OPT_ROWS, OPT_BATCH_INDEX, OPT_NO_ROUTES, OPT_ORACLE,
  OPT_REGION, OPT_SVG, OPT_STRICTLY, OPT_AUDIT, OPT_PLUGIN_PATH,
  OPT_MEASURE, OPT_PROFILE, OPT_MEMORY,
  OPT_OP, OPT_ASAN, OPT_KIND, OPT_ABILITY
} OptionKey;

/* value: what follows the name; in [] it may be left out. */
typedef struct OptionRow { const char *name, *value; int key, on; const char *doc; } OptionRow;

static const OptionRow options[] = {
    {"set", "NAME=VALUE", OPT_SET, ON_SPEC, "give a param another value; may be repeated"},
    {"seed", "N", OPT_SEED, ON_SPEC | ON_PLUGIN,
     "seed of initial values, order of data and all draws; plugin check: of its data"},
    {"threads", "N", OPT_THREADS, ON_EXECUTE | ON_PLAN | ON_BUILD,
     "threads; the results do not depend on it (default: all CPUs); plan: whose memory is told; plan, build: whose measured kernels are taken"},
    {"init", "FILE", OPT_INIT, ON_RUN | ON_EVAL | ON_GRAD, "initial parameters from a safetensors file, by path"},
    {"data", "DIR", OPT_DATA, ON_EXECUTE | ON_PLAN, "what $ROUTEC_DATA stands for in specs"},
    {"run-dir", "DIR", OPT_RUN_DIR, ON_RUN | ON_EVAL, "folder for the results (default: runs/TITLE-sSEED)"},
    {"checkpoint", "FILE", OPT_CHECKPOINT, ON_EVAL | ON_GRAD, "the checkpoint whose parameters are used"},
    {"sweep", "NAME", OPT_SWEEP, ON_RUN, "run once for each value of a sweep, then print means and intervals"},
    {"audit", "N", OPT_AUDIT, ON_RUN | ON_RESUME, "repeat each Nth step with every class's data exchanged: the proof, tried"},
    {"profile", "[=FILE]", OPT_PROFILE, ON_RUN | ON_RESUME | ON_BUILD,
     "time, FLOP and bytes of each plan step; a trace to FILE (default: in the run folder); build: a trainer that takes --profile"},
    {"steps", "N", OPT_STEPS, ON_RUN | ON_RESUME, "stop, as if interrupted, after N steps of the whole run"},
    {"class", "NAME", OPT_CLASS, ON_GRAD | ON_PROVE, "only data of this class (default: all)"},
    {"region", "NAME", OPT_REGION, ON_PROVE, "only this region or parameter (default: all)"},
    {"measure", NULL, OPT_MEASURE, ON_PLAN, "time kernels for each matrix product on this machine; later plans take the fastest"},
    {"strictly", NULL, OPT_STRICTLY, ON_PROVE, "clip scales and denominators that depend on data count as ways in"},
    {"svg", "FILE", OPT_SVG, ON_PROVE, "also draw the model, coloured by which classes may change what"},
    {"loss", "NAME", OPT_LOSS, ON_GRAD, "only this loss or regularizer; may be repeated (default: all)"},
    {"batch-index", "N", OPT_BATCH_INDEX, ON_GRAD, "which batch, in training's order (default: 0, the first)"},
    {"rows", "N", OPT_ROWS, ON_GRAD, "data in a batch (default: as in training)"},
    {"no-routes", NULL, OPT_NO_ROUTES, ON_GRAD, "the gradient without its routes; `value of` masks stay, they are forward"},
    {"oracle", NULL, OPT_ORACLE, ON_GRAD, "compute with the compiler's interpreter in double: slow, to compare with"},
    {"op", "NAME", OPT_OP, ON_PLUGIN, "check: only this op (default: all)"},
    {"asan", NULL, OPT_ASAN, ON_PLUGIN, "check: with AddressSanitizer, which the plugin must be built with"},
    {"kind", "KIND", OPT_KIND, ON_PLUGIN, "new: regularizer (default) or gate"},
    {"ability", "ABILITY", OPT_ABILITY, ON_PLUGIN, "new: expr (default), span, reduce or gate"},
    {"output", "FILE", OPT_OUTPUT, ON_BUILD | ON_GRAD, "-o: the trainer (default: the spec's name); grad: a safetensors file"},
    {"in-place", NULL, OPT_IN_PLACE, ON_FMT, "-i: write the formatted text back to the file"},
    {"plugin-path", "DIRS", OPT_PLUGIN_PATH, ON_COMPILE | ON_PLUGIN, "folders with plugins, `:` between them; before $ROUTEC_PLUGIN_PATH"},
    {"memory", NULL, OPT_MEMORY, ON_PLAN, "read the data, and tell all that a run maps"},
    {"target", "CPU", OPT_TARGET, ON_COMPILE | ON_DOCTOR, "native, x86-64-v2 (no FMA: products by the BLAS), x86-64-v3 or x86-64-v4"},
    {"blas", NULL, OPT_BLAS, ON_COMPILE, "use the BLAS for every matrix product"},
    {"no-fuse", NULL, OPT_NO_FUSE, ON_COMPILE, "store every value: slower, for looking at the plan"},
    {"no-cache", NULL, OPT_NO_CACHE, ON_COMPILE | ON_DOCTOR, "compile anew, and keep nothing"},
    {"dump", "STAGE", OPT_DUMP, ON_COMPILE, "print what a stage made; may be repeated"},
    {"stop-after", "STAGE", OPT_STOP_AFTER, ON_COMPILE, "make a stage the last one"},
    {"json", NULL, OPT_JSON, ON_ALL & ~ON_DOCTOR, "write diagnostics, progress and reports as JSON"},
    {"quiet", NULL, OPT_QUIET, ON_ALL, "-q: no progress"},
    {"verbose", NULL, OPT_VERBOSE, ON_ALL, "-v: times by phase; prove: paths in full; monitor: each record"},
    {"help", NULL, OPT_HELP, ON_ALL, "-h: this text"},
    {"version", NULL, OPT_VERSION, ON_ALL, "versions of routec and of the back end"},
};
#define N_OPTIONS (sizeof options / sizeof *options)
static const char short_options[] = "+ho:qvi";

static void print_options(FILE *f, int on) {
  char left[48];
  for (size_t i = 0; i < N_OPTIONS; i++) {
    const OptionRow *r = &options[i];
    if (!(r->on & on)) continue;
    snprintf(left, sizeof left, "--%s%s%s", r->name, r->value && *r->value != '[' ? " " : "", r->value ? r->value : "");
    fprintf(f, "  %-20s  %s\n", left, r->doc);
  }
}

static void print_stages(FILE *f) {
  fputs("\nstages:\n", f);
#define S(id, name, dump, doc)                                                                                     \
  if (dump) fprintf(f, "  %-20s  %s\n", name, doc);
  DRIVER_STAGES(S)
#undef S
}

static void print_plugin_uses(FILE *f) {
  fputs("\nuses:\n"
        "  show                  the plugins that are there: built in, in this folder, in those of --plugin-path\n"
        "  show NAME|FILE.so     one of them: its ops, their arguments, ranges and docs; OP behind it: one op\n"
        "  check NAME|FILE.so    does it keep the contract? Loads and calls it in processes of their own\n"
        "  new NAME              a project for a plugin: folder NAME, with sources, build and test\n"
        "\ndocs/plugin-guide.md leads from an idea to a plugin that is checked and inlined.\n",
        f);
}

static void print_help(FILE *f, const Command *c) {
  if (c) {
    fprintf(f, "usage: routec %s [options]%s%s\n\n%s\n\noptions:\n", c->name, c->argument ? " " : "",
            c->argument ? c->argument : "", c->doc);
    print_options(f, (int)c->bit);
    if (c->bit & ON_COMPILE) print_stages(f);
    if (c->bit == ON_PLUGIN) print_plugin_uses(f);
    return;
  }
  fputs("usage: routec COMMAND [options] ARGUMENT\n\nA compiler for gradient routing.\n\ncommands:\n", f);
  for (size_t i = 0; i < N_COMMANDS; i++) {
    char left[48];
    snprintf(left, sizeof left, "%s %s", commands[i].name, commands[i].argument ? commands[i].argument : "");
    fprintf(f, "  %-20s  %s\n", left, commands[i].doc);
  }
  fputs("\noptions:\n", f);
  print_options(f, ON_ALL);
  fputs("\nNO_COLOR in the environment switches colours off.\n"
        "exit codes: 0 success, 1 errors in the spec, 2 usage, 3 the run failed, 4 an `expect` failed,\n"
        "            5 plugin refused, 70 internal error, 130 interrupted\n",
        f);
}

/* ---- values of options ------------------------------------------------------------------------------------------- */
static bool parse_count(const char *s, uint64_t max, uint64_t *out) {
  char *end;
  if (*s < '0' || *s > '9') return false;
  errno = 0;
  const unsigned long long v = strtoull(s, &end, 10);
  if (errno || *end || v > max) return false;
  *out = v;
  return true;
}

static int parse_stage(Options *o, const char *option, const char *s, bool dump) {
  const char *names[N_STAGES];
  uint32_t n = 0;
#define S(id, name, dumps, doc)                                                                                    \
  if (dumps || !dump) {                                                                                            \
    if (strcmp(s, name) == 0) {                                                                                    \
      if (dump) o->dump |= 1u << STAGE_##id;                                                                       \
      else o->last = STAGE_##id;                                                                                   \
      return RT_OK;                                                                                                \
    }                                                                                                              \
    names[n++] = name;                                                                                             \
  }
  DRIVER_STAGES(S)
#undef S
  return driver_fail_near(o, RT_USAGE, s, names, n, E0509, s, option);
}

static int parse_set(Options *o, char *s) {
  char *eq = strchr(s, '=');
  if (!eq || eq == s) return driver_fail(o, RT_USAGE, E0508, s, NULL);
  *eq = 0;
  o->sets[o->n_sets++] = (Override){s, eq + 1};
  return RT_OK;
}

static int parse_option(Options *o, int key, char *value) {
  uint64_t n = 0;
  switch (key) {
  case OPT_SET: return parse_set(o, value);
  case OPT_SEED:
    if (!parse_count(value, (uint64_t)INT64_MAX, &n)) return driver_fail(o, RT_USAGE, E0507, "--seed", value);
    o->rt.seed = n, o->rt.has_seed = true;
    o->sets[o->n_sets++] = (Override){"seed", value};
    return RT_OK;
  case OPT_THREADS:
    if (!parse_count(value, 1024, &n) || !n) return driver_fail(o, RT_USAGE, E0507, "--threads", value);
    o->rt.threads = (int)n;
    return RT_OK;
  case OPT_STEPS:
    if (!parse_count(value, (uint64_t)INT64_MAX, &n) || !n) return driver_fail(o, RT_USAGE, E0507, "--steps", value);
    o->rt.stop_after_steps = (int64_t)n;
    return RT_OK;
  case OPT_CLASS: o->grad.class = value; return RT_OK;
  case OPT_LOSS: o->grad.losses[o->grad.n_losses++] = value; return RT_OK;
  case OPT_NO_ROUTES: o->grad.no_routes = true; return RT_OK;
  case OPT_ORACLE: o->grad.oracle = true; return RT_OK;
  case OPT_ROWS:
    if (!parse_count(value, INT32_MAX, &n) || !n) return driver_fail(o, RT_USAGE, E0507, "--rows", value);
    o->grad.rows = (int64_t)n;
    return RT_OK;
  case OPT_BATCH_INDEX:
    if (!parse_count(value, (uint64_t)INT64_MAX / 2, &n)) return driver_fail(o, RT_USAGE, E0507, "--batch-index", value);
    o->grad.batch = (int64_t)n;
    return RT_OK;
  case OPT_AUDIT:
    if (!parse_count(value, (uint64_t)INT64_MAX, &n) || !n) return driver_fail(o, RT_USAGE, E0507, "--audit", value);
    o->rt.audit = (int64_t)n;
    return RT_OK;
  case OPT_PROFILE: o->rt.profile = value ? value : ""; return RT_OK;
  case OPT_INIT: o->rt.init_weights = value; return RT_OK;
  case OPT_DATA: o->rt.data_dir = value; return RT_OK;
  case OPT_RUN_DIR: o->rt.run_dir = value; return RT_OK;
  case OPT_CHECKPOINT: o->rt.checkpoint = value; return RT_OK;
  case OPT_SWEEP: o->sweep = value; return RT_OK;
  case OPT_OUTPUT: o->output = value; return RT_OK;
  case OPT_REGION: o->region = value; return RT_OK;
  case OPT_SVG: o->svg = value; return RT_OK;
  case OPT_MEASURE: o->measure = true; return RT_OK;
  case OPT_STRICTLY: o->strictly = true; return RT_OK;
  case OPT_IN_PLACE: o->in_place = true; return RT_OK;
  case OPT_OP: o->plugin.op = value; return RT_OK;
  case OPT_ASAN: o->plugin.asan = true; return RT_OK;
  case OPT_KIND: o->plugin.kind = value; return RT_OK;
  case OPT_ABILITY: o->plugin.ability = value; return RT_OK;
  case OPT_TARGET: o->target = strcmp(value, "native") == 0 ? NULL : value; return RT_OK;
  case OPT_PLUGIN_PATH: o->plugin_path = value; return RT_OK;
  case OPT_MEMORY: o->memory = true; return RT_OK;
  case OPT_BLAS: o->blas = true; return RT_OK;
  case OPT_NO_CACHE: o->no_cache = true; return RT_OK;
  case OPT_NO_FUSE: o->no_fuse = true; return RT_OK;
  case OPT_DUMP: return parse_stage(o, "--dump", value, true);
  case OPT_STOP_AFTER: return parse_stage(o, "--stop-after", value, false);
  case OPT_JSON: o->rt.json = true; return RT_OK;
  case OPT_QUIET: o->rt.quiet++; return RT_OK;
  case OPT_VERBOSE: o->rt.verbose++; return RT_OK;
  default: fprintf(stderr, "routec: option key %d is in the table but has no case\n", key); abort();
  }
}

static const OptionRow *option_row(int key) {
  for (size_t i = 0; i < N_OPTIONS; i++)
    if (options[i].key == key) return &options[i];
  return NULL;
}

/* getopt_long() returned '?' or ':' for argv[optind - 1]. */
static int bad_option(const Options *o, const Command *c, int returned, const char *written) {
  static char dashed[N_OPTIONS][32];
  const char *names[N_OPTIONS];
  char word[64];
  uint32_t n = 0;
  if (returned == ':') return driver_fail(o, RT_USAGE, E0506, written, NULL);
  for (size_t i = 0; i < N_OPTIONS; i++)
    if (!c || options[i].on & (int)c->bit) {
      snprintf(dashed[i], sizeof dashed[i], "--%s", options[i].name);
      names[n++] = dashed[i];
    }
  snprintf(word, sizeof word, "%.*s", (int)strcspn(written, "="), written);
  return driver_fail_near(o, RT_USAGE, word, names, n, E0502, word, NULL);
}

static int take_argument(Options *o, const Command *c, char *word) {
  uint32_t most = c->argument != NULL;
  for (const char *s = c->argument; s && *s; s++) most += *s == ' ';
  if (o->n_arguments == most) return driver_fail(o, RT_USAGE, E0505, word, c->name);
  if (!o->n_arguments) o->argument = word;
  o->arguments[o->n_arguments++] = word;
  return RT_OK;
}

/* Options may stand before and behind the argument, as everyone types them. */
static int parse_command_line(Options *o, const Command *c, int argc, char **argv) {
  struct option longs[N_OPTIONS + 1] = {0};
  for (size_t i = 0; i < N_OPTIONS; i++)
    longs[i] = (struct option){options[i].name, !options[i].value ? no_argument : *options[i].value == '[' ? optional_argument : required_argument, NULL, options[i].key};
  opterr = 0;
  optind = 1;
  char shorts[sizeof short_options + 1];
  snprintf(shorts, sizeof shorts, "%c:%s", short_options[0], short_options + 1); /* ':' first: missing values told apart */
  while (optind < argc) {
    const char *written = argv[optind];
    const int key = getopt_long(argc, argv, shorts, longs, NULL);
    if (key == -1) {
      if (optind >= argc) break;
      const int taken = take_argument(o, c, argv[optind++]);
      if (taken) return taken;
      continue;
    }
    if (key == '?' || key == ':') return bad_option(o, c, key, written);
    if (key == OPT_HELP) {
      print_help(stdout, c);
      return -1;
    }
    const OptionRow *row = option_row(key);
    if (row && !(row->on & (int)c->bit)) return driver_fail(o, RT_USAGE, E0503, written, c->name);
    const int code = parse_option(o, key, optarg);
    if (code) return code;
  }
  if (c->argument && c->argument[0] != '[' && !o->argument) return driver_fail(o, RT_USAGE, E0504, c->name, c->argument);
  return RT_OK;
}

/* ---- the process ------------------------------------------------------------------------------------------------- */
/* Seconds that this process spent before main(): loading and relocating libraries. /proc counts in clock ticks, so
 * the figure is good to 10 ms. 0 if it cannot be known. */
static double seconds_before_main(void) {
  char text[1024];
  struct timespec now;
  unsigned long long ticks = 0;
  FILE *f = fopen("/proc/self/stat", "r");
  if (!f) return 0;
  const size_t n = fread(text, 1, sizeof text - 1, f);
  fclose(f);
  text[n] = 0;
  const char *p = strrchr(text, ')'); /* field 2 may hold spaces */
  for (int field = 2; p && field < 22; field++) p = strchr(p + 1, ' ');
  if (!p || sscanf(p, "%llu", &ticks) != 1) return 0;
  clock_gettime(CLOCK_BOOTTIME, &now);
  const double s = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec - (double)ticks / (double)sysconf(_SC_CLK_TCK);
  return s > 0 && s < 60 ? s : 0;
}

#ifndef ROUTEC_SANITIZE
/* A crash of routec's own code is our failure: one sentence and exit 70. */
static volatile sig_atomic_t failure_json;
static void internal_failure(int signal_number) {
  static const char text[] = "routec: internal error; this is a fault of routec, please report it with the spec\n";
  rt_plugin_fault(signal_number, failure_json);
  if (write(2, text, sizeof text - 1) < 0) _exit(RT_INTERNAL);
  _exit(RT_INTERNAL);
}
#endif

static bool wants_color(void) {
  const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
  return !(no && *no) && isatty(2) && term && strcmp(term, "dumb") != 0;
}

static int finish(int code) {
  if (fflush(stdout) == 0 && !ferror(stdout)) return code;
  if (code != RT_OK) return code;
  const Options o = {0}; /* a full disk behind stdout is not success */
  return driver_fail(&o, RT_RUN_FAILED, E0517, "standard output", strerror(errno));
}

int main(int argc, char **argv) {
  Options o = {.t_main = driver_now(), .t_before_main = seconds_before_main(), .last = N_STAGES};
  o.rt.color = wants_color();
#ifndef ROUTEC_SANITIZE
  rt_faults_catch(internal_failure);
#endif
  if (argc < 2) {
    print_help(stderr, NULL);
    return RT_USAGE;
  }
  const char *word = argv[1];
  if (!strcmp(word, "help") || !strcmp(word, "--help") || !strcmp(word, "-h")) {
    const Command *about = NULL; /* `routec help run` */
    for (size_t i = 0; i < N_COMMANDS && argc > 2; i++)
      if (!strcmp(argv[2], commands[i].name)) about = &commands[i];
    print_help(stdout, about);
    return finish(RT_OK);
  }
  if (!strcmp(word, "--version") || !strcmp(word, "version")) {
    HostInfo h;
    const char *why = NULL;
    printf("routec %s (%s)\n", ROUTEC_VERSION, driver_host(&(Options){0}, &h, &why) ? h.llvm : why);
    return finish(RT_OK);
  }
  const char *names[N_COMMANDS];
  for (size_t i = 0; i < N_COMMANDS; i++) {
    names[i] = commands[i].name;
    if (strcmp(word, commands[i].name) != 0) continue;
    o.sets = calloc((size_t)argc + 1, sizeof *o.sets);
    o.grad.losses = calloc((size_t)argc + 1, sizeof *o.grad.losses);
    if (!o.sets || !o.grad.losses) return RT_INTERNAL;
    o.grad.on = commands[i].bit == ON_GRAD;
    o.json_diags = commands[i].json_diags;
    int code = parse_command_line(&o, &commands[i], argc - 1, argv + 1);
#ifndef ROUTEC_SANITIZE
    failure_json = o.rt.json;
#endif
    if (code == RT_OK) code = commands[i].run(&o);
    free(o.sets), free(o.grad.losses);
    return finish(code < 0 ? RT_OK : code);
  }
  if (word[0] == '-') return bad_option(&o, NULL, '?', word);
  return driver_fail_near(&o, RT_USAGE, word, names, N_COMMANDS, E0501, word, NULL);
}
