#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Decision 6: a mask at a position stops all that passes there; routing by the origin of the loss stops the gradient of a
# position's loss, wherever it passes. Two features, two names, and the second costs a backward pass for each group.
#   z0 = 3 w, z1 = 5 w; the term of position 0 is z0, that of position 1 is z0 + z1. Unrouted dw = 3 + (3 + 5) = 11.
#   Nothing passes position 1:         dw = 3 + 3 = 6.
#   Nothing comes from term 1:         dw = 3.
. "$(dirname "$0")/../lib/cli.sh"
. "$ROUTEC_ROOT/tests/lib/train.sh"
echo 3,5,1,0,0,1 >one.csv
spec() { # spec ROUTE
  cat <<ROUTE
edition 1
data one {
  source = csv("one.csv", x = 0 .. 2, first = 2 .. 4, second = 4 .. 6)
  x: f32[pos = 2] = source.x
  first: f32[pos = 2] = source.first
  second: f32[pos = 2] = source.second
}
parameter w: f32[] = 1
model {
  z = w * x
  term = z + sum(z * first, over = pos) * second
}
class hit = second > 0
$1
loss next = term { sum; by_class = hit }
optimize sgd(lr = 1)
train { batch = 1; for = 1 steps }
ROUTE
}
dw() { # dw NAME ROUTE VALUE
  spec "$2" >"$1.route"
  expect 0 grad "$1.route" -o "$1.safetensors"
  $tool values "$1.safetensors" w "$3" || fail "$1"
}
dw none '' 11
dw position 'route r: gradient of z { when hit to none; otherwise to all }' 6
dw origin 'route r: gradient of z for next.hit { otherwise to none }' 3
dw both 'route r: gradient of z { when hit to none; otherwise to all }
route o: gradient of z for next.hit { otherwise to none } { also }' 3
dw half 'route r: gradient of z for next.hit { otherwise to none } { strength = 0.5 }' 7
# Where nothing tells the origins apart each has but its seed; a route for one of them needs a pass of its own up to z.
values_of() { # values_of NAME ORIGINS: how many values their backward pass has
  expect 0 plan "$1.route"
  sed -n '/^backward passes/,/^$/p' .out | sed -n "s/^  $2  *\([0-9]*\) values,.*/\1/p"
}
[ "$(values_of position next.hit)" = 1 ] || fail "a mask at a position keeps origins apart"
[ "$(values_of half next.hit)" -gt 3 ] || fail "the other origin has no pass of its own"
pass
echo "$n_checks checks"
