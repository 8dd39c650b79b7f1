/* SPDX-License-Identifier: Apache-2.0
 * check_eval.c -- evaluations, what is expected of them, sweeps. */
#include "model.h"
#include <math.h>
#include <string.h>

typedef struct EvalState {
  Elab *e;
  ValueId key;
} EvalState;

static bool is_setting(const char *key) {
  return !strcmp(key, "on") || !strcmp(key, "by") || !strcmp(key, "picture") || !strcmp(key, "ablate");
}

/* ---- group keys ---- */
/* By a class: its data and the others; by the labels of a drawn one: yes, no and unlabelled. False: it is no class. */
static bool class_key(Elab *e, ProgEval *ev, const Ast *by, const Val *v, ValueId *key) {
  Model *m = e->m;
  const Decl *d = ast_is(by, AST_NAME) ? strmap_get(&m->root->names, by->text) : NULL;
  if (!d || d->kind != DECL_CLASS || val_dtype(e, v) != DT_BOOL || val_shape(e, v)->rank != 1) return false;
  const bool labels = v->labels && m->drawn[d->index].labels.lo < 0;
  ev->key_names = ARENA_NEWS(m->a, const char *, 3);
  ev->key_lo = labels ? -1 : 0, ev->key_hi = 1;
  if (labels) ev->key_names[0] = "unlabelled", ev->key_names[1] = "no", ev->key_names[2] = "yes";
  else ev->key_names[0] = arena_printf(m->a, "not %s", d->name), ev->key_names[1] = d->name;
  *key = labels ? v->labels : v->id;
  graph_root(e->g, ROOT_KEY, 0, 0, labels ? v->labels : ir_cast(e->g, v->id, DT_I32));
  return true;
}

static void eval_key(Elab *e, ProgEval *ev, const Ast *by, ValueId *key) {
  Model *m = e->m;
  Val *v = elab(e, e->model, by);
  if (val_bad(v)) return;
  const Field *field = NULL;
  for (uint32_t i = 0; i < m->datas[ev->source].n_fields && v->kind == VAL_TENSOR; i++) {
    const Field *f = &m->datas[ev->source].fields[i];
    const Val *fv = e->fields[ev->source][i];
    if (fv && fv->kind == VAL_TENSOR && fv->id == v->id && (f->has_range || f->is_bool)) field = f;
  }
  bool flag = val_dtype(e, v) == DT_BOOL, one = val_shape(e, v)->rank == 1 && val_has_rows(e, v);
  if (!one || !(flag || (field && field->has_range))) {
    Diag *g = err(m, E0413, by->span, val_text(e, v));
    diag_help(m->diags, g, "give the field a range: `label: int in 0 ..= 9 = source.label`");
    return;
  }
  ev->key_name = ast_source_text(m, by);
  if (class_key(e, ev, by, v, key)) return;
  ev->key_lo = flag ? 0 : (int64_t)field->lo, ev->key_hi = flag ? 1 : (int64_t)field->hi;
  *key = v->id;
  if (ev->key_hi - ev->key_lo > 100000) err(m, E0413, by->span, "a field with more than 100,000 values");
  graph_root(e->g, ROOT_KEY, 0, 0, flag ? ir_cast(e->g, v->id, DT_I32) : v->id);
}

/* ---- metrics ---- */
/* Does it depend on the batch? A number that does not, such as a raw parameter, is the same for each datum. */
static bool reads_data(Elab *e, ValueId id) {
  uint8_t *live = ARENA_NEWS(e->m->a, uint8_t, id + 1);
  live[id] = 1;
  for (ValueId k = id; k > 0; k--) {
    const Value *v = &e->g->v[k];
    if (!live[k]) continue;
    if (v->op == OP_COLUMN || v->op == OP_DATUM || v->op == OP_RANDOM || v->op == OP_CLOCK) return true;
    for (uint32_t i = 0; i < v->n_args; i++) live[v->args[i]] = 1;
  }
  return false;
}

