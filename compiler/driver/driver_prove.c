/* SPDX-License-Identifier: Apache-2.0
 * driver_prove.c -- `routec prove`: who may change what, as a table of classes, origins and regions, with the way in. */
#include "driver_prove.h"
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <string.h>

/* ---- names -------------------------------------------------------------------------------------------------------- */
/* The indices of one label: "0 .. 8", "0 .. 4 + 12 .. 16", "96 of 128". */
static const char *label_text(Arena *a, const int32_t *label, int64_t n, int32_t which) {
  const char *text = "";
  int64_t ranges = 0, count = 0;
  for (int64_t i = 0; i < n; i++) {
    if (label[i] != which) continue;
    int64_t end = i;
    while (end < n && label[end] == which) end++;
    if (++ranges <= 3) text = arena_printf(a, "%s%s%" PRId64 " .. %" PRId64, text, *text ? " + " : "", i, end);
    count += end - i, i = end;
  }
  return ranges <= 3 ? text : arena_printf(a, "%" PRId64 " of %" PRId64, count, n);
}

const char *prove_cell_text(Arena *a, const ProofParam *p, const Shape *s, uint32_t cell) {
  const char *text = "";
  int32_t label[IR_MAX_RANK];
  bool cut = false;
  for (int32_t k = s->rank; k-- > 0; cell /= (uint32_t)p->n_labels[k]) {
    label[k] = (int32_t)(cell % (uint32_t)p->n_labels[k]);
    cut |= p->n_labels[k] > 1;
  }
  for (int32_t k = 0; cut && k < s->rank; k++)
    text = arena_printf(a, "%s%s%s", text, k ? ", " : "", p->n_labels[k] > 1 ? label_text(a, p->label[k], s->d[k], label[k]) : ":");
  return cut ? arena_printf(a, "[%s]", text) : "";
}

const char *prove_hull_text(Arena *a, ProofHull h) {
  if (proof_is_none(h)) return "none";
  if (h.lo == 1 && h.hi == 1) return "full";
  const char *what = proof_is_full(h) ? "full" : "scaled";
  return h.lo == h.hi ? arena_printf(a, "%s %.3g", what, h.lo) : arena_printf(a, "%s [%.3g, %.3g]", what, h.lo, h.hi);
}

/* ---- the table ---------------------------------------------------------------------------------------------------- */
static ProofHull *new_hulls(ProveTable *t) {
  ProofHull *h = ARENA_NEWS(t->c->arena, ProofHull, t->n_cls * t->n_origins + 1);
  for (uint32_t i = 0; i < t->n_cls * t->n_origins; i++) h[i] = (ProofHull){INFINITY, -INFINITY};
  return h;
}

static void region_row(ProveTable *t, uint32_t region) {
  const ProgRegion *r = &t->proof->program->regions[region];
  ProveRow *row = &t->rows[t->n_rows++];
  *row = (ProveRow){.name = r->name, .region = true, .pieces = r->pieces, .n_pieces = r->n_pieces, .hull = new_hulls(t)};
  for (uint32_t i = 0; i < r->n_pieces; i++) row->updated |= t->proof->params[r->pieces[i].param].updated;
  for (uint32_t c = 0; c < t->n_cls; c++)
    for (uint32_t o = 0; o < t->n_origins; o++)
      row->hull[c * t->n_origins + o] =
          proof_region(t->proof, region, t->proof->classes[t->cls[c]].kinds, (OriginSet)1 << o, t->strictly);
}

static uint32_t module_of(ProveTable *t, const char *path) {
  const char *dot = strchr(path, '.');
  const char *name = dot ? arena_strndup(t->c->arena, path, (size_t)(dot - path)) : path;
  for (uint32_t i = 0; i < t->n_modules; i++)
    if (!strcmp(t->modules[i], name)) return i;
  t->modules[t->n_modules] = name;
  return t->n_modules++;
}

