/* SPDX-License-Identifier: Apache-2.0
 * group_lasso.c -- built-in plugin: norms of groups as a penalty, which makes whole groups 0. */
#include "route_plugin.h"
#include <math.h>
#include <string.h>

static const RouteInput INPUTS[] = {{"x", "whose groups are made 0", ROUTE_REAL, 0}};
static const RouteParam PARAMS[] = {{"lambda", "strength", 1, 0, INFINITY, 0, 0}};

/* sqrt of the number on top with derivative 0 at 0: where it is 0, 1 is rooted and the result not taken. */
#define SAFE_SQRT                                                                                                    \
  ROUTE_ARG(SET, 0), ROUTE_ARG(GET, 0), ROUTE_NUMBER(0), ROUTE_DO(EQ), ROUTE_ARG(SET, 1), ROUTE_ARG(GET, 1),         \
      ROUTE_NUMBER(0), ROUTE_ARG(GET, 1), ROUTE_NUMBER(1), ROUTE_ARG(GET, 0), ROUTE_DO(SELECT), ROUTE_DO(SQRT),      \
      ROUTE_DO(SELECT)
#define SQUARE ROUTE_ARG(INPUT, 0), ROUTE_ARG(INPUT, 0), ROUTE_DO(MUL)
#define N_UNITS ROUTE_ARG(UNIT, 0), ROUTE_DO(MAX_UNITS), ROUTE_NUMBER(1), ROUTE_DO(ADD)

/* lambda * sqrt(units) * (rows reduced of sqrt(sum_units x^2)) */
#define BY_ROW(ROWS)                                                                                                 \
  {                                                                                                                  \
    ROUTE_ARG(PARAM, 0), N_UNITS, ROUTE_DO(SQRT), ROUTE_DO(MUL), SQUARE, ROUTE_DO(SUM_UNITS), SAFE_SQRT,             \
        ROUTE_DO(ROWS), ROUTE_DO(MUL), ROUTE_DO(END)                                                                 \
  }
static const RouteInsn MEAN[] = BY_ROW(MEAN_ROWS);
static const RouteInsn SUM[] = BY_ROW(SUM_ROWS);
static const RouteInsn UNITS[] = {ROUTE_ARG(PARAM, 0), SQUARE,        ROUTE_DO(MEAN_ROWS), SAFE_SQRT,
                                  ROUTE_DO(SUM_UNITS), ROUTE_DO(MUL), ROUTE_DO(END)};
static const RouteExpr MEAN_EXPR = {sizeof(RouteExpr), 0, MEAN}, SUM_EXPR = {sizeof(RouteExpr), 0, SUM},
                       UNITS_EXPR = {sizeof(RouteExpr), 0, UNITS};

static const void *mean_extension(const RouteOp *self, const char *id) {
  (void)self;
  return strcmp(id, ROUTE_EXT_EXPR) == 0 ? &MEAN_EXPR : NULL;
}
static const void *sum_extension(const RouteOp *self, const char *id) {
  (void)self;
  return strcmp(id, ROUTE_EXT_EXPR) == 0 ? &SUM_EXPR : NULL;
}
static const void *units_extension(const RouteOp *self, const char *id) {
  (void)self;
  return strcmp(id, ROUTE_EXT_EXPR) == 0 ? &UNITS_EXPR : NULL;
}

static const RouteOp OP = {sizeof(RouteOp),
                           ROUTE_REGULARIZER,
                           "group_lasso",
                           "norm of each row, mean over rows\n"
                           "Formula: lambda sqrt(units) mean_rows sqrt(sum_units x^2)\n"
                           "Gradient: lambda sqrt(units) x / |row| / rows; 0 in a row of zeros\n"
                           "Source: Yuan and Lin 2006\n"
                           "Use: a part of a code that should be silent as a whole for most data.",
                           INPUTS,
                           PARAMS,
                           1,
                           1,
                           sizeof(RouteInput),
                           sizeof(RouteParam),
                           NULL,
                           mean_extension};
static const RouteOp OP_SUM = {sizeof(RouteOp),
                               ROUTE_REGULARIZER,
                               "group_lasso_sum",
                               "norm of each row, summed over rows\n"
                               "Formula: lambda sqrt(units) sum_rows sqrt(sum_units x^2)\n"
                               "Gradient: lambda sqrt(units) x / |row|; 0 in a row of zeros\n"
                               "Source: Yuan and Lin 2006\n"
                               "Use: on a matrix of weights [out, in], to remove whole units.",
                               INPUTS,
                               PARAMS,
                               1,
                               1,
                               sizeof(RouteInput),
                               sizeof(RouteParam),
                               NULL,
                               sum_extension};
static const RouteOp OP_UNITS = {sizeof(RouteOp),
                                 ROUTE_REGULARIZER,
                                 "group_lasso_units",
                                 "root mean square of each unit over the rows, summed over units\n"
                                 "Formula: lambda sum_units sqrt(mean_rows x^2)\n"
                                 "Gradient: lambda x / rms(unit) / rows; 0 in a unit of zeros\n"
                                 "Source: Yuan and Lin 2006\n"
                                 "Use: on activations, to silence whole units for all data.",
                                 INPUTS,
                                 PARAMS,
                                 1,
                                 1,
                                 sizeof(RouteInput),
                                 sizeof(RouteParam),
                                 NULL,
                                 units_extension};
static const RouteOp *const OPS[] = {&OP, &OP_SUM, &OP_UNITS, NULL};
static const RoutePlugin PLUGIN = {sizeof(RoutePlugin), ROUTE_ABI_INIT, "group_lasso", "1.0.0", "Apache-2.0", OPS};

ROUTE_EXPORT const RoutePlugin *ROUTE_PLUGIN_ENTRY(void) { return &PLUGIN; }
