# SPDX-License-Identifier: Apache-2.0
"""Gates against PyTorch: soft mixtures of two and three experts with a gate loss of labelled data, gradients stopped for some
data and some losses, weights that the label sets, hard weights that let gradient straight through, and gates at positions."""
import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
import parity  # noqa: E402
from parity import TRAIN, torch  # noqa: E402

ROWS, BATCH, LR = 53, 17, 1e-2
HEAD = '''edition 1
data points {
  source = csv("points.csv", x = 0 .. 7, y = 7, w = 8)
  x: f32[7] = source.x
  y: int in 0 ..= 2 = source.y
  w: f32[] = source.w
}
class low = y == 0
class high = y == 2
class half = w
module expert(v: f32[n]) -> f32[4] { out = v |> fc1: linear(5) |> tanh |> fc2: linear(4) }
'''
linear = torch.nn.functional.linear


def layer(p, name, x):
    return linear(x, p[name + '.weight'], p[name + '.bias'])


def expert(p, name, x):
    return layer(p, name + '.fc2', torch.tanh(layer(p, name + '.fc1', x)))


def case(name, body, losses, head=HEAD):
    random.seed(7)
    rows = [[random.uniform(-1, 1) for _ in range(7)] + [random.randrange(3), random.choice([0, 0.25, 0.5, 1])] for _ in range(ROWS)]
    text = ''.join(','.join(['%.6f' % v for v in r[:7]] + ['%d' % r[7], '%g' % r[8]]) + '\n' for r in rows)
    data = torch.tensor([[float('%.6f' % v) for v in r[:7]] for r in rows]).float().double()
    label, weight = torch.tensor([r[7] for r in rows]), torch.tensor([r[8] for r in rows]).double()
    spec = head + body + 'optimize adam(lr = 1e-2) { masked = zero_grad }\n'
    steps = parity.Steps(spec + TRAIN % (BATCH, 10), files=[('points.csv', text)])
    order = parity.batches(ROWS, BATCH, 3)
    return parity.compare(name, steps, lambda t: (data[order(t)], label[order(t)], weight[order(t)]), losses, LR)


def blocked(w, factor):
    """w, with its gradient multiplied by `factor`."""
    return w.detach() + factor * (w - w.detach())


def mean(x, c):
    return (x * c).sum() / (c.sum() if c.sum() > 0 else 1)


def bce(w, t):
    return -(t * torch.log(w) + (1 - t) * torch.log(1 - w))


TWO = '''model {
  left, right = copies(expert)
  h = x |> trunk: linear(6) |> tanh
  open = sigmoid(h |> score: linear(1))
  z = mix(open, a = left(h), b = right(h))
}
route experts: gradient of z { when low to a; when high to b; otherwise to all }
gate chooser { value = open; gradient = stop when low, half; target = y == 0; when = not high; weight = 0.3 }
loss size = mean(z * z)
loss sum = mean(z)
'''


def two(p, x, y, w):
    low, high = (y == 0).double(), (y == 2).double()
    h = torch.tanh(layer(p, 'trunk', x))
    gate = torch.sigmoid(layer(p, 'score', h))
    used = blocked(gate, ((1 - low) * (1 - w))[:, None])
    a, b = blocked(expert(p, 'left', h), (1 - high)[:, None]), blocked(expert(p, 'right', h), (1 - low)[:, None])
    z = used * a + (1 - used) * b
    return {'size': (z * z).mean(), 'sum': z.mean(), 'chooser': 0.3 * mean(bce(gate[:, 0], low), 1 - high)}


THREE = '''model {
  one, two, three = copies(expert)
  w3 = softmax(x |> score: linear(3))
  z = mix(w3, a = one(x), b = two(x), c = three(x))
}
route part: gradient of w3 for router { when high to none; otherwise to all }
gate router { value = w3; train = y when low; gradient = stop when high for size; target = y; when = half }
loss size = mean(z * z)
loss sum = mean(z)
'''


def three(p, x, y, w):
    low, high = (y == 0).double()[:, None], (y == 2).double()[:, None]
    soft = torch.softmax(layer(p, 'score', x), 1)
    hot = torch.nn.functional.one_hot(y, 3).double()
    used = soft.detach() * (1 - low) + hot * low + (soft - soft.detach())  # a gradient that is said passes straight through

    def z(weights):
        return sum(weights[:, k:k + 1] * expert(p, name, x) for k, name in enumerate(('one', 'two', 'three')))

    own = blocked(soft, 1 - high)
    nll = -torch.log(own.gather(1, y[:, None]))[:, 0]
    return {'size': (z(blocked(used, 1 - high)) ** 2).mean(), 'sum': z(used).mean(), 'router': mean(nll, w)}


HARD = '''model {
  one, two = copies(expert)
  w2 = softmax(x |> score: linear(2))
  z = mix(w2, a = one(x), b = two(x))
}
gate router { value = w2; train = hard when not low; target = concat(reshape(1 - w, [1]), reshape(w, [1])); weight = 0.5 }
loss size = mean(z * z)
'''


def hard(p, x, y, w):
    low = (y == 0).double()[:, None]
    soft = torch.softmax(layer(p, 'score', x), 1)
    hot = torch.nn.functional.one_hot(soft.argmax(1), 2).double()
    used = low * soft + (1 - low) * (hot + soft - soft.detach())
    z = used[:, :1] * expert(p, 'one', x) + used[:, 1:] * expert(p, 'two', x)
    own = (torch.stack([1 - w, w], 1) * -torch.log(soft)).sum(1)
    return {'size': (z * z).mean(), 'router': 0.5 * own.mean()}


POSITIONS = '''class hit = x > 0.2
model {
  h = x * 2
  open = sigmoid(x |> score: linear(7))
  g: f32[pos = 7] = open
  z = mix(g, a = tanh(h), b = h |> other: linear(7))
}
gate chooser { value = g; gradient = stop when hit for size; target = x > 0; when = hit or low }
loss size = z * z { mean_over = not low }
loss sum = mean(z, over = pos)
'''


def positions(p, x, y, w):
    hit, low = (x > 0.2).double(), (y == 0).double()[:, None].expand_as(x)
    gate = torch.sigmoid(layer(p, 'score', x))
    z = lambda g: g * torch.tanh(2 * x) + (1 - g) * layer(p, 'other', 2 * x)
    return {'size': mean(z(blocked(gate, 1 - hit)) ** 2, 1 - low), 'sum': z(gate).mean(),
            'chooser': mean(bce(gate, (x > 0).double()), torch.maximum(hit, low))}


def main():
    failed = case('two experts', TWO, two)
    failed |= case('three experts', THREE, three)
    failed |= case('hard weights', HARD, hard)
    failed |= case('gates at positions', POSITIONS, positions, HEAD.replace('x: f32[7]', 'x: f32[pos = 7]'))
    return failed


sys.exit(main())
