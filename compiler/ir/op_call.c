/* SPDX-License-Identifier: Apache-2.0
 * op_call.c -- CALL: a function of a plugin in the graph. Rule, value (by the function that the caller of the interpreter
 * gives, which alone knows plugins), derivative, and how a use is made. */
#include "ops_impl.h"
#include <stdlib.h>
#include <string.h>

enum { INT_CALL, INT_WHAT, INT_ABILITY, INT_TRAINING, N_INTS };

static bool has_rows(const Shape *s) {
  for (int32_t i = 0; i < s->rank; i++)
    if (dim_is_rows(s->d[i])) return true;
  return false;
}

int ir_call_lead(const Value *input) {
  const Shape *s = &input->shape;
  return s->rank && (input->dtype == DT_I32 || dim_is_rows(s->d[s->rank - 1])) ? s->rank : s->rank ? s->rank - 1 : 0;
}

static bool takes_datum(const Graph *g, const Value *v) {
  return v->ints[INT_ABILITY] == CALL_GATE && has_rows(&g->v[v->args[0]].shape);
}

uint32_t ir_call_inputs(const Graph *g, const Value *v) {
  return v->n_args - (takes_datum(g, v) ? 1u : 0u) - (ir_call_is_gradient(v) ? 2u : 0u);
}

/* ---- rule --------------------------------------------------------------------------------------------------------- */
static const Value *arg(const OpUse *u, uint32_t i) { return &u->g->v[u->args[i]]; }
static const char *type_of(OpUse *u, uint32_t i) { return ir_type_text(u->arena, arg(u, i)->dtype, &arg(u, i)->shape); }

static const char *ints_fault(OpUse *u) {
  if (u->n_ints != N_INTS) return arena_printf(u->arena, "has %u ints, needs %d", u->n_ints, N_INTS);
  const int64_t *p = u->ints;
  if (p[INT_CALL] < 0 || p[INT_CALL] >= UINT32_MAX) return arena_printf(u->arena, "call %lld", (long long)p[INT_CALL]);
  if (p[INT_ABILITY] < CALL_SPAN || p[INT_ABILITY] > CALL_SCHEDULE)
    return arena_printf(u->arena, "no ability has number %lld", (long long)p[INT_ABILITY]);
  if (p[INT_WHAT] < 0 || (p[INT_WHAT] && p[INT_ABILITY] == CALL_SCHEDULE))
    return arena_printf(u->arena, "asks for number %lld", (long long)p[INT_WHAT]);
  return p[INT_TRAINING] >> 1 ? "training is 0 or 1" : NULL;
}

/* Inputs of one call agree in the axes that are rows. */
static const char *inputs_fault(OpUse *u, uint32_t n) {
  Shape rows = arg(u, 0)->shape;
  const char *why = NULL;
  rows.rank = ir_call_lead(arg(u, 0));
  for (uint32_t i = 0; !why && i < n; i++) {
    const Value *v = arg(u, i);
    Shape own = v->shape;
    own.rank = ir_call_lead(v);
    if (v->dtype != DT_F32 && v->dtype != DT_I32) why = arena_printf(u->arena, "input %u is %s", i, type_of(u, i));
    else if (!shape_equal(&own, &rows)) why = arena_printf(u->arena, "inputs have other rows: %s and %s", type_of(u, 0), type_of(u, i));
    for (int32_t k = 1; !why && k < v->shape.rank; k++)
      if (dim_is_rows(v->shape.d[k])) why = arena_printf(u->arena, "ROWS is not axis 0 of %s", type_of(u, i));
  }
  if (!why && u->ints[INT_ABILITY] == CALL_SPAN && (n != 1 || arg(u, 0)->dtype != DT_F32)) why = "a span has one input, f32";
  return why;
}

/* The value's shape in u->out. */
static const char *value_shape(OpUse *u, const Shape *asked) {
  if (u->ints[INT_ABILITY] != CALL_GATE) {
    u->out = (Shape){0}, u->out_dtype = DT_F32;
    return NULL;
  }
  if (!asked || !asked->rank) return "a gate's result needs a shape";
  u->out = arg(u, 0)->shape;
  u->out.rank = ir_call_lead(arg(u, 0));
  if (u->out.rank == IR_MAX_RANK) return "a gate's result has too many axes";
  u->out.d[u->out.rank++] = asked->d[asked->rank - 1];
  u->out_dtype = DT_F32;
  return dim_is_rows(asked->d[asked->rank - 1]) ? "a gate's units are constant" : NULL;
}

