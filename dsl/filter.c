/* SPDX-License-Identifier: Apache-2.0
 * filter.c -- from raw tokens to the grammar's: says which words are keywords where they stand, where
 * statements end, and keeps the brackets balanced whatever was written, so that the grammar recovers at
 * statements and blocks.
 *
 * Statement ends: a newline outside ( and [ unless the next line starts with |>, `and` or `or`; a `;`; a `}`
 * unless `{` follows on its line. All of them become one SEP; none stands next to a brace or at either end of
 * the file. */
#include "parse_internal.h"
#include "route.tab.h"
#include <string.h>

int route_lex_raw(Token *t, Span *at, void *scanner);

typedef enum Where {
  DECLARATION,
  HARD,
  ARM,
  PRIMITIVE,
  PLACE_OF,
  ROUTE_TAIL,
  ARM_TO,
  USE_AS,
  REPEAT_CARRY,
  BODY_REPEAT,
  UNIT_WORD,
  FORBID_HOW,
  EVALUATE_SET
} Where;

static const struct Word {
  const char *text;
  int kind;
  Where where;
} WORDS[] = {
    {"edition", EDITION, DECLARATION},
    {"param", PARAM, DECLARATION},
    {"data", DATA, DECLARATION},
    {"module", MODULE, DECLARATION},
    {"model", MODEL, DECLARATION},
    {"split", SPLIT, DECLARATION},
    {"class", CLASS, DECLARATION},
    {"route", ROUTE, DECLARATION},
    {"loss", LOSS, DECLARATION},
    {"regularize", REGULARIZE, DECLARATION},
    {"gate", GATE, DECLARATION},
    {"region", REGION, DECLARATION},
    {"forbid", FORBID, DECLARATION},
    {"parameter", PARAMETER, DECLARATION},
    {"monitor", MONITOR, DECLARATION},
    {"plugin", PLUGIN, DECLARATION},
    {"optimize", OPTIMIZE, DECLARATION},
    {"train", TRAIN, DECLARATION},
    {"evaluate", EVALUATE, DECLARATION},
    {"expect", EXPECT, DECLARATION},
    {"sweep", SWEEP, DECLARATION},
    {"def", DEF, DECLARATION},
    {"use", USE, DECLARATION},
    {"extend", EXTEND, DECLARATION},
    {"replace", REPLACE, DECLARATION},
    {"drop", DROP, DECLARATION},
    {"and", AND, HARD},
    {"or", OR, HARD},
    {"not", NOT, HARD},
    {"in", IN, HARD},
    {"is", IS, HARD},
    {"if", IF, HARD},
    {"then", THEN, HARD},
    {"else", ELSE, HARD},
    {"when", WHEN, ARM},
    {"unlabelled", UNLABELLED, ARM},
    {"otherwise", OTHERWISE, ARM},
    {"gradient", GRADIENT, PRIMITIVE},
    {"parameters", PARAMETERS, PRIMITIVE},
    {"value", VALUE, PRIMITIVE},
    {"of", OF, PLACE_OF},
    {"for", FOR, ROUTE_TAIL},
    {"ordered", ORDERED, ROUTE_TAIL},
    {"to", TO, ARM_TO},
    {"strictly", STRICTLY, FORBID_HOW},
    {"at", AT, FORBID_HOW},
    {"set", SET, EVALUATE_SET},
    {"as", AS, USE_AS},
    {"carry", CARRY, REPEAT_CARRY},
    {"repeat", REPEAT, BODY_REPEAT},
    {"steps", UNIT, UNIT_WORD},
    {"epoch", UNIT, UNIT_WORD},      {"step", UNIT, UNIT_WORD},       {"second", UNIT, UNIT_WORD},
    {"minute", UNIT, UNIT_WORD},     {"hour", UNIT, UNIT_WORD},       {"update", UNIT, UNIT_WORD},
    {"epochs", UNIT, UNIT_WORD},
    {"minutes", UNIT, UNIT_WORD},
    {"seconds", UNIT, UNIT_WORD},
    {"hours", UNIT, UNIT_WORD},
    {"tokens", UNIT, UNIT_WORD},
    {"updates", UNIT, UNIT_WORD},
    {"episodes", UNIT, UNIT_WORD},
};
#define N_WORDS (sizeof WORDS / sizeof *WORDS)

