/* SPDX-License-Identifier: Apache-2.0
 * builtin_plugin.c -- calls of plugins' ops: arguments by position or name, inputs as rows and units,
 * parameters within their ranges; then the formula, or a CALL for what is none. */
#include "builtin_plugin.h"
#include <math.h>
#include <string.h>

/* ---- arguments ---- */
static const char *arg_name(const RouteOp *op, uint32_t k) {
  return k < op->n_inputs ? rt_op_input(op, k)->name : rt_op_param(op, k - op->n_inputs)->name;
}

const char *op_param_what(const OpCall *c, const RouteParam *p) {
  return arena_printf(c->e->m->a, "`%s` of `%s`", p->name, c->use->shown);
}

/* "l1(x, lambda = 1)" */
static const char *signature(const OpCall *c) {
  Arena *a = c->e->m->a;
  const char *text = "";
  for (uint32_t k = 0; k < c->op->n_inputs + c->op->n_params; k++) {
    const RouteParam *p = k < c->op->n_inputs ? NULL : rt_op_param(c->op, k - c->op->n_inputs);
    text = arena_printf(a, "%s%s%s%s%s", text, k ? ", " : "", arg_name(c->op, k), p ? " = " : "",
                        !p              ? ""
                        : isnan(p->def) ? "..."
                                        : number_text(a, p->def));
  }
  return arena_printf(a, "%s(%s)", c->use->shown, text);
}

static bool too_many(OpCall *c, Span at) {
  Diag *g = err(c->e->m, E0208, at, c->use->shown, "takes no further argument");
  diag_note(c->e->m->diags, g, "it is `%s`", signature(c));
  return false;
}

static bool unknown_argument(OpCall *c, const Ast *arg) {
  Model *m = c->e->m;
  const uint32_t n = c->op->n_inputs + c->op->n_params;
  const char **names = ARENA_NEWS(m->a, const char *, n + 1);
  for (uint32_t k = 0; k < n; k++) names[k] = arg_name(c->op, k);
  Diag *g = err(m, E0207, arg->name_span.file ? arg->name_span : arg->span, c->use->shown, arg->text);
  diag_suggest(m->diags, g, arg->text, names, n);
  diag_note(m->diags, g, "it is `%s`", signature(c));
  return false;
}

static bool missing(OpCall *c, uint32_t k) {
  Diag *g = err(c->e->m, E0208, c->span, c->use->shown,
                arena_printf(c->e->m->a, "needs a value for `%s`", arg_name(c->op, k)));
  diag_note(c->e->m->diags, g, "it is `%s`", signature(c));
  return false;
}

/* Sorts what was written into c->arg. false after an error. */
static bool bind(OpCall *c, Val *first) {
  const uint32_t n = c->op->n_inputs + c->op->n_params;
  uint32_t pos = 0;
  bool ok = true;
  c->arg = ARENA_NEWS(c->e->m->a, Val *, n + 1);
  if (first && n) c->arg[pos++] = first;
  else if (first) ok = too_many(c, first->span);
  for (uint32_t i = 1; c->call->kind == AST_CALL && i < c->call->n_kids; i++) {
    const Ast *arg = c->call->kids[i], *value = ast_is(arg, AST_ARG) ? arg->kids[0] : arg;
    uint32_t k = pos;
    if (ast_is(arg, AST_ARG))
      for (k = 0; k < n && strcmp(arg_name(c->op, k), arg->text) != 0;) k++;
    else pos++;
    if (k >= n) {
      ok = ast_is(arg, AST_ARG) ? unknown_argument(c, arg) : too_many(c, value->span);
      continue;
    }
    if (c->arg[k]) {
      err(c->e->m, E0209, arg->span, arg_name(c->op, k));
      ok = false;
      continue;
    }
    c->arg[k] = elab(c->e, c->s, value);
    ok = ok && !val_bad(c->arg[k]);
  }
  for (uint32_t k = 0; k < n; k++)
    if (!c->arg[k] && (k < c->op->n_inputs || isnan(rt_op_param(c->op, k - c->op->n_inputs)->def)))
      ok = missing(c, k);
  return ok;
}

