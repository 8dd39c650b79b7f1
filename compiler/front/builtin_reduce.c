/* SPDX-License-Identifier: Apache-2.0
 * builtin_reduce.c -- reductions, softmax, correlation, losses and metrics. */
#include "builtin_impl.h"
#include "fault.h"
#include <string.h>

static const char *arg_what(BuiltinCall *c) { return arena_printf(c->e->m->a, "`%s`", c->fn->name); }
static Val *poison(BuiltinCall *c) { return val_poison(c->e, c->span); }

int bi_axis(BuiltinCall *c, const Val *x, int slot) {
  const Shape *s = val_shape(c->e, x);
  if (c->ast[slot]) {
    int axis = find_axis(c->e, x, c->ast[slot], "`over`");
    if (axis < 0 || s->d[axis] != DIM_ROWS) return axis;
    bi_error_rank(c, x, "an axis of each datum, not `example`");
    return -1;
  }
  if (s->rank && s->d[s->rank - 1] != DIM_ROWS) return s->rank - 1;
  bi_error_rank(c, x, "at least one axis for each datum");
  return -1;
}

/* Axes that `over` names, ascending; default: all but the datum axis, none of which may be named. */
static int over_axes(BuiltinCall *c, const Val *x, int slot, int64_t *axes) {
  Elab *e = c->e;
  const Shape *s = val_shape(e, x);
  const Ast *over = c->ast[slot];
  bool in[IR_MAX_RANK] = {false};
  if (!over) {
    for (int i = 0; i < s->rank; i++) {
      if (s->d[i] == DIM_ROWS) continue;
      in[i] = true;
      if (!x->axis[i]) continue;
      Diag *g = err(e->m, E0318, c->span, c->fn->name, x->axis[i]);
      diag_help(e->m->diags, g, "write `over = %s`, or `over = all` for every axis and all data", x->axis[i]);
      return -1;
    }
  } else if (ast_is_name(over, "all")) memset(in, 1, sizeof in);
  else if (ast_is(over, AST_LIST)) {
    for (uint32_t i = 0; i < over->n_kids; i++) {
      int k = find_axis(e, x, over->kids[i], "`over`");
      if (k < 0) return -1;
      in[k] = true;
    }
  } else {
    int k = find_axis(e, x, over, "`over`");
    if (k < 0) return -1;
    in[k] = true;
  }
  int n = 0;
  for (int i = 0; i < s->rank; i++)
    if (in[i]) axes[n++] = i;
  return n;
}

Val *bi_reduce(BuiltinCall *c) {
  int64_t axes[IR_MAX_RANK];
  Val *x = bi_tensor(c, 0);
  int n = x ? over_axes(c, x, 1, axes) : -1;
  return n < 0 ? poison(c) : reduce_val(c->e, c->span, x, OP_SUM, axes, (uint32_t)n, c->fn->aux == 0);
}

Val *bi_minmax(BuiltinCall *c) {
  Elab *e = c->e;
  if (c->v[1] && c->ast[2]) {
    err(e->m, E0207, c->ast[2]->span, c->fn->name, "over");
    return poison(c);
  }
  if (c->v[1]) return elab_binary(e, c->call, c->fn->name, c->v[0], c->v[1]);
  int64_t axes[IR_MAX_RANK];
  Val *x = bi_tensor(c, 0);
  int n = x ? over_axes(c, x, 2, axes) : -1;
  if (n < 0) return poison(c);
  if (c->fn->aux == OP_MAX) return reduce_val(e, c->span, x, OP_AMAX, axes, (uint32_t)n, false);
  Val *r = reduce_val(e, c->span, val_like(e, c->span, ir_un(e->g, OP_NEG, x->id), x), OP_AMAX, axes,
                      (uint32_t)n, false);
  r->id = ir_un(e->g, OP_NEG, r->id);
  return r;
}

Val *bi_argmax(BuiltinCall *c) {
  Val *x = bi_tensor(c, 0);
  int axis = x ? bi_axis(c, x, 1) : -1;
  if (axis < 0) return poison(c);
  return reduce_val(c->e, c->span, x, OP_ARGMAX, (int64_t[]){axis}, 1, false);
}

ValueId bi_spread(Elab *e, ValueId r, const Shape *x, int axis) {
  int64_t map[IR_MAX_RANK];
  for (int i = 0; i < x->rank; i++) map[i] = i < axis ? i : i == axis ? -1 : i - 1;
  return ir_bcast(e->g, r, x, map);
}

