/* SPDX-License-Identifier: Apache-2.0
 * Which entries a step reaches, against its definition: those to which the gradient of some datum by itself, routed, is not
 * 0. All activations are smooth and all numbers random, so that nothing but a declared factor makes a 0. Under `freeze`
 * with weight decay an entry moves if and only if it is reached. */
#include "check_jig.h"
#include <stdio.h>

enum { ROWS = 6, MAX_TEXT = 4096 };

/* `read`: parameters whose entries meet a hidden value, a 0 that is no declared factor of theirs: they count as reached. */
typedef struct Case { const char *name, *data, *model, *rest, *read; } Case;

static const char flat[] = "x = 0 .. 6, w = 6, c = 7)\n  x: f32[6] = source.x\n  w: f32[] = source.w";
static const char steps[] = "x = 0 .. 18, w = 18, c = 19)\n  x: f32[t = 3, 6] = reshape(source.x, [3, 6])\n  w: f32[] = source.w";
static const char pixels[] = "x = 0 .. 50, w = 50, c = 51)\n  x: f32[2, 5, 5] = reshape(source.x, [2, 5, 5])\n  w: f32[] = source.w";
static const char words[] = "x = 0, w = 1, c = 2)\n  x: int in 0 ..= 4 = source.x\n  w: f32[] = source.w";
#define ARMS "{ when c == 0 to a; when c == 1 to { a = -0.5; b = 1e-30 }; otherwise to b }"
#define CLOSED "{ when c == 0 to a; when c == 1 to none; otherwise to b }"
#define OWNED "{ when c == 0 to a; when c == 1 to { a = 0.0; b = 0.5; shared = -0.75 }; otherwise to b + shared }"
#define SPLIT(z) "split " z " { a = [0, 2]; b = rest }\n"
static const char deep[] = "  h = x |> fc1: linear(4) |> tanh\n  g = h |> fc2: linear(4) |> tanh\n  y = g |> fc3: linear(3)\n";

