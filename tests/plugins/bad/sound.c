/* SPDX-License-Identifier: Apache-2.0
 * sound.c -- nothing is wrong with it */
#include "skeleton.h"
