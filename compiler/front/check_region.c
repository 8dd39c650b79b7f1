/* SPDX-License-Identifier: Apache-2.0
 * check_region.c -- regions: named sets of parameter entries. Every part of every split is three regions (all
 * that its units own, .made_by, .read_by); `region` declares more, and whoever names a region by its path
 * makes it. */
#include "model.h"
#include "own.h"
#include <string.h>

typedef struct Pieces {
  RegionPiece *v;
  uint32_t n;
} Pieces;

static void add_piece(Elab *e, Pieces *to, RegionPiece p) {
  for (uint32_t i = 0; i < to->n; i++) {
    const RegionPiece *q = &to->v[i];
    if (q->param == p.param && q->axis == p.axis && q->kind == p.kind && q->n == p.n &&
        (!p.n || !memcmp(q->index, p.index, (size_t)p.n * sizeof *p.index)))
      return;
  }
  *PUSH(e->m->a, to->v, to->n) = p;
}

static uint32_t add_region(Elab *e, const char *name, const Pieces *from, int kind, Span span) {
  Program *p = e->m->p;
  Pieces own = {0};
  for (uint32_t i = 0; i < from->n; i++)
    if (kind < 0 || (int)from->v[i].kind == kind) add_piece(e, &own, from->v[i]);
  *PUSH(e->m->a, p->regions, p->n_regions) =
      (ProgRegion){.name = name, .pieces = own.v, .n_pieces = own.n, .policy = -1, .decay = -1, .span = span};
  return p->n_regions - 1;
}

/* UINT32_MAX: none of that name. */
static uint32_t region_find(const Elab *e, const char *name) {
  const Program *p = e->m->p;
  for (uint32_t i = 0; i < p->n_regions; i++)
    if (!strcmp(p->regions[i].name, name)) return i;
  return UINT32_MAX;
}

/* ---- what units own ---- */
/* The pieces of label `part` in what a trace found. */
static void pieces_of(Elab *e, const Owned *owned, int32_t part, Pieces *out) {
  for (uint32_t i = 0; i < owned->n; i++) {
    const OwnPiece *o = &owned->pieces[i];
    RegionPiece p = {.param = o->param, .axis = o->axis, .kind = o->made ? PIECE_MADE_BY : PIECE_READ_BY};
    if (o->tangled) continue;
    if (o->axis < 0) {
      if (o->label[0] == part) add_piece(e, out, p);
      continue;
    }
    const int64_t extent = e->m->p->params[o->param].shape.d[o->axis];
    int64_t *index = ARENA_NEWS(e->m->a, int64_t, extent);
    for (int64_t k = 0; k < extent; k++)
      if (o->label[k] == part) index[p.n++] = k;
    p.index = index;
    if (p.n) add_piece(e, out, p);
  }
}

static const char *tangled_in(const Elab *e, const Owned *owned) {
  for (uint32_t i = 0; i < owned->n; i++)
    if (owned->pieces[i].tangled) return e->m->p->params[owned->pieces[i].param].path;
  return NULL;
}

static void regions_of_split(Elab *e, Split *s) {
  Model *m = e->m;
  Pieces *of = ARENA_NEWS(m->a, Pieces, s->n_parts + 1);
  s->tangled = NULL;
  for (uint32_t i = 0; i < e->n_places; i++) {
    const Place *p = e->places[i];
    if (!path_matches(e, &s->place, p->path) || !split_resolve(e, s, p->val)) continue;
    int32_t *label = ARENA_NEWS(m->a, int32_t, s->extent);
    for (uint32_t k = 0; k < s->n_parts; k++)
      for (int64_t u = 0; u < s->parts[k].n; u++) label[s->parts[k].units[u]] = (int32_t)k;
    const UnitMap map = units_along(m->a, s->axis, label, s->extent);
    const Owned owned = own_trace(e->owner, p->value, &map);
    if (!s->tangled) s->tangled = tangled_in(e, &owned);
    for (uint32_t k = 0; k < s->n_parts; k++) pieces_of(e, &owned, (int32_t)k, &of[k]);
  }
  s->region = m->p->n_regions;
  for (uint32_t k = 0; k < s->n_parts; k++) {
    const char *name = arena_printf(m->a, "%s.%s", s->decl->name, s->parts[k].name);
    add_region(e, name, &of[k], -1, s->parts[k].span);
    add_region(e, arena_printf(m->a, "%s.made_by", name), &of[k], PIECE_MADE_BY, s->parts[k].span);
    add_region(e, arena_printf(m->a, "%s.read_by", name), &of[k], PIECE_READ_BY, s->parts[k].span);
  }
}

