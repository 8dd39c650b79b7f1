/* SPDX-License-Identifier: Apache-2.0
 * plugin_call.c -- calls of plugins inside of a step: which thread does which tile, and how tiles become one result. */
#include "plugin_call.h"
#include "mem.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
  SPAN_ELEMENTS = 8192,   /* of a tile: x and dx together stay in the first two caches */
  GATE_ELEMENTS = 8192,
  REDUCE_ROWS = 64,       /* at least */
  REDUCE_TILES = 16,      /* at most: each has an accumulator */
  MOST_INPUTS = 64
};
#define MOST_ACC ((size_t)1 << 30)
#define MOST_ACCS ((size_t)1 << 28) /* bytes of all accumulators of a use; beyond, tiles are larger */

typedef struct Site {
  const JobCallStep *step;
  const JobCall *call;
  const RouteOp *op;
  void *state;
  const RouteSpan *span;
  const RouteReduce *reduce;
  const RouteGate *gate;
  const RouteSchedule *schedule;
  int64_t tile_rows;
  double *partial;         /* [tile] of a span */
  uint8_t *acc;            /* [tile] of a reduction, acc_stride bytes each; the first is the merged one */
  size_t acc_size, acc_stride;
  int32_t *datum, *position; /* [row] of a gate */
  size_t *cols;            /* [input] */
  int32_t arrived;         /* threads that are done with their tiles */
} Site;

struct PluginCalls {
  const Job *job;
  Site *sites; /* [call step]; those of JobCallStep.site */
  void **states; /* [call] */
  PluginMemory memory;
};

/* ---- one step --------------------------------------------------------------------------------------------------------- */
static int64_t rows_of(const JobCallStep *s, int64_t rows) { return s->by_datum ? rows * s->per : s->per; }
static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }

/* Which tiles are this thread's. */
static void share(const JobFrame *f, int64_t tid, int64_t n, int64_t *lo, int64_t *hi) {
  *lo = n * tid / f->n_threads, *hi = n * (tid + 1) / f->n_threads;
}

/* True for the thread that comes last; what the others wrote is then visible to it. */
static bool last_to_arrive(const JobFrame *f, Site *s) {
  if (__atomic_add_fetch(&s->arrived, 1, __ATOMIC_ACQ_REL) != f->n_threads) return false;
  __atomic_store_n(&s->arrived, 0, __ATOMIC_RELAXED);
  return true;
}

static RouteView view_of(const JobCallInput *in, void *base, int64_t first, int64_t rows) {
  RouteView v = {.size = sizeof v, .rows = (size_t)rows, .cols = (size_t)in->cols, .ld = (size_t)in->ld};
  if (in->label) v.label = (const int32_t *)base + first * in->ld;
  else v.x = (const float *)base + first * in->ld;
  return v;
}

static void zero_rows(float *y, int64_t rows, int64_t cols, int64_t ld) {
  for (int64_t r = 0; r < rows; r++) memset(y + r * ld, 0, (size_t)cols * sizeof *y);
}

/* ---- sums over elements: the value ---- */
/* An element knows of no other, so what lies without gaps is one long row. */
typedef struct SpanCut { int64_t rows, cols, ld, per_row, tile_rows, tile_cols, n; } SpanCut;

static SpanCut span_cut(const JobCallStep *s, int64_t rows) {
  const JobCallInput *in = &s->inputs[0];
  SpanCut c = {.rows = rows, .cols = in->cols, .ld = in->ld};
  if (c.ld == c.cols) c.cols *= c.rows, c.rows = c.rows > 0, c.ld = c.cols;
  c.tile_cols = min64(c.cols, SPAN_ELEMENTS);
  c.tile_rows = c.cols > SPAN_ELEMENTS || !c.cols ? 1 : SPAN_ELEMENTS / c.cols;
  c.per_row = c.tile_cols ? (c.cols + c.tile_cols - 1) / c.tile_cols : 0;
  c.n = (c.rows + c.tile_rows - 1) / c.tile_rows * c.per_row;
  return c;
}

