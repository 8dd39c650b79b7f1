/* SPDX-License-Identifier: Apache-2.0
 * no_ops.c -- an empty list of ops */
#define OPS NULL
#include "skeleton.h"
