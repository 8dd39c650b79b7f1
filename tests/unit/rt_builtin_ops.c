/* SPDX-License-Identifier: Apache-2.0
 * rt_builtin_ops.c -- every built-in regularizer and gate, in every ability that it offers: values against the
 * definition, gradients against finite differences of it, however the data are cut, with NaN, with one row and with
 * none. */
#include "builtin_plugins.h"
#include "builtin_reference.h"
#include "formula_eval.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

enum { MAX_ROWS = 64, MAX_N = MAX_ROWS * REF_UNITS, PAD = 3 };

typedef struct OpCase {
  const char *name;
  RefRegularizer *regularizer;
  RefGate *gate;
  double params[4];
  bool weights;  /* the input is not negative, as a gate's weights are */
  bool nan_free; /* a NaN in the input does not matter */
} OpCase;

static const OpCase cases[] = {
    {.name = "l1", .regularizer = ref_l1, .params = {0.7}},
    {.name = "l1_sum", .regularizer = ref_l1_sum, .params = {0.7}},
    {.name = "l2", .regularizer = ref_l2, .params = {0.7}},
    {.name = "l2_sum", .regularizer = ref_l2_sum, .params = {0.7}},
    {.name = "elastic_net", .regularizer = ref_elastic_net, .params = {0.7, 0.3}},
    {.name = "elastic_net_sum", .regularizer = ref_elastic_net_sum, .params = {0.7, 0.3}},
    {.name = "group_lasso", .regularizer = ref_group_lasso, .params = {0.7}},
    {.name = "group_lasso_sum", .regularizer = ref_group_lasso_sum, .params = {0.7}},
    {.name = "group_lasso_units", .regularizer = ref_group_lasso_units, .params = {0.7}},
    {.name = "correlation_penalty", .regularizer = ref_correlation_penalty, .params = {0.7}},
    {.name = "orthogonality", .regularizer = ref_orthogonality, .params = {0.7, 0}},
    {.name = "orthogonality", .regularizer = ref_orthogonality, .params = {0.7, 1}},
    {.name = "orthogonality_between", .regularizer = ref_orthogonality_between, .params = {0.7}},
    {.name = "hsic", .regularizer = ref_hsic, .params = {0.7, 0.8, 1.5}},
    {.name = "activation_entropy", .regularizer = ref_activation_entropy, .params = {0.7}},
    {.name = "attention_entropy", .regularizer = ref_attention_entropy, .params = {0.7}, .weights = true},
    {.name = "topk_sparsity", .regularizer = ref_topk_sparsity, .params = {0.7, 2}},
    {.name = "load_balance", .regularizer = ref_load_balance, .params = {0.7}, .weights = true},
    {.name = "importance_balance", .regularizer = ref_importance_balance, .params = {0.7}, .weights = true},
    {.name = "constant_gate", .gate = ref_constant_gate, .params = {0.25}, .nan_free = true},
    {.name = "uniform_gate", .gate = ref_uniform_gate, .nan_free = true},
    {.name = "sigmoid_gate", .gate = ref_sigmoid_gate, .params = {0.5}},
    {.name = "softmax_gate", .gate = ref_softmax_gate, .params = {0.5}},
    {.name = "straight_gate", .gate = ref_straight_gate, .params = {0.5}},
    {.name = "gumbel_gate", .gate = ref_gumbel_gate, .params = {0.5, 0}},
    {.name = "gumbel_gate", .gate = ref_gumbel_gate, .params = {0.5, 1}},
    {.name = "topk_gate", .gate = ref_topk_gate, .params = {2, 0, 0, 0.5}},
    {.name = "topk_gate", .gate = ref_topk_gate, .params = {2, 0, 1, 0.5}},
    {.name = "topk_gate", .gate = ref_topk_gate, .params = {3, 1, 0, 0.5}},
    {.name = "topk_gate", .gate = ref_topk_gate, .params = {3, 1, 1, 0.5}},
    {.name = "threshold_gate", .gate = ref_threshold_gate, .params = {0.1, 0, 0.5}},
    {.name = "threshold_gate", .gate = ref_threshold_gate, .params = {0.1, 1, 0.5}},
    {.name = "hash_gate", .gate = ref_hash_gate, .params = {5, 7}},
    {.name = "label_gate", .gate = ref_label_gate, .params = {4, 3}}};
enum { N_CASES = sizeof cases / sizeof *cases };

/* ---- data ---- */
static uint64_t draw_state;
static double draw(void) {
  draw_state = draw_state * 6364136223846793005u + 1442695040888963407u;
  return (double)(draw_state >> 33) / 2147483648.0;
}

