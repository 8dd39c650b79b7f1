/* SPDX-License-Identifier: Apache-2.0
 * What the planner decides on networks with known answers: counted properties, not texts. */
#include "plan_net.h"

static void sound(const Plan *p) {
  const char *why = plan_verify(p);
  if (why) {
    plan_print(p, stderr);
    fail_msg("%s", why);
  }
}

static const Step *producer(const PlanFn *f, ValueId v) {
  for (uint32_t i = 0; i < f->n_steps; i++)
    for (uint32_t k = 0; k < f->steps[i].n_outs; k++)
      if (f->steps[i].outs[k].value == v) return &f->steps[i];
  return NULL;
}

/* ---- the split autoencoder -------------------------------------------------------------------------- */

static void autoencoder_runs_in_few_passes(void **state) {
  (void)state;
  Net *n = net_autoencoder(64, 784, 256, 32);
  Plan *p = net_plan(n, NULL);
  const PlanFn *f = &p->train;
  sound(p);
  assert_int_equal(count_steps(f, STEP_GEMM), 11); /* 4 forward, 4 weight gradients, 3 data gradients */
  assert_int_equal(count_steps(f, STEP_CHECK), 1);
  uint32_t relu = 0, wide_maps = 0, masks = 0;
  for (ValueId v = 1; v < f->graph->n; v++) {
    const Value *u = &f->graph->v[v];
    if (u->op == OP_RELU) {
      relu++;
      assert_int_equal(f->buffer_of[u->args[0]], 0); /* no pre-activation is kept */
      assert_int_equal(producer(f, v)->kind, STEP_GEMM);
    }
    if (u->op == OP_MASK) { /* the route costs no pass of its own */
      masks++;
      assert_int_equal(producer(f, v)->kind, STEP_GEMM);
    }
  }
  for (uint32_t i = 0; i < f->n_steps; i++) {
    const Step *s = &f->steps[i];
    assert_non_null(s->reason);
    wide_maps += s->kind == STEP_MAP && s->space.rank == 2 && s->space.d[0] == DIM_ROWS;
    if (s->kind == STEP_GEMM) assert_int_equal(s->geom.n_batch, 0);
  }
  assert_int_equal(relu, 2);
  assert_int_equal(masks, 1);
  assert_int_equal(wide_maps, 1); /* the image's normalisation; all else rides on a GEMM */
  arena_destroy(n->arena);
}

static void adam_is_one_pass_in_place(void **state) {
  (void)state;
  Net *n = net_autoencoder(64, 96, 40, 8);
  Plan *p = net_plan(n, NULL);
  const PlanFn *f = &p->train;
  for (uint32_t r = 0; r < f->graph->n_roots; r++) {
    const Root *root = &f->graph->roots[r];
    if (root->kind != ROOT_PARAM) continue;
    const Step *s = producer(f, root->value);
    uint32_t stores = 0;
    for (uint32_t k = 0; k < s->n_outs; k++) {
      const Buffer *b = &f->buffers[s->outs[k].buffer];
      stores += b->space == SPACE_STORE && b->index == root->a;
    }
    assert_int_equal(s->kind, STEP_MAP);
    assert_int_equal(stores, 3);
    assert_int_equal(f->buffers[f->root_buffer[r]].offset, p->params[root->a].offset);
  }
  arena_destroy(n->arena);
}

