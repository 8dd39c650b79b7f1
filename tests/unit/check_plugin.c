/* SPDX-License-Identifier: Apache-2.0
 * check_plugin.c -- formulas of plugins: each instruction, lowered and computed by the interpreter, against
 * the same in C; derivatives of what has two of them; extents that do not fit; versions.
 * tests/plugins/good/formulas.c has the ops. */
#include "check_jig.h"

enum { ROWS = 4, UNITS = 5 };
#define SPEC(body)                                                                                           \
  "edition 1\nplugin f { path = \"" TEST_BUILD "/tests/good_plugins/formulas.so\" }\n"                       \
  "param p: real = 1.5\ndata d { source = csv(\"d.csv\", x = 0 .. 5, y = 5)\n x: f32[5] = source.x\n"        \
  " y: int in 0 ..= 3 = source.y }\nparameter v: f32[5] = 0\n" body                                          \
  "\nloss l = mse(a, x) + mean(v, over = all)\n"                                                             \
  "optimize sgd(lr = 0.1)\ntrain 3 steps { batch = 4 }\n"

typedef struct At {
  const double *x, *w, *all;
  double id, unit, p;
  size_t row;
} At; /* x: the row; w: the vector; all: every row */
typedef double Want(const At *a, size_t k);

static double sum(const double *x, size_t n, size_t stride) {
  double s = 0;
  for (size_t i = 0; i < n; i++) s += x[i * stride];
  return s;
}
static double largest(const double *x, size_t *at) {
  *at = 0;
  for (size_t i = 1; i < UNITS; i++)
    if (x[i] > x[*at]) *at = i;
  return x[*at];
}
#define W(name, expression)                                                                                  \
  static double want_##name(const At *a, size_t k) {                                                         \
    const double x = a->x[k], w = a->w[k], unit = (double)k, pos = fabs(x) + 0.25;                           \
    size_t at;                                                                                               \
    (void)x, (void)w, (void)unit, (void)pos, (void)at;                                                       \
    return expression;                                                                                       \
  }
W(neg, -x)
W(abs, fabs(x)) W(sign, (x > 0) - (x < 0)) W(sqrt, sqrt(pos)) W(exp, exp(x)) W(log, log(pos)) W(tanh, tanh(x))
    W(sigmoid, 1 / (1 + exp(-x))) W(softplus, log1p(exp(x))) W(erf, erf(x)) W(relu, x > 0 ? x : 0)
        W(sin, sin(x)) W(cos, cos(x)) W(floor, floor(3 * x)) W(not, x < 0 ? 2 : 1) W(stop, x *x)
            W(sum_units, sum(a->x, UNITS, 1)) W(mean_units, sum(a->x, UNITS, 1) / UNITS) W(max_units,
                                                                                           largest(a->x, &at))
                W(argmax_units, (largest(a->x, &at), (double)at)) W(sum_rows, x *sum(a->all + k, ROWS, UNITS))
                    W(mean_rows, x - sum(a->all + k, ROWS, UNITS) / ROWS) W(add, x + unit) W(sub, x - unit)
                        W(mul, x * a->p) W(div, x / 3) W(min, fmin(x, 0.1)) W(max, fmax(x, unit))
                            W(pow, pow(pos, a->p)) W(cube, x *x *x) W(lt, x < w ? x : w)
                                W(le, a->id <= unit ? x : 0) W(eq, a->id == unit ? x : a->p)
                                    W(logic, (x < 0 && a->id <= 1) || !(x <= 0.5) ? x : 9)
                                        W(straight, floor(x)) W(slots, x * a->id) W(training, x)
                                            W(vector, (a->x[0] * a->w[0] + a->x[1] * a->w[1] +
                                                       a->x[2] * a->w[2] + a->x[3] * a->w[3] +
                                                       a->x[4] * a->w[4])) W(step, x *(7.0 / 100 + 10))
