/* SPDX-License-Identifier: Apache-2.0
 * diag.c -- collects diagnostics and prints them as JSON; diag_text.c prints them for people. */
#include "diag.h"
#include "diag_internal.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define MAX_WARNINGS 100 /* kept; all are counted */

static const struct CodeRow {
  const char *name;
  DiagLevel level;
  const char *format, *explain;
} CODES[] = {
#define DIAG(code, level, message, explain) {#code, level, message, explain},
#include "diag.def"
#undef DIAG
};

Diags *diags_create(Arena *a, const Sources *s) {
  Diags *d = ARENA_NEW(a, Diags);
  d->arena = a;
  d->sources = s;
  return d;
}

/* Errors only; without a place only equal messages are duplicates. */
static bool is_duplicate(const Diags *d, const Diag *g) {
  for (uint32_t i = 0; i < d->n; i++) {
    const Diag *old = d->items[i];
    if (old->code != g->code || old->span.file != g->span.file) continue;
    if (old->span.start != g->span.start || old->span.end != g->span.end) continue;
    if (strcmp(old->message, g->message) == 0 || (g->level == DIAG_ERROR && g->span.file)) return true;
  }
  return false;
}

Diag *diag_add(Diags *d, DiagCode code, Span span, ...) {
  Diag *g = ARENA_NEW(d->arena, Diag);
  g->code = code;
  g->level = CODES[code].level;
  g->span = span;
  va_list ap;
  va_start(ap, span);
  g->message = arena_vprintf(d->arena, CODES[code].format, ap);
  va_end(ap);
  if (is_duplicate(d, g)) return g;
  uint32_t *count = g->level == DIAG_ERROR ? &d->n_errors : &d->n_warnings;
  if (++*count > (g->level == DIAG_ERROR ? DIAG_MAX_ERRORS : MAX_WARNINGS)) return g;
  if (d->n == d->cap) {
    uint32_t cap = d->cap ? d->cap * 2 : 16;
    Diag **more = ARENA_NEWS(d->arena, Diag *, cap);
    if (d->n) memcpy(more, d->items, d->n * sizeof *more);
    d->items = more;
    d->cap = cap;
  }
  return d->items[d->n++] = g;
}

#define FORMATTED(d, fmt)                                                                                    \
  va_list ap;                                                                                                \
  va_start(ap, fmt);                                                                                         \
  const char *text = arena_vprintf((d)->arena, fmt, ap);                                                     \
  va_end(ap)

/* Lists on a diagnostic are short: each addition copies. */
static const char **grow_texts(Diags *d, const char **old, uint32_t n, const char *text) {
  const char **more = ARENA_NEWS(d->arena, const char *, n + 1);
  if (n) memcpy(more, old, n * sizeof *more);
  more[n] = text;
  return more;
}

void diag_label(Diags *d, Diag *g, const char *fmt, ...) {
  FORMATTED(d, fmt);
  g->label = text;
}

void diag_also(Diags *d, Diag *g, Span span, const char *fmt, ...) {
  FORMATTED(d, fmt);
  DiagLabel *more = ARENA_NEWS(d->arena, DiagLabel, g->n_labels + 1);
  if (g->n_labels) memcpy(more, g->labels, g->n_labels * sizeof *more);
  more[g->n_labels++] = (DiagLabel){span, text};
  g->labels = more;
}

void diag_note(Diags *d, Diag *g, const char *fmt, ...) {
  FORMATTED(d, fmt);
  g->notes = grow_texts(d, g->notes, g->n_notes++, text);
}

void diag_help(Diags *d, Diag *g, const char *fmt, ...) {
  FORMATTED(d, fmt);
  g->helps = grow_texts(d, g->helps, g->n_helps++, text);
}

void diag_fix(Diags *d, Diag *g, Span span, const char *fmt, ...) {
  FORMATTED(d, fmt);
  g->fix_span = span;
  g->fix_text = text;
}

/* --- suggestions
 * ---------------------------------------------------------------------------------------------- */
#define WORD_MAX 64
static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c; }

/* Optimal string alignment: insert, delete, replace, swap neighbours; case counts nothing. */
static uint32_t distance(const char *a, size_t n, const char *b, size_t m) {
  uint32_t row[3][WORD_MAX + 1];
  for (size_t j = 0; j <= m; j++) row[0][j] = (uint32_t)j;
  for (size_t i = 1; i <= n; i++) {
    uint32_t *cur = row[i % 3], *prev = row[(i + 2) % 3], *prev2 = row[(i + 1) % 3];
    cur[0] = (uint32_t)i;
    for (size_t j = 1; j <= m; j++) {
      uint32_t cost = lower(a[i - 1]) != lower(b[j - 1]);
      uint32_t best = prev[j - 1] + cost;
      if (prev[j] + 1 < best) best = prev[j] + 1;
      if (cur[j - 1] + 1 < best) best = cur[j - 1] + 1;
      if (i > 1 && j > 1 && lower(a[i - 1]) == lower(b[j - 2]) && lower(a[i - 2]) == lower(b[j - 1]) &&
          prev2[j - 2] + 1 < best)
        best = prev2[j - 2] + 1;
      cur[j] = best;
    }
  }
  return row[n % 3][m];
}