static void span_tile(const SpanCut *c, int64_t tile, int64_t *row, int64_t *col, RouteView *v, const float *x) {
  *row = tile / c->per_row * c->tile_rows, *col = tile % c->per_row * c->tile_cols;
  *v = (RouteView){.size = sizeof *v, .x = x + *row * c->ld + *col, .rows = (size_t)min64(c->tile_rows, c->rows - *row),
                   .cols = (size_t)min64(c->tile_cols, c->cols - *col), .ld = (size_t)c->ld};
}

static void span_value(const JobFrame *f, int64_t tid, Site *s, int64_t rows, void *const *at) {
  const SpanCut c = span_cut(s->step, rows);
  int64_t lo, hi, row, col;
  RouteView v;
  share(f, tid, c.n, &lo, &hi);
  for (int64_t t = lo; t < hi; t++) {
    span_tile(&c, t, &row, &col, &v, at[0]);
    s->partial[t] = s->span->value(s->state, &v);
  }
  if (!last_to_arrive(f, s)) return;
  double sum = 0;
  for (int64_t t = 0; t < c.n; t++) sum += s->partial[t];
  *(float *)at[1] = (float)sum;
}

/* ---- sums over elements: the gradient ---- */
typedef struct TileGrid { int64_t rows, cols, tile_rows, tile_cols, period, per_row, per_period, n; } TileGrid;
typedef struct Tile { int64_t row, col, rows, cols, end; } Tile; /* end: of its period */

static TileGrid tile_grid(const JobCallStep *x, int64_t rows) {
  TileGrid g = {.rows = rows, .cols = x->inputs[0].cols, .tile_rows = x->tile_rows, .tile_cols = x->tile_cols, .period = x->tile_period};
  if (g.period < 1) g.period = rows > 0 ? rows : 1;
  g.per_row = (g.cols + g.tile_cols - 1) / g.tile_cols;
  g.per_period = (g.period + g.tile_rows - 1) / g.tile_rows * g.per_row;
  g.n = rows / g.period * g.per_period;
  return g;
}

static void tile_extent(const TileGrid *g, Tile *x) {
  x->rows = min64(g->tile_rows, x->end - x->row), x->cols = min64(g->tile_cols, g->cols - x->col);
}

static Tile tile_at(const TileGrid *g, int64_t t) {
  const int64_t first = t / g->per_period * g->period, in = t % g->per_period;
  Tile x = {.row = first + in / g->per_row * g->tile_rows, .col = in % g->per_row * g->tile_cols, .end = first + g->period};
  tile_extent(g, &x);
  return x;
}

/* The one behind it: thousands a step, so nothing is divided. */
static void tile_next(const TileGrid *g, Tile *x) {
  x->col += x->cols;
  if (x->col == g->cols) x->col = 0, x->row += x->rows;
  if (x->row == x->end) x->end += g->period;
  tile_extent(g, x);
}

/* dx: of the tile, its rows dx_ld apart. What lies without gaps is one row for the plugin. */
static void tile_gradient(const Site *s, const Tile *t, const float *x, float scale, float *dx) {
  const JobCallInput *in = &s->step->inputs[0];
  RouteView v = {.size = sizeof v, .x = x + t->row * in->ld + t->col, .rows = (size_t)t->rows, .cols = (size_t)t->cols, .ld = (size_t)in->ld};
  size_t ldd = (size_t)in->dx_ld;
  if (v.ld == v.cols && ldd == v.cols) v.cols *= v.rows, v.rows = 1, ldd = v.ld = v.cols;
  if (scale != 0 && ROUTE_HAS(s->span, RouteSpan, store)) {
    s->span->store(s->state, &v, scale, dx, ldd);
    return;
  }
  zero_rows(dx, (int64_t)v.rows, (int64_t)v.cols, (int64_t)ldd);
  if (scale != 0) s->span->grad(s->state, &v, scale, dx, ldd);
}

