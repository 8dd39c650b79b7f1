/* SPDX-License-Identifier: Apache-2.0
 * ops.c -- the table: one record for each operation of op.def. */
#include "ops_impl.h"

/* What op.def does not say of an op. */
typedef struct OpParts {
  const char *ints;
  OpRule *rule;
  OpEval *eval;
  OpScalar *scalar;
  OpVjp *vjp;
} OpParts;

#define LEAF(NAME, ints, rule, eval)       [OP_##NAME] = {ints, rule, eval, NULL, NULL}
#define ELT(NAME, ints, rule, scalar, vjp) [OP_##NAME] = {ints, rule, eval_elt, scalar, vjp}
#define REST(NAME, ints, rule, eval, vjp)  [OP_##NAME] = {ints, rule, eval, NULL, vjp}
#define UNFOLD_INTS                        "kh kw sh sw ph pw dh dw"

static const OpParts parts[OP_COUNT] = {
    LEAF(COLUMN, "column", rule_column, eval_column),
    LEAF(PARAM, "param", rule_stored, eval_param),
    LEAF(STATE, "param k", rule_stored, eval_state),
    LEAF(SCALAR, "scalar", rule_rank0_f64, eval_scalar),
    LEAF(CLOCK, "clock", rule_rank0_f64, eval_clock),
    LEAF(CONST, "", rule_const, eval_const),
    LEAF(IOTA, "axis", rule_iota, eval_iota),
    LEAF(DATUM, "", rule_datum, eval_datum),
    LEAF(RANDOM, "stream", rule_random, eval_random),

    ELT(NEG, "", rule_float, scalar_neg, vjp_neg),
    ELT(ABS, "", rule_float, scalar_abs, vjp_abs),
    ELT(SIGN, "", rule_float, scalar_sign, NULL),
    ELT(EXP, "", rule_float, scalar_exp, vjp_exp),
    ELT(LOG, "", rule_float, scalar_log, vjp_log),
    ELT(SQRT, "", rule_float, scalar_sqrt, vjp_sqrt),
    ELT(TANH, "", rule_float, scalar_tanh, vjp_tanh),
    ELT(ERF, "", rule_float, scalar_erf, vjp_erf),
    ELT(SIGMOID, "", rule_float, scalar_sigmoid, vjp_sigmoid),
    ELT(SOFTPLUS, "", rule_float, scalar_softplus, vjp_softplus),
    ELT(RELU, "", rule_float, scalar_relu, vjp_relu),
    ELT(SIN, "", rule_float, scalar_sin, vjp_sin),
    ELT(COS, "", rule_float, scalar_cos, vjp_cos),
    ELT(FLOOR, "", rule_float, scalar_floor, NULL),
    ELT(NOT, "", rule_bool, scalar_not, NULL),
    ELT(CAST, "", rule_cast, scalar_cast, vjp_cast),
    ELT(STOP, "", rule_any, scalar_same, NULL),
    ELT(TAP, "tap", rule_tap, scalar_same, vjp_tap),
    ELT(ADJTAP, "tap", rule_tap, scalar_same, vjp_same),

    ELT(ADD, "", rule_number, scalar_add, vjp_add),
    ELT(SUB, "", rule_number, scalar_sub, vjp_sub),
    ELT(MUL, "", rule_number, scalar_mul, vjp_mul),
    ELT(DIV, "", rule_float, scalar_div, vjp_div),
    ELT(MIN, "", rule_number, scalar_min, vjp_minmax),
    ELT(MAX, "", rule_number, scalar_max, vjp_minmax),
    ELT(POW, "", rule_float, scalar_pow, vjp_pow),
    ELT(LT, "", rule_compare, scalar_lt, NULL),
    ELT(LE, "", rule_compare, scalar_le, NULL),
    ELT(EQ, "", rule_compare, scalar_eq, NULL),
    ELT(NE, "", rule_compare, scalar_ne, NULL),
    ELT(AND, "", rule_bool, scalar_and, NULL),
    ELT(OR, "", rule_bool, scalar_or, NULL),
    ELT(MASK, "", rule_mask, scalar_mask, vjp_mask),
    ELT(WHERE, "", rule_where, scalar_where, vjp_where),

    REST(BCAST, "", rule_bcast, eval_bcast, vjp_bcast),
    REST(RESHAPE, "", rule_reshape, eval_reshape, vjp_reshape),
    REST(TRANSPOSE, "", rule_transpose, eval_transpose, vjp_transpose),
    REST(SLICE, "axis start step", rule_slice, eval_slice, vjp_slice),
    REST(PAD, "axis start step", rule_pad, eval_pad, vjp_pad),
    REST(TAKE, "axis", rule_take, eval_take, vjp_take),
    REST(PUT, "axis", rule_put, eval_put, vjp_put),
    REST(CONCAT, "axis", rule_concat, eval_concat, vjp_concat),
    REST(RSLICE, "set", rule_rslice, eval_rslice, NULL),
    REST(UNFOLD, UNFOLD_INTS, rule_unfold, eval_unfold, vjp_unfold),

    REST(SUM, "", rule_reduce, eval_reduce, vjp_sum),
    REST(AMAX, "", rule_reduce, eval_reduce, vjp_amax),
    REST(ARGMAX, "axis", rule_argmax, eval_argmax, NULL),

    REST(DOT, "nb nc", rule_dot, eval_dot, vjp_dot),
    REST(GATHER, "", rule_gather, eval_gather, vjp_gather),
    REST(SCATTER, "", rule_scatter, eval_scatter, vjp_scatter),
    REST(ROWLIST, "set", rule_rowlist, eval_rowlist, NULL),
    REST(ROWPLACE, "", rule_rowplace, eval_rowplace, NULL),
    REST(ROWPICK, "", rule_rowpick, eval_rowpick, NULL),
    REST(FOLD, UNFOLD_INTS, rule_fold, eval_fold, vjp_fold),
    REST(CALL, "call what ability training", rule_call, eval_call, vjp_call),
};

/* op.def's half and the half above, as one record. An op without a rule shows in the test of the table. */
const OpInfo *op_info(Op op) {
  static OpInfo table[OP_COUNT];
  static bool filled;
  if (!__atomic_load_n(&filled, __ATOMIC_ACQUIRE)) {
    const struct {
      const char *name;
      int n_args;
      OpClass cls;
    } defs[OP_COUNT] = {
        [OP_NONE] = {"none", 0, OPC_LEAF},
#define OP(NAME, text, nargs, cls) [OP_##NAME] = {text, nargs, OPC_##cls},
#include "op.def"
#undef OP
    };
    for (int i = 0; i < OP_COUNT; i++)
      table[i] = (OpInfo){defs[i].name,  defs[i].n_args, defs[i].cls,     parts[i].ints ? parts[i].ints : "",
                          parts[i].rule, parts[i].eval,  parts[i].scalar, parts[i].vjp};
    __atomic_store_n(&filled, true, __ATOMIC_RELEASE);
  }
  return &table[(unsigned)op < OP_COUNT ? op : OP_NONE];
}
