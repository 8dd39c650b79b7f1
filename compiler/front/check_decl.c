/* SPDX-License-Identifier: Apache-2.0
 * check_decl.c -- declarations by name, params with their overrides, and what is never used. */
#include "model.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- collecting ---- */
static Decl *decl_new(Model *m, FileScope *file, DeclKind k, const Ast *ast, const char *name) {
  Decl *d = ARENA_NEW(m->a, Decl);
  d->kind = k, d->ast = ast, d->name = name ? name : "", d->file = file;
  return d;
}

static Span name_span(const Ast *a) { return a->name_span.file ? a->name_span : a->span; }

static bool declare_in(Model *m, StrMap *map, Decl *d) {
  Decl *before = strmap_get(map, d->name);
  if (before) {
    Diag *g = err(m, E0203, name_span(d->ast), d->name);
    diag_also(m->diags, g, name_span(before->ast), "already declared here");
    return false;
  }
  strmap_put(m->a, map, d->name, d);
  return true;
}

static void declare_single(Model *m, const Ast **slot, const Ast *d, const char *what) {
  if (*slot) {
    Diag *g =
        err(m, E0203, (Span){d->span.file, d->span.start, d->span.start + (uint32_t)strlen(what)}, what);
    diag_also(m->diags, g,
              (Span){(*slot)->span.file, (*slot)->span.start, (*slot)->span.start + (uint32_t)strlen(what)},
              "already declared here");
    return;
  }
  *slot = d;
}

static void declare(Model *m, FileScope *file, const Ast *a) {
  static const struct {
    AstKind ast;
    DeclKind kind;
  } kinds[] = {{AST_PARAM, DECL_PARAM},   {AST_DATA, DECL_DATA},   {AST_MODULE, DECL_MODULE},
               {AST_DEF, DECL_DEF},       {AST_CLASS, DECL_CLASS}, {AST_SPLIT, DECL_SPLIT},
               {AST_ROUTE, DECL_ROUTE},   {AST_LOSS, DECL_ORIGIN}, {AST_REGULARIZE, DECL_ORIGIN},
               {AST_EVALUATE, DECL_EVAL}, {AST_SWEEP, DECL_SWEEP}, {AST_EXPECT, DECL_EXPECT},
               {AST_REGION, DECL_REGION}, {AST_FORBID, DECL_FORBID}, {AST_PARAMETER, DECL_PARAMETER},
               {AST_PLUGIN, DECL_PLUGIN}, {AST_GATE, DECL_GATE}};
  if (a->kind == AST_MODEL) declare_single(m, &m->model, a, "model");
  if (a->kind == AST_OPTIMIZE) declare_single(m, &m->optimize, a, "optimize");
  if (a->kind == AST_TRAIN) declare_single(m, &m->train, a, "train");
  if (a->kind == AST_MONITOR) declare_single(m, &m->monitor, a, "monitor");
  for (uint32_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    if (kinds[i].ast != a->kind) continue;
    Decl *d = decl_new(m, file, kinds[i].kind, a, a->text);
    DeclList *lists[] = {[DECL_PARAM] = &m->params, [DECL_DATA] = &m->data,     [DECL_MODULE] = &m->modules,
                         [DECL_DEF] = &m->defs,     [DECL_CLASS] = &m->classes, [DECL_USE] = NULL,
                         [DECL_SPLIT] = &m->splits, [DECL_ROUTE] = &m->routes,  [DECL_ORIGIN] = &m->origins,
                         [DECL_EVAL] = &m->evals,   [DECL_SWEEP] = &m->sweeps,  [DECL_EXPECT] = &m->expects,
                         [DECL_REGION] = &m->regions, [DECL_PARAMETER] = &m->raw_params, [DECL_FORBID] = &m->forbids,
                         [DECL_PLUGIN] = &m->plugins,   [DECL_GATE] = &m->gates};
    StrMap *map = d->kind <= DECL_USE      ? &file->names
                  : d->kind == DECL_ROUTE  ? &m->route_names
                  : d->kind == DECL_ORIGIN ? &m->origin_names
                  : d->kind == DECL_EVAL   ? &m->eval_names
                  : d->kind == DECL_SWEEP  ? &m->sweep_names
                                           : NULL;
    if (d->kind == DECL_SPLIT) d->name = ast_source_text(m, a->kids[0]);
    if (map && !declare_in(m, map, d)) return;
    if (d->kind == DECL_GATE && (!declare_in(m, &m->origin_names, d) || !declare_in(m, &m->route_names, d))) return;
    decl_push(m, lists[d->kind], d);
  }
}

