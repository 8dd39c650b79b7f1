/* SPDX-License-Identifier: Apache-2.0
 * lower.c -- bodies: scopes, bindings (made when first asked for), module calls, repeats, parameters. */
#include "model.h"
#include "builtin.h"
#include <string.h>
#include <xxhash.h>

Elab *elab_create(Model *m, const char *name, bool training, uint32_t data) {
  Elab *e = ARENA_NEW(m->a, Elab);
  e->m = m, e->training = training, e->data = data;
  e->g = graph_create(m->a, name);
  e->classes = ARENA_NEWS(m->a, Val *, m->classes.n + 1);
  e->fields = ARENA_NEWS(m->a, Val **, m->data.n + 1);
  e->field_busy = ARENA_NEWS(m->a, uint8_t *, m->data.n + 1);
  for (uint32_t i = 0; i < m->data.n; i++) {
    e->fields[i] = ARENA_NEWS(m->a, Val *, m->datas[i].n_fields + 1);
    e->field_busy[i] = ARENA_NEWS(m->a, uint8_t, m->datas[i].n_fields + 1);
  }
  e->model = scope_create(e, SCOPE_MODEL, NULL, m->root, "", "");
  e->model->stmt = UINT32_MAX;
  return e;
}

/* ---- scopes ---- */
Scope *scope_create(Elab *e, ScopeKind k, Scope *up, FileScope *file, const char *ppath, const char *vpath) {
  Scope *s = ARENA_NEW(e->m->a, Scope);
  s->kind = k, s->up = up, s->file = file, s->ppath = ppath, s->vpath = vpath, s->owner = s;
  e->n_expressions += 64;
  return s;
}

Entry *scope_add(Elab *e, Scope *s, EntryKind k, const char *name) {
  Entry *n = ARENA_NEW(e->m->a, Entry);
  n->kind = k, n->name = name;
  strmap_put(e->m->a, &s->entries, name, n);
  *PUSH(e->m->a, s->order, s->n_order) = n;
  return n;
}

Entry *scope_find(Elab *e, Scope *s, const char *name) {
  Entry *n = strmap_get(&s->entries, name);
  while (n && n->older && n->stmt >= s->stmt) n = n->older;
  if (n && s->kind == SCOPE_MODEL) {
    n->used = true;
    if (!strmap_get(&e->m->model_used, name)) strmap_put(e->m->a, &e->m->model_used, name, e->m);
  }
  return n;
}

/* ---- places ---- */
Place *place_add(Elab *e, const char *path, Val *v, Span span) {
  Place *p = ARENA_NEW(e->m->a, Place);
  p->path = path, p->span = span, p->under = v->place, p->unnamed = e->unnamed, p->val = v;
  if (!e->g->v[v->id].name) e->g->v[v->id].name = path;
  ValueId id = route_apply(e, path, v, p);
  if (id != v->id) e->g->v[id].name = path;
  v->id = p->value = id;
  v->place = p;
  *PUSH(e->m->a, e->places, e->n_places) = p;
  return p;
}

/* ---- declaring the statements of a body ---- */
static bool is_copies(const Ast *value) {
  return ast_is(value, AST_CALL) && ast_is_name(value->kids[0], "copies");
}

static bool carried_here(const Scope *s, const Entry *before) {
  return s->kind == SCOPE_ROUND && before->kind == ENTRY_VALUE && before->carry_of;
}

/* A value of the model with the name of something that expressions outside of modules can see. */
static bool hides(Elab *e, Scope *s, const Ast *name) {
  Model *m = e->m;
  const Decl *d = strmap_get(&s->file->names, name->text);
  Span at = d ? d->ast->name_span : (Span){0, 0, 0};
  for (uint32_t i = 0; i < m->data.n && !d; i++) {
    const Field *f = strmap_get(&m->datas[i].by_name, name->text);
    if (f) at = f->bind->span;
  }
  if (!at.file) return false;
  Diag *g = err(m, E0203, name->span, name->text);
  diag_also(m->diags, g, at, "already declared here");
  if (d && d->kind == DECL_GATE) diag_help(m->diags, g, "a gate has a name of its own, other than its value's: `gate chooser { value = %s }`", name->text);
  return true;
}

