/* SPDX-License-Identifier: Apache-2.0
 * autodiff, mask, update and simplify on small graphs with hand-computed answers, through the interpreter. */
#include "compiler.h"
#include "ops.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

enum { MAX_PARAMS = 4 };

typedef struct Rig {
  Arena *arena;
  Program *p;
  Graph *g;
  ProgParam params[MAX_PARAMS];
  ProgOrigin origins[4];
  ProgTap taps[2];
  ProgRoute routes[4];
  double storage[MAX_PARAMS][16];
  double states[MAX_PARAMS][4][16];
} Rig;

static Rig *rig_create(void) {
  Arena *a = arena_create();
  Rig *r = ARENA_NEW(a, Rig);
  r->arena = a;
  r->p = ARENA_NEW(a, Program);
  r->g = graph_create(a, "train");
  *r->p = (Program){.arena = a, .params = r->params, .origins = r->origins, .taps = r->taps, .routes = r->routes, .step = r->g};
  return r;
}

static ValueId rig_param(Rig *r, const char *path, Shape shape, const double *init) {
  uint32_t i = r->p->n_params++;
  r->params[i] = (ProgParam){.path = path, .shape = shape, .trainable = true, .decay = true, .policy = MASKED_ZERO_GRAD};
  memcpy(r->storage[i], init, (size_t)shape_count(&shape, 1) * sizeof(double));
  int64_t ints[1] = {i};
  return ir_make(r->g, OP_PARAM, (Span){0}, NULL, 0, ints, 1, 0, &shape, DT_F32);
}

static ValueId rig_tap(Rig *r, ValueId x) {
  uint32_t t = r->p->n_taps++;
  int64_t ints[1] = {t};
  ValueId v = ir_make(r->g, OP_TAP, (Span){0}, &x, 1, ints, 1, 0, NULL, DT_NONE);
  r->taps[t] = (ProgTap){.name = "h", .value = v};
  return v;
}

static void rig_route(Rig *r, uint32_t tap, OriginSet origins, ValueId factor) {
  r->routes[r->p->n_routes++] = (ProgRoute){.name = "code", .tap = tap, .origins = origins, .factor = factor};
}

static void rig_origin(Rig *r, ValueId v) { r->origins[r->p->n_origins++] = (ProgOrigin){.name = "loss", .value = v}; }

static ValueId constant(Rig *r, double x) { Shape s = {.rank = 0}; return ir_const(r->g, (Span){0}, x, &s, DT_F32); }
static ValueId constant64(Rig *r, double x) { Shape s = {.rank = 0}; return ir_const(r->g, (Span){0}, x, &s, DT_F64); }
static ValueId vector(Rig *r, const double *x, int64_t n) {
  Shape s = shape_of(1, n);
  return ir_const_data(r->g, (Span){0}, x, &s, DT_F32);
}

static EvalResult evaluate(Rig *r, double step, int64_t rows, const double *const *columns) {
  const double *params[MAX_PARAMS], *const *states[MAX_PARAMS];
  static const double *state_rows[MAX_PARAMS][4];
  for (int i = 0; i < MAX_PARAMS; i++) {
    params[i] = r->storage[i];
    for (int k = 0; k < 4; k++) state_rows[i][k] = r->states[i][k];
    states[i] = state_rows[i];
  }
  EvalInput in = {.rows = rows, .params = params, .states = states, .columns = columns, .step = step, .total_steps = 10,
                  .steps_per_epoch = 1};
  assert_null(graph_verify(r->p->step));
  return graph_eval(r->p->step, r->arena, &in);
}

static const double *root(Rig *r, EvalResult e, RootKind kind, uint32_t a, uint32_t b) {
  const Graph *g = r->p->step;
  for (uint32_t i = 0; i < g->n_roots; i++)
    if (g->roots[i].kind == kind && g->roots[i].a == a && g->roots[i].b == b) return e.value[g->roots[i].value];
  return NULL;
}

