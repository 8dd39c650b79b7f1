/* SPDX-License-Identifier: Apache-2.0
 * kernel.h -- how one plan step becomes one function; shared by the emit_*.c files only.
 *
 * The core is pull-style: emit_value() answers "what is value v at these coordinates", reading a buffer where
 * the plan materialised one and computing it from its arguments' values elsewhere. Views only change
 * coordinates. A coordinate is a scalar i64, or along the vectorised axis "base + lane * stride", or a vector
 * of indices.
 *
 * Code is placed by depth: scope d is the body of the d-th enclosing loop (or if), 0 the function's entry.
 * What depends on nothing below depth d is emitted right before the loop at d begins, and is found again
 * there. */
#ifndef ROUTEC_KERNEL_H
#define ROUTEC_KERNEL_H
#include "emit.h"

#define KERNEL_SCOPES 40

typedef struct Idx {
  LLVMValueRef base; /* i64 of lane 0; unused when vec */
  LLVMValueRef vec;  /* <16 x i64>, or NULL: base + lane * stride */
  int64_t lane;      /* stride: 0 the same in all lanes */
  int depth;
  bool by16; /* base is known to be a multiple of 16 */
} Idx;

typedef struct Val {
  LLVMValueRef v;
  int depth;
} Val; /* T, or <16 x T> */
/* Where a value may be read: i1 or <16 x i1>; v NULL = everywhere. What is read elsewhere counts as 0. */
typedef Val Guard;

typedef enum LeafKind {
  LEAF_BUFFER,
  LEAF_OPERAND /* of a GEMM: a view's start */,
  LEAF_STREAM,
  LEAF_SCRATCH,
  LEAF_COUNT /* of a packed row set, `index`; its address in the step that finds it */
} LeafKind;
/* An argument of the kernel: memory, the stream number of a RANDOM, or how many rows a packed set has. */
typedef struct Leaf {
  LeafKind kind;
  Space space;
  int64_t offset; /* WORK, STORE, scratch: bytes; the start of a GEMM operand included */
  uint32_t index; /* COLUMN, SCALAR */
  ValueId value;  /* CONST, STREAM */
  BufferId buffer;
  uint32_t set; int64_t row_bytes; /* OPERAND: set != 0: begins behind that row set's first row */
  int64_t bytes; /* extent, for the overlap test */
  bool written, shared, aligned;
  LLVMValueRef arg;
} Leaf;

static inline bool leaf_is_number(const Leaf *l) {
  return l->kind == LEAF_STREAM || (l->kind == LEAF_COUNT && !l->written);
}

typedef struct MemoEntry {
  ValueId v;
  int rank;
  Idx c[IR_MAX_RANK];
  Guard guard;
  Val result;
  uint32_t serial;
  int32_t next;
} MemoEntry;

typedef struct Backend Backend;
typedef struct Kernel {
  Emit *e;
  Backend *be;
  const PlanFn *pf;
  const Graph *g;
  const Step *step;
  Leaf *leaves;
  uint32_t n_leaves, cap_leaves;
  bool *inlined; /* [ValueId] computed here although the plan gives it a buffer: the step's outputs */
  LLVMValueRef frame, step_no, order, sets, tid, nt;
  uint64_t row_sets;                                      /* bit k: the step looks at row set k, which is not packed */
  LLVMValueRef rows[IR_MAX_SETS], first_row[IR_MAX_SETS]; /* [row set] of this batch; rows[0] always */
  /* scopes */
  int depth, at;         /* deepest open scope; where code goes now */
  LLVMBasicBlockRef tip; /* end of the deepest scope's code while at < depth */
  LLVMValueRef term[KERNEL_SCOPES];
  bool mine[KERNEL_SCOPES]; /* not every thread enters this scope */
  uint32_t serial[KERNEL_SCOPES], next_serial;
  MemoEntry *memo;
  int32_t n_memo, cap_memo, *memo_head;
  Guard tail; /* lanes of the vector axis that exist; v NULL: all */
  LLVMBasicBlockRef entry;
} Kernel;

