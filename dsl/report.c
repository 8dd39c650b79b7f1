/* SPDX-License-Identifier: Apache-2.0
 * report.c -- words for syntax errors: what was expected, what was found, what was probably meant. */
#include "parse_internal.h"
#include "route.tab.h"
#include <string.h>

#define MOST_WORDS 6

void report_too_deep(Parser *p, Span at) {
  Diag *g = diag_add(p->diags, E0109, at, AST_MAX_DEPTH);
  diag_label(p->diags, g, "the limit is reached here");
}

static bool expects(const Expected *e, uint32_t n, int kind) {
  for (uint32_t i = 0; i < n; i++)
    if (e[i].kind == kind) return true;
  return false;
}

static const char *found(Parser *p, const Token *t) {
  switch (t->kind) {
  case END: return "the end of the file";
  case SEP: return t->text[0] == ';' ? "`;`" : "the end of the line";
  case STRING: return "a string";
  case NUMBER: return arena_printf(p->arena, "number `%s`", t->text);
  case NAME: return arena_printf(p->arena, "name `%s`", t->text);
  case UNIT: return arena_printf(p->arena, "unit `%s`", t->text);
  default: return arena_printf(p->arena, "`%s`", t->text);
  }
}

typedef struct Phrase {
  const char *w[MOST_WORDS + 4];
  uint32_t n;
} Phrase;
static void phrase_add(Phrase *f, const char *w) {
  if (f->n < MOST_WORDS + 4) f->w[f->n++] = w;
}

/* "`,`, `)` or an operator": single words first, groups for the rest. */
static const char *expected_words(Parser *p, const Expected *e, uint32_t n) {
  bool value = expects(e, n, NUMBER) && expects(e, n, NAME), body_end = expects(e, n, SEP);
  bool follows = expects(e, n, PLUS) || expects(e, n, DOT);
  Phrase f = {{0}, 0};
  uint32_t decls = 0;
  for (uint32_t i = 0; i < n; i++) decls += e[i].cls == EXPECT_DECL;
  if (decls > 3) phrase_add(&f, "a declaration");
  if (value) phrase_add(&f, "an expression");
  for (uint32_t i = 0; i < n; i++) {
    const Expected *x = &e[i];
    bool show = x->cls == EXPECT_WORD || (x->cls == EXPECT_NAME && !value) ||
                (x->cls == EXPECT_VALUE && !value) || (x->cls == EXPECT_EITHER && !value && !follows) ||
                (x->cls == EXPECT_DECL && decls <= 3) ||
                (x->cls == EXPECT_OPERATOR && !follows && !(value && x->kind == STAR));
    if (x->kind == RBRACE && body_end) show = false;
    if ((x->kind == WHEN || x->kind == FOR) && body_end && expects(e, n, PLUS)) show = false; /* of gates alone */
    if (show && f.n < MOST_WORDS) phrase_add(&f, x->word);
  }
  if (follows && !expects(e, n, AND) && expects(e, n, DOTDOT)) phrase_add(&f, "a range `a .. b`");
  else if (follows && f.n == 0)
    phrase_add(&f, expects(e, n, PLUS) ? "an operator" : expects(e, n, PIPE) ? "`|>`" : "`.`");
  if (body_end) phrase_add(&f, "the end of the statement");
  else if (f.n == 0 && expects(e, n, END)) phrase_add(&f, "the end of the file");
  const char *s = f.n ? f.w[0] : "something else";
  for (uint32_t i = 1; i < f.n; i++)
    s = arena_printf(p->arena, "%s%s%s", s, i + 1 == f.n ? " or " : ", ", f.w[i]);
  return s;
}

/* The keywords among what was expected, for "did you mean". */
static void suggest_keywords(Parser *p, Diag *g, const Token *t, const Expected *e, uint32_t n) {
  const char *words[64];
  uint32_t m = 0;
  for (uint32_t i = 0; i < n && m < 64; i++) {
    size_t len = strlen(e[i].word);
    bool keyword = len > 3 && e[i].word[0] == '`' && e[i].word[1] >= 'a' && e[i].word[1] <= 'z';
    if (keyword && (e[i].cls != EXPECT_OPERATOR || expects(e, n, PLUS)))
      words[m++] = arena_strndup(p->arena, e[i].word + 1, len - 2);
  }
  diag_suggest(p->diags, g, t->text, words, m);
}