static void eval_metric(Elab *e, ProgEval *ev, const Ast *set) {
  Model *m = e->m;
  const Ast *value = ast_kid(set, 0);
  for (uint32_t i = 0; i < ev->n_metrics; i++)
    if (!strcmp(ev->metrics[i].name, set->text)) {
      Diag *g = err(m, E0203, set->name_span, set->text);
      diag_also(m->diags, g, ev->metrics[i].span, "already a metric here");
      return;
    }
  if (!value || ast_is(value, AST_BLOCK)) {
    static const char *const keys[] = {"on", "by", "picture", "ablate"};
    Diag *g = err(m, E0206, set->name_span, set->text, "an evaluation without a value");
    diag_suggest(m->diags, g, set->text, keys, 4);
    return;
  }
  Val *v = elab(e, e->model, value);
  if (val_bad(v)) return;
  ValueId id = val_dtype(e, v) == DT_BOOL && v->kind == VAL_TENSOR
                   ? ir_cast(e->g, v->id, DT_F32)
                   : as_f32(e, v, arena_printf(m->a, "metric `%s`", set->text));
  if (!id) return;
  const Shape rows = shape_of(1, DIM_ROWS);
  if (!e->g->v[id].shape.rank && !reads_data(e, id)) id = ir_bcast_scalar(e->g, id, &rows);
  const Shape *s = &e->g->v[id].shape;
  if (!shape_equal(s, &rows)) {
    Diag *g = err(m, E0411, value->span, set->text, val_text(e, v));
    if (s->rank > 1) diag_help(m->diags, g, "reduce the other axes: `mean(...)` or `sum(...)`");
    return;
  }
  graph_root(e->g, ROOT_METRIC, ev->n_metrics, 0, id);
  ev->metrics[ev->n_metrics++] = (ProgMetric){set->text, set->span};
}

/* ---- pictures ---- */
typedef struct Grid {
  int64_t height, width, rows;
  double low, high;
} Grid;

static bool grid_options(Elab *e, const Ast *call, Grid *g) {
  static const char *const keys[] = {"height", "width", "low", "high", "rows"};
  Model *m = e->m;
  *g = (Grid){0, 0, 1, -1, 1};
  for (uint32_t i = 1; i < call->n_kids; i++) {
    const Ast *k = call->kids[i];
    if (!ast_is(k, AST_ARG)) continue;
    Val *v = elab(e, e->model, k->kids[0]);
    bool ok = true;
    if (!strcmp(k->text, "height")) ok = static_int(e, v, "`height`", 1, 1 << 14, &g->height);
    else if (!strcmp(k->text, "width")) ok = static_int(e, v, "`width`", 1, 1 << 14, &g->width);
    else if (!strcmp(k->text, "rows")) ok = static_int(e, v, "`rows`", 1, 1 << 10, &g->rows);
    else if (!strcmp(k->text, "low")) ok = static_num(e, v, "`low`", -1e30, 1e30, &g->low);
    else if (!strcmp(k->text, "high")) ok = static_num(e, v, "`high`", -1e30, 1e30, &g->high);
    else {
      Diag *d = err(m, E0207, k->name_span, "grid", k->text);
      diag_suggest(m->diags, d, k->text, keys, 5);
      ok = false;
    }
    if (!ok) return false;
  }
  if (g->low < g->high) return true;
  err(m, E0336, call->span, "`low`", number_text(m->a, g->low), "below `high`", number_text(m->a, g->high));
  return false;
}

/* Height and width of a column: as said, else the last two axes, else a square. */
static bool grid_size(const Grid *g, const Shape *s, int64_t *h, int64_t *w) {
  int64_t n = shape_count(s, 1);
  *h = g->height, *w = g->width;
  if (!*h && !*w && s->rank >= 3) *h = s->d[s->rank - 2], *w = s->d[s->rank - 1];
  else if (!*h && !*w) *h = *w = (int64_t)floor(sqrt((double)n) + 0.5);
  else if (!*h) *h = n / *w;
  else if (!*w) *w = n / *h;
  return *h * *w == n;
}

static void eval_picture(Elab *e, ProgEval *ev, const Ast *set) {
  Model *m = e->m;
  const Ast *call = ast_kid(set, 0);
  Grid g;
  if (!ast_is(call, AST_CALL) || !ast_is_name(call->kids[0], "grid")) {
    err(m, E0419, set->span, "write `picture = grid(value, other, height = 28, width = 28)`");
    return;
  }
  if (!grid_options(e, call, &g)) return;
  ev->pictures = ARENA_NEWS(m->a, ProgPicture, call->n_kids);
  ev->picture_rows = g.rows;
  bool asked = false;
  for (uint32_t i = 1; i < call->n_kids; i++) {
    const Ast *k = call->kids[i];
    if (ast_is(k, AST_ARG)) continue;
    asked = true;
    Val *v = elab(e, e->model, k);
    ValueId id = as_f32(e, v, "a column of a picture");
    int64_t h = 0, w = 0;
    if (!id) continue;
    const Shape *s = &e->g->v[id].shape;
    if (s->rank < 2 || s->d[0] != DIM_ROWS || !grid_size(&g, s, &h, &w)) {
      Diag *d = err(m, E0419, k->span, "height times width is not the number of its elements");
      diag_note(m->diags, d, "it is %s, the picture %lld x %lld", val_text(e, v), (long long)h, (long long)w);
      continue;
    }
    graph_root(e->g, ROOT_PICTURE, ev->n_pictures, 0, id);
    ev->pictures[ev->n_pictures++] = (ProgPicture){ast_source_text(m, k), h, w, g.low, g.high};
  }
  if (!asked) err(m, E0419, call->span, "it shows nothing");
}

