/* SPDX-License-Identifier: Apache-2.0
 * simplify.c -- constant folding, algebra, common subexpressions, dead code: one walk into a new graph.
 * requires:  a sound graph
 * maintains: every bit of every finite root (x * 1, x / 1, x - 0 are exact; x + 0 is not touched, since -0 + 0 = +0)
 * changes:   renumbers; STOP and TAP vanish; a mask whose factor is 1 vanishes, one whose factor is 0 becomes 0 */
#include "compiler.h"
#include "fault.h"
#include "ops.h"
#include "rewrite.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

typedef struct Simplify {
  Rewrite r;
  Graph *g;               /* = r.to */
  ValueId *table;         /* open addressing over r.to's values */
  uint32_t mask;
} Simplify;

static bool is_splat(const Graph *g, ValueId v) { return ir_value(g, v)->op == OP_CONST && !ir_value(g, v)->data; }
static bool is_splat_of(const Graph *g, ValueId v, double x) { return is_splat(g, v) && ir_value(g, v)->num == x; }

/* ---- reachability ------------------------------------------------------------------------------------------ */
static bool *live_values(const Graph *g, Arena *a) {
  bool *live = ARENA_NEWS(a, bool, g->n);
  for (uint32_t i = 0; i < g->n_roots; i++) live[g->roots[i].value] = true;
  for (ValueId v = g->n - 1; v >= 1; v--) {
    if (!live[v]) continue;
    for (uint32_t i = 0; i < ir_value(g, v)->n_args; i++) live[ir_value(g, v)->args[i]] = true;
  }
  return live;
}

/* ---- common subexpressions: a value's identity is all that its result depends on --------------------------- */
static uint64_t value_hash(const Value *v) {
  XXH64_state_t s;
  XXH64_reset(&s, 0);
  uint32_t head[4] = {v->op, v->dtype, v->n_args, v->n_ints};
  XXH64_update(&s, head, sizeof head);
  XXH64_update(&s, &v->shape.rank, sizeof v->shape.rank);
  XXH64_update(&s, v->shape.d, (size_t)v->shape.rank * sizeof *v->shape.d);
  if (v->n_args) XXH64_update(&s, v->args, v->n_args * sizeof *v->args);
  if (v->n_ints) XXH64_update(&s, v->ints, v->n_ints * sizeof *v->ints);
  XXH64_update(&s, &v->num, sizeof v->num);
  return XXH64_digest(&s);
}

static bool same_data(const Value *a, const Value *b) {
  if (a->data == b->data) return true;
  if (!a->data || !b->data) return false;
  return memcmp(a->data, b->data, (size_t)shape_count(&a->shape, 1) * sizeof(double)) == 0;
}

static bool value_same(const Value *a, const Value *b) {
  return a->op == b->op && a->dtype == b->dtype && a->n_args == b->n_args && a->n_ints == b->n_ints &&
         shape_equal(&a->shape, &b->shape) && memcmp(&a->num, &b->num, sizeof a->num) == 0 &&
         (!a->n_args || !memcmp(a->args, b->args, a->n_args * sizeof *a->args)) &&
         (!a->n_ints || !memcmp(a->ints, b->ints, a->n_ints * sizeof *a->ints)) && same_data(a, b);
}

/* Returns the earlier twin of v if there is one (and then forgets v, the newest value), else v. */
static ValueId unify(Simplify *s, ValueId v) {
  uint32_t at = (uint32_t)value_hash(ir_value(s->g, v)) & s->mask;
  for (; s->table[at]; at = (at + 1) & s->mask) {
    if (s->table[at] == v) return v;
    Value *twin = ir_value(s->g, s->table[at]), *now = ir_value(s->g, v);
    if (!value_same(twin, now)) continue;
    if (!twin->name) twin->name = now->name;
    if (now->phase < twin->phase) { /* its arguments are now's, so it can stand as early */
      twin->phase = now->phase;
      if (now->phase == PHASE_FORWARD) twin->origins = 0;
    }
    if (v == s->g->n - 1) s->g->n--;
    return s->table[at];
  }
  return s->table[at] = v;
}

