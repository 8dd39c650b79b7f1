/* SPDX-License-Identifier: Apache-2.0
 * operand.c -- makes every DOT readable as matrices: its operands become views of values that will have
 * buffers, in a layout whose contraction and free axes collapse; where none does, a transposed copy is put in
 * between. requires: arguments already in w->g   maintains: the DOT's value   changes: w->force, w->layout */
#include "plan_work.h"
#include <string.h>

static View view_of_layout(const Work *w, ValueId v) {
  const Value *u = &w->g->v[v];
  View r = {.shape = u->shape};
  if (u->op == OP_PARAM || u->op == OP_STATE)
    memcpy(r.strides, w->plan->params[u->ints[0]].strides, sizeof r.strides);
  else layout_strides(&w->layout[v], &u->shape, u->dtype, w->fn->max_rows, r.strides);
  return r;
}

void operand_view(const Work *w, ValueId v, View *out, ValueId *base) {
  const Value *u = &w->g->v[v];
  if (!w->force[v] && op_is_view(u)) {
    operand_view(w, u->args[0], out, base);
    const Value *b = &w->g->v[*base];
    bool matrix = op_class(b->op) != OPC_LEAF || b->op == OP_PARAM || b->op == OP_STATE;
    /* A small slice of a value that needs no buffer otherwise: keep the slice only. */
    bool part = !w->force[*base] && op_class(b->op) == OPC_ELT &&
                shape_count(&u->shape, w->fn->max_rows) <= shape_count(&b->shape, w->fn->max_rows) / 2 &&
                u->op == OP_SLICE;
    if (matrix && !part && view_apply(u, out)) return;
  }
  *base = v;
  *out = view_of_layout(w, v);
}

typedef struct Fit {
  const uint8_t *free, *con, *batch;
  uint32_t nf, nc, nb;
  bool prefix; /* leading free axes may become batch axes */
} Fit;

static bool fits(const View *v, const Fit *f) {
  return gemm_operand_fits(v, f->free, f->nf, f->con, f->nc, f->prefix);
}

/* Tries v's own memory with more of its inner axes compact. */
static bool try_tails(Work *w, ValueId base, ValueId v, const Fit *f) {
  const Value *u = &w->g->v[base];
  if (w->force[base] || w->layout[base].set || op_class(u->op) == OPC_LEAF) return false;
  Layout old = w->layout[base];
  const char *forced = w->force[v];
  for (int tail = 2; tail <= u->shape.rank; tail++) {
    w->layout[base].tail = (uint8_t)tail;
    View view;
    ValueId b;
    if (base == v) w->force[v] = "gemm operand";
    operand_view(w, v, &view, &b);
    w->force[v] = forced;
    if (b == base && fits(&view, f)) {
      w->layout[base].set = true;
      return true;
    }
  }
  w->layout[base] = old;
  return false;
}

/* A copy of v with axes [batch, free, contraction], or [batch, contraction, free] for the side whose rows are
 * read as vectors or when the contraction holds the rows. f's axes become those of the copy. */
static ValueId put_copy(Work *w, ValueId v, const Fit *f, bool con_first, uint8_t *batch, uint8_t *free,
                        uint8_t *con) {
  Shape s = {.rank = 0}, from = w->g->v[v].shape;
  int64_t perm[IR_MAX_RANK];
  for (uint32_t i = 0; i < f->nc; i++) con_first |= from.d[f->con[i]] < 0;
  for (int part = 0; part < 3; part++) {
    const uint8_t *axes = part == 0 ? f->batch : (part == 1) == con_first ? f->con : f->free;
    uint32_t n = part == 0 ? f->nb : (part == 1) == con_first ? f->nc : f->nf;
    uint8_t *to = part == 0 ? batch : (part == 1) == con_first ? con : free;
    for (uint32_t i = 0; i < n; i++) {
      perm[s.rank] = axes[i];
      to[i] = (uint8_t)s.rank;
      s.d[s.rank++] = from.d[axes[i]];
    }
  }
  ValueId t = work_put_un(w, OP_TRANSPOSE, v, &s, perm, (uint32_t)s.rank);
  uint32_t tail = con_first ? f->nf : f->nc;
  if (tail) w->layout[t].tail = (uint8_t)tail;
  w->layout[t].set = true;
  w->force[t] = "copy of a gemm operand whose axes do not collapse";
  return t;
}

/* Makes operand v fit; returns the value to read, axes updated when it is a copy; 0 if even a copy does not
 * fit. */
