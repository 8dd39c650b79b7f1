/* SPDX-License-Identifier: Apache-2.0
 * math.c -- elementary functions as branch-free IR on f32 or <16 x f32>; every step is one IEEE operation
 * (explicit fma, no fast-math flags), so scalar, AVX2 and AVX-512 code give the same bits.
 *
 * Bounds of the error against libm in double, in units in the last place of the f32 result, over all floats
 * (tests/math_exhaustive.sh); each run of unit.llvm_math looks at every 1009th and at dense ranges.
 *
 *   function   max ULP   special values
 *   exp        1.1       -inf -> 0, inf -> inf, results below 2^-126 rounded once to a denormal
 *   log        1.0       +-0 -> -inf, x < 0 -> NaN, denormals exact to the same bound
 *   tanh       2.5       +-inf -> +-1, sign of zero kept
 *   erf        1.5       +-inf -> +-1, sign of zero kept
 *   sigmoid    2.5       relative accuracy on the negative side down to the denormals
 *   softplus   2.5       -inf -> 0, inf -> inf, tail exp(x) kept
 *   sin, cos   1.75      +-inf -> NaN; arguments of any size
 *   pow        0.6       x == 0, inf, y == 0, inf as C's pow; x < 0 -> NaN
 *   sqrt       0.5       the instruction; 1 / sqrt(x): 1.5
 *
 * NaN gives NaN everywhere (pow(1, NaN) and pow(NaN, 0) are 1 as in C).
 * Coefficients: our own minimax fits (Lawson's algorithm, rounded to float from the lowest order upwards). */
#include "emit.h"
#include <math.h>

/* The kind of value at hand: scalar or 16 lanes. */
typedef struct Fp {
  Emit *e;
  LLVMBuilderRef b;
  bool vec;
  LLVMTypeRef f, i, d, l; /* float, i32, double, i64: each of x's width */
} Fp;

typedef LLVMValueRef V;

static Fp fp_of(Emit *e, V x) {
  LLVMTypeRef t = LLVMTypeOf(x);
  bool vec = LLVMGetTypeKind(t) == LLVMVectorTypeKind;
  return (Fp){e,
              e->b,
              vec,
              vec ? e->v16f32 : e->f32,
              vec ? e->v16i32 : e->i32,
              vec ? e->v16f64 : e->f64,
              vec ? e->v16i64 : e->i64};
}

static V fp_splat(const Fp *m, V scalar) {
  V lanes[EMIT_LANES];
  if (!m->vec) return scalar;
  for (int i = 0; i < EMIT_LANES; i++) lanes[i] = scalar;
  return LLVMConstVector(lanes, EMIT_LANES);
}
static V fc(const Fp *m, double v) { return fp_splat(m, LLVMConstReal(m->e->f32, v)); }
static V dc(const Fp *m, double v) { return fp_splat(m, LLVMConstReal(m->e->f64, v)); }
static V ic(const Fp *m, int64_t v) { return fp_splat(m, LLVMConstInt(m->e->i32, (uint64_t)v, true)); }
static V lc(const Fp *m, int64_t v) { return fp_splat(m, LLVMConstInt(m->e->i64, (uint64_t)v, true)); }

static V add(const Fp *m, V x, V y) { return LLVMBuildFAdd(m->b, x, y, ""); }
static V sub(const Fp *m, V x, V y) { return LLVMBuildFSub(m->b, x, y, ""); }
static V mul(const Fp *m, V x, V y) { return LLVMBuildFMul(m->b, x, y, ""); }
static V quot(const Fp *m, V x, V y) { return LLVMBuildFDiv(m->b, x, y, ""); }
static V fma3(const Fp *m, V x, V y, V z) {
  V args[3] = {x, y, z};
  return em_intrinsic(m->e, "llvm.fma", LLVMTypeOf(x), args, 3);
}
static V fabs1(const Fp *m, V x) { return em_intrinsic(m->e, "llvm.fabs", LLVMTypeOf(x), &x, 1); }
static V signof(const Fp *m, V magnitude, V sign) {
  V args[2] = {magnitude, sign};
  return em_intrinsic(m->e, "llvm.copysign", LLVMTypeOf(magnitude), args, 2);
}
static V cmp(const Fp *m, LLVMRealPredicate p, V x, V y) { return LLVMBuildFCmp(m->b, p, x, y, ""); }
static V sel(const Fp *m, V c, V x, V y) { return LLVMBuildSelect(m->b, c, x, y, ""); }
static V cast(const Fp *m, V x, LLVMTypeRef t) { return LLVMBuildBitCast(m->b, x, t, ""); }
/* NaN passes through both. */
static V at_least(const Fp *m, V x, V lo) { return sel(m, cmp(m, LLVMRealOLT, x, lo), lo, x); }
static V at_most(const Fp *m, V x, V hi) { return sel(m, cmp(m, LLVMRealOGT, x, hi), hi, x); }