static const Case cases[] = {
    {"units of a layer", flat, deep, SPLIT("h") "route r: gradient of h " CLOSED, NULL},
    {"two places", flat, deep, SPLIT("h") SPLIT("g") "route r: gradient of h " CLOSED "\nroute s: gradient of g " ARMS, NULL},
    {"two places that leave nothing", flat, deep, SPLIT("h") SPLIT("g") "route r: gradient of h { when c == 0 to none; otherwise to all }\nroute s: gradient of g { when c == 1 to none; otherwise to all }", NULL},
    {"two routes at one place", flat, deep, SPLIT("h") "route r: gradient of h " CLOSED "\nroute s: gradient of h { when c == 2 to none; otherwise to all } { also }", NULL},
    {"strength", flat, deep, SPLIT("h") "route r: gradient of h " CLOSED " { strength = ramp(0, 1, over = 10 steps) }", NULL},
    {"a strength of small factors", flat, deep, SPLIT("h") "route r: gradient of h { when c == 0 to a; when c == 1 to { a = 1e-30; b = 0.0 }; otherwise to b } { strength = ramp(0, 1, over = 10 steps) }", NULL},
    {"data with strengths of their own", flat, deep, SPLIT("h") "class soft = w\nroute r: gradient of h " CLOSED " { strength = soft }", NULL},
    {"parameters with strengths of their own", flat, deep, SPLIT("h") "class soft = w\nroute r: parameters of h " OWNED " { strength = soft }", NULL},
    {"weights", flat, deep, SPLIT("h") "class soft = w\nroute r: gradient of h ordered { when soft to a; when c == 1 to none; otherwise to b }", NULL},
    {"a fraction of a strength", flat, deep, SPLIT("h") "route r: gradient of h " CLOSED " { strength = 0.5 }", NULL},
    {"pieces put together", flat, "  h = x |> fc1: linear(4) |> tanh\n  y = concat(h.b |> f1: linear(2), h.a |> f2: linear(3), h[1 .. 3] |> f3: linear(2))\n", SPLIT("h") "route r: gradient of h " CLOSED, NULL},
    {"a residual branch", flat, "  h = x |> fc1: linear(4)\n  g = tanh(h) |> fc2: linear(4)\n  y = (h + g) |> fc3: linear(3)\n", SPLIT("g") "route r: gradient of g " CLOSED, NULL},
    {"a norm", flat, "  h = x |> fc1: linear(4) |> ln: layer_norm\n  y = tanh(h) |> fc2: linear(3)\n", SPLIT("h") "route r: gradient of h " CLOSED, NULL},
    {"a module used twice", flat, "  h = step(x)\n  g = step(h)\n  y = g |> fc: linear(3)\n", SPLIT("h") "module step(v: f32[6]) -> f32[6] { out = v |> fc: linear(6) |> tanh }\nroute r: gradient of h " CLOSED "\nroute s: gradient of g { when c == 0 to none; otherwise to all }", NULL},
    {"a loss that is not routed", flat, deep, SPLIT("h") "route r: gradient of h for l " CLOSED "\nloss m = mean(square(h.a)) { sum }", NULL},
    {"a regularizer that is not routed", flat, deep, SPLIT("h") "route r: gradient of h " CLOSED "\nregularize m = mean(square(h.a), over = all) { gradient = unrouted }", NULL},
    {"a regularizer that is", flat, deep, SPLIT("h") "route r: gradient of h " CLOSED "\nregularize m = mean(square(h.a), over = all) { gradient = routed }", NULL},
    {"a mask on the value", flat, deep, SPLIT("h") "route r: value of h { when c == 0 to a; otherwise to all }\nroute s: gradient of h " CLOSED, "fc2.weight"},
    {"a gate", flat, "  g = x |> gate: linear(4)\n  h = g * sigmoid(x |> up: linear(4))\n  y = h |> down: linear(3)\n", SPLIT("g") "route r: gradient of g " CLOSED, NULL},
    {"steps of time", steps, "  h = x |> fc1: linear(4) |> tanh\n  y = flatten(h) |> fc2: linear(3)\n", SPLIT("h") "route r: gradient of h " CLOSED, NULL},
    {"products of data", steps, "  q = x |> q: linear(4, bias = false)\n  k = x |> k: linear(4, bias = false)\n  y = reshape(tanh(matmul(q, transpose(k, [1, 0]))), [9])\n", SPLIT("q") "route r: gradient of q " CLOSED "\nroute s: gradient of k { when c == 0 to all; otherwise to none }", NULL},
    {"channels", pixels, "  h = x |> k1: conv2d(4, kernel = 3, padding = same) |> tanh\n  y = flatten(h |> k2: conv2d(3, kernel = 2))\n", "split h { a = [0, 2]; b = rest }\nroute r: gradient of h " CLOSED, NULL},
    {"an embedding", words, "  h = x |> emb: embedding(5, 4)\n  y = tanh(h) |> fc: linear(3)\n", SPLIT("h") "route r: gradient of h " CLOSED, NULL},
    {"parameters", flat, deep, SPLIT("h") "route r: parameters of h " OWNED, NULL},
    {"parameters, rows and columns", flat, deep, SPLIT("h") SPLIT("g") "route r: parameters of h + g " OWNED " { cross = shared }", NULL},
    {"parameters and gradients", flat, deep, SPLIT("h") SPLIT("g") "route r: parameters of h + g " OWNED " { cross = row }\nroute s: gradient of g { when c == 2 to a; otherwise to all }\nroute t: gradient of h " ARMS, NULL},
    {"parameters of a norm", flat, "  h = x |> fc1: linear(4) |> ln: layer_norm\n  y = tanh(h) |> fc2: linear(3)\n", SPLIT("h") "route r: parameters of h " OWNED, NULL},
    {"parameters of channels", pixels, "  h = x |> k1: conv2d(4, kernel = 3, padding = same) |> tanh\n  y = flatten(h |> k2: conv2d(3, kernel = 2))\n", "split h { a = [0, 2]; b = rest }\nroute r: parameters of h " OWNED, NULL},
    {"a parameter behind a softmax", flat, "  y = (x |> fc: linear(4)) * softmax(w1)\n", "parameter w1: f32[4] = 0\n" SPLIT("w1") "route r: parameters of w1 " CLOSED, NULL},
    {"rows of a vocabulary", words, "  h = x |> emb: embedding(5, 4)\n  y = matmul(reshape(tanh(h), [1, 4]), transpose(emb.weight))\n", SPLIT("y") "route r: parameters of y " OWNED, NULL},
    {"parameters of an embedding", words, "  h = x |> emb: embedding(5, 4)\n  y = tanh(h) |> fc: linear(3)\n", SPLIT("h") "route r: parameters of h " OWNED, NULL},
};

