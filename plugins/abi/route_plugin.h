/* SPDX-License-Identifier: Apache-2.0
 * route_plugin.h -- the whole contract between routec and a plugin. Depends on nothing but the C library; valid C11
 * and C++11.
 *
 * A plugin is a shared object with one exported function, route_plugin_v1(), that returns constant data: ops, which
 * are regularizers, gates and schedules of the language. What an op can do is found by name: op->extension(op, id).
 *   "route.expr/1"      a formula: routec differentiates, masks, fuses and inlines it; no call is left
 *   "route.span/1"      value and gradient of a sum over elements, called for tiles
 *   "route.reduce/1"    statistics over the batch, of one tensor or of several
 *   "route.gate/1"      weights of rows, with a random key
 *   "route.schedule/1"  a number that changes with the step
 * An op offers one of them or several; routec takes the formula if there is one. Names that begin with "route." and
 * are not listed ("route.source/1" for data, "route.environment/1") are kept for later: return NULL for what you do not know.
 *
 * When a function may be called, and what it may do:
 *   [load]  any time after the shared object was loaded, by any thread; pure
 *   [bind]  before the first step, in every process, built trainers too; may allocate and fail
 *   [step]  inside of a training step, by several threads at once: no allocation, no lock, no I/O; the same arguments
 *           give the same bits
 *
 * Growing: every struct that is passed by pointer begins with its size; fields are only appended, with a higher minor
 * version. A field is there if the other side's struct reaches past it: ROUTE_HAS. RouteAbi, RouteView and RouteInsn
 * never grow; an op's tables of inputs and parameters name the size of their rows. */
#ifndef ROUTE_PLUGIN_H
#define ROUTE_PLUGIN_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

#define ROUTE_ABI_MAGIC 0x45545552u /* "RUTE" */
#define ROUTE_ABI_MAJOR 1           /* must be equal */
#define ROUTE_ABI_MINOR 1           /* the plugin's may be lower */
#define ROUTE_HAS(s, T, f) ((s)->size >= offsetof(T, f) + sizeof((s)->f) && (s)->f)

typedef struct RouteAbi { /* no padding: compared before any function but route_plugin_v1() is called */
  uint32_t magic, major, minor;
  uint32_t sizeof_ptr, sizeof_real, align_real;
} RouteAbi;
#define ROUTE_ABI_INIT { ROUTE_ABI_MAGIC, ROUTE_ABI_MAJOR, ROUTE_ABI_MINOR, sizeof(void *), sizeof(float), 64 }

/* ---- an op ----------------------------------------------------------------------------------------------------- */
enum RouteKind {
  ROUTE_REGULARIZER = 1, /* tensors -> a number, which is added to the loss */
  ROUTE_GATE = 2,        /* tensors -> weights for each row */
  ROUTE_SCHEDULE = 3     /* nothing -> a number for each step */
};

/* A number that a specification gives by name: topk_sparsity(x, k = 8). */
enum RouteParamFlags {
  ROUTE_PARAM_INT = 1,       /* integers only */
  ROUTE_PARAM_STRUCTURAL = 2 /* known when the specification is compiled: shapes depend on it */
};
typedef struct RouteParam {
  const char *name, *doc;
  double def;      /* NAN: must be given */
  double min, max; /* inclusive; infinities where there is no bound */
  uint32_t flags, reserved;
} RouteParam;

/* A tensor argument. Rows are all axes but the last (data, and positions in them; for a parameter, its rows), columns
 * are the last axis (units). */
enum RouteInputKind {
  ROUTE_REAL = 0,  /* float; differentiated */
  ROUTE_LABEL = 1  /* integers: an id, a label; one column */
};
typedef struct RouteInput {
  const char *name, *doc;
  uint32_t kind, reserved;
} RouteInput;

typedef struct RouteHost { /* owned by routec */
  uint32_t size;
  void *ctx;
  void (*fail)(void *ctx, const char *msg);            /* [bind] the op cannot be made; msg is copied and shown to the user */
  void *(*alloc)(void *ctx, size_t n, size_t align);   /* [bind] zeroed, freed by routec; NULL: no memory */
  const void *(*extension)(void *ctx, const char *id); /* [bind] services of later versions, or NULL */
} RouteHost;

typedef struct RouteOp { /* one name in the language */
  uint32_t size, kind;
  const char *name, *doc; /* doc: one line, then, after a newline, as much as `routec plugin show` should print */
  const RouteInput *inputs; /* [n_inputs], each input_size bytes */
  const RouteParam *params; /* [n_params], each param_size bytes */
  uint32_t n_inputs, n_params, input_size, param_size;
  /* The state of one use, from its parameters' values, in their order; NULL: no state. NULL is a valid state too; failure
   * is what host->fail says. [bind] */
  void *(*create)(const struct RouteOp *self, const RouteHost *host, const double *params);
  const void *(*extension)(const struct RouteOp *self, const char *id); /* [load] */
} RouteOp;

typedef struct RoutePlugin {
  uint32_t size;
  RouteAbi abi; /* = ROUTE_ABI_INIT */
  const char *name, *version, *license; /* version: "1.2.0" */
  const RouteOp *const *ops;            /* NULL-terminated */
} RoutePlugin;

