/* SPDX-License-Identifier: Apache-2.0
 * geom.c -- a DOT between strided views as C[g][m][n] = sum_k A[g][m][k] B[g][k][n]. */
#include "plan_work.h"
#include <string.h>

static bool has(const uint8_t *list, uint32_t n, int axis) {
  for (uint32_t i = 0; i < n; i++)
    if (list[i] == axis) return true;
  return false;
}

DotAxes dot_axes(const Graph *g, const Value *dot) {
  DotAxes x = {.nb = (uint32_t)dot->ints[0], .nc = (uint32_t)dot->ints[1]};
  const int64_t *p = dot->ints + 2;
  for (uint32_t i = 0; i < x.nb; i++) x.ba[i] = (uint8_t)p[i], x.bb[i] = (uint8_t)p[x.nb + i];
  p += 2 * x.nb;
  for (uint32_t i = 0; i < x.nc; i++) x.ca[i] = (uint8_t)p[i], x.cb[i] = (uint8_t)p[x.nc + i];
  int ra = g->v[dot->args[0]].shape.rank, rb = g->v[dot->args[1]].shape.rank;
  for (int i = 0; i < ra; i++)
    if (!has(x.ba, x.nb, i) && !has(x.ca, x.nc, i)) x.fa[x.nfa++] = (uint8_t)i;
  for (int i = 0; i < rb; i++)
    if (!has(x.bb, x.nb, i) && !has(x.cb, x.nc, i)) x.fb[x.nfb++] = (uint8_t)i;
  return x;
}

/* Stable insertion sort of contraction indices by descending stride in `v`. */
static void sort_by_stride(const View *v, const uint8_t *axes, uint32_t n, uint8_t *order) {
  for (uint32_t i = 1; i < n; i++)
    for (uint32_t j = i; j > 0 && v->strides[axes[order[j - 1]]] < v->strides[axes[order[j]]]; j--) {
      uint8_t t = order[j];
      order[j] = order[j - 1], order[j - 1] = t;
    }
}

bool gemm_k_order(const DotAxes *x, const View *a, const View *b, uint32_t k, uint8_t *order) {
  if (k > 2 || (k && x->nc < 2)) return false;
  for (uint32_t i = 0; i < x->nc; i++) order[i] = (uint8_t)i;
  if (k == 1) sort_by_stride(a, x->ca, x->nc, order);
  if (k == 2) sort_by_stride(b, x->cb, x->nc, order);
  /* Rows must be the outermost axis of a collapsed one: their count is known at run time only. */
  for (uint32_t i = 1; i < x->nc; i++)
    if (a->shape.d[x->ca[order[i]]] < 0) {
      uint8_t t = order[i];
      memmove(order + 1, order, i);
      order[0] = t;
    }
  return true;
}

static bool is_one(Extent e) { return e.n == 1 && !e.rows; }

/* One of the strides must be 1; none may be 0, which no BLAS takes. */
static bool strides_serve(Extent e, int64_t se, Extent k, int64_t sk) {
  return (is_one(e) || is_one(k) || se == 1 || sk == 1) && (is_one(e) || se != 0) && (is_one(k) || sk != 0);
}

bool gemm_operand_fits(const View *v, const uint8_t *free, uint32_t nf, const uint8_t *con, uint32_t nc,
                       bool prefix) {
  Extent e, k;
  int64_t se, sk;
  if (!view_collapse(v, con, nc, &k, &sk)) return false;
  for (uint32_t p = 0; p == 0 || (prefix && p < nf); p++)
    if (view_collapse(v, free + p, nf - p, &e, &se) && strides_serve(e, se, k, sk)) return true;
  return false;
}

typedef struct Side {
  Extent e;
  int64_t free, k;
} Side; /* an operand collapsed */

