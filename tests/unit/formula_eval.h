/* SPDX-License-Identifier: Apache-2.0
 * formula_eval.h -- a naive interpreter of plugin formulas (route.expr/1) in double, with derivatives forward: beside
 * each value its change along one direction of the inputs. Shares nothing with the lowering in the compiler. */
#ifndef FORMULA_EVAL_H
#define FORMULA_EVAL_H
#include "route_plugin.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FORMULA_POOL = 1 << 20, FORMULA_DEPTH = 64, FORMULA_INPUTS = 2 };

typedef struct FormulaArgs {
  const double *x[FORMULA_INPUTS];  /* [rows, cols], or [1, cols] where one_row */
  const double *dx[FORMULA_INPUTS]; /* the direction; NULL: 0 */
  size_t cols[FORMULA_INPUTS], rows;
  bool one_row[FORMULA_INPUTS];
  const double *params;
  const double *uniform; /* [rows, cols of input 0] */
  bool training;
} FormulaArgs;

typedef struct FVal {
  size_t rows, units; /* 0: without */
  double *v, *d;
} FVal;

static double formula_pool[FORMULA_POOL];
static size_t formula_used;

static size_t fval_n(const FVal *a) { return (a->rows ? a->rows : 1) * (a->units ? a->units : 1); }
static FVal fval_new(size_t rows, size_t units) {
  FVal a = {rows, units, NULL, NULL};
  const size_t n = fval_n(&a);
  if (formula_used + 2 * n > FORMULA_POOL) abort();
  a.v = formula_pool + formula_used, a.d = a.v + n, formula_used += 2 * n;
  memset(a.v, 0, 2 * n * sizeof(double));
  return a;
}
static FVal fval_number(double x) {
  FVal a = fval_new(0, 0);
  a.v[0] = x;
  return a;
}
/* Where entry (r, u) of a stretched value is. */
static size_t fval_at(const FVal *a, size_t r, size_t u) {
  return (a->rows ? r : 0) * (a->units ? a->units : 1) + (a->units ? u : 0);
}

static FVal formula_leaf(const RouteInsn *i, const FormulaArgs *args) {
  const size_t cols =
      i->op == ROUTE_X_INPUT || i->op == ROUTE_X_UNIT || i->op == ROUTE_X_RANDOM ? args->cols[i->arg] : 0;
  FVal a;
  switch (i->op) {
  case ROUTE_X_INPUT:
    a = fval_new(args->one_row[i->arg] ? 0 : args->rows, cols);
    memcpy(a.v, args->x[i->arg], fval_n(&a) * sizeof(double));
    if (args->dx[i->arg]) memcpy(a.d, args->dx[i->arg], fval_n(&a) * sizeof(double));
    return a;
  case ROUTE_X_UNIT:
    a = fval_new(0, cols);
    for (size_t u = 0; u < cols; u++) a.v[u] = (double)u;
    return a;
  case ROUTE_X_RANDOM:
    a = fval_new(args->rows, cols);
    for (size_t k = 0; k < fval_n(&a); k++) a.v[k] = args->training ? args->uniform[k] : 0.5;
    return a;
  case ROUTE_X_PARAM: return fval_number(args->params[i->arg]);
  case ROUTE_X_CONST: return fval_number(i->imm);
  case ROUTE_X_TRAINING: return fval_number(args->training);
  default: fprintf(stderr, "formula instruction %u\n", i->op); abort();
  }
}

/* Value and derivative of a function of one number. */
static double formula_unary(uint32_t op, double x, double *slope) {
  double y;
  switch (op) {
  case ROUTE_X_NEG: return *slope = -1, -x;
  case ROUTE_X_ABS: return *slope = (x > 0) - (x < 0), fabs(x);
  case ROUTE_X_SIGN: return *slope = 0, (x > 0) - (x < 0);
  case ROUTE_X_SQRT: return y = sqrt(x), *slope = 0.5 / y, y;
  case ROUTE_X_EXP: return *slope = exp(x);
  case ROUTE_X_LOG: return *slope = 1 / x, log(x);
  case ROUTE_X_TANH: return y = tanh(x), *slope = 1 - y * y, y;
  case ROUTE_X_SIGMOID: return y = 1 / (1 + exp(-x)), *slope = y * (1 - y), y;
  case ROUTE_X_SOFTPLUS: return *slope = 1 / (1 + exp(-x)), fmax(x, 0) + log1p(exp(-fabs(x)));
  case ROUTE_X_ERF: return *slope = 2 / sqrt(M_PI) * exp(-x * x), erf(x);
  case ROUTE_X_RELU: return *slope = x > 0, isnan(x) ? x : fmax(x, 0);
  case ROUTE_X_SIN: return *slope = cos(x), sin(x);
  case ROUTE_X_COS: return *slope = -sin(x), cos(x);
  case ROUTE_X_FLOOR: return *slope = 0, floor(x);
  case ROUTE_X_NOT: return *slope = 0, x == 0;
  case ROUTE_X_STOP: return *slope = 0, x;
  default: fprintf(stderr, "formula instruction %u\n", op); abort();
  }
}

