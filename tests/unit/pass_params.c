/* SPDX-License-Identifier: Apache-2.0
 * Routes of parameters against their definition: the gradient of each datum by itself, without the route,
 * each entry times the factor of its part for this datum, and the sum over the data. */
#include "check_jig.h"
#include "own.h"

enum { ROWS = 7, MAX_TEXT = 4096 };

/* Part of entry `at` of a parameter, as a number into the table's columns. */
typedef int Owner_of(const char *path, const int64_t *at);
typedef struct Case {
  const char *name, *data, *model, *routes /* of both */, *route;
  Owner_of *owner;
  int64_t positions;  /* each is a datum for the definition; 0: none */
  double table[3][4]; /* [class][part] */
} Case;

static Jig open_case(const Case *c, bool routed, int64_t positions) {
  char text[4 * MAX_TEXT], with[MAX_TEXT];
  snprintf(with, sizeof with, c->data, (long long)positions);
  snprintf(text, sizeof text,
           "edition 1\n%s\nmodel {\n%s\n}\n%s\n%s\nloss l = y2 { sum }\noptimize adam(lr = 0.1, weight_decay "
           "= 0.1)\ntrain { batch = 4; for = 2 epochs }\n",
           with, c->model, c->routes ? c->routes : "", routed ? c->route : "");
  Jig j = jig_open(text, NULL, 0);
  if (!j.p) diags_print_text(j.diags, stderr, false), fprintf(stderr, "%s: %s\n", c->name, text);
  assert_non_null(j.p);
  return j;
}

static void differentiate(Jig *j) {
  assert_null(program_verify(j->p));
  pass_autodiff(j->p);
  assert_null(program_verify(j->p));
  pass_mask(j->p);
  assert_null(program_verify(j->p));
}

static EvalResult run(Jig *j, int64_t rows) {
  EvalInput in = {.rows = rows,
                  .params = (const double *const *)j->params,
                  .columns = (const double *const *)j->columns,
                  .scalars = j->scalars,
                  .step = 3,
                  .total_steps = 100,
                  .steps_per_epoch = 10,
                  .seed = 1};
  return graph_eval(j->p->step, j->a, &in);
}

static const double *gradient(const Jig *j, const EvalResult *r, uint32_t param) {
  for (uint32_t i = 0; i < j->p->step->n_roots; i++)
    if (j->p->step->roots[i].kind == ROOT_GRAD && j->p->step->roots[i].a == param)
      return r->value[j->p->step->roots[i].value];
  return NULL;
}

/* Adds what one datum contributes. */
static void add_datum(Jig *one, const Case *c, int cls, double **want) {
  const EvalResult r = run(one, 1);
  for (uint32_t i = 0; i < one->p->n_params; i++) {
    const double *g = gradient(one, &r, i);
    const Shape *s = &one->p->params[i].shape;
    for (int64_t e = 0, n = shape_count(s, 1); g && e < n; e++) {
      int64_t at[IR_MAX_RANK] = {0}, rest = e;
      for (int k = s->rank; k-- > 0; rest /= s->d[k]) at[k] = rest % s->d[k];
      const int part = c->owner(one->p->params[i].path, at);
      want[i][e] += g[e] * (part < 0 ? 1 : c->table[cls][part]);
    }
  }
}

/* 0 where nothing reads the column. */
static int class_of(const Jig *all, const Case *c, int64_t i) {
  for (uint32_t k = 0; k < all->p->n_columns; k++) {
    if (strcmp(all->p->columns[k].name, "c") != 0) continue;
    const double label = all->columns[k][i];
    return c->positions ? (label >= -0.5) + (label >= 0.5) : (int)label;
  }
  return 0;
}

