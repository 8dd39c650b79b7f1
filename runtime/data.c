/* SPDX-License-Identifier: Apache-2.0
 * data.c -- which parts are needed, the split by holdout, the order of an epoch. */
#include "data.h"
#include "data_read.h"
#include "rng.h"
#include <xxhash.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { STREAM_SHUFFLE = 0x53485546 /* "SHUF" */ };

void data_shuffle(int32_t *order, int64_t n, uint64_t seed, uint64_t epoch) {
  data_permute(order, n, seed, epoch, STREAM_SHUFFLE);
}

void data_permute(int32_t *order, int64_t n, uint64_t seed, uint64_t epoch, uint32_t stream) {
  const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
  for (int64_t i = 0; i < n; i++) order[i] = (int32_t)i;
  for (int64_t i = n - 1; i > 0; i--) {
    const uint32_t counter[4] = {(uint32_t)i, (uint32_t)epoch, (uint32_t)(epoch >> 32), stream};
    uint32_t w[4];
    rng_philox(counter, key, w);
    /* high word of (64 random bits) * (i + 1): bias below 2^-32 */
    uint64_t bound = (uint64_t)i + 1;
    int64_t j = (int64_t)(((uint64_t)w[0] * bound + ((uint64_t)w[1] * bound >> 32)) >> 32);
    int32_t t = order[i];
    order[i] = order[j], order[j] = t;
  }
}

const DataPart *data_part(const Data *d, uint32_t source, const char *name) {
  for (uint32_t i = 0; i < d->n_parts; i++)
    if (d->parts[i].source == source && !strcmp(d->parts[i].name, name)) return &d->parts[i];
  return NULL;
}

static void part_free(DataPart *p, uint32_t n_columns) {
  for (uint32_t i = 0; p->slabs && i < n_columns; i++) slab_free(&p->slabs[i]);
  free(p->columns), free(p->slabs);
  *p = (DataPart){0};
}

uint64_t data_hash(const Data *d) {
  uint64_t hash = 0;
  if (d->hash) return d->hash;
  for (uint32_t k = 0; k < d->n_parts; k++) {
    const DataPart *p = &d->parts[k];
    hash = XXH64(&p->rows, sizeof p->rows, XXH64(p->name, strlen(p->name), hash));
    for (uint32_t i = 0; i < d->job->n_columns; i++) {
      if (!p->columns[i] || d->job->columns[i].derived) continue; /* they follow from the others, seed and params */
      int64_t size = job_dtype_size(d->job->columns[i].dtype);
      for (int32_t r = 0; r < d->job->columns[i].rank; r++) size *= d->job->columns[i].dims[r];
      hash = XXH64(p->columns[i], (size_t)(p->rows * size), hash);
    }
  }
  return hash;
}

void data_close(Data *d) {
  for (uint32_t i = 0; i < d->n_parts; i++) part_free(&d->parts[i], d->job->n_columns);
  free(d->parts);
  *d = (Data){0};
}

static bool part_init(DataPart *p, const Job *job, uint32_t source, const char *name, RtError *e) {
  *p = (DataPart){.source = source};
  snprintf(p->name, sizeof p->name, "%s", name);
  p->columns = calloc(job->n_columns + 1, sizeof *p->columns);
  p->slabs = calloc(job->n_columns + 1, sizeof *p->slabs);
  return (p->columns && p->slabs) || rt_fail(e, RT_E0719, (long long)job->n_columns, "columns");
}

/* Reads the source (one part of it, if its reader has parts) and converts its columns. */
static bool part_read(Data *d, const Reader *reader, const char *name, const char *where,
                      const char *data_dir, const char *spec_path, DataPart *p, RtError *e) {
  const Job *job = d->job;
  const JobSource *s = &job->sources[p->source];
  RawArray *raw = calloc(job->n_columns + 1, sizeof *raw);
  if (!raw) return rt_fail(e, RT_E0719, (long long)job->n_columns, "columns");
  ReadRequest r = {job, s, p->source, name, data_dir, spec_path, raw, e};
  bool ok = reader->read(&r);
  const JobColumn *first = NULL;
  const JobSourceArg *rows = source_arg(s, "rows");
  p->rows = rows && rows->num >= 1 && rows->num < INT32_MAX ? (int64_t)rows->num : 1;
  for (uint32_t i = 0; ok && i < job->n_columns; i++) {
    const JobColumn *c = &job->columns[i];
    if (c->source != p->source || c->derived) continue;
    if (!first) first = c, p->rows = raw[i].dims[0];
    if (raw[i].dims[0] != p->rows)
      ok = rt_fail_at(e, &c->span, RT_E0714, c->name, (long long)raw[i].dims[0], first->name,
                      (long long)p->rows);
    ok = ok && column_convert(c, &raw[i], where, &p->slabs[i], &p->columns[i], e);
    if (ok) d->bytes += (int64_t)p->slabs[i].size;
  }
  for (uint32_t i = 0; i < job->n_columns; i++) raw_free(&raw[i]);
  free(raw);
  if (ok && (p->rows < 1 || p->rows > INT32_MAX))
    ok = rt_fail_at(e, &s->span, RT_E0718, s->name, name, (long long)p->rows,
                    p->rows < 1 ? "which is none" : "which is too many");
  return ok;
}

