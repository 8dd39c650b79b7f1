/* SPDX-License-Identifier: Apache-2.0
 * profile_print.c -- a profile as a table, as one JSON object, and as a trace that chrome://tracing and Perfetto load. */
#include "profile.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef struct Table {
  const Profile *p;
  const ProfileFn *fn;
  FnTotal total;
  double ms;      /* of one tick, by step and thread */
  uint32_t *rows; /* plan steps by time */
} Table;

static const char *const phase_names[] = {"forward", "backward", "update"};
enum { N_PHASES = sizeof phase_names / sizeof *phase_names };

static int by_work(const void *a, const void *b, void *steps) {
  const StepTotal *s = steps;
  const uint32_t i = *(const uint32_t *)a, k = *(const uint32_t *)b;
  if (s[i].work != s[k].work) return s[i].work < s[k].work ? 1 : -1;
  return i < k ? -1 : 1;
}

static bool table_begin(Table *t, const Profile *p, const ProfileFn *fn) {
  *t = (Table){.p = p, .fn = fn};
  if (!profile_total(fn, &t->total)) return false;
  t->ms = 1e3 * p->tick / (t->total.threads * (double)t->total.n_steps);
  t->rows = calloc(fn->fn->n_probes + 1, sizeof *t->rows);
  for (uint32_t i = 0; t->rows && i < fn->fn->n_probes; i++) t->rows[i] = i;
  if (t->rows) qsort_r(t->rows, fn->fn->n_probes, sizeof *t->rows, by_work, t->total.steps);
  return t->rows != NULL;
}

static void table_end(Table *t) { free(t->rows), free(t->total.steps); }

/* A step's `amount` over all steps in the time it took: a second. */
static double rate(const Table *t, double amount, double work) {
  const double seconds = 1e-3 * t->ms * work * (double)t->total.n_steps;
  return seconds > 0 ? amount / seconds : 0;
}

/* "ae.route:34" */
static const char *place_text(char *to, size_t n, const JobSpan *s) {
  const char *slash = s->file ? strrchr(s->file, '/') : NULL;
  *to = 0;
  if (s->file) snprintf(to, n, "%s:%u", slash ? slash + 1 : s->file, s->line);
  return to;
}

/* ---- text ---- */
static double phase_work(const Table *t, int phase) {
  double sum = 0;
  for (uint32_t i = 0; i < t->fn->fn->n_probes; i++)
    if ((int)t->fn->fn->steps[i].phase == phase) sum += t->total.steps[i].work;
  return sum;
}

/* All of them, or those that take all but a hundredth of the time. */
static void rows_print(const Table *t, bool all_steps) {
  const double all = t->total.work + t->total.wait;
  double left = t->total.work;
  printf("   share        ms   GFLOP/s  of peak      GB/s  what (kernel), line\n");
  for (uint32_t i = 0; i < t->fn->fn->n_probes; i++) {
    const StepTotal *s = &t->total.steps[t->rows[i]];
    const JobStep *step = &t->fn->fn->steps[t->rows[i]];
    const double flops = rate(t, s->flops, s->work);
    char place[256];
    if (!all_steps && left < 0.01 * all && i + 1 < t->fn->fn->n_probes) {
      printf("  %5.1f %%  %8.4f  %37s %u more steps (-v: all)\n", 100 * left / all, t->ms * left, "", t->fn->fn->n_probes - i);
      break;
    }
    left -= s->work;
    printf("  %5.1f %%  %8.4f  %8.2f  %5.1f %%  %8.2f  %s (%s)  %s\n", 100 * s->work / all, t->ms * s->work, 1e-9 * flops,
           100 * flops / t->p->peak.flops, 1e-9 * rate(t, s->bytes, s->work), step->what, step->kernel,
           place_text(place, sizeof place, &step->span));
  }
  printf("  %5.1f %%  %8.4f  %37s waiting for other threads\n", 100 * t->total.wait / all, t->ms * t->total.wait, "");
}

static void phases_print(const Table *t) {
  const double all = t->total.work + t->total.wait;
  const char *between = "phases: ";
  for (int k = 0; k < N_PHASES && !t->fn->name; k++, between = ", ")
    printf("%s%s %.4f ms (%.1f %%)", between, phase_names[k], t->ms * phase_work(t, k), 100 * phase_work(t, k) / all);
  if (!t->fn->name) printf("\n");
  between = "waiting: ";
  for (uint32_t k = 0; k < t->fn->n_threads; k++, between = ", ") {
    double work = 0, wait = 0;
    for (uint32_t i = 0; i < t->fn->fn->n_probes; i++)
      work += (double)t->fn->threads[k].work[i], wait += (double)t->fn->threads[k].wait[i];
    printf("%sthread %u %.1f %%", between, k, work + wait > 0 ? 100 * wait / (work + wait) : 0);
  }
  const double n = (double)t->total.n_steps, looks = (double)t->fn->threads[0].marks / n;
  printf("\nlooks at the clock: %.0f a step, %.4f ms (%.2f %%)", looks, 1e3 * looks * t->p->mark,
         100 * 1e3 * looks * t->p->mark / (t->ms * all));
  printf("\nproducts: %.6g MFLOP a step by their extents at run time, %.6g by the plan's count of the same rows, %.6g expected at %lld rows\n",
         1e-6 * t->total.counted / n, 1e-6 * t->total.products / n, 1e-6 * t->fn->fn->products, (long long)t->fn->fn->max_rows);
}

