/* SPDX-License-Identifier: Apache-2.0
 * emit_leaf.c -- memory: what a kernel's pointer arguments are read and written through, and the leaf ops.
 * A contiguous index is one vector load, an equal one a scalar load, all others a gather with safe indices.
 */
#include "kernel.h"
#include <string.h>

#define ROWS_AHEAD 64 /* far enough for memory; of small batches these are the next step's rows */
#define ROW_BYTES  64 /* shorter rows share cache lines, or are read across */

static int deeper(int a, int b) { return a > b ? a : b; }

Val emit_widen(Kernel *k, Val v) {
  if (type_is_vector(v.v)) return v;
  int old = scope_enter(k, v.depth);
  v.v = em_splat(k->e, v.v);
  scope_leave(k, old);
  return v;
}

/* Memory form to register form and back: BOOL is a byte 0 or 1, U8 an i32. */
static LLVMValueRef from_memory(Emit *e, Dtype t, LLVMValueRef v) {
  bool vector = type_is_vector(v);
  if (t == DT_U8) return LLVMBuildZExt(e->b, v, vector ? e->v16i32 : e->i32, "u8");
  if (t == DT_BOOL) return LLVMBuildTrunc(e->b, v, vector ? e->v16i1 : e->i1, "bool");
  return v;
}

static LLVMValueRef to_memory(Emit *e, Dtype t, LLVMValueRef v) {
  bool vector = type_is_vector(v);
  LLVMTypeRef byte = vector ? LLVMVectorType(e->i8, EMIT_LANES) : e->i8;
  if (t == DT_U8) return LLVMBuildTrunc(e->b, v, byte, "");
  if (t == DT_BOOL) return LLVMBuildZExt(e->b, v, byte, "");
  return v;
}

static unsigned dtype_align(Dtype t) { return (unsigned)dtype_size(t); }

/* The lanes that may be touched: guard and, if lanes differ, the tail. NULL = all. */
static Guard lanes_of(Kernel *k, Guard g) {
  Guard r = guard_and(k, g, k->tail);
  return r.v ? emit_widen(k, r) : r;
}

/* Lanes that do not exist read element 0 and forget it, which costs less than a mask. Another thread may be storing that element:
 * to LLVM such a read is an undefined value, no undefined behaviour, and the value is not used. The thread sanitizer, who cannot know
 * that it is not, is shown the lanes that exist. */
static bool only_lanes(const Kernel *k) { return k->be->options->sanitize == SANITIZE_THREAD; }

static Val load_scalar(Kernel *k, LLVMValueRef base, Dtype t, Idx at, Guard g, bool written) {
  Emit *e = k->e;
  Val r = {NULL, deeper(deeper(at.depth, g.depth), written ? k->depth : scope_of_reads(k))};
  int old = scope_enter(k, r.depth);
  LLVMTypeRef type = type_in_memory(e, t);
  LLVMValueRef v;
  if (g.v && only_lanes(k)) {
    LLVMValueRef first = LLVMBuildBitCast(e->b, LLVMBuildZExt(e->b, g.v, LLVMInt16TypeInContext(e->ctx), ""), e->v16i1, "first");
    v = LLVMBuildExtractElement(e->b, em_load16(e, type, em_gep(e, type, base, at.base), first), em_i64(e, 0), "x");
  } else {
    LLVMValueRef i = g.v ? LLVMBuildSelect(e->b, g.v, at.base, em_i64(e, 0), "safe") : at.base;
    v = LLVMBuildLoad2(e->b, type, em_gep(e, type, base, i), "x");
    LLVMSetAlignment(v, dtype_align(t));
  }
  if (g.v) v = LLVMBuildSelect(e->b, g.v, v, LLVMConstNull(type), "");
  r.v = from_memory(e, t, v);
  scope_leave(k, old);
  return r;
}

