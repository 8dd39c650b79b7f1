/* SPDX-License-Identifier: Apache-2.0
 * check_parameter.c -- `parameter NAME: TYPE = INITIAL`: trainable values of the model without a layer. */
#include "model.h"
#include "builtin.h"
#include <string.h>

/* Fans as PyTorch counts them: [out, in, ...]. Without a second axis both are the number of elements. */
static void fans(const Shape *s, int64_t *in, int64_t *out) {
  int64_t rest = 1;
  for (int i = 2; i < s->rank; i++) rest *= s->d[i];
  *in = s->rank < 2 ? shape_count(s, 1) : s->d[1] * rest;
  *out = s->rank < 2 ? *in : s->d[0] * rest;
}

static bool declared_shape(Elab *e, const Ast *type, Shape *shape) {
  if (type->n_kids > IR_MAX_RANK) {
    err(e->m, E0307, type->span, "a parameter", "more than eight axes");
    return false;
  }
  for (uint32_t i = 0; i < type->n_kids; i++) {
    const Ast *dim = ast_is(type->kids[i], AST_ARG) ? type->kids[i]->kids[0] : type->kids[i];
    if (!static_int(e, elab(e, e->model, dim), "a dimension", 1, MAX_ELEMENTS, &shape->d[shape->rank++]))
      return false;
  }
  return shape_ok(e, type->span, shape, "a parameter");
}

/* A number, or an initialiser as layers have them. */
static bool initial_value(Elab *e, const Ast *a, const Shape *shape, InitSpec *out) {
  int64_t in, all;
  fans(shape, &in, &all);
  const Decl *d = ast_is(a, AST_NAME) ? strmap_get(&e->m->root->names, a->text) : NULL;
  if (ast_is(a, AST_CALL) || (ast_is(a, AST_NAME) && !d)) return init_spec(e, e->model, a, in, all, out);
  double x;
  if (!static_num(e, elab(e, e->model, a), "the initial value of a parameter", -1e30, 1e30, &x)) return false;
  *out = (InitSpec){INIT_CONSTANT, x, 0, false};
  return true;
}

static Val *raw_parameter(Elab *e, const Decl *d) {
  const Ast *type = d->ast->kids[0];
  Shape shape = {0};
  InitSpec init;
  Span at = d->ast->name_span;
  bool ok = block_check_keys(e->m, ast_kid(d->ast, 2), "a parameter", NULL, 0);
  if (!declared_shape(e, type, &shape) || !initial_value(e, d->ast->kids[1], &shape, &init) || !ok)
    return val_poison(e, at);
  ValueId id = param_use(e, d->name, &shape, init.kind, init.a, init.b, at);
  if (!id) return val_poison(e, at);
  Val *v = val_tensor(e, at, id);
  if (!check_type(e, e->model, type, v, arena_printf(e->m->a, "`%s`", d->name), NULL))
    return val_poison(e, at);
  place_add(e, d->name, v, at);
  return v;
}

/* Fields are names of the model too. */
static bool hides_field(Elab *e, const Decl *d) {
  Model *m = e->m;
  for (uint32_t i = 0; i < m->data.n; i++) {
    const Field *f = strmap_get(&m->datas[i].by_name, d->name);
    if (!f) continue;
    Diag *g = err(m, E0203, d->ast->name_span, d->name);
    diag_also(m->diags, g, f->bind->span, "already declared here");
    return true;
  }
  return false;
}

void elab_parameters(Elab *e) {
  Model *m = e->m;
  for (uint32_t i = 0; i < m->raw_params.n; i++) {
    const Decl *d = m->raw_params.v[i];
    Val *v = hides_field(e, d) ? val_poison(e, d->ast->name_span) : raw_parameter(e, d);
    scope_add(e, e->model, ENTRY_VALUE, d->name)->val = v;
  }
}
