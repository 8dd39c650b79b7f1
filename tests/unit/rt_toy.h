/* SPDX-License-Identifier: Apache-2.0
 * rt_toy.h -- a Job written by hand: y = X w + b by SGD with momentum, so that the runtime is tested without
 * a compiler. Plan steps: 0 prediction, 1 loss, 2 gradient, 3 check, 4 update. Rows are shared between
 * threads in fixed order by barriers, as in emitted code. */
#ifndef RT_TOY_H
#define RT_TOY_H
#include "job.h"
#include "rt.h"
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

enum { TOY_IN = 3, TOY_ROWS = 50, TOY_BATCH = 8, TOY_WSTRIDE = 16 };
/* offsets in the work slab */
enum {
  TOY_PRED = 0,
  TOY_LOSS = 256,
  TOY_GRAD = 320,
  TOY_METRIC = 0,
  TOY_KEY = 4096,
  TOY_IMAGE = 8192,
  TOY_WORK = 65536
};
enum {
  TOY_LR,
  TOY_MOMENTUM,
  TOY_POISON /* step whose prediction becomes NaN */,
  TOY_GROW /* factor on w a step */,
  TOY_SLEEP /* microseconds a step */,
  TOY_N_SCALARS
};

static inline float *toy_f(uint8_t *base, int64_t offset) { return (float *)(void *)(base + offset); }

static inline void toy_check(JobFrame *f, int64_t tid, int64_t step) {
  f->barrier(f, tid);
  if (f->check) f->check_step(f, tid, step);
}

/* Offsets as in toy_job(): w at 0 (stride 2 floats, to be different from dense), b at 256, states at 512 and
 * 768. */
static inline void toy_forward(JobFrame *f, int64_t tid, int64_t step, int64_t row, int64_t rows) {
  const float *x = f->columns[0], *w = toy_f(f->store, 0), *b = toy_f(f->store, 256);
  for (int64_t i = tid; i < rows; i += f->n_threads) {
    const float *xi = x + (int64_t)f->order[row + i] * TOY_IN;
    float y = b[0];
    for (int j = 0; j < TOY_IN; j++) y += xi[j] * w[2 * j];
    toy_f(f->work, TOY_PRED)[i] = (double)step == f->scalars[TOY_POISON] ? NAN : y;
  }
}

static inline void toy_backward(JobFrame *f, int64_t row, int64_t rows) {
  const float *x = f->columns[0], *y = f->columns[1];
  float *g = toy_f(f->work, TOY_GRAD);
  memset(g, 0, 4 * sizeof *g);
  for (int64_t i = 0; i < rows; i++) {
    int64_t d = f->order[row + i];
    float e = (toy_f(f->work, TOY_PRED)[i] - y[d]) * 2 / (float)rows;
    for (int j = 0; j < TOY_IN; j++) g[j] += e * x[d * TOY_IN + j];
    g[3] += e;
  }
}

static inline void toy_update(JobFrame *f) {
  const float *g = toy_f(f->work, TOY_GRAD);
  float lr = (float)f->scalars[TOY_LR], mu = (float)f->scalars[TOY_MOMENTUM],
        grow = (float)f->scalars[TOY_GROW];
  for (int j = 0; j < 4; j++) {
    float *v = j < 3 ? toy_f(f->store, 512) + 2 * j : toy_f(f->store, 768),
          *w = j < 3 ? toy_f(f->store, 0) + 2 * j : toy_f(f->store, 256);
    *v = mu * *v + g[j];
    *w = (*w - lr * *v) * grow;
  }
}

/* A step that takes its time, signals or not. */
static inline void toy_sleep(double microseconds) {
  struct timespec t = {(time_t)(microseconds / 1e6), (long)(fmod(microseconds, 1e6) * 1e3)};
  while (microseconds > 0 && nanosleep(&t, &t) != 0) continue;
}

