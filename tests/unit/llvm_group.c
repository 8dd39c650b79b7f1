/* SPDX-License-Identifier: Apache-2.0
 * llvm_group.c -- rows grouped by class: the graph with row sets computes what the graph without computes, in the
 * interpreter and compiled, for batches in which some groups are empty; equal bits for all numbers of threads and
 * both instruction sets; and it is smaller where it should be. */
#include "check_jig.h"
#include "llvm_run.h"

enum { ROWS = 37 };

#define HEAD                                                                                                           \
  "edition 1\n"                                                                                                        \
  "data d { source = csv(\"x.csv\", pixels = 0 .. 24, digit = 24)\n"                                                   \
  "  image: f32[24] = source.pixels\n  label: int in 0 ..= 9 = source.digit }\n"                                       \
  "class low = label in 0 ..= 2\n"
#define TAIL                                                                                                           \
  "loss l = cross_entropy(logits, label)\n"                                                                            \
  "optimize adam(lr = 1e-3, weight_decay = 0.01) { masked = freeze }\ntrain { batch = 37; for = 1 epochs }\n"
#define DEEP                                                                                                           \
  "model { a = image |> fc0: linear(40) |> relu\n  h = a |> fc1: linear(32) |> tanh\n"                                  \
  "  c = h |> fc2: linear(20) |> relu\n  logits = c |> fc3: linear(10) }\n"

static const struct {
  const char *name, *text;
  bool groups; /* the auto setting groups rows */
} specs[] = {
    {"a class of few units", HEAD DEEP "split h { f = 0 .. 2; r = rest }\n"
                                       "route one: gradient of h { when low to f; otherwise to r }\n" TAIL, true},
    {"a class that trains nothing below", HEAD DEEP "route one: gradient of a { when low to none; otherwise to all }\n" TAIL, true},
    {"three groups, scattered units", HEAD DEEP "class mid = label in 3 ..= 5\n"
     "split h { f = [1, 5, 9, 20, 31]; g = [0, 2, 3]; r = rest }\n"
     "route one: gradient of h { when low to f; when mid to { f = 0.5; g = 1.0; r = 0.0 }; otherwise to r }\n" TAIL, true},
    {"two routes, overlapping classes", HEAD DEEP "class odd = label in [1, 3, 5, 7, 9]\n"
     "split h { f = 4 .. 8; r = rest }\nsplit a { p = 0 .. 8; q = rest }\n"
     "route one: gradient of h { when low to f; otherwise to r }\n"
     "route two: gradient of a { when odd to p; otherwise to { p = 0.25; q = 1.0 } }\n" TAIL, true},
    {"hidden values", HEAD DEEP "split h { f = 0 .. 4; r = rest }\n"
                                "route one: value of h { when low to f; otherwise to { f = 0.0; r = 0.5 } }\n" TAIL, true},
    {"values and gradients", HEAD DEEP "class mid = label in 3 ..= 5\n"
     "split h { f = 0 .. 4; r = rest }\nsplit c { m = 5 .. 9; n = rest }\n"
     "route one: value of h { when low to f; otherwise to r }\n"
     "route two: gradient of c { when mid to m; otherwise to all }\n" TAIL, true},
    {"units that nothing trains", HEAD DEEP
     "split h { f = 8 .. 16; r = rest }\n"
     "route one: gradient of h { when low to { f = 0.0; r = 1.0 }; otherwise to { f = 0.0; r = 0.75 } }\n" TAIL, false},
    {"factors that block nothing", HEAD DEEP "split h { f = 8 .. 16; r = rest }\nroute one: gradient of h { when low to { f = 0.5; r = 1.0 }; otherwise to all }\n" TAIL, false},
    {"a scheduled strength", HEAD DEEP "split h { f = 0 .. 2; r = rest }\n"
                                       "route one: gradient of h { when low to f; otherwise to r } { strength = "
                                       "ramp(0, 1, over = 2 epochs) }\n" TAIL, false},
    {"channels", HEAD "model { a = reshape(image, [1, 4, 6]) |> k0: conv2d(12, kernel = 3, padding = 1) |> relu\n"
                      "  b = a |> k1: conv2d(6, kernel = 3) |> relu\n  logits = reshape(b, [48]) |> fc: linear(10) }\n"
                      "split a { f = 0 .. 3; r = rest }\n"
                      "route one: gradient of a { when low to f; otherwise to r }\n" TAIL, true},
    {"parameters by their rows and columns", HEAD DEEP "class mid = label in 3 ..= 5\n"
     "split h { f = [1, 5, 9, 20, 31]; g = [0, 2, 3]; r = rest }\n"
     "route one: parameters of h { when low to f; when mid to { f = 0.5; g = 1.0; shared = -0.75 }; otherwise to r + shared }\n" TAIL, true},
    {"parameters by rows alone", HEAD DEEP "split h { f = 0 .. 2; r = rest }\n"
     "route one: parameters of fc1 { when low to h.f; otherwise to shared }\n" TAIL, true},
    {"parameters whose rows and columns cross", HEAD DEEP "split h { f = 0 .. 4; r = rest }\nsplit c { f = 5 .. 9; r = rest }\n"
     "route one: parameters of h + c { when low to f; otherwise to r + shared } { cross = row }\n" TAIL, true},
    {"parameters that cross, of both parts' shared", HEAD DEEP "split h { f = 0 .. 4; r = rest }\nsplit c { f = 5 .. 9; r = rest }\n"
     "route one: parameters of h + c { when low to f; otherwise to { r = 1.0; shared = 0.5 } } { cross = shared }\n" TAIL, true},
    {"gradients, parameters and values", HEAD DEEP "class mid = label in 3 ..= 5\nclass odd = label in [1, 3, 5, 7, 9]\n"
     "split a { p = 0 .. 8; q = rest }\nsplit h { f = 0 .. 4; r = rest }\nsplit c { m = 5 .. 9; n = rest }\n"
     "route one: gradient of a { when odd to p; otherwise to { p = 0.25; q = 1.0 } }\n"
     "route two: parameters of h { when low to f; otherwise to { r = 1.0; shared = 0.5 } }\n"
     "route three: value of c { when mid to m; otherwise to { m = 0.0; n = 0.5 } }\n" TAIL, true},
    {"an embedding", HEAD "model { e = embedding(label, 10, 16)\n  h = (e * 2) |> fc0: linear(24) |> relu\n"
                          "  logits = (h + linear(image, 24)) |> fc1: linear(10) }\n"
                          "route one: gradient of e { when low to none; otherwise to all }\n" TAIL, true},
};

