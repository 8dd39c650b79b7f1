/* SPDX-License-Identifier: Apache-2.0 */
#include "columns.h"
#include "data.h"
#include "error.h"

static double element(const void *p, JobDtype t, int64_t i) {
  switch (t) {
  case JOB_F32: return (double)((const float *)p)[i];
  case JOB_F64: return ((const double *)p)[i];
  case JOB_I32: return ((const int32_t *)p)[i];
  default: return ((const uint8_t *)p)[i];
  }
}

double **columns_read(Arena *a, const Job *job, int64_t *rows) {
  Data d;
  RtError e = {0};
  double **out = NULL;
  const DataPart *part = NULL;
  if (data_open(&d, job, NULL, job->spec_path, &e)) part = data_part(&d, job->train.source, "train");
  if (!part) {
    rt_error_print(&e, stderr, false, false);
    data_close(&d);
    return NULL;
  }
  *rows = part->rows;
  out = ARENA_NEWS(a, double *, job->n_columns + 1);
  for (uint32_t c = 0; c < job->n_columns; c++) {
    if (!part->columns[c]) continue;
    int64_t n = part->rows;
    for (int32_t i = 0; i < job->columns[c].rank; i++) n *= job->columns[c].dims[i];
    out[c] = ARENA_NEWS(a, double, n + 1);
    for (int64_t i = 0; i < n; i++) out[c][i] = element(part->columns[c], job->columns[c].dtype, i);
  }
  data_close(&d);
  return out;
}
