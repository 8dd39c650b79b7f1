/* SPDX-License-Identifier: Apache-2.0
 * The optimizer under routes, against a scalar model that is written from the formulas alone: every optimizer, every policy,
 * regions that cut parameters by rows and columns, clip groups, probes. */
#include "compiler.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

enum { OUT = 3, IN = 4, W = OUT * IN, ENTRIES = W + OUT + 2, MAX_ROWS = 4, STEPS = 14 };
enum { P_WEIGHT, P_BIAS, P_PROBE, N_PARAMS };

typedef struct Case {
  OptimKind kind;
  double momentum, clip, region_clip; /* 0: none */
  bool nesterov, regions, probe;
  int whole; /* a region of all entries says `freeze`: 1 as whole parameters, 2 as lists of all units */
  MaskedPolicy policy;
} Case;

/* ---- the graph: z = x W^T + b behind a tap, loss = sum(z t); a probe q with loss sum(q x[:2]) --------------------------- */
typedef struct Rig {
  Arena *arena;
  Program *p;
  Graph *g;
  double value[N_PARAMS][W], state[N_PARAMS][4][W];
} Rig;

static const double lr = 0.05, decay = 0.1, b1 = 0.9, b2 = 0.95, eps = 1e-6;
/* [label][unit]: what a datum of this label lets through */
static const double factor[3][OUT] = {{1, 0, 0}, {0, -0.5, 0}, {0, 1e-30, 1}};
/* Labels of the rows of each step; -1 ends a batch. Some batches are of one class, some are mixed. */
static const int batches[STEPS][MAX_ROWS] = {{0, 0, 0, -1}, {0, 0, -1},   {1, 1, 1, 1}, {0, 1, 2, 0}, {2, -1},
                                             {1, -1},       {1, 0, 1, 0}, {0, -1},      {2, 2, -1},   {0, 0, 0, 0},
                                             {0, 2, -1},    {1, -1},      {1, -1},      {0, 1, 1, 2}};

static int rows_of(int step) {
  int n = 0;
  while (n < MAX_ROWS && batches[step][n] >= 0) n++;
  return n;
}
static double input(int step, int row, int i) { return sin(1.0 + 7 * step + 3 * row + i); }
static double target(int step, int row, int u) { return cos(0.5 + 5 * step + 2 * row + u); }

static ValueId scalar64(Graph *g, double x) { return x == 0 ? 0 : ir_const(g, (Span){0}, x, &(Shape){0}, DT_F64); }

static ValueId leaf(Rig *r, Op op, int64_t number, Shape shape, Dtype dtype) {
  return ir_make(r->g, op, (Span){0}, NULL, 0, &number, 1, 0, &shape, dtype);
}

static ValueId param(Rig *r, const Case *c, const char *path, Shape shape) {
  uint32_t i = r->p->n_params++;
  r->p->params[i] = (ProgParam){.path = path, .shape = shape, .trainable = true, .decay = true, .policy = c->policy};
  for (int64_t k = 0; k < shape_count(&shape, 1); k++) r->value[i][k] = 0.1 * (double)(k + 1) - 0.35 * i;
  return leaf(r, OP_PARAM, i, shape, DT_F32);
}

static ValueId factor_of_labels(Rig *r, ValueId label, const Shape *to) {
  ValueId f = 0;
  for (int k = 0; k < 3; k++) {
    Shape row = shape_of(1, OUT), rows = shape_of(1, DIM_ROWS);
    ValueId is = ir_bin(r->g, OP_EQ, label, ir_const(r->g, (Span){0}, k, &rows, DT_I32));
    ValueId weights = ir_bcast(r->g, ir_const_data(r->g, (Span){0}, factor[k], &row, DT_F32), to, (int64_t[]){-1, 0});
    f = f ? ir_where(r->g, ir_bcast(r->g, is, to, (int64_t[]){0, -1}), weights, f) : weights;
  }
  return f;
}

static ValueId sum_all(Graph *g, ValueId x) {
  int64_t axes[2] = {0, 1};
  return ir_reduce(g, OP_SUM, x, axes, (uint32_t)ir_value(g, x)->shape.rank);
}

