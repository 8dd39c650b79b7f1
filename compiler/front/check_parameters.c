/* SPDX-License-Identifier: Apache-2.0
 * check_parameters.c -- routes of parameters: which they cover, whose each entry is, and the factors of each
 * use. */
#include "model.h"
#include "own.h"
#include "ops.h"
#include <string.h>

/* What a table's columns are about: regions, `shared` for what is left, and the joint regions, which no arm
 * names. */
typedef struct Part {
  const char *name;
  uint32_t *regions, n_regions; /* in Program.regions */
  bool owns;
} Part;

typedef struct Table {
  RouteDecl *r;
  bool *covers; /* [parameter] */
  Part *part;
  uint32_t n;             /* with `shared` and, last, the joint one */
  uint32_t shared, joint; /* indices in part; joint is n if there is none */
  int cross;              /* -1: an error, -2: row, -3: column, else a part */
} Table;

/* ---- uses ---- */
ValueId param_tap(Elab *e, uint32_t param, ValueId v, Span span) {
  Program *p = e->m->p;
  const ValueId id = ir_make(e->g, OP_TAP, span, &v, 1, (int64_t[]){p->n_taps}, 1, 0, NULL, DT_NONE);
  e->g->v[id].name = p->params[param].path;
  *PUSH(e->m->a, p->taps, p->n_taps) = (ProgTap){p->params[param].path, id, param + 1, span};
  return id;
}

Val *param_read_again(Elab *e, Val *v, Span span) {
  if (!e->training || !e->m->param_routes || v->kind != VAL_TENSOR || e->g->v[v->id].op != OP_TAP) return v;
  const uint32_t param = e->m->p->taps[e->g->v[v->id].ints[0]].param;
  if (!param) return v;
  Val *again = val_at(e, v, v->span);
  again->id = param_tap(e, param - 1, e->g->v[v->id].args[0], span);
  return again;
}

/* The datum axes of the operation where value v, which has none, meets the data in argument `arg` of u; rank
 * 0: it does not meet them there; -1: in a way that no factor on each datum can be put into. */
static Shape met_axes(const Graph *g, ValueId u, uint32_t arg) {
  const Value *val = &g->v[u];
  Shape s = {.rank = 0};
  if (val->op == OP_BCAST) {
    for (int i = 0; i < val->shape.rank; i++)
      if (val->ints[i] < 0) s.d[s.rank++] = val->shape.d[i];
  } else if (val->op == OP_DOT) {
    const DotInts d = ir_dot_ints(val);
    const Shape *x = &g->v[val->args[1 - arg]].shape;
    int64_t axes[IR_MAX_RANK];
    const int n =
        ir_free_axes(x->rank, arg ? d.batch_a : d.batch_b, d.nb, arg ? d.con_a : d.con_b, d.nc, axes);
    for (int i = 0; i < n; i++) s.d[s.rank++] = x->d[axes[i]];
  } else if (val->op == OP_GATHER && arg == 0) s = g->v[val->args[1]].shape;
  bool rows = false, met = false;
  for (int i = 0; i < s.rank; i++) rows |= s.d[i] == DIM_ROWS;
  for (int i = 0; i < val->shape.rank; i++) met |= val->shape.d[i] == DIM_ROWS;
  if (!met) s.rank = 0;
  else if (!rows || s.d[0] != DIM_ROWS) s.rank = -1;
  return s;
}

