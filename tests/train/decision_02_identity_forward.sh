#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Decision 2: masks on gradients never change a forward value by one bit, and strength 0 is training without the route, to
# the bit; for masks on values too.
. "$(dirname "$0")/../lib/cli.sh"
. "$ROUTEC_ROOT/tests/lib/train.sh"
tiny routed.route "$every_step"
sed -i 's/for = 12 epochs/for = 40 steps/; s/when low to left; otherwise to right/when low to { left = 1.0; right = -0.75 }; otherwise to { left = 0.5; right = 1.0 }/' routed.route
grep -v '^route' routed.route >plain.route
train plain.route plain
train routed.route routed
# before the first update all losses agree to the last digit; afterwards they must not
"$python" - <<'PY' || fail "a route on gradients changed a loss of the first step, or nothing at all"
import json
lines = [[json.loads(l) for l in open(r + '/metrics.jsonl')] for r in ('plain', 'routed')]
a, b = [[l['loss'] for l in x if 'loss' in l] for x in lines]
assert a[0] == b[0] and len(a[0]) == 2, (a[0], b[0])
assert a[5] != b[5]
PY
pass
# trained weights too: one more step of each spec begins with the same losses
train plain.route plain_more --steps 1 --init "$(weights_of plain)"
train routed.route routed_more --steps 1 --init "$(weights_of plain)"
[ "$(grep '"loss"' plain_more/metrics.jsonl | head -1 | grep -o '"loss".*}')" = \
  "$(grep '"loss"' routed_more/metrics.jsonl | head -1 | grep -o '"loss".*}')" ] || fail "the losses of trained weights differ"
pass
zero() { # zero NAME ROUTE: with strength 0 the whole run is that of the plain spec
  grep -v '^route' routed.route | sed "s/^class low.*/&\nparam s: real in 0 ..= 1 = 0\n$2/" >"$1.route"
  train "$1.route" "$1"
  same_losses plain "$1"
  same_tensors "$(weights_of plain)" "$(weights_of "$1")"
  train "$1.route" "$1_one" --set s=1
  different_tensors "$(weights_of plain)" "$(weights_of "$1_one")"
}
zero gradient 'route r: gradient of z { when low to left; otherwise to { left = 0.25; right = -1.0 } } { strength = s }'
zero value 'route r: value of z { when low to left; otherwise to { left = 0.25; right = -1.0 } } { strength = s }'
zero both 'route r: gradient of z { when low to left; otherwise to right } { strength = s }\nroute f: value of encoder.fc1.out { when low to { a = 1.0; b = 0.5 }; otherwise to all } { strength = ramp(0, s) }\nsplit encoder.fc1.out { a = 0 .. 2; b = rest }'
zero parameters 'route r: parameters of z { when low to left; otherwise to { left = 0.25; right = -1.0; shared = 0.5 } } { strength = s }'
# without groups a number that is 0 when the program is compiled, too; with them only the order of sums may differ
never() { # never NAME ROUTE: the plain spec, to the bit
  grep -v '^route' routed.route | sed "s/^class low.*/&\n$2/; s/for = 40 steps/group = false; for = 40 steps/" >"$1.route"
  train "$1.route" "$1"
  same_losses plain "$1"
  same_tensors "$(weights_of plain)" "$(weights_of "$1")"
  sed 's/strength = 0/strength = 0.5/' "$1.route" >"$1_half.route"
  train "$1_half.route" "$1_half"
  different_tensors "$(weights_of plain)" "$(weights_of "$1_half")"
}
never value_never 'route r: value of z { when low to left; otherwise to { left = 0.25; right = -1.0 } } { strength = 0 }'
never parameters_never 'route r: parameters of z { when low to left; otherwise to { left = 0.25; right = -1.0; shared = 0.5 } } { strength = 0 }'
never all_never 'route r: gradient of z { when low to left; otherwise to right } { strength = 0 }\nroute f: value of encoder.fc1.out { when low to a; otherwise to all } { strength = 0 }\nroute p: parameters of z { when low to left; otherwise to none } { strength = 0 }\nsplit encoder.fc1.out { a = 0 .. 2; b = rest }'
# masks on parameters: the losses of the first step are the same text, and a table of ones is no route
grep -v '^route' routed.route | sed 's/^class low.*/&\nroute p: parameters of z { when low to left; otherwise to right + shared }/' >routed_parameters.route
train routed_parameters.route parameters_step --steps 1 --init "$(weights_of plain)"
[ "$(grep '"loss"' plain_more/metrics.jsonl | head -1 | grep -o '"loss".*}')" = \
  "$(grep '"loss"' parameters_step/metrics.jsonl | head -1 | grep -o '"loss".*}')" ] || fail "a route of parameters changed a loss"
different_tensors "$(weights_of plain_more)" "$(weights_of parameters_step)"
sed -i 's/when low to left; otherwise to right + shared/when low to all; otherwise to { left = 1.0; right = 1.0; shared = 1.0 }/' routed_parameters.route
train routed_parameters.route ones
same_losses plain ones
same_tensors "$(weights_of plain)" "$(weights_of ones)"
echo "$n_checks checks"
