#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# math_exhaustive.sh [STRIDE]: each emitted function on every float (every STRIDE-th), held against libm in double and the bounds in
# compiler/llvm/math.c, with equal bits from AVX-512, AVX2 and scalar code; on all CPUs, each some minutes a function.
# LLVM_MATH: build/tests/test_llvm_math.
set -eu
test=${LLVM_MATH:-$(cd "$(dirname "$0")/.." && pwd)/build/tests/test_llvm_math}
"$test" --list | xargs -P "$(nproc)" -n 1 "$test" --stride "${1:-1}" 2>&1 | grep -E ' ulp |FAILED'
[ "${PIPESTATUS[1]}" = 0 ]
