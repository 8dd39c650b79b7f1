#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Rows that take a branch of a select are packed: the same bits as without, whatever the threads, the instruction set, resuming and
# building; nested and side by side, with dropout inside, for counts of 0, 1 and all, in evaluations; and what is not computed
# cannot do harm.
. "$(dirname "$0")/../lib/cli.sh"
. "$ROUTEC_ROOT/tests/lib/train.sh"
data='edition 1
data digits {
  source = csv("'$ROUTEC_ROOT'/data/digits.csv.gz", pixels = 0 .. 64, digit = 64, holdout = 359)
  image: f32[64] = source.pixels / 8 - 1
  label: int in 0 ..= 9 = source.digit
}'
spec() { # spec TRAIN [MORE]
  cat <<ROUTE
$data
module expert(x: f32[n]) -> f32[24] { out = x |> fc1: linear(96) |> relu |> dropout(0.2) |> fc2: linear(96) |> tanh |> fc3: linear(24) }
module gate(x: f32[n]) -> f32[3] { out = x |> fc: linear(3) }
model {
  e0, e1, e2, e3, e4 = copies(expert)
  g0, g1 = copies(gate)
  score = g0(image)
  hard = one_hot(argmax(score), 3) * softmax(score)
  trunk = image |> t0: linear(80) |> relu |> t1: linear(80) |> layer_norm()
  inner = g1(trunk)
  deep = select(where(inner > 0, inner, 0), a = e0(trunk), b = e1(trunk), c = trunk |> t2: linear(24))
  first = select(hard, x = e2(image), y = deep, z = e3(image))
  odd = select(where(label > 9, 1, 0), where(label < 10, 1, 0), never = e4(image), always = image |> o1: linear(40) |> relu |> o2: linear(24))
  embedded = select(where(label in 0 ..= 2, 1, 0), where(label == 9, 0.5, 0), few = label |> table: embedding(10, 24), one = image |> o3: linear(24))
  logits = (first + odd + embedded) |> out: linear(10)
}

${2:-}
loss fit = cross_entropy(logits, label)
optimize adam(lr = 1e-3)
train { batch = 250; for = 3 epochs; $1 $every_step }
evaluate all { on = digits.test; by = label; right = accuracy(logits, label); error = cross_entropy(logits, label) }
evaluate without { on = digits.test; ablate = first.x; error = cross_entropy(logits, label) }
ROUTE
}
spec 'pack = true;' >packed.route
spec 'pack = false;' >apart.route
expect 0 plan packed.route
says 'rows that take a branch are packed'
says 'deep.a taken and first.y taken, 11.1 % of the rows'
says 'odd.never taken, 50.0 % of the rows'
says 'branches in evaluation without'
expect 0 plan apart.route
says 'rows that take a branch are not packed: switched off'
says_not 'rows1'
expect 0 plan packed.route --json
"$python" - "$work/.out" <<'PY' || fail 'the plan as JSON'
import json, sys
plan = json.load(open(sys.argv[1]))
train = next(b for b in plan['branches'] if b['function'] == 'train')
assert train['flop'] < 0.6 * train['flop_if_all_were_computed'] and not train['not_packed_because'], train
assert {'first.x taken', 'first.z taken'} <= {s['rows'] for s in train['row_sets']}
assert any('rows1' in g['shape'] for f in plan['functions'] if f['name'] == 'train' for g in f['gemms'])
PY
pass
# a tiny branch is not worth it; products by the BLAS have an order of their own
printf '%s\nmodel { logits = select(where(label > 4, 1, 0), a = image |> u: linear(10), b = image |> v: linear(10)) }\nloss l = cross_entropy(logits, label)\noptimize sgd(lr = 0.1)\ntrain { batch = 32; for = 1 steps }\n' "$data" >tiny.route
expect 0 plan tiny.route
says 'not packed: no branch has products that would become smaller by more than packing costs'
expect 0 plan packed.route --blas
says 'not packed: products by the BLAS add up in an order of their own'
# the same bits, with the evaluations
train packed.route one --threads 1
train apart.route apart --threads 1
same_losses one apart
same_tensors "$(weights_of one)" "$(weights_of apart)"
tables() { grep '"evaluation"' "$1/metrics.jsonl"; }
cmp -s <(tables one) <(tables apart) || fail 'evaluations of packed rows'
pass
for n in 2 4; do
  train packed.route "threads$n" --threads $n
  same_tensors "$(weights_of one)" "$(weights_of "threads$n")"
