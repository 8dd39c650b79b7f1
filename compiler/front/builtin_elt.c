/* SPDX-License-Identifier: Apache-2.0
 * builtin_elt.c -- element-wise functions. */
#include "builtin_impl.h"
#include "fault.h"
#include <math.h>
#include <string.h>

static const char *arg_what(BuiltinCall *c) { return arena_printf(c->e->m->a, "`%s`", c->fn->name); }

ValueId bi_f32(BuiltinCall *c, int i) { return as_f32(c->e, c->v[i], arg_what(c)); }

Val *bi_tensor(BuiltinCall *c, int i) {
  ValueId id = bi_f32(c, i);
  if (!id) return NULL;
  Val *v = val_like(c->e, c->v[i]->span, id, c->v[i]);
  v->place = c->v[i]->place;
  return v;
}

Val *bi_error_rank(BuiltinCall *c, const Val *v, const char *want) {
  Diag *g = err(c->e->m, E0307, v->span.file ? v->span : c->span, arg_what(c), val_text(c->e, v));
  diag_note(c->e->m->diags, g, "it needs %s", want);
  return val_poison(c->e, c->span);
}

static Val *poison(BuiltinCall *c) { return val_poison(c->e, c->span); }

/* Functions of a number known now stay numbers known now. */
static bool fold_unary(Op op, double x, double *y) {
  switch (op) {
  case OP_RELU: *y = x > 0 ? x : 0; break;
  case OP_TANH: *y = tanh(x); break;
  case OP_SIGMOID: *y = 1 / (1 + exp(-x)); break;
  case OP_SOFTPLUS: *y = fmax(x, 0) + log1p(exp(-fabs(x))); break;
  case OP_EXP: *y = exp(x); break;
  case OP_LOG: *y = log(x); break;
  case OP_SQRT: *y = sqrt(x); break;
  case OP_ABS: *y = fabs(x); break;
  case OP_SIGN: *y = (x > 0) - (x < 0); break;
  case OP_FLOOR: *y = floor(x); break;
  case OP_SIN: *y = sin(x); break;
  case OP_COS: *y = cos(x); break;
  default: return false;
  }
  return isfinite(*y);
}

Val *bi_unary(BuiltinCall *c) {
  Elab *e = c->e;
  Op op = (Op)c->fn->aux;
  const Val *x = c->v[0];
  if (x->kind == VAL_NUM) {
    double y;
    if (!fold_unary(op, x->num, &y)) {
      use_static(e, x);
      err(e->m, E0336, x->span, arg_what(c), number_text(e->m->a, x->num), "where it is finite", "there");
      return poison(c);
    }
    Val *v = val_num(e, c->span, y,
                     y == floor(y) && (x->is_int || op == OP_FLOOR || op == OP_SIGN) && fabs(y) < 9e15);
    v->deps = x->deps;
    if (x->id) v->id = ir_un(e->g, op, x->id);
    return v;
  }
  ValueId id = val_dtype(e, x) == DT_F64 ? x->id : bi_f32(c, 0);
  return id ? val_like(e, c->span, ir_un(e->g, op, id), x) : poison(c);
}

Val *bi_silu(BuiltinCall *c) {
  ValueId x = bi_f32(c, 0);
  if (!x) return poison(c);
  return val_like(c->e, c->span, ir_bin(c->e->g, OP_MUL, x, ir_un(c->e->g, OP_SIGMOID, x)), c->v[0]);
}

