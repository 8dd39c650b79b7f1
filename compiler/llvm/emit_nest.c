/* SPDX-License-Identifier: Apache-2.0
 * emit_nest.c -- loops over some axes of a space, the last of them in 16 lanes, and STEP_MAP. */
#include "kernel.h"
#include "fault.h"

LLVMValueRef axis_extent(Kernel *k, int64_t d) {
  return dim_is_rows(d) ? k->rows[dim_set(d)] : em_i64(k->e, d);
}
static void run(Nest *n, int pos);

static void run_loop(Nest *n, int pos, uint8_t axis) {
  Kernel *k = n->k;
  LLVMValueRef lo = n->lo[axis] ? n->lo[axis] : em_i64(k->e, 0);
  LLVMValueRef hi = n->hi[axis] ? n->hi[axis] : axis_extent(k, n->space->d[axis]);
  EmLoop l = scope_loop(k, "i", lo, hi, 1);
  n->coords[axis] = idx_scalar(k, l.i, false);
  run(n, pos + 1);
  scope_loop_end(k, &l);
}

static LLVMValueRef constant_tail(Emit *e, int64_t count) {
  LLVMValueRef lane[EMIT_LANES];
  if (fault("constant-tail-short")) count--;
  for (int i = 0; i < EMIT_LANES; i++) lane[i] = LLVMConstInt(e->i1, i < count, 0);
  return LLVMConstVector(lane, EMIT_LANES);
}

static void run_tail(Nest *n, uint8_t axis, LLVMValueRef full, LLVMValueRef lo, LLVMValueRef hi) {
  Kernel *k = n->k;
  LLVMBuilderRef b = k->e->b;
  LLVMValueRef some = LLVMBuildICmp(b, LLVMIntSLT, full, hi, "");
  if (n->lo[axis]) some = LLVMBuildAnd(b, some, LLVMBuildICmp(b, LLVMIntSGE, full, lo, ""), "has_tail");
  LLVMBasicBlockRef after = scope_if(k, "tail", some);
  if (n->lo[axis]) scope_of_some_threads(k);
  n->coords[axis] = idx_lanes(k, full, true);
  LLVMValueRef count = LLVMBuildNSWSub(b, hi, full, "left");
  k->tail = LLVMIsAConstantInt(count) ? (Guard){constant_tail(k->e, LLVMConstIntGetSExtValue(count)), 0}
                                      : (Guard){em_tail_mask(k->e, count), k->depth};
  n->body(n);
  k->tail = (Guard){NULL, 0};
  scope_if_end(k, after);
}

/* The vector axis: whole vectors, then what is left under a mask. */
static void run_vector(Nest *n, uint8_t axis) {
  Kernel *k = n->k;
  int64_t d = n->space->d[axis];
  if (d > 0 && d < EMIT_LANES && !n->lo[axis]) {
    n->coords[axis] = idx_lanes(k, em_i64(k->e, 0), true);
    k->tail = (Guard){constant_tail(k->e, d), 0};
    n->body(n);
    k->tail = (Guard){NULL, 0};
    return;
  }
  LLVMValueRef lo = n->lo[axis] ? n->lo[axis] : em_i64(k->e, 0);
  LLVMValueRef hi = n->hi[axis] ? n->hi[axis] : axis_extent(k, d);
  bool whole = d > 0 && d % EMIT_LANES == 0;
  LLVMValueRef full = whole ? hi : LLVMBuildAnd(k->e->b, hi, em_i64(k->e, -EMIT_LANES), "full");
  EmLoop l = scope_loop(k, "v", lo, full, EMIT_LANES);
  n->coords[axis] = idx_lanes(k, l.i, true);
  n->body(n);
  scope_loop_end(k, &l);
  if (!whole) run_tail(n, axis, full, lo, hi);
}