static void weights_lie_with_outputs_innermost(void **state) {
  (void)state;
  Net *n = net_autoencoder(64, 784, 2048, 10);
  Plan *p = net_plan(n, NULL);
  const PlanFn *f = &p->train;
  sound(p);
  assert_true(p->params[0].strides[0] == 1 &&
              p->params[0].strides[1] == 2064); /* [2048,784]: not a multiple of 4 KiB */
  assert_true(p->params[2].strides[0] == 1 &&
              p->params[2].strides[1] == 10); /* [10,2048]: too narrow to pad */
  uint32_t grads = 0;
  for (uint32_t i = 0; i < f->n_steps; i++) {
    const Step *s = &f->steps[i];
    if (s->kind != STEP_GEMM || !s->geom.k.rows) continue;
    const Buffer *b = &f->buffers[s->outs[0].buffer];
    for (uint32_t k = 0; k < n->p->n_params; k++)
      if (shape_equal(&b->shape, &n->params[k].shape) && n->params[k].shape.rank == 2) {
        grads++;
        assert_memory_equal(b->strides, p->params[k].strides, 2 * sizeof(int64_t));
        assert_true(s->swapped);
      }
    if (s->geom.n.n >= 16) assert_int_equal(s->geom.bn, 1);
  }
  assert_true(grads >= 4);
  for (uint32_t i = 0; i < n->p->n_params; i++) {
    assert_int_equal(p->params[i].offset % 64, 0);
    if (p->params[i].floats >= 1024)
      assert_true((p->params[i].offset - p->params[i].state_offset[0]) % 4096 != 0);
  }
  arena_destroy(n->arena);
}

static void forward_stands_before_check_before_stores(void **state) {
  (void)state;
  Net *n = net_autoencoder(32, 64, 32, 16);
  Plan *p = net_plan(n, NULL);
  const PlanFn *f = &p->train;
  uint32_t check = UINT32_MAX;
  for (uint32_t i = 0; i < f->n_steps; i++) {
    const Step *s = &f->steps[i];
    if (s->kind == STEP_CHECK) check = i;
    for (uint32_t k = 0; k < s->n_outs; k++)
      if (f->buffers[s->outs[k].buffer].space == SPACE_STORE) assert_true(i > check && check != UINT32_MAX);
    if (s->dot && f->graph->v[s->dot].phase == PHASE_FORWARD) assert_true(check == UINT32_MAX);
  }
  arena_destroy(n->arena);
}

static void options_change_what_they_name(void **state) {
  (void)state;
  Net *n = net_autoencoder(128, 200, 96, 16);
  Plan *plain = net_plan(n, NULL),
       *apart = net_plan(n, &(PlanOptions){.no_fuse = true, .reuse_memory = true}),
       *unshared = net_plan(n, &(PlanOptions){0}),
       *blas = net_plan(n, &(PlanOptions){.force_blas = true, .reuse_memory = true});
  Plan *all[4] = {plain, apart, unshared, blas};
  for (int i = 0; i < 4; i++) sound(all[i]);
  assert_true(apart->train.n_steps > plain->train.n_steps);
  assert_true(unshared->train.work_bytes == unshared->train.work_unshared);
  assert_true(plain->train.work_bytes < plain->train.work_unshared);
  assert_true(plain->train.work_unshared == unshared->train.work_unshared);
  for (uint32_t i = 0; i < blas->train.n_steps; i++) {
    const Step *s = &blas->train.steps[i];
    if (s->kind != STEP_GEMM) continue;
    assert_int_equal(s->impl, GEMM_BLAS);
    assert_int_equal(s->outs[0].value, s->dot); /* the BLAS stores the bare product */
  }
  for (uint32_t i = 0; i < apart->train.n_steps; i++)
    if (apart->train.steps[i].kind == STEP_GEMM) assert_int_equal(apart->train.steps[i].n_outs, 1);
  assert_true(plain->hash != apart->hash);
  arena_destroy(n->arena);
}

/* Live buffers alone bound the memory from below; the placement may lose a little to gaps. */
static void memory_is_near_what_is_live(void **state) {
  (void)state;
  Net *n = net_autoencoder(2048, 784, 2048, 32);
  Plan *p = net_plan(n, NULL);
  const PlanFn *f = &p->train;
  int64_t peak = 0;
  for (uint32_t i = 0; i < f->n_steps; i++) {
    int64_t live = 0;
    for (BufferId b = 1; b < f->n_buffers; b++)
      if (f->buffers[b].space == SPACE_WORK && !f->buffers[b].over && f->buffers[b].first <= i && i <= f->buffers[b].last)
        live += f->buffers[b].bytes;
    if (live > peak) peak = live;
  }
  assert_true(f->work_bytes >= peak);
  assert_true((double)f->work_bytes <= 1.1 * (double)peak);
  arena_destroy(n->arena);
}

