/* SPDX-License-Identifier: Apache-2.0
 * ops_eval.c -- leaves, views, reductions and contractions in double, by plain loops over index tuples.
 * Nothing here is clever: it is what emitted code is compared with. */
#include "ops_impl.h"
#include "rng.h"
#include <math.h>
#include <string.h>

static const double *arg_data(const EvalCtx *c, const Value *v, uint32_t i) { return c->value[v->args[i]]; }
static Shape arg_shape(const EvalCtx *c, const Value *v, uint32_t i) {
  return eval_shape(c, &c->g->v[v->args[i]].shape);
}

static void row_major(const Shape *s, int64_t *stride) {
  int64_t n = 1;
  for (int32_t i = s->rank - 1; i >= 0; i--) stride[i] = n, n *= s->d[i];
}

/* The next index tuple in row-major order. */
static void next_index(const Shape *s, int64_t *at) {
  for (int32_t i = s->rank - 1; i >= 0; i--) {
    if (++at[i] < s->d[i]) return;
    at[i] = 0;
  }
}

static int64_t offset_of(const int64_t *at, const int64_t *stride, int32_t rank) {
  int64_t n = 0;
  for (int32_t i = 0; i < rank; i++) n += at[i] * stride[i];
  return n;
}

/* ---- leaves ------------------------------------------------------------------------------------- */
static void copy(double *out, const double *from, int64_t n) {
  if (n > 0) memcpy(out, from, sizeof *out * (size_t)n);
}

void eval_column(const EvalCtx *c, const Value *v, double *out) {
  copy(out, c->in->columns[v->ints[0]], shape_count(&v->shape, c->in->rows));
}
void eval_param(const EvalCtx *c, const Value *v, double *out) {
  copy(out, c->in->params[v->ints[0]], shape_count(&v->shape, 0));
}
void eval_state(const EvalCtx *c, const Value *v, double *out) {
  copy(out, c->in->states[v->ints[0]][v->ints[1]], shape_count(&v->shape, 0));
}
void eval_scalar(const EvalCtx *c, const Value *v, double *out) { out[0] = c->in->scalars[v->ints[0]]; }

void eval_clock(const EvalCtx *c, const Value *v, double *out) {
  switch ((ClockKind)v->ints[0]) {
  case CLOCK_ROWS: out[0] = (double)c->in->rows; break;
  case CLOCK_STEP: out[0] = c->in->step; break;
  case CLOCK_TOTAL_STEPS: out[0] = c->in->total_steps; break;
  case CLOCK_STEPS_PER_EPOCH: out[0] = c->in->steps_per_epoch; break;
  }
}

void eval_const(const EvalCtx *c, const Value *v, double *out) {
  int64_t n = eval_count(c, &v->shape);
  for (int64_t i = 0; i < n; i++) out[i] = v->data ? v->data[i] : v->num;
}

void eval_iota(const EvalCtx *c, const Value *v, double *out) {
  Shape s = eval_shape(c, &v->shape);
  int64_t at[IR_MAX_RANK] = {0}, n = shape_count(&s, 0);
  for (int64_t i = 0; i < n; i++, next_index(&s, at)) out[i] = (double)at[v->ints[0]];
}

static uint32_t datum_of(const EvalCtx *c, int64_t row) {
  return c->in->datum ? (uint32_t)c->in->datum[row] : (uint32_t)row;
}

void eval_datum(const EvalCtx *c, const Value *v, double *out) {
  (void)v;
  for (int64_t r = 0; r < c->in->rows; r++) out[r] = (double)(int32_t)datum_of(c, r);
}

void eval_random(const EvalCtx *c, const Value *v, double *out) {
  bool by_row = v->shape.rank && v->shape.d[0] == DIM_ROWS;
  int64_t rows = by_row ? c->in->rows : 1, per = shape_count(&v->shape, 1);
  for (int64_t r = 0; r < rows; r++)
    for (int64_t i = 0; i < per; i++)
      out[r * per + i] = (double)rng_uniform(c->in->seed, (uint64_t)v->ints[0], (uint64_t)c->in->step,
                                             by_row ? datum_of(c, r) : 0, (uint32_t)i);
}

/* ---- element-wise ------------------------------------------------------------------------------- */
void eval_elt(const EvalCtx *c, const Value *v, double *out) {
  double (*scalar)(const double *, Dtype) = op_info(v->op)->scalar;
  int64_t n = eval_count(c, &v->shape);
  for (int64_t i = 0; i < n; i++) {
    double x[3];
    for (uint32_t k = 0; k < v->n_args; k++) x[k] = arg_data(c, v, k)[i];
    out[i] = scalar(x, v->dtype);
  }
}

