/* SPDX-License-Identifier: Apache-2.0
 * Emitted elementary functions against libm in double: a stride through every float, dense ranges, special
 * values; the same bits from scalar code, AVX2 and AVX-512. `test_llvm_math --stride 97 [NAME..]` looks closer,
 * `--exhaustive [NAME..]` visits all 2^32 arguments (tests/math_exhaustive.sh: on all CPUs), `--list` prints the names. */
#include "llvm_jig.h"
#include "rng.h"
#include <math.h>
#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

typedef LLVMValueRef (*EmitUnary)(Emit *, LLVMValueRef);
typedef void (*VectorFn)(const float *x, float *y, int64_t n);

typedef struct Unary {
  const char *name;
  EmitUnary emit;
  double (*twin)(double);
  double bound;
} Unary;

static double twin_sigmoid(double x) { return x < 0 ? exp(x) / (1 + exp(x)) : 1 / (1 + exp(-x)); }
static double twin_rsqrt(double x) { return 1 / sqrt(x); }
static double twin_softplus(double x) { return fmax(x, 0) + log1p(exp(-fabs(x))) + (isnan(x) ? x : 0); }

static LLVMValueRef emit_sqrt(Emit *e, LLVMValueRef x) { return em_intrinsic(e, "llvm.sqrt", LLVMTypeOf(x), &x, 1); }
static LLVMValueRef emit_rsqrt(Emit *e, LLVMValueRef x) { /* as the graph has it: a root and a division */
  LLVMValueRef one = LLVMConstReal(e->f32, 1);
  if (LLVMGetTypeKind(LLVMTypeOf(x)) == LLVMVectorTypeKind) one = em_splat(e, one);
  return LLVMBuildFDiv(e->b, one, emit_sqrt(e, x), "");
}

/* The bounds are those of the table in math.c. */
static const Unary unary[] = {
    {"exp", math_exp, exp, 1.1},
    {"log", math_log, log, 1.0},
    {"tanh", math_tanh, tanh, 2.5},
    {"erf", math_erf, erf, 1.5},
    {"sigmoid", math_sigmoid, twin_sigmoid, 2.5},
    {"softplus", math_softplus, twin_softplus, 2.5},
    {"sin", math_sin, sin, 1.75},
    {"cos", math_cos, cos, 1.75},
    {"sqrt", emit_sqrt, sqrt, 0.5},
    {"rsqrt", emit_rsqrt, twin_rsqrt, 1.5},
};
enum { N_UNARY = sizeof unary / sizeof *unary, BLOCK = 4096 };
static uint64_t sample_stride = 1009; /* prime; 1 with --exhaustive */
static bool wanted[N_UNARY];          /* of those whose names were given */

static float float_of(uint32_t bits) {
  float f;
  memcpy(&f, &bits, 4);
  return f;
}
static uint32_t bits_of(float f) {
  uint32_t u;
  memcpy(&u, &f, 4);
  return u;
}

/* for (i = 0; i < n; i += 16) y[i..] = fn(x[i..]), or one at a time */
static void emit_unary(Jig *j, const char *name, EmitUnary fn, bool scalar) {
  Emit *e = &j->e;
  LLVMValueRef f = jig_function(j, name, 2, 1);
  EmLoop l = em_loop_begin(e, "i", em_i64(e, 0), LLVMGetParam(f, 2), scalar ? 1 : EMIT_LANES);
  LLVMValueRef from = em_gep(e, e->f32, LLVMGetParam(f, 0), l.i),
               to = em_gep(e, e->f32, LLVMGetParam(f, 1), l.i);
  if (scalar) LLVMBuildStore(e->b, fn(e, LLVMBuildLoad2(e->b, e->f32, from, "")), to);
  else em_store16(e, fn(e, em_load16(e, e->f32, from, NULL)), to, NULL);
  em_loop_end(e, &l);
  LLVMBuildRetVoid(e->b);
}

typedef struct Code {
  Jig jig;
  VectorFn fn[N_UNARY], scalar[N_UNARY];
  VectorFn power;
} Code;
static Code native, v3;

static void emit_power(Jig *j) { /* x[n], y[n] behind it */
  Emit *e = &j->e;
  LLVMValueRef f = jig_function(j, "power", 2, 1);
  EmLoop l = em_loop_begin(e, "i", em_i64(e, 0), LLVMGetParam(f, 2), EMIT_LANES);
  LLVMValueRef y_at = LLVMBuildAdd(e->b, l.i, LLVMGetParam(f, 2), "");
  LLVMValueRef x = em_load16(e, e->f32, em_gep(e, e->f32, LLVMGetParam(f, 0), l.i), NULL);
  LLVMValueRef y = em_load16(e, e->f32, em_gep(e, e->f32, LLVMGetParam(f, 0), y_at), NULL);
  em_store16(e, math_pow(e, x, y), em_gep(e, e->f32, LLVMGetParam(f, 1), l.i), NULL);
  em_loop_end(e, &l);
  LLVMBuildRetVoid(e->b);
}

