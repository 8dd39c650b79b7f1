/* SPDX-License-Identifier: Apache-2.0
 * region.c -- sums over the entries of a region. A region is a union of pieces, and pieces may overlap: a row of a
 * matrix and a column of it share an entry, which counts once. */
#include "run.h"
#include <math.h>
#include <stdlib.h>

/* What of one parameter a region holds. */
typedef struct Members {
  bool all;
  uint8_t *in[JOB_MAX_RANK]; /* [axis][index], NULL: no piece along this axis */
  int64_t inner[JOB_MAX_RANK];
} Members;

static void members_mark(Members *m, const JobParam *p, const JobPiece *piece) {
  if (piece->axis < 0) {
    m->all = true;
    return;
  }
  uint8_t **in = &m->in[piece->axis];
  if (!*in) *in = calloc((size_t)p->dims[piece->axis], 1);
  if (!*in) fprintf(stderr, "runtime: out of memory for %lld bytes\n", (long long)p->dims[piece->axis]), abort();
  for (int64_t i = 0; i < piece->n; i++) (*in)[piece->index[i]] = 1;
}

/* False: nothing of it. */
static bool members_make(Members *m, const Job *job, uint32_t region, uint32_t param) {
  const JobRegion *r = &job->regions[region];
  const JobParam *p = &job->params[param];
  bool any = false;
  *m = (Members){0};
  for (uint32_t i = 0; i < r->n_pieces; i++)
    if (r->pieces[i].param == param) members_mark(m, p, &r->pieces[i]), any = true;
  int64_t inner = 1;
  for (int32_t i = p->rank; i-- > 0; inner *= p->dims[i]) m->inner[i] = inner;
  return any;
}

static void members_free(Members *m) {
  for (int i = 0; i < JOB_MAX_RANK; i++) free(m->in[i]);
}

/* Looks at the axes before `axes`. */
static bool members_have(const Members *m, const JobParam *p, int64_t entry, int32_t axes) {
  if (m->all) return true;
  for (int32_t i = 0; i < axes; i++)
    if (m->in[i] && m->in[i][entry / m->inner[i] % p->dims[i]]) return true;
  return false;
}

bool region_has(const Job *job, uint32_t region, uint32_t param, int64_t entry) {
  Members m;
  const bool has =
      members_make(&m, job, region, param) && members_have(&m, &job->params[param], entry, job->params[param].rank);
  members_free(&m);
  return has;
}

void region_add(RegionSum *s, const Job *job, uint32_t region, uint32_t param, const float *a, const float *b) {
  const JobParam *p = &job->params[param];
  Members m;
  if (!members_make(&m, job, region, param)) return;
  const int64_t n = param_elements(p), run = p->rank ? p->dims[p->rank - 1] : 1;
  const uint8_t *in = p->rank ? m.in[p->rank - 1] : NULL;
  for (int64_t at = 0; at < n; at += run) {
    const bool whole = members_have(&m, p, at, p->rank - 1);
    for (int64_t i = 0; i < run && (whole || in); i++) {
      if (!whole && !in[i]) continue;
      const double v = b ? (double)a[at + i] - (double)b[at + i] : (double)a[at + i];
      s->square += v * v;
      if (!(fabs(v) <= s->most)) s->most = fabs(v);
    }
  }
  members_free(&m);
}
