/* SPDX-License-Identifier: Apache-2.0
 * random_graph.h -- random well-typed graphs over all operations, with inputs, for tests: the text form, the
 * checker, and compiled code against the interpreter.
 *
 * What makes a float computation comparable with the interpreter's double:
 *   - |value| <= bound[id], and bounds stay small: what grows is scaled down;
 *   - operations that jump (floor, sign, comparisons, argmax, casts to integers) get only arguments that are
 * exact in f32, so both sides jump at the same place; inputs are multiples of 1/8;
 *   - log, sqrt, div and pow get arguments away from 0. */
#ifndef ROUTEC_RANDOM_GRAPH_H
#define ROUTEC_RANDOM_GRAPH_H
#include "ops.h"
#include "program.h"
#include <math.h>
#include <string.h>

enum { RG_TABLE = 64, RG_SETS = 5 };

typedef struct RandomOptions {
  uint32_t n_ops;    /* operations to choose; helpers come on top */
  bool no_rows;      /* no ROWS axis, no column */
  bool no_adjtap;    /* no ADJTAP: the graph is one that the mask pass left */
  bool rows_lead;    /* ROWS only as axis 0 (else transposes and dots may move it) */
  int64_t max_elems; /* of a value at one row; 0: 2048 */
} RandomOptions;

/* GRID: multiples of 1/8 below 2^18. EXACT: the same number in f32 and in double. ROUGH: rounded in f32. */
typedef enum RandomGrade { RG_ROUGH, RG_EXACT, RG_GRID } RandomGrade;

typedef struct RandomNote {
  bool listed;
  double bound;
  RandomGrade grade;
  int64_t lo, hi; /* I32 */
} RandomNote;

typedef struct RandomGraph {
  Graph *g;
  Arena *arena;
  RandomOptions options;
  uint64_t state;
  RandomNote *note; /* [ValueId] */
  uint32_t cap_note;
  int64_t dims[4]; /* the extents that this graph is made of */
  uint32_t n_params, n_states[RG_TABLE], n_columns, n_scalars, n_taps;
  Shape param_shape[RG_TABLE], column_shape[RG_TABLE];
  Dtype column_dtype[RG_TABLE];
  int64_t column_lo[RG_TABLE], column_hi[RG_TABLE]; /* I32 columns */
} RandomGraph;

/* ---- numbers ------------------------------------------------------------------------------------ */
static inline uint64_t rg_next(uint64_t *state) { /* splitmix64 */
  uint64_t z = (*state += 0x9E3779B97F4A7C15u);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}
static inline int64_t rg_int(uint64_t *state, int64_t lo, int64_t hi) { /* closed */
  return lo + (int64_t)(rg_next(state) % (uint64_t)(hi - lo + 1));
}
static inline double rg_grid(uint64_t *state) { return (double)rg_int(state, -16, 16) / 8; }
static inline double rg_unit(uint64_t *state) { return (double)(rg_next(state) >> 11) * 0x1p-53; }

/* ---- the pool ----------------------------------------------------------------------------------- */
static inline bool rg_is_float(Dtype t) { return t == DT_F32 || t == DT_F64; }
static inline const Value *rg_v(const RandomGraph *r, ValueId id) { return &r->g->v[id]; }
static inline Shape rg_shape(const RandomGraph *r, ValueId id) { return r->g->v[id].shape; }

static inline RandomNote *rg_note(RandomGraph *r, ValueId id) {
  if (id >= r->cap_note) {
    uint32_t cap = 2 * id + 64;
    RandomNote *note = ARENA_NEWS(r->arena, RandomNote, cap);
    if (r->cap_note) memcpy(note, r->note, sizeof *note * r->cap_note);
    r->note = note, r->cap_note = cap;
  }
  return &r->note[id];
}

/* Enters a value; what may exceed 30 is scaled to 4, and that value is entered too and returned. */
static inline ValueId rg_enter(RandomGraph *r, ValueId id, double bound, RandomGrade grade) {
  *rg_note(r, id) = (RandomNote){
      .listed = true, .bound = bound, .grade = rg_is_float(rg_v(r, id)->dtype) ? grade : RG_GRID};
  if (!rg_is_float(rg_v(r, id)->dtype) || bound <= 30) return id;
  Shape s = rg_shape(r, id);
  ValueId factor = ir_const(r->g, (Span){0}, exp2(floor(log2(4 / bound))), &s, rg_v(r, id)->dtype);
  ValueId small = ir_bin(r->g, OP_MUL, id, factor);
  *rg_note(r, small) = (RandomNote){.listed = true, .bound = 4, .grade = RG_ROUGH};
  return small;
}
static inline ValueId rg_enter_int(RandomGraph *r, ValueId id, int64_t lo, int64_t hi) {
  *rg_note(r, id) = (RandomNote){.listed = true,
                                 .bound = fmax(fabs((double)lo), fabs((double)hi)),
                                 .grade = RG_GRID,
                                 .lo = lo,
                                 .hi = hi};
  return id;
}

typedef struct RandomWish {
  Dtype dtype; /* NONE: any */
  bool floats;
  const Shape *shape;
  int min_rank, max_rank;
  RandomGrade grade;
} RandomWish;

/* A random value of the pool that fulfils the wish, or 0. */
static inline ValueId rg_pick(RandomGraph *r, RandomWish w) {
  uint32_t n = r->g->n, at = (uint32_t)rg_int(&r->state, 0, n - 1);
  for (uint32_t i = 0; i < n; i++, at = (at + 1) % n) {
    const Value *v = rg_v(r, at);
    if (!at || !rg_note(r, at)->listed || v->phase > r->g->phase) continue;
    if (w.dtype != DT_NONE && v->dtype != w.dtype) continue;
    if (w.floats && !rg_is_float(v->dtype)) continue;
    if (w.shape && !shape_equal(w.shape, &v->shape)) continue;
    if (v->shape.rank < w.min_rank || v->shape.rank > (w.max_rank ? w.max_rank : IR_MAX_RANK)) continue;
    if (rg_note(r, at)->grade < w.grade) continue;
    return at;
  }
  return 0;
}

static inline bool rg_fits(const RandomGraph *r, const Shape *s) {
  int64_t n = shape_count(s, 1);
  return n > 0 && n <= (r->options.max_elems ? r->options.max_elems : 2048);
}

