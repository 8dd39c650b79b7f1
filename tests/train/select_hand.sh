#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# `select` by hand: y = s a x for the data that pick 0, t (b x + sqrt(x - 2.5)) for those that pick 1; the root is not a number
# for the first two data, which do not take that branch. One step of SGD at rate 1 moves each parameter by minus its gradient.
. "$(dirname "$0")/../lib/cli.sh"
. "$ROUTEC_ROOT/tests/lib/train.sh"
printf '%s\n' 1,0 2,0 3,1 >rows.csv
spec() { # spec FUNCTION [ROUTE]
  cat <<ROUTE
edition 1
data rows {
  source = csv("rows.csv", x = 0, pick = 1)
  x: f32 = source.x
  pick: int in 0 ..= 1 = source.pick
}
parameter a: f32[] = 5
parameter b: f32[] = 7
parameter s: f32[] = 2
parameter t: f32[] = 3
model {
  u = a * x
  v = b * x + sqrt(x - 2.5)
  y = $1(where(pick == 0, s, 0), where(pick == 1, t, 0), one = u, two = v)
}
${2:-}
loss l = sum(y) { sum }
optimize sgd(lr = 1) { masked = zero_grad }
train { batch = 3; for = 1 steps; checkpoint { every = 1 steps } }
evaluate all { on = rows.train; y = mean(y) }
evaluate no_one { on = rows.train; ablate = y.one; y = mean(y) }
ROUTE
}
values() { # values FILE a b s t
  $tool near_values 1e-6 "$1" a "$2" && $tool near_values 1e-6 "$1" b "$3" && $tool near_values 1e-6 "$1" s "$4" && $tool near_values 1e-6 "$1" t "$5"
}
grads() { # grads SPEC a b s t: from the machine and from the interpreter
  for oracle in '' --oracle; do
    expect 0 grad "$1" -o g.safetensors $oracle
    values g.safetensors "${@:2}" || fail "gradients of $1 $oracle"
  done
  pass
}
spec select >select.route
grads select.route 6 9 15 21.70710678
train select.route run
values "$(weights_of run)" -1 -2 -13 -18.70710678 || fail 'the step'
pass
# the operands are parts that routes name and evaluations ablate
spec select 'route r: gradient of y { otherwise to two }' >two.route
grads two.route 0 9 15 21.70710678
spec select 'route r: value of y { when pick == 0 to two; otherwise to { one = 1.0; two = 0.5 } }' >half.route
grads half.route 0 4.5 0 10.85355339
sed 's/lr = 1)/lr = 0)/' select.route >still.route
train still.route still
"$python" - <<'PY' || fail 'the evaluations'
import json
table = {t['evaluation']: t['all']['y'] for t in map(json.loads, open('still/metrics.jsonl')) if 'evaluation' in t}
two = 3 * (21 + .5 ** .5)
assert abs(table['all'] - (10 + 20 + two) / 3) < 1e-4 and abs(table['no_one'] - two / 3) < 1e-4, table
PY
pass
# `mix` multiplies: the root reaches the loss
spec mix >mix.route
"$ROUTEC" run mix.route --run-dir mixed -q --threads 1 >.out 2>.err && fail 'with mix nothing is NaN: the test tests nothing'
says 'not finite'
echo "$n_checks checks"
