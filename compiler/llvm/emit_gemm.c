/* SPDX-License-Identifier: Apache-2.0
 * emit_gemm.c -- STEP_GEMM: operands by view, the step's other outputs in the epilogue; or the BLAS, then a
 * map. */
#include "kernel.h"
#include <string.h>

/* Axes of the dot's result: [batch .. n_batch), then those of its first argument, then those of its second.
 */
typedef struct Axes {
  int m0, m1, n0, n1;
} Axes;

static Axes result_axes(const Kernel *k) {
  const Step *s = k->step;
  const Value *dot = &k->g->v[s->dot];
  int nb = (int)dot->ints[0], nc = (int)dot->ints[1], batch = (int)s->geom.n_batch;
  int first = k->g->v[dot->args[0]].shape.rank - nc; /* nb + free axes of a */
  (void)nb;
  if (s->swapped) return (Axes){first, dot->shape.rank, batch, first};
  return (Axes){batch, first, first, dot->shape.rank};
}

/* One index over axes [from, to) of the result as a coordinate for each. Rows can only be the outermost. */
static void split_index(Kernel *k, Idx all, int from, int to, Idx *c) {
  const Shape *s = &k->g->v[k->step->dot].shape;
  int outer = from;
  while (outer < to && s->d[outer] == 1) c[outer++] = idx_const(k, 0);
  for (int i = to - 1; i >= outer; i--) {
    if (i == outer) c[i] = all;
    else if (dim_is_rows(s->d[i])) kernel_die(k, k->step->dot, "rows inside a collapsed axis");
    else idx_divmod(k, all, s->d[i], &all, &c[i]);
  }
}

/* Parameters and states that the epilogue updates lie as the first output does. */
static void beside_collect(Kernel *k, GemmEnd *end) {
  const Step *s = k->step;
  const Buffer *first = &k->pf->buffers[s->outs[0].buffer];
  for (uint32_t i = 1; i < s->n_outs && end->n_beside < GEMM_MAX_BESIDE; i++) {
    const Buffer *b = &k->pf->buffers[s->outs[i].buffer];
    bool same = b->space == SPACE_STORE && b->dtype == first->dtype && shape_equal(&b->shape, &first->shape);
    for (int32_t a = 0; same && a < b->shape.rank; a++) same = b->strides[a] == first->strides[a];
    if (same) end->beside[end->n_beside++] = leaf_of_buffer(k, s->outs[i].buffer)->arg;
  }
}

static void epilogue(Emit *e, void *user, const LLVMValueRef *batch, LLVMValueRef row, LLVMValueRef col,
                     LLVMValueRef acc, LLVMValueRef mask) {
  Kernel *k = user;
  (void)e;
  const Step *s = k->step;
  Axes x = result_axes(k);
  Idx c[IR_MAX_RANK];
  memo_forget(k);
  for (uint32_t i = 0; i < s->geom.n_batch; i++) c[i] = idx_scalar(k, batch[i], false);
  split_index(k, idx_scalar(k, row, false), x.m0, x.m1, c);
  split_index(k, idx_lanes(k, col, true), x.n0, x.n1, c);
  if (mask) k->tail = (Guard){mask, k->depth};
  Val dot = {acc, k->depth};
  if (s->geom.n.n == 1 &&
      !s->geom.n.rows) { /* one column: its axes have extent 1, and nothing depends on lanes */
    for (int i = x.n0; i < x.n1; i++) c[i] = idx_const(k, 0);
    dot.v = LLVMBuildExtractElement(k->e->b, acc, LLVMConstInt(k->e->i32, 0, 0), "dot");
    k->tail = (Guard){NULL, 0};
  }
  memo_add(k, s->dot, c, k->g->v[s->dot].shape.rank, (Guard){NULL, 0}, dot);
  store_outputs(k, c);
  k->tail = (Guard){NULL, 0};
}

static LLVMValueRef operand(Kernel *k, uint32_t which) {
  for (uint32_t i = 0; i < k->n_leaves; i++)
    if (k->leaves[i].kind == LEAF_OPERAND && k->leaves[i].index == which) return k->leaves[i].arg;
  kernel_die(k, k->step->dot, "an operand that the signature did not see");
}

/* ---- BLAS
 * -------------------------------------------------------------------------------------------------------- */

typedef struct Blas {
  LLVMValueRef trans, ld;
} Blas;

