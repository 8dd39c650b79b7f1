/* SPDX-License-Identifier: Apache-2.0
 * driver_plugin_check.c -- `routec plugin check`: does a plugin do what route_plugin.h asks? Each check is a
 * row of a table and runs in a process of its own: a crash or a hang is a result like any other. */
#include "driver_plugin.h"
#include "driver_plugin_trial.h"
#include <dlfcn.h>
#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CPU_SECONDS = 10, WALL_SECONDS = 120, TAIL = 600 };
#define STEP_ABILITIES (TRIAL_SPAN | TRIAL_REDUCE | TRIAL_GATE)

/* `needs`: names of checks without which this one would say nothing new; one letter each, in `letter`. */
typedef struct Check {
  const char *name;
  int abilities;
  char letter;
  const char *needs;
  bool (*law)(Trial *t);
  const char *doc;
} Check;
static const Check checks[] = {
    {"create", TRIAL_OP, 'c', "", law_create, "states can be made"},
    {"finite", TRIAL_EXPR, 'f', "c", law_formula_finite, "ordinary data and zeros give numbers"},
    {"agrees", TRIAL_EXPR, 'a', "cf", law_formula_agrees, "the formula computes what the op's functions do"},
    {"value", TRIAL_SCHEDULE, 'v', "c", law_schedule, "each step has a number, always the same"},
    {"finite", STEP_ABILITIES, 'f', "c", law_finite, "ordinary data and zeros give numbers"},
    {"bounds", STEP_ABILITIES, 'b', "cf", law_bounds, "nothing is written or read outside"},
    {"inputs", STEP_ABILITIES, 'i', "cfb", law_inputs, "inputs and state are only read"},
    {"pure", STEP_ABILITIES, 'p', "cfbi", law_pure, "the same arguments give the same bits"},
    {"threads", STEP_ABILITIES, 't', "cfbip", law_threads, "several threads at once give the same bits"},
    {"empty", STEP_ABILITIES, 'e', "cfb", law_empty, "no rows"},
    {"nan", STEP_ABILITIES, 'n', "cfb", law_nan, "NaN, infinities, huge and tiny numbers"},
    {"adds", STEP_ABILITIES, 'd', "cfbip", law_adds, "gradients are added, never stored"},
    {"store", TRIAL_SPAN, 'o', "cfbip", law_store, "gradients are stored as they would be added to zeros"},
    {"scale", STEP_ABILITIES, 's', "cfbip", law_scale, "gradients are linear in what scales them"},
    {"tiles", TRIAL_SPAN | TRIAL_REDUCE, 'l', "cfbip", law_tiles,
     "results do not depend on tiles or padding"},
    {"rows", TRIAL_GATE, 'r', "cfbip", law_rows, "rows do not know of one another"},
    {"key", TRIAL_GATE, 'k', "cfbip", law_key, "nothing is drawn in evaluations"},
    {"gradient", STEP_ABILITIES, 'g', "cfbip", law_gradient,
     "gradients are those of the value, by differences"},
};
#define N_CHECKS (sizeof checks / sizeof *checks)
static const struct {
  const char *name, *id;
  TrialAbility bit;
  uint32_t kind;
} abilities[] = {{"expr", ROUTE_EXT_EXPR, TRIAL_EXPR, 0},
                 {"span", ROUTE_EXT_SPAN, TRIAL_SPAN, ROUTE_REGULARIZER},
                 {"reduce", ROUTE_EXT_REDUCE, TRIAL_REDUCE, ROUTE_REGULARIZER},
                 {"gate", ROUTE_EXT_GATE, TRIAL_GATE, ROUTE_GATE},
                 {"schedule", ROUTE_EXT_SCHEDULE, TRIAL_SCHEDULE, ROUTE_SCHEDULE}};
#define N_ABILITIES (sizeof abilities / sizeof *abilities)

typedef struct Session {
  const Options *o;
  uint32_t made, failed, skipped;
  json_t *lines;
} Session;

/* ---- one check in a child process
 * -------------------------------------------------------------------------------- */
