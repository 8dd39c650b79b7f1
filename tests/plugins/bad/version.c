/* SPDX-License-Identifier: Apache-2.0
 * version.c -- a version that is none */
#define VERSION "1.2"
#include "skeleton.h"
