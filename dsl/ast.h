/* SPDX-License-Identifier: Apache-2.0
 * ast.h -- the syntax tree: exactly what was written, uniform nodes, no meaning yet.
 * ast.def says what each kind's text, num, flag and kids hold. Nodes live in the parse's arena. */
#ifndef ROUTEC_AST_H
#define ROUTEC_AST_H
#include "source.h"
#include "diag.h"

typedef enum AstKind {
#define AST(kind, name, doc) AST_##kind,
#include "ast.def"
#undef AST
  AST_N_KINDS
} AstKind;

typedef struct Ast Ast;
struct Ast {
  AstKind kind;
  uint32_t n_kids;
  Span span;        /* the whole node */
  Span name_span;   /* of `text` where it is a written name; else equal to span */
  const char *text; /* NULL where the kind has none */
  double num;
  uint32_t flag;
  uint32_t depth;   /* height of the tree from here, a leaf has 1; at most AST_MAX_DEPTH */
  Ast **kids;
};

/* What a `forbid` speaks of: content of data; what is learnt at positions; the terms of losses. */
typedef enum ForbidAbout { FORBID_DATA = 0, FORBID_AT = 1, FORBID_LOSS = 2 } ForbidAbout;
typedef enum RoutePrimitive { ROUTE_GRADIENT = 0, ROUTE_PARAMETERS = 1, ROUTE_VALUE = 2 } RoutePrimitive;

/* A comment, kept for the formatter: its text without the newline, and where it stands. */
typedef struct Comment { Span span; const char *text; } Comment;

typedef struct ParseResult {
  Ast *file;              /* AST_FILE; whatever could be recovered; never NULL */
  Comment *comments; uint32_t n_comments;
  const SourceFile *source; /* the text, for the formatter: blank lines and one-line blocks stay */
} ParseResult;

/* Parses file number `file` of `sources`. Errors go to `diags`; recovers at statements and blocks.
 * Nesting deeper than AST_MAX_DEPTH is an error, not a crash. */
ParseResult dsl_parse(Arena *a, const Sources *sources, uint32_t file, Diags *diags);
#define AST_MAX_DEPTH 1000

const char *ast_kind_name(AstKind k);
/* One node a line, indented, with text/num: for --dump=parse and goldens. */
void ast_print(const Ast *n, FILE *f);
/* Same shape, texts and numbers, spans ignored. */
bool ast_equal(const Ast *a, const Ast *b);
/* Canonical source text (two-space indent, comments kept) of a text that parsed without errors:
 * parse(format(x)) == x. What an erroneous statement held is not in the tree and would be lost. */
void dsl_format(const ParseResult *r, FILE *f);
#endif
