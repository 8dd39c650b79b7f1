/* SPDX-License-Identifier: Apache-2.0
 * rt_draw.c -- drawn labels: exact counts, a function of seed and datum alone; orders of epochs: every kind
 * of batches. */
#include "draw.h"
#include "order.h"
#include "rt_toy.h"

enum { N = 1000, MEMBERS = 337 };
static const JobSpan here = {"x.route", 1, 1};

static void members_fill(int32_t *label, int n) {
  for (int i = 0; i < n; i++) label[i] = i * 7 % N < MEMBERS;
}

static int count(const int32_t *label, const int32_t *of, int member, int which) {
  int n = 0;
  for (int i = 0; i < N; i++) n += of[i] == member && label[i] == which;
  return n;
}

static void test_counts_are_exact(void **state) {
  (void)state;
  int32_t truth[N], label[N];
  RtError e = {0};
  members_fill(truth, N);
  for (int k = 0; k <= 20; k++) {
    const double recall = k / 20.0;
    for (int p = 1; p <= 20; p++) {
      const DrawShares s = {recall, p / 20.0, -1, 0.3};
      members_fill(label, N);
      const int hits = (int)floor(recall * MEMBERS + 0.5);
      const double wrong = hits ? floor(hits * (1 - s.precision) / s.precision + 0.5) : 0;
      const bool can = wrong <= N - MEMBERS;
      assert_int_equal(draw_observe(label, N, &s, 11, "c", &here, &e), can);
      if (!can) {
        assert_int_equal(e.code, RT_E0746);
        e = (RtError){0};
        continue;
      }
      assert_int_equal(count(label, truth, 1, LABEL_YES), hits);
      assert_int_equal(count(label, truth, 1, LABEL_NO), 0); /* nothing of the class is labelled no */
      assert_int_equal(count(label, truth, 0, LABEL_YES), (int)wrong);
      const int rest = N - MEMBERS - (int)wrong;
      assert_int_equal(count(label, truth, 0, LABEL_NO), (int)floor(0.3 * rest + 0.5));
    }
  }
}

static void test_false_positives(void **state) {
  (void)state;
  int32_t truth[N], label[N];
  RtError e = {0};
  const DrawShares s = {0.5, -1, 0.1, 1}, bad = {1.5, -1, -1, 0};
  members_fill(truth, N), members_fill(label, N);
  assert_true(draw_observe(label, N, &s, 3, "c", &here, &e));
  assert_int_equal(count(label, truth, 0, LABEL_YES), 66);
  assert_int_equal(count(label, truth, 0, LABEL_NO), N - MEMBERS - 66);
  assert_false(draw_observe(label, N, &bad, 3, "c", &here, &e));
  assert_int_equal(e.code, RT_E0746);
}

/* A label belongs to a datum: more data behind it change only who is among the smallest keys, and a higher
 * recall only adds. */
static void test_keyed_by_datum(void **state) {
  (void)state;
  int32_t a[N], b[N], c[N];
  RtError e = {0};
  const DrawShares low = {0.25, -1, 0.1, 0.5}, high = {0.75, -1, 0.1, 0.5};
  members_fill(a, N), members_fill(b, N), members_fill(c, N);
  assert_true(draw_observe(a, N, &low, 5, "c", &here, &e) && draw_observe(b, N, &low, 5, "c", &here, &e));
  assert_memory_equal(a, b, sizeof a);
  assert_true(draw_observe(c, N, &low, 6, "c", &here, &e));
  assert_memory_not_equal(a, c, sizeof a);
  members_fill(c, N);
  assert_true(draw_observe(c, N, &high, 5, "c", &here, &e));
  for (int i = 0; i < N; i++) assert_true(a[i] != LABEL_YES || c[i] == LABEL_YES);
}

static void test_random_like(void **state) {
  (void)state;
  int32_t truth[N], a[N], b[N];
  RtError e = {0};
  members_fill(truth, N);
  for (int i = 0; i < N; i++) a[i] = b[i] = i % 3 - 1;
  assert_true(draw_random_like(a, N, 9, &e) && draw_random_like(b, N, 10, &e));
  assert_memory_not_equal(a, b, sizeof a);
  for (int which = -1; which <= 1; which++)
    assert_int_equal(count(a, truth, 0, which) + count(a, truth, 1, which),
                     (N - which + 1) / 3 + (which == -1 && N % 3 == 2));
}

