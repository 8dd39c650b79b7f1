/* SPDX-License-Identifier: Apache-2.0
 * gemm.h -- the BLAS behind our own door: single-threaded calls from our own pool, a naive twin, and a check
 * of one against the other, since some builds of OpenBLAS compute wrong results on CPUs newer than they are.
 */
#ifndef ROUTEC_RT_GEMM_H
#define ROUTEC_RT_GEMM_H
#include "error.h"
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Row-major C[m,n] = beta * C + op(A) op(B), op transposing where trans is 1. Leading dimensions in floats;
 * beta is 0 or 1. k == 0 is an empty sum. Any thread. The signature of JobFrame.sgemm. */
void rt_sgemm(int64_t trans_a, int64_t trans_b, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda,
              const float *b, int64_t ldb, float *c, int64_t ldc, double beta);
/* The same in double, rounded once. */
void rt_sgemm_naive(int64_t trans_a, int64_t trans_b, int64_t m, int64_t n, int64_t k, const float *a,
                    int64_t lda, const float *b, int64_t ldb, float *c, int64_t ldc, double beta);

typedef void (*RtSgemm)(int64_t trans_a, int64_t trans_b, int64_t m, int64_t n, int64_t k, const float *a,
                        int64_t lda, const float *b, int64_t ldb, float *c, int64_t ldc, double beta);

/* Opens the BLAS and makes it single-threaded, the first time; what follows here and rt_sgemm do so too. Any thread.
 * false: it cannot be opened (E0795). */
bool rt_gemm_open(RtError *e);
const char *rt_gemm_core(void); /* kernels the BLAS picked for this CPU, e.g. "Haswell"; "none" without a BLAS */
const char *rt_gemm_config(void); /* version and build options of the BLAS; likewise */

/* What a check found: the first case out of bounds, if any. */
typedef struct RtGemmReport {
  int cases, wrong;
  int64_t m, n, k;
  int trans_a, trans_b;
  double error, bound;
} RtGemmReport;
/* `cases` random products of `sgemm` against the naive twin; about 15 ms for 64. false: wrong results. */
bool rt_gemm_check(RtSgemm sgemm, int cases, RtGemmReport *report);
/* For the doctor: checks rt_sgemm and prints a line or two. */
bool rt_gemm_doctor(FILE *f, bool verbose);
#endif
