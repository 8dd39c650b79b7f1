#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A gradient that is not finite where the loss is: sqrt(q * a) at a = 0 is 0, and its derivative for q is 0 times infinity. The
# parameter becomes NaN behind a step whose loss was fine. The next loss shows it; where there is none, or where it is of a branch that
# the next data do not take, no checkpoint holds it, and no run ends well with it.
. "$(dirname "$0")/../lib/cli.sh"
# 20 data, 4 of them a batch in their order: only the last of batch 2 (of 0 to 4) has a = 0, and only that one is of kind 1
"$python" - <<'PY'
with open('points.csv', 'w') as f:
    for i in range(20):
        f.write('%.2f,%.2f,%d\n' % (0 if i == 11 else 0.5 + 0.05 * i, 0.1 * i, i == 11))
PY
spec() { # spec NAME MODEL TRAIN
  cat >"$1" <<ROUTE
edition 1
data points {
  source = csv("points.csv", a = 0, b = 1, kind = 2)
  a: f32 = source.a
  b: f32 = source.b
  kind: int in 0 ..= 1 = source.kind
}
parameter q: f32 = 1
parameter r: f32 = 1
model { $2 }
loss fit = mse(out, b)
optimize sgd(lr = 0.01)
train { batch = 4; shuffle = false; $3 }
ROUTE
}
losses_finite() { # losses_finite RUN FROM TO: those logged there are numbers
  "$python" - "$@" <<'PY' || fail "losses of $*"
import json, math, sys
lines = [json.loads(l) for l in open(sys.argv[1] + '/metrics.jsonl')]
at = {l['step']: l['total'] for l in lines if 'total' in l}
for step in range(int(sys.argv[2]), int(sys.argv[3]) + 1):
    assert at[step] is not None and math.isfinite(at[step]), (step, at)
PY
  pass
}
failed() { # failed RUN STEP: it says so, and there is no checkpoint of NaN
  says "error[E0730]: step $2: parameter \`q\` is not finite: NaN at its value"
  says ".route:8:1"
  "$python" - "$1" <<'PY' || fail "the manifest of $1"
import json, sys
m = json.load(open(sys.argv[1] + '/manifest.json'))
assert (m['status'], m['exit_code']) == ('failed', 3), m
PY
  [ ! -e "$1/checkpoint-$2.safetensors" ] || fail "$1 has a checkpoint of step $2"
  pass
}
whole='out = r * b + sqrt(q * a)'
branch='out = select(real(kind == 1), odd = sqrt(q * a), even = r * b)'
# the loss of the next step shows it
spec whole.route "$whole" 'for = 2 epochs; log = 1 steps'
expect 3 run whole.route --run-dir whole
failed whole 3
losses_finite whole 1 3
# there is no next step
spec last.route "$whole" 'for = 3 steps; log = 1 steps'
expect 3 run last.route --run-dir last
failed last 3
losses_finite last 1 3
expect 3 run whole.route --run-dir stopped --steps 3
failed stopped 3
expect 0 run whole.route --run-dir before --steps 2
[ -e before/checkpoint-2.safetensors ] || fail "no checkpoint of what is sound"
expect 3 resume before
failed before 3
[ -e before/checkpoint-2.safetensors ] || fail "the older checkpoint is gone"
# no datum takes the branch for an epoch: the losses of steps 4 to 7 are those of a sound model
spec branch.route "$branch" 'for = 2 epochs; log = 1 steps'
expect 3 run branch.route --run-dir branch
failed branch 7
losses_finite branch 1 7
spec end.route "$branch" 'for = 1 epochs; log = 1 steps'
expect 3 run end.route --run-dir end
failed end 5
losses_finite end 1 5
spec kept.route "$branch" 'for = 2 epochs; checkpoint { every = 1 steps; keep = 0 }'
expect 3 run kept.route --run-dir kept
failed kept 3
[ -e kept/checkpoint-2.safetensors ] || fail "the checkpoint before is gone"
[ "$(find kept -name 'checkpoint-*' | wc -l)" = 2 ] || fail "checkpoints of what is not sound: $(ls kept)"
# a trainer, too
expect 0 build end.route -o trainer
./trainer run --run-dir there >.out 2>.err && fail "the trainer ended well"
failed there 5
echo "$n_checks checks"
