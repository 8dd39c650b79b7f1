/* SPDX-License-Identifier: Apache-2.0
 * lower_expr.c -- expressions: names, members, subscripts, operators, calls, pipes. */
#include "model.h"
#include "fault.h"
#include "builtin.h"
#include "builtin_plugins.h"
#include <math.h>
#include <string.h>

Val *elab_def_call(Elab *e, Scope *s, const Ast *call, Decl *d, Val **args, const Ast **arg_ast,
                   const char **arg_names, uint32_t n_args);

/* ---- names ---- */
typedef struct Names {
  const char **v;
  uint32_t n;
} Names;

static void names_add(Elab *e, Names *l, const char *name) {
  if (!name || l->n > 4000) return;
  *PUSH(e->m->a, l->v, l->n) = name;
}

static void names_map(Elab *e, Names *l, const StrMap *m) {
  for (uint32_t i = 0; i < m->cap; i++) names_add(e, l, m->slots[i].key);
}

static int find_field(Elab *e, const char *name, uint32_t *data) {
  Model *m = e->m;
  int found = 0;
  if (e->data != NO_DATA && strmap_get(&m->datas[e->data].by_name, name)) {
    *data = e->data;
    return 1;
  }
  for (uint32_t i = 0; i < m->data.n; i++)
    if (strmap_get(&m->datas[i].by_name, name)) *data = i, found++;
  return found;
}

static Val *field_by_name(Elab *e, uint32_t data, const char *name, Span use) {
  Data *d = &e->m->datas[data];
  Field *f = strmap_get(&d->by_name, name);
  return data_field(e, data, (uint32_t)(f - d->fields), use);
}

static Val *decl_value(Elab *e, Scope *s, Decl *d, const Ast *a) {
  Model *m = e->m;
  switch (d->kind) {
  case DECL_PARAM: d->used = true; return param_value(e, &m->param[d->index], a->span);
  case DECL_CLASS: return class_value(e, d, a->span);
  case DECL_DATA: {
    Val *v = val_new(e, VAL_DATA, a->span);
    v->data = d->index;
    return v;
  }
  case DECL_USE: {
    Val *v = val_new(e, VAL_NAMESPACE, a->span);
    v->decl = d, d->used = true;
    return v;
  }
  case DECL_MODULE: {
    Val *v = val_new(e, VAL_INST, a->span);
    v->inst = inst_get(e, s, d->name, d, a->span);
    return v;
  }
  case DECL_PARAMETER: /* in the type or initial value of a raw parameter: none of them has a value yet */
    err(m, E0302, a->span, "what stands here", "a number known before the run", "a parameter");
    return val_poison(e, a->span);
  case DECL_GATE: {
    const Ast *value = block_setting(ast_kid(d->ast, 0), "value");
    if (ast_is_name(ast_kid(value, 0), a->text)) return val_poison(e, a->span); /* the name was declared twice */
    Diag *g = err(m, E0367, a->span, a->text);
    if (ast_kid(value, 0)) diag_help(m->diags, g, "its weights are `%s`", ast_source_text(m, value->kids[0]));
    return val_poison(e, a->span);
  }
  case DECL_REGION:
    err(m, E0421, a->span, a->text);
    return val_poison(e, a->span);
  default: break;
  }
  Diag *g = err(m, E0215, a->span, a->text);
  diag_help(m->diags, g, "call it: `%s(...)`", a->text);
  return val_poison(e, a->span);
}

static Val *unknown_name(Elab *e, Scope *s, const Ast *a) {
  Model *m = e->m;
  Names l = {0};
  for (Scope *k = s; k; k = k->up) names_map(e, &l, &k->entries);
  names_map(e, &l, &s->file->names);
  Diag *g = err(m, E0201, a->span, "name", a->text);
  uint32_t data = 0;
  if (s->kind == SCOPE_MODULE || s->kind == SCOPE_ROUND || s->kind == SCOPE_DEF) {
    bool outside = find_field(e, a->text, &data) || strmap_get(&e->model->entries, a->text);
    if (outside)
      diag_note(
          m->diags, g,
          "`%s` exists outside, but a module sees only its arguments and params: pass it as an argument",
          a->text);
  } else
    for (uint32_t i = 0; i < m->data.n; i++) names_map(e, &l, &m->datas[i].by_name);
  const RoutePlugin *plugin;
  if (builtin_find(a->text) || plugin_builtin_op(a->text, &plugin)) diag_help(m->diags, g, "`%s` is a function: call it", a->text);
  diag_suggest(m->diags, g, a->text, l.v, l.n);
  return val_poison(e, a->span);
}

