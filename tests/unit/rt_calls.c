/* SPDX-License-Identifier: Apache-2.0
 * Calls of plugins by the runtime alone: any number of threads gives the same bits, tiles add up to the whole, gaps between rows
 * stay as they were, rows may be few or none, and what is masked is exactly 0. */
#define ROUTE_PLUGIN_ENTRY route_plugin_of_test
#include "../plugins/calls.c"
#include "plugin_call.h"
#include "pool.h"
#include <setjmp.h>
#include <stdlib.h>
#include <cmocka.h>

enum { MAX_ROWS = 700, COLS = 19, LD = 32, GAP = 77 };

typedef struct Bench {
  Job job;
  JobPlugin plugin;
  JobShare factor;
  JobCall call;
  JobCallInput in[2][2];
  JobCallStep steps[2]; /* value, gradient */
  float x[MAX_ROWS * LD], y[MAX_ROWS * LD], dx[MAX_ROWS * LD], dy[MAX_ROWS * LD], out[MAX_ROWS * LD], w[MAX_ROWS * LD];
  int32_t label[MAX_ROWS], datum[MAX_ROWS];
  void *at[2][8];
  int64_t rows;
} Bench;

static float number(size_t i) { return (float)((i * 2654435761u >> 7) % 2001) / 1000 - 1; }

/* n_inputs: x and y, or x and label. */
static Bench *bench(JobAbility ability, const char *op, uint32_t n_inputs, bool label) {
  Bench *b = calloc(1, sizeof *b);
  assert_non_null(b);
  b->plugin = (JobPlugin){.name = "calls", .entry = route_plugin_of_test};
  b->factor = (JobShare){0.5, -1};
  b->call = (JobCall){.op = op, .ability = ability, .params = &b->factor, .n_params = 1, .stream = 77};
  for (int g = 0; g < 2; g++) {
    for (uint32_t i = 0; i < 2; i++)
      b->in[g][i] = (JobCallInput){.cols = label && i ? 1 : COLS, .ld = label && i ? 1 : LD, .dx_ld = LD, .label = label && i};
    b->steps[g] = (JobCallStep){.site = ability == JOB_REDUCE ? 0 : (uint32_t)g, .gradient = g, .training = true, .by_datum = true, .per = 1,
                                .max_rows = MAX_ROWS, .n_inputs = n_inputs, .inputs = b->in[g], .out_cols = COLS, .value_ld = LD, .dy_ld = LD,
                                .tile_rows = 30, .tile_cols = COLS};
  }
  b->job = (Job){.plugins = &b->plugin, .n_plugins = 1, .calls = &b->call, .n_calls = 1, .call_steps = b->steps, .n_call_steps = 2};
  for (size_t i = 0; i < MAX_ROWS * LD; i++) {
    const bool gap = i % LD >= COLS;
    b->x[i] = number(i), b->y[i] = number(i + 5), b->dy[i] = number(i + 9), b->dx[i] = b->w[i] = gap ? GAP : 3;
  }
  for (int i = 0; i < MAX_ROWS; i++) b->label[i] = i % 7, b->datum[i] = 2 * i + 1;
  uint32_t n = 0, m = 0;
  void *const second = label ? (void *)b->label : (void *)b->y;
  b->at[0][n++] = b->x, b->at[1][m++] = b->x;
  if (n_inputs > 1) b->at[0][n++] = second, b->at[1][m++] = second;
  if (ability == JOB_GATE) b->at[0][n++] = b->datum, b->at[1][m++] = b->datum;
  b->at[0][n] = b->out;
  b->at[1][m++] = b->out, b->at[1][m++] = b->dy, b->at[1][m++] = b->dx;
  if (n_inputs > 1 && !label) b->at[1][m++] = b->w;
  return b;
}

/* Value, then gradient, as emitted code would. */
static void entry(JobFrame *f, int64_t tid) {
  Bench *b = f->host;
  for (int g = 0; g < 2; g++) {
    f->call(f, tid, g, b->rows, 5, b->at[g]);
    f->barrier(f, tid);
  }
}

static Pool *pool;
static void barrier(JobFrame *f, int64_t tid) { (void)f, (void)tid, pool_barrier(pool); }

static void run(Bench *b, int threads, int64_t rows) {
  RtError e = {0};
  assert_true(plugins_load(&b->job, NULL, &e));
  PluginCalls *calls = calls_open(&b->job, &e);
  if (!calls) fail_msg("%s", e.message);
  pool = pool_create(threads, &e);
  JobFrame f = {.call = calls_run, .calls = calls, .barrier = barrier, .host = b, .seed = 3};
  b->rows = rows;
  for (int again = 0; again < 3; again++) pool_run(pool, entry, &f);
  pool_destroy(pool);
  calls_close(calls);
}

