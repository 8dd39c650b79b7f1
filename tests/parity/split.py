# SPDX-License-Identifier: Apache-2.0
"""The split autoencoder against PyTorch: rows 1 (routed), 9 (unrouted), 5 (a decoder a class) of the digits example,
and the narrow net on MNIST; losses, every gradient and ten steps of Adam from the same weights."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
import parity  # noqa: E402
from parity import ROOT, TRAIN, class_mean, correlation, mask, mlp, torch  # noqa: E402

LAYERS = ('fc1', 'fc2', 'top')


def losses(p, x, y, routed=True, separate=False, regularized=True):
    z = mlp(p, 'encoder', x, LAYERS)
    half = z.shape[1] // 2
    low = y <= 4
    lower = torch.arange(z.shape[1]) < half
    seen = mask(z, low[:, None] == lower[None, :]) if routed else z
    error = lambda decoder, code: (mlp(p, decoder, code, LAYERS) - x).abs().mean(1)
    out = {}
    if separate:
        out['reconstruction_low'] = class_mean(error('decode_low', seen), low.double())
        out['reconstruction_high'] = class_mean(error('decode_high', seen), (~low).double())
    else:
        e = error('decoder', seen)
        out['reconstruction'] = class_mean(e, low.double()) + class_mean(e, (~low).double())
    detached = z.detach()
    out['certificates'] = error('probe_lower', detached[:, :half]).mean() + error('probe_upper', detached[:, half:]).mean()
    if regularized:
        out['sparse'] = 3e-3 * z.abs().mean(0).sum()
        out['decorrelate'] = 0.1 * correlation(z[:, :half], z[:, half:]).abs().mean()
    return out


def spec(example, batch, expects, steps=10):
    """The example for ten steps, without what it expects of a whole run."""
    path = os.path.join(ROOT, 'examples', example)
    return 'edition 1\nextend "%s"\nreplace %s' % (path, TRAIN % (batch, steps)) + 'drop expect\n' * expects


def digits_case(name, example, expects, **rules):
    # a batch that does not divide the data, and a prime one
    x, y = parity.digits()
    failed = False
    for batch in (64, 61):
        steps = parity.Steps(spec(example, batch, expects), seed=3)
        rows = parity.batches(len(x), batch, 3)
        failed |= parity.compare('%s, batch %d' % (name, batch), steps, lambda t: (x[rows(t)], y[rows(t)]),
                                 lambda p, a, b: losses(p, a, b, **rules), 1e-3, decay=5e-5)
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
    return parity.compare('mnist narrow', steps, batch, losses, 2e-3, decay=5e-5, gradient_bound=2e-3)


def main():
    failed = digits_case('row 1', 'digits_split.route', 2)
    failed |= digits_case('row 9', 'table/digits_row9.route', 0, routed=False)
    failed |= digits_case('row 5', 'table/digits_row5.route', 0, separate=True, regularized=False)
    failed |= mnist_case()
    return failed


sys.exit(main())