/* ---- inputs ---- */
static bool input_values(OpCall *c, uint32_t i) {
  Elab *e = c->e;
  const RouteInput *row = rt_op_input(c->op, i);
  OpInput *in = &c->input[i];
  const Val *v = in->v = c->arg[i];
  const char *what = arena_printf(e->m->a, "`%s` of `%s`", row->name, c->use->shown);
  if (v->kind != VAL_TENSOR) {
    err(e->m, E0302, v->span, what, row->kind == ROUTE_LABEL ? "integers of the data" : "a tensor",
        val_text(e, v));
    return false;
  }
  const bool truth = row->kind == ROUTE_LABEL && val_dtype(e, v) == DT_BOOL;
  in->id = truth                      ? ir_cast(e->g, v->id, DT_I32)
           : row->kind == ROUTE_LABEL ? as_i32(e, v, what)
                                      : as_f32(e, v, what);
  if (!in->id) return false;
  Shape s = e->g->v[in->id].shape;
  in->lead = s.rank;
  if (row->kind == ROUTE_LABEL) return true;
  if (s.rank == 0 || (s.rank == 1 && s.d[0] == DIM_ROWS)) { /* one number for each row: one unit */
    s.d[s.rank++] = 1;
    in->id = ir_reshape(e->g, in->id, &s);
  }
  in->lead = s.rank - 1, in->units = s.d[s.rank - 1];
  return true;
}

/* Every input's rows are the first axes of those of the one that has most. */
static bool inputs_of(OpCall *c) {
  Elab *e = c->e;
  c->input = ARENA_NEWS(e->m->a, OpInput, c->op->n_inputs + 1);
  bool ok = true;
  const OpInput *most = NULL;
  for (uint32_t i = 0; i < c->op->n_inputs; i++) {
    ok = input_values(c, i) && ok;
    if (ok && (!most || c->input[i].lead > most->lead)) most = &c->input[i];
  }
  if (!ok || !most) return ok;
  c->rows = e->g->v[most->id].shape, c->rows.rank = most->lead, c->rows_of = most->v;
  for (uint32_t i = 0; i < c->op->n_inputs; i++) {
    const OpInput *in = &c->input[i];
    const int64_t *d = e->g->v[in->id].shape.d;
    if (!memcmp(d, c->rows.d, sizeof *d * (size_t)in->lead)) continue;
    Diag *g = err(e->m, E0536, c->span, c->use->shown);
    diag_also(e->m->diags, g, in->v->span, "this is %s", val_text(e, in->v));
    diag_also(e->m->diags, g, most->v->span, "this is %s", val_text(e, most->v));
    return false;
  }
  return true;
}

/* ---- parameters ---- */
/* The run-time param that a number is, as it stands there; -1: none. */
static int32_t scalar_of(const OpCall *c, const Val *v) {
  const Value *x = v->id ? &c->e->g->v[v->id] : NULL;
  return x && x->op == OP_SCALAR ? (int32_t)x->ints[0] : -1;
}

static const char *bound_text(Model *m, double x) {
  return isfinite(x) ? number_text(m->a, x) : x < 0 ? "-infinity" : "infinity";
}

/* A number within the range of a parameter. A run-time param that stands there itself keeps to it later, too. */
static bool number_fits(OpCall *c, const RouteParam *p, const Val *v) {
  Model *m = c->e->m;
  const char *what = op_param_what(c, p);
  if (p->flags & ROUTE_PARAM_INT && !v->is_int) {
    err(m, E0303, v->span, what, val_text(c->e, v));
    return false;
  }
  if (!(v->num >= p->min && v->num <= p->max)) {
    err(m, E0336, v->span, what, number_text(m->a, v->num), bound_text(m, p->min), bound_text(m, p->max));
    return false;
  }
  const int32_t k = scalar_of(c, v);
  if (k < 0) return true;
  ProgScalar *scalar = &m->p->scalars[k];
  scalar->lo = fmax(scalar->lo, p->min), scalar->hi = fmin(scalar->hi, p->max);
  return true;
}

