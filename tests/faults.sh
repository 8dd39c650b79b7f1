#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The tests of the tests: faults that the compiler can inject into itself (compiler/fault.h, build option ROUTEC_FAULTS),
# each with the test that must catch it. A test counts as catching a fault if it passes without and fails with it.
# Run in a build with the option: ROUTEC_BUILD=build-faults tests/faults.sh [FAULT ...]
set -u
: "${ROUTEC_BUILD:?folder of a build with ROUTEC_FAULTS=ON}" "${ROUTEC_ROOT:=$(cd "$(dirname "$0")/.." && pwd)}"
IFS= read -rd '' faults <<'LIST'
drop-mask              train.hand_example    a route that is parsed, checked, and never applied
forget-mask            train.audit           masks are lost behind the proof: it says none, the code does not
swap-arms              parity.routes         each datum takes the arm of the other class
shift-label            parity.split          `in 0 ..= 4` leaves out 4
shift-split            train.hand_example    parts are one unit off
fraction-as-one        train.hand_example    weights other than 0 and 1 become 1
mask-multiplies        train.masks           0 times NaN instead of 0
route-regularizers     parity.split          routes also mask what says `unrouted`
stop-leaks             train.certificates    certificates move the model
lose-second-use        parity.split          a value that is read twice gets one of its gradients
relu-passes            parity.split          relu lets every gradient through
sub-sign               parity.layers         the second operand of - gets the wrong sign
skip-bias              parity.layers         a linear layer without its bias
biased-deviation       parity.split          correlation divides by n instead of n - 1
mean-over-batch        parity.split          a group mean divides by the batch
no-bias-correction     parity.routes         Adam without its corrections
swap-betas             parity.routes         Adam with its coefficients exchanged
no-decay               parity.routes         weight decay is forgotten
decay-leaks            train.masks           weight decay moves what is frozen
never-freeze           train.masks           policies are ignored
init-fan-out           train.initial         initial values by the wrong fan
dropout-in-evaluation  train.initial         evaluations drop values too
proof-forgets-content  prove.exchange     the proof forgets one kind of data
proof-keeps-positions  unit.check_zoo     the proof takes positions for apart that an operation mixes
proof-forgets-terms    prove.exchange     terms at positions that are not masked count as none
proof-takes-open-for-closed unit.check_zoo the proof takes a factor that may be 0 for 0
count-all-dropouts     train.probes          draws depend on what else is declared
probes-clip            train.probes          a probe takes part in the clipping of the model
probes-group           train.probes          a probe has a say in how rows are grouped
classes-overlap        parity.origins        a term belongs to two origins of its loss
gate-as-it-is          train.gates_hand      what a gate puts in the place of its weights is not there
gate-loss-behind-policy train.gates_hand     a gate's own loss reads what stands in the place of its weights
ablate-nothing         train.ablate          parts that are ablated stay
swap-operands          parity.routes         a - b computes b - a
pack-sums              train.select_pack     sums over packed rows, whose order depends on which rows they are
pack-forgets-reader    train.select_pack     a value is computed for the rows of one of its readers only
tail-short             cli.run               the last lane of a run-time tail is lost
constant-tail-short    parity.routes         the last lane of a constant tail is lost
gemm-short             parity.layers         a product leaves out the last of its sum
overlap-buffers        cli.examples          two live buffers share memory
short-floats           cli.build             a trainer is built with rounded constants
lose-group             unit.llvm_group       sums over the batch leave out the last group of rows
own-copy-in-part       unit.llvm_step        a thread makes only its share of what all of them make
row-set-from-0         unit.llvm_group       a row set is read from the first row of the batch
LIST
test_passes() { ctest --test-dir "$ROUTEC_BUILD" -R "^$1\$" --no-tests=error >/dev/null 2>&1; }

listed=$(awk 'NF {print $1}' <<<"$faults" | sort)
there=$(grep -rhoE 'fault\("[a-z0-9-]+"\)' "$ROUTEC_ROOT/compiler" --include='*.c' | sed 's/.*"\(.*\)".*/\1/' | sort -u)
if [ "$listed" != "$there" ]; then
  echo "faults in the list and in the code differ:" >&2
  diff <(echo "$listed") <(echo "$there") >&2
  exit 1
fi
[ "$(wc -l <<<"$there")" -ge 20 ] || { echo "fewer than twenty faults" >&2; exit 1; }

failed=0
unset ROUTEC_FAULT
wanted=" $* "
for test in $(awk 'NF {print $2}' <<<"$faults" | sort -u); do
  test_passes "$test" || { echo "$test fails without any fault" >&2; failed=1; }
done
while read -r name test what; do
  [ -n "$name" ] || continue
  [ $# = 0 ] || [[ $wanted == *" $name "* ]] || continue
  if ROUTEC_FAULT=$name test_passes "$test"; then
    echo "NOT CAUGHT: $name by $test ($what)"
    failed=1
  else
    echo "caught: $name by $test ($what)"
  fi
done <<<"$faults"
exit $failed
