/* SPDX-License-Identifier: Apache-2.0
 * builtin_formula.c -- formulas of plugins as values of the graph, so that differentiation, masks, proof and
 * fusion meet nothing new. The runtime's walk over the formula (runtime/plugin_formula.c) was passed: stack,
 * slots and kinds are sound; what is left to be seen are the extents. */
#include "builtin_plugin.h"
#include <math.h>

/* A value of the formula: [the first `lead` axes of the rows, units]; units 0: that axis is not there. */
typedef struct Item {
  ValueId id;
  int lead;
  int64_t units;
} Item;

typedef struct Formula {
  OpCall *c;
  Graph *g;
  const RouteInsn *insn;
  uint32_t at;
  Item stack[RT_FORMULA_STACK], slot[RT_FORMULA_SLOTS];
  uint32_t n;
} Formula;

static Shape item_shape(const Formula *f, int lead, int64_t units) {
  Shape s = f->c->rows;
  s.rank = lead;
  if (units) s.d[s.rank++] = units;
  return s;
}

static ValueId f32(const Formula *f, ValueId id) {
  const Dtype t = f->g->v[id].dtype;
  return t == DT_BOOL || t == DT_F32 ? id : ir_cast(f->g, id, DT_F32);
}

/* Repeats an item along the axes that it lacks. Numbers go as they are: building an operation repeats them.
 */
static ValueId stretch(const Formula *f, const Item *x, int lead, int64_t units) {
  if (x->lead == lead && x->units == units) return x->id;
  if (!x->lead && !x->units) return x->id;
  const Shape to = item_shape(f, lead, units);
  int64_t map[IR_MAX_RANK];
  for (int i = 0; i < to.rank; i++) map[i] = i < x->lead ? i : -1;
  if (units && x->units) map[to.rank - 1] = x->lead;
  return ir_bcast(f->g, x->id, &to, map);
}

/* Operands in one shape and of one type; numbers of the graph in double stay so among themselves. false after
 * an error. */
static bool alike(Formula *f, Item *x, uint32_t n, Item *out) {
  *out = (Item){0};
  bool all_f64 = true;
  for (uint32_t i = 0; i < n; i++) {
    if (x[i].units && out->units && x[i].units != out->units) {
      const RtFormulaRow *row = rt_formula_row(f->insn->op);
      err(f->c->e->m, E0537, f->c->span,
          arena_printf(f->c->e->m->a, "`%s` (formula of op `%s` of plugin `%s`, instruction %u, %s)",
                       f->c->use->shown, f->c->op->name, f->c->use->plugin->name, f->at, row->name),
          (long long)out->units, (long long)x[i].units);
      return false;
    }
    if (x[i].units) out->units = x[i].units;
    if (x[i].lead > out->lead) out->lead = x[i].lead;
    if (x[i].lead || x[i].units || f->g->v[x[i].id].dtype == DT_F32) all_f64 = false;
  }
  for (uint32_t i = 0; i < n; i++) {
    if (!all_f64) x[i].id = f32(f, x[i].id);
    x[i].id = stretch(f, &x[i], out->lead, out->units);
  }
  return true;
}

/* ---- what is pushed ---- */
static ValueId number(const Formula *f, double x) {
  return ir_const(f->g, f->c->span, x, &(Shape){0}, DT_F64);
}

static ValueId clock_value(Formula *f, ClockKind k) {
  if (f->c->e->training) return clock_f64(f->c->e, k);
  err(f->c->e->m, E0538, f->c->span, f->c->use->shown);
  return 0;
}

static ValueId param(Formula *f, uint32_t i) {
  const RouteParam *p = rt_op_param(f->c->op, i);
  const Val *v = f->c->arg[f->c->op->n_inputs + i];
  if (!v) return number(f, p->def);
  return v->kind == VAL_TENSOR ? v->id : as_f64_scalar(f->c->e, v, op_param_what(f->c, p));
}

static ValueId draw(Formula *f, const Shape *s) {
  Elab *e = f->c->e;
  if (!e->training) return ir_const(f->g, f->c->span, 0.5, s, DT_F32);
  const int64_t stream = draw_stream(e, f->c->s, f->c->use->shown);
  return ir_make(f->g, OP_RANDOM, f->c->span, NULL, 0, &stream, 1, 0, s, DT_F32);
}

