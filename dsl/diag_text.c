/* SPDX-License-Identifier: Apache-2.0
 * diag_text.c -- diagnostics for people: the lines concerned with carets and labels under them. */
#include "diag_internal.h"
#include <string.h>

#define LINE_SHOWN  200 /* bytes of a line; longer ones are cut around what is marked */
#define LINE_BEFORE 60

/* One marked stretch of one line. */
typedef struct Mark {
  uint32_t line, start, end; /* line from 1; byte offsets in the file */
  bool primary;
  const char *text; /* NULL on the first line of a span over several */
} Mark;

typedef struct Page {
  const Diags *d;
  FILE *f;
  bool color;
  int width; /* digits of the largest line number */
} Page;

#define RED    "\033[1;31m"
#define YELLOW "\033[1;33m"
#define BLUE   "\033[1;34m"
#define BOLD   "\033[1m"
#define OFF    "\033[0m"
static const char *tint(const Page *g, const char *c) { return g->color ? c : ""; }

/* --- characters
 * ----------------------------------------------------------------------------------------------- */
/* Decodes one character of [s, end): its bytes in *n, U+FFFD for what is not UTF-8. */
static uint32_t decode(const unsigned char *s, const unsigned char *end, uint32_t *n) {
  *n = 1;
  if (s[0] < 0x80) return s[0];
  uint32_t len = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
  if (s[0] < 0xc2 || s[0] > 0xf4 || (size_t)(end - s) < len) return 0xfffd;
  uint32_t c = s[0] & (0xffu >> (len + 1));
  for (uint32_t i = 1; i < len; i++) {
    if ((s[i] & 0xc0) != 0x80) return 0xfffd;
    c = c << 6 | (s[i] & 0x3fu);
  }
  *n = len;
  return c;
}

/* Columns of a terminal: combining marks take none, East Asian wide characters and emoji two. */
static uint32_t char_width(uint32_t c) {
  static const uint32_t none[][2] = {{0x300, 0x36f}, {0x200b, 0x200d}, {0x20d0, 0x20ff}, {0xfe00, 0xfe0f}};
  static const uint32_t wide[][2] = {{0x1100, 0x115f}, {0x2e80, 0xa4cf},   {0xac00, 0xd7a3},
                                     {0xf900, 0xfaff}, {0xfe30, 0xfe6f},   {0xff00, 0xff60},
                                     {0xffe0, 0xffe6}, {0x1f300, 0x1faff}, {0x20000, 0x3fffd}};
  for (size_t i = 0; i < sizeof none / sizeof *none; i++)
    if (c >= none[i][0] && c <= none[i][1]) return 0;
  for (size_t i = 0; i < sizeof wide / sizeof *wide; i++)
    if (c >= wide[i][0] && c <= wide[i][1]) return 2;
  return 1;
}

static bool is_control(uint32_t c) {
  return c < 0x20 || (c >= 0x7f && c < 0xa0) || (c >= 0x202a && c <= 0x202e) ||
         (c >= 0x2066 && c <= 0x2069) || c == 0x200e || c == 0x200f;
}

/* Prints [lo, hi) of the file (f NULL: only measures), tabs to multiples of 4; returns the columns taken. */
static uint32_t put_text(const SourceFile *src, uint32_t lo, uint32_t hi, uint32_t col, FILE *f) {
  const unsigned char *s = (const unsigned char *)src->text, *end = s + hi;
  for (uint32_t i = lo, n; i < hi; i += n) {
    uint32_t c = decode(s + i, end, &n);
    if (c == '\t') {
      uint32_t w = 4 - col % 4;
      if (f) fprintf(f, "%*s", (int)w, "");
      col += w;
    } else if (c == 0xfffd || is_control(c)) {
      if (f) fputs("\xef\xbf\xbd", f);
      col++;
    } else {
      if (f) fwrite(s + i, 1, n, f);
      col += char_width(c);
    }
  }
  return col;
}

/* User text inside a message: control characters would confuse a terminal. */
static void put_message(const char *s, FILE *f) {
  for (; *s; s++)
    if ((unsigned char)*s >= 0x20 && *s != 0x7f) fputc(*s, f);
    else if (*s == '\n') fputs("\\n", f);
    else if (*s == '\t') fputs("\\t", f);
    else fprintf(f, "\\x%02x", (unsigned)(unsigned char)*s);
}

