/* SPDX-License-Identifier: Apache-2.0
 * check_arm.c -- the arms of a route: conditions, targets, overlaps, and the factor that they make. */
#include "model.h"
#include "fault.h"
#include <math.h>
#include <string.h>

typedef struct Arm {
  const Ast *ast;
  ValueId cond;
  const Val *axes; /* the condition as it was written: names of axes; NULL: one for each datum */
  double *weight;  /* [part] */
} Arm;

static int part_index(Elab *e, const Parts *p, const Ast *name, const char *place) {
  const char *text = ast_is(name, AST_NAME) ? name->text : NULL;
  const char *dotted = text ? text : ast_dotted(e->m, name); /* `z.lower` is `lower` */
  for (uint32_t i = 0; dotted && i < p->n; i++)
    if (!strcmp(p->names[i], dotted)) return (int)i;
  if (dotted && strrchr(dotted, '.')) text = strrchr(dotted, '.') + 1;
  for (uint32_t i = 0; text && i < p->n; i++)
    if (!strcmp(p->names[i], text)) return (int)i;
  Diag *g = err(e->m, E0323, name->span, place, text ? text : ast_source_text(e->m, name));
  if (text) {
    const char **names = ARENA_NEWS(e->m->a, const char *, p->n + 2);
    if (p->n) memcpy(names, p->names, sizeof *names * p->n);
    names[p->n] = "all", names[p->n + 1] = "none";
    diag_suggest(e->m->diags, g, text, names, p->n + 2);
  }
  if (!p->n) diag_note(e->m->diags, g, "`%s` has no split: only `all` and `none` are there", place);
  return -1;
}

/* The target of an arm gives each part its weight once. `at`: where it does; [part]: where each was given. */
static bool give_weight(Elab *e, const Parts *p, uint32_t i, double x, Span at, const Span **given, double *w) {
  Model *m = e->m;
  if (given[i]) {
    Diag *g = err(m, E0209, at, p->n ? p->names[i] : "all");
    diag_also(m->diags, g, *given[i], "its weight is given here");
    diag_help(m->diags, g, "name each part once; `all` and `none` speak of every part");
    return false;
  }
  Span *span = ARENA_NEWS(m->a, Span, 1);
  *span = at, given[i] = span, w[i] = x;
  return true;
}

static bool target_weights(Elab *e, const Parts *p, const Ast *target, const char *place, const Span **given,
                           double *w) {
  uint32_t n = p->n ? p->n : 1;
  if (ast_is_name(target, "all") || ast_is_name(target, "none")) {
    for (uint32_t i = 0; i < n; i++)
      if (!give_weight(e, p, i, target->text[0] == 'a', target->span, given, w)) return false;
    return true;
  }
  if (ast_is(target, AST_BINARY) && !strcmp(target->text, "+"))
    return target_weights(e, p, target->kids[0], place, given, w) &&
           target_weights(e, p, target->kids[1], place, given, w);
  if (!ast_is(target, AST_BLOCK)) {
    int i = part_index(e, p, target, place);
    return i >= 0 && give_weight(e, p, (uint32_t)i, 1, target->span, given, w);
  }
  bool ok = true;
  if (!target->n_kids) {
    Diag *g = err(e->m, E0315, target->span, "this target");
    diag_help(e->m->diags, g, "`none` blocks every part");
    return false;
  }
  for (uint32_t k = 0; k < target->n_kids; k++) {
    const Ast *set = target->kids[k];
    Ast name = {.kind = AST_NAME, .text = set->text, .span = set->name_span, .name_span = set->name_span};
    int i = part_index(e, p, &name, place);
    double x = 0;
    if (i < 0 || !ast_kid(set, 0) ||
        !static_num(e, elab(e, e->model, set->kids[0]), "a weight", -1e6, 1e6, &x) ||
        !give_weight(e, p, (uint32_t)i, x, set->name_span, given, w))
      ok = false;
  }
  return ok;
}

static bool arm_weights(Elab *e, const Parts *p, const Ast *target, const char *place, double *w) {
  return target_weights(e, p, target, place, ARENA_NEWS(e->m->a, const Span *, p->n + 1), w);
}

/* Weights come from classes alone: elsewhere a number is no condition. */
static bool is_class(const Elab *e, ValueId id) {
  for (uint32_t i = 0; i < e->m->classes.n; i++)
    if (e->classes[i] && e->classes[i]->kind == VAL_TENSOR && e->classes[i]->id == id) return true;
  return false;
}

static Span arm_span(const Arm *arm) {
  return ast_kid(arm->ast, 0) ? arm->ast->kids[0]->span : arm->ast->span;
}

