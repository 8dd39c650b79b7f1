/* SPDX-License-Identifier: Apache-2.0
 * rt_train.c -- train, stop, resume, interrupt, kill, fail; on the toy job. */
#include "rt_toy.h"
#include <dirent.h>
#include <fcntl.h>
#include <jansson.h>
#include <sys/resource.h>
#include <time.h>

static void assert_status(const char *dir, const char *status) {
  char path[128];
  snprintf(path, sizeof path, "%s/manifest.json", dir);
  json_t *m = json_load_file(path, 0, NULL);
  assert_non_null(m);
  assert_string_equal(json_string_value(json_object_get(m, "status")), status);
  json_decref(m);
}


static void test_train(void **state) {
  (void)state;
  assert_int_equal(toy_train(toy_run("a")), RT_OK);
  assert_output("expect halves.error[group in 0 ..= 1] < 0.05: pass");
  assert_output("halves on points.test, step 100");
  assert_no_output("warning");
  assert_status("a", "finished");
  assert_true(file_exists("a/spec.route"));
  assert_true(file_exists("a/halves.png"));
  /* every second epoch of five steps, the newest two and the last */
  assert_true(file_exists("a/checkpoint-100.safetensors"));
  assert_true(file_exists("a/checkpoint-90.safetensors"));
  assert_true(file_exists("a/checkpoint-80.safetensors"));
  assert_false(file_exists("a/checkpoint-70.safetensors"));
  char *text = toy_read("a/metrics.jsonl", NULL);
  assert_non_null(strstr(text, "\"step\":3,"));
  assert_non_null(strstr(text, "\"step\":35,\"evaluation\":\"halves\""));
  assert_non_null(strstr(text, "\"step\":100,\"evaluation\":\"halves\""));
  free(text);
}

static void test_threads_and_blocks_do_not_matter(void **state) {
  (void)state;
  ToyRun *r = toy_run("one"), *slow = toy_run("slow");
  r->o.threads = 1;
  slow->o.threads = 5;
  slow->toy.scalars[TOY_SLEEP].value = 3000; /* blocks of other lengths */
  assert_int_equal(toy_train(toy_run("a")), RT_OK);
  assert_int_equal(toy_train(r), RT_OK);
  assert_int_equal(toy_train(slow), RT_OK);
  assert_same_run("a", "one");
  assert_same_run("a", "slow");
}

static void test_stop_and_resume(void **state) {
  (void)state;
  assert_int_equal(toy_train(toy_run("a")), RT_OK);
  for (int stop = 1; stop < 100; stop += 17) {
    char dir[32];
    snprintf(dir, sizeof dir, "b%d", stop);
    ToyRun *r = toy_run(dir), *again = toy_run(NULL);
    r->o.stop_after_steps = stop;
    r->o.seed = again->o.seed = 7;
    assert_int_equal(toy_train(r), RT_OK);
    assert_status(dir, "stopped");
    again->o.resume = dir;
    assert_int_equal(toy_train(again), RT_OK);
    assert_status(dir, "finished");
    assert_same_run("a", dir);
  }
  ToyRun *again = toy_run(NULL); /* a finished run only evaluates again */
  again->o.resume = "b1";
  assert_int_equal(toy_train(again), RT_OK);
  assert_same_run("a", "b1");
}

static void test_resume_keeps_seed_and_scalars(void **state) {
  (void)state;
  ToyRun *a = toy_run("a"), *b = toy_run("b"), *again = toy_run(NULL);
  a->o.seed = b->o.seed = 99, a->o.has_seed = b->o.has_seed = true;
  a->toy.scalars[TOY_LR].value = b->toy.scalars[TOY_LR].value = 0.0375;
  b->o.stop_after_steps = 42;
  again->o.resume = "b";
  assert_int_equal(toy_train(a), RT_OK);
  assert_int_equal(toy_train(b), RT_OK);
  assert_int_equal(toy_train(again), RT_OK);
  assert_same_run("a", "b");
}

static void millisleep(long n) {
  struct timespec t = {n / 1000, n % 1000 * 1000000};
  nanosleep(&t, NULL);
}

