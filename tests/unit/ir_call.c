/* SPDX-License-Identifier: Apache-2.0
 * CALL in the graph: its rule, text, derivative and value, with functions written here in place of plugins. */
#include "random_graph.h"
#include <math.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const Span here = {0, 0, 0};

/* span: sum of x^4 / 4. reduce: (sum over rows of a's columns times b's)^2. gate: units are products of the row's sum of all inputs
 * with 1, 2, ..., and the row's datum and position. schedule: step + 1. */
static double row_sum(const EvalCall *c, int64_t r) {
  double s = 0;
  for (uint32_t i = 0; i < c->n_inputs; i++)
    for (int64_t k = 0; k < c->cols[i]; k++) s += c->input[i][r * c->cols[i] + k];
  return s;
}
static double product(const EvalCall *c) {
  double s = 0;
  for (int64_t r = 0; r < c->rows; r++)
    for (int64_t k = 0; k < c->cols[0]; k++) s += c->input[0][r * c->cols[0] + k] * c->input[1][r * c->cols[1] + k];
  return s;
}
static void gate_call(const EvalCall *c) {
  for (int64_t r = 0; r < c->rows; r++)
    for (int64_t k = 0; k < c->out_cols; k++) {
      const double y = (double)(k + 1) * row_sum(c, r);
      if (!c->what) c->out[r * c->out_cols + k] = sin(y) + 1000 * c->datum[r] + 100 * c->position[r];
      for (int64_t j = 0; c->what && j < c->cols[c->what - 1]; j++)
        c->out[r * c->cols[c->what - 1] + j] += c->dy[r * c->out_cols + k] * cos(y) * (double)(k + 1);
    }
}
static void call(void *ctx, const EvalCall *c) {
  ++*(int *)ctx;
  const int64_t n = c->rows * c->cols[0];
  switch (c->ability) {
  case CALL_SPAN:
    for (int64_t i = 0; i < n; i++) {
      const double x = c->input[0][i];
      c->out[c->what ? i : 0] += c->what ? c->dy[0] * x * x * x : x * x * x * x / 4;
    }
    return;
  case CALL_REDUCE:
    if (!c->what) c->out[0] = product(c) * product(c);
    for (int64_t i = 0; c->what && i < n; i++) c->out[i] += c->dy[0] * 2 * product(c) * c->input[2 - c->what][i];
    return;
  case CALL_GATE: gate_call(c); return;
  case CALL_SCHEDULE: c->out[0] = c->input[0][0] + 1; return;
  }
}

typedef struct Bench {
  Arena *a;
  Graph *g;
  ValueId x, w, label, param; /* f32[ROWS,3,4] twice, i32[ROWS,3], f32[5,2] */
  double *data[4];
  int calls;
} Bench;

enum { ROWS = 5 };
static ValueId column(Bench *b, int64_t k, const Shape *s, Dtype t) {
  const int64_t n = shape_count(s, ROWS);
  uint64_t rng = 7 + (uint64_t)k;
  b->data[k] = ARENA_NEWS(b->a, double, n);
  for (int64_t i = 0; i < n; i++) b->data[k][i] = t == DT_I32 ? (double)(i % 3) : 2 * rg_unit(&rng) - 1;
  return ir_make(b->g, k == 3 ? OP_PARAM : OP_COLUMN, here, NULL, 0, (int64_t[]){k == 3 ? 0 : k}, 1, 0, s, t);
}
static void bench(void **state) {
  Bench *b = *state = calloc(1, sizeof *b);
  b->a = arena_create(), b->g = graph_create(b->a, "calls");
  const Shape x = shape_of(3, DIM_ROWS, 3, 4), l = shape_of(2, DIM_ROWS, 3), p = shape_of(2, 5, 2);
  b->x = column(b, 0, &x, DT_F32), b->w = column(b, 1, &x, DT_F32), b->label = column(b, 2, &l, DT_I32);
  b->param = column(b, 3, &p, DT_F32);
}
static int open_bench(void **state) { return bench(state), 0; }
static int close_bench(void **state) {
  arena_destroy(((Bench *)*state)->a);
  free(*state);
  return 0;
}

static ValueId use(Bench *b, CallAbility ability, const ValueId *in, uint32_t n, int64_t units) {
  const char *why;
  ValueId v = ir_call(b->g, here, (uint32_t)ability, ability, in, n, units, true, &why);
  if (!v) fail_msg("%s", why);
  return v;
}

static double **run(Bench *b) {
  const double *columns[3] = {b->data[0], b->data[1], b->data[2]}, *params[1] = {b->data[3]};
  static const int32_t datum[ROWS] = {4, 0, 7, 7, 1};
  b->calls = 0;
  return graph_eval(b->g, b->a, &(EvalInput){.rows = ROWS, .params = params, .columns = columns, .datum = datum, .step = 6,
                                              .call = call, .call_ctx = &b->calls}).value;
}

