/* SPDX-License-Identifier: Apache-2.0
 * check_gate.c -- gates: a value of the model by which branches are mixed, with policies of its own for the
 * forward pass of training, the gradient, and evaluations. A gate acts where its value gets a path: what
 * stands in its place goes to all readers, the loss of its own reads what was there before. Its gradient
 * policy is a route at that place. */
#include "builtin_impl.h"
#include "model.h"
#include "fault.h"
#include <string.h>

/* ---- declarations ---- */
static Ast *new_node(Model *m, AstKind k, const char *text, Span span, uint32_t n_kids, Ast *const *kids) {
  Ast *a = ARENA_NEW(m->a, Ast);
  a->kind = k, a->text = text, a->span = a->name_span = span, a->n_kids = n_kids;
  a->kids = ARENA_NEWS(m->a, Ast *, n_kids + 1);
  if (n_kids) memcpy(a->kids, kids, sizeof *kids * n_kids);
  return a;
}

static Ast *new_arm(Model *m, const char *word, const Ast *cond, const char *target, Span span) {
  Ast *kids[] = {(Ast *)(uintptr_t)cond, new_node(m, AST_NAME, target, span, 0, NULL)};
  return new_node(m, AST_ARM, word, span, 2, kids);
}

/* `stop when seen, low for fit` as the route that it is: arms, of which the first that holds counts. */
static void policy_as_route(Model *m, Gate *gate, const Ast *set, bool stop) {
  const Ast *policy = set->kids[0], *whens = ast_is(policy, AST_POLICY) ? policy->kids[1] : NULL;
  const uint32_t n = whens ? whens->n_kids : 0;
  Ast **arms = ARENA_NEWS(m->a, Ast *, n + 1);
  for (uint32_t i = 0; i < n; i++)
    arms[i] = new_arm(m, "when", whens->kids[i], stop ? "none" : "all", whens->kids[i]->span);
  arms[n] = new_arm(m, "otherwise", NULL, stop == !n ? "none" : "all", set->span);
  Ast *origins = ast_is(policy, AST_POLICY) ? policy->kids[2] : NULL;
  Ast *route = new_node(m, AST_ROUTE, gate->decl->name, set->span, 4,
                        (Ast *[]){NULL, origins, new_node(m, AST_ARMS, NULL, set->span, n + 1, arms), NULL});
  route->num = ROUTE_GRADIENT, route->flag = 1; /* the first match wins */
  Decl *d = ARENA_NEW(m->a, Decl);
  *d = *gate->decl, d->ast = route;
  gate->route = (RouteDecl){.decl = d, .place = gate->place, .ok = true, .of_gate = true};
}

static void gate_gradient(Model *m, Gate *gate) {
  static const char *const words[] = {"pass", "stop"};
  const Ast *set = gate->gradient, *policy = ast_kid(set, 0),
            *word = ast_is(policy, AST_POLICY) ? policy->kids[0] : policy;
  if (!set) return;
  if (ast_is_name(word, "stop")) policy_as_route(m, gate, set, true);
  else if (!ast_is_name(word, "pass")) {
    const char *text = word ? ast_source_text(m, word) : "";
    diag_choices(m, err(m, E0201, word ? word->span : set->span, "value of `gradient`", text), text, words,
                 2);
  } else if (ast_is(policy, AST_POLICY)) {
    if (policy->kids[1]) policy_as_route(m, gate, set, false);
    else
      diag_help(
          m->diags,
          err(m, E0364, policy->span, gate->decl->name, "`pass for` names what `gradient` lets pass anyway"),
          "name what it stops: `stop for ...`");
  }
}

