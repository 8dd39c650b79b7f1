/* SPDX-License-Identifier: Apache-2.0
 * llvm_run.h -- runs the training function of a plan on given inputs with any number of threads, in slabs
 * between guard pages with the work slab full of NaN, and reads its roots back. Also a planner of our own
 * that decides by coin what is materialised, in which layout and loop order: it stresses the emitter more
 * than a sensible plan. */
#ifndef LLVM_RUN_H
#define LLVM_RUN_H
#include "backend.h"
#include "plan_work.h"
#include "random_graph.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define RUN_PART 1009 /* data in the part that columns hold */

/* ---- slabs
 * -------------------------------------------------------------------------------------------------- */
typedef struct Slab {
  uint8_t *base, *map;
  size_t bytes, mapped;
} Slab;

/* The end of the slab is the end of readable memory; so is its start if `bytes` fills its pages. */
static inline Slab slab_open(int64_t bytes) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE), n = ((size_t)bytes + 63) / 64 * 64,
         body = (n + page - 1) / page * page;
  Slab s = {.bytes = n, .mapped = body + 2 * page};
  s.map = mmap(NULL, s.mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (s.map == MAP_FAILED) abort();
  if (mprotect(s.map, page, PROT_NONE) || mprotect(s.map + page + body, page, PROT_NONE)) abort();
  s.base = s.map + page + body - n;
  memset(s.map + page, 0xFF, body); /* NaN as f32 and f64 */
  return s;
}
static inline void slab_close(Slab *s) { munmap(s->map, s->mapped); }

/* ---- data as a run wants it
 * ----------------------------------------------------------------------------------- */
static inline void run_put(void *p, Dtype t, int64_t i, double x) {
  switch (t) {
  case DT_F32: ((float *)p)[i] = (float)x; break;
  case DT_F64: ((double *)p)[i] = x; break;
  case DT_I32: ((int32_t *)p)[i] = (int32_t)x; break;
  default: ((uint8_t *)p)[i] = (uint8_t)x;
  }
}
static inline double run_get(const void *p, Dtype t, int64_t i) {
  switch (t) {
  case DT_F32: return (double)((const float *)p)[i];
  case DT_F64: return ((const double *)p)[i];
  case DT_I32: return ((const int32_t *)p)[i];
  default: return ((const uint8_t *)p)[i];
  }
}

/* Offset of row-major element x of a shape in strided memory. */
static inline int64_t run_place(const Shape *s, const int64_t *strides, int64_t rows, int64_t x) {
  int64_t at = 0;
  for (int i = s->rank - 1; i >= 0; i--) {
    int64_t d = s->d[i] < 0 ? rows : s->d[i];
    at += x % d * strides[i], x /= d;
  }
  return at;
}

static inline void run_fill(uint8_t *base, const Shape *s, const int64_t *strides, const double *x) {
  for (int64_t i = 0, n = shape_count(s, 1); i < n; i++)
    run_put(base, DT_F32, run_place(s, strides, 1, i), x[i]);
}

/* ---- a run
 * ------------------------------------------------------------------------------------------------------ */
typedef struct Run {
  JobFrame frame;
  pthread_barrier_t barrier;
  Slab work, store;
  int64_t checks; /* calls of check_step by thread 0 */
  void (*look)(struct Run *, int64_t plan_step);
} Run;
typedef struct RunThread {
  pthread_t id;
  Run *run;
  JobEntry entry;
  int64_t tid;
} RunThread;

