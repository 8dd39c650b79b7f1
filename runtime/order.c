/* SPDX-License-Identifier: Apache-2.0
 * order.c -- the order of an epoch: shuffled data cut into batches; batches with a share of each class;
 * batches of one class each. Every shuffle is keyed by (seed, epoch, class, round), where a class that runs
 * out starts another round. */
#include "order.h"
#include <stdlib.h>
#include <string.h>

enum {
  STREAM_CLASS = INT32_MIN
}; /* above those of data.c: bit 31, then the round, then six bits: the class, or 63 for the order of batches
    */

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

int32_t *order_kept(const DataPart *part, uint32_t filter, int64_t *n) {
  int32_t *kept = mem_table((size_t)(part->rows + 16) * sizeof *kept); /* emitted code reads whole vectors */
  const int32_t *keep = filter ? part->columns[filter - 1] : NULL;
  *n = 0;
  for (int64_t i = 0; kept && i < part->rows; i++)
    if (!keep || keep[i] != 0) kept[(*n)++] = (int32_t)i;
  return kept;
}

void order_free(Order *o) {
  mem_table_free(o->data), mem_table_free(o->starts), mem_table_free(o->members), free(o->first), free(o->batches);
  *o = (Order){.epoch = -1};
}

/* ---- classes
 * ------------------------------------------------------------------------------------------------- */
/* Sorts members by class, each class in the order of the part. */
static bool classes_sort(Order *o, const JobTrain *t, const DataPart *part, int64_t n, RtError *e) {
  const int32_t *class = t->by ? part->columns[t->by - 1] : NULL;
  int32_t *sorted = mem_table((size_t)(n + 1) * sizeof *sorted);
  if (!sorted) return rt_fail(e, RT_E0719, (long long)n * 4, "the order of data");
  int64_t at = 0;
  for (uint32_t c = 0; c < o->n_classes; c++) {
    o->first[c] = at;
    for (int64_t i = 0; i < n; i++)
      if (!class || class[o->members[i]] == (int32_t)c) sorted[at++] = o->members[i];
  }
  o->first[o->n_classes] = at;
  mem_table_free(o->members);
  o->members = sorted;
  return true;
}

static bool classes_check(const Order *o, const Job *job, const DataPart *part, int64_t n, RtError *e) {
  const JobTrain *t = &job->train;
  const char *source = job->sources[t->source].name;
  for (uint32_t c = 0; c < t->n_classes; c++) {
    const bool wanted = !t->share || t->share[c] > 0;
    if (wanted && o->first[c + 1] == o->first[c])
      return rt_fail(e, RT_E0708, t->class_names[c], source, part->name);
  }
  if (o->first[o->n_classes] < n)
    return rt_fail(e, RT_E0709, (long long)(n - o->first[o->n_classes]), source, part->name);
  return true;
}

/* `total` things in proportion to the shares, as whole numbers of the same sum: the largest remainders are
 * rounded up. */
static void apportion(const double *share, uint32_t n, int64_t total, int64_t *out) {
  int64_t given = 0;
  for (uint32_t c = 0; c < n; c++) given += out[c] = (int64_t)(share[c] * (double)total + 1e-9);
  for (; given < total; given++) {
    uint32_t best = 0;
    for (uint32_t c = 1; c < n; c++)
      if (share[c] * (double)total - (double)out[c] > share[best] * (double)total - (double)out[best] + 1e-12)
        best = c;
    out[best]++;
  }
}

/* ---- how many batches
 * ------------------------------------------------------------------------------------------ */
static int64_t batches_of(const JobTrain *t, int64_t rows) {
  return t->drop_last ? rows / t->batch : (rows + t->batch - 1) / t->batch;
}

