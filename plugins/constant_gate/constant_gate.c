/* SPDX-License-Identifier: Apache-2.0
 * constant_gate.c -- built-in plugin: weights that depend on nothing. */
#include "route_plugin.h"
#include <math.h>
#include <string.h>

static const RouteInput X[] = {{"x", "anything with the gate's rows", ROUTE_REAL, 0}};
static const RouteInput SCORES[] = {{"scores", "a unit for each branch; their values do not matter", ROUTE_REAL, 0}};
static const RouteParam PARAMS[] = {{"value", "the weight", 0.5, -INFINITY, INFINITY, 0, 0}};

/* 0 for each row, also where the input is NaN or infinite: an index times 0 */
#define ZERO_ROWS ROUTE_ARG(INPUT, 0), ROUTE_DO(ARGMAX_UNITS), ROUTE_NUMBER(0), ROUTE_DO(MUL)

static const RouteInsn CONSTANT[] = {ZERO_ROWS, ROUTE_ARG(PARAM, 0), ROUTE_DO(ADD), ROUTE_DO(END)};
static const RouteInsn UNIFORM[] = {ZERO_ROWS,       ROUTE_NUMBER(1), ROUTE_ARG(UNIT, 0), ROUTE_DO(MAX_UNITS),
                                    ROUTE_NUMBER(1), ROUTE_DO(ADD),   ROUTE_DO(DIV),      ROUTE_ARG(UNIT, 0),
                                    ROUTE_NUMBER(0), ROUTE_DO(MUL),   ROUTE_DO(ADD), /* for each unit */
                                    ROUTE_DO(ADD),   ROUTE_DO(END)};
static const RouteExpr CONSTANT_EXPR = {sizeof(RouteExpr), 0, CONSTANT},
                       UNIFORM_EXPR = {sizeof(RouteExpr), 0, UNIFORM};

static const void *constant_extension(const RouteOp *self, const char *id) {
  (void)self;
  return strcmp(id, ROUTE_EXT_EXPR) == 0 ? &CONSTANT_EXPR : NULL;
}
static const void *uniform_extension(const RouteOp *self, const char *id) {
  (void)self;
  return strcmp(id, ROUTE_EXT_EXPR) == 0 ? &UNIFORM_EXPR : NULL;
}

static const RouteOp OP = {sizeof(RouteOp),
                           ROUTE_GATE,
                           "constant_gate",
                           "the same weight for each row\n"
                           "Formula: value\n"
                           "Gradient: none\n"
                           "Source: -\n"
                           "Use: the baseline of a gate between two branches, or its value at deployment. One weight "
                           "for each row, without units.",
                           X,
                           PARAMS,
                           1,
                           1,
                           sizeof(RouteInput),
                           sizeof(RouteParam),
                           NULL,
                           constant_extension};
static const RouteOp OP_UNIFORM = {
    sizeof(RouteOp),
    ROUTE_GATE,
    "uniform_gate",
    "the same weight for each branch\n"
    "Formula: 1 / branches\n"
    "Gradient: none\n"
    "Source: -\n"
    "Use: the baseline of a gate between several branches: an ensemble. As many branches as scores.",
    SCORES,
    NULL,
    1,
    0,
    sizeof(RouteInput),
    sizeof(RouteParam),
    NULL,
    uniform_extension};
static const RouteOp *const OPS[] = {&OP, &OP_UNIFORM, NULL};
static const RoutePlugin PLUGIN = {sizeof(RoutePlugin), ROUTE_ABI_INIT, "constant_gate", "1.0.0", "Apache-2.0", OPS};

ROUTE_EXPORT const RoutePlugin *ROUTE_PLUGIN_ENTRY(void) { return &PLUGIN; }