static void child_main(Trial *t, const Check *check, int output) {
  static const int signals[] = {SIGABRT, SIGFPE, SIGILL, SIGXCPU, SIGTERM};
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  setrlimit(RLIMIT_CPU, &(struct rlimit){CPU_SECONDS, CPU_SECONDS + 1});
  setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
  for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) signal(signals[i], SIG_DFL);
  if (output >= 0) dup2(output, 1), dup2(output, 2);
  trial_catch_faults(t);
  const bool passed = check->law(t);
  t->verdict->passed = passed && !t->verdict->why[0];
  t->verdict->done = true;
  _exit(0);
}

/* false: it was still there after the time limit, and was ended. */
static bool wait_for(pid_t child, int *status) {
  const double end = driver_now() + WALL_SECONDS;
  for (useconds_t pause = 100;; pause = pause < 5000 ? pause * 2 : pause) {
    const pid_t got = waitpid(child, status, WNOHANG);
    if (got == child || (got < 0 && errno != EINTR)) return true;
    if (driver_now() > end) break;
    usleep(pause);
  }
  kill(child, SIGKILL);
  waitpid(child, status, 0);
  return false;
}

/* The plugin's own last words, or the sanitizer's first ones. */
static void add_output(TrialVerdict *v, int output) {
  char text[1 << 14];
  const off_t end = output >= 0 ? lseek(output, 0, SEEK_END) : 0;
  const ssize_t n = end > 0 ? pread(output, text, sizeof text - 1, 0) : 0;
  if (n <= 0) return;
  text[n] = 0;
  const char *from = strstr(text, "ERROR: AddressSanitizer");
  if (!from) from = n > TAIL ? text + n - TAIL : text;
  size_t len = strlen(v->why);
  snprintf(v->why + len, sizeof v->why - len, "; it said: %.*s", TAIL, from);
  for (char *p = v->why + len; *p; p++)
    if ((unsigned char)*p < ' ') *p = ' ';
}

static void judge_end(TrialVerdict *v, bool in_time, int status) {
  if (v->why[0]) return;
  const char *where = v->at[0] ? v->at : "the plugin";
  if (!in_time) snprintf(v->why, sizeof v->why, "did not return within %d s from %s", WALL_SECONDS, where);
  else if (WIFSIGNALED(status) && (WTERMSIG(status) == SIGXCPU || WTERMSIG(status) == SIGKILL))
    snprintf(v->why, sizeof v->why, "did not return within %d s of processor time from %s", CPU_SECONDS,
             where);
  else if (WIFSIGNALED(status))
    snprintf(v->why, sizeof v->why, "%s in %s", strsignal(WTERMSIG(status)), where);
  else
    snprintf(v->why, sizeof v->why, "ended the process with exit code %d in %s", WEXITSTATUS(status), where);
}

/* v is shared memory. */
static void run_check(Trial *t, const Check *check, TrialVerdict *v) {
  memset(v, 0, sizeof *v);
  t->verdict = v;
  const int output = memfd_create("output", MFD_CLOEXEC);
  fflush(stdout);
  const pid_t child = fork();
  if (child == 0) child_main(t, check, output);
  int status = 0;
  if (child < 0)
    snprintf(v->why, sizeof v->why, "no process could be made for the check: %s", strerror(errno));
  else {
    const bool in_time = wait_for(child, &status);
    if (!v->done) {
      judge_end(v, in_time, status);
      add_output(v, output);
    }
  }
  if (output >= 0) close(output);
}

/* ---- report
 * ------------------------------------------------------------------------------------------------------ */
static void tell(Session *s, const char *op, const char *ability, const Check *check, const char *result,
                 const char *why) {
  char name[64];
  snprintf(name, sizeof name, "%s%s%s", ability ? ability : "", ability ? "." : "", check->name);
  if (s->o->rt.json)
    json_array_append_new(
        s->lines, json_pack("{s:s,s:s,s:s,s:s}", "op", op, "check", name, "result", result, "why", why));
  else if (!s->o->rt.quiet || strcmp(result, "failed") == 0) printf("  %-16s  %-7s  %s\n", name, result, why);
}

