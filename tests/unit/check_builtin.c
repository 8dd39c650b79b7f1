/* SPDX-License-Identifier: Apache-2.0
 * check_builtin.c -- the value of every function of the language against a plain formula. */
#include "check_jig.h"

enum { N = 5, K = 4, J = 3 };
static double x[N][K], y[N][K], m[N][J][K], im[N][2][4][4];
static int label[N], flag[N];

/* x, y: [K]; m: [J, K]; im: [2, 4, 4] for each datum; label in 0 .. 2; flag. Every expression is value `v` of
 * the model. */
static const char spec[] =
    "edition 1\n"
    "data d {\n"
    "  source = csv(\"t.csv\", x = 0 .. 4, y = 4 .. 8, m = 8 .. 20, im = 20 .. 52, label = 52, flag = 53)\n"
    "  x = source.x\n  y = source.y\n  m = reshape(source.m, [3, 4])\n  im = reshape(source.im, [2, 4, 4])\n"
    "  label: int in 0 ..= 2 = source.label\n  flag: bool = source.flag\n}\n"
    "def twice(a, by = 2) = a * by\n"
    "model { %s = %s }\n"
    "evaluate e { on = d.train; z = mean(x) }\n";

static Jig open_expr(const char *name, const char *expr) {
  char text[4096];
  snprintf(text, sizeof text, spec, name, expr);
  Jig j = jig_open(text, NULL, 0);
  if (!j.p) {
    fprintf(stderr, "%s\n", expr);
    diags_print_text(j.diags, stderr, false);
  }
  assert_non_null(j.p);
  jig_fill(&j, N);
  for (uint32_t i = 0; i < j.p->n_columns; i++) {
    const char *c = j.p->columns[i].name;
    for (int r = 0; r < N; r++) {
      if (!strcmp(c, "x")) memcpy(j.columns[i] + r * K, x[r], sizeof x[r]);
      if (!strcmp(c, "y")) memcpy(j.columns[i] + r * K, y[r], sizeof y[r]);
      if (!strcmp(c, "m")) memcpy(j.columns[i] + r * J * K, m[r], sizeof m[r]);
      if (!strcmp(c, "im")) memcpy(j.columns[i] + r * 32, im[r], sizeof im[r]);
      if (!strcmp(c, "label")) j.columns[i][r] = label[r];
      if (!strcmp(c, "flag")) j.columns[i][r] = flag[r];
    }
  }
  return j;
}

static int make_inputs(void **state) {
  (void)state;
  for (int r = 0; r < N; r++) {
    label[r] = r % 3, flag[r] = r % 2;
    for (int k = 0; k < K; k++)
      x[r][k] = 3 * jig_noise((uint64_t)(r * K + k)), y[r][k] = 3 * jig_noise((uint64_t)(100 + r * K + k));
    for (int i = 0; i < J; i++)
      for (int k = 0; k < K; k++) m[r][i][k] = jig_noise((uint64_t)(200 + (r * J + i) * K + k));
    for (int c = 0; c < 2; c++)
      for (int h = 0; h < 4; h++)
        for (int w = 0; w < 4; w++)
          im[r][c][h][w] = jig_noise((uint64_t)(400 + ((r * 2 + c) * 4 + h) * 4 + w));
  }
  return 0;
}

