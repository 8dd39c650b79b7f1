#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Decision 8: the gradient of a mixed batch is the sum over homogeneous batches, for every primitive, weights and biases, with
# fixed denominators and no operation that mixes the datum axis.
. "$(dirname "$0")/../lib/cli.sh"
. "$ROUTEC_ROOT/tests/lib/train.sh"
tiny_data
spec() { # spec FILE ROUTES
  cat <<ROUTE
edition 1
data points {
  source = csv("$1", x = 0 .. 6, y = 6)
  x: f32[6] = source.x
  y: int in 0 ..= 3 = source.y
}
module net(v: f32[n]) -> f32[4] { out = v |> fc1: linear(5) |> tanh |> fc2: linear(4) |> layer_norm }
model {
  z = net(x)
  guess = z |> head: linear(4)
}
split z { left = 0 .. 2; right = rest }
split net.fc1.out { a = [0, 3]; b = rest }
class first = y == 0
class second = y == 1
class third = y == 2
class fourth = y == 3
$2
loss l = cross_entropy(guess, y) { per = 10 }
optimize sgd(lr = 1)
train { batch = 67; for = 1 steps; shuffle = false }
ROUTE
}
adds_up() { # adds_up NAME ROUTES: each class alone in a batch of its own
  local name=$1 alone=() k
  spec tiny.csv "$2" >"$name.route"
  expect 0 grad "$name.route" -o "$name.whole"
  for k in 0 1 2 3; do
    grep ",$k\$" tiny.csv >"class_$k.csv"
    spec "class_$k.csv" "$2" >"${name}_$k.route"
    expect 0 grad "${name}_$k.route" -o "$name.alone.$k"
    alone+=("$name.alone.$k")
  done
  $tool adds_up 1e-5 "$name.whole" "${alone[@]}" || fail "$name: homogeneous batches do not add up to the mixed one"
  $tool adds_up 1e-3 "$name.whole" "${alone[@]:1}" >/dev/null && fail "$name: one batch does not matter"
  pass
}
a='route a: gradient of z { when first to left; when second to { left = 0.5; right = -0.75 }; otherwise to right }'
f='route f: value of net.fc1.out { when first to a; when third to { a = 2.0; b = 0.25 }; otherwise to all }'
p='route p: parameters of z + net.fc1.out { when first to left + a; when third to { right = 2.0; b = 0.25; shared = -1.0 }; otherwise to all } { cross = row }'
adds_up plain ''
adds_up gradient "$a"
adds_up value "$f"
adds_up both "$a
$f"
adds_up parameters "$p"
adds_up all_three "$a
$f
$p"
# a denominator that the batch decides is not fixed: the sum is another number
spec tiny.csv "$a" | sed 's/ { per = 10 }//' >mean.route
expect 0 grad mean.route -o mean.whole
for k in 0 1 2 3; do
  sed "s/tiny.csv/class_$k.csv/" mean.route >"mean_$k.route"
  expect 0 grad "mean_$k.route" -o "mean.alone.$k"
done
$tool adds_up 1e-2 mean.whole mean.alone.* >/dev/null && fail "means add up: the test tests nothing"
echo "$n_checks checks"
