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

# a region with a bound is a group of its own: (3, 4) has 3 in one and 4 in the other; without it both share the norm 5
one_by_one() { # one_by_one SETTINGS REGION: two layers, each one weight, that the loss pulls by 3 and by 4
  cat <<ROUTE
edition 1
parameter a: f32[1] = 2
parameter b: f32[1] = 2
loss l = 3 * sum(a) + 4 * sum(b)
$2
optimize sgd(lr = 1, weight_decay = 0.5) { $1 }
train 1 steps {}
ROUTE
}
both_are() { # both_are NAME A B
  train "$1.route" "$1"
  $tool near_values 1e-6 "$(weights_of "$1")" a "$2" || fail "$1: a"
  $tool near_values 1e-6 "$(weights_of "$1")" b "$3" || fail "$1: b"
}
one_by_one 'clip = 2.5' '' >shared.route # 1.5 and 2 of gradient, and 1 of decay, which no bound holds
both_are shared -0.5 -1
one_by_one 'clip = 2.5' 'region first = a { clip = 1.0 }' >grouped.route
both_are grouped 0 -1.5
one_by_one 'clip = 2.5' 'region first = a { decay = false }' >undecayed.route
both_are undecayed 0.5 -1
one_by_one 'decay = weights' 'region first = a { decay = true; clip = 1.0 }' >decayed.route
both_are decayed 0 -2
# policies by region: closed all of the time, a goes on decaying and b stays
one_by_one 'masked = freeze' 'region first = a { masked = zero_grad }' |
  sed 's/^loss.*/model { p = 1 * a; q = 1 * b }\nroute r: gradient of p { otherwise to none }\nroute s: gradient of q { otherwise to none }\nloss l = sum(p) + sum(q)/' >policies.route
both_are policies 1 2

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
