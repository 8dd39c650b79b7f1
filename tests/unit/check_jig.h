/* SPDX-License-Identifier: Apache-2.0
 * check_jig.h -- a specification from a string, checked and lowered, and its graphs evaluated by the
 * interpreter. */
#ifndef ROUTEC_TEST_CHECK_JIG_H
#define ROUTEC_TEST_CHECK_JIG_H
#include "compiler.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

typedef struct Jig {
  Arena *a;
  Sources *sources;
  Diags *diags;
  Program *p;      /* NULL after errors */
  double **params; /* [param]; jig_params fills them */
  double **columns;
  int64_t rows;
  double scalars[64];
  double step, total_steps, steps_per_epoch;
} Jig;

static inline Jig jig_open(const char *text, const Override *sets, uint32_t n_sets) {
  Jig j = {.rows = 4, .total_steps = 100, .steps_per_epoch = 10};
  j.a = arena_create();
  j.sources = sources_create(j.a);
  j.diags = diags_create(j.a, j.sources);
  uint32_t file = sources_add_text(j.sources, "test.route", text, strlen(text));
  ParseResult r = dsl_parse(j.a, j.sources, file, j.diags);
  Model *m = j.diags->n_errors ? NULL : model_check(j.a, j.sources, &r, sets, n_sets, j.diags);
  j.p = m ? model_lower(m, j.diags) : NULL;
  return j;
}

static inline Jig jig_spec(const char *text) {
  Jig j = jig_open(text, NULL, 0);
  if (!j.p || j.diags->n_warnings) diags_print_text(j.diags, stderr, false);
  assert_non_null(j.p);
  return j;
}

static inline void jig_close(Jig *j) { arena_destroy(j->a); }

/* A number in [-1, 1) that depends on k only. */
static inline double jig_noise(uint64_t k) {
  k = (k + 1) * 0x9E3779B97F4A7C15u;
  k ^= k >> 29, k *= 0xBF58476D1CE4E5B9u, k ^= k >> 32;
  return (double)(k >> 11) * 0x1p-52 - 1;
}

static inline int jig_param(const Jig *j, const char *path) {
  for (uint32_t i = 0; i < j->p->n_params; i++)
    if (!strcmp(j->p->params[i].path, path)) return (int)i;
  fail_msg("no parameter %s", path);
  return -1;
}

static inline int jig_column(const Jig *j, const char *name) {
  for (uint32_t i = 0; i < j->p->n_columns; i++)
    if (!strcmp(j->p->columns[i].name, name)) return (int)i;
  fail_msg("no column %s", name);
  return -1;
}

/* Noise in every parameter and column; integer columns count 0, 1, 2 ... within their range. */
static inline void jig_fill(Jig *j, int64_t rows) {
  j->rows = rows;
  j->params = ARENA_NEWS(j->a, double *, j->p->n_params + 1);
  j->columns = ARENA_NEWS(j->a, double *, j->p->n_columns + 1);
  for (uint32_t i = 0; i < j->p->n_params; i++) {
    int64_t n = shape_count(&j->p->params[i].shape, rows);
    j->params[i] = ARENA_NEWS(j->a, double, n);
    for (int64_t k = 0; k < n; k++) j->params[i][k] = jig_noise(j->p->params[i].stream + (uint64_t)k);
  }
  for (uint32_t i = 0; i < j->p->n_columns; i++) {
    const ProgColumn *c = &j->p->columns[i];
    int64_t n = shape_count(&c->shape, rows);
    j->columns[i] = ARENA_NEWS(j->a, double, n);
    for (int64_t k = 0; k < n; k++) {
      double span = c->has_range ? c->hi - c->lo + 1 : 256;
      j->columns[i][k] = c->dtype == DT_F32 ? 2 * jig_noise(77 * i + (uint64_t)k)
                                            : (c->has_range ? c->lo : 0) + fmod((double)(k * 3), span);
    }
  }
  for (uint32_t i = 0; i < j->p->n_scalars && i < 64; i++) j->scalars[i] = j->p->scalars[i].value;
}

static inline ValueId jig_named(const Graph *g, const char *name) {
  ValueId found = 0;
  for (ValueId i = 1; i < g->n; i++)
    if (g->v[i].name && !strcmp(g->v[i].name, name)) found = i; /* the last: what readers read */
  return found;
}

/* Values of one graph value, row-major. */
static inline const double *jig_value(Jig *j, Graph *g, ValueId id) {
  assert_true(id != 0);
  graph_root(g, ROOT_KEEP, 0, 0, id);
  EvalInput in = {.rows = j->rows,
                  .params = (const double *const *)j->params,
                  .columns = (const double *const *)j->columns,
                  .scalars = j->scalars,
                  .step = j->step,
                  .total_steps = j->total_steps,
                  .steps_per_epoch = j->steps_per_epoch,
                  .seed = 1};
  EvalResult r = graph_eval(g, j->a, &in);
  assert_non_null(r.value[id]);
  return r.value[id];
}

static inline const double *jig_get(Jig *j, Graph *g, const char *name) {
  ValueId id = jig_named(g, name);
  if (!id) fail_msg("no value %s", name);
  return jig_value(j, g, id);
}

static inline int64_t jig_count(const Jig *j, const Graph *g, ValueId id) {
  return shape_count(&g->v[id].shape, j->rows);
}

static inline void near(double got, double want, const char *what) {
  if (!(fabs(got - want) <= 1e-12 * (1 + fabs(want)))) fail_msg("%s: got %.17g, want %.17g", what, got, want);
}

/* Does some error have this code? */
static inline bool jig_says(const Jig *j, DiagCode code) {
  for (uint32_t i = 0; i < j->diags->n; i++)
    if (j->diags->items[i]->code == code) return true;
  return false;
}
#endif
