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
    if (a->found || !a->has_whole) continue;
    const char *text = ast_source_text(m, a->ast);
    Diag *g = err(m, E0426, a->ast->span, text, evaluation);
    if (in_the_model(e, a)) diag_note(m->diags, g, "the model has it, but no metric of `%s` reads it", evaluation);
    else if (n) diag_choices(m, g, text, names, n);
    else diag_note(m->diags, g, "there is no split: `split z { lower = 0 .. 8; upper = rest }` names parts");
  }
}
