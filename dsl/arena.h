/* SPDX-License-Identifier: Apache-2.0
 * arena.h -- memory that dies together.
 * An arena owns all that was allocated from it; nothing in it is freed alone. Blocks are zeroed and
 * 16-byte aligned. Running out of memory is our own failure: a message and exit 70, never NULL. */
#ifndef ROUTEC_ARENA_H
#define ROUTEC_ARENA_H
#include <stdarg.h>
#include <stddef.h>

typedef struct Arena Arena;

Arena *arena_create(void);
void arena_destroy(Arena *a); /* NULL is allowed */
void *arena_alloc(Arena *a, size_t n);
void *arena_array(Arena *a, size_t n, size_t elem); /* overflow-checked n * elem */
char *arena_strdup(Arena *a, const char *s);
char *arena_strndup(Arena *a, const char *s, size_t n);
char *arena_printf(Arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
char *arena_vprintf(Arena *a, const char *fmt, va_list ap);
#define ARENA_NEW(a, T) ((T *)arena_alloc((a), sizeof(T)))
#define ARENA_NEWS(a, T, n) ((T *)arena_array((a), (size_t)(n), sizeof(T)))
#endif
