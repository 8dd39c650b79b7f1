/* SPDX-License-Identifier: Apache-2.0
 * loader.h -- object bytes into memory: sections laid out, relocations applied, pages protected. Needs no LLVM, so that
 * code from the cache starts without it. */
#ifndef ROUTEC_LOADER_H
#define ROUTEC_LOADER_H
#include "job.h"

typedef struct ObjectCode { uint8_t *bytes; size_t size; } ObjectCode; /* an ELF relocatable for x86-64; in the arena */

typedef struct LoadedCode LoadedCode;
/* Loads an object of the back end and sets `entry` and `work_bytes` of every function of the job. Undefined symbols are
 * looked for in the process (libm, sanitizers). Owned by the caller; the code lives as long. NULL: *why is set (a text that
 * stays). The object may be anything: it is not trusted to be well formed, only not to be hostile code. */
LoadedCode *loader_open(const ObjectCode *o, Job *job, const char **why);
void loader_close(LoadedCode *c);
#endif