/* Rows 0 and columns 1 and 3 of the weight differ in what they do, so that every cell is another combination:
 * `held`: row 0 and bias 0 under zero_grad; `plain`: columns 1, 3 and the whole bias without decay; `bound`: row 2, clipped. */
static void add_regions(Rig *r, const Case *c) {
  static const int64_t first[] = {0}, columns[] = {1, 3}, last[] = {2};
  static RegionPiece pieces[] = {{P_WEIGHT, 0, first, 1, 0}, {P_BIAS, 0, first, 1, 0}, {P_WEIGHT, 1, columns, 2, 0},
                                 {P_BIAS, -1, NULL, 0, 0},   {P_WEIGHT, 0, last, 1, 0}};
  ProgRegion *q = r->p->regions;
  q[0] = (ProgRegion){.name = "held", .pieces = pieces, .n_pieces = 2, .policy = MASKED_ZERO_GRAD, .decay = -1};
  q[1] = (ProgRegion){.name = "plain", .pieces = pieces + 2, .n_pieces = 2, .policy = -1, .decay = 0};
  q[2] = (ProgRegion){.name = "bound", .pieces = pieces + 4, .n_pieces = 1, .policy = -1, .decay = -1};
  q[2].clip = scalar64(r->g, c->region_clip);
  r->p->n_regions = 3;
}

static void add_whole(Rig *r, const Case *c) {
  static const int64_t units[] = {2, 0, 1};
  static RegionPiece all[] = {{P_WEIGHT, -1, NULL, 0, 0}, {P_BIAS, -1, NULL, 0, 0}},
                     listed[] = {{P_WEIGHT, 0, units, OUT, 0}, {P_BIAS, 0, units, OUT, 0}};
  r->p->regions[r->p->n_regions++] =
      (ProgRegion){.name = "all", .pieces = c->whole == 1 ? all : listed, .n_pieces = 2, .policy = MASKED_FREEZE, .decay = 1};
}

static Rig *rig_create(const Case *c) {
  Arena *a = arena_create();
  Rig *r = ARENA_NEW(a, Rig);
  Graph *g = graph_create(a, "train");
  *r = (Rig){.arena = a, .p = ARENA_NEW(a, Program), .g = g};
  *r->p = (Program){.arena = a, .step = g, .params = ARENA_NEWS(a, ProgParam, N_PARAMS), .origins = ARENA_NEWS(a, ProgOrigin, 2),
                    .taps = ARENA_NEWS(a, ProgTap, 1), .routes = ARENA_NEWS(a, ProgRoute, 1), .regions = ARENA_NEWS(a, ProgRegion, 3)};
  Shape batch = shape_of(2, DIM_ROWS, OUT), in = shape_of(2, DIM_ROWS, IN);
  ValueId w = param(r, c, "w", shape_of(2, OUT, IN)), b = param(r, c, "b", shape_of(1, OUT));
  ValueId x = leaf(r, OP_COLUMN, 0, in, DT_F32), t = leaf(r, OP_COLUMN, 1, batch, DT_F32);
  ValueId label = leaf(r, OP_COLUMN, 2, shape_of(1, DIM_ROWS), DT_I32);
  ValueId z = ir_dot(g, x, w, NULL, NULL, 0, (int64_t[]){1}, (int64_t[]){1}, 1);
  z = ir_bin(g, OP_ADD, z, ir_bcast(g, b, &batch, (int64_t[]){-1, 0}));
  z = ir_make(g, OP_TAP, (Span){0}, &z, 1, (int64_t[]){0}, 1, 0, NULL, DT_NONE);
  r->p->taps[r->p->n_taps++] = (ProgTap){.name = "z", .value = z};
  r->p->routes[r->p->n_routes++] =
      (ProgRoute){.name = "code", .primitive = ROUTE_GRADIENT, .origins = 1, .factor = factor_of_labels(r, label, &batch)};
  r->p->origins[r->p->n_origins++] = (ProgOrigin){.name = "loss", .routed = true, .value = sum_all(g, ir_bin(g, OP_MUL, z, t))};
  if (c->probe) {
    Shape two = shape_of(2, DIM_ROWS, 2);
    ValueId q = ir_bcast(g, param(r, c, "q", shape_of(1, 2)), &two, (int64_t[]){-1, 0});
    ValueId loss = sum_all(g, ir_bin(g, OP_MUL, q, ir_slice(g, x, 1, 0, 1, 2)));
    r->p->origins[r->p->n_origins++] = (ProgOrigin){.name = "probe", .routed = true, .probe = true, .value = loss};
  }
  if (c->regions) add_regions(r, c);
  if (c->whole) add_whole(r, c);
  r->p->optim = (ProgOptim){.kind = c->kind, .lr = scalar64(g, lr), .weight_decay = scalar64(g, decay), .nesterov = c->nesterov};
  r->p->optim.momentum = scalar64(g, c->momentum), r->p->optim.clip = scalar64(g, c->clip);
  if (c->kind != OPTIM_SGD) r->p->optim.beta1 = scalar64(g, b1), r->p->optim.beta2 = scalar64(g, b2), r->p->optim.eps = scalar64(g, eps);
  pass_autodiff(r->p);
  pass_mask(r->p);
  pass_update(r->p, false);
  r->p->step = pass_simplify(r->p->step, a);
  assert_null(graph_verify(r->p->step));
  return r;
}

