/* SPDX-License-Identifier: Apache-2.0
 * threshold_gate.c -- built-in plugin: a gate that a direction in a code opens. */
#include "route_plugin.h"
#include <math.h>
#include <string.h>

enum { THRESHOLD, SOFT, TEMPERATURE, N_PARAMS };
static const RouteInput INPUTS[] = {
    {"h", "a code", ROUTE_REAL, 0},
    {"direction", "as many units as h; one for all data, or one for each row", ROUTE_REAL, 0}};
static const RouteParam PARAMS[] = {
    {"threshold", "the gate is open above it", 0, -INFINITY, INFINITY, 0, 0},
    {"soft", "1: a sigmoid, which is trained; 0: open or shut", 0, 0, 1, ROUTE_PARAM_INT, 0},
    {"temperature", "of the sigmoid", 1, 1e-6, INFINITY, 0, 0}};

/* s = h . direction - threshold; the sigmoid, which is at most 1, also hands on a NaN: min(hard, max(1, soft)) */
static const RouteInsn CODE[] = {ROUTE_ARG(INPUT, 0),
                                 ROUTE_ARG(INPUT, 1),
                                 ROUTE_DO(MUL),
                                 ROUTE_DO(SUM_UNITS),
                                 ROUTE_ARG(PARAM, THRESHOLD),
                                 ROUTE_DO(SUB),
                                 ROUTE_ARG(SET, 0),
                                 ROUTE_ARG(GET, 0),
                                 ROUTE_ARG(PARAM, TEMPERATURE),
                                 ROUTE_DO(DIV),
                                 ROUTE_DO(SIGMOID),
                                 ROUTE_ARG(SET, 1),
                                 ROUTE_NUMBER(0.5),
                                 ROUTE_ARG(PARAM, SOFT),
                                 ROUTE_DO(LT),
                                 ROUTE_ARG(GET, 1),
                                 ROUTE_NUMBER(0),
                                 ROUTE_ARG(GET, 0),
                                 ROUTE_DO(LT),
                                 ROUTE_NUMBER(1),
                                 ROUTE_NUMBER(0),
                                 ROUTE_DO(SELECT),
                                 ROUTE_NUMBER(1),
                                 ROUTE_ARG(GET, 1),
                                 ROUTE_DO(MAX),
                                 ROUTE_DO(MIN),
                                 ROUTE_DO(STOP),
                                 ROUTE_DO(SELECT),
                                 ROUTE_DO(END)};
static const RouteExpr EXPR = {sizeof(RouteExpr), 0, CODE};

static const void *extension(const RouteOp *self, const char *id) {
  (void)self;
  return strcmp(id, ROUTE_EXT_EXPR) == 0 ? &EXPR : NULL;
}

static const RouteOp OP = {sizeof(RouteOp),
                           ROUTE_GATE,
                           "threshold_gate",
                           "open where a code lies beyond a threshold along a direction\n"
                           "Formula: y = 1 where sum_units h direction > threshold, else 0; with soft: "
                           "sigmoid((sum_units h direction - threshold) / "
                           "temperature)\n"
                           "Gradient: none; with soft: y (1 - y) / temperature, to h and to the direction\n"
                           "Source: -\n"
                           "Use: to open a branch by a feature that is known: a probe's weights, a difference of "
                           "means. One weight for each row, without "
                           "units. A NaN gives a NaN weight.",
                           INPUTS,
                           PARAMS,
                           2,
                           N_PARAMS,
                           sizeof(RouteInput),
                           sizeof(RouteParam),
                           NULL,
                           extension};
static const RouteOp *const OPS[] = {&OP, NULL};
static const RoutePlugin PLUGIN = {sizeof(RoutePlugin), ROUTE_ABI_INIT, "threshold_gate", "1.0.0", "Apache-2.0", OPS};

ROUTE_EXPORT const RoutePlugin *ROUTE_PLUGIN_ENTRY(void) { return &PLUGIN; }