/* ---- views -------------------------------------------------------------------------------------- */
void eval_bcast(const EvalCtx *c, const Value *v, double *out) {
  Shape to = eval_shape(c, &v->shape), from = arg_shape(c, v, 0);
  int64_t stride[IR_MAX_RANK], at[IR_MAX_RANK] = {0}, n = shape_count(&to, 0);
  row_major(&from, stride);
  const double *x = arg_data(c, v, 0);
  for (int64_t i = 0; i < n; i++, next_index(&to, at)) {
    int64_t src = 0;
    for (int32_t k = 0; k < to.rank; k++)
      if (v->ints[k] >= 0) src += at[k] * stride[v->ints[k]];
    out[i] = x[src];
  }
}

void eval_reshape(const EvalCtx *c, const Value *v, double *out) {
  copy(out, arg_data(c, v, 0), eval_count(c, &v->shape));
}

void eval_transpose(const EvalCtx *c, const Value *v, double *out) {
  Shape to = eval_shape(c, &v->shape), from = arg_shape(c, v, 0);
  int64_t stride[IR_MAX_RANK], at[IR_MAX_RANK] = {0}, n = shape_count(&to, 0);
  row_major(&from, stride);
  const double *x = arg_data(c, v, 0);
  for (int64_t i = 0; i < n; i++, next_index(&to, at)) {
    int64_t src = 0;
    for (int32_t k = 0; k < to.rank; k++) src += at[k] * stride[v->ints[k]];
    out[i] = x[src];
  }
}

void eval_rslice(const EvalCtx *c, const Value *v, double *out) {
  Shape part = eval_shape(c, &v->shape), whole = arg_shape(c, v, 0);
  int64_t stride[IR_MAX_RANK], at[IR_MAX_RANK] = {0}, n = shape_count(&part, 0), first = 0;
  row_major(&whole, stride);
  for (int32_t i = 0; i < part.rank; i++)
    if (dim_is_rows(v->shape.d[i])) first = c->sets[v->ints[0]][0] * stride[i];
  const double *x = arg_data(c, v, 0) + first;
  for (int64_t i = 0; i < n; i++, next_index(&part, at)) out[i] = x[offset_of(at, stride, part.rank)];
}

/* Where index j along the cut axis of the part stands in the whole. */
static int64_t in_whole(const Value *v, int64_t j) {
  return v->op == OP_SLICE || v->op == OP_PAD ? v->ints[1] + j * v->ints[2] : v->ints[1 + j];
}

static void cut(const EvalCtx *c, const Value *v, double *out) {
  Shape part = eval_shape(c, &v->shape), whole = arg_shape(c, v, 0);
  int64_t stride[IR_MAX_RANK], at[IR_MAX_RANK] = {0}, n = shape_count(&part, 0), axis = v->ints[0];
  row_major(&whole, stride);
  const double *x = arg_data(c, v, 0);
  for (int64_t i = 0; i < n; i++, next_index(&part, at))
    out[i] = x[offset_of(at, stride, part.rank) + (in_whole(v, at[axis]) - at[axis]) * stride[axis]];
}

static void put_back(const EvalCtx *c, const Value *v, double *out) {
  Shape part = arg_shape(c, v, 0), whole = eval_shape(c, &v->shape);
  int64_t stride[IR_MAX_RANK], at[IR_MAX_RANK] = {0}, n = shape_count(&part, 0), axis = v->ints[0];
  row_major(&whole, stride);
  const double *x = arg_data(c, v, 0);
  for (int64_t i = 0; i < shape_count(&whole, 0); i++) out[i] = 0;
  for (int64_t i = 0; i < n; i++, next_index(&part, at))
    out[offset_of(at, stride, part.rank) + (in_whole(v, at[axis]) - at[axis]) * stride[axis]] = x[i];
}

void eval_slice(const EvalCtx *c, const Value *v, double *out) { cut(c, v, out); }
void eval_take(const EvalCtx *c, const Value *v, double *out) { cut(c, v, out); }
void eval_pad(const EvalCtx *c, const Value *v, double *out) { put_back(c, v, out); }
void eval_put(const EvalCtx *c, const Value *v, double *out) { put_back(c, v, out); }

void eval_concat(const EvalCtx *c, const Value *v, double *out) {
  Shape to = eval_shape(c, &v->shape);
  int64_t stride[IR_MAX_RANK], start = 0, axis = v->ints[0];
  row_major(&to, stride);
  for (uint32_t k = 0; k < v->n_args; k++) {
    Shape from = arg_shape(c, v, k);
    int64_t at[IR_MAX_RANK] = {0}, n = shape_count(&from, 0);
    const double *x = arg_data(c, v, k);
    for (int64_t i = 0; i < n; i++, next_index(&from, at))
      out[offset_of(at, stride, to.rank) + start * stride[axis]] = x[i];
    start += from.d[axis];
  }
}