/* Which words may follow the values: `when` those of `train` and `deploy`, both that of `gradient`. */
static bool gate_settings(Model *m, const Gate *gate, const Ast *block) {
  static const char *const keys[] = {"value", "train", "gradient", "target", "when", "weight", "deploy"};
  bool ok = block_check_keys(m, block, "a gate", keys, 7);
  for (uint32_t i = 0; ok && i < block->n_kids; i++) {
    const Ast *set = block->kids[i], *v = ast_kid(set, 0);
    if (!v || ast_is(v, AST_BLOCK))
      err(m, E0406, set->span, arena_printf(m->a, "`%s`", set->text), "a value"), ok = false;
    else if (ast_is(v, AST_POLICY) && strcmp(set->text, "gradient") != 0) {
      const bool weights = !strcmp(set->text, "train") || !strcmp(set->text, "deploy");
      if (weights && !v->kids[2]) continue;
      const Ast *tail = weights ? v->kids[2] : v->kids[v->kids[1] ? 1 : 2];
      err(m, E0364, tail->span, gate->decl->name,
          arena_printf(
              m->a, weights ? "`%s` takes no `for`: all losses see the same weights" : "`%s` takes one value",
              set->text));
      ok = false;
    }
  }
  static const char *const idle[] = {"when", "weight"};
  for (uint32_t i = 0; i < 2 && ok; i++)
    if (block_setting(block, idle[i]) && !gate->target) {
      Diag *g = err(m, E0364, block_setting(block, idle[i])->span, gate->decl->name,
                    arena_printf(m->a, "`%s` speaks of its own loss, and it has none", idle[i]));
      diag_help(m->diags, g, "give it a target: `target = ...`");
      ok = false;
    }
  return ok;
}

void check_gates(Model *m) {
  Elab *e = elab_create(m, "gates", false, NO_DATA);
  m->gate = ARENA_NEWS(m->a, Gate, m->gates.n + 1);
  for (uint32_t i = 0; i < m->gates.n; i++) {
    Gate *gate = &m->gate[i];
    const Ast *block = ast_kid(m->gates.v[i]->ast, 0), *value = block_setting(block, "value");
    gate->decl = m->gates.v[i];
    gate->train = block_setting(block, "train"), gate->gradient = block_setting(block, "gradient");
    gate->target = block_setting(block, "target"), gate->when = block_setting(block, "when");
    gate->weight = block_setting(block, "weight"), gate->deploy = block_setting(block, "deploy");
    if (!gate_settings(m, gate, block)) continue;
    if (!value) {
      Diag *g = err(m, E0406, gate->decl->ast->name_span, arena_printf(m->a, "gate `%s`", gate->decl->name),
                    "`value`");
      diag_help(m->diags, g, "name the weights that it has policies for: `value = open`");
      continue;
    }
    if (!path_pattern(e, value->kids[0], &gate->place)) continue;
    gate->ok = true;
    gate_gradient(m, gate);
  }
}

/* ---- weights ---- */
/* Several weights along the last axis, which compete; an axis with a name is one of positions or of units. */
static bool has_columns(Elab *e, const Val *v) {
  const Shape *s = val_shape(e, v);
  return s->rank > 1 && s->d[s->rank - 1] > 1 && !v->axis[s->rank - 1];
}

Val *gate_front(Elab *e, const Val *v, ValueId id) {
  Val *x = val_tensor(e, v->span, id);
  for (int i = 0; i < e->g->v[id].shape.rank; i++) x->axis[i] = v->axis[i];
  return x;
}

static ValueId one_hot_of(Elab *e, Span at, ValueId index, const Val *v) {
  return ir_cast(e->g, bi_is_label(e, at, index, val_shape(e, v)->d[val_shape(e, v)->rank - 1]), DT_F32);
}

static ValueId hard_weights(Elab *e, const Val *v, Span at) {
  Graph *g = e->g;
  const int last = val_shape(e, v)->rank - 1;
  if (has_columns(e, v)) return one_hot_of(e, at, ir_reduce(g, OP_ARGMAX, v->id, (int64_t[]){last}, 1), v);
  return ir_cast(g, ir_bin(g, OP_LT, f32_const(e, at, 0.5), v->id), DT_F32);
}

static void does_not_fit(Elab *e, const Gate *gate, const Val *x, const Val *v, const char *help) {
  Diag *g = err(e->m, E0362, x->span, gate->decl->name, val_text(e, x), val_text(e, v));
  if (help) diag_help(e->m->diags, g, "%s", help);
}

/* A number that no value of the gate can be: told, not refused, since a mix can be extrapolated on purpose. */
static void look_at_share(Elab *e, const Gate *gate, const Val *x, const Val *v) {
  if (x->kind != VAL_NUM || x->id || (x->num >= 0 && x->num <= 1) || !gate_is_share(e->g, v->id)) return;
  err(e->m, W0323, x->span, number_text(e->m->a, x->num), gate->decl->name);
}

