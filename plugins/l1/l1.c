/* SPDX-License-Identifier: Apache-2.0
 * l1.c -- built-in plugin: absolute values as a penalty. */
#include "route_plugin.h"
#include <math.h>
#include <string.h>

static const RouteInput INPUTS[] = {{"x", "what is made sparse", ROUTE_REAL, 0}};
static const RouteParam PARAMS[] = {{"lambda", "strength", 1, 0, INFINITY, 0, 0}};

static const RouteInsn MEAN[] = {ROUTE_ARG(PARAM, 0),  ROUTE_ARG(INPUT, 0),  ROUTE_DO(ABS), ROUTE_DO(SUM_UNITS),
                                 ROUTE_DO(MEAN_ROWS), ROUTE_DO(MUL),        ROUTE_DO(END)};
static const RouteInsn SUM[] = {ROUTE_ARG(PARAM, 0), ROUTE_ARG(INPUT, 0), ROUTE_DO(ABS), ROUTE_DO(SUM_UNITS),
                                ROUTE_DO(SUM_ROWS),  ROUTE_DO(MUL),       ROUTE_DO(END)};
static const RouteExpr MEAN_EXPR = {sizeof(RouteExpr), 0, MEAN}, SUM_EXPR = {sizeof(RouteExpr), 0, SUM};

static void *create(const RouteOp *self, const RouteHost *host, const double *params) {
  double *lambda = host->alloc(host->ctx, sizeof *lambda, sizeof *lambda);
  (void)self;
  if (lambda) *lambda = params[0];
  else host->fail(host->ctx, "no memory");
  return lambda;
}

/* Eight sums side by side, as wide as a vector. */
static double span_value(const void *state, const RouteView *x) {
  double sum[8] = {0}, rest = 0;
  for (size_t r = 0; r < x->rows; r++) {
    const float *v = x->x + r * x->ld;
    size_t c = 0;
    for (; c + 8 <= x->cols; c += 8)
      for (size_t k = 0; k < 8; k++) sum[k] += fabs((double)v[c + k]);
    for (; c < x->cols; c++) rest += fabs((double)v[c]);
  }
  for (int k = 0; k < 8; k++) rest += sum[k];
  return *(const double *)state * rest;
}

static void span_grad(const void *state, const RouteView *x, float scale, float *dx, size_t ldd) {
  const float step = (float)(*(const double *)state * scale);
  for (size_t r = 0; r < x->rows; r++)
    for (size_t c = 0; c < x->cols; c++) {
      const float v = x->x[r * x->ld + c];
      dx[r * ldd + c] += step * (float)((v > 0) - (v < 0));
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
                           "l1",
                           "absolute values, summed over units, mean over rows\n"
                           "Formula: lambda mean_rows sum_units |x|\n"
                           "Gradient: lambda sign(x) / rows; sign(0) = 0\n"
                           "Source: Tibshirani 1996 (lasso)\n"
                           "Use: sparse activations. Without positions l1(x) is l1_norm(x).",
                           INPUTS,
                           PARAMS,
                           1,
                           1,
                           sizeof(RouteInput),
                           sizeof(RouteParam),
                           NULL,
                           mean_extension};
static const RouteOp OP_SUM = {sizeof(RouteOp),
                               ROUTE_REGULARIZER,
                               "l1_sum",
                               "absolute values, summed over everything\n"
                               "Formula: lambda sum |x|\n"
                               "Gradient: lambda sign(x); sign(0) = 0\n"
                               "Source: Tibshirani 1996 (lasso)\n"
                               "Use: sparse parameters. On activations it grows with the batch: l1 does not.",
                               INPUTS,
                               PARAMS,
                               1,
                               1,
                               sizeof(RouteInput),
                               sizeof(RouteParam),
                               create,
                               sum_extension};
static const RouteOp *const OPS[] = {&OP, &OP_SUM, NULL};
static const RoutePlugin PLUGIN = {sizeof(RoutePlugin), ROUTE_ABI_INIT, "l1", "1.0.0", "Apache-2.0", OPS};

ROUTE_EXPORT const RoutePlugin *ROUTE_PLUGIN_ENTRY(void) { return &PLUGIN; }
