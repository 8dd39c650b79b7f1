/* SPDX-License-Identifier: Apache-2.0
 * plan_net.h -- small programs as the passes leave them, for tests of the planner: an MLP whose layers, loss
 * and optimizer are those of the split autoencoder. Header only. */
#ifndef PLAN_NET_H
#define PLAN_NET_H
#include "compiler.h"
#include "plan.h"
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

typedef struct Net {
  Arena *arena;
  Program *p;
  Graph *g;
  ProgParam params[64];
  ProgOrigin origins[4];
  ProgColumn columns[4];
  ProgTap taps[4];
  ProgRoute routes[4];
  ProgMetric metric;
} Net;

static inline TargetInfo net_target(int floats) {
  TargetInfo t = {
      .cpu = "test", .vector_floats = floats, .fma = floats >= 8, .l1 = 49152, .l2 = 1 << 20};
  return t;
}

static inline Net *net_create(int64_t batch) {
  Arena *a = arena_create();
  Net *n = ARENA_NEW(a, Net);
  n->arena = a, n->p = ARENA_NEW(a, Program), n->g = graph_create(a, "train");
  *n->p = (Program){.arena = a,
                    .title = "net",
                    .sources = sources_create(a),
                    .params = n->params,
                    .origins = n->origins,
                    .columns = n->columns,
                    .taps = n->taps,
                    .routes = n->routes,
                    .step = n->g};
  n->p->train = (ProgTrain){.present = true, .batch = batch, .length = {1, UNIT_STEPS}};
  return n;
}

static inline ValueId net_column(Net *n, const char *name, Dtype t, Shape s) {
  int64_t k = n->p->n_columns++;
  n->columns[k] = (ProgColumn){.name = name, .dtype = t, .shape = s};
  return ir_make(n->g, OP_COLUMN, (Span){0}, NULL, 0, &k, 1, 0, &s, t);
}

static inline ValueId net_param(Net *n, const char *path, Shape s) {
  int64_t k = n->p->n_params++;
  n->params[k] =
      (ProgParam){.path = arena_strdup(n->arena, path), .shape = s, .trainable = true, .decay = true};
  ValueId v = ir_make(n->g, OP_PARAM, (Span){0}, NULL, 0, &k, 1, 0, &s, DT_F32);
  n->g->v[v].name = n->params[k].path;
  return v;
}

/* x [rows, in] -> [rows, out], as `lower` builds linear(out). */
static inline ValueId net_linear(Net *n, const char *name, ValueId x, int64_t out) {
  Shape in = n->g->v[x].shape;
  int64_t axis[2] = {in.rank - 1, 1};
  ValueId w = net_param(n, arena_printf(n->arena, "%s.weight", name), shape_of(2, out, in.d[in.rank - 1]));
  ValueId b = net_param(n, arena_printf(n->arena, "%s.bias", name), shape_of(1, out));
  ValueId y = ir_dot(n->g, x, w, NULL, NULL, 0, &axis[0], &axis[1], 1);
  Shape s = n->g->v[y].shape;
  int64_t map[IR_MAX_RANK];
  for (int i = 0; i < s.rank; i++) map[i] = i + 1 == s.rank ? 0 : -1;
  y = ir_bin(n->g, OP_ADD, y, ir_bcast(n->g, b, &s, map));
  n->g->v[y].name = arena_printf(n->arena, "%s.out", name);
  return y;
}

static inline ValueId net_number(Net *n, double x, Dtype t) {
  Shape s = {.rank = 0};
  return ir_const(n->g, (Span){0}, x, &s, t);
}

/* Mean of |a - b| over everything. */
static inline ValueId net_mae(Net *n, ValueId a, ValueId b) {
  int64_t one = 1, zero = 0;
  double width = (double)n->g->v[a].shape.d[1];
  ValueId d = ir_un(n->g, OP_ABS, ir_bin(n->g, OP_SUB, a, b));
  ValueId per = ir_bin(n->g, OP_MUL, ir_reduce(n->g, OP_SUM, d, &one, 1), net_number(n, 1 / width, DT_F32));
  ValueId rows = ir_cast(n->g, ir_clock(n->g, CLOCK_ROWS), DT_F32);
  return ir_bin(n->g, OP_DIV, ir_reduce(n->g, OP_SUM, per, &zero, 1), rows);
}

static inline void net_origin(Net *n, const char *name, ValueId v) {
  graph_root(n->g, ROOT_LOSS, n->p->n_origins, 0, v);
  n->origins[n->p->n_origins++] = (ProgOrigin){.name = name, .value = v};
}

/* Image [rows, width] of bytes, scaled to [-1, 1]. */
static inline ValueId net_image(Net *n, int64_t width) {
  ValueId x = ir_cast(n->g, net_column(n, "image", DT_U8, shape_of(2, (int64_t)DIM_ROWS, width)), DT_F32);
  return ir_bin(n->g, OP_SUB, ir_bin(n->g, OP_MUL, x, net_number(n, 2.0 / 255, DT_F32)),
                net_number(n, 1, DT_F32));
}

