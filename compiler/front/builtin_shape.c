/* SPDX-License-Identifier: Apache-2.0
 * builtin_shape.c -- functions that move elements, and matrix products. */
#include "builtin_impl.h"
#include <string.h>

static const char *arg_what(BuiltinCall *c) { return arena_printf(c->e->m->a, "`%s`", c->fn->name); }
static Val *poison(BuiltinCall *c) { return val_poison(c->e, c->span); }

/* Slot i as a tensor of any type. */
static Val *any_tensor(BuiltinCall *c, int i) {
  if (val_dtype(c->e, c->v[i]) == DT_F64) return bi_tensor(c, i); /* a schedule: f64 has no axes */
  Val *v = as_tensor(c->e, c->v[i], arg_what(c));
  return val_bad(v) ? NULL : v;
}

Val *bi_flatten(BuiltinCall *c) {
  Val *x = any_tensor(c, 0);
  if (!x) return poison(c);
  const Shape *s = val_shape(c->e, x);
  bool rows = val_has_rows(c->e, x);
  Shape to = {0};
  if (rows) to.d[to.rank++] = DIM_ROWS;
  to.d[to.rank++] = shape_count(s, 1);
  return val_tensor(c->e, c->span, ir_reshape(c->e->g, x->id, &to));
}

Val *bi_reshape(BuiltinCall *c) {
  Elab *e = c->e;
  Val *x = any_tensor(c, 0);
  const Ast *list = c->ast[1];
  if (!x) return poison(c);
  bool rows = val_has_rows(e, x);
  if (!ast_is(list, AST_LIST) || list->n_kids + rows > IR_MAX_RANK) {
    err(e->m, E0302, list->span, "`shape` of `reshape`", "a list of extents for each datum",
        ast_source_text(e->m, list));
    return poison(c);
  }
  Shape to = {0};
  const char *axis[IR_MAX_RANK] = {NULL};
  if (rows) axis[to.rank] = "example", to.d[to.rank++] = DIM_ROWS;
  for (uint32_t i = 0; i < list->n_kids; i++) {
    const Ast *k = list->kids[i];
    if (ast_is(k, AST_ARG)) axis[to.rank] = k->text, k = k->kids[0];
    if (!static_int(e, elab(e, c->s, k), "an extent", 1, MAX_ELEMENTS, &to.d[to.rank++])) return poison(c);
  }
  if (!shape_ok(e, list->span, &to, "this shape")) return poison(c);
  if (shape_count(&to, 1) != shape_count(val_shape(e, x), 1)) {
    Diag *g = err(e->m, E0301, list->span, arg_what(c), val_text(e, x), ast_source_text(e->m, list));
    diag_note(e->m->diags, g, "each datum has %lld elements, the new shape %lld",
              (long long)shape_count(val_shape(e, x), 1), (long long)shape_count(&to, 1));
    return poison(c);
  }
  Val *v = val_tensor(e, c->span, ir_reshape(e->g, x->id, &to));
  memcpy(v->axis, axis, sizeof axis);
  return v;
}

Val *bi_transpose(BuiltinCall *c) {
  Elab *e = c->e;
  Val *x = any_tensor(c, 0);
  if (!x) return poison(c);
  const Shape *s = val_shape(e, x);
  int first = val_has_rows(e, x), n = s->rank - first;
  int64_t perm[IR_MAX_RANK];
  for (int i = 0; i < s->rank; i++) perm[i] = i;
  const Ast *list = c->ast[1];
  if (!list) {
    if (n < 2) return bi_error_rank(c, x, "two axes for each datum");
    perm[s->rank - 1] = s->rank - 2, perm[s->rank - 2] = s->rank - 1;
  } else {
    unsigned seen = 0;
    bool ok = ast_is(list, AST_LIST) && (int)list->n_kids == n;
    for (uint32_t i = 0; ok && i < list->n_kids; i++) {
      int k = find_axis(e, x, list->kids[i], "`axes`");
      if (k < 0) return poison(c);
      ok = k >= first && !(seen >> k & 1);
      seen |= 1u << k;
      perm[first + (int)i] = k;
    }
    if (!ok) {
      err(e->m, E0302, list->span, "`axes` of `transpose`",
          arena_printf(e->m->a, "a list that names each of the %d axes of a datum once", n),
          ast_source_text(e->m, list));
      return poison(c);
    }
  }
  Val *v = val_tensor(e, c->span, ir_transpose(e->g, x->id, perm));
  for (int i = 0; i < s->rank; i++) v->axis[i] = x->axis[perm[i]];
  return v;
}