static void test_kill_and_resume(void **state) {
  (void)state;
  assert_int_equal(toy_train(toy_run("a")), RT_OK);
  for (int i = 0; i < 4; i++) { /* killed before the first checkpoint too */
    char dir[32], manifest[64];
    snprintf(dir, sizeof dir, "k%d", i), snprintf(manifest, sizeof manifest, "%s/manifest.json", dir);
    ToyRun *r = toy_run(dir);
    r->toy.scalars[TOY_SLEEP].value = 5000;
    pid_t pid = child_start(toy_train_child, r);
    for (int k = 0; k < 2000 && !file_exists(manifest); k++) millisleep(2);
    millisleep(5 + 70 * i);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(child_wait(pid), 1000 + SIGKILL);
    free(r);
    FILE *torn = fopen("torn", "w"); /* what a torn write could leave behind */
    fclose(torn);
    char left[64];
    snprintf(left, sizeof left, "%s/checkpoint-95.safetensors.tmp", dir);
    assert_int_equal(rename("torn", left), 0);
    ToyRun *again = toy_run(NULL);
    again->o.resume = dir;
    assert_int_equal(toy_train(again), RT_OK);
    assert_same_run("a", dir);
  }
}

static void test_signal(void **state) {
  (void)state;
  static const int signals[] = {SIGINT, SIGTERM};
  assert_int_equal(toy_train(toy_run("a")), RT_OK);
  for (int i = 0; i < 2; i++) {
    const char *dir = i ? "term" : "int";
    char metrics[64];
    snprintf(metrics, sizeof metrics, "%s/metrics.jsonl", dir);
    ToyRun *r = toy_run(dir);
    r->toy.scalars[TOY_SLEEP].value = 10000;
    pid_t pid = child_start(toy_train_child, r);
    for (int k = 0; k < 2000 && !file_exists(metrics); k++) millisleep(2);
    millisleep(300);
    assert_int_equal(kill(pid, signals[i]), 0);
    assert_int_equal(child_wait(pid), RT_INTERRUPTED);
    free(r);
    assert_output("interrupted at step");
    assert_status(dir, "interrupted");
    ToyRun *again = toy_run(NULL);
    again->o.resume = dir;
    assert_int_equal(toy_train(again), RT_OK);
    assert_output("resuming");
    assert_same_run("a", dir);
  }
}

#if defined(__SANITIZE_THREAD__)
#define LATE_SIGNALS 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define LATE_SIGNALS 1
#endif
#endif

static void test_second_signal_is_immediate(void **state) {
  (void)state;
#ifdef LATE_SIGNALS
  skip(); /* the thread sanitizer holds signals back until a system call returns */
#endif
  ToyRun *r = toy_run("a");
  r->toy.scalars[TOY_SLEEP].value = 1e6; /* a step lasts a second */
  pid_t pid = child_start(toy_train_child, r);
  for (int k = 0; k < 2000 && !file_exists("a/metrics.jsonl"); k++) millisleep(2);
  millisleep(100);
  struct timespec t0, t1;
  clock_gettime(CLOCK_MONOTONIC, &t0);
  kill(pid, SIGINT), millisleep(20), kill(pid, SIGINT);
  assert_int_equal(child_wait(pid), RT_INTERRUPTED);
  clock_gettime(CLOCK_MONOTONIC, &t1);
  assert_true((double)(t1.tv_sec - t0.tv_sec) + 1e-9 * (double)(t1.tv_nsec - t0.tv_nsec) < 0.7);
  free(r);
}

static void test_nonfinite(void **state) {
  (void)state;
  ToyRun *r = toy_run("a");
  r->toy.scalars[TOY_POISON].value = 57;
  assert_int_equal(toy_train(r), RT_RUN_FAILED);
  assert_output("error[E0730]: step 57: value `prediction` is not finite: NaN at [0]");
  assert_output("--> toy.route:5:10");
  assert_status("a", "failed");
  assert_true(file_exists("a/checkpoint-50.safetensors"));
  assert_false(file_exists("a/checkpoint-57.safetensors"));
  ToyRun *grow = toy_run("b"); /* parameters overflow first */
  grow->toy.scalars[TOY_GROW].value = 100;
  assert_int_equal(toy_train(grow), RT_RUN_FAILED);
  assert_output("error[E0730]");
}