/* Without data there is nothing to choose: one datum without fields. */
static bool without_data(Model *m, const Ast *block, ProgEval *ev) {
  static const char *const idle[] = {"on", "by", "picture"};
  bool ok = true;
  for (uint32_t i = 0; i < 3; i++) {
    const Ast *set = block_setting(block, idle[i]);
    if (set) err(m, E0422, set->span, idle[i]), ok = false;
  }
  ev->source = m->p->n_data - 1, ev->part = "train";
  return ok;
}

static void check_evaluation(Model *m, Decl *d, ProgEval *ev, EvalState *st) {
  const Ast *block = ast_kid(d->ast, 0), *on = block_setting(block, "on"), *by = block_setting(block, "by");
  Span at = d->ast->name_span;
  *ev = (ProgEval){.name = d->name, .part = "test", .picture_rows = 1, .span = d->ast->span};
  uint32_t data = default_data(m);
  Elab *scratch = elab_create(m, "on", false, NO_DATA);
  const Ast *filter = NULL;
  ev->graph = scratch->g;
  if (!m->data.n && m->raw_params.n) {
    if (!without_data(m, block, ev)) return;
  } else if (ast_kid(on, 0)) {
    if (!data_part_of(scratch, on->kids[0], &data, &ev->part, &filter)) return;
    ev->source = data;
  } else {
    Diag *g = err(m, E0406, at, arena_printf(m->a, "evaluation `%s`", d->name), "`on`");
    diag_help(m->diags, g, "say on which part of the data: `on = %s.test`",
              m->data.n ? m->data.v[0]->name : "digits");
    return;
  }
  Elab *e = elab_create(m, arena_printf(m->a, "eval %s", d->name), false, data);
  st->e = e;
  ev->graph = e->g;
  if (filter) ev->filter = filter_column(e, filter, arena_printf(m->a, "filter of %s", d->name));
  gate_set_begin(e, block);
  const bool ablates = ablate_begin(e, block_setting(block, "ablate"));
  elab_model(e);
  ev->metrics = ARENA_NEWS(m->a, ProgMetric, block ? block->n_kids + 1 : 1);
  if (ast_kid(by, 0)) eval_key(e, ev, by->kids[0], &st->key);
  StrMap seen = {0};
  bool asked = false;
  for (uint32_t i = 0; block && i < block->n_kids; i++) {
    const Ast *set = block->kids[i];
    if (!ast_is(set, AST_SETTING)) continue;
    if (is_setting(set->text) && strmap_get(&seen, set->text)) err(m, E0209, set->span, set->text);
    strmap_put(m->a, &seen, set->text, d);
    asked = asked || !is_setting(set->text) || !strcmp(set->text, "picture");
    if (!strcmp(set->text, "picture")) eval_picture(e, ev, set);
    else if (!is_setting(set->text)) eval_metric(e, ev, set);
  }
  check_inst_uses(e);
  if (ablates) ablate_finish(e, d->name);
  gate_set_finish(e, d->name);
  if (!asked) err(m, E0406, at, arena_printf(m->a, "evaluation `%s`", d->name), "a metric");
}

/* ---- expect ---- */
typedef struct ExpectCtx {
  Model *m;
  EvalState *st;
  Elab *scratch;
  ExpectInsn *code;
  uint32_t n;
} ExpectCtx;
typedef enum ExpectType { EXT_ERROR, EXT_NUMBER, EXT_TRUTH } ExpectType;

static ExpectInsn *emit(ExpectCtx *c, ExpectOp op) {
  ExpectInsn *i = PUSH(c->m->a, c->code, c->n);
  *i = (ExpectInsn){.op = op};
  return i;
}

