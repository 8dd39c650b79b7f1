/* SPDX-License-Identifier: Apache-2.0
 * derive.c -- columns that are computed from others when the data are there: conditions, filters, drawn
 * labels; and the census of classes that comes of them. */
#include "draw.h"
#include "run.h"
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* ---- one column of one part
 * ------------------------------------------------------------------------------------ */
static bool column_compute(Run *r, const JobDerived *d, const DataPart *part, uint8_t *work, int32_t *out) {
  JobFrame f;
  const int64_t most = d->fn.max_rows;
  int32_t *order = malloc((size_t)(most + 16) * sizeof *order);
  double *scratch = calloc(2 * (size_t)r->job->n_origins + 16, sizeof *scratch);
  if (!order || !scratch)
    return free(order), free(scratch), rt_fail(&r->error, RT_E0719, (long long)most * 4, d->name);
  frame_setup(r, &f, part, work);
  f.losses = scratch, f.loss_sums = scratch + r->job->n_origins + 8;
  f.order = order, f.n_steps = 1, f.step = 0;
  for (int64_t first = 0; first < part->rows; first += most) {
    const int64_t rows = part->rows - first < most ? part->rows - first : most, starts[2] = {0, rows};
    for (int64_t i = 0; i < rows; i++) order[i] = (int32_t)(first + i);
    f.starts = starts;
    pool_run(r->pool, d->fn.entry, &f);
    for (int64_t i = 0; i < rows; i++) out[first + i] = (int32_t)output_get(work, &d->out, i, 0);
  }
  free(order), free(scratch);
  return true;
}

static double share_value(const Run *r, JobShare s) {
  return s.scalar >= 0 ? r->job->scalars[s.scalar].value : s.value;
}

/* Draws of the two parts are independent; so are those of two classes, unless both name the same seed. */
static uint64_t draw_seed(const Run *r, const JobDerived *d, const DataPart *part) {
  const uint64_t seed = d->has_seed ? d->seed : XXH64(d->name, strlen(d->name), r->seed);
  return XXH64(part->name, strlen(part->name), seed);
}

static bool column_check(Run *r, const JobDerived *d, const DataPart *part, const int32_t *bad) {
  for (int64_t i = 0; i < part->rows; i++)
    if (bad[i])
      return rt_fail_at(&r->error, &d->span, RT_E0745, d->name, (long long)i, r->job->sources[d->source].name,
                        part->name);
  return true;
}

static bool column_draw(Run *r, const JobDerived *d, const DataPart *part, int32_t *label) {
  const DrawShares s = {share_value(r, d->recall), share_value(r, d->precision),
                        share_value(r, d->false_positives), share_value(r, d->no)};
  const uint64_t seed = draw_seed(r, d, part);
  switch (d->draw) {
  case JOB_DRAW_OBSERVE: return draw_observe(label, part->rows, &s, seed, d->name, &d->span, &r->error);
  case JOB_DRAW_RANDOM_LIKE: return draw_random_like(label, part->rows, seed, &r->error);
  case JOB_DRAW_CHECK: return column_check(r, d, part, label);
  case JOB_DRAW_NONE: break;
  }
  return true;
}

bool derive_columns(Run *r) {
  Slab work = {0};
  bool ok = true;
  for (uint32_t i = 0; ok && i < r->job->n_derived; i++) {
    const JobDerived *d = &r->job->derived[i];
    slab_free(&work);
    ok = slab_alloc(&work, d->fn.work_bytes, d->name, &r->error);
    for (uint32_t k = 0; ok && k < r->data.n_parts; k++) {
      DataPart *part = &r->data.parts[k];
      if (part->source != d->source) continue;
      Slab *to = &part->slabs[d->column];
      ok = slab_alloc(to, part->rows * 4, d->name, &r->error);
      int32_t *out = (int32_t *)(void *)to->bytes;
      ok = ok && column_compute(r, d, part, work.bytes, out) && column_draw(r, d, part, out);
      part->columns[d->column] = out;
    }
  }
  slab_free(&work);
  return ok;
}

/* ---- census
 * ---------------------------------------------------------------------------------------------------- */
typedef struct Count {
  int64_t n, common, of,
      all; /* data in the class; also in the class that it labels; in that class; trained on */
} Count;

static bool census_count(const Run *r, const DataPart *part, const JobClass *c, Count *out) {
  const Job *job = r->job;
  if (!job->kinds || !part) return false;
  const int32_t *kinds = part->columns[job->kinds - 1],
                *kept = job->train.filter ? part->columns[job->train.filter - 1] : NULL;
  *out = (Count){0, 0, 0, 0};
  for (int64_t i = 0; kinds && i < part->rows; i++) {
    if (kept && !kept[i]) continue;
    out->all++;
    const bool in = kinds[i] >> c->cond & 1, of = c->of >= 0 && kinds[i] >> job->classes[c->of].cond & 1;
    out->n += in, out->common += in && of, out->of += of;
  }
  return kinds != NULL;
}

json_t *census_json(const Run *r) {
  const DataPart *part = r->job->train.present ? data_part(&r->data, r->job->train.source, "train") : NULL;
  json_t *o = json_object();
  for (uint32_t i = 0; i < r->job->n_classes; i++) {
    const JobClass *c = &r->job->classes[i];
    Count n;
    if (!census_count(r, part, c, &n)) continue;
    json_t *x = json_pack("{s:I}", "data", (json_int_t)n.n);
    if (c->of >= 0) {
      json_object_set_new(x, "of", json_string(r->job->classes[c->of].name));
      json_object_set_new(x, "recall", n.of ? json_real((double)n.common / (double)n.of) : json_null());
      json_object_set_new(x, "precision", n.n ? json_real((double)n.common / (double)n.n) : json_null());
    }
    json_object_set_new(o, c->name, x);
  }
  return o;
}

void census_show(Run *r) {
  const DataPart *part = r->job->train.present ? data_part(&r->data, r->job->train.source, "train") : NULL;
  const char *between = "classes: ";
  for (uint32_t i = 0; i < r->job->n_classes; i++) {
    const JobClass *c = &r->job->classes[i];
    Count n;
    if (!census_count(r, part, c, &n)) continue;
    if (!n.n) run_warn(r, RT_W0757, c->name, r->job->sources[r->job->train.source].name, part->name);
    if (r->o->json || r->o->quiet) continue;
    printf("%s%s %lld (%.1f %%)", between, c->name, (long long)n.n, 100 * (double)n.n / (double)n.all);
    if (c->of >= 0 && n.n && n.of)
      printf(", as a label of %s recall %.4g and precision %.4g", r->job->classes[c->of].name,
             (double)n.common / (double)n.of, (double)n.common / (double)n.n);
    between = "; ";
  }
  if (*between == ';') printf("\n"), fflush(stdout);
}
