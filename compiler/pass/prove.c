/* SPDX-License-Identifier: Apache-2.0
 * prove.c -- the proof as its readers see it: classes, atoms of parameters, entries of the table. */
#include "prove.h"
#include "compiler.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const ProofHull none = {INFINITY, -INFINITY};
static ProofHull join(ProofHull a, ProofHull b) { return (ProofHull){fmin(a.lo, b.lo), fmax(a.hi, b.hi)}; }

const char *proof_way_text(ProofWay w) {
  static const char *const text[N_PROOF_WAYS] = {
      [WAY_DIRECT] = "direct gradient",
      [WAY_FACTOR] = "scaled by a route",
      [WAY_OPEN] = "left open by a route of parameters",
      [WAY_UNROUTED] = "unrouted origin",
      [WAY_ORIGIN] = "origin that the route does not name",
      [WAY_READER] = "reader of a routed place",
      [WAY_TIED] = "second use of a tied parameter",
      [WAY_GAIN] = "shared gain",
      [WAY_BIAS] = "bias",
      [WAY_SKIP] = "residual skip",
      [WAY_SECOND_READER] = "second reader of the value",
      [WAY_POSITIONS] = "other positions of the datum",
      [WAY_MIXING] = "operation that mixes data in the forward pass",
      [WAY_GATE] = "value of a gate",
      [WAY_TARGET] = "a gate's own loss",
      [WAY_CLIP] = "clip scale or denominator",
  };
  return w < N_PROOF_WAYS && text[w] ? text[w] : "unknown";
}

/* ---- classes ------------------------------------------------------------------------------------------------- */
KindSet proof_kinds_where(const Proof *f, uint32_t cond, bool holds) {
  KindSet set = 0;
  for (uint32_t k = 0; k < f->n_kinds; k++)
    if ((f->program->kinds[k] >> cond & 1) == holds) set |= (KindSet)1 << k;
  return set;
}

static void add_class(Proof *f, const char *name, int32_t cls, KindSet kinds, Span span) {
  if (kinds) f->classes[f->n_classes++] = (ProofClass){name, cls, kinds, span};
}

/* Declared classes, conditions that no class names, and what is left. */
static void make_classes(Proof *f) {
  const Program *p = f->program;
  uint32_t named = 0;
  KindSet any = 0;
  f->classes = ARENA_NEWS(f->arena, ProofClass, p->n_classes + p->n_conds + 1);
  for (uint32_t i = 0; i < p->n_classes; i++) {
    if (!p->classes[i].declared) continue;
    const KindSet kinds = proof_kinds_where(f, p->classes[i].cond, true);
    named |= 1u << p->classes[i].cond, any |= kinds;
    add_class(f, p->classes[i].name, (int32_t)i, kinds, p->classes[i].span);
  }
  for (uint32_t i = 0; i < p->n_conds; i++) {
    if (named >> i & 1) continue;
    const KindSet kinds = proof_kinds_where(f, i, true);
    any |= kinds;
    add_class(f, p->conds[i].text, -1, kinds, p->conds[i].span);
  }
  add_class(f, f->n_classes ? "otherwise" : "all data", -1, f->all & ~any, (Span){0});
}

/* ---- entries -------------------------------------------------------------------------------------------------- */
static bool writes(const Root *r, uint32_t param) {
  return (r->kind == ROOT_PARAM || r->kind == ROOT_STATE) && r->a == param;
}

/* What reaches a cell. Content that no origin carries counts for each. */
static ProofHull cell_hull(const ProofFlow *f, ElemId e, KindSet kinds, OriginSet origins) {
  const Elem *x = elem(&f->elems, e);
  ProofHull h = none;
  if (x->dep & kinds) h = (ProofHull){1, 1};
  for (uint32_t k = 0; (x->src_kinds & kinds) >> k; k++)
    for (uint32_t o = 0; ((x->src_kinds & kinds) >> k & 1) && o < f->elems.n_origins; o++)
      if (origins >> o & 1) h = join(h, x->src[k * f->elems.n_origins + o]);
  return h;
}

