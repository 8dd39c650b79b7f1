/* SPDX-License-Identifier: Apache-2.0
 * rt_pool.c -- barriers, more threads than CPUs, sleeping, float modes. */
#include "pool.h"
#include "mem.h"
#include "rt_toy.h"
#include <stdatomic.h>
#include <sys/resource.h>
#include <xmmintrin.h>

static Pool *pool;
static _Atomic int64_t counter;
static int64_t errors;
static unsigned modes[64];
enum { ROUNDS = 2000 };

/* Everybody adds one; between two barriers everybody must see the same sum. */
static void barrier_entry(JobFrame *f, int64_t tid) {
  for (int64_t r = 1; r <= ROUNDS; r++) {
    atomic_fetch_add(&counter, 1);
    pool_barrier(pool);
    if (atomic_load(&counter) != r * f->n_threads) errors++;
    pool_barrier(pool);
  }
  modes[tid] = _mm_getcsr() & ~0x3fu; /* without the exception flags */
}

static void test_barrier(void **state) {
  (void)state;
  static const int counts[] = {1, 2, 3, 8, 33};
  for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
    RtError e = {0};
    JobFrame f = {0};
    pool = pool_create(counts[i], &e);
    assert_non_null(pool);
    assert_int_equal(pool_threads(pool), counts[i]);
    for (int again = 0; again < 3; again++) {
      atomic_store(&counter, 0);
      errors = 0;
      _mm_setcsr(0x1F80 | 0x8040 | 0x6000); /* a host that flushes denormals and truncates */
      pool_run(pool, barrier_entry, &f);
      assert_int_equal(_mm_getcsr() & ~0x3fu, 0x1F80 | 0x8040 | 0x6000);
      _mm_setcsr(0x1F80);
      assert_int_equal(errors, 0);
      assert_int_equal(counter, ROUNDS * counts[i]);
      for (int t = 0; t < counts[i]; t++) assert_int_equal(modes[t], 0x1F80);
    }
    pool_destroy(pool);
  }
}

static void nothing_entry(JobFrame *f, int64_t tid) { (void)f, (void)tid; }

static double cpu_seconds(void) {
  struct rusage u;
  getrusage(RUSAGE_SELF, &u);
  return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
         1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

/* While the host waits nobody spins. */
static void test_sleeps(void **state) {
  (void)state;
  RtError e = {0};
  JobFrame f = {0};
  pool = pool_create(4, &e);
  pool_run(pool, nothing_entry, &f);
  usleep(20000);
  double before = cpu_seconds();
  usleep(300000);
  assert_true(cpu_seconds() - before < 0.05);
  pool_destroy(pool);
}

static void test_many_blocks(void **state) {
  (void)state;
  RtError e = {0};
  JobFrame f = {0};
  pool = pool_create(2, &e);
  for (int i = 0; i < 20000; i++) pool_run(pool, nothing_entry, &f);
  pool_destroy(pool);
  pool = pool_create(0, &e);
  assert_int_equal(pool_threads(pool), pool_cpus());
  pool_destroy(pool);
}

static void test_slab(void **state) {
  (void)state;
  RtError e = {0};
  Slab s;
  int64_t n;
  static const int64_t sizes[] = {0, 1, 4096, 4194304 - 64, 4194304, 10000000};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    assert_true(slab_alloc(&s, sizes[i], "test", &e));
    assert_int_equal((uintptr_t)s.bytes % 64, 0);
    for (int64_t k = 0; k < sizes[i] + MEM_SLACK; k += 509) assert_int_equal(s.bytes[k], 0);
    s.bytes[sizes[i] + MEM_SLACK - 1] = 1;
    slab_free(&s);
  }
  assert_false(slab_alloc(&s, INT64_MAX / 2, "a planet", &e));
  assert_string_equal(e.message, "out of memory: 4611686018427387903 bytes for a planet");
  assert_false(slab_alloc(&s, -1, "test", &e));
  assert_false(mem_mul(INT64_MAX, 2, &n));
  assert_false(mem_product((const int64_t[]){1 << 30, 1 << 30, 1 << 30}, 3, &n));
  assert_true(mem_product(NULL, 0, &n) && n == 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_barrier), cmocka_unit_test(test_sleeps),
                                     cmocka_unit_test(test_many_blocks), cmocka_unit_test(test_slab)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