static bool close_to(double x, double y, double tolerance) { return fabs(x - y) <= tolerance * (1 + fabs(x)); }

/* Rows sorted by group, and where each row set begins. `draw`: which data the batch holds. */
typedef struct Sorted { EvalInput in; int64_t sets[IR_MAX_SETS][2]; } Sorted;

static uint32_t group_of(const Program *p, uint32_t kind) {
  for (uint32_t i = 0; i < p->n_kinds; i++)
    if (p->kinds[i] == kind) return p->groups.group_of_kind[i];
  fail_msg("kind %x is not feasible", kind);
  return 0;
}

static void sort_rows(Jig *j, const EvalInput *in, const Program *p, Sorted *out) {
  const ProgGroups *g = &p->groups;
  const ProgDerived *d = &p->derived[g->column];
  EvalResult bits = graph_eval(d->graph, j->a, in);
  const double *kind = bits.value[d->graph->roots[0].value];
  int64_t row[ROWS], n = 0, from[IR_MAX_SETS + 1] = {0};
  for (uint32_t i = 0; i < g->n_groups; i++) {
    from[i] = n;
    for (int64_t r = 0; r < in->rows; r++)
      if (group_of(p, (uint32_t)kind[r]) == i) row[n++] = r;
  }
  assert_true(n == in->rows);
  from[g->n_groups] = n;
  for (uint32_t s = 0; s < g->n_sets; s++) out->sets[s][0] = from[g->lo[s]], out->sets[s][1] = from[g->hi[s]] - from[g->lo[s]];
  double **columns = ARENA_NEWS(j->a, double *, p->n_columns + 1);
  int32_t *datum = ARENA_NEWS(j->a, int32_t, ROWS);
  for (uint32_t c = 0; c < p->n_columns; c++) {
    int64_t width = shape_count(&p->columns[c].shape, 1);
    columns[c] = ARENA_NEWS(j->a, double, width * ROWS);
    for (int64_t r = 0; r < in->rows; r++) memcpy(columns[c] + r * width, in->columns[c] + row[r] * width, (size_t)width * 8);
  }
  for (int64_t r = 0; r < in->rows; r++) datum[r] = in->datum[row[r]];
  out->in = *in;
  out->in.columns = (const double *const *)columns, out->in.datum = datum, out->in.sets = out->sets;
}

