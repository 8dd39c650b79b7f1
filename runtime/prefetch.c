/* SPDX-License-Identifier: Apache-2.0
 * prefetch.c -- what a run needs beside its code, made by threads of their own while the compiler still works: a job's data, and the
 * parameters' initial values. One job at a time. */
#include "run.h"
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

static struct Prefetch {
  bool running, drawing; /* the reader; who draws initial values beside it */
  pthread_t reader, drawer;
  const Job *job;
  char *data_dir;
  Data data;
  RtError error;
  bool ok;
  Slab store; /* bytes NULL: no initial values */
  ParamDraw draw;
} prefetch;

static void *reader_main(void *arg) {
  (void)arg;
  prefetch.ok =
      data_open(&prefetch.data, prefetch.job, prefetch.data_dir, prefetch.job->spec_path, &prefetch.error);
  if (prefetch.ok) prefetch.data.hash = data_hash(&prefetch.data);
  if (prefetch.ok && prefetch.store.bytes) draw_help(&prefetch.draw);
  return NULL;
}

static void *drawer_main(void *arg) {
  (void)arg;
  draw_help(&prefetch.draw);
  return NULL;
}

int rt_cpus(void) { return pool_cpus(); }

void rt_prefetch(const Job *job, const RtOptions *o) {
  sigset_t all, old;
  RtError ignored = {0}; /* who finds no initial values allocates, and tells */
  if (prefetch.running || o->resume) return; /* a resumed run takes its paths from the manifest */
  prefetch = (struct Prefetch){.job = job, .data_dir = o->data_dir ? mem_printf("%s", o->data_dir) : NULL};
  if (job->train.present && !o->init_weights && !o->checkpoint && params_alloc(job, &prefetch.store, &ignored))
    draw_begin(&prefetch.draw, job, o->has_seed ? o->seed : job->seed, prefetch.store.bytes);
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  prefetch.running = pthread_create(&prefetch.reader, NULL, reader_main, NULL) == 0;
  if (prefetch.running && prefetch.store.bytes && o->threads != 1)
    prefetch.drawing = pthread_create(&prefetch.drawer, NULL, drawer_main, NULL) == 0;
  pthread_sigmask(SIG_SETMASK, &old, NULL);
  if (!prefetch.running) free(prefetch.data_dir), slab_free(&prefetch.store);
}

/* Waits, and helps until then. */
static void prefetch_join(bool help) {
  pthread_join(prefetch.reader, NULL);
  if (help && prefetch.ok && prefetch.store.bytes) draw_help(&prefetch.draw);
  if (prefetch.drawing) pthread_join(prefetch.drawer, NULL);
  prefetch.running = prefetch.drawing = false;
  free(prefetch.data_dir);
  prefetch.data_dir = NULL;
}

void rt_prefetch_end(void) {
  if (!prefetch.running) return;
  prefetch_join(false);
  if (prefetch.ok) data_close(&prefetch.data);
  slab_free(&prefetch.store);
}

static bool same_text(const char *a, const char *b) { return a == b || (a && b && !strcmp(a, b)); }

bool prefetch_take(Run *r, bool *ok) {
  if (!prefetch.running) return false;
  const bool mine = prefetch.job == r->job && same_text(prefetch.data_dir, r->data_dir) &&
                    same_text(prefetch.job->spec_path, r->spec_path);
  prefetch_join(mine);
  *ok = prefetch.ok;
  if (mine && prefetch.ok) {
    r->data = prefetch.data, r->store = prefetch.store;
    r->drawn = r->store.bytes != NULL, r->drawn_seed = prefetch.draw.seed;
  } else {
    if (prefetch.ok) data_close(&prefetch.data);
    slab_free(&prefetch.store);
  }
  if (mine && !prefetch.ok) r->error = prefetch.error;
  return mine;
}

void run_initial_values(Run *r) {
  if (!r->drawn || r->drawn_seed != r->seed) params_init(r->job, r->seed, r->store.bytes);
  r->drawn = false;
}