/* Inputs as routec would hand them over (floats, rows apart), and the same in double. */
typedef struct Data {
  float x[2][MAX_ROWS * (REF_UNITS + PAD)];
  double wide[2][MAX_N], uniform[MAX_N];
  int32_t label[MAX_ROWS], datum[MAX_ROWS], position[MAX_ROWS];
  size_t rows, cols[2];
  const OpCase *c;
  const RouteOp *op;
  void *state;
} Data;
static Data data;

static bool one_row(const Data *d, uint32_t input) { return input == 1 && d->c->gate == ref_threshold_gate; }
static size_t rows_of(const Data *d, uint32_t input) { return one_row(d, input) ? 1 : d->rows; }
static bool has_label(const Data *d) { return d->op->inputs[0].kind == ROUTE_LABEL; }

static void data_put(Data *d, uint32_t input, size_t r, size_t u, double v) {
  d->x[input][r * (d->cols[input] + PAD) + u] = (float)v;
  d->wide[input][r * d->cols[input] + u] = (double)(float)v;
}

static void *test_alloc(void *ctx, size_t n, size_t align) {
  (void)ctx, (void)align;
  return test_calloc(1, n);
}
static void test_fail(void *ctx, const char *msg) {
  (void)ctx;
  fail_msg("%s", msg);
}
static const RouteHost host = {sizeof(RouteHost), NULL, test_fail, test_alloc, NULL};

static void data_begin(Data *d, const OpCase *c, size_t rows, size_t cols) {
  const RoutePlugin *plugin;
  d->c = c, d->op = plugin_builtin_op(c->name, &plugin), d->rows = rows;
  assert_non_null(d->op);
  const bool together = c->gate == ref_threshold_gate; /* the direction is as wide as the code */
  d->cols[0] = cols, d->cols[1] = together ? cols : cols + 2;
  d->state = d->op->create ? d->op->create(d->op, &host, c->params) : NULL;
  for (uint32_t i = 0; i < 2; i++) {
    for (size_t k = 0; k < MAX_ROWS * (REF_UNITS + PAD); k++) d->x[i][k] = NAN; /* nobody reads between the rows */
    for (size_t r = 0; r < MAX_ROWS; r++)
      for (size_t u = 0; u < d->cols[i]; u++) {
        const double v = c->weights ? 0.05 + draw() : 2 * draw() - 1;
        if (r < rows || i == 1) data_put(d, i, r, u, v);
      }
  }
  for (size_t k = 0; k < MAX_N; k++) d->uniform[k] = floor(draw() * 16777216) / 16777216;
  for (size_t r = 0; r < MAX_ROWS; r++)
    d->label[r] = (int32_t)(draw() * 20) - 3, d->datum[r] = (int32_t)r * 7, d->position[r] = 0;
}
static void data_end(Data *d) {
  if (d->state) test_free(d->state);
}

static RefArgs ref_args(const Data *d) {
  return (RefArgs){
      {d->wide[0], d->wide[1]}, d->label, d->rows, {d->cols[0], d->cols[1]}, d->c->params, d->uniform, true};
}
static size_t n_units(const Data *d) {
  if (!d->c->gate) return 1;
  const RouteGate *g = d->op->extension(d->op, ROUTE_EXT_GATE);
  if (g) return g->units(d->c->params, d->cols);
  return d->c->gate == ref_constant_gate || d->c->gate == ref_threshold_gate ? 1 : d->cols[0];
}

/* Everything that the definition says, in y [rows, units] for gates. `soft`: what the gradient is taken of. */
static double reference(const Data *d, bool soft, double *y) {
  const RefArgs a = ref_args(d);
  if (d->c->regularizer) return y[0] = d->c->regularizer(&a);
  for (size_t r = 0; r < d->rows; r++) d->c->gate(&a, r, soft, y + r * n_units(d));
  return 0;
}

static void assert_close(const Data *d, const char *what, double got, double want, double bound) {
  if (fabs(got - want) <= bound * fmax(1, fabs(want))) return;
  fail_msg("%s (%g, %g, %g, %g), %zu rows, %zu units, %s: %.9g, not %.9g", d->op->name, d->c->params[0],
           d->c->params[1], d->c->params[2], d->c->params[3], d->rows, d->cols[0], what, got, want);
}