/* A piece that holds the cell and nothing that is cut from it along its first cut axis. */
static RegionPiece cell_piece(const ProveTable *t, uint32_t param, uint32_t cell) {
  const ProofParam *p = &t->proof->params[param];
  const Shape *s = &t->proof->program->params[param].shape;
  RegionPiece piece = {.param = param, .axis = -1};
  for (int32_t k = s->rank; k-- > 0; cell /= (uint32_t)p->n_labels[k]) {
    if (p->n_labels[k] == 1) continue;
    int64_t *index = ARENA_NEWS(t->c->arena, int64_t, s->d[k]);
    piece.axis = k, piece.n = 0, piece.index = index;
    for (int64_t i = 0; i < s->d[k]; i++)
      if (p->label[k][i] == (int32_t)(cell % (uint32_t)p->n_labels[k])) index[piece.n++] = i;
  }
  return piece;
}

static void parameter_row(ProveTable *t, uint32_t first, uint32_t param, uint32_t cell) {
  const ProgParam *p = &t->proof->program->params[param];
  Arena *a = t->c->arena;
  ProveRow *row = &t->rows[t->n_rows];
  *row = (ProveRow){.module = module_of(t, p->path), .hull = new_hulls(t), .updated = t->proof->params[param].updated};
  for (uint32_t c = 0; c < t->n_cls; c++)
    for (uint32_t o = 0; o < t->n_origins; o++)
      row->hull[c * t->n_origins + o] =
          proof_cell(t->proof, param, cell, t->proof->classes[t->cls[c]].kinds, (OriginSet)1 << o, t->strictly);
  const char *tail = strlen(p->path) > strlen(t->modules[row->module]) ? p->path + strlen(t->modules[row->module]) + 1 : p->path;
  const char *part = arena_printf(a, "%s%s", tail, prove_cell_text(a, &t->proof->params[param], &p->shape, cell));
  uint32_t at = first;
  for (; at < t->n_rows; at++)
    if (t->rows[at].module == row->module && t->rows[at].updated == row->updated &&
        !memcmp(t->rows[at].hull, row->hull, sizeof *row->hull * t->n_cls * t->n_origins))
      break;
  if (at == t->n_rows) t->n_rows++;
  row = &t->rows[at];
  RegionPiece *pieces = ARENA_NEWS(a, RegionPiece, row->n_pieces + 1);
  const char **parts = ARENA_NEWS(a, const char *, row->n_parts + 1);
  if (row->n_parts) memcpy(parts, row->parts, sizeof *parts * row->n_parts), memcpy(pieces, row->pieces, sizeof *pieces * row->n_pieces);
  parts[row->n_parts++] = part, pieces[row->n_pieces++] = cell_piece(t, param, cell);
  row->parts = parts, row->pieces = pieces;
}

/* "encoder: all", or "encoder: top.weight[0 .. 8]". */
static void name_rows(ProveTable *t, uint32_t first) {
  for (uint32_t i = first; i < t->n_rows; i++) {
    ProveRow *r = &t->rows[i];
    bool alone = true;
    for (uint32_t j = first; j < t->n_rows; j++) alone = alone && (j == i || t->rows[j].module != r->module);
    const char *list = "";
    for (uint32_t k = 0; k < r->n_parts; k++) list = arena_printf(t->c->arena, "%s%s%s", list, k ? ", " : "", r->parts[k]);
    const char *module = t->modules[r->module];
    r->name = alone && r->n_parts == 1 && !strcmp(list, module) ? module
              : alone ? arena_printf(t->c->arena, "%s: all", module)
                      : arena_printf(t->c->arena, "%s: %s", module, list);
  }
}

static bool name_matches(const char *wanted, const char *name) {
  const size_t n = strlen(wanted);
  return !strncmp(name, wanted, n) && (name[n] == 0 || name[n] == '.');
}

