#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# All benches, one after the other, on a machine that does nothing else: the goals and how things grow into docs/performance.md,
# the parts of a start, what hard selection saves and what plugins cost beside them. About 20 minutes on two cores.
#   bench/all.sh [--quick] [--routec build/routec] [--page docs/performance.md]
# --quick: about 5 minutes, to see that all works. Samples, tables and plots are kept in bench-results beside routec.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
routec=$here/build/routec page=$here/docs/performance.md quick=
while [ $# -gt 0 ]; do
  case $1 in
  --quick) quick=--quick && shift && continue ;;
  --routec) routec=${2:?} ;;
  --page) page=${2:?} ;;
  *) echo "all.sh: unknown option $1" >&2; exit 2 ;;
  esac
  shift 2
done
out=$(dirname "$routec")/bench-results
mkdir -p "$out"
part() { # part NAME command...: what it says goes to NAME.txt too
  local name=$1 began=$SECONDS
  shift
  echo "== $name"
  "$@" 2>&1 | tee "$out/$name.txt"
  echo "== $name took $((SECONDS - began)) s"
}
part goals "$here/bench/goals.py" --routec "$routec" --write "$page" $quick
part growth "$here/bench/growth.py" --routec "$routec" --write "$page" $quick
part start "$here/bench/start.sh" --routec "$routec" --starts "$([ "$quick" ] && echo 2 || echo 7)"
part select "$here/bench/select_cost.py" --routec "$routec" --rounds "$([ "$quick" ] && echo 2 || echo 7)" $quick
part plugin "$here/bench/plugin_cost.sh" --routec "$routec" --pairs "$([ "$quick" ] && echo 1 || echo 5)"
echo "all of it took $SECONDS s; see $out and $page"