/* False after an error. */
static bool push_leaf(Formula *f, Item *x) {
  const uint32_t arg = f->insn->arg;
  const OpInput *in = f->c->input;
  const int64_t axis = 0;
  Shape s;
  *x = (Item){0};
  switch (f->insn->op) {
  case ROUTE_X_INPUT: *x = (Item){f32(f, in[arg].id), in[arg].lead, in[arg].units}; break;
  case ROUTE_X_RANDOM:
    s = item_shape(f, in[arg].lead, in[arg].units);
    *x = (Item){draw(f, &s), in[arg].lead, in[arg].units};
    break;
  case ROUTE_X_UNIT:
    s = shape_of(1, in[arg].units);
    *x = (Item){ir_cast(f->g, ir_make(f->g, OP_IOTA, f->c->span, NULL, 0, &axis, 1, 0, &s, DT_I32), DT_F32),
                0, in[arg].units};
    break;
  case ROUTE_X_PARAM: x->id = param(f, arg); break;
  case ROUTE_X_CONST: x->id = number(f, f->insn->imm); break;
  case ROUTE_X_GET: *x = f->slot[arg]; break;
  case ROUTE_X_STEP: x->id = clock_value(f, CLOCK_STEP); break;
  case ROUTE_X_TOTAL_STEPS: x->id = clock_value(f, CLOCK_TOTAL_STEPS); break;
  case ROUTE_X_STEPS_PER_EPOCH: x->id = clock_value(f, CLOCK_STEPS_PER_EPOCH); break;
  case ROUTE_X_TRAINING: x->id = number(f, f->c->e->training); break;
  default: break;
  }
  return x->id != 0;
}

/* ---- what is computed ---- */
/* Reduces units or rows. An input that is one row for all data is its own sum over rows. */
static void reduce(Formula *f, Item *x) {
  const uint32_t op = f->insn->op;
  const bool over_rows = op == ROUTE_X_SUM_ROWS || op == ROUTE_X_MEAN_ROWS,
             mean = op == ROUTE_X_MEAN_ROWS || op == ROUTE_X_MEAN_UNITS;
  int64_t axes[IR_MAX_RANK];
  uint32_t n = 0;
  if (over_rows)
    for (; n < (uint32_t)x->lead; n++) axes[n] = n;
  else axes[n++] = x->lead;
  Elab *e = f->c->e;
  if (n) {
    const Op how = op == ROUTE_X_MAX_UNITS ? OP_AMAX : op == ROUTE_X_ARGMAX_UNITS ? OP_ARGMAX : OP_SUM;
    x->id =
        f32(f, reduce_val(e, f->c->span, val_tensor(e, f->c->span, f32(f, x->id)), how, axes, n, mean)->id);
  }
  if (over_rows) x->lead = 0;
  else x->units = 0;
}

/* A small whole constant power is a product: exact for any sign of the base. */
static ValueId power(Formula *f, ValueId x, ValueId y, double exponent) {
  if (!(exponent == floor(exponent) && exponent >= 1 && exponent <= 8)) return ir_bin(f->g, OP_POW, x, y);
  ValueId r = x;
  for (int i = 1; i < (int)exponent; i++) r = ir_bin(f->g, OP_MUL, r, x);
  return r;
}

static Op unary_op(uint32_t op) {
  static const Op ops[ROUTE_X_COUNT_] = {
      [ROUTE_X_NEG] = OP_NEG,   [ROUTE_X_ABS] = OP_ABS,         [ROUTE_X_SIGN] = OP_SIGN,
      [ROUTE_X_SQRT] = OP_SQRT, [ROUTE_X_EXP] = OP_EXP,         [ROUTE_X_LOG] = OP_LOG,
      [ROUTE_X_TANH] = OP_TANH, [ROUTE_X_SIGMOID] = OP_SIGMOID, [ROUTE_X_SOFTPLUS] = OP_SOFTPLUS,
      [ROUTE_X_ERF] = OP_ERF,   [ROUTE_X_RELU] = OP_RELU,       [ROUTE_X_SIN] = OP_SIN,
      [ROUTE_X_COS] = OP_COS,   [ROUTE_X_FLOOR] = OP_FLOOR,     [ROUTE_X_NOT] = OP_NOT,
      [ROUTE_X_STOP] = OP_STOP};
  return ops[op];
}