/* Row sets by their mean share of the rows that were counted, beside what the plan expected. */
typedef struct SetShare {
  uint32_t set;
  double share, expected;
} SetShare;

/* The next row set from product *at on that some plan step is over. */
static bool next_set(const Table *t, uint32_t *at, SetShare *out) {
  double all = 0;
  for (uint32_t i = 0; i < t->fn->n_products; i++)
    if (t->fn->products[i].n == 1 && !t->fn->products[i].sets[0]) all = t->fn->products[i].sum;
  for (; *at < t->fn->n_products && all > 0; ++*at) {
    const RowProduct *p = &t->fn->products[*at];
    if (p->n != 1 || !p->sets[0]) continue;
    *out = (SetShare){p->sets[0], p->sum / all, t->fn->fn->set_share ? t->fn->fn->set_share[p->sets[0]] : 1};
    return ++*at, true;
  }
  return false;
}

static void sets_print(const Table *t) {
  const char *between = "row sets: ";
  SetShare s;
  for (uint32_t at = 0; next_set(t, &at, &s); between = "; ")
    printf("%srows%u %.2f %% of the rows, expected %.2f %%", between, s.set, 100 * s.share, 100 * s.expected);
  if (*between == ';') printf("\n");
}

static json_t *sets_json(const Table *t) {
  json_t *sets = json_array();
  SetShare s;
  for (uint32_t at = 0; next_set(t, &at, &s);)
    json_array_append_new(sets, json_pack("{s:i,s:f,s:f}", "set", (int)s.set, "share", s.share, "expected", s.expected));
  return sets;
}

static void text_print(const Table *t, bool all_steps) {
  printf("\nprofile of %s%s: %lld %s, %.4f ms each\n", t->fn->name ? "evaluation " : "training", t->fn->name ? t->fn->name : "",
         (long long)t->total.n_steps, t->fn->name ? "batches" : "steps", t->ms * (t->total.work + t->total.wait));
  rows_print(t, all_steps);
  phases_print(t);
  sets_print(t);
}

/* ---- JSON ---- */
static json_t *table_json(const Table *t) {
  json_t *steps = json_array(), *waiting = json_array();
  for (uint32_t k = 0; k < t->fn->fn->n_probes; k++) {
    const uint32_t i = t->rows[k];
    const StepTotal *s = &t->total.steps[i];
    const JobStep *step = &t->fn->fn->steps[i];
    const double n = (double)t->total.n_steps;
    char place[256];
    json_array_append_new(steps, json_pack("{s:i,s:s,s:s,s:s,s:s,s:f,s:f,s:f,s:f,s:f,s:f}", "step", (int)i, "what", step->what, "kernel",
                                           step->kernel, "phase", phase_names[step->phase], "at",
                                           place_text(place, sizeof place, &step->span), "ms", t->ms * s->work, "wait_ms",
                                           t->ms * s->wait, "flop", s->flops / n, "bytes", s->bytes / n, "products", s->products / n,
                                           "products_counted", s->counted / n));
  }
  for (uint32_t k = 0; k < t->fn->n_threads; k++) {
    double wait = 0;
    for (uint32_t i = 0; i < t->fn->fn->n_probes; i++) wait += (double)t->fn->threads[k].wait[i];
    json_array_append_new(waiting, json_real(t->ms * t->total.threads * wait));
  }
  const double n = (double)t->total.n_steps;
  return json_pack("{s:s,s:I,s:f,s:f,s:f,s:f,s:f,s:f,s:o,s:o,s:o}", "function", t->fn->name ? t->fn->name : "train", "steps",
                   (json_int_t)t->total.n_steps, "ms", t->ms * (t->total.work + t->total.wait), "wait_ms", t->ms * t->total.wait, "threads",
                   t->total.threads, "products", t->total.products / n, "products_counted", t->total.counted / n, "products_expected",
                   t->fn->fn->products, "thread_wait_ms", waiting, "row_sets", sets_json(t), "plan_steps", steps);
}

