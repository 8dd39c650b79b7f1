/* SPDX-License-Identifier: Apache-2.0
 * checkpoint.c -- checkpoint-<step>.safetensors: parameters by path, optimizer states as "path#state0", and
 * in __metadata__ the run's state. Reals that decide later bits are written as hexadecimal floats. */
#include "run.h"
#include "safetensors.h"
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the list of tensors
 * ------------------------------------------------------------------------------------------ */
typedef struct TensorList {
  const Job *job;
  uint8_t *store;
  StOut *out;
  char **names;
  uint32_t *param;
  int *which;
  uint32_t n;
  float *scratch;
} TensorList;

static void list_add(TensorList *l, uint32_t param, int which) {
  const JobParam *p = &l->job->params[param];
  l->names[l->n] = which < 0 ? mem_printf("%s", p->path) : mem_printf("%s#state%d", p->path, which);
  l->out[l->n] = (StOut){l->names[l->n], p->rank, p->dims};
  l->param[l->n] = param, l->which[l->n++] = which;
}

static bool list_make(TensorList *l, const Job *job, uint8_t *store, RtError *e) {
  size_t cap = (1 + JOB_MAX_STATES) * (size_t)job->n_params + 1;
  *l = (TensorList){.job = job, .store = store};
  l->out = calloc(cap, sizeof *l->out), l->names = calloc(cap, sizeof *l->names);
  l->param = calloc(cap, sizeof *l->param), l->which = calloc(cap, sizeof *l->which);
  int64_t largest = 1;
  for (uint32_t i = 0; i < job->n_params; i++)
    if (param_elements(&job->params[i]) > largest) largest = param_elements(&job->params[i]);
  l->scratch = mem_table((size_t)largest * sizeof *l->scratch);
  if (!l->out || !l->names || !l->param || !l->which || !l->scratch)
    return rt_fail(e, RT_E0719, (long long)largest * 4, "a checkpoint");
  for (uint32_t i = 0; i < job->n_params; i++) {
    list_add(l, i, -1);
    for (uint32_t s = 0; s < job->params[i].n_states; s++) list_add(l, i, (int)s);
  }
  return true;
}

static void list_free(TensorList *l) {
  for (uint32_t i = 0; i < l->n; i++) free(l->names[i]);
  free(l->out), free(l->names), free(l->param), free(l->which), mem_table_free(l->scratch);
}

static void list_fill(void *user, uint32_t i, float *out) {
  TensorList *l = user;
  const JobParam *p = &l->job->params[l->param[i]];
  param_read(p, param_base(p, l->store, l->which[i]), out);
}

/* ---- the run's state as text
 * ---------------------------------------------------------------------------------------- */
static json_t *reals_json(const double *v, uint32_t n) {
  json_t *a = json_array();
  for (uint32_t i = 0; i < n; i++) json_array_append_new(a, json_sprintf("%a", v[i]));
  return a;
}
static bool reals_read(const json_t *a, double *v, uint32_t n) {
  if (json_array_size(a) != n) return false;
  for (uint32_t i = 0; i < n; i++) {
    const char *s = json_string_value(json_array_get(a, i));
    if (!s) return false;
    v[i] = strtod(s, NULL);
  }
  return true;
}

static json_t *state_json(const Run *r) {
  const RunState *s = &r->state;
  json_t *o = json_object(), *scalars = json_object();
  json_object_set_new(o, "log_steps", json_integer(s->log_steps));
  json_object_set_new(o, "loss_sums", reals_json(s->loss_sums, r->job->n_origins));
  json_object_set_new(o, "total_min_last", reals_json((const double[]){s->total_min, s->total_last}, 2));
  json_object_set_new(o, "evaluated", json_integer(s->evaluated));
  json_object_set_new(o, "metrics_bytes", json_integer(s->metrics_bytes));
  json_object_set_new(o, "seconds", json_number(s->seconds));
  json_object_set_new(o, "baseline", reals_json(s->baseline, s->n_baseline));
  json_object_set_new(o, "peak", reals_json(s->peak, s->n_baseline));
  for (uint32_t i = 0; i < r->job->n_scalars; i++)
    json_object_set_new(scalars, r->job->scalars[i].name, json_sprintf("%a", r->job->scalars[i].value));
  json_object_set_new(o, "scalars", scalars);
  return o;
}

static void scalars_restore(Job *job, const json_t *state) {
  for (uint32_t i = 0; i < job->n_scalars; i++) {
    const char *v =
        json_string_value(json_object_get(json_object_get(state, "scalars"), job->scalars[i].name));
    if (v) job->scalars[i].value = strtod(v, NULL);
  }
}