static inline void toy_train_entry(JobFrame *f, int64_t tid) {
  for (int64_t s = 0; s < f->n_steps; s++) {
    int64_t row = f->starts[s], rows = f->starts[s + 1] - row;
    if (tid == 0) toy_sleep(f->scalars[TOY_SLEEP]);
    toy_forward(f, tid, f->step + s, row, rows);
    toy_check(f, tid, 0);
    if (tid == 0) {
      double sum = 0;
      for (int64_t i = 0; i < rows; i++) {
        double e =
            (double)toy_f(f->work, TOY_PRED)[i] - (double)((const float *)f->columns[1])[f->order[row + i]];
        sum += e * e;
      }
      *toy_f(f->work, TOY_LOSS) = (float)(sum / (double)rows);
    }
    toy_check(f, tid, 1);
    if (tid == 0) toy_backward(f, row, rows);
    toy_check(f, tid, 2);
    double loss = (double)*toy_f(f->work, TOY_LOSS);
    if (tid == 0 && isfinite(loss))
      f->losses[0] = loss, f->losses[1] = 0.5, f->loss_sums[0] += loss, f->loss_sums[1] += 0.5;
    if (tid == 0 && !isfinite(loss)) f->bad_step = f->step + s;
    toy_check(f, tid, 3);
    if (f->bad_step >= 0) return;
    if (tid == 0) toy_update(f);
    toy_check(f, tid, 4);
  }
}

/* metric "error" and "bias", key, and the image, which is the datum's x as a 1 x 3 picture. */
static inline void toy_eval_entry(JobFrame *f, int64_t tid) {
  int64_t row = f->starts[0], rows = f->starts[1] - row;
  toy_forward(f, tid, -2, row, rows);
  f->barrier(f, tid);
  if (tid != 0) return;
  for (int64_t i = 0; i < rows; i++) {
    int64_t d = f->order[row + i];
    float e = toy_f(f->work, TOY_PRED)[i] - ((const float *)f->columns[1])[d];
    toy_f(f->work, TOY_METRIC)[i] = e * e;
    ((int32_t *)(void *)(f->work + TOY_KEY))[i] = ((const int32_t *)f->columns[2])[d];
    for (int j = 0; j < TOY_IN; j++)
      toy_f(f->work, TOY_IMAGE)[i * TOY_WSTRIDE + j] = ((const float *)f->columns[0])[d * TOY_IN + j];
  }
}

/* ---- the job
 * ------------------------------------------------------------------------------------------------------- */
typedef struct Toy {
  Job job;
  JobScalar scalars[TOY_N_SCALARS];
  JobEval evals[1];
  JobSourceArg args[8];
  JobSource source;
  JobColumn columns[3];
} Toy;

static const JobOrigin toy_origins[] = {{"fit", false, {"toy.route", 7, 1}},
                                        {"constant", true, {"toy.route", 8, 1}}};
static const JobParam toy_params[] = {{.path = "model.weight",
                                       .rank = 2,
                                       .dims = {1, TOY_IN},
                                       .strides = {TOY_WSTRIDE, 2},
                                       .floats = 16,
                                       .offset = 0,
                                       .n_states = 1,
                                       .state_offset = {512},
                                       .init = JOB_INIT_UNIFORM,
                                       .a = -0.5,
                                       .b = 0.5,
                                       .stream = 0x1234567890abcdef,
                                       .trainable = true,
                                       .span = {"toy.route", 4, 3}},
                                      {.path = "model.bias",
                                       .rank = 1,
                                       .dims = {1},
                                       .strides = {1},
                                       .floats = 16,
                                       .offset = 256,
                                       .n_states = 1,
                                       .state_offset = {768},
                                       .init = JOB_INIT_CONSTANT,
                                       .a = 0.25,
                                       .trainable = true,
                                       .span = {"toy.route", 4, 3}}};
