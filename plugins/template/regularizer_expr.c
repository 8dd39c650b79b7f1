/* @NAME@.c -- a regularizer for routec, written as a formula.
 *   @NAME@(x, knee) = mean over rows of the sum over units of sqrt(x^2 + knee^2) - knee
 * Like the sum of |x| far from 0, and smooth at 0: small values are not pushed harder than large ones. */
#include <route_plugin.h>
#include <string.h>

/* The numbers that a specification gives by name. Out of range is an error with a caret, before anything runs. */
static const RouteParam params[] = {
    {.name = "knee", .doc = "below this |x| the penalty is quadratic", .def = 0.1, .min = 1e-6, .max = 1e6}};

static const RouteInput inputs[] = {{.name = "x", .doc = "activations or parameters", .kind = ROUTE_REAL}};

/* Postfix: each line pushes, or replaces what is on top. Values stretch as needed: x has rows and units, knee is a number.
 * The compiler differentiates the formula, masks it by the routes, and inlines it: there is no gradient to write, and no call
 * is left in the program. */
static const RouteInsn code[] = {
    {ROUTE_X_INPUT, 0, 0}, {ROUTE_X_INPUT, 0, 0}, {ROUTE_X_MUL, 0, 0}, /* x * x */
    {ROUTE_X_PARAM, 0, 0}, {ROUTE_X_PARAM, 0, 0}, {ROUTE_X_MUL, 0, 0}, /* knee * knee */
    {ROUTE_X_ADD, 0, 0},   {ROUTE_X_SQRT, 0, 0},                       /* sqrt(.. + ..) */
    {ROUTE_X_PARAM, 0, 0}, {ROUTE_X_SUB, 0, 0},                        /* - knee */
    {ROUTE_X_SUM_UNITS, 0, 0}, {ROUTE_X_MEAN_ROWS, 0, 0},              /* one number, as a regularizer must be */
    {ROUTE_X_END, 0, 0}};
static const RouteExpr expr = {.size = sizeof expr, .code = code};

/* [load] What the op can do, by name. NULL for every name that this file does not know: later versions of routec ask more. */
static const void *op_extension(const RouteOp *self, const char *id) {
  (void)self;
  return strcmp(id, ROUTE_EXT_EXPR) == 0 ? &expr : NULL;
}

static const RouteOp op = {
    .size = sizeof op, .kind = ROUTE_REGULARIZER,
    .name = "@NAME@", /* as the plugin: specifications write @NAME@(x); other ops of it are @NAME@.other(x) */
    .doc = "smooth absolute value: sum over units of sqrt(x^2 + knee^2) - knee, averaged over rows\n"
           "Use it where the sum of absolute values makes the gradient jump at 0.",
    .inputs = inputs, .params = params, .n_inputs = 1, .n_params = 1,
    .input_size = sizeof(RouteInput), .param_size = sizeof(RouteParam),
    .extension = op_extension};

static const RouteOp *const ops[] = {&op, NULL};
static const RoutePlugin plugin = {.size = sizeof plugin, .abi = ROUTE_ABI_INIT, .name = "@NAME@", .version = "0.1.0",
                                   .license = "unspecified", .ops = ops};

/* [load] The one exported symbol. */
const RoutePlugin *ROUTE_PLUGIN_ENTRY(void) { return &plugin; }
