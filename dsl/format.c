/* SPDX-License-Identifier: Apache-2.0
 * format.c -- canonical source text of a tree. Two-space indent, one statement a line, lines up to WIDTH
 * where the grammar lets them break. Taken from the source: blank lines (one at most), and whether a block
 * stood on one line. Comments stay before, behind or inside the statement they stood at; those inside a
 * statement go before it. */
#include "ast.h"
#include <stdlib.h>
#include <string.h>

#define WIDTH 110

/* Text under construction, malloc'd. */
typedef struct Text {
  char *s;
  size_t n, cap;
} Text;

typedef struct Formatter {
  Text t;
  const ParseResult *r;
  uint32_t comment;  /* the next one to print */
  uint32_t last_end; /* source offset where what was printed last ended */
  bool fresh;        /* nothing yet in this block or file: no blank line before the first */
  bool flat;         /* everything on one line, comments left alone: to see whether it fits */
} Formatter;

static void put(Text *t, const char *s) {
  size_t n = strlen(s);
  if (t->cap - t->n <= n) {
    t->cap = (t->cap + n) * 2 + 64;
    char *more = realloc(t->s, t->cap);
    if (!more) {
      fprintf(stderr, "routec: out of memory (formatting)\n");
      exit(70);
    }
    t->s = more;
  }
  memcpy(t->s + t->n, s, n + 1);
  t->n += n;
}

static void put_string(Text *t, const char *s) {
  put(t, "\"");
  for (; *s; s++) {
    char one[2] = {*s, 0};
    put(t, *s == '\n' ? "\\n" : *s == '\t' ? "\\t" : *s == '"' ? "\\\"" : *s == '\\' ? "\\\\" : one);
  }
  put(t, "\"");
}

/* --- expressions on one line
 * ---------------------------------------------------------------------------------- */
typedef enum Level {
  L_EXPR,
  L_PIPE,
  L_OR,
  L_AND,
  L_NOT,
  L_CMP,
  L_RANGE,
  L_ADD,
  L_MUL,
  L_UNARY,
  L_POSTFIX
} Level;

static Level binary_level(const char *op) {
  if (strcmp(op, "or") == 0) return L_OR;
  if (strcmp(op, "and") == 0) return L_AND;
  if (strcmp(op, "+") == 0 || strcmp(op, "-") == 0) return L_ADD;
  if (strcmp(op, "*") == 0 || strcmp(op, "/") == 0) return L_MUL;
  return L_CMP;
}

static Level level_of(const Ast *n) {
  switch (n->kind) {
  case AST_IF: return L_EXPR;
  case AST_PIPE: return L_PIPE;
  case AST_BINARY: return binary_level(n->text);
  case AST_RANGE: return L_RANGE;
  case AST_UNARY: return strcmp(n->text, "not") == 0 ? L_NOT : L_UNARY;
  case AST_QUANTITY: return L_UNARY;
  default: return L_POSTFIX;
  }
}

static void put_expr(Text *t, const Ast *n, Level at_least);

static void put_items(Text *t, const Ast *n, uint32_t from, const char *open, const char *close) {
  put(t, open);
  for (uint32_t i = from; i < n->n_kids; i++) {
    if (i > from) put(t, ", ");
    put_expr(t, n->kids[i], L_EXPR);
  }
  put(t, close);
}

static void put_binary(Text *t, const Ast *n) {
  Level l = binary_level(n->text);
  /* Comparisons have ranges on both sides; the others are left-associative. */
  put_expr(t, n->kids[0], l == L_CMP ? L_RANGE : l);
  put(t, " ");
  put(t, n->text);
  put(t, " ");
  put_expr(t, n->kids[1], l + 1);
}

static void put_range(Text *t, const Ast *n) {
  if (n->kids[0]) {
    put_expr(t, n->kids[0], L_ADD);
    put(t, " ");
  }
  put(t, n->text);
  if (n->kids[1]) {
    put(t, " ");
    put_expr(t, n->kids[1], L_ADD);
  }
}