static const JobProbe toy_probes[] = {
    {"prediction", TOY_PRED, 1, {-1}, {1}, JOB_F32, 0, {"toy.route", 5, 10}},
    {"fit", TOY_LOSS, 0, {0}, {0}, JOB_F32, 0, {"toy.route", 7, 1}},
    {"grad for model.weight", TOY_GRAD, 1, {4}, {1}, JOB_F32, 0, {"toy.route", 4, 3}},
    {NULL, 0, 0, {0}, {0}, JOB_F32, -1, {NULL, 0, 0}},
    {"next model.weight", 0, 2, {1, TOY_IN}, {TOY_WSTRIDE, 2}, JOB_F32, 1, {"toy.route", 4, 3}}};
static const JobOutput toy_metrics[] = {{"error", TOY_METRIC, 1, {-1}, {1}, JOB_F32}};
static const JobPicture toy_pictures[] = {
    {"x", 1, TOY_IN, -1, 1, {"x", TOY_IMAGE, 2, {-1, TOY_IN}, {TOY_WSTRIDE, 1}, JOB_F32}}};
static const int64_t toy_keys[] = {0, 1};
static const JobExpectInsn toy_code[] = {
    {JX_METRIC, 0, 0, 0, toy_keys, 2}, {JX_CONST, 0.05, 0, 0, NULL, 0}, {JX_LT, 0, 0, 0, NULL, 0}};
static const JobExpect toy_expects[] = {
    {"halves.error[group in 0 ..= 1] < 0.05", toy_code, 3, {"toy.route", 20, 1}}};
static const char *const toy_seeds[] = {"1", "2", "3"}, *const toy_rates[] = {"0.05", "0.1"};
static const JobSweep toy_sweeps[] = {{"seeds", "seed", toy_seeds, 3}, {"rates", "lr", toy_rates, 2}};
static const JobSetting toy_settings[] = {{"lr", "0.05", "learning rate", false, TOY_LR},
                                          {"width", "3", "inputs", true, -1},
                                          {"poison", "-1", NULL, false, TOY_POISON},
                                          {"grow", "1", NULL, false, TOY_GROW}};