static inline Shape rg_new_shape(RandomGraph *r, bool rows, int lo_rank, int hi_rank) {
  Shape s;
  do {
    s = (Shape){.rank = (int32_t)rg_int(&r->state, lo_rank, hi_rank)};
    for (int32_t i = 0; i < s.rank; i++) s.d[i] = r->dims[rg_int(&r->state, 0, 3)];
    if (rows && s.rank) s.d[0] = DIM_ROWS;
  } while (!rg_fits(r, &s));
  return s;
}

/* ---- leaves ------------------------------------------------------------------------------------- */
static inline ValueId rg_leaf(RandomGraph *r, Op op, const int64_t *ints, uint32_t n_ints, const Shape *s,
                              Dtype t) {
  return ir_make(r->g, op, (Span){0}, NULL, 0, ints, n_ints, 0, s, t);
}

static inline ValueId rg_param(RandomGraph *r, const Shape *s) {
  if (r->n_params == RG_TABLE) return 0;
  int64_t k = r->n_params++;
  r->param_shape[k] = *s;
  return rg_enter(r, rg_leaf(r, OP_PARAM, &k, 1, s, DT_F32), 2, RG_GRID);
}

static inline ValueId rg_state(RandomGraph *r) {
  if (!r->n_params) return 0;
  int64_t p = rg_int(&r->state, 0, r->n_params - 1), k = r->n_states[p];
  if (k >= 2) return 0;
  r->n_states[p]++;
  Shape s = r->param_shape[p];
  return rg_enter(r, rg_leaf(r, OP_STATE, (int64_t[]){p, k}, 2, &s, DT_F32), 2, RG_GRID);
}

static inline ValueId rg_column(RandomGraph *r, const Shape *s, Dtype t) {
  if (r->n_columns == RG_TABLE || r->options.no_rows || !s->rank || s->d[0] != DIM_ROWS) return 0;
  int64_t k = r->n_columns++;
  r->column_shape[k] = *s, r->column_dtype[k] = t;
  r->column_lo[k] = t == DT_U8 ? 0 : rg_int(&r->state, -3, 0),
  r->column_hi[k] = t == DT_U8 ? 255 : rg_int(&r->state, 1, 9);
  ValueId id = rg_leaf(r, OP_COLUMN, &k, 1, s, t);
  return t == DT_F32 ? rg_enter(r, id, 2, RG_GRID) : rg_enter_int(r, id, r->column_lo[k], r->column_hi[k]);
}

static inline ValueId rg_const(RandomGraph *r, const Shape *s, Dtype t) {
  bool rows = false;
  for (int32_t i = 0; i < s->rank; i++) rows = rows || dim_is_rows(s->d[i]);
  int64_t n = rows ? 1 : shape_count(s, 0);
  double *data = ARENA_NEWS(r->arena, double, n);
  for (int64_t i = 0; i < n; i++)
    data[i] = rg_is_float(t) ? rg_grid(&r->state)
              : t == DT_BOOL ? (double)rg_int(&r->state, 0, 1)
                             : (double)rg_int(&r->state, t == DT_U8 ? 0 : -3, 9);
  bool splat = rows || rg_int(&r->state, 0, 1);
  ValueId id = splat ? ir_const(r->g, (Span){0}, data[0], s, t) : ir_const_data(r->g, (Span){0}, data, s, t);
  return rg_is_float(t) ? rg_enter(r, id, 2, RG_GRID)
                        : rg_enter_int(r, id, t == DT_BOOL || t == DT_U8 ? 0 : -3, t == DT_BOOL ? 1 : 9);
}

static inline ValueId rg_random(RandomGraph *r, const Shape *s) {
  int64_t stream = rg_int(&r->state, 0, 1000);
  return rg_enter(r, rg_leaf(r, OP_RANDOM, &stream, 1, s, DT_F32), 1, RG_EXACT);
}

/* A value of this shape and type, at least this exact: one that is there, or a new leaf. Never 0. */
static inline ValueId rg_match(RandomGraph *r, const Shape *s, Dtype t, RandomGrade grade) {
  ValueId id = 0;
  if (rg_int(&r->state, 0, 9) < 7) id = rg_pick(r, (RandomWish){.dtype = t, .shape = s, .grade = grade});
  if (!id && rg_int(&r->state, 0, 1) && (t == DT_F32 || t == DT_I32 || t == DT_U8)) id = rg_column(r, s, t);
  bool rows_later = false, rows = s->rank && dim_is_rows(s->d[0]);
  if (rows && s->d[0] != DIM_ROWS) rows_later = true; /* of a row set: made by RSLICE only */
  for (int32_t i = 1; i < s->rank; i++) rows_later = rows_later || dim_is_rows(s->d[i]);
  if (!id && t == DT_F32 && grade < RG_GRID && !rows_later && rg_int(&r->state, 0, 1)) id = rg_random(r, s);
  if (!id && t == DT_F32 && !rows && !rows_later && rg_int(&r->state, 0, 1)) id = rg_param(r, s);
  return id ? id : rg_const(r, s, t);
}

/* ---- arguments of a kind ------------------------------------------------------------------------ */
static inline double rg_bound(RandomGraph *r, ValueId id) { return rg_note(r, id)->bound; }

static inline ValueId rg_float(RandomGraph *r, int min_rank, int max_rank, RandomGrade grade) {
  ValueId id =
      rg_pick(r, (RandomWish){.floats = true, .min_rank = min_rank, .max_rank = max_rank, .grade = grade});
  if (id) return id;
  Shape s = rg_new_shape(r, !r->options.no_rows && rg_int(&r->state, 0, 1), min_rank > 4 ? 4 : min_rank,
                         3 > min_rank ? 3 : min_rank);
  return rg_const(r, &s, DT_F32);
}

