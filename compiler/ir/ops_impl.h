/* SPDX-License-Identifier: Apache-2.0
 * ops_impl.h -- what the table in ops.c is filled with. Only the ops*.c files read it. */
#ifndef ROUTEC_OPS_IMPL_H
#define ROUTEC_OPS_IMPL_H
#include "ops.h"

typedef const char *OpRule(OpUse *u);
OpRule rule_column, rule_stored, rule_rank0_f64, rule_const, rule_iota, rule_datum, rule_random;
OpRule rule_float, rule_bool, rule_any, rule_cast, rule_tap, rule_number, rule_compare, rule_mask, rule_where;
OpRule rule_bcast, rule_reshape, rule_transpose, rule_slice, rule_pad, rule_take, rule_put, rule_concat, rule_rslice, rule_unfold;
OpRule rule_reduce, rule_argmax, rule_dot, rule_gather, rule_scatter, rule_fold, rule_call, rule_rowlist, rule_rowplace, rule_rowpick;

typedef void OpEval(const EvalCtx *c, const Value *v, double *out);
OpEval eval_column, eval_param, eval_state, eval_scalar, eval_clock, eval_const, eval_iota, eval_datum, eval_random;
OpEval eval_elt, eval_bcast, eval_reshape, eval_transpose, eval_slice, eval_pad, eval_take, eval_put, eval_concat;
OpEval eval_rslice, eval_unfold, eval_reduce, eval_argmax, eval_dot, eval_gather, eval_scatter, eval_fold, eval_call;
OpEval eval_rowlist, eval_rowplace, eval_rowpick;

typedef double OpScalar(const double *x, Dtype dtype);
OpScalar scalar_neg, scalar_abs, scalar_sign, scalar_exp, scalar_log, scalar_sqrt, scalar_tanh, scalar_erf;
OpScalar scalar_sigmoid, scalar_softplus, scalar_relu, scalar_sin, scalar_cos, scalar_floor, scalar_not, scalar_cast;
OpScalar scalar_same, scalar_add, scalar_sub, scalar_mul, scalar_div, scalar_min, scalar_max, scalar_pow;
OpScalar scalar_lt, scalar_le, scalar_eq, scalar_ne, scalar_and, scalar_or, scalar_mask, scalar_where;

typedef void OpVjp(Graph *g, ValueId v, ValueId dy, ValueId *dargs);
OpVjp vjp_neg, vjp_abs, vjp_exp, vjp_log, vjp_sqrt, vjp_tanh, vjp_erf, vjp_sigmoid, vjp_softplus, vjp_relu, vjp_sin;
OpVjp vjp_cos, vjp_cast, vjp_tap, vjp_same, vjp_add, vjp_sub, vjp_mul, vjp_div, vjp_minmax, vjp_pow, vjp_mask;
OpVjp vjp_where, vjp_bcast, vjp_reshape, vjp_transpose, vjp_slice, vjp_pad, vjp_take, vjp_put, vjp_concat, vjp_unfold;
OpVjp vjp_sum, vjp_amax, vjp_dot, vjp_gather, vjp_scatter, vjp_fold, vjp_call;

static inline Shape eval_shape(const EvalCtx *c, const Shape *s) { return eval_extents(c->in, s); }
static inline int64_t eval_count(const EvalCtx *c, const Shape *s) {
  Shape r = eval_extents(c->in, s);
  return shape_count(&r, 0);
}
#endif
