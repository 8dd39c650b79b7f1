/* SPDX-License-Identifier: Apache-2.0
 * program.c -- a Program as text, and its checker. */
#include "compiler.h"
#include "route_plugin.h"
#include <math.h>
#include <string.h>

/* ---- text ---- */
static void print_shape(const Shape *s, FILE *f) {
  fputc('[', f);
  for (int i = 0; i < s->rank; i++) {
    if (i) fputc(',', f);
    if (s->d[i] == DIM_ROWS) fputs("ROWS", f);
    else fprintf(f, "%lld", (long long)s->d[i]);
  }
  fputc(']', f);
}

static void print_amount(const char *key, Amount a, FILE *f) {
  static const char *const units[] = {"steps", "epochs", "seconds"};
  if (a.n > 0) fprintf(f, "  %s %.17g %s\n", key, a.n, units[a.unit]);
}

static void print_data(const Program *p, FILE *f) {
  for (uint32_t i = 0; i < p->n_data; i++) {
    fprintf(f, "data %u %s: %s", i, p->data[i].name, p->data[i].reader);
    for (uint32_t k = 0; k < p->data[i].n_args; k++) {
      const ProgSourceArg *a = &p->data[i].args[k];
      if (a->text) fprintf(f, " %s=\"%s\"", a->key, a->text);
      else if (a->num2 > a->num + 1) fprintf(f, " %s=%.17g..%.17g", a->key, a->num, a->num2);
      else fprintf(f, " %s=%.17g", a->key, a->num);
    }
    fputc('\n', f);
  }
  for (uint32_t i = 0; i < p->n_columns; i++) {
    const ProgColumn *c = &p->columns[i];
    fprintf(f, "column %u %s.%s: %s", i, p->data[c->source].name, c->name, dtype_name(c->dtype));
    print_shape(&c->shape, f);
    if (c->has_range) fprintf(f, " in %.17g ..= %.17g", c->lo, c->hi);
    fputc('\n', f);
  }
}

static void print_params(const Program *p, FILE *f) {
  static const char *const inits[] = {"constant", "uniform", "normal"}, *const policies[] = {"freeze",
                                                                                             "zero_grad",
                                                                                             "mask_update"};
  for (uint32_t i = 0; i < p->n_settings; i++)
    fprintf(f, "setting %s = %s%s\n", p->settings[i].name, p->settings[i].value,
            p->settings[i].structural ? " structural" : "");
  for (uint32_t i = 0; i < p->n_scalars; i++)
    fprintf(f, "scalar %u %s = %.17g in %g ..= %g%s\n", i, p->scalars[i].name, p->scalars[i].value,
            p->scalars[i].lo, p->scalars[i].hi, p->scalars[i].is_int ? " int" : "");
  for (uint32_t i = 0; i < p->n_params; i++) {
    const ProgParam *q = &p->params[i];
    fprintf(f, "param %u %s: f32", i, q->path);
    print_shape(&q->shape, f);
    fprintf(f, " %s(%.9g, %.9g) stream %016llx %s%s%s\n", inits[q->init], q->a, q->b,
            (unsigned long long)q->stream, policies[q->policy], q->decay ? "" : " no_decay",
            q->trainable ? "" : " fixed");
  }
}

static void print_routes(const Program *p, FILE *f) {
  for (uint32_t i = 0; i < p->n_origins; i++)
    fprintf(f, "origin %u %s %s: %%%u%s%s\n", i, p->origins[i].regularizer ? "regularize" : "loss",
            p->origins[i].name, p->origins[i].value, p->origins[i].routed ? "" : " unrouted",
            p->origins[i].probe ? " probe" : "");
  for (uint32_t i = 0; i < p->n_taps; i++)
    fprintf(f, "tap %u %s: %%%u\n", i, p->taps[i].name, p->taps[i].value);
  for (uint32_t i = 0; i < p->n_routes; i++) {
    static const char *const primitives[] = {"gradient", "parameters", "value"};
    const ProgRoute *r = &p->routes[i];
    fprintf(f, "route %u %s: %s of tap %u origins %llx factor %%%u\n", i, r->name, primitives[r->primitive],
            r->tap, (unsigned long long)r->origins, r->factor);
    for (uint32_t k = 0; k < r->n_weights; k++) fprintf(f, k ? " %%%u" : "  weights %%%u", r->weight[k]);
    if (r->n_weights) fprintf(f, ", %d x %d blocks\n", r->owners.n_labels[0], r->owners.n_labels[1]);
  }
}