/* The number's own digits are kept, so that reading them again gives the same bits. */
static void put_quantity(Text *t, const Ast *n) {
  char num[40];
  if (n->n_kids) {
    put_expr(t, n->kids[0], L_POSTFIX);
  } else {
    snprintf(num, sizeof num, "%.15g", n->num);
    if (strtod(num, NULL) < n->num || strtod(num, NULL) > n->num) snprintf(num, sizeof num, "%.17g", n->num);
    put(t, num);
  }
  put(t, " ");
  put(t, n->text);
}

static void put_policy(Text *t, const Ast *n) {
  put_expr(t, n->kids[0], L_EXPR);
  if (n->kids[1]) put(t, " when "), put_items(t, n->kids[1], 0, "", "");
  if (n->kids[2]) put(t, " for "), put_items(t, n->kids[2], 0, "", "");
}

static void put_bare(Text *t, const Ast *n) {
  switch (n->kind) {
  case AST_STRING: put_string(t, n->text); break;
  case AST_MEMBER: put_expr(t, n->kids[0], L_POSTFIX), put(t, "."), put(t, n->text); break;
  case AST_CALL: put_expr(t, n->kids[0], L_POSTFIX), put_items(t, n, 1, "(", ")"); break;
  case AST_INDEX: put_expr(t, n->kids[0], L_POSTFIX), put_items(t, n, 1, "[", "]"); break;
  case AST_LIST: put_items(t, n, 0, "[", "]"); break;
  case AST_ARG: put(t, n->text), put(t, " = "), put_expr(t, n->kids[0], L_EXPR); break;
  case AST_LAYER: put(t, n->text), put(t, ": "), put_expr(t, n->kids[0], L_POSTFIX); break;
  case AST_STAR: put(t, "*"); break;
  case AST_POLICY: put_policy(t, n); break;
  case AST_RANGE: put_range(t, n); break;
  case AST_QUANTITY: put_quantity(t, n); break;
  case AST_BINARY: put_binary(t, n); break;
  case AST_UNARY:
    put(t, n->text);
    if (n->text[0] == 'n') put(t, " ");
    put_expr(t, n->kids[0], level_of(n));
    break;
  case AST_IF:
    put(t, "if "), put_expr(t, n->kids[0], L_EXPR);
    put(t, " then "), put_expr(t, n->kids[1], L_EXPR);
    put(t, " else "), put_expr(t, n->kids[2], L_EXPR);
    break;
  case AST_PIPE:
    put_expr(t, n->kids[0], L_OR);
    for (uint32_t i = 1; i < n->n_kids; i++) put(t, " |> "), put_expr(t, n->kids[i], L_POSTFIX);
    break;
  case AST_TYPE:
    put(t, n->text);
    if (n->n_kids) put_items(t, n, 0, "[", "]");
    break;
  default: put(t, n->text ? n->text : ""); break;
  }
}

static void put_expr(Text *t, const Ast *n, Level at_least) {
  bool parens = level_of(n) < at_least;
  if (parens) put(t, "(");
  put_bare(t, n);
  if (parens) put(t, ")");
}

/* --- expressions that may break
 * -------------------------------------------------------------------------------- */
static uint32_t column(const Text *t) {
  size_t i = t->n;
  while (i > 0 && t->s[i - 1] != '\n') i--;
  return (uint32_t)(t->n - i);
}

static void new_line(Formatter *f, uint32_t indent) {
  put(&f->t, "\n");
  for (uint32_t i = 0; i < indent; i++) put(&f->t, " ");
}

static void value(Formatter *f, const Ast *n, Level at_least, uint32_t indent);

