/* SPDX-License-Identifier: Apache-2.0
 * memory.c -- lifetimes and offsets of the work slab.
 * A buffer lives from the first step of the wave that writes it to the last step of the wave that reads it
 * last: threads run through the steps of a wave without meeting. An element-wise step, or a product's epilogue, stores over what it reads
 * for the last time where nobody else has to do with that in its wave. requires: deps, buffers with bytes
 * changes: w->schedule, w->wave, w->follows; offset, first, last, over; the function's work_bytes */
#include "plan_work.h"
#include "fault.h"
#include <stdlib.h>
#include <string.h>

bool plan_may_overwrite(const Step *s, const Buffer *old, const Buffer *fresh) {
  const bool each = s->kind == STEP_MAP ? !s->n_calls : s->kind == STEP_GEMM && s->impl == GEMM_EMITTED && s->tile.whole;
  return each && old->space == SPACE_WORK && fresh->space == SPACE_WORK && old->dtype == fresh->dtype &&
         shape_equal(&old->shape, &fresh->shape) && shape_equal(&s->space, &fresh->shape) &&
         memcmp(old->strides, fresh->strides, (size_t)old->shape.rank * sizeof *old->strides) == 0;
}

static void lifetimes(Work *w) {
  PlanFn *f = w->fn;
  uint32_t n = w->n_order, *begin = ARENA_NEWS(w->scratch, uint32_t, n + 1),
           *end = ARENA_NEWS(w->scratch, uint32_t, n + 1);
  for (uint32_t i = 0; i < n; i++) begin[i] = i && w->wave[i] == w->wave[i - 1] ? begin[i - 1] : i;
  for (uint32_t i = n; i-- > 0;) end[i] = i + 1 < n && w->wave[i] == w->wave[i + 1] ? end[i + 1] : i;
  for (uint32_t i = 0; i < n; i++) {
    const Node *x = &w->nodes[w->schedule[i]];
    for (uint32_t k = 0; k < x->n_outs; k++) {
      Buffer *b = &f->buffers[x->outs[k].buffer];
      if (b->space == SPACE_WORK) b->first = begin[i], b->last = end[i];
    }
    for (uint32_t k = 0; k < x->n_reads; k++) {
      Buffer *b = &f->buffers[f->buffer_of[x->reads[k]]];
      if (b->space == SPACE_WORK) b->last = end[i];
    }
    for (uint32_t r = 0; x->kind == STEP_CHECK && r < w->g->n_roots; r++)
      if (w->g->roots[r].kind == ROOT_LOSS) f->buffers[f->root_buffer[r]].last = end[i];
  }
  for (uint32_t r = 0; r < w->g->n_roots; r++)
    if (f->buffers[f->root_buffer[r]].space == SPACE_WORK) f->buffers[f->root_buffer[r]].last = UINT32_MAX;
}

/* Steps by buffer: who stores it, who loads it last, and how many do in that wave. */
typedef struct Uses {
  uint32_t stored, last, n;
} Uses;

static Uses *uses_of(const Work *w) {
  const PlanFn *f = w->fn;
  Uses *of = ARENA_NEWS(w->scratch, Uses, f->n_buffers);
  for (uint32_t i = 0; i < w->n_order; i++) {
    const Node *x = &w->nodes[w->schedule[i]];
    for (uint32_t k = 0; k < x->n_outs; k++) of[x->outs[k].buffer].stored = i;
    for (uint32_t k = 0; k < x->n_reads; k++) {
      Uses *u = &of[f->buffer_of[x->reads[k]]];
      u->n = u->n && w->wave[u->last] == w->wave[i] ? u->n + 1 : 1;
      u->last = i;
    }
  }
  return of;
}

/* Whether step i may store `fresh` over what it reads as its k-th value. */
static bool frees_place(const Work *w, const Uses *of, uint32_t i, uint32_t k, const Step *s, const Buffer *fresh) {
  const Node *x = &w->nodes[w->schedule[i]];
  const BufferId id = w->fn->buffer_of[x->reads[k]];
  const Buffer *b = &w->fn->buffers[id];
  return !x->elsewhere[k] && plan_may_overwrite(s, b, fresh) && b->last != UINT32_MAX && of[id].last == i && of[id].n == 1 &&
         w->wave[of[id].stored] < w->wave[i];
}

static void overwrite(Work *w) {
  PlanFn *f = w->fn;
  const Uses *of = uses_of(w);
  bool *gone = ARENA_NEWS(w->scratch, bool, f->n_buffers);
  for (uint32_t i = 0; i < w->n_order; i++) {
    const Node *x = &w->nodes[w->schedule[i]];
    const Step s = {.kind = x->kind, .n_calls = x->n_calls, .impl = x->impl, .tile = x->tile, .space = x->space};
    for (uint32_t o = 0; o < x->n_outs; o++)
      for (uint32_t k = 0; k < x->n_reads; k++) {
        const BufferId old = f->buffer_of[x->reads[k]];
        if (gone[old] || !frees_place(w, of, i, k, &s, &f->buffers[x->outs[o].buffer])) continue;
        f->buffers[x->outs[o].buffer].over = old, gone[old] = true;
        break;
      }
  }
}

