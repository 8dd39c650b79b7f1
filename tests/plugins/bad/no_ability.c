/* SPDX-License-Identifier: Apache-2.0
 * no_ability.c -- an op that can do nothing */
#define FIND(id) ((void)(id), (const void *)NULL)
#include "skeleton.h"
