/* SPDX-License-Identifier: Apache-2.0
 * prefetch.c -- what a run needs beside its code, made by threads of their own while the compiler still works: a job's data, the
 * parameters' initial values, and the pages of a step's memory. One job at a time. */
#include "run.h"
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

static struct Prefetch {
  bool running, helping; /* the reader; who does the rest beside it */
  pthread_t reader, helper;
  const Job *job;
  char *data_dir;
  Data data;
  RtError error;
  bool ok;
  Slab store; /* bytes NULL: no initial values */
  ParamDraw draw;
  Slab work;  /* bytes NULL: the run gets its own */
  _Atomic int64_t touched; /* pieces of it that somebody has taken */
} prefetch;

#define TOUCH_BYTES 4194304 /* of a piece: about half a millisecond */

/* Each who helps takes pieces of what is left to do. */
static void help(void) {
  if (prefetch.store.bytes) draw_help(&prefetch.draw);
  if (!prefetch.work.bytes) return;
  const int64_t pieces = (int64_t)prefetch.work.size / TOUCH_BYTES + 1;
  for (int64_t piece; (piece = atomic_fetch_add(&prefetch.touched, 1)) < pieces;) slab_touch(&prefetch.work, piece, pieces);
}

static void *reader_main(void *arg) {
  (void)arg;
  prefetch.ok =
      data_open(&prefetch.data, prefetch.job, prefetch.data_dir, prefetch.job->spec_path, &prefetch.error);
  if (prefetch.ok) prefetch.data.hash = data_hash(&prefetch.data);
  if (prefetch.ok) help();
  return NULL;
}

static void *helper_main(void *arg) {
  (void)arg;
  help();
  return NULL;
}

int rt_cpus(void) { return pool_cpus(); }

void rt_prefetch(const Job *job, const RtOptions *o) {
  sigset_t all, old;
  RtError ignored = {0}; /* who finds none allocates, and tells */
  if (prefetch.running || o->resume) return; /* a resumed run takes its paths from the manifest */
  prefetch = (struct Prefetch){.job = job, .data_dir = o->data_dir ? mem_printf("%s", o->data_dir) : NULL};
  if (job->train.present && !o->init_weights && !o->checkpoint && params_alloc(job, &prefetch.store, &ignored))
    draw_begin(&prefetch.draw, job, o->has_seed ? o->seed : job->seed, prefetch.store.bytes);
  if (job->train.present) slab_alloc(&prefetch.work, job_work_bytes(&job->train.fn, rt_threads(o->threads)), "activations", &ignored);
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  prefetch.running = pthread_create(&prefetch.reader, NULL, reader_main, NULL) == 0;
  if (prefetch.running && prefetch.work.bytes && o->threads != 1)
    prefetch.helping = pthread_create(&prefetch.helper, NULL, helper_main, NULL) == 0;
  pthread_sigmask(SIG_SETMASK, &old, NULL);
  if (!prefetch.running) free(prefetch.data_dir), slab_free(&prefetch.store), slab_free(&prefetch.work);
}

/* Waits, and helps until then. */
static void prefetch_join(bool wanted) {
  pthread_join(prefetch.reader, NULL);
  if (wanted && prefetch.ok) help();
  if (prefetch.helping) pthread_join(prefetch.helper, NULL);
  prefetch.running = prefetch.helping = false;
  free(prefetch.data_dir);
  prefetch.data_dir = NULL;
}

void rt_prefetch_end(void) {
  if (!prefetch.running) return;
  prefetch_join(false);
  if (prefetch.ok) data_close(&prefetch.data);
  slab_free(&prefetch.store), slab_free(&prefetch.work);
}

static bool same_text(const char *a, const char *b) { return a == b || (a && b && !strcmp(a, b)); }

bool prefetch_take(Run *r, bool *ok) {
  if (!prefetch.running) return false;
  const bool mine = prefetch.job == r->job && same_text(prefetch.data_dir, r->data_dir) &&
                    same_text(prefetch.job->spec_path, r->spec_path);
  prefetch_join(mine);
  *ok = prefetch.ok;
  if (mine && prefetch.ok) {
    r->data = prefetch.data, r->store = prefetch.store, r->work = prefetch.work;
    r->drawn = r->store.bytes != NULL, r->drawn_seed = prefetch.draw.seed;
  } else {
    if (prefetch.ok) data_close(&prefetch.data);
    slab_free(&prefetch.store), slab_free(&prefetch.work);
  }
  if (mine && !prefetch.ok) r->error = prefetch.error;
  return mine;
}

void run_initial_values(Run *r) {
  if (!r->drawn || r->drawn_seed != r->seed) params_init(r->job, r->seed, r->store.bytes);
  r->drawn = false;
}
