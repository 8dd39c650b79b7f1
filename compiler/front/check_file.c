/* SPDX-License-Identifier: Apache-2.0
 * check_file.c -- several files: `use`, `extend`, `replace`, `drop`. Works on the trees, before anything has
 * a meaning. */
#include "model.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* Files being read, innermost last, by real path: to find cycles. */
typedef struct Chain {
  const char *real;
  Span from;
  struct Chain *up;
} Chain;
typedef struct AstList {
  Ast **v;
  uint32_t n;
} AstList;
typedef struct Loader {
  Model *m;
  StrMap used; /* real path -> FileScope */
  uint32_t depth;
} Loader;

static void list_push(Model *m, AstList *l, Ast *n) { *PUSH(m->a, l->v, l->n) = n; }

/* `name` as seen from the file that `at` lies in. */
const char *path_from(Model *m, Span at, const char *name) {
  const char *from = at.file && at.file < m->sources->n ? m->sources->files[at.file]->path : "";
  const char *slash = strrchr(from, '/');
  if (name[0] == '/' || !slash) return name;
  return arena_printf(m->a, "%.*s/%s", (int)(slash - from), from, name);
}

const char *path_real(Model *m, const char *path) {
  char *real = realpath(path, NULL);
  const char *copy = arena_strdup(m->a, real ? real : path);
  free(real);
  return copy;
}

/* Reads and parses an imported file. NULL after an error. */
static const Ast *load(Loader *l, const Ast *at, Chain *up, Chain *self) {
  Model *m = l->m;
  const char *path = path_from(m, at->span, at->text), *why = NULL;
  self->real = path_real(m, path), self->from = at->span, self->up = up;
  for (Chain *c = up; c; c = c->up) {
    if (strcmp(c->real, self->real) != 0) continue;
    Diag *g = err(m, E0212, at->name_span.file ? at->name_span : at->span, at->text);
    for (Chain *k = up; k && k != c; k = k->up)
      if (k->from.file) diag_also(m->diags, g, k->from, "which is read from here");
    return NULL;
  }
  if (++l->depth > 500) {
    err(m, E0211, at->span, at->text, "more than 500 files are read");
    return NULL;
  }
  uint32_t file = sources_add_file(m->sources, path, &why);
  if (!file) {
    Diag *g =
        err(m, E0211, at->name_span.file ? at->name_span : at->span, at->text, why ? why : "cannot read it");
    if (strcmp(path, at->text) != 0) diag_note(m->diags, g, "looked for `%s`", path);
    return NULL;
  }
  ParseResult r = dsl_parse(m->a, m->sources, file, m->diags);
  return r.file;
}

/* ---- finding what `replace` and `drop` name ---- */
static const char *decl_label(Model *m, const Ast *d) {
  switch (d->kind) {
  case AST_MODEL: return "model";
  case AST_TRAIN: return "train";
  case AST_OPTIMIZE: return "optimize";
  case AST_SPLIT: return ast_source_text(m, d->kids[0]);
  case AST_EXPECT: return "expect";
  case AST_FORBID: return "forbid"; /* they have no names: `drop forbid` leaves out all */
  case AST_MONITOR: return "monitor";
  case AST_USE: return ast_kid(d, 0) ? d->kids[0]->text : d->text;
  case AST_EDITION:
  case AST_EXTEND:
  case AST_REPLACE:
  case AST_DROP: return NULL;
  default: return d->text;
  }
}

static bool same_decl(Model *m, const Ast *a, const Ast *b) {
  if (a->kind == AST_FORBID && b->kind == AST_FORBID)
    return (int)a->num == (int)b->num && ast_equal(a->kids[0], b->kids[0]) && ast_equal(a->kids[1], b->kids[1]);
  const char *x = decl_label(m, a), *y = decl_label(m, b);
  return a->kind == b->kind && x && y && !strcmp(x, y);
}

static Ast *find_decl(Model *m, AstList *l, const char *name, uint32_t *index) {
  for (uint32_t i = 0; i < l->n; i++) {
    const char *label = decl_label(m, l->v[i]);
    if (!label || strcmp(label, name) != 0) continue;
    if (index) *index = i;
    return l->v[i];
  }
  return NULL;
}

static Ast *decl_block(Ast *d) {
  for (uint32_t i = d->n_kids; i-- > 0;)
    if (ast_is(d->kids[i], AST_BLOCK)) return d->kids[i];
  return d->kind == AST_DATA ? d : NULL;
}