Val *elab_name(Elab *e, Scope *s, const Ast *a) {
  Model *m = e->m;
  for (Scope *k = s; k; k = k->up) {
    Entry *n = scope_find(e, k, a->text);
    if (n) return val_at(e, elab_entry(e, k, n, a->span), a->span);
  }
  bool outer = s->kind == SCOPE_MODEL;
  Decl *d = strmap_get(&s->file->names, a->text);
  bool class_inside = d && d->kind == DECL_CLASS && s->kind != SCOPE_DEF;
  bool of_model = d && (d->kind == DECL_DATA || d->kind == DECL_PARAMETER || class_inside);
  if (d && (outer || !of_model)) return decl_value(e, s, d, a);
  if (outer) {
    uint32_t data = 0;
    int found = find_field(e, a->text, &data);
    if (found == 1) return field_by_name(e, data, a->text, a->span);
    if (found > 1) {
      Diag *g = err(m, E0418, a->span, a->text, "several data blocks have it");
      for (uint32_t i = 0; i < m->data.n; i++)
        if (strmap_get(&m->datas[i].by_name, a->text))
          diag_help(m->diags, g, "write `%s.%s`", m->datas[i].decl->name, a->text);
      return val_poison(e, a->span);
    }
  }
  if (!strcmp(a->text, "true") || !strcmp(a->text, "false")) return val_bool(e, a->span, a->text[0] == 't');
  if (!strcmp(a->text, "pi")) return val_num(e, a->span, 3.14159265358979323846, false);
  return unknown_name(e, s, a);
}

/* ---- members ---- */
static bool mentions(const Ast *n, const char *name) {
  if (!n) return false;
  if (n->kind == AST_NAME && !strcmp(n->text, name)) return true;
  for (uint32_t i = 0; i < n->n_kids; i++)
    if (mentions(n->kids[i], name)) return true;
  return false;
}

static void note_inst_use(Elab *e, Inst *inst, Span span) {
  *PUSH(e->m->a, e->inst_uses, e->n_inst_uses) = (struct PlaceUse){inst, span};
}

/* The inside of an instance's only call; makes bindings of the model that mention it if there was none yet.
 */
static Scope *inst_scope(Elab *e, Inst *inst, Span span) {
  Model *m = e->m;
  const char *name = inst->path;
  for (uint32_t i = 0; !inst->n_calls && i < e->model->n_order; i++) {
    Entry *n = e->model->order[i];
    if (n->kind == ENTRY_BIND && !n->busy && !n->val && mentions(n->bind->kids[0], name))
      elab_entry(e, e->model, n, span);
  }
  if (!inst->n_calls) {
    if (!e->broken) err(m, E0333, span, name);
    return NULL;
  }
  note_inst_use(e, inst, span);
  return inst->calls[0];
}

static Val *unknown_member(Elab *e, const Ast *member, const char *of, const Scope *inside,
                           const char *const *extra, uint32_t n_extra) {
  Names l = {0};
  for (uint32_t i = 0; inside && i < inside->n_order;
       i++) /* an error inside: what is missing may be its fault */
    if (inside->order[i]->val && inside->order[i]->val->kind == VAL_POISON)
      return val_poison(e, member->span);
  for (uint32_t i = 0; i < n_extra; i++) names_add(e, &l, extra[i]);
  for (uint32_t i = 0; inside && i < inside->n_order; i++)
    if (!inside->order[i]->val || inside->order[i]->val->kind != VAL_NUM)
      names_add(e, &l, inside->order[i]->name);
  Span at = member->name_span.file ? member->name_span : member->span;
  Diag *g = err(e->m, E0202, at, of, member->text);
  diag_suggest(e->m->diags, g, member->text, l.v, l.n);
  if (l.n && l.n <= 12) {
    const char *list = "";
    for (uint32_t i = 0; i < l.n; i++) list = arena_printf(e->m->a, "%s%s`%s`", list, i ? ", " : "", l.v[i]);
    diag_note(e->m->diags, g, "it has %s", list);
  }
  return val_poison(e, member->span);
}