static void print_share(const char *key, ProgShare s, FILE *f) {
  if (s.scalar >= 0) fprintf(f, " %s=scalar %d", key, s.scalar);
  else if (s.value >= 0) fprintf(f, " %s=%.17g", key, s.value);
}

static void print_derived(const Program *p, FILE *f) {
  static const char *const draws[] = {"", " observe", " random_like", " check"};
  for (uint32_t i = 0; i < p->n_derived; i++) {
    const ProgDerived *d = &p->derived[i];
    fprintf(f, "derived %u %s: column %u%s", i, d->name, d->column, draws[d->draw]);
    print_share("recall", d->recall, f), print_share("precision", d->precision, f);
    print_share("false_positives", d->false_positives, f), print_share("no", d->no, f);
    if (d->has_seed) fprintf(f, " seed=%llu", (unsigned long long)d->seed);
    fputc('\n', f);
  }
}

static void print_conds(const Program *p, FILE *f) {
  for (uint32_t i = 0; i < p->n_conds; i++)
    fprintf(f, "condition %u %s: %%%u%s\n", i, p->conds[i].text, p->conds[i].value, p->conds[i].soft ? " soft" : "");
  for (uint32_t i = 0; i < p->n_classes; i++) {
    const ProgClass *c = &p->classes[i];
    fprintf(f, "class %u %s: condition %u%s", i, c->name, c->cond, c->observed ? " drawn" : "");
    if (c->of >= 0) fprintf(f, " of %s", p->classes[c->of].name);
    fputc('\n', f);
  }
  if (!p->n_conds) return;
  fputs("kinds", f);
  for (uint32_t i = 0; i < p->n_kinds; i++) fprintf(f, " %x", p->kinds[i]);
  fputs(p->n_kinds ? "\n" : " any\n", f);
}

static void print_regions(const Program *p, FILE *f) {
  static const char *const policies[] = {"freeze", "zero_grad", "mask_update"}, *const kinds[] = {"", " made by", " read by"};
  for (uint32_t i = 0; i < p->n_regions; i++) {
    const ProgRegion *r = &p->regions[i];
    fprintf(f, "region %u %s:%s%s%s%s%s", i, r->name, r->declared ? " declared" : "", r->joint ? " joint" : "",
            r->policy >= 0 ? " " : "", r->policy >= 0 ? policies[r->policy] : "",
            r->decay == 0 ? " no_decay" : r->decay == 1 ? " decay" : "");
    if (r->clip) fprintf(f, " clip %%%u", r->clip);
    fputc('\n', f);
    for (uint32_t k = 0; k < r->n_pieces; k++) {
      const RegionPiece *q = &r->pieces[k];
      fprintf(f, "  %s%s", p->params[q->param].path, kinds[q->kind]);
      if (q->axis >= 0)
        fprintf(f, ", axis %d: %lld of %lld from %lld", q->axis, (long long)q->n, (long long)p->params[q->param].shape.d[q->axis],
                (long long)q->index[0]);
      fputc('\n', f);
    }
  }
}

static void print_optim(const Program *p, FILE *f) {
  static const char *const kinds[] = {"sgd", "adam", "adamw"};
  const ProgOptim *o = &p->optim;
  const struct {
    const char *name;
    ValueId v;
  } args[] = {{"lr", o->lr},
              {"beta1", o->beta1},
              {"beta2", o->beta2},
              {"eps", o->eps},
              {"weight_decay", o->weight_decay},
              {"momentum", o->momentum},
              {"clip", o->clip}};
  if (!o->lr) return;
  fprintf(f, "optimize %s", kinds[o->kind]);
  for (uint32_t i = 0; i < sizeof args / sizeof *args; i++)
    if (args[i].v) fprintf(f, " %s=%%%u", args[i].name, args[i].v);
  fprintf(f, "%s\n", o->nesterov ? " nesterov" : "");
}

