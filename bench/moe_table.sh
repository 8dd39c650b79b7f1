#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Mixtures of experts on digits or MNIST, with and without routes, soft and hard gates: trains each variant of examples/moe with some
# seeds and prints a table of accuracy, specialisation and what the ablation of one expert does, and one specialisation table.
#   bench/moe_table.sh [digits|mnist] [--seeds "11 12 13"] [--threads 1] [--routec build/routec] [--out FOLDER]
# Runs that are in the output folder are not repeated.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
data=digits seeds='11 12 13' threads=1 routec=$here/build/routec out=''
while [ $# -gt 0 ]; do
  case $1 in
  digits | mnist) data=$1; shift; continue ;;
  --seeds) seeds=$2 ;; --threads) threads=$2 ;; --routec) routec=$2 ;; --out) out=$2 ;;
  *) echo "moe_table: unknown option $1; see the head of the script" >&2; exit 2 ;;
  esac
  shift 2
done
out=${out:-$here/runs/moe}
mkdir -p "$out"
variants="moe_$data ${data}_unrouted ${data}_hard ${data}_hard_unrouted ${data}_told"
[ "$data" = mnist ] || variants="$variants digits_two digits_eight"
for v in $variants; do
  spec=$here/examples/moe/$v.route
  [ "$v" != "moe_$data" ] || spec=$here/examples/$v.route
  for s in $seeds; do
    run=$out/$v-$s code=0
    if grep -qs '"exit_code": [04]' "$run/manifest.json"; then continue; fi
    rm -rf "$run"
    "$routec" run "$spec" --seed "$s" --threads "$threads" --run-dir "$run" >"$run.txt" 2>&1 || code=$?
    [ $code = 0 ] || [ $code = 4 ] || { cat "$run.txt" >&2; exit 3; }
  done
done
python3 "$here/bench/moe_table.py" "$out" "$variants" "$seeds"
