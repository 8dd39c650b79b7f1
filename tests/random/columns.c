/* SPDX-License-Identifier: Apache-2.0 */
#include "columns.h"
#include "run.h"

static double element(const void *p, JobDtype t, int64_t i) {
  switch (t) {
  case JOB_F32: return (double)((const float *)p)[i];
  case JOB_F64: return ((const double *)p)[i];
  case JOB_I32: return ((const int32_t *)p)[i];
  default: return ((const uint8_t *)p)[i];
  }
}

/* The part `train`, with everything that a run computes when it loads data; NULL: failed. */
static const DataPart *part_open(Run *r, Job *job, bool loaded, const RtOptions *o) {
  if (!run_open(r, job, o)) return NULL;
  const bool ok = loaded ? run_load(r) : data_open(&r->data, job, NULL, job->spec_path, &r->error);
  const DataPart *part = ok ? data_part(&r->data, job->train.source, "train") : NULL;
  if (!part) rt_error_print(&r->error, stderr, false, false);
  return part;
}

double **columns_read(Arena *a, Job *job, bool loaded, int64_t *rows) {
  Run r;
  const RtOptions o = {.threads = 1, .quiet = 1};
  const DataPart *part = part_open(&r, job, loaded, &o);
  double **out = part ? ARENA_NEWS(a, double *, job->n_columns + 1) : NULL;
  *rows = part ? part->rows : 0;
  for (uint32_t c = 0; part && c < job->n_columns; c++) {
    if (!part->columns[c]) continue;
    int64_t n = part->rows;
    for (int32_t i = 0; i < job->columns[c].rank; i++) n *= job->columns[c].dims[i];
    out[c] = ARENA_NEWS(a, double, n + 1);
    for (int64_t i = 0; i < n; i++) out[c][i] = element(part->columns[c], job->columns[c].dtype, i);
  }
  run_close(&r);
  return out;
}
