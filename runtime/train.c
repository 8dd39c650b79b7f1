/* SPDX-License-Identifier: Apache-2.0
 * train.c -- the loop around compiled blocks. A block ends where something is due (epoch, losses, evaluation,
 * checkpoint, end) or after about 0.2 s, so that a signal is answered soon. Nothing that is computed depends
 * on where blocks end. */
#include "run.h"
#include "gemm.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_SECONDS 0.2

static void frame_barrier(JobFrame *f, int64_t tid) {
  (void)tid;
  pool_barrier(((Run *)f->host)->pool);
}

void run_scalars(Run *r) {
  for (uint32_t i = 0; i < r->job->n_scalars; i++) r->wide_scalars[i] = r->job->scalars[i].value;
}

bool run_calls(Run *r) {
  calls_close(r->calls);
  r->calls = NULL;
  if (!r->job->n_calls) return true;
  r->calls = calls_open(r->job, &r->error);
  return r->calls != NULL;
}

void frame_setup(Run *r, JobFrame *f, const DataPart *part, uint8_t *work) {
  *f = (JobFrame){.store = r->store.bytes,
                  .work = work,
                  .scalars = r->wide_scalars,
                  .columns = part->columns,
                  .total_steps = r->total_steps,
                  .steps_per_epoch = r->steps_per_epoch,
                  .seed = r->seed,
                  .n_threads = pool_threads(r->pool),
                  .losses = r->losses,
                  .loss_sums = r->state.loss_sums,
                  .bad_step = -1,
                  .barrier = frame_barrier,
                  .check_step = check_step,
                  .sgemm = rt_sgemm,
                  .call = calls_run,
                  .mark = profile_mark,
                  .calls = r->calls,
                  .host = r};
}

double losses_total(const Run *r, const double *losses) {
  double total = 0;
  for (uint32_t i = 0; i < r->job->n_origins; i++) total += losses[i];
  return total;
}

/* ---- when something is due
 * ---------------------------------------------------------------------------------------- */
int64_t amount_next(JobAmount a, int64_t step, int64_t per_epoch) {
  double every = a.unit == JOB_EPOCHS ? a.n * (double)per_epoch : a.n;
  if (!(a.n > 0) || a.unit == JOB_SECONDS || every > 1e15) return INT64_MAX;
  double k = floor((double)step / every);
  for (;; k += 1) { /* at most three turns, unless every is below one step */
    int64_t due = (int64_t)ceil(k * every - 1e-9);
    if (due > step) return due;
    if (every < 1) return step + 1;
  }
}
static bool amount_due(JobAmount a, int64_t step, int64_t per_epoch) {
  return step > 0 && amount_next(a, step - 1, per_epoch) == step;
}

/* Without log_every: once an epoch, but at least every 100 steps. */
static int64_t log_next(const Run *r, int64_t step) {
  JobAmount a = r->job->train.log_every;
  if (a.n > 0) return amount_next(a, step, r->steps_per_epoch);
  int64_t epoch = (step / r->steps_per_epoch + 1) * r->steps_per_epoch, hundred = (step / 100 + 1) * 100;
  return r->steps_per_epoch > 100 && hundred < epoch ? hundred : epoch;
}

/* Magnitudes are looked at in the first step and in the last of an epoch, at most once in 100 steps: the next such
 * step, from `step` on. A code without bound may grow a hundredfold within an epoch and die in a later one. */
static int64_t watched_next(const Run *r, int64_t step) {
  int64_t e = r->steps_per_epoch, every = (99 / e + 1) * e;
  return step == 0 ? 0 : (step / every + 1) * every - 1;
}

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

static int64_t block_end(const Run *r, int64_t longest) {
  const JobTrain *t = &r->job->train;
  int64_t step = r->state.step, per_epoch = r->steps_per_epoch;
  int64_t end = least((step / per_epoch + 1) * per_epoch, r->total_steps);
  end = least(end, log_next(r, step));
  end = least(end, least(amount_next(t->checkpoint_every, step, per_epoch),
                         amount_next(t->evaluate_every, step, per_epoch)));
  const int64_t watched = watched_next(r, step);
  end = least(end, step == watched ? step + 1 : watched);
  const int64_t audited = audit_next(r, step);
  end = least(end, step == audited ? step + 1 : audited);
  end = least(end, monitor_next(r, step + 1));
  if (r->o->stop_after_steps > step) end = least(end, r->o->stop_after_steps);
  return least(end, step + longest);
}