static int find_eval(Model *m, const char *name) {
  const Decl *d = name ? strmap_get(&m->eval_names, name) : NULL;
  return d ? (int)d->index : -1;
}

/* Values of the key for which a subscript holds. */
static bool expect_keys(ExpectCtx *c, uint32_t eval, const Ast *sub, ExpectInsn *out) {
  Model *m = c->m;
  const ProgEval *ev = &m->p->evals[eval];
  Elab *e = c->st[eval].e;
  if (!ev->key_name || !e) {
    Diag *g = err(m, E0414, sub->span, arena_printf(m->a, "`%s` has no groups", ev->name));
    diag_help(m->diags, g, "give it a key: `by = label`");
    return false;
  }
  out->keys = ARENA_NEWS(m->a, int64_t, ev->key_hi - ev->key_lo + 1);
  Ast in = {.kind = AST_BINARY, .text = "in", .span = sub->span, .n_kids = 2};
  Ast key = {.kind = AST_NAME, .text = ev->key_name, .span = sub->span, .name_span = sub->span};
  Ast eq = {.kind = AST_BINARY, .text = "==", .span = sub->span, .n_kids = 2};
  Ast *kids[2] = {&key, (Ast *)(uintptr_t)sub};
  in.kids = eq.kids = kids;
  const Ast *cond = sub;
  if (ast_is(sub, AST_RANGE) || ast_is(sub, AST_LIST)) cond = &in;
  else if (ast_is(sub, AST_NUMBER) || ast_is(sub, AST_UNARY))
    cond = ast_is(sub, AST_NUMBER) || !strcmp(sub->text, "-") ? &eq : sub;
  Val *v = elab(e, e->model, cond);
  ValueId id = as_bool(e, v, "the subscript of a table");
  if (!id) return false;
  for (int64_t k = ev->key_lo; k <= ev->key_hi; k++) {
    double x;
    if (!finite_eval_fixed(e, c->st[eval].key, (double)k, id, &x)) {
      err(m, E0414, sub->span,
          arena_printf(m->a, "the rows of `%s` are by `%s`: its subscript may use nothing else", ev->name,
                       ev->key_name));
      return false;
    }
    if (x != 0) out->keys[out->n_keys++] = k;
  }
  if (out->n_keys) return true;
  err(m, E0414, sub->span, arena_printf(m->a, "no value of `%s` fits", ev->key_name));
  return false;
}

static ExpectType expect_metric(ExpectCtx *c, const Ast *a) {
  Model *m = c->m;
  const Ast *sub = NULL, *member = a;
  if (ast_is(a, AST_INDEX)) member = a->kids[0], sub = ast_kid(a, 1);
  if (!ast_is(member, AST_MEMBER) || !ast_is(member->kids[0], AST_NAME)) {
    err(m, E0414, a->span, "write `evaluation.metric`, and `[label in 0 ..= 4]` for some of its rows");
    return EXT_ERROR;
  }
  int eval = find_eval(m, member->kids[0]->text);
  if (eval < 0) {
    const char **names = ARENA_NEWS(m->a, const char *, m->evals.n + 1);
    for (uint32_t i = 0; i < m->evals.n; i++) names[i] = m->evals.v[i]->name;
    Diag *g = err(m, E0201, member->kids[0]->span, "evaluation", member->kids[0]->text);
    diag_suggest(m->diags, g, member->kids[0]->text, names, m->evals.n);
    return EXT_ERROR;
  }
  const ProgEval *ev = &m->p->evals[eval];
  const char **names = ARENA_NEWS(m->a, const char *, ev->n_metrics + 1);
  uint32_t k = 0;
  for (uint32_t i = 0; i < ev->n_metrics; i++) names[i] = ev->metrics[i].name;
  while (k < ev->n_metrics && strcmp(names[k], member->text) != 0) k++;
  if (k == ev->n_metrics) {
    Diag *g = err(m, E0202, member->name_span, arena_printf(m->a, "evaluation `%s`", ev->name), member->text);
    diag_suggest(m->diags, g, member->text, names, ev->n_metrics);
    return EXT_ERROR;
  }
  ExpectInsn insn = {.op = EX_METRIC, .eval = (uint32_t)eval, .metric = k};
  if (sub && !expect_keys(c, (uint32_t)eval, sub, &insn)) return EXT_ERROR;
  *emit(c, EX_METRIC) = insn;
  return EXT_NUMBER;
}

static ExpectType expect_expr(ExpectCtx *c, const Ast *a);

static ExpectType expect_binary(ExpectCtx *c, const Ast *a) {
  static const struct {
    const char *text;
    ExpectOp op;
    ExpectType arg, result;
  } ops[] = {{"+", EX_ADD, EXT_NUMBER, EXT_NUMBER}, {"-", EX_SUB, EXT_NUMBER, EXT_NUMBER},
             {"*", EX_MUL, EXT_NUMBER, EXT_NUMBER}, {"/", EX_DIV, EXT_NUMBER, EXT_NUMBER},
             {"<", EX_LT, EXT_NUMBER, EXT_TRUTH},   {"<=", EX_LE, EXT_NUMBER, EXT_TRUTH},
             {">", EX_GT, EXT_NUMBER, EXT_TRUTH},   {">=", EX_GE, EXT_NUMBER, EXT_TRUTH},
             {"==", EX_EQ, EXT_NUMBER, EXT_TRUTH},  {"!=", EX_NE, EXT_NUMBER, EXT_TRUTH},
             {"and", EX_AND, EXT_TRUTH, EXT_TRUTH}, {"or", EX_OR, EXT_TRUTH, EXT_TRUTH}};
  for (uint32_t i = 0; i < sizeof ops / sizeof *ops; i++) {
    if (strcmp(ops[i].text, a->text) != 0) continue;
    for (uint32_t k = 0; k < 2; k++) {
      ExpectType t = expect_expr(c, a->kids[k]);
      if (t == EXT_ERROR) return t;
      if (t == ops[i].arg) continue;
      err(c->m, E0414, a->kids[k]->span,
          arena_printf(c->m->a, "`%s` compares or combines %s", a->text,
                       ops[i].arg == EXT_NUMBER ? "numbers" : "claims"));
      return EXT_ERROR;
    }
    emit(c, ops[i].op);
    return ops[i].result;
  }
  err(c->m, E0414, a->span, arena_printf(c->m->a, "`%s` has no meaning here", a->text));
  return EXT_ERROR;
}

static ExpectType expect_expr(ExpectCtx *c, const Ast *a) {
  Model *m = c->m;
  if (ast_is(a, AST_BINARY)) return expect_binary(c, a);
  if (ast_is(a, AST_UNARY)) {
    bool neg = !strcmp(a->text, "-");
    ExpectType t = expect_expr(c, a->kids[0]);
    if (t == EXT_ERROR) return t;
    if (t != (neg ? EXT_NUMBER : EXT_TRUTH)) {
      err(m, E0414, a->span, arena_printf(m->a, "`%s` does not fit its operand", a->text));
      return EXT_ERROR;
    }
    emit(c, neg ? EX_NEG : EX_NOT);
    return t;
  }
  bool param = ast_is(a, AST_NAME) && strmap_get(&m->param_names, a->text);
  if (ast_is(a, AST_NUMBER) || param) {
    double x;
    if (!static_num(c->scratch, elab(c->scratch, c->scratch->model, a), "here", -1e300, 1e300, &x))
      return EXT_ERROR;
    emit(c, EX_CONST)->num = x;
    return EXT_NUMBER;
  }
  return expect_metric(c, a);
}

static void check_expects(Model *m, EvalState *st) {
  Program *p = m->p;
  p->expects = ARENA_NEWS(m->a, ProgExpect, m->expects.n + 1);
  for (uint32_t i = 0; i < m->expects.n; i++) {
    const Ast *a = m->expects.v[i]->ast, *claim = a->kids[0];
    ExpectCtx c = {.m = m, .st = st, .scratch = elab_create(m, "expect", false, NO_DATA)};
    ExpectType t = expect_expr(&c, claim);
    if (t == EXT_NUMBER) err(m, E0414, claim->span, "a claim is a comparison: `a.x < 0.1`");
    if (t != EXT_TRUTH) continue;
    p->expects[p->n_expects++] = (ProgExpect){ast_source_text(m, claim), c.code, c.n, a->span};
  }
}

void check_evals(Model *m) {
  Program *p = m->p;
  EvalState *st = ARENA_NEWS(m->a, EvalState, m->evals.n + 1);
  p->evals = ARENA_NEWS(m->a, ProgEval, m->evals.n + 1);
  p->n_evals = m->evals.n;
  for (uint32_t i = 0; i < m->evals.n; i++) check_evaluation(m, m->evals.v[i], &p->evals[i], &st[i]);
  check_expects(m, st);
}

