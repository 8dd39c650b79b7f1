/* SPDX-License-Identifier: Apache-2.0
 * check_train.c -- optimizer and training settings. */
#include "model.h"
#include <math.h>
#include <string.h>

/* ---- lengths ---- */
bool amount_of(Elab *e, Scope *s, const Ast *a, const char *what, Amount *out) {
  static const struct {
    const char *word;
    Unit unit;
    double factor;
  } units[] = {{"step", UNIT_STEPS, 1},       {"steps", UNIT_STEPS, 1},     {"update", UNIT_STEPS, 1},
               {"updates", UNIT_STEPS, 1},    {"epoch", UNIT_EPOCHS, 1},    {"epochs", UNIT_EPOCHS, 1},
               {"second", UNIT_SECONDS, 1},   {"seconds", UNIT_SECONDS, 1}, {"minute", UNIT_SECONDS, 60},
               {"minutes", UNIT_SECONDS, 60}, {"hour", UNIT_SECONDS, 3600}, {"hours", UNIT_SECONDS, 3600}};
  Model *m = e->m;
  Val *v = elab(e, s, a);
  if (val_bad(v)) return false;
  use_static(e, v);
  if (v->kind != VAL_QUANTITY) {
    Diag *g = err(m, E0302, v->span, what, "a length such as `10 epochs` or `500 steps`", val_text(e, v));
    if (v->kind == VAL_NUM) diag_fix(m->diags, g, (Span){v->span.file, v->span.end, v->span.end}, " steps");
    return false;
  }
  for (uint32_t i = 0; i < sizeof units / sizeof *units; i++) {
    if (strcmp(units[i].word, v->text) != 0) continue;
    if (units[i].unit == UNIT_EPOCHS && !m->data.n && m->raw_params.n) {
      err(m, E0422, v->span, v->text);
      return false;
    }
    out->n = v->num * units[i].factor, out->unit = units[i].unit;
    if (out->n > 0 && out->n < 1e15) return true;
    err(m, E0336, v->span, what, number_text(m->a, v->num), "above 0", "10^15");
    return false;
  }
  err(m, E0409, v->span, what, v->text, "steps, epochs, seconds, minutes or hours");
  return false;
}

/* ---- optimizer ---- */
typedef struct OptimArg {
  const char *name;
  double lo, hi;
  bool open;
  ValueId value;
} OptimArg;

static const Ast *find_arg(const Ast *call, const char *name) {
  for (uint32_t i = 1; ast_is(call, AST_CALL) && i < call->n_kids; i++)
    if (ast_is(call->kids[i], AST_ARG) && !strcmp(call->kids[i]->text, name)) return call->kids[i];
  return NULL;
}

/* A number or schedule; its range is checked when it is known now. */
static ValueId optim_value(Elab *e, const Ast *a, const char *name, double lo, double hi, bool open) {
  Model *m = e->m;
  Val *v = elab(e, e->model, a);
  if (val_bad(v)) return 0;
  bool outside = v->kind == VAL_NUM && !(v->num >= lo && (open ? v->num < hi : v->num <= hi));
  if (outside) {
    use_static(e, v);
    err(m, E0336, v->span, arena_printf(m->a, "`%s`", name), number_text(m->a, v->num), number_text(m->a, lo),
        arena_printf(m->a, "%s%s", open ? "below " : "", number_text(m->a, hi)));
    return 0;
  }
  return as_f64_scalar(e, v, arena_printf(m->a, "`%s`", name));
}

static bool is_zero(Elab *e, ValueId v) { return e->g->v[v].op == OP_CONST && e->g->v[v].num == 0; }

