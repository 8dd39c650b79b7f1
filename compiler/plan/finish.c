/* SPDX-License-Identifier: Apache-2.0
 * finish.c -- scheduled nodes as the plan's steps: loop orders, GEMM kernels, reasons.
 * requires: offsets   changes: the function's steps */
#include "plan_work.h"
#include "fault.h"
#include <string.h>

/* ---- loop order: the axis with stride 1 in the main buffer innermost -------------------------------- */

void plan_loop_order(const Shape *s, const int64_t *strides, uint8_t *order) {
  for (int i = 0; i < s->rank; i++) order[i] = (uint8_t)i;
  for (int i = 1; i < s->rank; i++)
    for (int j = i; j > 0; j--) {
      uint8_t a = order[j - 1], b = order[j];
      bool one_a = s->d[a] == 1, one_b = s->d[b] == 1; /* their strides mean nothing: outermost */
      if (one_a || (!one_b && strides[a] >= strides[b])) break;
      order[j - 1] = b, order[j] = a;
    }
}

/* The first buffer that a reduction's argument loads at its own index, or 0. */
static BufferId main_buffer(const Work *w, ValueId v, const Shape *space, int *budget) {
  const Value *u = &w->g->v[v];
  if (--*budget < 0 || !shape_equal(&u->shape, space)) return 0;
  if (w->fn->buffer_of[v]) return w->fn->buffer_of[v];
  if (op_class(u->op) != OPC_ELT) return 0;
  for (uint32_t i = 0; i < u->n_args; i++) {
    BufferId b = main_buffer(w, u->args[i], space, budget);
    if (b) return b;
  }
  return 0;
}

static void step_order(const Work *w, const Node *n, Step *s) {
  for (int i = 0; i < s->space.rank; i++) s->order[i] = (uint8_t)i;
  if (!n->n_outs) return;
  int budget = 100;
  BufferId b = n->outs[0].buffer;
  if (n->kind == STEP_REDUCE) b = main_buffer(w, w->g->v[n->outs[0].value].args[0], &n->space, &budget);
  if (n->kind == STEP_SCATTER || n->kind == STEP_PACK || !b) return;
  plan_loop_order(&s->space, w->fn->buffers[b].strides, s->order);
}

/* ---- reasons ---------------------------------------------------------------------------------------- */

static void finish_gemm(const Work *w, Step *s, const Node *n) {
  Arena *a = w->arena;
  s->a.buffer = w->fn->buffer_of[n->base[0]];
  s->b.buffer = w->fn->buffer_of[n->base[1]];
  const char *fused = "";
  bool stored = w->why[n->dot] != NULL;
  if (n->n_outs > 1 || !stored)
    fused = stored ? "; epilogue fused, the dot itself stored too"
                   : "; epilogue fused, the dot itself is not stored";
  bool update = false;
  for (uint32_t i = 0; i < n->n_outs; i++) update |= w->store_root[n->outs[i].value] != 0;
  s->reason = arena_printf(a, "%s%s%s%s", n->gemm_why, n->swapped ? "; operands swapped for the result's layout" : "", fused,
                           update ? "; optimizer's step where the sums end" : "");
}

static const char *reason_of(const Work *w, const Node *n) {
  if (n->kind == STEP_CHECK) return "no update is stored after a loss that is not finite";
  const char *why = w->why[n->outs[0].value];
  if (n->kind == STEP_CALL) return call_reason(w, n);
  if (n->n_outs == 1) return why;
  return arena_printf(w->arena, "%s; %u outputs in one pass", why, n->n_outs);
}

/* What can be told of the step before it has its place: what it stores and how it goes over its space. */
Step plan_step_of_node(const Work *w, const Node *n) {
  Step s = {.kind = n->kind, .outs = n->outs, .n_outs = n->n_outs, .space = n->space, .reduced = n->reduced, .dot = n->dot};
  s.geom = n->geom, s.swapped = n->swapped, s.a = n->a, s.b = n->b, s.impl = n->impl, s.tile = n->tile;
  s.n_calls = n->n_calls;
  step_order(w, n, &s);
  return s;
}

void plan_finish(Work *w) {
  PlanFn *f = w->fn;
  f->steps = ARENA_NEWS(w->arena, Step, w->n_order);
  f->n_steps = w->n_order;
  for (uint32_t i = 0; i < w->n_order; i++) {
    const Node *n = &w->nodes[w->schedule[i]];
    Step *s = &f->steps[i];
    *s = plan_step_of_node(w, n);
    s->wave = w->wave[i], s->follows = w->follows[i];
    s->outs = ARENA_NEWS(w->arena, StepOut, n->n_outs);
    if (n->n_outs)
      memcpy(s->outs, n->outs, n->n_outs * sizeof *s->outs), s->span = w->g->v[n->outs[0].value].span;
    if (n->kind == STEP_SCATTER) s->dot = n->outs[0].value;
    s->barrier = i + 1 == w->n_order || w->wave[i + 1] != w->wave[i];
    if (n->kind == STEP_CALL) call_finish(w, n, s);
    if (n->n_calls) s->reason = tile_finish(w, n, s);
    else if (n->kind == STEP_GEMM) finish_gemm(w, s, n);
    else s->reason = reason_of(w, n);
    if (fault("gemm-short") && s->kind == STEP_GEMM && !s->geom.k.rows && s->geom.k.n > 1) s->geom.k.n--;
    plan_cost(w, n, s);
  }
}
