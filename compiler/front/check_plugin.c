/* SPDX-License-Identifier: Apache-2.0
 * check_plugin.c -- `plugin` declarations: finding the shared object, its hash and version; and which op a
 * call names. */
#include "builtin.h"
#include "model.h"
#include "plugin.h"
#include "builtin_plugins.h"
#include <ctype.h>
#include <string.h>
#include <unistd.h>

static Span name_span(const Ast *a) { return a->name_span.file ? a->name_span : a->span; }

/* ---- versions ---- */
typedef struct Version {
  int64_t part[3];
  uint32_t n;
} Version; /* n: how many were written */

static bool version_read(const char *s, Version *v) {
  *v = (Version){0};
  while (v->n < 3) {
    int64_t x = 0;
    size_t digits = 0;
    for (; isdigit((unsigned char)*s) && digits <= 9; s++, digits++) x = 10 * x + (*s - '0');
    if (!digits || digits > 9) return false;
    v->part[v->n++] = x;
    if (*s != '.') break;
    s++;
  }
  return *s == 0;
}

static int version_compare(const Version *a, const Version *b) {
  for (int i = 0; i < 3; i++)
    if (a->part[i] != b->part[i]) return a->part[i] < b->part[i] ? -1 : 1;
  return 0;
}

/* "^1.2" as [lo, hi). false: no range. */
static bool range_read(const char *s, Version *lo, Version *hi) {
  const char *digits = s + strcspn(s, "0123456789");
  const size_t n = (size_t)(digits - s);
  const bool caret = n == 1 && *s == '^', tilde = n == 1 && *s == '~', equal = n == 1 && *s == '=',
             least = n == 2 && !memcmp(s, ">=", 2);
  if (!(caret || tilde || equal || least) || !version_read(digits, lo)) return false;
  uint32_t last = lo->n - 1; /* the part that may not grow */
  if (tilde && last == 2) last = 1;
  if (caret)
    for (last = 0; last < lo->n - 1 && lo->part[last] == 0;) last++;
  *hi = (Version){{0}, 3};
  for (uint32_t i = 0; i <= last; i++) hi->part[i] = lo->part[i];
  hi->part[last]++;
  if (least) hi->part[0] = INT64_MAX;
  return true;
}

/* ---- finding and loading ---- */
static const char *text_setting(Model *m, const Ast *block, const char *key, const Ast **value,
                                const char *what) {
  const Ast *s = block ? block_setting(block, key) : NULL;
  *value = s ? ast_kid(s, 0) : NULL;
  if (!s) return NULL;
  if (ast_is(*value, AST_STRING)) return (*value)->text;
  err(m, E0534, *value ? (*value)->span : s->span, arena_printf(m->a, "`%s`", key), what,
      ast_source_text(m, *value ? *value : s));
  return NULL;
}

static bool is_file(const char *path) { return access(path, F_OK) == 0; }

/* Where the shared object is; NULL: nowhere. `places` collects where it was looked for. */
static const char *find_file(Model *m, const Decl *d, DeclList *places) {
  const char *const *more = m->sources->plugin_folders;
  for (uint32_t k = 0; k == 0 || (more && more[k - 1]); k++) {
    for (int lib = 0; lib < 2; lib++) {
      const char *name = arena_printf(m->a, "%s%s.so", lib ? "lib" : "", d->name);
      const char *path =
          k ? arena_printf(m->a, "%s/%s", more[k - 1], name) : path_from(m, d->ast->span, name);
      if (is_file(path)) return path;
      Decl *place = ARENA_NEW(m->a, Decl);
      place->name = path;
      decl_push(m, places, place);
    }
  }
  return NULL;
}

static void not_found(Model *m, const Decl *d, const DeclList *places) {
  const char *names[64];
  uint32_t n = 0;
  const RoutePlugin *p;
  for (; n < 64 && (p = plugin_builtin_at(n)); n++) names[n] = p->name;
  Diag *g = err(m, E0530, name_span(d->ast), d->name);
  for (uint32_t i = 0; i < places->n; i += 2)
    diag_note(m->diags, g, "looked for `%s` and `%s`", places->v[i]->name,
              strrchr(places->v[i + 1]->name, '/') ? strrchr(places->v[i + 1]->name, '/') + 1
                                                   : places->v[i + 1]->name);
  diag_suggest(m->diags, g, d->name, names, n);
}

