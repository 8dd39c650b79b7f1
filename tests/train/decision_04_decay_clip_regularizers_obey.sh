#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Decision 4: weight decay (coupled and decoupled), clipping and regularizers obey the policy too. Clipping is global or per
# region, after masking.
. "$(dirname "$0")/../lib/cli.sh"
. "$ROUTEC_ROOT/tests/lib/train.sh"
spec() { # spec LOSSES OPTIMIZER SETTINGS [MORE]
  cat <<ROUTE
edition 1
parameter w: f32[2] = 2
model { h = 1 * w }
split h { a = 0 .. 1; b = rest }
route r: gradient of h { otherwise to a }
$1
optimize $2 { $3 }
${4:-}
train 1 steps {}
ROUTE
}
is() { # is NAME A B: the parameter after one step
  train "$1.route" "$1"
  $tool near_values 1e-6 "$(weights_of "$1")" w "$2" "$3" || fail "$1"
}
# decay, coupled (0.25 w = 0.5 is added to the gradient) and decoupled (w loses 0.5 * 0.25 w); the gradient itself is 1 on a
loss='loss l = sum(h)'
for policy in freeze mask_update; do
  spec "$loss" 'sgd(lr = 0.5, weight_decay = 0.25)' "masked = $policy" >"coupled_$policy.route"
  is "coupled_$policy" 1.25 2
done
spec "$loss" 'sgd(lr = 0.5, weight_decay = 0.25)' 'masked = zero_grad' >coupled_zero_grad.route
is coupled_zero_grad 1.25 1.75
spec "$loss" 'adamw(lr = 0.5, eps = 0, betas = [0.5, 0.75], weight_decay = 0.25)' 'masked = freeze' >decoupled_freeze.route
is decoupled_freeze 1.25 2
spec "$loss" 'adamw(lr = 0.5, eps = 1e-8, betas = [0.5, 0.75], weight_decay = 0.25)' 'masked = zero_grad' >decoupled_zero_grad.route
is decoupled_zero_grad 1.25 1.75
spec "$loss" 'sgd(lr = 0.5, weight_decay = 0.25)' 'masked = zero_grad; decay = weights' >spared.route
is spared 1.5 2

# clipping after masking: of the gradient (3, 4) only 3 is left, and its norm is 3, not 5
loss='loss l = 3 * sum(h.a) + 4 * sum(h.b)'
spec "$loss" 'sgd(lr = 1)' 'masked = zero_grad; clip = 1.5' >clip.route
is clip 0.5 2
# a bound that is not reached changes nothing
spec "$loss" 'sgd(lr = 1)' 'masked = zero_grad; clip = 3.5' >loose.route
is loose -1 2

# regularizers: an unrouted one activates what it touches, decay and all; a routed one does not
pull='loss l = sum(h)
regularize r2 = 0.5 * sum(square(h))'
spec "$pull { gradient = unrouted }" 'sgd(lr = 0.25, weight_decay = 0.5)' 'masked = freeze' >unrouted.route
is unrouted 1 1.25
spec "$pull { gradient = routed }" 'sgd(lr = 0.25, weight_decay = 0.5)' 'masked = freeze' >routed.route
is routed 1 2
# one that is not there for this route (`for l`) is as good as unrouted
spec "$pull { gradient = routed }" 'sgd(lr = 0.25, weight_decay = 0.5)' 'masked = freeze' | sed 's/gradient of h/gradient of h for l/' >owned.route
is owned 1 1.25
echo "$n_checks checks"
