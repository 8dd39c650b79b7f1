/* SPDX-License-Identifier: Apache-2.0
 * Sound plans, broken on purpose in one place each: plan_verify must see it. */
#include "plan_net.h"

typedef struct Victim {
  Net *net;
  Plan *p;
  PlanFn *f;
} Victim;

static Victim victim(void) {
  Victim v = {.net = net_autoencoder(64, 100, 48, 16)};
  v.p = net_plan(v.net, NULL);
  v.f = &v.p->train;
  assert_null(plan_verify(v.p));
  return v;
}

static void caught(Victim *v, const char *part) {
  const char *why = plan_verify(v->p);
  if (!why) fail_msg("not noticed: %s", part);
  if (!strstr(why, part)) fail_msg("expected `%s`, found `%s`", part, why);
  arena_destroy(v->net->arena);
}

static uint32_t first_step(const PlanFn *f, StepKind k) {
  for (uint32_t i = 0; i < f->n_steps; i++)
    if (f->steps[i].kind == k) return i;
  fail();
  return 0;
}

static BufferId first_buffer(const PlanFn *f, Space s, int rank) {
  for (BufferId b = 1; b < f->n_buffers; b++)
    if (f->buffers[b].space == s && f->buffers[b].shape.rank == rank) return b;
  fail();
  return 0;
}

/* Every buffer alone and for ever, for faults where lives and places are not the point. */
static void keep_all(PlanFn *f) {
  f->work_bytes = 0;
  for (BufferId b = 1; b < f->n_buffers; b++) {
    Buffer *x = &f->buffers[b];
    if (x->space != SPACE_WORK) continue;
    x->first = 0, x->last = UINT32_MAX, x->offset = f->work_bytes;
    f->work_bytes += x->bytes;
  }
}

/* Takes a step out, and closes its wave if it stood alone. */
static void drop_step(PlanFn *f, uint32_t at) {
  bool alone = at && at + 1 < f->n_steps && f->steps[at - 1].wave != f->steps[at].wave &&
               f->steps[at + 1].wave != f->steps[at].wave;
  if (at && !alone) f->steps[at - 1].barrier |= f->steps[at].barrier;
  memmove(f->steps + at, f->steps + at + 1, (f->n_steps - at - 1) * sizeof *f->steps);
  f->n_steps--;
  for (uint32_t i = at; alone && i < f->n_steps; i++) f->steps[i].wave--;
  keep_all(f);
}

static void overlapping_buffers(void **state) {
  (void)state;
  Victim v = victim();
  const Step *s = &v.f->steps[first_step(v.f, STEP_GEMM)];
  v.f->buffers[s->outs[0].buffer].offset = v.f->buffers[s->a.buffer].offset; /* result over an operand */
  caught(&v, "overlap");
}

static void slab_too_small(void **state) {
  (void)state;
  Victim v = victim();
  v.f->work_bytes -= 64;
  caught(&v, "beyond its slab");
}

static void buffer_too_small(void **state) {
  (void)state;
  Victim v = victim();
  v.f->buffers[first_buffer(v.f, SPACE_WORK, 2)].bytes -= 64;
  caught(&v, "holds");
}

static void coinciding_elements(void **state) {
  (void)state;
  Victim v = victim();
  v.f->buffers[first_buffer(v.f, SPACE_WORK, 2)].strides[0] = 1;
  caught(&v, "coincide");
}

static void life_too_short(void **state) {
  (void)state;
  Victim v = victim();
  const Step *s = &v.f->steps[0];
  v.f->buffers[s->outs[0].buffer].last = 0; /* the image, read again by the last weight gradient */
  caught(&v, "life");
}

static void missing_step(void **state) {
  (void)state;
  Victim v = victim();
  drop_step(v.f, first_step(v.f, STEP_REDUCE));
  caught(&v, "before it is written");
}

static void two_dependent_steps_in_one_wave(void **state) {
  (void)state;
  Victim v = victim();
  uint32_t last = 0; /* of the first wave: the next one begins with the sum over all rows */
  while (!v.f->steps[last].barrier) last++;
  for (uint32_t i = last + 1; i < v.f->n_steps; i++) v.f->steps[i].wave--;
  v.f->steps[last].barrier = false;
  const char *why = plan_verify(v.p);
  assert_non_null(why);
  caught(&v, "wave");
}

static void missing_barrier(void **state) {
  (void)state;
  Victim v = victim();
  v.f->steps[v.f->n_steps - 1].barrier = false;
  caught(&v, "barrier");
}

