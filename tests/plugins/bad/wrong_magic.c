/* SPDX-License-Identifier: Apache-2.0
 * wrong_magic.c -- its magic number is another */
#define ABI {0x12345678u, ROUTE_ABI_MAJOR, ROUTE_ABI_MINOR, sizeof(void *), sizeof(float), 64}
#include "skeleton.h"
