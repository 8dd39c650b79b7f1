/* expr.agrees: the formula gives */
/* SPDX-License-Identifier: Apache-2.0 */
#include "bad.h"
/* The formula forgets the weight. */
static const RouteInsn code[] = {{ROUTE_X_INPUT, 0, 0}, {ROUTE_X_INPUT, 0, 0}, {ROUTE_X_MUL, 0, 0}, {ROUTE_X_SUM_UNITS, 0, 0},
                                 {ROUTE_X_SUM_ROWS, 0, 0}, {ROUTE_X_END, 0, 0}};
static const RouteExpr expr = {.size = sizeof expr, .code = code};
static const RouteSpan span = {.size = sizeof span, .value = good_value, .grad = good_grad};
static const struct { const char *id; const void *table; } both[] = {{ROUTE_EXT_EXPR, &expr}, {ROUTE_EXT_SPAN, &span}};
static const void *extension(const RouteOp *self, const char *what) {
  (void)self;
  for (int i = 0; i < 2; i++)
    if (strcmp(what, both[i].id) == 0) return both[i].table;
  return NULL;
}
static const RouteOp op = {.size = sizeof op, .kind = ROUTE_REGULARIZER, .name = "bad", .doc = "breaks the contract", .inputs = bad_inputs,
                           .params = bad_params, .n_inputs = 1, .n_params = 1, .input_size = sizeof(RouteInput),
                           .param_size = sizeof(RouteParam), .create = bad_create, .extension = extension};
static const RouteOp *const ops[] = {&op, NULL};
static const RoutePlugin plugin = {.size = sizeof plugin, .abi = ROUTE_ABI_INIT, .name = "bad", .version = "1.0.0", .license = "Apache-2.0", .ops = ops};
const RoutePlugin *ROUTE_PLUGIN_ENTRY(void) { return &plugin; }