/* Labels of the batch: all ten, one class only, or another remainder. */
static EvalInput batch_of(Jig *j, int way) {
  jig_fill(j, way == 3 ? 11 : ROWS);
  int label = jig_column(j, "digit");
  int32_t *datum = ARENA_NEWS(j->a, int32_t, ROWS);
  const double *const **states = ARENA_NEWS(j->a, const double *const *, j->p->n_params + 1);
  for (int64_t r = 0; r < j->rows; r++) {
    datum[r] = run_datum(r);
    j->columns[label][r] = way == 1 ? (double)(r % 3) : way == 2 ? (double)(6 + r % 4) : j->columns[label][r];
  }
  for (uint32_t i = 0; i < j->p->n_params; i++) {
    int64_t n = shape_count(&j->p->params[i].shape, 1);
    double **k = ARENA_NEWS(j->a, double *, 4);
    for (int s = 0; s < 4; s++) {
      k[s] = ARENA_NEWS(j->a, double, n);
      for (int64_t e = 0; e < n; e++) k[s][e] = (double)(float)(0.3 + 0.2 * jig_noise(j->p->params[i].stream + 99 * (uint64_t)e + (uint64_t)s));
    }
    states[i] = (const double *const *)k;
    for (int64_t e = 0; e < n; e++) j->params[i][e] = (double)(float)j->params[i][e];
  }
  for (int64_t e = 0; e < 24 * j->rows; e++) j->columns[jig_column(j, "pixels")][e] = (double)(float)j->columns[jig_column(j, "pixels")][e];
  return (EvalInput){.rows = j->rows, .params = (const double *const *)j->params, .states = states,
                     .columns = (const double *const *)j->columns, .datum = datum, .scalars = j->scalars, .step = 3,
                     .total_steps = 100, .steps_per_epoch = 10, .seed = 1};
}

static Jig routed(size_t spec, int32_t group, Graph **plain) {
  Jig j = jig_spec(specs[spec].text);
  j.p->train.group_rows = group;
  pass_autodiff(j.p);
  pass_mask(j.p);
  pass_update(j.p, true);
  *plain = pass_simplify(j.p->step, j.a); /* folds constants as f32 */
  j.p->train.batch = 100 * ROWS; /* so that steps' own cost does not decide */
  pass_group(j.p);
  j.p->train.batch = ROWS;
  const char *why = graph_verify(j.p->step);
  if (why) fail_msg("%s: %s", specs[spec].name, why);
  return j;
}

static void compare_roots(size_t spec, int way, const Graph *a, const EvalInput *ia, const Graph *b, const EvalInput *ib, Arena *arena) {
  EvalResult x = graph_eval(a, arena, ia), y = graph_eval(b, arena, ib);
  assert_int_equal(a->n_roots, b->n_roots);
  for (uint32_t i = 0; i < a->n_roots; i++) {
    int64_t n = shape_count(&a->v[a->roots[i].value].shape, 0);
    for (int64_t e = 0; e < n; e++) {
      double p = x.value[a->roots[i].value][e], q = y.value[b->roots[i].value][e];
      if (!close_to(p, q, 1e-9))
        fail_msg("%s, batch %d: root %u (kind %d of %u) element %lld: %.12g, grouped %.12g", specs[spec].name, way, i,
                 (int)a->roots[i].kind, a->roots[i].a, (long long)e, p, q);
    }
  }
}

