#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Kernels of products that were measured: a table, a file that later plans take from and that may be damaged, and runs that
# keep to what they began with. Nothing here depends on what turns out to be faster.
. "$(dirname "$0")/../lib/cli.sh"
tiny spec.route 'checkpoint { every = 3 steps; keep = 2 }'
export XDG_CACHE_HOME=$work/cache
plan() { expect 0 plan "${@:-spec.route}" --threads 1; }
measured() { grep -c ', measured: ' "$work/.out"; }
expect 2 run spec.route --measure
plan
products=$(grep -c 'by emitted kernel' "$work/.out")
[ "$products" -gt 5 ] && [ "$(measured)" = 0 ] || fail "$products products, $(measured) measured before anything was"
# a machine without FMA has nothing to choose
plan spec.route --target x86-64-v2
[ "$(grep -c 'by the BLAS: no FMA with vectors of 8 floats on x86-64-v2' "$work/.out")" = "$products" ] || fail "not all products by the BLAS"

expect 0 plan --measure spec.route --threads 1
says 'kept in'
says 'the BLAS, threads share rows'
[ "$(grep -c '^  rule' "$work/.out")" = "$(grep -c ' chosen ' "$work/.out")" ] || fail "a product without one choice"
[ "$(find cache -name 'gemm-*' | wc -l)" = 1 ] || fail "what was measured was not kept"
plan
[ "$(measured)" = "$products" ] || fail "$(measured) of $products products as measured"
for other in --no-cache --blas "--target x86-64-v3"; do
  plan spec.route $other
  [ "$(measured)" = 0 ] || fail "what was measured is used with $other"
done
expect 0 plan spec.route --threads 2
[ "$(measured)" = 0 ] || fail "what one thread measured is used for two"
OPENBLAS_CORETYPE=Nehalem plan
[ "$(measured)" = 0 ] || fail "what was measured with one BLAS is used with another"
# another spec adds to it
plan --measure spec.route --set width=6
plan
[ "$(measured)" = "$products" ] || fail "the first measurement is lost"
plan spec.route --set width=6
[ "$(measured)" = "$products" ] || fail "the second measurement is not there"
expect 0 plan --measure --json spec.route --no-cache --threads 1
is_json "$work/.out"
says '"kept": false'

# a run keeps to what it began with, whatever is measured or lost later
rest=(--dump=plan -v)
expect 0 run spec.route --run-dir whole
expect 0 run spec.route --run-dir with --steps 7
cp -r with edited
kept=$(echo cache/routec/gemm-*)
mv "$kept" kept
expect 0 run spec.route --run-dir without --steps 7
mv kept "$kept"
expect 0 resume without "${rest[@]}"
says_not ', measured: '
says_not W0753
rm "$kept"
expect 0 resume with "${rest[@]}"
says ', measured: '
says_not W0753
same_tensors "$(weights_of whole)" "$(weights_of with)"

# choices are read from the checkpoint: other ones are other kernels, and what makes no sense is none
choices() { # choices RUN PYTHON: lines of every checkpoint's choices, changed
  "$python" - "$1" "$2" <<'PY' || fail "the checkpoints of $1 could not be changed"
import glob, json, struct, sys
for path in glob.glob(sys.argv[1] + '/checkpoint-*.safetensors'):
    data = open(path, 'rb').read()
    n = struct.unpack('<Q', data[:8])[0]
    head = json.loads(data[8:8 + n])
    lines = head['__metadata__']['choices'].split('\n')[:-1]
    assert lines
    change = eval('lambda words: ' + sys.argv[2])
    head['__metadata__']['choices'] = ''.join(' '.join(change(l.split(' '))) + '\n' for l in lines)
    text = json.dumps(head).encode()
    text += b' ' * (-len(text) % 8)
    open(path, 'wb').write(struct.pack('<Q', len(text)) + text + data[8 + n:])
PY
}
cp -r edited nonsense
choices edited "words[:-11] + ['1'] + words[-10:]"
expect 0 resume edited "${rest[@]}"
says 'by the BLAS, threads share'
says W0753
for change in "words[:-11] + ['7'] + words[-10:]" "words[:-10] + ['900'] + words[-9:]" "words[:-3]" "words + ['1']" "['x'] * 40" "words[:-8] + ['17'] + words[-7:]" \
  "words[:-7] + ['99999999999999999999'] + words[-6:]" "words[:-1] + ['nan']"; do
  rm -rf r && cp -r nonsense r
  choices r "$change"
  expect 0 resume r "${rest[@]}"
  says_not ', measured: '
  says W0753
done

# a damaged file is no file
plan --measure spec.route
kept=$(echo cache/routec/gemm-*)
size=$(stat -c %s "$kept")
for damage in "truncate -s $((size - 1))" "truncate -s 0" "truncate -s +1" flip; do
  cp "$kept" whole.gemm
  if [ "$damage" = flip ]; then printf 'X' | dd of="$kept" bs=1 seek=$((size / 2)) conv=notrunc status=none
  else $damage "$kept"; fi
  plan
  [ "$(measured)" = 0 ] || fail "a damaged file was used: $damage"
  cp whole.gemm "$kept"
done
plan
[ "$(measured)" = "$products" ] || fail "the whole file is not used any more"
echo "$n_checks checks"
