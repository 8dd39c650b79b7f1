/* SPDX-License-Identifier: Apache-2.0
 * plan_work.h -- what the planner's files share while one function is planned. Private to compiler/plan.
 *
 * Column of stages for one function (plan.c):
 *   prepare (fuse.c)    graph copy in which every DOT operand can be read as a strided matrix, roots have own values
 *   regions (fuse.c)    which element-wise values are computed in which GEMM's epilogue
 *   decide  (decide.c)  which values get a buffer, and why
 *   nodes   (group.c)   steps without an order; outputs over one space share a step
 *   tiles   (tile.c)    plugins' gradients that are computed where they are read
 *   owners  (own.c)      columns of a parameter, and copies of the batch, that stay with their thread
 *   order   (schedule.c) topological order with low memory, waves, barriers
 *   place   (memory.c)  lifetimes, what is overwritten in place, offsets; asks for an order with more waves too
 *   finish  (plan.c)    loop orders, GEMM geometry and kernels, FLOPs, reasons */
#ifndef ROUTEC_PLAN_WORK_H
#define ROUTEC_PLAN_WORK_H
#include "plan.h"

#define PLAN_MAX_GEMM_BATCH 4
#define PLAN_MAX_STATES 4
#define PLAN_SLOTS (1 + PLAN_MAX_STATES) /* of a parameter: its value, its states */
#define PLAN_LINE 64 /* bytes */
#define PLAN_VEC 16  /* floats of a vector: padding unit */

/* Memory order of a value's axes, outermost first; the `tail` innermost ones are compact among themselves and
 * padded together. set: somebody needs exactly this. */
typedef struct Layout { uint8_t order[IR_MAX_RANK]; uint8_t tail; bool set; } Layout;

typedef struct Node {
  StepKind kind;
  StepOut *outs; uint32_t n_outs;
  Shape space;
  uint32_t reduced;
  ValueId dot;
  Phase phase;
  GemmGeom geom; View a, b; ValueId base[2]; bool swapped; /* GEMM; base: values whose buffers A, B look at */
  GemmImpl impl; GemmTile tile; const char *gemm_why;
  ValueId *arg_base; View *args; uint32_t n_args; /* CALL */
  uint32_t *calls, n_calls; uint8_t order[IR_MAX_RANK]; /* MAP: nodes of gradients that it takes in; loop order then */
  ValueId *reads; uint32_t n_reads; /* materialised values and leaves with buffers that are loaded */
  bool *elsewhere;                  /* [read] also at another index than the outputs' */
  uint32_t *deps; uint32_t n_deps;  /* nodes that come before */
  uint32_t level;
  bool dead;                        /* merged into another */
} Node;

/* The axes of a DOT by role. */
typedef struct DotAxes {
  uint32_t nb, nc, nfa, nfb;
  uint8_t ba[IR_MAX_RANK], bb[IR_MAX_RANK], ca[IR_MAX_RANK], cb[IR_MAX_RANK], fa[IR_MAX_RANK], fb[IR_MAX_RANK];
} DotAxes;

typedef struct Work {
  Arena *arena;   /* of the plan */
  Arena *scratch; /* dies with this attempt */
  Plan *plan;
  PlanFn *fn;
  const PlanOptions *options;
  const Layout *param_layout; /* [param] */
  Graph *g;       /* the function's own copy */
  uint32_t cap;   /* length of the arrays below */
  bool *live;
  const char **force;     /* [value] why it must have a buffer, or NULL */
  Layout *layout;         /* [value] */
  uint32_t *store_root;   /* [value] root + 1 whose parameter or state it becomes in place */
  bool *defer;            /* [root] its value cannot be stored in place: compute, then copy. Survives attempts */
  uint32_t *user_at, *users; /* users of v: users[user_at[v] .. user_at[v + 1]) */
  ValueId *region;        /* [value] the DOT in whose epilogue it is computed, or 0 */
  double *cost;           /* [value] of computing one element where it is read */
  const char **why;       /* [value] why it has a buffer; NULL: inlined */
  uint32_t *producer;     /* [value] node + 1 that stores it */
  uint32_t *tiled;        /* [value] 1 + which call of its step's: a gradient that is never stored as a whole */
  ValueId lists[IR_MAX_SETS]; /* [packed row set] its ROWLIST */
  Node *nodes; uint32_t n_nodes;
  uint32_t *stack, *stamp, now; /* for walks: 2 * values each */
  struct CostReads *cost_room; /* cost.c */
  uint32_t *schedule, *wave; uint32_t n_order; /* nodes in order of execution; wave of each */
  bool *each;             /* [value] every thread computes it for itself */
  bool *follows;                               /* whether it reads something that its wave stored */
  bool apart;                                  /* large steps wait for readers of what they could overwrite in place */
  uint32_t n_apart;                            /* waves that began for this reason */
} Work;

/* ---- view.c ------------------------------------------------------------------------------------------- */
int64_t sat_mul(int64_t a, int64_t b); /* INT64_MAX on overflow; a, b >= 0 */
int64_t sat_add(int64_t a, int64_t b);
int64_t extent_max(int64_t d, int64_t rows);
Layout layout_default(uint32_t rank);
/* Strides in elements; returns the elements of the whole buffer at `rows`. */
int64_t layout_strides(const Layout *l, const Shape *s, Dtype t, int64_t rows, int64_t *strides);
bool op_is_identity(Op op); /* STOP, TAP, ADJTAP */
bool op_is_view(const Value *v); /* may resolve to a strided view of its argument */
/* From a view of u's argument to the view of u. */
bool view_apply(const Value *u, View *v);
/* Axes, outermost first, as one axis. Extents of 1 are ignored; an empty list is an extent of 1 with stride 1. */
bool view_collapse(const View *v, const uint8_t *axes, uint32_t n, Extent *e, int64_t *stride);