#undef W
                                                static const struct {
  const char *name;
  Want *want;
} cases[] = {
#define W(name) {#name, want_##name},
    W(neg) W(abs) W(sign) W(sqrt) W(exp) W(log) W(tanh) W(sigmoid) W(softplus) W(erf) W(relu) W(sin) W(cos)
        W(floor) W(not ) W(stop) W(sum_units) W(mean_units) W(max_units) W(argmax_units) W(sum_rows)
            W(mean_rows) W(add) W(sub) W(mul) W(div) W(min) W(max) W(pow) W(cube) W(lt) W(le) W(eq) W(logic)
                W(straight) W(slots) W(training) W(vector) W(step)
#undef W
};

/* p: the run-time param, a number, or the default. */
static void hold(const char *name, Want *want, const char *arguments, double p) {
  Arena *a = arena_create();
  Jig j = jig_spec(arena_printf(a, SPEC("model { a = x + 0 * v\n g = f.%s(x, y, v%s) }\n"), name, arguments));
  jig_fill(&j, ROWS);
  j.step = 7;
  const int x = jig_column(&j, "x"), y = jig_column(&j, "y"), v = jig_param(&j, "v");
  const double *got = jig_get(&j, j.p->step, "g");
  const int64_t n = jig_count(&j, j.p->step, jig_named(j.p->step, "g"));
  assert_true(n == ROWS || n == ROWS * UNITS);
  for (size_t r = 0; r < ROWS; r++)
    for (size_t k = 0; k < (size_t)(n / ROWS); k++) {
      const At at = {j.columns[x] + r * UNITS, j.params[v], j.columns[x], j.columns[y][r], 0, p, r};
      near(got[r * (size_t)(n / ROWS) + k], want(&at, k), name);
    }
  assert_int_equal(j.p->n_plugins, 1);
  assert_int_equal(j.p->n_calls, 0); /* nothing is left to call */
  jig_close(&j);
  arena_destroy(a);
}

static void test_instructions(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    hold(cases[i].name, cases[i].want, "", 0.75);
    hold(cases[i].name, cases[i].want, ", p = 2", 2);
    hold(cases[i].name, cases[i].want, ", p = p", 1.5);
    hold(cases[i].name, cases[i].want, ", p = ramp(0, 1, over = 14 steps)", 0.5);
  }
}

static double draw(Jig *j, const char *name, size_t i) { return jig_get(j, j->p->step, name)[i]; }
static void test_random(void **state) {
  (void)state;
  Jig j = jig_spec(SPEC(
      "model { a = x + 0 * v\n b = f.random(x, y, v)\n c = f.random(x, y, v)\n e = f.random_rows(x, y, v) }\n"
      "evaluate q { on = d.train; m = mse(b, x) }\n"));
  jig_fill(&j, ROWS);
  assert_int_equal(jig_count(&j, j.p->step, jig_named(j.p->step, "e")), ROWS);
  for (size_t i = 0; i < ROWS * UNITS; i++) {
    const double b = draw(&j, "b", i);
    assert_true(b >= 0 && b < 1 && b != draw(&j, "c", i) && (i == 0 || b != draw(&j, "b", 0)));
  }
  Graph *eval = j.p->evals[0].graph;
  ValueId metric = 0;
  for (uint32_t i = 0; i < eval->n_roots; i++)
    if (eval->roots[i].kind == ROOT_METRIC) metric = eval->roots[i].value;
  const double *x = j.columns[jig_column(&j, "x")], *m = jig_value(&j, eval, metric);
  double want = 0;
  for (size_t k = 0; k < UNITS; k++)
    want += (0.5 - x[k]) * (0.5 - x[k]) / UNITS; /* an evaluation draws nothing */
  near(m[0], want, "half");
  jig_close(&j);
}

