/* SPDX-License-Identifier: Apache-2.0
 * doctor.h -- is this machine fit to run? */
#ifndef ROUTEC_DOCTOR_H
#define ROUTEC_DOCTOR_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Makes the BLAS single-threaded and, once per CPU and BLAS (a mark in the XDG cache folder), checks it
 * against the naive twin. false: wrong results. */
bool doctor_blas_once(void);
/* An instruction set, and whether a CPU has it. */
typedef struct CpuFeature {
  const char *name;
  int present;
} CpuFeature;
/* The first one that code uses and this CPU lacks, of those known to matter; false if there is none. Code is for an LLVM-style
 * list ("+avx512f,+fma,-sse4a") and for a level of x86-64 ("x86-64-v3"); another `cpu` says nothing more than its list. NULL: "". */
bool doctor_missing_feature(const char *cpu, const char *features, char *out, size_t cap);
/* The same of a CPU that has what `has` says. */
bool doctor_missing_of(const CpuFeature *has, uint32_t n, const char *cpu, const char *features, char *out, size_t cap);
void doctor_cpu_model(char *out, size_t cap);
#endif
