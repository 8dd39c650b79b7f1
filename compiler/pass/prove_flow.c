/* SPDX-License-Identifier: Apache-2.0
 * prove_flow.c -- abstract interpretation of the step graph: one pass in dependency order, a table for each value.
 *
 * requires:  a graph with masks and update; p->kinds
 * maintains: the graph
 * Sound: the element of a cell covers every entry of the cell, for every batch. Which conditions hold for a datum is
 * known in each kind of row and counts as no content; so do random draws, clocks, parameters and states. */
#include "prove.h"
#include "fault.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>
#define MAX_CELLS 4096u     /* of a table; finer ones are widened */
#define MAX_PATTERN 64      /* labels of an axis of a constant */
#define MAX_CONSTANT (1 << 22)

/* ---- what is computed alike, conditions, cuts, seeds ------------------------------------------------------------- */
static uint64_t alike_hash(const ProofFlow *f, const Value *v) {
  XXH64_state_t s;
  XXH64_reset(&s, 0);
  const uint32_t head[4] = {v->op, v->dtype, v->n_args, v->n_ints};
  XXH64_update(&s, head, sizeof head);
  XXH64_update(&s, v->shape.d, (size_t)v->shape.rank * sizeof *v->shape.d);
  for (uint32_t i = 0; i < v->n_args; i++) XXH64_update(&s, &f->same[v->args[i]], sizeof *f->same);
  if (v->n_ints) XXH64_update(&s, v->ints, v->n_ints * sizeof *v->ints);
  XXH64_update(&s, &v->num, sizeof v->num);
  return XXH64_digest(&s);
}

static bool alike(const ProofFlow *f, const Value *a, const Value *b) {
  if (a->op != b->op || a->dtype != b->dtype || a->n_args != b->n_args || a->n_ints != b->n_ints || a->origins != b->origins ||
      !shape_equal(&a->shape, &b->shape) || memcmp(&a->num, &b->num, sizeof a->num) != 0 || a->data != b->data)
    return false;
  for (uint32_t i = 0; i < a->n_args; i++)
    if (f->same[a->args[i]] != f->same[b->args[i]]) return false;
  return !a->n_ints || !memcmp(a->ints, b->ints, a->n_ints * sizeof *a->ints);
}

static void number_values(ProofFlow *f) {
  uint32_t size = 1024;
  while (size < 4 * f->g->n) size *= 2;
  ValueId *table = ARENA_NEWS(f->arena, ValueId, size);
  for (ValueId v = 1; v < f->g->n; v++) {
    const Value *val = ir_value(f->g, v);
    uint32_t at = (uint32_t)alike_hash(f, val) & (size - 1);
    while (table[at] && !alike(f, ir_value(f->g, table[at]), val)) at = (at + 1) & (size - 1);
    if (!table[at]) table[at] = v;
    f->same[v] = table[at];
  }
}

static void mark_values(ProofFlow *f) {
  const Program *p = f->p;
  for (uint32_t i = p->n_conds; i-- > 0;)
    if (p->conds[i].value) f->cond_of[f->same[p->conds[i].value]] = 1 + i;
  for (uint32_t i = 0; i < p->n_cuts && !(f->counts & PROOF_STRICT); i++)
    if (p->cuts[i]) f->is_cut[f->same[p->cuts[i]]] = true;
  /* autodiff makes the seeds before any other adjoint */
  for (uint32_t o = 0; o < p->n_origins; o++)
    for (ValueId v = 1; v < f->g->n; v++) {
      const Value *val = ir_value(f->g, v);
      if (val->origins != (OriginSet)1 << o) continue;
      if (val->op == OP_CONST && val->num != 0) f->seed_of[v] = 1 + o;
      break;
    }
}

static bool *live_values(const ProofFlow *f) {
  const Graph *g = f->g;
  bool *live = ARENA_NEWS(f->arena, bool, g->n);
  for (uint32_t i = 0; i < g->n_roots; i++)
    if (g->roots[i].kind == ROOT_PARAM || g->roots[i].kind == ROOT_STATE) live[g->roots[i].value] = true;
  for (ValueId v = g->n - 1; v >= 1; v--)
    for (uint32_t i = 0; live[v] && i < ir_value(g, v)->n_args; i++) live[ir_value(g, v)->args[i]] = true;
  return live;
}

/* ---- tables ------------------------------------------------------------------------------------------------------- */
static int rows_axis(const Shape *s) {
  for (int i = 0; i < s->rank; i++)
    if (is_rows(s->d[i])) return i;
  return -1;
}