/* Where the tap first meets the data, over all ways; rank as in met_axes, -1 too if the ways differ. */
static Shape use_axes(Elab *e, ValueId tap) {
  const Graph *g = e->g;
  Shape found = {.rank = 0};
  ValueId *todo = NULL;
  uint32_t n = 0;
  uint8_t *seen = ARENA_NEWS(e->m->a, uint8_t, g->n - tap);
  *PUSH(e->m->a, todo, n) = tap;
  for (uint32_t at = 0; at < n; at++) {
    uint32_t n_users;
    const uint32_t *users = own_users(e->owner, todo[at], &n_users);
    for (uint32_t k = 0; k < n_users; k++) {
      const ValueId u = users[k];
      for (uint32_t i = 0; i < g->v[u].n_args; i++) {
        if (g->v[u].args[i] != todo[at] || g->v[u].op == OP_STOP ||
            (g->v[u].dtype != DT_F32 && g->v[u].dtype != DT_F64))
          continue;
        const Shape s = met_axes(g, u, i);
        if (s.rank < 0 || (s.rank && found.rank && !shape_equal(&s, &found))) return (Shape){.rank = -1};
        if (s.rank) found = s;
        else if (!seen[u - tap]) seen[u - tap] = 1, *PUSH(e->m->a, todo, n) = u;
      }
    }
  }
  return found;
}

/* ---- what a route covers ---- */
static void cover_layer(Elab *e, Table *t, uint32_t param) {
  const Program *p = e->m->p;
  const char *path = p->params[param].path, *dot = strrchr(path, '.');
  const size_t n = dot ? (size_t)(dot - path) + 1 : strlen(path) + 1;
  for (uint32_t i = 0; i < p->n_params; i++)
    if (!strncmp(p->params[i].path, path, n)) t->covers[i] = true;
}

static void add_part(Elab *e, Table *t, const char *name, uint32_t region) {
  Part p = {.name = name};
  if (region != UINT32_MAX) *PUSH(e->m->a, p.regions, p.n_regions) = region;
  *PUSH(e->m->a, t->part, t->n) = p;
}

static bool cover_split(Elab *e, Table *t, Split *s, const Ast *at) {
  Model *m = e->m;
  s->decl->used = true;
  if (s->bad || !s->extent) return false; /* said elsewhere: there is no such place */
  if (s->tangled) return err(m, E0340, at->span, s->decl->name, s->tangled), false;
  for (uint32_t k = 0; k < s->n_parts; k++) {
    const ProgRegion *r = &m->p->regions[s->region + 3 * k];
    for (uint32_t i = 0; i < r->n_pieces; i++) cover_layer(e, t, r->pieces[i].param);
    for (uint32_t i = 0; i < t->n; i++)
      if (!strcmp(t->part[i].name, s->parts[k].name)) {
        *PUSH(m->a, t->part[i].regions, t->part[i].n_regions) =
            s->region + 3 * k; /* parts of one name go together */
        goto next;
      }
    add_part(e, t, s->parts[k].name, s->region + 3 * k);
  next:;
  }
  return true;
}

static void no_place(Elab *e, const Table *t, const Ast *a) {
  Model *m = e->m;
  const Program *p = m->p;
  if (e->broken) return;
  const char **names = ARENA_NEWS(m->a, const char *, m->n_split + 2 * p->n_params + 1);
  uint32_t n = 0;
  StrMap seen = {0};
  for (uint32_t i = 0; i < m->n_split; i++) names[n++] = m->split[i].decl->name;
  for (uint32_t i = 0; i < p->n_params; i++) {
    const char *path = p->params[i].path, *dot = strrchr(path, '.');
    const char *layer = dot ? arena_strndup(m->a, path, (size_t)(dot - path)) : NULL;
    if (layer && !strmap_get(&seen, layer)) strmap_put(m->a, &seen, names[n++] = layer, m);
    names[n++] = path;
  }
  const char *text = ast_source_text(m, a);
  Diag *g = err(m, E0343, a->span, t->r->decl->name,
                arena_printf(m->a, "`%s` is no module, layer, parameter or split value", text));
  diag_choices(m, g, text, names, n);
}

