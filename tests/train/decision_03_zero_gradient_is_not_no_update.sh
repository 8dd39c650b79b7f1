#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Decision 3: a zero gradient is not "no update". Adam (0.9, 0.95) with 600 steps of gradient 1 behind it moves on when every
# datum is blocked: r = 0.9 / sqrt(0.95) = 0.923 lr in the first blocked step and r / (1 - r) = 12.05 lr in all.
. "$(dirname "$0")/../lib/cli.sh"
. "$ROUTEC_ROOT/tests/lib/train.sh"
"$python" -c "
for i in range(600): print('1,1,0,0,0')
for i in range(200): print('1,1,-1000,-1000,1')" >rows.csv
plain='route r: gradient of h { when y == 0 to all; otherwise to a }'
spec() { # spec OPTIMIZER POLICY [ROUTE]
  cat <<ROUTE
edition 1
data rows {
  source = csv("rows.csv", x = 0 .. 2, shift = 2 .. 4, y = 4)
  x: f32[2] = source.x
  shift: f32[2] = source.shift
  y: int in 0 ..= 1 = source.y
}
parameter w: f32[2] = 1
model { h = x * w }
split h { a = 0 .. 1; b = rest }
${3:-$plain}
loss l = sum(h) { sum }
optimize $1 { masked = $2 }
train { batch = 1; for = 800 steps; shuffle = false; checkpoint { every = 1000 steps } }
ROUTE
}
at() { # at NAME STEP: where b and a are, its moments, after so many steps
  [ -d "$1_$2" ] || train "$1.route" "$1_$2" --steps "$2"
  weights_of "$1_$2"
}
compare() { # compare NAME PYTHON: with b(step), a(step), state(k, step)
  for step in 600 601 800; do at "$1" $step >/dev/null; done
  "$python" - "$1" "$ROUTEC_ROOT/tests/lib" "$2" <<'PY' || fail "$1: not $2"
import glob, math, sys
name, lib, claim = sys.argv[1:]
sys.path.insert(0, lib)
import safetensors
load = lambda step: safetensors.load(glob.glob('%s_%d/checkpoint-*.safetensors' % (name, step))[0])
t = {step: load(step) for step in (600, 601, 800)}
a, b = lambda s: t[s]['w'][1][0], lambda s: t[s]['w'][1][1]
state = lambda k, s: (lambda v: v[1 if len(v) > 1 else 0])(t[s]['w#state%d' % k][1])
lr = 0.001
near = lambda x, y, d: abs(x - y) <= d
print(name, (b(600) - b(601)) / lr, (b(600) - b(800)) / lr)
assert eval(claim), claim
PY
  pass
}
adam='adam(lr = 0.001, betas = [0.9, 0.95], eps = 1e-12)'
spec "$adam" zero_grad >go.route
compare go 'near((b(600) - b(601)) / lr, 0.923, 0.001) and near((b(600) - b(800)) / lr, 12.05, 0.02)'
spec "$adam" freeze >freeze.route
compare freeze 'b(600) == b(601) == b(800) and all(state(k, 600) == state(k, 800) for k in range(4)) and a(800) < a(600)'
spec "$adam" mask_update >update.route
compare update 'b(600) == b(800) and near(state(0, 601) / state(0, 600), 0.9, 1e-6) and near(state(1, 601) / state(1, 600), 0.95, 1e-6)'
# weight decay goes on under zero_grad, long after the moments have died
spec 'adamw(lr = 0.001, betas = [0.9, 0.95], eps = 1e-12, weight_decay = 50)' zero_grad >decay.route
compare decay 'near(b(800) / (b(600) - 0.00), 0.95 ** 200, 2e-2) and abs(b(800)) < 0.2 * abs(b(600))'
spec 'adamw(lr = 0.001, betas = [0.9, 0.95], eps = 1e-12, weight_decay = 50)' freeze >still.route
compare still 'b(600) == b(601) == b(800)'
# a factor of -5e-8 reaches, as does a dead unit: the gradient is (nearly) 0 and yet the parameter is active
spec "$adam" freeze 'route r: gradient of h { when y == 0 to all; otherwise to { a = 1.0; b = -5e-8 } }' >tiny_factor.route
compare tiny_factor 'near((b(600) - b(601)) / lr, 0.923, 0.001)'
spec "$adam" freeze "${plain/otherwise to a/otherwise to { a = 1.0; b = 0.5 \}}" | sed 's/h = x \* w/h = relu(2 + x * w + shift)/' >dead.route
compare dead 'near((b(600) - b(601)) / lr, 0.923, 0.001)'
# schedules follow the global step, counters their own: a rate that falls to 0 by step 700 stands still for a, too
spec 'adam(lr = ramp(0.001, 0, over = 700 steps), betas = [0.9, 0.95], eps = 1e-12)' freeze >schedule.route
compare schedule 'a(800) != a(601) and b(601) == b(800)'
# whole batches of one class in turn: what a class alone trains rests, value, moments and counter, through the steps of the
# others, whatever route keeps them out, and moves in its own
tiny_data
turns() { # turns NAME PREFIX ROUTE: rows 0 and 1 of PREFIX.weight and PREFIX.bias are the class's, the others' the rest
  cat >"$1.route" <<ROUTE
edition 1
data points {
  source = csv("tiny.csv", x = 0 .. 6, y = 6)
  x: f32[6] = source.x
  y: int in 0 ..= 3 = source.y
}
model {
  h = x |> fc1: linear(6) |> tanh
  z = h |> fc2: linear(5)
  guess = z |> fc3: linear(4)
}
class low = y in 0 ..= 1
split z { a = 0 .. 2; b = rest }
$3
loss l = cross_entropy(guess, y)
optimize adam(lr = 0.01, weight_decay = 0.1) { masked = freeze }
train { batch { size = 8; by_class = [low, otherwise]; order = alternate }; for = 14 steps; checkpoint { every = 1 steps; keep = 0 } }
ROUTE
  train "$1.route" "$1"
  "$python" - "$1" "$ROUTEC_ROOT/tests/lib" <<'PY' || fail "$1: batches of one class in turn"
import glob, re, sys
sys.path.insert(0, sys.argv[2])
import safetensors
paths = glob.glob(sys.argv[1] + '/checkpoint-*.safetensors')
steps = sorted((int(re.findall(r'\d+', p)[-1]), p) for p in paths)
assert [s for s, _ in steps][-14:] == list(range(1, 15)), steps
load = [safetensors.load(p) for s, p in steps if s]
def part(t, low):  # of the made-by rows, with their states
    out = {}
    for name, (shape, v) in t.items():
        if not re.match(r'fc2\.(weight|bias)(#|$)', name):
            continue
        assert shape[0] == 5, (name, shape)  # a state of its own for each entry
        w = len(v) // 5
        out[name] = bytes(v[:2 * w] if low else v[2 * w:])
    assert len(out) >= 6, out.keys()
    return out
rested = {True: [], False: []}
for before, after in zip(load, load[1:]):
    for low in (True, False):
        a, b = part(before, low), part(after, low)
        same = [k for k in a if a[k] == b[k]]
        assert len(same) in (0, len(a)), ('only some rest', same)
        rested[low].append(len(same) > 0)
assert rested[True] == [not r for r in rested[False]], rested
assert 5 <= sum(rested[True]) <= 8, rested  # an epoch may end and begin with the same class
PY
  pass
}
turns by_gradient fc2 'route r: gradient of z { when low to a; otherwise to b }'
turns by_parameters fc2 'route r: parameters of z { when low to a; otherwise to b + shared }'
turns by_value fc2 'route r: value of z { when low to a; otherwise to b }'
echo "$n_checks checks"
