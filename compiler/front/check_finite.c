/* SPDX-License-Identifier: Apache-2.0
 * check_finite.c -- conditions over fields with finitely many values, tried on all of them. */
#include "model.h"
#include "ops.h"
#include <math.h>
#include <string.h>

#define MAX_VARS  16u
#define MAX_CASES 1e6

/* The same place of every argument. A field with positions may be spread over other axes in two ways, so that two reads of
 * it at one place need not be one value. */
static bool pointwise(const Graph *g, const Value *v) {
  switch (v->op) {
  case OP_CONST: return !v->data;
  case OP_NEG:
  case OP_ABS:
  case OP_SIGN:
  case OP_FLOOR:
  case OP_NOT:
  case OP_CAST:
  case OP_STOP:
  case OP_ADD:
  case OP_SUB:
  case OP_MUL:
  case OP_DIV:
  case OP_MIN:
  case OP_MAX:
  case OP_LT:
  case OP_LE:
  case OP_EQ:
  case OP_NE:
  case OP_AND:
  case OP_OR:
  case OP_WHERE: return true;
  case OP_BCAST: return g->v[v->args[0]].shape.rank <= 1;
  case OP_SCALAR: return true; /* at its value now: the param becomes structural */
  default: return false;
  }
}

static struct FieldOf *field_of(Elab *e, ValueId id) {
  for (uint32_t i = 0; i < e->n_finite; i++)
    if (e->finite[i].id == id) return &e->finite[i];
  return NULL;
}

typedef struct Walk {
  Elab *e;
  uint8_t *seen;
  Finite *f;
} Walk;

static bool walk(Walk *w, ValueId id) {
  if (w->seen[id]) return true;
  w->seen[id] = 1;
  struct FieldOf *fo = field_of(w->e, id);
  if (fo) {
    if (w->f->n_vars == MAX_VARS) return false;
    w->f->vars[w->f->n_vars++] = *fo;
    w->f->count *= fo->field->is_bool ? 2 : fo->field->hi - fo->field->lo + 1;
    return w->f->count <= MAX_CASES;
  }
  const Value *v = &w->e->g->v[id];
  if (!pointwise(w->e->g, v)) return false;
  for (uint32_t i = 0; i < v->n_args; i++)
    if (!walk(w, v->args[i])) return false;
  return true;
}

static void scalars_static(Elab *e, const uint8_t *seen) {
  Model *m = e->m;
  for (ValueId id = 1; id < e->g->n; id++) {
    if (!seen[id] || e->g->v[id].op != OP_SCALAR) continue;
    const char *name = m->p->scalars[e->g->v[id].ints[0]].name;
    Param *p = strmap_get(&m->param_names, name);
    if (p && p->decl->index < 64) m->structural |= (uint64_t)1 << p->decl->index;
  }
}

bool finite_collect(Elab *e, const ValueId *ids, uint32_t n, Finite *out) {
  Walk w = {e, ARENA_NEWS(e->m->a, uint8_t, e->g->n), out};
  *out = (Finite){.vars = ARENA_NEWS(e->m->a, struct FieldOf, MAX_VARS), .count = 1};
  for (uint32_t i = 0; i < n; i++)
    if (!walk(&w, ids[i])) return false;
  scalars_static(e, w.seen);
  return out->count >= 1;
}

/* ---- one case ---- */
typedef struct Case {
  Elab *e;
  double *value;
  uint32_t *stamp, epoch;
} Case;

/* By the operation's own meaning: integers wrap around, casts saturate. */
static double apply(const Elab *e, const Value *v, const double *x) {
  switch (v->op) {
  case OP_CONST: return v->num;
  case OP_SCALAR: return e->m->p->scalars[v->ints[0]].value;
  case OP_BCAST: return x[0];
  default: return op_info(v->op)->scalar(x, v->dtype);
  }
}

static double value_in(Case *c, ValueId id) {
  if (c->stamp[id] == c->epoch) return c->value[id];
  const Value *v = &c->e->g->v[id];
  double x[3] = {0, 0, 0};
  for (uint32_t i = 0; i < v->n_args && i < 3; i++) x[i] = value_in(c, v->args[i]);
  const double y = apply(c->e, v, x);
  c->stamp[id] = c->epoch;
  return c->value[id] = v->dtype == DT_F32 ? (double)(float)y : y; /* as the compiled condition rounds it */
}

static double var_value(const struct FieldOf *v, double *k) {
  double n = v->field->is_bool ? 2 : v->field->hi - v->field->lo + 1, r = fmod(*k, n);
  *k = floor(*k / n);
  return v->field->is_bool ? r : v->field->lo + r;
}

void finite_eval(Elab *e, Finite *f, double k, const ValueId *ids, uint32_t n, double *out) {
  if (!f->value)
    f->value = ARENA_NEWS(e->m->a, double, e->g->n), f->stamp = ARENA_NEWS(e->m->a, uint32_t, e->g->n);
  Case c = {e, f->value, f->stamp, ++f->epoch};
  for (uint32_t i = 0; i < f->n_vars; i++)
    c.value[f->vars[i].id] = var_value(&f->vars[i], &k), c.stamp[f->vars[i].id] = c.epoch;
  for (uint32_t i = 0; i < n; i++) out[i] = value_in(&c, ids[i]);
}

const char *finite_describe(Elab *e, const Finite *f, double k) {
  const char *t = "";
  for (uint32_t i = 0; i < f->n_vars; i++) {
    double x = var_value(&f->vars[i], &k);
    const char *name = f->vars[i].field->name;
    if (f->vars[i].field->is_label)
      t = arena_printf(e->m->a, "%s%s%s is %s", t, i ? " and " : "", name, x == 1 ? "yes" : x == 0 ? "no" : "unlabelled");
    else t = f->vars[i].field->is_bool
            ? arena_printf(e->m->a, "%s%s%s", t, i ? " and " : "",
                           x != 0 ? name : arena_printf(e->m->a, "not %s", name))
            : arena_printf(e->m->a, "%s%s%s == %s", t, i ? " and " : "", name, number_text(e->m->a, x));
  }
  return *t ? t : "always";
}

/* Everything that id depends on must be var or constant. */
static bool only_var(Elab *e, ValueId var, ValueId id, uint8_t *seen) {
  if (id == var || seen[id]) return true;
  seen[id] = 1;
  const Value *v = &e->g->v[id];
  if (field_of(e, id) || !pointwise(e->g, v)) return false;
  for (uint32_t i = 0; i < v->n_args; i++)
    if (!only_var(e, var, v->args[i], seen)) return false;
  return true;
}

bool finite_eval_fixed(Elab *e, ValueId var, double value, ValueId id, double *out) {
  uint8_t *seen = ARENA_NEWS(e->m->a, uint8_t, e->g->n);
  if (!only_var(e, var, id, seen)) return false;
  scalars_static(e, seen);
  Case c = {e, ARENA_NEWS(e->m->a, double, e->g->n), ARENA_NEWS(e->m->a, uint32_t, e->g->n), 1};
  c.value[var] = value, c.stamp[var] = 1;
  *out = value_in(&c, id);
  return true;
}
