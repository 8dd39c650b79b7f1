/* SPDX-License-Identifier: Apache-2.0
 * dsl_text.h -- parses a text for a test, and turns printers into strings. */
#ifndef ROUTEC_TEST_DSL_TEXT_H
#define ROUTEC_TEST_DSL_TEXT_H
#include "ast.h"
#include <stdlib.h>
#include <string.h>

typedef struct Parsed {
  Arena *arena;
  Sources *sources;
  Diags *diags;
  ParseResult r;
} Parsed;

static inline Parsed parse_bytes(const char *path, const char *text, size_t len) {
  Parsed p = {.arena = arena_create()};
  p.sources = sources_create(p.arena);
  p.diags = diags_create(p.arena, p.sources);
  p.r = dsl_parse(p.arena, p.sources, sources_add_text(p.sources, path, text, len), p.diags);
  return p;
}
static inline Parsed parse_text(const char *text) { return parse_bytes("test.route", text, strlen(text)); }
static inline void parsed_free(Parsed *p) { arena_destroy(p->arena); }

typedef enum Printer { PRINT_AST, PRINT_TEXT, PRINT_JSON, PRINT_FORMAT } Printer;

/* malloc'd. */
static inline char *print_to_string(const Parsed *p, Printer what) {
  char *s = NULL;
  size_t n = 0;
  FILE *f = open_memstream(&s, &n);
  if (what == PRINT_AST) ast_print(p->r.file, f);
  else if (what == PRINT_TEXT) diags_print_text(p->diags, f, false);
  else if (what == PRINT_JSON) diags_print_json(p->diags, f);
  else dsl_format(&p->r, f);
  fclose(f);
  return s;
}

/* The text with the diagnostic's fix applied; malloc'd, its length in *n. */
static inline char *apply_fix(const char *text, size_t len, const Diag *g, size_t *n) {
  size_t add = strlen(g->fix_text), cut = g->fix_span.end - g->fix_span.start;
  char *s = malloc(len + add + 1);
  memcpy(s, text, g->fix_span.start);
  memcpy(s + g->fix_span.start, g->fix_text, add);
  memcpy(s + g->fix_span.start + add, text + g->fix_span.end, len - g->fix_span.end);
  *n = len + add - cut;
  s[*n] = 0;
  return s;
}
#endif
