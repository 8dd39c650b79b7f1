# SPDX-License-Identifier: Apache-2.0
# Sourced by tests/cli/*.sh and tests/train/*.sh. Expects ROUTEC (the executable) and ROUTEC_ROOT (the sources).
# Works in a new folder that is removed at the end; $out and $err hold what the last `routec` said.
set -u
: "${ROUTEC:?path of routec}" "${ROUTEC_ROOT:?path of the sources}"
export NO_COLOR=1 OPENBLAS_CORETYPE="${OPENBLAS_CORETYPE:-Haswell}" ROUTEC_ROOT
work=$(mktemp -d) && cd "$work" || exit 1
trap 'chmod -R u+w "$work" 2>/dev/null; rm -rf "$work"' EXIT
n_checks=0
python=/usr/bin/python3

fail() {
  echo "FAILED: $*" >&2
  [ -s "$work/.out" ] && { echo "--- stdout"; head -c 2000 "$work/.out"; } >&2
  [ -s "$work/.err" ] && { echo "--- stderr"; head -c 2000 "$work/.err"; } >&2
  exit 1
}
skip() { echo "SKIPPED: $*"; exit 77; }
pass() { n_checks=$((n_checks + 1)); }

# expect CODE arguments...: runs routec and compares its exit code. One thread unless said otherwise: tests run side by
# side, and threads that wait for a CPU that another test holds wait long.
expect() {
  local want=$1 got=0
  shift
  case "${1:-} $*" in
  *--threads* | *--help*) ;;
  run* | resume* | eval* | grad*) set -- "$@" --threads 1 ;;
  esac
  "$ROUTEC" "$@" >"$work/.out" 2>"$work/.err" </dev/null || got=$?
  [ "$got" = "$want" ] || fail "routec $*: exit code $got, not $want"
  pass
}
says() { # says TEXT: the last command said it on stdout or stderr
  grep -qF -- "$1" "$work/.out" "$work/.err" || fail "did not say: $1"
  pass
}
says_not() {
  ! grep -qF -- "$1" "$work/.out" "$work/.err" || fail "said: $1"
  pass
}
is_json() { # is_json FILE [lines]: one JSON text, or one a line
  "$python" - "$1" "${2:-}" <<'PY' || fail "$1 is not valid JSON"
import json, sys
text = open(sys.argv[1]).read()
texts = text.splitlines() if sys.argv[2] == 'lines' else [text]
assert any(t.strip() for t in texts), 'empty'
for t in texts:
    if t.strip():
        json.loads(t)
PY
  pass
}
same_tensors() { # same_tensors A B [old=new ...]: bit for bit, by path
  "$python" "$ROUTEC_ROOT/tests/lib/safetensors.py" same "$@" || fail "tensors differ: $*"
  pass
}
same_parameters() { # without optimizer states
  "$python" "$ROUTEC_ROOT/tests/lib/safetensors.py" same_parameters "$@" || fail "parameters differ: $*"
  pass
}
different_tensors() {
  ! "$python" "$ROUTEC_ROOT/tests/lib/safetensors.py" same "$@" >/dev/null || fail "tensors are the same: $*"
  pass
}
weights_of() { # the newest checkpoint's tensors of a run folder
  local f
  f=$(ls -1 "$1"/checkpoint-*.safetensors 2>/dev/null | sort -V | tail -n 1)
  [ -n "$f" ] || fail "no checkpoint in $1: $(ls -R "$1" 2>&1 | head -20)"
  echo "$f"
}
# tiny NAME [train settings]: a spec of a small routed net on a few generated data.
tiny_data() {
  "$python" - <<'PY'
import random
random.seed(5)
with open('tiny.csv', 'w') as f:
    for i in range(67):
        f.write(','.join('%.4f' % random.uniform(-1, 1) for _ in range(6)) + ',%d\n' % random.randrange(4))
PY
}
tiny() {
  [ -f tiny.csv ] || tiny_data
  cat >"$1" <<ROUTE
edition 1
param width: int = 5
param rate: real in 0 ..= 100 = 1e-2
data points {
  source = csv("tiny.csv", x = 0 .. 6, y = 6, holdout = 16)
  x: f32[6] = source.x
  y: int in 0 ..= 3 = source.y
}
module encoder(v: f32[6]) -> f32[4] {
  out = v |> fc1: linear(width) |> tanh |> fc2: linear(4)
}
module decoder(z: f32[n]) -> f32[6] {
  out = z |> fc1: linear(width) |> tanh |> fc2: linear(6)
}
model {
  z = encoder(x)
  recon = decoder(z)
  probe = copies(decoder)
  cert = probe(stop(z.left))
}
split z { left = 0 .. 2; right = rest }
class low = y in 0 ..= 1
route code: gradient of z { when low to left; otherwise to right }
loss reconstruction = mae(recon, x) { mean_by = low }
loss certificate = mse(cert, x)
optimize adam(lr = rate) { masked = zero_grad }
train { batch = 13; for = 12 epochs; ${2:-checkpoint { every = 2 epochs; keep = 0 \}} }
evaluate quality { on = points.test; by = y; whole = mse(recon, x); left = mse(cert, x) }
ROUTE
}
