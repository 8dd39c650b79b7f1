/* SPDX-License-Identifier: Apache-2.0
 * The BLAS wrapper against its naive twin, and the check itself against products that are wrong on purpose.
 */
#include "gemm.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static void test_blas_is_right(void **state) {
  (void)state;
  RtGemmReport r;
  if (!rt_gemm_check(rt_sgemm, 128, &r))
    fail_msg("m %d n %d k %d: error %g, bound %g", (int)r.m, (int)r.n, (int)r.k, r.error, r.bound);
  assert_true(rt_gemm_check(rt_sgemm_naive, 128, &r));
}

static void test_empty_sum(void **state) {
  (void)state;
  float c[4] = {1, 2, 3, 4};
  rt_sgemm(0, 0, 2, 2, 0, c, 0, c, 2, c, 2, 1);
  assert_true(c[0] == 1 && c[3] == 4);
  rt_sgemm(0, 0, 2, 1, 0, c, 0, c, 2, c, 2, 0);
  assert_true(c[0] == 0 && c[1] == 2 && c[2] == 0 && c[3] == 4);
}

static void one_element_off(int64_t ta, int64_t tb, int64_t m, int64_t n, int64_t k, const float *a,
                            int64_t lda, const float *b, int64_t ldb, float *c, int64_t ldc, double beta) {
  rt_sgemm_naive(ta, tb, m, n, k, a, lda, b, ldb, c, ldc, beta);
  if (m == 17) c[(m - 1) * ldc + n - 1] += 1e-2f;
}
static void beta_ignored(int64_t ta, int64_t tb, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda,
                         const float *b, int64_t ldb, float *c, int64_t ldc, double beta) {
  (void)beta;
  rt_sgemm_naive(ta, tb, m, n, k, a, lda, b, ldb, c, ldc, 0);
}
static void padding_written(int64_t ta, int64_t tb, int64_t m, int64_t n, int64_t k, const float *a,
                            int64_t lda, const float *b, int64_t ldb, float *c, int64_t ldc, double beta) {
  rt_sgemm_naive(ta, tb, m, n, k, a, lda, b, ldb, c, ldc, beta);
  if (ldc > n) c[n] = 0;
}

static void test_check_finds_faults(void **state) {
  (void)state;
  RtGemmReport r;
  assert_false(rt_gemm_check(one_element_off, 128, &r));
  assert_int_equal(r.m, 17);
  assert_false(rt_gemm_check(beta_ignored, 128, &r));
  assert_false(rt_gemm_check(padding_written, 128, &r));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_blas_is_right), cmocka_unit_test(test_empty_sum),
                                     cmocka_unit_test(test_check_finds_faults)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
