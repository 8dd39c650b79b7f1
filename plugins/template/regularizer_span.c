/* @NAME@.c -- a regularizer for routec, written as functions of a tile.
 *   @NAME@(x, knee) = sum over all elements of sqrt(x^2 + knee^2) - knee
 * Like the sum of |x| far from 0, and smooth at 0. (A formula can say this too, and is then inlined; a span is for sums over
 * elements that no formula says.) */
#include <route_plugin.h>
#include <math.h>
#include <string.h>

/* The numbers that a specification gives by name. Out of range is an error with a caret, before anything runs. */
static const RouteParam params[] = {
    {.name = "knee", .doc = "below this |x| the penalty is quadratic", .def = 0.1, .min = 1e-6, .max = 1e6}};

static const RouteInput inputs[] = {{.name = "x", .doc = "activations or parameters", .kind = ROUTE_REAL}};

/* The state of one use in a specification. It is made once and then only read: steps run in several threads. */
typedef struct State { double knee; } State;

/* [bind] May allocate, from the host, which frees it; may fail, with a message for the user. */
static void *create(const RouteOp *self, const RouteHost *host, const double *values) {
  (void)self;
  State *s = host->alloc(host->ctx, sizeof *s, _Alignof(State));
  if (!s) return host->fail(host->ctx, "no memory"), NULL;
  s->knee = values[0];
  return s;
}

/* [step] This tile's share of the sum. Rows lie ld apart, and what lies between cols and ld is somebody else's. No allocation,
 * no lock, no static variable: tiles are cut anyhow and computed by several threads at once. */
static double value(const void *state, const RouteView *x) {
  const double knee = ((const State *)state)->knee;
  double sum = 0;
  for (size_t i = 0; i < x->rows; i++)
    for (size_t j = 0; j < x->cols; j++) {
      const double v = (double)x->x[i * x->ld + j];
      sum += sqrt(v * v + knee * knee) - knee;
    }
  return sum;
}

/* [step] dx += scale * derivative. Adds, never stores: other terms are there already. */
static void grad(const void *state, const RouteView *x, float scale, float *dx, size_t ldd) {
  const double knee = ((const State *)state)->knee;
  for (size_t i = 0; i < x->rows; i++)
    for (size_t j = 0; j < x->cols; j++) {
      const double v = (double)x->x[i * x->ld + j];
      dx[i * ldd + j] += scale * (float)(v / sqrt(v * v + knee * knee));
    }
}
static const RouteSpan span = {.size = sizeof span, .value = value, .grad = grad};

/* [load] What the op can do, by name. NULL for every name that this file does not know: later versions of routec ask more. */
static const void *op_extension(const RouteOp *self, const char *id) {
  (void)self;
  return strcmp(id, ROUTE_EXT_SPAN) == 0 ? &span : NULL;
}

static const RouteOp op = {
    .size = sizeof op, .kind = ROUTE_REGULARIZER,
    .name = "@NAME@", /* as the plugin: specifications write @NAME@(x); other ops of it are @NAME@.other(x) */
    .doc = "smooth absolute value: sum over elements of sqrt(x^2 + knee^2) - knee\n"
           "Use it where the sum of absolute values makes the gradient jump at 0.",
    .inputs = inputs, .params = params, .n_inputs = 1, .n_params = 1,
    .input_size = sizeof(RouteInput), .param_size = sizeof(RouteParam),
    .create = create, .extension = op_extension};

static const RouteOp *const ops[] = {&op, NULL};
static const RoutePlugin plugin = {.size = sizeof plugin, .abi = ROUTE_ABI_INIT, .name = "@NAME@", .version = "0.1.0",
                                   .license = "unspecified", .ops = ops};

/* [load] The one exported symbol. */
const RoutePlugin *ROUTE_PLUGIN_ENTRY(void) { return &plugin; }
