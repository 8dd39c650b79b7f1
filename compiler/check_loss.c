/* SPDX-License-Identifier: Apache-2.0
 * check_loss.c -- losses and regularizers: a number for each datum, an explicit denominator, one origin each.
 */
#include "model.h"
#include "fault.h"
#include <string.h>

/* ---- denominators: sums over the datum axis ---- */
static ValueId sum_rows(Elab *e, ValueId x) { return ir_reduce(e->g, OP_SUM, x, (int64_t[]){0}, 1); }

/* Mean of x over the data where c holds; 0 if there is none. */
static ValueId subset_mean(Elab *e, ValueId x, ValueId c, Span at) {
  Graph *g = e->g;
  ValueId zero = f32_const(e, at, 0), one = f32_const(e, at, 1);
  ValueId count = fault("mean-over-batch") ? rows_f32(e) : sum_rows(e, ir_cast(g, c, DT_F32));
  return ir_bin(g, OP_DIV, sum_rows(e, ir_where(g, c, x, zero)), ir_bin(g, OP_MAX, count, one));
}

static const struct FieldOf *finite_field(Elab *e, ValueId id) {
  for (uint32_t i = 0; i < e->n_finite; i++)
    if (e->finite[i].id == id) return &e->finite[i];
  return NULL;
}

/* Sum of the means over the groups that `by` makes: a class has two, a field of integers one for each value.
 */
static ValueId group_means(Elab *e, ValueId x, const Val *by, const Ast *at) {
  Graph *g = e->g;
  Model *m = e->m;
  if (val_dtype(e, by) == DT_BOOL && by->kind == VAL_TENSOR) {
    ValueId yes = subset_mean(e, x, by->id, at->span);
    return ir_bin(g, OP_ADD, yes, subset_mean(e, x, ir_un(g, OP_NOT, by->id), at->span));
  }
  const struct FieldOf *f = finite_field(e, by->id);
  if (by->kind != VAL_TENSOR || !f || f->field->is_bool || f->field->hi - f->field->lo > 1000) {
    err(m, E0302, at->span, "`mean_by`", "a class, or a field of integers with a range of at most a thousand",
        val_text(e, by));
    return 0;
  }
  ValueId total = 0;
  for (double k = f->field->lo; k <= f->field->hi; k++) {
    ValueId c = ir_bin(g, OP_EQ, by->id, ir_const(g, at->span, k, &(Shape){0}, DT_I32));
    ValueId mean = subset_mean(e, x, c, at->span);
    total = total ? ir_bin(g, OP_ADD, total, mean) : mean;
  }
  return total;
}

static bool is_per_datum(Elab *e, const Val *v) {
  const Shape *s = val_shape(e, v);
  return s->rank == 1 && s->d[0] == DIM_ROWS;
}

/* The rank-0 value of a per-datum loss under its settings; 0 after an error. */
static ValueId aggregate(Elab *e, ValueId x, const Ast *block, Span at) {
  Model *m = e->m;
  static const char *const ways[] = {"mean_by", "mean_over", "per", "sum"};
  const Ast *way = NULL;
  for (uint32_t i = 0; i < 4; i++) {
    const Ast *s = block_setting(block, ways[i]);
    if (s && way) {
      Diag *g = err(m, E0412, s->span, s->text, way->text);
      diag_also(m->diags, g, way->span, "given here");
      return 0;
    }
    if (s) way = s;
  }
  if (!way) return ir_bin(e->g, OP_DIV, sum_rows(e, x), rows_f32(e));
  if (!strcmp(way->text, "sum")) return sum_rows(e, x);
  const Ast *value = ast_kid(way, 0);
  if (!value || ast_is(value, AST_BLOCK)) {
    err(m, E0406, way->span, arena_printf(m->a, "`%s`", way->text), "a value");
    return 0;
  }
  Val *v = elab(e, e->model, value);
  if (val_bad(v)) return 0;
  if (!strcmp(way->text, "per")) {
    ValueId n = as_f32(e, v, "`per`");
    if (v->kind == VAL_NUM && !(v->num > 0)) {
      err(m, E0336, v->span, "`per`", number_text(m->a, v->num), "above 0", "infinity");
      return 0;
    }
    if (n && e->g->v[n].shape.rank) {
      err(m, E0302, v->span, "`per`", "one number", val_text(e, v));
      return 0;
    }
    if (!n) return 0;
    return ir_bin(e->g, OP_DIV, sum_rows(e, x), n);
  }
  if (!is_per_datum(e, v)) {
    err(m, E0327, v->span, arena_printf(m->a, "of `%s`", way->text), val_text(e, v));
    return 0;
  }
  if (!strcmp(way->text, "mean_by")) return group_means(e, x, v, value);
  ValueId c = as_bool(e, v, "`mean_over`");
  return c ? subset_mean(e, x, c, at) : 0;
}

