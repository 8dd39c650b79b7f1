/* SPDX-License-Identifier: Apache-2.0
 * Emitted elementary functions: nanoseconds an element, arguments and results in L2, on one thread.
 *   bench_math [-c cpu] [-r rounds] [-q quantile]
 * A copy is measured beside them: what reading and writing alone costs. All take turns; the clock is the thread's own processor
 * time; figures are the given quantile over the rounds (10: the lower decile). tests/unit/llvm_math.c holds the values. */
#include "llvm_jig.h"
#include <math.h>

typedef LLVMValueRef (*EmitUnary)(Emit *, LLVMValueRef);
typedef void (*VectorFn)(const float *x, float *y, int64_t n);
typedef struct Entry {
  const char *name;
  EmitUnary emit;
  double lo, hi; /* of the arguments */
} Entry;

static LLVMValueRef number(Emit *e, double v) { return em_splat(e, LLVMConstReal(e->f32, v)); }
static LLVMValueRef mul(Emit *e, LLVMValueRef a, LLVMValueRef b) { return LLVMBuildFMul(e->b, a, b, ""); }
static LLVMValueRef copy(Emit *e, LLVMValueRef x) { return (void)e, x; }

/* x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) */
static LLVMValueRef gelu(Emit *e, LLVMValueRef x) {
  LLVMValueRef cube = mul(e, mul(e, x, x), mul(e, x, number(e, 0.044715)));
  LLVMValueRef inner = mul(e, number(e, 0.7978845608), LLVMBuildFAdd(e->b, x, cube, ""));
  return mul(e, mul(e, number(e, 0.5), x), LLVMBuildFAdd(e->b, number(e, 1), math_tanh(e, inner), ""));
}
static LLVMValueRef root(Emit *e, LLVMValueRef x) { return em_intrinsic(e, "llvm.sqrt", LLVMTypeOf(x), &x, 1); }
static LLVMValueRef inverse(Emit *e, LLVMValueRef x) { return LLVMBuildFDiv(e->b, number(e, 1), x, ""); }
static LLVMValueRef power(Emit *e, LLVMValueRef x) { return math_pow(e, x, number(e, 1.7)); }

static const Entry entries[] = {{"copy", copy, -4, 4},           {"exp", math_exp, -20, 20},       {"log", math_log, 1e-6, 20},
                                {"tanh", math_tanh, -4, 4},      {"erf", math_erf, -4, 4},         {"sigmoid", math_sigmoid, -8, 8},
                                {"softplus", math_softplus, -8, 8}, {"sin", math_sin, -7, 7},      {"cos", math_cos, -7, 7},
                                {"gelu (tanh)", gelu, -4, 4},    {"sqrt", root, 0, 20},            {"1/x", inverse, 0.1, 20},
                                {"x^1.7", power, 1e-3, 20}};
enum { N = sizeof entries / sizeof *entries, ELEMENTS = 32768, REPEATS = 8, MAX_ROUNDS = 400 };

static void emit_loop(Jig *j, const Entry *x, int number_of) {
  Emit *e = &j->e;
  char name[16];
  snprintf(name, sizeof name, "f%d", number_of);
  LLVMValueRef f = jig_function(j, name, 2, 1);
  EmLoop l = em_loop_begin(e, "i", em_i64(e, 0), LLVMGetParam(f, 2), EMIT_LANES);
  LLVMValueRef from = em_gep(e, e->f32, LLVMGetParam(f, 0), l.i), to = em_gep(e, e->f32, LLVMGetParam(f, 1), l.i);
  em_store16(e, x->emit(e, em_load16(e, e->f32, from, NULL)), to, NULL);
  em_loop_end(e, &l);
  LLVMBuildRetVoid(e->b);
}

static double thread_seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

static void measure(VectorFn *fn, int rounds, int quantile) {
  static double ns[N][MAX_ROUNDS];
  float *x[N], *y = aligned_alloc(64, ELEMENTS * sizeof(float));
  if (!y) jig_die("memory", "results");
  for (int k = 0; k < N; k++) {
    if (!(x[k] = aligned_alloc(64, ELEMENTS * sizeof(float)))) jig_die("memory", "arguments");
    for (int i = 0; i < ELEMENTS; i++) /* all over the range, in no order */
      x[k][i] = (float)(entries[k].lo + (entries[k].hi - entries[k].lo) * ((double)((uint32_t)i * 2654435761u) / 4294967296.0));
  }
  for (int r = 0; r < rounds; r++)
    for (int k = 0; k < N; k++) {
      fn[k](x[k], y, ELEMENTS); /* into the cache */
      const double began = thread_seconds();
      for (int i = 0; i < REPEATS; i++) fn[k](x[k], y, ELEMENTS);
      ns[k][r] = (thread_seconds() - began) * 1e9 / REPEATS / ELEMENTS;
    }
  for (int k = 0; k < N; k++) {
    qsort(ns[k], (size_t)rounds, sizeof **ns, by_value);
    printf("  %-12s %.3f ns an element\n", entries[k].name, ns[k][(rounds - 1) * quantile / 100]);
    free(x[k]);
  }
  free(y);
}

int main(int argc, char **argv) {
  const char *cpu = "native";
  int rounds = 100, quantile = 50;
  for (int c; (c = getopt(argc, argv, "c:r:q:")) != -1;) {
    if (c == 'c') cpu = optarg;
    else if (c == 'r') rounds = atoi(optarg);
    else if (c == 'q') quantile = atoi(optarg);
    else return 2;
  }
  if (rounds < 1 || rounds > MAX_ROUNDS || quantile < 0 || quantile > 100 || optind < argc) {
    fprintf(stderr, "usage: bench_math [-c native|x86-64-v3|x86-64-v4] [-r rounds, at most %d] [-q 0 to 100]\n", MAX_ROUNDS);
    return 2;
  }
  TargetInfo t;
  Jig j;
  VectorFn fn[N];
  jig_target(&t, cpu);
  jig_open(&j, &t);
  for (int k = 0; k < N; k++) emit_loop(&j, &entries[k], k);
  jig_load(&j, NULL);
  for (int k = 0; k < N; k++) {
    char name[16];
    snprintf(name, sizeof name, "f%d", k);
    *(void **)&fn[k] = jig_symbol(&j, name);
  }
  printf("%s, %d elements (%d KiB read, as many written), quantile %d of %d rounds\n", cpu, ELEMENTS, ELEMENTS / 256, quantile, rounds);
  measure(fn, rounds, quantile);
  jig_close(&j);
  return 0;
}
