# SPDX-License-Identifier: Apache-2.0
"""The split autoencoder against PyTorch: rows 1 to 10 of the paper's table in the digits example, and the narrow net on
MNIST; losses, every gradient and ten steps of Adam from the same weights. The twin's losses are those of the table
(tests/train/torch_twin.py)."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'train'))
import parity  # noqa: E402
import torch_twin  # noqa: E402
from parity import ROOT, TRAIN, torch  # noqa: E402


def spec(example, batch, expects, steps=10):
    """The example for ten steps, without what it expects of a whole run."""
    path = os.path.join(ROOT, 'examples', example)
    return 'edition 1\nextend "%s"\nreplace %s' % (path, TRAIN % (batch, steps)) + 'drop expect\n' * expects


def losses(row):
    return lambda p, x, y: torch_twin.losses(torch, p, row, x, y)


def digits_case(row, batches):
    x, y = parity.digits()
    path = 'table/digits_row%d.route' % row if row > 1 else 'digits_split.route'
    with open(os.path.join(ROOT, 'examples', path)) as f:
        expects = 2 - f.read().count('drop expect') if row > 1 else 2
    failed = False
    for batch in batches:
        steps = parity.Steps(spec(path, batch, expects), seed=3)
        rows = parity.batches(len(x), batch, 3)
        failed |= parity.compare('row %d, batch %d' % (row, batch), steps, lambda t: (x[rows(t)], y[rows(t)]), losses(row), 1e-3,
                                 decay=5e-5)
    return failed


def mnist():
    import gzip
    import struct
    folder = os.path.join(os.environ['ROUTEC_DATA'], 'mnist')

    def read(stem):
        path = os.path.join(folder, stem)
        with (open(path, 'rb') if os.path.exists(path) else gzip.open(path + '.gz', 'rb')) as f:
            blob = f.read()
        dims = struct.unpack('>' + 'I' * blob[3], blob[4:4 + 4 * blob[3]])
        return torch.frombuffer(bytearray(blob[4 + 4 * blob[3]:]), dtype=torch.uint8).view(dims)
    x = read('train-images-idx3-ubyte').flatten(1)
    return x, read('train-labels-idx1-ubyte').long()


def mnist_case():
    if not os.path.isdir(os.path.join(os.environ.get('ROUTEC_DATA', ''), 'mnist')):
        print('(no MNIST in $ROUTEC_DATA: its case is left out)')
        return False
    x, y = mnist()
    steps = parity.Steps(spec('mnist_split_narrow.route', 128, 1), seed=3)
    rows = parity.batches(len(x), 128, 3)
    batch = lambda t: ((x[rows(t)].double() / 255 - 0.5) / 0.5, y[rows(t)])
    # 100,352 absolute errors a step: one or another lies so near 0 that float and double differ in its sign
    return parity.compare('mnist narrow', steps, batch, losses(1), 2e-3, decay=5e-5, gradient_bound=1e-4)


def main():
    failed = False
    for row in torch_twin.ROWS:  # row 1 with a batch that does not divide the data, and a prime one
        failed |= digits_case(row, (64, 61) if row == 1 else (61,))
    failed |= mnist_case()
    return failed


sys.exit(main())
