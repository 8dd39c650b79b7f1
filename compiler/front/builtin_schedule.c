/* SPDX-License-Identifier: Apache-2.0
 * builtin_schedule.c -- schedules: rank-0 F64 values computed from the clock. */
#include "builtin_impl.h"

static const char *arg_what(BuiltinCall *c) { return arena_printf(c->e->m->a, "`%s`", c->fn->name); }
static Val *poison(BuiltinCall *c) { return val_poison(c->e, c->span); }
static ValueId f64_const(BuiltinCall *c, double x) {
  return ir_const(c->e->g, c->span, x, &(Shape){0}, DT_F64);
}

ValueId schedule_steps(Elab *e, Scope *s, const Ast *a, const char *what) {
  if (!a || ast_is_name(a, "all")) return clock_f64(e, CLOCK_TOTAL_STEPS);
  Amount n;
  if (!amount_of(e, s, a, what, &n)) return 0;
  if (n.unit == UNIT_SECONDS) {
    err(e->m, E0409, a->span, what, ast_source_text(e->m, a), "steps, epochs or all");
    return 0;
  }
  ValueId v = ir_const(e->g, a->span, n.n, &(Shape){0}, DT_F64);
  return n.unit == UNIT_EPOCHS ? ir_bin(e->g, OP_MUL, v, clock_f64(e, CLOCK_STEPS_PER_EPOCH)) : v;
}

/* min(1, step / over) */
static ValueId progress(BuiltinCall *c, const Ast *over) {
  Graph *g = c->e->g;
  ValueId n = schedule_steps(c->e, c->s, over, arena_printf(c->e->m->a, "`over` of `%s`", c->fn->name));
  if (!n) return 0;
  ValueId one = f64_const(c, 1);
  ValueId length = ir_bin(g, OP_MAX, n, one);
  return ir_bin(g, OP_MIN, ir_bin(g, OP_DIV, clock_f64(c->e, CLOCK_STEP), length), one);
}

Val *bi_constant(BuiltinCall *c) {
  return c->v[0]->kind == VAL_NUM ? val_at(c->e, c->v[0], c->span) : poison(c);
}

/* from + (to - from) w, w = p or (1 - cos(pi p)) / 2. */
Val *bi_ramp(BuiltinCall *c) {
  Graph *g = c->e->g;
  ValueId from = as_f64_scalar(c->e, c->v[0], arg_what(c)), to = as_f64_scalar(c->e, c->v[1], arg_what(c));
  ValueId w = from && to ? progress(c, c->ast[2]) : 0;
  if (!w) return poison(c);
  if (c->fn->aux) {
    ValueId turn = ir_un(g, OP_COS, ir_bin(g, OP_MUL, w, f64_const(c, 3.14159265358979323846)));
    ValueId half = f64_const(c, 0.5);
    w = ir_bin(g, OP_MUL, ir_bin(g, OP_SUB, f64_const(c, 1), turn), half);
  }
  return val_tensor(c->e, c->span,
                    ir_bin(g, OP_ADD, from, ir_bin(g, OP_MUL, ir_bin(g, OP_SUB, to, from), w)));
}

Val *bi_step_decay(BuiltinCall *c) {
  Graph *g = c->e->g;
  double factor = c->v[1] ? c->r[1] : 0.1;
  ValueId from = as_f64_scalar(c->e, c->v[0], arg_what(c)),
          every = schedule_steps(c->e, c->s, c->ast[2], "`every` of `step_decay`");
  if (!from || !every) return poison(c);
  if (!(factor > 0)) {
    err(c->e->m, E0336, c->v[1]->span, "`factor` of `step_decay`", number_text(c->e->m->a, factor), "above 0",
        "infinity");
    return poison(c);
  }
  ValueId length = ir_bin(g, OP_MAX, every, f64_const(c, 1));
  ValueId k = ir_un(g, OP_FLOOR, ir_bin(g, OP_DIV, clock_f64(c->e, CLOCK_STEP), length));
  return val_tensor(c->e, c->span, ir_bin(g, OP_MUL, from, ir_bin(g, OP_POW, f64_const(c, factor), k)));
}

/* min(1, (step + 1) / n) */
Val *bi_warmup(BuiltinCall *c) {
  Graph *g = c->e->g;
  ValueId n = schedule_steps(c->e, c->s, c->ast[0], "`warmup`"), one = f64_const(c, 1);
  if (!n) return poison(c);
  ValueId step = ir_bin(g, OP_ADD, clock_f64(c->e, CLOCK_STEP), one);
  return val_tensor(c->e, c->span,
                    ir_bin(g, OP_MIN, one, ir_bin(g, OP_DIV, step, ir_bin(g, OP_MAX, n, one))));
}