/* x scaled so that |x| <= 2. */
static inline ValueId rg_tame(RandomGraph *r, ValueId x) {
  double b = rg_bound(r, x);
  if (b <= 2) return x;
  Shape s = rg_shape(r, x);
  ValueId factor = ir_const(r->g, (Span){0}, exp2(floor(log2(2 / b))), &s, rg_v(r, x)->dtype);
  return rg_enter(r, ir_bin(r->g, OP_MUL, x, factor), 2, RG_ROUGH);
}
/* Between 0.5 and 4.5, made of x. */
static inline ValueId rg_positive(RandomGraph *r, ValueId x) {
  x = rg_tame(r, x);
  Shape s = rg_shape(r, x);
  ValueId shift = ir_const(r->g, (Span){0}, 2.5, &s, rg_v(r, x)->dtype);
  return rg_enter(r, ir_bin(r->g, OP_ADD, x, shift), 4.5,
                  rg_note(r, x)->grade == RG_GRID ? RG_GRID : RG_ROUGH);
}
/* An i32 value between 0 and n - 1, made of any that is there. */
static inline ValueId rg_index(RandomGraph *r, int max_rank, int64_t n) {
  ValueId i = rg_pick(r, (RandomWish){.dtype = DT_I32, .max_rank = max_rank});
  if (!i) {
    Shape s = rg_new_shape(r, !r->options.no_rows, 1, 1);
    i = rg_match(r, &s, DT_I32, RG_GRID);
  }
  Shape s = rg_shape(r, i);
  if (rg_note(r, i)->lo < 0) {
    int64_t hi = rg_note(r, i)->hi;
    ValueId zero = ir_const(r->g, (Span){0}, 0, &s, DT_I32);
    i = rg_enter_int(r, ir_bin(r->g, OP_MAX, i, zero), 0, hi < 0 ? 0 : hi);
  }
  if (rg_note(r, i)->hi >= n) {
    ValueId top = ir_const(r->g, (Span){0}, (double)(n - 1), &s, DT_I32);
    i = rg_enter_int(r, ir_bin(r->g, OP_MIN, i, top), 0, n - 1);
  }
  return i;
}

/* ---- one random operation of each kind ---------------------------------------------------------- */
static inline ValueId rg_unary(RandomGraph *r, Op op) {
  bool jumps = op == OP_SIGN || op == OP_FLOOR;
  ValueId x = rg_float(r, 0, 0, jumps ? RG_EXACT : RG_ROUGH);
  if (op == OP_LOG || op == OP_SQRT) x = rg_positive(r, x);
  bool bends = op >= OP_EXP && op <= OP_COS && op != OP_LOG && op != OP_SQRT && op != OP_RELU;
  if (bends) x = rg_tame(r, x);
  double b = rg_bound(r, x);
  RandomGrade grade = rg_note(r, x)->grade;
  ValueId y = ir_un(r->g, op, x);
  switch (op) {
  case OP_NEG:
  case OP_ABS:
  case OP_RELU: return rg_enter(r, y, b, grade);
  case OP_SIGN: return rg_enter(r, y, 1, RG_GRID);
  case OP_FLOOR: return rg_enter(r, y, b + 1, RG_GRID);
  case OP_EXP: return rg_enter(r, y, 8, RG_ROUGH);
  case OP_LOG:
  case OP_SQRT:
  case OP_SOFTPLUS: return rg_enter(r, y, 2.2, RG_ROUGH);
  default: return rg_enter(r, y, 1, RG_ROUGH);
  }
}

static inline ValueId rg_int_arith(RandomGraph *r, Op op) {
  ValueId a = rg_pick(r, (RandomWish){.dtype = DT_I32});
  if (!a) return 0;
  Shape s = rg_shape(r, a);
  ValueId b = rg_match(r, &s, DT_I32, RG_GRID);
  RandomNote x = *rg_note(r, a), y = *rg_note(r, b);
  if (x.bound > 3000 || y.bound > 3000) return 0;
  ValueId id = ir_bin(r->g, op, a, b);
  double top = op == OP_MUL ? x.bound * y.bound : x.bound + y.bound;
  if (op == OP_MIN) return rg_enter_int(r, id, x.lo < y.lo ? x.lo : y.lo, x.hi < y.hi ? x.hi : y.hi);
  if (op == OP_MAX) return rg_enter_int(r, id, x.lo > y.lo ? x.lo : y.lo, x.hi > y.hi ? x.hi : y.hi);
  return rg_enter_int(r, id, -(int64_t)top, (int64_t)top);
}

static inline ValueId rg_binary(RandomGraph *r, Op op) {
  if (op != OP_DIV && op != OP_POW && rg_int(&r->state, 0, 4) == 0) return rg_int_arith(r, op);
  ValueId a = rg_float(r, 0, 0, RG_ROUGH);
  Shape s = rg_shape(r, a);
  ValueId b = rg_match(r, &s, rg_v(r, a)->dtype, RG_ROUGH);
  if (op == OP_DIV) b = rg_positive(r, b);
  if (op == OP_POW) a = rg_positive(r, a), b = rg_tame(r, b);
  double x = rg_bound(r, a), y = rg_bound(r, b);
  bool grid = rg_note(r, a)->grade == RG_GRID && rg_note(r, b)->grade == RG_GRID;
  bool exact = rg_note(r, a)->grade && rg_note(r, b)->grade;
  ValueId id = ir_bin(r->g, op, a, b);
  switch (op) {
  case OP_ADD:
  case OP_SUB: return rg_enter(r, id, x + y, grid ? RG_GRID : RG_ROUGH);
  case OP_MIN:
  case OP_MAX: return rg_enter(r, id, fmax(x, y), grid ? RG_GRID : exact ? RG_EXACT : RG_ROUGH);
  case OP_MUL: return rg_enter(r, id, x * y, RG_ROUGH);
  case OP_DIV: return rg_enter(r, id, 2 * x, RG_ROUGH);
  default: return rg_enter(r, id, 20.25, RG_ROUGH);
  }
}

static inline ValueId rg_compare(RandomGraph *r, Op op) {
  ValueId a = rg_pick(r, (RandomWish){.grade = RG_EXACT});
  if (!a) return 0;
  Shape s = rg_shape(r, a);
  ValueId b = rg_match(r, &s, rg_v(r, a)->dtype, RG_EXACT);
  return rg_enter_int(r, ir_bin(r->g, op, a, b), 0, 1);
}