ProveTable *prove_table(const Compilation *c, const Proof *f) {
  ProveTable *t = ARENA_NEW(c->arena, ProveTable);
  const Options *o = c->o;
  const Program *p = f->program;
  uint32_t n = p->n_regions;
  for (uint32_t i = 0; i < p->n_params; i++) n += f->params[i].n_cells;
  *t = (ProveTable){.c = c, .proof = f, .strictly = o->strictly, .n_origins = p->n_origins};
  t->cls = ARENA_NEWS(c->arena, uint32_t, f->n_classes + 1);
  t->rows = ARENA_NEWS(c->arena, ProveRow, n + 1), t->modules = ARENA_NEWS(c->arena, const char *, p->n_params + 1);
  for (uint32_t i = 0; i < f->n_classes; i++)
    if (!o->grad.class || !strcmp(o->grad.class, f->classes[i].name)) t->cls[t->n_cls++] = i;
  for (uint32_t i = 0; i < p->n_regions; i++)
    if (!o->region || name_matches(o->region, p->regions[i].name)) region_row(t, i);
  const uint32_t first = t->n_rows;
  for (uint32_t i = 0; i < p->n_params; i++)
    for (uint32_t k = 0; k < f->params[i].n_cells; k++)
      if (!o->region || name_matches(o->region, p->params[i].path)) parameter_row(t, first, i, k);
  name_rows(t, first);
  return t;
}

/* ---- text ----------------------------------------------------------------------------------------------------------- */
static bool same_for_all_classes(const ProveTable *t, const ProveRow *r, uint32_t a, uint32_t b) {
  for (uint32_t c = 0; c < t->n_cls; c++) {
    const ProofHull x = prove_hull(t, r, c, a), y = prove_hull(t, r, c, b);
    if (x.lo != y.lo || x.hi != y.hi) return false;
  }
  return true;
}

static bool none_for_all_classes(const ProveTable *t, const ProveRow *r, uint32_t origin) {
  for (uint32_t c = 0; c < t->n_cls; c++)
    if (!proof_is_none(prove_hull(t, r, c, origin))) return false;
  return true;
}

static OriginSet alike_origins(const ProveTable *t, const ProveRow *r, uint32_t origin, const char **names) {
  OriginSet set = 0;
  *names = "";
  for (uint32_t o = 0; o < t->n_origins; o++) {
    if (!same_for_all_classes(t, r, origin, o)) continue;
    set |= (OriginSet)1 << o;
    *names = arena_printf(t->c->arena, "%s%s%s", *names, **names ? ", " : "", t->proof->program->origins[o].name);
  }
  return set;
}

static const char *place_of(const Compilation *c, Span s) {
  if (!s.file || s.file >= c->sources->n) return "";
  const LineCol at = source_line_col(c->sources->files[s.file], s.start);
  return arena_printf(c->arena, "%s:%u:%u", c->sources->files[s.file]->path, at.line, at.col);
}

static const char *path_text(Arena *a, const ProofPath *p) {
  const char *text = "";
  for (uint32_t i = 0; i < p->n_steps; i++) {
    if (p->n_steps > 5 && i > 0 && i + 4 < p->n_steps) {
      if (i == 1) text = arena_printf(a, "%s > ...", text);
      continue;
    }
    text = arena_printf(a, "%s%s%s", text, i ? " > " : "", p->steps[i].name);
  }
  return text;
}

static const char *way_text(Arena *a, const ProofPath *p) {
  const char *text = proof_way_text(p->way);
  if (p->gate) return arena_printf(a, "%s (gate `%s` of `%s`)", text, p->gate, p->place);
  if (p->route && p->way != WAY_DIRECT) text = arena_printf(a, "%s (route `%s` at `%s`)", text, p->route, p->place);
  return text;
}

/* Classes with one path share its line. */
static void print_paths(const ProveTable *t, const ProveRow *r, OriginSet origins, FILE *f, int verbose) {
  Arena *a = t->c->arena;
  const char **line = ARENA_NEWS(a, const char *, t->n_cls + 1);
  ProofPath *path = ARENA_NEWS(a, ProofPath, t->n_cls + 1);
  for (uint32_t c = 0; c < t->n_cls; c++)
    if (proof_path(t->proof, r->pieces, r->n_pieces, t->proof->classes[t->cls[c]].kinds, origins, t->strictly, &path[c]))
      line[c] = arena_printf(a, "%s: %s", way_text(a, &path[c]), path_text(a, &path[c]));
  for (uint32_t c = 0; c < t->n_cls; c++) {
    if (!line[c]) continue;
    fprintf(f, "        %s", t->proof->classes[t->cls[c]].name);
    for (uint32_t d = c + 1; d < t->n_cls; d++)
      if (line[d] && !strcmp(line[c], line[d])) fprintf(f, ", %s", t->proof->classes[t->cls[d]].name), line[d] = NULL;
    if (verbose <= 0) {
      fprintf(f, " by %s\n", line[c]);
      continue;
    }
    fprintf(f, " by %s\n", way_text(a, &path[c]));
    for (uint32_t i = 0; i < path[c].n_steps; i++)
      fprintf(f, "            %-40s %s\n", path[c].steps[i].name, place_of(t->c, path[c].steps[i].span));
  }
}

