/* SPDX-License-Identifier: Apache-2.0
 * gemm_micro.c -- register tiles and packing of matrix products. One function per tile shape and module:
 * twenty products of a training step share a handful of them, which keeps code generation short. The tile
 * keeps mr x nv accumulators of 16 floats; A's elements are broadcast from memory, B's are vectors. */
#include "gemm_micro.h"
#include <stdio.h>
#include <stdlib.h>

typedef LLVMValueRef V;
enum { UNROLL = GEMM_UNROLL };

static LLVMBasicBlockRef block(Emit *e, const char *name) {
  return LLVMAppendBasicBlockInContext(e->ctx, e->fn, name);
}
static void at(Emit *e, LLVMBasicBlockRef b) { LLVMPositionBuilderAtEnd(e->b, b); }
static V i64_add(Emit *e, V x, V y) { return LLVMBuildNSWAdd(e->b, x, y, ""); }
static V i64_mul(Emit *e, V x, V y) { return LLVMBuildNSWMul(e->b, x, y, ""); }
static V i64_min(Emit *e, V x, V y) {
  V args[2] = {x, y};
  return em_intrinsic(e, "llvm.smin", e->i64, args, 2);
}
static V floats_at(Emit *e, V base, V index) { return em_gep(e, e->f32, base, index); }

void gemm_prefetch(Emit *e, V p, bool write) { /* data, into L2; write: for this core alone */
  V args[4] = {p, LLVMConstInt(e->i32, write, 0), LLVMConstInt(e->i32, write ? 3 : 2, 0), LLVMConstInt(e->i32, 1, 0)};
  em_intrinsic(e, "llvm.prefetch", e->ptr, args, 4);
}

/* ---- making a shared function while another one is being emitted
 * ------------------------------------------- */
typedef struct Detour {
  V fn;
  LLVMBasicBlockRef at;
} Detour;

static Detour detour_begin(Emit *e, V fn) {
  static const char *const attributes[] = {"noinline", "nounwind"};
  Detour d = {e->fn, LLVMGetInsertBlock(e->b)};
  for (size_t i = 0; i < sizeof attributes / sizeof *attributes; i++) {
    unsigned kind = LLVMGetEnumAttributeKindForName(attributes[i], 8); /* both names have 8 letters */
    LLVMAddAttributeAtIndex(fn, (LLVMAttributeIndex)LLVMAttributeFunctionIndex,
                            LLVMCreateEnumAttribute(e->ctx, kind, 0));
  }
  LLVMSetLinkage(fn, LLVMInternalLinkage);
  e->fn = fn;
  at(e, block(e, "entry"));
  return d;
}

static void detour_end(Emit *e, Detour d) {
  LLVMBuildRetVoid(e->b);
  e->fn = d.fn;
  at(e, d.at);
}

/* ---- the register tile
 * ---------------------------------------------------------------------------------------- */
typedef struct Tile {
  Emit *e;
  MicroKey key;
  V a_row[GEMM_MAX_MR]; /* rows form: start of each row */
  V a, sa, b, sb, k, ahead, s_ahead;
  V next[GEMM_MAX_NEXT], s_next; /* what is stored at this strip's place of the next call */
  V mask;                        /* of the last vector, or NULL */
  V acc[GEMM_MAX_MR][GEMM_MAX_NV];
} Tile;

static V tile_mask(const Tile *t, int v) { return v == t->key.nv - 1 ? t->mask : NULL; }

/* The fmas of one k: a_at(r) and b point at its elements. */
static void tile_step(Tile *t, V index, V a_col, V b_row) {
  Emit *e = t->e;
  V b[GEMM_MAX_NV];
  for (int v = 0; v < t->key.nv; v++)
    b[v] = em_load16(e, e->f32, floats_at(e, b_row, em_i64(e, EMIT_LANES * v)),
                     t->key.b_whole ? NULL : tile_mask(t, v));
  for (int r = 0; r < t->key.mr; r++) {
    V at_a = t->key.a_cols ? floats_at(e, a_col, em_i64(e, r)) : floats_at(e, t->a_row[r], index);
    V a = em_splat(e, LLVMBuildLoad2(e->b, e->f32, at_a, ""));
    for (int v = 0; v < t->key.nv; v++) {
      V args[3] = {a, b[v], t->acc[r][v]};
      t->acc[r][v] = em_intrinsic(e, "llvm.fma", e->v16f32, args, 3);
    }
  }
}