static bool side_of(const View *v, const uint8_t *free, uint32_t nf, const uint8_t *con, uint32_t nc, Side *s,
                    Extent *k) {
  if (!view_collapse(v, free, nf, &s->e, &s->free) || !view_collapse(v, con, nc, k, &s->k)) return false;
  if (!strides_serve(s->e, s->free, *k, s->k)) return false;
  if (is_one(s->e)) s->free = 1;
  if (is_one(*k)) s->k = 1;
  return true;
}

static void set_batch(GemmGeom *g, const DotAxes *x, const View *a, const View *b, const Shape *result,
                      const int64_t *cs, uint32_t prefix, bool swapped) {
  g->n_batch = x->nb + prefix;
  for (uint32_t i = 0; i < g->n_batch; i++) {
    int64_t d = result->d[i];
    int64_t sa = i < x->nb ? a->strides[x->ba[i]] : a->strides[x->fa[i - x->nb]];
    int64_t sb = i < x->nb ? b->strides[x->bb[i]] : 0;
    g->batch[i] = dim_is_rows(d) ? (Extent){1, 1 + (uint32_t)dim_set(d)} : (Extent){d, 0};
    g->a_batch[i] = swapped ? sb : sa;
    g->b_batch[i] = swapped ? sa : sb;
    g->c_batch[i] = cs[i];
  }
}

static bool try_geometry(const DotAxes *x, const View *a, const View *b, const View *c, const uint8_t *order,
                         uint32_t prefix, int64_t max_rows, GemmGeom *g, bool *swapped) {
  uint8_t ca[IR_MAX_RANK], cb[IR_MAX_RANK], rfa[IR_MAX_RANK], rfb[IR_MAX_RANK];
  for (uint32_t i = 0; i < x->nc; i++) ca[i] = x->ca[order[i]], cb[i] = x->cb[order[i]];
  for (uint32_t i = 0; i < x->nfa; i++) rfa[i] = (uint8_t)(x->nb + i);
  for (uint32_t i = 0; i < x->nfb; i++) rfb[i] = (uint8_t)(x->nb + x->nfa + i);
  Side A, B;
  Extent k, kb, ea, eb;
  int64_t sa, sb;
  if (!side_of(a, x->fa + prefix, x->nfa - prefix, ca, x->nc, &A, &k) ||
      !side_of(b, x->fb, x->nfb, cb, x->nc, &B, &kb))
    return false;
  if (!view_collapse(c, rfa + prefix, x->nfa - prefix, &ea, &sa) || !view_collapse(c, rfb, x->nfb, &eb, &sb))
    return false;
  bool unit_b = is_one(eb) || sb == 1, unit_a = is_one(ea) || sa == 1;
  *swapped = !unit_b || (is_one(eb) && !is_one(ea) && unit_a);
  if (*swapped && !unit_a) return false;
  Side M = *swapped ? B : A, N = *swapped ? A : B;
  int64_t cm = *swapped ? sb : sa;
  *g = (GemmGeom){.m = M.e, .n = N.e, .k = k, .am = M.free, .ak = M.k, .bk = N.k, .bn = N.free, .cm = cm};
  if (is_one(g->m)) g->cm = g->n.rows ? sat_mul(g->n.n, max_rows) : g->n.n;
  return true;
}

bool gemm_geometry(const DotAxes *x, const View *a, const View *b, const Shape *result, const int64_t *cs,
                   int64_t max_rows, GemmGeom *g, bool *swapped) {
  View c = {.shape = *result};
  for (int i = 0; i < result->rank; i++) c.strides[i] = cs[i];
  uint8_t order[IR_MAX_RANK];
  for (uint32_t p = 0; (p == 0 || p < x->nfa) && x->nb + p <= PLAN_MAX_GEMM_BATCH; p++)
    for (uint32_t k = 0; gemm_k_order(x, a, b, k, order); k++)
      if (try_geometry(x, a, b, &c, order, p, max_rows, g, swapped)) {
        set_batch(g, x, a, b, result, cs, p, *swapped);
        return true;
      }
  return false;
}
