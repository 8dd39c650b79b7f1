/* SPDX-License-Identifier: Apache-2.0
 * hang.c -- never ends loading */
#include <unistd.h>
__attribute__((constructor)) static void wait_for_ever(void) {
  for (;;) pause();
}
#include "skeleton.h"
