/* SPDX-License-Identifier: Apache-2.0
 * pool.c -- spin, then sleep, on Linux futexes. A wait first spins (a block's steps are microseconds apart), then sleeps;
 * with more threads than CPUs almost at once. Where other programs want the CPUs too, whom one waits for may be off its
 * CPU for milliseconds, and who spins meanwhile loses its own for it: a wait at a barrier that no spin outlasts makes later
 * spins shorter, one that ends while spinning longer again. Where each waits for the other to wake up no wait ends while
 * spinning: so a sleep that a longer spin would have outlasted lengthens it too, but by one only, which the milliseconds of
 * a busy machine outweigh. Nobody calls sched_yield(): it sends a thread behind all others that want its CPU, where one that
 * sleeps is preferred when it wakes. All threads compute with the same rounding and denormal mode, whatever the host program
 * has set. */
#include "pool.h"
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

typedef struct Gate { /* a number that changes, and who sleeps on it */
  _Alignas(64) _Atomic uint32_t turn;
  _Atomic uint32_t sleepers;
} Gate;

typedef struct Worker {
  Pool *pool;
  pthread_t thread;
  int64_t tid;
} Worker;

struct Pool {
  Gate start, meet, done;
  _Alignas(64) _Atomic uint32_t arrived;  /* at the barrier */
  _Alignas(64) _Atomic uint32_t finished; /* with the block */
  int n;
  _Alignas(64) _Atomic int32_t spins; /* a hint that threads need not agree on */
  int32_t most_spins, least_spins;
  bool stop, alone;
  JobEntry entry;
  JobFrame *frame;
  Worker *workers; /* [1 .. n) */
};

