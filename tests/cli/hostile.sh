#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Texts that no one should write: each gives diagnostics and exit code 1, within seconds.
. "$(dirname "$0")/../lib/cli.sh"
refused() { # refused FILE
  local got=0
  timeout 60 "$ROUTEC" check "$1" >"$work/.out" 2>"$work/.err" || got=$?
  [ $got = 1 ] || fail "$1: exit code $got, not 1"
  grep -q '^error' "$work/.err" || fail "$1: no error was printed"
  pass
}
expect 1 check nowhere.route
says "nowhere.route"
mkdir folder.route
refused folder.route
: >empty.route
refused empty.route
printf '\0\0\0\0' >nul.route
refused nul.route
printf '\xef\xbb\xbfedition' >bom.route
refused bom.route
"$python" - <<'PY'
import random
random.seed(1)
for k in range(40):
    with open(f'random{k}.route', 'wb') as f:
        f.write(bytes(random.randrange(256) for _ in range(random.choice([10, 300, 5000]))))
words = 'edition 1 param data module model split class route loss { } ( ) [ ] = : ; , . .. ..= |> -> "x" 1 2.5 z \n and or not if then else gradient of when to otherwise'.split(' ')
for k in range(60):
    with open(f'words{k}.route', 'w') as f:
        f.write('edition 1\n' + ' '.join(random.choice(words) for _ in range(400)))
with open('long_valid.route', 'w') as f:      # 10 MB that are sound
    f.write('edition 1\n')
    n = 0
    while f.tell() < 10 << 20:
        f.write(f'def f{n}(x) = x * {n} + 1  # a comment that fills the line with some more bytes\n')
        n += 1
with open('long_line.route', 'w') as f:       # 10 MB in one expression
    f.write('edition 1\nparam a: real = 1' + ' + 1' * 2500000 + '\nnonsense\n')
with open('long_name.route', 'w') as f:
    f.write('edition 1\nparam ' + 'a' * (10 << 20) + '\n')
for name, o, c in (('paren', '(', ')'), ('bracket', '[', ']'), ('brace', '{ a ', '}'), ('minus', '-', ''), ('not', 'not ', ''),
                   ('if', 'if 1 then 2 else ', ''), ('call', 'f(', ')')):
    with open(f'deep_{name}.route', 'w') as f:
        f.write('edition 1\nparam a = ' + o * 200000 + '1' + c * 200000 + '\n')
    with open(f'deep_open_{name}.route', 'w') as f:
        f.write('edition 1\nparam a = ' + o * 200000)
with open('members.route', 'w') as f:
    f.write('edition 1\nloss l = a' + '.b' * 200000 + '\n')
with open('pipes.route', 'w') as f:
    f.write('edition 1\nloss l = a' + ' |> f' * 200000 + '\n')
PY
for f in random*.route words*.route long_line.route long_name.route deep_*.route members.route pipes.route; do refused "$f"; done
got=0
timeout 60 "$ROUTEC" check long_valid.route >"$work/.out" 2>"$work/.err" || got=$?
[ $got -le 1 ] || fail "10 MB of definitions: exit code $got"
timeout 60 "$ROUTEC" fmt long_valid.route >"$work/.out" 2>"$work/.err" || fail "10 MB of definitions cannot be formatted"
# every prefix of an example: an error or a spec, never a crash
"$python" - <<'PY' >/dev/null
import os
text = open(os.environ['ROUTEC_ROOT'] + '/examples/digits_split.route').read()
for i in range(900, len(text), 61):
    open(f'prefix{i}.route', 'w').write(text[:i])
PY
for f in prefix*.route; do
  got=0
  timeout 20 "$ROUTEC" check "$f" >"$work/.out" 2>"$work/.err" || got=$?
  [ $got -le 1 ] || fail "$f: exit code $got"
  pass
done
echo "$n_checks checks"
