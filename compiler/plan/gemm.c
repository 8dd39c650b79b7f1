/* SPDX-License-Identifier: Apache-2.0
 * gemm.c -- which implementation and register tile a matrix product gets: a pure function of geometry, target
 * and what was measured on this machine. The rule's numbers were set with bench/gemm.c (Zen 4, 1 MiB L2;
 * processor time of one thread, beside OpenBLAS 0.3.21 and the FMA peak): docs/performance.md has the table.
 * The BLAS was nowhere faster by more than what two runs differ by, so the rule emits all. */
#include "plan.h"

enum {
  LANES = 16,
  MAX_KC = 512,     /* longer panels of B crowd A and C out of L2: 0.88 of the peak, at 1024 0.84 */
  PACKED_MC = 1024, /* rows that share one packed panel of B: +3 % over 256 */
  FLIPPED_MC = 256, /* columns of C in a block of a kernel of the transpose */
  MAX_FLIPPED_SUMS = 512 * FLIPPED_MC,   /* elements of C in such a block */
  MOST_FLIPPED_PACKED = 96 * FLIPPED_MC, /* and by the rule, where A is packed too: with more they crowd L2 */
  PACK_A_MIN_N = 128 /* narrower products do not earn back the packing of A: at N = 32 0.77 against 0.92 */
};

typedef struct Sizes {
  int64_t m, n, k, batch;
} Sizes;

static int64_t at_most(int64_t x, int64_t limit) { return x < limit ? x : limit; }
static int64_t at_least(int64_t x, int64_t limit) { return x > limit ? x : limit; }
static int64_t units(int64_t n, int64_t unit) { return n / unit + (n % unit != 0); }
static int64_t extent_of(Extent x, int64_t rows) {
  int64_t r;
  if (!x.rows) return x.n;
  return __builtin_mul_overflow(x.n, rows, &r) ? INT64_MAX : r;
}

/* Rows of the register tile: the largest, unless a small known M is cut with less waste by another. */
static int32_t tile_rows(const GemmGeom *g, int64_t m, int32_t largest) {
  int32_t best = largest;
  if (g->m.rows || m >= 6 * largest || m < 1) return largest;
  for (int32_t mr = largest; mr >= largest / 2; mr--)
    if (units(m, mr) * mr < units(m, best) * best) best = mr;
  return (int32_t)at_most(best, m);
}

/* Share of the arithmetic that is useful when n_threads divide `extent` in multiples of `grain`. */
static double balance(int64_t extent, int64_t grain, int64_t n_threads) {
  int64_t widest = at_most(units(units(extent, grain), n_threads) * grain, extent);
  return widest > 0 ? (double)extent / ((double)n_threads * (double)widest) : 1;
}

/* Estimated efficiency of a split. Packing or streaming an element of B costs as much as a few rows of
 * arithmetic on it, of A likewise columns (0.1 to 0.3 ns against 0.02 ns a row). */
static double split_score(const Sizes *s, const GemmTile *t, int split, int64_t nt) {
  double even = split == 0   ? balance(s->m, t->mr, nt)
                : split == 1 ? balance(s->n, t->nv * LANES, nt)
                             : balance(s->batch, 1, nt);
  double rows = (double)s->m / (split == 0 ? (double)nt : 1),
         cols = (double)s->n / (split == 1 ? (double)nt : 1);
  return even / (1 + (t->pack_a ? 12 : 1) / (double)at_least((int64_t)cols, 1) +
                 (t->pack_b ? 12.0 : 2.0) / (double)at_least((int64_t)rows, 1));
}

/* 0 rows, 1 columns, 2 batch: the best for two and four threads together; rows first among equals. */
static int32_t choose_split(const Sizes *s, const GemmTile *t) {
  int32_t best = 0;
  double best_score = 0;
  for (int32_t split = 0; split < (s->batch > 1 ? 3 : 2); split++) {
    double score = split_score(s, t, split, 2) + split_score(s, t, split, 4);
    if (score > best_score * 1.0001) best = split, best_score = score;
  }
  return best;
}