static Val *scope_member(Elab *e, Scope *k, const Ast *member, const char *of) {
  Entry *n = scope_find(e, k, member->text);
  if (n) return val_at(e, elab_entry(e, k, n, member->span), member->span);
  return unknown_member(e, member, of, k, NULL, 0);
}

static Val *tensor_member(Elab *e, Val *obj, const Ast *member) {
  Model *m = e->m;
  for (uint32_t i = 0; i < obj->n_items; i++)
    if (!strcmp(obj->names[i], member->text)) return val_at(e, obj->items[i], member->span);
  Split *sp = split_with_part(e, obj->place, member->text);
  if (sp) {
    sp->decl->used = true;
    if (!split_resolve(e, sp, obj)) return val_poison(e, member->span);
    for (uint32_t i = 0; i < sp->n_parts; i++)
      if (!strcmp(sp->parts[i].name, member->text))
        return split_part_value(e, sp, &sp->parts[i], obj, member->span);
  }
  if (obj->scope) {
    Entry *n = scope_find(e, obj->scope, member->text);
    if (n) return val_at(e, elab_entry(e, obj->scope, n, member->span), member->span);
  }
  Split *other = split_of_place(e, obj->place);
  const char *parts[64];
  uint32_t n = 0;
  for (uint32_t i = 0; other && i < other->n_parts && n < 64; i++) parts[n++] = other->parts[i].name;
  if (other) other->decl->used = true;
  for (uint32_t i = 0; i < obj->n_items && n < 64; i++) parts[n++] = obj->names[i];
  const char *of = obj->place ? arena_printf(m->a, "`%s`", obj->place->path) : "this value";
  return unknown_member(e, member, of, obj->scope, parts, n);
}

Val *elab_member_of(Elab *e, Scope *s, Val *obj, const Ast *member) {
  Model *m = e->m;
  switch (obj->kind) {
  case VAL_POISON: return val_poison(e, member->span);
  case VAL_INST: {
    Scope *k = inst_scope(e, obj->inst, member->span);
    return k ? scope_member(e, k, member, arena_printf(m->a, "module `%s`", obj->inst->path))
             : val_poison(e, member->span);
  }
  case VAL_SCOPE: return scope_member(e, obj->scope, member, "this place");
  case VAL_TENSOR: return tensor_member(e, obj, member);
  case VAL_NAMESPACE: {
    Decl *d = strmap_get(&obj->decl->target->names, member->text);
    if (d && d->kind == DECL_PARAM) return decl_value(e, s, d, member);
    if (d && d->kind == DECL_MODULE) {
      Val *v = val_new(e, VAL_INST, member->span);
      v->inst = inst_get(e, s, arena_printf(m->a, "%s.%s", obj->decl->name, d->name), d, member->span);
      return v;
    }
    if (d) return decl_value(e, s, d, member);
    Names l = {0};
    names_map(e, &l, &obj->decl->target->names);
    return unknown_member(e, member, arena_printf(m->a, "`%s`", obj->decl->name), NULL, l.v, l.n);
  }
  case VAL_DATA: return elab_data_member(e, obj->data, member);
  case VAL_SOURCE: return data_source_member(e, obj->data, member, NULL, NULL);
  case VAL_REPEAT: {
    Diag *g = err(m, E0202, member->name_span, "a repeat", member->text);
    diag_help(m->diags, g, "say which round: `[0].%s`", member->text);
    return val_poison(e, member->span);
  }
  default: break;
  }
  err(m, E0202, member->name_span.file ? member->name_span : member->span, val_text(e, obj), member->text);
  return val_poison(e, member->span);
}

/* ---- subscripts ---- */
/* A bound of a slice: from the end when written with a minus. */
static bool slice_bound(Elab *e, Scope *s, const Ast *a, int64_t extent, int64_t *out) {
  bool neg = ast_is(a, AST_UNARY) && !strcmp(a->text, "-");
  if (!static_int(e, elab(e, s, neg ? a->kids[0] : a), "a subscript", 0, MAX_ELEMENTS, out)) return false;
  if (neg) *out = extent - *out;
  if (*out >= 0 && *out <= extent) return true;
  err(e->m, E0309, a->span, ast_source_text(e->m, a), (long long)extent);
  return false;
}

