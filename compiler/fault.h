/* SPDX-License-Identifier: Apache-2.0
 * fault.h -- faults that can be injected on purpose, for the tests of the tests. With the build option
 * ROUTEC_FAULTS the environment variable ROUTEC_FAULT names one fault, and fault("that name") is true;
 * without the option every call is the constant 0 and no trace of it is left in the program.
 * tests/faults.sh lists the names, each with the test that must catch it. */
#ifndef ROUTEC_FAULT_H
#define ROUTEC_FAULT_H
#ifdef ROUTEC_FAULTS
#include <stdlib.h>
#include <string.h>
static inline int fault(const char *name) {
  const char *wanted = getenv("ROUTEC_FAULT");
  return wanted && strcmp(wanted, name) == 0;
}
#else
#define fault(name) 0
#endif
#endif
