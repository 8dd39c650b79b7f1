/* SPDX-License-Identifier: Apache-2.0
 * ops.h -- the record of each operation: name, shape rule, value, derivative.
 * ops.c holds the table; rules are in ops_rule.c, values in ops_eval.c and ops_scalar.c, derivatives in
 * op_vjp.c. */
#ifndef ROUTEC_OPS_H
#define ROUTEC_OPS_H
#include "ir.h"

/* One use of an operation, as a rule sees it. The arguments are valid values of g. */
typedef struct OpUse {
  const Graph *g;
  Arena *arena; /* of error texts */
  Op op;
  const ValueId *args;
  uint32_t n_args;
  const int64_t *ints;
  uint32_t n_ints;
  const Shape *shape; /* as asked for; NULL: the rule finds it */
  Dtype dtype;        /* as asked for; DT_NONE: the rule finds it */
  Shape out;          /* found by the rule */
  Dtype out_dtype;
} OpUse;

/* The interpreter's state: value[id] holds the elements of each value computed so far. */
typedef struct EvalCtx {
  const Graph *g;
  Arena *arena;
  const EvalInput *in;
  double **value;
  int64_t (*sets)[2]; /* [set] start and count: in->sets; a packed set's from its ROWLIST on */
} EvalCtx;

typedef struct OpInfo {
  const char *name;
  int n_args; /* -1: any number, at least one */
  OpClass cls;
  const char *ints; /* names of the leading ints, for the printer: "axis start step"; "" if they have none */
  /* NULL and out, out_dtype set; or what is wrong. Never aborts, whatever the ints are. */
  const char *(*rule)(OpUse *u);
  /* Fills out[] (row-major, extents with ROWS = in->rows) from the arguments' values. */
  void (*eval)(const EvalCtx *c, const Value *v, double *out);
  /* ELT ops: one element; dtype is the result's. NULL for the other classes. */
  double (*scalar)(const double *x, Dtype dtype);
  /* Builds the arguments' adjoints; NULL: no derivative. See op_vjp. */
  void (*vjp)(Graph *g, ValueId v, ValueId dy, ValueId *dargs);
} OpInfo;

const OpInfo *op_info(Op op); /* OP_NONE's record for a number that is no op */

/* Runs the rule and compares its result with what was asked for. NULL if sound (u->out, u->out_dtype set). */
const char *op_check(OpUse *u);

/* Sets dargs[i] (n_args of v entries) to the adjoint that dy, the adjoint of v, gives argument i: a value of
 * the argument's shape and dtype; 0 = no derivative (integers, BOOL, STOP's argument, MASK's factor, FLOOR
 * ...). Knows no routes: a TAP's argument gets ADJTAP(dy) with the same ints and origins 0. The new values
 * have v's span and g->phase. May move g->v. Also builds adjoints that nobody may want (a constant's): they
 * are dead code. */
void op_vjp(Graph *g, ValueId v, ValueId dy, ValueId *dargs);

/* true and *num set if every element of v is one known constant (through BCAST, RESHAPE, TRANSPOSE, STOP and
 * slices). */
bool ir_is_splat(const Graph *g, ValueId v, double *num);
/* "f32[ROWS,512]"; rank 0: "f32[]". */
const char *ir_type_text(Arena *a, Dtype t, const Shape *s);
/* One value as graph_print shows it, without the newline. */
void ir_print_value(const Graph *g, ValueId id, FILE *f);

/* DOT's ints taken apart. */
typedef struct DotInts {
  int64_t nb, nc;
  const int64_t *batch_a, *batch_b, *con_a, *con_b;
} DotInts;
static inline DotInts ir_dot_ints(const Value *v) {
  const int64_t *p = v->ints + 2, nb = v->ints[0], nc = v->ints[1];
  return (DotInts){nb, nc, p, p + nb, p + 2 * nb, p + 2 * nb + nc};
}
/* The axes of a rank that are in neither list, ascending; returns how many. */
int ir_free_axes(int32_t rank, const int64_t *batch, int64_t nb, const int64_t *con, int64_t nc,
                 int64_t *out);
#endif
