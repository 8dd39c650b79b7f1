/* SPDX-License-Identifier: Apache-2.0
 * emit_scatter.c -- STEP_SCATTER: SCATTER adds rows in their order, so threads share the table's columns, or
 * its rows where there are few columns; FOLD is pulled, each place of the image adding the windows that saw
 * it. */
#include "kernel.h"
#include <string.h>

#define SHARE_TABLE_COLUMNS 64

typedef struct Scatter {
  Kernel *k;
  ValueId dy, index;
  const Shape *table, *rows; /* [V, ...]; shape of the index */
  const Buffer *out;
  Leaf *leaf;
  bool by_columns;
  LLVMValueRef lo, hi;         /* this thread's part */
  Idx coords[2 * IR_MAX_RANK]; /* of dy: index axes, then columns */
  Idx target;                  /* row of the table */
} Scatter;

static Leaf *output_leaf(Kernel *k, const Buffer **b) {
  *b = &k->pf->buffers[k->step->outs[0].buffer];
  return leaf_of_buffer(k, k->step->outs[0].buffer);
}

/* The last column axis in lanes; threads share the first. Threads that share table rows take all columns. */
static Nest column_nest(Scatter *s, const Shape *space, Idx *coords, void (*body)(Nest *)) {
  Nest n = {.k = s->k, .space = space, .vector = space->rank > 0, .coords = coords, .body = body, .user = s};
  for (int i = 0; i < space->rank; i++) n.axes[n.n++] = (uint8_t)i;
  if (s->by_columns) n.lo[0] = s->lo, n.hi[0] = s->hi;
  return n;
}

static Shape column_space(const Scatter *s) {
  Shape c = {.rank = s->table->rank - 1};
  for (int i = 0; i < c.rank; i++) c.d[i] = s->table->d[i + 1];
  return c;
}

static Idx place(Scatter *s, Idx row, const Idx *columns) {
  Idx c[IR_MAX_RANK];
  c[0] = row;
  for (int i = 1; i < s->table->rank; i++) c[i] = columns[i - 1];
  return idx_linear(s->k, c, &s->out->shape, s->out->strides);
}

static void zero_body(Nest *n) {
  Scatter *s = n->user;
  Val zero = {LLVMConstReal(type_of_dtype(s->k->e, s->out->dtype), 0), 0};
  emit_store(s->k, s->leaf, s->out->dtype, place(s, s->target, n->coords), zero);
}

static void add_body(Nest *n) {
  Scatter *s = n->user;
  Kernel *k = s->k;
  Idx at = place(s, s->target, n->coords);
  Val dy = emit_value(k, s->dy, s->coords, (Guard){NULL, 0});
  Val old = emit_load(k, s->leaf, s->out->dtype, at, (Guard){NULL, 0});
  if (type_is_vector(old.v)) dy = emit_widen(k, dy);
  emit_store(k, s->leaf, s->out->dtype, at, (Val){LLVMBuildFAdd(k->e->b, old.v, dy.v, "add"), k->depth});
}

static void row_body(Nest *n) {
  Scatter *s = n->user;
  Kernel *k = s->k;
  LLVMBuilderRef b = k->e->b;
  s->target = idx_clamped(k, emit_value(k, s->index, s->coords, (Guard){NULL, 0}), s->table->d[0]);
  LLVMBasicBlockRef after = NULL;
  if (!s->by_columns) {
    LLVMValueRef above = LLVMBuildICmp(b, LLVMIntSGE, s->target.base, s->lo, "");
    LLVMValueRef below = LLVMBuildICmp(b, LLVMIntSLT, s->target.base, s->hi, "");
    after = scope_if(k, "mine", LLVMBuildAnd(b, above, below, "mine"));
  }
  Shape space = column_space(s);
  Nest columns = column_nest(s, &space, s->coords + s->rows->rank, add_body);
  nest_run(&columns);
  if (after) scope_if_end(k, after);
}

static void emit_zero(Scatter *s) {
  Kernel *k = s->k;
  LLVMValueRef zero = em_i64(k->e, 0), all = em_i64(k->e, s->table->d[0]);
  EmLoop l = scope_loop(k, "row", s->by_columns ? zero : s->lo, s->by_columns ? all : s->hi, 1);
  s->target = idx_scalar(k, l.i, false);
  Shape space = column_space(s);
  Idx coords[IR_MAX_RANK];
  Nest columns = column_nest(s, &space, coords, zero_body);
  nest_run(&columns);
  scope_loop_end(k, &l);
}