/* ---- abilities, each run over tiles of rows ---- */
static RouteView view(const Data *d, uint32_t input, size_t first, size_t rows) {
  const RouteView v = {
      .size = sizeof v, .rows = one_row(d, input) ? 1 : rows, .cols = d->cols[input], .ld = d->cols[input] + PAD};
  RouteView w = v;
  if (d->op->inputs[input].kind == ROUTE_LABEL) w.label = d->label + first, w.cols = 1, w.ld = 1;
  else w.x = d->x[input] + (one_row(d, input) ? 0 : first * v.ld);
  return w;
}

typedef struct Grads {
  float dx[2][MAX_ROWS * (REF_UNITS + PAD)];
} Grads;
static Grads grads;
static const float GUARD = -7.5f;
/* What lies in dx before: 1, and the guard between the rows. */
static void grads_begin(const Data *d, Grads *g) {
  for (uint32_t i = 0; i < 2; i++)
    for (size_t k = 0; k < MAX_ROWS * (REF_UNITS + PAD); k++) {
      const size_t ld = d->cols[i] + PAD;
      g->dx[i][k] = k / ld < rows_of(d, i) && k % ld < d->cols[i] ? 1 : GUARD;
    }
}
static double grad_at(const Data *d, const Grads *g, uint32_t i, size_t r, size_t u) {
  return (double)g->dx[i][r * (d->cols[i] + PAD) + u] - 1;
}
static void grads_guarded(const Data *d, const Grads *g) {
  for (uint32_t i = 0; i < 2; i++)
    for (size_t k = 0; k < MAX_ROWS * (REF_UNITS + PAD); k++) {
      const size_t ld = d->cols[i] + PAD;
      if (k / ld >= rows_of(d, i) || k % ld >= d->cols[i]) assert_true(g->dx[i][k] == GUARD);
    }
}

static double span_run(const Data *d, const RouteSpan *s, size_t tile, float scale, Grads *g) {
  double sum = 0;
  for (size_t first = 0; first < d->rows; first += tile) {
    const RouteView x = view(d, 0, first, d->rows - first < tile ? d->rows - first : tile);
    sum += s->value(d->state, &x);
    if (g) s->grad(d->state, &x, scale, g->dx[0] + first * x.ld, x.ld);
  }
  return sum;
}

static double reduce_run(const Data *d, const RouteReduce *f, size_t tile, float scale, Grads *g) {
  const size_t size = f->acc_size(d->state, d->cols, d->rows);
  void *acc = test_calloc(1, size), *other = test_calloc(1, size);
  for (size_t first = 0; first < d->rows; first += tile) {
    const size_t n = d->rows - first < tile ? d->rows - first : tile;
    const RouteView in[2] = {view(d, 0, first, n), d->op->n_inputs > 1 ? view(d, 1, first, n) : (RouteView){0}};
    memset(other, 0, size);
    f->partial(d->state, in, other);
    f->merge(d->state, d->cols, acc, other);
  }
  const double value = f->finish(d->state, d->cols, d->rows, acc);
  for (size_t first = 0; g && first < d->rows; first += tile) {
    const size_t n = d->rows - first < tile ? d->rows - first : tile, ld[2] = {d->cols[0] + PAD, d->cols[1] + PAD};
    const RouteView in[2] = {view(d, 0, first, n), d->op->n_inputs > 1 ? view(d, 1, first, n) : (RouteView){0}};
    float *const dx[2] = {g->dx[0] + first * ld[0], d->op->n_inputs > 1 ? g->dx[1] + first * ld[1] : NULL};
    f->grad(d->state, acc, d->rows, in, scale, dx, ld);
  }
  test_free(acc), test_free(other);
  return value;
}

static float gate_y[MAX_ROWS * (REF_UNITS + PAD)];
/* y, and dx for the weights' adjoint dy [rows, units]. */
static void gate_run(const Data *d, const RouteGate *f, size_t tile, const float *dy, Grads *g) {
  const size_t units = n_units(d), ldy = units + PAD;
  for (size_t k = 0; k < MAX_ROWS * (REF_UNITS + PAD); k++) gate_y[k] = GUARD;
  for (size_t first = 0; first < d->rows; first += tile) {
    const size_t n = d->rows - first < tile ? d->rows - first : tile, ld[2] = {d->cols[0] + PAD, d->cols[1] + PAD};
    const RouteKey key = {sizeof key, 1, 5, 6, 7, d->datum + first, d->position + first};
    const RouteView in[2] = {view(d, 0, first, n), d->op->n_inputs > 1 ? view(d, 1, first, n) : (RouteView){0}};
    f->value(d->state, in, &key, gate_y + first * ldy, ldy);
    if (!g || !f->grad || has_label(d)) continue;
    const RouteView y = {.size = sizeof y, .x = gate_y + first * ldy, .rows = n, .cols = units, .ld = ldy};
    const RouteView v = {.size = sizeof v, .x = dy + first * units, .rows = n, .cols = units, .ld = units};
    float *const dx[2] = {g->dx[0] + first * ld[0], NULL};
    f->grad(d->state, in, &key, &y, &v, dx, ld);
  }
  for (size_t k = 0; k < MAX_ROWS * (REF_UNITS + PAD); k++)
    if (k / ldy >= d->rows || k % ldy >= units) assert_true(gate_y[k] == GUARD);
}

