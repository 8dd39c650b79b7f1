/* SPDX-License-Identifier: Apache-2.0
 * memory.c -- lifetimes and offsets of the work slab.
 * A buffer lives from the first step of the wave that writes it to the last step of the wave that reads it
 * last: threads run through the steps of a wave without meeting. requires: w->schedule, w->wave, buffers with
 * bytes   changes: offset, first, last; the function's work_bytes */
#include "plan_work.h"
#include "fault.h"
#include <stdlib.h>
#include <string.h>

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

void plan_memory(Work *w) {
  PlanFn *f = w->fn;
  lifetimes(w);
  uint32_t n = 0, placed = 0;
  BufferId *ids = ARENA_NEWS(w->scratch, BufferId, f->n_buffers),
           *near = ARENA_NEWS(w->scratch, BufferId, f->n_buffers);
  for (BufferId b = 1; b < f->n_buffers; b++)
    if (f->buffers[b].space == SPACE_WORK) ids[n++] = b;
  qsort_r(ids, n, sizeof *ids, by_size, f->buffers);
  f->work_bytes = f->work_unshared = 0;
  for (; placed < n; placed++) {
    Buffer *b = &f->buffers[ids[placed]];
    uint32_t m = 0;
    if (w->options->reuse_memory) {
      for (uint32_t i = 0; i < placed; i++)
        if (alive_together(b, &f->buffers[ids[i]])) near[m++] = ids[i];
      qsort_r(near, m, sizeof *near, by_offset, f->buffers);
      b->offset = best_fit(f->buffers, near, m, b->bytes);
    } else b->offset = f->work_unshared;
    f->work_unshared = sat_add(f->work_unshared, b->bytes);
    if (sat_add(b->offset, b->bytes) > f->work_bytes) f->work_bytes = sat_add(b->offset, b->bytes);
  }
}
