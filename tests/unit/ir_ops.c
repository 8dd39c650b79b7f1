/* SPDX-License-Identifier: Apache-2.0
 * The table of operations: complete; each value against a formula written another way; what each rule
 * refuses. */
#include "random_graph.h"
#include "rng.h"
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static const Span here = {0, 0, 0};

/* ---- the table ---------------------------------------------------------------------------------- */
static void every_op_has_a_record(void **state) {
  (void)state;
  static const Op flat[] = {OP_SIGN, OP_FLOOR, OP_NOT, OP_STOP, OP_LT,     OP_LE,
                            OP_EQ,   OP_NE,    OP_AND, OP_OR,   OP_ARGMAX, OP_RSLICE,
                            OP_ROWLIST, OP_ROWPLACE, OP_ROWPICK};
  for (int i = 1; i < OP_COUNT; i++) {
    const OpInfo *o = op_info((Op)i);
    if (!o->name || !o->rule || !o->eval || !o->ints)
      fail_msg("op %d (%s) has no full record", i, o->name ? o->name : "?");
    if ((o->cls == OPC_ELT) != (o->scalar != NULL))
      fail_msg("%s: element-wise and scalar do not agree", o->name);
    bool is_flat = o->cls == OPC_LEAF;
    for (size_t k = 0; k < sizeof flat / sizeof *flat; k++) is_flat = is_flat || flat[k] == (Op)i;
    if (is_flat != (o->vjp == NULL))
      fail_msg("%s: derivative %s", o->name, o->vjp ? "of a flat op" : "is missing");
    for (int k = 1; k < i; k++)
      if (strcmp(op_name((Op)k), o->name) == 0) fail_msg("two ops are called %s", o->name);
  }
  assert_string_equal(op_name((Op)OP_COUNT), "none");
  assert_string_equal(op_name((Op)-1), "none");
}

/* ---- helpers ------------------------------------------------------------------------------------ */
typedef struct Bench {
  Arena *a;
  Graph *g;
  uint64_t rng;
} Bench;

static Bench bench_open(uint64_t seed) {
  Bench b = {.a = arena_create(), .rng = seed};
  b.g = graph_create(b.a, "bench");
  return b;
}

static double real(Bench *b) { return 4 * rg_unit(&b->rng) - 2; }

static ValueId tensor(Bench *b, const Shape *s) {
  int64_t n = shape_count(s, 0);
  double *x = ARENA_NEWS(b->a, double, n);
  for (int64_t i = 0; i < n; i++) x[i] = real(b);
  return ir_const_data(b->g, here, x, s, DT_F32);
}

/* All values of the graph, at `rows` rows. */
static double **run(Bench *b, EvalInput in) {
  for (ValueId id = 1; id < b->g->n; id++) graph_root(b->g, ROOT_KEEP, id, 0, id);
  const char *why = graph_verify(b->g);
  if (why) fail_msg("%s", why);
  return graph_eval(b->g, b->a, &in).value;
}

static void near(double want, double got, const char *what, int64_t at) {
  if (isnan(want) ? isnan(got) : want == got || fabs(want - got) <= 1e-12 * (1 + fabs(want))) return;
  fail_msg("%s, element %lld: expected %.17g, got %.17g", what, (long long)at, want, got);
}

static int64_t decode(int64_t i, const Shape *s, int64_t *at) {
  for (int32_t k = s->rank - 1; k >= 0; k--) at[k] = i % s->d[k], i /= s->d[k];
  return i;
}
static int64_t encode(const int64_t *at, const Shape *s) {
  int64_t n = 0;
  for (int32_t k = 0; k < s->rank; k++) n = n * s->d[k] + at[k];
  return n;
}

/* ---- element-wise ------------------------------------------------------------------------------- */
/* erf by Simpson's rule. */
static double slow_erf(double x) {
  double sum = 0, h = x / 2000;
  for (int i = 0; i <= 2000; i++) sum += (i == 0 || i == 2000 ? 1 : i % 2 ? 4 : 2) * exp(-(i * h) * (i * h));
  return 2 / sqrt(M_PI) * sum * h / 3;
}
#define FORMULA(NAME, expr)                                                                                  \
  static double want_##NAME(double x, double y, double z) {                                                  \
    (void)x, (void)y, (void)z;                                                                               \
    return (expr);                                                                                           \
  }
FORMULA(NEG, 0.0 - x)
FORMULA(ABS, x < 0 ? -x : x)
FORMULA(SIGN, x > 0 ? 1 : x < 0 ? -1 : 0)
FORMULA(EXP, pow(M_E, x))
FORMULA(LOG, 2 * atanh((x - 1) / (x + 1)))
FORMULA(SQRT, pow(x, 0.5))
FORMULA(TANH, (exp(2 * x) - 1) / (exp(2 * x) + 1))
FORMULA(ERF, slow_erf(x))
FORMULA(SIGMOID, 0.5 * (1 + tanh(x / 2)))
FORMULA(SOFTPLUS, log(1 + exp(x)))
FORMULA(RELU, x > 0 ? x : 0)
FORMULA(SIN, cos(x - M_PI_2))
FORMULA(COS, sin(x + M_PI_2))
FORMULA(FLOOR, (double)(int)x - (x < (int)x))
FORMULA(NOT, 1 - x)
FORMULA(CAST, x)
FORMULA(STOP, x)
FORMULA(TAP, x)
FORMULA(ADJTAP, x)
FORMULA(ADD, y + x)
FORMULA(SUB, -(y - x))
FORMULA(MUL, y *x)
FORMULA(DIV, x * (1 / y))
FORMULA(MIN, (x + y - fabs(x - y)) / 2)
FORMULA(MAX, (x + y + fabs(x - y)) / 2)
FORMULA(POW, exp(y *log(x)))
FORMULA(LT, y > x)
FORMULA(LE, !(x > y))
FORMULA(EQ, !(x < y || x > y))
FORMULA(NE, x<y || x> y)
FORMULA(AND, x *y)
FORMULA(OR, x + y - x * y)
FORMULA(MASK, x *y)
FORMULA(WHERE, x *y + (1 - x) * z)

