#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A probe looks and moves nothing: with and without it all parameters of the model, and their moments, are the same in
# every bit, with dropout in the model and in the probe, under clipping, weight decay and routes.
. "$(dirname "$0")/../lib/cli.sh"
. "$ROUTEC_ROOT/tests/lib/train.sh"
spec() { # spec OPTIMIZE: the lines of the probe end in "# probe"
  cat <<ROUTE
edition 1
data digits {
  source = csv("$ROUTEC_ROOT/data/digits.csv.gz", pixels = 0 .. 64, digit = 64, holdout = 359)
  image: f32[64] = source.pixels / 8 - 1
  label: int in 0 ..= 9 = source.digit
}
class low = label in 0 ..= 4
loss certificate = cross_entropy(guess |> dropout(0.1), label) { probe; mean_over = low } # probe
regularize small = 0.1 * mean(square(reader.r1.weight)) { probe; gradient = unrouted } # probe
module reader(x: f32[n]) -> f32[10] { out = x |> dropout(0.2) |> r1: linear(32) |> relu |> r2: linear(10) } # probe
module encoder(x: f32[n]) -> f32[16] { out = x |> fc1: linear(48) |> dropout(0.3) |> relu |> fc2: linear(16) }
module decoder(z: f32[n]) -> f32[64] { out = z |> fc1: linear(48) |> relu |> dropout(0.1) |> fc2: linear(64) }
model {
  guess = reader(stop(z) |> dropout(0.5)) # probe
  z = encoder(image |> dropout(0.1))
  recon = decoder(z)
}
split z { a = 0 .. 8; b = rest }
route code: gradient of z { when low to a; otherwise to b }
loss fit = mae(recon |> dropout(0.05), image)
optimize $1
train { batch = 64; for = 25 steps; $every_step }
ROUTE
}
n=0
while read -r optimize; do
  n=$((n + 1))
  spec "$optimize" >with$n.route
  grep -v '# probe$' with$n.route >without$n.route
  train with$n.route with$n
  train without$n.route without$n
  same_tensors "$(weights_of without$n)" "$(weights_of with$n)"
done <<'LIST'
adam(lr = 1e-3)
adamw(lr = 1e-3, weight_decay = 0.1) { clip = 0.05 }
sgd(lr = 0.1, momentum = 0.9, weight_decay = 1e-3) { clip = 0.01; masked = zero_grad }
LIST
# where rows are grouped by class: a probe much larger than the model, with a class of its own, changes no group
cat >with_groups.route <<ROUTE
edition 1
data digits {
  source = csv("$ROUTEC_ROOT/data/digits.csv.gz", pixels = 0 .. 64, digit = 64, holdout = 359)
  image: f32[64] = source.pixels / 8 - 1
  label: int in 0 ..= 9 = source.digit
}
class bright = sum(image) > -30 # probe
class low = label in 0 ..= 4
module reader(x: f32[n]) -> f32[10] { out = x |> r1: linear(512) |> relu |> r2: linear(512) |> relu |> r3: linear(10) } # probe
module encoder(x: f32[n]) -> f32[16] { out = x |> fc1: linear(64) |> relu |> fc2: linear(16) }
module decoder(z: f32[n]) -> f32[64] { out = z |> fc1: linear(16) |> relu |> fc2: linear(64) }
model {
  guess = reader(stop(z)) # probe
  z = encoder(image)
  recon = decoder(z)
}
route code: gradient of z { when low to none; otherwise to all }
loss certificate = cross_entropy(guess, label) { probe; mean_over = bright } # probe
loss fit = mae(recon, image)
optimize adam(lr = 1e-3)
train { batch = 64; for = 60 steps; $every_step }
ROUTE
grep -v '# probe$' with_groups.route >without_groups.route
sed 's/for = 60 steps/for = 60 steps; group = false/' without_groups.route >plain.route
train with_groups.route with_groups
train without_groups.route without_groups
train plain.route plain
same_tensors "$(weights_of without_groups)" "$(weights_of with_groups)"
"$python" "$ROUTEC_ROOT/tests/lib/safetensors.py" same "$(weights_of plain)" "$(weights_of without_groups)" >/dev/null 2>&1 &&
  fail "rows are not grouped in this case: it shows nothing"
pass
# the test can fail: a loss that is no probe takes part in the clipping of the model's gradients
sed 's/probe; //g' with2.route >open.route
train open.route open
"$python" "$ROUTEC_ROOT/tests/lib/safetensors.py" same "$(weights_of without2)" "$(weights_of open)" >/dev/null 2>&1 &&
  fail "clipping does not see a loss that is no probe"
pass
echo "$n_checks checks"
