/* SPDX-License-Identifier: Apache-2.0
 * driver_plugin_trial.c -- watched buffers, drawn data, and calls of a plugin's functions for `routec plugin
 * check`. */
#include "driver_plugin_trial.h"
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE = 4096, SLACK = 2 * PAGE };
static const uint32_t canary = 0x7fc0a5a5u; /* a quiet NaN: who reads it spoils his result */

const TrialShape trial_shapes[N_TRIAL_SHAPES] = {{5, 4, 3}, {1, 1, 0},  {1, 7, 1},
                                                 {6, 1, 2}, {9, 17, 0}, {33, 8, 5}};

/* ---- telling
 * ----------------------------------------------------------------------------------------------------- */
bool trial_fail(Trial *t, const char *format, ...) {
  va_list args;
  va_start(args, format);
  if (!t->verdict->why[0]) vsnprintf(t->verdict->why, sizeof t->verdict->why, format, args);
  va_end(args);
  return false;
}

void trial_at(Trial *t, const char *format, ...) {
  va_list args;
  va_start(args, format);
  vsnprintf(t->verdict->at, sizeof t->verdict->at, format, args);
  va_end(args);
}

void trial_note(Trial *t, const char *format, ...) {
  va_list args;
  va_start(args, format);
  vsnprintf(t->verdict->note, sizeof t->verdict->note, format, args);
  va_end(args);
}

const char *trial_case_text(const TrialCase *c) {
  static _Thread_local char text[400];
  const RouteOp *op = c->t->op;
  size_t n = 0;
  for (uint32_t i = 0; i < op->n_inputs && n < sizeof text; i++)
    n += (size_t)snprintf(text + n, sizeof text - n, "%s%s %zu x %zu, ld %zu", i ? "; " : "",
                          rt_op_input(op, i)->name, c->in[i].rows, c->in[i].cols, c->in[i].ld);
  for (uint32_t i = 0; i < op->n_params && n < sizeof text; i++)
    n +=
        (size_t)snprintf(text + n, sizeof text - n, "; %s = %.6g", rt_op_param(op, i)->name, c->u->params[i]);
  return text;
}

/* ---- draws: SplitMix64
 * ------------------------------------------------------------------------------------------- */