static void interpreter_agrees(void **state) {
  (void)state;
  for (size_t s = 0; s < sizeof specs / sizeof *specs; s++)
    for (int32_t group = -1; group <= 1; group++) {
      Graph *plain;
      Jig j = routed(s, group, &plain);
      const bool grouped = j.p->groups.n_sets > 0;
      if (group < 0 && grouped != specs[s].groups)
        fail_msg("%s: grouped %d: %s", specs[s].name, grouped, j.p->groups.why ? j.p->groups.why : "");
      if (group == 0) assert_true(!grouped);
      for (int way = 0; way < 4; way++) {
        EvalInput in = batch_of(&j, way);
        Sorted sorted = {.in = in};
        if (grouped) sort_rows(&j, &in, j.p, &sorted);
        compare_roots(s, way, plain, &in, j.p->step, &sorted.in, j.a);
      }
      jig_close(&j);
    }
}

static void compare_run(size_t spec, const Run *run, const Plan *p, const EvalInput *in, const EvalResult *want, Arena *a) {
  const Graph *g = p->program->step;
  for (uint32_t i = 0; i < g->n_roots; i++) {
    const Root *r = &g->roots[i];
    if (r->kind == ROOT_STATE || r->kind == ROOT_PARAM) continue; /* moments of 1e-9 are no test of sums */
    const double *got = run_root(run, a, &p->train, i, in);
    int64_t n = shape_count(&g->v[r->value].shape, 0);
    for (int64_t e = 0; e < n; e++)
      if (!close_to(want->value[r->value][e], got[e], 2e-5))
        fail_msg("%s: root %u element %lld: %.9g, compiled %.9g", specs[spec].name, i, (long long)e, want->value[r->value][e], got[e]);
  }
}

/* The bits of parameters and states after a step, for each number of threads and both instruction sets. */
static void compiled_agrees(void **state) {
  (void)state;
  for (size_t s = 0; s < sizeof specs / sizeof *specs; s++) {
    Graph *plain;
    Jig j = routed(s, 1, &plain);
    EvalInput batch[4];
    for (int way = 0; way < 4; way++) batch[way] = batch_of(&j, way);
    j.p->step = pass_simplify(j.p->step, j.a);
    Plan *plan[2];
    Code code[2];
    for (int t = 0; t < 2; t++) {
      TargetInfo target;
      assert_true(backend_target(t ? "x86-64-v3" : NULL, &target));
      plan[t] = plan_make(j.a, j.p, &target, NULL);
      const char *why = plan_verify(plan[t]);
      if (why) fail_msg("%s: %s", specs[s].name, why);
      code_open(&code[t], j.a, plan[t]);
    }
    for (int way = 0; way < 4; way++) {
      Sorted sorted = {.in = batch[way]};
      if (j.p->groups.n_sets) sort_rows(&j, &batch[way], j.p, &sorted);
      sorted.in.datum = NULL; /* a run reads its rows in order */
      EvalResult want = graph_eval(j.p->step, j.a, &sorted.in);
      uint8_t *bits = NULL;
      static const int threads[] = {1, 2, 4, 1};
      for (int t = 0; t < 4; t++) {
        Run run;
        run_open(&run, j.a, plan[t == 3], code[t == 3].job.train.fn.work_bytes, &sorted.in);
        run_threads(&run, code[t == 3].job.train.fn.entry, threads[t]);
        compare_run(s, &run, plan[t == 3], &sorted.in, &want, j.a);
        if (!bits) memcpy(bits = ARENA_NEWS(j.a, uint8_t, plan[0]->store_bytes), run.store.base, (size_t)plan[0]->store_bytes);
        if (memcmp(bits, run.store.base, (size_t)plan[0]->store_bytes)) fail_msg("%s: bits differ, way %d", specs[s].name, t);
        run_close(&run);
      }
    }
    code_close(&code[0]), code_close(&code[1]);
    jig_close(&j);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(interpreter_agrees), cmocka_unit_test(compiled_agrees)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
