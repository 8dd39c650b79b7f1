/* SPDX-License-Identifier: Apache-2.0
 * name.c -- a name that is no identifier */
#define OP_NAME "not a name"
#include "skeleton.h"
