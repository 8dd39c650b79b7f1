/* SPDX-License-Identifier: Apache-2.0
 * elastic_net.c -- built-in plugin: absolute values and squares as one penalty. */
#include "route_plugin.h"
#include <math.h>
#include <string.h>

static const RouteInput INPUTS[] = {{"x", "what is made sparse and small", ROUTE_REAL, 0}};
enum { LAMBDA, ALPHA, N_PARAMS };
static const RouteParam PARAMS[] = {
    {"lambda", "strength", 1, 0, INFINITY, 0, 0},
    {"alpha", "share of the absolute values; 1 is l1, 0 is half of l2", 0.5, 0, 1, 0, 0}};

/* lambda * (reduction of alpha |x| + (1 - alpha) / 2 x^2) */
#define CODE(ROWS)                                                                                                   \
  {                                                                                                                  \
    ROUTE_ARG(PARAM, LAMBDA), ROUTE_ARG(INPUT, 0), ROUTE_DO(ABS), ROUTE_ARG(PARAM, ALPHA), ROUTE_DO(MUL),            \
        ROUTE_ARG(INPUT, 0), ROUTE_ARG(INPUT, 0), ROUTE_DO(MUL), ROUTE_NUMBER(0.5), ROUTE_NUMBER(0.5),               \
        ROUTE_ARG(PARAM, ALPHA), ROUTE_DO(MUL), ROUTE_DO(SUB), ROUTE_DO(MUL), ROUTE_DO(ADD), ROUTE_DO(SUM_UNITS),    \
        ROUTE_DO(ROWS), ROUTE_DO(MUL), ROUTE_DO(END)                                                                 \
  }
static const RouteInsn MEAN[] = CODE(MEAN_ROWS);
static const RouteInsn SUM[] = CODE(SUM_ROWS);
static const RouteExpr MEAN_EXPR = {sizeof(RouteExpr), 0, MEAN}, SUM_EXPR = {sizeof(RouteExpr), 0, SUM};

typedef struct State {
  double l1, half_l2;
} State;

static void *create(const RouteOp *self, const RouteHost *host, const double *params) {
  State *s = host->alloc(host->ctx, sizeof *s, sizeof(double));
  (void)self;
  if (s) *s = (State){params[LAMBDA] * params[ALPHA], params[LAMBDA] * (1 - params[ALPHA]) / 2};
  else host->fail(host->ctx, "no memory");
  return s;
}

static double span_value(const void *state, const RouteView *x) {
  const State *s = state;
  double sum = 0;
  for (size_t r = 0; r < x->rows; r++)
    for (size_t c = 0; c < x->cols; c++) {
      const double v = x->x[r * x->ld + c];
      sum += s->l1 * fabs(v) + s->half_l2 * v * v;
    }
  return sum;
}

static void span_grad(const void *state, const RouteView *x, float scale, float *dx, size_t ldd) {
  const State *s = state;
  const float l1 = (float)(s->l1 * scale), l2 = (float)(2 * s->half_l2 * scale);
  for (size_t r = 0; r < x->rows; r++)
    for (size_t c = 0; c < x->cols; c++) {
      const float v = x->x[r * x->ld + c];
      dx[r * ldd + c] += l1 * (float)((v > 0) - (v < 0)) + l2 * v;
    }
}
static const RouteSpan SPAN = {.size = sizeof(RouteSpan), .value = span_value, .grad = span_grad};

static const void *mean_extension(const RouteOp *self, const char *id) {
  (void)self;
  return strcmp(id, ROUTE_EXT_EXPR) == 0 ? &MEAN_EXPR : NULL;
}
static const void *sum_extension(const RouteOp *self, const char *id) {
  (void)self;
  return strcmp(id, ROUTE_EXT_EXPR) == 0 ? (const void *)&SUM_EXPR : strcmp(id, ROUTE_EXT_SPAN) == 0 ? &SPAN : NULL;
}

static const RouteOp OP = {sizeof(RouteOp),
                           ROUTE_REGULARIZER,
                           "elastic_net",
                           "absolute values and squares, summed over units, mean over rows\n"
                           "Formula: lambda mean_rows sum_units (alpha |x| + (1 - alpha) / 2 x^2)\n"
                           "Gradient: lambda (alpha sign(x) + (1 - alpha) x) / rows; sign(0) = 0\n"
                           "Source: Zou and Hastie 2005; alpha as in Friedman, Hastie and Tibshirani 2010\n"
                           "Use: sparse activations where units that go together should stay together.",
                           INPUTS,
                           PARAMS,
                           1,
                           N_PARAMS,
                           sizeof(RouteInput),
                           sizeof(RouteParam),
                           NULL,
                           mean_extension};
static const RouteOp OP_SUM = {sizeof(RouteOp),
                               ROUTE_REGULARIZER,
                               "elastic_net_sum",
                               "absolute values and squares, summed over everything\n"
                               "Formula: lambda sum (alpha |x| + (1 - alpha) / 2 x^2)\n"
                               "Gradient: lambda (alpha sign(x) + (1 - alpha) x); sign(0) = 0\n"
                               "Source: Zou and Hastie 2005; alpha as in Friedman, Hastie and Tibshirani 2010\n"
                               "Use: sparse parameters where entries that go together should stay together.",
                               INPUTS,
                               PARAMS,
                               1,
                               N_PARAMS,
                               sizeof(RouteInput),
                               sizeof(RouteParam),
                               create,
                               sum_extension};
static const RouteOp *const OPS[] = {&OP, &OP_SUM, NULL};
static const RoutePlugin PLUGIN = {sizeof(RoutePlugin), ROUTE_ABI_INIT, "elastic_net", "1.0.0", "Apache-2.0", OPS};

ROUTE_EXPORT const RoutePlugin *ROUTE_PLUGIN_ENTRY(void) { return &PLUGIN; }