/* Terms of a block of K: a panel of B of nr columns takes an eighth of L2. */
static int64_t block_depth(const TargetInfo *t, int64_t nr) {
  return at_most(at_least(at_least(t->l2, 262144) / 8 / (nr * 4) / LANES * LANES, 64), MAX_KC);
}

int64_t plan_gemm_whole_depth(const TargetInfo *t) { return block_depth(t, 3 * LANES); }

/* Rows of the batch are shared as in other steps. */
static int32_t rows_grain(const GemmGeom *g, const Sizes *s, int32_t split) {
  return !split && g->m.rows == 1 && g->m.n == 1 && !g->n_batch ? (int32_t)plan_rows_grain(s->m) : 0;
}

static void choose_tile(const GemmGeom *g, const Sizes *s, const TargetInfo *t, GemmTile *tile) {
  bool wide = t->vector_floats >= 16; /* 32 registers: 24 accumulators; AVX2: 12 halves */
  int64_t vectors = units(at_least(s->n, 1), LANES), l2 = at_least(t->l2, 262144);
  tile->nv = wide ? (int32_t)(vectors == 4 ? 2 : at_most(vectors, 3)) : 1;
  tile->mr = tile_rows(g, s->m, wide ? 8 : 6);
  int64_t nr = tile->nv * LANES, k = at_least(s->k, 1);
  int64_t kc_max = block_depth(t, nr);
  tile->kc = (int32_t)(units(units(k, units(k, kc_max)), LANES) * LANES); /* blocks of equal length */
  tile->whole = s->k <= tile->kc;
  tile->nc = (int32_t)nr;
  tile->pack_b = g->bn != 1 && (g->n.rows || s->n != 1);
  /* Masks need registers beside mr x nv accumulators of two, two of B and one of A: with 16 of them some
   * would be reloaded for each fma (0.22 against 0.5 of the peak). */
  tile->pad_b = !wide && !tile->pack_b && (g->n.rows || s->n % LANES) && 2 * tile->mr * tile->nv + 5 > 16;
  tile->pack_a = g->ak != 1 && s->n >= PACK_A_MIN_N && s->k > 1;
  int64_t rows = tile->pack_b
                     ? PACKED_MC
                     : at_most(l2 / 4 / (tile->kc * 4), 64 * tile->mr); /* A's block: a quarter of L2 */
  tile->mc = (int32_t)(at_least(rows / tile->mr, 8) * tile->mr);
  tile->split = choose_split(s, tile);
  tile->grain = rows_grain(g, s, tile->split);
}

/* A kernel of the transpose takes lanes along M and broadcasts B; its sums lie on the stack. */
static bool may_flip(const Sizes *s) {
  return s->m > 1 && s->n > 1 && s->m <= MAX_FLIPPED_SUMS &&
         s->m * at_most(s->n, FLIPPED_MC) <= MAX_FLIPPED_SUMS;
}

/* Columns of C in a block of such a kernel. */
static int32_t flipped_mc(const Sizes *s, int64_t mc) {
  return (int32_t)at_most(mc, at_most(s->n, MAX_FLIPPED_SUMS / s->m));
}

/* Cycles to pack an element of an operand, by its size. */
static double packing(double elements, const TargetInfo *t) {
  return elements * 4 <= (double)t->l2 ? 0.4 : 1;
}

/* Cycles of a core, divided by N K, of a product as it stands: vectors of a row of C, of which AVX2 loads a
 * masked one slowly; packing; lines of A that come from beyond L2 for a strip and leave it before the next.
 */
static double plain_cost(const GemmGeom *g, const Sizes *s, const TargetInfo *t) {
  const double m = (double)s->m, n = (double)s->n, k = (double)s->k;
  const double masked = s->n % LANES == 0 ? 0 : t->vector_floats >= 16 ? 1 : 1.5;
  GemmTile tile = {0};
  choose_tile(g, s, t, &tile);
  const bool packed = g->ak != 1 && (tile.pack_a || s->m % tile.mr != 0);
  const double across = g->ak == 1 ? 0 : packed ? packing(m * k, t) : m * k * 4 > (double)t->l2 ? 0.5 : 0;
  return m / n * ((double)(s->n / LANES) + masked + across) + (g->bn == 1 ? 0 : packing(n * k, t));
}

