/* SPDX-License-Identifier: Apache-2.0
 * builtin_reference.h -- what the built-in regularizers and gates compute, straight from their definitions, in double.
 */
#ifndef BUILTIN_REFERENCE_H
#define BUILTIN_REFERENCE_H
#include "route_plugin.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { REF_UNITS = 64 };

typedef struct RefArgs {
  const double *x[2]; /* [rows, cols]; x[1] of threshold_gate: [1, cols] */
  const int32_t *label;
  size_t rows, cols[2];
  const double *params, *uniform;
  bool training;
} RefArgs;

typedef double RefRegularizer(const RefArgs *a);
/* One row; soft: of what the gradient is taken. */
typedef void RefGate(const RefArgs *a, size_t row, bool soft, double *y);

static double ref_power_sum(const RefArgs *a, double l1, double l2) {
  double sum = 0;
  for (size_t i = 0; i < a->rows * a->cols[0]; i++) sum += l1 * fabs(a->x[0][i]) + l2 * a->x[0][i] * a->x[0][i];
  return a->params[0] * sum;
}
static double ref_l1_sum(const RefArgs *a) { return ref_power_sum(a, 1, 0); }
static double ref_l1(const RefArgs *a) { return ref_l1_sum(a) / (double)a->rows; }
static double ref_l2_sum(const RefArgs *a) { return ref_power_sum(a, 0, 1); }
static double ref_l2(const RefArgs *a) { return ref_l2_sum(a) / (double)a->rows; }
static double ref_elastic_net_sum(const RefArgs *a) { return ref_power_sum(a, a->params[1], (1 - a->params[1]) / 2); }
static double ref_elastic_net(const RefArgs *a) { return ref_elastic_net_sum(a) / (double)a->rows; }

static double ref_group_lasso_sum(const RefArgs *a) {
  double sum = 0;
  for (size_t r = 0; r < a->rows; r++) {
    double norm = 0;
    for (size_t u = 0; u < a->cols[0]; u++) norm = hypot(norm, a->x[0][r * a->cols[0] + u]);
    sum += norm;
  }
  return a->params[0] * sqrt((double)a->cols[0]) * sum;
}
static double ref_group_lasso(const RefArgs *a) { return ref_group_lasso_sum(a) / (double)a->rows; }
static double ref_group_lasso_units(const RefArgs *a) {
  double sum = 0;
  for (size_t u = 0; u < a->cols[0]; u++) {
    double norm = 0;
    for (size_t r = 0; r < a->rows; r++) norm = hypot(norm, a->x[0][r * a->cols[0] + u]);
    sum += norm / sqrt((double)a->rows);
  }
  return a->params[0] * sum;
}

/* Mean over rows and squared deviation of one unit. */
static double ref_mean(const double *x, size_t rows, size_t cols, size_t u) {
  double sum = 0;
  for (size_t r = 0; r < rows; r++) sum += x[r * cols + u];
  return sum / (double)rows;
}
static double ref_deviation(const double *x, size_t rows, size_t cols, size_t u) {
  const double mean = ref_mean(x, rows, cols, u);
  double sum = 0;
  for (size_t r = 0; r < rows; r++) sum += pow(x[r * cols + u] - mean, 2);
  return rows > 1 ? sqrt(sum / (double)(rows - 1)) : 0;
}
static double ref_correlation_penalty(const RefArgs *a) {
  double sum = 0;
  for (size_t i = 0; i < a->cols[0]; i++)
    for (size_t j = 0; j < a->cols[1]; j++) {
      const double ma = ref_mean(a->x[0], a->rows, a->cols[0], i), mb = ref_mean(a->x[1], a->rows, a->cols[1], j);
      const double da = ref_deviation(a->x[0], a->rows, a->cols[0], i),
                   db = ref_deviation(a->x[1], a->rows, a->cols[1], j);
      double cov = 0;
      for (size_t r = 0; r < a->rows; r++)
        cov += (a->x[0][r * a->cols[0] + i] - ma) * (a->x[1][r * a->cols[1] + j] - mb) / (double)a->rows;
      if (da != 0 && db != 0) sum += fabs(cov / da / db);
    }
  return a->params[0] * sum / (double)(a->cols[0] * a->cols[1]);
}

