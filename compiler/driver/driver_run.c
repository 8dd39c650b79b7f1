/* SPDX-License-Identifier: Apache-2.0
 * driver_run.c -- the commands that run something: run, resume, eval, build. */
#include "driver.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* The runtime's options after a compilation, which took what the user waited for since the process began. */
static RtOptions run_options(const Compilation *c) {
  RtOptions rt = c->o->rt;
  rt.compile_seconds = c->o->t_before_main + driver_now() - c->o->t_main;
  return rt;
}

static int run_sweep(Compilation *c, const RtOptions *rt) {
  const Program *p = c->program;
  const char *names[64];
  uint32_t n = 0;
  for (uint32_t i = 0; i < c->job->n_sweeps; i++) {
    const JobSweep *s = &c->job->sweeps[i];
    if (n < 64) names[n++] = s->name;
    if (strcmp(s->name, c->o->sweep) != 0) continue;
    for (uint32_t k = 0; k < p->n_settings; k++)
      if (p->settings[k].structural && strcmp(p->settings[k].name, s->param) == 0)
        return driver_fail(c->o, RT_USAGE, E0520, s->name, s->param);
    return rt_sweep(c->job, rt, s);
  }
  return driver_fail_near(c->o, RT_USAGE, c->o->sweep, names, n, E0512, c->o->sweep, NULL);
}

int driver_command_run(const Options *o) {
  Compilation c;
  bool stopped;
  driver_open(&c, o);
  int code = driver_compile(&c, o->argument, STAGE_LOAD, &stopped);
  if (o->rt.verbose) driver_print_times(&c, stderr);
  if (code == RT_OK && !stopped) {
    const RtOptions rt = run_options(&c);
    if (o->sweep) code = run_sweep(&c, &rt);
    else if (c.job->train.present || c.job->n_evals) code = rt_train(c.job, &rt);
    else code = driver_fail(o, RT_USAGE, E0518, o->argument, NULL);
  }
  driver_close(&c);
  return code;
}

/* ---- run folders --------------------------------------------------------------------------------------------------- */
static bool is_folder(const char *path) {
  struct stat s;
  return stat(path, &s) == 0 && S_ISDIR(s.st_mode);
}

/* The manifest's params and seed become overrides. */
static void add_recorded_sets(Compilation *c, Options *o, json_t *params, const json_t *seed) {
  Override *sets = ARENA_NEWS(c->arena, Override, json_object_size(params) + 1);
  uint32_t n = 0;
  const char *name;
  json_t *value;
  json_object_foreach(params, name, value) {
    if (!json_is_string(value) || strcmp(name, "seed") == 0) continue;
    sets[n++] = (Override){arena_strdup(c->arena, name), arena_strdup(c->arena, json_string_value(value))};
  }
  if (json_is_integer(seed))
    sets[n++] = (Override){"seed", arena_printf(c->arena, "%lld", (long long)json_integer_value(seed))};
  o->sets = sets;
  o->n_sets = n;
}

/* Loads RUN/manifest.json and RUN/spec.route. The copy is compiled under the original's path, so that `use` and
 * `extend` find their files; the manifest holds their hash, and the runtime refuses a base file that changed. */
static int open_run(Compilation *c, Options *o, const char *run) {
  json_error_t e;
  const char *why = NULL;
  json_t *manifest = json_load_file(arena_printf(c->arena, "%s/manifest.json", run), 0, &e);
  if (!manifest) return driver_fail(o, RT_DIAGNOSTICS, E0513, run, arena_printf(c->arena, "manifest.json: %s", e.text));
  const char *path = json_string_value(json_object_get(manifest, "spec"));
  const char *copy = arena_printf(c->arena, "%s/spec.route", run);
  Sources *scratch = sources_create(c->arena);
  const uint32_t file = sources_add_file(scratch, copy, &why);
  int code = RT_OK;
  if (!file) code = driver_fail(o, RT_DIAGNOSTICS, E0513, run, arena_printf(c->arena, "spec.route: %s", why));
  if (code == RT_OK) {
    const SourceFile *f = scratch->files[file];
    c->file = sources_add_text(c->sources, path ? path : copy, f->text, f->len);
    add_recorded_sets(c, o, json_object_get(manifest, "params"), json_object_get(manifest, "seed"));
  }
  json_decref(manifest);
  char *choices = rt_checkpoint_choices(run);
  c->choices = choices ? arena_strdup(c->arena, choices) : NULL;
  free(choices);
  return code;
}

int driver_command_resume(const Options *given) {
  Options o = *given;
  Compilation c;
  bool stopped = false;
  driver_open(&c, &o);
  int code = open_run(&c, &o, o.argument);
  if (code == RT_OK) code = driver_compile_source(&c, STAGE_LOAD, &stopped);
  if (o.rt.verbose) driver_print_times(&c, stderr);
  if (code == RT_OK && !stopped) {
    RtOptions rt = run_options(&c);
    rt.resume = o.argument;
    code = rt_train(c.job, &rt);
  }
  driver_close(&c);
  return code;
}

/* `eval RUN`, or `eval SPEC --checkpoint FILE`. */
int driver_command_eval(const Options *given) {
  Options o = *given;
  Compilation c;
  bool stopped = false;
  int code = RT_OK;
  if (!is_folder(o.argument) && !o.rt.checkpoint && !o.rt.init_weights)
    return driver_fail(&o, RT_USAGE, E0519, o.argument, NULL);
  driver_open(&c, &o);
  if (is_folder(o.argument)) {
    if (!o.rt.checkpoint) o.rt.checkpoint = o.argument;
    code = open_run(&c, &o, o.argument);
    if (code == RT_OK) code = driver_compile_source(&c, STAGE_LOAD, &stopped);
  } else {
    code = driver_compile(&c, o.argument, STAGE_LOAD, &stopped);
  }
  if (o.rt.verbose) driver_print_times(&c, stderr);
  if (code == RT_OK && !stopped) {
    const RtOptions rt = run_options(&c);
    code = rt_eval(c.job, &rt);
  }
  driver_close(&c);
  return code;
}

int driver_command_build(const Options *o) {
  Compilation c;
  bool stopped;
  if (o->rt.profile && *o->rt.profile) return driver_fail(o, RT_USAGE, E0507, "--profile", o->rt.profile);
  driver_open(&c, o);
  int code = driver_compile(&c, o->argument, STAGE_ASM, &stopped);
  if (code == RT_OK && !stopped) code = driver_build(&c, o->output ? o->output : c.program->title);
  if (o->rt.verbose) driver_print_times(&c, stderr);
  driver_close(&c);
  return code;
}
