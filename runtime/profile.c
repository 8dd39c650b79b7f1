/* SPDX-License-Identifier: Apache-2.0
 * profile.c -- marks of the code that was compiled for a profile, added up by thread and plan step. Steps that the runtime looks into
 * (JobFrame.check) are left out: the looks would be in their times. All memory is there before the first step. */
#include "profile.h"
#include <stdlib.h>
#include <string.h>
#include <time.h>
#if defined(__x86_64__)
#include <x86intrin.h>
#endif

enum { TRACE_FIRST = 2, TRACE_STEPS = 20, TRACE_EVENTS = 1 << 16 }; /* which steps are traced: events of one thread are bounded */

uint64_t profile_ticks(void) {
#if defined(__x86_64__)
  return __rdtsc();
#else
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
#endif
}

/* ---- marks ---- */
static void step_begin(ProfileFn *p, ProfileThread *t, const JobFrame *f, int64_t s) {
  const int64_t number = p->name ? t->steps : f->step + s - p->first_step, from = p->name ? 0 : TRACE_FIRST;
  const uint32_t each = 2 * p->fn->n_probes + 2;
  t->tracing = number >= from && number < from + (p->name ? 1 : TRACE_STEPS) && t->n_events + each <= t->most_events;
  t->steps++;
}

static int64_t set_rows(const ProfileFn *p, const JobFrame *f, int64_t s, uint32_t set) {
  if (!set) return f->starts[s + 1] - f->starts[s];
  if (p->fn->packed >> set & 1) return ((const int64_t *)(const void *)(f->work + p->fn->counts_at))[set];
  return f->sets[2 * (s * p->fn->n_sets + set) + 1];
}

/* Before the last barrier of a step: all of its packed row sets are known, and none of the next step's. */
static void rows_count(ProfileFn *p, const JobFrame *f, int64_t s) {
  for (uint32_t i = 0; i < p->n_products; i++) {
    double n = 1;
    for (uint32_t k = 0; k < p->products[i].n; k++) n *= (double)set_rows(p, f, s, p->products[i].sets[k]);
    p->products[i].sum += n;
  }
}

void profile_mark(JobFrame *f, int64_t tid, int64_t s, int64_t plan_step, int64_t met, int64_t products) {
  ProfileFn *p = f->profile;
  if (!p || f->check) return;
  ProfileThread *t = &p->threads[tid];
  const uint64_t now = profile_ticks();
  t->marks++;
  if (plan_step < 0) {
    step_begin(p, t, f, s);
    t->last = profile_ticks();
    return;
  }
  (met ? t->wait : t->work)[plan_step] += now - t->last;
  if (t->tracing && t->n_events < t->most_events)
    t->events[t->n_events++] = (TraceEvent){t->last, now, p->name ? t->steps - 1 : f->step + s, (uint32_t)plan_step, met != 0};
  const bool last = plan_step + 1 == p->fn->n_probes && !met;
  if (tid == 0) p->counted[plan_step] += products;
  if (tid == 0 && last) rows_count(p, f, s);
  t->last = t->tracing || last ? profile_ticks() : now;
}

/* ---- tables ---- */
static uint32_t product_of(ProfileFn *p, const JobCost *c) {
  uint32_t i = 0;
  while (i < p->n_products && (p->products[i].n != c->n || memcmp(p->products[i].sets, c->sets, sizeof c->sets) != 0)) i++;
  if (i == p->n_products) {
    p->products[i].n = c->n;
    memcpy(p->products[i].sets, c->sets, sizeof c->sets);
    p->n_products++;
  }
  return i;
}

static bool thread_open(ProfileThread *t, const JobFunction *fn, int64_t steps) {
  const int64_t most = steps * (2 * (int64_t)fn->n_probes + 2);
  t->most_events = (uint32_t)(most < TRACE_EVENTS ? most : TRACE_EVENTS);
  t->work = calloc(fn->n_probes + 1, sizeof *t->work), t->wait = calloc(fn->n_probes + 1, sizeof *t->wait);
  t->events = malloc(((size_t)t->most_events + 1) * sizeof *t->events);
  if (t->events) memset(t->events, 0, ((size_t)t->most_events + 1) * sizeof *t->events); /* no page is new in a step */
  return t->work && t->wait && t->events;
}