/* at: x, the value, dy, dx. */
static void span_gradient(const JobFrame *f, int64_t tid, const Site *s, int64_t rows, void *const *at) {
  const TileGrid g = tile_grid(s->step, rows);
  const float scale = *(const float *)at[2];
  int64_t lo, hi;
  share(f, tid, g.n, &lo, &hi);
  Tile x = lo < hi ? tile_at(&g, lo) : (Tile){0};
  for (int64_t t = lo; t < hi; t++, tile_next(&g, &x)) {
    tile_gradient(s, &x, at[0], scale, (float *)at[3] + x.row * s->step->inputs[0].dx_ld + x.col);
  }
}

/* Gradients for a map, which goes over each tile while it is in cache. */
static void span_together(const JobFrame *f, int64_t tid, const Site *s, int64_t rows, void *const *at) {
  _Alignas(64) float mine[JOB_TILE_CALLS][2 * JOB_TILE_FLOATS]; /* rows are padded by less than their length */
  const float *first[JOB_TILE_CALLS];
  const uint32_t n = s->step->together;
  const TileGrid g = tile_grid(s->step, rows);
  JobTileMap map;
  memcpy(&map, &at[3 * n], sizeof map);
  int64_t lo, hi;
  share(f, tid, g.n, &lo, &hi);
  Tile x = lo < hi ? tile_at(&g, lo) : (Tile){0};
  for (int64_t t = lo; t < hi; t++, tile_next(&g, &x)) {
    for (uint32_t i = 0; i < n; i++) {
      rt_plugin_running = s[i].op->name;
      tile_gradient(&s[i], &x, at[3 * i], *(const float *)at[3 * i + 2], mine[i]);
      first[i] = mine[i] - (x.row * s[i].step->inputs[0].dx_ld + x.col);
    }
    rt_plugin_running = NULL;
    map(at[3 * n + 1], t, first);
  }
}

/* ---- statistics over rows ---- */
static void reduce_value(const JobFrame *f, int64_t tid, Site *s, int64_t rows, void *const *at) {
  const JobCallStep *x = s->step;
  const int64_t n = (rows + s->tile_rows - 1) / s->tile_rows;
  int64_t lo, hi;
  RouteView in[MOST_INPUTS];
  share(f, tid, n, &lo, &hi);
  if (!n && tid == 0) memset(s->acc, 0, s->acc_size);
  for (int64_t t = lo; t < hi; t++) {
    uint8_t *acc = s->acc + (size_t)t * s->acc_stride;
    const int64_t first = t * s->tile_rows;
    memset(acc, 0, s->acc_size);
    for (uint32_t i = 0; i < x->n_inputs; i++) in[i] = view_of(&x->inputs[i], at[i], first, min64(s->tile_rows, rows - first));
    s->reduce->partial(s->state, in, acc);
  }
  if (!last_to_arrive(f, s)) return;
  for (int64_t t = 1; t < n; t++) s->reduce->merge(s->state, s->cols, s->acc, s->acc + (size_t)t * s->acc_stride);
  *(float *)at[x->n_inputs] = (float)s->reduce->finish(s->state, s->cols, (size_t)rows, s->acc);
}

/* at: inputs, the value, dy, dx of each input. */
static void reduce_gradient(const JobFrame *f, int64_t tid, const Site *s, const JobCallStep *x, int64_t rows, void *const *at) {
  const int64_t n = (rows + s->tile_rows - 1) / s->tile_rows;
  const float scale = *(const float *)at[x->n_inputs + 1];
  void *const *out = at + x->n_inputs + 2;
  int64_t lo, hi;
  RouteView in[MOST_INPUTS];
  float *dx[MOST_INPUTS];
  size_t ldd[MOST_INPUTS];
  share(f, tid, n, &lo, &hi);
  for (int64_t t = lo; t < hi; t++) {
    const int64_t first = t * s->tile_rows, count = min64(s->tile_rows, rows - first);
    for (uint32_t i = 0; i < x->n_inputs; i++) {
      in[i] = view_of(&x->inputs[i], at[i], first, count);
      ldd[i] = (size_t)x->inputs[i].dx_ld;
      dx[i] = out[i] ? (float *)out[i] + first * x->inputs[i].dx_ld : NULL;
      if (dx[i]) zero_rows(dx[i], count, x->inputs[i].cols, x->inputs[i].dx_ld);
    }
    if (scale != 0) s->reduce->grad(s->state, s->acc, (size_t)rows, in, scale, dx, ldd);
  }
}