/* Where normal numbers give none, but shares of 1 do, the op is about those. */
static bool on_shares(Trial *t, const Check *c, TrialVerdict *v) {
  const TrialVerdict first = *v;
  t->shares = true;
  run_check(t, c, v);
  if (v->done && v->passed) {
    snprintf(v->note, sizeof v->note,
             "if rows are positive and sum to 1, and for zeros: the other checks are made with such data");
    return true;
  }
  *v = first;
  return t->shares = false;
}

/* All checks of one ability; `bad` collects the letters of those that failed or were not made. */
static void check_ability(Session *s, const RouteOp *op, const char *ability, TrialAbility bit,
                          const void *able, char *bad, TrialVerdict *v) {
  bool shares = false;
  for (size_t i = 0; i < N_CHECKS; i++) {
    const Check *c = &checks[i];
    if (!(c->abilities & (int)bit)) continue;
    const char *missing = strpbrk(c->needs, bad);
    char why[100] = "";
    if (missing) {
      for (size_t k = 0; k < N_CHECKS; k++)
        if (checks[k].letter == *missing)
          snprintf(why, sizeof why, "not made, since `%s` failed", checks[k].name);
      s->skipped++;
      tell(s, op->name, ability, c, "-", why);
      continue;
    }
    Trial *t = calloc(1, sizeof *t);
    if (!t) abort();
    t->op = op, t->ability = bit, t->able = able;
    t->random = (uint64_t)s->o->rt.seed * 1000003u + i, t->shares = shares;
    run_check(t, c, v);
    if (v->done && !v->passed && c->letter == 'f') shares = on_shares(t, c, v);
    free(t);
    s->made++;
    const bool passed = v->done && v->passed;
    s->failed += !passed;
    if (!passed) bad[strlen(bad)] = c->letter;
    tell(s, op->name, ability, c, passed ? "ok" : "failed", passed ? v->note[0] ? v->note : c->doc : v->why);
  }
}

static void check_op(Session *s, const RouteOp *op, TrialVerdict *v) {
  char create_bad[N_CHECKS + 1] = "";
  if (!s->o->rt.json && !s->o->rt.quiet) printf("op %s\n", op->name);
  check_ability(s, op, NULL, TRIAL_OP, NULL, create_bad, v);
  for (size_t i = 0; i < N_ABILITIES; i++) {
    if (abilities[i].kind && abilities[i].kind != op->kind) continue;
    char bad[N_CHECKS + 1] = "";
    memcpy(bad, create_bad, sizeof bad);
    const void *able = op->extension(op, abilities[i].id);
    if (able) check_ability(s, op, abilities[i].name, abilities[i].bit, able, bad, v);
  }
}

/* ---- AddressSanitizer
 * -------------------------------------------------------------------------------------------- */
/* The library of the sanitizer that the file asks for, such as libasan.so.8; false: it asks for none. */
static bool sanitizer_of(const char *path, char *name, size_t size) {
  FILE *f = fopen(path, "rb");
  char *bytes = NULL;
  size_t n = 0;
  FILE *copy = open_memstream(&bytes, &n);
  char block[1 << 14];
  for (size_t got; f && copy && (got = fread(block, 1, sizeof block, f)) > 0;) fwrite(block, 1, got, copy);
  if (f) fclose(f);
  if (copy) fclose(copy);
  const char *at = bytes ? memmem(bytes, n, "libasan.so", 10) : NULL;
  if (bytes && !at) at = memmem(bytes, n, "libclang_rt.asan", 16);
  if (at) snprintf(name, size, "%.*s", (int)(bytes + n - at), at);
  free(bytes);
  return at != NULL;
}

/* Starts this program again with the sanitizer's library loaded first. Returns only if that was not possible.
 */