Val *bi_concat(BuiltinCall *c) {
  Elab *e = c->e;
  uint32_t n = 1 + c->n_more;
  Val **xs = ARENA_NEWS(e->m->a, Val *, n);
  ValueId *ids = ARENA_NEWS(e->m->a, ValueId, n);
  bool ints = true;
  for (uint32_t i = 0; i < n; i++) {
    xs[i] = as_tensor(e, i ? c->more[i - 1] : c->v[0], arg_what(c));
    if (val_bad(xs[i])) return poison(c);
    ints = ints && val_dtype(e, xs[i]) == DT_I32;
  }
  int axis = bi_axis(c, xs[0], 1);
  if (axis < 0) return poison(c);
  double total = 0;
  for (uint32_t i = 0; i < n; i++) {
    const Shape *a = val_shape(e, xs[0]), *b = val_shape(e, xs[i]);
    bool same = a->rank == b->rank;
    for (int k = 0; same && k < a->rank; k++) same = k == axis || a->d[k] == b->d[k];
    if (!same) {
      Diag *g = err(e->m, E0301, xs[i]->span, arg_what(c), val_text(e, xs[0]), val_text(e, xs[i]));
      diag_also(e->m->diags, g, xs[0]->span, "this is %s", val_text(e, xs[0]));
      diag_note(e->m->diags, g, "all extents but those along the joined axis must be equal");
      return poison(c);
    }
    ids[i] = ints ? xs[i]->id : as_f32(e, xs[i], arg_what(c));
    if (!ids[i]) return poison(c);
    total += (double)b->d[axis];
  }
  Shape to = *val_shape(e, xs[0]);
  to.d[axis] = total < (double)MAX_ELEMENTS ? (int64_t)total : INT64_MAX;
  if (!shape_ok(e, c->span, &to, "the joined tensor")) return poison(c);
  return val_like(e, c->span,
                  ir_make(e->g, OP_CONCAT, c->span, ids, n, (int64_t[]){axis}, 1, 0, NULL, DT_NONE), xs[0]);
}

Val *bi_gather(BuiltinCall *c) {
  Elab *e = c->e;
  Val *t = bi_tensor(c, 0);
  ValueId idx = as_i32(e, c->v[1], arg_what(c));
  if (!t || !idx) return poison(c);
  if (!val_shape(e, t)->rank || val_has_rows(e, t))
    return bi_error_rank(c, t, "a table without the datum axis");
  Shape to = e->g->v[idx].shape;
  if (to.rank + val_shape(e, t)->rank - 1 > IR_MAX_RANK)
    return bi_error_rank(c, t, "at most eight axes in the result");
  for (int i = 1; i < val_shape(e, t)->rank; i++) to.d[to.rank++] = val_shape(e, t)->d[i];
  if (!shape_ok(e, c->span, &to, "the gathered rows")) return poison(c);
  return val_tensor(e, c->span,
                    ir_make(e->g, OP_GATHER, c->span, (ValueId[]){t->id, idx}, 2, NULL, 0, 0, NULL, DT_NONE));
}

/* x [B.., m, k] times y [B.., k, n], or y [k, n] for all: [B.., m, n]. A missing datum axis of y means the
 * same y for all. */
Val *bi_matmul(BuiltinCall *c) {
  Elab *e = c->e;
  Val *x = bi_tensor(c, 0), *y = bi_tensor(c, 1);
  if (!x || !y) return poison(c);
  Shape sx = *val_shape(e, x), sy = *val_shape(e, y);
  int rows_x = val_has_rows(e, x), rows_y = val_has_rows(e, y);
  if (sx.rank - rows_x < 1 || sy.rank < 2)
    return bi_error_rank(c, sx.rank - rows_x < 1 ? x : y, "matrices in its last two axes");
  int64_t bx[IR_MAX_RANK], by[IR_MAX_RANK];
  uint32_t nb = 0;
  bool ok = sx.d[sx.rank - 1] == sy.d[sy.rank - 2] && sy.d[sy.rank - 2] != DIM_ROWS;
  if (sy.rank > 2 || rows_y) {
    ok = ok && sx.rank == sy.rank && sx.rank > 2;
    for (int i = 0; ok && i < sy.rank - 2; i++) ok = sx.d[i] == sy.d[i], bx[nb] = by[nb] = i, nb++;
  }
  if (!ok) {
    Diag *g = err(e->m, E0301, y->span, arg_what(c), val_text(e, x), val_text(e, y));
    diag_also(e->m->diags, g, x->span, "this is %s", val_text(e, x));
    diag_note(e->m->diags, g,
              "[.., m, k] times [.., k, n]: the inner extents and all leading ones must be equal");
    return poison(c);
  }
  Shape out = sx;
  out.d[sx.rank - 1] = sy.d[sy.rank - 1];
  if (!shape_ok(e, c->span, &out, "the product")) return poison(c);
  ValueId r = ir_dot(e->g, x->id, y->id, bx, by, nb, (int64_t[]){sx.rank - 1}, (int64_t[]){sy.rank - 2}, 1);
  Val *v = val_like(e, c->span, r, x);
  v->axis[sx.rank - 1] = y->axis[sy.rank - 1];
  return v;
}

