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
ROWS, LAYERS = range(1, 11), ('fc1', 'fc2', 'top')
ROUTED, SEPARATE, ONLY_HIGH = {1, 2, 3, 4, 5, 6}, {2, 5}, {7, 8}
NO_L1, NO_CORRELATION = {4, 5, 8, 10}, {3, 4, 5, 7, 8, 10}


def arguments():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument('--data', choices=SIZES, default='digits')
    p.add_argument('--row', type=int, default=1, choices=ROWS)
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
    """Parameters by the paths of the spec, with PyTorch's default initial values."""
    pixels, wide, middle, code = sizes
    decoder = lambda n: (n, middle, wide, pixels)
    parts = dict(encoder=sizes, probe_lower=decoder(code // 2), probe_upper=decoder(code // 2))
    parts.update({name: decoder(code) for name in (('decode_low', 'decode_high') if row in SEPARATE else ('decoder',))})
    out = {}
    for part, widths in parts.items():
        for name, n_in, n_out in zip(LAYERS, widths, widths[1:]):
            layer = torch.nn.Linear(n_in, n_out, bias=(part, name) != ('encoder', 'top'))
            out.update({'%s.%s.%s' % (part, name, k): v for k, v in layer.named_parameters()})
    return out


def mlp(torch, p, part, x):
    for i, name in enumerate(LAYERS):
        x = torch.nn.functional.linear(x, p['%s.%s.weight' % (part, name)], p.get('%s.%s.bias' % (part, name)))
        x = torch.relu(x) if i < 2 else x
    return x


def mask(torch, z, factor):
    """z, whose gradient is multiplied by the factor; 0 selects 0."""
    class Mask(torch.autograd.Function):
        @staticmethod
        def forward(ctx, value):
            return value.clone()

        @staticmethod
        def backward(ctx, grad):
            return torch.where(factor == 0, torch.zeros_like(grad), factor * grad)
    return Mask.apply(z)


def routed_code(torch, row, z, low):
    """Row 6: 5-9 may not touch the lower half, 0-4 touches both at one half. Others: 0-4 the lower, 5-9 the upper."""
    in_lower = torch.arange(z.shape[1]) < z.shape[1] // 2
    of_low = torch.full_like(z[0], 0.5) if row == 6 else in_lower.to(z.dtype)
    return mask(torch, z, torch.where(low[:, None], of_low[None, :], (~in_lower).to(z.dtype)[None, :]))


def correlation(torch, a, b):
    def unit(v):
        centred, deviation = v - v.mean(0), v.std(0)
        alive = deviation > 0
        return torch.where(alive, centred / torch.where(alive, deviation, torch.ones_like(deviation)), torch.zeros_like(v))
    return unit(a).T @ unit(b) / len(a)


def reconstruction(torch, p, row, code, x, low):
    """One loss, or two where the spec of the row has two."""
    mean_of = lambda e, w: (e * w).sum() / w.sum().clamp(min=1)
    of_low, of_high = low.to(x.dtype), (~low).to(x.dtype)
    names = ('decode_low', 'decode_high') if row in SEPARATE else ('decoder',) * 2
    high = mean_of((mlp(torch, p, names[1], code) - x).abs().mean(1), of_high)
    if row in ONLY_HIGH:
        return {'reconstruction': high}
    lower = mean_of((mlp(torch, p, names[0], code) - x).abs().mean(1), of_low)
    if row == 6:  # 0-4 is decoded twice
        lower = 2 * lower
    if row in SEPARATE or row == 6:
        return {'reconstruction_low': lower, 'reconstruction_high': high}
    return {'reconstruction': lower + high}


def losses(torch, p, row, x, y, corr=0.1):
    """The origins' values by the names of the spec."""
    z, low = mlp(torch, p, 'encoder', x), y <= 4
    half = z.shape[1] // 2
    out = reconstruction(torch, p, row, routed_code(torch, row, z, low) if row in ROUTED else z, x, low)
    seen = z.detach()
    out['certificates'] = sum((mlp(torch, p, probe, part) - x).abs().mean(1).mean()
                              for probe, part in (('probe_lower', seen[:, :half]), ('probe_upper', seen[:, half:])))
    if row == 6:
        out['sparse'] = 2e-2 * z[:, half:].abs().mean(0).sum()
    elif row not in NO_L1:
        out['sparse'] = (1e-3 if row == 7 else 3e-3) * z.abs().mean(0).sum()
    if row not in NO_CORRELATION:
        out['decorrelate'] = corr * correlation(torch, z[:, :half], z[:, half:]).abs().mean()
    return out


def evaluate(torch, p, x, y):
    with torch.no_grad():
        z = mlp(torch, p, 'encoder', x)
        half, low = z.shape[1] // 2, y <= 4
        table = {}
        for name, part in (('lower', z[:, :half]), ('upper', z[:, half:])):
            error = ((mlp(torch, p, 'probe_' + name, part) - x) ** 2).mean(1)
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
    net = build(torch, SIZES[a.data], a.row)
    optimizer = torch.optim.Adam(net.values(), lr=a.lr, weight_decay=5e-5)
    began, steps = time.process_time(), 0
    for _ in range(a.epochs):
        order = torch.randperm(len(x))
        for at in range(0, len(x), a.batch):
            rows = order[at:at + a.batch]
            loss = sum(losses(torch, net, a.row, x[rows], y[rows]).values())
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            steps += 1
    table, l1 = evaluate(torch, net, x_test, y_test)
    print(json.dumps(dict(engine='torch', data=a.data, row=a.row, seed=a.seed, steps=steps, loss=float(loss), **table,
                          ratio=ratio_of(table), code_l1=l1, cpu_seconds=round(time.process_time() - began, 1))))


if __name__ == '__main__':
    main()
