/* SPDX-License-Identifier: Apache-2.0
 * builtin_plugins.h -- the plugins that are linked into routec and into trainers: the folders of plugins/. */
#ifndef ROUTEC_BUILTIN_PLUGINS_H
#define ROUTEC_BUILTIN_PLUGINS_H
#include "route_plugin.h"

const RoutePlugin *plugin_builtin_at(uint32_t i);    /* NULL past the end */
const RoutePlugin *plugin_builtin(const char *name); /* NULL: none of that name */
/* The op of that name of any of them, and the plugin that it is of. */
const RouteOp *plugin_builtin_op(const char *name, const RoutePlugin **plugin);
#endif
