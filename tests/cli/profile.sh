#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# `run --profile` and trainers of `build --profile`: the run's bits are those of a run without; every plan step has time, operations, bytes and a line; the products
# counted by the extents that they were called with are those that the plan counts for the same rows; the trace is one.
. "$(dirname "$0")/../lib/cli.sh"
tiny spec.route
check() { # check FILE.json TRACE.json THREADS: the profile event of a run's JSON lines, and the trace
  "$python" - "$@" <<'PY' || fail "profile of $*"
import json, re, sys
lines = [json.loads(l) for l in open(sys.argv[1]) if l.strip()]
p = next(l for l in lines if l.get('event') == 'profile')
threads = int(sys.argv[3])
assert p['peak_flops'] > 1e9 and p['copy_bytes'] > 1e8, p
train = p['functions'][0]
assert train['function'] == 'train' and train['steps'] > 5
for f in p['functions']:
    steps = f['plan_steps']
    assert abs(sum(s['ms'] + s['wait_ms'] for s in steps) - f['ms']) < 1e-6 * f['ms'] + 1e-9
    assert [s['ms'] for s in steps] == sorted((s['ms'] for s in steps), reverse=True)
    assert abs(sum(f['thread_wait_ms']) / f['threads'] - f['wait_ms']) < 1e-6 * f['ms']
    assert len(f['thread_wait_ms']) == threads
    assert f['products_counted'] > 0, f['function']
    for s in steps:
        assert abs(s['products'] - s['products_counted']) <= 1e-9 * s['products'], s
        assert s['what'].startswith('check') or s['bytes'] > 0, s
        assert s['what'].startswith(('check', 'call', 'scatter', 'pack')) or ':' in s['at'], s
exact = 0  # products with nothing in their epilogue: both operands and the result, once, in the mean batch
for s in train['plan_steps']:
    form = re.match(r'gemm (\d+|rows) x (\d+|rows) x (\d+|rows)\b(?! of)', s['what'])
    if not form or s['flop'] != s['products'] or s['what'].count('rows') != 1:
        continue
    fixed = [int(w) for w in form.groups() if w != 'rows']
    rows = s['products'] / (2 * fixed[0] * fixed[1])
    m, n, k = (rows if w == 'rows' else int(w) for w in form.groups())
    assert abs(s['bytes'] - 4 * (m * k + k * n + m * n)) < 1e-6 * s['bytes'], s
    exact += 1
assert exact, 'no product alone'
assert {s['phase'] for s in train['plan_steps']} == {'forward', 'backward', 'update'}
t = json.load(open(sys.argv[2]))['traceEvents']
spans = [e for e in t if e['ph'] == 'X']
assert len({e['tid'] for e in spans}) == threads and len(spans) < threads * 140000
for tid in range(threads):
    last = -1
    for e in sorted((e for e in spans if e['tid'] == tid and 'step' in e['args']), key=lambda e: e['ts']):
        assert e['ts'] >= last - 2e-3 and e['dur'] >= 0, e
        last = e['ts'] + e['dur']
traced = {e['args']['step'] for e in spans if 'step' in e['args']}
assert 1 <= len(traced) <= 20, traced
print(f"{train['function']}: {train['products_counted']:.0f} FLOP counted a step, {train['products_expected']:.0f} expected")
PY
  pass
}
expect 0 run spec.route --run-dir plain --threads 1
for threads in 1 2; do
  expect 0 run spec.route --run-dir "on$threads" --threads $threads --profile --json
  cp .out "on$threads.json"
  check "on$threads.json" "on$threads/trace.json" $threads
  same_tensors "$(weights_of plain)" "$(weights_of "on$threads")"
  cmp -s plain/metrics.jsonl "on$threads/metrics.jsonl" || fail "metrics differ with a profile"
done
expect 0 run spec.route --run-dir text --profile=here.json
says "profile of training"
says "profile of evaluation quality"
says "GFLOP/s"
says "spec.route:"
is_json here.json
[ ! -e text/trace.json ] || fail "the trace is in the run folder too"
# a trainer that was built for it counts the same steps, lines, operations and bytes; only times are its own
trainer_like() { # trainer_like EVENTS build arguments... -- run arguments...: beside the events of `run --profile`
  local events=$1 build=()
  shift
  while [ "$1" != -- ]; do build+=("$1"); shift; done
  shift
  expect 0 build "${build[@]}" --profile -o profiled
  rm -rf of_trainer
  ./profiled run --run-dir of_trainer --profile --json "$@" >.out 2>.err || fail "the trainer of ${build[*]}"
  cp .out of_trainer.json
  "$python" - "$events" of_trainer.json <<'PY' || fail "profile of the trainer of ${build[*]}"
import json, sys
def told(path):
    p = next(l for l in map(json.loads, open(path)) if l.get('event') == 'profile')
    def bare(f):
        steps = sorted(([s[k] for k in s if k not in ('ms', 'wait_ms')] for s in f['plan_steps']), key=str)
        return [f[k] for k in ('function', 'steps', 'products', 'products_counted', 'products_expected')] + [f.get('row_sets'), steps]
    return [bare(f) for f in p['functions']]
a, b = (told(path) for path in sys.argv[1:])
assert a and len(a[0][-1]) > 5, a
for f, g in zip(a, b):
    for s, t in zip(f[-1], g[-1]):
        assert s == t, f'{s}\n{t}'
    assert f[:-1] == g[:-1], f'{f[:-1]}\n{g[:-1]}'
assert a == b
PY
  pass
}
for threads in 1 2; do
  trainer_like "on$threads.json" spec.route -- --threads $threads
  check of_trainer.json of_trainer/trace.json $threads
  same_tensors "$(weights_of plain)" "$(weights_of of_trainer)"
