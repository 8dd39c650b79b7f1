#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Rows grouped by class: the same training but for the order of sums; bits that depend on nothing else; a plan that says so;
# and no grouping where it saves nothing, may not be, or was not asked for.
. "$(dirname "$0")/../lib/cli.sh"
. "$ROUTEC_ROOT/tests/lib/train.sh"
spec() { # spec ROUTES TRAIN
  cat <<ROUTE
edition 1
data digits {
  source = csv("$ROUTEC_ROOT/data/digits.csv.gz", pixels = 0 .. 64, digit = 64, holdout = 359)
  image: f32[64] = source.pixels / 8 - 1
  label: int in 0 ..= 9 = source.digit
}
param rate: real in 0 ..= 1 = 1
model {
  a = image |> fc0: linear(96) |> relu
  h = a |> fc1: linear(96) |> relu |> dropout(0.1)
  logits = h |> fc2: linear(10)
}
class low = label in 0 ..= 4
class few = label in 0 ..= 1
split a { s = [3, 17, 40, 41, 42, 90]; t = rest }
split h { f = 0 .. 8; g = 8 .. 12; r = rest }
$1
loss l = cross_entropy(logits, label)
optimize adam(lr = 1e-3) { masked = freeze }
train { batch = 250; for = 4 epochs; $2 $every_step }
ROUTE
}
routes='route one: gradient of h { when few to f; when low to { f = 0.0; g = 0.5; r = 1.0 }; otherwise to r } {}
route two: gradient of a { when low to s; otherwise to t }'
routes=$(sed 's/ {}$//; s/^route one: gradient of h {/route one: gradient of h ordered {/' <<<"$routes")
spec "$routes" '' >grouped.route
spec "$routes" 'group = false;' >apart.route
expect 0 plan grouped.route
says "rows of a batch are sorted by group"
says "rows1"
expect 0 plan apart.route
says "rows are not grouped by class: switched off"
expect 0 plan grouped.route --json
"$python" - "$work/.out" <<'PY' || fail "the plan as JSON"
import json, sys
plan = json.load(open(sys.argv[1]))
work = plan["masked_work"]
assert work["flop"] < 0.9 * work["flop_if_all_were_computed"] and len(work["groups"]) == 3, work
assert abs(sum(s["share"] for s in work["row_sets"] if s["groups"] == 1) - 1) < 1e-9, work
train = next(f for f in plan["functions"] if f["name"] == "train")
assert abs(train["flop"] - work["flop"]) < 0.05 * work["flop"], (train["flop"], work["flop"])
assert any("rows1" in g["shape"] for g in train["gemms"])
PY
pass
# the last batch of an epoch is smaller; groups differ from batch to batch
train grouped.route one --threads 1
train apart.route apart --threads 1
near_losses one apart 1e-4
# threads, instruction sets, resuming and building change no bit
train grouped.route two --threads 2
same_tensors "$(weights_of one)" "$(weights_of two)"
train grouped.route v3 --threads 2 --target x86-64-v3
same_tensors "$(weights_of one)" "$(weights_of v3)"
train grouped.route part --threads 2 --steps 7
expect 0 resume part -q
same_tensors "$(weights_of one)" "$(weights_of part)"
expect 0 build grouped.route -o trainer
env -i OPENBLAS_CORETYPE="$OPENBLAS_CORETYPE" ./trainer run --run-dir built --threads 2 -q >"$work/.out" 2>"$work/.err" || fail "trainer: $?"
same_tensors "$(weights_of one)" "$(weights_of built)"
# a strength that only the run knows: nothing to leave out, and 0 is training without the route (frozen elements would have
# counters of their own)
spec 'route one: gradient of h { when low to f; otherwise to r } { strength = rate }' '' | sed s/freeze/zero_grad/ >strength.route
expect 0 plan strength.route
says "rows are not grouped by class"
train strength.route s0 --threads 2 --set rate=0
spec '' '' | sed s/freeze/zero_grad/ >free.route
train free.route free --threads 2
same_tensors "$(weights_of s0)" "$(weights_of free)"
# units that nothing trains: no products for their gradients, grouped or not
spec 'route one: gradient of h { when low to { f = 0.0; g = 1.0; r = 1.0 }; otherwise to { f = 0.0; g = 0.5; r = 1.0 } }' '' >dead.route
expect 0 plan dead.route
says "rows are not grouped by class"
says "96 x 88 x rows"
echo "$n_checks checks"
