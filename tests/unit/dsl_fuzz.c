/* SPDX-License-Identifier: Apache-2.0
 * dsl_fuzz.c -- random bytes, token soup and mutated specs: no crash, spans inside the text, every printer
 * works, and what parses survives the formatter. Deterministic; about a second. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <dirent.h>
#include "dsl_text.h"

static uint64_t rng_state;
static uint32_t rnd(uint32_t n) {
  rng_state = rng_state * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)((rng_state >> 33) % n);
}

static void check_spans(const Ast *n, uint32_t len) {
  assert_true(n->span.start <= n->span.end && n->span.end <= len);
  assert_true(n->name_span.end <= len && n->depth <= AST_MAX_DEPTH);
  for (uint32_t i = 0; i < n->n_kids; i++)
    if (n->kids[i]) {
      assert_true(n->kids[i]->depth < n->depth);
      check_spans(n->kids[i], len);
    }
}

/* Parses, prints in all ways, and formats what has no errors. */
static void swallow(const char *text, size_t len) {
  Parsed p = parse_bytes("fuzz.route", text, len);
  check_spans(p.r.file, (uint32_t)len);
  assert_true(p.diags->n <= DIAG_MAX_ERRORS + 100);
  free(print_to_string(&p, PRINT_AST));
  free(print_to_string(&p, PRINT_JSON));
  free(print_to_string(&p, PRINT_TEXT));
  if (p.diags->n_errors == 0) {
    char *once = print_to_string(&p, PRINT_FORMAT);
    Parsed q = parse_text(once);
    char *twice = print_to_string(&q, PRINT_FORMAT);
    if (q.diags->n_errors || !ast_equal(p.r.file, q.r.file))
      fail_msg("formatted differs:\n%.*s\n--\n%s", (int)len, text, once);
    if (strcmp(once, twice) != 0) fail_msg("formatting twice differs:\n%s\n--\n%s", once, twice);
    free(once);
    free(twice);
    parsed_free(&q);
  }
  parsed_free(&p);
}

static void random_bytes(void **state) {
  (void)state;
  rng_state = 1;
  char buf[600];
  for (int i = 0; i < 1500; i++) {
    size_t n = rnd(sizeof buf);
    uint32_t from = i % 3 ? 32 : 0, range = i % 3 == 0 ? 256 : i % 3 == 1 ? 95 : 224;
    for (size_t k = 0; k < n; k++) buf[k] = (char)(rnd(8) ? from + rnd(range) : '\n');
    swallow(buf, n);
  }
}

static void token_soup(void **state) {
  (void)state;
  static const char *const words[] = {"edition 1\n",
                                      "param ",
                                      "data ",
                                      "module ",
                                      "model ",
                                      "split ",
                                      "class ",
                                      "route ",
                                      "loss ",
                                      "train ",
                                      "evaluate ",
                                      "expect ",
                                      "sweep ",
                                      "region ",
                                      "forbid ",
                                      "strictly ",
                                      "gate ",
                                      "set ",
                                      "at ",
                                      "loss of ",
                                      "parameter ",
                                      "monitor ",
                                      "def ",
                                      "use ",
                                      "replace ",
                                      "drop ",
                                      "repeat ",
                                      "when ",
                                      "to ",
                                      "otherwise ",
                                      "unlabelled ",
                                      "gradient of ",
                                      "for ",
                                      "ordered ",
                                      "carry ",
                                      "as ",
                                      "if ",
                                      "then ",
                                      "else ",
                                      "not ",
                                      "and ",
                                      "or ",
                                      "in ",
                                      "is ",
                                      "x ",
                                      "y ",
                                      "z.",
                                      "10 ",
                                      "0.5 ",
                                      "epochs ",
                                      "\"s\" ",
                                      "(",
                                      ")",
                                      "[",
                                      "]",
                                      "{",
                                      "}",
                                      "{ ",
                                      " }\n",
                                      ", ",
                                      ": ",
                                      " = ",
                                      " == ",
                                      " < ",
                                      ".. ",
                                      "..= ",
                                      "+ ",
                                      "- ",
                                      "* ",
                                      "/ ",
                                      "|> ",
                                      "-> ",
                                      ";",
                                      "\n",
                                      "\n",
                                      "\n  ",
                                      "# c\n",
                                      "\"open\n",
                                      "\t",
                                      "é"};
  rng_state = 2;
  char buf[4096];
  for (int i = 0; i < 2500; i++) {
    size_t n = 0;
    uint32_t count = rnd(120);
    if (i % 2) n = (size_t)sprintf(buf, "edition 1\n");
    for (uint32_t k = 0; k < count; k++)
      n += (size_t)sprintf(buf + n, "%s", words[rnd(sizeof words / sizeof *words)]);
    swallow(buf, n);
  }
}

static int is_route(const struct dirent *e) { return strstr(e->d_name, ".route") != NULL; }

/* Cuts, doubles, swaps and flips pieces of the golden texts. */
static void mutate(char *s, size_t *n, size_t cap) {
  size_t a = rnd((uint32_t)*n), len = 1 + rnd(12);
  if (a + len > *n) len = *n - a;
  switch (rnd(5)) {
  case 0:
    memmove(s + a, s + a + len, *n - a - len);
    *n -= len;
    break;
  case 1:
    if (*n + len > cap) break;
    memmove(s + a + len, s + a, *n - a);
    *n += len;
    break;
  case 2: s[a] = (char)(32 + rnd(95)); break;
  case 3: s[a] = "(){}[];\n=,.:|\""[rnd(14)]; break;
  default: {
    size_t b = rnd((uint32_t)*n);
    char c = s[a];
    s[a] = s[b];
    s[b] = c;
  }
  }
}

static void mutations(void **state) {
  (void)state;
  rng_state = 3;
  struct dirent **names;
  int n_files = scandir(TEST_ROOT "/tests/parse", &names, is_route, alphasort);
  assert_true(n_files > 0);
  static char original[8192], s[16384];
  for (int i = 0; i < n_files; i++) {
    char path[4096];
    snprintf(path, sizeof path, TEST_ROOT "/tests/parse/%s", names[i]->d_name);
    free(names[i]);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t len = fread(original, 1, sizeof original, f);
    fclose(f);
    for (int round = 0; round < 40 && len; round++) {
      size_t n = len;
      memcpy(s, original, len);
      for (uint32_t k = 1 + rnd(6); k > 0 && n; k--) mutate(s, &n, sizeof s);
      swallow(s, n);
    }
    for (size_t cut = 0; cut < len; cut += 1 + len / 40) swallow(original, cut);
  }
  free(names);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(random_bytes), cmocka_unit_test(token_soup),
                                     cmocka_unit_test(mutations)};
  return cmocka_run_group_tests_name("dsl_fuzz", tests, NULL, NULL);
}
