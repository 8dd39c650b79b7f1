#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# `routec prove`: the table that docs/proof.md explains, JSON, the picture, restrictions, and what it refuses.
. "$(dirname "$0")/../lib/cli.sh"
cd "$ROUTEC_ROOT/examples" || fail "no examples"
expect 0 prove digits_split.route
sed -n '/^```text$/,/^```$/p' "$ROUTEC_ROOT/docs/proof.md" | sed '1d;$d' >"$work/page"
[ "$(wc -l <"$work/page")" -ge 30 ] || fail "docs/proof.md has no table"
diff "$work/page" "$work/.out" >&2 || fail "docs/proof.md shows another table"
pass
# the same table for the full-width split, but for the sizes
sizes='s/^[a-z]*_split: /split: /; s/\[[^]]*\]/[]/g'
sed "$sizes" "$work/.out" >"$work/digits"
expect 0 prove mnist_split.route
sed "$sizes" "$work/.out" | diff "$work/digits" - >&2 || fail "mnist_split.route has another table"
pass
# JSON says the same, and every entry of every parameter is there exactly once
expect 0 prove --json digits_split.route
"$python" - "$work/.out" <<'PY' || fail "JSON"
import collections, json, sys
d = json.load(open(sys.argv[1]))
assert d['classes'] == ['low', 'otherwise']
upper = next(r for r in d['regions'] if r['name'] == 'z.upper.made_by')
got = {(e['class'], e['origin']): e for e in upper['influences']}
assert got['low', 'reconstruction']['influence'] == 'none'
assert got['otherwise', 'reconstruction']['influence'] == 'full'
e = got['low', 'sparse']
assert e['influence'] == 'full' and e['way'] == 'unrouted origin' and e['path'][0]['name'] == 'sparse', e
assert e['path'][-1]['name'] == 'encoder.top.weight' and 'digits_split.route:' in e['path'][-1]['at']
seen = collections.Counter((p['parameter'], p['entries']) for r in d['parameters'] for p in r['parameters'])
assert max(seen.values()) == 1 and len({p for p, _ in seen}) == 23, seen
assert sorted(c for p, c in seen if p == 'encoder.top.weight') == ['[0 .. 8, :]', '[8 .. 16, :]']
PY
pass
expect 0 prove --class low --region z.upper digits_split.route
says "z.upper.made_by"
says_not "z.lower.made_by"
says_not "otherwise"
says_not "all parameters" # there are none of this name
expect 0 prove --class seen --region h.keep sgtm_digits.route
says "none: these data do not change it"
expect 0 prove -v --region encoder.top digits_split.route
says "digits_split.route:41:"
expect 0 prove -q --svg "$work/picture.svg" digits_split.route
"$python" - "$work/picture.svg" <<'PY' || fail "SVG"
import sys, xml.etree.ElementTree as tree
root = tree.parse(sys.argv[1]).getroot()
text = ' '.join(t.text or '' for t in root.iter() if t.tag.endswith('}text'))
for word in ('encoder.top', 'probe_upper.fc1', 'reconstruction', 'low', 'otherwise'):
    assert word in text, word
titles = [t.text for t in root.iter() if t.tag.endswith('}title')]
assert any('weight[8 .. 16, :]' in t and 'low: full, by unrouted origins only' in t for t in titles), titles
PY
pass
expect 0 check --dump=prove --stop-after=prove digits_split.route
says "z.upper.made_by"
# refusals
expect 2 prove --class lov digits_split.route
says "E0610"
says "low"
expect 2 prove --region z.uper digits_split.route
says "E0610"
expect 3 prove -q --svg /no/such/folder/x.svg digits_split.route
says "E0517"
cd "$work" || exit 1
sed "s|../data/|$ROUTEC_ROOT/data/|; /^train/d; /^optimize/d; /^expect/d" "$ROUTEC_ROOT/examples/digits_split.route" >untrained.route
expect 1 prove untrained.route
says "E0603"
# what is forbidden is not proved then, whatever the command
echo 'forbid low to z.upper.made_by' >>untrained.route
expect 1 check untrained.route
says "E0603"
# a forbid that is not proved does not compile, whatever the command
sed "s|../../data/|$ROUTEC_ROOT/data/|" "$ROUTEC_ROOT/tests/prove/skip.route" >skip.route
for command in check plan prove; do
  expect 1 "$command" skip.route
  says "residual skip"
done
# too many combinations of conditions
sed "s|../../data/|$ROUTEC_ROOT/data/|; s/digit = 64,/digit = 64, ink = 63,/; s/^  label: /  ink: int in 0 ..= 9 = source.ink\n&/" \
  "$ROUTEC_ROOT/tests/prove/made_by.fixed.route" >many.route
for i in 0 1 2 3 4 5 6 7 8; do
  printf 'class ink%d = ink == %d\nclass digit%d = label == %d\nforbid ink%d to dec for fit\nforbid digit%d to dec for fit\n' $i $i $i $i $i $i
done >>many.route
expect 1 check many.route
says "E0603"
says "combinations"
echo "$n_checks checks"