static void print_batches(const ProgBatches *b, FILE *f) {
  static const char *const kinds[] = {"", "mix", "by_class"}, *const orders[] = {"random", "alternate", "blocks"};
  if (b->kind == BATCH_PLAIN) return;
  fprintf(f, "  batches %s", kinds[b->kind]);
  for (uint32_t i = 0; i < b->n_names; i++) {
    fprintf(f, " %s", b->names[i]);
    if (b->share) fprintf(f, "=%g", b->share[i]);
  }
  fprintf(f, ": derived %u%s%s\n", b->by - 1, b->kind == BATCH_HOMOGENEOUS ? " " : "", b->kind == BATCH_HOMOGENEOUS ? orders[b->order] : "");
}

static void print_train(const Program *p, FILE *f) {
  const ProgTrain *t = &p->train;
  if (!t->present) return;
  fprintf(f, "train on %s batch %lld%s%s\n", p->n_data ? p->data[t->source].name : "nothing",
          (long long)t->batch, t->shuffle ? " shuffle" : "", t->drop_last ? " drop_last" : "");
  if (t->filter) fprintf(f, "  filter: derived %u\n", t->filter - 1);
  print_batches(&t->batches, f);
  print_amount("for", t->length, f);
  print_amount("checkpoint every", t->checkpoint_every, f);
  if (t->checkpoint_keep) fprintf(f, "  checkpoint keep %lld\n", (long long)t->checkpoint_keep);
  print_amount("log every", t->log_every, f);
  print_amount("evaluate every", t->evaluate_every, f);
}

static void print_eval(const Program *p, const ProgEval *ev, FILE *f) {
  fprintf(f, "evaluate %s on %s.%s", ev->name, p->data[ev->source].name, ev->part);
  if (ev->key_name)
    fprintf(f, " by %s in %lld ..= %lld", ev->key_name, (long long)ev->key_lo, (long long)ev->key_hi);
  if (ev->filter) fprintf(f, " filter derived %u", ev->filter - 1);
  fputc('\n', f);
  for (uint32_t i = 0; i < ev->n_metrics; i++) fprintf(f, "  metric %u %s\n", i, ev->metrics[i].name);
  for (uint32_t i = 0; i < ev->n_pictures; i++) {
    const ProgPicture *q = &ev->pictures[i];
    fprintf(f, "  picture %u %s: %lld x %lld in %g ..= %g, %lld rows\n", i, q->name, (long long)q->height,
            (long long)q->width, q->lo, q->hi, (long long)ev->picture_rows);
  }
}

static void print_expect(const ProgExpect *x, FILE *f) {
  static const char *const ops[] = {"const", "metric", "add", "sub", "mul", "div", "neg", "lt",
                                    "le",    "gt",     "ge",  "eq",  "ne",  "and", "or",  "not"};
  fprintf(f, "expect %s:", x->text);
  for (uint32_t i = 0; i < x->n; i++) {
    const ExpectInsn *c = &x->code[i];
    fprintf(f, " %s", ops[c->op]);
    if (c->op == EX_CONST) fprintf(f, " %.17g", c->num);
    if (c->op != EX_METRIC) continue;
    fprintf(f, " %u.%u", c->eval, c->metric);
    for (uint32_t k = 0; k < c->n_keys; k++) fprintf(f, "%c%lld", k ? ',' : '@', (long long)c->keys[k]);
  }
  fputc('\n', f);
}

