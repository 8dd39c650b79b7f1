/* SPDX-License-Identifier: Apache-2.0
 * builtin_plugin.h -- one call of a plugin's op, its arguments bound; shared by builtin_plugin.c and
 * builtin_formula.c. */
#ifndef ROUTEC_BUILTIN_PLUGIN_H
#define ROUTEC_BUILTIN_PLUGIN_H
#include "model.h"
#include "plugin.h"

/* An input as routec hands it to ops: F32 [leading axes, units], or I32 [leading axes] of labels. */
typedef struct OpInput {
  const Val *v;
  ValueId id;
  int lead;      /* leading axes that it has: the rows */
  int64_t units; /* 0: labels */
} OpInput;

typedef struct OpCall {
  Elab *e;
  Scope *s;
  const PluginUse *use;
  const RouteOp *op;
  const Ast *call;
  Span span;
  Val **arg;      /* [n_inputs + n_params]; NULL: left out */
  OpInput *input; /* [n_inputs] */
  Shape rows;     /* leading axes of the input that has most; others have some of the first of them */
  const Val *rows_of;
} OpCall;

const char *op_param_what(const OpCall *c, const RouteParam *p); /* "`lambda` of `l1`" */
/* The result of a formula; poison after an error. */
Val *formula_lower(OpCall *c, const RouteExpr *x);
#endif
