/* SPDX-License-Identifier: Apache-2.0
 * prove_axes.c -- how each operation moves indices: the labels of its result, and which entries of the arguments an entry
 * of the result is made of. What an operation mixes (contracted axes, windows, tables indexed by data) becomes loops. */
#include "prove.h"
#include <stdlib.h>
#include <string.h>
#define MAX_REGROUPED (1 << 22) /* entries of a group of reshaped axes that are looked at one by one */

static const Labels *fresh(ProofFlow *f, int64_t extent) { return is_rows(extent) ? f->rows : labels_one(&f->labels, extent); }

/* ---- reshape: groups of axes with equal products ----------------------------------------------------------------- */
typedef struct Group { int from, n_from, to, n_to; int64_t size; } Group;

static int regroup(const Shape *from, const Shape *to, Group *out) {
  int n = 0, i = 0, j = 0;
  if (from->rank && is_rows(from->d[0])) out[n++] = (Group){0, 1, 0, 1, 1}, i = j = 1;
  while (i < from->rank || j < to->rank) {
    Group g = {.from = i, .to = j};
    int64_t p = i < from->rank ? from->d[i++] : 1, q = j < to->rank ? to->d[j++] : 1;
    while (p != q) {
      if (p < q) p *= from->d[i++];
      else q *= to->d[j++];
    }
    g.n_from = i - g.from, g.n_to = j - g.to, g.size = p;
    out[n++] = g;
  }
  return n;
}

/* Labels of target axes such that the source's labels are a function of them. */
static bool regroup_labels(ProofFlow *f, const Abs *x, const Shape *from, const Shape *to, const Group *g, const Labels **out) {
  if (g->n_from == 1 && g->n_to == 1) { out[g->to] = x->axis[g->from]; return true; }
  bool cut = false;
  for (int i = 0; i < g->n_from; i++) cut |= x->axis[g->from + i]->n_labels > 1;
  for (int j = 0; j < g->n_to; j++) out[g->to + j] = labels_one(&f->labels, to->d[g->to + j]);
  if (!cut) return true;
  if (g->size > MAX_REGROUPED) return false;
  uint64_t *flat = ARENA_NEWS(f->arena, uint64_t, g->size);
  for (int64_t at = 0; at < g->size; at++) {
    int64_t rest = at, stride = 1;
    for (int i = g->n_from; i-- > 0;) {
      const Labels *l = x->axis[g->from + i];
      flat[at] += (uint64_t)(label_at(l, rest % from->d[g->from + i]) * stride);
      rest /= from->d[g->from + i], stride *= l->n_labels;
    }
  }
  int64_t inner = g->size;
  for (int j = 0; j < g->n_to; j++) {
    const int64_t n = to->d[g->to + j];
    uint64_t *sig = ARENA_NEWS(f->arena, uint64_t, n);
    inner /= n;
    for (int64_t at = 0; at < g->size; at++) {
      uint64_t *h = &sig[at / inner % n];
      *h = (*h ^ (flat[at] + 0x9E3779B97F4A7C15u)) * 0xff51afd7ed558ccdu;
      *h ^= *h >> 32;
    }
    out[g->to + j] = labels_by_signature(&f->labels, sig, n);
  }
  return true;
}

static bool reshape_axes(ProofFlow *f, ValueId v, const Labels **out) {
  const Shape *to = &ir_value(f->g, v)->shape, *from = &ir_value(f->g, ir_value(f->g, v)->args[0])->shape;
  Group groups[2 * IR_MAX_RANK + 1];
  const int n = regroup(from, to, groups);
  for (int i = 0; i < n; i++)
    if (!regroup_labels(f, flow_arg(f, v, 0), from, to, &groups[i], out)) return false;
  return true;
}

/* ---- labels of cuts and joins -------------------------------------------------------------------------------------- */
/* Where index j along the cut axis of the part stands in the whole. */
static int64_t in_whole(const Value *v, int64_t j) {
  return v->op == OP_SLICE || v->op == OP_PAD ? v->ints[1] + j * v->ints[2] : v->ints[1 + j];
}

static const Labels *cut_labels(ProofFlow *f, const Value *v, const Labels *whole) {
  const int64_t n = v->shape.d[v->ints[0]];
  if (!whole->of) return labels_one(&f->labels, n);
  int32_t *raw = ARENA_NEWS(f->arena, int32_t, n);
  for (int64_t j = 0; j < n; j++) raw[j] = whole->of[in_whole(v, j)];
  return labels_make(&f->labels, raw, n, whole->n_labels);
}