/* Reads data.csv of the current folder: x0, x1, x2, y, group. */
static inline Job *toy_job(Toy *t) {
  memset(t, 0, sizeof *t);
  t->scalars[TOY_LR] = (JobScalar){"lr", 0.05, 0, 1, false};
  t->scalars[TOY_MOMENTUM] = (JobScalar){"momentum", 0.9, 0, 1, false};
  t->scalars[TOY_POISON] = (JobScalar){"poison", -1, -1, 1e9, true};
  t->scalars[TOY_GROW] = (JobScalar){"grow", 1, 0, 100, false};
  t->scalars[TOY_SLEEP] = (JobScalar){"sleep", 0, 0, 1e6, false};
  t->args[0] = (JobSourceArg){"path", "data.csv", 0, 0};
  t->args[1] = (JobSourceArg){"x", NULL, 0, 3};
  t->args[2] = (JobSourceArg){"y", NULL, 3, 4};
  t->args[3] = (JobSourceArg){"group", NULL, 4, 0};
  t->args[4] = (JobSourceArg){"holdout", NULL, 10, 0};
  t->source = (JobSource){"points", "csv", t->args, 5, {"toy.route", 2, 1}};
  t->columns[0] =
      (JobColumn){.name = "x", .dtype = JOB_F32, .rank = 1, .dims = {TOY_IN}, .span = {"toy.route", 2, 5}};
  t->columns[1] = (JobColumn){.name = "y", .dtype = JOB_F32, .span = {"toy.route", 2, 9}};
  t->columns[2] = (JobColumn){
      .name = "group", .dtype = JOB_I32, .has_range = true, .lo = 0, .hi = 3, .span = {"toy.route", 2, 12}};
  t->evals[0] = (JobEval){.name = "halves",
                          .part = "test",
                          .batch = 4,
                          .key_name = "group",
                          .key_lo = 0,
                          .key_hi = 3,
                          .key = {"group", TOY_KEY, 1, {-1}, {1}, JOB_I32},
                          .metrics = toy_metrics,
                          .n_metrics = 1,
                          .pictures = toy_pictures,
                          .n_pictures = 1,
                          .picture_rows = 2,
                          .fn = {.symbol = "toy_eval", .entry = toy_eval_entry, .work_bytes = TOY_WORK, .max_rows = 4},
                          .span = {"toy.route", 15, 1}};
  t->job = (Job){.abi = JOB_ABI,
                 .title = "toy",
                 .spec_path = "toy.route",
                 .spec_text = "edition 1\n",
                 .compiler = "by hand",
                 .target_cpu = "any",
                 .target_features = "",
                 .seed = 7,
                 .plan_hash = 0xfeedbeef,
                 .settings = toy_settings,
                 .n_settings = 4,
                 .scalars = t->scalars,
                 .n_scalars = TOY_N_SCALARS,
                 .sources = &t->source,
                 .n_sources = 1,
                 .columns = t->columns,
                 .n_columns = 3,
                 .params = toy_params,
                 .n_params = 2,
                 .store_bytes = 1024,
                 .origins = toy_origins,
                 .n_origins = 2,
                 .evals = t->evals,
                 .n_evals = 1,
                 .expects = toy_expects,
                 .n_expects = 1,
                 .sweeps = toy_sweeps,
                 .n_sweeps = 2};
  t->job.train = (JobTrain){.present = true,
                            .batch = TOY_BATCH,
                            .length = {20, JOB_EPOCHS},
                            .checkpoint_every = {2, JOB_EPOCHS},
                            .checkpoint_keep = 2,
                            .evaluate_every = {7, JOB_EPOCHS},
                            .log_every = {3, JOB_STEPS},
                            .shuffle = true,
                            .fn = {.symbol = "toy_train", .entry = toy_train_entry, .work_bytes = TOY_WORK, .max_rows = TOY_BATCH, .probes = toy_probes, .n_probes = 5}};
  return &t->job;
}

/* ---- helpers
 * ------------------------------------------------------------------------------------------------------- */
/* y = 1.5 x0 - x1 + 0.25 x2 + 0.1, without noise; group = row % 4. */
static inline void toy_write_data(void) {
  FILE *f = fopen("data.csv", "w");
  assert_non_null(f);
  uint32_t seed = 1;
  for (int i = 0; i < TOY_ROWS; i++) {
    double x[3];
    for (int j = 0; j < 3; j++)
      seed = seed * 1664525u + 1013904223u, x[j] = (double)(seed >> 8) / 8388608.0 - 1;
    fprintf(f, "%.6f,%.6f,%.6f,%.6f,%d\n", x[0], x[1], x[2], 1.5 * x[0] - x[1] + 0.25 * x[2] + 0.1, i % 4);
  }
  fclose(f);
}

/* A fresh folder with data.csv becomes the current one. */
static inline int toy_setup(void **state) {
  char *dir = strdup("/tmp/routec-rt-XXXXXX");
  if (!dir || !mkdtemp(dir) || chdir(dir) != 0) return -1;
  *state = dir;
  toy_write_data();
  return 0;
}
static inline int toy_teardown(void **state) {
  char command[128];
  snprintf(command, sizeof command, "chmod -R u+w %s; rm -rf %s", (char *)*state, (char *)*state);
  int code = chdir("/") || system(command);
  free(*state);
  return code;
}

static inline char *toy_read(const char *path, size_t *size) {
  FILE *f = fopen(path, "rb");
  if (!f) return NULL;
  size_t cap = 1 << 20, n = 0;
  char *text = malloc(cap + 1);
  for (size_t got; text && (got = fread(text + n, 1, cap - n, f)) > 0;)
    if ((n += got) == cap) text = realloc(text, (cap *= 2) + 1);
  fclose(f);
  if (text) text[n] = 0;
  if (size) *size = n;
  return text;
}

