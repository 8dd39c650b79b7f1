/* SPDX-License-Identifier: Apache-2.0
 * gemm.c -- see gemm.h. */
#include "gemm.h"
#include "rng.h"
#include <cblas.h>
#include <dlfcn.h>
#include <float.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* ---- the library: opened when a product first needs it, since its constructor starts threads, a quarter of the time of
 * a start with code from the cache ---- */
static struct {
  __typeof__(&cblas_sgemm) sgemm;
  __typeof__(&openblas_set_num_threads) set_num_threads;
  __typeof__(&openblas_get_corename) get_corename;
  __typeof__(&openblas_get_config) get_config;
  char why[512]; /* it is not there; empty: it is */
} blas;
static pthread_once_t blas_opened = PTHREAD_ONCE_INIT;

static bool blas_symbol(void *library, const char *name, void *out, size_t size) {
  void *symbol = dlsym(library, name);
  if (!symbol) snprintf(blas.why, sizeof blas.why, "%s", dlerror());
  memcpy(out, &symbol, size);
  return symbol != NULL;
}

static void blas_open(void) {
  void *library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    snprintf(blas.why, sizeof blas.why, "%s", dlerror());
    return;
  }
#define SYMBOL(member, name) blas_symbol(library, #name, &blas.member, sizeof blas.member)
  if (SYMBOL(sgemm, cblas_sgemm) && SYMBOL(set_num_threads, openblas_set_num_threads) &&
      SYMBOL(get_corename, openblas_get_corename) && SYMBOL(get_config, openblas_get_config))
    blas.set_num_threads(1);
#undef SYMBOL
}

static bool blas_there(void) {
  pthread_once(&blas_opened, blas_open);
  return !*blas.why;
}

bool rt_gemm_open(RtError *e) { return blas_there() || rt_fail(e, RT_E0795, blas.why); }
const char *rt_gemm_core(void) { return blas_there() ? blas.get_corename() : "none"; }
const char *rt_gemm_config(void) { return blas_there() ? blas.get_config() : "none"; }

static void clear_rows(float *c, int64_t ldc, int64_t m, int64_t n) {
  for (int64_t i = 0; i < m; i++)
    for (int64_t j = 0; j < n; j++) c[i * ldc + j] = 0;
}

static int to_blas(int64_t n) {
  if (n > INT32_MAX) {
    fprintf(stderr, "routec: internal error: extent %lld is beyond the BLAS's integers\n", (long long)n);
    abort();
  }
  return (int)n;
}

void rt_sgemm(int64_t trans_a, int64_t trans_b, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda,
              const float *b, int64_t ldb, float *c, int64_t ldc, double beta) {
  if (m == 0 || n == 0) return;
  if (k == 0) { /* the BLAS may refuse leading dimensions of 0 */
    if (beta == 0) clear_rows(c, ldc, m, n);
    return;
  }
  if (!blas_there()) { /* who runs a job with such products has asked before */
    fprintf(stderr, "routec: internal error: a product for a BLAS that is not there: %s\n", blas.why);
    abort();
  }
  blas.sgemm(CblasRowMajor, trans_a ? CblasTrans : CblasNoTrans, trans_b ? CblasTrans : CblasNoTrans,
              to_blas(m), to_blas(n), to_blas(k), 1, a, to_blas(lda), b, to_blas(ldb), (float)beta, c,
              to_blas(ldc));
}

/* Sum and sum of magnitudes of one element. */
static double dot(int64_t k, const float *a, int64_t sa, const float *b, int64_t sb, double *size) {
  double sum = 0, total = 0;
  for (int64_t i = 0; i < k; i++) {
    double p = (double)a[i * sa] * (double)b[i * sb];
    sum += p, total += fabs(p);
  }
  *size = total;
  return sum;
}

void rt_sgemm_naive(int64_t trans_a, int64_t trans_b, int64_t m, int64_t n, int64_t k, const float *a,
                    int64_t lda, const float *b, int64_t ldb, float *c, int64_t ldc, double beta) {
  double size;
  for (int64_t i = 0; i < m; i++)
    for (int64_t j = 0; j < n; j++) {
      double sum = dot(k, trans_a ? a + i : a + i * lda, trans_a ? lda : 1, trans_b ? b + j * ldb : b + j,
                       trans_b ? 1 : ldb, &size);
      c[i * ldc + j] = (float)(sum + (beta != 0 ? (double)c[i * ldc + j] : 0));
    }
}

/* ---- the check
 * --------------------------------------------------------------------------------------------- */