static const struct Word *word_find(const char *text) {
  for (size_t i = 0; i < N_WORDS; i++)
    if (WORDS[i].text[0] == text[0] && strcmp(WORDS[i].text, text) == 0) return &WORDS[i];
  return NULL;
}

bool filter_is_unit(const char *text) {
  const struct Word *w = word_find(text);
  return w && w->where == UNIT_WORD;
}

/* --- raw tokens
 * ----------------------------------------------------------------------------------------------- */
static Token *peek(Parser *p, uint32_t i) {
  while (p->n_raw <= i) {
    Token t = {0};
    Span at = {0};
    route_lex_raw(&t, &at, p->scanner);
    t.span = at;
    p->raw[p->n_raw++] = t;
  }
  return &p->raw[i];
}
static Token take(Parser *p) {
  Token t = *peek(p, 0);
  memmove(p->raw, p->raw + 1, --p->n_raw * sizeof *p->raw);
  if (t.line_first) p->line_indent = t.indent;
  return t;
}
static void untake(Parser *p, Token t) {
  memmove(p->raw + 1, p->raw, p->n_raw++ * sizeof *p->raw);
  p->raw[0] = t;
}

/* --- levels
 * --------------------------------------------------------------------------------------------------- */
static Level *top(Parser *p) { return &p->stack[p->depth]; }
static bool in_paren(Parser *p) { return top(p)->bracket == '(' || top(p)->bracket == '['; }
static uint32_t block_depth(const Parser *p, uint32_t from) {
  while (p->stack[from].bracket == '(' || p->stack[from].bracket == '[') from--;
  return from;
}
Level *filter_block(Parser *p) { return &p->stack[block_depth(p, p->depth)]; }

Level *filter_unclosed(Parser *p) {
  const Token *t = &p->given;
  return t->line_first && t->is_word && in_paren(p) && t->indent <= filter_block(p)->stmt_indent ? top(p)
                                                                                                 : NULL;
}

static void push(Parser *p, char bracket, Span at) {
  Level *outer = top(p);
  bool arms = bracket == '{' && outer->stmt_kw == ROUTE && !outer->saw_block;
  const int of = bracket == '{' && !outer->saw_block ? outer->stmt_kw : 0;
  if (bracket == '{') outer->saw_block = true;
  p->stack[++p->depth] = (Level){.bracket = bracket, .open = at, .open_indent = p->line_indent, .arms = arms, .of = of};
}

/* Notes the token as the last of its statement, and hands it on. */
static Token emit(Parser *p, Token t) {
  Level *l = top(p);
  if (t.kind == SEP && !in_paren(p)) {
    l->n_tokens = 0;
    l->stmt_kw = 0;
    l->saw_to = l->saw_primitive = l->saw_block = false;
  } else if (!in_paren(p)) {
    if (l->n_tokens++ == 0) {
      l->stmt_kw = t.kind;
      l->stmt_indent = p->line_indent;
    }
  }
  return p->last = t;
}

static Token separator(Parser *p) {
  uint32_t end = p->last.span.end;
  if (p->semicolon.span.file) {
    Token t = p->semicolon;
    p->semicolon = (Token){0};
    return emit(p, t);
  }
  return emit(p, (Token){.kind = SEP, .text = "\n", .span = {p->file, end, end + (end < p->source->len)}});
}

static const char *closer_of(char bracket) { return bracket == '{' ? "}" : bracket == '(' ? ")" : "]"; }
static int closer_kind(char bracket) { return bracket == '{' ? RBRACE : bracket == '(' ? RPAREN : RBRACKET; }

/* Whether an unclosed string on the opener's line may have swallowed the closer. */
static bool in_string(const Parser *p, Span open) {
  if (!p->open_string.file || p->open_string.start < open.start) return false;
  return !memchr(p->source->text + open.start, '\n', p->open_string.start - open.start);
}

/* Reports a bracket that was left open; `at` shows where that became clear. A `}` inside it that stands
 * further left than its opener's line hints that the closer is missing there. */
