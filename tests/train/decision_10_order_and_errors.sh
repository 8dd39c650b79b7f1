#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Decision 10: arms that may overlap are an error unless the block says `ordered`, and then the first match wins; an arm that
# nothing reaches is reported. An unknown label, a value out of its range, a route to nothing: errors with their place, never
# clamped.
. "$(dirname "$0")/../lib/cli.sh"
. "$ROUTEC_ROOT/tests/lib/train.sh"
tiny exclusive.route "$every_step"
sed -i 's/for = 12 epochs/for = 20 steps/' exclusive.route
arms() { sed "s/when low to left; otherwise to right/$1/" exclusive.route; }
arms 'when y in 0 ..= 1 to left; when y in 1 ..= 2 to right; otherwise to all' >overlap.route
expect 1 check overlap.route
says E0322
says "holds too where"
sed 's/gradient of z {/gradient of z ordered {/' overlap.route >ordered.route
expect 0 check ordered.route
arms 'when y in 0 ..= 1 to left; when y == 2 to right; otherwise to all' >first.route
train ordered.route ordered
train first.route first
same_tensors "$(weights_of first)" "$(weights_of ordered)"
# the other order is another route
arms 'when y in 1 ..= 2 to right; when y in 0 ..= 1 to left; otherwise to all' | sed 's/gradient of z {/gradient of z ordered {/' >other.route
train other.route other
different_tensors "$(weights_of first)" "$(weights_of other)"
# unreachable arms
arms 'when y in 0 ..= 2 to left; when y == 1 to right; otherwise to all' | sed 's/gradient of z {/gradient of z ordered {/' >never.route
expect 0 check never.route
says W0301
# routes to nothing, unknown parts
arms 'when low to lfet; otherwise to right' >part.route
expect 1 check part.route
says E0323
says "did you mean \`left\`"
sed 's/gradient of z /gradient of code /; s/^split z/split z/' exclusive.route >place.route
expect 1 check place.route
arms 'when y == 7 to left; otherwise to right' >label.route
"$ROUTEC" check label.route >.out 2>.err
grep -q 'W0301\|^error' .out .err || fail "a label that cannot be is accepted in silence"
pass
# data out of the declared range, with file and row
sed -i '5s/,[0-9]*$/,9/' tiny.csv
expect 3 run exclusive.route --run-dir bad
says 9
says "row 4 of the file"
echo "$n_checks checks"