/* c[0] + c[1] x + ... by Horner's rule */
static V poly(const Fp *m, V x, const double *c, int n) {
  bool wide = LLVMTypeOf(x) == m->d;
  V r = wide ? dc(m, c[n - 1]) : fc(m, c[n - 1]);
  for (int i = n - 2; i >= 0; i--) r = fma3(m, r, x, wide ? dc(m, c[i]) : fc(m, c[i]));
  return r;
}

/* ---- exp and what is built on it -------------------------------------------------------------------------
 */
#define LOG2E       0x1.715476p+0
#define LN2_HI      0x1.62ep-1 /* 12 bits: n * LN2_HI is exact */
#define LN2_LO      0x1.0bfbe8p-15
#define ROUND_MAGIC 0x1.8p23 /* adding it leaves the nearest integer in the low bits of a float */

/* x = n ln2 + r, |r| <= ln2/2; n as float and as integer. A NaN gives a NaN r and any n. |x| < 2^21. */
static V exp_reduce(const Fp *m, V x, V *n_float, V *n_int) {
  V magic = fc(m, ROUND_MAGIC);
  V t = fma3(m, x, fc(m, LOG2E), magic);
  V n = sub(m, t, magic);
  V r = fma3(m, n, fc(m, -LN2_HI), x);
  *n_float = n;
  *n_int = LLVMBuildSub(m->b, cast(m, t, m->i), cast(m, magic, m->i), "");
  return fma3(m, n, fc(m, -LN2_LO), r);
}

/* 2^n for an integer n in [-126, 127] */
static V exp2_int(const Fp *m, V n) {
  V biased = LLVMBuildAdd(m->b, n, ic(m, 127), "");
  return cast(m, LLVMBuildShl(m->b, biased, ic(m, 23), ""), m->f);
}

V math_exp(Emit *e, V x) {
  static const double c[] = {0x1p-1, 0x1.55548ep-3, 0x1.5554c6p-5, 0x1.123c4ap-7, 0x1.6d73acp-10};
  Fp m = fp_of(e, x);
  V n, k, y = at_most(&m, at_least(&m, x, fc(&m, -104.0)), fc(&m, 89.0));
  V r = exp_reduce(&m, y, &n, &k);
  V p = fma3(&m, poly(&m, r, c, 5), mul(&m, r, r), r);
  p = add(&m, p, fc(&m, 1.0));
  /* k reaches -150 and 128: two factors; the first product is exact, the second rounds once */
  V half = LLVMBuildAShr(m.b, k, ic(&m, 1), "");
  V rest = LLVMBuildSub(m.b, k, half, "");
  return mul(&m, mul(&m, p, exp2_int(&m, half)), exp2_int(&m, rest));
}

/* tanh(x) = E / (E + 2), E = expm1(2|x|): relative accuracy at 0 and no second branch. */
V math_tanh(Emit *e, V x) {
  static const double c[] = {0x1p-1,        0x1.555556p-3,  0x1.5554f4p-5,
                             0x1.110ffap-7, 0x1.6d3f44p-10, 0x1.a25974p-13};
  Fp m = fp_of(e, x);
  V a = fabs1(&m, x), n, k;
  V y = at_most(&m, add(&m, a, a), fc(&m, 20.0)); /* tanh(10) rounds to 1 */
  V r = exp_reduce(&m, y, &n, &k);
  V p = fma3(&m, poly(&m, r, c, 6), mul(&m, r, r), r); /* expm1(r) */
  V s = exp2_int(&m, k);
  V e1 = fma3(&m, s, p, sub(&m, s, fc(&m, 1.0)));
  return signof(&m, quot(&m, e1, add(&m, e1, fc(&m, 2.0))), x);
}

