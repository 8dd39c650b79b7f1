/* SPDX-License-Identifier: Apache-2.0
 * gemm.c -- the loops around the register tile of one matrix product:
 *
 *   for each index of the batch axes            (threads share these, rows or columns: tile->split)
 *     for ic in rows by mc                      C's and A's block stay in the cache
 *       for pc in K by kc                       block of the sum; goes on from C after the first (A packed if
 * pack_a) for jc in columns by nr               B's panel stays in the cache (packed if pack_b) for ir in the
 * block by mt           a few register tiles, then, after the last block of K, the epilogue
 *
 * Every element of C is one chain of fma in the order of k, so its bits depend neither on the tile, nor on
 * the thread count, nor on the vector width. Finished tiles go through a small buffer on the stack, so that
 * the epilogue is emitted once (twice with a masked tail), however large the tile. Where nothing is to be
 * done with them they are stored in their place. */
#include "gemm_micro.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef LLVMValueRef V;

typedef struct Nest {
  Emit *e;
  const GemmGeom *g;
  int32_t mr, nv, nr, mt; /* mt: rows of one call, a few strips of mr */
  int64_t kc, mc;
  bool a_cols, pack_a, pack_b, pad_b, one_block; /* one_block: K is known to fit kc */
  bool flip, spread; /* spread: sums are long enough to prefetch beside them */
  int64_t n_static; /* columns, -1 if known only at run time */
  int32_t split;
  V a, b, c;                 /* of this batch index */
  V beside[GEMM_MAX_BESIDE]; /* likewise */
  const GemmEnd *end;        /* NULL: none */
  V m, n, k, m0, m1, n0, n1; /* extents and this thread's share */
  V tile, block_a, panel_b;  /* stack: finished tile, packed operands */
  V turned, sums, sums_ld;   /* stack, of flip: the tile's transpose; sums between blocks of K, of mc rows */
  V batch[4];
  V pc, kb, last, ic, ic_end, jc, width, ir, rows;
} Nest;

static V add(Nest *x, V p, V q) { return LLVMBuildNSWAdd(x->e->b, p, q, ""); }
static V sub(Nest *x, V p, V q) { return LLVMBuildNSWSub(x->e->b, p, q, ""); }
static V mul(Nest *x, V p, V q) { return LLVMBuildNSWMul(x->e->b, p, q, ""); }
static V num(Nest *x, int64_t v) { return em_i64(x->e, v); }
static V min(Nest *x, V p, V q) {
  V args[2] = {p, q};
  return em_intrinsic(x->e, "llvm.smin", x->e->i64, args, 2);
}
static V floats_at(Nest *x, V base, V index) { return em_gep(x->e, x->e->f32, base, index); }
static V sel(Nest *x, V c, V p, V q) { return LLVMBuildSelect(x->e->b, c, p, q, ""); }
static int32_t n_beside(const Nest *x) { return x->end ? x->end->n_beside : 0; }
static V as_i64(Nest *x, V truth) { return LLVMBuildZExt(x->e->b, truth, x->e->i64, ""); }
static V less(Nest *x, V p, V q) { return LLVMBuildICmp(x->e->b, LLVMIntSLT, p, q, ""); }

typedef struct If {
  LLVMBasicBlockRef other, done;
} If;
static If if_begin(Nest *x, V condition) {
  Emit *e = x->e;
  If f = {LLVMAppendBasicBlockInContext(e->ctx, e->fn, "else"),
          LLVMAppendBasicBlockInContext(e->ctx, e->fn, "fi")};
  LLVMBasicBlockRef then = LLVMAppendBasicBlockInContext(e->ctx, e->fn, "then");
  LLVMBuildCondBr(e->b, condition, then, f.other);
  LLVMPositionBuilderAtEnd(e->b, then);
  return f;
}
static void if_else(Nest *x, If f) {
  LLVMBuildBr(x->e->b, f.done);
  LLVMPositionBuilderAtEnd(x->e->b, f.other);
}
static void if_end(Nest *x, If f) {
  LLVMBuildBr(x->e->b, f.done);
  LLVMPositionBuilderAtEnd(x->e->b, f.done);
}

