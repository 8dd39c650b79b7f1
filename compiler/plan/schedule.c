/* SPDX-License-Identifier: Apache-2.0
 * schedule.c -- order of execution and waves.
 * Forward steps come first, in the order of the graph (a chain stays together and its activations in cache);
 * the losses are checked as soon as they are known; of the rest that step goes next which leaves least memory
 * in use. Among steps alike those come first that need no barrier before them: where each thread reads only what it has itself
 * stored (share.c), a chain of steps over the rows of a batch is one wave. A large step that could store its output over an input
 * begins a wave if others read that input in the present one (w->apart). requires: deps, buffers with
 * bytes   changes: w->schedule, w->wave, w->follows, w->n_apart */
#include "plan_work.h"
#include <math.h>
#include <string.h>

typedef struct Sched {
  Work *w;
  uint32_t *missing; /* [node] dependencies not yet placed */
  uint32_t *next_at, *next;
  uint32_t *readers; /* [value] nodes still to load it */
  bool *kept;        /* [value] a root */
  uint32_t *read_in; /* [value] wave of the latest step that loads it */
  uint32_t *ready, n_ready;
  uint32_t *wave_of; /* [node], UINT32_MAX before it is placed */
  uint32_t wave;     /* of the step placed last */
  Step *steps;       /* [node] as far as they are known */
  ShareScratch scratch;
} Sched;

#define LARGE ((double)PLAN_LARGE)

static double work_bytes_of(const Work *w, BufferId b) {
  const Buffer *x = &w->fn->buffers[b];
  return x->space == SPACE_WORK ? (double)x->bytes : 0;
}

/* Bytes that the node frees minus bytes it takes. */
static double gain(const Sched *s, const Node *n) {
  double g = 0;
  for (uint32_t i = 0; i < n->n_reads; i++) {
    ValueId v = n->reads[i];
    if (s->w->producer[v] && s->readers[v] == 1 && !s->kept[v])
      g += work_bytes_of(s->w, s->w->fn->buffer_of[v]);
  }
  for (uint32_t i = 0; i < n->n_outs; i++) g -= work_bytes_of(s->w, n->outs[i].buffer);
  return g;
}

static double taken(const Sched *s, const Node *n) {
  double g = 0;
  for (uint32_t i = 0; i < n->n_outs; i++) g += work_bytes_of(s->w, n->outs[i].buffer);
  return g;
}

static bool is_alone(const Sched *s, uint32_t node) { return plan_step_share(s->w->fn, &s->steps[node]).axis == SHARE_ALONE; }

/* Whether n stores in place what node `before` loads. */
static bool overwrites(const Work *w, const Node *n, const Node *before) {
  for (uint32_t i = 0; i < n->n_outs; i++) {
    const uint32_t root = w->store_root[n->outs[i].value];
    for (uint32_t k = 0; root && k < before->n_reads; k++)
      if (value_slot(&w->g->v[before->reads[k]]) == root_slot(&w->g->roots[root - 1])) return true;
  }
  return false;
}

/* Whether n, which depends on `before`, need not wait for the other threads: it uses what its own thread has done. */
static bool follows(Sched *s, uint32_t n, uint32_t before) {
  const Work *w = s->w;
  if (w->nodes[before].kind == STEP_CHECK) return false;
  if (is_alone(s, n) && is_alone(s, before)) return true;
  return w->nodes[n].kind != STEP_CHECK && !overwrites(w, &w->nodes[n], &w->nodes[before]) &&
         plan_shares_meet(w->fn, &s->steps[before], &s->steps[n], &s->scratch);
}

/* Whether a large output of node i could take the place of an input whose other readers have their turn in the present wave, and of none
 * in this wave. */
static bool overwrites_later(const Sched *s, uint32_t i) {
  const Work *w = s->w;
  const Node *n = &w->nodes[i];
  bool later = false;
  for (uint32_t k = 0; w->apart && k < n->n_outs; k++)
    for (uint32_t r = 0; work_bytes_of(w, n->outs[k].buffer) > LARGE && r < n->n_reads; r++) {
      const ValueId v = n->reads[r];
      if (n->elsewhere[r] || s->kept[v] || s->readers[v] != 1) continue;
      if (!plan_may_overwrite(&s->steps[i], &w->fn->buffers[w->fn->buffer_of[v]], &w->fn->buffers[n->outs[k].buffer])) continue;
      if (s->read_in[v] != s->wave) return false;
      later = true;
    }
  return later;
}

/* Whether a node can run in the present wave; `own`: it follows some step there. */
static bool joins(Sched *s, uint32_t i, bool *own) {
  const Node *n = &s->w->nodes[i];
  *own = false;
  if (overwrites_later(s, i)) return false;
  for (uint32_t k = 0; k < n->n_deps; k++) {
    if (s->wave_of[n->deps[k]] != s->wave) continue;
    if (taken(s, n) > LARGE || !follows(s, i, n->deps[k])) return false; /* lives are as long as waves */
    *own = true;
  }
  return true;
}