static Val *subscript_list(Elab *e, Scope *s, Val *x, int axis, const Ast *list) {
  int64_t extent = val_shape(e, x)->d[axis];
  if (!list->n_kids) {
    err(e->m, E0315, list->span, "this list");
    return val_poison(e, list->span);
  }
  int64_t *units = ARENA_NEWS(e->m->a, int64_t, list->n_kids + 1);
  for (uint32_t i = 0; i < list->n_kids; i++) {
    if (!slice_bound(e, s, list->kids[i], extent, &units[i])) return val_poison(e, list->span);
    if (units[i] == extent) {
      err(e->m, E0309, list->kids[i]->span, ast_source_text(e->m, list->kids[i]), (long long)extent);
      return val_poison(e, list->span);
    }
  }
  return select_units(e, list->span, x, axis, units, list->n_kids);
}

/* One subscript; an integer drops the axis (*dropped). */
static Val *subscript(Elab *e, Scope *s, Val *x, int axis, const Ast *sub, bool *dropped) {
  int64_t extent = val_shape(e, x)->d[axis], lo = 0, hi = extent;
  if (ast_is(sub, AST_STAR)) return x;
  if (extent == DIM_ROWS) {
    err(e->m, E0307, sub->span, "a subscript", "the datum axis");
    return val_poison(e, sub->span);
  }
  if (ast_is(sub, AST_LIST)) return subscript_list(e, s, x, axis, sub);
  if (ast_is(sub, AST_RANGE)) {
    if (sub->kids[0] && !slice_bound(e, s, sub->kids[0], extent, &lo)) return val_poison(e, sub->span);
    if (ast_kid(sub, 1) && !slice_bound(e, s, sub->kids[1], extent, &hi)) return val_poison(e, sub->span);
    if (!strcmp(sub->text, "..=") && ast_kid(sub, 1)) hi++;
    if (hi > extent || lo >= hi) {
      if (lo >= hi) err(e->m, E0315, sub->span, ast_source_text(e->m, sub));
      else err(e->m, E0309, sub->span, ast_source_text(e->m, sub), (long long)extent);
      return val_poison(e, sub->span);
    }
    Val *v = val_like(e, sub->span, ir_slice(e->g, x->id, axis, lo, 1, hi - lo), x);
    return v;
  }
  if (!slice_bound(e, s, sub, extent, &lo)) return val_poison(e, sub->span);
  if (lo == extent) {
    err(e->m, E0309, sub->span, ast_source_text(e->m, sub), (long long)extent);
    return val_poison(e, sub->span);
  }
  *dropped = true;
  Shape to = *val_shape(e, x);
  ValueId id = ir_slice(e->g, x->id, axis, lo, 1, 1);
  for (int i = axis; i + 1 < to.rank; i++) to.d[i] = to.d[i + 1];
  to.rank--;
  Val *v = val_tensor(e, sub->span, ir_reshape(e->g, id, &to));
  for (int i = 0; i < to.rank; i++) v->axis[i] = x->axis[i < axis ? i : i + 1];
  return v;
}

static Val *index_repeat(Elab *e, Scope *s, Val *obj, const Ast *a) {
  Entry *r = obj->repeat;
  int64_t i = 0;
  if (a->n_kids != 2 || ast_is(a->kids[1], AST_RANGE) || ast_is(a->kids[1], AST_STAR)) {
    err(e->m, E0334, a->span);
    return val_poison(e, a->span);
  }
  if (!static_int(e, elab(e, s, a->kids[1]), "the round of a repeat", 0, 1 << 20, &i))
    return val_poison(e, a->span);
  if (i >= r->n_rounds) {
    err(e->m, E0309, a->kids[1]->span, ast_source_text(e->m, a->kids[1]), (long long)r->n_rounds);
    return val_poison(e, a->span);
  }
  Val *v = val_new(e, VAL_SCOPE, a->span);
  v->scope = r->rounds[i];
  return v;
}

