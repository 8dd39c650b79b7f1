#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# No allocation and no page fault in the training loop, from step 10 to step 200: on 1 and 2 threads; with nothing between the
# blocks of steps, and with losses, evaluations, checkpoints and epochs there; with row sets whose sizes differ from step to step.
. "$(dirname "$0")/../lib/cli.sh"
: "${QUIET_LOOP:?path of quiet_loop}"
n=0
quiet() { # quiet SPEC [NAME=VALUE ...]
  for threads in 1 2; do
    n=$((n + 1))
    "$QUIET_LOOP" "$1" $threads "run$n" "${@:2}" >.out 2>.err || fail "$* on $threads threads: exit code $?"
    echo "$1 on $threads threads: $(tail -n 1 .out)"
    pass
  done
}
tiny long.route 'log = 1000 steps'
sed -i 's/for = 12 epochs/for = 100 epochs/' long.route
quiet long.route
tiny busy.route 'log = 5 steps; checkpoint { every = 20 steps; keep = 0 }; evaluate = 10 steps'
sed -i 's/for = 12 epochs/for = 100 epochs/' busy.route
quiet busy.route width=300
if [ -e "$ROUTEC_ROOT/data/digits.csv.gz" ]; then
  for spec in regions experts_select; do # in the folder of the data that they name
    mkdir -p bench/routing data
    cp "$ROUTEC_ROOT/bench/routing/"*.route bench/routing && cp "$ROUTEC_ROOT/data/digits.csv.gz" data
    sed -i 's/for = 10 epochs; log = 1 epochs/for = 60 epochs; log = 1 epochs/' bench/routing/$spec.route
  done
  quiet bench/routing/regions.route width=64
  quiet bench/routing/experts_select.route width=32
else
  echo "without data/digits.csv.gz: no grouped and packed rows"
fi
# a branch that no datum of the first 40 steps takes, and all of the next 40
"$python" - <<'PY'
import random
random.seed(5)
with open('late.csv', 'w') as f:
    for i in range(8000):
        f.write(','.join('%.4f' % random.uniform(-1, 1) for _ in range(6)) + ',%d\n' % (i % 2))
PY
cat >late.route <<'ROUTE'
edition 1
data points {
  source = csv("late.csv", x = 0 .. 6, y = 6)
  x: f32[6] = source.x
  y: int in 0 ..= 1 = source.y
}
module expert(x: f32[n]) -> f32[2] { out = x |> fc0: linear(512) |> tanh |> fc1: linear(512) |> relu |> fc2: linear(2) }
model {
  a, b = copies(expert)
  logits = select(one_hot(y, 2), a = a(x), b = b(x))
}
class even = y in 0 ..= 0
loss l = cross_entropy(logits, y)
optimize sgd(lr = 1e-2)
train { batch { size = 100; by_class = [even, otherwise]; order = blocks }; for = 300 steps; log = 5 steps; pack = true }
ROUTE
expect 0 plan late.route
says "rows that take a branch are packed"
quiet late.route
# the counter counts: a run whose memory is new in each block would be found, as the first steps are
"$QUIET_LOOP" long.route 1 "run-seen" >.out 2>.err || fail "exit code $?"
grep -q ' [1-9][0-9]* allocations elsewhere' .out || fail "no allocation was seen at all"
echo "$n_checks checks"
