#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Data classes in whole runs: observed labels, weights, filters, ways to make batches; each against a run that must be the
# same to the bit, resumed and as a trainer of its own.
. "$(dirname "$0")/../lib/cli.sh"
. "$ROUTEC_ROOT/tests/lib/train.sh"
tiny base.route
sed -i 's/; holdout = 16//; s/, holdout = 16//; s/points.test/points.train/' base.route # all data in the part that is trained on
same_run() { # same_run A B: every tensor, every line of metrics
  same_tensors "$(weights_of "$1")" "$(weights_of "$2")"
  cmp -s "$1/metrics.jsonl" "$2/metrics.jsonl" || fail "metrics of $1 and $2 differ"
  pass
}
resumes_and_builds() { # resumes_and_builds NAME: killed after 7 steps and resumed, and built, as an uninterrupted run
  train "$1.route" "$1.whole"
  train "$1.route" "$1.part" --steps 7
  expect 0 resume "$1.part" -q
  same_run "$1.whole" "$1.part"
  expect 0 build "$1.route" -o "$1.bin"
  "./$1.bin" run --run-dir "$1.built" -q --threads 1 >.out 2>.err </dev/null || fail "$1.bin"
  same_run "$1.whole" "$1.built"
  train "$1.route" "$1.other" --seed 5
  different_tensors "$(weights_of "$1.whole")" "$(weights_of "$1.other")"
}

# -- perfect labels route as the class itself
arms='when seen to left; when seen is no to right; unlabelled to none; otherwise to none'
labels() { # labels NAME OBSERVE
  sed "s/^route.*/class seen = $2\nroute code: gradient of z { $arms }/" base.route >"$1.route"
}
labels perfect 'observe(low, recall = 1, precision = 1, no = 1, seed = 3)'
train base.route true
train perfect.route perfect
same_tensors "$(weights_of true)" "$(weights_of perfect)"

# -- imperfect ones: the census counts them; they are the same in another run, other with another seed
labels seen 'observe(low, recall = 0.5, precision = 0.75, no = 0.25, seed = 3)'
resumes_and_builds seen
expect 0 run seen.route --run-dir shown
says 'as a label of low recall 0.5'
census() { "$python" -c "import json,sys; c=json.load(open('$1/manifest.json'))['classes']; print($2)"; }
n_low=$(census shown "c['low']['data']") n_seen=$(census shown "c['seen']['data']")
"$python" - "$n_low" "$n_seen" <<'PY' || fail "counts of labels: $n_low, $n_seen"
import math, sys
low, seen = map(int, sys.argv[1:])
hits = math.floor(0.5 * low + 0.5)
assert seen == hits + math.floor(hits * 0.25 / 0.75 + 0.5)
PY
pass
sed 's/seed = 3/seed = 4/' seen.route >seen4.route
train seen4.route seen4
different_tensors "$(weights_of seen.whole)" "$(weights_of seen4)"

# -- a random control has as many labels, a recall that can be read, and nobody may forget the unlabelled
sed 's/^class seen.*/&\nclass control = random_like(seen, seed = 8)/; s/when seen to left; when seen is no/when control to left; when control is no/' seen.route >control.route
train control.route control
[ "$(census control "c['control']['data']")" = "$n_seen" ] || fail "the control has another size"
pass

# -- recall as a param: read at run time, refused outside of 0 to 1
labels swept 'observe(low, recall = r, precision = 0.75, no = 0.25, seed = 3)'
sed -i 's/^param width.*/&\nparam r: real in 0 ..= 2 = 0.5/' swept.route
train swept.route swept
same_tensors "$(weights_of swept)" "$(weights_of seen.whole)"
expect 1 run swept.route --set r=1.5 --run-dir no
expect 0 build swept.route -o swept.bin
./swept.bin run --set r=1.5 --run-dir no -q >.out 2>.err </dev/null && fail 'a recall of 1.5'
says 'E0746'

# -- weights: 0 and 1 are the class to the bit, one half is the mean of the factors
soft() { # soft NAME WEIGHT
  sed "s/^route.*/class w = $2\nroute code: gradient of z { when w to left; otherwise to right }/" base.route >"$1.route"
}
soft hard 'real(y < 2)'
train hard.route hard
same_tensors "$(weights_of true)" "$(weights_of hard)"
soft half 'real(y) * 0 + 0.5'
sed 's/^route.*/route code: gradient of z { otherwise to { left = 0.5; right = 0.5 } }/' base.route >mean.route
train half.route half
train mean.route mean
same_tensors "$(weights_of half)" "$(weights_of mean)"
soft wide 'mean(x) + 2'
expect 3 run wide.route --run-dir wide -q
says 'E0745'
soft noisy 'random(per = example)'
train noisy.route noisy
different_tensors "$(weights_of noisy)" "$(weights_of half)"
soft coin 'random(per = batch)'
resumes_and_builds coin

