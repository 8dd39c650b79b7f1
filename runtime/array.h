/* SPDX-License-Identifier: Apache-2.0
 * array.h -- an array as a file holds it, and the parsers that make one. Row-major, native byte order;
 * dims[0] counts rows. Every parser takes bytes of any origin: it checks before it believes, and its errors
 * name `path`. */
#ifndef ROUTEC_ARRAY_H
#define ROUTEC_ARRAY_H
#include "mem.h"

typedef enum RawType {
  RAW_U8 = 1,
  RAW_I8,
  RAW_BOOL,
  RAW_U16,
  RAW_I16,
  RAW_U32,
  RAW_I32,
  RAW_U64,
  RAW_I64,
  RAW_F32,
  RAW_F64
} RawType;
int64_t raw_size(RawType t);

typedef struct RawArray {
  RawType type;
  int32_t rank; /* at least 1 */
  int64_t dims[JOB_MAX_RANK + 1];
  Slab memory;           /* owned */
  const uint8_t *values; /* inside memory (after a header) */
} RawArray;
void raw_free(RawArray *a);

/* IDX: 00 00 type rank, rank big-endian u32 extents, values. Takes the slab over, also on failure. */
bool idx_parse(const char *path, Slab *file, RawArray *out, RtError *e);
/* NPY versions 1 to 3, little-endian, C order. Takes the slab over, also on failure. */
bool npy_parse(const char *path, Slab *file, RawArray *out, RtError *e);
/* The array `name` (entry `name.npy`) of an NPZ archive, stored or deflated. The file stays the caller's. */
bool npz_parse(const char *path, const Slab *file, const char *name, RawArray *out, bool *found, RtError *e);

/* One column of a CSV file: fields [first, past) of every line. `whole`: parse as f64 (integers beyond 2^24),
 * else f32. */
typedef struct CsvColumn {
  const char *name;
  int64_t first, past;
  bool whole;
} CsvColumn;
/* Comma-separated numbers; `skip` header lines; blank lines are passed over; all lines must have equally many
 * fields. out[n] is [rows, past - first]. */
bool csv_parse(const char *path, const Slab *file, int64_t skip, const CsvColumn *columns, uint32_t n,
               RawArray *out, RtError *e);
#endif