static void report_open(Parser *p, const Level *l, Span at, const char *why) {
  if (in_string(p, l->open)) return;
  bool inner = p->suspect.file && p->suspect.start > l->open.start;
  char open[2] = {inner ? '{' : l->bracket, 0};
  Diag *g = diag_add(p->diags, E0111, inner ? p->suspect : l->open, open);
  diag_label(p->diags, g, "opened here");
  if (inner)
    diag_also(p->diags, g, p->suspect_end, "this `}` stands further left than the line that opened it");
  else diag_also(p->diags, g, at, why, closer_of(l->bracket));
  p->suspect = (Span){0};
}

/* Closes the innermost bracket, which was left open. */
static Token close_missing(Parser *p, Span at, const char *why, bool silent) {
  Level l = *top(p);
  if (!silent) report_open(p, &l, at, why);
  p->depth--;
  uint32_t end = p->last.span.end;
  p->last = (Token){.kind = closer_kind(l.bracket),
                    .text = closer_of(l.bracket),
                    .span = {p->file, end, end},
                    .synthetic = true};
  return p->last;
}

/* --- words
 * ---------------------------------------------------------------------------------------------------- */
static bool ends_value(int kind) {
  return kind == NAME || kind == NUMBER || kind == RPAREN || kind == RBRACKET;
}

/* Behind the value of a gate's setting, or of `set`: where `when` and `for` may stand. */
static bool behind_policy(const Level *l, int last) {
  return (l->of == GATE || l->stmt_kw == SET) && l->n_tokens > (l->of == GATE ? 2u : 3u) && (ends_value(last) || last == UNIT);
}

static bool behind_forbid(const Level *l, int last) { return last == FORBID || (last == STRICTLY && l->stmt_kw == FORBID); }

/* Words that stand behind an operand. */
static bool goes_on(const char *word) {
  return !strcmp(word, "to") || !strcmp(word, "in") || !strcmp(word, "is") || !strcmp(word, "and") || !strcmp(word, "or");
}

/* Whether the keyword `w` is one here; `next` is the raw token after it. Everywhere else it is a plain name.
 */
static bool is_keyword(Parser *p, const struct Word *w, const Token *next) {
  Level *l = top(p);
  int last = p->last.kind;
  bool start = !in_paren(p) && l->n_tokens == 0;
  if (last == DOT) return false;
  if (w->kind == LOSS && behind_forbid(l, last) && next->is_word && !strcmp(next->text, "of")) return true;
  if (w->where == DECLARATION) {
    if (start && l->bracket == 0) return true;
    return l->bracket == 0 && l->n_tokens == 1 && last == REPLACE && next->kind != DOT &&
           next->kind != ASSIGN && next->kind != LBRACKET;
  }
  if (w->where == ARM) return (start && l->arms) || (w->kind == WHEN && behind_policy(l, last));
  if (next->kind == ASSIGN || next->kind == COLON || next->kind == COMMA) return false;
  switch (w->where) {
  case DECLARATION:
  case ARM: return false;                                                  /* decided above */
  case HARD: return !(start && l->bracket == '{' && next->kind == LBRACE); /* a key of a nested block */
  case BODY_REPEAT: return start && l->bracket == '{' && next->kind == NAME;
  case PRIMITIVE: return l->stmt_kw == ROUTE && last == COLON && !l->saw_primitive;
  case PLACE_OF: return last == GRADIENT || last == PARAMETERS || last == VALUE || (last == LOSS && l->stmt_kw == FORBID);
  case ROUTE_TAIL:
    if (w->kind == FOR && behind_policy(l, last)) return true;
    if (l->stmt_kw == FORBID && w->kind == FOR) return l->saw_to && ends_value(last);
    return l->stmt_kw == ROUTE && l->saw_primitive && ends_value(last);
  case ARM_TO:
    return (l->stmt_kw == WHEN || l->stmt_kw == UNLABELLED || l->stmt_kw == OTHERWISE ||
            l->stmt_kw == FORBID) &&
           !l->saw_to &&
           (ends_value(last) || last == STRING || last == UNIT || last == DOTDOT || last == DOTDOTEQ ||
            last == UNLABELLED || last == OTHERWISE);
  case USE_AS: return l->stmt_kw == USE && last == STRING;
  case REPEAT_CARRY: return l->stmt_kw == REPEAT && last == RBRACKET;
  case UNIT_WORD: return ends_value(last);
  case EVALUATE_SET: return start && l->of == EVALUATE && next->kind == NAME;
  case FORBID_HOW: /* else a class's name */
    return (w->kind == STRICTLY ? last == FORBID : behind_forbid(l, last)) && next->is_word && !goes_on(next->text);
  }
  return false;
}