static void region_of_gate(Elab *e, uint32_t gate) {
  bool *params = ARENA_NEWS(e->m->a, bool, e->m->p->n_params + 1);
  Pieces of = {0};
  gate_region(e, gate, params);
  for (uint32_t i = 0; i < e->m->p->n_params; i++)
    if (params[i]) add_piece(e, &of, (RegionPiece){.param = i, .axis = -1, .kind = PIECE_NAMED});
  if (of.n) add_region(e, e->m->gates.v[gate]->name, &of, -1, e->m->gates.v[gate]->ast->span);
}

/* ---- region expressions ---- */
static bool collect(Elab *e, const Ast *a, int kind, Pieces *out);

static void no_region(Elab *e, const Ast *a) {
  Model *m = e->m;
  const Program *p = m->p;
  if (e->broken) return;
  const char **names = ARENA_NEWS(m->a, const char *, p->n_regions + 2 * p->n_params + m->regions.n + 1);
  uint32_t n = 0;
  StrMap seen = {0};
  for (uint32_t i = 0; i < m->regions.n; i++) names[n++] = m->regions.v[i]->name;
  for (uint32_t i = 0; i < p->n_regions; i++)
    if (!p->regions[i].declared) names[n++] = p->regions[i].name;
  for (uint32_t i = 0; i < p->n_params; i++) {
    const char *path = p->params[i].path, *dot = strrchr(path, '.');
    const char *layer = dot ? arena_strndup(m->a, path, (size_t)(dot - path)) : NULL;
    if (layer && !strmap_get(&seen, layer)) strmap_put(m->a, &seen, names[n++] = layer, m);
    names[n++] = path;
  }
  const char *text = ast_source_text(m, a);
  diag_choices(m, err(m, E0339, a->span, text), text, names, n);
}

/* Units of a value: `h[-64 ..]`, `q[heads = 0]`; without a subscript all of them. */
static bool units_of_place(Elab *e, const PathPat *pat, const Ast *sub, const Ast *whole, int kind,
                           Pieces *out) {
  Model *m = e->m;
  const bool named = ast_is(sub, AST_ARG);
  Decl decl = {.name = ast_source_text(m, whole)};
  bool ok = true;
  for (uint32_t i = 0; i < e->n_places && ok; i++) {
    const Place *p = e->places[i];
    if (!path_matches(e, pat, p->path)) continue;
    const Ast word = {
        .kind = AST_NAME, .text = sub ? sub->text : NULL, .span = whole->span, .name_span = whole->span};
    const int axis = named ? find_axis(e, p->val, &word, "the units of a region") : unit_axis(e, pat, p->val);
    const Shape *s = val_shape(e, p->val);
    if (axis < 0 || s->d[axis] == DIM_ROWS) {
      if (!named || axis >= 0) err(m, E0342, whole->span, decl.name, "the value has no axis of units");
      return false;
    }
    SplitPart part;
    const Ast all = {
        .kind = AST_RANGE, .text = "..", .span = whole->span, .kids = (Ast *[]){NULL, NULL}, .n_kids = 2};
    const Ast *list = named ? sub->kids[0] : sub ? sub : &all;
    if (!units_listed(e, &decl, ast_is(list, AST_STAR) ? &all : list, s->d[axis], &part)) return false;
    int32_t *label = ARENA_NEWS(m->a, int32_t, s->d[axis]);
    for (int64_t u = 0; u < s->d[axis]; u++) label[u] = 1; /* other units: what they share is not owned */
    for (int64_t u = 0; u < part.n; u++) label[part.units[u]] = 0;
    const UnitMap map = units_along(m->a, axis, label, s->d[axis]);
    const Owned owned = own_trace(e->owner, p->value, &map);
    const char *tangled = tangled_in(e, &owned);
    if (tangled) err(m, E0340, whole->span, decl.name, tangled), ok = false;
    Pieces got = {0};
    pieces_of(e, &owned, 0, &got);
    for (uint32_t k = 0; k < got.n; k++)
      if (kind < 0 || (int)got.v[k].kind == kind) add_piece(e, out, got.v[k]);
  }
  return ok;
}

