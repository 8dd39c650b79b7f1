# SPDX-License-Identifier: Apache-2.0
"""Routes of every form against PyTorch: real weights, three interleaved parts, several routes on one way, routes for
named losses, routed regularizers, a module that is used twice, prime sizes."""
import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
import parity  # noqa: E402
from parity import TRAIN, class_mean, mask, mlp, torch  # noqa: E402

ROWS, INPUTS, BATCH, LR = 53, 7, 17, 1e-2

HEAD = '''edition 1
data points {
  source = csv("points.csv", x = 0 .. 7, y = 7)
  x: f32[7] = source.x
  y: int in 0 ..= 4 = source.y
}
'''


def table():
    random.seed(11)
    return [[random.uniform(-1, 1) for _ in range(INPUTS)] + [random.randrange(5)] for _ in range(ROWS)]


def case(name, body, losses, decay=0.0, exact_zero=()):
    rows = table()
    files = [('points.csv', ''.join(','.join(['%.6f' % v for v in r[:-1]] + ['%d' % r[-1]]) + '\n' for r in rows))]
    # what the reader gets: six digits, then rounded to float
    data = torch.tensor([[float('%.6f' % v) for v in r[:-1]] for r in rows]).float().double()
    label = torch.tensor([r[-1] for r in rows])
    text = HEAD + body + 'optimize adam(lr = 1e-2%s) { masked = zero_grad }\n' % (', weight_decay = %g' % decay if decay else '')
    steps = parity.Steps(text + TRAIN % (BATCH, 10), files=files)
    order = parity.batches(ROWS, BATCH, 3)
    return parity.compare(name, steps, lambda t: (data[order(t)], label[order(t)]), losses, LR, decay, exact_zero=exact_zero)


WEIGHTS = '''module net(v: f32[7]) -> f32[7] { out = v |> fc1: linear(11) |> tanh |> fc2: linear(7) }
module back(v: f32[n]) -> f32[7] { out = v |> fc1: linear(5) |> tanh |> fc2: linear(7) }
model { z = net(x); recon = back(z) }
split z { a = [0, 3, 6]; b = [1, 4]; c = rest }
class first = y == 0
class second = y in 1 ..= 2
route r: gradient of z {
  when first to { a = 1.0; b = 0.5; c = -0.75 }
  when second to b
  otherwise to { c = 2.0 }
}
loss l = mse(recon, x)
'''


def weights(p, x, y):
    z = mlp(p, 'net', x, ('fc1', 'fc2'), torch.tanh)
    table_ = torch.zeros(5, 7, dtype=torch.float64)
    a, b, c = [0, 3, 6], [1, 4], [2, 5]
    table_[0, a], table_[0, b], table_[0, c] = 1.0, 0.5, -0.75
    table_[1:3, :] = torch.tensor([1.0 if i in b else 0.0 for i in range(7)], dtype=torch.float64)
    table_[3:, c] = 2.0
    return {'l': ((mlp(p, 'back', mask(z, table_[y]), ('fc1', 'fc2'), torch.tanh) - x) ** 2).mean(1).mean()}


TWO_ROUTES = '''module net(v: f32[7]) -> f32[6] { out = v |> fc1: linear(13) |> relu |> fc2: linear(6) }
module back(v: f32[n]) -> f32[7] { out = v |> fc1: linear(13) |> relu |> fc2: linear(7) }
model { z = net(x); recon = back(z); guess = z |> head: linear(5) }
split z { lower = 0 .. 3; upper = rest }
split net.fc1.out { even = [0, 2, 4, 6, 8, 10, 12]; odd = rest }
class low = y in 0 ..= 1
class high = not low
route code: gradient of z for reconstruction { when low to lower; otherwise to upper }
route hidden: gradient of net.fc1.out { when high to odd; otherwise to all }
loss reconstruction = mae(recon, x) { mean_by = low }
loss labels = cross_entropy(guess, y) { mean_over = high }
regularize sparse = 0.01 * l1_norm(z) { gradient = routed }
'''


def two_routes(p, x, y):
    low = y <= 1
    h = torch.nn.functional.linear(x, p['net.fc1.weight'], p['net.fc1.bias'])
    odd = torch.arange(13) % 2 == 1
    h = mask(h, low[:, None] | odd[None, :])
    z = torch.nn.functional.linear(torch.relu(h), p['net.fc2.weight'], p['net.fc2.bias'])
    lower = torch.arange(6) < 3
    routed = mask(z, low[:, None] == lower[None, :])
    error = (mlp(p, 'back', routed, ('fc1', 'fc2')) - x).abs().mean(1)
    logits = torch.nn.functional.linear(z, p['head.weight'], p['head.bias'])
    nll = torch.nn.functional.cross_entropy(logits, y, reduction='none')
    return {'reconstruction': class_mean(error, low.double()) + class_mean(error, (~low).double()),
            'labels': class_mean(nll, (~low).double()), 'sparse': 0.01 * z.abs().mean(0).sum()}


TWICE = '''module step(v: f32[7]) -> f32[7] { out = v |> fc: linear(7) |> tanh }
model { first = step(x); z = step(first); guess = z |> head: linear(5) }
split z { a = 0 .. 2; b = rest }
class odd = y == 1 or y == 3
route r: gradient of z { when odd to a; otherwise to b }
loss l = cross_entropy(guess, y) { per = 10 }
'''


def twice(p, x, y):
    layer = lambda v: torch.tanh(torch.nn.functional.linear(v, p['step.fc.weight'], p['step.fc.bias']))
    z = layer(layer(x))
    odd = (y == 1) | (y == 3)
    z = mask(z, odd[:, None] == (torch.arange(7) < 2)[None, :])
    logits = torch.nn.functional.linear(z, p['head.weight'], p['head.bias'])
    return {'l': torch.nn.functional.cross_entropy(logits, y, reduction='sum') / 10}


BLOCKED = '''module net(v: f32[7]) -> f32[4] { out = v |> fc1: linear(5) |> tanh |> fc2: linear(4) }
model { z = net(x); guess = z |> head: linear(5) }
split z { a = 0 .. 2; b = rest }
route none_passes: gradient of z { otherwise to { a = 0.0; b = 0.0 } }
loss l = cross_entropy(guess, y)
'''


def blocked(p, x, y):
    z = mlp(p, 'net', x, ('fc1', 'fc2'), torch.tanh).detach()
    logits = torch.nn.functional.linear(z, p['head.weight'], p['head.bias'])
    zero = sum((0 * w).sum() for k, w in p.items() if k.startswith('net.'))
    return {'l': torch.nn.functional.cross_entropy(logits, y) + zero}


def main():
    failed = case('real weights, three interleaved parts', WEIGHTS, weights, decay=1e-3)
    failed |= case('two routes, one for a named loss', TWO_ROUTES, two_routes)
    failed |= case('a module used twice', TWICE, twice)
    failed |= case('all blocked', BLOCKED, blocked, exact_zero=('net.fc1.weight', 'net.fc1.bias', 'net.fc2.weight', 'net.fc2.bias'))
    return failed


sys.exit(main())