static ValueId list_weights(Elab *e, const Gate *gate, const Val *list, const Val *v) {
  const Shape *s = val_shape(e, v);
  if (!has_columns(e, v) || s->d[s->rank - 1] != (int64_t)list->n_items) {
    does_not_fit(e, gate, list, v,
                 has_columns(e, v) ? "give one number for each of its weights"
                                   : "it has one weight: give one number");
    return 0;
  }
  double *w = ARENA_NEWS(e->m->a, double, list->n_items + 1);
  for (uint32_t i = 0; i < list->n_items; i++)
    if (!static_num(e, list->items[i], "a weight", -1e6, 1e6, &w[i])) return 0;
  for (uint32_t i = 0; i < list->n_items; i++) look_at_share(e, gate, list->items[i], v);
  const Shape row = shape_of(1, (int64_t)list->n_items);
  int64_t map[IR_MAX_RANK];
  for (int i = 0; i < s->rank; i++) map[i] = i + 1 == s->rank ? 0 : -1;
  return ir_bcast(e->g, ir_const_data(e->g, list->span, w, &row, DT_F32), s, map);
}

/* A name that nothing has is more likely a slip for one of these words. */
static bool is_word_misspelt(Elab *e, const Ast *a) {
  static const char *const words[] = {"same", "hard", "removed"};
  Model *m = e->m;
  bool known = !ast_is(a, AST_NAME) || strmap_get(&e->model->entries, a->text) ||
               strmap_get(&m->root->names, a->text) || ast_is_name(a, "true") || ast_is_name(a, "false") ||
               ast_is_name(a, "pi");
  for (uint32_t i = 0; i < m->data.n && !known; i++)
    known = strmap_get(&m->datas[i].by_name, a->text) != NULL;
  if (!known) diag_choices(m, err(m, E0201, a->span, "name", a->text), a->text, words, 3);
  return !known;
}

/* Any other expression: integers choose a branch, truth values and numbers are weights. */
static ValueId expression_weights(Elab *e, const Gate *gate, const Ast *a, const Val *v) {
  ValueId id;
  if (is_word_misspelt(e, a)) return 0;
  Val *x = elab(e, e->model, a);
  if (val_bad(x)) return 0;
  if (x->kind == VAL_LIST) return list_weights(e, gate, x, v);
  look_at_share(e, gate, x, v);
  if (x->kind == VAL_NUM || x->kind == VAL_BOOL) {
    id = x->kind == VAL_NUM ? as_f32(e, x, "a weight") : f32_const(e, a->span, x->num);
    return id ? ir_bcast_scalar(e->g, id, val_shape(e, v)) : 0;
  }
  const bool integer = x->kind == VAL_TENSOR && val_dtype(e, x) == DT_I32;
  if (x->kind != VAL_TENSOR || (integer && !has_columns(e, v))) {
    does_not_fit(e, gate, x, v, integer ? "integers choose one of several weights" : NULL);
    return 0;
  }
  if (integer) {
    Val *like =
        gate_front(e, v, ir_reduce(e->g, OP_ARGMAX, v->id, (int64_t[]){val_shape(e, v)->rank - 1}, 1));
    if (!bi_labels_fit(e, x, val_shape(e, v)->d[val_shape(e, v)->rank - 1]) ||
        !broadcast_to(e, a->span, arena_printf(e->m->a, "gate `%s`", gate->decl->name), x, like, &id))
      return 0;
    return one_hot_of(e, a->span, id, v);
  }
  id = val_dtype(e, x) == DT_BOOL ? ir_cast(e->g, x->id, DT_F32) : as_f32(e, x, "the weights of a gate");
  if (!id) return 0;
  const Shape like = *val_shape(e, v),
              *s = &e->g->v[id].shape; /* an extent of 1 behind the data may be left out */
  if (s->rank + 1 == like.rank && like.d[like.rank - 1] == 1) {
    Shape wide = *s;
    wide.d[wide.rank++] = 1;
    if (shape_equal(&wide, &like)) return ir_reshape(e->g, id, &like);
  }
  return broadcast_to(e, a->span, arena_printf(e->m->a, "gate `%s`", gate->decl->name),
                      val_like(e, a->span, id, x), v, &id)
             ? id
             : 0;
}

