#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What masks cost and what grouping rows by class saves: steps of a routed model beside the same model without routes, in
# interleaved pairs, after the answers were compared. Prints a table of time ratios: median, least and most.
#   bench/routing_cost.sh [--routec build/routec] [--pairs 7] [--threads 1] [--width 1024]
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
[ -e "$here/data/digits.csv.gz" ] || { echo "routing_cost: data/digits.csv.gz is missing; see README.md" >&2; exit 2; }
case " $* " in
*" --routec "*) exec python3 "$here/bench/routing_cost.py" "$@" ;;
*) exec python3 "$here/bench/routing_cost.py" --routec "$here/build/routec" "$@" ;;
esac
