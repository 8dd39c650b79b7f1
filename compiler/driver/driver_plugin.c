/* SPDX-License-Identifier: Apache-2.0
 * driver_plugin.c -- `routec plugin`: what to do with plugins, and which one a word means. */
#include "driver_plugin.h"
#include "builtin_plugins.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool plugin_is_path(const char *word) {
  const size_t n = strlen(word);
  return strchr(word, '/') || (n > 3 && strcmp(word + n - 3, ".so") == 0);
}

static int load(const Options *o, const char *file, const RoutePlugin **p, char path[PATH_MAX]) {
  RtError e = {0};
  if (!realpath(file, path)) snprintf(path, PATH_MAX, "%s", file);
  *p = rt_plugin_load(path, NULL, NULL, &e);
  if (*p) return RT_OK;
  fflush(stdout);
  rt_error_print(&e, o->rt.json ? stdout : stderr, o->rt.json, o->rt.color);
  return RT_PLUGIN_REFUSED;
}

/* NAME.so or libNAME.so in this folder or in those of --plugin-path and its like. */
static bool plugin_file(const Options *o, const char *name, char file[PATH_MAX]) {
  Arena *arena = arena_create();
  const char *const *folders = driver_plugin_folders(arena, o->plugin_path);
  bool found = false;
  for (uint32_t i = 0; !found && (i == 0 || folders[i - 1]); i++)
    for (int lib = 0; lib < 2 && !found; lib++) {
      snprintf(file, PATH_MAX, "%s/%s%s.so", i ? folders[i - 1] : ".", lib ? "lib" : "", name);
      found = access(file, F_OK) == 0;
    }
  arena_destroy(arena);
  return found;
}

int plugin_named(const Options *o, const char *word, const RoutePlugin **p, char path[PATH_MAX]) {
  const char *names[64];
  char file[PATH_MAX];
  uint32_t n = 0;
  path[0] = 0;
  if (plugin_is_path(word)) return load(o, word, p, path);
  for (const RoutePlugin *b; n < 64 && (b = plugin_builtin_at(n)); n++) {
    names[n] = b->name;
    if (strcmp(b->name, word) == 0) return *p = b, RT_OK;
  }
  if (plugin_file(o, word, file)) return load(o, file, p, path);
  return driver_fail_near(o, RT_USAGE, word, names, n, E0565, word, NULL);
}

/* An option that `show`, `check` or `new` (0, 1, 2) would ignore; NULL: none was given. */
static const char *idle_option(const Options *o, uint32_t what) {
  if (what != 1 && o->plugin.op) return "--op";
  if (what != 1 && o->plugin.asan) return "--asan";
  if (what != 1 && o->rt.has_seed) return "--seed";
  if (what != 2 && o->plugin.kind) return "--kind";
  if (what != 2 && o->plugin.ability) return "--ability";
  return what == 2 && o->plugin_path ? "--plugin-path" : NULL;
}

int driver_command_plugin(const Options *o) {
  static const char *const commands[] = {"plugin show", "plugin check", "plugin new"};
  static const struct {
    const char *name;
    uint32_t least, most;
    int (*run)(const Options *o);
  } what[] = {{"show", 0, 2, plugin_show}, {"check", 1, 1, plugin_check}, {"new", 1, 1, plugin_new}};
  const char *names[3];
  for (uint32_t i = 0; i < 3; i++) names[i] = what[i].name;
  for (uint32_t i = 0; i < 3; i++) {
    if (strcmp(o->argument, names[i]) != 0) continue;
    if (o->n_arguments - 1 < what[i].least)
      return driver_fail(o, RT_USAGE, E0504, "plugin", i == 1 ? "NAME or FILE.so" : "NAME");
    if (o->n_arguments - 1 > what[i].most)
      return driver_fail(o, RT_USAGE, E0505, o->arguments[what[i].most + 1], "plugin");
    const char *idle = idle_option(o, i);
    return idle ? driver_fail(o, RT_USAGE, E0503, idle, commands[i]) : what[i].run(o);
  }
  return driver_fail_near(o, RT_USAGE, o->argument, names, 3, E0560, o->argument, NULL);
}
