#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Certificates look at detached halves: with and without them the model's own parameters are the same in every bit.
. "$(dirname "$0")/../lib/cli.sh"
. "$ROUTEC_ROOT/tests/lib/train.sh"
tiny with.route "$every_step"
grep -v '^loss certificate\|^ *probe\|^ *cert' with.route | sed 's/; left = mse(cert, x)//' >without.route
train with.route with
train without.route without
same_tensors "$(weights_of without)" "$(weights_of with)"
# on the digits, where matrix products are blocked and fused
sed "s|../data/|$ROUTEC_ROOT/data/|; s/^expect.*//; s/^train.*/train { batch = 64; for = 60 steps; $every_step }/" \
  "$ROUTEC_ROOT/examples/digits_split.route" >digits.route
grep -v '^loss certificates\|^ *probe_lower\|^ *cert_\|^ *picture\|^ *lower = mse\|^ *upper = mse' digits.route >bare.route
train digits.route digits
train bare.route bare
same_tensors "$(weights_of bare)" "$(weights_of digits)"
echo "$n_checks checks"
