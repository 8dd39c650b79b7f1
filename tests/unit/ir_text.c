/* SPDX-License-Identifier: Apache-2.0
 * The graph as text, and the checker: round trips of random graphs, broken graphs, malformed text. */
#include "random_graph.h"
#include <setjmp.h>
#include <stdlib.h>
#include <cmocka.h>

static const Span here = {0, 0, 0};

static char *text_of(Arena *a, const Graph *g) {
  char *buf = NULL;
  size_t n = 0;
  FILE *f = open_memstream(&buf, &n);
  graph_print(g, f);
  fclose(f);
  char *copy = arena_strdup(a, buf);
  free(buf);
  return copy;
}

/* ---- random graphs ------------------------------------------------------------------------------ */
enum { SEEDS = 300 };

static void random_graphs_are_sound_and_read_back(void **state) {
  (void)state;
  uint32_t seen[OP_COUNT] = {0};
  for (uint64_t seed = 1; seed <= SEEDS; seed++) {
    Arena *a = arena_create();
    RandomGraph *r = random_graph(
        a, seed,
        (RandomOptions){
            .n_ops = 30, .no_rows = seed % 5 == 0, .no_adjtap = seed % 3 == 0, .rows_lead = seed % 2});
    const char *why = graph_verify(r->g);
    if (why) fail_msg("seed %llu: %s", (unsigned long long)seed, why);
    char *text = text_of(a, r->g);
    Graph *back = graph_parse(a, text, &why);
    if (!back) fail_msg("seed %llu: %s", (unsigned long long)seed, why);
    if (!graph_equal(r->g, back)) fail_msg("seed %llu: parse(print(g)) is not g", (unsigned long long)seed);
    if (strcmp(text, text_of(a, back)) != 0)
      fail_msg("seed %llu: the text changed", (unsigned long long)seed);
    why = graph_verify(back);
    if (why) fail_msg("seed %llu, read back: %s", (unsigned long long)seed, why);
    for (ValueId id = 1; id < r->g->n; id++) {
      const Value *v = &r->g->v[id];
      seen[v->op]++;
      if (seed % 3 == 0 && v->op == OP_ADJTAP) fail_msg("seed %llu has an adjtap", (unsigned long long)seed);
      for (int32_t k = 1; seed % 2 && k < v->shape.rank; k++)
        if (v->shape.d[k] == DIM_ROWS)
          fail_msg("seed %llu: ROWS does not lead in %%%u", (unsigned long long)seed, id);
    }
    arena_destroy(a);
  }
  for (int op = 1; op < OP_COUNT; op++)
    if (!seen[op] && op < OP_CALL) fail_msg("no random graph has %s", op_name((Op)op));
}

/* The promises of random_graph.h: finite, within bounds, integers in range; and the same again for the same
 * seed. */
static void random_graphs_keep_their_bounds(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= SEEDS; seed++) {
    Arena *a = arena_create();
    RandomGraph *r = random_graph(a, seed, (RandomOptions){.n_ops = 30});
    assert_true(graph_equal(r->g, random_graph(a, seed, (RandomOptions){.n_ops = 30})->g));
    EvalInput in = random_input(a, r, 1 + (int64_t)(seed % 19), seed);
    EvalResult e = graph_eval(r->g, a, &in);
    for (ValueId id = 1; id < r->g->n; id++) {
      if (!e.value[id] || !rg_note(r, id)->listed) continue;
      RandomNote note = *rg_note(r, id);
      for (int64_t i = 0; i < shape_count(&r->g->v[id].shape, in.rows); i++) {
        double x = e.value[id][i];
        bool ok = fabs(x) <= note.bound * (1 + 1e-12);
        if (r->g->v[id].dtype == DT_I32) ok = ok && x >= (double)note.lo && x <= (double)note.hi;
        if (note.grade == RG_GRID) ok = ok && x * 8 == floor(x * 8);
        if (note.grade >= RG_EXACT) ok = ok && (double)(float)x == x;
        if (!ok)
          fail_msg("seed %llu: %%%u = %s is %g, bound %g", (unsigned long long)seed, id,
                   op_name(r->g->v[id].op), x, note.bound);
      }
    }
    in = random_input(a, r, 0, seed); /* no rows at all */
    graph_eval(r->g, a, &in);
    arena_destroy(a);
  }
}

