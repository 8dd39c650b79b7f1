/* SPDX-License-Identifier: Apache-2.0
 * ops_rule.c -- shape and type rules. A rule sees any ints and any shape that was asked for, so it tests all
 * of them before it counts on them; what it returns is what ir_make dies of and what verify reports. */
#include "ops_impl.h"
#include <math.h>
#include <string.h>

static const char *fail(OpUse *u, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static const char *fail(OpUse *u, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  const char *text = arena_vprintf(u->arena, fmt, ap);
  va_end(ap);
  return text;
}

static const Value *arg(const OpUse *u, uint32_t i) { return &u->g->v[u->args[i]]; }
static const char *type_of(OpUse *u, uint32_t i) {
  return ir_type_text(u->arena, arg(u, i)->dtype, &arg(u, i)->shape);
}
static bool is_float(Dtype t) { return t == DT_F32 || t == DT_F64; }

static const char *done(OpUse *u, Dtype dtype, const Shape *shape) {
  u->out = *shape;
  u->out_dtype = dtype;
  return NULL;
}

static const char *count_ints(OpUse *u, uint32_t n) {
  return u->n_ints == n ? NULL : fail(u, "has %u ints, needs %u", u->n_ints, n);
}
static const char *need_shape(OpUse *u) { return u->shape ? NULL : fail(u, "needs a shape"); }
#define TRY(x)                                                                                               \
  do {                                                                                                       \
    const char *why_ = (x);                                                                                  \
    if (why_) return why_;                                                                                   \
  } while (0)

/* Every extent is 1 or more, ROWS stands at most once, and the bytes of a million rows fit into int64. */
static const char *shape_fault(OpUse *u, Dtype dtype, const Shape *s) {
  if (s->rank < 0 || s->rank > IR_MAX_RANK) return fail(u, "rank %d is not in 0 .. %d", s->rank, IR_MAX_RANK);
  int rows = 0;
  for (int32_t i = 0; i < s->rank; i++) {
    rows += dim_is_rows(s->d[i]);
    if (s->d[i] == 0 || s->d[i] <= dim_of_set(IR_MAX_SETS))
      return fail(u, "extent %lld of axis %d", (long long)s->d[i], i);
  }
  if (rows > 1) return fail(u, "%s has the datum axis twice", ir_type_text(u->arena, dtype, s));
  int64_t n = shape_count(s, 1 << 20);
  if (n < 0 || n > INT64_MAX / 8)
    return fail(u, "%s has too many elements", ir_type_text(u->arena, dtype, s));
  return NULL;
}

const char *op_check(OpUse *u) {
  if ((unsigned)u->op >= OP_COUNT || u->op == OP_NONE)
    return fail(u, "no operation has number %d", (int)u->op);
  const OpInfo *info = op_info(u->op);
  if (info->n_args < 0 ? u->n_args < 1 : u->n_args != (uint32_t)info->n_args)
    return fail(u, "%s has %u arguments, needs %s%d", info->name, u->n_args,
                info->n_args < 0 ? "at least " : "", info->n_args < 0 ? 1 : info->n_args);
  for (uint32_t i = 0; i < u->n_args; i++)
    if (!u->args[i] || u->args[i] >= u->g->n)
      return fail(u, "argument %u is %%%u, which is no value", i, u->args[i]);
  if ((unsigned)u->dtype > DT_BOOL) return fail(u, "no type has number %d", (int)u->dtype);
  if (u->shape) TRY(shape_fault(u, u->dtype, u->shape));
  TRY(info->rule(u));
  TRY(shape_fault(u, u->out_dtype, &u->out));
  if (u->out_dtype == DT_F64 && u->out.rank) return fail(u, "f64 is for rank 0 only");
  if (u->shape && !shape_equal(u->shape, &u->out))
    return fail(u, "shape %s was asked for, the rule gives %s",
                ir_type_text(u->arena, u->out_dtype, u->shape),
                ir_type_text(u->arena, u->out_dtype, &u->out));
  if (u->dtype != DT_NONE && u->dtype != u->out_dtype)
    return fail(u, "type %s was asked for, the rule gives %s", dtype_name(u->dtype),
                dtype_name(u->out_dtype));
  return NULL;
}

/* ---- leaves ------------------------------------------------------------------------------------- */
static const char *table_index(OpUse *u, uint32_t i) {
  return u->ints[i] >= 0 && u->ints[i] < UINT32_MAX ? NULL : fail(u, "number %lld", (long long)u->ints[i]);
}

const char *rule_column(OpUse *u) {
  TRY(count_ints(u, 1));
  TRY(table_index(u, 0));
  TRY(need_shape(u));
  if (!u->shape->rank || u->shape->d[0] != DIM_ROWS) return fail(u, "a column's first axis is ROWS");
  if (u->dtype != DT_F32 && u->dtype != DT_I32 && u->dtype != DT_U8)
    return fail(u, "a column is f32, i32 or u8");
  return done(u, u->dtype, u->shape);
}

/* The run-time extent of a shape, or 0. */
static int64_t rows_of(const Shape *s) {
  for (int32_t i = 0; i < s->rank; i++)
    if (dim_is_rows(s->d[i])) return s->d[i];
  return 0;
}

const char *rule_stored(OpUse *u) {
  TRY(count_ints(u, u->op == OP_STATE ? 2 : 1));
  for (uint32_t i = 0; i < u->n_ints; i++) TRY(table_index(u, i));
  TRY(need_shape(u));
  if (rows_of(u->shape)) return fail(u, "a parameter's extents are constant");
  return done(u, DT_F32, u->shape);
}

const char *rule_rank0_f64(OpUse *u) {
  TRY(count_ints(u, 1));
  TRY(table_index(u, 0));
  if (u->op == OP_CLOCK && u->ints[0] > CLOCK_STEPS_PER_EPOCH)
    return fail(u, "no clock has number %lld", (long long)u->ints[0]);
  return done(u, DT_F64, &(Shape){0});
}

const char *rule_const(OpUse *u) {
  TRY(count_ints(u, 0));
  TRY(need_shape(u));
  if (u->dtype == DT_NONE) return fail(u, "a constant needs a type");
  return done(u, u->dtype, u->shape);
}

const char *rule_iota(OpUse *u) {
  TRY(count_ints(u, 1));
  TRY(need_shape(u));
  if (u->ints[0] < 0 || u->ints[0] >= u->shape->rank) return fail(u, "axis %lld", (long long)u->ints[0]);
  return done(u, DT_I32, u->shape);
}

const char *rule_datum(OpUse *u) {
  TRY(count_ints(u, 0));
  return done(u, DT_I32, &(Shape){1, {DIM_ROWS}});
}

const char *rule_random(OpUse *u) {
  TRY(count_ints(u, 1));
  TRY(need_shape(u));
  int64_t rows = rows_of(u->shape);
  if (rows && (rows != DIM_ROWS || u->shape->d[0] != rows))
    return fail(u, "ROWS is axis 0 of a random tensor");
  int64_t per_datum = shape_count(u->shape, 1);
  if (per_datum > UINT32_MAX) return fail(u, "more than 2^32 draws for a datum");
  return done(u, DT_F32, u->shape);
}

/* ---- element-wise ------------------------------------------------------------------------------- */
static const char *same_shapes(OpUse *u) {
  for (uint32_t i = 1; i < u->n_args; i++)
    if (!shape_equal(&arg(u, 0)->shape, &arg(u, i)->shape))
      return fail(u, "shapes differ: %s and %s", type_of(u, 0), type_of(u, i));
  return NULL;
}

/* All arguments have one shape and, from `first` on, one type. */
static const char *alike(OpUse *u, uint32_t first) {
  TRY(same_shapes(u));
  for (uint32_t i = first + 1; i < u->n_args; i++)
    if (arg(u, first)->dtype != arg(u, i)->dtype)
      return fail(u, "types differ: %s and %s", type_of(u, first), type_of(u, i));
  return NULL;
}

const char *rule_any(OpUse *u) {
  TRY(count_ints(u, 0));
  TRY(alike(u, 0));
  return done(u, arg(u, 0)->dtype, &arg(u, 0)->shape);
}

const char *rule_float(OpUse *u) {
  TRY(rule_any(u));
  return is_float(u->out_dtype) ? NULL : fail(u, "needs a float type, not %s", dtype_name(u->out_dtype));
}

const char *rule_number(OpUse *u) {
  TRY(rule_any(u));
  return is_float(u->out_dtype) || u->out_dtype == DT_I32
             ? NULL
             : fail(u, "needs f32, f64 or i32, not %s", dtype_name(u->out_dtype));
}

const char *rule_bool(OpUse *u) {
  TRY(rule_any(u));
  return u->out_dtype == DT_BOOL ? NULL : fail(u, "needs bool, not %s", dtype_name(u->out_dtype));
}

const char *rule_compare(OpUse *u) {
  TRY(rule_any(u));
  u->out_dtype = DT_BOOL;
  return NULL;
}

const char *rule_mask(OpUse *u) { return rule_float(u); }

const char *rule_cast(OpUse *u) {
  TRY(count_ints(u, 0));
  if (u->dtype == DT_NONE || u->dtype == DT_U8) return fail(u, "cannot make %s", dtype_name(u->dtype));
  return done(u, u->dtype, &arg(u, 0)->shape);
}

const char *rule_tap(OpUse *u) {
  TRY(count_ints(u, 1));
  TRY(table_index(u, 0));
  if (!is_float(arg(u, 0)->dtype)) return fail(u, "needs a float type, not %s", dtype_name(arg(u, 0)->dtype));
  return done(u, arg(u, 0)->dtype, &arg(u, 0)->shape);
}

const char *rule_where(OpUse *u) {
  TRY(count_ints(u, 0));
  TRY(alike(u, 1));
  if (arg(u, 0)->dtype != DT_BOOL)
    return fail(u, "the condition is %s, not bool", dtype_name(arg(u, 0)->dtype));
  return done(u, arg(u, 1)->dtype, &arg(u, 0)->shape);
}

/* ---- views -------------------------------------------------------------------------------------- */
const char *rule_bcast(OpUse *u) {
  TRY(need_shape(u));
  TRY(count_ints(u, (uint32_t)u->shape->rank));
  const Shape *from = &arg(u, 0)->shape;
  int64_t next = 0;
  for (uint32_t i = 0; i < u->n_ints; i++) {
    if (u->ints[i] == -1) continue;
    if (u->ints[i] != next || next >= from->rank)
      return fail(u, "target axis %u takes source axis %lld of %s, expected %lld", i, (long long)u->ints[i],
                  type_of(u, 0), (long long)next);
    if (from->d[next] != u->shape->d[i])
      return fail(u, "axis %lld of %s becomes axis %u of %s", (long long)next, type_of(u, 0), i,
                  ir_type_text(u->arena, arg(u, 0)->dtype, u->shape));
    next++;
  }
  if (next != from->rank)
    return fail(u, "source axis %lld of %s is not used", (long long)next, type_of(u, 0));
  return done(u, arg(u, 0)->dtype, u->shape);
}

const char *rule_reshape(OpUse *u) {
  TRY(need_shape(u));
  TRY(count_ints(u, 0));
  const Shape *from = &arg(u, 0)->shape;
  int64_t from_rows = rows_of(from), to_rows = rows_of(u->shape);
  if (from_rows != to_rows || (from_rows && (from->d[0] != from_rows || u->shape->d[0] != from_rows)))
    return fail(u, "ROWS must lead before and after: %s", type_of(u, 0));
  if (shape_count(from, 1) != shape_count(u->shape, 1))
    return fail(u, "%lld elements become %lld", (long long)shape_count(from, 1),
                (long long)shape_count(u->shape, 1));
  return done(u, arg(u, 0)->dtype, u->shape);
}

const char *rule_transpose(OpUse *u) {
  const Shape *from = &arg(u, 0)->shape;
  TRY(count_ints(u, (uint32_t)from->rank));
  Shape to = {.rank = from->rank};
  unsigned seen = 0;
  for (int32_t i = 0; i < from->rank; i++) {
    if (u->ints[i] < 0 || u->ints[i] >= from->rank || (seen >> u->ints[i] & 1))
      return fail(u, "the axes are no permutation");
    seen |= 1u << u->ints[i];
    to.d[i] = from->d[u->ints[i]];
  }
  return done(u, arg(u, 0)->dtype, &to);
}

/* ints[0] is an axis of s with a constant extent; the other extents of `s` are those of `t`. */
static const char *static_axis(OpUse *u, const Shape *s) {
  if (!u->n_ints || u->ints[0] < 0 || u->ints[0] >= s->rank)
    return fail(u, "axis %lld of rank %d", u->n_ints ? (long long)u->ints[0] : -1LL, s->rank);
  return dim_is_rows(s->d[u->ints[0]]) ? fail(u, "the datum axis cannot be cut") : NULL;
}
static const char *same_but_axis(OpUse *u, const Shape *s, const Shape *t, int64_t axis) {
  bool same = s->rank == t->rank;
  for (int32_t i = 0; same && i < s->rank; i++) same = i == axis || s->d[i] == t->d[i];
  return same ? NULL : fail(u, "extents differ beside axis %lld", (long long)axis);
}

/* `part` is cut out of `whole` by ints {axis, start, step}. */
static const char *slice_fault(OpUse *u, const Shape *whole, const Shape *part) {
  TRY(count_ints(u, 3));
  TRY(static_axis(u, whole));
  TRY(same_but_axis(u, whole, part, u->ints[0]));
  TRY(static_axis(u, part));
  int64_t n = whole->d[u->ints[0]], len = part->d[u->ints[0]], start = u->ints[1], step = u->ints[2];
  if (start < 0 || start >= n || step < 1 || (len - 1) > (n - 1 - start) / step)
    return fail(u, "start %lld step %lld length %lld of %lld", (long long)start, (long long)step,
                (long long)len, (long long)n);
  return NULL;
}

const char *rule_slice(OpUse *u) {
  TRY(need_shape(u));
  TRY(slice_fault(u, &arg(u, 0)->shape, u->shape));
  return done(u, arg(u, 0)->dtype, u->shape);
}

const char *rule_pad(OpUse *u) {
  TRY(need_shape(u));
  TRY(slice_fault(u, u->shape, &arg(u, 0)->shape));
  return done(u, arg(u, 0)->dtype, u->shape);
}

static const char *index_fault(OpUse *u, int64_t n) {
  if (u->n_ints < 2) return fail(u, "an empty index list");
  for (uint32_t i = 1; i < u->n_ints; i++)
    if (u->ints[i] < 0 || u->ints[i] >= n)
      return fail(u, "index %lld of %lld", (long long)u->ints[i], (long long)n);
  return NULL;
}

const char *rule_take(OpUse *u) {
  Shape to = arg(u, 0)->shape;
  TRY(static_axis(u, &to));
  TRY(index_fault(u, to.d[u->ints[0]]));
  to.d[u->ints[0]] = (int64_t)u->n_ints - 1;
  return done(u, arg(u, 0)->dtype, &to);
}

const char *rule_put(OpUse *u) {
  TRY(need_shape(u));
  const Shape *from = &arg(u, 0)->shape;
  TRY(static_axis(u, u->shape));
  TRY(same_but_axis(u, u->shape, from, u->ints[0]));
  int64_t n = u->shape->d[u->ints[0]];
  TRY(index_fault(u, n));
  if (from->d[u->ints[0]] != (int64_t)u->n_ints - 1)
    return fail(u, "%u indices for %lld", u->n_ints - 1, (long long)from->d[u->ints[0]]);
  if (u->n_ints - 1 > n) return fail(u, "an index occurs twice");
  unsigned char *seen = arena_alloc(u->arena, (size_t)n);
  for (uint32_t i = 1; i < u->n_ints; i++) {
    if (seen[u->ints[i]]) return fail(u, "index %lld occurs twice", (long long)u->ints[i]);
    seen[u->ints[i]] = 1;
  }
  return done(u, arg(u, 0)->dtype, u->shape);
}

const char *rule_concat(OpUse *u) {
  TRY(count_ints(u, 1));
  Shape to = arg(u, 0)->shape;
  TRY(static_axis(u, &to));
  int64_t axis = u->ints[0];
  for (uint32_t i = 1; i < u->n_args; i++) {
    const Value *v = arg(u, i);
    TRY(same_but_axis(u, &to, &v->shape, axis));
    TRY(static_axis(u, &v->shape));
    if (v->dtype != arg(u, 0)->dtype) return fail(u, "types differ: %s and %s", type_of(u, 0), type_of(u, i));
    if (__builtin_add_overflow(to.d[axis], v->shape.d[axis], &to.d[axis])) return fail(u, "too long");
  }
  return done(u, arg(u, 0)->dtype, &to);
}

const char *rule_rslice(OpUse *u) {
  TRY(count_ints(u, 1));
  if (u->ints[0] < 1 || u->ints[0] >= IR_MAX_SETS) return fail(u, "row set %lld", (long long)u->ints[0]);
  Shape to = arg(u, 0)->shape;
  if (rows_of(&to) != DIM_ROWS) return fail(u, "%s has no ROWS axis", type_of(u, 0));
  for (int32_t i = 0; i < to.rank; i++)
    if (dim_is_rows(to.d[i])) to.d[i] = dim_of_set(u->ints[0]);
  return done(u, arg(u, 0)->dtype, &to);
}

/* Output extent of a window over n elements: floor((n + 2p - d(k-1) - 1) / s) + 1; 0 if it does not fit. */
static int64_t windows(int64_t n, int64_t k, int64_t s, int64_t p, int64_t d) {
  int64_t room = n + 2 * p - d * (k - 1) - 1;
  return room < 0 ? 0 : room / s + 1;
}

static const char *unfold_shape(OpUse *u, const Shape *image, Shape *out) {
  TRY(count_ints(u, 8));
  for (int i = 0; i < 8; i++)
    if (u->ints[i] < (i == 4 || i == 5 ? 0 : 1) || u->ints[i] > 1 << 20)
      return fail(u, "int %d is %lld", i, (long long)u->ints[i]);
  if (image->rank != 4) return fail(u, "needs [N,C,H,W], not rank %d", image->rank);
  const int64_t *p = u->ints, *d = image->d;
  for (int i = 1; i < 4; i++)
    if (dim_is_rows(d[i]) || d[i] > 1 << 30) return fail(u, "ROWS or too many at axis %d", i);
  int64_t oh = windows(d[2], p[0], p[2], p[4], p[6]), ow = windows(d[3], p[1], p[3], p[5], p[7]);
  if (oh < 1 || ow < 1) return fail(u, "the %lldx%lld window does not fit", (long long)p[0], (long long)p[1]);
  *out = shape_of(6, d[0], oh, ow, d[1], p[0], p[1]);
  return NULL;
}

const char *rule_unfold(OpUse *u) {
  Shape to;
  TRY(unfold_shape(u, &arg(u, 0)->shape, &to));
  return done(u, arg(u, 0)->dtype, &to);
}

const char *rule_fold(OpUse *u) {
  TRY(need_shape(u));
  Shape from;
  TRY(unfold_shape(u, u->shape, &from));
  if (!shape_equal(&from, &arg(u, 0)->shape))
    return fail(u, "%s is no unfolding of the shape", type_of(u, 0));
  if (!is_float(arg(u, 0)->dtype)) return fail(u, "needs a float type");
  return done(u, arg(u, 0)->dtype, u->shape);
}

/* ---- reductions --------------------------------------------------------------------------------- */
const char *rule_reduce(OpUse *u) {
  const Shape *from = &arg(u, 0)->shape;
  if (!is_float(arg(u, 0)->dtype)) return fail(u, "needs a float type, not %s", dtype_name(arg(u, 0)->dtype));
  if (!u->n_ints || u->n_ints > (uint32_t)from->rank)
    return fail(u, "%u axes of %s", u->n_ints, type_of(u, 0));
  Shape to = {0};
  uint32_t k = 0;
  for (int32_t i = 0; i < from->rank; i++) {
    if (k < u->n_ints && u->ints[k] == i) k++;
    else to.d[to.rank++] = from->d[i];
  }
  if (k < u->n_ints)
    return fail(u, "axis %lld is not in %s, or not in ascending order", (long long)u->ints[k], type_of(u, 0));
  return done(u, arg(u, 0)->dtype, &to);
}

const char *rule_argmax(OpUse *u) {
  TRY(count_ints(u, 1));
  TRY(rule_reduce(u));
  u->out_dtype = DT_I32;
  return NULL;
}

/* ---- the rest ----------------------------------------------------------------------------------- */
const char *rule_dot(OpUse *u) {
  if (u->n_ints < 2 || u->ints[0] < 0 || u->ints[1] < 0 || u->ints[0] > IR_MAX_RANK ||
      u->ints[1] > IR_MAX_RANK || u->n_ints != (uint32_t)(2 + 2 * u->ints[0] + 2 * u->ints[1]))
    return fail(u, "the axis lists do not fit nb and nc");
  int64_t nb = u->ints[0], nc = u->ints[1];
  const int64_t *batch[2] = {u->ints + 2, u->ints + 2 + nb},
                *con[2] = {u->ints + 2 + 2 * nb, u->ints + 2 + 2 * nb + nc};
  Shape to = {0};
  int64_t list[2 * IR_MAX_RANK + 1] = {0};
  for (uint32_t s = 0; s < 2; s++) {
    const Value *v = arg(u, s);
    if (v->dtype != DT_F32) return fail(u, "needs f32, not %s", type_of(u, s));
    unsigned seen = 0;
    for (int64_t i = 0; i < nb + nc; i++) {
      int64_t axis = i < nb ? batch[s][i] : con[s][i - nb];
      if (axis < 0 || axis >= v->shape.rank || (seen >> axis & 1))
        return fail(u, "axis %lld of %s", (long long)axis, type_of(u, s));
      seen |= 1u << axis;
    }
  }
  const Shape *a = &arg(u, 0)->shape, *b = &arg(u, 1)->shape;
  for (int64_t i = 0; i < nb; i++)
    if (a->d[batch[0][i]] != b->d[batch[1][i]])
      return fail(u, "batch axes differ: %s and %s", type_of(u, 0), type_of(u, 1));
  for (int64_t i = 0; i < nc; i++)
    if (a->d[con[0][i]] != b->d[con[1][i]])
      return fail(u, "contracted axes differ: %s and %s", type_of(u, 0), type_of(u, 1));
  int n = 0;
  for (int64_t i = 0; i < nb; i++) list[n++] = a->d[batch[0][i]];
  for (int s = 0; s < 2; s++) {
    int64_t axes[IR_MAX_RANK];
    const Shape *from = s ? b : a;
    int m = ir_free_axes(from->rank, batch[s], nb, con[s], nc, axes);
    for (int i = 0; i < m; i++) list[n++] = from->d[axes[i]];
  }
  if (n > IR_MAX_RANK) return fail(u, "the result has rank %d", n);
  to.rank = n;
  memcpy(to.d, list, sizeof list[0] * (size_t)n);
  return done(u, DT_F32, &to);
}

/* idx.shape ++ table.shape[1..], or what is wrong. */
static const char *gathered(OpUse *u, const Shape *table, const Value *idx, Shape *out) {
  if (idx->dtype != DT_I32) return fail(u, "the index is %s, not i32", dtype_name(idx->dtype));
  if (!table->rank || dim_is_rows(table->d[0])) return fail(u, "the table's first extent is constant");
  if (idx->shape.rank + table->rank - 1 > IR_MAX_RANK)
    return fail(u, "the result has rank %d", idx->shape.rank + table->rank - 1);
  *out = idx->shape;
  for (int32_t i = 1; i < table->rank; i++) out->d[out->rank++] = table->d[i];
  return NULL;
}

const char *rule_gather(OpUse *u) {
  TRY(count_ints(u, 0));
  Shape to;
  TRY(gathered(u, &arg(u, 0)->shape, arg(u, 1), &to));
  return done(u, arg(u, 0)->dtype, &to);
}

const char *rule_scatter(OpUse *u) {
  TRY(count_ints(u, 0));
  TRY(need_shape(u));
  Shape from;
  TRY(gathered(u, u->shape, arg(u, 1), &from));
  if (!shape_equal(&from, &arg(u, 0)->shape))
    return fail(u, "%s is no gathering from the shape", type_of(u, 0));
  if (!is_float(arg(u, 0)->dtype)) return fail(u, "needs a float type, not %s", type_of(u, 0));
  return done(u, arg(u, 0)->dtype, u->shape);
}

/* ---- packed rows -------------------------------------------------------------------------------- */
static const char *rows_of_numbers(OpUse *u) {
  const Value *s = arg(u, 0);
  if (s->dtype != DT_F32 || s->shape.rank != 1 || s->shape.d[0] != DIM_ROWS)
    return fail(u, "needs f32[ROWS], not %s", type_of(u, 0));
  return NULL;
}

const char *rule_rowlist(OpUse *u) {
  TRY(count_ints(u, 1));
  TRY(rows_of_numbers(u));
  if (u->ints[0] < 1 || u->ints[0] >= IR_MAX_SETS) return fail(u, "row set %lld", (long long)u->ints[0]);
  Shape to = shape_of(1, dim_of_set(u->ints[0]));
  return done(u, DT_I32, &to);
}

const char *rule_rowplace(OpUse *u) {
  TRY(count_ints(u, 0));
  TRY(rows_of_numbers(u));
  if (arg(u, 1)->op != OP_ROWLIST) return fail(u, "needs the list of its rows, not %s", op_name(arg(u, 1)->op));
  return done(u, DT_I32, &arg(u, 0)->shape);
}

const char *rule_rowpick(OpUse *u) {
  TRY(count_ints(u, 0));
  const Value *idx = arg(u, 1);
  Shape to = arg(u, 0)->shape;
  if (idx->dtype != DT_I32 || idx->shape.rank != 1 || !dim_is_rows(idx->shape.d[0]))
    return fail(u, "needs the numbers of rows, not %s", type_of(u, 1));
  bool any = false;
  for (int32_t i = 0; i < to.rank; i++)
    if (dim_is_rows(to.d[i])) to.d[i] = idx->shape.d[0], any = true;
  if (!any) return fail(u, "%s has no rows", type_of(u, 0));
  return done(u, arg(u, 0)->dtype, &to);
}
