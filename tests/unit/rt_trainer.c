/* SPDX-License-Identifier: Apache-2.0
 * rt_trainer.c -- the command line of built trainers. */
#include "doctor.h"
#include "rt_toy.h"

typedef struct Line {
  ToyRun *run;
  const char *words[12];
} Line;
static int line_child(void *arg) {
  Line *l = arg;
  char *argv[14] = {(char *)(uintptr_t)"toy"};
  int argc = 1;
  for (; l->words[argc - 1]; argc++) argv[argc] = (char *)(uintptr_t)l->words[argc - 1];
  return rt_trainer_main(&l->run->toy.job, argc, argv);
}
#define LINE(...) line((Line){toy_run(NULL), {__VA_ARGS__}})
static int line(Line l) {
  int code = child_run(line_child, &l);
  free(l.run);
  return code;
}

static void test_tell(void **state) {
  (void)state;
  assert_int_equal(LINE("--help"), RT_OK);
  assert_output("resume RUN");
  assert_output("lr                        = 0.05  learning rate");
  assert_output("= 3 (fixed when it was built)");
  assert_output("--set NAME=VALUE");
  assert_int_equal(LINE("--version"), RT_OK);
  assert_output("plan: 00000000feedbeef");
}

static void test_usage(void **state) {
  (void)state;
  assert_int_equal(LINE("fly"), RT_USAGE);
  assert_output("error[E0740]: unknown command `fly`");
  assert_int_equal(LINE("--wings"), RT_USAGE);
  assert_output("unknown option `--wings`");
  assert_int_equal(LINE("--seed"), RT_USAGE);
  assert_output("`--seed` needs a value");
  assert_int_equal(LINE("--seed", "-3"), RT_USAGE);
  assert_output("--seed takes a count, not `-3`");
  assert_int_equal(LINE("run", "this"), RT_USAGE);
  assert_output("`run` takes no argument");
  assert_int_equal(LINE("resume"), RT_USAGE);
  assert_output("`resume` needs RUN");
  assert_int_equal(LINE("resume", "a", "b"), RT_USAGE);
  assert_int_equal(LINE("resume", "a", "--set", "lr=0.1"), RT_USAGE);
  assert_output("`resume` does not take --set: a run keeps its params and seed");
  assert_int_equal(LINE("--sweep", "brooms"), RT_USAGE);
  assert_output("there is no sweep `brooms`");
}

static void test_set(void **state) {
  (void)state;
  assert_int_equal(LINE("--set", "width=4"), RT_USAGE);
  assert_output(
      "error[E0742]: `width` is fixed in a built trainer: structural params shape the compiled code");
  assert_int_equal(LINE("--set", "lrr=4"), RT_USAGE);
  assert_output("error[E0741]: unknown param `lrr`; did you mean `lr`?");
  assert_int_equal(LINE("--set", "lr=fast"), RT_USAGE);
  assert_output("error[E0743]: param `lr`: `fast` is not a number");
  assert_int_equal(LINE("--set", "lr=2"), RT_USAGE);
  assert_output("param `lr`: `2` is outside 0 ..= 1");
  assert_int_equal(LINE("--set", "poison=0.5"), RT_USAGE);
  assert_output("param `poison`: `0.5` is not an integer");
  assert_int_equal(LINE("--set", "lr"), RT_USAGE);
  assert_int_equal(LINE("--set", "lr=0.04", "--steps", "10", "--run-dir", "a", "--threads", "1", "-q"),
                   RT_OK);
  char *text = toy_read("a/manifest.json", NULL);
  assert_non_null(strstr(text, "\"lr\": \"0.040000000000000001\""));
  free(text);
}

static void test_run_resume_eval(void **state) {
  (void)state;
  assert_int_equal(LINE("run", "--run-dir", "whole", "--seed", "5"), RT_OK);
  assert_int_equal(LINE("--run-dir", "parts", "--steps", "33", "--set", "seed=5"), RT_OK);
  assert_int_equal(LINE("resume", "parts", "--threads", "3"), RT_OK);
  assert_same_file("whole/metrics.jsonl", "parts/metrics.jsonl");
  assert_int_equal(LINE("eval", "parts"), RT_OK);
  assert_output("halves on points.test, step 100");
  assert_int_equal(LINE("eval", "parts", "--run-dir", "."), RT_OK);
  assert_true(file_exists("halves.png"));
  assert_int_equal(LINE("-q", "--sweep", "rates", "--run-dir", "rates"), RT_OK);
  assert_true(file_exists("rates/sweep.json"));
  assert_int_equal(LINE("-qq", "--run-dir", "silent"), RT_OK);
  char *text = toy_read("output", NULL);
  assert_string_equal(text, "");
  free(text);
}

static void test_target(void **state) {
  (void)state;
  Line l = {toy_run(NULL), {"run"}};
  l.run->toy.job.target_features = "+sse4.2,-sse4a,+unheard-of";
  l.run->o.run_dir = "a";
  assert_int_equal(child_run(toy_train_child, l.run), RT_OK);
  free(l.run);
}

/* What code for `cpu` and `features` lacks on a CPU with the first n of these; "" for nothing. */
static const char *missing(uint32_t n, const char *cpu, const char *features) {
  static const char *const names[] = {"sse4.1", "sse4.2", "popcnt", "avx", "avx2", "fma", "bmi", "bmi2",
                                      "avx512f", "avx512vl", "avx512bw", "avx512dq", "avx512cd", "avx512vnni"};
  static char out[64];
  CpuFeature has[14];
  for (uint32_t i = 0; i < 14; i++) has[i] = (CpuFeature){names[i], i < n};
  return doctor_missing_of(has, 14, cpu, features, out, sizeof out) ? out : "";
}

static void test_missing_feature(void **state) {
  (void)state;
  enum { NOTHING = 0, V2 = 3, AVX = 4, V3 = 8, V3_512F = 9, V4 = 13, ALL = 14 };
  assert_string_equal(missing(NOTHING, "x86-64", ""), "");
  assert_string_equal(missing(NOTHING, "x86-64-v2", NULL), "sse4.1");
  assert_string_equal(missing(V2, "x86-64-v2", ""), "");
  assert_string_equal(missing(V2, "x86-64-v3", ""), "avx");
  assert_string_equal(missing(AVX, "x86-64-v3", ""), "avx2");
  assert_string_equal(missing(V3, "x86-64-v3", ""), "");
  assert_string_equal(missing(V2, "x86-64-v4", ""), "avx");
  assert_string_equal(missing(V3, "x86-64-v4", ""), "avx512f");
  assert_string_equal(missing(V3_512F, "x86-64-v4", ""), "avx512vl");
  assert_string_equal(missing(V4, "x86-64-v4", ""), "");
  assert_string_equal(missing(V3, "znver4", "+avx2,-avx512f,+fma"), "");
  assert_string_equal(missing(V3, "znver4", "+avx2,+avx512f,+fma"), "avx512f");
  assert_string_equal(missing(V4, "znver4", "+avx512vnni"), "avx512vnni");
  assert_string_equal(missing(V4, "znver4", "+avx512vnni2,+avx512,+unheard-of"), "");
  assert_string_equal(missing(ALL, "znver4", "+avx512vnni"), "");
  assert_string_equal(missing(ALL, NULL, NULL), "");
}

#define T(name) cmocka_unit_test_setup_teardown(name, toy_setup, toy_teardown)
int main(void) {
  const struct CMUnitTest tests[] = {T(test_tell), T(test_usage), T(test_set), T(test_run_resume_eval),
                                     T(test_target), T(test_missing_feature)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
