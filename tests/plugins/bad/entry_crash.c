/* SPDX-License-Identifier: Apache-2.0
 * entry_crash.c -- an entry function that gives no address of tables */
#define ENTRY (void)&plugin; return (const RoutePlugin *)4096;
#include "skeleton.h"