static void test_nonfinite_parameter(void **state) {
  (void)state;
  ToyRun *r = toy_run("a"), *bad = toy_run("b");
  r->o.stop_after_steps = 12;
  assert_int_equal(toy_train(r), RT_OK);
  size_t n;
  char *text = toy_read("a/checkpoint-12.safetensors", &n);
  uint64_t head;
  memcpy(&head, text, 8);
  const float inf = INFINITY;
  char *at = strstr(text + 8, "\"model.weight\""), *offsets = strstr(at, "data_offsets\":[");
  memcpy(text + 8 + head + strtoul(offsets + 15, NULL, 10) + 4, &inf, 4); /* element [0, 1] */
  FILE *f = fopen("inf.safetensors", "wb");
  fwrite(text, 1, n, f), fclose(f), free(text);
  bad->o.init_weights = "inf.safetensors";
  assert_int_equal(toy_train(bad), RT_RUN_FAILED);
  assert_output("step 0: parameter `model.weight` is not finite: infinity at [0, 1]");
  assert_output("--> toy.route:4:3");
}

static void test_diverging(void **state) {
  (void)state;
  ToyRun *r = toy_run("a");
  r->toy.scalars[TOY_GROW].value = 1.3, r->toy.scalars[TOY_LR].value = 0;
  r->toy.job.n_expects = 0;
  assert_int_equal(toy_train(r), RT_OK);
  assert_output("warning[W0750]: the run is diverging: value `fit` has grown");
  assert_output("--> toy.route:7:1");
  assert_output("warning[W0751]");
}

static int prefetch_child(void *arg) {
  ToyRun *r = arg;
  rt_prefetch(&r->toy.job, &r->o);
  return toy_train_child(arg);
}
static void test_prefetch(void **state) {
  (void)state;
  ToyRun *r = toy_run("b"), *missing = toy_run("c");
  assert_int_equal(toy_train(toy_run("a")), RT_OK);
  assert_int_equal(child_run(prefetch_child, r), RT_OK);
  assert_same_run("a", "b");
  missing->toy.args[0].text = "elsewhere.csv";
  assert_int_equal(child_run(prefetch_child, missing), RT_RUN_FAILED);
  assert_output("error[E0701]: cannot read `elsewhere.csv`");
  assert_false(file_exists("c"));
  free(r), free(missing);
}

static void test_expect_fails(void **state) {
  (void)state;
  ToyRun *r = toy_run("a");
  r->toy.scalars[TOY_LR].value = 0;
  assert_int_equal(toy_train(r), RT_EXPECT_FAILED);
  assert_output("< 0.05: FAIL (");
  assert_output("--> toy.route:20:1");
}

static void test_eval(void **state) {
  (void)state;
  ToyRun *r = toy_run("a"), *e = toy_run(NULL);
  r->toy.scalars[TOY_LR].value = 0.04;
  assert_int_equal(toy_train(r), RT_OK);
  char *first = toy_read("output", NULL), *table = strstr(first, "halves on points.test, step 100");
  assert_non_null(table);
  *strstr(table, "a/halves.png") = 0; /* the legend of the picture follows the table */
  e->o.checkpoint = "a";
  assert_int_equal(child_run(toy_eval_child, e), RT_OK);
  assert_output(table);
  e->o.checkpoint = "a/checkpoint-80.safetensors";
  assert_int_equal(child_run(toy_eval_child, e), RT_OK);
  assert_output("halves on points.test, step 80");
  e->o.checkpoint = "nowhere";
  assert_int_equal(child_run(toy_eval_child, e), RT_RUN_FAILED);
  assert_output("error[E0701]: cannot read `nowhere`: No such file");
  free(first), free(e);
}

static void test_init_weights(void **state) {
  (void)state;
  ToyRun *a = toy_run("a"), *b = toy_run("b"), *c = toy_run("c");
  a->o.stop_after_steps = 10;
  assert_int_equal(toy_train(a), RT_OK);
  b->o.init_weights = c->o.init_weights = "a/checkpoint-10.safetensors";
  b->o.stop_after_steps = 1;
  assert_int_equal(toy_train(b), RT_OK);
  c->o.init_weights = "data.csv";
  assert_int_equal(toy_train(c), RT_RUN_FAILED);
  assert_output("E0725");
}

static int limited_train(void *arg) {
  struct stat st; /* one byte less than a checkpoint takes */
  if (stat("a/checkpoint-20.safetensors", &st) != 0) return 98;
  struct rlimit limit = {(rlim_t)st.st_size - 1, (rlim_t)st.st_size - 1};
  setrlimit(RLIMIT_FSIZE, &limit);
  return toy_train_child(arg);
}