/* The runtime's sentence, at the setting that it is about. */
static void refused(Model *m, const PluginDecl *p, const RtError *e, Span at, const Ast *hash,
                    const char *found) {
  if (e->code == RT_E0751) {
    Diag *g = err(m, E0532, hash->span, p->path);
    diag_note(m->diags, g, "the file has the SHA-256 %s", found);
    diag_fix(m->diags, g, hash->span, "\"%s\"", found);
    return;
  }
  Diag *g = err(m, E0531, at, e->message);
  diag_note(m->diags, g, "`routec explain %s` tells more", rt_code_name(e->code));
}

static bool is_hash(const char *s) { return strlen(s) == 64 && strspn(s, "0123456789abcdefABCDEF") == 64; }

static void load_declared(Model *m, PluginDecl *p, const Ast *at, const Ast *hash, const char *sha256) {
  char found[RT_SHA256_TEXT] = "";
  RtError e = {0};
  p->code = rt_plugin_load(p->path, sha256, found, &e);
  p->sha256 = arena_strdup(m->a, found);
  if (!p->code) refused(m, p, &e, at ? at->span : name_span(p->decl->ast), hash, found);
}

/* Is it a version that the declaration allows? */
static void check_version(Model *m, PluginDecl *p, const Ast *at, const char *range) {
  Version lo, hi, have;
  if (!range_read(range, &lo, &hi)) {
    err(m, E0534, at->span, "`version`", "a range such as `^1.2`, `~1.2`, `=1.2.0` or `>=1.2`", range);
    return;
  }
  if (!p->code) return;
  version_read(p->code->version, &have);
  if (version_compare(&have, &lo) >= 0 && version_compare(&have, &hi) < 0) return;
  Diag *g = err(m, E0533, at->span, p->code->name, p->code->version, range);
  diag_note(m->diags, g, p->path ? "it is `%s`" : "it is a built-in plugin%s", p->path ? p->path : "");
  p->code = NULL;
}

static void check_plugin(Model *m, PluginDecl *p) {
  static const char *const keys[] = {"version", "sha256", "path"};
  const Ast *block = ast_kid(p->decl->ast, 0), *at_version, *at_hash, *at_path;
  if (block && !block_check_keys(m, block, arena_printf(m->a, "plugin %s", p->decl->name), keys, 3)) return;
  const uint32_t before = m->diags->n_errors;
  if (builtin_find(p->decl->name) && p->decl->file->is_spec) {
    Diag *g = err(m, W0210, name_span(p->decl->ast), p->decl->name);
    diag_help(m->diags, g, "`use` a file that declares it: then `FILE.%s(...)` is the plugin's and `%s(...)` the built-in one", p->decl->name, p->decl->name);
  }
  const char *version = text_setting(m, block, "version", &at_version, "a text such as `\"^1.2\"`");
  const char *hash = text_setting(m, block, "sha256", &at_hash, "a text of 64 hex digits");
  const char *path = text_setting(m, block, "path", &at_path, "a text, the path of a shared object");
  if (hash && !is_hash(hash)) err(m, E0534, at_hash->span, "`sha256`", "64 hex digits", hash);
  if (m->diags->n_errors > before) return;
  DeclList places = {0};
  p->path = path ? path_from(m, at_path->span, path) : find_file(m, p->decl, &places);
  if (p->path) load_declared(m, p, at_path, at_hash, hash);
  else if (hash || !(p->code = plugin_builtin(p->decl->name))) not_found(m, p->decl, &places);
  if (version) check_version(m, p, at_version, version);
}

void check_plugins(Model *m) {
  m->plugin = ARENA_NEWS(m->a, PluginDecl, m->plugins.n + 1);
  for (uint32_t i = 0; i < m->plugins.n; i++) {
    m->plugin[i].decl = m->plugins.v[i];
    check_plugin(m, &m->plugin[i]);
  }
}

