/* SPDX-License-Identifier: Apache-2.0
 * check_program.c -- the Program that a specification becomes: tables, paths, shapes, factors, losses,
 * schedules. */
#include "check_jig.h"
#include <unistd.h>
#include <xxhash.h>

/* ---- the split autoencoder ---- */
static const char split_spec[] =
    "edition 1\n"
    "param latent: int = 32\n"
    "param l1: real in 0 ..= 1 = 3e-3\n"
    "param corr: real = 0.1\n"
    "param length = 200 epochs\n"
    "data digits {\n"
    "  source = mnist(\"$ROUTEC_DATA/mnist\")\n"
    "  image: f32[784] = normalize(flatten(source.image), mean = 0.5, std = 0.5)\n"
    "  label: int in 0 ..= 9 = source.label\n}\n"
    "module encoder(x: f32[784]) -> f32[latent] {\n"
    "  out = x |> fc1: linear(2048) |> relu |> fc2: linear(512) |> relu |> top: linear(latent, bias = "
    "false)\n}\n"
    "module decoder(z: f32[n]) -> f32[784] {\n"
    "  out = z |> fc1: linear(512) |> relu |> fc2: linear(2048) |> relu |> top: linear(784)\n}\n"
    "model {\n"
    "  z = encoder(image)\n  recon = decoder(z)\n"
    "  probe_lower, probe_upper = copies(decoder)\n"
    "  cert_lower = probe_lower(stop(z.lower))\n  cert_upper = probe_upper(stop(z.upper))\n}\n"
    "split z { lower = 0 .. latent / 2; upper = rest }\n"
    "class low = label in 0 ..= 4\n"
    "route code: gradient of z { when low to lower; otherwise to upper }\n"
    "loss reconstruction = mae(recon, image) { mean_by = low }\n"
    "loss certificates = mae(cert_lower, image) + mae(cert_upper, image)\n"
    "regularize sparse = l1 * (l1_norm(z.lower) + l1_norm(z.upper)) { gradient = unrouted }\n"
    "regularize decorrelate = corr * mean(abs(correlation(z.lower, z.upper, over = example))) { gradient = "
    "unrouted }\n"
    "optimize adam(lr = 1e-3, weight_decay = 5e-5) { masked = zero_grad }\n"
    "train { batch = 2048; for = length; checkpoint { every = 10 epochs; keep = 2 } }\n"
    "evaluate halves {\n  on = digits.test; by = label\n"
    "  lower = mse(cert_lower, image)\n  upper = mse(cert_upper, image)\n"
    "  picture = grid(image, cert_lower, cert_upper, height = 28, width = 28, low = -1, high = 1, rows = "
    "2)\n}\n"
    "expect halves.lower[label in 5 ..= 9] > 2 * halves.lower[label in 0 ..= 4]\n"
    "sweep seeds { seed = 0 .. 20 }\n";

static void assert_param(const Jig *j, const char *path, int64_t a, int64_t b, double bound) {
  const ProgParam *p = &j->p->params[jig_param(j, path)];
  assert_int_equal(p->shape.rank, b ? 2 : 1);
  assert_int_equal(p->shape.d[0], a);
  if (b) assert_int_equal(p->shape.d[1], b);
  assert_int_equal(p->init, INIT_UNIFORM);
  near(p->b, bound, path), near(p->a, -bound, path);
  assert_true(p->stream == XXH64(path, strlen(path), 0));
  assert_true(p->trainable && p->decay && p->policy == MASKED_ZERO_GRAD);
}

static void test_split_tables(void **state) {
  (void)state;
  Jig j = jig_spec(split_spec);
  const Program *p = j.p;
  assert_int_equal(j.diags->n_warnings, 0);
  assert_int_equal(p->n_params, 23);
  assert_param(&j, "encoder.fc1.weight", 2048, 784, 1.0 / 28);
  assert_param(&j, "encoder.fc2.bias", 512, 0, 1 / sqrt(2048));
  assert_param(&j, "encoder.top.weight", 32, 512, 1 / sqrt(512));
  assert_param(&j, "decoder.fc1.weight", 512, 32, 1 / sqrt(32));
  assert_param(&j, "probe_lower.fc1.weight", 512, 16, 0.25);
  assert_param(&j, "probe_upper.top.bias", 784, 0, 1 / sqrt(2048));
  assert_int_equal(p->n_columns, 2);
  assert_int_equal(p->columns[jig_column(&j, "label")].dtype, DT_U8);
  assert_true(p->columns[jig_column(&j, "label")].has_range && p->columns[jig_column(&j, "label")].hi == 9);
  assert_int_equal(p->n_origins, 4);
  assert_true(!p->origins[0].regularizer && p->origins[2].regularizer && !p->origins[2].routed);
  assert_int_equal(p->n_taps, 1);
  assert_string_equal(p->taps[0].name, "z");
  assert_int_equal(p->n_routes, 1);
  assert_int_equal(p->routes[0].origins, 3);
  assert_int_equal(p->n_scalars, 2);
  assert_string_equal(p->scalars[0].name, "l1");
  assert_true(p->scalars[0].lo == 0 && p->scalars[0].hi == 1);
  assert_int_equal(p->optim.kind, OPTIM_ADAM);
  near(p->step->v[p->optim.weight_decay].num, 5e-5, "decay");
  near(p->step->v[p->optim.beta2].num, 0.999, "beta2");
  assert_true(p->train.present && p->train.batch == 2048 && p->train.length.n == 200 &&
              p->train.length.unit == UNIT_EPOCHS);
  assert_true(p->train.checkpoint_every.n == 10 && p->train.checkpoint_keep == 2 && p->train.shuffle &&
              !p->train.drop_last);
  assert_null(program_verify(p));
  jig_close(&j);
}