static inline void run_barrier(JobFrame *f, int64_t tid) {
  (void)tid;
  pthread_barrier_wait(&((Run *)f->host)->barrier);
}
static inline void run_check_step(JobFrame *f, int64_t tid, int64_t step) {
  Run *r = f->host;
  if (tid) return;
  r->checks++;
  if (r->look) r->look(r, step);
}
/* The naive product, as the BLAS would be asked for it. */
static inline void run_sgemm(int64_t ta, int64_t tb, int64_t m, int64_t n, int64_t k, const float *a,
                             int64_t lda, const float *b, int64_t ldb, float *c, int64_t ldc, double beta) {
  for (int64_t i = 0; i < m; i++)
    for (int64_t j = 0; j < n; j++) {
      double sum = beta != 0 ? (double)c[i * ldc + j] : 0;
      for (int64_t x = 0; x < k; x++)
        sum +=
            (double)(ta ? a[x * lda + i] : a[i * lda + x]) * (double)(tb ? b[j * ldb + x] : b[x * ldb + j]);
      c[i * ldc + j] = (float)sum;
    }
}
#define RUN_THREADS 16 /* at most */
static inline void *run_thread(void *p) {
  RunThread *t = p;
  t->entry(&t->run->frame, t->tid);
  return NULL;
}
static inline void run_threads(Run *r, JobEntry entry, int threads) {
  RunThread t[RUN_THREADS];
  r->frame.n_threads = threads;
  pthread_barrier_init(&r->barrier, NULL, (unsigned)threads);
  for (int i = 0; i < threads; i++) t[i] = (RunThread){.run = r, .entry = entry, .tid = i};
  for (int i = 1; i < threads; i++)
    if (pthread_create(&t[i].id, NULL, run_thread, &t[i])) abort();
  run_thread(&t[0]);
  for (int i = 1; i < threads; i++) pthread_join(t[i].id, NULL);
  pthread_barrier_destroy(&r->barrier);
}

/* Distinct numbers, in no order: row r of the batch is datum run_datum(r). */
static inline int32_t run_datum(int64_t row) { return (int32_t)((row * 37 + 5) % RUN_PART); }

static inline const void *run_column(Arena *a, const ProgColumn *c, const double *batch, int64_t rows) {
  int64_t n = shape_count(&c->shape, 1);
  uint8_t *part = arena_alloc(a, (size_t)(n * RUN_PART) * dtype_size(c->dtype) + 64);
  for (int64_t r = 0; r < rows; r++)
    for (int64_t i = 0; i < n; i++) run_put(part, c->dtype, run_datum(r) * n + i, batch[r * n + i]);
  return part;
}

/* Sets up memory and frame: one step of `rows` rows at position 3 of the order. */
static inline void run_open(Run *r, Arena *a, const Plan *p, int64_t work_bytes, const EvalInput *in) {
  const Program *prog = p->program;
  if (p->train.own_bytes) work_bytes = plan_own_at(&p->train) + RUN_THREADS * p->train.own_bytes;
  *r = (Run){.work = slab_open(work_bytes), .store = slab_open(p->store_bytes)};
  memset(r->store.base, 0, r->store.bytes);
  for (uint32_t i = 0; i < prog->n_params; i++) {
    const ProgParam *q = &prog->params[i];
    const ParamPlace *place = &p->params[i];
    run_fill(r->store.base + place->offset, &q->shape, place->strides, in->params[i]);
    for (uint32_t k = 0; k < q->n_states; k++)
      run_fill(r->store.base + place->state_offset[k], &q->shape, place->strides, in->states[i][k]);
  }
  const void **columns = ARENA_NEWS(a, const void *, prog->n_columns + 1);
  for (uint32_t i = 0; i < prog->n_columns; i++)
    columns[i] = run_column(a, &prog->columns[i], in->columns[i], in->rows);
  int32_t *order = ARENA_NEWS(a, int32_t, in->rows + 3);
  for (int64_t i = 0; i < in->rows; i++) order[3 + i] = run_datum(i);
  const int64_t batch = p->train.max_rows, n_steps = (in->rows + batch - 1) / batch;
  int64_t *starts = ARENA_NEWS(a, int64_t, n_steps + 1);
  for (int64_t i = 0; i <= n_steps; i++) starts[i] = 3 + (i * batch < in->rows ? i * batch : in->rows);
  r->frame = (JobFrame){.store = r->store.base,
                        .work = r->work.base,
                        .scalars = in->scalars,
                        .columns = columns,
                        .order = order,
                        .starts = starts,
                        .sets = in->sets ? in->sets[0] : NULL,
                        .step = (int64_t)in->step,
                        .n_steps = 1,
                        .total_steps = (int64_t)in->total_steps,
                        .steps_per_epoch = (int64_t)in->steps_per_epoch,
                        .seed = in->seed,
                        .bad_step = -1,
                        .losses = ARENA_NEWS(a, double, 64),
                        .loss_sums = ARENA_NEWS(a, double, 64),
                        .barrier = run_barrier,
                        .check_step = run_check_step,
                        .sgemm = run_sgemm,
                        .host = r};
  r->frame.host = r;
}
/* From one step of all rows: `times` steps of them, one after the other. */
static inline void run_repeat(Run *r, Arena *a, const EvalInput *in, int64_t n_sets, int64_t times) {
  const int64_t rows = in->rows;
  int32_t *order = ARENA_NEWS(a, int32_t, rows * times + 80);
  int64_t *starts = ARENA_NEWS(a, int64_t, times + 1), *sets = ARENA_NEWS(a, int64_t, 2 * n_sets * times + 1);
  for (int64_t i = 0; i < times; i++) {
    memcpy(order + i * rows, r->frame.order + r->frame.starts[0], (size_t)rows * sizeof *order);
    if (n_sets) memcpy(sets + 2 * n_sets * i, r->frame.sets, 2 * (size_t)n_sets * sizeof *sets);
    starts[i + 1] = (i + 1) * rows;
  }
  r->frame.order = order, r->frame.starts = starts, r->frame.n_steps = times;
  if (n_sets) r->frame.sets = sets;
}
static inline void run_close(Run *r) {
  slab_close(&r->work);
  slab_close(&r->store);
}

