/* SPDX-License-Identifier: Apache-2.0
 * call_eval.h -- what EvalInput.call is for graphs with calls of plugins. */
#ifndef ROUTEC_CALL_EVAL_H
#define ROUTEC_CALL_EVAL_H
#include "plugin_call.h"
#include "program.h"

typedef struct CallEval CallEval;
/* States of the program's calls. scalars: values of its run-time params. NULL: e says why. Lives in `a`; close frees what plugins
 * asked for. */
CallEval *call_eval_open(Arena *a, const Program *p, const double *scalars, RtError *e);
void call_eval_close(CallEval *c);
void call_eval_run(void *ctx, const EvalCall *c); /* an EvalCallFn; ctx: the CallEval */
#endif