static Bench *make(int ability) {
  switch (ability) {
  case JOB_SPAN: return bench(JOB_SPAN, "quartic", 1, false);
  case JOB_REDUCE: return bench(JOB_REDUCE, "covary", 2, false);
  default: return bench(JOB_GATE, "lottery", 2, true);
  }
}

static void threads_share_no_bit(void **state) {
  (void)state;
  static const int64_t rows[] = {MAX_ROWS, 699, 65, 1, 0};
  for (int ability = JOB_SPAN; ability <= JOB_GATE; ability++)
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
      Bench *one = make(ability);
      run(one, 1, rows[k]);
      for (int n = 2; n <= 4; n++) {
        Bench *many = make(ability);
        run(many, n, rows[k]);
        assert_memory_equal(one->out, many->out, sizeof one->out);
        assert_memory_equal(one->dx, many->dx, sizeof one->dx);
        assert_memory_equal(one->w, many->w, sizeof one->w);
        free(many);
      }
      for (int64_t i = 0; i < MAX_ROWS * LD; i++) { /* gaps, and rows that are not there */
        if (i % LD < COLS && i / LD < rows[k]) continue;
        assert_true(one->dx[i] == (i % LD < COLS ? 3 : GAP));
      }
      free(one);
    }
}

/* Against the sums by hand. */
static void tiles_add_up(void **state) {
  (void)state;
  Bench *s = make(JOB_SPAN), *r = make(JOB_REDUCE);
  run(s, 2, 699), run(r, 2, 699);
  double fourth = 0, product = 0;
  for (int64_t i = 0; i < 699; i++) {
    double a = 0, b = 0;
    for (int64_t c = 0; c < COLS; c++) {
      const double x = s->x[i * LD + c];
      fourth += 0.5 * x * x * x * x / 4, a += x, b += r->y[i * LD + c];
      assert_true(fabs(s->dx[i * LD + c] - 0.5 * s->dy[0] * x * x * x) < 1e-6);
    }
    product += a * b / 699;
  }
  assert_true(fabs(s->out[0] - fourth) < 1e-5 * fourth);
  assert_true(fabs(r->out[0] - 0.5 * product * product) < 1e-5 * (1 + 0.5 * product * product));
  free(s), free(r);
}

/* A row of dy that is 0 gives 0, even beside NaN; a number that is 0 gives zeros. */
/* What a plugin stores is what it adds to zeros. */
static void stored_is_added(void **state) {
  (void)state;
  Bench *b = make(JOB_SPAN);
  b->call.op = "absolute";
  run(b, 2, 699);
  for (int64_t i = 0; i < MAX_ROWS * LD; i++) {
    if (i % LD < COLS && i / LD < 699) assert_true(b->dx[i] == 0.5f * b->dy[0] * (float)((b->x[i] > 0) - (b->x[i] < 0)));
    else assert_true(b->dx[i] == (i % LD < COLS ? 3 : GAP));
  }
  free(b);
}

static void masked_is_zero(void **state) {
  (void)state;
  for (int ability = JOB_SPAN; ability <= JOB_GATE; ability++) {
    Bench *b = make(ability);
    b->x[3 * LD + 1] = NAN;
    for (int64_t i = 0; i < LD; i++) b->dy[3 * LD + i] = i < COLS ? 0 : GAP;
    if (ability != JOB_GATE) b->dy[0] = 0;
    run(b, 2, MAX_ROWS);
    for (int64_t c = 0; c < COLS; c++) assert_true(b->dx[3 * LD + c] == 0);
    free(b);
  }
}

/* Draws are the row's own: the same datum elsewhere in the batch has the same weight. */
static void draws_follow_the_datum(void **state) {
  (void)state;
  Bench *a = make(JOB_GATE), *b = make(JOB_GATE);
  for (int64_t i = 0; i < LD; i++) b->x[600 * LD + i] = a->x[4 * LD + i];
  b->datum[600] = a->datum[4], b->label[600] = a->label[4];
  run(a, 1, MAX_ROWS), run(b, 3, 650);
  assert_memory_equal(a->out + 4 * LD, b->out + 600 * LD, COLS * sizeof(float));
  b->datum[600] = 1234567;
  run(b, 1, 650);
  assert_memory_not_equal(a->out + 4 * LD, b->out + 600 * LD, COLS * sizeof(float));
  free(a), free(b);
}

/* Gradients for a map that stores what it is given: the same as those that are stored at once, whichever thread computes a tile. */
typedef struct Given { Bench *b; int64_t n; uint32_t k; } Given;
static int64_t tiles_seen; /* bits: each once */

