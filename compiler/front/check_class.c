/* SPDX-License-Identifier: Apache-2.0
 * check_class.c -- data classes: predicates, weights, and labels that are drawn: observed classes, random
 * controls. */
#include "model.h"
#include <math.h>
#include <string.h>

/* ---- derived columns ---- */
Elab *derived_begin(Elab *e, const char *name) {
  Elab *d = elab_create(e->m, name, false, e->data);
  elab_model(d);
  return d;
}

static uint32_t source_of(const Elab *e, ValueId id) {
  uint8_t *live = ARENA_NEWS(e->m->a, uint8_t, id + 1);
  live[id] = 1;
  for (ValueId k = id; k > 0; k--) {
    const Value *v = &e->g->v[k];
    if (live[k] && v->op == OP_COLUMN) return e->m->p->columns[v->ints[0]].source;
    for (uint32_t i = 0; live[k] && i < v->n_args; i++) live[v->args[i]] = 1;
  }
  return e->data;
}

uint32_t program_derive(Program *p, uint32_t source, Graph *g, ValueId value, const char *name, Span span) {
  graph_root(g, ROOT_KEEP, 0, 0, value);
  *PUSH(p->arena, p->columns, p->n_columns) = (ProgColumn){.source = source,
                                                           .name = name,
                                                           .dtype = DT_I32,
                                                           .shape = shape_of(1, DIM_ROWS),
                                                           .derived = p->n_derived + 1,
                                                           .span = span};
  const ProgShare none = {-1, -1};
  *PUSH(p->arena, p->derived, p->n_derived) = (ProgDerived){.name = name,
                                                            .source = source,
                                                            .column = p->n_columns - 1,
                                                            .graph = g,
                                                            .recall = none,
                                                            .precision = none,
                                                            .false_positives = none,
                                                            .no = none,
                                                            .span = span};
  return p->n_derived - 1;
}

uint32_t derived_end(Elab *d, ValueId value, const char *name, DrawKind draw, Span span) {
  ValueId id = ir_cast(d->g, value, DT_I32);
  const uint32_t k = program_derive(d->m->p, source_of(d, id), d->g, id, name, span);
  d->m->p->derived[k].draw = draw;
  return k;
}

/* ---- drawn labels ---- */
static bool share_arg(Elab *e, const Ast *a, ProgShare *out) {
  const char *what = arena_printf(e->m->a, "`%s`", a->text);
  Val *v = elab(e, e->model, a->kids[0]);
  const bool scalar = v->kind == VAL_NUM && v->id && e->g->v[v->id].op == OP_SCALAR;
  if (!scalar) {
    out->scalar = -1;
    return static_num(e, v, what, 0, 1, &out->value);
  }
  if (!(v->num >= 0 && v->num <= 1)) {
    err(e->m, E0336, v->span, what, number_text(e->m->a, v->num), "0", "1");
    return false;
  }
  *out = (ProgShare){v->num, (int32_t)e->g->v[v->id].ints[0]};
  return true;
}

typedef struct DrawnArgs {
  const Ast *of;
  ProgShare recall, precision, false_positives, no;
  bool has_seed;
  int64_t seed;
} DrawnArgs;

static bool drawn_arg(Elab *e, const Ast *arg, bool observe, DrawnArgs *out) {
  static const char *const keys[] = {"seed", "recall", "precision", "false_positives", "no"};
  ProgShare *shares[] = {NULL, &out->recall, &out->precision, &out->false_positives, &out->no};
  Model *m = e->m;
  if (!ast_is(arg, AST_ARG)) {
    if (!out->of) return out->of = arg, true;
    err(m, E0208, arg->span, observe ? "observe" : "random_like", "takes one class");
    return false;
  }
  if (!strcmp(arg->text, "seed")) {
    out->has_seed = true;
    return static_int(e, elab(e, e->model, arg->kids[0]), "`seed`", 0, (int64_t)1 << 53, &out->seed);
  }
  for (uint32_t i = 1; observe && i < 5; i++)
    if (!strcmp(arg->text, keys[i])) return share_arg(e, arg, shares[i]);
  Diag *g = err(m, E0207, arg->name_span, observe ? "observe" : "random_like", arg->text);
  diag_suggest(m->diags, g, arg->text, keys, observe ? 5 : 1);
  return false;
}