static const char *clocks_fault(OpUse *u) {
  for (uint32_t i = 0; i < u->n_args; i++)
    if (arg(u, i)->dtype != DT_F64 || arg(u, i)->shape.rank) return arena_printf(u->arena, "clock %u is %s", i, type_of(u, i));
  u->out = (Shape){0}, u->out_dtype = DT_F64;
  return u->n_args == 3 ? NULL : "a schedule has three clocks";
}

const char *rule_call(OpUse *u) {
  const char *why = ints_fault(u);
  if (why) return why;
  if (u->ints[INT_ABILITY] == CALL_SCHEDULE) return clocks_fault(u);
  const bool datum = u->ints[INT_ABILITY] == CALL_GATE && has_rows(&arg(u, 0)->shape), gradient = u->ints[INT_WHAT] > 0;
  const uint32_t beside = (datum ? 1u : 0u) + (gradient ? 2u : 0u);
  if (u->n_args <= beside) return "an input is missing";
  const uint32_t n = u->n_args - beside;
  if ((why = inputs_fault(u, n)) != NULL) return why;
  if (datum && (arg(u, n)->dtype != DT_I32 || arg(u, n)->shape.rank != 1 || arg(u, n)->shape.d[0] != arg(u, 0)->shape.d[0]))
    return arena_printf(u->arena, "the numbers of the data are %s", type_of(u, n));
  if (!gradient) return value_shape(u, u->shape);
  const Value *value = arg(u, u->n_args - 2), *dy = arg(u, u->n_args - 1), *in;
  if ((why = value_shape(u, &value->shape)) != NULL) return why;
  if (!shape_equal(&u->out, &value->shape) || value->dtype != DT_F32 || !shape_equal(&u->out, &dy->shape) || dy->dtype != DT_F32)
    return arena_printf(u->arena, "the value is %s, its adjoint %s", type_of(u, u->n_args - 2), type_of(u, u->n_args - 1));
  if (u->ints[INT_WHAT] > (int64_t)n) return arena_printf(u->arena, "there is no input %lld", (long long)u->ints[INT_WHAT] - 1);
  in = arg(u, (uint32_t)u->ints[INT_WHAT] - 1);
  u->out = in->shape;
  return in->dtype == DT_F32 ? NULL : "an input of integers has no gradient";
}

/* ---- making --------------------------------------------------------------------------------------------------------- */
ValueId ir_call(Graph *g, Span s, uint32_t call, CallAbility ability, const ValueId *inputs, uint32_t n_inputs,
                int64_t units, bool training, const char **why) {
  static const ClockKind clocks[] = {CLOCK_STEP, CLOCK_TOTAL_STEPS, CLOCK_STEPS_PER_EPOCH};
  const int64_t ints[N_INTS] = {call, 0, (int64_t)ability, training};
  ValueId *args = ARENA_NEWS(g->arena, ValueId, n_inputs + 3);
  uint32_t n = 0;
  for (; n < n_inputs; n++) args[n] = inputs[n];
  Shape shape = {0};
  *why = NULL;
  if (ability == CALL_SCHEDULE)
    for (; n < 3; n++) args[n] = ir_clock(g, clocks[n]);
  else if (!n) *why = "an input is missing";
  if (*why) return 0;
  if (ability == CALL_GATE) {
    const Value *x = &g->v[args[0]];
    shape = x->shape, shape.rank = ir_call_lead(x);
    if (shape.rank < IR_MAX_RANK) shape.d[shape.rank++] = units;
    if (has_rows(&x->shape)) args[n++] = ir_make(g, OP_DATUM, s, NULL, 0, NULL, 0, 0, NULL, DT_NONE);
  }
  *why = ir_check_args(g, OP_CALL, args, n, ints, N_INTS, &shape, DT_NONE);
  return *why ? 0 : ir_make(g, OP_CALL, s, args, n, ints, N_INTS, 0, &shape, DT_NONE);
}

