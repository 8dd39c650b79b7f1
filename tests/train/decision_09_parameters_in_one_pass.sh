#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Decision 9: routes of parameters need no pass for each class. Each weight has one product for its gradient, over selected or
# scaled rows or columns (a table that needs both is cut into blocks that together cost the same), and the signal that is
# passed on is that of the model without the route, to the bit.
. "$(dirname "$0")/../lib/cli.sh"
. "$ROUTEC_ROOT/tests/lib/train.sh"
tiny_data
spec() { # spec ROUTE
  cat <<ROUTE
edition 1
data points {
  source = csv("tiny.csv", x = 0 .. 6, y = 6)
  x: f32[6] = source.x
  y: int in 0 ..= 3 = source.y
}
model {
  h = x |> fc0: linear(7) |> tanh |> fc1: linear(6) |> tanh
  g = h |> fc2: linear(5) |> tanh
  guess = g |> fc3: linear(4)
}
split h { a = 0 .. 2; b = [2, 4]; c = rest }
split g { a = 0 .. 2; b = rest }
$1
loss l = cross_entropy(guess, y) { per = 10 }
optimize sgd(lr = 1)
train { batch = 67; for = 1 steps; shuffle = false; group = false }
ROUTE
}
multiplications() { # of the products in the routed step, for each datum, by the size of their results and operands
  "$ROUTEC" check "$1" --dump=simplify | "$python" -c '
import re, sys
shape, total = {}, 0
for line in sys.stdin:
    m = re.match(r"%(\d+) = (\w+) ?((?:%\d+ ?)*)(\{[^}]*\})? ?\w+\[([^\]]*)\]", line)
    if not m:
        if line.startswith("graph") and "train" not in line: break
        continue
    dims = [1 if d == "ROWS" else int(d) for d in m.group(5).split(",") if d]
    shape[m.group(1)] = dims
    if m.group(2) != "dot": continue
    a = m.group(3).split()[0][1:]
    contracted = re.search(r"contract_a=([\d ]*)", m.group(4)).group(1).split()
    n = 1
    for d in dims: n *= d
    for k in contracted: n *= shape[a][int(k)]
    total += n
print(total)'
}
spec '' >plain.route
spec 'route p: parameters of h + g { when y == 0 to a; when y == 1 to { a = 1.0; b = 0.5; c = -2.0; shared = 0.25 }; otherwise to b + c } { cross = column }' >columns.route
spec 'route p: parameters of h + g { when y == 0 to a; when y == 1 to { a = 1.0; b = 0.5; c = -2.0; shared = 0.25 }; otherwise to b + c } { cross = shared }' >blocks.route
spec 'route p: parameters of h { otherwise to a }' >small.route
want=$(multiplications plain.route)
[ "$want" -gt 300 ] || fail "no products were counted: $want"
for r in columns blocks; do
  [ "$(multiplications $r.route)" = "$want" ] || fail "$r: $(multiplications $r.route) multiplications for each datum, not $want"
  pass
done
[ "$(multiplications small.route)" -lt "$want" ] || fail "rows that no datum reaches are computed"
pass
for r in plain columns blocks; do expect 0 grad $r.route -o $r.safetensors; done
"$python" - "$ROUTEC_ROOT/tests/lib" <<'PY' || fail "the signal that is passed on changed, or the masks did nothing"
import sys
sys.path.insert(0, sys.argv[1])
import safetensors
plain, *routed = (safetensors.load(n + '.safetensors') for n in ('plain', 'columns', 'blocks'))
for r in routed:
    for name in ('fc0.weight', 'fc0.bias'):
        assert plain[name][1] == r[name][1], name
    for name in ('fc1.weight', 'fc1.bias', 'fc2.weight', 'fc2.bias', 'fc3.weight', 'fc3.bias'):
        assert plain[name][1] != r[name][1], name
assert routed[0]['fc2.weight'][1] != routed[1]['fc2.weight'][1]
PY
pass
echo "$n_checks checks"
