/* SPDX-License-Identifier: Apache-2.0
 * group.c -- rows sorted by group, batch by batch: a counting sort that keeps the order inside a group. */
#include "group.h"
#include <stdlib.h>
#include <string.h>

/* The kinds are all assignments of conditions that can be; other bits would be a mistake of ours. */
static uint32_t group_of(const JobGroups *plan, int32_t bits) {
  for (uint32_t i = 0; i < plan->n_kinds; i++)
    if (plan->kinds[i] == (uint32_t)bits) return plan->group_of_kind[i];
  fprintf(stderr, "runtime: no kind of datum has the conditions %x\n", (unsigned)bits);
  abort();
}

/* One batch: `rows` data numbers from `data` on, through `scratch`; from[group] .. from[group + 1] become their places. */
static void sort_batch(const JobGroups *plan, const int32_t *kind, int32_t *data, int64_t rows, int32_t *scratch,
                       int64_t *from) {
  memset(from, 0, (plan->n_groups + 2) * sizeof *from);
  for (int64_t i = 0; i < rows; i++) from[group_of(plan, kind[data[i]]) + 2]++;
  for (uint32_t i = 2; i < plan->n_groups + 2; i++) from[i] += from[i - 1];
  for (int64_t i = 0; i < rows; i++) scratch[from[group_of(plan, kind[data[i]]) + 1]++] = data[i];
  memcpy(data, scratch, (size_t)rows * sizeof *data);
}

bool groups_epoch(RowGroups *g, const JobGroups *plan, const DataPart *part, Order *o, RtError *e) {
  if (!plan->n_sets || g->epoch == o->epoch) return true;
  int64_t longest = 0;
  for (int64_t s = 0; s < o->steps; s++)
    if (o->starts[s + 1] - o->starts[s] > longest) longest = o->starts[s + 1] - o->starts[s];
  const size_t table = (size_t)o->steps * plan->n_sets * 2 * sizeof *g->sets;
  mem_table_free(g->sets); /* of the epoch before */
  g->sets = mem_table(table + 1);
  int64_t *sets = g->sets, *from = malloc((plan->n_groups + 2) * sizeof *from);
  int32_t *scratch = malloc((size_t)(longest + 1) * sizeof *scratch);
  const bool ok = sets && scratch && from;
  const int32_t *kind = part->columns[plan->column];
  for (int64_t s = 0; ok && s < o->steps; s++) {
    sort_batch(plan, kind, o->data + o->starts[s], o->starts[s + 1] - o->starts[s], scratch, from);
    for (uint32_t k = 0; k < plan->n_sets; k++, sets += 2)
      sets[0] = from[plan->lo[k]], sets[1] = from[plan->hi[k]] - from[plan->lo[k]];
  }
  free(scratch), free(from);
  if (!ok) return rt_fail(e, RT_E0719, (long long)table, "the rows of each group");
  g->epoch = o->epoch;
  return true;
}

const int64_t *groups_at(const RowGroups *g, const JobGroups *plan, int64_t step) {
  return plan->n_sets ? g->sets + 2 * step * plan->n_sets : NULL;
}

void groups_free(RowGroups *g) {
  mem_table_free(g->sets);
  *g = (RowGroups){.epoch = -1};
}
