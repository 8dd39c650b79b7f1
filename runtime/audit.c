/* SPDX-License-Identifier: Apache-2.0
 * audit.c -- the proof, tried: a step is repeated from the same state with the contents of one class's data exchanged,
 * and what those data were proved unable to change must come out the same, bit for bit.
 *
 * Each datum of the class in the batch is given the contents of another one of the same kind, one for which the same
 * conditions hold, so class counts and factors stay; its number stays too, and with it every draw. The contents are
 * exchanged in place, in the columns, and put back after the step. The run itself sees none of this. */
#include "run.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct Audit {
  Slab before, other;     /* the store before the step; the store that the repetition changes */
  float *real, *changed;  /* dense, of one parameter */
  uint8_t *kept;          /* contents of the exchanged rows, one after the other */
  int32_t *row;           /* [batch]: their places in the batch */
  RegionSum *sum;         /* [class * n_regions + region] over all audited steps */
  int64_t *exchanged;     /* [class]: rows */
  int64_t steps, checked; /* entries that were proved to stay and did, over all steps, values and states */
  bool warned;
  FILE *lines;
};
static const char lines_name[] = "audit.jsonl";

int64_t audit_next(const Run *r, int64_t step) {
  const int64_t n = r->o->audit;
  if (n < 1) return INT64_MAX;
  return step > INT64_MAX - n ? INT64_MAX : step / n * n + n - 1;
}

static const DataPart *audit_part(const Run *r) { return data_part(&r->data, r->job->train.source, "train"); }

static int64_t column_bytes(const JobColumn *c) {
  static const int64_t size[] = {[JOB_F32] = 4, [JOB_F64] = 8, [JOB_I32] = 4, [JOB_U8] = 1, [JOB_BOOL] = 1};
  int64_t n;
  if (!mem_product(c->dims, c->rank, &n)) fprintf(stderr, "runtime: extents of %s\n", c->name), abort();
  return n * size[c->dtype];
}

/* Bytes of one datum over all columns of the part. */
static int64_t datum_bytes(const Run *r, const DataPart *part) {
  int64_t n = 0;
  for (uint32_t c = 0; c < r->job->n_columns; c++)
    if (part->columns[c]) n += column_bytes(&r->job->columns[c]);
  return n;
}

bool audit_open(Run *r) {
  const Job *job = r->job;
  if (r->o->audit < 1) return true;
  const int64_t batch = job->train.batch;
  Audit *a = r->audit = calloc(1, sizeof *a);
  if (!a) return rt_fail(&r->error, RT_E0719, 0LL, "the audit");
  if (!job->kinds) return run_warn(r, RT_W0758), true;
  int64_t most = 1, bytes;
  for (uint32_t i = 0; i < job->n_params; i++)
    if (param_elements(&job->params[i]) > most) most = param_elements(&job->params[i]);
  if (!mem_mul(datum_bytes(r, audit_part(r)), batch, &bytes))
    return rt_fail(&r->error, RT_E0719, (long long)batch, "a batch");
  a->real = malloc((size_t)most * sizeof *a->real), a->changed = malloc((size_t)most * sizeof *a->changed);
  a->kept = malloc((size_t)bytes + 1), a->row = malloc((size_t)batch * sizeof *a->row);
  a->sum = calloc((size_t)job->n_data_classes * job->n_regions + 1, sizeof *a->sum);
  a->exchanged = calloc(job->n_data_classes + 1, sizeof *a->exchanged);
  if (!a->real || !a->changed || !a->kept || !a->row || !a->sum || !a->exchanged)
    return rt_fail(&r->error, RT_E0719, (long long)bytes, "the audit");
  return slab_alloc(&a->before, job->store_bytes, "the audit", &r->error) &&
         slab_alloc(&a->other, job->store_bytes, "the audit", &r->error) && lines_open(r, lines_name, &a->lines);
}

void audit_free(Run *r) {
  Audit *a = r->audit;
  if (!a) return;
  if (a->lines) fclose(a->lines);
  slab_free(&a->before), slab_free(&a->other);
  free(a->real), free(a->changed), free(a->kept), free(a->row), free(a->sum), free(a->exchanged), free(a);
  r->audit = NULL;
}

void audit_begin(Run *r) {
  if (r->audit->before.bytes) memcpy(r->audit->before.bytes, r->store.bytes, (size_t)r->job->store_bytes);
}