static bool drawn_args(Elab *e, const Ast *call, bool observe, DrawnArgs *out) {
  Model *m = e->m;
  const char *fn = observe ? "observe" : "random_like";
  StrMap seen = {0};
  *out = (DrawnArgs){
      .recall = {observe ? -1 : 1, -1}, .precision = {-1, -1}, .false_positives = {-1, -1}, .no = {0, -1}};
  for (uint32_t i = 1; i < call->n_kids; i++) {
    const Ast *arg = call->kids[i];
    if (ast_is(arg, AST_ARG) && strmap_get(&seen, arg->text))
      return err(m, E0209, arg->span, arg->text), false;
    if (ast_is(arg, AST_ARG)) strmap_put(m->a, &seen, arg->text, m);
    if (!drawn_arg(e, arg, observe, out)) return false;
  }
  const char *lacks = !out->of                ? "needs the class that is observed"
                      : out->recall.value < 0 ? "needs a value for `recall`"
                      : out->precision.value == 0 && out->precision.scalar < 0 ? "needs a `precision` above 0"
                      : out->precision.value >= 0 && out->false_positives.value >= 0
                          ? "takes `precision` or `false_positives`, not both"
                          : NULL;
  if (!lacks) return true;
  Diag *g = err(m, E0208, call->span, fn, lacks);
  diag_note(m->diags, g,
            observe ? "it is `observe(class, recall = 0.9, precision = 0.95, no = 0, seed = 1)`"
                    : "it is `random_like(class, seed = 1)`");
  return false;
}

/* The declaration that the first argument names; NULL after an error. */
static Decl *drawn_of(Elab *e, const Decl *d, const Ast *of, bool observe) {
  Model *m = e->m;
  Decl *c = ast_is(of, AST_NAME) ? strmap_get(&d->file->names, of->text) : NULL;
  const char *names[64];
  uint32_t n = 0;
  if (c && c->kind == DECL_CLASS && !(observe && m->drawn[c->index].call)) return c;
  for (uint32_t i = 0; i < m->classes.n && n < 64; i++)
    if (!(observe && m->drawn[i].call) && m->classes.v[i] != d) names[n++] = m->classes.v[i]->name;
  Diag *g = err(m, E0352, of->span, observe ? "observe" : "random_like");
  if (c && c->kind == DECL_CLASS) diag_label(m->diags, g, "`%s` holds drawn labels itself", c->name);
  else if (ast_is(of, AST_NAME)) diag_suggest(m->diags, g, of->text, names, n);
  return NULL;
}

/* Makes the column of a drawn class, once in a walk. False after an error. */
static bool drawn_make(Elab *e, Decl *d) {
  Model *m = e->m;
  DrawnClass *x = &m->drawn[d->index];
  const bool observe = ast_is_name(x->call->kids[0], "observe");
  DrawnArgs args;
  if (x->made || x->bad) return x->made;
  x->bad = true;
  if (!drawn_args(e, x->call, observe, &args)) return false;
  Decl *of = drawn_of(e, d, args.of, observe);
  if (!of) return false;
  const char *name = arena_printf(m->a, "class %s", d->name);
  Elab *s = derived_begin(e, name);
  Val *t = class_value(s, of, args.of->span);
  if (val_bad(t)) return false;
  if (val_dtype(s, t) != DT_BOOL || val_shape(s, t)->rank != 1 || !cond_is_steady(s, t->id)) {
    Diag *g = err(m, E0352, args.of->span, observe ? "observe" : "random_like");
    diag_label(m->diags, g, "labels are drawn once for each datum; `%s` is %s%s", of->name, val_text(s, t),
               cond_is_steady(s, t->id) ? "" : " that changes from step to step");
    return false;
  }
  const uint32_t k = derived_end(s, t->labels ? t->labels : t->id, name,
                                 observe ? DRAW_OBSERVE : DRAW_RANDOM_LIKE, d->ast->span);
  ProgDerived *r = &m->p->derived[k];
  r->recall = args.recall, r->precision = args.precision, r->false_positives = args.false_positives,
  r->no = args.no;
  r->has_seed = args.has_seed, r->seed = (uint64_t)args.seed;
  x->bad = false, x->made = true, x->derived = k, x->of = of->index;
  x->labels = (Field){
      .name = d->name, .has_range = true, .is_label = true, .lo = observe || t->labels ? -1 : 0, .hi = 1};
  return true;
}

