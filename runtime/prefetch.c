/* SPDX-License-Identifier: Apache-2.0
 * prefetch.c -- reading a job's data on a thread of its own while the compiler still works. One at a time. */
#include "run.h"
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

static struct Prefetch {
  bool running;
  pthread_t thread;
  const Job *job;
  char *data_dir;
  Data data;
  RtError error;
  bool ok;
} prefetch;

static void *prefetch_main(void *arg) {
  (void)arg;
  prefetch.ok =
      data_open(&prefetch.data, prefetch.job, prefetch.data_dir, prefetch.job->spec_path, &prefetch.error);
  return NULL;
}

int rt_cpus(void) { return pool_cpus(); }

void rt_prefetch(const Job *job, const RtOptions *o) {
  sigset_t all, old;
  if (prefetch.running || o->resume) return; /* a resumed run takes its paths from the manifest */
  prefetch.job = job, prefetch.data_dir = o->data_dir ? mem_printf("%s", o->data_dir) : NULL;
  prefetch.data = (Data){0}, prefetch.error = (RtError){0}, prefetch.ok = false;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  prefetch.running = pthread_create(&prefetch.thread, NULL, prefetch_main, NULL) == 0;
  pthread_sigmask(SIG_SETMASK, &old, NULL);
  if (!prefetch.running) free(prefetch.data_dir);
}

void rt_prefetch_end(void) {
  if (!prefetch.running) return;
  pthread_join(prefetch.thread, NULL);
  prefetch.running = false;
  free(prefetch.data_dir);
  if (prefetch.ok) data_close(&prefetch.data);
  prefetch.data = (Data){0};
}

static bool same_text(const char *a, const char *b) { return a == b || (a && b && !strcmp(a, b)); }

bool prefetch_take(Run *r, bool *ok) {
  if (!prefetch.running) return false;
  pthread_join(prefetch.thread, NULL);
  prefetch.running = false;
  bool mine = prefetch.job == r->job && same_text(prefetch.data_dir, r->data_dir) &&
              same_text(prefetch.job->spec_path, r->spec_path);
  free(prefetch.data_dir);
  *ok = prefetch.ok;
  if (mine && prefetch.ok) r->data = prefetch.data;
  else if (prefetch.ok) data_close(&prefetch.data);
  if (mine && !prefetch.ok) r->error = prefetch.error;
  prefetch.data = (Data){0};
  return mine;
}