static void test_split_evaluation(void **state) {
  (void)state;
  Jig j = jig_spec(split_spec);
  const Program *p = j.p;
  const ProgEval *ev = &p->evals[0];
  assert_string_equal(ev->part, "test");
  assert_string_equal(ev->key_name, "label");
  assert_true(ev->key_lo == 0 && ev->key_hi == 9 && ev->n_metrics == 2 && ev->n_pictures == 3 &&
              ev->picture_rows == 2);
  assert_true(ev->pictures[1].height == 28 && ev->pictures[1].lo == -1);
  assert_string_equal(ev->pictures[2].name, "cert_upper");
  for (ValueId i = 1; i < ev->graph->n; i++)
    assert_true(ev->graph->v[i].op != OP_TAP && ev->graph->v[i].op != OP_MASK);
  assert_int_equal(p->n_expects, 1);
  const ProgExpect *x = &p->expects[0];
  assert_int_equal(x->n, 5);
  assert_true(x->code[0].op == EX_METRIC && x->code[0].n_keys == 5 && x->code[0].keys[0] == 5 &&
              x->code[0].keys[4] == 9);
  assert_true(x->code[1].op == EX_CONST && x->code[1].num == 2 && x->code[2].keys[4] == 4);
  assert_true(x->code[3].op == EX_MUL && x->code[4].op == EX_GT);
  assert_true(p->sweeps[0].n == 20 && !strcmp(p->sweeps[0].values[19], "19") &&
              !strcmp(p->sweeps[0].param, "seed"));
  for (uint32_t i = 0; i < p->n_settings; i++) {
    bool structural = !strcmp(p->settings[i].name, "latent") || !strcmp(p->settings[i].name, "length");
    assert_int_equal(p->settings[i].structural, structural);
  }
  jig_close(&j);
}

/* ---- small specifications over one data block: x f32[6], k in 0 .. 5, flag ---- */
#define DATA                                                                                                 \
  "edition 1\n"                                                                                              \
  "data d {\n  source = csv(\"t.csv\", x = 0 .. 6, k = 6, flag = 7)\n  x = source.x\n"                       \
  "  k: int in 0 ..= 5 = source.k\n  flag: bool = source.flag\n}\n"
#define FIT "loss fit = mean(square(z))\n"

static Jig small(const char *rest) {
  char text[8192];
  snprintf(text, sizeof text, "%s%s", DATA, rest);
  Jig j = jig_open(text, NULL, 0);
  if (!j.p) diags_print_text(j.diags, stderr, false);
  assert_non_null(j.p);
  jig_fill(&j, 12);
  for (uint32_t i = 0; i < j.p->n_columns; i++)
    for (int64_t r = 0; r < 12; r++) {
      if (!strcmp(j.p->columns[i].name, "k")) j.columns[i][r] = (double)(r % 6);
      if (!strcmp(j.p->columns[i].name, "flag")) j.columns[i][r] = r >= 6;
    }
  return j;
}

static void assert_factor(const char *rest, const double want[6][6]) {
  Jig j = small(rest);
  assert_int_equal(j.p->n_routes, 1);
  const double *f = jig_value(&j, j.p->step, j.p->routes[0].factor);
  for (int r = 0; r < 12; r++)
    for (int u = 0; u < 6; u++) near(f[r * 6 + u], want[r % 6][u], rest);
  jig_close(&j);
}

#define MODEL "model { z = relu(x) }\n"
static void test_factors(void **state) {
  (void)state;
  static const double halves[6][6] = {{1, 1, 0, 0, 0, 0}, {1, 1, 0, 0, 0, 0}, {1, 1, 0, 0, 0, 0},
                                      {0, 0, 1, 1, 1, 1}, {0, 0, 1, 1, 1, 1}, {0, 0, 1, 1, 1, 1}};
  assert_factor(
      MODEL FIT
      "split z { a = 0 .. 2; b = rest }\nroute r: gradient of z { when k < 3 to a; otherwise to b }\n",
      halves);
  assert_factor(MODEL FIT "split z { b = 2 ..; a = rest }\nclass low = k in 0 .. 3\nroute r: gradient of z { "
                          "when not low to z.b; otherwise to a }\n",
                halves);
  static const double woven[6][6] = {{1, 0, 0, 1, 0, 0}, {0, 1, 0, 0, 1, 0}, {0, 0, 1, 0, 0, 1},
                                     {1, 1, 0, 1, 1, 0}, {1, 1, 1, 1, 1, 1}, {0, 0, 0, 0, 0, 0}};
  assert_factor(MODEL FIT
                "split z { a = [0, 3]; b = [1] + [4]; c = 2 + [5 .. 6] }\nroute r: gradient of z {\n when k "
                "== 0 to a\n when k == 1 to b\n"
                " when k == 2 to c\n when k == 3 to a + b\n when k == 4 to all\n otherwise to none\n}\n",
                woven);
  static const double weights[6][6] = {
      {1, 1, -0.75, -0.75, 0, 0},     {1, 1, -0.75, -0.75, 0, 0}, {0.5, 0.5, 0.5, 0.5, 0.5, 0.5},
      {0.5, 0.5, 0.5, 0.5, 0.5, 0.5}, {0, 0, 0, 0, 2, 2},         {0, 0, 0, 0, 2, 2}};
  assert_factor(MODEL FIT "split z { a = 0 .. 2; b = 2 .. 4; c = rest }\nroute r: gradient of z ordered { "
                          "when k < 2 to { a = 1.0; b = -0.75 }\n"
                          " when k < 4 to { a = 0.5; b = 0.5; c = 0.5 }; otherwise to { c = 2 } }\n",
                weights);
  static const double half[6][6] = {{1, 1, 0.75, 0.75, 0.75, 0.75}, {1, 1, 0.75, 0.75, 0.75, 0.75},
                                    {1, 1, 0.75, 0.75, 0.75, 0.75}, {0.75, 0.75, 1, 1, 1, 1},
                                    {0.75, 0.75, 1, 1, 1, 1},       {0.75, 0.75, 1, 1, 1, 1}};
  assert_factor(MODEL FIT "split z { a = 0 .. 2; b = rest }\nparam s = 0.25\nroute r: gradient of z { when k "
                          "< 3 to a; otherwise to b } { strength = s }\n",
                half);
  static const double whole[6][6] = {{1, 1, 1, 1, 1, 1}, {0, 0, 0, 0, 0, 0}, {1, 1, 1, 1, 1, 1},
                                     {0, 0, 0, 0, 0, 0}, {1, 1, 1, 1, 1, 1}, {0, 0, 0, 0, 0, 0}};
  assert_factor("module m(x: f32[n]) -> f32[6] { h = x |> fc: linear(6)\n out = h }\nmodel { z = m(x) }\n" FIT
                "route r: gradient of z.h { when k in [0, 2, 4] to all; otherwise to none }\n",
                whole);
}

