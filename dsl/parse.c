/* SPDX-License-Identifier: Apache-2.0
 * parse.c -- from a text to its tree: validates the bytes, runs the grammar, checks the edition. */
#include "parse_internal.h"
#include <stdlib.h>
#include <string.h>

typedef struct yy_buffer_state *YY_BUFFER_STATE;
int route_lex_lex_init_extra(Parser *p, void **scanner);
int route_lex_lex_destroy(void *scanner);
YY_BUFFER_STATE route_lex__scan_bytes(const char *bytes, int len, void *scanner);

/* Length of the UTF-8 character at s (n bytes left), or 0 when it is not one: no overlong forms, no
 * surrogates. */
static uint32_t utf8_len(const unsigned char *s, uint32_t n) {
  if (s[0] < 0x80) return 1;
  uint32_t len = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
  if (s[0] < 0xc2 || s[0] > 0xf4 || n < len) return 0;
  for (uint32_t i = 1; i < len; i++)
    if ((s[i] & 0xc0) != 0x80) return 0;
  if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f)) return 0;
  if ((s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f)) return 0;
  return len;
}

/* U+202A..202E and U+2066..2069 reorder what a reader sees. */
static bool is_bidi_control(const unsigned char *s) {
  return s[0] == 0xe2 &&
         ((s[1] == 0x80 && s[2] >= 0xaa && s[2] <= 0xae) || (s[1] == 0x81 && s[2] >= 0xa6 && s[2] <= 0xa9));
}

/* False when the bytes are no text; nothing of it is parsed then. */
static bool validate(Parser *p) {
  const unsigned char *s = (const unsigned char *)p->source->text;
  uint32_t n = p->source->len;
  for (uint32_t i = 0, len; i < n; i += len) {
    if (s[i] == 0) {
      diag_add(p->diags, E0103, (Span){p->file, i, i + 1});
      return false;
    }
    len = utf8_len(s + i, n - i);
    if (!len) {
      Diag *g = diag_add(p->diags, E0102, (Span){p->file, i, i + 1}, (unsigned)s[i]);
      if (i == 0 && n > 1 && ((s[0] == 0xff && s[1] == 0xfe) || (s[0] == 0xfe && s[1] == 0xff)))
        diag_help(p->diags, g, "the file looks like UTF-16; save it as UTF-8");
      else diag_help(p->diags, g, "save the file as UTF-8");
      return false;
    }
    if (len == 3 && is_bidi_control(s + i))
      diag_add(p->diags, W0101, (Span){p->file, i, i + 3},
               (unsigned)(((s[i] & 0xfu) << 12) | ((s[i + 1] & 0x3fu) << 6) | (s[i + 2] & 0x3fu)));
  }
  return true;
}

/* `edition 1` stands first and once. */
static void check_edition(Parser *p, const Ast *file) {
  const Ast *first = file->n_kids ? file->kids[0] : NULL, *late = NULL;
  for (uint32_t i = 1; i < file->n_kids && !late; i++)
    if (file->kids[i]->kind == AST_EDITION) late = file->kids[i];
  if (!first || first->kind != AST_EDITION) {
    uint32_t at = first ? first->span.start : 0;
    Diag *g = diag_add(p->diags, E0117, (Span){p->file, at, at + (first != NULL)});
    diag_label(p->diags, g, "`edition 1` goes before this");
    if (late) diag_also(p->diags, g, late->span, "move this to the top");
    else diag_fix(p->diags, g, (Span){p->file, at, at}, "edition 1\n");
    return;
  }
  if (late) {
    Diag *g = diag_add(p->diags, E0119, late->span);
    diag_also(p->diags, g, first->span, "the edition was given here");
  }
  if (first->num < 1 || first->num > 1) {
    Diag *g = diag_add(p->diags, E0118, first->span, first->num);
    diag_help(p->diags, g, "this version reads `edition 1`");
    diag_fix(p->diags, g, first->span, "edition 1");
  }
}

static void run_grammar(Parser *p) {
  p->stack = ARENA_NEWS(p->arena, Level, AST_MAX_DEPTH + 1);
  p->line_first = true;
  if (route_lex_lex_init_extra(p, &p->scanner) != 0) {
    fprintf(stderr, "routec: out of memory (a scanner)\n");
    exit(70);
  }
  route_lex__scan_bytes(p->source->text, (int)p->source->len, p->scanner);
  route_parse(p); /* its result says nothing new: errors are in diags, the tree in p->decls */
  route_lex_lex_destroy(p->scanner);
  free(p->str);
}

ParseResult dsl_parse(Arena *a, const Sources *sources, uint32_t file, Diags *diags) {
  Parser p = {.arena = a, .sources = sources, .source = sources->files[file], .file = file, .diags = diags};
  uint32_t errors = diags->n_errors;
  if (p.source->len <= SOURCE_MAX_BYTES) {
    if (validate(&p)) run_grammar(&p);
  } else {
    diag_add(diags, E0101, (Span){0}, p.source->path, "it is larger than 64 MiB");
  }
  Ast *root = ARENA_NEW(a, Ast);
  root->kind = AST_FILE;
  root->span = root->name_span = (Span){file, 0, p.source->len};
  root->n_kids = p.decls.n;
  root->kids = ARENA_NEWS(a, Ast *, p.decls.n ? p.decls.n : 1);
  root->depth = 1;
  for (uint32_t i = 0; i < p.decls.n; i++) {
    root->kids[i] = p.decls.v[i];
    if (root->kids[i]->depth + 1 > root->depth) root->depth = root->kids[i]->depth + 1;
  }
  free(p.decls.v);
  if (diags->n_errors == errors) check_edition(&p, root);
  return (ParseResult){root, p.comments, p.n_comments, p.source};
}
