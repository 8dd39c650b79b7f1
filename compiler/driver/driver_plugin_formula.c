/* SPDX-License-Identifier: Apache-2.0
 * driver_plugin_formula.c -- formulas of plugins, computed naively in double: finite, and the same as the
 * op's functions. Schedules. */
#include "driver_plugin_trial.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const TrialCut whole = {0, 0, MERGE_NONE};

/* rows 1 or the batch's, units 1 or the inputs'. */
typedef struct Number {
  size_t rows, units;
  double *at;
} Number;
typedef struct Machine {
  TrialCase *c;
  Number stack[RT_FORMULA_STACK], slot[RT_FORMULA_SLOTS];
  uint32_t n;
  double **owned;
  uint32_t n_owned;
} Machine;

static Number number(Machine *m, size_t rows, size_t units) {
  Number v = {rows, units, calloc(rows * units + 1, sizeof(double))};
  double **more = realloc(m->owned, (m->n_owned + 1) * sizeof *more);
  if (!more || !v.at) {
    trial_fail(m->c->t, "the check itself has no memory");
    abort();
  }
  m->owned = more;
  m->owned[m->n_owned++] = v.at;
  return v;
}

static double read_at(const Number *v, size_t i, size_t j) {
  return v->at[(v->rows > 1 ? i : 0) * v->units + (v->units > 1 ? j : 0)];
}

static Number constant(Machine *m, double x) {
  Number v = number(m, 1, 1);
  v.at[0] = x;
  return v;
}

static Number input(Machine *m, uint32_t k) {
  const TrialMatrix *x = &m->c->in[k];
  Number v = number(m, x->rows, x->cols);
  for (size_t i = 0; i < x->rows; i++)
    for (size_t j = 0; j < x->cols; j++) {
      int32_t label;
      memcpy(&label, &x->x[i * x->ld + j], 4);
      v.at[i * x->cols + j] = trial_real(m->c->t, k) ? (double)x->x[i * x->ld + j] : (double)label;
    }
  return v;
}

/* What pushes; in an evaluation, so that nothing is drawn. */
static Number pushed(Machine *m, const RouteInsn *insn) {
  const TrialMatrix *x = insn->arg < m->c->t->op->n_inputs ? &m->c->in[insn->arg] : NULL;
  Number v;
  switch (insn->op) {
  case ROUTE_X_INPUT: return input(m, insn->arg);
  case ROUTE_X_PARAM: return constant(m, m->c->u->params[insn->arg]);
  case ROUTE_X_CONST: return constant(m, insn->imm);
  case ROUTE_X_GET: return m->slot[insn->arg];
  case ROUTE_X_UNIT:
    v = number(m, 1, x->cols);
    for (size_t j = 0; j < x->cols; j++) v.at[j] = (double)j;
    return v;
  case ROUTE_X_RANDOM:
    v = number(m, x->rows, x->cols);
    for (size_t i = 0; i < x->rows * x->cols; i++) v.at[i] = 0.5;
    return v;
  case ROUTE_X_STEP: return constant(m, 7);
  case ROUTE_X_TOTAL_STEPS: return constant(m, 100);
  case ROUTE_X_STEPS_PER_EPOCH: return constant(m, 10);
  default: return constant(m, 0); /* TRAINING */
  }
}

static double scalar(uint32_t op, double a, double b, double c) {
  switch (op) {
  case ROUTE_X_NEG: return -a;
  case ROUTE_X_ABS: return fabs(a);
  case ROUTE_X_SIGN: return (a > 0) - (a < 0);
  case ROUTE_X_SQRT: return sqrt(a);
  case ROUTE_X_EXP: return exp(a);
  case ROUTE_X_LOG: return log(a);
  case ROUTE_X_TANH: return tanh(a);
  case ROUTE_X_SIGMOID: return 1 / (1 + exp(-a));
  case ROUTE_X_SOFTPLUS: return a > 30 ? a : log1p(exp(a));
  case ROUTE_X_ERF: return erf(a);
  case ROUTE_X_RELU: return a > 0 ? a : 0;
  case ROUTE_X_SIN: return sin(a);
  case ROUTE_X_COS: return cos(a);
  case ROUTE_X_FLOOR: return floor(a);
  case ROUTE_X_NOT: return a == 0;
  case ROUTE_X_STOP: return a;
  case ROUTE_X_ADD: return a + b;
  case ROUTE_X_SUB: return a - b;
  case ROUTE_X_MUL: return a * b;
  case ROUTE_X_DIV: return a / b;
  case ROUTE_X_MIN: return a < b ? a : b;
  case ROUTE_X_MAX: return a > b ? a : b;
  case ROUTE_X_POW: return pow(a, b);
  case ROUTE_X_LT: return a < b;
  case ROUTE_X_LE: return a <= b;
  case ROUTE_X_EQ: return a == b;
  case ROUTE_X_AND: return a != 0 && b != 0;
  case ROUTE_X_OR: return a != 0 || b != 0;
  case ROUTE_X_STRAIGHT: return a;
  case ROUTE_X_SELECT: return a != 0 ? b : c;
  default: fprintf(stderr, "routec: instruction %u of formulas has no value\n", op); abort();
  }
}

