/* SPDX-License-Identifier: Apache-2.0
 * emit_reduce.c -- STEP_REDUCE. The order of additions is a function of extents alone, never of threads:
 *   vector axis kept:    lanes are kept columns, the reduced axes run in loop order;
 *   vector axis reduced: 16 partial results by lane, then a fixed tree;
 *   few kept elements:   the longest reduced axis is cut into chunks of a fixed size whose partial results
 * lie in scratch memory; behind a barrier one thread adds them up in order of chunks. */
#include "kernel.h"
#include <math.h>
#include <string.h>

typedef struct Acc {
  Op op;
  Dtype dtype;
  ValueId arg;
  int64_t axis;
  LLVMValueRef best, where;
} Acc; /* allocas */
typedef struct Reduce {
  Kernel *k;
  Acc *acc;
  uint32_t n;
  bool vector, lanes_kept;
  Shape space;
  Idx coords[IR_MAX_RANK];
  Split split;
  LLVMValueRef chunk, lo, hi; /* of the split axis, inside the chunk loop */
  LLVMValueRef n_chunks;
} Reduce;

static int vector_axis(const Step *s) { return s->order[s->space.rank - 1]; }
static bool is_reduced(const Step *s, int axis) { return s->reduced >> axis & 1; }

/* ---- accumulators
 * --------------------------------------------------------------------------------------------- */

static LLVMValueRef identity(Emit *e, Op op, Dtype t, bool vector) {
  LLVMValueRef n = LLVMConstReal(type_of_dtype(e, t), op == OP_SUM ? 0.0 : -INFINITY);
  return vector ? em_splat(e, n) : n;
}

static LLVMTypeRef shaped(LLVMTypeRef t, bool vector) { return vector ? LLVMVectorType(t, EMIT_LANES) : t; }

static void acc_reset(Reduce *r, Acc *a, bool vector) {
  Emit *e = r->k->e;
  LLVMBuildStore(e->b, identity(e, a->op, a->dtype, vector), a->best);
  if (a->op == OP_ARGMAX) LLVMBuildStore(e->b, LLVMConstNull(shaped(e->i32, vector)), a->where);
}

/* (x, i) takes the place of (best, where) if x is larger, or the first NaN. */
static LLVMValueRef is_better(Emit *e, LLVMValueRef x, LLVMValueRef best) {
  LLVMValueRef nan = LLVMBuildAnd(e->b, LLVMBuildFCmp(e->b, LLVMRealUNO, x, x, ""),
                                  LLVMBuildFCmp(e->b, LLVMRealORD, best, best, ""), "");
  return LLVMBuildOr(e->b, LLVMBuildFCmp(e->b, LLVMRealOGT, x, best, ""), nan, "better");
}

static LLVMValueRef combine(Emit *e, Op op, Dtype t, LLVMValueRef acc, LLVMValueRef x) {
  return op == OP_SUM ? LLVMBuildFAdd(e->b, acc, x, "sum") : emit_min_max(e, true, t, acc, x);
}

static void acc_take(Reduce *r, Acc *a, Val x) {
  Kernel *k = r->k;
  Emit *e = k->e;
  if (r->vector) x = emit_widen(k, x);
  if (r->vector && !r->lanes_kept && k->tail.v)
    x.v = LLVMBuildSelect(e->b, k->tail.v, x.v, identity(e, a->op, a->dtype, true), "live");
  LLVMTypeRef type = LLVMTypeOf(x.v);
  LLVMValueRef best = LLVMBuildLoad2(e->b, type, a->best, "acc");
  if (a->op != OP_ARGMAX) {
    LLVMBuildStore(e->b, combine(e, a->op, a->dtype, best, x.v), a->best);
    return;
  }
  Val at = idx_value(k, r->coords[a->axis]);
  if (r->vector) at = emit_widen(k, at);
  LLVMValueRef where = LLVMBuildLoad2(e->b, LLVMTypeOf(at.v), a->where, "where");
  LLVMValueRef better = is_better(e, x.v, best);
  LLVMBuildStore(e->b, LLVMBuildSelect(e->b, better, x.v, best, ""), a->best);
  LLVMBuildStore(e->b, LLVMBuildSelect(e->b, better, at.v, where, ""), a->where);
}

static LLVMValueRef half(Emit *e, LLVMValueRef v, unsigned from, unsigned n) {
  LLVMValueRef lane[EMIT_LANES];
  for (unsigned i = 0; i < n; i++) lane[i] = LLVMConstInt(e->i32, from + i, 0);
  return LLVMBuildShuffleVector(e->b, v, LLVMGetPoison(LLVMTypeOf(v)), LLVMConstVector(lane, n), "half");
}

