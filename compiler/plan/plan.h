/* SPDX-License-Identifier: Apache-2.0
 * plan.h -- what will be executed: ordered steps over buffers with offsets, each decision with its reason.
 * The emitter decides nothing: it walks these structures. Nothing here knows LLVM. */
#ifndef ROUTEC_PLAN_H
#define ROUTEC_PLAN_H
#include "program.h"
#include "proof.h"
#include "job.h"

/* n, or n times the rows of a row set: 1 + set, set 0 being the whole batch. */
typedef struct Extent { int64_t n; uint32_t rows; } Extent;

typedef enum Space {
  SPACE_WORK,   /* JobFrame.work + offset */
  SPACE_OWN,    /* JobFrame.work + plan_own_at() + own_bytes * thread + offset: every thread computes it for itself */
  SPACE_STORE,  /* JobFrame.store + offset: parameters and states */
  SPACE_COLUMN, /* JobFrame.columns[index], row r at order[pos + r] */
  SPACE_CONST,  /* constant tensor data, emitted as a private global (of the value's dtype) */
  SPACE_SCALAR, /* JobFrame.scalars[index] */
  SPACE_TILE    /* the gradient of the step's call number `index`, of which a thread has a tile at a time */
} Space;

typedef uint32_t BufferId; /* 0 = none: the value is computed where it is used */
typedef struct Buffer {
  ValueId value;               /* whose contents (of the defining value) */
  Space space;
  int64_t offset;              /* bytes (WORK, OWN, STORE) */
  uint32_t index;              /* COLUMN, SCALAR: number */
  Dtype dtype;
  Shape shape;                 /* logical */
  int64_t strides[IR_MAX_RANK];/* elements; the unit-stride axis is padded to 16 where it has at least 16 elements */
  int64_t bytes;               /* at max_rows (WORK, OWN) */
  uint32_t first, last;        /* steps between which it is live (WORK); a buffer whose last == UINT32_MAX is kept to the end */
  uint32_t over;               /* WORK: the buffer whose place it takes: the step that stores it reads that at the same element, for the
                                  last time, and nobody else does in its wave; 0: none */
} Buffer;

/* A strided look at a buffer, after views were resolved. Bytes = offset of buffer + sizeof(dtype) times the start, to
 * which set != 0 adds the first row of that row set times set_stride. */
typedef struct View { BufferId buffer; int64_t start; int64_t strides[IR_MAX_RANK]; Shape shape; uint32_t set; int64_t set_stride; } View;

typedef enum GemmImpl { GEMM_EMITTED, GEMM_BLAS } GemmImpl;
/* C[g][m][n] = sum_k A[g][m][k] * B[g][k][n], for each g of a batch. Strides in floats.
 * Of (am, ak) one is 1 or the extent is 1, likewise (bk, bn); c has cn == 1 (the plan swaps A and B if the result
 * is wanted transposed). */
typedef struct GemmGeom {
  Extent m, n, k;
  uint32_t n_batch; Extent batch[4];
  int64_t a_batch[4], b_batch[4], c_batch[4];
  int64_t am, ak, bk, bn, cm;
} GemmGeom;
typedef struct GemmTile {
  int32_t mr, nv; /* rows, 16-float vectors of the register tile */
  int32_t kc, mc, nc;
  bool pack_a, pack_b;
  bool pad_b;     /* B's columns behind the last whole vectors are copied to a panel of whole ones */
  int32_t split;  /* 0: threads split M, 1: N, 2: the batch */
  int32_t grain;  /* threads share M in such multiples; 0: of mr */
  bool flip;      /* C's transpose is computed: mr, nc, mc and packing are that product's */
  bool whole;     /* K fits kc at every batch: sums never stop half-way, and C holds none */
} GemmTile;

typedef enum StepKind {
  STEP_MAP,    /* at every point of `space`: compute the outputs' values and store them */
  STEP_REDUCE, /* outputs are SUM/AMAX/ARGMAX values of one argument shape `space`; `axes` are reduced; arguments inlined */
  STEP_GEMM,   /* a DOT; then at every (g.., m, n) the outputs, of which the dot itself may be one, are stored */
  STEP_SCATTER,/* SCATTER or FOLD: zero the output, then add in fixed order */
  STEP_PACK,   /* ROWLIST or ROWPLACE: one thread goes through the rows in order; a list's count is what later steps find */
  STEP_CALL,   /* a plugin's function: outs are a CALL's value, or gradients of one use */
  STEP_CHECK   /* leave the block unless all losses are finite; add them up */
} StepKind;