static void keep_tile(void *ctx, int64_t t, const float *const *g) {
  const Given *x = ctx;
  Bench *b = x->b;
  const JobCallStep *s = &b->steps[1];
  const int64_t in_row = (COLS + s->tile_cols - 1) / s->tile_cols, row = t / in_row * s->tile_rows, col = t % in_row * s->tile_cols;
  assert_int_equal(__atomic_fetch_or(&tiles_seen, (int64_t)1 << t % 63, __ATOMIC_RELAXED) >> t % 63 & (x->n <= 63), 0);
  for (int64_t r = row; r < row + s->tile_rows && r < b->rows; r++)
    for (int64_t c = col; c < col + s->tile_cols && c < COLS; c++) {
      b->dx[r * LD + c] = g[0][r * LD + c];
      if (x->k > 1) b->w[r * LD + c] = g[1][r * LD + c];
    }
}

static void together_entry(JobFrame *f, int64_t tid) {
  Given *x = f->host;
  Bench *b = x->b;
  const JobTileMap map = keep_tile;
  void *at[3 * 2 + 2];
  for (uint32_t i = 0; i < x->k; i++) at[3 * i] = b->at[1][0], at[3 * i + 1] = b->at[1][1], at[3 * i + 2] = b->at[1][2];
  memcpy(&at[3 * x->k], &map, sizeof map);
  at[3 * x->k + 1] = x;
  f->call(f, tid, 1, b->rows, 5, at);
  f->barrier(f, tid);
}

static void gradients_for_a_map(void **state) {
  (void)state;
  static const struct { int64_t rows, tile_rows, tile_cols; } cuts[] = {{700, 50, COLS}, {699, 50, COLS}, {21, 1, 7}, {1, 50, COLS}, {0, 50, COLS}};
  for (size_t k = 0; k < sizeof cuts / sizeof *cuts; k++)
    for (int threads = 1; threads <= 4; threads++) {
      Bench *want = make(JOB_SPAN), *got = make(JOB_SPAN);
      if (threads > 2) want->call.op = got->call.op = "absolute"; /* has store() */
      run(want, 1, cuts[k].rows);
      RtError e = {0};
      JobCallStep steps[3] = {got->steps[0], got->steps[1], got->steps[1]};
      for (int i = 1; i < 3; i++) steps[i].tile_rows = cuts[k].tile_rows, steps[i].tile_cols = cuts[k].tile_cols, steps[i].site = (uint32_t)i;
      steps[1].together = 2;
      got->steps[1] = steps[1];
      got->job.call_steps = steps, got->job.n_call_steps = 3;
      assert_true(plugins_load(&got->job, NULL, &e));
      PluginCalls *calls = calls_open(&got->job, &e);
      assert_non_null(calls);
      pool = pool_create(threads, &e);
      const int64_t in_row = (COLS + cuts[k].tile_cols - 1) / cuts[k].tile_cols;
      Given x = {got, (cuts[k].rows + cuts[k].tile_rows - 1) / cuts[k].tile_rows * in_row, 2};
      JobFrame f = {.call = calls_run, .calls = calls, .barrier = barrier, .host = &x, .seed = 3};
      got->rows = cuts[k].rows, tiles_seen = 0;
      pool_run(pool, together_entry, &f);
      pool_destroy(pool);
      calls_close(calls);
      assert_memory_equal(want->dx, got->dx, sizeof want->dx);
      for (int64_t i = 0; i < cuts[k].rows * LD; i++)
        if (i % LD < COLS) assert_true(got->w[i] == got->dx[i]);
      free(want), free(got);
    }
}

static void refusals(void **state) {
  (void)state;
  static const struct { double factor; const char *op; RtCode code; } rows[] = {
      {13, "quartic", RT_E0755}, {101, "quartic", RT_E0760}, {NAN, "quartic", RT_E0760}, {1, "quintic", RT_E0761}, {1, "covary", RT_E0761}, {14, "covary", RT_E0762}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    RtError e = {0};
    Bench *b = make(rows[i].code == RT_E0762 ? JOB_REDUCE : JOB_SPAN);
    b->factor.value = rows[i].factor, b->call.op = rows[i].op;
    b->call.span = (JobSpan){"some.route", 12, 3};
    assert_true(plugins_load(&b->job, NULL, &e));
    assert_null(calls_open(&b->job, &e));
    assert_int_equal(e.code, rows[i].code);
    assert_int_equal(e.span.line, 12);
    assert_true(rt_code_is_plugin(e.code));
    free(b);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(threads_share_no_bit), cmocka_unit_test(tiles_add_up), cmocka_unit_test(masked_is_zero), cmocka_unit_test(stored_is_added),
                                     cmocka_unit_test(draws_follow_the_datum), cmocka_unit_test(gradients_for_a_map),
                                     cmocka_unit_test(refusals)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