/* The step that stores a buffer. */
static uint32_t stored_by(const PlanFn *f, BufferId b) {
  for (uint32_t i = 0; i < f->n_steps; i++)
    for (uint32_t k = 0; k < f->steps[i].n_outs; k++)
      if (f->steps[i].outs[k].buffer == b) return i;
  fail();
  return 0;
}

static uint32_t n_waves(const Plan *p) { return p->train.steps[p->train.n_steps - 1].wave + 1; }

/* Going back through the layers, each adjoint takes the place of the activation that masks it, behind the weight gradient that reads
 * this too: the memory is that of the forward pass. Where an activation is small, no thread waits for that, and products whose
 * sums lie in their result between blocks never do it. */
static void adjoints_take_the_place_of_activations(void **state) {
  (void)state;
  const int64_t activation = 4096 * 256 * 4;
  Net *n = net_stack(4096, 256, 6);
  Plan *p = net_plan(n, NULL);
  const PlanFn *f = &p->train;
  sound(p);
  uint32_t taken = 0;
  for (BufferId b = 1; b < f->n_buffers; b++) {
    const Buffer *x = &f->buffers[b];
    if (!x->over || x->bytes < activation) continue;
    taken++;
    assert_true(x->offset == f->buffers[x->over].offset);
    for (uint32_t i = 0, at = stored_by(f, b); i < f->n_steps; i++)
      if (f->steps[i].kind == STEP_GEMM && f->steps[i].a.buffer == x->over) assert_true(f->steps[i].wave < f->steps[at].wave);
  }
  assert_true(taken >= 5);
  assert_true(f->work_bytes < 8 * activation); /* the image, six layers, what is small */
  Net *small = net_stack(64, 256, 6), *deep = net_stack(4096, 1024, 6);
  Plan *q = net_plan(small, NULL), *r = net_plan(deep, NULL);
  sound(q), sound(r);
  assert_true(n_waves(p) > n_waves(net_plan(n, &(PlanOptions){0})));
  assert_true(n_waves(q) == n_waves(net_plan(small, &(PlanOptions){0})));
  for (uint32_t i = 0; i < r->train.n_steps; i++)
    for (uint32_t k = 0; r->train.steps[i].kind == STEP_GEMM && k < r->train.steps[i].n_outs; k++)
      assert_true(r->train.steps[i].tile.whole || !r->train.buffers[r->train.steps[i].outs[k].buffer].over);
  arena_destroy(n->arena), arena_destroy(small->arena), arena_destroy(deep->arena);
}

static void flops_are_counted(void **state) {
  (void)state;
  Net *n = net_autoencoder(64, 784, 256, 32);
  Plan *p = net_plan(n, NULL);
  double gemm = 0,
         per_row = 2.0 * (784 * 256 * 2 + 256 * 32 * 2); /* multiply-adds of the forward pass, a row */
  for (uint32_t i = 0; i < p->train.n_steps; i++)
    if (p->train.steps[i].kind == STEP_GEMM) {
      const GemmGeom *g = &p->train.steps[i].geom;
      gemm += 2.0 * (double)g->m.n * (double)g->n.n * (double)g->k.n; /* rows counted as 1 */
      assert_true(p->train.steps[i].flops_per_row >= 2.0 * (double)g->m.n * (double)g->n.n * (double)g->k.n);
    }
  assert_true(gemm == 3 * per_row - 2.0 * 784 * 256); /* the first layer passes nothing on */
  arena_destroy(n->arena);
}

/* ---- other shapes of nets --------------------------------------------------------------------------- */

static ValueId unfold(Graph *g, ValueId x, int64_t k, int64_t pad) {
  int64_t ints[8] = {k, k, 1, 1, pad, pad, 1, 1};
  return ir_make(g, OP_UNFOLD, (Span){0}, &x, 1, ints, 8, 0, NULL, DT_NONE);
}

