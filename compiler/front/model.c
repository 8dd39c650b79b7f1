/* SPDX-License-Identifier: Apache-2.0
 * model.c -- checking as a column of calls, and what a Model prints.
 * Requires: a tree without syntax errors. Makes: a Program whose graphs are forward only. */
#include "model.h"
#include <stdlib.h>
#include <string.h>

/* ---- one walk over everything ---- */
static Program *program_new(Model *m) {
  Program *p = ARENA_NEW(m->a, Program);
  p->arena = m->a, p->sources = m->sources;
  const char *slash = strrchr(m->path, '/'), *base = slash ? slash + 1 : m->path, *dot = strrchr(base, '.');
  p->title = dot && dot > base ? arena_strndup(m->a, base, (size_t)(dot - base)) : base;
  p->seed = m->seed;
  return p;
}

static const char *value_text(Model *m, const Val *v) {
  switch (v->kind) {
  case VAL_NUM: return number_text(m->a, v->num);
  case VAL_BOOL: return v->num != 0 ? "true" : "false";
  case VAL_QUANTITY: return arena_printf(m->a, "%s %s", number_text(m->a, v->num), v->text);
  case VAL_STRING: return v->text;
  default: return NULL;
  }
}

static void program_settings(Model *m) {
  Program *p = m->p;
  bool has_seed = strmap_get(&m->param_names, "seed") != NULL;
  p->settings = ARENA_NEWS(m->a, ProgSetting, m->n_param + 1);
  if (!has_seed)
    p->settings[p->n_settings++] =
        (ProgSetting){"seed", arena_printf(m->a, "%llu", (unsigned long long)m->seed), "", false};
  for (uint32_t i = 0; i < m->n_param; i++) {
    const Param *q = &m->param[i];
    const char *text = q->value ? value_text(m, q->value) : NULL;
    bool seed = !strcmp(q->name, "seed"), structural = i >= 64 || (m->structural >> i & 1);
    if (seed) text = arena_printf(m->a, "%llu", (unsigned long long)m->seed);
    if (!text && ast_kid(q->decl->ast, 2)) text = ast_source_text(m, q->decl->ast->kids[2]);
    const char *doc = ast_source_text(m, q->decl->ast);
    p->settings[p->n_settings++] = (ProgSetting){q->name, text ? text : "", doc, structural && !seed};
  }
}

static void walk(Model *m) {
  m->p = program_new(m);
  m->param_paths = (StrMap){0};
  for (uint32_t i = 0; i < m->n_param; i++) m->param[i].scalar = 0;
  for (uint32_t i = 0; i < m->n_route; i++) m->route[i].matched = false;
  for (uint32_t i = 0; i < m->gates.n; i++) m->gate[i].matched = false;
  for (uint32_t i = 0; i < m->classes.n; i++) m->drawn[i].made = m->drawn[i].bad = false;
  const uint32_t before = m->diags->n_errors;
  check_data(m);
  uint32_t data = training_data(m);
  Elab *e = m->step = elab_create(m, "train", true, data);
  elab_model(e);
  check_classes(e);
  check_regions(e);
  routes_finish(e);
  gates_finish(e);
  check_origins(e);
  routes_set_origins(e);
  check_forbids(e);
  check_monitor(e);
  check_optimize(e);
  check_train(e);
  check_inst_uses(e);
  if (m->diags->n_errors == before) check_kinds(e);
  m->p->step = e->g;
  check_evals(m);
  check_sweeps(m);
  check_params_policy(m);
  check_region_settings(m);
  program_settings(m);
}

/* Fields that no graph reads are checked too. */
static void check_all_fields(Model *m) {
  for (uint32_t i = 0; i < m->data.n; i++) {
    Elab *e = elab_create(m, "fields", false, i);
    for (uint32_t k = 0; k < m->datas[i].n_fields; k++) data_field(e, i, k, m->datas[i].fields[k].bind->span);
  }
}

Model *model_check(Arena *a, Sources *sources, const ParseResult *spec, const Override *sets, uint32_t n_sets,
                   Diags *diags) {
  Model *m = ARENA_NEW(a, Model);
  m->a = a, m->sources = sources, m->diags = diags, m->sets = sets, m->n_sets = n_sets;
  m->model_decl.name = "model";
  uint32_t before = diags->n_errors;
  check_files(m, spec, spec->file ? spec->file->span.file : 0);
  m->p = program_new(m);
  check_plugins(m);
  check_data_names(m);
  check_class_names(m);
  check_params(m);
  check_splits(m);
  check_routes(m);
  check_gates(m);
  walk(m);
  check_all_fields(m);
  if (diags->n_errors > before) return NULL;
  check_unused(m);
  m->walk = 1;
  walk(m); /* what is structural is known now */
  if (diags->n_errors > before) return NULL;
  const char *why = program_verify(m->p);
  if (why) {
    fprintf(stderr, "routec: internal error: %s\n", why);
    abort();
  }
  return m;
}

Program *model_lower(Model *m, Diags *diags) {
  (void)diags; /* everything was said by model_check */
  return m ? m->p : NULL;
}

