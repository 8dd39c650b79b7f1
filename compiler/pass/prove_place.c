/* SPDX-License-Identifier: Apache-2.0
 * prove_place.c -- positions inside of a datum. Where conditions have positions, kinds are told apart at each of them: a
 * value that has the positions along one axis is *placed*, and its cell of kind k covers the entries at positions of kind k.
 * The cell of kind k of a value that is not placed covers all of a row that has the kind's properties of the datum.
 *
 * What keeps positions apart passes places on. What moves, sums or mixes positions reads an argument joined over the kinds
 * that may stand at other positions of the same row. */
#include "prove.h"
#include "fault.h"
#include <string.h>

/* ---- the frame: the positions that conditions are about ------------------------------------------------------------ */
/* Steps from an axis of a value back to a column whose first axis holds the positions, in portions of equal size. */
static void trace_column(ProofFlow *f, ValueId id, int axis, int64_t stride) {
  const Value *v = ir_value(f->g, id);
  if (v->op == OP_COLUMN) {
    if (axis == 1 && v->shape.d[1] == f->n_places * stride) f->column_stride[v->ints[0]] = stride;
    return;
  }
  const Place at = {1 + axis, stride};
  for (uint32_t i = 0; i < v->n_args; i++) {
    const Shape *s = &ir_value(f->g, v->args[i])->shape;
    if (op_class(v->op) == OPC_ELT && shape_equal(s, &v->shape)) trace_column(f, v->args[i], axis, stride);
    else if (v->op == OP_RESHAPE) {
      const Place from = place_reshaped(f, &v->shape, s, at);
      if (from.axis) trace_column(f, v->args[i], from.axis - 1, from.stride);
    } else if (v->op == OP_TRANSPOSE) trace_column(f, v->args[i], (int)v->ints[axis], stride);
    else if ((v->op == OP_SLICE || v->op == OP_TAKE) && v->ints[0] != axis) trace_column(f, v->args[i], axis, stride);
    else if (op_class(v->op) == OPC_RED) {
      int was = 0;
      for (int left = axis;; was++) {
        bool reduced = false;
        for (uint32_t k = 0; k < v->n_ints; k++) reduced |= v->ints[k] == was;
        if (!reduced && left-- == 0) break;
      }
      trace_column(f, v->args[i], was, stride);
    }
  }
}

/* One length of positions for all conditions that have an axis of them; else these count as open everywhere. */
void places_create(ProofFlow *f) {
  const Program *p = f->p;
  uint32_t of_datum = 0;
  f->n_places = 0;
  for (uint32_t i = 0; i < p->n_conds; i++) {
    if (!p->conds[i].value) continue;
    const Shape *s = &ir_value(f->g, p->conds[i].value)->shape;
    if (s->rank == 1) of_datum |= 1u << i;
    if (s->rank != 2) continue;
    f->n_places = f->n_places && f->n_places != s->d[1] ? -1 : s->d[1];
  }
  if (f->n_places < 0) f->n_places = 0;
  f->alike = ARENA_NEWS(f->arena, KindSet, f->elems.n_kinds);
  for (uint32_t k = 0; k < f->elems.n_kinds; k++)
    for (uint32_t j = 0; j < f->elems.n_kinds; j++)
      if (!p->n_kinds || !((p->kinds[k] ^ p->kinds[j]) & of_datum)) f->alike[k] |= (KindSet)1 << j;
  f->joined = ARENA_NEWS(f->arena, const Abs *, f->g->n);
  f->column_stride = ARENA_NEWS(f->arena, int64_t, p->n_columns + 1);
  if (!f->n_places) return;
  for (uint32_t i = 0; i < p->n_conds; i++)
    if (p->conds[i].value && ir_value(f->g, p->conds[i].value)->shape.rank == 2) trace_column(f, p->conds[i].value, 1, 1);
  for (uint32_t i = 0; i < p->n_columns; i++)
    if (p->columns[i].shape.rank > 1 && p->columns[i].shape.d[1] == f->n_places) f->column_stride[i] = 1;
}