static inline ValueId rg_logic(RandomGraph *r, Op op) {
  ValueId a = rg_pick(r, (RandomWish){.dtype = DT_BOOL});
  if (!a) return 0;
  Shape s = rg_shape(r, a);
  if (op == OP_NOT) return rg_enter_int(r, ir_un(r->g, op, a), 0, 1);
  ValueId b = rg_match(r, &s, DT_BOOL, RG_GRID);
  return rg_enter_int(r, ir_bin(r->g, op, a, b), 0, 1);
}

static inline ValueId rg_cast(RandomGraph *r) {
  static const Dtype to[] = {DT_F32, DT_I32, DT_BOOL, DT_F64};
  Dtype t = to[rg_int(&r->state, 0, 3)];
  bool exact_only = t == DT_I32 || t == DT_BOOL;
  ValueId a = rg_pick(r, (RandomWish){.grade = exact_only ? RG_EXACT : RG_ROUGH, .max_rank = 0});
  if (!a || rg_v(r, a)->dtype == t || (t == DT_F64 && rg_shape(r, a).rank)) return 0;
  RandomNote note = *rg_note(r, a);
  bool from_float = rg_is_float(rg_v(r, a)->dtype);
  ValueId id = ir_cast(r->g, a, t);
  if (t == DT_BOOL) return rg_enter_int(r, id, 0, 1);
  if (t == DT_I32)
    return from_float ? rg_enter_int(r, id, -(int64_t)note.bound - 1, (int64_t)note.bound + 1)
                      : rg_enter_int(r, id, note.lo, note.hi);
  return rg_enter(r, id, note.bound, from_float ? note.grade : note.bound < 1e5 ? RG_GRID : RG_ROUGH);
}

static inline ValueId rg_identity(RandomGraph *r, Op op) {
  ValueId x = op == OP_STOP ? rg_pick(r, (RandomWish){0}) : rg_float(r, 0, 0, RG_ROUGH);
  if (!x || (op == OP_ADJTAP && (r->options.no_adjtap || r->g->phase != PHASE_ADJOINT))) return 0;
  int64_t tap = op == OP_TAP ? r->n_taps++ : rg_int(&r->state, 0, r->n_taps);
  RandomNote note = *rg_note(r, x);
  ValueId y = ir_make(r->g, op, (Span){0}, &x, 1, &tap, op != OP_STOP, 0, NULL, DT_NONE);
  if (op == OP_ADJTAP) r->g->v[y].origins = 1 + (rg_next(&r->state) & 7);
  *rg_note(r, y) = note;
  return y;
}

static inline ValueId rg_mask(RandomGraph *r) {
  ValueId x = rg_float(r, 0, 0, RG_ROUGH);
  Shape s = rg_shape(r, x);
  ValueId f;
  if (rg_int(&r->state, 0, 1)) {
    f = rg_match(r, &s, rg_v(r, x)->dtype, RG_GRID);
  } else { /* zeros and ones */
    ValueId c = rg_match(r, &s, DT_BOOL, RG_GRID);
    f = rg_enter(r, ir_cast(r->g, c, rg_v(r, x)->dtype), 1, RG_GRID);
  }
  double b = rg_bound(r, x) * rg_bound(r, f);
  return rg_enter(r, ir_bin(r->g, OP_MASK, x, f), b, RG_ROUGH);
}

static inline ValueId rg_where(RandomGraph *r) {
  ValueId a = rg_pick(r, (RandomWish){0});
  if (!a) return 0;
  Shape s = rg_shape(r, a);
  ValueId b = rg_match(r, &s, rg_v(r, a)->dtype, RG_ROUGH);
  ValueId c = rg_match(r, &s, DT_BOOL, RG_GRID);
  RandomNote x = *rg_note(r, a), y = *rg_note(r, b);
  ValueId id = ir_where(r->g, c, a, b);
  if (!rg_is_float(rg_v(r, a)->dtype))
    return rg_enter_int(r, id, x.lo < y.lo ? x.lo : y.lo, x.hi > y.hi ? x.hi : y.hi);
  return rg_enter(r, id, fmax(x.bound, y.bound), x.grade < y.grade ? x.grade : y.grade);
}

/* Views pass on what is known of their argument; those that fill with zeros widen an integer's range. */
static inline ValueId rg_view_of(RandomGraph *r, Op op, ValueId x, const int64_t *ints, uint32_t n_ints,
                                 const Shape *s) {
  RandomNote note = *rg_note(r, x);
  if (s && !rg_fits(r, s)) return 0;
  ValueId id = ir_make(r->g, op, (Span){0}, &x, 1, ints, n_ints, 0, s, DT_NONE);
  if (note.lo > 0) note.lo = 0;
  if (note.hi < 0) note.hi = 0;
  *rg_note(r, id) = note;
  return id;
}

static inline ValueId rg_bcast(RandomGraph *r) {
  ValueId x = rg_pick(r, (RandomWish){.max_rank = 3});
  if (!x || rg_v(r, x)->dtype == DT_F64) return 0;
  Shape from = rg_shape(r, x), to = {0};
  int64_t map[IR_MAX_RANK];
  bool rows = r->options.no_rows;
  for (int32_t i = 0; i < from.rank; i++) rows = rows || dim_is_rows(from.d[i]);
  for (int32_t next = 0; next < from.rank || to.rank == 0 || (to.rank < 4 && rg_int(&r->state, 0, 1));) {
    bool fresh = next == from.rank || (to.rank + from.rank - next < 4 && rg_int(&r->state, 0, 2) == 0);
    map[to.rank] = fresh ? -1 : next;
    bool add_rows = fresh && !rows && to.rank == 0 && rg_int(&r->state, 0, 1);
    rows = rows || add_rows;
    to.d[to.rank++] = add_rows ? DIM_ROWS : fresh ? r->dims[rg_int(&r->state, 0, 3)] : from.d[next++];
  }
  return rg_view_of(r, OP_BCAST, x, map, (uint32_t)to.rank, &to);
}