static bool copy_region(Elab *e, const Ast *a, uint32_t region, int kind, Pieces *out) {
  const ProgRegion *r = &e->m->p->regions[region];
  for (uint32_t i = 0; i < r->n_pieces; i++) {
    if (kind >= 0 && r->pieces[i].kind == PIECE_NAMED) {
      Diag *g = err(e->m, E0342, a->span, r->name,
                    "`.made_by` and `.read_by` are of units, and it holds whole parameters");
      diag_note(e->m->diags, g, "`%s` is one of them", e->m->p->params[r->pieces[i].param].path);
      return false;
    }
    if (kind < 0 || (int)r->pieces[i].kind == kind) add_piece(e, out, r->pieces[i]);
  }
  return true;
}

static bool places_match(Elab *e, const PathPat *pat) {
  for (uint32_t i = 0; i < e->n_places; i++)
    if (path_matches(e, pat, e->places[i]->path)) return true;
  return false;
}

/* A module, layer or parameter, else a value, by its path. */
static bool collect_path(Elab *e, const Ast *a, int kind, Pieces *out) {
  Model *m = e->m;
  PathPat pat;
  if (!path_pattern(e, a, &pat)) return false;
  uint32_t found = 0;
  for (uint32_t i = 0; i < m->p->n_params; i++) {
    if (!path_is_under(&pat, m->p->params[i].path)) continue;
    found++;
    if (kind < 0) add_piece(e, out, (RegionPiece){.param = i, .axis = -1, .kind = PIECE_NAMED});
  }
  if (found && kind < 0) return true;
  if (places_match(e, &pat)) return units_of_place(e, &pat, NULL, a, kind, out);
  if (!found) no_region(e, a);
  else
    err(m, E0342, a->span, pat.text, "`.made_by` and `.read_by` are of units, and it holds whole parameters");
  return false;
}

static Split *split_of_region(Elab *e, uint32_t region) {
  for (uint32_t i = 0; i < e->m->n_split; i++) {
    Split *s = &e->m->split[i];
    if (region >= s->region && region < s->region + 3 * s->n_parts) return s;
  }
  return NULL;
}

static uint32_t declared_region(Elab *e, Decl *d, Span use);

static bool collect(Elab *e, const Ast *a, int kind, Pieces *out) {
  Model *m = e->m;
  if (ast_is(a, AST_BINARY) && !strcmp(a->text, "+"))
    return collect(e, a->kids[0], kind, out) && collect(e, a->kids[1], kind, out);
  if (ast_is(a, AST_MEMBER) && kind < 0 && (!strcmp(a->text, "made_by") || !strcmp(a->text, "read_by")))
    return collect(e, a->kids[0], a->text[0] == 'm' ? PIECE_MADE_BY : PIECE_READ_BY, out);
  if (ast_is(a, AST_NAME)) {
    Decl *d = strmap_get(&m->root->names, a->text);
    if (d && d->kind == DECL_REGION) {
      const uint32_t r = declared_region(e, d, a->span);
      return r != UINT32_MAX && copy_region(e, a, r, kind, out);
    }
  }
  const uint32_t known = region_find(e, ast_source_text(m, a));
  if (known != UINT32_MAX && !m->p->regions[known].declared) {
    Split *s = split_of_region(e, known);
    if (s) s->decl->used = true;
    if (s && s->tangled) return err(m, E0340, a->span, s->decl->name, s->tangled), false;
    return copy_region(e, a, known, kind, out);
  }
  PathPat pat;
  if (ast_is(a, AST_INDEX) && a->n_kids == 2 && path_pattern(e, a->kids[0], &pat) && places_match(e, &pat))
    return units_of_place(e, &pat, a->kids[1], a, kind, out);
  if (ast_is(a, AST_NAME) || ast_is(a, AST_MEMBER) || ast_is(a, AST_INDEX))
    return collect_path(e, a, kind, out);
  no_region(e, a);
  return false;
}

