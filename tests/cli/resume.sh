#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A run that was stopped, killed or interrupted goes on to the same bits as one that was not.
. "$(dirname "$0")/../lib/cli.sh"
tiny spec.route 'checkpoint { every = 3 steps; keep = 2 }'
expect 0 run spec.route --run-dir whole
# stopped by --steps in the middle of an epoch
expect 0 run spec.route --run-dir part --steps 17
[ ! -e "part/$(basename "$(weights_of whole)")" ] || fail "--steps 17 ran to the end"
expect 0 resume part
same_tensors "$(weights_of whole)" "$(weights_of part)"

# other threads and another instruction set than before: the same bits; a plan for another processor is another plan, which is said
expect 0 run spec.route --run-dir two --steps 17 --threads 2
cp -r two four && cp -r two avx2
expect 0 resume two --threads 1
expect 0 resume four --threads 4
says_not "W0753"
expect 0 resume avx2 --threads 2 --target x86-64-v3
says "W0753"
expect 0 run spec.route --run-dir narrow --steps 17 --target x86-64-v3
expect 0 resume narrow
for n in two four avx2 narrow; do same_tensors "$(weights_of whole)" "$(weights_of $n)"; done

# kill -9 while it runs, as often as it takes
sed 's/for = 12 epochs/for = 30000 epochs/' spec.route >long.route
"$ROUTEC" run long.route --run-dir killed -q >/dev/null 2>&1 &
pid=$!
for _ in $(seq 100); do
  sleep 0.05
  [ -n "$(ls killed/checkpoint-*.safetensors 2>/dev/null)" ] && break
done
kill -9 $pid
wait $pid 2>/dev/null
before=$(basename "$(weights_of killed)" .safetensors | tr -dc 0-9)
steps=$((10#$before + 400))
expect 0 resume killed --steps $steps
expect 0 run long.route --run-dir straight --steps $steps
same_tensors "$(weights_of straight)" "$(weights_of killed)"

# Ctrl-C: saves and exits 130
"$ROUTEC" run long.route --run-dir interrupted -q >/dev/null 2>"$work/.err" &
pid=$!
for _ in $(seq 100); do
  sleep 0.05
  [ -n "$(ls interrupted/checkpoint-*.safetensors 2>/dev/null)" ] && break
done
kill -INT $pid
code=0
wait $pid || code=$?
[ $code = 130 ] || fail "interrupted: exit code $code, not 130"
at=$(basename "$(weights_of interrupted)" .safetensors | tr -dc 0-9)
steps=$((10#$at + 100))
expect 0 resume interrupted --steps $steps
expect 0 run long.route --run-dir straight2 --steps $steps
same_tensors "$(weights_of straight2)" "$(weights_of interrupted)"

# --set values of the first start are remembered
expect 0 run spec.route --run-dir s1 --set width=7 --seed 3
expect 0 run spec.route --run-dir s2 --set width=7 --seed 3 --steps 20
expect 0 resume s2
same_tensors "$(weights_of s1)" "$(weights_of s2)"

# a base file that changed: refused, and accepted again once it is put back
cp spec.route base.route
printf 'edition 1\nextend "base.route"\n' >top.route
expect 0 run top.route --run-dir based --steps 10
echo '# another thought' >>base.route
expect 3 resume based
says "E0737"
cp spec.route base.route
expect 0 resume based
same_tensors "$(weights_of whole)" "$(weights_of based)"

# data that changed: refused
expect 0 run spec.route --run-dir moved --steps 10
cp tiny.csv kept.csv
sed -i '$d' tiny.csv
expect 3 resume moved
says "E0738"
cp kept.csv tiny.csv
expect 0 resume moved
same_tensors "$(weights_of whole)" "$(weights_of moved)"

# what is no run folder
mkdir empty
expect 1 resume empty
says "manifest.json"
expect 1 resume nowhere
echo '{' >empty/manifest.json
expect 1 resume empty
# a damaged newest checkpoint: the one before is taken
expect 0 run spec.route --run-dir d --steps 12
printf 'garbage' >"$(weights_of d)"
expect 0 resume d
same_tensors "$(weights_of whole)" "$(weights_of d)"
echo "$n_checks checks"