/* Slot of the statement `name` in a block: its index, or -1. */
static int find_item(const Ast *block, const char *name) {
  for (uint32_t i = 0; block && i < block->n_kids; i++) {
    const Ast *k = block->kids[i];
    if (!k) continue;
    if ((k->kind == AST_SETTING || k->kind == AST_SET || k->kind == AST_REPEAT) && k->text && !strcmp(k->text, name)) return (int)i;
    for (uint32_t j = 3; k->kind == AST_BIND && j < k->n_kids; j++)
      if (k->kids[j] && !strcmp(k->kids[j]->text, name)) return (int)i;
  }
  return -1;
}

static void not_found(Model *m, AstList *l, const Ast *path, const Ast *block, const char *name,
                      const char *what) {
  const char **names = ARENA_NEWS(m->a, const char *, l->n + (block ? 2 * block->n_kids : 0) + 1);
  uint32_t n = 0;
  for (uint32_t i = 0; !block && i < l->n; i++)
    if (decl_label(m, l->v[i])) names[n++] = decl_label(m, l->v[i]);
  for (uint32_t i = 0; block && i < block->n_kids; i++) {
    const Ast *k = block->kids[i];
    if (ast_is(k, AST_BIND) && ast_kid(k, 3)) names[n++] = k->kids[3]->text;
    else if (k && k->text) names[n++] = k->text;
  }
  Span at = path->kind == AST_MEMBER && block ? path->name_span : path->span;
  Diag *g = err(m, E0213, at, what, name);
  diag_suggest(m->diags, g, name, names, n);
}

static int value_slot(AstKind k) {
  switch (k) {
  case AST_PARAM:
  case AST_DEF: return 2;
  case AST_PARAMETER: return 1;
  case AST_REGION:
  case AST_CLASS:
  case AST_LOSS:
  case AST_REGULARIZE:
  case AST_OPTIMIZE:
  case AST_EXPECT: return 0;
  default: return -1;
  }
}

static void replace_value(Model *m, AstList *l, const Ast *rep) {
  const Ast *path = rep->kids[0];
  Ast *value = rep->kids[1];
  const char *text = ast_dotted(m, path);
  if (!text) {
    err(m, E0213, path->span, "replace", ast_source_text(m, path));
    return;
  }
  Ast *d = find_decl(m, l, text, NULL);
  if (d && value_slot(d->kind) >= 0) {
    d->kids[value_slot(d->kind)] = value;
    return;
  }
  const char *dot = strrchr(text, '.');
  if (d || !dot) {
    not_found(m, l, path, NULL, text, "replace");
    return;
  }
  const char *owner = arena_strndup(m->a, text, (size_t)(dot - text));
  d = find_decl(m, l, owner, NULL);
  if (!d) {
    not_found(m, l, path->kids[0], NULL, owner, "replace");
    return;
  }
  Ast *block = decl_block(d);
  int i = find_item(block, dot + 1);
  if (!block || i < 0 || block->kids[i]->kind == AST_REPEAT) {
    not_found(m, l, path, block, dot + 1, "replace");
    return;
  }
  block->kids[i]->kids[0] = value;
}

static void replace_decl(Model *m, AstList *l, const Ast *rep) {
  Ast *with = rep->kids[0];
  for (uint32_t i = 0; i < l->n; i++)
    if (same_decl(m, l->v[i], with)) {
      l->v[i] = with;
      return;
    }
  const char *label = decl_label(m, with);
  const char *names[256];
  uint32_t n = 0;
  for (uint32_t i = 0; i < l->n && n < 256; i++)
    if (l->v[i]->kind == with->kind && decl_label(m, l->v[i])) names[n++] = decl_label(m, l->v[i]);
  Diag *g = err(m, E0213, with->name_span.file ? with->name_span : with->span, "replace",
                label ? label : ast_kind_name(with->kind));
  if (label) diag_suggest(m->diags, g, label, names, n);
  diag_help(m->diags, g, "to add it, leave out `replace`");
}

static void drop(Model *m, AstList *l, const Ast *d) {
  const Ast *path = d->kids[0];
  const char *text = ast_source_text(m, path);
  uint32_t i = 0;
  const Ast *found = find_decl(m, l, text, &i);
  if (found) {
    bool all = found->kind == AST_FORBID;
    uint32_t kept = i;
    for (uint32_t k = i; k < l->n; k++)
      if (k != i && !(all && l->v[k]->kind == AST_FORBID)) l->v[kept++] = l->v[k];
    l->n = kept;
    return;
  }
  const char *dot = strrchr(text, '.');
  if (!dot || path->kind != AST_MEMBER) {
    not_found(m, l, path, NULL, text, "drop");
    return;
  }
  const char *owner = arena_strndup(m->a, text, (size_t)(dot - text));
  Ast *in = find_decl(m, l, owner, NULL), *block = in ? decl_block(in) : NULL;
  int k = find_item(block, dot + 1);
  if (!in) not_found(m, l, path->kids[0], NULL, owner, "drop");
  else if (k < 0) not_found(m, l, path, block, dot + 1, "drop");
  else {
    for (uint32_t j = (uint32_t)k; j + 1 < block->n_kids; j++) block->kids[j] = block->kids[j + 1];
    block->n_kids--;
  }
}