static void elementwise_values(void **state) {
  (void)state;
  typedef double (*Formula)(double, double, double);
  static const Formula want[OP_COUNT] = {
#define F(NAME) [OP_##NAME] = want_##NAME
      F(NEG),      F(ABS),  F(SIGN), F(EXP), F(LOG),   F(SQRT), F(TANH), F(ERF),  F(SIGMOID),
      F(SOFTPLUS), F(RELU), F(SIN),  F(COS), F(FLOOR), F(NOT),  F(CAST), F(STOP), F(TAP),
      F(ADJTAP),   F(ADD),  F(SUB),  F(MUL), F(DIV),   F(MIN),  F(MAX),  F(POW),  F(LT),
      F(LE),       F(EQ),   F(NE),   F(AND), F(OR),    F(MASK), F(WHERE)};
  for (int op = 1; op < OP_COUNT; op++) {
    if (op_class((Op)op) != OPC_ELT) continue;
    if (!want[op]) fail_msg("%s has no formula here", op_name((Op)op));
    Bench b = bench_open((uint64_t)op);
    b.g->phase = PHASE_ADJOINT;
    Shape s = shape_of(2, 7, 13);
    bool logic = op == OP_NOT || op == OP_AND || op == OP_OR;
    ValueId x[3];
    for (int i = 0; i < 3; i++) {
      x[i] = tensor(&b, &s);
      if (op == OP_LOG || op == OP_SQRT || op == OP_POW || op == OP_DIV)
        x[i] = ir_bin(b.g, OP_ADD, x[i], ir_const(b.g, here, 2.25, &s, DT_F32));
      if (logic || (op == OP_WHERE && i == 0)) x[i] = ir_bin(b.g, OP_LT, x[i], tensor(&b, &s));
    }
    if (op >= OP_LT && op <= OP_NE)
      x[1] = ir_bin(b.g, OP_MUL, x[0], ir_un(b.g, OP_SIGN, x[1])); /* often equal */
    int64_t tap = 0;
    bool has_tap = op == OP_TAP || op == OP_ADJTAP;
    ValueId y = ir_make(b.g, (Op)op, here, x, (uint32_t)op_info((Op)op)->n_args, &tap, has_tap, 0, NULL,
                        op == OP_CAST ? DT_F32 : DT_NONE);
    if (op == OP_ADJTAP) b.g->v[y].origins = 1;
    double **v = run(&b, (EvalInput){.rows = 1});
    for (int64_t i = 0; i < 91; i++) {
      double w = want[op](v[x[0]][i], v[x[1]][i], v[x[2]][i]);
      if (op == OP_ERF ? fabs(w - v[y][i]) > 1e-11 : fabs(w - v[y][i]) > 1e-13 * (1 + fabs(w)))
        fail_msg("%s: expected %.17g, got %.17g", op_name((Op)op), w, v[y][i]);
    }
    arena_destroy(b.a);
  }
}

static double one(Op op, double x, double y, double z, Dtype t) {
  return op_info(op)->scalar((double[]){x, y, z}, t);
}

static void special_numbers(void **state) {
  (void)state;
  double n = NAN, inf = INFINITY;
  assert_true(one(OP_MASK, n, 0, 0, DT_F32) == 0 && !signbit(one(OP_MASK, n, 0, 0, DT_F32)));
  assert_false(signbit(one(OP_MASK, -5, 0, 0, DT_F32)));
  assert_false(signbit(one(OP_MASK, -inf, -0.0, 0, DT_F32)));
  assert_true(one(OP_MASK, -inf, 1, 0, DT_F32) == -inf);
  assert_true(isnan(one(OP_MASK, n, 0.5, 0, DT_F32)));
  assert_true(one(OP_WHERE, 1, 3, n, DT_F32) == 3 && one(OP_WHERE, 0, n, 3, DT_F32) == 3);
  assert_true(isnan(one(OP_MIN, n, 1, 0, DT_F32)) && isnan(one(OP_MIN, 1, n, 0, DT_F32)));
  assert_true(isnan(one(OP_MAX, n, 1, 0, DT_F32)) && isnan(one(OP_MAX, 1, n, 0, DT_F32)));
  assert_true(isnan(one(OP_RELU, n, 0, 0, DT_F32)));
  assert_true(one(OP_SIGN, n, 0, 0, DT_F32) == 0);
  assert_true(one(OP_SOFTPLUS, 1000, 0, 0, DT_F32) == 1000 && one(OP_SOFTPLUS, -1000, 0, 0, DT_F32) == 0);
  assert_true(one(OP_SIGMOID, 1000, 0, 0, DT_F32) == 1 && one(OP_SIGMOID, -1000, 0, 0, DT_F32) == 0);
  assert_true(one(OP_SIGMOID, -40, 0, 0, DT_F32) > 4e-18);
  assert_true(one(OP_CAST, -2.9, 0, 0, DT_I32) == -2 && one(OP_CAST, 2.9, 0, 0, DT_I32) == 2);
  assert_true(one(OP_CAST, 1e20, 0, 0, DT_I32) == INT32_MAX &&
              one(OP_CAST, -inf, 0, 0, DT_I32) == INT32_MIN && one(OP_CAST, n, 0, 0, DT_I32) == 0);
  assert_true(one(OP_CAST, -0.25, 0, 0, DT_BOOL) == 1 && one(OP_CAST, 0, 0, 0, DT_BOOL) == 0);
  assert_true(one(OP_ADD, INT32_MAX, 1, 0, DT_I32) == INT32_MIN &&
              one(OP_SUB, INT32_MIN, 1, 0, DT_I32) == INT32_MAX);
  assert_true(one(OP_MUL, 65537, 65537, 0, DT_I32) == 131073);
  assert_true(one(OP_MUL, INT32_MIN, -1, 0, DT_I32) == INT32_MIN);
}

