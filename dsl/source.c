/* SPDX-License-Identifier: Apache-2.0
 * source.c -- reads texts and finds lines in them. */
#include "source.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

Sources *sources_create(Arena *a) {
  Sources *s = ARENA_NEW(a, Sources);
  s->arena = a;
  s->cap = 8;
  s->files = ARENA_NEWS(a, SourceFile *, s->cap);
  s->n = 1;
  return s;
}

static void index_lines(Arena *a, SourceFile *f) {
  uint32_t n = 1;
  for (uint32_t i = 0; i < f->len; i++) n += f->text[i] == '\n';
  f->line_at = ARENA_NEWS(a, uint32_t, n);
  f->n_lines = n;
  uint32_t line = 1;
  for (uint32_t i = 0; i < f->len; i++)
    if (f->text[i] == '\n') f->line_at[line++] = i + 1;
}

uint32_t sources_add_text(Sources *s, const char *path, const char *text, size_t len) {
  if (len > UINT32_MAX - 1) {
    fprintf(stderr, "routec: internal error: a text of %zu bytes\n", len);
    abort();
  }
  if (s->n == s->cap) {
    SourceFile **more = ARENA_NEWS(s->arena, SourceFile *, s->cap * 2);
    memcpy(more, s->files, s->n * sizeof *more);
    s->files = more;
    s->cap *= 2;
  }
  SourceFile *f = ARENA_NEW(s->arena, SourceFile);
  f->path = arena_strdup(s->arena, path);
  f->text = arena_strndup(s->arena, text, len);
  f->len = (uint32_t)len;
  index_lines(s->arena, f);
  s->files[s->n] = f;
  return s->n++;
}

/* Reads all of `in` into malloc'd memory, at most SOURCE_MAX_BYTES; NULL and *why on failure. */
static char *read_all(FILE *in, size_t *len, const char **why) {
  size_t cap = 1u << 14, n = 0;
  char *buf = malloc(cap);
  while (buf) {
    n += fread(buf + n, 1, cap - n, in);
    if (n < cap) break;
    if (cap > SOURCE_MAX_BYTES) {
      *why = "it is larger than 64 MiB";
      free(buf);
      return NULL;
    }
    char *more = realloc(buf, cap * 2);
    if (!more) free(buf);
    buf = more;
    cap *= 2;
  }
  if (!buf) {
    *why = "out of memory";
  } else if (ferror(in)) {
    *why = "the disk or the system failed while reading";
    free(buf);
    return NULL;
  } else if (n > SOURCE_MAX_BYTES) {
    *why = "it is larger than 64 MiB";
    free(buf);
    return NULL;
  }
  *len = n;
  return buf;
}

uint32_t sources_add_file(Sources *s, const char *path, const char **why) {
  struct stat st;
  FILE *in = fopen(path, "rb");
  if (!in) {
    *why = arena_strdup(s->arena, strerror(errno));
    return 0;
  }
  if (fstat(fileno(in), &st) == 0 && S_ISDIR(st.st_mode)) {
    *why = "it is a directory";
    fclose(in);
    return 0;
  }
  size_t len = 0;
  char *text = read_all(in, &len, why);
  fclose(in);
  if (!text) return 0;
  uint32_t id = sources_add_text(s, path, text, len);
  free(text);
  return id;
}

LineCol source_line_col(const SourceFile *f, uint32_t offset) {
  if (offset > f->len) offset = f->len;
  uint32_t lo = 0, hi = f->n_lines; /* line_at[lo] <= offset < line_at[hi] */
  while (hi - lo > 1) {
    uint32_t mid = lo + (hi - lo) / 2;
    if (f->line_at[mid] <= offset) lo = mid;
    else hi = mid;
  }
  return (LineCol){lo + 1, offset - f->line_at[lo] + 1};
}
