/* SPDX-License-Identifier: Apache-2.0
 * driver_plugin_laws.c -- what route_plugin.h asks of every function of a step: finite on ordinary data,
 * inside its buffers, reading only, pure, safe in threads, quiet on odd data, adding, linear in scale. */
#include "driver.h"
#include "driver_plugin_trial.h"
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* NaN without its sign. */
static double plain(double x) { return isnan(x) ? (double)NAN : x; }
static const TrialCut whole = {0, 0, MERGE_NONE};

/* create() takes its defaults, ordinary parameters, and the ends of ranges, the latter two or refuses them in
 * words. */
bool law_create(Trial *t) {
  TrialUse u = {0};
  for (uint32_t draw = 0; draw < 8; draw++)
    if (!trial_use(t, draw, &u)) return false;
  for (uint32_t i = 0; i < 2 * t->op->n_params; i++) {
    const RouteParam *p = rt_op_param(t->op, i / 2);
    const double end = i % 2 ? p->max : p->min;
    if (isinf(end)) continue;
    u.params[i / 2] = end;
    trial_at(t, "create() with %s = %g", p->name, end);
    if (ROUTE_HAS(t->op, RouteOp, create)) t->op->create(t->op, &t->host, u.params);
    u.params[i / 2] = isnan(p->def) ? end : p->def;
  }
  return true;
}

/* One call of everything: value and, where there is one, gradient. */
typedef struct Run {
  TrialCase c;
  TrialOut out;
  TrialMatrix dy;
  TrialGrads g;
} Run;

static bool run_values(Run *r, size_t pad) {
  if (!trial_value(&r->c, whole, &r->out)) return false;
  r->dy = trial_dy(&r->c, pad);
  r->g = trial_grads(&r->c, pad);
  if (trial_has_grad(r->c.t)) trial_grad(&r->c, whole, &r->out, &r->dy, 1, &r->g);
  return true;
}

static bool run_shape(Trial *t, const TrialUse *u, TrialShape s, TrialFill fill, Run *r) {
  memset(r, 0, sizeof *r);
  if (!trial_case(t, u, s.rows, s.cols, s.pad, &r->c)) return false;
  if (fill != FILL_NORMAL) trial_case_fill(&r->c, fill);
  return run_values(r, s.pad);
}

static void run_results_free(Run *r) {
  trial_out_free(&r->out);
  trial_buffer_free(&r->dy.b);
  trial_grads_free(&r->g);
}

static void run_free(Run *r) {
  run_results_free(r);
  trial_case_free(&r->c);
}

/* ---- finite
 * ------------------------------------------------------------------------------------------------------ */
static bool check_finite(const Run *r) {
  Trial *t = r->c.t;
  if (!isfinite(r->out.value))
    return trial_fail(t, "the value is %g (%s)", plain(r->out.value), trial_case_text(&r->c));
  const TrialMatrix *y = &r->out.y;
  for (size_t i = 0; i < y->rows; i++)
    for (size_t j = 0; j < y->cols; j++) {
      const float v = y->x[i * y->ld + j];
      if (trial_canary(v))
        return trial_fail(t, "y[%zu][%zu] was not stored (%s)", i, j, trial_case_text(&r->c));
      if (!isfinite(v))
        return trial_fail(t, "y[%zu][%zu] is %g (%s)", i, j, plain((double)v), trial_case_text(&r->c));
    }
  for (uint32_t k = 0; k < t->op->n_inputs; k++) {
    const TrialMatrix *dx = &r->g.dx[k];
    for (size_t i = 0; i < dx->rows; i++)
      for (size_t j = 0; j < dx->cols; j++)
        if (!isfinite(dx->x[i * dx->ld + j]))
          return trial_fail(t, "the gradient for %s[%zu][%zu] = %g is %g (%s)", rt_op_input(t->op, k)->name,
                            i, j, (double)r->c.in[k].x[i * r->c.in[k].ld + j],
                            plain((double)dx->x[i * dx->ld + j]), trial_case_text(&r->c));
  }
  return true;
}

