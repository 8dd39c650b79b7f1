/* SPDX-License-Identifier: Apache-2.0
 * Which thread computes what, and where threads need not meet: each way a step can read another's results. */
#include "plan_net.h"

typedef struct Bed {
  Net *n;
  PlanFn f;
  ShareScratch scratch;
  BufferId buffers[64];
  Buffer places[64]; /* all in the work slab */
} Bed;

static Bed bed(int64_t rows) {
  Bed b = {.n = net_create(rows)};
  b.f = (PlanFn){.graph = b.n->g, .max_rows = rows};
  b.scratch = plan_share_scratch(b.n->arena, 64);
  return b;
}

/* A step that stores v: a REDUCE over `reduced`, or a MAP. */
static Step stores(Bed *b, ValueId v, uint32_t reduced) {
  const Value *u = &b->n->g->v[v];
  Step s = {.kind = reduced ? STEP_REDUCE : STEP_MAP, .reduced = reduced, .n_outs = 1};
  s.space = reduced ? b->n->g->v[u->args[0]].shape : u->shape;
  for (int i = 0; i < s.space.rank; i++) s.order[i] = (uint8_t)i;
  s.outs = ARENA_NEW(b->n->arena, StepOut);
  s.outs[0] = (StepOut){v, b->buffers[v] = v};
  b->f.buffer_of = b->buffers, b->f.buffers = b->places;
  return s;
}

static bool meet(Bed *b, const Step *from, const Step *to) {
  const bool first = plan_shares_meet(&b->f, from, to, &b->scratch);
  assert_int_equal(first, plan_shares_meet(&b->f, from, to, &b->scratch)); /* the scratch is left as it was */
  return first;
}

static ValueId matrix(Bed *b, int64_t width) {
  return net_column(b->n, "x", DT_F32, shape_of(2, (int64_t)DIM_ROWS, width));
}
static ValueId sum(Bed *b, ValueId v, int64_t axis) { return ir_reduce(b->n->g, OP_SUM, v, &axis, 1); }

static void rows_stay_with_their_thread(void **state) {
  (void)state;
  Bed b = bed(64);
  Graph *g = b.n->g;
  ValueId a = ir_un(g, OP_EXP, matrix(&b, 24)), twice = ir_un(g, OP_RELU, ir_un(g, OP_NEG, a)), per_row = sum(&b, a, 1);
  const int64_t spread[2] = {0, -1};
  ValueId back = ir_bin(g, OP_SUB, a, ir_bcast(g, per_row, &g->v[a].shape, spread)), total = sum(&b, per_row, 0);
  const Step sa = stores(&b, a, 0), st = stores(&b, twice, 0), sr = stores(&b, per_row, 2), sb = stores(&b, back, 0),
             all = stores(&b, total, 1), columns = stores(&b, sum(&b, a, 0), 1);
  assert_true(meet(&b, &sa, &st));
  assert_true(meet(&b, &sa, &sr));
  assert_true(meet(&b, &sa, &sb) && meet(&b, &sr, &sb));
  assert_false(meet(&b, &sa, &columns)); /* a sum over the rows of all threads */
  assert_int_equal(plan_step_share(&b.f, &all).axis, SHARE_ALONE);
  assert_false(meet(&b, &sr, &all));
  assert_int_equal(plan_step_share(&b.f, &sr).grain, plan_step_share(&b.f, &sa).grain);
  arena_destroy(b.n->arena);
}

static ValueId moved(Bed *b, Op op, ValueId v, const int64_t *ints, uint32_t n, Shape s) {
  return ir_un(b->n->g, OP_NEG, ir_make(b->n->g, op, (Span){0}, &v, 1, ints, n, 0, &s, DT_F32));
}

