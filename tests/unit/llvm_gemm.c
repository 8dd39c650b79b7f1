/* SPDX-License-Identifier: Apache-2.0
 * Emitted matrix products on random geometries against a product in double: every stride form, tails in all
 * dimensions, run-time extents, batch axes, empty sums. The same bits from any tile, thread count and vector
 * width; the epilogue sees each element once, or, where there is none, the sums lie in their place; nothing
 * is touched outside the operands (guard pages, sentinels). */
#include "llvm_jig.h"
#include "rng.h"
#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
#include <sys/mman.h>

enum {
  N_CASES = 32,
  N_ROUNDS = 3,
  N_TILES = 3,
  PLAIN = 2 /* the last tile's kernels store the dot itself */
};
typedef void (*Kernel)(const float *a, const float *b, float *c, float *out, int32_t *count, int64_t rows,
                       int64_t tid, int64_t nt);
typedef struct Case {
  GemmGeom g;
  int64_t rows, m, n, k, batch, a_floats, b_floats, c_floats;
  GemmTile tile[N_TILES];
} Case;

static uint32_t draws;
static int64_t draw(int64_t lo, int64_t hi) { /* inclusive */
  return lo + (int64_t)((double)rng_uniform(77, 3, 0, draws++, 0) * (double)(hi - lo + 1));
}

/* Memory whose last float ends at a page that cannot be touched. */
typedef struct Guarded {
  uint8_t *base;
  size_t bytes;
  float *f;
} Guarded;
static Guarded guarded_floats(int64_t n) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE), need = (size_t)n * sizeof(float),
         whole = (need + page - 1) / page * page;
  Guarded g = {.bytes = whole + page};
  g.base = mmap(NULL, g.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  assert_true(g.base != MAP_FAILED);
  assert_int_equal(mprotect(g.base + whole, page, PROT_NONE), 0);
  g.f = (float *)(void *)(g.base + whole - need);
  return g;
}
static void guarded_free(Guarded g) { munmap(g.base, g.bytes); }

/* ---- geometries
 * ---------------------------------------------------------------------------------------------- */
static int64_t draw_extent(void) {
  static const int64_t special[] = {1, 2, 3, 7, 8, 15, 16, 17, 31, 32, 33, 47, 48, 49, 64, 97};
  return draw(0, 1) ? draw(1, 40) : special[draw(0, 15)];
}

/* A few register tiles a round: each costs a function or two to compile. */
static struct { int32_t mr, nv; } tiles[4];
static void draw_tiles(void) {
  for (int i = 0; i < 4; i++) tiles[i].mr = (int32_t)draw(1, 9), tiles[i].nv = (int32_t)draw(1, i + 1);
}

static GemmTile draw_tile(void) {
  static const int32_t kc[] = {4, 7, 16, 64, 256};
  int i = (int)draw(0, 3);
  return (GemmTile){.mr = tiles[i].mr,
                    .nv = tiles[i].nv,
                    .kc = kc[draw(0, 4)],
                    .mc = draw(0, 1) ? 0 : (int32_t)draw(1, 40),
                    .pack_a = draw(0, 1),
                    .pack_b = draw(0, 1),
                    .pad_b = draw(0, 1),
                    .split = (int32_t)draw(0, 2)};
}

