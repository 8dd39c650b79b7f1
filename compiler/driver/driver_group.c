/* SPDX-License-Identifier: Apache-2.0
 * driver_group.c -- what `routec plan` says about work that masks make unnecessary: groups of rows, row sets, operations
 * saved, and why rows are not grouped where they are not. */
#include "driver.h"
#include <jansson.h>

/* The conditions of a kind, as "low and not odd". */
static const char *kind_text(const Compilation *c, uint32_t kind) {
  const Program *p = c->program;
  const char *text = "";
  for (uint32_t i = 0; i < p->n_conds; i++)
    text = arena_printf(c->arena, "%s%s%s%s", text, i ? " and " : "", kind >> i & 1 ? "" : "not ", p->conds[i].text);
  return text;
}

static const char *set_text(const Compilation *c, uint32_t set) {
  const ProgGroups *g = &c->program->groups;
  if (g->hi[set] - g->lo[set] == 1) return arena_printf(c->arena, "group %u", g->lo[set]);
  return arena_printf(c->arena, "groups %u to %u", g->lo[set], g->hi[set] - 1);
}

void driver_groups_text(const Compilation *c, FILE *f) {
  const Program *p = c->program;
  const ProgGroups *g = &p->groups;
  if (g->dense == 0) return;
  fprintf(f, "\nmasked work: %.2f MFLOP a step, %.2f if all that is masked were computed (%.1f %% less)\n", 1e-6 * g->operations,
          1e-6 * g->dense, 100 * (1 - g->operations / g->dense));
  if (!g->n_sets) {
    fprintf(f, "  rows are not grouped by class: %s\n", g->why);
    return;
  }
  fprintf(f, "  rows of a batch are sorted by group; kinds of data are counted as equally frequent\n");
  for (uint32_t i = 0; i < g->n_groups; i++) {
    fprintf(f, "  group %u", i);
    for (uint32_t k = 0, n = 0; k < p->n_kinds; k++)
      if (g->group_of_kind[k] == i) fprintf(f, "%s%s", n++ ? "; or " : ": ", kind_text(c, p->kinds[k]));
    fputc('\n', f);
  }
  for (uint32_t s = 1; s < g->n_sets; s++) fprintf(f, "  rows%u: %s, %.1f %% of the rows\n", s, set_text(c, s), 100 * g->share[s]);
}

static void packing_text(const ProgPacking *k, const char *of, FILE *f) {
  if (!k->present) return;
  fprintf(f, "\nbranches in %s: %.2f MFLOP expected, %.2f if all were computed for all data (%.1f %% less)\n", of,
          1e-6 * k->operations, 1e-6 * k->dense, 100 * (1 - k->operations / k->dense));
  if (k->why) {
    fprintf(f, "  rows that take a branch are not packed: %s\n", k->why);
    return;
  }
  fprintf(f, "  rows that take a branch are packed; each datum is counted as taking one branch of a select, "
             "memory is planned for all rows\n");
  for (uint32_t i = 0; i < k->n_sets; i++)
    fprintf(f, "  rows%u: %s, %.1f %% of the rows\n", k->first + i, k->name[i], 100 * k->share[k->first + i]);
}

void driver_packing_text(const Compilation *c, FILE *f) {
  const Program *p = c->program;
  packing_text(&p->packing, "the training step", f);
  for (uint32_t i = 0; i < p->n_evals; i++)
    packing_text(&p->evals[i].packing, arena_printf(c->arena, "evaluation %s", p->evals[i].name), f);
}

static json_t *packing_json(const Compilation *c, const ProgPacking *k, const char *of) {
  json_t *sets = json_array();
  for (uint32_t i = 0; i < k->n_sets; i++)
    json_array_append_new(sets, json_pack("{s:s, s:s, s:f}", "name", arena_printf(c->arena, "rows%u", k->first + i),
                                          "rows", k->name[i], "share", k->share[k->first + i]));
  return json_pack("{s:s, s:f, s:f, s:s?, s:o}", "function", of, "flop", k->operations, "flop_if_all_were_computed",
                   k->dense, "not_packed_because", k->why, "row_sets", sets);
}

json_t *driver_packing_json(const Compilation *c) {
  const Program *p = c->program;
  json_t *all = json_array();
  if (p->packing.present) json_array_append_new(all, packing_json(c, &p->packing, "train"));
  for (uint32_t i = 0; i < p->n_evals; i++)
    if (p->evals[i].packing.present)
      json_array_append_new(all, packing_json(c, &p->evals[i].packing, p->evals[i].name));
  return all;
}

json_t *driver_groups_json(const Compilation *c) {
  const Program *p = c->program;
  const ProgGroups *g = &p->groups;
  if (g->dense == 0) return json_null();
  json_t *groups = json_array(), *sets = json_array();
  for (uint32_t i = 0; g->n_sets && i < g->n_groups; i++) {
    json_t *kinds = json_array();
    for (uint32_t k = 0; k < p->n_kinds; k++)
      if (g->group_of_kind[k] == i) json_array_append_new(kinds, json_string(kind_text(c, p->kinds[k])));
    json_array_append_new(groups, kinds);
  }
  for (uint32_t s = 1; s < g->n_sets; s++)
    json_array_append_new(sets, json_pack("{s:s, s:i, s:i, s:f}", "name", arena_printf(c->arena, "rows%u", s), "first_group",
                                          (int)g->lo[s], "groups", (int)(g->hi[s] - g->lo[s]), "share", g->share[s]));
  return json_pack("{s:f, s:f, s:s?, s:o, s:o}", "flop", g->operations, "flop_if_all_were_computed", g->dense, "not_grouped_because",
                   g->n_sets ? NULL : g->why, "groups", groups, "row_sets", sets);
}
