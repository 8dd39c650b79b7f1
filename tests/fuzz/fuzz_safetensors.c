/* SPDX-License-Identifier: Apache-2.0
 * fuzz_safetensors.c -- libFuzzer: the safetensors reader. */
#include "safetensors.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
  Slab s;
  StFile f;
  RtError e = {0};
  if (!slab_alloc(&s, (int64_t)n, "input", &e)) return 0;
  memcpy(s.bytes, bytes, n);
  if (!st_parse("input", &s, &f, &e)) return 0;
  unsigned sum = 0;
  for (uint32_t t = 0; t < f.n; t++)
    for (size_t i = 0; i < f.tensors[t].bytes; i++) sum += f.tensors[t].data[i];
  st_close(&f);
  return sum == 12345678u ? 0 : 0;
}
