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
  uint32_t derived;   /* 1 + index in Program.derived: computed when data is loaded; 0: read by the source's reader */
  Span span;
} ProgColumn;

/* A column that is computed once, when data is loaded: labels of an observed class, which conditions hold, what a
 * filter keeps. Its graph reads columns of one source (derived ones only with smaller numbers) and has one root,
 * ROOT_KEEP 0: I32 [ROWS]. A draw then changes what the graph said; it is a function of (seed, datum number) alone. */
typedef enum DrawKind {
  DRAW_NONE,       /* the graph's values as they are */
  DRAW_OBSERVE,    /* 1 labelled yes, 0 labelled no, -1 unlabelled; exact counts (docs/routing.md) */
  DRAW_RANDOM_LIKE, /* the graph's values in random order: as many of each, at random data */
  DRAW_CHECK       /* no labels: a value that is not 0 is an error in the data (a weight outside of [0, 1]) */
} DrawKind;
typedef struct ProgShare { double value; int32_t scalar; } ProgShare; /* scalar: the run-time param that it is, or -1 */
typedef struct ProgDerived {
  const char *name;    /* "class seen", "conditions of digits", "filter of train" */
  uint32_t source, column;
  Graph *graph;
  DrawKind draw;
  ProgShare recall, precision, false_positives, no; /* OBSERVE: in [0, 1]; precision or false_positives is -1: not given */
  bool has_seed; uint64_t seed; /* not given: the run's seed, and the name */
  Span span;
} ProgDerived;

typedef struct ProgScalar { const char *name; double value, lo, hi; bool is_int; Span span; } ProgScalar;

/* A param as the command line sees it, structural ones included (they have no ProgScalar). */
typedef struct ProgSetting { const char *name, *value, *doc; bool structural; } ProgSetting;

typedef struct ProgOrigin {
  const char *name;
  bool regularizer, routed;
  bool probe;        /* a certificate: what it trains is a clip group of its own, and nothing else may train it */
  ValueId value;     /* rank-0 F32 in `train` */
  ValueId per_datum; /* F32 [ROWS], the terms before they are aggregated, under a TAP-free identity; 0: a number of the whole batch */
  Span span;
} ProgOrigin;

typedef enum Unit { UNIT_STEPS, UNIT_EPOCHS, UNIT_SECONDS } Unit;
typedef struct Amount { double n; Unit unit; } Amount; /* n == 0: never / none */

/* A place that routes name: a value of the model, or one use of a parameter (TAP of a PARAM). */
typedef struct ProgTap {
  const char *name;
  ValueId value;      /* the TAP */
  uint32_t param;     /* 1 + the parameter whose use this is; 0: a value of the model */
  Span span;
} ProgTap;

/* Whose each entry of a parameter is, in one of its uses. At most two of the parameter's axes are cut into labels; the part
 * of an entry with index i along axis[0] and j along axis[1] is part[label[0][i] * n_labels[1] + label[1][j]], a number
 * into the route's weights. */
typedef struct ProgOwners {
  int32_t axis[2];         /* unused where n_labels is 1 */
  int32_t n_labels[2];
  const int32_t *label[2]; /* [extent of the axis]; NULL where n_labels is 1 */
  const int32_t *part;     /* [n_labels[0] * n_labels[1]] */
} ProgOwners;

typedef struct ProgRoute {
  const char *name;
  RoutePrimitive primitive;
  uint32_t tap;
  OriginSet origins;  /* which origins' adjoints it masks */
  ValueId factor;     /* A: F32, shape of the tap; 0 for F, which lower has already multiplied in, and for P */
  ProgOwners owners;  /* P */
  ValueId *weight;    /* P: [part] F32, the factor of each datum (shape: the datum axes of the use, [ROWS] or [ROWS, ...]) */
  uint32_t n_weights; /* P */
  Span span;
} ProgRoute;

/* ---- what proofs, policies, audits and reports are about ------------------------------------------------------ */

/* Entries of a parameter whose index along `axis` is in the list; axis -1: all of them. */
typedef enum PieceKind { PIECE_NAMED /* by its path */, PIECE_MADE_BY, PIECE_READ_BY } PieceKind;
typedef struct RegionPiece { uint32_t param; int32_t axis; const int64_t *index; int64_t n; PieceKind kind; } RegionPiece;
/* A named set of parameter entries, the union of its pieces: "z.upper.made_by", "forget", "encoder". */
typedef struct ProgRegion {
  const char *name;
  RegionPiece *pieces; uint32_t n_pieces;
  bool declared;      /* by `region`; else made from a split's part or because something names it */
  bool joint;         /* learnt from everything: no `parameters of` route masks it */
  int32_t policy;     /* MaskedPolicy of these entries, or -1: the optimizer's */
  int32_t decay;      /* 0 no, 1 yes, -1: the optimizer's */
  ValueId clip;       /* rank-0 F64: bound of a clip group of its own; 0: none */
  Span span;
} ProgRegion;