static void values_and_shapes(void **state) {
  Bench *b = *state;
  ValueId span = use(b, CALL_SPAN, &b->param, 1, 0), pair[] = {b->x, b->w}, three[] = {b->x, b->w, b->label};
  ValueId reduce = use(b, CALL_REDUCE, pair, 2, 0), gate = use(b, CALL_GATE, three, 3, 2), schedule = use(b, CALL_SCHEDULE, NULL, 0, 0);
  const Shape want = shape_of(3, DIM_ROWS, 3, 2);
  assert_true(shape_equal(&b->g->v[gate].shape, &want));
  assert_int_equal(b->g->v[schedule].dtype, DT_F64);
  assert_int_equal(ir_call_inputs(b->g, &b->g->v[gate]), 3);
  const ValueId kept[] = {span, reduce, gate, schedule};
  for (uint32_t i = 0; i < 4; i++) graph_root(b->g, ROOT_KEEP, i, 0, kept[i]);
  assert_null(graph_verify(b->g));
  double **v = run(b), s = 0;
  assert_int_equal(b->calls, 4);
  for (int i = 0; i < 10; i++) s += pow(b->data[3][i], 4) / 4;
  assert_true(fabs(v[span][0] - s) < 1e-12);
  assert_true(v[schedule][0] == 7);
  assert_true(v[gate][(2 * 3 + 1) * 2] > 7000 + 100 - 1 && v[gate][(2 * 3 + 1) * 2] < 7000 + 100 + 1); /* datum 7, position 1 */
}

static void text_reads_back(void **state) {
  Bench *b = *state;
  ValueId pair[] = {b->x, b->label}, gate = use(b, CALL_GATE, pair, 2, 3), d[4];
  const Shape s = b->g->v[gate].shape;
  ValueId dy = ir_const(b->g, here, 1, &s, DT_F32);
  op_vjp(b->g, gate, dy, d);
  assert_true(d[0] && !d[1] && !d[2]);
  graph_root(b->g, ROOT_KEEP, 0, 0, d[0]);
  char *text = NULL;
  size_t n;
  FILE *f = open_memstream(&text, &n);
  graph_print(b->g, f), fclose(f);
  assert_non_null(strstr(text, "call %1 %3 %5 %6 %7 {call=2 what=1 ability=2 training=1} f32[ROWS,3,4]"));
  const char *why;
  Graph *back = graph_parse(b->a, text, &why);
  assert_non_null(back);
  assert_true(graph_equal(back, b->g));
  free(text);
}

/* Every input's gradient against difference quotients. */
static void gradients(void **state) {
  Bench *b = *state;
  ValueId one[] = {b->x}, two[] = {b->x, b->w}, three[] = {b->x, b->w, b->label};
  const ValueId values[] = {use(b, CALL_SPAN, one, 1, 0), use(b, CALL_REDUCE, two, 2, 0), use(b, CALL_GATE, three, 3, 2)};
  for (int k = 0; k < 3; k++) {
    const ValueId v = values[k];
    ValueId d[4], dy = ir_const(b->g, here, 0.75, &(Shape){0}, DT_F32);
    const Shape s = b->g->v[v].shape;
    dy = ir_bcast_scalar(b->g, dy, &s);
    op_vjp(b->g, v, dy, d);
    for (uint32_t i = 0; i < (k ? 2u : 1u); i++) {
      graph_root(b->g, ROOT_KEEP, b->g->n_roots, 0, d[i]);
      assert_null(graph_verify(b->g));
    }
    graph_root(b->g, ROOT_KEEP, b->g->n_roots, 0, v);
    for (uint32_t i = 0; i < (k ? 2u : 1u); i++)
      for (int e = 0; e < 60; e += 7) {
        const double h = 1e-5, got = run(b)[d[i]][e], kept = b->data[i][e];
        double side[2] = {0};
        for (int w = 0; w < 2; w++) {
          b->data[i][e] = kept + (w ? h : -h);
          const double *y = run(b)[v];
          for (int64_t j = 0; j < shape_count(&s, ROWS); j++) side[w] += 0.75 * y[j];
        }
        b->data[i][e] = kept;
        const double quotient = (side[1] - side[0]) / (2 * h);
        if (fabs(quotient - got) > 1e-4 * (1 + fabs(got))) fail_msg("ability %d, input %u, %d: %g, expected %g", k, i, e, got, quotient);
      }
  }
}

static void faults_are_found(void **state) {
  Bench *b = *state;
  const char *why;
  ValueId mixed[] = {b->x, b->param}, flipped = ir_transpose(b->g, b->x, (int64_t[]){1, 0, 2});
  assert_int_equal(ir_call(b->g, here, 0, CALL_REDUCE, mixed, 2, 0, true, &why), 0);
  assert_non_null(strstr(why, "other rows"));
  assert_int_equal(ir_call(b->g, here, 0, CALL_REDUCE, &flipped, 1, 0, true, &why), 0);
  assert_non_null(strstr(why, "axis 0"));
  assert_int_equal(ir_call(b->g, here, 0, CALL_SPAN, &b->label, 1, 0, true, &why), 0);
  assert_non_null(strstr(why, "one input"));
  assert_int_equal(ir_call(b->g, here, 0, CALL_REDUCE, NULL, 0, 0, true, &why), 0);
  assert_int_equal(ir_call(b->g, here, 0, CALL_GATE, &b->x, 1, 0, true, &why), 0); /* no units */
  const int64_t bad[][4] = {{-1, 0, 0, 1}, {0, 2, 0, 1}, {0, 0, 9, 1}, {0, 0, 0, 2}, {0, -1, 0, 0}, {0, 1, 3, 1}};
  for (int i = 0; i < 6; i++) assert_non_null(ir_check_args(b->g, OP_CALL, &b->x, 1, bad[i], 4, NULL, DT_NONE));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(values_and_shapes, open_bench, close_bench),
                                     cmocka_unit_test_setup_teardown(text_reads_back, open_bench, close_bench),
                                     cmocka_unit_test_setup_teardown(gradients, open_bench, close_bench),
                                     cmocka_unit_test_setup_teardown(faults_are_found, open_bench, close_bench)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
