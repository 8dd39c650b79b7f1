/* SPDX-License-Identifier: Apache-2.0
 * docs.c -- what a user would be shown does something to the terminal */
#define PARAM {"strength", "weight \033[2J", 1, 0, 100, 0, 0}
#include "skeleton.h"
