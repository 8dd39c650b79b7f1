/* SPDX-License-Identifier: Apache-2.0
 * prove_elem.c -- what is known of the entries of a cell, and what operations make of it.
 *
 * Forward values carry an interval and the kinds whose content they depend on (dep). Adjoints carry, for each origin, the
 * hull of the factors that masks have multiplied in (base), and for each kind and origin the hull with which content of
 * that kind has arrived (src). Content arrives where a forward value that depends on it multiplies an adjoint. Every
 * local derivative counts as 1. The constant zero carries nothing, and its product with anything is zero.
 *
 * Intervals are exact to the bit where they are points: those operations are correctly rounded, and their results are
 * rounded here as emitted code rounds them. Only a point may decide that something is zero. */
#include "prove.h"
#include "fault.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

static const ProofHull none = {INFINITY, -INFINITY};

static ProofHull hull_join(ProofHull a, ProofHull b) {
  return (ProofHull){a.lo < b.lo ? a.lo : b.lo, a.hi > b.hi ? a.hi : b.hi};
}
static double times(double a, double b) { return a == 0 || b == 0 ? 0 : a * b; }
static ProofHull hull_times(ProofHull a, ProofHull b) {
  if (proof_is_none(a) || proof_is_none(b)) return none;
  const double x[4] = {times(a.lo, b.lo), times(a.lo, b.hi), times(a.hi, b.lo), times(a.hi, b.hi)};
  ProofHull r = {x[0], x[0]};
  for (int i = 1; i < 4; i++) r = hull_join(r, (ProofHull){x[i], x[i]});
  return r;
}

/* ---- the store ------------------------------------------------------------------------------------------------ */
typedef struct Draft { double lo, hi; bool plain; KindSet dep; } Draft; /* with s->base, s->src and s->scale */

static size_t n_src(const ElemStore *s) { return (size_t)s->n_kinds * s->n_origins; }

static void draft_clear(ElemStore *s) {
  s->scale = (ProofHull){1, 1};
  for (uint32_t i = 0; i < s->n_origins; i++) s->base[i] = none;
  for (size_t i = 0; i < n_src(s); i++) s->src[i] = none;
}

static bool same_elem(const ElemStore *s, const Elem *a, const Elem *b) {
  if (a->hash != b->hash || a->plain != b->plain || a->dep != b->dep ||
      memcmp(&a->scale, &b->scale, sizeof a->scale) || memcmp(&a->lo, &b->lo, sizeof a->lo) ||
      memcmp(&a->hi, &b->hi, sizeof a->hi) || a->src_kinds != b->src_kinds || a->base_origins != b->base_origins)
    return false;
  return (!a->base || !memcmp(a->base, b->base, s->n_origins * sizeof *a->base)) &&
         (!a->src || !memcmp(a->src, b->src, n_src(s) * sizeof *a->src));
}

static void table_grow(ElemStore *s) {
  const uint32_t size = s->mask ? 2 * (s->mask + 1) : 1024;
  s->table = ARENA_NEWS(s->arena, uint32_t, size);
  s->mask = size - 1;
  for (uint32_t e = 0; e < s->n; e++) {
    uint32_t at = (uint32_t)s->v[e].hash & s->mask;
    while (s->table[at]) at = (at + 1) & s->mask;
    s->table[at] = e + 1;
  }
}

