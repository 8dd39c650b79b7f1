#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Decision 12: a mask on a value multiplies exactly the named tensor: bias included, before any later norm. It equals zero
# activations at the same place. Before the activation it is the same as after it only if act(0) = 0. A mask on the value and
# one on the gradient of one edge multiply.
. "$(dirname "$0")/../lib/cli.sh"
. "$ROUTEC_ROOT/tests/lib/train.sh"
tiny_data
spec() { # spec ACT HIDE: HIDE is put behind the layer, and once more behind its activation
  cat <<ROUTE
edition 1
data points {
  source = csv("tiny.csv", x = 0 .. 6, y = 6)
  x: f32[6] = source.x
  y: int in 0 ..= 3 = source.y
}
model {
  before = x |> fc: linear(8)
  act = $1(${2:-before})
  z = ${3:-act} |> norm: layer_norm
  guess = z |> head: linear(4)
}
split before { a = 0 .. 4; b = rest }
split act { a = 0 .. 4; b = rest }
split z { a = 0 .. 4; b = rest }
$4
loss l = cross_entropy(guess, y)
optimize sgd(lr = 0.5) { masked = zero_grad }
train { batch = 67; for = 3 steps; shuffle = false; log = 1 steps; checkpoint { every = 3 steps } }
ROUTE
}
hide() { echo "route f: value of $1 { otherwise to a }"; }
# where(keep, v, 0) written by hand is the same as the route, to the bit
zeroed() { echo "concat($1.a, 0 * $1.b)"; }
for act in tanh sigmoid; do
  spec $act '' '' "$(hide before)" >${act}_before.route
  spec $act '' '' "$(hide act)" >${act}_after.route
  spec $act "$(zeroed before)" '' '' >${act}_before_hand.route
  spec $act '' "$(zeroed act)" '' >${act}_after_hand.route
  for kind in before after before_hand after_hand; do train ${act}_$kind.route ${act}_$kind; done
  for kind in before after; do
    near_losses_3() { "$python" - "$1" "$2" <<'PY'
import json, sys
a, b = [[list(json.loads(l)['loss'].values()) for l in open(r + '/metrics.jsonl') if '"loss"' in l] for r in sys.argv[1:]]
assert len(a) == len(b) == 3
sys.exit(0 if all(abs(p - q) <= 1e-6 * abs(p) for u, v in zip(a, b) for p, q in zip(u, v)) else 1)
PY
    }
    near_losses_3 ${act}_$kind ${act}_${kind}_hand || fail "$act, $kind: not what zero activations give"
    pass
  done
done
near_losses_3 tanh_before tanh_after || fail "tanh(0) is 0: before and after should agree"
near_losses_3 sigmoid_before sigmoid_after && fail "sigmoid(0) is 1/2: before and after should differ"
spec tanh '' '' "$(hide z)" >norm.route # behind the norm is another place
train norm.route norm
near_losses_3 tanh_after norm && fail "before and behind a norm should differ"

# the hand example: h = [1, 2], value mask [1, 1/2] makes y = 3 - 1 = 2; dh of the masked value is 2 * [3, -1]
echo 1,0 >one.csv
cat >hand.route <<'ROUTE'
edition 1
data one {
  source = csv("one.csv", x = 0, t = 1)
  x: f32[1] = reshape(source.x, [1])
  t: f32[1] = reshape(source.t, [1])
}
model {
  h = x |> w1: linear(2, bias = false)
  y = h |> w2: linear(1, bias = false)
}
split h { one = 0 .. 1; two = rest }
route f: value of h { otherwise to { one = 1.0; two = 0.5 } }
route a: gradient of h { otherwise to { one = 0.25; two = 0.5 } }
loss l = 0.5 * mse(y, t)
optimize sgd(lr = 1.0) { masked = zero_grad }
train { batch = 1; for = 1 steps }
ROUTE
expect 0 run hand.route --run-dir init -q --steps 1
$tool set "$(weights_of init)" init.safetensors w1.weight=1,2 w2.weight=3,-1 || fail set
expect 0 grad hand.route --init init.safetensors -o both.safetensors
$tool values both.safetensors w2.weight 2 2 || fail "w2 reads the masked value"
$tool values both.safetensors w1.weight 1.5 -0.5 || fail "both masks multiply"
grep -v '^route a' hand.route >value.route
expect 0 grad value.route --init init.safetensors -o value.safetensors
$tool values value.safetensors w1.weight 6 -1 || fail "the value mask alone"
echo "$n_checks checks"
