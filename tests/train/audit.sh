#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# `--audit`: with other contents of a class's data, what the proof calls `none` stays the same to the last bit, for every
# optimizer, policy and primitive; what it does not call so moves; the run's own bits stay as they are.
. "$(dirname "$0")/../lib/cli.sh"
. "$ROUTEC_ROOT/tests/lib/train.sh"
tiny_data
head='edition 1
data points {
  source = csv("tiny.csv", x = 0 .. 6, y = 6)
  x: f32[6] = source.x
  y: int in 0 ..= 3 = source.y
}
module net(v: f32[6]) -> f32[4] { out = v |> fc1: linear(5) |> tanh |> dropout(0.25) |> fc2: linear(4) }
module head(v: f32[n]) -> f32[6] { out = v |> fc: linear(6) }
model { z = net(x); r = head(z) }
split z { a = 0 .. 2; b = rest }
class low = y in 0 ..= 1
train { batch = 13; for = 20 steps; checkpoint { every = 5 steps; keep = 0 } }
'
# audited NAME LINES...: the run and its table, in table; bits as without
audited() {
  local name=$1
  shift
  { echo "$head"; printf '%s\n' "$@"; } >"$name.route"
  train "$name.route" "$name-plain"
  expect 0 run "$name.route" --run-dir "$name" --audit 4
  grep -A20 '^audit of' "$work/.out" >table
  same_tensors "$(weights_of "$name-plain")" "$(weights_of "$name")"
}
entry() { # entry CLASS REGION PROVED zero|moved
  "$python" - "$@" <<'PY' || { cat table >&2; fail "$name: $*"; }
import sys
name, region, proved, kind = sys.argv[1:]
rows = [line.split() for line in open('table')]
row = [r for r in rows if r[:2] == [name, region]]
assert len(row) == 1, row
assert ' '.join(row[0][2:-2]).startswith(proved), row
assert (float(row[0][-1]) == 0) == (kind == 'zero'), row
PY
  pass
}
route='route code: gradient of z { when low to a; otherwise to b }'
for policy in freeze mask_update zero_grad; do
  for optimizer in 'adam(lr = 0.01, weight_decay = 0.1)' 'adamw(lr = 0.01, weight_decay = 0.1)' 'sgd(lr = 0.1, momentum = 0.5)'; do
    rm -rf case case-plain
    name=case
    audited case "$route" 'loss l = mse(r, x) { mean_by = low }' "optimize $optimizer { masked = $policy }"
    grep -q 'stayed the same, bit for bit (' table || fail "nothing was compared"
    entry low z.b.made_by none zero
    entry otherwise z.a.made_by none zero
    entry low z.a.made_by full moved
    entry low z.b.read_by full moved
  done
done
is_json case/audit.jsonl lines
steps=$(grep -o '^{"step":[0-9]*' case/audit.jsonl | tr -dc '0-9\n' | uniq | xargs)
[ "$steps" = "3 7 11 15 19" ] || fail "audited steps: $steps"

# a fraction is scaled; a regularizer that no route masks reaches everything; clipping by the norm of all gradients does too
name=scaled
audited scaled 'route code: gradient of z { when low to { a = 1.0; b = 0.5 }; otherwise to b }' 'loss l = mse(r, x)' 'optimize sgd(lr = 0.1) { masked = zero_grad }'
entry low z.b.made_by scaled moved
name=unrouted
audited unrouted "$route" 'loss l = mse(r, x)' 'regularize small = l2_norm(z) { gradient = unrouted }' 'optimize sgd(lr = 0.1) { masked = zero_grad }'
entry low z.b.made_by full moved
name=clipped
audited clipped "$route" 'loss l = mse(r, x)' 'optimize sgd(lr = 0.1) { masked = zero_grad; clip = 0.01 }'
entry low z.b.made_by full moved
says "nothing to hold it to"

# routes of parameters; rows grouped by class, and batches of one class each, where parameters rest for whole steps
name=parameters
audited parameters 'route p: parameters of z { when low to a; otherwise to b }' 'loss l = mse(r, x)' 'optimize adam(lr = 0.01, weight_decay = 0.1)'
entry low z.b none zero
entry otherwise z.a none zero
entry low z.a full moved

# routes of values: what makes a hidden unit learns nothing from the datum, what reads it learns from the others
plain=$head
hide='route v: value of z { when low to a; otherwise to b }'
for setting in 'batch = 13' 'batch = 13; group = true'; do
  rm -rf values values-plain
  name=values head=${plain/batch = 13/$setting}
  audited values "$hide" 'loss l = mse(r, x)' 'optimize adam(lr = 0.01, weight_decay = 0.1)'
  entry low z.b.made_by none zero
  entry otherwise z.a.made_by none zero
  entry low z.a.made_by full moved
  entry low z.a.read_by full moved
  entry otherwise z.b.made_by full moved
done
head=$plain
name=values_and_gradients
audited values_and_gradients "${hide/to a/to { a = 1.0; b = 0.5 \}}" "$route" 'loss l = mse(r, x)' 'optimize sgd(lr = 0.1) { masked = zero_grad }'
entry low z.b.made_by none zero
entry otherwise z.a.made_by none zero
entry low z.b.read_by full moved
for setting in 'batch = 13; group = true' 'batch { size = 13; by_class = [low, otherwise] }'; do
  name=set
  rm -rf set set-plain
  head=${plain/batch = 13/$setting}
  [ "$head" != "$plain" ] || fail "the settings of \`train\` were not found"
  audited set "$route" 'loss l = mse(r, x)' 'optimize adam(lr = 0.01, weight_decay = 0.1)'
  entry low z.b.made_by none zero
  entry low z.a.made_by full moved
done
head=$plain

# from a checkpoint on, and in a trainer
train case.route resumed --steps 10
expect 0 resume resumed --audit 4
grep -E '^\{"step":1' case/audit.jsonl >rest
cmp -s rest resumed/audit.jsonl || fail "a resumed run is audited differently"
expect 0 build case.route -o trainer
./trainer --run-dir built -q --threads 1 --audit 4 >/dev/null || fail "the trainer"
cmp -s case/audit.jsonl built/audit.jsonl || fail "a trainer is audited differently"
expect 0 run case.route --run-dir json --audit 4 --json
is_json "$work/.out" lines
says '"event":"audit"'

grep -v '^class\|^route' case.route | sed 's/ { mean_by = low }//' >classless.route
expect 0 run classless.route --run-dir classless --audit 4
says "W0758"
expect 2 run case.route --audit 0
echo "$n_checks checks"
