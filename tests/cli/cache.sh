#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Compiled code is kept between runs: a second start does not load LLVM and gives the same bits; damage, other processes and other
# people's folders harm nothing.
. "$(dirname "$0")/../lib/cli.sh"
tiny spec.route
export XDG_CACHE_HOME=$work/cache
entries() { find "$work/cache/routec" -type f ! -name 'host-*' ! -name 'blas-*' 2>/dev/null | wc -l; }
hit() { grep -q 'from the cache' "$work/.out" "$work/.err"; }
expect 0 run spec.route --run-dir a -v
! hit || fail "an empty cache had something"
[ "$(entries)" = 1 ] || fail "$(entries) entries after a first run"
expect 0 run spec.route --run-dir b -v
hit || fail "the second start compiled again"
same_tensors "$(weights_of a)" "$(weights_of b)"
! ldd "$ROUTEC" | grep -q LLVM || fail "the command is linked with LLVM"
if command -v strace >/dev/null; then
  strace -f -e trace=openat -o trace "$ROUTEC" run spec.route --run-dir s >/dev/null 2>&1
  ! grep -q libLLVM trace || fail "LLVM was opened on a hit"
fi
# what does not change the code finds it, what does does not
expect 0 run spec.route --run-dir c -v --set rate=0.05 --seed 3
hit || fail "run-time params are no part of the code"
expect 0 run spec.route --run-dir d -v --set width=6
! hit || fail "a structural param is part of the code"
expect 0 run spec.route --run-dir e -v --target x86-64-v3
! hit || fail "the target is part of the code"
expect 0 run spec.route --run-dir f -v --no-cache
! hit || fail "--no-cache"
[ "$(entries)" = 3 ] || fail "$(entries) entries, not 3"
# objects that one thread made and those that several made are the same code, and each may run the other's
expect 0 run spec.route --run-dir t1 -v --no-cache --threads 1
grep -q 'objects: 1)' .err || fail "one thread made several objects"
rm -rf cache
expect 0 run spec.route --run-dir t2 -v --threads 3
! hit || fail "an empty cache had something"
grep -q 'objects: [1-3])' .err || fail "how many objects were made is not told"
expect 0 run spec.route --run-dir t3 -v --threads 1
hit || fail "the number of threads is no part of the code"
for t in t1 t2 t3; do same_tensors "$(weights_of a)" "$(weights_of "$t")"; done
# damaged entries are taken away and made again
rm -rf cache
expect 0 run spec.route --run-dir g
entry=$(find cache/routec -type f ! -name 'host-*' ! -name 'blas-*')
size=$(stat -c %s "$entry")
for damage in "truncate -s $((size - 1))" "truncate -s 0" "truncate -s 16" "truncate -s +1" "flip"; do
  if [ "$damage" = flip ]; then printf 'X' | dd of="$entry" bs=1 seek=$((size / 2)) conv=notrunc status=none
  else $damage "$entry"; fi
  rm -rf h
  expect 0 run spec.route --run-dir h -v
  ! hit || fail "a damaged entry was used: $damage"
  same_tensors "$(weights_of a)" "$(weights_of h)"
  [ "$(stat -c %s "$entry")" = "$size" ] || fail "the entry was not made again: $damage"
done
for host in cache/routec/host-*; do truncate -s 7 "$host"; done
rm -rf h
expect 0 run spec.route --run-dir h -v
hit || fail "a damaged host entry"
# many at once, from nothing
rm -rf cache
for i in 1 2 3 4; do "$ROUTEC" run spec.route --run-dir "p$i" --threads 1 >/dev/null 2>&1 & done
wait
for i in 1 2 3 4; do same_tensors "$(weights_of a)" "$(weights_of "p$i")"; done
[ -z "$(find cache -name '*.??????')" ] || fail "temporary files are left"
# a folder that others may write to is not trusted, one that cannot be written does no harm
chmod 777 cache/routec
expect 0 run spec.route --run-dir w -v
! hit || fail "code was taken from a folder that others may write to"
expect 0 doctor
says "no cache"
rm -rf cache; : >cache
expect 0 run spec.route --run-dir n
rm cache
expect 0 run spec.route --run-dir m --dump=llvm
says "define"