ValueId condition_of(Elab *e, const Ast *ast, const char *what, const Val **axes) {
  const char *text = arena_printf(e->m->a, "the condition %s", what);
  bool saved = e->in_condition;
  e->in_condition = true;
  Val *c = elab(e, e->model, ast);
  e->in_condition = saved;
  const bool soft = c->kind == VAL_TENSOR && val_dtype(e, c) == DT_F32 && is_class(e, c->id);
  const ValueId cond = soft ? c->id : as_bool(e, c, text);
  if (!cond) return 0;
  Val *t = as_tensor(e, c, text);
  if (t->kind != VAL_TENSOR || (!soft && !val_has_rows(e, t))) {
    err(e->m, E0327, c->span, what, val_text(e, c));
    return 0;
  }
  *axes = c;
  return cond_reads_data(e, cond, text, c->span) ? cond : 0;
}

static bool arm_condition(Elab *e, const RouteDecl *r, Arm *arm) {
  const char *what = r->of_gate ? arena_printf(e->m->a, "of gate `%s`", r->decl->name) : "of this arm";
  arm->cond = condition_of(e, ast_kid(arm->ast, 0), what, &arm->axes);
  return arm->cond != 0;
}

/* ---- arms on observed classes ---- */
typedef struct Labels {
  ValueId v[32];
  uint32_t n;
} Labels;

/* Columns of labels that may be missing, among what id reads. */
static void labels_of(Elab *e, ValueId id, Labels *out) {
  uint8_t *live = ARENA_NEWS(e->m->a, uint8_t, id + 1);
  live[id] = 1;
  for (ValueId k = id; k > 0; k--) {
    const Value *v = &e->g->v[k];
    if (!live[k]) continue;
    for (uint32_t i = 0; i < v->n_args; i++) live[v->args[i]] = 1;
    for (uint32_t i = 0; i < e->n_finite && v->op == OP_COLUMN; i++) {
      if (e->finite[i].id != k || !e->finite[i].field->is_label || e->finite[i].field->lo == 0) continue;
      bool known = false;
      for (uint32_t j = 0; j < out->n; j++) known = known || out->v[j] == k;
      if (!known && out->n < 32) out->v[out->n++] = k;
    }
  }
}

/* The datum has no label of any observed class that the other arms test; 0 if there is none. */
static ValueId unlabelled_condition(Elab *e, const Arm *arms, uint32_t n) {
  Labels l = {.n = 0};
  ValueId all = 0;
  for (uint32_t i = 0; i < n; i++)
    if (arms[i].cond) labels_of(e, arms[i].cond, &l);
  for (uint32_t i = 0; i < l.n; i++) {
    ValueId one = label_is(e, l.v[i], -1);
    all = all ? ir_bin(e->g, OP_AND, all, one) : one;
  }
  return all;
}

/* An arm `unlabelled`, or one that tests nothing but that. */
static bool has_unlabelled_arm(Elab *e, const Arm *arms, uint32_t n, ValueId unlabelled) {
  for (uint32_t i = 0; i < n; i++)
    if (!strcmp(arms[i].ast->text, "unlabelled") || value_same(e->g, arms[i].cond, unlabelled)) return true;
  return false;
}

/* Unlabelled data must be spoken for; sets the conditions of `unlabelled` arms. `last`: the arm `otherwise`.
 */
static bool check_unlabelled(Elab *e, const RouteDecl *r, Arm *arms, uint32_t n, const Ast *last) {
  Model *m = e->m;
  ValueId unlabelled = unlabelled_condition(e, arms, n);
  for (uint32_t i = 0; i < n; i++) {
    if (strcmp(arms[i].ast->text, "unlabelled") != 0) continue;
    if (!unlabelled) {
      err(m, E0356, arms[i].ast->span, r->decl->name);
      return false;
    }
    arms[i].cond = unlabelled;
  }
  if (!unlabelled || has_unlabelled_arm(e, arms, n, unlabelled)) return true;
  Diag *g = err(m, E0355, r->decl->ast->name_span, r->decl->name);
  for (uint32_t i = 0; i < n; i++) {
    Labels l = {.n = 0};
    labels_of(e, arms[i].cond, &l);
    if (!l.n) continue;
    diag_also(m->diags, g, arm_span(&arms[i]), "this condition reads labels");
    break;
  }
  diag_help(m->diags, g, "say where data without a label go: `unlabelled to all`");
  if (last)
    diag_fix(m->diags, g, (Span){last->span.file, last->span.start, last->span.start}, "unlabelled to all; ");
  return false;
}

/* Tries all values of the fields that the conditions read: overlaps without `ordered`, arms that nothing
 * reaches. */
