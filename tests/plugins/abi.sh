#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The contract may grow and nothing else: a plugin of today, and one of minor version 0, runs in a host whose structs have grown, and abidiff finds no
# change against route_plugin-1.0.abi but fields at the end. BLESS=1 writes that file anew: for a new major version only.
. "$(dirname "$0")/../lib/cli.sh"
here=$ROUTEC_ROOT/tests/plugins header=$ROUTEC_ROOT/plugins/abi/route_plugin.h cc=${CC:-cc}
grows="Host Param Input Op Plugin Expr Span Reduce Key Gate Clock Schedule"

minor=$(sed -n 's/^#define ROUTE_ABI_MINOR \([0-9]*\) .*/\1/p' "$header") next=$((minor + 1))
# grown/route_plugin.h: a field at the end of every struct that carries its size, and the next minor version
mkdir grown
sed "s/^#define ROUTE_ABI_MINOR $minor /#define ROUTE_ABI_MINOR $next /" "$header" >grown/route_plugin.h
for t in $grows; do sed -i "s/^} Route$t;/  double appended[3];\n} Route$t;/" grown/route_plugin.h; done
[ "$(grep -c 'double appended\[3\];' grown/route_plugin.h)" = "$(wc -w <<<"$grows")" ] || fail "not every struct could be grown"
grep -q "ROUTE_ABI_MINOR $next" grown/route_plugin.h || fail "the minor version could not be raised"
# first/route_plugin.h: what was appended since minor version 0 is not there yet
mkdir first
sed "s/^#define ROUTE_ABI_MINOR $minor /#define ROUTE_ABI_MINOR 0 /; /^  \/\* Since minor version 1\. dx/d; /^  void (\*store)/d" "$header" >first/route_plugin.h
grep -q 'ROUTE_ABI_MINOR 0' first/route_plugin.h && ! grep -q '(\*store)' first/route_plugin.h || fail "the first minor version could not be made"
build_host() { # build_host FOLDER_OF_HEADER OUTPUT
  "$cc" -std=gnu11 -D_GNU_SOURCE -Wall -Wextra -Werror -O1 -I"$1" -I"$ROUTEC_ROOT/runtime" "$here/abi_host.c" \
    "$ROUTEC_ROOT"/runtime/{plugin,plugin_verify,plugin_formula,error}.c -o "$2" -ljansson -lmd -ldl -lm -lpthread >log 2>&1 || { cat log; fail "the host does not compile"; }
}
build_plugin() { # build_plugin FOLDER_OF_HEADER OUTPUT
  "$cc" -std=gnu11 -O1 -shared -fPIC -I"$1" "$here/good/every.c" -o "$2" -lm || fail "the plugin does not compile"
}
build_host grown host_grown
build_host "${header%/*}" host_today
build_plugin "${header%/*}" today.so
build_plugin grown grown.so
build_plugin first first.so
for host in host_today host_grown; do
  for so in today first; do
    ./$host ./$so.so >.out 2>.err || fail "$host does not run the plugin \`$so\`"
    pass
  done
done
says "minor 0 of $next"
./host_grown ./today.so >.out 2>.err
says "minor $minor of $next"
! ./host_today ./grown.so >.out 2>.err || fail "a host takes a plugin of a later minor version"
says "\`abi.minor\` is $next, and this routec knows up to $minor"
./host_grown ./grown.so >.out 2>.err || fail "a later host does not run the plugin of its time"
pass

# abidiff
cp "$here/abi_types.c" . # its path is written down
command -v abidiff >/dev/null || skip "abidiff is not installed (abigail-tools)"
types() { # types HEADER NAME: NAME.abi
  mkdir -p "types-$2" && cp "$1" "types-$2/route_plugin.h"
  "$cc" -std=c11 -g -O0 -shared -fPIC -I"types-$2" abi_types.c -o "$2.so" || fail "$2 does not compile"
  abidw --no-corpus-path --no-show-locs --no-comp-dir-path "$2.so" >"$2.abi" || fail "abidw"
}
# same NAME: abidiff tells of nothing but fields behind the end of structs that may grow
same() {
  abidiff --harmless --leaf-changes-only --no-default-suppression "$here/route_plugin-1.0.abi" "$1.abi" >.out 2>.err && return 0
  GROWS=$grows "$python" - .out <<'PY'
import os, re, sys
end = None
for line in open(sys.argv[1]).read().split('Changed, 0 Added variable\n', 1)[-1].splitlines():
    struct = re.match(r"'struct Route(\w+)' changed:$", line)
    size = re.match(r'  type size changed from (\d+) to \d+ \(in bits\)$', line)
    field = re.match(r"    '.*', at offset (\d+) \(in bits\)$", line)
    if struct:
        sys.exit(1) if struct[1] not in os.environ['GROWS'].split() else None
        end = None
    elif size:
        end = int(size[1])
    elif field and end is not None and int(field[1]) >= end:
        pass
    elif line and not re.match(r'  \d+ data member insertions?:$', line):
        sys.exit(1)
sys.exit(0 if end else 1)
PY
}
types "$header" today
[ -z "${BLESS:-}" ] || cp today.abi "$here/route_plugin-1.0.abi"
same today || fail "the contract has changed; what was said is above"
types first/route_plugin.h first
abidiff --harmless --leaf-changes-only --no-default-suppression "$here/route_plugin-1.0.abi" first.abi >.out 2>.err || fail "minor version 0 is not what it was"
pass
types grown/route_plugin.h grown
same grown || fail "appended fields are taken for a change"
# changes that must be found
changed() { # changed NAME SED_SCRIPT
  sed "$2" "$header" >changed.h
  ! cmp -s changed.h "$header" || fail "$1: nothing was changed"
  types changed.h "changed_$1"
  ! same "changed_$1" || fail "$1: abidiff does not find it"
  pass
}
changed removed '/^  size_t rows, cols, ld;/s/, ld//'
changed swapped 's/^  const char \*name, \*version, \*license;/  const char *version, *name, *license;/'
changed inserted 's/^  double (\*value)(const void \*state, const RouteView \*x);/  void *more;\n&/'
changed retyped 's/^  int64_t step;/  int32_t step, step2;/'
changed renumbered 's/^  ROUTE_X_INPUT,/  ROUTE_X_MORE, ROUTE_X_INPUT,/'
changed abi 's/^  uint32_t sizeof_ptr, sizeof_real, align_real;/  uint32_t sizeof_ptr, sizeof_real, align_real, more;/'
changed argument 's/float scale, float \*dx, size_t ldd);/double scale, float *dx, size_t ldd);/'
echo "$n_checks checks"
