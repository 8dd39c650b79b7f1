/* SPDX-License-Identifier: Apache-2.0
 * params.h -- parameters and optimizer states in one slab; storage strides and padding belong to the plan,
 * everything that is initialised, saved or loaded goes by logical row-major order. */
#ifndef ROUTEC_PARAMS_H
#define ROUTEC_PARAMS_H
#include "mem.h"
#include <stdatomic.h>

bool params_alloc(const Job *job, Slab *store, RtError *e);
int64_t param_elements(const JobParam *p);
/* which: -1 the value, 0 or 1 a state. */
float *param_base(const JobParam *p, uint8_t *store, int which);
void param_read(const JobParam *p, const float *base, float *dense);  /* storage to dense logical order */
void param_write(const JobParam *p, float *base, const float *dense); /* and back; padding is left alone */
/* Initial values: element i of a parameter draws word i % 4 of Philox with key = seed and counter = { i / 4
 * low, i / 4 high, stream high, stream low }; uniform = a + (b - a) * (word >> 8) * 2^-24; normal by
 * Box-Muller on words (0,1), (2,3). */
void params_init(const Job *job, uint64_t seed, uint8_t *store);
/* The same by as many threads as help: each takes pieces until there are none, so that all values are there when all who helped have
 * returned. */
typedef struct ParamDraw { const Job *job; uint64_t seed; uint8_t *store; int64_t n; _Atomic int64_t next; } ParamDraw;
void draw_begin(ParamDraw *d, const Job *job, uint64_t seed, uint8_t *store);
void draw_help(ParamDraw *d);
/* Values by path from a safetensors file; every parameter must be there. *extra: a tensor nobody took, or ""
 * . */
bool params_load(const Job *job, const char *path, uint8_t *store, char *extra, size_t cap, RtError *e);
#endif
