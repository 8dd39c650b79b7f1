/* SPDX-License-Identifier: Apache-2.0
 * gradient.c -- the job's gradient function: the routed gradients of one batch, of all data or of one class. It reads
 * the run's store and stores nothing there, so whatever it is asked for, training goes on as if it had not been. */
#include "run.h"
#include "safetensors.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

bool gradient_run(Run *r, int64_t step, int32_t class) {
  const JobFunction *fn = &r->job->gradient.fn;
  if (!r->gradient_work.bytes && !slab_alloc(&r->gradient_work, fn->work_bytes, "gradients", &r->error)) return false;
  JobFrame f;
  if (!frame_at(r, &f, step)) return false;
  f.work = r->gradient_work.bytes;
  r->wide_scalars[r->job->n_scalars] = class; /* no other function reads it */
  pool_run(r->pool, fn->entry, &f);
  return true;
}

void gradient_read(const Run *r, uint32_t param, float *dense) {
  const JobParam *p = &r->job->params[param];
  const JobOutput *o = &r->job->gradient.grads[param];
  if (!o->name) {
    memset(dense, 0, (size_t)param_elements(p) * sizeof *dense);
    return;
  }
  JobParam lies = *p; /* the same logical shape, with the strides of the result */
  memcpy(lies.strides, o->strides, sizeof lies.strides);
  param_read(&lies, (const float *)(const void *)(r->gradient_work.bytes + o->offset), dense);
}

/* ---- routec grad --------------------------------------------------------------------------------------------- */
typedef struct Gradients {
  Run *r;
  const RtGrad *g;
  float **dense; /* [param] */
} Gradients;

static bool gradients_alloc(Gradients *x) {
  const Job *job = x->r->job;
  x->dense = calloc(job->n_params + 1, sizeof *x->dense);
  bool ok = x->dense != NULL;
  for (uint32_t i = 0; ok && i < job->n_params; i++) {
    x->dense[i] = calloc((size_t)param_elements(&job->params[i]) + 1, sizeof(float));
    ok = x->dense[i] != NULL;
  }
  return ok || rt_fail(&x->r->error, RT_E0719, 0LL, "gradients");
}

static void gradients_free(Gradients *x) {
  for (uint32_t i = 0; x->dense && i < x->r->job->n_params; i++) free(x->dense[i]);
  free(x->dense);
}

/* The oracle gets the parameters' values where it leaves the gradients. */
static bool gradients_ask(Gradients *x) {
  Run *r = x->r;
  JobFrame f;
  if (!frame_at(r, &f, x->g->batch)) return false;
  const Job *job = r->job;
  for (uint32_t i = 0; i < job->n_params; i++)
    param_read(&job->params[i], param_base(&job->params[i], r->store.bytes, -1), x->dense[i]);
  r->wide_scalars[job->n_scalars] = x->g->class;
  x->g->oracle(x->g->user, &f, r->frame_rows, x->dense);
  return true;
}

static bool gradients_compute(Gradients *x) {
  if (x->g->oracle) return gradients_ask(x);
  if (!gradient_run(x->r, x->g->batch, x->g->class)) return false;
  for (uint32_t i = 0; i < x->r->job->n_params; i++) gradient_read(x->r, i, x->dense[i]);
  return true;
}

static void gradients_fill(void *user, uint32_t tensor, float *out) {
  const Gradients *x = user;
  const Job *job = x->r->job;
  for (uint32_t i = 0; i < job->n_params; i++)
    if (job->params[i].trainable && tensor-- == 0)
      memcpy(out, x->dense[i], (size_t)param_elements(&job->params[i]) * sizeof *out);
}