static void declare_bind(Elab *e, Scope *s, const Ast *bind, uint32_t stmt) {
  Model *m = e->m;
  for (uint32_t i = 3; i < bind->n_kids; i++) {
    const Ast *name = bind->kids[i];
    if (!name) continue;
    if (s->kind == SCOPE_MODEL && hides(e, s, name)) continue;
    Entry *before = strmap_get(&s->entries, name->text);
    if (before && !(carried_here(s, before) && bind->n_kids == 4)) {
      Diag *g = err(m, E0203, name->span, name->text);
      if (before->bind) diag_also(m->diags, g, before->bind->span, "already bound here");
      continue;
    }
    Entry *n = scope_add(e, s, is_copies(bind->kids[0]) ? ENTRY_INST : ENTRY_BIND, name->text);
    n->bind = bind, n->target = i - 3, n->stmt = stmt, n->older = before;
  }
}

static void declare_repeat(Elab *e, Scope *s, const Ast *rep, uint32_t stmt) {
  Model *m = e->m;
  if (strmap_get(&s->entries, rep->text)) {
    err(m, E0203, rep->name_span, rep->text);
    return;
  }
  Entry *r = scope_add(e, s, ENTRY_REPEAT, rep->text);
  r->bind = rep, r->stmt = stmt;
  for (uint32_t i = 3; i < rep->n_kids; i++) {
    const Ast *name = rep->kids[i];
    if (!name) continue;
    Entry *before = strmap_get(&s->entries, name->text);
    if (!before) {
      err(m, E0201, name->span, "carried value", name->text);
      continue;
    }
    Entry *n = scope_add(e, s, ENTRY_VALUE, name->text);
    n->bind = rep, n->stmt = stmt, n->older = before, n->carry_of = r, n->target = i - 3;
  }
}

static void declare_body(Elab *e, Scope *s, const Ast *block) {
  for (uint32_t i = 0; block && i < block->n_kids; i++) {
    const Ast *k = block->kids[i];
    if (ast_is(k, AST_BIND)) declare_bind(e, s, k, i);
    else if (ast_is(k, AST_REPEAT)) declare_repeat(e, s, k, i);
    else if (k)
      err(e->m, E0206, k->name_span, k->text ? k->text : ast_kind_name(k->kind),
          "a body, which takes `name = value` and `repeat`");
  }
}

void elab_body(Elab *e, Scope *s, const Ast *block) {
  declare_body(e, s, block);
  for (uint32_t i = 0; i < s->n_order; i++) { /* n_order grows while layers are added */
    Entry *n = s->order[i];
    if (n->kind == ENTRY_BIND || n->kind == ENTRY_REPEAT || (n->kind == ENTRY_VALUE && !n->val) ||
        (n->kind == ENTRY_INST && n->bind))
      elab_entry(e, s, n, n->bind->span);
  }
  s->stmt = UINT32_MAX;
}

/* ---- repeat ---- */
static Scope *round_scope(Elab *e, Scope *s, Entry *r, int64_t i) {
  const Ast *rep = r->bind;
  Arena *a = e->m->a;
  Scope *k = scope_create(e, SCOPE_ROUND, s, s->file,
                          arena_printf(a, "%s%s.%lld.", s->ppath, rep->text, (long long)i),
                          arena_printf(a, "%s%s.%lld.", s->vpath, rep->text, (long long)i));
  k->module = s->module;
  if (rep->kids[0] && rep->kids[0]->text)
    scope_add(e, k, ENTRY_VALUE, rep->kids[0]->text)->val = val_num(e, rep->kids[0]->span, (double)i, true);
  return k;
}

