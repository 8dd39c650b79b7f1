#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Rows of table 2 of Cloud et al. 2024 in their reduced forms, beside the published ones: a markdown table with means and
# 95 % intervals.
#   bench/split_table.sh [digits|mnist] [--rows 1,2,..] [--seeds 3] [--threads N] [--twin] [--epochs N]
#                        [--routec build/routec] [--out FOLDER] [--print]
# --twin runs the PyTorch twin too; --print only prints what is there. Runs that are in the output folder are not
# repeated, so an interrupted table goes on where it was.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
data=digits rows=1,2,3,4,5,6,7,8,9,10 seeds=3 threads=$(nproc) routec=$here/build/routec out='' twin='' epochs='' only_print=''
while [ $# -gt 0 ]; do
  case $1 in
  digits | mnist) data=$1; shift; continue ;;
  --twin) twin=1; shift; continue ;;
  --print) only_print=1; shift; continue ;;
  --rows) rows=$2 ;; --seeds) seeds=$2 ;; --threads) threads=$2 ;; --routec) routec=$2 ;; --out) out=$2 ;;
  --epochs) epochs=$2 ;;
  *) echo "split_table: unknown option $1; see the head of the script" >&2; exit 2 ;;
  esac
  shift 2
done
base=digits_split
[ $data = digits ] || base=mnist_split_narrow
out=${out:-$here/runs/table-$data${epochs:+-$epochs-epochs}}
mkdir -p "$out"

run_routec() { # ROW SEED; exit code 4 is an expectation that did not hold: a result too
  local spec=$here/examples/$base.route run=$out/row$1-seed$2 code=0
  [ "$1" = 1 ] || spec=$here/examples/table/${data}_row$1.route
  grep -q '"exit_code": [04]' "$run/manifest.json" 2>/dev/null && return
  rm -rf "$run"
  "$routec" run "$spec" --seed "$2" --threads "$threads" --run-dir "$run" ${epochs:+--set "length=$epochs epochs"} -q \
    >"$run.txt" 2>&1 || code=$?
  [ $code = 0 ] || [ $code = 4 ] || { cat "$run.txt" >&2; exit 3; }
}
run_twin() { # ROW SEED
  local to=$out/twin-row$1-seed$2.json
  [ -s "$to" ] && return
  /usr/bin/python3 "$here/tests/train/torch_twin.py" --data $data --row "$1" --seed "$2" --threads 1 \
    ${epochs:+--epochs "$epochs"} >"$to.part"
  mv "$to.part" "$to"
}
if [ -z "$only_print" ]; then
  for ((seed = 0; seed < seeds; seed++)); do
    for row in ${rows//,/ }; do
      run_routec "$row" $seed
      [ -z "$twin" ] || run_twin "$row" $seed
      echo "row $row, seed $seed: done" >&2
    done
  done
fi
python3 "$here/bench/split_table.py" "$out" "$data" "$rows" "$seeds" ${epochs:+"$epochs"}