static const char *state_read(Run *r, const json_t *o, uint64_t plan_hash) {
  RunState *s = &r->state;
  double pair[2];
  if (!json_is_object(o) || !reals_read(json_object_get(o, "loss_sums"), s->loss_sums, r->job->n_origins) ||
      !reals_read(json_object_get(o, "total_min_last"), pair, 2))
    return "its losses are not those of this spec";
  s->total_min = pair[0], s->total_last = pair[1];
  s->log_steps = json_integer_value(json_object_get(o, "log_steps"));
  s->evaluated = json_integer_value(json_object_get(o, "evaluated"));
  s->metrics_bytes = json_integer_value(json_object_get(o, "metrics_bytes"));
  s->seconds = json_number_value(json_object_get(o, "seconds"));
  if (s->log_steps < 0 || s->metrics_bytes < 0) return "its counters make no sense";
  uint32_t n = r->job->train.fn.n_probes;
  const bool mine = plan_hash == r->job->plan_hash && reals_read(json_object_get(o, "baseline"), s->baseline, n) &&
                    reals_read(json_object_get(o, "peak"), s->peak, n);
  s->n_baseline = mine ? n : 0;
  scalars_restore(r->job, o);
  return NULL;
}

static json_t *meta_json(const Run *r, uint64_t hash) {
  json_t *state = state_json(r), *o = json_object();
  char *text = json_dumps(state, JSON_COMPACT);
  int64_t epoch = r->state.step / r->steps_per_epoch;
  json_object_set_new(o, "format", json_string("routec-checkpoint-1"));
  json_object_set_new(o, "step", json_sprintf("%lld", (long long)r->state.step));
  json_object_set_new(o, "epoch", json_sprintf("%lld", (long long)epoch));
  json_object_set_new(
      o, "position",
      json_sprintf("%lld", (long long)((r->state.step - epoch * r->steps_per_epoch) * r->job->train.batch)));
  json_object_set_new(o, "seed", json_sprintf("%llu", (unsigned long long)r->seed));
  json_object_set_new(o, "plan_hash", json_sprintf("%016llx", (unsigned long long)r->job->plan_hash));
  json_object_set_new(o, "choices", json_string(r->job->choices ? r->job->choices : ""));
  json_object_set_new(o, "xxh64", json_sprintf("%016llx", (unsigned long long)hash));
  json_object_set_new(o, "state", json_string(text));
  free(text);
  json_decref(state);
  return o;
}

bool checkpoint_save(Run *r) {
  if (!params_finite(r)) return false;
  if (!r->dir) return true;
  TensorList l;
  bool ok = list_make(&l, r->job, r->store.bytes, &r->error) && metrics_sync(r);
  if (ok) {
    json_t *meta = meta_json(r, st_hash(l.out, l.n, list_fill, &l, l.scratch));
    char *path = mem_printf("%s/checkpoint-%lld.safetensors", r->dir, (long long)r->state.step);
    ok = st_write(path, l.out, l.n, list_fill, &l, l.scratch, meta, &r->error);
    json_decref(meta);
    free(path);
  }
  list_free(&l);
  return ok;
}

/* ---- finding them
 * ---------------------------------------------------------------------------------------------------- */
static int step_compare(const void *a, const void *b) { /* newest first */
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return x < y ? 1 : x > y ? -1 : 0;
}

/* Steps of the folder's checkpoints, newest first; caller frees. */
static int64_t *checkpoint_list(const char *dir, size_t *n) {
  DIR *d = opendir(dir);
  int64_t *steps = NULL;
  *n = 0;
  for (struct dirent *entry; d && (entry = readdir(d));) {
    long long step;
    int used = 0;
    if (sscanf(entry->d_name, "checkpoint-%lld.safetensors%n", &step, &used) != 1 || !used ||
        entry->d_name[used] || step < 0)
      continue;
    int64_t *more = realloc(steps, (*n + 1) * sizeof *more);
    if (!more) break;
    steps = more;
    steps[(*n)++] = step;
  }
  if (d) closedir(d);
  if (steps) qsort(steps, *n, sizeof *steps, step_compare);
  return steps;
}

void checkpoint_prune(const Run *r, int64_t keep) {
  if (!r->dir || keep <= 0) return;
  size_t n;
  int64_t *steps = checkpoint_list(r->dir, &n);
  for (size_t i = (size_t)keep; i < n; i++) {
    char *path = mem_printf("%s/checkpoint-%lld.safetensors", r->dir, (long long)steps[i]);
    unlink(path);
    free(path);
  }
  free(steps);
}

/* ---- reading
 * -----------------------------------------------------------------------------------------------------------
 */
static bool tensors_read(const char *path, const StFile *f, TensorList *l, RtError *e) {
  for (uint32_t i = 0; i < l->n; i++) { /* all are looked at before any is stored */
    const StTensor *t = st_find(f, l->names[i]);
    bool fits = t && t->rank == l->out[i].rank && !strcmp(t->dtype, "F32");
    for (int32_t k = 0; fits && k < t->rank; k++) fits = t->dims[k] == l->out[i].dims[k];
    char why[512];
    snprintf(why, sizeof why, "`%.400s` is missing or has another shape", l->names[i]);
    if (!fits) return rt_fail(e, RT_E0726, path, why);
  }
  for (uint32_t i = 0; i < l->n; i++) {
    const StTensor *t = st_find(f, l->names[i]);
    const JobParam *p = &l->job->params[l->param[i]];
    memcpy(l->scratch, t->data, t->bytes);
    param_write(p, param_base(p, l->store, l->which[i]), l->scratch);
  }
  return true;
}