static bool repeat_bounds(Elab *e, Scope *s, const Ast *rep, int64_t *lo, int64_t *hi) {
  const Ast *range = rep->kids[1];
  if (!ast_is(range, AST_RANGE) || !range->kids[0] || !range->kids[1]) {
    err(e->m, E0302, range ? range->span : rep->span, "the range of a repeat", "both ends, `from .. to`",
        ast_source_text(e->m, range));
    return false;
  }
  if (!static_int(e, elab(e, s, range->kids[0]), "the range of a repeat", 0, 1 << 20, lo)) return false;
  if (!static_int(e, elab(e, s, range->kids[1]), "the range of a repeat", 0, 1 << 20, hi)) return false;
  if (!strcmp(range->text, "..=")) ++*hi;
  return true;
}

static void elab_repeat(Elab *e, Scope *s, Entry *r) {
  const Ast *rep = r->bind;
  int64_t lo = 0, hi = 0;
  uint32_t n_carry = rep->n_kids > 3 ? rep->n_kids - 3 : 0;
  Val **carry = ARENA_NEWS(e->m->a, Val *, n_carry + 1);
  r->busy = true;
  uint32_t saved = s->stmt;
  s->stmt = r->stmt;
  for (uint32_t i = 0; i < n_carry; i++) {
    Entry *n = scope_find(e, s, rep->kids[3 + i]->text);
    carry[i] = n ? elab_entry(e, s, n, rep->kids[3 + i]->span) : val_poison(e, rep->span);
  }
  bool ok = repeat_bounds(e, s, rep, &lo, &hi);
  for (int64_t i = lo; ok && i < hi; i++) {
    if (e->g->n >= MAX_VALUES || e->n_expressions >= MAX_EXPRESSIONS) {
      if (!e->m->too_big) err(e->m, E0335, rep->kids[1]->span);
      e->m->too_big = true, ok = false;
      break;
    }
    Scope *k = round_scope(e, s, r, i);
    for (uint32_t j = 0; j < n_carry; j++) {
      Entry *in = scope_add(e, k, ENTRY_VALUE, rep->kids[3 + j]->text);
      in->val = carry[j], in->carry_of = r;
    }
    *PUSH(e->m->a, r->rounds, r->n_rounds) = k;
    elab_body(e, k, rep->kids[2]);
    for (uint32_t j = 0; j < n_carry; j++)
      carry[j] = elab_entry(e, k, strmap_get(&k->entries, rep->kids[3 + j]->text), rep->span);
  }
  for (uint32_t i = 0; i < s->n_order; i++)
    if (s->order[i]->carry_of == r)
      s->order[i]->val = ok ? carry[s->order[i]->target] : val_poison(e, rep->span);
  s->stmt = saved;
  r->busy = false;
  r->val = val_new(e, VAL_REPEAT, rep->name_span);
  r->val->repeat = r;
}

/* ---- bindings ---- */
static const Ast *last_stage(const Ast *value) {
  if (ast_is(value, AST_PIPE)) value = value->kids[value->n_kids - 1];
  return ast_is(value, AST_LAYER) ? value->kids[0] : value;
}

static Val *elab_bind(Elab *e, Scope *s, Entry *n) {
  Model *m = e->m;
  const Ast *value = n->bind->kids[0];
  if (n->bind->n_kids > 4) {
    if (n->target == 0) err(m, E0221, n->bind->span, n->bind->n_kids - 3);
    return val_poison(e, n->bind->span);
  }
  const Ast *saved_ast = e->bind_ast;
  Entry *saved_entry = e->bind_entry;
  const char *saved_path = e->bind_path, *path = arena_printf(m->a, "%s%s", s->vpath, n->name);
  e->bind_ast = last_stage(value), e->bind_entry = n, e->bind_path = path;
  Val *v = elab(e, s, value);
  e->bind_ast = saved_ast, e->bind_entry = saved_entry, e->bind_path = saved_path;
  if (val_bad(v)) return v;
  v = val_at(e, v, v->span);
  if (!v->scope) v->scope = n->scope; /* a layer of the binding's name */
  if (!check_type(e, s, ast_kid(n->bind, 1), v, arena_printf(m->a, "`%s`", n->name), NULL))
    return val_poison(e, v->span);
  if (ast_kid(n->bind, 2))
    err(m, E0407, n->bind->kids[2]->span, n->name, "a range is for params and for fields of data");
  if (v->kind == VAL_TENSOR) place_add(e, path, v, ast_kid(n->bind, 3 + n->target)->span);
  return v;
}

