#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Changes of a spec that must not change the run: other names, another order of declarations, comments and layout,
# another way to say the same; and changes that must change it in a known way: permuted units.
. "$(dirname "$0")/../lib/cli.sh"
. "$ROUTEC_ROOT/tests/lib/train.sh"
tiny base.route "$every_step"
train base.route base
init=$(weights_of base)
train base.route again --init "$init"

# renamed: modules, values, parts, classes, the route; the losses keep their order
sed -E 's/\bencoder\b/squeeze/g; s/\bdecoder\b/spread/g; s/\bprobe\b/witness/g; s/\bz\b/code_of_x/g; s/\bleft\b/west/g; s/\bright\b/east/g;
        s/\blow\b/small_ones/g; s/route code:/route other:/; s/\bfc1\b/first/g; s/\bfc2\b/second/g; s/\bpoints\b/samples/g;
        s/loss reconstruction/loss aa/; s/loss certificate/loss bb/; s/quality/zz/; s/\bwidth\b/units/g' base.route >renamed.route
grep -q 'encoder\|decoder\|left' renamed.route && fail "not all names were replaced"
$tool rename "$init" renamed.safetensors encoder.fc1=squeeze.first encoder.fc2=squeeze.second decoder.fc1=spread.first \
  decoder.fc2=spread.second probe.fc1=witness.first probe.fc2=witness.second || fail rename
train renamed.route renamed --init renamed.safetensors
same_losses again renamed
same_tensors "$(weights_of again)" "$(weights_of renamed)" encoder.fc1=squeeze.first encoder.fc2=squeeze.second \
  decoder.fc1=spread.first decoder.fc2=spread.second probe.fc1=witness.first probe.fc2=witness.second

# declarations in another order: free, but for the order of the losses
"$python" - <<'PY'
import re
text = open('base.route').read()
head, rest = text.split('\n', 1)
blocks, depth, cur = [], 0, []
for line in rest.split('\n'):
    cur.append(line)
    depth += line.count('{') - line.count('}')
    if depth == 0 and line.strip():
        blocks.append('\n'.join(cur)); cur = []
losses = [b for b in blocks if re.match(r'loss|regularize', b)]
others = [b for b in blocks if not re.match(r'loss|regularize', b)]
open('reordered.route', 'w').write('\n'.join([head] + losses + others[::-1]) + '\n')
PY
train reordered.route reordered
same_losses base reordered
same_tensors "$(weights_of base)" "$(weights_of reordered)"

# losses in another order: sums of gradients may round differently, no more
"$python" - <<'PY'
lines = open('base.route').read().split('\n')
a = next(i for i, l in enumerate(lines) if l.startswith('loss reconstruction'))
lines[a], lines[a + 1] = lines[a + 1], lines[a]
open('losses.route', 'w').write('\n'.join(lines))
PY
train losses.route losses
near_losses base losses 1e-4

# the same class, split and route said otherwise
sed 's/class low = y in 0 ..= 1/class low = not (y > 1) and y >= 0/; s/left = 0 .. 2; right = rest/left = [0, 1]; right = 2 .. 4/;
     s/when low to left; otherwise to right/when low to { left = 1.0; right = 0.0 }; otherwise to { right = 1.0; left = 0.0 }/' base.route >said.route
cmp -s base.route said.route && fail "nothing was replaced"
train said.route said
same_losses base said
same_tensors "$(weights_of base)" "$(weights_of said)"
sed 's/when low to left; otherwise to right/when y in 2 ..= 3 to right; otherwise to left/' base.route >turned.route
train turned.route turned
same_losses base turned

# comments, blank lines, semicolons, the formatter
expect 0 fmt base.route
cp "$work/.out" formatted.route
sed 's/$/   # remark/' formatted.route >commented.route
train commented.route commented
same_losses base commented

# hidden units in another order: the same function, sums in another order
$tool permute "$init" permuted.safetensors encoder.fc1.weight:0=4,2,0,1,3 encoder.fc1.bias:0=4,2,0,1,3 encoder.fc2.weight:1=4,2,0,1,3 ||
  fail permute
train base.route permuted --init permuted.safetensors
near_losses again permuted 1e-4
# units of the code in another order, with the split that goes with it
$tool permute "$init" code.safetensors encoder.fc2.weight:0=2,0,3,1 encoder.fc2.bias:0=2,0,3,1 decoder.fc1.weight:1=2,0,3,1 || fail permute
sed 's/left = 0 .. 2; right = rest/left = [1, 3]; right = rest/' base.route >code.route
train code.route code --init code.safetensors
near_losses again code 1e-4

# without fusing and with the BLAS: other roundings at most
train base.route unfused --no-fuse
near_losses base unfused 1e-4
train base.route blas --blas
near_losses base blas 1e-3
# a module of one layer is that layer; a def is its body
sed 's/recon = decoder(z)/recon = twice(decoder(z)) \/ 2/; s/^model {/def twice(v) = v + v\nmodel {/' base.route >def.route
train def.route def
near_losses base def 1e-4
echo "$n_checks checks"
