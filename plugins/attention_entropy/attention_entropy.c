/* SPDX-License-Identifier: Apache-2.0
 * attention_entropy.c -- built-in plugin: entropy of weights that are a distribution already. */
#include "route_plugin.h"
#include <math.h>
#include <string.h>

static const RouteInput INPUTS[] = {
    {"p", "weights of each row, not negative: of attention, of a gate", ROUTE_REAL, 0}};
static const RouteParam PARAMS[] = {{"lambda", "strength", 1, 0, INFINITY, 0, 0}};

/* -p log p, and 0 with derivative 0 where p is 0: a position that a mask hides */
static const RouteInsn CODE[] = {ROUTE_ARG(PARAM, 0), ROUTE_ARG(INPUT, 0), ROUTE_NUMBER(0),  ROUTE_DO(EQ),
                                 ROUTE_ARG(SET, 0),   ROUTE_ARG(GET, 0),   ROUTE_NUMBER(0),  ROUTE_ARG(GET, 0),
                                 ROUTE_NUMBER(1),     ROUTE_ARG(INPUT, 0), ROUTE_DO(SELECT), ROUTE_DO(LOG),
                                 ROUTE_ARG(INPUT, 0), ROUTE_DO(MUL),       ROUTE_DO(NEG),    ROUTE_DO(SELECT),
                                 ROUTE_DO(SUM_UNITS), ROUTE_DO(MEAN_ROWS), ROUTE_DO(MUL),    ROUTE_DO(END)};
static const RouteExpr EXPR = {sizeof(RouteExpr), 0, CODE};

static const void *extension(const RouteOp *self, const char *id) {
  (void)self;
  return strcmp(id, ROUTE_EXT_EXPR) == 0 ? &EXPR : NULL;
}

static const RouteOp OP = {sizeof(RouteOp),
                           ROUTE_REGULARIZER,
                           "attention_entropy",
                           "entropy of each row of weights, mean over rows\n"
                           "Formula: lambda mean_rows -sum_units p log p; 0 log 0 = 0\n"
                           "Gradient: -lambda (log p + 1) / rows; 0 where p = 0\n"
                           "Source: Shannon 1948; of a mixture's weights: Grandvalet and Bengio 2004\n"
                           "Use: on attention or a gate's weights, for decided ones (sharper). Rows should sum to 1; "
                           "a negative weight gives NaN.",
                           INPUTS,
                           PARAMS,
                           1,
                           1,
                           sizeof(RouteInput),
                           sizeof(RouteParam),
                           NULL,
                           extension};
static const RouteOp *const OPS[] = {&OP, NULL};
static const RoutePlugin PLUGIN = {
    sizeof(RoutePlugin), ROUTE_ABI_INIT, "attention_entropy", "1.0.0", "Apache-2.0", OPS};

ROUTE_EXPORT const RoutePlugin *ROUTE_PLUGIN_ENTRY(void) { return &PLUGIN; }
