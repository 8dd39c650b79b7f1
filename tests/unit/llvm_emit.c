/* SPDX-License-Identifier: Apache-2.0
 * llvm_emit.c -- compiled code against the interpreter: random graphs over all operations, planned by coin,
 * on several row counts; bits equal for every thread count and for both instruction sets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "llvm_run.h"

#define MAX_ROWS 23

static uint32_t seen_op[OP_COUNT];

/* f32 against double, values bounded by 30 and mostly by 4; chains of at most a few dozen operations. */
static bool close_enough(double want, double got) {
  return fabs(want - got) <= 2e-4 + 2e-4 * fabs(want) || (isnan(want) && isnan(got));
}

static void compare(const RandomGraph *r, const PlanFn *f, uint64_t seed, const Run *run, Arena *a,
                    const EvalInput *in, const EvalResult *want, const char *what) {
  for (uint32_t i = 0; i < r->g->n_roots; i++) {
    ValueId v = r->g->roots[i].value;
    const double *got = run_root(run, a, f, i, in);
    Shape s = eval_extents(in, &r->g->v[v].shape);
    int64_t n = shape_count(&s, 0);
    for (int64_t x = 0; x < n; x++) {
      if (close_enough(want->value[v][x], got[x])) continue;
      fprintf(stderr, "seed %llu %s rows %lld: root %u %%%u (%s) element %lld: %.9g, expected %.9g\n",
              (unsigned long long)seed, what, (long long)in->rows, i, v, op_name(r->g->v[v].op), (long long)x,
              got[x], want->value[v][x]);
      if (getenv("LLVM_RUN_VERBOSE")) graph_print(r->g, stderr);
      fail();
    }
  }
}

static void run_all(const RandomGraph *r, uint64_t seed, const Plan *p, const Code *native, const Code *v3,
                    int64_t rows) {
  Arena *a = arena_create();
  EvalInput in = random_input(a, r, rows, seed);
  int32_t *datum = ARENA_NEWS(a, int32_t, rows);
  for (int64_t i = 0; i < rows; i++) datum[i] = run_datum(i);
  in.datum = datum;
  EvalResult want = graph_eval(r->g, a, &in);
  static const int threads[] = {1, 2, 4, 1};
  Run first = {0};
  for (int t = 0; t < 4; t++) {
    const Code *code = t == 3 ? v3 : native;
    Run run;
    run_open(&run, a, p, code->job.train.fn.work_bytes, &in);
    run_threads(&run, code->job.train.fn.entry, threads[t]);
    compare(r, &p->train, seed, &run, a, &in, &want, t == 3 ? "x86-64-v3" : "native");
    if (t == 0) {
      first = run;
      continue;
    }
    for (uint32_t i = 0; i < r->g->n_roots; i++) { /* the same bits */
      Shape s = eval_extents(&in, &r->g->v[r->g->roots[i].value].shape);
      int64_t n = shape_count(&s, 0);
      double *x = run_root(&first, a, &p->train, i, &in), *y = run_root(&run, a, &p->train, i, &in);
      if (!memcmp(x, y, (size_t)n * sizeof *x)) continue;
      fprintf(stderr, "seed %llu root %u: bits differ with %d threads%s\n", (unsigned long long)seed, i,
              threads[t], t == 3 ? ", v3" : "");
      fail();
    }
    run_close(&run);
  }
  run_close(&first);
  arena_destroy(a);
}

static Plan *plan_for(Arena *a, Program *prog, const char *target, uint64_t seed, bool by_coin) {
  TargetInfo t;
  assert_true(backend_target(target, &t));
  if (by_coin) return coin_plan(a, prog, &t, MAX_ROWS, seed);
  prog->train.batch = MAX_ROWS;
  const PlanOptions o = {
      .reuse_memory = seed % 4 != 0, .force_blas = seed % 7 == 0, .no_fuse = seed % 5 == 0};
  Plan *p = plan_make(a, prog, &t, &o);
  const char *why = plan_verify(p);
  if (why) fprintf(stderr, "seed %llu: %s\n", (unsigned long long)seed, why);
  assert_null(why);
  return p;
}

static bool one_graph(uint64_t seed, uint32_t n_ops, bool by_coin) {
  Arena *a = arena_create();
  RandomGraph *r = random_graph(
      a, seed, (RandomOptions){.n_ops = n_ops, .rows_lead = seed % 3 != 0, .no_adjtap = !by_coin});
  Program *prog = random_program(a, r);
  Plan *p = plan_for(a, prog, "native", seed, by_coin), *q = plan_for(a, prog, "x86-64-v3", seed, by_coin);
  if (p) {
    Code native, other;
    code_open(&native, a, p);
    code_open(&other, a, q);
    for (ValueId v = 1; v < r->g->n; v++) seen_op[r->g->v[v].op]++;
    static const int64_t rows[] = {1, MAX_ROWS, 17};
    for (int i = 0; i < 3; i++) run_all(r, seed, p, &native, &other, rows[i]);
    code_close(&native);
    code_close(&other);
  }
  arena_destroy(a);
  return p != NULL;
}

/* How many of the graphs could be planned. LLVM_RUN_SEED and LLVM_RUN_COUNT repeat single ones. */
static uint64_t many_graphs(uint64_t from, uint64_t n, bool by_coin) {
  if (getenv("LLVM_RUN_SEED")) from = strtoull(getenv("LLVM_RUN_SEED"), NULL, 10), n = 1;
  if (getenv("LLVM_RUN_COUNT")) n = strtoull(getenv("LLVM_RUN_COUNT"), NULL, 10);
  uint64_t planned = 0;
  for (uint64_t seed = from; seed < from + n; seed++)
    planned += one_graph(seed, 4 + (uint32_t)(seed % 30), by_coin);
  return planned;
}

static void random_graphs_planned_by_coin(void **state) {
  (void)state;
  assert_true(many_graphs(1, 40, true) > 20 || getenv("LLVM_RUN_SEED"));
}

static void random_graphs_planned(void **state) {
  (void)state;
  many_graphs(1001, 40, false);
}

static void every_operation_occurred(void **state) {
  (void)state;
  if (getenv("LLVM_RUN_SEED")) return;
  for (int op = 1; op < OP_CALL; op++) { /* calls: unit.llvm_call */
    if (!seen_op[op]) fprintf(stderr, "%s never occurred\n", op_name((Op)op));
    assert_true(seen_op[op]);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(random_graphs_planned_by_coin),
                                     cmocka_unit_test(random_graphs_planned),
                                     cmocka_unit_test(every_operation_occurred)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
