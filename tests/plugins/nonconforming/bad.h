/* SPDX-License-Identifier: Apache-2.0
 * bad.h -- around the functions of a plugin that breaks the contract: one op `bad` with one input and one parameter, `weight`. The
 * first comment of each file is what `routec plugin check` must say: the check, a colon, a part of its message. */
#ifndef BAD_H
#define BAD_H
#include "route_plugin.h"
#include <math.h>
#include <string.h>

static const RouteParam bad_params[] = {{.name = "weight", .doc = "of the penalty", .def = 1, .min = 0, .max = 10}};
static const RouteInput bad_inputs[] = {{.name = "x", .doc = "any tensor", .kind = ROUTE_REAL}};

/* The state is one float. */
static void *bad_create(const RouteOp *self, const RouteHost *host, const double *values) {
  float *weight = host->alloc(host->ctx, sizeof *weight, _Alignof(float));
  (void)self;
  if (weight) *weight = (float)values[0];
  return weight;
}

#define BAD_PLUGIN(kind_, id, table)                                                                               \
  static const void *bad_extension(const RouteOp *self, const char *what) {                                        \
    return (void)self, strcmp(what, id) == 0 ? &table : NULL;                                                      \
  }                                                                                                                \
  static const RouteOp bad_op = {.size = sizeof bad_op, .kind = kind_, .name = "bad", .doc = "breaks the contract", \
                                 .inputs = bad_inputs, .params = bad_params, .n_inputs = 1, .n_params = 1,          \
                                 .input_size = sizeof(RouteInput), .param_size = sizeof(RouteParam),                \
                                 .create = bad_create, .extension = bad_extension};                                 \
  static const RouteOp *const bad_ops[] = {&bad_op, NULL};                                                         \
  static const RoutePlugin bad_plugin = {.size = sizeof bad_plugin, .abi = ROUTE_ABI_INIT, .name = "bad",           \
                                         .version = "1.0.0", .license = "Apache-2.0", .ops = bad_ops};              \
  const RoutePlugin *ROUTE_PLUGIN_ENTRY(void) { return &bad_plugin; }

/* weight * sum of x^2, as it should be */
static inline double good_value(const void *state, const RouteView *x) {
  double sum = 0;
  for (size_t i = 0; i < x->rows; i++)
    for (size_t j = 0; j < x->cols; j++) sum += (double)x->x[i * x->ld + j] * (double)x->x[i * x->ld + j];
  return (double)*(const float *)state * sum;
}
static inline void good_grad(const void *state, const RouteView *x, float scale, float *dx, size_t ldd) {
  for (size_t i = 0; i < x->rows; i++)
    for (size_t j = 0; j < x->cols; j++) dx[i * ldd + j] += scale * 2 * *(const float *)state * x->x[i * x->ld + j];
}
#endif