/* `a, b = copies(module)` */
static void elab_copies(Elab *e, Scope *s, Entry *n) {
  Model *m = e->m;
  const Ast *call = n->bind->kids[0];
  Decl *module = NULL;
  if (call->n_kids == 2 && ast_is(call->kids[1], AST_NAME))
    module = strmap_get(&s->file->names, call->kids[1]->text);
  if (call->n_kids == 2 && ast_is(call->kids[1], AST_MEMBER)) {
    Val *ns = elab(e, s, call->kids[1]->kids[0]);
    if (ns->kind == VAL_NAMESPACE) module = strmap_get(&ns->decl->target->names, call->kids[1]->text);
  }
  if (!module || module->kind != DECL_MODULE) {
    const char **names = ARENA_NEWS(m->a, const char *, m->modules.n + 1);
    for (uint32_t i = 0; i < m->modules.n; i++) names[i] = m->modules.v[i]->name;
    const Ast *arg = call->n_kids == 2 && call->kids[1]->text ? call->kids[1] : call;
    Diag *g = err(m, E0222, arg->span);
    if (arg != call) diag_suggest(m->diags, g, arg->text, names, m->modules.n);
    n->val = val_poison(e, call->span);
    return;
  }
  module->used = true;
  Inst *inst = ARENA_NEW(m->a, Inst);
  inst->path = arena_printf(m->a, "%s%s", s->ppath, n->name);
  inst->module = module, inst->first_call = n->bind->span;
  n->inst = inst;
  n->val = val_new(e, VAL_INST, n->bind->span);
  n->val->inst = inst;
}

Val *elab_entry(Elab *e, Scope *s, Entry *n, Span use) {
  Model *m = e->m;
  if (n->val) return n->kind == ENTRY_VALUE ? param_read_again(e, n->val, use) : n->val;
  if (n->busy) {
    Diag *g = err(m, E0204, use, n->name);
    diag_also(m->diags, g, n->bind->span, "`%s` is defined here, by way of itself", n->name);
    if (e->in_condition)
      diag_note(m->diags, g,
                "a condition of a route picks data by their fields; it cannot read what it routes");
    return n->val = val_poison(e, use);
  }
  if (n->kind == ENTRY_VALUE && n->carry_of && n->carry_of->busy) {
    err(m, E0204, use, n->name);
    return val_poison(e, use);
  }
  n->busy = true;
  uint32_t saved = s->stmt;
  s->stmt = n->stmt;
  switch (n->kind) {
  case ENTRY_BIND: {
    Val *v = elab_bind(e, s, n);
    if (!n->val) n->val = v;
    break;
  }
  case ENTRY_REPEAT: elab_repeat(e, s, n); break;
  case ENTRY_VALUE:
    if (n->carry_of) elab_entry(e, s, n->carry_of, use);
    break;
  case ENTRY_INST:
    if (n->bind) elab_copies(e, s, n);
    else {
      n->val = val_new(e, VAL_INST, use);
      n->val->inst = n->inst;
    }
    break;
  case ENTRY_LAYER:
    n->val = val_new(e, VAL_SCOPE, use);
    n->val->scope = n->scope;
    break;
  }
  s->stmt = saved;
  n->busy = false;
  if (!n->val) n->val = val_poison(e, use);
  return n->val;
}

