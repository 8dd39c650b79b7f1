/* SPDX-License-Identifier: Apache-2.0
 * llvm_step.c -- whole training steps: the loop over a block, losses and their check, updates in place, exact
 * masks, large reductions, and kernels shared by layers that are alike. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "compiler.h"
#include "llvm_run.h"
#include <dlfcn.h>
#include <sys/wait.h>

/* ---- a program by hand
 * ------------------------------------------------------------------------------------------ */
typedef struct Bed {
  Arena *a;
  Program *p;
  Graph *g;
  Plan *plan;
  Code code;
  EvalInput in;
  Run run;
} Bed;

static void bed_open(Bed *b) {
  *b = (Bed){.a = arena_create()};
  b->p = ARENA_NEW(b->a, Program);
  Program *p = b->p;
  p->arena = b->a, p->title = "bed", p->sources = sources_create(b->a);
  p->params = ARENA_NEWS(b->a, ProgParam, 64), p->columns = ARENA_NEWS(b->a, ProgColumn, 8);
  p->scalars = ARENA_NEWS(b->a, ProgScalar, 8), p->origins = ARENA_NEWS(b->a, ProgOrigin, 8);
  p->data = ARENA_NEW(b->a, ProgSource), p->n_data = 1;
  p->data[0] = (ProgSource){.name = "data", .reader = "none"};
  b->g = p->step = graph_create(b->a, "train");
}

static ValueId bed_leaf(Bed *b, Op op, int64_t n, int64_t k, uint32_t n_ints, const Shape *s, Dtype t) {
  return ir_make(b->g, op, (Span){0}, NULL, 0, (int64_t[]){n, k}, n_ints, 0, s, t);
}
static ValueId bed_param(Bed *b, Shape s) {
  uint32_t i = b->p->n_params++;
  b->p->params[i] = (ProgParam){.path = arena_printf(b->a, "p%u", i), .shape = s, .trainable = true};
  return bed_leaf(b, OP_PARAM, i, 0, 1, &s, DT_F32);
}
static ValueId bed_column(Bed *b, Shape s, Dtype t) {
  uint32_t i = b->p->n_columns++;
  b->p->columns[i] = (ProgColumn){.name = arena_printf(b->a, "c%u", i), .dtype = t, .shape = s};
  return bed_leaf(b, OP_COLUMN, i, 0, 1, &s, t);
}
static ValueId bed_all(Bed *b, ValueId x) { /* sum over every axis */
  int64_t axes[IR_MAX_RANK] = {0, 1, 2, 3, 4, 5, 6, 7};
  return ir_reduce(b->g, OP_SUM, x, axes, (uint32_t)b->g->v[x].shape.rank);
}

static const char *step_target; /* NULL: this machine */

/* Plans for `batch` rows and compiles. */
static void bed_compile(Bed *b, int64_t batch) {
  TargetInfo t;
  assert_true(backend_target(step_target, &t));
  b->p->train = (ProgTrain){.present = true, .batch = batch, .length = {1, UNIT_STEPS}};
  const char *why = graph_verify(b->g);
  if (why) fprintf(stderr, "%s\n", why);
  assert_null(why);
  b->plan = plan_make(b->a, b->p, &t, &(PlanOptions){.reuse_memory = true});
  why = plan_verify(b->plan);
  if (why) fprintf(stderr, "%s\n", why);
  assert_null(why);
  code_open(&b->code, b->a, b->plan);
}

static double *bed_numbers(Bed *b, int64_t n, uint64_t seed) {
  double *x = ARENA_NEWS(b->a, double, n);
  for (int64_t i = 0; i < n; i++) x[i] = rg_grid(&seed);
  return x;
}

/* Grid numbers for parameters, states and float columns; 0 .. 9 for others. */
static void bed_input(Bed *b, int64_t rows, uint64_t seed) {
  const double **params = ARENA_NEWS(b->a, const double *, 64),
               **columns = ARENA_NEWS(b->a, const double *, 8);
  const double *const **states = ARENA_NEWS(b->a, const double *const *, 64);
  for (uint32_t i = 0; i < b->p->n_params; i++) {
    int64_t n = shape_count(&b->p->params[i].shape, 1);
    const double **k = ARENA_NEWS(b->a, const double *, 4);
    params[i] = bed_numbers(b, n, seed + 5 * i), k[0] = bed_numbers(b, n, seed + 5 * i + 1);
    for (int j = 1; j < 4; j++) k[j] = bed_numbers(b, n, seed + 5 * i + (uint64_t)j);
    states[i] = k;
  }
  for (uint32_t i = 0; i < b->p->n_columns; i++) {
    int64_t n = shape_count(&b->p->columns[i].shape, rows);
    double *x = bed_numbers(b, n, seed + 100 + i);
    for (int64_t j = 0; b->p->columns[i].dtype != DT_F32 && j < n; j++)
      x[j] = (double)((j * 7 + j / 10) % 10);
    columns[i] = x;
  }
  int32_t *datum = ARENA_NEWS(b->a, int32_t, rows);
  for (int64_t i = 0; i < rows; i++) datum[i] = run_datum(i);
  b->in = (EvalInput){.rows = rows,
                      .params = params,
                      .states = states,
                      .columns = columns,
                      .datum = datum,
                      .scalars = bed_numbers(b, 8, seed),
                      .step = 0,
                      .total_steps = 100,
                      .steps_per_epoch = 10,
                      .seed = seed};
}

