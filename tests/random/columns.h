/* SPDX-License-Identifier: Apache-2.0
 * columns.h -- the part `train` of a job's data, read as a run reads it, as doubles. */
#ifndef RANDOM_COLUMNS_H
#define RANDOM_COLUMNS_H
#include "arena.h"
#include "job.h"

/* [column] row-major, NULL for columns of other sources; sets *rows. NULL after a message on stderr. Derived columns are
 * there if the job's code is loaded, else NULL. */
double **columns_read(Arena *a, Job *job, bool loaded, int64_t *rows);
#endif
