/* SPDX-License-Identifier: Apache-2.0
 * pool.h -- the threads that run compiled blocks. The caller is thread 0; the others sleep between blocks. */
#ifndef ROUTEC_POOL_H
#define ROUTEC_POOL_H
#include "error.h"

typedef struct Pool Pool;
/* threads < 1: one a CPU this process may use. */
Pool *pool_create(int threads, RtError *e);
void pool_destroy(Pool *p);
int pool_threads(const Pool *p);
/* From now on blocks run on all threads, or on the caller alone. */
void pool_use_all(Pool *p, bool all);
/* Every thread calls entry(f, tid); returns when all are done. Sets f->n_threads. */
void pool_run(Pool *p, JobEntry entry, JobFrame *f);
/* All threads of the pool meet. Spins, for less long where that has been in vain, then sleeps. */
void pool_barrier(Pool *p);
/* How a wait ended: while spinning; asleep, where a longer spin would have seen it; or later than that. */
typedef enum WaitEnd { WAIT_SPUN, WAIT_SHORT, WAIT_LONG } WaitEnd;
enum { POOL_LEAST_SPINS = 500, POOL_MOST_SPINS = 20000, POOL_SPIN_NANOSECONDS = 10 /* about */ };
/* How long the next wait spins, within the bounds, if the last one spun for `spins` and ended so. */
int32_t pool_spins_after(int32_t spins, WaitEnd end);
int pool_cpus(void); /* CPUs this process may use (cpus.c) */
/* CPUs' worth of time that control groups leave this process, or infinity; /proc and /sys are looked for under `root`. */
double cpus_quota(const char *root);
#endif
