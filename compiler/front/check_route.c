/* SPDX-License-Identifier: Apache-2.0
 * check_route.c -- routes: which places they name, TAPs for gradients, MASKs for forward values. */
#include "model.h"
#include "fault.h"
#include <math.h>
#include <string.h>

void check_routes(Model *m) {
  static const char *const keys[] = {"strength", "also", "cross"};
  m->n_route = m->routes.n;
  m->route = ARENA_NEWS(m->a, RouteDecl, m->n_route + 1);
  Elab *e = elab_create(m, "routes", false, NO_DATA);
  for (uint32_t i = 0; i < m->n_route; i++) {
    RouteDecl *r = &m->route[i];
    r->decl = m->routes.v[i];
    const Ast *a = r->decl->ast, *block = ast_kid(a, 3);
    const bool parameters = (int)a->num == ROUTE_PARAMETERS;
    block_check_keys(m, block, parameters ? "a route of parameters" : "a route", keys, parameters ? 3 : 2);
    const Ast *strength = block_setting(block, "strength"), *also = block_setting(block, "also");
    r->strength = strength ? ast_kid(strength, 0) : NULL;
    r->also = also != NULL;
    r->cross = block_setting(block, "cross");
    if (parameters) { /* of one or several places; check_parameters.c finds them */
      r->place = (PathPat){.span = a->kids[0]->span, .text = ast_source_text(m, a->kids[0])};
      r->ok = m->param_routes = true;
    } else r->ok = path_pattern(e, a->kids[0], &r->place);
  }
}

/* ---- places ---- */
static uint32_t add_tap(Elab *e, const char *name, ValueId *v, Span span) {
  Program *p = e->m->p;
  *v = ir_make(e->g, OP_TAP, span, v, 1, (int64_t[]){p->n_taps}, 1, 0, NULL, DT_NONE);
  *PUSH(e->m->a, p->taps, p->n_taps) = (ProgTap){name, *v, 0, span};
  return p->n_taps - 1;
}

static void add_route(Elab *e, const RouteDecl *r, uint32_t tap, ValueId factor) {
  Program *p = e->m->p;
  *PUSH(e->m->a, p->routes, p->n_routes) = (ProgRoute){.name = r->decl->name,
                                                       .primitive = (RoutePrimitive)(int)r->decl->ast->num,
                                                       .tap = tap,
                                                       .factor = factor,
                                                       .span = r->decl->ast->span};
}

/* Is the call written right after `|>`? */
static bool is_stage(const Model *m, const Ast *call) {
  const char *text = m->sources->files[call->span.file]->text;
  uint32_t i = call->span.start;
  while (i > 0 && (text[i - 1] == ' ' || text[i - 1] == '\n' || text[i - 1] == '\t')) i--;
  return i >= 2 && text[i - 1] == '>' && text[i - 2] == '|';
}

static bool routable(Elab *e, const RouteDecl *r, const Val *v, const Place *p) {
  Model *m = e->m;
  if (p->unnamed) {
    Diag *g = err(m, E0330, r->place.span, r->place.text);
    Span at = {p->unnamed->span.file, p->unnamed->span.start, p->unnamed->span.start};
    diag_also(m->diags, g, p->unnamed->span, "this layer has no name of its own");
    const char *end = strrchr(p->path, '.'), *start = end;
    while (start > p->path && start[-1] != '.') start--;
    const char *name =
        arena_strndup(m->a, start, (size_t)(end - start)); /* the number it has now keeps the place valid */
    diag_help(m->diags, g, "name it: `|> %s: %s`", name, ast_source_text(m, p->unnamed));
    if (is_stage(m, p->unnamed)) diag_fix(m->diags, g, at, "%s: ", name);
    return false;
  }
  const Ast *arms = ast_kid(r->decl->ast, 2);
  bool constant = arms && arms->n_kids == 1 && !strcmp(arms->kids[0]->text, "otherwise");
  if (val_dtype(e, v) == DT_F32 && (constant || val_has_rows(e, v))) return true;
  Diag *g = err(m, E0320, r->place.span, r->place.text);
  if (val_dtype(e, v) == DT_F32)
    diag_note(m->diags, g, "it is %s, the same for each datum: its only arm can be `otherwise`",
              val_text(e, v));
  else diag_note(m->diags, g, "it is %s; a route needs real numbers", val_text(e, v));
  return false;
}