/* Rows lie ld elements apart (ld >= cols). Exactly one of x and label is set. Passed in arrays, so this struct never grows. */
typedef struct RouteView {
  uint32_t size;
  uint32_t reserved;
  const float *x;
  const int32_t *label;
  size_t rows, cols, ld;
} RouteView;

/* ---- route.expr/1: a postfix formula ------------------------------------------------------------------------------- */
/* A value has rows and units (an input), units only (an input of one row that is the same for all data: a vector of
 * parameters), rows only (labels), or neither (a number). Operands of different kinds are stretched. A regularizer's
 * formula ends with one number, a gate's with rows, with units or without; a schedule's with a number made of parameters
 * and clocks. Every instruction with RANDOM draws anew. */
#define ROUTE_EXT_EXPR "route.expr/1"
typedef enum RouteExprOp {
  ROUTE_X_END,
  /* push */
  ROUTE_X_INPUT,  /* input number arg (labels as real numbers) */
  ROUTE_X_PARAM,  /* parameter number arg */
  ROUTE_X_CONST,  /* imm */
  ROUTE_X_GET,    /* what SET stored in slot arg */
  ROUTE_X_UNIT,   /* 0, 1, ... along the units of input arg */
  ROUTE_X_STEP, ROUTE_X_TOTAL_STEPS, ROUTE_X_STEPS_PER_EPOCH, /* of training; in evaluations a formula with them is an error */
  ROUTE_X_TRAINING, /* 1 in training, 0 in evaluations */
  ROUTE_X_RANDOM,   /* uniform in [0, 1) for each row and unit of input arg; 0.5 in evaluations */
  /* pop one */
  ROUTE_X_SET,    /* into slot arg (0 to 15) */
  /* one to one */
  ROUTE_X_NEG, ROUTE_X_ABS, ROUTE_X_SIGN, ROUTE_X_SQRT, ROUTE_X_EXP, ROUTE_X_LOG, ROUTE_X_TANH, ROUTE_X_SIGMOID,
  ROUTE_X_SOFTPLUS, ROUTE_X_ERF, ROUTE_X_RELU, ROUTE_X_SIN, ROUTE_X_COS, ROUTE_X_FLOOR, ROUTE_X_NOT,
  ROUTE_X_STOP,   /* the same value, without derivative */
  ROUTE_X_SUM_UNITS, ROUTE_X_MEAN_UNITS, ROUTE_X_MAX_UNITS, /* units vanish */
  ROUTE_X_ARGMAX_UNITS,                                     /* index of the first largest unit, as a real number */
  ROUTE_X_SUM_ROWS, ROUTE_X_MEAN_ROWS,                      /* rows vanish */
  /* two to one: (a, b), b on top */
  ROUTE_X_ADD, ROUTE_X_SUB, ROUTE_X_MUL, ROUTE_X_DIV, ROUTE_X_MIN, ROUTE_X_MAX, ROUTE_X_POW,
  ROUTE_X_LT, ROUTE_X_LE, ROUTE_X_EQ, ROUTE_X_AND, ROUTE_X_OR, /* truth values: for SELECT, NOT, AND, OR */
  ROUTE_X_STRAIGHT, /* (hard, soft): hard's value, soft's derivative */
  /* three to one */
  ROUTE_X_SELECT,   /* (condition, a, b) */
  ROUTE_X_COUNT_
} RouteExprOp;
typedef struct RouteInsn {
  uint32_t op, arg;
  double imm;
} RouteInsn;
typedef struct RouteExpr {
  uint32_t size;
  uint32_t reserved;
  const RouteInsn *code; /* ends with ROUTE_X_END */
} RouteExpr;
/* To write code with: { ROUTE_ARG(INPUT, 0), ROUTE_DO(ABS), ROUTE_DO(SUM_UNITS), ROUTE_NUMBER(2), ROUTE_DO(MUL), ROUTE_DO(END) } */
#define ROUTE_DO(op) { ROUTE_X_##op, 0, 0 }
#define ROUTE_ARG(op, arg) { ROUTE_X_##op, arg, 0 }
#define ROUTE_NUMBER(imm) { ROUTE_X_CONST, 0, imm }

/* ---- route.span/1: regularizers of one input, a sum over its elements ------------------------------------------------- */
/* Called once per tile, never per element. The penalty is the sum of the values of the tiles, however the tensor is cut into
 * tiles: no element may know of another. */
#define ROUTE_EXT_SPAN "route.span/1"
typedef struct RouteSpan {
  uint32_t size;
  uint32_t reserved;
  double (*value)(const void *state, const RouteView *x);                                 /* [step] this tile's share */
  void (*grad)(const void *state, const RouteView *x, float scale, float *dx, size_t ldd); /* [step] dx += scale * d value / d x: adds, never stores */
  /* Since minor version 1. dx = scale * d value / d x: stores every element of the tile. NULL: grad() is given zeros instead, which are written first. [step] */
  void (*store)(const void *state, const RouteView *x, float scale, float *dx, size_t ldd);
} RouteSpan;

