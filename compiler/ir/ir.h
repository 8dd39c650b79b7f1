/* SPDX-License-Identifier: Apache-2.0
 * ir.h -- the graph: typed, single assignment, values are indices.
 * One Graph is one function (a training step, an evaluation). Values stand in dependency order:
 * an argument's id is smaller than its user's. Id 0 is "none". */
#ifndef ROUTEC_IR_H
#define ROUTEC_IR_H
#include "arena.h"
#include "source.h"
#include <stdio.h>

typedef uint32_t ValueId;

typedef enum Op {
  OP_NONE,
#define OP(NAME, text, nargs, cls) OP_##NAME,
#include "op.def"
#undef OP
  OP_COUNT
} Op;

typedef enum OpClass { OPC_LEAF, OPC_ELT, OPC_VIEW, OPC_RED, OPC_MIX } OpClass;

typedef enum Dtype { DT_NONE, DT_F32, DT_F64, DT_I32, DT_U8, DT_BOOL } Dtype; /* BOOL is stored as one byte 0 or 1 */

#define IR_MAX_RANK 8
#define DIM_ROWS (-1) /* the datum axis: a run-time extent */
/* Row set k >= 1 is the extent DIM_ROWS - k: rows of the batch whose count (it may be 0) is known at run time. Set 0 is all
 * rows. Those of a set that RSLICE cuts are consecutive, from a start that the runtime gives with the count; those of a packed
 * set are found while the step runs (ROWLIST). */
#define IR_MAX_SETS 64
static inline bool dim_is_rows(int64_t d) { return d < 0; }
static inline int64_t dim_of_set(int64_t set) { return DIM_ROWS - set; }
static inline int64_t dim_set(int64_t d) { return DIM_ROWS - d; } /* of a run-time extent */
typedef struct Shape { int32_t rank; int64_t d[IR_MAX_RANK]; } Shape;

typedef enum ClockKind {
  CLOCK_ROWS,            /* rows of this step's batch */
  CLOCK_STEP,            /* global step, 0 for the first */
  CLOCK_TOTAL_STEPS,     /* planned length of the run */
  CLOCK_STEPS_PER_EPOCH
} ClockKind;

/* What a CALL calls: a sum over elements (result rank-0 F32), statistics over rows (likewise), weights of rows (F32, the
 * inputs' rows and a last axis of units; the shape is given), a number from clocks (rank-0 F64). */
typedef enum CallAbility { CALL_SPAN, CALL_REDUCE, CALL_GATE, CALL_SCHEDULE } CallAbility;

typedef uint64_t OriginSet; /* bit i = origin i of the Program; at most 64 */

typedef enum Phase { PHASE_FORWARD, PHASE_ADJOINT, PHASE_UPDATE } Phase;

typedef struct Value {
  Op op;
  Dtype dtype;
  Shape shape;
  Phase phase;
  uint32_t n_args, n_ints;
  ValueId *args;
  int64_t *ints;
  double num;         /* CONST splat */
  const double *data; /* CONST tensor, row-major, or NULL */
  OriginSet origins;  /* adjoints: the origins this is an adjoint of; else 0 */
  Span span;          /* the expression that asked for it; adjoints inherit their value's */
  const char *name;   /* "encoder.fc1.out", "grad for encoder.fc1.weight"; NULL if anonymous */
} Value;

/* What a graph is for. Everything not reachable from a root is dead. */
typedef enum RootKind {
  ROOT_LOSS,    /* a = origin; rank-0 F32 */
  ROOT_GRAD,    /* a = param: gradient for tests and `routec grad`; the parameter's shape */
  ROOT_PARAM,   /* a = param: next value */
  ROOT_STATE,   /* a = param, b = k: next optimizer state */
  ROOT_METRIC,  /* a = metric of the evaluation; F32 [ROWS] */
  ROOT_KEY,     /* the evaluation's group key, I32 [ROWS] */
  ROOT_PICTURE, /* a = picture column; F32 [ROWS, ...] */
  ROOT_SELECTION, /* a = number, b = branches of the select: F32 [ROWS], 1 where a datum takes the branch, else 0. For
                     pass_pack() alone, which ends it: nobody reads it back */
  ROOT_KEEP     /* a = any number: a value that must be materialised and can be read back (tests, monitors) */
} RootKind;
typedef struct Root { RootKind kind; uint32_t a, b; ValueId value; } Root;
static inline bool root_has_b(RootKind k) { return k == ROOT_STATE || k == ROOT_SELECTION; }

