/* SPDX-License-Identifier: Apache-2.0
 * fuzz_parse.c -- libFuzzer target of the front end. Seeds: tests/parse. Build with clang:
 *   clang -g -fsanitize=fuzzer,address,undefined -Idsl -D_GNU_SOURCE tests/fuzz/fuzz_parse.c libroutec_dsl.a
 * -ljansson -lm and run: ./a.out -max_len=4096 corpus tests/parse */
#include "ast.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void print_all(const ParseResult *r, const Diags *d) {
  FILE *null = fopen("/dev/null", "w");
  if (!null) abort();
  ast_print(r->file, null);
  diags_print_text(d, null, true);
  diags_print_json(d, null);
  fclose(null);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  Arena *a = arena_create();
  Sources *s = sources_create(a);
  Diags *d = diags_create(a, s);
  ParseResult r = dsl_parse(a, s, sources_add_text(s, "fuzz.route", (const char *)data, size), d);
  print_all(&r, d);
  if (d->n_errors == 0) {
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    if (!f) abort();
    dsl_format(&r, f);
    fclose(f);
    ParseResult again = dsl_parse(a, s, sources_add_text(s, "formatted.route", text, n), d);
    if (d->n_errors || !ast_equal(r.file, again.file)) {
      fprintf(stderr, "formatting changed the meaning:\n%s\n", text);
      abort();
    }
    free(text);
  }
  arena_destroy(a);
  return 0;
}