static const Labels *placed_labels(ProofFlow *f, const Value *v, const Labels *part) {
  const int64_t n = v->shape.d[v->ints[0]];
  if (part->n == n && v->op == OP_PAD) return part;
  int32_t *raw = ARENA_NEWS(f->arena, int32_t, n);
  for (int64_t j = 0; j < part->n; j++) raw[in_whole(v, j)] = 1 + label_at(part, j);
  return labels_make(&f->labels, raw, n, part->n_labels + 1);
}

static const Labels *concat_labels(ProofFlow *f, ValueId v, int axis) {
  const Value *val = ir_value(f->g, v);
  int32_t *raw = ARENA_NEWS(f->arena, int32_t, val->shape.d[axis]), next = 0;
  int64_t at = 0;
  for (uint32_t i = 0; i < val->n_args; i++) {
    const Labels *l = flow_arg(f, v, i)->axis[axis];
    for (int64_t j = 0; j < l->n; j++) raw[at++] = next + label_at(l, j);
    next += l->n_labels;
  }
  return labels_make(&f->labels, raw, at, next);
}

static bool is_reduced(const Value *v, int axis) {
  for (uint32_t k = 0; k < v->n_ints; k++)
    if (v->ints[k] == axis) return true;
  return false;
}

static void dot_axes(ProofFlow *f, ValueId v, const Labels **out) {
  const Value *val = ir_value(f->g, v);
  const DotInts d = ir_dot_ints(val);
  const Abs *a = flow_arg(f, v, 0), *b = flow_arg(f, v, 1);
  int64_t axes[IR_MAX_RANK];
  int n = 0;
  for (int64_t i = 0; i < d.nb; i++) out[n++] = labels_refine(&f->labels, a->axis[d.batch_a[i]], b->axis[d.batch_b[i]]);
  int m = ir_free_axes(ir_value(f->g, val->args[0])->shape.rank, d.batch_a, d.nb, d.con_a, d.nc, axes);
  for (int i = 0; i < m; i++) out[n++] = a->axis[axes[i]];
  m = ir_free_axes(ir_value(f->g, val->args[1])->shape.rank, d.batch_b, d.nb, d.con_b, d.nc, axes);
  for (int i = 0; i < m; i++) out[n++] = b->axis[axes[i]];
}

static void window_axes(ProofFlow *f, ValueId v, const Labels **out) {
  const Value *val = ir_value(f->g, v);
  const Abs *x = flow_arg(f, v, 0);
  const bool fold = val->op == OP_FOLD;
  for (int i = 0; i < val->shape.rank; i++) out[i] = fresh(f, val->shape.d[i]);
  out[0] = x->axis[0];
  out[fold ? 1 : 3] = x->axis[fold ? 3 : 1];
}

static void table_axes(ProofFlow *f, ValueId v, const Labels **out) {
  const Value *val = ir_value(f->g, v);
  const Abs *x = flow_arg(f, v, 0), *idx = flow_arg(f, v, 1);
  const int n_idx = ir_value(f->g, val->args[1])->shape.rank;
  if (val->op == OP_GATHER) {
    for (int i = 0; i < n_idx; i++) out[i] = idx->axis[i];
    for (int i = n_idx; i < val->shape.rank; i++) out[i] = x->axis[1 + i - n_idx];
  } else {
    out[0] = fresh(f, val->shape.d[0]);
    for (int i = 1; i < val->shape.rank; i++) out[i] = x->axis[n_idx + i - 1];
  }
}

/* Elements of a sum stay apart; rows of a gate do. */
static void call_axes(ProofFlow *f, ValueId v, const Labels **out) {
  const Value *val = ir_value(f->g, v);
  const bool gate = val->ints[2] == CALL_GATE, span = val->ints[2] == CALL_SPAN;
  for (int i = 0; i < val->shape.rank; i++) out[i] = span ? flow_arg(f, v, 0)->axis[i] : fresh(f, val->shape.d[i]);
  for (uint32_t k = 0; gate && k < val->n_args; k++) {
    const Value *x = ir_value(f->g, val->args[k]);
    const bool input = k < ir_call_inputs(f->g, val);
    const int lead = input ? ir_call_lead(x) : x->shape.rank == 1 && x->dtype == DT_I32 ? 1 : x->shape.rank - 1;
    for (int i = 0; i < lead; i++) out[i] = labels_refine(&f->labels, out[i], flow_arg(f, v, k)->axis[i]);
  }
}