static void check_arms(Elab *e, const RouteDecl *r, const Arm *arms, uint32_t n) {
  Model *m = e->m;
  Finite f;
  ValueId *conds = ARENA_NEWS(m->a, ValueId, n + 1);
  double *truth = ARENA_NEWS(m->a, double, n + 1);
  bool *reached = ARENA_NEWS(m->a, bool, n + 1);
  for (uint32_t i = 0; i < n; i++) conds[i] = arms[i].cond;
  if (!n || !finite_collect(e, conds, n, &f)) return;
  if (f.count * (double)(e->g->n + 1) > 2e8) return; /* too much to try: accepted as it is */
  for (double k = 0; k < f.count; k++) {
    int first = -1;
    finite_eval(e, &f, k, conds, n, truth);
    for (uint32_t i = 0; i < n; i++) {
      if (truth[i] == 0) continue;
      if (first >= 0 && !r->decl->ast->flag) {
        Diag *g = err(m, E0322, arm_span(&arms[i]), r->decl->name);
        diag_label(m->diags, g, "holds too where %s", finite_describe(e, &f, k));
        diag_also(m->diags, g, arm_span(&arms[first]), "this condition holds where %s",
                  finite_describe(e, &f, k));
        diag_help(
            m->diags, g,
            "make them exclude each other, or write `ordered` before the braces: then the first match wins");
        return;
      }
      if (first < 0) first = (int)i, reached[i] = true;
    }
  }
  for (uint32_t i = 0; i < n && !m->walk; i++)
    if (!reached[i]) {
      Diag *g = err(m, W0301, arms[i].ast->span, r->decl->name);
      diag_note(m->diags, g,
                "over all values of the fields that it reads, its condition is false or an earlier arm takes "
                "the datum");
    }
}

/* All arms but the last, which is `otherwise`; 0 arms and NULL *other after an error. */
static Arm *route_arms(Elab *e, RouteDecl *r, const Parts *parts, uint32_t *n, double **other) {
  Model *m = e->m;
  const Ast *arms = ast_kid(r->decl->ast, 2);
  Arm *out = ARENA_NEWS(m->a, Arm, arms ? arms->n_kids + 1 : 1);
  const Ast *last = NULL;
  bool ok = true;
  uint32_t nw = parts->n ? parts->n : 1;
  *n = 0, *other = NULL;
  for (uint32_t i = 0; arms && i < arms->n_kids; i++) {
    const Ast *a = arms->kids[i];
    double *w = ARENA_NEWS(m->a, double, nw);
    if (last) {
      Diag *g = err(m, E0321, a->span, r->decl->name, "nothing may follow `otherwise`");
      diag_also(m->diags, g, last->span, "this arm takes every datum that is left");
      return NULL;
    }
    if (!arm_weights(e, parts, ast_kid(a, 1), r->place.text, w)) ok = false;
    if (!strcmp(a->text, "otherwise")) {
      last = a, *other = w;
      continue;
    }
    out[*n] = (Arm){a, 0, NULL, w};
    if (!strcmp(a->text, "unlabelled") || arm_condition(e, r, &out[*n])) ++*n;
    else ok = false;
  }
  if (!last) {
    Diag *g = err(m, E0321, r->decl->ast->name_span, r->decl->name, "`otherwise` is missing");
    diag_help(m->diags, g, "say where every other datum goes: `otherwise to all`");
    if (arms)
      diag_fix(m->diags, g, (Span){arms->span.file, arms->span.end - 1, arms->span.end - 1},
               "; otherwise to all ");
    ok = false;
  }
  ok = ok && (r->of_gate || check_unlabelled(e, r, out, *n, last));
  for (uint32_t i = 0; ok && i < *n; i++)
    cond_add(e, out[i].cond, ast_kid(out[i].ast, 0) ? ast_source_text(m, out[i].ast->kids[0]) : "unlabelled",
             arm_span(&out[i]));
  if (ok && !r->arms_checked) {
    r->arms_checked = true;
    check_arms(e, r, out, *n);
  }
  return ok ? out : NULL;
}

/* ---- factors ---- */
ValueId part_weights(Elab *e, const Parts *p, const double *w, const Val *v) {
  Shape s = *val_shape(e, v);
  bool same = true;
  for (uint32_t i = 1; i < p->n; i++) same = same && w[i] == w[0];
  if (same || !p->split) return ir_const(e->g, v->span, w[0], &s, DT_F32);
  const Split *sp = p->split;
  double *data = ARENA_NEWS(e->m->a, double, sp->extent);
  for (uint32_t i = 0; i < sp->n_parts; i++)
    for (int64_t k = 0; k < sp->parts[i].n; k++) {
      int64_t unit = fault("shift-split") ? (sp->parts[i].units[k] + 1) % sp->extent : sp->parts[i].units[k];
      data[unit] = fault("fraction-as-one") ? w[i] != 0 : w[i];
    }
  Shape row = shape_of(1, sp->extent);
  int64_t map[IR_MAX_RANK];
  for (int i = 0; i < s.rank; i++) map[i] = i == sp->axis ? 0 : -1;
  return ir_bcast(e->g, ir_const_data(e->g, v->span, data, &row, DT_F32), &s, map);
}