void profile_table(Run *r, const Profile *p) {
  json_t *functions = json_array();
  if (!r->o->json && r->o->quiet < 2) {
    progress_end(r);
    printf("\nmachine: %.1f GFLOP/s of fused multiply-adds, copies at %.1f GB/s read and written, on %d thread%s, measured before the run\n",
           1e-9 * p->peak.flops, 1e-9 * p->peak.bytes, pool_threads(r->pool), pool_threads(r->pool) == 1 ? "" : "s");
  }
  for (uint32_t i = 0; i < p->n; i++) {
    Table t;
    const bool any = table_begin(&t, p, &p->fns[i]);
    if (any && r->o->json) json_array_append_new(functions, table_json(&t));
    else if (any && r->o->quiet < 2) text_print(&t, r->o->verbose > 0);
    table_end(&t);
  }
  if (r->o->json)
    json_print(json_pack("{s:s,s:f,s:f,s:o}", "event", "profile", "peak_flops", p->peak.flops, "copy_bytes", p->peak.bytes,
                         "functions", json_incref(functions)));
  json_decref(functions);
  fflush(stdout);
}

/* ---- trace: the JSON array format of Chrome's tracing, threads as rows ---- */
static void string_print(FILE *f, const char *s) {
  char *text = NULL;
  json_t *o = json_string(s);
  if (o) text = json_dumps(o, JSON_ENCODE_ANY);
  fputs(text ? text : "\"?\"", f);
  free(text), json_decref(o);
}

static void event_print(FILE *f, const Profile *p, const ProfileFn *fn, const FnTotal *total, uint32_t thread, const TraceEvent *e) {
  const JobStep *s = &fn->fn->steps[e->plan_step];
  const double n = (double)total->n_steps;
  char place[256];
  fputs(",\n{\"name\": ", f);
  string_print(f, e->wait ? "waiting" : s->what);
  fprintf(f, ", \"cat\": \"%s\", \"ph\": \"X\", \"pid\": 1, \"tid\": %u, \"ts\": %.3f, \"dur\": %.3f, \"args\": {\"plan step\": %u, \"%s\": %lld, \"line\": ",
          e->wait ? "wait" : fn->name ? "evaluation" : phase_names[s->phase], thread, 1e6 * p->tick * (double)(e->begin - p->began),
          1e6 * p->tick * (double)(e->end - e->begin), e->plan_step, fn->name ? "batch" : "step", (long long)e->step);
  string_print(f, place_text(place, sizeof place, &s->span));
  if (!e->wait) {
    fputs(", \"kernel\": ", f);
    string_print(f, s->kernel);
    fprintf(f, ", \"FLOP\": %.0f, \"bytes\": %.0f", total->steps[e->plan_step].flops / n, total->steps[e->plan_step].bytes / n);
  }
  fputs("}}", f);
}

static void trace_print(FILE *f, const Run *r, const Profile *p) {
  fputs("{\"displayTimeUnit\": \"ms\", \"traceEvents\": [\n{\"name\": \"process_name\", \"ph\": \"M\", \"pid\": 1, \"args\": {\"name\": ", f);
  string_print(f, r->job->title);
  fputs("}}", f);
  for (int k = 0; k < pool_threads(r->pool); k++)
    fprintf(f, ",\n{\"name\": \"thread_name\", \"ph\": \"M\", \"pid\": 1, \"tid\": %d, \"args\": {\"name\": \"thread %d\"}}", k, k);
  for (uint32_t i = 0; i < p->n; i++) {
    const ProfileFn *fn = &p->fns[i];
    FnTotal total;
    if (profile_total(fn, &total))
      for (uint32_t k = 0; k < fn->n_threads; k++)
        for (uint32_t n = 0; n < fn->threads[k].n_events; n++) event_print(f, p, fn, &total, k, &fn->threads[k].events[n]);
    free(total.steps);
  }
  fputs("\n]}\n", f);
}

bool profile_trace(Run *r, const Profile *p, const char *path) {
  char *text = NULL;
  size_t n = 0;
  FILE *f = open_memstream(&text, &n);
  if (f) trace_print(f, r, p);
  const bool ok = f && fclose(f) == 0 ? mem_write_file(path, text, n, &r->error)
                                      : rt_fail(&r->error, RT_E0720, path, strerror(errno ? errno : ENOMEM));
  free(text);
  return ok;
}

bool profile_report(Run *r) {
  if (!r->profile) return true;
  r->profile->tick = (mem_now() - r->profile->began_at) / (double)(profile_ticks() - r->profile->began);
  profile_table(r, r->profile);
  char *path = *r->o->profile ? mem_printf("%s", r->o->profile) : r->dir ? mem_printf("%s/trace.json", r->dir) : NULL;
  const bool ok = !path || profile_trace(r, r->profile, path);
  if (ok && path) progress_note(r, "trace: %s", path);
  free(path);
  return ok;
}