static void assert_close(const double *got, const double *want, int n) {
  assert_non_null(got);
  for (int i = 0; i < n; i++) assert_true(fabs(got[i] - want[i]) <= 1e-6 * (1 + fabs(want[i])));
}

/* h = W1 x, y = W2 h, L = y^2 / 2 with W1 = [1,2], x = 1, W2 = [3,-1]; x is a parameter so that dx is a gradient. */
static Rig *hand_example(const double *mask) {
  Rig *r = rig_create();
  ValueId w1 = rig_param(r, "w1", shape_of(1, (int64_t)2), (double[]){1, 2});
  ValueId w2 = rig_param(r, "w2", shape_of(1, (int64_t)2), (double[]){3, -1});
  ValueId x = rig_param(r, "x", shape_of(0), (double[]){1});
  ValueId h = rig_tap(r, ir_bin(r->g, OP_MUL, w1, x));
  int64_t axis[1] = {0};
  ValueId y = ir_dot(r->g, w2, h, NULL, NULL, 0, axis, axis, 1);
  if (mask) rig_route(r, 0, 1, vector(r, mask, 2));
  rig_origin(r, ir_bin(r->g, OP_MUL, ir_bin(r->g, OP_MUL, y, y), constant(r, 0.5)));
  return r;
}

static void check_hand(const double *mask, const double *dw1, const double *dw2, double dx) {
  Rig *r = hand_example(mask);
  pass_autodiff(r->p);
  pass_mask(r->p);
  for (int simplified = 0; simplified < 2; simplified++) {
    EvalResult e = evaluate(r, 0, 1, NULL);
    assert_close(root(r, e, ROOT_GRAD, 0, 0), dw1, 2);
    assert_close(root(r, e, ROOT_GRAD, 1, 0), dw2, 2);
    assert_close(root(r, e, ROOT_GRAD, 2, 0), &dx, 1);
    r->p->step = pass_simplify(r->p->step, r->arena);
  }
  arena_destroy(r->arena);
}

static void hand_example_rows(void **state) {
  (void)state;
  check_hand(NULL, (double[]){3, -1}, (double[]){1, 2}, 1);
  check_hand((double[]){1, 0}, (double[]){3, 0}, (double[]){1, 2}, 3);
  check_hand((double[]){1, 0.5}, (double[]){3, -0.5}, (double[]){1, 2}, 2);
  check_hand((double[]){1, -0.75}, (double[]){3, 0.75}, (double[]){1, 2}, 4.5);
}

static uint32_t count_adjoints_at_tap(const Graph *g) {
  uint32_t n = 0;
  for (ValueId v = 1; v < g->n; v++) n += ir_value(g, v)->op == OP_ADJTAP;
  return n;
}

/* Two origins read the same h. Unrouted they travel as one; a route for one of them keeps them apart at the tap only. */
static void origins_are_merged_where_nothing_tells_them_apart(void **state) {
  (void)state;
  for (int routed = 0; routed < 2; routed++) {
    Rig *r = rig_create();
    ValueId w = rig_param(r, "w", shape_of(1, (int64_t)2), (double[]){1, 2});
    ValueId base = ir_un(r->g, OP_TANH, w);
    ValueId h = rig_tap(r, base);
    int64_t axes[1] = {0};
    rig_origin(r, ir_reduce(r->g, OP_SUM, ir_bin(r->g, OP_MUL, h, h), axes, 1));
    rig_origin(r, ir_reduce(r->g, OP_SUM, ir_un(r->g, OP_EXP, h), axes, 1));
    if (routed) rig_route(r, 0, 1, vector(r, (double[]){0, 1}, 2));
    pass_autodiff(r->p);
    assert_int_equal(count_adjoints_at_tap(r->p->step), routed ? 2 : 1);
    pass_mask(r->p);
    double t0 = tanh(1), t1 = tanh(2), s0 = 1 - t0 * t0, s1 = 1 - t1 * t1;
    double want[2] = {((routed ? 0 : 2 * t0) + exp(t0)) * s0, (2 * t1 + exp(t1)) * s1};
    assert_close(root(r, evaluate(r, 0, 1, NULL), ROOT_GRAD, 0, 0), want, 2);
    arena_destroy(r->arena);
  }
}