static void rig_step(Rig *r, int step) {
  const int rows = rows_of(step);
  double x[MAX_ROWS * IN], t[MAX_ROWS * OUT], label[MAX_ROWS];
  for (int i = 0; i < rows; i++) {
    label[i] = batches[step][i];
    for (int k = 0; k < IN; k++) x[i * IN + k] = input(step, i, k);
    for (int k = 0; k < OUT; k++) t[i * OUT + k] = target(step, i, k);
  }
  const double *columns[] = {x, t, label}, *params[N_PARAMS], *states[N_PARAMS][4];
  const double *const *state_rows[N_PARAMS];
  for (int i = 0; i < N_PARAMS; i++) {
    params[i] = r->value[i], state_rows[i] = states[i];
    for (int k = 0; k < 4; k++) states[i][k] = r->state[i][k];
  }
  EvalInput in = {.rows = rows, .params = params, .states = state_rows, .columns = columns, .step = step, .total_steps = STEPS, .steps_per_epoch = 1};
  EvalResult e = graph_eval(r->p->step, r->arena, &in);
  for (uint32_t i = 0; i < r->p->step->n_roots; i++) {
    const Root *root = &r->p->step->roots[i];
    if (root->kind != ROOT_PARAM && root->kind != ROOT_STATE) continue;
    const size_t n = (size_t)shape_count(&r->p->params[root->a].shape, 1) * sizeof(double);
    double *to = root->kind == ROOT_PARAM ? r->value[root->a] : r->state[root->a][root->b];
    const Value *v = ir_value(r->p->step, root->value);
    assert_int_equal(shape_count(&v->shape, 1) * (int64_t)sizeof(double), n);
    memcpy(to, e.value[root->value], n);
  }
}

/* ---- the scalar model ----------------------------------------------------------------------------------------------------- */
typedef struct Entry { double value, m, v; int count; } Entry; /* m: momentum or first moment; count: steps that counted */
enum { GROUP_MODEL, GROUP_REGION, GROUP_PROBE };

static int param_of(int e) { return e < W ? P_WEIGHT : e < W + OUT ? P_BIAS : P_PROBE; }
static int unit_of(int e) { return e < W ? e / IN : e - W; }
static bool is_first_row(int e) { return param_of(e) != P_PROBE && unit_of(e) == 0; }
static MaskedPolicy policy_of(const Case *c, int e) { return c->regions && is_first_row(e) ? MASKED_ZERO_GRAD : c->policy; }
static bool decays(const Case *c, int e) {
  return !(c->regions && (param_of(e) == P_BIAS || (param_of(e) == P_WEIGHT && (e % IN == 1 || e % IN == 3))));
}
static int group_of(const Case *c, int e) {
  if (param_of(e) == P_PROBE) return GROUP_PROBE;
  return c->regions && c->region_clip > 0 && param_of(e) == P_WEIGHT && unit_of(e) == 2 ? GROUP_REGION : GROUP_MODEL;
}

