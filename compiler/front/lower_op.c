/* SPDX-License-Identifier: Apache-2.0
 * lower_op.c -- values of the language and their conversions: numbers known now, run-time scalars, tensors.
 */
#include "model.h"
#include <float.h>
#include <math.h>
#include <string.h>

/* ---- making values ---- */
Val *val_new(Elab *e, ValKind k, Span span) {
  Val *v = ARENA_NEW(e->m->a, Val);
  v->kind = k, v->span = span;
  return v;
}
Val *val_poison(Elab *e, Span span) { return val_new(e, VAL_POISON, span); }
Val *val_num(Elab *e, Span span, double num, bool is_int) {
  Val *v = val_new(e, VAL_NUM, span);
  v->num = num, v->is_int = is_int;
  return v;
}
Val *val_bool(Elab *e, Span span, bool b) {
  Val *v = val_new(e, VAL_BOOL, span);
  v->num = b;
  return v;
}
Val *val_tensor(Elab *e, Span span, ValueId id) {
  Val *v = val_new(e, VAL_TENSOR, span);
  v->id = id;
  const Shape *s = &e->g->v[id].shape;
  if (s->rank && s->d[0] == DIM_ROWS) v->axis[0] = "example";
  return v;
}
Val *val_like(Elab *e, Span span, ValueId id, const Val *like) {
  Val *v = val_tensor(e, span, id);
  const Shape *s = &e->g->v[id].shape;
  if (like->kind == VAL_TENSOR && e->g->v[like->id].shape.rank == s->rank)
    memcpy(v->axis, like->axis, sizeof v->axis);
  return v;
}
Val *val_at(Elab *e, const Val *v, Span span) {
  Val *c = ARENA_NEW(e->m->a, Val);
  *c = *v;
  c->span = span;
  return c;
}
bool val_bad(const Val *v) { return !v || v->kind == VAL_POISON; }
const Shape *val_shape(Elab *e, const Val *v) {
  static const Shape rank0 = {0};
  return v->kind == VAL_TENSOR ? &e->g->v[v->id].shape : &rank0;
}
Dtype val_dtype(Elab *e, const Val *v) {
  if (v->kind == VAL_TENSOR) return e->g->v[v->id].dtype;
  if (v->kind == VAL_NUM) return v->is_int ? DT_I32 : DT_F64;
  return v->kind == VAL_BOOL ? DT_BOOL : DT_NONE;
}
bool val_has_rows(Elab *e, const Val *v) {
  const Shape *s = val_shape(e, v);
  return s->rank && s->d[0] == DIM_ROWS;
}

/* ---- numbers known now ---- */
void use_static(Elab *e, const Val *v) { e->m->structural |= v->deps; }

bool static_num(Elab *e, const Val *v, const char *what, double lo, double hi, double *out) {
  if (val_bad(v)) return false;
  if (v->kind != VAL_NUM) {
    err(e->m, E0302, v->span, what, "a number known before the run", val_text(e, v));
    return false;
  }
  use_static(e, v);
  if (!(v->num >= lo && v->num <= hi)) {
    err(e->m, E0336, v->span, what, number_text(e->m->a, v->num), number_text(e->m->a, lo),
        number_text(e->m->a, hi));
    return false;
  }
  *out = v->num;
  return true;
}

bool static_int(Elab *e, const Val *v, const char *what, int64_t lo, int64_t hi, int64_t *out) {
  if (val_bad(v)) return false;
  if (v->kind != VAL_NUM || !v->is_int || fabs(v->num) > 9e15) {
    err(e->m, E0303, v->span, what, val_text(e, v));
    return false;
  }
  use_static(e, v);
  if (v->num < (double)lo || v->num > (double)hi) {
    err(e->m, E0336, v->span, what, number_text(e->m->a, v->num), number_text(e->m->a, (double)lo),
        number_text(e->m->a, (double)hi));
    return false;
  }
  *out = (int64_t)v->num;
  return true;
}

