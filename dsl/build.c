/* SPDX-License-Identifier: Apache-2.0
 * build.c -- makes syntax nodes and bounds the tree's height. */
#include "parse_internal.h"
#include <stdlib.h>
#include <string.h>

void vec_free(AstVec *v) {
  if (!v) return;
  free(v->v);
  free(v);
}

static void vec_push(AstVec *v, Ast *n) {
  if (v->n == v->cap) {
    uint32_t cap = v->cap ? v->cap * 2 : 4;
    Ast **more = realloc(v->v, cap * sizeof *more);
    if (!more) {
      fprintf(stderr, "routec: out of memory (a list of %u nodes)\n", (unsigned)cap);
      exit(70);
    }
    v->v = more;
    v->cap = cap;
  }
  v->v[v->n++] = n;
}

AstVec *vec_add(AstVec *v, Ast *n) {
  if (!v) {
    v = calloc(1, sizeof *v);
    if (!v) {
      fprintf(stderr, "routec: out of memory (a list)\n");
      exit(70);
    }
  }
  if (n) vec_push(v, n);
  return v;
}

void build_decl(Parser *p, Ast *n) {
  if (n && !p->too_deep) vec_push(&p->decls, n);
}

Ast *build_leaf(Parser *p, AstKind k, Span span, const Token *t) {
  return build_node(p, k, span, t, 0, NULL);
}

Ast *build_node(Parser *p, AstKind k, Span span, const Token *t, uint32_t n, Ast *const *kids) {
  uint32_t depth = 0;
  for (uint32_t i = 0; i < n; i++)
    if (kids[i] && kids[i]->depth > depth) depth = kids[i]->depth;
  Ast *node = ARENA_NEW(p->arena, Ast);
  node->span = span;
  node->name_span = t ? t->span : span;
  /* One level is kept for the file. */
  if (depth + 2 > AST_MAX_DEPTH) {
    if (!p->too_deep) report_too_deep(p, (Span){span.file, span.end - (span.end > span.start), span.end});
    p->too_deep = p->stop = true;
    node->kind = AST_NAME;
    node->text = "";
    node->depth = 1;
    return node;
  }
  node->kind = k;
  node->text = t ? t->text : NULL;
  node->depth = depth + 1;
  node->n_kids = n;
  if (n) {
    node->kids = ARENA_NEWS(p->arena, Ast *, n);
    memcpy(node->kids, kids, n * sizeof *kids);
  }
  return node;
}

Ast *build_list(Parser *p, AstKind k, Span span, const Token *t, uint32_t n, Ast *const *kids, AstVec *v) {
  AstVec all = {0};
  for (uint32_t i = 0; i < n; i++) vec_push(&all, kids[i]);
  if (v)
    for (uint32_t i = 0; i < v->n; i++) vec_push(&all, v->v[i]);
  Ast *node = build_node(p, k, span, t, all.n, all.v);
  free(all.v);
  vec_free(v);
  return node;
}
