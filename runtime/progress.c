/* SPDX-License-Identifier: Apache-2.0
 * progress.c -- what a user sees while a run goes on: one line rewritten on a terminal, plain lines at
 * growing intervals in a pipe, JSON lines with --json, nothing with -q. */
#include "run.h"
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define TTY_INTERVAL 0.1

void json_print(json_t *o) {
  json_dumpf(o, stdout, JSON_COMPACT | JSON_REAL_PRECISION(12));
  fputc('\n', stdout);
  fflush(stdout);
  json_decref(o);
}

void progress_end(Run *r) {
  if (!r->progress.line_open) return;
  fputc('\n', stdout);
  fflush(stdout);
  r->progress.line_open = false;
}

void progress_note(Run *r, const char *fmt, ...) {
  va_list args;
  if (r->o->quiet) return;
  progress_end(r);
  va_start(args, fmt);
  if (r->o->json) {
    char text[1024];
    vsnprintf(text, sizeof text, fmt, args);
    json_print(json_pack("{s:s,s:s}", "event", "note", "text", text));
  } else {
    vprintf(fmt, args);
    putchar('\n');
    fflush(stdout);
  }
  va_end(args);
}

static void start_json(const Run *r) {
  json_t *o = json_object();
  json_object_set_new(o, "event", json_string("start"));
  json_object_set_new(o, "run", r->dir ? json_string(r->dir) : json_null());
  json_object_set_new(o, "step", json_integer(r->state.step));
  json_object_set_new(o, "total_steps",
                      r->total_steps == INT64_MAX ? json_null() : json_integer(r->total_steps));
  if (run_has_data(r)) json_object_set_new(o, "steps_per_epoch", json_integer(r->steps_per_epoch));
  json_object_set_new(o, "threads", json_integer(pool_threads(r->pool)));
  if (r->job->n_classes) json_object_set_new(o, "classes", census_json(r));
  json_print(o);
}

void progress_begin(Run *r) {
  Progress *p = &r->progress;
  *p = (Progress){.started = mem_now(),
                  .started_step = r->state.step,
                  .tty = isatty(STDOUT_FILENO) && !r->o->json,
                  .begun = true};
  if (r->o->quiet || r->o->json) {
    if (!r->o->quiet) start_json(r);
    census_show(r);
    return;
  }
  int64_t numbers = 0;
  for (uint32_t i = 0; i < r->job->n_params; i++) numbers += param_elements(&r->job->params[i]);
  printf("%s: seed %llu, %lld parameters, ", r->dir ? r->dir : r->job->title, (unsigned long long)r->seed,
         (long long)numbers);
  if (run_has_data(r))
    printf("%lld data%s, batch %lld, %lld steps an epoch, ", (long long)r->order.first[r->order.n_classes],
           r->job->train.filter ? " kept by the filter" : "", (long long)r->job->train.batch, (long long)r->steps_per_epoch);
  printf("%d thread%s\n", pool_threads(r->pool), pool_threads(r->pool) == 1 ? "" : "s");
  census_show(r);
  fflush(stdout);
}

/* Seconds left, or -1 if unknown. */
static double eta(const Run *r, double rate) {
  const JobTrain *t = &r->job->train;
  if (t->length.unit == JOB_SECONDS) return fmax(0, t->length.n - r->state.seconds);
  return rate > 0 && r->total_steps != INT64_MAX ? (double)(r->total_steps - r->state.step) / rate : -1;
}

static void duration_print(char *out, size_t cap, double s) {
  long n = (long)(s + 0.5);
  if (s < 0) snprintf(out, cap, "?");
  else if (n < 3600) snprintf(out, cap, "%ld:%02ld", n / 60, n % 60);
  else snprintf(out, cap, "%ld:%02ld:%02ld", n / 3600, n / 60 % 60, n % 60);
}