V math_sigmoid(Emit *e, V x) {
  Fp m = fp_of(e, x);
  V one = fc(&m, 1.0);
  V t = math_exp(e, LLVMBuildFNeg(m.b, fabs1(&m, x), ""));
  V top = sel(&m, cmp(&m, LLVMRealOLT, x, fc(&m, 0.0)), t, one);
  return quot(&m, top, add(&m, one, t));
}

/* ---- log
 * --------------------------------------------------------------------------------------------------- */
/* k ln2 + log(1 + f), sqrt(1/2) - 1 <= f <= sqrt(2) - 1 */
static V log_finish(const Fp *m, V f, V k) {
  static const double c[] = {0x1.555554p-2,  -0x1.ffffdap-3, 0x1.999a6cp-3,  -0x1.5562c2p-3, 0x1.24866ep-3,
                             -0x1.fcf842p-4, 0x1.c4cf08p-4,  -0x1.bb654cp-4, 0x1.b05128p-4,  -0x1.e25714p-5};
  V f2 = mul(m, f, f);
  V y = mul(m, mul(m, f2, f), poly(m, f, c, 10));
  y = fma3(m, mul(m, f, fc(m, -0.5)), f, y);
  y = fma3(m, k, fc(m, LN2_LO), y);
  return fma3(m, k, fc(m, LN2_HI), add(m, f, y));
}

V math_log(Emit *e, V x) {
  Fp m = fp_of(e, x);
  V tiny = cmp(&m, LLVMRealOLT, x, fc(&m, 0x1p-126));
  V scaled = sel(&m, tiny, mul(&m, x, fc(&m, 0x1p23)), x);
  V bits = LLVMBuildSub(m.b, cast(&m, scaled, m.i), ic(&m, 0x3f3504f3), ""); /* bits of sqrt(1/2) */
  V ki = LLVMBuildAShr(m.b, bits, ic(&m, 23), "");
  V mant = LLVMBuildAdd(m.b, LLVMBuildAnd(m.b, bits, ic(&m, 0x7fffff), ""), ic(&m, 0x3f3504f3), "");
  V f = sub(&m, cast(&m, mant, m.f), fc(&m, 1.0));
  V k = add(&m, LLVMBuildSIToFP(m.b, ki, m.f, ""), sel(&m, tiny, fc(&m, -23.0), fc(&m, 0.0)));
  V r = log_finish(&m, f, k);
  r = sel(&m, cmp(&m, LLVMRealOEQ, x, fc(&m, (double)INFINITY)), x, r);
  r = sel(&m, cmp(&m, LLVMRealOEQ, x, fc(&m, 0.0)), fc(&m, (double)-INFINITY), r);
  return sel(&m, cmp(&m, LLVMRealULT, x, fc(&m, 0.0)), fc(&m, (double)NAN), r); /* negative or NaN */
}

/* max(x, 0) + log1p(exp(-|x|)); log1p(u) for u in [0, 1] has k in {0, 1} and needs no correction term */
V math_softplus(Emit *e, V x) {
  Fp m = fp_of(e, x);
  V zero = fc(&m, 0.0), half = fc(&m, 0.5);
  V u = math_exp(e, LLVMBuildFNeg(m.b, fabs1(&m, x), ""));
  V big = cmp(&m, LLVMRealOGT, u, fc(&m, 0x1.a8279ap-2)); /* sqrt(2) - 1 */
  V f = sel(&m, big, fma3(&m, u, half, fc(&m, -0.5)), u);
  V l = log_finish(&m, f, sel(&m, big, fc(&m, 1.0), zero));
  return add(&m, sel(&m, cmp(&m, LLVMRealOGT, x, zero), x, zero), l);
}

/* ---- erf
 * --------------------------------------------------------------------------------------------------- */
