/* SPDX-License-Identifier: Apache-2.0
 * straight_gate.c -- built-in plugin: one branch for each row, trained as if the weights were soft. */
#include "route_plugin.h"
#include <math.h>
#include <string.h>

static const RouteInput INPUTS[] = {{"scores", "one for each branch", ROUTE_REAL, 0}};
static const RouteParam PARAMS[] = {
    {"temperature", "of the softmax that gives the gradient", 1, 1e-6, INFINITY, 0, 0}};

/* The softmax, which is at most 1, is also what makes a row with a NaN one of NaN: min(hard, max(1, soft)). */
static const RouteInsn CODE[] = {ROUTE_ARG(INPUT, 0),    ROUTE_ARG(INPUT, 0), ROUTE_DO(STOP),     ROUTE_DO(MAX_UNITS),
                                 ROUTE_DO(SUB),          ROUTE_ARG(PARAM, 0), ROUTE_DO(DIV),      ROUTE_DO(EXP),
                                 ROUTE_ARG(SET, 0),      ROUTE_ARG(GET, 0),   ROUTE_ARG(GET, 0),  ROUTE_DO(SUM_UNITS),
                                 ROUTE_DO(DIV),          ROUTE_ARG(SET, 1),   ROUTE_ARG(UNIT, 0), ROUTE_ARG(INPUT, 0),
                                 ROUTE_DO(ARGMAX_UNITS), ROUTE_DO(EQ),        ROUTE_NUMBER(1),    ROUTE_NUMBER(0),
                                 ROUTE_DO(SELECT),       ROUTE_NUMBER(1),     ROUTE_ARG(GET, 1),  ROUTE_DO(MAX),
                                 ROUTE_DO(MIN),          ROUTE_ARG(GET, 1),   ROUTE_DO(STRAIGHT), ROUTE_DO(END)};
static const RouteExpr EXPR = {sizeof(RouteExpr), 0, CODE};

static const void *extension(const RouteOp *self, const char *id) {
  (void)self;
  return strcmp(id, ROUTE_EXT_EXPR) == 0 ? &EXPR : NULL;
}

static const RouteOp OP = {
    sizeof(RouteOp),
    ROUTE_GATE,
    "straight_gate",
    "1 for the branch with the largest score, 0 for the others; the gradient of a softmax\n"
    "Formula: y = 1 where the score is the largest of its row (the first of equal ones), else 0\n"
    "Gradient: as if y were softmax(x / temperature)\n"
    "Source: Bengio, Leonard and Courville 2013 (straight-through)\n"
    "Use: hard selection that learns from scores alone: the loss says how much each branch would have helped. A NaN "
    "score gives a "
    "row of NaN.",
    INPUTS,
    PARAMS,
    1,
    1,
    sizeof(RouteInput),
    sizeof(RouteParam),
    NULL,
    extension};
static const RouteOp *const OPS[] = {&OP, NULL};
static const RoutePlugin PLUGIN = {sizeof(RoutePlugin), ROUTE_ABI_INIT, "straight_gate", "1.0.0", "Apache-2.0", OPS};

ROUTE_EXPORT const RoutePlugin *ROUTE_PLUGIN_ENTRY(void) { return &PLUGIN; }