/* ---- as graph values ---- */
ValueId f32_const(Elab *e, Span s, double x) { return ir_const(e->g, s, x, &(Shape){0}, DT_F32); }

/* The rank-0 F64 twin of a number: the run-time scalar it came from, or a constant. */
static ValueId num_value(Elab *e, const Val *v) {
  return v->id ? v->id : ir_const(e->g, v->span, v->num, &(Shape){0}, DT_F64);
}

ValueId as_f64_scalar(Elab *e, const Val *v, const char *what) {
  if (val_bad(v)) return 0;
  if (v->kind == VAL_NUM) return num_value(e, v);
  if (v->kind == VAL_TENSOR && e->g->v[v->id].shape.rank == 0 && e->g->v[v->id].dtype == DT_F64) return v->id;
  err(e->m, E0302, v->span, what, "a number or a schedule", val_text(e, v));
  return 0;
}

static ValueId out_of_range(Elab *e, const Val *v, const char *what, const char *lo, const char *hi) {
  what = arena_printf(e->m->a, "a number in %s", what);
  err(e->m, E0336, v->span, what, number_text(e->m->a, v->num), lo, hi);
  return 0;
}

ValueId as_f32(Elab *e, const Val *v, const char *what) {
  if (val_bad(v)) return 0;
  if (v->kind == VAL_NUM && !v->id && fabs(v->num) > (double)FLT_MAX)
      return out_of_range(e, v, what, "-3.4e38", "3.4e38");
  if (v->kind == VAL_NUM) return v->id ? ir_cast(e->g, v->id, DT_F32) : f32_const(e, v->span, v->num);
  if (v->kind == VAL_TENSOR) {
    Dtype t = e->g->v[v->id].dtype;
    if (t == DT_F32) return v->id;
    if (t == DT_F64 || t == DT_I32) return ir_cast(e->g, v->id, DT_F32);
  }
  Diag *g = err(e->m, E0302, v->span, what, "numbers", val_text(e, v));
  if (val_dtype(e, v) == DT_BOOL) diag_help(e->m->diags, g, "`real(...)` makes 0 and 1 of no and yes");
  return 0;
}

ValueId as_bool(Elab *e, const Val *v, const char *what) {
  if (val_bad(v)) return 0;
  if (v->kind == VAL_BOOL) return v->id ? v->id : ir_const(e->g, v->span, v->num, &(Shape){0}, DT_BOOL);
  if (v->kind == VAL_TENSOR && e->g->v[v->id].dtype == DT_BOOL) return v->id;
  err(e->m, E0302, v->span, what, "yes or no", val_text(e, v));
  return 0;
}

ValueId as_i32(Elab *e, const Val *v, const char *what) {
  if (val_bad(v)) return 0;
  if (v->kind == VAL_NUM && v->is_int) {
    use_static(e, v);
    if (fabs(v->num) > INT32_MAX)
      return out_of_range(e, v, what, "-2147483647", "2147483647");
    return ir_const(e->g, v->span, v->num, &(Shape){0}, DT_I32);
  }
  if (v->kind == VAL_TENSOR && e->g->v[v->id].dtype == DT_I32) return v->id;
  err(e->m, E0302, v->span, what, "integers", val_text(e, v));
  return 0;
}

Val *as_tensor(Elab *e, Val *v, const char *what) {
  if (val_bad(v) || v->kind == VAL_TENSOR) return v;
  if (v->kind == VAL_NUM) return val_tensor(e, v->span, as_f32(e, v, what));
  if (v->kind == VAL_BOOL) return val_tensor(e, v->span, as_bool(e, v, what));
  err(e->m, E0302, v->span, what, "a tensor or a number", val_text(e, v));
  return val_poison(e, v->span);
}

