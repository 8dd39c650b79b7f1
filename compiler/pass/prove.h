/* SPDX-License-Identifier: Apache-2.0
 * prove.h -- the abstract domain of the proof: elements, labels, tables. Only pass/prove*.c include it.
 *
 * The table of a value has one element for each cell: an axis is cut into labels, and the datum axis has one label for
 * each kind of row. An element speaks of all entries of its cell. */
#ifndef ROUTEC_PROVE_H
#define ROUTEC_PROVE_H
#include "proof.h"
#include "ops.h"

/* ---- prove_label.c: partitions of an axis, interned: equal partitions are one pointer ---- */
typedef struct Labels {
  int64_t n;          /* extent */
  int32_t n_labels;
  int32_t *of;        /* [index]; NULL: one label */
  int64_t *rep;       /* [label]: its first index */
  uint64_t hash;
  struct Labels *next;
} Labels;
typedef struct LabelStore { Arena *arena; Labels **bucket; uint32_t n_buckets; int32_t *scratch; size_t cap_scratch; } LabelStore;
const Labels *labels_one(LabelStore *s, int64_t n);
/* The partition that raw[] means; raw values are 0 ..< n_raw. */
const Labels *labels_make(LabelStore *s, const int32_t *raw, int64_t n, int64_t n_raw);
const Labels *labels_refine(LabelStore *s, const Labels *a, const Labels *b);
/* Labels joined: label i of `a` becomes class[i]. */
const Labels *labels_merge(LabelStore *s, const Labels *a, const int32_t *class_of, int32_t n_classes);
/* Indices with equal sig[] (0 ..< n) get one label. */
const Labels *labels_by_signature(LabelStore *s, const uint64_t *sig, int64_t n);
static inline int32_t label_at(const Labels *l, int64_t index) { return l->of ? l->of[index] : 0; }

/* ---- prove_elem.c: elements, interned: a number is an element; 0 is the constant zero ---- */
typedef uint32_t ElemId;
#define ELEM_ZERO ((ElemId)0)
typedef struct Elem {
  double lo, hi;          /* closed interval of values; infinite where not known */
  bool plain;             /* part of it is no adjoint: what multiplies it acts for no origin */
  KindSet dep;            /* kinds whose content it depends on as a forward value */
  ProofHull scale;        /* factors that routes of parameters have multiplied into it as a forward value */
  KindSet src_kinds;      /* kinds with an entry in src */
  OriginSet base_origins; /* origins with an entry in base */
  const ProofHull *base;  /* [origin]: hull of factor products, of the adjoint itself; NULL: none */
  const ProofHull *src;   /* [kind][origin]: hull of factor products through which content arrives; NULL: none */
  uint64_t hash;
} Elem;
typedef struct ElemStore {
  Arena *arena;
  uint32_t n_kinds, n_origins;
  Elem *v; uint32_t n, cap;
  uint32_t *table; uint32_t mask;                          /* open addressing over v */
  struct ElemMemo { uint64_t key[2]; ElemId value; } *memo; /* open addressing; key[0] 0: free */
  uint32_t memo_mask, n_memo;
  ProofHull *base, *src;  /* scratch of the element being made */
  ProofHull scale;        /* likewise */
} ElemStore;
void elems_create(ElemStore *s, Arena *a, uint32_t n_kinds, uint32_t n_origins);
static inline const Elem *elem(const ElemStore *s, ElemId e) { return &s->v[e]; }
ElemId elem_forward(ElemStore *s, double lo, double hi, KindSet dep);
ElemId elem_seed(ElemStore *s, uint32_t origin);
ElemId elem_join(ElemStore *s, ElemId a, ElemId b);
/* One application of an element-wise operation, of DOT (a product) or of GATHER/SCATTER (a product that keeps the interval). */
ElemId elem_apply(ElemStore *s, Op op, Dtype dtype, const ElemId *args, uint32_t n);
/* A sum of unknown length of things like e. */
ElemId elem_sum(ElemStore *s, ElemId e);
/* An adjoint that is multiplied by `made`, a forward value times a factor, is scaled by the factor. */
ElemId elem_scaled(ElemStore *s, ElemId made, ElemId factor);
/* An adjoint with content of the kind in it. */
ElemId elem_with_content(ElemStore *s, ElemId e, uint32_t kind);
/* e as a value that depends on nothing. */
ElemId elem_without_content(ElemStore *s, ElemId e);
static inline bool elem_carries(const ElemStore *s, ElemId e, uint32_t kind, uint32_t origin) {
  const Elem *x = elem(s, e);
  return ((x->src_kinds >> kind & 1) && !proof_is_none(x->src[kind * s->n_origins + origin])) || (x->dep >> kind & 1);
}
static inline bool elem_has_base(const ElemStore *s, ElemId e, uint32_t origin) { return elem(s, e)->base_origins >> origin & 1; }

