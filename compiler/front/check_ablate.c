/* SPDX-License-Identifier: Apache-2.0
 * check_ablate.c -- `evaluate ... { ablate = z.upper }`: an evaluation of the model with parts of values at 0. The
 * zeros stand where a `value of` route at the same place would mask, so it is the ablation that matches that route. */
#include "model.h"
#include "fault.h"
#include <string.h>

struct Ablated {
  const Ast *ast;
  PathPat whole, place; /* `z.upper` as a place, and `z` with the part `upper` */
  bool has_whole, has_part, found;
};

static bool ablated_from(Elab *e, const Ast *a, Ablated *out) {
  *out = (Ablated){.ast = a};
  if (!path_pattern(e, a, &out->whole)) return false;
  out->has_whole = true;
  out->has_part = ast_is(a, AST_MEMBER) && path_pattern(e, a->kids[0], &out->place);
  return true;
}

bool ablate_begin(Elab *e, const Ast *setting) {
  const Ast *value = ast_kid(setting, 0);
  if (!setting) return true;
  if (!value || ast_is(value, AST_BLOCK) || (ast_is(value, AST_LIST) && !value->n_kids)) {
    err(e->m, E0406, setting->span, "`ablate`", "a part of a split");
    return false;
  }
  const uint32_t n = ast_is(value, AST_LIST) ? value->n_kids : 1;
  e->ablated = ARENA_NEWS(e->m->a, Ablated, n);
  for (uint32_t i = 0; i < n; i++)
    if (!ablated_from(e, ast_is(value, AST_LIST) ? value->kids[i] : value, &e->ablated[e->n_ablated++])) return false;
  return true;
}

static int part_of(const Split *s, const char *name) {
  for (uint32_t i = 0; i < s->n_parts; i++)
    if (!strcmp(s->parts[i].name, name)) return (int)i;
  return -1;
}

static ValueId zeroed(Elab *e, const Ablated *a, ValueId id, ValueId factor) {
  if (fault("ablate-nothing")) return id;
  return ir_make(e->g, OP_MASK, a->ast->span, (ValueId[]){id, factor}, 2, NULL, 0, 0, NULL, DT_NONE);
}

static ValueId zero_all(Elab *e, Ablated *a, ValueId id) {
  Shape s = e->g->v[id].shape;
  a->found = true;
  return zeroed(e, a, id, ir_const(e->g, a->ast->span, 0, &s, DT_F32));
}

static ValueId zero_part(Elab *e, Ablated *a, Split *s, int part, const Val *v, ValueId id) {
  a->found = s->decl->used = true;
  if (!split_resolve(e, s, v)) return id;
  double *w = ARENA_NEWS(e->m->a, double, s->n_parts);
  for (uint32_t i = 0; i < s->n_parts; i++) w[i] = (int)i != part;
  return zeroed(e, a, id, part_weights(e, &(Parts){.split = s, .n = s->n_parts}, w, v));
}

ValueId ablate_value(Elab *e, const char *path, const Val *v, const Place *p) {
  ValueId id = v->id;
  Place here = *p;
  here.path = path;
  for (uint32_t i = 0; i < e->n_ablated; i++) {
    Ablated *a = &e->ablated[i];
    if (val_dtype(e, v) != DT_F32) continue;
    if (a->has_whole && path_matches(e, &a->whole, path)) {
      id = zero_all(e, a, id);
      continue;
    }
    Split *s = a->has_part && path_matches(e, &a->place, path) ? split_of_place(e, &here) : NULL;
    int part = s ? part_of(s, a->ast->text) : -1;
    if (part >= 0) id = zero_part(e, a, s, part, v, id);
  }
  return id;
}

ValueId ablate_operand(Elab *e, const char *path, const char *name, ValueId id) {
  for (uint32_t i = 0; i < e->n_ablated; i++) {
    Ablated *a = &e->ablated[i];
    if (a->has_part && !strcmp(a->ast->text, name) && path_matches(e, &a->place, path)) id = zero_all(e, a, id);
  }
  return id;
}

/* ---- what was never trained to do without the part ----
 * Silent where in doubt: any mask of a forward value on the way counts as training without it. */
static bool is_masked_above(const Graph *g, ValueId id) {
  const Value *v = &g->v[id];
  if (v->op == OP_MASK) return true;
  if (op_class(v->op) != OPC_ELT && op_class(v->op) != OPC_VIEW) return false;
  for (uint32_t i = 0; i < v->n_args; i++)
    if (is_masked_above(g, v->args[i])) return true;
  return false;
}

/* The parameter that a value holds as it is, in another shape: 1 + its number, or 0. */
static uint32_t param_under(const Graph *g, ValueId id) {
  const Value *v = &g->v[id];
  while ((op_class(v->op) == OPC_VIEW || v->op == OP_TAP) && v->n_args == 1) v = &g->v[v->args[0]];
  return v->op == OP_PARAM ? 1 + (uint32_t)v->ints[0] : 0;
}

enum { READS = 1, SUMMED = 2 }; /* holds the place's value element by element; a product of weights with it */

