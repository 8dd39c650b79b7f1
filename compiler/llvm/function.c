/* SPDX-License-Identifier: Apache-2.0
 * function.c -- one JobEntry of the plan: the loop over the steps of a block that every thread runs, calling
 * one kernel for each plan step, with barriers where the plan put them. */
#include "kernel.h"
#include "fault.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* Arguments of every kernel behind its leaves. */
enum { ARG_FRAME, ARG_ROWS, ARG_STEP, ARG_ORDER, ARG_SETS, ARG_TID, ARG_NT, ARG_COMMON };

typedef struct Function {
  Backend *be;
  const PlanFn *pf;
  LLVMValueRef fn, frame, tid, nt, store, work, scalars, columns;
  LLVMValueRef rows, step_no, order, sets; /* of the step at hand */
  LLVMValueRef index;                      /* of that step in the block */
  LLVMBasicBlockRef leave;
  bool checked; /* the losses, in this wave */
  LLVMValueRef at; /* addresses for the calls of plugins */
  LLVMValueRef ctx, tiles; /* what a map with calls gets from the step, and from the runtime for each tile */
} Function;

/* ---- kernels
 * ------------------------------------------------------------------------------------------------------ */

static LLVMTypeRef kernel_type(Kernel *k) {
  Emit *e = k->e;
  LLVMTypeRef *p = ARENA_NEWS(e->arena, LLVMTypeRef, k->n_leaves + ARG_COMMON);
  for (uint32_t i = 0; i < k->n_leaves; i++) p[i] = leaf_is_number(&k->leaves[i]) ? e->i64 : e->ptr;
  for (uint32_t i = 0; i < ARG_COMMON; i++)
    p[k->n_leaves + i] = i == ARG_FRAME || i == ARG_ORDER || i == ARG_SETS ? e->ptr : e->i64;
  return LLVMFunctionType(LLVMVoidTypeInContext(e->ctx), p, k->n_leaves + ARG_COMMON, 0);
}

static void kernel_arguments(Kernel *k, LLVMValueRef fn) {
  static const char *const names[ARG_COMMON] = {"frame", "rows", "step", "order", "sets", "tid", "nt"};
  Emit *e = k->e;
  for (uint32_t i = 0; i < k->n_leaves; i++) {
    Leaf *l = &k->leaves[i];
    char name[32];
    const char *what = l->kind == LEAF_STREAM ? "stream" : l->kind == LEAF_COUNT ? "count" : l->written ? "out" : "leaf";
    snprintf(name, sizeof name, "%s%u", what, i);
    l->arg = LLVMGetParam(fn, i);
    LLVMSetValueName2(l->arg, name, strlen(name));
    if (l->kind == LEAF_COUNT) k->rows[l->index] = l->arg;
    if (leaf_is_number(l)) continue;
    types_attribute(e, fn, i + 1, "nocapture", 0);
    if (!l->shared) types_attribute(e, fn, i + 1, "noalias", 0);
    if (l->aligned) types_attribute(e, fn, i + 1, "align", 64);
    if (!l->written) types_attribute(e, fn, i + 1, "readonly", 0);
  }
  for (uint32_t i = 0; i < ARG_COMMON; i++) {
    LLVMValueRef p = LLVMGetParam(fn, k->n_leaves + i);
    LLVMSetValueName2(p, names[i], strlen(names[i]));
  }
  LLVMValueRef *to[ARG_COMMON] = {&k->frame, &k->rows[0], &k->step_no, &k->order, &k->sets, &k->tid, &k->nt};
  for (uint32_t i = 0; i < ARG_COMMON; i++) *to[i] = LLVMGetParam(fn, k->n_leaves + i);
}

static void kernel_sets(Kernel *k) {
  Emit *e = k->e;
  for (uint32_t i = 1; i < k->pf->n_sets; i++) {
    if (!(k->row_sets >> i & 1)) continue;
    LLVMValueRef first = em_gep(e, e->i64, k->sets, em_i64(e, 2 * i)),
                 count = em_gep(e, e->i64, k->sets, em_i64(e, 2 * i + 1));
    k->first_row[i] = LLVMBuildLoad2(e->b, e->i64, first, "first_row");
    k->rows[i] = LLVMBuildLoad2(e->b, e->i64, count, "set_rows");
  }
}

