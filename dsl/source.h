/* SPDX-License-Identifier: Apache-2.0
 * source.h -- the texts that were read, and places in them. */
#ifndef ROUTEC_SOURCE_H
#define ROUTEC_SOURCE_H
#include "arena.h"
#include <stdint.h>
#include <stdbool.h>

/* A half-open range of bytes [start, end) of file number `file` (0 = nowhere: {0,0,0}). */
typedef struct Span { uint32_t file, start, end; } Span;

typedef struct SourceFile {
  const char *path;  /* as the user named it */
  const char *text;  /* NUL-terminated, but may hold NULs: use len */
  uint32_t len;
  uint32_t *line_at; /* byte offset of each line's start */
  uint32_t n_lines;
} SourceFile;

typedef struct Sources {
  Arena *arena;
  SourceFile **files; /* files[0] is unused: file numbers start at 1 */
  uint32_t n, cap;
  const char *const *plugin_folders; /* where plugins are looked for that are not beside the file that declares them; ends with NULL */
} Sources;

Sources *sources_create(Arena *a);
/* Adds a text under a display path; returns the file number. Copies both. */
uint32_t sources_add_text(Sources *s, const char *path, const char *text, size_t len);
/* Reads a file of at most SOURCE_MAX_BYTES. Returns 0 and sets *why (static text or arena) on failure. */
uint32_t sources_add_file(Sources *s, const char *path, const char **why);
#define SOURCE_MAX_BYTES (64u << 20)

typedef struct LineCol { uint32_t line, col; } LineCol; /* both from 1; col counts bytes */
LineCol source_line_col(const SourceFile *f, uint32_t offset);
static inline Span span_join(Span a, Span b) {
  if (!a.file) return b;
  if (!b.file || a.file != b.file) return a;
  return (Span){a.file, a.start < b.start ? a.start : b.start, a.end > b.end ? a.end : b.end};
}
#endif