static FVal formula_run(const Data *d, const RouteExpr *x, const double *direction, uint32_t input) {
  FormulaArgs a = {.x = {d->wide[0], d->wide[1]},
                   .cols = {d->cols[0], d->cols[1]},
                   .rows = d->rows,
                   .params = d->c->params,
                   .one_row = {false, one_row(d, 1)},
                   .uniform = d->uniform,
                   .training = true};
  if (direction) a.dx[input] = direction;
  return formula_eval(x, &a);
}

/* ---- the tests ---- */
static const size_t shapes[][2] = {{1, 1}, {1, 5}, {7, 1}, {13, 6}, {40, 9}};
typedef void Check(Data *d);
static void every_case(Check *check) {
  for (size_t k = 0; k < N_CASES; k++)
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
      draw_state = k * 977 + s;
      data_begin(&data, &cases[k], shapes[s][0], shapes[s][1]);
      check(&data);
      data_end(&data);
    }
}

static double want[MAX_N], other[MAX_N];

static void check_values(Data *d) {
  const RouteExpr *x = d->op->extension(d->op, ROUTE_EXT_EXPR);
  const RouteSpan *s = d->op->extension(d->op, ROUTE_EXT_SPAN);
  const RouteReduce *f = d->op->extension(d->op, ROUTE_EXT_REDUCE);
  const RouteGate *g = d->op->extension(d->op, ROUTE_EXT_GATE);
  const size_t units = n_units(d), tiles[] = {1, 3, 16, MAX_ROWS};
  assert_true(x || s || f || g);
  for (int zeros = 0; zeros < 2; zeros++) {
    if (zeros) /* ties, zeros, a row of zeros */
      for (uint32_t i = 0; i < d->op->n_inputs && !has_label(d); i++)
        for (size_t r = 0; r < rows_of(d, i); r++)
          for (size_t u = 0; u < d->cols[i]; u++)
            data_put(d, i, r, u, r == 0 && d->rows > 1 && !d->c->weights ? 0 : floor(draw() * 3) / 2);
    if (zeros && !strcmp(d->op->name, "importance_balance")) data_put(d, 0, 0, 0, 1); /* 0 / 0 else */
    reference(d, false, want);
    if (x) {
      const FVal y = formula_run(d, x, NULL, 0);
      assert_int_equal(y.units, d->c->gate && units > 1 ? units
                                                        : d->c->gate && strcmp(d->op->name, "constant_gate") &&
                                                              strcmp(d->op->name, "threshold_gate"));
      for (size_t k = 0; k < fval_n(&y); k++) assert_close(d, "formula", y.v[k], want[k], 1e-9);
    }
    for (size_t t = 0; t < sizeof tiles / sizeof *tiles; t++) {
      if (s) assert_close(d, "span", span_run(d, s, tiles[t], 1, NULL), want[0], 1e-9);
      if (f) assert_close(d, "reduce", reduce_run(d, f, tiles[t], 1, NULL), want[0], 1e-9);
      if (g) gate_run(d, g, tiles[t], NULL, NULL);
      for (size_t k = 0; g && k < d->rows * units; k++)
        assert_close(d, "gate", gate_y[k / units * (units + PAD) + k % units], want[k], 3e-7);
    }
  }
}
static void test_values(void **state) {
  (void)state;
  every_case(check_values);
}

/* Finite difference of sum(y dy) of the definition by one entry. */
static double difference(Data *d, uint32_t i, size_t r, size_t u, const float *dy) {
  const size_t n = d->c->gate ? d->rows * n_units(d) : 1, at = r * d->cols[i] + u;
  const double h = 1e-6, was = d->wide[i][at];
  double sum = 0;
  d->wide[i][at] = was + h, reference(d, true, want);
  d->wide[i][at] = was - h, reference(d, true, other);
  d->wide[i][at] = was;
  for (size_t k = 0; k < n; k++) sum += (want[k] - other[k]) / (2 * h) * (d->c->gate ? (double)dy[k] : 1);
  return sum;
}