static void kernel_body(Kernel *k) {
  switch (k->step->kind) {
  case STEP_MAP: emit_map(k); break;
  case STEP_REDUCE: emit_reduce(k); break;
  case STEP_GEMM: emit_gemm(k); break;
  case STEP_SCATTER: emit_scatter(k); break;
  case STEP_PACK: emit_pack(k); break;
  case STEP_CALL:
  case STEP_CHECK: break;
  }
}

static void kernel_emit(Kernel *k, KernelSlot *slot) {
  Emit *e = k->e;
  char name[32];
  static const char *const kinds[] = {"map", "reduce", "gemm", "scatter", "pack", "call", "check"};
  snprintf(name, sizeof name, "k%u_%s", k->be->n_slots - 1, kinds[k->step->kind]);
  slot->type = kernel_type(k);
  slot->fn = LLVMAddFunction(e->mod, name, slot->type);
  LLVMSetLinkage(slot->fn, LLVMInternalLinkage);
  types_fn_attributes(e, slot->fn, k->be->options->sanitize);
  types_attribute(e, slot->fn, ON_FUNCTION, "noinline", 0);
  kernel_arguments(k, slot->fn);
  LLVMBasicBlockRef caller = LLVMGetInsertBlock(e->b);
  LLVMValueRef outer = e->fn;
  e->fn = slot->fn;
  k->entry = LLVMAppendBasicBlockInContext(e->ctx, slot->fn, "entry");
  LLVMBasicBlockRef start = LLVMAppendBasicBlockInContext(e->ctx, slot->fn, "start");
  LLVMPositionBuilderAtEnd(e->b, k->entry); /* allocas only */
  LLVMBuildBr(e->b, start);
  LLVMPositionBuilderAtEnd(e->b, start);
  k->serial[0] = ++k->next_serial;
  kernel_sets(k);
  kernel_body(k);
  LLVMBuildRetVoid(e->b);
  e->fn = outer;
  LLVMPositionBuilderAtEnd(e->b, caller);
}

static KernelSlot *kernel_slot(Backend *be, const char *signature, bool *fresh) {
  uint64_t hash = XXH3_64bits(signature, strlen(signature));
  *fresh = false;
  for (uint32_t i = 0; i < be->n_slots; i++)
    if (be->slots[i].hash == hash && !strcmp(be->slots[i].signature, signature)) return &be->slots[i];
  if (be->n_slots == be->cap_slots) {
    uint32_t cap = be->cap_slots ? 2 * be->cap_slots : 32;
    KernelSlot *grown = ARENA_NEWS(be->e.arena, KernelSlot, cap);
    if (be->n_slots) memcpy(grown, be->slots, be->n_slots * sizeof *grown);
    be->slots = grown, be->cap_slots = cap;
  }
  *fresh = true;
  be->slots[be->n_slots] = (KernelSlot){.signature = signature, .hash = hash};
  return &be->slots[be->n_slots++];
}

/* ---- calls
 * ----------------------------------------------------------------------------------------------------------
 */

static LLVMValueRef byte_at(Function *f, LLVMValueRef base, int64_t offset) {
  return em_gep(&f->be->e, f->be->e.i8, base, em_i64(&f->be->e, offset));
}

/* p, or where the rows of the leaf's row set begin. */
static LLVMValueRef behind_set(Function *f, const Leaf *l, LLVMValueRef p) {
  Emit *e = &f->be->e;
  if (!l->set) return p;
  LLVMValueRef at = em_gep(e, e->i64, f->sets, em_i64(e, 2 * l->set));
  LLVMValueRef first = LLVMBuildLoad2(e->b, e->i64, at, "first_row");
  if (fault("row-set-from-0")) return p;
  return em_gep(e, e->i8, p, LLVMBuildNSWMul(e->b, first, em_i64(e, l->row_bytes), "bytes"));
}

/* Where the count of a packed row set lies: in front of the partial sums. */
static LLVMValueRef packed_count(Function *f, const Leaf *l) {
  Emit *e = &f->be->e;
  LLVMValueRef p = byte_at(f, f->work, f->pf->work_bytes + 8 * (int64_t)l->index);
  return l->written ? p : LLVMBuildLoad2(e->b, e->i64, p, "packed_rows");
}

