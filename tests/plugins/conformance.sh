#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# `routec plugin check` refuses each plugin of nonconforming/ for its own fault and for nothing else; the message stands in
# the plugin's first line. Plugins that keep the contract pass: the built-in ones.
. "$(dirname "$0")/../lib/cli.sh"
bad="$ROUTEC_ROOT/tests/plugins/nonconforming"
CC=${CC:-cc}
n_bad=0
for source in "$bad"/*.c; do
  name=$(basename "$source" .c)
  "$CC" -std=c11 -O1 -fPIC -shared -fvisibility=hidden -D_GNU_SOURCE -Wall -Wextra -Werror -I"$ROUTEC_ROOT/plugins/abi" -o "$name.so" "$source" -lm ||
    fail "$name does not compile"
  want=$(sed -n '1s|^/\* \(.*\) \*/$|\1|p' "$source")
  check=${want%%: *} message=${want#*: }
  [ -n "$check" ] && [ -n "$message" ] && [ "$message" != "$want" ] || fail "$name.c does not say what is wanted"
  expect 5 plugin check "$name.so"
  says "E0567"
  failed=$(grep -E '^  [a-z.]+ +failed ' "$work/.out" | awk '{ print $1 }')
  [ "$failed" = "$check" ] || fail "$name: the check that failed is \`$failed\`, not \`$check\`"
  says "$message"
  n_bad=$((n_bad + 1))
done
[ $n_bad -ge 20 ] || fail "only $n_bad bad plugins were found"

# as JSON, one op, another seed
expect 5 plugin check wrong_gradient.so --json --seed 7
is_json "$work/.out"
"$python" - "$work/.out" <<'PY' || fail "the JSON report is wrong"
import json, sys
r = json.load(open(sys.argv[1]))
failed = [x for x in r['results'] if x['result'] == 'failed']
assert not r['ok'] and r['failed'] == 1 and [x['check'] for x in failed] == ['span.gradient'], r
assert r['checks'] == len(r['results']) and r['version'] == '1.0.0' and failed[0]['op'] == 'bad'
PY
pass
expect 5 plugin check wrong_gradient.so --op bad
expect 2 plugin check wrong_gradient.so --op bat
says "E0566"
says "did you mean \`bad\`?"

# files that are no plugins
echo nonsense >nonsense.so
expect 5 plugin check nonsense.so
says "E0752"
expect 5 plugin check ./absent.so
says "E0750"
expect 2 plugin check nothing_of_that_name
says "E0565"
expect 2 plugin check
expect 2 plugin check l1 l2
expect 2 plugin chek l1
says "did you mean \`check\`?"

# those that are built in keep the contract
n_good=0
"$ROUTEC" plugin show --json >all.json 2>"$work/.err" || fail "plugin show --json"
for name in $("$python" -c "import json; print(*[p['name'] for p in json.load(open('all.json')) if not p.get('path')])"); do
  expect 0 plugin check "$name"
  says "checks passed"
  n_good=$((n_good + 1))
done
[ $n_good -ge 1 ] || fail "there are no built-in plugins"

# with AddressSanitizer: a heap block of the plugin's own, which no buffer of the checks is near to
cat >heap.c <<'C'
#include "bad.h"
#include <stdlib.h>
static double value(const void *state, const RouteView *x) {
  volatile float *row = calloc(4, sizeof *row);
  if (!row) return 0;
  row[x->cols > 4 ? 4 : 0] = 1; /* one too far */
  free((void *)row);
  return good_value(state, x);
}
static const RouteSpan span = {.size = sizeof span, .value = value, .grad = good_grad};
BAD_PLUGIN(ROUTE_REGULARIZER, ROUTE_EXT_SPAN, span)
C
build() { "$CC" -std=c11 -g -fPIC -shared -fvisibility=hidden -D_GNU_SOURCE -I"$bad" -I"$ROUTEC_ROOT/plugins/abi" -o "$@" -lm; }
build plain.so heap.c || fail "heap.c does not compile"
expect 0 plugin check plain.so --quiet
expect 2 plugin check plain.so --asan
says "E0568"
says "does not ask for the sanitizer"
expect 2 plugin check l1 --asan
says "E0568"
if build asan.so -fsanitize=address heap.c && [ -e "$("$CC" -print-file-name=libasan.so)" ]; then
  expect 5 plugin check asan.so --asan
  says "heap-buffer-overflow"
  sed -i 's/ ? 4 : 0/ ? 3 : 0/' heap.c
  build asan_good.so -fsanitize=address heap.c
  expect 0 plugin check asan_good.so --asan
  says "with AddressSanitizer"
else
  echo "not tested: this compiler has no AddressSanitizer"
fi
echo "$n_checks checks, $n_bad bad plugins, $n_good good ones"
