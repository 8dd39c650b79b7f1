/* SPDX-License-Identifier: Apache-2.0
 * memory.c -- what a run will map, told before it: from the job alone what does not depend on the number of data, with the data all of
 * it. Held against what mem.c counted in a run by tests/cli/memory.sh. */
#include "data_read.h"
#include "run.h"
#include <stdlib.h>
#include <string.h>

static void part_add(RtMemory *m, const char *what, const char *name, int64_t bytes, RtMemoryWhen when) {
  if (bytes <= 0 || m->n == RT_MEMORY_PARTS) return;
  RtMemoryPart *p = &m->parts[m->n++];
  snprintf(p->what, sizeof p->what, "%s%s%.80s", what, name ? " " : "", name ? name : "");
  p->bytes = bytes, p->when = when;
}

static int64_t largest_param(const Job *job) {
  int64_t most = 0;
  for (uint32_t i = 0; i < job->n_params; i++)
    if (param_elements(&job->params[i]) > most) most = param_elements(&job->params[i]);
  return 4 * most;
}

/* What follows from the plan. */
static void memory_of_job(RtMemory *m, const Job *job, int threads) {
  const int64_t gradient = job->gradient.fn.symbol ? slab_mapped(job->gradient.fn.work_bytes) : 0;
  int64_t derive = 0;
  part_add(m, "parameters and optimizer states", NULL, slab_mapped(job->store_bytes), RT_MEMORY_ALWAYS);
  if (job->train.present) part_add(m, "training step: values and partial sums", NULL, slab_mapped(job_work_bytes(&job->train.fn, threads)), RT_MEMORY_ALWAYS);
  for (uint32_t i = 0; i < job->n_evals; i++) part_add(m, "evaluation", job->evals[i].name, slab_mapped(job->evals[i].fn.work_bytes),
             job->train.evaluate_every.n > 0 ? RT_MEMORY_TRAINING : RT_MEMORY_END);
  if (job->monitor.present)
    part_add(m, "monitor", NULL, gradient + 2 * slab_mapped(job->store_bytes) + 2 * largest_param(job),
             RT_MEMORY_TRAINING);
  for (uint32_t i = 0; i < job->n_derived; i++)
    if (slab_mapped(job->derived[i].fn.work_bytes) > derive) derive = slab_mapped(job->derived[i].fn.work_bytes);
  part_add(m, "columns that are computed, while they are", NULL, derive, RT_MEMORY_EARLY);
  if (job->train.present) part_add(m, "a checkpoint, while it is written", NULL, largest_param(job), RT_MEMORY_PASSING);
}

/* Of all columns together. */
static int64_t datum_bytes(const Job *job) {
  int64_t bytes = 0, n;
  for (uint32_t i = 0; i < job->n_columns; i++)
    if (mem_product(job->columns[i].dims, job->columns[i].rank, &n)) bytes += n * job_dtype_size(job->columns[i].dtype);
  return bytes;
}

/* Members, order and starts of training, row sets, and what an epoch's shuffle takes; a filter is taken to keep all data. */
static void memory_of_order(RtMemory *m, const Job *job, int64_t rows) {
  const JobTrain *t = &job->train;
  const int64_t steps = (rows + t->batch - 1) / t->batch, drawn = t->batches == JOB_BATCH_PLAIN ? 0 : 4 * rows;
  part_add(m, "order of training", NULL, 8 * rows + 8 * steps + 16 * steps * t->groups.n_sets, RT_MEMORY_TRAINING);
  part_add(m, "order of training, while an epoch's is drawn", NULL, 4 * rows + drawn, RT_MEMORY_PASSING);
}

static void memory_of_data(RtMemory *m, const Job *job, int threads, const Data *d, int64_t columns, int64_t reading) {
  for (uint32_t k = 0; k < d->n_parts; k++)
    for (uint32_t i = 0; i < job->n_derived; i++)
      if (job->derived[i].source == d->parts[k].source) columns += slab_mapped(4 * d->parts[k].rows);
  part_add(m, "data", NULL, columns, RT_MEMORY_ALWAYS);
  if (job->train.present) memory_of_order(m, job, data_part(d, job->train.source, "train")->rows);
  int64_t order = 0;
  for (uint32_t i = 0; i < job->n_evals; i++) order += 4 * (data_part(d, job->evals[i].source, job->evals[i].part)->rows + 16);
  part_add(m, "order of evaluations", NULL, order, RT_MEMORY_TRAINING);
  m->reading = reading; /* while initial values are drawn, and a step's memory is there */
  if (job->train.present) m->reading += slab_mapped(job->store_bytes) + slab_mapped(job_work_bytes(&job->train.fn, threads));
}

static void memory_sum(RtMemory *m) {
  int64_t sum[RT_MEMORY_PASSING + 1] = {0}, most[RT_MEMORY_PASSING + 1] = {0};
  for (uint32_t i = 0; i < m->n; i++) {
    const RtMemoryPart *p = &m->parts[i];
    sum[p->when] += p->bytes;
    if (p->bytes > most[p->when]) most[p->when] = p->bytes;
  }
  const int64_t always = sum[RT_MEMORY_ALWAYS], training = always + sum[RT_MEMORY_TRAINING];
  const int64_t there[] = {m->reading, always + most[RT_MEMORY_EARLY], training + most[RT_MEMORY_PASSING], training + sum[RT_MEMORY_END]};
  for (size_t i = 0; i < sizeof there / sizeof *there; i++)
    if (there[i] > m->peak) m->peak = there[i];
}

int rt_memory(const Job *job, const RtOptions *o, bool read, RtMemory *out) {
  RtError e = {0};
  Data d;
  *out = (RtMemory){.with_data = read};
  memory_of_job(out, job, rt_threads(o->threads));
  if (read) {
    const int64_t before = mem_use().now;
    if (!data_open(&d, job, o->data_dir, job->spec_path, &e)) {
      rt_error_print(&e, o->json ? stdout : stderr, o->json, o->color);
      return RT_RUN_FAILED;
    }
    memory_of_data(out, job, rt_threads(o->threads), &d, mem_use().now - before, mem_use().peak);
    data_close(&d);
  }
  out->datum_bytes = datum_bytes(job);
  memory_sum(out);
  return RT_OK;
}

/* ---- what a run took ---- */
static int64_t status_bytes(const char *field) {
  char line[256];
  long long kib = 0;
  const size_t n = strlen(field);
  FILE *f = fopen("/proc/self/status", "re");
  while (f && fgets(line, sizeof line, f))
    if (!strncmp(line, field, n) && line[n] == ':') kib = strtoll(line + n + 1, NULL, 10);
  if (f) fclose(f);
  return (int64_t)kib * 1024;
}

json_t *memory_json(void) {
  return json_pack("{s:I,s:I,s:I}", "mapped_peak", (json_int_t)mem_use().peak, "resident_peak", (json_int_t)status_bytes("VmHWM"),
                   "resident_files", (json_int_t)status_bytes("RssFile"));
}

void memory_note(Run *r) {
  if (!r->o->verbose || r->o->json) return;
  progress_note(r, "memory: %.1f MiB mapped at most; resident at most %.1f MiB, of which %.1f MiB are code and other files now",
                (double)mem_use().peak / 1048576, (double)status_bytes("VmHWM") / 1048576, (double)status_bytes("RssFile") / 1048576);
}