static void optim_flags(Elab *e, const Ast *call, const char *kind) {
  Model *m = e->m;
  static const char *const sgd[] = {"lr", "momentum", "nesterov", "weight_decay"};
  static const char *const adam[] = {"lr", "betas", "beta1", "beta2", "eps", "weight_decay"};
  bool is_sgd = !strcmp(kind, "sgd");
  const char *const *names = is_sgd ? sgd : adam;
  uint32_t n = is_sgd ? 4 : 6;
  StrMap seen = {0};
  for (uint32_t i = 1; ast_is(call, AST_CALL) && i < call->n_kids; i++) {
    const Ast *k = call->kids[i];
    bool known = false;
    for (uint32_t j = 0; ast_is(k, AST_ARG) && j < n; j++) known = known || !strcmp(names[j], k->text);
    if (known && strmap_get(&seen, k->text)) err(m, E0209, k->span, k->text);
    if (known) strmap_put(m->a, &seen, k->text, (void *)(uintptr_t)k);
    if (known) continue;
    Diag *g = err(m, E0207, ast_is(k, AST_ARG) ? k->name_span : k->span, kind,
                  ast_is(k, AST_ARG) ? k->text : ast_source_text(m, k));
    if (ast_is(k, AST_ARG)) diag_choices(m, g, k->text, names, n);
    else diag_help(m->diags, g, "name it: `%s(lr = %s)`", kind, ast_source_text(m, k));
  }
  const Ast *nesterov = find_arg(call, "nesterov");
  if (!nesterov) return;
  Val *v = elab(e, e->model, nesterov->kids[0]);
  use_static(e, v);
  if (v->kind != VAL_BOOL && !val_bad(v))
    err(m, E0302, v->span, "`nesterov`", "`true` or `false`", val_text(e, v));
  m->p->optim.nesterov = v->kind == VAL_BOOL && v->num != 0;
}

static void optim_betas(Elab *e, const Ast *call, ProgOptim *o) {
  const Ast *betas = find_arg(call, "betas"), *b1 = find_arg(call, "beta1"), *b2 = find_arg(call, "beta2");
  const Ast *list = betas ? betas->kids[0] : NULL;
  if (betas && (b1 || b2)) err(e->m, E0209, betas->span, "betas");
  if (betas && (!ast_is(list, AST_LIST) || list->n_kids != 2)) {
    err(e->m, E0302, list->span, "`betas`", "a list of two numbers", ast_source_text(e->m, list));
    return;
  }
  const Ast *first = betas ? list->kids[0]
                     : b1  ? b1->kids[0]
                           : NULL,
            *second = betas ? list->kids[1]
                      : b2  ? b2->kids[0]
                            : NULL;
  if (first) o->beta1 = optim_value(e, first, "beta1", 0, 1, true);
  if (second) o->beta2 = optim_value(e, second, "beta2", 0, 1, true);
}

static ValueId optim_arg(Elab *e, const Ast *call, const char *name, double lo, double hi, bool open) {
  const Ast *a = find_arg(call, name);
  return a ? optim_value(e, a->kids[0], name, lo, hi, open) : 0;
}

void check_optimize(Elab *e) {
  static const char *const kinds[] = {"sgd", "adam", "adamw"}, *const keys[] = {"masked", "clip", "decay"};
  Model *m = e->m;
  ProgOptim *o = &m->p->optim;
  if (!m->optimize) return;
  const Ast *call = m->optimize->kids[0], *block = ast_kid(m->optimize, 1),
            *callee = ast_is(call, AST_CALL) ? call->kids[0] : call;
  int kind = -1;
  for (int i = 0; i < 3; i++)
    if (ast_is_name(callee, kinds[i])) kind = i;
  o->span = m->optimize->span;
  if (kind < 0) {
    Diag *g = err(m, E0410, callee->span, ast_source_text(m, callee));
    if (ast_is(callee, AST_NAME)) diag_choices(m, g, callee->text, kinds, 3);
    return;
  }
  o->kind = (OptimKind)kind;
  optim_flags(e, call, kinds[kind]);
  Span at = call->span;
  Shape scalar = {0};
  bool positional = ast_is(call, AST_CALL) && call->n_kids > 1 && !ast_is(call->kids[1], AST_ARG);
  if (!find_arg(call, "lr") && !positional) err(m, E0208, at, kinds[kind], "needs a value for `lr`");
  o->lr = optim_arg(e, call, "lr", 0, INFINITY, false);
  o->weight_decay = optim_arg(e, call, "weight_decay", 0, INFINITY, false);
  if (kind == 2 && !find_arg(call, "weight_decay"))
    o->weight_decay = ir_const(e->g, at, 0.01, &scalar, DT_F64);
  if (kind == 0) o->momentum = optim_arg(e, call, "momentum", 0, 1, true);
  else {
    optim_betas(e, call, o);
    o->eps = optim_arg(e, call, "eps", 0, INFINITY, false);
    if (!o->beta1) o->beta1 = ir_const(e->g, at, 0.9, &scalar, DT_F64);
    if (!o->beta2) o->beta2 = ir_const(e->g, at, 0.999, &scalar, DT_F64);
    if (!o->eps) o->eps = ir_const(e->g, at, 1e-8, &scalar, DT_F64);
  }
  if (o->weight_decay && is_zero(e, o->weight_decay)) o->weight_decay = 0;
  if (o->momentum && is_zero(e, o->momentum)) o->momentum = 0;
  if (o->nesterov && !o->momentum) err(m, E0406, at, "`nesterov`", "`momentum`");
  block_check_keys(m, block, "an optimizer", keys, 3);
  const Ast *clip = block_setting(block, "clip");
  if (clip && ast_kid(clip, 0)) o->clip = optim_value(e, clip->kids[0], "clip", 1e-300, INFINITY, false);
}