/* ---- text --------------------------------------------------------------------------------------- */
static void odd_numbers_and_names(void **state) {
  (void)state;
  Arena *a = arena_create();
  Graph *g = graph_create(a, "a \"quoted\" \\ name\n");
  const double odd[8] = {-0.0, 0.1, 1e308, 4.9e-324, NAN, INFINITY, -INFINITY, 1.0 / 3};
  Shape s = shape_of(3, 2, 2, 2);
  ValueId x = ir_const_data(g, (Span){3, 14, 15}, odd, &s, DT_F32);
  for (int i = 0; i < 8; i++) ir_const(g, here, odd[i], &s, DT_F32);
  g->v[x].name = " grad for enc\\oder\xc3\xa9.fc1\n; %7 = \t";
  g->v[x + 1].name = "";
  g->phase = PHASE_UPDATE;
  ValueId y = ir_un(g, OP_NEG, x);
  g->v[y].origins = 1ull << 63 | 1;
  graph_root(g, ROOT_STATE, 3, 1, y);
  graph_root(g, ROOT_GRAD, 7, 0, y);
  const char *why;
  Graph *back = graph_parse(a, text_of(a, g), &why);
  if (!back) fail_msg("%s", why);
  assert_true(graph_equal(g, back));
  assert_true(signbit(back->v[x].data[0]) && isnan(back->v[x].data[4]) && isinf(back->v[x].data[6]));
  assert_memory_equal(&back->v[x].span, &g->v[x].span, sizeof(Span));
  assert_string_equal(back->v[x].name, g->v[x].name);
  arena_destroy(a);
}

static void the_text_is_as_documented(void **state) {
  (void)state;
  Arena *a = arena_create();
  const char *text =
      "graph \"train\"\n"
      "%1 = column {column=0} u8[ROWS,28,28] @1:120-134 ; image\n"
      "%2 = const 0.5 f32[]\n"
      "%3 = const [1 2 3] i32[3]\n"
      "%4 = cast %1 f32[ROWS,28,28]\n"
      "%5 = reshape %4 f32[ROWS,784]\n"
      "%6 = param {param=0} f32[512,784] ; encoder.fc1.weight\n"
      "%7 = dot %5 %6 {nb=0 nc=1 contract_a=1 contract_b=1} f32[ROWS,512] ; encoder.fc1.out\n"
      "%8 = tap %7 {tap=0} f32[ROWS,512]\n"
      "%9 = adjtap %8 {tap=0} f32[ROWS,512] adjoint origins=0,2\n"
      "%10 = slice %9 {axis=1 start=0 step=2} f32[ROWS,256] adjoint\n"
      "%11 = take %9 {axis=1 4 0} f32[ROWS,2] update\n"
      "%12 = dot %4 %4 {nb=1 nc=2 batch_a=0 batch_b=0 contract_a=1 2 contract_b=1 2} f32[ROWS] update\n"
      "root keep 0 %11\n"
      "root metric 0 %12\n"
      "root state 0 1 %6\n";
  const char *why;
  Graph *g = graph_parse(a, text, &why);
  if (!g) fail_msg("%s", why);
  assert_string_equal(text_of(a, g), text);
  assert_null(graph_verify(g));
  arena_destroy(a);
}