static void store_before_last_read(void **state) {
  (void)state;
  Victim v = victim();
  PlanFn *f = v.f;
  /* The update of a weight directly before the GEMM that passes the adjoint through this weight. */
  for (uint32_t i = 0; i < f->n_steps; i++) {
    Step s = f->steps[i];
    if (s.kind != STEP_GEMM || s.geom.k.rows || s.wave < f->steps[first_step(f, STEP_CHECK)].wave) continue;
    for (uint32_t k = i + 1; k < f->n_steps; k++)
      for (uint32_t o = 0; o < f->steps[k].n_outs; o++)
        if (f->steps[k].outs[o].buffer == s.b.buffer || f->steps[k].outs[o].buffer == s.a.buffer) {
          Step update = f->steps[k];
          uint32_t wave = s.wave;
          memmove(f->steps + i + 1, f->steps + i, (k - i) * sizeof *f->steps);
          update.wave = wave, update.barrier = true;
          f->steps[i] = update;
          for (uint32_t j = i + 1; j < f->n_steps; j++) f->steps[j].wave++;
          f->steps[k].barrier = true;
          keep_all(f);
          const char *why = plan_verify(v.p);
          assert_non_null(why);
          assert_true(strstr(why, "overwritten") || strstr(why, "before it is written"));
          arena_destroy(v.net->arena);
          return;
        }
  }
  fail();
}

static void store_before_the_check(void **state) {
  (void)state;
  Victim v = victim();
  uint32_t at = first_step(v.f, STEP_CHECK);
  Step check = v.f->steps[at];
  drop_step(v.f, at);
  check.wave = v.f->steps[v.f->n_steps - 1].wave + 1, check.barrier = true;
  v.f->steps[v.f->n_steps++] = check;
  caught(&v, "stores before the losses are checked");
}

static void no_check(void **state) {
  (void)state;
  Victim v = victim();
  drop_step(v.f, first_step(v.f, STEP_CHECK));
  caught(&v, "never checked");
}

static void wrong_geometry(void **state) {
  (void)state;
  Victim v = victim();
  v.f->steps[first_step(v.f, STEP_GEMM)].geom.k.n--;
  caught(&v, "geometry");
}

static void wrong_operand_stride(void **state) {
  (void)state;
  Victim v = victim();
  v.f->steps[first_step(v.f, STEP_GEMM)].a.strides[0]++;
  caught(&v, "leaves its buffer");
}

static void wrong_operand(void **state) {
  (void)state;
  Victim v = victim();
  Step *s = &v.f->steps[first_step(v.f, STEP_GEMM)];
  s->swapped = !s->swapped;
  caught(&v, "geometry");
}

static void root_nowhere(void **state) {
  (void)state;
  Victim v = victim();
  v.f->root_buffer[0] = 0;
  caught(&v, "placed nowhere");
}

static void root_not_kept(void **state) {
  (void)state;
  Victim v = victim();
  v.f->buffers[v.f->root_buffer[0]].last = v.f->n_steps - 1;
  caught(&v, "not kept");
}

static void reduction_inlined(void **state) {
  (void)state;
  Victim v = victim();
  uint32_t at = first_step(v.f, STEP_REDUCE);
  v.f->buffer_of[v.f->steps[at].outs[0].value] = 0;
  const char *why = plan_verify(v.p);
  assert_non_null(why);
  arena_destroy(v.net->arena);
}

static void wrong_axes(void **state) {
  (void)state;
  Victim v = victim();
  v.f->steps[first_step(v.f, STEP_REDUCE)].reduced ^= 1;
  caught(&v, "reduces other axes");
}

static void loop_order_not_a_permutation(void **state) {
  (void)state;
  Victim v = victim();
  Step *s = &v.f->steps[first_step(v.f, STEP_MAP)];
  s->order[0] = s->order[1];
  caught(&v, "permutation");
}

/* A product of the backward pass whose epilogue stores over an activation, in a plan of large steps. */
static Victim victim_in_place(uint32_t *step) {
  Victim v = {.net = net_stack(4096, 256, 4)};
  v.p = net_plan(v.net, NULL);
  v.f = &v.p->train;
  assert_null(plan_verify(v.p));
  for (*step = 0; *step < v.f->n_steps; ++*step) {
    const Step *s = &v.f->steps[*step];
    if (s->kind != STEP_GEMM) continue;
    const Buffer *b = &v.f->buffers[s->outs[0].buffer];
    if (b->over && b->bytes == v.f->buffers[s->a.buffer].bytes) return v;
  }
  fail();
  return v;
}

/* Puts what step i stores first where `old` lies, and all else apart. */
static void put_over(Victim *v, uint32_t i, BufferId old) {
  Buffer *b = &v->f->buffers[v->f->steps[i].outs[0].buffer];
  assert_true(b->bytes == v->f->buffers[old].bytes);
  keep_all(v->f);
  b->over = old, b->offset = v->f->buffers[old].offset;
}

static void overwrites_an_operand(void **state) {
  (void)state;
  uint32_t at;
  Victim v = victim_in_place(&at);
  put_over(&v, at, v.f->steps[at].a.buffer);
  caught(&v, "where step");
}