/* Policies of all parameters; after every graph is made. */
void check_params_policy(Model *m) {
  static const char *const words[] = {"freeze", "zero_grad", "mask_update"}, *const what[] = {"all",
                                                                                              "weights"};
  const Ast *block = ast_kid(m->optimize, 1), *masked = block_setting(block, "masked"),
            *decay = block_setting(block, "decay");
  int policy = MASKED_FREEZE;
  const Ast *v = ast_kid(masked, 0);
  if (masked) {
    policy = -1;
    for (int i = 0; i < 3; i++)
      if (ast_is_name(v, words[i])) policy = i;
    if (policy < 0) {
      Diag *g = err(m, E0201, v ? v->span : masked->span, "policy for masked parameters",
                    v ? ast_source_text(m, v) : "");
      if (v) diag_choices(m, g, ast_source_text(m, v), words, 3);
      policy = MASKED_FREEZE;
    }
  }
  const Ast *d = ast_kid(decay, 0);
  if (decay && !ast_is_name(d, "all") && !ast_is_name(d, "weights")) {
    Diag *g = err(m, E0201, d ? d->span : decay->span, "value of `decay`", d ? ast_source_text(m, d) : "");
    if (d) diag_choices(m, g, ast_source_text(m, d), what, 2);
  }
  for (uint32_t i = 0; i < m->p->n_params; i++) {
    m->p->params[i].policy = (MaskedPolicy)policy;
    m->p->params[i].decay = !ast_is_name(d, "weights") || m->p->params[i].shape.rank > 1;
  }
}

/* ---- data of the training step ---- */
uint32_t default_data(Model *m) { return m->data.n == 1 ? 0 : NO_DATA; }

uint32_t training_data(Model *m) {
  const Ast *on = block_setting(ast_kid(m->train, 1), "on");
  uint32_t data = default_data(m);
  const char *part = "train";
  if (!on || !ast_kid(on, 0)) return data;
  Elab *e = elab_create(m, "on", false, NO_DATA);
  const Ast *filter = NULL;
  if (data_part_of(e, on->kids[0], &data, &part, &filter) && strcmp(part, "train") != 0)
    err(m, E0302, on->kids[0]->span, "`on` of `train`", "the part `train`", "the part `test`");
  return data;
}

/* `key { every = 10 epochs; keep = 2 }`, or `key = 10 epochs`. */
static void every_setting(Elab *e, const Ast *block, const char *key, Amount *every, int64_t *keep) {
  static const char *const keys[] = {"every", "keep"};
  Model *m = e->m;
  const Ast *s = block_setting(block, key), *v = ast_kid(s, 0);
  const char *what = arena_printf(m->a, "`%s`", key);
  if (!s) return;
  if (!v) {
    err(m, E0406, s->span, what, "`every`");
    return;
  }
  if (!ast_is(v, AST_BLOCK)) {
    amount_of(e, e->model, v, what, every);
    return;
  }
  block_check_keys(m, v, what, keys, keep ? 2 : 1);
  const Ast *ev = block_setting(v, "every"), *k = block_setting(v, "keep");
  if (!ev) err(m, E0406, s->span, what, "`every`"); /* without it `keep` has no effect */
  if (ast_kid(ev, 0)) amount_of(e, e->model, ev->kids[0], what, every);
  if (keep && ast_kid(k, 0)) static_int(e, elab(e, e->model, k->kids[0]), "`keep`", 0, 1 << 20, keep);
}

