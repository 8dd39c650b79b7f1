/* SPDX-License-Identifier: Apache-2.0
 * calls.c -- one op for each ability that is called, for the tests of calls. Each has a parameter whose effect shows, and uses
 * all that the contract promises: strides, labels, the random key, the state's memory. */
#include "route_plugin.h"
#include <math.h>
#include <string.h>

/* The state is the first parameter, in memory of the host. */
static void *keep(const RouteOp *self, const RouteHost *host, const double *params) {
  (void)self;
  if (params[0] == 13) {
    host->fail(host->ctx, "13 is unlucky");
    return NULL;
  }
  double *state = host->alloc(host->ctx, sizeof *state, 64);
  if (!state) host->fail(host->ctx, "no memory");
  else *state = params[0];
  return state;
}
static double kept(const void *state) { return *(const double *)state; }

/* ---- quartic: k / 4 sum x^4; NaN above 1e6 comes by itself ---- */
static double quartic_value(const void *state, const RouteView *v) {
  double sum = 0;
  for (size_t r = 0; r < v->rows; r++)
    for (size_t c = 0; c < v->cols; c++) {
      const double x = v->x[r * v->ld + c];
      sum += x * x * x * x;
    }
  return kept(state) * sum / 4;
}
static void quartic_grad(const void *state, const RouteView *v, float scale, float *dx, size_t ldd) {
  const float k = (float)kept(state) * scale;
  for (size_t r = 0; r < v->rows; r++)
    for (size_t c = 0; c < v->cols; c++) {
      const float x = v->x[r * v->ld + c];
      dx[r * ldd + c] += k * x * x * x;
    }
}
static const RouteSpan quartic = {.size = sizeof quartic, .value = quartic_value, .grad = quartic_grad};

/* ---- absolute: k sum |x|, as cheap as a penalty can be, with all that makes it fast ---- */
static double absolute_value(const void *state, const RouteView *v) {
  float sum = 0;
  for (size_t r = 0; r < v->rows; r++) {
    const float *x = v->x + r * v->ld;
    float part[64] = {0}; /* four vectors that do not wait for each other */
    size_t c = 0;
    for (; c + 64 <= v->cols; c += 64)
      for (size_t k = 0; k < 64; k++) part[k] += fabsf(x[c + k]);
    for (; c < v->cols; c++) part[0] += fabsf(x[c]);
    for (size_t half = 32; half; half /= 2)
      for (size_t k = 0; k < half; k++) part[k] += part[k + half];
    sum += part[0];
  }
  return kept(state) * (double)sum;
}
static void absolute_grad(const void *state, const RouteView *v, float scale, float *dx, size_t ldd) {
  const float k = (float)kept(state) * scale;
  for (size_t r = 0; r < v->rows; r++)
    for (size_t c = 0; c < v->cols; c++) {
      const float x = v->x[r * v->ld + c];
      dx[r * ldd + c] += k * (float)((x > 0) - (x < 0));
    }
}
#ifndef ADDS_ONLY
static void absolute_store(const void *state, const RouteView *v, float scale, float *dx, size_t ldd) {
  const float k = (float)kept(state) * scale;
  for (size_t r = 0; r < v->rows; r++)
    for (size_t c = 0; c < v->cols; c++) {
      const float x = v->x[r * v->ld + c];
      dx[r * ldd + c] = k * (float)((x > 0) - (x < 0));
    }
}
#else /* as a plugin of minor version 0 */
#define absolute_store NULL
#endif
static const RouteSpan absolute = {.size = sizeof absolute, .value = absolute_value, .grad = absolute_grad, .store = absolute_store};

/* ---- covary: k (mean over rows of the product of the rows' sums)^2 ---- */
typedef struct Sums { double product; } Sums;
static size_t covary_size(const void *state, const size_t *cols, size_t max_rows) {
  return (void)cols, (void)max_rows, kept(state) == 14 ? ((size_t)1 << 30) + 1 : sizeof(Sums); /* 14 asks for too much */
}
static double row_sum(const RouteView *v, size_t r) {
  double s = 0;
  for (size_t c = 0; c < v->cols; c++) s += v->x[r * v->ld + c];
  return s;
}
static void covary_partial(const void *state, const RouteView *in, void *acc) {
  (void)state;
  for (size_t r = 0; r < in[0].rows; r++) ((Sums *)acc)->product += row_sum(&in[0], r) * row_sum(&in[1], r);
}
static void covary_merge(const void *state, const size_t *cols, void *acc, const void *other) {
  (void)state, (void)cols;
  ((Sums *)acc)->product += ((const Sums *)other)->product;
}
static double covary_finish(const void *state, const size_t *cols, size_t rows, void *acc) {
  (void)cols;
  Sums *s = acc;
  if (rows) s->product /= (double)rows;
  return kept(state) * s->product * s->product;
}
static void covary_grad(const void *state, const void *acc, size_t rows, const RouteView *in, float scale, float *const *dx, const size_t *ldd) {
  const double k = 2 * kept(state) * ((const Sums *)acc)->product / (double)rows * scale;
  for (size_t i = 0; i < 2; i++)
    for (size_t r = 0; dx[i] && r < in[i].rows; r++) {
      const float d = (float)(k * row_sum(&in[1 - i], r));
      for (size_t c = 0; c < in[i].cols; c++) dx[i][r * ldd[i] + c] += d;
    }
}
static const RouteReduce covary = {sizeof covary, 0, covary_size, covary_partial, covary_merge, covary_finish, covary_grad};

