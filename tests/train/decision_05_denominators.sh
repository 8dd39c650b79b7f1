#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Decision 5: the denominator of a loss is explicit: over the subset, over the batch, a constant. An empty subset gives 0, not
# NaN, and its gradient too.
. "$(dirname "$0")/../lib/cli.sh"
. "$ROUTEC_ROOT/tests/lib/train.sh"
# values 1 .. 6; a class of two data, one of four, one of none
printf '%s\n' 1,0 2,0 3,1 4,1 5,1 6,1 >rows.csv
cat >spec.route <<'ROUTE'
edition 1
data rows {
  source = csv("rows.csv", x = 0, y = 1)
  x: f32[] = source.x
  y: int in 0 ..= 3 = source.y
}
parameter w: f32[] = 1
model { h = w * x }
class few = y == 0
class nobody = y == 2
loss batch = h
loss subset = h { mean_over = few }
loss both = h { mean_by = few }
loss empty = h { mean_over = nobody }
loss empty_half = h { mean_by = nobody }
loss groups = h { mean_by = y }
loss fixed = h { per = 8 }
loss total = h { sum }
optimize sgd(lr = 0) { masked = zero_grad }
train { batch = 6; for = 1 steps; log = 1 steps }
ROUTE
train spec.route run
"$python" - run/metrics.jsonl <<'PY' || fail "a loss has another denominator than it says"
import json, sys
got = [json.loads(l)['loss'] for l in open(sys.argv[1]) if '"loss"' in l][0]
want = dict(batch=21 / 6, subset=3 / 2, both=3 / 2 + 18 / 4, empty=0, empty_half=21 / 6, groups=3 / 2 + 18 / 4, fixed=21 / 8, total=21)
for k, v in want.items():
    assert got[k] == v, (k, got[k], v)
PY
pass
slope() { # slope LOSS VALUE: the gradient is that of the same sum
  expect 0 grad spec.route --loss "$1" -o "$1.safetensors"
  $tool values "$1.safetensors" w "$2" || fail "gradient of $1"
}
slope batch 3.5
slope subset 1.5
slope empty 0
slope empty_half 3.5
slope fixed 2.625
slope total 21
# it is a constant for every row: halving the batch halves a fixed denominator's loss and leaves a mean
printf '%s\n' 1,0 2,0 3,1 >half.csv
sed 's/rows.csv/half.csv/; s/batch = 6/batch = 3/' spec.route >half.route
expect 0 grad half.route --loss fixed -o fixed.safetensors
$tool values fixed.safetensors w 0.75 || fail fixed
expect 0 grad half.route --loss batch -o batch.safetensors
$tool values batch.safetensors w 2 || fail batch
echo "$n_checks checks"