static bool train_lengths(Run *r, const DataPart *part) {
  const JobTrain *t = &r->job->train;
  const JobFunction *fn = t->fn.symbol || !r->job->gradient.fn.symbol ? &t->fn : &r->job->gradient.fn;
  if (t->batch < 1 || t->batch > fn->max_rows)
    fprintf(stderr, "runtime: batch %lld of %lld\n", (long long)t->batch, (long long)fn->max_rows), abort();
  if (!order_plan(&r->order, r->job, part, &r->error)) return false;
  groups_free(&r->groups);
  r->steps_per_epoch = r->order.steps;
  double n = t->length.unit == JOB_EPOCHS ? t->length.n * (double)r->steps_per_epoch : t->length.n;
  bool timed = t->length.unit == JOB_SECONDS || n > 9e15;
  r->total_steps = timed ? INT64_MAX : (int64_t)ceil(n - 1e-9);
  return true;
}

/* The frame's block: `n` steps from `step` on, all of one epoch. */
static bool frame_block(Run *r, JobFrame *f, int64_t step, int64_t n) {
  const int64_t epoch = step / r->steps_per_epoch;
  const JobTrain *t = &r->job->train;
  const int64_t in_epoch = step - epoch * r->steps_per_epoch;
  if (!order_epoch(&r->order, t, r->seed, epoch, &r->error)) return false;
  if (!groups_epoch(&r->groups, &t->groups, data_part(&r->data, t->source, "train"), &r->order, &r->error)) return false;
  f->order = r->order.data, f->starts = r->order.starts + in_epoch;
  f->sets = groups_at(&r->groups, &t->groups, in_epoch);
  f->step = step, f->n_steps = n, f->bad_step = -1, f->check = 0;
  return true;
}

bool frame_at(Run *r, JobFrame *f, int64_t step) {
  *f = r->frame;
  f->profile = NULL; /* steps that do not count */
  f->losses = r->scratch_losses, f->loss_sums = r->scratch_losses + r->job->n_origins + 8;
  if (!frame_block(r, f, step, 1)) return false;
  r->frame_rows = f->starts[1] - f->starts[0];
  return true;
}

bool frame_begin(Run *r) {
  const DataPart *part = data_part(&r->data, r->job->train.source, "train");
  if (!train_lengths(r, part)) return false;
  frame_setup(r, &r->frame, part, r->work.bytes);
  return true;
}

/* ---- one block
 * ------------------------------------------------------------------------------------------------------ */
static bool block_run(Run *r, int64_t end) {
  const int64_t step = r->state.step;
  JobFrame *f = &r->frame;
  if (!frame_block(r, f, step, end - step)) return false;
  const bool watched = step == watched_next(r, step) && (step == 0 || r->state.n_baseline);
  const bool audited = step == audit_next(r, step);
  if (audited) audit_begin(r);
  if (watched) growth_begin(r, f);
  pool_run(r->pool, r->job->train.fn.entry, f);
  if (watched) growth_end(r, f);
  if (f->bad_step >= 0) {
    finite_explain(r, f->bad_step);
    return false;
  }
  if (audited && !audit_end(r)) return false;
  r->state.step = end, r->state.log_steps += end - step;
  return true;
}

typedef struct TimeMarks {
  double log, checkpoint, evaluate;
} TimeMarks;
static bool time_due(JobAmount a, double *last, double now) {
  if (a.unit != JOB_SECONDS || !(a.n > 0) || now - *last < a.n) return false;
  return *last = now, true;
}

/* What falls due after a block, in an order that a resumed run repeats: losses, evaluation,
 * checkpoint. */
