#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Examples that take seconds keep their promises, and would not without their routes.
. "$(dirname "$0")/../lib/cli.sh"
example() { # example NAME ROUTE...
  local name=$1 spec=$ROUTEC_ROOT/examples/$1.route
  shift
  expect 0 run "$spec" --run-dir "$name"
  { printf 'edition 1\nextend "%s"\n' "$spec"; printf 'drop %s\n' "$@"; } >"$name-plain.route"
  expect 4 run "$name-plain.route" --run-dir "$name-plain"
  says FAIL
}
example conv_channels code
example sgtm_digits learn hide
example moe_digits specialise
echo "$n_checks checks"
