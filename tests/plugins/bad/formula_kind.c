/* SPDX-License-Identifier: Apache-2.0
 * formula_kind.c -- a formula whose result is not one number */
#define CODE {ROUTE_X_INPUT, 0, 0}, {ROUTE_X_SUM_UNITS, 0, 0}, {ROUTE_X_END, 0, 0}
#include "skeleton.h"