static bool boundary(Run *r, TimeMarks *m, bool last, bool *interrupted) {
  const JobTrain *t = &r->job->train;
  RunState *s = &r->state;
  int64_t e = r->steps_per_epoch;
  double now = s->seconds;
  bool log = log_next(r, s->step - 1) == s->step || time_due(t->log_every, &m->log, now) || last;
  if (log && !metrics_losses(r)) return false;
  progress_update(r, log);
  if (!last &&
      (amount_due(t->evaluate_every, s->step, e) || time_due(t->evaluate_every, &m->evaluate, now))) {
    if (!eval_all(r, true, false, interrupted)) return false;
    if (*interrupted) return true;
    s->evaluated = s->step;
  }
  if (!last &&
      (amount_due(t->checkpoint_every, s->step, e) || time_due(t->checkpoint_every, &m->checkpoint, now))) {
    if (!checkpoint_save(r)) return false;
    checkpoint_prune(r, t->checkpoint_keep);
  }
  return true;
}

static bool train_done(const Run *r) {
  const JobTrain *t = &r->job->train;
  return r->state.step >= r->total_steps ||
         (t->length.unit == JOB_SECONDS && r->state.seconds >= t->length.n);
}

/* An evaluation that was due at the checkpoint's step but was interrupted is made up for. */
static bool evaluation_make_up(Run *r, bool *interrupted) {
  const RunState *s = &r->state;
  if (s->evaluated == s->step || train_done(r) ||
      !amount_due(r->job->train.evaluate_every, s->step, r->steps_per_epoch))
    return true;
  if (!eval_all(r, true, false, interrupted)) return false;
  if (!*interrupted) r->state.evaluated = s->step;
  return true;
}

/* ---- how many threads -----------------------------------------------------------------------------------
 * Small steps lose on a busy machine: whoever waits at a barrier waits for a thread that another process has
 * pushed off its CPU. Where the bits do not depend on it and the user named no number, short trials of "alone" against
 * "all" (at most a fortieth of the time) decide, again and again. */
#define TRIAL_LONGEST_STEP 0.1 /* seconds: above it a barrier's wait is small beside the work */
typedef struct ThreadChoice {
  bool adapt, alone, trial;
  double per_step, next_trial; /* seconds a step as chosen; when to try the other */
} ThreadChoice;

static int64_t threads_begin(ThreadChoice *c, Run *r, double now, int64_t longest) {
  c->trial = c->adapt && c->per_step > 0 && c->per_step < TRIAL_LONGEST_STEP && now >= c->next_trial;
  pool_use_all(r->pool, c->trial == c->alone);
  return c->trial ? least(longest, (int64_t)(0.01 / c->per_step) + 1) : longest;
}

static void threads_end(ThreadChoice *c, double now, double seconds, double per_step) {
  if (!c->trial) {
    c->per_step = per_step;
    return;
  }
  if (per_step < 0.9 * c->per_step) c->alone = !c->alone, c->per_step = per_step;
  c->next_trial = now + (40 * seconds > 0.5 ? 40 * seconds : 0.5);
}

typedef enum LoopEnd { LOOP_DONE, LOOP_STOPPED, LOOP_INTERRUPTED, LOOP_FAILED } LoopEnd;

static LoopEnd train_loop(Run *r) {
  const DataPart *part = data_part(&r->data, r->job->train.source, "train");
  double before = r->state.seconds, started = mem_now();
  TimeMarks marks = {before, before, before};
  int64_t longest = 1;
  bool interrupted = false;
  ThreadChoice threads = {.adapt = r->o->threads < 1 && pool_threads(r->pool) > 1 && !r->job->train.fn.blas};
  frame_setup(r, &r->frame, part, r->work.bytes);
  r->frame.profile = profile_of(r, &r->job->train.fn);
  progress_begin(r);
  if (!monitor_open(r) || !audit_open(r)) return LOOP_FAILED;
  if (!evaluation_make_up(r, &interrupted)) return LOOP_FAILED;
  while (!train_done(r)) {
    if (signals_seen() || interrupted) return LOOP_INTERRUPTED;
    if (r->o->stop_after_steps > 0 && r->state.step >= r->o->stop_after_steps) return LOOP_STOPPED;
    if (monitor_next(r, r->state.step) == r->state.step && !monitor_record(r)) return LOOP_FAILED;
    double t = mem_now();
    int64_t first = r->state.step;
    if (!block_run(r, block_end(r, threads_begin(&threads, r, t, longest)))) return LOOP_FAILED;
    double now = mem_now(), per_step = (now - t) / (double)(r->state.step - first);
    threads_end(&threads, now, now - t, per_step);
    r->state.seconds = before + now - started;
    if (first == 0) progress_first_step(r, t, now);
    /* grow gently: the first step is slow, since pages are touched and code is loaded */
    if (!threads.trial) longest = least(longest * 8, per_step > 0 ? (int64_t)(BLOCK_SECONDS / per_step) + 1 : 1000);
    if (!boundary(r, &marks, train_done(r), &interrupted)) return LOOP_FAILED;
  }
  return LOOP_DONE;
}