/* What is compared, in order; smaller is better. */
typedef struct Rank {
  int class, apart;
  double loss;
  uint32_t node;
} Rank;

static Rank rank_of(Sched *s, uint32_t i) {
  const Node *n = &s->w->nodes[i];
  const bool early = n->space.rank == 0 && n->n_deps == 0; /* numbers that wait for nothing, and that others wait for */
  bool own;
  Rank r = {.class = n->kind == STEP_CHECK ? 0 : n->phase == PHASE_FORWARD || early ? 1 : 2,
            .apart = !joins(s, i, &own),
            .node = i};
  if (r.class == 1) r.apart |= taken(s, n) > LARGE; /* large steps keep the graph's order */
  if (r.class == 2) r.loss = floor(-gain(s, n) / LARGE);
  return r;
}

static bool better(const Rank *a, const Rank *b) {
  if (a->class != b->class) return a->class < b->class;
  if (a->loss != b->loss) return a->loss < b->loss;
  return a->apart != b->apart ? a->apart < b->apart : a->node < b->node;
}

static uint32_t pick(Sched *s) {
  uint32_t best = 0;
  Rank r = rank_of(s, s->ready[0]);
  for (uint32_t i = 1; i < s->n_ready; i++) {
    Rank x = rank_of(s, s->ready[i]);
    if (better(&x, &r)) r = x, best = i;
  }
  return best;
}

static void sched_start(Sched *s) {
  Work *w = s->w;
  uint32_t n = w->n_nodes;
  s->steps = ARENA_NEWS(w->scratch, Step, n);
  for (uint32_t i = 0; i < n; i++)
    if (!w->nodes[i].dead) s->steps[i] = plan_step_of_node(w, &w->nodes[i]);
  s->scratch = plan_share_scratch(w->scratch, w->g->n);
  s->missing = ARENA_NEWS(w->scratch, uint32_t, n);
  s->next_at = ARENA_NEWS(w->scratch, uint32_t, n + 2);
  s->ready = ARENA_NEWS(w->scratch, uint32_t, n);
  s->readers = ARENA_NEWS(w->scratch, uint32_t, w->g->n);
  s->kept = ARENA_NEWS(w->scratch, bool, w->g->n);
  s->wave_of = ARENA_NEWS(w->scratch, uint32_t, n);
  memset(s->wave_of, 0xff, n * sizeof *s->wave_of);
  s->read_in = ARENA_NEWS(w->scratch, uint32_t, w->g->n);
  memset(s->read_in, 0xff, w->g->n * sizeof *s->read_in);
  for (uint32_t i = 0; i < w->g->n_roots; i++) s->kept[w->g->roots[i].value] = true;
  for (uint32_t i = 0; i < n; i++) {
    const Node *x = &w->nodes[i];
    if (x->dead) continue;
    for (uint32_t k = 0; k < x->n_deps; k++) s->next_at[x->deps[k] + 2]++, s->missing[i]++;
    for (uint32_t k = 0; k < x->n_reads; k++) s->readers[x->reads[k]]++;
    if (!x->n_deps) s->ready[s->n_ready++] = i;
  }
  for (uint32_t i = 2; i < n + 2; i++) s->next_at[i] += s->next_at[i - 1];
  s->next = ARENA_NEWS(w->scratch, uint32_t, s->next_at[n + 1]);
  for (uint32_t i = 0; i < n; i++)
    for (uint32_t k = 0; !w->nodes[i].dead && k < w->nodes[i].n_deps; k++)
      s->next[s->next_at[w->nodes[i].deps[k] + 1]++] = i;
}

void plan_order(Work *w) {
  Sched s = {.w = w};
  w->schedule = ARENA_NEWS(w->scratch, uint32_t, w->n_nodes);
  w->wave = ARENA_NEWS(w->scratch, uint32_t, w->n_nodes);
  w->follows = ARENA_NEWS(w->scratch, bool, w->n_nodes);
  w->n_order = w->n_apart = 0;
  sched_start(&s);
  while (s.n_ready) {
    uint32_t at = pick(&s), i = s.ready[at];
    const Node *n = &w->nodes[i];
    if (w->n_order && !joins(&s, i, &w->follows[w->n_order]))
      w->n_apart += overwrites_later(&s, i), s.wave++, w->follows[w->n_order] = false;
    s.wave_of[i] = w->wave[w->n_order] = s.wave;
    s.ready[at] = s.ready[--s.n_ready];
    w->schedule[w->n_order++] = i;
    for (uint32_t k = 0; k < n->n_reads; k++) s.readers[n->reads[k]]--, s.read_in[n->reads[k]] = s.wave;
    for (uint32_t k = s.next_at[i]; k < s.next_at[i + 1]; k++)
      if (--s.missing[s.next[k]] == 0) s.ready[s.n_ready++] = s.next[k];
  }
}
