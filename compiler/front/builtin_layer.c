/* SPDX-License-Identifier: Apache-2.0
 * builtin_layer.c -- layers: functions with parameters, and dropout. Parameters are logical, as in PyTorch:
 * linear [out, in], conv2d [out, in, kh, kw], norms [n], embedding [vocab, d]. */
#include "builtin_impl.h"
#include "fault.h"
#include <math.h>
#include <string.h>
#include <xxhash.h>

static const char *arg_what(BuiltinCall *c) { return arena_printf(c->e->m->a, "`%s`", c->fn->name); }
static Val *poison(BuiltinCall *c) { return val_poison(c->e, c->span); }

/* ---- initial values ---- */
static bool init_numbers(Elab *e, Scope *s, const Ast *call, const char *const *names, double *v,
                         uint32_t n) {
  Model *m = e->m;
  uint32_t pos = 0;
  for (uint32_t k = 1; call->kind == AST_CALL && k < call->n_kids; k++) {
    const Ast *arg = call->kids[k], *value = ast_is(arg, AST_ARG) ? arg->kids[0] : arg;
    uint32_t i = pos;
    if (ast_is(arg, AST_ARG))
      for (i = 0; i < n && strcmp(names[i], arg->text) != 0;) i++;
    else pos++;
    if (i >= n) {
      Diag *g =
          err(m, E0207, arg->span, call->kids[0]->text, arg->text ? arg->text : ast_source_text(m, arg));
      if (ast_is(arg, AST_ARG)) diag_suggest(m->diags, g, arg->text, names, n);
      return false;
    }
    if (!static_num(e, elab(e, s, value), "a number of an initialiser", -1e30, 1e30, &v[i])) return false;
  }
  return true;
}

bool init_spec(Elab *e, Scope *s, const Ast *a, int64_t fan_in, int64_t fan_out, InitSpec *out) {
  static const char *const words[] = {"torch",          "zeros",           "ones",
                                      "constant",       "uniform",         "normal",
                                      "xavier_uniform", "xavier_normal",   "glorot_uniform",
                                      "glorot_normal",  "kaiming_uniform", "kaiming_normal"};
  enum { N = sizeof words / sizeof *words };
  double in = (double)fan_in, both = (double)fan_in + (double)fan_out;
  double bound = 1 / sqrt(fault("init-fan-out") ? (double)fan_out : in);
  *out = (InitSpec){INIT_UNIFORM, -bound, bound, true};
  if (!a) return true;
  const Ast *head = ast_is(a, AST_CALL) ? a->kids[0] : a;
  uint32_t w = N;
  for (uint32_t i = 0; i < N && ast_is(head, AST_NAME); i++)
    if (!strcmp(words[i], head->text)) w = i;
  if (w == N) {
    const char *text = ast_is(head, AST_NAME) ? head->text : ast_source_text(e->m, head);
    Diag *g = err(e->m, E0201, head->span, "initialiser", text);
    diag_choices(e->m, g, text, words, N);
    return false;
  }
  double v[2] = {w == 4 ? -1 : w == 5 ? 0 : w == 2 ? 1 : w >= 6 ? 1 : 0, 1};
  static const char *const c_args[] = {"value"}, *const u_args[] = {"a", "b"},
                           *const n_args[] = {"mean", "std"}, *const g_args[] = {"gain"};
  const char *const *names = w == 4 ? u_args : w == 5 ? n_args : w >= 6 ? g_args : c_args;
  if (!init_numbers(e, s, a, names, v, w == 4 || w == 5 ? 2 : w == 3 || w >= 6 ? 1 : 0)) return false;
  out->is_default = w == 0;
  if (w == 4 && !(v[0] < v[1])) {
    err(e->m, E0336, a->span, "`uniform`", number_text(e->m->a, v[0]), "below its upper bound",
        number_text(e->m->a, v[1]));
    return false;
  }
  if (w == 5 && v[1] < 0) {
    err(e->m, E0336, a->span, "`std` of `normal`", number_text(e->m->a, v[1]), "0", "infinity");
    return false;
  }
  switch (w) {
  case 0: break;
  case 1:
  case 2:
  case 3: *out = (InitSpec){INIT_CONSTANT, v[0], 0, false}; break;
  case 4: *out = (InitSpec){INIT_UNIFORM, v[0], v[1], false}; break;
  case 5: *out = (InitSpec){INIT_NORMAL, v[0], v[1], false}; break;
  case 6:
  case 8:
    bound = v[0] * sqrt(6 / both);
    *out = (InitSpec){INIT_UNIFORM, -bound, bound, false};
    break;
  case 7:
  case 9: *out = (InitSpec){INIT_NORMAL, 0, v[0] * sqrt(2 / both), false}; break;
  case 10:
    bound = v[0] * sqrt(6 / in);
    *out = (InitSpec){INIT_UNIFORM, -bound, bound, false};
    break; /* He et al. 2015, for ReLU */
  default: *out = (InitSpec){INIT_NORMAL, 0, v[0] * sqrt(2 / in), false}; break;
  }
  return true;
}

