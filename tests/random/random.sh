#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Random programs (tests/random/generate.py), each checked by tests/random/step.c: random.sh [COUNT [FIRST]]. A failure prints
# the program's path, whose name is the seed; failed programs are kept. Through the environment: PLAIN and VECTORS (each so-manyth
# program is compiled without its routes, and for AVX2), SMOOTH=smooth (tanh and gelu only).
set -u
: "${RANDOM_STEP:?path of random_step}" "${ROUTEC_ROOT:?path of the sources}"
export OPENBLAS_CORETYPE="${OPENBLAS_CORETYPE:-Haswell}"
count=${1:-300} first=${2:-1}
keep=${RANDOM_KEEP:-${TMPDIR:-/tmp}/routec-random-failed}
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
python3 "$ROUTEC_ROOT/tests/random/generate.py" "$work" "$first" "$count" ${SMOOTH:+smooth} >"$work/list" || exit 1
workers=$(nproc)
[ "$workers" -le "$count" ] || workers=$count
split -n "r/$workers" "$work/list" "$work/share-"
for share in "$work"/share-*; do
  "$RANDOM_STEP" --plain "${PLAIN:-6}" --vectors "${VECTORS:-6}" <"$share" >"$share.out" 2>"$share.err" || echo "$share" >>"$work/bad" &
done
wait
cat "$work"/share-*.out
[ -e "$work/bad" ] || { echo "seeds $first to $((first + count - 1)): all sound"; exit 0; }
while read -r share; do tail -n 20 "$share.err" >&2; done <"$work/bad"
mkdir -p "$keep"
for seed in $(sed -n 's|^FAILED .*/\([0-9]*\)\.\(plain\.\)\?route:.*|\1|p' "$work"/share-*.out | sort -un); do
  cp "$work/$seed".* "$work/$seed"-* "$keep" 2>/dev/null
  echo "kept: $keep/$seed.route" >&2
done
exit 1