static bool batches_plan(Order *o, const Job *job, const DataPart *part, int64_t n, RtError *e) {
  const JobTrain *t = &job->train;
  const bool shared = t->share && t->batches != JOB_BATCH_PLAIN;
  o->steps = batches_of(t, n), o->rows = t->drop_last || shared ? o->steps * t->batch : n;
  if (t->batches == JOB_BATCH_SHARES) apportion(t->share, o->n_classes, t->batch, o->batches);
  else if (shared) apportion(t->share, o->n_classes, o->steps, o->batches);
  else if (t->batches == JOB_BATCH_HOMOGENEOUS) {
    o->steps = o->rows = 0;
    for (uint32_t c = 0; c < o->n_classes; c++) {
      const int64_t rows = o->first[c + 1] - o->first[c];
      o->steps += o->batches[c] = batches_of(t, rows);
      o->rows += t->drop_last ? o->batches[c] * t->batch : rows;
    }
  }
  for (uint32_t c = 0; shared && c < o->n_classes; c++)
    if (t->share[c] > 0 && !o->batches[c])
      return rt_fail(e, RT_E0744, t->class_names[c], t->share[c],
                     t->batches == JOB_BATCH_SHARES ? "a batch" : "an epoch",
                     (long long)(t->batches == JOB_BATCH_SHARES ? t->batch : o->steps));
  return o->steps > 0 || rt_fail_at(e, &job->sources[t->source].span, RT_E0718, job->sources[t->source].name,
                                    part->name, (long long)n, "less than one batch, and the rest is dropped");
}

bool order_plan(Order *o, const Job *job, const DataPart *part, RtError *e) {
  const JobTrain *t = &job->train;
  int64_t n;
  order_free(o);
  o->n_classes = t->n_classes ? t->n_classes : 1;
  o->members = order_kept(part, t->filter, &n);
  o->first = calloc(o->n_classes + 1, sizeof *o->first);
  o->batches = calloc(o->n_classes + 1, sizeof *o->batches);
  if (!o->members || !o->first || !o->batches)
    return rt_fail(e, RT_E0719, (long long)part->rows * 4, "the order of data");
  if (!n) return rt_fail(e, RT_E0707, job->sources[t->source].name, part->name);
  if (!classes_sort(o, t, part, n, e) || !classes_check(o, job, part, n, e) ||
      !batches_plan(o, job, part, n, e))
    return false;
  o->data = mem_table((size_t)(o->rows + 16) * sizeof *o->data); /* emitted code reads whole vectors */
  o->starts = mem_table((size_t)(o->steps + 1) * sizeof *o->starts);
  return (o->data && o->starts) || rt_fail(e, RT_E0719, (long long)o->rows * 4, "the order of data");
}

/* ---- one epoch
 * --------------------------------------------------------------------------------------------------- */
typedef struct Draw {
  const Order *o;
  uint64_t seed, epoch;
  bool shuffle;
  int32_t *scratch; /* a permutation of the largest class */
} Draw;

/* `want` data of class c, in rounds: each takes all of them in an order of its own. */
static void draw_class(const Draw *d, uint32_t c, int64_t want, int32_t *out) {
  const int32_t *members = d->o->members + d->o->first[c];
  const int64_t n = d->o->first[c + 1] - d->o->first[c];
  for (uint32_t round = 0; want > 0 && n > 0; round++) {
    const uint32_t stream = (uint32_t)STREAM_CLASS | round << 6 | c;
    const int64_t take = least(n, want);
    if (d->shuffle) data_permute(d->scratch, n, d->seed, d->epoch, stream);
    for (int64_t i = 0; i < take; i++) out[i] = members[d->shuffle ? d->scratch[i] : i];
    out += take, want -= take;
  }
}

static void epoch_plain(const Draw *d, const JobTrain *t, Order *o) {
  const int64_t n = o->first[1];
  if (d->shuffle) data_shuffle(d->scratch, n, d->seed, d->epoch);
  for (int64_t i = 0; i < o->rows; i++) o->data[i] = o->members[d->shuffle ? d->scratch[i] : i];
  for (int64_t s = 0; s <= o->steps; s++) o->starts[s] = least(s * t->batch, o->rows);
}

