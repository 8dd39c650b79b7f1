/* SPDX-License-Identifier: Apache-2.0
 * duplicate_name.c -- two ops of one name */
#define OPS &op, &op
#include "skeleton.h"