/* |x| < 0.94: x + x P(x^2), else 1 - exp(-t + t R(t)), t = |x| */
V math_erf(Emit *e, V x) {
  static const double small[] = {0x1.06eba8p-3, -0x1.812740p-2,  0x1.ce2d64p-4, -0x1.b80124p-6,
                                 0x1.544b08p-8, -0x1.a61810p-11, 0x1.4fa924p-14};
  static const double large[] = {-0x1.0778dcp-3, -0x1.45328ep-1, -0x1.b32568p-4, 0x1.855122p-6,
                                 -0x1.dd6ba8p-9, 0x1.52795cp-12, -0x1.78d116p-17};
  Fp m = fp_of(e, x);
  V t = at_most(&m, fabs1(&m, x), fc(&m, 4.0)); /* erf(3.92) rounds to 1 */
  V inner = fma3(&m, poly(&m, mul(&m, t, t), small, 7), t, t);
  V g = fma3(&m, poly(&m, t, large, 7), t, LLVMBuildFNeg(m.b, t, ""));
  V outer = sub(&m, fc(&m, 1.0), math_exp(e, g));
  return signof(&m, sel(&m, cmp(&m, LLVMRealOLT, t, fc(&m, 0.94)), inner, outer), x);
}

/* ---- sin and cos
 * ------------------------------------------------------------------------------------------- */
/* An argument is s 2^E with s in [1, 2). A table holds 2^E 2/pi mod 2^25 in two doubles, so that one
 * multiplication reduces arguments of any size to quarter turns, with an absolute error of 2^-80 (no float
 * comes nearer than 2^-30 to a multiple of pi/2). Below 2^-13 the argument is its own remainder. */
enum { TURN_LOW = -13, TURN_HIGH = 128 };

/* 53 bits of 2/pi from bit `first` on (1 is the highest), times 2^e */
static double turn_bits(int first, int e) {
  static const uint32_t two_over_pi[] = {0xa2f9836e, 0x4e441529, 0xfc2757d1, 0xf534ddc0,
                                         0xdb629599, 0x3c439041, 0xfe5163ab, 0xdebbc561};
  double sum = 0;
  for (int i = first; i < first + 53; i++)
    if (two_over_pi[(i - 1) / 32] >> (31 - (i - 1) % 32) & 1) sum += ldexp(1, e - i);
  return sum;
}

static V turn_table(Emit *e) {
  V table = LLVMGetNamedGlobal(e->mod, "math_turns"), entry[2 * (TURN_HIGH - TURN_LOW + 1)];
  if (table) return table;
  const unsigned n = sizeof entry / sizeof *entry;
  for (int k = TURN_LOW; k <= TURN_HIGH; k++) {
    int first =
        k > 25 ? k - 24 : 1; /* times the 24 bits of s, earlier bits are multiples of four quarter turns */
    bool finite = k < TURN_HIGH;
    entry[2 * (k - TURN_LOW)] = LLVMConstReal(e->f64, finite ? turn_bits(first, k) : (double)NAN);
    entry[2 * (k - TURN_LOW) + 1] = LLVMConstReal(e->f64, finite ? turn_bits(first + 53, k) : 0);
  }
  table = LLVMAddGlobal(e->mod, LLVMArrayType2(e->f64, n), "math_turns");
  LLVMSetInitializer(table, LLVMConstArray2(e->f64, entry, n));
  LLVMSetGlobalConstant(table, true);
  LLVMSetLinkage(table, LLVMPrivateLinkage);
  return table;
}

/* table[index] */
static V table_load(const Fp *m, V table, V index) {
  V p = LLVMBuildGEP2(m->b, m->e->f64, table, &index, 1, "");
  if (!m->vec) return LLVMBuildLoad2(m->b, m->d, p, "");
  static const char name[] = "llvm.masked.gather";
  unsigned id = LLVMLookupIntrinsicID(name, sizeof name - 1);
  LLVMTypeRef types[2] = {m->d, LLVMTypeOf(p)};
  V args[4] = {p, LLVMConstInt(m->e->i32, 8, 0), LLVMConstAllOnes(m->e->v16i1), LLVMConstNull(m->d)};
  LLVMTypeRef type = LLVMIntrinsicGetType(m->e->ctx, id, types, 2);
  return LLVMBuildCall2(m->b, type, LLVMGetIntrinsicDeclaration(m->e->mod, id, types, 2), args, 4, "");
}

