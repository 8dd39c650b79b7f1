/* SPDX-License-Identifier: Apache-2.0
 * undefined.c -- needs a function that is nowhere */
double route_test_that_is_nowhere(double x);
#define ENTRY return route_test_that_is_nowhere(1) > 0 ? &plugin : NULL;
#include "skeleton.h"
