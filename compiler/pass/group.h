/* SPDX-License-Identifier: Apache-2.0
 * group.h -- between the two halves of grouping: group.c decides, group_build.c builds the graph. */
#ifndef ROUTEC_GROUP_H
#define ROUTEC_GROUP_H
#include "known.h"

#define STEP_OPERATIONS 5e4 /* a product, a reduction or a step more costs its call and its barrier: about a microsecond */

enum { MAX_GROUPS = 8 };

/* Groups stand in the order in which a batch's rows are sorted. */
typedef struct Grouping {
  uint32_t n;                  /* 1: rows are not grouped */
  uint64_t kinds[MAX_GROUPS];  /* [group] bit set of kinds */
  double share[MAX_GROUPS];    /* expected, of the rows */
} Grouping;

/* Which sums over the batch are made row set by row set, and what is computed for a row set only. */
typedef enum GroupMode {
  GROUP_NONE,    /* no row sets: only what is 0 for every datum goes */
  GROUP_SUMS,    /* sums over the batch of which some group's part is smaller; what costs more than a pass stays whole */
  GROUP_ALL      /* everything up to where nothing is gained */
} GroupMode;

/* Row sets made by a build: ranges of groups [lo, hi); set 0 is all. */
typedef struct RowSets { uint32_t n, lo[IR_MAX_SETS], hi[IR_MAX_SETS]; } RowSets;

/* Expected operations, by the row sets' shares of the batch; NULL: there is one set. group.c */
double graph_operations(const Graph *g, int64_t batch, const double *share);
/* A new graph with the same roots. NULL: more row sets than there can be. */
Graph *group_build(const Graph *g, const Kinds *k, const Grouping *groups, GroupMode mode, Arena *a, RowSets *sets);
#endif
