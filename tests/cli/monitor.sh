#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# `monitor`: what it records is what `grad` computes; it changes no bit of the run; built trainers and resumed runs do it too.
. "$(dirname "$0")/../lib/cli.sh"
. "$ROUTEC_ROOT/tests/lib/train.sh"
tiny plain.route 'checkpoint { every = 1 steps; keep = 0 }'
(cat plain.route; echo 'monitor { every = 7 steps; regions = [z.left.made_by, z.right.made_by, decoder]; classes = [low, otherwise] }') >spec.route
expect 0 run plain.route --run-dir plain -q
expect 0 run spec.route --run-dir a --threads 2
says "monitor, 7 records"
for step in 1 20 48; do
  same_tensors plain/checkpoint-$step.safetensors a/checkpoint-$step.safetensors
done
is_json a/monitor.jsonl lines
expect 0 grad spec.route -o low.safetensors --class low --checkpoint a/checkpoint-14.safetensors --batch-index 14
expect 0 grad spec.route -o all.safetensors --checkpoint a/checkpoint-14.safetensors --batch-index 14
"$python" - <<'PY' || fail "the records are wrong"
import json, math, os, sys
sys.path.insert(0, os.environ['ROUTEC_ROOT'] + '/tests/lib')
import safetensors
lines = [json.loads(line) for line in open('a/monitor.jsonl')]
assert [l['step'] for l in lines] == [0, 7, 14, 21, 28, 35, 42], lines
assert [l['since'] for l in lines] == [0, 0, 7, 14, 21, 28, 35]
regions = {'z.left.made_by': lambda n, i, size: n.startswith('encoder.fc2') and i < size / 2,
           'z.right.made_by': lambda n, i, size: n.startswith('encoder.fc2') and i >= size / 2,
           'decoder': lambda n, i, size: n.startswith('decoder')}


def norm(a, b, member):
    return math.sqrt(sum((v - (b[n][1][i] if b else 0)) ** 2 for n, (_, values) in a.items() if '#' not in n
                         for i, v in enumerate(values) if member(n, i, len(values))))


def near(x, y):
    return abs(x - y) <= 1e-5 * max(abs(x), abs(y), 1e-6)


line = lines[2]
low, whole = safetensors.load('low.safetensors'), safetensors.load('all.safetensors')
at7, at14 = safetensors.load('a/checkpoint-7.safetensors'), safetensors.load('a/checkpoint-14.safetensors')
for name, member in regions.items():
    assert near(line['gradient']['low'][name], norm(low, None, member)), name
    assert near(line['gradient_of_all_data'][name], norm(whole, None, member)), name
    assert near(line['moved'][name], norm(at14, at7, member)), name
assert line['gradient']['low']['z.left.made_by'] > 0 and line['gradient']['otherwise']['z.right.made_by'] > 0
for l in lines:
    assert l['gradient']['low']['z.right.made_by'] == 0 and l['gradient']['otherwise']['z.left.made_by'] == 0
    assert l['gradient']['low']['decoder'] > 0
PY
expect 0 run spec.route --run-dir v -v
says "monitor, step 7: gradient of low on z.left.made_by"
expect 0 run spec.route --run-dir j --json
is_json "$work/.out" lines
says '"event":"monitor"'
cmp -s a/monitor.jsonl j/monitor.jsonl || fail "two runs record different things"

# resumed: the same records, and movement from the same start; `since` is the step where it went on
expect 0 run spec.route --run-dir r -q --steps 17
expect 0 resume r -q
"$python" - <<'PY' || fail "a resumed run records something else"
import json
a, r = ([json.loads(line) for line in open(d + '/monitor.jsonl')] for d in 'ar')
assert [l['since'] for l in r] == [0, 0, 7, 17, 21, 28, 35], [l['since'] for l in r]
for l in a + r:
    del l['since'], l['moved']
assert a == r
PY

# a trainer records the same
expect 0 build spec.route -o trainer
./trainer --run-dir t -q --threads 1 || fail "the trainer"
cmp -s a/monitor.jsonl t/monitor.jsonl || fail "the trainer records something else"
same_tensors plain/checkpoint-48.safetensors t/checkpoint-48.safetensors

# by default all classes and regions
(cat plain.route; echo 'monitor {}') >default.route
expect 0 run default.route --run-dir d -q
grep -q '"z.left.made_by"' d/monitor.jsonl || fail "regions of the split are missing"
grep -q '"otherwise"' d/monitor.jsonl || fail "classes are missing"
[ "$(wc -l <d/monitor.jsonl)" = 1 ] || fail "not every 100 steps"
echo "$n_checks checks"
