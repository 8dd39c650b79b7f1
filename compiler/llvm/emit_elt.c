/* SPDX-License-Identifier: Apache-2.0
 * emit_elt.c -- element-wise operations on scalars and 16 lanes alike. The meaning of each is that of
 * compiler/ir/ops_scalar.c; NaNs pass where they pass there. */
#include "kernel.h"
#include "fault.h"
#include <math.h>

static bool is_float(Dtype t) { return t == DT_F32 || t == DT_F64; }

static LLVMTypeRef shaped(Emit *e, LLVMValueRef like, LLVMTypeRef scalar) {
  (void)e;
  return type_is_vector(like) ? LLVMVectorType(scalar, EMIT_LANES) : scalar;
}

static LLVMValueRef real(Emit *e, LLVMValueRef like, double n) {
  LLVMTypeRef t = LLVMTypeOf(like);
  bool vector = type_is_vector(like);
  LLVMValueRef c = LLVMConstReal(vector ? LLVMGetElementType(t) : t, n);
  return vector ? em_splat(e, c) : c;
}

static LLVMValueRef intrinsic1(Emit *e, const char *name, LLVMValueRef x) {
  return em_intrinsic(e, name, LLVMTypeOf(x), &x, 1);
}

/* A libm function of double; F64 values are rank 0 and so never vectors. */
static LLVMValueRef libm(Emit *e, const char *name, LLVMValueRef x) {
  LLVMTypeRef type = LLVMFunctionType(e->f64, &e->f64, 1, 0);
  LLVMValueRef f = LLVMGetNamedFunction(e->mod, name);
  if (!f) {
    f = LLVMAddFunction(e->mod, name, type);
    types_attribute(e, f, ON_FUNCTION, "nounwind", 0);
    types_attribute(e, f, ON_FUNCTION, "willreturn", 0);
    types_attribute(e, f, ON_FUNCTION, "memory", 0);
  }
  return LLVMBuildCall2(e->b, type, f, &x, 1, name);
}

static LLVMValueRef sigmoid_f64(Emit *e, LLVMValueRef x) {
  LLVMBuilderRef b = e->b;
  LLVMValueRef small = intrinsic1(e, "llvm.exp", LLVMBuildFNeg(b, intrinsic1(e, "llvm.fabs", x), ""));
  LLVMValueRef one = real(e, x, 1), up = LLVMBuildFAdd(b, one, small, "");
  LLVMValueRef top = LLVMBuildSelect(b, LLVMBuildFCmp(b, LLVMRealOGE, x, real(e, x, 0), ""), one, small, "");
  return LLVMBuildFDiv(b, top, up, "sigmoid");
}

static LLVMValueRef softplus_f64(Emit *e, LLVMValueRef x) {
  LLVMBuilderRef b = e->b;
  LLVMValueRef small = intrinsic1(e, "llvm.exp", LLVMBuildFNeg(b, intrinsic1(e, "llvm.fabs", x), ""));
  LLVMValueRef negative = LLVMBuildFCmp(b, LLVMRealOLT, x, real(e, x, 0), "");
  return LLVMBuildFAdd(b, LLVMBuildSelect(b, negative, real(e, x, 0), x, ""), libm(e, "log1p", small),
                       "softplus");
}

static LLVMValueRef transcendental(Emit *e, Op op, Dtype t, LLVMValueRef x) {
  bool wide = t == DT_F64;
  switch (op) {
  case OP_EXP: return wide ? intrinsic1(e, "llvm.exp", x) : math_exp(e, x);
  case OP_LOG: return wide ? intrinsic1(e, "llvm.log", x) : math_log(e, x);
  case OP_TANH: return wide ? libm(e, "tanh", x) : math_tanh(e, x);
  case OP_ERF: return wide ? libm(e, "erf", x) : math_erf(e, x);
  case OP_SIGMOID: return wide ? sigmoid_f64(e, x) : math_sigmoid(e, x);
  case OP_SOFTPLUS: return wide ? softplus_f64(e, x) : math_softplus(e, x);
  case OP_SIN: return wide ? intrinsic1(e, "llvm.sin", x) : math_sin(e, x);
  default: return wide ? intrinsic1(e, "llvm.cos", x) : math_cos(e, x);
  }
}

static LLVMValueRef emit_sign(Emit *e, LLVMValueRef x) {
  LLVMBuilderRef b = e->b;
  LLVMValueRef zero = real(e, x, 0);
  LLVMValueRef below =
      LLVMBuildSelect(b, LLVMBuildFCmp(b, LLVMRealOLT, x, zero, ""), real(e, x, -1), zero, "");
  return LLVMBuildSelect(b, LLVMBuildFCmp(b, LLVMRealOGT, x, zero, ""), real(e, x, 1), below, "sign");
}