/* A route on z: the lower half learns from labels below 5, the upper half from the others. */
static inline ValueId net_split(Net *n, ValueId z) {
  int64_t t = n->p->n_taps++;
  Shape s = n->g->v[z].shape, rows = shape_of(1, (int64_t)DIM_ROWS);
  ValueId tap = ir_make(n->g, OP_TAP, (Span){0}, &z, 1, &t, 1, 0, NULL, DT_NONE);
  n->taps[t] = (ProgTap){.name = "z", .value = tap};
  ValueId label = ir_cast(n->g, net_column(n, "label", DT_U8, rows), DT_I32);
  Shape none = {.rank = 0};
  ValueId low = ir_bin(n->g, OP_LT, label, ir_const(n->g, (Span){0}, 5, &none, DT_I32));
  int64_t axis = 1, over_rows[2] = {0, -1};
  ValueId unit = ir_make(n->g, OP_IOTA, (Span){0}, NULL, 0, &axis, 1, 0, &s, DT_I32);
  ValueId lower = ir_bin(n->g, OP_LT, unit, ir_const(n->g, (Span){0}, (double)(s.d[1] / 2), &none, DT_I32));
  ValueId same = ir_bin(n->g, OP_EQ, lower, ir_bcast(n->g, low, &s, over_rows));
  n->routes[n->p->n_routes++] = (ProgRoute){
      .name = "code", .tap = (uint32_t)t, .origins = ~(OriginSet)0, .factor = ir_cast(n->g, same, DT_F32)};
  return tap;
}

static inline void net_passes(Net *n, OptimKind kind, bool keep_grads) {
  for (uint32_t i = 0; i < n->p->n_params; i++) n->params[i].policy = MASKED_ZERO_GRAD;
  ProgOptim *o = &n->p->optim;
  *o = (ProgOptim){.kind = kind, .lr = net_number(n, 1e-3, DT_F64)};
  if (kind != OPTIM_SGD) {
    o->beta1 = net_number(n, 0.9, DT_F64), o->beta2 = net_number(n, 0.999, DT_F64),
    o->eps = net_number(n, 1e-8, DT_F64);
    o->weight_decay = net_number(n, 5e-5, DT_F64);
  }
  pass_autodiff(n->p);
  pass_mask(n->p);
  pass_update(n->p, keep_grads);
  n->p->step = n->g = pass_simplify(n->p->step, n->arena);
}

/* The split autoencoder in small: in -> hidden -> code -> hidden -> in, trained by Adam. */
static inline Net *net_autoencoder(int64_t batch, int64_t in, int64_t hidden, int64_t code) {
  Net *n = net_create(batch);
  ValueId x = net_image(n, in);
  ValueId h = ir_un(n->g, OP_RELU, net_linear(n, "encoder.fc1", x, hidden));
  ValueId z = net_split(n, net_linear(n, "encoder.top", h, code));
  ValueId u = ir_un(n->g, OP_RELU, net_linear(n, "decoder.fc1", z, hidden));
  net_origin(n, "reconstruction", net_mae(n, net_linear(n, "decoder.top", u, in), x));
  net_passes(n, OPTIM_ADAM, false);
  return n;
}

/* Layers of equal width below a narrow one, trained by Adam. */
static inline Net *net_stack(int64_t batch, int64_t width, int layers) {
  Net *n = net_create(batch);
  ValueId x = net_image(n, width), h = x;
  for (int i = 0; i < layers; i++) h = ir_un(n->g, OP_RELU, net_linear(n, arena_printf(n->arena, "fc%d", i), h, width));
  net_origin(n, "error", net_mae(n, net_linear(n, "head", h, 16), ir_slice(n->g, x, 1, 0, 1, 16)));
  net_passes(n, OPTIM_ADAM, false);
  return n;
}

/* The sum of the first layer's product, as an evaluation. */
static inline void net_add_eval(Net *n, int64_t in) {
  Graph *train = n->g;
  uint32_t columns = n->p->n_columns, params = n->p->n_params;
  n->g = graph_create(n->arena, "eval");
  ValueId x = net_image(n, in);
  n->p->n_columns = columns;
  int64_t k = 0, axis = 1, con[2] = {1, 1};
  ValueId w = ir_make(n->g, OP_PARAM, (Span){0}, NULL, 0, &k, 1, 0, &n->params[0].shape, DT_F32);
  ValueId y = ir_dot(n->g, x, w, NULL, NULL, 0, &con[0], &con[1], 1);
  graph_root(n->g, ROOT_METRIC, 0, 0, ir_reduce(n->g, OP_SUM, y, &axis, 1));
  n->p->n_params = params;
  ProgEval *e = ARENA_NEW(n->arena, ProgEval);
  n->metric.name = "total";
  *e = (ProgEval){.name = "sums", .part = "test", .graph = n->g, .metrics = &n->metric, .n_metrics = 1};
  n->p->evals = e, n->p->n_evals = 1;
  n->g = train;
}

static inline Plan *net_plan(Net *n, const PlanOptions *o) {
  TargetInfo t = net_target(16);
  return plan_make(n->arena, n->p, &t, o);
}

static inline uint32_t count_steps(const PlanFn *f, StepKind k) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < f->n_steps; i++) n += f->steps[i].kind == k;
  return n;
}
#endif