typedef struct Graph {
  Arena *arena;
  const char *name; /* "train", "eval halves" */
  Value *v;         /* v[1 .. n-1] */
  uint32_t n, cap;
  Root *roots;
  uint32_t n_roots, cap_roots;
  Phase phase;      /* given to new values */
} Graph;

/* ---- building ---------------------------------------------------------------------------------------- */
Graph *graph_create(Arena *a, const char *name);
/* Appends a value. `shape` and `dtype` are taken from the op's rule when NULL / DT_NONE (an op whose rule
 * cannot know them needs them). A violated rule is our own error: message, dump of the value, abort().
 * Callers that pass on user mistakes ask ir_check_args() first. args and ints are copied. */
ValueId ir_make(Graph *g, Op op, Span span, const ValueId *args, uint32_t n_args, const int64_t *ints,
                uint32_t n_ints, double num, const Shape *shape, Dtype dtype);
/* NULL if the op's rule accepts them, else what is wrong (arena text). */
const char *ir_check_args(Graph *g, Op op, const ValueId *args, uint32_t n_args, const int64_t *ints,
                          uint32_t n_ints, const Shape *shape, Dtype dtype);
void graph_root(Graph *g, RootKind kind, uint32_t a, uint32_t b, ValueId value);

/* Shorthands. ir_make too takes the span of the first argument that has one when `span.file` is 0. */
ValueId ir_const(Graph *g, Span s, double num, const Shape *shape, Dtype dtype);             /* splat */
ValueId ir_const_data(Graph *g, Span s, const double *data, const Shape *shape, Dtype dtype); /* copies */
ValueId ir_un(Graph *g, Op op, ValueId a);
ValueId ir_bin(Graph *g, Op op, ValueId a, ValueId b); /* a rank-0 side is broadcast to the other's shape,
                                                         and cast if it is F64 and the other an F32 tensor */
ValueId ir_where(Graph *g, ValueId c, ValueId a, ValueId b); /* likewise */
/* cast, bcast, reshape, transpose, slice, reduce that change nothing return their argument. */
ValueId ir_cast(Graph *g, ValueId a, Dtype to);
ValueId ir_bcast(Graph *g, ValueId a, const Shape *to, const int64_t *map); /* map[i] = source axis or -1 */
ValueId ir_bcast_scalar(Graph *g, ValueId a, const Shape *to);
ValueId ir_reduce(Graph *g, Op op, ValueId a, const int64_t *axes, uint32_t n);
ValueId ir_reshape(Graph *g, ValueId a, const Shape *to);
ValueId ir_transpose(Graph *g, ValueId a, const int64_t *perm);
ValueId ir_slice(Graph *g, ValueId a, int64_t axis, int64_t start, int64_t step, int64_t len);
ValueId ir_rslice(Graph *g, ValueId a, int64_t set); /* a itself if it has no ROWS axis or set is 0 */
/* linear-style contraction: a's axis list against b's axis list, no batch axes unless given */
ValueId ir_dot(Graph *g, ValueId a, ValueId b, const int64_t *batch_a, const int64_t *batch_b, uint32_t nb,
               const int64_t *con_a, const int64_t *con_b, uint32_t nc);
ValueId ir_clock(Graph *g, ClockKind k);
/* The value of call `call` of the program. units: of a gate's result, else 0. Appends what the op wants beside the inputs
 * (DATUM, clocks). training: false in evaluations. An input whose gradient the plugin does not give goes in under a STOP.
 * NULL in *why, or what is wrong with the inputs (arena text), and 0 is returned. */