/* conv2d as unfold and dot: contraction over channels and window is one K, positions one M. */
static void convolution_is_one_gemm(void **state) {
  (void)state;
  Net *n = net_create(16);
  ValueId x =
      net_column(n, "image", DT_F32, shape_of(4, (int64_t)DIM_ROWS, (int64_t)3, (int64_t)12, (int64_t)12));
  ValueId w = net_param(n, "conv.weight", shape_of(4, (int64_t)24, (int64_t)3, (int64_t)3, (int64_t)3));
  ValueId y =
      ir_dot(n->g, unfold(n->g, x, 3, 1), w, NULL, NULL, 0, (int64_t[]){3, 4, 5}, (int64_t[]){1, 2, 3}, 3);
  ValueId r = ir_un(n->g, OP_RELU, y);
  int64_t axes[] = {0, 1, 2, 3};
  net_origin(n, "loss", ir_reduce(n->g, OP_SUM, ir_bin(n->g, OP_MUL, r, r), axes, 4));
  net_passes(n, OPTIM_ADAM, false);
  Plan *p = net_plan(n, NULL);
  sound(p);
  assert_int_equal(count_steps(&p->train, STEP_GEMM), 2);
  for (uint32_t i = 0; i < p->train.n_steps; i++) {
    const Step *s = &p->train.steps[i];
    if (s->kind != STEP_GEMM) continue;
    bool grad = s->geom.k.rows;
    assert_int_equal(s->geom.n_batch, 0);
    assert_int_equal(s->geom.n.n, 24);
    assert_int_equal(grad ? s->geom.k.n : s->geom.m.n, 144);
    assert_int_equal(grad ? s->geom.m.n : s->geom.k.n, 27);
  }
  arena_destroy(n->arena);
}

/* softmax(q k^T) v with heads: batches over rows and heads, no copies of q, k or v. */
static void attention_is_batched(void **state) {
  (void)state;
  Net *n = net_create(4);
  int64_t rows = DIM_ROWS, t = 16, h = 4, d = 32;
  ValueId x = net_column(n, "x", DT_F32, shape_of(3, rows, t, h * d));
  ValueId part[3];
  for (int i = 0; i < 3; i++) {
    ValueId y = net_linear(n, (const char *[]){"q", "k", "v"}[i], x, h * d);
    Shape split = shape_of(4, rows, t, h, d);
    part[i] = ir_transpose(n->g, ir_reshape(n->g, y, &split), (int64_t[]){0, 2, 1, 3});
  }
  int64_t b[] = {0, 1}, last[] = {3}, third[] = {2}, keep[] = {0, 1, 2, -1};
  ValueId s = ir_dot(n->g, part[0], part[1], b, b, 2, last, last, 1);
  Shape full = n->g->v[s].shape;
  ValueId e =
      ir_un(n->g, OP_EXP,
            ir_bin(n->g, OP_SUB, s, ir_bcast(n->g, ir_reduce(n->g, OP_AMAX, s, last, 1), &full, keep)));
  ValueId a = ir_bin(n->g, OP_DIV, e, ir_bcast(n->g, ir_reduce(n->g, OP_SUM, e, last, 1), &full, keep));
  ValueId o = ir_dot(n->g, a, part[2], b, b, 2, last, third, 1);
  Shape flat = shape_of(3, rows, t, h * d);
  o = net_linear(n, "out", ir_reshape(n->g, ir_transpose(n->g, o, (int64_t[]){0, 2, 1, 3}), &flat), h * d);
  net_origin(n, "loss", ir_reduce(n->g, OP_SUM, ir_bin(n->g, OP_MUL, o, o), (int64_t[]){0, 1, 2}, 3));
  net_passes(n, OPTIM_SGD, false);
  Plan *p = net_plan(n, NULL);
  sound(p);
  uint32_t batched = 0;
  for (uint32_t i = 0; i < p->train.n_steps; i++) {
    const Step *q = &p->train.steps[i];
    if (q->kind == STEP_GEMM && q->geom.n_batch == 2) batched++;
    else if (q->kind == STEP_GEMM) assert_int_equal(q->geom.n_batch, 0);
  }
  assert_int_equal(batched, 6); /* two forward, two data gradients of each */
  arena_destroy(n->arena);
}