bool flow_axes(ProofFlow *f, ValueId v, const Labels **out) {
  const Value *val = ir_value(f->g, v);
  const int rank = val->shape.rank;
  const Abs *x = val->n_args ? flow_arg(f, v, 0) : NULL;
  switch (val->op) {
  case OP_RESHAPE: return reshape_axes(f, v, out);
  case OP_DOT: dot_axes(f, v, out); return true;
  case OP_UNFOLD: case OP_FOLD: window_axes(f, v, out); return true;
  case OP_GATHER: case OP_SCATTER: table_axes(f, v, out); return true;
  case OP_CALL: call_axes(f, v, out); return true;
  case OP_SUM: case OP_AMAX: case OP_ARGMAX:
    for (int i = 0, n = 0; n < rank; i++)
      if (!is_reduced(val, i)) out[n++] = x->axis[i];
    return true;
  default: break;
  }
  for (int i = 0; i < rank; i++) {
    if (!x) out[i] = fresh(f, val->shape.d[i]);
    else if (val->op == OP_BCAST || val->op == OP_TRANSPOSE) out[i] = val->ints[i] < 0 ? fresh(f, val->shape.d[i]) : x->axis[val->ints[i]];
    else if (val->op == OP_CONCAT && i == val->ints[0]) out[i] = concat_labels(f, v, i);
    else if ((val->op == OP_SLICE || val->op == OP_TAKE) && i == val->ints[0]) out[i] = cut_labels(f, val, x->axis[i]);
    else if ((val->op == OP_PAD || val->op == OP_PUT) && i == val->ints[0]) out[i] = placed_labels(f, val, x->axis[i]);
    else {
      out[i] = x->axis[i];
      for (uint32_t k = 1; k < val->n_args; k++) out[i] = labels_refine(&f->labels, out[i], flow_arg(f, v, k)->axis[i]);
    }
  }
  return true;
}

/* ---- uses ---------------------------------------------------------------------------------------------------------- */
static void use_add(Use *u, uint32_t arg) {
  u->arg[u->n_args] = arg;
  memset(u->loop[u->n_args], -1, sizeof u->loop[0]);
  u->n_args++;
}
static void use_loop(Use *u, uint32_t i, int axis, const Labels *over) {
  u->loop[i][axis] = (int8_t)u->n_loops;
  u->over[u->n_loops++] = over;
}

static void use_reshape(const ProofFlow *f, const Value *v, const int64_t *index, Use *u) {
  const Shape *to = &v->shape, *from = &ir_value(f->g, v->args[0])->shape;
  const int first = to->rank && is_rows(to->d[0]);
  int64_t at = 0;
  use_add(u, 0);
  if (first) u->at[0][0] = index[0];
  for (int i = first; i < to->rank; i++) at = at * to->d[i] + index[i];
  for (int i = from->rank; i-- > first;) u->at[0][i] = at % from->d[i], at /= from->d[i];
}

static void use_dot(ProofFlow *f, ValueId v, const int64_t *index, Use *u) {
  const Value *val = ir_value(f->g, v);
  const DotInts d = ir_dot_ints(val);
  int64_t axes[IR_MAX_RANK];
  int n = 0;
  use_add(u, 0), use_add(u, 1);
  for (int64_t i = 0; i < d.nb; i++, n++) u->at[0][d.batch_a[i]] = u->at[1][d.batch_b[i]] = index[n];
  int m = ir_free_axes(ir_value(f->g, val->args[0])->shape.rank, d.batch_a, d.nb, d.con_a, d.nc, axes);
  for (int i = 0; i < m; i++) u->at[0][axes[i]] = index[n++];
  m = ir_free_axes(ir_value(f->g, val->args[1])->shape.rank, d.batch_b, d.nb, d.con_b, d.nc, axes);
  for (int i = 0; i < m; i++) u->at[1][axes[i]] = index[n++];
  for (int64_t i = 0; i < d.nc; i++) {
    u->loop[1][d.con_b[i]] = (int8_t)u->n_loops;
    use_loop(u, 0, (int)d.con_a[i],
             labels_refine(&f->labels, flow_arg(f, v, 0)->axis[d.con_a[i]], flow_arg(f, v, 1)->axis[d.con_b[i]]));
  }
}

