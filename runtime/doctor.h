/* SPDX-License-Identifier: Apache-2.0
 * doctor.h -- is this machine fit to run? */
#ifndef ROUTEC_DOCTOR_H
#define ROUTEC_DOCTOR_H
#include <stdbool.h>
#include <stddef.h>

/* Makes the BLAS single-threaded and, once per CPU and BLAS (a mark in the XDG cache folder), checks it
 * against the naive twin. false: wrong results. */
bool doctor_blas_once(void);
/* The first feature of an LLVM-style list ("+avx512f,+fma,-sse4a") that code uses and this CPU lacks, of
 * those known to matter; false if there is none. */
bool doctor_missing_feature(const char *features, char *out, size_t cap);
void doctor_cpu_model(char *out, size_t cap);
#endif