/* Is what was given for a parameter a number within its range, or something else that has one value? false
 * after an error. */
static bool param_fits(OpCall *c, uint32_t i) {
  Elab *e = c->e;
  const RouteParam *p = rt_op_param(c->op, i);
  const Val *v = c->arg[c->op->n_inputs + i];
  if (!v) return true;
  if (v->kind == VAL_NUM) {
    if (p->flags & ROUTE_PARAM_STRUCTURAL) use_static(e, v);
    return number_fits(c, p, v);
  }
  const Dtype t = val_dtype(e, v);
  const bool one = v->kind == VAL_TENSOR && val_shape(e, v)->rank == 0 && (t == DT_F32 || t == DT_F64);
  const bool fixed = p->flags & (ROUTE_PARAM_STRUCTURAL | ROUTE_PARAM_INT);
  if (one && !fixed) return true;
  err(e->m, E0302, v->span, op_param_what(c, p),
      fixed ? "a number known before the run" : "a number or a schedule", val_text(e, v));
  return false;
}

/* ---- what is no formula ---- */
/* An ability as one that is called. false: the op has none that this routec calls. */
static bool ability_of(const RouteOp *op, CallAbility *ability) {
  if (op->kind == ROUTE_SCHEDULE) *ability = CALL_SCHEDULE;
  else if (op->kind == ROUTE_GATE) *ability = CALL_GATE;
  else *ability = op->extension(op, ROUTE_EXT_SPAN) ? CALL_SPAN : CALL_REDUCE;
  static const char *const ids[] = {[CALL_SPAN] = ROUTE_EXT_SPAN,
                                    [CALL_REDUCE] = ROUTE_EXT_REDUCE,
                                    [CALL_GATE] = ROUTE_EXT_GATE,
                                    [CALL_SCHEDULE] = ROUTE_EXT_SCHEDULE};
  return op->extension(op, ids[*ability]) != NULL;
}

/* A parameter of an op that is called: a number, or a run-time param that stands there itself. false after an
 * error. */
static bool share_of(OpCall *c, uint32_t i, ProgShare *out) {
  Model *m = c->e->m;
  const RouteParam *p = rt_op_param(c->op, i);
  const Val *v = c->arg[c->op->n_inputs + i];
  *out = (ProgShare){v ? v->num : p->def, -1};
  if (!v) return true;
  if (v->kind != VAL_NUM) {
    err(m, E0535, v->span, arena_printf(m->a, "`%s`", p->name), c->use->shown);
    return false;
  }
  out->scalar = scalar_of(c, v);
  if (out->scalar < 0) use_static(c->e, v); /* computed from params: known when the spec is compiled */
  return true;
}

static bool same_call(const ProgCall *a, const ProgCall *b) {
  if (a->op != b->op || a->stream != b->stream) return false;
  for (uint32_t i = 0; i < a->n_params; i++)
    if (a->params[i].value != b->params[i].value || a->params[i].scalar != b->params[i].scalar) return false;
  return true;
}

/* Index in Program.calls: one for the training step and the evaluations that hold the same use. */
static uint32_t call_row(OpCall *c, const ProgCall *call) {
  Program *p = c->e->m->p;
  for (uint32_t i = 0; i < p->n_calls; i++)
    if (same_call(&p->calls[i], call)) return i;
  *PUSH(c->e->m->a, p->calls, p->n_calls) = *call;
  return p->n_calls - 1;
}

/* Inputs as a call takes them: all with the same rows, repeated along those that they lack. */
static ValueId *call_inputs(OpCall *c, bool differentiated) {
  Graph *g = c->e->g;
  ValueId *ids = ARENA_NEWS(c->e->m->a, ValueId, c->op->n_inputs + 1);
  for (uint32_t i = 0; i < c->op->n_inputs; i++) {
    const OpInput *in = &c->input[i];
    ids[i] = in->id;
    if (in->lead < c->rows.rank) {
      Shape to = c->rows;
      int64_t map[IR_MAX_RANK];
      if (in->units) to.d[to.rank++] = in->units;
      for (int k = 0; k < to.rank; k++) map[k] = k < in->lead ? k : -1;
      if (in->units) map[to.rank - 1] = in->lead;
      ids[i] = ir_bcast(g, in->id, &to, map);
    }
    if (!differentiated && in->units) ids[i] = ir_un(g, OP_STOP, ids[i]);
  }
  return ids;
}