/* ---- names and parameters of a layer ---- */

/* The layer's name; declares it in its body. NULL after an error. */
static const char *layer_begin(BuiltinCall *c) {
  Elab *e = c->e;
  Scope *o = c->s->owner;
  const char *layer = c->layer ? c->layer : layer_name(e, c->s, c->call, c->fn->name);
  if (!layer) return NULL;
  Scope *inside =
      scope_create(e, SCOPE_LAYER, NULL, c->s->file, "", arena_printf(e->m->a, "%s%s.", o->vpath, layer));
  return layer_declare(e, o, layer, inside, c->span) ? layer : NULL;
}

ValueId layer_param(BuiltinCall *c, const char *layer, const char *which, const Shape *shape,
                    const InitSpec *init) {
  Elab *e = c->e;
  const char *path = arena_printf(e->m->a, "%s%s.%s", c->s->owner->ppath, layer, which);
  if (!shape_ok(e, c->span, shape, arena_printf(e->m->a, "parameter `%s`", path))) return 0;
  ValueId id = param_use(e, path, shape, init->kind, init->a, init->b, c->span);
  Scope *k = layer_inside(c->s->owner, layer);
  if (id && k) scope_add(e, k, ENTRY_VALUE, which)->val = val_tensor(e, c->span, id);
  return id;
}

Val *layer_out(BuiltinCall *c, const char *layer, Val *v) {
  Elab *e = c->e;
  e->unnamed = c->layer ? NULL : c->call;
  place_add(e, arena_printf(e->m->a, "%s%s.out", c->s->owner->vpath, layer), v, c->span);
  e->unnamed = NULL;
  Scope *k = layer_inside(c->s->owner, layer);
  if (k) scope_add(e, k, ENTRY_VALUE, "out")->val = v;
  return v;
}

/* v + bias along `axis`. */
static ValueId add_bias(Elab *e, ValueId v, ValueId bias, int axis) {
  Shape s = e->g->v[v].shape;
  int64_t map[IR_MAX_RANK];
  for (int i = 0; i < s.rank; i++) map[i] = i == axis ? 0 : -1;
  return ir_bin(e->g, OP_ADD, v, ir_bcast(e->g, bias, &s, map));
}

static bool units_ok(BuiltinCall *c, int slot, const char *what) {
  if (c->i[slot] >= 1) return true;
  err(c->e->m, E0310, c->v[slot]->span, what, (long long)c->i[slot]);
  return false;
}

Val *bi_linear(BuiltinCall *c) {
  Elab *e = c->e;
  Val *x = bi_tensor(c, 0);
  if (!x || !units_ok(c, 1, "the number of units of `linear`")) return poison(c);
  Shape s = *val_shape(e, x);
  if (!s.rank || s.d[s.rank - 1] == DIM_ROWS)
    return bi_error_rank(c, x, "an axis of features for each datum");
  int64_t in = s.d[s.rank - 1], n = c->i[1];
  InitSpec iw, ib;
  if (!init_spec(e, c->s, c->ast[3], in, n, &iw) || !init_spec(e, c->s, c->ast[4], in, n, &ib))
    return poison(c);
  Shape out = s;
  out.d[s.rank - 1] = n;
  if (!shape_ok(e, c->span, &out, "the result of `linear`")) return poison(c);
  const char *layer = layer_begin(c);
  if (!layer) return poison(c);
  Shape sw = shape_of(2, n, in), sb = shape_of(1, n);
  ValueId w = layer_param(c, layer, "weight", &sw, &iw), v;
  if (!w) return poison(c);
  v = ir_dot(e->g, x->id, w, NULL, NULL, 0, (int64_t[]){s.rank - 1}, (int64_t[]){1}, 1);
  if (!c->v[2] || c->i[2]) {
    ValueId b = layer_param(c, layer, "bias", &sb, &ib);
    if (!b) return poison(c);
    if (!fault("skip-bias")) v = add_bias(e, v, b, s.rank - 1);
  }
  Val *r = val_like(e, c->span, v, x);
  r->axis[s.rank - 1] = NULL;
  return layer_out(c, layer, r);
}