static bool cover(Elab *e, Table *t, const Ast *a) {
  Model *m = e->m;
  PathPat pat;
  if (ast_is(a, AST_BINARY) && !strcmp(a->text, "+"))
    return cover(e, t, a->kids[0]) && cover(e, t, a->kids[1]);
  if (!path_pattern(e, a, &pat)) return false;
  for (uint32_t i = 0; i < m->n_split; i++)
    if (m->split[i].place_ok && !strcmp(m->split[i].decl->name, pat.text))
      return cover_split(e, t, &m->split[i], a);
  bool found = false;
  for (uint32_t i = 0; i < m->p->n_params; i++)
    if (path_is_under(&pat, m->p->params[i].path)) t->covers[i] = found = true;
  if (!found) no_place(e, t, a);
  return found;
}

/* ---- the table's regions ---- */
static bool is_known(const Table *t, const char *name) {
  if (!strcmp(name, "all") || !strcmp(name, "none") || !strcmp(name, "shared")) return true;
  for (uint32_t i = 0; i < t->n; i++)
    if (!strcmp(t->part[i].name, name)) return true;
  return false;
}

/* Can a single word in an arm be a region, rather than a part that is misspelt? */
static bool names_region(Elab *e, const Ast *a) {
  const Decl *d = strmap_get(&e->m->root->names, a->text);
  PathPart word = {.name = a->text};
  const PathPat pat = {.v = &word, .n = 1, .span = a->span, .text = a->text};
  bool found = d && d->kind == DECL_REGION;
  for (uint32_t i = 0; i < e->m->p->n_params && !found; i++)
    found = path_is_under(&pat, e->m->p->params[i].path);
  return found;
}

static void no_part(Elab *e, const Table *t, const Ast *a) {
  Model *m = e->m;
  const char **names = ARENA_NEWS(m->a, const char *, t->n + m->regions.n + 3);
  uint32_t n = 0;
  for (uint32_t i = 0; i < t->n; i++) names[n++] = t->part[i].name;
  for (uint32_t i = 0; i < m->regions.n; i++) names[n++] = m->regions.v[i]->name;
  names[n++] = "shared", names[n++] = "all", names[n++] = "none";
  diag_choices(m, err(m, E0323, a->span, t->r->place.text, a->text), a->text, names, n);
}

static bool add_target(Elab *e, Table *t, const Ast *a) {
  Model *m = e->m;
  if (ast_is(a, AST_BINARY) && !strcmp(a->text, "+"))
    return add_target(e, t, a->kids[0]) && add_target(e, t, a->kids[1]);
  if (ast_is(a, AST_BLOCK)) {
    bool ok = true;
    for (uint32_t i = 0; i < a->n_kids; i++) {
      const Ast *set = a->kids[i];
      Ast name = {.kind = AST_NAME, .text = set->text, .span = set->name_span, .name_span = set->name_span};
      ok = add_target(e, t, &name) && ok;
    }
    return ok;
  }
  const char *name = ast_dotted(m, a);
  if (name && is_known(t, name)) return true;
  for (uint32_t i = 0; name && i < t->n; i++) /* `z.lower` is the part `lower` of the place `z` */
    for (uint32_t k = 0; k < t->part[i].n_regions; k++)
      if (!strcmp(m->p->regions[t->part[i].regions[k]].name, name)) return true;
  if (ast_is(a, AST_NAME) && !names_region(e, a)) return no_part(e, t, a), false;
  const uint32_t r = region_resolve(e, a);
  if (r == UINT32_MAX) return false;
  if (m->p->regions[r].joint) {
    err(m, E0342, a->span, m->p->regions[r].name,
        arena_printf(m->a, "it is joint, learnt from everything, so no arm of route `%s` can name it",
                     t->r->decl->name));
    return false;
  }
  add_part(e, t, name, r);
  return true;
}

static bool cross_rule(Elab *e, Table *t) {
  Model *m = e->m;
  const Ast *set = t->r->cross, *v = ast_kid(set, 0);
  t->cross = -1;
  if (!set) return true;
  const char **names = ARENA_NEWS(m->a, const char *, t->n + 2);
  for (uint32_t i = 0; i < t->joint; i++) {
    names[i] = t->part[i].name;
    if (ast_is_name(v, names[i])) t->cross = (int)i;
  }
  names[t->joint] = "row", names[t->joint + 1] = "column";
  if (ast_is_name(v, "row")) t->cross = -2;
  if (ast_is_name(v, "column")) t->cross = -3;
  if (t->cross != -1) return true;
  const char *text = v ? ast_source_text(m, v) : "";
  diag_choices(m, err(m, E0201, v ? v->span : set->span, "value of `cross`", text), text, names,
               t->joint + 2);
  return false;
}