/* One function of the plan under construction. */
typedef struct KernelSlot {
  const char *signature;
  uint64_t hash;
  LLVMValueRef fn;
  LLVMTypeRef type;
} KernelSlot;
/* A constant index table, by what made it: an op's ints, forward or inverted. */
typedef struct TableSlot {
  const int64_t *ints;
  bool inverse;
  LLVMValueRef global;
} TableSlot;
struct Backend {
  Emit e;
  const Plan *plan; /* NULL: `products` */
  const BackendProduct *products;
  uint32_t n_products;
  const BackendOptions *options;
  uint32_t unit, n_units; /* which of the plan's objects this is */
  KernelSlot *slots;
  uint32_t n_slots, cap_slots;
  /* Of the function at hand, by ValueId: constant tensors; and what kernels use one after the other (they
   * clear what they touched, so that a step costs its own size and not the graph's). */
  LLVMValueRef *globals;
  bool *inlined;
  int32_t *memo_head;
  uint32_t *number;
  ValueId *numbered;
  TableSlot *tables;
  uint32_t n_tables, cap_tables;
  BackendTimes *times;
};

_Noreturn void kernel_die(const Kernel *k, ValueId v, const char *what);

/* ---- types.c ------------------------------------------------------------------------------------------- */
void types_init(Emit *e);
LLVMTypeRef type_of_dtype(Emit *e, Dtype t);  /* in registers: U8 as i32, BOOL as i1 */
LLVMTypeRef type_in_memory(Emit *e, Dtype t); /* U8, BOOL as i8 */
bool type_is_vector(LLVMValueRef v);
LLVMValueRef frame_field(Emit *e, LLVMValueRef frame, size_t offset, LLVMTypeRef type, const char *name);
LLVMValueRef types_global_bytes(Emit *e, const char *name, const void *bytes,
                                size_t size); /* 64-aligned, padded */
void types_fn_attributes(Emit *e, LLVMValueRef fn, Sanitizer sanitize);
#define ON_FUNCTION ((unsigned)LLVMAttributeFunctionIndex)
void types_attribute(Emit *e, LLVMValueRef fn, unsigned index, const char *name, uint64_t value);

/* ---- emit_scope.c: placement, loops, memo -------------------------------------------------------------- */
int scope_enter(Kernel *k, int depth); /* returns what scope_leave wants */
void scope_leave(Kernel *k, int old);
EmLoop scope_loop(Kernel *k, const char *name, LLVMValueRef from, LLVMValueRef to, int64_t step);
void scope_loop_end(Kernel *k, EmLoop *l);
LLVMBasicBlockRef scope_if(Kernel *k, const char *name, LLVMValueRef cond); /* returns the block after it */
void scope_if_end(Kernel *k, LLVMBasicBlockRef after);
void scope_of_some_threads(Kernel *k); /* the scope opened last: what it reads, others may be storing, so they must not read it */
int scope_of_reads(const Kernel *k);   /* the outermost scope that memory may be read in */
void scope_open(Kernel *k, const char *name); /* a plain new block */
void scope_close(Kernel *k);
LLVMValueRef scope_alloca(Kernel *k, LLVMTypeRef type, const char *name);
bool memo_find(Kernel *k, ValueId v, const Idx *c, int rank, Guard g, Val *out);
void memo_add(Kernel *k, ValueId v, const Idx *c, int rank, Guard g, Val result);
void memo_forget(Kernel *k); /* what was emitted in the deepest scope */
void emit_barrier(Kernel *k);

/* ---- emit_index.c: coordinates ---------------------------------------------------------------------------
 */
Idx idx_const(Kernel *k, int64_t n);
Idx idx_scalar(Kernel *k, LLVMValueRef v, bool by16); /* at the deepest scope */
Idx idx_lanes(Kernel *k, LLVMValueRef base, bool by16);
Idx idx_add(Kernel *k, Idx a, Idx b);
Idx idx_offset(Kernel *k, Idx a, int64_t n);
Idx idx_scale(Kernel *k, Idx a, int64_t n);
void idx_divmod(Kernel *k, Idx a, int64_t d, Idx *quotient, Idx *rest); /* a >= 0 where it matters */
bool idx_is_vector(Idx a);
Idx idx_from_val(Kernel *k, Val v);                       /* i32 or <16 x i32> data as an index */
Val idx_value(Kernel *k, Idx a);                          /* as i32 or <16 x i32> data */
Idx idx_clamped(Kernel *k, Val i, int64_t n);             /* i32 data forced into [0, n) */
LLVMValueRef idx_vec(Kernel *k, Idx a);                   /* <16 x i64>, at the current place */
Guard idx_in_range(Kernel *k, Idx a, int64_t n, Guard g); /* 0 <= a < n, and g */
Idx idx_linear(Kernel *k, const Idx *c, const Shape *s, const int64_t *strides);
void idx_reshape(Kernel *k, const Shape *from, const Idx *c, const Shape *to,
                 Idx *out); /* coordinates in `from` -> in `to` */