static void overwrites_what_is_read_later(void **state) {
  (void)state;
  uint32_t at;
  Victim v = victim_in_place(&at);
  uint32_t first = first_step(v.f, STEP_GEMM); /* its activation, read again by a weight gradient behind `at` */
  put_over(&v, at, v.f->steps[first].outs[0].buffer);
  caught(&v, "where step");
}

static void overwrites_between_blocks_of_sums(void **state) {
  (void)state;
  uint32_t at;
  Victim v = victim_in_place(&at);
  v.f->steps[at].tile.whole = false;
  caught(&v, "where step");
}

/* The weight gradient that reads the activation too, in the same wave. */
static void overwrites_what_another_thread_reads(void **state) {
  (void)state;
  uint32_t at;
  Victim v = victim_in_place(&at);
  const BufferId old = v.f->buffers[v.f->steps[at].outs[0].buffer].over;
  put_over(&v, at, old);
  assert_null(plan_verify(v.p));
  uint32_t reader = at;
  while (v.f->steps[--reader].kind != STEP_GEMM || (v.f->steps[reader].a.buffer != old && v.f->steps[reader].b.buffer != old)) assert_true(reader);
  const uint32_t by = v.f->steps[at].wave - v.f->steps[reader].wave;
  assert_true(by == 1);
  if (v.f->steps[reader].barrier) v.f->steps[reader - 1].barrier = true;
  Step s = v.f->steps[reader]; /* from behind the wave before into that of `at` */
  memmove(v.f->steps + reader, v.f->steps + reader + 1, (at - reader) * sizeof s);
  s.wave = v.f->steps[at - 1].wave, s.barrier = v.f->steps[at - 1].barrier;
  v.f->steps[at] = s;
  caught(&v, "where step");
}

/* A batch that every thread makes for itself. */
static Victim victim_of_copies(void) {
  Victim v = {.net = net_autoencoder(64, 784, 2048, 32)};
  v.p = net_plan(v.net, NULL);
  v.f = &v.p->train;
  assert_null(plan_verify(v.p));
  assert_true(v.f->own_bytes >= v.f->buffers[first_buffer(v.f, SPACE_OWN, 2)].bytes);
  return v;
}

static void copies_too_large(void **state) {
  (void)state;
  Victim v = victim_of_copies();
  v.f->own_bytes = v.f->buffers[first_buffer(v.f, SPACE_OWN, 2)].bytes - 64;
  caught(&v, "beyond its slab");
}

static void makes_a_copy(Victim *v, uint32_t step) {
  Buffer *b = &v->f->buffers[v->f->steps[step].outs[0].buffer];
  b->space = SPACE_OWN, b->offset = v->f->own_bytes, v->f->own_bytes += b->bytes;
}

static void copy_of_what_threads_share(void **state) {
  (void)state;
  Victim v = victim_of_copies();
  makes_a_copy(&v, first_step(v.f, STEP_REDUCE));
  caught(&v, "a thread's own");
}

static void copy_from_results(void **state) {
  (void)state;
  Victim v = victim();
  for (uint32_t i = 0; i < v.f->n_steps; i++) {
    const Step *s = &v.f->steps[i];
    if (s->kind != STEP_MAP || s->n_outs != 1 || s->wave == 0 || v.f->buffers[s->outs[0].buffer].space != SPACE_WORK) continue;
    makes_a_copy(&v, i);
    caught(&v, "of every thread for itself");
    return;
  }
  fail();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(overlapping_buffers),
      cmocka_unit_test(slab_too_small),
      cmocka_unit_test(buffer_too_small),
      cmocka_unit_test(coinciding_elements),
      cmocka_unit_test(life_too_short),
      cmocka_unit_test(missing_step),
      cmocka_unit_test(two_dependent_steps_in_one_wave),
      cmocka_unit_test(missing_barrier),
      cmocka_unit_test(store_before_last_read),
      cmocka_unit_test(store_before_the_check),
      cmocka_unit_test(no_check),
      cmocka_unit_test(wrong_geometry),
      cmocka_unit_test(wrong_operand_stride),
      cmocka_unit_test(wrong_operand),
      cmocka_unit_test(root_nowhere),
      cmocka_unit_test(root_not_kept),
      cmocka_unit_test(reduction_inlined),
      cmocka_unit_test(wrong_axes),
      cmocka_unit_test(loop_order_not_a_permutation),
      cmocka_unit_test(overwrites_an_operand),
      cmocka_unit_test(overwrites_what_is_read_later),
      cmocka_unit_test(overwrites_between_blocks_of_sums),
      cmocka_unit_test(overwrites_what_another_thread_reads),
      cmocka_unit_test(copies_too_large),
      cmocka_unit_test(copy_of_what_threads_share),
      cmocka_unit_test(copy_from_results),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