/* ---- --dump=check ---- */
static void print_param(const Model *m, uint32_t i, FILE *f) {
  static const char *const types[] = {"int", "real", "bool", "text", "quantity", "list"};
  const Param *p = &m->param[i];
  const char *text = value_text((Model *)(uintptr_t)m, p->value);
  bool structural = i >= 64 || (m->structural >> i & 1);
  fprintf(f, "  %s: %s = %s%s\n", p->name, types[p->type], text ? text : "[...]",
          structural ? "  # structural" : "");
}

static void print_units(const SplitPart *p, FILE *f) {
  bool run = true;
  for (int64_t i = 1; i < p->n; i++) run = run && p->units[i] == p->units[i - 1] + 1;
  if (run) fprintf(f, "%lld .. %lld", (long long)p->units[0], (long long)p->units[p->n - 1] + 1);
  else {
    fputc('[', f);
    for (int64_t i = 0; i < p->n && i < 16; i++) fprintf(f, i ? ", %lld" : "%lld", (long long)p->units[i]);
    fputs(p->n > 16 ? ", ...]" : "]", f);
  }
}

/* The conditions that a route's factor reads, and over which axes of its place each is repeated: the units, and what the
 * condition has not. */
static void print_route_conditions(const Model *m, const ProgRoute *r, FILE *f) {
  Elab *e = m->step;
  const Graph *g = e->g;
  const Shape *place = &g->v[m->p->taps[r->tap].value].shape;
  uint8_t *live = ARENA_NEWS(m->a, uint8_t, g->n);
  if (!r->factor) return;
  live[r->factor] = 1;
  for (ValueId k = r->factor; k > 0; k--)
    for (uint32_t i = 0; live[k] && i < g->v[k].n_args; i++) live[g->v[k].args[i]] = 1;
  for (uint32_t i = 0; i < m->p->n_conds; i++) {
    const ProgCond *c = &m->p->conds[i];
    const Shape *s = &g->v[c->value].shape;
    if (!live[c->value]) continue;
    fprintf(f, "  %s: %s", c->text, val_text(e, val_tensor(e, c->span, c->value)));
    if (s->rank + 1 < place->rank) fputs(", the same at all positions", f);
    fputc('\n', f);
  }
}

static void print_gate(const Model *m, const Gate *gate, FILE *f) {
  const Ast *set[] = {gate->train, gate->gradient, gate->deploy};
  static const char *const word[] = {"train", "gradient", "deploy"}, *const plain[] = {"same", "pass", "same"};
  fprintf(f, "gate %s: %s", gate->decl->name, gate->place.text);
  for (int i = 0; i < 3; i++) fprintf(f, ", %s %s", word[i], set[i] ? ast_source_text(m, set[i]->kids[0]) : plain[i]);
  fputc('\n', f);
}

void model_print(const Model *m, FILE *f) {
  Elab *e = m->step;
  fprintf(f, "model %s\n", m->p->title);
  if (m->n_param) fprintf(f, "params\n");
  for (uint32_t i = 0; i < m->n_param; i++) print_param(m, i, f);
  for (uint32_t i = 0; i < m->data.n; i++) {
    fprintf(f, "data %s: %s\n", m->data.v[i]->name, m->p->data[i].reader);
    for (uint32_t k = 0; k < m->datas[i].n_fields; k++) {
      const Val *v = e->fields[i][k];
      fprintf(f, "  %s: %s\n", m->datas[i].fields[k].name, v ? val_text(e, v) : "not read");
    }
  }
  if (e->n_places) fprintf(f, "values\n");
  for (uint32_t i = 0; i < e->n_places; i++)
    fprintf(f, "  %s: %s\n", e->places[i]->path,
            val_text(e, val_tensor(e, e->places[i]->span, e->places[i]->value)));
  for (uint32_t i = 0; i < m->n_split; i++) {
    const Split *s = &m->split[i];
    fprintf(f, "split %s of %lld\n", s->decl->name, (long long)s->extent);
    for (uint32_t k = 0; k < s->n_parts; k++) {
      fprintf(f, "  %s = ", s->parts[k].name);
      print_units(&s->parts[k], f);
      fputc('\n', f);
    }
  }
  for (uint32_t i = 0; i < m->classes.n; i++)
    fprintf(f, "class %s: %s%s\n", m->classes.v[i]->name, val_text(e, e->classes[i]), e->classes[i]->labels ? ", drawn labels" : "");
  for (uint32_t i = 0; i < m->p->n_routes; i++) {
    const ProgRoute *r = &m->p->routes[i];
    fprintf(f, "route %s: %s of %s\n", r->name, r->primitive == ROUTE_VALUE ? "value" : r->primitive == ROUTE_PARAMETERS ? "parameters" : "gradient",
            m->p->taps[r->tap].name);
    print_route_conditions(m, r, f);
  }
  for (uint32_t i = 0; i < m->gates.n; i++) print_gate(m, &m->gate[i], f);
  for (uint32_t i = 0; i < m->p->n_origins; i++)
    fprintf(f, "%s %s%s\n", m->p->origins[i].regularizer ? "regularize" : "loss", m->p->origins[i].name,
            m->p->origins[i].probe ? "  # probe" : m->p->origins[i].routed ? "" : "  # unrouted");
  for (uint32_t i = 0; i < m->p->n_evals; i++)
    fprintf(f, "evaluate %s: %u metrics on %s.%s\n", m->p->evals[i].name, m->p->evals[i].n_metrics,
            m->p->data[m->p->evals[i].source].name, m->p->evals[i].part);
}