/* The element of the draft. A known constant depends on nothing. */
static ElemId draft_intern(ElemStore *s, Draft d) {
  const bool constant = d.lo == d.hi;
  if (constant && d.lo == 0 && s->n) return ELEM_ZERO;
  Elem e = {.lo = d.lo, .hi = d.hi, .plain = constant ? d.lo != 0 : d.plain, .dep = constant ? 0 : d.dep,
            .scale = s->scale, .base = s->base, .src = s->src};
  for (uint32_t o = 0; o < s->n_origins && !constant; o++) {
    if (!proof_is_none(s->base[o])) e.base_origins |= (OriginSet)1 << o;
    for (uint32_t k = 0; k < s->n_kinds; k++)
      if (!proof_is_none(s->src[k * s->n_origins + o])) e.src_kinds |= (KindSet)1 << k;
  }
  if (!e.base_origins) e.base = NULL;
  if (!e.src_kinds) e.src = NULL;
  uint64_t head[6] = {(uint64_t)e.plain, e.dep, e.src_kinds, e.base_origins};
  memcpy(&head[4], &e.scale, sizeof e.scale);
  e.hash = XXH64(head, sizeof head, 0) ^ XXH64(&e.lo, 2 * sizeof e.lo, 1);
  if (e.base) e.hash ^= XXH64(e.base, s->n_origins * sizeof *e.base, 2);
  if (e.src) e.hash ^= XXH64(e.src, n_src(s) * sizeof *e.src, 3);
  if (2 * s->n >= s->mask) table_grow(s);
  uint32_t at = (uint32_t)e.hash & s->mask;
  for (; s->table[at]; at = (at + 1) & s->mask)
    if (same_elem(s, &s->v[s->table[at] - 1], &e)) return s->table[at] - 1;
  if (s->n == s->cap) {
    Elem *v = ARENA_NEWS(s->arena, Elem, s->cap ? 2 * s->cap : 256);
    if (s->n) memcpy(v, s->v, s->n * sizeof *v);
    s->v = v, s->cap = s->cap ? 2 * s->cap : 256;
  }
  if (e.base) e.base = memcpy(ARENA_NEWS(s->arena, ProofHull, s->n_origins), s->base, s->n_origins * sizeof *e.base);
  if (e.src) e.src = memcpy(ARENA_NEWS(s->arena, ProofHull, n_src(s)), s->src, n_src(s) * sizeof *e.src);
  s->v[s->n] = e;
  s->table[at] = ++s->n;
  return s->n - 1;
}

void elems_create(ElemStore *s, Arena *a, uint32_t n_kinds, uint32_t n_origins) {
  *s = (ElemStore){.arena = a, .n_kinds = n_kinds, .n_origins = n_origins};
  s->base = ARENA_NEWS(a, ProofHull, n_origins + 1), s->src = ARENA_NEWS(a, ProofHull, n_src(s) + 1);
  s->memo_mask = 4095, s->memo = ARENA_NEWS(a, struct ElemMemo, s->memo_mask + 1);
  draft_clear(s);
  draft_intern(s, (Draft){.lo = 0, .hi = 0}); /* ELEM_ZERO */
}

ElemId elem_forward(ElemStore *s, double lo, double hi, KindSet dep) {
  draft_clear(s);
  return draft_intern(s, (Draft){lo, hi, true, dep});
}

ElemId elem_seed(ElemStore *s, uint32_t origin) {
  draft_clear(s);
  s->base[origin] = (ProofHull){1, 1};
  return draft_intern(s, (Draft){-INFINITY, INFINITY, false, 0});
}

ElemId elem_without_content(ElemStore *s, ElemId e) { return elem_forward(s, elem(s, e)->lo, elem(s, e)->hi, 0); }

/* ---- intervals -------------------------------------------------------------------------------------------------- */
typedef struct Range { double lo, hi; } Range;
static const Range unknown = {-INFINITY, INFINITY};
/* As emitted code rounds; integers that leave their range wrap around to anywhere. */
static Range rounded(Range r, Dtype t) {
  if (isnan(r.lo) || isnan(r.hi)) return unknown;
  if (t == DT_I32 && (r.lo < INT32_MIN || r.hi > INT32_MAX)) return unknown;
  return t == DT_F32 ? (Range){(double)(float)r.lo, (double)(float)r.hi} : r;
}
static bool is_point(Range r) { return r.lo == r.hi; }

static Range range_one(Op op, Dtype t, Range a) {
  const double at[2] = {op_info(op)->scalar(&a.lo, t), op_info(op)->scalar(&a.hi, t)};
  switch (op) {
  case OP_STOP: case OP_TAP: case OP_ADJTAP: return a;
  case OP_NEG: return (Range){-a.hi, -a.lo};
  case OP_NOT: return (Range){1 - a.hi, 1 - a.lo};
  case OP_ABS: return a.lo >= 0 ? a : a.hi <= 0 ? (Range){-a.hi, -a.lo} : (Range){0, fmax(-a.lo, a.hi)};
  case OP_CAST:
    if (t == DT_BOOL) return is_point(a) ? (Range){a.lo != 0, a.lo != 0} : (Range){a.lo > 0 || a.hi < 0, 1};
    if (t == DT_I32 && (isinf(a.lo) || isinf(a.hi))) return unknown;
    return rounded((Range){at[0], at[1]}, t);
  case OP_RELU: case OP_FLOOR: case OP_SIGN: return (Range){at[0], at[1]};
  case OP_SQRT: return a.lo >= 0 ? rounded((Range){at[0], at[1]}, t) : unknown;
  case OP_EXP: case OP_SOFTPLUS: return (Range){0, INFINITY};
  case OP_SIGMOID: return (Range){0, 1};
  case OP_TANH: case OP_ERF: case OP_SIN: case OP_COS: return (Range){-1, 1};
  default: return unknown;
  }
}

