/* SPDX-License-Identifier: Apache-2.0
 * mask.c -- routes of primitives A and P: factors on the adjoint edges that autodiff left open.
 * requires:  autodiff; every ADJTAP knows its tap and its origins
 * maintains: every forward value, every adjoint downstream of no tap
 * changes:   ADJTAP(dy) becomes MASK(.. MASK(dy, f1) .., fn) over the routes that apply, or dy itself; at a use of a
 *            parameter the factors go to where its gradient is summed over the data (mask_param.h) */
#include "compiler.h"
#include "fault.h"
#include "mask_param.h"
#include "rewrite.h"
#include <stdio.h>
#include <stdlib.h>

static ValueId masked_parameter(Program *p, Rewrite *r, const ProgRoute *route, OriginSet origins, ValueId dw) {
  ValueId *weight = ARENA_NEWS(p->arena, ValueId, route->n_weights + 1);
  for (uint32_t k = 0; k < route->n_weights; k++) weight[k] = r->map[route->weight[k]];
  return mask_parameter(r->to, route, weight, origins, dw);
}

static ValueId masked(Program *p, Rewrite *r, const Value *adjtap) {
  ValueId dy = r->map[adjtap->args[0]];
  for (uint32_t i = 0; i < p->n_routes; i++) {
    const ProgRoute *route = &p->routes[i];
    if (route->primitive == ROUTE_VALUE || route->tap != (uint64_t)adjtap->ints[0]) continue;
    OriginSet both = route->origins & adjtap->origins;
    if (!both) continue;
    if (both != adjtap->origins) {
      fprintf(stderr, "internal error: route %s applies to part of a merged adjoint (origins %llx of %llx)\n", route->name,
              (unsigned long long)both, (unsigned long long)adjtap->origins);
      abort();
    }
    if (fault("drop-mask")) continue;
    r->to->phase = PHASE_ADJOINT;
    const ValueId before = dy;
    if (route->primitive == ROUTE_PARAMETERS) dy = masked_parameter(p, r, route, adjtap->origins, dy);
    else dy = ir_make(r->to, OP_MASK, route->span, (ValueId[]){dy, r->map[route->factor]}, 2, NULL, 0, 0, NULL, DT_NONE);
    if (dy == before) continue;
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