/* ---- weights of rows ---- */
static RouteKey gate_key(const JobFrame *f, const Site *s, const JobCallStep *x, int64_t first, int64_t count, int64_t step, const int32_t *datum) {
  const RouteKey k = {.size = sizeof k, .training = x->training, .seed = f->seed, .stream = s->call->stream, .step = step,
                      .datum = s->datum + first, .position = s->position + first};
  for (int64_t r = first; r < first + count; r++) {
    s->datum[r] = x->by_datum ? datum[r / x->per] : 0;
    s->position[r] = (int32_t)(x->by_datum ? r % x->per : r);
  }
  return k;
}

static bool row_is_zero(const float *dy, int64_t cols) {
  bool zero = true;
  for (int64_t k = 0; k < cols; k++) zero = zero && dy[k] == 0;
  return zero;
}

static void gate_tile_gradient(const Site *s, const JobCallStep *x, const RouteView *in, const RouteKey *key, int64_t first, int64_t count,
                               void *const *at) {
  void *const *out = at + x->n_inputs + x->by_datum + 2;
  const float *y = (const float *)out[-2] + first * x->value_ld, *dy = (const float *)out[-1] + first * x->dy_ld;
  const RouteView vy = {.size = sizeof vy, .x = y, .rows = (size_t)count, .cols = (size_t)x->out_cols, .ld = (size_t)x->value_ld},
                  vd = {.size = sizeof vd, .x = dy, .rows = (size_t)count, .cols = (size_t)x->out_cols, .ld = (size_t)x->dy_ld};
  float *dx[MOST_INPUTS];
  size_t ldd[MOST_INPUTS];
  for (uint32_t i = 0; i < x->n_inputs; i++) {
    ldd[i] = (size_t)x->inputs[i].dx_ld;
    dx[i] = out[i] ? (float *)out[i] + first * x->inputs[i].dx_ld : NULL;
    if (dx[i]) zero_rows(dx[i], count, x->inputs[i].cols, x->inputs[i].dx_ld);
  }
  if (!ROUTE_HAS(s->gate, RouteGate, grad)) return;
  s->gate->grad(s->state, in, key, &vy, &vd, dx, ldd);
  for (int64_t r = 0; r < count; r++) { /* what is masked is exactly 0, whatever the plugin makes of 0 */
    if (!row_is_zero(dy + r * x->dy_ld, x->out_cols)) continue;
    for (uint32_t i = 0; i < x->n_inputs; i++)
      if (dx[i]) zero_rows(dx[i] + r * x->inputs[i].dx_ld, 1, x->inputs[i].cols, 1);
  }
}

static void gate_run(const JobFrame *f, int64_t tid, const Site *s, const JobCallStep *x, int64_t rows, int64_t step, void *const *at) {
  const int64_t n = (rows + s->tile_rows - 1) / s->tile_rows;
  int64_t lo, hi;
  RouteView in[MOST_INPUTS];
  share(f, tid, n, &lo, &hi);
  for (int64_t t = lo; t < hi; t++) {
    const int64_t first = t * s->tile_rows, count = min64(s->tile_rows, rows - first);
    const RouteKey key = gate_key(f, s, x, first, count, step, x->by_datum ? at[x->n_inputs] : NULL);
    for (uint32_t i = 0; i < x->n_inputs; i++) in[i] = view_of(&x->inputs[i], at[i], first, count);
    if (x->gradient) gate_tile_gradient(s, x, in, &key, first, count, at);
    else s->gate->value(s->state, in, &key, (float *)at[x->n_inputs + x->by_datum] + first * x->value_ld, (size_t)x->value_ld);
  }
}