/* The same of two numbers; slope[0] by a, slope[1] by b. Ties of min and max are shared. */
static double formula_binary(uint32_t op, double a, double b, double slope[2]) {
  slope[0] = slope[1] = 0;
  const double less = a < b ? 1 : a == b ? 0.5 : 0;
  switch (op) {
  case ROUTE_X_ADD: return slope[0] = slope[1] = 1, a + b;
  case ROUTE_X_SUB: return slope[0] = 1, slope[1] = -1, a - b;
  case ROUTE_X_MUL: return slope[0] = b, slope[1] = a, a * b;
  case ROUTE_X_DIV: return slope[0] = 1 / b, slope[1] = -a / (b * b), a / b;
  case ROUTE_X_MIN: return slope[0] = less, slope[1] = 1 - less, isnan(a) || a < b ? a : b;
  case ROUTE_X_MAX: return slope[0] = 1 - less, slope[1] = less, isnan(a) || a > b ? a : b;
  case ROUTE_X_POW: return slope[0] = b * pow(a, b - 1), slope[1] = a > 0 ? pow(a, b) * log(a) : 0, pow(a, b);
  case ROUTE_X_LT: return a < b;
  case ROUTE_X_LE: return a <= b;
  case ROUTE_X_EQ: return a == b;
  case ROUTE_X_AND: return a != 0 && b != 0;
  case ROUTE_X_OR: return a != 0 || b != 0;
  case ROUTE_X_STRAIGHT: return slope[1] = 1, a;
  default: fprintf(stderr, "formula instruction %u\n", op); abort();
  }
}

static FVal formula_units(uint32_t op, FVal a) {
  FVal y = fval_new(a.rows, 0);
  for (size_t r = 0; r < (a.rows ? a.rows : 1); r++) {
    const double *v = a.v + r * a.units, *d = a.d + r * a.units;
    size_t best = 0, ties = 0;
    double sum = 0, dsum = 0, dbest = 0;
    for (size_t u = 0; u < a.units; u++) {
      sum += v[u], dsum += d[u];
      if (!isnan(v[best]) && (isnan(v[u]) || v[u] > v[best])) best = u;
    }
    for (size_t u = 0; u < a.units; u++)
      if (v[u] == v[best]) ties++, dbest += d[u];
    switch (op) {
    case ROUTE_X_SUM_UNITS: y.v[r] = sum, y.d[r] = dsum; break;
    case ROUTE_X_MEAN_UNITS: y.v[r] = sum / (double)a.units, y.d[r] = dsum / (double)a.units; break;
    case ROUTE_X_MAX_UNITS: y.v[r] = v[best], y.d[r] = dbest / (double)ties; break;
    default: y.v[r] = (double)best;
    }
  }
  return y;
}

static FVal formula_rows(uint32_t op, FVal a) {
  FVal y = fval_new(0, a.units);
  const double n = op == ROUTE_X_MEAN_ROWS ? (double)a.rows : 1;
  for (size_t u = 0; u < fval_n(&y); u++)
    for (size_t r = 0; r < a.rows; r++) {
      const size_t at = fval_at(&a, r, u);
      y.v[u] += a.v[at] / n, y.d[u] += a.d[at] / n;
    }
  return y;
}

static FVal formula_elements(uint32_t op, const FVal *in, size_t n_in) {
  size_t rows = 0, units = 0;
  for (size_t k = 0; k < n_in; k++) {
    if (in[k].rows) rows = in[k].rows;
    if (in[k].units) units = in[k].units;
  }
  FVal y = fval_new(rows, units);
  for (size_t r = 0; r < (rows ? rows : 1); r++)
    for (size_t u = 0; u < (units ? units : 1); u++) {
      const size_t at = fval_at(&y, r, u), a = fval_at(&in[0], r, u);
      double slope[2];
      if (n_in == 3) {
        const FVal *taken = in[0].v[a] != 0 ? &in[1] : &in[2];
        y.v[at] = taken->v[fval_at(taken, r, u)], y.d[at] = taken->d[fval_at(taken, r, u)];
      } else if (n_in == 2) {
        const size_t b = fval_at(&in[1], r, u);
        y.v[at] = formula_binary(op, in[0].v[a], in[1].v[b], slope);
        for (int k = 0; k < 2; k++) /* what does not move adds nothing, however steep */
          if (in[k].d[k ? b : a] != 0) y.d[at] += slope[k] * in[k].d[k ? b : a];
      } else {
        y.v[at] = formula_unary(op, in[0].v[a], slope);
        if (in[0].d[a] != 0) y.d[at] = slope[0] * in[0].d[a];
      }
    }
  return y;
}

/* The result holds until the next call. */
static FVal formula_eval(const RouteExpr *x, const FormulaArgs *args) {
  FVal stack[FORMULA_DEPTH], slot[16];
  size_t n = 0;
  formula_used = 0;
  for (const RouteInsn *i = x->code; i->op != ROUTE_X_END; i++) {
    if (i->op == ROUTE_X_GET) stack[n++] = slot[i->arg];
    else if (i->op < ROUTE_X_SET) stack[n++] = formula_leaf(i, args);
    else if (i->op == ROUTE_X_SET) slot[i->arg] = stack[--n];
    else if (i->op >= ROUTE_X_SUM_UNITS && i->op <= ROUTE_X_ARGMAX_UNITS)
      stack[n - 1] = formula_units(i->op, stack[n - 1]);
    else if (i->op == ROUTE_X_SUM_ROWS || i->op == ROUTE_X_MEAN_ROWS) stack[n - 1] = formula_rows(i->op, stack[n - 1]);
    else {
      const size_t pops = i->op == ROUTE_X_SELECT ? 3 : i->op >= ROUTE_X_ADD ? 2 : 1;
      n -= pops;
      stack[n] = formula_elements(i->op, stack + n, pops);
      n++;
    }
    if (n >= FORMULA_DEPTH) abort();
  }
  if (n != 1) abort();
  return stack[0];
}
#endif