static Val *drawn_value(Elab *e, Decl *d, Span use) {
  Model *m = e->m;
  if (!drawn_make(e, d)) return val_poison(e, use);
  const DrawnClass *x = &m->drawn[d->index];
  const uint32_t column = m->p->derived[x->derived].column;
  const ProgColumn *c = &m->p->columns[column];
  if (e->data != NO_DATA && e->data != c->source) {
    err(m, E0418, use, d->name, "it labels other data than the rows here");
    return val_poison(e, use);
  }
  ValueId id = ir_make(e->g, OP_COLUMN, use, NULL, 0, (int64_t[]){column}, 1, 0, &c->shape, c->dtype);
  e->g->v[id].name = c->name;
  add_finite(e, id, (Field *)(uintptr_t)&x->labels);
  Val *v = val_tensor(e, use, label_is(e, id, 1));
  v->labels = id;
  return v;
}

ValueId label_is(Elab *e, ValueId labels, int which) {
  return ir_bin(e->g, OP_EQ, labels, ir_const(e->g, e->g->v[labels].span, which, &(Shape){0}, DT_I32));
}

bool class_label_possible(const Model *m, uint32_t class, bool member, double label) {
  const DrawnClass *x = &m->drawn[class];
  const ProgDerived *d = &m->p->derived[x->derived];
  if (d->draw == DRAW_RANDOM_LIKE) return true;
  const bool open[] = {d->recall.scalar >= 0, d->no.scalar >= 0,
                       d->precision.scalar >= 0 || d->false_positives.scalar >= 0};
  const bool wrong =
      open[2] || (d->precision.value >= 0 && d->precision.value < 1) || d->false_positives.value > 0;
  if (member)
    return label == 1 ? open[0] || d->recall.value > 0 : label == -1 && (open[0] || d->recall.value < 1);
  if (label == 1) return wrong;
  return label == 0 ? open[1] || d->no.value > 0 : open[1] || d->no.value < 1;
}

/* ---- weights ---- */
typedef struct Range {
  double lo, hi;
} Range;

static Range range_of(const Elab *e, ValueId id, int depth);

static Range range_product(Range a, Range b) {
  const double p[] = {a.lo * b.lo, a.lo * b.hi, a.hi * b.lo, a.hi * b.hi};
  Range r = {p[0], p[0]};
  for (int i = 0; i < 4; i++) {
    if (!(p[i] >= r.lo)) r.lo = p[i]; /* NaN, of 0 times infinity, makes it unknown */
    if (!(p[i] <= r.hi)) r.hi = p[i];
  }
  return r.lo <= r.hi ? r : (Range){-INFINITY, INFINITY};
}

/* An enclosure of a value, where the operations say one. */
static Range range_of(const Elab *e, ValueId id, int depth) {
  const Value *v = &e->g->v[id];
  const Range all = {-INFINITY, INFINITY};
  if (depth > 40) return all;
  for (uint32_t i = 0; i < e->n_finite; i++)
    if (e->finite[i].id == id && e->finite[i].field->has_range)
      return (Range){e->finite[i].field->lo, e->finite[i].field->hi};
  Range a = v->n_args ? range_of(e, v->args[0], depth + 1) : all,
        b = v->n_args > 1 ? range_of(e, v->args[1], depth + 1) : all, c;
  switch (v->op) {
  case OP_CONST: return v->data ? all : (Range){v->num, v->num};
  case OP_SCALAR: return (Range){e->m->p->scalars[v->ints[0]].lo, e->m->p->scalars[v->ints[0]].hi};
  case OP_RANDOM:
  case OP_SIGMOID: return (Range){0, 1};
  case OP_NEG: return (Range){-a.hi, -a.lo};
  case OP_ABS: return a.lo >= 0 ? a : (Range){0, fmax(-a.lo, a.hi)};
  case OP_ADD: return (Range){a.lo + b.lo, a.hi + b.hi};
  case OP_SUB: return (Range){a.lo - b.hi, a.hi - b.lo};
  case OP_MUL: return range_product(a, b);
  case OP_DIV: return b.lo > 0 || b.hi < 0 ? range_product(a, (Range){1 / b.hi, 1 / b.lo}) : all;
  case OP_MIN: return (Range){fmin(a.lo, b.lo), fmin(a.hi, b.hi)};
  case OP_MAX: return (Range){fmax(a.lo, b.lo), fmax(a.hi, b.hi)};
  case OP_WHERE: c = range_of(e, v->args[2], depth + 1); return (Range){fmin(b.lo, c.lo), fmax(b.hi, c.hi)};
  case OP_CAST: return v->dtype == DT_BOOL || e->g->v[v->args[0]].dtype == DT_BOOL ? (Range){0, 1} : a;
  case OP_STOP:
  case OP_BCAST:
  case OP_RESHAPE: return a;
  default: return all;
  }
}