static void cpu_relax(void) {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

static void gate_open(Gate *g) {
  atomic_fetch_add(&g->turn, 1);
  if (atomic_load(&g->sleepers)) syscall(SYS_futex, &g->turn, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

static int64_t nanoseconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Returns once g->turn is not `seen` any more. */
static WaitEnd gate_wait(Pool *p, Gate *g, uint32_t seen) {
  const int32_t spins = atomic_load_explicit(&p->spins, memory_order_relaxed);
  for (int32_t i = 0; i < spins; i++) {
    if (atomic_load_explicit(&g->turn, memory_order_acquire) != seen) return WAIT_SPUN;
    cpu_relax();
  }
  /* the sleeper counts itself before it looks again, the opener turns before it looks for sleepers: in the one order of
   * these four sequentially consistent operations one sees the other */
  const int64_t asleep = nanoseconds();
  atomic_fetch_add(&g->sleepers, 1);
  while (atomic_load(&g->turn) == seen) syscall(SYS_futex, &g->turn, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
  atomic_fetch_sub(&g->sleepers, 1);
  return nanoseconds() - asleep < POOL_MOST_SPINS * POOL_SPIN_NANOSECONDS ? WAIT_SHORT : WAIT_LONG;
}

int32_t pool_spins_after(int32_t spins, WaitEnd end) {
  return end == WAIT_LONG ? spins / 4 : end == WAIT_SHORT ? spins + 1 : spins + spins / 16 + 1;
}

static void spins_learn(Pool *p, WaitEnd end) {
  const int32_t now = atomic_load_explicit(&p->spins, memory_order_relaxed);
  int32_t next = pool_spins_after(now, end);
  next = next > p->most_spins ? p->most_spins : next < p->least_spins ? p->least_spins : next;
  if (next != now) atomic_store_explicit(&p->spins, next, memory_order_relaxed);
}

/* Whoever passes has seen `turn` change behind the last arrival's store to `arrived`, so that the next barrier counts from 0;
 * `turn` is read before arriving, since the last to arrive may open at once. */
void pool_barrier(Pool *p) {
  if (p->n == 1 || p->alone) return;
  uint32_t turn = atomic_load(&p->meet.turn);
  if (atomic_fetch_add(&p->arrived, 1) + 1 == (uint32_t)p->n) {
    atomic_store(&p->arrived, 0);
    gate_open(&p->meet);
  } else {
    spins_learn(p, gate_wait(p, &p->meet, turn));
  }
}

/* IEEE as it stands: nearest even, gradual underflow, no traps. Returns the mode before. */
static unsigned float_mode_set(unsigned mode) {
#if defined(__x86_64__)
  unsigned old = _mm_getcsr();
  _mm_setcsr(mode);
  return old;
#else
  return mode;
#endif
}
enum { FLOAT_MODE = 0x1F80 };

/* Kernels keep packed operands and unfinished sums on the stack, as much of it as a batch's rows take: its pages are there before
 * the first step. Not where threads are more than CPUs: they may be a thousand. */
enum { STACK_DEPTH = 1 << 20, STACK_PAGE = 4096 };
static __attribute__((noinline)) void stack_touch(const Pool *p) {
  volatile uint8_t pages[STACK_DEPTH];
  if (p->n > pool_cpus()) return;
  for (size_t i = sizeof pages; i; i -= STACK_PAGE) pages[i - STACK_PAGE] = 0;
}

static void *worker_main(void *arg) {
  Worker *w = arg;
  Pool *p = w->pool;
  static _Thread_local uint8_t fault_stack[1 << 15];
  stack_t before;
  sigaltstack(&(stack_t){.ss_sp = fault_stack, .ss_size = sizeof fault_stack}, &before);
  float_mode_set(FLOAT_MODE);
  stack_touch(p);
  for (uint32_t turn = 0;; turn++) {
    gate_wait(p, &p->start, turn);
    if (p->stop) break;
    p->entry(p->frame, w->tid);
    if (atomic_fetch_add(&p->finished, 1) + 1 == (uint32_t)p->n - 1) gate_open(&p->done);
  }
  sigaltstack(&before, NULL); /* a sanitizer's own stack, which it takes back itself */
  return NULL;
}

void pool_run(Pool *p, JobEntry entry, JobFrame *f) {
  unsigned mode = float_mode_set(FLOAT_MODE);
  const bool together = p->n > 1 && !p->alone;
  f->n_threads = together ? p->n : 1;
  p->entry = entry, p->frame = f;
  uint32_t turn = atomic_load(&p->done.turn);
  atomic_store(&p->finished, 0);
  if (together) gate_open(&p->start);
  entry(f, 0);
  if (together) gate_wait(p, &p->done, turn);
  float_mode_set(mode);
}

int pool_threads(const Pool *p) { return p->n; }
void pool_use_all(Pool *p, bool all) { p->alone = !all; }

static void workers_stop(Pool *p, int started) {
  p->stop = true;
  gate_open(&p->start);
  for (int i = 1; i < started; i++) pthread_join(p->workers[i].thread, NULL);
}

Pool *pool_create(int threads, RtError *e) {
  int cpus = pool_cpus(), n = threads < 1 ? cpus : threads > 1024 ? 1024 : threads;
  Pool *p = aligned_alloc(64, (sizeof *p + 63) / 64 * 64);
  if (!p) return rt_fail(e, RT_E0719, (long long)sizeof *p, "threads"), NULL;
  memset(p, 0, sizeof *p);
  p->n = n;
  p->most_spins = n > cpus ? 20 : POOL_MOST_SPINS;
  p->least_spins = n > cpus ? 20 : POOL_LEAST_SPINS;
  atomic_init(&p->spins, p->most_spins);
  p->workers = calloc((size_t)n, sizeof *p->workers);
  if (!p->workers) return rt_fail(e, RT_E0719, (long long)n, "threads"), free(p), NULL;
  sigset_t all, old;
  static const int faults[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
  sigfillset(&all); /* signals are the host thread's, but for the faults of a thread itself */
  for (size_t k = 0; k < sizeof faults / sizeof *faults; k++) sigdelset(&all, faults[k]);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  int code = 0, i = 1;
  for (; i < n && !code; i++) {
    p->workers[i] = (Worker){.pool = p, .tid = i};
    code = pthread_create(&p->workers[i].thread, NULL, worker_main, &p->workers[i]);
  }
  pthread_sigmask(SIG_SETMASK, &old, NULL);
  stack_touch(p);
  if (!code) return p;
  rt_fail(e, RT_E0733, i - 1, strerror(code));
  workers_stop(p, i - 1);
  free(p->workers), free(p);
  return NULL;
}

void pool_destroy(Pool *p) {
  if (!p) return;
  workers_stop(p, p->n);
  free(p->workers), free(p);
}
