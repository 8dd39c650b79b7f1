/* SPDX-License-Identifier: Apache-2.0
 * call.c -- CALL: what a plugin's function gets are pointers, so every argument is a view of a buffer whose rows lie one stride
 * apart and whose units lie side by side; where an argument lies otherwise, a copy is put in between.
 * requires: arguments already in w->g   maintains: the CALL's value   changes: w->force, w->layout */
#include "plan_work.h"
#include "route_plugin.h"
#include <string.h>

static const char *const argument = "argument of a plugin's function";
static const char *const copied = "copy for a plugin's function";

bool plan_call_rows(const View *v, int lead, int64_t *ld) {
  uint8_t axes[IR_MAX_RANK];
  Extent rows;
  for (int i = 0; i < lead; i++) axes[i] = (uint8_t)i;
  if (lead < v->shape.rank && v->shape.d[lead] != 1 && v->strides[lead] != 1) return false;
  if (lead + 1 < v->shape.rank || !view_collapse(v, axes, (uint32_t)lead, &rows, ld)) return false;
  const int64_t cols = lead < v->shape.rank ? v->shape.d[lead] : 1;
  bool one = true;
  for (int i = 0; i < lead; i++) one = one && v->shape.d[i] == 1;
  if (one) *ld = cols; /* no stride was seen */
  return *ld >= cols;
}

/* How many axes of argument i are rows. */
static int argument_lead(const Graph *g, const Value *call, uint32_t i) {
  const Value *x = &g->v[call->args[i]];
  const uint32_t n = call->ints[2] == CALL_SCHEDULE ? call->n_args : ir_call_inputs(g, call);
  if (i < n || x->dtype == DT_I32) return ir_call_lead(x); /* DATUM too */
  return x->shape.rank ? x->shape.rank - 1 : 0;            /* the value and dy of a gate, or numbers */
}

static bool is_place(const Value *v) { return op_class(v->op) != OPC_LEAF || v->op == OP_PARAM || v->op == OP_STATE; }

/* A copy of v in a memory of its own; one for all calls. */
static ValueId put_copy(Work *w, ValueId v) {
  for (ValueId id = v + 1; id < w->g->n; id++)
    if (w->force[id] == copied && w->g->v[id].args[0] == v) return id;
  const Shape s = w->g->v[v].shape;
  const ValueId t = work_put_un(w, OP_STOP, v, &s, NULL, 0);
  w->force[t] = copied, w->layout[t].set = true;
  return t;
}

static ValueId prepare_argument(Work *w, ValueId v, int lead) {
  View view;
  ValueId base;
  int64_t ld;
  operand_view(w, v, &view, &base);
  if (!is_place(&w->g->v[base]) && !(w->g->v[base].op == OP_DATUM && base == v)) return put_copy(w, v);
  if (!plan_call_rows(&view, lead, &ld)) return put_copy(w, v);
  if (w->g->v[base].op == OP_PARAM || w->g->v[base].op == OP_STATE) return v;
  if (!w->force[base]) w->force[base] = argument;
  w->layout[base].set = true;
  return v;
}

/* Elements of a sum stand for themselves, so a parameter is read in the order of its memory, and its gradient lies alike. */
static bool memory_order(const Work *w, const Value *call, const ValueId *args, Shape *s, int64_t *perm, int64_t *back) {
  const Value *x = &w->g->v[args[0]];
  if (call->ints[2] != CALL_SPAN || x->op != OP_PARAM) return false;
  const Layout *l = &w->param_layout[x->ints[0]];
  bool moved = false;
  *s = x->shape;
  for (int i = 0; i < x->shape.rank; i++) {
    perm[i] = l->order[i], back[l->order[i]] = i;
    s->d[i] = x->shape.d[l->order[i]];
    moved |= l->order[i] != i;
  }
  return moved;
}

static ValueId span_in_memory_order(Work *w, const Value *call, ValueId *args, const Shape *s, const int64_t *perm, const int64_t *back) {
  Value turned = *call;
  const uint32_t rank = (uint32_t)s->rank;
  args[0] = work_put_un(w, OP_TRANSPOSE, args[0], s, perm, rank);
  if (!ir_call_is_gradient(call)) return call_prepare(w, &turned, args);
  turned.shape = *s;
  return work_put_un(w, OP_TRANSPOSE, call_prepare(w, &turned, args), &call->shape, back, rank);
}

ValueId call_prepare(Work *w, const Value *call, ValueId *args) {
  Value renumbered = *call;
  Shape s;
  int64_t perm[IR_MAX_RANK], back[IR_MAX_RANK];
  if (memory_order(w, call, args, &s, perm, back)) return span_in_memory_order(w, call, args, &s, perm, back);
  renumbered.args = args;
  for (uint32_t i = 0; i < call->n_args; i++) {
    const int lead = argument_lead(w->g, &renumbered, i);
    args[i] = prepare_argument(w, args[i], lead);
  }
  const ValueId id = work_put(w, call, args, call->n_args);
  w->layout[id].set = true;
  return id;
}

Node *call_node(Work *w, ValueId v) {
  const Value *u = &w->g->v[v];
  for (uint32_t i = 0; i < w->n_nodes && ir_call_is_gradient(u); i++) {
    Node *n = &w->nodes[i];
    const Value *x = n->kind == STEP_CALL ? &w->g->v[n->outs[0].value] : NULL;
    if (x && ir_call_is_gradient(x) && x->ints[0] == u->ints[0] && x->n_args == u->n_args &&
        !memcmp(x->args, u->args, u->n_args * sizeof *u->args))
      return n;
  }
  return NULL;
}

void call_arguments(Work *w, Node *n) {
  const Value *u = &w->g->v[n->outs[0].value];
  n->n_args = u->n_args;
  n->arg_base = ARENA_NEWS(w->scratch, ValueId, u->n_args), n->args = ARENA_NEWS(w->scratch, View, u->n_args);
  for (uint32_t i = 0; i < u->n_args; i++) {
    int64_t ld;
    bool found = false;
    for (uint32_t k = 0; !found && (n->arg_base[i] = nth_base(w, u->args[i], k)) != 0; k++)
      found = view_over(w, u->args[i], n->arg_base[i], &n->args[i]) && plan_call_rows(&n->args[i], argument_lead(w->g, u, i), &ld);
    if (!found) plan_broken(w->g, u->args[i], "argument of a call without a view");
  }
}

void call_finish(Work *w, const Node *n, Step *s) {
  s->call_step = w->plan->n_call_steps++;
  s->n_args = n->n_args;
  s->args = ARENA_NEWS(w->arena, View, n->n_args);
  for (uint32_t i = 0; i < n->n_args; i++) {
    s->args[i] = n->args[i];
    s->args[i].buffer = w->fn->buffer_of[n->arg_base[i]];
  }
}

const char *call_reason(const Work *w, const Node *n) {
  const Value *v = &w->g->v[n->outs[0].value];
  const Program *p = w->plan->program;
  const ProgCall *c = v->ints[0] < (int64_t)p->n_calls ? &p->calls[v->ints[0]] : NULL;
  if (!c) return "a plugin's function, whose operations are not counted";
  return arena_printf(w->arena, "%s of `%s`, a function of plugin `%s`, whose operations are not counted",
                      ir_call_is_gradient(v) ? "gradient" : "value", c->op->name, p->plugins[c->plugin].name);
}
