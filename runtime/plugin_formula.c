/* SPDX-License-Identifier: Apache-2.0
 * plugin_formula.c -- formulas (route.expr/1) of plugins: the table of instructions, and a walk over a
 * formula that knows of each value whether it has rows, units, and is a truth value. What passes can be
 * lowered without looking again, but for inputs of different widths, which only a specification shows. */
#include "plugin.h"
#include <math.h>
#include <stdarg.h>
#include <string.h>

static const RtFormulaRow rows[ROUTE_X_COUNT_] = {
    [ROUTE_X_END] = {"END", 0, 0},
    [ROUTE_X_INPUT] = {"INPUT", 0, 1},
    [ROUTE_X_PARAM] = {"PARAM", 0, 1},
    [ROUTE_X_CONST] = {"CONST", 0, 1},
    [ROUTE_X_GET] = {"GET", 0, 1},
    [ROUTE_X_UNIT] = {"UNIT", 0, 1},
    [ROUTE_X_STEP] = {"STEP", 0, 1},
    [ROUTE_X_TOTAL_STEPS] = {"TOTAL_STEPS", 0, 1},
    [ROUTE_X_STEPS_PER_EPOCH] = {"STEPS_PER_EPOCH", 0, 1},
    [ROUTE_X_TRAINING] = {"TRAINING", 0, 1},
    [ROUTE_X_RANDOM] = {"RANDOM", 0, 1},
    [ROUTE_X_SET] = {"SET", 1, 0},
    [ROUTE_X_NEG] = {"NEG", 1, 1},
    [ROUTE_X_ABS] = {"ABS", 1, 1},
    [ROUTE_X_SIGN] = {"SIGN", 1, 1},
    [ROUTE_X_SQRT] = {"SQRT", 1, 1},
    [ROUTE_X_EXP] = {"EXP", 1, 1},
    [ROUTE_X_LOG] = {"LOG", 1, 1},
    [ROUTE_X_TANH] = {"TANH", 1, 1},
    [ROUTE_X_SIGMOID] = {"SIGMOID", 1, 1},
    [ROUTE_X_SOFTPLUS] = {"SOFTPLUS", 1, 1},
    [ROUTE_X_ERF] = {"ERF", 1, 1},
    [ROUTE_X_RELU] = {"RELU", 1, 1},
    [ROUTE_X_SIN] = {"SIN", 1, 1},
    [ROUTE_X_COS] = {"COS", 1, 1},
    [ROUTE_X_FLOOR] = {"FLOOR", 1, 1},
    [ROUTE_X_NOT] = {"NOT", 1, 1},
    [ROUTE_X_STOP] = {"STOP", 1, 1},
    [ROUTE_X_SUM_UNITS] = {"SUM_UNITS", 1, 1},
    [ROUTE_X_MEAN_UNITS] = {"MEAN_UNITS", 1, 1},
    [ROUTE_X_MAX_UNITS] = {"MAX_UNITS", 1, 1},
    [ROUTE_X_ARGMAX_UNITS] = {"ARGMAX_UNITS", 1, 1},
    [ROUTE_X_SUM_ROWS] = {"SUM_ROWS", 1, 1},
    [ROUTE_X_MEAN_ROWS] = {"MEAN_ROWS", 1, 1},
    [ROUTE_X_ADD] = {"ADD", 2, 1},
    [ROUTE_X_SUB] = {"SUB", 2, 1},
    [ROUTE_X_MUL] = {"MUL", 2, 1},
    [ROUTE_X_DIV] = {"DIV", 2, 1},
    [ROUTE_X_MIN] = {"MIN", 2, 1},
    [ROUTE_X_MAX] = {"MAX", 2, 1},
    [ROUTE_X_POW] = {"POW", 2, 1},
    [ROUTE_X_LT] = {"LT", 2, 1},
    [ROUTE_X_LE] = {"LE", 2, 1},
    [ROUTE_X_EQ] = {"EQ", 2, 1},
    [ROUTE_X_AND] = {"AND", 2, 1},
    [ROUTE_X_OR] = {"OR", 2, 1},
    [ROUTE_X_STRAIGHT] = {"STRAIGHT", 2, 1},
    [ROUTE_X_SELECT] = {"SELECT", 3, 1},
};

const RtFormulaRow *rt_formula_row(uint32_t op) { return op < ROUTE_X_COUNT_ ? &rows[op] : NULL; }

typedef struct Kind {
  bool rows, units, truth;
} Kind;
typedef struct Walk {
  const RouteOp *op;
  const RouteInsn *insn;
  uint32_t at, n; /* number of the instruction; values on the stack */
  Kind stack[RT_FORMULA_STACK], slot[RT_FORMULA_SLOTS];
  bool filled[RT_FORMULA_SLOTS];
  char *why;
  size_t n_why;
} Walk;

/* false, with the op and the instruction named. */
static bool wrong(Walk *w, const char *format, ...) {
  const RtFormulaRow *row = rt_formula_row(w->insn->op);
  const int n = snprintf(w->why, w->n_why, "formula of op `%s`, instruction %u (%s): ", w->op->name, w->at,
                         row ? row->name : "?");
  va_list args;
  va_start(args, format);
  if (n >= 0 && (size_t)n < w->n_why) vsnprintf(w->why + n, w->n_why - (size_t)n, format, args);
  va_end(args);
  return false;
}

