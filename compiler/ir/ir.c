/* SPDX-License-Identifier: Apache-2.0
 * ir.c -- shapes, and building graphs. */
#include "ops.h"
#include <stdlib.h>
#include <string.h>

/* ---- shapes and types --------------------------------------------------------------------------- */
Shape shape_from_list(const int64_t *rank_then_dims) {
  Shape s = {0};
  if (rank_then_dims[0] < 0 || rank_then_dims[0] > IR_MAX_RANK) {
    fprintf(stderr, "routec: internal error: shape_of: rank %lld\n", (long long)rank_then_dims[0]);
    abort();
  }
  s.rank = (int32_t)rank_then_dims[0];
  for (int32_t i = 0; i < s.rank; i++) s.d[i] = rank_then_dims[1 + i];
  return s;
}

bool shape_equal(const Shape *a, const Shape *b) {
  return a->rank == b->rank && memcmp(a->d, b->d, sizeof a->d[0] * (size_t)a->rank) == 0;
}

int64_t shape_count(const Shape *s, int64_t rows) {
  int64_t n = 1;
  for (int32_t i = 0; i < s->rank; i++)
    if (__builtin_mul_overflow(n, dim_is_rows(s->d[i]) ? rows : s->d[i], &n)) return -1;
  return n;
}

const char *dtype_name(Dtype t) {
  switch (t) {
  case DT_F32: return "f32";
  case DT_F64: return "f64";
  case DT_I32: return "i32";
  case DT_U8: return "u8";
  case DT_BOOL: return "bool";
  case DT_NONE: break;
  }
  return "none";
}

size_t dtype_size(Dtype t) {
  switch (t) {
  case DT_F32:
  case DT_I32: return 4;
  case DT_F64: return 8;
  case DT_U8:
  case DT_BOOL: return 1;
  case DT_NONE: break;
  }
  return 0;
}

const char *op_name(Op op) { return op_info(op)->name; }
OpClass op_class(Op op) { return op_info(op)->cls; }

const char *ir_type_text(Arena *a, Dtype t, const Shape *s) {
  char buf[IR_MAX_RANK * 24 + 16];
  size_t n = (size_t)snprintf(buf, sizeof buf, "%s[", dtype_name(t));
  int32_t rank = s->rank < 0 ? 0 : s->rank > IR_MAX_RANK ? IR_MAX_RANK : s->rank;
  for (int32_t i = 0; i < rank; i++) {
    const char *comma = i ? "," : "";
    if (s->d[i] == DIM_ROWS) n += (size_t)snprintf(buf + n, sizeof buf - n, "%sROWS", comma);
    else if (dim_is_rows(s->d[i]))
      n += (size_t)snprintf(buf + n, sizeof buf - n, "%sROWS%lld", comma, (long long)dim_set(s->d[i]));
    else n += (size_t)snprintf(buf + n, sizeof buf - n, "%s%lld", comma, (long long)s->d[i]);
  }
  snprintf(buf + n, sizeof buf - n, "]");
  return arena_strdup(a, buf);
}

/* ---- building ----------------------------------------------------------------------------------- */
Graph *graph_create(Arena *a, const char *name) {
  Graph *g = ARENA_NEW(a, Graph);
  g->arena = a;
  g->name = arena_strdup(a, name ? name : "");
  g->cap = 64;
  g->v = ARENA_NEWS(a, Value, g->cap);
  g->n = 1; /* value 0 is "none" */
  return g;
}

void graph_root(Graph *g, RootKind kind, uint32_t a, uint32_t b, ValueId value) {
  if (g->n_roots == g->cap_roots) {
    uint32_t cap = g->cap_roots ? 2 * g->cap_roots : 16;
    Root *roots = ARENA_NEWS(g->arena, Root, cap);
    if (g->n_roots) memcpy(roots, g->roots, sizeof *roots * g->n_roots);
    g->roots = roots, g->cap_roots = cap;
  }
  g->roots[g->n_roots++] = (Root){kind, a, b, value};
}

static void make_failed(const Graph *g, const OpUse *u, const char *why) {
  fprintf(stderr, "routec: internal error: graph '%s': %%%u = %s", g->name, g->n, op_name(u->op));
  for (uint32_t i = 0; i < u->n_args; i++) {
    ValueId id = u->args[i];
    fprintf(stderr, " %%%u", id);
    if (id && id < g->n) fprintf(stderr, ":%s", ir_type_text(g->arena, g->v[id].dtype, &g->v[id].shape));
  }
  fprintf(stderr, " {");
  for (uint32_t i = 0; i < u->n_ints; i++) fprintf(stderr, i ? " %lld" : "%lld", (long long)u->ints[i]);
  fprintf(stderr, "}: %s\n", why);
  for (uint32_t i = 0; i < u->n_args; i++) {
    if (!u->args[i] || u->args[i] >= g->n) continue;
    fputs("  ", stderr);
    ir_print_value(g, u->args[i], stderr);
    fputc('\n', stderr);
  }
  abort();
}

