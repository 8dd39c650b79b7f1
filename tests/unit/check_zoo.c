/* SPDX-License-Identifier: Apache-2.0
 * check_zoo.c -- tests/prove/NAME.route, one spec for each kind of leak, with what is said about it in NAME.out; and
 * NAME.fixed.route, its repaired twin, which must prove. BLESS=1 rewrites the expectations. */
#include "compiler.h"
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static char *read_all(const char *path) {
  FILE *f = fopen(path, "rb");
  if (!f) return NULL;
  char *text = calloc(1, 1 << 20);
  const size_t n = fread(text, 1, (1 << 20) - 1, f);
  text[n] = 0;
  fclose(f);
  return text;
}

/* What is said of a spec; the numbers of errors and warnings. */
static char *say(const char *name, uint32_t *errors, uint32_t *warnings) {
  Arena *a = arena_create();
  Sources *s = sources_create(a);
  Diags *d = diags_create(a, s);
  const char *why = NULL;
  const uint32_t file = sources_add_file(s, name, &why);
  assert_true(file != 0);
  ParseResult r = dsl_parse(a, s, file, d);
  Model *m = d->n_errors ? NULL : model_check(a, s, &r, NULL, 0, d);
  Program *p = m ? model_lower(m, d) : NULL;
  if (p) {
    pass_autodiff(p);
    pass_mask(p);
    pass_update(p, false);
    proof_report(pass_prove(p, a), d);
  }
  char *out = NULL;
  size_t size = 0;
  FILE *f = open_memstream(&out, &size);
  diags_print_text(d, f, false);
  fclose(f);
  *errors = d->n_errors, *warnings = d->n_warnings;
  arena_destroy(a);
  return out;
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }
static bool ends_in(const char *name, const char *end) {
  return strlen(name) > strlen(end) && !strcmp(name + strlen(name) - strlen(end), end);
}

static bool check_one(const char *name) {
  char path[512];
  uint32_t errors, warnings;
  char *got = say(name, &errors, &warnings);
  bool ok = true;
  snprintf(path, sizeof path, "%.*s.out", (int)strlen(name) - 6, name);
  if (ends_in(name, ".fixed.route")) {
    ok = !errors && !warnings;
    if (!ok) print_error("%s is not repaired:\n%s\n", name, got);
  } else {
    char *want = read_all(path);
    if (!errors && !warnings) ok = false, print_error("%s leaks nothing\n", name);
    else if (getenv("BLESS")) {
      FILE *f = fopen(path, "wb");
      assert_non_null(f);
      fputs(got, f);
      fclose(f);
    } else if (!want || strcmp(want, got) != 0) {
      ok = false;
      print_error("---- %s: wanted\n%s---- got\n%s", name, want ? want : "(nothing)\n", got);
    }
    free(want);
  }
  free(got);
  return ok;
}

static void test_zoo(void **state) {
  (void)state;
  char *names[256];
  size_t n = 0, wrong = 0;
  assert_int_equal(chdir(TEST_ROOT "/tests/prove"), 0);
  DIR *dir = opendir(".");
  assert_non_null(dir);
  for (struct dirent *e; (e = readdir(dir)) && n < 256;)
    if (ends_in(e->d_name, ".route")) names[n++] = strdup(e->d_name);
  closedir(dir);
  qsort(names, n, sizeof *names, by_name);
  assert_true(n >= 40);
  for (size_t i = 0; i < n; i++) {
    wrong += !check_one(names[i]);
    free(names[i]);
  }
  assert_int_equal(wrong, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_zoo)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