static Number over_units(Machine *m, uint32_t op, const Number *a, size_t units) {
  Number v = number(m, a->rows, 1);
  for (size_t i = 0; i < a->rows; i++) {
    double sum = 0;
    size_t best = 0;
    for (size_t j = 0; j < units; j++) {
      sum += read_at(a, i, j);
      if (read_at(a, i, j) > read_at(a, i, best)) best = j;
    }
    v.at[i] = op == ROUTE_X_SUM_UNITS    ? sum
              : op == ROUTE_X_MEAN_UNITS ? sum / (double)units
              : op == ROUTE_X_MAX_UNITS  ? read_at(a, i, best)
                                         : (double)best;
  }
  return v;
}

static Number over_rows(Machine *m, uint32_t op, const Number *a, size_t rows) {
  Number v = number(m, 1, a->units);
  for (size_t j = 0; j < a->units; j++) {
    for (size_t i = 0; i < rows; i++) v.at[j] += read_at(a, i, j);
    if (op == ROUTE_X_MEAN_ROWS) v.at[j] /= (double)rows;
  }
  return v;
}

static Number applied(Machine *m, uint32_t op, const Number *in, uint32_t n) {
  if (op == ROUTE_X_SUM_ROWS || op == ROUTE_X_MEAN_ROWS) return over_rows(m, op, in, m->c->rows);
  if (op >= ROUTE_X_SUM_UNITS && op <= ROUTE_X_ARGMAX_UNITS) return over_units(m, op, in, in->units);
  size_t rows = 1, units = 1;
  for (uint32_t k = 0; k < n; k++) {
    rows = in[k].rows > rows ? in[k].rows : rows;
    units = in[k].units > units ? in[k].units : units;
  }
  Number v = number(m, rows, units);
  for (size_t i = 0; i < rows; i++)
    for (size_t j = 0; j < units; j++)
      v.at[i * units + j] = scalar(op, read_at(&in[0], i, j), n > 1 ? read_at(&in[1], i, j) : 0,
                                   n > 2 ? read_at(&in[2], i, j) : 0);
  return v;
}

/* The formula was verified when the plugin was loaded. The result lives until machine_free(). */
static Number evaluate(Machine *m, const RouteExpr *x, TrialCase *c) {
  *m = (Machine){.c = c};
  trial_at(c->t, "the formula (%s)", trial_case_text(c));
  for (const RouteInsn *insn = x->code; insn->op != ROUTE_X_END; insn++) {
    const RtFormulaRow *row = rt_formula_row(insn->op);
    if (insn->op == ROUTE_X_SET) m->slot[insn->arg] = m->stack[--m->n];
    else if (!row->pops) m->stack[m->n++] = pushed(m, insn);
    else {
      m->n -= row->pops;
      const Number v = applied(m, insn->op, &m->stack[m->n], row->pops);
      m->stack[m->n++] = v;
    }
  }
  return m->stack[0];
}

static void machine_free(Machine *m) {
  for (uint32_t i = 0; i < m->n_owned; i++) free(m->owned[i]);
  free(m->owned);
}

bool law_formula_finite(Trial *t) {
  for (uint32_t i = 0; i < 2 * N_TRIAL_USES * N_TRIAL_SHAPES; i++) {
    const TrialShape s = trial_shapes[i % N_TRIAL_SHAPES];
    TrialUse u;
    TrialCase c;
    Machine m;
    if (!trial_use(t, i / 2 / N_TRIAL_SHAPES, &u) || !trial_case(t, &u, s.rows, s.cols, 0, &c)) return false;
    if (i / N_TRIAL_SHAPES % 2) trial_case_fill(&c, FILL_ZERO);
    const Number v = evaluate(&m, t->able, &c);
    for (size_t e = 0; e < v.rows * v.units; e++)
      if (!isfinite(v.at[e])) return trial_fail(t, "the formula gives %g (%s)", v.at[e], trial_case_text(&c));
    machine_free(&m);
    trial_case_free(&c);
  }
  return true;
}

