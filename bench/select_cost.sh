#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What hard selection saves: steps of a mixture of eight experts of which each datum takes one, by `select` with packed rows and
# with all rows computed, beside the same by `mix`; in interleaved pairs, after the answers were compared. Prints a table of time
# ratios: median, least and most.
#   bench/select_cost.sh [--routec build/routec] [--pairs 7] [--threads 1] [--width 1024]
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
[ -e "$here/data/digits.csv.gz" ] || { echo "select_cost: data/digits.csv.gz is missing; see README.md" >&2; exit 2; }
case " $* " in
*" --routec "*) exec python3 "$here/bench/select_cost.py" "$@" ;;
*) exec python3 "$here/bench/select_cost.py" --routec "$here/build/routec" "$@" ;;
esac
