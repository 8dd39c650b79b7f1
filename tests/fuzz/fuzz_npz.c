/* SPDX-License-Identifier: Apache-2.0
 * fuzz_npz.c -- libFuzzer: the NPZ parser on the whole input and the NPY parser on it as well. */
#include "array.h"
#include <string.h>

static unsigned touch(RawArray *a) {
  int64_t values;
  unsigned sum = 0;
  if (!mem_product(a->dims, a->rank, &values)) __builtin_trap();
  for (int64_t i = 0; i < values * raw_size(a->type); i++) sum += a->values[i];
  raw_free(a);
  return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
  Slab s;
  RawArray a;
  RtError e = {0}, f = {0};
  bool found;
  unsigned sum = 0;
  if (!slab_alloc(&s, (int64_t)n, "input", &e)) return 0;
  memcpy(s.bytes, bytes, n);
  if (npz_parse("input", &s, "x", &a, &found, &e) && found) sum += touch(&a);
  if (npy_parse("input", &s, &a, &f)) sum += touch(&a);
  return sum == 12345678u ? 0 : 0;
}
