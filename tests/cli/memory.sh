#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The peak memory that `plan --memory` promises is what a run maps, within 2 %; and the process holds little besides: on specs
# small, of regrouped rows and monitored, and of the size of MNIST.
. "$(dirname "$0")/../lib/cli.sh"
export XDG_CACHE_HOME=$work/cache
held() { # held NAME RESIDENT_SLACK_MIB arguments...: of plan and run
  local name=$1 slack=$2
  shift 2
  expect 0 plan "$@" --memory --json
  cp .out "$name.plan"
  expect 0 run "$@" --run-dir "$name-first" # compiles
  expect 0 run "$@" --run-dir "$name"
  "$python" - "$name.plan" "$name/manifest.json" "$slack" "$name" "${ROUTEC_SANITIZE:-}" <<'PY' || fail "memory of $name"
import json, sys
plan, run, slack = json.load(open(sys.argv[1]))['memory'], json.load(open(sys.argv[2]))['memory'], float(sys.argv[3])
off = plan['peak'] / run['mapped_peak'] - 1
anonymous = run['resident_peak'] - run['resident_files']
print(f"{sys.argv[4]}: planned {plan['peak']}, mapped {run['mapped_peak']} ({100 * off:+.2f} %), resident without files {anonymous}")
assert plan['with_data'] and abs(off) <= 0.02, off
if sys.argv[5]:
    print('a build with sanitizers: what is resident is not looked at')
else:
    assert 0.9 * run['mapped_peak'] <= anonymous <= 1.02 * run['mapped_peak'] + slack * 2**20, anonymous
assert sum(p['bytes'] for p in plan['parts'] if not p['transient']) <= plan['peak']
assert max(p['bytes'] for p in plan['parts']) <= plan['peak']
PY
  pass
}
tiny spec.route
held tiny 24 spec.route --threads 1
held threads 24 spec.route --threads 3
cat >grouped.route <<'ROUTE'
edition 1
extend "spec.route"
monitor { every = 5 steps }
ROUTE
held grouped 24 grouped.route --set width=700 --threads 2
"$python" - <<'PY'
import gzip, os, struct
os.mkdir('mnist')
for part, n in (('train', 60000), ('t10k', 10000)):
    with gzip.open(f'mnist/{part}-images-idx3-ubyte.gz', 'wb', 1) as f:
        f.write(struct.pack('>IIII', 0x803, n, 28, 28) + (os.urandom(784) * n if part == 'train' else bytes(784 * n)))
    with gzip.open(f'mnist/{part}-labels-idx1-ubyte.gz', 'wb', 1) as f:
        f.write(struct.pack('>II', 0x801, n) + bytes(i % 10 for i in range(n)))
PY
cat >large.route <<'ROUTE'
edition 1
data digits {
  source = mnist("mnist")
  image: f32[784] = flatten(source.image)
  label: int in 0 ..= 9 = source.label
}
model { logits = image |> fc1: linear(512) |> relu |> fc2: linear(256) |> relu |> fc3: linear(10) }
loss class = cross_entropy(logits, label)
optimize adam(lr = 1e-3)
train { batch = 1024; for = 4 steps }
evaluate quality { on = digits.test; by = label; error = cross_entropy(logits, label) }
ROUTE
held large 24 large.route --threads 1
expect 0 plan large.route
says "and the data: about"
expect 0 plan large.route --memory
says "while the data are read"
rm -r mnist
expect 3 plan large.route --memory
says "E0701"
expect 0 plan large.route
echo "$n_checks checks"
