/* SPDX-License-Identifier: Apache-2.0
 * order.h -- which data an epoch meets, in which order, and where its batches begin. A pure function of the job, the data,
 * the seed and the epoch, so that a resumed run goes on as an uninterrupted one. */
#ifndef ROUTEC_ORDER_H
#define ROUTEC_ORDER_H
#include "data.h"

typedef struct Order {
  int64_t steps; /* batches of an epoch */
  int64_t rows;  /* of an epoch, all batches together */
  int32_t *data; /* [rows] datum numbers */
  int64_t *starts; /* [steps + 1] first row of each batch */
  int64_t epoch;   /* that these are of; -1: none yet */
  /* what it is made from */
  int32_t *members;  /* the data that are kept, class after class, each in the order of the part */
  int64_t *first;    /* [class + 1] into members */
  int64_t *batches;  /* [class] HOMOGENEOUS: batches of an epoch; SHARES: rows of a batch */
  uint32_t n_classes;
} Order;

/* Filter, classes and the number of batches. False: no data are left, a class has none, or there is no memory. */
bool order_plan(Order *o, const Job *job, const DataPart *part, RtError *e);
/* Makes `data` and `starts` those of an epoch. */
bool order_epoch(Order *o, const JobTrain *t, uint64_t seed, int64_t epoch, RtError *e);
void order_free(Order *o);
/* Data for which the derived column `filter` (1 + its number; 0: all data) is not 0. Caller frees. */
int32_t *order_kept(const DataPart *part, uint32_t filter, int64_t *n);
#endif