/* ---- mix, select ---- */
/* Without its last axis, which has one entry: the names of the others stay. */
static Val *without_last(Elab *e, Span span, ValueId id, const Val *named) {
  Shape s = e->g->v[id].shape;
  s.rank--;
  Val *v = val_tensor(e, span, ir_reshape(e->g, id, &s));
  for (int i = 0; i < s.rank; i++) v->axis[i] = named->axis[i];
  return v;
}

/* `if C then 1 else 0`: numbers that were written down as weights. */
static bool written_numbers(const Graph *g, ValueId id) {
  const Value *v = &g->v[id];
  if (v->op == OP_CONST) return true;
  if (v->op == OP_WHERE) return written_numbers(g, v->args[1]) && written_numbers(g, v->args[2]);
  return (op_class(v->op) == OPC_VIEW || v->op == OP_CAST) && written_numbers(g, v->args[0]);
}

/* An integer of the data chooses, it does not weigh: which of n operands it would choose is nowhere said. */
static Val *integer_weight(BuiltinCall *c, const Val *w, uint32_t n) {
  Model *m = c->e->m;
  const char *text = ast_source_text(m, &(Ast){.span = w->span});
  Diag *g = err(m, E0345, w->span, c->fn->name, text, val_text(c->e, w));
  diag_help(m->diags, g, "`one_hot(%s, %u)` has a weight for each operand; `real(%s)` is the number itself", text, n, text);
  return NULL;
}

/* A weight for each datum (or position), or of x's shape: a trailing axis of 1 is dropped. n: operands that there are. */
static Val *weight_of(BuiltinCall *c, Val *w, uint32_t n) {
  Elab *e = c->e;
  if (w->kind == VAL_TENSOR && val_dtype(e, w) == DT_I32 && !written_numbers(e->g, w->id)) return integer_weight(c, w, n);
  ValueId id = as_f32(e, w, arena_printf(e->m->a, "the weight of %s", arg_what(c)));
  if (!id) return NULL;
  gate_note_weight(e, id);
  const Val *v = val_like(e, w->span, id, w);
  const Shape s = e->g->v[id].shape;
  if (s.rank > 1 && s.d[s.rank - 1] == 1) return without_last(e, w->span, id, v);
  return val_like(e, w->span, id, w);
}

/* Weight number i of n: its own tensor, 1 - w for the last of two, or column i of a single tensor of n
 * weights. */
static Val *mix_weight(BuiltinCall *c, Val **ws, uint32_t nw, uint32_t i, uint32_t n) {
  Elab *e = c->e;
  if (nw == n) return ws[i];
  if (nw == n - 1 && n >= 2 && !(nw == 1 && n > 2)) {
    if (i < nw) return ws[i];
    Val *rest = val_num(e, c->span, 1, false);
    for (uint32_t k = 0; k < nw; k++) {
      Val *w = gate_not_removed(e, ws[k]);
      if (!w) return val_num(e, c->span, 1, false); /* all branches are just summed */
      rest = elab_binary(e, c->call, "-", rest, w);
    }
    return rest;
  }
  const Shape s = *val_shape(e, ws[0]);
  return without_last(e, c->span, ir_slice(e->g, ws[0]->id, s.rank - 1, i, 1, 1), ws[0]);
}

/* The operand where its weight is not 0, exactly 0 elsewhere. What is taken by whole data is a root of the graph: such
 * data's rows can be computed apart from others (pass/pack.c). */
static Val *taken(BuiltinCall *c, Val *w, Val *x, const char *name, uint32_t n) {
  Elab *e = c->e;
  ValueId id, fw, fx;
  Val *axes;
  if (val_bad(w)) return val_poison(e, c->span);
  uint32_t first = e->g->n;
  const Shape s = *val_shape(e, w);
  id = as_f32(e, w, arg_what(c));
  id = ir_cast(e->g, ir_bin(e->g, OP_NE, id, f32_const(e, c->span, 0)), DT_F32);
  for (uint32_t i = first; i < e->g->n; i++) e->g->v[i].span = c->span;
  if (s.rank == 1 && val_has_rows(e, w)) {
    const char *path = e->bind_path ? arena_printf(e->m->a, "%s.", e->bind_path) : "";
    e->g->v[id].name = arena_printf(e->m->a, "%s%s taken", path, name);
    graph_root(e->g, ROOT_SELECTION, e->n_selections++, n, id);
  }
  Val *f = val_like(e, c->span, id, w);
  if (!broadcast_pair(e, c->span, arg_what(c), x, f, &fx, &fw, &axes)) return val_poison(e, c->span);
  Val *r = val_like(e, c->span, ir_bin(e->g, OP_MASK, fx, fw), axes);
  e->g->v[r->id].span = c->span;
  return r;
}

