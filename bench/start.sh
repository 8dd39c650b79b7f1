#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# From the start of the process to the first step: of the autoencoder of ae.route and of two examples, with an empty cache of code,
# with one that knows the machine and not the specification, and with one that has the code; in interleaved starts, after the
# trained parameters of all three were compared. Prints medians, least and most, in total and by phase.
#   bench/start.sh [--routec build/routec] [--starts 7] [--threads 2] [--only NAME]
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
case " $* " in
*" --routec "*) exec python3 "$here/bench/start.py" "$@" ;;
*) exec python3 "$here/bench/start.py" --routec "$here/build/routec" "$@" ;;
esac