static void check_case(const Case *c) {
  const int64_t t = c->positions ? c->positions : 1;
  Jig all = open_case(c, true, t), one = open_case(c, false, 1);
  differentiate(&all), differentiate(&one);
  jig_fill(&all, ROWS), jig_fill(&one, 1);
  assert_int_equal(all.p->n_params, one.p->n_params);
  double **want = ARENA_NEWS(one.a, double *, one.p->n_params);
  for (uint32_t i = 0; i < one.p->n_params; i++) {
    memcpy(one.params[i], all.params[i], (size_t)shape_count(&one.p->params[i].shape, 1) * sizeof(double));
    want[i] = ARENA_NEWS(one.a, double, shape_count(&one.p->params[i].shape, 1));
  }
  for (int64_t i = 0; i < ROWS * t; i++) {
    const int cls = class_of(&all, c, i);
    for (uint32_t k = 0; k < one.p->n_columns; k++) {
      const int64_t n = shape_count(&one.p->columns[k].shape, 1);
      const int from = jig_column(&all, one.p->columns[k].name);
      assert_int_equal(shape_count(&all.p->columns[from].shape, 1), n * t);
      memcpy(one.columns[k], all.columns[from] + i * n, (size_t)n * sizeof(double));
    }
    add_datum(&one, c, cls, want);
  }
  /* simplifying rounds the constants that it folds */
  for (int simplified = 0; simplified < 2; simplified++) {
    const EvalResult r = run(&all, ROWS);
    for (uint32_t i = 0; i < all.p->n_params; i++) {
      const double *g = gradient(&all, &r, i);
      assert_non_null(g);
      for (int64_t e = 0, n = shape_count(&all.p->params[i].shape, 1); e < n; e++)
        if (!(fabs(g[e] - want[i][e]) <= (simplified ? 1e-6 : 1e-11) * (1 + fabs(want[i][e]))))
          fail_msg("%s: %s[%lld] is %.17g, want %.17g%s", c->name, all.p->params[i].path, (long long)e, g[e],
                   want[i][e], simplified ? ", simplified" : "");
    }
    all.p->step = pass_simplify(all.p->step, all.a);
    assert_null(graph_verify(all.p->step));
  }
  jig_close(&all), jig_close(&one);
}

static const char flat[] = "data d {\n  source = csv(\"d.csv\", x = 0 .. 6, c = 6)\n  x: f32[6] = source.x\n "
                           " c: int in 0 ..= 2 = source.c\n}";
#define Y2 "  y2 = mean(y * y)"

static int in_a(int64_t unit) { return unit == 0 || unit == 2 ? 0 : 1; } /* a = [0, 2], b = rest */
#define ARMS                                                                                                 \
  "{ when c == 0 to a; when c == 1 to { a = 1.0; b = 0.5; shared = -0.75 }; otherwise to b + shared }"
#define TABLE                                                                                                \
  {                                                                                                          \
    {1, 0, 0}, {1, 0.5, -0.75}, { 0, 1, 1 }                                                                  \
  }

static int own_two(const char *p, const int64_t *at) {
  if (!strcmp(p, "fc1.weight") || !strcmp(p, "fc1.bias")) return in_a(at[0]);
  if (!strcmp(p, "fc2.weight")) return in_a(at[1]);
  return !strcmp(p, "fc2.bias") ? 2 : -1;
}
static const char two_layers[] =
    "  h = x |> fc0: linear(5) |> tanh |> fc1: linear(4) |> relu\n  y = h |> fc2: linear(3)\n" Y2;

static int own_layer(const char *p, const int64_t *at) { return !strncmp(p, "fc1", 3) ? in_a(at[0]) : -1; }

static int own_deep(const char *p, const int64_t *at, int cross) { /* h and g are split alike */
  const int row = in_a(at[0]), col = in_a(at[1]);
  if (!strcmp(p, "fc1.weight") || !strcmp(p, "fc2.bias") || !strcmp(p, "fc1.bias")) return row;
  if (!strcmp(p, "fc2.weight")) return row == col ? row : cross == 0 ? row : cross == 1 ? col : 2;
  return !strcmp(p, "fc3.weight") ? col : 2;
}
static int own_by_row(const char *p, const int64_t *at) { return own_deep(p, at, 0); }
static int own_by_column(const char *p, const int64_t *at) { return own_deep(p, at, 1); }
static int own_by_name(const char *p, const int64_t *at) { return own_deep(p, at, 2); }
static const char deep[] =
    "  h = x |> fc1: linear(4) |> tanh\n  g = h |> fc2: linear(4) |> tanh\n  y = g |> fc3: linear(3)\n" Y2;
