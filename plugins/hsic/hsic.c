/* SPDX-License-Identifier: Apache-2.0
 * hsic.c -- built-in plugin: dependence of two tensors over the batch, of any kind, not only linear.
 *
 * The biased estimator of Gretton et al. 2005 with Gaussian kernels: tr(K H L H) / (n - 1)^2. Exact: all rows are
 * kept, and time grows with the square of the batch. */
#include "route_plugin.h"
#include <math.h>
#include <stdint.h>
#include <string.h>

enum { LAMBDA, SIGMA_A, SIGMA_B, N_PARAMS };
static const RouteInput INPUTS[] = {{"a", "units", ROUTE_REAL, 0},
                                    {"b", "other units of the same data", ROUTE_REAL, 0}};
static const RouteParam PARAMS[] = {
    {"lambda", "strength", 1, 0, INFINITY, 0, 0},
    {"sigma_a", "width of a's kernel, in units of sqrt(number of units)", 1, 1e-6, INFINITY, 0, 0},
    {"sigma_b", "width of b's kernel, in units of sqrt(number of units)", 1, 1e-6, INFINITY, 0, 0}};

typedef struct State {
  double lambda, sigma[2];
} State;

/* Behind the head: the rows, a's and b's units side by side, each as it comes; and once finish() knows how many rows
 * there are, the means over the batch of the rows of K, then of L. */
typedef struct Head {
  size_t rows;
  double mean[2];
} Head;

static float *rows_of(void *acc) { return (float *)((Head *)acc + 1); }
static double *row_means_of(void *acc, size_t width) {
  const size_t floats = ((Head *)acc)->rows * width;
  return (double *)(void *)(rows_of(acc) + floats + floats % 2);
}

static void *create(const RouteOp *self, const RouteHost *host, const double *params) {
  State *s = host->alloc(host->ctx, sizeof *s, sizeof(double));
  (void)self;
  if (s) *s = (State){params[LAMBDA], {params[SIGMA_A], params[SIGMA_B]}};
  else host->fail(host->ctx, "no memory");
  return s;
}

static size_t acc_size(const void *state, const size_t *cols, size_t max_rows) {
  (void)state;
  return sizeof(Head) + (max_rows * (cols[0] + cols[1]) + 1) * sizeof(float) + 2 * max_rows * sizeof(double);
}

static void partial(const void *state, const RouteView *in, void *acc) {
  Head *h = acc;
  const size_t width = in[0].cols + in[1].cols;
  float *to = rows_of(acc) + h->rows * width;
  (void)state;
  for (size_t r = 0; r < in[0].rows; r++, to += width) {
    memcpy(to, in[0].x + r * in[0].ld, in[0].cols * sizeof(float));
    memcpy(to + in[0].cols, in[1].x + r * in[1].ld, in[1].cols * sizeof(float));
  }
  h->rows += in[0].rows;
}

static void merge(const void *state, const size_t *cols, void *acc, const void *other) {
  Head *h = acc;
  const Head *o = other;
  const size_t width = cols[0] + cols[1];
  (void)state;
  memcpy(rows_of(acc) + h->rows * width, (const float *)(const void *)(o + 1), o->rows * width * sizeof(float));
  h->rows += o->rows;
}

/* -1 / (2 sigma^2 units) */
static double exponent_of(double sigma, size_t units) { return -0.5 / (sigma * sigma * (double)units); }

static double kernel(const float *x, const float *y, size_t n, double exponent) {
  double sum = 0;
  for (size_t i = 0; i < n; i++) {
    const double d = (double)x[i] - y[i];
    sum += d * d;
  }
  return exp(exponent * sum);
}

/* tr(K H L H) = sum_rs K L - 2 n sum_r mean(K_r) mean(L_r) + n^2 mean(K) mean(L) */
static double finish(const void *state, const size_t *cols, size_t rows, void *acc) {
  const State *s = state;
  Head *h = acc;
  const size_t n = h->rows, width = cols[0] + cols[1];
  const double exponent[2] = {exponent_of(s->sigma[0], cols[0]), exponent_of(s->sigma[1], cols[1])}, size = (double)n;
  const float *x = rows_of(acc);
  double *k = row_means_of(acc, width), *l = k + n, both = size, means = 0;
  (void)rows;
  if (n < 2) return 0;
  for (size_t i = 0; i < n; i++) k[i] = l[i] = 1; /* the diagonal */
  for (size_t i = 0; i < n; i++)
    for (size_t j = 0; j < i; j++) {
      const double a = kernel(x + i * width, x + j * width, cols[0], exponent[0]);
      const double b = kernel(x + i * width + cols[0], x + j * width + cols[0], cols[1], exponent[1]);
      k[i] += a, k[j] += a, l[i] += b, l[j] += b, both += 2 * a * b;
    }
  for (size_t i = 0; i < n; i++) {
    k[i] /= size, l[i] /= size;
    h->mean[0] += k[i] / size, h->mean[1] += l[i] / size;
    means += k[i] * l[i];
  }
  return s->lambda * (both - 2 * size * means + size * size * h->mean[0] * h->mean[1]) / ((size - 1) * (size - 1));
}

