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

void check_forbids(Elab *e) {
  Model *m = e->m;
  Program *p = m->p;
  p->forbids = ARENA_NEWS(m->a, ProgForbid, m->forbids.n + 1);
  for (uint32_t i = 0; i < m->forbids.n; i++) {
    const Ast *ast = m->forbids.v[i]->ast, *cls = ast_kid(ast, 0), *region = ast_kid(ast, 1), *origins = ast_kid(ast, 2);
    ProgForbid f = {.origins = ~(OriginSet)0, .strictly = ast->text != NULL, .text = ast_source_text(m, ast), .span = ast->span};
    if (!cls || !region) continue;
    f.class_span = cls->span, f.region_span = region->span;
    bool ok = forbid_class(e, cls, &f);
    f.region = region_resolve(e, region);
    if (origins && origins->n_kids) ok = origins_named(e, origins, &f.origins) && ok;
    if (f.region == UINT32_MAX || !ok) continue;
    if (!p->regions[f.region].n_pieces) {
      err(m, E0605, region->span, p->regions[f.region].name);
      continue;
    }
    p->forbids[p->n_forbids++] = f;
  }
}