static Val *wrong_weights(BuiltinCall *c, uint32_t weights, uint32_t n) {
  Model *m = c->e->m;
  Diag *g = err(m, E0338, c->span, c->fn->name, weights, plural(weights, "weight", "weights"), n);
  diag_note(m->diags, g,
            "give one weight for each operand, one less than that, or one tensor whose last axis has an "
            "entry for each");
  return poison(c);
}

/* How many weights lie along the last axis of w, if that has no name and is not x's. Else 1. */
static uint32_t weights_along(Elab *e, const Val *w, Val *x) {
  const Shape *s = val_shape(e, w), *like = val_shape(e, x);
  if (s->rank < 2 || w->axis[s->rank - 1]) return 1;
  const int64_t last = s->d[s->rank - 1];
  return like->rank && like->d[like->rank - 1] == last ? 1 : (uint32_t)last;
}

static bool operands_named_once(BuiltinCall *c, Val **xs, const char **names, uint32_t n) {
  for (uint32_t i = 0; i < n; i++)
    for (uint32_t k = 0; k < i; k++)
      if (!strcmp(names[i], names[k])) return err(c->e->m, E0209, xs[i]->span, names[i]), false;
  return true;
}

static Val *blend(BuiltinCall *c, bool select) {
  Elab *e = c->e;
  Model *m = e->m;
  uint32_t nw = 1, n = 0, n_named = 0;
  Val **ws = ARENA_NEWS(m->a, Val *, 1 + c->n_more), **xs = ARENA_NEWS(m->a, Val *, c->n_more + 1);
  const char **names = ARENA_NEWS(m->a, const char *, c->n_more + 1);
  for (uint32_t i = 0; i < c->n_more; i++) n_named += c->more_names[i] != NULL;
  ws[0] = weight_of(c, c->v[0], n_named);
  for (uint32_t i = 0; i < c->n_more; i++)
    if (c->more_names[i]) names[n] = c->more_names[i], xs[n++] = c->more[i];
    else ws[nw++] = weight_of(c, c->more[i], n_named);
  for (uint32_t i = 0; i < nw; i++)
    if (!ws[i]) return poison(c);
  const Shape *sw = val_shape(e, ws[0]);
  /* a named axis is one of positions, however many they are, not one of operands */
  bool columns = nw == 1 && n > 0 && sw->rank > (n == 2) && sw->d[sw->rank - 1] == (int64_t)n && !ws[0]->axis[sw->rank - 1];
  const uint32_t given = nw == 1 && n ? weights_along(e, ws[0], xs[0]) : nw;
  if (n < 2 || !(nw == n || nw == n - 1 || columns)) return wrong_weights(c, given, n);
  if (!operands_named_once(c, xs, names, n)) return poison(c);
  for (uint32_t i = 0; i < n; i++) {
    ValueId id = as_f32(e, xs[i], arena_printf(m->a, "an operand of %s", arg_what(c)));
    if (!id) return poison(c);
    Val *x = val_like(e, xs[i]->span, id, xs[i]);
    x->place = xs[i]->place;
    xs[i] = x;
  }
  if (nw == 1 && !columns && given > 1) return wrong_weights(c, given, n);
  Val *probe = val_at(e, xs[0], c->span);
  if (e->bind_ast == c->call) route_apply_mix(e, e->bind_path, probe, xs, names, n, c->span);
  Val *sum = NULL;
  for (uint32_t i = 0; i < n; i++) {
    Val *w = columns ? mix_weight(c, ws, 1, i, n + 100) : mix_weight(c, ws, nw, i, n);
    Val *x = select ? taken(c, w, xs[i], names[i], n) : xs[i];
    Val *term = elab_binary(e, c->call, "*", w, x);
    sum = sum ? elab_binary(e, c->call, "+", sum, term) : term;
  }
  if (val_bad(sum)) return sum;
  sum->items = xs, sum->names = names, sum->n_items = n;
  return sum;
}

Val *bi_mix(BuiltinCall *c) { return blend(c, false); }
Val *bi_select(BuiltinCall *c) { return blend(c, true); }

Val *bi_copies(BuiltinCall *c) {
  Diag *g = err(c->e->m, E0222, c->span);
  diag_help(c->e->m->diags, g, "bind the copies to names: `a, b = copies(module)`");
  return poison(c);
}
