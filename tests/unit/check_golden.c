/* SPDX-License-Identifier: Apache-2.0
 * check_golden.c -- tests/check/NAME.route and what is said about it, NAME.out. BLESS=1 rewrites the
 * expectations. A first line `# --set name=value` is an override. */
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
  size_t n = fread(text, 1, (1 << 20) - 1, f);
  text[n] = 0;
  fclose(f);
  return text;
}

static char *say(const char *name, bool json) {
  Arena *a = arena_create();
  Sources *s = sources_create(a);
  Diags *d = diags_create(a, s);
  const char *why = NULL;
  uint32_t file = sources_add_file(s, name, &why);
  assert_true(file != 0);
  ParseResult r = dsl_parse(a, s, file, d);
  Override set = {0};
  const char *text = s->files[file]->text;
  if (!strncmp(text, "# --set ", 8)) {
    size_t eq = strcspn(text + 8, "="), end = strcspn(text + 8, "\n");
    set = (Override){arena_strndup(a, text + 8, eq), arena_strndup(a, text + 9 + eq, end - eq - 1)};
  }
  Model *m = d->n_errors ? NULL : model_check(a, s, &r, &set, set.name != NULL, d);
  assert_true((m != NULL) == (d->n_errors == 0));
  char *out = NULL;
  size_t size = 0;
  FILE *f = open_memstream(&out, &size);
  if (json) diags_print_json(d, f);
  else diags_print_text(d, f, false);
  fclose(f);
  arena_destroy(a);
  return out;
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static size_t specs(char **names, size_t cap) {
  DIR *dir = opendir(".");
  assert_non_null(dir);
  size_t n = 0;
  for (struct dirent *e; (e = readdir(dir));) {
    size_t len = strlen(e->d_name);
    if (len > 6 && !strcmp(e->d_name + len - 6, ".route") && n < cap) names[n++] = strdup(e->d_name);
  }
  closedir(dir);
  qsort(names, n, sizeof *names, by_name);
  return n;
}

static void test_goldens(void **state) {
  (void)state;
  char *names[1024];
  assert_int_equal(chdir(TEST_ROOT "/tests/check"), 0);
  size_t n = specs(names, 1024), wrong = 0;
  assert_true(n >= 100);
  for (size_t i = 0; i < n; i++) {
    char path[512];
    snprintf(path, sizeof path, "%.*s.out", (int)strlen(names[i]) - 6, names[i]);
    char *got = say(names[i], false), *json = say(names[i], true), *want = read_all(path);
    assert_true(json[0] == '[' || json[0] == '{');
    if (getenv("BLESS")) {
      FILE *f = fopen(path, "wb");
      assert_non_null(f);
      fputs(got, f);
      fclose(f);
    } else if (!want || strcmp(want, got) != 0) {
      wrong++;
      fprintf(stderr, "---- %s: expected\n%s---- got\n%s", names[i], want ? want : "(no golden)\n", got);
    }
    if (!*got) wrong++, fprintf(stderr, "%s: nothing is said\n", names[i]);
    free(got), free(json), free(want), free(names[i]);
  }
  assert_int_equal(wrong, 0);
}

/* A suggestion, once applied, parses, and the error that made it is gone. */
static void test_fixes(void **state) {
  (void)state;
  char *names[1024];
  assert_int_equal(chdir(TEST_ROOT "/tests/check"), 0);
  size_t n = specs(names, 1024), fixes = 0;
  for (size_t i = 0; i < n; i++, free(names[i - 1])) {
    Arena *a = arena_create();
    Sources *s = sources_create(a);
    Diags *d = diags_create(a, s);
    const char *why = NULL;
    uint32_t file = sources_add_file(s, names[i], &why);
    ParseResult r = dsl_parse(a, s, file, d);
    model_check(a, s, &r, NULL, 0, d);
    for (uint32_t k = 0; k < d->n; k++) {
      const Diag *g = d->items[k];
      if (!g->fix_text || g->fix_span.file != file) continue;
      const SourceFile *f = s->files[file];
      const char *text = arena_printf(a, "%.*s%s%s", (int)g->fix_span.start, f->text, g->fix_text,
                                      f->text + g->fix_span.end);
      Diags *d2 = diags_create(a, s);
      uint32_t again = sources_add_text(s, names[i], text, strlen(text));
      r = dsl_parse(a, s, again, d2);
      if (d2->n_errors) fail_msg("%s: the fix `%s` does not parse", names[i], g->fix_text);
      model_check(a, s, &r, NULL, 0, d2);
      if (g->level == DIAG_ERROR && d2->n_errors >= d->n_errors)
        fail_msg("%s: the fix `%s` cures nothing", names[i], g->fix_text);
      fixes++;
    }
    arena_destroy(a);
  }
  assert_true(fixes > 40);
}

/* Every code of this stage has a spec that raises it, and a page of its own. */
static void test_codes_covered(void **state) {
  (void)state;
  char *names[1024];
  assert_int_equal(chdir(TEST_ROOT "/tests/check"), 0);
  size_t n = specs(names, 1024);
  char *all = calloc(1, 8 << 20);
  for (size_t i = 0; i < n; i++) {
    char *got = say(names[i], false);
    strcat(all, got);
    free(got), free(names[i]);
  }
  size_t missing = 0;
  for (int c = 0; c < DIAG_N_CODES; c++) {
    const char *code = diag_code_name((DiagCode)c);
    if (code[1] != '0' || code[2] < '2' || code[2] > '4') continue;
    assert_true(strlen(diag_code_explain((DiagCode)c)) > 20);
    if (strstr(all, code)) continue;
    missing++;
    fprintf(stderr, "%s has no spec\n", code);
  }
  free(all);
  assert_int_equal(missing, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_goldens), cmocka_unit_test(test_fixes),
                                     cmocka_unit_test(test_codes_covered)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