#define SPLITS "split h { a = [0, 2]; b = rest }\nsplit g { a = [0, 2]; b = rest }"

static const char pixels[] = "data d {\n  source = csv(\"d.csv\", x = 0 .. 50, c = 50)\n  x: f32[2, 5, 5] = "
                             "reshape(source.x, [2, 5, 5])\n  c: int in 0 ..= 2 = source.c\n}";
static int own_conv(const char *p, const int64_t *at) {
  if (!strcmp(p, "k1.weight") || !strcmp(p, "k1.bias")) return in_a(at[0]);
  if (!strcmp(p, "k2.weight")) return in_a(at[1]);
  if (!strcmp(p, "fc.weight")) return in_a(at[1] / 16); /* 16 pixels a channel */
  return 2;
}

static const char words[] = "data d {\n  source = csv(\"d.csv\", x = 0, c = 1)\n  x: int in 0 ..= 4 = "
                            "source.x\n  c: int in 0 ..= 2 = source.c\n}";
static int own_words(const char *p, const int64_t *at) {
  return !strcmp(p, "emb.weight") ? in_a(at[1]) : !strcmp(p, "fc.weight") ? in_a(at[1]) : 2;
}
static int own_tied(const char *p, const int64_t *at) { return !strcmp(p, "emb.weight") ? in_a(at[1]) : -1; }
static int own_vocabulary(const char *p, const int64_t *at) {
  return !strcmp(p, "emb.weight") ? in_a(at[0]) : 2;
}

static int own_norm(const char *p, const int64_t *at) {
  return !strcmp(p, "fc.weight") ? in_a(at[1]) : !strcmp(p, "fc.bias") ? 2 : in_a(at[0]);
}

static const char steps[] = "data d {\n  source = csv(\"d.csv\", x = 0 .. 18, c = 18)\n  x: f32[t = 3, 6] = "
                            "reshape(source.x, [3, 6])\n  c: int in 0 ..= 2 = source.c\n}";
static const char attention[] =
    "  q = reshape(x |> q: linear(6), [3, 3, 2])\n  k = reshape(x |> k: linear(6), [3, 3, 2])\n"
    "  v = reshape(x |> v: linear(6), [3, 3, 2])\n  s = softmax(matmul(transpose(q, [1, 0, 2]), transpose(k, "
    "[1, 2, 0])))\n"
    "  mixed: f32[heads = 3, 3, 2] = matmul(s, transpose(v, [1, 0, 2]))\n"
    "  y = reshape(transpose(mixed, [1, 0, 2]), [3, 6]) |> o: linear(4)\n" Y2;
static int own_heads(const char *p, const int64_t *at) {
  if (!strcmp(p, "o.weight")) return in_a(at[1] / 2);
  return !strcmp(p, "o.bias") ? 2 : in_a(at[0] / 2);
}

static const char gated[] = "  g = x |> gate: linear(4, bias = false)\n  h = g * sigmoid(g) * (x |> up: "
                            "linear(4, bias = false))\n  y = h |> down: linear(3, bias = false)\n" Y2;
/* A module that is called twice: each call is a use. */
static const char twice[] = "data d {\n  source = csv(\"d.csv\", x = 0 .. 6, c = 6)\n  x: f32[6] = "
                            "source.x\n  c: int in 0 ..= 2 = source.c\n}\n"
                            "module step(v: f32[6]) -> f32[6] { out = v |> fc: linear(6) |> tanh }";
static int own_step(const char *p, const int64_t *at) {
  (void)at;
  return !strcmp(p, "step.fc.weight") ? 0 : !strcmp(p, "step.fc.bias") ? 1 : -1;
}

static int own_gated(const char *p, const int64_t *at) {
  return !strcmp(p, "down.weight") ? in_a(at[1]) : in_a(at[0]);
}