static double ref_orthogonality(const RefArgs *a) {
  double sum = 0;
  for (size_t r = 0; r < a->rows; r++)
    for (size_t s = 0; s < a->rows; s++) {
      double dot = 0;
      for (size_t u = 0; u < a->cols[0]; u++) dot += a->x[0][r * a->cols[0] + u] * a->x[0][s * a->cols[0] + u];
      if (r != s) sum += dot * dot;
      else if (a->params[1] == 0) sum += (dot - 1) * (dot - 1);
    }
  return a->params[0] * sum;
}
static double ref_orthogonality_between(const RefArgs *a) {
  double sum = 0;
  for (size_t i = 0; i < a->cols[0]; i++)
    for (size_t j = 0; j < a->cols[1]; j++) {
      double dot = 0;
      for (size_t r = 0; r < a->rows; r++) dot += a->x[0][r * a->cols[0] + i] * a->x[1][r * a->cols[1] + j];
      sum += pow(dot / (double)a->rows, 2);
    }
  return a->params[0] * sum;
}

/* Kernel matrix with both sides centred by hand: tr(K H L H) = tr((H K H)(H L H)). */
static double *ref_kernel(const double *x, size_t n, size_t cols, double sigma) {
  double *k = calloc(n * n, sizeof *k), *centred = calloc(n * n, sizeof *k);
  for (size_t i = 0; i < n * n; i++) {
    double distance = 0;
    for (size_t u = 0; u < cols; u++) distance += pow(x[i / n * cols + u] - x[i % n * cols + u], 2);
    k[i] = exp(-distance / (2 * sigma * sigma * (double)cols));
  }
  double all = 0;
  for (size_t s = 0; s < n * n; s++) all += k[s];
  for (size_t i = 0; i < n * n; i++) {
    double row = 0, col = 0;
    for (size_t s = 0; s < n; s++) row += k[i / n * n + s], col += k[s * n + i % n];
    centred[i] = k[i] - row / (double)n - col / (double)n + all / (double)(n * n);
  }
  free(k);
  return centred;
}
static double ref_hsic(const RefArgs *a) {
  const size_t n = a->rows;
  if (n < 2) return 0;
  double *k = ref_kernel(a->x[0], n, a->cols[0], a->params[1]), *l = ref_kernel(a->x[1], n, a->cols[1], a->params[2]),
         sum = 0;
  for (size_t i = 0; i < n * n; i++) sum += k[i] * l[i % n * n + i / n];
  free(k), free(l);
  return a->params[0] * sum / (double)((n - 1) * (n - 1));
}

static double ref_entropy(const double *p, size_t n, double total) {
  double sum = 0;
  for (size_t u = 0; u < n; u++)
    if (p[u] != 0) sum -= fabs(p[u]) / total * log(fabs(p[u]) / total);
  return sum;
}
static double ref_activation_entropy(const RefArgs *a) {
  double sum = 0;
  for (size_t r = 0; r < a->rows; r++) {
    const double *x = a->x[0] + r * a->cols[0];
    double total = 0;
    for (size_t u = 0; u < a->cols[0]; u++) total += fabs(x[u]);
    sum += ref_entropy(x, a->cols[0], total);
  }
  return a->params[0] * sum / (double)a->rows;
}
static double ref_attention_entropy(const RefArgs *a) {
  double sum = 0;
  for (size_t r = 0; r < a->rows; r++) sum += ref_entropy(a->x[0] + r * a->cols[0], a->cols[0], 1);
  return a->params[0] * sum / (double)a->rows;
}

/* How many units of the row come before u: larger ones, and equal ones on its left. */
static size_t ref_rank(const double *x, size_t n, size_t u, bool magnitude) {
  size_t rank = 0;
  for (size_t v = 0; v < n; v++) {
    const double a = magnitude ? fabs(x[v]) : x[v], b = magnitude ? fabs(x[u]) : x[u];
    rank += a > b || (a == b && v < u);
  }
  return rank;
}
static double ref_topk_sparsity(const RefArgs *a) {
  double sum = 0;
  for (size_t i = 0; i < a->rows * a->cols[0]; i++)
    if (ref_rank(a->x[0] + i / a->cols[0] * a->cols[0], a->cols[0], i % a->cols[0], true) >= a->params[1])
      sum += fabs(a->x[0][i]);
  return a->params[0] * sum / (double)a->rows;
}

static double ref_load_balance(const RefArgs *a) {
  double sum = 0;
  for (size_t u = 0; u < a->cols[0]; u++) {
    double first = 0;
    for (size_t r = 0; r < a->rows; r++) first += ref_rank(a->x[0] + r * a->cols[0], a->cols[0], u, false) == 0;
    sum += first / (double)a->rows * ref_mean(a->x[0], a->rows, a->cols[0], u);
  }
  return a->params[0] * (double)a->cols[0] * sum;
}
static double ref_importance_balance(const RefArgs *a) {
  const double n = (double)a->cols[0];
  double sum = 0, square = 0;
  for (size_t u = 0; u < a->cols[0]; u++) {
    const double p = ref_mean(a->x[0], a->rows, a->cols[0], u);
    sum += p, square += p * p;
  }
  return a->params[0] * (n * square / (sum * sum) - 1);
}