static bool below(Walk *w, uint32_t limit, const char *what) {
  const uint32_t arg = w->insn->arg;
  return arg < limit ||
         wrong(w, "arg is %u, and the op has %u %s%s", arg, limit, what, limit == 1 ? "" : "s");
}

/* What an instruction without operands pushes. */
static bool pushed(Walk *w, Kind *k) {
  const uint32_t arg = w->insn->arg;
  *k = (Kind){0};
  switch (w->insn->op) {
  case ROUTE_X_INPUT:
  case ROUTE_X_RANDOM:
  case ROUTE_X_UNIT:
    if (!below(w, w->op->n_inputs, "input")) return false;
    k->units = rt_op_input(w->op, arg)->kind == ROUTE_REAL, k->rows = w->insn->op != ROUTE_X_UNIT;
    return k->units || k->rows ||
           wrong(w, "input `%s` holds labels, which have no units", rt_op_input(w->op, arg)->name);
  case ROUTE_X_PARAM: return below(w, w->op->n_params, "parameter");
  case ROUTE_X_CONST: return !isnan(w->insn->imm) || wrong(w, "imm is not a number");
  case ROUTE_X_GET:
    if (arg >= RT_FORMULA_SLOTS)
      return wrong(w, "arg is %u, and the slots are 0 to %d", arg, RT_FORMULA_SLOTS - 1);
    *k = w->slot[arg];
    return w->filled[arg] || wrong(w, "nothing was stored in slot %u", arg);
  default: return true;
  }
}

static bool set(Walk *w, Kind k) {
  const uint32_t arg = w->insn->arg;
  if (arg >= RT_FORMULA_SLOTS)
    return wrong(w, "arg is %u, and the slots are 0 to %d", arg, RT_FORMULA_SLOTS - 1);
  w->slot[arg] = k, w->filled[arg] = true;
  return true;
}

static bool is_logic(uint32_t op) { return op == ROUTE_X_NOT || op == ROUTE_X_AND || op == ROUTE_X_OR; }

/* What an instruction makes of its operands. */
static bool result(Walk *w, const Kind *in, uint32_t n, Kind *k) {
  const uint32_t op = w->insn->op;
  *k = (Kind){0};
  for (uint32_t i = 0; i < n; i++) {
    const bool truth = is_logic(op) || (op == ROUTE_X_SELECT && i == 0);
    if (in[i].truth != truth)
      return wrong(w, "operand %u is a %s, and must be a %s", i, in[i].truth ? "truth value" : "number",
                   truth ? "truth value" : "number");
    k->rows |= in[i].rows, k->units |= in[i].units;
  }
  k->truth = is_logic(op) || op == ROUTE_X_LT || op == ROUTE_X_LE || op == ROUTE_X_EQ;
  if (op >= ROUTE_X_SUM_UNITS && op <= ROUTE_X_ARGMAX_UNITS) {
    if (!k->units) return wrong(w, "the operand has no units");
    k->units = false;
  }
  if (op == ROUTE_X_SUM_ROWS || op == ROUTE_X_MEAN_ROWS) {
    if (!k->rows) return wrong(w, "the operand has no rows");
    k->rows = false;
  }
  return true;
}

static bool step(Walk *w) {
  const RtFormulaRow *row = rt_formula_row(w->insn->op);
  if (!row) return wrong(w, "there is no instruction %u", w->insn->op);
  if (w->n < row->pops)
    return wrong(w, "it takes %u value%s, and the stack holds %u", row->pops, row->pops == 1 ? "" : "s",
                 w->n);
  Kind k;
  if (row->pops == 0) {
    if (!pushed(w, &k)) return false;
  } else {
    w->n -= row->pops;
    if (w->insn->op == ROUTE_X_SET) return set(w, w->stack[w->n]);
    if (!result(w, &w->stack[w->n], row->pops, &k)) return false;
  }
  if (w->n == RT_FORMULA_STACK) return wrong(w, "more than %d values are on the stack", RT_FORMULA_STACK);
  w->stack[w->n++] = k;
  return true;
}

static bool ends_well(Walk *w) {
  static const char *const kinds[] = {
      [ROUTE_REGULARIZER] = "a regularizer", [ROUTE_GATE] = "a gate", [ROUTE_SCHEDULE] = "a schedule"};
  const Kind *k = &w->stack[0];
  if (w->n != 1) return wrong(w, "one value must be left on the stack, and there are %u", w->n);
  if (k->truth) return wrong(w, "the result is a truth value, and must be a number");
  const bool gate = w->op->kind == ROUTE_GATE;
  if (gate ? k->rows : !k->rows && !k->units) return true;
  return wrong(w, "the result of %s must %s, and this one has %s", kinds[w->op->kind],
               gate ? "have rows" : "be one number",
               k->rows    ? k->units ? "rows and units" : "rows"
               : k->units ? "units"
                          : "neither rows nor units");
}

bool rt_formula_verify(const RouteOp *op, const RouteExpr *x, char *why, size_t n_why) {
  Walk w = {.op = op, .why = why, .n_why = n_why};
  if (!x->code) {
    snprintf(why, n_why, "formula of op `%s`: `code` is NULL", op->name);
    return false;
  }
  for (w.insn = x->code; w.at < RT_FORMULA_MAX; w.insn++, w.at++) {
    if (w.insn->op == ROUTE_X_END) return ends_well(&w);
    if (!step(&w)) return false;
  }
  snprintf(why, n_why, "formula of op `%s`: there is no END within %d instructions", op->name,
           RT_FORMULA_MAX);
  return false;
}
