/* SPDX-License-Identifier: Apache-2.0
 * finite.c -- looking at the tensors of one step: the first that is not finite, and the largest magnitude of
 * each. */
#include "run.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A tensor is reported when it grew by more than this ratio, and beyond this magnitude. Measured on split
 * autoencoders of the 8x8 digits, 200 epochs: values and gradients of healthy runs grow at most 20-fold;
 * without a penalty on the code it grows 6900-fold while the loss falls. */
#define GROWTH_RATIO 100.0
#define GROWTH_LEAST 100.0
#define LOSS_RISE    10.0

typedef struct Scan {
  double largest, bad;
  bool finite;
  int64_t index[JOB_MAX_RANK];
} Scan;

static void scan_row(Scan *s, JobDtype dtype, const uint8_t *p, int64_t n, int64_t stride, int64_t *at) {
  for (int64_t i = 0; i < n; i++) {
    double v = dtype == JOB_F32 ? (double)((const float *)(const void *)p)[i * stride]
                                : ((const double *)(const void *)p)[i * stride];
    if (!isfinite(v)) {
      s->finite = false, s->bad = v, *at = i;
      return;
    }
    if (fabs(v) > s->largest) s->largest = fabs(v);
  }
}

/* Stops at the first value that is not finite, in logical order. Integers are finite. */
static Scan scan_tensor(const uint8_t *base, JobDtype dtype, int32_t rank, const int64_t *dims,
                        const int64_t *strides, int64_t rows) {
  Scan s = {.finite = true};
  int64_t extent[JOB_MAX_RANK], outer = 1;
  if (dtype != JOB_F32 && dtype != JOB_F64) return s;
  for (int32_t i = 0; i < rank; i++) extent[i] = dims[i] < 0 ? rows : dims[i];
  for (int32_t i = 0; i + 1 < rank; i++) outer *= extent[i];
  int64_t inner = rank ? extent[rank - 1] : 1, stride = rank ? strides[rank - 1] : 1,
          size = dtype == JOB_F32 ? 4 : 8;
  for (int64_t o = 0; o < outer && s.finite; o++) {
    int64_t rest = o, offset = 0;
    for (int32_t i = rank - 2; i >= 0; i--) {
      s.index[i] = rest % extent[i];
      offset += s.index[i] * strides[i];
      rest /= extent[i];
    }
    scan_row(&s, dtype, base + offset * size, inner, stride, &s.index[rank ? rank - 1 : 0]);
  }
  return s;
}

static void place_print(char *out, size_t cap, const Scan *s, int32_t rank) {
  size_t n = (size_t)snprintf(out, cap, "%s", rank ? "[" : "its value");
  for (int32_t i = 0; i < rank && n < cap; i++)
    n += (size_t)snprintf(out + n, cap - n, "%s%lld", i ? ", " : "", (long long)s->index[i]);
  if (rank && n < cap) snprintf(out + n, cap - n, "]");
}

static void bad_report(Run *r, const JobSpan *span, int64_t step, const char *kind, const char *name,
                       const Scan *s, int32_t rank) {
  char value[32], place[160];
  snprintf(value, sizeof value, isnan(s->bad) ? "NaN" : s->bad > 0 ? "infinity" : "-infinity");
  place_print(place, sizeof place, s, rank);
  rt_fail_at(&r->error, span, RT_E0730, (long long)step, kind, name, value, place);
}

static void probe_look(Run *r, JobFrame *f, int64_t plan_step) {
  const JobFunction *fn = &r->job->train.fn;
  if (plan_step < 0 || plan_step >= fn->n_probes) return;
  const JobProbe *p = &fn->probes[plan_step];
  if (p->space < 0) return;
  Scan s = scan_tensor((p->space ? f->store : f->work) + p->offset, p->dtype, p->rank, p->dims, p->strides,
                       r->check_rows);
  if (r->check == CHECK_GROWTH) {
    double size = s.finite ? s.largest : INFINITY;
    if (!r->state.n_baseline) r->state.baseline[plan_step] = size;
    if (size > r->state.peak[plan_step]) r->state.peak[plan_step] = size;
  } else if (!s.finite && !r->found_bad) {
    r->found_bad = true;
    bad_report(r, &p->span, f->step, "value", p->name ? p->name : "?", &s, p->rank);
  }
}

/* Thread 0 looks while the others wait: the next step may reuse the memory. */
void check_step(JobFrame *f, int64_t tid, int64_t plan_step) {
  Run *r = f->host;
  if (tid == 0) probe_look(r, f, plan_step);
  pool_barrier(r->pool);
}

/* Runs the step `step` alone, on `store`, with a look at every plan step; sums and losses go to scratch. */
static bool step_repeat(Run *r, int64_t step, uint8_t *store) {
  JobFrame f;
  if (!frame_at(r, &f, step)) return false;
  f.store = store, f.check = 1;
  r->check = CHECK_FINITE;
  r->check_rows = r->frame_rows;
  pool_run(r->pool, r->job->train.fn.entry, &f);
  r->check = CHECK_NONE;
  return true;
}

/* The first parameter that is not finite, or state of one where they are asked for. */
static bool params_look(Run *r, int64_t step, bool states) {
  for (uint32_t i = 0; i < r->job->n_params; i++) {
    const JobParam *p = &r->job->params[i];
    for (int which = -1; which < (states ? (int)p->n_states : 0); which++) {
      Scan s = scan_tensor((const uint8_t *)param_base(p, r->store.bytes, which), JOB_F32, p->rank, p->dims,
                           p->strides, 0);
      if (s.finite) continue;
      bad_report(r, &p->span, step, which < 0 ? "parameter" : "optimizer state of", p->path, &s, p->rank);
      return true;
    }
  }
  return false;
}

void finite_explain(Run *r, int64_t bad_step) {
  r->found_bad = false;
  if (params_look(r, bad_step, true)) return;
  if (!step_repeat(r, bad_step, r->store.bytes)) return;
  if (!r->found_bad) rt_fail(&r->error, RT_E0731, (long long)bad_step);
}

bool params_finite(Run *r) { return !params_look(r, r->state.step, false); }

void growth_begin(Run *r, JobFrame *f) {
  r->check = CHECK_GROWTH, f->check = 1;
  r->check_rows = f->starts[1] - f->starts[0];
}

void growth_end(Run *r, JobFrame *f) {
  r->check = CHECK_NONE, f->check = 0;
  r->state.n_baseline = r->job->train.fn.n_probes;
}

/* The tensor that outgrew itself most, with its line. */
static void growth_tensor_report(Run *r) {
  const JobFunction *fn = &r->job->train.fn;
  const JobProbe *worst = NULL;
  double ratio = GROWTH_RATIO, from = 0, to = 0;
  for (uint32_t i = 0; i < fn->n_probes; i++) {
    double early = r->state.baseline[i], late = r->state.peak[i];
    if (early > 0 && late > GROWTH_LEAST && late > ratio * early)
      worst = &fn->probes[i], ratio = late / early, from = early, to = late;
  }
  RtError w = {0};
  if (!worst) return;
  rt_fail_at(&w, &worst->span, RT_W0750, "value", worst->name ? worst->name : "?", from, to);
  rt_error_print(&w, r->o->json ? stdout : stderr, r->o->json, r->o->color);
}

void growth_report(Run *r) {
  const RunState *s = &r->state;
  if (s->total_min > 0 && s->total_last > LOSS_RISE * s->total_min)
    run_warn(r, RT_W0751, s->total_min, s->total_last);
  if (s->n_baseline) growth_tensor_report(r);
}
