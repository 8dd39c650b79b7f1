/* SPDX-License-Identifier: Apache-2.0
 * gumbel_gate.c -- built-in plugin: weights drawn from a softened choice between branches. */
#include "route_plugin.h"
#include <math.h>
#include <string.h>

enum { TEMPERATURE, HARD, N_PARAMS };
static const RouteInput INPUTS[] = {
    {"scores", "log probabilities, up to a constant: one for each branch", ROUTE_REAL, 0}};
static const RouteParam PARAMS[] = {
    {"temperature", "the smaller, the harder", 1, 1e-6, INFINITY, 0, 0},
    {"hard", "1: the drawn branch alone, with the gradient of the soft weights; 0: soft weights", 0, 0, 1,
     ROUTE_PARAM_INT, 0}};

/* z = x - log(-log u) in training, x in evaluations. u is kept from 0 by half the distance of two draws. */
static const RouteInsn CODE[] = {ROUTE_ARG(INPUT, 0),    ROUTE_NUMBER(0),        ROUTE_DO(TRAINING),
                                 ROUTE_DO(LT),           ROUTE_ARG(RANDOM, 0),   ROUTE_NUMBER(0x1p-25),
                                 ROUTE_DO(MAX),          ROUTE_DO(LOG),          ROUTE_DO(NEG),
                                 ROUTE_DO(LOG),          ROUTE_DO(NEG),          ROUTE_NUMBER(0),
                                 ROUTE_DO(SELECT),       ROUTE_DO(ADD),          ROUTE_ARG(SET, 0),
                                 ROUTE_ARG(GET, 0),      ROUTE_ARG(GET, 0),      ROUTE_DO(STOP),
                                 ROUTE_DO(MAX_UNITS),    ROUTE_DO(SUB),          ROUTE_ARG(PARAM, TEMPERATURE),
                                 ROUTE_DO(DIV),          ROUTE_DO(EXP),          ROUTE_ARG(SET, 1),
                                 ROUTE_ARG(GET, 1),      ROUTE_ARG(GET, 1),      ROUTE_DO(SUM_UNITS),
                                 ROUTE_DO(DIV),          ROUTE_ARG(SET, 2),      ROUTE_NUMBER(0.5),
                                 ROUTE_ARG(PARAM, HARD), ROUTE_DO(LT),           ROUTE_ARG(UNIT, 0),
                                 ROUTE_ARG(GET, 0),      ROUTE_DO(ARGMAX_UNITS), ROUTE_DO(EQ),
                                 ROUTE_NUMBER(1),        ROUTE_NUMBER(0),        ROUTE_DO(SELECT),
                                 ROUTE_NUMBER(1),        ROUTE_ARG(GET, 2),      ROUTE_DO(MAX),
                                 ROUTE_DO(MIN), /* NaN where a score is */
                                 ROUTE_ARG(GET, 2),      ROUTE_DO(SELECT),       ROUTE_ARG(GET, 2),
                                 ROUTE_DO(STRAIGHT),     ROUTE_DO(END)};
static const RouteExpr EXPR = {sizeof(RouteExpr), 0, CODE};

static const void *extension(const RouteOp *self, const char *id) {
  (void)self;
  return strcmp(id, ROUTE_EXT_EXPR) == 0 ? &EXPR : NULL;
}

static const RouteOp OP = {sizeof(RouteOp),
                           ROUTE_GATE,
                           "gumbel_gate",
                           "a softened draw of one branch\n"
                           "Formula: y = softmax((x + g) / temperature), g = -log(-log u), u uniform, drawn for each "
                           "row and branch in training; g = 0 "
                           "in evaluations; with hard: 1 at the largest (the first of equal ones), else 0\n"
                           "Gradient: that of the soft weights, with the same draw\n"
                           "Source: Jang, Gu and Poole 2017; Maddison, Mnih and Teh 2017\n"
                           "Use: to try branches in proportion to their probability while the gate learns; lower the "
                           "temperature with a schedule. A NaN "
                           "score gives a row of NaN.",
                           INPUTS,
                           PARAMS,
                           1,
                           N_PARAMS,
                           sizeof(RouteInput),
                           sizeof(RouteParam),
                           NULL,
                           extension};
static const RouteOp *const OPS[] = {&OP, NULL};
static const RoutePlugin PLUGIN = {sizeof(RoutePlugin), ROUTE_ABI_INIT, "gumbel_gate", "1.0.0", "Apache-2.0", OPS};

ROUTE_EXPORT const RoutePlugin *ROUTE_PLUGIN_ENTRY(void) { return &PLUGIN; }
