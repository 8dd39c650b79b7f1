#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What a mask blocks is exactly 0, in whole runs: parameters that only blocked data reach do not move by one bit, even
# where the adjoint behind the mask is NaN.
. "$(dirname "$0")/../lib/cli.sh"
. "$ROUTEC_ROOT/tests/lib/train.sh"
tiny_data
head='edition 1
data points {
  source = csv("tiny.csv", x = 0 .. 6, y = 6)
  x: f32[6] = source.x
  y: int in 0 ..= 3 = source.y
}
module net(v: f32[6]) -> f32[4] { out = v |> fc: linear(4) }
module head(v: f32[n]) -> f32[6] { out = v |> fc: linear(6) }
split z { a = 0 .. 2; b = rest }
optimize sgd(lr = 0.1) { masked = zero_grad }
train { batch = 13; for = 30 steps; log = 1 steps; checkpoint { every = 1 steps; keep = 0 } }
'
# all blocked: the net stays, the head learns
printf '%s\nmodel { z = net(x); r = head(z) }\nroute r: gradient of z { otherwise to { a = 0.0; b = 0.0 } }\nloss l = mse(r, x)\n' "$head" >blocked.route
train blocked.route blocked
first=blocked/checkpoint-1.safetensors
$tool zero_gradient $first "$(weights_of blocked)" net.fc.weight net.fc.bias || fail "a blocked net moved"
$tool zero_gradient $first "$(weights_of blocked)" head.fc.weight && fail "the head did not learn"

# half blocked: rows of the other half stay
printf '%s\nmodel { z = net(x); r = head(z) }\nroute r: gradient of z { otherwise to a }\nloss l = mse(r, x)\n' "$head" >half.route
train half.route half
"$python" - <<PY || fail "units 2 and 3 moved, or 0 and 1 did not"
import sys
sys.path.insert(0, '$ROUTEC_ROOT/tests/lib')
import safetensors
a = safetensors.load('half/checkpoint-1.safetensors'); b = safetensors.load('half/checkpoint-30.safetensors')
for path, per in (('net.fc.weight', 6), ('net.fc.bias', 1)):
    x, y = list(a[path][1]), list(b[path][1])
    assert x[2 * per:] == y[2 * per:], path
    assert all(p != q for p, q in zip(x[:2 * per], y[:2 * per])), path
PY

# NaN behind the mask: sqrt has an infinite derivative at 0, times 0 is NaN; without the mask the run must break
printf '%s\nmodel { z = net(x); r = head(z.a) }\nloss l = mse(r, x)\n' "$head" >plain.route
printf '%s\nmodel { z = net(x); r = head(z.a) }\nroute r: gradient of z { otherwise to a }\nloss l = mse(r, x)\nloss bad = mean(sqrt(z.b - z.b))\n' "$head" >nan.route
train plain.route plain
train nan.route nan
same_tensors "$(weights_of plain)" "$(weights_of nan)"

# the same for a class of data only, with rows as they come, so that the mask is there when the program runs: where it is 0
# the adjoint is NaN, or, in the other run, 0; the others learn from the same loss
some() { # FILE VALUE-WHERE-LOW
  printf '%s\nmodel { z = net(x); r = head(z.a) }\nclass low = y in 0 ..= 1\nroute r: gradient of z { when low to a; otherwise to all }\nloss l = mse(r, x)\nloss bad = mean(sqrt(if low then %s else square(z.b) + 1))\n' \
    "$head" "$2" | sed 's/train { batch/train { group = false; batch/' >"$1"
}
some nan_rows.route 'z.b - z.b'
some zero_rows.route '0 * stop(z.b)'
train nan_rows.route nan_rows
train zero_rows.route zero_rows
same_tensors "$(weights_of zero_rows)" "$(weights_of nan_rows)"
grep -v '^route' nan.route >open.route
"$ROUTEC" run open.route --run-dir open -q >/dev/null 2>&1
"$python" - <<PY || fail "the adjoint behind the mask was not NaN: the test tests nothing"
import glob, math, sys
sys.path.insert(0, '$ROUTEC_ROOT/tests/lib')
import safetensors
files = glob.glob('open/checkpoint-*.safetensors')
bad = any(math.isnan(v) for f in files for v in safetensors.load(f)['net.fc.weight'][1])
sys.exit(0 if bad or not files or len(files) < 30 else 1)
PY
pass

# a class that no datum of any batch is in: its half is never reached. `freeze` leaves value and moments alone, decay
# included; `mask_update` the value; `zero_grad` lets decay go on
sed -i 's/,[0-9]*$/,0/' tiny.csv
for kind in freeze mask_update zero_grad; do
  for optimizer in 'adam(lr = 0.01, weight_decay = 0.1)' 'adamw(lr = 0.01, weight_decay = 0.1)' 'sgd(lr = 0.1, momentum = 0.5, weight_decay = 0.1)'; do
    rm -rf held
    printf '%s\nmodel { z = net(x); r = head(z) }\nclass low = y == 0\nroute r: gradient of z { when low to a; otherwise to b }\nloss l = mse(r, x)\n' "$head" |
      sed "s/^optimize.*/optimize $optimizer { masked = $kind }/" >held.route
    train held.route held
    "$python" - $kind <<PY || fail "$kind, $optimizer: units 2 and 3"
import sys
sys.path.insert(0, '$ROUTEC_ROOT/tests/lib')
import safetensors
a = safetensors.load('held/checkpoint-1.safetensors'); b = safetensors.load('held/checkpoint-30.safetensors')
for path, per in (('net.fc.weight', 6), ('net.fc.bias', 1)):
    x, y = list(a[path][1]), list(b[path][1])
    same = [p == q for p, q in zip(x[2 * per:], y[2 * per:])]
    assert not any(same) if sys.argv[1] == 'zero_grad' else all(same), (path, same)
    assert all(p != q for p, q in zip(x[:2 * per], y[:2 * per])), path
    for k in range(2):
        state = '%s#state%d' % (path, k)
        if state in a and sys.argv[1] == 'freeze':
            assert a[state][1][2 * per:] == b[state][1][2 * per:], state
PY
    pass
  done
done
echo "$n_checks checks"