static void stop_cuts_the_gradient(void **state) {
  (void)state;
  Rig *r = rig_create();
  ValueId w = rig_param(r, "w", shape_of(0), (double[]){3});
  rig_origin(r, ir_bin(r->g, OP_MUL, w, ir_un(r->g, OP_STOP, w)));
  pass_autodiff(r->p);
  pass_mask(r->p);
  assert_close(root(r, evaluate(r, 0, 1, NULL), ROOT_GRAD, 0, 0), (double[]){3}, 1);
  arena_destroy(r->arena);
}

/* L = (a+b-2)^2 + (stop(a)+b-1)^2 + c (a-2)^2 by plain SGD: c = 0.2 settles at (4.5, -3); c = 0 drifts for ever. */
static void tug_of_war(void **state) {
  (void)state;
  for (int with = 0; with < 2; with++) {
    Rig *r = rig_create();
    ValueId a = rig_param(r, "a", shape_of(0), (double[]){0}), b = rig_param(r, "b", shape_of(0), (double[]){0});
    ValueId u = ir_bin(r->g, OP_SUB, ir_bin(r->g, OP_ADD, a, b), constant(r, 2));
    ValueId v = ir_bin(r->g, OP_SUB, ir_bin(r->g, OP_ADD, ir_un(r->g, OP_STOP, a), b), constant(r, 1));
    ValueId w = ir_bin(r->g, OP_SUB, a, constant(r, 2));
    rig_origin(r, ir_bin(r->g, OP_MUL, u, u));
    rig_origin(r, ir_bin(r->g, OP_MUL, v, v));
    rig_origin(r, ir_bin(r->g, OP_MUL, constant(r, with ? 0.2 : 0), ir_bin(r->g, OP_MUL, w, w)));
    r->p->optim = (ProgOptim){.kind = OPTIM_SGD, .lr = constant64(r, 0.01)};
    pass_autodiff(r->p);
    pass_mask(r->p);
    pass_update(r->p, false);
    r->p->step = pass_simplify(r->p->step, r->arena);
    double before = 0;
    for (int step = 0; step < 20000; step++) {
      EvalResult e = evaluate(r, step, 1, NULL);
      before = r->storage[0][0];
      for (uint32_t i = 0; i < 2; i++) r->storage[i][0] = root(r, e, ROOT_PARAM, i, 0)[0];
    }
    if (with) assert_close((double[]){r->storage[0][0], r->storage[1][0]}, (double[]){4.5, -3}, 2);
    else assert_true(fabs(r->storage[0][0] - before - 1.0 / 150) < 1e-6);
    arena_destroy(r->arena);
  }
}

/* One parameter of two units behind a tap; the batch holds only data of the class that is routed to unit 0. */
static Rig *homogeneous_batch(OptimKind kind, MaskedPolicy policy, bool momentum) {
  Rig *r = rig_create();
  Shape shape = shape_of(1, (int64_t)2), batch = shape_of(2, (int64_t)DIM_ROWS, (int64_t)2), rows = shape_of(1, (int64_t)DIM_ROWS);
  ValueId w = rig_param(r, "w", shape, (double[]){0.5, -0.25});
  r->params[0].policy = policy;
  int64_t map[2] = {-1, 0}, col[1] = {0}, row_map[2] = {0, -1}, axes[2] = {0, 1};
  ValueId h = rig_tap(r, ir_bcast(r->g, w, &batch, map));
  ValueId label = ir_make(r->g, OP_COLUMN, (Span){0}, NULL, 0, col, 1, 0, &rows, DT_I32);
  ValueId zero = ir_const(r->g, (Span){0}, 0, &rows, DT_I32);
  ValueId low = ir_bcast(r->g, ir_bin(r->g, OP_EQ, label, zero), &batch, row_map);
  ValueId to0 = ir_bcast(r->g, vector(r, (double[]){1, 0}, 2), &batch, map);
  ValueId to1 = ir_bcast(r->g, vector(r, (double[]){0, 1}, 2), &batch, map);
  rig_route(r, 0, 1, ir_where(r->g, low, to0, to1));
  rig_origin(r, ir_reduce(r->g, OP_SUM, ir_bin(r->g, OP_MUL, h, h), axes, 2));
  ProgOptim *o = &r->p->optim;
  *o = (ProgOptim){.kind = kind, .lr = constant64(r, 0.1), .weight_decay = constant64(r, 0.01)};
  if (momentum) o->momentum = constant64(r, 0.9);
  if (kind != OPTIM_SGD) o->beta1 = constant64(r, 0.9), o->beta2 = constant64(r, 0.999), o->eps = constant64(r, 1e-8);
  pass_autodiff(r->p);
  pass_mask(r->p);
  pass_update(r->p, false);
  r->p->step = pass_simplify(r->p->step, r->arena);
  for (int k = 0; k < 2; k++) r->states[0][k][0] = r->states[0][k][1] = 0.3; /* a history */
  if (r->params[0].n_states == 4)
    for (int e = 0; e < 2; e++) r->states[0][2][e] = 1 - pow(0.9, 5), r->states[0][3][e] = 1 - pow(0.999, 5);
  return r;
}