static const char places[] =
    "data d {\n  source = csv(\"d.csv\", x = 0 .. 6 * %1$lld, c = 6 * %1$lld .. 7 * %1$lld)\n  x: f32[pos = "
    "%1$lld, 6] = reshape(source.x, [%1$lld, 6])\n  c: f32[pos = %1$lld] = reshape(source.c, [%1$lld])\n}";

#define PLACES_ARMS                                                                                          \
  "ordered { when c < -0.5 to a; when c < 0.5 to { a = 1.0; b = 0.5; shared = -0.75 }; otherwise to b + shared }"
#define SUM_PLACES "  y2 = sum(y * y, over = [pos, -1])"
static const char deep_places[] =
    "  h = x |> fc1: linear(4) |> tanh\n  g = h |> fc2: linear(4) |> tanh\n  y = g |> fc3: linear(3)\n" SUM_PLACES;
static const char tokens[] = "data d {\n  source = npy(x = \"x.npy\", c = \"c.npy\")\n  x: int[pos = %1$lld] in 0 ..= 4 = "
                             "source.x\n  c: f32[pos = %1$lld] = source.c\n}";

static const Case cases[] = {
    {"linear", flat, two_layers, "split h { a = [0, 2]; b = rest }", "route r: parameters of h " ARMS,
     own_two, 0, TABLE},
    {"rows that no datum reaches",
     flat,
     two_layers,
     "split h { a = [0, 2]; b = rest }",
     "route r: parameters of h { otherwise to a }",
     own_two,
     0,
     {{1, 0, 0}, {1, 0, 0}, {1, 0, 0}}},
    {"strength",
     flat,
     two_layers,
     "split h { a = [0, 2]; b = rest }",
     "route r: parameters of h " ARMS " { strength = 0.25 }",
     own_two,
     0,
     {{1, 0.75, 0.75}, {1, 0.875, 0.5625}, {0.75, 1, 1}}},
    {"a layer and a region",
     flat,
     two_layers,
     "split h { a = [0, 2]; b = rest }\nregion b = h[1] + h[3 ..]",
     "route r: parameters of fc1 { when c == 0 to h.a; when c == 1 to { b = 2.0 } ; otherwise to none }",
     own_layer,
     0,
     {{1, 0}, {0, 2}, {0, 0}}},
    {"joint",
     flat,
     two_layers,
     "split h { a = [0, 2]; b = rest }\nregion core = h.b { joint }",
     "route r: parameters of h " ARMS,
     own_two,
     0,
     {{1, 1, 0}, {1, 1, -0.75}, {0, 1, 1}}},
    {"with a gradient route and another of parameters",
     flat,
     two_layers,
     "split h { a = [0, 2]; b = rest }\nroute first: gradient of fc0.out { when c == 0 to none; otherwise to "
     "all }\nroute also: gradient of h { when c == 2 to a; otherwise to all }",
     "route r: parameters of h " ARMS "\nroute s: parameters of h { when c == 1 to a; otherwise to { a = "
                                      "2.0; b = 1.0; shared = 0.5 } } { also }",
     own_two,
     0,
     {{2, 0, 0}, {1, 0, 0}, {0, 1, 0.5}}},
    {"cross by row", flat, deep, SPLITS, "route r: parameters of h + g " ARMS " { cross = row }", own_by_row,
     0, TABLE},
    {"cross by column", flat, deep, SPLITS, "route r: parameters of h + g " ARMS " { cross = column }",
     own_by_column, 0, TABLE},
    {"cross by name", flat, deep, SPLITS, "route r: parameters of h + g " ARMS " { cross = shared }",
     own_by_name, 0, TABLE},
    {"convolution", pixels,
     "  h = x |> k1: conv2d(4, kernel = 3, padding = same) |> relu\n  g = h[.., 0 .. 4, 0 .. 4]\n  y = "
     "concat(flatten(h |> k2: conv2d(3, kernel = 2)), flatten(g) |> fc: linear(2))\n" Y2,
     "split h { a = [0, 2]; b = rest }", "route r: parameters of h " ARMS, own_conv, 0, TABLE},
    {"embedding", words, "  h = x |> emb: embedding(5, 4)\n  y = tanh(h) |> fc: linear(3)\n" Y2,
     "split h { a = [0, 2]; b = rest }", "route r: parameters of h " ARMS, own_words, 0, TABLE},
    {"tied", words,
     "  h = x |> emb: embedding(5, 4)\n  y = matmul(reshape(tanh(h), [1, 4]), transpose(emb.weight))\n" Y2,
     "split h { a = [0, 2]; b = rest }", "route r: parameters of h " ARMS, own_tied, 0, TABLE},
    {"rows of a vocabulary", words,
     "  h = x |> emb: embedding(5, 4)\n  y = matmul(reshape(tanh(h), [1, 4]), transpose(emb.weight))\n" Y2,
     "split y { a = [0, 2]; b = rest }", "route r: parameters of y " ARMS, own_vocabulary, 0, TABLE},
    {"norm", flat, "  h = x |> fc1: linear(4) |> ln: layer_norm\n  y = h |> fc: linear(3)\n" Y2,
     "split h { a = [0, 2]; b = rest }", "route r: parameters of h " ARMS, own_norm, 0, TABLE},
    {"heads", steps, attention, "split mixed { a = [0, 2]; b = rest }", "route r: parameters of mixed " ARMS,
     own_heads, 0, TABLE},
    {"a module called twice",
     twice,
     "  first = step(x)\n  y = step(first) |> fc2: linear(3)\n" Y2,
     "",
     "route r: parameters of step { when c == 0 to step.fc.weight; when c == 1 to { shared = 0.5 }; "
     "otherwise to all }",
     own_step,
     0,
     {{1, 0}, {0, 0.5}, {1, 1}}},
    {"columns that meet in a softmax", flat,
     "  h = x |> fc1: linear(4) |> tanh\n  y = (h |> fc2: linear(3)) + reshape(matmul(reshape(h, [1, 4]), "
     "transpose(softmax(fc2.weight))), [3])\n" Y2,
     "split h { a = [0, 2]; b = rest }", "route r: parameters of h " ARMS, own_two, 0, TABLE},
    {"gated", flat, gated, "split h { a = [0, 2]; b = rest }", "route r: parameters of h " ARMS, own_gated, 0,
     TABLE},
    {"positions", places,
     "  h = x |> fc1: linear(4) |> relu\n  y = h |> fc2: linear(3)\n  y2 = sum(y * y, over = [pos, -1])",
     "split h { a = [0, 2]; b = rest }",
     "route r: parameters of h ordered { when c < -0.5 to a; when c < 0.5 to { a = 1.0; b = 0.5; shared = "
     "-0.75 }; otherwise to b + shared }",
     own_two, 3, TABLE},
    {"positions, rows and columns that cross", places, deep_places, SPLITS,
     "route r: parameters of h + g " PLACES_ARMS " { cross = row }", own_by_row, 3, TABLE},
    {"positions, whose they are by name", places, deep_places, SPLITS,
     "route r: parameters of h + g " PLACES_ARMS " { cross = shared }", own_by_name, 2, TABLE},
    {"positions, a strength",
     places,
     deep_places,
     SPLITS,
     "route r: parameters of h + g " PLACES_ARMS " { cross = column; strength = 0.25 }",
     own_by_column,
     3,
     {{1, 0.75, 0.75}, {1, 0.875, 0.5625}, {0.75, 1, 1}}},
    {"positions, an embedding", tokens,
     "  h = x |> emb: embedding(5, 4)\n  y = tanh(h) |> fc: linear(3)\n" SUM_PLACES,
     "split h { a = [0, 2]; b = rest }", "route r: parameters of h " PLACES_ARMS, own_words, 3, TABLE},
    {"positions, a norm", places,
     "  h = x |> fc1: linear(4) |> ln: layer_norm\n  y = h |> fc: linear(3)\n" SUM_PLACES,
     "split h { a = [0, 2]; b = rest }", "route r: parameters of h " PLACES_ARMS, own_norm, 3, TABLE},
    {"positions, with routes of gradients and of values", places, deep_places,
     SPLITS "\nroute first: gradient of g { when c < 0 to a; otherwise to { a = 0.5; b = -0.75 } }\n"
            "route second: value of h { when c < 0.25 to { a = 1.0; b = 0.5 }; otherwise to b }",
     "route r: parameters of h + g " PLACES_ARMS " { cross = row }", own_by_row, 3, TABLE},
    {"positions, a module called twice",
     "data d {\n  source = csv(\"d.csv\", x = 0 .. 6 * %1$lld, c = 6 * %1$lld .. 7 * %1$lld)\n  x: f32[pos = "
     "%1$lld, 6] = reshape(source.x, [%1$lld, 6])\n  c: f32[pos = %1$lld] = reshape(source.c, [%1$lld])\n}\n"
     "module step(v: f32[%1$lld, 6]) -> f32[%1$lld, 6] { out = v |> fc: linear(6) |> tanh }",
     "  first = step(x)\n  y = step(first) |> fc2: linear(3)\n" SUM_PLACES,
     "",
     "route r: parameters of step ordered { when c < -0.5 to step.fc.weight; when c < 0.5 to { shared = 0.5 }; "
     "otherwise to all }",
     own_step,
     3,
     {{1, 0}, {0, 0.5}, {1, 1}}},
};

