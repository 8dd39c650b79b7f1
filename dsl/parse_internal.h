/* SPDX-License-Identifier: Apache-2.0
 * parse_internal.h -- what the lexer, the token filter, the grammar and the reporter share.
 * bytes --route.l--> raw tokens --filter.c--> tokens --route.y--> Ast; report.c words the syntax errors. */
#ifndef ROUTEC_PARSE_INTERNAL_H
#define ROUTEC_PARSE_INTERNAL_H
#include "ast.h"

/* What a token carries. `text`: the word, the number's lexeme, the string after escapes, or the operator. */
typedef struct Token {
  int kind; /* a token number of route.tab.h */
  Span span;
  const char *text;
  double num;
  bool is_int;     /* NUMBER written as an integer */
  bool line_first; /* nothing but blanks before it on its line */
  bool is_word;    /* a NAME as the lexer saw it: its kind may now be a keyword's */
  bool synthetic;  /* made by the filter: a closer that was missing */
  uint32_t indent; /* bytes before it on its line; meaningful where line_first */
} Token;

/* A list under construction: malloc'd, freed by the action that consumes it or by %destructor. */
typedef struct AstVec {
  Ast **v;
  uint32_t n, cap;
} AstVec;

typedef struct Level {
  char bracket; /* '{', '(' or '['; 0 for the file */
  Span open;
  uint32_t open_indent; /* of the line that opened it */
  /* The statement in progress at this level (file and '{' only). */
  int stmt_kw;          /* its first token's kind, 0 before there is one */
  uint32_t stmt_indent; /* indent of the line on which it starts */
  uint32_t n_tokens;    /* of the statement so far, at this level */
  bool saw_to, saw_primitive, saw_block;
  int of;    /* '{': the first token's kind of the statement whose first block it is */
  bool arms; /* a route's first block: `when`, `unlabelled`, `otherwise` begin its statements */
} Level;

#define PARSE_RAW 4
#define PARSE_OUT 4

typedef struct Parser {
  Arena *arena;
  const Sources *sources;
  const SourceFile *source;
  uint32_t file;
  Diags *diags;
  void *scanner;

  /* Lexer. */
  uint32_t offset, line_start;
  bool line_first;
  char *str; /* the string literal being read, malloc'd */
  size_t str_n, str_cap;
  uint32_t str_start;
  Comment *comments;
  uint32_t n_comments, cap_comments;
  Span open_string;            /* the last string that was not closed */
  uint32_t bad_start, bad_end; /* the last run of unexpected characters, or malformed number */

  /* Filter: raw tokens read ahead, finished tokens held back, the bracket stack. */
  Token raw[PARSE_RAW];
  uint32_t n_raw;
  Token out[PARSE_OUT];
  uint32_t n_out;
  Level *stack; /* AST_MAX_DEPTH + 1 levels */
  uint32_t depth;
  Token last;                /* the last token made; SEP decisions look at it */
  Token semicolon;           /* the `;` that the next SEP stands for, if it is one */
  Token given;               /* the last token given to the grammar: its lookahead */
  uint32_t line_indent;      /* indent of the line being read */
  bool skip;                 /* an error was reported: drop tokens up to the statement's end */
  uint32_t skip_depth;       /* the level whose statement is dropped */
  Span suspect, suspect_end; /* a `{` whose `}` stands further left: where a missing brace may be */
  bool eof_reported;         /* what the end of the text left open was reported */
  bool stop;                 /* no more tokens: too deep or too many errors */

  /* Grammar. */
  AstVec decls;
  bool too_deep;
} Parser;

/* filter.c */
Token filter_next(Parser *p);
/* Called once after a syntax error at p->given was reported: the grammar's `error` waits for RESYNC. */
void filter_resync(Parser *p);
/* The innermost level that is a block or the file. */
Level *filter_block(Parser *p);
/* The bracket left open before p->given, if p->given starts a line no deeper than its statement; else NULL.
 */
Level *filter_unclosed(Parser *p);
/* Whether p->given and what follows look like the beginning of a statement. */
bool filter_begins_statement(Parser *p);
/* `steps`, `epochs` ... */
bool filter_is_unit(const char *text);

/* report.c: one expected token as the grammar sees it. */
typedef enum ExpectClass {
  EXPECT_WORD, /* shown as it stands */
  EXPECT_NAME,
  EXPECT_VALUE,    /* can only begin an expression */
  EXPECT_OPERATOR, /* can only follow one */
  EXPECT_EITHER,   /* begins or follows: ( [ - .. */
  EXPECT_DECL,     /* a declaration's keyword */
  EXPECT_SEP,
  EXPECT_EOF,
  EXPECT_HIDDEN
} ExpectClass;
typedef struct Expected {
  const char *word; /* "`when`", "a name" */
  ExpectClass cls;
  int kind; /* token number */
} Expected;
void report_syntax_error(Parser *p, const Expected *e, uint32_t n);
void report_too_deep(Parser *p, Span at);

/* build.c: nodes. Taking more than AST_MAX_DEPTH levels reports once and gives a leaf. */
Ast *build_leaf(Parser *p, AstKind k, Span span, const Token *t);
Ast *build_node(Parser *p, AstKind k, Span span, const Token *t, uint32_t n, Ast *const *kids);
/* Takes and frees `v` (NULL = empty); its nodes follow the n given kids. */
Ast *build_list(Parser *p, AstKind k, Span span, const Token *t, uint32_t n, Ast *const *kids, AstVec *v);
/* Adds a declaration to the file, unless it is NULL or cut off for its depth. */
void build_decl(Parser *p, Ast *n);
AstVec *vec_add(AstVec *v, Ast *n); /* v NULL makes one; a NULL node is skipped */
void vec_free(AstVec *v);

/* Generated. */
int route_parse(Parser *p);
#endif
