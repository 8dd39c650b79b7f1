/* SPDX-License-Identifier: Apache-2.0
 * rt_rng.c -- Philox against Random123's known answers; shuffles; initial values and strided copies of
 * parameters. */
#include "params.h"
#include "data.h"
#include "rng.h"
#include "rt_toy.h"
#include <pthread.h>

static void test_known_answers(void **state) {
  (void)state;
  static const uint32_t kat[][10] = {
      /* counter, key, output: Random123's kat_vectors, philox4x32-10 */
      {0, 0, 0, 0, 0, 0, 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
      {~0u, ~0u, ~0u, ~0u, ~0u, ~0u, 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
      {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0, 0xd16cfe09, 0x94fdcceb,
       0x5001e420, 0x24126ea1}};
  for (size_t i = 0; i < sizeof kat / sizeof *kat; i++) {
    uint32_t out[4];
    rng_philox(kat[i], kat[i] + 4, out);
    assert_memory_equal(out, kat[i] + 6, sizeof out);
  }
  assert_true(rng_uniform(0, 0, 0, 0, 0) == (float)(0x6627e8d5u >> 8) * 0x1p-24f);
}

static void test_shuffle(void **state) {
  (void)state;
  enum { N = 1000 };
  int32_t a[N], b[N], seen[N] = {0};
  data_shuffle(a, N, 5, 3), data_shuffle(b, N, 5, 3);
  assert_memory_equal(a, b, sizeof a);
  for (int i = 0; i < N; i++) seen[a[i]]++;
  for (int i = 0; i < N; i++) assert_int_equal(seen[i], 1);
  data_shuffle(b, N, 5, 4);
  assert_memory_not_equal(a, b, sizeof a);
  data_shuffle(b, N, 6, 3);
  assert_memory_not_equal(a, b, sizeof a);
  data_shuffle(a, 1, 5, 3);
  assert_int_equal(a[0], 0);
  /* first place of 6000 shuffles of three: each value about 2000 times (deviation 37) */
  int first[3] = {0};
  for (uint64_t e = 0; e < 6000; e++) data_shuffle(a, 3, 1, e), first[a[0]]++;
  for (int i = 0; i < 3; i++) assert_in_range(first[i], 1850, 2150);
}

/* The same parameter laid out densely, padded, and transposed. */
static const JobParam layouts[] = {{.path = "w",
                                    .rank = 2,
                                    .dims = {7, 5},
                                    .strides = {5, 1},
                                    .floats = 35,
                                    .init = JOB_INIT_UNIFORM,
                                    .a = -2,
                                    .b = 3,
                                    .stream = 99,
                                    .n_states = 0},
                                   {.path = "w",
                                    .rank = 2,
                                    .dims = {7, 5},
                                    .strides = {16, 1},
                                    .floats = 112,
                                    .init = JOB_INIT_UNIFORM,
                                    .a = -2,
                                    .b = 3,
                                    .stream = 99},
                                   {.path = "w",
                                    .rank = 2,
                                    .dims = {7, 5},
                                    .strides = {1, 16},
                                    .floats = 80,
                                    .init = JOB_INIT_UNIFORM,
                                    .a = -2,
                                    .b = 3,
                                    .stream = 99}};

static void test_init_is_logical(void **state) {
  (void)state;
  float dense[3][35];
  for (int i = 0; i < 3; i++) {
    Job job = {.params = &layouts[i], .n_params = 1, .store_bytes = 112 * 4};
    Slab store;
    RtError e = {0};
    assert_true(params_alloc(&job, &store, &e));
    assert_int_equal((uintptr_t)store.bytes % 64, 0);
    params_init(&job, 42, store.bytes);
    param_read(&layouts[i], param_base(&layouts[i], store.bytes, -1), dense[i]);
    int zeros = 0; /* padding stays zero */
    for (int k = 0; k < 112; k++) zeros += ((float *)(void *)store.bytes)[k] == 0;
    assert_int_equal(zeros, 112 - 35);
    slab_free(&store);
  }
  assert_memory_equal(dense[0], dense[1], sizeof dense[0]);
  assert_memory_equal(dense[0], dense[2], sizeof dense[0]);
  /* element 6 is word 2 of block 1 */
  const uint32_t counter[4] = {1, 0, 0, 99}, key[2] = {42, 0};
  uint32_t out[4];
  rng_philox(counter, key, out);
  assert_true(dense[0][6] == (float)(-2 + 5 * ((double)(out[2] >> 8) * 0x1p-24)));
  for (int k = 0; k < 35; k++) assert_true(dense[0][k] >= -2 && dense[0][k] < 3);
}

static void *draw_main(void *d) {
  draw_help(d);
  return NULL;
}

/* Drawn by one thread or three, in rows of one element or of all: element i is the same. */
static void test_drawn_by_many(void **state) {
  (void)state;
  enum { N = 300007, ROWS = 7, ROW = 42858 };
  const JobParam p[] = {
      {.path = "flat", .rank = 1, .dims = {N}, .strides = {1}, .floats = N, .init = JOB_INIT_UNIFORM, .a = -1, .b = 1, .stream = 5},
      {.path = "rows", .rank = 2, .dims = {ROWS, ROW}, .strides = {ROW + 6, 1}, .offset = 4 * N + 4, .floats = ROWS * (ROW + 6),
       .init = JOB_INIT_UNIFORM, .a = -1, .b = 1, .stream = 5},
      {.path = "columns", .rank = 2, .dims = {ROWS, ROW}, .strides = {1, ROWS + 9}, .offset = 8 * N + 400, .floats = ROW * (ROWS + 9),
       .init = JOB_INIT_UNIFORM, .a = -1, .b = 1, .stream = 5},
      {.path = "thin", .rank = 2, .dims = {N, 1}, .strides = {2, 1}, .offset = 8 * N + 448 + 64 * ROW, .floats = 2 * N, .init = JOB_INIT_UNIFORM,
       .a = -1, .b = 1, .stream = 5},
      {.path = "none", .rank = 2, .dims = {0, 3}, .strides = {3, 1}, .init = JOB_INIT_UNIFORM, .a = -1, .b = 1, .stream = 5},
      {.path = "one", .offset = 16 * N + 512 + 64 * ROW, .floats = 1, .init = JOB_INIT_CONSTANT, .a = 2}};
  Job job = {.params = p, .n_params = sizeof p / sizeof *p, .store_bytes = 16 * N + 576 + 64 * ROW};
  Slab alone, many;
  RtError e = {0};
  assert_true(params_alloc(&job, &alone, &e) && params_alloc(&job, &many, &e));
  params_init(&job, 7, alone.bytes);
  ParamDraw d;
  pthread_t t[3];
  draw_begin(&d, &job, 7, many.bytes);
  for (int i = 0; i < 3; i++) assert_int_equal(pthread_create(&t[i], NULL, draw_main, &d), 0);
  for (int i = 0; i < 3; i++) pthread_join(t[i], NULL);
  assert_memory_equal(alone.bytes, many.bytes, (size_t)job.store_bytes);
  float *flat = malloc(4 * N), *other = malloc(4 * (size_t)(ROWS * ROW > N ? ROWS * ROW : N));
  assert_true(flat && other);
  param_read(&p[0], param_base(&p[0], alone.bytes, -1), flat);
  for (uint32_t i = 1; i < 4; i++) {
    param_read(&p[i], param_base(&p[i], alone.bytes, -1), other);
    assert_memory_equal(flat, other, 4 * (size_t)(ROWS * ROW < N ? ROWS * ROW : N));
  }
  const uint32_t key[2] = {7, 0};
  for (uint32_t i = 0; i < N; i++) {
    uint32_t w[4];
    rng_philox((uint32_t[]){i / 4, 0, 0, 5}, key, w);
    assert_true(flat[i] == (float)(-1 + 2 * ((double)(w[i % 4] >> 8) * 0x1p-24)));
  }
  assert_true(*param_base(&p[5], alone.bytes, -1) == 2);
  free(flat), free(other), slab_free(&alone), slab_free(&many);
}

static void test_normal(void **state) {
  (void)state;
  enum { N = 40001 };
  const JobParam p = {.path = "w",
                      .rank = 1,
                      .dims = {N},
                      .strides = {1},
                      .floats = N,
                      .init = JOB_INIT_NORMAL,
                      .a = 1,
                      .b = 2,
                      .stream = 3};
  Job job = {.params = &p, .n_params = 1, .store_bytes = N * 4};
  Slab store;
  RtError e = {0};
  assert_true(params_alloc(&job, &store, &e));
  params_init(&job, 1, store.bytes);
  const float *v = (const float *)(void *)store.bytes;
  double mean = 0, square = 0, fourth = 0;
  for (int i = 0; i < N; i++) mean += (double)v[i] / N;
  for (int i = 0; i < N; i++) {
    double d = ((double)v[i] - mean) / 2;
    square += d * d / N, fourth += d * d * d * d / N;
  }
  assert_true(fabs(mean - 1) < 0.04 && fabs(square - 1) < 0.04 && fabs(fourth - 3) < 0.3);
  slab_free(&store);
}

static void test_streams_differ(void **state) {
  (void)state;
  JobParam p[3] = {layouts[0], layouts[0], layouts[0]};
  p[1].stream = 98, p[1].offset = 512, p[2].stream = 99 + ((uint64_t)1 << 40), p[2].offset = 1024;
  Job job = {.params = p, .n_params = 3, .store_bytes = 2048};
  Slab a, b;
  RtError e = {0};
  assert_true(params_alloc(&job, &a, &e) && params_alloc(&job, &b, &e));
  params_init(&job, 42, a.bytes), params_init(&job, 43, b.bytes);
  assert_memory_not_equal(a.bytes, a.bytes + 512, 140);
  assert_memory_not_equal(a.bytes, a.bytes + 1024, 140);
  assert_memory_not_equal(a.bytes, b.bytes, 140);
  slab_free(&a), slab_free(&b);
}

static void test_write_read(void **state) {
  (void)state;
  const JobParam p = {.path = "w", .rank = 3, .dims = {2, 3, 4}, .strides = {1, 32, 4}, .floats = 96};
  float dense[24], back[24], *storage = calloc(96, 4);
  for (int i = 0; i < 24; i++) dense[i] = (float)i + 1;
  param_write(&p, storage, dense);
  assert_true(storage[1 + 2 * 32 + 3 * 4] == 24); /* [1, 2, 3] */
  param_read(&p, storage, back);
  assert_memory_equal(dense, back, sizeof dense);
  const JobParam scalar = {.path = "s"};
  param_write(&scalar, storage, dense);
  assert_true(storage[0] == 1);
  free(storage);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_known_answers),   cmocka_unit_test(test_shuffle),
      cmocka_unit_test(test_init_is_logical), cmocka_unit_test(test_drawn_by_many), cmocka_unit_test(test_normal),
      cmocka_unit_test(test_streams_differ),  cmocka_unit_test(test_write_read)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