/* Infinity over infinity lies between what the other ends give. */
static double over(double a, double b) { return isinf(a) && isinf(b) ? 0 : a / b; }
static Range range_of_four(double a, double b, double c, double d, Dtype t) {
  if (isnan(a) || isnan(b) || isnan(c) || isnan(d)) return unknown;
  return rounded((Range){fmin(fmin(a, b), fmin(c, d)), fmax(fmax(a, b), fmax(c, d))}, t);
}
/* A truth value that is surely so, surely not so, or open. */
static Range truth(bool yes, bool no) { return yes ? (Range){1, 1} : no ? (Range){0, 0} : (Range){0, 1}; }

static Range range_two(Op op, Dtype t, Range a, Range b) {
  switch (op) {
  case OP_ADD: return rounded((Range){a.lo + b.lo, a.hi + b.hi}, t);
  case OP_SUB: return rounded((Range){a.lo - b.hi, a.hi - b.lo}, t);
  case OP_MUL: case OP_MASK:
    return range_of_four(times(a.lo, b.lo), times(a.lo, b.hi), times(a.hi, b.lo), times(a.hi, b.hi), t);
  case OP_DIV: return b.lo > 0 || b.hi < 0 ? range_of_four(over(a.lo, b.lo), over(a.lo, b.hi), over(a.hi, b.lo), over(a.hi, b.hi), t) : unknown;
  case OP_MIN: return (Range){fmin(a.lo, b.lo), fmin(a.hi, b.hi)};
  case OP_MAX: return (Range){fmax(a.lo, b.lo), fmax(a.hi, b.hi)};
  case OP_LT: return truth(a.hi < b.lo, a.lo >= b.hi);
  case OP_LE: return truth(a.hi <= b.lo, a.lo > b.hi);
  case OP_EQ: return truth(is_point(a) && is_point(b) && a.lo == b.lo, a.hi < b.lo || b.hi < a.lo);
  case OP_NE: return truth(a.hi < b.lo || b.hi < a.lo, is_point(a) && is_point(b) && a.lo == b.lo);
  case OP_AND: return (Range){fmin(a.lo, b.lo), fmin(a.hi, b.hi)};
  case OP_OR: return (Range){fmax(a.lo, b.lo), fmax(a.hi, b.hi)};
  default: return unknown; /* POW */
  }
}

/* ---- combining --------------------------------------------------------------------------------------------------- */
static void add_base(ElemStore *s, const Elem *e, ProofHull factor) {
  for (uint32_t o = 0; e->base && o < s->n_origins; o++) s->base[o] = hull_join(s->base[o], hull_times(e->base[o], factor));
}
static void add_src(ElemStore *s, const Elem *e, ProofHull factor) {
  for (size_t i = 0; e->src && i < n_src(s); i++) s->src[i] = hull_join(s->src[i], hull_times(e->src[i], factor));
}
/* Content that the forward value f depends on meets the adjoint x. */
static void add_cross(ElemStore *s, const Elem *x, KindSet dep, ProofHull factor) {
  if (fault("proof-forgets-content")) dep &= dep - 1;
  for (uint32_t k = 0; x->base && dep >> k; k++)
    for (uint32_t o = 0; (dep >> k & 1) && o < s->n_origins; o++) {
      ProofHull *at = &s->src[k * s->n_origins + o];
      *at = hull_join(*at, hull_times(x->base[o], factor));
    }
}
static const ProofHull one = {1, 1};

static bool keeps_zero(Op op) {
  switch (op) {
  case OP_NEG: case OP_ABS: case OP_SIGN: case OP_SQRT: case OP_TANH: case OP_ERF: case OP_RELU: case OP_SIN: case OP_FLOOR:
  case OP_CAST: case OP_STOP: case OP_TAP: case OP_ADJTAP: return true;
  default: return false;
  }
}

static ElemId apply_one(ElemStore *s, Op op, Dtype t, const Elem *a, bool zero) {
  if (zero && keeps_zero(op)) return ELEM_ZERO;
  draft_clear(s);
  add_base(s, a, one), add_src(s, a, one);
  const Range r = op_class(op) == OPC_ELT ? range_one(op, t, (Range){a->lo, a->hi}) : unknown;
  return draft_intern(s, (Draft){r.lo, r.hi, a->plain || !keeps_zero(op), a->dep});
}

