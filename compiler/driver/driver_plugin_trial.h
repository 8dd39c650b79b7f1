/* SPDX-License-Identifier: Apache-2.0
 * driver_plugin_trial.h -- what the checks of `routec plugin check` work with. A check runs in a process of
 * its own, on drawn parameters and drawn data, in buffers whose every byte that is nobody's business is
 * watched. */
#ifndef ROUTEC_DRIVER_PLUGIN_TRIAL_H
#define ROUTEC_DRIVER_PLUGIN_TRIAL_H
#include "plugin.h"
#include <stdarg.h>

enum { TRIAL_INPUTS = 16, TRIAL_PARAMS = 32, TRIAL_BLOCKS = 4096, TRIAL_BUFFERS = 5000 };
typedef enum TrialAbility { /* a bit set in the table of checks */
                            TRIAL_OP = 1,
                            TRIAL_EXPR = 2,
                            TRIAL_SPAN = 4,
                            TRIAL_REDUCE = 8,
                            TRIAL_GATE = 16,
                            TRIAL_SCHEDULE = 32
} TrialAbility;

/* Shared with the parent process, which reads it however the child ends. */
typedef struct TrialVerdict {
  bool done, passed;
  char why[900], at[300], note[300]; /* at: what is being called, for those that do not come back */
} TrialVerdict;

/* Bytes between two pages that nobody may touch; what lies around them, and padding, holds a canary, which is
 * a NaN as well. */
typedef struct TrialBuffer {
  const char *name;
  char *map, *bytes, *copy; /* copy: what bytes held when it was remembered, or NULL */
  size_t map_size, n;
} TrialBuffer;
typedef struct TrialMatrix {
  TrialBuffer b;
  float *x;
  size_t rows, cols, ld;
} TrialMatrix;

typedef struct Trial {
  const RouteOp *op;
  TrialAbility ability;
  const void *able; /* the ability's struct */
  uint64_t random;  /* state of the draws */
  TrialVerdict *verdict;
  RouteHost host; /* its ctx is this */
  bool refused;   /* create() called fail() */
  char refusal[300];
  TrialBuffer blocks[TRIAL_BLOCKS];
  uint32_t n_blocks;  /* what create() allocated */
  bool shares;        /* ordinary data are rows that are positive and sum to 1 */
  bool tight, at_end; /* buffers: no slack around them; which side lies at a forbidden page */
} Trial;

/* One use of the op. */
typedef struct TrialUse {
  double params[TRIAL_PARAMS];
  const void *state;
} TrialUse;

/* Data for one call. */
typedef struct TrialCase {
  Trial *t;
  const TrialUse *u;
  size_t rows, units, cols[TRIAL_INPUTS];
  TrialMatrix in[TRIAL_INPUTS];
  TrialBuffer datum, position;
  RouteKey key;
} TrialCase;
typedef enum TrialFill {
  FILL_NORMAL,
  FILL_ZERO,
  FILL_NAN,
  FILL_SOME_NAN,
  FILL_INFINITE,
  FILL_LARGE,
  FILL_TINY,
  N_FILLS
} TrialFill;

/* Tiles of a call; 0: all in one. merge: reductions only. */
typedef enum TrialMerge { MERGE_NONE, MERGE_IN_ORDER, MERGE_AS_TREE } TrialMerge;
typedef struct TrialCut {
  size_t rows, cols;
  TrialMerge merge;
} TrialCut;

typedef struct TrialOut {
  double value;
  TrialMatrix y;
  TrialBuffer acc;
} TrialOut; /* y: gates; acc: reductions */
typedef struct TrialGrads {
  TrialMatrix dx[TRIAL_INPUTS];
} TrialGrads; /* x NULL: not differentiated */

/* false, for `return trial_fail(...)`; the first failure stays. */
bool trial_fail(Trial *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
void trial_at(Trial *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
void trial_note(Trial *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* "5 x 4, ld 7; knee = 0.1" in one of a few static buffers */
const char *trial_case_text(const TrialCase *c);
void trial_catch_faults(
    Trial *t); /* says which buffer was left when a call touches memory that is not its own */

uint64_t trial_draw(Trial *t);
double trial_uniform(Trial *t); /* [0, 1) */
double trial_normal(Trial *t);

TrialBuffer trial_buffer(Trial *t, const char *name, size_t n);
void trial_buffer_free(TrialBuffer *b);
void trial_buffer_remember(TrialBuffer *b);
bool trial_buffer_same(const TrialBuffer *b); /* as remembered */
TrialMatrix trial_matrix(Trial *t, const char *name, size_t rows, size_t cols, size_t ld);
bool trial_canary(float x);
/* NULL, or where something was written that is not the matrix's: "behind its end", ... */
const char *trial_matrix_damage(const TrialMatrix *m);
const char *trial_buffer_damage(const TrialBuffer *b);

/* Draw 0: the defaults; others random, tried again where create() refuses. */
bool trial_use(Trial *t, uint32_t draw, TrialUse *u);
/* Inputs of `rows` rows; the first has `cols` columns; ld is cols + pad. */
bool trial_case(Trial *t, const TrialUse *u, size_t rows, size_t cols, size_t pad, TrialCase *c);
void trial_case_fill(TrialCase *c, TrialFill fill);
void trial_case_free(TrialCase *c);
bool trial_real(const Trial *t, uint32_t input);

/* The ability's functions; TRIAL_SPAN, TRIAL_REDUCE and TRIAL_GATE. */
bool trial_value(TrialCase *c, TrialCut cut, TrialOut *out);
void trial_out_free(TrialOut *out);
TrialGrads trial_grads(TrialCase *c, size_t pad); /* zeros */
void trial_grads_free(TrialGrads *g);
bool trial_has_grad(const Trial *t);
/* Adds scale * derivative; for gates, scale * dy . derivative. */
void trial_grad(TrialCase *c, TrialCut cut, const TrialOut *out, const TrialMatrix *dy, float scale,
                TrialGrads *g);
void trial_store(TrialCase *c, TrialCut cut, float scale, TrialGrads *g); /* of a span that has store() */
TrialMatrix trial_dy(TrialCase *c, size_t pad); /* drawn, for gates; else empty */

typedef struct TrialShape {
  size_t rows, cols, pad;
} TrialShape;
extern const TrialShape trial_shapes[];
enum { N_TRIAL_SHAPES = 6, N_TRIAL_USES = 4 };

/* driver_plugin_laws.c */
bool law_create(Trial *t), law_finite(Trial *t), law_bounds(Trial *t), law_inputs(Trial *t),
    law_pure(Trial *t), law_threads(Trial *t), law_empty(Trial *t), law_nan(Trial *t), law_adds(Trial *t), law_store(Trial *t),
    law_scale(Trial *t);
/* driver_plugin_cuts.c */
bool law_tiles(Trial *t), law_rows(Trial *t), law_key(Trial *t);
/* driver_plugin_gradient.c */
bool law_gradient(Trial *t);
/* driver_plugin_formula.c */
bool law_formula_finite(Trial *t), law_formula_agrees(Trial *t), law_schedule(Trial *t);
#endif