/* Where this thread's copies begin. */
static LLVMValueRef own_copies(Function *f) {
  Emit *e = &f->be->e;
  LLVMValueRef before = LLVMBuildNSWMul(e->b, f->tid, em_i64(e, f->pf->own_bytes), "own");
  return em_gep(e, e->i8, byte_at(f, f->work, plan_own_at(f->pf)), before);
}

static LLVMValueRef leaf_argument(Function *f, const Leaf *l) {
  Emit *e = &f->be->e;
  if (l->kind == LEAF_COUNT) return packed_count(f, l);
  if (l->kind == LEAF_STREAM) return em_i64(e, f->pf->graph->v[l->value].ints[0]);
  if (l->kind == LEAF_SCRATCH) return byte_at(f, f->work, f->pf->work_bytes + l->offset);
  const Buffer *b = &f->pf->buffers[l->buffer];
  switch (l->space) {
  case SPACE_WORK: return behind_set(f, l, byte_at(f, f->work, l->offset));
  case SPACE_OWN: return behind_set(f, l, byte_at(f, own_copies(f), l->offset));
  case SPACE_STORE: return byte_at(f, f->store, l->offset);
  case SPACE_SCALAR: return byte_at(f, f->scalars, 8 * (int64_t)l->index);
  case SPACE_COLUMN: {
    LLVMValueRef p = em_gep(e, e->ptr, f->columns, em_i64(e, l->index));
    return LLVMBuildLoad2(e->b, e->ptr, p, "column");
  }
  case SPACE_CONST: {
    LLVMValueRef g = emit_const_global(f->be, f->pf->graph, l->value, b->strides);
    return l->kind == LEAF_OPERAND ? byte_at(f, g, l->offset) : g;
  }
  case SPACE_TILE: return LLVMBuildLoad2(e->b, e->ptr, em_gep(e, e->ptr, f->tiles, em_i64(e, l->index)), "tile");
  }
  abort();
}

/* What a step computes itself is not read from its buffer. */
static void mark_outputs(Kernel *k, bool inlined) {
  for (uint32_t i = 0; i < k->step->n_outs; i++) k->inlined[k->step->outs[i].value] = inlined;
  if (k->step->kind == STEP_GEMM) k->inlined[k->step->dot] = inlined;
}

static void call_kernel(Function *f, const Step *step, int64_t scratch_offset) {
  Backend *be = f->be;
  Emit *e = &be->e;
  Kernel *k = ARENA_NEW(e->arena, Kernel);
  *k = (Kernel){.e = e, .be = be, .pf = f->pf, .g = f->pf->graph, .step = step};
  k->inlined = be->inlined, k->memo_head = be->memo_head;
  mark_outputs(k, true);
  const char *signature = signature_of_step(k, scratch_offset);
  bool fresh;
  KernelSlot *slot = kernel_slot(be, signature, &fresh);
  if (fresh) kernel_emit(k, slot);
  mark_outputs(k, false);
  for (int32_t i = 0; i < k->n_memo; i++) k->memo_head[k->memo[i].v] = -1;
  LLVMValueRef *args = ARENA_NEWS(e->arena, LLVMValueRef, k->n_leaves + ARG_COMMON);
  for (uint32_t i = 0; i < k->n_leaves; i++) args[i] = leaf_argument(f, &k->leaves[i]);
  /* What every thread does for itself it does as if there were no other. */
  const bool each = plan_step_share(f->pf, step).axis == SHARE_EACH && !fault("own-copy-in-part");
  LLVMValueRef common[ARG_COMMON] = {f->frame, f->rows, f->step_no, f->order, f->sets, each ? em_i64(e, 0) : f->tid, each ? em_i64(e, 1) : f->nt};
  memcpy(args + k->n_leaves, common, sizeof common);
  LLVMBuildCall2(e->b, slot->type, slot->fn, args, k->n_leaves + ARG_COMMON, "");
  be->times->kernel_uses++;
}

static LLVMBasicBlockRef block(Function *f, const char *name) {
  return LLVMAppendBasicBlockInContext(f->be->e.ctx, f->fn, name);
}

static LLVMValueRef field(Function *f, size_t offset, LLVMTypeRef type, const char *name) {
  return frame_field(&f->be->e, f->frame, offset, type, name);
}
#define FIELD(f, member, type) field(f, offsetof(JobFrame, member), type, #member)