/* What the strips of this call prefetch: the next panel of B, and where the next call stores; behind the last one the first,
 * never what is another thread's. */
static void tile_ahead(Nest *x, MicroArgs *m, bool in_panel) {
  const GemmGeom *g = x->g;
  V right = add(x, x->jc, num(x, x->nr)), more = less(x, right, x->n1), col = sel(x, more, right, x->n0);
  m->ahead = m->b, m->s_ahead = num(x, 0);
  if (!x->flip) {
    V below = add(x, x->ir, num(x, x->mt)), inside = less(x, below, x->ic_end);
    V at = add(x, mul(x, sel(x, inside, below, x->ic), num(x, g->cm)), sel(x, inside, x->jc, col));
    m->next[0] = floats_at(x, x->c, at);
    for (int i = 0; i < n_beside(x); i++) m->next[1 + i] = floats_at(x, x->beside[i], at);
  }
  if (in_panel) return;
  V deeper = add(x, x->pc, x->kb), k = sel(x, more, x->pc, sel(x, less(x, deeper, x->k), deeper, num(x, 0)));
  m->ahead = floats_at(x, x->b, add(x, mul(x, k, num(x, g->bk)), col));
  m->s_ahead = num(x, g->bk);
}

/* ---- one tile
 * ---------------------------------------------------------------------------------------------- */
/* `nv` vectors from column jc + off; lanes of the last one, or NULL if all are there. narrow: of a panel
 * narrower than nr. */
static void tile_call(Nest *x, int32_t nv, V off, V lanes, bool narrow) {
  const GemmGeom *g = x->g;
  bool in_panel = x->pack_b || (x->pad_b && narrow);
  MicroKey key = {x->mr, nv, x->a_cols, lanes != NULL, in_panel, x->flip ? 0 : 1 + n_beside(x), x->spread};
  MicroArgs m = {0};
  V col = add(x, x->jc, off);
  if (x->pack_a) {
    m.a = floats_at(x, x->block_a, mul(x, sub(x, x->ir, x->ic), x->kb)), m.sa = num(x, x->mr);
    m.s_strip = mul(x, num(x, x->mr), x->kb);
  } else {
    m.a = floats_at(x, x->a, add(x, mul(x, x->ir, num(x, g->am)), mul(x, x->pc, num(x, g->ak))));
    m.sa = num(x, x->a_cols ? g->ak : g->am), m.s_strip = num(x, x->mr * g->am);
  }
  if (in_panel) {
    m.b = floats_at(x, x->panel_b, off), m.sb = num(x, x->nr);
  } else {
    m.b = floats_at(x, x->b, add(x, mul(x, x->pc, num(x, g->bk)), col)), m.sb = num(x, g->bk);
  }
  V in_tile = floats_at(x, x->tile, off);
  m.c = floats_at(x, x->c, add(x, mul(x, x->ir, num(x, g->cm)), col)), m.s_c = num(x, g->cm);
  if (x->flip)
    m.c = floats_at(x, x->sums, add(x, mul(x, sub(x, x->ir, x->ic), x->sums_ld), col)), m.s_c = x->sums_ld;
  m.k = x->kb, m.rows = x->rows, m.lanes = lanes;
  m.first =
      x->one_block ? num(x, 1) : as_i64(x, LLVMBuildICmp(x->e->b, LLVMIntEQ, x->pc, num(x, 0), "first"));
  if (!x->end) {
    m.out = m.c, m.s_out = m.s_c, m.wide = num(x, 0);
  } else if (x->one_block) {
    m.out = in_tile, m.s_out = num(x, x->nr), m.wide = num(x, 1);
  } else {
    m.out = sel(x, x->last, in_tile, m.c), m.s_out = sel(x, x->last, num(x, x->nr), m.s_c);
    m.wide = as_i64(x, x->last);
  }
  tile_ahead(x, &m, in_panel);
  gemm_micro_call(x->e, key, &m);
}

