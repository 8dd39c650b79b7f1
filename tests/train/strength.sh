#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The strength of a route: a number, a schedule, a class of data, a weight for each datum. The factor is 1 + s (m - 1).
. "$(dirname "$0")/../lib/cli.sh"
. "$ROUTEC_ROOT/tests/lib/train.sh"
# x, weight, label: dw = sum of factor * x
printf '%s\n' 1,0,0 2,0.25,0 4,1,0 8,0.5,1 16,1,1 >rows.csv
spec() { # spec ROUTE
  cat <<ROUTE
edition 1
data rows {
  source = csv("rows.csv", x = 0, v = 1, y = 2)
  x: f32[] = source.x
  v: f32[] = source.v
  y: int in 0 ..= 1 = source.y
}
parameter w: f32[] = 1
model { h = w * x }
class soft = v
class low = y == 0
$1
loss l = h { sum }
optimize sgd(lr = 1) { masked = freeze }
train { batch = 5; for = 10 steps; shuffle = false }
ROUTE
}
dw() { # dw ROUTE VALUE [options]
  spec "$1" >spec.route
  local want=$2
  shift 2
  expect 0 grad spec.route -o g.safetensors "$@"
  $tool near_values 1e-6 g.safetensors w "$want" || fail "$1"
}
route='route r: gradient of h { when low to none; otherwise to all }'
dw "$route" 24
dw "$route { strength = 0.75 }" 25.75
dw "$route { strength = low }" 24              # a class: its data are routed, others are not
dw "route r: gradient of h { otherwise to none } { strength = low }" 24
dw "$route { strength = soft }" 26.5           # 1 + 2 * 0.75 + 4 * 0 + 24
dw "route r: gradient of h { otherwise to none } { strength = soft }" 6.5 # 1 + 1.5 + 0 + 4 + 0
dw "route r: gradient of h { otherwise to none } { strength = ramp(0, 1, over = 4 steps) }" 31
dw "route r: gradient of h { otherwise to none } { strength = ramp(0, 1, over = 4 steps) }" 15.5 --batch-index 2
dw "route r: gradient of h { otherwise to none } { strength = ramp(0, 1, over = 4 steps) }" 0 --batch-index 6
# every datum at strength 0: training without the route
sed -i 's/,[0-9.]*,/,0,/' rows.csv
dw "route r: gradient of h { otherwise to none } { strength = soft }" 31
# a number outside, and a strength that is the model's own
spec "$route { strength = 1.5 }" >spec.route
expect 1 check spec.route
says E0328
spec "$route { strength = h }" >spec.route
expect 1 check spec.route
echo "$n_checks checks"
