#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# --target: code for a level of x86-64 runs on CPUs that have it, and is refused by others before its first instruction. The CPUs
# are those that QEMU's user mode emulates: of another instruction the process dies by SIGILL.
. "$(dirname "$0")/../lib/cli.sh"
tiny spec.route
expect 2 run spec.route --target x86-64-v5
says "E0510"
[ -z "${ROUTEC_SANITIZE:-}" ] || skip "a build with sanitizers does not run in the emulator"
command -v qemu-x86_64 >/dev/null || skip "needs qemu-x86_64 (Debian: qemu-user)"
# on CPU WANT COMMAND...: its exit code there
on() {
  local cpu=$1 want=$2 got=0
  shift 2
  qemu-x86_64 -cpu "$cpu" "$@" >.out 2>.err </dev/null || got=$?
  [ "$got" = "$want" ] || fail "$* on $cpu: exit code $got, not $want"
  pass
}
# AVX2 and FMA, no AVX-512; SSE4.2 and nothing behind
with_avx2=Haswell,-invpcid,-rtm,-hle with_sse=Nehalem
expect 0 run spec.route --run-dir here
for level in 2 3 4; do
  expect 0 build spec.route --target "x86-64-v$level" -o "trainer$level"
  expect 0 run spec.route --target "x86-64-v$level" --run-dir "here$level"
done
for level in 2 3; do
  on $with_avx2 0 "$ROUTEC" run spec.route --target "x86-64-v$level" --threads 1 --run-dir "avx2_$level"
  same_tensors "$(weights_of "here$level")" "$(weights_of "avx2_$level")"
  on $with_avx2 0 "./trainer$level" --threads 2 --run-dir "avx2_trainer_$level"
  same_tensors "$(weights_of "here$level")" "$(weights_of "avx2_trainer_$level")"
done
same_tensors "$(weights_of here4)" "$(weights_of avx2_3)"
OPENBLAS_CORETYPE= on $with_sse 0 ./trainer2 --threads 1 --run-dir sse_trainer_2
refused() { # refused CPU FEATURE COMMAND...: with code and name, and without a folder
  local cpu=$1 feature=$2
  shift 2
  on "$cpu" 3 "$@" --threads 1
  says "E0735"
  says "it lacks $feature"
}
refused $with_avx2 avx512f "$ROUTEC" run spec.route --target x86-64-v4 --run-dir nothing
refused $with_sse avx "$ROUTEC" run spec.route --target x86-64-v3 --run-dir nothing
refused $with_avx2 avx512f "$ROUTEC" grad spec.route --target x86-64-v4
refused $with_avx2 avx512f "$ROUTEC" eval spec.route --target x86-64-v4 --checkpoint "$(weights_of here)"
refused $with_avx2 avx512f "$ROUTEC" plan --measure spec.route --target x86-64-v4
refused $with_avx2 avx512f ./trainer4 run --run-dir nothing
refused $with_sse avx ./trainer3 run --run-dir nothing
refused $with_avx2 avx512f ./trainer4 eval "$(weights_of here)"
expect 0 run spec.route --run-dir part --steps 9
refused $with_avx2 avx512f "$ROUTEC" resume part --target x86-64-v4
refused $with_avx2 avx512f ./trainer4 resume part
on $with_avx2 3 ./trainer4 run --run-dir nothing --json
is_json .out lines
says '"code":"E0735"'
[ ! -e nothing ] || fail "a refused run made a folder"
on $with_avx2 0 ./trainer4 --help
on $with_avx2 0 ./trainer4 --version
says "target: x86-64-v4"
# what is only looked at, or built for another machine, needs no such CPU
on $with_sse 0 "$ROUTEC" plan spec.route --target x86-64-v4
on $with_sse 0 "$ROUTEC" build spec.route --target x86-64-v4 -o from_there
cmp -s from_there trainer4 || ./from_there --run-dir from_there_run >.out 2>.err || fail "a trainer that was built elsewhere"
# native code of one CPU is not that of another, also through the cache
on $with_avx2 0 "$ROUTEC" run spec.route --threads 1 --run-dir native
same_tensors "$(weights_of here3)" "$(weights_of native)"
echo "$n_checks checks"