static Jig open_case(const Case *c, const char *optimizer) {
  char text[2 * MAX_TEXT];
  snprintf(text, sizeof text,
           "edition 1\ndata d {\n  source = csv(\"d.csv\", %s\n  c: int in 0 ..= 2 = source.c\n}\nmodel {\n%s}\n%s\nloss l = mean(square(y)) { sum }\n"
           "optimize %s { masked = freeze }\ntrain { batch = 4; for = 40 steps }\n",
           c->data, c->model, c->rest, optimizer);
  Jig j = jig_open(text, NULL, 0);
  if (!j.p) diags_print_text(j.diags, stderr, false), fprintf(stderr, "%s:\n%s\n", c->name, text);
  assert_non_null(j.p);
  pass_autodiff(j.p);
  pass_mask(j.p);
  pass_update(j.p, true);
  assert_null(program_verify(j.p));
  return j;
}

static EvalResult run(const Jig *j, int64_t first, int64_t rows, double step) {
  const double **columns = ARENA_NEWS(j->a, const double *, j->p->n_columns + 1);
  double *const zero = ARENA_NEWS(j->a, double, 4096), **rest = ARENA_NEWS(j->a, double *, 4);
  for (int k = 0; k < 4; k++) rest[k] = zero;
  double ***states = ARENA_NEWS(j->a, double **, j->p->n_params + 1);
  for (uint32_t i = 0; i < j->p->n_params; i++) states[i] = rest;
  for (uint32_t k = 0; k < j->p->n_columns; k++) columns[k] = j->columns[k] + first * shape_count(&j->p->columns[k].shape, 1);
  EvalInput in = {.rows = rows, .params = (const double *const *)j->params, .states = (const double *const *const *)states, .columns = columns,
                  .scalars = j->scalars, .step = step, .total_steps = 40, .steps_per_epoch = 10, .seed = 1};
  return graph_eval(j->p->step, j->a, &in);
}

static const double *root(const Jig *j, const EvalResult *r, RootKind kind, uint32_t param, uint32_t k) {
  const Graph *g = j->p->step;
  for (uint32_t i = 0; i < g->n_roots; i++)
    if (g->roots[i].kind == kind && g->roots[i].a == param && g->roots[i].b == k) return r->value[g->roots[i].value];
  return NULL;
}

static bool in_a(int64_t unit) { return unit == 0 || unit == 2; }

static void reached_by_data(const Jig *j, double step, bool by_row, bool **reached) {
  for (int row = 0; row < ROWS; row++) {
    const EvalResult r = run(j, row, 1, step);
    for (uint32_t i = 0; i < j->p->n_params; i++) {
      const double *d = root(j, &r, ROOT_GRAD, i, 0);
      const Shape *s = &j->p->params[i].shape;
      const int64_t n = shape_count(s, 1);
      /* The rows of a table that no region tells apart are one: which of them a datum looks up is its content. */
      const bool table = !strcmp(j->p->params[i].path, "emb.weight");
      for (int64_t e = 0; d && e < n; e++)
        for (int64_t k = 0; d[e] != 0 && k < n; k++)
          if (k == e || (table && k % s->d[1] == e % s->d[1] && (!by_row || in_a(k / s->d[1]) == in_a(e / s->d[1])))) reached[i][k] = true;
    }
  }
}

