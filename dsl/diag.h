/* SPDX-License-Identifier: Apache-2.0
 * diag.h -- diagnostics as data: collected, sorted by place, printed as text or JSON.
 * Every code with its message format and its `explain` page stands in diag.def. */
#ifndef ROUTEC_DIAG_H
#define ROUTEC_DIAG_H
#include "source.h"
#include <stdio.h>

typedef enum DiagLevel { DIAG_ERROR, DIAG_WARNING } DiagLevel;

typedef enum DiagCode {
#define DIAG(code, level, message, explain) code,
#include "diag.def"
#undef DIAG
  DIAG_N_CODES
} DiagCode;

typedef struct DiagLabel { Span span; const char *text; } DiagLabel;

typedef struct Diag {
  DiagCode code;
  DiagLevel level;
  const char *message;
  Span span;
  const char *label;                     /* text beside the carets; may be NULL */
  DiagLabel *labels; uint32_t n_labels;  /* secondary spans */
  const char **notes; uint32_t n_notes;
  const char **helps; uint32_t n_helps;
  Span fix_span; const char *fix_text;   /* a replacement that must parse once applied; fix_text NULL = none */
} Diag;

#define DIAG_MAX_ERRORS 20

typedef struct Diags {
  Arena *arena;
  const Sources *sources;
  Diag **items; uint32_t n, cap;
  uint32_t n_errors, n_warnings; /* counted even when not kept */
} Diags;

Diags *diags_create(Arena *a, const Sources *s);
/* Adds a diagnostic; the arguments fill the code's format in diag.def. Never returns NULL: beyond
 * DIAG_MAX_ERRORS kept errors a scratch Diag is returned so that callers need not care. A second error
 * with the same code at the same span is dropped the same way. */
Diag *diag_add(Diags *d, DiagCode code, Span span, ...);
void diag_label(Diags *d, Diag *g, const char *fmt, ...) __attribute__((format(printf, 3, 4))); /* primary */
void diag_also(Diags *d, Diag *g, Span span, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
void diag_note(Diags *d, Diag *g, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void diag_help(Diags *d, Diag *g, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void diag_fix(Diags *d, Diag *g, Span span, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* Adds "did you mean `x`?" with a fix at g->span when a candidate is near enough (optimal string
 * alignment distance at most about a third of the length). */
void diag_suggest(Diags *d, Diag *g, const char *word, const char *const *candidates, uint32_t n);

void diags_print_text(const Diags *d, FILE *f, bool color);
void diags_print_json(const Diags *d, FILE *f);

/* "E0312" -> code, or -1. */
int diag_code_parse(const char *s);
const char *diag_code_name(DiagCode c);    /* "E0312" */
const char *diag_code_explain(DiagCode c); /* the page's text */
#endif