/* Row-major matrix [rows][cols] with the given strides, one of which is 1 or belongs to an extent of 1. */
static Blas blas_layout(Kernel *k, Extent rows, Extent cols, int64_t by_row, int64_t by_col) {
  Emit *e = k->e;
  bool one_row = rows.n == 1 && !rows.rows, one_col = cols.n == 1 && !cols.rows;
  bool plain = by_col == 1 || one_col;
  if (by_row == 1 && !one_row && !(by_col == 1 && one_col)) plain = false;
  LLVMValueRef least = em_extent(e, plain ? cols : rows, k->rows), ld = em_i64(e, plain ? by_row : by_col);
  if (plain && one_row) ld = least;
  if (!plain && one_col) ld = least;
  LLVMValueRef args[2] = {ld, least};
  return (Blas){em_i64(e, !plain), em_intrinsic(e, "llvm.smax", e->i64, args, 2)};
}

static LLVMValueRef floats_at(Kernel *k, LLVMValueRef base, LLVMValueRef index, int64_t stride) {
  return em_gep(k->e, k->e->f32, base, LLVMBuildNSWMul(k->e->b, index, em_i64(k->e, stride), ""));
}

static LLVMTypeRef sgemm_type(Emit *e) {
  LLVMTypeRef p[12] = {e->i64, e->i64, e->i64, e->i64, e->i64, e->ptr,
                       e->i64, e->ptr, e->i64, e->ptr, e->i64, e->f64};
  return LLVMFunctionType(LLVMVoidTypeInContext(e->ctx), p, 12, 0);
}

/* This thread's columns (or rows) of one matrix of the batch. */
static void blas_share(Kernel *k, LLVMValueRef a, LLVMValueRef b, LLVMValueRef c) {
  Emit *e = k->e;
  const GemmGeom *g = &k->step->geom;
  LLVMValueRef m = em_extent(e, g->m, k->rows), n = em_extent(e, g->n, k->rows),
               depth = em_extent(e, g->k, k->rows);
  LLVMValueRef lo, hi;
  bool columns = k->step->tile.split == 1;
  em_share(e, columns ? n : m, EMIT_LANES, k->tid, k->nt, &lo, &hi);
  LLVMValueRef mine = LLVMBuildNSWSub(e->b, hi, lo, "mine");
  LLVMBasicBlockRef after = scope_if(k, "mine", LLVMBuildICmp(e->b, LLVMIntSGT, mine, em_i64(e, 0), ""));
  Blas x = blas_layout(k, g->m, g->k, g->am, g->ak), y = blas_layout(k, g->k, g->n, g->bk, g->bn);
  if (columns) b = floats_at(k, b, lo, g->bn), c = floats_at(k, c, lo, 1), n = mine;
  else a = floats_at(k, a, lo, g->am), c = floats_at(k, c, lo, g->cm), m = mine;
  LLVMValueRef f = frame_field(e, k->frame, offsetof(JobFrame, sgemm), e->ptr, "sgemm");
  LLVMValueRef args[12] = {
      x.trans, y.trans, m, n, depth, a, x.ld, b, y.ld, c, em_i64(e, g->cm), LLVMConstReal(e->f64, 0)};
  LLVMBuildCall2(e->b, sgemm_type(e), f, args, 12, "");
  scope_if_end(k, after);
}

static void emit_blas(Kernel *k, LLVMValueRef a, LLVMValueRef b, LLVMValueRef c) {
  const GemmGeom *g = &k->step->geom;
  EmLoop loop[4];
  for (uint32_t i = 0; i < g->n_batch; i++) {
    loop[i] = scope_loop(k, "batch", em_i64(k->e, 0), em_extent(k->e, g->batch[i], k->rows), 1);
    a = floats_at(k, a, loop[i].i, g->a_batch[i]);
    b = floats_at(k, b, loop[i].i, g->b_batch[i]);
    c = floats_at(k, c, loop[i].i, g->c_batch[i]);
  }
  blas_share(k, a, b, c);
  for (uint32_t i = g->n_batch; i-- > 0;) scope_loop_end(k, &loop[i]);
  if (k->step->n_outs < 2) return;
  emit_barrier(k);
  k->inlined[k->step->dot] = false; /* read from its buffer */
  emit_map(k);
}

void emit_gemm(Kernel *k) {
  const Step *s = k->step;
  LLVMValueRef a = operand(k, 0), b = operand(k, 1);
  BufferId out = s->outs[0].buffer; /* the plan puts the one first that may hold unfinished sums */
  LLVMValueRef c = leaf_of_buffer(k, out)->arg;
  if (s->impl == GEMM_BLAS) {
    if (k->pf->buffer_of[s->dot] != out) kernel_die(k, s->dot, "a dot for the BLAS without a buffer");
    emit_blas(k, a, b, c);
    return;
  }
  scope_open(k, "gemm");
  bool plain = s->n_outs == 1 && s->outs[0].value == s->dot;
  GemmEnd end = {.epilogue = epilogue, .user = k};
  beside_collect(k, &end);
  gemm_emit(k->e, &s->geom, &s->tile, a, b, c, k->rows, k->tid, k->nt, plain ? NULL : &end);
  scope_close(k);
}
