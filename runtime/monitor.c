/* SPDX-License-Identifier: Apache-2.0
 * monitor.c -- `monitor`: every so many steps, the norm of each class's routed gradient on each region for the batch
 * that comes next, and how far the region's values have moved. Only reads: the run's bits are those of a run without.
 */
#include "run.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct Monitor {
  Slab start, last; /* the store at step 0, at the last record */
  int64_t last_step;
  float *a, *b;    /* dense, of one parameter */
  double *history; /* [record][class * n_regions + region], of this process, all data last */
  int64_t n_records, cap;
  FILE *lines;
};
static const char lines_name[] = "monitor.jsonl";

/* Behind the classes stands what all data and losses do together. */
static uint32_t entries(const JobMonitor *m) { return (m->n_classes + 1) * m->n_regions; }
static const char *class_name(const Job *job, uint32_t i) {
  return i < job->monitor.n_classes ? job->data_classes[job->monitor.classes[i]].name : "all data";
}
static const char *region_name(const Job *job, uint32_t i) { return job->regions[job->monitor.regions[i]].name; }

int64_t monitor_next(const Run *r, int64_t step) {
  const JobMonitor *m = &r->job->monitor;
  if (!m->present || step == 0) return m->present ? 0 : INT64_MAX;
  return amount_next(m->every, step - 1, r->steps_per_epoch);
}

/* Values at step 0: those of the store, or made again where a run is resumed. */
static bool start_values(Run *r, uint8_t *store) {
  char extra[256];
  if (r->state.step == 0) memcpy(store, r->store.bytes, (size_t)r->job->store_bytes);
  else if (r->init_path) return params_load(r->job, r->init_path, store, extra, sizeof extra, &r->error);
  else params_init(r->job, r->seed, store);
  return true;
}

bool monitor_open(Run *r) {
  const Job *job = r->job;
  if (!job->monitor.present) return true;
  int64_t most = 1;
  Monitor *m = r->monitor = calloc(1, sizeof *m);
  if (!m) return rt_fail(&r->error, RT_E0719, 0LL, "the monitor");
  for (uint32_t i = 0; i < job->n_params; i++)
    if (param_elements(&job->params[i]) > most) most = param_elements(&job->params[i]);
  m->a = mem_table((size_t)most * sizeof *m->a), m->b = mem_table((size_t)most * sizeof *m->b);
  if (!m->a || !m->b) return rt_fail(&r->error, RT_E0719, (long long)most * 8, "the monitor");
  if (!slab_alloc(&m->start, job->store_bytes, "the monitor", &r->error) ||
      !slab_alloc(&m->last, job->store_bytes, "the monitor", &r->error))
    return false;
  m->last_step = r->state.step;
  memcpy(m->last.bytes, r->store.bytes, (size_t)job->store_bytes);
  return start_values(r, m->start.bytes) && lines_open(r, lines_name, &m->lines);
}

void monitor_free(Run *r) {
  Monitor *m = r->monitor;
  if (!m) return;
  if (m->lines) fclose(m->lines);
  slab_free(&m->start), slab_free(&m->last);
  mem_table_free(m->a), mem_table_free(m->b), free(m->history), free(m);
  r->monitor = NULL;
}

/* L2 norms of one class's gradient, into norm[region]. */
static bool gradient_norms(Run *r, int32_t class, double *norm) {
  const Job *job = r->job;
  const JobMonitor *m = &job->monitor;
  RegionSum *sum = calloc(m->n_regions + 1, sizeof *sum);
  bool ok = sum ? gradient_run(r, r->state.step, class) : rt_fail(&r->error, RT_E0719, 0LL, "the monitor");
  for (uint32_t i = 0; ok && i < job->n_params; i++) {
    gradient_read(r, i, r->monitor->a);
    for (uint32_t k = 0; k < m->n_regions; k++) region_add(&sum[k], job, m->regions[k], i, r->monitor->a, NULL);
  }
  for (uint32_t k = 0; ok && k < m->n_regions; k++) norm[k] = sqrt(sum[k].square);
  free(sum);
  return ok;
}

/* How far a region's values are from those of another store. */
static double moved_since(Run *r, uint32_t region, const Slab *then) {
  const Job *job = r->job;
  RegionSum sum = {0};
  for (uint32_t i = 0; i < job->n_params; i++) {
    const JobParam *p = &job->params[i];
    param_read(p, param_base(p, r->store.bytes, -1), r->monitor->a);
    param_read(p, param_base(p, then->bytes, -1), r->monitor->b);
    region_add(&sum, job, region, i, r->monitor->a, r->monitor->b);
  }
  return sqrt(sum.square);
}

static json_t *norms_json(const Job *job, const double *norm) {
  json_t *o = json_object();
  for (uint32_t k = 0; k < job->monitor.n_regions; k++)
    json_object_set_new(o, region_name(job, k), json_number(norm[k]));
  return o;
}