typedef struct TilePhis {
  V i, a, b, ahead, acc[GEMM_MAX_MR][GEMM_MAX_NV];
} TilePhis;

static V phi_from(Emit *e, LLVMTypeRef type, V value, LLVMBasicBlockRef from) {
  V phi = LLVMBuildPhi(e->b, type, "");
  LLVMAddIncoming(phi, &value, &from, 1);
  return phi;
}

static TilePhis tile_phis(Tile *t, V i, LLVMBasicBlockRef from) {
  LLVMTypeRef p_type = t->e->ptr;
  TilePhis p = {phi_from(t->e, t->e->i64, i, from),
                phi_from(t->e, p_type, t->a, from),
                phi_from(t->e, p_type, t->b, from),
                phi_from(t->e, p_type, t->ahead, from),
                {{0}}};
  for (int r = 0; r < t->key.mr; r++)
    for (int v = 0; v < t->key.nv; v++) p.acc[r][v] = phi_from(t->e, t->e->v16f32, t->acc[r][v], from);
  return p;
}

static void tile_phis_add(Tile *t, TilePhis *p, V i, V a, V b, V ahead, LLVMBasicBlockRef from) {
  LLVMAddIncoming(p->i, &i, &from, 1);
  LLVMAddIncoming(p->a, &a, &from, 1);
  LLVMAddIncoming(p->b, &b, &from, 1);
  LLVMAddIncoming(p->ahead, &ahead, &from, 1);
  for (int r = 0; r < t->key.mr; r++)
    for (int v = 0; v < t->key.nv; v++) LLVMAddIncoming(p->acc[r][v], &t->acc[r][v], &from, 1);
}

/* A row of B's next panel. And, of each array that the next call stores to, a vector: those of mr rows are spread over
 * GEMM_NEXT_DEPTH k for each row, since so many at once as a tile has would be more than a core can wait for. */
static void tile_prefetch(Tile *t, V i, V ahead) {
  Emit *e = t->e;
  for (int v = 0; v < t->key.nv; v++) gemm_prefetch(e, floats_at(e, ahead, em_i64(e, EMIT_LANES * v)), false);
  if (!t->key.n_next || !t->key.spread) return;
  V row = i64_min(e, LLVMBuildSDiv(e->b, i, em_i64(e, GEMM_NEXT_DEPTH), ""), em_i64(e, t->key.mr - 1));
  V step = LLVMBuildAnd(e->b, LLVMBuildSDiv(e->b, i, em_i64(e, UNROLL), ""), em_i64(e, GEMM_NEXT_DEPTH / UNROLL - 1), "");
  V vector = i64_min(e, step, em_i64(e, t->key.nv - 1));
  V off = i64_add(e, i64_mul(e, row, t->s_next), i64_mul(e, vector, em_i64(e, EMIT_LANES)));
  for (int j = 0; j < t->key.n_next; j++) gemm_prefetch(e, floats_at(e, t->next[j], off), true);
}

/* All of them, where the sums are too short to spread them. */
static void prefetch_at_once(Tile *t) {
  Emit *e = t->e;
  for (int j = 0; j < t->key.n_next; j++)
    for (int r = 0; r < t->key.mr; r++)
      for (int v = 0; v < t->key.nv; v++)
        gemm_prefetch(e, floats_at(e, t->next[j], i64_add(e, i64_mul(e, em_i64(e, r), t->s_next), em_i64(e, EMIT_LANES * v))), true);
}