static void abs_alloc(ProofFlow *f, Abs *x, int32_t rank) {
  x->n_cells = 1;
  for (int32_t i = 0; i < rank; i++) x->n_cells *= (uint32_t)x->axis[i]->n_labels;
  x->cell = ARENA_NEWS(f->arena, ElemId, x->n_cells);
}

static bool too_fine(const Labels *const *axis, int32_t rank) {
  uint64_t n = 1;
  for (int32_t i = 0; i < rank; i++)
    if ((n *= (uint64_t)axis[i]->n_labels) > MAX_CELLS) return true;
  return false;
}

/* Labels of one axis whose elements agree everywhere become one. */
static void compact_axis(ProofFlow *f, Abs *x, const Shape *s, int axis) {
  const int32_t n = x->axis[axis]->n_labels;
  if (n == 1 || is_rows(s->d[axis])) return;
  uint32_t inner = 1;
  for (int32_t i = axis + 1; i < s->rank; i++) inner *= (uint32_t)x->axis[i]->n_labels;
  const uint32_t outer = x->n_cells / inner / (uint32_t)n;
  int32_t *class_of = ARENA_NEWS(f->arena, int32_t, n), *first = ARENA_NEWS(f->arena, int32_t, n), n_classes = 0;
  for (int32_t a = 0; a < n; a++) {
    int32_t c = 0;
    for (; c < n_classes; c++) {
      bool same = true;
      for (uint32_t o = 0; o < outer && same; o++)
        same = !memcmp(&x->cell[(o * (uint32_t)n + (uint32_t)a) * inner], &x->cell[(o * (uint32_t)n + (uint32_t)first[c]) * inner],
                       inner * sizeof *x->cell);
      if (same) break;
    }
    if (c == n_classes) first[n_classes++] = a;
    class_of[a] = c;
  }
  if (n_classes == n) return;
  const Abs old = *x;
  x->axis[axis] = labels_merge(&f->labels, old.axis[axis], class_of, n_classes);
  abs_alloc(f, x, s->rank);
  for (uint32_t o = 0; o < outer; o++)
    for (int32_t c = 0; c < n_classes; c++)
      memcpy(&x->cell[(o * (uint32_t)n_classes + (uint32_t)c) * inner], &old.cell[(o * (uint32_t)n + (uint32_t)first[c]) * inner],
             inner * sizeof *x->cell);
}

/* One label for each axis but the datum axis. */
static const Abs *widened(ProofFlow *f, const Abs *x, const Shape *s) {
  const int rows = rows_axis(s);
  Abs *w = ARENA_NEW(f->arena, Abs);
  for (int i = 0; i < s->rank; i++) w->axis[i] = i == rows ? f->rows : labels_one(&f->labels, x->axis[i]->n);
  abs_alloc(f, w, s->rank);
  bool *seen = ARENA_NEWS(f->arena, bool, w->n_cells);
  for (uint32_t c = 0; c < x->n_cells; c++) {
    int64_t index[IR_MAX_RANK];
    abs_index_of(x, s->rank, c, index);
    const uint32_t k = rows < 0 ? 0 : (uint32_t)index[rows];
    w->cell[k] = seen[k] ? elem_join(&f->elems, w->cell[k], x->cell[c]) : x->cell[c];
    seen[k] = true;
  }
  return w;
}

/* ---- leaves ---------------------------------------------------------------------------------------------------------- */
static void constant_table(ProofFlow *f, const Value *v, Abs *x) {
  const int32_t rank = v->shape.rank;
  const int64_t n = shape_count(&v->shape, 1);
  if (v->data && n <= MAX_CONSTANT) {
    int64_t inner = n;
    for (int i = 0; i < rank; i++) {
      const int64_t d = v->shape.d[i];
      uint64_t *sig = ARENA_NEWS(f->arena, uint64_t, d);
      inner /= d;
      for (int64_t at = 0; at < n; at++) {
        uint64_t bits, *h = &sig[at / inner % d];
        memcpy(&bits, &v->data[at], sizeof bits);
        *h = (*h ^ (bits + 0x9E3779B97F4A7C15u)) * 0xff51afd7ed558ccdu;
        *h ^= *h >> 32;
      }
      x->axis[i] = labels_by_signature(&f->labels, sig, d);
      if (x->axis[i]->n_labels > MAX_PATTERN) goto hull;
    }
    if (too_fine(x->axis, rank)) goto hull;
    abs_alloc(f, x, rank);
    for (uint32_t c = 0; c < x->n_cells; c++) {
      int64_t index[IR_MAX_RANK], at = 0;
      abs_index_of(x, rank, c, index);
      for (int i = 0; i < rank; i++) at = at * v->shape.d[i] + index[i];
      x->cell[c] = elem_forward(&f->elems, v->data[at], v->data[at], 0);
    }
    return;
  }
hull:
  for (int i = 0; i < rank; i++) x->axis[i] = is_rows(v->shape.d[i]) ? f->rows : labels_one(&f->labels, v->shape.d[i]);
  abs_alloc(f, x, rank);
  double lo = v->num, hi = v->num;
  for (int64_t i = 0; v->data && i < n; i++) lo = i ? fmin(lo, v->data[i]) : v->data[i], hi = i ? fmax(hi, v->data[i]) : v->data[i];
  for (uint32_t c = 0; c < x->n_cells; c++) x->cell[c] = elem_forward(&f->elems, lo, hi, 0);
}