/* Strength 0 is exactly 1, strength 1 exactly the table, on a ramp. */
static void test_strength_schedule(void **state) {
  (void)state;
  Jig j = small(MODEL FIT "split z { a = 0 .. 2; b = rest }\nroute r: gradient of z { when k < 3 to a; "
                          "otherwise to b } { strength = ramp(0, 1, over = 50 steps) }\n");
  for (int s = 0; s <= 100; s += 25) {
    j.step = s;
    const double *f = jig_value(&j, j.p->step, j.p->routes[0].factor);
    double w = s < 50 ? s / 50.0 : 1;
    for (int r = 0; r < 12; r++)
      for (int u = 0; u < 6; u++) assert_true(f[r * 6 + u] == ((r % 6 < 3) == (u < 2) ? 1 : 1 - w));
  }
  jig_close(&j);
}

/* F: the place's value is masked in training, with every reader after it, and untouched in an evaluation. */
static void test_value_route(void **state) {
  (void)state;
  Jig j = small("model { z = exp(x)\n  w = 2 * z }\nloss fit = mean(w)\nsplit z { a = 0 .. 2; b = rest "
                "}\nroute r: value of z { when flag to a; otherwise to all }\n"
                "evaluate e { on = d.train; m = mean(w) }\n");
  const double *x = j.columns[jig_column(&j, "x")], *w = jig_get(&j, j.p->step, "w"),
               *we = jig_get(&j, j.p->evals[0].graph, "w");
  for (int r = 0; r < 12; r++)
    for (int u = 0; u < 6; u++) {
      double plain = 2 * exp(x[r * 6 + u]);
      near(w[r * 6 + u], r >= 6 && u >= 2 ? 0 : plain, "training");
      near(we[r * 6 + u], plain, "evaluation");
    }
  assert_true(j.p->routes[0].primitive == ROUTE_VALUE && j.p->routes[0].factor == 0);
  jig_close(&j);
}

static void test_two_routes(void **state) {
  (void)state;
  Jig j = small("model { z = exp(x)\n  w = 2 * z }\nloss fit = mean(w)\nloss more = mean(z)\nregularize "
                "small = l1_norm(z) { gradient = routed }\n"
                "split z { a = 0 .. 2; b = rest }\n"
                "route one: gradient of z { when flag to a; otherwise to all }\nroute two: gradient of z for "
                "more { when k == 1 to b; otherwise to all } { also }\n"
                "route up: gradient of w { when flag to none; otherwise to all }\n");
  assert_true(j.p->n_taps == 2 && j.p->n_routes == 3);
  for (uint32_t i = 0; i < 3; i++) {
    const ProgRoute *r = &j.p->routes[i];
    if (!strcmp(r->name, "two")) assert_true(r->origins == 2 && !strcmp(j.p->taps[r->tap].name, "z"));
    else assert_true(r->origins == 7);
    if (!strcmp(r->name, "up")) assert_string_equal(j.p->taps[r->tap].name, "w");
  }
  jig_close(&j);
}

/* Operands of a mix are parts: each gets a tap with one weight per datum. */
static void test_mix_route(void **state) {
  (void)state;
  Jig j = small("model {\n  first = exp(x)\n  second = sin(x)\n  mixed = mix(0.25, first = first, second = "
                "second)\n  z = mixed + mixed.first * 0\n}\n" FIT
                "route r: gradient of mixed { when k < 3 to first; when k == 3 to { second = 0.5 }; "
                "otherwise to all }\n");
  assert_true(j.p->n_taps == 2 && j.p->n_routes == 2);
  assert_string_equal(j.p->taps[0].name, "mixed.first");
  assert_string_equal(j.p->taps[1].name, "mixed.second");
  for (uint32_t t = 0; t < 2; t++) {
    const double *f = jig_value(&j, j.p->step, j.p->routes[t].factor);
    for (int r = 0; r < 12; r++)
      for (int u = 0; u < 6; u++)
        near(f[r * 6 + u], r % 6 < 3 ? t == 0 : r % 6 == 3 ? (t ? 0.5 : 0) : 1, "operand");
  }
  jig_close(&j);
}