/* ---- constants -------------------------------------------------------------------------------------------------- */
/* Element-wise value of constants, rounded as emitted code would; false if not folded. */
static bool fold(const Value *v, const double *x, double *out) {
  double a = x[0], b = v->n_args > 1 ? x[1] : 0, c = v->n_args > 2 ? x[2] : 0, y;
  switch (v->op) {
  case OP_NEG: y = -a; break;
  case OP_ABS: y = fabs(a); break;
  case OP_SIGN: y = (a > 0) - (a < 0); break;
  case OP_SQRT: y = v->dtype == DT_F32 ? (double)sqrtf((float)a) : sqrt(a); break;
  case OP_FLOOR: y = floor(a); break;
  case OP_RELU: y = a > 0 ? a : 0; break;
  case OP_NOT: y = a == 0; break;
  case OP_CAST: y = v->dtype == DT_BOOL ? a != 0 : v->dtype == DT_I32 || v->dtype == DT_U8 ? trunc(a) : a; break;
  case OP_ADD: y = a + b; break;
  case OP_SUB: y = a - b; break;
  case OP_MUL: y = a * b; break;
  case OP_DIV: y = a / b; break;
  case OP_POW: y = pow(a, b); break;
  case OP_MIN: y = a < b ? a : b; break;
  case OP_MAX: y = a > b ? a : b; break;
  case OP_LT: y = a < b; break;
  case OP_LE: y = a <= b; break;
  case OP_EQ: y = a == b; break;
  case OP_NE: y = a != b; break;
  case OP_AND: y = a != 0 && b != 0; break;
  case OP_OR: y = a != 0 || b != 0; break;
  case OP_MASK: y = b == 0 ? 0 : b == 1 ? a : a * b; break;
  case OP_WHERE: y = a != 0 ? b : c; break;
  default: return false;
  }
  if (v->dtype == DT_F32) y = (double)(float)y;
  if (!isfinite(y) || (v->dtype == DT_F32 && v->op == OP_POW)) return false;
  *out = y;
  return true;
}

static ValueId splat(Simplify *s, const Value *like, double num) {
  Shape shape = like->shape;
  return ir_const(s->g, like->span, num, &shape, like->dtype);
}

static ValueId fold_constants(Simplify *s, ValueId v) {
  Value val = *ir_value(s->g, v);
  OpClass cls = op_class(val.op);
  if (!val.n_args || (cls != OPC_ELT && cls != OPC_VIEW)) return v;
  if (val.op == OP_STOP || val.op == OP_TAP || val.op == OP_ADJTAP) return v;
  double x[3];
  for (uint32_t i = 0; i < val.n_args; i++) {
    if (!is_splat(s->g, val.args[i])) return v;
    if (i < 3) x[i] = ir_value(s->g, val.args[i])->num;
    if (cls == OPC_VIEW && ir_value(s->g, val.args[i])->num != x[0]) return v;
  }
  double y = x[0];
  if (cls == OPC_VIEW) {
    bool fills = val.op == OP_PAD || val.op == OP_PUT || val.op == OP_UNFOLD;
    if (fills && y != 0) return v;
  } else if (!fold(&val, x, &y)) {
    return v;
  }
  return splat(s, &val, y);
}

/* ---- algebra ------------------------------------------------------------------------------------------------------ */
static bool is_identity_perm(const Value *v) {
  for (uint32_t i = 0; i < v->n_ints; i++) if (v->ints[i] != (int64_t)i) return false;
  return true;
}

static ValueId compose_bcast(Simplify *s, const Value *outer) {
  Value inner = *ir_value(s->g, outer->args[0]);
  int64_t map[IR_MAX_RANK];
  for (uint32_t i = 0; i < outer->n_ints; i++) map[i] = outer->ints[i] < 0 ? -1 : inner.ints[outer->ints[i]];
  Shape to = outer->shape;
  return ir_bcast(s->g, inner.args[0], &to, map);
}

static ValueId compose_transpose(Simplify *s, const Value *outer) {
  Value inner = *ir_value(s->g, outer->args[0]);
  int64_t perm[IR_MAX_RANK];
  for (uint32_t i = 0; i < outer->n_ints; i++) perm[i] = inner.ints[outer->ints[i]];
  return ir_transpose(s->g, inner.args[0], perm);
}