void elab_model(Elab *e) {
  Model *m = e->m;
  uint32_t before = m->diags->n_errors;
  e->model->stmt = UINT32_MAX;
  elab_parameters(e);
  e->broken = m->diags->n_errors > before;
  if (!m->model) return;
  declare_body(e, e->model, ast_kid(m->model, 0));
  if (!e->training) return; /* an evaluation makes only what it reads */
  for (uint32_t i = 0; i < e->model->n_order; i++) {
    Entry *n = e->model->order[i];
    if (n->kind != ENTRY_LAYER && n->bind) elab_entry(e, e->model, n, n->bind->span);
  }
  e->broken = m->diags->n_errors > before;
}

/* ---- module instances and calls ---- */
bool layer_declare(Elab *e, Scope *owner, const char *name, Scope *inside, Span span) {
  Entry *n = strmap_get(&owner->entries, name);
  if (!n) scope_add(e, owner, ENTRY_LAYER, name)->scope = inside;
  else if (n->kind == ENTRY_BIND && n->busy && !n->scope) n->scope = inside;
  else {
    Diag *g = err(e->m, E0203, span, name);
    if (n->bind) diag_also(e->m->diags, g, n->bind->span, "already bound here");
    diag_help(e->m->diags, g, "a module that is called twice shares its parameters; a layer is written once");
    return false;
  }
  return true;
}

Scope *layer_inside(Scope *owner, const char *name) {
  const Entry *n = strmap_get(&owner->entries, name);
  return n ? n->scope : NULL;
}

Inst *inst_get(Elab *e, Scope *s, const char *name, Decl *module, Span span) {
  Scope *o = s->owner;
  Entry *n = strmap_get(&o->entries, name);
  if (n && n->kind == ENTRY_INST && n->inst) return n->inst;
  Inst *inst = ARENA_NEW(e->m->a, Inst);
  inst->path = arena_printf(e->m->a, "%s%s", o->ppath, name);
  inst->module = module, inst->first_call = span;
  if (n) { /* a value of the same name */
    Diag *g = err(e->m, E0203, span, name);
    if (n->bind) diag_also(e->m->diags, g, n->bind->span, "the value `%s` is bound here", name);
    return inst;
  }
  n = scope_add(e, o, ENTRY_INST, name);
  n->inst = inst;
  n->val = val_new(e, VAL_INST, span);
  n->val->inst = inst;
  return inst;
}

/* Path of the values of a call: the instance's for its first call, then the name of the call or of its
 * binding. */
static const char *call_vpath(Elab *e, Scope *s, const Ast *call, Inst *inst, const char *call_name) {
  Arena *a = e->m->a;
  Scope *o = s->owner;
  if (call_name) return arena_printf(a, "%s%s.", o->vpath, call_name);
  size_t skip = strlen(o->ppath);
  const char *own = strncmp(inst->path, o->ppath, skip) ? inst->path : inst->path + skip;
  if (!inst->n_calls) return inst->own = arena_printf(a, "%s%s.", o->vpath, own);
  if (e->bind_ast == call && e->bind_entry) return arena_printf(a, "%s.", e->bind_path);
  return arena_printf(a, "%s%s(%u).", o->vpath, own, inst->n_calls + 1);
}

static void inst_add_call(Elab *e, Inst *inst, Scope *k, Span span) {
  if (!inst->n_calls) inst->first_call = span;
  *PUSH(e->m->a, inst->calls, inst->n_calls) = k;
  if (inst->n_calls == 2 && inst->own) *PUSH(e->m->a, e->twice, e->n_twice) = inst;
}

typedef struct CallArgs {
  Val **v;
  const Ast **ast;
  const char **names;
  uint32_t n;
} CallArgs;