static bool hash_check(const char *path, const StFile *f, TensorList *l, RtError *e) {
  const char *said = st_meta(f, "xxh64");
  char found[20];
  /* hash what now is in the store: the same bytes in the same order as were hashed when saving */
  snprintf(found, sizeof found, "%016llx",
           (unsigned long long)st_hash(l->out, l->n, list_fill, l, l->scratch));
  return said && !strcmp(said, found) ? true : rt_fail(e, RT_E0703, path, "its contents fail their checksum");
}

static bool checkpoint_read(Run *r, const char *path, RtError *e) {
  StFile f;
  TensorList l;
  if (!st_open(path, &f, e)) return false;
  const char *format = st_meta(&f, "format"), *step = st_meta(&f, "step"), *hash = st_meta(&f, "plan_hash"),
             *text = st_meta(&f, "state");
  bool ok = format && !strcmp(format, "routec-checkpoint-1") && step && hash && text
                ? true
                : rt_fail(e, RT_E0726, path, "it is not a checkpoint");
  ok = list_make(&l, r->job, r->store.bytes, e) && ok && tensors_read(path, &f, &l, e) &&
       hash_check(path, &f, &l, e);
  if (ok) {
    json_t *state = json_loads(text, 0, NULL);
    uint64_t plan = strtoull(hash, NULL, 16);
    const char *why = state_read(r, state, plan), *seed = st_meta(&f, "seed");
    if (why) ok = rt_fail(e, RT_E0726, path, why);
    r->state.step = strtoll(step, NULL, 10);
    if (seed) r->seed = strtoull(seed, NULL, 10);
    if (ok && plan != r->job->plan_hash)
      run_warn(r, RT_W0753, (unsigned long long)plan, (unsigned long long)r->job->plan_hash);
    json_decref(state);
  }
  list_free(&l);
  st_close(&f);
  return ok;
}

bool checkpoint_resume(Run *r, bool *found) {
  size_t n;
  int64_t *steps = checkpoint_list(r->dir, &n);
  *found = false;
  for (size_t i = 0; i < n && !*found; i++) {
    char *path = mem_printf("%s/checkpoint-%lld.safetensors", r->dir, (long long)steps[i]);
    RtError e = {0};
    *found = checkpoint_read(r, path, &e);
    if (!*found) run_warn(r, RT_W0752, path, e.message);
    free(path);
  }
  free(steps);
  return n == 0 || *found || rt_fail(&r->error, RT_E0724, r->dir);
}

char *rt_checkpoint_choices(const char *run) {
  size_t n;
  int64_t *steps = checkpoint_list(run, &n);
  char *text = NULL;
  for (size_t i = 0; i < n && !text; i++) {
    char *path = mem_printf("%s/checkpoint-%lld.safetensors", run, (long long)steps[i]);
    RtError e = {0};
    StFile f;
    if (st_open(path, &f, &e)) {
      const char *choices = st_meta(&f, "choices");
      text = mem_printf("%s", choices ? choices : ""); /* a checkpoint without them: nothing was measured */
      st_close(&f);
    }
    free(path);
  }
  free(steps);
  return text;
}

static bool params_read(Run *r, const char *path, RtError *e) {
  char extra[256];
  if (!params_load(r->job, path, r->store.bytes, extra, sizeof extra, e)) return false;
  if (*extra) run_warn(r, RT_W0754, path, extra);
  StFile f;
  if (!st_open(path, &f, e)) return false;
  const char *text = st_meta(&f, "state"), *step = st_meta(&f, "step");
  json_t *state = text ? json_loads(text, 0, NULL) : NULL;
  scalars_restore(r->job, state);
  if (state && step) r->state.step = strtoll(step, NULL, 10);
  json_decref(state);
  st_close(&f);
  return true;
}

bool checkpoint_load_params(Run *r, const char *path) {
  struct stat st;
  if (stat(path, &st) != 0) return rt_fail(&r->error, RT_E0701, path, strerror(errno));
  if (!S_ISDIR(st.st_mode)) return params_read(r, path, &r->error);
  size_t n;
  int64_t *steps = checkpoint_list(path, &n);
  bool found = false;
  for (size_t i = 0; i < n && !found; i++) {
    char *file = mem_printf("%s/checkpoint-%lld.safetensors", path, (long long)steps[i]);
    RtError e = {0};
    found = params_read(r, file, &e);
    if (!found) run_warn(r, RT_W0752, file, e.message);
    free(file);
  }
  free(steps);
  return found || rt_fail(&r->error, RT_E0724, path);
}