/* Rows `order[0 .. n)` of `from` copied to a part of their own. */
static bool part_gather(const Job *job, const DataPart *from, const int32_t *order, int64_t n,
                        const char *name, DataPart *to, RtError *e) {
  if (!part_init(to, job, from->source, name, e)) return false;
  to->rows = n;
  for (uint32_t i = 0; i < job->n_columns; i++) {
    const JobColumn *c = &job->columns[i];
    int64_t per_datum;
    if (c->source != from->source || c->derived) continue;
    if (!mem_product(c->dims, c->rank, &per_datum) ||
        !slab_alloc(&to->slabs[i], per_datum * n * job_dtype_size(c->dtype), c->name, e))
      return false;
    size_t bytes = (size_t)(per_datum * job_dtype_size(c->dtype));
    for (int64_t r = 0; r < n; r++)
      memcpy(to->slabs[i].bytes + (size_t)r * bytes,
             (const uint8_t *)from->columns[i] + (size_t)order[r] * bytes, bytes);
    to->columns[i] = to->slabs[i].bytes;
  }
  return true;
}

/* `holdout = 359` or a fraction below 1. */
static bool holdout_count(const JobSource *s, int64_t rows, int64_t *out, RtError *e) {
  const JobSourceArg *a = source_arg(s, "holdout");
  *out = 0;
  if (!a || (!a->text && a->num == 0)) return true;
  double n = a->num < 1 ? floor(a->num * (double)rows + 0.5) : a->num;
  if (a->text || !(n >= 1) || n != floor(n) || n > (double)(rows - 1)) {
    char why[160];
    snprintf(
        why, sizeof why,
        "`holdout = %g` must be a number of rows (or a fraction) that leaves some of the %lld to train on",
        a->num, (long long)rows);
    return rt_fail_at(e, &s->span, RT_E0711, s->name, why);
  }
  return *out = (int64_t)n, true;
}

/* The last `held` data of a seeded permutation become the part "test", the others "train". */
static bool source_split(Data *d, DataPart *all, int64_t held, RtError *e) {
  const JobSource *s = &d->job->sources[all->source];
  const JobSourceArg *a = source_arg(s, "holdout_seed");
  int32_t *order = malloc((size_t)all->rows * sizeof *order);
  if (!order) return rt_fail(e, RT_E0719, (long long)all->rows * 4, "a permutation");
  data_shuffle(order, all->rows, a && !a->text && a->num >= 0 ? (uint64_t)a->num : 1234, UINT64_MAX);
  DataPart *train = &d->parts[d->n_parts], *test = &d->parts[d->n_parts + 1];
  d->n_parts += 2;
  *train = *test = (DataPart){0};
  bool ok = part_gather(d->job, all, order, all->rows - held, "train", train, e) &&
            part_gather(d->job, all, order + (all->rows - held), held, "test", test, e);
  free(order);
  part_free(all, d->job->n_columns);
  return ok;
}

static bool source_uses(const Job *job, uint32_t source, const char *part) {
  if (job->train.present && job->train.source == source && !strcmp(part, "train")) return true;
  for (uint32_t i = 0; i < job->n_evals; i++)
    if (job->evals[i].source == source && !strcmp(job->evals[i].part, part)) return true;
  return false;
}

static bool source_open(Data *d, uint32_t source, const char *data_dir, const char *spec_path, RtError *e) {
  static const char *const names[] = {"train", "test"};
  const JobSource *s = &d->job->sources[source];
  const Reader *reader = reader_find(s->reader);
  if (!reader) return rt_fail_at(e, &s->span, RT_E0710, s->reader);
  if (!source_uses(d->job, source, "train") && !source_uses(d->job, source, "test")) return true;
  if (s->span.file)
    spec_path =
        s->span.file; /* a path is relative to the file it stands in, which may be one that was extended */
  if (reader->has_parts) {
    if (source_arg(s, "holdout"))
      return rt_fail_at(e, &s->span, RT_E0711, s->name,
                        "this reader has a test part of its own: drop `holdout`");
    for (int i = 0; i < 2; i++)
      if (source_uses(d->job, source, names[i])) {
        DataPart *p = &d->parts[d->n_parts++];
        if (!part_init(p, d->job, source, names[i], e) ||
            !part_read(d, reader, names[i], names[i], data_dir, spec_path, p, e))
          return false;
      }
    return true;
  }
  DataPart all;
  int64_t held = 0;
  bool ok = part_init(&all, d->job, source, "train", e) &&
            part_read(d, reader, "train", source_arg(s, "holdout") ? "the file" : "train", data_dir,
                      spec_path, &all, e) &&
            holdout_count(s, all.rows, &held, e);
  if (!ok) return part_free(&all, d->job->n_columns), false;
  if (held) return source_split(d, &all, held, e);
  d->parts[d->n_parts++] = all;
  return true;
}

bool data_open(Data *d, const Job *job, const char *data_dir, const char *spec_path, RtError *e) {
  *d = (Data){.job = job};
  d->parts = calloc(2 * (size_t)job->n_sources + 1, sizeof *d->parts);
  if (!d->parts) return rt_fail(e, RT_E0719, (long long)job->n_sources, "sources");
  bool ok = true;
  for (uint32_t i = 0; ok && i < job->n_sources; i++) ok = source_open(d, i, data_dir, spec_path, e);
  for (uint32_t i = 0; ok && i < job->n_evals; i++) {
    const JobEval *v = &job->evals[i];
    if (!data_part(d, v->source, v->part))
      ok = rt_fail_at(e, &v->span, RT_E0717, job->sources[v->source].name, v->part,
                      !strcmp(v->part, "test") ? "; give it one with `holdout = N`" : "");
  }
  if (!ok) data_close(d);
  return ok;
}