uint32_t region_resolve(Elab *e, const Ast *expr) {
  Model *m = e->m;
  const char *name = ast_source_text(m, expr);
  Decl *d = ast_is(expr, AST_NAME) ? strmap_get(&m->root->names, expr->text) : NULL;
  if (d && d->kind == DECL_REGION) return declared_region(e, d, expr->span);
  Pieces p = {0};
  if (!collect(e, expr, -1, &p)) return UINT32_MAX;
  const uint32_t known = region_find(e, name);
  return known != UINT32_MAX ? known : add_region(e, name, &p, -1, expr->span);
}

/* ---- declared regions ---- */
static bool region_settings(Elab *e, ProgRegion *r, const Ast *block) {
  static const char *const keys[] = {"masked", "decay", "clip", "joint"}, *const policies[] = {"freeze",
                                                                                               "zero_grad",
                                                                                               "mask_update"};
  Model *m = e->m;
  bool ok = block_check_keys(m, block, "a region", keys, 4);
  const Ast *masked = block_setting(block, "masked"), *decay = block_setting(block, "decay"),
            *clip = block_setting(block, "clip");
  for (int k = 0; masked && k < 3; k++)
    if (ast_is_name(ast_kid(masked, 0), policies[k])) r->policy = k;
  if (masked && r->policy < 0) {
    const char *text = ast_kid(masked, 0) ? ast_source_text(m, masked->kids[0]) : "";
    diag_choices(m, err(m, E0201, masked->span, "policy", text), text, policies, 3);
    ok = false;
  }
  if (decay) {
    const bool yes = ast_is_name(ast_kid(decay, 0), "true");
    if (!yes && !ast_is_name(ast_kid(decay, 0), "false"))
      err(m, E0406, decay->span, "`decay` of a region", "`true` or `false`"), ok = false;
    r->decay = yes;
  }
  if (clip) {
    Val *v = ast_kid(clip, 0) && !ast_is(clip->kids[0], AST_BLOCK) ? elab(e, e->model, clip->kids[0]) : NULL;
    if (!v) err(m, E0406, clip->span, "`clip`", "a value");
    if (v && v->kind == VAL_NUM && !(v->num > 0))
      err(m, E0336, v->span, "`clip`", number_text(m->a, v->num), "above 0", "infinity"), v = NULL;
    r->clip = v ? as_f64_scalar(e, v, "`clip`") : 0;
    ok = ok && r->clip;
  }
  r->joint = block_setting(block, "joint") != NULL;
  return ok;
}

static uint32_t declared_region(Elab *e, Decl *d, Span use) {
  Model *m = e->m;
  d->used = true;
  if (d->busy) {
    Diag *g = err(m, E0204, use, d->name);
    diag_also(m->diags, g, d->ast->name_span, "`%s` is declared here", d->name);
    return UINT32_MAX;
  }
  for (uint32_t i = 0; i < m->p->n_regions; i++)
    if (m->p->regions[i].declared && !strcmp(m->p->regions[i].name, d->name)) return i;
  d->busy = true;
  Pieces p = {0};
  const bool ok = collect(e, d->ast->kids[0], -1, &p);
  d->busy = false;
  if (!ok) return UINT32_MAX;
  if (!p.n) return err(m, E0342, d->ast->kids[0]->span, d->name, "it holds no parameters"), UINT32_MAX;
  const uint32_t index = add_region(e, d->name, &p, -1, d->ast->span);
  ProgRegion r = m->p->regions[index];
  r.declared = true;
  region_settings(e, &r, ast_kid(d->ast, 1)); /* makes values, not regions */
  m->p->regions[index] = r;
  return index;
}

void check_regions(Elab *e) {
  Model *m = e->m;
  e->owner = own_create(e->g, m->a);
  for (uint32_t i = 0; i < m->n_split; i++) {
    m->split[i].region = m->p->n_regions;
    if (m->split[i].place_ok && !m->split[i].bad) regions_of_split(e, &m->split[i]);
  }
  for (uint32_t i = 0; i < m->gates.n; i++) region_of_gate(e, i);
  for (uint32_t i = 0; i < m->regions.n; i++) {
    Decl *d = m->regions.v[i];
    const bool used = d->used;
    name_is_word(m, d->ast->name_span, d->name, "a region", (const char *[]){"all", "none", "shared"}, 3);
    declared_region(e, d, d->ast->name_span);
    d->used = used;
  }
}