/* A panel narrower than nr. */
static void tile_call_narrow(Nest *x) {
  if (x->n_static >= 0) {
    int32_t rest = (int32_t)(x->n_static % x->nr), lanes = rest % EMIT_LANES;
    tile_call(x, (rest + EMIT_LANES - 1) / EMIT_LANES, num(x, 0), lanes ? num(x, lanes) : NULL, true);
    return;
  }
  EmLoop l = em_loop_begin(x->e, "narrow", num(x, 0), x->width, EMIT_LANES);
  tile_call(x, 1, l.i, sub(x, x->width, l.i), true);
  em_loop_end(x->e, &l);
}

/* ---- the finished tile
 * ------------------------------------------------------------------------------------- */
/* A finished tile as the epilogue sees it: where it begins in C, its size, and what is known of C's columns.
 */
typedef struct Finished {
  V buffer, ld, row0, col0, rows, width;
  int64_t n_static;
} Finished;

static void finish_vector(Nest *x, const Finished *f, V r, V off, V mask) {
  V from = floats_at(x, f->buffer, add(x, mul(x, r, f->ld), off));
  V acc = em_load16(x->e, x->e->f32, from, NULL); /* the tile has room for all lanes */
  x->end->epilogue(x->e, x->end->user, x->batch, add(x, f->row0, r), add(x, f->col0, off), acc, mask);
}

static void finish_rows(Nest *x, const Finished *f) {
  Emit *e = x->e;
  V lanes = LLVMBuildAnd(e->b, f->width, num(x, EMIT_LANES - 1), "lanes"), whole = sub(x, f->width, lanes);
  bool may_mask = f->n_static < 0 || f->n_static % EMIT_LANES != 0,
       may_whole = f->n_static < 0 || f->n_static >= EMIT_LANES;
  EmLoop row = em_loop_begin(e, "row", num(x, 0), f->rows, 1);
  if (may_whole) {
    EmLoop vec = em_loop_begin(e, "vec", num(x, 0), whole, EMIT_LANES);
    finish_vector(x, f, row.i, vec.i, NULL);
    em_loop_end(e, &vec);
  }
  if (may_mask) {
    If some = if_begin(x, LLVMBuildICmp(e->b, LLVMIntNE, lanes, num(x, 0), ""));
    V known = f->n_static >= 0 ? num(x, f->n_static % EMIT_LANES) : lanes; /* shares end at whole vectors */
    finish_vector(x, f, row.i, whole, em_tail_mask(e, known));
    if_else(x, some);
    if_end(x, some);
  }
  em_loop_end(e, &row);
}

static void finish_tile(Nest *x) {
  Finished f = {x->tile, num(x, x->nr), x->ir, x->jc, x->rows, x->width, x->n_static};
  if (x->flip) {
    f = (Finished){x->turned, num(x, x->mt), x->jc, x->ir, x->width, x->rows, x->g->m.rows ? -1 : x->g->m.n};
    gemm_transpose_call(x->e, x->tile, num(x, x->nr), x->rows, x->width, x->turned, f.ld);
  }
  finish_rows(x, &f);
}

static void store_plain(Emit *e, void *user, const V *batch, V row, V col, V acc, V mask) {
  Nest *x = user;
  (void)batch;
  em_store16(e, acc, floats_at(x, x->c, add(x, mul(x, row, num(x, x->g->cm)), col)), mask);
}

/* ---- the loops
 * --------------------------------------------------------------------------------------------- */