/* `flops` and `bytes` for each product of the rows of some row sets; n 0: whatever the rows are. */
typedef struct CostTerm {
  double flops, products, bytes; /* products: those of `flops` that are 2*m*n*k of a GEMM */
  uint32_t n; uint8_t sets[IR_MAX_RANK]; /* ascending */
} CostTerm;

typedef struct StepOut { ValueId value; BufferId buffer; } StepOut;

/* Contract with the emitter:
 *  - All outputs of a point are computed before any of them is stored: a SPACE_STORE output overwrites in place the
 *    old value that it or its neighbours read at the same index. An output that another output of the same step reads
 *    is computed once, not loaded; so is the dot of a GEMM. Every other value with a buffer is loaded.
 *  - GEMM: `a` and `b` are A and B of the geometry (after a swap), both in WORK, OWN or STORE. outs[0] is F32
 *    and has the strides of C (c_batch, cm, 1); unless tile.whole it lies in WORK and may hold partial sums between blocks of K.
 *    The dot's result axes are, in order: geom.batch[i] = axis i (i < n_batch); then the first argument's other free
 *    axes, collapsed row-major to M (swapped: N); then the second argument's free axes, collapsed to N (swapped: M).
 *  - CALL: one call of JobFrame.call with the addresses of the arguments' views, then of the outputs: the value, or the gradient of
 *    each input, NULL where outs has none.
 *  - SCATTER: the arguments may be inlined values; `space` is the shape of the first argument.
 *  - MAP with calls: tiles are numbered as the loops come to them. For each tile JobFrame.call has the gradients computed, then the map
 *    goes over the tile; what a call reads of memory that the map overwrites lies in the same tile.
 *  - MAP with outputs in OWN: each thread goes over all of the space. It reads columns, numbers and constants only.
 *  - A COLUMN buffer is compact: strides[0] is the number of elements of one datum. */
typedef struct Step {
  StepKind kind;
  StepOut *outs; uint32_t n_outs;
  Shape space;                 /* iteration space: MAP, GEMM: the outputs' shape; REDUCE: the argument's shape */
  uint8_t order[IR_MAX_RANK];  /* MAP, REDUCE: loop order of the axes, outermost first; the last is vectorised */
  uint32_t reduced;            /* REDUCE: bit set of reduced axes */
  ValueId dot;                 /* GEMM: the DOT value (SCATTER/FOLD: outs[0].value) */
  GemmGeom geom; View a, b; GemmImpl impl; GemmTile tile;
  bool swapped;                /* GEMM: A of the geometry is the dot's second argument */
  bool barrier;                /* threads meet after this step */
  uint32_t wave;               /* between steps of one wave threads do not meet: each reads only what it has itself stored */
  bool follows;                /* it reads something that its own wave stored */
  double flops_per_row, flops_fixed; /* counted as 2*m*n*k for GEMM, 1 per element and op otherwise; a row of a row set
                                        counts as the set's expected share */
  CostTerm *cost; uint32_t n_cost; /* the same by true rows, and the bytes of the values that are loaded and stored, each once */
  View *args; uint32_t n_args; /* CALL: of the values' arguments. Rows of inputs collapse, units have stride 1 */
  struct Step *calls; uint32_t n_calls; /* MAP: CALLs, each a gradient in SPACE_TILE, computed a tile before the map goes over it */
  int tile_position; int64_t tile_chunk; /* n_calls != 0: of axis order[tile_position] so many, of those before it one, of those behind it all */
  uint32_t call_step;          /* CALL: in the plan */
  const char *reason;          /* why it is this step: "dot 2048x784 by emitted kernel 8x3: ..." */
  Span span;
} Step;