bool shape_ok(Elab *e, Span at, const Shape *s, const char *what) {
  double n = 1;
  for (int i = 0; i < s->rank; i++) n *= s->d[i] == DIM_ROWS ? 1 : (double)s->d[i];
  if (n <= (double)MAX_ELEMENTS) return true;
  if (!e->m->too_big) err(e->m, E0308, at, what, shape_dims_text(e, s));
  e->m->too_big = true;
  return false;
}

/* ---- broadcasting: every axis of `b` finds its twin in `a`, in order ---- */
static bool axes_embed(Elab *e, const Val *a, const Val *b, int64_t *map) {
  const Shape *sa = val_shape(e, a), *sb = val_shape(e, b);
  for (int i = 0; i < sa->rank; i++) map[i] = -1;
  int i = sa->rank - 1;
  for (int j = sb->rank - 1; j >= 0; j--, i--) {
    if (sb->d[j] == DIM_ROWS) {
      if (i < 0 || sa->d[0] != DIM_ROWS) return false;
      i = 0;
    } else if (b->axis[j]) {
      int k = i;
      while (k >= 0 && !(a->axis[k] && !strcmp(a->axis[k], b->axis[j]))) k--;
      if (k >= 0) i = k;
      else if (i >= 0 && a->axis[i]) return false;
    }
    if (i < 0 || sa->d[i] != sb->d[j]) return false;
    map[i] = j;
  }
  return true;
}

static void shapes_differ(Elab *e, Span at, const char *what, const Val *a, const Val *b) {
  Model *m = e->m;
  Diag *g = err(m, E0301, b->span.file ? b->span : at, what, val_text(e, a), val_text(e, b));
  diag_label(m->diags, g, "this is %s", val_text(e, b));
  diag_also(m->diags, g, a->span, "this is %s", val_text(e, a));
  const Place *p = b->place ? b->place : a->place;
  if (p && p->span.file) diag_also(m->diags, g, p->span, "`%s` is made here", p->path);
  const Shape *sa = val_shape(e, a), *sb = val_shape(e, b);
  if (sa->rank != sb->rank && shape_count(sa, 1) == shape_count(sb, 1))
    diag_help(m->diags, g,
              "both hold the same number of elements: `flatten(...)` or `reshape(...)` one of them");
  else if (sa->rank && sb->rank)
    diag_note(m->diags, g,
              "extents must be equal; only whole axes that one side lacks (the datum axis, named axes, "
              "leading axes) are repeated");
}

/* a's names, and where a has none, b's. */
static Val *joined_axes(Elab *e, const Val *a, const Val *b, const int64_t *map) {
  Val *v = val_at(e, a, a->span);
  for (int i = 0; i < val_shape(e, a)->rank; i++)
    if (!v->axis[i] && map[i] >= 0) v->axis[i] = b->axis[map[i]];
  return v;
}

bool broadcast_pair(Elab *e, Span at, const char *what, Val *a, Val *b, ValueId *ia, ValueId *ib,
                    Val **axes) {
  int64_t map[IR_MAX_RANK];
  Shape sa = *val_shape(e, a), sb = *val_shape(e, b);
  if (axes_embed(e, a, b, map)) {
    *ia = a->id, *ib = ir_bcast(e->g, b->id, &sa, map), *axes = joined_axes(e, a, b, map);
    return true;
  }
  if (axes_embed(e, b, a, map)) {
    *ib = b->id, *ia = ir_bcast(e->g, a->id, &sb, map), *axes = joined_axes(e, b, a, map);
    return true;
  }
  shapes_differ(e, at, what, a, b);
  return false;
}

bool broadcast_to(Elab *e, Span at, const char *what, Val *v, const Val *like, ValueId *out) {
  int64_t map[IR_MAX_RANK];
  if (!axes_embed(e, like, v, map)) {
    shapes_differ(e, at, what, like, v);
    return false;
  }
  *out = ir_bcast(e->g, v->id, val_shape(e, like), map);
  return true;
}

