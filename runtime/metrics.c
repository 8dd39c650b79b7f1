/* SPDX-License-Identifier: Apache-2.0
 * metrics.c -- metrics.jsonl: one object a line, without clocks, so that a resumed run writes what an
 * uninterrupted one would. */
#include "run.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool metrics_fail(Run *r) {
  char *path = mem_printf("%s/metrics.jsonl", r->dir);
  rt_fail(&r->error, RT_E0720, path, strerror(errno));
  free(path);
  return false;
}

/* Opens for appending after the first keep_bytes bytes; what follows them came after the checkpoint and is
 * cut. */
bool metrics_open(Run *r, int64_t keep_bytes) {
  if (!r->dir) return true;
  char *path = mem_printf("%s/metrics.jsonl", r->dir);
  r->metrics = fopen(path, "a");
  free(path);
  if (!r->metrics || fseek(r->metrics, 0, SEEK_END) != 0) return metrics_fail(r);
  long size = ftell(r->metrics);
  if (size > keep_bytes && ftruncate(fileno(r->metrics), keep_bytes) != 0) return metrics_fail(r);
  r->state.metrics_bytes = size < keep_bytes ? size : keep_bytes;
  return true;
}

static bool metrics_line(Run *r, json_t *o) {
  bool ok = true;
  if (r->metrics) {
    char *text = json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(12));
    int n = text ? fprintf(r->metrics, "%s\n", text) : -1;
    if (n < 0 || fflush(r->metrics) != 0) ok = metrics_fail(r);
    else r->state.metrics_bytes += n;
    free(text);
  }
  json_decref(o);
  return ok;
}

static json_t *metrics_losses_json(const Run *r) {
  const Job *job = r->job;
  json_t *losses = json_object();
  double total = 0, n = (double)r->state.log_steps;
  for (uint32_t i = 0; i < job->n_origins; i++) {
    json_object_set_new(losses, job->origins[i].name, json_number(r->state.loss_sums[i] / n));
    total += r->state.loss_sums[i] / n;
  }
  json_t *o = json_object();
  json_object_set_new(o, "step", json_integer(r->state.step));
  if (run_has_data(r))
    json_object_set_new(o, "epoch", json_number((double)r->state.step / (double)r->steps_per_epoch));
  json_object_set_new(o, "total", json_number(total));
  json_object_set_new(o, "loss", losses);
  return o;
}

bool metrics_losses(Run *r) {
  RunState *s = &r->state;
  if (s->log_steps == 0) return true;
  double total = losses_total(r, s->loss_sums) / (double)s->log_steps;
  s->total_last = total;
  if (total < s->total_min) s->total_min = total;
  if (!metrics_line(r, metrics_losses_json(r))) return false;
  memset(s->loss_sums, 0, r->job->n_origins * sizeof *s->loss_sums);
  s->log_steps = 0;
  return true;
}

json_t *metrics_table_json(const EvalTable *t) {
  json_t *o = json_object(), *all = json_object();
  const JobEval *v = t->eval;
  json_object_set_new(o, "evaluation", json_string(v->name));
  json_object_set_new(o, "part", json_string(v->part));
  json_object_set_new(o, "rows", json_integer(t->rows));
  for (uint32_t m = 0; m < v->n_metrics; m++)
    json_object_set_new(all, v->metrics[m].name, json_number(table_mean(t, m, NULL, 0)));
  json_object_set_new(o, "all", all);
  if (!v->key_name) return o;
  json_t *keys = json_object();
  for (int64_t k = 0; k < t->n_keys; k++) {
    if (!t->counts[k]) continue;
    int64_t key = v->key_lo + k;
    char name[32];
    json_t *row = json_object();
    json_object_set_new(row, "n", json_integer(t->counts[k]));
    for (uint32_t m = 0; m < v->n_metrics; m++)
      json_object_set_new(row, v->metrics[m].name, json_number(table_mean(t, m, &key, 1)));
    json_object_set_new(keys, table_key_name(v, k, name, sizeof name), row);
  }
  json_object_set_new(o, "by", json_string(v->key_name));
  json_object_set_new(o, "keys", keys);
  return o;
}

bool metrics_table(Run *r, const EvalTable *t) {
  if (!r->metrics) return true;
  json_t *o = json_object(), *table = metrics_table_json(t);
  json_object_set_new(o, "step", json_integer(r->state.step));
  json_object_update(o, table);
  json_decref(table);
  return metrics_line(r, o);
}

bool metrics_sync(Run *r) { return !r->metrics || fsync(fileno(r->metrics)) == 0 || metrics_fail(r); }

/* ---- other files of lines ---- */
static bool lines_fail(Run *r, const char *name) {
  char *path = mem_printf("%s/%s", r->dir, name);
  rt_fail(&r->error, RT_E0720, path, strerror(errno));
  free(path);
  return false;
}

/* The length of the lines about earlier steps than the run's; they stand in order. */
static long lines_before(FILE *f, int64_t step) {
  char *line = NULL;
  size_t cap = 0;
  long keep = 0;
  while (getline(&line, &cap, f) > 0) {
    json_t *o = json_loads(line, 0, NULL);
    const json_t *at = json_object_get(o, "step");
    const bool earlier = json_is_integer(at) && json_integer_value(at) < step;
    json_decref(o);
    if (!earlier) break;
    keep = ftell(f);
  }
  free(line);
  return keep;
}

bool lines_open(Run *r, const char *name, FILE **out) {
  *out = NULL;
  if (!r->dir) return true;
  char *path = mem_printf("%s/%s", r->dir, name);
  FILE *f = fopen(path, "a+");
  free(path);
  if (!f) return lines_fail(r, name);
  *out = f;
  rewind(f);
  return ftruncate(fileno(f), lines_before(f, r->state.step)) == 0 || lines_fail(r, name);
}

bool lines_write(Run *r, FILE *f, const char *name, json_t *o) {
  char *text = f ? json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(12)) : NULL;
  json_decref(o);
  const bool ok = !f || (text && fprintf(f, "%s\n", text) > 0 && fflush(f) == 0);
  free(text);
  return ok || lines_fail(r, name);
}