static bool epoch_shares(const Draw *d, const JobTrain *t, Order *o) {
  int32_t *rows = mem_table((size_t)(o->rows + 1) * sizeof *rows);
  int64_t column = 0;
  for (uint32_t c = 0; rows && c < o->n_classes; c++) {
    const int64_t k = o->batches[c];
    draw_class(d, c, k * o->steps, rows);
    for (int64_t s = 0; s < o->steps; s++)
      memcpy(o->data + s * t->batch + column, rows + s * k, (size_t)k * sizeof *rows);
    column += k;
  }
  for (int64_t s = 0; s <= o->steps; s++) o->starts[s] = s * t->batch;
  mem_table_free(rows);
  return rows != NULL;
}

/* The class of each batch. */
static void batch_classes(const Draw *d, const JobTrain *t, const Order *o, int32_t *class) {
  int64_t at = 0;
  if (t->order == JOB_ORDER_ALTERNATE) { /* one of each in turn, as long as there are any */
    for (int64_t turn = 0; at < o->steps; turn++)
      for (uint32_t c = 0; c < o->n_classes; c++)
        if (turn < o->batches[c]) class[at++] = (int32_t)c;
    return;
  }
  for (uint32_t c = 0; c < o->n_classes; c++)
    for (int64_t i = 0; i < o->batches[c]; i++) class[at++] = (int32_t)c;
  if (t->order != JOB_ORDER_RANDOM) return;
  int32_t *blocks = class + o->steps, *place = blocks + o->steps;
  memcpy(blocks, class, (size_t)o->steps * sizeof *class);
  data_permute(place, o->steps, d->seed, d->epoch, (uint32_t)STREAM_CLASS | 63);
  for (int64_t i = 0; i < o->steps; i++) class[i] = blocks[place[i]];
}

static bool epoch_homogeneous(const Draw *d, const JobTrain *t, Order *o) {
  int32_t *class = mem_table((size_t)(3 * o->steps + 1) * sizeof *class),
          *rows = mem_table((size_t)(o->rows + 1) * sizeof *rows);
  int64_t *from = calloc(2 * (size_t)o->n_classes + 1, sizeof *from), *end = from + o->n_classes, at = 0;
  const bool ok = class && rows && from;
  for (uint32_t c = 0; ok && c < o->n_classes; c++) {
    const int64_t full = o->batches[c] * t->batch, n = o->first[c + 1] - o->first[c];
    from[c] = at, at += t->share || t->drop_last ? full : n, end[c] = at;
    draw_class(d, c, end[c] - from[c], rows + from[c]);
  }
  if (ok) batch_classes(d, t, o, class);
  for (int64_t s = at = 0; ok && s < o->steps; s++) {
    const int32_t c = class[s];
    const int64_t n = least(t->batch, end[c] - from[c]);
    memcpy(o->data + at, rows + from[c], (size_t)n * sizeof *rows);
    o->starts[s] = at, at += n, from[c] += n;
    o->starts[s + 1] = at;
  }
  mem_table_free(class), mem_table_free(rows), free(from);
  return ok;
}

bool order_epoch(Order *o, const JobTrain *t, uint64_t seed, int64_t epoch, RtError *e) {
  if (o->epoch == epoch) return true;
  int64_t most = 0;
  for (uint32_t c = 0; c < o->n_classes; c++)
    if (o->first[c + 1] - o->first[c] > most) most = o->first[c + 1] - o->first[c];
  const Draw d = {o, seed, (uint64_t)epoch, t->shuffle, mem_table((size_t)(most + 1) * sizeof *o->data)};
  bool ok = d.scratch != NULL;
  if (ok && t->batches == JOB_BATCH_PLAIN) epoch_plain(&d, t, o);
  else if (ok) ok = t->batches == JOB_BATCH_SHARES ? epoch_shares(&d, t, o) : epoch_homogeneous(&d, t, o);
  mem_table_free(d.scratch);
  if (!ok) return rt_fail(e, RT_E0719, (long long)o->rows * 4, "the order of data");
  o->epoch = epoch;
  return true;
}
