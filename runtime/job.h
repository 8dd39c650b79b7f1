/* SPDX-License-Identifier: Apache-2.0
 * job.h -- all that passes from the compiler to the runtime: constant data and a few function pointers.
 * The runtime runs a Job and knows nothing else: no tree, no graph, no LLVM. The same header gives emitted
 * code its layout (the compiler takes offsetof from here). `routec build` prints a Job as C initialisers,
 * so every field is plain data. */
#ifndef ROUTEC_JOB_H
#define ROUTEC_JOB_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JOB_ABI 7
#define JOB_MAX_RANK 8
#define JOB_MAX_STATES 4 /* optimizer states of one parameter */

/* ---- what emitted code sees. 8-byte fields only -------------------------------------------------------------- */
typedef struct JobFrame JobFrame;
struct JobFrame {
  uint8_t *store;             /* parameters and optimizer states; offsets of JobParam. 64-byte aligned */
  uint8_t *work;              /* activations; job_work_bytes(). 64-byte aligned */
  const double *scalars;      /* [JobScalar] */
  const void *const *columns; /* [JobColumn] base of the whole part, row-major, unpadded, as dtype; readable 64 bytes past the end */
  const int32_t *order;       /* datum number of each row of this epoch (or evaluation) */
  const int64_t *starts;      /* [n_steps + 1] first row in `order` of each step of the block, and where the last one ends */
  const int64_t *sets;        /* [step of the block][row set][2]: first row in the step's batch and count; NULL: rows are not grouped */
  int64_t step;               /* global number of the block's first step, from 0 */
  int64_t n_steps;            /* steps in this block; the block never crosses an epoch */
  int64_t total_steps, steps_per_epoch;
  uint64_t seed;
  int64_t n_threads;
  double *losses;             /* [origin] of the last step done */
  double *loss_sums;          /* [origin] each step adds to it; the runtime sets it to 0 */
  int64_t bad_step;           /* out: global step whose loss was not finite (its update is not stored), or -1 */
  int64_t check;              /* nonzero: call check_step after every plan step */
  void (*barrier)(JobFrame *f, int64_t tid);
  void (*check_step)(JobFrame *f, int64_t tid, int64_t plan_step); /* called by every thread, after a barrier */
  /* Row-major C[m,n] (+)= op(A) op(B) by the BLAS, one thread; used where the plan chose it. trans: 0 or 1.
   * Leading dimensions in floats. beta is 0 or 1. */
  void (*sgemm)(int64_t trans_a, int64_t trans_b, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda,
                const float *b, int64_t ldb, float *c, int64_t ldc, double beta);
  /* A plugin's function at one call step of the job, by every thread. `rows`: of the datum axis, in the step's batch or row set.
   * at[]: its inputs, the numbers of the data (of a gate by datum), then the result; of a gradient: the value, dy, and dx of
   * each input, NULL where it is not wanted; of gradients for a map (JobCallStep.together): of each in turn the input, the value
   * and dy, then the map, a JobTileMap, and its ctx. */
  void (*call)(JobFrame *f, int64_t tid, int64_t call_step, int64_t rows, int64_t step, void *const *at);
  /* Called by code that was compiled for a profile, by every thread, `s` being the block's step: before plan step 0 (plan_step -1);
   * behind each plan step (met 0), with the 2*m*n*k of the product that it was; and when all have met behind it (met 1). */
  void (*mark)(JobFrame *f, int64_t tid, int64_t s, int64_t plan_step, int64_t met, int64_t products);
  void *profile;              /* of the function at hand; NULL: not counted */
  void *calls;                /* states and memory of the plugins' functions: runtime/plugin_call.h */
  void *host;                 /* the runtime's own */
};
/* Every thread calls it with the same frame and its number; returns when the block is done. */
typedef void (*JobEntry)(JobFrame *f, int64_t tid);

/* ---- constant data ------------------------------------------------------------------------------------------------ */
typedef enum JobDtype { JOB_F32 = 1, JOB_F64, JOB_I32, JOB_U8, JOB_BOOL } JobDtype; /* values equal ir.h's Dtype */
typedef struct JobSpan { const char *file; uint32_t line, col; } JobSpan; /* file NULL = none */

typedef enum JobInit { JOB_INIT_CONSTANT, JOB_INIT_UNIFORM, JOB_INIT_NORMAL } JobInit;
typedef struct JobParam {
  const char *path;
  int32_t rank;
  int64_t dims[JOB_MAX_RANK];    /* logical */
  int64_t strides[JOB_MAX_RANK]; /* of value and states alike, in floats */
  int64_t floats;                /* storage of each copy, padding included (padding is 0 and stays 0) */
  int64_t offset;                /* bytes from JobFrame.store to the value */
  uint32_t n_states;
  int64_t state_offset[JOB_MAX_STATES]; /* bytes */
  JobInit init; double a, b; uint64_t stream;
  bool trainable;
  JobSpan span;
} JobParam;

