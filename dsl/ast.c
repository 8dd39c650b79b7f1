/* SPDX-License-Identifier: Apache-2.0
 * ast.c -- prints and compares syntax trees. Recursion is bounded by AST_MAX_DEPTH. */
#include "ast.h"
#include <string.h>

static const char *const KIND_NAMES[] = {
#define AST(kind, name, doc) name,
#include "ast.def"
#undef AST
};

const char *ast_kind_name(AstKind k) { return KIND_NAMES[k]; }

static void print_text(const char *s, FILE *f) {
  fputc('"', f);
  for (; *s; s++) {
    if (*s == '"' || *s == '\\') fprintf(f, "\\%c", *s);
    else if (*s == '\n') fputs("\\n", f);
    else if (*s == '\t') fputs("\\t", f);
    else if ((unsigned char)*s < 0x20 || *s == 0x7f) fprintf(f, "\\x%02x", (unsigned)*s);
    else fputc(*s, f);
  }
  fputc('"', f);
}

static bool has_num(AstKind k) { return k == AST_NUMBER || k == AST_QUANTITY || k == AST_EDITION; }

static void print_at(const Ast *n, FILE *f, int indent) {
  static const char *const primitive[] = {"gradient", "parameters", "value"};
  fprintf(f, "%*s", indent, "");
  if (!n) {
    fputs("-\n", f);
    return;
  }
  fputs(ast_kind_name(n->kind), f);
  if (n->kind == AST_NUMBER) fprintf(f, n->flag ? " int" : " real");
  else if (n->kind == AST_QUANTITY && n->n_kids) fprintf(f, " %s", n->text);
  else if (n->kind == AST_QUANTITY) fprintf(f, " %.17g %s", n->num, n->text);
  else if (n->text) {
    fputc(' ', f);
    print_text(n->text, f);
  }
  if (has_num(n->kind) && n->kind != AST_QUANTITY) fprintf(f, " %.17g", n->num);
  if (n->kind == AST_FORBID && (int)n->num != FORBID_DATA) fprintf(f, "%s", (int)n->num == FORBID_AT ? " at" : " loss of");
  if (n->kind == AST_ROUTE) fprintf(f, " %s%s", primitive[(int)n->num], n->flag ? " ordered" : "");
  fputc('\n', f);
  for (uint32_t i = 0; i < n->n_kids; i++) print_at(n->kids[i], f, indent + 2);
}

void ast_print(const Ast *n, FILE *f) { print_at(n, f, 0); }

bool ast_equal(const Ast *a, const Ast *b) {
  if (!a || !b) return a == b;
  if (a->kind != b->kind || a->n_kids != b->n_kids || a->flag != b->flag) return false;
  if (a->num < b->num || a->num > b->num) return false;
  if (!a->text != !b->text || (a->text && strcmp(a->text, b->text) != 0)) return false;
  for (uint32_t i = 0; i < a->n_kids; i++)
    if (!ast_equal(a->kids[i], b->kids[i])) return false;
  return true;
}