static ValueId append(Graph *g) {
  if (g->n == UINT32_MAX) {
    fprintf(stderr, "routec: internal error: graph '%s' is full\n", g->name);
    abort();
  }
  if (g->n == g->cap) {
    uint32_t cap = g->cap > UINT32_MAX / 2 ? UINT32_MAX : 2 * g->cap;
    Value *v = ARENA_NEWS(g->arena, Value, cap);
    memcpy(v, g->v, sizeof *v * g->n);
    g->v = v, g->cap = cap;
  }
  return g->n++;
}

ValueId ir_make(Graph *g, Op op, Span span, const ValueId *args, uint32_t n_args, const int64_t *ints,
                uint32_t n_ints, double num, const Shape *shape, Dtype dtype) {
  OpUse u = {.g = g,
             .arena = g->arena,
             .op = op,
             .args = args,
             .n_args = n_args,
             .ints = ints,
             .n_ints = n_ints,
             .shape = shape,
             .dtype = dtype};
  const char *why = op_check(&u);
  if (why) make_failed(g, &u, why);
  for (uint32_t i = 0; i < n_args && !span.file; i++) span = g->v[args[i]].span;
  Value v = {.op = op,
             .dtype = u.out_dtype,
             .shape = u.out,
             .phase = g->phase,
             .n_args = n_args,
             .n_ints = n_ints,
             .num = num,
             .span = span};
  if (n_args) {
    v.args = ARENA_NEWS(g->arena, ValueId, n_args);
    memcpy(v.args, args, sizeof *args * n_args);
  }
  if (n_ints) {
    v.ints = ARENA_NEWS(g->arena, int64_t, n_ints);
    memcpy(v.ints, ints, sizeof *ints * n_ints);
  }
  ValueId id = append(g);
  g->v[id] = v;
  return id;
}

const char *ir_check_args(Graph *g, Op op, const ValueId *args, uint32_t n_args, const int64_t *ints,
                          uint32_t n_ints, const Shape *shape, Dtype dtype) {
  OpUse u = {.g = g,
             .arena = g->arena,
             .op = op,
             .args = args,
             .n_args = n_args,
             .ints = ints,
             .n_ints = n_ints,
             .shape = shape,
             .dtype = dtype};
  return op_check(&u);
}

/* ---- shorthands --------------------------------------------------------------------------------- */
static const Span nowhere = {0, 0, 0};

ValueId ir_const(Graph *g, Span s, double num, const Shape *shape, Dtype dtype) {
  return ir_make(g, OP_CONST, s, NULL, 0, NULL, 0, num, shape, dtype);
}

ValueId ir_const_data(Graph *g, Span s, const double *data, const Shape *shape, Dtype dtype) {
  for (int32_t i = 0; i < shape->rank; i++)
    if (dim_is_rows(shape->d[i])) {
      fprintf(stderr, "routec: internal error: graph '%s': constant data over ROWS\n", g->name);
      abort();
    }
  ValueId id = ir_const(g, s, 0, shape, dtype);
  size_t n = (size_t)shape_count(shape, 0);
  double *copy = ARENA_NEWS(g->arena, double, n);
  memcpy(copy, data, sizeof *data * n);
  g->v[id].data = copy;
  return id;
}

ValueId ir_un(Graph *g, Op op, ValueId a) {
  return ir_make(g, op, nowhere, &a, 1, NULL, 0, 0, NULL, DT_NONE);
}

/* Gives a rank-0 value the shape of another; a scalar of F64 becomes F32 on its way into an F32 tensor. */
static ValueId spread(Graph *g, ValueId a, const Shape *to, Dtype dtype) {
  if (g->v[a].shape.rank || !to->rank) return a;
  if (g->v[a].dtype == DT_F64 && dtype == DT_F32) a = ir_cast(g, a, DT_F32);
  return ir_bcast_scalar(g, a, to);
}

ValueId ir_bin(Graph *g, Op op, ValueId a, ValueId b) {
  Shape sa = g->v[a].shape, sb = g->v[b].shape;
  ValueId args[2] = {spread(g, a, &sb, g->v[b].dtype), 0};
  args[1] = spread(g, b, &sa, g->v[a].dtype);
  Span span = g->v[a].span.file ? g->v[a].span : g->v[b].span;
  return ir_make(g, op, span, args, 2, NULL, 0, 0, NULL, DT_NONE);
}

ValueId ir_where(Graph *g, ValueId c, ValueId a, ValueId b) {
  ValueId args[3] = {c, a, b};
  Shape widest = g->v[c].shape;
  for (int i = 1; i < 3 && !widest.rank; i++) widest = g->v[args[i]].shape;
  Dtype dtype = g->v[a].shape.rank ? g->v[a].dtype : g->v[b].dtype;
  for (int i = 0; i < 3; i++) args[i] = spread(g, args[i], &widest, i ? dtype : DT_BOOL);
  return ir_make(g, OP_WHERE, nowhere, args, 3, NULL, 0, 0, NULL, DT_NONE);
}

ValueId ir_cast(Graph *g, ValueId a, Dtype to) {
  if (g->v[a].dtype == to) return a;
  return ir_make(g, OP_CAST, nowhere, &a, 1, NULL, 0, 0, NULL, to);
}

