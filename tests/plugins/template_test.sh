#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# routec is installed into a prefix of its own; there, every project that `routec plugin new` writes builds without a warning, with
# find_package and with pkg-config, and passes its own test. Nothing but the prefix is used: not the sources, not the build.
: "${ROUTEC_BUILD:?the build folder}"
. "$(dirname "$0")/../lib/cli.sh"
cmake --install "$ROUTEC_BUILD" --prefix "$work/prefix" >install.log 2>&1 || fail "cmake --install: $(tail -3 install.log)"
ROUTEC=$work/prefix/bin/routec
for f in include/route_plugin.h bin/routec; do [ -e "prefix/$f" ] || fail "there is no $f in the installation"; done
[ "$(find prefix -name route_plugin.h | wc -l)" = 1 ] || fail "the header is installed more than once"
pc=$(dirname "$(find "$work/prefix" -name routec.pc)")
export PKG_CONFIG_PATH=$pc
[ "$(pkg-config --variable=routec routec)" -ef "$ROUTEC" ] || fail "routec.pc does not say where routec is"

warnings() { grep -iE 'warning' "$1" | head -3; }
project() { # project KIND ABILITY
  local name=my_$1_$2
  expect 0 plugin new "$name" --kind "$1" --ability "$2"
  says "cmake -S . -B build"
  cmake -S "$name" -B "$name/build" -DCMAKE_PREFIX_PATH="$work/prefix" >cmake.log 2>&1 || fail "$name: cmake: $(tail -5 cmake.log)"
  cmake --build "$name/build" >build.log 2>&1 || fail "$name: cmake --build: $(tail -5 build.log)"
  [ -z "$(warnings build.log)" ] || fail "$name: $(warnings build.log)"
  ctest --test-dir "$name/build" --output-on-failure >ctest.log 2>&1 || fail "$name: ctest: $(tail -25 ctest.log)"
  grep -q '100% tests passed, 0 tests failed out of 1' ctest.log || fail "$name: ctest ran no test"
  make -C "$name" test >make.log 2>&1 || fail "$name: make test: $(tail -25 make.log)"
  [ -z "$(warnings make.log)" ] || fail "$name: $(warnings make.log)"
  grep -q 'checks passed' make.log && grep -q 'expect test.error < 0.5: pass' make.log || fail "$name: its test tests nothing: $(tail -5 make.log)"
  n_checks=$((n_checks + 6))
}
for ability in expr span reduce; do project regularizer $ability; done
for ability in expr gate; do project gate $ability; done

# what show says is what was written
expect 0 plugin show my_gate_gate/build/my_gate_gate.so
says "my_gate_gate 0.1.0, license unspecified, ABI 1."
says "$(sha256sum my_gate_gate/build/my_gate_gate.so | cut -d' ' -f1)"
says "my_gate_gate(scores, temperature = 1)"
says "number, 0.01 to 1e+06, default 1"
expect 0 plugin show my_regularizer_span/my_regularizer_span.so my_regularizer_span --json
is_json "$work/.out"
expect 2 plugin show my_gate_gate/build/my_gate_gate.so my_gate
says "E0566"
expect 0 plugin show --plugin-path "$work/my_regularizer_expr:$work/my_gate_expr"
says "my_regularizer_expr 0.1.0"
says "my_gate_expr 0.1.0"

# a formula is inlined: the specification's program calls nothing of the plugin
cd my_regularizer_expr || fail "no folder"
expect 0 plan my_regularizer_expr.route
expect 0 check my_regularizer_expr.route --dump=lower
says_not " call "
cd ..

# names and folders that cannot be
expect 2 plugin new my_gate_expr
says "E0562"
for name in l1_norm softmax scores points 9lives Ortho a-b 'a b' ../up "" way_too_long_for_a_name_way_too_long_for_a_name; do
  expect 2 plugin new "$name"
  says "E0561"
  [ ! -e "$name" ] || [ -z "$name" ] || fail "a folder was made for $name"
done
# but a name may be that of a target of every build
expect 0 plugin new all
cmake -S all -B all/build -DCMAKE_PREFIX_PATH="$work/prefix" >cmake.log 2>&1 || fail "all: cmake: $(tail -5 cmake.log)"
cmake --build all/build >build.log 2>&1 && [ -f all/build/all.so ] || fail "all: cmake --build: $(tail -5 build.log)"
expect 0 check all/all.route --plugin-path all/build
# what one of the commands would ignore
expect 2 plugin new other --asan
says "E0503"
expect 2 plugin show l1 --op l1
says "no effect on \`routec plugin show\`"
expect 2 plugin check l1 --kind gate
says "E0503"
expect 0 help plugin
says "check NAME|FILE.so"
expect 2 plugin new other --kind gat
says "E0564"
says "did you mean \`gate\`?"
expect 2 plugin new other --ability spam
says "E0563"
says "did you mean \`span\`?"
expect 2 plugin new other --kind gate --ability span
says "E0563"
[ ! -e other ] || fail "a refused project left a folder"
mkdir closed && chmod a-w closed
if [ "$(id -u)" != 0 ]; then
  cd closed && expect 3 plugin new other && says "E0562"
fi
echo "$n_checks checks"