/* ---- lottery: unit u is tanh(k x_u + draw in training + label / 10), inputs (x, label); u of as many as x ---- */
static size_t lottery_units(const double *params, const size_t *cols) { return (void)params, cols[0]; }
static float lottery_at(const void *state, const RouteView *in, const RouteKey *key, size_t r, size_t c) {
  const float noise = key->training ? route_uniform(key, r, (uint32_t)c, (uint32_t)in[0].cols) : 0.5f;
  return tanhf((float)kept(state) * in[0].x[r * in[0].ld + c] + noise + 0.1f * (float)in[1].label[r * in[1].ld]);
}
static void lottery_value(const void *state, const RouteView *in, const RouteKey *key, float *y, size_t ldy) {
  for (size_t r = 0; r < in[0].rows; r++)
    for (size_t c = 0; c < in[0].cols; c++) y[r * ldy + c] = lottery_at(state, in, key, r, c);
}
static void lottery_grad(const void *state, const RouteView *in, const RouteKey *key, const RouteView *y, const RouteView *dy, float *const *dx,
                         const size_t *ldd) {
  (void)key;
  for (size_t r = 0; dx[0] && r < in[0].rows; r++)
    for (size_t c = 0; c < in[0].cols; c++) {
      const float t = y->x[r * y->ld + c];
      dx[0][r * ldd[0] + c] += dy->x[r * dy->ld + c] * (1 - t * t) * (float)kept(state);
    }
}
static const RouteGate lottery = {sizeof lottery, 0, lottery_units, lottery_value, lottery_grad};

/* ---- halving: k * 2^-epochs ---- */
static double halving_value(const void *state, const RouteClock *c) { return kept(state) * exp2(-floor(c->step / c->steps_per_epoch)); }
static const RouteSchedule halving = {sizeof halving, 0, halving_value};

/* ---- tables ---- */
static const void *extension(const RouteOp *self, const char *id);
static const RouteInput x_only[] = {{"x", "values", ROUTE_REAL, 0}};
static const RouteInput x_and_y[] = {{"x", "one side", ROUTE_REAL, 0}, {"y", "other side", ROUTE_REAL, 0}};
static const RouteInput x_and_label[] = {{"x", "scores", ROUTE_REAL, 0}, {"label", "a number", ROUTE_LABEL, 0}};
static const RouteParam k_param[] = {{"k", "factor", 1, -100, 100, 0, 0}};
#define OP(kind, name, doc, inputs, n)                                                                                                     \
  { sizeof(RouteOp), kind, name, doc, inputs, k_param, n, 1, sizeof(RouteInput), sizeof(RouteParam), keep, extension }
static const RouteOp op_quartic = OP(ROUTE_REGULARIZER, "quartic", "k / 4 times the sum of fourth powers", x_only, 1);
static const RouteOp op_absolute = OP(ROUTE_REGULARIZER, "absolute", "k times the sum of magnitudes", x_only, 1);
static const RouteOp op_covary = OP(ROUTE_REGULARIZER, "covary", "k times the square of the mean product", x_and_y, 2);
static const RouteOp op_lottery = OP(ROUTE_GATE, "lottery", "squashed scores with noise", x_and_label, 2);
static const RouteOp op_halving = OP(ROUTE_SCHEDULE, "halving", "k, halved every epoch", NULL, 0);

static const void *extension(const RouteOp *self, const char *id) {
  if (self == &op_quartic && !strcmp(id, ROUTE_EXT_SPAN)) return &quartic;
  if (self == &op_absolute && !strcmp(id, ROUTE_EXT_SPAN)) return &absolute;
  if (self == &op_covary && !strcmp(id, ROUTE_EXT_REDUCE)) return &covary;
  if (self == &op_lottery && !strcmp(id, ROUTE_EXT_GATE)) return &lottery;
  if (self == &op_halving && !strcmp(id, ROUTE_EXT_SCHEDULE)) return &halving;
  return NULL;
}

static const RouteOp *const ops[] = {&op_quartic, &op_absolute, &op_covary, &op_lottery, &op_halving, NULL};
static const RoutePlugin plugin = {sizeof plugin, ROUTE_ABI_INIT, "calls", "1.0.0", "Apache-2.0", ops};
const RoutePlugin *ROUTE_PLUGIN_ENTRY(void) { return &plugin; }