/* Hendrycks & Gimpel 2016: exact form by erf, and 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))). */
Val *bi_gelu(BuiltinCall *c) {
  Graph *g = c->e->g;
  bool by_tanh = ast_is_name(c->ast[1], "tanh");
  if (c->ast[1] && !by_tanh && !ast_is_name(c->ast[1], "none")) {
    const char *const words[] = {"tanh", "none"};
    Diag *d = err(c->e->m, E0201, c->ast[1]->span, "approximation", ast_source_text(c->e->m, c->ast[1]));
    diag_choices(c->e->m, d, ast_source_text(c->e->m, c->ast[1]), words, 2);
    return poison(c);
  }
  ValueId x = bi_f32(c, 0), inner;
  if (!x) return poison(c);
  if (by_tanh) {
    ValueId x3 = ir_bin(g, OP_MUL, ir_bin(g, OP_MUL, x, x), x);
    ValueId poly = ir_bin(g, OP_ADD, x, ir_bin(g, OP_MUL, x3, f32_const(c->e, c->span, 0.044715)));
    inner = ir_un(g, OP_TANH, ir_bin(g, OP_MUL, poly, f32_const(c->e, c->span, 0.79788456080286535588)));
  } else inner = ir_un(g, OP_ERF, ir_bin(g, OP_MUL, x, f32_const(c->e, c->span, 0.70710678118654752440)));
  ValueId half = ir_bin(g, OP_MUL, x, f32_const(c->e, c->span, 0.5));
  return val_like(c->e, c->span,
                  ir_bin(g, OP_MUL, half, ir_bin(g, OP_ADD, inner, f32_const(c->e, c->span, 1))), c->v[0]);
}

Val *bi_square(BuiltinCall *c) { return elab_binary(c->e, c->call, "*", c->v[0], c->v[0]); }

Val *bi_real(BuiltinCall *c) {
  const Val *x = c->v[0];
  if (x->kind == VAL_NUM) {
    Val *v = val_at(c->e, x, c->span);
    v->is_int = false;
    return v;
  }
  Val *t = as_tensor(c->e, c->v[0], "`real`");
  if (val_bad(t)) return t;
  return val_like(c->e, c->span, val_dtype(c->e, t) == DT_F64 ? t->id : ir_cast(c->e->g, t->id, DT_F32), t);
}

Val *bi_stop(BuiltinCall *c) {
  if (c->v[0]->kind != VAL_TENSOR) return val_at(c->e, c->v[0], c->span);
  if (fault("stop-leaks")) return c->v[0];
  return val_like(c->e, c->span, ir_un(c->e->g, OP_STOP, c->v[0]->id), c->v[0]);
}

Val *bi_pow(BuiltinCall *c) {
  Elab *e = c->e;
  const Val *y = c->v[1];
  if (c->v[0]->kind == VAL_NUM || y->kind != VAL_NUM || y->id || y->num != floor(y->num) || y->num < 1 ||
      y->num > 8)
    return elab_binary(e, c->call, "pow", c->v[0], c->v[1]);
  use_static(e, y); /* a small constant power is a product: exact for any sign of the base */
  ValueId x = bi_f32(c, 0), r = x;
  if (!x) return poison(c);
  for (int i = 1; i < (int)y->num; i++) r = ir_bin(e->g, OP_MUL, r, x);
  return val_like(e, c->span, r, c->v[0]);
}

Val *bi_clamp(BuiltinCall *c) {
  return elab_binary(c->e, c->call, "min", elab_binary(c->e, c->call, "max", c->v[0], c->v[1]), c->v[2]);
}

Val *bi_where(BuiltinCall *c) {
  Elab *e = c->e;
  ValueId ic = as_bool(e, c->v[0], arg_what(c)), ix, iy;
  Val *x = bi_tensor(c, 1), *y = bi_tensor(c, 2), *axes = NULL, *all = NULL;
  if (!ic || !x || !y || !broadcast_pair(e, c->span, arg_what(c), x, y, &ix, &iy, &axes)) return poison(c);
  Val *branch = val_like(e, c->span, ix, axes), *other = val_like(e, c->span, iy, axes);
  Val *cond = val_like(e, c->v[0]->span, ic, c->v[0]);
  if (!broadcast_pair(e, c->span, arg_what(c), branch, cond, &ix, &ic, &all)) return poison(c);
  if (!broadcast_to(e, c->span, arg_what(c), other, val_like(e, c->span, ix, all), &iy)) return poison(c);
  return val_like(e, c->span, ir_where(e->g, ic, ix, iy), all);
}

Val *bi_normalize(BuiltinCall *c) {
  Elab *e = c->e;
  const Val *std = c->v[2];
  if (std->kind == VAL_NUM && !(std->num > 0)) {
    use_static(e, std);
    err(e->m, E0336, std->span, "`std` of `normalize`", number_text(e->m->a, std->num), "above 0",
        "infinity");
    return poison(c);
  }
  return elab_binary(e, c->call, "/", elab_binary(e, c->call, "-", c->v[0], c->v[1]), c->v[2]);
}