static Val *elab_index(Elab *e, Scope *s, const Ast *a) {
  Model *m = e->m;
  Val *x = elab(e, s, a->kids[0]);
  if (val_bad(x)) return val_poison(e, a->span);
  if (x->kind == VAL_REPEAT) return index_repeat(e, s, x, a);
  if (x->kind != VAL_TENSOR) {
    err(m, E0302, a->kids[0]->span, "a subscript", "a tensor", val_text(e, x));
    return val_poison(e, a->span);
  }
  uint32_t first = e->g->n;
  int axis = val_has_rows(e, x) ? 1 : 0;
  for (uint32_t i = 1; i < a->n_kids; i++) {
    const Ast *sub = a->kids[i];
    bool dropped = false;
    int at = axis;
    if (ast_is(sub, AST_ARG)) {
      Ast name = {.kind = AST_NAME, .text = sub->text, .span = sub->name_span, .name_span = sub->name_span};
      at = find_axis(e, x, &name, "a subscript");
      if (at < 0) return val_poison(e, a->span);
      sub = sub->kids[0];
    } else if (at >= val_shape(e, x)->rank) {
      err(m, E0307, sub->span, "a subscript", val_text(e, x));
      return val_poison(e, a->span);
    }
    x = subscript(e, s, x, at, sub, &dropped);
    if (val_bad(x)) return val_poison(e, a->span);
    if (!ast_is(a->kids[i], AST_ARG) && !dropped) axis++;
  }
  for (uint32_t i = first; i < e->g->n; i++) e->g->v[i].span = a->span;
  return val_at(e, x, a->span);
}

/* ---- operators ---- */
static Val *in_values(Elab *e, const Ast *a, Val *x, Val *const *items, uint32_t n) {
  Val *any = val_bool(e, a->span, false);
  for (uint32_t i = 0; i < n; i++) {
    Val *one = elab_binary(e, a, "==", x, items[i]);
    any = i ? elab_binary(e, a, "or", any, one) : one;
  }
  return any;
}

static Val *elab_in(Elab *e, Scope *s, const Ast *a) {
  Val *x = elab(e, s, a->kids[0]);
  const Ast *set = a->kids[1];
  if (val_bad(x)) return val_poison(e, a->span);
  if (ast_is(set, AST_LIST)) {
    const Val *list = elab(e, s, set);
    return in_values(e, a, x, list->items, list->n_items);
  }
  if (!ast_is(set, AST_RANGE)) {
    const Val *list = set ? elab(e, s, set) : NULL; /* a param that is a list */
    if (list && list->kind == VAL_LIST) return in_values(e, a, x, list->items, list->n_items);
    if (!list || !val_bad(list))
      err(e->m, E0302, set ? set->span : a->span, "`in`", "a range `a .. b` or a list",
          ast_source_text(e->m, set));
    return val_poison(e, a->span);
  }
  bool ints = val_dtype(e, x) == DT_I32; /* ranges of reals are closed */
  Val *both = NULL;
  if (set->kids[0]) both = elab_binary(e, a, ">=", x, elab(e, s, set->kids[0]));
  if (ast_kid(set, 1)) {
    Val *top =
        elab_binary(e, a, (ints && !strcmp(set->text, "..")) != (fault("shift-label") != 0) ? "<" : "<=", x,
                    elab(e, s, set->kids[1]));
    both = both ? elab_binary(e, a, "and", both, top) : top;
  }
  return both ? both : val_bool(e, a->span, true);
}

static Val *negate(Elab *e, Span span, Val *x) {
  ValueId id = as_bool(e, x, "`not`");
  if (!id) return val_poison(e, span);
  if (x->kind == VAL_BOOL && !x->id) {
    Val *v = val_bool(e, span, x->num == 0);
    v->deps = x->deps;
    return v;
  }
  id = ir_un(e->g, OP_NOT, id);
  e->g->v[id].span = span;
  return val_like(e, span, id, x);
}

static Val *elab_is(Elab *e, Scope *s, const Ast *a) {
  Val *x = elab(e, s, a->kids[0]);
  return val_bad(x) ? x : class_is(e, a, x);
}

static Val *elab_unary(Elab *e, Scope *s, const Ast *a) {
  Val *x = elab(e, s, a->kids[0]);
  if (val_bad(x)) return val_poison(e, a->span);
  if (!strcmp(a->text, "not")) return negate(e, a->span, x);
  if (x->kind == VAL_NUM) {
    Val *v = val_num(e, a->span, -x->num, x->is_int);
    v->deps = x->deps;
    if (x->id) v->id = ir_un(e->g, OP_NEG, x->id);
    return v;
  }
  if (x->kind == VAL_TENSOR && val_dtype(e, x) == DT_I32)
    return elab_binary(e, a, "-", val_num(e, a->span, 0, true), x);
  ValueId id = x->kind == VAL_TENSOR && val_dtype(e, x) == DT_F64 ? x->id : as_f32(e, x, "`-`");
  if (!id) return val_poison(e, a->span);
  id = ir_un(e->g, OP_NEG, id);
  e->g->v[id].span = a->span;
  return val_like(e, a->span, id, x);
}