/* while (*i + unroll <= k) { unroll steps }; bottom-tested. Moves *i, t->a, t->b and t->ahead on. */
static void tile_loop(Tile *t, V *i, int unroll, const char *name) {
  Emit *e = t->e;
  LLVMBasicBlockRef before = LLVMGetInsertBlock(e->b), body = block(e, name), done = block(e, "done");
  V limit = LLVMBuildNSWSub(e->b, t->k, em_i64(e, unroll), "limit"), next, a, b;
  LLVMBuildCondBr(e->b, LLVMBuildICmp(e->b, LLVMIntSLE, *i, limit, ""), body, done);
  at(e, done);
  TilePhis out = tile_phis(t, *i, before);
  at(e, body);
  TilePhis in = tile_phis(t, *i, before);
  for (int r = 0; r < t->key.mr; r++)
    for (int v = 0; v < t->key.nv; v++) t->acc[r][v] = in.acc[r][v];
  if (unroll == UNROLL) tile_prefetch(t, in.i, in.ahead);
  for (int u = 0; u < unroll; u++) {
    V off = em_i64(e, u);
    V a_col = t->key.a_cols ? floats_at(e, in.a, i64_mul(e, t->sa, off)) : in.a;
    tile_step(t, i64_add(e, in.i, off), a_col, floats_at(e, in.b, i64_mul(e, t->sb, off)));
  }
  V ahead = unroll == UNROLL ? floats_at(e, in.ahead, t->s_ahead) : in.ahead;
  next = i64_add(e, in.i, em_i64(e, unroll));
  a = t->key.a_cols ? floats_at(e, in.a, i64_mul(e, t->sa, em_i64(e, unroll))) : in.a;
  b = floats_at(e, in.b, i64_mul(e, t->sb, em_i64(e, unroll)));
  LLVMBuildCondBr(e->b, LLVMBuildICmp(e->b, LLVMIntSLE, next, limit, ""), body, done);
  tile_phis_add(t, &in, next, a, b, ahead, body);
  tile_phis_add(t, &out, next, a, b, ahead, body);
  at(e, done);
  *i = out.i, t->a = out.a, t->b = out.b, t->ahead = out.ahead;
  for (int r = 0; r < t->key.mr; r++)
    for (int v = 0; v < t->key.nv; v++) t->acc[r][v] = out.acc[r][v];
}

/* acc = first ? 0 : c[row] */
static void tile_begin(Tile *t, V first, V c, V s_c, const V *row) {
  Emit *e = t->e;
  LLVMBasicBlockRef before = LLVMGetInsertBlock(e->b), load = block(e, "load"), go = block(e, "go");
  V zero = LLVMConstNull(e->v16f32), loaded[GEMM_MAX_MR][GEMM_MAX_NV];
  LLVMBuildCondBr(e->b, LLVMBuildICmp(e->b, LLVMIntNE, first, em_i64(e, 0), ""), go, load);
  at(e, load);
  for (int r = 0; r < t->key.mr; r++) {
    V from = floats_at(e, c, i64_mul(e, row[r], s_c));
    for (int v = 0; v < t->key.nv; v++)
      loaded[r][v] = em_load16(e, e->f32, floats_at(e, from, em_i64(e, EMIT_LANES * v)), tile_mask(t, v));
  }
  LLVMBuildBr(e->b, go);
  at(e, go);
  for (int r = 0; r < t->key.mr; r++)
    for (int v = 0; v < t->key.nv; v++) {
      t->acc[r][v] = phi_from(e, e->v16f32, zero, before);
      LLVMAddIncoming(t->acc[r][v], &loaded[r][v], &load, 1);
    }
}

/* From the last row upwards: rows that do not exist fall on row `last`, which is stored after them. */
static void tile_store_rows(Tile *t, V out, V s_out, const V *row, V mask) {
  Emit *e = t->e;
  for (int r = t->key.mr - 1; r >= 0; r--) {
    V to = floats_at(e, out, i64_mul(e, row[r], s_out));
    for (int v = 0; v < t->key.nv; v++)
      em_store16(e, t->acc[r][v], floats_at(e, to, em_i64(e, EMIT_LANES * v)),
                 v == t->key.nv - 1 ? mask : NULL);
  }
}

static void tile_store(Tile *t, V out, V s_out, const V *row, V wide) {
  Emit *e = t->e;
  if (!t->mask) {
    tile_store_rows(t, out, s_out, row, NULL);
    return;
  }
  LLVMBasicBlockRef all = block(e, "wide"), some = block(e, "narrow"), done = block(e, "stored");
  LLVMBuildCondBr(e->b, LLVMBuildICmp(e->b, LLVMIntNE, wide, em_i64(e, 0), ""), all, some);
  at(e, all);
  tile_store_rows(t, out, s_out, row, NULL);
  LLVMBuildBr(e->b, done);
  at(e, some);
  tile_store_rows(t, out, s_out, row, t->mask);
  LLVMBuildBr(e->b, done);
  at(e, done);
}

