/* SPDX-License-Identifier: Apache-2.0
 * rt_pool.c -- barriers, more threads than CPUs, sleeping, float modes. */
#include "pool.h"
#include "mem.h"
#include "rt_toy.h"
#include <stdatomic.h>
#include <math.h>
#include <time.h>
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

static double clock_seconds(clockid_t which) {
  struct timespec t;
  clock_gettime(which, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
static double cpu_seconds(void) { return clock_seconds(CLOCK_PROCESS_CPUTIME_ID); }
#define SPIN_SECONDS 0.02 /* more than each thread spins before it sleeps, even where a sanitizer watches it */

/* While the host waits (it loads, evaluates, writes) nobody spins for long: CPU time, which other programs do not change. */
static void test_sleeps(void **state) {
  (void)state;
  RtError e = {0};
  JobFrame f = {0};
  for (int n = 2; n <= 8; n *= 2) {
    pool = pool_create(n, &e);
    pool_run(pool, nothing_entry, &f);
    const double before = cpu_seconds();
    usleep(250000);
    assert_true(cpu_seconds() - before < SPIN_SECONDS * (n - 1));
    usleep(50000);
    const double asleep = cpu_seconds();
    usleep(200000);
    assert_true(cpu_seconds() - asleep < 0.003);
    pool_destroy(pool);
  }
}

static void busy_entry(JobFrame *f, int64_t tid) {
  const double until = clock_seconds(CLOCK_THREAD_CPUTIME_ID) + 0.15;
  assert_true(tid == 0 && f->n_threads == 1);
  while (clock_seconds(CLOCK_THREAD_CPUTIME_ID) < until) {}
  pool_barrier(pool);
}

/* Blocks of the host alone: it meets nobody, and the others sleep. */
static void test_alone(void **state) {
  (void)state;
  RtError e = {0};
  JobFrame f = {0};
  pool = pool_create(3, &e);
  for (int again = 0; again < 2; again++) {
    pool_use_all(pool, true);
    pool_run(pool, nothing_entry, &f);
    assert_int_equal(f.n_threads, 3);
    pool_use_all(pool, false);
    usleep(50000);
    const double all = cpu_seconds(), own = clock_seconds(CLOCK_THREAD_CPUTIME_ID);
    pool_run(pool, busy_entry, &f);
    const double others = cpu_seconds() - all - (clock_seconds(CLOCK_THREAD_CPUTIME_ID) - own);
    assert_true(others < 0.01);
  }
  pool_destroy(pool);
}

/* The same work in shares, with a barrier behind each piece: the sum, and what it costs all threads together. */
static double shares[64];
static void shares_entry(JobFrame *f, int64_t tid) {
  enum { PIECES = 300, UNITS = 24000 };
  for (int piece = 0; piece < PIECES; piece++) {
    const int64_t lo = UNITS * tid / f->n_threads, hi = UNITS * (tid + 1) / f->n_threads;
    for (int64_t i = lo; i < hi; i++) shares[tid] += (double)((i * 7 + piece) % 13);
    pool_barrier(pool);
  }
}

static double shares_cost(int threads, double *sum) {
  RtError e = {0};
  JobFrame f = {0};
  pool = pool_create(threads, &e);
  memset(shares, 0, sizeof shares);
  const double before = cpu_seconds();
  pool_run(pool, shares_entry, &f);
  const double cost = cpu_seconds() - before;
  pool_destroy(pool);
  *sum = 0;
  for (int i = 0; i < threads; i++) *sum += shares[i];
  return cost;
}

/* More threads than CPUs: who waits gives way, so that the work costs little more CPU time. */
static void test_more_threads_than_cpus(void **state) {
  (void)state;
  double want, got;
  const double alone = shares_cost(1, &want);
  for (int factor = 2; factor <= 4; factor *= 2) {
    const int n = pool_cpus() * factor < 64 ? pool_cpus() * factor : 64;
    const double cost = shares_cost(n, &got);
    print_message("%d threads on %d CPUs: %.3f s of CPU time, 1 thread: %.3f s\n", n, pool_cpus(), cost, alone);
    assert_true(got == want);
    assert_true(cost < 5 * alone + 0.05 * factor);
  }
}

/* Each thread comes late now and then, by a time that takes the others through spinning, giving way and sleeping; what is
 * written before a barrier, by plain stores, is read behind it. A lost wake-up hangs: the test's time limit. */
enum { LATE_ROUNDS = 40 };
static int64_t written[16];

static void come_late(uint64_t *state) {
  *state = *state * 6364136223846793005u + 1442695040888963407u;
  const unsigned kind = (unsigned)(*state >> 60), pauses = (unsigned)(*state >> 33) % 60000;
  if (kind == 0) usleep(pauses / 40); /* up to 1.5 ms: the others sleep */
  if (kind >= 1 && kind < 5) /* up to 0.6 ms: about when they stop spinning */
    for (unsigned i = 0; i < pauses; i++) _mm_pause();
}

static void late_entry(JobFrame *f, int64_t tid) {
  uint64_t state = (uint64_t)f->step * 977 + (uint64_t)tid * 0x9E3779B97F4A7C15u;
  for (int64_t r = 0; r < LATE_ROUNDS; r++) {
    come_late(&state);
    written[tid] = f->step * LATE_ROUNDS + r;
    pool_barrier(pool);
    for (int64_t t = 0; t < f->n_threads; t++)
      if (written[t] != f->step * LATE_ROUNDS + r) errors++;
    pool_barrier(pool);
  }
}

static void test_random_delays(void **state) {
  (void)state;
  RtError e = {0};
  for (int n = 2; n <= 5; n++) {
    JobFrame f = {0};
    uint64_t host = (uint64_t)n;
    pool = pool_create(n, &e);
    errors = 0;
    for (f.step = 0; f.step < 8; f.step++) {
      pool_use_all(pool, f.step % 4 != 3);
      pool_run(pool, late_entry, &f);
      come_late(&host);
    }
    assert_int_equal(errors, 0);
    pool_destroy(pool);
  }
}

/* What `spins` become in `waits` waits of `nanoseconds` each, of which every `long_each`-th takes milliseconds. */
static int32_t spins_behind(int32_t spins, int waits, int64_t nanoseconds, int long_each) {
  for (int i = 1; i <= waits; i++) {
    const bool spun = nanoseconds < (int64_t)spins * POOL_SPIN_NANOSECONDS,
               in_reach = nanoseconds < (int64_t)POOL_MOST_SPINS * POOL_SPIN_NANOSECONDS;
    spins = pool_spins_after(spins, i % long_each == 0 || !in_reach ? WAIT_LONG : spun ? WAIT_SPUN : WAIT_SHORT);
    spins = spins < POOL_LEAST_SPINS ? POOL_LEAST_SPINS : spins > POOL_MOST_SPINS ? POOL_MOST_SPINS : spins;
  }
  return spins;
}

/* Spins get short where they are in vain, stay short while one wait in a hundred is, and come back where a sleep's own waking
 * up is all that is waited for: from the shortest spin, all of these waits begin asleep. */
static void test_spins_come_back(void **state) {
  (void)state;
  assert_int_equal(spins_behind(POOL_MOST_SPINS, 4, 3000000, 1), POOL_LEAST_SPINS);
  assert_int_equal(spins_behind(POOL_LEAST_SPINS, 100000, 3000000, 1), POOL_LEAST_SPINS);
  for (int64_t wait = 10000; wait < 190000; wait += 10000) {
    assert_int_equal(spins_behind(POOL_LEAST_SPINS, (int)(wait / POOL_SPIN_NANOSECONDS) + 100, wait, INT32_MAX), POOL_MOST_SPINS);
    assert_true(spins_behind(POOL_LEAST_SPINS, 10000 - 1, wait, 100) < 2 * POOL_LEAST_SPINS);
  }
  assert_int_equal(spins_behind(POOL_LEAST_SPINS, 100, 1000, INT32_MAX), POOL_MOST_SPINS); /* seen at once */
}

/* A tree of control groups, and what it leaves. */
static double quota_in(const char *cgroup, const char *const (*files)[2]) {
  char root[] = "/tmp/rt-pool-XXXXXX", command[600];
  assert_non_null(mkdtemp(root));
  snprintf(command, sizeof command, "mkdir -p %s/proc/self && printf '%s' >%s/proc/self/cgroup", root, cgroup, root);
  assert_int_equal(system(command), 0);
  for (int i = 0; files[i][0]; i++) {
    snprintf(command, sizeof command, "f=%s/sys/fs/cgroup/%s; mkdir -p \"$(dirname $f)\" && echo '%s' >$f", root, files[i][0], files[i][1]);
    assert_int_equal(system(command), 0);
  }
  const double quota = cpus_quota(root);
  snprintf(command, sizeof command, "rm -r %s", root);
  assert_int_equal(system(command), 0);
  return quota;
}

static void test_quota(void **state) {
  (void)state;
  typedef const char *const Files[4][2];
  assert_true(isinf(cpus_quota("/nowhere")) && isinf(quota_in("", (Files){{0}})));
  assert_true(isinf(quota_in("0::/a/b\n", (Files){{"cpu.max", "max 100000"}, {"a/b/cpu.max", "max 100000"}})));
  assert_true(quota_in("0::/a/b\n", (Files){{"a/b/cpu.max", "250000 100000"}}) == 2.5);
  assert_true(quota_in("0::/a/b\n", (Files){{"a/cpu.max", "50000 100000"}, {"a/b/cpu.max", "250000 100000"}}) == 0.5);
  assert_true(quota_in("0::/\n", (Files){{"cpu.max", "100000 100000"}}) == 1); /* in a container */
  assert_true(quota_in("3:memory:/m\n2:cpu,cpuacct:/a\n",
                       (Files){{"cpu/a/cpu.cfs_quota_us", "300000"}, {"cpu/a/cpu.cfs_period_us", "100000"}}) == 3);
  assert_true(isinf(quota_in("2:cpuset:/a\n1:cpu:/a\n", (Files){{"cpu/a/cpu.cfs_quota_us", "-1"}, {"cpu/a/cpu.cfs_period_us", "100000"}})));
  assert_true(isinf(quota_in("0::/a\n", (Files){{"a/cpu.max", "garbage"}})) && isinf(quota_in("no colon\n", (Files){{0}})));
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
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_barrier), cmocka_unit_test(test_sleeps), cmocka_unit_test(test_alone),
                                     cmocka_unit_test(test_more_threads_than_cpus), cmocka_unit_test(test_random_delays), cmocka_unit_test(test_spins_come_back),
                                     cmocka_unit_test(test_quota), cmocka_unit_test(test_many_blocks), cmocka_unit_test(test_slab)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