/* Ordinary data are normal numbers, and zeros: what a layer of dead units gives. */
bool law_finite(Trial *t) {
  for (uint32_t draw = 0; draw < N_TRIAL_USES; draw++)
    for (uint32_t i = 0; i < 2 * N_TRIAL_SHAPES; i++) {
      TrialUse u;
      Run r;
      TrialShape s = trial_shapes[i / 2];
      s.pad = 0;
      if (!trial_use(t, draw, &u) || !run_shape(t, &u, s, i % 2 ? FILL_ZERO : FILL_NORMAL, &r) ||
          !check_finite(&r))
        return false;
      run_free(&r);
    }
  return true;
}

/* ---- bounds
 * ------------------------------------------------------------------------------------------------------ */
static bool undamaged(const TrialCase *c, const char *name, const char *damage) {
  return !damage || trial_fail(c->t, "wrote %s of `%s` (%s)", damage, name, trial_case_text(c));
}

static bool check_bounds(const Run *r) {
  const TrialCase *c = &r->c;
  if (r->out.y.x && !undamaged(c, "y", trial_matrix_damage(&r->out.y))) return false;
  if (r->out.acc.map && !undamaged(c, "acc", trial_buffer_damage(&r->out.acc))) return false;
  for (uint32_t k = 0; k < c->t->op->n_inputs; k++) {
    if (r->g.dx[k].x && !undamaged(c, r->g.dx[k].b.name, trial_matrix_damage(&r->g.dx[k]))) return false;
    if (!undamaged(c, rt_op_input(c->t->op, k)->name, trial_matrix_damage(&c->in[k]))) return false;
  }
  for (uint32_t i = 0; i < c->t->n_blocks; i++)
    if (!undamaged(c, "the state", trial_buffer_damage(&c->t->blocks[i]))) return false;
  return true;
}

bool law_bounds(Trial *t) {
  t->tight = true;
  for (uint32_t i = 0; i < 2 * N_TRIAL_SHAPES; i++) {
    TrialUse u;
    Run r;
    t->at_end = i % 2;
    if (!trial_use(t, i % 3, &u) || !run_shape(t, &u, trial_shapes[i / 2], FILL_NORMAL, &r) ||
        !check_bounds(&r))
      return false;
    run_free(&r);
  }
  return true;
}

/* ---- inputs
 * ------------------------------------------------------------------------------------------------------ */
static bool check_inputs(const Run *r) {
  const TrialCase *c = &r->c;
  Trial *t = c->t;
  for (uint32_t k = 0; k < t->op->n_inputs; k++)
    if (!trial_buffer_same(&c->in[k].b))
      return trial_fail(t, "changed its input `%s` (%s)", rt_op_input(t->op, k)->name, trial_case_text(c));
  if (!trial_buffer_same(&c->datum) || !trial_buffer_same(&c->position))
    return trial_fail(t, "changed the key's numbers of data");
  if (!trial_buffer_same(&r->out.acc))
    return trial_fail(t, "grad() changed acc, which other threads read (%s)", trial_case_text(c));
  for (uint32_t i = 0; i < t->n_blocks; i++)
    if (!trial_buffer_same(&t->blocks[i]))
      return trial_fail(t, "changed its state, which other threads read (%s)", trial_case_text(c));
  return true;
}

bool law_inputs(Trial *t) {
  for (uint32_t i = 0; i < N_TRIAL_SHAPES; i++) {
    TrialUse u;
    Run r;
    if (!trial_use(t, i % 3, &u)) return false;
    for (uint32_t k = 0; k < t->n_blocks; k++) trial_buffer_remember(&t->blocks[k]);
    if (!run_shape(t, &u, trial_shapes[i], FILL_NORMAL, &r) || !check_inputs(&r)) return false;
    run_free(&r);
  }
  return true;
}

/* ---- pure
 * -------------------------------------------------------------------------------------------------------- */
static bool same_matrix(const TrialMatrix *a, const TrialMatrix *b) {
  for (size_t i = 0; i < a->rows; i++)
    if (memcmp(a->x + i * a->ld, b->x + i * b->ld, a->cols * sizeof(float))) return false;
  return true;
}