/* Code that only calls: not worth a microsecond of optimisation. */
static void control_attributes(Backend *be, LLVMValueRef fn) {
  types_fn_attributes(&be->e, fn, be->options->sanitize);
  types_attribute(&be->e, fn, ON_FUNCTION, "noinline", 0);
  types_attribute(&be->e, fn, ON_FUNCTION, "optnone", 0);
}

static void call_barrier(Function *f) {
  Emit *e = &f->be->e;
  LLVMTypeRef p[2] = {e->ptr, e->i64};
  LLVMTypeRef type = LLVMFunctionType(LLVMVoidTypeInContext(e->ctx), p, 2, 0);
  LLVMBuildCall2(e->b, type, FIELD(f, barrier, e->ptr), (LLVMValueRef[]){f->frame, f->tid}, 2, "");
}

/* ---- profiles ---- */

/* Rows of the batch, or of a row set of it. */
static LLVMValueRef rows_of_set(Function *f, int64_t set) {
  Emit *e = &f->be->e;
  if (!set) return f->rows;
  if (f->pf->packed >> set & 1) return packed_count(f, &(Leaf){.index = (uint32_t)set});
  return LLVMBuildLoad2(e->b, e->i64, em_gep(e, e->i64, f->sets, em_i64(e, 2 * set + 1)), "set_rows");
}

static LLVMValueRef times_extent(Function *f, LLVMValueRef n, Extent x) {
  Emit *e = &f->be->e;
  n = LLVMBuildNSWMul(e->b, n, em_i64(e, x.n), "");
  return x.rows ? LLVMBuildNSWMul(e->b, n, rows_of_set(f, x.rows - 1), "products") : n;
}

/* The operations of the product that a GEMM is called for, by the extents it is called with. */
static LLVMValueRef step_products(Function *f, const Step *s) {
  if (s->kind != STEP_GEMM) return em_i64(&f->be->e, 0);
  const GemmGeom *g = &s->geom;
  LLVMValueRef n = times_extent(f, times_extent(f, times_extent(f, em_i64(&f->be->e, 2), g->m), g->n), g->k);
  for (uint32_t i = 0; i < g->n_batch; i++) n = times_extent(f, n, g->batch[i]);
  return n;
}

/* A look at the clock, where the code is for a profile. */
static void call_mark(Function *f, int64_t plan_step, bool met, LLVMValueRef products) {
  Emit *e = &f->be->e;
  if (!f->be->options->profile) return;
  LLVMTypeRef p[6] = {e->ptr, e->i64, e->i64, e->i64, e->i64, e->i64};
  LLVMTypeRef type = LLVMFunctionType(LLVMVoidTypeInContext(e->ctx), p, 6, 0);
  LLVMValueRef args[6] = {f->frame, f->tid, f->index, em_i64(e, plan_step), em_i64(e, met), products ? products : em_i64(e, 0)};
  LLVMBuildCall2(e->b, type, FIELD(f, mark, e->ptr), args, 6, "");
}

/* `after_step(frame, tid, i, met)`: the runtime's look at the results of plan step i where that was switched
 * on; met: all threads have just met. One function for all steps, since a plan has hundreds. */
