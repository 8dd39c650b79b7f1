/* SPDX-License-Identifier: Apache-2.0
 * Emitted matrix products against OpenBLAS and the FMA peak, on the shapes of training steps.
 *   bench_gemm [-t threads] [-r rounds] [-q quantile] [-c cpu] [-m mr -v nv -k kc -b mc -p 0|1 -s split -f
 * 0|1] [-e] [m n k form]... form: nn, nt (B transposed: data gradients), tn (A transposed: weight gradients),
 * tt. A letter u behind it: rows are not padded. -e: the dot goes through an epilogue, which stores it;
 * without, it is all that is wanted, as of the BLAS. All contestants of a shape run interleaved; figures are
 * medians over the rounds (-q 10 on a busy machine: the lower decile), in GFLOP/s per thread and share of the
 * peak measured in the same rounds. With one thread the clock is the thread's own processor time, which other
 * programs' turns are not in; what they do to shared caches is. The answer is checked before the clock is
 * believed. */
#include "gemm.h"
#include "llvm_jig.h"
#include "rng.h"
#include <float.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>

enum { MAX_THREADS = 8, MAX_ROUNDS = 200, FMA_CHAINS = 6, FMA_STEPS = 200000 };
typedef struct Shape3 {
  int64_t m, n, k;
  const char *form;
} Shape3;
typedef void (*Kernel)(const float *a, const float *b, float *c, int64_t rows, int64_t tid, int64_t nt);
typedef void (*Peak)(float *out, int64_t steps);

static const Shape3 autoencoder[] = {
    {2048, 2048, 784, "nn"},   {2048, 512, 2048, "nn"}, {2048, 32, 512, "nn"},   {2048, 512, 32, "nn"},
    {2048, 2048, 512, "nn"},   {2048, 784, 2048, "nn"}, {2048, 512, 2048, "nt"}, {2048, 2048, 512, "nt"},
    {2048, 32, 512, "nt"},     {2048, 512, 32, "nt"},   {2048, 2048, 784, "nt"}, {784, 2048, 2048, "tn"},
    {2048, 512, 2048, "tn"},   {512, 32, 2048, "tn"},   {32, 512, 2048, "tn"},   {512, 2048, 2048, "tn"},
    {2048, 784, 2048, "tn"},   {64, 2048, 784, "nn"},   {64, 512, 2048, "nn"},   {64, 32, 512, "nn"},
    {64, 512, 32, "nn"},       {64, 784, 2048, "nn"},   {64, 512, 2048, "nt"},   {64, 2048, 512, "nt"},
    {64, 32, 512, "nt"},       {64, 2048, 784, "nt"},   {784, 2048, 64, "tn"},   {2048, 512, 64, "tn"},
    {512, 32, 64, "tn"},       {2048, 784, 64, "tn"},   {64, 128, 784, "nn"},    {64, 10, 128, "nn"},
    {64, 128, 10, "nt"},       {784, 128, 64, "tn"},    {128, 10, 64, "tn"},     {2048, 384, 128, "nn"},
    {2048, 16, 16, "nn"},      {2048, 16, 2048, "nn"},  {16, 16, 2048, "tn"},    {1024, 1024, 1024, "nn"},
    {1024, 1024, 1024, "nnu"},
};

typedef struct Options {
  int threads, rounds, quantile;
  const char *cpu;
  GemmTile tile;
  double explain_below; /* share of the peak, %; 0: nothing */
  bool has_split, has_pack, has_flip, epilogue;
} Options;
typedef struct Work { /* one shape being measured */
  GemmGeom g;
  GemmTile tile;
  GemmImpl impl;
  const char *reason;
  Kernel kernel;
  Peak peak;
  int64_t m, n, k, lda, ldb, ldc;
  int ta, tb;
  bool epilogue;
  float *a, *b, *c;
  double compile;
} Work;

/* ---- threads: they spin, since a product takes microseconds
 * ------------------------------------------------------ */
typedef enum Contest { RUN_PEAK, RUN_EMITTED, RUN_BLAS, RUN_EXIT } Contest;
static struct {
  atomic_int generation, done;
  int n;
  Contest what;
  int64_t repeats;
  const Work *w;
} crew;

