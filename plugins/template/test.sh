#!/bin/sh
# test.sh @NAME@.so: does the plugin keep the contract, and does a specification train with it?
set -eu
routec=${ROUTEC:-routec}
here=$(cd "$(dirname "$0")" && pwd)
plugin=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
"$routec" plugin check "$plugin"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$plugin" "$work/@NAME@.so"
cp "$here/@NAME@.route" "$work"
cd "$work"
# data: x1 and x2 in -1..1; the label says on which side of the line x1 = x2 they lie
awk 'BEGIN { srand(1); for (i = 0; i < 256; i++) { a = 2 * rand() - 1; b = 2 * rand() - 1; print a "," b "," (a > b) } }' >data.csv
"$routec" run @NAME@.route --run-dir run --threads 1 --quiet