/* ---- does it read a routed place? ---- */
/* A tap with a gradient route that x's gradient reaches; NULL if none. */
static const ProgTap *reads_tap(Elab *e, ValueId x) {
  Graph *g = e->g;
  const Program *p = e->m->p;
  uint8_t *live = ARENA_NEWS(e->m->a, uint8_t, g->n);
  live[x] = 1;
  for (ValueId id = x; id > 0; id--) {
    const Value *v = &g->v[id];
    if (!live[id] || v->op == OP_STOP) continue;
    if (v->op == OP_TAP)
      for (uint32_t i = 0; i < p->n_routes; i++)
        if (p->routes[i].tap == (uint32_t)v->ints[0] && p->routes[i].factor) return &p->taps[v->ints[0]];
    for (uint32_t i = 0; i < v->n_args; i++) live[v->args[i]] = 1;
  }
  return NULL;
}

static bool gradient_setting(Model *m, const Ast *block, bool *routed, bool *given) {
  static const char *const words[] = {"routed", "unrouted"};
  const Ast *s = block_setting(block, "gradient"), *v = ast_kid(s, 0);
  *given = s != NULL;
  *routed = true;
  if (!s) return true;
  if (ast_is_name(v, "routed")) return true;
  *routed = false;
  if (ast_is_name(v, "unrouted")) return true;
  Diag *g = err(m, E0201, v ? v->span : s->span, "value of `gradient`", v ? ast_source_text(m, v) : "");
  if (v) diag_choices(m, g, ast_source_text(m, v), words, 2);
  return false;
}

static void must_say_gradient(Elab *e, const Decl *d, const ProgTap *tap) {
  Model *m = e->m;
  const Ast *block = ast_kid(d->ast, 1), *expr = d->ast->kids[0];
  Diag *g = err(m, E0326, d->ast->name_span, d->name, tap->name);
  diag_also(m->diags, g, tap->span, "`%s` is routed", tap->name);
  diag_help(
      m->diags, g,
      "`gradient = unrouted` lets it act on every unit; with `gradient = routed` the route masks it too");
  Span end = block ? (Span){block->span.file, block->span.end - 1, block->span.end - 1}
                   : (Span){expr->span.file, expr->span.end, expr->span.end};
  diag_fix(m->diags, g, end, block ? "; gradient = unrouted " : " { gradient = unrouted }");
}

/* The terms of one origin under a name that nobody else reads, so that those of some data can be held back. */
static ValueId own_terms(Elab *e, ValueId x, Span at) {
  const int64_t axis = 0;
  Shape s = e->g->v[x].shape;
  return ir_make(e->g, OP_BCAST, at, &x, 1, &axis, 1, 0, &s, DT_NONE);
}

static void check_origin(Elab *e, Decl *d) {
  static const char *const keys[] = {"mean_by", "mean_over", "per", "sum", "gradient"};
  Model *m = e->m;
  Program *p = m->p;
  const Ast *block = ast_kid(d->ast, 1);
  bool regularizer = d->ast->kind == AST_REGULARIZE, routed, given;
  block_check_keys(m, block, regularizer ? "a regularizer" : "a loss", keys, 5);
  Val *v = elab(e, e->model, d->ast->kids[0]);
  if (val_bad(v) || !gradient_setting(m, block, &routed, &given)) return;
  uint32_t first = e->g->n;
  ValueId x = as_f32(e, v, arena_printf(m->a, "`%s`", d->name));
  if (!x) return;
  const Shape *s = &e->g->v[x].shape;
  if (v->kind != VAL_TENSOR || (s->rank && !is_per_datum(e, v))) {
    Diag *g = err(m, E0411, v->span, d->name, val_text(e, v));
    if (s->rank) diag_help(m->diags, g, "reduce the other axes: `mean(...)` or `sum(...)`");
    return;
  }
  ValueId terms = s->rank ? own_terms(e, x, v->span) : 0;
  if (s->rank) x = aggregate(e, terms, block, d->ast->span);
  else
    for (uint32_t i = 0; i < 4; i++) {
      const Ast *set = block_setting(block, keys[i]);
      if (set) {
        Diag *g = err(m, E0412, set->span, set->text, "one number");
        diag_note(m->diags, g, "`%s` is one number for the whole batch already", d->name);
        return;
      }
    }
  if (!x) return;
  for (uint32_t i = first; i < e->g->n; i++) e->g->v[i].span = d->ast->span;
  const ProgTap *tap = reads_tap(e, x);
  if (regularizer && tap && !given) must_say_gradient(e, d, tap);
  if (p->n_origins == 64) {
    err(m, E0420, d->ast->name_span, d->name);
    return;
  }
  if (!e->g->v[x].name) e->g->v[x].name = d->name;
  p->origins[p->n_origins] = (ProgOrigin){.name = d->name, .regularizer = regularizer, .routed = routed, .value = x,
                                             .per_datum = terms, .span = d->ast->span};
  graph_root(e->g, ROOT_LOSS, p->n_origins++, 0, x);
}

void check_origins(Elab *e) {
  Model *m = e->m;
  m->p->origins = ARENA_NEWS(m->a, ProgOrigin, 64);
  for (uint32_t i = 0; i < m->origins.n; i++) check_origin(e, m->origins.v[i]);
}
