#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# An evaluation gives the same numbers for any number of threads, whatever batch training has: kernels that both could use share
# rows between threads by the batch that they were planned for.
. "$(dirname "$0")/../lib/cli.sh"
. "$ROUTEC_ROOT/tests/lib/train.sh"
cat >spec.route <<SPEC
edition 1
param rows: int in 1 ..= 4096 = 300
data digits {
  source = csv("$ROUTEC_ROOT/data/digits.csv.gz", pixels = 0 .. 64, digit = 64, holdout = 359)
  image: f32[64] = source.pixels / 8 - 1
  label: int in 0 ..= 9 = source.digit
}
model {
  h = image |> fc1: linear(70) |> layer_norm() |> relu
  logits = h |> fc2: linear(10)
}
loss l = cross_entropy(logits, label)
optimize adam(lr = 1e-3)
train { batch = rows; for = 3 steps }
evaluate all { on = digits.test; by = label; right = accuracy(logits, label); error = cross_entropy(logits, label); width = mean(h * h, over = -1) }
SPEC
tables() { grep '"evaluation"' "$1/metrics.jsonl"; }
for rows in 7 64 100 300 500 1024; do
  train spec.route "t1-$rows" --threads 1 --set rows=$rows
  for n in 2 3 4; do
    train spec.route "t$n-$rows" --threads $n --set rows=$rows
    [ -s "t1-$rows/metrics.jsonl" ] && cmp -s <(tables "t1-$rows") <(tables "t$n-$rows") || fail "batch $rows: evaluations of 1 and $n threads differ: $(tables "t1-$rows" | cut -c1-300) $(tables "t$n-$rows" | cut -c1-300)"
    pass
  done
done
echo "$n_checks checks"