static Val *elab_if(Elab *e, Scope *s, const Ast *a) {
  Val *c = elab(e, s, a->kids[0]);
  if (val_bad(c)) return val_poison(e, a->span);
  if (c->kind == VAL_BOOL) {
    use_static(e, c);
    return elab(e, s, a->kids[c->num != 0 ? 1 : 2]);
  }
  ValueId ic = as_bool(e, c, "the condition of `if`");
  Val *x = elab(e, s, a->kids[1]), *y = elab(e, s, a->kids[2]);
  if (!ic || val_bad(x) || val_bad(y)) return val_poison(e, a->span);
  uint32_t first = e->g->n;
  bool ints = val_dtype(e, x) == DT_I32 && val_dtype(e, y) == DT_I32, bools = val_dtype(e, x) == DT_BOOL;
  const char *what = "`if ... then ... else`";
  ValueId ix = ints ? as_i32(e, x, what) : bools ? as_bool(e, x, what) : as_f32(e, x, what);
  ValueId iy = ints ? as_i32(e, y, what) : bools ? as_bool(e, y, what) : as_f32(e, y, what);
  if (!ix || !iy) return val_poison(e, a->span);
  Val *tx = val_like(e, x->span, ix, x), *ty = val_like(e, y->span, iy, y), *axes = NULL, *all = NULL;
  if (!broadcast_pair(e, a->span, what, tx, ty, &ix, &iy, &axes)) return val_poison(e, a->span);
  Val *branch = val_like(e, a->span, ix, axes);
  if (!broadcast_pair(e, a->span, what, branch, c, &ix, &ic, &all)) return val_poison(e, a->span);
  Val *other = val_like(e, a->span, iy, axes);
  if (!broadcast_to(e, a->span, what, other, val_like(e, a->span, ix, all), &iy))
    return val_poison(e, a->span);
  ValueId id = ir_where(e->g, ic, ix, iy);
  for (uint32_t i = first; i < e->g->n; i++) e->g->v[i].span = a->span;
  return val_like(e, a->span, id, all);
}

/* ---- calls ---- */
static void call_args(Elab *e, Scope *s, const Ast *call, Val *first, Val ***v, const Ast ***ast,
                      const char ***names, uint32_t *n) {
  uint32_t cap = call->n_kids + 1;
  *v = ARENA_NEWS(e->m->a, Val *, cap), *ast = ARENA_NEWS(e->m->a, const Ast *, cap),
  *names = ARENA_NEWS(e->m->a, const char *, cap);
  *n = 0;
  if (first) (*v)[(*n)++] = first;
  if (call->kind != AST_CALL) return;
  for (uint32_t i = 1; i < call->n_kids; i++, ++*n) {
    const Ast *k = call->kids[i];
    (*ast)[*n] = k;
    if (ast_is(k, AST_ARG)) (*names)[*n] = k->text, k = k->kids[0];
    (*v)[*n] = elab(e, s, k);
  }
}

static Val *not_callable(Elab *e, Scope *s, const Ast *callee) {
  Model *m = e->m;
  Names l = {0};
  for (uint32_t i = 0; builtin_at(i); i++) names_add(e, &l, builtin_at(i)->name);
  const RoutePlugin *p;
  for (uint32_t i = 0; (p = plugin_builtin_at(i)); i++)
    for (uint32_t k = 0; p->ops[k]; k++) names_add(e, &l, p->ops[k]->name);
  for (uint32_t i = 0; i < m->plugins.n; i++) names_add(e, &l, m->plugins.v[i]->name);
  for (uint32_t i = 0; i < m->modules.n; i++)
    names_add(e, &l, arena_printf(m->a, "%s%s", m->modules.v[i]->file->ns, m->modules.v[i]->name));
  for (uint32_t i = 0; i < m->defs.n; i++)
    names_add(e, &l, arena_printf(m->a, "%s%s", m->defs.v[i]->file->ns, m->defs.v[i]->name));
  for (uint32_t i = 0; i < s->owner->n_order; i++)
    if (s->owner->order[i]->kind == ENTRY_INST) names_add(e, &l, s->owner->order[i]->name);
  const char *name = ast_dotted(m, callee);
  Diag *g = err(m, E0201, callee->span, "function or module", name ? name : ast_source_text(m, callee));
  if (name) diag_suggest(m->diags, g, name, l.v, l.n);
  return val_poison(e, callee->span);
}