/* Root i, row-major. */
static inline double *run_root(const Run *r, Arena *a, const PlanFn *f, uint32_t root,
                               const EvalInput *in) {
  const Buffer *b = &f->buffers[f->root_buffer[root]];
  const uint8_t *base = b->space == SPACE_STORE ? r->store.base : r->work.base;
  Shape s = eval_extents(in, &b->shape);
  int64_t n = shape_count(&s, 0);
  double *x = ARENA_NEWS(a, double, n + 1);
  for (int64_t i = 0; i < n; i++)
    x[i] = run_get(base + b->offset, b->dtype, run_place(&s, b->strides, 0, i));
  return x;
}

/* ---- compiled code
 * ---------------------------------------------------------------------------------------------- */
typedef struct Code {
  Job job;
  LoadedCode *loaded;
  BackendTimes times;
  ObjectCode object;
} Code;

static inline void code_open_divided(Code *c, Arena *a, const Plan *p, uint32_t threads) {
  const char *why = NULL;
  BackendOptions o = {.opt_level = 2, .threads = threads};
#ifdef ROUTEC_SANITIZE
  o.sanitize = ROUTEC_SANITIZE;
#endif
  if (getenv("LLVM_RUN_BEFORE")) o.dump_ir_before = getenv("LLVM_RUN_BEFORE");
  if (getenv("LLVM_RUN_AFTER")) o.dump_ir_after = getenv("LLVM_RUN_AFTER");
  if (getenv("LLVM_RUN_ASM")) o.dump_asm = getenv("LLVM_RUN_ASM");
  *c = (Code){.job = {.train = {.present = true, .fn = {.symbol = p->train.symbol}}}};
  if (!backend_compile(a, p, &o, &c->object, &c->times, &why)) {
    fprintf(stderr, "compile: %s\n", why);
    abort();
  }
  c->loaded = loader_open(&c->object, &c->job, &why);
  if (!c->loaded) {
    fprintf(stderr, "load: %s\n", why);
    abort();
  }
}
static inline void code_open(Code *c, Arena *a, const Plan *p) { code_open_divided(c, a, p, 1); }
static inline void code_close(Code *c) { loader_close(c->loaded); }

/* ---- the planner by coin
 * ------------------------------------------------------------------------------------------ */
typedef struct Coin {
  Arena *arena;
  Plan *plan;
  PlanFn *f;
  const Graph *g;
  uint64_t state;
  bool *live, *dense; /* dense: a DOT reads or makes it */
  bool failed;
} Coin;

static inline bool coin(Coin *c) { return rg_next(&c->state) >> 40 & 1; }

static inline void coin_shuffle(Coin *c, uint8_t *order, int n) {
  for (int i = 0; i < n; i++) order[i] = (uint8_t)i;
  for (int i = n - 1; i > 0; i--) {
    int j = (int)rg_int(&c->state, 0, i);
    uint8_t t = order[i];
    order[i] = order[j], order[j] = t;
  }
}