static void run_share(int tid) {
  const Work *w = crew.w;
  float sink[EMIT_LANES];
  int64_t nt = crew.n, units = crew.what == RUN_BLAS ? (w->tile.split == 1 ? w->n : w->m) : 0;
  int64_t lo = units * tid / nt, count = units * (tid + 1) / nt - lo;
  bool cols = w->tile.split == 1;
  for (int64_t r = 0; r < crew.repeats; r++) {
    if (crew.what == RUN_PEAK) w->peak(sink, FMA_STEPS);
    if (crew.what == RUN_EMITTED) w->kernel(w->a, w->b, w->c, w->ta ? w->k : w->m, tid, nt);
    if (crew.what == RUN_BLAS)
      rt_sgemm(w->ta, w->tb, cols ? w->m : count, cols ? count : w->n, w->k,
               cols ? w->a : w->a + lo * w->g.am, w->lda, cols ? w->b + lo * w->g.bn : w->b, w->ldb,
               w->c + (cols ? lo : lo * w->ldc), w->ldc, 0);
  }
}

static void *crew_main(void *arg) {
  int tid = (int)(intptr_t)arg, seen = 0;
  for (;;) {
    while (atomic_load_explicit(&crew.generation, memory_order_acquire) == seen) __builtin_ia32_pause();
    seen++;
    if (crew.what == RUN_EXIT) return NULL;
    run_share(tid);
    atomic_fetch_add_explicit(&crew.done, 1, memory_order_release);
  }
}

