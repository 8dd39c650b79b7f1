/* SPDX-License-Identifier: Apache-2.0
 * short_op.c -- its op ends too early */
#define OP_SIZE (sizeof(RouteOp) - 4)
#include "skeleton.h"