void check_declarations(Model *m, FileScope *file, Ast *const *decls, uint32_t n) {
  for (uint32_t i = 0; i < n; i++) {
    const Ast *a = decls[i];
    bool library = a->kind == AST_PARAM || a->kind == AST_MODULE || a->kind == AST_DEF || a->kind == AST_PLUGIN;
    if (a->kind == AST_EDITION || a->kind == AST_USE) continue;
    if (!file->is_spec && !library) {
      Diag *g = err(m, W0206, name_span(a), ast_kind_name(a->kind), file->path);
      diag_note(m->diags, g, "`use` takes params, modules, functions and plugins; `extend` takes everything");
      continue;
    }
    declare(m, file, a);
  }
}

/* ---- params ---- */
static const char *const type_words[] = {"int", "real", "bool", "text", "quantity", "f32"};
static const char *const type_names[] = {[PT_INT] = "an integer",
                                         [PT_REAL] = "a number",
                                         [PT_BOOL] = "`true` or `false`",
                                         [PT_STRING] = "a text",
                                         [PT_QUANTITY] = "a length such as `10 epochs`",
                                         [PT_LIST] = "a list such as `[0, 3, 6]`"};

static bool declared_type(Model *m, const Ast *type, ParamType *out) {
  static const ParamType types[] = {PT_INT, PT_REAL, PT_BOOL, PT_STRING, PT_QUANTITY, PT_REAL};
  for (uint32_t i = 0; i < sizeof types / sizeof *types; i++)
    if (!strcmp(type_words[i], type->text)) {
      *out = types[i];
      return true;
    }
  Diag *g = err(m, E0201, name_span(type), "type of a param", type->text);
  diag_choices(m, g, type->text, type_words, 6);
  return false;
}

static bool type_of_value(const Val *v, ParamType *out) {
  switch (v->kind) {
  case VAL_NUM: *out = v->is_int ? PT_INT : PT_REAL; return true;
  case VAL_BOOL: *out = PT_BOOL; return true;
  case VAL_STRING: *out = PT_STRING; return true;
  case VAL_QUANTITY: *out = PT_QUANTITY; return true;
  case VAL_LIST: *out = PT_LIST; return true;
  default: return false;
  }
}

bool param_in_range(const Param *p, double x) {
  return !p->has_range || (x >= p->lo && (p->lo_open ? x < p->hi : x <= p->hi));
}

static bool value_fits(ParamType t, const Val *v) {
  ParamType got;
  return type_of_value(v, &got) && (got == t || (t == PT_REAL && got == PT_INT));
}

static void out_of_range(Model *m, const Param *p, Span at, double x, bool set) {
  Diag *g = err(m, E0417, at, p->name, number_text(m->a, x));
  diag_note(m->diags, g, "its range is %s to %s%s", number_text(m->a, p->lo), number_text(m->a, p->hi),
            p->lo_open ? ", without the end" : "");
  if (set) diag_note(m->diags, g, "it was given by `--set %s=%s`", p->name, p->override);
  if (at.file != p->decl->ast->span.file || at.start != p->decl->ast->span.start)
    diag_also(m->diags, g, p->decl->ast->kids[1]->span, "declared here");
}

/* `[0, 3, 6]`: numbers. */
static Val *override_list(Elab *e, Span at, const char *text) {
  Val *list = val_new(e, VAL_LIST, at);
  if (*text++ != '[') return NULL;
  list->items = ARENA_NEWS(e->m->a, Val *, strlen(text) + 1);
  while (*text == ' ') text++;
  for (bool more = *text != ']'; more;) {
    char *end;
    double x = strtod(text, &end);
    if (end == text || !isfinite(x)) return NULL;
    list->items[list->n_items++] = val_num(e, at, x, x == floor(x) && fabs(x) <= 9e15);
    for (text = end; *text == ' ';) text++;
    more = *text == ',';
    if (more) text++;
  }
  if (*text++ != ']') return NULL;
  while (*text == ' ') text++;
  return *text ? NULL : list;
}