static Val load_gather(Kernel *k, LLVMValueRef base, Dtype t, Idx at, Guard g, bool written) {
  Emit *e = k->e;
  Guard lanes = lanes_of(k, g);
  Val r = {NULL, deeper(deeper(at.depth, lanes.depth), written ? k->depth : scope_of_reads(k))};
  int old = scope_enter(k, r.depth);
  LLVMTypeRef type = type_in_memory(e, t), vector = LLVMVectorType(type, EMIT_LANES);
  LLVMValueRef i = idx_vec(k, at);
  if (lanes.v) i = LLVMBuildSelect(e->b, lanes.v, i, LLVMConstNull(e->v16i64), "safe");
  LLVMValueRef where = LLVMBuildGEP2(e->b, type, base, &i, 1, "p");
  LLVMTypeRef types[2] = {vector, LLVMVectorType(e->ptr, EMIT_LANES)};
  LLVMValueRef mask = lanes.v && only_lanes(k) ? lanes.v : LLVMConstAllOnes(e->v16i1);
  LLVMValueRef args[4] = {where, LLVMConstInt(e->i32, dtype_align(t), 0), mask, LLVMConstNull(vector)};
  unsigned id = LLVMLookupIntrinsicID("llvm.masked.gather", strlen("llvm.masked.gather"));
  LLVMValueRef f = LLVMGetIntrinsicDeclaration(e->mod, id, types, 2);
  LLVMValueRef v = LLVMBuildCall2(e->b, LLVMIntrinsicGetType(e->ctx, id, types, 2), f, args, 4, "x");
  if (lanes.v) v = LLVMBuildSelect(e->b, lanes.v, v, LLVMConstNull(vector), "");
  r.v = from_memory(e, t, v);
  scope_leave(k, old);
  return r;
}

Val emit_read_pointer(Kernel *k, LLVMValueRef base, Dtype t, Idx at, Guard g, bool written) {
  if (!idx_is_vector(at) && g.v && type_is_vector(g.v)) at.vec = idx_vec(k, at), at.depth = k->depth;
  if (!idx_is_vector(at)) return load_scalar(k, base, t, at, g, written);
  if (at.vec || at.lane != 1) return load_gather(k, base, t, at, g, written);
  Emit *e = k->e;
  Guard lanes = lanes_of(k, g);
  Val r = {NULL, deeper(deeper(at.depth, lanes.depth), written ? k->depth : scope_of_reads(k))};
  int old = scope_enter(k, r.depth);
  LLVMTypeRef type = type_in_memory(e, t);
  r.v = from_memory(e, t, em_load16(e, type, em_gep(e, type, base, at.base), lanes.v));
  scope_leave(k, old);
  return r;
}

/* Memory that this kernel writes is read where it stands, never above a loop. */
Val emit_load(Kernel *k, Leaf *leaf, Dtype t, Idx at, Guard g) {
  return emit_read_pointer(k, leaf->arg, t, at, g, leaf->written);
}

static void store_scatter(Kernel *k, Leaf *leaf, Dtype t, Idx at, LLVMValueRef v, Guard lanes) {
  Emit *e = k->e;
  LLVMTypeRef type = type_in_memory(e, t);
  LLVMValueRef i = idx_vec(k, at), where = LLVMBuildGEP2(e->b, type, leaf->arg, &i, 1, "p");
  LLVMTypeRef types[2] = {LLVMTypeOf(v), LLVMVectorType(e->ptr, EMIT_LANES)};
  LLVMValueRef mask = lanes.v ? lanes.v : LLVMConstAllOnes(e->v16i1);
  LLVMValueRef args[4] = {v, where, LLVMConstInt(e->i32, dtype_align(t), 0), mask};
  unsigned id = LLVMLookupIntrinsicID("llvm.masked.scatter", strlen("llvm.masked.scatter"));
  LLVMValueRef f = LLVMGetIntrinsicDeclaration(e->mod, id, types, 2);
  LLVMBuildCall2(e->b, LLVMIntrinsicGetType(e->ctx, id, types, 2), f, args, 4, "");
}

