/* SPDX-License-Identifier: Apache-2.0
 * check_loss.c -- losses and regularizers: a number for each datum, an explicit denominator, one origin each.
 */
#include "model.h"
#include "fault.h"
#include <string.h>

/* ---- the way from terms to one number ----
 * x has the datum axis first and perhaps named axes behind it (positions). Every way is linear in x, and its denominator
 * does not depend on x: so the parts of a loss that `by_class` makes add up to the loss. */
typedef enum WayKind { WAY_MEAN, WAY_SUM, WAY_PER, WAY_OVER, WAY_BY } WayKind;
typedef struct Way {
  WayKind kind;
  Span at;
  const Ast *value;
  Val *v;     /* OVER, BY */
  ValueId n;  /* PER: rank 0 */
} Way;

static ValueId sum_rows(Elab *e, ValueId x) { return ir_reduce(e->g, OP_SUM, x, (int64_t[]){0}, 1); }

static ValueId sum_rest(Elab *e, ValueId x) {
  int64_t axes[IR_MAX_RANK];
  uint32_t n = (uint32_t)e->g->v[x].shape.rank - 1;
  for (uint32_t i = 0; i < n; i++) axes[i] = i + 1;
  return n ? ir_reduce(e->g, OP_SUM, x, axes, n) : x;
}

/* One origin's terms, a number for each datum, under a name that nothing else reads. */
static ValueId own_terms(Elab *e, ValueId x) {
  const int64_t axis = 0;
  x = sum_rest(e, x);
  Shape s = e->g->v[x].shape;
  return ir_make(e->g, OP_BCAST, e->g->v[x].span, &x, 1, &axis, 1, 0, &s, DT_NONE);
}

static ValueId sum_all(Elab *e, ValueId x) { return sum_rows(e, sum_rest(e, x)); }

/* x where c holds, else 0; x times a weight, where a weight of 0 selects 0. */
static ValueId weighted(Elab *e, ValueId c, ValueId x) {
  Graph *g = e->g;
  ValueId zero = f32_const(e, g->v[x].span, 0);
  if (g->v[c].dtype == DT_BOOL) return ir_where(g, c, x, zero);
  ValueId product = ir_bin(g, OP_MUL, c, x);
  return ir_where(g, ir_bin(g, OP_EQ, c, zero), zero, product);
}

/* Is c one of the program's conditions, or that it does not hold? Then its count says only how many data are of a class. */
static bool counts_class(Elab *e, ValueId c) {
  const Graph *g = e->g;
  const Program *p = e->m->p;
  while (g->v[c].op == OP_BCAST || g->v[c].op == OP_NOT) c = g->v[c].args[0];
  for (uint32_t i = 0; i < p->n_conds && g->v[c].dtype == DT_BOOL; i++)
    if (value_same(g, p->conds[i].value, c)) return true;
  return false;
}

/* A denominator that content decides counts as a way in for `strictly` only, but not what else reads the same number: so it
 * is a value of its own. */
static ValueId own_denominator(Elab *e, ValueId n) {
  const Shape number = {0};
  n = ir_make(e->g, OP_BCAST, e->g->v[n].span, &n, 1, NULL, 0, 0, &number, DT_NONE);
  *PUSH(e->m->a, e->m->p->cuts, e->m->p->n_cuts) = n;
  return n;
}

/* How many of x's terms c holds for, at least 1; for weights their sum, or 1 where it is not above 0. */
static ValueId count_of(Elab *e, ValueId c, Span at) {
  Graph *g = e->g;
  ValueId one = f32_const(e, at, 1), n;
  if (g->v[c].dtype == DT_BOOL) {
    ValueId count = fault("mean-over-batch") ? rows_f32(e) : sum_all(e, ir_cast(g, c, DT_F32));
    n = ir_bin(g, OP_MAX, count, one);
  } else {
    ValueId sum = sum_all(e, c);
    n = ir_where(g, ir_bin(g, OP_LT, f32_const(e, at, 0), sum), sum, one);
  }
  return counts_class(e, c) ? n : own_denominator(e, n);
}