static void load_code(Code *c, const char *cpu) {
  TargetInfo t;
  char name[64];
  jig_target(&t, cpu);
  jig_open(&c->jig, &t);
  for (int i = 0; i < N_UNARY; i++) {
    emit_unary(&c->jig, unary[i].name, unary[i].emit, false);
    snprintf(name, sizeof name, "%s_scalar", unary[i].name);
    emit_unary(&c->jig, name, unary[i].emit, true);
  }
  emit_power(&c->jig);
  jig_load(&c->jig, NULL);
  for (int i = 0; i < N_UNARY; i++) {
    *(void **)&c->fn[i] = jig_symbol(&c->jig, unary[i].name);
    snprintf(name, sizeof name, "%s_scalar", unary[i].name);
    *(void **)&c->scalar[i] = jig_symbol(&c->jig, name);
  }
  *(void **)&c->power = jig_symbol(&c->jig, "power");
}

/* Distance of got from want in units in the last place of want's float. */
static double ulp_error(float got, double want) {
  const double far = fabs(want), off = fabs((double)got - want);
  uint64_t bits;
  memcpy(&bits, &far, sizeof bits);
  const uint64_t least = 1023 - 126, exponent = bits >> 52;
  if (far < 0x1.fffffcp127 && off < INFINITY) { /* 1 / unit, from bits: this is asked for every float */
    const uint64_t inverse = (2046 - (exponent < least ? least : exponent) + 23) << 52;
    double per_unit;
    memcpy(&per_unit, &inverse, sizeof per_unit);
    return off * per_unit;
  }
  if (isnan(want)) return isnan(got) ? 0 : INFINITY;
  const float nearest = (float)want;
  if (isinf(nearest) && isinf(got)) return (nearest > 0) == (got > 0) ? 0 : INFINITY;
  if (isinf(nearest) || isinf(got)) /* overflow: the other must lie beyond the largest float but for one unit */
    return fabs((double)(isinf(got) ? nearest : got)) >= 0x1.fffffcp127 && !isinf(want) ? 1 : INFINITY;
  return off * 0x1p-104;
}

typedef struct Worst {
  double ulp;
  float at, got;
  double want;
} Worst;

static void same_bits(int i, const float *x, const float *y, const float *other, const char *which) {
  for (int k = 0; memcmp(y, other, BLOCK * sizeof *y) != 0 && k < BLOCK; k++)
    if (bits_of(y[k]) != bits_of(other[k]) && !(isnan(y[k]) && isnan(other[k])))
      fail_msg("%s(%a): %a with this CPU's vectors, %a %s", unary[i].name, (double)x[k], (double)y[k], (double)other[k], which);
}

static void try_block(int i, const float *x, Worst *w) {
  static float y[BLOCK], other[BLOCK];
  native.fn[i](x, y, BLOCK);
  v3.fn[i](x, other, BLOCK), same_bits(i, x, y, other, "with AVX2");
  native.scalar[i](x, other, BLOCK), same_bits(i, x, y, other, "scalar");
  for (int k = 0; k < BLOCK; k++) {
    double want = unary[i].twin((double)x[k]), u = ulp_error(y[k], want);
    if (u > w->ulp) *w = (Worst){u, x[k], y[k], want};
  }
}

static void report(const char *name, const Worst *w, double bound) {
  print_message("%-9s max %.3f ulp at %a (got %a, want %a)\n", name, w->ulp, (double)w->at, (double)w->got,
                w->want);
  if (!(w->ulp <= bound)) fail_msg("%s: %.3f ulp exceeds the stated %.2f", name, w->ulp, bound);
}

static void test_all_floats(void **state) {
  (void)state;
  for (int i = 0; i < N_UNARY; i++) {
    Worst w = {0};
    float x[BLOCK];
    int n = 0;
    if (!wanted[i]) continue;
    for (uint64_t bits = 0; bits < 0x100000000u; bits += sample_stride) {
      x[n++] = float_of((uint32_t)bits);
      if (n == BLOCK) try_block(i, x, &w), n = 0;
    }
    while (n && n < BLOCK) x[n++] = 0;
    if (n) try_block(i, x, &w);
    report(unary[i].name, &w, unary[i].bound);
  }
}