void emit_store(Kernel *k, Leaf *leaf, Dtype t, Idx at, Val v) {
  Emit *e = k->e;
  LLVMTypeRef type = type_in_memory(e, t);
  if (!idx_is_vector(at)) {
    if (type_is_vector(v.v)) kernel_die(k, leaf->value, "a vector stored at one place");
    LLVMValueRef s = LLVMBuildStore(e->b, to_memory(e, t, v.v), em_gep(e, type, leaf->arg, at.base));
    LLVMSetAlignment(s, dtype_align(t));
    return;
  }
  Guard lanes = lanes_of(k, (Guard){NULL, 0});
  LLVMValueRef x = to_memory(e, t, emit_widen(k, v).v);
  if (at.vec || at.lane != 1) store_scatter(k, leaf, t, at, x, lanes);
  else em_store16(e, x, em_gep(e, type, leaf->arg, at.base), lanes.v);
}

/* ---- leaves
 * ------------------------------------------------------------------------------------------------ */

Leaf *leaf_of_buffer(Kernel *k, BufferId b) {
  for (uint32_t i = 0; i < k->n_leaves; i++)
    if (k->leaves[i].kind == LEAF_BUFFER && k->leaves[i].buffer == b) return &k->leaves[i];
  const Buffer *x = &k->pf->buffers[b];
  for (uint32_t i = 0; i < k->n_leaves;
       i++) { /* another buffer at the same place: the stored one of an update */
    Leaf *l = &k->leaves[i];
    if (l->kind != LEAF_BUFFER || l->space != x->space) continue;
    if (x->space <= SPACE_STORE   ? l->offset == x->offset
        : x->space == SPACE_CONST ? l->value == x->value
                                  : l->index == x->index)
      return l;
  }
  kernel_die(k, x->value, "a buffer that the signature did not see");
}

Leaf *leaf_find(Kernel *k, LeafKind kind, ValueId v) {
  for (uint32_t i = 0; i < k->n_leaves; i++)
    if (k->leaves[i].kind == kind && (kind == LEAF_SCRATCH || k->leaves[i].value == v)) return &k->leaves[i];
  kernel_die(k, v, "a leaf that the signature did not see");
}

/* order[row], at a row coordinate. */
static Val datum_at(Kernel *k, Idx row, Guard g) { return emit_read_pointer(k, k->order, DT_I32, row, g, false); }

/* Rows behind the first of this step that the block has still to come to. */
static LLVMValueRef rows_left(Kernel *k) {
  Emit *e = k->e;
  LLVMValueRef order = frame_field(e, k->frame, offsetof(JobFrame, order), e->ptr, "order_of_block"),
               starts = frame_field(e, k->frame, offsetof(JobFrame, starts), e->ptr, "starts"),
               steps = frame_field(e, k->frame, offsetof(JobFrame, n_steps), e->i64, "n_steps");
  LLVMValueRef end = LLVMBuildLoad2(e->b, e->i64, em_gep(e, e->i64, starts, steps), "end");
  return LLVMBuildPtrDiff2(e->b, e->i32, em_gep(e, e->i32, order, end), k->order, "rows_left");
}

/* Rows of a batch lie anywhere in their column, too far apart for the processor to guess: while one is read, the same place of a
 * later one is fetched. */
static void prefetch_later_row(Kernel *k, const Leaf *leaf, const Buffer *b, const Idx *c) {
  Emit *e = k->e;
  const int64_t size = (int64_t)dtype_size(b->dtype);
  Idx at[IR_MAX_RANK];
  if (b->shape.rank < 2 || b->strides[0] * size < ROW_BYTES || idx_is_vector(c[0])) return;
  for (int32_t i = 1; i < b->shape.rank; i++) at[i] = c[i];
  const Idx later = idx_offset(k, c[0], ROWS_AHEAD);
  int old = scope_enter(k, 0);
  LLVMValueRef bound[2] = {later.base, LLVMBuildNSWSub(e->b, rows_left(k), em_i64(e, 1), "")};
  scope_leave(k, old);
  old = scope_enter(k, later.depth);
  Idx row = {.base = em_intrinsic(e, "llvm.smin", e->i64, bound, 2), .depth = later.depth};
  scope_leave(k, old);
  at[0] = idx_from_val(k, datum_at(k, row, (Guard){NULL, 0}));
  const Idx where = idx_linear(k, at, &b->shape, b->strides);
  if (!where.vec) gemm_prefetch(e, em_gep(e, type_in_memory(e, b->dtype), leaf->arg, where.base), false);
}