/* ---- one number for each element ---- */
typedef double Fn(double a, double b);
static double f_relu(double a, double b) {
  (void)b;
  return a > 0 ? a : 0;
}
static double f_tanh(double a, double b) {
  (void)b;
  return tanh(a);
}
static double f_sigmoid(double a, double b) {
  (void)b;
  return 1 / (1 + exp(-a));
}
static double f_softplus(double a, double b) {
  (void)b;
  return log(1 + exp(a));
}
static double f_exp(double a, double b) {
  (void)b;
  return exp(a);
}
static double f_log(double a, double b) {
  (void)b;
  return log(a * a + 1);
}
static double f_sqrt(double a, double b) {
  (void)b;
  return sqrt(a * a + 1);
}
static double f_abs(double a, double b) {
  (void)b;
  return fabs(a);
}
static double f_sign(double a, double b) {
  (void)b;
  return (a > 0) - (a < 0);
}
static double f_floor(double a, double b) {
  (void)b;
  return floor(a);
}
static double f_sin(double a, double b) {
  (void)b;
  return sin(a);
}
static double f_cos(double a, double b) {
  (void)b;
  return cos(a);
}
static double f_silu(double a, double b) {
  (void)b;
  return a / (1 + exp(-a));
}
static double f_gelu(double a, double b) {
  (void)b;
  return a * 0.5 * (1 + erf(a / sqrt(2)));
}
static double f_gelu_tanh(double a, double b) {
  (void)b;
  return 0.5 * a * (1 + tanh(sqrt(2 / 3.14159265358979323846) * (a + 0.044715 * a * a * a)));
}
static double f_square(double a, double b) {
  (void)b;
  return a * a;
}
static double f_stop(double a, double b) {
  (void)b;
  return a;
}
static double f_cube(double a, double b) {
  (void)b;
  return a * a * a;
}
static double f_pow(double a, double b) { return pow(a * a + 1, b); }
static double f_clamp(double a, double b) {
  (void)b;
  return fmin(fmax(a, -0.5), 0.75);
}
static double f_normalize(double a, double b) {
  (void)b;
  return (a - 0.25) / 0.5;
}
static double f_max(double a, double b) { return fmax(a, b); }
static double f_min(double a, double b) { return fmin(a, b); }
static double f_arith(double a, double b) { return -a + 2 * b - a * b / 4 + 1; }
static double f_where(double a, double b) { return a > b ? a : 7; }
static double f_in(double a, double b) {
  (void)b;
  return a >= -1 && a <= 1;
}
static double f_logic(double a, double b) { return (a > 0 && !(b > 0)) || a == b; }
static double f_compare(double a, double b) { return (a < b) + 2 * (a <= b) + 4 * (a >= b) + 8 * (a != b); }
static double f_def(double a, double b) {
  (void)b;
  return a * 2 + a * 3;
}

static void test_elementwise(void **state) {
  (void)state;
  static const struct {
    const char *expr;
    Fn *f;
  } rows[] = {{"relu(x)", f_relu},
              {"x |> tanh", f_tanh},
              {"sigmoid(x)", f_sigmoid},
              {"softplus(x)", f_softplus},
              {"exp(x)", f_exp},
              {"log(x * x + 1)", f_log},
              {"sqrt(square(x) + 1)", f_sqrt},
              {"abs(x)", f_abs},
              {"sign(x)", f_sign},
              {"floor(x)", f_floor},
              {"sin(x)", f_sin},
              {"cos(x)", f_cos},
              {"silu(x)", f_silu},
              {"gelu(x)", f_gelu},
              {"gelu(x, approx = tanh)", f_gelu_tanh},
              {"square(x)", f_square},
              {"stop(x)", f_stop},
              {"pow(x, 3)", f_cube},
              {"pow(square(x) + 1, y)", f_pow},
              {"clamp(x, -0.5, 0.75)", f_clamp},
              {"normalize(x, mean = 0.25, std = 0.5)", f_normalize},
              {"max(x, y)", f_max},
              {"min(x, y)", f_min},
              {"-x + 2 * y - x * y / 4 + 1", f_arith},
              {"where(x > y, x, 7)", f_where},
              {"if x > y then x else 7", f_where},
              {"real(x in -1 ..= 1)", f_in},
              {"real(x in -1 .. 1)", f_in},
              {"real(x > 0 and not (y > 0) or x == y)", f_logic},
              {"real(x < y) + 2 * real(x <= y) + 4 * real(x >= y) + 8 * real(x != y)", f_compare},
              {"twice(x) + twice(x, by = 3)", f_def},
              {"dropout(x, 0) * 1", f_stop},
              {"concat(x[0 .. 1], x[1 .. -1], x[-1 ..])", f_stop},
              {"flatten(reshape(x, [2, 2]))", f_stop},
              {"x[[0, 1]] |> concat(x[[2, 3]])", f_stop},
              {"x |> reshape([2, 2]) |> transpose |> transpose([1, 0]) |> flatten", f_stop}};
  for (uint32_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    Jig j = open_expr("v", rows[i].expr);
    ValueId id = jig_named(j.p->step, "v");
    if (!id || jig_count(&j, j.p->step, id) != N * K) fail_msg("%s", rows[i].expr);
    const double *got = jig_value(&j, j.p->step, id);
    for (int k = 0; k < N * K; k++) near(got[k], rows[i].f(x[k / K][k % K], y[k / K][k % K]), rows[i].expr);
    jig_close(&j);
  }
}