static bool table_make(Elab *e, Table *t) {
  Model *m = e->m;
  const Ast *arms = ast_kid(t->r->decl->ast, 2);
  bool ok = cover(e, t, t->r->decl->ast->kids[0]);
  for (uint32_t i = 0; ok && arms && i < arms->n_kids; i++)
    if (ast_kid(arms->kids[i], 1)) ok = add_target(e, t, arms->kids[i]->kids[1]);
  if (!ok) return false;
  for (uint32_t i = 0; i < t->n; i++)
    if (!strcmp(t->part[i].name, "shared")) {
      err(m, E0343, t->r->place.span, t->r->decl->name,
          "a part is called `shared`, which stands for what no part owns");
      return false;
    }
  t->shared = t->n;
  add_part(e, t, "shared", UINT32_MAX);
  t->joint = t->n;
  for (uint32_t i = 0; i < m->p->n_regions; i++) {
    if (!m->p->regions[i].joint) continue;
    if (t->joint == t->n) add_part(e, t, "joint", i);
    else *PUSH(m->a, t->part[t->joint].regions, t->part[t->joint].n_regions) = i;
  }
  return cross_rule(e, t);
}

/* ---- whose each entry is ---- */
typedef struct Claims { /* on the indices along one axis: 0 nobody's, 1 + part */
  int axis;
  int32_t *of;
} Claims;

typedef struct Entries {
  Table *t;
  uint32_t param;
  Claims on[IR_MAX_RANK];
  int n;         /* axes that somebody claims */
  int32_t whole; /* claims on the parameter as such */
  bool told;
} Entries;

/* Who has entries that both claim; 0 after an error. */
static int32_t settle(Elab *e, Entries *en, int32_t x, int32_t y, int how) {
  Table *t = en->t;
  if (!x || !y || x == y) return x ? x : y;
  if (x == (int32_t)t->joint + 1 || y == (int32_t)t->joint + 1) return (int32_t)t->joint + 1;
  if (t->cross >= 0) return t->cross + 1;
  if (t->cross < -1 && how == -2) return t->cross == -2 ? x : y;
  if (en->told) return 0;
  en->told = true;
  Model *m = e->m;
  const char *a = t->part[x - 1].name, *b = t->part[y - 1].name;
  Diag *g = err(m, E0341, t->r->decl->ast->name_span, m->p->params[en->param].path, a, b);
  for (int k = 0; k < 2; k++) {
    const Part *p = &t->part[(k ? y : x) - 1];
    if (p->n_regions) diag_also(m->diags, g, m->p->regions[p->regions[0]].span, "`%s`", p->name);
  }
  if (how == -2)
    diag_help(m->diags, g,
              "say whose they are: `cross = row` (`%s`), `cross = column` (`%s`), or one name for all", a, b);
  else diag_help(m->diags, g, "say whose they are: `cross = %s`, `cross = %s` or `cross = shared`", a, b);
  return 0;
}

static bool claim(Elab *e, Entries *en, const RegionPiece *q, int32_t who) {
  if (q->param != en->param) return true;
  en->t->part[who - 1].owns = true;
  if (q->axis < 0) {
    const int32_t now = settle(e, en, en->whole, who, -1);
    en->whole = now;
    return now != 0;
  }
  int k = 0;
  while (k < en->n && en->on[k].axis != q->axis) k++;
  if (k == en->n) {
    const int64_t extent = e->m->p->params[en->param].shape.d[q->axis];
    en->on[en->n++] = (Claims){q->axis, ARENA_NEWS(e->m->a, int32_t, extent)};
  }
  for (int64_t i = 0; i < q->n; i++) {
    int32_t *of = &en->on[k].of[q->index[i]];
    if (!(*of = settle(e, en, *of, who, -1))) return false;
  }
  return true;
}