static double crew_now(void) {
  struct timespec t;
  clock_gettime(crew.n == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double crew_run(const Work *w, Contest what, int64_t repeats) {
  crew.w = w, crew.what = what, crew.repeats = repeats;
  atomic_store(&crew.done, 0);
  double start = crew_now();
  atomic_fetch_add_explicit(&crew.generation, 1, memory_order_release);
  if (what == RUN_EXIT) return 0;
  run_share(0);
  while (atomic_load_explicit(&crew.done, memory_order_acquire) < crew.n - 1) __builtin_ia32_pause();
  return (crew_now() - start) / (double)repeats;
}

/* ---- code
 * ---------------------------------------------------------------------------------------------------------
 */
typedef struct Store {
  LLVMValueRef c;
  int64_t cm;
} Store;
static void store_epilogue(Emit *e, void *user, const LLVMValueRef *batch, LLVMValueRef row, LLVMValueRef col,
                           LLVMValueRef acc, LLVMValueRef mask) {
  const Store *s = user;
  (void)batch;
  LLVMValueRef at = LLVMBuildAdd(e->b, LLVMBuildMul(e->b, row, em_i64(e, s->cm), ""), col, "");
  em_store16(e, acc, em_gep(e, e->f32, s->c, at), mask);
}

static void emit_peak(Jig *j) { /* independent chains of fma in registers */
  Emit *e = &j->e;
  LLVMValueRef f = jig_function(j, "peak", 1, 1), phi[FMA_CHAINS], v[FMA_CHAINS],
               x = em_splat(e, LLVMConstReal(e->f32, 0.999));
  LLVMBasicBlockRef entry = LLVMGetInsertBlock(e->b), body = LLVMAppendBasicBlockInContext(e->ctx, f, "body"),
                    done = LLVMAppendBasicBlockInContext(e->ctx, f, "done");
  LLVMBuildBr(e->b, body);
  LLVMPositionBuilderAtEnd(e->b, body);
  LLVMValueRef i = LLVMBuildPhi(e->b, e->i64, "i"), zero = em_i64(e, 0);
  LLVMAddIncoming(i, &zero, &entry, 1);
  for (int c = 0; c < FMA_CHAINS; c++) {
    LLVMValueRef start = em_splat(e, LLVMConstReal(e->f32, 1 + c));
    phi[c] = LLVMBuildPhi(e->b, e->v16f32, "");
    LLVMAddIncoming(phi[c], &start, &entry, 1);
    v[c] = phi[c];
  }
  for (int u = 0; u < 8; u++)
    for (int c = 0; c < FMA_CHAINS; c++) {
      LLVMValueRef args[3] = {v[c], x, x};
      v[c] = em_intrinsic(e, "llvm.fma", e->v16f32, args, 3);
    }
  LLVMValueRef next = LLVMBuildAdd(e->b, i, em_i64(e, 1), ""), sum = v[0];
  for (int c = 0; c < FMA_CHAINS; c++) LLVMAddIncoming(phi[c], &v[c], &body, 1);
  LLVMAddIncoming(i, &next, &body, 1);
  LLVMBuildCondBr(e->b, LLVMBuildICmp(e->b, LLVMIntSLT, next, LLVMGetParam(f, 1), ""), body, done);
  LLVMPositionBuilderAtEnd(e->b, done);
  for (int c = 1; c < FMA_CHAINS; c++) sum = LLVMBuildFAdd(e->b, sum, v[c], "");
  em_store16(e, sum, LLVMGetParam(f, 0), NULL);
  LLVMBuildRetVoid(e->b);
}

static void build_code(Jig *j, Work *w) {
  LLVMValueRef f = jig_function(j, "kernel", 3, 3);
  Store s = {LLVMGetParam(f, 2), w->g.cm};
  const GemmEnd end = {.epilogue = store_epilogue, .user = &s};
  LLVMValueRef rows = LLVMGetParam(f, 3);
  gemm_emit(&j->e, &w->g, &w->tile, LLVMGetParam(f, 0), LLVMGetParam(f, 1), LLVMGetParam(f, 2), &rows,
            LLVMGetParam(f, 4), LLVMGetParam(f, 5), w->epilogue ? &end : NULL);
  LLVMBuildRetVoid(j->e.b);
  emit_peak(j);
  jig_load(j, NULL);
  w->compile = j->seconds;
  *(void **)&w->kernel = jig_symbol(j, "kernel");
  *(void **)&w->peak = jig_symbol(j, "peak");
}

/* ---- one shape
 * -------------------------------------------------------------------------------------------------- */
static float *floats(int64_t n, uint32_t stream) {
  const int64_t room =
      n + EMIT_LANES; /* lanes that a mask leaves out may not lie on a page that is not there: that is slow */
  float *f = aligned_alloc(1 << 21, ((size_t)room * sizeof *f + (1 << 21) - 1) >> 21 << 21);
  if (!f) jig_die("memory", "exhausted");
  extern int madvise(void *, size_t, int);
  madvise(f, (size_t)room * sizeof *f, 14 /* MADV_HUGEPAGE */);
  for (int64_t i = 0; i < room; i++) f[i] = 2 * rng_uniform(1, stream, 0, (uint32_t)i, 0) - 1;
  return f;
}

static int64_t padded(int64_t n, bool pad) { return pad && n >= 16 ? (n + 15) / 16 * 16 + 16 : n; }

/* The kernel of the transpose, or the other one, where there is one. */
static void work_turn(Work *w, const TargetInfo *t, Arena *arena) {
  GemmChoice way[PLAN_MAX_ALTERNATIVES];
  const uint32_t n = plan_gemm_alternatives(&w->g, w->ta ? w->k : w->m, t, false, arena, way);
  for (uint32_t i = 0; i < n; i++)
    if (way[i].impl == GEMM_EMITTED && way[i].tile.flip != w->tile.flip) {
      w->tile = way[i].tile;
      return;
    }
}

static void work_make(Work *w, const Shape3 *s, const TargetInfo *t, const Options *o, Arena *arena) {
  bool pad = !strchr(s->form, 'u');
  *w = (Work){.m = s->m,
              .n = s->n,
              .k = s->k,
              .epilogue = o->epilogue,
              .ta = s->form[0] == 't',
              .tb = s->form[1] == 't'};
  w->lda = padded(w->ta ? w->m : w->k, pad), w->ldb = padded(w->tb ? w->k : w->n, pad),
  w->ldc = padded(w->n, pad);
  w->g = (GemmGeom){.m = {w->m, false},
                    .n = {w->n, false},
                    .k = {w->k, false},
                    .am = w->ta ? 1 : w->lda,
                    .ak = w->ta ? w->lda : 1,
                    .bk = w->tb ? 1 : w->ldb,
                    .bn = w->tb ? w->ldb : 1,
                    .cm = w->ldc};
  if (w->ta) w->g.k = (Extent){1, true}; /* a weight gradient's sum runs over the rows of the batch */
  else w->g.m = (Extent){1, true};
  plan_gemm_choose(&w->g, w->ta ? w->k : w->m, t, false, NULL, arena, &w->impl, &w->tile, &w->reason);
  if (o->has_flip && w->tile.flip != o->tile.flip) work_turn(w, t, arena);
  if (o->tile.mr) w->tile.mr = o->tile.mr;
  if (o->tile.nv) w->tile.nv = o->tile.nv;
  if (o->tile.kc) w->tile.kc = o->tile.kc;
  if (o->tile.mc) w->tile.mc = o->tile.mc;
  if (o->has_pack) w->tile.pack_a = o->tile.pack_a;
  if (o->has_split) w->tile.split = o->tile.split;
  w->a = floats(w->lda * (w->ta ? w->k : w->m), 1), w->b = floats(w->ldb * (w->tb ? w->n : w->k), 2),
  w->c = floats(w->ldc * w->m, 3);
}

/* 200 elements against the sum in double, and against the one chain of fma. */
static void work_check(const Work *w, bool chain) {
  for (uint32_t s = 0; s < 200; s++) {
    int64_t i = (int64_t)((double)rng_uniform(9, 9, 0, s, 0) * (double)w->m),
            j = (int64_t)((double)rng_uniform(9, 9, 0, s, 1) * (double)w->n);
    double sum = 0, size = 0, got = (double)w->c[i * w->ldc + j];
    float fused = 0;
    for (int64_t k = 0; k < w->k; k++) {
      float a = w->a[i * w->g.am + k * w->g.ak], b = w->b[k * w->g.bk + j * w->g.bn];
      sum += (double)a * (double)b, size += fabs((double)a * (double)b), fused = fmaf(a, b, fused);
    }
    if (!(fabs(got - sum) <= (double)(w->k + 1) * (double)FLT_EPSILON * size) ||
        (chain && w->c[i * w->ldc + j] != fused)) {
      fprintf(stderr, "wrong result at %lld,%lld: %g, want %g\n", (long long)i, (long long)j, got, sum);
      exit(1);
    }
  }
}

static int by_value(const void *x, const void *y) {
  return (*(const double *)x > *(const double *)y) - (*(const double *)x < *(const double *)y);
}
static double quantile(double *v, const Options *o) {
  qsort(v, (size_t)o->rounds, sizeof *v, by_value);
  return v[(o->rounds - 1) * o->quantile / 100];
}

/* Returns the share of the peak, %. */
static double work_measure(Work *w, const Options *o) {
  static double t[3][MAX_ROUNDS], ratio[MAX_ROUNDS]; /* ratio: paired by round */
  double flops = 2.0 * (double)w->m * (double)w->n * (double)w->k,
         peak_flops = 2.0 * FMA_CHAINS * 8 * EMIT_LANES * FMA_STEPS;
  memset(w->c, 0xff, (size_t)(w->ldc * w->m) * sizeof *w->c);
  crew_run(w, RUN_BLAS, 1);
  work_check(w, false);
  memset(w->c, 0xff, (size_t)(w->ldc * w->m) * sizeof *w->c);
  double once = crew_run(w, RUN_EMITTED, 1);
  once = crew_run(w, RUN_EMITTED, 1);
  work_check(w, true);
  int64_t repeats = once > 2e-3 ? 1 : (int64_t)(2e-3 / once) + 1;
  for (int r = 0; r < o->rounds; r++) {
    t[RUN_PEAK][r] = crew_run(w, RUN_PEAK, 1);
    t[RUN_EMITTED][r] = crew_run(w, RUN_EMITTED, repeats);
    t[RUN_BLAS][r] = crew_run(w, RUN_BLAS, repeats);
    ratio[r] = t[RUN_BLAS][r] / t[RUN_EMITTED][r];
  }
  double peak = peak_flops / quantile(t[RUN_PEAK], o) * 1e-9,
         ours = flops / quantile(t[RUN_EMITTED], o) * 1e-9 / crew.n;
  double blas = flops / quantile(t[RUN_BLAS], o) * 1e-9 / crew.n;
  printf("%5lld %5lld %5lld %d%d %dx%d kc%-4d mc%-4d p%d%d%s s%d | %6.1f  %5.1f%% | %6.1f %5.1f%% | %5.2f | "
         "peak %5.1f | %4.1f ms\n",
         (long long)w->m, (long long)w->n, (long long)w->k, w->ta, w->tb, w->tile.mr, w->tile.nv, w->tile.kc,
         w->tile.mc, w->tile.pack_a, w->tile.pack_b, w->tile.flip ? "t" : "", w->tile.split, ours,
         100 * ours / peak, blas, 100 * blas / peak, o->quantile == 50 ? quantile(ratio, o) : ours / blas,
         peak, w->compile * 1e3);
  fflush(stdout);
  return 100 * ours / peak;
}

/* ---- where the time goes
 * ------------------------------------------------------------------------------------------------ */
/* Each but the first is the same product with one thing less to do, and all are run: what the thing costs is
 * the difference of two times, so that the parts and the arithmetic at the peak's rate add up to the time
 * measured. */
enum { AS_IT_IS, C_IN_CACHE, OPERANDS_IN_CACHE, B_NOT_PACKED, A_NOT_PACKED, NOT_TURNED, N_VARIANTS };

/* The product whose kernel it is: C's transpose where tile.flip. Undoes itself. */
static void work_transpose(Work *w) {
  const GemmGeom g = w->g;
  float *const a = w->a;
  w->g.m = g.n, w->g.n = g.m, w->g.am = g.bn, w->g.ak = g.bk, w->g.bk = g.ak, w->g.bn = g.am;
  w->a = w->b, w->b = a;
}

/* Distances of 0 keep A and B within one row of their own, which stays in L1; C's rows overlap and stay in
 * L2. In the kernel's terms. */
static void work_lessen(Work *v, int variant) {
  GemmGeom *g = &v->g;
  const bool ragged = g->m.rows || g->m.n % v->tile.mr != 0, across = g->ak != 1;
  if (variant >= C_IN_CACHE) g->cm = EMIT_LANES; /* not 0: stores to one line wait for each other */
  if (variant >= OPERANDS_IN_CACHE) *(across ? &g->ak : &g->am) = 0, *(g->bn == 1 ? &g->bk : &g->bn) = 0;
  if (variant >= B_NOT_PACKED) g->bn = 1, g->bk = 0, v->tile.pack_b = v->tile.pad_b = false;
  if (variant >= A_NOT_PACKED) {
    v->tile.pack_a = false;
    if (across && ragged) g->ak = 1, g->am = 0; /* columns of A are read in whole strips only */
  }
}

static Work work_variant(const Work *w, int variant) {
  Work v = *w;
  if (w->tile.flip) work_transpose(&v);
  work_lessen(&v, variant);
  if (w->tile.flip && variant != NOT_TURNED) work_transpose(&v);
  if (variant == NOT_TURNED) v.tile.flip = false;
  return v;
}

/* Whether there is anything that a variant does less than the one before. */
static bool variant_differs(const Work *w, int variant) {
  Work k = *w;
  if (k.tile.flip) work_transpose(&k);
  const bool ragged = k.g.m.rows || k.g.m.n % k.tile.mr != 0;
  if (variant == B_NOT_PACKED) return k.g.bn != 1 || k.tile.pad_b;
  if (variant == A_NOT_PACKED) return k.g.ak != 1 && (k.tile.pack_a || ragged);
  return variant == NOT_TURNED ? w->tile.flip : true;
}

static int64_t up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

static void explain(const Work *w, const TargetInfo *t, const Options *o) {
  static double time[N_VARIANTS][MAX_ROUNDS], peak[MAX_ROUNDS];
  Jig j[N_VARIANTS];
  Work v[N_VARIANTS];
  double ms[N_VARIANTS];
  for (int i = 0; i < N_VARIANTS; i++) {
    jig_open(&j[i], t);
    v[i] = work_variant(w, i);
    build_code(&j[i], &v[i]);
    crew_run(&v[i], RUN_EMITTED, 1);
  }
  const double once = crew_run(&v[0], RUN_EMITTED, 1);
  const int64_t repeats = once > 2e-3 ? 1 : (int64_t)(2e-3 / once) + 1;
  for (int r = 0; r < o->rounds; r++) {
    peak[r] = crew_run(w, RUN_PEAK, 1);
    for (int i = 0; i < N_VARIANTS; i++) {
      crew_run(&v[i], RUN_EMITTED, 1); /* after itself, as when it was measured above */
      time[i][r] = crew_run(&v[i], RUN_EMITTED, repeats);
    }
  }
  const double rate = 2.0 * FMA_CHAINS * 8 * EMIT_LANES * FMA_STEPS / quantile(peak, o);
  for (int i = 0; i < N_VARIANTS; i++) {
    ms[i] = i && !variant_differs(w, i) ? ms[i - 1] : quantile(time[i], o);
    jig_close(&j[i]);
  }
  const bool flip = w->tile.flip;
  const double useful = 2.0 * (double)w->m * (double)w->n * (double)w->k / rate,
               done = 2.0 * (double)up(w->m, flip ? EMIT_LANES : w->tile.mr) *
                      (double)up(w->n, flip ? w->tile.mr : EMIT_LANES) * (double)w->k / rate,
               part = 100 / ms[0];
  printf("      time, %%: arithmetic %.1f, unused lanes and rows %.1f, tile %.1f, packing A %.1f, packing B "
         "%.1f, "
         "turning C %.1f, operands %.1f, C %.1f\n",
         useful * part, (done - useful) * part, (ms[NOT_TURNED] - done) * part,
         (flip ? ms[OPERANDS_IN_CACHE] - ms[B_NOT_PACKED] : ms[B_NOT_PACKED] - ms[A_NOT_PACKED]) * part,
         (flip ? ms[B_NOT_PACKED] - ms[A_NOT_PACKED] : ms[OPERANDS_IN_CACHE] - ms[B_NOT_PACKED]) * part,
         (ms[A_NOT_PACKED] - ms[NOT_TURNED]) * part, (ms[C_IN_CACHE] - ms[OPERANDS_IN_CACHE]) * part,
         (ms[AS_IT_IS] - ms[C_IN_CACHE]) * part);
  fflush(stdout);
}

static void bench_shape(const Shape3 *s, const TargetInfo *t, const Options *o) {
  Jig j;
  Work w;
  jig_open(&j, t);
  work_make(&w, s, t, o, j.e.arena);
  build_code(&j, &w);
  if (work_measure(&w, o) < o->explain_below) explain(&w, t, o);
  free(w.a), free(w.b), free(w.c);
  jig_close(&j);
}

static void usage(void) {
  fprintf(stderr, "usage: bench_gemm [-t threads] [-r rounds] [-q quantile] [-c cpu] [-m mr] [-v nv] [-k kc] "
                  "[-b mc] [-p pack_a] [-s split] [-f flip] [-e] [-B percent] [m n k form]...\n");
  exit(2);
}

int main(int argc, char **argv) {
  Options o = {.threads = 1, .rounds = 11, .quantile = 50, .cpu = "native"};
  TargetInfo target;
  pthread_t thread[MAX_THREADS];
  for (int opt; (opt = getopt(argc, argv, "t:r:q:c:m:v:k:b:p:s:f:eB:")) != -1;) {
    int n = opt == 'c' || opt == '?' || opt == 'e' ? 0 : atoi(optarg);
    switch (opt) {
    case 't': o.threads = n < 1 ? 1 : n > MAX_THREADS ? MAX_THREADS : n; break;
    case 'r': o.rounds = n < 1 ? 1 : n > MAX_ROUNDS ? MAX_ROUNDS : n; break;
    case 'q': o.quantile = n < 0 ? 0 : n > 100 ? 100 : n; break;
    case 'c': o.cpu = optarg; break;
    case 'm': o.tile.mr = n; break;
    case 'v': o.tile.nv = n; break;
    case 'k': o.tile.kc = n; break;
    case 'b': o.tile.mc = n; break;
    case 'p': o.has_pack = true, o.tile.pack_a = n != 0; break;
    case 'e': o.epilogue = true; break;
    case 'f': o.has_flip = true, o.tile.flip = n != 0; break;
    case 'B': o.explain_below = atof(optarg); break;
    case 's': o.has_split = true, o.tile.split = n; break;
    default: usage();
    }
  }
  LLVMInitializeX86TargetInfo();
  jig_target(&target, o.cpu);
  crew.n = o.threads;
  for (int i = 1; i < o.threads; i++) pthread_create(&thread[i], NULL, crew_main, (void *)(intptr_t)i);
  printf("emitted for %s, BLAS kernels %s, %d threads; GFLOP/s a thread, %% of the FMA peak, times the BLAS, "
         "compile time\n",
         target.cpu, rt_gemm_core(), o.threads);
  if (optind == argc)
    for (size_t i = 0; i < sizeof autoencoder / sizeof *autoencoder; i++)
      bench_shape(&autoencoder[i], &target, &o);
  if ((argc - optind) % 4 || (o.explain_below > 0 && o.threads > 1)) usage();
  for (int i = optind; i < argc; i += 4) {
    Shape3 s = {atoll(argv[i]), atoll(argv[i + 1]), atoll(argv[i + 2]), argv[i + 3]};
    if (s.m < 1 || s.n < 1 || s.k < 1 || strlen(s.form) < 2) usage();
    bench_shape(&s, &target, &o);
  }
  if (o.threads > 1) crew_run(NULL, RUN_EXIT, 0);
  for (int i = 1; i < o.threads; i++) pthread_join(thread[i], NULL);
  return 0;
}