/* a * b, a / b, a chosen or indexed by b: content of either meets the adjoint in the other. */
static ElemId apply_product(ElemStore *s, const Elem *a, const Elem *b, Range r, bool b_plain) {
  draft_clear(s);
  add_base(s, a, b->scale), add_base(s, b, a->scale), add_src(s, a, b->scale), add_src(s, b, a->scale);
  add_cross(s, a, b->dep, b->scale), add_cross(s, b, a->dep, a->scale);
  return draft_intern(s, (Draft){r.lo, r.hi, a->plain && b_plain, (a->plain ? b->dep : 0) | (b_plain ? a->dep : 0)});
}

static ElemId apply_mask(ElemStore *s, const Elem *x, const Elem *f, Range r) {
  const ProofHull factor = {f->lo, f->hi};
  if (fault("proof-takes-open-for-closed") && f->lo <= 0) return ELEM_ZERO;
  draft_clear(s);
  add_base(s, x, factor), add_src(s, x, factor), add_cross(s, x, f->dep, factor);
  s->scale = x->scale;
  return draft_intern(s, (Draft){r.lo, r.hi, x->plain, x->dep | (x->plain ? f->dep : 0)});
}

/* The gradient of a call: linear in dy, made of b in any way. */
static ElemId apply_call(ElemStore *s, ElemId dy, const Elem *b) {
  const Elem *a = elem(s, dy);
  if (dy == ELEM_ZERO) return ELEM_ZERO;
  draft_clear(s);
  add_base(s, a, one), add_base(s, b, one), add_src(s, a, one), add_src(s, b, one);
  add_cross(s, a, b->dep, one), add_cross(s, b, a->dep, one);
  return draft_intern(s, (Draft){-INFINITY, INFINITY, a->plain, a->dep | (a->plain ? b->dep : 0)});
}

static ElemId apply_two(ElemStore *s, Op op, Dtype t, ElemId ia, ElemId ib) {
  const Elem *a = elem(s, ia), *b = elem(s, ib);
  const Range ra = {a->lo, a->hi}, rb = {b->lo, b->hi};
  const bool product = op == OP_MUL || op == OP_DOT || op == OP_MASK;
  if (product && (ia == ELEM_ZERO || ib == ELEM_ZERO)) return ELEM_ZERO;
  if ((op == OP_DIV || op == OP_GATHER || op == OP_SCATTER) && ia == ELEM_ZERO) return ELEM_ZERO;
  const Range r = op == OP_GATHER || op == OP_SCATTER ? ra : range_two(op == OP_DOT ? OP_MUL : op, t, ra, rb);
  switch (op) {
  case OP_MUL: case OP_DOT: return apply_product(s, a, b, r, b->plain);
  case OP_DIV: case OP_GATHER: case OP_SCATTER: return apply_product(s, a, b, r, true);
  case OP_CALL: return apply_call(s, ia, b);
  case OP_MASK: return apply_mask(s, a, b, r);
  case OP_ADD: case OP_SUB:
    draft_clear(s);
    add_base(s, a, one), add_base(s, b, one), add_src(s, a, one), add_src(s, b, one);
    return draft_intern(s, (Draft){r.lo, r.hi, a->plain || b->plain, a->dep | b->dep});
  default: /* not linear: as a product, and as a sum */
    draft_clear(s);
    add_base(s, a, one), add_base(s, b, one), add_src(s, a, one), add_src(s, b, one);
    add_cross(s, a, b->dep, one), add_cross(s, b, a->dep, one);
    return draft_intern(s, (Draft){r.lo, r.hi, true, a->dep | b->dep});
  }
}

static ElemId apply_where(ElemStore *s, const ElemId *x) {
  const Elem *c = elem(s, x[0]), *a = elem(s, x[1]), *b = elem(s, x[2]);
  if (c->lo == c->hi) return c->lo != 0 ? x[1] : x[2];
  if (x[1] == x[2] && a->lo == a->hi) return x[1];
  const bool plain = a->plain || b->plain;
  draft_clear(s);
  add_base(s, a, one), add_base(s, b, one), add_base(s, c, one);
  add_src(s, a, one), add_src(s, b, one), add_src(s, c, one);
  add_cross(s, a, c->dep, one), add_cross(s, b, c->dep, one);
  return draft_intern(s, (Draft){fmin(a->lo, b->lo), fmax(a->hi, b->hi), plain, a->dep | b->dep | (plain ? c->dep : 0)});
}