/* What `same`, `hard`, `removed` or an expression puts in the place of v's weights; 0 after an error. */
static ValueId weights_of(Elab *e, const Gate *gate, const Ast *a, const Val *v) {
  if (ast_is_name(a, "same")) return v->id;
  if (ast_is_name(a, "hard")) return hard_weights(e, v, a->span);
  return ast_is_name(a, "removed") ? ir_const(e->g, a->span, 1, val_shape(e, v), DT_F32)
                                   : expression_weights(e, gate, a, v);
}

/* value of `from` for everyone, gradient to `to`: what is added is exactly 0. */
static ValueId straight_through(Elab *e, ValueId from, ValueId to) {
  Graph *g = e->g;
  return ir_bin(g, OP_ADD, ir_un(g, OP_STOP, from), ir_bin(g, OP_SUB, to, ir_un(g, OP_STOP, to)));
}

/* `gradient` says what reaches the gate's value whatever stands in its place. Without it the weights that are
 * the gate's own let pass, others do not. */
static bool passes_through(const Gate *gate, const Ast *a) {
  const bool always_stopped = gate->route.decl && !ast_is(gate->gradient->kids[0], AST_POLICY);
  return gate->gradient ? !always_stopped : ast_is_name(a, "hard");
}

/* The weights that a setting makes of v, for the data that it speaks of; v's own after an error. */
static ValueId apply_policy(Elab *e, const Gate *gate, const Ast *set, const Val *v) {
  const Ast *policy = ast_kid(set, 0), *whens = ast_is(policy, AST_POLICY) ? policy->kids[1] : NULL;
  const Ast *a = ast_is(policy, AST_POLICY) ? policy->kids[0] : policy;
  if (!set || ast_is_name(a, "same") || fault("gate-as-it-is")) return v->id;
  ValueId w = weights_of(e, gate, a, v), out = v->id;
  if (!w) return v->id;
  const bool removed = ast_is_name(a, "removed");
  ValueId ones = removed ? w : 0, share = removed && whens ? ir_const(e->g, a->span, 0, val_shape(e, v), DT_F32) : w;
  if (e->training && passes_through(gate, a)) w = straight_through(e, w, v->id);
  if (!whens) out = w;
  for (uint32_t i = whens ? whens->n_kids : 0; i-- > 0;) {
    const Val *axes = NULL;
    ValueId c =
        condition_of(e, whens->kids[i], arena_printf(e->m->a, "of gate `%s`", gate->decl->name), &axes);
    if (!c) return v->id;
    cond_add(e, c, ast_source_text(e->m, whens->kids[i]), whens->kids[i]->span);
    if (!broadcast_to(e, whens->kids[i]->span, "the condition of a gate",
                      val_like(e, whens->kids[i]->span, c, axes), v, &c))
      return v->id;
    out = condition_blend(e, c, w, out);
    if (removed) share = condition_blend(e, c, ones, share);
  }
  if (removed) *PUSH(e->m->a, e->removed, e->n_removed) = (struct Removed){out, share};
  return out;
}

/* ---- where a value gets its path ---- */
static Gate *gate_of_place(Elab *e, const char *path) {
  for (uint32_t i = 0; i < e->m->gates.n; i++)
    if (e->m->gate[i].ok && path_matches(e, &e->m->gate[i].place, path)) return &e->m->gate[i];
  return NULL;
}

static GateUse *use_of_place(Elab *e, const Place *p) {
  for (uint32_t i = 0; i < e->n_gate_uses; i++)
    for (const Place *k = p; k; k = k->under)
      if (e->gate_uses[i]->place == k) return e->gate_uses[i];
  return NULL;
}

/* A second gate at the same value, under this name or another one. */
static bool gated_twice(Elab *e, const Gate *gate, const char *path, const Place *p) {
  Model *m = e->m;
  const GateUse *before = use_of_place(e, p->under);
  const Gate *other = before ? before->gate : NULL;
  for (uint32_t i = (uint32_t)(gate - m->gate) + 1; i < m->gates.n && !other; i++)
    if (m->gate[i].ok && path_matches(e, &m->gate[i].place, path)) other = gate, gate = &m->gate[i];
  if (!other) return false;
  Diag *g = err(m, E0363, gate->place.span, path, other->decl->name);
  diag_also(m->diags, g, other->place.span, "its gate is declared here");
  return true;
}