static void policies_of_unreached_units(void **state) {
  (void)state;
  static const struct { OptimKind kind; bool momentum; } optimizers[] = {{OPTIM_SGD, true}, {OPTIM_ADAM, false}, {OPTIM_ADAMW, false}};
  for (size_t o = 0; o < 3; o++) {
    for (MaskedPolicy policy = MASKED_FREEZE; policy <= MASKED_MASK_UPDATE; policy++) {
      Rig *r = homogeneous_batch(optimizers[o].kind, policy, optimizers[o].momentum);
      const double *columns[1] = {(double[]){0, 0, 0}};
      EvalResult e = evaluate(r, 5, 3, columns);
      const double *next = root(r, e, ROOT_PARAM, 0, 0), *m = root(r, e, ROOT_STATE, 0, 0);
      assert_true(next[0] != 0.5 && m[0] != 0.3);
      if (policy == MASKED_MASK_UPDATE) assert_true(fabs(m[1] - 0.9 * 0.3) < 1e-6); /* no decay in the moments */
      if (policy == MASKED_ZERO_GRAD) assert_true(next[1] != -0.25);
      else assert_true(next[1] == -0.25);
      if (policy == MASKED_FREEZE) {
        for (uint32_t k = 0; k < r->params[0].n_states; k++) assert_true(root(r, e, ROOT_STATE, 0, k)[1] == r->states[0][k][1]);
      } else {
        assert_true(m[1] != 0.3);
      }
      arena_destroy(r->arena);
    }
  }
}

/* Where every unit is reached in every step, freeze must be Adam exactly as zero_grad has it. */
static void own_corrections_equal_powers(void **state) {
  (void)state;
  double end[2][2];
  for (int policy = 0; policy < 2; policy++) {
    Rig *r = homogeneous_batch(OPTIM_ADAM, policy ? MASKED_ZERO_GRAD : MASKED_FREEZE, false);
    memset(r->states, 0, sizeof r->states);
    const double *columns[1] = {(double[]){0, 1, 0}};
    for (int step = 0; step < 25; step++) {
      EvalResult e = evaluate(r, step, 3, columns);
      memcpy(r->storage[0], root(r, e, ROOT_PARAM, 0, 0), 2 * sizeof(double));
      for (uint32_t k = 0; k < r->params[0].n_states; k++) memcpy(r->states[0][k], root(r, e, ROOT_STATE, 0, k), 2 * sizeof(double));
    }
    memcpy(end[policy], r->storage[0], sizeof end[policy]);
    assert_int_equal(r->params[0].n_states, policy ? 2 : 4);
    arena_destroy(r->arena);
  }
  assert_close(end[0], end[1], 2);
}