static void nest_tile(Nest *x) {
  bool always_full = (x->flip && x->pack_b) || /* a packed panel has all columns, and so have sums */
                     (x->n_static >= 0 && x->n_static % x->nr == 0);
  bool never_full = x->n_static >= 0 && x->n_static < x->nr;
  x->rows = min(x, num(x, x->mt), sub(x, x->ic_end, x->ir));
  if (always_full) {
    tile_call(x, x->nv, num(x, 0), NULL, false);
  } else if (never_full) {
    tile_call_narrow(x);
  } else {
    If f = if_begin(x, less(x, x->width, num(x, x->nr)));
    tile_call_narrow(x);
    if_else(x, f);
    tile_call(x, x->nv, num(x, 0), NULL, false);
    if_end(x, f);
  }
  if (!x->end) return;
  if (x->one_block) {
    finish_tile(x);
    return;
  }
  If f = if_begin(x, x->last);
  finish_tile(x);
  if_else(x, f);
  if_end(x, f);
}

static void nest_panel(Nest *x) {
  const GemmGeom *g = x->g;
  x->width = min(x, num(x, x->nr), sub(x, x->n1, x->jc));
  if (x->pack_b) {
    V src = floats_at(x, x->b, add(x, mul(x, x->pc, num(x, g->bk)), mul(x, x->jc, num(x, g->bn))));
    gemm_pack_b_call(x->e, x->nr, src, num(x, g->bn), x->width, x->kb, x->panel_b);
  }
  if (x->pad_b) {
    If f = if_begin(x, less(x, x->width, num(x, x->nr)));
    V src = floats_at(x, x->b, add(x, mul(x, x->pc, num(x, g->bk)), x->jc));
    gemm_pad_b_call(x->e, x->nr, src, num(x, g->bk), x->width, x->kb, x->panel_b);
    if_else(x, f);
    if_end(x, f);
  }
  EmLoop l = em_loop_begin(x->e, "ir", x->ic, x->ic_end, x->mt);
  x->ir = l.i;
  nest_tile(x);
  em_loop_end(x->e, &l);
}

static void nest_rows(Nest *x) {
  const GemmGeom *g = x->g;
  if (x->pack_a) {
    V src = floats_at(x, x->a, add(x, mul(x, x->ic, num(x, g->am)), mul(x, x->pc, num(x, g->ak))));
    gemm_pack_a_call(x->e, x->mr, src, num(x, g->ak), sub(x, x->ic_end, x->ic), x->kb, x->block_a);
  }
  EmLoop l = em_loop_begin(x->e, "jc", x->n0, x->n1, x->nr);
  x->jc = l.i;
  nest_panel(x);
  em_loop_end(x->e, &l);
}

/* The sum inside a block of rows: this block of C stays in the cache from one block of K to the next. */
static void nest_depth(Nest *x) {
  if (x->one_block) {
    x->pc = num(x, 0), x->kb = x->k;
    nest_rows(x);
    return;
  }
  V args[2] = {x->k, num(x, 1)}; /* an empty sum too goes through the epilogue once */
  V to = em_intrinsic(x->e, "llvm.smax", x->e->i64, args, 2);
  EmLoop l = em_loop_begin(x->e, "pc", num(x, 0), to, x->kc);
  x->pc = l.i;
  x->kb = min(x, num(x, x->kc), sub(x, x->k, x->pc));
  x->last = LLVMBuildICmp(x->e->b, LLVMIntSLE, sub(x, x->k, x->pc), num(x, x->kc), "last");
  nest_rows(x);
  em_loop_end(x->e, &l);
}

static void nest_product(Nest *x) {
  if (!x->mc) {
    x->ic = x->m0, x->ic_end = x->m1;
    nest_depth(x);
    return;
  }
  EmLoop l = em_loop_begin(x->e, "ic", x->m0, x->m1, x->mc);
  x->ic = l.i, x->ic_end = min(x, x->m1, add(x, l.i, num(x, x->mc)));
  nest_depth(x);
  em_loop_end(x->e, &l);
}

