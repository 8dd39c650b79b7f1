/* SPDX-License-Identifier: Apache-2.0
 * docs_bytes.c -- what a user would be shown is no UTF-8 */
#define PARAM {"strength", "weight \xc0\x80", 1, 0, 100, 0, 0}
#include "skeleton.h"