/* 16 lanes to one: lane i meets lane i + 8, then i + 4, 2, 1. */
static LLVMValueRef tree(Emit *e, const Acc *a, LLVMValueRef v, LLVMValueRef where) {
  LLVMBuilderRef b = e->b;
  for (unsigned n = EMIT_LANES / 2; n; n /= 2) {
    LLVMValueRef x = half(e, v, 0, n), y = half(e, v, n, n);
    if (a->op != OP_ARGMAX) {
      v = combine(e, a->op, a->dtype, x, y);
      continue;
    }
    LLVMValueRef i = half(e, where, 0, n), j = half(e, where, n, n);
    LLVMValueRef both_nan =
        LLVMBuildAnd(b, LLVMBuildFCmp(b, LLVMRealUNO, x, x, ""), LLVMBuildFCmp(b, LLVMRealUNO, y, y, ""), "");
    LLVMValueRef tie = LLVMBuildOr(b, LLVMBuildFCmp(b, LLVMRealOEQ, x, y, ""), both_nan, "tie");
    LLVMValueRef sooner = LLVMBuildAnd(b, tie, LLVMBuildICmp(b, LLVMIntSLT, j, i, ""), "sooner");
    LLVMValueRef take = LLVMBuildOr(b, is_better(e, y, x), sooner, "");
    v = LLVMBuildSelect(b, take, y, x, ""), where = LLVMBuildSelect(b, take, j, i, "");
  }
  return LLVMBuildExtractElement(b, a->op == OP_ARGMAX ? where : v, LLVMConstInt(e->i32, 0, 0), "all");
}

/* The finished result of the kept point (or of its chunk), a vector of kept lanes or a scalar. */
static LLVMValueRef acc_result(Reduce *r, const Acc *a) {
  Emit *e = r->k->e;
  LLVMValueRef v = LLVMBuildLoad2(e->b, shaped(type_of_dtype(e, a->dtype), r->vector), a->best, "acc");
  LLVMValueRef where = NULL;
  if (a->op == OP_ARGMAX) where = LLVMBuildLoad2(e->b, shaped(e->i32, r->vector), a->where, "where");
  if (r->vector && !r->lanes_kept) return tree(e, a, v, where);
  return where ? where : v;
}

/* ---- the loops
 * -------------------------------------------------------------------------------------------------- */

static void inner_body(Nest *n) {
  Reduce *r = n->user;
  Val *x = ARENA_NEWS(r->k->e->arena, Val, r->n);
  for (uint32_t i = 0; i < r->n; i++) x[i] = emit_value(r->k, r->acc[i].arg, r->coords, (Guard){NULL, 0});
  for (uint32_t i = 0; i < r->n; i++) acc_take(r, &r->acc[i], x[i]);
}

static void run_reduced(Reduce *r) {
  const Step *s = r->k->step;
  Nest n = {.k = r->k,
            .space = &r->space,
            .vector = r->vector && !r->lanes_kept,
            .coords = r->coords,
            .body = inner_body,
            .user = r};
  for (int i = 0; i < s->space.rank; i++)
    if (is_reduced(s, s->order[i])) n.axes[n.n++] = s->order[i];
  if (r->lo) n.lo[r->split.axis] = r->lo, n.hi[r->split.axis] = r->hi;
  for (uint32_t i = 0; i < r->n; i++) acc_reset(r, &r->acc[i], r->vector);
  nest_run(&n);
}

/* The kept coordinates, in order of axes. */
static void kept_coords(const Reduce *r, Idx *out) {
  for (int i = 0, j = 0; i < r->space.rank; i++)
    if (!is_reduced(r->k->step, i)) out[j++] = r->coords[i];
}

static void store_result(Reduce *r, uint32_t i, LLVMValueRef v) {
  Kernel *k = r->k;
  const StepOut *out = &k->step->outs[i];
  const Buffer *b = &k->pf->buffers[out->buffer];
  Idx c[IR_MAX_RANK];
  kept_coords(r, c);
  emit_store(k, leaf_of_buffer(k, out->buffer), b->dtype, idx_linear(k, c, &b->shape, b->strides),
             (Val){v, k->depth});
}

static void whole_body(Nest *n) {
  Reduce *r = n->user;
  run_reduced(r);
  for (uint32_t i = 0; i < r->n; i++) store_result(r, i, acc_result(r, &r->acc[i]));
}

/* Where partial result i of chunk `chunk` lies for the kept point at hand: element index in the scratch area
 * of i. */
static Idx partial_place(Reduce *r, LLVMValueRef chunk) {
  Kernel *k = r->k;
  const Step *s = k->step;
  Idx at = idx_scale(k, idx_scalar(k, chunk, false), r->split.kept);
  int64_t stride = 1;
  for (int i = s->space.rank - 1; i >= 0; i--) {
    int axis = s->order[i];
    if (is_reduced(s, axis) || s->space.d[axis] == 1) continue;
    at = idx_add(k, at, idx_scale(k, r->coords[axis], stride));
    int64_t d = s->space.d[axis];
    stride *= i == s->space.rank - 1 ? (d + EMIT_LANES - 1) / EMIT_LANES * EMIT_LANES : d;
  }
  return at;
}

