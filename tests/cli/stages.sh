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
grep -q 'because: .*by emitted kernel' plan.txt || fail "the plan gives no reason for a kernel"
grep -q 'mulps\|vmul\|vfm' asm.txt || fail "no vector arithmetic in the assembly"
expect 0 check spec.route --dump=parse --dump=plan
grep -q edition "$work/.out" || fail "two dumps: the first is missing"
expect 0 run spec.route --stop-after=read -q
# a spec that is sound and says nothing to train, or only what to evaluate
echo 'edition 1' >nothing.route
expect 0 check nothing.route
expect 0 plan nothing.route
expect 2 run nothing.route
says "neither trains nor evaluates"
tiny whole.route
sed '/^train/d; /^optimize/d' whole.route >untrained.route
expect 0 plan untrained.route
expect 0 run untrained.route --run-dir untrained
says "quality"
sed '/^train/d; /^optimize/d; /^loss/d; /^route/d' whole.route >lossless.route
expect 0 plan lossless.route
expect 0 run lossless.route --run-dir lossless
says "quality"
# parameters that no loss reaches are named
sed 's/z = encoder(x)/z = stop(encoder(x))/' whole.route >blocked.route
expect 0 check blocked.route
says 'nothing trains parameter `encoder.fc1.weight`'
echo "$n_checks checks"