/* Numbers the claims that occur along an axis; returns how many, claimed[label] in turn. */
static int32_t compress(Elab *e, const Claims *c, int64_t extent, uint32_t n_parts, int32_t *label,
                        int32_t *claimed) {
  int32_t *number = ARENA_NEWS(e->m->a, int32_t, n_parts + 1), n = 0;
  for (int64_t i = 0; i < extent; i++) {
    const int32_t who = c->of[i];
    if (!number[who]) claimed[n] = who, number[who] = ++n;
    label[i] = number[who] - 1;
  }
  return n;
}

static bool owners_make(Elab *e, Table *t, uint32_t param, ProgOwners *out) {
  Model *m = e->m;
  const ProgParam *q = &m->p->params[param];
  Entries en = {.t = t, .param = param};
  for (uint32_t k = 0; k < t->n; k++)
    for (uint32_t j = 0; j < t->part[k].n_regions; j++) {
      const ProgRegion *r = &m->p->regions[t->part[k].regions[j]];
      for (uint32_t i = 0; i < r->n_pieces; i++)
        if (!claim(e, &en, &r->pieces[i], (int32_t)k + 1)) return false;
    }
  if (en.n > 2) return err(m, E0340, t->r->place.span, t->r->place.text, q->path), false;
  if (en.n == 2 && en.on[0].axis > en.on[1].axis) {
    const Claims first = en.on[1];
    en.on[1] = en.on[0], en.on[0] = first;
  }
  int32_t *claimed[2], nothing = 0;
  *out = (ProgOwners){.n_labels = {1, 1}};
  for (int k = 0; k < 2; k++) {
    claimed[k] = &nothing;
    if (k >= en.n) continue;
    const int64_t extent = q->shape.d[en.on[k].axis];
    int32_t *label = ARENA_NEWS(m->a, int32_t, extent);
    claimed[k] = ARENA_NEWS(m->a, int32_t, t->n + 1);
    out->axis[k] = en.on[k].axis;
    out->n_labels[k] = compress(e, &en.on[k], extent, t->n, label, claimed[k]);
    out->label[k] = out->n_labels[k] > 1 ? label : NULL;
  }
  int32_t *part = ARENA_NEWS(m->a, int32_t, out->n_labels[0] * out->n_labels[1]);
  for (int32_t i = 0; i < out->n_labels[0]; i++)
    for (int32_t j = 0; j < out->n_labels[1]; j++) {
      const int32_t x = claimed[0][i], y = claimed[1][j];
      int32_t who = settle(e, &en, x, y, -2);
      if (!who && x && y) return false;
      const int32_t had = who;
      who = settle(e, &en, who, en.whole, -1);
      if (!who && had && en.whole) return false;
      if (!who) t->part[t->shared].owns = true;
      part[i * out->n_labels[1] + j] = who ? who - 1 : (int32_t)t->shared;
    }
  out->part = part;
  return true;
}

/* ---- factors of a use ---- */
static ValueId *weights_make(Elab *e, const Table *t, const Shape *datum, Span at) {
  Model *m = e->m;
  const char **names = ARENA_NEWS(m->a, const char *, t->n + 1);
  for (uint32_t k = 0; k < t->n; k++) names[k] = t->part[k].name;
  const Parts parts = {.names = names, .n = t->joint};
  ValueId *w = ARENA_NEWS(m->a, ValueId, t->n + 1);
  const Val *like = val_tensor(e, at, ir_const(e->g, at, 0, datum, DT_F32));
  for (uint32_t k = 0; k < t->n; k++) {
    w[k] = k == t->joint ? ir_const(e->g, at, 1, datum, DT_F32) : route_factor(e, t->r, NULL, &parts, like, (int)k);
    if (!w[k]) return NULL;
  }
  return w;
}