static ValueId repair(Work *w, ValueId v, const Fit *f, bool second, uint8_t *batch, uint8_t *free,
                      uint8_t *con) {
  View view;
  ValueId base;
  operand_view(w, v, &view, &base);
  bool leaf = op_class(w->g->v[v].op) == OPC_LEAF;
  const char *why = "gemm operand";
  if (!fits(&view, f) || (leaf && w->g->v[v].op != OP_PARAM && w->g->v[v].op != OP_STATE)) {
    View own = view_of_layout(w, v);
    if (!leaf && base != v && fits(&own, f)) base = v, why = "gemm operand whose views do not collapse";
    else if (try_tails(w, base, v, f)) why = "gemm operand, inner axes compact";
    else if (base != v && try_tails(w, v, v, f)) base = v, why = "gemm operand, inner axes compact";
    else {
      uint8_t nb[IR_MAX_RANK], nf[IR_MAX_RANK], nk[IR_MAX_RANK];
      ValueId t = put_copy(w, v, f, second, nb, nf, nk);
      memcpy(batch, nb, sizeof nb), memcpy(free, nf, sizeof nf), memcpy(con, nk, sizeof nk);
      View copy = view_of_layout(w, t);
      Fit g = {.free = free,
               .con = con,
               .batch = batch,
               .nf = f->nf,
               .nc = f->nc,
               .nb = f->nb,
               .prefix = f->prefix};
      return fits(&copy, &g) ? t : 0;
    }
  }
  Op op = w->g->v[base].op;
  if (op != OP_PARAM && op != OP_STATE) {
    if (!w->force[base]) w->force[base] = why;
    w->layout[base].set = true;
  }
  return v;
}

/* DOT as a sum of products over [batch, free of a, free of b, contraction]: what no matrix form serves. */
static ValueId dot_as_sum(Work *w, const Value *dot, const ValueId args[2], const DotAxes *x) {
  Graph *g = w->g;
  Shape full = dot->shape;
  if ((uint32_t)full.rank + x->nc > IR_MAX_RANK) plan_broken(g, args[0], "dot of too many axes");
  for (uint32_t i = 0; i < x->nc; i++) full.d[full.rank++] = g->v[args[0]].shape.d[x->ca[i]];
  ValueId side[2];
  for (int s = 0; s < 2; s++) {
    const uint8_t *b = s ? x->bb : x->ba, *f = s ? x->fb : x->fa, *c = s ? x->cb : x->ca;
    uint32_t nf = s ? x->nfb : x->nfa;
    Shape from = g->v[args[s]].shape, to = {.rank = 0};
    int64_t perm[IR_MAX_RANK], map[IR_MAX_RANK];
    for (int i = 0; i < full.rank; i++) map[i] = -1;
    for (uint32_t i = 0; i < x->nb; i++) map[i] = to.rank, perm[to.rank++] = b[i];
    for (uint32_t i = 0; i < nf; i++) map[x->nb + (s ? x->nfa : 0) + i] = to.rank, perm[to.rank++] = f[i];
    for (uint32_t i = 0; i < x->nc; i++) map[x->nb + x->nfa + x->nfb + i] = to.rank, perm[to.rank++] = c[i];
    for (int i = 0; i < to.rank; i++) to.d[i] = from.d[perm[i]];
    ValueId t = work_put_un(w, OP_TRANSPOSE, args[s], &to, perm, (uint32_t)to.rank);
    side[s] = work_put_un(w, OP_BCAST, t, &full, map, (uint32_t)full.rank);
  }
  Value mul = {.op = OP_MUL, .dtype = dot->dtype, .shape = full, .phase = dot->phase, .span = dot->span};
  if (!x->nc) mul.name = dot->name, mul.origins = dot->origins;
  ValueId m = work_put(w, &mul, side, 2);
  if (!x->nc) return m;
  Value sum = *dot;
  int64_t axes[IR_MAX_RANK];
  for (uint32_t i = 0; i < x->nc; i++) {
    axes[i] = dot->shape.rank + (int)i;
    const int64_t d = full.d[axes[i]]; /* the order of its additions would depend on which rows are packed */
    if (dim_is_rows(d) && w->fn->packed >> dim_set(d) & 1)
      plan_broken(g, args[0], "a sum over packed rows that is no product");
  }
  sum.op = OP_SUM, sum.ints = axes, sum.n_ints = x->nc;
  return work_put(w, &sum, &m, 1);
}