/* ---- arithmetic ---- */
typedef struct OpRow {
  const char *text;
  Op op;
  bool compare, swap;
} OpRow;
static const OpRow op_rows[] = {
    {"+", OP_ADD, false, false},   {"-", OP_SUB, false, false},   {"*", OP_MUL, false, false},
    {"/", OP_DIV, false, false},   {"<", OP_LT, true, false},     {"<=", OP_LE, true, false},
    {">", OP_LT, true, true},      {">=", OP_LE, true, true},     {"==", OP_EQ, true, false},
    {"!=", OP_NE, true, false},    {"min", OP_MIN, false, false}, {"max", OP_MAX, false, false},
    {"pow", OP_POW, false, false},
};

static double fold(Op op, double x, double y) {
  switch (op) {
  case OP_ADD: return x + y;
  case OP_SUB: return x - y;
  case OP_MUL: return x * y;
  case OP_DIV: return x / y;
  case OP_LT: return x < y;
  case OP_LE: return x <= y;
  case OP_EQ: return x == y;
  case OP_NE: return x != y;
  case OP_MIN: return fmin(x, y);
  case OP_MAX: return fmax(x, y);
  default: return pow(x, y);
  }
}

static Val *fold_numbers(Elab *e, Span span, const OpRow *r, const Val *a, const Val *b) {
  Model *m = e->m;
  bool ints = a->is_int && b->is_int;
  if (r->op == OP_DIV) {
    if (b->num == 0) {
      use_static(e, b);
      err(m, E0304, span, number_text(m->a, a->num), "0", "division by zero");
      return val_poison(e, span);
    }
    if (ints) {
      use_static(e, a), use_static(e, b);
      if (fmod(a->num, b->num) != 0) {
        Diag *g = err(m, E0304, span, number_text(m->a, a->num), number_text(m->a, b->num),
                      "the quotient is no integer");
        diag_help(m->diags, g, "write %s.0 to divide as real numbers", number_text(m->a, a->num));
        return val_poison(e, span);
      }
    }
  }
  double x = fold(r->op, r->swap ? b->num : a->num, r->swap ? a->num : b->num);
  Val *v = r->compare ? val_bool(e, span, x != 0) : val_num(e, span, x, ints && x == floor(x));
  v->deps = a->deps | b->deps;
  if (!isfinite(x) || (ints && fabs(x) > 9e15)) {
    err(m, E0304, span, number_text(m->a, a->num), number_text(m->a, b->num), "the result is out of range");
    return val_poison(e, span);
  }
  if (v->deps & ~m->structural) {
    ValueId ia = num_value(e, a), ib = num_value(e, b);
    v->id = ir_bin(e->g, r->op, r->swap ? ib : ia, r->swap ? ia : ib);
  }
  return v;
}

static Val *logic(Elab *e, Span span, Op op, Val *a, Val *b) {
  const char *what = op == OP_AND ? "`and`" : "`or`";
  ValueId ia = as_bool(e, a, what), ib = as_bool(e, b, what);
  if (!ia || !ib) return val_poison(e, span);
  if (a->kind == VAL_BOOL && b->kind == VAL_BOOL && !((a->deps | b->deps) & ~e->m->structural)) {
    bool x = a->num != 0, y = b->num != 0;
    Val *v = val_bool(e, span, op == OP_AND ? x && y : x || y);
    v->deps = a->deps | b->deps;
    return v;
  }
  Val *ta = as_tensor(e, a, what), *tb = as_tensor(e, b, what), *axes;
  if (!broadcast_pair(e, span, what, ta, tb, &ia, &ib, &axes)) return val_poison(e, span);
  Val *v = val_like(e, span, ir_bin(e->g, op, ia, ib), axes);
  return v;
}

/* Brings two operands to one type: i32 if both are integers (and `ints`), f64 for two rank-0 f64, else f32.
 */
