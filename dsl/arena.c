/* SPDX-License-Identifier: Apache-2.0
 * arena.c -- a bump allocator over a list of chunks. */
#include "arena.h"
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_FIRST (16u << 10)
#define CHUNK_MOST  (1u << 20)
#define ALIGN       16u

typedef struct Chunk Chunk;
struct Chunk {
  Chunk *next;
  size_t used, size; /* of the bytes behind this header */
};
/* The payload starts at an ALIGN boundary behind the header. */
#define HEADER ((sizeof(Chunk) + ALIGN - 1) / ALIGN * ALIGN)

struct Arena {
  Chunk *head;
  size_t next_size;
};

static _Noreturn void out_of_memory(size_t n) {
  fprintf(stderr, "routec: out of memory (%zu bytes wanted)\n", n);
  exit(70);
}

Arena *arena_create(void) {
  Arena *a = calloc(1, sizeof *a);
  if (!a) out_of_memory(sizeof *a);
  a->next_size = CHUNK_FIRST;
  return a;
}

void arena_destroy(Arena *a) {
  if (!a) return;
  for (Chunk *c = a->head, *next; c; c = next) {
    next = c->next;
    free(c);
  }
  free(a);
}

static Chunk *chunk_create(size_t size) {
  if (size > SIZE_MAX - HEADER) out_of_memory(size);
  Chunk *c = calloc(1, HEADER + size);
  if (!c) out_of_memory(size);
  c->size = size;
  return c;
}

void *arena_alloc(Arena *a, size_t n) {
  if (n > SIZE_MAX - ALIGN) out_of_memory(n);
  n = n ? (n + ALIGN - 1) / ALIGN * ALIGN : ALIGN;
  Chunk *c = a->head;
  if (!c || c->size - c->used < n) {
    if (n > a->next_size / 4 && c) {
      /* A large block gets a chunk of its own behind the head, so that the head's free rest stays in use. */
      Chunk *own = chunk_create(n);
      own->used = n;
      own->next = c->next;
      c->next = own;
      return (char *)own + HEADER;
    }
    c = chunk_create(n > a->next_size ? n : a->next_size);
    if (a->next_size < CHUNK_MOST) a->next_size *= 2;
    c->next = a->head;
    a->head = c;
  }
  void *p = (char *)c + HEADER + c->used;
  c->used += n;
  return p;
}

void *arena_array(Arena *a, size_t n, size_t elem) {
  if (elem && n > SIZE_MAX / elem) out_of_memory(SIZE_MAX);
  return arena_alloc(a, n * elem);
}

char *arena_strndup(Arena *a, const char *s, size_t n) {
  if (n == SIZE_MAX) out_of_memory(n);
  char *p = arena_alloc(a, n + 1);
  if (n) memcpy(p, s, n);
  return p;
}

char *arena_strdup(Arena *a, const char *s) { return arena_strndup(a, s, strlen(s)); }

char *arena_vprintf(Arena *a, const char *fmt, va_list ap) {
  va_list again;
  va_copy(again, ap);
  int n = vsnprintf(NULL, 0, fmt, ap);
  if (n < 0) {
    fprintf(stderr, "routec: internal error: format \"%s\"\n", fmt);
    abort();
  }
  char *p = arena_alloc(a, (size_t)n + 1);
  vsnprintf(p, (size_t)n + 1, fmt, again);
  va_end(again);
  return p;
}

char *arena_printf(Arena *a, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  char *p = arena_vprintf(a, fmt, ap);
  va_end(ap);
  return p;
}
