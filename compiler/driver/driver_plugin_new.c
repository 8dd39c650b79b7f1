/* SPDX-License-Identifier: Apache-2.0
 * driver_plugin_new.c -- `routec plugin new NAME`: a project that builds, checks itself and trains with its
 * plugin. The files are those of plugins/template/, which the build puts into this program. */
#include "driver_plugin.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct TemplateFile {
  const char *name, *text;
  bool executable;
} TemplateFile;
extern const TemplateFile plugin_template_files[]; /* generated; ends with a name NULL */

/* Which source and which specification a kind and an ability get. */
static const struct {
  const char *kind, *ability;
} sources[] = {{"regularizer", "expr"},
               {"regularizer", "span"},
               {"regularizer", "reduce"},
               {"gate", "expr"},
               {"gate", "gate"}};
#define N_SOURCES (sizeof sources / sizeof *sources)

static bool is_function(const char *name) {
  static const char *const names[] = {
#define BUILTIN(function, ...) #function,
#include "builtin.def"
#undef BUILTIN
  };
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (strcmp(name, names[i]) == 0) return true;
  return false;
}

static const char *template_text(const char *name) {
  for (const TemplateFile *f = plugin_template_files; f->name; f++)
    if (strcmp(f->name, name) == 0) return f->text;
  fprintf(stderr, "routec: the template has no file %s\n", name);
  abort();
}

/* Does a specification of the template have the name for something of its own? */
static bool is_in_template(const char *name) {
  static const char of_names[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";
  const size_t n = strlen(name);
  for (const TemplateFile *f = plugin_template_files; f->name; f++) {
    const char *dot = strrchr(f->name, '.');
    if (!dot || strcmp(dot, ".route") != 0) continue;
    for (const char *s = f->text; *s;) {
      const size_t word = strspn(s, of_names);
      if (word && word == n && memcmp(s, name, n) == 0) return true;
      s += word ? word : *s == '#' ? strcspn(s, "\n") : 1;
    }
  }
  return false;
}

/* Why NAME cannot be the name of a plugin and of its op, or NULL. */
static const char *name_fault(const char *name) {
  if (!(*name >= 'a' && *name <= 'z')) return "it does not begin with a letter a to z";
  if (name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_")])
    return "it holds something else than a-z, 0-9 and _";
  if (strlen(name) > 40) return "it is longer than 40 characters";
  if (is_function(name)) return "a function of the language has it";
  if (is_in_template(name)) return "the specification of the project has it for something else";
  Arena *arena = arena_create();
  Sources *texts = sources_create(arena);
  Diags *diags = diags_create(arena, texts);
  const char *spec = arena_printf(arena, "edition 1\ndef %s(x) = x\nparam a = %s(1)\n", name, name);
  dsl_parse(arena, texts, sources_add_text(texts, "name", spec, strlen(spec)), diags);
  const bool reserved = diags->n_errors > 0;
  arena_destroy(arena);
  return reserved ? "it is a word of the language" : NULL;
}

/* Writes `text` with NAME put in for @NAME@ and @CAPS@. */
static bool write_file(Arena *a, const char *folder, const char *file, const char *text, const char *name,
                       bool executable) {
  char caps[48];
  size_t n = 0;
  for (; name[n] && n + 1 < sizeof caps; n++)
    caps[n] = name[n] >= 'a' && name[n] <= 'z' ? (char)(name[n] - 32) : name[n];
  caps[n] = 0;
  const char *path = arena_printf(a, "%s/%s", folder, file);
  FILE *f = fopen(path, "wx");
  if (!f) return false;
  for (const char *s = text; *s; s++) {
    if (strncmp(s, "@NAME@", 6) == 0) fputs(name, f), s += 5;
    else if (strncmp(s, "@CAPS@", 6) == 0) fputs(caps, f), s += 5;
    else fputc(*s, f);
  }
  const bool ok = !ferror(f);
  return fclose(f) == 0 && ok && (!executable || chmod(path, 0755) == 0);
}

static bool write_project(Arena *a, const char *name, const char *kind, const char *ability) {
  const char *source = arena_printf(a, "%s_%s.c", kind, ability), *spec = arena_printf(a, "%s.route", kind);
  bool ok = write_file(a, name, arena_printf(a, "%s.c", name), template_text(source), name, false) &&
            write_file(a, name, arena_printf(a, "%s.route", name), template_text(spec), name, false);
  for (const TemplateFile *f = plugin_template_files; ok && f->name; f++) {
    const char *dot = strrchr(f->name, '.');
    if (dot && (strcmp(dot, ".c") == 0 || strcmp(dot, ".route") == 0)) continue;
    ok = write_file(a, name, f->name, f->text, name, f->executable);
  }
  return ok;
}

static int make_project(const Options *o, const char *name, const char *kind, const char *ability) {
  if (mkdir(name, 0777) != 0)
    return driver_fail(o, errno == EEXIST ? RT_USAGE : RT_RUN_FAILED, E0562, name, strerror(errno));
  Arena *a = arena_create();
  const bool ok = write_project(a, name, kind, ability);
  const int reason = errno;
  arena_destroy(a);
  if (!ok) return driver_fail(o, RT_RUN_FAILED, E0517, name, strerror(reason));
  if (!o->rt.quiet && !o->rt.json)
    printf("%s/: a %s with the ability %s. Next:\n  cd %s\n  cmake -S . -B build && cmake --build build && "
           "ctest --test-dir build\n",
           name, kind, ability, name);
  return RT_OK;
}

int plugin_new(const Options *o) {
  const char *name = o->arguments[1], *ability = o->plugin.ability, *kind = o->plugin.kind;
  const char *fault = name_fault(name);
  if (fault) return driver_fail(o, RT_USAGE, E0561, name, fault);
  if (!kind) kind = ability && strcmp(ability, "gate") == 0 ? "gate" : "regularizer";
  if (!ability) ability = "expr";
  const char *abilities[N_SOURCES];
  uint32_t n = 0;
  for (uint32_t i = 0; i < N_SOURCES; i++) {
    if (strcmp(sources[i].kind, kind) != 0) continue;
    if (strcmp(sources[i].ability, ability) == 0) return make_project(o, name, kind, ability);
    abilities[n++] = sources[i].ability;
  }
  if (n) return driver_fail_near(o, RT_USAGE, ability, abilities, n, E0563, kind, ability);
  const char *kinds[] = {"regularizer", "gate"};
  return driver_fail_near(o, RT_USAGE, kind, kinds, 2, E0564, kind, NULL);
}