/* Under `freeze` an entry counts a step, in its own bias correction, if and only if the factor of its part is
 * not 0. */
static void check_reached(const Case *c, int cls) {
  const int64_t t = c->positions ? c->positions : 1;
  Jig j = open_case(c, true, t);
  differentiate(&j);
  pass_update(j.p, true);
  assert_null(program_verify(j.p));
  jig_fill(&j, ROWS);
  for (uint32_t k = 0; k < j.p->n_columns; k++)
    for (int64_t i = 0; i < ROWS * t && !strcmp(j.p->columns[k].name, "c"); i++)
      j.columns[k][i] = c->positions ? cls - 1 : cls;
  const double *states[32][4], *const *of[32];
  assert_true(j.p->n_params < 32);
  for (uint32_t i = 0; i < j.p->n_params; i++) {
    for (int k = 0; k < 4; k++) states[i][k] = ARENA_NEWS(j.a, double, shape_count(&j.p->params[i].shape, 1));
    of[i] = states[i];
  }
  EvalInput in = {.rows = ROWS,
                  .params = (const double *const *)j.params,
                  .columns = (const double *const *)j.columns,
                  .states = of,
                  .scalars = j.scalars,
                  .step = 0,
                  .total_steps = 100,
                  .steps_per_epoch = 10,
                  .seed = 1};
  const EvalResult r = graph_eval(j.p->step, j.a, &in);
  for (uint32_t i = 0; i < j.p->n_params; i++) {
    const ProgParam *p = &j.p->params[i];
    const double *count = NULL, *next = NULL;
    for (uint32_t k = 0; k < j.p->step->n_roots; k++) {
      const Root *root = &j.p->step->roots[k];
      if (root->kind == ROOT_STATE && root->a == i && root->b == 2) count = r.value[root->value];
      if (root->kind == ROOT_PARAM && root->a == i) next = r.value[root->value];
    }
    for (int64_t e = 0, n = shape_count(&p->shape, 1); e < n; e++) {
      int64_t at[IR_MAX_RANK] = {0}, rest = e;
      for (int k = p->shape.rank; k-- > 0; rest /= p->shape.d[k]) at[k] = rest % p->shape.d[k];
      const int part = c->owner(p->path, at);
      const bool open = part < 0 || c->table[cls][part] != 0, reached = count ? count[e] != 0 : next != NULL;
      const bool must = open && !strstr(c->routes, "gradient of"); /* which blocks more */
      if (reached ? !open : must)
        fail_msg("%s, class %d: %s[%lld] is %sreached", c->name, cls, p->path, (long long)e,
                 reached ? "" : "not ");
      if (!open && next && next[e] != j.params[i][e])
        fail_msg("%s, class %d: %s[%lld] moved", c->name, cls, p->path, (long long)e);
    }
  }
  jig_close(&j);
}

