# SPDX-License-Identifier: Apache-2.0
"""Routes of parameters in mixed batches against PyTorch with a pass for each class: a class sees weights whose gradient is
multiplied by its mask (the rest is detached), on its own data, and the losses are added."""
import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
import parity  # noqa: E402
from parity import TRAIN, torch  # noqa: E402

F = torch.nn.functional
ROWS, BATCH, LR = 53, 17, 1e-2
ARMS = '{ when y == 0 to a; when y == 1 to { a = 1.0; b = 0.5; shared = -0.75 }; otherwise to b + shared }'
TABLE = {0: (1.0, 0.0, 0.0), 1: (1.0, 0.5, -0.75), 2: (0.0, 1.0, 1.0)}
A = (0, 2)  # the units of part a; every other unit is in b
SHARED = 2


def part(unit):
    return 0 if unit in A else 1


def masks(owner, weights, label):
    """owner(path, i, j) -> part of the entry with index i along the first axis and j along the second, or None."""
    out = {}
    for path, w in weights.items():
        m = torch.ones_like(w)
        for i in range(w.shape[0]):
            for j in range(w.shape[1] if w.dim() > 1 else 1):
                k = owner(path, i, j)
                if k is not None:
                    (m[i, j] if w.dim() > 1 else m[i:i + 1]).fill_(TABLE[label][k])
        out[path] = m
    return out


def case(name, inputs, data, model, route, owner, forward, whole=False):
    """inputs: number of columns of x; `whole`: of which are small integers."""
    random.seed(5)
    table = [[random.randrange(6) if whole else random.uniform(-1, 1) for _ in range(inputs)] + [random.randrange(3)] for _ in range(ROWS)]
    number = (lambda v: '%d' % v) if whole else (lambda v: '%.6f' % v)
    files = [('points.csv', ''.join(','.join([number(v) for v in r[:-1]] + ['%d' % r[-1]]) + '\n' for r in table))]
    x = torch.tensor([[float(number(v)) for v in r[:-1]] for r in table]).float().double()
    y = torch.tensor([r[-1] for r in table])
    text = '''edition 1
data points {
  source = csv("points.csv", x = %s, y = %d)
%s
  y: int in 0 ..= 2 = source.y
}
model {
%s
}
%s
loss l = cross_entropy(guess, y)
optimize adam(lr = 1e-2) { masked = zero_grad }
''' % ('0 .. %d' % inputs if inputs > 1 else '0', inputs, data, model, route)
    steps = parity.Steps(text + TRAIN % (BATCH, 10), files=files)
    order = parity.batches(ROWS, BATCH, 3)

    def losses(p, bx, by):
        total = 0
        for label in TABLE:
            rows = (by == label).nonzero()[:, 0]
            if not len(rows):
                continue
            m = masks(owner, p, label)
            seen = {k: w * m[k] + (w * (1 - m[k])).detach() for k, w in p.items()}
            total = total + F.cross_entropy(forward(seen, bx[rows]), by[rows], reduction='sum')
        return {'l': total / len(by)}

    return parity.compare(name, steps, lambda t: (x[order(t)], y[order(t)]), losses, LR)


def dense(p, layer, x):
    return F.linear(x, p[layer + '.weight'], p.get(layer + '.bias'))


LINEAR = '''  h = x |> fc1: linear(11) |> tanh
  g = h |> fc2: linear(7) |> relu
  guess = g |> fc3: linear(3)'''


def own_linear(path, i, j):
    if path in ('fc1.weight', 'fc1.bias', 'fc2.bias'):
        return part(i)
    if path == 'fc2.weight':
        return part(j)  # cross = column
    return part(j) if path == 'fc3.weight' else SHARED


def linear(p, x):
    return dense(p, 'fc3', torch.relu(dense(p, 'fc2', torch.tanh(dense(p, 'fc1', x)))))


CONVOLUTION = '''  h = x |> k1: conv2d(5, kernel = 3, padding = same) |> relu
  guess = flatten(h |> k2: conv2d(4, kernel = 2)) |> fc: linear(3)'''


def own_convolution(path, i, j):
    if path in ('k1.weight', 'k1.bias'):
        return part(i)
    return part(j) if path == 'k2.weight' else SHARED if path == 'k2.bias' else None


def convolution(p, x):
    h = torch.relu(F.conv2d(x.view(-1, 2, 5, 5), p['k1.weight'], p['k1.bias'], padding=1))
    return dense(p, 'fc', F.conv2d(h, p['k2.weight'], p['k2.bias']).flatten(1))