/* ---- memo --------------------------------------------------------------------------------------------------------- */
static struct ElemMemo *memo_slot(ElemStore *s, const uint64_t *key) {
  uint32_t at = (uint32_t)XXH64(key, 2 * sizeof *key, 0) & s->memo_mask;
  while (s->memo[at].key[0] && (s->memo[at].key[0] != key[0] || s->memo[at].key[1] != key[1])) at = (at + 1) & s->memo_mask;
  return &s->memo[at];
}
static void memo_put(ElemStore *s, const uint64_t *key, ElemId value) {
  if (2 * ++s->n_memo > s->memo_mask) {
    struct ElemMemo *old = s->memo;
    const uint32_t n = s->memo_mask + 1;
    s->memo_mask = 2 * n - 1, s->memo = ARENA_NEWS(s->arena, struct ElemMemo, 2 * n);
    for (uint32_t i = 0; i < n; i++)
      if (old[i].key[0]) *memo_slot(s, old[i].key) = old[i];
  }
  struct ElemMemo *m = memo_slot(s, key);
  m->key[0] = key[0], m->key[1] = key[1], m->value = value;
}

enum { MEMO_JOIN = 0xff, MEMO_SUM = 0xfe }; /* beside operations */
static void memo_key(uint64_t *key, uint32_t what, Dtype t, ElemId a, ElemId b, ElemId c) {
  key[0] = (uint64_t)a << 32 | (uint64_t)t << 16 | what << 1 | 1;
  key[1] = (uint64_t)b << 32 | c;
}

ElemId elem_apply(ElemStore *s, Op op, Dtype t, const ElemId *x, uint32_t n) {
  uint64_t key[2];
  memo_key(key, op, t, x[0], n > 1 ? x[1] : 0, n > 2 ? x[2] : 0);
  const struct ElemMemo *m = memo_slot(s, key);
  if (m->key[0]) return m->value;
  const ElemId r = op == OP_WHERE ? apply_where(s, x)
                   : n == 2       ? apply_two(s, op, t, x[0], x[1])
                                  : apply_one(s, op, t, elem(s, x[0]), x[0] == ELEM_ZERO);
  memo_put(s, key, r);
  return r;
}

ElemId elem_join(ElemStore *s, ElemId ia, ElemId ib) {
  if (ia == ib) return ia;
  uint64_t key[2];
  if (ia > ib) { ElemId swap = ia; ia = ib, ib = swap; }
  memo_key(key, MEMO_JOIN, DT_NONE, ia, ib, 0);
  const struct ElemMemo *m = memo_slot(s, key);
  if (m->key[0]) return m->value;
  const Elem *a = elem(s, ia), *b = elem(s, ib);
  draft_clear(s);
  add_base(s, a, one), add_base(s, b, one), add_src(s, a, one), add_src(s, b, one);
  s->scale = ia == ELEM_ZERO ? b->scale : hull_join(a->scale, b->scale);
  const ElemId r = draft_intern(s, (Draft){fmin(a->lo, b->lo), fmax(a->hi, b->hi), a->plain || b->plain, a->dep | b->dep});
  memo_put(s, key, r);
  return r;
}

ElemId elem_sum(ElemStore *s, ElemId e) {
  if (e == ELEM_ZERO) return e;
  uint64_t key[2];
  memo_key(key, MEMO_SUM, DT_NONE, e, 0, 0);
  const struct ElemMemo *m = memo_slot(s, key);
  if (m->key[0]) return m->value;
  const Elem *x = elem(s, e);
  draft_clear(s);
  add_base(s, x, one), add_src(s, x, one);
  s->scale = x->scale;
  const ElemId r = draft_intern(s, (Draft){x->lo >= 0 ? 0 : -INFINITY, x->hi <= 0 ? 0 : INFINITY, x->plain, x->dep});
  memo_put(s, key, r);
  return r;
}

ElemId elem_with_content(ElemStore *s, ElemId e, uint32_t kind) {
  const Elem *x = elem(s, e);
  if (e == ELEM_ZERO || !x->base) return e;
  draft_clear(s);
  add_base(s, x, one), add_src(s, x, one), add_cross(s, x, (KindSet)1 << kind, one);
  s->scale = x->scale;
  return draft_intern(s, (Draft){x->lo, x->hi, x->plain, x->dep});
}

ElemId elem_scaled(ElemStore *s, ElemId made, ElemId factor) {
  const Elem *x = elem(s, made), *f = elem(s, factor);
  if (!x->plain || made == ELEM_ZERO) return made;
  draft_clear(s);
  add_base(s, x, one), add_src(s, x, one);
  s->scale = hull_times(x->scale, (ProofHull){f->lo, f->hi});
  return draft_intern(s, (Draft){x->lo, x->hi, x->plain, x->dep});
}