static const struct FieldOf *finite_field(Elab *e, ValueId id) {
  for (uint32_t i = 0; i < e->n_finite; i++)
    if (e->finite[i].id == id) return &e->finite[i];
  return NULL;
}

static bool is_condition(Elab *e, const Val *v) {
  Dtype t = v->kind == VAL_TENSOR ? val_dtype(e, v) : DT_NONE;
  return (t == DT_BOOL || t == DT_F32) && val_has_rows(e, v);
}

const Decl *class_named(const Model *m, const Ast *name) {
  const Decl *d = ast_is(name, AST_NAME) ? strmap_get(&m->root->names, name->text) : NULL;
  return d && d->kind == DECL_CLASS ? d : NULL;
}

/* The conditions of the groups that `mean_by` makes: a class has two, a field of integers one for each value. */
static uint32_t groups_of(Elab *e, const Way *w, ValueId **out) {
  Graph *g = e->g;
  uint32_t n = 0;
  *out = NULL;
  const bool soft = val_dtype(e, w->v) == DT_F32;
  if (is_condition(e, w->v) && (!soft || class_named(e->m, w->value))) {
    *PUSH(e->m->a, *out, n) = w->v->id;
    *PUSH(e->m->a, *out, n) = soft ? ir_bin(g, OP_SUB, f32_const(e, w->at, 1), w->v->id) : ir_un(g, OP_NOT, w->v->id);
    return n;
  }
  const struct FieldOf *f = w->v->kind == VAL_TENSOR ? finite_field(e, w->v->id) : NULL;
  if (!f || f->field->is_bool || f->field->hi - f->field->lo > 1000) {
    err(e->m, E0302, w->value->span, "`mean_by`",
        "a class, or a field of integers with a range of at most a thousand", val_text(e, w->v));
    return 0;
  }
  for (double k = f->field->lo; k <= f->field->hi; k++)
    *PUSH(e->m->a, *out, n) = ir_bin(g, OP_EQ, w->v->id, ir_const(g, w->value->span, k, &(Shape){0}, DT_I32));
  return n;
}

static ValueId spread(Elab *e, ValueId c, const Val *axes, const Val *like) {
  ValueId out = 0;
  Val *v = val_like(e, axes->span, c, axes);
  return broadcast_to(e, axes->span, "the condition of a loss", v, like, &out) ? out : 0;
}

/* Sum of the groups' means. Groups of positions weigh each term first, so that data have terms of their own. */
static ValueId mean_by(Elab *e, ValueId x, const Way *w, const Val *like, ValueId *terms) {
  Graph *g = e->g;
  ValueId *group = NULL, total = 0, weights = 0;
  uint32_t n = groups_of(e, w, &group);
  const bool inside = val_shape(e, w->v)->rank > 1;
  if (!inside) x = *terms = own_terms(e, x);
  for (uint32_t i = 0; i < n; i++) {
    ValueId c = inside ? spread(e, group[i], w->v, like) : group[i];
    if (!c) return 0;
    ValueId count = count_of(e, c, w->at);
    for (int k = 1; !inside && k < val_shape(e, like)->rank; k++)
      count = ir_bin(g, OP_MUL, count, f32_const(e, w->at, (double)val_shape(e, like)->d[k]));
    ValueId mean = inside ? weighted(e, c, ir_bin(g, OP_DIV, f32_const(e, w->at, 1), count))
                          : ir_bin(g, OP_DIV, sum_rows(e, weighted(e, c, x)), count);
    ValueId *sum = inside ? &weights : &total;
    *sum = *sum ? ir_bin(g, OP_ADD, *sum, mean) : mean;
  }
  if (!inside) return total;
  return weights ? sum_rows(e, *terms = own_terms(e, ir_bin(g, OP_MUL, x, weights))) : 0;
}

