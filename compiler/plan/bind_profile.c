/* SPDX-License-Identifier: Apache-2.0
 * bind_profile.c -- plan steps as a profile tells them: what, by which kernel, for which line, and what they cost by rows. */
#include "plan_work.h"
#include <inttypes.h>
#include <string.h>

_Static_assert((int)PHASE_FORWARD == (int)JOB_FORWARD && (int)PHASE_UPDATE == (int)JOB_UPDATE, "phases differ");

static const char *dim_text(Arena *a, int64_t d) {
  if (!dim_is_rows(d)) return arena_printf(a, "%" PRId64, d);
  return dim_set(d) ? arena_printf(a, "rows%" PRId64, dim_set(d)) : "rows";
}

static const char *shape_text(Arena *a, const Shape *s) {
  const char *text = s->rank ? "" : "1";
  for (int i = 0; i < s->rank; i++) text = arena_printf(a, "%s%s%s", text, i ? "x" : "", dim_text(a, s->d[i]));
  return text;
}

static const char *extent_text(Arena *a, Extent e) {
  if (!e.rows) return arena_printf(a, "%" PRId64, e.n);
  const char *rows = dim_text(a, dim_of_set(e.rows - 1));
  return e.n == 1 ? rows : arena_printf(a, "%" PRId64 "*%s", e.n, rows);
}

static const char *gemm_text(Arena *a, const GemmGeom *g) {
  const char *text = "";
  for (uint32_t i = 0; i < g->n_batch; i++) text = arena_printf(a, "%s%s of ", text, extent_text(a, g->batch[i]));
  return arena_printf(a, "%s%s x %s x %s", text, extent_text(a, g->m), extent_text(a, g->n), extent_text(a, g->k));
}

/* The name that a user gave, of the dot or of any result. */
static const char *step_name(const PlanFn *f, const Step *s) {
  const char *name = s->dot ? f->graph->v[s->dot].name : NULL;
  for (uint32_t i = 0; !name && i < s->n_outs; i++) name = f->graph->v[s->outs[i].value].name;
  return name;
}

static const char *step_text(Arena *a, const PlanFn *f, const Step *s) {
  static const char *const kinds[] = {"map", "reduce", "gemm", "scatter", "pack", "call", "check"};
  if (s->kind == STEP_CHECK) return "check of the losses";
  const char *text = s->kind == STEP_GEMM ? gemm_text(a, &s->geom) : shape_text(a, &s->space), *name = step_name(f, s);
  if (!name && s->kind != STEP_GEMM) name = op_name(f->graph->v[s->outs[0].value].op);
  return arena_printf(a, "%s %s%s%s", kinds[s->kind], text, name ? ", " : "", name ? name : "");
}

static const char *kernel_text(Arena *a, const Step *s) {
  if (s->kind == STEP_CALL) return "plugin";
  if (s->kind != STEP_GEMM) return s->n_outs > 1 ? arena_printf(a, "emitted, %u outputs", s->n_outs) : "emitted";
  if (s->impl == GEMM_BLAS) return "blas";
  const GemmTile *t = &s->tile;
  const bool a_packed = t->flip ? t->pack_b : t->pack_a, b_packed = t->flip ? t->pack_a : t->pack_b;
  return arena_printf(a, "emitted %dx%d%s%s%s", t->mr, t->nv, t->flip ? " of the transpose" : "", a_packed ? ", A packed" : "",
                      b_packed ? ", B packed" : "");
}

static JobStep job_step(Arena *a, const Program *p, const PlanFn *f, const Step *s) {
  JobCost *costs = ARENA_NEWS(a, JobCost, s->n_cost);
  for (uint32_t i = 0; i < s->n_cost; i++) {
    const CostTerm *t = &s->cost[i];
    costs[i] = (JobCost){.flops = t->flops, .products = t->products, .bytes = t->bytes, .n = t->n};
    memcpy(costs[i].sets, t->sets, sizeof costs[i].sets);
  }
  return (JobStep){.what = step_text(a, f, s),
                   .kernel = kernel_text(a, s),
                   .phase = (JobPhase)plan_step_phase(f, s),
                   .costs = costs,
                   .n_costs = s->n_cost,
                   .span = bind_span(p, s->span)};
}

/* As `routec plan` expects them. */
static double expected_products(const PlanFn *f) {
  double sum = 0;
  for (uint32_t i = 0; i < f->n_steps; i++)
    for (uint32_t k = 0; k < f->steps[i].n_cost; k++) {
      const CostTerm *t = &f->steps[i].cost[k];
      double n = t->products;
      for (uint32_t r = 0; r < t->n; r++) n *= (double)f->max_rows * (f->set_share ? f->set_share[t->sets[r]] : 1);
      sum += n;
    }
  return sum;
}

static void bind_function(Arena *a, const Program *p, const PlanFn *f, JobFunction *to) {
  if (!f->graph) return;
  JobStep *steps = ARENA_NEWS(a, JobStep, f->n_steps);
  for (uint32_t i = 0; i < f->n_steps; i++) steps[i] = job_step(a, p, f, &f->steps[i]);
  to->steps = steps, to->n_sets = f->n_sets, to->packed = f->packed, to->counts_at = f->work_bytes, to->set_share = f->set_share;
  to->products = expected_products(f);
}

void plan_bind_profile(Arena *a, Job *j, const Plan *plan) {
  bind_function(a, plan->program, &plan->train, &j->train.fn);
  for (uint32_t i = 0; i < j->n_evals; i++) bind_function(a, plan->program, &plan->evals[i], &j->evals[i].fn);
}
