/* SPDX-License-Identifier: Apache-2.0
 * fuzz_idx.c -- libFuzzer: the IDX parser. */
#include "array.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
  Slab s;
  RawArray a;
  RtError e = {0};
  if (!slab_alloc(&s, (int64_t)n, "input", &e)) return 0;
  memcpy(s.bytes, bytes, n);
  if (!idx_parse("input", &s, &a, &e)) return e.code == RT_NO_ERROR ? __builtin_trap(), 0 : 0;
  int64_t values;
  if (!mem_product(a.dims, a.rank, &values)) __builtin_trap();
  unsigned sum = 0; /* every promised byte is there */
  for (int64_t i = 0; i < values * raw_size(a.type); i++) sum += a.values[i];
  raw_free(&a);
  return sum == 12345678u ? 0 : 0;
}