/* x sigmoid(x): all that is read later is computed while the sums are at hand. */
static void gelu_is_computed_in_epilogues(void **state) {
  (void)state;
  Net *n = net_create(256);
  ValueId x = net_image(n, 64);
  ValueId y = net_linear(n, "fc1", x, 128);
  ValueId g =
      ir_bin(n->g, OP_MUL, y, ir_un(n->g, OP_SIGMOID, ir_bin(n->g, OP_MUL, y, net_number(n, 1.702, DT_F32))));
  net_origin(n, "loss", net_mae(n, net_linear(n, "fc2", g, 64), x));
  net_passes(n, OPTIM_ADAM, false);
  Plan *p = net_plan(n, NULL);
  const PlanFn *f = &p->train;
  sound(p);
  uint32_t wide = 0;
  for (uint32_t i = 0; i < f->n_steps; i++) {
    const Step *s = &f->steps[i];
    if (s->space.rank == 2 && s->space.d[0] == DIM_ROWS && s->space.d[1] == 128)
      assert_int_not_equal(s->kind, STEP_MAP);
  }
  for (BufferId b = 1; b < f->n_buffers; b++) {
    const Buffer *q = &f->buffers[b];
    wide += q->space == SPACE_WORK && q->shape.rank == 2 && q->shape.d[0] == DIM_ROWS && q->shape.d[1] == 128;
  }
  assert_int_equal(wide, 4); /* pre-activation, sigmoid, activation and the adjoint, each stored once */
  arena_destroy(n->arena);
}

static void dropout_is_drawn_once(void **state) {
  (void)state;
  Net *n = net_create(64);
  ValueId x = net_image(n, 64), y = net_linear(n, "fc1", x, 48);
  Shape s = n->g->v[y].shape;
  int64_t stream = 1;
  ValueId u = ir_make(n->g, OP_RANDOM, (Span){0}, NULL, 0, &stream, 1, 0, &s, DT_F32);
  ValueId keep = ir_bin(n->g, OP_LT, u, net_number(n, 0.5, DT_F32));
  Shape none = {.rank = 0};
  ValueId zero = ir_bcast_scalar(n->g, ir_const(n->g, (Span){0}, 0, &none, DT_F32), &s);
  net_origin(n, "loss",
             net_mae(n, net_linear(n, "fc2", ir_where(n->g, keep, ir_un(n->g, OP_RELU, y), zero), 64), x));
  net_passes(n, OPTIM_SGD, false);
  Plan *p = net_plan(n, NULL);
  const PlanFn *f = &p->train;
  sound(p);
  for (ValueId v = 1; v < f->graph->n; v++)
    if (f->graph->v[v].op == OP_LT && f->graph->v[f->graph->v[v].args[0]].op == OP_RANDOM) {
      assert_true(f->buffer_of[v]);
      assert_int_equal(f->buffers[f->buffer_of[v]].dtype, DT_BOOL);
    }
  arena_destroy(n->arena);
}

static void flat_pictures_are_read_without_index_arithmetic(void **state) {
  (void)state;
  Net *n = net_create(8);
  ValueId x = ir_cast(
      n->g, net_column(n, "image", DT_U8, shape_of(3, (int64_t)DIM_ROWS, (int64_t)28, (int64_t)28)), DT_F32);
  Shape flat = shape_of(2, (int64_t)DIM_ROWS, (int64_t)784);
  x = ir_reshape(n->g, ir_bin(n->g, OP_MUL, x, net_number(n, 1.0 / 255, DT_F32)), &flat);
  net_origin(n, "loss", net_mae(n, net_linear(n, "fc", x, 784), x));
  net_passes(n, OPTIM_SGD, false);
  Plan *p = net_plan(n, NULL);
  sound(p);
  for (BufferId b = 1; b < p->train.n_buffers; b++)
    if (p->train.buffers[b].space == SPACE_COLUMN) assert_int_equal(p->train.buffers[b].shape.rank, 2);
  arena_destroy(n->arena);
}