static void gradients(int step, double *d, bool *active) {
  for (int e = 0; e < ENTRIES; e++) {
    d[e] = 0, active[e] = false;
    for (int row = 0; row < rows_of(step); row++) {
      if (param_of(e) == P_PROBE) {
        d[e] += input(step, row, e - W - OUT), active[e] = true;
        continue;
      }
      double f = factor[batches[step][row]][unit_of(e)];
      d[e] += f * target(step, row, unit_of(e)) * (e < W ? input(step, row, e % IN) : 1);
      active[e] = active[e] || f != 0;
    }
  }
}

static void clip(const Case *c, double *d) {
  const double bound[3] = {c->clip, c->region_clip, c->clip};
  double square[3] = {0};
  for (int e = 0; e < ENTRIES; e++) square[group_of(c, e)] += d[e] * d[e];
  for (int e = 0; e < ENTRIES; e++) {
    const int k = group_of(c, e);
    if (bound[k] > 0) d[e] *= fmin(1, bound[k] / (sqrt(square[k]) + 1e-6));
  }
}

static void model_step(const Case *c, Entry *entry, int step) {
  double d[ENTRIES];
  bool active[ENTRIES];
  gradients(step, d, active);
  clip(c, d);
  for (int e = 0; e < ENTRIES; e++) {
    if (param_of(e) == P_PROBE && !c->probe) continue;
    Entry was = entry[e], *now = &entry[e];
    const MaskedPolicy policy = policy_of(c, e);
    const bool moves = active[e] || policy == MASKED_ZERO_GRAD;
    if (!active[e] && policy == MASKED_FREEZE) continue;
    double g = d[e], w = was.value;
    if (decays(c, e) && c->kind == OPTIM_ADAMW) w -= lr * decay * w;
    if (decays(c, e) && c->kind != OPTIM_ADAMW && moves) g += decay * w;
    now->count++;
    if (c->kind == OPTIM_SGD) {
      now->m = c->momentum * was.m + g;
      now->value = w - lr * (c->momentum > 0 && c->nesterov ? g + c->momentum * now->m : now->m);
    } else {
      now->m = b1 * was.m + (1 - b1) * g;
      now->v = b2 * was.v + (1 - b2) * g * g;
      now->value = w - lr / (1 - pow(b1, now->count)) * now->m / (sqrt(now->v) / sqrt(1 - pow(b2, now->count)) + eps);
    }
    if (!moves) now->value = was.value;
  }
}

/* ---- the comparison ------------------------------------------------------------------------------------------------------- */
/* Numbers of the optimizer are folded in float. */
static const double tolerance = 1e-6;
static void check_case(const Case *c) {
  Rig *r = rig_create(c);
  Entry entry[ENTRIES] = {0};
  for (int e = 0; e < ENTRIES; e++) entry[e].value = r->value[param_of(e)][e < W ? e : e < W + OUT ? e - W : e - W - OUT];
  for (int step = 0; step < STEPS; step++) {
    rig_step(r, step);
    model_step(c, entry, step);
    for (int e = 0; e < ENTRIES; e++) {
      const int p = param_of(e), k = e < W ? e : e < W + OUT ? e - W : e - W - OUT;
      if (fabs(r->value[p][k] - entry[e].value) > tolerance * (1 + fabs(entry[e].value)))
        fail_msg("optimizer %d policy %d clip %g: step %d, entry %d: %.12g, not %.12g", c->kind, c->policy, c->clip, step, e,
                 r->value[p][k], entry[e].value);
      if ((c->kind != OPTIM_SGD || c->momentum > 0) && fabs(r->state[p][0][k] - entry[e].m) > tolerance)
        fail_msg("optimizer %d policy %d: step %d, entry %d: moment %.12g, not %.12g", c->kind, c->policy, step, e, r->state[p][0][k], entry[e].m);
    }
  }
  arena_destroy(r->arena);
}