/* Routes of one primitive at one place: the second needs `also`. */
static void check_also(Elab *e, const RouteDecl *r, const RouteDecl *before, const char *path) {
  if (!before || r->also || before->also) return;
  Diag *g = err(e->m, E0325, r->decl->ast->name_span, path, before->decl->name);
  diag_also(e->m->diags, g, before->decl->ast->name_span, "the first route there");
  diag_help(e->m->diags, g, "factors of several routes multiply; say that it is meant: `{ ... } { also }`");
}

/* Routes at one place, in the order of the text. */
typedef struct Found {
  RouteDecl **v;
  ValueId *factor;
  uint32_t n;
} Found;

static Found routes_at(Elab *e, const char *path, const Val *v, const Place *p) {
  Model *m = e->m;
  Found f = {0};
  const RouteDecl *before[3] = {NULL, NULL, NULL};
  for (uint32_t i = 0; i < m->n_route; i++) {
    RouteDecl *r = &m->route[i];
    if (!r->ok || (int)r->decl->ast->num == ROUTE_PARAMETERS || !path_matches(e, &r->place, path)) continue;
    r->matched = true;
    if (!routable(e, r, v, p)) continue;
    int k = (int)r->decl->ast->num;
    check_also(e, r, before[k], path);
    if (!before[k]) before[k] = r;
    *PUSH(m->a, f.v, f.n) = r;
  }
  f.factor = ARENA_NEWS(m->a, ValueId, f.n + 1);
  return f;
}

/* MASKs of `value of` routes, then one TAP under which all routes of the place are recorded. */
static ValueId masks_and_tap(Elab *e, const Found *f, const char *name, ValueId id, Span span) {
  for (uint32_t i = 0; i < f->n; i++)
    if (f->factor[i] && (int)f->v[i]->decl->ast->num == ROUTE_VALUE)
      id = ir_make(e->g, OP_MASK, f->v[i]->decl->ast->span, (ValueId[]){id, f->factor[i]}, 2, NULL, 0, 0,
                   NULL, DT_NONE);
  uint32_t tap = add_tap(e, name, &id, span);
  for (uint32_t i = 0; i < f->n; i++)
    if (f->factor[i])
      add_route(e, f->v[i], tap, (int)f->v[i]->decl->ast->num == ROUTE_VALUE ? 0 : f->factor[i]);
  return id;
}

/* The routes of a place with a gate: its gradient policy is one more of them, but its own loss, which reads in front of that,
 * has a tap with the others alone. */
static void gate_routes(Elab *e, GateUse *use, Found *f, const char *path, const Val *v, Span span) {
  RouteDecl *own = use->gate->route.decl ? &use->gate->route : NULL;
  uint32_t tap = 0;
  for (uint32_t i = 0; i < f->n && use->gate->target; i++) {
    if (!f->factor[i] || (int)f->v[i]->decl->ast->num != ROUTE_GRADIENT) continue;
    if (use->own == use->raw) tap = add_tap(e, path, &use->own, span);
    add_route(e, f->v[i], tap, f->factor[i]);
  }
  if (!own) return;
  ValueId *factor = ARENA_NEWS(e->m->a, ValueId, f->n + 1);
  if (f->n) memcpy(factor, f->factor, sizeof *factor * f->n);
  factor[f->n] = route_factor(e, own, path, &(Parts){0}, v, -1);
  f->factor = factor;
  *PUSH(e->m->a, f->v, f->n) = own;
}

ValueId route_apply(Elab *e, const char *path, Val *v, Place *p) {
  Model *m = e->m;
  GateUse *gate = gate_begin(e, path, v, p);
  if (!e->training) return ablate_value(e, path, v, p);
  Place here = *p;
  here.path = path;
  Split *split = split_of_place(e, &here);
  Found f = {0};
  if (!v->n_items || split) f = routes_at(e, path, v, p); /* else a mix: its operands were routed */
  if (!f.n && !gate) return v->id;
  Parts parts = {.split = split};
  if (split) {
    split->decl->used = true;
    if (!split_resolve(e, split, v)) return v->id;
    parts.n = split->n_parts;
    parts.names = ARENA_NEWS(m->a, const char *, parts.n + 1);
    for (uint32_t i = 0; i < parts.n; i++) parts.names[i] = split->parts[i].name;
  }
  for (uint32_t i = 0; i < f.n; i++) f.factor[i] = route_factor(e, f.v[i], path, &parts, v, -1);
  if (gate) gate_routes(e, gate, &f, path, v, p->span);
  return f.n ? masks_and_tap(e, &f, path, v->id, p->span) : v->id;
}