static void use_window(const ProofFlow *f, ValueId v, const int64_t *index, Use *u) {
  const bool fold = ir_value(f->g, v)->op == OP_FOLD;
  const Abs *x = flow_arg(f, v, 0);
  use_add(u, 0);
  u->at[0][0] = index[0], u->at[0][fold ? 3 : 1] = index[fold ? 1 : 3];
  static const int image[] = {2, 3}, columns[] = {1, 2, 4, 5};
  for (int i = 0; i < (fold ? 4 : 2); i++) {
    const int axis = fold ? columns[i] : image[i];
    use_loop(u, 0, axis, x->axis[axis]);
  }
}

static void use_table(ProofFlow *f, ValueId v, const int64_t *index, Use *u) {
  const Value *val = ir_value(f->g, v);
  const Abs *x = flow_arg(f, v, 0), *idx = flow_arg(f, v, 1);
  const int n_idx = ir_value(f->g, val->args[1])->shape.rank, rank = ir_value(f->g, val->args[0])->shape.rank;
  use_add(u, 0), use_add(u, 1);
  if (val->op == OP_GATHER) {
    use_loop(u, 0, 0, x->axis[0]);
    for (int i = 0; i < n_idx; i++) u->at[1][i] = index[i];
    for (int i = 1; i < rank; i++) u->at[0][i] = index[n_idx + i - 1];
    return;
  }
  for (int i = 0; i < n_idx; i++) {
    u->loop[1][i] = (int8_t)u->n_loops;
    use_loop(u, 0, i, labels_refine(&f->labels, x->axis[i], idx->axis[i]));
  }
  for (int i = n_idx; i < rank; i++) u->at[0][i] = index[1 + i - n_idx];
}

/* Of PAD and PUT: an index in the fill is made of nothing. */
static void use_placed(const Value *v, const int64_t *index, int32_t rank, const Shape *part, Use *u) {
  const int64_t axis = v->ints[0], at = index[axis], n = part->d[axis];
  int64_t j = -1;
  if (v->op == OP_PAD) {
    const int64_t off = at - v->ints[1];
    if (off >= 0 && off % v->ints[2] == 0 && off / v->ints[2] < n) j = off / v->ints[2];
  } else {
    for (int64_t i = 0; i < n && j < 0; i++)
      if (v->ints[1 + i] == at) j = i;
  }
  if (j < 0) return;
  use_add(u, 0);
  memcpy(u->at[0], index, (size_t)rank * sizeof *index);
  u->at[0][axis] = j;
}

static void use_concat(const ProofFlow *f, const Value *v, const int64_t *index, Use *u) {
  const int64_t axis = v->ints[0];
  int64_t at = index[axis];
  uint32_t i = 0;
  for (; at >= ir_value(f->g, v->args[i])->shape.d[axis]; i++) at -= ir_value(f->g, v->args[i])->shape.d[axis];
  use_add(u, i);
  memcpy(u->at[0], index, (size_t)v->shape.rank * sizeof *index);
  u->at[0][axis] = at;
}

static void use_reduced(const ProofFlow *f, ValueId v, const int64_t *index, Use *u) {
  const Value *val = ir_value(f->g, v);
  const int rank = ir_value(f->g, val->args[0])->shape.rank;
  use_add(u, 0);
  for (int i = 0, n = 0; i < rank; i++) {
    if (is_reduced(val, i)) use_loop(u, 0, i, flow_arg(f, v, 0)->axis[i]);
    else u->at[0][i] = index[n++];
  }
}

/* ---- calls ----
 * A sum over elements: its value is made of all of them, its gradient of the same one. Statistics mix everything. A gate keeps
 * rows, and mixes units and inputs. A gradient is one product after another of dy with an argument. */
static void use_call_arg(ProofFlow *f, ValueId v, uint32_t arg, Use *u) {
  const Value *val = ir_value(f->g, v), *x = ir_value(f->g, val->args[arg]);
  const bool same = val->ints[2] == CALL_SPAN && shape_equal(&x->shape, &val->shape);
  const int kept = same ? x->shape.rank : val->ints[2] != CALL_GATE ? 0 : arg < ir_call_inputs(f->g, val) ? ir_call_lead(x) : -1;
  const uint32_t i = u->n_args;
  use_add(u, arg);
  for (int k = 0; k < x->shape.rank; k++) {
    const bool stays = kept >= 0 ? k < kept : x->shape.rank == 1 || k + 1 < x->shape.rank; /* DATUM; a gate's value and dy */
    if (stays) u->at[i][k] = u->index[k];
    else use_loop(u, i, k, flow_arg(f, v, arg)->axis[k]);
  }
}

