#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Raw parameters: tensors and numbers, routed by a constant mask, without data and beside data; their initial values.
. "$(dirname "$0")/../lib/cli.sh"
. "$ROUTEC_ROOT/tests/lib/train.sh"
cat >alone.route <<'ROUTE'
edition 1
param start: real = 2
parameter w: f32[2, 3] = start
parameter v: f32[4] = 1
parameter n: f32[1000] = normal(mean = 3, std = 0.5)
split w { left = 0 .. 1; right = rest }
route half: gradient of w { otherwise to { left = 1.0; right = 0.5 } }
route off: gradient of v { otherwise to none }
loss l = sum(square(w)) + sum(square(v)) + 0 * sum(n)
optimize sgd(lr = 0.125) { masked = freeze }
train 1 steps {}
ROUTE
train alone.route alone
f=$(weights_of alone)
# 2 - 0.125 * 4 = 1.5; with half the gradient 1.75
$tool values "$f" w 1.5 1.75 1.75 1.5 1.75 1.75 || fail "w"
$tool values "$f" v 1 1 1 1 || fail "v"
"$python" - "$f" "$ROUTEC_ROOT/tests/lib" <<'PY' || fail "initial values"
import sys
sys.path.insert(0, sys.argv[2])
import safetensors
t = safetensors.load(sys.argv[1])
shape, n = t['n']
mean = sum(n) / 1000
std = (sum((x - mean) ** 2 for x in n) / 1000) ** 0.5
assert list(shape) == [1000] and abs(mean - 3) < 0.1 and abs(std - 0.5) < 0.05, (mean, std)
PY
pass
# beside data: y = scale * x, and the evaluation reads the trained value
printf '1,3\n2,6\n-1,-3\n0.5,1.5\n' >line.csv
cat >beside.route <<'ROUTE'
edition 1
data line {
  source = csv("line.csv", x = 0, y = 1)
  x: f32[] = source.x
  y: f32[] = source.y
}
parameter scale: f32[] = 0
model { guess = scale * x }
loss l = square(guess - y)
optimize sgd(lr = 0.1)
train { batch = 4; for = 200 steps }
evaluate fit { on = line.train; error = square(guess - y); scale = scale }
expect fit.error < 1e-6 and fit.scale > 2.999 and fit.scale < 3.001
ROUTE
train beside.route beside
says_not "fail"
echo "$n_checks checks"