static bool common_type(Elab *e, const char *what, bool ints, Val *a, Val *b, Val **ta, Val **tb) {
  Dtype da = val_dtype(e, a), db = val_dtype(e, b);
  bool fa = a->kind == VAL_TENSOR, fb = b->kind == VAL_TENSOR;
  if (ints && da == DT_I32 && db == DT_I32) {
    ValueId ia = as_i32(e, a, what), ib = as_i32(e, b, what);
    if (!ia || !ib) return false;
    *ta = fa ? a : val_tensor(e, a->span, ia), *tb = fb ? b : val_tensor(e, b->span, ib);
    return true;
  }
  bool sa = (fa && da == DT_F64) || a->kind == VAL_NUM, sb = (fb && db == DT_F64) || b->kind == VAL_NUM;
  ValueId ia = sa && sb ? as_f64_scalar(e, a, what) : as_f32(e, a, what);
  ValueId ib = sa && sb ? as_f64_scalar(e, b, what) : as_f32(e, b, what);
  if (!ia || !ib) return false;
  *ta = val_like(e, a->span, ia, a), *tb = val_like(e, b->span, ib, b);
  (*ta)->place = a->place, (*tb)->place = b->place;
  return true;
}

static Val *tensor_op(Elab *e, Span span, const OpRow *r, Val *a, Val *b) {
  const char *what = arena_printf(e->m->a, "`%s`", r->text);
  bool bools = val_dtype(e, a) == DT_BOOL && val_dtype(e, b) == DT_BOOL;
  Val *ta = NULL, *tb = NULL, *axes = NULL;
  ValueId ia, ib;
  if (r->compare && bools && (r->op == OP_EQ || r->op == OP_NE))
    ta = as_tensor(e, a, what), tb = as_tensor(e, b, what);
  else if (!common_type(e, what, r->op != OP_DIV && r->op != OP_POW, a, b, &ta, &tb))
    return val_poison(e, span);
  if (r->op == OP_DIV && val_dtype(e, a) == DT_I32 && val_dtype(e, b) == DT_I32) {
    Diag *g = err(e->m, E0304, span, "these integers", "the others",
                  "nobody can say before the run that the quotient is exact");
    diag_help(e->m->diags, g, "write `real(...) / ...` to divide as real numbers");
    return val_poison(e, span);
  }
  if (!broadcast_pair(e, span, what, ta, tb, &ia, &ib, &axes)) return val_poison(e, span);
  return val_like(e, span, ir_bin(e->g, r->op, r->swap ? ib : ia, r->swap ? ia : ib), axes);
}

Val *elab_binary(Elab *e, const Ast *at, const char *op, Val *a, Val *b) {
  if (val_bad(a) || val_bad(b)) return val_poison(e, at->span);
  uint32_t first = e->g->n;
  Val *v = NULL;
  if (!strcmp(op, "and")) v = logic(e, at->span, OP_AND, a, b);
  else if (!strcmp(op, "or")) v = logic(e, at->span, OP_OR, a, b);
  for (uint32_t i = 0; !v && i < sizeof op_rows / sizeof *op_rows; i++) {
    const OpRow *r = &op_rows[i];
    if (strcmp(r->text, op) != 0) continue;
    v = a->kind == VAL_NUM && b->kind == VAL_NUM ? fold_numbers(e, at->span, r, a, b)
                                                 : tensor_op(e, at->span, r, a, b);
  }
  for (uint32_t i = first; i < e->g->n; i++) e->g->v[i].span = at->span;
  return v ? v : val_poison(e, at->span);
}

/* ---- reductions and selections ---- */
static ValueId rows_times(Elab *e, Span span, double count) {
  if (count == 1) return rows_f32(e);
  ValueId each = f32_const(e, span, count);
  return ir_bin(e->g, OP_MUL, rows_f32(e), each);
}