static bool can_be_gate(Elab *e, const Gate *gate, const Val *v) {
  Model *m = e->m;
  if (v->kind == VAL_TENSOR && val_dtype(e, v) == DT_F32 && val_has_rows(e, v)) return true;
  err(m, E0361, gate->place.span, gate->place.text, val_text(e, v));
  return false;
}

GateUse *gate_begin(Elab *e, const char *path, Val *v, Place *p) {
  Gate *gate = gate_of_place(e, path);
  if (!gate) return NULL;
  if (e->training) gate->matched = true;
  if (gated_twice(e, gate, path, p) || !can_be_gate(e, gate, v)) return NULL;
  GateUse *use = ARENA_NEW(e->m->a, GateUse);
  *use = (GateUse){gate, p, v->id, v->id, val_at(e, v, v->span)};
  *PUSH(e->m->a, e->gate_uses, e->n_gate_uses) = use;
  const Ast *saved_ast = e->bind_ast, *saved_unnamed = e->unnamed;
  Entry *saved_entry = e->bind_entry;
  const char *saved_path = e->bind_path;
  e->bind_ast = e->unnamed = NULL, e->bind_entry = NULL,
  e->bind_path = arena_printf(e->m->a, "gate %s", gate->decl->name);
  const Ast *set = e->training ? gate->train : e->gate_set ? e->gate_set[gate->decl->index] : NULL;
  if (!set && !e->training) set = gate->deploy;
  v->id = apply_policy(e, gate, set, v);
  e->bind_ast = saved_ast, e->unnamed = saved_unnamed, e->bind_entry = saved_entry, e->bind_path = saved_path;
  return use;
}

/* ---- mixes ---- */
void gate_note_weight(Elab *e, ValueId weight) { *PUSH(e->m->a, e->mix_weights, e->n_mix_weights) = weight; }

static uint8_t *mark(Elab *e, const ValueId *from, uint32_t n) {
  uint8_t *live = ARENA_NEWS(e->m->a, uint8_t, e->g->n + 1);
  for (uint32_t i = 0; i < n; i++) live[from[i]] = 1;
  for (ValueId k = e->g->n; k-- > 1;)
    for (uint32_t i = 0; live[k] && i < e->g->v[k].n_args; i++) live[e->g->v[k].args[i]] = 1;
  return live;
}

/* Where the weights, those of a gate or a view of them, are removed: 1 there; 0: they are of no such gate. */
static ValueId removed_share(Elab *e, ValueId weight) {
  for (uint32_t i = 0; i < e->n_removed; i++)
    if (e->removed[i].weight == weight) return e->removed[i].share;
  const Value v = e->g->v[weight];
  if (v.op == OP_TAP || v.op == OP_STOP || v.op == OP_MASK) return removed_share(e, v.args[0]);
  const bool view = v.op == OP_RESHAPE || v.op == OP_SLICE || v.op == OP_TRANSPOSE;
  const ValueId share = view ? removed_share(e, v.args[0]) : 0;
  return share ? ir_make(e->g, v.op, v.span, &share, 1, v.ints, v.n_ints, v.num, &v.shape, DT_NONE) : 0;
}

Val *gate_not_removed(Elab *e, Val *weight) {
  Graph *g = e->g;
  const ValueId share = e->n_removed ? removed_share(e, weight->id) : 0;
  ValueId from = share;
  if (!share) return weight;
  while (op_class(g->v[from].op) == OPC_VIEW) from = g->v[from].args[0];
  if (g->v[from].op == OP_CONST) return NULL;
  const ValueId less = ir_bin(g, OP_SUB, weight->id, share);
  const ValueId whole = ir_bin(g, OP_EQ, share, f32_const(e, weight->span, 1));
  return val_like(e, weight->span, ir_where(g, whole, f32_const(e, weight->span, 0), less), weight);
}

/* ---- after the model ---- */
static void gate_missing(Elab *e, const Gate *gate) {
  Model *m = e->m;
  const char **names = ARENA_NEWS(m->a, const char *, e->n_places + 1);
  uint32_t n = 0;
  if (e->broken) return;
  for (uint32_t i = 0; i < e->n_places && n < 4000; i++)
    if (gate->place.n > 1 || !strchr(e->places[i]->path, '.')) names[n++] = e->places[i]->path;
  diag_choices(m, err(m, E0360, gate->place.span, gate->decl->name, gate->place.text), gate->place.text,
               names, n);
}

