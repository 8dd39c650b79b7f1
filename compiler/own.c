/* SPDX-License-Identifier: Apache-2.0
 * own.c -- ownership, by walking the forward graph from a value with labels on its units.
 * Backwards the labels go into whatever the units are made of element by element; a contraction hands them to
 * the operand that has the unit's axis, which is how they come to rows of a weight. Forwards they go until
 * something contracts them: the columns there read the unit, and so do gains and biases met on the way. A
 * reduction over the units ends the walk, and so does `stop`: what only looks at a unit is none of its
 * readers. */
#include "own.h"
#include <stdlib.h>
#include <string.h>

typedef struct Visit {
  ValueId v;
  UnitMap m;
  enum { BACK, FORWARD, READ } way;
} Visit; /* READ: backwards in what reads */

struct Owner {
  const Graph *g;
  Arena *a;
  uint32_t *user_at, *users; /* users of v: users[user_at[v] .. user_at[v + 1]) */
  bool *data;                /* [value]: data or random numbers are in it */
  Visit *seen;
  uint32_t n_seen, cap_seen, next;
  uint32_t n_values;
  uint32_t *last_seen; /* [value]: 1 + the newest visit */
  uint32_t *before;    /* [visit]: 1 + the one before it at this value */
  Owned out;
  uint32_t cap_out;
};

Owner *own_create(const Graph *g, Arena *a) {
  Owner *o = ARENA_NEW(a, Owner);
  *o = (Owner){.g = g, .a = a, .n_values = g->n};
  o->user_at = ARENA_NEWS(a, uint32_t, g->n + 2);
  o->data = ARENA_NEWS(a, bool, g->n);
  o->last_seen = ARENA_NEWS(a, uint32_t, g->n);
  uint32_t n = 0;
  for (ValueId v = 1; v < g->n; v++)
    for (uint32_t i = 0; i < g->v[v].n_args; i++) o->user_at[g->v[v].args[i] + 1]++, n++;
  for (ValueId v = 0; v <= g->n; v++) o->user_at[v + 1] += o->user_at[v];
  o->users = ARENA_NEWS(a, uint32_t, n + 1);
  uint32_t *at = ARENA_NEWS(a, uint32_t, g->n + 1);
  memcpy(at, o->user_at, (size_t)(g->n + 1) * sizeof *at);
  for (ValueId v = 1; v < g->n; v++) {
    const Op op = g->v[v].op;
    o->data[v] = op == OP_COLUMN || op == OP_RANDOM || op == OP_DATUM;
    for (uint32_t i = 0; i < g->v[v].n_args; i++) {
      o->data[v] |= o->data[g->v[v].args[i]];
      o->users[at[g->v[v].args[i]]++] = v;
    }
  }
  return o;
}

const uint32_t *own_users(const Owner *o, ValueId v, uint32_t *n) {
  *n = v < o->n_values ? o->user_at[v + 1] - o->user_at[v] : 0;
  return *n ? o->users + o->user_at[v] : NULL;
}

static bool labelled(const UnitMap *m, const Shape *s) {
  const int64_t n = units_count(m, s);
  for (int64_t i = 0; i < n; i++)
    if (m->label[i] >= 0) return true;
  return false;
}

static void visit(Owner *o, ValueId v, const UnitMap *m, int way) {
  const Value *val = &o->g->v[v];
  if (val->dtype != DT_F32 || !labelled(m, &val->shape)) return;
  for (uint32_t k = o->last_seen[v]; k; k = o->before[k - 1])
    if (o->seen[k - 1].way == (unsigned)way && units_equal(&o->seen[k - 1].m, m, &val->shape)) return;
  if (o->n_seen == o->cap_seen) {
    const uint32_t cap = o->cap_seen ? 2 * o->cap_seen : 64;
    Visit *seen = ARENA_NEWS(o->a, Visit, cap);
    uint32_t *before = ARENA_NEWS(o->a, uint32_t, cap);
    if (o->n_seen)
      memcpy(seen, o->seen, o->n_seen * sizeof *seen), memcpy(before, o->before, o->n_seen * sizeof *before);
    o->seen = seen, o->before = before, o->cap_seen = cap;
  }
  o->before[o->n_seen] = o->last_seen[v];
  o->seen[o->n_seen++] = (Visit){v, *m, (unsigned)way};
  o->last_seen[v] = o->n_seen;
}