/* All batch axes as one loop; indices by division, innermost axis last. */
static void nest_batches(Nest *x, V a, V b, V c, const V *rows, V tid, V n_threads) {
  Emit *e = x->e;
  const GemmGeom *g = x->g;
  V extent[4], count = num(x, 1), lo = num(x, 0), hi;
  for (uint32_t i = 0; i < g->n_batch; i++)
    extent[i] = em_extent(e, g->batch[i], rows), count = mul(x, count, extent[i]);
  hi = count;
  if (x->split == 2) em_share(e, count, 1, tid, n_threads, &lo, &hi);
  EmLoop l = em_loop_begin(e, "batch", lo, hi, 1);
  V rest = l.i;
  x->a = a, x->b = b, x->c = c;
  for (int i = 0; i < n_beside(x); i++) x->beside[i] = x->end->beside[i];
  for (uint32_t i = g->n_batch; i-- > 0;) {
    V q = LLVMBuildSDiv(e->b, rest, extent[i], "");
    x->batch[i] = sub(x, rest, mul(x, q, extent[i]));
    rest = q;
    x->a = floats_at(x, x->a, mul(x, x->batch[i], num(x, g->a_batch[i])));
    x->b = floats_at(x, x->b, mul(x, x->batch[i], num(x, g->b_batch[i])));
    V in_c = mul(x, x->batch[i], num(x, g->c_batch[i]));
    x->c = floats_at(x, x->c, in_c);
    for (int j = 0; j < n_beside(x); j++) x->beside[j] = floats_at(x, x->beside[j], in_c);
  }
  nest_product(x);
  em_loop_end(e, &l);
}

/* ---- set-up
 * -------------------------------------------------------------------------------------------------- */
static bool is_one(Extent x) { return !x.rows && x.n == 1; }

static void nest_check(const GemmGeom *g, const GemmTile *t) {
  bool a_ok = g->ak == 1 || g->am == 1 || is_one(g->m) || is_one(g->k);
  bool b_ok = g->bn == 1 || g->bk == 1 || is_one(g->n) || is_one(g->k);
  if (a_ok && b_ok && t->mr > 0 && t->nv > 0 && t->kc > 0 && g->n_batch <= 4) return;
  fprintf(stderr,
          "routec: internal error: gemm strides a %lld,%lld b %lld,%lld tile %dx%d kc %d batch axes %u\n",
          (long long)g->am, (long long)g->ak, (long long)g->bk, (long long)g->bn, t->mr, t->nv, t->kc,
          g->n_batch);
  abort();
}

static int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

/* The plan's tile, cut down to a small product, and what the strides force. */
static void nest_shape(Nest *x, const GemmTile *t) {
  const GemmGeom *g = x->g;
  bool m_known = !g->m.rows, n_known = !g->n.rows, k_known = !g->k.rows;
  x->n_static = n_known ? g->n.n : -1;
  x->mr = t->mr > GEMM_MAX_MR ? GEMM_MAX_MR : t->mr;
  x->nv = t->nv > GEMM_MAX_NV ? GEMM_MAX_NV : t->nv;
  if (m_known && g->m.n > 0 && g->m.n < x->mr) x->mr = (int32_t)g->m.n;
  if (n_known && g->n.n > 0 && g->n.n < x->nv * EMIT_LANES)
    x->nv = (int32_t)((g->n.n + EMIT_LANES - 1) / EMIT_LANES);
  x->nr = x->nv * EMIT_LANES;
  x->kc = t->kc;
  x->one_block = t->whole || (k_known && g->k.n <= x->kc);
  x->spread = (k_known && g->k.n < x->kc ? g->k.n : x->kc) >= x->mr * GEMM_NEXT_DEPTH;
  x->a_cols = g->ak != 1 && !is_one(g->k);
  bool ragged = g->m.rows || g->m.n % x->mr != 0; /* a_cols reads whole strips */
  x->pack_a = x->a_cols && (t->pack_a || ragged) && !is_one(g->m);
  x->pack_b = g->bn != 1 && !is_one(g->n);
  x->pad_b = t->pad_b && !x->pack_b && (!n_known || g->n.n % EMIT_LANES != 0);
  x->mc = t->mc > 0 ? round_up(t->mc, x->mr) : 0;
  if (x->pack_a && !x->mc) x->mc = round_up(64, x->mr);
  x->split = t->flip && t->split < 2 ? 1 - t->split : t->split;
  x->mt = x->mr *
          (x->nv == 1 ? 8 : 4); /* the finished rows stay in L1, and short sums pay the call once for all */
  x->flip = t->flip;
  if (!x->flip) return;
  if (x->mt % EMIT_LANES) x->mt = x->mr * EMIT_LANES;
  if (m_known && round_up(g->m.n, x->mr) < x->mt)
    x->mc = x->mt = (int32_t)round_up(round_up(g->m.n, x->mr), EMIT_LANES);
  x->mc = round_up(x->mc ? x->mc : x->mt, x->mt);
}