/* ---- leaves ------------------------------------------------------------------------------------- */
static void philox_known_answers(void **state) { /* Random123, kat_vectors */
  (void)state;
  uint32_t out[4];
  rng_philox((uint32_t[]){0, 0, 0, 0}, (uint32_t[]){0, 0}, out);
  assert_true(out[0] == 0x6627e8d5 && out[1] == 0xe169c58d && out[2] == 0xbc57ac4c && out[3] == 0x9b00dbd8);
  rng_philox((uint32_t[]){~0u, ~0u, ~0u, ~0u}, (uint32_t[]){~0u, ~0u}, out);
  assert_true(out[0] == 0x408f276d && out[1] == 0x41c83b0e && out[2] == 0xa20bc7c6 && out[3] == 0x6d5451fd);
}

static void leaf_values(void **state) {
  (void)state;
  Bench b = bench_open(1);
  Shape rows2 = shape_of(2, DIM_ROWS, 2), mat = shape_of(2, 2, 3), none = shape_of(0);
  int64_t stream = 77;
  ValueId column = ir_make(b.g, OP_COLUMN, here, NULL, 0, (int64_t[]){1}, 1, 0, &rows2, DT_U8);
  ValueId param = ir_make(b.g, OP_PARAM, here, NULL, 0, (int64_t[]){0}, 1, 0, &mat, DT_NONE);
  ValueId st = ir_make(b.g, OP_STATE, here, NULL, 0, (int64_t[]){0, 1}, 2, 0, &mat, DT_NONE);
  ValueId scalar = ir_make(b.g, OP_SCALAR, here, NULL, 0, (int64_t[]){2}, 1, 0, NULL, DT_NONE);
  ValueId clock[4];
  for (int k = 0; k < 4; k++) clock[k] = ir_clock(b.g, (ClockKind)k);
  ValueId iota = ir_make(b.g, OP_IOTA, here, NULL, 0, (int64_t[]){1}, 1, 0, &mat, DT_NONE);
  ValueId rowno = ir_make(b.g, OP_IOTA, here, NULL, 0, (int64_t[]){0}, 1, 0, &rows2, DT_NONE);
  ValueId datum = ir_make(b.g, OP_DATUM, here, NULL, 0, NULL, 0, 0, NULL, DT_NONE);
  ValueId random = ir_make(b.g, OP_RANDOM, here, NULL, 0, &stream, 1, 0, &rows2, DT_NONE);
  ValueId fixed = ir_make(b.g, OP_RANDOM, here, NULL, 0, (int64_t[]){0}, 1, 0, &none, DT_NONE);
  ValueId splat = ir_const(b.g, here, 2.5, &rows2, DT_F32);
  const double m[6] = {1, 2, 3, 4, 5, 6}, k1[6] = {6, 5, 4, 3, 2, 1}, c1[6] = {0, 1, 2, 3, 254, 255},
               scalars[3] = {0, 0, 9};
  const double *states[2] = {NULL, k1};
  EvalInput in = {.rows = 3,
                  .params = (const double *[]){m},
                  .states = (const double *const *[]){states},
                  .columns = (const double *[]){NULL, c1},
                  .datum = (int32_t[]){5, 0, 9},
                  .scalars = scalars,
                  .step = 4,
                  .total_steps = 100,
                  .steps_per_epoch = 7,
                  .seed = 0};
  double **v = run(&b, in);
  for (int i = 0; i < 6; i++) {
    near(c1[i], v[column][i], "column", i);
    near(m[i], v[param][i], "param", i);
    near(k1[i], v[st][i], "state", i);
    near(i % 3, v[iota][i], "iota", i);
    near(i / 2, v[rowno][i], "iota over rows", i);
    near(2.5, v[splat][i], "const", i);
    uint32_t out[4], counter[4] = {(uint32_t)i % 2, (uint32_t[]){5, 0, 9}[i / 2], 4, 77};
    rng_philox(counter, (uint32_t[]){0, 0}, out);
    near(floor(out[0] / 256.0) / 16777216.0, v[random][i], "random", i);
  }
  for (int i = 0; i < 4; i++) near((double[]){3, 4, 100, 7}[i], v[clock[i]][0], "clock", i);
  for (int i = 0; i < 3; i++) near((double[]){5, 0, 9}[i], v[datum][i], "datum", i);
  near(9, v[scalar][0], "scalar", 0);
  assert_true(v[fixed][0] >= 0 && v[fixed][0] < 1);
  in.step = 0;
  near((0x6627e8d5 >> 8) / 16777216.0, graph_eval(b.g, b.a, &in).value[fixed][0], "known draw", 0);
  arena_destroy(b.a);
}

/* A row's draws depend on its datum number alone, not on its place in the batch. */
static void draws_follow_the_datum(void **state) {
  (void)state;
  Bench b = bench_open(1);
  Shape s = shape_of(2, DIM_ROWS, 5);
  ValueId x = ir_make(b.g, OP_RANDOM, here, NULL, 0, (int64_t[]){3}, 1, 0, &s, DT_NONE);
  EvalInput in = {.rows = 3, .datum = (int32_t[]){4, 8, 15}, .seed = 1};
  double **v = run(&b, in);
  in.datum = (int32_t[]){15, 4, 8};
  double **w = graph_eval(b.g, b.a, &in).value;
  assert_memory_equal(v[x], w[x] + 5, 10 * sizeof(double));
  assert_memory_equal(v[x] + 10, w[x], 5 * sizeof(double));
  in.seed = 2;
  assert_memory_not_equal(w[x], graph_eval(b.g, b.a, &in).value[x], 15 * sizeof(double));
  arena_destroy(b.a);
}