/* ---- losses and their denominators ---- */
static double per_datum(const Jig *j, int r) {
  double s = 0;
  for (int u = 0; u < 6; u++) s += fabs(j->columns[jig_column(j, "x")][r * 6 + u]) / 6;
  return s;
}

static double group(const Jig *j, int lo, int hi, bool pick[12]) {
  double s = 0, n = 0;
  for (int r = lo; r < hi; r++)
    if (!pick || pick[r]) s += per_datum(j, r), n++;
  return n > 0 ? s / n : 0;
}

static void test_denominators(void **state) {
  (void)state;
  Jig j = small("model { z = x * 1 }\nclass high = flag\nclass never = k > 5\n"
                "loss plain = mean(abs(z))\nloss by = mean(abs(z)) { mean_by = high }\nloss empty = "
                "mean(abs(z)) { mean_by = never }\n"
                "loss over = mean(abs(z)) { mean_over = high }\nloss nobody = mean(abs(z)) { mean_over = "
                "never }\nloss per_four = mean(abs(z)) { per = 4 }\n"
                "loss total = mean(abs(z)) { sum }\nloss keys = mean(abs(z)) { mean_by = k }\n");
  double all = group(&j, 0, 12, NULL), keys = 0;
  for (int k = 0; k < 6; k++) {
    bool pick[12] = {false};
    pick[k] = pick[k + 6] = true;
    keys += group(&j, 0, 12, pick);
  }
  const double want[8] = {all,      group(&j, 0, 6, NULL) + group(&j, 6, 12, NULL),
                          all,      group(&j, 6, 12, NULL),
                          0,        all * 12 / 4,
                          all * 12, keys};
  for (uint32_t i = 0; i < 8; i++)
    near(*jig_value(&j, j.p->step, j.p->origins[i].value), want[i], j.p->origins[i].name);
  jig_close(&j);
}

/* ---- paths ---- */
static void test_repeat_paths(void **state) {
  (void)state;
  Jig j = small("module block(x: f32[n]) -> f32[n] { out = x |> up: linear(4) |> relu |> down: linear(n) }\n"
                "model {\n  h = x\n  repeat blocks[i in 0 .. 3] carry h { y = h |> inner: linear(6)\n    h = "
                "h + block(y) * (i + 1) }\n  z = h |> linear(2) |> linear(6)\n}\n" FIT
                "route r: gradient of blocks[1 ..].y { when flag to none; otherwise to all }\n");
  static const char *const paths[] = {"blocks.0.inner.weight", "blocks.0.block.up.weight",
                                      "blocks.2.block.down.bias", "linear1.weight", "linear2.bias"};
  for (uint32_t i = 0; i < 5; i++) jig_param(&j, paths[i]);
  assert_int_equal(j.p->n_params, 3 * 6 + 4);
  assert_int_equal(j.p->n_taps, 2);
  assert_string_equal(j.p->taps[0].name, "blocks.1.y");
  double h[6];
  for (int u = 0; u < 6; u++) h[u] = j.columns[jig_column(&j, "x")][u];
  for (int b = 0; b < 3; b++) {
    char path[64];
    double y[6], up[4], next[6];
    const double *w[6];
    static const char *const names[] = {"inner.weight",  "inner.bias",        "block.up.weight",
                                        "block.up.bias", "block.down.weight", "block.down.bias"};
    for (int i = 0; i < 6; i++)
      snprintf(path, sizeof path, "blocks.%d.%s", b, names[i]), w[i] = j.params[jig_param(&j, path)];
    for (int o = 0; o < 6; o++) {
      y[o] = w[1][o];
      for (int i = 0; i < 6; i++) y[o] += h[i] * w[0][o * 6 + i];
    }
    for (int o = 0; o < 4; o++) {
      up[o] = w[3][o];
      for (int i = 0; i < 6; i++) up[o] += y[i] * w[2][o * 6 + i];
      up[o] = fmax(up[o], 0);
    }
    for (int o = 0; o < 6; o++) {
      next[o] = w[5][o];
      for (int i = 0; i < 4; i++) next[o] += up[i] * w[4][o * 4 + i];
      next[o] = h[o] + next[o] * (b + 1);
    }
    memcpy(h, next, sizeof h);
  }
  const double *w = j.params[jig_param(&j, "linear1.weight")], *b = j.params[jig_param(&j, "linear1.bias")],
               *got = jig_get(&j, j.p->step, "linear1.out");
  for (int o = 0; o < 2; o++) {
    double s = b[o];
    for (int i = 0; i < 6; i++) s += h[i] * w[o * 6 + i];
    near(got[o], s, "after the repeat");
  }
  jig_close(&j);
}

