#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# docs/plugin-guide.md, followed to the letter in an installation: each block of commands is run where the page is read, and what it
# shows is what comes.
#   ```sh           runs in one shell after the other, in the folder where the last one ended; must succeed
#   ```sh fails     the last command must fail
#   ```out          lines that the block of commands before it printed, in this order
#   ```c            stands in the project's C file;  ```c code  replaces the formula there
#   ```spec FILE    is written to FILE
: "${ROUTEC_BUILD:?the build folder}"
. "$(dirname "$0")/../lib/cli.sh"
cmake --install "$ROUTEC_BUILD" --prefix "$work/prefix" >install.log 2>&1 || fail "cmake --install: $(tail -3 install.log)"
export PATH="$work/prefix/bin:$PATH" CMAKE_PREFIX_PATH="$work/prefix" PKG_CONFIG_PATH="$work/prefix/lib/pkgconfig"
mkdir guide
"$python" - "$ROUTEC_ROOT/docs/plugin-guide.md" guide <<'PY' || fail "the guide does not say what happens"
import os, random, re, subprocess, sys
page, here = open(sys.argv[1]).read(), os.path.abspath(sys.argv[2])
where = here + '.where'
random.seed(1)
points = []
for _ in range(256):
    a, b = random.uniform(-1, 1), random.uniform(-1, 1)
    points.append('%.4f,%.4f,%d\n' % (a, b, a > b))
output, run = '', {}
for m in re.finditer(r'^```([a-z]+)(?: +(.*?))?\n(.*?)^```$', page, re.M | re.S):
    kind, what, body = m.group(1), m.group(2), m.group(3)
    line = page[:m.start()].count('\n') + 1
    run[kind] = run.get(kind, 0) + 1
    source = os.path.join(here, os.path.basename(here) + '.c')
    if kind == 'sh':
        done = subprocess.run(['bash', '-c', 'trap \'c=$?; pwd >"$WHERE"; exit $c\' EXIT\nset -e\n' + body], cwd=here, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, env=dict(os.environ, WHERE=where))
        output = done.stdout
        here = open(where).read().strip()
        assert (done.returncode != 0) == (what == 'fails'), 'line %d: exit code %d\n%s' % (line, done.returncode, output)
        assert what != 'fails' or 'did you mean `knee`' in output, output
    elif kind == 'out':
        at = 0
        for wanted in body.splitlines():
            found = output.find(wanted, at)
            assert found >= 0, 'line %d: not in the output: %r\n%s' % (line, wanted, output)
            at = found + len(wanted)
    elif kind == 'c' and what == 'code':
        text = open(source).read()
        new = re.sub(r'static const RouteInsn code\[\] = \{.*?ROUTE_X_END, 0, 0\}\};\n', lambda _: body, text, flags=re.S)
        assert new != text, 'line %d: the formula is not where it was' % line
        open(source, 'w').write(new)
    elif kind == 'c':
        assert body in open(source).read(), 'line %d: not in %s' % (line, source)
    elif kind == 'spec':
        open(os.path.join(here, what), 'w').write(body)
        open(os.path.join(here, 'points.csv'), 'w').write(''.join(points))
        subprocess.run(['routec', 'run', what, '--quiet', '--threads', '1', '--run-dir', 'use-run'], cwd=here, check=True)
    else:
        assert kind == 'route', 'line %d: what is ```%s?' % (line, kind) # tests/cli/docs.sh checks those
print(run)
assert run["sh"] >= 8 and run['out'] >= 2 and run['spec'] >= 1 and run['c'] >= 2
PY
pass
echo "$n_checks checks"