static void broken_items(Formatter *f, const Ast *n, uint32_t from, const char *open, const char *close,
                         uint32_t indent) {
  put(&f->t, open);
  for (uint32_t i = from; i < n->n_kids; i++) {
    new_line(f, indent + 2);
    value(f, n->kids[i], L_EXPR, indent + 2);
    if (i + 1 < n->n_kids) put(&f->t, ",");
  }
  new_line(f, indent);
  put(&f->t, close);
}

/* A line may break before |>, `and`, `or`, and anywhere inside ( and [. What can't break stays long. */
static void broken(Formatter *f, const Ast *n, uint32_t indent) {
  Text *t = &f->t;
  Level l = level_of(n);
  switch (n->kind) {
  case AST_PIPE:
    value(f, n->kids[0], L_OR, indent + 2);
    for (uint32_t i = 1; i < n->n_kids; i++) {
      new_line(f, indent + 2);
      put(t, "|> ");
      value(f, n->kids[i], L_POSTFIX, indent + 2);
    }
    break;
  case AST_CALL:
    value(f, n->kids[0], L_POSTFIX, indent);
    if (n->n_kids > 1) broken_items(f, n, 1, "(", ")", indent);
    else put(t, "()");
    break;
  case AST_LIST: broken_items(f, n, 0, "[", "]", indent); break;
  case AST_ARG: put(t, n->text), put(t, " = "), value(f, n->kids[0], L_EXPR, indent); break;
  case AST_LAYER: put(t, n->text), put(t, ": "), value(f, n->kids[0], L_POSTFIX, indent); break;
  case AST_BINARY:
    value(f, n->kids[0], l == L_CMP ? L_RANGE : l, indent);
    if (l == L_AND || l == L_OR) new_line(f, indent + 2);
    else put(t, " ");
    put(t, n->text);
    put(t, " ");
    value(f, n->kids[1], l + 1, indent);
    break;
  default: put_bare(t, n); break;
  }
}

static void value(Formatter *f, const Ast *n, Level at_least, uint32_t indent) {
  size_t before = f->t.n;
  put_expr(&f->t, n, at_least);
  if (f->flat || column(&f->t) <= WIDTH) return;
  f->t.n = before;
  f->t.s[before] = 0;
  bool parens = level_of(n) < at_least;
  if (parens) put(&f->t, "(");
  broken(f, n, indent);
  if (parens) put(&f->t, ")");
}

/* --- comments and blank lines
 * ---------------------------------------------------------------------------------- */
static uint32_t newlines(const Formatter *f, uint32_t from, uint32_t to) {
  uint32_t n = 0;
  for (uint32_t i = from; i < to; i++) n += f->r->source->text[i] == '\n';
  return n;
}

static const Comment *next_comment(const Formatter *f) {
  return f->comment < f->r->n_comments ? &f->r->comments[f->comment] : NULL;
}

static void put_comment(Formatter *f) {
  const Comment *c = next_comment(f);
  char *text = strdup(c->text);
  size_t n = text ? strlen(text) : 0;
  while (n > 0 && (text[n - 1] == ' ' || text[n - 1] == '\t')) text[--n] = 0;
  put(&f->t, text ? text : c->text);
  free(text);
  f->last_end = c->span.end;
  f->comment++;
}

/* Starts a line for what began at `at` in the source; keeps one of the blank lines before it. */
static void start_line(Formatter *f, uint32_t at, uint32_t indent) {
  if (!f->fresh && newlines(f, f->last_end, at) > 1) put(&f->t, "\n");
  if (f->t.n) new_line(f, indent);
  f->fresh = false;
}

static void comments_before(Formatter *f, uint32_t end, uint32_t indent) {
  for (const Comment *c; (c = next_comment(f)) && c->span.start < end;) {
    start_line(f, c->span.start, indent);
    put_comment(f);
  }
}

/* A comment on the line on which `from` lies, if it begins before `limit`. */
static void comment_behind(Formatter *f, uint32_t from, uint32_t limit) {
  const Comment *c = next_comment(f);
  if (!c || c->span.start < from || c->span.start >= limit || newlines(f, from, c->span.start)) return;
  put(&f->t, "  ");
  put_comment(f);
}

