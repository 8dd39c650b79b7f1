/* SPDX-License-Identifier: Apache-2.0
 * verify.c -- the checker that runs after every pass. Trusts nothing but that the arrays are as long as they
 * say. */
#include "ops.h"
#include <math.h>
#include <string.h>

static bool fits(double x, Dtype t) {
  switch (t) {
  case DT_BOOL: return x == 0 || x == 1;
  case DT_U8: return x >= 0 && x <= 255 && x == floor(x);
  case DT_I32: return x >= INT32_MIN && x <= INT32_MAX && x == floor(x);
  default: return true;
  }
}

static const char *constant_fault(Graph *g, const Value *v) {
  if (!v->data)
    return fits(v->num, v->dtype) ? NULL
                                  : arena_printf(g->arena, "%g is no %s", v->num, dtype_name(v->dtype));
  for (int32_t i = 0; i < v->shape.rank; i++)
    if (dim_is_rows(v->shape.d[i])) return "constant data over ROWS";
  for (int64_t i = 0; i < shape_count(&v->shape, 0); i++)
    if (!fits(v->data[i], v->dtype))
      return arena_printf(g->arena, "element %lld is %g, no %s", (long long)i, v->data[i],
                          dtype_name(v->dtype));
  return NULL;
}

static const char *value_fault(Graph *g, ValueId id) {
  const Value *v = &g->v[id];
  for (uint32_t i = 0; i < v->n_args; i++) {
    if (!v->args[i]) return "argument is missing";
    if (v->args[i] >= id) return arena_printf(g->arena, "argument %%%u does not stand before it", v->args[i]);
    if (g->v[v->args[i]].phase > v->phase)
      return arena_printf(g->arena, "argument %%%u is of a later phase", v->args[i]);
  }
  OpUse u = {.g = g,
             .arena = g->arena,
             .op = v->op,
             .args = v->args,
             .n_args = v->n_args,
             .ints = v->ints,
             .n_ints = v->n_ints,
             .shape = &v->shape,
             .dtype = v->dtype};
  if (v->dtype == DT_NONE) return "it has no type";
  const char *why = op_check(&u);
  if (why) return why;
  if ((unsigned)v->phase > PHASE_UPDATE) return "it has no phase";
  if (v->op != OP_CONST && v->data) return "data at a value that is no constant";
  if (v->op == OP_CONST) return constant_fault(g, v);
  if (v->origins && v->phase == PHASE_FORWARD) return "a forward value has origins";
  if (v->op == OP_ADJTAP && (v->phase != PHASE_ADJOINT || !v->origins)) return "an adjoint of no origin";
  return NULL;
}

/* All reads of one parameter, state or column agree in type; a tap number is one place. */
static bool same_source(const Value *a, const Value *b) {
  if (a->op != b->op || !a->n_ints || memcmp(a->ints, b->ints, sizeof *a->ints * a->n_ints) != 0) return true;
  return a->op != OP_TAP && shape_equal(&a->shape, &b->shape) && a->dtype == b->dtype;
}

static const char *sources_fault(Graph *g) {
  ValueId *seen = ARENA_NEWS(g->arena, ValueId, g->n);
  uint32_t n = 0;
  for (ValueId id = 1; id < g->n; id++) {
    Op op = g->v[id].op;
    if (op != OP_PARAM && op != OP_STATE && op != OP_COLUMN && op != OP_TAP) continue;
    for (uint32_t i = 0; i < n; i++)
      if (!same_source(&g->v[seen[i]], &g->v[id]))
        return arena_printf(g->arena, "%%%u and %%%u are the same %s in two ways", seen[i], id, op_name(op));
    seen[n++] = id;
  }
  return NULL;
}

