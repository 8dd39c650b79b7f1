#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Rows of table 2 of Cloud et al. 2024 in their reduced forms: routec beside its PyTorch twin, means and 95 % intervals.
#   bench/split_table.sh digits|mnist [--rows 1,5,9,10] [--seeds 3] [--threads N] [--routec build/routec] [--out FOLDER]
# Runs that are in the output folder already are not repeated.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
data=${1:-digits} rows=1,5,9,10 seeds=3 threads=$(nproc) routec=$here/build/routec out=
[ $# -gt 0 ] && shift
while [ $# -gt 0 ]; do
  case $1 in
  --rows) rows=$2 ;; --seeds) seeds=$2 ;; --threads) threads=$2 ;; --routec) routec=$2 ;; --out) out=$2 ;;
  *) echo "split_table: unknown option $1" >&2; exit 2 ;;
  esac
  shift 2
done
case $data in
digits) base=digits_split ;;
mnist) base=mnist_split_narrow ;;
*) echo "usage: split_table.sh digits|mnist" >&2; exit 2 ;;
esac
out=${out:-$here/runs/table-$data}
mkdir -p "$out"
for row in ${rows//,/ }; do
  spec=$here/examples/$base.route
  [ "$row" = 1 ] || spec=$here/examples/table/${data}_row$row.route
  for ((seed = 0; seed < seeds; seed++)); do
    run=$out/row$row-seed$seed
    if ! grep -q '"exit_code": [04]' "$run/manifest.json" 2>/dev/null; then
      rm -rf "$run"
      "$routec" run "$spec" --seed "$seed" --threads "$threads" --run-dir "$run" -q >"$run.txt" 2>&1 || [ $? = 4 ] || { cat "$run.txt" >&2; exit 3; }
    fi
    twin=$out/twin-row$row-seed$seed.json
    [ -s "$twin" ] || /usr/bin/python3 "$here/tests/train/torch_twin.py" --data "$data" --row "$row" --seed "$seed" --threads 1 >"$twin"
  done
done
python3 - "$out" "$data" "$rows" "$seeds" <<'PY'
import json, math, os, sys
out, data, rows, seeds = sys.argv[1], sys.argv[2], [int(r) for r in sys.argv[3].split(',')], int(sys.argv[4])
T = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}  # 97.5 % points of Student's t

def group(keys, metric, digits):
    n = sum(keys[str(d)]['n'] for d in digits)
    return sum(keys[str(d)]['n'] * keys[str(d)][metric] for d in digits) / n

def ratio(lower, upper):  # each (on 0-4, on 5-9)
    return math.sqrt(lower[1] / lower[0] * upper[0] / upper[1])

def interval(v):
    mean = sum(v) / len(v)
    if len(v) < 2:
        return '%.2f' % mean
    deviation = math.sqrt(sum((x - mean) ** 2 for x in v) / (len(v) - 1))
    return '%.2f +- %.2f' % (mean, T.get(len(v) - 1, 1.96) * deviation / math.sqrt(len(v)))

print('%s: ratio (geometric mean over both halves of squared error on the other group / on its own), %d seeds' % (data, seeds))
print('%4s  %-16s  %-16s   lower on 0-4, 5-9   upper on 0-4, 5-9' % ('row', 'routec', 'PyTorch'))
for row in rows:
    ours, theirs, errors = [], [], []
    for seed in range(seeds):
        table = None
        for line in open(os.path.join(out, 'row%d-seed%d' % (row, seed), 'metrics.jsonl')):
            entry = json.loads(line)
            if entry.get('evaluation') == 'halves':
                table = entry['keys']
        e = [group(table, m, d) for m in ('lower', 'upper') for d in (range(5), range(5, 10))]
        errors.append(e)
        ours.append(ratio(e[:2], e[2:]))
        theirs.append(json.load(open(os.path.join(out, 'twin-row%d-seed%d.json' % (row, seed))))['ratio'])
    mean = [sum(c) / len(c) for c in zip(*errors)]
    print('%4d  %-16s  %-16s   %.3f, %.3f        %.3f, %.3f' % (row, interval(ours), interval(theirs), *mean))
PY