static const Builtin *callee_builtin(Scope *s, const Ast *callee) {
  if (!ast_is(callee, AST_NAME)) return NULL;
  for (Scope *k = s; k; k = k->up) {
    Entry *n = strmap_get(&k->entries, callee->text);
    if (n && n->kind == ENTRY_INST) return NULL;
  }
  Decl *d = strmap_get(&s->file->names, callee->text);
  if (d && (d->kind == DECL_MODULE || d->kind == DECL_DEF)) return NULL;
  return builtin_find(callee->text);
}

/* `linear(a, b, over = ...)` is the schedule; a layer has no `over`. */
static bool is_ramp(const Ast *call, const Ast *callee) {
  if (!ast_is_name(callee, "linear") || call->kind != AST_CALL) return false;
  for (uint32_t i = 1; i < call->n_kids; i++)
    if (ast_is(call->kids[i], AST_ARG) && !strcmp(call->kids[i]->text, "over")) return true;
  return false;
}

/* What a callee names: an instance or a def. */
static Inst *callee_target(Elab *e, Scope *s, const Ast *callee, Decl **def) {
  *def = NULL;
  if (ast_is(callee, AST_NAME)) {
    for (Scope *k = s->owner; k; k = k->up) {
      Entry *n = strmap_get(&k->entries, callee->text);
      if (!n || n->kind != ENTRY_INST || (!n->bind && k != s->owner)) continue;
      if (!n->inst) elab_entry(e, k, n, callee->span);
      return n->inst;
    }
    Decl *d = strmap_get(&s->file->names, callee->text);
    if (d && d->kind == DECL_MODULE) return inst_get(e, s, d->name, d, callee->span);
    if (d && d->kind == DECL_DEF) *def = d;
    return NULL;
  }
  if (!ast_is(callee, AST_MEMBER)) return NULL;
  Val *ns = elab(e, s, callee->kids[0]);
  if (ns->kind != VAL_NAMESPACE) return NULL;
  Decl *d = strmap_get(&ns->decl->target->names, callee->text);
  if (d && d->kind == DECL_MODULE)
    return inst_get(e, s, arena_printf(e->m->a, "%s.%s", ns->decl->name, d->name), d, callee->span);
  if (d && d->kind == DECL_DEF) *def = d;
  return NULL;
}

/* Gives a stage that is neither a layer nor a module its written name: `x |> act: relu` is `act.out`. */
static Val *name_stage(Elab *e, Scope *s, const char *layer, Val *v, Span span) {
  Model *m = e->m;
  if (val_bad(v) || v->kind != VAL_TENSOR) return v;
  Scope *k =
      scope_create(e, SCOPE_LAYER, NULL, s->file, "", arena_printf(m->a, "%s%s.", s->owner->vpath, layer));
  if (!layer_declare(e, s->owner, layer, k, span)) return v;
  v = val_at(e, v, v->span);
  place_add(e, arena_printf(m->a, "%sout", k->vpath), v, span);
  scope_add(e, k, ENTRY_VALUE, "out")->val = v;
  return v;
}

Val *elab_call_with(Elab *e, Scope *s, const Ast *call, const Ast *callee, Val *first, const char *layer) {
  if (first && val_bad(first)) return val_poison(e, call->span);
  PluginUse use;
  PluginFound found = plugin_find(e, s, callee, true, &use);
  const Builtin *b = found != PLUGIN_NONE ? NULL : is_ramp(call, callee) ? builtin_find("ramp") : callee_builtin(s, callee);
  if (found == PLUGIN_NONE && !b) found = plugin_find(e, s, callee, false, &use);
  if (found == PLUGIN_WRONG) return val_poison(e, call->span);
  if (found == PLUGIN_FOUND) {
    Val *v = plugin_call(e, s, &use, call, first);
    return layer ? name_stage(e, s, layer, v, call->span) : v;
  }
  if (b) {
    Val *v = builtin_call(e, s, b, call, first, layer);
    return layer && !builtin_is_layer(b->name) ? name_stage(e, s, layer, v, call->span) : v;
  }
  Decl *def = NULL;
  uint32_t before = e->m->diags->n_errors;
  Inst *inst = callee_target(e, s, callee, &def);
  if (!inst && !def)
    return e->m->diags->n_errors > before ? val_poison(e, call->span) : not_callable(e, s, callee);
  Val **v;
  const Ast **ast;
  const char **names;
  uint32_t n;
  call_args(e, s, call, first, &v, &ast, &names, &n);
  if (inst) return elab_module_call(e, s, call, inst, v, ast, names, n, layer);
  Val *r = elab_def_call(e, s, call, def, v, ast, names, n);
  return layer ? name_stage(e, s, layer, r, call->span) : r;
}