/* ---- one number for each datum (or a few) ---- */
typedef void Row(int r, double *out);
static double log_sum_exp(const double *a, int n) {
  double s = 0;
  for (int k = 0; k < n; k++) s += exp(a[k]);
  return log(s);
}
static void r_mean(int r, double *o) { o[0] = (x[r][0] + x[r][1] + x[r][2] + x[r][3]) / 4; }
static void r_sum(int r, double *o) { o[0] = x[r][0] + x[r][1] + x[r][2] + x[r][3]; }
static void r_max(int r, double *o) { o[0] = fmax(fmax(x[r][0], x[r][1]), fmax(x[r][2], x[r][3])); }
static void r_min(int r, double *o) { o[0] = fmin(fmin(x[r][0], x[r][1]), fmin(x[r][2], x[r][3])); }
static void r_argmax(int r, double *o) {
  int b = 0;
  for (int k = 1; k < K; k++) b = x[r][k] > x[r][b] ? k : b;
  o[0] = b;
}
static void r_mae(int r, double *o) {
  for (int k = 0; k < K; k++) o[0] += fabs(x[r][k] - y[r][k]) / K;
}
static void r_mse(int r, double *o) {
  for (int k = 0; k < K; k++) o[0] += pow(x[r][k] - y[r][k], 2) / K;
}
static void r_ce(int r, double *o) { o[0] = log_sum_exp(x[r], 3) - x[r][label[r]]; }
static void r_soft_ce(int r, double *o) {
  for (int k = 0; k < K; k++) o[0] -= exp(y[r][k] - log_sum_exp(y[r], K)) * (x[r][k] - log_sum_exp(x[r], K));
}
static void r_accuracy(int r, double *o) {
  o[0] = x[r][label[r]] >= x[r][0] && x[r][label[r]] >= x[r][1] && x[r][label[r]] >= x[r][2];
}
static void r_bce(int r, double *o) {
  for (int k = 0; k < K; k++) {
    double s = 1 / (1 + exp(-x[r][k])), t = y[r][k] > 0;
    o[0] -= (t * log(s) + (1 - t) * log(1 - s)) / K;
  }
}
static void r_kl(int r, double *o) {
  for (int k = 0; k < K; k++) {
    double p = x[r][k] - log_sum_exp(x[r], K), q = y[r][k] - log_sum_exp(y[r], K);
    o[0] += exp(p) * (p - q);
  }
}
static void r_softmax(int r, double *o) {
  for (int k = 0; k < K; k++) o[k] = exp(x[r][k] - log_sum_exp(x[r], K));
}
static void r_log_softmax(int r, double *o) {
  for (int k = 0; k < K; k++) o[k] = x[r][k] - log_sum_exp(x[r], K);
}
static void r_softmax_axis(int r, double *o) {
  for (int k = 0; k < K; k++) {
    double col[J];
    for (int i = 0; i < J; i++) col[i] = m[r][i][k];
    for (int i = 0; i < J; i++) o[i * K + k] = exp(m[r][i][k] - log_sum_exp(col, J));
  }
}
static void r_mean_axis(int r, double *o) {
  for (int i = 0; i < J; i++)
    for (int k = 0; k < K; k++) o[k] += m[r][i][k] / J;
}
static void r_transpose(int r, double *o) {
  for (int i = 0; i < J; i++)
    for (int k = 0; k < K; k++) o[k * J + i] = m[r][i][k];
}
static void r_row(int r, double *o) { memcpy(o, m[r][1], sizeof m[r][1]); }
static void r_block(int r, double *o) {
  for (int i = 0; i < 2; i++) o[i * 2] = m[r][i + 1][0], o[i * 2 + 1] = m[r][i + 1][2];
}
static void r_matmul(int r, double *o) {
  for (int i = 0; i < J; i++)
    for (int h = 0; h < J; h++)
      for (int k = 0; k < K; k++) o[i * J + h] += m[r][i][k] * m[r][h][k];
}
static void r_one_hot(int r, double *o) { o[label[r]] = 1; }
static void r_concat(int r, double *o) {
  memcpy(o, x[r], sizeof x[r]);
  memcpy(o + K, y[r], sizeof y[r]);
}
static void r_take(int r, double *o) { o[0] = x[r][3], o[1] = x[r][0], o[2] = x[r][2]; }
static void r_mix(int r, double *o) {
  double w = 1 / (1 + exp(-x[r][0]));
  for (int k = 0; k < K; k++) o[k] = w * x[r][k] + (1 - w) * y[r][k];
}
static void r_mix3(int r, double *o) {
  double e[3], s = 0;
  for (int i = 0; i < 3; i++) s += e[i] = exp(x[r][i]);
  for (int k = 0; k < K; k++) o[k] = (e[0] * x[r][k] + e[1] * y[r][k] + e[2] * 2) / s;
}
static void r_scaled(int r, double *o) {
  for (int i = 0; i < J; i++)
    for (int k = 0; k < K; k++) o[i * K + k] = m[r][i][k] * x[r][k] + (flag[r] ? 1 : 0);
}
static void r_label(int r, double *o) {
  o[0] = label[r] == 1 || label[r] == 2 ? label[r] + 1 : flag[r] ? -1 : 0;
}
static void r_batch_mean(int r, double *o) {
  for (int k = 0; k < K; k++) {
    o[k] = x[r][k];
    for (int q = 0; q < N; q++) o[k] -= x[q][k] / N;
  }
}

