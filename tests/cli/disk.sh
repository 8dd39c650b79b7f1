#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A full disk and an unwritable run folder: exit code 3, a sentence, and earlier checkpoints stay valid.
. "$(dirname "$0")/../lib/cli.sh"
tiny spec.route 'checkpoint { every = 3 steps; keep = 0 }'
expect 3 run spec.route --run-dir /proc/nowhere/run
says "/proc/nowhere/run"
: >file
expect 3 run spec.route --run-dir file/run
if [ "$(id -u)" != 0 ]; then
  mkdir locked && chmod 555 locked
  expect 3 run spec.route --run-dir locked/run
  says "locked/run"
fi
# no file may grow beyond 4 KiB: what a full disk does to checkpoints of a wider net
expect 0 run spec.route --run-dir whole --set width=300
code=0
(ulimit -f 4; trap '' XFSZ; exec "$ROUTEC" run spec.route --run-dir small --set width=300 >"$work/.out" 2>"$work/.err") || code=$?
[ $code = 3 ] || fail "no space for a checkpoint: exit code $code, not 3"
says "cannot write"
[ -z "$(find small -name '*.safetensors' -size -4k 2>/dev/null)" ] || fail "a cut-off checkpoint has its final name"
# a device that is full
if [ -w /dev/full ]; then
  code=0
  "$ROUTEC" plan spec.route >/dev/full 2>"$work/.err" || code=$?
  [ $code != 0 ] || fail "a full disk behind stdout went unnoticed"
  grep -q "standard output" "$work/.err" || fail "a full disk behind stdout was not told"
fi
# a real file system without space, where one may be mounted
mkdir tmpfs
if mount -t tmpfs -o size=64k tmpfs tmpfs 2>/dev/null; then
  code=0
  "$ROUTEC" run spec.route --run-dir tmpfs/run --set width=300 >"$work/.out" 2>"$work/.err" || code=$?
  umount -l tmpfs
  [ $code = 3 ] || fail "full tmpfs: exit code $code, not 3"
  says "cannot write"
else
  echo "(no tmpfs may be mounted here: only the file size limit was tested)"
fi
echo "$n_checks checks"