done
train packed.route v3 --threads 2 --target x86-64-v3
same_tensors "$(weights_of one)" "$(weights_of v3)"
train packed.route part --threads 2 --steps 7
expect 0 resume part -q
same_tensors "$(weights_of one)" "$(weights_of part)"
expect 0 build packed.route -o trainer
env -i OPENBLAS_CORETYPE="$OPENBLAS_CORETYPE" ./trainer run --run-dir built --threads 2 -q >"$work/.out" 2>"$work/.err" || fail "trainer: $?"
same_tensors "$(weights_of one)" "$(weights_of built)"
# one datum a batch; and with rows grouped by class beside it
sed 's/batch = 250; for = 3 epochs/batch = 1; for = 40 steps/' packed.route >p1.route
sed 's/batch = 250; for = 3 epochs/batch = 1; for = 40 steps/' apart.route >a1.route
train p1.route p1
train a1.route a1
same_tensors "$(weights_of p1)" "$(weights_of a1)"
routes='class low = label in 0 ..= 4
split trunk { s = 0 .. 40; t = rest }
route r: gradient of trunk { when low to s; otherwise to t }'
spec 'pack = true; group = true;' "$routes" >pg.route
spec 'pack = false; group = true;' "$routes" >ag.route
expect 0 plan pg.route
says 'rows of a batch are sorted by group'
says 'rows that take a branch are packed'
train pg.route pg --threads 1
train ag.route ag --threads 1
same_tensors "$(weights_of pg)" "$(weights_of ag)"
# gradients as `grad` writes them, against the interpreter, which packs too, and against the whole
expect 0 grad packed.route -o g.safetensors
expect 0 grad apart.route -o ga.safetensors
same_tensors g.safetensors ga.safetensors
expect 0 grad packed.route -o oracle.safetensors --oracle
"$python" - "$ROUTEC_ROOT/tests/lib" <<'PY' || fail 'the interpreter has other gradients'
import sys
sys.path.insert(0, sys.argv[1])
import safetensors
a, b = safetensors.load('g.safetensors'), safetensors.load('oracle.safetensors')
scale = max(abs(x) for _, v in b.values() for x in v)
assert a.keys() == b.keys() and all(abs(x - y) <= 2e-5 * scale for k in a for x, y in zip(a[k][1], b[k][1]))
assert all(x == 0 for x in a['e4.fc1.weight'][1]) and any(x != 0 for x in a['e0.fc1.weight'][1])
PY
pass
# what other contents of a class cannot reach they do not move, although they change which rows are packed
spec 'pack = true;' 'class low = label in 0 ..= 4
route r: gradient of trunk { when low to none; otherwise to all }
route q: gradient of first { when low to none; otherwise to all }
forbid low to e2 for fit' >audit.route
expect 0 run audit.route --run-dir audited -q --audit 2
says 'stayed the same, bit for bit'
# a root of a negative number inside of the branch: nothing of it is computed for data that do not take it
printf '%s\n' "$data" 'model {
  h = image |> a: linear(32)
  bad = sqrt(h) |> b: linear(10)
  logits = select(where(min(h, over = -1) >= 0, 1, 0), where(min(h, over = -1) < 0, 1, 0), bad = bad, good = image |> c: linear(10))
}
loss l = cross_entropy(logits, label)
optimize sgd(lr = 0.1)
train { batch = 64; for = 4 steps; pack = true }' >nan.route
train nan.route nan
expect 0 grad nan.route -o n.safetensors
"$python" - "$ROUTEC_ROOT/tests/lib" <<'PY' || fail 'numbers that are not finite came out of a branch'
import math, sys
sys.path.insert(0, sys.argv[1])
import safetensors
g = safetensors.load('n.safetensors')
assert all(math.isfinite(x) for _, v in g.values() for x in v) and any(x != 0 for x in g['c.weight'][1])
PY
pass
echo "$n_checks checks"