/* ---- the whole run
 * ---------------------------------------------------------------------------------------------------- */
static int train_finish(Run *r) {
  bool interrupted = false;
  if (r->job->train.present) {
    if (!checkpoint_save(r)) return RT_RUN_FAILED;
    growth_report(r);
    if (r->error.code) return RT_RUN_FAILED;
  }
  if (!eval_all(r, true, true, &interrupted) || !metrics_sync(r)) return RT_RUN_FAILED;
  if (interrupted) return RT_INTERRUPTED;
  if (!expect_all(r)) return RT_RUN_FAILED;
  return r->expects_failed ? RT_EXPECT_FAILED : RT_OK;
}

/* Store and state: from the newest checkpoint, or anew. */
static bool train_begin(Run *r) {
  const DataPart *part = r->job->train.present ? data_part(&r->data, r->job->train.source, "train") : NULL;
  bool found = false;
  char extra[256];
  if (part && !train_lengths(r, part)) return false;
  if (r->o->resume && !checkpoint_resume(r, &found)) return false;
  run_scalars(r);
  if (!run_calls(r)) return false;
  if (found) {
    progress_note(r, "resuming %s at step %lld", r->dir, (long long)r->state.step);
    return metrics_open(r, r->state.metrics_bytes);
  }
  run_initial_values(r);
  if (r->init_path) {
    if (!params_load(r->job, r->init_path, r->store.bytes, extra, sizeof extra, &r->error)) return false;
    if (*extra) run_warn(r, RT_W0754, r->init_path, extra);
  }
  if (!r->o->resume) return run_folder_create(r);
  progress_note(r, "no checkpoint in %s yet: starting from step 0", r->dir);
  return metrics_open(r, 0);
}

static const char *status_name(int code) {
  return code == RT_OK              ? "finished"
         : code == RT_EXPECT_FAILED ? "finished"
         : code == RT_INTERRUPTED   ? "interrupted"
                                    : "failed";
}

int train_run(Run *r) {
  if (r->o->resume && !run_folder_resume(r, r->o->resume)) return run_report(r, RT_RUN_FAILED);
  if (!run_load(r) || !train_begin(r) || !profile_open(r)) {
    if (r->manifest) run_manifest_write(r, "failed", RT_RUN_FAILED);
    return run_report(r, RT_RUN_FAILED);
  }
  int code;
  LoopEnd end = r->job->train.present ? train_loop(r) : LOOP_DONE;
  progress_end(r);
  if (end != LOOP_FAILED) monitor_report(r), audit_report(r);
  if (end == LOOP_FAILED) code = RT_RUN_FAILED;
  else if (end == LOOP_DONE) code = train_finish(r);
  else if (!checkpoint_save(r)) code = RT_RUN_FAILED;
  else code = end == LOOP_INTERRUPTED ? RT_INTERRUPTED : RT_OK;
  if (code == RT_INTERRUPTED && r->dir)
    progress_note(r, "interrupted at step %lld; go on with: resume %s", (long long)r->state.step, r->dir);
  if (end != LOOP_FAILED && !profile_report(r) && code == RT_OK) code = RT_RUN_FAILED;
  memory_note(r);
  RtError first = r->error;
  if (!run_manifest_write(r, end == LOOP_STOPPED && code == RT_OK ? "stopped" : status_name(code), code) &&
      !first.code)
    code = RT_RUN_FAILED;
  return run_report(r, code);
}

int rt_train(Job *job, const RtOptions *o) {
  Run r;
  signals_catch();
  int code = run_open(&r, job, o) ? train_run(&r) : run_report(&r, RT_RUN_FAILED);
  run_close(&r);
  signals_release();
  return code;
}
