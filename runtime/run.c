/* SPDX-License-Identifier: Apache-2.0
 * run.c -- what a run owns, its folder and manifest, and signals. */
#include "run.h"
#include "doctor.h"
#include "gemm.h"
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- signals
 * --------------------------------------------------------------------------------------------------- */
static volatile sig_atomic_t signal_count;
static const int signal_list[] = {SIGINT, SIGTERM, SIGHUP, SIGXFSZ};
enum { N_SIGNALS = sizeof signal_list / sizeof *signal_list };
static struct sigaction signal_before[N_SIGNALS];

static void signal_note(int number) {
  (void)number;
  if (++signal_count > 1) _exit(RT_INTERRUPTED);
}

void signals_catch(void) {
  signal_count = 0;
  for (int i = 0; i < N_SIGNALS; i++) {
    struct sigaction a = {
        .sa_handler = signal_list[i] == SIGXFSZ ? SIG_IGN : signal_note}; /* so that write() says EFBIG */
    sigaction(signal_list[i], NULL, &signal_before[i]);
    if (signal_before[i].sa_handler != SIG_IGN || signal_list[i] != SIGHUP)
      sigaction(signal_list[i], &a, NULL); /* nohup */
  }
}
void signals_release(void) {
  for (int i = 0; i < N_SIGNALS; i++) sigaction(signal_list[i], &signal_before[i], NULL);
}
int signals_seen(void) { return signal_count; }

/* ---- messages
 * -------------------------------------------------------------------------------------------------- */
void run_warn(const Run *r, RtCode code, ...) {
  RtError w = {0};
  va_list args;
  va_start(args, code);
  rt_error_fill(&w, NULL, code, args);
  va_end(args);
  rt_error_print(&w, r->o->json ? stdout : stderr, r->o->json, r->o->color);
}

int run_report(Run *r, int exit_code) {
  rt_error_print(&r->error, r->o->json ? stdout : stderr, r->o->json, r->o->color);
  return exit_code == RT_RUN_FAILED && rt_code_is_plugin(r->error.code) ? RT_PLUGIN_REFUSED : exit_code;
}

json_t *json_number(double v) { return isfinite(v) ? json_real(v) : json_null(); }

/* ---- folder
 * ------------------------------------------------------------------------------------------------------ */
bool run_folder_parents(const char *path, RtError *e) {
  char *copy = mem_printf("%s", path);
  bool ok = true;
  for (char *p = copy + 1; ok && *p; p++) {
    if (*p != '/') continue;
    *p = 0;
    if (mkdir(copy, 0777) != 0 && errno != EEXIST) ok = rt_fail(e, RT_E0721, path, strerror(errno));
    *p = '/';
  }
  free(copy);
  return ok;
}