Val *reduce_val(Elab *e, Span span, Val *v, Op op, const int64_t *axes, uint32_t n, bool mean) {
  Shape s = *val_shape(e, v);
  bool rows = false;
  double count = 1;
  for (uint32_t i = 0; i < n; i++)
    if (s.d[axes[i]] == DIM_ROWS) rows = true;
    else count *= (double)s.d[axes[i]];
  ValueId r = ir_reduce(e->g, op, v->id, axes, n);
  if (mean && rows)
    r = ir_bin(e->g, OP_DIV, r, rows_times(e, span, count));
  else if (mean && count != 1) r = ir_bin(e->g, OP_DIV, r, f32_const(e, span, count));
  Val *out = val_tensor(e, span, r);
  uint32_t k = 0, next = 0;
  for (int i = 0; i < s.rank; i++)
    if (next < n && axes[next] == i) next++;
    else out->axis[k++] = v->axis[i];
  return out;
}

ValueId mean_rest(Elab *e, ValueId id) {
  Shape s = e->g->v[id].shape;
  int64_t axes[IR_MAX_RANK];
  uint32_t n = 0;
  for (int i = 0; i < s.rank; i++)
    if (s.d[i] != DIM_ROWS) axes[n++] = i;
  Val *v = val_tensor(e, e->g->v[id].span, id);
  return n ? reduce_val(e, v->span, v, OP_SUM, axes, n, true)->id : id;
}

Val *select_units(Elab *e, Span span, Val *v, int axis, const int64_t *units, int64_t n) {
  bool run = true;
  for (int64_t i = 1; i < n && run; i++) run = units[i] == units[i - 1] + 1;
  ValueId id;
  if (run) id = ir_slice(e->g, v->id, axis, units[0], 1, n);
  else {
    int64_t *ints = ARENA_NEWS(e->m->a, int64_t, n + 1);
    ints[0] = axis;
    memcpy(ints + 1, units, sizeof *units * (size_t)n);
    id = ir_make(e->g, OP_TAKE, span, &v->id, 1, ints, (uint32_t)n + 1, 0, NULL, DT_NONE);
  }
  if (id != v->id) e->g->v[id].span = span;
  Val *out = val_like(e, span, id, v);
  return out;
}

ValueId clock_f64(Elab *e, ClockKind k) {
  if (!e->clocks[k]) e->clocks[k] = ir_clock(e->g, k);
  return e->clocks[k];
}
ValueId rows_f32(Elab *e) { return ir_cast(e->g, clock_f64(e, CLOCK_ROWS), DT_F32); }

int find_axis(Elab *e, const Val *v, const Ast *word, const char *what) {
  Model *m = e->m;
  const Shape *s = val_shape(e, v);
  const char *names[IR_MAX_RANK];
  uint32_t n = 0;
  for (int i = 0; i < s->rank; i++)
    if (v->axis[i]) names[n++] = v->axis[i];
  if (ast_is(word, AST_NAME)) {
    for (int i = 0; i < s->rank; i++)
      if (v->axis[i] && !strcmp(v->axis[i], word->text)) return i;
    Diag *g = err(m, E0306, word->span, word->text, val_text(e, v));
    diag_suggest(m->diags, g, word->text, names, n);
    return -1;
  }
  int first = s->rank && s->d[0] == DIM_ROWS ? 1 : 0, count = s->rank - first;
  bool neg = ast_is(word, AST_UNARY) && !strcmp(word->text, "-");
  const Ast *num = neg ? word->kids[0] : word;
  if (ast_is(num, AST_NUMBER) && num->flag) {
    double k = neg ? -num->num : num->num;
    if (k < 0) k += count;
    if (k >= 0 && k < count) return first + (int)k;
  }
  Diag *g = err(m, E0306, word->span, ast_source_text(m, word), val_text(e, v));
  diag_note(
      m->diags, g,
      "%s takes the name of an axis, or a number: 0 for the first axis after `example`, -1 for the last",
      what);
  return -1;
}