/* Columns of a gate's result; 0 after an error. */
static int64_t gate_units(OpCall *c, const RouteGate *gate, const ProgCall *call) {
  Model *m = c->e->m;
  size_t *cols = ARENA_NEWS(m->a, size_t, c->op->n_inputs + 1);
  double *params = ARENA_NEWS(m->a, double, c->op->n_params + 1);
  for (uint32_t i = 0; i < c->op->n_inputs; i++) cols[i] = c->input[i].units ? (size_t)c->input[i].units : 1;
  for (uint32_t i = 0; i < c->op->n_params; i++) params[i] = call->params[i].value;
  rt_plugin_running = c->op->name;
  const size_t units = gate->units(params, cols);
  rt_plugin_running = NULL;
  if (units >= 1 && units <= 1 << 20) return (int64_t)units;
  err(m, E0539, c->span, c->use->shown,
      arena_printf(m->a, "it gives %zu units, and 1 to %d are possible", units, 1 << 20));
  return 0;
}

static Val *called(OpCall *c) {
  Elab *e = c->e;
  ProgCall call = {.op = c->op, .n_params = c->op->n_params, .span = c->span};
  bool ok = ability_of(c->op, &call.ability);
  if (!ok) err(e->m, E0539, c->span, c->use->shown, "it has no ability that this routec calls");
  call.params = ARENA_NEWS(e->m->a, ProgShare, c->op->n_params + 1);
  for (uint32_t i = 0; i < c->op->n_params; i++) ok = share_of(c, i, &call.params[i]) && ok;
  if (ok && call.ability == CALL_SCHEDULE && !e->training)
    err(e->m, E0538, c->span, c->use->shown), ok = false;
  if (!ok) return val_poison(e, c->span);
  const RouteGate *gate = call.ability == CALL_GATE ? c->op->extension(c->op, ROUTE_EXT_GATE) : NULL;
  const int64_t units = gate ? gate_units(c, gate, &call) : 0;
  if (gate && !units) return val_poison(e, c->span);
  call.plugin = plugin_row(e, c->use, c->span);
  call.stream = (uint64_t)draw_stream(e, c->s, c->use->shown);
  const char *why = NULL;
  const ValueId *inputs = call_inputs(c, !gate || gate->grad);
  const ValueId id = ir_call(e->g, c->span, call_row(c, &call), call.ability, inputs, c->op->n_inputs, units,
                             e->training, &why);
  if (!id) {
    err(e->m, E0539, c->span, c->use->shown, why);
    return val_poison(e, c->span);
  }
  Val *v = val_tensor(e, c->span, id);
  for (int i = 0; gate && c->rows_of && i < c->rows.rank; i++) v->axis[i] = c->rows_of->axis[i];
  return v;
}

/* ---- the call ---- */
Val *plugin_call(Elab *e, Scope *s, const PluginUse *use, const Ast *call, Val *first) {
  OpCall c = {.e = e, .s = s, .use = use, .op = use->op, .call = call, .span = call->span};
  if (!bind(&c, first)) return val_poison(e, call->span);
  const uint32_t before = e->g->n;
  bool ok = inputs_of(&c);
  for (uint32_t i = 0; i < c.op->n_params; i++) ok = param_fits(&c, i) && ok;
  if (!ok) return val_poison(e, call->span);
  const RouteExpr *x = c.op->extension(c.op, ROUTE_EXT_EXPR);
  Val *v = x ? formula_lower(&c, x) : called(&c);
  if (x) plugin_row(e, use, call->span);
  for (uint32_t i = before; i < e->g->n; i++) e->g->v[i].span = call->span;
  if (!val_bad(v)) v->span = call->span;
  return v;
}