/* A packed set has one list, before its rows, and is not cut out of the batch as well. */
static const char *packed_fault(Graph *g) {
  ValueId list[IR_MAX_SETS] = {0};
  bool cut[IR_MAX_SETS] = {false};
  for (ValueId id = 1; id < g->n; id++) {
    const Value *v = &g->v[id];
    if (v->op == OP_RSLICE) cut[v->ints[0]] = true;
    if (v->op == OP_ROWLIST && list[v->ints[0]])
      return arena_printf(g->arena, "%%%u lists row set %lld again", id, (long long)v->ints[0]);
    if (v->op == OP_ROWLIST) list[v->ints[0]] = id;
  }
  for (ValueId id = 1; id < g->n; id++)
    for (int32_t i = 0; i < g->v[id].shape.rank; i++) {
      const int64_t d = g->v[id].shape.d[i], set = dim_is_rows(d) ? dim_set(d) : 0;
      if (list[set] > id || (list[set] && cut[set]))
        return arena_printf(g->arena, "%%%u has rows of set %lld, which is listed by %%%u", id, (long long)set,
                            list[set]);
    }
  return NULL;
}

static const char *root_fault(Graph *g, const Root *r) {
  if ((unsigned)r->kind > ROOT_KEEP) return "no such kind";
  if (!r->value || r->value >= g->n) return "its value does not exist";
  const Value *v = &g->v[r->value];
  bool rows = v->shape.rank && v->shape.d[0] == DIM_ROWS;
  switch (r->kind) {
  case ROOT_LOSS: return v->dtype == DT_F32 && !v->shape.rank ? NULL : "a loss is f32[]";
  case ROOT_METRIC: return v->dtype == DT_F32 && rows && v->shape.rank == 1 ? NULL : "a metric is f32[ROWS]";
  case ROOT_KEY: return v->dtype == DT_I32 && rows && v->shape.rank == 1 ? NULL : "a key is i32[ROWS]";
  case ROOT_PICTURE: return v->dtype == DT_F32 && rows ? NULL : "a picture is f32[ROWS,...]";
  case ROOT_GRAD:
  case ROOT_PARAM:
  case ROOT_STATE:
    if (v->dtype != DT_F32) return "it is not f32";
    for (ValueId id = 1; id < g->n; id++) {
      const Value *p = &g->v[id];
      bool source = r->kind == ROOT_STATE ? p->op == OP_STATE && p->ints[0] == r->a && p->ints[1] == r->b
                                          : p->op == OP_PARAM && p->ints[0] == r->a;
      if (source && !shape_equal(&p->shape, &v->shape))
        return arena_printf(g->arena, "its shape is not that of %%%u", id);
    }
    return NULL;
  case ROOT_SELECTION:
    return v->dtype == DT_F32 && rows && v->shape.rank == 1 && r->b ? NULL : "a selection is f32[ROWS], of some branches";
  case ROOT_KEEP: break;
  }
  return NULL;
}

static const char *roots_fault(Graph *g) {
  for (uint32_t i = 0; i < g->n_roots; i++) {
    const Root *r = &g->roots[i];
    const char *why = root_fault(g, r);
    for (uint32_t k = 0; !why && k < i && r->kind != ROOT_KEEP; k++) {
      const Root *s = &g->roots[k];
      if (s->kind == r->kind && s->a == r->a && (s->b == r->b || r->kind != ROOT_STATE))
        why = "it stands twice";
    }
    if (why)
      return arena_printf(g->arena, "graph '%s': root %u (kind %d, %u, %%%u): %s", g->name, i, (int)r->kind,
                          r->a, r->value, why);
  }
  return NULL;
}

const char *graph_verify(Graph *g) {
  for (ValueId id = 1; id < g->n; id++) {
    const char *why = value_fault(g, id);
    if (why)
      return arena_printf(g->arena, "graph '%s': %%%u = %s%s%s: %s", g->name, id, op_name(g->v[id].op),
                          g->v[id].name ? " " : "", g->v[id].name ? g->v[id].name : "", why);
  }
  const char *why = sources_fault(g);
  if (why) return arena_printf(g->arena, "graph '%s': %s", g->name, why);
  why = packed_fault(g);
  if (why) return arena_printf(g->arena, "graph '%s': %s", g->name, why);
  return roots_fault(g);
}