/* ---- the formula and the functions
 * ------------------------------------------------------------------------------- */
static bool agree_value(TrialCase *c, const Number *f, const TrialOut *out) {
  double size = 1e-3 + fabs(f->at[0]);
  if (c->t->op->kind == ROUTE_REGULARIZER)
    return fabs(f->at[0] - out->value) <= 1e-4 * size ||
           trial_fail(c->t, "the formula gives %.9g, and the functions give %.9g (%s)", f->at[0], out->value,
                      trial_case_text(c));
  if (f->units != 1 && f->units != c->units)
    return trial_fail(c->t, "the formula gives %zu units, and units() says %zu (%s)", f->units, c->units,
                      trial_case_text(c));
  for (size_t e = 0; e < f->rows * f->units; e++) size = fmax(size, fabs(f->at[e]));
  for (size_t i = 0; i < c->rows; i++)
    for (size_t j = 0; j < c->units; j++) {
      const double y = (double)out->y.x[i * out->y.ld + j];
      if (!(fabs(read_at(f, i, j) - y) <= 1e-4 * size))
        return trial_fail(c->t, "the formula gives y[%zu][%zu] = %.9g, and value() gives %.9g (%s)", i, j,
                          read_at(f, i, j), y, trial_case_text(c));
    }
  return true;
}

static bool agree(Trial *t, const RouteExpr *x, TrialAbility ability, const void *able) {
  for (uint32_t i = 0; i < N_TRIAL_USES * N_TRIAL_SHAPES; i++) {
    const TrialShape s = trial_shapes[i % N_TRIAL_SHAPES];
    TrialUse u;
    TrialCase c;
    TrialOut out;
    Machine m;
    t->able = able, t->ability = ability == TRIAL_GATE ? ability : TRIAL_EXPR; /* inputs of one width */
    if (!trial_use(t, i / N_TRIAL_SHAPES, &u) || !trial_case(t, &u, s.rows, s.cols, s.pad, &c)) return false;
    t->ability = ability;
    c.key.training = 0;
    const Number f = evaluate(&m, x, &c);
    if (!trial_value(&c, whole, &out) || !agree_value(&c, &f, &out)) return false;
    machine_free(&m);
    trial_out_free(&out);
    trial_case_free(&c);
  }
  return true;
}

bool law_formula_agrees(Trial *t) {
  const RouteExpr *x = t->able;
  const void *span = t->op->extension(t->op, ROUTE_EXT_SPAN),
             *reduce = t->op->extension(t->op, ROUTE_EXT_REDUCE),
             *gate = t->op->extension(t->op, ROUTE_EXT_GATE);
  const bool regularizer = t->op->kind == ROUTE_REGULARIZER, is_gate = t->op->kind == ROUTE_GATE;
  if (!(regularizer && (span || reduce)) && !(is_gate && gate)) {
    trial_note(t, "the formula is all there is");
    return true;
  }
  if (regularizer && span && !agree(t, x, TRIAL_SPAN, span)) return false;
  if (regularizer && reduce && !agree(t, x, TRIAL_REDUCE, reduce)) return false;
  return !is_gate || agree(t, x, TRIAL_GATE, gate);
}

/* ---- schedules
 * --------------------------------------------------------------------------------------------------- */
bool law_schedule(Trial *t) {
  const RouteSchedule *s = t->able;
  for (uint32_t draw = 0; draw < N_TRIAL_USES; draw++) {
    TrialUse u;
    if (!trial_use(t, draw, &u)) return false;
    for (uint32_t i = 0; i <= 1000; i += 1 + i / 3) {
      const RouteClock clock = {sizeof clock, 0, (double)i, 1000, 50},
                       endless = {sizeof clock, 0, (double)i, NAN, 50};
      trial_at(t, "value() of step %u", i);
      const double a = s->value(u.state, &clock);
      (void)s->value(u.state, &endless); /* whatever it gives */
      const double b = s->value(u.state, &clock);
      if (!isfinite(a)) return trial_fail(t, "the value of step %u of 1000 is %g", i, a);
      if (memcmp(&a, &b, sizeof a) != 0)
        return trial_fail(t, "step %u has the value %.17g, and then %.17g", i, a, b);
    }
  }
  return true;
}