/* Of the transpose: packing of A again for each block of columns where it lies along its rows, of B once
 * where that is wide across its rows, turning of C. */
static double flipped_cost(const GemmGeom *g, const Sizes *s, const TargetInfo *t) {
  const double m = (double)s->m, n = (double)s->n, k = (double)s->k;
  const double pack_a = g->ak == 1 ? packing(m * k, t) * (double)units(s->n, FLIPPED_MC) / n : 0;
  return (double)units(s->m, LANES) + m * (pack_a + 0.6 / (double)at_least(s->k, 1)) +
         (g->bk != 1 && s->m >= PACK_A_MIN_N ? 0.4 : 0);
}

/* Lanes along M pay where N leaves many without a column, where B would have to be packed for few rows, and
 * where A lies across its rows beyond L2: then whole lines of it are read once. Measured, one thread, share
 * of the peak flipped against not: A transposed 128x10x64 0.79 against 0.60 (AVX2 0.61 against 0.34),
 * 512x32x2048 0.96 against 0.76 (AVX2 0.82 against 0.68), but 128x16x64 0.86 against 0.99; 64x20x784 0.77
 * against 0.60, but 64x10x128 the same; B transposed 64x512x2048 0.94 against 0.80, but 128x1024x1024 0.79
 * against 0.84. */
static bool flip_pays(const GemmGeom *g, const Sizes *s, const TargetInfo *t) {
  if (g->ak == 1 && (t->vector_floats < 16 || s->m * at_most(s->n, FLIPPED_MC) > MOST_FLIPPED_PACKED))
    return false;
  return flipped_cost(g, s, t) < 0.97 * plain_cost(g, s, t);
}

static void choose_flipped(const GemmGeom *g, const Sizes *s, const TargetInfo *t, GemmTile *tile) {
  GemmGeom f = *g;
  Sizes fs = {s->n, s->m, s->k, s->batch};
  f.m = g->n, f.n = g->m, f.am = g->bn, f.ak = g->bk, f.bk = g->ak, f.bn = g->am;
  choose_tile(&f, &fs, t, tile);
  tile->flip = true;
  tile->mc = flipped_mc(s, FLIPPED_MC);
  if (tile->nv == 3 && balance(s->m, 3 * LANES, 2) < 0.8 * balance(s->m, 2 * LANES, 2))
    tile->nv = 2, tile->nc = 2 * LANES;
  GemmTile shared = *tile;
  shared.mr *= LANES; /* threads share C's columns in whole vectors of it, and by several strips */
  tile->split = choose_split(&fs, &shared);
  if (tile->split < 2) tile->split = 1 - tile->split;
  tile->grain = rows_grain(g, s, tile->split);
}

static const char *describe(const Sizes *s, Arena *arena) {
  if (s->batch == 1)
    return arena_printf(arena, "%lldx%lldx%lld", (long long)s->m, (long long)s->n, (long long)s->k);
  return arena_printf(arena, "%lld of %lldx%lldx%lld", (long long)s->batch, (long long)s->m, (long long)s->n,
                      (long long)s->k);
}

static Sizes sizes_of(const GemmGeom *g, int64_t max_rows) {
  Sizes s = {extent_of(g->m, max_rows), extent_of(g->n, max_rows), extent_of(g->k, max_rows), 1};
  for (uint32_t i = 0; i < g->n_batch; i++)
    if (__builtin_mul_overflow(s.batch, extent_of(g->batch[i], max_rows), &s.batch)) s.batch = INT64_MAX;
  return s;
}

bool plan_gemm_by_columns(int64_t columns, GemmTile *tile) {
  double most = 0.95; /* less even is not worth it */
  int32_t best = 0;
  if (tile->flip || tile->pack_b) return false;
  for (int32_t nv = tile->nv; nv > 0 && nv >= tile->nv - 1; nv--) {
    const double even = balance(columns, nv * LANES, 2);
    if (even > most) most = even, best = nv;
  }
  if (best) tile->nv = best, tile->nc = best * LANES, tile->split = 1, tile->grain = 0;
  return best > 0;
}