static inline BufferId coin_buffer(Coin *c, ValueId v, Space space, const uint8_t *order, bool pad) {
  const Value *x = &c->g->v[v];
  Buffer *b = &c->f->buffers[++c->f->n_buffers];
  *b = (Buffer){.value = v, .space = space, .dtype = x->dtype, .shape = x->shape};
  int64_t n = 1;
  for (int i = x->shape.rank - 1; i >= 0; i--) {
    int axis = order ? order[i] : i;
    int64_t d = (x->shape.d[axis] < 0 ? c->f->max_rows : x->shape.d[axis]);
    b->strides[axis] = n;
    n *= pad && i == x->shape.rank - 1 && d >= 16 ? (d + 15) / 16 * 16 : d;
  }
  b->bytes = (n * (int64_t)dtype_size(x->dtype) + 63) / 64 * 64;
  if (space == SPACE_WORK) b->offset = c->f->work_bytes, c->f->work_bytes += b->bytes;
  c->f->buffer_of[v] = c->f->n_buffers;
  return c->f->n_buffers;
}

static inline void coin_leaf(Coin *c, ValueId v) {
  const Value *x = &c->g->v[v];
  if (x->op == OP_PARAM || x->op == OP_STATE) {
    const ParamPlace *p = &c->plan->params[x->ints[0]];
    Buffer *b = &c->f->buffers[coin_buffer(c, v, SPACE_STORE, NULL, false)];
    b->offset = x->op == OP_PARAM ? p->offset : p->state_offset[x->ints[1]];
    memcpy(b->strides, p->strides, sizeof b->strides);
  } else if (x->op == OP_COLUMN || x->op == OP_SCALAR) {
    Buffer *b =
        &c->f->buffers[coin_buffer(c, v, x->op == OP_COLUMN ? SPACE_COLUMN : SPACE_SCALAR, NULL, false)];
    b->index = (uint32_t)x->ints[0];
  } else if (x->op == OP_CONST && x->data && x->shape.rank && coin(c)) {
    coin_buffer(c, v, SPACE_CONST, NULL, false);
  }
}

static inline View coin_view(Coin *c, ValueId v) {
  const Buffer *b = &c->f->buffers[c->f->buffer_of[v]];
  View r = {.buffer = c->f->buffer_of[v], .shape = b->shape};
  memcpy(r.strides, b->strides, sizeof r.strides);
  return r;
}

static inline void coin_dot(Coin *c, Step *s, ValueId v) {
  const Value *x = &c->g->v[v];
  DotAxes axes = dot_axes(c->g, x);
  s->kind = STEP_GEMM, s->dot = v;
  s->a = coin_view(c, x->args[0]), s->b = coin_view(c, x->args[1]);
  const Buffer *out = &c->f->buffers[s->outs[0].buffer];
  if (!gemm_geometry(&axes, &s->a, &s->b, &x->shape, out->strides, c->f->max_rows, &s->geom, &s->swapped))
    c->failed = true;
  else
    plan_gemm_choose(&s->geom, c->f->max_rows, &c->plan->target, coin(c) && coin(c), NULL, c->arena, &s->impl,
                     &s->tile, &s->reason);
  if (s->swapped) {
    View t = s->a;
    s->a = s->b, s->b = t;
  }
}

static inline void coin_step(Coin *c, ValueId v, BufferId buffer, const uint8_t *order) {
  const Value *x = &c->g->v[v];
  Step *s = &c->f->steps[c->f->n_steps++];
  *s = (Step){.kind = STEP_MAP, .space = x->shape, .barrier = true, .n_outs = 1, .reason = "by coin"};
  s->outs = ARENA_NEW(c->arena, StepOut);
  s->outs[0] = (StepOut){v, buffer};
  if (order) memcpy(s->order, order, sizeof s->order);
  if (x->op == OP_DOT) coin_dot(c, s, v);
  if (x->op == OP_SCATTER || x->op == OP_FOLD) s->kind = STEP_SCATTER;
  if (op_class(x->op) == OPC_RED) {
    s->kind = STEP_REDUCE;
    s->space = c->g->v[x->args[0]].shape;
    coin_shuffle(c, s->order, s->space.rank);
    for (uint32_t i = 0; i < x->n_ints; i++) s->reduced |= 1u << x->ints[i];
  }
}

