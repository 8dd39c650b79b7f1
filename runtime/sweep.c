/* SPDX-License-Identifier: Apache-2.0
 * sweep.c -- one run a value, in sequence; then means over the runs with a 95 % interval (Student's t). */
#include "run.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Abramowitz and Stegun 26.7.5 beyond the table: error below 1e-4 there. */
double student_975(int64_t degrees) {
  static const double table[] = {NAN,    12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646,
                                 2.3060, 2.2622,  2.2281, 2.2010, 2.1788, 2.1604, 2.1448, 2.1314,
                                 2.1199, 2.1098,  2.1009, 2.0930, 2.0860, 2.0796, 2.0739, 2.0687,
                                 2.0639, 2.0595,  2.0555, 2.0518, 2.0484, 2.0452, 2.0423};
  if (degrees < 1) return NAN;
  if (degrees <= 30) return table[degrees];
  double x = 1.959963984540054, v = (double)degrees, x3 = x * x * x, x5 = x3 * x * x;
  return x + (x3 + x) / (4 * v) + (5 * x5 + 16 * x3 + 3 * x) / (96 * v * v);
}

/* One number followed over the runs: a metric of an evaluation, for one key or for all. */
typedef struct Cell {
  char *name;
  double *values; /* [run] */
} Cell;
typedef struct Sweep {
  Job *job;
  const RtOptions *o;
  const JobSweep *s;
  char *dir;
  Cell *cells;
  uint32_t n_cells;
  int *codes;
  uint32_t n_done;
} Sweep;

static double mean_of(const double *v, uint32_t n) {
  double sum = 0;
  for (uint32_t i = 0; i < n; i++) sum += v[i];
  return sum / n;
}
static double interval_of(const double *v, uint32_t n) { /* half width; NAN for one run */
  double m = mean_of(v, n), sum = 0;
  for (uint32_t i = 0; i < n; i++) sum += (v[i] - m) * (v[i] - m);
  return n > 1 ? student_975((int64_t)n - 1) * sqrt(sum / (n - 1) / n) : NAN;
}

static bool cells_make(Sweep *w, RtError *e) {
  size_t n = 0;
  for (uint32_t i = 0; i < w->job->n_evals; i++) {
    const JobEval *v = &w->job->evals[i];
    int64_t keys = v->key_name ? v->key_hi - v->key_lo + 1 : 0;
    if (keys > 4096) keys = 0;
    n += (size_t)(keys + 1) * v->n_metrics;
  }
  w->cells = calloc(n + 1, sizeof *w->cells);
  w->codes = calloc(w->s->n + 1, sizeof *w->codes);
  if (!w->cells || !w->codes) return rt_fail(e, RT_E0719, (long long)n, "a sweep");
  for (uint32_t i = 0; i < w->job->n_evals; i++) {
    const JobEval *v = &w->job->evals[i];
    for (uint32_t m = 0; m < v->n_metrics; m++) {
      w->cells[w->n_cells++].name = mem_printf("%s.%s", v->name, v->metrics[m].name);
      for (int64_t k = v->key_lo; v->key_name && v->key_hi - v->key_lo < 4096 && k <= v->key_hi; k++)
        w->cells[w->n_cells++].name =
            mem_printf("%s.%s[%s %lld]", v->name, v->metrics[m].name, v->key_name, (long long)k);
    }
  }
  for (uint32_t c = 0; c < w->n_cells; c++)
    if (!(w->cells[c].values = calloc(w->s->n + 1, sizeof(double))))
      return rt_fail(e, RT_E0719, (long long)n, "a sweep");
  return true;
}

/* In the order of cells_make. */
static void cells_fill(Sweep *w, const Run *r, uint32_t run) {
  uint32_t c = 0;
  for (uint32_t i = 0; i < w->job->n_evals; i++) {
    const JobEval *v = &w->job->evals[i];
    for (uint32_t m = 0; m < v->n_metrics; m++) {
      bool done = r->tables[i].done;
      w->cells[c++].values[run] = done ? table_mean(&r->tables[i], m, NULL, 0) : NAN;
      for (int64_t k = v->key_lo; v->key_name && v->key_hi - v->key_lo < 4096 && k <= v->key_hi; k++)
        w->cells[c++].values[run] = done ? table_mean(&r->tables[i], m, &k, 1) : NAN;
    }
  }
}

static bool sweep_folder(Sweep *w, RtError *e) {
  if (!run_folder_parents(w->o->run_dir ? w->o->run_dir : "runs/x", e)) return false;
  for (int number = 1; number < 100000; number++) {
    if (w->o->run_dir) w->dir = mem_printf("%s", w->o->run_dir);
    else
      w->dir = number == 1 ? mem_printf("runs/%s-%s", w->job->title, w->s->name)
                           : mem_printf("runs/%s-%s-%d", w->job->title, w->s->name, number);
    if (mkdir(w->dir, 0777) == 0 || (w->o->run_dir && errno == EEXIST)) return true;
    if (errno != EEXIST) return rt_fail(e, RT_E0721, w->dir, strerror(errno));
    free(w->dir);
    w->dir = NULL;
  }
  return rt_fail(e, RT_E0721, "runs", "too many sweeps");
}

