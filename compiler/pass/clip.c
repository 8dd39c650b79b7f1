/* SPDX-License-Identifier: Apache-2.0 */
#include "clip.h"
#include "fault.h"
#include <string.h>

typedef struct Group {
  uint32_t region;  /* 1 + region, or 0 */
  OriginSet probes; /* where region is 0: the probes that alone train its parameters, or 0 for the model */
  ValueId total;    /* sum of squares so far */
  ValueId scale;
} Group;

typedef struct Clip {
  Program *p;
  Graph *g;
  Group *groups;
  uint32_t n;
} Clip;

static bool in_region(const EntrySetting *s, uint32_t region) { return s->region == region; }

/* The origins of an adjoint; a sum over several seeds does not name them itself. */
static OriginSet origins_of(const Graph *g, ValueId v, bool *seen) {
  const Value *val = ir_value(g, v);
  if (val->origins || val->phase != PHASE_ADJOINT || seen[v]) return val->origins;
  OriginSet all = 0;
  seen[v] = true;
  for (uint32_t i = 0; i < val->n_args; i++) all |= origins_of(g, val->args[i], seen);
  return all;
}

static OriginSet only_probes(const Clip *c, ValueId grad) {
  OriginSet probes = 0;
  for (uint32_t i = 0; i < c->p->n_origins; i++)
    if (c->p->origins[i].probe) probes |= (OriginSet)1 << i;
  const OriginSet all = probes ? origins_of(c->g, grad, ARENA_NEWS(c->p->arena, bool, c->g->n)) : 0;
  return all & ~probes || fault("probes-clip") ? 0 : all;
}

static ValueId bound_of(const Clip *c, const Group *group) {
  return group->region ? c->p->regions[group->region - 1].clip : c->p->optim.clip;
}

static Group *group_for(Clip *c, uint32_t region, OriginSet probes) {
  const Group want = {.region = region, .probes = region ? 0 : probes};
  for (uint32_t i = 0; i < c->n; i++)
    if (c->groups[i].region == want.region && c->groups[i].probes == want.probes) return &c->groups[i];
  c->groups[c->n] = want;
  return &c->groups[c->n++];
}

static ValueId constant(Graph *g, double x, Shape shape) { return ir_const(g, (Span){0}, x, &shape, DT_F32); }

static void add_square(Clip *c, Group *group, const UpdateItem *item, Partial share) {
  Graph *g = c->g;
  const Shape shape = ir_value(g, item->grad)->shape;
  int64_t axes[IR_MAX_RANK];
  ValueId d = item->grad;
  if (!partial_is(share, true)) {
    ValueId in = partial_whole(g, share, &shape);
    d = ir_where(g, in, d, constant(g, 0, shape));
  }
  for (int k = 0; k < shape.rank; k++) axes[k] = k;
  ValueId sum = ir_reduce(g, OP_SUM, ir_bin(g, OP_MUL, d, d), axes, (uint32_t)shape.rank);
  group->total = group->total ? ir_bin(g, OP_ADD, group->total, sum) : sum;
}

static void measure(Clip *c, const UpdateItem *item) {
  const Shape shape = ir_value(c->g, item->grad)->shape;
  const OriginSet probes = only_probes(c, item->grad);
  uint32_t n;
  const EntrySetting *s = entries_settings(item->entries, &n);
  for (uint32_t i = 0; i < n; i++) {
    bool before = false;
    for (uint32_t k = 0; k < i; k++) before = before || s[k].region == s[i].region;
    Group *group = group_for(c, s[i].region, probes);
    if (before || !bound_of(c, group)) continue;
    Partial share = entries_where(c->g, item->entries, in_region, s[i].region);
    share = partial_and(c->g, share, item->kept, &shape);
    if (!partial_is(share, false)) add_square(c, group, item, share);
  }
}

/* min(1, bound / (norm + 1e-6)), as torch.nn.utils.clip_grad_norm_. */
static void make_scale(Clip *c, Group *group) {
  Graph *g = c->g;
  if (!group->total) return;
  const Shape scalar = {.rank = 0};
  ValueId tiny = constant(g, 1e-6, scalar), one = constant(g, 1, scalar), bound = ir_cast(g, bound_of(c, group), DT_F32);
  ValueId norm = ir_un(g, OP_SQRT, group->total), ratio = ir_bin(g, OP_DIV, bound, ir_bin(g, OP_ADD, norm, tiny));
  group->scale = ir_bin(g, OP_MIN, ratio, one);
  ir_value(g, group->scale)->name = group->region ? arena_printf(g->arena, "clip scale of %s", c->p->regions[group->region - 1].name)
                                   : group->probes ? "clip scale of probes" : "clip scale";
  ValueId *cuts = ARENA_NEWS(c->p->arena, ValueId, c->p->n_cuts + 1);
  if (c->p->n_cuts) memcpy(cuts, c->p->cuts, c->p->n_cuts * sizeof *cuts);
  cuts[c->p->n_cuts++] = group->scale;
  c->p->cuts = cuts;
}

/* What the entries of an item are multiplied by: one number, or one for each entry where groups cut it; 0: nothing. */
static ValueId scale_of(Clip *c, const UpdateItem *item) {
  Graph *g = c->g;
  const Shape shape = ir_value(g, item->grad)->shape, scalar = {.rank = 0};
  const OriginSet probes = only_probes(c, item->grad);
  uint32_t n;
  const EntrySetting *s = entries_settings(item->entries, &n);
  ValueId scale = group_for(c, s[0].region, probes)->scale;
  for (uint32_t i = 1; i < n; i++) {
    if (s[i].region == s[0].region) continue;
    ValueId other = group_for(c, s[i].region, probes)->scale, one = constant(g, 1, scalar);
    if (!other && !scale) continue;
    Partial those = entries_where(g, item->entries, in_region, s[i].region);
    scale = ir_where(g, partial_whole(g, those, &shape), other ? other : one, scale ? scale : one);
  }
  return scale;
}

void clip_items(Program *p, UpdateItem *items, uint32_t n) {
  Clip c = {.p = p, .g = p->step, .groups = ARENA_NEWS(p->arena, Group, p->n_regions + n + 1)};
  for (uint32_t i = 0; i < n; i++) measure(&c, &items[i]);
  for (uint32_t i = 0; i < c.n; i++) make_scale(&c, &c.groups[i]);
  for (uint32_t i = 0; i < n; i++) {
    ValueId scale = scale_of(&c, &items[i]);
    if (scale) items[i].grad = ir_bin(p->step, OP_MUL, items[i].grad, scale);
  }
}