/* An integer, or a list of two, for height and width. */
static bool two_ints(BuiltinCall *c, int slot, const char *what, int64_t def, int64_t lo, int64_t out[2]) {
  Val *v = c->v[slot];
  out[0] = out[1] = def;
  if (!v) return true;
  if (v->kind == VAL_LIST && v->n_items == 2)
    return static_int(c->e, v->items[0], what, lo, 1 << 20, &out[0]) &&
           static_int(c->e, v->items[1], what, lo, 1 << 20, &out[1]);
  if (!static_int(c->e, v, what, lo, 1 << 20, &out[0])) return false;
  out[1] = out[0];
  return true;
}

static bool conv_padding(BuiltinCall *c, const int64_t kernel[2], const int64_t dilation[2], int64_t pad[2]) {
  const Ast *a = c->ast[4];
  pad[0] = pad[1] = 0;
  if (!a) return true;
  if (ast_is_name(a, "same")) {
    for (int i = 0; i < 2; i++) pad[i] = dilation[i] * (kernel[i] - 1) / 2;
    return true;
  }
  c->v[4] = elab(c->e, c->s, a);
  return two_ints(c, 4, "`padding` of `conv2d`", 0, 0, pad);
}

Val *bi_conv2d(BuiltinCall *c) {
  Elab *e = c->e;
  Graph *g = e->g;
  Val *x = bi_tensor(c, 0);
  int64_t k[2], st[2], pad[2], di[2];
  if (!x || !units_ok(c, 1, "the number of filters of `conv2d`")) return poison(c);
  if (val_shape(e, x)->rank != 4 || !val_has_rows(e, x))
    return bi_error_rank(c, x, "[channels, height, width] for each datum");
  if (!two_ints(c, 2, "`kernel` of `conv2d`", 1, 1, k) || !two_ints(c, 3, "`stride` of `conv2d`", 1, 1, st))
    return poison(c);
  if (!two_ints(c, 5, "`dilation` of `conv2d`", 1, 1, di) || !conv_padding(c, k, di, pad)) return poison(c);
  int64_t ints[8] = {k[0], k[1], st[0], st[1], pad[0], pad[1], di[0], di[1]}, n = c->i[1],
          ch = val_shape(e, x)->d[1];
  const char *why = ir_check_args(g, OP_UNFOLD, &x->id, 1, ints, 8, NULL, DT_NONE);
  if (why) {
    Diag *d = err(e->m, E0307, x->span, arg_what(c), val_text(e, x));
    diag_note(e->m->diags, d, "%s", why);
    return poison(c);
  }
  InitSpec iw, ib;
  int64_t fan_in = ch * k[0] * k[1], fan_out = n * k[0] * k[1];
  if (!init_spec(e, c->s, c->ast[7], fan_in, fan_out, &iw) || !init_spec(e, c->s, NULL, fan_in, fan_out, &ib))
    return poison(c);
  Shape sw = shape_of(4, n, ch, k[0], k[1]), sb = shape_of(1, n);
  ValueId cols = ir_make(g, OP_UNFOLD, c->span, &x->id, 1, ints, 8, 0, NULL, DT_NONE);
  Shape big = g->v[cols].shape, out = shape_of(4, DIM_ROWS, n, big.d[1], big.d[2]);
  if (!shape_ok(e, c->span, &big, "the windows of `conv2d`") ||
      !shape_ok(e, c->span, &out, "the result of `conv2d`"))
    return poison(c);
  const char *layer = layer_begin(c);
  ValueId w = layer ? layer_param(c, layer, "weight", &sw, &iw) : 0;
  if (!w) return poison(c);
  ValueId v = ir_dot(g, cols, w, NULL, NULL, 0, (int64_t[]){3, 4, 5}, (int64_t[]){1, 2, 3}, 3);
  if (!c->v[6] || c->i[6]) {
    ValueId b = layer_param(c, layer, "bias", &sb, &ib);
    if (!b) return poison(c);
    v = add_bias(e, v, b, 3);
  }
  v = ir_transpose(g, v, (int64_t[]){0, 3, 1, 2});
  return layer_out(c, layer, val_tensor(e, c->span, v));
}