static void print_row(const ProveTable *t, const ProveRow *r, FILE *f, int verbose) {
  OriginSet done = 0;
  bool any = false;
  fprintf(f, "  %s\n", r->name);
  for (uint32_t o = 0; o < t->n_origins; o++) {
    const char *names;
    if (done >> o & 1 || none_for_all_classes(t, r, o)) continue;
    const OriginSet alike = alike_origins(t, r, o, &names);
    done |= alike, any = true;
    fprintf(f, "    %-38s", names);
    for (uint32_t c = 0; c < t->n_cls; c++) fprintf(f, " %-16s", prove_hull_text(t->c->arena, prove_hull(t, r, c, o)));
    fprintf(f, "\n");
    for (uint32_t k = o; k < t->n_origins; k++)
      if (alike >> k & 1) print_paths(t, r, (OriginSet)1 << k, f, verbose);
  }
  const bool all = t->n_cls == t->proof->n_classes;
  if (!any) fprintf(f, "    none: %s\n", !r->updated ? "no step writes it" : all ? "no data change it" : "these data do not change it");
}

static void print_head(const ProveTable *t, const char *title, FILE *f) {
  fprintf(f, "%s\n    %-38s", title, "by origin; one that is not listed: none");
  for (uint32_t c = 0; c < t->n_cls; c++) fprintf(f, " %-16s", t->proof->classes[t->cls[c]].name);
  fprintf(f, "\n");
}

void prove_print_text(const ProveTable *t, FILE *f, int verbose) {
  uint32_t n = 0;
  while (n < t->n_rows && t->rows[n].region) n++;
  fprintf(f, "%s: which data may change which parameters in one step%s\n\n", t->proof->program->title,
          t->strictly ? ", clip scales and denominators counted" : "");
  if (n) print_head(t, "regions", f);
  for (uint32_t i = 0; i < n; i++) print_row(t, &t->rows[i], f, verbose);
  if (n && n < t->n_rows) fprintf(f, "\n");
  if (n < t->n_rows) print_head(t, "all parameters", f);
  for (uint32_t i = n; i < t->n_rows; i++) print_row(t, &t->rows[i], f, verbose);
}

/* ---- JSON ------------------------------------------------------------------------------------------------------------ */
static json_t *json_path(const ProveTable *t, const ProofPath *p) {
  json_t *steps = json_array();
  for (uint32_t i = 0; i < p->n_steps; i++)
    json_array_append_new(steps, json_pack("{s:s,s:s}", "name", p->steps[i].name, "at", place_of(t->c, p->steps[i].span)));
  return json_pack("{s:s,s:s?,s:s?,s:o}", "way", proof_way_text(p->way), "route", p->route, "place", p->place, "path", steps);
}

static json_t *json_entry(const ProveTable *t, const ProveRow *r, uint32_t c, uint32_t o) {
  const ProofHull h = prove_hull(t, r, c, o);
  const ProofClass *cls = &t->proof->classes[t->cls[c]];
  json_t *e = json_pack("{s:s,s:s,s:s}", "class", cls->name, "origin", t->proof->program->origins[o].name, "influence",
                        proof_is_none(h) ? "none" : proof_is_full(h) ? "full" : "scaled");
  if (proof_is_none(h)) return e;
  json_object_set_new(e, "lo", isfinite(h.lo) ? json_real(h.lo) : json_null());
  json_object_set_new(e, "hi", isfinite(h.hi) ? json_real(h.hi) : json_null());
  ProofPath path;
  if (proof_path(t->proof, r->pieces, r->n_pieces, cls->kinds, (OriginSet)1 << o, t->strictly, &path))
    json_object_update_new(e, json_path(t, &path));
  return e;
}

