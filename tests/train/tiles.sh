#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A plugin's gradient that is computed where the update reads it, a tile at a time: the bits of the form that stores it, for shapes
# that tiles do not divide, several penalties on one parameter, every policy, and any number of threads; and where it is not done.
. "$(dirname "$0")/../lib/cli.sh"
. "$ROUTEC_ROOT/tests/lib/train.sh"
plugin="$(dirname "$ROUTEC")/tests/plugins/calls.so"
[ -r "$plugin" ] || fail "no $plugin"
cp "$plugin" calls.so

tiled() { # tiled SPEC: how many gradients the training step computes in tiles
  expect 0 run "$1" --dump=plan --stop-after=plan
  awk '/^function / { on = /routec_train/ } on && / tile  *f32/ { n++ } END { print n + 0 }' "$work/.out"
}
same_as_stored() { # same_as_stored SPEC NUMBER_OF_TILED_GRADIENTS
  local n
  n=$(tiled "$1")
  [ "$n" = "$2" ] || fail "$1: $n gradients in tiles, not $2"
  train "$1" "$1.stored" --no-fuse --threads 1
  for n in 1 2 3 4; do
    train "$1" "$1.t$n" --threads $n
    same_tensors "$(weights_of "$1.stored")" "$(weights_of "$1.t$n")"
    same_losses "$1.stored" "$1.t$n"
  done
  train "$1" "$1.v3" --threads 1 --target=x86-64-v3
  same_tensors "$(weights_of "$1.stored")" "$(weights_of "$1.v3")"
}

# parameters alone, of many shapes, two penalties on each: all in the update
shapes="1 2 15 16 17 1023 1024 1025 5000 1,7 7,1 3,5 3,700 2,1024 2,1025 37,1500 61,13,5 5,61,17 2,3,1100 3,1,3,64,33 1,1,2100,1"
spec() { # spec OPTIMIZER
  local i=0 s
  echo 'edition 1'
  echo 'plugin calls { path = "calls.so" }'
  for s in $shapes; do echo "parameter p$((i++)): f32[${s//,/, }] = uniform(-1, 1)"; done
  i=0
  for s in $shapes; do echo "regularize first$i = calls.quartic(p$i, k = 0.$((i + 1)))" && echo "regularize second$i = 0.5 * calls.absolute(p$((i++)), k = 1e-2)"; done
  echo 'loss all = 0 * mean(p3[0 .. 1])'
  echo "optimize $1"
  echo "train { for = 6 steps; $every_step }"
}
n_tiled=$((2 * $(wc -w <<<"$shapes") - 2)) # not the one of one element, which is a number
for optimizer in 'sgd(lr = 1e-2)' 'sgd(lr = 1e-2, momentum = 0.9, nesterov = true)' 'adamw(lr = 1e-2, weight_decay = 0.1)'; do
  spec "$optimizer" >shapes.route
  same_as_stored shapes.route $n_tiled
  rm -rf shapes.route.*
done

# in a model: gradients of data and routes in the same update, weights whose memory has another order, policies
model() { # model POLICY OPTIMIZER
  cat <<SPEC
edition 1
plugin calls { path = "calls.so" }
data digits {
  source = csv("$ROUTEC_ROOT/data/digits.csv.gz", pixels = 0 .. 64, digit = 64, holdout = 359)
  image: f32[64] = source.pixels / 8 - 1
  label: int in 0 ..= 9 = source.digit
}
module encoder(x: f32[64]) -> f32[20] { out = x |> fc1: linear(70) |> relu |> top: linear(20) }
model {
  z = encoder(image)
  recon = z |> dec: linear(64)
}
class small = label in 0 ..= 4
split encoder.fc1.out { left = 0 .. 30; right = rest }
split z { low = 0 .. 9; high = rest }
route code: gradient of z { when small to low; otherwise to high }
route weights: parameters of encoder.fc1.out { when small to { left = 0.25; right = 1.0 }; otherwise to right }
loss reconstruction = mse(recon, image)
regularize fourth = calls.quartic(encoder.fc1.weight, k = 1e-2) + calls.quartic(dec.weight, k = 1e-2) + calls.absolute(encoder.fc1.bias) { gradient = unrouted }
regularize sizes = calls.absolute(encoder.fc1.weight, k = 1e-4) + 0.5 * calls.quartic(transpose(encoder.top.weight, [1, 0]), k = 1e-3) { gradient = unrouted }
optimize $2 { masked = $1 }
train { batch = 300; for = 7 steps; $every_step }
SPEC
}
for policy in freeze zero_grad mask_update; do
  model $policy 'adamw(lr = 1e-3)' >$policy.route
  same_as_stored $policy.route 4
done
model freeze 'sgd(lr = 1e-2, momentum = 0.9)' >momentum.route
same_as_stored momentum.route 4
train momentum.route half --steps 3
expect 0 resume half -q
same_tensors "$(weights_of momentum.route.stored)" "$(weights_of half)"

# a norm over all gradients needs all of them first
spec 'sgd(lr = 1e-2) { clip = 1.0 }' >clipped.route
same_as_stored clipped.route 0

# nothing but finite numbers reaches a parameter, and a run that ends is told of as before
spec 'sgd(lr = 1e30)' >nan.route
expect 3 run nan.route --run-dir nan
says "not finite"
echo "$n_checks checks"