Val emit_buffer_at(Kernel *k, ValueId id, const Idx *c, Guard g) {
  const Buffer *b = &k->pf->buffers[k->pf->buffer_of[id]];
  Leaf *leaf = leaf_of_buffer(k, k->pf->buffer_of[id]);
  if (b->space == SPACE_SCALAR) return emit_load(k, leaf, DT_F64, idx_const(k, 0), (Guard){NULL, 0});
  if (b->space != SPACE_COLUMN)
    return emit_load(k, leaf, b->dtype, idx_linear(k, c, &b->shape, b->strides), g);
  Idx at[IR_MAX_RANK];
  for (int32_t i = 0; i < b->shape.rank; i++) at[i] = c[i];
  prefetch_later_row(k, leaf, b, c);
  at[0] = idx_from_val(k, datum_at(k, c[0], g));
  return emit_load(k, leaf, b->dtype, idx_linear(k, at, &b->shape, b->strides), g);
}

static Val emit_clock(Kernel *k, int64_t kind) {
  Emit *e = k->e;
  int old = scope_enter(k, 0);
  LLVMValueRef n = NULL;
  switch ((ClockKind)kind) {
  case CLOCK_ROWS: n = k->rows[0]; break;
  case CLOCK_STEP: n = k->step_no; break;
  case CLOCK_TOTAL_STEPS:
    n = frame_field(e, k->frame, offsetof(JobFrame, total_steps), e->i64, "total_steps");
    break;
  case CLOCK_STEPS_PER_EPOCH:
    n = frame_field(e, k->frame, offsetof(JobFrame, steps_per_epoch), e->i64, "per_epoch");
    break;
  }
  Val r = {LLVMBuildSIToFP(e->b, n, e->f64, "clock"), 0};
  scope_leave(k, old);
  return r;
}

/* Philox keyed as in runtime/rng.h: counter {index in the datum, datum, step, stream}, key = seed. */
static Val emit_random(Kernel *k, ValueId id, const Idx *c, Guard g) {
  Emit *e = k->e;
  const Value *v = &k->g->v[id];
  bool by_row = v->shape.rank && v->shape.d[0] == DIM_ROWS;
  Shape inner = v->shape;
  if (by_row) inner.d[0] = 1;
  int64_t strides[IR_MAX_RANK] = {0};
  dense_strides(&inner, strides);
  Val index = idx_value(k, idx_linear(k, c, &inner, strides));
  Val datum = by_row ? datum_at(k, c[0], g) : (Val){LLVMConstInt(e->i32, 0, 0), 0};
  bool vector = type_is_vector(index.v) || type_is_vector(datum.v);
  if (vector) index = emit_widen(k, index), datum = emit_widen(k, datum);
  int old = scope_enter(k, 0);
  LLVMValueRef seed = frame_field(e, k->frame, offsetof(JobFrame, seed), e->i64, "seed");
  LLVMValueRef low = LLVMBuildTrunc(e->b, seed, e->i32, "");
  LLVMValueRef high = LLVMBuildTrunc(e->b, LLVMBuildLShr(e->b, seed, em_i64(e, 32), ""), e->i32, "");
  LLVMValueRef step = LLVMBuildTrunc(e->b, k->step_no, e->i32, "");
  LLVMValueRef stream = LLVMBuildTrunc(e->b, leaf_find(k, LEAF_STREAM, id)->arg, e->i32, "");
  LLVMValueRef word[4] = {low, high, step, stream};
  for (int i = 0; vector && i < 4; i++) word[i] = em_splat(e, word[i]);
  scope_leave(k, old);
  Val r = {NULL, deeper(index.depth, datum.depth)};
  old = scope_enter(k, r.depth);
  LLVMValueRef counter[4] = {index.v, datum.v, word[2], word[3]}, out[4];
  math_philox(e, counter, word, out);
  r.v = math_uniform(e, out[0]);
  scope_leave(k, old);
  return r;
}