/* Routes at one use, in the order of the text; the second at a parameter needs `also`. */
static bool may_join(Elab *e, const Table *t, uint32_t tap) {
  Model *m = e->m;
  const Program *p = m->p;
  for (uint32_t i = 0; i < p->n_routes; i++) {
    if (p->routes[i].primitive != ROUTE_PARAMETERS || p->routes[i].tap != tap) continue;
    const RouteDecl *before = NULL;
    for (uint32_t k = 0; k < m->n_route; k++)
      if (!strcmp(m->route[k].decl->name, p->routes[i].name)) before = &m->route[k];
    if (!before || t->r->also || before->also) continue;
    Diag *g = err(m, E0325, t->r->decl->ast->name_span, p->taps[tap].name, before->decl->name);
    diag_also(m->diags, g, before->decl->ast->name_span, "the first route there");
    diag_help(m->diags, g, "factors of several routes multiply; say that it is meant: `{ ... } { also }`");
    return false;
  }
  return true;
}

typedef struct Made {
  Shape datum;
  ValueId *w;
} Made; /* uses with the same datum axes share their factors */

static bool mask_uses(Elab *e, Table *t) {
  Model *m = e->m;
  Program *p = m->p;
  Made *made = NULL;
  uint32_t n_made = 0, n_taps = p->n_taps;
  const uint32_t n_routes = p->n_routes;
  const Ast *arms = ast_kid(t->r->decl->ast, 2);
  const bool constant =
      arms && arms->n_kids == 1 && !strcmp(arms->kids[0]->text, "otherwise"); /* needs no data */
  ProgOwners *owners = ARENA_NEWS(m->a, ProgOwners, p->n_params + 1);
  for (uint32_t i = 0; i < p->n_params; i++)
    if (t->covers[i] && !owners_make(e, t, i, &owners[i])) return false;
  for (uint32_t i = 0; i < n_taps; i++) {
    const ProgTap tap = p->taps[i];
    if (!tap.param || !t->covers[tap.param - 1]) continue;
    const Shape datum = use_axes(e, tap.value);
    uint32_t readers;
    own_users(e->owner, tap.value, &readers);
    if (!readers || (!datum.rank && !constant)) continue; /* no datum contributes */
    if (datum.rank < 0) {
      err(m, E0344, tap.span, t->r->decl->name, tap.name);
      return false;
    }
    if (!may_join(e, t, i)) return false;
    uint32_t k = 0;
    while (k < n_made && !shape_equal(&made[k].datum, &datum)) k++;
    if (k == n_made) {
      ValueId *w = weights_make(e, t, &datum, tap.span);
      if (!w) return false;
      *PUSH(m->a, made, n_made) = (Made){datum, w};
    }
    ValueId *own = ARENA_NEWS(m->a, ValueId, t->n); /* passes renumber them */
    memcpy(own, made[k].w, t->n * sizeof *own);
    *PUSH(m->a, p->routes, p->n_routes) = (ProgRoute){.name = t->r->decl->name,
                                                      .primitive = ROUTE_PARAMETERS,
                                                      .tap = i,
                                                      .owners = owners[tap.param - 1],
                                                      .weight = own,
                                                      .n_weights = t->n,
                                                      .span = t->r->decl->ast->span};
  }
  if (p->n_routes > n_routes) return true;
  err(m, E0343, t->r->place.span, t->r->decl->name,
      "no datum contributes to the gradients of what it covers");
  return false;
}

void route_parameters(Elab *e, RouteDecl *r) {
  Model *m = e->m;
  Table t = {.r = r, .covers = ARENA_NEWS(m->a, bool, m->p->n_params + 1)};
  r->matched = true;
  if (!table_make(e, &t) || !mask_uses(e, &t) || m->walk) return;
  for (uint32_t k = 0; k < t.shared; k++)
    if (!t.part[k].owns) err(m, W0310, r->decl->ast->name_span, t.part[k].name, r->decl->name);
}