/* NULL, or what differs. */
static const char *difference(const Run *a, const Run *b) {
  if (memcmp(&a->out.value, &b->out.value, sizeof(double))) return "value";
  if (!same_matrix(&a->out.y, &b->out.y)) return "value";
  for (uint32_t k = 0; k < a->c.t->op->n_inputs; k++)
    if (!same_matrix(&a->g.dx[k], &b->g.dx[k])) return "gradient";
  return NULL;
}

/* The calls of `first` once more, in other memory. */
static bool run_again(const Run *first, const TrialUse *u, Run *r) {
  *r = (Run){.c = first->c};
  r->c.u = u;
  if (!trial_value(&r->c, whole, &r->out)) return false;
  r->g = trial_grads(&r->c, first->g.dx[0].x ? first->g.dx[0].ld - first->g.dx[0].cols : 0);
  if (trial_has_grad(r->c.t)) trial_grad(&r->c, whole, &r->out, &first->dy, 1, &r->g);
  return true;
}

bool law_pure(Trial *t) {
  for (uint32_t i = 0; i < N_TRIAL_SHAPES; i++) {
    TrialUse u, twin;
    Run a, other, again;
    if (!trial_use(t, i % 3, &u)) return false;
    twin = u;
    if (ROUTE_HAS(t->op, RouteOp, create)) twin.state = t->op->create(t->op, &t->host, twin.params);
    if (!run_shape(t, &u, trial_shapes[i], FILL_NORMAL, &a)) return false;
    for (uint32_t k = 0; k < 2;
         k++) { /* with other calls between, and with another state of the same parameters */
      if (!run_shape(t, &u, trial_shapes[(i + 1) % N_TRIAL_SHAPES], FILL_NORMAL, &other)) return false;
      if (!run_again(&a, k ? &twin : &u, &again)) return false;
      const char *what = difference(&a, &again);
      if (what)
        return trial_fail(t, "the same arguments give another %s %s (%s)", what,
                          k ? "with a state made from the same parameters" : "the second time",
                          trial_case_text(&a.c));
      run_results_free(&again);
      run_free(&other);
    }
    run_free(&a);
  }
  return true;
}

/* ---- threads
 * ----------------------------------------------------------------------------------------------------- */
enum { N_THREADS = 4 };
#define THREAD_SECONDS 0.5 /* a hundred changes of threads even on one CPU, most of them inside of calls */
typedef struct Worker {
  Trial t;
  TrialVerdict verdict;
  pthread_barrier_t *barrier;
  double end;
  Run first;
  const TrialUse *u;
  const char *what;
} Worker;

static void *work(void *arg) {
  Worker *w = arg;
  pthread_barrier_wait(w->barrier);
  do {
    Run again;
    if (!run_again(&w->first, w->u, &again)) return NULL;
    w->what = difference(&w->first, &again);
    run_results_free(&again);
  } while (!w->what && driver_now() < w->end);
  return NULL;
}

/* Each thread has data of its own, whose results are known from before; all share a state. */
bool law_threads(Trial *t) {
  static Worker workers[N_THREADS];
  pthread_t threads[N_THREADS];
  pthread_barrier_t barrier;
  TrialUse u;
  if (!trial_use(t, 0, &u)) return false;
  pthread_barrier_init(&barrier, NULL, N_THREADS);
  for (uint32_t i = 0; i < N_THREADS; i++) {
    Worker *w = &workers[i];
    w->t = *t, w->t.random += i, w->t.verdict = &w->verdict, w->barrier = &barrier, w->u = &u;
    if (!run_shape(&w->t, &u, (TrialShape){600 + 50 * i, 23, 1}, FILL_NORMAL, &w->first))
      return trial_fail(t, "%s", w->verdict.why);
  }
  trial_at(t, "several threads at once");
  for (uint32_t i = 0; i < N_THREADS; i++) workers[i].end = driver_now() + THREAD_SECONDS;
  for (uint32_t i = 0; i < N_THREADS; i++)
    if (pthread_create(&threads[i], NULL, work, &workers[i]) != 0)
      return trial_fail(t, "the check itself could not start a thread");
  for (uint32_t i = 0; i < N_THREADS; i++) pthread_join(threads[i], NULL);
  for (uint32_t i = 0; i < N_THREADS; i++)
    if (workers[i].what)
      return trial_fail(t, "called by %d threads at once it gives another %s than alone (%s)", N_THREADS,
                        workers[i].what, trial_case_text(&workers[i].first.c));
  return true;
}

