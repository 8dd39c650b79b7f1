/* SPDX-License-Identifier: Apache-2.0
 * group.c -- work that no datum asks for is removed: what is 0 for every datum, and, where the rows of each batch are
 * sorted by what holds for them, what is 0 for a group of them.
 * requires:  masks and updates in the graph, conditions and kinds in the program's tables
 * maintains: roots, up to the order of sums over the batch where rows are grouped
 * changes:   the step's graph (the tables' values no longer name its values), Program.groups */
#include "group.h"
#include "compiler.h"
#include "fault.h"
#include "ops.h"
#include <math.h>
#include <string.h>

#define WORTH_GROUPING 0.98 /* of the cost without: above, the rows stay as they are drawn */

/* ---- operations of a graph ------------------------------------------------------------------------------------------ */
static double extent_of(int64_t d, int64_t batch, const double *share) {
  if (!dim_is_rows(d)) return (double)d;
  return (double)batch * (dim_set(d) ? share[dim_set(d)] : 1);
}

static double count_of(const Shape *s, int64_t batch, const double *share) {
  double n = 1;
  for (int32_t i = 0; i < s->rank; i++) n *= extent_of(s->d[i], batch, share);
  return n;
}

/* As the plan counts them, before anything is computed twice because it is read twice. */
double graph_operations(const Graph *g, int64_t batch, const double *share) {
  double sum = 0;
  for (ValueId v = 1; v < g->n; v++) {
    const Value *x = &g->v[v];
    if (x->op == OP_DOT) {
      DotInts d = ir_dot_ints(x);
      double each = 2;
      for (int64_t i = 0; i < d.nc; i++) each *= extent_of(g->v[x->args[0]].shape.d[d.con_a[i]], batch, share);
      sum += each * count_of(&x->shape, batch, share);
    } else if (op_class(x->op) == OPC_ELT) {
      sum += count_of(&x->shape, batch, share);
    } else if (op_class(x->op) == OPC_RED || x->op == OP_SCATTER || x->op == OP_FOLD) {
      sum += count_of(&g->v[x->args[0]].shape, batch, share);
    }
  }
  return sum;
}

/* ---- groups of kinds --------------------------------------------------------------------------------------------------- */
/* Kinds are of one group if every mask blocks the same of both. */
static bool same_blocks(const Kinds *k, const bool *live, uint32_t a, uint32_t b) {
  for (ValueId v = 1; v < k->g->n; v++) {
    const Value *x = &k->g->v[v];
    if (!live[v] || x->op != OP_MASK) continue;
    const Known *f = &k->of[x->args[1]];
    for (int64_t i = 0; f->num && i < f->n; i++)
      if ((f->num[a * f->n + i] == 0) != (f->num[b * f->n + i] == 0)) return false;
  }
  return true;
}

static bool groups_of_kinds(const Kinds *k, const bool *live, Grouping *out) {
  out->n = 0;
  for (uint32_t kind = 0; kind < k->n; kind++) {
    uint32_t i = 0;
    while (i < out->n && !same_blocks(k, live, (uint32_t)__builtin_ctzll(out->kinds[i]), kind)) i++;
    if (i == MAX_GROUPS) return false;
    if (i == out->n) out->kinds[out->n] = 0, out->share[out->n++] = 0;
    out->kinds[i] |= (uint64_t)1 << kind;
    out->share[i] += 1.0 / k->n;
  }
  return true;
}

/* ---- without probes ------------------------------------------------------------------------------------------------------- */
/* The origins of the adjoints that a value is made of. */
static OriginSet origins_in(const Graph *g, ValueId v, Arena *a) {
  bool *live = ARENA_NEWS(a, bool, v + 1);
  OriginSet all = 0;
  live[v] = true;
  for (ValueId id = v; id > 0; id--) {
    if (!live[id] || g->v[id].phase == PHASE_FORWARD) continue;
    all |= g->v[id].origins;
    for (uint32_t i = 0; i < g->v[id].n_args; i++) live[g->v[id].args[i]] = true;
  }
  return all;
}

/* The step as it would be without probes: the same values, fewer roots. What is decided on it does not depend on them. */
static const Graph *model_alone(const Program *p) {
  const Graph *g = p->step;
  OriginSet probes = 0;
  for (uint32_t i = 0; i < p->n_origins; i++) probes |= p->origins[i].probe ? (OriginSet)1 << i : 0;
  if (!probes || fault("probes-group")) return g;
  Graph *m = ARENA_NEW(p->arena, Graph);
  *m = *g;
  m->roots = ARENA_NEWS(p->arena, Root, g->n_roots), m->n_roots = 0;
  for (uint32_t i = 0; i < g->n_roots; i++) {
    const Root *r = &g->roots[i];
    const OriginSet of = r->kind == ROOT_LOSS                                ? (OriginSet)1 << r->a
                         : r->kind == ROOT_PARAM || r->kind == ROOT_STATE ? origins_in(g, r->value, p->arena)
                                                                             : 0;
    if (!of || of & ~probes) m->roots[m->n_roots++] = *r;
  }
  return m;
}

/* ---- candidates ----------------------------------------------------------------------------------------------------------- */
typedef struct Candidate { Graph *graph; Grouping groups; GroupMode mode; RowSets sets; double *share; double operations, cost; } Candidate;

