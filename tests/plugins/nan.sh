#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A formula whose value is not finite is told like any other: with the line of the specification. GOOD_PLUGINS: where the shared
# objects of good/*.c are.
. "$(dirname "$0")/../lib/cli.sh"
"$python" -c 'for i in range(32): print(",".join(str((i * 7 + j * 3) % 5 / 5) for j in range(6)), i % 4, sep=",")' >points.csv
cat >nan.route <<ROUTE
edition 1
plugin formulas { path = "$GOOD_PLUGINS/formulas.so" }
data points {
  source = csv("points.csv", x = 0 .. 6, y = 6)
  x: f32[6] = source.x
  y: int in 0 ..= 3 = source.y
}
model { z = x |> enc: linear(6) }
loss fit = mse(z, x)
regularize bad = mean(formulas.pow(z, y, x, p = -10) * 1e30, over = all)
regularize worse = mean(formulas.sqrt(formulas.sub(z, y, x) * 1e38, y, x) * 1e30, over = all)
optimize sgd(lr = 0.1)
train 20 steps { batch = 8 }
ROUTE
expect 3 run nan.route --run-dir r
says "nan.route:11:"
says_not "nan.route:10:"
echo "$n_checks checks"