/* A weight must lie in [0, 1]: proved from ranges, or checked when the data is read. False after an error. */
static bool weight_fits(Elab *e, const Decl *d, const Val *v) {
  Model *m = e->m;
  const Range r = range_of(e, v->id, 0);
  Finite f;
  double x;
  if (r.lo >= 0 && r.hi <= 1) return true;
  if (finite_collect(e, &v->id, 1, &f)) {
    for (double k = 0; k < f.count; k++) {
      finite_eval(e, &f, k, &v->id, 1, &x);
      if (x >= 0 && x <= 1) continue;
      Diag *g = err(m, E0353, v->span, d->name);
      diag_label(m->diags, g, "it is %s where %s", number_text(m->a, x), finite_describe(e, &f, k));
      return false;
    }
    return true;
  }
  if (r.hi < 0 || r.lo > 1 || !cond_is_steady(e, v->id)) {
    Diag *g = err(m, E0353, v->span, d->name);
    if (r.lo > -INFINITY || r.hi < INFINITY)
      diag_label(m->diags, g, "it lies in %s to %s", number_text(m->a, r.lo), number_text(m->a, r.hi));
    diag_help(m->diags, g, "say what happens beyond, as in `clamp(..., 0, 1)`");
    return false;
  }
  if (m->drawn[d->index].made) return true;
  const char *name = arena_printf(m->a, "weights of class %s", d->name);
  Elab *s = derived_begin(e, name);
  Val *w = elab(s, s->model, ast_kid(d->ast, 0));
  ValueId id = val_bad(w) ? 0 : as_f32(s, w, "a weight");
  if (!id) return false;
  ValueId below = ir_bin(s->g, OP_LE, id, f32_const(s, v->span, 1));
  ValueId inside = ir_bin(s->g, OP_AND, ir_bin(s->g, OP_LE, f32_const(s, v->span, 0), id), below);
  ValueId bad = ir_cast(s->g, ir_un(s->g, OP_NOT, inside), DT_I32);
  int64_t axes[IR_MAX_RANK];
  const int rank = s->g->v[bad].shape.rank;
  for (int i = 1; i < rank; i++) axes[i - 1] = i;
  bad =
      ir_cast(s->g, ir_reduce(s->g, OP_SUM, ir_cast(s->g, bad, DT_F32), axes, (uint32_t)(rank - 1)), DT_I32);
  derived_end(s, bad, name, DRAW_CHECK, d->ast->span);
  return m->drawn[d->index].made = true;
}

/* ---- classes ---- */
static Val *class_checked(Elab *e, const Decl *d, Val *v, Span use) {
  Model *m = e->m;
  const char *what = arena_printf(m->a, "of class `%s`", d->name);
  const bool soft = v->kind == VAL_TENSOR && val_dtype(e, v) == DT_F32;
  if (!soft && !as_bool(e, v, arena_printf(m->a, "class `%s`", d->name))) return val_poison(e, use);
  if (!val_has_rows(e, v) &&
      !(soft && !cond_is_steady(e, v->id))) { /* one random weight for a batch has no rows */
    Diag *g = err(m, E0327, v->span, what, val_text(e, v));
    diag_help(m->diags, g, "a class compares fields of the data: `class %s = label in 0 ..= 4`", d->name);
    return val_poison(e, use);
  }
  if (!cond_reads_data(e, v->id, arena_printf(m->a, "class `%s`", d->name), v->span))
    return val_poison(e, use);
  return soft && !weight_fits(e, d, v) ? val_poison(e, use) : v;
}

