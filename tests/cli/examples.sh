#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every example is accepted without data, planned, and unchanged by printing it in canonical form.
. "$(dirname "$0")/../lib/cli.sh"
export ROUTEC_DATA="$work/nowhere"
for spec in "$ROUTEC_ROOT"/examples/*.route "$ROUTEC_ROOT"/examples/*/*.route "$ROUTEC_ROOT"/bench/*.route; do
  expect 0 check "$spec"
  says "no errors"
  says_not "warning"
  expect 0 plan "$spec"
  says "FLOP"
  expect 0 plan --json "$spec"
  is_json "$work/.out"
  expect 0 check --json "$spec"
  is_json "$work/.out"
  expect 0 fmt "$spec"
  cp "$work/.out" "$work/formatted.route"
  expect 0 fmt "$work/formatted.route"
  cmp -s "$work/.out" "$work/formatted.route" || fail "formatting $spec twice changes it"
  pass
done
echo "$n_checks checks"