/* The parameters, as in MicroArgs. */
enum {
  P_A,
  P_SA,
  P_S_STRIP,
  P_B,
  P_SB,
  P_K,
  P_FIRST,
  P_C,
  P_S_C,
  P_OUT,
  P_S_OUT,
  P_ROWS,
  P_LANES,
  P_WIDE,
  P_AHEAD,
  P_S_AHEAD,
  P_NEXT,
  P_COUNT = P_NEXT + GEMM_MAX_NEXT
};
static const char micro_types[] = "piipiiipipiiiipipppp";

/* One strip of mr rows: rows r0 .. of the call, a, c and out at its start. */
static void strip_emit(Tile *t, V fn, V r0, V a, V c, V out) {
  Emit *e = t->e;
  int mr = t->key.mr;
  V s_c = LLVMGetParam(fn, P_S_C), left = LLVMBuildNSWSub(e->b, LLVMGetParam(fn, P_ROWS), r0, "left"),
    i = em_i64(e, 0), row[GEMM_MAX_MR];
  V part = LLVMBuildAnd(e->b, LLVMBuildSDiv(e->b, r0, em_i64(e, mr), "strip"), em_i64(e, UNROLL - 1), "part");
  V part_rows = LLVMBuildSDiv(e->b, t->k, em_i64(e, UNROLL), "part_rows");
  t->ahead = floats_at(e, LLVMGetParam(fn, P_AHEAD), i64_mul(e, i64_mul(e, part, part_rows), t->s_ahead));
  t->a = a, t->b = LLVMGetParam(fn, P_B);
  for (int r = 0; r < mr; r++) {
    row[r] = r == 0 ? i : i64_min(e, em_i64(e, r), LLVMBuildNSWSub(e->b, left, em_i64(e, 1), "last"));
    t->a_row[r] = floats_at(e, a, i64_mul(e, row[r], t->sa));
  }
  t->s_next = s_c;
  for (int j = 0; j < t->key.n_next; j++)
    t->next[j] = floats_at(e, LLVMGetParam(fn, (unsigned)(P_NEXT + j)), i64_mul(e, r0, s_c));
  if (!t->key.spread) prefetch_at_once(t);
  tile_begin(t, LLVMGetParam(fn, P_FIRST), c, s_c, row);
  tile_loop(t, &i, UNROLL, "deep");
  tile_loop(t, &i, 1, "rest");
  tile_store(t, out, LLVMGetParam(fn, P_S_OUT), row, LLVMGetParam(fn, P_WIDE));
}

static void micro_emit(Emit *e, MicroKey key, V fn) {
  Detour d = detour_begin(e, fn);
  Tile t = {.e = e,
            .key = key,
            .sa = LLVMGetParam(fn, P_SA),
            .sb = LLVMGetParam(fn, P_SB),
            .k = LLVMGetParam(fn, P_K),
            .s_ahead = LLVMGetParam(fn, P_S_AHEAD)};
  if (key.masked) t.mask = em_tail_mask(e, LLVMGetParam(fn, P_LANES));
  LLVMBasicBlockRef before = LLVMGetInsertBlock(e->b), body = block(e, "strip"), done = block(e, "done");
  LLVMBuildBr(e->b, body);
  at(e, body);
  V r0 = phi_from(e, e->i64, em_i64(e, 0), before), a = phi_from(e, e->ptr, LLVMGetParam(fn, P_A), before);
  V c = phi_from(e, e->ptr, LLVMGetParam(fn, P_C), before),
    out = phi_from(e, e->ptr, LLVMGetParam(fn, P_OUT), before);
  strip_emit(&t, fn, r0, a, c, out);
  V phi[4] = {r0, a, c, out}, mr = em_i64(e, key.mr),
    next[4] = {i64_add(e, r0, mr), floats_at(e, a, LLVMGetParam(fn, P_S_STRIP)),
               floats_at(e, c, i64_mul(e, mr, LLVMGetParam(fn, P_S_C))),
               floats_at(e, out, i64_mul(e, mr, LLVMGetParam(fn, P_S_OUT)))};
  LLVMBasicBlockRef latch = LLVMGetInsertBlock(e->b);
  for (int i = 0; i < 4; i++) LLVMAddIncoming(phi[i], &next[i], &latch, 1);
  LLVMBuildCondBr(e->b, LLVMBuildICmp(e->b, LLVMIntSLT, next[0], LLVMGetParam(fn, P_ROWS), ""), body, done);
  at(e, done);
  detour_end(e, d);
}

