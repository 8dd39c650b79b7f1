#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# `routec grad`: compiled code against the interpreter in double, against what a step of SGD at rate 1 does, and sums
# over losses against the whole.
. "$(dirname "$0")/../lib/cli.sh"
. "$ROUTEC_ROOT/tests/lib/train.sh"
tiny spec.route
sed -i 's/^route code.*/&\nroute hide: value of encoder.fc1.out { when low to { a = 1.0; b = 0.5 }; otherwise to b }/
s/^split z.*/&\nsplit encoder.fc1.out { a = 0 .. 2; b = rest }/
s/^loss certificate.*/&\nregularize small = 0.1 * l1_norm(z) { gradient = unrouted }/
s/^optimize.*/optimize sgd(lr = 1.0) { masked = zero_grad }/' spec.route
expect 0 grad spec.route -o whole.safetensors
says "encoder.fc1.weight"
says "routed gradient, batch 0 (13 rows)"
expect 0 grad spec.route -o double.safetensors --oracle
$tool adds_up 1e-5 whole.safetensors double.safetensors || fail "compiled code and the interpreter differ"
expect 0 grad spec.route -o threads.safetensors --threads 3
same_tensors whole.safetensors threads.safetensors

# the step that training does
expect 0 run spec.route --run-dir one --steps 1 -q
expect 0 run spec.route --run-dir two --steps 2 -q
sed 's/^optimize.*/optimize sgd(lr = rate) { masked = zero_grad }/' spec.route >zero.route
expect 0 run zero.route --run-dir still --steps 1 -q --set rate=0
first=$(weights_of still)
$tool moved_by 1e-5 "$first" "$(weights_of one)" whole.safetensors || fail "the step does not follow the gradient"
expect 0 grad spec.route -o second.safetensors --batch-index 1 --checkpoint "$(weights_of one)"
$tool moved_by 1e-5 "$(weights_of one)" "$(weights_of two)" second.safetensors || fail "nor does the second step"
expect 0 grad spec.route -o wrong.safetensors --batch-index 2 --checkpoint "$(weights_of one)"
$tool moved_by 1e-5 "$(weights_of one)" "$(weights_of two)" wrong.safetensors >/dev/null && fail "batches are all alike"
expect 0 grad spec.route -o same.safetensors --batch-index 1 --init "$(weights_of one)"
same_tensors second.safetensors same.safetensors

# losses
for loss in reconstruction certificate small; do
  expect 0 grad spec.route -o $loss.safetensors --loss $loss
done
$tool adds_up 1e-5 whole.safetensors reconstruction.safetensors certificate.safetensors small.safetensors || fail "losses do not add up"
expect 0 grad spec.route -o pair.safetensors --loss small --loss certificate
$tool adds_up 1e-5 pair.safetensors certificate.safetensors small.safetensors || fail "two losses do not add up"
$tool adds_up 1e-5 pair.safetensors certificate.safetensors >/dev/null && fail "a loss of two is the whole"

# classes: with the batch's denominators, so they add up, of what has a class at all
for class in low otherwise; do
  expect 0 grad spec.route -o $class.safetensors --class $class --loss reconstruction --loss certificate
  expect 0 grad spec.route -o $class-double.safetensors --class $class --loss reconstruction --loss certificate --oracle
  $tool adds_up 1e-5 $class.safetensors $class-double.safetensors || fail "$class: compiled code and the interpreter differ"
done
expect 0 grad spec.route -o both.safetensors --loss reconstruction --loss certificate
$tool adds_up 1e-5 both.safetensors low.safetensors otherwise.safetensors || fail "classes do not add up"
$tool adds_up 1e-5 both.safetensors low.safetensors >/dev/null && fail "one class is the whole"
"$python" - <<'PY' || fail "low moves what its route keeps from it"
import os, sys
sys.path.insert(0, os.environ['ROUTEC_ROOT'] + '/tests/lib')
import safetensors
low, other = safetensors.load('low.safetensors'), safetensors.load('otherwise.safetensors')
w, v = low['encoder.fc2.bias'][1], other['encoder.fc2.bias'][1]
assert w[2] == w[3] == 0 and w[0] != 0 and w[1] != 0, w  # when low to left
assert v[0] == v[1] == 0 and v[2] != 0 and v[3] != 0, v  # otherwise to right
PY
expect 0 grad spec.route --class low
says "without what belongs to the whole batch (small)"

# without routes: `value of` stays
expect 0 grad spec.route -o plain.safetensors --no-routes
grep -v '^route code' spec.route >unrouted.route
expect 0 grad unrouted.route -o unrouted.safetensors
same_tensors plain.safetensors unrouted.safetensors
$tool adds_up 1e-3 plain.safetensors whole.safetensors >/dev/null && fail "the routes do nothing"

expect 0 grad spec.route -o rows.safetensors --rows 5
says "(5 rows)"
expect 0 grad spec.route --json
is_json "$work/.out" lines
expect 2 grad spec.route --loss reconstructoin
says "did you mean \`reconstruction\`"
expect 2 grad spec.route --class lwo
expect 2 grad spec.route --rows 0
grep -v '^train' spec.route >untrained.route
expect 2 grad untrained.route
says "does not train"
expect 3 grad spec.route -o /nowhere/g.safetensors
# a pipe or a device is written, not replaced by a file
mkfifo pipe
timeout 60 cat pipe >piped.safetensors &
expect 0 grad spec.route -o pipe --rows 5
wait $!
[ -p pipe ] || fail "a file took the place of a pipe"
same_tensors piped.safetensors rows.safetensors
echo "$n_checks checks"
