#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# --set reaches params and nothing else; its errors are diagnostics.
. "$(dirname "$0")/../lib/cli.sh"
tiny spec.route
expect 0 plan spec.route --set width=9
says "[9, 6]"
expect 0 plan spec.route --set width=9 --set width=7
says "[7, 6]"
expect 1 check spec.route --set widht=9
says "widht"
says "width"
expect 1 check spec.route --set width=2.5
expect 1 check spec.route --set width=many
expect 1 check spec.route --set rate=101
says "rate"
expect 1 check spec.route --set rate=
expect 1 check spec.route --set "width=4; drop z"
expect 1 check spec.route --set width=0
expect 1 check spec.route --set width=-3
expect 1 plan spec.route --set width=4611686018427387904
echo "$n_checks checks"