/* Which argument is for formal number f; -1 if none. */
static int arg_for(const CallArgs *c, const Ast *formals, uint32_t f) {
  uint32_t pos = 0;
  for (uint32_t i = 0; i < c->n; i++)
    if (c->names[i] ? !strcmp(c->names[i], formals->kids[f]->text) : pos++ == f) return (int)i;
  return -1;
}

static bool args_known(Elab *e, const char *fn, const CallArgs *c, const Ast *formals, Span def) {
  Model *m = e->m;
  uint32_t n = formals ? formals->n_kids : 0, pos = 0;
  const char **names = ARENA_NEWS(m->a, const char *, n + 1);
  for (uint32_t i = 0; i < n; i++) names[i] = formals->kids[i]->text;
  bool ok = true;
  for (uint32_t i = 0; i < c->n; i++) {
    bool known = !c->names[i] && pos < n;
    for (uint32_t j = 0; c->names[i] && j < n && !known; j++) known = !strcmp(names[j], c->names[i]);
    if (!c->names[i]) pos++;
    if (known) continue;
    ok = false;
    Span at = c->ast[i] ? c->ast[i]->span : c->v[i]->span;
    Diag *g = c->names[i] ? err(m, E0207, at, fn, c->names[i])
                          : err(m, E0208, at, fn,
                                arena_printf(m->a, "takes %u %s", n, plural(n, "argument", "arguments")));
    diag_also(m->diags, g, def, "`%s` is declared here", fn);
    if (c->names[i]) {
      if (c->ast[i]) g->span = c->ast[i]->name_span;
      diag_suggest(m->diags, g, c->names[i], names, n);
    }
  }
  return ok;
}

/* Binds formals in `k`; unifies their types. */
static bool bind_formals(Elab *e, Scope *k, const char *fn, Span call, const Ast *formals, Span def,
                         const CallArgs *c, bool places, Symbols *sym) {
  Model *m = e->m;
  if (!args_known(e, fn, c, formals, def)) return false;
  bool ok = true;
  for (uint32_t f = 0; formals && f < formals->n_kids; f++) {
    const Ast *formal = formals->kids[f];
    int i = arg_for(c, formals, f);
    Val *v = i >= 0 ? c->v[i] : ast_kid(formal, 1) ? elab(e, k, formal->kids[1]) : NULL;
    if (!v) {
      Diag *g = err(m, E0208, call, fn, arena_printf(m->a, "needs a value for `%s`", formal->text));
      diag_also(m->diags, g, formal->span, "declared here without a default");
      ok = false;
      continue;
    }
    v = val_at(e, v, v->span);
    if (!check_type(e, k, ast_kid(formal, 0), v,
                    arena_printf(m->a, "argument `%s` of `%s`", formal->text, fn), sym))
      ok = false;
    if (strmap_get(&k->entries, formal->text)) {
      err(m, E0203, formal->name_span, formal->text);
      continue;
    }
    Entry *n = scope_add(e, k, ENTRY_VALUE, formal->text);
    if (places && ok && v->kind == VAL_TENSOR)
      place_add(e, arena_printf(m->a, "%s%s", k->vpath, formal->text), v, formal->span);
    n->val = v;
  }
  for (uint32_t i = 0; i < sym->n; i++)
    if (!strmap_get(&k->entries, sym->v[i].name))
      scope_add(e, k, ENTRY_VALUE, sym->v[i].name)->val =
          val_num(e, sym->v[i].from, (double)sym->v[i].value, true);
  return ok;
}