static void bed_close(Bed *b) {
  code_close(&b->code);
  arena_destroy(b->a);
}

/* ---- tests
 * ----------------------------------------------------------------------------------------------------------
 */

/* Losses of a block of three steps, the last of them with two rows; and the order that rows are read in. */
static void block_of_steps(void **state) {
  (void)state;
  Bed b;
  bed_open(&b);
  ValueId x = bed_column(&b, shape_of(2, (int64_t)DIM_ROWS, (int64_t)5), DT_F32),
          y = bed_column(&b, shape_of(1, (int64_t)DIM_ROWS), DT_U8);
  graph_root(b.g, ROOT_LOSS, 0, 0, bed_all(&b, ir_bin(b.g, OP_MUL, x, x)));
  graph_root(b.g, ROOT_LOSS, 1, 0, bed_all(&b, ir_cast(b.g, y, DT_F32)));
  bed_compile(&b, 4);
  bed_input(&b, 10, 5);
  double squares = 0, labels = 0, last = 0;
  for (int i = 0; i < 50; i++) squares += b.in.columns[0][i] * b.in.columns[0][i];
  for (int i = 0; i < 10; i++) labels += b.in.columns[1][i], last += i >= 8 ? b.in.columns[1][i] : 0;
  for (int threads = 1; threads <= 4; threads++) {
    run_open(&b.run, b.a, b.plan, b.code.job.train.fn.work_bytes, &b.in);
    b.run.frame.n_steps = 3;
    run_threads(&b.run, b.code.job.train.fn.entry, threads);
    assert_true(fabs(b.run.frame.loss_sums[0] - squares) < 1e-4);
    assert_true(b.run.frame.loss_sums[1] == labels);
    assert_true(b.run.frame.losses[1] == last);
    assert_true(b.run.frame.bad_step == -1);
    run_close(&b.run);
  }
  bed_close(&b);
}

static void count_look(Run *r, int64_t step) {
  (void)r;
  assert_true(step >= 0);
}

/* Momentum: p and its state are replaced in place, step by step as the interpreter does it. */
static void update_in_place(void **state) {
  (void)state;
  Bed b;
  bed_open(&b);
  Shape s = shape_of(2, (int64_t)7, (int64_t)37);
  ValueId p = bed_param(&b, s), m = bed_leaf(&b, OP_STATE, 0, 0, 2, &s, DT_F32);
  b.p->params[0].n_states = 1;
  ValueId step = ir_bcast_scalar(b.g, ir_cast(b.g, ir_clock(b.g, CLOCK_STEP), DT_F32), &s);
  ValueId half = ir_const(b.g, (Span){0}, 0.5, &s, DT_F32);
  ValueId next = ir_bin(b.g, OP_ADD, ir_bin(b.g, OP_MUL, m, half), ir_bin(b.g, OP_ADD, p, step));
  ValueId param = ir_bin(b.g, OP_SUB, p, ir_bin(b.g, OP_MUL, next, half));
  ValueId norm = bed_all(&b, ir_bin(b.g, OP_MUL, p, p));
  graph_root(b.g, ROOT_LOSS, 0, 0, norm);
  graph_root(b.g, ROOT_PARAM, 0, 0, param);
  graph_root(b.g, ROOT_STATE, 0, 0, next);
  bed_compile(&b, 2);
  bed_input(&b, 6, 11);
  const double *v = b.in.params[0], *w = b.in.states[0][0];
  for (int i = 0; i < 3; i++) {
    EvalInput in = b.in;
    in.params = &v, in.states = (const double *const *const[]){&w}, in.rows = 2, in.step = i;
    EvalResult r = graph_eval(b.g, b.a, &in);
    v = r.value[param], w = r.value[next];
  }
  const ParamPlace *place = b.plan->params;
  for (int threads = 1; threads <= 4; threads *= 2) {
    run_open(&b.run, b.a, b.plan, b.code.job.train.fn.work_bytes, &b.in);
    b.run.frame.n_steps = 3, b.run.frame.check = 1, b.run.look = count_look;
    run_threads(&b.run, b.code.job.train.fn.entry, threads);
    assert_true(b.run.checks == 3 * (int64_t)b.plan->train.n_steps);
    for (int64_t i = 0; i < 7 * 37; i++) {
      const int64_t at = run_place(&s, place->strides, 1, i);
      assert_true(fabs(run_get(b.run.store.base + place->offset, DT_F32, at) - v[i]) < 1e-5);
      assert_true(fabs(run_get(b.run.store.base + place->state_offset[0], DT_F32, at) - w[i]) < 1e-5);
    }
    run_close(&b.run);
  }
  bed_close(&b);
}

