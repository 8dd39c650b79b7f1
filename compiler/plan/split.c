/* SPDX-License-Identifier: Apache-2.0
 * split.c -- how threads share a reduction whose result has few elements: into chunks of a size that depends on extents and
 * the batch planned for, never on the number of threads, with partial results behind the plan's part of the work slab. */
#include "plan.h"

#define SPLIT_CHUNKS   32   /* at most so many partial results */
#define SPLIT_UNITS    32   /* enough kept vectors (or elements) to feed the threads without splitting */
#define SPLIT_ELEMENTS 16384 /* smaller reductions, of a microsecond, are not worth a barrier */

static int vector_axis(const Step *s) { return s->order[s->space.rank - 1]; }
static bool is_reduced(const Step *s, int axis) { return s->reduced >> axis & 1; }

int64_t plan_max_extent(const PlanFn *f, int64_t d) { return dim_is_rows(d) ? f->max_rows : d; }

Split plan_reduce_split(const PlanFn *f, const Step *s) {
  Split none = {0}, r = {.kept = 1};
  int64_t total = 1, longest = 0;
  int va = vector_axis(s);
  bool vector = s->space.d[va] != 1, lanes_kept = vector && !is_reduced(s, va);
  for (uint32_t i = 0; i < s->n_outs; i++)
    if (f->graph->v[s->outs[i].value].op == OP_ARGMAX) return none;
  for (int i = 0; i < s->space.rank; i++) {
    int axis = s->order[i];
    int64_t d = plan_max_extent(f, s->space.d[axis]);
    total *= d;
    if (!is_reduced(s, axis)) {
      if (dim_is_rows(s->space.d[axis]) || r.kept > SPLIT_UNITS * PLAN_LANES) return none;
      r.kept *= axis == va && lanes_kept ? (d + PLAN_LANES - 1) / PLAN_LANES * PLAN_LANES : d;
    } else if (d > longest) {
      longest = d, r.axis = (uint8_t)axis;
    }
  }
  if (total < SPLIT_ELEMENTS || r.kept / (lanes_kept ? PLAN_LANES : 1) >= SPLIT_UNITS) return none;
  int64_t unit = r.axis == va ? PLAN_LANES : 1, units = (longest + unit - 1) / unit;
  r.chunk = (units + SPLIT_CHUNKS - 1) / SPLIT_CHUNKS * unit;
  r.n_chunks = (longest + r.chunk - 1) / r.chunk;
  return r.n_chunks < 2 ? none : r;
}

int64_t plan_step_scratch(const PlanFn *f, const Step *s) {
  if (s->kind != STEP_REDUCE || !s->space.rank) return 0;
  Split p = plan_reduce_split(f, s);
  return p.n_chunks ? ((int64_t)s->n_outs * p.n_chunks * p.kept * 8 + 63) / 64 * 64 : 0;
}

int64_t plan_counts_bytes(const PlanFn *f) { return f->packed ? 8 * IR_MAX_SETS : 0; }

int64_t plan_scratch_bytes(const PlanFn *f) {
  int64_t n = plan_counts_bytes(f);
  for (uint32_t i = 0; i < f->n_steps; i++) n += plan_step_scratch(f, &f->steps[i]);
  return n;
}

int64_t plan_work_bytes(const PlanFn *f) { return f->work_bytes + plan_scratch_bytes(f); }

int64_t plan_own_at(const PlanFn *f) { return (plan_work_bytes(f) + PLAN_PAGE - 1) / PLAN_PAGE * PLAN_PAGE; }
