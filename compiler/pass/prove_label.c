/* SPDX-License-Identifier: Apache-2.0
 * prove_label.c -- partitions of an axis into labels. A label's number is that of its first index's appearance, so equal
 * partitions have equal arrays, and interning makes them one pointer. */
#include "prove.h"
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

static int32_t *scratch(LabelStore *s, size_t n) {
  if (n > s->cap_scratch) s->cap_scratch = 2 * n, s->scratch = ARENA_NEWS(s->arena, int32_t, s->cap_scratch);
  return s->scratch;
}

static const Labels *intern(LabelStore *s, const int32_t *of, int64_t n, int32_t n_labels) {
  if (!s->bucket) s->n_buckets = 1024, s->bucket = ARENA_NEWS(s->arena, Labels *, s->n_buckets);
  const bool one = n_labels <= 1;
  uint64_t hash = one ? (uint64_t)n * 0x9E3779B97F4A7C15u : XXH64(of, (size_t)n * sizeof *of, (uint64_t)n);
  Labels **at = &s->bucket[hash % s->n_buckets];
  for (Labels *l = *at; l; l = l->next)
    if (l->hash == hash && l->n == n && l->n_labels == n_labels && (one || !memcmp(l->of, of, (size_t)n * sizeof *of))) return l;
  Labels *l = ARENA_NEW(s->arena, Labels);
  *l = (Labels){.n = n, .n_labels = n_labels, .hash = hash, .next = *at};
  l->rep = ARENA_NEWS(s->arena, int64_t, n_labels);
  if (!one) {
    l->of = ARENA_NEWS(s->arena, int32_t, n);
    memcpy(l->of, of, (size_t)n * sizeof *of);
    for (int64_t i = n; i-- > 0;) l->rep[of[i]] = i;
  }
  return *at = l;
}

const Labels *labels_one(LabelStore *s, int64_t n) { return intern(s, NULL, n, 1); }

const Labels *labels_make(LabelStore *s, const int32_t *raw, int64_t n, int64_t n_raw) {
  int32_t *map = scratch(s, (size_t)(n + n_raw)), *of = map + n_raw, next = 0;
  memset(map, 0xff, (size_t)n_raw * sizeof *map);
  for (int64_t i = 0; i < n; i++) {
    if (map[raw[i]] < 0) map[raw[i]] = next++;
    of[i] = map[raw[i]];
  }
  return intern(s, of, n, next ? next : 1);
}

const Labels *labels_refine(LabelStore *s, const Labels *a, const Labels *b) {
  if (a == b || b->n_labels == 1) return a;
  if (a->n_labels == 1) return b;
  if (a->n != b->n) {
    fprintf(stderr, "internal error: labels of axes of %lld and %lld indices\n", (long long)a->n, (long long)b->n);
    abort();
  }
  if ((int64_t)a->n_labels * b->n_labels > 1 << 20) {
    uint64_t *sig = ARENA_NEWS(s->arena, uint64_t, a->n);
    for (int64_t i = 0; i < a->n; i++) sig[i] = (uint64_t)a->of[i] << 32 | (uint32_t)b->of[i];
    return labels_by_signature(s, sig, a->n);
  }
  int32_t *raw = ARENA_NEWS(s->arena, int32_t, a->n);
  for (int64_t i = 0; i < a->n; i++) raw[i] = a->of[i] * b->n_labels + b->of[i];
  return labels_make(s, raw, a->n, (int64_t)a->n_labels * b->n_labels);
}

const Labels *labels_merge(LabelStore *s, const Labels *a, const int32_t *class_of, int32_t n_classes) {
  if (n_classes == a->n_labels) return a;
  if (n_classes == 1) return labels_one(s, a->n);
  int32_t *raw = ARENA_NEWS(s->arena, int32_t, a->n);
  for (int64_t i = 0; i < a->n; i++) raw[i] = class_of[label_at(a, i)];
  return labels_make(s, raw, a->n, n_classes);
}

typedef struct Signed { uint64_t sig; int64_t index; } Signed;
static int by_signature(const void *a, const void *b) {
  const Signed *x = a, *y = b;
  if (x->sig != y->sig) return x->sig < y->sig ? -1 : 1;
  return x->index < y->index ? -1 : x->index > y->index;
}

const Labels *labels_by_signature(LabelStore *s, const uint64_t *sig, int64_t n) {
  Signed *order = ARENA_NEWS(s->arena, Signed, n);
  int32_t *raw = ARENA_NEWS(s->arena, int32_t, n), next = 0;
  for (int64_t i = 0; i < n; i++) order[i] = (Signed){sig[i], i};
  qsort(order, (size_t)n, sizeof *order, by_signature);
  for (int64_t i = 0; i < n; i++) {
    if (i && order[i].sig != order[i - 1].sig) next++;
    raw[order[i].index] = next;
  }
  return labels_make(s, raw, n, next + 1);
}