static void test_full_disk(void **state) {
  (void)state;
  ToyRun *r = toy_run("a"), *again = toy_run(NULL), *whole = toy_run("whole");
  r->o.stop_after_steps = 20;
  assert_int_equal(toy_train(r), RT_OK);
  again->o.resume = "a";
  assert_int_equal(child_run(limited_train, again), RT_RUN_FAILED);
  assert_output("error[E0720]: cannot write `a/");
  assert_output("File too large");
  assert_true(file_exists("a/checkpoint-20.safetensors"));
  assert_int_equal(toy_train(again), RT_OK); /* with room again it goes on from there */
  assert_int_equal(toy_train(whole), RT_OK);
  assert_same_run("a", "whole");
}

static int unprivileged_train(void *arg) {
  if (geteuid() == 0 && setuid(65534) != 0) return 98; /* root may write anywhere */
  return toy_train_child(arg);
}

static void test_unwritable(void **state) {
  (void)state;
  ToyRun *r = toy_run("locked/run"), *file = toy_run("data.csv"), *taken = toy_run("b");
  assert_int_equal(mkdir("locked", 0555), 0);
  chmod(".", 0777);
  assert_int_equal(child_run(unprivileged_train, r), RT_RUN_FAILED);
  assert_output("error[E0721]: cannot create the run folder `locked/run`: Permission denied");
  assert_int_equal(toy_train(file), RT_RUN_FAILED);
  assert_int_equal(toy_train(toy_run("b")), RT_OK);
  assert_int_equal(toy_train(taken), RT_RUN_FAILED);
  assert_output("error[E0722]: `b` already holds a run");
  free(r);
}

static void test_damaged_checkpoints(void **state) {
  (void)state;
  ToyRun *again = toy_run(NULL);
  assert_int_equal(toy_train(toy_run("whole")), RT_OK);
  assert_int_equal(toy_train(toy_run("a")), RT_OK);
  assert_int_equal(truncate("a/checkpoint-100.safetensors", 300), 0);
  int fd = open("a/checkpoint-90.safetensors", O_RDWR); /* one bit of a tensor */
  struct stat st;
  assert_int_equal(fstat(fd, &st), 0);
  char byte;
  assert_int_equal(pread(fd, &byte, 1, st.st_size - 3), 1);
  byte ^= 4;
  assert_int_equal(pwrite(fd, &byte, 1, st.st_size - 3), 1);
  close(fd);
  again->o.resume = "a";
  assert_int_equal(toy_train(again), RT_OK);
  assert_output("warning[W0752]: skipped `a/checkpoint-100.safetensors`");
  assert_output("warning[W0752]: skipped `a/checkpoint-90.safetensors`: `a/checkpoint-90.safetensors` is "
                "damaged: its contents fail their checksum");
  assert_output("resuming a at step 80");
  assert_same_run("whole", "a");
  assert_int_equal(system("for f in a/checkpoint-*; do echo x > $f; done"), 0);
  again = toy_run(NULL);
  again->o.resume = "a";
  assert_int_equal(toy_train(again), RT_RUN_FAILED);
  assert_output("error[E0724]: no valid checkpoint in `a`");
  again = toy_run(NULL);
  again->o.resume = "nowhere";
  assert_int_equal(toy_train(again), RT_RUN_FAILED);
  assert_output("error[E0723]: `nowhere` is not a run folder");
}

static void test_run_folder_names(void **state) {
  (void)state;
  for (int i = 0; i < 3; i++) {
    ToyRun *r = toy_run(NULL);
    r->o.stop_after_steps = 1;
    assert_int_equal(toy_train(r), RT_OK);
  }
  assert_true(file_exists("runs/toy-s7/manifest.json"));
  assert_true(file_exists("runs/toy-s7-2/manifest.json"));
  assert_true(file_exists("runs/toy-s7-3/manifest.json"));
}

