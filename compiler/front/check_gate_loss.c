/* SPDX-License-Identifier: Apache-2.0
 * check_gate_loss.c -- the terms of a gate's own loss: cross entropy of its weights against a target, from
 * logits where the graph shows them. */
#include "builtin_impl.h"
#include "model.h"
#include "fault.h"
#include <string.h>

/* Weights without logits are kept this far from 0 and 1 under a logarithm, and have no gradient beyond. */
#define GATE_EPS 1e-6

/* id again, with what its innermost view shows replaced by x. */
static ValueId viewed(Elab *e, ValueId id, ValueId x) {
  const Value *v = &e->g->v[id];
  return ir_make(e->g, v->op, v->span, &x, 1, v->ints, v->n_ints, v->num, &v->shape, DT_NONE);
}

static bool is_view(Op op) {
  return op == OP_RESHAPE || op == OP_BCAST || op == OP_SLICE || op == OP_TRANSPOSE;
}

/* x where id is sigmoid(x) or a view of it; else 0. */
static ValueId logits_of(Elab *e, ValueId id) {
  const Value *v = &e->g->v[id];
  if (v->op == OP_SIGMOID) return v->args[0];
  const ValueId x = is_view(v->op) ? logits_of(e, v->args[0]) : 0;
  return x ? viewed(e, id, x) : 0;
}

/* exp(s) / sum of exp(s) */
static bool is_softmax(const Graph *g, ValueId id) {
  if (g->v[id].op != OP_DIV) return false;
  const Value *p = &g->v[g->v[id].args[0]], *spread = &g->v[g->v[id].args[1]];
  if (p->op != OP_EXP || spread->op != OP_BCAST) return false;
  const Value *sum = &g->v[spread->args[0]];
  return sum->op == OP_SUM && sum->args[0] == g->v[id].args[0];
}

bool gate_is_share(const Graph *g, ValueId id) {
  const Value *v = &g->v[id];
  if (is_view(v->op) || v->op == OP_TAP) return gate_is_share(g, v->args[0]);
  return v->op == OP_SIGMOID || is_softmax(g, id) || (v->op == OP_CAST && g->v[v->args[0]].dtype == DT_BOOL);
}

/* log(id) where id is a softmax or a view of one; else 0. */
static ValueId log_softmax_of(Elab *e, ValueId id) {
  Graph *g = e->g;
  const Value *v = &g->v[id];
  if (is_view(v->op)) {
    const ValueId x = log_softmax_of(e, v->args[0]);
    return x ? viewed(e, id, x) : 0;
  }
  if (!is_softmax(g, id)) return 0;
  const ValueId spread = v->args[1], sum = g->v[spread].args[0], s = g->v[v->args[0]].args[0];
  return ir_bin(g, OP_SUB, s, viewed(e, spread, ir_un(g, OP_LOG, sum)));
}

/* The same value in front of the places that routes name: what is read there is the same, bit for bit. */
static ValueId without_taps(Elab *e, ValueId id) {
  const Value *v = &e->g->v[id];
  if (v->op == OP_TAP) return without_taps(e, v->args[0]);
  if (!is_view(v->op)) return id;
  const ValueId arg = v->args[0], x = without_taps(e, arg);
  return x == arg ? id : viewed(e, id, x);
}

/* The value of `value`, the derivative of `derivative`: a route on the weights masks the gradient that reaches them, and
 * changes no bit of the loss. */
static ValueId straight(Graph *g, ValueId value, ValueId derivative) {
  return ir_bin(g, OP_ADD, ir_un(g, OP_STOP, value), ir_bin(g, OP_SUB, derivative, ir_un(g, OP_STOP, derivative)));
}

static ValueId log_clamped(Elab *e, ValueId w) {
  ValueId low = f32_const(e, e->g->v[w].span, GATE_EPS), high = f32_const(e, e->g->v[w].span, 1 - GATE_EPS);
  return ir_un(e->g, OP_LOG, ir_bin(e->g, OP_MIN, ir_bin(e->g, OP_MAX, w, low), high));
}

/* log w, of w's shape. */
static ValueId log_of(Elab *e, ValueId w) {
  const ValueId bare = without_taps(e, w), shown = log_softmax_of(e, bare);
  if (shown && bare == w) return shown;
  return shown ? straight(e->g, shown, log_clamped(e, w)) : log_clamped(e, w);
}

/* -(t log w + (1 - t) log(1 - w)), of w's shape. */
static ValueId binary_terms(Elab *e, ValueId w, ValueId t) {
  Graph *g = e->g;
  const ValueId bare = without_taps(e, w), x = logits_of(e, bare), one = f32_const(e, g->v[w].span, 1);
  const ValueId shown = x ? ir_bin(g, OP_SUB, ir_un(g, OP_SOFTPLUS, x), ir_bin(g, OP_MUL, t, x)) : 0;
  if (shown && bare == w) return shown;
  ValueId yes = ir_bin(g, OP_MUL, t, log_clamped(e, w));
  ValueId no = ir_bin(g, OP_MUL, ir_bin(g, OP_SUB, one, t), log_clamped(e, ir_bin(g, OP_SUB, one, w)));
  const ValueId clamped = ir_un(g, OP_NEG, ir_bin(g, OP_ADD, yes, no));
  return shown ? straight(g, shown, clamped) : clamped;
}

static const char *target_text(Elab *e, const Gate *gate) {
  return arena_printf(e->m->a, "the target of gate `%s`", gate->decl->name);
}