static LLVMValueRef emit_cast(Emit *e, Dtype from, Dtype to, LLVMValueRef x) {
  LLVMBuilderRef b = e->b;
  LLVMTypeRef type = shaped(e, x, type_of_dtype(e, to));
  if (type == LLVMTypeOf(x)) return x;
  if (is_float(from)) {
    if (to == DT_F64) return LLVMBuildFPExt(b, x, type, "wide");
    if (to == DT_F32) return LLVMBuildFPTrunc(b, x, type, "narrow");
    if (to == DT_BOOL) return LLVMBuildFCmp(b, LLVMRealUNE, x, real(e, x, 0), "bool");
    LLVMTypeRef types[2] = {type, LLVMTypeOf(x)};
    unsigned id = LLVMLookupIntrinsicID("llvm.fptosi.sat", sizeof "llvm.fptosi.sat" - 1);
    LLVMValueRef f = LLVMGetIntrinsicDeclaration(e->mod, id, types, 2);
    return LLVMBuildCall2(b, LLVMIntrinsicGetType(e->ctx, id, types, 2), f, &x, 1, "int");
  }
  if (from == DT_BOOL)
    return is_float(to) ? LLVMBuildUIToFP(b, x, type, "real") : LLVMBuildZExt(b, x, type, "int");
  if (to == DT_BOOL) return LLVMBuildICmp(b, LLVMIntNE, x, LLVMConstNull(LLVMTypeOf(x)), "bool");
  return LLVMBuildSIToFP(b, x, type, "real");
}

static LLVMValueRef emit_unary(Kernel *k, const Value *v, ValueId id, Dtype from, LLVMValueRef x) {
  Emit *e = k->e;
  LLVMBuilderRef b = e->b;
  switch (v->op) {
  case OP_NEG: return LLVMBuildFNeg(b, x, "neg");
  case OP_ABS: return intrinsic1(e, "llvm.fabs", x);
  case OP_SIGN: return emit_sign(e, x);
  case OP_SQRT: return intrinsic1(e, "llvm.sqrt", x);
  case OP_FLOOR: return intrinsic1(e, "llvm.floor", x);
  case OP_RELU:
    return LLVMBuildSelect(b, LLVMBuildFCmp(b, LLVMRealOLE, x, real(e, x, 0), ""), real(e, x, 0), x, "relu");
  case OP_NOT: return LLVMBuildNot(b, x, "not");
  case OP_CAST: return emit_cast(e, from, v->dtype, x);
  case OP_STOP:
  case OP_TAP:
  case OP_ADJTAP: return x;
  case OP_EXP:
  case OP_LOG:
  case OP_TANH:
  case OP_ERF:
  case OP_SIGMOID:
  case OP_SOFTPLUS:
  case OP_SIN:
  case OP_COS: return transcendental(e, v->op, from, x);
  default: kernel_die(k, id, "no emission for this element-wise operation");
  }
}

/* ---- two arguments
 * ----------------------------------------------------------------------------------------- */

static LLVMValueRef compare(Emit *e, Op op, Dtype t, LLVMValueRef x, LLVMValueRef y) {
  static const LLVMRealPredicate reals[] = {LLVMRealOLT, LLVMRealOLE, LLVMRealOEQ, LLVMRealUNE};
  static const LLVMIntPredicate ints[] = {LLVMIntSLT, LLVMIntSLE, LLVMIntEQ, LLVMIntNE};
  static const LLVMIntPredicate bools[] = {LLVMIntULT, LLVMIntULE, LLVMIntEQ, LLVMIntNE};
  int i = op == OP_LT ? 0 : op == OP_LE ? 1 : op == OP_EQ ? 2 : 3;
  if (is_float(t)) return LLVMBuildFCmp(e->b, reals[i], x, y, "cmp");
  return LLVMBuildICmp(e->b, t == DT_BOOL ? bools[i] : ints[i], x, y, "cmp");
}

LLVMValueRef emit_min_max(Emit *e, bool max, Dtype t, LLVMValueRef x, LLVMValueRef y) {
  LLVMBuilderRef b = e->b;
  LLVMValueRef first;
  if (is_float(t)) {
    LLVMValueRef nan = LLVMBuildFCmp(b, LLVMRealUNO, x, x, "");
    first = LLVMBuildOr(b, nan, LLVMBuildFCmp(b, max ? LLVMRealOGT : LLVMRealOLT, x, y, ""), "");
  } else {
    first = LLVMBuildICmp(b, max ? LLVMIntSGT : LLVMIntSLT, x, y, "");
  }
  return LLVMBuildSelect(b, first, x, y, max ? "max" : "min");
}

