/* SPDX-License-Identifier: Apache-2.0
 * other_real.c -- computes in double */
#define ABI {ROUTE_ABI_MAGIC, ROUTE_ABI_MAJOR, ROUTE_ABI_MINOR, sizeof(void *), sizeof(double), 64}
#include "skeleton.h"
