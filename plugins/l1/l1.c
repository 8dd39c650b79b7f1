/* SPDX-License-Identifier: Apache-2.0
 * l1.c -- the L1 norm: lambda * sum over units of the mean over rows of |x|. */
#include "route_plugin.h"
#include <math.h>
#include <string.h>

static const RouteInput inputs[] = {{"x", "what becomes sparse", ROUTE_REAL, 0}};
static const RouteParam params[] = {{"lambda", "weight of the penalty", 1, 0, INFINITY, 0, 0}};

static const RouteInsn code[] = {
    {ROUTE_X_INPUT, 0, 0}, {ROUTE_X_ABS, 0, 0}, {ROUTE_X_MEAN_ROWS, 0, 0}, {ROUTE_X_SUM_UNITS, 0, 0},
    {ROUTE_X_PARAM, 0, 0}, {ROUTE_X_MUL, 0, 0}, {ROUTE_X_END, 0, 0}};
static const RouteExpr expr = {sizeof expr, 0, code};

static const void *extension(const RouteOp *self, const char *id) {
  (void)self;
  return strcmp(id, ROUTE_EXT_EXPR) == 0 ? &expr : NULL;
}

static const RouteOp op = {sizeof op, ROUTE_REGULARIZER, "l1", "sum over units of the mean over rows of |x|\n\nlambda * sum_j mean_i |x_ij|. The "
                           "gradient at 0 is 0.", inputs, params, 1, 1, sizeof *inputs, sizeof *params, NULL, extension};
static const RouteOp *const ops[] = {&op, NULL};
static const RoutePlugin plugin = {sizeof plugin, ROUTE_ABI_INIT, "l1", "1.0.0", "Apache-2.0", ops};

const RoutePlugin *ROUTE_PLUGIN_ENTRY(void) { return &plugin; }