void route_apply_mix(Elab *e, const char *path, Val *mix, Val **operands, const char **names, uint32_t n,
                     Span span) {
  Place self = {.path = path, .span = span};
  if (split_of_place(e, &self)) return;
  for (uint32_t k = 0; k < n && e->n_ablated; k++) {
    operands[k] = val_at(e, operands[k], operands[k]->span);
    operands[k]->id = ablate_operand(e, path, names[k], operands[k]->id);
  }
  if (!e->training) return;
  Found f = routes_at(e, path, mix, &self);
  Parts parts = {.names = names, .n = n};
  for (uint32_t k = 0; k < n && f.n; k++) {
    for (uint32_t i = 0; i < f.n; i++) f.factor[i] = route_factor(e, f.v[i], path, &parts, operands[k], (int)k);
    operands[k] = val_at(e, operands[k], operands[k]->span);
    operands[k]->id =
        masks_and_tap(e, &f, arena_printf(e->m->a, "%s.%s", path, names[k]), operands[k]->id, span);
  }
}

/* ---- after the model: places that matched nothing or too much ---- */
static void place_missing(Elab *e, const PathPat *pat, DiagCode code) {
  Model *m = e->m;
  const char **names = ARENA_NEWS(m->a, const char *, e->n_places + 1);
  uint32_t n = 0;
  for (uint32_t i = 0; i < e->n_places && n < 4000; i++) names[n++] = e->places[i]->path;
  const Entry *root = pat->v[0].name ? strmap_get(&e->model->entries, pat->v[0].name) : NULL;
  if (e->broken && root) return;
  Diag *g = code == E0320 ? err(m, E0320, pat->span, pat->text)
                          : err(m, E0311, pat->span, pat->text, "the model has no such value");
  const char *out = arena_printf(m->a, "%s.out", pat->text);
  for (uint32_t i = 0; i < n; i++)
    if (!strcmp(names[i], out)) {
      diag_help(m->diags, g, "`%s` is a layer or module; its value is `%s`", pat->text, out);
      diag_fix(m->diags, g, pat->span, "%s", out);
      return;
    }
  const Split *sp = NULL;
  for (uint32_t i = 0; i < m->n_split && pat->n > 1; i++) {
    const Split *s = &m->split[i];
    for (uint32_t k = 0; k < s->n_parts; k++)
      if (!strcmp(arena_printf(m->a, "%s.%s", s->decl->name, s->parts[k].name), pat->text)) sp = s;
  }
  if (sp)
    diag_help(m->diags, g, "a route's place is the whole tensor `%s`; its parts are what arms name",
              sp->decl->name);
  else if (root && root->kind == ENTRY_INST && pat->n == 1)
    diag_help(m->diags, g, "`%s` is a module; its result is `%s.out`", pat->text, pat->text);
  else {
    uint32_t few = 0;
    for (uint32_t i = 0; i < n && pat->n == 1; i++)
      if (!strchr(names[i], '.')) names[few++] = names[i];
    diag_choices(m, g, pat->text, names, pat->n == 1 && few ? few : n);
  }
}

void check_ambiguous(Elab *e, const PathPat *pat) {
  Model *m = e->m;
  for (uint32_t i = 0; i < e->n_twice; i++)
    for (uint32_t k = 0; k < e->n_places; k++) {
      const char *own = e->twice[i]->own, *path = e->places[k]->path;
      const bool matches = !strncmp(path, own, strlen(own)) && path_matches(e, pat, path);
      if (!matches || path_alias(e, pat, path) >= strlen(own)) continue;
      const char *name = e->twice[i]->module->name;
      Diag *g = err(m, E0331, pat->span, name, e->twice[i]->n_calls);
      diag_help(m->diags, g, "name the call by its binding or `|> name: %s`, and write `name.%s`", name,
                path + strlen(own));
      return;
    }
}

void routes_finish(Elab *e) {
  Model *m = e->m;
  for (uint32_t i = 0; i < m->n_route; i++) {
    RouteDecl *r = &m->route[i];
    if (!r->ok) continue;
    if ((int)r->decl->ast->num == ROUTE_PARAMETERS) route_parameters(e, r);
    else if (!r->matched) place_missing(e, &r->place, E0320);
    else check_ambiguous(e, &r->place);
  }
  for (uint32_t i = 0; i < m->n_split; i++) {
    Split *s = &m->split[i];
    bool found = false;
    if (!s->place_ok || s->bad) continue;
    for (uint32_t k = 0; k < e->n_places && !found; k++) {
      if (!path_matches(e, &s->place, e->places[k]->path)) continue;
      found = true;
      split_resolve(e, s, e->places[k]->val);
    }
    if (!found) place_missing(e, &s->place, E0311);
    else check_ambiguous(e, &s->place);
  }
}

