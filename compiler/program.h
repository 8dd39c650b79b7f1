/* SPDX-License-Identifier: Apache-2.0
 * program.h -- a checked specification as data: what `lower` makes, the passes transform and `bind` turns
 * into a Job. Indices everywhere; everything lives in one arena. */
#ifndef ROUTEC_PROGRAM_H
#define ROUTEC_PROGRAM_H
#include "ir.h"
#include "ast.h"

typedef enum InitKind { INIT_CONSTANT /* a */, INIT_UNIFORM /* [a, b) */, INIT_NORMAL /* mean a, deviation b */ } InitKind;
typedef enum MaskedPolicy { MASKED_FREEZE, MASKED_ZERO_GRAD, MASKED_MASK_UPDATE } MaskedPolicy;

typedef struct ProgParam {
  const char *path;  /* "encoder.fc1.weight": linear weights are [out, in], biases [out], as in PyTorch */
  Shape shape;
  InitKind init; double a, b;
  uint64_t stream;   /* XXH64 of the path: initial values do not depend on the order of declarations */
  bool trainable, decay;
  MaskedPolicy policy;
  uint32_t n_states; /* set by the update pass: at most 4 */
  Span span;
} ProgParam;

/* A data reader call: `mnist("$ROUTEC_DATA/mnist")`, `csv("digits.csv", pixels = 0 .. 64, ...)`. */
typedef struct ProgSourceArg { const char *key; const char *text; double num, num2; } ProgSourceArg; /* text NULL: number(s) */
typedef struct ProgSource {
  const char *name;   /* of the data block */
  const char *reader; /* "mnist", "idx", "csv", "npy", "npz", "none" */
  ProgSourceArg *args; uint32_t n_args;
  Span span;
} ProgSource;

typedef struct ProgColumn {
  uint32_t source;
  const char *name;   /* "image": what the reader calls it */
  Dtype dtype;        /* U8, I32 or F32 as held in memory */
  Shape shape;        /* [ROWS, ...] */
  bool has_range; double lo, hi; /* declared integer range (closed): checked against the data when it is read */
  Span span;
} ProgColumn;

typedef struct ProgScalar { const char *name; double value, lo, hi; bool is_int; Span span; } ProgScalar;

/* A param as the command line sees it, structural ones included (they have no ProgScalar). */
typedef struct ProgSetting { const char *name, *value, *doc; bool structural; } ProgSetting;

typedef struct ProgOrigin {
  const char *name;
  bool regularizer, routed;
  ValueId value;     /* rank-0 F32 in `train` */
  Span span;
} ProgOrigin;

typedef struct ProgTap { const char *name; ValueId value; /* the TAP */ Span span; } ProgTap;

typedef struct ProgRoute {
  const char *name;
  RoutePrimitive primitive;
  uint32_t tap;
  OriginSet origins;  /* which origins' adjoints it masks */
  ValueId factor;     /* F32, shape of the tap; 0 for F, which lower has already multiplied in */
  Span span;
} ProgRoute;

typedef enum OptimKind { OPTIM_SGD, OPTIM_ADAM, OPTIM_ADAMW } OptimKind;
typedef struct ProgOptim {
  OptimKind kind;
  /* rank-0 F64 values of `train`; 0 = absent. weight_decay: coupled (added to the gradient) for SGD and Adam,
   * decoupled for AdamW. clip: global L2 norm bound, after masking. */
  ValueId lr, beta1, beta2, eps, weight_decay, momentum, clip;
  bool nesterov;
  Span span;
} ProgOptim;

typedef enum Unit { UNIT_STEPS, UNIT_EPOCHS, UNIT_SECONDS } Unit;
typedef struct Amount { double n; Unit unit; } Amount; /* n == 0: never / none */

typedef struct ProgTrain {
  bool present;
  uint32_t source;           /* data block trained on; its part "train" */
  int64_t batch;
  Amount length, checkpoint_every, log_every, evaluate_every;
  int64_t checkpoint_keep;   /* newest n; 0 = all */
  bool shuffle, drop_last;
  Span span;
} ProgTrain;

typedef struct ProgMetric { const char *name; Span span; } ProgMetric;
typedef struct ProgPicture { const char *name; int64_t height, width; double lo, hi; } ProgPicture; /* one column of the grid */
typedef struct ProgEval {
  const char *name;
  uint32_t source; const char *part;  /* "train" or "test" */
  Graph *graph;
  const char *key_name; int64_t key_lo, key_hi; /* closed; key_name NULL = no groups */
  ProgMetric *metrics; uint32_t n_metrics;
  ProgPicture *pictures; uint32_t n_pictures; int64_t picture_rows; /* rows a key value */
  Span span;
} ProgEval;

/* `expect` as a postfix program over the tables of evaluations. */
typedef enum ExpectOp {
  EX_CONST, EX_METRIC /* eval, metric, keys[] ; n_keys == 0: all */, EX_ADD, EX_SUB, EX_MUL, EX_DIV, EX_NEG,
  EX_LT, EX_LE, EX_GT, EX_GE, EX_EQ, EX_NE, EX_AND, EX_OR, EX_NOT
} ExpectOp;
typedef struct ExpectInsn { ExpectOp op; double num; uint32_t eval, metric; int64_t *keys; uint32_t n_keys; } ExpectInsn;
typedef struct ProgExpect { const char *text; ExpectInsn *code; uint32_t n; Span span; } ProgExpect;

typedef struct ProgSweep { const char *name, *param; char **values; uint32_t n; Span span; } ProgSweep;

typedef struct Program {
  Arena *arena;
  const Sources *sources;
  const char *title;            /* file name without folders and suffix */
  uint64_t seed;
  ProgSetting *settings; uint32_t n_settings;
  ProgScalar *scalars; uint32_t n_scalars;
  ProgSource *data; uint32_t n_data;
  ProgColumn *columns; uint32_t n_columns;
  ProgParam *params; uint32_t n_params;
  ProgOrigin *origins; uint32_t n_origins;
  ProgTap *taps; uint32_t n_taps;
  ProgRoute *routes; uint32_t n_routes;
  ProgOptim optim;
  ProgTrain train;
  ProgEval *evals; uint32_t n_evals;
  ProgExpect *expects; uint32_t n_expects;
  ProgSweep *sweeps; uint32_t n_sweeps;
  Graph *step; /* the training step: forward after lower; with adjoints, masks and updates after the passes */
} Program;

/* `--set name=value` and friends, handed to the front end. */
typedef struct Override { const char *name, *value; } Override;
#endif