static Val *elab_pipe(Elab *e, Scope *s, const Ast *a) {
  Val *v = elab(e, s, a->kids[0]);
  for (uint32_t i = 1; i < a->n_kids; i++) {
    const Ast *stage = a->kids[i];
    const char *layer = NULL;
    if (ast_is(stage, AST_LAYER)) layer = stage->text, stage = stage->kids[0];
    const Ast *callee = ast_is(stage, AST_CALL) ? stage->kids[0] : stage;
    if (!ast_is(callee, AST_NAME) && !ast_is(callee, AST_MEMBER)) {
      err(e->m, E0302, stage->span, "a stage of a pipe", "a function or a module",
          ast_source_text(e->m, stage));
      return val_poison(e, a->span);
    }
    v = elab_call_with(e, s, stage, callee, v, layer);
  }
  return v;
}

static Val *elab_quantity(Elab *e, Scope *s, const Ast *a) {
  Val *v = val_new(e, VAL_QUANTITY, a->span);
  v->num = a->num, v->text = a->text;
  const Ast *amount = ast_kid(a, 0);
  if (amount && !static_num(e, elab(e, s, amount), "the amount", 0, 1e15, &v->num))
    return val_poison(e, a->span);
  return v;
}

static Val *elab_list(Elab *e, Scope *s, const Ast *a) {
  Val *v = val_new(e, VAL_LIST, a->span);
  v->items = ARENA_NEWS(e->m->a, Val *, a->n_kids + 1);
  for (uint32_t i = 0; i < a->n_kids; i++) v->items[v->n_items++] = elab(e, s, a->kids[i]);
  return v;
}

static Val *elab_kind(Elab *e, Scope *s, const Ast *a) {
  switch (a->kind) {
  case AST_NUMBER: return val_num(e, a->span, a->num, a->flag & 1);
  case AST_NAME: return elab_name(e, s, a);
  case AST_MEMBER: return elab_member_of(e, s, elab(e, s, a->kids[0]), a);
  case AST_INDEX: return elab_index(e, s, a);
  case AST_CALL: return elab_call_with(e, s, a, a->kids[0], NULL, NULL);
  case AST_PIPE: return elab_pipe(e, s, a);
  case AST_UNARY: return elab_unary(e, s, a);
  case AST_IF: return elab_if(e, s, a);
  case AST_QUANTITY: return elab_quantity(e, s, a);
  case AST_LIST: return elab_list(e, s, a);
  case AST_BINARY:
    if (!strcmp(a->text, "in")) return elab_in(e, s, a);
    if (!strcmp(a->text, "is")) return elab_is(e, s, a);
    {
      Val *x = elab(e, s, a->kids[0]); /* one after the other: the order of values is the order of the text */
      return elab_binary(e, a, a->text, x, elab(e, s, a->kids[1]));
    }
  case AST_STRING: {
    Val *v = val_new(e, VAL_STRING, a->span);
    v->text = a->text;
    return v;
  }
  case AST_RANGE: {
    Val *v = val_new(e, VAL_RANGE, a->span);
    v->ast = a;
    return v;
  }
  default: break;
  }
  err(e->m, E0302, a->span, "here", "an expression", ast_kind_name(a->kind));
  return val_poison(e, a->span);
}

Val *elab(Elab *e, Scope *s, const Ast *a) {
  if (!a) return val_poison(e, (Span){0, 0, 0});
  if (e->depth >= MAX_DEPTH || e->g->n > MAX_VALUES || e->n_expressions++ > MAX_EXPRESSIONS) {
    if (!e->m->too_big) err(e->m, E0335, a->span);
    e->m->too_big = true;
    return val_poison(e, a->span);
  }
  e->depth++;
  Val *v = elab_kind(e, s, a);
  e->depth--;
  return v;
}