bool idx_same(Idx a, Idx b);
Guard guard_and(Kernel *k, Guard a, Guard b);

/* ---- emit_leaf.c: memory
 * ------------------------------------------------------------------------------------ */
Val emit_load(Kernel *k, Leaf *leaf, Dtype t, Idx at, Guard g);
void emit_store(Kernel *k, Leaf *leaf, Dtype t, Idx at, Val v);
/* written: this kernel writes there too, maybe in another thread */
Val emit_read_pointer(Kernel *k, LLVMValueRef base, Dtype t, Idx at, Guard g, bool written);
Leaf *leaf_of_buffer(Kernel *k, BufferId b);
Leaf *leaf_find(Kernel *k, LeafKind kind, ValueId v);
Val emit_leaf_op(Kernel *k, ValueId id, const Idx *c, Guard g);
Val emit_buffer_at(Kernel *k, ValueId id, const Idx *c, Guard g);
Val emit_widen(Kernel *k, Val v); /* scalar -> splat */
LLVMValueRef emit_const_global(Backend *be, const Graph *g, ValueId id, const int64_t *strides);
void dense_strides(const Shape *s, int64_t *strides);

/* ---- emit_elt.c, emit_view.c, emit_value.c
 * -------------------------------------------------------------------- */
Val emit_elt(Kernel *k, const Value *v, ValueId id, Val *args);
LLVMValueRef emit_min_max(Emit *e, bool max, Dtype t, LLVMValueRef x, LLVMValueRef y);
Val emit_view(Kernel *k, ValueId id, const Idx *c, Guard g);
Val zero_outside(Kernel *k, Guard inside, Val x); /* inside ? x : 0 */
Val emit_value(Kernel *k, ValueId id, const Idx *c, Guard g);
bool value_is_leaf(const Kernel *k, ValueId id); /* read from a buffer */

/* ---- loops over a space (emit_nest.c)
 * ------------------------------------------------------------------------- */
typedef struct Nest {
  Kernel *k;
  const Shape *space;
  uint8_t axes[IR_MAX_RANK];
  int n;       /* outermost first */
  bool vector; /* the last of them in 16 lanes */
  LLVMValueRef lo[IR_MAX_RANK],
      hi[IR_MAX_RANK]; /* by axis; NULL: all of it. A vector axis: lo is a multiple of 16 */
  Idx *coords;         /* by axis; filled */
  void (*body)(struct Nest *n);
  void *user;
} Nest;
void nest_run(Nest *n);
LLVMValueRef axis_extent(Kernel *k, int64_t d); /* i64 */
void nest_run_shared(Nest *n);                  /* as plan_share_axes says */

/* ---- one per step kind
 * ------------------------------------------------------------------------------------------- */
void emit_map(Kernel *k);
void emit_reduce(Kernel *k);
void emit_gemm(Kernel *k);
void emit_scatter(Kernel *k);
void emit_pack(Kernel *k);
void store_outputs(Kernel *k, const Idx *coords);

/* ---- signature.c
 * ---------------------------------------------------------------------------------------------------- */
/* Collects the leaves of a step in canonical order and returns a text that is equal for steps that one kernel
 * serves. */
const char *signature_of_step(Kernel *k, int64_t scratch_offset);

/* ---- function.c, unit.c, optimize.c, object.c
 * -------------------------------------------------------------------------------- */
void function_emit(Backend *be, const PlanFn *pf);
void unit_keep_own(Backend *be); /* of all functions of the module; the others are left as declarations */
/* products.c, backend.c */
void products_emit(Backend *be, const BackendProduct *p, uint32_t n);
void work_symbol(Backend *be, const char *name, int64_t bytes);
bool optimize_module(Backend *be, LLVMTargetMachineRef tm, const char **why);
void watch_module(Backend *be); /* watch.c: for the thread sanitizer, behind all passes */
LLVMTargetMachineRef target_machine(const TargetInfo *t, int32_t opt_level, const char **why);
void target_init(void);
bool object_emit(Backend *be, LLVMTargetMachineRef tm, ObjectPart *out, const char **why);
#endif