static Leaf partial_leaf(Reduce *r, uint32_t i) {
  Leaf l = *leaf_find(r->k, LEAF_SCRATCH, 0);
  l.arg = em_gep(r->k->e, r->k->e->i8, l.arg,
                 em_i64(r->k->e, (int64_t)i * r->split.n_chunks * r->split.kept * 8));
  l.written = true;
  return l;
}

static void chunk_body(Nest *n) {
  Reduce *r = n->user;
  run_reduced(r);
  for (uint32_t i = 0; i < r->n; i++) {
    LLVMValueRef v = acc_result(r, &r->acc[i]);
    Leaf l = partial_leaf(r, i);
    emit_store(r->k, &l, r->acc[i].dtype, partial_place(r, r->chunk), (Val){v, r->k->depth});
  }
}

static void merge_body(Nest *n) {
  Reduce *r = n->user;
  Kernel *k = r->k;
  for (uint32_t i = 0; i < r->n; i++) {
    Acc *a = &r->acc[i];
    acc_reset(r, a, r->lanes_kept);
    EmLoop l = scope_loop(k, "chunk", em_i64(k->e, 0), r->n_chunks, 1);
    Leaf leaf = partial_leaf(r, i);
    Val x = emit_load(k, &leaf, a->dtype, partial_place(r, l.i), (Guard){NULL, 0});
    LLVMValueRef acc = LLVMBuildLoad2(k->e->b, LLVMTypeOf(x.v), a->best, "acc");
    LLVMBuildStore(k->e->b, combine(k->e, a->op, a->dtype, acc, x.v), a->best);
    scope_loop_end(k, &l);
    LLVMTypeRef type = shaped(type_of_dtype(k->e, a->dtype), r->lanes_kept);
    store_result(r, i, LLVMBuildLoad2(k->e->b, type, a->best, "merged"));
  }
}

static Nest kept_nest(Reduce *r, void (*body)(Nest *)) {
  const Step *s = r->k->step;
  Nest n = {
      .k = r->k, .space = &r->space, .vector = r->lanes_kept, .coords = r->coords, .body = body, .user = r};
  for (int i = 0; i < s->space.rank; i++)
    if (!is_reduced(s, s->order[i])) n.axes[n.n++] = s->order[i];
  return n;
}

static LLVMValueRef is_first_thread(Kernel *k) {
  return LLVMBuildICmp(k->e->b, LLVMIntEQ, k->tid, em_i64(k->e, 0), "first");
}

static void emit_chunks(Reduce *r) {
  Kernel *k = r->k;
  Emit *e = k->e;
  LLVMValueRef extent = axis_extent(k, r->space.d[r->split.axis]), chunk = em_i64(e, r->split.chunk), lo, hi;
  LLVMValueRef up = LLVMBuildNSWAdd(e->b, extent, em_i64(e, r->split.chunk - 1), "");
  r->n_chunks = LLVMBuildUDiv(e->b, up, chunk, "n_chunks");
  em_share(e, r->n_chunks, 1, k->tid, k->nt, &lo, &hi);
  EmLoop l = scope_loop(k, "chunk", lo, hi, 1);
  r->chunk = l.i;
  r->lo = LLVMBuildNSWMul(e->b, l.i, chunk, "from");
  LLVMValueRef end = LLVMBuildNSWAdd(e->b, r->lo, chunk, "");
  r->hi = em_intrinsic(e, "llvm.smin", e->i64, (LLVMValueRef[]){end, extent}, 2);
  Nest parts = kept_nest(r, chunk_body);
  nest_run(&parts);
  scope_loop_end(k, &l);
  emit_barrier(k);
  LLVMBasicBlockRef after = scope_if(k, "merge", is_first_thread(k));
  scope_of_some_threads(k);
  Nest merge = kept_nest(r, merge_body);
  nest_run(&merge);
  scope_if_end(k, after);
}

static void reduce_init(Reduce *r, Kernel *k) {
  const Step *s = k->step;
  r->k = k, r->space = s->space, r->n = s->n_outs;
  int va = vector_axis(s);
  r->vector = s->space.d[va] != 1;
  r->lanes_kept = r->vector && !is_reduced(s, va);
  r->split = plan_reduce_split(k->pf, s);
  r->acc = ARENA_NEWS(k->e->arena, Acc, r->n);
  for (uint32_t i = 0; i < r->n; i++) {
    const Value *v = &k->g->v[s->outs[i].value];
    Acc *a = &r->acc[i];
    *a = (Acc){.op = v->op, .arg = v->args[0], .dtype = k->g->v[v->args[0]].dtype, .axis = v->ints[0]};
    a->best = scope_alloca(k, shaped(type_of_dtype(k->e, a->dtype), r->vector), "best");
    if (a->op == OP_ARGMAX) a->where = scope_alloca(k, shaped(k->e->i32, r->vector), "where");
  }
}

void emit_reduce(Kernel *k) {
  Reduce r = {0};
  reduce_init(&r, k);
  if (r.split.n_chunks) {
    emit_chunks(&r);
    return;
  }
  Nest n = kept_nest(&r, whole_body);
  nest_run_shared(&n);
}
