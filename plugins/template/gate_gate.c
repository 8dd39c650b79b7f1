/* @NAME@.c -- a gate for routec, written as functions of rows.
 *   @NAME@(scores, temperature) = for each row, exp(scores / temperature), divided by its sum over units
 * Weights of branches that are positive and sum to 1; a low temperature makes them nearly one-hot. (A formula can say this
 * too, and is then inlined; functions are for what no formula says.) */
#include <route_plugin.h>
#include <math.h>
#include <string.h>

/* The numbers that a specification gives by name. Out of range is an error with a caret, before anything runs. */
static const RouteParam params[] = {
    {.name = "temperature", .doc = "1: softmax; towards 0: the largest score takes all", .def = 1, .min = 1e-2, .max = 1e6}};

static const RouteInput inputs[] = {{.name = "scores", .doc = "one for each branch", .kind = ROUTE_REAL}};

/* The state of one use in a specification. It is made once and then only read: steps run in several threads. */
typedef struct State { float temperature; } State;

/* [bind] May allocate, from the host, which frees it; may fail, with a message for the user. */
static void *create(const RouteOp *self, const RouteHost *host, const double *values) {
  (void)self;
  State *s = host->alloc(host->ctx, sizeof *s, _Alignof(State));
  if (!s) return host->fail(host->ctx, "no memory"), NULL;
  s->temperature = (float)values[0];
  return s;
}

/* [load] Columns of the result, from the parameters and the columns of the inputs. */
static size_t units(const double *values, const size_t *cols) {
  (void)values;
  return cols[0];
}

/* [step] Stores y, row by row: a row must not know of another. Rows lie ld apart, and what lies between cols and ld is somebody
 * else's. No allocation, no lock, no static variable: rows are computed by several threads at once. Random numbers come from
 * the key alone (route_uniform), and are not drawn if key->training is 0. */
static void value(const void *state, const RouteView *in, const RouteKey *key, float *y, size_t ldy) {
  const float temperature = ((const State *)state)->temperature;
  (void)key;
  for (size_t i = 0; i < in->rows; i++) {
    const float *s = in->x + i * in->ld;
    float *w = y + i * ldy, most = s[0], sum = 0;
    for (size_t j = 1; j < in->cols; j++) most = s[j] > most ? s[j] : most;
    for (size_t j = 0; j < in->cols; j++) sum += w[j] = expf((s[j] - most) / temperature);
    for (size_t j = 0; j < in->cols; j++) w[j] /= sum;
  }
}

/* [step] dx += dy . d y / d x. Adds, never stores: other terms are there already. */
static void grad(const void *state, const RouteView *in, const RouteKey *key, const RouteView *y, const RouteView *dy,
                 float *const *dx, const size_t *ldd) {
  const float temperature = ((const State *)state)->temperature;
  (void)key;
  if (!dx[0]) return; /* not wanted */
  for (size_t i = 0; i < in->rows; i++) {
    const float *w = y->x + i * y->ld, *d = dy->x + i * dy->ld;
    float along = 0;
    for (size_t j = 0; j < in->cols; j++) along += w[j] * d[j];
    for (size_t j = 0; j < in->cols; j++) dx[0][i * ldd[0] + j] += w[j] * (d[j] - along) / temperature;
  }
}
static const RouteGate gate = {.size = sizeof gate, .units = units, .value = value, .grad = grad};

/* [load] What the op can do, by name. NULL for every name that this file does not know: later versions of routec ask more. */
static const void *op_extension(const RouteOp *self, const char *id) {
  (void)self;
  return strcmp(id, ROUTE_EXT_GATE) == 0 ? &gate : NULL;
}

static const RouteOp op = {
    .size = sizeof op, .kind = ROUTE_GATE,
    .name = "@NAME@", /* as the plugin: specifications write @NAME@(scores); other ops of it are @NAME@.other(x) */
    .doc = "softmax of scores / temperature: weights that are positive and sum to 1\n"
           "A low temperature makes them nearly one-hot, and the gradient small.",
    .inputs = inputs, .params = params, .n_inputs = 1, .n_params = 1,
    .input_size = sizeof(RouteInput), .param_size = sizeof(RouteParam),
    .create = create, .extension = op_extension};

static const RouteOp *const ops[] = {&op, NULL};
static const RoutePlugin plugin = {.size = sizeof plugin, .abi = ROUTE_ABI_INIT, .name = "@NAME@", .version = "0.1.0",
                                   .license = "unspecified", .ops = ops};

/* [load] The one exported symbol. */
const RoutePlugin *ROUTE_PLUGIN_ENTRY(void) { return &plugin; }