/* ---- views -------------------------------------------------------------------------------------- */
static void view_values(void **state) {
  (void)state;
  Bench b = bench_open(3);
  Shape s = shape_of(3, 3, 5, 7), wide = shape_of(5, 2, 3, 5, 11, 7), flat = shape_of(2, 15, 7),
        padded = shape_of(3, 3, 13, 7), put = shape_of(3, 3, 5, 9);
  ValueId x = tensor(&b, &s), y = tensor(&b, &(Shape){3, {3, 2, 7}});
  ValueId bc = ir_bcast(b.g, x, &wide, (int64_t[]){-1, 0, 1, -1, 2});
  ValueId rs = ir_reshape(b.g, x, &flat), tr = ir_transpose(b.g, x, (int64_t[]){2, 0, 1});
  ValueId sl = ir_slice(b.g, x, 2, 1, 2, 3);
  ValueId pd = ir_make(b.g, OP_PAD, here, &x, 1, (int64_t[]){1, 2, 2}, 3, 0, &padded, DT_NONE);
  ValueId tk = ir_make(b.g, OP_TAKE, here, &x, 1, (int64_t[]){1, 4, 0, 4}, 4, 0, NULL, DT_NONE);
  int64_t order[] = {2, 8, 0, 3, 1, 7, 5, 4};
  ValueId pt = ir_make(b.g, OP_PUT, here, &x, 1, order, 8, 0, &put, DT_NONE);
  ValueId cc = ir_make(b.g, OP_CONCAT, here, (ValueId[]){x, y, x}, 3, (int64_t[]){1}, 1, 0, NULL, DT_NONE);
  double **v = run(&b, (EvalInput){.rows = 1});
  for (int64_t i = 0; i < 3; i++)
    for (int64_t j = 0; j < 5; j++)
      for (int64_t k = 0; k < 7; k++) {
        double e = v[x][(i * 5 + j) * 7 + k];
        for (int64_t p = 0; p < 2; p++)
          for (int64_t q = 0; q < 11; q++)
            near(e, v[bc][(((p * 3 + i) * 5 + j) * 11 + q) * 7 + k], "bcast", q);
        near(e, v[rs][(i * 5 + j) * 7 + k], "reshape", k);
        near(e, v[tr][(k * 3 + i) * 5 + j], "transpose", k);
        if (k % 2 && k < 7) near(e, v[sl][(i * 5 + j) * 3 + k / 2], "slice", k);
        near(e, v[pd][(i * 13 + 2 + 2 * j) * 7 + k], "pad", k);
        for (int64_t q = 0; q < 3; q++)
          if ((int64_t[]){4, 0, 4}[q] == j) near(e, v[tk][(i * 3 + q) * 7 + k], "take", q);
        near(e, v[pt][(i * 5 + j) * 9 + order[1 + k]], "put", k);
        near(e, v[cc][(i * 12 + j) * 7 + k], "concat", k);
        near(e, v[cc][(i * 12 + 7 + j) * 7 + k], "concat, third", k);
        if (j < 2) near(v[y][(i * 2 + j) * 7 + k], v[cc][(i * 12 + 5 + j) * 7 + k], "concat, second", k);
      }
  double sum = 0, sum_pad = 0, sum_put = 0;
  for (int64_t i = 0; i < 105; i++) sum += fabs(v[x][i]);
  for (int64_t i = 0; i < 3 * 13 * 7; i++) sum_pad += fabs(v[pd][i]);
  for (int64_t i = 0; i < 3 * 5 * 9; i++) sum_put += fabs(v[pt][i]);
  near(sum, sum_pad, "zeros of pad", 0);
  near(sum, sum_put, "zeros of put", 0);
  arena_destroy(b.a);
}

/* Rows 1, 3 and 4 of five packed, their sums, and put back; and none of five. */
static void packed_row_values(void **state) {
  (void)state;
  Bench b = bench_open(10);
  Shape s = shape_of(2, DIM_ROWS, 3), one = shape_of(1, DIM_ROWS);
  double data[15], taken[5] = {0, -2, 0, 1, (double)NAN}, none[5] = {0};
  for (int i = 0; i < 15; i++) data[i] = real(&b);
  ValueId x = ir_make(b.g, OP_COLUMN, here, NULL, 0, (int64_t[]){0}, 1, 0, &s, DT_F32), set[2], back[2], sum[2];
  for (int64_t k = 0; k < 2; k++) {
    ValueId t = ir_make(b.g, OP_COLUMN, here, NULL, 0, (int64_t[]){1 + k}, 1, 0, &one, DT_F32);
    ValueId list = ir_make(b.g, OP_ROWLIST, here, &t, 1, (int64_t[]){3 + k}, 1, 0, NULL, DT_NONE);
    ValueId place = ir_make(b.g, OP_ROWPLACE, here, (ValueId[]){t, list}, 2, NULL, 0, 0, NULL, DT_NONE);
    ValueId across = ir_transpose(b.g, x, (int64_t[]){1, 0});
    set[k] = ir_make(b.g, OP_ROWPICK, here, (ValueId[]){across, list}, 2, NULL, 0, 0, NULL, DT_NONE);
    assert_true(b.g->v[set[k]].shape.d[1] == dim_of_set(3 + k));
    sum[k] = ir_reduce(b.g, OP_SUM, set[k], (int64_t[]){1}, 1);
    back[k] = ir_make(b.g, OP_ROWPICK, here, (ValueId[]){set[k], place}, 2, NULL, 0, 0, NULL, DT_NONE);
  }
  const double *columns[] = {data, taken, none};
  double **v = run(&b, (EvalInput){.rows = 5, .columns = columns});
  static const int64_t row[3] = {1, 3, 4};
  for (int64_t j = 0; j < 3; j++) {
    double all = 0;
    for (int64_t i = 0; i < 3; i++) {
      near(data[row[i] * 3 + j], v[set[0]][j * 3 + i], "packed row", i);
      all += data[row[i] * 3 + j];
    }
    for (int64_t i = 0; i < 5; i++) {
      near(taken[i] != 0 ? data[i * 3 + j] : 0, v[back[0]][j * 5 + i], "row put back", i);
      near(0, v[back[1]][j * 5 + i], "row of an empty set put back", i);
    }
    near(all, v[sum[0]][j], "sum over packed rows", j), near(0, v[sum[1]][j], "sum over no rows", j);
  }
  arena_destroy(b.a);
}