static ValueId put_dot(Work *w, const Value *dot, const ValueId args[2], const DotAxes *x) {
  int64_t ints[2 + 4 * IR_MAX_RANK], *p = ints;
  *p++ = x->nb, *p++ = x->nc;
  for (uint32_t i = 0; i < x->nb; i++) *p++ = x->ba[i];
  for (uint32_t i = 0; i < x->nb; i++) *p++ = x->bb[i];
  for (uint32_t i = 0; i < x->nc; i++) *p++ = x->ca[i];
  for (uint32_t i = 0; i < x->nc; i++) *p++ = x->cb[i];
  Value v = *dot;
  v.ints = ints, v.n_ints = (uint32_t)(p - ints);
  return work_put(w, &v, args, 2);
}

/* The order of the contraction under which most operands fit as they are. */
static void choose_order(const DotAxes *x, const View v[2], uint8_t *best) {
  int most = -1;
  uint8_t order[IR_MAX_RANK], ca[IR_MAX_RANK], cb[IR_MAX_RANK];
  for (uint32_t k = 0; gemm_k_order(x, &v[0], &v[1], k, order); k++) {
    for (uint32_t i = 0; i < x->nc; i++) ca[i] = x->ca[order[i]], cb[i] = x->cb[order[i]];
    int n = gemm_operand_fits(&v[0], x->fa, x->nfa, ca, x->nc, true) +
            gemm_operand_fits(&v[1], x->fb, x->nfb, cb, x->nc, false);
    if (n > most) most = n, memcpy(best, order, sizeof order);
  }
}

ValueId operand_dot(Work *w, const Value *dot, const ValueId args[2]) {
  Value shape_only = *dot;
  ValueId arg[2] = {args[0], args[1]};
  shape_only.args = arg;
  DotAxes x = dot_axes(w->g, &shape_only), given = x;
  View v[2];
  ValueId base;
  bool direct = x.nb <= PLAN_MAX_GEMM_BATCH && dot->dtype == DT_F32;
  for (uint32_t i = 1; i < x.nfb; i++) direct &= w->g->v[args[1]].shape.d[x.fb[i]] >= 0;
  for (uint32_t i = 1; i < x.nc; i++) /* two run-time extents do not make one */
    direct &= !(w->g->v[args[0]].shape.d[x.ca[i]] < 0 && w->g->v[args[0]].shape.d[x.ca[0]] < 0);
  if (!direct) return dot_as_sum(w, dot, args, &given);
  for (int i = 0; i < 2; i++) operand_view(w, arg[i], &v[i], &base);
  uint8_t order[IR_MAX_RANK] = {0}, ca[IR_MAX_RANK], cb[IR_MAX_RANK];
  choose_order(&x, v, order);
  for (uint32_t i = 0; i < x.nc; i++) ca[i] = x.ca[order[i]], cb[i] = x.cb[order[i]];
  memcpy(x.ca, ca, sizeof ca), memcpy(x.cb, cb, sizeof cb);
  Fit fa = {
      .free = given.fa, .con = ca, .batch = given.ba, .nf = x.nfa, .nc = x.nc, .nb = x.nb, .prefix = true};
  Fit fb = {.free = given.fb, .con = cb, .batch = given.bb, .nf = x.nfb, .nc = x.nc, .nb = x.nb};
  if ((arg[0] = repair(w, arg[0], &fa, false, x.ba, x.fa, x.ca)) == 0 ||
      (arg[1] = repair(w, arg[1], &fb, true, x.bb, x.fb, x.cb)) == 0)
    return dot_as_sum(w, dot, args, &given);
  /* With both settled the geometry must exist for a plain result; leading axes may have filled the batch. */
  for (int i = 0; i < 2; i++) operand_view(w, arg[i], &v[i], &base);
  Layout l = layout_default((uint32_t)dot->shape.rank);
  if (x.nfb > 1) l.tail = (uint8_t)x.nfb;
  int64_t cs[IR_MAX_RANK];
  layout_strides(&l, &dot->shape, DT_F32, w->fn->max_rows, cs);
  GemmGeom geom;
  bool swapped;
  if (!gemm_geometry(&x, &v[0], &v[1], &dot->shape, cs, w->fn->max_rows, &geom, &swapped))
    return dot_as_sum(w, dot, args, &given);
  ValueId d = put_dot(w, dot, arg, &x);
  w->layout[d] = l;
  return d;
}
