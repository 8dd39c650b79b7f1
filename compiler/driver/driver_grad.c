/* SPDX-License-Identifier: Apache-2.0
 * driver_grad.c -- `routec grad`: the routed gradient of one batch, of chosen losses and of one class's data. */
#include "call_eval.h"
#include "driver.h"
#include <stdlib.h>
#include <string.h>

/* The origins that --loss names; all of them without it. */
static int named_origins(Compilation *c, OriginSet *out) {
  const Program *p = c->program;
  const GradOptions *g = &c->o->grad;
  const char *names[64];
  for (uint32_t k = 0; k < p->n_origins; k++) names[k] = p->origins[k].name;
  *out = g->n_losses ? 0 : ~(OriginSet)0;
  for (uint32_t i = 0; i < g->n_losses; i++) {
    uint32_t k = 0;
    while (k < p->n_origins && strcmp(names[k], g->losses[i]) != 0) k++;
    if (k == p->n_origins)
      return driver_fail_near(c->o, RT_USAGE, g->losses[i], names, p->n_origins, E0521, "loss or regularizer",
                              g->losses[i]);
    *out |= (OriginSet)1 << k;
  }
  return RT_OK;
}

static int named_class(Compilation *c, int32_t *out) {
  const Program *p = c->program;
  const ProgDataClass *all = p->data_classes;
  const uint32_t n = p->n_data_classes;
  const char *wanted = c->o->grad.class, **names = ARENA_NEWS(c->arena, const char *, n + 1);
  *out = -1;
  for (uint32_t k = 0; wanted && k < n; k++) {
    names[k] = all[k].name;
    if (strcmp(names[k], wanted) != 0) continue;
    if (!all[k].by_datum) return driver_fail(c->o, RT_USAGE, E0523, wanted, NULL);
    *out = (int32_t)k;
  }
  if (!wanted || *out >= 0) return RT_OK;
  return driver_fail_near(c->o, RT_USAGE, wanted, names, n, E0521, "class", wanted);
}

/* "routed gradient of l1 and reconstruction, data of `low`, without size (a number of the whole batch)". */
static const char *what_text(Compilation *c, OriginSet origins) {
  const Program *p = c->program;
  const GradOptions *g = &c->o->grad;
  const char *t = g->no_routes ? "gradient" : "routed gradient", *left_out = NULL;
  if (g->oracle) t = arena_printf(c->arena, "%s in double", t);
  for (uint32_t i = 0, n = 0; g->n_losses && i < p->n_origins; i++)
    if ((origins >> i) & 1) t = arena_printf(c->arena, "%s%s%s", t, n++ ? ", " : " of ", p->origins[i].name);
  if (!g->class) return t;
  t = arena_printf(c->arena, "%s, data of `%s`", t, g->class);
  for (uint32_t i = 0; i < p->n_origins; i++)
    if (((origins >> i) & 1) && !p->origins[i].per_datum)
      left_out = arena_printf(c->arena, "%s%s%s", left_out ? left_out : "", left_out ? ", " : "", p->origins[i].name);
  if (!left_out) return t;
  return arena_printf(c->arena, "%s, without what belongs to the whole batch (%s)", t, left_out);
}

int driver_grad_prepare(Compilation *c) {
  Program *p = c->program;
  GradOptions const *g = &c->o->grad;
  OriginSet origins;
  if (!p->train.present) return driver_fail(c->o, RT_USAGE, E0524, c->o->argument, NULL);
  int code = named_origins(c, &origins);
  if (code == RT_OK) code = named_class(c, &c->grad_class);
  if (code != RT_OK) return code;
  c->grad_what = what_text(c, origins);
  if (g->rows) p->train.batch = g->rows;
  p->gradient = pass_gradient(p, origins, !g->no_routes);
  p->n_evals = p->n_expects = 0;
  return RT_OK;
}

/* ---- the oracle ---------------------------------------------------------------------------------------------- */
static double element(Dtype t, const void *base, int64_t i) {
  switch (t) {
  case DT_F32: return (double)((const float *)base)[i];
  case DT_I32: return (double)((const int32_t *)base)[i];
  case DT_U8: return (double)((const uint8_t *)base)[i];
  default: fprintf(stderr, "routec: internal error: a column of type %s\n", dtype_name(t)), abort();
  }
}

static const double *gather(Arena *a, const ProgColumn *c, const void *base, const int32_t *order, int64_t rows) {
  Shape one = c->shape;
  const int64_t n = shape_count(&one, 1);
  double *out = ARENA_NEWS(a, double, rows *n);
  for (int64_t r = 0; r < rows; r++)
    for (int64_t i = 0; i < n; i++) out[r * n + i] = element(c->dtype, base, (int64_t)order[r] * n + i);
  return out;
}

static void oracle(void *user, const JobFrame *f, int64_t rows, float **values) {
  const Compilation *c = user;
  const Program *p = c->program;
  Arena *a = arena_create();
  const int32_t *order = f->order + f->starts[0];
  const double **columns = ARENA_NEWS(a, const double *, p->n_columns + 1);
  double **params = ARENA_NEWS(a, double *, p->n_params + 1);
  for (uint32_t i = 0; i < p->n_columns; i++)
    if (f->columns[i]) columns[i] = gather(a, &p->columns[i], f->columns[i], order, rows);
  for (uint32_t i = 0; i < p->n_params; i++) {
    const int64_t n = shape_count(&p->params[i].shape, 1);
    params[i] = ARENA_NEWS(a, double, n);
    for (int64_t k = 0; k < n; k++) params[i][k] = (double)values[i][k], values[i][k] = 0;
  }
  RtError error = {0};
  CallEval *calls = call_eval_open(a, p, f->scalars, &error);
  if (!calls) fprintf(stderr, "routec: internal error: ops that the run made cannot be made again: %s\n", error.message), abort();
  const EvalInput in = {.rows = rows,
                        .params = (const double *const *)params,
                        .columns = columns,
                        .datum = order,
                        .scalars = f->scalars,
                        .step = (double)f->step,
                        .total_steps = (double)f->total_steps,
                        .steps_per_epoch = (double)f->steps_per_epoch,
                        .seed = f->seed,
                        .call = call_eval_run,
                        .call_ctx = calls};
  const EvalResult result = graph_eval(p->gradient, a, &in);
  call_eval_close(calls);
  for (uint32_t i = 0; i < p->gradient->n_roots; i++) {
    const Root *root = &p->gradient->roots[i];
    const int64_t n = shape_count(&p->params[root->a].shape, 1);
    for (int64_t k = 0; k < n; k++) values[root->a][k] = (float)result.value[root->value][k];
  }
  arena_destroy(a);
}

int driver_command_grad(const Options *o) {
  Compilation c;
  bool stopped = false;
  driver_open(&c, o);
  int code = driver_compile(&c, o->argument, STAGE_LOAD, &stopped);
  if (o->rt.verbose) driver_print_times(&c, stderr);
  if (code == RT_OK && !stopped) {
    RtGrad g = {.what = c.grad_what, .output = o->output, .batch = o->grad.batch, .class = c.grad_class};
    if (o->grad.oracle) g.oracle = oracle, g.user = &c;
    code = rt_grad(c.job, &o->rt, &g);
  }
  driver_close(&c);
  return code;
}
