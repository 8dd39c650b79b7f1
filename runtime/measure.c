/* SPDX-License-Identifier: Apache-2.0
 * measure.c -- ways to compute a product, timed in turns: every round runs each of them for about a millisecond, so that
 * what disturbs the machine disturbs all. Operands stay in the caches where they fit. */
#include "doctor.h"
#include "gemm.h"
#include "mem.h"
#include "pool.h"
#include "rng.h"
#include "rt.h"
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SAMPLES = 200, LEAST_ROUNDS = 5 };
#define SLICE 1e-3  /* seconds of one way in one round, at least */
#define BUDGET 2.0  /* seconds of one product, about */

typedef struct Measure {
  const RtProduct *p;
  const RtWay *way;
  Pool *pool;
  Slab in, out;
} Measure;

static int64_t span(int64_t rows, int64_t by_row, int64_t cols, int64_t by_col) {
  return rows > 0 && cols > 0 ? (rows - 1) * by_row + (cols - 1) * by_col + 1 : 0;
}

static int64_t with_batches(const RtProduct *p, const int64_t *apart, int64_t floats) {
  for (int64_t i = 0; i < p->n_batch; i++) floats += apart[i] * (p->batch[i] > 0 ? p->batch[i] - 1 : 0);
  return floats;
}

/* ---- the BLAS -------------------------------------------------------------------------------------------------- */
static void share(int64_t n, int64_t grain, int64_t tid, int64_t nt, int64_t *lo, int64_t *hi) {
  const int64_t chunks = (n + grain - 1) / grain;
  *lo = chunks * tid / nt * grain, *hi = chunks * (tid + 1) / nt * grain;
  if (*hi > n) *hi = n;
}

/* Row-major, one stride of which is 1 or belongs to an extent of 1: transposed, and its leading dimension. */
static int64_t layout(int64_t rows, int64_t cols, int64_t by_row, int64_t by_col, int64_t *ld) {
  const bool plain = cols == 1 || (by_col == 1 && !(by_row == 1 && rows != 1)) || (by_row != 1 && rows == 1);
  const int64_t least = plain ? cols : rows;
  *ld = plain ? by_row : by_col;
  if ((plain ? rows : cols) == 1 || *ld < least) *ld = least;
  return !plain;
}

static void blas_matrix(const Measure *m, int64_t tid, int64_t nt, const float *a, const float *b, float *c) {
  const RtProduct *p = m->p;
  int64_t lo, hi, lda, ldb;
  share(m->way->columns ? p->n : p->m, 16, tid, nt, &lo, &hi);
  if (hi <= lo) return;
  const int64_t ta = layout(p->m, p->k, p->am, p->ak, &lda), tb = layout(p->k, p->n, p->bk, p->bn, &ldb);
  if (m->way->columns) rt_sgemm(ta, tb, p->m, hi - lo, p->k, a, lda, b + lo * p->bn, ldb, c + lo, p->cm, 0);
  else rt_sgemm(ta, tb, hi - lo, p->n, p->k, a + lo * p->am, lda, b, ldb, c + lo * p->cm, p->cm, 0);
}

/* What a step does with the sums of a BLAS is a pass of its own. */
static void copy_matrix(const Measure *m, int64_t tid, int64_t nt, const float *c) {
  const RtProduct *p = m->p;
  int64_t lo, hi;
  share(p->m, 1, tid, nt, &lo, &hi);
  for (int64_t i = lo; i < hi; i++) memcpy((float *)(uintptr_t)c + p->out_at + i * p->cm, c + i * p->cm, (size_t)p->n * sizeof *c);
}

static void each_matrix(const Measure *m, int64_t tid, int64_t nt, bool copy) {
  const RtProduct *p = m->p;
  int64_t count = 1;
  for (int64_t i = 0; i < p->n_batch; i++) count *= p->batch[i];
  for (int64_t x = 0; x < count; x++) {
    const float *a = (const float *)(const void *)m->in.bytes, *b = a + p->b_at;
    float *c = (float *)(void *)m->out.bytes;
    for (int64_t i = p->n_batch, rest = x; i-- > 0; rest /= p->batch[i]) {
      const int64_t at = rest % p->batch[i];
      a += at * p->a_batch[i], b += at * p->b_batch[i], c += at * p->c_batch[i];
    }
    if (copy) copy_matrix(m, tid, nt, c);
    else blas_matrix(m, tid, nt, a, b, c);
  }
}

static void measure_meet(JobFrame *f, int64_t tid) {
  (void)tid;
  pool_barrier(((const Measure *)f->host)->pool);
}

static void blas_entry(JobFrame *f, int64_t tid) {
  const Measure *m = f->host;
  for (int64_t r = 0; r < f->n_steps; r++) {
    each_matrix(m, tid, f->n_threads, false);
    measure_meet(f, tid);
    if (m->p->plain) continue;
    each_matrix(m, tid, f->n_threads, true);
    measure_meet(f, tid);
  }
}

