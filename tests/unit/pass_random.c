/* SPDX-License-Identifier: Apache-2.0
 * simplify on random graphs: every root keeps its value, and a second run finds nothing to add. */
#include "compiler.h"
#include "random_graph.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

static double worst_difference(const Graph *g, const EvalResult *a, ValueId va, const EvalResult *b,
                               ValueId vb, double bound, const EvalInput *in) {
  Shape s = eval_extents(in, &ir_value(g, va)->shape);
  int64_t n = shape_count(&s, 0);
  double worst = 0;
  for (int64_t i = 0; i < n; i++) {
    double x = a->value[va][i], y = b->value[vb][i];
    if (isnan(x) && isnan(y)) continue;
    double d = fabs(x - y) / (1 + bound);
    if (!(d <= worst)) worst = d;
  }
  return worst;
}

static void simplify_keeps_every_root(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 300; seed++) {
    Arena *a = arena_create();
    const RandomGraph *r = random_graph(a, seed, (RandomOptions){.n_ops = 40});
    EvalInput in = random_input(a, r, 7, seed);
    Graph *t = pass_simplify(r->g, a);
    const char *why = graph_verify(t);
    if (why) fail_msg("seed %llu: %s", (unsigned long long)seed, why);
    assert_int_equal(t->n_roots, r->g->n_roots);
    assert_true(t->n <= r->g->n);
    EvalResult before = graph_eval(r->g, a, &in), after = graph_eval(t, a, &in);
    for (uint32_t i = 0; i < t->n_roots; i++) {
      ValueId v = r->g->roots[i].value;
      double d = worst_difference(r->g, &before, v, &after, t->roots[i].value, r->note[v].bound, &in);
      if (!(d < 1e-5)) fail_msg("seed %llu: root %u differs by %g", (unsigned long long)seed, i, d);
    }
    Graph *again = pass_simplify(t, a);
    if (again->n > t->n) fail_msg("seed %llu: simplify grew its own result", (unsigned long long)seed);
    arena_destroy(a);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(simplify_keeps_every_root)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
