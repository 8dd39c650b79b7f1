/* SPDX-License-Identifier: Apache-2.0
 * data_read.h -- between data.c and the table of readers. */
#ifndef ROUTEC_DATA_READ_H
#define ROUTEC_DATA_READ_H
#include "data.h"

typedef struct ReadRequest {
  const Job *job;
  const JobSource *source;
  uint32_t source_index;
  const char *part; /* "train" or "test"; readers without parts ignore it */
  const char *data_dir, *spec_path;
  RawArray *out; /* [JobColumn]; those of this source are to be filled */
  RtError *e;
} ReadRequest;

typedef struct Reader {
  const char *name;
  bool has_parts; /* train and test are files of their own */
  bool (*read)(ReadRequest *r);
} Reader;

const Reader *reader_find(const char *name);
const JobSourceArg *source_arg(const JobSource *s, const char *key); /* NULL: not given */
/* Converts to the column's dtype, checking shape, values and declared range. `where`: "train", for messages.
 * Takes raw over. */
bool column_convert(const JobColumn *c, RawArray *raw, const char *where, Slab *out, const void **base,
                    RtError *e);
int64_t job_dtype_size(JobDtype t);
#endif
