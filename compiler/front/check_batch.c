/* SPDX-License-Identifier: Apache-2.0
 * check_batch.c -- which data are trained and evaluated on, and how batches are made of them: filters,
 * batches of one class each, batches with a share of each class. */
#include "model.h"
#include <math.h>
#include <string.h>

/* ---- parts and filters: `digits.test`, `filter(digits.train, low)` ---- */
bool data_part_of(Elab *e, const Ast *a, uint32_t *data, const char **part, const Ast **filter) {
  Model *m = e->m;
  const bool filtered = ast_is(a, AST_CALL) && ast_is_name(a->kids[0], "filter");
  if (filtered && (a->n_kids != 3 || ast_is(a->kids[1], AST_ARG) || ast_is(a->kids[2], AST_ARG))) {
    Diag *g = err(m, E0208, a->span, "filter", "takes a part of the data and a condition");
    diag_note(m->diags, g, "it is `filter(digits.train, low)`");
    return false;
  }
  const Ast *of = filtered ? a->kids[1] : a;
  Val *v = elab(e, e->model, of);
  if (val_bad(v)) return false;
  if (v->kind == VAL_DATA) v->text = "train";
  if (v->kind != VAL_PART && v->kind != VAL_DATA) {
    err(m, E0302, of->span, "`on`", "a part of the data such as `digits.test`", val_text(e, v));
    return false;
  }
  *data = v->data, *part = v->text, *filter = filtered ? a->kids[2] : NULL;
  return true;
}

/* A truth value for each datum that can be computed before the run; 0 after an error. */
static ValueId early_condition(Elab *d, Val *v, const char *what) {
  ValueId id = val_bad(v) ? 0 : as_bool(d, v, what);
  if (!id || !cond_reads_data(d, id, what, v->span)) return 0;
  const char *why = v->kind != VAL_TENSOR || val_shape(d, v)->rank != 1 || !val_has_rows(d, v)
                        ? "it is not one truth value for each datum"
                    : !cond_is_steady(d, id) ? "it changes from step to step"
                                             : NULL;
  if (!why) return id;
  err(d->m, E0430, v->span, what, why);
  return 0;
}

uint32_t filter_column(Elab *e, const Ast *cond, const char *name) {
  Elab *d = derived_begin(e, name);
  ValueId id = early_condition(d, elab(d, d->model, cond), "the condition of a filter");
  return id ? 1 + derived_end(d, id, name, DRAW_NONE, cond->span) : 0;
}

/* ---- batches ---- */
typedef struct BatchClasses {
  Decl *class[MAX_CONDS];
  const char *names[MAX_CONDS + 1];
  double share[MAX_CONDS + 1];
  uint32_t n;     /* classes */
  uint32_t n_all; /* with `otherwise` */
  Span span;
} BatchClasses;

/* `low`, or, last, `otherwise`. */
static bool batch_class(Elab *e, BatchClasses *b, const char *name, Span at) {
  Model *m = e->m;
  Decl *d = strmap_get(&m->root->names, name);
  const char *choices[64];
  uint32_t n = 0;
  for (uint32_t i = 0; i < b->n_all; i++)
    if (!strcmp(b->names[i], name)) {
      err(m, E0431, at, arena_printf(m->a, "`%s` stands there twice", name));
      return false;
    }
  if (b->n_all > b->n) {
    err(m, E0431, at, "nothing may follow `otherwise`, which takes every datum that is left");
    return false;
  }
  if (!strcmp(name, "otherwise")) return b->names[b->n_all++] = "otherwise", true;
  if (d && d->kind == DECL_CLASS && b->n < MAX_CONDS) {
    d->used = true;
    b->class[b->n++] = d, b->names[b->n_all++] = name;
    return true;
  }
  for (uint32_t i = 0; i < m->classes.n && n < 63; i++) choices[n++] = m->classes.v[i]->name;
  choices[n++] = "otherwise";
  Diag *g = err(m, E0201, at, "class", name);
  diag_choices(m, g, name, choices, n);
  return false;
}

static bool batch_share(Elab *e, BatchClasses *b, const Ast *a, uint32_t i) {
  return static_num(e, elab(e, e->model, a), "a share", 0, 1, &b->share[i]);
}

/* `by_class = [low, high, otherwise]`, with `share = [0.25, 0.25, 0.5]` if it is given. */
static bool by_class(Elab *e, const Ast *set, const Ast *share, BatchClasses *b) {
  Model *m = e->m;
  const Ast *list = ast_kid(set, 0), *shares = ast_kid(share, 0);
  if (!ast_is(list, AST_LIST) || !list->n_kids) {
    err(m, E0302, list ? list->span : set->span, "`by_class`", "a list of classes",
        list ? ast_source_text(m, list) : "nothing");
    return false;
  }
  for (uint32_t i = 0; i < list->n_kids; i++) {
    const Ast *k = list->kids[i];
    if (!batch_class(e, b, ast_is(k, AST_NAME) ? k->text : ast_source_text(m, k), k->span)) return false;
  }
  b->span = set->span;
  if (!share) return true;
  if (!ast_is(shares, AST_LIST) || shares->n_kids != b->n_all) {
    err(m, E0302, shares ? shares->span : share->span, "`share`",
        arena_printf(m->a, "a list of %u numbers, one for each class", b->n_all),
        shares ? ast_source_text(m, shares) : "nothing");
    return false;
  }
  for (uint32_t i = 0; i < b->n_all; i++)
    if (!batch_share(e, b, shares->kids[i], i)) return false;
  return true;
}

