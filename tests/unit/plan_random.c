/* SPDX-License-Identifier: Apache-2.0
 * Random graphs over all operations, planned with every option: each plan must satisfy plan_verify, and the
 * function's own graph must compute what the original computes. */
#include "plan_net.h"
#include "random_graph.h"

static void same_roots(const Graph *a, const Graph *b, Arena *arena, const EvalInput *in) {
  EvalResult x = graph_eval(a, arena, in), y = graph_eval(b, arena, in);
  for (uint32_t i = 0; i < a->n_roots; i++) {
    const double *p = x.value[a->roots[i].value], *q = y.value[b->roots[i].value];
    Shape s = eval_extents(in, &a->v[a->roots[i].value].shape);
    int64_t n = shape_count(&s, 0);
    for (int64_t k = 0; k < n; k++)
      if (!(fabs(p[k] - q[k]) <= 1e-9 * (1 + fabs(p[k]))) && !(p[k] != p[k] && q[k] != q[k]))
        fail_msg("%s: root %u element %lld: %g, planned %g", a->name, i, (long long)k, p[k], q[k]);
  }
}

static void plan_all_ways(uint64_t seed, RandomOptions options) {
  Arena *a = arena_create();
  RandomGraph *r = random_graph(a, seed, options);
  Program *p = random_program(a, r);
  EvalInput in = random_input(a, r, 5, seed);
  for (int way = 0; way < 8; way++) {
    PlanOptions o = {.reuse_memory = way & 1, .no_fuse = way & 2, .force_blas = way & 4};
    TargetInfo t = net_target(way == 7 ? 4 : 16);
    Plan *plan = plan_make(a, p, &t, &o);
    const char *why = plan_verify(plan);
    if (why) {
      graph_print(r->g, stderr);
      plan_print(plan, stderr);
      fail_msg("seed %llu way %d: %s", (unsigned long long)seed, way, why);
    }
    const char *graph = graph_verify((Graph *)(uintptr_t)plan->train.graph);
    if (graph && !strstr(graph, "the same column in two ways"))
      fail_msg("%s", graph); /* planned: flat and shaped */
    if (way == 0 || way == 3) same_roots(r->g, plan->train.graph, a, &in);
    assert_true(plan->train.work_bytes <= plan->train.work_unshared);
  }
  arena_destroy(a);
}

static uint64_t count_of(const char *name, uint64_t usual) {
  const char *text = getenv(name);
  return text ? strtoull(text, NULL, 10) : usual;
}

static void small_graphs(void **state) {
  (void)state;
  uint64_t n = count_of("ROUTEC_RANDOM_GRAPHS", 400);
  for (uint64_t seed = 1; seed <= n; seed++)
    plan_all_ways(seed, (RandomOptions){.n_ops = 8 + (uint32_t)(seed % 23)});
}

static void large_graphs(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 40; seed++)
    plan_all_ways(seed * 7919, (RandomOptions){.n_ops = 150, .rows_lead = seed & 1, .max_elems = 256});
}

/* Parameters and states that become values of the graph, among them each other's old values. */
static void in_place(uint64_t seed) {
  Arena *a = arena_create();
  RandomGraph *r = random_graph(a, seed, (RandomOptions){.n_ops = 30, .no_rows = seed % 3 == 0});
  Program *p = random_program(a, r);
  uint64_t pick = seed;
  for (uint32_t k = 0; k < r->n_params; k++) {
    ValueId fits[256];
    uint32_t n = 0;
    for (ValueId v = 1; v < r->g->n && n < 256; v++)
      if (r->g->v[v].dtype == DT_F32 && shape_equal(&r->g->v[v].shape, &r->param_shape[k])) fits[n++] = v;
    for (uint32_t s = 0; n && s <= r->n_states[k]; s++)
      graph_root(r->g, s ? ROOT_STATE : ROOT_PARAM, k, s ? s - 1 : 0, fits[rg_next(&pick) % n]);
  }
  EvalInput in = random_input(a, r, 4, seed);
  for (int way = 0; way < 2; way++) {
    PlanOptions o = {.reuse_memory = true, .no_fuse = way == 1};
    Plan *plan = net_plan(&(Net){.arena = a, .p = p}, &o);
    const char *why = plan_verify(plan);
    if (why) {
      graph_print(r->g, stderr);
      plan_print(plan, stderr);
      fail_msg("seed %llu way %d: %s", (unsigned long long)seed, way, why);
    }
    same_roots(r->g, plan->train.graph, a, &in);
  }
  arena_destroy(a);
}

static void updates_in_place(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 200; seed++) in_place(seed);
}

static void plans_are_deterministic(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 20; seed++) {
    uint64_t hash[2];
    for (int i = 0; i < 2; i++) {
      Arena *a = arena_create();
      RandomGraph *r = random_graph(a, seed, (RandomOptions){.n_ops = 40});
      hash[i] = net_plan(&(Net){.arena = a, .p = random_program(a, r)}, NULL)->hash;
      arena_destroy(a);
    }
    assert_true(hash[0] == hash[1]);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(small_graphs), cmocka_unit_test(large_graphs),
                                     cmocka_unit_test(updates_in_place),
                                     cmocka_unit_test(plans_are_deterministic)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