static bool fn_open(ProfileFn *p, const char *name, const JobFunction *fn, uint32_t threads) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < fn->n_probes; i++) n += fn->steps[i].n_costs;
  p->name = name, p->fn = fn;
  p->products = calloc(n + 1, sizeof *p->products);
  p->counted = calloc(fn->n_probes + 1, sizeof *p->counted);
  p->threads = aligned_alloc(64, threads * sizeof *p->threads);
  if (!p->threads || !p->products || !p->counted) return false;
  memset(p->threads, 0, threads * sizeof *p->threads);
  p->n_threads = threads;
  for (uint32_t i = 0; i < fn->n_probes; i++)
    for (uint32_t k = 0; k < fn->steps[i].n_costs; k++) product_of(p, &fn->steps[i].costs[k]);
  for (uint32_t i = 0; i < threads; i++)
    if (!thread_open(&p->threads[i], fn, name ? 1 : TRACE_STEPS)) return false;
  return true;
}

/* The least that a mark took in a few trials; what they added is taken away again. */
static double mark_seconds(ProfileFn *p) {
  enum { MARKS = 2000 };
  ProfileThread *t = &p->threads[0];
  JobFrame f = {.profile = p};
  double best = 1;
  for (int trial = 0; trial < 10; trial++) {
    const double began = mem_now();
    for (int i = 0; i < MARKS; i++) profile_mark(&f, 0, 0, 0, 1, 0);
    const double each = (mem_now() - began) / MARKS;
    if (each < best) best = each;
  }
  t->wait[0] = 0, t->marks = 0;
  return best;
}

bool profile_compiled(const Job *job) {
  bool all = !job->train.present || job->train.fn.steps;
  for (uint32_t i = 0; i < job->n_evals; i++) all = all && job->evals[i].fn.steps;
  return all;
}

bool profile_open(Run *r) {
  const Job *job = r->job;
  if (!r->o->profile || r->profile) return true;
  if (!profile_compiled(job)) fprintf(stderr, "runtime: %s was not compiled for a profile\n", job->title), abort();
  Profile *p = r->profile = calloc(1, sizeof *p);
  if (p) p->fns = calloc(job->n_evals + 1, sizeof *p->fns);
  if (!p || !p->fns) return rt_fail(&r->error, RT_E0719, 0LL, "a profile");
  const uint32_t threads = (uint32_t)pool_threads(r->pool);
  if (!peak_measure(r->pool, &p->peak, &r->error)) return false;
  p->began = profile_ticks(), p->began_at = mem_now();
  bool ok = true;
  for (uint32_t i = 0; ok && i <= job->n_evals; i++, p->n++)
    ok = fn_open(&p->fns[i], i ? job->evals[i - 1].name : NULL, i ? &job->evals[i - 1].fn : &job->train.fn, threads);
  if (ok) p->fns[0].first_step = r->state.step, p->mark = mark_seconds(&p->fns[0]);
  return ok || rt_fail(&r->error, RT_E0719, 0LL, "a profile");
}

void *profile_of(const Run *r, const JobFunction *fn) {
  for (uint32_t i = 0; r->profile && i < r->profile->n; i++)
    if (r->profile->fns[i].fn == fn) return &r->profile->fns[i];
  return NULL;
}

void profile_free(Run *r) {
  Profile *p = r->profile;
  for (uint32_t i = 0; p && p->fns && i <= r->job->n_evals; i++) {
    ProfileFn *f = &p->fns[i];
    for (uint32_t k = 0; k < f->n_threads; k++) free(f->threads[k].work), free(f->threads[k].wait), free(f->threads[k].events);
    free(f->threads), free(f->products), free(f->counted);
  }
  if (p) free(p->fns);
  free(p);
  r->profile = NULL;
}

/* ---- totals ---- */
bool profile_total(const ProfileFn *p, FnTotal *out) {
  uint64_t first = 0;
  *out = (FnTotal){.n_steps = p->n_threads ? p->threads[0].steps : 0};
  if (!out->n_steps || !(out->steps = calloc(p->fn->n_probes + 1, sizeof *out->steps))) return false;
  for (uint32_t i = 0; i < p->fn->n_probes; i++) {
    StepTotal *s = &out->steps[i];
    for (uint32_t k = 0; k < p->n_threads; k++) s->work += (double)p->threads[k].work[i], s->wait += (double)p->threads[k].wait[i];
    first += p->threads[0].work[i] + p->threads[0].wait[i];
    for (uint32_t k = 0; k < p->fn->steps[i].n_costs; k++) {
      const JobCost *c = &p->fn->steps[i].costs[k];
      const double n = p->products[product_of((ProfileFn *)(uintptr_t)p, c)].sum;
      s->flops += n * c->flops, s->products += n * c->products, s->bytes += n * c->bytes;
    }
    s->counted = (double)p->counted[i];
    out->work += s->work, out->wait += s->wait, out->products += s->products, out->counted += s->counted;
  }
  out->threads = first ? (out->work + out->wait) / (double)first : 1;
  return true;
}
