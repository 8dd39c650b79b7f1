/* SPDX-License-Identifier: Apache-2.0
 * skeleton.h -- a small sound plugin, mean over rows of the sum over units of x^2. A test defines what is to be different,
 * then includes this. */
#include "route_plugin.h"
#include <math.h>
#include <string.h>

#ifndef ABI
#define ABI ROUTE_ABI_INIT
#endif
#ifndef PLUGIN_SIZE
#define PLUGIN_SIZE sizeof(RoutePlugin)
#endif
#ifndef PLUGIN_NAME
#define PLUGIN_NAME "bad"
#endif
#ifndef VERSION
#define VERSION "1.2.3"
#endif
#ifndef OP_SIZE
#define OP_SIZE sizeof(RouteOp)
#endif
#ifndef OP_NAME
#define OP_NAME PLUGIN_NAME
#endif
#ifndef OP_KIND
#define OP_KIND ROUTE_REGULARIZER
#endif
#ifndef PARAM
#define PARAM {"strength", "weight of the penalty", 1, 0, 100, 0, 0}
#endif
#ifndef CODE
#define CODE                                                                                                        \
  {ROUTE_X_INPUT, 0, 0}, {ROUTE_X_INPUT, 0, 0}, {ROUTE_X_MUL, 0, 0}, {ROUTE_X_SUM_UNITS, 0, 0}, {ROUTE_X_MEAN_ROWS, 0, 0},      \
      {ROUTE_X_PARAM, 0, 0}, {ROUTE_X_MUL, 0, 0}, {ROUTE_X_END, 0, 0}
#endif
#ifndef OPS
#define OPS &op
#endif
#ifndef CREATE
#define CREATE NULL
#endif
#ifndef FIND /* an ability by name */
#define FIND(id) (strcmp(id, ROUTE_EXT_EXPR) == 0 ? (const void *)&expr : NULL)
#endif

static const RouteInput inputs[] = {{"x", "what is kept small", ROUTE_REAL, 0}};
static const RouteParam params[] = {PARAM};
static const RouteInsn code[] = {CODE};
static const RouteExpr expr = {sizeof expr, 0, code};
static const void *extension(const RouteOp *self, const char *id) {
  (void)self, (void)&expr;
  return FIND(id);
}
static const RouteOp op = {OP_SIZE, OP_KIND, OP_NAME, "a test", inputs, params, 1, 1, sizeof *inputs, sizeof *params, CREATE, extension};
static const RouteOp *const ops[] = {OPS, NULL};
static const RoutePlugin plugin = {PLUGIN_SIZE, ABI, PLUGIN_NAME, VERSION, "Apache-2.0", ops};
#ifndef ENTRY
#define ENTRY return &plugin;
#endif
ROUTE_EXPORT const RoutePlugin *ROUTE_PLUGIN_ENTRY(void) { ENTRY }