/* A matrix whose columns stay with their thread, in the product that reads it and in the one that updates it with its momentum:
 * three steps, the last of few rows, as the interpreter does them, with equal bits for every number of threads. */
static void columns_stay_with_their_thread(void **state) {
  (void)state;
  Bed b;
  bed_open(&b);
  const int64_t in = 37, out = 128, last = 1, first = 0;
  Shape s = shape_of(2, in, out);
  ValueId w = bed_param(&b, s), m = bed_leaf(&b, OP_STATE, 0, 0, 2, &s, DT_F32),
          x = bed_column(&b, shape_of(2, (int64_t)DIM_ROWS, in), DT_F32);
  b.p->params[0].n_states = 1;
  ValueId y = ir_dot(b.g, x, w, NULL, NULL, 0, &last, &first, 1);
  graph_root(b.g, ROOT_LOSS, 0, 0, bed_all(&b, ir_bin(b.g, OP_MUL, y, y)));
  ValueId gradient = ir_dot(b.g, x, y, NULL, NULL, 0, &first, &first, 1);
  ValueId small = ir_const(b.g, (Span){0}, 0.001, &s, DT_F32), half = ir_const(b.g, (Span){0}, 0.5, &s, DT_F32);
  const ValueId update = b.g->n;
  ValueId moment = ir_bin(b.g, OP_ADD, ir_bin(b.g, OP_MUL, m, half), gradient);
  ValueId next = ir_bin(b.g, OP_SUB, w, ir_bin(b.g, OP_MUL, moment, small));
  for (ValueId v = update; v < b.g->n; v++) b.g->v[v].phase = PHASE_UPDATE;
  graph_root(b.g, ROOT_PARAM, 0, 0, next);
  graph_root(b.g, ROOT_STATE, 0, 0, moment);
  bed_compile(&b, 40);
  uint32_t by_columns = 0;
  for (uint32_t i = 0; i < b.plan->train.n_steps; i++) {
    const Step *t = &b.plan->train.steps[i];
    by_columns += t->kind == STEP_GEMM && t->impl == GEMM_EMITTED && t->tile.split == 1 && out % t->tile.nc == 0;
  }
  assert_int_equal(by_columns, 2);
  assert_true(b.plan->train.own_bytes > 0); /* and x, which every thread makes for itself */
  bed_input(&b, 90, 13);
  const double *v = b.in.params[0], *u = b.in.states[0][0], *columns[1];
  for (int i = 0; i < 3; i++) {
    EvalInput part = b.in;
    columns[0] = b.in.columns[0] + 40 * in * i;
    part.params = &v, part.states = (const double *const *const[]){&u}, part.columns = columns, part.rows = i < 2 ? 40 : 10, part.step = i;
    EvalResult r = graph_eval(b.g, b.a, &part);
    v = r.value[next], u = r.value[moment];
  }
  const ParamPlace *place = b.plan->params;
  float *bits = ARENA_NEWS(b.a, float, in * out);
  for (int threads = 1; threads <= 4; threads++) {
    run_open(&b.run, b.a, b.plan, b.code.job.train.fn.work_bytes, &b.in);
    b.run.frame.n_steps = 3;
    run_threads(&b.run, b.code.job.train.fn.entry, threads);
    for (int64_t i = 0; i < in * out; i++) {
      float got = (float)run_get(b.run.store.base + place->offset, DT_F32, run_place(&s, place->strides, 1, i));
      assert_true(fabs(got - v[i]) < 1e-4 * (1 + fabs(v[i])));
      if (threads == 1) bits[i] = got;
      assert_memory_equal(&bits[i], &got, sizeof got);
    }
    run_close(&b.run);
  }
  bed_close(&b);
}