static void test_dense_range(void **state) {
  (void)state;
  for (int i = 0; i < N_UNARY; i++) {
    Worst w = {0};
    float x[BLOCK];
    static const double reach[] = {1e-3, 1, 5, 20, 110, 1e4};
    for (size_t r = 0; r < sizeof reach / sizeof *reach; r++)
      for (int part = 0; part < 12; part++) {
        for (int k = 0; k < BLOCK; k++)
          x[k] = (float)(reach[r] * (2 * (part * BLOCK + k) / (12.0 * BLOCK) - 1));
        try_block(i, x, &w);
      }
    report(unary[i].name, &w, unary[i].bound);
  }
}

static void test_special_values(void **state) {
  (void)state;
  static const float s[] = {0.0f,
                            -0.0f,
                            0x1p-149f,
                            -0x1p-149f,
                            0x1p-126f,
                            -0x1p-126f,
                            0x1.fffffep-127f,
                            1,
                            -1,
                            0.5f,
                            2,
                            0x1.62e42ep+6f,
                            0x1.62e430p+6f,
                            0x1.62e432p+6f,
                            -0x1.9fe368p+6f,
                            -0x1.9d1da0p+6f,
                            -103.97f,
                            -104.0f,
                            89,
                            0x1.fffffep127f,
                            -0x1.fffffep127f,
                            INFINITY,
                            -INFINITY,
                            NAN,
                            0x1p24f,
                            0x1p30f,
                            0x1p100f};
  for (int i = 0; i < N_UNARY; i++) {
    float x[BLOCK] = {0}, y[BLOCK];
    Worst w = {0};
    memcpy(x, s, sizeof s);
    try_block(i, x, &w);
    report(unary[i].name, &w, unary[i].bound);
    native.fn[i](x, y, BLOCK);
    double (*twin)(double) = unary[i].twin;
    for (size_t k = 0; k < sizeof s / sizeof *s; k++)
      if (!isnan(twin((double)s[k])) && twin((double)s[k]) == 0) /* the sign of zero */
        assert_int_equal(signbit(y[k]) != 0, signbit(twin((double)s[k])) != 0);
  }
}

static void test_pow(void **state) {
  (void)state;
  static const float s[] = {0,  -0.0f,          0x1p-149f,       0x1p-126f, 0.5f,
                            1,  0x1.fffffep-1f, 0x1.000002p+0f,  2,         3,
                            10, 1e10f,          0x1.fffffep127f, INFINITY,  NAN};
  static const float t[] = {0,   -0.0f, 1,      -1,   0.5f,  -0.5f,    2,         3,
                            100, -149,  127.5f, 1e8f, -1e8f, INFINITY, -INFINITY, NAN};
  enum { NS = sizeof s / sizeof *s, NT = sizeof t / sizeof *t };
  Worst w = {0};
  static float in[2 * BLOCK], y[BLOCK], y3[BLOCK];
  for (int round = 0; round < 60; round++) {
    for (int k = 0; k < BLOCK; k++) {
      float u = rng_uniform(5, 1, (uint64_t)round, (uint32_t)k, 0),
            v = rng_uniform(5, 2, (uint64_t)round, (uint32_t)k, 0);
      float spread = round % 3 == 0 ? 1.0f : round % 3 == 1 ? 20.0f : 120.0f;
      in[k] = exp2f((2 * u - 1) * spread), in[BLOCK + k] = (2 * v - 1) * 160.0f / spread;
    }
    if (round == 0)
      for (int k = 0; k < NS * NT; k++) in[k] = s[k % NS], in[BLOCK + k] = t[k / NS];
    native.power(in, y, BLOCK), v3.power(in, y3, BLOCK);
    for (int k = 0; k < BLOCK; k++) {
      double want = pow((double)in[k], (double)in[BLOCK + k]), u = ulp_error(y[k], want);
      if (in[k] == 0 && signbit(in[k])) want = fabs(want), u = ulp_error(y[k], want);
      if (u > w.ulp) w = (Worst){u, in[k], y[k], want};
      if (bits_of(y[k]) != bits_of(y3[k]) && !isnan(y[k]))
        fail_msg("pow(%a, %a) differs with AVX2", (double)in[k], (double)in[BLOCK + k]);
    }
  }
  report("pow", &w, 0.6);
  in[0] = -2, in[BLOCK] = 2; /* outside the domain */
  native.power(in, y, BLOCK);
  assert_true(isnan(y[0]));
}

