#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Decision 13: what routing saves. A mask on the gradient of an activation: weight and data gradients of what it blocks upstream;
# a mask on parameters: weight gradients only; a mask on the value: the forward pass too. Rows of a batch are sorted by class, so
# that masks are constants of blocks of rows; random numbers are keyed by datum, not by row, and do not see it.
#   Forward, 2 x 512 rows: fc0 6 x 128, fc1 128 x 256, fc2 256 x 64, head 64 x 4: 0.8, 33.6, 16.8, 0.3 MFLOP. Backward each twice,
#   but once for fc0. The class has half of the batch.
. "$(dirname "$0")/../lib/cli.sh"
. "$ROUTEC_ROOT/tests/lib/train.sh"
tiny_data
spec() { # spec ROUTE GROUP [DROPOUT]
  cat <<ROUTE
edition 1
data points {
  source = csv("tiny.csv", x = 0 .. 6, y = 6)
  x: f32[6] = source.x
  y: int in 0 ..= 3 = source.y
}
model {
  first = x |> fc0: linear(128) |> tanh ${3:-}
  h = first |> fc1: linear(256) |> tanh
  guess = h |> fc2: linear(64) |> tanh |> head: linear(4)
}
split h { a = 0 .. 128; b = rest }
class low = y in 0 ..= 1
$1
loss l = cross_entropy(guess, y)
optimize sgd(lr = 0.05) { masked = zero_grad }
train { batch = 512; for = 12 steps; group = $2; $every_step }
ROUTE
}
work_of() { # work_of NAME: MFLOP of matrix products, forward and backward
  expect 0 plan "$1.route"
  read -r forward backward < <(sed -n '/^training step/,$p' .out | sed -n 's/^  \(forward\|backward\) *\([0-9.]*\) MFLOP in matrix products.*/\2/p' | head -2 | tr '\n' ' ')
  [ -n "${backward:-}" ] || fail "the plan has another form"
}
is() { # is WHAT VALUE WANT: within 3 %
  "$python" -c "import sys; a, b = float(sys.argv[1]), float(sys.argv[2]); sys.exit(abs(a - b) > 0.03 * b + 0.2)" "$2" "$3" || fail "$1: $2 MFLOP, not $3"
  pass
}
saves() { # saves NAME ROUTE FORWARD BACKWARD
  spec "$2" true >"$1.route"
  work_of "$1"
  is "$1, forward" "$forward" "$3"
  is "$1, backward" "$backward" "$4"
}
saves none '' 51.4 102.1
# half of dW of fc0 and fc1 and of the signals through fc1 and fc2: (0.8 + 33.6 + 33.6 + 16.8) / 2
saves gradient 'route r: gradient of h { when low to none; otherwise to all }' 51.4 59.7
# half of dW of fc1 and fc2
saves parameters 'route r: parameters of h { when low to none; otherwise to all }' 51.4 76.9
# half of all but the head
saves value 'route r: value of h { when low to none; otherwise to all }' 25.8 51.3
# half of the units for half of the data: of dW fc1, and of the signal through fc2; all of the rest goes on
saves units 'route r: gradient of h { when low to a; otherwise to all }' 51.4 81.1
# what no datum may change gets no code, with or without sorting: dW of fc2 and head, and the signal through the head
spec 'route r: gradient of h { otherwise to none }' false >never.route
work_of never
is "never, backward" "$backward" 17.3
# without sorting a class is a mask and saves nothing
spec 'route r: gradient of h { when low to none; otherwise to all }' false >flat.route
work_of flat
is "flat, backward" "$backward" 102.1

# sorted or not: the same run but for the order of sums, and the same draws of dropout
for primitive in 'gradient of h { when low to a; otherwise to all }' 'parameters of h { when low to a; otherwise to all }' 'value of h { when low to a; otherwise to all }'; do
  for group in true false; do
    spec "route r: $primitive" $group '|> dropout(0.5)' >run_$group.route
    rm -rf run_$group
    train run_$group.route run_$group
  done
  near_losses run_true run_false 1e-4
done
echo "$n_checks checks"