static inline ValueId rg_reshape(RandomGraph *r) {
  ValueId x = rg_pick(r, (RandomWish){.dtype = DT_NONE, .max_rank = 5});
  if (!x || rg_v(r, x)->dtype == DT_F64) return 0;
  Shape from = rg_shape(r, x), to = {0};
  bool rows = from.rank && dim_is_rows(from.d[0]);
  for (int32_t i = 1; i < from.rank; i++)
    if (dim_is_rows(from.d[i])) return 0;
  int64_t n = shape_count(&from, 1);
  if (rows) to.d[to.rank++] = from.d[0];
  for (int64_t p = 2; p <= n && to.rank < 5; p++) /* factors in random groups */
    while (n % p == 0 && to.rank < 5) {
      if (to.rank > rows && rg_int(&r->state, 0, 1)) to.d[to.rank - 1] *= p;
      else to.d[to.rank++] = p;
      n /= p;
    }
  if (n > 1 || rg_int(&r->state, 0, 3) == 0) to.d[to.rank++] = n;
  return rg_view_of(r, OP_RESHAPE, x, NULL, 0, &to);
}

static inline ValueId rg_transpose(RandomGraph *r) {
  ValueId x = rg_pick(r, (RandomWish){.min_rank = 2});
  if (!x) return 0;
  int64_t perm[IR_MAX_RANK];
  int32_t rank = rg_shape(r, x).rank;
  for (int32_t i = 0; i < rank; i++) {
    int64_t j = rg_int(&r->state, 0, i);
    perm[i] = perm[j], perm[j] = i;
  }
  return rg_view_of(r, OP_TRANSPOSE, x, perm, (uint32_t)rank, NULL);
}

static inline ValueId rg_cut(RandomGraph *r, Op op) {
  ValueId x = rg_pick(r, (RandomWish){.min_rank = 1});
  if (!x) return 0;
  Shape s = rg_shape(r, x);
  int64_t axis = rg_int(&r->state, 0, s.rank - 1), n = s.d[axis], ints[40] = {axis};
  if (dim_is_rows(n)) return 0;
  int64_t start = rg_int(&r->state, 0, op == OP_SLICE ? n - 1 : 2), step = rg_int(&r->state, 1, 3);
  if (op == OP_SLICE || op == OP_PAD) {
    s.d[axis] = op == OP_SLICE ? rg_int(&r->state, 1, (n - 1 - start) / step + 1)
                               : start + step * (n - 1) + 1 + rg_int(&r->state, 0, 3);
    return rg_view_of(r, op, x, (int64_t[]){axis, start, step}, 3, &s);
  }
  if (op == OP_TAKE) {
    int64_t len = rg_int(&r->state, 1, n < 30 ? n + 2 : 32);
    for (int64_t i = 0; i < len; i++) ints[1 + i] = rg_int(&r->state, 0, n - 1);
    s.d[axis] = len;
    return rg_fits(r, &s) ? rg_view_of(r, op, x, ints, (uint32_t)len + 1, NULL) : 0;
  }
  if (n > 32) return 0;
  int64_t m = n + rg_int(&r->state, 0, 3), all[40];
  for (int64_t i = 0; i < m; i++) {
    int64_t j = rg_int(&r->state, 0, i);
    all[i] = all[j], all[j] = i;
  }
  memcpy(ints + 1, all, sizeof all[0] * (size_t)n);
  s.d[axis] = m;
  return rg_view_of(r, OP_PUT, x, ints, (uint32_t)n + 1, &s);
}

static inline ValueId rg_concat(RandomGraph *r) {
  ValueId args[4] = {rg_pick(r, (RandomWish){.min_rank = 1})};
  if (!args[0]) return 0;
  Shape s = rg_shape(r, args[0]);
  Dtype t = rg_v(r, args[0])->dtype;
  int64_t axis = rg_int(&r->state, 0, s.rank - 1), total = s.d[axis];
  if (dim_is_rows(total)) return 0;
  uint32_t n = (uint32_t)rg_int(&r->state, 1, 4);
  RandomNote all = *rg_note(r, args[0]);
  for (uint32_t i = 1; i < n; i++) {
    Shape part = s;
    if (rg_int(&r->state, 0, 1)) part.d[axis] = rg_int(&r->state, 1, 5);
    args[i] = rg_match(r, &part, t, RG_ROUGH);
    total += part.d[axis];
    RandomNote note = *rg_note(r, args[i]);
    if (note.grade < all.grade) all.grade = note.grade;
    if (note.bound > all.bound) all.bound = note.bound;
    if (note.lo < all.lo) all.lo = note.lo;
    if (note.hi > all.hi) all.hi = note.hi;
  }
  s.d[axis] = total;
  if (!rg_fits(r, &s)) return 0;
  ValueId id = ir_make(r->g, OP_CONCAT, (Span){0}, args, n, &axis, 1, 0, NULL, DT_NONE);
  *rg_note(r, id) = all;
  return id;
}

/* The rows of a row set. */
static inline ValueId rg_rslice(RandomGraph *r) {
  ValueId x = rg_pick(r, (RandomWish){.min_rank = 1});
  for (int tries = 0; x && tries < 8; tries++) {
    for (int32_t i = 0; i < rg_v(r, x)->shape.rank; i++)
      if (rg_v(r, x)->shape.d[i] == DIM_ROWS) {
        int64_t set = rg_int(&r->state, 1, RG_SETS - 1);
        return rg_view_of(r, OP_RSLICE, x, &set, 1, NULL);
      }
    x = rg_pick(r, (RandomWish){.min_rank = 1});
  }
  return 0;
}

/* A window of an image; for OP_FOLD the windows are added up again. */
static inline ValueId rg_unfold(RandomGraph *r, Op op) {
  Shape image = shape_of(4, r->options.no_rows ? 2 : DIM_ROWS, rg_int(&r->state, 1, 3),
                         rg_int(&r->state, 3, 7), rg_int(&r->state, 3, 7));
  ValueId x = rg_pick(r, (RandomWish){.dtype = DT_F32, .min_rank = 4, .max_rank = 4});
  Shape s = x ? rg_shape(r, x) : image;
  for (int i = 1; i < 4; i++)
    if (dim_is_rows(s.d[i])) x = 0;
  if (!x) s = image, x = rg_match(r, &image, DT_F32, RG_ROUGH);
  int64_t p[8];
  for (int k = 0; k < 2; k++) {
    int64_t n = s.d[2 + k];
    p[k] = rg_int(&r->state, 1, n < 3 ? n : 3), p[2 + k] = rg_int(&r->state, 1, 3),
    p[4 + k] = rg_int(&r->state, 0, 2), p[6 + k] = rg_int(&r->state, 1, 2);
    if (p[6 + k] * (p[k] - 1) + 1 > n + 2 * p[4 + k]) p[6 + k] = 1;
  }
  OpUse u = {.g = r->g, .arena = r->arena, .op = OP_UNFOLD, .args = &x, .n_args = 1, .ints = p, .n_ints = 8};
  if (op_check(&u) || !rg_fits(r, &u.out)) return 0;
  ValueId cols = rg_view_of(r, OP_UNFOLD, x, p, 8, NULL);
  if (op == OP_UNFOLD) return cols;
  RandomNote note = *rg_note(r, cols);
  ValueId id = ir_make(r->g, OP_FOLD, (Span){0}, &cols, 1, p, 8, 0, &s, DT_NONE);
  return rg_enter(r, id, note.bound * (double)(p[0] * p[1]), note.grade == RG_GRID ? RG_GRID : RG_ROUGH);
}