/* ---- time ------------------------------------------------------------------------------------------------------- */
/* One thread's clock stands still while others have its processor. */
static double measure_now(const Measure *m) {
  struct timespec t;
  clock_gettime(pool_threads(m->pool) == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double run_way(Measure *m, const RtWay *way, int64_t repeats) {
  JobFrame f = {.store = m->in.bytes, .work = m->out.bytes, .n_steps = repeats, .total_steps = m->p->rows,
                .barrier = measure_meet, .host = m};
  m->way = way;
  const double start = measure_now(m);
  pool_run(m->pool, way->entry ? way->entry : blas_entry, &f);
  return (measure_now(m) - start) / (double)repeats;
}

/* Elements of the first matrix against their sums in double. */
static bool right(const Measure *m) {
  const RtProduct *p = m->p;
  const float *a = (const float *)(const void *)m->in.bytes, *b = a + p->b_at;
  const float *c = (const float *)(const void *)m->out.bytes + (p->plain ? 0 : p->out_at);
  for (uint32_t s = 0; s < SAMPLES; s++) {
    const int64_t i = (int64_t)((double)rng_uniform(7, 1, 0, s, 0) * (double)p->m), j = (int64_t)((double)rng_uniform(7, 2, 0, s, 0) * (double)p->n);
    double sum = 0, size = 0;
    for (int64_t k = 0; k < p->k; k++) {
      const double x = (double)a[i * p->am + k * p->ak] * (double)b[k * p->bk + j * p->bn];
      sum += x, size += fabs(x);
    }
    if (!(fabs((double)c[i * p->cm + j] - sum) <= (double)(p->k + 1) * (double)FLT_EPSILON * size)) return false;
  }
  return true;
}

static int measure_rounds(Measure *m, const RtWay *ways, int n, double (*ms)[RT_MAX_ROUNDS]) {
  bool ok[64] = {false};
  int64_t repeats[64] = {0};
  double all = 0;
  for (int w = 0; w < n; w++) {
    memset(m->out.bytes, 0xff, m->out.size);
    run_way(m, &ways[w], 1);
    ok[w] = right(m);
    const double once = run_way(m, &ways[w], 1);
    repeats[w] = once >= SLICE ? 1 : once > 1e-7 ? (int64_t)(SLICE / once) + 1 : 10000;
    all += ok[w] ? once * (double)repeats[w] : 0;
  }
  int rounds = all > 0 ? (int)fmin(BUDGET / all, RT_MAX_ROUNDS) : RT_MAX_ROUNDS;
  if (rounds < LEAST_ROUNDS) rounds = LEAST_ROUNDS;
  for (int r = 0; r < rounds; r++)
    for (int w = 0; w < n; w++) ms[w][r] = ok[w] ? 1e3 * run_way(m, &ways[w], repeats[w]) : (double)INFINITY;
  return rounds;
}

static bool measure_alloc(Measure *m, RtError *e) {
  const RtProduct *p = m->p;
  const int64_t in = p->b_at + with_batches(p, p->b_batch, span(p->k, p->bk, p->n, p->bn)) + 64;
  const int64_t c = with_batches(p, p->c_batch, span(p->m, p->cm, p->n, 1)), out = (p->plain ? 0 : p->out_at) + c + 64;
  if (!slab_alloc(&m->in, in * 4, "operands", e) || !slab_alloc(&m->out, out * 4, "results", e)) return false;
  for (int64_t i = 0; i < in; i++) ((float *)(void *)m->in.bytes)[i] = 2 * rng_uniform(7, 0, 0, (uint32_t)i, 0) - 1;
  return true;
}

int rt_product_measure(const RtProduct *p, const RtWay *ways, int n, int threads, double (*ms)[RT_MAX_ROUNDS]) {
  Measure m = {.p = p};
  RtError e = {0};
  int rounds = 0;
  char feature[64];
  if (n < 1 || n > 64) fprintf(stderr, "routec: internal error: %d ways to compute a product\n", n), abort();
  if (doctor_missing_feature(p->cpu, p->features, feature, sizeof feature)) rt_fail(&e, RT_E0735, p->cpu, feature);
  else if (rt_gemm_open(&e)) m.pool = pool_create(threads, &e);
  if (m.pool && measure_alloc(&m, &e)) rounds = measure_rounds(&m, ways, n, ms);
  else rt_error_print(&e, stderr, false, false);
  pool_destroy(m.pool);
  slab_free(&m.in), slab_free(&m.out);
  return rounds;
}

const char *rt_blas_name(void) {
  static char text[512];
  snprintf(text, sizeof text, "%s, kernels for %s", rt_gemm_config(), rt_gemm_core());
  return text;
}

int rt_threads(int asked) { return asked > 0 ? asked : pool_cpus(); }
