#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The command line itself: help from the table, usage errors with suggestions, exit code 2.
. "$(dirname "$0")/../lib/cli.sh"
expect 0 --help
for command in check run build resume eval plan grad plugin explain doctor fmt; do
  says "$command"
  expect 0 "$command" --help
  says "usage: routec $command"
  expect 0 --help
done
says "exit codes: 0 success"
expect 0 help
expect 0 --version
says "routec "
says "LLVM"
expect 2
expect 2 chekc
says "unknown command \`chekc\`"
says "check"
tiny spec.route
expect 2 run spec.route --thread 0
expect 2 run spec.route --treads 2
says "unknown option \`--treads\`"
says "threads"
expect 2 --jsno
says "unknown option"
expect 2 run spec.route --threads
says "needs a value"
for bad in 0 -1 1.5 x 1025 9999 99999999999999999999; do
  expect 2 run spec.route --threads="$bad"
  says "--threads"
done
expect 2 run spec.route --seed=-1
expect 2 run spec.route --seed=1e3
expect 2 check spec.route --threads 2
says "has no effect on"
expect 2 check spec.route --dump=aprse
says "unknown stage"
says "parse"
expect 2 check
says "needs an argument"
expect 2 check spec.route other.route
says "unexpected argument"
expect 2 check spec.route --set width
says "NAME=VALUE"
expect 2 check spec.route --set =3
expect 2 plan spec.route --target=pentium
says "unknown target"
expect 2 explain E9999
says "unknown code"
expect 2 run spec.route --sweep nothing
says "sweep"
echo "$n_checks checks"
