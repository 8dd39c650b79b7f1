/* SPDX-License-Identifier: Apache-2.0
 * name_bytes.c -- its name cannot be shown */
#define PLUGIN_NAME "ba\033[31md"
#include "skeleton.h"