static LLVMValueRef look_function(Function *f) {
  Emit *e = &f->be->e;
  LLVMValueRef fn = LLVMGetNamedFunction(e->mod, "after_step");
  if (fn) return fn;
  LLVMTypeRef p[4] = {e->ptr, e->i64, e->i64, e->i1}, nothing = LLVMVoidTypeInContext(e->ctx);
  fn = LLVMAddFunction(e->mod, "after_step", LLVMFunctionType(nothing, p, 4, 0));
  LLVMSetLinkage(fn, LLVMInternalLinkage);
  control_attributes(f->be, fn);
  LLVMBasicBlockRef caller = LLVMGetInsertBlock(e->b);
  Function inner = {.be = f->be, .fn = fn, .frame = LLVMGetParam(fn, 0), .tid = LLVMGetParam(fn, 1)};
  LLVMBasicBlockRef entry = block(&inner, "entry"), on = block(&inner, "on"), meet = block(&inner, "meet"),
                    look = block(&inner, "look"), off = block(&inner, "off");
  LLVMPositionBuilderAtEnd(e->b, entry);
  LLVMValueRef check = LLVMBuildICmp(e->b, LLVMIntNE, FIELD(&inner, check, e->i64), em_i64(e, 0), "check");
  LLVMBuildCondBr(e->b, check, on, off);
  LLVMPositionBuilderAtEnd(e->b, on);
  LLVMBuildCondBr(e->b, LLVMGetParam(fn, 3), look, meet);
  LLVMPositionBuilderAtEnd(e->b, meet);
  call_barrier(&inner);
  LLVMBuildBr(e->b, look);
  LLVMPositionBuilderAtEnd(e->b, look);
  LLVMTypeRef type = LLVMFunctionType(nothing, p, 3, 0);
  LLVMValueRef args[3] = {inner.frame, inner.tid, LLVMGetParam(fn, 2)};
  LLVMBuildCall2(e->b, type, FIELD(&inner, check_step, e->ptr), args, 3, "");
  call_barrier(&inner);
  LLVMBuildBr(e->b, off);
  LLVMPositionBuilderAtEnd(e->b, off);
  LLVMBuildRetVoid(e->b);
  LLVMPositionBuilderAtEnd(e->b, caller);
  return fn;
}

/* ---- STEP_CHECK
 * -------------------------------------------------------------------------------------------------------- */

static LLVMValueRef load_loss(Function *f, uint32_t root) {
  Emit *e = &f->be->e;
  const Buffer *b = &f->pf->buffers[f->pf->root_buffer[root]];
  LLVMValueRef base = b->space == SPACE_STORE ? f->store : f->work;
  LLVMTypeRef type = type_in_memory(e, b->dtype);
  LLVMValueRef v;
  if (b->space == SPACE_CONST)
    v = LLVMBuildLoad2(e->b, type, emit_const_global(f->be, f->pf->graph, b->value, b->strides), "loss");
  else v = LLVMBuildLoad2(e->b, type, byte_at(f, base, b->offset), "loss");
  return b->dtype == DT_F64 ? v : LLVMBuildFPExt(e->b, v, e->f64, "loss");
}

/* Thread 0: losses and their sums, or bad_step. The sums are those of steps whose losses are all finite. */
static void read_losses(Function *f) {
  Emit *e = &f->be->e;
  const Graph *g = f->pf->graph;
  LLVMValueRef losses = FIELD(f, losses, e->ptr), sums = FIELD(f, loss_sums, e->ptr);
  LLVMValueRef finite = LLVMConstInt(e->i1, 1, 0), *loss = ARENA_NEWS(e->arena, LLVMValueRef, g->n_roots);
  for (uint32_t i = 0; i < g->n_roots; i++) {
    if (g->roots[i].kind != ROOT_LOSS) continue;
    loss[i] = load_loss(f, i);
    LLVMBuildStore(e->b, loss[i], em_gep(e, e->f64, losses, em_i64(e, g->roots[i].a)));
    LLVMValueRef zero = LLVMBuildFSub(e->b, loss[i], loss[i], ""); /* NaN if loss is not finite */
    finite = LLVMBuildAnd(e->b, finite, LLVMBuildFCmp(e->b, LLVMRealORD, zero, zero, ""), "finite");
  }
  LLVMBasicBlockRef add = block(f, "add_up"), bad = block(f, "bad"), done = block(f, "checked");
  LLVMBuildCondBr(e->b, finite, add, bad);
  LLVMPositionBuilderAtEnd(e->b, add);
  for (uint32_t i = 0; i < g->n_roots; i++) {
    if (g->roots[i].kind != ROOT_LOSS) continue;
    LLVMValueRef p = em_gep(e, e->f64, sums, em_i64(e, g->roots[i].a));
    LLVMBuildStore(e->b, LLVMBuildFAdd(e->b, LLVMBuildLoad2(e->b, e->f64, p, ""), loss[i], "sum"), p);
  }
  LLVMBuildBr(e->b, done);
  LLVMPositionBuilderAtEnd(e->b, bad);
  LLVMBuildStore(e->b, f->step_no, byte_at(f, f->frame, offsetof(JobFrame, bad_step)));
  LLVMBuildBr(e->b, done);
  LLVMPositionBuilderAtEnd(e->b, done);
}