typedef struct JobScalar { const char *name; double value, lo, hi; bool is_int; } JobScalar;
typedef struct JobSetting { const char *name, *value, *doc; bool structural; int32_t scalar; /* index or -1 */ } JobSetting;
typedef struct JobSourceArg { const char *key, *text; double num, num2; } JobSourceArg;
typedef struct JobSource { const char *name, *reader; const JobSourceArg *args; uint32_t n_args; JobSpan span; } JobSource;
typedef struct JobColumn {
  uint32_t source; const char *name; JobDtype dtype;
  int32_t rank; int64_t dims[JOB_MAX_RANK]; /* of one datum, without the row axis */
  bool has_range; double lo, hi; JobSpan span;
  uint32_t derived;         /* 1 + index in Job.derived: not in the files */
} JobColumn;
typedef struct JobOrigin { const char *name; bool regularizer; JobSpan span; } JobOrigin;

/* One plan step's main output, for finding the first value that is not finite. */
typedef struct JobProbe { const char *name; int64_t offset; int32_t rank; int64_t dims[JOB_MAX_RANK], strides[JOB_MAX_RANK];
                          JobDtype dtype; int32_t space; /* 0 work, 1 store; -1 nothing to look at */ JobSpan span; } JobProbe;
/* A result in the work slab: [ROWS, dims...]; dims[0] = -1 stands for rows. */
typedef struct JobOutput { const char *name; int64_t offset; int32_t rank; int64_t dims[JOB_MAX_RANK], strides[JOB_MAX_RANK]; JobDtype dtype; } JobOutput;

/* What a plan step does, for profiles; as plan.h's CostTerm and Phase. */
typedef struct JobCost { double flops, products, bytes; uint32_t n; uint8_t sets[JOB_MAX_RANK]; } JobCost;
typedef enum JobPhase { JOB_FORWARD, JOB_BACKWARD, JOB_UPDATE } JobPhase;
typedef struct JobStep { const char *what, *kernel; JobPhase phase; const JobCost *costs; uint32_t n_costs; JobSpan span; } JobStep;

typedef struct JobFunction {
  const char *symbol;       /* of the JobEntry in the object code: "routec_train", "routec_eval_0" */
  JobEntry entry;           /* set by the loader (JIT) or the linker (build) */
  int64_t work_bytes;
  int64_t own_at, own_bytes; /* own_bytes != 0: each thread has so many of its own, from own_at of the work slab on */
  int64_t max_rows;         /* batch that the work slab was planned for */
  bool blas;                /* some product is computed by the BLAS: its bits depend on the number of threads */
  const JobProbe *probes; uint32_t n_probes; /* [plan step] */
  const JobStep *steps;     /* [plan step] of code that was compiled for a profile; NULL: of other code */
  uint32_t n_sets; uint64_t packed; int64_t counts_at; /* then: row sets, those that a step packs, and where their counts lie in `work`; */
  const double *set_share;  /* [set], 0: all rows: expected share of a batch's rows; NULL: 1 */
  double products;          /* and the FLOP of its products at max_rows with the row sets' expected shares */
} JobFunction;

/* Of the work slab that so many threads need. */
static inline int64_t job_work_bytes(const JobFunction *f, int64_t threads) {
  return f->own_bytes ? f->own_at + threads * f->own_bytes : f->work_bytes;
}

/* A column that is computed when the data have been read: I32, one value for each datum, in the order of the table. Values of
 * the draws equal program.h's DrawKind. */
typedef enum JobDraw { JOB_DRAW_NONE, JOB_DRAW_OBSERVE, JOB_DRAW_RANDOM_LIKE, JOB_DRAW_CHECK } JobDraw;
typedef struct JobShare { double value; int32_t scalar; /* in place of the value; -1: none */ } JobShare;
typedef struct JobDerived {
  const char *name; uint32_t source, column;
  JobDraw draw;
  JobShare recall, precision, false_positives, no; bool has_seed; uint64_t seed;
  JobOutput out; JobFunction fn; JobSpan span;
} JobDerived;
typedef struct JobClass { const char *name; uint32_t cond; /* bit of Job.kinds' column */ int32_t of; /* the class that it labels, or -1 */ } JobClass;

