/* SPDX-License-Identifier: Apache-2.0
 * loader.h -- object bytes into memory: sections laid out, relocations applied, pages protected. Needs no LLVM, so that
 * code from the cache starts without it. */
#ifndef ROUTEC_LOADER_H
#define ROUTEC_LOADER_H
#include "job.h"

/* ELF relocatables for x86-64, in the arena; they find each other's functions by name. */
#define OBJECT_PARTS 8
typedef struct ObjectPart { uint8_t *bytes; size_t size; } ObjectPart;
typedef struct ObjectCode { ObjectPart part[OBJECT_PARTS]; uint32_t n; } ObjectCode;

typedef struct LoadedCode LoadedCode;
/* Loads the objects of the back end and sets `entry` and `work_bytes` of every function of the job. Undefined symbols are
 * looked for in the process (libm, sanitizers). Owned by the caller; the code lives as long. NULL: *why is set (a text that
 * stays). The objects may be anything: they are not trusted to be well formed, only not to be hostile code. */
LoadedCode *loader_open(const ObjectCode *o, Job *job, const char **why);
void loader_close(LoadedCode *c);
#endif