static ElemId leaf_elem(ProofFlow *f, const Value *v, uint32_t kind) {
  double lo = -INFINITY, hi = INFINITY;
  KindSet dep = 0;
  switch (v->op) {
  case OP_COLUMN: {
    const ProgColumn *c = v->ints[0] < (int64_t)f->p->n_columns ? &f->p->columns[v->ints[0]] : NULL;
    dep = c && f->n_places && !f->column_stride[v->ints[0]] ? f->alike[kind] : (KindSet)1 << kind;
    if (f->counts & PROOF_AT) dep = 0;
    if (c && c->has_range) lo = c->lo, hi = c->hi;
    break;
  }
  case OP_SCALAR: {
    const ProgScalar *s = v->ints[0] < (int64_t)f->p->n_scalars ? &f->p->scalars[v->ints[0]] : NULL;
    if (s && s->lo <= s->hi) lo = s->lo, hi = s->hi;
    break;
  }
  case OP_CLOCK: lo = 0; break;
  case OP_RANDOM: lo = 0, hi = 1; break;
  case OP_IOTA: lo = 0, hi = is_rows(v->shape.d[v->ints[0]]) ? INFINITY : (double)v->shape.d[v->ints[0]] - 1; break;
  default: break; /* PARAM, STATE, DATUM */
  }
  return elem_forward(&f->elems, lo, hi, dep);
}

static void leaf_table(ProofFlow *f, ValueId id, Abs *x) {
  const Value *v = ir_value(f->g, id);
  if (v->op == OP_CONST && !f->seed_of[id]) {
    constant_table(f, v, x);
    return;
  }
  flow_axes(f, id, x->axis);
  abs_alloc(f, x, v->shape.rank);
  if (v->op == OP_COLUMN && v->ints[0] < (int64_t)f->p->n_columns && f->column_stride[v->ints[0]])
    x->place = (Place){2, f->column_stride[v->ints[0]]};
  const int rows = rows_axis(&v->shape);
  for (uint32_t c = 0; c < x->n_cells; c++) {
    int64_t index[IR_MAX_RANK];
    abs_index_of(x, v->shape.rank, c, index);
    x->cell[c] = f->seed_of[id] ? elem_seed(&f->elems, f->seed_of[id] - 1) : leaf_elem(f, v, rows < 0 ? 0 : (uint32_t)index[rows]);
  }
}

/* Known in each kind of row, or of position in the frame. Elsewhere it is open where the condition holds. */
static void condition_table(ProofFlow *f, ValueId id, uint32_t cond, Abs *x) {
  const Value *v = ir_value(f->g, id);
  for (int i = 0; i < v->shape.rank; i++) x->axis[i] = is_rows(v->shape.d[i]) ? f->rows : labels_one(&f->labels, v->shape.d[i]);
  abs_alloc(f, x, v->shape.rank);
  const bool placed = v->shape.rank == 2 && f->n_places && v->shape.d[1] == f->n_places;
  const bool known = (v->shape.rank == 1 || placed) && rows_axis(&v->shape) == 0;
  if (placed) x->place = (Place){2, 1};
  for (uint32_t c = 0; c < x->n_cells; c++) {
    const bool holds = known && (f->p->kinds[c] >> cond & 1);
    x->cell[c] = !known ? elem_forward(&f->elems, 0, 1, 0)
                 : f->p->conds[cond].soft && holds ? elem_forward(&f->elems, 0, 1, 0)
                                                   : elem_forward(&f->elems, holds, holds, 0);
  }
}

