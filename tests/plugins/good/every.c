/* SPDX-License-Identifier: Apache-2.0
 * every.c -- an op of each kind, with every ability; each does something that a test can see. */
#include "route_plugin.h"
#include <math.h>
#include <string.h>

typedef struct State {
  double weight, power;
} State;
static const RouteInput inputs[] = {{"x", "numbers", ROUTE_REAL, 0}, {"id", "labels", ROUTE_LABEL, 0}};
static const RouteParam params[] = {{"weight", "factor", 2, 0, 10, 0, 0},
                                    {"power", "exponent", 1, 1, 3, ROUTE_PARAM_INT, 0}};

static void *create(const RouteOp *self, const RouteHost *host, const double *values) {
  State *s = host->alloc(host->ctx, sizeof *s, sizeof(double));
  (void)self;
  if (s) s->weight = values[0], s->power = values[1];
  else host->fail(host->ctx, "no memory");
  return s;
}

/* weight * sum of |x|^power, as a formula and tile by tile */
static const RouteInsn code[] = {ROUTE_ARG(INPUT, 0), ROUTE_DO(ABS),       ROUTE_ARG(PARAM, 1),
                                 ROUTE_DO(POW),       ROUTE_DO(SUM_UNITS), ROUTE_DO(SUM_ROWS),
                                 ROUTE_ARG(PARAM, 0), ROUTE_DO(MUL),       ROUTE_DO(END)};
static const RouteExpr expr = {sizeof expr, 0, code};
static double span_value(const void *state, const RouteView *x) {
  const State *s = state;
  double sum = 0;
  for (size_t r = 0; r < x->rows; r++)
    for (size_t c = 0; c < x->cols; c++) sum += pow(fabs((double)x->x[r * x->ld + c]), s->power);
  return s->weight * sum;
}
static void span_grad(const void *state, const RouteView *x, float scale, float *dx, size_t ldd) {
  const State *s = state;
  for (size_t r = 0; r < x->rows; r++)
    for (size_t c = 0; c < x->cols; c++) {
      const double v = (double)x->x[r * x->ld + c], d = s->weight * s->power * pow(fabs(v), s->power - 1);
      dx[r * ldd + c] += scale * (float)(v > 0 ? d : v < 0 ? -d : 0);
    }
}
static const RouteSpan span = {.size = sizeof span, .value = span_value, .grad = span_grad};

/* weight * (sum of x)^2 */
static size_t acc_size(const void *state, const size_t *cols, size_t max_rows) {
  (void)state, (void)cols, (void)max_rows;
  return sizeof(double);
}
static void partial(const void *state, const RouteView *in, void *acc) {
  (void)state;
  for (size_t r = 0; r < in->rows; r++)
    for (size_t c = 0; c < in->cols; c++) *(double *)acc += (double)in->x[r * in->ld + c];
}
static void merge(const void *state, const size_t *cols, void *acc, const void *other) {
  (void)state, (void)cols;
  *(double *)acc += *(const double *)other;
}
static double finish(const void *state, const size_t *cols, size_t rows, void *acc) {
  (void)cols, (void)rows;
  return ((const State *)state)->weight * *(double *)acc * *(double *)acc;
}
static void reduce_grad(const void *state, const void *acc, size_t rows, const RouteView *in, float scale,
                        float *const *dx, const size_t *ldd) {
  (void)rows;
  for (size_t r = 0; dx[0] && r < in->rows; r++)
    for (size_t c = 0; c < in->cols; c++)
      dx[0][r * ldd[0] + c] += scale * (float)(2 * ((const State *)state)->weight * *(const double *)acc);
}
static const RouteReduce reduce = {sizeof reduce, 0, acc_size, partial, merge, finish, reduce_grad};

/* One unit: weight * the first unit, where a draw is below 1/2 and the label is not negative. */
static size_t units(const double *values, const size_t *cols) {
  (void)values, (void)cols;
  return 1;
}
static float factor(const void *state, const RouteView *in, const RouteKey *key, size_t r) {
  return route_uniform(key, r, 0, 1) < 0.5f && in[1].label[r * in[1].ld] >= 0
             ? (float)((const State *)state)->weight
             : 0;
}
static void gate_value(const void *state, const RouteView *in, const RouteKey *key, float *y, size_t ldy) {
  for (size_t r = 0; r < in[0].rows; r++) y[r * ldy] = factor(state, in, key, r) * in[0].x[r * in[0].ld];
}
static void gate_grad(const void *state, const RouteView *in, const RouteKey *key, const RouteView *y,
                      const RouteView *dy, float *const *dx, const size_t *ldd) {
  (void)y;
  for (size_t r = 0; dx[0] && r < in[0].rows; r++)
    dx[0][r * ldd[0]] += factor(state, in, key, r) * dy->x[r * dy->ld];
}
static const RouteGate gate = {sizeof gate, 0, units, gate_value, gate_grad};

/* As many units as `power` says but one: none for 1. No gradient. */
static size_t few_units(const double *values, const size_t *cols) {
  (void)cols;
  return (size_t)values[1] - 1;
}
static const RouteGate few = {sizeof few, 0, few_units, gate_value, NULL};

static double schedule_value(const void *state, const RouteClock *clock) {
  return ((const State *)state)->weight * clock->step / (clock->total_steps > 0 ? clock->total_steps : 1);
}
static const RouteSchedule schedule = {sizeof schedule, 0, schedule_value};

static const void *extension(const RouteOp *self, const char *id) {
  if (!strcmp(self->name, "every") && !strcmp(id, ROUTE_EXT_EXPR)) return &expr;
  if (!strcmp(self->name, "sum") && !strcmp(id, ROUTE_EXT_SPAN)) return &span;
  if (!strcmp(self->name, "square") && !strcmp(id, ROUTE_EXT_REDUCE)) return &reduce;
  if (!strcmp(self->name, "pick") && !strcmp(id, ROUTE_EXT_GATE)) return &gate;
  if (!strcmp(self->name, "few") && !strcmp(id, ROUTE_EXT_GATE)) return &few;
  return !strcmp(self->name, "line") && !strcmp(id, ROUTE_EXT_SCHEDULE) ? (const void *)&schedule : NULL;
}
#define OP(kind, name, n_inputs)                                                                             \
  {                                                                                                          \
    sizeof(RouteOp), kind, name, "a test", inputs, params, n_inputs, 2, sizeof(RouteInput),                  \
        sizeof(RouteParam), create, extension                                                                \
  }
static const RouteOp table[] = {OP(ROUTE_REGULARIZER, "every", 1),  OP(ROUTE_REGULARIZER, "sum", 1),
                                OP(ROUTE_REGULARIZER, "square", 1), OP(ROUTE_GATE, "pick", 2),
                                OP(ROUTE_GATE, "few", 2),           OP(ROUTE_SCHEDULE, "line", 0)};
static const RouteOp *const ops[] = {&table[0], &table[1], &table[2], &table[3], &table[4], &table[5], NULL};
static const RoutePlugin plugin = {sizeof plugin, ROUTE_ABI_INIT, "every", "1.0.0", "Apache-2.0", ops};
ROUTE_EXPORT const RoutePlugin *ROUTE_PLUGIN_ENTRY(void) { return &plugin; }
