/* SPDX-License-Identifier: Apache-2.0
 * builtin.h -- the functions of the language: one row each in builtin.def.
 *
 * The argument list of a row is a text of words `name:kind`, `name:kind?` when it may be left out:
 *   t tensor or number    i integer known now     r number known now     b true or false known now
 *   a the syntax itself (words, initialisers)     v any value            s string
 * `*:t` last: any further positional tensors; `@:t` last: any further `name = tensor`. */
#ifndef ROUTEC_BUILTIN_H
#define ROUTEC_BUILTIN_H
#include "model.h"

#define BUILTIN_MAX_ARGS 10
typedef struct BuiltinCall {
  Elab *e;
  Scope *s;
  const Ast *call; /* for spans */
  Span span;
  const char *layer; /* `fc1` of `fc1: linear(...)`, or NULL */
  const struct Builtin *fn;
  Val *v[BUILTIN_MAX_ARGS]; /* by position in the row; NULL when left out */
  const Ast *ast[BUILTIN_MAX_ARGS];
  int64_t i[BUILTIN_MAX_ARGS];
  double r[BUILTIN_MAX_ARGS];
  Val **more;
  const char **more_names;
  uint32_t n_more;
} BuiltinCall;

typedef struct Builtin {
  const char *name, *signature, *args;
  Val *(*lower)(BuiltinCall *c);
  int aux; /* an Op, or a variant of the lowering */
  const char *doc;
} Builtin;

const Builtin *builtin_find(const char *name);
const Builtin *builtin_at(uint32_t i); /* NULL past the end */
bool builtin_is_layer(const char *name);
/* Binds arguments to the row and lowers. `first`: the value piped in, or NULL. */
Val *builtin_call(Elab *e, Scope *s, const Builtin *b, const Ast *call, Val *first, const char *layer);

/* Initial values of a parameter: kind and two numbers, from an `init =` expression or NULL for PyTorch's. */
typedef struct InitSpec {
  InitKind kind;
  double a, b;
  bool is_default;
} InitSpec;
bool init_spec(Elab *e, Scope *s, const Ast *a, int64_t fan_in, int64_t fan_out, InitSpec *out);
ValueId layer_param(BuiltinCall *c, const char *layer, const char *which, const Shape *shape,
                    const InitSpec *init);
/* Ends a layer: gives the value its path `X.out`. */
Val *layer_out(BuiltinCall *c, const char *layer, Val *v);
#endif