/* C' = B' A' lies across C. */
static GemmGeom flip_geometry(const GemmGeom *g) {
  GemmGeom f = *g;
  f.m = g->n, f.n = g->m;
  f.am = g->bn, f.ak = g->bk, f.bk = g->ak, f.bn = g->am;
  memcpy(f.a_batch, g->b_batch, sizeof f.a_batch), memcpy(f.b_batch, g->a_batch, sizeof f.b_batch);
  return f;
}

static V stack_floats(Nest *x, V n) {
  V p = LLVMBuildArrayAlloca(x->e->b, x->e->f32, n, "scratch");
  LLVMSetAlignment(p, 64);
  return p;
}

/* What a kernel keeps on the stack. */
static void nest_stack(Nest *x) {
  int64_t deep = x->one_block && !x->g->k.rows ? x->g->k.n : x->kc;
  x->tile = stack_floats(x, num(x, x->end ? (int64_t)x->mt * x->nr : 1));
  if (x->pack_a) x->block_a = stack_floats(x, num(x, x->mc * deep + EMIT_LANES));
  if (x->pack_b || x->pad_b)
    x->panel_b = stack_floats(x, num(x, round_up(deep, EMIT_LANES) * x->nr + EMIT_LANES));
  if (!x->flip) return;
  V panels = LLVMBuildSDiv(x->e->b, add(x, x->n, num(x, 2 * x->nr - 1)), num(x, x->nr),
                           "panels"); /* one more: shares begin anywhere */
  x->turned = stack_floats(x, num(x, (int64_t)x->mt * x->nr));
  x->sums_ld = mul(x, panels, num(x, x->nr));
  x->sums = stack_floats(x, x->one_block ? num(x, 1) : mul(x, num(x, x->mc), x->sums_ld));
}

void gemm_emit(Emit *e, const GemmGeom *g, const GemmTile *t, V a, V b, V c, const V *rows, V tid,
               V n_threads, const GemmEnd *end) {
  GemmGeom flipped = flip_geometry(g);
  Nest x = {.e = e, .g = t->flip ? &flipped : g, .end = end};
  const GemmEnd plain = {.epilogue = store_plain, .user = &x};
  if (t->flip && !end) x.end = &plain;
  nest_check(x.g, t);
  nest_shape(&x, t);
  V mark = em_intrinsic(e, "llvm.stacksave", e->ptr, NULL, 0);
  x.m = em_extent(e, x.g->m, rows), x.n = em_extent(e, x.g->n, rows), x.k = em_extent(e, x.g->k, rows);
  nest_stack(&x);
  x.m0 = num(&x, 0), x.m1 = x.m, x.n0 = num(&x, 0), x.n1 = x.n;
  int64_t by_rows = t->grain ? t->grain
                    : x.flip ? x.nr
                             : x.mr; /* of C, which steps of all kinds share alike */
  if (x.split == 0) em_share(e, x.m, x.flip ? x.mt : by_rows, tid, n_threads, &x.m0, &x.m1);
  if (x.split == 1) em_share(e, x.n, x.flip ? by_rows : x.nr, tid, n_threads, &x.n0, &x.n1);
  nest_batches(&x, t->flip ? b : a, t->flip ? a : b, c, rows, tid, n_threads);
  em_intrinsic(e, "llvm.stackrestore", e->ptr, &mark, 1);
}