/* A loss that is not finite ends the block before anything is stored. */
static void bad_loss_stops(void **state) {
  (void)state;
  Bed b;
  bed_open(&b);
  Shape s = shape_of(1, (int64_t)40);
  ValueId p = bed_param(&b, s), x = bed_column(&b, shape_of(1, (int64_t)DIM_ROWS), DT_F32);
  graph_root(b.g, ROOT_LOSS, 0, 0, bed_all(&b, x));
  graph_root(b.g, ROOT_PARAM, 0, 0, ir_bin(b.g, OP_ADD, p, ir_const(b.g, (Span){0}, 1, &s, DT_F32)));
  bed_compile(&b, 2);
  bed_input(&b, 8, 3);
  ((double *)(uintptr_t)b.in.columns[0])[5] = NAN; /* row 5: third step */
  run_open(&b.run, b.a, b.plan, b.code.job.train.fn.work_bytes, &b.in);
  b.run.frame.n_steps = 4, b.run.frame.step = 70;
  run_threads(&b.run, b.code.job.train.fn.entry, 2);
  assert_true(b.run.frame.bad_step == 72);
  assert_true(isnan(b.run.frame.losses[0]) && isfinite(b.run.frame.loss_sums[0]));
  for (int i = 0; i < 40; i++)
    assert_true(run_get(b.run.store.base + b.plan->params[0].offset, DT_F32, i) == b.in.params[0][i] + 2);
  run_close(&b.run);
  bed_close(&b);
}

/* A mask of 0 gives +0.0 even where the value is NaN or infinite; 1 gives the value's own bits. */
static void masks_are_exact(void **state) {
  (void)state;
  Bed b;
  bed_open(&b);
  Shape s = shape_of(2, (int64_t)DIM_ROWS, (int64_t)19);
  ValueId x = bed_column(&b, s, DT_F32), f = bed_column(&b, s, DT_F32);
  ValueId y = ir_bin(b.g, OP_MASK, x, f);
  graph_root(b.g, ROOT_KEEP, 0, 0, y);
  bed_compile(&b, 3);
  bed_input(&b, 3, 9);
  double *vx = (double *)(uintptr_t)b.in.columns[0], *vf = (double *)(uintptr_t)b.in.columns[1];
  static const double odd[] = {NAN, INFINITY, -INFINITY, -3.25, 1e-40, -0.0, 2.5};
  static const double factor[] = {0, 1, -0.75, -0.0};
  for (int i = 0; i < 57; i++) vx[i] = odd[i % 7], vf[i] = factor[i / 7 % 4];
  run_open(&b.run, b.a, b.plan, b.code.job.train.fn.work_bytes, &b.in);
  run_threads(&b.run, b.code.job.train.fn.entry, 2);
  const double *got = run_root(&b.run, b.a, &b.plan->train, 0, &b.in);
  for (int i = 0; i < 57; i++) {
    float g = (float)got[i], zero = 0, value = (float)vx[i];
    if (vf[i] == 0) assert_memory_equal(&g, &zero, 4);
    else if (vf[i] == 1 && !isnan(value)) assert_memory_equal(&g, &value, 4);
    else if (vf[i] == 1) assert_true(isnan(g));
    else assert_true(isnan(g) ? isnan(value) : g == (float)(-0.75f * value));
  }
  run_close(&b.run);
  bed_close(&b);
}

/* Reductions that are cut into chunks, with a remainder; equal bits for every number of threads. */
static void large_reductions(void **state) {
  (void)state;
  Bed b;
  bed_open(&b);
  Shape s = shape_of(2, (int64_t)DIM_ROWS, (int64_t)61);
  ValueId x = bed_column(&b, s, DT_F32), y = bed_param(&b, shape_of(1, (int64_t)20011));
  ValueId sq = ir_bin(b.g, OP_MUL, x, x);
  graph_root(b.g, ROOT_KEEP, 0, 0, bed_all(&b, sq));
  graph_root(b.g, ROOT_KEEP, 1, 0, ir_reduce(b.g, OP_SUM, x, (int64_t[]){0}, 1));
  graph_root(b.g, ROOT_KEEP, 2, 0, ir_reduce(b.g, OP_AMAX, sq, (int64_t[]){0}, 1));
  graph_root(b.g, ROOT_KEEP, 3, 0, ir_reduce(b.g, OP_SUM, sq, (int64_t[]){1}, 1));
  graph_root(b.g, ROOT_KEEP, 4, 0, bed_all(&b, y));
  graph_root(b.g, ROOT_KEEP, 5, 0, ir_reduce(b.g, OP_AMAX, y, (int64_t[]){0}, 1));
  graph_root(b.g, ROOT_KEEP, 6, 0, ir_reduce(b.g, OP_ARGMAX, x, (int64_t[]){0}, 1));
  graph_root(b.g, ROOT_KEEP, 7, 0, ir_reduce(b.g, OP_ARGMAX, x, (int64_t[]){1}, 1));
  bed_compile(&b, 700);
  assert_true(plan_scratch_bytes(&b.plan->train) > 0);
  assert_true(b.code.job.train.fn.work_bytes == plan_work_bytes(&b.plan->train));
  static const int64_t rows[] = {1, 13, 699, 700};
  for (int c = 0; c < 4; c++) {
    bed_input(&b, rows[c], 21);
    EvalResult want = graph_eval(b.g, b.a, &b.in);
    double *first[8] = {NULL};
    for (int threads = 1; threads <= 4; threads++) {
      run_open(&b.run, b.a, b.plan, b.code.job.train.fn.work_bytes, &b.in);
      run_threads(&b.run, b.code.job.train.fn.entry, threads);
      for (uint32_t i = 0; i < 8; i++) {
        double *got = run_root(&b.run, b.a, &b.plan->train, i, &b.in);
        ValueId v = b.g->roots[i].value;
        int64_t n = shape_count(&b.g->v[v].shape, rows[c]);
        if (!first[i]) first[i] = got;
        assert_memory_equal(first[i], got, (size_t)n * 8);
        for (int64_t k = 0; k < n; k++)
          assert_true(fabs(got[k] - want.value[v][k]) <= 1e-4 + 1e-5 * fabs(want.value[v][k]));
      }
      run_close(&b.run);
    }
  }
  bed_close(&b);
}

