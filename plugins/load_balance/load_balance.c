/* SPDX-License-Identifier: Apache-2.0
 * load_balance.c -- built-in plugin: branches of a gate should get equal shares of the data. */
#include "route_plugin.h"
#include <math.h>
#include <string.h>

static const RouteInput INPUTS[] = {{"p", "weights of each row, a unit for each branch", ROUTE_REAL, 0}};
static const RouteParam PARAMS[] = {{"lambda", "strength", 1, 0, INFINITY, 0, 0}};

#define N_UNITS ROUTE_ARG(UNIT, 0), ROUTE_DO(MAX_UNITS), ROUTE_NUMBER(1), ROUTE_DO(ADD)

static const RouteInsn LOAD[] = {ROUTE_ARG(PARAM, 0), N_UNITS,
                                 ROUTE_DO(MUL),       ROUTE_ARG(UNIT, 0),
                                 ROUTE_ARG(INPUT, 0), ROUTE_DO(ARGMAX_UNITS),
                                 ROUTE_DO(EQ),        ROUTE_NUMBER(1),
                                 ROUTE_NUMBER(0),     ROUTE_DO(SELECT),
                                 ROUTE_DO(MEAN_ROWS), ROUTE_ARG(INPUT, 0),
                                 ROUTE_DO(MEAN_ROWS), ROUTE_DO(MUL),
                                 ROUTE_DO(SUM_UNITS), ROUTE_DO(MUL),
                                 ROUTE_DO(END)};
/* mean over units of the squared distance of P from its mean, over the mean's square */
static const RouteInsn IMPORTANCE[] = {
    ROUTE_ARG(PARAM, 0),  ROUTE_ARG(INPUT, 0), ROUTE_DO(MEAN_ROWS), ROUTE_ARG(SET, 0), ROUTE_ARG(GET, 0),
    ROUTE_DO(MEAN_UNITS), ROUTE_ARG(SET, 1),   ROUTE_ARG(GET, 0),   ROUTE_ARG(GET, 1), ROUTE_DO(SUB),
    ROUTE_ARG(SET, 2),    ROUTE_ARG(GET, 2),   ROUTE_ARG(GET, 2),   ROUTE_DO(MUL),     ROUTE_DO(MEAN_UNITS),
    ROUTE_ARG(GET, 1),    ROUTE_NUMBER(0),     ROUTE_DO(EQ),        ROUTE_NUMBER(1), /* where all weights are 0 */
    ROUTE_ARG(GET, 1),    ROUTE_ARG(GET, 1),   ROUTE_DO(MUL),       ROUTE_DO(SELECT),  ROUTE_DO(DIV),
    ROUTE_DO(MUL),        ROUTE_DO(END)};
static const RouteExpr LOAD_EXPR = {sizeof(RouteExpr), 0, LOAD}, IMPORTANCE_EXPR = {sizeof(RouteExpr), 0, IMPORTANCE};

static const void *load_extension(const RouteOp *self, const char *id) {
  (void)self;
  return strcmp(id, ROUTE_EXT_EXPR) == 0 ? &LOAD_EXPR : NULL;
}
static const void *importance_extension(const RouteOp *self, const char *id) {
  (void)self;
  return strcmp(id, ROUTE_EXT_EXPR) == 0 ? &IMPORTANCE_EXPR : NULL;
}

static const RouteOp OP = {sizeof(RouteOp),
                           ROUTE_REGULARIZER,
                           "load_balance",
                           "share of rows that a branch is the first choice of, times its mean weight\n"
                           "Formula: lambda branches sum_branches f P, f = share of rows with the largest weight "
                           "there (the first of equal ones), "
                           "P = mean_rows p\n"
                           "Gradient: lambda branches f / rows; none through f\n"
                           "Source: Fedus, Zoph and Shazeer 2022 (Switch); Lepikhin et al. 2021 (GShard)\n"
                           "Use: on the softmax that a top-k gate chooses by, so that no branch starves. 1 where all "
                           "shares are equal, the number "
                           "of branches where one takes all.",
                           INPUTS,
                           PARAMS,
                           1,
                           1,
                           sizeof(RouteInput),
                           sizeof(RouteParam),
                           NULL,
                           load_extension};
static const RouteOp OP_IMPORTANCE = {
    sizeof(RouteOp),
    ROUTE_REGULARIZER,
    "importance_balance",
    "squared coefficient of variation of the branches' mean weights\n"
    "Formula: lambda mean_branches (P - m)^2 / m^2, P = mean_rows p, m = mean_branches P\n"
    "Gradient: lambda 2 (P - m - v / m) / (m^2 branches rows), v = mean_branches (P - m)^2\n"
    "Source: Shazeer et al. 2017\n"
    "Use: on any gate's weights, soft ones too. 0 where all branches weigh the same. Weights that sum to 0 give NaN.",
    INPUTS,
    PARAMS,
    1,
    1,
    sizeof(RouteInput),
    sizeof(RouteParam),
    NULL,
    importance_extension};
static const RouteOp *const OPS[] = {&OP, &OP_IMPORTANCE, NULL};
static const RoutePlugin PLUGIN = {sizeof(RoutePlugin), ROUTE_ABI_INIT, "load_balance", "1.0.0", "Apache-2.0", OPS};

ROUTE_EXPORT const RoutePlugin *ROUTE_PLUGIN_ENTRY(void) { return &PLUGIN; }