static void emit_scatter_rows(Kernel *k) {
  const Value *v = &k->g->v[k->step->outs[0].value];
  Scatter s = {
      .k = k, .dy = v->args[0], .index = v->args[1], .table = &v->shape, .rows = &k->g->v[v->args[1]].shape};
  s.leaf = output_leaf(k, &s.out);
  Shape space = column_space(&s);
  bool lanes = space.rank == 1 && space.d[0] != 1; /* the shared axis is the vector axis */
  s.by_columns = space.rank && space.d[0] >= (lanes ? SHARE_TABLE_COLUMNS : EMIT_LANES / 4);
  LLVMValueRef n = em_i64(k->e, s.by_columns ? space.d[0] : s.table->d[0]);
  em_share(k->e, n, s.by_columns && lanes ? EMIT_LANES : 1, k->tid, k->nt, &s.lo, &s.hi);
  emit_zero(&s);
  Nest rows = {.k = k, .space = s.rows, .n = s.rows->rank, .coords = s.coords, .body = row_body, .user = &s};
  for (int i = 0; i < rows.n; i++) rows.axes[i] = (uint8_t)i;
  nest_run(&rows);
}

/* ---- FOLD
 * ----------------------------------------------------------------------------------------------------- */

typedef struct Fold {
  const Value *v;
  const Buffer *out;
  Leaf *leaf;
  LLVMValueRef sum, sum_wide;
} Fold;

/* Position of the window of `cells` positions (stride s) whose cell at `reach` covers x; *g: there is one. */
static Idx window_of(Kernel *k, Idx x, Idx reach, int64_t pad, int64_t stride, int64_t cells, Guard *g) {
  Idx at = idx_offset(k, idx_add(k, x, idx_scale(k, reach, -1)), pad), rest;
  *g = idx_in_range(k, at, (cells - 1) * stride + 1, *g);
  if (stride == 1) return at;
  idx_divmod(k, at, stride, &at, &rest);
  *g = idx_in_range(k, rest, 1, *g);
  return at;
}

static void fold_body(Nest *n) {
  Kernel *k = n->k;
  Emit *e = k->e;
  Fold *f = n->user;
  const int64_t *p = f->v->ints;
  const Shape *from = &k->g->v[f->v->args[0]].shape;
  bool vector = false;
  for (int i = 0; i < 4; i++) vector |= idx_is_vector(n->coords[i]);
  LLVMTypeRef type = vector ? e->v16f32 : e->f32;
  LLVMValueRef sum = vector ? f->sum_wide : f->sum;
  LLVMBuildStore(e->b, LLVMConstNull(type), sum);
  EmLoop i = scope_loop(k, "cell_h", em_i64(e, 0), em_i64(e, p[0]), 1);
  Idx cell_h = idx_scalar(k, i.i, false);
  EmLoop j = scope_loop(k, "cell_w", em_i64(e, 0), em_i64(e, p[1]), 1);
  Idx cell_w = idx_scalar(k, j.i, false);
  Guard inside = {NULL, 0};
  Idx h = window_of(k, n->coords[2], idx_scale(k, cell_h, p[6]), p[4], p[2], from->d[1], &inside);
  Idx w = window_of(k, n->coords[3], idx_scale(k, cell_w, p[7]), p[5], p[3], from->d[2], &inside);
  Idx at[6] = {n->coords[0], h, w, n->coords[1], cell_h, cell_w};
  Val x = zero_outside(k, inside, emit_value(k, f->v->args[0], at, inside));
  if (vector) x = emit_widen(k, x);
  LLVMBuildStore(e->b, LLVMBuildFAdd(e->b, LLVMBuildLoad2(e->b, type, sum, ""), x.v, "sum"), sum);
  scope_loop_end(k, &j);
  scope_loop_end(k, &i);
  Val all = {LLVMBuildLoad2(e->b, type, sum, "folded"), k->depth};
  emit_store(k, f->leaf, DT_F32, idx_linear(k, n->coords, &f->out->shape, f->out->strides), all);
}

static void emit_fold(Kernel *k) {
  Fold f = {.v = &k->g->v[k->step->outs[0].value]};
  f.leaf = output_leaf(k, &f.out);
  f.sum = scope_alloca(k, k->e->f32, "sum");
  f.sum_wide = scope_alloca(k, k->e->v16f32, "sum");
  Idx coords[IR_MAX_RANK];
  Nest n = {
      .k = k, .space = &f.v->shape, .n = 4, .vector = true, .coords = coords, .body = fold_body, .user = &f};
  for (int i = 0; i < 4; i++) n.axes[i] = (uint8_t)i;
  nest_run_shared(&n);
}

void emit_scatter(Kernel *k) {
  if (k->g->v[k->step->outs[0].value].op == OP_FOLD) emit_fold(k);
  else emit_scatter_rows(k);
}