static bool gradients_write(const Gradients *x) {
  const Job *job = x->r->job;
  StOut *out = calloc(job->n_params + 1, sizeof *out);
  uint32_t n = 0;
  int64_t most = 1;
  for (uint32_t i = 0; out && i < job->n_params; i++) {
    const JobParam *p = &job->params[i];
    if (p->trainable) out[n++] = (StOut){.name = p->path, .rank = p->rank, .dims = p->dims};
    if (param_elements(p) > most) most = param_elements(p);
  }
  float *scratch = malloc((size_t)most * sizeof *scratch);
  json_t *meta = json_pack("{s:s,s:s,s:o,s:o}", "what", x->g->what, "spec", job->title, "batch",
                           json_sprintf("%lld", (long long)x->g->batch), "rows",
                           json_sprintf("%lld", (long long)x->r->frame_rows));
  bool ok = out && scratch
                ? st_write(x->g->output, out, n, gradients_fill, (void *)(uintptr_t)x, scratch, meta, &x->r->error)
                : rt_fail(&x->r->error, RT_E0719, (long long)most * 4, "gradients");
  json_decref(meta);
  free(out), free(scratch);
  return ok;
}

static void shape_text(const JobParam *p, char *out, size_t cap) {
  size_t n = (size_t)snprintf(out, cap, "[");
  for (int32_t i = 0; i < p->rank && n < cap; i++)
    n += (size_t)snprintf(out + n, cap - n, "%s%lld", i ? ", " : "", (long long)p->dims[i]);
  if (n < cap) snprintf(out + n, cap - n, "]");
}

static void gradients_tell(const Gradients *x) {
  const Run *r = x->r;
  const Job *job = r->job;
  json_t *table = r->o->json ? json_object() : NULL;
  int width = 9;
  for (uint32_t i = 0; i < job->n_params; i++)
    if ((int)strlen(job->params[i].path) > width) width = (int)strlen(job->params[i].path);
  if (!table)
    printf("%s, batch %lld (%lld rows)\n  %-*s  %14s  %10s  %10s\n", x->g->what, (long long)x->g->batch,
           (long long)r->frame_rows, width, "parameter", "shape", "norm", "largest");
  for (uint32_t i = 0; i < job->n_params; i++) {
    const JobParam *p = &job->params[i];
    double square = 0, largest = 0;
    if (!p->trainable) continue;
    for (int64_t k = 0, n = param_elements(p); k < n; k++) {
      const double v = (double)x->dense[i][k];
      square += v * v;
      if (!(fabs(v) <= largest)) largest = fabs(v);
    }
    char shape[160];
    shape_text(p, shape, sizeof shape);
    if (table)
      json_object_set_new(table, p->path,
                          json_pack("{s:o,s:o}", "norm", json_number(sqrt(square)), "largest", json_number(largest)));
    else printf("  %-*s  %14s  %10.4g  %10.4g\n", width, p->path, shape, sqrt(square), largest);
  }
  if (table)
    json_print(json_pack("{s:s,s:s,s:I,s:I,s:o}", "event", "gradient", "what", x->g->what, "batch",
                         (json_int_t)x->g->batch, "rows", (json_int_t)r->frame_rows, "parameters", table));
  else if (x->g->output) printf("written to %s\n", x->g->output);
}

static bool grad_begin(Run *r) {
  char extra[256] = "";
  if (!run_load(r)) return false;
  const char *from = r->o->checkpoint ? r->o->checkpoint : NULL;
  if (from) {
    if (!checkpoint_load_params(r, from)) return false;
  } else if (r->init_path) {
    if (!params_load(r->job, r->init_path, r->store.bytes, extra, sizeof extra, &r->error)) return false;
    if (*extra) run_warn(r, RT_W0754, r->init_path, extra);
  } else run_initial_values(r);
  run_scalars(r);
  return run_calls(r) && frame_begin(r);
}

int rt_grad(Job *job, const RtOptions *o, const RtGrad *g) {
  Run r;
  Gradients x = {.r = &r, .g = g};
  signals_catch();
  bool ok = run_open(&r, job, o) && grad_begin(&r) && gradients_alloc(&x) && gradients_compute(&x);
  if (ok && g->output) ok = gradients_write(&x);
  if (ok && o->quiet == 0) gradients_tell(&x);
  const int code = run_report(&r, ok ? RT_OK : RT_RUN_FAILED);
  gradients_free(&x);
  run_close(&r);
  signals_release();
  return code;
}