static void masked_gradient_is_zero_even_of_nan(void **state) {
  (void)state;
  Rig *r = rig_create();
  ValueId w = rig_param(r, "w", shape_of(1, (int64_t)2), (double[]){-1, 4});
  ValueId h = rig_tap(r, w);
  int64_t axes[1] = {0};
  rig_origin(r, ir_reduce(r->g, OP_SUM, ir_un(r->g, OP_SQRT, h), axes, 1)); /* sqrt(-1): NaN adjoint at unit 0 */
  rig_route(r, 0, 1, vector(r, (double[]){0, 1}, 2));
  pass_autodiff(r->p);
  pass_mask(r->p);
  const double *d = root(r, evaluate(r, 0, 1, NULL), ROOT_GRAD, 0, 0);
  assert_true(d[0] == 0.0 && !signbit(d[0]));
  assert_close(d + 1, (double[]){0.25}, 1);
  arena_destroy(r->arena);
}

static void clipping_bounds_the_norm(void **state) {
  (void)state;
  Rig *r = rig_create();
  ValueId a = rig_param(r, "a", shape_of(0), (double[]){3}), b = rig_param(r, "b", shape_of(0), (double[]){4});
  rig_origin(r, ir_bin(r->g, OP_MUL, constant(r, 0.5), ir_bin(r->g, OP_ADD, ir_bin(r->g, OP_MUL, a, a), ir_bin(r->g, OP_MUL, b, b))));
  r->p->optim = (ProgOptim){.kind = OPTIM_SGD, .lr = constant64(r, 1), .clip = constant64(r, 1)};
  pass_autodiff(r->p);
  pass_mask(r->p);
  pass_update(r->p, true);
  EvalResult e = evaluate(r, 0, 1, NULL);
  assert_close(root(r, e, ROOT_PARAM, 0, 0), (double[]){3 - 0.6}, 1);
  assert_close(root(r, e, ROOT_PARAM, 1, 0), (double[]){4 - 0.8}, 1);
  assert_non_null(root(r, e, ROOT_GRAD, 0, 0));
  arena_destroy(r->arena);
}

static void simplify_folds_merges_and_drops(void **state) {
  (void)state;
  Arena *a = arena_create();
  Graph *g = graph_create(a, "t");
  Shape s = shape_of(1, (int64_t)3), scalar = shape_of(0);
  int64_t zero[1] = {0};
  ValueId w = ir_make(g, OP_PARAM, (Span){0}, NULL, 0, zero, 1, 0, &s, DT_F32);
  ValueId one = ir_bcast_scalar(g, ir_const(g, (Span){0}, 1, &scalar, DT_F32), &s);
  ValueId x = ir_bin(g, OP_MUL, ir_un(g, OP_EXP, w), one), y = ir_un(g, OP_EXP, ir_un(g, OP_STOP, w));
  ir_un(g, OP_TANH, x); /* dead */
  ValueId blocked = ir_bin(g, OP_MASK, x, ir_const(g, (Span){0}, 0, &s, DT_F32));
  graph_root(g, ROOT_KEEP, 0, 0, ir_bin(g, OP_ADD, x, y));
  graph_root(g, ROOT_KEEP, 1, 0, blocked);
  Graph *t = pass_simplify(g, a);
  assert_null(graph_verify(t));
  assert_int_equal(t->n - 1, 4); /* param, exp, add, the constant 0 */
  const Value *sum = ir_value(t, t->roots[0].value);
  assert_true(sum->op == OP_ADD && sum->args[0] == sum->args[1]);
  assert_int_equal(ir_value(t, t->roots[1].value)->op, OP_CONST);
  arena_destroy(a);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(hand_example_rows),
      cmocka_unit_test(origins_are_merged_where_nothing_tells_them_apart),
      cmocka_unit_test(stop_cuts_the_gradient),
      cmocka_unit_test(tug_of_war),
      cmocka_unit_test(policies_of_unreached_units),
      cmocka_unit_test(own_corrections_equal_powers),
      cmocka_unit_test(masked_gradient_is_zero_even_of_nan),
      cmocka_unit_test(clipping_bounds_the_norm),
      cmocka_unit_test(simplify_folds_merges_and_drops),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
