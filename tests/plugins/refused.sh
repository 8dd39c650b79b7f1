#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Plugins that must be refused: bad/NAME.route is checked (run, if its third line says so), the exit code is 5, and what is said is
# bad/NAME.out. BLESS=1 rewrites the expectations. BAD_PLUGINS is the folder of the shared objects that bad/*.c become.
. "$(dirname "$0")/../lib/cli.sh"
bad=$ROUTEC_ROOT/tests/plugins/bad
cp "$bad"/*.route "$BAD_PLUGINS"/*.so .
echo "this is no shared object" >text.so
"$python" -c 'for i in range(32): print(",".join(str((i * 7 + j * 3) % 5 / 5) for j in range(6)), i % 4, sep=",")' >points.csv
unset ROUTEC_PLUGIN_PATH
n=0
for out in *.route; do
  name=${out%.route}
  [ "$name" = base ] && continue
  if [ -n "${ROUTEC_SANITIZE:-}" ] && grep -q E0763 "$bad/$name.out"; then # signals are the sanitizer's
    echo "left out in a build with sanitizers: $name"
    continue
  fi
  command=check
  [ "$(sed -n 3p "$name.route")" = "# run" ] && command="run --quiet --run-dir run-$name"
  # shellcheck disable=SC2086
  expect 5 $command "$name.route"
  cat .out .err | sed -E "s#$PWD#HERE#g; s#[^ \`]*/routec/plugins#LIB#g; s/SHA-256 [0-9a-f]{64}/SHA-256 .../" | uniq >"$name.got"
  if [ -n "${BLESS:-}" ]; then cp "$name.got" "$bad/$name.out"; fi
  diff -u "$bad/$name.out" "$name.got" || fail "$name is not refused as expected"
  n=$((n + 1))
done
# the same as JSON, of routec and of a trainer: what crashes in a step, and what crashes while an op is made
crash_json() { # crash_json: the last command's lines, one of which tells of the crash
  is_json "$work/.out" lines
  "$python" - <<'PY' || fail "no crash in JSON"
import json
lines = [json.loads(l) for l in open('.out') if l.strip()]
e = lines[-1]
assert (e['level'], e['code']) == ('error', 'E0763'), e
assert e['message'].startswith('op `bad` of a plugin crashed: signal SIG'), e
PY
  [ ! -s .err ] || fail "a crash under --json is told as text too"
  pass
}
crashes='step_crashes create_crashes'
[ -z "${ROUTEC_SANITIZE:-}" ] || crashes=
for name in $crashes; do
  expect 5 run "$name.route" --json --run-dir "json-$name"
  crash_json
  expect 0 build "$name.route" -o "trainer-$name"
  got=0
  "./trainer-$name" run --json --threads 2 --run-dir "there-$name" >.out 2>.err || got=$?
  [ "$got" = 5 ] || fail "trainer of $name: exit code $got"
  crash_json
done
[ "$n" -ge 25 ] || fail "too few refusals were tried"
# what is sound is loaded, by every way of finding it
printf 'edition 1\nextend "base.route"\nplugin bad { version = "^1.2"; sha256 = "%s" }\nregularize r = bad(z)\n' \
  "$(sha256sum <sound.so | cut -c1-64)" >good.route
expect 5 check good.route
says "cannot find the plugin"
mkdir -p here there && cp sound.so here/bad.so
expect 0 check good.route --plugin-path "there:here"
ROUTEC_PLUGIN_PATH=there:$PWD/here expect 0 check good.route
mv here/bad.so libbad.so
expect 0 check good.route
# not hashed for minutes
truncate -s 3G libhuge.so
printf 'edition 1\nextend "base.route"\nplugin huge\nregularize r = huge(z)\n' >huge.route
expect 5 check huge.route
says "larger than 1 GiB"
rm libhuge.so
# declarations in files that are used or extended
printf 'edition 1\nplugin bad { version = "^1" }\nplugin l1\ndef penalty(v) = bad(v) + bad.bad(v)\n' >lib.route
printf 'edition 1\nextend "base.route"\nuse "lib.route" as lib\nregularize r = lib.bad(z) + lib.penalty(z) + lib.l1.l1_sum(z)\n' >user.route
expect 0 check user.route
printf 'edition 1\nextend "good.route"\nreplace bad.version = "^2"\nreplace bad.sha256 = "%064d"\n' 0 >variant.route
expect 5 check variant.route
says "variant.route:4"
printf 'edition 1\nextend "good.route"\nreplace plugin bad { version = "^2" }\n' >variant.route
expect 5 check variant.route
says "E0533"
printf 'edition 1\nextend "good.route"\ndrop bad\n' >variant.route
expect 1 check variant.route
says "unknown function or module \`bad\`"
echo >>libbad.so # the same program, another file
expect 5 check good.route
says "E0532"
# a folder that is listed may hold anything: each file has its line, and what is no plugin is not loaded
mkdir shelf && cp sound.so signal.so shelf/ && cd shelf || fail "no folder"
printf '#include <stdio.h>\n__attribute__((constructor)) static void told(void) { fclose(fopen("loaded", "w")); }\n' >library.c
${CC:-cc} -shared -fPIC -o library.so library.c || fail "library.c"
ln -s nowhere.so dangling.so
for json in "" --json; do
  # shellcheck disable=SC2086
  expect 0 plugin show $json
  says "No such file or directory"
  says "ended with signal"
  says "it does not have route_plugin_v1"
  says "1.2.3"
  [ ! -e loaded ] || fail "a library that is no plugin was loaded"
done
is_json "$work/.out"
cd ..
echo "$n_checks checks"