typedef struct Draws {
  uint32_t n;
} Draws;
static float draw(Draws *d) { return rng_uniform(20240, 1, 0, d->n++, 0); }
static int64_t draw_int(Draws *d, int64_t lo, int64_t hi) {
  return lo + (int64_t)((double)draw(d) * (double)(hi - lo + 1));
}

typedef struct Product {
  int64_t m, n, k, lda, ldb, ldc;
  int ta, tb;
  double beta;
} Product;

/* Small products reach the tails of the kernels, one in eight their blocking. */
static Product draw_product(Draws *d, int number) {
  int64_t top = number % 8 == 7 ? 300 : 48;
  Product p = {
      .m = draw_int(d, 1, top), .n = draw_int(d, 1, top), .k = draw_int(d, 1, number % 8 == 7 ? 500 : 80)};
  if (number % 8 == 7)
    *(number % 16 == 7 ? &p.m : &p.n) = draw_int(d, 1, 20); /* keeps the naive twin quick */
  p.ta = number & 1, p.tb = number >> 1 & 1, p.beta = (double)(number >> 2 & 1);
  p.lda = (p.ta ? p.m : p.k) + draw_int(d, 0, 17), p.ldb = (p.tb ? p.k : p.n) + draw_int(d, 0, 17),
  p.ldc = p.n + draw_int(d, 0, 17);
  return p;
}

static float *draw_floats(Draws *d, int64_t n) {
  float *f = malloc((size_t)n * sizeof *f);
  if (!f) {
    fprintf(stderr, "routec: out of memory\n");
    exit(70);
  }
  for (int64_t i = 0; i < n; i++) f[i] = 2 * draw(d) - 1;
  return f;
}

/* |computed - exact| <= (k + 1) eps (sum |a||b| + |c|): the classical bound with room for any order of the
 * sum. */
static bool product_check(RtSgemm sgemm, const Product *p, Draws *d, RtGemmReport *r) {
  float *a = draw_floats(d, p->lda * (p->ta ? p->k : p->m)),
        *b = draw_floats(d, p->ldb * (p->tb ? p->n : p->k));
  float *c = draw_floats(d, p->ldc * p->m), *before = malloc((size_t)(p->ldc * p->m) * sizeof *before);
  bool good = before != NULL;
  for (int64_t i = 0; good && i < p->ldc * p->m; i++) before[i] = c[i];
  sgemm(p->ta, p->tb, p->m, p->n, p->k, a, p->lda, b, p->ldb, c, p->ldc, p->beta);
  for (int64_t i = 0; good && i < p->m; i++)
    for (int64_t j = 0; good && j < p->ldc; j++) {
      double size = 0, old = (double)before[i * p->ldc + j], sum = old, got = (double)c[i * p->ldc + j];
      if (j < p->n)
        sum = p->beta * old + dot(p->k, p->ta ? a + i : a + i * p->lda, p->ta ? p->lda : 1,
                                  p->tb ? b + j * p->ldb : b + j, p->tb ? 1 : p->ldb, &size);
      double bound = j < p->n ? (double)(p->k + 1) * (double)FLT_EPSILON * (size + p->beta * fabs(old)) : 0;
      if (fabs(got - sum) <= bound) continue; /* false for NaN */
      good = false;
      if (!r->wrong)
        r->m = p->m, r->n = p->n, r->k = p->k, r->trans_a = p->ta, r->trans_b = p->tb,
        r->error = fabs(got - sum), r->bound = bound;
    }
  free(a), free(b), free(c), free(before);
  return good;
}

bool rt_gemm_check(RtSgemm sgemm, int cases, RtGemmReport *report) {
  Draws d = {0};
  *report = (RtGemmReport){.cases = cases};
  for (int i = 0; i < cases; i++) {
    Product p = draw_product(&d, i);
    if (!product_check(sgemm, &p, &d, report)) report->wrong++;
  }
  return report->wrong == 0;
}

bool rt_gemm_doctor(FILE *f, bool verbose) {
  RtGemmReport r;
  if (!blas_there()) return fprintf(f, "BLAS: not there: %s\n", blas.why), false;
  bool good = rt_gemm_check(rt_sgemm, verbose ? 1500 : 128, &r);
  fprintf(f, "BLAS: %s, kernels for %s: %d random products, %s\n", rt_gemm_config(), rt_gemm_core(),
          r.cases, good ? "all right" : "WRONG RESULTS");
  if (!good)
    fprintf(f,
            "  %d wrong; first: m %lld n %lld k %lld, transposed %d %d: error %g, bound %g\n"
            "  Try another kernel set (OPENBLAS_CORETYPE=Haswell) or a newer OpenBLAS.\n",
            r.wrong, (long long)r.m, (long long)r.n, (long long)r.k, r.trans_a, r.trans_b, r.error, r.bound);
  return good;
}