Val *elab_module_call(Elab *e, Scope *s, const Ast *call, Inst *inst, Val **args, const Ast **arg_ast,
                      const char **arg_names, uint32_t n_args, const char *call_name) {
  Model *m = e->m;
  Decl *d = inst->module;
  const Ast *ast = d->ast;
  d->used = true;
  if (d->busy) {
    Diag *g = err(m, E0216, call->span, d->name);
    diag_also(m->diags, g, ast->name_span, "`%s` is declared here", d->name);
    return val_poison(e, call->span);
  }
  for (uint32_t i = 0; i < n_args; i++)
    if (val_bad(args[i])) return val_poison(e, call->span);
  Scope *k = scope_create(e, SCOPE_MODULE, NULL, d->file, arena_printf(m->a, "%s.", inst->path),
                          call_vpath(e, s, call, inst, call_name));
  k->module = d, k->inst = inst;
  if (e->bind_ast == call && e->bind_entry) e->bind_entry->scope = k;
  inst_add_call(e, inst, k, call->span);
  if (call_name && layer_inside(s->owner, call_name) != k)
    layer_declare(e, s->owner, call_name, k, call->span);
  Symbols sym = {0};
  CallArgs c = {args, arg_ast, arg_names, n_args};
  if (!bind_formals(e, k, d->name, call->span, ast_kid(ast, 0), ast->name_span, &c, true, &sym))
    return val_poison(e, call->span);
  d->busy = true;
  const Ast *saved_ast = e->bind_ast;
  e->bind_ast = NULL;
  elab_body(e, k, ast_kid(ast, 2));
  e->bind_ast = saved_ast;
  d->busy = false;
  Entry *out = strmap_get(&k->entries, "out");
  if (!out) {
    Diag *g = err(m, E0220, ast->name_span, d->name);
    diag_help(m->diags, g, "end the body with `out = ...`");
    return val_poison(e, call->span);
  }
  Val *v = elab_entry(e, k, out, call->span);
  if (val_bad(v)) return v;
  v = val_at(e, v, out->bind ? out->bind->span : call->span);
  if (!check_type(e, k, ast_kid(ast, 1), v, arena_printf(m->a, "the result of `%s`", d->name), &sym))
    return val_poison(e, call->span);
  v->span = call->span;
  v->scope = k;
  return v;
}

/* ---- functions of the language: `def f(x) = expr`, in place ---- */
Val *elab_def_call(Elab *e, Scope *s, const Ast *call, Decl *d, Val **args, const Ast **arg_ast,
                   const char **arg_names, uint32_t n_args);
Val *elab_def_call(Elab *e, Scope *s, const Ast *call, Decl *d, Val **args, const Ast **arg_ast,
                   const char **arg_names, uint32_t n_args) {
  Model *m = e->m;
  d->used = true;
  for (uint32_t i = 0; i < n_args; i++)
    if (val_bad(args[i])) return val_poison(e, call->span);
  if (d->busy) {
    Diag *g = err(m, E0216, call->span, d->name);
    diag_also(m->diags, g, d->ast->name_span, "`%s` is declared here", d->name);
    return val_poison(e, call->span);
  }
  Scope *k = scope_create(e, SCOPE_DEF, NULL, d->file, s->ppath, s->vpath);
  k->owner = s->owner, k->module = d;
  k->stmt = UINT32_MAX;
  Symbols sym = {0};
  CallArgs c = {args, arg_ast, arg_names, n_args};
  if (!bind_formals(e, k, d->name, call->span, ast_kid(d->ast, 0), d->ast->name_span, &c, false, &sym))
    return val_poison(e, call->span);
  d->busy = true;
  Val *v = elab(e, k, ast_kid(d->ast, 2));
  d->busy = false;
  if (val_bad(v)) return v;
  v = val_at(e, v, call->span);
  if (!check_type(e, k, ast_kid(d->ast, 1), v, arena_printf(m->a, "the result of `%s`", d->name), &sym))
    return val_poison(e, call->span);
  return v;
}

