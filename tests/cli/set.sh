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
for seed in 18446744073709551616 +3 " 3" -1 1.5; do expect 1 check spec.route --set "seed=$seed"; done
# a param that is a list: in a split, in a condition, from the command line
sed 's/^class .*/class picked = y in few\nparam few = [0, 2]/' spec.route | sed "s/when [a-z]* to/when picked to/; s/mean_by = [a-z]*/mean_by = picked/" >list.route
expect 0 check list.route
sed 's/y in few/y in [1, 3]/; /^param few/d' list.route >written.route
expect 0 run written.route --run-dir written
expect 0 run list.route --run-dir list --set 'few=[1, 3]'
same_tensors "$(weights_of written)" "$(weights_of list)"
for few in 1 '[1' '[1,]' '[a]' '1, 3' '[1] 2'; do
  expect 1 check list.route --set "few=$few"
  says "it is a list"
done
echo "$n_checks checks"