const char *plan_gemm_size(Arena *a, const GemmGeom *g, int64_t max_rows) {
  const Sizes s = sizes_of(g, max_rows);
  return describe(&s, a);
}

static bool capable(const TargetInfo *t) { return t->vector_floats >= 8 && t->fma; }

static const char *measured_text(Arena *a, const GemmChoice *c) {
  if (c->ms >= c->rule_ms)
    return arena_printf(a, ", measured: %.4g ms, and nothing clearly faster", c->rule_ms);
  return arena_printf(a, ", measured: %.4g ms, by the rule's choice %.4g", c->ms, c->rule_ms);
}

/* Where sums are one block by the rule, others count on it. */
static GemmTile measured_tile(const GemmGeom *g, const Sizes *s, const GemmTile *rule,
                              const GemmTile *measured) {
  GemmTile t = *measured;
  if (!may_flip(s)) t.flip = false;
  if (t.flip) t.mc = flipped_mc(s, t.mc);
  if (rule->whole && t.kc < rule->kc) t.kc = rule->kc;
  t.whole = s->k <= t.kc, t.grain = rows_grain(g, s, t.split);
  return t;
}

void plan_gemm_choose(const GemmGeom *g, int64_t max_rows, const TargetInfo *t, bool force_blas,
                      const GemmChoices *measured, Arena *arena, GemmImpl *impl, GemmTile *tile,
                      const char **reason) {
  Sizes s = sizes_of(g, max_rows);
  const char *what = describe(&s, arena);
  const bool rule = force_blas || !capable(t);
  const GemmChoice *c = rule ? NULL : plan_choices_find(measured, g, max_rows);
  *tile = (GemmTile){.mr = 1, .nv = 1, .kc = MAX_KC, .split = s.n > s.m};
  *impl = rule ? GEMM_BLAS : GEMM_EMITTED;
  if (rule) {
    const char *why =
        force_blas ? "asked for" : arena_printf(arena, "no FMA with vectors of 8 floats on %s", t->cpu);
    *reason = arena_printf(arena, "%s by the BLAS: %s", what, why);
    return;
  }
  if (may_flip(&s) && flip_pays(g, &s, t)) choose_flipped(g, &s, t, tile);
  else choose_tile(g, &s, t, tile);
  if (c) *impl = c->impl, *tile = measured_tile(g, &s, tile, &c->tile);
  *reason = arena_printf(arena, "%s by %s%s", what, plan_gemm_way(arena, *impl, tile),
                         c ? measured_text(arena, c) : "");
}

const char *plan_gemm_way(Arena *a, GemmImpl impl, const GemmTile *t) {
  static const char *const shared[] = {"rows", "columns", "batch"};
  const char *by = shared[t->split];
  if (impl == GEMM_BLAS)
    return arena_printf(a, "the BLAS, threads share %s", t->split == 1 ? "columns" : "rows");
  const char *across = t->pack_a ? t->flip ? ", B packed" : ", A packed (read across its rows)" : "";
  const char *packed = t->flip && t->pack_b ? ", A packed"
                       : t->pack_b          ? ", B packed (read across its rows)"
                       : t->pad_b           ? t->flip ? ", A's last rows copied" : ", B's last columns copied"
                                            : "";
  return arena_printf(a, "emitted kernel %dx%d%s: k by %d, %s by %d%s%s, threads share %s", t->mr,
                      t->nv * LANES, t->flip ? " of the transpose" : "", t->kc, t->flip ? "columns" : "rows",
                      t->mc, across, packed, by);
}

/* ---- alternatives ------------------------------------------------------------------------------------- */
typedef struct Ways {
  GemmChoice *out;
  uint32_t n;
  const GemmGeom *g;
  const TargetInfo *t;
  Sizes s;
} Ways;

static bool tile_same(const GemmTile *x, const GemmTile *y) {
  return x->mr == y->mr && x->nv == y->nv && x->kc == y->kc && x->mc == y->mc && x->pack_a == y->pack_a &&
         x->split == y->split && x->flip == y->flip;
}