static void call_run(const JobFrame *f, int64_t tid, Site *s, const JobCallStep *x, int64_t rows, int64_t step,
                     void *const *at) {
  const int64_t all = rows_of(x, rows);
  switch (s->call->ability) {
  case JOB_SPAN:
    if (x->together) span_together(f, tid, s, all, at);
    else if (x->gradient) span_gradient(f, tid, s, all, at);
    else span_value(f, tid, s, all, at);
    return;
  case JOB_REDUCE:
    if (x->gradient) reduce_gradient(f, tid, s, x, all, at);
    else reduce_value(f, tid, s, all, at);
    return;
  case JOB_GATE: gate_run(f, tid, s, x, all, step, at); return;
  case JOB_SCHEDULE:
    if (tid == 0) {
      const RouteClock clock = {.size = sizeof clock, .step = *(const double *)at[0], .total_steps = *(const double *)at[1],
                                .steps_per_epoch = *(const double *)at[2]};
      *(double *)at[3] = s->schedule->value(s->state, &clock);
    }
    return;
  }
}

void calls_run(JobFrame *f, int64_t tid, int64_t call_step, int64_t rows, int64_t step, void *const *at) {
  const PluginCalls *c = f->calls;
  const JobCallStep *x = &c->job->call_steps[call_step];
  Site *s = &c->sites[x->site];
  rt_plugin_running = s->op->name;
  call_run(f, tid, s, x, rows, step, at);
  rt_plugin_running = NULL;
}

/* ---- states ------------------------------------------------------------------------------------------------------------- */
typedef struct HostCtx { PluginMemory *memory; char why[512]; bool failed; } HostCtx;

static void host_fail(void *ctx, const char *msg) {
  HostCtx *h = ctx;
  if (!h->failed) snprintf(h->why, sizeof h->why, "%s", msg ? msg : "no reason given");
  rt_plugin_one_line(h->why);
  h->failed = true;
}

static void *host_alloc(void *ctx, size_t n, size_t align) {
  PluginMemory *m = ((HostCtx *)ctx)->memory;
  if (align < 64) align = 64;
  if ((align & (align - 1)) || n > SIZE_MAX - 2 * align) return NULL;
  if (m->n == m->cap) {
    const size_t cap = m->cap ? 2 * m->cap : 16;
    void **more = realloc(m->blocks, cap * sizeof *more);
    if (!more) return NULL;
    m->blocks = more, m->cap = cap;
  }
  const size_t size = ((n ? n : 1) + align - 1) / align * align;
  void *p = aligned_alloc(align, size);
  if (p) m->blocks[m->n++] = memset(p, 0, size);
  return p;
}

static const void *host_extension(void *ctx, const char *id) { return (void)ctx, (void)id, NULL; }

void plugin_memory_free(PluginMemory *m) {
  while (m->n) free(m->blocks[--m->n]);
  free(m->blocks);
  *m = (PluginMemory){0};
}

bool plugin_state_make(const JobPlugin *p, const RouteOp *op, const double *params, uint32_t n_params, const JobSpan *span,
                       PluginMemory *m, void **state, RtError *e) {
  HostCtx ctx = {.memory = m};
  const RouteHost host = {.size = sizeof host, .ctx = &ctx, .fail = host_fail, .alloc = host_alloc, .extension = host_extension};
  for (uint32_t i = 0; i < n_params && i < op->n_params; i++) {
    const RouteParam *q = rt_op_param(op, i);
    if (!(params[i] >= q->min && params[i] <= q->max) || ((q->flags & ROUTE_PARAM_INT) && params[i] != floor(params[i])))
      return rt_fail_at(e, span, RT_E0760, q->name, op->name, params[i], q->min, q->max, q->flags & ROUTE_PARAM_INT ? ", a whole number" : "");
  }
  *state = NULL;
  if (!ROUTE_HAS(op, RouteOp, create)) return true;
  rt_plugin_running = op->name;
  *state = op->create(op, &host, params);
  rt_plugin_running = NULL;
  return !ctx.failed || rt_fail_at(e, span, RT_E0755, op->name, p->name, ctx.why);
}