static int by_size(const void *a, const void *b, void *all) {
  const Buffer *sorting = all;
  BufferId x = *(const BufferId *)a, y = *(const BufferId *)b;
  int64_t p = sorting[x].bytes, q = sorting[y].bytes;
  if (p != q) return p < q ? 1 : -1;
  return x < y ? -1 : 1;
}
static int by_offset(const void *a, const void *b, void *all) {
  const Buffer *sorting = all;
  const Buffer *x = &sorting[*(const BufferId *)a], *y = &sorting[*(const BufferId *)b];
  return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static bool alive_together(const Buffer *a, const Buffer *b) {
  if (fault("overlap-buffers")) return a->first < b->last && b->first < a->last;
  return a->first <= b->last && b->first <= a->last;
}

/* The smallest gap between placed buffers alive at the same time, or the end. `near` is sorted by offset. */
static int64_t best_fit(const Buffer *all, const BufferId *near, uint32_t n, int64_t bytes) {
  int64_t at = 0, best = -1, best_gap = INT64_MAX;
  for (uint32_t i = 0; i < n; i++) {
    const Buffer *b = &all[near[i]];
    int64_t gap = b->offset - at;
    if (gap >= bytes && gap < best_gap) best = at, best_gap = gap;
    if (sat_add(b->offset, b->bytes) > at) at = sat_add(b->offset, b->bytes);
  }
  return best >= 0 ? best : at;
}

/* What lies in one place, as one buffer: `whole`[the first of them] with the life of all; [any] the first of them. */
static BufferId *places(const Work *w, Buffer *whole) {
  const PlanFn *f = w->fn;
  BufferId *first = ARENA_NEWS(w->scratch, BufferId, f->n_buffers);
  memcpy(whole, f->buffers, f->n_buffers * sizeof *whole);
  for (uint32_t i = 0; i < w->n_order; i++) {
    const Node *x = &w->nodes[w->schedule[i]];
    for (uint32_t k = 0; k < x->n_outs; k++) {
      const BufferId b = x->outs[k].buffer;
      first[b] = f->buffers[b].over ? first[f->buffers[b].over] : b;
      if (whole[first[b]].last < f->buffers[b].last) whole[first[b]].last = f->buffers[b].last;
    }
  }
  return first;
}

/* Largest first, each where it fits best. */
static void pack(Work *w) {
  PlanFn *f = w->fn;
  uint32_t n = 0, placed = 0;
  BufferId *ids = ARENA_NEWS(w->scratch, BufferId, f->n_buffers),
           *near = ARENA_NEWS(w->scratch, BufferId, f->n_buffers);
  Buffer *whole = ARENA_NEWS(w->scratch, Buffer, f->n_buffers);
  const BufferId *first = places(w, whole);
  f->work_bytes = f->work_unshared = 0;
  for (BufferId b = 1; b < f->n_buffers; b++) {
    if (f->buffers[b].space != SPACE_WORK) continue;
    f->work_unshared = sat_add(f->work_unshared, f->buffers[b].bytes);
    if (first[b] == b) ids[n++] = b;
  }
  qsort_r(ids, n, sizeof *ids, by_size, whole);
  int64_t top = 0;
  for (; placed < n; placed++) {
    Buffer *b = &whole[ids[placed]];
    uint32_t m = 0;
    for (uint32_t i = 0; w->options->reuse_memory && i < placed; i++)
      if (alive_together(b, &whole[ids[i]])) near[m++] = ids[i];
    qsort_r(near, m, sizeof *near, by_offset, whole);
    b->offset = w->options->reuse_memory ? best_fit(whole, near, m, b->bytes) : top;
    top = sat_add(top, b->bytes);
    if (sat_add(b->offset, b->bytes) > f->work_bytes) f->work_bytes = sat_add(b->offset, b->bytes);
  }
  for (BufferId b = 1; b < f->n_buffers; b++)
    if (f->buffers[b].space == SPACE_WORK) f->buffers[b].offset = whole[first[b]].offset;
}

static void memory(Work *w) {
  for (BufferId b = 1; b < w->fn->n_buffers; b++) w->fn->buffers[b].over = 0;
  lifetimes(w);
  if (w->options->reuse_memory) overwrite(w);
  pack(w);
}

/* More waves are worth it where they spare a large step's memory. */
void plan_place(Work *w) {
  w->apart = w->options->reuse_memory;
  plan_order(w);
  memory(w);
  if (!w->n_apart) return;
  const Work with = *w;
  const int64_t bytes = w->fn->work_bytes;
  w->apart = false;
  plan_order(w);
  memory(w);
  if (w->fn->work_bytes - bytes < PLAN_LARGE) return;
  w->schedule = with.schedule, w->wave = with.wave, w->follows = with.follows;
  memory(w);
}
