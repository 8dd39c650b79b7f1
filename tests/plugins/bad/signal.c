/* SPDX-License-Identifier: Apache-2.0
 * signal.c -- takes a signal while it is loaded */
#include <signal.h>
__attribute__((constructor)) static void crash(void) { raise(SIGSEGV); }
#include "skeleton.h"