static void
philox_code(Jig *j, bool scalar) { /* out[4][16] words, out[4] uniforms; counters in[4][16], key in[4..5] */
  Emit *e = &j->e;
  LLVMValueRef f = jig_function(j, scalar ? "philox1" : "philox16", 2, 0), ctr[4], key[2], out[4];
  for (int i = 0; i < 6; i++) {
    LLVMValueRef at = em_gep(e, e->i32, LLVMGetParam(f, 0), em_i64(e, 16 * i));
    LLVMValueRef word = scalar ? LLVMBuildLoad2(e->b, e->i32, at, "") : em_load16(e, e->i32, at, NULL);
    *(i < 4 ? &ctr[i] : &key[i - 4]) = word;
  }
  math_philox(e, ctr, key, out);
  for (int i = 0; i < 5; i++) {
    LLVMValueRef at = em_gep(e, e->i32, LLVMGetParam(f, 1), em_i64(e, 16 * i)),
                 v = i < 4 ? out[i] : math_uniform(e, out[0]);
    if (scalar) LLVMBuildStore(e->b, v, at);
    else em_store16(e, v, at, NULL);
  }
  LLVMBuildRetVoid(e->b);
}

static void test_philox(void **state) {
  (void)state;
  for (int target = 0; target < 2; target++) {
    Jig j;
    TargetInfo t;
    jig_target(&t, target ? "x86-64-v3" : "native");
    jig_open(&j, &t);
    philox_code(&j, false), philox_code(&j, true);
    jig_load(&j, NULL);
    void (*wide)(uint32_t *, uint32_t *), (*one)(uint32_t *, uint32_t *);
    *(void **)&wide = jig_symbol(&j, "philox16"), *(void **)&one = jig_symbol(&j, "philox1");
    uint32_t in[6][16], out[5][16], single[5][16];
    /* Random123's known answers for philox4x32-10 in lanes 0-2, arbitrary words behind */
    static const uint32_t known[3][6] = {
        {0},
        {~0u, ~0u, ~0u, ~0u, ~0u, ~0u},
        {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0}};
    static const uint32_t answer[3][4] = {{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
                                          {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
                                          {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}};
    for (uint32_t l = 0; l < 16; l++)
      for (uint32_t i = 0; i < 6; i++) in[i][l] = l < 3 ? known[l][i] : 2654435761u * (l * 7 + i + 1);
    wide(&in[0][0], &out[0][0]);
    for (int l = 0; l < 16; l++) {
      uint32_t ctr[4] = {in[0][l], in[1][l], in[2][l], in[3][l]}, key[2] = {in[4][l], in[5][l]}, want[4];
      rng_philox(ctr, key, want);
      for (int i = 0; i < 4; i++) assert_int_equal(out[i][l], l < 3 ? answer[l][i] : want[i]);
      assert_int_equal(out[4][l], bits_of((float)(want[0] >> 8) * 0x1p-24f));
    }
    one(&in[0][0], &single[0][0]);
    for (int i = 0; i < 5; i++) assert_int_equal(single[i][0], out[i][0]);
    jig_close(&j);
  }
}

/* [--stride N | --exhaustive] [NAME..]; then only all floats are looked at. */
static bool take_arguments(int argc, char **argv) {
  int at = 1;
  if (argc > 2 && !strcmp(argv[1], "--stride") && atoll(argv[2]) > 0) sample_stride = (uint64_t)atoll(argv[2]), at = 3;
  if (argc > 1 && !strcmp(argv[1], "--exhaustive")) sample_stride = 1, at = 2;
  for (int i = 0; i < N_UNARY; i++) {
    wanted[i] = at >= argc;
    for (int k = at; k < argc; k++) wanted[i] |= !strcmp(argv[k], unary[i].name);
  }
  return at > 1;
}

int main(int argc, char **argv) {
  if (argc > 1 && !strcmp(argv[1], "--list")) {
    for (int i = 0; i < N_UNARY; i++) puts(unary[i].name);
    return 0;
  }
  const bool only_floats = take_arguments(argc, argv);
  LLVMInitializeX86TargetInfo();
  load_code(&native, "native");
  load_code(&v3, "x86-64-v3");
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_special_values), cmocka_unit_test(test_dense_range), cmocka_unit_test(test_all_floats),
                                     cmocka_unit_test(test_pow), cmocka_unit_test(test_philox)},
                          floats[] = {cmocka_unit_test(test_all_floats)};
  const int failed = only_floats ? cmocka_run_group_tests(floats, NULL, NULL) : cmocka_run_group_tests(tests, NULL, NULL);
  jig_close(&native.jig), jig_close(&v3.jig);
  return failed;
}
