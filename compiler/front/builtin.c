/* SPDX-License-Identifier: Apache-2.0
 * builtin.c -- the table of functions, and binding arguments to a row of it. */
#include "builtin_impl.h"
#include <string.h>

static const Builtin table[] = {
#define BUILTIN(name, signature, args, fn, aux, doc) {#name, signature, args, fn, aux, doc},
#include "builtin.def"
#undef BUILTIN
};
enum { N_BUILTINS = sizeof table / sizeof *table };

const Builtin *builtin_at(uint32_t i) { return i < N_BUILTINS ? &table[i] : NULL; }

const Builtin *builtin_find(const char *name) {
  for (uint32_t i = 0; i < N_BUILTINS; i++)
    if (!strcmp(table[i].name, name)) return &table[i];
  return NULL;
}

bool builtin_is_layer(const char *name) {
  static const char *const layers[] = {"linear", "conv2d", "layer_norm", "rms_norm", "embedding"};
  for (uint32_t i = 0; i < sizeof layers / sizeof *layers; i++)
    if (!strcmp(layers[i], name)) return true;
  return false;
}

/* One word of a row's argument list. */
typedef struct ArgRow {
  char name[24];
  char kind;
  bool optional;
} ArgRow;

static uint32_t read_rows(const char *args, ArgRow *rows, bool *star, bool *at) {
  uint32_t n = 0;
  *star = *at = false;
  while (*args) {
    size_t len = strcspn(args, " "), colon = strcspn(args, ":");
    if (*args == '*') *star = true;
    else if (*args == '@') *at = true;
    else {
      memcpy(rows[n].name, args, colon);
      rows[n].name[colon] = 0;
      rows[n].kind = args[colon + 1];
      rows[n].optional = args[len - 1] == '?';
      n++;
    }
    args += len;
    while (*args == ' ') args++;
  }
  return n;
}

static void add_more(BuiltinCall *c, const char *name, Val *v) {
  c->more = array_grow(c->e->m->a, c->more, c->n_more, sizeof *c->more);
  c->more_names = array_grow(c->e->m->a, c->more_names, c->n_more, sizeof *c->more_names);
  c->more[c->n_more] = v, c->more_names[c->n_more++] = name;
}

/* Converts what was given for slot i. false after an error. */
static bool convert(BuiltinCall *c, uint32_t i, const ArgRow *row, const Ast *ast, Val *given) {
  Elab *e = c->e;
  Model *m = e->m;
  c->ast[i] = ast;
  if (row->kind == 'a') return true;
  Val *v = given ? given : elab(e, c->s, ast);
  c->v[i] = v;
  if (val_bad(v)) return false;
  const char *what = arena_printf(m->a, "`%s` of `%s`", row->name, c->fn->name);
  switch (row->kind) {
  case 't':
    if (v->kind == VAL_TENSOR || v->kind == VAL_NUM || v->kind == VAL_BOOL) return true;
    err(m, E0302, v->span, what, "a tensor or a number", val_text(e, v));
    return false;
  case 'i': return static_int(e, v, what, -MAX_ELEMENTS, MAX_ELEMENTS, &c->i[i]);
  case 'r': return static_num(e, v, what, -1e300, 1e300, &c->r[i]);
  case 'b':
    if (v->kind != VAL_BOOL) {
      err(m, E0302, v->span, what, "`true` or `false`", val_text(e, v));
      return false;
    }
    use_static(e, v);
    c->i[i] = v->num != 0;
    return true;
  default: return true;
  }
}

static Diag *bad_argument(BuiltinCall *c, const Ast *arg, const ArgRow *rows, uint32_t n) {
  Model *m = c->e->m;
  const char *names[BUILTIN_MAX_ARGS];
  for (uint32_t i = 0; i < n; i++) names[i] = rows[i].name;
  Diag *g = err(m, E0207, arg->name_span.file ? arg->name_span : arg->span, c->fn->name, arg->text);
  diag_suggest(m->diags, g, arg->text, names, n);
  diag_note(m->diags, g, "it is `%s`", c->fn->signature);
  return g;
}

/* Sorts the written arguments into slots; extra ones into `more`. */
static bool bind(BuiltinCall *c, Val *first, const ArgRow *rows, uint32_t n, bool star, bool at) {
  Model *m = c->e->m;
  bool ok = true, filled[BUILTIN_MAX_ARGS] = {false};
  uint32_t pos = 0;
  if (first) filled[0] = true, pos = 1, ok = convert(c, 0, &rows[0], NULL, first);
  for (uint32_t k = 1; c->call->kind == AST_CALL && k < c->call->n_kids; k++) {
    const Ast *arg = c->call->kids[k], *value = ast_is(arg, AST_ARG) ? arg->kids[0] : arg;
    uint32_t slot = n;
    if (ast_is(arg, AST_ARG)) {
      for (slot = 0; slot < n && strcmp(rows[slot].name, arg->text) != 0; slot++) {
      }
      if (slot == n && !at) bad_argument(c, arg, rows, n), ok = false;
      else if (slot == n) add_more(c, arg->text, elab(c->e, c->s, value));
    } else if (pos < n && !(star && rows[pos].optional)) slot = pos++;
    else if (star) add_more(c, NULL, elab(c->e, c->s, value));
    else {
      Diag *g = err(m, E0208, value->span, c->fn->name, "takes no further argument");
      diag_note(m->diags, g, "it is `%s`", c->fn->signature);
      ok = false;
    }
    if (slot >= n) continue;
    if (filled[slot]) {
      err(m, E0209, arg->span, rows[slot].name);
      ok = false;
    } else if (!convert(c, slot, &rows[slot], value, NULL)) ok = false;
    filled[slot] = true;
  }
  for (uint32_t i = 0; i < n; i++) {
    if (filled[i] || rows[i].optional) continue;
    Diag *g = err(m, E0208, c->span, c->fn->name, arena_printf(m->a, "needs a value for `%s`", rows[i].name));
    diag_note(m->diags, g, "it is `%s`", c->fn->signature);
    ok = false;
  }
  for (uint32_t i = 0; i < c->n_more; i++) ok = ok && !val_bad(c->more[i]);
  return ok;
}

Val *builtin_call(Elab *e, Scope *s, const Builtin *b, const Ast *call, Val *first, const char *layer) {
  ArgRow rows[BUILTIN_MAX_ARGS];
  bool star, at;
  uint32_t n = read_rows(b->args, rows, &star, &at);
  BuiltinCall c = {.e = e, .s = s, .call = call, .span = call->span, .layer = layer, .fn = b};
  if (!bind(&c, first, rows, n, star, at)) return val_poison(e, call->span);
  uint32_t before = e->g->n;
  Val *v = b->lower(&c);
  for (uint32_t i = before; i < e->g->n; i++) e->g->v[i].span = call->span;
  if (v->kind == VAL_TENSOR || v->kind == VAL_NUM) v->span = call->span;
  return v;
}
