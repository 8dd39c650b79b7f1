#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The PyTorch half of the benches: trains one of the models below from given weights on the batches that routec draws with seed
0 (those of the first CHECK_STEPS steps; later epochs are shuffled by PyTorch), and answers each line "N" on its input with [seconds of N steps, last loss].

    peer.py MODEL BATCH THREADS WEIGHTS.safetensors [settings of the model]

Masks are hooks, the form with the fewest operations."""
import gzip
import json
import os
import struct
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '..', 'tests', 'lib'))
import philox  # noqa: E402
import safetensors  # noqa: E402
try:
    import torch
except ImportError:
    sys.exit('peer.py: PyTorch is not installed for %s (Debian: python3-torch)' % sys.executable)
torch.ones(8, 8) @ torch.ones(8, 8)  # the BLAS is there now
with open('/proc/self/maps') as maps:
    if 'openblas-openmp' not in maps.read():
        sys.exit("peer.py: PyTorch runs without OpenMP's OpenBLAS, and is slower for it (Debian: libopenblas0-openmp)")
CHECK_STEPS = 6
F, relu = torch.nn.functional, torch.relu


def mnist():
    def read(stem):
        path = os.path.join(os.environ.get('ROUTEC_DATA', os.path.join(HERE, '..', 'data')), 'mnist', stem)
        with (open(path, 'rb') if os.path.exists(path) else gzip.open(path + '.gz', 'rb')) as f:
            blob = f.read()
        dims = struct.unpack('>' + 'I' * blob[3], blob[4:4 + 4 * blob[3]])
        return torch.frombuffer(bytearray(blob[4 + 4 * blob[3]:]), dtype=torch.uint8).view(dims)
    return read('train-images-idx3-ubyte').flatten(1).float() / 255, read('train-labels-idx1-ubyte').long()


def digits(holdout=37):
    with gzip.open(os.path.join(HERE, '..', 'data', 'digits.csv.gz'), 'rt') as f:
        rows = [[float(v) for v in line.split(',')] for line in f]
    rows = torch.tensor([rows[i] for i in philox.holdout_order(len(rows))[:len(rows) - holdout]])
    return rows[:, :64] / 8 - 1, rows[:, 64].long()


def points(folder):
    """The two arrays of bytes that bench/growth.py writes."""
    def read(name):
        with open(os.path.join(folder, name), 'rb') as f:
            blob = f.read()
        return torch.frombuffer(bytearray(blob[10 + struct.unpack('<H', blob[8:10])[0]:]), dtype=torch.uint8)
    y = read('y.npy').long()
    return read('x.npy').view(len(y), -1).float() / 255, y


def dense(p, layer, x):
    return F.linear(x, p[layer + '.weight'], p[layer + '.bias'])


def masked(value, mask):
    """The value, whose gradient is multiplied by the mask."""
    out = value.clone()
    out.register_hook(lambda g: g * mask)
    return out


# ---- the models: (data, loss(parameters, x, y), optimizer(parameters)) --------------------------------------------------------
def autoencoder():
    """bench/ae.route"""
    opened = torch.zeros(10, 32)
    opened[:5, :16] = opened[5:, 16:] = 1

    def loss(p, x, y):
        z = dense(p, 'encoder.top', relu(dense(p, 'encoder.fc2', relu(dense(p, 'encoder.fc1', x)))))
        out = dense(p, 'decoder.top', relu(dense(p, 'decoder.fc2', relu(dense(p, 'decoder.fc1', masked(z, opened[y]))))))
        return (out - x).abs().mean() + 1e-3 * z.abs().sum(1).mean()
    return mnist(), loss, lambda ps: torch.optim.AdamW(ps, lr=1e-3, weight_decay=5e-5)


def mlp():
    """bench/mlp.route"""
    return mnist(), lambda p, x, y: F.cross_entropy(dense(p, 'fc2', relu(dense(p, 'fc1', x))), y), lambda ps: torch.optim.SGD(ps, lr=0.1)


def routing(case, width):
    """bench/routing/CASE.route"""
    few = torch.zeros(int(width))
    few[:int(width) // 16] = 1
    forget = (torch.arange(10) <= 4).float()
    regions = forget[:, None] * few + (1 - forget[:, None]) * (1 - few)  # each class trains its own
    kept = 1 - forget[:, None] * (1 - few)                               # forget data reach the few, others all
    at = {'none': {}, 'parameters': {}, 'gradient': {'h': kept}, 'regions': {'a': regions, 'h': regions, 'c': regions}}[case]

    def forward(p, x, y):
        value = x
        for layer, place in (('fc0', 'a'), ('fc1', 'h'), ('fc2', 'c')):
            value = relu(dense(p, layer, value))
            value = masked(value, at[place][y]) if place in at else value
        return dense(p, 'fc3', value)

    def loss(p, x, y):
        if case != 'parameters':
            return F.cross_entropy(forward(p, x, y), y)
        total, own = 0, dict(p)  # a pass for each class: forget data see weights of which only the few units' learn
        for name, mask in (('fc1.weight', few[:, None]), ('fc1.bias', few), ('fc2.weight', few[None, :]), ('fc2.bias', torch.zeros(int(width)))):
            own[name] = mask * p[name] + ((1 - mask) * p[name]).detach()
        for rows, weights in ((y <= 4, own), (y > 4, p)):
            total = total + F.cross_entropy(forward(weights, x[rows], y[rows]), y[rows], reduction='sum')
        return total / len(y)
    return digits(), loss, lambda ps: torch.optim.Adam(ps, lr=1e-4)


def growth(folder, depth):
    """bench/growth.route"""
    def loss(p, x, y):
        h = relu(dense(p, 'first', x))
        for i in range(int(depth)):
            h = relu(dense(p, 'blocks.%d.block.fc' % i, h))
        return F.cross_entropy(dense(p, 'head', h), y)
    return points(folder), loss, lambda ps: torch.optim.Adam(ps, lr=1e-4)


def main():
    model, batch, threads, weights, *settings = sys.argv[1:]
    batch = int(batch)
    torch.set_num_threads(int(threads))
    (images, labels), loss_of, optimizer_of = {f.__name__: f for f in (autoencoder, mlp, routing, growth)}[model](*settings)
    parameters = {name: torch.frombuffer(bytearray(values.tobytes()), dtype=torch.float32).view(shape).clone().requires_grad_()
                  for name, (shape, values) in safetensors.load(weights).items()}
    optimizer = optimizer_of(list(parameters.values()))

    def order(epoch):
        if epoch * (len(images) // batch) < CHECK_STEPS:
            return torch.tensor(philox.shuffle(len(images), 0, epoch))
        return torch.randperm(len(images), generator=torch.Generator().manual_seed(epoch))
    at = dict(epoch=0, row=0, order=order(0))

    def step():
        if at['row'] + batch > len(images):
            at.update(epoch=at['epoch'] + 1, row=0, order=order(at['epoch'] + 1))
        rows = at['order'][at['row']:at['row'] + batch]
        at['row'] += batch
        loss = loss_of(parameters, images[rows], labels[rows])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss
    print('ready', flush=True)
    for line in sys.stdin:
        n = int(line)
        began = time.perf_counter()
        for _ in range(n):
            loss = step()
        print(json.dumps([time.perf_counter() - began, float(loss)]), flush=True)


if __name__ == '__main__':
    main()