static void test_per_datum(void **state) {
  (void)state;
  static const struct {
    const char *expr;
    Row *f;
    int n;
  } rows[] = {{"mean(x)", r_mean, 1},
              {"sum(x)", r_sum, 1},
              {"sum(x, over = -1)", r_sum, 1},
              {"max(x)", r_max, 1},
              {"min(x, over = 0)", r_min, 1},
              {"real(argmax(x))", r_argmax, 1},
              {"mae(x, y)", r_mae, 1},
              {"mse(x, y)", r_mse, 1},
              {"cross_entropy(x[0 .. 3], label)", r_ce, 1},
              {"cross_entropy(x, softmax(y))", r_soft_ce, 1},
              {"accuracy(x[..3], label)", r_accuracy, 1},
              {"bce_logits(x, y > 0)", r_bce, 1},
              {"bce_logits(x, real(y > 0))", r_bce, 1},
              {"kl(x, y)", r_kl, 1},
              {"softmax(x)", r_softmax, K},
              {"log_softmax(x)", r_log_softmax, K},
              {"softmax(m, over = 0)", r_softmax_axis, J * K},
              {"mean(m, over = 0)", r_mean_axis, K},
              {"mean(m, over = [0, 1]) * 0 + mean(x)", r_mean, 1},
              {"transpose(m)", r_transpose, J * K},
              {"transpose(m, [1, 0])", r_transpose, J * K},
              {"m[1]", r_row, K},
              {"m[1 .., [0, 2]]", r_block, 4},
              {"matmul(m, transpose(m))", r_matmul, J * J},
              {"one_hot(label, 3)", r_one_hot, 3},
              {"concat(x, y)", r_concat, 2 * K},
              {"x[[3, 0, 2]]", r_take, 3},
              {"mix(sigmoid(x[0 .. 1]), a = x, b = y)", r_mix, K},
              {"mix(sigmoid(x[0]), a = x, b = y)", r_mix, K},
              {"mix(softmax(x[..3]), a = x, b = y, c = x * 0 + 2)", r_mix3, K},
              {"m * x + real(flag)", r_scaled, J * K},
              {"if label in [1, 2] then label + 1 else (if flag then -1 else 0)", r_label, 1},
              {"x - mean(x, over = example)", r_batch_mean, K}};
  for (uint32_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    Jig j = open_expr("v", rows[i].expr);
    ValueId id = jig_named(j.p->step, "v");
    if (!id || jig_count(&j, j.p->step, id) != N * rows[i].n) fail_msg("%s", rows[i].expr);
    const double *got = jig_value(&j, j.p->step, id);
    for (int r = 0; r < N; r++) {
      double want[64] = {0};
      rows[i].f(r, want);
      for (int k = 0; k < rows[i].n; k++) near(got[r * rows[i].n + k], want[k], rows[i].expr);
    }
    jig_close(&j);
  }
}