/* Geometry with strides, batch strides and the floats that each operand spans. */
static Case draw_case(int number) {
  Case c = {.rows = draw_extent()};
  GemmGeom *g = &c.g;
  c.m = draw_extent(), c.n = draw_extent(), c.k = draw_extent();
  if (number % 16 == 0) c.k = number % 32 ? 0 : 1;
  if (number % 16 == 1) c.rows = 0;
  if (number % 16 == 3) c.n = 1;
  if (number % 16 == 5) c.m = 1;
  int64_t running = draw(0, 5); /* which extents are rows of the batch: m, n, k, m and n, none */
  if (running == 0 || running == 3) c.m = c.rows;
  if (running == 1 || running == 3) c.n = c.rows;
  if (running == 2) c.k = c.rows;
  g->m = (Extent){running == 0 || running == 3 ? 1 : c.m, running == 0 || running == 3};
  g->n = (Extent){running == 1 || running == 3 ? 1 : c.n, running == 1 || running == 3};
  g->k = (Extent){running == 2 ? 1 : c.k, running == 2};
  bool ta = draw(0, 1), tb = draw(0, 1);
  int64_t pad_a = draw(0, 3) * 5, pad_b = draw(0, 3) * 5, pad_c = draw(0, 2) * 3;
  g->am = ta ? 1 : c.k + pad_a, g->ak = ta ? c.m + pad_a : 1;
  g->bk = tb ? 1 : c.n + pad_b, g->bn = tb ? c.k + pad_b : 1;
  g->cm = c.n + pad_c;
  int64_t a = ta ? g->ak * c.k : g->am * c.m, b = tb ? g->bn * c.n : g->bk * c.k, cc = g->cm * c.m;
  c.batch = 1, g->n_batch = number % 4 == 2 ? (uint32_t)draw(1, 3) : 0;
  c.a_floats = a, c.b_floats = b, c.c_floats = cc;
  for (uint32_t i = g->n_batch; i-- > 0;) {
    int64_t extent = draw(1, 3);
    bool shared = draw(0, 2) == 0;
    g->batch[i] = (Extent){extent, false};
    g->a_batch[i] = c.a_floats, g->b_batch[i] = shared ? 0 : c.b_floats, g->c_batch[i] = c.c_floats;
    c.a_floats *= extent, c.b_floats *= shared ? 1 : extent, c.c_floats *= extent, c.batch *= extent;
  }
  for (int t = 0; t < N_TILES; t++) {
    c.tile[t] = draw_tile(), c.tile[t].flip = draw(0, 1);
    if (g->m.rows) c.tile[t].grain = draw(0, 1) ? 0 : (int32_t)draw(1, 20);
  }
  return c;
}

/* ---- kernels
 * --------------------------------------------------------------------------------------------------- */
typedef struct Seen {
  const GemmGeom *g;
  LLVMValueRef out, count;
} Seen;

/* out[..] = acc; count[..]++ */
static void count_epilogue(Emit *e, void *user, const LLVMValueRef *batch, LLVMValueRef row, LLVMValueRef col,
                           LLVMValueRef acc, LLVMValueRef mask) {
  const Seen *s = user;
  LLVMValueRef at = LLVMBuildAdd(e->b, LLVMBuildMul(e->b, row, em_i64(e, s->g->cm), ""), col, "");
  for (uint32_t i = 0; i < s->g->n_batch; i++)
    at = LLVMBuildAdd(e->b, at, LLVMBuildMul(e->b, batch[i], em_i64(e, s->g->c_batch[i]), ""), "");
  LLVMValueRef counter = em_gep(e, e->i32, s->count, at);
  em_store16(e, acc, em_gep(e, e->f32, s->out, at), mask);
  LLVMValueRef one = em_splat(e, LLVMConstInt(e->i32, 1, 0));
  em_store16(e, LLVMBuildAdd(e->b, em_load16(e, e->i32, counter, mask), one, ""), counter, mask);
}

static void emit_kernel(Jig *j, const char *name, const GemmGeom *g, const GemmTile *t, bool plain) {
  LLVMValueRef f = jig_function(j, name, 5, 3);
  Seen s = {g, LLVMGetParam(f, 3), LLVMGetParam(f, 4)};
  const GemmEnd end = {.epilogue = count_epilogue, .user = &s};
  LLVMValueRef rows = LLVMGetParam(f, 5);
  gemm_emit(&j->e, g, t, LLVMGetParam(f, 0), LLVMGetParam(f, 1), LLVMGetParam(f, 2), &rows,
            LLVMGetParam(f, 6), LLVMGetParam(f, 7), plain ? NULL : &end);
  LLVMBuildRetVoid(j->e.b);
}

/* ---- running
 * ---------------------------------------------------------------------------------------------------- */
typedef struct Data {
  Guarded a, b, c, out, count;
  float *want;
  double *exact, *bound;
} Data;

static int64_t c_offset(const Case *c, int64_t batch, int64_t *a, int64_t *b) {
  int64_t off = 0;
  *a = *b = 0;
  for (uint32_t i = c->g.n_batch; i-- > 0;) {
    int64_t index = batch % c->g.batch[i].n;
    batch /= c->g.batch[i].n;
    off += index * c->g.c_batch[i], *a += index * c->g.a_batch[i], *b += index * c->g.b_batch[i];
  }
  return off;
}

static void fill(float *f, int64_t n) {
  for (int64_t i = 0; i < n; i++) f[i] = 2 * rng_uniform(3, 1, 0, draws++, 0) - 1;
}

/* The chain of fma that every kernel must repeat bit for bit, and the same sum in double with its error
 * bound. */
