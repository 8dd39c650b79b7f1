/* SPDX-License-Identifier: Apache-2.0
 * gemm_micro.h -- the inner functions of matrix products: shared by all kernels of a module, made on first
 * use. All are internal, take strides at run time (in floats), and know only the shape of their register
 * tile. */
#ifndef ROUTEC_GEMM_MICRO_H
#define ROUTEC_GEMM_MICRO_H
#include "emit.h"

#define GEMM_MAX_MR 16
#define GEMM_MAX_NV 4
#define GEMM_UNROLL 2 /* of k */
#define GEMM_NEXT_DEPTH (GEMM_MAX_NV * GEMM_UNROLL) /* terms of a sum while which a row is prefetched */
#define GEMM_MAX_NEXT (1 + GEMM_MAX_BESIDE)

/* a_cols: elements of one column of A (same k) are adjacent, sa is the distance of columns;
 * otherwise elements of one row are adjacent and sa is the distance of rows. */
typedef struct MicroKey {
  int32_t mr, nv;
  bool a_cols, masked, b_whole; /* b_whole: B's vectors are all there, masked or not */
  int32_t n_next;
  bool spread; /* prefetch `next` while the sums are made; otherwise before: they are shorter than mr * GEMM_NEXT_DEPTH */
} MicroKey;

/* `rows` rows, mr at a time: out[r][..] = (first ? 0 : c[r][..]) + sum over k of A[r][k] B[k][..], each
 * element one chain of fma in the order of k. B's rows are sb apart, A's strips of mr rows s_strip. Rows of
 * the last strip that do not exist read and write what the last row does, which comes last, except A's of
 * a_cols: there all mr rows must be readable. masked: only `lanes` of the last vector are touched, except of
 * `out` where it is `wide`: masked stores are slow without AVX-512. rows >= 1. */
typedef struct MicroArgs {
  LLVMValueRef a, sa, s_strip, b, sb, k, first /* i64 0 or 1 */, c, s_c, out, s_out, rows, lanes,
      wide /* i64 0 or 1 */;
  LLVMValueRef ahead,
      s_ahead; /* k rows, s_ahead apart, prefetched into L2 by GEMM_UNROLL strips together; any address */
  LLVMValueRef next[GEMM_MAX_NEXT]; /* likewise: where the next call stores, rows s_c apart, in n_next arrays */
} MicroArgs;
void gemm_micro_call(Emit *e, MicroKey key, const MicroArgs *args);

/* dst[strip][k][mr] = A[strip * mr + r][k] for A with am == 1: rows < m, columns ak apart; missing rows of
 * the last strip are 0. dst needs (strips * k * mr + 16) floats. */
void gemm_pack_a_call(Emit *e, int32_t mr, LLVMValueRef src, LLVMValueRef ak, LLVMValueRef m, LLVMValueRef k,
                      LLVMValueRef dst);

/* dst[k][nr] = B[k][n] for B with bk == 1: columns n < `n` are bn apart; missing columns repeat the last one.
 * n >= 1. dst needs (k rounded up to 16) * nr floats. */
void gemm_pack_b_call(Emit *e, int32_t nr, LLVMValueRef src, LLVMValueRef bn, LLVMValueRef n, LLVMValueRef k,
                      LLVMValueRef dst);

/* dst[k][nr] = B[k][n] for B with bn == 1: rows bk apart; columns up to the next multiple of 16 are 0. n >=
 * 1, k >= 0. */
void gemm_pad_b_call(Emit *e, int32_t nr, LLVMValueRef src, LLVMValueRef bk, LLVMValueRef n, LLVMValueRef k,
                     LLVMValueRef dst);

/* dst[c][r] = src[r][c] in blocks of 16 by 16: rows and cols are rounded up to that on both sides. */
void gemm_transpose_call(Emit *e, LLVMValueRef src, LLVMValueRef ld, LLVMValueRef rows, LLVMValueRef cols,
                         LLVMValueRef dst, LLVMValueRef dst_ld);
#endif