static void run(Nest *n, int pos) {
  if (pos == n->n) {
    n->body(n);
    return;
  }
  uint8_t axis = n->axes[pos];
  if (n->space->d[axis] == 1 && !n->lo[axis]) {
    n->coords[axis] = idx_const(n->k, 0);
    run(n, pos + 1);
  } else if (pos == n->n - 1 && n->vector && n->space->d[axis] != 1) {
    run_vector(n, axis);
  } else {
    run_loop(n, pos, axis);
  }
}

void nest_run(Nest *n) { run(n, 0); }

void nest_run_shared(Nest *n) {
  Kernel *k = n->k;
  const Share s = plan_share_axes(k->pf, n->space, n->axes, n->n, n->vector);
  if (s.axis != SHARE_ALONE) {
    em_share(k->e, axis_extent(k, n->space->d[s.axis]), s.grain, k->tid, k->nt, &n->lo[s.axis], &n->hi[s.axis]);
    nest_run(n);
    return;
  }
  LLVMValueRef first = LLVMBuildICmp(k->e->b, LLVMIntEQ, k->tid, em_i64(k->e, 0), "first");
  LLVMBasicBlockRef after = scope_if(k, "one", first);
  scope_of_some_threads(k);
  nest_run(n);
  scope_if_end(k, after);
}

/* ---- STEP_MAP
 * ------------------------------------------------------------------------------------------------ */

/* All values first, then all stores: an update in place reads what it overwrites. */
void store_outputs(Kernel *k, const Idx *coords) {
  const Step *s = k->step;
  Val *v = ARENA_NEWS(k->e->arena, Val, s->n_outs);
  for (uint32_t i = 0; i < s->n_outs; i++) v[i] = emit_value(k, s->outs[i].value, coords, (Guard){NULL, 0});
  for (uint32_t i = 0; i < s->n_outs; i++) {
    const Buffer *b = &k->pf->buffers[s->outs[i].buffer];
    if (!k->inlined[s->outs[i].value]) continue; /* the dot of a GEMM by BLAS lies there already */
    emit_store(k, leaf_of_buffer(k, s->outs[i].buffer), b->dtype,
               idx_linear(k, coords, &b->shape, b->strides), v[i]);
  }
}

static void map_body(Nest *n) { store_outputs(n->k, n->coords); }

/* The kernel of a map with calls gets the number of a tile in place of a thread's. */
static void nest_tile(Nest *n) {
  Kernel *k = n->k;
  LLVMBuilderRef b = k->e->b;
  LLVMValueRef rest = k->tid;
  int outermost = 0;
  while (n->space->d[n->axes[outermost]] == 1) outermost++;
  for (int p = k->step->tile_position; p >= outermost; p--) {
    const uint8_t axis = n->axes[p];
    const int64_t d = n->space->d[axis], each = p == k->step->tile_position ? k->step->tile_chunk : 1, count = (d + each - 1) / each;
    if (d == 1) continue;
    LLVMValueRef at = rest, past;
    if (p > outermost) at = LLVMBuildURem(b, rest, em_i64(k->e, count), ""), rest = LLVMBuildUDiv(b, rest, em_i64(k->e, count), "");
    n->lo[axis] = LLVMBuildNSWMul(b, at, em_i64(k->e, each), "lo");
    past = LLVMBuildNSWAdd(b, n->lo[axis], em_i64(k->e, each), "hi");
    n->hi[axis] = d % each == 0 ? past : em_intrinsic(k->e, "llvm.smin", k->e->i64, (LLVMValueRef[]){past, em_i64(k->e, d)}, 2);
  }
}

void emit_map(Kernel *k) {
  Idx coords[IR_MAX_RANK] = {{0}};
  Nest n = {.k = k,
            .space = &k->step->space,
            .n = k->step->space.rank,
            .vector = true,
            .coords = coords,
            .body = map_body};
  for (int i = 0; i < n.n; i++) n.axes[i] = k->step->order[i];
  if (!k->step->n_calls) {
    nest_run_shared(&n);
    return;
  }
  nest_tile(&n);
  nest_run(&n);
}