/* Weight gradients, sums and products over row sets of a batch of products, two steps of a block with sets of
 * their own, one of them empty: against the interpreter, with equal bits for every number of threads. */
static void row_sets(void **state) {
  (void)state;
  enum { IN = 70, OUT = 45, BATCH = 37, ROWS = 60 };
  Bed b;
  bed_open(&b);
  ValueId x = bed_column(&b, shape_of(2, (int64_t)DIM_ROWS, (int64_t)IN), DT_F32);
  ValueId w = bed_param(&b, shape_of(2, (int64_t)OUT, (int64_t)IN));
  ValueId one = ir_const(b.g, (Span){0}, 1, &b.g->v[x].shape, DT_F32);
  ValueId y = ir_dot(b.g, ir_bin(b.g, OP_SUB, x, one), w, NULL, NULL, 0, (int64_t[]){1}, (int64_t[]){1}, 1);
  uint32_t n = 0;
  for (int64_t k = 0; k < 3; k++) {
    ValueId ry = ir_rslice(b.g, y, k), rx = ir_rslice(b.g, ir_bin(b.g, OP_SUB, x, one), k);
    ValueId part = ir_slice(b.g, ry, 1, 3, 1, 16 + k);
    graph_root(b.g, ROOT_KEEP, n++, 0,
               ir_dot(b.g, part, rx, NULL, NULL, 0, (int64_t[]){0}, (int64_t[]){0}, 1));
    graph_root(b.g, ROOT_KEEP, n++, 0, ir_reduce(b.g, OP_SUM, part, (int64_t[]){0}, 1));
    graph_root(b.g, ROOT_KEEP, n++, 0,
               bed_all(&b, ir_dot(b.g, ir_un(b.g, OP_TANH, ry), w, NULL, NULL, 0, (int64_t[]){1},
                                  (int64_t[]){0}, 1)));
    graph_root(b.g, ROOT_LOSS, (uint32_t)k, 0, bed_all(&b, rx));
  }
  double share[] = {1, 0.5, 0.5};
  b.p->groups = (ProgGroups){.n_sets = 3, .share = share};
  bed_compile(&b, BATCH);
  static const int64_t all[3][2][3][2] = {{{{0, 37}, {0, 20}, {20, 17}}, {{0, 23}, {0, 23}, {23, 0}}},
                                          {{{0, 37}, {5, 1}, {36, 1}}, {{0, 23}, {1, 22}, {3, 7}}},
                                          {{{0, 37}, {0, 0}, {0, 37}}, {{0, 23}, {22, 1}, {0, 16}}}};
  bed_input(&b, ROWS, 31);
  for (int c = 0; c < 3; c++) {
    EvalInput second = b.in; /* the block's last step, whose results stay in memory */
    second.rows = ROWS - BATCH, second.sets = all[c][1],
    second.columns = (const double *const[]){b.in.columns[0] + BATCH * IN};
    EvalInput first = b.in;
    first.rows = BATCH, first.sets = all[c][0];
    EvalResult want = graph_eval(b.g, b.a, &second), before = graph_eval(b.g, b.a, &first);
    double *bits[9] = {NULL};
    for (int threads = 1; threads <= 4; threads++) {
      run_open(&b.run, b.a, b.plan, b.code.job.train.fn.work_bytes, &b.in);
      b.run.frame.sets = all[c][0][0], b.run.frame.n_steps = 2;
      run_threads(&b.run, b.code.job.train.fn.entry, threads);
      for (uint32_t i = 0, at = 0; i < b.g->n_roots; i++) {
        const Root *r = &b.g->roots[i];
        if (r->kind == ROOT_LOSS) {
          double sum = before.value[r->value][0] + want.value[r->value][0];
          assert_true(fabs(b.run.frame.loss_sums[r->a] - sum) < 1e-3);
          continue;
        }
        double *got = run_root(&b.run, b.a, &b.plan->train, i, &second);
        int64_t size = shape_count(&b.g->v[r->value].shape, 0);
        if (!bits[at]) bits[at] = got;
        assert_memory_equal(bits[at++], got, (size_t)size * 8);
        for (int64_t e = 0; e < size; e++)
          assert_true(fabs(got[e] - want.value[r->value][e]) <= 1e-3 + 1e-4 * fabs(want.value[r->value][e]));
      }
      run_close(&b.run);
    }
  }
  bed_close(&b);
}