/* ---- route.reduce/1: regularizers over the batch, of one input or of several ------------------------------------------ */
/* All inputs have the same rows (a vector of parameters comes repeated). partial() of each tile of rows into an accumulator that was zeroed, merged in a fixed order, then finish(), then
 * the gradient, tile by tile: in[] are then the rows of a tile, and acc is what finish() left. */
#define ROUTE_EXT_REDUCE "route.reduce/1"
typedef struct RouteReduce {
  uint32_t size;
  uint32_t reserved;
  /* [bind] bytes, from the columns of each input and the most rows that a batch has; at most 2^30 */
  size_t (*acc_size)(const void *state, const size_t *cols, size_t max_rows);
  void (*partial)(const void *state, const RouteView *in, void *acc);   /* [step] adds a tile; in: [n_inputs] */
  void (*merge)(const void *state, const size_t *cols, void *acc, const void *other); /* [step] acc += other */
  double (*finish)(const void *state, const size_t *cols, size_t rows, void *acc);   /* [step] the value; may leave what grad() needs in acc */
  void (*grad)(const void *state, const void *acc, size_t rows, const RouteView *in, float scale, float *const *dx,
               const size_t *ldd); /* [step] dx[i] += scale * d value / d in[i]; dx[i] may be NULL: not wanted. rows: of the batch */
} RouteReduce;

/* ---- route.gate/1: weights for each row ---------------------------------------------------------------------------------- */
/* What random numbers are keyed by, so that they depend neither on threads nor on tiles nor on resuming. */
typedef struct RouteKey {
  uint32_t size;
  uint32_t training;       /* 1; 0 in evaluations: gates that draw should not then */
  uint64_t seed, stream;   /* of the run; of this use */
  int64_t step;
  const int32_t *datum;    /* [row] number of the datum */
  const int32_t *position; /* [row] of the row in its datum */
} RouteKey;
/* Rows are independent of one another. Every input has the rows of the tile, as y and key have: one that is the same for all
 * data comes repeated. */
#define ROUTE_EXT_GATE "route.gate/1"
enum RouteGateFlags {
  ROUTE_GATE_ESTIMATE = 1 /* grad() is meant as an estimate (straight-through and its like), not as the derivative of value() */
};
typedef struct RouteGate {
  uint32_t size;
  uint32_t flags;
  size_t (*units)(const double *params, const size_t *cols); /* [load] columns of the result: at least 1 */
  void (*value)(const void *state, const RouteView *in, const RouteKey *key, float *y, size_t ldy); /* [step] stores y */
  /* [step] dx[i] += dy . d y / d in[i]; dx[i] is NULL for labels and where it is not wanted. NULL: no gradient passes. */
  void (*grad)(const void *state, const RouteView *in, const RouteKey *key, const RouteView *y, const RouteView *dy,
               float *const *dx, const size_t *ldd);
} RouteGate;

/* ---- route.schedule/1 ------------------------------------------------------------------------------------------------------ */
typedef struct RouteClock {
  uint32_t size;
  uint32_t reserved;
  double step, total_steps, steps_per_epoch; /* step: 0 is the first; total_steps: planned, NAN where it is not known */
} RouteClock;
#define ROUTE_EXT_SCHEDULE "route.schedule/1"
typedef struct RouteSchedule {
  uint32_t size;
  uint32_t reserved;
  double (*value)(const void *state, const RouteClock *clock); /* [step] */
} RouteSchedule;

/* ---- random numbers ---------------------------------------------------------------------------------------------------------- */
/* Uniform in [0, 1) with 24 bits: number i of n of a row. Philox4x32-10 (Salmon et al. 2011). */
static inline float route_uniform(const RouteKey *key, size_t row, uint32_t i, uint32_t n) {
  uint32_t c0 = (uint32_t)key->position[row] * n + i, c1 = (uint32_t)key->datum[row], c2 = (uint32_t)key->step,
           c3 = (uint32_t)key->stream, k0 = (uint32_t)key->seed, k1 = (uint32_t)(key->seed >> 32);
  for (int round = 0; round < 10; round++) {
    const uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
    const uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
    c1 = (uint32_t)p1, c3 = (uint32_t)p0, c0 = n0, c2 = n2;
    k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
  }
  return (float)(c0 >> 8) * 5.9604644775390625e-08f; /* 2^-24 */
}

/* ---- the one symbol ------------------------------------------------------------------------------------------------------------ */
#if defined(_WIN32)
#define ROUTE_EXPORT __declspec(dllexport)
#else
#define ROUTE_EXPORT __attribute__((visibility("default")))
#endif
#ifndef ROUTE_PLUGIN_ENTRY /* plugins that are linked into routec have a name of their own */
#define ROUTE_PLUGIN_ENTRY route_plugin_v1
#endif
/* A pure function: no allocation, no side effect; always the same pointer. [load] */
ROUTE_EXPORT const RoutePlugin *ROUTE_PLUGIN_ENTRY(void);

#ifdef __cplusplus
}
#endif
#endif