/* A convolution by unfold and dot against the definition; fold is unfold's transpose. */
/* Rows 2 and 3 of five, none of them, and a ROWS axis that does not lead. */
static void row_set_values(void **state) {
  (void)state;
  Bench b = bench_open(9);
  Shape s = shape_of(2, DIM_ROWS, 3);
  double data[15];
  for (int i = 0; i < 15; i++) data[i] = real(&b);
  ValueId x = ir_make(b.g, OP_COLUMN, here, NULL, 0, (int64_t[]){0}, 1, 0, &s, DT_F32);
  ValueId some = ir_rslice(b.g, x, 1), none = ir_rslice(b.g, x, 2);
  ValueId across = ir_rslice(b.g, ir_transpose(b.g, x, (int64_t[]){1, 0}), 1);
  ValueId sum = ir_reduce(b.g, OP_SUM, some, (int64_t[]){0}, 1),
          empty = ir_reduce(b.g, OP_SUM, none, (int64_t[]){0}, 1);
  ValueId dot = ir_dot(b.g, some, ir_transpose(b.g, across, (int64_t[]){1, 0}), NULL, NULL, 0, (int64_t[]){0},
                       (int64_t[]){0}, 1);
  assert_true(ir_rslice(b.g, x, 0) == x && b.g->v[across].shape.d[1] == dim_of_set(1));
  static const int64_t sets[3][2] = {{0, 5}, {2, 2}, {4, 0}};
  const double *columns[] = {data};
  double **v = run(&b, (EvalInput){.rows = 5, .columns = columns, .sets = sets});
  for (int64_t j = 0; j < 3; j++) {
    for (int64_t i = 0; i < 2; i++) {
      near(data[(2 + i) * 3 + j], v[some][i * 3 + j], "rslice", i);
      near(data[(2 + i) * 3 + j], v[across][j * 2 + i], "rslice of an inner axis", i);
    }
    near(data[6 + j] + data[9 + j], v[sum][j], "sum over a row set", j);
    near(0, v[empty][j], "sum over no rows", j);
    near(data[6] * data[6 + j] + data[9] * data[9 + j], v[dot][j], "dot over a row set", j);
  }
  arena_destroy(b.a);
}

static void unfold_and_fold_values(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 40; seed++) {
    Bench b = bench_open(seed);
    int64_t p[8] = {rg_int(&b.rng, 1, 3), rg_int(&b.rng, 1, 3), rg_int(&b.rng, 1, 3), rg_int(&b.rng, 1, 3),
                    rg_int(&b.rng, 0, 2), rg_int(&b.rng, 0, 2), rg_int(&b.rng, 1, 2), rg_int(&b.rng, 1, 2)};
    Shape image = shape_of(4, 2, rg_int(&b.rng, 1, 3), rg_int(&b.rng, 5, 8), rg_int(&b.rng, 5, 8));
    ValueId x = tensor(&b, &image);
    ValueId u = ir_make(b.g, OP_UNFOLD, here, &x, 1, p, 8, 0, NULL, DT_NONE);
    Shape cols = b.g->v[u].shape;
    ValueId c = tensor(&b, &cols);
    ValueId f = ir_make(b.g, OP_FOLD, here, &c, 1, p, 8, 0, &image, DT_NONE);
    double **v = run(&b, (EvalInput){.rows = 1});
    int64_t H = image.d[2], W = image.d[3], at[8], n = shape_count(&cols, 0);
    assert_int_equal(cols.d[1], (H + 2 * p[4] - p[6] * (p[0] - 1) - 1) / p[2] + 1);
    double left = 0, right = 0;
    for (int64_t i = 0; i < n; i++) {
      decode(i, &cols, at);
      int64_t h = at[1] * p[2] + at[4] * p[6], w = at[2] * p[3] + at[5] * p[7]; /* in the padded image */
      bool inside = h >= p[4] && h < H + p[4] && w >= p[5] && w < W + p[5];
      double e = inside ? v[x][((at[0] * image.d[1] + at[3]) * H + h - p[4]) * W + w - p[5]] : 0;
      near(e, v[u][i], "unfold", i);
      left += v[u][i] * v[c][i];
    }
    for (int64_t i = 0; i < shape_count(&image, 0); i++) right += v[x][i] * v[f][i];
    near(left, right, "<unfold x, c> = <x, fold c>", 0);
    arena_destroy(b.a);
  }
}

/* ---- reductions, contractions ------------------------------------------------------------------- */
static void reduction_values(void **state) {
  (void)state;
  for (uint32_t axes = 1; axes < 16; axes++) {
    Bench b = bench_open(axes);
    Shape s = shape_of(4, 3, 2, 5, 7), out = {0};
    int64_t list[4], at[8] = {0}, to[8] = {0};
    uint32_t n = 0;
    for (int i = 0; i < 4; i++) {
      if (axes >> i & 1) list[n++] = i;
      else out.d[out.rank++] = s.d[i];
    }
    ValueId x = tensor(&b, &s);
    ValueId sum = ir_reduce(b.g, OP_SUM, x, list, n), max = ir_reduce(b.g, OP_AMAX, x, list, n),
            arg = n == 1 ? ir_reduce(b.g, OP_ARGMAX, x, list, 1) : 0;
    double **v = run(&b, (EvalInput){.rows = 1});
    for (int64_t o = 0; o < shape_count(&out, 0); o++) {
      double total = 0, top = -1e9, where = -1;
      for (int64_t i = 0; i < 210; i++) {
        decode(i, &s, at);
        int32_t k = 0;
        for (int j = 0; j < 4; j++)
          if (!(axes >> j & 1)) to[k++] = at[j];
        if (encode(to, &out) != o) continue;
        total += v[x][i];
        if (v[x][i] > top) top = v[x][i], where = (double)at[list[0]];
      }
      near(total, v[sum][o], "sum", o);
      near(top, v[max][o], "amax", o);
      if (arg) near(where, v[arg][o], "argmax", o);
    }
    arena_destroy(b.a);
  }
}

