/* SPDX-License-Identifier: Apache-2.0
 * check_origin.c -- losses as origins, evaluated by the interpreter: the parts of a loss add up to it under each
 * denominator, terms of data, what counts as a denominator that depends on data, probes. */
#include "check_jig.h"

#define HEAD                                                                                                  \
  "edition 1\ndata d {\n  source = csv(\"d.csv\", x = 0 .. 5, k = 5, w = 6)\n  x: f32[pos = 5] = source.x\n"        \
  "  k: int in 0 ..= 3 = source.k\n  w: f32[] = source.w\n}\n"                                                 \
  "model { y = x |> fc: linear(5)\n  error = square(y - x) }\n"                                              \
  "class low = k <= 1\nclass even = k == 0 or k == 2\nclass hit = x > 0\n"

enum { ROWS = 9 };

static const ProgOrigin *origin(const Jig *j, const char *name) {
  for (uint32_t i = 0; i < j->p->n_origins; i++)
    if (!strcmp(j->p->origins[i].name, name)) return &j->p->origins[i];
  fail_msg("no origin %s", name);
  return NULL;
}

static double value_of(Jig *j, const char *name) { return *jig_value(j, j->p->step, origin(j, name)->value); }

/* Under every denominator, by classes of data and of positions. */
static void parts_add_up(void **state) {
  (void)state;
  static const char *const ways[] = {"", "; sum", "; per = 7", "; mean_by = low", "; mean_by = k", "; mean_by = hit",
                                     "; mean_over = even", "; mean_over = hit", "; mean_over = abs(w)", "; mean_over = k > 7"};
  static const char *const terms[] = {"error", "mean(error, over = pos)"};
  for (size_t t = 0; t < 2; t++)
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
      if (t && strstr(ways[i], "hit")) continue;
      char text[2000];
      snprintf(text, sizeof text, HEAD "loss whole = %s { gradient = routed%s }\nloss l = %s { by_class = [%s, low]%s }\n",
               terms[t], ways[i], terms[t], t ? "even" : "hit", ways[i]);
      Jig j = jig_spec(text);
      jig_fill(&j, ROWS);
      double sum = value_of(&j, t ? "l.even" : "l.hit") + value_of(&j, "l.low") + value_of(&j, "l.otherwise");
      near(sum, value_of(&j, "whole"), ways[i]);
      jig_close(&j);
    }
}

/* The terms of each datum, and that they are summed: under `sum` the origin is their sum. */
static void terms_of_data(void **state) {
  (void)state;
  Jig j = jig_spec(HEAD "loss l = error { by_class = hit; sum }\nloss n = l2_norm(y)\n");
  jig_fill(&j, ROWS);
  const ProgOrigin *o = origin(&j, "l.hit");
  const Shape *s = &j.p->step->v[o->per_datum].shape;
  assert_true(s->rank == 1 && s->d[0] == DIM_ROWS && origin(&j, "n")->per_datum == 0);
  assert_true(o->per_datum != origin(&j, "l.otherwise")->per_datum);
  const double *terms = jig_value(&j, j.p->step, o->per_datum), *error = jig_get(&j, j.p->step, "error");
  const double *x = j.columns[jig_column(&j, "x")];
  double total = 0;
  for (int i = 0; i < ROWS; i++) {
    double want = 0;
    for (int k = 0; k < 5; k++) want += x[5 * i + k] > 0 ? error[5 * i + k] : 0;
    near(terms[i], want, "a datum's terms");
    total += want;
  }
  near(value_of(&j, "l.hit"), total, "their sum");
  jig_close(&j);
}

static uint32_t cuts(const char *losses) {
  char text[2000];
  snprintf(text, sizeof text, HEAD "%s\nloss all = error { by_class = [low, even, hit] }\n", losses);
  Jig j = jig_spec(text);
  uint32_t n = j.p->n_cuts;
  for (uint32_t i = 0; i < n; i++) assert_int_equal(j.p->step->v[j.p->cuts[i]].shape.rank, 0);
  jig_close(&j);
  return n;
}

/* Counts of classes say how many data are of a class and nothing else; other denominators depend on what data hold. */
static void denominators_that_read_data(void **state) {
  (void)state;
  assert_int_equal(cuts("loss l = error { mean_over = hit }"), 0);
  assert_int_equal(cuts("loss l = error { mean_by = low }"), 0);
  assert_int_equal(cuts("loss l = error { per = 12 }"), 0);
  assert_int_equal(cuts("loss l = error { mean_over = w }"), 1);
  assert_int_equal(cuts("loss l = error { mean_over = w > 0 }"), 1);
  assert_int_equal(cuts("loss l = error { mean_by = k }"), 4);
  assert_int_equal(cuts("loss l = error { per = l2_norm(x) }"), 1);
}

static void probes(void **state) {
  (void)state;
  Jig j = jig_spec(HEAD "loss l = error\nloss look = mean(square(stop(y) |> r: linear(5))) { probe; by_class = low }\n"
                        "regularize small = 0.1 * mean(square(r.weight)) { probe }\n");
  assert_true(!origin(&j, "l")->probe && origin(&j, "look.low")->probe && origin(&j, "look.otherwise")->probe);
  assert_true(origin(&j, "small")->probe && origin(&j, "small")->regularizer);
  jig_close(&j);
  /* what only a truth value reads gets no gradient */
  j = jig_spec(HEAD "loss l = error\nloss look = mean(square(stop(x) |> r: linear(5)) * real(y > 0)) { probe }\n");
  jig_close(&j);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(parts_add_up), cmocka_unit_test(terms_of_data),
                                     cmocka_unit_test(denominators_that_read_data), cmocka_unit_test(probes)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
