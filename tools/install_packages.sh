#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Debian 12 packages that routec is built and tested with. Does nothing where all of them are installed.
set -eu
packages="build-essential cmake ninja-build pkg-config flex bison llvm-19-dev libopenblas-dev libjansson-dev uthash-dev
libxxhash-dev zlib1g-dev libdeflate-dev libpng-dev libmd-dev"
tests="libcmocka-dev python3 python3-torch libopenblas0-openmp abigail-tools qemu-user"
missing=
for p in $packages $tests; do
  dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
done
[ -z "$missing" ] && exit 0
as_root=
[ "$(id -u)" = 0 ] || as_root=sudo
$as_root env DEBIAN_FRONTEND=noninteractive apt-get update -q
# LLVM 19 is in Debian 12's own archive
# shellcheck disable=SC2086
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing
