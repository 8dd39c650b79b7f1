/* SPDX-License-Identifier: Apache-2.0
 * check_kind.c -- the program's conditions, and which of them can hold together. */
#include "model.h"
#include <string.h>

#define MAX_KINDS 256u
#define MAX_TRIED                                                                                            \
  1e6 /* assignments of fields, times combinations of conditions that are not made of such fields */

/* ---- what a condition may read ---- */
typedef struct Reads {
  bool parameters, other_data, steps;
} Reads;

static bool mixes_rows(const Graph *g, const Value *v) {
  if (v->op == OP_CLOCK) return v->ints[0] == CLOCK_ROWS;
  if (op_class(v->op) != OPC_RED && v->op != OP_DOT && v->op != OP_CALL) return false;
  bool rows = false;
  for (uint32_t i = 0; i < v->n_args; i++)
    for (int k = 0; k < g->v[v->args[i]].shape.rank; k++)
      rows = rows || g->v[v->args[i]].shape.d[k] == DIM_ROWS;
  for (int k = 0; k < v->shape.rank; k++)
    if (v->shape.d[k] == DIM_ROWS) return false;
  return rows;
}

static Reads reads_of(Elab *e, ValueId id) {
  Reads r = {false, false, false};
  uint8_t *live = ARENA_NEWS(e->m->a, uint8_t, id + 1);
  live[id] = 1;
  for (ValueId k = id; k > 0; k--) {
    const Value *v = &e->g->v[k];
    if (!live[k]) continue;
    if (v->op == OP_PARAM) r.parameters = true;
    if (mixes_rows(e->g, v)) r.other_data = true;
    if (v->op == OP_RANDOM || v->op == OP_CALL || (v->op == OP_CLOCK && v->ints[0] != CLOCK_ROWS)) r.steps = true;
    for (uint32_t i = 0; i < v->n_args; i++) live[v->args[i]] = 1;
  }
  return r;
}

bool cond_reads_data(Elab *e, ValueId id, const char *what, Span span) {
  const Reads r = reads_of(e, id);
  if (!r.parameters && !r.other_data) return true;
  Diag *g =
      err(e->m, E0350, span, what, r.parameters ? "parameters of the model" : "other data of the batch");
  if (r.other_data && !r.parameters)
    diag_note(e->m->diags, g, "the same datum would be in the class in one batch and not in another");
  return false;
}

bool cond_is_steady(Elab *e, ValueId id) { return !reads_of(e, id).steps; }

/* ---- the table of conditions ---- */
/* Equal computations: arms are elaborated anew for each place of their route. */
bool value_same(const Graph *g, ValueId a, ValueId b) {
  const Value *x = &g->v[a], *y = &g->v[b];
  if (a == b) return true;
  if (x->op != y->op || x->dtype != y->dtype || x->n_args != y->n_args || x->n_ints != y->n_ints || x->data ||
      y->data || memcmp(&x->num, &y->num, sizeof x->num) != 0 || !shape_equal(&x->shape, &y->shape) ||
      x->op == OP_RANDOM)
    return false;
  if (x->n_ints && memcmp(x->ints, y->ints, sizeof *x->ints * x->n_ints) != 0) return false;
  for (uint32_t i = 0; i < x->n_args; i++)
    if (!value_same(g, x->args[i], y->args[i])) return false;
  return true;
}

int32_t cond_add(Elab *e, ValueId id, const char *text, Span span) {
  Model *m = e->m;
  Program *p = m->p;
  if (!e->training) return -1;
  for (uint32_t i = 0; i < p->n_conds; i++)
    if (value_same(e->g, p->conds[i].value, id)) return (int32_t)i;
  if (p->n_conds == MAX_CONDS) {
    if (!m->too_many_conds) {
      Diag *g = err(m, E0351, span, MAX_CONDS);
      diag_note(m->diags, g, "arms and classes that test the same thing count once");
    }
    m->too_many_conds = true;
    return -1;
  }
  *PUSH(m->a, p->conds, p->n_conds) = (ProgCond){text, id, e->g->v[id].dtype != DT_BOOL, span};
  return (int32_t)p->n_conds - 1;
}

/* ---- which of them can hold together ---- */
typedef struct Kinds {
  Elab *e;
  Program *p;
  Finite fin;
  ValueId *ids; /* what is evaluated: finite conditions, then the labels of observed classes */
  uint32_t *of; /* [ids] the condition; of labels, the class */
  uint32_t n_ids, n_finite;
  uint32_t *open; /* conditions that are free */
  uint32_t n_open;
} Kinds;

static bool collect(Kinds *k, ValueId id, uint32_t of) {
  k->ids[k->n_ids] = id, k->of[k->n_ids] = of;
  Finite f;
  if (!finite_collect(k->e, k->ids, k->n_ids + 1, &f) || f.count > MAX_TRIED / 8) return false;
  k->fin = f;
  k->n_ids++;
  return true;
}

static bool kind_add(Program *p, uint32_t kind) {
  for (uint32_t i = 0; i < p->n_kinds; i++)
    if (p->kinds[i] == kind) return true;
  if (p->n_kinds == MAX_KINDS) return false;
  p->kinds[p->n_kinds++] = kind;
  return true;
}

/* Whether the labels of an assignment fit the true classes of this kind. */
static bool labels_fit(const Kinds *k, const double *truth, uint32_t kind) {
  for (uint32_t i = k->n_finite; i < k->n_ids; i++) {
    const Model *m = k->e->m;
    const ProgClass *of = &k->p->classes[m->drawn[m->drawn[k->of[i]].of].entry];
    if (!class_label_possible(m, k->of[i], kind >> of->cond & 1, truth[i])) return false;
  }
  return true;
}

static bool kinds_try(Kinds *k) {
  double *truth = ARENA_NEWS(k->e->m->a, double, k->n_ids + 1);
  for (double i = 0; i < k->fin.count; i++) {
    uint32_t kind = 0;
    if (k->n_ids) finite_eval(k->e, &k->fin, i, k->ids, k->n_ids, truth);
    for (uint32_t j = 0; j < k->n_finite; j++)
      if (truth[j] != 0) kind |= 1u << k->of[j];
    for (uint64_t s = 0; s < (uint64_t)1 << k->n_open; s++) {
      uint32_t all = kind;
      for (uint32_t j = 0; j < k->n_open; j++)
        if (s >> j & 1) all |= 1u << k->open[j];
      if (labels_fit(k, truth, all) && !kind_add(k->p, all)) return false;
    }
  }
  return true;
}

void check_kinds(Elab *e) {
  Program *p = e->m->p;
  Arena *a = e->m->a;
  Kinds k = {.e = e, .p = p, .fin = {.count = 1}};
  k.ids = ARENA_NEWS(a, ValueId, p->n_conds + e->m->classes.n + 1),
  k.of = ARENA_NEWS(a, uint32_t, p->n_conds + e->m->classes.n + 1);
  k.open = ARENA_NEWS(a, uint32_t, p->n_conds + 1);
  p->kinds = ARENA_NEWS(a, uint32_t, MAX_KINDS), p->n_kinds = 0;
  for (uint32_t i = 0; i < p->n_conds; i++)
    if (!collect(&k, p->conds[i].value, i)) k.open[k.n_open++] = i;
  k.n_finite = k.n_ids;
  for (uint32_t i = 0; i < e->m->classes.n; i++) {
    const DrawnClass *x = &e->m->drawn[i];
    if (x->call && x->entry >= 0 && e->m->drawn[x->of].entry >= 0) collect(&k, e->classes[i]->labels, i);
  }
  if (k.n_open > 20 || k.fin.count * (double)((uint64_t)1 << k.n_open) > MAX_TRIED || !kinds_try(&k))
    p->n_kinds = 0;
}

/* ---- the condition bits of a datum as a column ---- */
static ValueId copy_value(const Graph *from, Graph *to, ValueId id, ValueId *map) {
  if (map[id]) return map[id];
  const Value *v = &from->v[id];
  ValueId *args = ARENA_NEWS(to->arena, ValueId, v->n_args + 1);
  for (uint32_t i = 0; i < v->n_args; i++) args[i] = copy_value(from, to, v->args[i], map);
  if (v->op == OP_CONST && v->data) return map[id] = ir_const_data(to, v->span, v->data, &v->shape, v->dtype);
  map[id] = ir_make(to, v->op, v->span, args, v->n_args, v->ints, v->n_ints, v->num, &v->shape, v->dtype);
  to->v[map[id]].name = v->name;
  return map[id];
}

static bool varies(const Graph *g, ValueId id) {
  uint8_t *live = ARENA_NEWS(g->arena, uint8_t, id + 1);
  live[id] = 1;
  for (ValueId k = id; k > 0; k--) {
    if (!live[k]) continue;
    if (g->v[k].op == OP_RANDOM || g->v[k].op == OP_CLOCK) return true;
    for (uint32_t i = 0; i < g->v[k].n_args; i++) live[g->v[k].args[i]] = 1;
  }
  return false;
}

uint32_t program_kind_column(Program *p) {
  const Graph *g = p->step;
  if (p->kind_column || !p->train.present || !p->n_conds) return p->kind_column;
  for (uint32_t i = 0; i < p->n_conds; i++)
    if (g->v[p->conds[i].value].shape.rank != 1 || varies(g, p->conds[i].value)) return 0;
  Graph *to = graph_create(p->arena, "conditions");
  ValueId *map = ARENA_NEWS(p->arena, ValueId, g->n), bits = 0;
  const Span at = {0, 0, 0};
  for (uint32_t i = 0; i < p->n_conds; i++) {
    ValueId c =
        ir_cast(to, copy_value(g, to, p->conds[i].value, map), DT_BOOL); /* a weight: where it is not 0 */
    ValueId power = ir_const(to, at, (double)(1u << i), &(Shape){0}, DT_I32);
    ValueId bit = ir_bin(to, OP_MUL, ir_cast(to, c, DT_I32), power);
    bits = bits ? ir_bin(to, OP_ADD, bits, bit) : bit;
  }
  p->kind_column = 1 + program_derive(p, p->train.source, to, bits, "conditions", at);
  return p->kind_column;
}
