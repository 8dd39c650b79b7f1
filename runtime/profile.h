/* SPDX-License-Identifier: Apache-2.0
 * profile.h -- where a run's time goes, plan step by plan step: what JobFrame.mark adds up, and how it is told. Changes no bit of
 * a run. Times are ticks of the processor's counter. */
#ifndef ROUTEC_PROFILE_H
#define ROUTEC_PROFILE_H
#include "run.h"

/* What this machine can do, measured on the threads of the pool. */
typedef struct MachinePeak {
  double flops; /* single-precision operations of fused multiply-adds a second */
  double bytes; /* read and written a second by copies that no cache holds */
} MachinePeak;
bool peak_measure(Pool *pool, MachinePeak *out, RtError *e);

typedef struct TraceEvent {
  uint64_t begin, end;
  int64_t step; /* of training, or batch of an evaluation */
  uint32_t plan_step;
  bool wait;
} TraceEvent;

typedef struct ProfileThread {
  _Alignas(64) uint64_t last; /* its last mark */
  bool tracing;
  int64_t steps, marks;
  uint64_t *work, *wait; /* [plan step] */
  TraceEvent *events;
  uint32_t n_events, most_events;
} ProfileThread;

/* A product of the rows of some row sets, and its sum over all steps. */
typedef struct RowProduct {
  uint32_t n;
  uint8_t sets[JOB_MAX_RANK];
  double sum;
} RowProduct;

typedef struct ProfileFn {
  const char *name; /* of an evaluation; NULL: training */
  const JobFunction *fn;
  ProfileThread *threads;
  uint32_t n_threads;
  RowProduct *products;
  uint32_t n_products;
  int64_t *counted; /* [plan step] FLOP of products, by the extents they were called with */
  int64_t first_step;
} ProfileFn;

typedef struct Profile {
  ProfileFn *fns;
  uint32_t n;
  MachinePeak peak;
  uint64_t began;
  double began_at; /* mem_now() then */
  double tick;     /* seconds; known at the end */
  double mark;     /* seconds that one look at the clock takes */
} Profile;

uint64_t profile_ticks(void);

/* A plan step in all threads and steps that were counted. */
typedef struct StepTotal {
  double work, wait; /* ticks */
  double flops, products, bytes, counted;
} StepTotal;
typedef struct FnTotal {
  StepTotal *steps; /* [plan step]; freed by the caller */
  double work, wait, products, counted;
  double threads; /* mean number of threads that took part */
  int64_t n_steps;
} FnTotal;
bool profile_total(const ProfileFn *p, FnTotal *out); /* false: nothing was counted, or no memory */

/* profile_print.c */
void profile_table(Run *r, const Profile *p);
bool profile_trace(Run *r, const Profile *p, const char *path);
#endif
