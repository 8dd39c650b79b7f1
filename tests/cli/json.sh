#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What --json writes is JSON: diagnostics, usage errors, plans, progress.
. "$(dirname "$0")/../lib/cli.sh"
tiny spec.route
sed 's/otherwise to right/otherwise to rihgt/' spec.route >bad.route
expect 1 check --json bad.route
is_json "$work/.out"
says "rihgt"
expect 2 check --json spec.route --set x
is_json "$work/.out"
expect 0 plan --json spec.route
is_json "$work/.out"
"$python" - "$work/.out" <<'PY' || fail "the plan lacks something"
import json, sys
plan = json.load(open(sys.argv[1]))
assert [p['path'] for p in plan['parameters']], plan
assert any(f['name'] == 'train' and f['gemms'] and f['flop'] > 0 for f in plan['functions'])
assert plan['routes'][0]['place'] == 'z' and plan['routes'][0]['origins'] == ['reconstruction', 'certificate']
PY
expect 0 run --json spec.route --run-dir r
is_json "$work/.out" lines
is_json r/manifest.json
is_json r/metrics.jsonl lines
expect 1 run --json bad.route
is_json "$work/.out"
printf '{"a": "\xff\x01' >weird.route
expect 1 check --json weird.route
is_json "$work/.out"
echo "$n_checks checks"
