#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Do the benches work? Few steps, data of random numbers, no PyTorch: answers are compared, all samples kept, tables and plots
# printed and put into a page; and a bench whose answers are wrong believes no clock. No speed is asserted.
. "$(dirname "$0")/../lib/cli.sh"
: "${BENCH_PROGRAMS:?folder of bench_gemm and bench_peak}"
"$python" - <<'PY' || fail "data could not be made"
import os, random, struct
r = random.Random(1)
os.makedirs('data/mnist')
for stem, n in (('train', 256), ('t10k', 16)):
    with open('data/mnist/%s-images-idx3-ubyte' % stem, 'wb') as f:
        f.write(struct.pack('>IIII', 2051, n, 28, 28) + r.randbytes(n * 784))
    with open('data/mnist/%s-labels-idx1-ubyte' % stem, 'wb') as f:
        f.write(struct.pack('>II', 2049, n) + bytes(i % 10 for i in range(n)))
PY
export ROUTEC_DATA=$PWD/data
common=(--routec "$ROUTEC" --programs "$BENCH_PROGRAMS" --quick)
bench() { # bench CODE SCRIPT arguments...: what a bench ends in
  local want=$1 got=0
  shift
  "$python" "$ROUTEC_ROOT/bench/$1" "${common[@]}" "${@:2}" >"$work/.out" 2>"$work/.err" </dev/null || got=$?
  [ "$got" = "$want" ] || fail "bench/$*: exit code $got, not $want"
  pass
}
holds() { # holds FILE TEXT
  grep -qF -- "$2" "$1" || fail "$1 does not hold: $2"
  pass
}

# Where a product's time goes: for each form, and kernels of the transpose, the parts are all of it.
for cpu in native x86-64-v3; do
  "$BENCH_PROGRAMS/bench_gemm" -c "$cpu" -r 2 -B 1e9 20 40 50 nn 33 64 48 nt 128 10 64 tn 40 17 90 tt 24 512 600 nt >parts || fail "bench_gemm -B: exit code $?"
  awk -F': ' '/time, %/ { n++; sum = 0; k = split($2, part, ", "); for (i = 1; i <= k; i++) { m = split(part[i], word, " "); sum += word[m] }
    if (k != 8 || sum < 99 || sum > 101) bad = 1 } END { exit bad || n != 5 }' parts || fail "the parts of a product's time are not all of it: $(cat parts)"
  pass
done

printf 'before\n<!-- goals: begin -->\nold\n<!-- goals: end -->\nafter\n' >page.md
few=(--rounds 2 --seconds 0.002 --threads 1 --threads 2)
bench 0 goals.py --no-peer "${few[@]}" --row gemm --row mlp --gemm-rounds 2 --shape "16 32 24 nn" --shape "24 16 32 tn" --out goals --write page.md
says "Losses of the first 6 steps, of runs beside each other"
"$python" - goals page.md <<'PY' || fail "the results of goals.py are not whole"
import json, os, sys
import xml.etree.ElementTree as tree
samples = [json.loads(line) for line in open(os.path.join(sys.argv[1], 'goals.jsonl'))]
assert samples[0]['what'] == 'machine' and samples[0]['cpus'] >= 1
for threads in (1, 2):
    (mlp,) = [s for s in samples if s.get('row') == 'mlp' and s['threads'] == threads]
    assert all(len(mlp['seconds_a_step'][core]) == 2 and min(mlp['seconds_a_step'][core]) > 0 for core in ('set', 'unset')), mlp
    assert len(mlp['peak_gflops']) == 2 and min(mlp['peak_gflops']) > 0
    assert len([s for s in samples if s.get('row') == 'gemm' and s['threads'] == threads]) == 4
    (answers,) = [s for s in samples if s.get('what') == 'answers' and s['of'].startswith('MLP') and s['threads'] == threads]
    assert len(answers['losses']) == 6 and all(1 < x < 10 for x in answers['losses']), answers