/* ---- empty and odd data
 * ------------------------------------------------------------------------------------------ */
bool law_empty(Trial *t) {
  static const TrialShape shapes[] = {{0, 4, 0}, {0, 1, 3}};
  t->tight = true;
  for (uint32_t i = 0; i < 4; i++) {
    TrialUse u;
    Run r;
    t->at_end = i % 2;
    if (!trial_use(t, i, &u) || !run_shape(t, &u, shapes[i / 2], FILL_NORMAL, &r) || !check_bounds(&r))
      return false;
    if (t->ability == TRIAL_SPAN && r.out.value != 0)
      return trial_fail(t, "the value of no elements is %g, not 0", r.out.value);
    if (!isfinite(r.out.value))
      return trial_fail(t, "the value of no rows is %g: a class without data would spoil the loss",
                        r.out.value);
    run_free(&r);
  }
  return true;
}

/* Any result is right; what is asked for is that there is one, and that nothing else is touched. */
bool law_nan(Trial *t) {
  t->tight = true;
  for (uint32_t i = 0; i < N_FILLS * 4; i++) {
    TrialUse u;
    Run r;
    t->at_end = i % 2;
    if (!trial_use(t, i % 3, &u) ||
        !run_shape(t, &u, trial_shapes[i % N_TRIAL_SHAPES], (TrialFill)(i / 4), &r) || !check_bounds(&r))
      return false;
    run_free(&r);
  }
  return true;
}

/* ---- adds, scale
 * ------------------------------------------------------------------------------------------------- */
static float largest(const TrialMatrix *m) {
  float most = 0;
  for (size_t i = 0; i < m->rows; i++)
    for (size_t j = 0; j < m->cols; j++) most = fmaxf(most, fabsf(m->x[i * m->ld + j]));
  return most;
}

static bool check_added(Run *r, const TrialGrads *noise) {
  Trial *t = r->c.t;
  TrialGrads sum = trial_grads(&r->c, 2);
  for (uint32_t k = 0; k < t->op->n_inputs; k++)
    for (size_t i = 0; i < sum.dx[k].rows; i++)
      for (size_t j = 0; j < sum.dx[k].cols; j++)
        sum.dx[k].x[i * sum.dx[k].ld + j] = noise->dx[k].x[i * noise->dx[k].ld + j];
  trial_grad(&r->c, whole, &r->out, &r->dy, 1, &sum);
  for (uint32_t k = 0; k < t->op->n_inputs; k++) {
    const TrialMatrix *g = &r->g.dx[k], *n = &noise->dx[k], *s = &sum.dx[k];
    const float bound = 1e-5f * (largest(g) + largest(n));
    for (size_t i = 0; i < g->rows; i++)
      for (size_t j = 0; j < g->cols; j++) {
        const float have = n->x[i * n->ld + j], own = g->x[i * g->ld + j], got = s->x[i * s->ld + j];
        if (!(fabsf(got - (have + own)) <= bound))
          return trial_fail(t, "dx[%zu][%zu] held %g, the gradient is %g, and then it holds %g: %s (%s)", i,
                            j, (double)have, (double)own, (double)got,
                            got == own ? "grad() stores instead of adding" : "not their sum",
                            trial_case_text(&r->c));
      }
  }
  trial_grads_free(&sum);
  return true;
}

bool law_adds(Trial *t) {
  if (!trial_has_grad(t)) return true;
  for (uint32_t i = 0; i < N_TRIAL_SHAPES; i++) {
    TrialUse u;
    Run r;
    if (!trial_use(t, i % 3, &u) || !run_shape(t, &u, trial_shapes[i], FILL_NORMAL, &r)) return false;
    TrialGrads noise = trial_grads(&r.c, 0);
    for (uint32_t k = 0; k < t->op->n_inputs; k++)
      for (size_t e = 0; e < noise.dx[k].rows * noise.dx[k].cols; e++)
        noise.dx[k].x[e] = (float)(trial_normal(t) * (1 + largest(&r.g.dx[k])));
    if (!check_added(&r, &noise)) return false;
    trial_grads_free(&noise);
    run_free(&r);
  }
  return true;
}

