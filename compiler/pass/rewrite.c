/* SPDX-License-Identifier: Apache-2.0 */
#include "rewrite.h"

Rewrite rewrite_begin(const Graph *from, Arena *a) {
  Rewrite r = {.from = from, .to = graph_create(a, from->name), .map = ARENA_NEWS(a, ValueId, from->n)};
  return r;
}

ValueId rewrite_copy(Rewrite *r, ValueId v) {
  const Value *old = ir_value(r->from, v);
  ValueId *args = ARENA_NEWS(r->to->arena, ValueId, old->n_args + 1);
  for (uint32_t i = 0; i < old->n_args; i++) args[i] = r->map[old->args[i]];
  r->to->phase = old->phase;
  ValueId id = ir_make(r->to, old->op, old->span, args, old->n_args, old->ints, old->n_ints, old->num, &old->shape,
                       old->dtype);
  Value *now = ir_value(r->to, id);
  now->data = old->data; /* same arena: shared */
  now->origins = old->origins;
  now->name = old->name;
  r->map[v] = id;
  return id;
}

void rewrite_roots(Rewrite *r) {
  for (uint32_t i = 0; i < r->from->n_roots; i++) {
    const Root *t = &r->from->roots[i];
    graph_root(r->to, t->kind, t->a, t->b, r->map[t->value]);
  }
}

void rewrite_program(Rewrite *r, Program *p) {
  p->step = r->to;
  for (uint32_t i = 0; i < p->n_origins; i++) p->origins[i].value = r->map[p->origins[i].value];
  for (uint32_t i = 0; i < p->n_taps; i++) p->taps[i].value = r->map[p->taps[i].value];
  for (uint32_t i = 0; i < p->n_routes; i++) {
    ProgRoute *route = &p->routes[i];
    route->factor = r->map[route->factor];
    for (uint32_t k = 0; k < route->n_weights; k++) route->weight[k] = r->map[route->weight[k]];
  }
  for (uint32_t i = 0; i < p->n_origins; i++) p->origins[i].per_datum = r->map[p->origins[i].per_datum];
  for (uint32_t i = 0; i < p->n_conds; i++) p->conds[i].value = r->map[p->conds[i].value];
  for (uint32_t i = 0; i < p->n_regions; i++) p->regions[i].clip = r->map[p->regions[i].clip];
  for (uint32_t i = 0; i < p->n_cuts; i++) p->cuts[i] = r->map[p->cuts[i]];
  ProgOptim *o = &p->optim;
  ValueId *named[] = {&o->lr, &o->beta1, &o->beta2, &o->eps, &o->weight_decay, &o->momentum, &o->clip};
  for (size_t i = 0; i < sizeof named / sizeof *named; i++) *named[i] = r->map[*named[i]];
}