static inline ValueId rg_reduce(RandomGraph *r, Op op) {
  ValueId x = rg_float(r, 1, 0, op == OP_ARGMAX ? RG_EXACT : RG_ROUGH);
  Shape s = rg_shape(r, x);
  RandomNote note = *rg_note(r, x);
  int64_t axes[IR_MAX_RANK], count = 1;
  uint32_t n = 0;
  for (int32_t i = 0; i < s.rank; i++)
    if (rg_int(&r->state, 0, 1) && !(op == OP_ARGMAX && n)) axes[n++] = i;
  if (!n) axes[n++] = s.rank - 1;
  for (uint32_t k = 0; op == OP_AMAX && k < n; k++) /* of an empty row set it is infinite */
    if (dim_is_rows(s.d[axes[k]]) && s.d[axes[k]] != DIM_ROWS) return 0;
  for (uint32_t k = 0; k < n; k++) count *= dim_is_rows(s.d[axes[k]]) ? 64 : s.d[axes[k]];
  ValueId id = ir_reduce(r->g, op, x, axes, n);
  if (op == OP_ARGMAX) return rg_enter_int(r, id, 0, count - 1);
  if (op == OP_AMAX) return rg_enter(r, id, note.bound, note.grade);
  bool grid = note.grade == RG_GRID && note.bound * (double)count < 1e5;
  return rg_enter(r, id, note.bound * (double)count, grid ? RG_GRID : RG_ROUGH);
}

/* A second argument is made to fit the first: some of its axes as batch, some contracted, some new. */
static inline ValueId rg_dot(RandomGraph *r) {
  ValueId a = rg_pick(r, (RandomWish){.dtype = DT_F32, .max_rank = 4});
  if (!a) return 0;
  Shape sa = rg_shape(r, a), sb = {0};
  int64_t ba[4], bb[4], ca[4], cb[4], from[IR_MAX_RANK],
      k = 1; /* from[i]: axis of a that axis i of b is, or -1 */
  uint32_t nb = 0, nc = 0;
  for (int32_t i = 0; i < sa.rank; i++) {
    if (rg_int(&r->state, 0, 2) == 0) continue;
    from[sb.rank] = i, sb.d[sb.rank++] = sa.d[i];
  }
  if (sb.rank < 4) from[sb.rank] = -1, sb.d[sb.rank++] = r->dims[rg_int(&r->state, 0, 3)];
  for (int32_t i = sb.rank - 1; i > 0; i--) { /* shuffle, but a datum axis leads */
    int64_t j = rg_int(&r->state, 0, i), d = sb.d[i], f = from[i];
    sb.d[i] = sb.d[j], from[i] = from[j], sb.d[j] = d, from[j] = f;
  }
  for (int32_t i = 1; i < sb.rank; i++)
    if (dim_is_rows(sb.d[i])) {
      int64_t f = from[i];
      int64_t d = sb.d[i];
      sb.d[i] = sb.d[0], from[i] = from[0], sb.d[0] = d, from[0] = f;
    }
  for (int32_t i = 0; i < sb.rank; i++) {
    if (from[i] < 0) continue;
    if (rg_int(&r->state, 0, 2) == 0) ba[nb] = from[i], bb[nb++] = i;
    else ca[nc] = from[i], cb[nc++] = i, k *= dim_is_rows(sb.d[i]) ? 64 : sb.d[i];
  }
  if (!rg_fits(r, &sb)) return 0;
  ValueId b = rg_match(r, &sb, DT_F32, RG_ROUGH);
  int64_t ints[18] = {nb, nc};
  for (uint32_t i = 0; i < nb; i++) ints[2 + i] = ba[i], ints[2 + nb + i] = bb[i];
  for (uint32_t i = 0; i < nc; i++) ints[2 + 2 * nb + i] = ca[i], ints[2 + 2 * nb + nc + i] = cb[i];
  OpUse u = {.g = r->g,
             .arena = r->arena,
             .op = OP_DOT,
             .args = (ValueId[]){a, b},
             .n_args = 2,
             .ints = ints,
             .n_ints = 2 + 2 * nb + 2 * nc};
  if (op_check(&u) || !rg_fits(r, &u.out)) return 0;
  double bound = rg_bound(r, a) * rg_bound(r, b) * (double)k;
  return rg_enter(r, ir_dot(r->g, a, b, ba, bb, nb, ca, cb, nc), bound, RG_ROUGH);
}

static inline ValueId rg_gather(RandomGraph *r, Op op) {
  ValueId table =
      op == OP_GATHER ? rg_pick(r, (RandomWish){.dtype = DT_NONE, .min_rank = 1, .max_rank = 3}) : 0;
  Shape s = table ? rg_shape(r, table) : rg_new_shape(r, false, 1, 2);
  if (dim_is_rows(s.d[0])) return 0;
  ValueId idx = rg_index(r, 2, s.d[0]);
  Shape rows = rg_shape(r, idx);
  if (rows.rank > 2) return 0;
  for (int32_t i = 1; i < s.rank; i++) {
    for (int32_t k = 0; k < rows.rank && dim_is_rows(s.d[i]); k++)
      if (dim_is_rows(rows.d[k])) return 0;
  }
  for (int32_t i = 1; i < s.rank; i++) rows.d[rows.rank++] = s.d[i];
  if (!rg_fits(r, &rows)) return 0;
  if (op == OP_GATHER) {
    RandomNote note = *rg_note(r, table);
    ValueId id = ir_make(r->g, OP_GATHER, (Span){0}, (ValueId[]){table, idx}, 2, NULL, 0, 0, NULL, DT_NONE);
    *rg_note(r, id) = note;
    return id;
  }
  ValueId dy = rg_match(r, &rows, DT_F32, RG_ROUGH);
  Shape of_idx = rg_shape(r, idx);
  RandomNote note = *rg_note(r, dy);
  ValueId id = ir_make(r->g, OP_SCATTER, (Span){0}, (ValueId[]){dy, idx}, 2, NULL, 0, 0, &s, DT_NONE);
  return rg_enter(r, id, note.bound * (double)shape_count(&of_idx, 64),
                  note.grade == RG_GRID ? RG_GRID : RG_ROUGH);
}

