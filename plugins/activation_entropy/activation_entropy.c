/* SPDX-License-Identifier: Apache-2.0
 * activation_entropy.c -- built-in plugin: over how many units the activation of a row is spread. */
#include "route_plugin.h"
#include <math.h>
#include <string.h>

static const RouteInput INPUTS[] = {{"x", "activations", ROUTE_REAL, 0}};
static const RouteParam PARAMS[] = {{"lambda", "strength", 1, 0, INFINITY, 0, 0}};

/* p = |x| / sum |x|, and 0 in a row of zeros; -p log p, and 0 with derivative 0 where p is 0. */
static const RouteInsn CODE[] = {
    ROUTE_ARG(INPUT, 0), ROUTE_DO(ABS),       ROUTE_ARG(SET, 0),   ROUTE_ARG(GET, 0), ROUTE_DO(SUM_UNITS),
    ROUTE_ARG(SET, 1),   ROUTE_ARG(GET, 0),   ROUTE_ARG(GET, 1),   ROUTE_NUMBER(0),   ROUTE_DO(EQ),
    ROUTE_NUMBER(1),     ROUTE_ARG(GET, 1),   ROUTE_DO(SELECT),    ROUTE_DO(DIV),     ROUTE_ARG(SET, 2),
    ROUTE_ARG(PARAM, 0), ROUTE_ARG(GET, 2),   ROUTE_NUMBER(0),     ROUTE_DO(EQ),      ROUTE_NUMBER(1),
    ROUTE_ARG(GET, 2),   ROUTE_DO(SELECT),    ROUTE_DO(LOG),       ROUTE_ARG(GET, 2), ROUTE_DO(MUL),
    ROUTE_DO(NEG),       ROUTE_DO(SUM_UNITS), ROUTE_DO(MEAN_ROWS), ROUTE_DO(MUL),     ROUTE_DO(END)};
static const RouteExpr EXPR = {sizeof(RouteExpr), 0, CODE};

static const void *extension(const RouteOp *self, const char *id) {
  (void)self;
  return strcmp(id, ROUTE_EXT_EXPR) == 0 ? &EXPR : NULL;
}

static const RouteOp OP = {
    sizeof(RouteOp),
    ROUTE_REGULARIZER,
    "activation_entropy",
    "entropy of each row's magnitudes, mean over rows\n"
    "Formula: lambda mean_rows -sum_units p log p, p = |x| / sum_units |x|; 0 for a row of zeros\n"
    "Gradient: lambda sign(x) (-log p - entropy of the row) / sum |x| / rows; 0 where x = 0\n"
    "Source: Shannon 1948\n"
    "Use: to have each datum carried by few units, however large they are. Between 0 (one unit) and log(units).",
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
    sizeof(RoutePlugin), ROUTE_ABI_INIT, "activation_entropy", "1.0.0", "Apache-2.0", OPS};

ROUTE_EXPORT const RoutePlugin *ROUTE_PLUGIN_ENTRY(void) { return &PLUGIN; }
