#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A built trainer holds no LLVM, runs in an empty environment, and gives the bits of `run`.
. "$(dirname "$0")/../lib/cli.sh"
tiny spec.route
expect 0 build spec.route -o trainer
[ -x trainer ] || fail "no trainer"
! readelf -d trainer | grep -i llvm || fail "the trainer needs LLVM"
! ldd trainer | grep -i 'llvm' || fail "the trainer loads LLVM"
! grep -qa 'LLVM_' trainer || fail "the trainer holds parts of LLVM"
expect 0 run spec.route --run-dir r --threads 2
env -i OPENBLAS_CORETYPE="$OPENBLAS_CORETYPE" ./trainer run --run-dir t --threads 2 >"$work/.out" 2>"$work/.err" || fail "trainer: $?"
same_tensors "$(weights_of r)" "$(weights_of t)"
./trainer run --run-dir t2 --threads 1 --seed 9 >"$work/.out" 2>"$work/.err" || fail "trainer --seed"
expect 0 run spec.route --run-dir r2 --threads 2 --seed 9
same_tensors "$(weights_of r2)" "$(weights_of t2)"
# run-time params can be set, structural ones are refused with the reason
./trainer run --run-dir t3 --set rate=0.05 >"$work/.out" 2>"$work/.err" || fail "trainer --set rate"
expect 0 run spec.route --run-dir r3 --set rate=0.05
same_tensors "$(weights_of r3)" "$(weights_of t3)"
./trainer run --run-dir t4 --set width=6 >"$work/.out" 2>"$work/.err" && fail "a structural param was accepted"
says "width"
./trainer --help >"$work/.out" 2>&1 || fail "trainer --help"
says "rate"
./trainer --version >"$work/.out" 2>&1 || fail "trainer --version"
./trainer run --nonsense >"$work/.out" 2>"$work/.err"
[ $? = 2 ] || fail "trainer: unknown option"
# resume between the two kinds
./trainer run --run-dir t5 --steps 9 >"$work/.out" 2>"$work/.err" || fail "trainer --steps"
./trainer resume t5 >"$work/.out" 2>"$work/.err" || fail "trainer resume"
same_tensors "$(weights_of r)" "$(weights_of t5)"
./trainer eval "$(weights_of t)" >"$work/.out" 2>"$work/.err" || fail "trainer eval"
says "quality"
# problems of the linker's side
CC=/nonexistent/cc expect 3 build spec.route -o other
says "/nonexistent/cc"
expect 3 build spec.route -o no/such/folder/trainer
[ -z "$(ls -d "${TMPDIR:-/tmp}"/routec-build-* 2>/dev/null)" ] || fail "temporary folders are left"
# the vendored digits: the README's example, built
sed 's|../data/|'"$ROUTEC_ROOT"'/data/|; s/^expect.*//' "$ROUTEC_ROOT/examples/digits_split.route" >digits.route
expect 0 build digits.route -o digits --set 'length=1 epochs'
./digits run --run-dir d1 >"$work/.out" 2>"$work/.err" || fail "digits trainer"
expect 0 run digits.route --run-dir d2 --set 'length=1 epochs'
same_tensors "$(weights_of d1)" "$(weights_of d2)"
echo "$n_checks checks"