/* A row against all rows, for `n` of its units from `first` on. Derivative of tr(K H L H) by a_r:
 *   2 sum_s (L_rs - mean(L_r) - mean(L_s) + mean(L)) K_rs 2 exponent (a_r - a_s),
 * where mean(L_r) is known only at the end: what it multiplies is summed apart. By b_r with K and L exchanged. */
enum { BLOCK = 256 };
typedef struct Row {
  const float *x[2];
  size_t cols[2];
  double exponent[2];
} Row;
static void row_grad(const Row *row, void *acc, size_t first, size_t n, double *sum) {
  const Head *h = acc;
  const size_t width = row->cols[0] + row->cols[1];
  const double *means[2] = {row_means_of(acc, width), row_means_of(acc, width) + h->rows};
  double apart[BLOCK] = {0}, mean[2] = {0};
  for (size_t i = 0; i < n; i++) sum[i] = 0;
  for (size_t s = 0; s < h->rows; s++) {
    const float *y = rows_of(acc) + s * width;
    const double k[2] = {kernel(row->x[0], y, row->cols[0], row->exponent[0]),
                         kernel(row->x[1], y + row->cols[0], row->cols[1], row->exponent[1])};
    const double f[2] = {(k[1] - means[1][s] + h->mean[1]) * k[0], (k[0] - means[0][s] + h->mean[0]) * k[1]};
    for (size_t i = 0; i < n; i++) {
      const size_t at = first + i, of = at >= row->cols[0];
      const double d = (double)row->x[of][of ? at - row->cols[0] : at] - y[at];
      sum[i] += f[of] * d, apart[i] += k[of] * d;
    }
    mean[0] += k[0], mean[1] += k[1];
  }
  for (size_t i = 0; i < n; i++) {
    const size_t of = first + i >= row->cols[0];
    sum[i] = 4 * row->exponent[of] * (sum[i] - mean[!of] / (double)h->rows * apart[i]);
  }
}

static void grad(const void *state, const void *acc, size_t rows, const RouteView *in, float scale, float *const *dx,
                 const size_t *ldd) {
  const State *s = state;
  void *a = (void *)(uintptr_t)acc; /* read only */
  const size_t cols[2] = {in[0].cols, in[1].cols}, begin = dx[0] ? 0 : cols[0],
               end = dx[1] ? cols[0] + cols[1] : cols[0];
  const double size = (double)rows, f = scale * s->lambda / ((size - 1) * (size - 1));
  if (rows < 2) return;
  for (size_t r = 0; r < in[0].rows; r++) {
    const Row row = {{in[0].x + r * in[0].ld, in[1].x + r * in[1].ld},
                     {cols[0], cols[1]},
                     {exponent_of(s->sigma[0], cols[0]), exponent_of(s->sigma[1], cols[1])}};
    for (size_t first = begin; first < end; first += BLOCK) {
      const size_t n = end - first < BLOCK ? end - first : BLOCK;
      double sum[BLOCK];
      row_grad(&row, a, first, n, sum);
      for (size_t i = 0; i < n; i++) {
        const size_t at = first + i, of = at >= cols[0];
        dx[of][r * ldd[of] + (of ? at - cols[0] : at)] += (float)(f * sum[i]);
      }
    }
  }
}
static const RouteReduce REDUCE = {sizeof(RouteReduce), 0, acc_size, partial, merge, finish, grad};

static const void *extension(const RouteOp *self, const char *id) {
  (void)self;
  return strcmp(id, ROUTE_EXT_REDUCE) == 0 ? &REDUCE : NULL;
}

static const RouteOp OP = {
    sizeof(RouteOp),
    ROUTE_REGULARIZER,
    "hsic",
    "Hilbert-Schmidt independence criterion of two tensors over the batch\n"
    "Formula: lambda tr(K H L H) / (n - 1)^2, K_rs = exp(-|a_r - a_s|^2 / (2 sigma_a^2 units)), L of b likewise, H "
    "centres; 0 "
    "for one row\n"
    "Gradient: by a_r: -2 lambda sum_s (H L H)_rs K_rs (a_r - a_s) / (sigma_a^2 units (n - 1)^2); by b likewise\n"
    "Source: Gretton, Bousquet, Smola and Schoelkopf 2005 (biased); widths as in Ma, Lewis and Kleijn 2020\n"
    "Use: to make two parts of a code independent, where correlation_penalty only sees straight lines. Exact: time "
    "grows "
    "with rows^2, and all rows are kept; for batches up to some thousands.",
    INPUTS,
    PARAMS,
    2,
    N_PARAMS,
    sizeof(RouteInput),
    sizeof(RouteParam),
    create,
    extension};
static const RouteOp *const OPS[] = {&OP, NULL};
static const RoutePlugin PLUGIN = {sizeof(RoutePlugin), ROUTE_ABI_INIT, "hsic", "1.0.0", "Apache-2.0", OPS};

ROUTE_EXPORT const RoutePlugin *ROUTE_PLUGIN_ENTRY(void) { return &PLUGIN; }