static LLVMTypeRef function_type(Emit *e, const char *letters) { /* p pointer, i i64 */
  LLVMTypeRef args[P_COUNT];
  unsigned n = 0;
  for (; letters[n]; n++) args[n] = letters[n] == 'p' ? e->ptr : e->i64;
  return LLVMFunctionType(LLVMVoidTypeInContext(e->ctx), args, n, 0);
}

void gemm_micro_call(Emit *e, MicroKey key, const MicroArgs *x) {
  char name[64];
  if (key.mr < 1 || key.mr > GEMM_MAX_MR || key.nv < 1 || key.nv > GEMM_MAX_NV) {
    fprintf(stderr, "routec: internal error: register tile %dx%d\n", key.mr, key.nv);
    abort();
  }
  snprintf(name, sizeof name, "gemm_%dx%d_%s%s%s_%s%d", key.mr, key.nv, key.a_cols ? "cols" : "rows",
           key.masked ? "_masked" : "", key.masked && key.b_whole ? "_whole" : "", key.spread ? "spread" : "next", key.n_next);
  LLVMTypeRef type = function_type(e, micro_types);
  V fn = LLVMGetNamedFunction(e->mod, name);
  if (!fn) {
    fn = LLVMAddFunction(e->mod, name, type);
    micro_emit(e, key, fn);
  }
  V args[P_COUNT] = {x->a,
                     x->sa,
                     x->s_strip,
                     x->b,
                     x->sb,
                     x->k,
                     x->first,
                     x->c,
                     x->s_c,
                     x->out,
                     x->s_out,
                     x->rows,
                     x->lanes ? x->lanes : em_i64(e, EMIT_LANES),
                     x->wide,
                     x->ahead,
                     x->s_ahead};
  for (int j = 0; j < GEMM_MAX_NEXT; j++) args[P_NEXT + j] = j < key.n_next ? x->next[j] : LLVMConstNull(e->ptr);
  LLVMBuildCall2(e->b, type, fn, args, P_COUNT, "");
}

/* ---- packing A
 * ---------------------------------------------------------------------------------------------- */
enum { K_SRC, K_STRIDE, K_N, K_K, K_DST, K_COUNT, K_WIDTH = K_COUNT };

/* dst[k][0 .. mr) for one strip: `load` of mr floats where all are there, a masked load of 16 otherwise,
 * whose excess lanes are overwritten by the next k. */
static void pack_a_strip(Emit *e, int32_t mr, V src, V ak, V k, V dst, V valid) {
  LLVMTypeRef strip = LLVMVectorType(e->f32, (unsigned)mr);
  EmLoop l = em_loop_begin(e, "pack.k", em_i64(e, 0), k, 1);
  V from = floats_at(e, src, i64_mul(e, l.i, ak)), to = floats_at(e, dst, i64_mul(e, l.i, em_i64(e, mr)));
  if (valid) {
    em_store16(e, em_load16(e, e->f32, from, em_tail_mask(e, valid)), to, NULL);
  } else {
    V v = LLVMBuildLoad2(e->b, strip, from, "");
    LLVMSetAlignment(v, 4);
    LLVMSetAlignment(LLVMBuildStore(e->b, v, to), 4);
  }
  em_loop_end(e, &l);
}

static void pack_a_emit(Emit *e, int32_t mr, V fn) {
  Detour d = detour_begin(e, fn);
  V src = LLVMGetParam(fn, K_SRC), ak = LLVMGetParam(fn, K_STRIDE), m = LLVMGetParam(fn, K_N),
    k = LLVMGetParam(fn, K_K);
  V dst = LLVMGetParam(fn, K_DST), rest = LLVMBuildSRem(e->b, m, em_i64(e, mr), "rest");
  V whole = LLVMBuildNSWSub(e->b, m, rest, "whole");
  EmLoop l = em_loop_begin(e, "strip", em_i64(e, 0), whole, mr);
  pack_a_strip(e, mr, floats_at(e, src, l.i), ak, k, floats_at(e, dst, i64_mul(e, l.i, k)), NULL);
  em_loop_end(e, &l);
  LLVMBasicBlockRef tail = block(e, "tail"), done = block(e, "done");
  LLVMBuildCondBr(e->b, LLVMBuildICmp(e->b, LLVMIntSGT, rest, em_i64(e, 0), ""), tail, done);
  at(e, tail);
  pack_a_strip(e, mr, floats_at(e, src, whole), ak, k, floats_at(e, dst, i64_mul(e, whole, k)), rest);
  LLVMBuildBr(e->b, done);
  at(e, done);
  detour_end(e, d);
}