/* x minus its largest, which carries no gradient: the result does not depend on it. */
static ValueId shifted(Elab *e, ValueId x, int axis) {
  Shape s = e->g->v[x].shape;
  ValueId top = ir_un(e->g, OP_STOP, ir_reduce(e->g, OP_AMAX, x, (int64_t[]){axis}, 1));
  return ir_bin(e->g, OP_SUB, x, bi_spread(e, top, &s, axis));
}

ValueId bi_log_softmax(Elab *e, ValueId x, int axis) {
  Shape s = e->g->v[x].shape;
  ValueId z = shifted(e, x, axis);
  ValueId total = ir_un(e->g, OP_LOG, ir_reduce(e->g, OP_SUM, ir_un(e->g, OP_EXP, z), (int64_t[]){axis}, 1));
  return ir_bin(e->g, OP_SUB, z, bi_spread(e, total, &s, axis));
}

ValueId bi_softmax_of(Elab *e, ValueId x, int axis) {
  Shape s = e->g->v[x].shape;
  ValueId p = ir_un(e->g, OP_EXP, shifted(e, x, axis));
  return ir_bin(e->g, OP_DIV, p, bi_spread(e, ir_reduce(e->g, OP_SUM, p, (int64_t[]){axis}, 1), &s, axis));
}

Val *bi_softmax(BuiltinCall *c) {
  Val *x = bi_tensor(c, 0);
  int axis = x ? bi_axis(c, x, 1) : -1;
  if (axis < 0) return poison(c);
  return val_like(c->e, c->span,
                  c->fn->aux ? bi_log_softmax(c->e, x->id, axis) : bi_softmax_of(c->e, x->id, axis), x);
}

/* Sum over units of the mean over the batch of |x| or x^2; of a parameter: the plain sum. */
Val *bi_norm(BuiltinCall *c) {
  Elab *e = c->e;
  ValueId x = bi_f32(c, 0);
  if (!x) return poison(c);
  Shape s = e->g->v[x].shape;
  ValueId y = c->fn->aux == 1 ? ir_un(e->g, OP_ABS, x) : ir_bin(e->g, OP_MUL, x, x);
  int64_t axes[IR_MAX_RANK];
  for (int i = 0; i < s.rank; i++) axes[i] = i;
  y = ir_reduce(e->g, OP_SUM, y, axes, (uint32_t)s.rank);
  if (s.rank && s.d[0] == DIM_ROWS) y = ir_bin(e->g, OP_DIV, y, rows_f32(e));
  return val_tensor(e, c->span, y);
}

/* ---- correlation ---- */
/* Deviations from the batch mean, and per unit 1 / (unbiased standard deviation), 0 for a unit without
 * variance. The inner WHERE keeps the derivative of the unused branch finite. */
static ValueId deviations(Elab *e, ValueId x, ValueId *inverse) {
  Graph *g = e->g;
  Shape s = g->v[x].shape;
  ValueId n = rows_f32(e), one = f32_const(e, g->v[x].span, 1), zero = f32_const(e, g->v[x].span, 0);
  ValueId mean = ir_bin(g, OP_DIV, ir_reduce(g, OP_SUM, x, (int64_t[]){0}, 1), n);
  ValueId d = ir_bin(g, OP_SUB, x, bi_spread(e, mean, &s, 0));
  ValueId free = ir_bin(g, OP_MAX, fault("biased-deviation") ? n : ir_bin(g, OP_SUB, n, one), one);
  ValueId var = ir_bin(g, OP_DIV, ir_reduce(g, OP_SUM, ir_bin(g, OP_MUL, d, d), (int64_t[]){0}, 1), free);
  ValueId alive = ir_bin(g, OP_LT, zero, var);
  ValueId safe = ir_where(g, alive, var, one);
  *inverse = ir_where(g, alive, ir_bin(g, OP_DIV, one, ir_un(g, OP_SQRT, safe)), zero);
  return d;
}