/* a' = b, b' = a; c' = c + c^T; SUM((d' - d)^2) is read after d' is known. */
static void awkward_updates_stay_correct(void **state) {
  (void)state;
  Net *n = net_create(1);
  Shape m = shape_of(2, (int64_t)20, (int64_t)20);
  ValueId a = net_param(n, "a", m), b = net_param(n, "b", m), c = net_param(n, "c", m),
          d = net_param(n, "d", m);
  ValueId twice = ir_bin(n->g, OP_MUL, ir_un(n->g, OP_EXP, d), d), moved = ir_bin(n->g, OP_SUB, twice, d);
  graph_root(n->g, ROOT_PARAM, 0, 0, b);
  graph_root(n->g, ROOT_PARAM, 1, 0, a);
  graph_root(n->g, ROOT_PARAM, 2, 0, ir_bin(n->g, OP_ADD, c, ir_transpose(n->g, c, (int64_t[]){1, 0})));
  graph_root(n->g, ROOT_PARAM, 3, 0, twice);
  graph_root(n->g, ROOT_KEEP, 0, 0,
             ir_reduce(n->g, OP_SUM, ir_bin(n->g, OP_MUL, moved, moved), (int64_t[]){0, 1}, 2));
  for (int fuse = 0; fuse < 2; fuse++) {
    Plan *p = net_plan(n, &(PlanOptions){.reuse_memory = true, .no_fuse = !fuse});
    sound(p);
    for (uint32_t r = 0; r < 4; r++)
      assert_int_equal(p->train.buffers[p->train.root_buffer[r]].space, SPACE_STORE);
  }
  arena_destroy(n->arena);
}

/* ---- views ------------------------------------------------------------------------------------------ */

static void views_resolve_to_strides(void **state) {
  (void)state;
  Net *n = net_create(8);
  ValueId x = net_column(n, "x", DT_F32, shape_of(2, (int64_t)DIM_ROWS, (int64_t)40));
  ValueId y = ir_un(n->g, OP_EXP, x), z = ir_slice(n->g, ir_un(n->g, OP_STOP, y), 1, 8, 2, 12);
  Shape s = shape_of(3, (int64_t)DIM_ROWS, (int64_t)4, (int64_t)3);
  ValueId r = ir_transpose(n->g, ir_reshape(n->g, z, &s), (int64_t[]){0, 2, 1});
  ValueId wide = ir_bcast(n->g, z, &(Shape){.rank = 3, .d = {DIM_ROWS, 5, 12}}, (int64_t[]){0, -1, 1});
  graph_root(n->g, ROOT_KEEP, 0, 0, y);
  graph_root(n->g, ROOT_KEEP, 1, 0, ir_reduce(n->g, OP_SUM, ir_un(n->g, OP_EXP, r), (int64_t[]){1, 2}, 2));
  graph_root(n->g, ROOT_KEEP, 2, 0, ir_reduce(n->g, OP_SUM, ir_un(n->g, OP_EXP, wide), (int64_t[]){1, 2}, 2));
  Plan *p = net_plan(n, NULL);
  const PlanFn *f = &p->train;
  sound(p);
  uint32_t seen = 0;
  for (ValueId v = 1; v < f->graph->n; v++) {
    const Value *u = &f->graph->v[v];
    View view;
    if (u->op != OP_TRANSPOSE && u->op != OP_BCAST && u->op != OP_COLUMN) continue;
    seen++;
    if (u->op == OP_COLUMN) {
      assert_false(plan_view_of(f, v, &view));
      continue;
    }
    assert_true(plan_view_of(f, v, &view));
    assert_int_equal(view.start, 8);
    if (u->op == OP_TRANSPOSE)
      assert_true(view.strides[0] == 48 && view.strides[1] == 2 && view.strides[2] == 6);
    else assert_true(view.strides[0] == 48 && view.strides[1] == 0 && view.strides[2] == 2);
  }
  assert_int_equal(seen, 3);
  arena_destroy(n->arena);
}

