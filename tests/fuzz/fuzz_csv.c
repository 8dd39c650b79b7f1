/* SPDX-License-Identifier: Apache-2.0
 * fuzz_csv.c -- libFuzzer: the CSV parser; the first two bytes choose skipped lines and the width of a
 * column. */
#include "array.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
  Slab s;
  RawArray a[2];
  RtError e = {0};
  if (n < 2 || !slab_alloc(&s, (int64_t)n - 2, "input", &e)) return 0;
  memcpy(s.bytes, bytes + 2, n - 2);
  const CsvColumn columns[2] = {{"x", 0, 1 + bytes[1] % 8, false},
                                {"y", bytes[1] / 8 % 8, bytes[1] / 8 % 8 + 1, true}};
  if (csv_parse("input", &s, bytes[0] % 4, columns, 2, a, &e)) {
    if (a[0].dims[0] != a[1].dims[0] || a[0].dims[0] < 1) __builtin_trap();
    raw_free(&a[0]), raw_free(&a[1]);
  } else if (e.code == RT_NO_ERROR) {
    __builtin_trap();
  }
  slab_free(&s);
  return 0;
}