/* ---- exchanging contents ------------------------------------------------------------------------------------- */
static uint32_t kind_of(const Run *r, const DataPart *part, int32_t datum) {
  return (uint32_t)((const int32_t *)part->columns[r->job->kinds - 1])[datum];
}

/* Some other datum of the epoch with the same kind; -1: there is none. Looked for from a place that depends on step and
 * row, so that a class meets different contents each time. */
static int32_t substitute(const Run *r, const DataPart *part, const JobFrame *f, int64_t row) {
  const int32_t datum = f->order[f->starts[0] + row];
  const uint32_t kind = kind_of(r, part, datum);
  const uint64_t mixed = ((uint64_t)f->step * 0x9E3779B97F4A7C15u + (uint64_t)row + 1) * 0xD1342543DE82EF95u;
  const int64_t start = (int64_t)((mixed >> 33) % (uint64_t)r->order.rows);
  for (int64_t i = 0; i < r->order.rows; i++) {
    const int32_t other = r->order.data[(start + i) % r->order.rows];
    if (other != datum && kind_of(r, part, other) == kind) return other;
  }
  return -1;
}

/* Keeps (in `to`) or puts back (from it) the contents of one datum. */
static void datum_copy(const Run *r, const DataPart *part, int32_t datum, uint8_t *kept, bool back) {
  for (uint32_t c = 0; c < r->job->n_columns; c++) {
    if (!part->columns[c]) continue;
    const size_t n = (size_t)column_bytes(&r->job->columns[c]);
    uint8_t *at = part->slabs[c].bytes + (size_t)datum * n;
    memcpy(back ? at : kept, back ? kept : at, n);
    kept += n;
  }
}

static void datum_overwrite(const Run *r, const DataPart *part, int32_t datum, int32_t from) {
  for (uint32_t c = 0; c < r->job->n_columns; c++) {
    if (!part->columns[c]) continue;
    const size_t n = (size_t)column_bytes(&r->job->columns[c]);
    memcpy(part->slabs[c].bytes + (size_t)datum * n, part->slabs[c].bytes + (size_t)from * n, n);
  }
}

/* Rows of the batch that were given other contents. */
static int64_t exchange(Run *r, const JobFrame *f, uint32_t class) {
  const DataPart *part = audit_part(r);
  const JobDataClass *c = &r->job->data_classes[class];
  const int64_t bytes = datum_bytes(r, part);
  int64_t n = 0;
  for (int64_t row = 0; row < r->frame_rows; row++) {
    const int32_t datum = f->order[f->starts[0] + row];
    if (((kind_of(r, part, datum) & c->conds) != 0) == c->none) continue;
    const int32_t other = substitute(r, part, f, row);
    if (other < 0) continue;
    datum_copy(r, part, datum, r->audit->kept + n * bytes, false);
    datum_overwrite(r, part, datum, other);
    r->audit->row[n++] = (int32_t)row;
  }
  return n;
}

/* In reverse: a datum may stand in a batch twice. */
static void exchange_back(Run *r, const JobFrame *f, int64_t n) {
  const DataPart *part = audit_part(r);
  const int64_t bytes = datum_bytes(r, part);
  while (n-- > 0) datum_copy(r, part, f->order[f->starts[0] + r->audit->row[n]], r->audit->kept + n * bytes, true);
}

/* ---- comparing ------------------------------------------------------------------------------------------------ */
static uint32_t cell_of(const JobAtoms *a, const JobParam *p, int64_t entry) {
  uint32_t cell = 0;
  int64_t inner = 1;
  for (int32_t i = 0; i < p->rank; i++) inner *= p->dims[i];
  for (int32_t i = 0; i < p->rank; i++) {
    inner /= p->dims[i];
    cell = cell * (uint32_t)a->n_labels[i] + (uint32_t)(a->label[i] ? a->label[i][entry / inner % p->dims[i]] : 0);
  }
  return cell;
}

/* A region that holds the entry, best one that the class was proved to leave alone as a whole. */
static const char *region_of(const Job *job, uint32_t class, uint32_t param, int64_t entry) {
  const char *name = NULL;
  for (uint32_t k = 0; k < job->n_regions; k++) {
    if (!region_has(job, k, param, entry)) continue;
    const JobProved *p = job->audit.proved ? &job->audit.proved[class * job->n_regions + k] : NULL;
    if (p && p->lo > p->hi) return job->regions[k].name;
    if (!name) name = job->regions[k].name;
  }
  return name ? name : "none that has a name";
}

