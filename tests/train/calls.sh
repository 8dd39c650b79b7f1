#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Plugins' functions in training: each ability, against the interpreter, for numbers of threads, vectors of both kinds, batches
# with a remainder, runs that are resumed, sweeps and trainers; and counts of what is called.
. "$(dirname "$0")/../lib/cli.sh"
. "$ROUTEC_ROOT/tests/lib/train.sh"
plugin="$(dirname "$ROUTEC")/tests/plugins/calls.so"
[ -r "$plugin" ] || fail "no $plugin"
cp "$plugin" calls.so
cat >spec.route <<SPEC
edition 1
plugin calls { path = "calls.so" }
param k: real in 0 ..= 20 = 0.01
data digits {
  source = csv("$ROUTEC_ROOT/data/digits.csv.gz", pixels = 0 .. 64, digit = 64, holdout = 359)
  image: f32[64] = source.pixels / 8 - 1
  label: int in 0 ..= 9 = source.digit
}
module encoder(x: f32[64]) -> f32[19] {
  out = x |> fc1: linear(70) |> relu |> top: linear(19)
}
module decoder(z: f32[n]) -> f32[64] {
  out = z |> fc1: linear(70) |> relu |> top: linear(64)
}
model {
  z = encoder(image)
  parts = reshape(image, [4, 16]) |> own: linear(5)
  g = calls.lottery(z, label, k = 0.7)
  h = calls.lottery(parts, label, k = 0.3)
  recon = decoder(z * g) + mean(h * parts)
}
split z { low = 0 .. 9; high = rest }
class small = label in 0 ..= 4
route code: gradient of z { when small to low; otherwise to high }
loss reconstruction = mse(recon, image)
regularize fourth = calls.quartic(z, k = k) + calls.quartic(parts, k = 1e-3) + calls.absolute(decoder.fc1.weight, k = 1e-5) + calls.quartic(decoder.fc1.bias) { gradient = unrouted }
regularize mixed = calls.covary(z[0 .. 9], z[9 .. 19], k = 0.1) + calls.covary(parts, tanh(parts), k = 0.2) { gradient = unrouted }
optimize adam(lr = 1e-3 * calls.halving(k = 1)) { masked = zero_grad }
train { batch = 300; for = 2 epochs; $every_step }
evaluate all { on = digits.test; by = label; whole = mse(recon, image) }
sweep strengths { k = [0.01, 1] }
SPEC

# compiled code against the interpreter: all losses, and each by itself
for loss in reconstruction fourth mixed; do
  expect 0 grad spec.route -o $loss.safetensors --loss $loss --rows 37
  expect 0 grad spec.route -o $loss-double.safetensors --loss $loss --rows 37 --oracle
  bound=2e-5
  [ $loss = mixed ] && bound=1e-3 # a mean of products of both signs: little is left of what was added
  $tool adds_up $bound $loss.safetensors $loss-double.safetensors || fail "$loss: compiled code and the interpreter differ"
done
expect 0 grad spec.route -o one.safetensors --rows 1
expect 0 grad spec.route -o one-double.safetensors --rows 1 --oracle
$tool adds_up 2e-5 one.safetensors one-double.safetensors || fail "one row: compiled code and the interpreter differ"

# the same bits for any number of threads; 1438 rows: five batches, the last of 238
train spec.route t1 --threads 1
for n in 2 3 4; do
  train spec.route t$n --threads $n
  same_losses t1 t$n
  same_tensors "$(weights_of t1)" "$(weights_of t$n)"
done
train spec.route v3 --target=x86-64-v3
same_losses t1 v3
same_tensors "$(weights_of t1)" "$(weights_of v3)"
train spec.route again
same_tensors "$(weights_of t1)" "$(weights_of again)"

# resumed in the middle of an epoch
train spec.route half --steps 3
expect 0 resume half -q
same_tensors "$(weights_of t1)" "$(weights_of half)"
same_losses t1 half

# values of params reach the ops: --set, sweeps
train spec.route stronger --set k=1
different_tensors "$(weights_of t1)" "$(weights_of stronger)"
expect 0 run spec.route --sweep strengths --run-dir swept -q
same_tensors "$(weights_of stronger)" "$(weights_of "$(ls -d swept/*=1* swept/*-1 swept/1 swept/*_1 2>/dev/null | head -1)")"
expect 5 run spec.route --run-dir refused --set k=13
says "13 is unlucky"
says "spec.route:"

# a value that is not finite is found at its line
sed 's/^regularize fourth.*/regularize fourth = calls.quartic(1e30 * z, k = k) { gradient = unrouted }/' spec.route >nan.route
expect 3 run nan.route --run-dir nan
says "nan.route:$(grep -n '^regularize fourth' nan.route | cut -d: -f1)"

# monitors and audits look, and change no bit
sed 's/^evaluate all/monitor { every = 2 steps }\n&/' spec.route >watched.route
train watched.route watched --audit 3
same_tensors "$(weights_of t1)" "$(weights_of watched)"
is_json watched/audit.jsonl lines

# the proof: elements of a sum stand for themselves, a statistic mixes all rows
sed 's/^loss/forbid small to z.high.made_by\n&/; /^regularize mixed/d; s/^regularize fourth.*/regularize fourth = calls.quartic(z, k = k) { gradient = routed }/' spec.route >span.route
expect 0 prove span.route
sed 's/^regularize fourth.*/regularize fourth = calls.covary(z[0 .. 9], z[9 .. 19]) { gradient = routed }/' span.route >reduce.route
expect 1 prove reduce.route
says 'reduces over the batch in `covary`'

# what is called: two span regularizers of values and two of parameters, two statistics, two gates: values and gradients; a schedule
expect 0 run spec.route --dump=llvm --stop-after=llvm
train_calls=$(awk '/^define .*@routec_train\(/ { on = 1 } on && /call void %call[0-9]*\(/ { n++ } on && /^}/ { on = 0 } END { print n + 0 }' "$work/.out")
[ "$train_calls" = 17 ] || fail "$train_calls calls in the training step, not 17"
pass

# a trainer loads the same plugin, and only that
expect 0 build spec.route -o trainer
mkdir elsewhere && mv calls.so elsewhere/
got=0; ./trainer run --run-dir missing -q >"$work/.out" 2>"$work/.err" || got=$?
[ $got = 5 ] || fail "a trainer without its plugin: exit code $got"
says "E0750"
./trainer run --run-dir built --threads 1 -q --plugin-path elsewhere >"$work/.out" 2>"$work/.err" || fail "the trainer"
same_tensors "$(weights_of t1)" "$(weights_of built)"
same_losses t1 built
mkdir beside && mv trainer beside/ && cp elsewhere/calls.so beside/
beside/trainer run --run-dir built2 --threads 2 -q >"$work/.out" 2>"$work/.err" || fail "the trainer with its plugin beside it"
same_tensors "$(weights_of t1)" "$(weights_of built2)"
printf x >>beside/calls.so
got=0; beside/trainer run --run-dir changed -q >"$work/.out" 2>"$work/.err" || got=$?
[ $got = 5 ] || fail "a trainer with another plugin: exit code $got"
says "E0751"
echo "$n_checks checks"
