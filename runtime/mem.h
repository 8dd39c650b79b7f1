/* SPDX-License-Identifier: Apache-2.0
 * mem.h -- big aligned slabs, checked size arithmetic, and whole files. */
#ifndef ROUTEC_MEM_H
#define ROUTEC_MEM_H
#include "error.h"

#define MEM_SLACK 64 /* readable bytes past the end of every slab */

/* A zeroed slab, 64-byte aligned, huge pages advised from 2 MiB up. Owned; freed by slab_free. */
typedef struct Slab {
  uint8_t *bytes;
  size_t size, mapped;
} Slab;
/* Slabs and tables: bytes that they take now, and at most since the process began. */
typedef struct MemUse {
  int64_t now, peak;
} MemUse;
MemUse mem_use(void);
int64_t slab_mapped(int64_t bytes); /* what a slab of so many bytes takes */
/* malloc and free of what grows with data or parameters. */
void *mem_table(size_t bytes);
void mem_table_free(void *table);
bool slab_alloc(Slab *s, int64_t bytes, const char *what, RtError *e);
/* Has this share of the slab's pages there before somebody needs them in a hurry; threads may do their shares side by side. */
void slab_touch(const Slab *s, int64_t share, int64_t n_shares);
void slab_free(Slab *s);

/* *out = a * b; false on overflow or a negative factor. */
bool mem_mul(int64_t a, int64_t b, int64_t *out);
/* Product of dims; false on overflow or a negative one. */
bool mem_product(const int64_t *dims, int32_t rank, int64_t *out);

/* Reads a whole file, gzip or plain (told by its first bytes), into a slab. */
bool mem_read_file(const char *path, Slab *out, RtError *e);
/* The same without decompressing. */
bool mem_read_raw(const char *path, Slab *out, RtError *e);
/* Is it a device or a pipe? Those are written as they stand: a file renamed to their path would take their place. */
bool mem_is_device(const char *path);
/* Writes bytes under a temporary name, syncs, renames, syncs the folder. */
bool mem_write_file(const char *path, const void *bytes, size_t size, RtError *e);
bool mem_write_all(int fd, const void *bytes, size_t size); /* errno on false */
bool mem_sync_folder_of(const char *path);
/* malloc'd printf. Never NULL: out of memory for a name aborts. */
char *mem_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Seconds of CLOCK_MONOTONIC. */
double mem_now(void);
#endif