/* `layers` times linear and relu, each `wider` units wider, perhaps softmax, a loss, and all gradients. */
static void deep_open(Bed *b, int layers, int64_t wider, int64_t rows, bool softmax) {
  bed_open(b);
  int64_t n = 48;
  ValueId h = bed_column(b, shape_of(2, (int64_t)DIM_ROWS, n), DT_F32);
  for (int i = 0; i < layers; i++, n += wider) {
    Shape wide = shape_of(2, (int64_t)DIM_ROWS, n + wider);
    ValueId w = bed_param(b, shape_of(2, n + wider, n)), bias = bed_param(b, shape_of(1, n + wider));
    ValueId dot = ir_dot(b->g, h, w, NULL, NULL, 0, (int64_t[]){1}, (int64_t[]){1}, 1);
    h = ir_un(b->g, OP_RELU, ir_bin(b->g, OP_ADD, dot, ir_bcast(b->g, bias, &wide, (int64_t[]){-1, 0})));
  }
  if (softmax) {
    ValueId e = ir_un(b->g, OP_EXP, h), sum = ir_reduce(b->g, OP_SUM, e, (int64_t[]){1}, 1);
    h = ir_bin(b->g, OP_DIV, e, ir_bcast(b->g, sum, &b->g->v[e].shape, (int64_t[]){0, -1}));
  }
  ValueId loss = bed_all(b, ir_bin(b->g, OP_MUL, h, h));
  b->p->origins[b->p->n_origins++] = (ProgOrigin){.name = "loss", .value = loss};
  graph_root(b->g, ROOT_LOSS, 0, 0, loss);
  pass_autodiff(b->p);
  pass_mask(b->p);
  b->g = b->p->step = pass_simplify(b->p->step, b->a);
  bed_compile(b, rows);
  bed_input(b, rows, 2);
}

static BackendTimes deep_model(int layers) {
  Bed b;
  deep_open(&b, layers, 0, 32, false);
  BackendTimes t = b.code.times;
  bed_close(&b);
  return t;
}

static void layers_share_kernels(void **state) {
  (void)state;
  BackendTimes four = deep_model(4), sixteen = deep_model(16);
  printf("4 layers: %u kernels, %u uses; 16 layers: %u kernels, %u uses\n", four.kernels, four.kernel_uses,
         sixteen.kernels, sixteen.kernel_uses);
  assert_true(sixteen.kernel_uses >= four.kernel_uses + 12 * 3);
  assert_true(sixteen.kernels <= four.kernels + 1);
}

/* Activations of more than a megabyte. How many large outputs of steps of a kind take an input's place; all roots as the interpreter has
 * them, of a whole batch and of the last one of an epoch, with equal bits for every number of threads. */
static uint32_t large_in_place(Bed *b, StepKind kind) {
  const PlanFn *f = &b->plan->train;
  uint32_t n = 0;
  for (uint32_t i = 0; i < f->n_steps; i++)
    for (uint32_t k = 0; k < f->steps[i].n_outs; k++) {
      const Buffer *x = &f->buffers[f->steps[i].outs[k].buffer];
      n += f->steps[i].kind == kind && x->over && x->bytes > PLAN_LARGE;
    }
  const double **bits = ARENA_NEWS(b->a, const double *, b->g->n_roots);
  for (int part = 0; part < 2; part++) {
    if (part) b->in.rows = 203;
    const EvalResult want = graph_eval(b->g, b->a, &b->in);
    for (int threads = 1; threads <= 4; threads++) {
      run_open(&b->run, b->a, b->plan, b->code.job.train.fn.work_bytes, &b->in);
      run_threads(&b->run, b->code.job.train.fn.entry, threads);
      for (uint32_t i = 0; i < b->g->n_roots; i++) {
        const ValueId v = b->g->roots[i].value;
        const int64_t count = shape_count(&b->g->v[v].shape, b->in.rows);
        const double *got = run_root(&b->run, b->a, f, i, &b->in);
        if (threads == 1) bits[i] = got;
        assert_memory_equal(bits[i], got, (size_t)count * sizeof *got);
        double size = 0, off = 0; /* rounding grows with the layers */
        for (int64_t k = 0; k < count; k++) size = fmax(size, fabs(want.value[v][k])), off = fmax(off, fabs(got[k] - want.value[v][k]));
        if (!(off <= 2e-5 * size)) fail_msg("root %u: off by %g of %g", i, off, size);
      }
      run_close(&b->run);
    }
  }
  return n;
}

