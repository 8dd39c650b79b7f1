/* SPDX-License-Identifier: Apache-2.0
 * default_outside.c -- a default outside of its range */
#define PARAM {"strength", "weight of the penalty", -1, 0, 100, 0, 0}
#include "skeleton.h"