/* ---- operations ------------------------------------------------------------------------------------------------------ */
/* Zero times content is a zero whose sign the content decides. A sum makes it +0; a value without rows sees no more sums. */
static bool sign_shows(const ProofFlow *f, const Value *v, const ElemId *x) {
  if (v->op != OP_MUL || v->phase != PHASE_ADJOINT || rows_axis(&v->shape) >= 0) return false;
  for (int i = 0; i < 2; i++)
    if (x[i] == ELEM_ZERO && (elem(&f->elems, x[1 - i])->dep || elem(&f->elems, x[1 - i])->src_kinds)) return true;
  return false;
}

ElemId flow_apply(ProofFlow *f, ValueId id, const ElemId *x, uint32_t n) {
  const Value *v = ir_value(f->g, id);
  switch (op_class(v->op)) {
  case OPC_VIEW: return v->op == OP_UNFOLD ? elem_join(&f->elems, x[0], ELEM_ZERO) : x[0];
  case OPC_RED: return v->op != OP_ARGMAX ? x[0] : elem_apply(&f->elems, v->op, v->dtype, x, n);
  case OPC_MIX: return v->op == OP_FOLD ? x[0] : elem_apply(&f->elems, v->op, v->dtype, x, n);
  default: break;
  }
  if (sign_shows(f, v, x)) return x[x[0] == ELEM_ZERO];
  const ElemId made = elem_apply(&f->elems, v->op, v->dtype, x, n);
  return v->op == OP_MASK && v->phase == PHASE_ADJOINT ? elem_scaled(&f->elems, made, x[1]) : made;
}

/* Whether argument `arg` of a sum over rows has its positions on an axis that is summed, or nothing but rows is: positions
 * that ended up on an axis that stays (a transposition in front of it) are not those of the terms. */
static bool has_terms_places(const ProofFlow *f, const Value *v, uint32_t arg) {
  const int axis = f->abs[v->args[arg]].place.axis - 1;
  const DotInts d = v->op == OP_DOT ? ir_dot_ints(v) : (DotInts){.nc = v->n_ints, .con_a = v->ints};
  if (axis < 0) return true;
  if (v->op == OP_SCATTER) return axis < ir_value(f->g, v->args[1])->shape.rank;
  bool summed = d.nc == 1;
  for (int64_t i = 0; i < d.nc; i++) summed |= (arg ? d.con_b : d.con_a)[i] == axis;
  return summed;
}

/* Whether each term of a sum over rows is at a position of its row. */
static bool has_terms_by_row(const ProofFlow *f, ValueId id) {
  const Value *v = ir_value(f->g, id);
  bool all = v->op == OP_SUM || v->op == OP_DOT || v->op == OP_SCATTER;
  for (uint32_t i = 0; all && i < v->n_args; i++) all = !f->keep[id][i] || has_terms_places(f, v, i);
  return all;
}

ElemId flow_marked(ProofFlow *f, ValueId id, ElemId made, uint32_t arg, const int64_t *index) {
  const Value *v = ir_value(f->g, id);
  bool sums = false;
  for (uint32_t i = 0; i < v->n_args && !sums; i++) sums = rows_axis(&ir_value(f->g, v->args[i])->shape) >= 0;
  if (!(f->counts & PROOF_AT) || v->phase != PHASE_ADJOINT || !sums || rows_axis(&v->shape) >= 0) return made;
  if (fault("proof-forgets-terms")) return made;
  const int rows = rows_axis(&ir_value(f->g, v->args[arg])->shape);
  const bool by_row = rows >= 0 && has_terms_by_row(f, id); /* one row of all arguments */
  for (uint32_t k = 0; k < f->elems.n_kinds; k++)
    if (!by_row || k == (uint32_t)index[rows]) made = elem_with_content(&f->elems, made, k);
  return made;
}

static bool is_sum(Op op) { return op == OP_SUM || op == OP_DOT || op == OP_FOLD || op == OP_SCATTER; }

static ElemId entry(ProofFlow *f, ValueId id, const int64_t *index) {
  const Value *v = ir_value(f->g, id);
  Use u;
  flow_use(f, id, index, &u);
  if (!u.n_args) return ELEM_ZERO; /* the fill of PAD and PUT */
  int64_t turn[USE_MAX_LOOPS] = {0};
  ElemId all = 0;
  bool any = false;
  do {
    ElemId x[3];
    for (uint32_t i = 0; i < u.n_args; i++) x[i] = flow_arg(f, id, u.arg[i])->cell[use_cell(f, id, &u, i, turn)];
    ElemId e = flow_apply(f, id, x, u.n_args);
    if (f->counts & PROOF_AT) {
      int64_t at[IR_MAX_RANK];
      use_index(f, id, &u, 0, turn, at);
      e = flow_marked(f, id, e, u.arg[0], at);
    }
    all = any ? elem_join(&f->elems, all, e) : e;
    any = true;
  } while (use_next(f, &u, turn));
  return is_sum(v->op) ? elem_sum(&f->elems, all) : all;
}