static void compute_twins(const Case *c, Data *d) {
  const GemmGeom *g = &c->g;
  for (int64_t batch = 0; batch < c->batch; batch++) {
    int64_t a0, b0, c0 = c_offset(c, batch, &a0, &b0);
    for (int64_t m = 0; m < c->m; m++)
      for (int64_t n = 0; n < c->n; n++) {
        double sum = 0, size = 0;
        float chain = 0;
        for (int64_t k = 0; k < c->k; k++) {
          float a = d->a.f[a0 + m * g->am + k * g->ak], b = d->b.f[b0 + k * g->bk + n * g->bn];
          chain = fmaf(a, b, chain);
          sum += (double)a * (double)b, size += fabs((double)a * (double)b);
        }
        int64_t at = c0 + m * g->cm + n;
        d->want[at] = chain, d->exact[at] = sum,
        d->bound[at] = (double)(c->k + 1) * (double)FLT_EPSILON * size;
      }
  }
}

static Data data_make(const Case *c) {
  Data d = {guarded_floats(c->a_floats),
            guarded_floats(c->b_floats),
            guarded_floats(c->c_floats),
            guarded_floats(c->c_floats),
            guarded_floats(c->c_floats),
            calloc((size_t)c->c_floats + 1, sizeof(float)),
            calloc((size_t)c->c_floats + 1, sizeof(double)),
            calloc((size_t)c->c_floats + 1, sizeof(double))};
  fill(d.a.f, c->a_floats), fill(d.b.f, c->b_floats);
  compute_twins(c, &d);
  return d;
}

static void data_free(Data *d) {
  guarded_free(d->a), guarded_free(d->b), guarded_free(d->c), guarded_free(d->out), guarded_free(d->count);
  free(d->want), free(d->exact), free(d->bound);
}

static bool is_element(const Case *c, int64_t at) {
  int64_t size = c->g.cm * c->m; /* batches lie behind each other */
  return size && at % size % c->g.cm < c->n;
}

static void run_and_compare(const Case *c, Data *d, Kernel kernel, int64_t n_threads, bool plain,
                            const char *what) {
  int32_t *count = (int32_t *)(void *)d->count.f;
  for (int64_t i = 0; i < c->c_floats; i++) d->c.f[i] = d->out.f[i] = 12345, count[i] = 0;
  for (int64_t t = n_threads; t-- > 0;)
    kernel(d->a.f, d->b.f, d->c.f, d->out.f, count, c->rows, t, n_threads);
  for (int64_t i = 0; i < c->c_floats; i++) {
    if (!is_element(c, i)) {
      if (d->out.f[i] != 12345 || d->c.f[i] != 12345 || count[i])
        fail_msg("%s: padding at %lld was touched", what, (long long)i);
      continue;
    }
    if (plain) d->out.f[i] = d->c.f[i];
    if (count[i] != !plain)
      fail_msg("%s: element %lld went %d times through the epilogue", what, (long long)i, count[i]);
    if (!(fabs((double)d->out.f[i] - d->exact[i]) <= d->bound[i]))
      fail_msg("%s: element %lld is %a, exact %a, bound %g", what, (long long)i, (double)d->out.f[i],
               d->exact[i], d->bound[i]);
    if (memcmp(&d->out.f[i], &d->want[i], sizeof(float)))
      fail_msg("%s: element %lld is %a, one chain of fma gives %a", what, (long long)i, (double)d->out.f[i],
               (double)d->want[i]);
  }
}

static void describe(char *text, size_t n, const Case *c, const GemmTile *t, const char *cpu,
                     int64_t threads) {
  snprintf(text, n,
           "%s m%lld n%lld k%lld batch %lld rows %lld (run-time %d%d%d) a(%lld,%lld) b(%lld,%lld) tile %dx%d "
           "kc %d mc %d pack %d%d split %d flip %d, %lld threads",
           cpu, (long long)c->m, (long long)c->n, (long long)c->k, (long long)c->batch, (long long)c->rows,
           c->g.m.rows, c->g.n.rows, c->g.k.rows, (long long)c->g.am, (long long)c->g.ak, (long long)c->g.bk,
           (long long)c->g.bn, t->mr, t->nv, t->kc, t->mc, t->pack_a, t->pack_b, t->split, t->flip,
           (long long)threads);
}