static void reduction_ties_and_nan(void **state) {
  (void)state;
  Bench b = bench_open(1);
  Shape s = shape_of(2, 3, 4), rows = shape_of(1, DIM_ROWS);
  double data[12] = {1, 5, 5, 2, -1, NAN, 9, NAN, 4, 4, 4, 4};
  ValueId x = ir_const_data(b.g, here, data, &s, DT_F32);
  ValueId max = ir_reduce(b.g, OP_AMAX, x, (int64_t[]){1}, 1),
          arg = ir_reduce(b.g, OP_ARGMAX, x, (int64_t[]){1}, 1);
  ValueId empty = ir_const(b.g, here, 1, &rows, DT_F32),
          sum = ir_reduce(b.g, OP_SUM, empty, (int64_t[]){0}, 1);
  double **v = run(&b, (EvalInput){.rows = 0});
  assert_true(v[max][0] == 5 && isnan(v[max][1]) && v[max][2] == 4);
  assert_true(v[arg][0] == 1 && v[arg][1] == 1 && v[arg][2] == 0);
  assert_true(v[sum][0] == 0);
  arena_destroy(b.a);
}

/* Each axis of the two arguments carries a letter; the sum runs over all letters' values. */
static void dot_values(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 150; seed++) {
    Bench b = bench_open(seed);
    int64_t extent[8], nb = rg_int(&b.rng, 0, 2), nc = rg_int(&b.rng, 0, 2), nfa = rg_int(&b.rng, 0, 2),
                       nfb = rg_int(&b.rng, 0, 2);
    int64_t letters = nb + nc + nfa + nfb, la[8], lb[8], na = 0, nbx = 0;
    for (int64_t i = 0; i < letters; i++) {
      extent[i] = rg_int(&b.rng, 1, 5);
      if (i < nb + nc + nfa) la[na++] = i;
      if (i < nb + nc || i >= nb + nc + nfa) lb[nbx++] = i;
    }
    for (int side = 0; side < 2; side++)
      for (int64_t i = (side ? nbx : na) - 1; i > 0; i--) {
        int64_t *l = side ? lb : la, j = rg_int(&b.rng, 0, i), t = l[i];
        l[i] = l[j], l[j] = t;
      }
    Shape sa = {.rank = (int32_t)na}, sb = {.rank = (int32_t)nbx}, all = {.rank = (int32_t)letters},
          out = {0};
    int64_t pa[8], pb[8], lo[8], at[8] = {0}, ia[8] = {0}, ib[8] = {0}, io[8] = {0};
    for (int64_t i = 0; i < na; i++) sa.d[i] = extent[la[i]], pa[la[i]] = i;
    for (int64_t i = 0; i < nbx; i++) sb.d[i] = extent[lb[i]], pb[lb[i]] = i;
    for (int64_t i = 0; i < letters; i++) all.d[i] = extent[i];
    for (int64_t i = 0; i < nb; i++) lo[out.rank++] = i;
    for (int64_t i = 0; i < na; i++)
      if (la[i] >= nb + nc) lo[out.rank++] = la[i];
    for (int64_t i = 0; i < nbx; i++)
      if (lb[i] >= nb + nc) lo[out.rank++] = lb[i];
    for (int32_t i = 0; i < out.rank; i++) out.d[i] = extent[lo[i]];
    ValueId x = tensor(&b, &sa), y = tensor(&b, &sb);
    ValueId d = ir_dot(b.g, x, y, pa, pb, (uint32_t)nb, pa + nb, pb + nb, (uint32_t)nc);
    assert_true(shape_equal(&b.g->v[d].shape, &out));
    double **v = run(&b, (EvalInput){.rows = 1}), *want = ARENA_NEWS(b.a, double, shape_count(&out, 0));
    for (int64_t i = 0; i < shape_count(&all, 0); i++) {
      decode(i, &all, at);
      for (int64_t k = 0; k < na; k++) ia[k] = at[la[k]];
      for (int64_t k = 0; k < nbx; k++) ib[k] = at[lb[k]];
      for (int64_t k = 0; k < out.rank; k++) io[k] = at[lo[k]];
      want[encode(io, &out)] += v[x][encode(ia, &sa)] * v[y][encode(ib, &sb)];
    }
    for (int64_t i = 0; i < shape_count(&out, 0); i++) near(want[i], v[d][i], "dot", i);
    arena_destroy(b.a);
  }
}

static void gather_and_scatter_values(void **state) {
  (void)state;
  Bench b = bench_open(5);
  Shape table = shape_of(2, 4, 3), index = shape_of(2, 2, 3);
  double at[6] = {3, 0, 3, 1, -1, 4};
  ValueId t = tensor(&b, &table), i = ir_const_data(b.g, here, at, &index, DT_I32);
  ValueId rows = ir_make(b.g, OP_GATHER, here, (ValueId[]){t, i}, 2, NULL, 0, 0, NULL, DT_NONE);
  ValueId dy = tensor(&b, &(Shape){3, {2, 3, 3}});
  ValueId back = ir_make(b.g, OP_SCATTER, here, (ValueId[]){dy, i}, 2, NULL, 0, 0, &table, DT_NONE);
  double **v = run(&b, (EvalInput){.rows = 1}), want[12] = {0};
  for (int k = 0; k < 6; k++)
    for (int j = 0; j < 3; j++) {
      bool inside = at[k] >= 0 && at[k] < 4;
      near(inside ? v[t][(int)at[k] * 3 + j] : (double)NAN, v[rows][k * 3 + j], "gather", k);
      if (inside) want[(int)at[k] * 3 + j] += v[dy][k * 3 + j];
    }
  for (int k = 0; k < 12; k++) near(want[k], v[back][k], "scatter", k);
  arena_destroy(b.a);
}

static void only_what_a_root_needs(void **state) {
  (void)state;
  Bench b = bench_open(1);
  Shape s = shape_of(1, 3);
  ValueId x = tensor(&b, &s), dead = ir_un(b.g, OP_EXP, x), y = ir_un(b.g, OP_NEG, x);
  graph_root(b.g, ROOT_KEEP, 0, 0, y);
  EvalResult r = graph_eval(b.g, b.a, &(EvalInput){.rows = 1});
  assert_true(r.value[x] && r.value[y] && !r.value[dead]);
  arena_destroy(b.a);
}