static void test_instances(void **state) {
  (void)state;
  Jig j = small("module half(x: f32[n], m = 3) -> f32[m] { out = x |> fc: linear(m) |> act: relu }\n"
                "model {\n  a = half(x)\n  b = half(-x)\n  one, two = copies(half)\n  c = one(x) + two(x, m "
                "= 3)\n  e = x |> last: half\n  z = a + b + c + e\n}\n" FIT
                "split b { p = 0 .. 1; q = rest }\nroute r: gradient of b { when flag to p; otherwise to q "
                "}\nloss inside = mean(a.act.out) + mean(last.fc.out) + mean(b.p)\n"
                "route s: gradient of b.fc.out { when flag to none; otherwise to all }\n");
  assert_int_equal(j.p->n_params, 6); /* half, one, two */
  static const char *const paths[] = {"half.fc.weight", "one.fc.weight", "two.fc.bias"}, *const values[] = {
                                                                                             "half.fc.out",
                                                                                             "b.fc.out",
                                                                                             "one.fc.out",
                                                                                             "last.act.out"};
  for (uint32_t i = 0; i < 3; i++) jig_param(&j, paths[i]);
  for (uint32_t i = 0; i < 4; i++) assert_true(jig_named(j.p->step, values[i]) != 0);
  const double *w = j.params[0], *b = j.params[1], *x = j.columns[jig_column(&j, "x")],
               *got = jig_get(&j, j.p->step, "b.fc.out");
  for (int o = 0; o < 3; o++) {
    double s = b[o];
    for (int i = 0; i < 6; i++) s -= x[i] * w[o * 6 + i];
    near(got[o], s, "second call, same parameters");
  }
  jig_close(&j);
}

/* A binding may have the name of a layer or of a named call in its own expression. */
static void test_same_names(void **state) {
  (void)state;
  Jig j =
      small("module half(x: f32[n]) -> f32[3] { q = x |> q: linear(3) |> relu\n  out = q }\n"
            "model {\n  a = x |> a: linear(6) |> exp\n  b = a |> b: half\n  z = b + mean(a.weight)\n}\n" FIT
            "loss inside = mean(a.out) + mean(b.q) + mean(b.q.out) + l2_norm(half.q.weight)\n");
  static const char *const params[] = {"a.weight", "half.q.bias"}, *const values[] = {"a.out", "a", "b.q",
                                                                                      "b.q.out"};
  for (uint32_t i = 0; i < 2; i++) jig_param(&j, params[i]);
  for (uint32_t i = 0; i < 4; i++) assert_true(jig_named(j.p->step, values[i]) != 0);
  jig_close(&j);
}

/* ---- params ---- */
static const char params_spec[] =
    DATA "param units: int in 1 ..= 8 = 4\nparam rate: real in 0 ..= 1 = 0.5\nparam twice = 2 * units\nparam "
         "deep = true\nparam lr = 0.1\n"
         "model { z = if deep then x |> a: linear(twice) |> b: linear(units) else x |> b: linear(units) }\n"
         "loss fit = rate * mean(square(z)) + (1 - rate) / 2\noptimize sgd(lr = lr * warmup(10 steps), "
         "momentum = 0.9) { clip = 1 / rate }\n"
         "train { batch = 2 * units; for = 3 epochs; drop_last }\n";

static void test_params(void **state) {
  (void)state;
  Jig j = jig_spec(params_spec);
  jig_fill(&j, 4);
  static const char *const structural[] = {"units", "twice", "deep"};
  for (uint32_t i = 0; i < j.p->n_settings; i++) {
    bool want = false;
    for (int k = 0; k < 3; k++) want = want || !strcmp(structural[k], j.p->settings[i].name);
    assert_int_equal(j.p->settings[i].structural, want);
  }
  assert_true(j.p->n_scalars == 2 && j.p->train.batch == 8 && j.p->train.drop_last);
  assert_int_equal(j.p->params[jig_param(&j, "a.weight")].shape.d[0], 8);
  const double *z = jig_get(&j, j.p->step, "b.out");
  double mean = 0;
  for (int i = 0; i < 16; i++) mean += z[i] * z[i] / 16;
  for (uint32_t i = 0; i < 2; i++)
    j.scalars[i] = !strcmp(j.p->scalars[i].name, "rate") ? 0.25 : 0.4; /* at run time */
  near(*jig_value(&j, j.p->step, j.p->origins[0].value), 0.25 * mean + 0.375, "rate");
  near(*jig_value(&j, j.p->step, j.p->optim.clip), 4, "clip");
  j.step = 4;
  near(*jig_value(&j, j.p->step, j.p->optim.lr), 0.2, "lr");
  jig_close(&j);
  Override sets[] = {{"units", "2"}, {"deep", "false"}, {"rate", "1"}, {"seed", "7"}};
  j = jig_open(params_spec, sets, 4);
  assert_non_null(j.p);
  assert_true(j.p->seed == 7 && j.p->n_params == 2 && j.p->params[0].shape.d[0] == 2 &&
              j.p->train.batch == 4);
  jig_close(&j);
  Override twice = {"twice", "3"};
  j = jig_open(params_spec, &twice, 1);
  assert_non_null(j.p);
  assert_int_equal(j.p->params[jig_param(&j, "a.weight")].shape.d[0], 3);
  jig_close(&j);
}