/* A trained bias that a reader of `place` adds to its product: 1 + the parameter, or 0. */
static uint32_t bias_of_reader(const Elab *step, ValueId place) {
  const Graph *g = step->g;
  const Program *p = step->m->p;
  uint8_t *is = ARENA_NEWS(step->m->a, uint8_t, g->n);
  is[place] = READS;
  for (ValueId id = place + 1; id < g->n; id++) {
    const Value *v = &g->v[id];
    const bool same = op_class(v->op) == OPC_VIEW || (op_class(v->op) == OPC_ELT && v->op != OP_MASK);
    for (uint32_t i = 0; i < v->n_args; i++) {
      const uint8_t how = is[v->args[i]];
      if (how == READS && same) is[id] = READS;
      if (how == READS && v->op == OP_DOT && param_under(g, v->args[1 - i])) is[id] = SUMMED;
      if (how == SUMMED && (op_class(v->op) == OPC_VIEW || v->op == OP_TAP)) is[id] = SUMMED;
      const uint32_t bias = how == SUMMED && v->op == OP_ADD ? param_under(g, v->args[1 - i]) : 0;
      if (bias && p->params[bias - 1].trainable && p->params[bias - 1].shape.rank == 1) return bias;
    }
  }
  return 0;
}

static bool is_hidden(const Model *m, const char *path, const char *part) {
  if (part) return strmap_get(&m->step->hidden, arena_printf(m->a, "%s.%s", path, part)) != NULL;
  return strmap_get(&m->step->hidden, path) != NULL;
}

static bool has_value_route(const Model *m, const char *path) {
  for (uint32_t i = 0; i < m->n_route; i++)
    if (m->route[i].ok && (int)m->route[i].decl->ast->num == ROUTE_VALUE && path_matches(m->step, &m->route[i].place, path)) return true;
  return false;
}

/* A part of its split, or an operand of the mix that it is. */
static bool has_part(Model *m, const Place *p, const char *part) {
  const Split *s = split_of_place(m->step, p);
  for (uint32_t i = 0; !s && i < p->val->n_items; i++)
    if (!strcmp(p->val->names[i], part)) return true;
  return s && part_of(s, part) >= 0;
}

/* What else the place has, as an arm's target. */
static const char *other_parts(Model *m, const Place *p, const char *part) {
  const Split *s = split_of_place(m->step, p);
  const char *text = NULL;
  for (uint32_t i = 0; i < (s ? s->n_parts : p->val->n_items); i++) {
    const char *name = s ? s->parts[i].name : p->val->names[i];
    if (strcmp(name, part)) text = text ? arena_printf(m->a, "%s + %s", text, name) : name;
  }
  return text ? text : "none";
}

static bool lacks_recovery(Model *m, const Ablated *a, const Place *p, uint32_t *bias) {
  const bool whole = path_matches(m->step, &a->whole, p->path);
  if (!whole && !(a->has_part && path_matches(m->step, &a->place, p->path) && has_part(m, p, a->ast->text))) return false;
  const bool routed = has_value_route(m, p->path);
  if (routed ? is_hidden(m, p->path, whole ? NULL : a->ast->text) : is_masked_above(m->step->g, p->value)) return false;
  return (*bias = bias_of_reader(m->step, p->value)) != 0;
}

static void warn_unrecovered(Elab *e, const Ablated *a, const char *evaluation) {
  Model *m = e->m;
  for (uint32_t i = 0; i < m->step->n_places && m->p->train.present && m->p->n_origins && !m->walk; i++) {
    const Place *p = m->step->places[i];
    uint32_t bias;
    if (!lacks_recovery(m, a, p, &bias)) continue;
    const char *text = ast_source_text(m, a->ast), *part = path_matches(m->step, &a->whole, p->path) ? NULL : a->ast->text;
    Diag *g = err(m, W0421, a->ast->span, evaluation, text);
    diag_also(m->diags, g, m->p->params[bias - 1].span, "`%s` was trained with it there", m->p->params[bias - 1].path);
    diag_help(m->diags, g, "hide it from a part of the data in training: `route recover: value of %s { when CLASS to %s; otherwise to all }`",
              part ? ast_source_text(m, a->ast->kids[0]) : text, part ? other_parts(m, p, part) : "none");
    return;
  }
}

/* ---- what changed nothing ---- */
static bool in_the_model(Elab *e, const Ablated *a) {
  const Elab *step = e->m->step;
  for (uint32_t i = 0; i < step->n_places; i++) {
    const Place *p = step->places[i];
    if (path_matches(e->m->step, &a->whole, p->path)) return true;
    const Split *s = a->has_part && path_matches(e->m->step, &a->place, p->path) ? split_of_place(e, p) : NULL;
    if (s && part_of(s, a->ast->text) >= 0) return true;
  }
  return false;
}

void ablate_finish(Elab *e, const char *evaluation) {
  Model *m = e->m;
  const char **names = NULL;
  uint32_t n = 0;
  for (uint32_t i = 0; i < m->n_split; i++)
    for (uint32_t k = 0; k < m->split[i].n_parts; k++)
      *PUSH(m->a, names, n) = arena_printf(m->a, "%s.%s", m->split[i].decl->name, m->split[i].parts[k].name);
  for (uint32_t i = 0; i < e->n_ablated; i++) {
    const Ablated *a = &e->ablated[i];
    if (a->found) warn_unrecovered(e, a, evaluation);
    if (a->found) check_ambiguous(m->step, &a->whole);
    if (a->found && a->has_part) check_ambiguous(m->step, &a->place);
    if (a->found || !a->has_whole) continue;
    const char *text = ast_source_text(m, a->ast);
    Diag *g = err(m, E0426, a->ast->span, text, evaluation);
    if (in_the_model(e, a)) diag_note(m->diags, g, "the model has it, but no metric of `%s` reads it", evaluation);
    else if (n) diag_choices(m, g, text, names, n);
    else diag_note(m->diags, g, "there is no split: `split z { lower = 0 .. 8; upper = rest }` names parts");
  }
}