/* ---- numbers of the batch ---- */
static void test_batch(void **state) {
  (void)state;
  double l1 = 0, l2 = 0, all = 0;
  for (int r = 0; r < N; r++)
    for (int k = 0; k < K; k++)
      l1 += fabs(x[r][k]) / N, l2 += x[r][k] * x[r][k] / N, all += x[r][k] / (N * K);
  const struct {
    const char *expr;
    double want;
  } rows[] = {{"l1_norm(x)", l1},
              {"l2_norm(x)", l2},
              {"mean(x, over = all)", all},
              {"sum(x, over = all)", all * N * K}};
  for (uint32_t i = 0; i < 4; i++) {
    Jig j = open_expr("v", rows[i].expr);
    near(*jig_get(&j, j.p->step, "v"), rows[i].want, rows[i].expr);
    jig_close(&j);
  }
}

static double corr(int a, int b, double dead) {
  double ma = 0, mb = 0, va = 0, vb = 0, c = 0;
  for (int r = 0; r < N; r++) ma += x[r][a] / N, mb += y[r][b] / N;
  for (int r = 0; r < N; r++)
    va += pow(x[r][a] - ma, 2) / (N - 1), vb += pow(y[r][b] - mb, 2) / (N - 1),
        c += (x[r][a] - ma) * (y[r][b] - mb) / N;
  return dead != 0 && a == 1 ? 0 : c / sqrt(va) / sqrt(vb);
}

/* Unit 1 of the left side is dead in the second expression: its row is 0, not NaN. */
static void test_correlation(void **state) {
  (void)state;
  static const char *const exprs[] = {
      "correlation(x, y, over = example)",
      "correlation(concat(x[0 .. 1], x[1 .. 2] * 0, x[2 ..]), y, over = example)"};
  for (int i = 0; i < 2; i++) {
    Jig j = open_expr("v", exprs[i]);
    const double *got = jig_get(&j, j.p->step, "v");
    for (int a = 0; a < K; a++)
      for (int b = 0; b < K; b++) near(got[a * K + b], corr(a, b, i), exprs[i]);
    jig_close(&j);
  }
}