Val *bi_correlation(BuiltinCall *c) {
  Elab *e = c->e;
  Graph *g = e->g;
  if (!ast_is_name(c->ast[2], "example")) {
    err(e->m, E0306, c->ast[2]->span, ast_source_text(e->m, c->ast[2]),
        "a correlation, which is taken over `example`");
    return poison(c);
  }
  Val *x = bi_tensor(c, 0), *y = bi_tensor(c, 1);
  if (!x || !y) return poison(c);
  if (val_shape(e, x)->rank != 2 || !val_has_rows(e, x))
    return bi_error_rank(c, x, "one axis of units for each datum");
  if (val_shape(e, y)->rank != 2 || !val_has_rows(e, y))
    return bi_error_rank(c, y, "one axis of units for each datum");
  Shape out = shape_of(2, val_shape(e, x)->d[1], val_shape(e, y)->d[1]);
  if (!shape_ok(e, c->span, &out, "the correlation")) return poison(c);
  ValueId ix, iy, dx = deviations(e, x->id, &ix), dy = deviations(e, y->id, &iy);
  ValueId r = ir_dot(g, dx, dy, NULL, NULL, 0, (int64_t[]){0}, (int64_t[]){0}, 1);
  Shape s = g->v[r].shape;
  r = ir_bin(g, OP_DIV, r, rows_f32(e));
  r = ir_bin(g, OP_MUL, r, bi_spread(e, ix, &s, 1));
  r = ir_bin(g, OP_MUL, r, bi_spread(e, iy, &s, 0));
  return val_tensor(e, c->span, r);
}

/* ---- losses and metrics ---- */
Val *bi_distance(BuiltinCall *c) {
  Elab *e = c->e;
  Val *x = bi_tensor(c, 0), *y = bi_tensor(c, 1), *axes = NULL;
  ValueId ix, iy;
  if (!x || !y || !broadcast_pair(e, c->span, arg_what(c), x, y, &ix, &iy, &axes)) return poison(c);
  ValueId d = ir_bin(e->g, OP_SUB, ix, iy);
  return val_tensor(e, c->span,
                    mean_rest(e, c->fn->aux == 1 ? ir_un(e->g, OP_ABS, d) : ir_bin(e->g, OP_MUL, d, d)));
}

ValueId bi_is_label(Elab *e, Span span, ValueId label, int64_t n) {
  Shape s = e->g->v[label].shape;
  int axis = s.rank;
  s.d[s.rank++] = n;
  ValueId iota = ir_make(e->g, OP_IOTA, span, NULL, 0, (int64_t[]){axis}, 1, 0, &s, DT_I32);
  return ir_bin(e->g, OP_EQ, iota, bi_spread(e, label, &s, axis));
}

bool bi_labels_fit(Elab *e, const Val *label, int64_t n) {
  for (uint32_t i = 0; i < e->n_finite; i++) {
    const Field *f = e->finite[i].field;
    if (e->finite[i].id != label->id || !f->has_range || (f->lo >= 0 && f->hi < (double)n)) continue;
    Diag *g = err(e->m, E0337, label->span, f->name, number_text(e->m->a, f->lo), number_text(e->m->a, f->hi),
                  (long long)n);
    diag_also(e->m->diags, g, f->bind->span, "its range is declared here");
    return false;
  }
  return true;
}

Val *bi_one_hot(BuiltinCall *c) {
  Elab *e = c->e;
  ValueId x = as_i32(e, c->v[0], arg_what(c));
  if (!x) return poison(c);
  if (c->i[1] < 1) {
    err(e->m, E0310, c->v[1]->span, "`n` of `one_hot`", (long long)c->i[1]);
    return poison(c);
  }
  Shape s = e->g->v[x].shape;
  if (s.rank == IR_MAX_RANK) return bi_error_rank(c, c->v[0], "at most seven axes");
  s.d[s.rank++] = c->i[1];
  if (!shape_ok(e, c->span, &s, "this one-hot code") || !bi_labels_fit(e, c->v[0], c->i[1])) return poison(c);
  Val *v = val_tensor(e, c->span, ir_cast(e->g, bi_is_label(e, c->span, x, c->i[1]), DT_F32));
  for (int i = 0; i + 1 < s.rank; i++) v->axis[i] = c->v[0]->axis[i];
  return v;
}