static void add_way(Ways *w, GemmImpl impl, GemmTile t) {
  const GemmChoice *rule = &w->out[0];
  t.nc = t.nv * LANES;
  t.mc = (int32_t)(at_least(units(t.mc, t.mr), 1) * t.mr);
  t.whole = w->s.k <= t.kc;
  for (uint32_t i = 0; i < w->n; i++)
    if (w->out[i].impl == impl &&
        (impl == GEMM_BLAS ? w->out[i].tile.split == t.split : tile_same(&w->out[i].tile, &t)))
      return;
  if (w->n == PLAN_MAX_ALTERNATIVES) return;
  w->out[w->n] = *rule;
  w->out[w->n].impl = impl, w->out[w->n++].tile = t;
}

/* One property of the rule's tile changed at a time. */
static void add_neighbours(Ways *w, GemmTile t, bool threads) {
  const int32_t shape[][2] = {{8, 3}, {8, 2}, {12, 2}, {6, 4}, {14, 1}},
                narrow[][2] = {{6, 1}, {4, 1}, {3, 2}};
  const bool wide = w->t->vector_floats >= 16;
  const int64_t cols = t.flip ? w->s.m : w->s.n, tile_rows_most = t.flip ? w->s.n : w->s.m,
                widest = units(at_least(cols, 1), LANES);
  for (int i = 0; i < (wide ? 5 : 3); i++) {
    GemmTile u = t;
    u.mr = (wide ? shape : narrow)[i][0], u.nv = (wide ? shape : narrow)[i][1];
    if (u.nv <= widest && u.mr <= tile_rows_most) add_way(w, GEMM_EMITTED, u);
  }
  GemmTile u = {0};
  if (may_flip(&w->s)) {
    if (t.flip) choose_tile(w->g, &w->s, w->t, &u);
    else choose_flipped(w->g, &w->s, w->t, &u);
    add_way(w, GEMM_EMITTED, u);
  }
  u = t, u.pack_a = !u.pack_a;
  if (w->g->ak != 1 && w->s.k > 1) add_way(w, GEMM_EMITTED, u);
  u = t, u.kc = (int32_t)(units(t.kc / 2, LANES) * LANES);
  if (!t.whole && u.kc >= 64) add_way(w, GEMM_EMITTED, u);
  u = t, u.mc = t.mc / 2;
  if (tile_rows_most > u.mc) add_way(w, GEMM_EMITTED, u);
  u = t, u.mc = (int32_t)at_most(2 * (int64_t)t.mc, PACKED_MC);
  if (tile_rows_most > t.mc) add_way(w, GEMM_EMITTED, u);
  for (int32_t split = 0; threads && split < (w->s.batch > 1 ? 3 : 2); split++)
    u = t, u.split = split, add_way(w, GEMM_EMITTED, u);
  u = t; /* even columns: of 64x32x512, B transposed, two threads then pack half of B each: 0.9 of the peak, else 0.6 to 0.8 */
  u.split = 1, u.nv = 1;
  if (threads && !t.flip && balance(w->s.n, t.nv * LANES, 2) < 0.95) add_way(w, GEMM_EMITTED, u);
}

uint32_t plan_gemm_alternatives(const GemmGeom *g, int64_t max_rows, const TargetInfo *t, bool threads,
                                Arena *a, GemmChoice out[PLAN_MAX_ALTERNATIVES]) {
  Ways w = {.out = out, .n = 1, .g = g, .t = t, .s = sizes_of(g, max_rows)};
  const char *unused;
  out[0] = (GemmChoice){.geom = *g, .max_rows = max_rows};
  plan_gemm_choose(g, max_rows, t, false, NULL, a, &out[0].impl, &out[0].tile, &unused);
  if (out[0].impl == GEMM_BLAS) return 1;
  GemmTile blas = out[0].tile;
  for (int32_t split = 0; split < 2; split++)
    if (threads || split == 0) blas.split = split, add_way(&w, GEMM_BLAS, blas);
  add_neighbours(&w, out[0].tile, threads);
  return w.n;
}