static int again_with_sanitizer(const Options *o, const char *path) {
  char name[128], seed[40];
  if (!sanitizer_of(path, name, sizeof name))
    return driver_fail(o, RT_USAGE, E0568, path, "it does not ask for the sanitizer's library");
  snprintf(seed, sizeof seed, "--seed=%llu", (unsigned long long)o->rt.seed);
  char *argv[12] = {(char[]){"routec"},      (char[]){"plugin"}, (char[]){"check"},
                    (char *)(uintptr_t)path, (char[]){"--asan"}, seed};
  uint32_t n = 6;
  if (o->rt.json) argv[n++] = (char[]){"--json"};
  if (o->rt.quiet) argv[n++] = (char[]){"--quiet"};
  if (o->plugin.op) argv[n++] = (char[]){"--op"}, argv[n++] = (char *)(uintptr_t)o->plugin.op;
  const char *before = getenv("LD_PRELOAD");
  if (before && strstr(before, name))
    return driver_fail(o, RT_USAGE, E0568, path,
                       "the sanitizer's library was loaded first, and is not there");
  setenv("LD_PRELOAD", name, 1);
  setenv("ASAN_OPTIONS", "detect_leaks=0:handle_segv=0:handle_abort=0", 0);
  fflush(NULL);
  execv("/proc/self/exe", argv);
  return driver_fail(o, RT_RUN_FAILED, E0568, path, strerror(errno));
}

/* ---- the command
 * ------------------------------------------------------------------------------------------------- */
static int report(Session *s, const RoutePlugin *p, const char *what) {
  char sum[120];
  snprintf(sum, sizeof sum, "%u of %u checks failed", s->failed, s->made + s->skipped);
  if (s->skipped) snprintf(sum + strlen(sum), sizeof sum - strlen(sum), ", %u could not be made", s->skipped);
  if (s->o->rt.json) {
    json_t *all = json_pack("{s:s,s:s,s:s,s:b,s:i,s:i,s:o}", "plugin", p->name, "version", p->version, "path",
                            what, "ok", s->failed == 0, "checks", (int)(s->made + s->skipped), "failed",
                            (int)s->failed, "results", s->lines);
    json_dumpf(all, stdout, JSON_INDENT(2));
    printf("\n");
    json_decref(all);
    return s->failed ? RT_PLUGIN_REFUSED : RT_OK;
  }
  if (s->failed) {
    fflush(stdout);
    return driver_fail(s->o, RT_PLUGIN_REFUSED, E0567, what, sum);
  }
  if (!s->o->rt.quiet)
    printf("%s: all of %u checks passed%s\n", what, s->made,
           s->o->plugin.asan ? ", with AddressSanitizer" : "");
  return RT_OK;
}

int plugin_check(const Options *o) {
  const char *what = o->arguments[1];
  char path[PATH_MAX];
  const RoutePlugin *p = NULL;
  if (o->plugin.asan) {
    if (!plugin_is_path(what)) return driver_fail(o, RT_USAGE, E0568, what, "it is no shared object");
    if (!dlsym(RTLD_DEFAULT, "__asan_init")) return again_with_sanitizer(o, what);
    if (!sanitizer_of(what, path, sizeof path))
      return driver_fail(o, RT_USAGE, E0568, what, "it does not ask for the sanitizer's library");
  }
  const int code = plugin_named(o, what, &p, path);
  if (code != RT_OK) return code;
  TrialVerdict *v = mmap(NULL, sizeof *v, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (v == MAP_FAILED) return driver_fail(o, RT_INTERNAL, E0567, what, strerror(errno));
  Session s = {.o = o, .lines = json_array()};
  if (!o->rt.json && !o->rt.quiet) {
    printf("%s %s (%s), ABI %u.%u: loaded, and its tables are sound\n", p->name, p->version, p->license,
           p->abi.major, p->abi.minor);
    fflush(stdout);
  }
  const char *names[257];
  uint32_t n = 0, looked = 0;
  for (; p->ops[n]; n++) {
    names[n] = p->ops[n]->name;
    if (o->plugin.op && strcmp(o->plugin.op, names[n]) != 0) continue;
    check_op(&s, p->ops[n], v);
    looked++;
  }
  munmap(v, sizeof *v);
  if (!looked) return driver_fail_near(o, RT_USAGE, o->plugin.op, names, n, E0566, p->name, o->plugin.op);
  return report(&s, p, what);
}