/* All arguments at their coarsest; should even that be too fine (a long concatenation), everything goes into one cell. */
static void widen_args(ProofFlow *f, ValueId id, const Abs **view, Abs *x) {
  const Value *v = ir_value(f->g, id);
  for (uint32_t i = 0; i < v->n_args; i++) view[i] = widened(f, view[i], &ir_value(f->g, v->args[i])->shape);
  flow_axes(f, id, x->axis);
}

static void one_cell_each(ProofFlow *f, const Value *v, const Abs *const *view, Abs *x) {
  for (int i = 0; i < v->shape.rank; i++) x->axis[i] = is_rows(v->shape.d[i]) ? f->rows : labels_one(&f->labels, v->shape.d[i]);
  abs_alloc(f, x, v->shape.rank);
  for (uint32_t c = 0; c < x->n_cells; c++)
    for (uint32_t i = 0; i < v->n_args; i++) {
      const ElemId e = view[i]->cell[view[i]->n_cells == x->n_cells ? c : 0];
      x->cell[c] = i ? elem_join(&f->elems, x->cell[c], e) : e;
    }
}

static void operation_table(ProofFlow *f, ValueId id, Abs *x) {
  const Value *v = ir_value(f->g, id);
  const Abs **view = ARENA_NEWS(f->arena, const Abs *, v->n_args);
  bool *keep = f->keep[id] = ARENA_NEWS(f->arena, bool, v->n_args);
  x->place = place_of(f, id, keep);
  for (uint32_t i = 0; i < v->n_args; i++) view[i] = keep[i] ? &f->abs[v->args[i]] : place_joined(f, v->args[i]);
  f->view = view;
  if (!flow_axes(f, id, x->axis) || too_fine(x->axis, v->shape.rank)) widen_args(f, id, view, x);
  if (v->op == OP_CONCAT && too_fine(x->axis, v->shape.rank)) {
    one_cell_each(f, v, view, x);
  } else {
    abs_alloc(f, x, v->shape.rank);
    for (uint32_t c = 0; c < x->n_cells; c++) {
      int64_t index[IR_MAX_RANK];
      abs_index_of(x, v->shape.rank, c, index);
      x->cell[c] = entry(f, id, index);
    }
  }
  f->view = NULL;
  for (int i = 0; i < v->shape.rank; i++) compact_axis(f, x, &v->shape, i);
}

static void value_table(ProofFlow *f, ValueId id) {
  const Value *v = ir_value(f->g, id);
  Abs *x = &f->abs[id];
  const ValueId same = f->same[id];
  if (same != id && f->abs[same].n_cells && !f->seed_of[id] && !f->seed_of[same]) { /* also a condition written twice */
    *x = f->abs[same];
    return;
  }
  if (f->cond_of[same]) condition_table(f, id, f->cond_of[same] - 1, x);
  else if (!v->n_args) leaf_table(f, id, x);
  else operation_table(f, id, x);
  if (f->is_cut[same])
    for (uint32_t c = 0; c < x->n_cells; c++) x->cell[c] = elem_without_content(&f->elems, x->cell[c]);
}

ProofFlow *flow_run(const Program *p, Arena *a, ProofView view) {
  ProofFlow *f = ARENA_NEW(a, ProofFlow);
  *f = (ProofFlow){.p = p, .g = p->step, .arena = a, .counts = view, .labels = {.arena = a}};
  const uint32_t n = f->g->n, n_kinds = p->n_kinds ? p->n_kinds : 1;
  elems_create(&f->elems, a, n_kinds, p->n_origins);
  f->abs = ARENA_NEWS(a, Abs, n), f->same = ARENA_NEWS(a, ValueId, n), f->cond_of = ARENA_NEWS(a, uint32_t, n);
  f->is_cut = ARENA_NEWS(a, bool, n), f->keep = ARENA_NEWS(a, bool *, n), f->seed_of = ARENA_NEWS(a, uint32_t, n);
  int32_t *kinds = ARENA_NEWS(a, int32_t, n_kinds);
  for (uint32_t k = 0; k < n_kinds; k++) kinds[k] = (int32_t)k;
  f->rows = labels_make(&f->labels, kinds, n_kinds, n_kinds);
  places_create(f);
  number_values(f);
  mark_values(f);
  const bool *live = live_values(f);
  for (ValueId v = 1; v < n; v++)
    if (live[v]) value_table(f, v);
  return f;
}