/* The value is one number everywhere, seen through views of a splat constant. */
static bool splat_number(const Graph *g, ValueId id, double *n) {
  const Value *v = &g->v[id];
  while (v->op == OP_BCAST || v->op == OP_RESHAPE || v->op == OP_CAST || v->op == OP_STOP)
    v = &g->v[v->args[0]];
  if (v->op != OP_CONST || (v->data && v->shape.rank)) return false;
  *n = v->data ? v->data[0] : v->num;
  return true;
}

static LLVMValueRef power_by_squaring(Emit *e, LLVMValueRef x, int n) {
  LLVMValueRef r = NULL, square = x;
  for (unsigned m = (unsigned)(n < 0 ? -n : n); m; m >>= 1) {
    if (m & 1) r = r ? LLVMBuildFMul(e->b, r, square, "") : square;
    if (m > 1) square = LLVMBuildFMul(e->b, square, square, "");
  }
  if (!r) return real(e, x, 1);
  return n < 0 ? LLVMBuildFDiv(e->b, real(e, x, 1), r, "pow") : r;
}

static LLVMValueRef emit_pow(Kernel *k, const Value *v, LLVMValueRef x, LLVMValueRef y) {
  double n;
  if (v->dtype == DT_F64) return em_intrinsic(k->e, "llvm.pow", k->e->f64, (LLVMValueRef[]){x, y}, 2);
  if (splat_number(k->g, v->args[1], &n) && n == floor(n) && fabs(n) <= 64)
    return power_by_squaring(k->e, x, (int)n);
  return math_pow(k->e, x, y);
}

/* f == 0 gives +0.0 whatever x is; 1 * x is x to the bit, so that f * x serves the other two cases. */
static LLVMValueRef emit_mask(Emit *e, LLVMValueRef x, LLVMValueRef f) {
  if (fault("mask-multiplies")) return LLVMBuildFMul(e->b, f, x, "");
  LLVMValueRef none = LLVMBuildFCmp(e->b, LLVMRealOEQ, f, real(e, f, 0), "none");
  return LLVMBuildSelect(e->b, none, real(e, x, 0), LLVMBuildFMul(e->b, f, x, ""), "masked");
}

static LLVMValueRef emit_binary(Kernel *k, const Value *v, ValueId id, Dtype t, LLVMValueRef x,
                                LLVMValueRef y) {
  Emit *e = k->e;
  LLVMBuilderRef b = e->b;
  bool f = is_float(t);
  switch (v->op) {
  case OP_ADD: return f ? LLVMBuildFAdd(b, x, y, "add") : LLVMBuildAdd(b, x, y, "add");
  case OP_SUB:
    if (f && fault("swap-operands")) return LLVMBuildFSub(b, y, x, "sub");
    return f ? LLVMBuildFSub(b, x, y, "sub") : LLVMBuildSub(b, x, y, "sub");
  case OP_MUL: return f ? LLVMBuildFMul(b, x, y, "mul") : LLVMBuildMul(b, x, y, "mul");
  case OP_DIV: return LLVMBuildFDiv(b, x, y, "div");
  case OP_MIN: return emit_min_max(e, false, t, x, y);
  case OP_MAX: return emit_min_max(e, true, t, x, y);
  case OP_POW: return emit_pow(k, v, x, y);
  case OP_LT:
  case OP_LE:
  case OP_EQ:
  case OP_NE: return compare(e, v->op, t, x, y);
  case OP_AND: return LLVMBuildAnd(b, x, y, "and");
  case OP_OR: return LLVMBuildOr(b, x, y, "or");
  case OP_MASK: return emit_mask(e, x, y);
  default: kernel_die(k, id, "no emission for this element-wise operation");
  }
}

Val emit_elt(Kernel *k, const Value *v, ValueId id, Val *args) {
  Val r = {NULL, 0};
  bool vector = false;
  for (uint32_t i = 0; i < v->n_args; i++) {
    if (args[i].depth > r.depth) r.depth = args[i].depth;
    vector |= type_is_vector(args[i].v);
  }
  for (uint32_t i = 0; vector && i < v->n_args; i++) args[i] = emit_widen(k, args[i]);
  Dtype from = k->g->v[v->args[0]].dtype;
  int old = scope_enter(k, r.depth);
  if (v->n_args == 1) r.v = emit_unary(k, v, id, from, args[0].v);
  else if (v->n_args == 2) r.v = emit_binary(k, v, id, from, args[0].v, args[1].v);
  else r.v = LLVMBuildSelect(k->e->b, args[0].v, args[1].v, args[2].v, "where");
  scope_leave(k, old);
  return r;
}