static double formula_slope(Data *d, const RouteExpr *x, uint32_t i, size_t r, size_t u, const float *dy) {
  static double direction[MAX_N];
  direction[r * d->cols[i] + u] = 1;
  const FVal y = formula_run(d, x, direction, i);
  direction[r * d->cols[i] + u] = 0;
  double sum = 0;
  for (size_t k = 0; k < fval_n(&y); k++) sum += y.d[k] * (d->c->gate ? (double)dy[k] : 1);
  return sum;
}

static void check_gradients(Data *d) {
  const RouteExpr *x = d->op->extension(d->op, ROUTE_EXT_EXPR);
  const RouteSpan *s = d->op->extension(d->op, ROUTE_EXT_SPAN);
  const RouteReduce *f = d->op->extension(d->op, ROUTE_EXT_REDUCE);
  const RouteGate *g = d->op->extension(d->op, ROUTE_EXT_GATE);
  static float dy[MAX_N];
  if (has_label(d)) return;
  /* near ties the finite difference is of another branch */
  if (d->rows == 1 && !strcmp(d->op->name, "correlation_penalty")) return; /* no variance: test_dead_units */
  for (size_t k = 0; k < MAX_N; k++) dy[k] = (float)(2 * draw() - 1);
  Grads *all = &grads;
  for (size_t tile = 3; tile <= MAX_ROWS; tile += MAX_ROWS - 3) {
    grads_begin(d, all);
    if (s) span_run(d, s, tile, 1, all);
    if (f) reduce_run(d, f, tile, 1, all);
    if (g) gate_run(d, g, tile, dy, all);
    grads_guarded(d, all);
    for (uint32_t i = 0; i < d->op->n_inputs; i++)
      for (size_t r = 0; r < rows_of(d, i); r++)
        for (size_t u = 0; u < d->cols[i]; u++) {
          const double slope = difference(d, i, r, u, dy);
          if (s || f || g) assert_close(d, "gradient", grad_at(d, all, i, r, u), slope, 2e-6);
          if (x && tile == 3)
            assert_close(d, "derivative of the formula", formula_slope(d, x, i, r, u, dy), slope, 2e-6);
        }
  }
}
static void test_gradients(void **state) {
  (void)state;
  every_case(check_gradients);
}

/* The gradient is proportional to `scale`, and a gradient that is not wanted is not written. */
static void test_scale_and_unwanted(void **state) {
  (void)state;
  static Grads one, two;
  for (size_t k = 0; k < N_CASES; k++) {
    data_begin(&data, &cases[k], 13, 6);
    const RouteSpan *s = data.op->extension(data.op, ROUTE_EXT_SPAN);
    const RouteReduce *f = data.op->extension(data.op, ROUTE_EXT_REDUCE);
    grads_begin(&data, &one), grads_begin(&data, &two);
    if (s) span_run(&data, s, 4, 1, &one), span_run(&data, s, 4, -2, &two);
    if (f) reduce_run(&data, f, 4, 1, &one), reduce_run(&data, f, 4, -2, &two);
    for (uint32_t i = 0; i < data.op->n_inputs && (s || f); i++)
      for (size_t r = 0; r < data.rows; r++)
        for (size_t u = 0; u < data.cols[i]; u++)
          assert_close(&data, "scale", grad_at(&data, &two, i, r, u), -2 * grad_at(&data, &one, i, r, u), 2e-6);
    if (f) {
      void *acc = test_calloc(1, f->acc_size(data.state, data.cols, data.rows));
      const RouteView in[2] = {view(&data, 0, 0, data.rows),
                               data.op->n_inputs > 1 ? view(&data, 1, 0, data.rows) : (RouteView){0}};
      const size_t ld[2] = {data.cols[0] + PAD, data.cols[1] + PAD};
      f->partial(data.state, in, acc), f->finish(data.state, data.cols, data.rows, acc);
      for (uint32_t wanted = 0; wanted < data.op->n_inputs; wanted++) { /* the same bits whatever else is wanted */
        grads_begin(&data, &one), grads_begin(&data, &two);
        float *const dx[2] = {wanted == 0 ? one.dx[0] : NULL, wanted == 1 ? one.dx[1] : NULL};
        float *const both[2] = {two.dx[0], data.op->n_inputs > 1 ? two.dx[1] : NULL};
        f->grad(data.state, acc, data.rows, in, 1, dx, ld), f->grad(data.state, acc, data.rows, in, 1, both, ld);
        assert_memory_equal(one.dx[wanted], two.dx[wanted], sizeof one.dx[0]);
      }
      test_free(acc);
    }
    data_end(&data);
  }
}