/* --- blocks
 * ---------------------------------------------------------------------------------------------------- */
static void statement(Formatter *f, const Ast *n, uint32_t indent);

/* Where the brace of a statement's first block stands, or the statement's end. */
static uint32_t block_start(const Formatter *f, const Ast *n) {
  if (n->kind == AST_BLOCK || n->kind == AST_ARMS) return n->span.start;
  if (n->kind == AST_DATA) {
    uint32_t i = n->name_span.end;
    while (i < n->span.end && f->r->source->text[i] != '{') i++;
    return i;
  }
  if (n->kind == AST_REPLACE) return block_start(f, n->kids[0]);
  for (uint32_t i = 0; i < n->n_kids; i++)
    if (n->kids[i] && (n->kids[i]->kind == AST_BLOCK || n->kids[i]->kind == AST_ARMS))
      return n->kids[i]->span.start;
  return n->span.end;
}

/* The statements of a block or the file, a line each; `end` is where the container ends in the source. */
static void items(Formatter *f, const Ast *n, uint32_t end, uint32_t indent) {
  f->fresh = true;
  for (uint32_t i = 0; i < n->n_kids; i++) {
    const Ast *k = n->kids[i];
    comments_before(f, block_start(f, k), indent);
    start_line(f, k->span.start, indent);
    statement(f, k, indent);
    f->last_end = k->span.end;
    comment_behind(f, k->span.end, i + 1 < n->n_kids ? n->kids[i + 1]->span.start : end);
  }
  comments_before(f, end, indent);
}

static bool fits_on_line(Formatter *f, const Ast *n, uint32_t brace) {
  const Comment *c = next_comment(f);
  if (c && c->span.start < n->span.end) return false;
  if (n->n_kids && newlines(f, brace, n->kids[0]->span.start)) return false;
  return true;
}

static void flat_block(Formatter *f, const Ast *n) {
  bool before = f->flat;
  f->flat = true;
  put(&f->t, "{ ");
  for (uint32_t i = 0; i < n->n_kids; i++) {
    if (i) put(&f->t, "; ");
    statement(f, n->kids[i], 0);
  }
  put(&f->t, " }");
  f->flat = before;
}

static void block(Formatter *f, const Ast *n, uint32_t indent) {
  uint32_t brace = n->kind == AST_DATA ? block_start(f, n) : n->span.start;
  put(&f->t, " ");
  if (f->flat || fits_on_line(f, n, brace)) {
    size_t before = f->t.n;
    if (n->n_kids) flat_block(f, n);
    else put(&f->t, "{}");
    if (f->flat || column(&f->t) <= WIDTH) return;
    f->t.n = before;
    f->t.s[before] = 0;
  }
  put(&f->t, "{");
  f->last_end = brace + 1;
  comment_behind(f, brace, n->n_kids ? n->kids[0]->span.start : n->span.end);
  items(f, n, n->span.end - 1, indent + 2);
  f->fresh = false;
  new_line(f, indent);
  put(&f->t, "}");
}

/* --- statements
 * ------------------------------------------------------------------------------------------------ */
static void word(Formatter *f, const char *before, const char *text) {
  put(&f->t, before);
  if (text) put(&f->t, text);
}

static void annotation(Formatter *f, const Ast *type, const Ast *range) {
  if (type) put(&f->t, ": "), put_expr(&f->t, type, L_EXPR);
  if (range) put(&f->t, " in "), put_expr(&f->t, range, L_RANGE);
}

static void assigned(Formatter *f, const Ast *n, uint32_t indent) {
  put(&f->t, " = ");
  value(f, n, L_EXPR, indent);
}

static void names(Formatter *f, const Ast *n, uint32_t from) {
  for (uint32_t i = from; i < n->n_kids; i++) word(f, i > from ? ", " : "", n->kids[i]->text);
}