/* --- lines
 * ---------------------------------------------------------------------------------------------------- */
static uint32_t line_end(const SourceFile *s, uint32_t line) {
  uint32_t end = line < s->n_lines ? s->line_at[line] - 1 : s->len;
  return end > s->line_at[line - 1] && s->text[end - 1] == '\r' ? end - 1 : end;
}

static uint32_t char_start(const SourceFile *s, uint32_t at, uint32_t from) {
  while (at > from && ((unsigned char)s->text[at] & 0xc0) == 0x80) at--;
  return at;
}

static void put_gutter(const Page *g, uint32_t line) {
  if (line) fprintf(g->f, "%s%*u |%s", tint(g, BLUE), g->width, (unsigned)line, tint(g, OFF));
  else fprintf(g->f, "%s%*s |%s", tint(g, BLUE), g->width, "", tint(g, OFF));
}

static void put_mark(const Page *g, const SourceFile *s, const Mark *m, uint32_t lo, uint32_t hi,
                     const char *color) {
  uint32_t base = lo > s->line_at[m->line - 1] ? 3 : 0;
  uint32_t start = m->start < lo ? lo : m->start > hi ? hi : m->start, end = m->end > hi ? hi : m->end;
  uint32_t a = put_text(s, lo, start, base, NULL), b = end > start ? put_text(s, start, end, a, NULL) : a;
  put_gutter(g, 0);
  fprintf(g->f, " %*s%s", (int)a, "", tint(g, m->primary ? color : BLUE));
  uint32_t n = b > a ? b - a : 1;
  for (uint32_t i = 0; i < n; i++) fputc(m->primary ? '^' : '-', g->f);
  if (m->text && *m->text) {
    fputc(' ', g->f);
    put_message(m->text, g->f);
  }
  fprintf(g->f, "%s\n", tint(g, OFF));
}

/* A line and the marks on it. A long line is cut around the first mark. */
static void put_line(const Page *g, const SourceFile *s, uint32_t line, const Mark *m, uint32_t n,
                     const char *color) {
  uint32_t start = s->line_at[line - 1], end = line_end(s, line), lo = start, hi = end;
  if (end - start > LINE_SHOWN) {
    uint32_t first = start;
    for (uint32_t i = n; i-- > 0;) /* the primary mark comes first in m and wins */
      if (m[i].line == line) first = m[i].start;
    if (first - start > LINE_BEFORE) lo = char_start(s, first - LINE_BEFORE, start);
    if (end - lo > LINE_SHOWN) hi = char_start(s, lo + LINE_SHOWN, lo);
  }
  put_gutter(g, line);
  if (end > start) fprintf(g->f, " %s", lo > start ? "..." : "");
  put_text(s, lo, hi, lo > start ? 3 : 0, g->f);
  fprintf(g->f, "%s\n", hi < end ? "..." : "");
  for (uint32_t i = 0; i < n; i++)
    if (m[i].line == line && m[i].start <= hi && m[i].end >= lo) put_mark(g, s, &m[i], lo, hi, color);
}

static uint32_t add_marks(const SourceFile *s, Span at, bool primary, const char *text, Mark *m) {
  uint32_t start = at.start < s->len ? at.start : s->len, end = at.end < s->len ? at.end : s->len;
  if (end < start) end = start;
  uint32_t a = source_line_col(s, start).line, b = end > start ? source_line_col(s, end - 1).line : a;
  if (a == b) {
    m[0] = (Mark){a, start, end, primary, text};
    return 1;
  }
  uint32_t first = s->line_at[b - 1];
  while (first < end && (s->text[first] == ' ' || s->text[first] == '\t')) first++;
  m[0] = (Mark){a, start, line_end(s, a), primary, NULL};
  m[1] = (Mark){b, first, end, primary, text};
  return 2;
}

/* All marks of one file in line order; between them "..." for more than one line left out. */
static void put_file(const Page *g, const SourceFile *s, Mark *m, uint32_t n, const char *color) {
  put_gutter(g, 0);
  fputc('\n', g->f);
  uint32_t last = 0;
  for (;;) {
    uint32_t line = UINT32_MAX;
    for (uint32_t i = 0; i < n; i++)
      if (m[i].line > last && m[i].line < line) line = m[i].line;
    if (line == UINT32_MAX) return;
    if (last && line == last + 2) put_line(g, s, last + 1, m, 0, color);
    else if (last && line > last + 2) fprintf(g->f, "%s...%s\n", tint(g, BLUE), tint(g, OFF));
    put_line(g, s, line, m, n, color);
    last = line;
  }
}