/* ---- shorthands --------------------------------------------------------------------------------- */
static void shorthands(void **state) {
  (void)state;
  Bench b = bench_open(1);
  Shape s = shape_of(2, DIM_ROWS, 3), none = shape_of(0);
  Span span = {1, 20, 30};
  ValueId x = ir_make(b.g, OP_COLUMN, span, NULL, 0, (int64_t[]){0}, 1, 0, &s, DT_F32);
  ValueId rate = ir_make(b.g, OP_SCALAR, here, NULL, 0, (int64_t[]){0}, 1, 0, NULL, DT_NONE);
  ValueId two = ir_const(b.g, here, 2, &none, DT_F32);
  ValueId y = ir_bin(b.g, OP_MUL, rate, x), z = ir_bin(b.g, OP_ADD, x, two),
          w = ir_where(b.g, ir_bin(b.g, OP_LT, x, z), two, x);
  assert_true(b.g->v[y].dtype == DT_F32 && shape_equal(&b.g->v[y].shape, &s));
  assert_memory_equal(&b.g->v[y].span, &span, sizeof span);
  double num;
  assert_true(ir_is_splat(b.g, b.g->v[z].args[1], &num) && num == 2 && !ir_is_splat(b.g, x, &num));
  assert_int_equal(ir_reshape(b.g, x, &s), x);
  assert_int_equal(ir_transpose(b.g, x, (int64_t[]){0, 1}), x);
  assert_int_equal(ir_slice(b.g, x, 1, 0, 1, 3), x);
  assert_int_equal(ir_cast(b.g, x, DT_F32), x);
  double **v = run(&b, (EvalInput){.rows = 2,
                                   .columns = (const double *[]){(double[]){1, -2, 3, -4, 5, -6}},
                                   .scalars = (double[]){10}});
  for (int i = 0; i < 6; i++) {
    near((i % 2 ? -10 : 10) * (i + 1), v[y][i], "mul", i);
    near((i % 2 ? -1 : 1) * (i + 1) + 2, v[z][i], "add", i);
    near(2, v[w][i], "where", i);
  }
  arena_destroy(b.a);
}

/* ---- what the rules refuse ---------------------------------------------------------------------- */
static const char preamble[] = "graph \"g\"\n"
                               "%1 = column {0} f32[ROWS,4]\n"
                               "%2 = param {0} f32[3,4]\n"
                               "%3 = column {1} i32[ROWS]\n"
                               "%4 = scalar {0} f64[]\n"
                               "%5 = const 1 bool[3,4]\n"
                               "%6 = const 2 f32[2,3,6,7]\n"
                               "%7 = const 1 i32[2,5]\n"
                               "%8 = column {2} u8[ROWS,4]\n";
