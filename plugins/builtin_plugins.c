/* SPDX-License-Identifier: Apache-2.0
 * builtin_plugins.c -- the table of built-in plugins. builtin_plugins.def has a row PLUGIN(folder) for each
 * folder, written by CMake; each folder is compiled with an entry function of its own name. */
#include "builtin_plugins.h"
#include <string.h>

#define PLUGIN(folder) const RoutePlugin *route_plugin_##folder(void);
#include "builtin_plugins.def"
#undef PLUGIN

static const RoutePlugin *(*const table[])(void) = {
#define PLUGIN(folder) route_plugin_##folder,
#include "builtin_plugins.def"
#undef PLUGIN
};

const RoutePlugin *plugin_builtin_at(uint32_t i) {
  return i < sizeof table / sizeof *table ? table[i]() : NULL;
}

const RoutePlugin *plugin_builtin(const char *name) {
  const RoutePlugin *p;
  for (uint32_t i = 0; (p = plugin_builtin_at(i)); i++)
    if (!strcmp(p->name, name)) return p;
  return NULL;
}

const RouteOp *plugin_builtin_op(const char *name, const RoutePlugin **plugin) {
  for (uint32_t i = 0; (*plugin = plugin_builtin_at(i)); i++)
    for (uint32_t k = 0; (*plugin)->ops[k]; k++)
      if (!strcmp((*plugin)->ops[k]->name, name)) return (*plugin)->ops[k];
  return NULL;
}
