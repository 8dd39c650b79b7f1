#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every ```route block of the documentation is accepted as it stands; one marked ```route error CODE gives that code.
# Links lead to files, commands exist, and the language reference tells of every function.
. "$(dirname "$0")/../lib/cli.sh"
cp "$ROUTEC_ROOT/data/digits.csv.gz" .
"$python" - "$ROUTEC_ROOT" <<'PY'
import os, re, sys
# ```route [NAME | error CODE] [+BASE] [=NAME]: BASE is a block of the same page that this one extends
root, n = sys.argv[1], 0
for page in ['README.md'] + sorted('docs/' + f for f in os.listdir(root + '/docs') if f.endswith('.md')):
    text = open(os.path.join(root, page)).read()
    named, stem = {}, page.replace('/', '_').replace('.md', '')
    for m in re.finditer(r'^```route *(.*?)\n(.*?)^```', text, re.M | re.S):
        line = text[:m.start()].count('\n') + 1
        words, body, code = m.group(1).split(), m.group(2), 'ok'
        name = '%03d-%s-line%d' % (n, stem, line)
        if words[:1] == ['error']:
            code, words = words[1], words[2:]
        for w in words:
            if w[0] == '+':
                body = 'edition 1\nextend "%s"\n' % named[w[1:]] + body
            else:
                named[w.lstrip('=')] = name + '.route'
        open(name + '.route', 'w').write(body)
        open(name + '.want', 'w').write(code)
        n += 1
print(n, 'blocks')
assert n >= 10, 'too few examples were found: has the marking changed?'
PY
[ $? = 0 ] || fail "examples could not be extracted"
mkdir data && mv digits.csv.gz data
for f in [0-9]*.route; do
  code=$(cat "${f%.route}.want")
  if [ "$code" = ok ]; then
    expect 0 check "$f"
  else
    case $code in
    E053[0-3]) expect 5 check "$f" ;; # a plugin is refused
    *) expect 1 check "$f" ;;
    esac
    says "$code"
  fi
done
# every function of the language is in its reference
sed -n 's/^BUILTIN(\([a-z0-9_]*\),.*/\1/p' "$ROUTEC_ROOT/compiler/front/builtin.def" >functions
[ "$(wc -l <functions)" -ge 40 ] || fail "too few functions were found in builtin.def"
while read -r word; do
  n_checks=$((n_checks + 1))
  grep -qE "\`$word\(" "$ROUTEC_ROOT/docs/language.md" || fail "docs/language.md does not tell of $word()"
done <functions
# links between pages lead to files that exist
(cd "$ROUTEC_ROOT" && grep -oE '\]\([^)# ]+' README.md CONTRIBUTING.md docs/*.md data/README.md) >links
[ "$(wc -l <links)" -ge 10 ] || fail "too few links were found in the documentation"
while IFS= read -r line; do
  page=${line%%:*} target=${line##*](}
  [[ $target == http* ]] && continue
  n_checks=$((n_checks + 1))
  [ -e "$ROUTEC_ROOT/$(dirname "$page")/$target" ] || fail "$page links to $target, which does not exist"
done <links
# commands that the documentation shows exist
grep -ohE '(^|`|/)routec [a-z]+' "$ROUTEC_ROOT"/README.md "$ROUTEC_ROOT"/docs/*.md | sed 's/.*routec //' | sort -u >commands
[ "$(wc -l <commands)" -ge 8 ] || fail "too few commands were found in the documentation"
while read -r word; do
  expect 0 "$word" --help
done <commands
echo "$n_checks checks"