Val *class_value(Elab *e, Decl *d, Span use) {
  Model *m = e->m;
  d->used = true;
  if (e->classes[d->index]) return val_at(e, e->classes[d->index], use);
  if (d->busy) {
    err(m, E0204, use, d->name);
    return val_poison(e, use);
  }
  d->busy = true;
  const char *path = e->bind_path;
  const bool saved = e->in_class;
  e->bind_path = arena_printf(m->a, "class %s", d->name),
  e->in_class = true; /* draws are numbered within the class */
  Val *v = m->drawn[d->index].call ? drawn_value(e, d, use) : elab(e, e->model, ast_kid(d->ast, 0));
  e->bind_path = path, e->in_class = saved;
  d->busy = false;
  if (!val_bad(v) && !v->labels) v = class_checked(e, d, v, use);
  if (v->kind == VAL_TENSOR && !e->g->v[v->id].name) e->g->v[v->id].name = d->name;
  e->classes[d->index] = v;
  return val_at(e, v, use);
}

Val *class_is(Elab *e, const Ast *a, Val *x) {
  Model *m = e->m;
  if (ast_is_name(a->kids[1], "yes"))
    return as_bool(e, x, "`is`") ? val_at(e, x, a->span) : val_poison(e, a->span);
  if (x->labels && (ast_is_name(a->kids[1], "no") || ast_is_name(a->kids[1], "unlabelled")))
    return val_tensor(e, a->span, label_is(e, x->labels, a->kids[1]->text[0] == 'n' ? 0 : -1));
  if (ast_is_name(a->kids[1], "unlabelled")) {
    Diag *g = err(m, E0354, a->span, ast_source_text(m, a->kids[0]));
    diag_help(m->diags, g,
              "labels that may be missing are drawn: `class seen = observe(%s, recall = 0.9, seed = 1)`",
              ast_source_text(m, a->kids[0]));
    return val_poison(e, a->span);
  }
  static const char *const words[] = {"yes", "no", "unlabelled"};
  Diag *g = err(m, E0201, a->kids[1]->span, "label", ast_source_text(m, a->kids[1]));
  diag_choices(m, g, ast_source_text(m, a->kids[1]), words, 3);
  return val_poison(e, a->span);
}

/* Calls of the two functions that draw, known before anything is elaborated. */
void check_class_names(Model *m) {
  m->drawn = ARENA_NEWS(m->a, DrawnClass, m->classes.n + 1);
  for (uint32_t i = 0; i < m->classes.n; i++) {
    const Ast *call = ast_kid(m->classes.v[i]->ast, 0);
    if (ast_is(call, AST_CALL) &&
        (ast_is_name(call->kids[0], "observe") || ast_is_name(call->kids[0], "random_like")))
      m->drawn[i].call = call;
  }
}

/* All declared classes of the training step, in the order of their declarations; beyond the number of
 * conditions that there may be, only those that something uses. */
void check_classes(Elab *e) {
  Model *m = e->m;
  Program *p = m->p;
  p->classes = ARENA_NEWS(m->a, ProgClass, m->classes.n + 1);
  for (uint32_t i = 0; i < m->classes.n; i++) {
    Decl *d = m->classes.v[i];
    DrawnClass *x = &m->drawn[i];
    const bool used = d->used;
    name_is_word(m, d->ast->name_span, d->name, "a class", (const char *[]){"otherwise", "unlabelled"}, 2);
    const Val *v = class_value(e, d, d->ast->name_span); /* errors of classes that nothing uses, too */
    d->used = used;
    x->entry = -1;
    if (val_bad(v) || v->kind != VAL_TENSOR || (!used && p->n_conds >= MAX_CONDS)) continue;
    const int32_t cond = cond_add(e, v->id, d->name, d->ast->name_span);
    if (cond < 0) continue;
    x->entry = (int32_t)p->n_classes;
    p->classes[p->n_classes++] =
        (ProgClass){d->name, (uint32_t)cond, x->call && x->made, -1, true, d->ast->span};
  }
  for (uint32_t i = 0; i < m->classes.n; i++)
    if (m->drawn[i].call && m->drawn[i].entry >= 0)
      p->classes[m->drawn[i].entry].of = m->drawn[m->drawn[i].of].entry;
}