/* The strength as a tensor of the shape of the factors: one number, a schedule, or a class: for each datum 0, 1 or its weight. */
static ValueId strength_value(Elab *e, const RouteDecl *r, const Val *like) {
  const bool saved = e->in_condition;
  e->in_condition = ast_is(r->strength, AST_NAME);
  Val *s = elab(e, e->model, r->strength);
  e->in_condition = saved;
  if (val_bad(s)) return 0;
  if (s->kind == VAL_NUM && !(s->num >= 0 && s->num <= 1)) {
    use_static(e, s);
    err(e->m, E0328, s->span, r->decl->name, number_text(e->m->a, s->num));
    return 0;
  }
  if (s->kind == VAL_TENSOR && is_class(e, s->id)) {
    Val *w = val_like(e, s->span, ir_cast(e->g, s->id, DT_F32), s);
    ValueId out;
    return broadcast_to(e, s->span, "`strength`", w, like, &out) ? out : 0;
  }
  ValueId f = as_f64_scalar(e, s, "`strength`");
  return f ? ir_bcast_scalar(e->g, ir_cast(e->g, f, DT_F32), val_shape(e, like)) : 0;
}

/* 1 + s (m - 1), written so that 0 and 1 give 1 and m to the bit; 0 after an error. Strengths known now must lie in [0, 1]. */
static ValueId with_strength(Elab *e, const RouteDecl *r, ValueId m, const Val *like) {
  Graph *g = e->g;
  ValueId s = strength_value(e, r, like);
  if (!s) return 0;
  const Value *val = &g->v[s];
  const bool known = val->op == OP_CONST && !val->data;
  if (known && val->num == 1) return m;
  ValueId one = f32_const(e, r->strength->span, 1), part = ir_bin(g, OP_ADD, ir_bin(g, OP_MUL, s, ir_bin(g, OP_SUB, m, one)), one);
  return known ? part : ir_where(g, ir_bin(g, OP_EQ, s, one), m, part);
}

ValueId condition_blend(Elab *e, ValueId cond, ValueId own, ValueId m) {
  Graph *g = e->g;
  if (g->v[cond].dtype == DT_BOOL) return ir_where(g, cond, own, m);
  Span at = g->v[cond].span;
  ValueId part = ir_bin(g, OP_ADD, m, ir_bin(g, OP_MUL, cond, ir_bin(g, OP_SUB, own, m)));
  return ir_where(g, ir_bin(g, OP_EQ, cond, f32_const(e, at, 1)), own, part);
}

/* What the weights of an arm of a `value of` route hide: parts of the place, and the whole if all are 0. */
static void note_hidden(Elab *e, const char *path, const Parts *parts, const double *w, int only) {
  bool all = true;
  for (uint32_t i = 0; i < (parts->n ? parts->n : 1); i++) {
    all = all && w[i] == 0;
    if (w[i] != 0 || !parts->n || (only >= 0 && (uint32_t)only != i)) continue;
    strmap_put(e->m->a, &e->hidden, arena_printf(e->m->a, "%s.%s", path, parts->names[i]), e);
  }
  if (all) strmap_put(e->m->a, &e->hidden, path, e);
}

ValueId route_factor(Elab *e, RouteDecl *r, const char *path, const Parts *parts, const Val *v, int only) {
  uint32_t n;
  double *other;
  Arm *arms = route_arms(e, r, parts, &n, &other);
  if (!arms) return 0;
  if ((int)r->decl->ast->num == ROUTE_VALUE) {
    note_hidden(e, path, parts, other, only);
    for (uint32_t i = 0; i < n; i++) note_hidden(e, path, parts, arms[i].weight, only);
  }
  uint32_t first = e->g->n;
  ValueId m = part_weights(e, only < 0 ? parts : &(Parts){0}, only < 0 ? other : other + only, v);
  for (uint32_t i = n; i-- > 0;) {
    Val *c = val_tensor(e, arm_span(&arms[i]), arms[i].cond);
    if (arms[i].axes) c = val_like(e, c->span, c->id, arms[i].axes);
    ValueId cond;
    if (!broadcast_to(e, c->span, "the condition of an arm", c, v, &cond)) return 0;
    if (fault("swap-arms")) cond = ir_un(e->g, OP_NOT, cond);
    m = condition_blend(
        e, cond,
        part_weights(e, only < 0 ? parts : &(Parts){0}, only < 0 ? arms[i].weight : arms[i].weight + only, v),
        m);
  }
  if (r->strength) m = with_strength(e, r, m, v);
  for (uint32_t i = first; i < e->g->n; i++) e->g->v[i].span = r->decl->ast->span;
  return m;
}