typedef struct PlanFn {
  const Graph *graph;
  const char *symbol;
  int64_t max_rows;
  uint32_t n_sets;             /* row sets in JobFrame.sets, set 0 included; 0: none */
  uint64_t packed;             /* bit k: row set k is packed: its rows are found by a step, and planned for all rows */
  const double *set_share;     /* [set] expected share of the batch's rows; NULL: 1 */
  BufferId *buffer_of;         /* [ValueId]; 0 = inlined where used */
  Buffer *buffers; uint32_t n_buffers; /* buffers[1 ..] */
  Step *steps; uint32_t n_steps;
  BufferId *root_buffer;       /* [root]: where each root's value lies */
  int64_t work_bytes;          /* planned peak, alignment included */
  int64_t work_unshared;       /* without reuse of memory, for the report */
  int64_t own_bytes;           /* of each thread's copies, behind all of that */
} PlanFn;

typedef struct ParamPlace { int64_t strides[IR_MAX_RANK]; int64_t floats, offset, state_offset[4]; } ParamPlace;

typedef struct TargetInfo { /* filled by the back end's detection or by --target */
  char cpu[64]; char features[4096];
  int32_t vector_floats;       /* 16 AVX-512, 8 AVX2+FMA, 4 otherwise */
  bool fma;
  int64_t l1, l2;              /* bytes */
} TargetInfo;

/* target.c. The caches of this machine, and one of the targets that have names of ours ("x86-64-v2", -v3, -v4); false: none of
 * that name. */
bool target_named(const char *name, TargetInfo *out);
/* What LLVM calls the processor and its features, into what the plan asks for. */
void target_of_host(TargetInfo *out, const char *cpu, const char *features);

typedef struct Plan {
  Arena *arena;
  const Program *program;
  TargetInfo target;
  ParamPlace *params;
  int64_t store_bytes;
  PlanFn train;                /* graph NULL if the spec does not train */
  PlanFn *evals;
  PlanFn *derived;             /* [derived column] */
  uint32_t n_call_steps;       /* numbered through all functions, `gradient` last */
  PlanFn gradient;             /* graph NULL if nobody wants it; changes no other function, and not the hash */
  const char *choices;         /* what was taken from PlanOptions.measured, as plan_choices_text(); "": nothing */
  uint64_t hash;               /* XXH64 of the printed plan */
} Plan;

typedef struct GemmChoices GemmChoices;
typedef struct PlanOptions {
  bool reuse_memory; bool force_blas; bool no_fuse; bool only_gradient; int64_t eval_rows;
  const GemmChoices *measured; /* kernels that were measured, or NULL */
} PlanOptions;

/* Plans all functions of a program whose passes are done. */
int64_t plan_eval_rows(const Program *p); /* of a batch of an evaluation */
Plan *plan_make(Arena *a, const Program *p, const TargetInfo *t, const PlanOptions *o);
/* A single graph outside a program's table, for tests: parameters are laid out in p. */
void plan_print(const Plan *p, FILE *f);
const char *plan_verify(const Plan *p); /* NULL if sound: no two live buffers overlap, every read was written before */

/* What was measured for a product on the machine that runs it: taken in the rule's place. choices.c */
typedef struct GemmChoice {
  GemmGeom geom; int64_t max_rows;
  GemmImpl impl; GemmTile tile; /* the rule's own where nothing was clearly faster */
  double ms, rule_ms;
} GemmChoice;
struct GemmChoices { GemmChoice *items; uint32_t n; };
/* Lines of plan_choices_text(); what is no such line, or asks for what no kernel can do, is left out. */
GemmChoices plan_choices_parse(Arena *a, const char *text);
const char *plan_choices_text(Arena *a, const GemmChoices *c);
const GemmChoice *plan_choices_find(const GemmChoices *c, const GemmGeom *g, int64_t max_rows); /* c may be NULL */
/* What `p`'s functions, but for the gradient's, take from `c`: "" if nothing. */
const char *plan_choices_used(Arena *a, const Plan *p, const GemmChoices *c);
/* Ways to compute a product that are worth timing, the rule's first. Returns how many. */
#define PLAN_MAX_ALTERNATIVES 16
uint32_t plan_gemm_alternatives(const GemmGeom *g, int64_t max_rows, const TargetInfo *t, bool threads, Arena *a,
                                GemmChoice out[PLAN_MAX_ALTERNATIVES]);
const char *plan_gemm_way(Arena *a, GemmImpl impl, const GemmTile *t); /* "8x48, k by 512, rows by 128, threads share rows" */

/* Which implementation and tile; a pure function of geometry, target and what was measured (NULL: nothing), with its
 * reason. plan/gemm.c */