/* Calls with every (window element, image element) pair that lies inside the image. */
static void each_window(const Shape *image, const Shape *cols, const int64_t *p, const double *from,
                        double *to, bool fold) {
  int64_t at[IR_MAX_RANK] = {0}, n = shape_count(cols, 0);
  for (int64_t i = 0; i < n; i++, next_index(cols, at)) { /* at = n, oh, ow, c, kh, kw */
    int64_t h = at[1] * p[2] + at[4] * p[6] - p[4], w = at[2] * p[3] + at[5] * p[7] - p[5];
    bool inside = h >= 0 && h < image->d[2] && w >= 0 && w < image->d[3];
    int64_t px = ((at[0] * image->d[1] + at[3]) * image->d[2] + h) * image->d[3] + w;
    if (!fold) to[i] = inside ? from[px] : 0;
    else if (inside) to[px] += from[i];
  }
}

void eval_unfold(const EvalCtx *c, const Value *v, double *out) {
  Shape image = arg_shape(c, v, 0), cols = eval_shape(c, &v->shape);
  each_window(&image, &cols, v->ints, arg_data(c, v, 0), out, false);
}

void eval_fold(const EvalCtx *c, const Value *v, double *out) {
  Shape image = eval_shape(c, &v->shape), cols = arg_shape(c, v, 0);
  for (int64_t i = 0; i < shape_count(&image, 0); i++) out[i] = 0;
  each_window(&image, &cols, v->ints, arg_data(c, v, 0), out, true);
}

/* ---- reductions --------------------------------------------------------------------------------- */
/* dest[i] = stride in the result of source axis i; 0 where it is reduced. */
static void reduced_strides(const Shape *from, const Value *v, const Shape *to, int64_t *dest) {
  int64_t stride[IR_MAX_RANK];
  row_major(to, stride);
  uint32_t k = 0;
  int32_t o = 0;
  for (int32_t i = 0; i < from->rank; i++) {
    if (k < v->n_ints && v->ints[k] == i) k++, dest[i] = 0;
    else dest[i] = stride[o++];
  }
}

/* A NaN is the maximum. An empty sum is 0, an empty maximum -infinity. */
void eval_reduce(const EvalCtx *c, const Value *v, double *out) {
  Shape from = arg_shape(c, v, 0), to = eval_shape(c, &v->shape);
  int64_t dest[IR_MAX_RANK], at[IR_MAX_RANK] = {0}, n = shape_count(&from, 0);
  reduced_strides(&from, v, &to, dest);
  const double *x = arg_data(c, v, 0);
  bool max = v->op == OP_AMAX;
  for (int64_t i = 0; i < shape_count(&to, 0); i++) out[i] = max ? -INFINITY : 0;
  for (int64_t i = 0; i < n; i++, next_index(&from, at)) {
    double *y = &out[offset_of(at, dest, from.rank)];
    *y = max ? scalar_max((double[]){*y, x[i]}, v->dtype) : *y + x[i];
  }
}

/* The first index of the largest; a NaN is larger than all; 0 along an empty axis. */
void eval_argmax(const EvalCtx *c, const Value *v, double *out) {
  Shape from = arg_shape(c, v, 0), to = eval_shape(c, &v->shape);
  int64_t dest[IR_MAX_RANK], at[IR_MAX_RANK] = {0}, n = shape_count(&from, 0), m = shape_count(&to, 0);
  reduced_strides(&from, v, &to, dest);
  const double *x = arg_data(c, v, 0);
  double *best = ARENA_NEWS(c->arena, double, m + 1);
  for (int64_t i = 0; i < m; i++) best[i] = -INFINITY, out[i] = 0;
  for (int64_t i = 0; i < n; i++, next_index(&from, at)) {
    int64_t o = offset_of(at, dest, from.rank);
    if (isnan(best[o]) || !(x[i] > best[o] || isnan(x[i]))) continue;
    best[o] = x[i], out[o] = (double)at[v->ints[0]];
  }
}

/* ---- the rest ----------------------------------------------------------------------------------- */
/* offsets[i] of the i-th index tuple (row-major) over the axes `axes` of a tensor. */
static int64_t *axis_offsets(const EvalCtx *c, const Shape *s, const int64_t *axes, int64_t n_axes,
                             int64_t *count) {
  int64_t stride[IR_MAX_RANK], picked[IR_MAX_RANK], at[IR_MAX_RANK] = {0};
  row_major(s, stride);
  Shape over = {.rank = (int32_t)n_axes};
  for (int64_t i = 0; i < n_axes; i++) over.d[i] = s->d[axes[i]], picked[i] = stride[axes[i]];
  *count = shape_count(&over, 0);
  int64_t *offsets = ARENA_NEWS(c->arena, int64_t, *count + 1);
  for (int64_t i = 0; i < *count; i++, next_index(&over, at)) offsets[i] = offset_of(at, picked, over.rank);
  return offsets;
}