static void test_schedules(void **state) {
  (void)state;
  static const struct {
    const char *lr;
    double at[3];
  } rows[] = {/* at steps 0, 25, 150 of 100; 10 an epoch */
              {"constant(0.5)", {0.5, 0.5, 0.5}},
              {"ramp(1, 3, over = 50 steps)", {1, 2, 3}},
              {"linear(1, 0, over = all)", {1, 0.75, 0}},
              {"ramp(0, 1, over = 5 epochs)", {0, 0.5, 1}},
              {"cosine(1, 0, over = 50 steps)", {1, 0.5, 0}},
              {"cosine(1, 0.2, over = all)", {1, 0.6 + 0.4 * 0.70710678118654757, 0.2}},
              {"step_decay(1, factor = 0.5, every = 10 steps)", {1, 0.25, 0.000030517578125}},
              {"warmup(50 steps) * 2", {0.04, 1.04, 2}},
              {"0.1 * warmup(100 steps) * cosine(1, 0, over = 50 steps)", {0.001, 0.013, 0}}};
  for (uint32_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    char rest[512];
    snprintf(rest, sizeof rest, MODEL FIT "optimize sgd(lr = %s)\ntrain { batch = 4; for = 10 epochs }\n",
             rows[i].lr);
    Jig j = small(rest);
    static const double steps[3] = {0, 25, 150};
    for (int k = 0; k < 3; k++) {
      j.step = steps[k];
      double got = *jig_value(&j, j.p->step, j.p->optim.lr);
      if (fabs(got - rows[i].at[k]) > 1e-12) fail_msg("%s at %g: %g", rows[i].lr, steps[k], got);
    }
    jig_close(&j);
  }
}

static void test_optimizers(void **state) {
  (void)state;
  static const struct {
    const char *text;
    OptimKind kind;
    double wd, momentum, beta1;
    bool nesterov;
    MaskedPolicy policy;
  } rows[] = {{"sgd(lr = 0.1)", OPTIM_SGD, 0, 0, 0, false, MASKED_FREEZE},
              {"sgd(lr = 0.1, momentum = 0.9, nesterov = true, weight_decay = 0.01) { masked = mask_update }",
               OPTIM_SGD, 0.01, 0.9, 0, true, MASKED_MASK_UPDATE},
              {"adam(lr = 0.1, betas = [0.8, 0.9]) { masked = zero_grad; decay = weights }", OPTIM_ADAM, 0, 0,
               0.8, false, MASKED_ZERO_GRAD},
              {"adamw(lr = 0.1, beta1 = 0.7)", OPTIM_ADAMW, 0.01, 0, 0.7, false, MASKED_FREEZE}};
  for (uint32_t i = 0; i < 4; i++) {
    char rest[512];
    snprintf(rest, sizeof rest,
             "model { z = x |> fc: linear(6) }\n" FIT
             "optimize %s\ntrain { batch = 4; for = 10 minutes; shuffle = false; log = 5 steps; evaluate { "
             "every = 2 epochs } }\n",
             rows[i].text);
    Jig j = small(rest);
    const ProgOptim *o = &j.p->optim;
    assert_true(o->kind == rows[i].kind && o->nesterov == rows[i].nesterov &&
                j.p->params[0].policy == rows[i].policy);
    assert_true(o->weight_decay ? j.p->step->v[o->weight_decay].num == rows[i].wd : rows[i].wd == 0);
    assert_true(o->momentum ? j.p->step->v[o->momentum].num == rows[i].momentum : rows[i].momentum == 0);
    if (rows[i].beta1 > 0) assert_true(j.p->step->v[o->beta1].num == rows[i].beta1);
    assert_true(j.p->params[0].decay && j.p->params[1].decay == (i != 2));
    assert_true(j.p->train.length.unit == UNIT_SECONDS && j.p->train.length.n == 600 && !j.p->train.shuffle);
    assert_true(j.p->train.log_every.n == 5 && j.p->train.evaluate_every.unit == UNIT_EPOCHS);
    jig_close(&j);
  }
}

/* ---- data ---- */
static void test_data(void **state) {
  (void)state;
  Jig j = jig_spec("edition 1\ndata d {\n  source = idx(image = \"$ROUTEC_DATA/i.gz\", label = \"l.gz\", "
                   "holdout = 100, holdout_seed = 3)\n"
                   "  raw: u8[2, 3] = source.image\n  image = real(flatten(raw)) / 255\n  label: int in 0 "
                   "..= 3 = source.label\n  odd = label - label * 0 == 1 or label == 3\n"
                   "  half: int in 0 ..= 1 = if label < 2 then 0 else 1\n}\n"
                   "model { z = mean(image) }\nevaluate e { on = d.test; by = half; m = z; share = odd; "
                   "picture = grid(raw, image, width = 3) }\n"
                   "evaluate f { on = d.test; by = odd; m = z }\nexpect e.m[1] > e.m[0] and not (e.share > "
                   "1) or e.m[half in [0, 1]] == e.m\nexpect f.m[odd] != f.m[not odd]\n");
  const ProgSource *s = &j.p->data[0];
  assert_true(s->n_args == 4 && !strcmp(s->args[0].key, "image") &&
              !strcmp(s->args[0].text, "$ROUTEC_DATA/i.gz") && s->args[2].num == 100);
  const ProgColumn *c = &j.p->columns[jig_column(&j, "image")];
  assert_true(c->dtype == DT_U8 && c->shape.rank == 3 && c->shape.d[2] == 3);
  assert_true(j.p->columns[jig_column(&j, "label")].dtype == DT_I32);
  assert_true(j.p->evals[0].key_hi == 1 && j.p->evals[0].n_pictures == 2 &&
              j.p->evals[0].pictures[1].height == 2);
  assert_true(j.p->n_expects == 2 && j.p->expects[1].code[0].n_keys == 1 &&
              j.p->expects[1].code[0].keys[0] == 1 && j.p->expects[1].code[1].keys[0] == 0);
  jig_fill(&j, 8);
  for (int r = 0; r < 8; r++) j.columns[jig_column(&j, "label")][r] = r % 4;
  const Graph *g = j.p->evals[0].graph;
  for (uint32_t i = 0; i < g->n_roots; i++) {
    if (g->roots[i].kind != ROOT_KEY && !(g->roots[i].kind == ROOT_METRIC && g->roots[i].a == 1)) continue;
    const double *got = jig_value(&j, j.p->evals[0].graph, g->roots[i].value);
    for (int r = 0; r < 8; r++) near(got[r], g->roots[i].kind == ROOT_KEY ? r % 4 >= 2 : r % 2, "field");
  }
  jig_close(&j);
}