/* ---- one file with what it extends ---- */
static void gather(Loader *l, const Ast *file, Chain *chain, AstList *out) {
  Model *m = l->m;
  const Ast *extended = NULL;
  for (uint32_t i = 0; i < file->n_kids; i++) {
    const Ast *d = file->kids[i];
    if (!ast_is(d, AST_EXTEND)) continue;
    if (extended) {
      Diag *g = err(m, E0214, d->span);
      diag_also(m->diags, g, extended->span, "this one is extended already");
      continue;
    }
    extended = d;
    Chain self;
    const Ast *base = load(l, d, chain, &self);
    if (base) gather(l, base, &self, out);
  }
  for (uint32_t i = 0; i < file->n_kids; i++) {
    const Ast *d = file->kids[i];
    if (!ast_is(d, AST_REPLACE) && !ast_is(d, AST_DROP)) continue;
    if (!extended) {
      Diag *g =
          err(m, E0213, d->span, d->kind == AST_DROP ? "drop" : "replace", ast_source_text(m, d->kids[0]));
      diag_note(m->diags, g, "`replace` and `drop` change what a file extends; this one extends nothing");
    } else if (d->kind == AST_DROP) drop(m, out, d);
    else if (ast_kid(d, 1)) replace_value(m, out, d);
    else replace_decl(m, out, d);
  }
  for (uint32_t i = 0; i < file->n_kids; i++)
    if (file->kids[i] && file->kids[i]->kind != AST_REPLACE && file->kids[i]->kind != AST_DROP &&
        file->kids[i]->kind != AST_EXTEND)
      list_push(m, out, file->kids[i]);
}

static void declare_file(Loader *l, FileScope *fs, const Ast *file, Chain *chain);

static void use(Loader *l, FileScope *fs, const Ast *d, Chain *chain) {
  Model *m = l->m;
  const Ast *as = ast_kid(d, 0);
  if (!as) {
    const char *slash = strrchr(d->text, '/'), *base = slash ? slash + 1 : d->text, *dot = strchr(base, '.');
    Diag *g = err(m, E0217, d->span, d->text);
    diag_fix(m->diags, g, (Span){d->span.file, d->span.end, d->span.end}, " as %.*s",
             dot ? (int)(dot - base) : (int)strlen(base), base);
    return;
  }
  Chain self;
  const char *real = path_real(m, path_from(m, d->span, d->text));
  FileScope *target = strmap_get(&l->used, real);
  bool cycle = false;
  for (Chain *c = chain; c; c = c->up) cycle = cycle || !strcmp(c->real, real);
  if (!target || cycle) {
    const Ast *file = load(l, d, chain, &self);
    if (!file) return;
    target = ARENA_NEW(m->a, FileScope);
    target->path = d->text;
    target->ns = arena_printf(m->a, "%s%s.", fs->ns, as->text);
    strmap_put(m->a, &l->used, real, target);
    declare_file(l, target, file, &self);
  }
  Decl *decl = ARENA_NEW(m->a, Decl);
  decl->kind = DECL_USE, decl->ast = d, decl->name = as->text, decl->file = fs, decl->target = target;
  if (strmap_get(&fs->names, as->text)) err(m, E0203, as->span, as->text);
  else {
    strmap_put(m->a, &fs->names, as->text, decl);
    if (fs->is_spec) decl_push(m, &m->uses, decl);
  }
}

static void declare_file(Loader *l, FileScope *fs, const Ast *file, Chain *chain) {
  AstList all = {0};
  gather(l, file, chain, &all);
  for (uint32_t i = 0; i < all.n; i++)
    if (all.v[i]->kind == AST_USE) use(l, fs, all.v[i], chain);
  check_declarations(l->m, fs, all.v, all.n);
}

void check_files(Model *m, const ParseResult *spec, uint32_t file) {
  Loader l = {.m = m};
  m->root = ARENA_NEW(m->a, FileScope);
  m->spec_file = file;
  m->path = file && file < m->sources->n ? m->sources->files[file]->path : "spec.route";
  m->root->path = m->path, m->root->ns = "", m->root->is_spec = true;
  m->model_file = m->root;
  Chain self = {path_real(m, m->path), {0, 0, 0}, NULL};
  declare_file(&l, m->root, spec->file, &self);
}