static bool states_make(PluginCalls *c, RtError *e) {
  const Job *job = c->job;
  for (uint32_t i = 0; i < job->n_calls; i++) {
    const JobCall *x = &job->calls[i];
    const JobPlugin *p = &job->plugins[x->plugin];
    const RouteOp *op = rt_plugin_op(p->code, x->op);
    double *params = calloc(x->n_params + 1, sizeof *params);
    if (!params) return rt_fail(e, RT_E0719, 0LL, x->op);
    if (!op || op->n_params != x->n_params) return free(params), rt_fail_at(e, &x->span, RT_E0761, p->name, x->op);
    for (uint32_t k = 0; k < x->n_params; k++)
      params[k] = x->params[k].scalar >= 0 ? job->scalars[x->params[k].scalar].value : x->params[k].value;
    const bool ok = plugin_state_make(p, op, params, x->n_params, &x->span, &c->memory, &c->states[i], e);
    free(params);
    if (!ok) return false;
  }
  return true;
}

/* ---- memory of sites ---------------------------------------------------------------------------------------------------- */
static void *memory(PluginCalls *c, size_t n) { return host_alloc(&(HostCtx){.memory = &c->memory}, n, 64); }

static bool reduce_memory(PluginCalls *c, Site *s, RtError *e) {
  const int64_t max = s->step->max_rows;
  int64_t tiles = (max + REDUCE_ROWS - 1) / REDUCE_ROWS;
  if (tiles > REDUCE_TILES) tiles = REDUCE_TILES;
  rt_plugin_running = s->op->name;
  s->acc_size = s->reduce->acc_size(s->state, s->cols, (size_t)max);
  rt_plugin_running = NULL;
  if (s->acc_size > MOST_ACC) return rt_fail_at(e, &s->call->span, RT_E0762, s->op->name, s->acc_size);
  s->acc_stride = (s->acc_size + 127) / 64 * 64; /* never 0 */
  if (tiles > 1 && (size_t)tiles > MOST_ACCS / s->acc_stride) tiles = (int64_t)(MOST_ACCS / s->acc_stride);
  if (tiles < 1) tiles = 1;
  s->tile_rows = (max + tiles - 1) / tiles;
  if (s->tile_rows < 1) s->tile_rows = 1;
  s->acc = memory(c, (size_t)tiles * s->acc_stride);
  return s->acc || rt_fail(e, RT_E0719, (long long)((size_t)tiles * s->acc_stride), s->op->name);
}

static bool gate_memory(PluginCalls *c, Site *s, RtError *e) {
  int64_t widest = s->step->out_cols;
  for (uint32_t i = 0; i < s->step->n_inputs; i++)
    if (s->step->inputs[i].cols > widest) widest = s->step->inputs[i].cols;
  s->tile_rows = widest > GATE_ELEMENTS / 16 ? 16 : GATE_ELEMENTS / widest;
  s->datum = memory(c, (size_t)s->step->max_rows * sizeof *s->datum);
  s->position = memory(c, (size_t)s->step->max_rows * sizeof *s->position);
  return (s->datum && s->position) || rt_fail(e, RT_E0719, (long long)s->step->max_rows * 8, s->op->name);
}