/* --- one diagnostic
 * ------------------------------------------------------------------------------------------- */
static const SourceFile *file_of(const Diags *d, uint32_t file) {
  return file && d->sources && file < d->sources->n ? d->sources->files[file] : NULL;
}

static void put_places(Page *g, const Diag *diag, const char *color) {
  Mark *m = ARENA_NEWS(g->d->arena, Mark, 2 * (diag->n_labels + 1));
  bool *done = ARENA_NEWS(g->d->arena, bool, diag->n_labels + 1);
  uint32_t file = diag->span.file, largest = 1;
  for (uint32_t i = 0; i <= diag->n_labels; i++) {
    Span at = i ? diag->labels[i - 1].span : diag->span;
    const SourceFile *s = file_of(g->d, at.file);
    uint32_t last = s ? source_line_col(s, at.end > at.start ? at.end - 1 : at.start).line : 1;
    if (last > largest) largest = last;
  }
  for (g->width = 1; largest >= 10; largest /= 10) g->width++;
  for (bool first = true; file; first = false) {
    const SourceFile *s = file_of(g->d, file);
    if (!s) return;
    uint32_t n = 0, at = UINT32_MAX, next = 0;
    if (file == diag->span.file) n += add_marks(s, diag->span, true, diag->label, m), at = diag->span.start;
    for (uint32_t i = 0; i < diag->n_labels; i++) {
      const DiagLabel *l = &diag->labels[i];
      if (l->span.file != file) {
        if (!done[i] && !next) next = l->span.file;
        continue;
      }
      n += add_marks(s, l->span, false, l->text, m + n);
      done[i] = true;
      if (at == UINT32_MAX) at = l->span.start;
    }
    LineCol lc = source_line_col(s, at);
    fprintf(g->f, "%*s%s%s%s %s:%u:%u\n", g->width, "", tint(g, BLUE), first ? "-->" : ":::", tint(g, OFF),
            s->path, (unsigned)lc.line, (unsigned)lc.col);
    put_file(g, s, m, n, color);
    file = next;
  }
}

static void put_remark(const Page *g, const char *what, const char *text) {
  fprintf(g->f, "%*s %s=%s %s: ", g->width, "", tint(g, BLUE), tint(g, OFF), what);
  put_message(text, g->f);
  fputc('\n', g->f);
}

static void put_diag(Page *g, const Diag *diag) {
  bool error = diag->level == DIAG_ERROR;
  const char *color = error ? RED : YELLOW;
  g->width = 1;
  fprintf(g->f, "%s%s[%s]%s%s: ", tint(g, color), error ? "error" : "warning", diag_code_name(diag->code),
          tint(g, OFF), tint(g, BOLD));
  put_message(diag->message, g->f);
  fprintf(g->f, "%s\n", tint(g, OFF));
  put_places(g, diag, color);
  for (uint32_t i = 0; i < diag->n_notes; i++) put_remark(g, "note", diag->notes[i]);
  for (uint32_t i = 0; i < diag->n_helps; i++) put_remark(g, "help", diag->helps[i]);
  fputc('\n', g->f);
}

void diags_print_text(const Diags *d, FILE *f, bool color) {
  Page g = {d, f, color, 1};
  const Diag **sorted = diags_sorted(d);
  uint32_t shown = 0;
  for (uint32_t i = 0; i < d->n; i++) {
    put_diag(&g, sorted[i]);
    shown += sorted[i]->level == DIAG_ERROR;
  }
  if (d->n_errors) fprintf(f, "%u error%s", (unsigned)d->n_errors, d->n_errors == 1 ? "" : "s");
  if (shown < d->n_errors) fprintf(f, " (%u shown)", (unsigned)shown);
  if (d->n_errors && d->n_warnings) fputs(", ", f);
  if (d->n_warnings) fprintf(f, "%u warning%s", (unsigned)d->n_warnings, d->n_warnings == 1 ? "" : "s");
  if (d->n_errors || d->n_warnings) fputc('\n', f);
}
