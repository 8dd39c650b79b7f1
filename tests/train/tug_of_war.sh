#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A specification without data: examples/tug_of_war.route against its closed form and a simulation in double.
#   s = a + b. Step: a -= lr (2 (s - 2) + 2 c (a - 2)),  b -= lr (2 (s - 2) + 2 (s - 1)).
#   c = 0:   s -> 5/3 (s' = s + 2 lr (5 - 3 s)); then a gains and b loses 2 lr (2 - 5/3) = 1/150 in each step.
#   c = 0.2: s = 3/2 and 2 (2 - s) = 2 c (a - 2), so (a, b) = (4.5, -3).
. "$(dirname "$0")/../lib/cli.sh"
. "$ROUTEC_ROOT/tests/lib/train.sh"
spec=$ROUTEC_ROOT/examples/tug_of_war.route
near() { # near FILE C STEPS A B BOUND: the parameters are those of the simulation, and (a, b) unless A is -
  "$python" - "$@" "$ROUTEC_ROOT" <<'PY' || fail "$1: not what was expected"
import sys
file, c, steps, a_want, b_want, bound, root = sys.argv[1:]
sys.path.insert(0, root + '/tests/lib')
import safetensors
t = safetensors.load(file)
a, b = 0.0, 0.0
for _ in range(int(steps)):
    s = a + b
    a, b = a - 0.01 * (2 * (s - 2) + 2 * float(c) * (a - 2)), b - 0.01 * (2 * (s - 2) + 2 * (s - 1))
assert t['a'][0] == [] and t['b'][0] == [], 'the parameters are not of rank 0'
got = t['a'][1][0], t['b'][1][0]
print('c =', c, 'after', steps, 'steps:', got, 'simulated', (a, b))
assert abs(got[0] - a) < float(bound) and abs(got[1] - b) < float(bound), (got, a, b)
if a_want != '-':
    assert abs(got[0] - float(a_want)) < 2 * float(bound) and abs(got[1] - float(b_want)) < 2 * float(bound), got
PY
  pass
}
train "$spec" rest
near "$(weights_of rest)" 0.2 20000 4.5 -3 1e-4
printf 'edition 1\nextend "%s"\ndrop expect\n' "$spec" >drift.route
train drift.route drift --set c=0
near "$(weights_of drift)" 0 20000 - - 5e-2
# the drift: what 300 steps change, once a + b has settled
train drift.route early --set c=0 --steps 1000
train drift.route later --set c=0 --steps 1300
"$python" - "$(weights_of early)" "$(weights_of later)" "$ROUTEC_ROOT/tests/lib" <<'PY' || fail "the drift is not 1/150 a step"
import sys
sys.path.insert(0, sys.argv[3])
import safetensors
x, y = ({k: v[1][0] for k, v in safetensors.load(f).items()} for f in sys.argv[1:3])
da, db = (y[k] - x[k] for k in 'ab')
print('in 300 steps a', da, 'b', db)
assert abs(da - 2) < 1e-3 and abs(db + 2) < 1e-3
assert abs(y['a'] + y['b'] - 5 / 3) < 1e-5
PY
pass
# resuming, and a trainer of its own, give the same bits
expect 0 resume early -q
same_parameters "$(weights_of early)" "$(weights_of drift)"
expect 0 build drift.route -o trainer
./trainer --run-dir built -q --set c=0 --threads 1 >.out 2>.err || fail "the trainer failed"
same_parameters "$(weights_of built)" "$(weights_of drift)"
# no epochs are spoken of, and the losses are in the metrics
expect 0 run drift.route --run-dir told --steps 200
says_not epoch
says_not " data"
grep -q '"evaluation":"end".*"a":4.499' rest/metrics.jsonl || fail "metrics.jsonl has no final values"
grep -q '"step":200,"total":.*"undo"' told/metrics.jsonl || fail "metrics.jsonl has no losses"
! grep -q epoch told/metrics.jsonl || fail "metrics.jsonl speaks of epochs"
expect 0 plan "$spec"
echo "$n_checks checks"