static void add_piece(Owner *o, ValueId v, const UnitMap *m, bool made) {
  const Value *val = &o->g->v[v];
  const int64_t n = units_count(m, &val->shape);
  OwnPiece p = {.param = (uint32_t)val->ints[0], .made = made, .axis = -1, .extent = n};
  if (m->axes & (m->axes - 1)) p.tangled = true;
  else {
    if (m->axes) p.axis = __builtin_ctz(m->axes);
    p.label = ARENA_NEWS(o->a, int32_t, n);
    memcpy(p.label, m->label, (size_t)n * sizeof *p.label);
  }
  for (uint32_t i = 0; i < o->out.n; i++) {
    const OwnPiece *q = &o->out.pieces[i];
    if (q->param != p.param || q->made != made || q->axis != p.axis || q->tangled != p.tangled) continue;
    if (p.tangled || !memcmp(q->label, p.label, (size_t)n * sizeof *p.label)) return;
  }
  if (o->out.n == o->cap_out) {
    const uint32_t cap = o->cap_out ? 2 * o->cap_out : 16;
    OwnPiece *pieces = ARENA_NEWS(o->a, OwnPiece, cap);
    if (o->out.n) memcpy(pieces, o->out.pieces, o->out.n * sizeof *pieces);
    o->out.pieces = pieces, o->cap_out = cap;
  }
  o->out.pieces[o->out.n++] = p;
}

static void step_back(Owner *o, const Visit *at) {
  const Value *val = &o->g->v[at->v];
  if (val->op == OP_PARAM) {
    add_piece(o, at->v, &at->m, at->way == BACK);
    return;
  }
  for (uint32_t i = 0; i < val->n_args; i++) {
    UnitMap m;
    if (units_back(o->g, o->a, at->v, i, &at->m, &m)) visit(o, val->args[i], &m, (int)at->way);
  }
}

/* Parameters that stand beside the units in an element-wise operation: gains and biases read them. */
static void step_beside(Owner *o, ValueId user, uint32_t arg, const UnitMap *m) {
  const Value *val = &o->g->v[user];
  for (uint32_t i = 0; i < val->n_args; i++)
    if (i != arg && !o->data[val->args[i]] && op_class(val->op) == OPC_ELT) visit(o, val->args[i], m, READ);
}

static void step_forward(Owner *o, const Visit *at) {
  for (uint32_t k = o->user_at[at->v]; k < o->user_at[at->v + 1]; k++) {
    const ValueId u = o->users[k];
    const Value *val = &o->g->v[u];
    if (val->op == OP_STOP) continue;
    for (uint32_t i = 0; i < val->n_args; i++) {
      UnitMap m;
      if (val->args[i] != at->v) continue;
      if (units_forward(o->g, o->a, u, i, &at->m, &m)) {
        visit(o, u, &m, FORWARD);
        step_beside(o, u, i, &m);
      } else if (val->op == OP_DOT && !o->data[val->args[1 - i]] &&
                 units_contracted(o->g, o->a, u, i, &at->m, &m))
        visit(o, val->args[1 - i], &m, READ);
    }
  }
}

/* What makes (or reads) units of several labels, by several ways, belongs to none of them: a key that query
 * heads share belongs to a part only if all of them do. */
static void settle_shared(Owner *o) {
  for (uint32_t i = 0; i < o->out.n; i++)
    for (uint32_t k = 0; k < i; k++) {
      const OwnPiece *p = &o->out.pieces[i], *q = &o->out.pieces[k];
      if (p->param != q->param || p->made != q->made || p->axis != q->axis || p->tangled || q->tangled)
        continue;
      const int64_t n = p->axis < 0 ? 1 : p->extent;
      for (int64_t u = 0; u < n; u++)
        if (p->label[u] != q->label[u] && p->label[u] != UNIT_NONE && q->label[u] != UNIT_NONE)
          p->label[u] = q->label[u] = UNIT_MIXED;
    }
}

Owned own_trace(Owner *o, ValueId value, const UnitMap *units) {
  for (uint32_t i = 0; i < o->n_seen; i++) o->last_seen[o->seen[i].v] = 0;
  o->n_seen = o->next = 0;
  o->out = (Owned){0};
  o->cap_out = 0;
  visit(o, value, units, BACK);
  visit(o, value, units, FORWARD);
  while (o->next < o->n_seen) {
    const Visit at = o->seen[o->next++];
    if (at.way == FORWARD) step_forward(o, &at);
    else step_back(o, &at);
  }
  settle_shared(o);
  return o->out;
}
