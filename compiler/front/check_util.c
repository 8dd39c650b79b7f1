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
bool ast_is_name(const Ast *n, const char *text) {
  return ast_is(n, AST_NAME) && n->text && !strcmp(n->text, text);
}

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
    if (ast_is(block->kids[i], AST_SETTING) && block->kids[i]->text && !strcmp(block->kids[i]->text, key))
      return block->kids[i];
  return NULL;
}

bool block_check_keys(Model *m, const Ast *block, const char *where, const char *const *keys, uint32_t n) {
  StrMap seen = {0};
  bool ok = true;
  for (uint32_t i = 0; block && i < block->n_kids; i++) {
    const Ast *k = block->kids[i];
    if (!k) continue;
    if (k->kind != AST_SETTING) {
      err(m, E0206, k->span, ast_source_text(m, k), where);
      ok = false;
      continue;
    }
    bool known = false;
    for (uint32_t j = 0; j < n && !known; j++) known = !strcmp(keys[j], k->text);
    const Ast *before = strmap_get(&seen, k->text);
    if (!known) {
      Diag *g = err(m, E0206, k->name_span, k->text, where);
      diag_choices(m, g, k->text, keys, n);
    } else if (before) {
      Diag *g = err(m, E0209, k->name_span, k->text);
      diag_also(m->diags, g, before->name_span, "first given here");
    }
    ok = ok && known && !before;
    strmap_put(m->a, &seen, k->text, (void *)(uintptr_t)k);
  }
  return ok;
}

void *array_grow(Arena *a, void *v, uint32_t n, size_t elem) {
  if (n & (n - 1)) return v;
  void *w = arena_array(a, n ? 2 * (size_t)n : 1, elem);
  if (n) memcpy(w, v, elem * n);
  return w;
}

void decl_push(Model *m, DeclList *l, Decl *d) {
  d->index = l->n;
  *PUSH(m->a, l->v, l->n) = d;
}

/* ---- wording ---- */
void diag_choices(Model *m, Diag *g, const char *word, const char *const *names, uint32_t n) {
  uint32_t before = g->n_helps;
  if (word) diag_suggest(m->diags, g, word, names, n);
  if (g->n_helps > before || !n || n > 24) return;
  const char *list = "";
  for (uint32_t i = 0; i < n; i++)
    list = arena_printf(m->a, "%s%s`%s`", list, !i ? "" : i + 1 == n ? " or " : ", ", names[i]);
  diag_note(m->diags, g, "it can be %s", list);
}

const char *number_text(Arena *a, double x) {
  if (x == floor(x) && fabs(x) < 1e15) return arena_printf(a, "%.0f", x);
  for (int digits = 1; digits < 17; digits++) {
    const char *t = arena_printf(a, "%.*g", digits, x);
    if (strtod(t, NULL) == x) return t;
  }
  return arena_printf(a, "%.17g", x);
}

const char *plural(int64_t n, const char *one, const char *many) { return n == 1 ? one : many; }

bool name_is_word(Model *m, Span at, const char *name, const char *what, const char *const *words, uint32_t n) {
  for (uint32_t i = 0; i < n; i++)
    if (!strcmp(name, words[i])) {
      Diag *g = err(m, E0358, at, what, name);
      diag_help(m->diags, g, "choose another name");
      return true;
    }
  return false;
}