/* ---- layers ---- */
static void test_linear(void **state) {
  (void)state;
  Jig j = open_expr("v", "m |> fc: linear(2)");
  const double *w = j.params[jig_param(&j, "fc.weight")], *b = j.params[jig_param(&j, "fc.bias")],
               *got = jig_get(&j, j.p->step, "fc.out");
  for (int r = 0; r < N; r++)
    for (int i = 0; i < J; i++)
      for (int o = 0; o < 2; o++) {
        double want = b[o];
        for (int k = 0; k < K; k++) want += m[r][i][k] * w[o * K + k];
        near(got[(r * J + i) * 2 + o], want, "linear");
      }
  jig_close(&j);
}

static void conv_case(const char *args, int kh, int kw, int s, int p, int d) {
  char expr[128];
  snprintf(expr, sizeof expr, "im |> c: conv2d(3, %s)", args);
  Jig j = open_expr("v", expr);
  int oh = (4 + 2 * p - d * (kh - 1) - 1) / s + 1, ow = (4 + 2 * p - d * (kw - 1) - 1) / s + 1;
  const double *w = j.params[jig_param(&j, "c.weight")], *b = j.params[jig_param(&j, "c.bias")];
  ValueId id = jig_named(j.p->step, "c.out");
  assert_int_equal(jig_count(&j, j.p->step, id), N * 3 * oh * ow);
  const double *got = jig_value(&j, j.p->step, id);
  for (int r = 0; r < N; r++)
    for (int o = 0; o < 3; o++)
      for (int h = 0; h < oh; h++)
        for (int q = 0; q < ow; q++) {
          double want = b[o];
          for (int c = 0; c < 2; c++)
            for (int u = 0; u < kh; u++)
              for (int v = 0; v < kw; v++) {
                int ih = h * s - p + u * d, iw = q * s - p + v * d;
                if (ih >= 0 && ih < 4 && iw >= 0 && iw < 4)
                  want += im[r][c][ih][iw] * w[((o * 2 + c) * kh + u) * kw + v];
              }
          near(got[((r * 3 + o) * oh + h) * ow + q], want, args);
        }
  jig_close(&j);
}

static void test_conv2d(void **state) {
  (void)state;
  conv_case("kernel = 3", 3, 3, 1, 0, 1);
  conv_case("kernel = 1", 1, 1, 1, 0, 1);
  conv_case("kernel = [2, 3], stride = 2, padding = 1", 2, 3, 2, 1, 1);
  conv_case("kernel = 2, dilation = 2", 2, 2, 1, 0, 2);
  conv_case("kernel = 3, padding = same", 3, 3, 1, 1, 1);
}

static void test_norms(void **state) {
  (void)state;
  Jig j = open_expr("v", "x |> n: layer_norm(eps = 0.01)"),
      k = open_expr("v", "x |> n: rms_norm(eps = 0.01)");
  const double *w = j.params[jig_param(&j, "n.weight")], *b = j.params[jig_param(&j, "n.bias")],
               *got = jig_get(&j, j.p->step, "n.out");
  const double *w2 = k.params[jig_param(&k, "n.weight")], *got2 = jig_get(&k, k.p->step, "n.out");
  for (int r = 0; r < N; r++) {
    double mean = 0, var = 0, ms = 0;
    for (int i = 0; i < K; i++) mean += x[r][i] / K, ms += x[r][i] * x[r][i] / K;
    for (int i = 0; i < K; i++) var += pow(x[r][i] - mean, 2) / K;
    for (int i = 0; i < K; i++) {
      near(got[r * K + i], (x[r][i] - mean) / sqrt(var + 0.01) * w[i] + b[i], "layer_norm");
      near(got2[r * K + i], x[r][i] / sqrt(ms + 0.01) * w2[i], "rms_norm");
    }
  }
  assert_true(j.p->params[jig_param(&j, "n.weight")].init == INIT_CONSTANT &&
              j.p->params[jig_param(&j, "n.weight")].a == 1);
  jig_close(&j), jig_close(&k);
}