done
./profiled run --run-dir of_trainer_text --profile=there.json --steps 20 >.out 2>.err || fail "trainer --profile=FILE"
says "profile of training"
is_json there.json
./profiled resume of_trainer_text --profile >.out 2>.err || fail "trainer resume --profile"
says "profile of training"
same_tensors "$(weights_of plain)" "$(weights_of of_trainer_text)"
./profiled run --run-dir of_trainer_off >.out 2>.err || fail "a trainer for profiles without --profile"
says_not "profile of"
same_tensors "$(weights_of plain)" "$(weights_of of_trainer_off)"
./profiled --help >.out || fail "trainer --help"
says "--profile[=FILE]"
expect 0 build spec.route -o bare
./bare run --run-dir of_bare --profile >.out 2>.err && fail "a trainer that was built for no profile made one"
says "E0748"
[ ! -e of_bare ] || fail "the refused trainer made a run folder"
expect 2 build spec.route --profile=trace.json -o bare
says "E0507"
# no looks at the clock in other code, and other code is not taken from the cache for a profile
expect 0 run spec.route --run-dir off --dump=llvm
says "after_step"
marks() { grep -c 'call void %mark' .out || true; }
[ "$(marks)" = 0 ] || fail "marks in code that is for no profile"
expect 0 run spec.route --run-dir with --profile --dump=llvm
[ "$(marks)" -gt 10 ] || fail "no marks in code for a profile"
# grouped rows: a class whose region is a sixteenth of each layer; packed rows: eight branches of which each datum takes one. What
# is counted there follows the row sets that there are, and where the shares are not the expected ones neither are the operations.
counted() { # counted NAME TOLERANCE arguments...
  local name=$1 tolerance=$2
  shift 2
  expect 0 run "$@" --run-dir "$name" --threads 1 --profile --json
  cp .out "$name.json"
  "$python" - "$name.json" "$tolerance" <<'PY' || fail "products of $name"
import json, sys
p = next(l for l in map(json.loads, open(sys.argv[1])) if l.get('event') == 'profile')
t = p['functions'][0]
assert t['row_sets'], 'no row sets'
assert abs(t['products'] - t['products_counted']) <= 1e-9 * t['products'], t
off = abs(t['products_counted'] / t['products_expected'] - 1)
shares = max(abs(s['share'] / s['expected'] - 1) for s in t['row_sets'])
print(f"{sys.argv[1]}: counted {t['products_counted']:.0f} FLOP a step, expected {t['products_expected']:.0f}; shares are off by at most {shares:.3f}")
assert off <= float(sys.argv[2]), off
for s in t['plan_steps']:
    assert abs(s['products'] - s['products_counted']) <= 1e-9 * s['products'], s
PY
  pass
}
if [ -e "$ROUTEC_ROOT/data/digits.csv.gz" ]; then
  counted grouped 0.02 "$ROUTEC_ROOT/bench/routing/regions.route" --set width=64
  expect 0 run "$ROUTEC_ROOT/bench/routing/regions.route" --set width=64 --run-dir short --threads 1 --profile --json --steps 30
  cp .out short.json
  trainer_like short.json "$ROUTEC_ROOT/bench/routing/regions.route" --set width=64 -- --threads 1 --steps 30
  counted packed 1e-9 "$ROUTEC_ROOT/bench/routing/experts_select.route" --set width=32 --steps 12
  trainer_like packed.json "$ROUTEC_ROOT/bench/routing/experts_select.route" --set width=32 -- --threads 1 --steps 12
else
  echo "without data/digits.csv.gz: no grouped and packed rows"
fi
# a spec that only evaluates
sed '/^loss /d; /^optimize/d; /^train/d; /^route/d; /^class/d' spec.route >only.route
expect 0 run only.route --run-dir only --profile
says "profile of evaluation quality"
says_not "profile of training"
expect 0 build only.route --profile -o only_trainer
./only_trainer run --run-dir only_there --profile >.out 2>.err || fail "a trainer that only evaluates"
says "profile of evaluation quality"
# stopped and resumed
expect 0 run spec.route --run-dir part --steps 20 --profile
expect 0 resume part --profile
same_tensors "$(weights_of plain)" "$(weights_of part)"
says "profile of training"
expect 3 run spec.route --run-dir nowhere --profile=/nonexistent/trace.json
says "E0720"
expect 2 plan spec.route --profile
says "has no effect on"
echo "$n_checks checks"
