#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A route that lets everything pass leaves 100 steps bitwise as they are without it.
. "$(dirname "$0")/../lib/cli.sh"
. "$ROUTEC_ROOT/tests/lib/train.sh"
tiny base.route "$every_step"
sed -i 's/for = 12 epochs/for = 100 steps/' base.route
grep -v '^route' base.route >none.route
sed 's/^route.*/route code: gradient of z { otherwise to all }/' base.route >all.route
sed 's/^route.*/route code: gradient of z { when low to { left = 1.0; right = 1.0 }; otherwise to { left = 1.0; right = 1.0 } }/' base.route >ones.route
train none.route none
train base.route routed
for kind in all ones; do
  train $kind.route $kind
  same_losses none $kind
  same_tensors "$(weights_of none)" "$(weights_of $kind)"
done
different_tensors "$(weights_of none)" "$(weights_of routed)"
# the same on real digits at a size where every kernel is used
for kind in none all; do
  sed "s|../data/|$ROUTEC_ROOT/data/|; s/^expect.*//; s/^train.*/train { batch = 64; for = 100 steps; $every_step }/" \
    "$ROUTEC_ROOT/examples/digits_split.route" >digits_$kind.route
done
sed -i '/^route/d' digits_none.route
sed -i 's/^route.*/route code: gradient of z { otherwise to all }/' digits_all.route
sed -i 's/ { gradient = unrouted }//' digits_none.route
train digits_none.route digits_none
train digits_all.route digits_all
same_losses digits_none digits_all
same_tensors "$(weights_of digits_none)" "$(weights_of digits_all)"
echo "$n_checks checks"
