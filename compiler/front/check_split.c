/* SPDX-License-Identifier: Apache-2.0
 * check_split.c -- places as written, and splits: named parts of one tensor, disjoint and covering. */
#include "model.h"
#include <stdlib.h>
#include <string.h>

/* ---- places ---- */
static bool pattern_index(Elab *e, const Ast *index, PathPart *out) {
  const Ast *sub = ast_kid(index, 1);
  out->name = NULL, out->lo = 0, out->hi = INT64_MAX;
  if (index->n_kids != 2) {
    err(e->m, E0311, index->span, ast_source_text(e->m, index), "one subscript names rounds of a repeat");
    return false;
  }
  if (ast_is(sub, AST_STAR)) return true;
  if (ast_is(sub, AST_RANGE)) {
    if (ast_kid(sub, 0) && !static_int(e, elab(e, e->model, sub->kids[0]), "a round", 0, 1 << 20, &out->lo))
      return false;
    if (ast_kid(sub, 1) && !static_int(e, elab(e, e->model, sub->kids[1]), "a round", 0, 1 << 20, &out->hi))
      return false;
    if (ast_kid(sub, 1) && !strcmp(sub->text, "..=")) out->hi++;
    return true;
  }
  if (!static_int(e, elab(e, e->model, sub), "a round", 0, 1 << 20, &out->lo)) return false;
  out->hi = out->lo + 1;
  return true;
}

bool path_pattern(Elab *e, const Ast *place, PathPat *out) {
  Model *m = e->m;
  uint32_t n = 0;
  for (const Ast *a = place; a; a = a->kind == AST_NAME ? NULL : a->kids[0]) {
    if (a->kind != AST_NAME && a->kind != AST_MEMBER && a->kind != AST_INDEX) {
      err(m, E0311, place->span, ast_source_text(m, place),
          "a place is a path such as `z`, `encoder.fc1.out` or `blocks[*].h`");
      return false;
    }
    n++;
  }
  out->v = ARENA_NEWS(m->a, PathPart, n);
  out->n = n, out->span = place->span, out->text = ast_source_text(m, place);
  for (const Ast *a = place; a; a = a->kind == AST_NAME ? NULL : a->kids[0]) {
    n--;
    if (a->kind == AST_INDEX) {
      if (!pattern_index(e, a, &out->v[n])) return false;
    } else out->v[n].name = a->text;
  }
  return true;
}

static bool match_from(const PathPat *pat, uint32_t i, const char *path, bool inside) {
  for (; i < pat->n; i++) {
    size_t len = strcspn(path, ".");
    const PathPart *p = &pat->v[i];
    if (!len) return false;
    if (p->name) {
      if (strlen(p->name) != len || memcmp(p->name, path, len) != 0) return false;
    } else {
      char *end;
      long long k = strtoll(path, &end, 10);
      if (end != path + len || k < p->lo || k >= p->hi) return false;
    }
    path += len;
    if (i + 1 < pat->n) {
      if (*path != '.') return false;
      path++;
    }
  }
  return !*path || (inside && *path == '.');
}

bool path_is_under(const PathPat *pat, const char *path) { return pat->n && match_from(pat, 0, path, true); }

bool path_matches(Elab *e, const PathPat *pat, const char *path) {
  if (!pat->n) return false;
  if (match_from(pat, 0, path, false)) return true;
  if (pat->n < 2 || !pat->v[0].name) return false;
  const Entry *n = strmap_get(&e->model->entries,
                              pat->v[0].name); /* the inside of a call by the name that it is bound to */
  if (!n || n->kind != ENTRY_BIND || !n->scope) return false;
  size_t skip = strlen(n->scope->vpath);
  return !strncmp(path, n->scope->vpath, skip) && match_from(pat, 1, path + skip, false);
}

size_t path_alias(Elab *e, const PathPat *pat, const char *path) {
  if (match_from(pat, 0, path, false)) return 0;
  const Entry *n = strmap_get(&e->model->entries, pat->v[0].name);
  return strlen(n->scope->vpath);
}

