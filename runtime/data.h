/* SPDX-License-Identifier: Apache-2.0
 * data.h -- sources of the Job read into memory: every column as the dtype that compiled code expects, in
 * parts. */
#ifndef ROUTEC_DATA_H
#define ROUTEC_DATA_H
#include "array.h"

typedef struct DataPart {
  uint32_t source;
  char name[16]; /* "train" or "test" */
  int64_t rows;
  const void **columns; /* [JobColumn]; NULL for columns of other sources */
  Slab *slabs;          /* [JobColumn], owned */
} DataPart;

typedef struct Data {
  const Job *job;
  DataPart *parts;
  uint32_t n_parts;
  int64_t bytes;
  uint64_t hash; /* data_hash(), once it is known; 0: not yet */
} Data;

/* Reads each part that training or an evaluation names. data_dir: what $ROUTEC_DATA stands for (NULL: the
 * environment's, else "data"); spec_path: relative paths are looked for in its folder first. */
bool data_open(Data *d, const Job *job, const char *data_dir, const char *spec_path, RtError *e);
void data_close(Data *d);
/* XXH64 over every part's rows, as they lie in memory: a resumed run must meet the same data. */
uint64_t data_hash(const Data *d);
const DataPart *data_part(const Data *d, uint32_t source, const char *name); /* NULL: not read */

/* Fisher-Yates with one Philox draw a place, keyed by (seed, epoch): a pure function of its arguments. */
void data_shuffle(int32_t *order, int64_t n, uint64_t seed, uint64_t epoch);
/* The same with a stream of its own: independent of the others. */
void data_permute(int32_t *order, int64_t n, uint64_t seed, uint64_t epoch, uint32_t stream);
/* "$VAR" and "${VAR}" replaced. Caller frees *out. */
bool data_expand_path(const char *text, const char *data_dir, const char *spec_path, const JobSpan *span,
                      char **out, RtError *e);
#endif
