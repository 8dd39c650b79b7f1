/* SPDX-License-Identifier: Apache-2.0
 * compiler.h -- the column of stages, as functions. driver.c calls them in this order and nothing else. */
#ifndef ROUTEC_COMPILER_H
#define ROUTEC_COMPILER_H
#include "program.h"
#include "proof.h"

/* check: names, types, shapes, splits, arms; lower: the graph. One call, since an expression's type is the
 * type of the value it lowers to. Returns NULL after errors (in diags). `file` is the spec; `use`, `extend`
 * are read relative to it. */
typedef struct Model Model;
Model *model_check(Arena *a, Sources *sources, const ParseResult *spec, const Override *sets, uint32_t n_sets, Diags *diags);
void model_print(const Model *m, FILE *f);            /* --dump=check */
Program *model_lower(Model *m, Diags *diags);         /* NULL after errors */
void program_print(const Program *p, FILE *f);        /* --dump=lower: tables and graphs */
const char *program_verify(const Program *p);         /* NULL if sound */
/* A program with tables of its own, as far as they name values of the step. The graph is shared: the first pass over
 * either must be one that makes a new graph. */
Program *program_fork(const Program *p);

/* 1 + the derived column that holds the condition bits of each datum trained on, made at the first call; 0 where there is
 * none: no training, no conditions, or one that has positions or changes from step to step. Before `simplify` only. */
uint32_t program_kind_column(Program *p);

/* Adds adjoints to p->step: one seed per origin, merged as soon as no tap upstream tells origins apart, and a
 * ROOT_GRAD per trainable parameter that some origin reaches. Requires: forward graph. Maintains: forward values. */
void pass_autodiff(Program *p);
/* Replaces every ADJTAP by MASK with the factors of the routes that apply to its origins (or by nothing). */
void pass_mask(Program *p);
/* Adds ROOT_PARAM / ROOT_STATE: decay, clipping, policy, optimizer, as ops. Replaces the ROOT_GRADs unless keep_grads. */
void pass_update(Program *p, bool keep_grads);
/* The step as far as the gradients of `origins`, with routes or without, stored nowhere: ROOT_GRADs. Requires the
 * graph before autodiff, which stays as it is. Reads a scalar behind p's: the class whose data contribute, negative: all. */
Graph *pass_gradient(const Program *p, OriginSet origins, bool routed);
/* Which data may change which parameters (proof.h). Maintains everything. */
Proof *pass_prove(Program *p, Arena *a);
/* Errors for each `forbid` that is not proved, and warnings. */
void proof_report(const Proof *f, Diags *diags);
/* Removes what is masked to 0 for all data and, where it pays, sorts the rows of a batch by class so that products are only
 * as large as what is not masked (Program.groups). Behind it the tables' values no longer name values of the step. */
void pass_group(Program *p);
typedef struct PackOptions {
  int64_t batch;       /* rows that gains are estimated for */
  uint32_t n_sets;     /* row sets that there are, set 0 included; 0: none */
  const double *share; /* of each */
  int32_t asked;       /* 1: pack whatever can be, 0: nothing, -1: where it pays */
  bool blas;           /* products go to the BLAS */
} PackOptions;
/* Rows that take a branch of a `select`, packed: a new graph, without ROOT_SELECTIONs, and what is told of it. */
Graph *pass_pack(Graph *g, Arena *a, const PackOptions *o, ProgPacking *out);
/* The kinds of data (bits of Program.kinds, where there are at most 64) that may belong to it. */
uint64_t program_kinds_of(const Program *p, const ProgDataClass *c);
/* Constant folding, algebra that changes no bit of a finite result, common subexpressions, dead code. Renumbers. */
Graph *pass_simplify(Graph *g, Arena *a);
#endif