/* ---- prove_flow.c: one pass over the graph ---- */
/* Where a value has the positions of the frame: 1 + the axis, 0: nowhere; an index along it is at position index / stride. */
typedef struct Place { int32_t axis; int64_t stride; } Place;
typedef struct Abs { const Labels *axis[IR_MAX_RANK]; uint32_t n_cells; ElemId *cell; Place place; } Abs;
typedef struct ProofFlow {
  const Program *p;
  const Graph *g;
  Arena *arena;
  ProofView counts;
  LabelStore labels;
  ElemStore elems;
  const Labels *rows;      /* one label for each kind */
  Abs *abs;                /* [value]; n_cells 0: dead */
  ValueId *same;           /* [value]: the earliest value that is computed alike */
  uint32_t *cond_of;       /* [value]: 1 + condition */
  bool *is_cut;            /* [value] */
  uint32_t *seed_of;       /* [value]: 1 + origin */
  const Abs *const *view;  /* arguments' tables while a value is computed; NULL: those of abs */
  int64_t n_places;        /* positions of the frame; 0: no condition has positions, or their axes differ */
  KindSet *alike;          /* [kind]: kinds with the same properties of the datum */
  bool **keep;             /* [value][argument]: read position by position; NULL: all are */
  const Abs **joined;      /* [value]: joined over the positions of a row; NULL: not yet */
  int64_t *column_stride;  /* [column]: entries of the first axis for each position; 0: it has no positions */
} ProofFlow;
ProofFlow *flow_run(const Program *p, Arena *a, ProofView view);
ProofFlow *proof_flow(const Proof *p, ProofView view);
/* AT: what a term of a sum over data makes of the position that it is at; `made` unchanged for all else. */
ElemId flow_marked(ProofFlow *f, ValueId v, ElemId made, uint32_t arg, const int64_t *index);

/* ---- prove_place.c: positions inside of a datum ---- */
void places_create(ProofFlow *f);
/* Where a value has its positions, and which arguments it reads position by position; others it reads joined. */
Place place_of(const ProofFlow *f, ValueId v, bool *keep);
Place place_reshaped(const ProofFlow *f, const Shape *from, const Shape *to, Place at);
/* The table of a value with all positions of a row joined. */
const Abs *place_joined(ProofFlow *f, ValueId v);

/* Steps to the next cell of a value that the step stores for the piece's parameter, and that holds an entry of the piece.
 * Start with *root = *cell = 0; add 1 to *cell between calls. */
bool prove_next_cell(const ProofFlow *f, const RegionPiece *piece, uint32_t *root, uint32_t *cell);

/* Which entries of the arguments an entry of a value is made of. An index on the datum axis is a kind. */
#define USE_MAX_LOOPS (2 * IR_MAX_RANK)
typedef struct Use {
  uint32_t n_args;
  uint32_t arg[3];                       /* which argument */
  int64_t at[3][IR_MAX_RANK];            /* index, where loop is -1 */
  int8_t loop[3][IR_MAX_RANK];
  uint32_t n_loops;
  const Labels *over[USE_MAX_LOOPS];
  uint32_t more;                         /* a CALL: next argument that it also is made of, or 0; the others come with it one by one */
  ValueId call;
  int64_t index[IR_MAX_RANK];
} Use;
void flow_use(ProofFlow *f, ValueId v, const int64_t *index, Use *u);
/* The labels of a value's axes, from those of its arguments' tables; false: these are too fine to work with. */
bool flow_axes(ProofFlow *f, ValueId v, const Labels **out);
static inline const Abs *flow_arg(const ProofFlow *f, ValueId v, uint32_t i) {
  return f->view ? f->view[i] : &f->abs[ir_value(f->g, v)->args[i]];
}
static inline bool is_rows(int64_t extent) { return extent < 0; }
/* The contribution of one combination of arguments. */
ElemId flow_apply(ProofFlow *f, ValueId v, const ElemId *x, uint32_t n);
/* Steps through the loops of a use; turn[] starts as zeros. False at the end. */
bool use_next(ProofFlow *f, Use *u, int64_t *turn);
void use_index(const ProofFlow *f, ValueId v, const Use *u, uint32_t i, const int64_t *turn, int64_t *index);
uint32_t use_cell(const ProofFlow *f, ValueId v, const Use *u, uint32_t i, const int64_t *turn);
uint32_t abs_cell_at(const Abs *x, int32_t rank, const int64_t *index);
/* The first index of a cell. */
void abs_index_of(const Abs *x, int32_t rank, uint32_t cell, int64_t *index);
#endif