static Token classify(Parser *p, Token t) {
  const struct Word *w = word_find(t.text);
  if (!w || !is_keyword(p, w, peek(p, 0))) return emit(p, t);
  t.kind = w->kind;
  bool after_replace = p->last.kind == REPLACE && w->where == DECLARATION;
  t = emit(p, t);
  Level *l = top(p);
  if (after_replace) l->stmt_kw = t.kind;
  if (w->where == ARM_TO) l->saw_to = true;
  if (w->where == PRIMITIVE) l->saw_primitive = true;
  return t;
}

/* `loss x`, `use "y"`, `model {`: no statement inside a block begins like this. */
static bool starts_declaration(Parser *p, const Token *t) {
  if (!t->line_first || !t->is_word) return false;
  const struct Word *w = word_find(t->text);
  if (!w || w->where != DECLARATION) return false;
  const Token *next = peek(p, 1);
  if (next->line_first) return false;
  return next->kind == NAME || next->kind == STRING || next->kind == NUMBER ||
         (next->kind == LBRACE && (w->kind == MODEL || w->kind == TRAIN || w->kind == MONITOR));
}

/* --- brackets
 * ------------------------------------------------------------------------------------------------- */
static Token open_bracket(Parser *p, Token t, char bracket) {
  if (p->depth == AST_MAX_DEPTH) {
    report_too_deep(p, t.span);
    p->stop = true;
    return p->last = (Token){.kind = END, .text = "", .span = t.span};
  }
  t = emit(p, t);
  push(p, bracket, t.span);
  return t;
}

/* Handles the raw closer that is next. False: it closed nothing and was dropped. A closer missing before it
 * goes out first, the raw one stays for the next call. */
static bool close_bracket(Parser *p, char bracket, Token *out) {
  if (top(p)->bracket == bracket) {
    Token c = take(p);
    const Level *l = top(p);
    if (bracket == '{' && c.line_first && c.indent < l->open_indent && !p->suspect.file) {
      p->suspect = l->open;
      p->suspect_end = c.span;
    }
    p->depth--;
    *out = p->last = c;
    return true;
  }
  for (uint32_t d = p->depth; d > 0; d--) {
    if (p->stack[d].bracket == bracket) {
      *out = close_missing(p, peek(p, 0)->span, "expected `%s` before this", p->skip);
      return true;
    }
    if (p->stack[d].bracket == '{') break;
  }
  Token stray = take(p);
  if (!p->skip) {
    Diag *g = diag_add(p->diags, E0112, stray.span, stray.text);
    diag_label(p->diags, g, "nothing is open here");
  }
  return false;
}

/* The end of the text: closes what is open, with one message for all of it, at the outermost bracket. */
static Token finish(Parser *p, const Token *end) {
  if (p->depth == 0) {
    Token t = *end;
    uint32_t at = p->last.span.end < t.span.end ? p->last.span.end : t.span.end;
    t.span = (Span){p->file, at, at + (at < p->source->len)};
    return p->last = t;
  }
  if (!p->eof_reported && !(p->skip && in_paren(p)))
    report_open(p, &p->stack[1], p->last.span, "the file ends after this without `%s`");
  p->eof_reported = true;
  return close_missing(p, p->last.span, "%s", true);
}

/* --- the filter
 * ----------------------------------------------------------------------------------------------- */