/* The use of argument `arg`, beside dy. Returns true. */
static bool use_call(ProofFlow *f, ValueId v, const int64_t *index, uint32_t arg, Use *u) {
  const Value *val = ir_value(f->g, v);
  const bool gradient = ir_call_is_gradient(val);
  const uint32_t n = !gradient ? val->n_args : val->ints[2] == CALL_SPAN ? 1 : val->n_args - 1; /* a sum's gradient does not read it */
  int64_t at[IR_MAX_RANK];
  memcpy(at, index, (size_t)val->shape.rank * sizeof *at);
  *u = (Use){.more = arg + 1 < n ? arg + 1 : 0, .call = v};
  memcpy(u->index, at, (size_t)val->shape.rank * sizeof *at);
  if (gradient) use_call_arg(f, v, val->n_args - 1, u);
  use_call_arg(f, v, arg, u);
  return true;
}

void flow_use(ProofFlow *f, ValueId v, const int64_t *index, Use *u) {
  const Value *val = ir_value(f->g, v);
  const size_t whole = (size_t)val->shape.rank * sizeof *index;
  u->n_args = u->n_loops = u->more = 0;
  memset(u->at, 0, sizeof u->at);
  switch (val->op) {
  case OP_RESHAPE: use_reshape(f, val, index, u); return;
  case OP_DOT: use_dot(f, v, index, u); return;
  case OP_UNFOLD: case OP_FOLD: use_window(f, v, index, u); return;
  case OP_GATHER: case OP_SCATTER: use_table(f, v, index, u); return;
  case OP_SUM: case OP_AMAX: case OP_ARGMAX: use_reduced(f, v, index, u); return;
  case OP_PAD: case OP_PUT: use_placed(val, index, val->shape.rank, &ir_value(f->g, val->args[0])->shape, u); return;
  case OP_CONCAT: use_concat(f, val, index, u); return;
  case OP_CALL: use_call(f, v, index, 0, u); return;
  case OP_BCAST: case OP_TRANSPOSE:
    use_add(u, 0);
    for (int i = 0; i < val->shape.rank; i++)
      if (val->ints[i] >= 0) u->at[0][val->ints[i]] = index[i];
    return;
  default: break;
  }
  for (uint32_t i = 0; i < val->n_args; i++) {
    use_add(u, i);
    memcpy(u->at[i], index, whole);
    if (val->op == OP_SLICE || val->op == OP_TAKE) u->at[i][val->ints[0]] = in_whole(val, index[val->ints[0]]);
  }
}

bool use_next(ProofFlow *f, Use *u, int64_t *turn) {
  for (uint32_t i = u->n_loops; i-- > 0;) {
    if (++turn[i] < u->over[i]->n_labels) return true;
    turn[i] = 0;
  }
  return u->more && use_call(f, u->call, u->index, u->more, u);
}

uint32_t abs_cell_at(const Abs *x, int32_t rank, const int64_t *index) {
  uint32_t cell = 0;
  for (int32_t i = 0; i < rank; i++) cell = cell * (uint32_t)x->axis[i]->n_labels + (uint32_t)label_at(x->axis[i], index[i]);
  return cell;
}

void abs_index_of(const Abs *x, int32_t rank, uint32_t cell, int64_t *index) {
  for (int32_t i = rank; i-- > 0;) {
    const uint32_t n = (uint32_t)x->axis[i]->n_labels;
    index[i] = x->axis[i]->rep[cell % n];
    cell /= n;
  }
}

void use_index(const ProofFlow *f, ValueId v, const Use *u, uint32_t i, const int64_t *turn, int64_t *index) {
  const int32_t rank = ir_value(f->g, ir_value(f->g, v)->args[u->arg[i]])->shape.rank;
  for (int32_t k = 0; k < rank; k++) {
    const int l = u->loop[i][k];
    index[k] = l < 0 ? u->at[i][k] : u->over[l]->rep[turn[l]];
  }
}

uint32_t use_cell(const ProofFlow *f, ValueId v, const Use *u, uint32_t i, const int64_t *turn) {
  int64_t index[IR_MAX_RANK];
  use_index(f, v, u, i, turn, index);
  return abs_cell_at(flow_arg(f, v, u->arg[i]), ir_value(f->g, ir_value(f->g, v)->args[u->arg[i]])->shape.rank, index);
}