/* One NaN: a regularizer is NaN; a gate's row is, and no other. */
static void test_nan(void **state) {
  static float dy[MAX_N];
  (void)state;
  for (size_t k = 0; k < N_CASES; k++)
    for (size_t bad = 0; bad < 6; bad++) {
      data_begin(&data, &cases[k], 13, 6);
      const RouteExpr *x = data.op->extension(data.op, ROUTE_EXT_EXPR);
      const RouteSpan *s = data.op->extension(data.op, ROUTE_EXT_SPAN);
      const RouteReduce *f = data.op->extension(data.op, ROUTE_EXT_REDUCE);
      const RouteGate *g = data.op->extension(data.op, ROUTE_EXT_GATE);
      data_put(&data, 0, 5, bad, NAN);
      const size_t units = n_units(&data);
      if (has_label(&data)) g = NULL;
      for (size_t n = 0; n < MAX_N; n++) dy[n] = 1 + (float)(n % 3);
      grads_begin(&data, &grads);
      if (g) gate_run(&data, g, 4, dy, &grads);
      for (size_t n = 0; g && g->grad && n < 13 * 6; n++) /* it is told to who made it, too */
        assert_int_equal(isnan(grad_at(&data, &grads, 0, n / 6, n % 6)), n / 6 == 5);
      const FVal y = x ? formula_run(&data, x, NULL, 0) : (FVal){0};
      if (s) assert_true(isnan(span_run(&data, s, 4, 1, NULL)));
      if (f) assert_true(isnan(reduce_run(&data, f, 4, 1, NULL)));
      if (x && !data.c->gate) assert_true(isnan(y.v[0]));
      const bool alone = data.c->gate == ref_sigmoid_gate; /* each score on its own */
      for (size_t at = 0; data.c->gate && (x || g) && at < data.rows * units; at++) {
        const bool is = isnan(x ? y.v[at] : (double)gate_y[at / units * (units + PAD) + at % units]);
        assert_int_equal(is, !data.c->nan_free && at / units == 5 && (!alone || at % units == bad));
      }
      data_end(&data);
    }
}

/* Nothing to add up is 0, and merging nothing changes no bit. */
static void test_empty(void **state) {
  (void)state;
  for (size_t k = 0; k < N_CASES; k++) {
    data_begin(&data, &cases[k], 13, 6);
    const RouteSpan *s = data.op->extension(data.op, ROUTE_EXT_SPAN);
    const RouteReduce *f = data.op->extension(data.op, ROUTE_EXT_REDUCE);
    const RouteGate *g = data.op->extension(data.op, ROUTE_EXT_GATE);
    const RouteView in[2] = {view(&data, 0, 0, 0), data.op->n_inputs > 1 ? view(&data, 1, 0, 0) : (RouteView){0}};
    if (s) assert_true(s->value(data.state, &in[0]) == 0);
    if (f) {
      const size_t size = f->acc_size(data.state, data.cols, data.rows);
      char *acc = test_calloc(1, size), *full = test_calloc(1, size), *empty = test_calloc(1, size);
      f->partial(data.state, in, empty);
      const RouteView rows[2] = {view(&data, 0, 0, 13), data.op->n_inputs > 1 ? view(&data, 1, 0, 13) : (RouteView){0}};
      f->partial(data.state, rows, full), f->partial(data.state, rows, acc);
      f->merge(data.state, data.cols, acc, empty);
      assert_memory_equal(acc, full, size);
      assert_true(f->finish(data.state, data.cols, 0, empty) == 0);
      test_free(acc), test_free(full), test_free(empty);
    }
    if (g) data.rows = 0, gate_run(&data, g, 4, NULL, NULL);
    data_end(&data);
  }
}

