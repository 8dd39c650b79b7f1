#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# many.sh [COUNT [FIRST]]: random programs by the thousand (10,000), each compiled without its routes too and each third for
# AVX2; in shares of 200, so that what failed is known early. RANDOM_STEP: build/tests/random_step.
set -u
here=$(cd "$(dirname "$0")/../.." && pwd)
export ROUTEC_ROOT=$here RANDOM_STEP=${RANDOM_STEP:-$here/build/tests/random_step} PLAIN=${PLAIN:-1} VECTORS=${VECTORS:-3}
count=${1:-10000} first=${2:-1} failed=0
for ((at = first; at < first + count; at += 200)); do
  n=$((first + count - at < 200 ? first + count - at : 200))
  bash "$here/tests/random/random.sh" $n $at || failed=$((failed + 1))
done
echo "shares with failures: $failed"
[ $failed = 0 ]