static bool flag_setting(Elab *e, const Ast *block, const char *key, bool def) {
  const Ast *s = block_setting(block, key);
  if (!s) return def;
  if (!ast_kid(s, 0)) return true;
  Val *v = elab(e, e->model, s->kids[0]);
  use_static(e, v);
  if (!val_bad(v) && v->kind != VAL_BOOL)
    err(e->m, E0302, v->span, arena_printf(e->m->a, "`%s`", key), "`true` or `false`", val_text(e, v));
  return v->kind == VAL_BOOL ? v->num != 0 : def;
}

void check_train(Elab *e) {
  static const char *const keys[] = {"batch", "for",      "on",      "checkpoint",
                                     "log",   "evaluate", "shuffle", "drop_last", "group", "pack"};
  Model *m = e->m;
  ProgTrain *t = &m->p->train;
  if (!m->train) return;
  const Ast *block = ast_kid(m->train, 1), *amount = ast_kid(m->train, 0);
  const bool any_data = m->data.n > 0;
  Span at = {m->train->span.file, m->train->span.start, m->train->span.start + 5};
  *t = (ProgTrain){
      .present = true, .source = e->data == NO_DATA ? 0 : e->data, .shuffle = any_data, .span = m->train->span};
  bool ok = block_check_keys(m, block, "`train`", keys, sizeof keys / sizeof *keys); /* else a missing one may just be misspelt */
  if (!any_data && !m->raw_params.n) err(m, E0404, at, "train");
  else if (!any_data) {
    static const char *const idle[] = {"batch", "on", "shuffle", "drop_last", "group", "pack"};
    for (uint32_t i = 0; i < sizeof idle / sizeof *idle; i++)
      if (block_setting(block, idle[i])) err(m, E0422, block_setting(block, idle[i])->span, idle[i]);
    t->batch = 1;
  } else if (e->data == NO_DATA && !block_setting(block, "on")) err(m, E0406, at, "`train`", "`on`");
  if (!m->origins.n) err(m, E0405, at);
  if (!m->optimize) {
    Diag *g = err(m, E0406, at, "the specification", "`optimize`");
    diag_help(m->diags, g, "declare one: `optimize adam(lr = 1e-3)`");
  }
  const Ast *batch = block_setting(block, "batch"), *length = block_setting(block, "for");
  if (!ast_kid(batch, 0) && ok && any_data) err(m, E0406, at, "`train`", "`batch`");
  else if (ast_kid(batch, 0) && any_data) check_batches(e, batch, t);
  const Ast *on = ast_kid(block_setting(block, "on"), 0);
  if (any_data && ast_is(on, AST_CALL) && on->n_kids == 3) t->filter = filter_column(e, on->kids[2], "filter of train");
  if (length && amount) err(m, E0209, length->span, "for");
  const Ast *n = amount ? amount : ast_kid(length, 0);
  if (!n && ok) err(m, E0406, at, "`train`", "`for`");
  else if (n) amount_of(e, e->model, n, "the length of the training", &t->length);
  every_setting(e, block, "checkpoint", &t->checkpoint_every, &t->checkpoint_keep);
  every_setting(e, block, "log", &t->log_every, NULL);
  every_setting(e, block, "evaluate", &t->evaluate_every, NULL);
  t->shuffle = flag_setting(e, block, "shuffle", any_data);
  t->drop_last = flag_setting(e, block, "drop_last", false);
  t->group_rows = block_setting(block, "group") ? flag_setting(e, block, "group", false) : -1;
  t->pack_rows = block_setting(block, "pack") ? flag_setting(e, block, "pack", false) : -1;
}