/* A condition on a datum that arms, classes or settings test. Its value is BOOL, or F32 in [0, 1] for a soft class
 * (then it "holds" where the weight is not 0); shape [ROWS] or [ROWS, positions...]. */
typedef struct ProgCond { const char *text; ValueId value; bool soft; Span span; } ProgCond;
typedef struct ProgClass {
  const char *name;
  uint32_t cond;
  bool observed;      /* drawn labels: says nothing certain about the true class */
  int32_t of;         /* OBSERVE: the true class's index in classes, else -1 */
  bool declared;      /* by `class`; false: `otherwise` (no condition of any class holds), `not C` where `forbid` names it */
  Span span;
} ProgClass;

/* What gradients, monitors and audits choose data by: the declared classes in their order, then `otherwise`. A datum belongs
 * where (some condition of `conds` holds for it) is not `none`. */
typedef struct ProgDataClass {
  const char *name;
  uint32_t conds; /* bit set */
  bool none;      /* `otherwise`: none of them */
  bool by_datum;  /* the conditions are properties of the datum, not of its positions */
} ProgDataClass;

/* A declared gate, for messages: its policies are values, routes and an origin of the program. */
typedef struct ProgGate {
  const char *name;
  const char *value;  /* the place whose value it is, "open"; of a gate at several places the first */
  int32_t origin;     /* its own loss, or -1 */
  Span span;
} ProgGate;

typedef struct ProgForbid {
  ForbidAbout about;  /* LOSS: all data, and the origins of the class's terms */
  uint32_t cond; bool negated; /* the class: data for which the condition holds (does not hold) */
  bool otherwise;     /* instead: data of no declared class */
  uint32_t region;
  OriginSet origins;  /* all, or those of `for` */
  bool strictly;
  const char *text;   /* "low to z.upper.made_by for reconstruction" */
  Span class_span, region_span, span;
} ProgForbid;

/* `monitor`: gradient norm and movement by class and region, every n steps. */
typedef struct ProgMonitor { bool present; Amount every; uint32_t *regions; uint32_t n_regions; uint32_t *classes; uint32_t n_classes; Span span; } ProgMonitor; /* classes: in Program.data_classes */

/* Rows of each batch sorted by which conditions hold (pass/group.c decides): row set k, the shape extent DIM_ROWS - k of
 * IR shapes (k >= 1), is the data whose group number is in lo[k] ..< hi[k]. */
typedef struct ProgGroups {
  uint32_t column;         /* derived column that holds each datum's condition bits */
  uint32_t n_groups;
  uint32_t *group_of_kind; /* [kind] */
  uint32_t n_sets;         /* row sets, [0] being all rows */
  uint32_t *lo, *hi;       /* [set] */
  double *share;           /* [set] expected share of the rows, each kind of datum as frequent as another */
  double operations, dense; /* of a step; if all that is masked were computed. 0: there are no masks */
  const char *why;         /* rows are not grouped because of this; NULL: they are, or there are no masks */
} ProgGroups;

/* ---- plugins ------------------------------------------------------------------------------------------------------ */
struct RoutePlugin;
struct RouteOp;
/* A plugin that some op of the program comes from. */
typedef struct ProgPlugin {
  const char *name, *version;
  const char *path;    /* of the shared object, absolute; NULL: linked into routec and its runtime */
  const char *sha256;  /* of the file, 64 hex digits; NULL likewise */
  const struct RoutePlugin *code;
  Span span;
} ProgPlugin;
/* One use of an op that is not a formula. CALL values of the program's graphs name it by its number; its state is made when
 * the job is bound, in every process. */
typedef struct ProgCall {
  uint32_t plugin;         /* in plugins */
  const struct RouteOp *op;
  CallAbility ability;
  ProgShare *params; uint32_t n_params; /* numbers, or run-time params */
  uint64_t stream;         /* XXH64 of the use's path: what its draws are keyed by */
  Span span;
} ProgCall;

/* Rows that take a branch of a `select`, apart (pass/pack.c). Row sets number `first` and on are found while the step runs. */
typedef struct ProgPacking {
  bool present;              /* the graph has branches that not every datum takes */
  const char *why;           /* nothing is packed because of this; NULL: n_sets is not 0 */
  uint32_t first, n_sets;
  double *share;             /* [row set] expected share of the rows, those below `first` included */
  const char **name;         /* [row set - first] "y.one taken" */
  double operations, dense;  /* of a step; if all branches were computed for all data */
} ProgPacking;