/* x = (n + r) pi/2 with |r| <= 1/2; returns r pi/2 as float, n in *n_int */
static V trig_reduce(const Fp *m, V x, V *n_int) {
  V magic = dc(m, 0x1.8p52), bits = cast(m, x, m->i), table = turn_table(m->e);
  V field = LLVMBuildAnd(m->b, LLVMBuildLShr(m->b, bits, ic(m, 23), ""), ic(m, 255), "");
  V index = LLVMBuildSub(m->b, field, ic(m, 127 + TURN_LOW), "");
  V small = LLVMBuildICmp(m->b, LLVMIntSLT, index, ic(m, 0), "");
  index = LLVMBuildShl(m->b, sel(m, small, ic(m, 0), index), ic(m, 1), "");
  V high = table_load(m, table, index), low = table_load(m, table, LLVMBuildOr(m->b, index, ic(m, 1), ""));
  V mantissa =
      LLVMBuildOr(m->b, LLVMBuildAnd(m->b, bits, ic(m, (int64_t)0x807fffff), ""), ic(m, 0x3f800000), "");
  V s = LLVMBuildFPExt(m->b, cast(m, mantissa, m->f), m->d, "");
  V y = mul(m, s, high), rest = fma3(m, s, low, fma3(m, s, high, LLVMBuildFNeg(m->b, y, "")));
  V t = add(m, y, magic);
  V r = add(m, sub(m, y, sub(m, t, magic)), rest);
  V turned = LLVMBuildFPTrunc(m->b, mul(m, r, dc(m, 0x1.921fb54442d18p+0)), m->f, "");
  V n = LLVMBuildTrunc(m->b, cast(m, t, m->l), m->i, "");
  *n_int = sel(m, small, ic(m, 0), n);
  return sel(m, small, x, turned);
}

static V trig(Emit *e, V x, int quadrant) {
  static const double s[] = {-0x1.555556p-3, 0x1.111174p-7, -0x1.a05968p-13, 0x1.7c367ap-19};
  static const double c[] = {0x1.555556p-5, -0x1.6c175ep-10, 0x1.a071b6p-16, -0x1.36147cp-22};
  Fp m = fp_of(e, x);
  V q, r = trig_reduce(&m, x, &q);
  q = LLVMBuildAdd(m.b, q, ic(&m, quadrant), "");
  V z = mul(&m, r, r);
  V sine = signof(&m, fma3(&m, mul(&m, z, r), poly(&m, z, s, 4), r), r); /* keeps the sign of zero */
  V cosine = fma3(&m, mul(&m, z, z), poly(&m, z, c, 4), fma3(&m, z, fc(&m, -0.5), fc(&m, 1.0)));
  V odd = LLVMBuildICmp(m.b, LLVMIntNE, LLVMBuildAnd(m.b, q, ic(&m, 1), ""), ic(&m, 0), "");
  V flip = LLVMBuildShl(m.b, LLVMBuildAnd(m.b, q, ic(&m, 2), ""), ic(&m, 30), "");
  return cast(&m, LLVMBuildXor(m.b, cast(&m, sel(&m, odd, cosine, sine), m.i), flip, ""), m.f);
}
V math_sin(Emit *e, V x) { return trig(e, x, 0); }
V math_cos(Emit *e, V x) { return trig(e, x, 1); }

/* ---- pow
 * --------------------------------------------------------------------------------------------------- */
/* log2 of a float in double, relative error 2^-45 */
static V log2_wide(const Fp *m, V x) {
  static const double c[] = {0x1.71547652b824bp+1, 0x1.ec709dc546efcp-1, 0x1.2776c286a9159p-1,
                             0x1.a61a394ccc442p-2, 0x1.47938fc6e438bp-2, 0x1.21cb8488b8ab8p-2};
  const int64_t root = 0x3fe6a09e667f3bcd; /* bits of sqrt(1/2) */
  V bits = cast(m, LLVMBuildFPExt(m->b, x, m->d, ""), m->l);
  V off = LLVMBuildSub(m->b, bits, lc(m, root), "");
  V k = LLVMBuildTrunc(m->b, LLVMBuildLShr(m->b, off, lc(m, 32), ""), m->i, "");
  k = LLVMBuildAShr(m->b, k, ic(m, 20), "");
  V mant = LLVMBuildAdd(m->b, LLVMBuildAnd(m->b, off, lc(m, 0xfffffffffffff), ""), lc(m, root), "");
  V f = sub(m, cast(m, mant, m->d), dc(m, 1.0));
  V s = quot(m, f, add(m, f, dc(m, 2.0)));
  return fma3(m, s, poly(m, mul(m, s, s), c, 6), LLVMBuildSIToFP(m->b, k, m->d, ""));
}