page = open(sys.argv[2]).read()
assert page.startswith('before\n<!-- goals: begin -->\n') and page.endswith('<!-- goals: end -->\nafter\n') and 'old' not in page
assert page.count('share of the FMA peak') >= 8, page
assert page.count('profile of training') == page.count('```') / 2, page
assert "16 x 32 x 24" in open(os.path.join(sys.argv[1], "goals.md")).read()
tree.parse(os.path.join(sys.argv[1], 'goals.svg'))
PY
pass

bench 0 goals.py --no-peer --rounds 2 --seconds 0.002 --threads 1 --coretype unset --row routing --row start --width 32 --start-batch 16 --out routed
"$python" - routed <<'PY' || fail "the rows routing and start are not whole"
import json, os, sys
samples = [json.loads(line) for line in open(os.path.join(sys.argv[1], 'goals.jsonl'))]
assert len([s for s in samples if s.get('what') == 'answers']) == 5
(routing,) = [s for s in samples if s.get('row') == 'routing']
assert len(routing['flop']) == 5 and routing['flop'][4] < routing['flop'][0] <= routing['flop'][1]
assert len(routing['seconds_a_step']) == 5 and all(len(v) == 2 for v in routing['seconds_a_step'].values())
(start,) = [s for s in samples if s.get('row') == 'start']
assert sorted(start['seconds']) == ['unset empty', 'unset hit', 'unset miss'] and all(len(v) == 2 for v in start['seconds'].values())
table = open(os.path.join(sys.argv[1], 'goals.md')).read()
assert table.count('| routed beside un-routed |') == 4 and table.count('| start to first step') == 3, table
PY
pass

# a peer whose losses are wrong: no sample is taken, nothing is written
cat >wrong.py <<'PY'
import json, sys
print('ready', flush=True)
for line in sys.stdin:
    print(json.dumps([0.5, 2.5]), flush=True)
PY
cp page.md before.md
bench 1 goals.py --peer "$python $work/wrong.py" "${few[@]}" --row mlp --out wrong --write page.md
says "the answers differ by more than 3e-05"
cmp -s page.md before.md || fail "a refused result was written"
! grep -q seconds_a_step wrong/goals.jsonl || fail "times were taken though the answers were wrong"
pass
bench 1 goals.py --peer "$python -c 'raise SystemExit(1)'" "${few[@]}" --row mlp --out wrong
says "the PyTorch half did not start"
printf 'a page without a place\n' >bare.md
bench 1 goals.py --no-peer "${few[@]}" --row gemm --shape "16 32 24 nn" --gemm-rounds 1 --coretype unset --out bare --write bare.md
says "has no place for the result"
holds bare.md "a page without a place"

printf '<!-- growth: begin -->\n<!-- growth: end -->\n' >growth.md
bench 0 growth.py --no-peer --few --axis width --seconds 0.002 --threads 2 --out growth --write growth.md
"$python" - growth growth.md pictures <<'PY' || fail "the results of growth.py are not whole"
import json, os, sys
import xml.etree.ElementTree as tree
samples = [json.loads(line) for line in open(os.path.join(sys.argv[1], 'growth.jsonl'))]
points = [s for s in samples if 'point' in s]
assert [p['point']['width'] for p in points] == [64, 256] and points[1]['gflop'] > 4 * points[0]['gflop']
for p in points:
    assert len(p['losses']) == 4 and len(p['seconds_a_step']['2']) == 1 and p['seconds_a_step']['2'][0] > 0, p
    assert 0 < p['planned'] < p['resident'] < 2**31 and abs(p['mapped'] - p['planned']) < 0.02 * p['planned'], p
assert len([s for s in samples if s.get('what') == 'answers']) == 3
page = open(sys.argv[2]).read()
assert '| width 64 |' in page and '| width 256 |' in page, page
for name in ('growth_time_width.svg', 'growth_memory_width.svg'):
    assert 'pictures/' + name in page
    tree.parse(os.path.join(sys.argv[3], name))
PY
pass
