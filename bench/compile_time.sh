#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Compile time: of the examples by phase, and of a net 16 hidden layers deep beside one of 1 hidden layer with the same
# distinct layers. Medians of interleaved runs; no data is read.
#   bench/compile_time.sh [ROUTEC] [REPETITIONS]
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
routec=${1:-$here/build/routec} reps=${2:-7}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
deep() { # deep N: a routed net whose N hidden layers are alike
  cat <<ROUTE
edition 1
data points {
  source = csv("points.csv", x = 0 .. 256, y = 256)
  x: f32[256] = source.x
  y: int in 0 ..= 9 = source.y
}
module block(h: f32[256]) -> f32[256] { out = h |> fc: linear(256) |> relu }
model {
  h = x
  repeat blocks[i in 0 .. $1] carry h { h = block(h) }
  logits = h |> head: linear(10)
}
split h { a = 0 .. 128; b = rest }
class low = y in 0 ..= 4
route r: gradient of h { when low to a; otherwise to b }
loss l = cross_entropy(logits, y)
optimize adam(lr = 1e-3) { masked = zero_grad }
train { batch = 128; for = 10 steps }
ROUTE
}
deep 1 >"$work/1.route"
deep 16 >"$work/16.route"
seconds() { # wall seconds of one compilation to machine code
  local t0=$EPOCHREALTIME
  "$routec" run "$1" --stop-after=load -q
  awk "BEGIN { printf \"%.4f\\n\", $EPOCHREALTIME - $t0 }"
}
for ((i = 0; i < reps; i++)); do
  seconds "$work/1.route" >>"$work/1.times"
  seconds "$work/16.route" >>"$work/16.times"
  seconds "$here/examples/mnist_split.route" >>"$work/mnist.times"
done
median() { sort -g "$1" | sed -n "$(((reps + 1) / 2))p"; }
echo "1 hidden layer: $(median "$work/1.times") s; 16: $(median "$work/16.times") s; ratio $(awk "BEGIN { printf \"%.2f\", $(median "$work/16.times") / $(median "$work/1.times") }")"
echo "examples/mnist_split.route: $(median "$work/mnist.times") s"
"$routec" run "$here/examples/mnist_split.route" --stop-after=load -v -q