/* ---- gates ---- */
static void ref_softmax(const double *x, size_t n, double temperature, const bool *of, double *y) {
  double sum = 0, top = -INFINITY;
  for (size_t u = 0; u < n; u++) top = fmax(top, x[u]);
  for (size_t u = 0; u < n; u++) sum += y[u] = !of || of[u] ? exp((x[u] - top) / temperature) : 0;
  for (size_t u = 0; u < n; u++) y[u] /= sum;
}
static void ref_largest(const double *x, size_t n, double *y) {
  for (size_t u = 0; u < n; u++) y[u] = ref_rank(x, n, u, false) == 0;
}
static void ref_constant_gate(const RefArgs *a, size_t row, bool soft, double *y) {
  (void)row, (void)soft, y[0] = a->params[0];
}
static void ref_uniform_gate(const RefArgs *a, size_t row, bool soft, double *y) {
  (void)row, (void)soft;
  for (size_t u = 0; u < a->cols[0]; u++) y[u] = 1 / (double)a->cols[0];
}
static void ref_sigmoid_gate(const RefArgs *a, size_t row, bool soft, double *y) {
  (void)soft;
  for (size_t u = 0; u < a->cols[0]; u++) y[u] = 1 / (1 + exp(-a->x[0][row * a->cols[0] + u] / a->params[0]));
}
static void ref_softmax_gate(const RefArgs *a, size_t row, bool soft, double *y) {
  (void)soft;
  ref_softmax(a->x[0] + row * a->cols[0], a->cols[0], a->params[0], NULL, y);
}
static void ref_straight_gate(const RefArgs *a, size_t row, bool soft, double *y) {
  if (soft) ref_softmax_gate(a, row, true, y);
  else ref_largest(a->x[0] + row * a->cols[0], a->cols[0], y);
}
static void ref_gumbel_gate(const RefArgs *a, size_t row, bool soft, double *y) {
  double z[REF_UNITS];
  for (size_t u = 0; u < a->cols[0]; u++) {
    const size_t i = row * a->cols[0] + u;
    z[u] = a->x[0][i] + (a->training ? -log(-log(fmax(a->uniform[i], pow(2, -25)))) : 0);
  }
  if (a->params[1] != 0 && !soft) ref_largest(z, a->cols[0], y);
  else ref_softmax(z, a->cols[0], a->params[0], NULL, y);
}
static void ref_topk_gate(const RefArgs *a, size_t row, bool soft, double *y) {
  const double *x = a->x[0] + row * a->cols[0];
  const double k = fmin(a->params[0], (double)a->cols[0]);
  bool chosen[REF_UNITS];
  for (size_t u = 0; u < a->cols[0]; u++) chosen[u] = ref_rank(x, a->cols[0], u, false) < k;
  ref_softmax(x, a->cols[0], a->params[3], soft && a->params[2] != 0 ? NULL : chosen, y);
  for (size_t u = 0; u < a->cols[0] && a->params[1] != 0 && !soft; u++) y[u] = chosen[u] ? 1 / k : 0;
}
static void ref_threshold_gate(const RefArgs *a, size_t row, bool soft, double *y) {
  double s = -a->params[0];
  for (size_t u = 0; u < a->cols[0]; u++) s += a->x[0][row * a->cols[0] + u] * a->x[1][u];
  if (a->params[1] != 0) y[0] = 1 / (1 + exp(-s / a->params[2]));
  else y[0] = soft ? 0 : s > 0;
}
static void ref_label_gate(const RefArgs *a, size_t row, bool soft, double *y) {
  (void)soft;
  for (int k = 0; k < (int)a->params[0]; k++) {
    const double low = k * a->params[1];
    y[k] = a->label[row] >= low && a->label[row] < low + a->params[1];
  }
}
/* SplitMix64, its state written out. */
static void ref_hash_gate(const RefArgs *a, size_t row, bool soft, double *y) {
  uint64_t z = (uint64_t)a->params[1] * 4294967296u + (uint32_t)a->label[row] + 0x9e3779b97f4a7c15u;
  (void)soft;
  z ^= z >> 30, z *= 0xbf58476d1ce4e5b9u, z ^= z >> 27, z *= 0x94d049bb133111ebu, z ^= z >> 31;
  const double at = floor((double)(z >> 32) / 4294967296.0 * a->params[0]);
  for (int k = 0; k < (int)a->params[0]; k++) y[k] = k == at;
}
#endif