static Candidate candidate(const Program *p, const Graph *g, const Kinds *k, const Grouping *groups, GroupMode mode, int64_t batch) {
  Candidate c = {.groups = *groups, .mode = mode, .cost = INFINITY};
  Graph *made = group_build(g, k, groups, mode, p->arena, &c.sets);
  if (!made) return c;
  c.graph = pass_simplify(made, p->arena);
  c.share = ARENA_NEWS(p->arena, double, IR_MAX_SETS);
  for (uint32_t s = 0; s < c.sets.n; s++)
    for (uint32_t i = c.sets.lo[s]; i < c.sets.hi[s]; i++) c.share[s] += groups->share[i];
  c.operations = c.cost = graph_operations(c.graph, batch, c.share);
  for (ValueId v = 1; v < c.graph->n; v++) {
    OpClass class = op_class(c.graph->v[v].op);
    if (class == OPC_RED || (class == OPC_MIX && c.graph->v[v].op != OP_GATHER)) c.cost += STEP_OPERATIONS;
  }
  return c;
}

static void swap_groups(Grouping *g, uint32_t i, uint32_t j) {
  uint64_t k = g->kinds[i];
  double s = g->share[i];
  g->kinds[i] = g->kinds[j], g->share[i] = g->share[j];
  g->kinds[j] = k, g->share[j] = s;
}

/* The orders in which groups may stand, one after the other: those that keep more of what sums need side by side make
 * fewer products. false: all were tried. Exchanges of neighbours, each kept if it helps. */
static Candidate best_order(const Program *p, const Graph *g, const Kinds *k, Grouping groups, int64_t batch) {
  Candidate best = candidate(p, g, k, &groups, GROUP_SUMS, batch);
  for (uint32_t i = 0; groups.n > 2 && i + 1 < groups.n; i++)
    for (uint32_t j = i + 1; j < groups.n; j++) {
      Grouping other = best.groups;
      swap_groups(&other, i, j);
      Candidate c = candidate(p, g, k, &other, GROUP_SUMS, batch);
      if (c.graph && (!best.graph || c.graph->n < best.graph->n)) best = c;
    }
  return best;
}

static bool *live_of(const Graph *g, Arena *a) {
  bool *live = ARENA_NEWS(a, bool, g->n);
  for (uint32_t i = 0; i < g->n_roots; i++) live[g->roots[i].value] = true;
  for (ValueId v = g->n; v-- > 1;)
    for (uint32_t i = 0; live[v] && i < g->v[v].n_args; i++) live[g->v[v].args[i]] = true;
  return live;
}

static void use_groups(Program *p, const Kinds *k, const Candidate *c) {
  ProgGroups *g = &p->groups;
  Arena *a = p->arena;
  g->column = p->kind_column - 1, g->n_groups = c->groups.n, g->n_sets = c->sets.n, g->share = c->share;
  g->group_of_kind = ARENA_NEWS(a, uint32_t, k->n);
  for (uint32_t i = 0; i < c->groups.n; i++)
    for (uint32_t kind = 0; kind < k->n; kind++)
      if (c->groups.kinds[i] >> kind & 1) g->group_of_kind[kind] = i;
  g->lo = ARENA_NEWS(a, uint32_t, c->sets.n), g->hi = ARENA_NEWS(a, uint32_t, c->sets.n);
  memcpy(g->lo, c->sets.lo, c->sets.n * sizeof *g->lo);
  memcpy(g->hi, c->sets.hi, c->sets.n * sizeof *g->hi);
}

void pass_group(Program *p) {
  const Graph *g = model_alone(p);
  bool *live = live_of(g, p->arena), masked = false;
  for (ValueId v = 1; v < g->n; v++) masked |= live[v] && g->v[v].op == OP_MASK;
  if (!masked) return;
  Kinds k = known_of_graph(p, g, p->arena);
  int64_t batch = p->train.batch > 0 ? p->train.batch : 1;
  Grouping one = {.n = 1, .kinds = {k.n == 64 ? UINT64_MAX : ((uint64_t)1 << k.n) - 1}, .share = {1}}, many;
  Candidate plain = candidate(p, g, &k, &one, GROUP_NONE, batch), best = plain;
  if (!plain.graph) return;
  p->groups.why = p->train.group_rows == 0 ? "switched off" : k.n < 2 ? "no mask depends on a class" : NULL;
  if (!p->groups.why && !groups_of_kinds(&k, live, &many)) p->groups.why = "masks tell too many kinds of data apart";
  if (!p->groups.why && many.n < 2) p->groups.why = "every class is blocked in the same places";
  if (!p->groups.why) {
    Candidate sums = best_order(p, g, &k, many, batch), all = candidate(p, g, &k, &sums.groups, GROUP_ALL, batch);
    best = all.cost < WORTH_GROUPING * sums.cost ? all : sums;
    bool pays = best.cost <= WORTH_GROUPING * plain.cost;
    if (!best.graph || best.sets.n < 2) p->groups.why = "nothing becomes smaller";
    else if (!pays && p->train.group_rows < 0) p->groups.why = "it would save less than 2 % of the operations";
    else if (!program_kind_column(p)) p->groups.why = "a class depends on positions or changes from step to step";
  }
  if (g != p->step) { /* with the probes in it again */
    plain = candidate(p, p->step, &k, &one, GROUP_NONE, batch);
    if (!p->groups.why) best = candidate(p, p->step, &k, &best.groups, best.mode, batch);
    if (!p->groups.why && !best.graph) p->groups.why = "with the probes there are too many row sets";
  }
  if (p->groups.why) best = plain;
  p->groups.dense = graph_operations(pass_simplify(p->step, p->arena), batch, NULL);
  p->groups.operations = best.operations;
  p->step = best.graph;
  if (!p->groups.why) use_groups(p, &k, &best);
}
