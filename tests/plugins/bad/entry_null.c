/* SPDX-License-Identifier: Apache-2.0
 * entry_null.c -- an entry function that gives nothing */
#define ENTRY (void)&plugin; return NULL;
#include "skeleton.h"