static uint32_t check_batch(const Case *c, Jig *sgd, Jig *adam, int classes, bool late) {
  const double step = late ? 20 : 3; /* ramps of ten steps */
  uint32_t n_closed = 0;
  bool **reached = ARENA_NEWS(sgd->a, bool *, sgd->p->n_params + 1);
  for (uint32_t i = 0; i < sgd->p->n_params; i++) reached[i] = ARENA_NEWS(sgd->a, bool, shape_count(&sgd->p->params[i].shape, 1));
  int list[3], n_list = 0;
  for (int k = 0; k < 3; k++)
    if (classes >> k & 1) list[n_list++] = k;
  for (Jig *j = sgd; j; j = j == sgd ? adam : NULL) {
    const int label = jig_column(j, "c");
    for (int row = 0; row < ROWS; row++) j->columns[label][row] = list[row % n_list];
    for (uint32_t k = 0; k < j->p->n_columns; k++) /* weights: 0, 1/2, 1, also all 1 and all 0 */
      for (int row = 0; row < ROWS && !strcmp(j->p->columns[k].name, "w"); row++)
        j->columns[k][row] = late ? (classes & 1) : (row * classes % 3) * 0.5;
  }
  reached_by_data(sgd, step, !strcmp(c->name, "rows of a vocabulary"), reached);
  const EvalResult r = run(sgd, 0, ROWS, step), a = run(adam, 0, ROWS, step);
  for (uint32_t i = 0; i < sgd->p->n_params; i++) {
    const double *next = root(sgd, &r, ROOT_PARAM, i, 0), *count = root(adam, &a, ROOT_STATE, i, 2);
    const Shape *s = &sgd->p->params[i].shape;
    for (int64_t e = 0, n = shape_count(s, 1); e < n; e++) {
      const bool moved = next && next[e] != sgd->params[i][e];
      if (c->read && !strcmp(sgd->p->params[i].path, c->read)) reached[i][e] = true;
      n_closed += !reached[i][e];
      if (moved != reached[i][e])
        fail_msg("%s, classes %d, step %g: %s[%lld] is %sreached but %s", c->name, classes, step, sgd->p->params[i].path, (long long)e,
                 reached[i][e] ? "" : "not ", moved ? "moves" : "stays");
      if (count && (count[e] != 0) != reached[i][e]) fail_msg("%s: %s[%lld] is counted wrongly", c->name, sgd->p->params[i].path, (long long)e);
      if (!count && next && !reached[i][e]) fail_msg("%s: %s[%lld] has no counter", c->name, sgd->p->params[i].path, (long long)e);
    }
  }
  return n_closed;
}

static void against_the_definition(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    Jig sgd = open_case(&cases[i], "sgd(lr = 0.1, weight_decay = 0.1)"), adam = open_case(&cases[i], "adam(lr = 0.1)");
    jig_fill(&sgd, ROWS), jig_fill(&adam, ROWS);
    uint32_t n_closed = 0, n_open = 0;
    for (int classes = 1; classes < 8; classes++)
      for (int late = 0; late < 2; late++) {
        const uint32_t n = check_batch(&cases[i], &sgd, &adam, classes, late);
        n_closed += n, n_open += n == 0;
      }
    if (strstr(cases[i].name, "fraction")) assert_int_equal(n_closed, 0);
    else if (!n_closed) fail_msg("%s: nothing is ever closed: the case tests nothing", cases[i].name);
    if (!strcmp(cases[i].name, "strength")) assert_true(n_open >= 7); /* until the strength is 1 everything is reached */
    jig_close(&sgd), jig_close(&adam);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(against_the_definition)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