/* Mean along the last axis, repeated along it. */
static ValueId mean_last(Elab *e, ValueId x) {
  Shape s = e->g->v[x].shape;
  ValueId m = ir_reduce(e->g, OP_SUM, x, (int64_t[]){s.rank - 1}, 1);
  return ir_bin(e->g, OP_DIV, m, f32_const(e, e->g->v[x].span, (double)s.d[s.rank - 1]));
}

static Val *norm_affine(BuiltinCall *c, Val *x, ValueId v, bool bias) {
  Elab *e = c->e;
  Shape s = *val_shape(e, x), sn = shape_of(1, s.d[s.rank - 1]);
  const char *layer = layer_begin(c);
  if (!layer) return poison(c);
  if (!c->v[2] || c->i[2]) {
    InitSpec one = {INIT_CONSTANT, 1, 0, false}, zero = {INIT_CONSTANT, 0, 0, false};
    ValueId w = layer_param(c, layer, "weight", &sn, &one);
    if (!w) return poison(c);
    int64_t map[IR_MAX_RANK];
    for (int i = 0; i < s.rank; i++) map[i] = i == s.rank - 1 ? 0 : -1;
    v = ir_bin(e->g, OP_MUL, v, ir_bcast(e->g, w, &s, map));
    if (bias) {
      ValueId b = layer_param(c, layer, "bias", &sn, &zero);
      if (!b) return poison(c);
      v = add_bias(e, v, b, s.rank - 1);
    }
  }
  return layer_out(c, layer, val_like(e, c->span, v, x));
}

static bool norm_input(BuiltinCall *c, Val **x, double *eps, double def) {
  *x = bi_tensor(c, 0);
  *eps = c->v[1] ? c->r[1] : def;
  if (!*x || bi_axis(c, *x, 9) < 0) return false;
  if (*eps > 0) return true;
  err(c->e->m, E0336, c->v[1]->span, "`eps`", number_text(c->e->m->a, *eps), "above 0", "infinity");
  return false;
}

Val *bi_layer_norm(BuiltinCall *c) {
  Elab *e = c->e;
  Graph *g = e->g;
  Val *x;
  double eps;
  if (!norm_input(c, &x, &eps, 1e-5)) return poison(c);
  Shape s = *val_shape(e, x);
  ValueId d = ir_bin(g, OP_SUB, x->id, bi_spread(e, mean_last(e, x->id), &s, s.rank - 1));
  ValueId var = mean_last(e, ir_bin(g, OP_MUL, d, d));
  ValueId dev = ir_un(g, OP_SQRT, ir_bin(g, OP_ADD, var, f32_const(e, c->span, eps)));
  return norm_affine(c, x, ir_bin(g, OP_DIV, d, bi_spread(e, dev, &s, s.rank - 1)), true);
}

Val *bi_rms_norm(BuiltinCall *c) {
  Elab *e = c->e;
  Graph *g = e->g;
  Val *x;
  double eps;
  if (!norm_input(c, &x, &eps, 1e-6)) return poison(c);
  Shape s = *val_shape(e, x);
  ValueId ms = mean_last(e, ir_bin(g, OP_MUL, x->id, x->id));
  ValueId rms = ir_un(g, OP_SQRT, ir_bin(g, OP_ADD, ms, f32_const(e, c->span, eps)));
  return norm_affine(c, x, ir_bin(g, OP_DIV, x->id, bi_spread(e, rms, &s, s.rank - 1)), false);
}

