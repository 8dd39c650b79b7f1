/* SPDX-License-Identifier: Apache-2.0
 * proof.h -- which data may change which parameters in one step: what pass_prove finds and others read.
 *
 * Rows of a batch are of kinds: the feasible truth assignments of the program's conditions. For each entry of a
 * parameter, kind and origin the proof holds `none`, or the hull of the products of declared factors through which the
 * content of data of that kind reaches the entry's next value, its moments or its counters. `none` means: two batches
 * that differ only in the content of data of that kind (same state, draws and conditions) give bitwise equal results.
 * Where conditions have positions, kinds are those of each position of a datum. The content of a kind is then what placed
 * columns hold at its positions, and what other columns hold of data that have such a position. */
#ifndef ROUTEC_PROOF_H
#define ROUTEC_PROOF_H
#include "program.h"

typedef struct ProofHull { double lo, hi; } ProofHull; /* lo > hi: none */
static inline bool proof_is_none(ProofHull h) { return h.lo > h.hi; }
/* Some datum's factor is 1; otherwise the influence is scaled. */
static inline bool proof_is_full(ProofHull h) { return h.lo <= 1 && h.hi >= 1; }

typedef uint64_t KindSet; /* bit k = Program.kinds[k]; at most 64 */
#define PROOF_MAX_KINDS 64

/* A class as a row of the table: a declared one, or `otherwise` (no declared class holds), or all data. */
typedef struct ProofClass { const char *name; int32_t cls; /* index in Program.classes, or -1 */ KindSet kinds; Span span; } ProofClass;

/* Atoms of one parameter: its axes are cut into labels; cell = the labels in row-major order. */
typedef struct ProofParam {
  bool updated;                         /* false: no step writes it */
  int32_t n_labels[IR_MAX_RANK];
  const int32_t *label[IR_MAX_RANK];    /* [axis][index] */
  uint32_t n_cells;
  const KindSet *reach;                 /* [cell]: kinds that may change the entries of the cell; clip scales and denominators not counted */
  const KindSet *reach_strictly;        /* [cell]: counted */
} ProofParam;

/* Why an influence is there. */
typedef enum ProofWay {
  WAY_DIRECT,        /* the class's own gradient, through no route */
  WAY_FACTOR,        /* through a route whose factor for the class is neither 0 nor 1 */
  WAY_OPEN,          /* every use has a route of parameters, and for the class its factor is 1 */
  WAY_UNROUTED,      /* a regularizer or loss with `gradient = unrouted` passes the place */
  WAY_ORIGIN,        /* the route at the place does not name this origin */
  WAY_READER,        /* the parameter reads the place: a gradient route protects what makes units, not what reads them */
  WAY_TIED,          /* another use of the parameter is not routed */
  WAY_GAIN,          /* gain or bias of a normalisation that all units share */
  WAY_BIAS,
  WAY_SKIP,          /* a residual skip around the routed branch */
  WAY_SECOND_READER, /* another reader of the value goes round the routed place */
  WAY_POSITIONS,     /* content of positions of the class is at other positions of the datum too */
  WAY_MIXING,        /* an operation mixes data in the forward pass: batch statistics, correlation */
  WAY_GATE,          /* through the weights that mix the routed branches */
  WAY_TARGET,        /* a gate's own loss */
  WAY_CLIP,          /* a clip scale or a denominator; only for `strictly` */
  N_PROOF_WAYS
} ProofWay;
const char *proof_way_text(ProofWay w); /* "second use of a tied weight" */

typedef struct ProofStep { const char *name; Span span; bool by_call; } ProofStep; /* a named value; by_call: what a plugin does there */
typedef struct ProofPath {
  ProofWay way;
  const char *place;  /* the route's place that the way has to do with, or NULL */
  const char *route;  /* its route, or NULL */
  const char *gate;   /* GATE, TARGET: which */
  bool unplaced;      /* FACTOR: its condition is at positions that the proof cannot tell apart there */
  ProofStep mixer;    /* MIXING: the operation; name NULL: not found */
  uint32_t param;     /* where it ends */
  uint32_t origin;
  ProofStep *steps; uint32_t n_steps; /* from the origin to the parameter */
} ProofPath;

typedef struct Proof {
  const Program *program;
  const Graph *graph;                   /* the step that was looked at; later stages put another one in its place */
  const char *failure;                  /* NULL, or why nothing can be proved: then there is nothing else in here */
  uint32_t n_kinds;
  KindSet all;
  int64_t n_places;                     /* positions of a datum that conditions tell apart; 0: none */
  const int64_t *column_stride;         /* [column]: entries along the first axis for each position; 0: content of the whole datum */
  ProofClass *classes; uint32_t n_classes;
  ProofParam *params;                   /* [Program.n_params] */
  struct ProofFlow *loose, *strict;     /* pass/prove.h; equal where the program has no cuts */
  struct ProofFlow *at, *at_strict;     /* for `forbid at`; NULL: there is none */
  Arena *arena;
} Proof;

/* pass_prove() is declared in compiler.h. It requires p->step with masks and update in it, before simplify. */
KindSet proof_kinds_where(const Proof *f, uint32_t cond, bool holds);
/* What counts: content of data; or AT, of a parameter's gradient as a sum over data and positions, the terms at positions of
 * the kinds. STRICT: with clip scales and denominators. */
typedef enum ProofView { PROOF_LOOSE = 0, PROOF_STRICT = 1, PROOF_AT = 2, PROOF_AT_STRICT = 3 } ProofView;
/* The join over the entries of a piece or region, the kinds and the origins. */
ProofHull proof_piece(const Proof *f, const RegionPiece *piece, KindSet kinds, OriginSet origins, ProofView view);
ProofHull proof_region(const Proof *f, uint32_t region, KindSet kinds, OriginSet origins, ProofView view);
ProofHull proof_cell(const Proof *f, uint32_t param, uint32_t cell, KindSet kinds, OriginSet origins, ProofView view);
/* The origins whose gradient reaches an entry of the region, with or without content of data (a penalty). */
OriginSet proof_region_origins(const Proof *f, uint32_t region);
/* A route of gradients whose factor is 1 for all data. */
bool proof_route_is_idle(const Proof *f, uint32_t route);
/* The shortest way in of an influence that is not none. False if there is none. */
bool proof_path(const Proof *f, const RegionPiece *pieces, uint32_t n_pieces, KindSet kinds, OriginSet origins, ProofView view,
                ProofPath *out);
#endif