static void equality_sees_every_part(void **state) {
  (void)state;
  enum { PARTS = 14 };
  for (int part = 0; part < PARTS; part++) {
    Arena *a = arena_create();
    Graph *g[2];
    for (int i = 0; i < 2; i++) {
      g[i] = random_graph(a, 12, (RandomOptions){.n_ops = 20})->g;
      Shape s = shape_of(1, 3);
      ValueId c = ir_const_data(g[i], here, (double[]){1, 2, 3}, &s, DT_F32),
              k = ir_const(g[i], here, 1, &s, DT_F32);
      ValueId t = ir_make(g[i], OP_TAKE, here, &c, 1, (int64_t[]){0, 2, 1}, 3, 0, NULL, DT_NONE);
      g[i]->v[t].name = "t";
      ValueId sum = ir_bin(g[i], OP_ADD, c, k);
      graph_root(g[i], ROOT_STATE, 5, 0, sum);
      if (i == 0) continue;
      Value *vc = &g[i]->v[c], *vk = &g[i]->v[k], *vt = &g[i]->v[t], *vs = &g[i]->v[sum];
      Root *root = &g[i]->roots[g[i]->n_roots - 1];
      double other[3] = {1, 2, 4};
      switch (part) {
      case 0: vc->data = other; break;
      case 1: vk->num = 2; break;
      case 2: vt->ints[1] = 1; break;
      case 3: vt->name = "u"; break;
      case 4: vt->name = NULL; break;
      case 5: vs->op = OP_SUB; break;
      case 6: vs->args[1] = c; break;
      case 7: vs->dtype = DT_F64; break;
      case 8: vs->shape.d[0] = 4; break;
      case 9: vs->phase = PHASE_UPDATE; break;
      case 10: vs->origins = 4; break;
      case 11: root->b = 1; break;
      case 12: root->value = k; break;
      default: root->kind = ROOT_PARAM; break;
      }
      if (graph_equal(g[0], g[1])) fail_msg("part %d does not count", part);
    }
    g[1]->v[1].span = (Span){9, 9, 9};
    assert_true(graph_equal(g[0], g[0]));
    arena_destroy(a);
  }
  Arena *a = arena_create();
  Graph *g = random_graph(a, 12, (RandomOptions){.n_ops = 20})->g,
        *h = random_graph(a, 12, (RandomOptions){.n_ops = 20})->g;
  h->v[1].span = (Span){9, 9, 9}; /* spans do not count */
  assert_true(graph_equal(g, h));
  arena_destroy(a);
}

static const struct {
  const char *text, *why;
} malformed[] = {
    {"", "no graph"},
    {"\n\n", "no graph"},
    {"%1 = const 1 f32[]\n", "line 1: 'graph"},
    {"graph train\n", "name is missing"},
    {"graph \"g\n", "name is missing"},
    {"graph \"\\q\"\n", "escape"},
    {"graph \"g\"\ngraph \"h\"\n", "second graph"},
    {"graph \"g\"\n%2 = const 1 f32[]\n", "line 2: values are numbered"},
    {"graph \"g\"\n%99999999999 = const 1 f32[]\n", "out of range"},
    {"graph \"g\"\n%1 const 1 f32[]\n", "'=' is missing"},
    {"graph \"g\"\n%1 = frob f32[]\n", "unknown operation"},
    {"graph \"g\"\n%1 = none f32[]\n", "unknown operation"},
    {"graph \"g\"\n%1 = const f32[]\n", "number is missing"},
    {"graph \"g\"\n%1 = const\n1 f32[]\n", "line 2: a number is missing"},
    {"graph \"g\"\n%1 = const [] f32[]\n", "empty list"},
    {"graph \"g\"\n%1 = const [1 2 f32[]\n", "number is missing"},
    {"graph \"g\"\n%1 = const [1 2] f32[3]\n", "does not fill"},
    {"graph \"g\"\n%1 = const [1 2] f32[ROWS]\n", "over ROWS"},
    {"graph \"g\"\n%1 = const 1 none[]\n", "unknown type"},
    {"graph \"g\"\n%1 = const 1 f32[0]\n", "out of range"},
    {"graph \"g\"\n%1 = const 1 f32[99999999999999999999]\n", "out of range"},
    {"graph \"g\"\n%1 = const 1 f32[3 4]\n", "',' is missing"},
    {"graph \"g\"\n%1 = const 1 f32[1,1,1,1,1,1,1,1,1]\n", "too many axes"},
    {"graph \"g\"\n%1 = const 1 f32\n", "'[' is missing"},
    {"graph \"g\"\n%1 = const 1 f32[] 7\n", "more than was expected"},
    {"graph \"g\"\n%1 = const 1 f32[] origins=64\n", "out of range"},
    {"graph \"g\"\n%1 = const 1 f32[] @1-3\n", "':' is missing"},
    {"graph \"g\"\n%1 = const 1 f32[] ; a\\xzz\n", "escape"},
    {"graph \"g\"\n%1 = column {axis 0} f32[ROWS]\n", "'=' is missing"},
    {"graph \"g\"\n%1 = column {column=} f32[ROWS]\n", "whole number is missing"},
    {"graph \"g\"\n%1 = neg %1 f32[3]\n", "no value"},
    {"graph \"g\"\nroot keep 0 %1\n", "root of no value"},
    {"graph \"g\"\n%1 = const 1 f32[]\nroot what 0 %1\n", "unknown kind"},
    {"graph \"g\"\n%1 = const 1 f32[]\nroot state 0 %1\n", "whole number is missing"},
    {"graph \"g\"\nhello\n", "more than was expected"},
};