/* Against an integer: -log w at it, in the shape without the last axis. */
static Val *choice_terms(Elab *e, const Gate *gate, const Val *v, Val *target) {
  Graph *g = e->g;
  const Shape s = *val_shape(e, v);
  const int last = s.rank - 1;
  ValueId lp = log_of(e, v->id), index;
  Val *like = gate_front(e, v, ir_reduce(g, OP_SUM, lp, (int64_t[]){last}, 1));
  if (!bi_labels_fit(e, target, s.d[last]) ||
      !broadcast_to(e, target->span, target_text(e, gate), target, like, &index))
    return NULL;
  ValueId picked =
      ir_where(g, bi_is_label(e, target->span, index, s.d[last]), lp, f32_const(e, target->span, 0));
  return gate_front(e, v, ir_un(g, OP_NEG, ir_reduce(g, OP_SUM, picked, (int64_t[]){last}, 1)));
}

/* Against a distribution: - sum of t log w. */
static Val *distribution_terms(Elab *e, const Gate *gate, const Val *v, Val *target) {
  Graph *g = e->g;
  const int last = val_shape(e, v)->rank - 1;
  ValueId lp = log_of(e, v->id), t;
  if (!broadcast_to(e, target->span, target_text(e, gate), target, v, &t)) return NULL;
  ValueId sum = ir_reduce(g, OP_SUM, ir_bin(g, OP_MUL, t, lp), (int64_t[]){last}, 1);
  return gate_front(e, v, ir_un(g, OP_NEG, sum));
}

/* Terms of v's shape, each weight a question of its own. */
static Val *separate_terms(Elab *e, const Gate *gate, const Val *v, Val *target) {
  ValueId t = val_dtype(e, target) == DT_BOOL ? ir_cast(e->g, target->id, DT_F32)
                                              : as_f32(e, target, target_text(e, gate));
  if (!t || (val_dtype(e, target) == DT_I32 && !bi_labels_fit(e, target, 2))) return NULL;
  if (!broadcast_to(e, target->span, target_text(e, gate), val_like(e, target->span, t, target), v, &t))
    return NULL;
  return val_like(e, target->span, binary_terms(e, v->id, t), v);
}

/* Over axes without a name: a term for each datum and each entry of the others. */
static Val *mean_unnamed(Elab *e, Val *v) {
  int64_t axes[IR_MAX_RANK];
  uint32_t n = 0;
  for (int i = 1; i < val_shape(e, v)->rank; i++)
    if (!v->axis[i]) axes[n++] = i;
  return n ? reduce_val(e, v->span, v, OP_SUM, axes, n, true) : v;
}

/* A number that is known now: the branch, of several; else a weight. Poison after an error. */
static Val *constant_target(Elab *e, Val *t, double high, bool columns) {
  if (t->kind == VAL_BOOL) return as_tensor(e, t, "a target");
  if (t->kind != VAL_NUM) return t;
  if (!(t->num >= 0 && t->num <= high)) {
    err(e->m, E0336, t->span, "`target`", number_text(e->m->a, t->num), "0", number_text(e->m->a, high));
    return val_poison(e, t->span);
  }
  if (!columns || !t->is_int) return as_tensor(e, t, "a target");
  const ValueId id = as_i32(e, t, "a target");
  return id ? val_tensor(e, t->span, id) : val_poison(e, t->span);
}

/* An entry for each of n weights along its last axis. */
static bool has_entries(Elab *e, const Val *t, int64_t n) {
  const Shape *s = val_shape(e, t);
  return s->rank > 0 && s->d[s->rank - 1] == n && !t->axis[s->rank - 1];
}

static Val *terms_of(Elab *e, const Gate *gate, const GateUse *use) {
  const ValueId own = fault("gate-loss-behind-policy") ? use->place->value : use->own;
  Val *v = val_like(e, use->val->span, own, use->val), *t = elab(e, e->model, gate->target->kids[0]);
  Shape s = *val_shape(e, v);
  if (val_bad(t)) return NULL;
  const bool columns = s.rank > 1 && s.d[s.rank - 1] > 1 && !v->axis[s.rank - 1];
  t = constant_target(e, t, columns ? (double)s.d[s.rank - 1] - 1 : 1, columns);
  if (val_bad(t)) return NULL;
  if (t->kind != VAL_TENSOR || (columns && val_dtype(e, t) != DT_I32 && !has_entries(e, t, s.d[s.rank - 1]))) {
    err(e->m, E0362, t->span, gate->decl->name, val_text(e, t), val_text(e, v));
    return NULL;
  }
  if (s.rank > 1 && s.d[s.rank - 1] == 1) { /* one weight, with an axis of 1 behind it */
    s.rank--;
    v = gate_front(e, v, ir_reshape(e->g, v->id, &s));
    Shape ts = *val_shape(e, t);
    if (ts.rank == s.rank + 1 && ts.d[ts.rank - 1] == 1)
      ts.rank--, t = gate_front(e, t, ir_reshape(e->g, t->id, &ts));
    Val *one = separate_terms(e, gate, v, t);
    return one ? mean_unnamed(e, one) : NULL;
  }
  const Dtype type = val_dtype(e, t);
  Val *x = columns && type == DT_I32    ? choice_terms(e, gate, v, t)
           : columns && type != DT_BOOL ? distribution_terms(e, gate, v, t)
                                        : separate_terms(e, gate, v, t);
  return x ? mean_unnamed(e, x) : NULL;
}

Val *gate_terms(Elab *e, const Gate *gate) {
  Val *sum = NULL;
  for (uint32_t i = 0; i < e->n_gate_uses; i++) {
    if (e->gate_uses[i]->gate != gate) continue;
    Val *x = terms_of(e, gate, e->gate_uses[i]);
    if (!x) return NULL;
    sum = sum ? elab_binary(e, gate->target, "+", sum, x) : x;
    if (val_bad(sum)) return NULL;
  }
  return sum;
}