/* ---- functions of plugins ---- */
struct RoutePlugin;
typedef struct JobPlugin {
  const char *name, *version;
  const char *path, *sha256;                   /* of a shared object; NULL: linked in */
  const struct RoutePlugin *code;              /* NULL: not loaded yet */
  const struct RoutePlugin *(*entry)(void);    /* of one that is linked in, where code is NULL */
  JobSpan span;
} JobPlugin;
typedef enum JobAbility { JOB_SPAN, JOB_REDUCE, JOB_GATE, JOB_SCHEDULE } JobAbility; /* values equal ir.h's CallAbility */
typedef struct JobCall { /* one use of an op, with a state of its own */
  uint32_t plugin;
  const char *op;
  JobAbility ability;
  const JobShare *params; uint32_t n_params;
  uint64_t stream;
  JobSpan span;
} JobCall;
typedef struct JobCallInput { int64_t cols, ld, dx_ld; bool label; } JobCallInput; /* ld in elements; dx_ld: of its gradient */
typedef struct JobCallStep { /* one call of emitted code */
  uint32_t call;
  uint32_t site;            /* whose memory it uses: a reduction's gradient that of its value's call step, others their own */
  bool gradient, training;
  bool by_datum;            /* rows are `per` for each datum; else they are `per` */
  int64_t per, max_rows;    /* max_rows: as planned, all rows */
  uint32_t n_inputs; const JobCallInput *inputs;
  int64_t out_cols, value_ld, dy_ld; /* of a gate's result */
  int64_t tile_rows, tile_cols; /* of a sum's gradient: a tile's; tile_cols < cols only where tile_rows is 1 */
  int64_t tile_period;      /* after so many rows a new tile begins; 0: after all of them */
  uint32_t together;        /* gradients that are computed for a map, tile by tile: of this call step and those behind it; 0: none */
} JobCallStep;
/* Goes over tile number `tile`; gradients[k] is where element 0 of gradient k would lie. */
typedef void (*JobTileMap)(void *ctx, int64_t tile, const float *const *gradients);
#define JOB_TILE_FLOATS 2048 /* elements of a tile, at most. Its gradient and what is read beside it stay in the first cache */
#define JOB_TILE_CALLS 4     /* gradients at a time, at most */

typedef enum JobUnit { JOB_STEPS, JOB_EPOCHS, JOB_SECONDS } JobUnit;
typedef struct JobAmount { double n; JobUnit unit; } JobAmount; /* n == 0: none */
/* How batches are made; values equal program.h's BatchKind and BatchOrder. */
typedef enum JobBatches { JOB_BATCH_PLAIN, JOB_BATCH_SHARES, JOB_BATCH_HOMOGENEOUS } JobBatches;
typedef enum JobBatchOrder { JOB_ORDER_RANDOM, JOB_ORDER_ALTERNATE, JOB_ORDER_BLOCKS } JobBatchOrder;
/* Rows of each batch sorted by group: the group of the kind that `column` names. Row set k holds groups lo[k] ..< hi[k]. */
typedef struct JobGroups {
  uint32_t column;            /* JobColumn with the condition bits of each datum */
  uint32_t n_kinds; const uint32_t *kinds, *group_of_kind; /* [kind] */
  uint32_t n_groups, n_sets; const uint32_t *lo, *hi;      /* [set]; n_sets 0: rows are not grouped */
} JobGroups;
typedef struct JobTrain {
  bool present; uint32_t source; int64_t batch;
  uint32_t filter, by;        /* 1 + derived column: data that are kept; the class of each datum. 0: all, one class */
  JobBatches batches; JobBatchOrder order;
  uint32_t n_classes; const char *const *class_names; const double *share; /* [class]; share NULL: as the data have it */
  JobAmount length, checkpoint_every, log_every, evaluate_every;
  int64_t checkpoint_keep; bool shuffle, drop_last;
  JobGroups groups;
  JobFunction fn;
} JobTrain;

typedef struct JobPicture { const char *name; int64_t height, width; double lo, hi; JobOutput out; } JobPicture;
typedef struct JobEval {
  const char *name; uint32_t source; const char *part; int64_t batch;
  uint32_t filter;            /* 1 + derived column, 0: all data of the part */
  const char *key_name; int64_t key_lo, key_hi; JobOutput key; /* key_name NULL: no groups */
  const char *const *key_names;                                /* [key] or NULL: numbers */
  const JobOutput *metrics; uint32_t n_metrics;                /* F32 [rows] */
  const JobPicture *pictures; uint32_t n_pictures; int64_t picture_rows;
  JobFunction fn; JobSpan span;
} JobEval;