static void print_calls(const Program *p, FILE *f) {
  static const char *const abilities[] = {[CALL_SPAN] = "span", [CALL_REDUCE] = "reduce", [CALL_GATE] = "gate", [CALL_SCHEDULE] = "schedule"};
  for (uint32_t i = 0; i < p->n_plugins; i++)
    fprintf(f, "plugin %u %s %s%s\n", i, p->plugins[i].name, p->plugins[i].version, p->plugins[i].path ? "" : " built-in");
  for (uint32_t i = 0; i < p->n_calls; i++) {
    const ProgCall *c = &p->calls[i];
    fprintf(f, "call %u plugin %u %s %s", i, c->plugin, c->op->name, abilities[c->ability]);
    for (uint32_t k = 0; k < c->n_params; k++)
      if (c->params[k].scalar >= 0) fprintf(f, " scalar %d", c->params[k].scalar);
      else fprintf(f, " %.17g", c->params[k].value);
    fprintf(f, " stream %016llx\n", (unsigned long long)c->stream);
  }
}

void program_print(const Program *p, FILE *f) {
  fprintf(f, "program %s seed %llu\n", p->title, (unsigned long long)p->seed);
  print_data(p, f);
  print_params(p, f);
  print_routes(p, f);
  print_derived(p, f);
  print_conds(p, f);
  print_regions(p, f);
  for (uint32_t i = 0; i < p->n_gates; i++) {
    fprintf(f, "gate %u %s: %s", i, p->gates[i].name, p->gates[i].value);
    if (p->gates[i].origin >= 0) fprintf(f, " origin %d", p->gates[i].origin);
    fputc('\n', f);
  }
  print_calls(p, f);
  print_optim(p, f);
  print_train(p, f);
  for (uint32_t i = 0; i < p->n_evals; i++) print_eval(p, &p->evals[i], f);
  for (uint32_t i = 0; i < p->n_expects; i++) print_expect(&p->expects[i], f);
  for (uint32_t i = 0; i < p->n_sweeps; i++) {
    fprintf(f, "sweep %s: %s =", p->sweeps[i].name, p->sweeps[i].param);
    for (uint32_t k = 0; k < p->sweeps[i].n; k++) fprintf(f, " %s", p->sweeps[i].values[k]);
    fputc('\n', f);
  }
  if (p->step) graph_print(p->step, f);
  for (uint32_t i = 0; i < p->n_evals; i++) graph_print(p->evals[i].graph, f);
  for (uint32_t i = 0; i < p->n_derived; i++) graph_print(p->derived[i].graph, f);
}

