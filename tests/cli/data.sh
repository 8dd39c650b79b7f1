#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Data files that are missing, cut off, too long, of the wrong kind or at odds with the spec: exit code 3 and a message
# that names the file; nothing is trained on.
. "$(dirname "$0")/../lib/cli.sh"
tiny spec.route
broken() { # broken TEXT: the run fails and says TEXT
  rm -rf r
  expect 3 run spec.route --run-dir r
  says "$1"
}
cp tiny.csv good.csv
rm tiny.csv;                                       broken tiny.csv
: >tiny.csv;                                       broken tiny
head -c 100 good.csv >tiny.csv;                    broken tiny
sed '7s/,[^,]*$//' good.csv >tiny.csv;             broken tiny.csv:7
sed '9s/^[^,]*/wrong/' good.csv >tiny.csv;         broken tiny.csv:9
sed '11s/[0-9]*$/7/' good.csv >tiny.csv;           broken "0 ..= 3"
sed '12s/[0-9]*$/1.5/' good.csv >tiny.csv;         broken y
head -c 3000 /dev/urandom >tiny.csv;               broken tiny
rm tiny.csv; mkdir tiny.csv;                       broken tiny.csv
rmdir tiny.csv; cp good.csv tiny.csv; chmod 000 tiny.csv
[ "$(id -u)" = 0 ] || broken tiny.csv
chmod 644 tiny.csv

# MNIST: IDX files, plain and compressed
"$python" - <<'PY'
import gzip, os, struct
os.makedirs('d/mnist')
def idx(name, dims, fill):
    n = 1
    for x in dims: n *= x
    body = bytes((i * 7 + fill) % 10 for i in range(n))
    with gzip.open(f'd/mnist/{name}.gz', 'wb') as f:
        f.write(struct.pack('>BBBB' + 'I' * len(dims), 0, 0, 8, len(dims), *dims) + body)
for part, n in (('train', 300), ('t10k', 40)):
    idx(part + '-images-idx3-ubyte', (n, 28, 28), 1)
    idx(part + '-labels-idx1-ubyte', (n,), 3)
PY
spec=$ROUTEC_ROOT/examples/mnist_split_narrow.route
small="--set wide=8 --set middle=6 --set latent=4 --set rows=32 --data d"
rm -rf r; "$ROUTEC" run "$spec" $small --set 'length=1 epochs' --run-dir r >"$work/.out" 2>"$work/.err"
code=$?
[ $code = 0 ] || [ $code = 4 ] || fail "small IDX files: $code"
images=d/mnist/train-images-idx3-ubyte.gz
cp $images images.gz
idx_broken() {
  rm -rf r
  expect 3 run "$spec" $small --set 'length=1 epochs' --run-dir r
  says "$1"
  cp images.gz $images
}
head -c 500 images.gz >$images;                                         idx_broken train-images
zcat images.gz | head -c 5000 | gzip >$images;                          idx_broken train-images
(zcat images.gz; echo more) | gzip >$images;                            idx_broken train-images
(printf '\0\0\x0d\x03'; zcat images.gz | tail -c +5) | gzip >$images;   idx_broken train-images
(printf 'PNG!'; zcat images.gz | tail -c +5) | gzip >$images;           idx_broken train-images
(printf '\0\0\x08\x03\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff') | gzip >$images; idx_broken train-images
: >$images;                                                             idx_broken train-images
rm $images;                                                             idx_broken train-images
zcat d/mnist/t10k-labels-idx1-ubyte.gz | gzip >d/mnist/train-labels-idx1-ubyte.gz; idx_broken "rows"
rm -rf r
expect 3 run "$spec" $small --data nowhere --run-dir r
says nowhere
echo "$n_checks checks"