/* ---- declarations of splits ---- */
void check_splits(Model *m) {
  m->n_split = m->splits.n;
  m->split = ARENA_NEWS(m->a, Split, m->n_split + 1);
  Elab *e = elab_create(m, "splits", false, NO_DATA);
  StrMap places = {0};
  for (uint32_t i = 0; i < m->n_split; i++) {
    Split *s = &m->split[i];
    s->decl = m->splits.v[i];
    const Ast *block = ast_kid(s->decl->ast, 1);
    s->place_ok = path_pattern(e, s->decl->ast->kids[0], &s->place);
    const Split *twin = strmap_get(&places, s->decl->name);
    if (twin) {
      Diag *g = err(m, E0203, s->place.span, s->decl->name);
      diag_also(m->diags, g, twin->place.span, "already split here");
      s->bad = true;
    } else if (s->place_ok) strmap_put(m->a, &places, s->decl->name, s);
    s->parts = ARENA_NEWS(m->a, SplitPart, block ? block->n_kids + 1 : 1);
    StrMap seen = {0};
    for (uint32_t k = 0; block && k < block->n_kids; k++) {
      const Ast *set = block->kids[k];
      if (!ast_is(set, AST_SETTING) || !ast_kid(set, 0) || ast_is(set->kids[0], AST_BLOCK)) {
        err(m, E0311, set->span, ast_source_text(m, set), "a part is written `name = units`");
        s->bad = true;
        continue;
      }
      if (name_is_word(m, set->name_span, set->text, "a part of a split", (const char *[]){"all", "none"}, 2)) {
        s->bad = true;
        continue;
      }
      const SplitPart *before = strmap_get(&seen, set->text);
      if (before) {
        Diag *g = err(m, E0203, set->name_span, set->text);
        diag_also(m->diags, g, before->span, "already a part here");
        s->bad = true;
        continue;
      }
      SplitPart *p = &s->parts[s->n_parts++];
      *p = (SplitPart){.name = set->text, .ast = set->kids[0], .span = set->kids[0]->span};
      strmap_put(m->a, &seen, set->text, p);
    }
    if (!s->n_parts && !s->bad)
      err(m, E0315, s->decl->ast->span, arena_printf(m->a, "the split of `%s`", s->decl->name)),
          s->bad = true;
  }
}

static bool split_at(Elab *e, Split *s, const Place *p) {
  for (; p; p = p->under)
    if (s->place_ok && path_matches(e, &s->place, p->path)) {
      s->matched = true;
      return true;
    }
  return false;
}

Split *split_of_place(Elab *e, const Place *p) {
  for (uint32_t i = 0; i < e->m->n_split; i++)
    if (split_at(e, &e->m->split[i], p)) return &e->m->split[i];
  return NULL;
}

Split *split_with_part(Elab *e, const Place *p, const char *part) {
  for (uint32_t i = 0; i < e->m->n_split; i++) {
    Split *s = &e->m->split[i];
    for (uint32_t k = 0; k < s->n_parts; k++)
      if (!strcmp(s->parts[k].name, part) && split_at(e, s, p)) return s;
  }
  return NULL;
}

/* ---- units ---- */
#define MAX_UNITS ((int64_t)1 << 24)
typedef struct Units {
  int32_t *owner; /* part number + 1 */
  int64_t extent;
} Units;

static const char *units_text(Model *m, const SplitPart *p) {
  bool run = true;
  for (int64_t i = 1; i < p->n; i++) run = run && p->units[i] == p->units[i - 1] + 1;
  if (p->n == 1) return arena_printf(m->a, "unit %lld", (long long)p->units[0]);
  if (run)
    return arena_printf(m->a, "units %lld to %lld", (long long)p->units[0], (long long)p->units[p->n - 1]);
  return arena_printf(m->a, "%lld units", (long long)p->n);
}

static void overlap(Elab *e, Split *s, SplitPart *p, const SplitPart *other, int64_t unit, Span at) {
  Model *m = e->m;
  Diag *g = err(m, E0312, at, s->decl->name);
  if (p == other) {
    diag_label(m->diags, g, "unit %lld is twice in `%s`", (long long)unit, p->name);
    return;
  }
  diag_label(m->diags, g, "unit %lld is already in `%s`", (long long)unit, other->name);
  diag_also(m->diags, g, other->span, "`%s` takes %s", other->name, units_text(m, other));
  int64_t next = other->n ? other->units[other->n - 1] + 1 : 0;
  const Ast *r = p->ast;
  if (ast_is(r, AST_RANGE) && ast_kid(r, 0) && ast_kid(r, 1) && other->n && other->units[0] <= unit) {
    const char *hi = ast_source_text(m, r->kids[1]);
    diag_help(m->diags, g, "write `%s = %lld %s %s`", p->name, (long long)next, r->text, hi);
    diag_fix(m->diags, g, r->kids[0]->span, "%lld", (long long)next);
  }
}

