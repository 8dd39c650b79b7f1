/* SPDX-License-Identifier: Apache-2.0
 * formula.c -- a formula that takes more than there is */
#define CODE {ROUTE_X_INPUT, 0, 0}, {ROUTE_X_SUM_UNITS, 0, 0}, {ROUTE_X_ADD, 0, 0}, {ROUTE_X_END, 0, 0}
#include "skeleton.h"