/* ---- orders
 * ---------------------------------------------------------------------------------------------------- */
typedef struct Bed {
  Job job;
  JobSource source;
  DataPart part;
  const void *columns[2];
  int32_t keep[N], class[N];
  Order order;
  RtError e;
} Bed;
static const char *const names[] = {"low", "mid", "otherwise"};

static Bed *bed_open(JobBatches kind, JobBatchOrder order, const double *share) {
  Bed *b = calloc(1, sizeof *b);
  assert_non_null(b);
  b->source = (JobSource){.name = "points"};
  b->job.sources = &b->source, b->job.n_sources = 1;
  for (int i = 0; i < N; i++) b->keep[i] = i % 10 != 0, b->class[i] = i % 7 == 1 ? 0 : i % 7 == 2 ? 1 : 2;
  b->columns[0] = b->keep, b->columns[1] = b->class;
  b->part = (DataPart){.name = "train", .rows = N, .columns = b->columns};
  b->job.train = (JobTrain){.present = true,
                            .batch = 32,
                            .filter = 1,
                            .by = 2,
                            .batches = kind,
                            .order = order,
                            .n_classes = 3,
                            .class_names = names,
                            .share = share,
                            .shuffle = true};
  b->order.epoch = -1;
  return b;
}

static void bed_close(Bed *b) {
  order_free(&b->order);
  free(b);
}

/* Every batch of an epoch as class counts; no datum outside of the filter. */
static void bed_epoch(Bed *b, int64_t epoch, int counts[][3]) {
  assert_true(order_epoch(&b->order, &b->job.train, 42, epoch, &b->e));
  const Order *o = &b->order;
  assert_int_equal(o->starts[0], 0), assert_int_equal(o->starts[o->steps], o->rows);
  for (int64_t s = 0; s < o->steps; s++) {
    memset(counts[s], 0, sizeof counts[s]);
    assert_true(o->starts[s + 1] > o->starts[s] && o->starts[s + 1] - o->starts[s] <= 32);
    for (int64_t i = o->starts[s]; i < o->starts[s + 1]; i++) {
      assert_true(b->keep[o->data[i]]);
      counts[s][b->class[o->data[i]]]++;
    }
  }
}

static int kept_of(const Bed *b, int class) {
  int n = 0;
  for (int i = 0; i < N; i++) n += b->keep[i] && b->class[i] == class;
  return n;
}

static void assert_each_once(const Bed *b) {
  int seen[N] = {0};
  for (int64_t i = 0; i < b->order.rows; i++) seen[b->order.data[i]]++;
  for (int i = 0; i < N; i++) assert_int_equal(seen[i], b->keep[i]);
}

static void test_plain_and_filter(void **state) {
  (void)state;
  Bed *b = bed_open(JOB_BATCH_PLAIN, JOB_ORDER_RANDOM, NULL);
  int counts[64][3];
  b->job.train.by = 0, b->job.train.n_classes = 0;
  assert_true(order_plan(&b->order, &b->job, &b->part, &b->e));
  assert_int_equal(b->order.steps, (900 + 31) / 32);
  bed_epoch(b, 0, counts);
  assert_each_once(b);
  b->job.train.drop_last = true;
  assert_true(order_plan(&b->order, &b->job, &b->part, &b->e));
  assert_int_equal(b->order.rows, 900 / 32 * 32);
  memset(b->keep, 0, sizeof b->keep);
  assert_false(order_plan(&b->order, &b->job, &b->part, &b->e));
  assert_int_equal(b->e.code, RT_E0707);
  bed_close(b);
}