static void emit_check(Function *f) {
  Emit *e = &f->be->e;
  LLVMBasicBlockRef first = block(f, "losses"), others = block(f, "others");
  LLVMBuildCondBr(e->b, LLVMBuildICmp(e->b, LLVMIntEQ, f->tid, em_i64(e, 0), ""), first, others);
  LLVMPositionBuilderAtEnd(e->b, first);
  read_losses(f);
  LLVMBuildBr(e->b, others);
  LLVMPositionBuilderAtEnd(e->b, others);
  f->checked = true;
}

/* Behind the barrier of the wave that had the check. */
static void leave_if_bad(Function *f) {
  Emit *e = &f->be->e;
  LLVMBasicBlockRef go_on = block(f, "finite");
  f->checked = false;
  LLVMValueRef bad = LLVMBuildICmp(e->b, LLVMIntSGE, FIELD(f, bad_step, e->i64), em_i64(e, 0), "stop");
  LLVMBuildCondBr(e->b, bad, f->leave, go_on);
  LLVMPositionBuilderAtEnd(e->b, go_on);
}

/* Behind plan step i: the barrier it asked for, and the look. */
static void after_step(Function *f, const Step *step, uint32_t i) {
  Emit *e = &f->be->e;
  if (f->be->options->profile) call_mark(f, i, false, step_products(f, step));
  if (step->barrier) call_barrier(f), call_mark(f, i, true, NULL);
  if (step->barrier && f->checked) leave_if_bad(f);
  LLVMValueRef fn = look_function(f);
  LLVMValueRef args[4] = {f->frame, f->tid, em_i64(e, i), LLVMConstInt(e->i1, step->barrier, 0)};
  LLVMBuildCall2(e->b, LLVMGlobalGetValueType(fn), fn, args, 4, "");
}

static void function_fields(Function *f) {
  Emit *e = &f->be->e;
  f->store = FIELD(f, store, e->ptr), f->work = FIELD(f, work, e->ptr);
  f->scalars = FIELD(f, scalars, e->ptr), f->columns = FIELD(f, columns, e->ptr);
}

/* ---- STEP_CALL: a plugin's function, by every thread ---- */
static LLVMValueRef view_address(Function *f, const View *v) {
  const Buffer *b = &f->pf->buffers[v->buffer];
  const int64_t size = (int64_t)dtype_size(b->dtype);
  Leaf l = {.set = v->set, .row_bytes = v->set_stride * size};
  if (b->space != SPACE_WORK && b->space != SPACE_STORE) {
    fprintf(stderr, "routec: internal error: %s: a call's argument is neither in work nor in store\n", f->pf->symbol);
    abort();
  }
  return behind_set(f, &l, byte_at(f, b->space == SPACE_STORE ? f->store : f->work, b->offset + v->start * size));
}

/* Arguments, and an address for the value or for each input's gradient. */
static uint32_t call_addresses(const PlanFn *pf, const Step *s) {
  const Value *v = &pf->graph->v[s->outs[0].value];
  if (s->kind == STEP_MAP) return s->n_calls ? 3 * s->n_calls + 2 : 0;
  return s->n_args + (ir_call_is_gradient(v) ? ir_call_inputs(pf->graph, v) : 1);
}

static uint32_t most_addresses(const PlanFn *pf) {
  uint32_t most = 0;
  for (uint32_t i = 0; i < pf->n_steps; i++)
    if ((pf->steps[i].kind == STEP_CALL || pf->steps[i].n_calls) && call_addresses(pf, &pf->steps[i]) > most)
      most = call_addresses(pf, &pf->steps[i]);
  return most;
}

/* Rows of the batch, or of the row set that the first input is of. */
static LLVMValueRef call_rows(Function *f, const Step *s) {
  const Shape *x = &f->pf->graph->v[f->pf->graph->v[s->outs[0].value].args[0]].shape;
  return rows_of_set(f, x->rank && dim_is_rows(x->d[0]) ? dim_set(x->d[0]) : 0);
}

static void call_frame(Function *f, uint32_t call_step, LLVMValueRef rows, LLVMValueRef *at, uint32_t n) {
  Emit *e = &f->be->e;
  for (uint32_t i = 0; i < n; i++) LLVMBuildStore(e->b, at[i], em_gep(e, e->ptr, f->at, em_i64(e, i)));
  LLVMTypeRef p[6] = {e->ptr, e->i64, e->i64, e->i64, e->i64, e->ptr};
  LLVMTypeRef type = LLVMFunctionType(LLVMVoidTypeInContext(e->ctx), p, 6, 0);
  LLVMValueRef args[6] = {f->frame, f->tid, em_i64(e, call_step), rows, f->step_no, f->at};
  LLVMBuildCall2(e->b, type, FIELD(f, call, e->ptr), args, 6, "");
}