static const struct {
  const char *line, *why;
} refused[] = {
    {"add %1 f32[ROWS,4]", "has 1 arguments"},
    {"concat {0} f32[1]", "at least 1"},
    {"neg %9 f32[3]", "no value"},
    {"neg %0 f32[3]", "no value"},
    {"column {0} f32[3,4]", "first axis is ROWS"},
    {"column {0} bool[ROWS]", "f32, i32 or u8"},
    {"column f32[ROWS]", "0 ints"},
    {"column {-1} f32[ROWS]", "number -1"},
    {"param {0} f32[ROWS]", "constant"},
    {"param {0} i32[3]", "the rule gives f32"},
    {"state {0} f32[3]", "needs 2"},
    {"scalar {0} f64[3]", "shape"},
    {"scalar {0} f32[]", "the rule gives f64"},
    {"clock {4} f64[]", "no clock"},
    {"const 1 f64[3]", "rank 0 only"},
    {"const 1 f32[9223372036854775807,3]", "too many"},
    {"const 1 f32[ROWS,ROWS]", "twice"},
    {"iota {2} i32[3,4]", "axis 2"},
    {"datum i32[3]", "shape"},
    {"random {0} f32[3,ROWS]", "axis 0"},
    {"neg %3 i32[ROWS]", "float"},
    {"not %1 bool[ROWS,4]", "needs bool"},
    {"cast %1 u8[ROWS,4]", "cannot make"},
    {"tap %1 f32[ROWS,4]", "needs 1"},
    {"tap %3 {0} i32[ROWS]", "float"},
    {"add %1 %2 f32[ROWS,4]", "shapes differ"},
    {"add %5 %5 bool[3,4]", "f32, f64 or i32"},
    {"add %1 %8 f32[ROWS,4]", "types differ"},
    {"div %3 %3 i32[ROWS]", "float"},
    {"lt %1 %1 f32[ROWS,4]", "the rule gives bool"},
    {"and %1 %1 bool[ROWS,4]", "needs bool"},
    {"mask %3 %3 i32[ROWS]", "float"},
    {"where %2 %2 %2 f32[3,4]", "not bool"},
    {"where %5 %2 %5 f32[3,4]", "types differ"},
    {"bcast %2 {0} f32[3]", "source axis 1"},
    {"bcast %2 {1 0} f32[4,3]", "expected 0"},
    {"bcast %2 {0 1 2} f32[3,4,4]", "expected 2"},
    {"bcast %2 {0 -1 1} f32[3,2,5]", "becomes"},
    {"bcast %4 {-1} f64[3]", "rank 0 only"},
    {"reshape %2 f32[13]", "12 elements become 13"},
    {"reshape %1 f32[4,ROWS]", "ROWS must lead"},
    {"transpose %2 {0 0} f32[3,3]", "permutation"},
    {"transpose %2 {0 2} f32[3,3]", "permutation"},
    {"transpose %2 {1 0} f32[3,4]", "asked for"},
    {"slice %1 {0 0 1} f32[2,4]", "datum axis"},
    {"slice %2 {1 2 1} f32[3,3]", "length 3 of 4"},
    {"slice %2 {1 0 0} f32[3,3]", "step 0"},
    {"slice %2 {1 -1 1} f32[3,3]", "start -1"},
    {"slice %2 {1 1 9223372036854775807} f32[3,2]", "length 2"},
    {"slice %2 {1 0 1} f32[2,3]", "beside axis 1"},
    {"slice %2 {2 0 1} f32[3,4]", "axis 2"},
    {"pad %2 {1 1 1} f32[3,4]", "length 4 of 4"},
    {"take %2 {1} f32[3,1]", "empty"},
    {"take %2 {1 4} f32[3,1]", "index 4 of 4"},
    {"take %1 {0 0} f32[1,4]", "datum axis"},
    {"put %2 {1 0 1 1 2} f32[3,6]", "twice"},
    {"put %2 {1 0 1 2} f32[3,6]", "3 indices for 4"},
    {"put %2 {1 0 1 2 6} f32[3,6]", "index 6 of 6"},
    {"concat %1 %1 {0} f32[ROWS,4]", "datum axis"},
    {"concat %1 %2 {1} f32[ROWS,8]", "beside axis 1"},
    {"concat %1 %8 {1} f32[ROWS,8]", "types differ"},
    {"unfold %6 {7 1 1 1 0 0 1 1} f32[2,1,7,3,7,1]", "does not fit"},
    {"unfold %6 {1 1 0 1 0 0 1 1} f32[2,1,7,3,7,1]", "int 2 is 0"},
    {"unfold %2 {1 1 1 1 0 0 1 1} f32[3,4]", "rank 2"},
    {"rslice %2 {1} f32[3,4]", "no ROWS axis"},
    {"rslice %1 {0} f32[ROWS,4]", "row set 0"},
    {"rslice %1 {64} f32[ROWS,4]", "row set 64"},
    {"rslice %1 {2} f32[ROWS1,4]", "the rule gives f32[ROWS2,4]"},
    {"rowlist %1 {1} i32[ROWS1]", "needs f32[ROWS]"},
    {"rowplace %1 %2 i32[ROWS]", "needs f32[ROWS]"},
    {"rowpick %1 %2 f32[ROWS,4]", "needs the numbers of rows"},
    {"rowpick %2 %3 f32[3,4]", "has no rows"},
    {"random {1} f32[ROWS1,4]", "ROWS is axis 0"},
    {"column {0} f32[ROWS1,4]", "first axis is ROWS"},
    {"fold %6 {1 1 1 1 0 0 1 1} f32[2,3,6,7]", "no unfolding"},
    {"sum %2 f32[3,4]", "0 axes"},
    {"sum %2 {1 0} f32[]", "ascending"},
    {"sum %2 {2} f32[3]", "axis 2"},
    {"sum %3 {0} i32[]", "float"},
    {"argmax %2 {0 1} i32[]", "needs 1"},
    {"argmax %2 {1} f32[3]", "the rule gives i32"},
    {"dot %1 %2 {0 1 1} f32[ROWS,3]", "do not fit"},
    {"dot %1 %2 {-1 2 1 1} f32[ROWS,3]", "do not fit"},
    {"dot %1 %2 {0 1 1 0} f32[ROWS,4]", "contracted axes differ"},
    {"dot %1 %2 {1 0 0 0} f32[ROWS,4,4]", "batch axes differ"},
    {"dot %1 %2 {0 2 1 1 1 1} f32[ROWS,3]", "axis 1"},
    {"dot %1 %1 {0 1 1 1} f32[ROWS]", "twice"},
    {"dot %1 %3 {0 0} f32[ROWS,4]", "needs f32"},
    {"gather %2 %1 f32[ROWS,4,4]", "not i32"},
    {"gather %1 %7 f32[2,5,4]", "constant"},
    {"gather %4 %7 f64[2,5]", "constant"},
    {"scatter %2 %7 f32[3,4]", "no gathering"},
};

static void rules_refuse(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
    Arena *a = arena_create();
    const char *why = NULL;
    char *text = arena_printf(a, "%s%%9 = %s\n", preamble, refused[i].line);
    Graph *g = graph_parse(a, text, &why);
    if (g) fail_msg("accepted: %s", refused[i].line);
    if (!strstr(why, refused[i].why))
      fail_msg("%s: expected '%s', got '%s'", refused[i].line, refused[i].why, why);
    arena_destroy(a);
  }
}

/* A violated rule in ir_make is our own error: the process ends and names the value. */
static void broken_rule_aborts(void **state) {
  (void)state;
  int fd[2];
  assert_int_equal(pipe(fd), 0);
  pid_t child = fork();
  if (child == 0) {
    dup2(fd[1], 2);
    signal(SIGABRT, SIG_DFL);
    Bench b = bench_open(1);
    ValueId x = tensor(&b, &(Shape){1, {3}}), y = tensor(&b, &(Shape){1, {4}});
    ir_bin(b.g, OP_ADD, x, y);
    _exit(0);
  }
  close(fd[1]);
  char text[4096] = {0};
  size_t n = 0;
  for (ssize_t got; n < sizeof text - 1 && (got = read(fd[0], text + n, sizeof text - 1 - n)) > 0;)
    n += (size_t)got;
  int status;
  waitpid(child, &status, 0);
  assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
  assert_non_null(strstr(text, "%3 = add %1:f32[3] %2:f32[4]"));
  assert_non_null(strstr(text, "shapes differ"));
  close(fd[0]);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(every_op_has_a_record),
                                     cmocka_unit_test(elementwise_values),
                                     cmocka_unit_test(special_numbers),
                                     cmocka_unit_test(philox_known_answers),
                                     cmocka_unit_test(leaf_values),
                                     cmocka_unit_test(draws_follow_the_datum),
                                     cmocka_unit_test(view_values),
                                     cmocka_unit_test(row_set_values),
                                     cmocka_unit_test(packed_row_values),
                                     cmocka_unit_test(unfold_and_fold_values),
                                     cmocka_unit_test(reduction_values),
                                     cmocka_unit_test(reduction_ties_and_nan),
                                     cmocka_unit_test(dot_values),
                                     cmocka_unit_test(gather_and_scatter_values),
                                     cmocka_unit_test(only_what_a_root_needs),
                                     cmocka_unit_test(shorthands),
                                     cmocka_unit_test(rules_refuse),
                                     cmocka_unit_test(broken_rule_aborts)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
