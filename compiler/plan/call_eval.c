/* SPDX-License-Identifier: Apache-2.0
 * call_eval.c -- CALL for the interpreter: one call of the plugin's function on all rows, in the floats that the contract has. */
#include "call_eval.h"
#include <stdlib.h>
#include <string.h>

struct CallEval { const Program *p; void **state; PluginMemory memory; };

static RouteView view(Arena *a, const EvalCall *c, uint32_t i) {
  const size_t n = (size_t)(c->rows * c->cols[i]);
  RouteView v = {.size = sizeof v, .rows = (size_t)c->rows, .cols = (size_t)c->cols[i], .ld = (size_t)c->cols[i]};
  float *x = ARENA_NEWS(a, float, n + 1);
  int32_t *label = ARENA_NEWS(a, int32_t, n + 1);
  for (size_t k = 0; k < n; k++) {
    if (c->label[i]) label[k] = (int32_t)c->input[i][k];
    else x[k] = (float)c->input[i][k];
  }
  if (c->label[i]) v.label = label;
  else v.x = x;
  return v;
}

static float *floats(Arena *a, const double *x, int64_t n) {
  float *y = ARENA_NEWS(a, float, n + 1);
  for (int64_t i = 0; x && i < n; i++) y[i] = (float)x[i];
  return y;
}

typedef struct Use { Arena *a; const EvalCall *c; const ProgCall *call; void *state; RouteView *in; float **dx; size_t *cols; } Use;

static void eval_span(const Use *u) {
  const RouteSpan *s = u->call->op->extension(u->call->op, ROUTE_EXT_SPAN);
  if (!u->c->what) u->c->out[0] = s->value(u->state, u->in);
  else if (u->c->dy[0] != 0) s->grad(u->state, u->in, (float)u->c->dy[0], u->dx[0], u->cols[0]);
}

/* Statistics are made anew for each gradient. */
static void eval_reduce(const Use *u) {
  const RouteReduce *r = u->call->op->extension(u->call->op, ROUTE_EXT_REDUCE);
  const size_t rows = (size_t)u->c->rows, n = r->acc_size(u->state, u->cols, rows);
  void *acc = arena_alloc(u->a, n + 64);
  acc = (void *)(((uintptr_t)acc + 63) / 64 * 64);
  memset(acc, 0, n);
  if (rows) r->partial(u->state, u->in, acc);
  const double value = r->finish(u->state, u->cols, rows, acc);
  if (!u->c->what) u->c->out[0] = value;
  else if (u->c->dy[0] != 0) r->grad(u->state, acc, rows, u->in, (float)u->c->dy[0], u->dx, u->cols);
}

static bool all_zero(const float *x, int64_t n) {
  for (int64_t i = 0; i < n; i++)
    if (x[i] != 0) return false;
  return true;
}

static void eval_gate(const Use *u) {
  const EvalCall *c = u->c;
  const RouteGate *g = u->call->op->extension(u->call->op, ROUTE_EXT_GATE);
  const RouteKey key = {.size = sizeof key, .training = c->training, .seed = c->seed, .stream = u->call->stream, .step = (int64_t)c->step,
                        .datum = c->datum, .position = c->position};
  const int64_t n = c->rows * c->out_cols;
  float *y = floats(u->a, c->value, n), *dy = floats(u->a, c->dy, n);
  if (!c->what) {
    if (c->rows) g->value(u->state, u->in, &key, y, (size_t)c->out_cols);
    for (int64_t i = 0; i < n; i++) c->out[i] = (double)y[i];
    return;
  }
  if (!ROUTE_HAS(g, RouteGate, grad) || !c->rows) return;
  const RouteView vy = {.size = sizeof vy, .x = y, .rows = (size_t)c->rows, .cols = (size_t)c->out_cols, .ld = (size_t)c->out_cols};
  RouteView vd = vy;
  vd.x = dy;
  g->grad(u->state, u->in, &key, &vy, &vd, u->dx, u->cols);
  const int64_t cols = c->cols[c->what - 1];
  for (int64_t r = 0; r < c->rows; r++)
    if (all_zero(dy + r * c->out_cols, c->out_cols)) memset(u->dx[c->what - 1] + r * cols, 0, (size_t)cols * sizeof(float));
}

static void eval_schedule(const Use *u) {
  const RouteSchedule *s = u->call->op->extension(u->call->op, ROUTE_EXT_SCHEDULE);
  const RouteClock clock = {.size = sizeof clock, .step = u->c->input[0][0], .total_steps = u->c->input[1][0],
                            .steps_per_epoch = u->c->input[2][0]};
  u->c->out[0] = s->value(u->state, &clock);
}

void call_eval_run(void *ctx, const EvalCall *c) {
  const CallEval *e = ctx;
  Use u = {.a = arena_create(), .c = c, .call = &e->p->calls[c->call], .state = e->state[c->call]};
  if (c->ability == CALL_SCHEDULE) {
    eval_schedule(&u);
    arena_destroy(u.a);
    return;
  }
  u.in = ARENA_NEWS(u.a, RouteView, c->n_inputs), u.cols = ARENA_NEWS(u.a, size_t, c->n_inputs), u.dx = ARENA_NEWS(u.a, float *, c->n_inputs);
  for (uint32_t i = 0; i < c->n_inputs; i++) u.in[i] = view(u.a, c, i), u.cols[i] = (size_t)c->cols[i];
  const int64_t n = c->what ? c->rows * c->cols[c->what - 1] : 0;
  if (c->what) u.dx[c->what - 1] = floats(u.a, NULL, n);
  switch (c->ability) {
  case CALL_SPAN: eval_span(&u); break;
  case CALL_REDUCE: eval_reduce(&u); break;
  case CALL_GATE: eval_gate(&u); break;
  case CALL_SCHEDULE: break;
  }
  for (int64_t i = 0; i < n; i++) c->out[i] = (double)u.dx[c->what - 1][i];
  arena_destroy(u.a);
}

CallEval *call_eval_open(Arena *a, const Program *p, const double *scalars, RtError *e) {
  CallEval *c = ARENA_NEW(a, CallEval);
  c->p = p, c->state = ARENA_NEWS(a, void *, p->n_calls + 1);
  for (uint32_t i = 0; i < p->n_calls; i++) {
    const ProgCall *x = &p->calls[i];
    const JobPlugin plugin = {.name = p->plugins[x->plugin].name};
    double *params = ARENA_NEWS(a, double, x->n_params + 1);
    for (uint32_t k = 0; k < x->n_params; k++) params[k] = x->params[k].scalar >= 0 ? scalars[x->params[k].scalar] : x->params[k].value;
    if (plugin_state_make(&plugin, x->op, params, x->n_params, NULL, &c->memory, &c->state[i], e)) continue;
    call_eval_close(c);
    return NULL;
  }
  return c;
}

void call_eval_close(CallEval *c) {
  if (c) plugin_memory_free(&c->memory);
}