/* ---- sweeps ---- */
static void sweep_value(Elab *e, ProgSweep *s, const Param *p, const Val *v) {
  Model *m = e->m;
  const char *text = v->kind == VAL_NUM    ? number_text(m->a, v->num)
                     : v->kind == VAL_BOOL ? (v->num != 0 ? "true" : "false")
                     : v->kind == VAL_QUANTITY
                         ? arena_printf(m->a, "%s %s", number_text(m->a, v->num), v->text)
                         : v->text;
  bool seed = !p || !strcmp(p->name, "seed");
  bool fits = seed ? v->kind == VAL_NUM && v->is_int && v->num >= 0
                   : (v->kind == VAL_NUM && (p->type == PT_REAL || (p->type == PT_INT && v->is_int))) ||
                         (v->kind == VAL_BOOL && p->type == PT_BOOL) ||
                         (v->kind == VAL_QUANTITY && p->type == PT_QUANTITY) ||
                         (v->kind == VAL_STRING && p->type == PT_STRING);
  if (!fits)
    err(m, E0415, v->span, s->name, arena_printf(m->a, "%s does not fit `%s`", val_text(e, v), s->param));
  else if (p && v->kind == VAL_NUM && !param_in_range(p, v->num)) err(m, E0417, v->span, p->name, text);
  else s->values[s->n++] = arena_strdup(m->a, text);
}

static void sweep_values(Elab *e, ProgSweep *s, const Param *p, const Ast *a) {
  Model *m = e->m;
  if (ast_is(a, AST_LIST)) {
    s->values = ARENA_NEWS(m->a, char *, a->n_kids + 1);
    for (uint32_t i = 0; i < a->n_kids; i++) {
      Val *v = elab(e, e->model, a->kids[i]);
      use_static(e, v);
      if (!val_bad(v)) sweep_value(e, s, p, v);
    }
    return;
  }
  int64_t lo = 0, hi = 0;
  if (!ast_is(a, AST_RANGE) || !ast_kid(a, 0) || !ast_kid(a, 1)) {
    err(m, E0415, a ? a->span : s->span, s->name, "a sweep takes a range `0 .. 20` or a list");
    return;
  }
  if (!static_int(e, elab(e, e->model, a->kids[0]), "the first value", -(1LL << 40), 1LL << 40, &lo)) return;
  if (!static_int(e, elab(e, e->model, a->kids[1]), "the end of the values", -(1LL << 40), 1LL << 40, &hi))
    return;
  if (!strcmp(a->text, "..=")) hi++;
  if (hi <= lo || hi - lo > 100000) {
    err(m, E0415, a->span, s->name, hi <= lo ? "the range is empty" : "more than 100,000 runs");
    return;
  }
  s->values = ARENA_NEWS(m->a, char *, hi - lo);
  for (int64_t k = lo; k < hi; k++) {
    uint32_t before = m->diags->n_errors;
    sweep_value(e, s, p, val_num(e, a->span, (double)k, true));
    if (m->diags->n_errors > before) return;
  }
}

void check_sweeps(Model *m) {
  Program *p = m->p;
  Elab *e = elab_create(m, "sweep", false, NO_DATA);
  p->sweeps = ARENA_NEWS(m->a, ProgSweep, m->sweeps.n + 1);
  for (uint32_t i = 0; i < m->sweeps.n; i++) {
    const Ast *a = m->sweeps.v[i]->ast, *block = ast_kid(a, 0), *set = ast_kid(block, 0);
    ProgSweep *s = &p->sweeps[p->n_sweeps++];
    *s = (ProgSweep){.name = a->text, .span = a->span};
    if (!set || block->n_kids != 1) {
      err(m, E0415, a->name_span, a->text, "a sweep varies one param");
      continue;
    }
    s->param = set->text;
    Param *param = strmap_get(&m->param_names, set->text);
    if (!param && strcmp(set->text, "seed") != 0) {
      const char **names = ARENA_NEWS(m->a, const char *, m->n_param + 1);
      for (uint32_t k = 0; k < m->n_param; k++) names[k] = m->param[k].name;
      names[m->n_param] = "seed";
      Diag *g = err(m, E0201, set->name_span, "param", set->text);
      diag_suggest(m->diags, g, set->text, names, m->n_param + 1);
      continue;
    }
    if (param) param->decl->used = true;
    sweep_values(e, s, param, ast_kid(set, 0));
  }
}