Val *bi_embedding(BuiltinCall *c) {
  Elab *e = c->e;
  ValueId idx = as_i32(e, c->v[0], arg_what(c));
  if (!idx || !units_ok(c, 1, "`vocab` of `embedding`") || !units_ok(c, 2, "`d` of `embedding`"))
    return poison(c);
  InitSpec init = {INIT_NORMAL, 0, 1, true};
  if (c->ast[3] && !init_spec(e, c->s, c->ast[3], c->i[2], c->i[1], &init)) return poison(c);
  for (uint32_t i = 0; i < e->n_finite; i++) {
    const Field *f = e->finite[i].field;
    if (e->finite[i].id != c->v[0]->id || !f->has_range || (f->lo >= 0 && f->hi < (double)c->i[1])) continue;
    err(e->m, E0337, c->v[0]->span, f->name, number_text(e->m->a, f->lo), number_text(e->m->a, f->hi),
        (long long)c->i[1]);
    return poison(c);
  }
  Shape st = shape_of(2, c->i[1], c->i[2]), out = e->g->v[idx].shape;
  if (out.rank == IR_MAX_RANK) return bi_error_rank(c, c->v[0], "at most seven axes");
  out.d[out.rank++] = c->i[2];
  if (!shape_ok(e, c->span, &out, "the result of `embedding`")) return poison(c);
  const char *layer = layer_begin(c);
  ValueId t = layer ? layer_param(c, layer, "weight", &st, &init) : 0;
  if (!t) return poison(c);
  Val *v = val_tensor(e, c->span,
                      ir_make(e->g, OP_GATHER, c->span, (ValueId[]){t, idx}, 2, NULL, 0, 0, NULL, DT_NONE));
  for (int i = 0; i + 1 < out.rank; i++) v->axis[i] = c->v[0]->axis[i];
  return layer_out(c, layer, v);
}

/* The number of a stream of draws: numbered within its own binding, so that it does not depend on what else is declared. */
int64_t draw_stream(Elab *e, Scope *s, const char *what) {
  const char *where = fault("count-all-dropouts") ? "" : e->bind_path ? e->bind_path : s->vpath;
  uintptr_t k = (uintptr_t)strmap_get(&e->dropouts, where) + 1;
  strmap_put(e->m->a, &e->dropouts, where, (void *)k);
  const char *key = arena_printf(e->m->a, "%s.%s%u", where, what, (unsigned)k);
  return (int64_t)(XXH64(key, strlen(key), 0) & 0x7fffffff);
}

/* A weight that changes from step to step; the class that it is part of gives it its stream. */
Val *bi_random(BuiltinCall *c) {
  Elab *e = c->e;
  static const char *const words[] = {"example", "batch"};
  const bool batch = ast_is_name(c->ast[0], "batch");
  if (c->ast[0] && !batch && !ast_is_name(c->ast[0], "example")) {
    Diag *d = err(e->m, E0201, c->ast[0]->span, "kind of draw", ast_source_text(e->m, c->ast[0]));
    diag_choices(e->m, d, ast_source_text(e->m, c->ast[0]), words, 2);
    return poison(c);
  }
  if (!e->in_class) {
    err(e->m, E0357, c->span);
    return poison(c);
  }
  int64_t stream = draw_stream(e, c->s, "random");
  Shape s = batch ? (Shape){0} : shape_of(1, DIM_ROWS);
  return val_tensor(e, c->span, ir_make(e->g, OP_RANDOM, c->span, NULL, 0, &stream, 1, 0, &s, DT_F32));
}

/* A draw for each element, keyed by the stream: the body's path and the place in it, so that other draws
 * don't move it. */
Val *bi_dropout(BuiltinCall *c) {
  Elab *e = c->e;
  Val *x = bi_tensor(c, 0);
  if (!x) return poison(c);
  if (!(c->r[1] >= 0 && c->r[1] < 1)) {
    err(e->m, E0336, c->v[1]->span, "`p` of `dropout`", number_text(e->m->a, c->r[1]), "0", "below 1");
    return poison(c);
  }
  if ((!e->training && !fault("dropout-in-evaluation")) || c->r[1] == 0)
    return val_like(e, c->span, x->id, x);
  int64_t stream = draw_stream(e, c->s, "dropout");
  Shape s = *val_shape(e, x);
  ValueId u = ir_make(e->g, OP_RANDOM, c->span, NULL, 0, &stream, 1, 0, &s, DT_F32);
  ValueId drop = ir_bin(e->g, OP_LT, u, f32_const(e, c->span, c->r[1]));
  ValueId kept = ir_bin(e->g, OP_MUL, x->id, f32_const(e, c->span, 1 / (1 - c->r[1])));
  return val_like(e, c->span, ir_where(e->g, drop, f32_const(e, c->span, 0), kept), x);
}
