/* SPDX-License-Identifier: Apache-2.0
 * entries.c -- indices of an axis that lie in the same pieces have one label; a cell is one label on each axis, and all
 * entries of a cell have one setting. There are few cells however large the parameter is, so that most questions are
 * answered here, and the rest by one vector of constants for each axis. */
#include "entries.h"
#include <stdlib.h>
#include <string.h>

struct Entries {
  Arena *arena;
  Shape shape;
  uint32_t n_labels[IR_MAX_RANK];
  uint32_t *label[IR_MAX_RANK]; /* [extent] */
  EntrySetting *cell;           /* [labels of axis 0 * labels of axis 1 ..], row-major */
  uint32_t n_cells;
  EntrySetting *settings; uint32_t n_settings;
};

static bool has_setting(const ProgRegion *r) { return r->policy >= 0 || r->decay >= 0 || r->clip; }

static void set(EntrySetting *s, const ProgRegion *r, uint32_t number) {
  if (r->policy >= 0) s->policy = (MaskedPolicy)r->policy;
  if (r->decay >= 0) s->decay = r->decay > 0;
  if (r->clip) s->region = number + 1;
}

static bool same(const EntrySetting *a, const EntrySetting *b) {
  return a->policy == b->policy && a->decay == b->decay && a->region == b->region;
}

/* Gives the indices in the list labels of their own, apart from those outside. */
static void cut(Entries *e, const RegionPiece *piece) {
  const int32_t axis = piece->axis;
  const int64_t extent = e->shape.d[axis];
  const uint32_t n = e->n_labels[axis];
  uint32_t *now = ARENA_NEWS(e->arena, uint32_t, 2 * n), next = 0;
  bool *in = ARENA_NEWS(e->arena, bool, extent);
  for (int64_t k = 0; k < piece->n; k++) in[piece->index[k]] = true;
  for (int64_t i = 0; i < extent; i++) {
    uint32_t *slot = &now[2 * e->label[axis][i] + in[i]];
    if (!*slot) *slot = ++next;
    e->label[axis][i] = *slot - 1;
  }
  e->n_labels[axis] = next;
}

/* The cells in the piece: those with a label on its axis that its first indices have. */
static void mark(const Entries *e, const RegionPiece *piece, bool *in_region) {
  uint32_t inner = 1;
  for (int i = piece->axis + 1; i < e->shape.rank; i++) inner *= e->n_labels[i];
  if (piece->axis < 0) {
    for (uint32_t c = 0; c < e->n_cells; c++) in_region[c] = true;
    return;
  }
  const uint32_t labels = e->n_labels[piece->axis];
  bool *taken = ARENA_NEWS(e->arena, bool, labels);
  for (int64_t k = 0; k < piece->n; k++) taken[e->label[piece->axis][piece->index[k]]] = true;
  for (uint32_t c = 0; c < e->n_cells; c++) in_region[c] = in_region[c] || taken[c / inner % labels];
}

static void collect_settings(Entries *e) {
  e->settings = ARENA_NEWS(e->arena, EntrySetting, e->n_cells);
  for (uint32_t c = 0; c < e->n_cells; c++) {
    uint32_t k = 0;
    while (k < e->n_settings && !same(&e->settings[k], &e->cell[c])) k++;
    if (k == e->n_settings) e->settings[e->n_settings++] = e->cell[c];
  }
}

Entries *entries_of(const Program *p, uint32_t param, Arena *a) {
  Entries *e = ARENA_NEW(a, Entries);
  const ProgParam *q = &p->params[param];
  *e = (Entries){.arena = a, .shape = q->shape, .n_cells = 1};
  for (int i = 0; i < e->shape.rank; i++) e->n_labels[i] = 1, e->label[i] = ARENA_NEWS(a, uint32_t, e->shape.d[i]);
  for (uint32_t r = 0; r < p->n_regions; r++) {
    if (!has_setting(&p->regions[r])) continue;
    for (uint32_t k = 0; k < p->regions[r].n_pieces; k++)
      if (p->regions[r].pieces[k].param == param && p->regions[r].pieces[k].axis >= 0) cut(e, &p->regions[r].pieces[k]);
  }
  for (int i = 0; i < e->shape.rank; i++) e->n_cells *= e->n_labels[i];
  e->cell = ARENA_NEWS(a, EntrySetting, e->n_cells);
  for (uint32_t c = 0; c < e->n_cells; c++) e->cell[c] = (EntrySetting){q->policy, q->decay, 0};
  for (uint32_t r = 0; r < p->n_regions; r++) {
    if (!has_setting(&p->regions[r])) continue;
    bool *in_region = ARENA_NEWS(a, bool, e->n_cells);
    for (uint32_t k = 0; k < p->regions[r].n_pieces; k++)
      if (p->regions[r].pieces[k].param == param) mark(e, &p->regions[r].pieces[k], in_region);
    for (uint32_t c = 0; c < e->n_cells; c++)
      if (in_region[c]) set(&e->cell[c], &p->regions[r], r);
  }
  collect_settings(e);
  return e;
}

const EntrySetting *entries_settings(const Entries *e, uint32_t *n) { return *n = e->n_settings, e->settings; }

/* The entries of the labels on `axis` whose sub-tables of cells equal that of label `like`. */
static Partial labels_like(Graph *g, const Entries *e, int axis, const bool *same_as) {
  Shape row = {.rank = 1, .d = {e->shape.d[axis]}};
  double *data = ARENA_NEWS(e->arena, double, row.d[0]);
  for (int64_t i = 0; i < row.d[0]; i++) data[i] = same_as[e->label[axis][i]];
  return (Partial){ir_const_data(g, (Span){0}, data, &row, DT_F32), 1u << axis};
}

/* From axis `axis` on, over the `n` cells at yes: labels with equal sub-tables are taken together, and where all are equal
 * the axis does not matter. */
static Partial from_axis(Graph *g, const Entries *e, int axis, const bool *yes, uint32_t n) {
  if (axis == e->shape.rank) return partial_of(*yes);
  const uint32_t labels = e->n_labels[axis], sub = n / labels;
  bool *done = ARENA_NEWS(e->arena, bool, labels);
  Partial any = partial_of(false);
  for (uint32_t l = 0; l < labels; l++) {
    if (done[l]) continue;
    bool *like = ARENA_NEWS(e->arena, bool, labels), all = true;
    for (uint32_t k = 0; k < labels; k++) {
      like[k] = !memcmp(yes + (size_t)l * sub, yes + (size_t)k * sub, sub * sizeof *yes);
      done[k] = done[k] || like[k], all = all && like[k];
    }
    Partial inner = from_axis(g, e, axis + 1, yes + (size_t)l * sub, sub);
    if (all) return inner;
    if (partial_is(inner, false)) continue;
    Partial these = labels_like(g, e, axis, like);
    these = partial_and(g, these, inner, &e->shape);
    any = partial_or(g, any, these, &e->shape);
  }
  return any;
}

Partial entries_where(Graph *g, const Entries *e, bool (*holds)(const EntrySetting *, uint32_t), uint32_t arg) {
  bool *yes = ARENA_NEWS(e->arena, bool, e->n_cells);
  for (uint32_t c = 0; c < e->n_cells; c++) yes[c] = holds(&e->cell[c], arg);
  return from_axis(g, e, 0, yes, e->n_cells);
}
