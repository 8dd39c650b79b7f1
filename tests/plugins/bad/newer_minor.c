/* SPDX-License-Identifier: Apache-2.0
 * newer_minor.c -- of a later revision of the contract */
#define ABI {ROUTE_ABI_MAGIC, ROUTE_ABI_MAJOR, ROUTE_ABI_MINOR + 1, sizeof(void *), sizeof(float), 64}
#include "skeleton.h"
