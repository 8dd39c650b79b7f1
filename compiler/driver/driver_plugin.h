/* SPDX-License-Identifier: Apache-2.0
 * driver_plugin.h -- what the commands about plugins share. */
#ifndef ROUTEC_DRIVER_PLUGIN_H
#define ROUTEC_DRIVER_PLUGIN_H
#include "driver.h"
#include "plugin.h"
#include <limits.h>

/* Does the word mean a file: has it a `/`, or the ending .so? */
bool plugin_is_path(const char *word);
/* The plugin that `word` means, loaded and with sound tables; `path` is its file, "" if it is built in. Exit
 * code: it was told why it is not there (RT_USAGE), or refused (RT_PLUGIN_REFUSED). */
int plugin_named(const Options *o, const char *word, const RoutePlugin **p, char path[PATH_MAX]);

int plugin_show(const Options *o);  /* driver_plugin_show.c */
int plugin_check(const Options *o); /* driver_plugin_check.c */
int plugin_new(const Options *o);   /* driver_plugin_new.c */
#endif