/* ---- geom.c ------------------------------------------------------------------------------------------- */
DotAxes dot_axes(const Graph *g, const Value *dot);
/* The geometry of a DOT between two views into a result with strides `cs`; false if it does not collapse. */
bool gemm_geometry(const DotAxes *x, const View *a, const View *b, const Shape *result, const int64_t *cs,
                   int64_t max_rows, GemmGeom *g, bool *swapped);
/* Whether one operand alone collapses; `con` gives the contraction's axes outermost first. `prefix`: leading free
 * axes may go to the batch. */
bool gemm_operand_fits(const View *v, const uint8_t *free, uint32_t nf, const uint8_t *con, uint32_t nc, bool prefix);
/* The k-th order of the contraction worth trying (indices into ca/cb); false if there are no more. */
bool gemm_k_order(const DotAxes *x, const View *a, const View *b, uint32_t k, uint8_t *order);

/* ---- fuse.c, operand.c ---------------------------------------------------------------------------------- */
void plan_prepare(Work *w, const Graph *source);
ValueId work_put(Work *w, const Value *proto, const ValueId *args, uint32_t n_args); /* appends; ints are copied */
ValueId work_put_un(Work *w, Op op, ValueId arg, const Shape *shape, const int64_t *ints, uint32_t n_ints);
/* A DOT of the source graph, its arguments already renumbered; returns the value that stands for it. */
ValueId operand_dot(Work *w, const Value *dot, const ValueId args[2]);
/* The view of v if v's base is given a buffer of its present layout. */
void operand_view(const Work *w, ValueId v, View *out, ValueId *base);
void plan_regions(Work *w);
/* ---- call.c ---- */
ValueId call_prepare(Work *w, const Value *call, ValueId *args); /* a CALL of the source graph, arguments renumbered */
Node *call_node(Work *w, ValueId v);                             /* that v is another gradient of, or NULL */
void call_arguments(Work *w, Node *n);
void call_finish(Work *w, const Node *n, Step *s);
const char *call_reason(const Work *w, const Node *n);
/* ---- tile.c, finish.c ---- */
void plan_tiles(Work *w);
const char *tile_finish(Work *w, const Node *n, Step *s); /* the step of a node with calls; why it is so */
void plan_loop_order(const Shape *s, const int64_t *strides, uint8_t *order); /* smallest stride innermost */
/* ---- nodes.c ---- */
bool view_over(const Work *w, ValueId v, ValueId base, View *out);
ValueId nth_base(const Work *w, ValueId v, uint32_t k);

/* ---- decide.c -------------------------------------------------------------------------------------------- */
void plan_live(Work *w);    /* live and users */
void plan_layouts(Work *w); /* gradients follow their parameter */
bool dot_fits(const Work *w, ValueId d, const Layout *l); /* a product can write its result like that */
/* Strides of the buffer that v has or would have. */
void value_strides(const Work *w, ValueId v, int64_t *strides);
void plan_decide(Work *w);
double value_cost(const Value *v); /* of one element, its arguments at hand; an addition is 1 */
bool value_has_leaf_buffer(const Value *v); /* COLUMN, PARAM, STATE, SCALAR, CONST tensor */
bool value_is_update(const Value *v);

/* ---- nodes.c, group.c ---------------------------------------------------------------------------------------- */
void plan_nodes(Work *w);
void plan_owners(Work *w);
void node_find_reads(Work *w, Node *n);
/* Storage in place: PLAN_SLOTS * param for its value, + 1 + k for state k; -1 for any other value or root. */
int64_t value_slot(const Value *v);
int64_t root_slot(const Root *r);
bool value_is_root(const Work *w, ValueId v);
void plan_edges(Work *w);  /* deps of all nodes */
/* Levels (longest path from a node without dependencies). false: a cycle was found and some root deferred. */
bool plan_levels(Work *w);
bool plan_group(Work *w);  /* false: some root was deferred; start again */

/* ---- schedule.c, memory.c, plan.c ------------------------------------------------------------------------------ */
void plan_buffers(Work *w); /* all but offsets and lifetimes */
#define PLAN_LARGE 1048576 /* bytes: below, sparing a barrier (about 1 us) counts more than memory or order */
void plan_order(Work *w);  /* changes: schedule, wave, follows, n_apart */
void plan_place(Work *w);  /* an order, and places in memory */
/* Whether a step, of a kind that takes each element's inputs before it stores there, may overwrite `old` by `fresh`, if it reads
 * `old` at the same element only. */
bool plan_may_overwrite(const Step *s, const Buffer *old, const Buffer *fresh);
void plan_finish(Work *w);
Step plan_step_of_node(const Work *w, const Node *n); /* finish.c; without what depends on its place */
void plan_cost(Work *w, const Node *n, Step *s); /* cost.c: operations and bytes */

/* ---- bind.c ---- */
JobSpan bind_span(const Program *p, Span s);

/* Our own broken invariant: message naming the value, abort. */
_Noreturn void plan_broken(const Graph *g, ValueId v, const char *what);
#endif