/* Sets the swept param for one run: the seed, or a scalar that is read at run time. */
static bool sweep_set(Sweep *w, const char *text, RtOptions *o, RtError *e) {
  char *end;
  if (!strcmp(w->s->param, "seed")) {
    o->seed = strtoull(text, &end, 10), o->has_seed = true;
    return *text && !*end ? true : rt_fail(e, RT_E0743, "seed", text, "is not a number");
  }
  for (uint32_t i = 0; i < w->job->n_settings; i++) {
    const JobSetting *s = &w->job->settings[i];
    if (strcmp(s->name, w->s->param) != 0) continue;
    if (s->scalar < 0) return rt_fail(e, RT_E0734, s->name, "it shapes the compiled code");
    JobScalar *c = &w->job->scalars[s->scalar];
    double v = strtod(text, &end);
    if (!*text || *end || !(v >= c->lo && v <= c->hi))
      return rt_fail(e, RT_E0743, s->name, text, "is not a number in its range");
    return c->value = v, true;
  }
  return rt_fail(e, RT_E0734, w->s->param, "there is no such param");
}

static int sweep_run_one(Sweep *w, uint32_t i, RtError *e) {
  RtOptions o = *w->o;
  if (!sweep_set(w, w->s->values[i], &o, e)) return RT_USAGE;
  char *dir = mem_printf("%s/%s-%s", w->dir, w->s->param, w->s->values[i]);
  o.run_dir = dir;
  if (!o.json && o.quiet < 2)
    printf("%s%s = %s (%u of %u)\n", i ? "\n" : "", w->s->param, w->s->values[i], i + 1, w->s->n),
        fflush(stdout);
  Run r;
  int code = run_open(&r, w->job, &o) ? train_run(&r) : run_report(&r, RT_RUN_FAILED);
  if (r.tables) cells_fill(w, &r, i);
  run_close(&r);
  free(dir);
  return code;
}

static bool sweep_write(Sweep *w, RtError *e) {
  json_t *o = json_object(), *values = json_array(), *codes = json_array(), *cells = json_object();
  for (uint32_t i = 0; i < w->n_done; i++) {
    json_array_append_new(values, json_string(w->s->values[i]));
    json_array_append_new(codes, json_integer(w->codes[i]));
  }
  for (uint32_t c = 0; c < w->n_cells; c++) {
    json_t *cell = json_object(), *all = json_array();
    for (uint32_t i = 0; i < w->n_done; i++) json_array_append_new(all, json_number(w->cells[c].values[i]));
    json_object_set_new(cell, "values", all);
    json_object_set_new(cell, "mean", json_number(mean_of(w->cells[c].values, w->n_done)));
    json_object_set_new(cell, "interval95", json_number(interval_of(w->cells[c].values, w->n_done)));
    json_object_set_new(cells, w->cells[c].name, cell);
  }
  json_object_set_new(o, "sweep", json_string(w->s->name));
  json_object_set_new(o, "param", json_string(w->s->param));
  json_object_set_new(o, "values", values);
  json_object_set_new(o, "exit_codes", codes);
  json_object_set_new(o, "metrics", cells);
  char *text = json_dumps(o, JSON_INDENT(2) | JSON_REAL_PRECISION(12)),
       *path = mem_printf("%s/sweep.json", w->dir);
  bool ok = text && mem_write_file(path, text, strlen(text), e);
  if (w->o->json) json_object_set_new(o, "event", json_string("sweep")), json_print(o);
  else json_decref(o);
  free(text), free(path);
  return ok;
}

static void sweep_print(const Sweep *w) {
  if (w->o->json || w->o->quiet > 1) return;
  int wide = 20;
  for (uint32_t c = 0; c < w->n_cells; c++)
    if ((int)strlen(w->cells[c].name) > wide) wide = (int)strlen(w->cells[c].name);
  printf("\nsweep %s over %s, %u runs (%s/sweep.json)\n  %-*s  %10s  %12s\n", w->s->name, w->s->param,
         w->n_done, w->dir, wide, "", "mean", "95 % +-");
  for (uint32_t c = 0; c < w->n_cells; c++)
    printf("  %-*s  %10.4f  %12.4f\n", wide, w->cells[c].name, mean_of(w->cells[c].values, w->n_done),
           interval_of(w->cells[c].values, w->n_done));
  fflush(stdout);
}

static void sweep_free(Sweep *w) {
  for (uint32_t c = 0; c < w->n_cells; c++) free(w->cells[c].name), free(w->cells[c].values);
  free(w->cells), free(w->codes), free(w->dir);
}

/* A failed expectation does not end a sweep; a failed run and an interruption do. The worst code is returned.
 */
int rt_sweep(Job *job, const RtOptions *o, const JobSweep *s) {
  Sweep w = {.job = job, .o = o, .s = s};
  RtError e = {0};
  int code = RT_OK;
  signals_catch();
  double *before = calloc(job->n_scalars + 1, sizeof *before);
  for (uint32_t i = 0; before && i < job->n_scalars; i++) before[i] = job->scalars[i].value;
  if (!before || !cells_make(&w, &e) || !sweep_folder(&w, &e)) code = RT_RUN_FAILED;
  while (w.n_done < s->n && (code == RT_OK || code == RT_EXPECT_FAILED)) {
    int one = w.codes[w.n_done] = sweep_run_one(&w, w.n_done, &e);
    if (one != RT_OK) code = one;
    if (one == RT_OK || one == RT_EXPECT_FAILED) w.n_done++;
  }
  if (w.dir && w.n_done && !sweep_write(&w, &e)) code = RT_RUN_FAILED;
  if (w.n_done) sweep_print(&w);
  rt_error_print(&e, o->json ? stdout : stderr, o->json, o->color);
  for (uint32_t i = 0; before && i < job->n_scalars; i++) job->scalars[i].value = before[i];
  free(before);
  sweep_free(&w);
  signals_release();
  return code;
}
