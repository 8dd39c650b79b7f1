/* SPDX-License-Identifier: Apache-2.0
 * rt_error.c -- the table of errors, printing; the table of Student's t. */
#include "error.h"
#include "run.h"
#include "rt_toy.h"
#include <jansson.h>

static void test_table(void **state) {
  (void)state;
  const char *before = "";
  for (int i = RT_NO_ERROR + 1; i < RT_N_CODES; i++) {
    const char *name = rt_code_name((RtCode)i);
    assert_true(strlen(name) == 5 && (name[0] == 'E' || name[0] == 'W') && name[1] == '0' && name[2] == '7');
    assert_true((name[0] == 'W') == (rt_code_level((RtCode)i) == RT_LEVEL_WARNING));
    assert_true(strcmp(before, name) < 0); /* sorted: errors, then warnings */
    before = name;
    const char *page = rt_explain(name);
    if (!page || strlen(page) < 40 || page[strlen(page) - 1] != '.') fail_msg("%s has no page", name);
  }
  assert_null(rt_explain("E0700"));
  assert_null(rt_explain("E9999"));
}

static char *printed(const RtError *e, bool json, bool color) {
  char *text = NULL;
  size_t n;
  FILE *f = open_memstream(&text, &n);
  rt_error_print(e, f, json, color);
  fclose(f);
  return text;
}

static void test_print(void **state) {
  (void)state;
  RtError e = {0};
  const JobSpan span = {"a.route", 12, 5};
  assert_false(rt_fail_at(&e, &span, RT_E0701, "x", "why"));
  assert_false(rt_fail(&e, RT_E0710, "later")); /* the first one stays */
  char *text = printed(&e, false, false);
  assert_string_equal(text, "error[E0701]: cannot read `x`: why\n  --> a.route:12:5\n");
  free(text);
  text = printed(&e, true, false);
  json_t *o = json_loads(text, 0, NULL);
  assert_string_equal(json_string_value(json_object_get(o, "code")), "E0701");
  assert_int_equal(json_integer_value(json_object_get(o, "line")), 12);
  json_decref(o), free(text);
  text = printed(&e, false, true);
  assert_non_null(strstr(text, "\033[1;31merror[E0701]\033[0m: "));
  free(text);
  RtError bytes = {0};
  rt_fail(&bytes, RT_E0701, "\xff\xfe", "why"); /* a file name that is not UTF-8 */
  text = printed(&bytes, true, false);
  o = json_loads(text, 0, NULL);
  assert_non_null(o);
  json_decref(o), free(text);
}

static void test_student(void **state) {
  (void)state;
  assert_true(isnan(student_975(0)));
  assert_true(fabs(student_975(2) - 4.3027) < 1e-4 && fabs(student_975(19) - 2.0930) < 1e-4);
  assert_true(fabs(student_975(31) - 2.0395) < 2e-4 && fabs(student_975(60) - 2.0003) < 2e-4 &&
              fabs(student_975(1000000) - 1.95996) < 1e-4);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_table), cmocka_unit_test(test_print),
                                     cmocka_unit_test(test_student)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