static void emit_call(Function *f, const Step *s) {
  Emit *e = &f->be->e;
  const Graph *g = f->pf->graph;
  const bool gradient = ir_call_is_gradient(&g->v[s->outs[0].value]);
  const uint32_t n = call_addresses(f->pf, s);
  LLVMValueRef *at = ARENA_NEWS(e->arena, LLVMValueRef, n);
  for (uint32_t i = 0; i < n; i++) at[i] = i < s->n_args ? view_address(f, &s->args[i]) : LLVMConstNull(e->ptr);
  for (uint32_t i = 0; i < s->n_outs; i++) {
    const uint32_t k = gradient ? (uint32_t)g->v[s->outs[i].value].ints[1] - 1 : 0;
    at[s->n_args + k] = view_address(f, &(View){.buffer = s->outs[i].buffer});
  }
  call_frame(f, s->call_step, call_rows(f, s), at, n);
}

/* ---- STEP_MAP with calls of plugins: the runtime has tiles' gradients computed and calls the map for each ---- */
enum { CTX_FRAME, CTX_ROWS, CTX_STEP, CTX_ORDER, CTX_SETS, CTX_COUNT };

/* void (ctx, tile, gradients): the kernel on one tile. */
static LLVMValueRef tile_function(Function *f, const Step *s, int64_t scratch_offset) {
  Emit *e = &f->be->e;
  LLVMTypeRef p[3] = {e->ptr, e->i64, e->ptr};
  LLVMValueRef fn = LLVMAddFunction(e->mod, "tile", LLVMFunctionType(LLVMVoidTypeInContext(e->ctx), p, 3, 0)), ctx = LLVMGetParam(fn, 0);
  LLVMSetLinkage(fn, LLVMInternalLinkage);
  types_fn_attributes(e, fn, f->be->options->sanitize);
  LLVMBasicBlockRef caller = LLVMGetInsertBlock(e->b);
  LLVMValueRef outer = e->fn, from[CTX_COUNT];
  e->fn = fn;
  LLVMPositionBuilderAtEnd(e->b, LLVMAppendBasicBlockInContext(e->ctx, fn, "entry"));
  for (uint32_t i = 0; i < CTX_COUNT; i++)
    from[i] = LLVMBuildLoad2(e->b, i == CTX_ROWS || i == CTX_STEP ? e->i64 : e->ptr, em_gep(e, e->i64, ctx, em_i64(e, i)), "");
  Function inner = {.be = f->be, .pf = f->pf, .fn = fn, .frame = from[CTX_FRAME], .rows = from[CTX_ROWS], .step_no = from[CTX_STEP],
                    .order = from[CTX_ORDER], .sets = from[CTX_SETS], .tid = LLVMGetParam(fn, 1), .nt = em_i64(e, 1),
                    .tiles = LLVMGetParam(fn, 2)};
  function_fields(&inner);
  call_kernel(&inner, s, scratch_offset);
  LLVMBuildRetVoid(e->b);
  e->fn = outer;
  LLVMPositionBuilderAtEnd(e->b, caller);
  return fn;
}

static void emit_tiles(Function *f, const Step *s, int64_t scratch_offset) {
  Emit *e = &f->be->e;
  LLVMValueRef from[CTX_COUNT] = {f->frame, f->rows, f->step_no, f->order, f->sets}, at[3 * JOB_TILE_CALLS + 2];
  for (uint32_t i = 0; i < CTX_COUNT; i++) LLVMBuildStore(e->b, from[i], em_gep(e, e->i64, f->ctx, em_i64(e, i)));
  for (uint32_t i = 0; i < s->n_calls; i++)
    for (uint32_t k = 0; k < 3; k++) at[3 * i + k] = view_address(f, &s->calls[i].args[k]);
  at[3 * s->n_calls] = tile_function(f, s, scratch_offset), at[3 * s->n_calls + 1] = f->ctx;
  call_frame(f, s->calls[0].call_step, f->rows, at, 3 * s->n_calls + 2);
}