static size_t append(char *out, size_t cap, size_t n, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
static size_t append(char *out, size_t cap, size_t n, const char *fmt, ...) {
  va_list args;
  if (n >= cap) return n;
  va_start(args, fmt);
  int k = vsnprintf(out + n, cap - n, fmt, args);
  va_end(args);
  return k < 0 ? n : n + (size_t)k;
}

static void line_make(const Run *r, char *out, size_t cap, double rate) {
  const RunState *s = &r->state;
  char left[32];
  size_t n = append(out, cap, 0, "step %lld", (long long)s->step);
  if (r->total_steps != INT64_MAX) n = append(out, cap, n, "/%lld", (long long)r->total_steps);
  if (run_has_data(r)) n = append(out, cap, n, "  epoch %.4g", (double)s->step / (double)r->steps_per_epoch);
  n = append(out, cap, n, "  loss %.5g", losses_total(r, r->losses));
  for (uint32_t i = 0; r->job->n_origins > 1 && i < r->job->n_origins; i++)
    n = append(out, cap, n, "%s%s %.4g", i ? "  " : "  (", r->job->origins[i].name, r->losses[i]);
  if (r->job->n_origins > 1) n = append(out, cap, n, ")");
  duration_print(left, sizeof left, eta(r, rate));
  append(out, cap, n, "  %.4g steps/s  ETA %s", rate, left);
}

static void line_json(const Run *r, double rate) {
  json_t *o = json_object(), *losses = json_object();
  for (uint32_t i = 0; i < r->job->n_origins; i++)
    json_object_set_new(losses, r->job->origins[i].name, json_number(r->losses[i]));
  json_object_set_new(o, "event", json_string("progress"));
  json_object_set_new(o, "step", json_integer(r->state.step));
  if (run_has_data(r))
    json_object_set_new(o, "epoch", json_number((double)r->state.step / (double)r->steps_per_epoch));
  json_object_set_new(o, "total", json_number(losses_total(r, r->losses)));
  json_object_set_new(o, "loss", losses);
  json_object_set_new(o, "steps_per_second", json_number(rate));
  json_object_set_new(o, "eta", json_number(eta(r, rate)));
  json_print(o);
}

static void line_show(Run *r, double rate) {
  char line[1024];
  line_make(r, line, sizeof line, rate);
  if (!r->progress.tty || r->o->verbose) {
    progress_end(r);
    printf("%s\n", line);
  } else {
    struct winsize w;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 8 && strlen(line) >= w.ws_col)
      line[w.ws_col - 1] = 0;
    printf("\r%s\033[K", line);
    r->progress.line_open = true;
  }
  fflush(stdout);
}

void progress_first_step(Run *r, double began, double ended) {
  const double setup = began - r->opened - r->data_seconds, wait = r->o->compile_seconds + began - r->opened;
  if (r->o->quiet) return;
  if (r->o->json) {
    json_print(json_pack("{s:s,s:f,s:f,s:f,s:f,s:f}", "event", "first_step", "after", wait, "compile", r->o->compile_seconds,
                         "data", r->data_seconds, "setup", setup, "seconds", ended - began));
  } else if (r->o->verbose) {
    progress_end(r);
    printf("first step after %.3f s: compiling %.3f, waiting for data %.3f, memory and initial values %.3f; it took %.3f s\n",
           wait, r->o->compile_seconds, r->data_seconds, setup, ended - began);
  }
}

/* Lines in a pipe: at points where losses are logged, at least a second and a twentieth of the run's age
 * apart. */
void progress_update(Run *r, bool logged) {
  Progress *p = &r->progress;
  double now = mem_now(), age = now - p->started, since = now - p->last_shown;
  bool last = r->state.step >= r->total_steps;
  if (r->o->quiet) return;
  double rate = age > 0 ? (double)(r->state.step - p->started_step) / age : 0;
  if (r->o->json) {
    if (!logged) return;
    line_json(r, rate);
  } else if (r->o->verbose ? !logged
             : p->tty      ? since < TTY_INTERVAL && !last
                           : !last && (!logged || since < fmin(60, fmax(1, age / 20)))) {
    return;
  } else {
    line_show(r, rate);
  }
  p->last_shown = now;
}