static void test_embedding(void **state) {
  (void)state;
  Jig j = open_expr("v", "label |> e: embedding(3, 2)"),
      k = open_expr("v", "gather(one_hot(label, 3) |> sum(over = example) |> reshape([3, 1]), label)");
  const double *w = j.params[jig_param(&j, "e.weight")], *got = jig_get(&j, j.p->step, "e.out"),
               *count = jig_get(&k, k.p->step, "v");
  for (int r = 0; r < N; r++) {
    double same = 0;
    for (int q = 0; q < N; q++) same += label[q] == label[r];
    for (int i = 0; i < 2; i++) near(got[r * 2 + i], w[label[r] * 2 + i], "embedding");
    near(count[r], same, "gather");
  }
  jig_close(&j), jig_close(&k);
}

/* Kept elements are x / (1 - p), the others 0; about p of them; other numbers in another stream; none in an
 * evaluation. */
static void test_dropout(void **state) {
  (void)state;
  Jig j = open_expr("v", "concat(dropout(x, 0.25), dropout(x, 0.25))");
  int dropped = 0, differ = 0, draws = 0;
  for (int step = 0; step < 50; step++) {
    j.step = step;
    const double *got = jig_get(&j, j.p->step, "v");
    for (int r = 0; r < N; r++)
      for (int k = 0; k < K; k++) {
        double a = got[r * 2 * K + k], b = got[r * 2 * K + K + k];
        if (a != 0) near(a, x[r][k] / 0.75, "kept");
        dropped += (a == 0) + (b == 0), differ += (a == 0) != (b == 0), draws += 2;
      }
  }
  assert_true(dropped > draws / 6 && dropped < draws / 3 && differ > draws / 10);
  for (ValueId i = 1; i < j.p->evals[0].graph->n; i++) assert_true(j.p->evals[0].graph->v[i].op != OP_RANDOM);
  jig_close(&j);
}

static void test_initialisers(void **state) {
  (void)state;
  static const struct {
    const char *init;
    InitKind kind;
    double a, b;
  } rows[] = {{"torch", INIT_UNIFORM, -0.5, 0.5},
              {"zeros", INIT_CONSTANT, 0, 0},
              {"ones", INIT_CONSTANT, 1, 0},
              {"constant(0.5)", INIT_CONSTANT, 0.5, 0},
              {"uniform(-2, 3)", INIT_UNIFORM, -2, 3},
              {"normal(std = 0.02)", INIT_NORMAL, 0, 0.02},
              {"normal(1, 2)", INIT_NORMAL, 1, 2},
              {"xavier_uniform", INIT_UNIFORM, -0.70710678118654757, 0.70710678118654757},
              {"glorot_normal", INIT_NORMAL, 0, 0.40824829046386302},
              {"kaiming_uniform", INIT_UNIFORM, -1.2247448713915889, 1.2247448713915889},
              {"kaiming_normal(gain = 2)", INIT_NORMAL, 0, 1.4142135623730951}};
  for (uint32_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    char expr[128];
    snprintf(expr, sizeof expr, "x |> fc: linear(8, init = %s)", rows[i].init);
    Jig j = open_expr("v", expr);
    const ProgParam *w = &j.p->params[jig_param(&j, "fc.weight")],
                    *b = &j.p->params[jig_param(&j, "fc.bias")];
    assert_int_equal(w->init, rows[i].kind);
    near(w->a, rows[i].a, rows[i].init), near(w->b, rows[i].b, rows[i].init);
    assert_true(b->init == INIT_UNIFORM && b->a == -0.5 && b->b == 0.5);
    jig_close(&j);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_elementwise), cmocka_unit_test(test_per_datum),
                                     cmocka_unit_test(test_batch),       cmocka_unit_test(test_correlation),
                                     cmocka_unit_test(test_linear),      cmocka_unit_test(test_conv2d),
                                     cmocka_unit_test(test_norms),       cmocka_unit_test(test_embedding),
                                     cmocka_unit_test(test_dropout),     cmocka_unit_test(test_initialisers)};
  return cmocka_run_group_tests(tests, make_inputs, NULL);
}