static LLVMValueRef const_number(Emit *e, Dtype t, double n) {
  switch (t) {
  case DT_F32:
  case DT_F64: return LLVMConstReal(type_of_dtype(e, t), t == DT_F32 ? (double)(float)n : n);
  case DT_BOOL: return LLVMConstInt(e->i1, n != 0, 0);
  default: return LLVMConstInt(e->i32, (unsigned long long)(int64_t)n, 1);
  }
}

static void put_element(uint8_t *p, Dtype t, double n) {
  float f = (float)n;
  int32_t i = t == DT_I32 ? (int32_t)n : 0;
  uint8_t byte = t == DT_BOOL ? n != 0 : t == DT_U8 ? (uint8_t)n : 0;
  switch (t) {
  case DT_F32: memcpy(p, &f, 4); break;
  case DT_F64: memcpy(p, &n, 8); break;
  case DT_I32: memcpy(p, &i, 4); break;
  default: *p = byte;
  }
}

/* The tensor at the given strides (holes are 0), once per function. */
LLVMValueRef emit_const_global(Backend *be, const Graph *g, ValueId id, const int64_t *strides) {
  if (be->globals[id]) return be->globals[id];
  const Value *v = &g->v[id];
  size_t size = dtype_size(v->dtype), n = 1;
  for (int32_t i = 0; i < v->shape.rank; i++) n += (size_t)((v->shape.d[i] - 1) * strides[i]);
  uint8_t *bytes = arena_alloc(be->e.arena, n * size);
  int64_t count = shape_count(&v->shape, 1);
  for (int64_t x = 0; x < count; x++) {
    int64_t rest = x, at = 0;
    for (int32_t i = v->shape.rank - 1; i >= 0; i--)
      at += rest % v->shape.d[i] * strides[i], rest /= v->shape.d[i];
    put_element(bytes + (size_t)at * size, v->dtype, v->data ? v->data[x] : v->num);
  }
  return be->globals[id] = types_global_bytes(&be->e, "const", bytes, n * size);
}

void dense_strides(const Shape *s, int64_t *strides) {
  int64_t n = 1;
  for (int32_t i = s->rank - 1; i >= 0; i--) strides[i] = n, n *= dim_is_rows(s->d[i]) ? 1 : s->d[i];
}

static Val emit_const(Kernel *k, ValueId id, const Idx *c, Guard g) {
  const Value *v = &k->g->v[id];
  if (!v->data) return (Val){const_number(k->e, v->dtype, v->num), 0};
  if (!v->shape.rank) return (Val){const_number(k->e, v->dtype, v->data[0]), 0};
  int64_t strides[IR_MAX_RANK];
  dense_strides(&v->shape, strides);
  LLVMValueRef base = emit_const_global(k->be, k->g, id, strides);
  return emit_read_pointer(k, base, v->dtype, idx_linear(k, c, &v->shape, strides), g, false);
}

Val emit_leaf_op(Kernel *k, ValueId id, const Idx *c, Guard g) {
  const Value *v = &k->g->v[id];
  switch (v->op) {
  case OP_CONST: return emit_const(k, id, c, g);
  case OP_IOTA: return idx_value(k, c[v->ints[0]]);
  case OP_DATUM: return datum_at(k, c[0], g);
  case OP_RANDOM: return emit_random(k, id, c, g);
  case OP_CLOCK: return emit_clock(k, v->ints[0]);
  default: kernel_die(k, id, "a leaf without a buffer");
  }
}