static void test_refused(void **state) {
  (void)state;
  static const struct {
    DiagCode code;
    const char *body;
  } bad[] = {
      {E0537, "model { a = x + 0 * v\n g = f.add(x, y, v)\n h = f.vector(x, y, x[0 .. 3]) }\n"},
      {E0536, "model { a = x + 0 * v\n w = reshape(v, [5, 1])\n g = f.add(x, y, w) }\n"},
      {E0303, "model { a = x + 0 * v\n g = f.div(x, y, v, n = 1.5) }\n"},
      {E0336, "model { a = x + 0 * v\n g = f.div(x, y, v, n = 10) }\n"},
      {E0302, "model { a = x + 0 * v\n g = f.div(x, y, v, n = ramp(1, 2, over = all)) }\n"},
      {E0303, "model { a = x + 0 * v\n g = f.div(x, y, v, n = p) }\n"},
      {E0336, "model { a = x + 0 * v\n g = f.mul(x, y, v, p = 8 * p) }\n"},
      {E0302, "model { a = x + 0 * v\n g = f.mul(x, x, v) }\n"},
      {E0302, "model { a = x + 0 * v\n g = f.mul(2, y, v) }\n"},
      {E0538, "model { a = x + 0 * v\n g = f.step(x, y, v) }\nevaluate q { on = d.train; m = mse(g, x) }\n"},
      {E0224, "model { a = x + 0 * v\n g = f(x, y, v) }\n"},
      {E0215, "model { a = x + 0 * v\n g = f }\n"},
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    Arena *a = arena_create();
    Jig j = jig_open(arena_printf(a, SPEC("%s"), bad[i].body), NULL, 0);
    if (!jig_says(&j, bad[i].code)) {
      diags_print_text(j.diags, stderr, false);
      fail_msg("%s is not said of %s", diag_code_name(bad[i].code), bad[i].body);
    }
    assert_null(j.p);
    jig_close(&j);
    arena_destroy(a);
  }
}

/* The range of a run-time param is narrowed to that of the parameter that it is given for. */
static void test_range(void **state) {
  (void)state;
  Jig j = jig_spec(SPEC("model { a = x + 0 * v\n g = f.mul(x, y, v, p = p) }\n"));
  assert_int_equal(j.p->n_scalars, 1);
  assert_true(j.p->scalars[0].lo == -10 && j.p->scalars[0].hi == 10);
  jig_close(&j);
}

/* ---- ops that are called: tests/plugins/good/every.c ---- */
#define EVERY(body)                                                                                          \
  "edition 1\nplugin every { path = \"" TEST_BUILD "/tests/good_plugins/every.so\" }\nparam p: real = 1.5\n" \
  "data d { source = csv(\"d.csv\", x = 0 .. 5, y = 5)\n x: f32[5] = source.x\n y: int in 0 ..= 3 = "        \
  "source.y }\n"                                                                                             \
  "parameter v: f32[5] = 0\n" body                                                                           \
  "\noptimize sgd(lr = every.line(weight = 0.1))\ntrain 3 steps { batch = 4 }\n"

static const Value *call_of(const Graph *g, uint32_t call) {
  for (ValueId i = 1; i < g->n; i++)
    if (g->v[i].op == OP_CALL && g->v[i].ints[0] == (int64_t)call) return &g->v[i];
  fail_msg("there is no call %u", call);
  return NULL;
}

static void test_calls(void **state) {
  (void)state;
  Jig j = jig_spec(EVERY(
      "model { g = every.pick(x * v, y, weight = 2 * p)\n f = every.few(v, y, power = 3) }\n"
      "loss l = mean(g) * mean(f)\nregularize r = every.sum(v, weight = p, power = 2) + every.square(g)\n"
      "regularize s = every(v)\nevaluate q { on = d.train; m = mean(g) * mean(f) }\n"));
  const Graph *g = j.p->step;
  assert_int_equal(j.p->n_plugins, 1);
  assert_string_equal(j.p->plugins[0].name, "every");
  assert_true(j.p->plugins[0].path[0] == '/' && strlen(j.p->plugins[0].sha256) == 64);
  assert_int_equal(j.p->n_calls, 5); /* the evaluation's gates are the step's; `every` is a formula */
  static const CallAbility abilities[] = {CALL_GATE, CALL_GATE, CALL_SPAN, CALL_REDUCE, CALL_SCHEDULE};
  for (uint32_t i = 0; i < 5; i++) assert_int_equal(j.p->calls[i].ability, abilities[i]);
  const ProgCall *pick = &j.p->calls[0], *sum = &j.p->calls[2];
  assert_true(pick->params[0].scalar == -1 &&
              pick->params[0].value == 3); /* computed: `p` is structural for it */
  assert_true(sum->params[0].value == 1.5 && sum->params[1].value == 2 && pick->params[1].value == 1);
  assert_true(pick->stream != sum->stream && pick->stream != 0);
  const Value *few = call_of(g, 1), *value = call_of(g, 0);
  const Shape one = shape_of(2, DIM_ROWS, 1), two = shape_of(2, DIM_ROWS, 2), all = shape_of(2, DIM_ROWS, 5);
  assert_true(shape_equal(&value->shape, &one) && shape_equal(&few->shape, &two));
  assert_int_equal(g->v[few->args[0]].op, OP_STOP);          /* it gives no gradient */
  assert_true(shape_equal(&g->v[few->args[0]].shape, &all)); /* a vector is repeated along the rows */
  assert_true(g->v[value->args[0]].op != OP_STOP && g->v[value->args[1]].dtype == DT_I32);
  jig_close(&j);
  j = jig_spec(EVERY("loss l = mse(x, v)\nregularize r = every.sum(v, weight = p)\n"));
  assert_true(j.p->calls[0].params[0].scalar == 0 && j.p->n_scalars == 1 && j.p->scalars[0].lo == 0 &&
              j.p->scalars[0].hi == 10);
  jig_close(&j);
}

