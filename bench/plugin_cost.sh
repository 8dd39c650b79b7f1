#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What a plugin costs: steps with a formula of a plugin beside the same regularizer written out; with a function of a plugin on a
# matrix of 1024 x 1024 parameters in a model, and on a vector alone, beside the same emitted by the compiler, on the vector also when it
# offers no `store` (adds), and when it is compiled without the machine's own vectors (plain);
# in interleaved pairs, after the answers were compared. The time of a step is the difference of a long and a short run, so neither compilation nor loading is in it. Prints a table of time ratios, plugin over
# emitted: median, least and most; and how many calls the optimised module of the step makes.
#   bench/plugin_cost.sh [--routec build/routec] [--pairs 9] [--kinds formula,span,alone,adds,plain] [--threads 1] [--elements 1000000] [--steps 400]
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
routec=$here/build/routec kinds=formula,span,alone,adds,plain pairs=9 threads=1 elements=1000000 steps=400
while [ $# -gt 0 ]; do
  case $1 in
  --routec) routec=$2 ;;
  --pairs) pairs=$2 ;;
  --kinds) kinds=$2 ;;
  --threads) threads=$2 ;;
  --elements) elements=$2 ;;
  --steps) steps=$2 ;;
  *) echo "plugin_cost: unknown option $1" >&2; exit 2 ;;
  esac
  shift 2
done
[ -x "$routec" ] || { echo "plugin_cost: no executable $routec" >&2; exit 2; }
[ -e "$here/data/digits.csv.gz" ] || { echo "plugin_cost: data/digits.csv.gz is missing; see README.md" >&2; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export OPENBLAS_CORETYPE=${OPENBLAS_CORETYPE:-Haswell}
${CC:-cc} -std=c11 -O3 -march=native -ffp-contract=off -shared -fPIC -I"$here/plugins/abi" "$here/tests/plugins/calls.c" -o "$work/calls.so" -lm
mkdir "$work/adds" "$work/plain"
${CC:-cc} -std=c11 -O3 -march=native -ffp-contract=off -DADDS_ONLY -shared -fPIC -I"$here/plugins/abi" "$here/tests/plugins/calls.c" -o "$work/adds/calls.so" -lm
${CC:-cc} -std=c11 -O3 -shared -fPIC -I"$here/plugins/abi" "$here/tests/plugins/calls.c" -o "$work/plain/calls.so" -lm

formula() { # formula REGULARIZER: wide codes, so that the penalty is much of the step
  cat <<ROUTE
edition 1
data digits {
  source = csv("$here/data/digits.csv.gz", pixels = 0 .. 64, digit = 64, holdout = 359)
  image: f32[64] = source.pixels / 8 - 1
}
model {
  z = image |> code: linear(2048)
  recon = z[0 .. 16] |> dec: linear(64)
}
loss fit = mse(recon, image)
regularize sparse = $1
optimize sgd(lr = 1e-3)
train { batch = 256; for = 100000 steps; log = 1000000 steps }
ROUTE
}
vector() { # vector REGULARIZER: nothing else but it and the step of SGD
  cat <<ROUTE
edition 1
plugin calls { path = "calls.so" }
parameter v: f32[$elements] = uniform(-1, 1)
regularize sparse = $1
loss none = 0 * mean(v[0 .. 1])
optimize sgd(lr = 1e-6)
train { for = 100000 steps; log = 1000000 steps }
ROUTE
}
matrix() { # matrix REGULARIZER: a model with about a million parameters, all of them penalised
  cat <<ROUTE
edition 1
plugin calls { path = "calls.so" }
data digits {
  source = csv("$here/data/digits.csv.gz", pixels = 0 .. 64, digit = 64, holdout = 359)
  image: f32[64] = source.pixels / 8 - 1
}
model {
  h = image |> first: linear(1024) |> relu
  z = h |> mid: linear(1024) |> relu
  recon = z |> last: linear(64)
}
loss fit = mse(recon, image)
regularize sparse = $1
optimize sgd(lr = 1e-3)
train { batch = 256; for = 100000 steps; log = 1000000 steps }
ROUTE
}
formula '1e-3 * l1(z)' >"$work/formula_plugin.route"
formula '1e-3 * sum(mean(abs(z), over = example))' >"$work/formula_hand.route"
matrix 'calls.absolute(mid.weight, k = 1e-6)' >"$work/span_plugin.route"
matrix '1e-6 * sum(abs(mid.weight))' >"$work/span_hand.route"
vector 'calls.absolute(v, k = 1e-3)' >"$work/alone_plugin.route"
vector '1e-3 * sum(abs(v))' >"$work/alone_hand.route"
for kind in adds plain; do
  sed "s|calls.so|$kind/calls.so|" "$work/alone_plugin.route" >"$work/${kind}_plugin.route"
  cp "$work/alone_hand.route" "$work/${kind}_hand.route"
done

run() { # run NAME STEPS: seconds; of one thread the processor's, which other programs disturb less
  local TIMEFORMAT=%3R
  [ "$threads" != 1 ] || TIMEFORMAT=%3U
  rm -rf "$work/run"
  { time "$routec" run "$work/$1.route" --run-dir "$work/run" --steps "$2" --threads "$threads" -q >"$work/said" 2>&1; } 2>"$work/time" ||
    { cat "$work/said" >&2; exit 1; }
  cat "$work/time"
}
step_ms() { # milliseconds of one step of NAME
  local short long n=$steps
  case $1 in alone* | adds* | plain*) n=$((10 * steps)) ;; esac # short ones
  short=$(run "$1" $((n / 10)))
  long=$(run "$1" "$n")
  awk "BEGIN { printf \"%.6f\\n\", 1000 * ($long - $short) / ($n - int($n / 10)) }"
}
calls_of() { # calls through the frame's pointer in the training step
  "$routec" run "$work/$1.route" --dump=llvm --stop-after=llvm 2>/dev/null |
    awk '/^define .*@routec_train\(/ { on = 1 } on && /call void %call[0-9]*\(/ { n++ } on && /^}/ { on = 0 } END { print n + 0 }'
}
loss_of() { # the last losses of NAME after 20 steps
  rm -rf "$work/run"
  "$routec" run "$work/$1.route" --run-dir "$work/run" --steps 20 --threads "$threads" -q >/dev/null 2>&1
  python3 - "$work/run" <<'PY'
import glob, os, sys
sys.path.insert(0, os.environ['TOOLS'])
import safetensors
f = sorted(glob.glob(sys.argv[1] + '/checkpoint-*.safetensors'))[-1]
t = safetensors.load(f)
print(sum(abs(x) for k in t for x in (t[k][1] if isinstance(t[k], tuple) else t[k])))
PY
}
export TOOLS=$here/tests/lib