/* ---- places through operations ---------------------------------------------------------------------------------------- */
static const Place nowhere = {0, 0};
static bool same_place(Place a, Place b) { return a.axis == b.axis && a.stride == b.stride; }

/* The axis of a reshaped value that holds the positions: of an index along it, position = index / stride. */
Place place_reshaped(const ProofFlow *f, const Shape *from, const Shape *to, Place at) {
  int64_t inner = at.stride, below = 1;
  for (int32_t i = at.axis; i < from->rank; i++) inner *= from->d[i];
  for (int32_t i = to->rank; i-- > 1; below *= to->d[i])
    if (inner % below == 0 && to->d[i] == f->n_places * (inner / below)) return (Place){1 + i, inner / below};
  return nowhere;
}

static int n_rows_axes(const Shape *s) {
  int n = 0;
  for (int32_t i = 0; i < s->rank; i++) n += is_rows(s->d[i]);
  return n;
}

static int find_axis(const int64_t *list, int64_t n, int axis) {
  for (int64_t i = 0; i < n; i++)
    if (list[i] == axis) return (int)i;
  return -1;
}

/* Where a result of equal axes has the positions: where the first argument that has them does. */
static Place of_first(const ProofFlow *f, const Value *v, bool *keep) {
  Place at = nowhere;
  for (uint32_t i = 0; i < v->n_args; i++) {
    const Place own = f->abs[v->args[i]].place;
    if (!at.axis) at = own;
    keep[i] = !own.axis || same_place(own, at);
  }
  return at;
}

static Place of_dot(const ProofFlow *f, const Value *v, bool *keep) {
  const DotInts d = ir_dot_ints(v);
  const bool sums_rows = !n_rows_axes(&v->shape);
  Place at = nowhere, own[2] = {f->abs[v->args[0]].place, f->abs[v->args[1]].place};
  int pair[2] = {-1, -1};
  for (int i = 0; i < 2; i++) {
    const int64_t *batch = i ? d.batch_b : d.batch_a, *con = i ? d.con_b : d.con_a;
    int64_t axes[IR_MAX_RANK], first = d.nb;
    if (!own[i].axis) continue;
    const int b = find_axis(batch, d.nb, own[i].axis - 1), c = find_axis(con, d.nc, own[i].axis - 1);
    pair[i] = b >= 0 ? b : c >= 0 ? (int)d.nb + c : -1;
    if (i) first += ir_free_axes(ir_value(f->g, v->args[0])->shape.rank, d.batch_a, d.nb, d.con_a, d.nc, axes);
    const int n = ir_free_axes(ir_value(f->g, v->args[i])->shape.rank, batch, d.nb, con, d.nc, axes);
    const int64_t out = b >= 0 ? b : c >= 0 ? -1 : first + find_axis(axes, n, own[i].axis - 1);
    if (sums_rows) keep[i] = true;
    else if (out >= 0 && !at.axis) at = (Place){1 + (int)out, own[i].stride}, keep[i] = true;
    else keep[i] = out >= 0 && same_place(at, (Place){1 + (int)out, own[i].stride});
  }
  /* a sum over rows meets a row of both, and a position of both only where these axes meet */
  if (sums_rows && own[0].axis && own[1].axis) keep[1] = pair[0] >= 0 && pair[0] == pair[1] && own[0].stride == own[1].stride;
  return sums_rows ? nowhere : at;
}

static Place of_reduction(const Value *v, Place own, bool *keep) {
  if (!n_rows_axes(&v->shape)) return nowhere;
  int32_t before = 0;
  for (uint32_t k = 0; k < v->n_ints; k++) {
    if (v->ints[k] == own.axis - 1) return keep[0] = false, nowhere;
    before += v->ints[k] < own.axis - 1;
  }
  return (Place){own.axis - before, own.stride};
}

static Place of_table(const ProofFlow *f, const Value *v, bool *keep) {
  const Place x = f->abs[v->args[0]].place, index = f->abs[v->args[1]].place;
  const int n_index = ir_value(f->g, v->args[1])->shape.rank;
  if (v->op == OP_GATHER) {
    keep[0] = !x.axis;
    return index;
  }
  keep[1] = !index.axis || !x.axis || (x.axis <= n_index && same_place(x, index));
  return nowhere;
}

Place place_of(const ProofFlow *f, ValueId id, bool *keep) {
  const Value *v = ir_value(f->g, id);
  bool any = false;
  for (uint32_t i = 0; i < v->n_args; i++) keep[i] = true, any |= f->abs[v->args[i]].place.axis != 0;
  if (!any) return nowhere;
  const Place own = f->abs[v->args[0]].place;
  Place at = nowhere;
  const int n_rows = n_rows_axes(&v->shape);
  bool known = n_rows <= 1;
  if (known && op_class(v->op) == OPC_ELT) at = of_first(f, v, keep);
  else switch (known ? v->op : OP_NONE) {
  case OP_BCAST: case OP_TRANSPOSE:
    for (int i = 0; i < v->shape.rank; i++)
      if (v->ints[i] == own.axis - 1) at = (Place){1 + i, own.stride};
    keep[0] = at.axis != 0;
    break;
  case OP_RESHAPE: at = place_reshaped(f, &ir_value(f->g, v->args[0])->shape, &v->shape, own), keep[0] = at.axis != 0; break;
  case OP_SLICE: case OP_PAD: case OP_TAKE: case OP_PUT:
    keep[0] = v->ints[0] != own.axis - 1;
    at = keep[0] ? own : nowhere;
    break;
  case OP_CONCAT:
    at = of_first(f, v, keep);
    known = at.axis - 1 != v->ints[0];
    break;
  case OP_UNFOLD: case OP_FOLD:
    keep[0] = own.axis == (v->op == OP_UNFOLD ? 2 : 4);
    at = keep[0] ? (Place){v->op == OP_UNFOLD ? 4 : 2, own.stride} : nowhere;
    break;
  case OP_SUM: case OP_AMAX: case OP_ARGMAX: at = of_reduction(v, own, keep); break;
  case OP_DOT: at = of_dot(f, v, keep); break;
  case OP_GATHER: case OP_SCATTER:
    known = v->op == OP_GATHER ? n_rows == 1 : n_rows == 0;
    at = of_table(f, v, keep);
    break;
  case OP_CALL: /* rows of a gate are positions, elements of a sum stand for themselves */
    at = of_first(f, v, keep);
    known = v->ints[2] == CALL_GATE ? at.axis < v->shape.rank : v->ints[2] == CALL_SPAN && ir_call_is_gradient(v);
    break;
  default: known = false; break;
  }
  if (known) return at;
  for (uint32_t i = 0; i < v->n_args; i++) keep[i] = !f->abs[v->args[i]].place.axis;
  return nowhere;
}

/* ---- joining ------------------------------------------------------------------------------------------------------------ */
const Abs *place_joined(ProofFlow *f, ValueId id) {
  if (fault("proof-keeps-positions")) return f->joined[id] = &f->abs[id];
  if (f->joined[id]) return f->joined[id];
  const Abs *x = &f->abs[id];
  const Shape *s = &ir_value(f->g, id)->shape;
  Abs *all = ARENA_NEW(f->arena, Abs);
  *all = *x, all->place = nowhere, all->cell = ARENA_NEWS(f->arena, ElemId, x->n_cells);
  uint32_t inner = 1;
  for (int32_t i = s->rank; i-- > 0 && !is_rows(s->d[i]);) inner *= (uint32_t)x->axis[i]->n_labels;
  const uint32_t n = f->elems.n_kinds;
  for (uint32_t c = 0; c < x->n_cells; c++) {
    const uint32_t kind = c / inner % n;
    all->cell[c] = x->cell[c];
    for (uint32_t k = 0; k < n; k++)
      if (f->alike[kind] >> k & 1) all->cell[c] = elem_join(&f->elems, all->cell[c], x->cell[c - kind * inner + k * inner]);
  }
  return f->joined[id] = all;
}