void gemm_pack_a_call(Emit *e, int32_t mr, V src, V ak, V m, V k, V dst) {
  char name[64];
  V args[K_COUNT] = {src, ak, m, k, dst};
  snprintf(name, sizeof name, "gemm_pack_a_%d", mr);
  LLVMTypeRef type = function_type(e, "piiip");
  V fn = LLVMGetNamedFunction(e->mod, name);
  if (!fn) {
    fn = LLVMAddFunction(e->mod, name, type);
    pack_a_emit(e, mr, fn);
  }
  LLVMBuildCall2(e->b, type, fn, args, K_COUNT, "");
}

/* ---- packing B
 * ---------------------------------------------------------------------------------------------- */
/* One of the four stages of a 16x16 transposition: exchanges blocks of `half` lanes between vectors i and i +
 * half. */
static void transpose_stage(Emit *e, V v[16], unsigned half) {
  V low[16], high[16];
  for (unsigned l = 0; l < 16; l++) {
    bool upper = (l & half) != 0;
    low[l] = LLVMConstInt(e->i32, upper ? 16 + l - half : l, 0);
    high[l] = LLVMConstInt(e->i32, upper ? 16 + l : l + half, 0);
  }
  V low_mask = LLVMConstVector(low, 16), high_mask = LLVMConstVector(high, 16);
  for (unsigned i = 0; i < 16; i++) {
    if (i & half) continue;
    V x = v[i], y = v[i + half];
    v[i] = LLVMBuildShuffleVector(e->b, x, y, low_mask, "");
    v[i + half] = LLVMBuildShuffleVector(e->b, x, y, high_mask, "");
  }
}

/* Blocks of 16 columns by 16 k. */
static void pack_b_emit(Emit *e, V fn) {
  Detour d = detour_begin(e, fn);
  V src = LLVMGetParam(fn, K_SRC), bn = LLVMGetParam(fn, K_STRIDE), n = LLVMGetParam(fn, K_N),
    k = LLVMGetParam(fn, K_K);
  V dst = LLVMGetParam(fn, K_DST), last = LLVMBuildNSWSub(e->b, n, em_i64(e, 1), "last");
  EmLoop cols = em_loop_begin(e, "cols", em_i64(e, 0), n, EMIT_LANES);
  V column[16], v[16];
  for (int i = 0; i < 16; i++)
    column[i] = floats_at(e, src, i64_mul(e, i64_min(e, i64_add(e, cols.i, em_i64(e, i)), last), bn));
  EmLoop deep = em_loop_begin(e, "deep", em_i64(e, 0), k, 16);
  V mask = em_tail_mask(e, LLVMBuildNSWSub(e->b, k, deep.i, ""));
  for (int i = 0; i < 16; i++) v[i] = em_load16(e, e->f32, floats_at(e, column[i], deep.i), mask);
  V ahead = i64_add(e, deep.i, i64_mul(e, bn, em_i64(e, EMIT_LANES)));
  for (int i = 0; i < 16; i++) gemm_prefetch(e, floats_at(e, column[i], ahead), false); /* the next 16 columns */
  for (unsigned half = 8; half; half /= 2) transpose_stage(e, v, half);
  for (int i = 0; i < 16; i++) {
    V row = i64_mul(e, i64_add(e, deep.i, em_i64(e, i)), LLVMGetParam(fn, K_WIDTH));
    em_store16(e, v[i], floats_at(e, dst, i64_add(e, row, cols.i)), NULL);
  }
  em_loop_end(e, &deep);
  em_loop_end(e, &cols);
  detour_end(e, d);
}