ValueId ir_bcast(Graph *g, ValueId a, const Shape *to, const int64_t *map) {
  if (shape_equal(&g->v[a].shape, to)) return a;
  return ir_make(g, OP_BCAST, nowhere, &a, 1, map, (uint32_t)to->rank, 0, to, DT_NONE);
}

ValueId ir_bcast_scalar(Graph *g, ValueId a, const Shape *to) {
  const Value *v = &g->v[a];
  if (v->op == OP_CONST && !v->data && !v->shape.rank && to->rank)
    return ir_const(g, v->span, v->num, to, v->dtype);
  int64_t map[IR_MAX_RANK];
  for (int i = 0; i < IR_MAX_RANK; i++) map[i] = -1;
  return ir_bcast(g, a, to, map);
}

ValueId ir_reduce(Graph *g, Op op, ValueId a, const int64_t *axes, uint32_t n) {
  if (!n) return a;
  return ir_make(g, op, nowhere, &a, 1, axes, n, 0, NULL, DT_NONE);
}

ValueId ir_reshape(Graph *g, ValueId a, const Shape *to) {
  if (shape_equal(&g->v[a].shape, to)) return a;
  return ir_make(g, OP_RESHAPE, nowhere, &a, 1, NULL, 0, 0, to, DT_NONE);
}

ValueId ir_transpose(Graph *g, ValueId a, const int64_t *perm) {
  int32_t rank = g->v[a].shape.rank;
  bool same = true;
  for (int32_t i = 0; i < rank; i++) same = same && perm[i] == i;
  if (same) return a;
  return ir_make(g, OP_TRANSPOSE, nowhere, &a, 1, perm, (uint32_t)rank, 0, NULL, DT_NONE);
}

ValueId ir_slice(Graph *g, ValueId a, int64_t axis, int64_t start, int64_t step, int64_t len) {
  Shape to = g->v[a].shape;
  if (axis < 0 || axis >= to.rank) {
    fprintf(stderr, "routec: internal error: graph '%s': slice of %%%u at axis %lld\n", g->name, a,
            (long long)axis);
    abort();
  }
  if (start == 0 && step == 1 && len == to.d[axis]) return a;
  to.d[axis] = len;
  return ir_make(g, OP_SLICE, nowhere, &a, 1, (const int64_t[]){axis, start, step}, 3, 0, &to, DT_NONE);
}

ValueId ir_rslice(Graph *g, ValueId a, int64_t set) {
  bool rows = false;
  for (int32_t i = 0; i < g->v[a].shape.rank; i++) rows |= g->v[a].shape.d[i] == DIM_ROWS;
  if (!rows || !set) return a;
  return ir_make(g, OP_RSLICE, nowhere, &a, 1, &set, 1, 0, NULL, DT_NONE);
}

ValueId ir_dot(Graph *g, ValueId a, ValueId b, const int64_t *batch_a, const int64_t *batch_b, uint32_t nb,
               const int64_t *con_a, const int64_t *con_b, uint32_t nc) {
  int64_t ints[2 + 4 * IR_MAX_RANK];
  if (nb > IR_MAX_RANK || nc > IR_MAX_RANK) {
    fprintf(stderr, "routec: internal error: graph '%s': dot with %u batch and %u contracted axes\n", g->name,
            nb, nc);
    abort();
  }
  uint32_t n = 0;
  ints[n++] = nb, ints[n++] = nc;
  for (uint32_t i = 0; i < nb; i++) ints[n++] = batch_a[i];
  for (uint32_t i = 0; i < nb; i++) ints[n++] = batch_b[i];
  for (uint32_t i = 0; i < nc; i++) ints[n++] = con_a[i];
  for (uint32_t i = 0; i < nc; i++) ints[n++] = con_b[i];
  return ir_make(g, OP_DOT, nowhere, (ValueId[]){a, b}, 2, ints, n, 0, NULL, DT_NONE);
}

ValueId ir_clock(Graph *g, ClockKind k) {
  return ir_make(g, OP_CLOCK, nowhere, NULL, 0, (const int64_t[]){k}, 1, 0, NULL, DT_NONE);
}

int ir_free_axes(int32_t rank, const int64_t *batch, int64_t nb, const int64_t *con, int64_t nc,
                 int64_t *out) {
  int n = 0;
  for (int32_t i = 0; i < rank; i++) {
    bool used = false;
    for (int64_t k = 0; k < nb; k++) used = used || batch[k] == i;
    for (int64_t k = 0; k < nc; k++) used = used || con[k] == i;
    if (!used) out[n++] = i;
  }
  return n;
}

bool ir_is_splat(const Graph *g, ValueId id, double *num) {
  for (;;) {
    const Value *v = &g->v[id];
    switch (v->op) {
    case OP_CONST:
      if (v->data) return false;
      *num = v->num;
      return true;
    case OP_BCAST:
    case OP_RESHAPE:
    case OP_TRANSPOSE:
    case OP_SLICE:
    case OP_TAKE:
    case OP_STOP: id = v->args[0]; break;
    default: return false;
    }
  }
}