static const Case optimizers[] = {{.kind = OPTIM_SGD},
                                  {.kind = OPTIM_SGD, .momentum = 0.8},
                                  {.kind = OPTIM_SGD, .momentum = 0.8, .nesterov = true},
                                  {.kind = OPTIM_ADAM},
                                  {.kind = OPTIM_ADAMW}};

static void each(bool regions, double bound, double region_bound, bool probe) {
  for (size_t o = 0; o < sizeof optimizers / sizeof *optimizers; o++)
    for (int policy = MASKED_FREEZE; policy <= MASKED_MASK_UPDATE; policy++) {
      Case c = optimizers[o];
      c.policy = (MaskedPolicy)policy, c.regions = regions, c.clip = bound, c.region_clip = region_bound, c.probe = probe;
      check_case(&c);
    }
}

static void policies_as_the_scalar_model(void **state) { (void)state, each(false, 0, 0, false); }
static void clipping_follows_masking(void **state) { (void)state, each(false, 0.7, 0, false); }
static void regions_cut_a_parameter(void **state) { (void)state, each(true, 0, 0, false); }
static void a_region_with_a_bound_is_a_group_of_its_own(void **state) {
  (void)state, each(true, 0.7, 0.3, false), each(true, 0, 0.3, true);
}
static void probes_are_a_group_of_their_own(void **state) { (void)state, each(true, 0.7, 0.3, true); }

/* With and without the probe the model's own values agree in every bit. */
static void a_probe_changes_no_bit_of_the_model(void **state) {
  (void)state;
  for (int clipped = 0; clipped < 2; clipped++) {
    Case without = {.kind = OPTIM_ADAM, .clip = clipped ? 0.7 : 0}, with = without;
    with.probe = true;
    Rig *a = rig_create(&without), *b = rig_create(&with);
    for (int step = 0; step < STEPS; step++) rig_step(a, step), rig_step(b, step);
    assert_memory_equal(a->value[P_WEIGHT], b->value[P_WEIGHT], sizeof a->value[0]);
    assert_memory_equal(a->value[P_BIAS], b->value[P_BIAS], OUT * sizeof(double));
    assert_true(b->value[P_PROBE][0] != 0.1 - 0.7);
    arena_destroy(a->arena), arena_destroy(b->arena);
  }
}

static void clip_scales_are_registered(void **state) {
  (void)state;
  Rig *r = rig_create(&(Case){.kind = OPTIM_SGD, .clip = 1, .region_clip = 1, .regions = true, .probe = true});
  assert_int_equal(r->p->n_cuts, 3); /* the model, the region, the probe */
  arena_destroy(r->arena);
  r = rig_create(&(Case){.kind = OPTIM_SGD, .regions = true});
  assert_int_equal(r->p->n_cuts, 0);
  arena_destroy(r->arena);
}

/* Regions that hold whole parameters cost no operation: the graph is that of the optimizer's own setting. */
static void whole_parameters_cost_nothing(void **state) {
  (void)state;
  Rig *plain = rig_create(&(Case){.kind = OPTIM_ADAM, .policy = MASKED_FREEZE, .clip = 1});
  for (int whole = 1; whole <= 2; whole++) {
    Rig *r = rig_create(&(Case){.kind = OPTIM_ADAM, .policy = MASKED_ZERO_GRAD, .clip = 1, .whole = whole});
    assert_true(graph_equal(plain->p->step, r->p->step));
    arena_destroy(r->arena);
  }
  arena_destroy(plain->arena);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(policies_as_the_scalar_model),
      cmocka_unit_test(clipping_follows_masking),
      cmocka_unit_test(regions_cut_a_parameter),
      cmocka_unit_test(a_region_with_a_bound_is_a_group_of_its_own),
      cmocka_unit_test(probes_are_a_group_of_their_own),
      cmocka_unit_test(a_probe_changes_no_bit_of_the_model),
      cmocka_unit_test(clip_scales_are_registered),
      cmocka_unit_test(whole_parameters_cost_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
