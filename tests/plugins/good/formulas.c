/* SPDX-License-Identifier: Apache-2.0
 * formulas.c -- an op for each instruction of formulas. tests/unit/check_plugin.c computes the same in C. */
#include "route_plugin.h"
#include <math.h>
#include <string.h>

static const RouteInput inputs[] = {{"x", "", ROUTE_REAL, 0}, {"id", "", ROUTE_LABEL, 0}, {"w", "", ROUTE_REAL, 0}};
static const RouteParam params[] = {{"p", "", 0.75, -10, 10, 0, 0}, {"n", "", 3, 1, 9, ROUTE_PARAM_INT, 0}};

#define X {ROUTE_X_INPUT, 0, 0}
#define ID {ROUTE_X_INPUT, 1, 0}
#define W {ROUTE_X_INPUT, 2, 0}
#define P {ROUTE_X_PARAM, 0, 0}
#define N {ROUTE_X_PARAM, 1, 0}
#define UNIT {ROUTE_X_UNIT, 0, 0}
#define C(v) {ROUTE_X_CONST, 0, v}
#define DO(op) {ROUTE_X_##op, 0, 0}
#define POSITIVE X, DO(ABS), C(0.25), DO(ADD) /* |x| + 0.25 */
#define OPS                                                                                                          \
  OP(neg, X, DO(NEG)) OP(abs, X, DO(ABS)) OP(sign, X, DO(SIGN)) OP(sqrt, POSITIVE, DO(SQRT)) OP(exp, X, DO(EXP))                   \
  OP(log, POSITIVE, DO(LOG)) OP(tanh, X, DO(TANH)) OP(sigmoid, X, DO(SIGMOID)) OP(softplus, X, DO(SOFTPLUS)) OP(erf, X, DO(ERF))     \
  OP(relu, X, DO(RELU)) OP(sin, X, DO(SIN)) OP(cos, X, DO(COS)) OP(floor, X, C(3), DO(MUL), DO(FLOOR))                               \
  OP(not, X, C(0), DO(LT), DO(NOT), C(1), C(2), DO(SELECT)) OP(stop, X, DO(STOP), X, DO(MUL))                                         \
  OP(sum_units, X, DO(SUM_UNITS)) OP(mean_units, X, DO(MEAN_UNITS)) OP(max_units, X, DO(MAX_UNITS)) OP(argmax_units, X, DO(ARGMAX_UNITS)) \
  OP(sum_rows, X, X, DO(SUM_ROWS), DO(MUL)) OP(mean_rows, X, X, DO(MEAN_ROWS), DO(SUB))                                                 \
  OP(add, X, UNIT, DO(ADD)) OP(sub, X, UNIT, DO(SUB)) OP(mul, X, P, DO(MUL)) OP(div, X, N, DO(DIV)) OP(min, X, C(0.1), DO(MIN))          \
  OP(max, UNIT, X, DO(MAX)) OP(pow, POSITIVE, P, DO(POW)) OP(cube, X, C(3), DO(POW)) OP(lt, X, W, DO(LT), X, W, DO(SELECT))               \
  OP(le, ID, UNIT, DO(LE), X, C(0), DO(SELECT)) OP(eq, ID, UNIT, DO(EQ), X, P, DO(SELECT))                                                \
  OP(logic, X, C(0), DO(LT), ID, C(1), DO(LE), DO(AND), X, C(0.5), DO(LE), DO(NOT), DO(OR), X, C(9), DO(SELECT))                           \
  OP(straight, X, DO(FLOOR), X, C(2), DO(MUL), DO(STRAIGHT)) OP(slots, X, {ROUTE_X_SET, 3, 0}, ID, {ROUTE_X_SET, 0, 0}, {ROUTE_X_GET, 3, 0}, {ROUTE_X_GET, 0, 0}, DO(MUL)) \
  OP(training, X, DO(TRAINING), DO(MUL)) OP(random, {ROUTE_X_RANDOM, 0, 0}) OP(random_rows, {ROUTE_X_RANDOM, 1, 0})                        \
  OP(vector, X, W, DO(MUL), DO(SUM_UNITS)) OP(step, X, DO(STEP), DO(TOTAL_STEPS), DO(DIV), DO(STEPS_PER_EPOCH), DO(ADD), DO(MUL))

#define OP(name, ...)                                                                                                \
  static const RouteInsn code_##name[] = {__VA_ARGS__, DO(END)};                                                     \
  static const RouteExpr expr_##name = {sizeof(RouteExpr), 0, code_##name};                                          \
  static const void *extension_##name(const RouteOp *self, const char *id) {                                         \
    (void)self;                                                                                                      \
    return strcmp(id, ROUTE_EXT_EXPR) == 0 ? &expr_##name : NULL;                                                    \
  }                                                                                                                  \
  static const RouteOp op_##name = {sizeof(RouteOp), ROUTE_GATE, #name, "", inputs, params, 3, 2, sizeof *inputs, sizeof *params, NULL, extension_##name};
OPS
#undef OP
#define OP(name, ...) &op_##name,
static const RouteOp *const ops[] = {OPS NULL};
static const RoutePlugin plugin = {sizeof plugin, ROUTE_ABI_INIT, "formulas", "1.0.0", "Apache-2.0", ops};
ROUTE_EXPORT const RoutePlugin *ROUTE_PLUGIN_ENTRY(void) { return &plugin; }
