/* SPDX-License-Identifier: Apache-2.0
 * safetensors.h -- the format of huggingface/safetensors: u64 header length, JSON header, tensor bytes, all
 * little-endian. The reader treats files as hostile: every number is checked before it is used, and the
 * tensors must tile the data. */
#ifndef ROUTEC_SAFETENSORS_H
#define ROUTEC_SAFETENSORS_H
#include "mem.h"
#include <jansson.h>

typedef struct StTensor {
  const char *name, *dtype; /* owned by the file's JSON */
  int32_t rank;
  int64_t dims[JOB_MAX_RANK];
  uint64_t begin;
  size_t bytes;        /* in the data */
  const uint8_t *data; /* unaligned */
} StTensor;

typedef struct StFile {
  Slab memory;
  json_t *header;
  StTensor *tensors;
  uint32_t n;
  const uint8_t *data;
  size_t data_bytes;
} StFile;

bool st_open(const char *path, StFile *out, RtError *e);
/* Takes the slab over, also on failure. */
bool st_parse(const char *path, Slab *file, StFile *out, RtError *e);
void st_close(StFile *f);
const StTensor *st_find(const StFile *f, const char *name);
const char *st_meta(const StFile *f, const char *key); /* of __metadata__; NULL: absent */

/* One F32 tensor to write. dense(): fills `out` with its elements in logical order. */
typedef struct StOut {
  const char *name;
  int32_t rank;
  const int64_t *dims;
} StOut;
typedef void (*StFill)(void *user, uint32_t tensor, float *out);
/* Hash of all tensor bytes in order (XXH64, seed 0). */
uint64_t st_hash(const StOut *t, uint32_t n, StFill fill, void *user, float *scratch);
/* Writes under a temporary name, syncs, renames, syncs the folder. meta: object of strings, or NULL. scratch
 * holds the largest tensor. */
bool st_write(const char *path, const StOut *t, uint32_t n, StFill fill, void *user, float *scratch,
              json_t *meta, RtError *e);
#endif