/* The rank-0 value of terms x, and what it sums over data; 0 after an error. */
static ValueId aggregate(Elab *e, ValueId x, const Way *w, const Val *like, ValueId *terms) {
  Graph *g = e->g;
  const Shape *s = val_shape(e, like);
  if (w->kind == WAY_BY) return mean_by(e, x, w, like, terms);
  if (w->kind == WAY_OVER) {
    ValueId c = spread(e, w->v->id, w->v, like);
    if (!c) return 0;
    *terms = own_terms(e, weighted(e, c, x));
    ValueId count = count_of(e, c, w->at);
    return ir_bin(g, OP_DIV, sum_rows(e, *terms), count);
  }
  *terms = own_terms(e, x);
  ValueId sum = sum_rows(e, *terms), n = rows_f32(e);
  if (w->kind == WAY_SUM) return sum;
  if (w->kind == WAY_PER) return ir_bin(g, OP_DIV, sum, w->n);
  for (int k = 1; k < s->rank; k++) n = ir_bin(g, OP_MUL, n, f32_const(e, w->at, (double)s->d[k]));
  return ir_bin(g, OP_DIV, sum, n);
}

static bool way_per(Elab *e, Way *w) {
  Model *m = e->m;
  w->n = as_f32(e, w->v, "`per`");
  if (w->v->kind == VAL_NUM && !(w->v->num > 0)) {
    err(m, E0336, w->v->span, "`per`", number_text(m->a, w->v->num), "above 0", "infinity");
    return false;
  }
  if (w->n && e->g->v[w->n].shape.rank) {
    err(m, E0302, w->v->span, "`per`", "one number", val_text(e, w->v));
    return false;
  }
  if (w->n && w->v->kind == VAL_TENSOR) w->n = own_denominator(e, w->n);
  return w->n != 0;
}

/* Which of the settings it is, with its value; false after an error. */
static bool find_way(Elab *e, const Ast *block, Span at, Way *w) {
  Model *m = e->m;
  static const char *const words[] = {"mean_by", "mean_over", "per", "sum"};
  static const WayKind kinds[] = {WAY_BY, WAY_OVER, WAY_PER, WAY_SUM};
  const Ast *way = NULL;
  *w = (Way){.at = at};
  for (uint32_t i = 0; i < 4; i++) {
    const Ast *s = block_setting(block, words[i]);
    if (s && way) {
      Diag *g = err(m, E0412, s->span, s->text, way->text);
      diag_also(m->diags, g, way->span, "given here");
      return false;
    }
    if (s) way = s, w->kind = kinds[i];
  }
  if (!way || w->kind == WAY_SUM) return true;
  w->value = ast_kid(way, 0);
  if (!w->value || ast_is(w->value, AST_BLOCK)) {
    err(m, E0406, way->span, arena_printf(m->a, "`%s`", way->text), "a value");
    return false;
  }
  w->v = elab(e, e->model, w->value);
  if (val_bad(w->v)) return false;
  if (w->kind == WAY_PER) return way_per(e, w);
  if (!val_has_rows(e, w->v) || (w->kind == WAY_OVER && !is_condition(e, w->v))) {
    err(m, E0327, w->v->span, arena_printf(m->a, "of `%s`", way->text), val_text(e, w->v));
    return false;
  }
  return true;
}

/* ---- by_class: an origin for each class and one for the rest ---- */
typedef struct Share {
  const char *name; /* of the class, "otherwise"; NULL: the whole loss */
  ValueId when;     /* whose terms they are, of the terms' shape; 0: all */
} Share;
typedef struct Shares {
  Share *v;
  uint32_t n;
} Shares;

/* The condition "c and what is left": the first class that holds takes the datum. */
static ValueId take(Elab *e, ValueId left, ValueId c) {
  Graph *g = e->g;
  if (!left || fault("classes-overlap")) return c;
  if (g->v[c].dtype == DT_BOOL && g->v[left].dtype == DT_BOOL) return ir_bin(g, OP_AND, left, c);
  ValueId weight = ir_cast(g, c, DT_F32);
  return ir_bin(g, OP_MUL, ir_cast(g, left, DT_F32), weight);
}

static ValueId opposite(Elab *e, ValueId c) {
  Graph *g = e->g;
  return g->v[c].dtype == DT_BOOL ? ir_un(g, OP_NOT, c) : ir_bin(g, OP_SUB, f32_const(e, g->v[c].span, 1), c);
}

