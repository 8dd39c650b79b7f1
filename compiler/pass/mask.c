/* SPDX-License-Identifier: Apache-2.0
 * mask.c -- routes of primitive A: factors on the adjoint edges that autodiff left open.
 * requires:  autodiff; every ADJTAP knows its tap and its origins
 * maintains: every forward value, every adjoint downstream of no tap
 * changes:   ADJTAP(dy) becomes MASK(.. MASK(dy, f1) .., fn) over the routes that apply, or dy itself */
#include "compiler.h"
#include "fault.h"
#include "rewrite.h"
#include <stdio.h>
#include <stdlib.h>

static ValueId masked(Program *p, Rewrite *r, const Value *adjtap) {
  ValueId dy = r->map[adjtap->args[0]];
  for (uint32_t i = 0; i < p->n_routes; i++) {
    const ProgRoute *route = &p->routes[i];
    if (route->primitive != ROUTE_GRADIENT || route->tap != (uint64_t)adjtap->ints[0]) continue;
    OriginSet both = route->origins & adjtap->origins;
    if (!both) continue;
    if (both != adjtap->origins) {
      fprintf(stderr, "internal error: route %s applies to part of a merged adjoint (origins %llx of %llx)\n", route->name,
              (unsigned long long)both, (unsigned long long)adjtap->origins);
      abort();
    }
    if (fault("drop-mask")) continue;
    ValueId args[2] = {dy, r->map[route->factor]};
    r->to->phase = PHASE_ADJOINT;
    dy = ir_make(r->to, OP_MASK, route->span, args, 2, NULL, 0, 0, NULL, DT_NONE);
    Value *made = ir_value(r->to, dy);
    made->origins = adjtap->origins;
    made->name = arena_printf(p->arena, "grad for %s, routed by %s", p->taps[route->tap].name, route->name);
  }
  return dy;
}

void pass_mask(Program *p) {
  Rewrite r = rewrite_begin(p->step, p->arena);
  for (ValueId id = 1; id < p->step->n; id++) {
    const Value *v = ir_value(p->step, id);
    if (v->op == OP_ADJTAP) r.map[id] = masked(p, &r, v);
    else rewrite_copy(&r, id);
  }
  rewrite_roots(&r);
  rewrite_program(&r, p);
}