/* A module that is called twice has no values of its own name. */
void check_inst_uses(Elab *e) {
  Model *m = e->m;
  for (uint32_t i = 0; i < e->n_inst_uses; i++) {
    const Inst *inst = e->inst_uses[i].inst;
    if (inst->n_calls < 2) continue;
    Diag *g = err(m, E0331, e->inst_uses[i].span, inst->path, inst->n_calls);
    diag_also(m->diags, g, inst->first_call, "the first call");
  }
}

/* The origins of a name as written in `for`: a loss `by_class` has several. */
static OriginSet origins_find(Elab *e, const Ast *name) {
  const Program *p = e->m->p;
  const char *text = ast_dotted(e->m, name);
  size_t n = strlen(text);
  OriginSet set = 0;
  for (uint32_t j = 0; j < p->n_origins; j++) {
    const char *full = p->origins[j].name;
    if (!strncmp(full, text, n) && (!full[n] || full[n] == '.')) set |= (OriginSet)1 << j;
  }
  return set;
}

bool origins_named(Elab *e, const Ast *list, OriginSet *out) {
  Model *m = e->m;
  const Program *p = m->p;
  const char **names = ARENA_NEWS(m->a, const char *, p->n_origins + 1);
  for (uint32_t i = 0; i < p->n_origins; i++) names[i] = p->origins[i].name;
  bool ok = true;
  *out = 0;
  for (uint32_t k = 0; k < list->n_kids; k++) {
    const Ast *name = list->kids[k];
    OriginSet found = origins_find(e, name);
    if (found && !(found & ~*out)) err(m, E0209, name->span, ast_dotted(m, name)), ok = false;
    *out |= found;
    if (found) continue;
    Diag *g = err(m, E0329, name->span, ast_dotted(m, name));
    diag_suggest(m->diags, g, ast_dotted(m, name), names, p->n_origins);
    ok = false;
  }
  return ok;
}

/* Those that a route's `for` names; one that says `gradient = unrouted` can't be. */
static OriginSet routed_origins(Elab *e, const Ast *list) {
  const Program *p = e->m->p;
  OriginSet set = 0;
  origins_named(e, list, &set);
  for (uint32_t k = 0; k < list->n_kids; k++) {
    OriginSet found = origins_find(e, list->kids[k]);
    if (!found) continue;
    uint32_t j = (uint32_t)__builtin_ctzll(found); /* all origins of a loss say the same */
    if (p->origins[j].routed) continue;
    Diag *g = err(e->m, E0329, list->kids[k]->span, ast_dotted(e->m, list->kids[k]));
    diag_also(e->m->diags, g, p->origins[j].span, "it says `gradient = unrouted`");
    set &= ~found;
  }
  return set;
}

static void set_origins(Program *p, const char *route, OriginSet set) {
  for (uint32_t k = 0; k < p->n_routes; k++)
    if (!strcmp(p->routes[k].name, route)) p->routes[k].origins = set;
}

/* Which origins' adjoints each route masks: all losses, and regularizers that say `routed`; or those that
 * `for` names. */
void routes_set_origins(Elab *e) {
  Model *m = e->m;
  Program *p = m->p;
  OriginSet all = 0;
  for (uint32_t i = 0; i < p->n_origins; i++)
    if (p->origins[i].routed || fault("route-regularizers")) all |= (OriginSet)1 << i;
  for (uint32_t i = 0; i < m->n_route; i++) {
    const Ast *list = ast_kid(m->route[i].decl->ast, 1);
    if (list && (int)m->route[i].decl->ast->num == ROUTE_VALUE) {
      Diag *g = err(m, E0321, list->span, m->route[i].decl->name, "`for` names losses, but a route of the value changes what all of them see");
      diag_help(m->diags, g, "leave out `for`, or route the gradient: `gradient of`");
      continue;
    }
    OriginSet set = list ? routed_origins(e, list) : all;
    set_origins(p, m->route[i].decl->name, set);
  }
  for (uint32_t i = 0; i < m->gates.n; i++) { /* a gate never stops its own loss */
    const Gate *gate = &m->gate[i];
    if (!gate->route.decl) continue;
    const Ast *list = ast_kid(gate->route.decl->ast, 1);
    OriginSet set = list ? routed_origins(e, list) : all;
    for (uint32_t k = 0; k < p->n_origins; k++)
      if (!strcmp(p->origins[k].name, gate->decl->name)) {
        if (list && set >> k & 1) err(m, E0366, list->span, gate->decl->name);
        set &= ~((OriginSet)1 << k);
      }
    set_origins(p, gate->decl->name, set);
  }
}