static int sweep_child(void *arg) {
  ToyRun *r = arg;
  return rt_sweep(&r->toy.job, &r->o, &toy_sweeps[r->o.verbose]);
}
static void test_sweep(void **state) {
  (void)state;
  ToyRun *r = toy_run("seeds");
  assert_int_equal(child_run(sweep_child, r), RT_OK);
  assert_output("sweep seeds over seed, 3 runs");
  assert_true(file_exists("seeds/seed-2/metrics.jsonl"));
  json_t *s = json_load_file("seeds/sweep.json", 0, NULL);
  assert_non_null(s);
  json_t *cell = json_object_get(json_object_get(s, "metrics"), "halves.error"),
         *values = json_object_get(cell, "values");
  assert_int_equal(json_array_size(values), 3);
  double v[3], mean = 0, var = 0;
  for (size_t i = 0; i < 3; i++) v[i] = json_number_value(json_array_get(values, i)), mean += v[i] / 3;
  for (int i = 0; i < 3; i++) var += (v[i] - mean) * (v[i] - mean) / 2;
  assert_true(var > 0);
  assert_true(fabs(json_number_value(json_object_get(cell, "mean")) - mean) <= 1e-10 * mean);
  assert_true(fabs(json_number_value(json_object_get(cell, "interval95")) / (4.3027 * sqrt(var / 3)) - 1) <
              1e-6);
  json_decref(s);
  r->o.run_dir = "rates", r->o.verbose = 1;
  assert_int_equal(child_run(sweep_child, r), RT_OK);
  assert_true(file_exists("rates/lr-0.05/metrics.jsonl"));
  free(r);
}

static void test_json(void **state) {
  (void)state;
  ToyRun *r = toy_run("a");
  r->o.json = true;
  assert_int_equal(toy_train(r), RT_OK);
  FILE *f = fopen("output", "r");
  char line[4096];
  int lines = 0;
  for (; fgets(line, sizeof line, f); lines++) {
    json_error_t why;
    json_t *o = json_loads(line, 0, &why);
    if (!o || !json_object_get(o, "event")) fail_msg("not an event: %s", line);
    json_decref(o);
  }
  assert_true(lines > 20);
  fclose(f);
}

static void test_no_train(void **state) {
  (void)state;
  ToyRun *r = toy_run("a");
  r->toy.job.train.present = false;
  r->toy.job.n_expects = 0;
  assert_int_equal(toy_train(r), RT_OK);
  assert_output("halves on points.test, step 0");
}

static void test_lengths(void **state) {
  (void)state;
  ToyRun *r = toy_run("a"), *timed = toy_run("b"), *drop = toy_run("c"), *fraction = toy_run("d");
  r->toy.job.train.length = (JobAmount){13, JOB_STEPS}, r->toy.job.n_expects = 0;
  assert_int_equal(toy_train(r), RT_OK);
  assert_true(file_exists("a/checkpoint-13.safetensors"));
  timed->toy.job.train.length = (JobAmount){0.3, JOB_SECONDS}, timed->toy.scalars[TOY_SLEEP].value = 1000;
  timed->toy.job.n_expects = 0;
  assert_int_equal(toy_train(timed), RT_OK);
  drop->toy.job.train.batch = 7, drop->toy.job.train.drop_last = true,
  drop->toy.job.train.length = (JobAmount){2, JOB_EPOCHS};
  drop->toy.job.n_expects = 0;
  assert_int_equal(toy_train(drop), RT_OK);
  assert_true(file_exists("c/checkpoint-10.safetensors")); /* 40 rows: 5 whole batches of 7 */
  fraction->toy.job.train.length = (JobAmount){0.5, JOB_EPOCHS}, fraction->toy.job.n_expects = 0;
  assert_int_equal(toy_train(fraction), RT_OK);
  assert_true(file_exists("d/checkpoint-3.safetensors"));
}

static void test_evaluation_key_out_of_range(void **state) {
  (void)state;
  ToyRun *r = toy_run("a");
  r->toy.evals[0].key_hi = 2;
  assert_int_equal(toy_train(r), RT_RUN_FAILED);
  assert_output("error[E0732]: evaluation `halves`: key `group` is 3");
}

#define T(name) cmocka_unit_test_setup_teardown(name, toy_setup, toy_teardown)
int main(void) {
  const struct CMUnitTest tests[] = {T(test_train),
                                     T(test_threads_and_blocks_do_not_matter),
                                     T(test_stop_and_resume),
                                     T(test_resume_keeps_seed_and_scalars),
                                     T(test_kill_and_resume),
                                     T(test_signal),
                                     T(test_second_signal_is_immediate),
                                     T(test_nonfinite),
                                     T(test_nonfinite_parameter),
                                     T(test_diverging),
                                     T(test_prefetch),
                                     T(test_expect_fails),
                                     T(test_eval),
                                     T(test_init_weights),
                                     T(test_full_disk),
                                     T(test_unwritable),
                                     T(test_damaged_checkpoints),
                                     T(test_run_folder_names),
                                     T(test_sweep),
                                     T(test_json),
                                     T(test_no_train),
                                     T(test_lengths),
                                     T(test_evaluation_key_out_of_range)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
