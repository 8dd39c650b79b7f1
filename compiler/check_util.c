/* SPDX-License-Identifier: Apache-2.0
 * check_util.c -- small helpers of the checker: name tables, reading the tree, wording. */
#include "model.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* ---- name tables: open addressing, keys are kept, not copied ---- */
static struct StrSlot *slot_of(struct StrSlot *slots, uint32_t cap, const char *key) {
  uint32_t i = (uint32_t)XXH64(key, strlen(key), 0) & (cap - 1);
  while (slots[i].key && strcmp(slots[i].key, key) != 0) i = (i + 1) & (cap - 1);
  return &slots[i];
}

void *strmap_get(const StrMap *m, const char *key) {
  if (!m->cap) return NULL;
  return slot_of(m->slots, m->cap, key)->value;
}

void strmap_put(Arena *a, StrMap *m, const char *key, void *value) {
  if (2 * (m->n + 1) > m->cap) {
    uint32_t cap = m->cap ? 2 * m->cap : 16;
    struct StrSlot *slots = ARENA_NEWS(a, struct StrSlot, cap);
    for (uint32_t i = 0; i < m->cap; i++)
      if (m->slots[i].key) *slot_of(slots, cap, m->slots[i].key) = m->slots[i];
    m->slots = slots, m->cap = cap;
  }
  struct StrSlot *s = slot_of(m->slots, m->cap, key);
  if (!s->key) m->n++;
  s->key = key, s->value = value;
}

/* ---- the tree ---- */
bool ast_is(const Ast *n, AstKind k) { return n && n->kind == k; }
const Ast *ast_kid(const Ast *n, uint32_t i) { return n && i < n->n_kids ? n->kids[i] : NULL; }
bool ast_is_name(const Ast *n, const char *text) { return ast_is(n, AST_NAME) && n->text && !strcmp(n->text, text); }

const char *ast_source_text(const Model *m, const Ast *n) {
  const Sources *s = m->sources;
  if (!n || !n->span.file || n->span.file >= s->n) return "";
  const SourceFile *f = s->files[n->span.file];
  uint32_t end = n->span.end > f->len ? f->len : n->span.end;
  if (n->span.start >= end) return "";
  char *text = arena_strndup(m->a, f->text + n->span.start, end - n->span.start), *out = text;
  for (const char *p = text; *p; p++) {
    bool blank = *p == ' ' || *p == '\n' || *p == '\t' || *p == '\r';
    if (blank && out > text && out[-1] == ' ') continue;
    *out++ = blank ? ' ' : *p;
  }
  *out = 0;
  return text;
}

const char *ast_dotted(const Model *m, const Ast *n) {
  if (ast_is(n, AST_NAME)) return n->text;
  if (ast_is(n, AST_MEMBER)) {
    const char *left = ast_dotted(m, n->kids[0]);
    return left ? arena_printf(m->a, "%s.%s", left, n->text) : NULL;
  }
  return NULL;
}

const Ast *block_setting(const Ast *block, const char *key) {
  for (uint32_t i = 0; block && i < block->n_kids; i++)
    if (ast_is(block->kids[i], AST_SETTING) && block->kids[i]->text && !strcmp(block->kids[i]->text, key)) return block->kids[i];
  return NULL;
}

void block_check_keys(Model *m, const Ast *block, const char *where, const char *const *keys, uint32_t n) {
  StrMap seen = {0};
  for (uint32_t i = 0; block && i < block->n_kids; i++) {
    const Ast *k = block->kids[i];
    if (!k) continue;
    if (k->kind != AST_SETTING) {
      err(m, E0206, k->span, ast_source_text(m, k), where);
      continue;
    }
    bool known = false;
    for (uint32_t j = 0; j < n && !known; j++) known = !strcmp(keys[j], k->text);
    const Ast *before = strmap_get(&seen, k->text);
    if (!known) {
      Diag *g = err(m, E0206, k->name_span, k->text, where);
      diag_suggest(m->diags, g, k->text, keys, n);
      char *list = arena_strdup(m->a, "");
      for (uint32_t j = 0; j < n && j < 16; j++) list = arena_printf(m->a, "%s%s`%s`", list, j ? ", " : "", keys[j]);
      if (n) diag_note(m->diags, g, "it knows %s", list);
    } else if (before) {
      Diag *g = err(m, E0209, k->name_span, k->text);
      diag_also(m->diags, g, before->name_span, "first given here");
    }
    strmap_put(m->a, &seen, k->text, (void *)(uintptr_t)k);
  }
}

void decl_push(Model *m, DeclList *l, Decl *d) {
  if (l->n == l->cap) {
    uint32_t cap = l->cap ? 2 * l->cap : 8;
    Decl **v = ARENA_NEWS(m->a, Decl *, cap);
    if (l->n) memcpy(v, l->v, sizeof *v * l->n);
    l->v = v, l->cap = cap;
  }
  d->index = l->n;
  l->v[l->n++] = d;
}

/* ---- wording ---- */
const char *number_text(Arena *a, double x) {
  if (x == floor(x) && fabs(x) < 1e15) return arena_printf(a, "%.0f", x);
  for (int digits = 1; digits < 17; digits++) {
    const char *t = arena_printf(a, "%.*g", digits, x);
    if (strtod(t, NULL) == x) return t;
  }
  return arena_printf(a, "%.17g", x);
}

const char *plural(int64_t n, const char *one, const char *many) { return n == 1 ? one : many; }