static inline bool coin_materialised(Coin *c, ValueId v, const bool *root) {
  const Value *x = &c->g->v[v];
  if (root[v] || c->dense[v]) return true;
  if (op_class(x->op) == OPC_RED || x->op == OP_DOT || x->op == OP_SCATTER || x->op == OP_FOLD) return true;
  return coin(c) && coin(c);
}

static inline void coin_live(Coin *c, bool *root) {
  for (uint32_t i = 0; i < c->g->n_roots; i++)
    c->live[c->g->roots[i].value] = root[c->g->roots[i].value] = true;
  for (ValueId v = c->g->n; v-- > 1;) {
    if (!c->live[v]) continue;
    for (uint32_t i = 0; i < c->g->v[v].n_args; i++) {
      c->live[c->g->v[v].args[i]] = true;
      if (c->g->v[v].op == OP_DOT) c->dense[c->g->v[v].args[i]] = true;
    }
    if (c->g->v[v].op == OP_DOT) c->dense[v] = true;
  }
}

static inline void coin_params(Coin *c) {
  const Program *prog = c->plan->program;
  c->plan->params = ARENA_NEWS(c->arena, ParamPlace, prog->n_params + 1);
  for (uint32_t i = 0; i < prog->n_params; i++) {
    ParamPlace *p = &c->plan->params[i];
    int64_t n = 1;
    for (int k = prog->params[i].shape.rank - 1; k >= 0; k--)
      p->strides[k] = n, n *= prog->params[i].shape.d[k];
    p->floats = (n + 15) / 16 * 16;
    p->offset = c->plan->store_bytes;
    for (int k = 0; k < 2; k++) p->state_offset[k] = p->offset + (k + 1) * p->floats * 4;
    c->plan->store_bytes += 3 * p->floats * 4;
  }
}

/* NULL: a DOT that this planner cannot read as matrices. */
static inline Plan *coin_plan(Arena *a, const Program *prog, const TargetInfo *t, int64_t max_rows,
                              uint64_t seed) {
  const Graph *g = prog->step;
  Plan *p = ARENA_NEW(a, Plan);
  *p = (Plan){.arena = a, .program = prog, .target = *t};
  p->train = (PlanFn){.graph = g,
                      .symbol = "routec_train",
                      .max_rows = max_rows,
                      .n_sets = prog->groups.n_sets,
                      .set_share = prog->groups.share};
  PlanFn *f = &p->train;
  Coin c = {.arena = a, .plan = p, .f = f, .g = g, .state = seed};
  bool *root = ARENA_NEWS(a, bool, g->n);
  c.live = ARENA_NEWS(a, bool, g->n), c.dense = ARENA_NEWS(a, bool, g->n);
  f->buffer_of = ARENA_NEWS(a, BufferId, g->n), f->buffers = ARENA_NEWS(a, Buffer, 2 * g->n + 1);
  f->steps = ARENA_NEWS(a, Step, 2 * g->n), f->root_buffer = ARENA_NEWS(a, BufferId, g->n_roots + 1);
  coin_live(&c, root);
  coin_params(&c);
  for (ValueId v = 1; v < g->n; v++) {
    if (!c.live[v]) continue;
    bool stored = g->v[v].op == OP_PARAM || g->v[v].op == OP_STATE;
    if (op_class(g->v[v].op) == OPC_LEAF) coin_leaf(&c, v);
    if (f->buffer_of[v] && (stored || !(root[v] || c.dense[v]))) continue;
    f->buffer_of[v] = 0;
    if (g->v[v].op == OP_COLUMN || g->v[v].op == OP_SCALAR) c.failed |= root[v] || c.dense[v];
    if (!coin_materialised(&c, v, root)) continue;
    uint8_t order[IR_MAX_RANK] = {0, 1, 2, 3, 4, 5, 6, 7};
    if (!c.dense[v]) coin_shuffle(&c, order, g->v[v].shape.rank);
    coin_step(&c, v, coin_buffer(&c, v, SPACE_WORK, order, !c.dense[v]), order);
  }
  for (uint32_t i = 0; i < g->n_roots; i++) f->root_buffer[i] = f->buffer_of[g->roots[i].value];
  return c.failed ? NULL : p;
}
#endif
