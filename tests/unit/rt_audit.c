/* SPDX-License-Identifier: Apache-2.0
 * rt_audit.c -- audits of a job written by hand: contents go back where they were, a claim that is wrong is found, one that is
 * right is not, regions count shared entries once. */
#include "rt_toy.h"
#include "run.h"

/* The toy's third column, 0 to 3, as the condition bits of its data: bit 0 holds for odd groups. */
static const JobPiece all_weights[] = {{0, -1, NULL, 0}}, bias[] = {{1, -1, NULL, 0}};
static const JobRegion regions[] = {{"weights", all_weights, 1}, {"bias", bias, 1}};
static const JobDataClass classes[] = {{"odd", 1, false, true, 2}, {"nobody", 4, false, true, 4}, {"even", 1, true, true, 1}};
static const uint64_t nothing[] = {0}, odd[] = {2}, both[] = {3}, some[] = {7};
static JobAtoms atoms[2];
static const JobProved proved[] = {{1, 1}, {1, 1}, {1, -1}, {1, -1}, {1, 1}, {1, 1}};

static ToyRun *audited(const char *dir, const uint64_t *weights, const uint64_t *rest) {
  ToyRun *r = toy_run(dir);
  Job *j = &r->toy.job;
  for (int i = 0; i < 2; i++)
    atoms[i] = (JobAtoms){.n_labels = {1, 1}, .n_cells = 1, .reach = i ? rest : weights};
  j->regions = regions, j->n_regions = 2, j->data_classes = classes, j->n_data_classes = 3;
  j->kinds = 3, j->audit = (JobAudit){.atoms = atoms, .proved = proved};
  r->o.audit = 7;
  return r;
}

static void test_nothing_changes_but_what_is_told(void **state) {
  (void)state;
  assert_int_equal(toy_train(toy_run("plain")), RT_OK);
  assert_int_equal(toy_train(audited("a", both, both)), RT_OK);
  assert_same_run("plain", "a");
  assert_output("audit of 14 steps");
  assert_output("  even    weights  full");
  char *text = toy_read("a/audit.jsonl", NULL);
  assert_non_null(strstr(text, "{\"step\":6,\"class\":\"odd\""));
  assert_non_null(strstr(text, "\"class\":\"even\""));
  assert_null(strstr(text, "nobody")); /* nothing was exchanged */
  assert_null(strstr(text, "\"l2\":0.0,"));
  free(text);
}

static void test_wrong_claim_is_found(void **state) {
  (void)state;
  assert_int_equal(toy_train(audited("a", odd, odd)), RT_RUN_FAILED); /* says: even data move nothing */
  assert_output("error[E0747]: step 6: the contents of data of class `even` changed region `weights`");
  assert_output("next value of `model.weight`[0, 0]");
  assert_true(file_exists("a/audit.jsonl"));
  assert_int_equal(toy_train(audited("b", both, odd)), RT_RUN_FAILED);
  assert_output("region `bias`");
  assert_int_equal(toy_train(audited("c", some, nothing)), RT_RUN_FAILED);
  assert_output("class `odd` changed region `bias`");
}

static void test_resume_goes_on(void **state) {
  (void)state;
  assert_int_equal(toy_train(audited("a", both, both)), RT_OK);
  ToyRun *first = audited("b", both, both), *rest = audited(NULL, both, both);
  first->o.stop_after_steps = 37;
  assert_int_equal(toy_train(first), RT_OK);
  rest->o.resume = "b";
  assert_int_equal(toy_train(rest), RT_OK);
  assert_same_file("a/audit.jsonl", "b/audit.jsonl");
  ToyRun *again = audited(NULL, both, both); /* what came behind the checkpoint is written anew */
  again->o.resume = "b";
  remove("b/checkpoint-100.safetensors");
  assert_int_equal(toy_train(again), RT_OK);
  assert_same_file("a/audit.jsonl", "b/audit.jsonl");
}

static void test_nothing_to_exchange(void **state) {
  (void)state;
  ToyRun *r = audited("a", both, both);
  r->toy.job.kinds = 0;
  assert_int_equal(toy_train(r), RT_OK);
  assert_output("W0758");
}

/* A row and a column of a 3 x 4 matrix share an entry, which counts once. */
static void test_regions_are_unions(void **state) {
  (void)state;
  static const int64_t row[] = {1}, column[] = {2, 0};
  const JobParam p = {.path = "w", .rank = 2, .dims = {3, 4}, .strides = {4, 1}};
  const JobPiece pieces[] = {{0, 0, row, 1}, {0, 1, column, 2}};
  const JobRegion r = {"r", pieces, 2};
  const Job job = {.params = &p, .n_params = 1, .regions = &r, .n_regions = 1};
  float a[12], b[12];
  for (int i = 0; i < 12; i++) a[i] = (float)(i + 1), b[i] = 1;
  RegionSum sum = {0}, difference = {0};
  region_add(&sum, &job, 0, 0, a, NULL);
  region_add(&difference, &job, 0, 0, a, b);
  double want = 0, moved = 0;
  for (int i = 0; i < 12; i++) {
    const bool in = i / 4 == 1 || i % 4 == 2 || i % 4 == 0;
    assert_int_equal(region_has(&job, 0, 0, i), in);
    want += in ? (i + 1.0) * (i + 1) : 0, moved += in ? (double)i * i : 0;
  }
  assert_true(sum.square == want && sum.most == 11);
  assert_true(difference.square == moved && difference.most == 10);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_nothing_changes_but_what_is_told, toy_setup, toy_teardown),
      cmocka_unit_test_setup_teardown(test_wrong_claim_is_found, toy_setup, toy_teardown),
      cmocka_unit_test_setup_teardown(test_resume_goes_on, toy_setup, toy_teardown),
      cmocka_unit_test_setup_teardown(test_nothing_to_exchange, toy_setup, toy_teardown),
      cmocka_unit_test(test_regions_are_unions)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
