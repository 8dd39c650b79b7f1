#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# bare_root.sh PACKAGE.deb [FOLDER]: as root. Makes a bare Debian 12 in FOLDER (debootstrap; kept for the next time), installs the package,
# a C compiler, cmake, make and pkg-config into it, and nothing else; there, every project that `routec plugin new` writes is built
# and tested, with CMake and with make. The package is made by: cd build && cpack -G DEB
set -eu
deb=$1 root=${2:-bare-root}
[ -x "$root/usr/bin/cmake" ] ||
  debootstrap --variant=minbase --include=gcc,libc6-dev,make,cmake,pkg-config bookworm "$root"
rm -f "$root/etc/apt/sources.list" # this machine's own sources
cp -r /etc/apt/sources.list* "$root/etc/apt/"
cp /etc/resolv.conf "$root/etc/"
cp "$deb" "$root/tmp/routec.deb"
cat >"$root/tmp/inside.sh" <<'INSIDE'
set -eu
export DEBIAN_FRONTEND=noninteractive OPENBLAS_CORETYPE="${OPENBLAS_CORETYPE:-Haswell}"
apt-get update -q >/dev/null
apt-get install -q -y --no-install-recommends /tmp/routec.deb >/tmp/apt.log 2>&1 || { tail /tmp/apt.log; exit 1; }
routec --version
rm -rf /tmp/projects && mkdir /tmp/projects && cd /tmp/projects
for what in regularizer/expr regularizer/span regularizer/reduce gate/expr gate/gate; do
  name=my_${what%/*}_${what#*/}
  routec plugin new "$name" --kind "${what%/*}" --ability "${what#*/}" --quiet
  cmake -S "$name" -B "$name/build" >log 2>&1 && cmake --build "$name/build" >>log 2>&1 && ctest --test-dir "$name/build" >>log 2>&1 || { cat log; exit 1; }
  make -C "$name" test >log2 2>&1 || { cat log2; exit 1; }
  cat log log2 | grep -i warning && exit 1
  echo "$what: $(grep 'checks passed' log2); $(grep '^expect' log2)"
done
INSIDE
unshare --mount sh -c 'mount -t proc proc "$1/proc" || mount --rbind /proc "$1/proc"; chroot "$1" sh /tmp/inside.sh' inside "$root"
echo "built and tested in $root"