static void large_steps_in_place(void **state) {
  (void)state;
  Bed b;
  deep_open(&b, 3, 150, 800, false);
  assert_true(large_in_place(&b, STEP_GEMM) > 0);
  bed_close(&b);
  deep_open(&b, 1, 448, 800, true);
  assert_true(large_in_place(&b, STEP_MAP) > 0);
  bed_close(&b);
}

/* However the functions are divided between objects, they are all there and compute the same bits. */
static void divided_is_the_same(void **state) {
  (void)state;
  Bed b;
  deep_open(&b, 12, 5, 32, false);
  assert_true(b.plan->train.n_steps > 32 && b.code.object.n == 1);
  double *want[64], *got;
  for (uint32_t threads = 1; threads <= 40; threads = threads * 2 + 1) {
    Code c;
    code_open_divided(&c, b.a, b.plan, threads);
#ifndef ROUTEC_SANITIZE
    assert_true(c.object.n == threads || (threads > 1 && c.object.n > 2 && c.object.n <= OBJECT_PARTS));
#endif
    assert_true(c.times.units == c.object.n && c.times.kernels == b.code.times.kernels && c.times.kernel_uses == b.code.times.kernel_uses);
    run_open(&b.run, b.a, b.plan, c.job.train.fn.work_bytes, &b.in);
    run_threads(&b.run, c.job.train.fn.entry, 2);
    assert_true(b.g->n_roots <= 64 && b.run.frame.bad_step < 0);
    for (uint32_t i = 0; i < b.g->n_roots; i++) {
      got = run_root(&b.run, b.a, &b.plan->train, i, &b.in);
      if (threads == 1) want[i] = got;
      else assert_memory_equal(got, want[i], (size_t)shape_count(&b.g->v[b.g->roots[i].value].shape, 0) * sizeof *got);
    }
    run_close(&b.run);
    code_close(&c);
  }
  bed_close(&b);
}

/* What the loader is given need not be what the back end made. */
static void parts_that_are_none(void **state) {
  (void)state;
  Bed b;
  const char *why = NULL;
  deep_open(&b, 12, 5, 32, false);
  Code c;
  code_open_divided(&c, b.a, b.plan, 2);
  ObjectCode o = c.object;
  Job job = c.job;
  assert_null(loader_open(&(ObjectCode){.n = 0}, &job, &why));
  assert_non_null(strstr(why, "there is none"));
  assert_null(loader_open(&(ObjectCode){.n = OBJECT_PARTS + 1}, &job, &why));
#ifndef ROUTEC_SANITIZE
  for (uint32_t i = 0; i < 2; i++) { /* one object alone lacks what is in the other */
    o.n = 1, o.part[0] = c.object.part[i];
    assert_null(loader_open(&o, &job, &why));
    assert_true(strstr(why, "nothing is called") || strstr(why, "does not define"));
  }
  o = c.object;
  o.part[1].size = o.part[1].size / 2;
  assert_null(loader_open(&o, &job, &why));
#endif
  code_close(&c);
  bed_close(&b);
}