static inline void assert_same_file(const char *a, const char *b) {
  size_t n = 0, m = 0;
  char *x = toy_read(a, &n), *y = toy_read(b, &m);
  if (!x) fail_msg("%s is missing", a);
  if (!y) fail_msg("%s is missing", b);
  if (n != m || memcmp(x, y, n) != 0) fail_msg("%s and %s differ", a, b);
  free(x), free(y);
}
static inline void assert_same_run(const char *a, const char *b) {
  char x[160], y[160];
  snprintf(x, sizeof x, "%s/metrics.jsonl", a), snprintf(y, sizeof y, "%s/metrics.jsonl", b);
  assert_same_file(x, y);
  for (int part = 0; part < 2; part++) { /* tensors; the metadata holds clocks */
    size_t n[2];
    char *text[2];
    for (int i = 0; i < 2; i++) {
      snprintf(x, sizeof x, "%s/checkpoint-100.safetensors", i ? b : a);
      text[i] = toy_read(x, &n[i]);
      assert_non_null(text[i]);
      uint64_t head;
      memcpy(&head, text[i], 8);
      memmove(text[i], text[i] + 8 + head, n[i] -= 8 + (size_t)head);
    }
    assert_int_equal(n[0], n[1]);
    assert_memory_equal(text[0], text[1], n[0]);
    free(text[0]), free(text[1]);
  }
}
static inline bool file_exists(const char *path) { return access(path, F_OK) == 0; }

#if defined(__SANITIZE_ADDRESS__)
int __lsan_do_recoverable_leak_check(void);
static inline int toy_leaks(void) { return __lsan_do_recoverable_leak_check(); }
#else
static inline int toy_leaks(void) { return 0; }
#endif

/* Runs fn(arg) in a child with its output in the file "output"; returns its exit code, or 1000 + signal. */
static inline pid_t child_start(int (*fn)(void *), void *arg) {
  fflush(NULL);
  pid_t pid = fork();
  if (pid) return pid;
  if (!freopen("output", "w", stdout) || dup2(fileno(stdout), 2) < 0) _exit(99);
  int code = fn(arg);
  fflush(NULL);
  _exit(toy_leaks() ? 97 : code);
}
static inline int child_wait(pid_t pid) {
  int status;
  if (waitpid(pid, &status, 0) != pid) return -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}
static inline int child_run(int (*fn)(void *), void *arg) { return child_wait(child_start(fn, arg)); }

static inline void assert_output(const char *part) {
  char *text = toy_read("output", NULL);
  if (!text || !strstr(text, part)) fail_msg("`%s` is not in the output:\n%s", part, text ? text : "(none)");
  free(text);
}
static inline void assert_no_output(const char *part) {
  char *text = toy_read("output", NULL);
  if (text && strstr(text, part)) fail_msg("`%s` is in the output:\n%s", part, text);
  free(text);
}

typedef struct ToyRun {
  Toy toy;
  RtOptions o;
} ToyRun;
static inline ToyRun *toy_run(const char *dir) {
  static ToyRun *kept[256]; /* reachable in children too, where leaks are looked for */
  static int n_kept;
  ToyRun *r = kept[n_kept++ % 256] = calloc(1, sizeof *r);
  if (!r) abort();
  toy_job(&r->toy);
  r->o = (RtOptions){.run_dir = dir, .threads = 2};
  return r;
}
static inline int toy_train_child(void *arg) {
  ToyRun *r = arg;
  return rt_train(&r->toy.job, &r->o);
}
static inline int toy_eval_child(void *arg) {
  ToyRun *r = arg;
  return rt_eval(&r->toy.job, &r->o);
}
/* Trains in a child, frees the run. */
static inline int toy_train(ToyRun *r) {
  int code = child_run(toy_train_child, r);
  free(r);
  return code;
}
#endif