static void try_cases(const Case *cases, int n, const char *const *cpus, int n_cpus) {
  Jig j[2];
  char name[32], what[512];
  for (int p = 0; p < n_cpus; p++) {
    TargetInfo target;
    jig_target(&target, cpus[p]);
    jig_open(&j[p], &target);
    for (int i = 0; i < n * N_TILES; i++) {
      snprintf(name, sizeof name, "kernel_%d", i);
      emit_kernel(&j[p], name, &cases[i / N_TILES].g, &cases[i / N_TILES].tile[i % N_TILES],
                  i % N_TILES == PLAIN);
    }
    jig_load(&j[p], NULL);
  }
  for (int i = 0; i < n * N_TILES; i++) {
    const Case *c = &cases[i / N_TILES];
    Data d = data_make(c);
    snprintf(name, sizeof name, "kernel_%d", i);
    for (int p = 0; p < n_cpus; p++) {
      Kernel kernel;
      *(void **)&kernel = jig_symbol(&j[p], name);
      for (int64_t threads = 1; threads <= 4; threads += threads == 2 ? 2 : 1) {
        describe(what, sizeof what, c, &c->tile[i % N_TILES], cpus[p], threads);
        if (getenv("GEMM_VERBOSE")) fprintf(stderr, "%s\n", what);
        run_and_compare(c, &d, kernel, threads, i % N_TILES == PLAIN, what);
      }
    }
    data_free(&d);
  }
  for (int p = 0; p < n_cpus; p++) jig_close(&j[p]);
}

static void test_random_geometries(void **state) {
  (void)state;
  static const char *const cpus[] = {"native", "x86-64-v3"};
  Case cases[N_CASES];
  for (int round = 0; round < N_ROUNDS; round++) {
    draw_tiles();
    for (int i = 0; i < N_CASES; i++) cases[i] = draw_case(i);
    try_cases(cases, N_CASES, cpus, 2);
  }
}

/* The plan's own tiles on forms a training step has, large enough for several blocks. */
static void test_planned_tiles(void **state) {
  (void)state;
  static const char *const cpus[] = {"native", "x86-64-v3"};
  for (int p = 0; p < 2; p++) {
    TargetInfo target;
    Arena *arena = arena_create();
    Case cases[12];
    jig_target(&target, cpus[p]);
    for (int i = 0; i < 12; i++) {
      Case *c = &cases[i];
      bool ta = i % 4 == 2, tb = i % 4 == 1;
      *c = (Case){.rows = i < 6 ? 64 : 300, .batch = 1};
      c->m = ta ? 130 + i : c->rows, c->n = i % 3 ? 32 + 48 * i : 100, c->k = ta ? c->rows : 300 + i;
      c->g = (GemmGeom){.m = {ta ? c->m : 1, !ta},
                        .n = {c->n, false},
                        .k = {ta ? 1 : c->k, ta},
                        .am = ta ? 1 : c->k + 16,
                        .ak = ta ? c->m + 16 : 1,
                        .bk = tb ? 1 : c->n + 16,
                        .bn = tb ? c->k + 16 : 1,
                        .cm = c->n + 16};
      c->a_floats = ta ? c->g.ak * c->k : c->g.am * c->m, c->b_floats = tb ? c->g.bn * c->n : c->g.bk * c->k,
      c->c_floats = c->g.cm * c->m;
      for (int t = 0; t < N_TILES; t++) {
        GemmImpl impl;
        const char *reason;
        plan_gemm_choose(&c->g, t ? 2048 : c->rows, &target, false, NULL, arena, &impl, &c->tile[t], &reason);
        assert_non_null(reason);
        assert_int_equal(impl, GEMM_EMITTED);
      }
    }
    try_cases(cases, 12, &cpus[p], 1);
    arena_destroy(arena);
  }
}

static void test_old_cpu_uses_blas(void **state) {
  (void)state;
  TargetInfo target;
  GemmImpl impl;
  GemmTile tile;
  const char *reason;
  Arena *arena = arena_create();
  GemmGeom g = {
      .m = {64, false}, .n = {64, false}, .k = {64, false}, .am = 64, .ak = 1, .bk = 64, .bn = 1, .cm = 64};
  jig_target(&target, "x86-64-v2");
  plan_gemm_choose(&g, 64, &target, false, NULL, arena, &impl, &tile, &reason);
  assert_int_equal(impl, GEMM_BLAS);
  jig_target(&target, "x86-64-v3");
  plan_gemm_choose(&g, 64, &target, true, NULL, arena, &impl, &tile, &reason);
  assert_int_equal(impl, GEMM_BLAS);
  arena_destroy(arena);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_random_geometries),
                                     cmocka_unit_test(test_planned_tiles),
                                     cmocka_unit_test(test_old_cpu_uses_blas)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