/* logits and, in *label, the labels without the last axis; false after an error. */
static bool logits_and_labels(BuiltinCall *c, Val **logits, ValueId *label) {
  Elab *e = c->e;
  *logits = bi_tensor(c, 0);
  if (!*logits || bi_axis(c, *logits, 2) < 0) return false;
  *label = as_i32(e, c->v[1], arg_what(c));
  if (!*label) return false;
  Shape want = *val_shape(e, *logits);
  int64_t n = want.d[--want.rank];
  if (!bi_labels_fit(e, c->v[1], n)) return false;
  if (shape_equal(&want, &e->g->v[*label].shape)) return true;
  Diag *g = err(e->m, E0301, c->v[1]->span, arg_what(c), val_text(e, *logits), val_text(e, c->v[1]));
  diag_note(e->m->diags, g, "labels have the shape of the logits without their last axis");
  return false;
}

Val *bi_cross_entropy(BuiltinCall *c) {
  Elab *e = c->e;
  Graph *g = e->g;
  Val *x = NULL, *axes = NULL;
  ValueId label = 0, picked, lp;
  if (val_dtype(e, c->v[1]) == DT_F32) { /* against probabilities */
    Val *t = bi_tensor(c, 1);
    ValueId ix, it;
    x = bi_tensor(c, 0);
    if (!x || !t || bi_axis(c, x, 2) < 0 || !broadcast_pair(e, c->span, arg_what(c), x, t, &ix, &it, &axes))
      return poison(c);
    lp = bi_log_softmax(e, ix, g->v[ix].shape.rank - 1);
    picked = ir_bin(g, OP_MUL, it, lp);
  } else {
    if (!logits_and_labels(c, &x, &label)) return poison(c);
    int last = val_shape(e, x)->rank - 1;
    lp = bi_log_softmax(e, x->id, last);
    ValueId zero = f32_const(e, c->span, 0);
    picked = ir_where(g, bi_is_label(e, c->span, label, g->v[lp].shape.d[last]), lp, zero);
  }
  ValueId nll = ir_un(g, OP_NEG, ir_reduce(g, OP_SUM, picked, (int64_t[]){g->v[lp].shape.rank - 1}, 1));
  return val_tensor(e, c->span, mean_rest(e, nll));
}

Val *bi_accuracy(BuiltinCall *c) {
  Elab *e = c->e;
  Val *x = NULL;
  ValueId label = 0;
  if (!logits_and_labels(c, &x, &label)) return poison(c);
  ValueId best = ir_reduce(e->g, OP_ARGMAX, x->id, (int64_t[]){val_shape(e, x)->rank - 1}, 1);
  return val_tensor(e, c->span, mean_rest(e, ir_cast(e->g, ir_bin(e->g, OP_EQ, best, label), DT_F32)));
}

/* softplus(x) - t x = -(t log s(x) + (1 - t) log(1 - s(x))) */
Val *bi_bce(BuiltinCall *c) {
  Elab *e = c->e;
  Val *x = bi_tensor(c, 0), *axes = NULL, *t = c->v[1];
  if (!x) return poison(c);
  if (val_dtype(e, t) == DT_BOOL)
    t = val_like(e, t->span, ir_cast(e->g, as_bool(e, t, arg_what(c)), DT_F32), t);
  else t = bi_tensor(c, 1);
  ValueId ix, it;
  if (!t || !broadcast_pair(e, c->span, arg_what(c), x, t, &ix, &it, &axes)) return poison(c);
  ValueId tx = ir_bin(e->g, OP_MUL, it, ix), v = ir_bin(e->g, OP_SUB, ir_un(e->g, OP_SOFTPLUS, ix), tx);
  return val_tensor(e, c->span, mean_rest(e, v));
}

Val *bi_kl(BuiltinCall *c) {
  Elab *e = c->e;
  Val *p = bi_tensor(c, 0), *q = bi_tensor(c, 1), *axes = NULL;
  ValueId ip, iq;
  if (!p || !q || bi_axis(c, p, 2) < 0 || bi_axis(c, q, 2) < 0) return poison(c);
  if (!broadcast_pair(e, c->span, arg_what(c), p, q, &ip, &iq, &axes)) return poison(c);
  int last = e->g->v[ip].shape.rank - 1;
  ValueId lp = bi_log_softmax(e, ip, last), lq = bi_log_softmax(e, iq, last);
  ValueId ratio = ir_bin(e->g, OP_SUB, lp, lq), t = ir_bin(e->g, OP_MUL, ir_un(e->g, OP_EXP, lp), ratio);
  return val_tensor(e, c->span, mean_rest(e, ir_reduce(e->g, OP_SUM, t, (int64_t[]){last}, 1)));
}
