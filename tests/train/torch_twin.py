#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The split autoencoder of examples/*_split*.route in PyTorch: same losses, initial distribution, optimizer, batches of
the same size and the same held-out digits. Prints one line of JSON with the squared errors of both certificates by
group and the ratio: the geometric mean, over both halves, of (error on the other group / error on its own group)."""
import argparse
import gzip
import json
import math
import os
import struct
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '..', 'lib'))
from philox import holdout_order  # noqa: E402
SIZES = {'digits': (64, 256, 128, 16), 'mnist': (784, 256, 128, 32), 'mnist-wide': (784, 2048, 512, 32)}
DEFAULTS = {'digits': (64, 1e-3, 200), 'mnist': (128, 2e-3, 20), 'mnist-wide': (256, 1e-3, 8)}
ROUTED, SEPARATE, NO_L1, NO_CORRELATION = {1, 2, 3, 4, 5}, {2, 5}, {4, 5, 10}, {3, 4, 5, 10}


def arguments():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument('--data', choices=SIZES, default='digits')
    p.add_argument('--row', type=int, default=1, choices=[1, 2, 3, 4, 5, 9, 10])
    p.add_argument('--seed', type=int, default=0)
    p.add_argument('--batch', type=int)
    p.add_argument('--lr', type=float)
    p.add_argument('--epochs', type=int)
    p.add_argument('--threads', type=int, default=1)
    a = p.parse_args()
    batch, lr, epochs = DEFAULTS[a.data]
    a.batch, a.lr, a.epochs = a.batch or batch, a.lr or lr, a.epochs or epochs
    return a


def read_digits(torch):
    path = os.path.join(HERE, '..', '..', 'data', 'digits.csv.gz')
    with gzip.open(path, 'rt') as f:
        rows = torch.tensor([[float(v) for v in line.split(',')] for line in f])
    order = torch.tensor(holdout_order(len(rows)))
    rows = rows[order]
    x, y, n = rows[:, :64] / 8 - 1, rows[:, 64].long(), len(rows) - 359
    return x[:n], y[:n], x[n:], y[n:]


def read_idx(torch, stem):
    folder = os.path.join(os.environ.get('ROUTEC_DATA', os.path.join(HERE, '..', '..', 'data')), 'mnist')
    path = os.path.join(folder, stem)
    opener = open if os.path.exists(path) else lambda p, m: gzip.open(p + '.gz', m)
    with opener(path, 'rb') as f:
        blob = f.read()
    rank = blob[3]
    dims = struct.unpack('>' + 'I' * rank, blob[4:4 + 4 * rank])
    return torch.frombuffer(bytearray(blob[4 + 4 * rank:]), dtype=torch.uint8).view(dims)


def read_mnist(torch):
    out = []
    for part in ('train', 't10k'):
        image = read_idx(torch, part + '-images-idx3-ubyte').flatten(1).float() / 255
        out += [(image - 0.5) / 0.5, read_idx(torch, part + '-labels-idx1-ubyte').long()]
    return out


def build(torch, sizes, row):
    def stack(widths, last_bias):
        layers = []
        for i, (n_in, n_out) in enumerate(zip(widths, widths[1:])):
            last = i == len(widths) - 2
            layers.append(torch.nn.Linear(n_in, n_out, bias=last_bias or not last))
            layers += [] if last else [torch.nn.ReLU()]
        return torch.nn.Sequential(*layers)
    pixels, wide, middle, code = sizes
    decoder = lambda n: stack((n, middle, wide, pixels), True)
    parts = dict(encoder=stack(sizes, False), probe_lower=decoder(code // 2), probe_upper=decoder(code // 2))
    if row in SEPARATE:
        parts.update(decode_low=decoder(code), decode_high=decoder(code))
    else:
        parts.update(decoder=decoder(code))
    return torch.nn.ModuleDict(parts)


def make_route(torch):
    class Route(torch.autograd.Function):
        """Identity; its gradient is selected, not multiplied, to 0 where `open_` is false."""
        @staticmethod
        def forward(ctx, z, open_):
            ctx.save_for_backward(open_)
            return z.clone()

        @staticmethod
        def backward(ctx, grad):
            (open_,) = ctx.saved_tensors
            return torch.where(open_, grad, torch.zeros_like(grad)), None
    return Route.apply


def correlation(torch, a, b):
    def unit(v):
        centred, deviation = v - v.mean(0), v.std(0)
        alive = deviation > 0
        return torch.where(alive, centred / torch.where(alive, deviation, torch.ones_like(deviation)), torch.zeros_like(v))
    return unit(a).T @ unit(b) / len(a)


def losses(torch, net, route, row, x, y, l1=3e-3, corr=0.1):
    """The origins' values, in the order of the spec."""
    z = net['encoder'](x)
    half = z.shape[1] // 2
    low = y <= 4
    if row in ROUTED:
        lower_units = torch.arange(z.shape[1]) < half
        routed = route(z, low[:, None] == lower_units[None, :])
    else:
        routed = z
    groups = (low.float(), (~low).float())
    mean_of = lambda e, w: (e * w).sum() / w.sum().clamp(min=1)
    if row in SEPARATE:
        errors = [(net[d](routed) - x).abs().mean(1) for d in ('decode_low', 'decode_high')]
    else:
        errors = [(net['decoder'](routed) - x).abs().mean(1)] * 2
    out = {'reconstruction': mean_of(errors[0], groups[0]) + mean_of(errors[1], groups[1])}
    seen = z.detach()
    out['certificates'] = sum((net[p](s) - x).abs().mean(1).mean()
                              for p, s in (('probe_lower', seen[:, :half]), ('probe_upper', seen[:, half:])))
    if row not in NO_L1:
        out['sparse'] = l1 * z.abs().mean(0).sum()
    if row not in NO_CORRELATION:
        out['decorrelate'] = corr * correlation(torch, z[:, :half], z[:, half:]).abs().mean()
    return out