/* ---- calls ---- */
static bool is_instance(const Scope *s, const char *name) {
  for (const Scope *k = s; k; k = k->up) {
    const Entry *n = strmap_get(&k->entries, name);
    if (n && n->kind == ENTRY_INST) return true;
  }
  return false;
}

/* The plugin that an expression names: `ortho`, or `lib.ortho` of a used file. */
static const PluginDecl *declared_plugin(Elab *e, Scope *s, const Ast *a) {
  const Decl *d = NULL;
  if (ast_is(a, AST_NAME) && !is_instance(s, a->text)) d = strmap_get(&s->file->names, a->text);
  if (ast_is(a, AST_MEMBER) && ast_is(a->kids[0], AST_NAME)) {
    Decl *file = strmap_get(&s->file->names, a->kids[0]->text);
    if (file && file->kind == DECL_USE) d = strmap_get(&file->target->names, a->text);
    if (d && d->kind == DECL_PLUGIN) file->used = true;
  }
  return d && d->kind == DECL_PLUGIN ? &e->m->plugin[d->index] : NULL;
}

static PluginFound no_op(Elab *e, const Ast *callee, const PluginDecl *p, const char *name) {
  Model *m = e->m;
  const char *names[256], *list = "";
  uint32_t n = 0;
  for (; n < 256 && p->code->ops[n]; n++) {
    names[n] = p->code->ops[n]->name;
    if (n < 12) list = arena_printf(m->a, "%s%s`%s`", list, n ? ", " : "", names[n]);
  }
  Diag *g = err(m, E0224, name_span(callee), p->decl->name, name);
  diag_note(m->diags, g, "it has %s%s", list, n > 12 ? ", ..." : "");
  if (ast_is(callee, AST_MEMBER)) diag_suggest(m->diags, g, name, names, n);
  else diag_help(m->diags, g, "write `%s.%s(...)`", p->decl->name, names[0]);
  return PLUGIN_WRONG;
}

static PluginFound find_declared(Elab *e, Scope *s, const Ast *callee, PluginUse *use) {
  const PluginDecl *p = declared_plugin(e, s, callee);
  const char *name = NULL; /* NULL: the plugin's own */
  if (!p && ast_is(callee, AST_MEMBER)) p = declared_plugin(e, s, callee->kids[0]), name = callee->text;
  if (!p) return PLUGIN_NONE;
  p->decl->used = true;
  if (!p->code) return PLUGIN_WRONG;
  if (!name) name = p->code->name;
  *use = (PluginUse){p->code, rt_plugin_op(p->code, name), p, ast_source_text(e->m, callee)};
  return use->op ? PLUGIN_FOUND : no_op(e, callee, p, name);
}

PluginFound plugin_find(Elab *e, Scope *s, const Ast *callee, bool declared, PluginUse *use) {
  if (declared) return find_declared(e, s, callee, use);
  if (!ast_is(callee, AST_NAME) || is_instance(s, callee->text)) return PLUGIN_NONE;
  const Decl *d = strmap_get(&s->file->names, callee->text);
  if (d && (d->kind == DECL_MODULE || d->kind == DECL_DEF)) return PLUGIN_NONE;
  *use = (PluginUse){.shown = callee->text};
  use->op = plugin_builtin_op(callee->text, &use->plugin);
  return use->op ? PLUGIN_FOUND : PLUGIN_NONE;
}

uint32_t plugin_row(Elab *e, const PluginUse *use, Span span) {
  Program *p = e->m->p;
  for (uint32_t i = 0; i < p->n_plugins; i++)
    if (p->plugins[i].code == use->plugin) return i;
  const PluginDecl *d = use->decl;
  *PUSH(e->m->a, p->plugins, p->n_plugins) =
      (ProgPlugin){.name = use->plugin->name,
                   .version = use->plugin->version,
                   .path = d && d->path ? path_real(e->m, d->path) : NULL,
                   .sha256 = d ? d->sha256 : NULL,
                   .code = use->plugin,
                   .span = d ? d->decl->ast->span : span};
  return p->n_plugins - 1;
}
