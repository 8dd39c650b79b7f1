/* SPDX-License-Identifier: Apache-2.0
 * plugin_call.h -- the functions of plugins as emitted code calls them: states, tiles, shares of threads, merging.
 *
 * Tiles are a function of shapes and of the rows planned for, never of threads; partial results are put together in the order of
 * tiles by whoever comes last. So the bits do not depend on the number of threads. Nothing is allocated after calls_open(). */
#ifndef ROUTEC_PLUGIN_CALL_H
#define ROUTEC_PLUGIN_CALL_H
#include "plugin.h"

typedef struct PluginCalls PluginCalls;

/* Memory that ops ask for when they are made. Zeroed; freed as a whole. */
typedef struct PluginMemory { void **blocks; size_t n, cap; } PluginMemory;
void plugin_memory_free(PluginMemory *m);

/* The state of one use. false: error filled (E0755, or E0760: a value outside of its range). */
bool plugin_state_make(const JobPlugin *p, const RouteOp *op, const double *params, uint32_t n_params, const JobSpan *span,
                       PluginMemory *m, void **state, RtError *e);

/* Loads what is not loaded yet. search: folders to look in behind the recorded path, NULL-terminated, or NULL. E0750 .. E0754,
 * E0762. */
bool plugins_load(Job *job, const char *const *search, RtError *e);

/* States of all uses and memory of all call steps. plugins_load() was there before. NULL: error filled. */
PluginCalls *calls_open(const Job *job, RtError *e);
void calls_close(PluginCalls *c); /* NULL is allowed */
/* JobFrame.call. */
void calls_run(JobFrame *f, int64_t tid, int64_t call_step, int64_t rows, int64_t step, void *const *at);
#endif