/* ---- checker ---- */
static const char *fail(const Program *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static const char *fail(const Program *p, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  const char *t = arena_vprintf(p->arena, fmt, ap);
  va_end(ap);
  return t;
}

/* Every table number in a graph is in its table, and leaves agree with it. */
static const char *verify_graph(const Program *p, Graph *g, bool training) {
  const char *why = graph_verify(g);
  if (why) return fail(p, "graph `%s`: %s", g->name, why);
  for (ValueId id = 1; id < g->n; id++) {
    const Value *v = &g->v[id];
    int64_t k = v->n_ints ? v->ints[0] : 0;
    if (v->op == OP_COLUMN && (k >= p->n_columns || !shape_equal(&v->shape, &p->columns[k].shape) ||
                               v->dtype != p->columns[k].dtype))
      return fail(p, "graph `%s`: %%%u is no column of the program", g->name, id);
    if (v->op == OP_PARAM && (k >= p->n_params || !shape_equal(&v->shape, &p->params[k].shape)))
      return fail(p, "graph `%s`: %%%u is no parameter of the program", g->name, id);
    if (v->op == OP_SCALAR && k >= p->n_scalars)
      return fail(p, "graph `%s`: %%%u is no scalar of the program", g->name, id);
    if ((v->op == OP_TAP || v->op == OP_ADJTAP) && (!training || k >= p->n_taps))
      return fail(p, "graph `%s`: %%%u is no tap of the program", g->name, id);
  }
  return NULL;
}

static const char *verify_classes(const Program *p) {
  const Graph *g = p->step;
  for (uint32_t i = 0; i < p->n_conds; i++) {
    const ProgCond *c = &p->conds[i];
    if (!c->value || c->value >= g->n || g->v[c->value].dtype != (c->soft ? DT_F32 : DT_BOOL))
      return fail(p, "condition `%s` is neither a truth value nor a weight", c->text);
  }
  for (uint32_t i = 0; i < p->n_classes; i++)
    if (p->classes[i].cond >= p->n_conds || p->classes[i].of >= (int32_t)p->n_classes)
      return fail(p, "class `%s` has no condition", p->classes[i].name);
  for (uint32_t i = 0; i < p->n_derived; i++) {
    const ProgDerived *d = &p->derived[i];
    if (d->column >= p->n_columns || p->columns[d->column].derived != i + 1 || p->columns[d->column].source != d->source)
      return fail(p, "derived column `%s` is not in the table of columns", d->name);
    const char *why = verify_graph(p, d->graph, false);
    if (why) return why;
  }
  return NULL;
}

static bool is_scalar(const Graph *g, ValueId v, Dtype t) {
  return v && v < g->n && !g->v[v].shape.rank && g->v[v].dtype == t;
}

static const char *verify_owners(const Program *p, const ProgRoute *r) {
  const Graph *g = p->step;
  const ProgOwners *o = &r->owners;
  const uint32_t param = p->taps[r->tap].param;
  if (!param || r->factor || !r->n_weights) return fail(p, "route `%s` of parameters is at no use of a parameter", r->name);
  for (uint32_t k = 0; k < r->n_weights; k++)
    if (!r->weight[k] || r->weight[k] >= g->n || g->v[r->weight[k]].dtype != DT_F32)
      return fail(p, "route `%s` lacks the factors of part %u", r->name, k);
  for (int k = 0; k < 2; k++) {
    const Shape *s = &p->params[param - 1].shape;
    if (o->n_labels[k] < 1 || (o->n_labels[k] > 1 && (o->axis[k] < 0 || o->axis[k] >= s->rank)))
      return fail(p, "route `%s` cuts an axis that is not there", r->name);
    for (int64_t i = 0; o->n_labels[k] > 1 && i < s->d[o->axis[k]]; i++)
      if (o->label[k][i] < 0 || o->label[k][i] >= o->n_labels[k]) return fail(p, "route `%s` has a wrong label", r->name);
  }
  for (int32_t i = 0; i < o->n_labels[0] * o->n_labels[1]; i++)
    if (o->part[i] < 0 || o->part[i] >= (int32_t)r->n_weights) return fail(p, "route `%s` has a wrong part", r->name);
  return NULL;
}

static const char *verify_routes(const Program *p) {
  const Graph *g = p->step;
  for (uint32_t i = 0; i < p->n_origins; i++)
    if (!is_scalar(g, p->origins[i].value, DT_F32))
      return fail(p, "origin `%s` is not one f32", p->origins[i].name);
  for (uint32_t i = 0; i < p->n_routes; i++) {
    const ProgRoute *r = &p->routes[i];
    if (r->tap >= p->n_taps) return fail(p, "route `%s` has no tap", r->name);
    ValueId tap = p->taps[r->tap].value;
    if (r->primitive == ROUTE_PARAMETERS) {
      const char *why = verify_owners(p, r);
      if (why) return why;
      continue;
    }
    if (r->primitive == ROUTE_VALUE ? r->factor != 0 : !r->factor || r->factor >= g->n)
      return fail(p, "route `%s` has a wrong factor", r->name);
    if (r->factor &&
        (!shape_equal(&g->v[r->factor].shape, &g->v[tap].shape) || g->v[r->factor].dtype != DT_F32))
      return fail(p, "the factor of route `%s` has not the shape of its tap", r->name);
    if (p->n_origins < 64 && r->origins >> p->n_origins)
      return fail(p, "route `%s` masks origins that are not there", r->name);
  }
  return NULL;
}

static const char *verify_regions(const Program *p) {
  for (uint32_t i = 0; i < p->n_regions; i++)
    for (uint32_t k = 0; k < p->regions[i].n_pieces; k++) {
      const RegionPiece *q = &p->regions[i].pieces[k];
      if (q->param >= p->n_params || q->axis >= p->params[q->param].shape.rank || (q->axis >= 0 && q->n < 1))
        return fail(p, "region `%s` has a piece of no parameter", p->regions[i].name);
      for (int64_t j = 0; q->axis >= 0 && j < q->n; j++)
        if (q->index[j] < 0 || q->index[j] >= p->params[q->param].shape.d[q->axis])
          return fail(p, "region `%s` goes beyond `%s`", p->regions[i].name, p->params[q->param].path);
    }
  return NULL;
}

static const char *verify_optim(const Program *p) {
  const ProgOptim *o = &p->optim;
  const ValueId v[] = {o->lr, o->beta1, o->beta2, o->eps, o->weight_decay, o->momentum, o->clip};
  for (uint32_t i = 0; i < sizeof v / sizeof *v; i++)
    if (v[i] && !is_scalar(p->step, v[i], DT_F64))
      return fail(p, "a number of the optimizer, %%%u, is not one f64", v[i]);
  if (p->train.present &&
      (!o->lr || p->train.batch < 1 || !(p->train.length.n > 0) || p->train.source >= p->n_data))
    return fail(p, "the training is not complete");
  return NULL;
}

const char *program_verify(const Program *p) {
  for (uint32_t i = 0; i < p->n_params; i++) {
    const ProgParam *q = &p->params[i];
    if (shape_count(&q->shape, 0) < 1 || !isfinite(q->a) || !isfinite(q->b))
      return fail(p, "parameter `%s` is malformed", q->path);
    for (uint32_t k = 0; k < i; k++)
      if (!strcmp(p->params[k].path, q->path)) return fail(p, "parameter `%s` is there twice", q->path);
  }
  for (uint32_t i = 0; i < p->n_columns; i++)
    if (p->columns[i].source >= p->n_data || p->columns[i].shape.rank < 1 ||
        p->columns[i].shape.d[0] != DIM_ROWS)
      return fail(p, "column `%s` is malformed", p->columns[i].name);
  if (!p->step) return fail(p, "there is no training graph");
  const char *why = verify_graph(p, p->step, true);
  if (!why) why = verify_routes(p);
  if (!why) why = verify_regions(p);
  if (!why) why = verify_optim(p);
  if (!why) why = verify_classes(p);
  for (uint32_t i = 0; i < p->n_evals && !why; i++) why = verify_graph(p, p->evals[i].graph, false);
  return why;
}

/* ---- classes as sets of data ---- */
uint64_t program_kinds_of(const Program *p, const ProgDataClass *c) {
  uint64_t kinds = 0;
  for (uint32_t k = 0; k < p->n_kinds && k < 64; k++)
    if (((p->kinds[k] & c->conds) != 0) != c->none) kinds |= (uint64_t)1 << k;
  return kinds;
}

/* ---- forks ---- */
Program *program_fork(const Program *p) {
  Arena *a = p->arena;
  Program *f = ARENA_NEW(a, Program);
  *f = *p;
#define COPY(table, n)                                                                                             \
  do {                                                                                                             \
    f->table = arena_alloc(a, (p->n + 1) * sizeof *p->table);                                                      \
    if (p->n) memcpy(f->table, p->table, p->n * sizeof *p->table);                                                 \
  } while (0)
  COPY(origins, n_origins);
  COPY(taps, n_taps);
  COPY(routes, n_routes);
  COPY(conds, n_conds);
  COPY(regions, n_regions);
  COPY(cuts, n_cuts);
  COPY(params, n_params);
#undef COPY
  for (uint32_t i = 0; i < p->n_routes; i++) {
    ProgRoute *r = &f->routes[i];
    r->weight = ARENA_NEWS(a, ValueId, r->n_weights + 1);
    if (r->n_weights) memcpy(r->weight, p->routes[i].weight, r->n_weights * sizeof *r->weight);
  }
  return f;
}