ValueId ir_call(Graph *g, Span s, uint32_t call, CallAbility ability, const ValueId *inputs, uint32_t n_inputs,
                int64_t units, bool training, const char **why);
/* A CALL's inputs: its first arguments. A gate's DATUM stands behind them. */
uint32_t ir_call_inputs(const Graph *g, const Value *v);
static inline bool ir_call_is_gradient(const Value *v) { return v->ints[1] > 0; }
/* Rows and columns of an input: columns are the last axis, but neither ROWS nor an axis of integers. */
int ir_call_lead(const Value *input); /* axes that are rows */

static inline Value *ir_value(const Graph *g, ValueId id) { return &g->v[id]; }
/* shape_of(rank, dims...): shape_of(0), shape_of(2, DIM_ROWS, 3). The list is an int64_t array, so plain ints are fine. */
#define shape_of(...) shape_from_list((const int64_t[]){__VA_ARGS__})
Shape shape_from_list(const int64_t *rank_then_dims);
bool shape_equal(const Shape *a, const Shape *b);
/* Elements, with ROWS and every row set counted as `rows`; -1 on overflow of int64. */
int64_t shape_count(const Shape *s, int64_t rows);
const char *op_name(Op op);
OpClass op_class(Op op);
const char *dtype_name(Dtype t);
size_t dtype_size(Dtype t);

/* ---- text: parse(print(g)) == g -------------------------------------------------------------------------- */
void graph_print(const Graph *g, FILE *f);
/* Returns NULL and sets *why on a malformed text. */
Graph *graph_parse(Arena *a, const char *text, const char **why);
bool graph_equal(const Graph *a, const Graph *b);

/* ---- the checker after every pass: NULL if sound, else the first violation (arena text) -------------------- */
const char *graph_verify(Graph *g);

/* ---- the oracle: a naive interpreter in double --------------------------------------------------------------- */
/* One CALL for the function that knows plugins. Inputs, the value and dy are row-major; out is zeroed. */
typedef struct EvalCall {
  uint32_t call, what;
  CallAbility ability;
  bool training;
  uint32_t n_inputs;
  const double *const *input; /* [n_inputs] */
  const bool *label;          /* [n_inputs] */
  const int64_t *cols;        /* [n_inputs] */
  int64_t rows, out_cols;     /* of each input (of a span or a parameter: of the first); of the result */
  const int32_t *datum, *position; /* [row] of a gate */
  const double *value, *dy;   /* of gradients */
  double step;
  uint64_t seed;
  double *out;
} EvalCall;
typedef void EvalCallFn(void *ctx, const EvalCall *c);

typedef struct EvalInput {
  int64_t rows;                 /* rows of the batch */
  const double *const *params;  /* [param] row-major logical values */
  const double *const *const *states; /* [param][k] */
  const double *const *columns; /* [column] row-major: row r of the batch first; already this batch's rows */
  const int32_t *datum;         /* [rows] datum numbers; NULL = 0,1,2.. */
  const int64_t (*sets)[2];     /* [set] start and count in the batch, [0] and packed sets unread; NULL: the graph has no others */
  const double *scalars;        /* [scalar] */
  double step, total_steps, steps_per_epoch;
  uint64_t seed;
  EvalCallFn *call; void *call_ctx; /* what computes CALL; NULL: the graph has none */
  uint64_t rounding;            /* not 0: values of F32 go to a float beside them, which one is drawn by this seed, and the mean of
                                   the draws is the value; equal numbers go the same way. What rounding alone does to a result */
} EvalInput;
typedef struct EvalResult { double **value; /* [ValueId] row-major, NULL if not reachable from a root */ } EvalResult;
/* Computes every value that a root needs. All float types are evaluated in double (CAST to F32 does not
 * round), integers and booleans exactly. Results live in `a`. */
EvalResult graph_eval(const Graph *g, Arena *a, const EvalInput *in);
/* With every run-time extent replaced by its number. */
Shape eval_extents(const EvalInput *in, const Shape *s);
#endif
