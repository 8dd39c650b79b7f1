/* SPDX-License-Identifier: Apache-2.0
 * lower_type.c -- types as written: wording, checking, symbolic dimensions. */
#include "model.h"
#include <string.h>

/* ---- wording ---- */
static const char *dims_text(Elab *e, const Shape *s, const char *const *axes, bool rows) {
  const char *t = "";
  int from = !rows && s->rank && s->d[0] == DIM_ROWS ? 1 : 0;
  for (int i = from; i < s->rank; i++) {
    const char *name = axes && axes[i] && s->d[i] != DIM_ROWS ? arena_printf(e->m->a, "%s = ", axes[i]) : "";
    t = s->d[i] == DIM_ROWS
            ? arena_printf(e->m->a, "%s%srows", t, i > from ? ", " : "")
            : arena_printf(e->m->a, "%s%s%s%lld", t, i > from ? ", " : "", name, (long long)s->d[i]);
  }
  return s->rank > from ? arena_printf(e->m->a, "[%s]", t) : "";
}

const char *shape_dims_text(Elab *e, const Shape *s) {
  const char *t = dims_text(e, s, NULL, true);
  return *t ? t : "[]";
}

const char *shape_text(Elab *e, const Shape *s, Dtype t, const char *const *axes) {
  const char *base = t == DT_I32 || t == DT_U8 ? "int" : t == DT_BOOL ? "bool" : "f32";
  bool rows = s->rank && s->d[0] == DIM_ROWS;
  return arena_printf(e->m->a, "%s%s%s", base, dims_text(e, s, axes, false), rows ? " for each datum" : "");
}

const char *val_text(Elab *e, const Val *v) {
  Arena *a = e->m->a;
  switch (v->kind) {
  case VAL_POISON: return "in error";
  case VAL_TENSOR: {
    const Value *x = &e->g->v[v->id];
    if (x->dtype == DT_F64) return "a schedule (a number that changes with time)";
    if (!x->shape.rank) return x->dtype == DT_BOOL ? "one truth value" : "one number";
    return shape_text(e, &x->shape, x->dtype, v->axis);
  }
  case VAL_NUM: return arena_printf(a, "the %s %s", v->is_int ? "integer" : "number", number_text(a, v->num));
  case VAL_BOOL: return v->num != 0 ? "`true`" : "`false`";
  case VAL_STRING: return "a text";
  case VAL_QUANTITY: return arena_printf(a, "the length %s %s", number_text(a, v->num), v->text);
  case VAL_LIST: return "a list";
  case VAL_RANGE: return "a range";
  case VAL_SCOPE: return "the inside of a module";
  case VAL_REPEAT: return "repeated blocks";
  case VAL_INST: return "a module";
  case VAL_DATA: return "a data block";
  case VAL_PART: return "a part of the data";
  case VAL_SOURCE: return "a data source";
  case VAL_NAMESPACE: return "a used file";
  }
  return "a value";
}

/* ---- checking ---- */
static bool wrong_type(Elab *e, const Ast *type, const Val *v, const char *what, const char *why) {
  Diag *g = err(e->m, E0305, v->span.file ? v->span : type->span, what, ast_source_text(e->m, type),
                val_text(e, v));
  diag_also(e->m->diags, g, type->span, "declared here");
  if (why) diag_note(e->m->diags, g, "%s", why);
  return false;
}

static const char *const bases[] = {"f32", "real", "int", "bool", "u8", "token", "quantity", "text"};
enum { N_BASES = sizeof bases / sizeof *bases };

static bool base_fits(Elab *e, const Ast *type, Val *v, const char *what) {
  const char *b = type->text;
  Dtype t = val_dtype(e, v);
  bool known = false;
  for (uint32_t i = 0; i < N_BASES; i++) known = known || !strcmp(bases[i], b);
  if (!known) {
    Diag *g = err(e->m, E0201, type->name_span, "type", b);
    diag_choices(e->m, g, b, bases, N_BASES);
    return false;
  }
  bool is_int = !strcmp(b, "int") || !strcmp(b, "token") || !strcmp(b, "u8"), is_bool = !strcmp(b, "bool");
  bool is_real = !strcmp(b, "f32") || !strcmp(b, "real");
  if (!strcmp(b, "quantity")) return v->kind == VAL_QUANTITY || wrong_type(e, type, v, what, NULL);
  if (!strcmp(b, "text")) return v->kind == VAL_STRING || wrong_type(e, type, v, what, NULL);
  if (is_int && t == DT_I32) return true;
  if (is_bool && t == DT_BOOL) return true;
  if (is_real && (t == DT_F32 || t == DT_F64 || v->kind == VAL_NUM)) return true;
  return wrong_type(e, type, v, what, NULL);
}