/* ---- the job ---------------------------------------------------------------------------------------- */

static void job_holds_the_plan(void **state) {
  (void)state;
  Net *n = net_autoencoder(64, 784, 256, 32);
  net_add_eval(n, 784);
  n->p->settings = ARENA_NEWS(n->arena, ProgSetting, 2), n->p->n_settings = 2;
  n->p->scalars = ARENA_NEWS(n->arena, ProgScalar, 1), n->p->n_scalars = 1;
  n->p->settings[0] = (ProgSetting){.name = "latent", .value = "32", .structural = true};
  n->p->settings[1] = (ProgSetting){.name = "l1", .value = "0.1"};
  n->p->scalars[0] = (ProgScalar){.name = "l1", .value = 0.1, .hi = 1};
  Sources *src = sources_create(n->arena);
  sources_add_text(src, "net.route", "edition 1\nloss x = y\n", 21);
  n->p->sources = src;
  n->origins[0].span = (Span){1, 15, 16};
  Plan *p = net_plan(n, NULL);
  sound(p);
  Job *j = plan_bind(n->arena, p);
  assert_int_equal(j->abi, JOB_ABI);
  assert_true(j->plan_hash == p->hash && j->store_bytes == p->store_bytes);
  assert_string_equal(j->spec_path, "net.route");
  assert_string_equal(j->origins[0].span.file, "net.route");
  assert_int_equal(j->origins[0].span.line, 2);
  assert_int_equal(j->origins[0].span.col, 6);
  assert_int_equal(j->settings[0].scalar, -1);
  assert_int_equal(j->settings[1].scalar, 0);
  assert_int_equal(j->n_params, 8);
  assert_string_equal(j->params[0].path, "encoder.fc1.weight");
  assert_true(j->params[0].n_states == 2 && j->params[0].strides[0] == 1);
  assert_int_equal(j->columns[0].rank, 1);
  assert_int_equal(j->columns[0].dims[0], 784);
  assert_string_equal(j->train.fn.symbol, "routec_train");
  assert_int_equal(j->train.fn.n_probes, p->train.n_steps);
  assert_int_equal(j->train.fn.max_rows, 64);
  for (uint32_t i = 0; i < p->train.n_steps; i++)
    assert_true((j->train.fn.probes[i].space < 0) == (p->train.steps[i].n_outs == 0));
  assert_string_equal(j->evals[0].fn.symbol, "routec_eval_0");
  assert_string_equal(j->evals[0].metrics[0].name, "total");
  assert_int_equal(j->evals[0].metrics[0].dims[0], -1);
  assert_int_equal(j->evals[0].metrics[0].offset, p->evals[0].buffers[p->evals[0].root_buffer[0]].offset);
  assert_int_equal(j->evals[0].batch, 64); /* no larger than the training batch */
  arena_destroy(n->arena);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(autoencoder_runs_in_few_passes),
      cmocka_unit_test(adam_is_one_pass_in_place),
      cmocka_unit_test(weights_lie_with_outputs_innermost),
      cmocka_unit_test(forward_stands_before_check_before_stores),
      cmocka_unit_test(options_change_what_they_name),
      cmocka_unit_test(memory_is_near_what_is_live),
      cmocka_unit_test(adjoints_take_the_place_of_activations),
      cmocka_unit_test(flops_are_counted),
      cmocka_unit_test(convolution_is_one_gemm),
      cmocka_unit_test(attention_is_batched),
      cmocka_unit_test(gelu_is_computed_in_epilogues),
      cmocka_unit_test(dropout_is_drawn_once),
      cmocka_unit_test(flat_pictures_are_read_without_index_arithmetic),
      cmocka_unit_test(awkward_updates_stay_correct),
      cmocka_unit_test(views_resolve_to_strides),
      cmocka_unit_test(job_holds_the_plan),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
