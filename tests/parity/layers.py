# SPDX-License-Identifier: Apache-2.0
"""Layers, activations and losses against PyTorch: values and gradients over ten steps of Adam."""
import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
import parity  # noqa: E402
from parity import TRAIN, torch  # noqa: E402

F = torch.nn.functional
ROWS, BATCH = 37, 11


def table(inputs, classes):
    random.seed(inputs)
    return [[random.uniform(-1, 1) for _ in range(inputs)] + [random.randrange(classes)] for _ in range(ROWS)]


def case(name, inputs, classes, body, losses, shape=None):
    rows = table(inputs, classes)
    files = [('points.csv', ''.join(','.join(['%.6f' % v for v in r[:-1]] + ['%d' % r[-1]]) + '\n' for r in rows))]
    data = torch.tensor([[float('%.6f' % v) for v in r[:-1]] for r in rows]).float().double()
    label = torch.tensor([r[-1] for r in rows])
    field = 'x: f32[%s] = %s' % (', '.join(map(str, shape or [inputs])), 'reshape(source.x, [%s])' % ', '.join(map(str, shape)) if shape else 'source.x')
    head = '''edition 1
data points {
  source = csv("points.csv", x = 0 .. %d, y = %d)
  %s
  y: int in 0 ..= %d = source.y
}
''' % (inputs, inputs, field, classes - 1)
    steps = parity.Steps(head + body + 'optimize adam(lr = 1e-2) { masked = zero_grad }\n' + TRAIN % (BATCH, 10), files=files)
    order = parity.batches(ROWS, BATCH, 3)

    def batch(t):
        x = data[order(t)]
        return (x.view(-1, *shape) if shape else x), label[order(t)]
    return parity.compare(name, steps, batch, losses, 1e-2)


def linear(p, name, x):
    return F.linear(x, p[name + '.weight'], p.get(name + '.bias'))


CONV = '''model {
  h = x |> c1: conv2d(5, kernel = 3, padding = 1) |> gelu |> c2: conv2d(3, kernel = 2, stride = 2, bias = false) |> silu
  logits = h |> flatten |> head: linear(4)
}
loss l = cross_entropy(logits, y)
'''


def conv(p, x, y):
    h = F.gelu(F.conv2d(x, p['c1.weight'], p['c1.bias'], padding=1))
    h = F.silu(F.conv2d(h, p['c2.weight'], None, stride=2))
    return {'l': F.cross_entropy(linear(p, 'head', h.flatten(1)), y)}


NORMS = '''model {
  a = x |> l1: linear(13) |> n1: layer_norm() |> tanh
  b = a |> l2: linear(13) |> n2: rms_norm() |> softplus
  logits = b |> head: linear(5)
}
loss l = cross_entropy(logits, y)
loss spread = mean(softmax(b) * log_softmax(a))
'''


def norms(p, x, y):
    a = torch.tanh(F.layer_norm(linear(p, 'l1', x), (13,), p['n1.weight'], p['n1.bias'], 1e-5))
    h = linear(p, 'l2', a)
    b = F.softplus(h / (h.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt() * p['n2.weight'])
    return {'l': F.cross_entropy(linear(p, 'head', b), y), 'spread': (F.softmax(b, -1) * F.log_softmax(a, -1)).mean()}


TABLE = '''model {
  e = y |> words: embedding(6, 7)
  h = mix(sigmoid(x |> gate: linear(1)), first = e, second = x |> other: linear(7))
  logits = h |> head: linear(1)
  teacher = stop(x |> t: linear(4))
  student = h |> s: linear(4)
}
loss binary = bce_logits(logits, x[0 .. 1])
loss distil = kl(teacher, student)
loss fit = mse(concat(h, x), concat(x |> wide: linear(7), x))
'''


def mixture(p, x, y):
    e = p['words.weight'][y]
    w = torch.sigmoid(linear(p, 'gate', x))
    h = w * e + (1 - w) * linear(p, 'other', x)
    target = (x[:, :1])
    teacher, student = linear(p, 't', x).detach(), linear(p, 's', h)
    kl = (F.softmax(teacher, -1) * (F.log_softmax(teacher, -1) - F.log_softmax(student, -1))).sum(-1).mean()
    wide = linear(p, 'wide', x)
    zero = sum((0 * v).sum() for k, v in p.items() if k.startswith('t.'))
    return {'binary': F.binary_cross_entropy_with_logits(linear(p, 'head', h), target), 'distil': kl + zero,
            'fit': ((torch.cat([h, x], 1) - torch.cat([wide, x], 1)) ** 2).mean()}


def main():
    failed = case('convolution, gelu, silu', 32, 4, CONV, conv, shape=[2, 4, 4])
    failed |= case('normalisations, softplus, softmax', 7, 5, NORMS, norms)
    failed |= case('embedding, mix, binary cross entropy, KL', 7, 6, TABLE, mixture)
    return failed


sys.exit(main())
