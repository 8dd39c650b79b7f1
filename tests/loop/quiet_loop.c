/* SPDX-License-Identifier: Apache-2.0
 * quiet_loop.c -- trains a specification as `routec run` does and counts, in every thread, page faults and allocations inside of
 * compiled blocks of steps that begin with step 10 or later. What happens between blocks (epochs, losses, evaluations, checkpoints)
 * may allocate; it is counted apart.
 *   quiet_loop SPEC THREADS RUN_DIR [NAME=VALUE ...] */
#include "driver.h"
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { FIRST_STEP = 10, LAST_STEP = 200, MOST_SETS = 16 };

/* The C library's own allocator, behind ours. */
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void *__libc_memalign(size_t align, size_t n);
static _Thread_local int64_t allocations;
static _Atomic int64_t all_allocations;

static void count_allocation(void) {
  allocations++;
  atomic_fetch_add_explicit(&all_allocations, 1, memory_order_relaxed);
}
void *malloc(size_t n) { return count_allocation(), __libc_malloc(n); }
void *calloc(size_t n, size_t size) { return count_allocation(), __libc_calloc(n, size); }
void *realloc(void *p, size_t n) { return count_allocation(), __libc_realloc(p, n); }
void *memalign(size_t align, size_t n) { return count_allocation(), __libc_memalign(align, n); }
void *aligned_alloc(size_t align, size_t n) { return count_allocation(), __libc_memalign(align, n); }

typedef struct Counts {
  _Atomic int64_t blocks, steps, minor, major, allocations;
} Counts;
static Counts in_blocks;
static JobEntry compiled;

static void count_block(JobFrame *f, int64_t tid) {
  struct rusage before, after;
  const int64_t had = allocations;
  getrusage(RUSAGE_THREAD, &before);
  compiled(f, tid);
  getrusage(RUSAGE_THREAD, &after);
  if (f->step < FIRST_STEP) return;
  in_blocks.blocks += tid == 0;
  in_blocks.steps += tid == 0 ? f->n_steps : 0;
  in_blocks.minor += after.ru_minflt - before.ru_minflt;
  in_blocks.major += after.ru_majflt - before.ru_majflt;
  in_blocks.allocations += allocations - had;
}

int main(int argc, char **argv) {
  Override sets[MOST_SETS];
  Options o = {.last = N_STAGES, .sets = sets};
  Compilation c;
  bool stopped;
  if (argc < 4 || argc - 4 > MOST_SETS) return RT_USAGE;
  for (int i = 4; i < argc; i++) {
    char *eq = strchr(argv[i], '=');
    if (!eq) return RT_USAGE;
    *eq = 0;
    sets[o.n_sets++] = (Override){argv[i], eq + 1};
  }
  o.argument = argv[1];
  o.rt = (RtOptions){.threads = atoi(argv[2]), .run_dir = argv[3], .stop_after_steps = LAST_STEP, .quiet = 2};
  driver_open(&c, &o);
  int code = driver_compile(&c, o.argument, STAGE_LOAD, &stopped);
  if (code == RT_OK) {
    compiled = c.job->train.fn.entry;
    c.job->train.fn.entry = count_block;
    code = rt_train(c.job, &o.rt);
  }
  driver_close(&c);
  printf("%lld steps in %lld blocks: %lld minor faults, %lld major faults, %lld allocations; %lld allocations elsewhere\n",
         (long long)in_blocks.steps, (long long)in_blocks.blocks, (long long)in_blocks.minor, (long long)in_blocks.major,
         (long long)in_blocks.allocations, (long long)(all_allocations - in_blocks.allocations));
  if (code != RT_OK) return code;
  if (in_blocks.steps < LAST_STEP - FIRST_STEP - 64 || !all_allocations) return RT_INTERNAL; /* nothing was looked at */
  return in_blocks.minor || in_blocks.major || in_blocks.allocations ? RT_RUN_FAILED : RT_OK;
}
