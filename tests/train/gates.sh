#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Whole runs with gates: stopped and gone on with, built, on several threads, audited; at several places, on drawn labels.
. "$(dirname "$0")/../lib/cli.sh"
. "$ROUTEC_ROOT/tests/lib/train.sh"
tiny_data
spec() { # spec GATES [MORE]
  cat <<ROUTE
edition 1
param share: real = 0.1
data points {
  source = csv("tiny.csv", x = 0 .. 6, y = 6, holdout = 16)
  x: f32[6] = source.x
  y: int in 0 ..= 3 = source.y
}
class low = y in 0 ..= 1
class seen = observe(low, recall = 0.6, precision = 0.9, no = 0.5, seed = 4)
module expert(v: f32[n]) -> f32[6] { out = v |> fc1: linear(5) |> tanh |> fc2: linear(6) }
model {
  left, right = copies(expert)
  h = x |> trunk: linear(4) |> tanh
  open = sigmoid(h |> score: linear(1))
  first = mix(open, a = left(h), b = right(h))
  w = softmax_gate(x |> scores: linear(3))
  out = select(w, a = first, b = h |> other: linear(6), c = x)
}
route experts: gradient of first { when low to a; otherwise to b }
loss fit = mse(out, x)
$1
optimize adam(lr = 1e-2)
train { batch = 13; for = 8 epochs; checkpoint { every = 3 steps; keep = 0 } }
evaluate deployed { on = points.test; by = y; error = mse(out, x) }
evaluate told { on = points.test; set router = y == 0; set chooser = 1 when low; error = mse(out, x) }
${2:-}
ROUTE
}
gates='gate chooser { value = open; gradient = stop when seen; target = y == 0; when = seen or seen is no; weight = share; deploy = 1 }
gate router { value = w; train = hard; target = if y < 2 then 0 else y - 1; when = seen is unlabelled; deploy = hard }'
spec "$gates" | sed 's/router = y == 0/router = [0, 0, 1]/' >spec.route
expect 0 run spec.route --run-dir whole
says chooser
says router
# stopped in the middle of an epoch and gone on with; twice
expect 0 run spec.route --run-dir part --steps 7
expect 0 resume part --steps 17
expect 0 resume part
same_tensors "$(weights_of whole)" "$(weights_of part)"
cmp <(grep '"evaluation"' whole/metrics.jsonl) <(grep '"evaluation"' part/metrics.jsonl) || fail 'evaluations differ'
# as a trainer, which has its loss and its params too
expect 0 build spec.route -o trainer
for seed in 0 9; do
  expect 0 run spec.route --run-dir "run$seed" --seed $seed --set share=0.3
  ./trainer run --run-dir "built$seed" --seed $seed --set share=0.3 --threads 1 >"$work/.out" 2>"$work/.err" || fail "trainer: $?"
  same_tensors "$(weights_of "run$seed")" "$(weights_of "built$seed")"
  cmp <(grep '"evaluation"' "run$seed/metrics.jsonl") <(grep '"evaluation"' "built$seed/metrics.jsonl") || fail 'evaluations of the trainer differ'
done
./trainer run --run-dir cut --steps 11 --threads 1 >"$work/.out" 2>"$work/.err" || fail "trainer --steps: $?"
./trainer resume cut --threads 1 >"$work/.out" 2>"$work/.err" || fail "trainer resume: $?"
same_tensors "$(weights_of whole)" "$(weights_of cut)"
for threads in 2 4; do
  expect 0 run spec.route --run-dir "threads$threads" --threads $threads
  same_tensors "$(weights_of whole)" "$(weights_of "threads$threads")"
done
# every gradient from the machine and from the interpreter, of all losses and of a gate's
for loss in fit chooser router; do
  expect 0 grad spec.route --loss $loss -o g.safetensors
  expect 0 grad spec.route --loss $loss -o oracle.safetensors --oracle
  $tool adds_up 1e-5 g.safetensors oracle.safetensors || fail "gradient of $loss"
done
# an audit that changes contents of each class finds nothing that the proof does not say
expect 0 run spec.route --run-dir audited --audit 2
same_tensors "$(weights_of whole)" "$(weights_of audited)"

# a gate in each round of a repeat: one loss, of all of them, which none of them stops; what is stopped of other losses is none
cat >deep.route <<'ROUTE'
edition 1
data points {
  source = csv("tiny.csv", x = 0 .. 6, y = 6)
  x: f32[6] = source.x
  y: int in 0 ..= 3 = source.y
}
class low = y in 0 ..= 1
module block(v: f32[6]) -> f32[6] {
  w = sigmoid(v |> score: linear(1))
  out = mix(w, a = v |> one: linear(6), b = v)
}
model {
  h = x
  repeat blocks[i in 0 .. 2] carry h { h = block(h) }
}
gate depth { value = blocks[*].block.w; gradient = stop; target = low }
loss fit = mse(h, x)
optimize sgd(lr = 0.1)
train { batch = 10; for = 2 steps }
ROUTE
for loss in fit depth; do
  expect 0 grad deep.route --loss $loss -o $loss.safetensors
  expect 0 grad deep.route --loss $loss -o oracle.safetensors --oracle
  $tool adds_up 1e-5 $loss.safetensors oracle.safetensors || fail "gradient of $loss at several places"
done
moves() { "$python" - "$1" "$2" <<'PY'
import os, sys
sys.path.insert(0, os.environ['ROUTEC_ROOT'] + '/tests/lib')
import safetensors
values = safetensors.load(sys.argv[1]).get(sys.argv[2], (None, [0]))[1]
sys.exit(0 if any(values) else 1)
PY
}
for i in 0 1; do
  moves depth.safetensors blocks.$i.block.score.weight || fail "gate $i does not learn from its loss"
  ! moves fit.safetensors blocks.$i.block.score.weight || fail "gate $i learns from what it stops"
done
# the second gate reads what the first one mixes, so its loss trains that mix, its weights included
moves depth.safetensors blocks.0.block.one.weight || fail 'the loss of the second gate ends at the first'
pass
echo "$n_checks checks"
