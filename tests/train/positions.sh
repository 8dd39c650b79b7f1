#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Conditions at positions: each masks its own; on data whose positions agree they are conditions on the datum, to the bit.
. "$(dirname "$0")/../lib/cli.sh"
. "$ROUTEC_ROOT/tests/lib/train.sh"
tokens() { # tokens FILE SAME: 48 data of 6 tokens, in 0 ..= 11, as NPY
  "$python" - "$1" "$2" <<'PY'
import random, struct, sys
random.seed(1)
rows, pos, same = 48, 6, sys.argv[2] == 'same'
flat = sys.argv[2] == 'flat'
v = []
for r in range(rows):
    one = random.randrange(12)
    v += [one if same else random.randrange(12) for _ in range(pos)]
head = "{'descr': '<i4', 'fortran_order': False, 'shape': (%d, %d), }" % ((rows * pos, 1) if flat else (rows, pos))
head += ' ' * (63 - (10 + len(head)) % 64) + '\n'
open(sys.argv[1], 'wb').write(b'\x93NUMPY\x01\x00' + struct.pack('<H', len(head)) + head.encode() + struct.pack('<%di' % len(v), *v))
PY
}
spec() { # spec NAME FILE ARM
  cat >"$1.route" <<ROUTE
edition 1
param words = [3, 5, 7]
data text {
  source = npy(tok = "$2")
  tokens: int[pos = 6] in 0 ..= 11 = source.tok
}
model {
  x = tokens |> emb: embedding(12, 8)
  h = x |> fc: linear(16) |> relu
  logits = h |> out: linear(12)
}
split h { a = 0 .. 8; b = rest }
route r: gradient of h { when $3 to a; otherwise to b }
loss l = cross_entropy(logits, tokens)
optimize sgd(lr = 0.1) { masked = zero_grad }
train { batch = 16; for = 3 epochs }
ROUTE
}
tokens same.npy same
tokens mixed.npy mixed
for data in same mixed; do
  spec at_$data $data.npy 'tokens in words'
  spec all_$data $data.npy 'tokens[0] in words'
  train at_$data.route at_$data
  train all_$data.route all_$data
done
same_tensors "$(weights_of at_same)" "$(weights_of all_same)"
different_tensors "$(weights_of at_mixed)" "$(weights_of all_mixed)"

# six positions of 16 data are 96 data of one position: the same masks, the same losses but for the order of sums
tokens flat.npy flat
spec flat flat.npy 'tokens in words'
sed -i 's/pos = 6/pos = 1/; s/batch = 16/batch = 96/' flat.route
for kind in flat at_mixed; do
  sed "s/for = 3 epochs/for = 30 epochs; shuffle = false; $every_step/" $kind.route >steps_$kind.route
  train steps_$kind.route steps_$kind
done
near_losses steps_flat steps_at_mixed 1e-4
grep -v '^route' steps_at_mixed.route >steps_none.route
train steps_none.route steps_none
"$python" "$ROUTEC_ROOT/tests/lib/runs.py" near_losses steps_none steps_at_mixed 1e-4 2>/dev/null && fail 'the route changes nothing'

# routes of parameters, alone and beside the other two: the same of each
p='route r: parameters of h { when WHEN to a; otherwise to b + shared }'
a='route q: gradient of x { when WHEN to { lo = 1.0; hi = 0.5 }; otherwise to hi }'
f='route v: value of h { when WHEN to all; otherwise to { a = 0.5; b = 1.0 } }'
routes() { # routes FROM TO WHEN ROUTE...: the spec with these routes
  local from=$1 to=$2 when=$3
  shift 3
  { sed '/^route/d; s/^split h.*/&\nsplit x { lo = 0 .. 3; hi = rest }/' "$from.route"; printf '%s\n' "${@//WHEN/$when}"; } >"$to.route"
}
for which in parameters all_three; do
  set -- "$p"
  [ $which = parameters ] || set -- "$p" "$a" "$f"
  for data in same mixed; do
    routes at_$data p_at_$data 'tokens in words' "$@"
    routes at_$data p_all_$data 'tokens[0] in words' "$@"
    rm -rf p_at_$data p_all_$data
    train p_at_$data.route p_at_$data
    train p_all_$data.route p_all_$data
  done
  same_tensors "$(weights_of p_at_same)" "$(weights_of p_all_same)"
  different_tensors "$(weights_of p_at_mixed)" "$(weights_of p_all_mixed)"
  rm -rf p_flat p_mixed
  routes steps_flat p_flat 'tokens in words' "$@"
  routes steps_at_mixed p_mixed 'tokens in words' "$@"
  train p_flat.route p_flat
  train p_mixed.route p_mixed
  near_losses p_flat p_mixed 1e-4
  "$python" "$ROUTEC_ROOT/tests/lib/runs.py" near_losses steps_none p_mixed 1e-4 2>/dev/null && fail 'the routes change nothing'
done

# what is said about it
expect 0 check at_mixed.route --dump=check
says 'tokens in words: bool[6] for each datum'
expect 0 check all_mixed.route --dump=check
says 'tokens[0] in words: bool for each datum, the same at all positions'

# a class at positions is known at each of them: no datum is both 3 and 5 there
spec two mixed.npy 'tokens == 3'
sed -i 's/when tokens == 3 to a;/when tokens == 3 to a; when tokens == 5 to b;/' two.route
expect 0 check two.route --dump=lower
grep -q '^kinds 0 1 2$' .out || fail 'kinds of two tokens'
pass
# what reads one position is no matter of each
sed 's/when tokens == 3 to a/when tokens[0] == 3 to a/' two.route >open.route
expect 0 check open.route --dump=lower
grep -q '^kinds 0 1 2 3$' .out || fail 'kinds of a position and a datum'
pass
# filters and batches are of data, not of positions
sed 's/train { batch = 16;/class hit = tokens in words\ntrain { batch { size = 16; by_class = [hit, otherwise] };/' at_mixed.route >by.route
expect 1 check by.route
says 'E0430'
echo "$n_checks checks"
