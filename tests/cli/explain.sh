#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every code of the compiler and of the runtime has a page.
. "$(dirname "$0")/../lib/cli.sh"
expect 0 explain
codes=$(grep -o '^[EW][0-9]\{4\}' "$work/.out")
[ "$(echo "$codes" | wc -l)" -ge 60 ] || fail "only $(echo "$codes" | wc -l) codes"
[ "$(echo "$codes" | sort | uniq -d)" = "" ] || fail "codes used twice: $(echo "$codes" | sort | uniq -d)"
for code in $codes; do
  expect 0 explain "$code"
  [ "$(wc -c <"$work/.out")" -ge 40 ] || fail "the page of $code says too little"
done
grep -q '^E07' <<<"$codes" || fail "codes of the runtime are missing"
expect 0 explain E0312
says "parts of \`...\` overlap"
expect 0 explain E0312 --json
is_json "$work/.out"
expect 0 explain --json
is_json "$work/.out"
says_not "%s"
expect 2 doctor --json
expect 0 doctor
says "LLVM"
says "vector"
echo "$n_checks checks"