void gates_finish(Elab *e) {
  Model *m = e->m;
  if (!m->gates.n) return;
  const uint8_t *live = mark(e, e->mix_weights, e->n_mix_weights);
  for (uint32_t i = 0; i < m->gates.n; i++) {
    const Gate *gate = &m->gate[i];
    bool read = false, set = gate->train || gate->gradient || gate->target || gate->deploy;
    if (!gate->ok) continue;
    if (!gate->matched) {
      gate_missing(e, gate);
      continue;
    }
    check_ambiguous(e, &gate->place);
    for (uint32_t k = 0; k < e->n_gate_uses; k++)
      read = read || (e->gate_uses[k]->gate == gate && live[e->gate_uses[k]->place->value]);
    for (uint32_t k = 0; k < m->evals.n && !set; k++) {
      const Ast *block = ast_kid(m->evals.v[k]->ast, 0);
      for (uint32_t j = 0; block && j < block->n_kids; j++)
        set = set || (ast_is(block->kids[j], AST_SET) && !strcmp(block->kids[j]->text, gate->decl->name));
    }
    if (m->walk || e->broken || gate->decl->ast->span.file != m->spec_file) continue;
    if (!read) err(m, W0320, gate->decl->ast->name_span, gate->decl->name);
    if (!set) err(m, W0322, gate->decl->ast->name_span, gate->decl->name);
  }
}

void gate_record(Elab *e, const Gate *gate, int32_t origin) {
  Program *p = e->m->p;
  for (uint32_t i = 0; i < e->n_gate_uses; i++)
    if (e->gate_uses[i]->gate == gate) {
      *PUSH(e->m->a, p->gates, p->n_gates) =
          (ProgGate){gate->decl->name, e->gate_uses[i]->place->path, origin, gate->decl->ast->span};
      return;
    }
}

/* Every parameter that the gate's value is computed from, through `stop` too: who moves them moves the gate.
 */
void gate_region(Elab *e, uint32_t gate, bool *params) {
  for (uint32_t i = 0; i < e->n_gate_uses; i++) {
    if (e->gate_uses[i]->gate != &e->m->gate[gate]) continue;
    const uint8_t *live = mark(e, &e->gate_uses[i]->raw, 1);
    for (ValueId k = 1; k < e->g->n; k++)
      if (live[k] && e->g->v[k].op == OP_PARAM) params[e->g->v[k].ints[0]] = true;
  }
}

/* ---- evaluations ---- */
void gate_set_begin(Elab *e, const Ast *block) {
  Model *m = e->m;
  e->gate_set = ARENA_NEWS(m->a, const Ast *, m->gates.n + 1);
  for (uint32_t i = 0; block && i < block->n_kids; i++) {
    const Ast *set = block->kids[i];
    if (!ast_is(set, AST_SET)) continue;
    const Decl *d = strmap_get(&m->root->names, set->text);
    if (!d || d->kind != DECL_GATE) {
      const char **names = ARENA_NEWS(m->a, const char *, m->gates.n + 1);
      for (uint32_t k = 0; k < m->gates.n; k++) names[k] = m->gates.v[k]->name;
      diag_choices(m, err(m, E0201, set->name_span, "gate", set->text), set->text, names, m->gates.n);
      continue;
    }
    const Ast *v = set->kids[0];
    if (e->gate_set[d->index]) err(m, E0209, set->name_span, set->text);
    if (ast_is(v, AST_POLICY) && v->kids[2])
      err(m, E0364, v->kids[2]->span, set->text, "`set` takes no `for`: an evaluation has no losses");
    else e->gate_set[d->index] = set;
  }
}

/* Each gate that is set must act in this evaluation. */
void gate_set_finish(Elab *e, const char *evaluation) {
  Model *m = e->m;
  for (uint32_t i = 0; i < m->gates.n; i++) {
    bool used = !e->gate_set[i] || !m->gate[i].ok || !m->gate[i].matched;
    for (uint32_t k = 0; k < e->n_gate_uses; k++) used = used || e->gate_uses[k]->gate == &m->gate[i];
    if (!used) err(m, E0365, e->gate_set[i]->span, m->gates.v[i]->name, evaluation);
  }
}