static int symbol_find(const Symbols *s, const char *name) {
  for (uint32_t i = 0; i < s->n; i++)
    if (!strcmp(s->v[i].name, name)) return (int)i;
  return -1;
}

/* A name that stands for any extent. A param with nearly the same name makes it look like a slip. */
static void warn_if_similar(Elab *e, const Ast *dim) {
  Model *m = e->m;
  if (m->walk || strlen(dim->text) < 4 || strmap_get(&m->similar_warned, dim->text)) return;
  for (uint32_t i = 0; i < m->n_param; i++) {
    const char *p = m->param[i].name;
    size_t n = strlen(p), k = strlen(dim->text), same = 0, tail = 0;
    while (same < n && same < k && p[same] == dim->text[same]) same++;
    while (tail < n - same && tail < k - same && p[n - 1 - tail] == dim->text[k - 1 - tail]) tail++;
    size_t longer = n > k ? n : k, rest = longer - same - tail;
    bool swapped = rest == 2 && n == k && p[same] == dim->text[same + 1] && p[same + 1] == dim->text[same];
    if (rest > 1 && !swapped) continue;
    strmap_put(m->a, &m->similar_warned, dim->text, m);
    Diag *g = err(m, W0302, dim->span, dim->text);
    diag_suggest(m->diags, g, dim->text, &p, 1);
    return;
  }
}

static bool name_known(const Scope *s, const char *name) {
  for (const Scope *k = s; k; k = k->up)
    if (strmap_get(&k->entries, name)) return true;
  return s && s->file && strmap_get(&s->file->names, name);
}

/* One dimension against an extent. Returns false after an error. */
static bool check_dim(Elab *e, Scope *s, const Ast *type, const Ast *dim, Val *v, int axis, const char *what,
                      Symbols *symbols) {
  Model *m = e->m;
  int64_t extent = val_shape(e, v)->d[axis], want = 0;
  const char *name = NULL;
  if (ast_is(dim, AST_ARG)) {
    name = dim->text;
    dim = dim->kids[0];
  }
  if (ast_is(dim, AST_NAME) && !name_known(s, dim->text)) {
    int k = symbols ? symbol_find(symbols, dim->text) : -1;
    if (!symbols) {
      err(m, E0201, dim->span, "dimension", dim->text);
      return false;
    }
    if (k < 0) {
      warn_if_similar(e, dim);
      if (symbols->n < 32) {
        symbols->v[symbols->n].name = dim->text, symbols->v[symbols->n].value = extent;
        symbols->v[symbols->n++].from = v->span;
      }
      if (name) v->axis[axis] = name;
      return true;
    }
    want = symbols->v[k].value;
  } else if (!static_int(e, elab(e, s, dim), "a dimension", 1, MAX_ELEMENTS, &want)) return false;
  if (want != extent)
    return wrong_type(e, type, v, what,
                      ast_is(dim, AST_NUMBER)
                          ? NULL
                          : arena_printf(m->a, "`%s` is %lld, the value has %lld", ast_source_text(m, dim),
                                         (long long)want, (long long)extent));
  if (name) v->axis[axis] = name;
  return true;
}

bool check_type(Elab *e, Scope *s, const Ast *type, Val *v, const char *what, Symbols *symbols) {
  if (!type || val_bad(v)) return !val_bad(v);
  if (!base_fits(e, type, v, what)) return false;
  if (v->kind != VAL_TENSOR && v->kind != VAL_NUM && v->kind != VAL_BOOL) return true;
  const Shape *shape = val_shape(e, v);
  int rows = shape->rank && shape->d[0] == DIM_ROWS ? 1 : 0;
  if ((uint32_t)(shape->rank - rows) != type->n_kids)
    return wrong_type(
        e, type, v, what,
        arena_printf(e->m->a, "the type has %u %s, the value %d (the datum axis is not counted)",
                     type->n_kids, plural(type->n_kids, "dimension", "dimensions"), shape->rank - rows));
  for (uint32_t i = 0; i < type->n_kids; i++)
    if (!check_dim(e, s, type, type->kids[i], v, rows + (int)i, what, symbols)) return false;
  return true;
}
