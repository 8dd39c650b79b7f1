/* SPDX-License-Identifier: Apache-2.0
 * check_monitor.c -- the sets of data that gradients, monitors and audits choose by; `monitor`: what is recorded during
 * training, by class and region. */
#include "model.h"
#include <string.h>

/* The declared classes, then `otherwise`: the data of none. */
static void data_classes(Elab *e) {
  Program *p = e->m->p;
  ProgDataClass rest = {"otherwise", 0, true, true};
  p->data_classes = ARENA_NEWS(e->m->a, ProgDataClass, p->n_classes + 1);
  for (uint32_t i = 0; i < p->n_classes; i++) {
    const ProgClass *k = &p->classes[i];
    const Shape *s = &e->g->v[p->conds[k->cond].value].shape;
    const ProgDataClass c = {k->name, 1u << k->cond, false, s->rank == 1 && s->d[0] == DIM_ROWS};
    rest.conds |= c.conds, rest.by_datum &= c.by_datum;
    p->data_classes[p->n_data_classes++] = c;
  }
  if (p->n_data_classes) p->data_classes[p->n_data_classes++] = rest;
}

static const Ast *list_kid(const Ast *setting, uint32_t i, uint32_t *n) {
  const Ast *v = ast_kid(setting, 0);
  *n = !v ? 0 : ast_is(v, AST_LIST) ? v->n_kids : 1;
  return !ast_is(v, AST_LIST) ? v : i < v->n_kids ? v->kids[i] : NULL;
}

/* A list of nothing, or one thing twice, is a slip of the pen. */
static bool push_once(Model *m, uint32_t **v, uint32_t *n, uint32_t one, const Ast *a) {
  for (uint32_t i = 0; i < *n; i++)
    if ((*v)[i] == one) return err(m, E0209, a->span, ast_source_text(m, a)), false;
  *PUSH(m->a, *v, *n) = one;
  return true;
}

static bool has_entries(Model *m, const Ast *setting) {
  if (!setting || !ast_is(ast_kid(setting, 0), AST_LIST) || setting->kids[0]->n_kids) return true;
  err(m, E0315, setting->span, arena_printf(m->a, "`%s`", setting->text));
  return false;
}

static void monitored_regions(Elab *e, const Ast *setting) {
  Model *m = e->m;
  Program *p = m->p;
  ProgMonitor *mon = &p->monitor;
  uint32_t n;
  for (uint32_t i = 0; list_kid(setting, i, &n), i < n; i++) {
    const uint32_t region = region_resolve(e, list_kid(setting, i, &n));
    if (region != UINT32_MAX) push_once(m, &mon->regions, &mon->n_regions, region, list_kid(setting, i, &n));
  }
  if (setting) return;
  for (uint32_t i = 0; i < p->n_regions; i++)
    if (p->regions[i].n_pieces) *PUSH(m->a, mon->regions, mon->n_regions) = i;
}

static void monitored_class(Elab *e, const Ast *a) {
  Model *m = e->m;
  Program *p = m->p;
  const char *text = a ? ast_source_text(m, a) : "", **names = ARENA_NEWS(m->a, const char *, p->n_data_classes + 1);
  for (uint32_t k = 0; k < p->n_data_classes; k++) {
    names[k] = p->data_classes[k].name;
    if (strcmp(names[k], text) != 0) continue;
    if (p->data_classes[k].by_datum) push_once(m, &p->monitor.classes, &p->monitor.n_classes, k, a);
    else err(m, E0446, a->span, text);
    return;
  }
  diag_choices(m, err(m, E0445, a ? a->span : m->monitor->span, text), text, names, p->n_data_classes);
}

static void monitored_classes(Elab *e, const Ast *setting) {
  Program *p = e->m->p;
  ProgMonitor *mon = &p->monitor;
  uint32_t n;
  for (uint32_t i = 0; list_kid(setting, i, &n), i < n; i++) {
    const Ast *a = list_kid(setting, i, &n);
    for (uint32_t k = 0; k < e->m->classes.n && a; k++) /* a monitor is a use */
      if (!strcmp(e->m->classes.v[k]->name, ast_source_text(e->m, a))) e->m->classes.v[k]->used = true;
    monitored_class(e, a);
  }
  for (uint32_t k = 0; !setting && k < p->n_data_classes; k++)
    if (p->data_classes[k].by_datum) *PUSH(e->m->a, mon->classes, mon->n_classes) = k;
}

void check_monitor(Elab *e) {
  static const char *const keys[] = {"every", "regions", "classes"};
  Model *m = e->m;
  ProgMonitor *mon = &m->p->monitor;
  data_classes(e);
  if (!m->monitor) return;
  const Ast *block = ast_kid(m->monitor, 0), *every = block_setting(block, "every"),
            *regions = block_setting(block, "regions"), *classes = block_setting(block, "classes");
  if (!block_check_keys(m, block, "`monitor`", keys, 3)) return;
  *mon = (ProgMonitor){.present = true, .every = {100, UNIT_STEPS}, .span = m->monitor->span};
  if (every && !ast_kid(every, 0)) err(m, E0406, every->span, "`every`", "a length");
  else if (every && amount_of(e, e->model, every->kids[0], "`every`", &mon->every) && mon->every.unit == UNIT_SECONDS)
    err(m, E0447, every->kids[0]->span);
  if (regions && !ast_kid(regions, 0)) err(m, E0406, regions->span, "`regions`", "a list of regions");
  else if (has_entries(m, regions)) monitored_regions(e, regions);
  if (classes && !ast_kid(classes, 0)) err(m, E0406, classes->span, "`classes`", "a list of classes");
  else if (has_entries(m, classes)) monitored_classes(e, classes);
}