/* ---- names of layers that have none: linear1, linear2 ... in the order of the text, per body ---- */
static void number_layers(Elab *e, StrMap *out, const Ast *n, StrMap *counts, bool named) {
  Arena *a = e->m->a;
  if (!n) return;
  if (n->kind == AST_REPEAT) {
    StrMap inner = {0};
    number_layers(e, out, ast_kid(n, 2), &inner, false);
    return;
  }
  const Ast *callee = n->kind == AST_CALL ? n->kids[0] : n;
  bool stage = n->kind == AST_CALL || n->kind == AST_NAME;
  if (n->kind == AST_CALL || n->kind == AST_PIPE || n->kind == AST_LAYER)
    for (uint32_t i = n->kind == AST_CALL ? 1 : 0; i < n->n_kids; i++)
      number_layers(e, out, n->kids[i], counts, n->kind == AST_LAYER);
  else
    for (uint32_t i = 0; i < n->n_kids; i++) number_layers(e, out, n->kids[i], counts, false);
  if (!stage || named || !ast_is(callee, AST_NAME) || !builtin_is_layer(callee->text)) return;
  uintptr_t k = (uintptr_t)strmap_get(counts, callee->text) + 1;
  strmap_put(a, counts, callee->text, (void *)k);
  strmap_put(a, out, arena_printf(a, "%p", (const void *)n),
             arena_printf(a, "%s%u", callee->text, (unsigned)k));
}

const char *layer_name(Elab *e, Scope *s, const Ast *call, const char *kind) {
  Decl *d = s->module ? s->module : &e->m->model_decl;
  if (!d->layers_done) {
    StrMap counts = {0};
    d->layers_done = true;
    if (s->kind != SCOPE_DEF)
      number_layers(e, &d->layer_names, s->module ? ast_kid(d->ast, 2) : e->m->model, &counts, false);
  }
  const char *name = strmap_get(&d->layer_names, arena_printf(e->m->a, "%p", (const void *)call));
  if (name) return name;
  Diag *g = err(e->m, E0223, call->span, kind);
  diag_help(e->m->diags, g, "give it a name: `|> name: %s(...)`, or move it into the model or a module",
            kind);
  return NULL;
}

/* ---- parameters ---- */
typedef struct ParamUse {
  ValueId id;
  Shape shape;
  Span span;
} ParamUse;

static uint32_t prog_param(Elab *e, const char *path, const Shape *shape, InitKind init, double a, double b,
                           Span span) {
  Model *m = e->m;
  Program *p = m->p;
  uintptr_t known = (uintptr_t)strmap_get(&m->param_paths, path);
  if (known) return (uint32_t)known - 1;
  p->params = array_grow(m->a, p->params, p->n_params, sizeof *p->params);
  p->params[p->n_params] = (ProgParam){.path = path,
                                       .shape = *shape,
                                       .init = init,
                                       .a = a,
                                       .b = b,
                                       .stream = XXH64(path, strlen(path), 0),
                                       .trainable = true,
                                       .decay = true,
                                       .policy = MASKED_FREEZE,
                                       .span = span};
  strmap_put(m->a, &m->param_paths, path, (void *)(uintptr_t)(p->n_params + 1));
  return p->n_params++;
}

ValueId param_use(Elab *e, const char *path, const Shape *shape, InitKind init, double a, double b,
                  Span span) {
  Model *m = e->m;
  uint32_t index = prog_param(e, path, shape, init, a, b, span);
  const ProgParam *p = &m->p->params[index];
  if (!shape_equal(&p->shape, shape)) {
    Diag *g = err(m, E0332, span, path, shape_dims_text(e, shape), shape_dims_text(e, &p->shape));
    diag_also(m->diags, g, p->span, "first used here, with shape %s", shape_dims_text(e, &p->shape));
    diag_help(m->diags, g, "`copies(...)` makes an instance with parameters of its own");
    return 0;
  }
  ParamUse *u = strmap_get(&e->params, path);
  if (!u) {
    u = ARENA_NEW(m->a, ParamUse);
    u->id = ir_make(e->g, OP_PARAM, span, NULL, 0, (int64_t[]){index}, 1, 0, shape, DT_F32);
    e->g->v[u->id].name = path;
    strmap_put(m->a, &e->params, path, u);
  }
  return e->training && m->param_routes ? param_tap(e, index, u->id, span) : u->id;
}