uint64_t trial_draw(Trial *t) {
  uint64_t z = t->random += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

double trial_uniform(Trial *t) { return (double)(trial_draw(t) >> 11) * 0x1p-53; }

double trial_normal(Trial *t) {
  const double u = 1 - trial_uniform(t), v = trial_uniform(t);
  return sqrt(-2 * log(u)) * cos(6.283185307179586 * v);
}

/* ---- buffers
 * ----------------------------------------------------------------------------------------------------- */
static TrialBuffer live[TRIAL_BUFFERS]; /* those that a fault may have left */
static pthread_mutex_t live_lock = PTHREAD_MUTEX_INITIALIZER;

static void fill_canary(char *from, size_t n) {
  for (size_t i = 0; i + 4 <= n; i += 4) memcpy(from + i, &canary, 4);
}

/* Bytes begin or end where the page does that nobody may touch; with slack, two pages away from it. */
TrialBuffer trial_buffer(Trial *t, const char *name, size_t n) {
  const size_t data = (n + PAGE) / PAGE * PAGE, slack = t->tight ? 0 : SLACK;
  TrialBuffer b = {.name = name, .n = n, .map_size = data + 2 * slack + 2 * PAGE};
  b.map = mmap(NULL, b.map_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (b.map == MAP_FAILED) {
    trial_fail(t, "the check itself has no memory for %zu bytes", n);
    _exit(0);
  }
  fill_canary(b.map + PAGE, b.map_size - 2 * PAGE);
  mprotect(b.map, PAGE, PROT_NONE);
  mprotect(b.map + b.map_size - PAGE, PAGE, PROT_NONE);
  b.bytes = b.map + PAGE + slack + (t->at_end ? (data - n) / 64 * 64 : 0);
  pthread_mutex_lock(&live_lock);
  for (uint32_t i = 0; i < TRIAL_BUFFERS; i++)
    if (!live[i].map) {
      live[i] = b;
      break;
    }
  pthread_mutex_unlock(&live_lock);
  return b;
}

void trial_buffer_free(TrialBuffer *b) {
  if (!b->map) return;
  pthread_mutex_lock(&live_lock);
  for (uint32_t i = 0; i < TRIAL_BUFFERS; i++)
    if (live[i].map == b->map) live[i].map = NULL;
  pthread_mutex_unlock(&live_lock);
  munmap(b->map, b->map_size);
  free(b->copy);
  *b = (TrialBuffer){0};
}

void trial_buffer_remember(TrialBuffer *b) {
  if (!b->copy) b->copy = malloc(b->n + 1);
  if (b->copy && b->n) memcpy(b->copy, b->bytes, b->n);
}

bool trial_buffer_same(const TrialBuffer *b) {
  return !b->copy || !b->n || memcmp(b->copy, b->bytes, b->n) == 0;
}

bool trial_canary(float x) { return memcmp(&x, &canary, 4) == 0; }

const char *trial_buffer_damage(const TrialBuffer *b) {
  const size_t words = (b->n + 3) / 4 * 4;
  for (const char *p = b->map + PAGE; p + 4 <= b->bytes; p += 4)
    if (memcmp(p, &canary, 4)) return "before its beginning";
  for (const char *p = b->bytes + words; p + 4 <= b->map + b->map_size - PAGE; p += 4)
    if (memcmp(p, &canary, 4)) return "behind its end";
  return NULL;
}

TrialMatrix trial_matrix(Trial *t, const char *name, size_t rows, size_t cols, size_t ld) {
  TrialMatrix m = {.rows = rows, .cols = cols, .ld = ld};
  m.b = trial_buffer(t, name, rows ? ((rows - 1) * ld + cols) * sizeof(float) : 0);
  m.x = (float *)(void *)m.b.bytes;
  return m;
}

const char *trial_matrix_damage(const TrialMatrix *m) {
  for (size_t i = 0; i + 1 < m->rows; i++)
    for (size_t j = m->cols; j < m->ld; j++)
      if (!trial_canary(m->x[i * m->ld + j])) return "into the padding between its columns and ld";
  return trial_buffer_damage(&m->b);
}

/* ---- faults
 * ------------------------------------------------------------------------------------------------------ */
static Trial *faulting;

static void fault(int signal, siginfo_t *info, void *context) {
  (void)context;
  const char *at = info->si_addr;
  TrialVerdict *v = faulting->verdict;
  for (uint32_t i = 0; i < TRIAL_BUFFERS; i++) {
    const TrialBuffer *b = &live[i];
    if (!b->map || at < b->map || at >= b->map + b->map_size) continue;
    snprintf(v->why, sizeof v->why, "touched memory %s of `%s`, in %s",
             at < b->bytes ? "before the beginning" : "behind the end", b->name, v->at);
    _exit(0);
  }
  snprintf(v->why, sizeof v->why, "%s in %s", signal == SIGBUS ? "SIGBUS" : "SIGSEGV", v->at);
  _exit(0);
}

void trial_catch_faults(Trial *t) {
  static char stack[1 << 16];
  faulting = t;
  sigaltstack(&(stack_t){.ss_sp = stack, .ss_size = sizeof stack}, NULL);
  struct sigaction act = {.sa_sigaction = fault, .sa_flags = SA_ONSTACK | SA_SIGINFO};
  sigemptyset(&act.sa_mask);
  sigaction(SIGSEGV, &act, NULL);
  sigaction(SIGBUS, &act, NULL);
}

/* ---- uses
 * -------------------------------------------------------------------------------------------------------- */
static void host_fail(void *ctx, const char *msg) {
  Trial *t = ctx;
  t->refused = true;
  snprintf(t->refusal, sizeof t->refusal, "%s", msg ? msg : "(no message)");
  rt_plugin_one_line(t->refusal);
}

static void *host_alloc(void *ctx, size_t n, size_t align) {
  Trial *t = ctx;
  if (t->n_blocks == TRIAL_BLOCKS || n > (size_t)1 << 32 || align > 64) return NULL;
  TrialBuffer b = trial_buffer(t, "the state", n);
  memset(b.bytes, 0, n);
  t->blocks[t->n_blocks++] = b;
  return b.bytes;
}

static const void *host_extension(void *ctx, const char *id) { return (void)ctx, (void)id, NULL; }

/* A number in the parameter's range, not far from ordinary ones. */
static double draw_param(Trial *t, const RouteParam *p) {
  double low = p->min > -3 ? p->min : -3, high = p->max < 3 ? p->max : 3;
  if (low > high) low = high = p->min > 3 ? p->min : p->max;
  if (p->min > -INFINITY && p->min >= low && p->max > p->min + 3) high = p->min + 3;
  const double v = low + (high - low) * (0.02 + 0.96 * trial_uniform(t));
  if (!(p->flags & ROUTE_PARAM_INT)) return v;
  const double whole = floor(v + 0.5);
  return whole < p->min ? ceil(p->min) : whole > p->max ? floor(p->max) : whole;
}

bool trial_use(Trial *t, uint32_t draw, TrialUse *u) {
  t->host = (RouteHost){sizeof t->host, t, host_fail, host_alloc, host_extension};
  for (uint32_t attempt = 0; attempt < 20; attempt++) {
    for (uint32_t i = 0; i < t->op->n_params; i++) {
      const RouteParam *p = rt_op_param(t->op, i);
      u->params[i] = draw == 0 && !isnan(p->def) ? p->def : draw_param(t, p);
    }
    u->state = NULL;
    t->refused = false;
    trial_at(t, "create()");
    if (ROUTE_HAS(t->op, RouteOp, create)) u->state = t->op->create(t->op, &t->host, u->params);
    if (!t->refused) return true;
  }
  return trial_fail(t, "create() refuses %s parameters: %s", draw ? "20 draws of" : "its default",
                    t->refusal);
}

/* ---- data
 * -------------------------------------------------------------------------------------------------------- */
bool trial_real(const Trial *t, uint32_t input) { return rt_op_input(t->op, input)->kind == ROUTE_REAL; }

static void make_key(Trial *t, TrialCase *c) {
  c->datum = trial_buffer(t, "key->datum", c->rows * 4);
  c->position = trial_buffer(t, "key->position", c->rows * 4);
  for (size_t i = 0; i < c->rows; i++) {
    const int32_t datum = (int32_t)(trial_draw(t) % 100000), position = (int32_t)(trial_draw(t) % 3);
    memcpy(c->datum.bytes + 4 * i, &datum, 4);
    memcpy(c->position.bytes + 4 * i, &position, 4);
  }
  c->key = (RouteKey){.size = sizeof c->key,
                      .training = 1,
                      .seed = trial_draw(t),
                      .stream = trial_draw(t),
                      .step = (int64_t)(trial_draw(t) % 10000),
                      .datum = (const int32_t *)(void *)c->datum.bytes,
                      .position = (const int32_t *)(void *)c->position.bytes};
  trial_buffer_remember(&c->datum);
  trial_buffer_remember(&c->position);
}

bool trial_case(Trial *t, const TrialUse *u, size_t rows, size_t cols, size_t pad, TrialCase *c) {
  *c = (TrialCase){.t = t, .u = u, .rows = rows};
  for (uint32_t i = 0; i < t->op->n_inputs; i++) {
    /* statistics relate tensors of any widths; the inputs of gates and formulas go together */
    c->cols[i] = !trial_real(t, i) ? 1 : t->ability == TRIAL_REDUCE ? cols + i : cols;
    c->in[i] = trial_matrix(t, rt_op_input(t->op, i)->name, rows, c->cols[i], c->cols[i] + pad);
  }
  make_key(t, c);
  trial_case_fill(c, FILL_NORMAL);
  if (t->ability != TRIAL_GATE) return true;
  const RouteGate *g = t->able;
  trial_at(t, "units()");
  c->units = g->units(u->params, c->cols);
  if (c->units >= 1 && c->units <= 1 << 20) return true;
  return trial_fail(t, "units() gives %zu (%s)", c->units, trial_case_text(c));
}

static float draw_number(Trial *t, TrialFill fill) {
  switch (fill) {
  case FILL_ZERO: return 0;
  case FILL_NAN: return NAN;
  case FILL_SOME_NAN: return trial_draw(t) % 4 ? (float)trial_normal(t) : NAN;
  case FILL_INFINITE: return trial_draw(t) % 2 ? INFINITY : -INFINITY;
  case FILL_LARGE: return (float)(trial_normal(t) * 1e30);
  case FILL_TINY: return (float)(trial_normal(t) * 1e-40);
  default: return (float)(floor(trial_normal(t) * 4096) / 4096); /* adding a power of 2 to it is exact */
  }
}

/* Softmax of each row. */
static void make_shares(TrialMatrix *m) {
  for (size_t i = 0; i < m->rows; i++) {
    double sum = 0;
    float *x = m->x + i * m->ld;
    for (size_t j = 0; j < m->cols; j++) sum += exp((double)x[j]);
    for (size_t j = 0; j < m->cols; j++) x[j] = (float)(exp((double)x[j]) / sum);
  }
}

/* Labels are ordinary ones in every fill. */
void trial_case_fill(TrialCase *c, TrialFill fill) {
  for (uint32_t k = 0; k < c->t->op->n_inputs; k++) {
    TrialMatrix *m = &c->in[k];
    for (size_t i = 0; i < m->rows; i++)
      for (size_t j = 0; j < m->cols; j++) {
        const int32_t label = (int32_t)(trial_draw(c->t) % 10);
        if (trial_real(c->t, k)) m->x[i * m->ld + j] = draw_number(c->t, fill);
        else memcpy(&m->x[i * m->ld + j], &label, 4);
      }
    if (c->t->shares && fill == FILL_NORMAL && trial_real(c->t, k)) make_shares(m);
    trial_buffer_remember(&m->b);
  }
}

void trial_case_free(TrialCase *c) {
  for (uint32_t i = 0; i < c->t->op->n_inputs; i++) trial_buffer_free(&c->in[i].b);
  trial_buffer_free(&c->datum);
  trial_buffer_free(&c->position);
}

/* ---- calls
 * ------------------------------------------------------------------------------------------------------- */
static RouteView view_of(const TrialMatrix *m, bool real, size_t row, size_t rows, size_t col, size_t cols) {
  RouteView v = {.size = sizeof v, .rows = rows, .cols = cols, .ld = m->ld};
  if (real) v.x = m->x + row * m->ld + col;
  else v.label = (const int32_t *)(void *)m->b.bytes + row * m->ld + col;
  return v;
}

static void row_views(const TrialCase *c, size_t row, size_t rows, RouteView *in) {
  for (uint32_t i = 0; i < c->t->op->n_inputs; i++)
    in[i] = view_of(&c->in[i], trial_real(c->t, i), row, rows, 0, c->in[i].cols);
}

static size_t tile(size_t from, size_t size, size_t end) {
  return size && end - from > size ? size : end - from;
}

static void span_value(TrialCase *c, TrialCut cut, TrialOut *out) {
  const RouteSpan *s = c->t->able;
  const TrialMatrix *x = &c->in[0];
  size_t r = 0, k;
  do {
    const size_t nr = tile(r, cut.rows, x->rows);
    for (size_t j = 0; j < x->cols; j += k) {
      k = tile(j, cut.cols, x->cols);
      const RouteView v = view_of(x, true, r, nr, j, k);
      out->value += s->value(c->u->state, &v);
    }
    r += nr;
  } while (r < x->rows);
}

/* Merges accumulators 0..n-1 into the first: one after the other, or neighbours first. */
static void merge_all(const TrialCase *c, TrialMerge how, TrialBuffer *acc, size_t n) {
  const RouteReduce *r = c->t->able;
  if (how == MERGE_IN_ORDER)
    for (size_t i = 1; i < n; i++) r->merge(c->u->state, c->cols, acc[0].bytes, acc[i].bytes);
  else
    for (size_t d = 1; d < n; d *= 2)
      for (size_t i = 0; i + d < n; i += 2 * d)
        r->merge(c->u->state, c->cols, acc[i].bytes, acc[i + d].bytes);
}

static bool reduce_value(TrialCase *c, TrialCut cut, TrialOut *out) {
  const RouteReduce *r = c->t->able;
  const size_t size = r->acc_size(c->u->state, c->cols, c->rows);
  if (size > (size_t)1 << 30)
    return trial_fail(c->t, "acc_size() gives %zu bytes, and 2^30 is the most (%s)", size,
                      trial_case_text(c));
  const size_t n = cut.merge && cut.rows && c->rows ? (c->rows + cut.rows - 1) / cut.rows : 1;
  TrialBuffer *acc = calloc(n, sizeof *acc);
  if (!acc) return trial_fail(c->t, "the check itself has no memory");
  for (size_t i = 0; i < n; i++) {
    acc[i] = trial_buffer(c->t, "acc", size);
    memset(acc[i].bytes, 0, size);
  }
  RouteView in[TRIAL_INPUTS];
  for (size_t row = 0, i = 0, rows; row < c->rows || !i; row += rows, i++) {
    rows = tile(row, cut.rows, c->rows);
    row_views(c, row, rows, in);
    r->partial(c->u->state, in, acc[n > 1 ? i : 0].bytes);
  }
  merge_all(c, cut.merge, acc, n);
  out->value = r->finish(c->u->state, c->cols, c->rows, acc[0].bytes);
  out->acc = acc[0];
  trial_buffer_remember(&out->acc);
  for (size_t i = 1; i < n; i++) trial_buffer_free(&acc[i]);
  free(acc);
  return true;
}

static RouteKey key_of(const TrialCase *c, size_t row) {
  RouteKey k = c->key;
  k.datum += row, k.position += row;
  return k;
}

static void gate_value(TrialCase *c, TrialCut cut, TrialOut *out) {
  const RouteGate *g = c->t->able;
  RouteView in[TRIAL_INPUTS];
  for (size_t row = 0, i = 0, rows; row < c->rows || !i; row += rows, i++) {
    rows = tile(row, cut.rows, c->rows);
    row_views(c, row, rows, in);
    const RouteKey key = key_of(c, row);
    g->value(c->u->state, in, &key, out->y.x + row * out->y.ld, out->y.ld);
  }
}

bool trial_value(TrialCase *c, TrialCut cut, TrialOut *out) {
  *out = (TrialOut){0};
  trial_at(c->t, "value (%s)", trial_case_text(c));
  if (c->t->ability == TRIAL_REDUCE) return reduce_value(c, cut, out);
  if (c->t->ability == TRIAL_SPAN) return span_value(c, cut, out), true;
  out->y = trial_matrix(c->t, "y", c->rows, c->units, c->units + (c->in[0].ld - c->in[0].cols));
  gate_value(c, cut, out);
  return true;
}

void trial_out_free(TrialOut *out) {
  trial_buffer_free(&out->y.b);
  trial_buffer_free(&out->acc);
}

TrialGrads trial_grads(TrialCase *c, size_t pad) {
  TrialGrads g = {0};
  for (uint32_t k = 0; k < c->t->op->n_inputs; k++) {
    if (!trial_real(c->t, k)) continue;
    TrialMatrix *m = &g.dx[k];
    *m = trial_matrix(c->t, c->t->op->n_inputs == 1 ? "dx" : "dx[i]", c->rows, c->cols[k], c->cols[k] + pad);
    for (size_t i = 0; i < m->rows; i++)
      for (size_t j = 0; j < m->cols; j++) m->x[i * m->ld + j] = 0;
  }
  return g;
}

void trial_grads_free(TrialGrads *g) {
  for (uint32_t k = 0; k < TRIAL_INPUTS; k++) trial_buffer_free(&g->dx[k].b);
}

bool trial_has_grad(const Trial *t) {
  if (t->ability != TRIAL_GATE) return true;
  const RouteGate *g = t->able;
  return ROUTE_HAS(g, RouteGate, grad);
}

TrialMatrix trial_dy(TrialCase *c, size_t pad) {
  if (c->t->ability != TRIAL_GATE) return (TrialMatrix){0};
  TrialMatrix m = trial_matrix(c->t, "dy", c->rows, c->units, c->units + pad);
  for (size_t i = 0; i < m.rows; i++)
    for (size_t j = 0; j < m.cols; j++) m.x[i * m.ld + j] = (float)trial_normal(c->t);
  return m;
}

typedef void SpanGrad(const void *state, const RouteView *x, float scale, float *dx, size_t ldd);
static void span_grad(TrialCase *c, TrialCut cut, SpanGrad *grad, float scale, TrialGrads *g) {
  const TrialMatrix *x = &c->in[0], *dx = &g->dx[0];
  size_t r = 0, k;
  do {
    const size_t nr = tile(r, cut.rows, x->rows);
    for (size_t j = 0; j < x->cols; j += k) {
      k = tile(j, cut.cols, x->cols);
      const RouteView v = view_of(x, true, r, nr, j, k);
      grad(c->u->state, &v, scale, dx->x + r * dx->ld + j, dx->ld);
    }
    r += nr;
  } while (r < x->rows);
}

static void gate_grad(TrialCase *c, const TrialOut *out, const TrialMatrix *dy, float scale, size_t row,
                      const RouteView *in, float *const *dx, const size_t *ldd) {
  const RouteGate *g = c->t->able;
  TrialMatrix scaled = trial_matrix(c->t, "dy", in[0].rows, c->units, dy->ld);
  for (size_t i = 0; i < in[0].rows; i++)
    for (size_t j = 0; j < c->units; j++) scaled.x[i * dy->ld + j] = scale * dy->x[(row + i) * dy->ld + j];
  const RouteView y = view_of(&out->y, true, row, in[0].rows, 0, c->units),
                  d = view_of(&scaled, true, 0, in[0].rows, 0, c->units);
  const RouteKey key = key_of(c, row);
  g->grad(c->u->state, in, &key, &y, &d, dx, ldd);
  trial_buffer_free(&scaled.b);
}

void trial_store(TrialCase *c, TrialCut cut, float scale, TrialGrads *g) {
  trial_at(c->t, "store (%s)", trial_case_text(c));
  span_grad(c, cut, ((const RouteSpan *)c->t->able)->store, scale, g);
}

void trial_grad(TrialCase *c, TrialCut cut, const TrialOut *out, const TrialMatrix *dy, float scale,
                TrialGrads *g) {
  trial_at(c->t, "grad (%s)", trial_case_text(c));
  if (c->t->ability == TRIAL_SPAN) {
    span_grad(c, cut, ((const RouteSpan *)c->t->able)->grad, scale, g);
    return;
  }
  RouteView in[TRIAL_INPUTS];
  float *dx[TRIAL_INPUTS];
  size_t ldd[TRIAL_INPUTS];
  for (size_t row = 0, i = 0, rows; row < c->rows || !i; row += rows, i++) {
    rows = tile(row, cut.rows, c->rows);
    row_views(c, row, rows, in);
    for (uint32_t k = 0; k < c->t->op->n_inputs; k++)
      dx[k] = g->dx[k].x ? g->dx[k].x + row * g->dx[k].ld : NULL, ldd[k] = g->dx[k].ld;
    if (c->t->ability == TRIAL_GATE) gate_grad(c, out, dy, scale, row, in, dx, ldd);
    else ((const RouteReduce *)c->t->able)->grad(c->u->state, out->acc.bytes, c->rows, in, scale, dx, ldd);
  }
}