/* The text of --set as a value. NULL if it is none of the type. */
static Val *override_value(Elab *e, const Param *p, const char *text) {
  Span at = name_span(p->decl->ast);
  char *end = NULL;
  while (*text == ' ') text++;
  switch (p->type) {
  case PT_INT:
  case PT_REAL: {
    double x = strtod(text, &end);
    if (end == text || *end || !isfinite(x) || (p->type == PT_INT && (x != floor(x) || fabs(x) > 9e15)))
      return NULL;
    return val_num(e, at, x, p->type == PT_INT);
  }
  case PT_BOOL:
    if (!strcmp(text, "true") || !strcmp(text, "false")) return val_bool(e, at, text[0] == 't');
    return NULL;
  case PT_STRING: {
    Val *v = val_new(e, VAL_STRING, at);
    v->text = arena_strdup(e->m->a, text);
    return v;
  }
  case PT_QUANTITY: {
    double x = strtod(text, &end);
    if (end == text || !isfinite(x) || x < 0) return NULL;
    while (*end == ' ') end++;
    if (!*end) return NULL;
    Val *v = val_new(e, VAL_QUANTITY, at);
    v->num = x, v->text = arena_strdup(e->m->a, end);
    return v;
  }
  case PT_LIST: return override_list(e, at, text);
  }
  return NULL;
}

static bool param_range(Elab *e, Param *p) {
  const Ast *r = ast_kid(p->decl->ast, 1);
  if (!r) return true;
  if (p->type != PT_INT && p->type != PT_REAL) {
    err(e->m, E0302, r->span, "a range", "a param that is a number", type_names[p->type]);
    return false;
  }
  Scope *s = scope_create(e, SCOPE_EMPTY, NULL, p->decl->file, "", "");
  p->lo = -INFINITY, p->hi = INFINITY;
  p->has_range = true;
  p->lo_open = p->type == PT_INT && !strcmp(r->text, "..") && ast_kid(r, 1);
  if (ast_kid(r, 0) && !static_num(e, elab(e, s, r->kids[0]), "the lower end", -1e300, 1e300, &p->lo))
    return false;
  if (ast_kid(r, 1) && !static_num(e, elab(e, s, r->kids[1]), "the upper end", -1e300, 1e300, &p->hi))
    return false;
  if (p->lo <= p->hi && !(p->lo_open && p->lo == p->hi)) return true;
  err(e->m, E0315, r->span, ast_source_text(e->m, r));
  return false;
}

/* Finds type and value. Defaults that depend on other params make those structural: a run-time change of them
 * could not reach this one. */
static void param_resolve(Elab *e, Param *p) {
  Model *m = e->m;
  const Ast *a = p->decl->ast, *type = ast_kid(a, 0);
  Span poison = name_span(a);
  if (p->decl->busy) {
    err(m, E0204, poison, p->name);
    p->value = val_poison(e, poison);
    return;
  }
  p->decl->busy = true;
  Scope *s = scope_create(e, SCOPE_EMPTY, NULL, p->decl->file, "", "");
  Val *v = elab(e, s, ast_kid(a, 2));
  p->decl->busy = false;
  use_static(e, v);
  p->value = val_poison(e, poison);
  if (val_bad(v)) return;
  if (!type_of_value(v, &p->type) || v->kind == VAL_TENSOR) {
    err(m, E0302, v->span, "a param", "a number, a truth value, a text, a length or a list", val_text(e, v));
    return;
  }
  if (type && !declared_type(m, type, &p->type)) return;
  if (!value_fits(p->type, v)) {
    Diag *g = err(m, E0305, v->span, arena_printf(m->a, "the default of `%s`", p->name), type->text,
                  val_text(e, v));
    diag_also(m->diags, g, type->span, "declared here");
    return;
  }
  if (!param_range(e, p)) return;
  if (v->kind == VAL_NUM && !param_in_range(p, v->num)) {
    out_of_range(m, p, v->span, v->num, false);
    return;
  }
  v = val_at(e, v, v->span);
  v->id = 0, v->deps = 0;
  if (p->type == PT_REAL) v->is_int = false;
  if (p->override) {
    Val *o = override_value(e, p, p->override);
    if (!o) {
      Diag *g = err(m, E0210, poison, p->name, p->override, type_names[p->type]);
      diag_label(m->diags, g, "declared here");
      return;
    }
    if (o->kind == VAL_NUM && !param_in_range(p, o->num)) {
      out_of_range(m, p, poison, o->num, true);
      return;
    }
    v = o;
  }
  p->value = v;
}

static uint32_t scalar_of(Elab *e, Param *p) {
  Model *m = e->m;
  Program *prog = m->p;
  if (p->scalar) return p->scalar - 1;
  double hi = p->has_range ? p->hi : INFINITY;
  if (p->has_range && p->lo_open) hi -= 1;
  *PUSH(m->a, prog->scalars, prog->n_scalars) = (ProgScalar){
      p->name, p->value->num, p->has_range ? p->lo : -INFINITY, hi, p->type == PT_INT, p->decl->ast->span};
  p->scalar = prog->n_scalars;
  return p->scalar - 1;
}