/* What `routec build` does: the same object bytes, linked by cc, give the same bits. */
static void object_links(void **state) {
  (void)state;
  Bed b;
  bed_open(&b);
  ValueId x = bed_column(&b, shape_of(2, (int64_t)DIM_ROWS, (int64_t)33), DT_F32);
  ValueId rate = ir_un(b.g, OP_EXP, ir_un(b.g, OP_NEG, ir_clock(b.g, CLOCK_STEP))); /* libm */
  Shape s = b.g->v[x].shape;
  ValueId y =
      ir_bin(b.g, OP_MUL, ir_un(b.g, OP_TANH, x), ir_bcast_scalar(b.g, ir_cast(b.g, rate, DT_F32), &s));
  graph_root(b.g, ROOT_KEEP, 0, 0, y);
  bed_compile(&b, 9);
  bed_input(&b, 9, 4);
  char folder[] = "/tmp/routec-object-XXXXXX";
  assert_non_null(mkdtemp(folder));
  char *object = arena_printf(b.a, "%s/code.o", folder), *library = arena_printf(b.a, "%s/code.so", folder);
  FILE *f = fopen(object, "wb");
  assert_non_null(f);
  assert_int_equal(b.code.object.n, 1);
  assert_int_equal(fwrite(b.code.object.part[0].bytes, 1, b.code.object.part[0].size, f), b.code.object.part[0].size);
  fclose(f);
  assert_int_equal(system(arena_printf(b.a, "cc -shared -o %s %s -lm", library, object)), 0);
  void *lib = dlopen(library, RTLD_NOW);
  assert_non_null(lib);
  union {
    void *address;
    JobEntry entry;
  } linked = {.address = dlsym(lib, "routec_train")};
  const int64_t *work = dlsym(lib, "routec_train_work");
  assert_true(linked.entry && work && *work == plan_work_bytes(&b.plan->train));
  double *got[2];
  for (int i = 0; i < 2; i++) {
    run_open(&b.run, b.a, b.plan, *work, &b.in);
    b.run.frame.step = 2;
    run_threads(&b.run, i ? linked.entry : b.code.job.train.fn.entry, 2);
    got[i] = run_root(&b.run, b.a, &b.plan->train, 0, &b.in);
    run_close(&b.run);
  }
  assert_memory_equal(got[0], got[1], 9 * 33 * sizeof(double));
  dlclose(lib);
  unlink(object), unlink(library), rmdir(folder);
  bed_close(&b);
}

static void targets(void **state) {
  (void)state;
  TargetInfo t;
  assert_true(backend_target(NULL, &t) && t.cpu[0] && t.l1 > 0 && t.l2 > 0);
  assert_true(backend_target("x86-64-v3", &t) && t.vector_floats == 8 && t.fma);
  assert_true(backend_target("x86-64-v4", &t) && t.vector_floats == 16);
  assert_true(backend_target("x86-64-v2", &t) && t.vector_floats == 4 && !t.fma);
  assert_false(backend_target("x86-64-v9", &t));
}

/* ---- the thread sanitizer sees what emitted code does ---- */
static void no_barrier(JobFrame *f, int64_t tid) { (void)f, (void)tid; }

/* Every sum needs all of what threads have shared out before it. */
static int run_without_barriers(Bed *b) {
  run_open(&b->run, b->a, b->plan, b->code.job.train.fn.work_bytes, &b->in);
  b->run.frame.barrier = no_barrier, b->run.frame.n_steps = 2;
  run_threads(&b->run, b->code.job.train.fn.entry, 4);
  return 0;
}

static void missing_barriers_are_seen(void **state) {
  (void)state;
#ifdef ROUTEC_SANITIZE
  const bool watched = ROUTEC_SANITIZE == SANITIZE_THREAD;
#else
  const bool watched = false;
#endif
  if (!watched) skip();
  Bed b;
  bed_open(&b);
  Shape s = shape_of(2, (int64_t)64, (int64_t)256);
  ValueId p = bed_param(&b, s), norm = bed_all(&b, ir_bin(b.g, OP_MUL, p, p));
  graph_root(b.g, ROOT_LOSS, 0, 0, norm);
  graph_root(b.g, ROOT_PARAM, 0, 0, ir_bin(b.g, OP_SUB, p, ir_bcast_scalar(b.g, norm, &s)));
  bed_compile(&b, 2);
  bed_input(&b, 6, 11);
  fflush(NULL);
  const pid_t pid = fork();
  if (!pid) {
    if (!freopen("/dev/null", "w", stderr)) _exit(1);
    exit(run_without_barriers(&b)); /* the sanitizer gives the exit code */
  }
  int status = 0;
  assert_true(pid > 0 && waitpid(pid, &status, 0) == pid);
  assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 66);
  bed_close(&b);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(block_of_steps),
                                     cmocka_unit_test(update_in_place),
                                     cmocka_unit_test(columns_stay_with_their_thread),
      cmocka_unit_test(bad_loss_stops),
                                     cmocka_unit_test(masks_are_exact),
                                     cmocka_unit_test(large_reductions),
                                     cmocka_unit_test(row_sets),
                                     cmocka_unit_test(layers_share_kernels),
                                     cmocka_unit_test(large_steps_in_place),
                                     cmocka_unit_test(divided_is_the_same),
                                     cmocka_unit_test(parts_that_are_none),
                                     cmocka_unit_test(object_links),
                                     cmocka_unit_test(targets),
                                     cmocka_unit_test(missing_barriers_are_seen)};
  int failed = cmocka_run_group_tests_name("this machine", tests, NULL, NULL);
  step_target = "x86-64-v3";
  TargetInfo t;
  if (!backend_target(NULL, &t) || !t.fma) return printf("SKIPPED: AVX2 code, which this CPU does not run\n"), failed;
  return failed + cmocka_run_group_tests_name(step_target, tests, NULL, NULL);
}