static bool add_unit(Elab *e, Split *s, SplitPart *p, Units *u, int64_t unit, Span at) {
  int32_t self = (int32_t)(p - s->parts) + 1;
  if (unit < 0 || unit >= u->extent) {
    Diag *g = err(e->m, E0314, at, (long long)unit, s->decl->name, (long long)u->extent);
    diag_label(e->m->diags, g, "units are 0 to %lld", (long long)u->extent - 1);
    return false;
  }
  if (u->owner[unit]) {
    overlap(e, s, p, &s->parts[u->owner[unit] - 1], unit, at);
    return false;
  }
  u->owner[unit] = self;
  p->units[p->n++] = unit;
  return true;
}

static bool bound(Elab *e, const Ast *a, int64_t extent, int64_t *out) {
  bool neg = ast_is(a, AST_UNARY) && !strcmp(a->text, "-");
  if (!static_int(e, elab(e, e->model, neg ? a->kids[0] : a), "a unit", 0, MAX_ELEMENTS, out)) return false;
  if (neg) *out = extent - *out;
  return true;
}

static bool no_units(Elab *e, const SplitPart *p, const Ast *a) {
  err(e->m, E0315, a->span, arena_printf(e->m->a, "part `%s`", p->name));
  return false;
}

static bool add_units(Elab *e, Split *s, SplitPart *p, Units *u, const Ast *a) {
  Model *m = e->m;
  if (ast_is(a, AST_BINARY) && !strcmp(a->text, "+"))
    return add_units(e, s, p, u, a->kids[0]) && add_units(e, s, p, u, a->kids[1]);
  if (ast_is(a, AST_LIST)) {
    if (!a->n_kids) return no_units(e, p, a);
    for (uint32_t i = 0; i < a->n_kids; i++) {
      const Ast *k = a->kids[i];
      int64_t unit = 0;
      if (ast_is(k, AST_RANGE)) {
        if (!add_units(e, s, p, u, k)) return false;
      } else if (!bound(e, k, u->extent, &unit) || !add_unit(e, s, p, u, unit, k->span)) return false;
    }
    return true;
  }
  if (!ast_is(a, AST_RANGE)) {
    int64_t unit = 0;
    const Val *list = ast_is(a, AST_NAME) ? elab(e, e->model, a) : NULL; /* a param that is a list */
    if (list && list->kind == VAL_LIST) {
      if (!list->n_items) return no_units(e, p, a);
      for (uint32_t i = 0; i < list->n_items; i++)
        if (!static_int(e, val_at(e, list->items[i], a->span), "a unit", 0, MAX_ELEMENTS, &unit) ||
            !add_unit(e, s, p, u, unit, a->span))
          return false;
      return true;
    }
    return bound(e, a, u->extent, &unit) && add_unit(e, s, p, u, unit, a->span);
  }
  int64_t lo = 0, hi = u->extent;
  if (ast_kid(a, 0) && !bound(e, a->kids[0], u->extent, &lo)) return false;
  if (ast_kid(a, 1) && !bound(e, a->kids[1], u->extent, &hi)) return false;
  if (ast_kid(a, 1) && !strcmp(a->text, "..=")) hi++;
  if (lo >= hi) return no_units(e, p, a);
  if (hi > u->extent) {
    Diag *g = err(m, E0314, a->span, (long long)hi - 1, s->decl->name, (long long)u->extent);
    diag_label(m->diags, g, "units are 0 to %lld", (long long)u->extent - 1);
    return false;
  }
  for (int64_t i = lo; i < hi; i++)
    if (!add_unit(e, s, p, u, i, a->span)) return false;
  return true;
}

static void not_covering(Elab *e, Split *s, const Units *u) {
  Model *m = e->m;
  int64_t free = 0, first = -1;
  for (int64_t i = 0; i < u->extent; i++)
    if (!u->owner[i]) free++, first = first < 0 ? i : first;
  Diag *g = err(m, E0313, s->place.span, s->decl->name);
  diag_label(m->diags, g, "%lld of %lld units are in no part, the first is %lld", (long long)free,
             (long long)u->extent, (long long)first);
  const Ast *block = ast_kid(s->decl->ast, 1);
  diag_help(m->diags, g, "name them: `others = rest`");
  Span end = {block->span.file, block->span.end - 1, block->span.end - 1};
  diag_fix(m->diags, g, end, "; others = rest ");
}