void eval_dot(const EvalCtx *c, const Value *v, double *out) {
  DotInts d = ir_dot_ints(v);
  Shape sa = arg_shape(c, v, 0), sb = arg_shape(c, v, 1);
  int64_t free_a[IR_MAX_RANK], free_b[IR_MAX_RANK], n_batch, m, n, k;
  int nfa = ir_free_axes(sa.rank, d.batch_a, d.nb, d.con_a, d.nc, free_a);
  int nfb = ir_free_axes(sb.rank, d.batch_b, d.nb, d.con_b, d.nc, free_b);
  int64_t *ga = axis_offsets(c, &sa, d.batch_a, d.nb, &n_batch),
          *gb = axis_offsets(c, &sb, d.batch_b, d.nb, &n_batch);
  int64_t *ka = axis_offsets(c, &sa, d.con_a, d.nc, &k), *kb = axis_offsets(c, &sb, d.con_b, d.nc, &k);
  int64_t *ma = axis_offsets(c, &sa, free_a, nfa, &m), *nbo = axis_offsets(c, &sb, free_b, nfb, &n);
  for (int64_t g = 0; g < n_batch; g++)
    for (int64_t i = 0; i < m; i++)
      for (int64_t j = 0; j < n; j++) {
        const double *a = arg_data(c, v, 0) + ga[g] + ma[i], *b = arg_data(c, v, 1) + gb[g] + nbo[j];
        double sum = 0;
        for (int64_t p = 0; p < k; p++) sum += a[ka[p]] * b[kb[p]];
        out[(g * m + i) * n + j] = sum;
      }
}

/* An index outside the table is the runtime's to refuse before a step; here it shows: NaN (0 in an I32
 * table). */
void eval_gather(const EvalCtx *c, const Value *v, double *out) {
  Shape table = arg_shape(c, v, 0), idx = arg_shape(c, v, 1);
  int64_t n = shape_count(&idx, 0), row = 1;
  for (int32_t i = 1; i < table.rank; i++) row *= table.d[i];
  const double *x = arg_data(c, v, 0), *at = arg_data(c, v, 1);
  bool is_float = v->dtype == DT_F32 || v->dtype == DT_F64;
  for (int64_t i = 0; i < n; i++) {
    bool inside = at[i] >= 0 && at[i] < (double)table.d[0];
    for (int64_t j = 0; j < row; j++)
      out[i * row + j] = inside ? x[(int64_t)at[i] * row + j] : is_float ? (double)NAN : 0;
  }
}

/* Adds row i of dy to row idx[i], in the order of i; rows with an index outside go nowhere. */
void eval_scatter(const EvalCtx *c, const Value *v, double *out) {
  Shape table = eval_shape(c, &v->shape), idx = arg_shape(c, v, 1);
  int64_t n = shape_count(&idx, 0), total = shape_count(&table, 0), row = 1;
  for (int32_t i = 1; i < table.rank; i++) row *= table.d[i];
  const double *dy = arg_data(c, v, 0), *at = arg_data(c, v, 1);
  for (int64_t i = 0; i < total; i++) out[i] = 0;
  for (int64_t i = 0; i < n; i++)
    if (at[i] >= 0 && at[i] < (double)table.d[0])
      for (int64_t j = 0; j < row; j++) out[(int64_t)at[i] * row + j] += dy[i * row + j];
}

/* ---- packed rows -------------------------------------------------------------------------------- */
void eval_rowlist(const EvalCtx *c, const Value *v, double *out) {
  const double *s = arg_data(c, v, 0);
  int64_t n = 0;
  for (int64_t r = 0; r < c->in->rows; r++)
    if (s[r] != 0) out[n++] = (double)r;
  c->sets[v->ints[0]][0] = 0, c->sets[v->ints[0]][1] = n;
}

void eval_rowplace(const EvalCtx *c, const Value *v, double *out) {
  const double *s = arg_data(c, v, 0);
  double n = 0;
  for (int64_t r = 0; r < c->in->rows; r++) out[r] = s[r] != 0 ? n++ : -1;
}

void eval_rowpick(const EvalCtx *c, const Value *v, double *out) {
  Shape to = eval_shape(c, &v->shape), from = arg_shape(c, v, 0);
  int64_t stride[IR_MAX_RANK], at[IR_MAX_RANK] = {0}, n = shape_count(&to, 0);
  int32_t rows = 0;
  while (!dim_is_rows(v->shape.d[rows])) rows++;
  row_major(&from, stride);
  const double *x = arg_data(c, v, 0), *idx = arg_data(c, v, 1);
  for (int64_t i = 0; i < n; i++, next_index(&to, at)) {
    int64_t row = (int64_t)idx[at[rows]];
    out[i] = row < 0 ? 0 : x[offset_of(at, stride, to.rank) + (row - at[rows]) * stride[rows]];
  }
}
