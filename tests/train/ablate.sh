#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# `ablate`: an evaluation with parts at 0 gives the very numbers of one that writes the zeros out, and leaves the
# evaluations beside it alone.
. "$(dirname "$0")/../lib/cli.sh"
. "$ROUTEC_ROOT/tests/lib/train.sh"
cat >spec.route <<ROUTE
edition 1
data digits {
  source = csv("$ROUTEC_ROOT/data/digits.csv.gz", pixels = 0 .. 64, digit = 64, holdout = 359)
  image: f32[64] = source.pixels / 8 - 1
  label: int in 0 ..= 9 = source.digit
}
class low = label in 0 ..= 4
module encoder(x: f32[n]) -> f32[16] { out = x |> fc1: linear(24) |> relu |> fc2: linear(16) }
module decoder(z: f32[n]) -> f32[64] { h = z |> fc1: linear(32); out = sigmoid(h) |> fc2: linear(64) }
module side(z: f32[n]) -> f32[64] { out = z |> fc: linear(64) }
model {
  z = encoder(image)
  recon = decoder(z)
  other = side(z)
  both = mix(0.25, first = recon, second = other)
}
split z { lower = 0 .. 12; upper = rest }
split decoder.h { some = [0, 3, 31]; others = rest }
route hide: value of z { when low to all; otherwise to lower }
loss fit = mae(both, image)
optimize adam(lr = 1e-3)
train { batch = 64; for = 30 steps }
evaluate all { on = digits.test; error = mse(both, image); code = mean(abs(z.upper)) }
evaluate no_upper { on = digits.test; by = label; ablate = z.upper; error = mse(both, image); code = mean(abs(z.upper)); rest = mean(abs(z.lower)) }
evaluate no_z { on = digits.test; ablate = [z.upper, z.lower]; error = mse(recon, image) }
evaluate no_value { on = digits.test; ablate = z; error = mse(recon, image) }
evaluate no_some { on = digits.test; ablate = decoder.h.some; some = mean(abs(decoder.h.some)); others = mean(abs(decoder.h.others)); error = mse(recon, image) }
evaluate no_first { on = digits.test; ablate = both.first; error = mse(both, image) }
evaluate by_hand {
  on = digits.test; by = label
  no_upper = mse(0.25 * decoder(concat(z.lower, 0 * z.upper)) + 0.75 * side(concat(z.lower, 0 * z.upper)), image)
  no_z = mse(decoder(0 * z), image)
  no_first = mse(0.75 * other, image)
}
expect all.code > 0 and no_upper.code == 0 and no_upper.rest > 0
expect no_some.some == 0 and no_some.others > 0
expect no_upper.error != all.error and no_upper.error == by_hand.no_upper
expect no_upper.error[label == 3] == by_hand.no_upper[label == 3]
expect no_z.error == no_value.error and no_z.error == by_hand.no_z
expect no_first.error == by_hand.no_first
ROUTE
train spec.route run
# the same from a checkpoint, and by a trainer of its own
expect 0 eval run
says "no_upper"
expect 0 build spec.route -o trainer
./trainer --run-dir built -q --threads 1 >.out 2>.err || fail "the trainer failed"
grep '"evaluation"' run/metrics.jsonl >a && grep '"evaluation"' built/metrics.jsonl >b && cmp -s a b || fail "the trainer evaluates otherwise"
# it matches a route of the value: with that route for all data, a step's loss is the evaluation's
sed -e 's/^route hide.*/route hide: value of z { otherwise to lower }/' -e 's/^optimize.*/optimize sgd(lr = 0.0)/' \
  -e 's/^train.*/train { batch = 2000; for = 1 steps }/' -e 's/^loss.*/loss fit = mse(both, image)/' -e 's/on = digits.test/on = digits.train/' \
  -e '/^expect/d' spec.route >route.route
train route.route route --init "$(weights_of run)"
"$python" - <<'PY' || fail "the ablation is not that of the route"
import json
lines = [json.loads(line) for line in open('route/metrics.jsonl')]
loss = [x['loss']['fit'] for x in lines if 'loss' in x][0]
table = {x['evaluation']: x['all']['error'] for x in lines if x.get('evaluation') in ('all', 'no_upper')}
print(loss, table)
assert abs(loss - table['no_upper']) < 1e-6 * loss and abs(loss - table['all']) > 1e-3 * loss
PY
pass
echo "$n_checks checks"
