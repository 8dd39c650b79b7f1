/* SPDX-License-Identifier: Apache-2.0
 * sigmoid_gate.c -- built-in plugin: each score on its own becomes a weight from 0 to 1. */
#include "route_plugin.h"
#include <math.h>
#include <string.h>

static const RouteInput INPUTS[] = {
    {"scores", "one for the first of two branches, or one for each branch", ROUTE_REAL, 0}};
static const RouteParam PARAMS[] = {{"temperature", "the smaller, the harder", 1, 1e-6, INFINITY, 0, 0}};

static const RouteInsn CODE[] = {ROUTE_ARG(INPUT, 0), ROUTE_ARG(PARAM, 0), ROUTE_DO(DIV), ROUTE_DO(SIGMOID),
                                 ROUTE_DO(END)};
static const RouteExpr EXPR = {sizeof(RouteExpr), 0, CODE};

static const void *extension(const RouteOp *self, const char *id) {
  (void)self;
  return strcmp(id, ROUTE_EXT_EXPR) == 0 ? &EXPR : NULL;
}

static const RouteOp OP = {
    sizeof(RouteOp),
    ROUTE_GATE,
    "sigmoid_gate",
    "each score on its own as a weight from 0 to 1\n"
    "Formula: y = 1 / (1 + exp(-x / temperature))\n"
    "Gradient: y (1 - y) / temperature\n"
    "Source: Jacobs, Jordan, Nowlan and Hinton 1991, for two experts\n"
    "Use: between two branches, or where several branches may be open at once. A NaN score gives a NaN weight.",
    INPUTS,
    PARAMS,
    1,
    1,
    sizeof(RouteInput),
    sizeof(RouteParam),
    NULL,
    extension};
static const RouteOp *const OPS[] = {&OP, NULL};
static const RoutePlugin PLUGIN = {sizeof(RoutePlugin), ROUTE_ABI_INIT, "sigmoid_gate", "1.0.0", "Apache-2.0", OPS};

ROUTE_EXPORT const RoutePlugin *ROUTE_PLUGIN_ENTRY(void) { return &PLUGIN; }
