/* SPDX-License-Identifier: Apache-2.0
 * emit.h -- shared inside llvm/: the emission context, and the doors between its rooms (emit, math, gemm).
 * Vectors are always <16 x T>: on AVX2 LLVM halves them, so the bits are the same in both instruction sets. */
#ifndef ROUTEC_EMIT_H
#define ROUTEC_EMIT_H
#include "backend.h"
#include <llvm-c/Core.h>
#include <llvm-c/TargetMachine.h>

#define EMIT_LANES PLAN_LANES

typedef struct Emit {
  LLVMContextRef ctx; LLVMModuleRef mod; LLVMBuilderRef b;
  LLVMTypeRef i1, i8, i32, i64, f32, f64, ptr, v16f32, v16i32, v16i1, v16i64, v16f64;
  const TargetInfo *target;
  Arena *arena;
  LLVMValueRef fn; /* function being emitted */
} Emit;

/* ---- math.c: polynomials on f32 or <16 x f32>; stated maximum error in the table there ------------------------ */
LLVMValueRef math_exp(Emit *e, LLVMValueRef x);
LLVMValueRef math_log(Emit *e, LLVMValueRef x);
LLVMValueRef math_tanh(Emit *e, LLVMValueRef x);
LLVMValueRef math_erf(Emit *e, LLVMValueRef x);
LLVMValueRef math_sigmoid(Emit *e, LLVMValueRef x);
LLVMValueRef math_softplus(Emit *e, LLVMValueRef x);
LLVMValueRef math_sin(Emit *e, LLVMValueRef x);
LLVMValueRef math_cos(Emit *e, LLVMValueRef x);
LLVMValueRef math_pow(Emit *e, LLVMValueRef x, LLVMValueRef y); /* x > 0 */
/* Philox4x32-10. ctr: four <16 x i32> (or i32) words, key: two; returns the first output word in out[0..3]. */
void math_philox(Emit *e, const LLVMValueRef ctr[4], const LLVMValueRef key[2], LLVMValueRef out[4]);
/* word -> uniform [0,1) f32: (word >> 8) * 2^-24 */
LLVMValueRef math_uniform(Emit *e, LLVMValueRef word);

/* ---- gemm.c: one kernel ---------------------------------------------------------------------------------------------- */
/* Called while a finished register tile is at hand: row index (i64), first column (i64), the accumulated dot as
 * <16 x float>, and for a tail the lane mask <16 x i1> (NULL if all lanes are valid). Must store what is to be
 * stored. `batch` are the indices of the geometry's batch axes. */
typedef void (*GemmEpilogue)(Emit *e, void *user, const LLVMValueRef *batch, LLVMValueRef row, LLVMValueRef col,
                             LLVMValueRef acc, LLVMValueRef mask);
/* What is done with each finished tile. beside: other arrays that the epilogue stores to at the same places, laid out as
 * the float result: pointers to their elements of (0,0,0); they are prefetched while the tile's sums are made. */
#define GEMM_MAX_BESIDE 3
typedef struct GemmEnd {
  GemmEpilogue epilogue;
  void *user;
  LLVMValueRef beside[GEMM_MAX_BESIDE];
  int32_t n_beside;
} GemmEnd;
/* Emits the body of a kernel at the builder's position inside e->fn (and leaves the builder after it):
 * a, b: pointers to element (0,0,0) of the operands; rows: [row set] i64 rows of this batch; tid, n_threads: i64.
 * The kernel does this thread's share; the caller puts the barrier. `c`: pointer to the float result, always
 * usable as the accumulator between K blocks (row stride geom->cm), even when the dot itself is not an output.
 * end NULL: the dot itself, in c, is all that is wanted. */
void gemm_emit(Emit *e, const GemmGeom *g, const GemmTile *t, LLVMValueRef a, LLVMValueRef b, LLVMValueRef c,
               const LLVMValueRef *rows, LLVMValueRef tid, LLVMValueRef n_threads, const GemmEnd *end);

void gemm_prefetch(Emit *e, LLVMValueRef p, bool write); /* gemm_micro.c: into L2; write: for this core alone */

/* ---- small helpers (build.c) -------------------------------------------------------------------------------------------- */
LLVMValueRef em_i64(Emit *e, int64_t v);
LLVMValueRef em_extent(Emit *e, Extent x, const LLVMValueRef *rows);                /* i64; rows: [row set] */
LLVMValueRef em_splat(Emit *e, LLVMValueRef scalar);                                /* <16 x T> */
LLVMValueRef em_intrinsic(Emit *e, const char *name, LLVMTypeRef overload, LLVMValueRef *args, unsigned n); /* e.g. "llvm.fma" */
LLVMValueRef em_gep(Emit *e, LLVMTypeRef elem, LLVMValueRef base, LLVMValueRef index);
LLVMValueRef em_load16(Emit *e, LLVMTypeRef elem, LLVMValueRef ptr, LLVMValueRef mask); /* masked lanes give 0; mask NULL = all */
void em_store16(Emit *e, LLVMValueRef v, LLVMValueRef ptr, LLVMValueRef mask);
LLVMValueRef em_tail_mask(Emit *e, LLVMValueRef count);                             /* lanes < count (i64) */
/* for (i = from; i < to; i += step): em_loop_begin positions the builder in the body with *i; em_loop_end closes it. */
typedef struct EmLoop { LLVMBasicBlockRef head, body, exit; LLVMValueRef i, to, step; } EmLoop;
EmLoop em_loop_begin(Emit *e, const char *name, LLVMValueRef from, LLVMValueRef to, int64_t step);
void em_loop_end(Emit *e, EmLoop *l);
/* [lo, hi) of `n` units for this thread, in multiples of `grain` */
void em_share(Emit *e, LLVMValueRef n, int64_t grain, LLVMValueRef tid, LLVMValueRef n_threads, LLVMValueRef *lo, LLVMValueRef *hi);
#endif