/* The routed gradients of one batch, stored nowhere else. Its frame has one scalar more than the job: the class whose
 * data contribute (an index into the job's classes), or a negative number for all data. */
typedef struct JobGradient {
  JobFunction fn;           /* symbol NULL: there is none */
  const JobOutput *grads;   /* [param] F32, logical shape; name NULL: nothing reaches it */
} JobGradient;

/* ---- whose data may move which parameters: for monitors and audits ------------------------------------------------ */
/* Entries of a parameter whose index along `axis` is in the list; axis -1: all of them. */
typedef struct JobPiece { uint32_t param; int32_t axis; const int64_t *index; int64_t n; } JobPiece;
typedef struct JobRegion { const char *name; const JobPiece *pieces; uint32_t n_pieces; } JobRegion; /* the pieces' union */
/* Data for which (some condition of `conds` holds) is not `none`; Job.kinds names the column of bits. by_datum: false where a
 * condition is about positions inside of a datum; then no datum belongs to it as a whole. kinds: those of the proof. */
typedef struct JobDataClass { const char *name; uint32_t conds; bool none, by_datum; uint64_t kinds; } JobDataClass;
/* What was proved of one parameter. Its axes are cut into labels; a cell is a row-major choice of labels. */
typedef struct JobAtoms {
  int32_t n_labels[JOB_MAX_RANK];
  const int32_t *label[JOB_MAX_RANK]; /* [axis][index] */
  uint32_t n_cells;
  const uint64_t *reach;              /* [cell]: kinds whose contents may change value, moments or counters of its entries */
} JobAtoms;
typedef struct JobProved { double lo, hi; } JobProved; /* hull of the factors; lo > hi: none */
typedef struct JobAudit {
  const JobAtoms *atoms;     /* [param]; NULL: nothing was proved */
  const JobProved *proved;   /* [data class * n_regions + region]; NULL likewise */
  const char *unproved;      /* why, or NULL */
} JobAudit;
typedef struct JobMonitor {
  bool present;
  JobAmount every;
  const uint32_t *regions; uint32_t n_regions;
  const uint32_t *classes; uint32_t n_classes; /* of Job.data_classes */
} JobMonitor;

typedef enum JobExpectOp { JX_CONST, JX_METRIC, JX_ADD, JX_SUB, JX_MUL, JX_DIV, JX_NEG, JX_LT, JX_LE, JX_GT, JX_GE,
                           JX_EQ, JX_NE, JX_AND, JX_OR, JX_NOT } JobExpectOp; /* order of program.h's ExpectOp */
typedef struct JobExpectInsn { JobExpectOp op; double num; uint32_t eval, metric; const int64_t *keys; uint32_t n_keys; } JobExpectInsn;
typedef struct JobExpect { const char *text; const JobExpectInsn *code; uint32_t n; JobSpan span; } JobExpect;
typedef struct JobSweep { const char *name, *param; const char *const *values; uint32_t n; } JobSweep;

typedef struct Job {
  uint32_t abi;               /* JOB_ABI */
  const char *title, *spec_path, *spec_text, *compiler, *target_cpu, *target_features;
  uint64_t sources_hash;      /* XXH64 over the texts of the spec and of every file it extends or uses */
  uint64_t seed, plan_hash;   /* XXH64 of the printed plan: a checkpoint names it, resume compares */
  const char *choices;        /* kernels that were measured: a checkpoint carries them, so that a resumed run has the same */
  const JobSetting *settings; uint32_t n_settings;
  JobScalar *scalars; uint32_t n_scalars;      /* values may be overridden before a run */
  const JobSource *sources; uint32_t n_sources;
  const JobColumn *columns; uint32_t n_columns;
  JobDerived *derived; uint32_t n_derived;
  JobPlugin *plugins; uint32_t n_plugins;
  const JobCall *calls; uint32_t n_calls;
  const JobCallStep *call_steps; uint32_t n_call_steps;
  const JobClass *classes; uint32_t n_classes;
  uint32_t kinds;             /* 1 + column: the condition bits of each datum trained on; 0: none */
  const JobParam *params; uint32_t n_params;
  int64_t store_bytes;
  const JobOrigin *origins; uint32_t n_origins;
  JobTrain train;
  JobEval *evals; uint32_t n_evals;
  JobGradient gradient;
  const JobRegion *regions; uint32_t n_regions;
  const JobDataClass *data_classes; uint32_t n_data_classes;
  JobMonitor monitor;
  JobAudit audit;
  const JobExpect *expects; uint32_t n_expects;
  const JobSweep *sweeps; uint32_t n_sweeps;
} Job;
#endif