static void malformed_text_is_refused(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof malformed / sizeof *malformed; i++) {
    Arena *a = arena_create();
    const char *why = NULL;
    if (graph_parse(a, malformed[i].text, &why)) fail_msg("accepted: %s", malformed[i].text);
    if (!why || !strstr(why, malformed[i].why))
      fail_msg("%s: expected '%s', got '%s'", malformed[i].text, malformed[i].why, why);
    arena_destroy(a);
  }
}

/* Any bytes: a graph that prints and reads back, or a reason. */
static void damaged_text_never_crashes(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 400; seed++) {
    Arena *a = arena_create();
    uint64_t rng = seed;
    char *text = text_of(a, random_graph(a, seed, (RandomOptions){.n_ops = 12})->g);
    size_t n = strlen(text);
    for (int64_t k = rg_int(&rng, 1, 4); k > 0; k--) {
      size_t at = (size_t)rg_int(&rng, 0, (int64_t)n - 1);
      static const char likely[] = "0123456789-%{}[]=,; \n.ROWSf";
      switch (rg_int(&rng, 0, 3)) {
      case 0: text[at] = (char)rg_int(&rng, 1, 255); break;
      case 1: text[at] = likely[rg_int(&rng, 0, (int64_t)sizeof likely - 2)]; break;
      case 2: memmove(text + at, text + at + 1, n - at), n--; break;
      default: text[at] = 0, n = at ? at : 1; break;
      }
    }
    const char *why = NULL;
    Graph *g = graph_parse(a, text, &why);
    assert_true(!g == (why != NULL));
    if (g) {
      Graph *again = graph_parse(a, text_of(a, g), &why);
      if (!again || !graph_equal(g, again))
        fail_msg("seed %llu: read once, but not twice", (unsigned long long)seed);
      graph_verify(g); /* may complain, may not crash */
    }
    arena_destroy(a);
  }
}

/* ---- the checker -------------------------------------------------------------------------------- */
/* A small graph with one of everything that can be broken. */
typedef struct Sound {
  Graph *g;
  ValueId x, w, w2, y, k, tap, adj, loss, up, flag;
} Sound;