static ValueId class_condition(Elab *e, const Ast *name, const Val *like) {
  Model *m = e->m;
  if (!class_named(m, name)) {
    const char **names = ARENA_NEWS(m->a, const char *, m->classes.n + 1);
    for (uint32_t i = 0; i < m->classes.n; i++) names[i] = m->classes.v[i]->name;
    Diag *g = err(m, E0423, name->span, ast_source_text(m, name));
    if (ast_is(name, AST_NAME)) diag_suggest(m->diags, g, name->text, names, m->classes.n);
    return 0;
  }
  Val *v = elab(e, e->model, name);
  ValueId c = 0;
  return !val_bad(v) && broadcast_to(e, name->span, "`by_class`", v, like, &c) ? c : 0;
}

/* The shares that `by_class = C` or `[C, D]` makes of a loss; the whole loss without it. */
static bool find_shares(Elab *e, const Ast *block, const Val *like, Shares *out) {
  Model *m = e->m;
  const Ast *set = block_setting(block, "by_class"), *value = ast_kid(set, 0);
  *out = (Shares){ARENA_NEWS(m->a, Share, (ast_is(value, AST_LIST) ? value->n_kids : 1) + 1), 0};
  if (!set) return out->v[out->n++] = (Share){NULL, 0}, true;
  if (!value || ast_is(value, AST_BLOCK) || (ast_is(value, AST_LIST) && !value->n_kids)) {
    err(m, E0406, set->span, "`by_class`", "a class");
    return false;
  }
  const Ast *const *names = ast_is(value, AST_LIST) ? (const Ast *const *)value->kids : &value;
  ValueId left = 0;
  for (uint32_t i = 0; i < (ast_is(value, AST_LIST) ? value->n_kids : 1); i++) {
    ValueId c = class_condition(e, names[i], like);
    if (!c) return false;
    for (uint32_t k = 0; k < out->n; k++)
      if (!strcmp(out->v[k].name, names[i]->text)) return err(m, E0203, names[i]->span, names[i]->text), false;
    out->v[out->n++] = (Share){names[i]->text, take(e, left, c)};
    left = take(e, left, opposite(e, c));
  }
  out->v[out->n++] = (Share){"otherwise", left};
  return true;
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
        if (p->routes[i].tap == (uint32_t)v->ints[0] && p->routes[i].primitive != ROUTE_VALUE) return &p->taps[v->ints[0]];
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

/* ---- origins ---- */
static void add_origin(Elab *e, const Decl *d, const char *name, ProgOrigin o) {
  Model *m = e->m;
  Program *p = m->p;
  if (p->n_origins == 64) {
    err(m, E0420, d->ast->name_span, name);
    return;
  }
  o.name = name, o.regularizer = d->ast->kind == AST_REGULARIZE, o.span = d->ast->span;
  if (!e->g->v[o.value].name) e->g->v[o.value].name = name;
  p->origins[p->n_origins] = o;
  graph_root(e->g, ROOT_LOSS, p->n_origins++, 0, o.value);
}

/* Terms for each datum, and perhaps for named axes behind it. */
static bool has_terms(Elab *e, const Val *v) {
  const Shape *s = val_shape(e, v);
  for (int i = 1; i < s->rank; i++)
    if (!v->axis[i]) return false;
  return v->kind == VAL_TENSOR && s->rank && s->d[0] == DIM_ROWS;
}

/* Settings of a number of the whole batch: it has no denominator and no data of its own. */
static bool whole_batch(Model *m, const Decl *d, const Ast *block) {
  static const char *const keys[] = {"mean_by", "mean_over", "per", "sum", "by_class"};
  for (uint32_t i = 0; i < 5; i++) {
    const Ast *set = block_setting(block, keys[i]);
    if (!set) continue;
    Diag *g = err(m, E0412, set->span, set->text, "one number");
    diag_note(m->diags, g, "`%s` is one number for the whole batch already", d->name);
    return false;
  }
  return true;
}

static bool probe_setting(Model *m, const Ast *block) {
  const Ast *s = block_setting(block, "probe");
  if (s && ast_kid(s, 0)) err(m, E0424, s->span, ast_source_text(m, s));
  return s != NULL;
}

static void check_origin(Elab *e, Decl *d) {
  static const char *const keys[] = {"mean_by", "mean_over", "per", "sum", "gradient", "by_class", "probe"};
  Model *m = e->m;
  const Ast *block = ast_kid(d->ast, 1);
  bool routed, given;
  block_check_keys(m, block, d->ast->kind == AST_REGULARIZE ? "a regularizer" : "a loss", keys, 7);
  e->bind_path = arena_printf(m->a, "loss %s", d->name);
  Val *v = elab(e, e->model, d->ast->kids[0]);
  e->bind_path = NULL;
  if (val_bad(v) || !gradient_setting(m, block, &routed, &given)) return;
  ProgOrigin o = {.routed = routed, .probe = probe_setting(m, block)};
  uint32_t first = e->g->n;
  ValueId x = as_f32(e, v, arena_printf(m->a, "`%s`", d->name));
  if (!x) return;
  const int rank = e->g->v[x].shape.rank;
  if (v->kind != VAL_TENSOR || (rank && !has_terms(e, v))) {
    Diag *g = err(m, E0411, v->span, d->name, val_text(e, v));
    if (rank) diag_help(m->diags, g, "reduce the other axes: `mean(...)` or `sum(...)`");
    return;
  }
  Way way = {0};
  Shares shares = {&(Share){NULL, 0}, 1};
  Val *like = rank ? val_like(e, v->span, x, v) : v;
  if (rank ? !find_way(e, block, d->ast->span, &way) || !find_shares(e, block, like, &shares)
           : !whole_batch(m, d, block))
    return;
  for (uint32_t i = 0; i < shares.n; i++) {
    const Share *share = &shares.v[i];
    ValueId own = share->when ? weighted(e, share->when, x) : x;
    o.per_datum = 0;
    o.value = rank ? aggregate(e, own, &way, like, &o.per_datum) : x;
    if (!o.value) return;
    const ProgTap *tap = reads_tap(e, o.value);
    if (d->ast->kind == AST_REGULARIZE && tap && !given && !i) must_say_gradient(e, d, tap);
    add_origin(e, d, share->name ? arena_printf(m->a, "%s.%s", d->name, share->name) : d->name, o);
  }
  for (uint32_t i = first; i < e->g->n; i++) e->g->v[i].span = d->ast->span;
}

/* ---- probes ---- */
/* The parameters that an origin's gradient reaches, whatever masks it on the way. */
static void trained_by(Elab *e, ValueId value, bool *params) {
  Graph *g = e->g;
  uint8_t *live = ARENA_NEWS(e->m->a, uint8_t, g->n);
  live[value] = 1;
  for (ValueId id = value; id > 0; id--) {
    const Value *v = &g->v[id];
    if (!live[id] || v->op == OP_STOP || (v->dtype != DT_F32 && v->dtype != DT_F64)) continue;
    if (v->op == OP_PARAM) params[v->ints[0]] = true;
    for (uint32_t i = 0; i < v->n_args; i++) live[v->args[i]] = 1;
  }
}

/* What a probe trains nothing else trains, and a probe trains nothing else: then adding it moves no other parameter. */
static void check_probes(Elab *e) {
  Model *m = e->m;
  const Program *p = m->p;
  bool **trains = ARENA_NEWS(m->a, bool *, p->n_origins + 1), any = false;
  for (uint32_t i = 0; i < p->n_origins; i++) any = any || p->origins[i].probe;
  for (uint32_t i = 0; any && i < p->n_origins; i++) {
    trains[i] = ARENA_NEWS(m->a, bool, p->n_params + 1);
    trained_by(e, p->origins[i].value, trains[i]);
  }
  for (uint32_t i = 0; any && i < p->n_origins; i++)
    for (uint32_t k = 0; p->origins[i].probe && k < p->n_origins; k++)
      for (uint32_t q = 0; !p->origins[k].probe && q < p->n_params; q++) {
        if (!trains[i][q] || !trains[k][q]) continue;
        Diag *g = err(m, E0425, p->origins[i].span, p->origins[i].name, p->params[q].path, p->origins[k].name);
        diag_also(m->diags, g, p->origins[k].span, "`%s` trains it too", p->origins[k].name);
        diag_also(m->diags, g, p->params[q].span, "`%s` is made here", p->params[q].path);
        diag_help(m->diags, g, "a probe reads a detached view: `stop(x)`");
        return;
      }
}

/* ---- losses of gates ---- */
/* Does no value of the fields that it reads make the condition hold? */
static bool never_holds(Elab *e, ValueId cond) {
  Finite f;
  double truth = 0;
  if (!finite_collect(e, &cond, 1, &f) || f.count * (double)(e->g->n + 1) > 2e8) return false;
  for (double k = 0; k < f.count && truth == 0; k++) finite_eval(e, &f, k, &cond, 1, &truth);
  return truth == 0;
}

static bool gate_when(Elab *e, const Gate *gate, Way *w) {
  Model *m = e->m;
  w->value = ast_kid(gate->when, 0);
  if (!w->value) return true;
  w->kind = WAY_OVER, w->v = elab(e, e->model, w->value);
  if (val_bad(w->v)) return false;
  if (!val_has_rows(e, w->v) || !is_condition(e, w->v)) {
    err(m, E0327, w->v->span, arena_printf(m->a, "of gate `%s`", gate->decl->name), val_text(e, w->v));
    return false;
  }
  if (!cond_reads_data(e, w->v->id, arena_printf(m->a, "the condition of gate `%s`", gate->decl->name), w->v->span)) return false;
  cond_add(e, w->v->id, ast_source_text(m, w->value), w->value->span);
  if (!m->walk && never_holds(e, w->v->id)) err(m, W0321, gate->when->span, gate->decl->name, ast_source_text(m, w->value));
  return true;
}

/* The number that its terms are multiplied with, or 0 after an error. */
static ValueId gate_weight(Elab *e, const Gate *gate) {
  const Ast *value = ast_kid(gate->weight, 0);
  if (!value) return f32_const(e, gate->decl->ast->span, 1);
  Val *v = elab(e, e->model, value);
  if (v->kind == VAL_NUM && !(v->num >= 0)) {
    err(e->m, E0336, v->span, "`weight`", number_text(e->m->a, v->num), "0", "infinity");
    return 0;
  }
  const ValueId w = val_bad(v) ? 0 : as_f64_scalar(e, v, "`weight`");
  return w ? ir_cast(e->g, w, DT_F32) : 0;
}

/* An origin of the gate's name: the mean of the terms of the data that `when` speaks of. */
static void check_gate_loss(Elab *e, const Gate *gate) {
  const uint32_t first = e->g->n;
  Way way = {.at = gate->decl->ast->span};
  if (!gate->target || !gate->matched) return;
  e->bind_path = arena_printf(e->m->a, "gate %s", gate->decl->name);
  Val *terms = gate_terms(e, gate);
  const bool when = gate_when(e, gate, &way);
  const ValueId weight = gate_weight(e, gate);
  e->bind_path = NULL;
  if (!terms || !when || !weight) return;
  ProgOrigin o = {.routed = true};
  ValueId x = gate->weight ? ir_bin(e->g, OP_MUL, weight, terms->id) : terms->id;
  o.value = aggregate(e, x, &way, terms, &o.per_datum);
  if (!o.value) return;
  add_origin(e, gate->decl, gate->decl->name, o);
  for (uint32_t i = first; i < e->g->n; i++) e->g->v[i].span = gate->decl->ast->span;
}

void check_origins(Elab *e) {
  Model *m = e->m;
  m->p->origins = ARENA_NEWS(m->a, ProgOrigin, 64);
  for (uint32_t i = 0; i < m->origins.n; i++) check_origin(e, m->origins.v[i]);
  for (uint32_t i = 0; i < m->gates.n; i++) {
    const uint32_t before = m->p->n_origins;
    check_gate_loss(e, &m->gate[i]);
    gate_record(e, &m->gate[i], m->p->n_origins > before ? (int32_t)before : -1);
  }
  check_probes(e);
}