/* Mistakes that have a message of their own. */
static bool report_known(Parser *p, const Token *t, const Expected *e, uint32_t n) {
  bool after_value = expects(e, n, PLUS);
  bool compares = (t->kind >= EQ && t->kind <= GT) || t->kind == IN || t->kind == IS;
  if (t->kind == ASSIGN && after_value && expects(e, n, AND) && p->stack[p->depth].bracket != '[') {
    Diag *g = diag_add(p->diags, E0116, t->span);
    diag_help(p->diags, g, "two values are compared with `==`");
    diag_fix(p->diags, g, t->span, "==");
    return true;
  }
  bool range = t->kind == DOTDOT || t->kind == DOTDOTEQ;
  if ((compares || range) && after_value && expects(e, n, AND)) {
    Diag *g = diag_add(p->diags, E0115, t->span, range ? "ranges" : "comparisons", t->text);
    if (compares) diag_help(p->diags, g, "join two comparisons with `and`, or put one in parentheses");
    return true;
  }
  if (t->is_word && p->depth == 0 && filter_block(p)->n_tokens == 1 && t->kind == NAME &&
      expects(e, n, MODEL)) {
    Diag *g = diag_add(p->diags, E0113, t->span, t->text);
    suggest_keywords(p, g, t, e, n);
    return true;
  }
  const Level *open = filter_unclosed(p);
  if (open) {
    char bracket[2] = {open->bracket, 0};
    Diag *g = diag_add(p->diags, E0111, open->open, bracket);
    diag_label(p->diags, g, "opened here");
    diag_also(p->diags, g, t->span, "expected `%s` before this", open->bracket == '(' ? ")" : "]");
    return true;
  }
  return false;
}

/* What mends the commonest cases; at most one of each. */
static void help_along(Parser *p, Diag *g, const Token *t, const Expected *e, uint32_t n) {
  bool value = expects(e, n, NUMBER) && expects(e, n, NAME);
  if (t->kind == SEP && expects(e, n, LBRACE)) {
    diag_help(p->diags, g, "the `{` stands on the same line");
  } else if (t->kind == SEP && value && t->text[0] != ';') {
    diag_help(p->diags, g,
              "a statement may run on inside `(` and `[`, or on a line that starts with `|>`, `and` or `or`");
  } else if (t->kind == COLON && expects(e, n, ASSIGN)) {
    diag_help(p->diags, g, "a setting is written `key = value`");
    diag_fix(p->diags, g, t->span, " =");
  } else if (t->kind == NAME && expects(e, n, COLON) && expects(e, n, ASSIGN) && !expects(e, n, RPAREN)) {
    diag_help(p->diags, g, "a type is written behind a colon: `name: type`");
  } else if (t->is_word && expects(e, n, SEP) && filter_begins_statement(p)) {
    diag_help(p->diags, g, "statements on one line are separated by `;`");
    diag_fix(p->diags, g, (Span){t->span.file, t->span.start, t->span.start}, "; ");
  }
}

/* Whether a character or number on the token's line was refused before: what follows from it is not worth a
 * second message. */
static bool explained(const Parser *p, const Token *t) {
  if (!p->bad_end) return false;
  uint32_t end = t->span.start;
  while (end < p->source->len && p->source->text[end] != '\n') end++;
  uint32_t start = t->span.start;
  while (start > 0 && p->source->text[start - 1] != '\n') start--;
  return p->bad_start >= start && p->bad_start < end;
}

void report_syntax_error(Parser *p, const Expected *e, uint32_t n) {
  const Token *t = &p->given;
  if (p->stop || t->synthetic) return; /* what led here was reported */
  if (explained(p, t) || report_known(p, t, e, n)) return;
  Diag *g = diag_add(p->diags, E0110, t->span, expected_words(p, e, n), found(p, t));
  bool end = t->kind == END || (t->kind == SEP && t->text[0] != ';');
  if (end) diag_label(p->diags, g, "something is missing here");
  else diag_label(p->diags, g, "unexpected %s", found(p, t));
  const Level *l = &p->stack[p->depth];
  if (expects(e, n, RPAREN) && l->bracket == '(' && t->kind != LPAREN)
    diag_also(p->diags, g, l->open, "inside this `(`");
  if (expects(e, n, RBRACKET) && l->bracket == '[' && t->kind != LBRACKET)
    diag_also(p->diags, g, l->open, "inside this `[`");
  if (t->is_word && t->kind == NAME) suggest_keywords(p, g, t, e, n);
  if (!g->fix_text) help_along(p, g, t, e, n);
}