void gemm_pack_b_call(Emit *e, int32_t nr, V src, V bn, V n, V k, V dst) {
  V args[K_COUNT + 1] = {src, bn, n, k, dst, em_i64(e, nr)};
  LLVMTypeRef type = function_type(e, "piiipi");
  V fn = LLVMGetNamedFunction(e->mod, "gemm_pack_b");
  if (!fn) {
    fn = LLVMAddFunction(e->mod, "gemm_pack_b", type);
    pack_b_emit(e, fn);
  }
  LLVMBuildCall2(e->b, type, fn, args, K_COUNT + 1, "");
}

/* Vector by vector of a row: whole ones, then what is left. */
static void pad_b_emit(Emit *e, V fn) {
  Detour d = detour_begin(e, fn);
  V src = LLVMGetParam(fn, K_SRC), bk = LLVMGetParam(fn, K_STRIDE), n = LLVMGetParam(fn, K_N);
  EmLoop cols = em_loop_begin(e, "cols", em_i64(e, 0), n, EMIT_LANES);
  V mask = em_tail_mask(e, LLVMBuildNSWSub(e->b, n, cols.i, ""));
  EmLoop deep = em_loop_begin(e, "deep", em_i64(e, 0), LLVMGetParam(fn, K_K), 1);
  V from = floats_at(e, src, i64_add(e, i64_mul(e, deep.i, bk), cols.i));
  V to = floats_at(e, LLVMGetParam(fn, K_DST),
                   i64_add(e, i64_mul(e, deep.i, LLVMGetParam(fn, K_WIDTH)), cols.i));
  em_store16(e, em_load16(e, e->f32, from, mask), to, NULL);
  em_loop_end(e, &deep);
  em_loop_end(e, &cols);
  detour_end(e, d);
}

void gemm_pad_b_call(Emit *e, int32_t nr, V src, V bk, V n, V k, V dst) {
  V args[K_COUNT + 1] = {src, bk, n, k, dst, em_i64(e, nr)};
  LLVMTypeRef type = function_type(e, "piiipi");
  V fn = LLVMGetNamedFunction(e->mod, "gemm_pad_b");
  if (!fn) {
    fn = LLVMAddFunction(e->mod, "gemm_pad_b", type);
    pad_b_emit(e, fn);
  }
  LLVMBuildCall2(e->b, type, fn, args, K_COUNT + 1, "");
}

enum { T_SRC, T_LD, T_ROWS, T_COLS, T_DST, T_DST_LD, T_COUNT };
static void transpose_emit(Emit *e, V fn) {
  Detour d = detour_begin(e, fn);
  V v[16];
  EmLoop rows = em_loop_begin(e, "rows", em_i64(e, 0), LLVMGetParam(fn, T_ROWS), EMIT_LANES);
  EmLoop cols = em_loop_begin(e, "cols", em_i64(e, 0), LLVMGetParam(fn, T_COLS), EMIT_LANES);
  for (int i = 0; i < 16; i++) {
    V row = i64_mul(e, i64_add(e, rows.i, em_i64(e, i)), LLVMGetParam(fn, T_LD));
    v[i] = em_load16(e, e->f32, floats_at(e, LLVMGetParam(fn, T_SRC), i64_add(e, row, cols.i)), NULL);
  }
  for (unsigned half = 8; half; half /= 2) transpose_stage(e, v, half);
  for (int i = 0; i < 16; i++) {
    V row = i64_mul(e, i64_add(e, cols.i, em_i64(e, i)), LLVMGetParam(fn, T_DST_LD));
    em_store16(e, v[i], floats_at(e, LLVMGetParam(fn, T_DST), i64_add(e, row, rows.i)), NULL);
  }
  em_loop_end(e, &cols);
  em_loop_end(e, &rows);
  detour_end(e, d);
}

void gemm_transpose_call(Emit *e, V src, V ld, V rows, V cols, V dst, V dst_ld) {
  V args[T_COUNT] = {src, ld, rows, cols, dst, dst_ld};
  LLVMTypeRef type = function_type(e, "piiipi");
  V fn = LLVMGetNamedFunction(e->mod, "gemm_transpose");
  if (!fn) {
    fn = LLVMAddFunction(e->mod, "gemm_transpose", type);
    transpose_emit(e, fn);
  }
  LLVMBuildCall2(e->b, type, fn, args, T_COUNT, "");
}
