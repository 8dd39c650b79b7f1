#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every stage can be printed and can be the last one; a dump is the same twice.
. "$(dirname "$0")/../lib/cli.sh"
tiny spec.route
for stage in parse check lower autodiff mask update simplify plan llvm asm; do
  expect 0 run spec.route --dump=$stage --stop-after=$stage
  [ -s "$work/.out" ] || fail "--dump=$stage printed nothing"
  cp "$work/.out" first
  expect 0 run spec.route --dump=$stage --stop-after=$stage
  cmp -s first "$work/.out" || fail "--dump=$stage differs between two runs"
  cp first "$stage.txt"
  [ ! -d runs ] || fail "--stop-after=$stage ran"
done
grep -q adjtap autodiff.txt || fail "no place on an adjoint edge after autodiff"
grep -q mask mask.txt || fail "no mask after the mask pass"
! grep -q adjtap mask.txt || fail "a place is left after the mask pass"
grep -q 'mulps\|vmul\|vfm' asm.txt || fail "no vector arithmetic in the assembly"
expect 0 check spec.route --dump=parse --dump=plan
grep -q edition "$work/.out" || fail "two dumps: the first is missing"
expect 0 run spec.route --stop-after=read -q
echo "$n_checks checks"