/* ---- derivative ------------------------------------------------------------------------------------------------------- */
void vjp_call(Graph *g, ValueId v, ValueId dy, ValueId *dargs) {
  const Value val = g->v[v];
  if (ir_call_is_gradient(&val) || val.ints[INT_ABILITY] == CALL_SCHEDULE) return;
  const uint32_t n = ir_call_inputs(g, &val);
  ValueId *args = ARENA_NEWS(g->arena, ValueId, val.n_args + 2);
  memcpy(args, val.args, val.n_args * sizeof *args);
  args[val.n_args] = v, args[val.n_args + 1] = dy;
  for (uint32_t i = 0; i < n; i++) {
    const Value *x = &g->v[val.args[i]];
    if (x->dtype != DT_F32 || x->op == OP_STOP) continue;
    const int64_t ints[N_INTS] = {val.ints[INT_CALL], 1 + (int64_t)i, val.ints[INT_ABILITY], val.ints[INT_TRAINING]};
    const Shape shape = x->shape;
    dargs[i] = ir_make(g, OP_CALL, val.span, args, val.n_args + 2, ints, N_INTS, 0, &shape, DT_NONE);
  }
}

/* ---- value -------------------------------------------------------------------------------------------------------------- */
static int64_t lead_count(const EvalCtx *c, const Value *v) {
  Shape s = eval_shape(c, &v->shape);
  s.rank = ir_call_lead(v);
  return shape_count(&s, 0);
}

static int64_t cols_of(const Value *v) { return ir_call_lead(v) == v->shape.rank ? 1 : v->shape.d[v->shape.rank - 1]; }

/* Number of its datum and place in it, for each row. */
static void name_rows(const EvalCtx *c, const Value *v, int64_t rows, int32_t *datum, int32_t *position) {
  const bool by_datum = takes_datum(c->g, v);
  const uint32_t at = ir_call_inputs(c->g, v);
  const int64_t data = by_datum ? eval_count(c, &c->g->v[v->args[at]].shape) : 1, per = data ? rows / data : 1;
  for (int64_t r = 0; r < rows; r++) {
    datum[r] = by_datum ? (int32_t)c->value[v->args[at]][r / per] : 0;
    position[r] = (int32_t)(by_datum ? r % per : r);
  }
}

void eval_call(const EvalCtx *c, const Value *v, double *out) {
  if (!c->in->call) {
    fprintf(stderr, "routec: internal error: graph '%s': no function computes its calls\n", c->g->name);
    abort();
  }
  const bool schedule = v->ints[INT_ABILITY] == CALL_SCHEDULE, gradient = ir_call_is_gradient(v);
  const uint32_t n = schedule ? v->n_args : ir_call_inputs(c->g, v);
  const double **input = ARENA_NEWS(c->arena, const double *, n);
  bool *label = ARENA_NEWS(c->arena, bool, n);
  int64_t *cols = ARENA_NEWS(c->arena, int64_t, n), rows = lead_count(c, &c->g->v[v->args[0]]);
  int32_t *datum = ARENA_NEWS(c->arena, int32_t, rows + 1), *position = ARENA_NEWS(c->arena, int32_t, rows + 1);
  for (uint32_t i = 0; i < n; i++) {
    const Value *x = &c->g->v[v->args[i]];
    input[i] = c->value[v->args[i]], label[i] = x->dtype == DT_I32, cols[i] = cols_of(x);
  }
  if (!schedule) name_rows(c, v, rows, datum, position);
  memset(out, 0, (size_t)eval_count(c, &v->shape) * sizeof *out);
  const EvalCall call = {.call = (uint32_t)v->ints[INT_CALL], .what = (uint32_t)v->ints[INT_WHAT],
                         .ability = (CallAbility)v->ints[INT_ABILITY], .training = v->ints[INT_TRAINING] != 0,
                         .n_inputs = n, .input = input, .label = label, .cols = cols, .rows = rows,
                         .out_cols = cols_of(gradient ? &c->g->v[v->args[v->n_args - 2]] : v), .datum = datum, .position = position,
                         .value = gradient ? c->value[v->args[v->n_args - 2]] : NULL,
                         .dy = gradient ? c->value[v->args[v->n_args - 1]] : NULL, .step = c->in->step, .seed = c->in->seed,
                         .out = out};
  c->in->call(c->in->call_ctx, &call);
}
