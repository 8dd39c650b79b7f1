#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Decision 11: routed copies of a value share one forward pass and one draw of every random number. Losses that are routed
# differently need backward passes of their own, but they see the same dropout.
. "$(dirname "$0")/../lib/cli.sh"
. "$ROUTEC_ROOT/tests/lib/train.sh"
tiny_data
spec() { # spec ROUTES
  cat <<ROUTE
edition 1
data points {
  source = csv("tiny.csv", x = 0 .. 6, y = 6)
  x: f32[6] = source.x
  y: int in 0 ..= 3 = source.y
}
model {
  h = x |> fc: linear(32) |> relu |> dropout(0.5)
  recon = h |> back: linear(6)
  guess = h |> head: linear(4)
}
split h { a = 0 .. 16; b = rest }
class low = y in 0 ..= 1
$1
loss shape = mse(recon, x)
loss label = cross_entropy(guess, y)
optimize sgd(lr = 0.1) { masked = zero_grad }
train { batch = 13; for = 15 steps; $every_step }
ROUTE
}
two='route s: gradient of h for shape { when low to a; otherwise to b }
route l: gradient of h for label { when low to { a = 0.5; b = 1.0 }; otherwise to all } { also }'
spec "$two" >two.route
spec '' >none.route
# three products forward, and backward two for each loss and one below h, where the routes' masks end: 8 with them or without
for name in none two; do
  expect 0 plan $name.route
  says "(8 matrix products,"
done
expect 0 check two.route --dump=simplify
[ "$(grep -c ' random ' .out)" = 1 ] || fail "there is not one draw"
# the first step's losses do not know of the routes
train none.route none
train two.route two
[ "$(grep -m1 '"loss"' none/metrics.jsonl | grep -o '"loss".*}')" = "$(grep -m1 '"loss"' two/metrics.jsonl | grep -o '"loss".*}')" ] ||
  fail "the losses of the first step differ"
pass
# the two passes use the same draw: units that dropout closed get no gradient from either
expect 0 grad two.route --rows 1 -o whole.safetensors
for loss in shape label; do expect 0 grad two.route --rows 1 --loss $loss -o $loss.safetensors; done
$tool adds_up 1e-6 whole.safetensors shape.safetensors label.safetensors || fail "the passes do not add up"
expect 0 grad none.route --rows 1 -o none.safetensors
"$python" - "$ROUTEC_ROOT/tests/lib" <<'PY' || fail "dropout differs between the passes"
import sys
sys.path.insert(0, sys.argv[1])
import safetensors
open_units = [{u for u in range(32) if t['fc.bias'][1][u]} for t in (safetensors.load(n + '.safetensors') for n in ('none', 'shape', 'label'))]
none, shape, label = open_units
print(none, shape, label)
first, second = set(range(16)), set(range(16, 32))
assert shape < none and len(none) < 24 and label == none and (shape == none & first or shape == none & second)
PY
pass
echo "$n_checks checks"