static bool refuted(Run *r, uint32_t class, uint32_t param, int which, int64_t entry) {
  static const char *const what[] = {"next value", "first moment", "second moment", "first correction",
                                     "second correction"};
  const Job *job = r->job;
  const JobParam *p = &job->params[param];
  char index[160];
  int64_t inner = param_elements(p);
  size_t n = (size_t)snprintf(index, sizeof index, "[");
  for (int32_t i = 0; i < p->rank && n < sizeof index; i++) {
    inner /= p->dims[i];
    n +=
        (size_t)snprintf(index + n, sizeof index - n, "%s%lld", i ? ", " : "", (long long)(entry / inner % p->dims[i]));
  }
  if (n < sizeof index) snprintf(index + n, sizeof index - n, "]");
  return rt_fail_at(&r->error, &p->span, RT_E0747, (long long)(r->state.step), job->data_classes[class].name,
                    region_of(job, class, param, entry), what[which + 1], p->path, index, (double)r->audit->real[entry],
                    (double)r->audit->changed[entry]);
}

/* One copy (value or state `which`) of one parameter. */
static bool compare(Run *r, uint32_t class, uint32_t param, int which, RegionSum *now) {
  Audit *a = r->audit;
  const Job *job = r->job;
  const JobParam *p = &job->params[param];
  const int64_t n = param_elements(p);
  param_read(p, param_base(p, r->store.bytes, which), a->real);
  param_read(p, param_base(p, a->other.bytes, which), a->changed);
  for (uint32_t k = 0; which < 0 && k < job->n_regions; k++) region_add(&now[k], job, k, param, a->changed, a->real);
  const JobAtoms *atoms = job->audit.atoms ? &job->audit.atoms[param] : NULL;
  if (!atoms || !atoms->n_cells) return true;
  const uint64_t kinds = job->data_classes[class].kinds;
  for (int64_t i = 0; i < n; i++) {
    if (atoms->reach[cell_of(atoms, p, i)] & kinds) continue;
    if (memcmp(&a->real[i], &a->changed[i], sizeof(float)) != 0) return refuted(r, class, param, which, i);
    a->checked++;
  }
  return true;
}

static bool record(Run *r, uint32_t class, int64_t rows, const RegionSum *now) {
  Audit *a = r->audit;
  const Job *job = r->job;
  json_t *regions = json_object();
  for (uint32_t k = 0; k < job->n_regions; k++) {
    RegionSum *all = &a->sum[class * job->n_regions + k];
    all->square += now[k].square;
    if (!(now[k].most <= all->most)) all->most = now[k].most;
    json_object_set_new(
        regions, job->regions[k].name,
        json_pack("{s:o,s:o}", "l2", json_number(sqrt(now[k].square)), "max", json_number(now[k].most)));
  }
  return lines_write(r, a->lines, lines_name,
                     json_pack("{s:I,s:s,s:I,s:o}", "step", (json_int_t)r->state.step, "class",
                               job->data_classes[class].name, "rows", (json_int_t)rows, "moved", regions));
}

/* The step again, with other contents of one class. */
static bool audit_class(Run *r, uint32_t class, RegionSum *now) {
  Audit *a = r->audit;
  const Job *job = r->job;
  JobFrame f;
  if (!frame_at(r, &f, r->state.step)) return false;
  f.store = a->other.bytes;
  memcpy(a->other.bytes, a->before.bytes, (size_t)job->store_bytes);
  const int64_t rows = exchange(r, &f, class);
  if (rows) pool_run(r->pool, job->train.fn.entry, &f);
  exchange_back(r, &f, rows);
  if (!rows) return true;
  if (f.bad_step >= 0) { /* the contents of other data give no finite loss: nothing to compare */
    if (!a->warned) run_warn(r, RT_W0759, (long long)r->state.step, job->data_classes[class].name);
    a->warned = true;
    return true;
  }
  a->exchanged[class] += rows;
  memset(now, 0, job->n_regions * sizeof *now);
  for (uint32_t i = 0; i < job->n_params; i++)
    for (int which = -1; which < (int)job->params[i].n_states; which++)
      if (!compare(r, class, i, which, now)) return false;
  return record(r, class, rows, now);
}

