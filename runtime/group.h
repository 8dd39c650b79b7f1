/* SPDX-License-Identifier: Apache-2.0
 * group.h -- rows of each batch in the order of their groups, and where the row sets begin. */
#ifndef ROUTEC_GROUP_H
#define ROUTEC_GROUP_H
#include "order.h"

typedef struct RowGroups {
  int64_t *sets; /* [step of the epoch][row set][2]: first row in the batch, count */
  int64_t epoch; /* that these are of; -1: none yet */
} RowGroups;

/* Sorts each batch of the order by group; data of one group stay in the order they had. Nothing else changes: draws are
 * keyed by datum. Does nothing where rows are not grouped or the order was sorted before. */
bool groups_epoch(RowGroups *g, const JobGroups *plan, const DataPart *part, Order *o, RtError *e);
/* Of the step of the epoch, or NULL where rows are not grouped. */
const int64_t *groups_at(const RowGroups *g, const JobGroups *plan, int64_t step);
void groups_free(RowGroups *g);
#endif
