/* SPDX-License-Identifier: Apache-2.0
 * check_policy.c -- an entry of a parameter has one policy, one answer about decay and one clip group: regions that share
 * entries must agree. */
#include "model.h"

/* Do two pieces share an entry? Pieces that cut different axes cross. */
static bool pieces_meet(Arena *a, const Program *p, const RegionPiece *x, const RegionPiece *y) {
  if (x->param != y->param) return false;
  if (x->axis < 0 || y->axis < 0 || x->axis != y->axis) return true;
  bool *in = ARENA_NEWS(a, bool, p->params[x->param].shape.d[x->axis]);
  for (int64_t i = 0; i < x->n; i++) in[x->index[i]] = true;
  for (int64_t i = 0; i < y->n; i++)
    if (in[y->index[i]]) return true;
  return false;
}

/* The first piece of x that meets one of y. */
static const RegionPiece *meeting(Arena *a, const Program *p, const ProgRegion *x, const ProgRegion *y) {
  for (uint32_t i = 0; i < x->n_pieces; i++)
    for (uint32_t k = 0; k < y->n_pieces; k++)
      if (pieces_meet(a, p, &x->pieces[i], &y->pieces[k])) return &x->pieces[i];
  return NULL;
}

static const char *disagreement(const ProgRegion *x, const ProgRegion *y) {
  if (x->policy >= 0 && y->policy >= 0 && x->policy != y->policy) return "masked";
  if (x->decay >= 0 && y->decay >= 0 && x->decay != y->decay) return "decay";
  return x->clip && y->clip ? "clip" : NULL; /* each bound makes a group of its own */
}

void check_region_settings(Model *m) {
  const Program *p = m->p;
  for (uint32_t i = 1; i < p->n_regions; i++) {
    for (uint32_t k = 0; k < i; k++) {
      const ProgRegion *x = &p->regions[i], *y = &p->regions[k];
      const char *key = disagreement(x, y);
      const RegionPiece *at = key ? meeting(m->a, p, x, y) : NULL;
      if (!at) continue;
      Diag *g = err(m, E0435, x->span, x->name, y->name, key, p->params[at->param].path);
      diag_also(m->diags, g, y->span, "`%s` says it differently", y->name);
      diag_help(m->diags, g, "say it in one of them, or make them disjoint: `.made_by` and `.read_by` name half of what a part owns");
    }
  }
}