static bool compute_units(Elab *e, Split *s, int64_t extent) {
  Model *m = e->m;
  Units u = {ARENA_NEWS(m->a, int32_t, extent), extent};
  SplitPart *rest = NULL;
  int64_t taken = 0;
  for (uint32_t i = 0; i < s->n_parts; i++) {
    SplitPart *p = &s->parts[i];
    p->n = 0;
    if (ast_is_name(p->ast, "rest")) {
      if (rest) {
        Diag *g = err(m, E0316, p->span, s->decl->name);
        diag_also(m->diags, g, rest->span, "this part takes the rest already");
        return false;
      }
      rest = p;
      continue;
    }
    p->units = ARENA_NEWS(m->a, int64_t, extent);
    if (!add_units(e, s, p, &u, p->ast)) return false;
    taken += p->n;
  }
  if (!rest && taken < extent) {
    not_covering(e, s, &u);
    return false;
  }
  if (!rest) return true;
  rest->units = ARENA_NEWS(m->a, int64_t, extent - taken + 1);
  for (int64_t i = 0; i < extent; i++)
    if (!u.owner[i]) rest->units[rest->n++] = i;
  if (rest->n) return true;
  err(m, E0315, rest->span, arena_printf(m->a, "part `%s`", rest->name));
  return false;
}

int unit_axis(Elab *e, const PathPat *place, const Val *v) {
  static const char *const units[] = {"units", "heads", "channels"};
  const Shape *s = val_shape(e, v);
  const bool rows = val_has_rows(e, v);
  const char *last = place->n ? place->v[place->n - 1].name : NULL;
  for (int i = 0; i < s->rank && last; i++)
    if (v->axis[i] && !strcmp(v->axis[i], last)) return i;
  for (size_t k = 0; k < sizeof units / sizeof *units; k++)
    for (int i = 0; i < s->rank; i++)
      if (v->axis[i] && !strcmp(v->axis[i], units[k])) return i;
  if (s->rank - rows < 1) return -1;
  return rows && s->rank == 4 && !v->axis[1] ? 1 : s->rank - 1; /* feature maps [channels, height, width]: channels */
}

bool units_listed(Elab *e, Decl *decl, const Ast *a, int64_t extent, SplitPart *out) {
  if (extent > MAX_UNITS) {
    err(e->m, E0308, a->span, decl->name, arena_printf(e->m->a, "%lld units", (long long)extent));
    return false;
  }
  Split s = {.decl = decl, .parts = out, .n_parts = 1};
  *out = (SplitPart){.name = decl->name, .ast = a, .span = a->span, .units = ARENA_NEWS(e->m->a, int64_t, extent)};
  Units u = {ARENA_NEWS(e->m->a, int32_t, extent), extent};
  return add_units(e, &s, out, &u, a);
}

bool split_resolve(Elab *e, Split *s, const Val *v) {
  Model *m = e->m;
  const Shape *shape = val_shape(e, v);
  int rows = val_has_rows(e, v);
  if (s->bad) return false;
  if (shape->rank - rows < 1) {
    err(m, E0311, s->place.span, s->decl->name, "it has no axis of units");
    s->bad = true;
    return false;
  }
  s->axis = unit_axis(e, &s->place, v);
  int64_t extent = shape->d[s->axis];
  if (extent == s->extent) return true;
  if (extent > MAX_UNITS) {
    err(m, E0308, s->place.span, s->decl->name, shape_dims_text(e, shape));
    s->bad = true;
    return false;
  }
  s->extent = extent;
  if (compute_units(e, s, extent)) return true;
  s->bad = true;
  return false;
}

Val *split_part_value(Elab *e, Split *s, const SplitPart *part, Val *v, Span span) {
  if (val_dtype(e, v) == DT_F64) return val_poison(e, span);
  Val *out = select_units(e, span, v, s->axis, part->units, part->n);
  if (!e->g->v[out->id].name)
    e->g->v[out->id].name = arena_printf(e->m->a, "%s.%s", s->decl->name, part->name);
  Place *p = ARENA_NEW(e->m->a, Place);
  p->path = arena_printf(e->m->a, "%s.%s", s->decl->name, part->name), p->value = out->id,
  p->span = part->span;
  out->place = p;
  return out;
}