static Sound sound_graph(Arena *a) {
  Sound s = {.g = graph_create(a, "train")};
  Graph *g = s.g;
  Shape xs = shape_of(2, DIM_ROWS, 3), ws = shape_of(2, 2, 3), k = shape_of(1, 3);
  int64_t zero = 0;
  s.x = ir_make(g, OP_COLUMN, here, NULL, 0, &zero, 1, 0, &xs, DT_F32);
  s.w = ir_make(g, OP_PARAM, here, NULL, 0, &zero, 1, 0, &ws, DT_NONE);
  s.w2 = ir_make(g, OP_PARAM, here, NULL, 0, &zero, 1, 0, &ws, DT_NONE);
  s.y = ir_dot(g, s.x, s.w, NULL, NULL, 0, (int64_t[]){1}, (int64_t[]){1}, 1);
  s.k = ir_const_data(g, here, (double[]){0, 1, 2}, &k, DT_I32);
  s.flag = ir_const(g, here, 1, &k, DT_BOOL);
  s.tap = ir_make(g, OP_TAP, here, &s.y, 1, &zero, 1, 0, NULL, DT_NONE);
  s.loss = ir_reduce(g, OP_SUM, s.tap, (int64_t[]){0, 1}, 2);
  g->phase = PHASE_ADJOINT;
  s.adj = ir_make(g, OP_ADJTAP, here, &s.tap, 1, &zero, 1, 0, NULL, DT_NONE);
  g->v[s.adj].origins = 1;
  g->v[s.adj].name = "grad for y";
  g->phase = PHASE_UPDATE;
  s.up = ir_bin(g, OP_SUB, s.w2, s.w);
  graph_root(g, ROOT_LOSS, 0, 0, s.loss);
  graph_root(g, ROOT_PARAM, 0, 0, s.up);
  graph_root(g, ROOT_KEEP, 0, 0, s.adj);
  return s;
}

static void broken_graphs_are_found(void **state) {
  (void)state;
  static const double no_int[3] = {0, 1.5, 2};
  for (int fault = 0;; fault++) {
    Arena *a = arena_create();
    Sound s = sound_graph(a);
    const char *before = graph_verify(s.g), *want = NULL;
    if (before) fail_msg("sound, but: %s", before);
    Value *v = s.g->v;
    switch (fault) {
    case 0: v[s.y].args[0] = s.loss, want = "does not stand before"; break;
    case 1: v[s.y].args[0] = s.y, want = "does not stand before"; break;
    case 2: v[s.y].args[1] = 0, want = "missing"; break;
    case 3: v[s.y].shape.d[1] = 3, want = "was asked for"; break;
    case 4: v[s.y].dtype = DT_I32, want = "was asked for"; break;
    case 5: v[s.y].dtype = DT_NONE, want = "no type"; break;
    case 6: v[s.y].op = OP_ADD, want = "ints"; break;
    case 7: v[s.y].op = (Op)OP_COUNT, want = "no operation"; break;
    case 8: v[s.y].op = OP_NONE, want = "no operation"; break;
    case 9: v[s.y].n_args = 1, want = "1 arguments"; break;
    case 10: v[s.y].ints[3] = 7, want = "axis 7"; break;
    case 11: v[s.y].n_ints = 3, want = "do not fit"; break;
    case 12: v[s.x].shape.d[1] = 0, want = "extent 0"; break;
    case 13: v[s.x].shape.rank = 9, want = "rank 9"; break;
    case 14: v[s.x].shape.rank = -1, want = "rank -1"; break;
    case 15: v[s.x].phase = PHASE_UPDATE, want = "later phase"; break;
    case 16: v[s.up].phase = (Phase)9, want = "no phase"; break;
    case 17: v[s.k].data = no_int, want = "element 1 is 1.5"; break;
    case 18: v[s.flag].num = 2, want = "no bool"; break;
    case 19: v[s.y].origins = 1, want = "forward value has origins"; break;
    case 20: v[s.adj].origins = 0, want = "no origin"; break;
    case 21: v[s.y].data = no_int, want = "no constant"; break;
    case 22:
      v[s.w2].shape.d[0] = 4, v[s.up].op = OP_STOP, v[s.up].n_args = 1, v[s.up].shape.d[0] = 4,
      want = "same param in two ways";
      break;
    case 23: s.g->roots[0].value = s.y, want = "a loss is f32[]"; break;
    case 24: s.g->roots[1].value = s.y, want = "not that of"; break;
    case 25: s.g->roots[1].value = s.k, want = "not f32"; break;
    case 26: s.g->roots[2].value = s.g->n, want = "does not exist"; break;
    case 27: s.g->roots[2].value = 0, want = "does not exist"; break;
    case 28: s.g->roots[2].kind = (RootKind)99, want = "no such kind"; break;
    case 29: graph_root(s.g, ROOT_LOSS, 0, 0, s.loss), want = "stands twice"; break;
    case 30: graph_root(s.g, ROOT_METRIC, 0, 0, s.y), want = "metric is"; break;
    case 31: graph_root(s.g, ROOT_KEY, 0, 0, s.k), want = "key is"; break;
    case 32: graph_root(s.g, ROOT_PICTURE, 0, 0, s.w), want = "picture is"; break;
    case 33: v[s.tap].ints[0] = -1, want = "number -1"; break;
    case 34:
      ir_make(s.g, OP_TAP, here, &s.y, 1, (int64_t[]){0}, 1, 0, NULL, DT_NONE), want = "same tap in two ways";
      break;
    case 35: v[s.adj].phase = PHASE_FORWARD, want = "forward value has origins"; break;
    default: arena_destroy(a); return;
    }
    const char *why = graph_verify(s.g);
    if (!why) fail_msg("fault %d was not found", fault);
    if (!strstr(why, want) || !strstr(why, "graph 'train'"))
      fail_msg("fault %d: expected '%s', got '%s'", fault, want, why);
    arena_destroy(a);
  }
}