static void prove_print_json(const ProveTable *t, FILE *f) {
  json_t *regions = json_array(), *params = json_array(), *classes = json_array();
  for (uint32_t c = 0; c < t->n_cls; c++) json_array_append_new(classes, json_string(t->proof->classes[t->cls[c]].name));
  for (uint32_t i = 0; i < t->n_rows; i++) {
    const ProveRow *r = &t->rows[i];
    json_t *entries = json_array(), *row = json_pack("{s:s,s:b}", "name", r->name, "updated", (int)r->updated);
    for (uint32_t c = 0; c < t->n_cls; c++)
      for (uint32_t o = 0; o < t->n_origins; o++) json_array_append_new(entries, json_entry(t, r, c, o));
    if (!r->region) {
      json_t *parts = json_array();
      for (uint32_t k = 0; k < r->n_parts; k++) {
        const ProgParam *p = &t->proof->program->params[r->pieces[k].param];
        const char *cut = strchr(r->parts[k], '[');
        json_array_append_new(parts, json_pack("{s:s,s:s}", "parameter", p->path, "entries", cut ? cut : ""));
      }
      json_object_set_new(row, "parameters", parts);
    }
    json_object_set_new(row, "influences", entries);
    json_array_append_new(r->region ? regions : params, row);
  }
  json_t *all = json_pack("{s:s,s:b,s:o,s:o,s:o}", "program", t->proof->program->title, "strictly", (int)t->strictly, "classes", classes,
                          "regions", regions, "parameters", params);
  json_t *diags = t->c->json_text ? json_loads(t->c->json_text, 0, NULL) : NULL;
  if (diags) json_object_set_new(all, "diagnostics", diags);
  json_dumpf(all, f, JSON_INDENT(1));
  fputc('\n', f);
  json_decref(all);
}

/* ---- the command ------------------------------------------------------------------------------------------------------- */
static int check_names(const Compilation *c, const ProveTable *t) {
  const Options *o = c->o;
  const Program *p = c->program;
  const char **names = ARENA_NEWS(c->arena, const char *, t->proof->n_classes + p->n_regions + p->n_params + 1);
  uint32_t n = 0;
  if (o->grad.class && !t->n_cls) {
    for (uint32_t i = 0; i < t->proof->n_classes; i++) names[n++] = t->proof->classes[i].name;
    return driver_fail_near(o, RT_USAGE, o->grad.class, names, n, E0610, "class", o->grad.class);
  }
  if (o->region && !t->n_rows) {
    for (uint32_t i = 0; i < p->n_regions; i++) names[n++] = p->regions[i].name;
    for (uint32_t i = 0; i < p->n_params; i++) names[n++] = p->params[i].path;
    return driver_fail_near(o, RT_USAGE, o->region, names, n, E0610, "region or parameter", o->region);
  }
  return RT_OK;
}

static int write_svg(const ProveTable *t, const char *path) {
  FILE *f = fopen(path, "wb");
  if (f) prove_print_svg(t, f);
  const bool bad = !f || ferror(f);
  if ((f && fclose(f) != 0) || bad) return driver_fail(t->c->o, RT_RUN_FAILED, E0517, path, strerror(errno));
  return RT_OK;
}

int driver_command_prove(const Options *o) {
  Compilation c;
  bool stopped;
  Options asked = *o;
  asked.prove = true;
  driver_open(&c, &asked);
  int code = driver_compile(&c, o->argument, STAGE_PROVE, &stopped);
  if (code == RT_OK && !stopped) {
    if (!c.proof || c.proof->failure) {
      code = driver_fail(o, RT_DIAGNOSTICS, E0603, c.proof ? c.proof->failure : "the spec has no `train`", NULL);
    } else {
      const ProveTable *t = prove_table(&c, c.proof);
      code = check_names(&c, t);
      if (code == RT_OK && o->svg) code = write_svg(t, o->svg);
      if (code == RT_OK && o->rt.json) prove_print_json(t, stdout);
      else if (code == RT_OK && !o->rt.quiet) prove_print_text(t, stdout, o->rt.verbose);
    }
  }
  driver_close(&c);
  return code;
}