static Op binary_op(uint32_t op) {
  static const Op ops[ROUTE_X_COUNT_] = {
      [ROUTE_X_ADD] = OP_ADD, [ROUTE_X_SUB] = OP_SUB, [ROUTE_X_MUL] = OP_MUL, [ROUTE_X_DIV] = OP_DIV,
      [ROUTE_X_MIN] = OP_MIN, [ROUTE_X_MAX] = OP_MAX, [ROUTE_X_LT] = OP_LT,   [ROUTE_X_LE] = OP_LE,
      [ROUTE_X_EQ] = OP_EQ,   [ROUTE_X_AND] = OP_AND, [ROUTE_X_OR] = OP_OR};
  return ops[op];
}

/* stop(hard) + (soft - stop(soft)) */
static ValueId straight(const Formula *f, ValueId hard, ValueId soft) {
  return ir_bin(f->g, OP_ADD, ir_un(f->g, OP_STOP, hard),
                ir_bin(f->g, OP_SUB, soft, ir_un(f->g, OP_STOP, soft)));
}

/* x: the operands; the result takes the first one's place. false after an error. */
static bool compute(Formula *f, Item *x, uint32_t n) {
  const uint32_t op = f->insn->op;
  const Value *y = n == 2 ? &f->g->v[x[1].id] : NULL;
  const double exponent = y && y->op == OP_CONST && !y->data ? y->num : 0;
  if (op >= ROUTE_X_SUM_UNITS && op <= ROUTE_X_MEAN_ROWS) {
    reduce(f, x);
    return true;
  }
  Item r;
  if (!alike(f, x, n, &r)) return false;
  if (n == 1) r.id = ir_un(f->g, unary_op(op), x[0].id);
  else if (op == ROUTE_X_STRAIGHT) r.id = straight(f, x[0].id, x[1].id);
  else if (op == ROUTE_X_POW) r.id = power(f, x[0].id, x[1].id, exponent);
  else if (n == 2) r.id = ir_bin(f->g, binary_op(op), x[0].id, x[1].id);
  else r.id = ir_where(f->g, x[0].id, x[1].id, x[2].id);
  x[0] = r;
  return true;
}

static bool step(Formula *f) {
  const uint32_t pops = rt_formula_row(f->insn->op)->pops;
  f->n -= pops;
  Item *x = &f->stack[f->n];
  if (f->insn->op == ROUTE_X_SET) {
    f->slot[f->insn->arg] = *x;
    return true;
  }
  if (pops ? !compute(f, x, pops) : !push_leaf(f, x)) return false;
  f->n++;
  return true;
}

/* A gate's result has the names of its rows' axes; a regularizer's is F32, a schedule's F64. */
static Val *finish(Formula *f) {
  OpCall *c = f->c;
  Item *x = &f->stack[0];
  if (c->op->kind != ROUTE_SCHEDULE) x->id = f32(f, x->id);
  Val *v = val_tensor(c->e, c->span, x->id);
  for (int i = 0; c->rows_of && i < x->lead; i++) v->axis[i] = c->rows_of->axis[i];
  return v;
}

Val *formula_lower(OpCall *c, const RouteExpr *x) {
  char why[600]; /* once more: nothing but its word says that the plugin gives the same formula each time */
  if (!rt_formula_verify(c->op, x, why, sizeof why)) {
    err(c->e->m, E0539, c->span, c->use->shown, why);
    return val_poison(c->e, c->span);
  }
  Formula *f = ARENA_NEW(c->e->m->a, Formula);
  f->c = c, f->g = c->e->g;
  for (f->insn = x->code; f->insn->op != ROUTE_X_END; f->insn++, f->at++)
    if (!step(f)) return val_poison(c->e, c->span);
  return finish(f);
}