static inline ValueId rg_new_leaf(RandomGraph *r, Op op) {
  bool rows = !r->options.no_rows && rg_int(&r->state, 0, 1);
  Shape s = rg_new_shape(r, rows, rows ? 1 : 0, 3);
  static const Dtype types[] = {DT_F32, DT_I32, DT_BOOL, DT_U8, DT_F64};
  int64_t k;
  switch (op) {
  case OP_COLUMN: return rg_column(r, &s, (Dtype[]){DT_F32, DT_I32, DT_U8}[rg_int(&r->state, 0, 2)]);
  case OP_PARAM: return rows ? 0 : rg_param(r, &s);
  case OP_STATE: return rg_state(r);
  case OP_CONST: {
    Dtype t = types[rg_int(&r->state, 0, 4)];
    if (t == DT_F64) s.rank = 0;
    return rg_const(r, &s, t);
  }
  case OP_RANDOM: return rg_random(r, &s);
  case OP_SCALAR:
    if (r->n_scalars == RG_TABLE) return 0;
    k = r->n_scalars++;
    return rg_enter(r, rg_leaf(r, op, &k, 1, NULL, DT_NONE), 2, RG_GRID);
  case OP_CLOCK:
    k = rg_int(&r->state, CLOCK_ROWS, CLOCK_STEPS_PER_EPOCH);
    return rg_enter(r, rg_leaf(r, op, &k, 1, NULL, DT_NONE), 1000, RG_GRID);
  case OP_IOTA:
    if (!s.rank) return 0;
    k = rg_int(&r->state, 0, s.rank - 1);
    return rg_enter_int(r, rg_leaf(r, op, &k, 1, &s, DT_NONE), 0, dim_is_rows(s.d[k]) ? 63 : s.d[k] - 1);
  default: return r->options.no_rows ? 0 : rg_enter_int(r, rg_leaf(r, op, NULL, 0, NULL, DT_NONE), 0, 999);
  }
}

static inline ValueId rg_step(RandomGraph *r, Op op) {
  if (op_class(op) == OPC_LEAF) return rg_new_leaf(r, op);
  switch (op) {
  case OP_NOT:
  case OP_AND:
  case OP_OR: return rg_logic(r, op);
  case OP_CAST: return rg_cast(r);
  case OP_STOP:
  case OP_TAP:
  case OP_ADJTAP: return rg_identity(r, op);
  case OP_LT:
  case OP_LE:
  case OP_EQ:
  case OP_NE: return rg_compare(r, op);
  case OP_MASK: return rg_mask(r);
  case OP_WHERE: return rg_where(r);
  case OP_BCAST: return rg_bcast(r);
  case OP_RESHAPE: return rg_reshape(r);
  case OP_TRANSPOSE: return rg_transpose(r);
  case OP_SLICE:
  case OP_PAD:
  case OP_TAKE:
  case OP_PUT: return rg_cut(r, op);
  case OP_CONCAT: return rg_concat(r);
  case OP_RSLICE: return rg_rslice(r);
  case OP_UNFOLD:
  case OP_FOLD: return rg_unfold(r, op);
  case OP_SUM:
  case OP_AMAX:
  case OP_ARGMAX: return rg_reduce(r, op);
  case OP_DOT: return rg_dot(r);
  case OP_GATHER:
  case OP_SCATTER: return rg_gather(r, op);
  default: return op_info(op)->n_args == 1 ? rg_unary(r, op) : rg_binary(r, op);
  }
}

/* Takes the values from `first` on back. Their table entries stay, unread. */
static inline void rg_drop(RandomGraph *r, ValueId first) {
  for (ValueId id = first; id < r->g->n; id++) rg_note(r, id)->listed = false;
  r->g->n = first;
}

/* Every computed value that nobody reads is a ROOT_KEEP (f64 through a cast to f32), and some others too. */
static inline void rg_roots(RandomGraph *r) {
  uint32_t n = r->g->n, next = 0;
  bool *read = ARENA_NEWS(r->arena, bool, n);
  for (ValueId id = 1; id < n; id++)
    for (uint32_t k = 0; k < rg_v(r, id)->n_args; k++) read[rg_v(r, id)->args[k]] = true;
  for (ValueId id = 1; id < n; id++) {
    if (op_class(rg_v(r, id)->op) == OPC_LEAF || (read[id] && rg_int(&r->state, 0, 7))) continue;
    ValueId kept = id;
    if (rg_v(r, id)->dtype == DT_F64) {
      RandomNote note = *rg_note(r, id);
      kept = ir_cast(r->g, id, DT_F32);
      *rg_note(r, kept) = note;
    }
    graph_root(r->g, ROOT_KEEP, next++, 0, kept);
  }
}

/* A random graph. Deterministic in seed and options. bounds hold for inputs of random_input with at most 64
 * rows. */