/* ---- several files ---- */
static void write_file(const char *name, const char *text) {
  FILE *f = fopen(name, "w");
  assert_non_null(f);
  fputs(text, f);
  fclose(f);
}

static Jig from_file(const char *name) {
  Jig j = {.rows = 4};
  const char *why = NULL;
  j.a = arena_create(), j.sources = sources_create(j.a), j.diags = diags_create(j.a, j.sources);
  uint32_t file = sources_add_file(j.sources, name, &why);
  assert_true(file != 0);
  ParseResult r = dsl_parse(j.a, j.sources, file, j.diags);
  Override set = {"lib.width", "5"};
  Model *m = model_check(j.a, j.sources, &r, &set, strstr(name, "user") != NULL, j.diags);
  if (!m || j.diags->n_warnings) diags_print_text(j.diags, stderr, false);
  assert_non_null(m);
  j.p = model_lower(m, j.diags);
  return j;
}

static void test_files(void **state) {
  (void)state;
  char dir[] = "/tmp/routec-check-XXXXXX", path[256];
  assert_non_null(mkdtemp(dir));
  assert_int_equal(chdir(dir), 0);
  write_file("lib.route",
             "edition 1\nparam width = 3\nmodule small(x: f32[n]) -> f32[n] { out = x |> fc: linear(n) }\n"
             "module wide(x: f32[n]) -> f32[n] { out = x |> fc: linear(width) |> inner: linear(n) |> small "
             "}\ndef scale(x) = x * width\n");
  write_file("user.route", DATA "use \"lib.route\" as lib\nmodel {\n  a, b = copies(lib.small)\n  z = "
                                "lib.scale(lib.wide(x)) + a(x) + b(x)\n}\n" FIT);
  write_file("base.route",
             DATA "param n = 4\nmodel { z = x |> fc: linear(n)\n  w = exp(z)\n  u = w }\n" FIT
                  "loss extra = mean(u)\nregularize r = l1_norm(z)\nclass c = flag\n"
                  "split z { a = 0 .. 2; b = rest }\nroute q: gradient of z { when c to a; otherwise to b }\n"
                  "optimize sgd(lr = 0.1)\ntrain { batch = 4; for = 2 epochs }\nevaluate e { on = d.train; m "
                  "= mean(z); k = mean(w) }\nparameter p: f32[] = 2\nparameter w0: f32[3] = zeros\nloss raw = square(p)\n");
  write_file("middle.route", "edition 1\nextend \"base.route\"\nreplace n = 5\nreplace model.w = "
                             "sin(z)\nreplace train.batch = 8\ndrop r\ndrop e.k\n");
  write_file("top.route", "edition 1\nextend \"middle.route\"\nreplace p = 0.5\nreplace parameter w0: f32[2] = uniform(-1, 1)\n"
                          "drop raw\nreplace route q: gradient of z { otherwise to "
                          "all }\nreplace optimize = adam(lr = 1)\nreplace fit = mean(abs(z))\n"
                          "replace c = k < 2\ndrop extra\ndrop model.u\nparam l = 0.5\nloss other = l * "
                          "mean(w) { mean_by = c }\n");
  Jig j = from_file("user.route");
  static const char *const paths[] = {"lib.wide.fc.weight", "lib.wide.small.fc.bias", "lib.wide.inner.weight",
                                      "a.fc.weight", "b.fc.weight"};
  for (uint32_t i = 0; i < 5; i++) jig_param(&j, paths[i]);
  assert_int_equal(j.p->params[jig_param(&j, "lib.wide.fc.weight")].shape.d[0], 5);
  jig_close(&j);
  j = from_file("top.route");
  assert_string_equal(j.p->title, "top");
  assert_int_equal(j.p->params[jig_param(&j, "fc.weight")].shape.d[0], 5);
  assert_true(j.p->n_origins == 2 && !strcmp(j.p->origins[1].name, "other") && j.p->train.batch == 8 &&
              j.p->optim.kind == OPTIM_ADAM);
  assert_true(j.p->evals[0].n_metrics == 1 && j.p->n_routes == 1);
  assert_true(j.p->params[jig_param(&j, "p")].a == 0.5);
  assert_true(j.p->params[jig_param(&j, "w0")].init == INIT_UNIFORM && j.p->params[jig_param(&j, "w0")].shape.d[0] == 2);
  jig_close(&j);
  for (int i = 0; i < 5; i++) {
    static const char *const names[] = {"lib", "user", "base", "middle", "top"};
    snprintf(path, sizeof path, "%s.route", names[i]);
    unlink(path);
  }
  assert_int_equal(chdir("/"), 0);
  rmdir(dir);
}

/* ---- hostile and huge ---- */
typedef struct Text {
  char *s;
  size_t n;
  FILE *f;
} Text;
static FILE *text_open(Text *t) { return t->f = open_memstream(&t->s, &t->n); }

