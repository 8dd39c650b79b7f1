/* @NAME@.c -- a gate for routec, written as a formula.
 *   @NAME@(scores, temperature) = for each row, exp(scores / temperature), divided by its sum over units
 * Weights of branches that are positive and sum to 1; a low temperature makes them nearly one-hot. */
#include <route_plugin.h>
#include <string.h>

/* The numbers that a specification gives by name. Out of range is an error with a caret, before anything runs. */
static const RouteParam params[] = {
    {.name = "temperature", .doc = "1: softmax; towards 0: the largest score takes all", .def = 1, .min = 1e-2, .max = 1e6}};

static const RouteInput inputs[] = {{.name = "scores", .doc = "one for each branch", .kind = ROUTE_REAL}};

/* Postfix: each line pushes, or replaces what is on top. Values stretch as needed: scores have rows and units, their largest
 * has rows only, temperature is a number. The compiler differentiates the formula, masks it by the routes, and inlines it:
 * there is no gradient to write, and no call is left in the program. */
static const RouteInsn code[] = {
    {ROUTE_X_INPUT, 0, 0}, {ROUTE_X_PARAM, 0, 0}, {ROUTE_X_DIV, 0, 0}, {ROUTE_X_SET, 0, 0}, /* s = scores / temperature */
    {ROUTE_X_GET, 0, 0},
    {ROUTE_X_GET, 0, 0}, {ROUTE_X_MAX_UNITS, 0, 0}, {ROUTE_X_STOP, 0, 0}, /* the largest cancels: it has no derivative */
    {ROUTE_X_SUB, 0, 0}, {ROUTE_X_EXP, 0, 0}, {ROUTE_X_SET, 1, 0},        /* e = exp(s - largest): cannot overflow */
    {ROUTE_X_GET, 1, 0}, {ROUTE_X_GET, 1, 0}, {ROUTE_X_SUM_UNITS, 0, 0}, {ROUTE_X_DIV, 0, 0}, /* rows and units again */
    {ROUTE_X_END, 0, 0}};
static const RouteExpr expr = {.size = sizeof expr, .code = code};

/* [load] What the op can do, by name. NULL for every name that this file does not know: later versions of routec ask more. */
static const void *op_extension(const RouteOp *self, const char *id) {
  (void)self;
  return strcmp(id, ROUTE_EXT_EXPR) == 0 ? &expr : NULL;
}

static const RouteOp op = {
    .size = sizeof op, .kind = ROUTE_GATE,
    .name = "@NAME@", /* as the plugin: specifications write @NAME@(scores); other ops of it are @NAME@.other(x) */
    .doc = "softmax of scores / temperature: weights that are positive and sum to 1\n"
           "A low temperature makes them nearly one-hot, and the gradient small.",
    .inputs = inputs, .params = params, .n_inputs = 1, .n_params = 1,
    .input_size = sizeof(RouteInput), .param_size = sizeof(RouteParam),
    .extension = op_extension};

static const RouteOp *const ops[] = {&op, NULL};
static const RoutePlugin plugin = {.size = sizeof plugin, .abi = ROUTE_ABI_INIT, .name = "@NAME@", .version = "0.1.0",
                                   .license = "unspecified", .ops = ops};

/* [load] The one exported symbol. */
const RoutePlugin *ROUTE_PLUGIN_ENTRY(void) { return &plugin; }