static void reached_by_declared_factors(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    for (int cls = 0; cls < 3; cls++) check_reached(&cases[i], cls);
}

/* ---- splits of heads and channels, operands of a mix: gradients and values
 * --------------------------------------- */
typedef struct Cut {
  const char *name, *data, *model, *split, *place;
  Owner_of *owner;
} Cut; /* owner: 0 blocked, 1 open */

static int open_heads(const char *p, const int64_t *at) { return !strncmp(p, "fc", 2) ? at[0] / 4 != 1 : 1; }
static int open_channels(const char *p, const int64_t *at) { return !strncmp(p, "k", 1) ? at[0] != 1 : 1; }
static int open_operands(const char *p, const int64_t *at) {
  (void)at;
  return strncmp(p, "right", 5) != 0;
}

static const Cut cuts[] = {
    {"heads", flat,
     "  h: f32[heads = 3, 4] = reshape(x |> fc: linear(12), [3, 4])\n  y2 = mean(h * h, over = [heads, -1])",
     "split h { a = [0, 2]; b = rest }", "h", open_heads},
    {"channels", pixels, "  h = x |> k: conv2d(3, kernel = 3)\n  y2 = mean(h * h)",
     "split h { a = [0, 2]; b = rest }", "h", open_channels},
    {"operands of a mix", flat,
     "  h = mix(0.25, a = x |> left: linear(3), b = x |> right: linear(3))\n  y2 = mean(h * h)", "", "h",
     open_operands},
};