# -- weights drawn for each datum in each step: a constant gradient of 1 adds up to the mean of the factors, with the spread
# of independent draws, which a draw for each batch (32 times its variance) or for each run does not have; exact resume
"$python" -c "for i in range(32): print('1,1')" >ones.csv
drawn() { # drawn NAME WEIGHT MEAN VARIANCE: of the factors of a, 1 with the weight and 0.25 otherwise
  cat >"$1.route" <<ROUTE
edition 1
data ones {
  source = csv("ones.csv", x = 0 .. 2)
  x: f32[2] = source.x
}
parameter w: f32[2] = 0
model { h = x * w }
class w1 = $2
split h { a = 0 .. 1; b = rest }
route r: gradient of h { when w1 to { a = 1.0; b = 1.0 }; otherwise to { a = 0.25; b = 1.0 } }
loss l = sum(h)
optimize sgd(lr = 1)
train { batch = 32; for = 400 steps; checkpoint { every = 1 steps; keep = 0 } }
ROUTE
  train "$1.route" "$1.run"
  "$python" - "$1.run" "$ROUTEC_ROOT/tests/lib" "$3" "$4" <<'PY' || fail "$1: the factors of the steps"
import glob, re, sys
sys.path.insert(0, sys.argv[2])
import safetensors
mean, variance = map(float, sys.argv[3:])
paths = sorted((int(re.findall(r'\d+', p)[-1]), p) for p in glob.glob(sys.argv[1] + '/checkpoint-*.safetensors'))
w = [safetensors.load(p)['w'][1] for s, p in paths if s]
assert len(w) == 400 and w[-1][1] == -400, (len(w), w[-1])
steps = [a[0] - b[0] for a, b in zip(w, w[1:])]  # the mean of 32 factors
m = sum(steps) / len(steps)
v = sum((s - m) ** 2 for s in steps) / (len(steps) - 1)
print('mean %.4f of %.4f, variance %.6f of %.6f' % (m, mean, v, variance / 32))
assert abs(m - mean) < 5 * (variance / 32 / len(steps)) ** 0.5, (m, mean)
assert 0.7 < v / (variance / 32) < 1.4, (v, variance / 32)  # five deviations of a variance of 399 draws
PY
  pass
}
drawn uniform 'random(per = example)' 0.625 0.046875 # 0.25 + 0.75 u
drawn sometimes 'random(per = example) < 0.2' 0.4 0.09
for name in uniform sometimes; do
  sed -i 's/every = 1 steps/every = 400 steps/' $name.route
  rm -rf $name.run
  resumes_and_builds $name
done

# -- a filter leaves what a file of these data would hold
sed 's/^train { /train { on = filter(points.train, low); /; s/on = points.train;/on = filter(points.train, low);/' base.route >kept.route
awk -F, '$7 < 2' tiny.csv >low.csv
sed 's/tiny.csv/low.csv/' base.route >low.route
train kept.route kept
train low.route low
same_run kept low
resumes_and_builds kept
sed 's/filter(points.train, low)/filter(points.train, y == 3 and low)/' kept.route >nothing.route
expect 3 run nothing.route --run-dir nothing -q
says 'E0707'

# -- batches of one class each, and shares of each: exact resume, exact trainers
for order in random alternate blocks; do
  sed "s/batch = 13;/batch { size = 8; by_class = [low, otherwise]; order = $order };/" base.route >one_$order.route
  resumes_and_builds one_$order
done
sed 's/batch = 13;/batch { size = 8; by_class = [low, otherwise]; share = [0.25, 0.75] };/' base.route >one_share.route
resumes_and_builds one_share
sed 's/batch = 13;/batch { size = 8; mix { low = 0.25; otherwise = 0.75 } };/' base.route >mix.route
resumes_and_builds mix
sed 's/^class low.*/&\nclass none = y > 3/; s/batch = 13;/batch { size = 8; mix { none = 0.25; otherwise = 0.75 } };/' base.route >empty.route
expect 3 run empty.route --run-dir empty -q
says 'E0708'
sed 's/y in 0 ..= 1/x[0] > 7/' base.route >never.route
expect 0 run never.route --run-dir never -q
says 'W0757'
says_not 'E07'
sed 's/batch = 13;/batch { size = 8; by_class = [low] };/' base.route >left.route
expect 3 run left.route --run-dir left -q
says 'E0709'

# -- tables by class and by label
sed 's/^evaluate.*/evaluate q { on = points.train; by = low; m = mse(recon, x) }\nevaluate s { on = points.train; by = seen; m = mse(recon, x) }\nexpect q.m[low] < 1e9\nexpect s.m[seen is unlabelled] < 1e9/' seen.route >tables.route
expect 0 run tables.route --run-dir tables
says 'not low'
says 'unlabelled'
says 'expect s.m[seen is unlabelled] < 1e9: pass'
echo "$n_checks checks"
