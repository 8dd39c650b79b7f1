/* SPDX-License-Identifier: Apache-2.0
 * softmax_gate.c -- built-in plugin: scores become weights that sum to 1. */
#include "route_plugin.h"
#include <math.h>
#include <string.h>

static const RouteInput INPUTS[] = {{"scores", "one for each branch", ROUTE_REAL, 0}};
static const RouteParam PARAMS[] = {{"temperature", "the smaller, the harder", 1, 1e-6, INFINITY, 0, 0}};

/* exp((x - max) / temperature) over its sum; the maximum is a constant, as it cancels */
static const RouteInsn CODE[] = {ROUTE_ARG(INPUT, 0), ROUTE_ARG(INPUT, 0), ROUTE_DO(STOP),    ROUTE_DO(MAX_UNITS),
                                 ROUTE_DO(SUB),       ROUTE_ARG(PARAM, 0), ROUTE_DO(DIV),     ROUTE_DO(EXP),
                                 ROUTE_ARG(SET, 0),   ROUTE_ARG(GET, 0),   ROUTE_ARG(GET, 0), ROUTE_DO(SUM_UNITS),
                                 ROUTE_DO(DIV),       ROUTE_DO(END)};
static const RouteExpr EXPR = {sizeof(RouteExpr), 0, CODE};

static const void *extension(const RouteOp *self, const char *id) {
  (void)self;
  return strcmp(id, ROUTE_EXT_EXPR) == 0 ? &EXPR : NULL;
}

static const RouteOp OP = {
    sizeof(RouteOp),
    ROUTE_GATE,
    "softmax_gate",
    "weights that sum to 1\n"
    "Formula: y = exp(x / temperature) / sum_branches exp(x / temperature), stable\n"
    "Gradient: of a loss: y (dy - sum_branches y dy) / temperature\n"
    "Source: Jacobs, Jordan, Nowlan and Hinton 1991\n"
    "Use: the usual soft mixture; every branch is computed and trained. A NaN score gives a row of NaN.",
    INPUTS,
    PARAMS,
    1,
    1,
    sizeof(RouteInput),
    sizeof(RouteParam),
    NULL,
    extension};
static const RouteOp *const OPS[] = {&OP, NULL};
static const RoutePlugin PLUGIN = {sizeof(RoutePlugin), ROUTE_ABI_INIT, "softmax_gate", "1.0.0", "Apache-2.0", OPS};

ROUTE_EXPORT const RoutePlugin *ROUTE_PLUGIN_ENTRY(void) { return &PLUGIN; }