static void test_homogeneous(void **state) {
  (void)state;
  int counts[64][3], again[64][3];
  for (int kind = 0; kind < 3; kind++) {
    Bed *b = bed_open(JOB_BATCH_HOMOGENEOUS, (JobBatchOrder)kind, NULL);
    assert_true(order_plan(&b->order, &b->job, &b->part, &b->e));
    bed_epoch(b, 3, counts);
    assert_each_once(b);
    int class[64], blocks = 0;
    for (int64_t s = 0; s < b->order.steps; s++) {
      class[s] = -1;
      for (int c = 0; c < 3; c++)
        if (counts[s][c]) assert_int_equal(class[s], -1), class[s] = c;
      blocks += s == 0 || class[s] != class[s - 1];
    }
    if (kind == JOB_ORDER_BLOCKS) assert_int_equal(blocks, 3);
    if (kind == JOB_ORDER_ALTERNATE)
      for (int64_t s = 0; s < 6; s++) assert_int_equal(class[s], s % 3);
    if (kind == JOB_ORDER_RANDOM) assert_true(blocks > 6);
    int32_t *first = malloc((size_t)b->order.rows * 4);
    memcpy(first, b->order.data, (size_t)b->order.rows * 4);
    bed_epoch(b, 4, again);
    assert_memory_not_equal(first, b->order.data, (size_t)b->order.rows * 4);
    bed_epoch(b, 3, again); /* a function of seed and epoch, not of what came before */
    assert_memory_equal(first, b->order.data, (size_t)b->order.rows * 4);
    free(first);
    bed_close(b);
  }
}

static void test_shares(void **state) {
  (void)state;
  static const double share[] = {0.5, 0.25, 0.25}, skewed[] = {0.9, 0.1, 0};
  int counts[64][3];
  Bed *b = bed_open(JOB_BATCH_SHARES, JOB_ORDER_RANDOM, share);
  assert_true(order_plan(&b->order, &b->job, &b->part, &b->e));
  bed_epoch(b, 0, counts);
  for (int64_t s = 0; s < b->order.steps; s++)
    assert_true(counts[s][0] == 16 && counts[s][1] == 8 && counts[s][2] == 8);
  int seen[N] = {0}, least = N,
      most = 0; /* what runs out starts again: no datum is ahead of another by more than one */
  for (int64_t i = 0; i < b->order.rows; i++) seen[b->order.data[i]]++;
  for (int i = 0; i < N; i++)
    if (b->keep[i] && b->class[i] == 0)
      least = seen[i] < least ? seen[i] : least, most = seen[i] > most ? seen[i] : most;
  assert_true(most - least <= 1 && least >= 1);
  bed_close(b);
  b = bed_open(JOB_BATCH_HOMOGENEOUS, JOB_ORDER_RANDOM, skewed);
  assert_true(order_plan(&b->order, &b->job, &b->part, &b->e));
  bed_epoch(b, 0, counts);
  int batches[3] = {0};
  for (int64_t s = 0; s < b->order.steps; s++)
    for (int c = 0; c < 3; c++) batches[c] += counts[s][c] == 32;
  assert_int_equal(b->order.steps, 29);
  assert_true(batches[0] == 26 && batches[1] == 3 && batches[2] == 0);
  bed_close(b);
}

static void test_order_errors(void **state) {
  (void)state;
  static const double tiny[] = {0.999, 0.001, 0};
  Bed *b = bed_open(JOB_BATCH_SHARES, JOB_ORDER_RANDOM, tiny);
  assert_false(order_plan(&b->order, &b->job, &b->part, &b->e));
  assert_int_equal(b->e.code, RT_E0744);
  bed_close(b);
  b = bed_open(JOB_BATCH_HOMOGENEOUS, JOB_ORDER_RANDOM, NULL);
  for (int i = 0; i < N; i++) b->class[i] = b->class[i] ? b->class[i] : 1;
  assert_int_equal(kept_of(b, 0), 0);
  assert_false(order_plan(&b->order, &b->job, &b->part, &b->e));
  assert_int_equal(b->e.code, RT_E0708);
  b->e = (RtError){0};
  for (int i = 0; i < N; i++) b->class[i] = i % 4; /* 3: in no class */
  assert_false(order_plan(&b->order, &b->job, &b->part, &b->e));
  assert_int_equal(b->e.code, RT_E0709);
  bed_close(b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_counts_are_exact), cmocka_unit_test(test_false_positives),
      cmocka_unit_test(test_keyed_by_datum),   cmocka_unit_test(test_random_like),
      cmocka_unit_test(test_plain_and_filter), cmocka_unit_test(test_homogeneous),
      cmocka_unit_test(test_shares),           cmocka_unit_test(test_order_errors)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