static inline RandomGraph *random_graph(Arena *a, uint64_t seed, RandomOptions options) {
  static const int64_t extents[] = {1, 2, 3, 4, 5, 7, 8, 11, 13, 16, 17, 19};
  RandomGraph *r = ARENA_NEW(a, RandomGraph);
  *r = (RandomGraph){.arena = a, .options = options, .state = seed * 0x9E3779B97F4A7C15u + 1};
  r->g = graph_create(a, arena_printf(a, "random %llu", (unsigned long long)seed));
  for (int i = 0; i < 4; i++) r->dims[i] = extents[rg_int(&r->state, 0, 11)];
  Shape s = rg_new_shape(r, !options.no_rows, 1, 3), p = rg_new_shape(r, false, 1, 2);
  rg_match(r, &s, DT_F32, RG_ROUGH);
  rg_param(r, &p);
  rg_match(r, &s, DT_BOOL, RG_GRID);
  rg_match(r, &s, DT_I32, RG_GRID);
  for (uint32_t made = 0, tries = 0; made < options.n_ops && tries < 20 * options.n_ops; tries++) {
    if (2 * made >= options.n_ops) r->g->phase = PHASE_ADJOINT;
    ValueId before = r->g->n;
    bool ok = rg_step(r, (Op)rg_int(&r->state, 1, OP_CALL - 1)) != 0;
    for (ValueId id = before; id < r->g->n; id++)
      for (int32_t i = 1; i < rg_v(r, id)->shape.rank; i++)
        if (options.rows_lead && dim_is_rows(rg_v(r, id)->shape.d[i])) rg_drop(r, before), ok = false;
    made += ok;
    if (r->g->n > before && rg_int(&r->state, 0, 3) == 0)
      r->g->v[r->g->n - 1].name = arena_printf(a, "part%d.v%u", (int)rg_int(&r->state, 0, 9), r->g->n - 1);
  }
  rg_roots(r);
  return r;
}

/* ---- inputs ------------------------------------------------------------------------------------- */
static inline const double *rg_grid_data(Arena *a, uint64_t *state, int64_t n) {
  double *x = ARENA_NEWS(a, double, n ? n : 1);
  for (int64_t i = 0; i < n; i++) x[i] = rg_grid(state);
  return x;
}

/* All rows, none of them, and others, as the seed has it. */
static inline const int64_t (*rg_sets(Arena *a, uint64_t *state, int64_t rows))[2] {
  int64_t(*sets)[2] = arena_alloc(a, RG_SETS * sizeof *sets);
  for (int k = 0; k < RG_SETS; k++) {
    sets[k][0] = k ? rg_int(state, 0, rows) : 0;
    sets[k][1] = k ? rg_int(state, 0, rows - sets[k][0]) : rows;
  }
  int64_t k = rg_int(state, 1, RG_SETS - 1);
  if (rg_int(state, 0, 1)) sets[k][0] = 0, sets[k][1] = rows;
  else sets[k][1] = 0;
  return sets;
}

/* Inputs of a random graph: floats are multiples of 1/8 in [-2,2], integers lie in their column's range. rows
 * <= 64. */
static inline EvalInput random_input(Arena *a, const RandomGraph *r, int64_t rows, uint64_t seed) {
  uint64_t state = seed ^ 0xA5A5A5A5u;
  const double **params = ARENA_NEWS(a, const double *, RG_TABLE),
               **columns = ARENA_NEWS(a, const double *, RG_TABLE);
  const double *const **states = ARENA_NEWS(a, const double *const *, RG_TABLE);
  for (uint32_t p = 0; p < r->n_params; p++) {
    int64_t n = shape_count(&r->param_shape[p], 0);
    const double **k = ARENA_NEWS(a, const double *, 2);
    params[p] = rg_grid_data(a, &state, n);
    for (int i = 0; i < 2; i++) k[i] = rg_grid_data(a, &state, n);
    states[p] = k;
  }
  for (uint32_t c = 0; c < r->n_columns; c++) {
    int64_t n = shape_count(&r->column_shape[c], rows);
    double *x = ARENA_NEWS(a, double, n ? n : 1);
    for (int64_t i = 0; i < n; i++)
      x[i] = r->column_dtype[c] == DT_F32 ? rg_grid(&state)
                                          : (double)rg_int(&state, r->column_lo[c], r->column_hi[c]);
    columns[c] = x;
  }
  int32_t *datum = ARENA_NEWS(a, int32_t, rows ? rows : 1);
  for (int64_t i = 0; i < rows; i++) datum[i] = (int32_t)(i * 13 % 991 + rg_int(&state, 0, 8)) % 1000;
  return (EvalInput){.rows = rows,
                     .params = params,
                     .states = states,
                     .columns = columns,
                     .datum = datum,
                     .sets = rg_sets(a, &state, rows),
                     .scalars = rg_grid_data(a, &state, RG_TABLE),
                     .step = (double)rg_int(&state, 0, 500),
                     .total_steps = 1000,
                     .steps_per_epoch = 50,
                     .seed = rg_next(&state)};
}

/* The tables of a Program that has the graph as its training step; enough for planning and emission. */
static inline Program *random_program(Arena *a, const RandomGraph *r) {
  Program *p = ARENA_NEW(a, Program);
  p->arena = a, p->title = r->g->name, p->step = r->g;
  p->sources = sources_create(a);
  p->n_params = r->n_params, p->params = ARENA_NEWS(a, ProgParam, RG_TABLE);
  for (uint32_t i = 0; i < r->n_params; i++)
    p->params[i] = (ProgParam){.path = arena_printf(a, "p%u", i),
                               .shape = r->param_shape[i],
                               .trainable = true,
                               .n_states = r->n_states[i]};
  p->n_data = 1, p->data = ARENA_NEW(a, ProgSource);
  p->data[0] = (ProgSource){.name = "data", .reader = "none"};
  p->n_columns = r->n_columns, p->columns = ARENA_NEWS(a, ProgColumn, RG_TABLE);
  for (uint32_t i = 0; i < r->n_columns; i++)
    p->columns[i] = (ProgColumn){
        .name = arena_printf(a, "c%u", i), .dtype = r->column_dtype[i], .shape = r->column_shape[i]};
  p->n_scalars = r->n_scalars, p->scalars = ARENA_NEWS(a, ProgScalar, RG_TABLE);
  for (uint32_t i = 0; i < r->n_scalars; i++)
    p->scalars[i] = (ProgScalar){.name = arena_printf(a, "s%u", i), .lo = -2, .hi = 2};
  p->train = (ProgTrain){.present = true, .batch = 64, .length = {1, UNIT_STEPS}};
  p->groups.n_sets = RG_SETS, p->groups.share = ARENA_NEWS(a, double, RG_SETS);
  for (int i = 0; i < RG_SETS; i++) p->groups.share[i] = 1.0 / (1 + i);
  return p;
}
#endif