void plan_gemm_choose(const GemmGeom *g, int64_t max_rows, const TargetInfo *t, bool force_blas, const GemmChoices *measured,
                      Arena *arena, GemmImpl *impl, GemmTile *tile, const char **reason);
/* Sums of up to so many terms are one block of K on this target, whatever the other extents. */
int64_t plan_gemm_whole_depth(const TargetInfo *t);
/* Makes the tile one of which threads share so many columns evenly; false: there is none. */
bool plan_gemm_by_columns(int64_t columns, GemmTile *tile);
const char *plan_gemm_size(Arena *a, const GemmGeom *g, int64_t max_rows); /* "64x128x784" */

/* Of a product with an update in its epilogue, that of the product. cost.c */
Phase plan_step_phase(const PlanFn *f, const Step *s);

/* ---- share.c: which thread computes what ---- */
typedef enum ShareKind { SHARE_ALONE = -1, /* thread 0 computes all */ SHARE_OTHERWISE = -2, SHARE_EACH = -3 /* every thread all */ } ShareKind;
/* Threads share `axis` of a step's space in multiples of `grain` (em_share); or a ShareKind. */
typedef struct Share { int8_t axis; int64_t grain; } Share;
int64_t plan_rows_grain(int64_t max_rows); /* of the batch, in steps of all kinds; 0: each step as it likes */
Share plan_share_axes(const PlanFn *f, const Shape *space, const uint8_t *axes, int n, bool vector); /* of loops over these */
Share plan_step_share(const PlanFn *f, const Step *s);
typedef struct ShareScratch { uint16_t *seen; ValueId *touched; } ShareScratch;
ShareScratch plan_share_scratch(Arena *a, uint32_t n_values);
/* Whether every thread, of what `from` stores, loads in `to` only what it has itself stored. */
bool plan_shares_meet(const PlanFn *f, const Step *from, const Step *to, ShareScratch *scratch);

/* ---- split.c ---- */
#define PLAN_LANES 16 /* floats of a vector in the IR, whatever the machine has */
int64_t plan_max_extent(const PlanFn *f, int64_t d);
/* How a reduction is divided: n_chunks == 0 not at all. A pure function of extents and the batch planned for. */
typedef struct Split { int64_t chunk, n_chunks, kept; uint8_t axis; } Split;
Split plan_reduce_split(const PlanFn *f, const Step *s);
/* How the argument x of a plugin's sum over elements is cut for its gradient: `chunk` of `axis`, one index of the axes before it, all
 * of those behind it; at most JOB_TILE_FLOATS elements. tile.c */
typedef struct TileCut { int axis; int64_t chunk; } TileCut;
TileCut plan_tile_cut(const Value *x);
/* Bytes behind the plan's own part of the work slab that partial results take: of a step, of a function; and all of the slab. */
int64_t plan_step_scratch(const PlanFn *f, const Step *s);
int64_t plan_counts_bytes(const PlanFn *f); /* first of them: the counts of packed row sets */
int64_t plan_scratch_bytes(const PlanFn *f);
int64_t plan_work_bytes(const PlanFn *f);
#define PLAN_PAGE 4096 /* bytes; threads' own copies are so far apart that none fetches another's ahead */
int64_t plan_own_at(const PlanFn *f); /* where in the slab the threads' own copies begin, if there are any */

/* Resolves TRANSPOSE/SLICE/RESHAPE/BCAST/STOP/TAP chains above a materialised value into one strided view.
 * false if there is none (a reshape that cuts padding, a take, a pad, an inlined value ...). plan/view.c */
bool plan_view_of(const PlanFn *f, ValueId v, View *out);
/* Rows of a call's argument `lead` axes deep: their stride. false: they do not collapse. plan/call.c */
bool plan_call_rows(const View *v, int lead, int64_t *ld);

/* The constant data of a run. Function entries are NULL until a back end sets them. plan/bind.c */
Job *plan_bind(Arena *a, const Plan *p);
/* Gives its functions what a profile counts by. plan/bind_profile.c */
void plan_bind_profile(Arena *a, Job *j, const Plan *p);
/* Gives it what was proved, for audits. plan/bind_audit.c */
void plan_bind_audit(Arena *a, Job *j, const Proof *f);
#endif