void diag_suggest(Diags *d, Diag *g, const char *word, const char *const *candidates, uint32_t n) {
  size_t len = strlen(word);
  if (len == 0 || len > WORD_MAX) return;
  const char *best = NULL;
  uint32_t best_at = UINT32_MAX; /* of two equally near ones the one as long as the word wins */
  for (uint32_t i = 0; i < n; i++) {
    size_t m = strlen(candidates[i]);
    if (m == 0 || m > WORD_MAX || strcmp(candidates[i], word) == 0) continue;
    uint32_t at = distance(word, len, candidates[i], m);
    size_t longer = len > m ? len : m;
    uint32_t limit = longer < 3 ? (longer == 2 ? 1 : 0) : (uint32_t)(longer + 1) / 3;
    if (at <= limit && (at < best_at || (at == best_at && m == len && strlen(best) != len))) {
      best = candidates[i];
      best_at = at;
    }
  }
  if (!best) return;
  diag_help(d, g, "did you mean `%s`?", best);
  diag_fix(d, g, g->span, "%s", best);
}

/* --- order and codes
 * ------------------------------------------------------------------------------------------ */
typedef struct Ranked {
  const Diag *g;
  uint32_t order;
} Ranked;
static int compare(const void *x, const void *y) {
  const Ranked *a = x, *b = y;
  if (a->g->span.file != b->g->span.file) return a->g->span.file < b->g->span.file ? -1 : 1;
  if (a->g->span.start != b->g->span.start) return a->g->span.start < b->g->span.start ? -1 : 1;
  return a->order < b->order ? -1 : a->order > b->order;
}

const Diag **diags_sorted(const Diags *d) {
  Ranked *r = ARENA_NEWS(d->arena, Ranked, d->n + 1);
  const Diag **out = ARENA_NEWS(d->arena, const Diag *, d->n + 1);
  for (uint32_t i = 0; i < d->n; i++) r[i] = (Ranked){d->items[i], i};
  qsort(r, d->n, sizeof *r, compare);
  for (uint32_t i = 0; i < d->n; i++) out[i] = r[i].g;
  return out;
}

int diag_code_parse(const char *s) {
  for (int i = 0; i < DIAG_N_CODES; i++)
    if (strcmp(CODES[i].name, s) == 0) return i;
  return -1;
}
const char *diag_code_name(DiagCode c) { return CODES[c].name; }
const char *diag_code_explain(DiagCode c) { return CODES[c].explain; }

/* --- JSON
 * ----------------------------------------------------------------------------------------------------- */
/* Any bytes as a JSON string: what is not UTF-8 becomes `?`. */
static json_t *text_json(const Diags *d, const char *s) {
  json_t *j = json_string(s);
  if (j) return j;
  char *clean = arena_strdup(d->arena, s);
  for (char *c = clean; *c; c++)
    if ((unsigned char)*c >= 0x80) *c = '?';
  return json_string(clean);
}

static const SourceFile *file_of(const Diags *d, Span s) {
  return s.file && d->sources && s.file < d->sources->n ? d->sources->files[s.file] : NULL;
}

static json_t *span_json(const Diags *d, Span s) {
  const SourceFile *f = file_of(d, s);
  if (!f) return json_null();
  LineCol a = source_line_col(f, s.start), b = source_line_col(f, s.end);
  json_t *j = json_object();
  json_object_set_new(j, "file", text_json(d, f->path));
  json_object_set_new(j, "line", json_integer(a.line));
  json_object_set_new(j, "col", json_integer(a.col));
  json_object_set_new(j, "end_line", json_integer(b.line));
  json_object_set_new(j, "end_col", json_integer(b.col));
  json_object_set_new(j, "start", json_integer(s.start));
  json_object_set_new(j, "end", json_integer(s.end));
  return j;
}

static json_t *texts_json(const Diags *d, const char *const *t, uint32_t n) {
  json_t *j = json_array();
  for (uint32_t i = 0; i < n; i++) json_array_append_new(j, text_json(d, t[i]));
  return j;
}

static json_t *diag_json(const Diags *d, const Diag *g) {
  const SourceFile *f = file_of(d, g->span);
  json_t *j = json_object(), *labels = json_array();
  json_object_set_new(j, "code", json_string(diag_code_name(g->code)));
  json_object_set_new(j, "level", json_string(g->level == DIAG_ERROR ? "error" : "warning"));
  json_object_set_new(j, "message", text_json(d, g->message));
  json_object_set_new(j, "file", f ? text_json(d, f->path) : json_null());
  json_object_set_new(j, "span", span_json(d, g->span));
  json_object_set_new(j, "label", g->label ? text_json(d, g->label) : json_null());
  for (uint32_t i = 0; i < g->n_labels; i++) {
    json_t *l = json_object();
    json_object_set_new(l, "span", span_json(d, g->labels[i].span));
    json_object_set_new(l, "text", text_json(d, g->labels[i].text));
    json_array_append_new(labels, l);
  }
  json_object_set_new(j, "labels", labels);
  json_object_set_new(j, "notes", texts_json(d, g->notes, g->n_notes));
  json_object_set_new(j, "helps", texts_json(d, g->helps, g->n_helps));
  json_t *fix = json_null();
  if (g->fix_text) {
    fix = json_object();
    json_object_set_new(fix, "span", span_json(d, g->fix_span));
    json_object_set_new(fix, "text", text_json(d, g->fix_text));
  }
  json_object_set_new(j, "fix", fix);
  return j;
}

void diags_print_json(const Diags *d, FILE *f) {
  const Diag **sorted = diags_sorted(d);
  json_t *all = json_array();
  for (uint32_t i = 0; i < d->n; i++) json_array_append_new(all, diag_json(d, sorted[i]));
  json_dumpf(all, f, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
  fputc('\n', f);
  json_decref(all);
}