static bool folder_lock(Run *r) {
  r->dir_lock = open(r->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (r->dir_lock < 0) return rt_fail(&r->error, RT_E0723, r->dir, strerror(errno));
  if (flock(r->dir_lock, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
    return rt_fail(&r->error, RT_E0727, r->dir);
  return true;
}

/* Titles become folder names: anything unusual becomes '_'. */
static char *folder_default(const Run *r, int number) {
  char *title = mem_printf("%s", r->job->title && *r->job->title ? r->job->title : "run");
  for (char *p = title; *p; p++)
    if (*p == '/' || (unsigned char)*p < 33) *p = '_';
  char *dir = number < 2 ? mem_printf("runs/%s-s%llu", title, (unsigned long long)r->seed)
                         : mem_printf("runs/%s-s%llu-%d", title, (unsigned long long)r->seed, number);
  free(title);
  return dir;
}

static bool folder_make(Run *r) {
  if (r->o->run_dir) {
    char *manifest = mem_printf("%s/manifest.json", r->o->run_dir);
    bool taken = access(manifest, F_OK) == 0;
    free(manifest);
    if (taken) return rt_fail(&r->error, RT_E0722, r->o->run_dir);
    r->dir = mem_printf("%s", r->o->run_dir);
    if (!run_folder_parents(r->dir, &r->error)) return false;
    return mkdir(r->dir, 0777) == 0 || errno == EEXIST ||
           rt_fail(&r->error, RT_E0721, r->dir, strerror(errno));
  }
  for (int number = 1; number < 100000; number++) {
    r->dir = folder_default(r, number);
    if (!run_folder_parents(r->dir, &r->error)) return false;
    if (mkdir(r->dir, 0777) == 0) return true;
    if (errno != EEXIST) return rt_fail(&r->error, RT_E0721, r->dir, strerror(errno));
    free(r->dir);
    r->dir = NULL;
  }
  return rt_fail(&r->error, RT_E0721, "runs", "too many runs");
}

/* ---- manifest
 * ---------------------------------------------------------------------------------------------------- */
/* A param's value as the command line would set it. */
static json_t *setting_value(const Job *job, const JobSetting *s) {
  if (s->scalar < 0) return json_string(s->value);
  const JobScalar *c = &job->scalars[s->scalar];
  char *end;
  if (s->value && strtod(s->value, &end) == c->value && !*end) return json_string(s->value);
  char text[40];
  snprintf(text, sizeof text, c->is_int ? "%.0f" : "%.17g", c->value);
  return json_string(text);
}

static void text_set(json_t *o, const char *key, const char *value) {
  if (value) json_object_set_new(o, key, json_string(value));
}

/* Absolute, so that `resume` works from another folder. */
static void path_set(json_t *o, const char *key, const char *path) {
  char *absolute = path ? realpath(path, NULL) : NULL;
  text_set(o, key, absolute ? absolute : path);
  free(absolute);
}

static bool uses_blas(const Job *job) {
  bool any = job->train.fn.blas || job->gradient.fn.blas;
  for (uint32_t i = 0; i < job->n_evals; i++) any = any || job->evals[i].fn.blas;
  for (uint32_t i = 0; i < job->n_derived; i++) any = any || job->derived[i].fn.blas;
  return any;
}

static json_t *manifest_make(const Run *r) {
  const Job *job = r->job;
  char cpu[256], hash[20], when[40];
  time_t now = time(NULL);
  struct tm utc;
  gmtime_r(&now, &utc);
  strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &utc);
  doctor_cpu_model(cpu, sizeof cpu);
  snprintf(hash, sizeof hash, "%016llx", (unsigned long long)job->plan_hash);
  json_t *o = json_object(), *params = json_object(), *scalars = json_object();
  text_set(o, "title", job->title);
  path_set(o, "spec", r->spec_path);
  text_set(o, "started", when);
  text_set(o, "routec", ROUTEC_VERSION);
  text_set(o, "compiler", job->compiler);
  text_set(o, "target_cpu", job->target_cpu);
  text_set(o, "cpu", cpu);
  if (uses_blas(job)) {
    text_set(o, "blas_core", rt_gemm_core());
    text_set(o, "blas", rt_gemm_config());
  }
  json_object_set_new(o, "threads", json_integer(pool_threads(r->pool)));
  text_set(o, "plan_hash", hash);
  json_object_set_new(o, "data_hash", json_sprintf("%016llx", (unsigned long long)data_hash(&r->data)));
  json_object_set_new(o, "classes", census_json(r));
  json_object_set_new(o, "sources_hash", json_sprintf("%016llx", (unsigned long long)job->sources_hash));
  if (r->seed <= INT64_MAX) json_object_set_new(o, "seed", json_integer((json_int_t)r->seed));
  else json_object_set_new(o, "seed", json_sprintf("%llu", (unsigned long long)r->seed));
  for (uint32_t i = 0; i < job->n_settings; i++)
    json_object_set_new(params, job->settings[i].name, setting_value(job, &job->settings[i]));
  for (uint32_t i = 0; i < job->n_scalars; i++)
    json_object_set_new(scalars, job->scalars[i].name, json_sprintf("%a", job->scalars[i].value));
  json_object_set_new(o, "params", params);
  json_object_set_new(o, "scalars", scalars);
  path_set(o, "data_dir", r->data_dir);
  path_set(o, "init", r->init_path);
  return o;
}

bool run_manifest_write(Run *r, const char *status, int exit_code) {
  if (!r->dir) return true;
  if (!r->manifest) r->manifest = manifest_make(r);
  json_object_set_new(r->manifest, "status", json_string(status));
  json_object_set_new(r->manifest, "exit_code", exit_code < 0 ? json_null() : json_integer(exit_code));
  json_object_set_new(r->manifest, "steps", json_integer(r->state.step));
  json_object_set_new(r->manifest, "seconds", json_number(r->state.seconds));
  if (exit_code >= 0) json_object_set_new(r->manifest, "memory", memory_json());
  if (r->error.code) json_object_set_new(r->manifest, "error", json_string(r->error.message));
  else json_object_del(r->manifest, "error");
  char *text = json_dumps(r->manifest, JSON_INDENT(2)), *path = mem_printf("%s/manifest.json", r->dir);
  bool ok = text && mem_write_file(path, text, strlen(text), &r->error);
  free(text), free(path);
  return ok;
}

bool run_folder_create(Run *r) {
  if (!folder_make(r) || !folder_lock(r)) return false;
  const char *text = r->job->spec_text ? r->job->spec_text : "";
  char *path = mem_printf("%s/spec.route", r->dir);
  bool ok = mem_write_file(path, text, strlen(text), &r->error);
  free(path);
  return ok && run_manifest_write(r, "running", -1) && metrics_open(r, 0);
}

static char *manifest_text(const json_t *m, const char *key) {
  const char *s = json_string_value(json_object_get(m, key));
  return s ? mem_printf("%s", s) : NULL;
}

bool run_folder_resume(Run *r, const char *dir) {
  json_error_t why;
  r->dir = mem_printf("%s", dir);
  if (!folder_lock(r)) return false;
  char *path = mem_printf("%s/manifest.json", dir);
  r->manifest = json_load_file(path, 0, &why);
  free(path);
  if (!json_is_object(r->manifest))
    return rt_fail(&r->error, RT_E0723, dir, r->manifest ? "manifest.json is not an object" : why.text);
  const char *sources = json_string_value(json_object_get(r->manifest, "sources_hash"));
  if (sources && strtoull(sources, NULL, 16) != r->job->sources_hash) return rt_fail(&r->error, RT_E0737, dir);
  const json_t *seed = json_object_get(r->manifest, "seed");
  if (json_is_integer(seed)) r->seed = (uint64_t)json_integer_value(seed);
  else if (json_is_string(seed)) r->seed = strtoull(json_string_value(seed), NULL, 10);
  else return rt_fail(&r->error, RT_E0723, dir, "manifest.json has no seed");
  for (uint32_t i = 0; i < r->job->n_scalars; i++) {
    const char *v =
        json_string_value(json_object_get(json_object_get(r->manifest, "scalars"), r->job->scalars[i].name));
    if (v) r->job->scalars[i].value = strtod(v, NULL);
  }
  free(r->spec_path), free(r->init_path);
  r->spec_path = manifest_text(r->manifest, "spec");
  r->init_path = manifest_text(r->manifest, "init");
  if (!r->o->data_dir) free(r->data_dir), r->data_dir = manifest_text(r->manifest, "data_dir");
  return true;
}

/* ---- open, close
 * ------------------------------------------------------------------------------------------------- */
static char *copy_or_null(const char *s) { return s ? mem_printf("%s", s) : NULL; }

bool run_open(Run *r, Job *job, const RtOptions *o) {
  *r =
      (Run){.job = job, .o = o, .opened = mem_now(), .dir_lock = -1, .order = {.epoch = -1}, .steps_per_epoch = 1};
  r->seed = o->has_seed ? o->seed : job->seed;
  r->spec_path = copy_or_null(job->spec_path), r->data_dir = copy_or_null(o->data_dir),
  r->init_path = copy_or_null(o->init_weights);
  r->state = (RunState){.total_min = INFINITY, .total_last = NAN, .evaluated = -1};
  r->state.loss_sums = calloc(job->n_origins + 8, sizeof(double));
  r->losses = calloc(job->n_origins + 8, sizeof(double));
  r->wide_scalars = calloc(job->n_scalars + 8, sizeof(double));
  r->scratch_losses = calloc(2 * (size_t)job->n_origins + 16, sizeof(double));
  r->state.baseline = calloc(job->train.fn.n_probes + 1, sizeof(double));
  r->state.peak = calloc(job->train.fn.n_probes + 1, sizeof(double));
  if (!r->state.loss_sums || !r->losses || !r->wide_scalars || !r->scratch_losses || !r->state.baseline || !r->state.peak)
    return rt_fail(&r->error, RT_E0719, 0LL, "tables");
  if (job->abi != JOB_ABI) fprintf(stderr, "runtime: job ABI %u, expected %d\n", job->abi, JOB_ABI), abort();
  return true;
}

bool run_has_data(const Run *r) { return strcmp(r->job->sources[r->job->train.source].reader, "none") != 0; }

/* Every thread: no page of the step's memory is new in a step, not even where a row set grows beyond what it was so far. */
static void touch_entry(JobFrame *f, int64_t tid) {
  const Run *r = f->host;
  slab_touch(&r->store, tid, f->n_threads);
  slab_touch(&r->work, tid, f->n_threads);
}

bool run_load(Run *r) {
  double t = mem_now();
  char feature[64];
  if (doctor_missing_feature(r->job->target_cpu, r->job->target_features, feature, sizeof feature))
    return rt_fail(&r->error, RT_E0735, r->job->target_cpu, feature);
  if (uses_blas(r->job)) {
    if (!rt_gemm_open(&r->error)) return false;
    if (!doctor_blas_once()) run_warn(r, RT_W0756, rt_gemm_core());
  }
  bool ok = true;
  if (!prefetch_take(r, &ok)) ok = data_open(&r->data, r->job, r->data_dir, r->spec_path, &r->error);
  if (!ok) return false;
  r->data_seconds = mem_now() - t;
  const char *then = json_string_value(json_object_get(r->manifest, "data_hash")); /* of a run that is resumed */
  if (then && strtoull(then, NULL, 16) != data_hash(&r->data)) return rt_fail(&r->error, RT_E0738, r->dir);
  const JobTrain *train = &r->job->train;
  run_scalars(r);
  if (!r->store.bytes && !params_alloc(r->job, &r->store, &r->error)) return false;
  if (train->present && !r->work.bytes && !slab_alloc(&r->work, job_work_bytes(&train->fn, rt_threads(r->o->threads)), "activations", &r->error)) return false;
  r->pool = pool_create(r->o->threads, &r->error);
  if (!r->pool) return false;
  if (train->present) pool_run(r->pool, touch_entry, &(JobFrame){.host = r});
  return run_calls(r) && derive_columns(r) && eval_alloc(r);
}

void run_close(Run *r) {
  eval_free(r), audit_free(r), monitor_free(r), profile_free(r);
  pool_destroy(r->pool);
  calls_close(r->calls);
  if (r->metrics) fclose(r->metrics);
  if (r->dir_lock >= 0) close(r->dir_lock);
  if (r->data.parts) data_close(&r->data);
  slab_free(&r->store), slab_free(&r->work), order_free(&r->order), groups_free(&r->groups), slab_free(&r->gradient_work);
  json_decref(r->manifest);
  free(r->spec_path), free(r->data_dir), free(r->init_path), free(r->dir), free(r->losses),
      free(r->wide_scalars), free(r->scratch_losses);
  free(r->state.peak), free(r->state.loss_sums), free(r->state.baseline);
  *r = (Run){.dir_lock = -1};
}
