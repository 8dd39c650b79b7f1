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
echo "$n_checks checks"