/* What grad() adds to zeros, store() leaves in their place, whatever was there, and nowhere else. */
static bool check_stored(Run *r, TrialCut cut, float scale) {
  Trial *t = r->c.t;
  TrialGrads added = trial_grads(&r->c, 2), stored = trial_grads(&r->c, 2);
  const TrialMatrix *a = &added.dx[0], *s = &stored.dx[0];
  trial_grad(&r->c, whole, &r->out, &r->dy, scale, &added);
  const float bound = 1e-5f * largest(a);
  for (size_t i = 0; i < s->rows * s->ld; i++)
    if (i % s->ld < s->cols) s->x[i] = (float)(trial_normal(t) + 1e6);
  trial_store(&r->c, cut, scale, &stored);
  const char *damage = trial_matrix_damage(s);
  if (damage) return trial_fail(t, "store() writes into dx %s (%s)", damage, trial_case_text(&r->c));
  for (size_t i = 0; i < a->rows; i++)
    for (size_t j = 0; j < a->cols; j++) {
      const float want = a->x[i * a->ld + j], got = s->x[i * s->ld + j];
      if (!(fabsf(got - want) <= bound) && !(isnan(got) && isnan(want)) && got != want)
        return trial_fail(t, "dx[%zu][%zu] is %g from store(), and grad() adds %g (%s)", i, j, (double)got, (double)want, trial_case_text(&r->c));
    }
  trial_grads_free(&added), trial_grads_free(&stored);
  return true;
}

bool law_store(Trial *t) {
  static const TrialCut cuts[] = {{0, 0, MERGE_NONE}, {2, 3, MERGE_NONE}};
  if (!ROUTE_HAS((const RouteSpan *)t->able, RouteSpan, store)) return true;
  for (uint32_t i = 0; i < 2 * N_TRIAL_SHAPES; i++) {
    TrialUse u;
    Run r;
    if (!trial_use(t, i % 3, &u) || !run_shape(t, &u, trial_shapes[i / 2], i % 2 ? FILL_SOME_NAN : FILL_NORMAL, &r)) return false;
    for (int k = 0; k < 4; k++)
      if (!check_stored(&r, cuts[k % 2], k < 2 ? 1 : -0.5f)) return false;
    run_free(&r);
  }
  return true;
}

static bool check_scaled(Run *r, float scale) {
  Trial *t = r->c.t;
  TrialGrads g = trial_grads(&r->c, 1);
  trial_grad(&r->c, whole, &r->out, &r->dy, scale, &g);
  for (uint32_t k = 0; k < t->op->n_inputs; k++) {
    const TrialMatrix *one = &r->g.dx[k], *s = &g.dx[k];
    const float bound = 1e-5f * fabsf(scale) * largest(one);
    for (size_t i = 0; i < one->rows; i++)
      for (size_t j = 0; j < one->cols; j++) {
        const float want = scale * one->x[i * one->ld + j], got = s->x[i * s->ld + j];
        if (!(fabsf(got - want) <= bound))
          return trial_fail(t, "with %s %g the gradient for %s[%zu][%zu] is %g, not %g (%s)",
                            t->ability == TRIAL_GATE ? "dy times" : "scale", (double)scale,
                            rt_op_input(t->op, k)->name, i, j, (double)got, (double)want,
                            trial_case_text(&r->c));
      }
  }
  trial_grads_free(&g);
  return true;
}

bool law_scale(Trial *t) {
  static const float scales[] = {2, -0.5f, 0, 1e-3f};
  if (!trial_has_grad(t)) return true;
  for (uint32_t i = 0; i < N_TRIAL_SHAPES; i++) {
    TrialUse u;
    Run r;
    if (!trial_use(t, i % 3, &u) || !run_shape(t, &u, trial_shapes[i], FILL_NORMAL, &r)) return false;
    for (uint32_t k = 0; k < sizeof scales / sizeof *scales; k++)
      if (!check_scaled(&r, scales[k])) return false;
    run_free(&r);
  }
  return true;
}
