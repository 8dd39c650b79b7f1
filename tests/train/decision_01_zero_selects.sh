#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Decision 1: a factor of 0 selects 0, it never multiplies. The adjoint of `h.b` is NaN (infinity minus infinity, behind a
# square root at 0), that of `h.c` infinite; the loss itself is finite.
. "$(dirname "$0")/../lib/cli.sh"
. "$ROUTEC_ROOT/tests/lib/train.sh"
spec() { # spec ARMS
  cat <<ROUTE
edition 1
parameter w: f32[4] = 0
model { h = 3 * w }
split h { a = 0 .. 2; b = 2 .. 3; c = rest }
route r: gradient of h { otherwise to $1 }
loss l = sum(h) + sum(sqrt(h.b - h.b)) + sum(sqrt(h.c))
optimize sgd(lr = 0.5) { masked = zero_grad }
train 1 steps {}
ROUTE
}
spec a >zero.route
expect 0 grad zero.route -o zero.safetensors
$tool values zero.safetensors w 3 3 0 0 || fail "the blocked units are not exactly 0"
expect 0 grad zero.route -o oracle.safetensors --oracle
$tool values oracle.safetensors w 3 3 0 0 || fail "nor in the interpreter"
train zero.route zero
$tool values "$(weights_of zero)" w -1.5 -1.5 0 0 || fail "the step"
spec '{ a = 2.0; b = 1e-30; c = 1e-30 }' >small.route # every other factor multiplies
expect 0 grad small.route -o small.safetensors
"$python" - "$ROUTEC_ROOT/tests/lib" <<'PY' || fail "a factor that is not 0 hides the adjoint: the test tests nothing"
import math, sys
sys.path.insert(0, sys.argv[1])
import safetensors
w = safetensors.load('small.safetensors')['w'][1]
assert w[0] == w[1] == 6 and math.isnan(w[2]) and math.isinf(w[3]), w
PY
# in a product, for the gradient of parameters: the adjoint of unit `b` is NaN for every datum, and 0 where it is blocked
printf '%s\n' 1,2,0 3,4,1 5,6,1 >rows.csv
cat >product.route <<'ROUTE'
edition 1
data rows {
  source = csv("rows.csv", x = 0 .. 2, y = 2)
  x: f32[2] = source.x
  y: int in 0 ..= 1 = source.y
}
model { h = x |> fc: linear(2); z = h.a + sqrt(h.b - h.b) }
split h { a = 0 .. 1; b = rest }
route p: parameters of h { when y == 0 to a; otherwise to { a = 0.5; b = 0.0 } }
loss l = sum(z) { sum }
optimize sgd(lr = 1) { masked = zero_grad }
train { batch = 3; for = 1 steps; shuffle = false }
ROUTE
for oracle in '' --oracle; do
  expect 0 grad product.route -o product.safetensors $oracle
  $tool values product.safetensors fc.weight 5 7 0 0 || fail "the blocked rows of a product are not exactly 0"
  $tool values product.safetensors fc.bias 2 0 || fail "nor of a sum"
done
expect 0 grad product.route -o open.safetensors --no-routes
"$python" - "$ROUTEC_ROOT/tests/lib" <<'PY' || fail "without the route nothing is NaN: the test tests nothing"
import math, sys
sys.path.insert(0, sys.argv[1])
import safetensors
w = safetensors.load('open.safetensors')['fc.weight'][1]
assert list(w[:2]) == [9, 12] and math.isnan(w[2]) and math.isnan(w[3]), w
PY
echo "$n_checks checks"
