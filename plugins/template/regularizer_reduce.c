/* @NAME@.c -- a regularizer for routec, written as statistics over the batch.
 *   @NAME@(x, target) = sum over units of (mean over the batch of x - target)^2
 * Keeps the mean activation of each unit near a number: no unit is always on. */
#include <route_plugin.h>
#include <string.h>

/* The numbers that a specification gives by name. Out of range is an error with a caret, before anything runs. */
static const RouteParam params[] = {
    {.name = "target", .doc = "the mean that each unit should have", .def = 0, .min = -1e6, .max = 1e6}};

static const RouteInput inputs[] = {{.name = "x", .doc = "activations", .kind = ROUTE_REAL}};

/* The state of one use in a specification. It is made once and then only read: steps run in several threads. */
typedef struct State { double target; } State;

/* [bind] May allocate, from the host, which frees it; may fail, with a message for the user. */
static void *create(const RouteOp *self, const RouteHost *host, const double *values) {
  (void)self;
  State *s = host->alloc(host->ctx, sizeof *s, _Alignof(State));
  if (!s) return host->fail(host->ctx, "no memory"), NULL;
  s->target = values[0];
  return s;
}

/* The accumulator: a double for each unit, first its sum over rows, then what grad() needs. routec zeroes it. */
static size_t acc_size(const void *state, const size_t *cols, size_t max_rows) {
  (void)state, (void)max_rows;
  return cols[0] * sizeof(double);
}

/* [step] Adds a tile of rows. Rows lie ld apart, and what lies between cols and ld is somebody else's. No allocation, no lock,
 * no static variable: tiles are computed by several threads at once, each into an accumulator of its own. */
static void partial(const void *state, const RouteView *in, void *acc) {
  (void)state;
  double *sum = acc;
  for (size_t i = 0; i < in->rows; i++)
    for (size_t j = 0; j < in->cols; j++) sum[j] += (double)in->x[i * in->ld + j];
}

/* [step] acc += other */
static void merge(const void *state, const size_t *cols, void *acc, const void *other) {
  (void)state;
  double *sum = acc;
  const double *more = other;
  for (size_t j = 0; j < cols[0]; j++) sum[j] += more[j];
}

/* [step] The value; leaves 2 (mean - target) / rows for each unit, which is what grad() adds. */
static double finish(const void *state, const size_t *cols, size_t rows, void *acc) {
  double *a = acc, value = 0;
  for (size_t j = 0; j < cols[0]; j++) {
    const double off = rows ? a[j] / (double)rows - ((const State *)state)->target : 0; /* no rows: no penalty */
    value += off * off;
    a[j] = rows ? 2 * off / (double)rows : 0;
  }
  return value;
}

/* [step] dx += scale * derivative, for a tile of rows. Adds, never stores: other terms are there already. */
static void grad(const void *state, const void *acc, size_t rows, const RouteView *in, float scale, float *const *dx,
                 const size_t *ldd) {
  (void)state, (void)rows;
  const double *slope = acc;
  if (!dx[0]) return; /* not wanted */
  for (size_t i = 0; i < in->rows; i++)
    for (size_t j = 0; j < in->cols; j++) dx[0][i * ldd[0] + j] += scale * (float)slope[j];
}
static const RouteReduce reduce = {.size = sizeof reduce, .acc_size = acc_size, .partial = partial, .merge = merge,
                                   .finish = finish, .grad = grad};

/* [load] What the op can do, by name. NULL for every name that this file does not know: later versions of routec ask more. */
static const void *op_extension(const RouteOp *self, const char *id) {
  (void)self;
  return strcmp(id, ROUTE_EXT_REDUCE) == 0 ? &reduce : NULL;
}

static const RouteOp op = {
    .size = sizeof op, .kind = ROUTE_REGULARIZER,
    .name = "@NAME@", /* as the plugin: specifications write @NAME@(x); other ops of it are @NAME@.other(x) */
    .doc = "sum over units of the squared distance between the unit's mean over the batch and target\n"
           "Keeps units from being always on.",
    .inputs = inputs, .params = params, .n_inputs = 1, .n_params = 1,
    .input_size = sizeof(RouteInput), .param_size = sizeof(RouteParam),
    .create = create, .extension = op_extension};

static const RouteOp *const ops[] = {&op, NULL};
static const RoutePlugin plugin = {.size = sizeof plugin, .abi = ROUTE_ABI_INIT, .name = "@NAME@", .version = "0.1.0",
                                   .license = "unspecified", .ops = ops};

/* [load] The one exported symbol. */
const RoutePlugin *ROUTE_PLUGIN_ENTRY(void) { return &plugin; }