/* Which labels of the piece's axis hold an index of the piece; NULL: all. */
static const bool *piece_labels(const ProofFlow *f, const Abs *x, const RegionPiece *piece) {
  if (piece->axis < 0) return NULL;
  const Labels *l = x->axis[piece->axis];
  bool *hit = ARENA_NEWS(f->arena, bool, l->n_labels);
  for (int64_t i = 0; i < piece->n; i++) hit[label_at(l, piece->index[i])] = true;
  return hit;
}

static bool cell_in_piece(const Abs *x, int32_t rank, uint32_t cell, int32_t axis, const bool *hit) {
  if (!hit) return true;
  uint32_t inner = 1;
  for (int32_t i = axis + 1; i < rank; i++) inner *= (uint32_t)x->axis[i]->n_labels;
  return hit[cell / inner % (uint32_t)x->axis[axis]->n_labels];
}

bool prove_next_cell(const ProofFlow *f, const RegionPiece *piece, uint32_t *root, uint32_t *cell) {
  for (; *root < f->g->n_roots; ++*root, *cell = 0) {
    const Root *r = &f->g->roots[*root];
    if (!writes(r, piece->param) || (piece->axis >= 0 && !piece->n)) continue;
    const Abs *x = &f->abs[r->value];
    const bool *hit = piece_labels(f, x, piece);
    for (; *cell < x->n_cells; ++*cell)
      if (cell_in_piece(x, ir_value(f->g, r->value)->shape.rank, *cell, piece->axis, hit)) return true;
  }
  return false;
}

ProofFlow *proof_flow(const Proof *p, ProofView view) {
  switch (view) {
  case PROOF_STRICT: return p->strict;
  case PROOF_AT: return p->at;
  case PROOF_AT_STRICT: return p->at_strict;
  default: return p->loose;
  }
}

ProofHull proof_piece(const Proof *p, const RegionPiece *piece, KindSet kinds, OriginSet origins, ProofView view) {
  const ProofFlow *f = proof_flow(p, view);
  ProofHull h = none;
  for (uint32_t root = 0, cell = 0; prove_next_cell(f, piece, &root, &cell); cell++)
    h = join(h, cell_hull(f, f->abs[f->g->roots[root].value].cell[cell], kinds, origins));
  return h;
}

ProofHull proof_region(const Proof *p, uint32_t region, KindSet kinds, OriginSet origins, ProofView view) {
  const ProgRegion *r = &p->program->regions[region];
  ProofHull h = none;
  for (uint32_t i = 0; i < r->n_pieces; i++) h = join(h, proof_piece(p, &r->pieces[i], kinds, origins, view));
  return h;
}

OriginSet proof_region_origins(const Proof *p, uint32_t region) {
  const ProgRegion *r = &p->program->regions[region];
  const ProofFlow *f = p->strict;
  OriginSet set = 0;
  for (uint32_t i = 0; i < r->n_pieces; i++)
    for (uint32_t root = 0, cell = 0; prove_next_cell(f, &r->pieces[i], &root, &cell); cell++)
      set |= elem(&f->elems, f->abs[f->g->roots[root].value].cell[cell])->base_origins;
  return set;
}

ProofHull proof_cell(const Proof *p, uint32_t param, uint32_t cell, KindSet kinds, OriginSet origins, ProofView view) {
  const ProofFlow *f = proof_flow(p, view);
  const ProofParam *a = &p->params[param];
  const int32_t rank = p->program->params[param].shape.rank;
  int64_t index[IR_MAX_RANK] = {0};
  for (int32_t k = rank; k-- > 0; cell /= (uint32_t)a->n_labels[k])
    while (a->label[k][index[k]] != (int32_t)(cell % (uint32_t)a->n_labels[k])) index[k]++;
  ProofHull h = none;
  for (uint32_t i = 0; i < f->g->n_roots; i++) {
    if (!writes(&f->g->roots[i], param)) continue;
    const Abs *x = &f->abs[f->g->roots[i].value];
    h = join(h, cell_hull(f, x->cell[abs_cell_at(x, rank, index)], kinds, origins));
  }
  return h;
}

/* ---- atoms ------------------------------------------------------------------------------------------------------ */
static KindSet cell_reach(const ProofFlow *f, uint32_t param, const int64_t *index, int32_t rank) {
  KindSet reach = 0;
  for (uint32_t i = 0; i < f->g->n_roots; i++) {
    const Root *r = &f->g->roots[i];
    if (!writes(r, param)) continue;
    const Abs *x = &f->abs[r->value];
    const Elem *e = elem(&f->elems, x->cell[abs_cell_at(x, rank, index)]);
    reach |= e->dep | e->src_kinds;
  }
  return reach;
}