/* Rows in another order: a gate's weights go with them, a regularizer stays what it is. */
static void test_rows_exchanged(void **state) {
  (void)state;
  static float before[MAX_ROWS * (REF_UNITS + PAD)];
  for (size_t k = 0; k < N_CASES; k++) {
    data_begin(&data, &cases[k], 13, 6);
    const RouteSpan *s = data.op->extension(data.op, ROUTE_EXT_SPAN);
    const RouteReduce *f = data.op->extension(data.op, ROUTE_EXT_REDUCE);
    const RouteGate *g = data.op->extension(data.op, ROUTE_EXT_GATE);
    double value[2] = {0};
    for (int turn = 0; turn < 2; turn++) {
      if (s) value[turn] = span_run(&data, s, 4, 1, NULL);
      if (f) value[turn] = reduce_run(&data, f, 4, 1, NULL);
      if (g) gate_run(&data, g, 4, NULL, NULL);
      if (turn == 1) break;
      memcpy(before, gate_y, sizeof before);
      for (size_t r = 0; r < 6; r++) {
        const int32_t label = data.label[r];
        data.label[r] = data.label[12 - r], data.label[12 - r] = label;
        for (uint32_t i = 0; i < 2; i++)
          for (size_t u = 0; u < data.cols[i]; u++) {
            const double a = data.wide[i][r * data.cols[i] + u], b = data.wide[i][(12 - r) * data.cols[i] + u];
            if (i == 0 || !one_row(&data, i)) data_put(&data, i, r, u, b), data_put(&data, i, 12 - r, u, a);
          }
      }
    }
    if (s || f) assert_close(&data, "rows exchanged", value[1], value[0], 1e-12);
    const size_t ldy = n_units(&data) + PAD;
    for (size_t r = 0; g && r < 13; r++)
      assert_memory_equal(gate_y + r * ldy, before + (12 - r) * ldy, n_units(&data) * sizeof(float));
    data_end(&data);
  }
}

/* A unit that is the same for all data has correlation 0 with everything and no gradient, whatever else there is. */
static void test_dead_units(void **state) {
  (void)state;
  const OpCase *c = cases;
  while (c->regularizer != ref_correlation_penalty) c++;
  for (size_t rows = 1; rows <= 13; rows += 12) {
    data_begin(&data, c, rows, 3);
    for (size_t r = 0; r < rows; r++) data_put(&data, 0, r, 1, 0.1), data_put(&data, 1, r, 0, -0.3);
    const RouteReduce *f = data.op->extension(data.op, ROUTE_EXT_REDUCE);
    grads_begin(&data, &grads);
    assert_close(&data, "dead units", reduce_run(&data, f, 4, 1, &grads), reference(&data, false, want), 1e-9);
    if (rows > 1) assert_true(want[0] > 0);
    for (size_t r = 0; r < rows; r++) {
      for (size_t u = 0; u < 3; u++) assert_true(isfinite(grad_at(&data, &grads, 0, r, u)));
      assert_true(grad_at(&data, &grads, 0, r, 1) == 0 && grad_at(&data, &grads, 1, r, 0) == 0);
    }
    data_end(&data);
  }
}

/* Units far from 0 and close together: what one pass over sums of squares would lose. */
static void test_correlation_far_from_zero(void **state) {
  (void)state;
  const OpCase *c = cases;
  while (c->regularizer != ref_correlation_penalty) c++;
  data_begin(&data, c, 40, 3);
  for (uint32_t i = 0; i < 2; i++)
    for (size_t r = 0; r < 40; r++)
      for (size_t u = 0; u < data.cols[i]; u++) data_put(&data, i, r, u, 4096 + floor(draw() * 8) / 1024);
  const RouteReduce *f = data.op->extension(data.op, ROUTE_EXT_REDUCE);
  assert_close(&data, "far from zero", reduce_run(&data, f, 7, 1, NULL), reference(&data, false, want), 1e-9);
  data_end(&data);
}

/* Of equal scores the first are chosen, infinite ones too; a row has exactly k. */
static void test_topk_ties(void **state) {
  (void)state;
  const OpCase c = {.name = "topk_gate", .gate = ref_topk_gate, .params = {3, 1, 0, 1}};
  data_begin(&data, &c, 3, 6);
  const double rows[3][6] = {
      {1, 2, 2, 2, 2, 0}, {-INFINITY, -INFINITY, -INFINITY, 1, -INFINITY, -INFINITY}, {5, 5, 5, 5, 5, 5}};
  const float chosen[3][6] = {{0, 1, 1, 1, 0, 0}, {1, 1, 0, 1, 0, 0}, {1, 1, 1, 0, 0, 0}};
  for (size_t r = 0; r < 3; r++)
    for (size_t u = 0; u < 6; u++) data_put(&data, 0, r, u, rows[r][u]);
  gate_run(&data, data.op->extension(data.op, ROUTE_EXT_GATE), 3, NULL, NULL);
  for (size_t r = 0; r < 3; r++)
    for (size_t u = 0; u < 6; u++) assert_true(gate_y[r * (6 + PAD) + u] == chosen[r][u] / 3);
  data_end(&data);
}