/* `mix { low = 0.25; otherwise = 0.75 }`. */
static bool mix_classes(Elab *e, const Ast *set, BatchClasses *b) {
  Model *m = e->m;
  const Ast *block = ast_kid(set, 0);
  b->span = set->span;
  if (!ast_is(block, AST_BLOCK) || !block->n_kids) {
    err(m, E0302, set->span, "`mix`", "shares in braces: `mix { low = 0.25; otherwise = 0.75 }`",
        "nothing of the kind");
    return false;
  }
  for (uint32_t i = 0; i < block->n_kids; i++) {
    const Ast *k = block->kids[i];
    if (!batch_class(e, b, k->text, k->name_span)) return false;
    if (!ast_kid(k, 0) || ast_is(k->kids[0], AST_BLOCK)) {
      err(m, E0406, k->span, arena_printf(m->a, "`%s`", k->text), "a share");
      return false;
    }
    if (!batch_share(e, b, k->kids[0], i)) return false;
  }
  return true;
}

static bool shares_add_up(Elab *e, const BatchClasses *b) {
  double sum = 0;
  for (uint32_t i = 0; i < b->n_all; i++) sum += b->share[i];
  if (fabs(sum - 1) < 1e-6) return true;
  Diag *g = err(e->m, E0431, b->span,
                arena_printf(e->m->a, "the shares add up to %s, not to 1", number_text(e->m->a, sum)));
  if (sum < 1 && b->n_all == b->n)
    diag_help(e->m->diags, g, "say what the rest is: `otherwise` with a share of %s",
              number_text(e->m->a, 1 - sum));
  return false;
}

/* The number of the class that a datum belongs to: the first that holds; past the last if none does. */
static bool class_column(Elab *e, const BatchClasses *b, ProgBatches *out) {
  const char *name = "classes of batches";
  Elab *d = derived_begin(e, name);
  const Shape rows = shape_of(1, DIM_ROWS);
  ValueId number = ir_const(d->g, b->span, b->n, &rows, DT_I32);
  for (uint32_t i = b->n; i-- > 0;) {
    Val *v = class_value(d, b->class[i], b->span);
    ValueId id = early_condition(d, v, arena_printf(e->m->a, "class `%s`", b->names[i]));
    if (!id) return false;
    number = ir_where(d->g, id, ir_const(d->g, b->span, i, &rows, DT_I32), number);
    const Val *own = class_value(e, b->class[i], b->span);
    const int32_t cond = val_bad(own) ? -1 : cond_add(e, own->id, b->names[i], b->span);
    if (cond >= 0) out->conds[i] = (uint32_t)cond;
  }
  out->by = 1 + derived_end(d, number, name, DRAW_NONE, b->span);
  return true;
}

static bool batch_order(Elab *e, const Ast *set, ProgBatches *out) {
  static const char *const words[] = {"random", "alternate", "blocks"};
  const Ast *v = ast_kid(set, 0);
  for (int i = 0; i < 3; i++)
    if (ast_is_name(v, words[i])) return out->order = (BatchOrder)i, true;
  Diag *g = err(e->m, E0201, v ? v->span : set->span, "order of batches", v ? ast_source_text(e->m, v) : "");
  if (v) diag_choices(e->m, g, ast_source_text(e->m, v), words, 3);
  return false;
}

/* `batch = 64`, or `batch { size = 64; by_class = [low, otherwise]; order = alternate }`, or with `mix { ...
 * }`. */
void check_batches(Elab *e, const Ast *setting, ProgTrain *t) {
  static const char *const keys[] = {"size", "by_class", "share", "order", "mix"};
  Model *m = e->m;
  const Ast *block = ast_kid(setting, 0);
  if (!ast_is(block, AST_BLOCK)) {
    static_int(e, elab(e, e->model, block), "`batch`", 1, 1 << 24, &t->batch);
    return;
  }
  block_check_keys(m, block, "`batch`", keys, 5);
  const Ast *size = block_setting(block, "size"), *by = block_setting(block, "by_class"),
            *share = block_setting(block, "share"), *order = block_setting(block, "order"),
            *mix = block_setting(block, "mix");
  if (!ast_kid(size, 0)) err(m, E0406, setting->span, "`batch`", "`size`");
  else static_int(e, elab(e, e->model, size->kids[0]), "`size`", 1, 1 << 24, &t->batch);
  if (mix && by) {
    Diag *g =
        err(m, E0431, mix->span, "a batch holds one class (`by_class`) or a share of each (`mix`), not both");
    diag_also(m->diags, g, by->span, "given here");
    return;
  }
  for (int i = 0; i < 2; i++)
    if (!by && (i ? order : share))
      err(m, E0406, (i ? order : share)->span, i ? "`order`" : "`share`",
          "`by_class`, whose batches it is about");
  if (!by && !mix) return;
  BatchClasses b = {.n = 0};
  ProgBatches *out = &t->batches;
  out->conds = ARENA_NEWS(m->a, uint32_t, MAX_CONDS + 1);
  if (by ? !by_class(e, by, share, &b) : !mix_classes(e, mix, &b)) return;
  if ((mix || share) && !shares_add_up(e, &b)) return;
  if ((order && !batch_order(e, order, out)) || !class_column(e, &b, out)) return;
  out->kind = by ? BATCH_HOMOGENEOUS : BATCH_SHARES, out->n_conds = b.n, out->n_names = b.n_all;
  out->names = ARENA_NEWS(m->a, const char *, b.n_all + 1);
  memcpy(out->names, b.names, sizeof *out->names * b.n_all);
  if (!mix && !share) return;
  out->share = ARENA_NEWS(m->a, double, b.n_all + 1);
  memcpy(out->share, b.share, sizeof *out->share * b.n_all);
}
