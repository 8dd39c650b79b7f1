#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Initial values: PyTorch's default, uniform in +-1/sqrt(fan in) for weights and biases; named initialisers; the same
# values whatever else is declared; and dropout is a matter of training only.
. "$(dirname "$0")/../lib/cli.sh"
. "$ROUTEC_ROOT/tests/lib/train.sh"
tiny_data
cat >init.route <<'ROUTE'
edition 1
data points {
  source = csv("tiny.csv", x = 0 .. 6, y = 6, holdout = 16)
  x: f32[6] = source.x
}
module net(v: f32[6]) -> f32[6] {
  out = v |> wide: linear(600) |> tanh |> narrow: linear(150) |> dropout(0.5) |> named: linear(6, init = normal(std = 0.02), bias_init = constant(3))
}
model { z = net(x); dropped = dropout(x, 0.5) }
loss l = mse(z, x) + mse(dropped, x)
optimize sgd(lr = 0.0)
train { batch = 51; for = 5 steps; log = 1 steps; checkpoint { every = 1 steps } }
evaluate again { on = points.test; difference = mse(dropped, x) }
expect again.difference == 0
ROUTE
train init.route a
"$python" - <<PY || fail "initial values"
import sys
sys.path.insert(0, '$ROUTEC_ROOT/tests/lib')
import safetensors
t = safetensors.load('a/checkpoint-5.safetensors')
def uniform(path, fan_in):
    v, bound = list(t[path][1]), fan_in ** -0.5
    assert max(abs(x) for x in v) <= bound, path
    if len(v) > 500:
        assert max(v) > 0.98 * bound and min(v) < -0.98 * bound, path
        mean, square = sum(v) / len(v), sum(x * x for x in v) / len(v)
        assert abs(mean) < 0.1 * bound and abs(square / (bound * bound / 3) - 1) < 0.1, (path, mean, square)
uniform('net.wide.weight', 6); uniform('net.wide.bias', 6)
uniform('net.narrow.weight', 600); uniform('net.narrow.bias', 600)
v = list(t['net.named.weight'][1])
deviation = (sum(x * x for x in v) / len(v)) ** 0.5
assert abs(deviation / 0.02 - 1) < 0.1 and max(map(abs, v)) < 0.02 * 6, deviation
assert all(x == 3 for x in t['net.named.bias'][1])
PY
pass
# dropout keeps the mean, differs from step to step, and is the same for the same seed
train init.route b
same_losses a b
"$python" - <<'PY' || fail "the loss is the same in each step: dropout does not change"
import json, sys
losses = [json.loads(line)['loss']['l'] for line in open('a/metrics.jsonl') if '"loss"' in line]
sys.exit(0 if len(set(losses)) == len(losses) == 5 else 1)
PY
pass
# other declarations do not change a parameter's initial value
sed 's/^model.*/module other(v: f32[6]) -> f32[6] { out = v |> fc: linear(6) }\nmodel { o = other(x); z = net(x); dropped = dropout(x, 0.5) }\nloss m = mse(o, x)/' init.route >more.route
train more.route more
same_parameters "$(weights_of a)" "$(weights_of more)"
echo "$n_checks checks"
