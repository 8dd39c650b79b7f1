/* SPDX-License-Identifier: Apache-2.0
 * short_plugin.c -- its RoutePlugin ends too early */
#define PLUGIN_SIZE (sizeof(RoutePlugin) - sizeof(void *))
#include "skeleton.h"
