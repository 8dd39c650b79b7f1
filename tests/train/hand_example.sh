#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The smallest example of routing, by hand: h = W1 x with W1 = [1, 2], x = 1; y = W2 h with W2 = [3, -1]; L = y^2 / 2.
# So h = [1, 2], y = 1, and one step of SGD at rate 1 moves W1 and W2 by minus their gradients. x = W0 with W0 = 1, whose
# gradient is what is passed on.
. "$(dirname "$0")/../lib/cli.sh"
. "$ROUTEC_ROOT/tests/lib/train.sh"
echo 1,0 >one.csv
spec() { # spec ROUTE
  cat <<ROUTE
edition 1
data one {
  source = csv("one.csv", x = 0, t = 1)
  x: f32[1] = reshape(source.x, [1])
  t: f32[1] = reshape(source.t, [1])
}
model {
  h = x |> w0: linear(1, bias = false) |> w1: linear(2, bias = false)
  y = h |> w2: linear(1, bias = false)
}
split h { one = 0 .. 1; two = rest }
$1
loss l = 0.5 * mse(y, t)
optimize sgd(lr = 1.0) { masked = zero_grad }
train { batch = 1; for = 1 steps; checkpoint { every = 1 steps } }
ROUTE
}
row() { # row NAME ROUTE dW1... dW2... dx
  spec "$2" >"$1.route"
  if [ ! -f init.safetensors ]; then
    train "$1.route" any
    $tool set "$(weights_of any)" init.safetensors w0.weight=1 w1.weight=1,2 w2.weight=3,-1 || fail set
  fi
  train "$1.route" "$1" --init init.safetensors
  local n=("$("$python" -c "print(1-($3), 2-($4), 3-($5), -1-($6), 1-($7))")")
  read -r a b c d e <<<"${n[0]}"
  $tool values "$(weights_of "$1")" w1.weight "$a" "$b" || fail "$1: dW1"
  $tool values "$(weights_of "$1")" w2.weight "$c" "$d" || fail "$1: dW2"
  $tool values "$(weights_of "$1")" w0.weight "$e" || fail "$1: dx"
  pass
}
row none '' 3 -1 1 2 1
row first_unit 'route r: gradient of h { otherwise to one }' 3 0 1 2 3
row half 'route r: gradient of h { otherwise to { one = 1.0; two = 0.5 } }' 3 -0.5 1 2 2
row negative 'route r: gradient of h { otherwise to { one = 1.0; two = -0.75 } }' 3 0.75 1 2 4.5
row parameters 'route r: parameters of h { otherwise to one }' 3 0 1 0 1
row value 'route r: value of h { otherwise to one }' 9 0 3 0 9
# both: the value's mask multiplies with the gradient's, and the parameters' comes last
row value_and_gradient 'route f: value of h { otherwise to one }
route a: gradient of h { otherwise to { one = 0.5; two = 1.0 } }' 4.5 0 3 0 4.5
row gradient_and_parameters 'route a: gradient of h { otherwise to { one = 1.0; two = 0.5 } }
route p: parameters of h { otherwise to two }' 0 -0.5 0 2 2
row two_of_parameters 'route p: parameters of h { otherwise to { one = 0.5; two = 1.0 } }
route q: parameters of h { otherwise to { one = 0.5; two = -1.0 } } { also }' 0.75 1 0.25 -2 1
echo "$n_checks checks"