typedef enum OptimKind { OPTIM_SGD, OPTIM_ADAM, OPTIM_ADAMW } OptimKind;
typedef struct ProgOptim {
  OptimKind kind;
  /* rank-0 F64 values of `train`; 0 = absent. weight_decay: coupled (added to the gradient) for SGD and Adam,
   * decoupled for AdamW. clip: global L2 norm bound, after masking. */
  ValueId lr, beta1, beta2, eps, weight_decay, momentum, clip;
  bool nesterov;
  Span span;
} ProgOptim;

/* How batches are made. Classes are conditions; a datum belongs to the first of `conds` that holds for it, else to the last
 * share (`otherwise`). */
typedef enum BatchKind {
  BATCH_PLAIN,
  BATCH_SHARES,       /* every batch holds the given share of each class; what runs out starts again */
  BATCH_HOMOGENEOUS   /* every batch holds data of one class only */
} BatchKind;
typedef enum BatchOrder { BATCH_RANDOM, BATCH_ALTERNATE, BATCH_BLOCKS } BatchOrder; /* HOMOGENEOUS: of the batches of an epoch */
typedef struct ProgBatches {
  BatchKind kind;
  uint32_t *conds; uint32_t n_conds;
  const char **names; uint32_t n_names; /* of conds, and `otherwise` if it is there: else every datum must be in one of them */
  double *share;      /* [n_names], sum 1; NULL: as the data have it */
  uint32_t by;        /* 1 + derived column: which of the names each datum belongs to, in order */
  BatchOrder order;
} ProgBatches;

typedef struct ProgTrain {
  bool present;
  uint32_t source;           /* data block trained on; its part "train" */
  int64_t batch;
  Amount length, checkpoint_every, log_every, evaluate_every;
  int64_t checkpoint_keep;   /* newest n; 0 = all */
  bool shuffle, drop_last;
  uint32_t filter;           /* 1 + derived column: only data where it is not 0; 0: all */
  ProgBatches batches;
  int32_t group_rows;        /* 1 yes, 0 no, -1: where it pays */
  int32_t pack_rows;         /* likewise; of evaluations too */
  Span span;
} ProgTrain;

typedef struct ProgMetric { const char *name; Span span; } ProgMetric;
typedef struct ProgPicture { const char *name; int64_t height, width; double lo, hi; } ProgPicture; /* one column of the grid */
typedef struct ProgEval {
  const char *name;
  uint32_t source; const char *part;  /* "train" or "test" */
  uint32_t filter;   /* 1 + derived column, or 0 */
  Graph *graph;
  ProgPacking packing;
  const char *key_name; int64_t key_lo, key_hi; /* closed; key_name NULL = no groups */
  const char **key_names; /* [key]: of a class, `low` and `not low`; of its labels; NULL: numbers */
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
  ProgDerived *derived; uint32_t n_derived;
  ProgRegion *regions; uint32_t n_regions;
  ProgCond *conds; uint32_t n_conds;      /* at most 31 */
  ProgClass *classes; uint32_t n_classes;
  uint32_t *kinds; uint32_t n_kinds;      /* feasible truth assignments: bit i = condition i; n_kinds 0: too many to say */
  uint32_t kind_column;                   /* 1 + derived column with the condition bits of each training datum; 0: none (conditions at positions).
                                             Made by program_kind_column(): who needs it asks */
  ProgDataClass *data_classes; uint32_t n_data_classes;
  ProgGate *gates; uint32_t n_gates;
  ProgForbid *forbids; uint32_t n_forbids;
  ProgMonitor monitor;
  ProgGroups groups;                      /* n_sets 0: rows are not grouped */
  ProgPacking packing;                    /* of the training step */
  ValueId *cuts; uint32_t n_cuts;         /* values of the step that only `strictly` counts as ways in: clip scales, denominators */
  ProgPlugin *plugins; uint32_t n_plugins;
  ProgCall *calls; uint32_t n_calls;
  ProgOptim optim;
  ProgTrain train;
  ProgEval *evals; uint32_t n_evals;
  ProgExpect *expects; uint32_t n_expects;
  ProgSweep *sweeps; uint32_t n_sweeps;
  Graph *gradient; /* pass_gradient(), for `monitor` and `routec grad`; NULL: not wanted */
  Graph *step; /* the training step: forward after lower; with adjoints, masks and updates after the passes */
} Program;

/* `--set name=value` and friends, handed to the front end. */
typedef struct Override { const char *name, *value; } Override;
#endif