Val *param_value(Elab *e, Param *p, Span use) {
  if (!p->value) param_resolve(e, p);
  Val *v = val_at(e, p->value, use);
  uint32_t index = p->decl->index;
  if (v->kind != VAL_NUM || index >= 64) return v;
  v->deps = (uint64_t)1 << index;
  if (e->m->structural >> index & 1) return v;
  v->id = ir_make(e->g, OP_SCALAR, use, NULL, 0, (int64_t[]){scalar_of(e, p)}, 1, 0, NULL, DT_NONE);
  e->g->v[v->id].name = p->name;
  return v;
}

/* `--set` finds its params; `seed` is always one. */
static void bind_overrides(Model *m) {
  const char **names = ARENA_NEWS(m->a, const char *, m->n_param + 1);
  for (uint32_t i = 0; i < m->n_param; i++) names[i] = m->param[i].name;
  names[m->n_param] = "seed";
  for (uint32_t i = 0; i < m->n_sets; i++) {
    const Override *o = &m->sets[i];
    Param *p = strmap_get(&m->param_names, o->name);
    if (p) p->override = o->value;
    if (!strcmp(o->name, "seed")) {
      char *end;
      errno = 0;
      unsigned long long x = strtoull(o->value, &end, 10);
      if (end == o->value || *end || errno || !(o->value[0] >= '0' && o->value[0] <= '9'))
        err(m, E0210, (Span){0, 0, 0}, "seed", o->value, "an integer from 0");
      else m->seed = x, m->seed_set = true;
    } else if (!p) {
      Diag *g = err(m, E0205, (Span){0, 0, 0}, o->name);
      diag_suggest(m->diags, g, o->name, names, m->n_param + 1);
    }
  }
}

void check_params(Model *m) {
  m->n_param = m->params.n;
  m->param = ARENA_NEWS(m->a, Param, m->n_param + 1);
  for (uint32_t i = 0; i < m->n_param; i++) {
    Param *p = &m->param[i];
    p->decl = m->params.v[i];
    p->name = arena_printf(m->a, "%s%s", p->decl->file->ns, p->decl->name);
    strmap_put(m->a, &m->param_names, p->name, p);
  }
  bind_overrides(m);
  Elab *e = elab_create(m, "params", false, NO_DATA);
  for (uint32_t i = 0; i < m->n_param; i++) {
    Param *p = &m->param[i];
    if (!p->value) param_resolve(e, p);
    if (i >= 64 || (p->value->kind != VAL_NUM && p->value->kind != VAL_POISON))
      m->structural |= i < 64 ? (uint64_t)1 << i : 0;
    if (strcmp(p->name, "seed") != 0 || m->seed_set || p->value->kind != VAL_NUM) continue;
    if (!p->value->is_int || p->value->num < 0)
      err(m, E0302, p->value->span, "`seed`", "an integer from 0", val_text(e, p->value));
    else m->seed = (uint64_t)p->value->num;
  }
}

/* ---- what is never used ---- */
static void unused(Model *m, const DeclList *l, DiagCode code, const char *skip) {
  for (uint32_t i = 0; i < l->n; i++) {
    Decl *d = l->v[i];
    if (d->used || !d->file->is_spec || (skip && !strcmp(d->name, skip))) continue;
    if (d->ast->span.file != m->spec_file)
      continue; /* of an extended file: what its variants drop is not its fault */
    err(m, code, d->kind == DECL_SPLIT ? d->ast->kids[0]->span : name_span(d->ast), d->name);
  }
}

void check_unused(Model *m) {
  unused(m, &m->params, W0201, "seed");
  unused(m, &m->modules, W0202, NULL);
  unused(m, &m->classes, W0203, NULL);
  unused(m, &m->splits, W0204, NULL);
  unused(m, &m->defs, W0207, NULL);
  unused(m, &m->uses, W0208, NULL);
  unused(m, &m->plugins, W0209, NULL);
  for (uint32_t i = 0; i < m->raw_params.n; i++) {
    const Decl *d = m->raw_params.v[i];
    if (d->ast->span.file == m->spec_file && !strmap_get(&m->model_used, d->name))
      err(m, W0205, name_span(d->ast), d->name);
  }
  if (!m->model || !m->step) return;
  for (uint32_t i = 0; i < m->step->model->n_order; i++) {
    const Entry *n = m->step->model->order[i];
    if (n->kind != ENTRY_BIND || n->bind->span.file != m->spec_file || strmap_get(&m->model_used, n->name))
      continue;
    err(m, W0205, ast_kid(n->bind, 3 + n->target)->span, n->name);
  }
}