/* Whether the next raw token goes on with the line before; `and = 1` is a key. */
static bool continues(Parser *p) {
  const Token *t = peek(p, 0);
  if (t->kind == PIPE) return true;
  if (!t->is_word || (strcmp(t->text, "and") != 0 && strcmp(t->text, "or") != 0)) return false;
  int next = peek(p, 1)->kind;
  return next != ASSIGN && next != COLON && next != COMMA && next != LBRACE;
}

/* Whether a SEP is due before the next raw token; swallows `;`s. Not called inside ( or [. */
static bool separator_due(Parser *p) {
  bool due = false;
  p->semicolon = (Token){0};
  while (peek(p, 0)->kind == SEP) {
    Token t = take(p);
    if (!due) p->semicolon = t;
    due = true;
  }
  const Token *t = peek(p, 0);
  if (t->line_first && !continues(p)) due = true;
  if (p->last.kind == RBRACE && t->kind != LBRACE) due = true;
  int last = p->last.kind;
  return due && last != 0 && last != LBRACE && last != SEP && t->kind != RBRACE && t->kind != END;
}

static Token step(Parser *p) {
  for (;;) {
    if (p->diags->n_errors >= DIAG_MAX_ERRORS) p->stop = true;
    if (p->stop) return p->last = (Token){.kind = END, .text = "", .span = p->last.span};
    const Token *t = peek(p, 0);
    if (p->skip && in_paren(p) && t->line_first && t->kind != RPAREN && t->kind != RBRACKET &&
        t->indent <= filter_block(p)->stmt_indent)
      p->depth = block_depth(p, p->depth); /* the dropped statement left them open */
    if (p->depth > 0 && starts_declaration(p, t) && t->indent <= top(p)->open_indent)
      return close_missing(p, t->span, "a declaration begins here; expected `%s` before it",
                           p->skip && in_paren(p));
    if (!in_paren(p) && separator_due(p)) return separator(p);
    t = peek(p, 0);
    Token out;
    switch (t->kind) {
    case END: return finish(p, t);
    case LBRACE: return open_bracket(p, take(p), '{');
    case LPAREN: return open_bracket(p, take(p), '(');
    case LBRACKET: return open_bracket(p, take(p), '[');
    case RBRACE:
    case RPAREN:
    case RBRACKET:
      if (close_bracket(p, t->kind == RBRACE ? '{' : t->kind == RPAREN ? '(' : '[', &out)) return out;
      continue;
    case NAME: return classify(p, take(p));
    default: return emit(p, take(p));
    }
  }
}

bool filter_begins_statement(Parser *p) {
  const struct Word *w = word_find(p->given.text);
  const Token *next = peek(p, 0);
  if (filter_block(p)->bracket == 0) return w && w->where == DECLARATION && next->kind == NAME;
  return next->kind == ASSIGN || (w && w->where == ARM && filter_block(p)->arms);
}

static void hold(Parser *p, Token t) { p->out[p->n_out++] = t; }

Token filter_next(Parser *p) {
  if (p->n_out) {
    p->given = p->out[0];
    memmove(p->out, p->out + 1, --p->n_out * sizeof *p->out);
    return p->given;
  }
  if (!p->skip) return p->given = step(p);
  Token t;
  do t = step(p);
  while (t.kind != END && !(t.kind == SEP && p->depth == p->skip_depth) &&
         !(t.kind == RBRACE && p->depth + 1 == p->skip_depth));
  p->skip = false;
  hold(p, t);
  return p->given = (Token){.kind = RESYNC, .text = "", .span = t.span};
}

void filter_resync(Parser *p) {
  Token bad = p->given;
  Token resync = {.kind = RESYNC, .text = "", .span = bad.span};
  if (bad.kind == RBRACE || (bad.kind == SEP && !in_paren(p) && peek(p, 0)->kind != LBRACE)) {
    hold(p, resync);
    hold(p, bad);
    return;
  }
  if (filter_unclosed(p)) {
    /* The statement ended where the line did: its brackets go, and the word is read again. */
    p->depth = block_depth(p, p->depth);
    bad.kind = NAME;
    untake(p, bad);
    hold(p, resync);
    return;
  }
  p->skip = true;
  p->skip_depth = block_depth(p, bad.kind == LBRACE && p->depth ? p->depth - 1 : p->depth);
}
