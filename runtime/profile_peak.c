/* SPDX-License-Identifier: Apache-2.0
 * profile_peak.c -- what the processor can do at most, for "share of peak": fused multiply-adds in registers, and copies that are
 * larger than the caches. The best of a few trials of milliseconds each, on all threads at once. */
#include "profile.h"
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum { TRIALS = 5, CHAINS = 12, ROUNDS = 1 << 18 };
#define COPY_BYTES ((int64_t)32 << 20) /* of each thread, read and written */

typedef struct PeakWork {
  Pool *pool;
  Slab from, to;
  double flops; /* of one trial of one thread */
  double *seconds; /* [thread] */
  bool copy;
  _Atomic float sink;
} PeakWork;

/* CHAINS independent chains keep both units of a core busy: 2 units with a latency of 4 to 5 cycles need 10. */
#define FMA_LOOP(type, set, fma, lanes)                                                                     \
  type x[CHAINS];                                                                                           \
  const type a = set(0.999f), b = set(0.001f);                                                              \
  _Pragma("GCC unroll 12") for (int c = 0; c < CHAINS; c++) x[c] = set((float)c);                           \
  for (int i = 0; i < ROUNDS; i++)                                                                          \
    _Pragma("GCC unroll 12") for (int c = 0; c < CHAINS; c++) x[c] = fma(x[c], a, b);                       \
  _Pragma("GCC unroll 12") for (int c = 1; c < CHAINS; c++) x[0] = fma(x[0], a, x[c]);                      \
  float first[lanes];                                                                                       \
  memcpy(first, &x[0], sizeof first);                                                                       \
  return first[0]

#if defined(__x86_64__)
__attribute__((target("avx512f"))) static float fma_512(void) {
  FMA_LOOP(__m512, _mm512_set1_ps, _mm512_fmadd_ps, 16);
}
__attribute__((target("avx2,fma"))) static float fma_256(void) {
  FMA_LOOP(__m256, _mm256_set1_ps, _mm256_fmadd_ps, 8);
}
#endif
static float plain_set(float v) { return v; }
static float plain_fma(float x, float a, float b) { return x * a + b; }
static float fma_plain(void) { FMA_LOOP(float, plain_set, plain_fma, 1); }

typedef float FmaLoop(void);
static FmaLoop *fma_loop(double *lanes) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f")) return *lanes = 16, fma_512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return *lanes = 8, fma_256;
#endif
  return *lanes = 1, fma_plain;
}

static void peak_entry(JobFrame *f, int64_t tid) {
  PeakWork *w = f->host;
  double lanes;
  FmaLoop *loop = fma_loop(&lanes);
  pool_barrier(w->pool);
  const double began = mem_now();
  if (w->copy) memcpy(w->to.bytes + tid * COPY_BYTES, w->from.bytes + tid * COPY_BYTES, (size_t)COPY_BYTES);
  else w->sink = loop();
  w->seconds[tid] = mem_now() - began;
}

/* `work` of each thread in one trial: the best rate of all threads together, by the slowest of them. */
static double best_rate(PeakWork *w, double work) {
  const int threads = pool_threads(w->pool);
  double best = 0;
  for (int trial = 0; trial < TRIALS; trial++) {
    JobFrame f = {.host = w};
    double slowest = 1e-9;
    pool_run(w->pool, peak_entry, &f);
    for (int k = 0; k < threads; k++)
      if (w->seconds[k] > slowest) slowest = w->seconds[k];
    if (work * threads / slowest > best) best = work * threads / slowest;
  }
  return best;
}

bool peak_measure(Pool *pool, MachinePeak *out, RtError *e) {
  const int threads = pool_threads(pool);
  PeakWork w = {.pool = pool, .seconds = calloc((size_t)threads, sizeof(double))};
  double lanes;
  fma_loop(&lanes);
  const bool ok = w.seconds && slab_alloc(&w.from, threads * COPY_BYTES, "a measurement", e) &&
                  slab_alloc(&w.to, threads * COPY_BYTES, "a measurement", e);
  if (!w.seconds) rt_fail(e, RT_E0719, 8LL * threads, "a measurement");
  if (ok) {
    memset(w.from.bytes, 1, w.from.size);
    out->flops = best_rate(&w, 2.0 * lanes * CHAINS * ROUNDS);
    w.copy = true;
    out->bytes = best_rate(&w, 2.0 * (double)COPY_BYTES); /* the first trial touches new pages and is not the best */
  }
  slab_free(&w.from), slab_free(&w.to), free(w.seconds);
  return ok;
}