def evaluate(torch, net, x, y):
    with torch.no_grad():
        z = net['encoder'](x)
        half, low = z.shape[1] // 2, y <= 4
        table = {}
        for name, part in (('lower', z[:, :half]), ('upper', z[:, half:])):
            error = ((net['probe_' + name](part) - x) ** 2).mean(1)
            table[name] = [float(error[low].mean()), float(error[~low].mean())]
        return table, float(z.abs().mean(0).sum())


def ratio_of(table):
    return math.sqrt(table['lower'][1] / table['lower'][0] * table['upper'][0] / table['upper'][1])


def main():
    a = arguments()
    os.environ['OMP_NUM_THREADS'] = os.environ['OPENBLAS_NUM_THREADS'] = str(a.threads)
    import torch
    torch.set_num_threads(a.threads)
    torch.manual_seed(a.seed)
    x, y, x_test, y_test = read_digits(torch) if a.data == 'digits' else read_mnist(torch)
    net, route = build(torch, SIZES[a.data], a.row), make_route(torch)
    optimizer = torch.optim.Adam(net.parameters(), lr=a.lr, weight_decay=5e-5)
    began, steps = time.process_time(), 0
    for _ in range(a.epochs):
        order = torch.randperm(len(x))
        for at in range(0, len(x), a.batch):
            rows = order[at:at + a.batch]
            loss = sum(losses(torch, net, route, a.row, x[rows], y[rows]).values())
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            steps += 1
    table, l1 = evaluate(torch, net, x_test, y_test)
    print(json.dumps(dict(engine='torch', data=a.data, row=a.row, seed=a.seed, steps=steps, loss=float(loss), **table,
                          ratio=ratio_of(table), code_l1=l1, cpu_seconds=round(time.process_time() - began, 1))))


if __name__ == '__main__':
    main()