FLAT = '''  h = x |> k1: conv2d(5, kernel = 3) |> relu
  guess = flatten(h) |> fc: linear(3)'''


def own_flat(path, i, j):
    return part(j // 9) if path == 'fc.weight' else SHARED if path == 'fc.bias' else part(i)


def flat(p, x):
    return dense(p, 'fc', torch.relu(F.conv2d(x.view(-1, 2, 5, 5), p['k1.weight'], p['k1.bias'])).flatten(1))


TIED = '''  h = x |> emb: embedding(6, 5)
  again = matmul(tanh(mean(h, over = pos)) |> fc: linear(5), transpose(emb.weight))
  guess = again |> top: linear(3)'''


def own_tied(path, i, j):
    return {'emb.weight': part(j), 'fc.weight': part(j), 'fc.bias': SHARED}.get(path)


def tied(p, x):
    h = p['emb.weight'][x.long()]
    return dense(p, 'top', dense(p, 'fc', torch.tanh(h.mean(1))) @ p['emb.weight'].t())


NORM = '''  h = x |> fc1: linear(5) |> tanh |> ln: layer_norm
  guess = h |> fc2: linear(3)'''


def own_norm(path, i, j):
    return part(j) if path == 'fc2.weight' else SHARED if path == 'fc2.bias' else part(i)


def norm(p, x):
    h = torch.tanh(dense(p, 'fc1', x))
    return dense(p, 'fc2', F.layer_norm(h, (5,), p['ln.weight'], p['ln.bias']))


HEADS = '''  q = reshape(x |> q: linear(6), [4, 3, 2])
  k = reshape(x |> k: linear(6, bias = false), [4, 3, 2])
  v = reshape(x |> v: linear(6), [4, 3, 2])
  s = softmax(matmul(transpose(q, [1, 0, 2]), transpose(k, [1, 2, 0])))
  mixed: f32[heads = 3, 4, 2] = matmul(s, transpose(v, [1, 0, 2]))
  o = reshape(transpose(mixed, [1, 0, 2]), [4, 6]) |> o: linear(5)
  guess = flatten(o) |> top: linear(3)'''


def own_heads(path, i, j):
    if path.startswith('top'):
        return None
    return part(j // 2) if path == 'o.weight' else SHARED if path == 'o.bias' else part(i // 2)


def heads(p, x):
    x = x.view(-1, 4, 6)
    q, k, v = (dense(p, n, x).view(-1, 4, 3, 2).transpose(1, 2) for n in 'qkv')
    mixed = torch.softmax(q @ k.transpose(2, 3), -1) @ v
    return dense(p, 'top', dense(p, 'o', mixed.transpose(1, 2).reshape(-1, 4, 6)).flatten(1))


GATED = '''  g = x |> gate: linear(6, bias = false)
  h = g * sigmoid(g) * (x |> up: linear(6, bias = false))
  guess = h |> down: linear(3)'''


def own_gated(path, i, j):
    return part(j) if path == 'down.weight' else SHARED if path == 'down.bias' else part(i)


def gated(p, x):
    return dense(p, 'down', F.silu(dense(p, 'gate', x)) * dense(p, 'up', x))


def main():
    split = 'split %s { a = [0, 2]; b = rest }\n'
    route = 'route r: parameters of %s ' + ARMS
    image = '  x: f32[2, 5, 5] = reshape(source.x, [2, 5, 5])'
    failed = case('linear, cross by column', 7, '  x: f32[7] = source.x', LINEAR,
                  split % 'h' + split % 'g' + route % 'h + g' + ' { cross = column }', own_linear, linear)
    failed |= case('convolutions', 50, image, CONVOLUTION, split % 'h' + route % 'h', own_convolution, convolution)
    failed |= case('convolution, flatten, linear', 50, image, FLAT, split % 'h' + route % 'h', own_flat, flat)
    failed |= case('tied embedding', 4, '  x: int[pos = 4] in 0 ..= 5 = source.x', TIED, split % 'h' + route % 'h', own_tied, tied, whole=True)
    failed |= case('norm', 7, '  x: f32[7] = source.x', NORM, split % 'h' + route % 'h', own_norm, norm)
    failed |= case('heads', 24, '  x: f32[4, 6] = reshape(source.x, [4, 6])', HEADS, split % 'mixed' + route % 'mixed', own_heads, heads)
    failed |= case('gated', 7, '  x: f32[7] = source.x', GATED, split % 'h' + route % 'h', own_gated, gated)
    return failed


sys.exit(main())