static json_t *record_json(Run *r, const double *norm) {
  const Job *job = r->job;
  const JobMonitor *m = &job->monitor;
  json_t *o = json_object(), *gradient = json_object(), *moved = json_object(), *since = json_object();
  for (uint32_t c = 0; c < m->n_classes; c++)
    json_object_set_new(gradient, class_name(job, c), norms_json(job, norm + c * m->n_regions));
  for (uint32_t k = 0; k < m->n_regions; k++) {
    json_object_set_new(moved, region_name(job, k), json_number(moved_since(r, m->regions[k], &r->monitor->last)));
    json_object_set_new(since, region_name(job, k), json_number(moved_since(r, m->regions[k], &r->monitor->start)));
  }
  json_object_set_new(o, "step", json_integer(r->state.step));
  json_object_set_new(o, "gradient", gradient);
  json_object_set_new(o, "gradient_of_all_data", norms_json(job, norm + m->n_classes * m->n_regions));
  json_object_set_new(o, "since", json_integer(r->monitor->last_step));
  json_object_set_new(o, "moved", moved);
  json_object_set_new(o, "moved_from_start", since);
  return o;
}

static bool history_room(Run *r) {
  Monitor *m = r->monitor;
  if (m->n_records < m->cap) return true;
  const int64_t cap = m->cap ? 2 * m->cap : 64;
  double *more = realloc(m->history, (size_t)cap * entries(&r->job->monitor) * sizeof *more);
  if (!more) return rt_fail(&r->error, RT_E0719, (long long)cap, "the monitor");
  m->history = more, m->cap = cap;
  return true;
}

static void record_show(Run *r, const double *norm) {
  const JobMonitor *m = &r->job->monitor;
  if (!r->o->verbose || r->o->quiet || r->o->json) return;
  progress_end(r);
  printf("monitor, step %lld: gradient of", (long long)r->state.step);
  for (uint32_t c = 0; c <= m->n_classes; c++)
    for (uint32_t k = 0; k < m->n_regions; k++)
      printf("%s %s on %s %.4g", c + k ? "," : "", class_name(r->job, c), region_name(r->job, k),
             norm[c * m->n_regions + k]);
  putchar('\n');
}

bool monitor_record(Run *r) {
  const JobMonitor *j = &r->job->monitor;
  Monitor *m = r->monitor;
  if (!history_room(r)) return false;
  double *norm = m->history + m->n_records * entries(j);
  for (uint32_t c = 0; c <= j->n_classes; c++)
    if (!gradient_norms(r, c < j->n_classes ? (int32_t)j->classes[c] : -1, norm + c * j->n_regions)) return false;
  json_t *o = record_json(r, norm);
  if (r->o->json) {
    json_t *event = json_pack("{s:s}", "event", "monitor");
    json_object_update(event, o);
    json_print(event);
  }
  record_show(r, norm);
  m->n_records++, m->last_step = r->state.step;
  memcpy(m->last.bytes, r->store.bytes, (size_t)r->job->store_bytes);
  return lines_write(r, m->lines, lines_name, o);
}

/* The course of one entry over the records as a line of 24 heights, its largest value the highest. */
enum { CHART = 24 };
static void chart_make(const Monitor *m, uint32_t n_entries, uint32_t entry, char out[CHART + 1]) {
  static const char heights[] = " .:-=+*#%@";
  double most = 0;
  for (int64_t i = 0; i < m->n_records; i++) most = fmax(most, m->history[i * n_entries + entry]);
  const int64_t width = m->n_records < CHART ? m->n_records : CHART;
  for (int64_t x = 0; x < width; x++) {
    const double v = m->history[x * m->n_records / width * n_entries + entry];
    out[x] = heights[v > 0 && most > 0 && isfinite(v / most) ? 1 + (int)(v / most * 8) : 0];
  }
  out[width] = 0;
}

void monitor_report(Run *r) {
  const Monitor *m = r->monitor;
  const Job *job = r->job;
  const JobMonitor *j = &job->monitor;
  if (!m || !m->n_records || r->o->json || r->o->quiet > 1) return;
  int wide = 8, wider = 6;
  for (uint32_t c = 0; c <= j->n_classes; c++)
    if ((int)strlen(class_name(job, c)) > wide) wide = (int)strlen(class_name(job, c));
  for (uint32_t k = 0; k < j->n_regions; k++)
    if ((int)strlen(region_name(job, k)) > wider) wider = (int)strlen(region_name(job, k));
  progress_end(r);
  printf("monitor, %lld records of the gradients' norms\n  %-*s  %-*s  %10s  %10s  course\n", (long long)m->n_records,
         wide, "class", wider, "region", "first", "last");
  for (uint32_t c = 0; c <= j->n_classes; c++)
    for (uint32_t k = 0; k < j->n_regions; k++) {
      const uint32_t e = c * j->n_regions + k;
      char chart[CHART + 1];
      chart_make(m, entries(j), e, chart);
      printf("  %-*s  %-*s  %10.4g  %10.4g  |%s|\n", wide, class_name(job, c), wider, region_name(job, k),
             m->history[e], m->history[(m->n_records - 1) * entries(j) + e], chart);
    }
  printf("  moved since the start\n");
  for (uint32_t k = 0; k < j->n_regions; k++)
    printf("  %-*s  %-*s  %10.4g\n", wide, "", wider, region_name(job, k), moved_since(r, j->regions[k], &m->start));
  fflush(stdout);
}
