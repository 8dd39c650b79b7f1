#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A run from spec to table: files, exit codes 0, 3 and 4, the same bits for any number of threads and either
# instruction set.
. "$(dirname "$0")/../lib/cli.sh"
tiny spec.route
expect 0 run spec.route --run-dir a --threads 1
says "quality"
[ -f a/manifest.json ] && [ -f a/metrics.jsonl ] && [ -f a/spec.route ] || fail "files are missing in the run folder"
cmp -s a/spec.route spec.route || fail "the run folder's spec is not the spec"
expect 0 run spec.route --run-dir b --threads 2
expect 0 run spec.route --run-dir c --threads 5
same_tensors "$(weights_of a)" "$(weights_of b)"
same_tensors "$(weights_of a)" "$(weights_of c)"
expect 0 run spec.route --run-dir v3 --target=x86-64-v3
same_tensors "$(weights_of a)" "$(weights_of v3)"
expect 0 run spec.route --run-dir v2 --target=x86-64-v2 # no FMA: products by the BLAS
"$python" "$ROUTEC_ROOT/tests/lib/safetensors.py" near "$(weights_of a)" "$(weights_of v2)" || fail "x86-64-v2 is far from AVX2"
expect 0 run spec.route --run-dir seed --seed 1
different_tensors "$(weights_of a)" "$(weights_of seed)"
expect 0 run spec.route --run-dir init --init "$(weights_of a)" --set rate=0
same_parameters "$(weights_of a)" "$(weights_of init)"
expect 0 eval a
cp "$work/.out" table
says "quality"
expect 0 eval spec.route --checkpoint "$(weights_of a)"
expect 2 eval spec.route
says "--checkpoint"

# the same on real digits, where products are blocked, rows are left over and reductions are shared
sed "s|../data/|$ROUTEC_ROOT/data/|; s/^expect.*//; s/^train.*/train { batch = 61; for = 40 steps }/" \
  "$ROUTEC_ROOT/examples/digits_split.route" >digits.route
expect 0 run digits.route --run-dir d1 --threads 1
for threads in 2 3 4; do
  expect 0 run digits.route --run-dir d$threads --threads $threads
  same_tensors "$(weights_of d1)" "$(weights_of d$threads)"
done
expect 0 run digits.route --run-dir dv3 --target=x86-64-v3 --threads 2
same_tensors "$(weights_of d1)" "$(weights_of dv3)"

# the default folder: a second run never overwrites the first
expect 0 run spec.route
expect 0 run spec.route
[ "$(ls runs | wc -l)" = 2 ] || fail "runs: $(ls runs)"
expect 3 run spec.route --run-dir a
says "already"

# an expectation
(cat spec.route; echo 'expect quality.whole < 1e-9') >fails.route
expect 4 run fails.route --run-dir e
says "quality.whole < 1e-9"
(cat spec.route; echo 'expect quality.whole < 1e9') >holds.route
expect 0 run holds.route --run-dir h
# what compares a number that is none shows nothing
for claim in 'quality.whole / (quality.whole - quality.whole) > 1' 'not (quality.whole - 1) / (1 - 1) < 0'; do
  (cat spec.route; echo "expect $claim") >nothing.route
  rm -rf nothing
  expect 4 run nothing.route --run-dir nothing
done

# a loss that is not finite: the step, the tensor and its line; nothing is overwritten
sed 's/^loss certificate.*/loss certificate = mse(cert, x)\nloss explode = mean(exp(1e4 * mean(recon * recon)))/' spec.route >nan.route
sed -i 's/adam(lr = rate)/sgd(lr = 100.0)/' nan.route
expect 3 run nan.route --run-dir n
says "step"
says "nan.route:"

# the BLAS is opened where a product needs it, and only there
mkdir blas && : >blas/libopenblas.so.0
LD_LIBRARY_PATH=$PWD/blas expect 0 run spec.route --run-dir without
grep -q '"blas' without/manifest.json && fail "a manifest names a BLAS that was not used"
LD_LIBRARY_PATH=$PWD/blas expect 3 run spec.route --run-dir with --blas
says "E0795"
LD_LIBRARY_PATH=$PWD/blas expect 3 doctor
rm -rf with
expect 0 run spec.route --run-dir with --blas
grep -q '"blas_core"' with/manifest.json || fail "a manifest without the BLAS's kernels"

# --init of another model
expect 3 run spec.route --run-dir w --set width=6 --init "$(weights_of a)"
says "encoder.fc1"
echo "$n_checks checks"
