/* SPDX-License-Identifier: Apache-2.0
 * view.c -- strides: of buffers from layouts, of views from buffers, of matrices from views. */
#include "plan_work.h"

int64_t sat_mul(int64_t a, int64_t b) {
  int64_t r;
  return __builtin_mul_overflow(a, b, &r) ? INT64_MAX : r;
}
int64_t sat_add(int64_t a, int64_t b) {
  int64_t r;
  return __builtin_add_overflow(a, b, &r) ? INT64_MAX : r;
}
int64_t extent_max(int64_t d, int64_t rows) { return d < 0 ? rows : d; }

static int64_t round_up(int64_t n, int64_t unit) {
  return n > INT64_MAX - unit ? INT64_MAX : (n + unit - 1) / unit * unit;
}

Layout layout_default(uint32_t rank) {
  Layout l = {.tail = rank ? 1 : 0};
  for (uint32_t i = 0; i < rank; i++) l.order[i] = (uint8_t)i;
  return l;
}

int64_t layout_strides(const Layout *l, const Shape *s, Dtype t, int64_t rows, int64_t *strides) {
  int64_t n = 1;
  int rank = s->rank, tail = l->tail;
  bool outer = false;
  for (int i = 0; i < rank - tail; i++) outer |= s->d[l->order[i]] != 1;
  for (int i = rank - 1; i >= 0; i--) {
    if (i == rank - tail - 1 && n >= PLAN_VEC) {
      n = round_up(n, PLAN_VEC);
      /* Rows a multiple of 4 KiB apart fall into the same cache sets. */
      if (outer && dtype_size(t) == 4 && n % 512 == 0) n = sat_add(n, PLAN_VEC);
    }
    strides[l->order[i]] = n;
    n = sat_mul(n, extent_max(s->d[l->order[i]], rows));
  }
  return n >= PLAN_VEC ? round_up(n, PLAN_VEC) : n;
}

bool op_is_identity(Op op) { return op == OP_STOP || op == OP_TAP || op == OP_ADJTAP; }

bool op_is_view(const Value *v) {
  return op_is_identity(v->op) || v->op == OP_TRANSPOSE || v->op == OP_SLICE || v->op == OP_RSLICE ||
         v->op == OP_RESHAPE || v->op == OP_BCAST;
}

/* Strides of `to` over the memory of `from`; false where an axis is cut across padding. A ROWS axis never
 * merges. */
static bool reshape_strides(const Shape *from, const int64_t *fs, const Shape *to, int64_t *ts) {
  int64_t e[IR_MAX_RANK], s[IR_MAX_RANK];
  int n = 0, i = 0, j = 0;
  for (int k = 0; k < from->rank; k++)
    if (from->d[k] != 1) e[n] = from->d[k], s[n++] = fs[k];
  while (j < to->rank) {
    if (to->d[j] == 1) {
      ts[j++] = 0;
      continue;
    }
    if (i >= n) return false;
    if (dim_is_rows(e[i]) || dim_is_rows(to->d[j])) {
      if (e[i] != to->d[j]) return false;
      ts[j++] = s[i++];
      continue;
    }
    int i0 = i, j0 = j;
    int64_t a = e[i++], b = to->d[j++];
    while (a != b) {
      if (a < b ? i >= n || e[i] < 0 : j >= to->rank || to->d[j] < 0) return false;
      if (a < b) a *= e[i++];
      else b *= to->d[j++];
    }
    for (int k = i0; k + 1 < i; k++)
      if (s[k] != e[k + 1] * s[k + 1]) return false;
    int64_t stride = s[i - 1];
    for (int k = j - 1; k >= j0; k--) ts[k] = stride, stride *= to->d[k];
  }
  return i == n;
}

bool view_apply(const Value *u, View *v) {
  View r = {
      .buffer = v->buffer, .start = v->start, .shape = u->shape, .set = v->set, .set_stride = v->set_stride};
  switch (u->op) {
  case OP_STOP:
  case OP_TAP:
  case OP_ADJTAP: return true;
  case OP_TRANSPOSE:
    for (int i = 0; i < u->shape.rank; i++) r.strides[i] = v->strides[u->ints[i]];
    break;
  case OP_SLICE:
    for (int i = 0; i < u->shape.rank; i++) r.strides[i] = v->strides[i];
    if (dim_is_rows(v->shape.d[u->ints[0]])) return false; /* the planned rows may not be there */
    r.start += u->ints[1] * v->strides[u->ints[0]];
    r.strides[u->ints[0]] *= u->ints[2];
    break;
  case OP_RSLICE:
    r.set = (uint32_t)u->ints[0];
    for (int i = 0; i < u->shape.rank; i++) {
      r.strides[i] = v->strides[i];
      if (dim_is_rows(u->shape.d[i])) r.set_stride = v->strides[i];
    }
    break;
  case OP_BCAST:
    for (int i = 0; i < u->shape.rank; i++) {
      int64_t axis = u->ints[i];
      r.strides[i] = axis < 0 || v->shape.d[axis] != u->shape.d[i] ? 0 : v->strides[axis];
    }
    break;
  case OP_RESHAPE:
    if (!reshape_strides(&v->shape, v->strides, &u->shape, r.strides)) return false;
    break;
  default: return false;
  }
  *v = r;
  return true;
}

bool view_collapse(const View *v, const uint8_t *axes, uint32_t n, Extent *e, int64_t *stride) {
  *e = (Extent){1, 0};
  *stride = 1;
  bool first = true;
  for (uint32_t i = n; i-- > 0;) {
    int64_t d = v->shape.d[axes[i]], s = v->strides[axes[i]];
    if (d == 1) continue;
    if (first) *stride = s;
    else if (e->rows || s != sat_mul(e->n, *stride)) return false;
    first = false;
    if (dim_is_rows(d)) e->rows = 1 + (uint32_t)dim_set(d);
    else e->n = sat_mul(e->n, d);
  }
  return true;
}

bool plan_view_of(const PlanFn *f, ValueId v, View *out) {
  BufferId id = f->buffer_of[v];
  const Value *u = &f->graph->v[v];
  if (id) {
    const Buffer *b = &f->buffers[id];
    if (b->space == SPACE_COLUMN || b->space == SPACE_SCALAR || b->space == SPACE_TILE) return false;
    *out = (View){.buffer = id, .shape = b->shape};
    for (int i = 0; i < b->shape.rank; i++) out->strides[i] = b->strides[i];
    return true;
  }
  return op_is_view(u) && plan_view_of(f, u->args[0], out) && view_apply(u, out);
}
