# SPDX-License-Identifier: Apache-2.0
# Sourced after cli.sh by tests that compare whole runs.
tool="$python $ROUTEC_ROOT/tests/lib/runs.py"
# train SPEC DIR [options]: a quiet run that must succeed
train() {
  local spec=$1 dir=$2
  shift 2
  expect 0 run "$spec" --run-dir "$dir" -q "$@"
}
# The losses of each step, in the order of the spec, are the same text in both runs.
same_losses() {
  $tool same_losses "$1" "$2" || fail "losses of $1 and $2 differ"
  pass
}
near_losses() { # near_losses A B BOUND: relative
  $tool near_losses "$1" "$2" "$3" || fail "losses of $1 and $2 differ by more than $3"
  pass
}
every_step='log = 1 steps; checkpoint { every = 1000 steps }'