bool audit_end(Run *r) {
  const Job *job = r->job;
  if (!r->audit->before.bytes) return true;
  RegionSum *now = calloc(job->n_regions + 1, sizeof *now);
  bool ok = now || rt_fail(&r->error, RT_E0719, 0LL, "the audit");
  for (uint32_t c = 0; ok && c < job->n_data_classes; c++)
    if (job->data_classes[c].by_datum) ok = audit_class(r, c, now);
  free(now);
  r->audit->steps += ok;
  return ok;
}

/* ---- the table ------------------------------------------------------------------------------------------------ */
static void proved_text(const Job *job, uint32_t class, uint32_t region, char *out, size_t cap) {
  if (!job->audit.proved) {
    snprintf(out, cap, "?");
    return;
  }
  const JobProved p = job->audit.proved[class * job->n_regions + region];
  if (p.lo > p.hi) snprintf(out, cap, "none");
  else if (p.lo <= 1 && p.hi >= 1) snprintf(out, cap, "full");
  else snprintf(out, cap, "scaled [%.3g, %.3g]", p.lo, p.hi);
}

static void table_print(Run *r) {
  const Audit *a = r->audit;
  const Job *job = r->job;
  int wide = 6, wider = 6;
  for (uint32_t c = 0; c < job->n_data_classes; c++)
    if ((int)strlen(job->data_classes[c].name) > wide) wide = (int)strlen(job->data_classes[c].name);
  for (uint32_t k = 0; k < job->n_regions; k++)
    if ((int)strlen(job->regions[k].name) > wider) wider = (int)strlen(job->regions[k].name);
  printf("  %-*s  %-*s  %-18s  %13s  %11s\n", wide, "class", wider, "region", "proved", "moved, a step", "at most");
  for (uint32_t c = 0; c < job->n_data_classes; c++) {
    if (!a->exchanged[c]) continue;
    for (uint32_t k = 0; k < job->n_regions; k++) {
      const RegionSum *s = &a->sum[c * job->n_regions + k];
      char proved[64];
      proved_text(job, c, k, proved, sizeof proved);
      printf("  %-*s  %-*s  %-18s  %13.4g  %11.4g\n", wide, job->data_classes[c].name, wider, job->regions[k].name,
             proved, sqrt(s->square / (double)a->steps), s->most);
    }
  }
}

static void table_json(Run *r) {
  const Audit *a = r->audit;
  const Job *job = r->job;
  json_t *entries = json_array();
  for (uint32_t c = 0; c < job->n_data_classes; c++)
    for (uint32_t k = 0; a->exchanged[c] && k < job->n_regions; k++) {
      const RegionSum *s = &a->sum[c * job->n_regions + k];
      char proved[64];
      proved_text(job, c, k, proved, sizeof proved);
      json_array_append_new(entries,
                            json_pack("{s:s,s:s,s:s,s:o,s:o}", "class", job->data_classes[c].name, "region",
                                      job->regions[k].name, "proved", proved, "moved",
                                      json_number(sqrt(s->square / (double)a->steps)), "max", json_number(s->most)));
    }
  json_print(json_pack("{s:s,s:I,s:I,s:o}", "event", "audit", "steps", (json_int_t)a->steps, "checked",
                       (json_int_t)a->checked, "entries", entries));
}

void audit_report(Run *r) {
  const Audit *a = r->audit;
  if (!a || !a->before.bytes || !a->steps || r->o->quiet > 1) return;
  if (r->o->json) {
    table_json(r);
    return;
  }
  progress_end(r);
  printf("audit of %lld steps: ", (long long)a->steps);
  if (r->job->audit.atoms && !a->checked)
    printf("no class was proved unable to change anything, so there was nothing to hold it to\n");
  else if (r->job->audit.atoms)
    printf("what was proved out of reach stayed the same, bit for bit (%lld comparisons)\n", (long long)a->checked);
  else
    printf("nothing was proved%s%s\n", r->job->audit.unproved ? ": " : "",
           r->job->audit.unproved ? r->job->audit.unproved : "");
  table_print(r);
  fflush(stdout);
}
