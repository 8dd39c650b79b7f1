#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The proof of the leak zoo and of random programs (tests/random/generate.py) against the interpreter: exchange.sh [COUNT [FIRST]].
# Content that is proved not to matter is exchanged, and no bit may move; what is said to be reached and never moves is counted:
# at most 5 % with smooth activations, over 1,000 exchanges with weights drawn anew.
set -eu
: "${PROVE_EXCHANGE:?path of prove_exchange}" "${ROUTEC_ROOT:?path of the sources}"
count=${1:-100} first=${2:-1}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$ROUTEC_ROOT/tests/prove"
zoo=()
for spec in *.route; do
  case $spec in no_parameters.route) ;; *) zoo+=("$spec") ;; esac # an error before there is a graph
done
"$PROVE_EXCHANGE" --trials 3 "${zoo[@]}"
python3 "$ROUTEC_ROOT/tests/random/generate.py" "$work" "$first" "$count" smooth >"$work/list"
# Weights that are functions of a field of few values are 0 or 1 for whole kinds of data: zeros by value, which the proof shows
# as reached (docs/proof.md); so are branches that no datum of a kind takes. Such programs are held to the proof's "none" alone.
cut -d' ' -f1 "$work/list" >"$work/paths"
while read -r spec; do
  if grep -qE 'class soft_|= select\(' "$spec"; then echo "$spec" >>"$work/soft"; else echo "$spec" >>"$work/others"; fi
done <"$work/paths"
[ ! -e "$work/soft" ] || xargs "$PROVE_EXCHANGE" --trials 12 <"$work/soft"
xargs "$PROVE_EXCHANGE" --trials 1000 --alarms 5 <"$work/others"