static void opt_block(Formatter *f, const Ast *n, uint32_t indent) {
  if (n) block(f, n, indent);
}

static void signature(Formatter *f, const Ast *formals, const Ast *result) {
  put(&f->t, "(");
  for (uint32_t i = 0; i < formals->n_kids; i++) {
    const Ast *x = formals->kids[i];
    word(f, i ? ", " : "", x->text);
    annotation(f, x->kids[0], NULL);
    if (x->kids[1]) put(&f->t, " = "), put_expr(&f->t, x->kids[1], L_EXPR);
  }
  put(&f->t, ")");
  if (result) put(&f->t, " -> "), put_expr(&f->t, result, L_EXPR);
}

static void origins(Formatter *f, const Ast *n) {
  for (uint32_t i = 0; n && i < n->n_kids; i++) put(&f->t, i ? ", " : " for "), put_expr(&f->t, n->kids[i], L_POSTFIX);
}

/* Parentheses around all that is no class, so that `strictly` and `at` stay words of their own. */
static void forbid(Formatter *f, const Ast *n, uint32_t indent) {
  const Ast *c = n->kids[0];
  static const char *const about[] = {"", "at ", "loss of "};
  put(&f->t, n->text ? "forbid strictly " : "forbid "), put(&f->t, about[(int)n->num]);
  value(f, c, level_of(c) == L_NOT ? L_NOT : L_POSTFIX, indent);
  put(&f->t, " to "), put_expr(&f->t, n->kids[1], L_POSTFIX);
  origins(f, n->kids[2]);
}

static void route(Formatter *f, const Ast *n, uint32_t indent) {
  static const char *const primitive[] = {": gradient of ", ": parameters of ", ": value of "};
  word(f, "route ", n->text);
  put(&f->t, primitive[(int)n->num]);
  put_expr(&f->t, n->kids[0], L_POSTFIX);
  origins(f, n->kids[1]);
  if (n->flag) put(&f->t, " ordered");
  block(f, n->kids[2], indent);
  opt_block(f, n->kids[3], indent);
}

static void arm(Formatter *f, const Ast *n, uint32_t indent) {
  put(&f->t, n->text);
  if (n->kids[0]) put(&f->t, " "), value(f, n->kids[0], L_EXPR, indent);
  put(&f->t, " to");
  if (n->kids[1]->kind == AST_BLOCK) block(f, n->kids[1], indent);
  else put(&f->t, " "), value(f, n->kids[1], L_EXPR, indent);
}

/* What stands inside blocks. */
static void body_statement(Formatter *f, const Ast *n, uint32_t indent) {
  switch (n->kind) {
  case AST_SETTING:
    put(&f->t, n->text);
    if (n->kids[0] && n->kids[0]->kind == AST_BLOCK) block(f, n->kids[0], indent);
    else if (n->kids[0]) assigned(f, n->kids[0], indent);
    break;
  case AST_BIND:
    names(f, n, 3), annotation(f, n->kids[1], n->kids[2]), assigned(f, n->kids[0], indent);
    break;
  case AST_REPEAT:
    word(f, "repeat ", n->text);
    word(f, "[", n->kids[0]->text);
    put(&f->t, " in "), put_expr(&f->t, n->kids[1], L_RANGE), put(&f->t, "]");
    if (n->n_kids > 3) put(&f->t, " carry "), names(f, n, 3);
    block(f, n->kids[2], indent);
    break;
  case AST_ARM: arm(f, n, indent); break;
  case AST_SET: word(f, "set ", n->text), assigned(f, n->kids[0], indent); break;
  default: fprintf(stderr, "routec: internal error: cannot format a `%s`\n", ast_kind_name(n->kind)); abort();
  }
}