static Jig open_cut(const Cut *c, const char *primitive) {
  char text[MAX_TEXT];
  snprintf(text, sizeof text,
           "edition 1\n%s\nmodel {\n%s\n}\n%s\n%s%s%s%s\nloss l = y2 { sum }\noptimize sgd(lr = 0.1)\ntrain "
           "{ batch = 4; for = 2 epochs }\n",
           c->data, c->model, c->split, *primitive ? "route r: " : "", primitive, *primitive ? c->place : "",
           *primitive ? " { otherwise to a }" : "");
  Jig j = jig_open(text, NULL, 0);
  if (!j.p) diags_print_text(j.diags, stderr, false);
  assert_non_null(j.p);
  differentiate(&j);
  jig_fill(&j, ROWS);
  return j;
}

static void gradients_are_selected(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
    Jig plain = open_cut(&cuts[i], ""), routed = open_cut(&cuts[i], "gradient of "),
        value = open_cut(&cuts[i], "value of ");
    const EvalResult a = run(&plain, ROWS), b = run(&routed, ROWS), f = run(&value, ROWS);
    assert_true(*a.value[plain.p->origins[0].value] == *b.value[routed.p->origins[0].value]);
    assert_true(*a.value[plain.p->origins[0].value] > *f.value[value.p->origins[0].value]);
    for (uint32_t k = 0; k < plain.p->n_params; k++) {
      const double *x = gradient(&plain, &a, k), *y = gradient(&routed, &b, k), *z = gradient(&value, &f, k);
      const Shape *s = &plain.p->params[k].shape;
      for (int64_t e = 0, n = shape_count(s, 1); e < n; e++) {
        int64_t at[IR_MAX_RANK] = {0}, rest = e;
        for (int d = s->rank; d-- > 0; rest /= s->d[d]) at[d] = rest % s->d[d];
        const bool open = cuts[i].owner(plain.p->params[k].path, at) != 0;
        if (y[e] != (open ? x[e] : 0) || (z[e] != 0) != open)
          fail_msg("%s: %s[%lld]", cuts[i].name, plain.p->params[k].path, (long long)e);
      }
    }
    jig_close(&plain), jig_close(&routed), jig_close(&value);
  }
}

static void against_the_definition(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) check_case(&cases[i]);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(against_the_definition),
                                     cmocka_unit_test(reached_by_declared_factors),
                                     cmocka_unit_test(gradients_are_selected)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
