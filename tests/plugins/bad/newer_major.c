/* SPDX-License-Identifier: Apache-2.0
 * newer_major.c -- of a later contract */
#define ABI {ROUTE_ABI_MAGIC, ROUTE_ABI_MAJOR + 1, ROUTE_ABI_MINOR, sizeof(void *), sizeof(float), 64}
#include "skeleton.h"
