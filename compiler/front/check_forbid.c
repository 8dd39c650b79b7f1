/* SPDX-License-Identifier: Apache-2.0
 * check_forbid.c -- `forbid`: which data may not change which region, as a condition, a region and origins. Whether it is
 * so is for the proof to say (pass/prove.c, proof_report.c). */
#include "model.h"
#include <string.h>

static bool is_soft_class(const Elab *e, const Val *v) {
  for (uint32_t i = 0; v->kind == VAL_TENSOR && i < e->m->classes.n; i++)
    if (e->classes[i] && e->classes[i]->id == v->id) return true;
  return false;
}

/* The condition; a class of weights holds where the weight is not 0. False after an error. */
static bool forbid_condition(Elab *e, const Ast *ast, ProgForbid *f) {
  Model *m = e->m;
  const bool saved = e->in_condition;
  e->in_condition = true;
  Val *v = elab(e, e->model, ast);
  e->in_condition = saved;
  if (val_bad(v)) return false;
  const bool soft = v->kind == VAL_TENSOR && val_dtype(e, v) == DT_F32 && is_soft_class(e, v);
  const ValueId id = soft ? v->id : as_bool(e, v, "the class of `forbid`");
  if (!id) return false;
  if (v->kind != VAL_TENSOR || !val_has_rows(e, v)) {
    err(m, E0327, v->span, "of `forbid`", val_text(e, v));
    return false;
  }
  if (!cond_reads_data(e, id, "the class of `forbid`", v->span)) return false;
  const int32_t cond = cond_add(e, id, ast_source_text(m, ast), ast->span);
  f->cond = cond < 0 ? 0 : (uint32_t)cond;
  return cond >= 0;
}

/* A reversed condition is the condition of the same class, so that it costs no bit. */
static bool forbid_class(Elab *e, const Ast *ast, ProgForbid *f) {
  if (ast_is_name(ast, "otherwise")) return f->otherwise = true;
  if (ast_is(ast, AST_UNARY) && !strcmp(ast->text, "not") && ast_is(ast->kids[0], AST_NAME)) {
    f->negated = true;
    ast = ast->kids[0];
  }
  return forbid_condition(e, ast, f);
}

/* ---- `forbid loss of CLASS`: the origins that `by_class` makes of the class's terms ---- */
static OriginSet origin_called(const Program *p, const char *name) {
  for (uint32_t i = 0; i < p->n_origins; i++)
    if (!strcmp(p->origins[i].name, name)) return (OriginSet)1 << i;
  return 0;
}

static bool is_loss(const Model *m, const char *name, bool *probe) {
  for (uint32_t i = 0; i < m->origins.n; i++) {
    const Ast *a = m->origins.v[i]->ast;
    if (strcmp(m->origins.v[i]->name, name)) continue;
    *probe = ast_is(a, AST_LOSS) && block_setting(ast_kid(a, 1), "probe");
    return ast_is(a, AST_LOSS);
  }
  return false;
}

static bool not_divided(Elab *e, Span at, const char *loss, const char *cls, bool listed) {
  const Program *p = e->m->p;
  const char *by = strcmp(cls, "otherwise") ? cls : "CLASS";
  bool probe, made = false;
  for (uint32_t i = 0; i < p->n_origins; i++)
    made |= !strncmp(p->origins[i].name, loss, strlen(loss)) && strchr(".", p->origins[i].name[strlen(loss)]);
  if (!made) return false; /* its own error has been reported */
  Diag *g = err(e->m, E0606, at, loss, cls);
  if (is_loss(e->m, loss, &probe)) diag_help(e->m->diags, g, "`loss %s = ... { by_class = %s }` gives the terms of `%s` an origin of their own", loss, by, cls);
  else diag_note(e->m->diags, g, "only losses are divided by classes");
  if (!listed) diag_help(e->m->diags, g, "or say which losses are meant: `forbid loss of %s to ... for NAME`", cls);
  return false;
}

/* Those that `for` lists; without it all losses but probes. */
static bool loss_origins(Elab *e, const Ast *cls, const Ast *list, ProgForbid *f) {
  Model *m = e->m;
  f->otherwise = ast_is_name(cls, "otherwise"), f->origins = 0;
  if (!f->otherwise && !class_named(m, cls)) {
    Diag *g = err(m, E0607, cls->span, ast_source_text(m, cls));
    diag_help(m->diags, g, "declare it, `class hit = %s`, and divide the loss by it: `{ by_class = hit }`", ast_source_text(m, cls));
    return false;
  }
  for (uint32_t i = 0; list && i < list->n_kids; i++) {
    const char *loss = ast_dotted(m, list->kids[i]);
    const OriginSet found = origin_called(m->p, arena_printf(m->a, "%s.%s", loss, cls->text));
    OriginSet known;
    if (!found && !origins_named(e, &(Ast){.kind = AST_LIST, .kids = &list->kids[i], .n_kids = 1}, &known)) return false;
    if (!found) return not_divided(e, list->kids[i]->span, loss, cls->text, true);
    f->origins |= found;
  }
  for (uint32_t i = 0; (!list || !list->n_kids) && i < m->origins.n; i++) {
    const char *loss = m->origins.v[i]->name;
    bool probe;
    if (!is_loss(m, loss, &probe) || probe) continue;
    const OriginSet found = origin_called(m->p, arena_printf(m->a, "%s.%s", loss, cls->text));
    if (!found) return not_divided(e, cls->span, loss, cls->text, false);
    f->origins |= found;
  }
  return f->origins != 0;
}

/* A condition at positions. */
static bool has_places(Elab *e, const ProgForbid *f, const Ast *cls) {
  Model *m = e->m;
  bool found = !f->otherwise && e->g->v[m->p->conds[f->cond].value].shape.rank > 1;
  for (uint32_t i = 0; f->otherwise && i < m->p->n_classes; i++)
    found |= m->p->classes[i].declared && e->g->v[m->p->conds[m->p->classes[i].cond].value].shape.rank > 1;
  if (found) return true;
  Diag *g = err(m, E0608, cls->span, ast_source_text(m, cls));
  diag_help(m->diags, g, "leave out `at`: `forbid CLASS to REGION` speaks of data");
  return false;
}

void check_forbids(Elab *e) {
  Model *m = e->m;
  Program *p = m->p;
  p->forbids = ARENA_NEWS(m->a, ProgForbid, m->forbids.n + 1);
  for (uint32_t i = 0; i < m->forbids.n; i++) {
    const Ast *ast = m->forbids.v[i]->ast, *cls = ast_kid(ast, 0), *region = ast_kid(ast, 1), *origins = ast_kid(ast, 2);
    ProgForbid f = {.origins = ~(OriginSet)0, .strictly = ast->text != NULL, .about = (ForbidAbout)(int)ast->num, .text = ast_source_text(m, ast), .span = ast->span};
    if (!cls || !region) continue;
    f.class_span = cls->span, f.region_span = region->span;
    bool ok = f.about == FORBID_LOSS ? loss_origins(e, cls, origins, &f) : forbid_class(e, cls, &f);
    if (ok && f.about == FORBID_AT) ok = has_places(e, &f, cls);
    f.region = region_resolve(e, region);
    if (origins && origins->n_kids && f.about != FORBID_LOSS) ok = origins_named(e, origins, &f.origins) && ok;
    if (f.region == UINT32_MAX || !ok) continue;
    if (!p->regions[f.region].n_pieces) {
      err(m, E0605, region->span, p->regions[f.region].name);
      continue;
    }
    p->forbids[p->n_forbids++] = f;
  }
}
