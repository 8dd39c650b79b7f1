/* SPDX-License-Identifier: Apache-2.0
 * driver_cache.h -- compiled code, kept in the user's cache folder between runs. An entry is made whole before it gets its
 * name and is checked when it is read, so that processes may share the folder and damage is found; nothing here can fail
 * a run. */
#ifndef ROUTEC_DRIVER_CACHE_H
#define ROUTEC_DRIVER_CACHE_H
#include "driver.h"

/* `$XDG_CACHE_HOME/routec`, else `$HOME/.cache/routec`. NULL: there is none, it belongs to somebody else or others may write to it
 * (it holds machine code), or --no-cache. *why is then set. */
const char *cache_folder(const Options *o, const char **why);

typedef struct CacheKey { char hex[33]; } CacheKey;
/* XXH3 of all that the code depends on: the functions' graphs, the printed plan, the target, the back end's options, and the files of
 * the compiler and of LLVM. Empty where there is no cache. */
CacheKey cache_key(const Compilation *c, const BackendOptions *b);
bool cache_find(const Options *o, const CacheKey *k, Arena *a, ObjectCode *out);
/* Also keeps the folder below 256 MiB: what was not used for longest goes first. */
void cache_keep(const Options *o, const CacheKey *k, const ObjectCode *code);

/* What was measured for products, as text: for this machine and build, its target, and `threads`. NULL: nothing, or of another BLAS. */
const char *cache_choices(const Compilation *c, int threads, Arena *a);
bool cache_keep_choices(const Compilation *c, int threads, const char *text);

bool cache_host(const Options *o, HostInfo *out);
void cache_keep_host(const Options *o, const HostInfo *h);
#endif