static bool site_memory(PluginCalls *c, Site *s, RtError *e) {
  s->cols = memory(c, (s->step->n_inputs + 1) * sizeof *s->cols);
  if (!s->cols) return rt_fail(e, RT_E0719, 0LL, s->op->name);
  for (uint32_t i = 0; i < s->step->n_inputs; i++) s->cols[i] = (size_t)s->step->inputs[i].cols;
  if (s->reduce) return reduce_memory(c, s, e);
  if (s->gate) return gate_memory(c, s, e);
  if (!s->span) return true;
  const int64_t n = span_cut(s->step, s->step->max_rows).n;
  s->partial = memory(c, (size_t)(n + 1) * sizeof *s->partial);
  return s->partial || rt_fail(e, RT_E0719, (long long)n * 8, s->op->name);
}

static bool site_open(PluginCalls *c, const JobCallStep *x, Site *s, RtError *e) {
  static const char *const ids[] = {ROUTE_EXT_SPAN, ROUTE_EXT_REDUCE, ROUTE_EXT_GATE, ROUTE_EXT_SCHEDULE};
  const JobCall *call = &c->job->calls[x->call];
  const RoutePlugin *code = c->job->plugins[call->plugin].code;
  *s = (Site){.step = x, .call = call, .op = rt_plugin_op(code, call->op), .state = c->states[x->call]};
  const void *ability = s->op->extension(s->op, ids[call->ability]);
  if (!ability || x->n_inputs > MOST_INPUTS) return rt_fail_at(e, &call->span, RT_E0761, code->name, call->op);
  if (call->ability == JOB_SPAN) s->span = ability;
  if (call->ability == JOB_REDUCE) s->reduce = ability;
  if (call->ability == JOB_GATE) s->gate = ability;
  if (call->ability == JOB_SCHEDULE) s->schedule = ability;
  return site_memory(c, s, e);
}

PluginCalls *calls_open(const Job *job, RtError *e) {
  PluginCalls *c = calloc(1, sizeof *c);
  if (!c) return rt_fail(e, RT_E0719, 0LL, "plugins"), NULL;
  c->job = job;
  c->sites = calloc(job->n_call_steps + 1, sizeof *c->sites);
  c->states = calloc(job->n_calls + 1, sizeof *c->states);
  bool ok = (c->sites && c->states) || rt_fail(e, RT_E0719, 0LL, "plugins");
  ok = ok && states_make(c, e);
  for (uint32_t i = 0; ok && i < job->n_call_steps; i++)
    if (job->call_steps[i].site == i) ok = site_open(c, &job->call_steps[i], &c->sites[i], e);
  if (ok) return c;
  calls_close(c);
  return NULL;
}

void calls_close(PluginCalls *c) {
  if (!c) return;
  plugin_memory_free(&c->memory);
  free(c->sites), free(c->states);
  free(c);
}

/* ---- loading ------------------------------------------------------------------------------------------------------------ */
/* The first of the recorded path and the same file name in the search folders that exists. */
static char *plugin_place(const JobPlugin *p, const char *const *search) {
  FILE *f = fopen(p->path, "rb");
  const char *slash = strrchr(p->path, '/'), *name = slash ? slash + 1 : p->path;
  char *found = f ? mem_printf("%s", p->path) : NULL;
  for (uint32_t i = 0; !found && search && search[i]; i++) {
    found = mem_printf("%s/%s", search[i], name);
    if ((f = fopen(found, "rb")) == NULL) free(found), found = NULL;
  }
  if (f) fclose(f);
  return found ? found : mem_printf("%s", p->path);
}

bool plugins_load(Job *job, const char *const *search, RtError *e) {
  for (uint32_t i = 0; i < job->n_plugins; i++) {
    JobPlugin *p = &job->plugins[i];
    if (p->code) continue;
    if (!p->path) {
      p->code = p->entry ? p->entry() : NULL;
      if (!p->code) return rt_fail_at(e, &p->span, RT_E0761, p->name, "route_plugin_v1");
      continue;
    }
    char *path = plugin_place(p, search);
    p->code = rt_plugin_load(path, p->sha256, NULL, e);
    free(path);
    if (!p->code) return false;
  }
  return true;
}