static void test_calls_refused(void **state) {
  (void)state;
  static const struct {
    DiagCode code;
    const char *body;
  } bad[] = {{E0535, "loss l = mse(x, v)\nregularize r = every.sum(v, weight = ramp(0, 1, over = all))\n"},
             {E0536, "model { w = reshape(v, [5, 1])\n g = every.pick(w, y) }\nloss l = mse(g, g)\n"},
             {E0539, "model { g = every.few(x, y) }\nloss l = mse(g, g)\n"},
             {E0538, "loss l = mse(x, v)\nevaluate q { on = d.train; m = every.line() * mse(x, v) }\n"},
             {E0302, "loss l = mse(x, v)\nregularize r = every.square(y is yes)\n"}};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    Arena *a = arena_create();
    Jig j = jig_open(arena_printf(a, EVERY("%s"), bad[i].body), NULL, 0);
    if (!jig_says(&j, bad[i].code)) {
      diags_print_text(j.diags, stderr, false);
      fail_msg("%s is not said of %s", diag_code_name(bad[i].code), bad[i].body);
    }
    jig_close(&j);
    arena_destroy(a);
  }
}

static void test_versions(void **state) {
  (void)state;
  static const struct {
    const char *range;
    bool ok;
  } rows[] = {{"^1.0", true},   {"^1", true},       {"^1.0.0", true}, {"^1.0.1", false}, {"^1.1", false},
              {"^2", false},    {"^0.9", false},    {"~1", true},     {"~1.0", true},    {"~1.1", false},
              {"=1", true},     {"=1.0", true},     {"=1.0.0", true}, {"=1.0.1", false}, {">=0.1", true},
              {">=1", true},    {">=1.0.1", false}, {">=2", false},   {"~0.9", false},   {"^0", false},
              {"=0.9.9", false}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    Arena *a = arena_create();
    Jig j = jig_open(arena_printf(a,
                                  "edition 1\nplugin f { path = \"" TEST_BUILD
                                  "/tests/good_plugins/formulas.so\"; version = \"%s\" }\n"
                                  "model { a = 1 }\n",
                                  rows[i].range),
                     NULL, 0);
    if (jig_says(&j, E0533) == rows[i].ok || jig_says(&j, E0534)) fail_msg("%s", rows[i].range);
    jig_close(&j);
    arena_destroy(a);
  }
  static const char *const wrong[] = {"",           "1.0", "^",   "^a",  "^1.",        "^1.2.3.4",
                                      "^1.2.3-rc1", "<1",  "==1", "^ 1", "^9999999999"};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    Arena *a = arena_create();
    Jig j = jig_open(arena_printf(a, "edition 1\nplugin l1 { version = \"%s\" }\n", wrong[i]), NULL, 0);
    if (!jig_says(&j, E0534)) fail_msg("`%s` is taken", wrong[i]);
    jig_close(&j);
    arena_destroy(a);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_instructions), cmocka_unit_test(test_random),
      cmocka_unit_test(test_refused),      cmocka_unit_test(test_range),
      cmocka_unit_test(test_calls),        cmocka_unit_test(test_calls_refused),
      cmocka_unit_test(test_versions)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
