/* SPDX-License-Identifier: Apache-2.0
 * driver_prove.h -- the proof as a table of rows, which driver_prove*.c print as text, JSON and a drawing. */
#ifndef ROUTEC_DRIVER_PROVE_H
#define ROUTEC_DRIVER_PROVE_H
#include "driver.h"

/* A region, or entries of parameters of one module that have the same influences. */
typedef struct ProveRow {
  const char *name;
  bool region;
  bool updated;                       /* some step writes it */
  uint32_t module;                    /* of parameters: which one */
  RegionPiece *pieces; uint32_t n_pieces;
  ProofHull *hull;                    /* [class][origin] */
  const char **parts; uint32_t n_parts; /* "top.weight[0 .. 8]" */
} ProveRow;

typedef struct ProveTable {
  const Compilation *c;
  const Proof *proof;
  bool strictly;
  uint32_t *cls; uint32_t n_cls;      /* the classes that are shown */
  ProveRow *rows; uint32_t n_rows;    /* regions first; then every entry of every parameter exactly once */
  const char **modules; uint32_t n_modules;
  uint32_t n_origins;
} ProveTable;

static inline ProofHull prove_hull(const ProveTable *t, const ProveRow *r, uint32_t cls, uint32_t origin) {
  return r->hull[cls * t->n_origins + origin];
}
ProveTable *prove_table(const Compilation *c, const Proof *f);
const char *prove_hull_text(Arena *a, ProofHull h); /* "none", "full", "scaled [0, 0.5]" */
const char *prove_cell_text(Arena *a, const ProofParam *p, const Shape *s, uint32_t cell); /* "[0 .. 8, :]", "": all entries */
void prove_print_text(const ProveTable *t, FILE *f, int verbose);
void prove_print_svg(const ProveTable *t, FILE *f);
#endif
