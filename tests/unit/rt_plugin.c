/* SPDX-License-Identifier: Apache-2.0
 * rt_plugin.c -- built-in plugins keep the contract, also as shared objects; hashes; what is no plugin;
 * formulas that are none. Shared objects that misbehave: tests/plugins. */
#include "plugin.h"
#include "builtin_plugins.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static void test_builtin(void **state) {
  (void)state;
  const RoutePlugin *p, *q;
  uint32_t n = 0;
  for (; (p = plugin_builtin_at(n)); n++) {
    char why[600], path[600];
    RtError e = {0};
    if (!rt_plugin_abi_same(p, why, sizeof why) || !rt_plugin_verify(p, why, sizeof why))
      fail_msg("plugin %u: %s", n, why);
    assert_ptr_equal(plugin_builtin(p->name), p);
    for (uint32_t k = 0; p->ops[k]; k++) { /* plain names of the language: no two plugins share one */
      if (plugin_builtin_op(p->ops[k]->name, &q) != p->ops[k])
        fail_msg("op `%s` is in `%s` and in `%s`", p->ops[k]->name, p->name, q->name);
      assert_ptr_equal(rt_plugin_op(p, p->ops[k]->name), p->ops[k]);
    }
    snprintf(path, sizeof path, TEST_BUILD "/plugins/%s.so", p->name); /* a plugin has its folder's name */
    q = rt_plugin_load(path, NULL, NULL, &e);
    if (!q) fail_msg("%s", e.message);
    assert_true(q != p && !strcmp(q->name, p->name) && !strcmp(q->version, p->version));
    assert_ptr_equal(rt_plugin_load(path, NULL, NULL, &e), q);
  }
  assert_true(n >= 1);
  assert_null(plugin_builtin("none"));
  assert_null(rt_plugin_op(plugin_builtin_at(0), "none"));
}

static void test_hash(void **state) {
  (void)state;
  char path[] = "/tmp/routec-plugin-XXXXXX", hex[RT_SHA256_TEXT];
  const int fd = mkstemp(path);
  assert_int_equal(write(fd, "abc", 3), 3);
  close(fd);
  RtError e = {0};
  assert_true(rt_plugin_sha256(path, hex, &e)); /* FIPS 180-2, appendix B.1 */
  assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  assert_null(rt_plugin_load(path, "00", NULL, &e));
  assert_int_equal(e.code, RT_E0751);
  e = (RtError){0};
  assert_null(rt_plugin_load(path, "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD", NULL, &e));
  assert_int_equal(e.code, RT_E0752); /* the hash is right, the file no shared object */
  unlink(path);
  e = (RtError){0};
  assert_null(rt_plugin_load(path, NULL, NULL, &e));
  assert_int_equal(e.code, RT_E0750);
  e = (RtError){0};
  assert_null(rt_plugin_load("/tmp", NULL, NULL, &e));
  assert_int_equal(e.code, RT_E0750);
}

/* Instructions, and what is said of them. */
typedef struct Case {
  const char *want;
  RouteInsn code[8];
} Case;
static void test_formulas(void **state) {
  (void)state;
  static const RouteInput in[] = {{"x", "", ROUTE_REAL, 0}, {"id", "", ROUTE_LABEL, 0}};
  static const RouteParam par[] = {{"a", "", 1, 0, 2, 0, 0}};
  RouteOp op = {sizeof op, ROUTE_REGULARIZER, "f", "", in, par, 2, 1, sizeof *in, sizeof *par, NULL, NULL};
  static const Case cases[] = {
      {NULL,
       {{ROUTE_X_INPUT, 0, 0}, {ROUTE_X_SUM_UNITS, 0, 0}, {ROUTE_X_SUM_ROWS, 0, 0}, {ROUTE_X_END, 0, 0}}},
      {"instruction 0 (ABS): it takes 1 value, and the stack holds 0", {{ROUTE_X_ABS, 0, 0}}},
      {"instruction 1 (ADD): it takes 2 values, and the stack holds 1",
       {{ROUTE_X_CONST, 0, 1}, {ROUTE_X_ADD, 0, 0}}},
      {"instruction 0 (INPUT): arg is 2, and the op has 2 inputs", {{ROUTE_X_INPUT, 2, 0}}},
      {"instruction 0 (PARAM): arg is 1, and the op has 1 parameter", {{ROUTE_X_PARAM, 1, 0}}},
      {"instruction 0 (GET): arg is 16, and the slots are 0 to 15", {{ROUTE_X_GET, 16, 0}}},
      {"instruction 0 (GET): nothing was stored in slot 3", {{ROUTE_X_GET, 3, 0}}},
      {"instruction 1 (SET): arg is 99, and the slots are 0 to 15",
       {{ROUTE_X_CONST, 0, 1}, {ROUTE_X_SET, 99, 0}}},
      {"instruction 0 (UNIT): input `id` holds labels, which have no units", {{ROUTE_X_UNIT, 1, 0}}},
      {"instruction 1 (SUM_UNITS): the operand has no units",
       {{ROUTE_X_INPUT, 1, 0}, {ROUTE_X_SUM_UNITS, 0, 0}}},
      {"instruction 1 (MEAN_ROWS): the operand has no rows",
       {{ROUTE_X_PARAM, 0, 0}, {ROUTE_X_MEAN_ROWS, 0, 0}}},
      {"instruction 1 (NOT): operand 0 is a number, and must be a truth value",
       {{ROUTE_X_CONST, 0, 1}, {ROUTE_X_NOT, 0, 0}}},
      {"instruction 3 (NEG): operand 0 is a truth value, and must be a number",
       {{ROUTE_X_CONST, 0, 1}, {ROUTE_X_PARAM, 0, 0}, {ROUTE_X_LT, 0, 0}, {ROUTE_X_NEG, 0, 0}}},
      {"instruction 0 (?): there is no instruction 4000", {{4000, 0, 0}}},
      {"instruction 0 (END): one value must be left on the stack, and there are 0", {{ROUTE_X_END, 0, 0}}},
      {"instruction 1 (END): the result of a regularizer must be one number, and this one has rows and units",
       {{ROUTE_X_INPUT, 0, 0}, {ROUTE_X_END, 0, 0}}},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const RouteExpr x = {sizeof x, 0, cases[i].code};
    char why[600] = "";
    assert_true(rt_formula_verify(&op, &x, why, sizeof why) == !cases[i].want);
    if (cases[i].want && !strstr(why, cases[i].want)) fail_msg("said `%s`, not `%s`", why, cases[i].want);
  }
  static RouteInsn endless[RT_FORMULA_MAX];
  for (size_t i = 0; i < RT_FORMULA_MAX; i++) endless[i] = (RouteInsn){i ? ROUTE_X_NEG : ROUTE_X_CONST, 0, 0};
  const RouteExpr x = {sizeof x, 0, endless};
  char why[600];
  assert_false(rt_formula_verify(&op, &x, why, sizeof why));
  assert_non_null(strstr(why, "no END within 4096 instructions"));
  for (uint32_t k = 0; k < ROUTE_X_COUNT_; k++) assert_non_null(rt_formula_row(k)->name);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_builtin), cmocka_unit_test(test_hash),
                                     cmocka_unit_test(test_formulas)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