/* The first output of SplitMix64 from state 0 is e220a8397b1dcdaf. Branches get equal shares of ids. */
static void test_hash(void **state) {
  (void)state;
  OpCase c = {.name = "hash_gate", .gate = ref_hash_gate, .params = {60, 0}};
  data_begin(&data, &c, 1, 1);
  data.label[0] = 0;
  gate_run(&data, data.op->extension(data.op, ROUTE_EXT_GATE), 1, NULL, NULL);
  const size_t branch = (size_t)((uint64_t)0xe220a839u * 60 >> 32);
  for (size_t u = 0; u < 60; u++) assert_true(gate_y[u] == (u == branch));
  data_end(&data);
  double count[8] = {0}, chi = 0;
  c.params[0] = 8;
  for (int block = 0; block < 250; block++) {
    data_begin(&data, &c, 64, 1);
    for (int r = 0; r < 64; r++) data.label[r] = block * 64 + r;
    gate_run(&data, data.op->extension(data.op, ROUTE_EXT_GATE), 64, NULL, NULL);
    for (size_t r = 0; r < 64; r++)
      for (size_t u = 0; u < 8; u++) count[u] += (double)gate_y[r * (8 + PAD) + u];
    data_end(&data);
  }
  for (size_t u = 0; u < 8; u++) chi += pow(count[u] - 2000, 2) / 2000;
  assert_true(chi < 24.3); /* 7 degrees of freedom: 1 in 1000 */
}

/* The drawn branch has the probability of the softmax; in evaluations nothing is drawn. */
static void test_gumbel_frequencies(void **state) {
  (void)state;
  const OpCase c = {.name = "gumbel_gate", .gate = ref_gumbel_gate, .params = {0.3, 1}};
  const double scores[4] = {0.5, -1, 1.2, 0};
  double count[4] = {0}, p[4], chi = 0;
  ref_softmax(scores, 4, 1, NULL, p);
  draw_state = 3;
  for (int block = 0; block < 400; block++) {
    data_begin(&data, &c, 50, 4);
    for (size_t r = 0; r < 50; r++)
      for (size_t u = 0; u < 4; u++) data_put(&data, 0, r, u, scores[u]);
    const FVal y = formula_run(&data, data.op->extension(data.op, ROUTE_EXT_EXPR), NULL, 0);
    for (size_t k = 0; k < fval_n(&y); k++) count[k % 4] += y.v[k];
    data_end(&data);
  }
  for (size_t u = 0; u < 4; u++) chi += pow(count[u] - 20000 * p[u], 2) / (20000 * p[u]);
  assert_true(chi < 16.3); /* 3 degrees of freedom: 1 in 1000 */
  data_begin(&data, &c, 1, 4);
  for (size_t u = 0; u < 4; u++)
    data_put(&data, 0, 0, u, scores[u]), data.uniform[u] = 0; /* the extreme draw is finite */
  const FormulaArgs a = {
      .x = {data.wide[0]}, .cols = {4}, .rows = 1, .params = c.params, .uniform = data.uniform, .training = false};
  FVal y = formula_eval(data.op->extension(data.op, ROUTE_EXT_EXPR), &a);
  for (size_t u = 0; u < 4; u++) assert_true(y.v[u] == (u == 2));
  y = formula_run(&data, data.op->extension(data.op, ROUTE_EXT_EXPR), NULL, 0);
  for (size_t u = 0; u < 4; u++) assert_true(isfinite(y.v[u]));
  data_end(&data);
}

/* No built-in op is without a case, and each says what it computes. */
static void test_all_are_here(void **state) {
  (void)state;
  const char *const lines[] = {"\nFormula: ", "\nGradient: ", "\nSource: ", "\nUse: "};
  const RoutePlugin *p;
  for (uint32_t i = 0; (p = plugin_builtin_at(i)); i++)
    for (size_t k = 0; p->ops[k]; k++) {
      const RouteOp *op = p->ops[k];
      bool found = op->kind == ROUTE_SCHEDULE;
      for (size_t c = 0; c < N_CASES; c++) found = found || !strcmp(cases[c].name, op->name);
      if (!found) fail_msg("%s has no case", op->name);
      for (size_t l = 0; l < 4; l++)
        if (!strstr(op->doc, lines[l])) fail_msg("%s does not say%s", op->name, lines[l]);
    }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_all_are_here),
                                     cmocka_unit_test(test_values),
                                     cmocka_unit_test(test_gradients),
                                     cmocka_unit_test(test_scale_and_unwanted),
                                     cmocka_unit_test(test_nan),
                                     cmocka_unit_test(test_empty),
                                     cmocka_unit_test(test_rows_exchanged),
                                     cmocka_unit_test(test_dead_units),
                                     cmocka_unit_test(test_correlation_far_from_zero),
                                     cmocka_unit_test(test_topk_ties),
                                     cmocka_unit_test(test_hash),
                                     cmocka_unit_test(test_gumbel_frequencies)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
