#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# build.sh [COUNT [FIRST]]: random programs as trainers of their own: `routec build` gives the bytes of `routec run`.
. "$(dirname "$0")/../lib/cli.sh"
count=${1:-4} first=${2:-1}
python3 "$ROUTEC_ROOT/tests/random/generate.py" . "$first" "$count" >list || fail "generate.py"
while read -r spec _; do
  echo "$spec"
  expect 0 run "$spec" --run-dir "$spec-run" --threads 1
  expect 0 build "$spec" -o "$spec-trainer"
  "$spec-trainer" run --run-dir "$spec-built" --threads 2 >"$work/.out" 2>"$work/.err" || fail "$spec: the trainer ended with $?"
  same_tensors "$(weights_of "$spec-run")" "$(weights_of "$spec-built")"
  cmp -s "$spec-run/metrics.jsonl" "$spec-built/metrics.jsonl" || fail "$spec: other metrics"
  pass
done <list
[ "$(wc -l <list)" = "$count" ] || fail "programs"
echo "$n_checks checks, seeds $first to $((first + count - 1))"
