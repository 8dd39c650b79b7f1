#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Decision 7: a mask after a residual block catches branch and skip; a mask on the branch leaves the skip open. Two names:
# the sum and the branch's result.
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
module block(v: f32[n]) -> f32[n] { out = v |> up: linear(7) |> tanh |> down: linear(n) }
model {
  stream = x |> inner: linear(4)
  branch = stream |> only: block
  z = stream + branch
  guess = z |> head: linear(4)
}
$1
loss l = cross_entropy(guess, y)
optimize sgd(lr = 1)
train { batch = 67; for = 1 steps }
ROUTE
}
zero() { # zero NAME PATH...: these gradients are exactly 0, all others are not
  local name=$1
  shift
  expect 0 grad "$name.route" -o "$name.safetensors"
  "$python" - "$name.safetensors" "$ROUTEC_ROOT/tests/lib" "$*" <<'PY' || fail "$name: blocked should be $*"
import sys
sys.path.insert(0, sys.argv[2])
import safetensors
zero = sys.argv[3].split()
tensors = safetensors.load(sys.argv[1])
assert len(tensors) >= 7, sorted(tensors)
for path, (shape, values) in tensors.items():
    blocked = any(path.startswith(z) for z in zero)
    assert all(v == 0 for v in values) if blocked else all(v != 0 for v in values), (path, values)
PY
  pass
}
spec '' >none.route
sed -i 's/stream |> only: block/only(stream)/; s/^model {/model {\n  only = copies(block)/' none.route
expect 0 check none.route
with() { sed "s/^loss l/route r: gradient of $1 { otherwise to none }\nloss l/" none.route >"$2.route"; }
zero none
with z after
zero after inner only
with branch on_branch
zero on_branch only
with only.up.out within
zero within only.up
# the skip alone is `stream` as the sum reads it: what is left with the branch blocked is the skip's part of the whole
with stream before
zero before inner
# whole = branch blocked + skip blocked, for what both pass through
sed 's/z = stream + branch/z = stop(stream) + branch/' none.route >no_skip.route
expect 0 grad no_skip.route -o no_skip.safetensors
"$python" - "$ROUTEC_ROOT/tests/lib" <<'PY' || fail "branch and skip do not add up"
import sys
sys.path.insert(0, sys.argv[1])
import safetensors
whole, skip, branch = (safetensors.load(n + '.safetensors')['inner.weight'][1] for n in ('none', 'on_branch', 'no_skip'))
assert all(abs(w - s - b) < 1e-6 for w, s, b in zip(whole, skip, branch)) and any(abs(b) > 1e-3 for b in branch)
PY
echo "$n_checks checks"