static void assert_survives(Text *t, bool ok) {
  fclose(t->f);
  Jig j = jig_open(t->s, NULL, 0);
  if ((j.p != NULL) != ok) diags_print_text(j.diags, stderr, false);
  assert_int_equal(j.p != NULL, ok);
  jig_close(&j);
  free(t->s);
}

static void test_hostile(void **state) {
  (void)state;
  Text t;
  text_open(&t); /* each value needs the next one: depth, not length */
  fputs(DATA "model {\n", t.f);
  for (int i = 0; i < 20000; i++) fprintf(t.f, "  v%d = relu(v%d)\n", i, i + 1);
  fputs("  v20000 = x\n}\n", t.f);
  assert_survives(&t, false);
  text_open(&t); /* the same in order is fine */
  fputs(DATA "model {\n  v0 = x\n", t.f);
  for (int i = 0; i < 20000; i++) fprintf(t.f, "  v%d = relu(v%d)\n", i + 1, i);
  fputs("}\n", t.f);
  assert_survives(&t, true);
  text_open(&t); /* doubling */
  fputs(DATA "def f0(x) = relu(x)\n", t.f);
  for (int i = 0; i < 60; i++) fprintf(t.f, "def f%d(x) = f%d(x) + f%d(x)\n", i + 1, i, i);
  fputs("model { z = f60(x) }\n", t.f);
  assert_survives(&t, false);
  text_open(&t); /* doubling without an operation */
  fputs(DATA "module m0(x: f32[n]) -> f32[n] { out = x }\n", t.f);
  for (int i = 0; i < 60; i++)
    fprintf(t.f, "module m%d(x: f32[n]) -> f32[n] { out = x |> a: m%d |> b: m%d }\n", i + 1, i, i);
  fputs("model { z = m60(x) }\n", t.f);
  assert_survives(&t, false);
  text_open(&t); /* one place over and over */
  fputs(DATA "model { z = relu(x) }\n" FIT, t.f);
  for (int i = 0; i < 3000; i++) fprintf(t.f, "split z { a = 0 .. 2; b = rest }\n");
  for (int i = 0; i < 1000; i++) fprintf(t.f, "route r%d: gradient of z { otherwise to all } { also }\n", i);
  assert_survives(&t, false);
  text_open(&t); /* many routes at one place */
  fputs(DATA "model { z = relu(x) }\n" FIT, t.f);
  for (int i = 0; i < 500; i++)
    fprintf(t.f, "route r%d: gradient of z { when k == %d to all; otherwise to none } { also }\n", i, i % 6);
  assert_survives(&t, true);
  text_open(&t); /* many of everything */
  fputs(DATA, t.f);
  for (int i = 0; i < 20000; i++)
    fprintf(t.f, "param p%d = %d\nclass c%d = k == %d\ndef g%d(x) = x\n", i, i, i, i, i);
  fputs("model { z = x * p7 }\n", t.f);
  assert_survives(&t, true);
}

static void test_odd_specs(void **state) {
  (void)state;
  static const struct {
    const char *text;
    bool ok;
  } rows[] = {{"edition 1\n", true},
              {"edition 1\nmodel { }\n", true},
              {"edition 1\nmodel { a = 3\n  b = a + 1 }\n", true},
              {"edition 1\nparam a = 1\nparam b = a / 0\n", false},
              {"edition 1\nexpect a\n", false},
              {"edition 1\nsplit z { }\n", false},
              {"edition 1\nevaluate e { }\n", false},
              {"edition 1\ntrain { }\n", false},
              {"edition 1\nroute r: gradient of z { }\n", false},
              {"edition 1\nsweep s { }\n", false},
              {"edition 1\noptimize 3\n", false},
              {"edition 1\ndata d { }\n", false},
              {"edition 1\ndata d { source = 3 }\n", false},
              {"edition 1\ndata d { source = mnist(3) }\nmodel { z = d.x }\n", false},
              {"edition 1\nloss l = l\n", false},
              {"edition 1\nclass c = c\n", false},
              {"edition 1\nmodule m() { out = 1 }\nmodel { z = m() }\n", true},
              {"edition 1\nmodule m(x, x) { out = x }\nmodel { z = m(1, 2) }\n", false},
              {"edition 1\nmodel { repeat b[i in 0 .. 0] { c = i } }\n", true},
              {"edition 1\nmodel { a = true and false\n  b = not a\n  c = if b then 1 else 2 }\n", true}};
  for (uint32_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    Jig j = jig_open(rows[i].text, NULL, 0);
    if ((j.p != NULL) != rows[i].ok) fail_msg("%s", rows[i].text);
    if (j.p) {
      char *out = NULL;
      size_t n = 0;
      FILE *f = open_memstream(&out, &n);
      program_print(j.p, f);
      fclose(f);
      assert_true(n > 10);
      free(out);
    }
    jig_close(&j);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_split_tables), cmocka_unit_test(test_split_evaluation),
      cmocka_unit_test(test_factors),      cmocka_unit_test(test_strength_schedule),
      cmocka_unit_test(test_value_route),  cmocka_unit_test(test_two_routes),
      cmocka_unit_test(test_mix_route),    cmocka_unit_test(test_denominators),
      cmocka_unit_test(test_repeat_paths), cmocka_unit_test(test_instances),
      cmocka_unit_test(test_same_names),   cmocka_unit_test(test_params),
      cmocka_unit_test(test_schedules),    cmocka_unit_test(test_optimizers),
      cmocka_unit_test(test_data),         cmocka_unit_test(test_files),
      cmocka_unit_test(test_hostile),      cmocka_unit_test(test_odd_specs)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