printf '%-8s  %8s  %8s  %10s  %10s  %s\n' plugin calls emitted 'plugin, ms' 'other, ms' 'ratio (least to most)'
for kind in ${kinds//,/ }; do
  a=$(loss_of ${kind}_plugin) b=$(loss_of ${kind}_hand)
  awk "BEGIN { d = $a - $b; if (d < 0) d = -d; exit !(d <= 1e-5 * $b) }" || { echo "plugin_cost: $kind: $a and $b differ" >&2; exit 1; }
  : >"$work/samples"
  for ((i = 0; i < pairs; i++)); do
    if ((i % 2)); then q=$(step_ms ${kind}_hand) p=$(step_ms ${kind}_plugin)
    else p=$(step_ms ${kind}_plugin) q=$(step_ms ${kind}_hand); fi
    echo "{\"plugin\": \"$kind\", \"plugin_ms\": $p, \"emitted_ms\": $q}" >&2
    echo "$p $q" >>"$work/samples"
  done
  calls="$(calls_of ${kind}_plugin) $(calls_of ${kind}_hand)"
  awk '{ print $1 / $2, $1, $2 }' "$work/samples" | sort -g |
    awk -v kind=$kind -v calls="$calls" '{ r[NR] = $1; p += $2; q += $3 } END { split(calls, c, " ");
      printf "%-8s  %8d  %8d  %10.4f  %10.4f  %.3f (%.3f to %.3f)\n", kind, c[1], c[2], p / NR, q / NR, r[int((NR + 1) / 2)], r[1], r[NR] }'
done
