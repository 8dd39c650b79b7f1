/* SPDX-License-Identifier: Apache-2.0
 * dsl_golden.c -- tests/parse/NAME.route against NAME.out: the tree of a good text, the diagnostics of a bad
 * one. BLESS=1 rewrites the .out files. Good texts must survive the formatter; fixes of bad ones must mend
 * something. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <dirent.h>
#include "dsl_text.h"

#define FOLDER      TEST_ROOT "/tests/parse"
#define LEAST_CASES 40

static char *read_file(const char *path, size_t *n) {
  FILE *f = fopen(path, "rb");
  if (!f) return NULL;
  char *s = malloc(1u << 20);
  *n = fread(s, 1, (1u << 20) - 1, f);
  s[*n] = 0;
  fclose(f);
  return s;
}

static void check_format(const char *name, const Parsed *p) {
  char *once = print_to_string(p, PRINT_FORMAT);
  Parsed q = parse_text(once);
  char *twice = print_to_string(&q, PRINT_FORMAT);
  if (q.diags->n_errors || !ast_equal(p->r.file, q.r.file))
    fail_msg("%s: the formatted text means something else:\n%s", name, once);
  if (strcmp(once, twice) != 0)
    fail_msg("%s: formatting twice differs:\n%s\n-- and --\n%s", name, once, twice);
  assert_int_equal(p->r.n_comments, q.r.n_comments);
  free(once);
  free(twice);
  parsed_free(&q);
}

/* A fix applied alone: fewer errors or warnings than before. */
static void check_fixes(const char *name, const Parsed *p, const char *text, size_t n) {
  for (uint32_t i = 0; i < p->diags->n; i++) {
    const Diag *g = p->diags->items[i];
    if (!g->fix_text) continue;
    size_t m;
    char *mended = apply_fix(text, n, g, &m);
    Parsed q = parse_bytes(name, mended, m);
    if (q.diags->n_errors + q.diags->n_warnings >= p->diags->n_errors + p->diags->n_warnings)
      fail_msg("%s: the fix `%s` of %s mends nothing:\n%s", name, g->fix_text, diag_code_name(g->code),
               mended);
    parsed_free(&q);
    free(mended);
  }
}

/* Returns 1 when the golden differs. */
static int run_case(const char *name, bool bless) {
  char path[4096], out_path[4096];
  snprintf(path, sizeof path, "%s/%s", FOLDER, name);
  snprintf(out_path, sizeof out_path, "%s/%.*s.out", FOLDER, (int)(strlen(name) - strlen(".route")), name);
  size_t n = 0, m = 0;
  char *text = read_file(path, &n), *want = read_file(out_path, &m);
  assert_non_null(text);
  Parsed p = parse_bytes(name, text, n);
  bool good = p.diags->n_errors == 0 && p.diags->n_warnings == 0;
  if ((strncmp(name, "bad_", 4) != 0) != good)
    fail_msg("%s: only bad_* may have diagnostics, and must", name);
  char *got = print_to_string(&p, good ? PRINT_AST : PRINT_TEXT);
  if (p.diags->n_errors == 0) check_format(name, &p);
  check_fixes(name, &p, text, n);
  int differs = !want || strcmp(got, want) != 0;
  if (bless) {
    FILE *f = fopen(out_path, "wb");
    assert_non_null(f);
    fputs(got, f);
    fclose(f);
  } else if (differs) {
    print_error("%s: expected\n%s\n-- but got --\n%s\n", name,
                want ? want : "(no .out file; BLESS=1 makes it)", got);
  }
  free(got);
  free(text);
  free(want);
  parsed_free(&p);
  return bless ? 0 : differs;
}

static int is_route(const struct dirent *e) {
  size_t n = strlen(e->d_name);
  return n > 6 && strcmp(e->d_name + n - 6, ".route") == 0;
}

static void goldens(void **state) {
  (void)state;
  struct dirent **names;
  int n = scandir(FOLDER, &names, is_route, alphasort), bad = 0;
  assert_true(n >= LEAST_CASES);
  for (int i = 0; i < n; i++) {
    bad += run_case(names[i]->d_name, getenv("BLESS") != NULL);
    free(names[i]);
  }
  free(names);
  assert_int_equal(bad, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(goldens)};
  return cmocka_run_group_tests_name("dsl_golden", tests, NULL, NULL);
}