/* In random graphs: an argument redirected forward, an extent, a type or an argument count changed. */
static void broken_random_graphs_are_found(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= SEEDS; seed++) {
    Arena *a = arena_create();
    uint64_t rng = seed;
    Graph *g = random_graph(a, seed, (RandomOptions){.n_ops = 25})->g;
    ValueId id;
    Op op;
    do { /* some ops accept a longer target */
      id = (ValueId)rg_int(&rng, 1, g->n - 1);
      op = g->v[id].op;
    } while (!g->v[id].n_args || op == OP_BCAST || op == OP_PAD || op == OP_PUT || op == OP_SCATTER);
    Value *v = &g->v[id];
    switch (rg_int(&rng, 0, 4)) {
    case 0: v->args[rg_int(&rng, 0, v->n_args - 1)] = (ValueId)rg_int(&rng, id, g->n + 3); break;
    case 1:
      if (v->shape.rank) v->shape.d[rg_int(&rng, 0, v->shape.rank - 1)] += 100000;
      else v->shape = shape_of(1, 3);
      break;
    case 2:
      v->dtype = v->dtype == DT_BOOL ? DT_I32 : DT_BOOL, v->op = v->op == OP_CAST ? OP_NEG : v->op;
      break;
    case 3: v->n_args = 0; break;
    default: v->args = ARENA_NEWS(a, ValueId, 99), v->n_args = 99; break;
    }
    if (!graph_verify(g))
      fail_msg("seed %llu: %%%u is broken, and nothing was found", (unsigned long long)seed, id);
    arena_destroy(a);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(random_graphs_are_sound_and_read_back),
                                     cmocka_unit_test(random_graphs_keep_their_bounds),
                                     cmocka_unit_test(odd_numbers_and_names),
                                     cmocka_unit_test(the_text_is_as_documented),
                                     cmocka_unit_test(equality_sees_every_part),
                                     cmocka_unit_test(malformed_text_is_refused),
                                     cmocka_unit_test(damaged_text_never_crashes),
                                     cmocka_unit_test(broken_graphs_are_found),
                                     cmocka_unit_test(broken_random_graphs_are_found)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