static void other_statement(Formatter *f, const Ast *n, uint32_t indent) {
  char num[40];
  switch (n->kind) {
  case AST_EDITION: snprintf(num, sizeof num, "%.15g", n->num), word(f, "edition ", num); break;
  case AST_TRAIN:
    put(&f->t, "train");
    if (n->kids[0]) put(&f->t, " "), put_expr(&f->t, n->kids[0], L_UNARY);
    block(f, n->kids[1], indent);
    break;
  case AST_FORBID: forbid(f, n, indent); break;
  case AST_PARAMETER:
    word(f, "parameter ", n->text), annotation(f, n->kids[0], NULL);
    assigned(f, n->kids[1], indent), opt_block(f, n->kids[2], indent);
    break;
  case AST_MONITOR: put(&f->t, "monitor"), block(f, n->kids[0], indent); break;
  case AST_PLUGIN: word(f, "plugin ", n->text), opt_block(f, n->kids[0], indent); break;
  case AST_USE:
  case AST_EXTEND:
    put(&f->t, n->kind == AST_USE ? "use " : "extend ");
    put_string(&f->t, n->text);
    if (n->kind == AST_USE && n->kids[0]) word(f, " as ", n->kids[0]->text);
    break;
  case AST_REPLACE:
    put(&f->t, "replace ");
    if (n->kids[1]) put_expr(&f->t, n->kids[0], L_POSTFIX), assigned(f, n->kids[1], indent);
    else statement(f, n->kids[0], indent);
    break;
  default: body_statement(f, n, indent); break;
  }
}

static void statement(Formatter *f, const Ast *n, uint32_t indent) {
  switch (n->kind) {
  case AST_PARAM:
    word(f, "param ", n->text), annotation(f, n->kids[0], n->kids[1]), assigned(f, n->kids[2], indent);
    break;
  case AST_DATA: word(f, "data ", n->text), block(f, n, indent); break;
  case AST_MODULE:
    word(f, "module ", n->text), signature(f, n->kids[0], n->kids[1]), block(f, n->kids[2], indent);
    break;
  case AST_DEF:
    word(f, "def ", n->text), signature(f, n->kids[0], n->kids[1]), assigned(f, n->kids[2], indent);
    break;
  case AST_MODEL: word(f, "model", NULL), block(f, n->kids[0], indent); break;
  case AST_SPLIT:
    put(&f->t, "split "), put_expr(&f->t, n->kids[0], L_POSTFIX), block(f, n->kids[1], indent);
    break;
  case AST_CLASS: word(f, "class ", n->text), assigned(f, n->kids[0], indent); break;
  case AST_ROUTE: route(f, n, indent); break;
  case AST_LOSS:
  case AST_REGULARIZE:
  case AST_REGION:
    word(f, n->kind == AST_LOSS ? "loss " : n->kind == AST_REGION ? "region " : "regularize ", n->text);
    assigned(f, n->kids[0], indent), opt_block(f, n->kids[1], indent);
    break;
  case AST_OPTIMIZE:
    put(&f->t, "optimize "), value(f, n->kids[0], L_EXPR, indent), opt_block(f, n->kids[1], indent);
    break;
  case AST_GATE:
  case AST_EVALUATE: word(f, n->kind == AST_GATE ? "gate " : "evaluate ", n->text), block(f, n->kids[0], indent); break;
  case AST_SWEEP: word(f, "sweep ", n->text), block(f, n->kids[0], indent); break;
  case AST_EXPECT: put(&f->t, "expect "), value(f, n->kids[0], L_EXPR, indent); break;
  case AST_DROP: put(&f->t, "drop "), put_expr(&f->t, n->kids[0], L_POSTFIX); break;
  default: other_statement(f, n, indent); break;
  }
}

void dsl_format(const ParseResult *r, FILE *out) {
  Formatter f = {.r = r};
  put(&f.t, "");
  items(&f, r->file, r->source->len, 0);
  if (f.t.n) put(&f.t, "\n");
  fwrite(f.t.s, 1, f.t.n, out);
  free(f.t.s);
}