/* ---- the loop
 * ------------------------------------------------------------------------------------------------------------
 */

static void function_begin(Function *f) {
  Emit *e = &f->be->e;
  LLVMTypeRef p[2] = {e->ptr, e->i64};
  f->fn = LLVMAddFunction(e->mod, f->pf->symbol, LLVMFunctionType(LLVMVoidTypeInContext(e->ctx), p, 2, 0));
  control_attributes(f->be, f->fn);
  e->fn = f->fn;
  f->frame = LLVMGetParam(f->fn, 0), f->tid = LLVMGetParam(f->fn, 1);
  LLVMSetValueName2(f->frame, "frame", 5);
  LLVMSetValueName2(f->tid, "tid", 3);
  LLVMPositionBuilderAtEnd(e->b, block(f, "entry"));
  f->nt = FIELD(f, n_threads, e->i64);
  function_fields(f);
  f->leave = block(f, "leave");
  const uint32_t n = most_addresses(f->pf);
  if (n) f->at = LLVMBuildAlloca(e->b, LLVMArrayType(e->ptr, n), "addresses");
  if (n) f->ctx = LLVMBuildAlloca(e->b, LLVMArrayType(e->i64, CTX_COUNT), "ctx");
}

/* Rows, order and number of step s of the block. */
static void step_begin(Function *f, LLVMValueRef s) {
  Emit *e = &f->be->e;
  LLVMValueRef at = em_gep(e, e->i64, FIELD(f, starts, e->ptr), s);
  LLVMValueRef first = LLVMBuildLoad2(e->b, e->i64, at, "first_row");
  LLVMValueRef past = LLVMBuildLoad2(e->b, e->i64, em_gep(e, e->i64, at, em_i64(e, 1)), "past");
  f->rows = LLVMBuildNSWSub(e->b, past, first, "rows");
  f->order = em_gep(e, e->i32, FIELD(f, order, e->ptr), first);
  f->index = s;
  f->step_no = LLVMBuildNSWAdd(e->b, FIELD(f, step, e->i64), s, "step");
  LLVMValueRef skip = LLVMBuildNSWMul(e->b, s, em_i64(e, 2 * (int64_t)f->pf->n_sets), "");
  f->sets = f->pf->n_sets ? em_gep(e, e->i64, FIELD(f, sets, e->ptr), skip) : LLVMConstNull(e->ptr);
}

void function_emit(Backend *be, const PlanFn *pf) {
  Function f = {.be = be, .pf = pf};
  Emit *e = &be->e;
  uint32_t n = pf->graph->n;
  be->globals = ARENA_NEWS(e->arena, LLVMValueRef, n);
  be->inlined = ARENA_NEWS(e->arena, bool, n);
  be->number = ARENA_NEWS(e->arena, uint32_t, n);
  be->numbered = ARENA_NEWS(e->arena, ValueId, n);
  be->memo_head = ARENA_NEWS(e->arena, int32_t, n);
  memset(be->memo_head, -1, n * sizeof *be->memo_head);
  function_begin(&f);
  EmLoop l = em_loop_begin(e, "s", em_i64(e, 0), FIELD(&f, n_steps, e->i64), 1);
  step_begin(&f, l.i);
  call_mark(&f, -1, true, NULL);
  int64_t scratch = plan_counts_bytes(pf);
  bool met = false; /* whether all threads met behind the last step */
  for (uint32_t i = 0; i < pf->n_steps; i++) {
    const Step *s = &pf->steps[i];
    if (s->kind == STEP_CHECK) emit_check(&f);
    else if (s->kind == STEP_CALL) emit_call(&f, s);
    else if (s->n_calls) emit_tiles(&f, s, scratch);
    else call_kernel(&f, s, scratch);
    scratch += plan_step_scratch(pf, s);
    after_step(&f, s, i);
    met = s->barrier;
  }
  if (!met && pf->n_steps) call_barrier(&f), call_mark(&f, pf->n_steps - 1, true, NULL); /* the next step overwrites what others may still read */
  em_loop_end(e, &l);
  LLVMBuildBr(e->b, f.leave);
  LLVMPositionBuilderAtEnd(e->b, f.leave);
  LLVMBuildRetVoid(e->b);
}