/* Returns the value that v equals, or v. */
static ValueId algebra(Simplify *s, ValueId v) {
  const Graph *g = s->g;
  Value val = *ir_value(g, v);
  ValueId a = val.n_args > 0 ? val.args[0] : 0, b = val.n_args > 1 ? val.args[1] : 0;
  Op under = a ? ir_value(g, a)->op : OP_NONE;
  switch (val.op) {
  case OP_STOP: case OP_TAP: return a;
  case OP_CAST: return ir_value(g, a)->dtype == val.dtype ? a : v;
  case OP_NEG: case OP_NOT: return under == val.op ? ir_value(g, a)->args[0] : v;
  case OP_MUL: return is_splat_of(g, b, 1) ? a : is_splat_of(g, a, 1) ? b : v;
  case OP_DIV: return is_splat_of(g, b, 1) ? a : v;
  case OP_SUB: return is_splat_of(g, b, 0) && !signbit(ir_value(g, b)->num) ? a : v;
  case OP_MASK:
    if (fault("forget-mask")) return a; /* behind the proof, which saw it */
    return is_splat_of(g, b, 1) ? a : is_splat_of(g, b, 0) ? splat(s, &val, 0) : v;
  case OP_WHERE: return is_splat(g, a) ? (ir_value(g, a)->num != 0 ? b : val.args[2]) : b == val.args[2] ? b : v;
  case OP_BCAST:
    if (shape_equal(&ir_value(g, a)->shape, &val.shape)) return a;
    return under == OP_BCAST ? compose_bcast(s, &val) : v;
  case OP_TRANSPOSE:
    if (is_identity_perm(&val)) return a;
    return under == OP_TRANSPOSE ? compose_transpose(s, &val) : v;
  case OP_RESHAPE:
    if (shape_equal(&ir_value(g, a)->shape, &val.shape)) return a;
    return under == OP_RESHAPE ? ir_reshape(s->g, ir_value(g, a)->args[0], &val.shape) : v;
  case OP_SLICE: return shape_equal(&ir_value(g, a)->shape, &val.shape) ? a : v;
  case OP_CONCAT: return val.n_args == 1 ? a : v;
  case OP_SUM: return val.n_ints == 0 ? a : v;
  default: return v;
  }
}

static void simplify_value(Simplify *s, ValueId old) {
  ValueId v = unify(s, rewrite_copy(&s->r, old));
  for (int round = 0; round < 8; round++) {
    Phase phase = ir_value(s->g, v)->phase;
    s->g->phase = phase;
    ValueId next = fold_constants(s, v);
    if (next == v) next = algebra(s, v);
    if (next == v) break;
    OriginSet origins = ir_value(s->g, v)->origins;
    bool fresh = next == s->g->n - 1;
    const char *name = ir_value(s->g, v)->name;
    v = fresh ? unify(s, next) : next;
    Value *now = ir_value(s->g, v);
    if (!now->name) now->name = name;
    if (fresh && !now->origins && now->phase == PHASE_ADJOINT) now->origins = origins; /* it may equal a forward value */
  }
  s->r.map[old] = v;
}

/* A second sweep drops what folding left unread. */
static Graph *drop_dead(const Graph *g, Arena *a) {
  Rewrite r = rewrite_begin(g, a);
  bool *live = live_values(g, a);
  for (ValueId v = 1; v < g->n; v++)
    if (live[v]) rewrite_copy(&r, v);
  rewrite_roots(&r);
  r.to->phase = PHASE_FORWARD;
  return r.to;
}

Graph *pass_simplify(Graph *g, Arena *a) {
  Simplify s = {.r = rewrite_begin(g, a)};
  s.g = s.r.to;
  uint32_t size = 64;
  while (size < 8 * g->n) size *= 2;
  s.table = ARENA_NEWS(a, ValueId, size);
  s.mask = size - 1;
  bool *live = live_values(g, a);
  for (ValueId v = 1; v < g->n; v++)
    if (live[v]) simplify_value(&s, v);
  rewrite_roots(&s.r);
  return drop_dead(s.g, a);
}
