#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Absurd sizes: overflow in a shape is a diagnostic at the place that asked for it, never a crash or a huge allocation.
. "$(dirname "$0")/../lib/cli.sh"
tiny spec.route
for n in 9223372036854775807 4611686018427387904 99999999999999999999999 1000000000000 0 -4 1e400; do
  sed "s/linear(width)/linear($n)/" spec.route >big.route
  expect 1 plan big.route
done
for n in 0 -1 9223372036854775807 1.5; do
  sed "s/batch = 13/batch = $n/" spec.route >big.route
  expect 1 plan big.route
done
for n in 9223372036854775807 0 -3; do
  sed "s/x = 0 .. 6/x = 0 .. $n/; s/f32\[6\]/f32[$n]/g" spec.route >big.route
  expect 1 plan big.route
done
sed 's/0 .. 2; right/0 .. 9223372036854775807; right/' spec.route >big.route
expect 1 check big.route
sed 's/in 0 ..= 3/in 0 ..= 99999999999999999999/' spec.route >big.route
expect 1 check big.route
sed 's/12 epochs/-1 epochs/' spec.route >big.route
expect 1 check big.route
echo "$n_checks checks"