V math_pow(Emit *e, V x, V y) {
  static const double c[] = {0x1.ffffffffaa655p-1,  0x1.62e42ff11c1e9p-1, 0x1.ebfbe0a6ce8f8p-3,
                             0x1.c6b08aa6adeb7p-5,  0x1.3b29da8283c90p-7, 0x1.5d8a7591422a9p-10,
                             0x1.446b880baed15p-13, 0x1.fe15bf2d5ee2fp-17};
  Fp m = fp_of(e, x);
  V zero = fc(&m, 0.0), inf = dc(&m, (double)INFINITY), l = log2_wide(&m, x), magic = dc(&m, 0x1.8p52);
  l = sel(&m, cmp(&m, LLVMRealOEQ, x, zero), dc(&m, (double)-INFINITY), l);
  l = sel(&m, cmp(&m, LLVMRealOEQ, x, fc(&m, (double)INFINITY)), inf, l);
  l = sel(&m, cmp(&m, LLVMRealULT, x, zero), dc(&m, (double)NAN), l);
  V p = mul(&m, LLVMBuildFPExt(m.b, y, m.d, ""), l);
  p = at_most(&m, at_least(&m, p, dc(&m, -200.0)), dc(&m, 200.0)); /* both round to the limit in f32 */
  V t = add(&m, p, magic);
  V r = sub(&m, p, sub(&m, t, magic));
  V scale = LLVMBuildShl(m.b, LLVMBuildAdd(m.b, cast(&m, t, m.l), lc(&m, 1023), ""), lc(&m, 52), "");
  V out = LLVMBuildFPTrunc(m.b, mul(&m, poly(&m, r, c, 8), cast(&m, scale, m.d)), m.f, "");
  V unit = LLVMBuildOr(m.b, cmp(&m, LLVMRealOEQ, y, zero), cmp(&m, LLVMRealOEQ, x, fc(&m, 1.0)), "");
  return sel(&m, unit, fc(&m, 1.0), out);
}

/* ---- Philox4x32-10 (Salmon et al. 2011); the twin of runtime/rng.h ----------------------------------------
 */
static void mul_hilo(const Fp *m, int64_t k, V x, V *hi, V *lo) {
  V wide = LLVMBuildMul(m->b, LLVMBuildZExt(m->b, x, m->l, ""), lc(m, k), "");
  *hi = LLVMBuildTrunc(m->b, LLVMBuildLShr(m->b, wide, lc(m, 32), ""), m->i, "");
  *lo = LLVMBuildTrunc(m->b, wide, m->i, "");
}

void math_philox(Emit *e, const V ctr[4], const V key[2], V out[4]) {
  Fp m = fp_of(e, ctr[0]);
  V c0 = ctr[0], c1 = ctr[1], c2 = ctr[2], c3 = ctr[3], k0 = key[0], k1 = key[1];
  for (int round = 0; round < 10; round++) {
    V hi0, lo0, hi1, lo1;
    mul_hilo(&m, 0xD2511F53, c0, &hi0, &lo0);
    mul_hilo(&m, 0xCD9E8D57, c2, &hi1, &lo1);
    c0 = LLVMBuildXor(m.b, LLVMBuildXor(m.b, hi1, c1, ""), k0, "");
    c2 = LLVMBuildXor(m.b, LLVMBuildXor(m.b, hi0, c3, ""), k1, "");
    c1 = lo1, c3 = lo0;
    if (round == 9) break;
    k0 = LLVMBuildAdd(m.b, k0, ic(&m, 0x9E3779B9), "");
    k1 = LLVMBuildAdd(m.b, k1, ic(&m, 0xBB67AE85), "");
  }
  out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

V math_uniform(Emit *e, V word) {
  Fp m = fp_of(e, word);
  V top = LLVMBuildLShr(m.b, word, ic(&m, 8), "");
  return mul(&m, LLVMBuildSIToFP(m.b, top, m.f, ""), fc(&m, 0x1p-24)); /* top < 2^24: exact, sign bit clear */
}