static void rows_of_others_are_waited_for(void **state) {
  (void)state;
  Bed b = bed(64);
  Graph *g = b.n->g;
  const Shape square = shape_of(2, 32, 32);
  ValueId m = ir_un(g, OP_EXP, net_param(b.n, "m", square));
  ValueId same = moved(&b, OP_SLICE, m, (int64_t[]){1, 8, 1}, 3, shape_of(2, 32, 16));
  ValueId cut = moved(&b, OP_RESHAPE, m, NULL, 0, shape_of(3, 32, 4, 8));
  ValueId turned = moved(&b, OP_TRANSPOSE, m, (int64_t[]){1, 0}, 2, square), both = ir_bin(g, OP_MUL, m, turned);
  ValueId index = ir_cast(g, sum(&b, m, 1), DT_I32);
  ValueId picks[2] = {m, index};
  ValueId table = ir_un(g, OP_NEG, ir_make(g, OP_GATHER, (Span){0}, picks, 2, NULL, 0, 0, &square, DT_F32));
  const Step sm = stores(&b, m, 0), ss = stores(&b, same, 0), sc = stores(&b, cut, 0), st = stores(&b, turned, 0),
             sb = stores(&b, both, 0), sg = stores(&b, table, 0);
  assert_true(meet(&b, &sm, &ss));
  assert_true(meet(&b, &sm, &sc));
  assert_false(meet(&b, &sm, &st));
  assert_false(meet(&b, &sm, &sg)); /* whichever row the index names */
  assert_true(meet(&b, &st, &sb)); /* what was turned was stored by the same rows */
  assert_true(meet(&b, &sm, &sb));
  b.buffers[turned] = 0; /* computed where it is read: from m, turned */
  assert_false(meet(&b, &sm, &sb));
  arena_destroy(b.n->arena);
}

static void only_equal_shares_meet(void **state) {
  (void)state;
  for (int64_t rows = 63; rows <= 64; rows++) { /* 63: no grain that all steps have */
    Bed b = bed(rows);
    ValueId per_row = sum(&b, matrix(&b, 24), 1), scaled = ir_un(b.n->g, OP_EXP, per_row);
    const Step sr = stores(&b, per_row, 2), ss = stores(&b, scaled, 0); /* row by row; 16 rows at a time */
    assert_int_equal(meet(&b, &sr, &ss), rows == 64);
    arena_destroy(b.n->arena);
  }
}

static void numbers_are_one_threads(void **state) {
  (void)state;
  Bed b = bed(64);
  Graph *g = b.n->g;
  ValueId all = sum(&b, net_column(b.n, "r", DT_F32, shape_of(1, (int64_t)DIM_ROWS)), 0), half = ir_un(g, OP_EXP, all);
  const Shape s = shape_of(2, (int64_t)DIM_ROWS, (int64_t)24);
  ValueId everywhere = ir_un(g, OP_NEG, ir_bcast_scalar(g, half, &s));
  const Step sa = stores(&b, all, 1), sh = stores(&b, half, 0), se = stores(&b, everywhere, 0), check = {.kind = STEP_CHECK};
  assert_true(meet(&b, &sa, &sh) && meet(&b, &sh, &check));
  assert_false(meet(&b, &sh, &se));
  assert_false(meet(&b, &se, &check));
  arena_destroy(b.n->arena);
}

/* Products that share rows follow each other forward without a barrier, however deep the net is. */
static void depth_costs_no_barriers_forward(void **state) {
  (void)state;
  for (int depth = 1; depth <= 9; depth += 8) {
    Net *n = net_create(64);
    ValueId x = net_image(n, 64), y = x;
    for (int i = 0; i < depth; i++) y = ir_un(n->g, OP_RELU, net_linear(n, arena_printf(n->arena, "l%d", i), y, 64));
    net_origin(n, "loss", net_mae(n, y, x));
    net_passes(n, OPTIM_SGD, false);
    const TargetInfo t = net_target(16);
    const Plan *p = plan_make(n->arena, n->p, &t, NULL);
    const char *why = plan_verify(p);
    if (why) fail_msg("%s", why);
    int weights = 0, forward = 0;
    for (uint32_t i = 0; i < p->train.n_steps; i++) {
      const Step *s = &p->train.steps[i];
      if (s->kind != STEP_GEMM) continue;
      if (s->geom.k.rows) weights++, assert_false(s->follows); /* a weight gradient: rows of all threads */
      else if (s->wave == 0) forward++, assert_true(s->follows);
    }
    assert_int_equal(weights, depth);
    assert_int_equal(forward, depth);
    arena_destroy(n->arena);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rows_stay_with_their_thread),
      cmocka_unit_test(rows_of_others_are_waited_for),
      cmocka_unit_test(only_equal_shares_meet),
      cmocka_unit_test(numbers_are_one_threads),
      cmocka_unit_test(depth_costs_no_barriers_forward),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