static void cut_param(Proof *p, uint32_t i) {
  const int32_t rank = p->program->params[i].shape.rank;
  ProofFlow *flows[2] = {p->loose, p->strict};
  ProofParam *out = &p->params[i];
  Abs atoms = {.n_cells = 1};
  for (int32_t k = 0; k < rank; k++) atoms.axis[k] = labels_one(&p->loose->labels, p->program->params[i].shape.d[k]);
  for (int w = 0; w < 2; w++)
    for (uint32_t r = 0; r < flows[w]->g->n_roots; r++) {
      if (!writes(&flows[w]->g->roots[r], i)) continue;
      out->updated = true;
      for (int32_t k = 0; k < rank; k++)
        atoms.axis[k] = labels_refine(&p->loose->labels, atoms.axis[k], flows[w]->abs[flows[w]->g->roots[r].value].axis[k]);
    }
  for (int32_t k = 0; k < rank; k++) {
    const Labels *l = atoms.axis[k];
    out->n_labels[k] = l->n_labels, atoms.n_cells *= (uint32_t)l->n_labels;
    out->label[k] = l->of ? l->of : ARENA_NEWS(p->arena, int32_t, l->n);
  }
  KindSet *reach[2] = {ARENA_NEWS(p->arena, KindSet, atoms.n_cells), ARENA_NEWS(p->arena, KindSet, atoms.n_cells)};
  out->n_cells = atoms.n_cells, out->reach = reach[0], out->reach_strictly = reach[1];
  for (uint32_t c = 0; c < atoms.n_cells; c++) {
    int64_t index[IR_MAX_RANK];
    abs_index_of(&atoms, rank, c, index);
    for (int w = 0; w < 2; w++) reach[w][c] = cell_reach(flows[w], i, index, rank);
  }
}

bool proof_route_is_idle(const Proof *p, uint32_t route) {
  const ProgRoute *r = &p->program->routes[route]; /* before simplify: the factor is a value of p->graph */
  const Abs *x = r->primitive == ROUTE_GRADIENT && r->factor ? &p->loose->abs[r->factor] : NULL;
  bool idle = x && x->n_cells; /* a factor that nobody reads masks nothing, but that is another lint's matter */
  for (uint32_t c = 0; idle && c < x->n_cells; c++) {
    const Elem *e = elem(&p->loose->elems, x->cell[c]);
    idle = e->lo == 1 && e->hi == 1;
  }
  return idle;
}

Proof *pass_prove(Program *p, Arena *a) {
  Proof *f = ARENA_NEW(a, Proof);
  *f = (Proof){.program = p, .graph = p->step, .arena = a, .n_kinds = p->n_conds ? p->n_kinds : 1};
  if (!p->step) f->failure = "there is no training step";
  else if (!f->n_kinds) f->failure = "the conditions of classes and arms have too many combinations, or their fields have no declared finite ranges";
  else if (f->n_kinds > PROOF_MAX_KINDS) f->failure = arena_printf(a, "the conditions of classes and arms have %u combinations, more than %d", f->n_kinds, PROOF_MAX_KINDS);
  if (f->failure) return f;
  f->all = f->n_kinds == 64 ? ~(KindSet)0 : ((KindSet)1 << f->n_kinds) - 1;
  make_classes(f);
  f->loose = f->strict = flow_run(p, a, PROOF_LOOSE);
  if (p->n_cuts) f->strict = flow_run(p, a, PROOF_STRICT);
  for (uint32_t i = 0; i < p->n_forbids && !f->at; i++)
    if (p->forbids[i].about == FORBID_AT) f->at = flow_run(p, a, PROOF_AT), f->at_strict = p->n_cuts ? flow_run(p, a, PROOF_AT_STRICT) : f->at;
  f->n_places = f->loose->n_places, f->column_stride = f->loose->column_stride;
  f->params = ARENA_NEWS(a, ProofParam, p->n_params);
  for (uint32_t i = 0; i < p->n_params; i++) cut_param(f, i);
  return f;
}
