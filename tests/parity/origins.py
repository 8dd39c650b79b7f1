# SPDX-License-Identifier: Apache-2.0
"""Losses by origin against PyTorch: `by_class` with one class, several and weights, for data and for positions; every
denominator with named axes; weights as a subset; routes for single origins of a loss."""
import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
import parity  # noqa: E402
from parity import TRAIN, mask, torch  # noqa: E402

ROWS, BATCH, LR = 53, 17, 1e-2
HEAD = '''edition 1
data points {
  source = csv("points.csv", x = 0 .. 7, y = 7, w = 8)
  x: f32[pos = 7] = source.x
  y: int in 0 ..= 4 = source.y
  w: f32[] = source.w
}
module net(v: f32[n]) -> f32[6] { out = v |> fc1: linear(6) |> tanh }
model { z = net(x); recon = z |> back: linear(7); error = square(recon - x) }
split z { a = 0 .. 2; b = rest }
class low = y in 0 ..= 1
class even = y == 0 or y == 2
class hit = x > 0.2
class half = w
'''


def case(name, body, losses):
    random.seed(11)
    rows = [[random.uniform(-1, 1) for _ in range(7)] + [random.randrange(5), random.choice([0, 0.25, 0.5, 1])] for _ in range(ROWS)]
    text = ''.join(','.join(['%.6f' % v for v in r[:7]] + ['%d' % r[7], '%g' % r[8]]) + '\n' for r in rows)
    data = torch.tensor([[float('%.6f' % v) for v in r[:7]] for r in rows]).float().double()
    label, weight = torch.tensor([r[7] for r in rows]), torch.tensor([r[8] for r in rows]).double()
    spec = HEAD + body + 'optimize adam(lr = 1e-2) { masked = zero_grad }\n'
    steps = parity.Steps(spec + TRAIN % (BATCH, 10), files=[('points.csv', text)])
    order = parity.batches(ROWS, BATCH, 3)
    return parity.compare(name, steps, lambda t: (data[order(t)], label[order(t)], weight[order(t)]), losses, LR)


def code(p, x):
    return torch.tanh(torch.nn.functional.linear(x, p['net.fc1.weight'], p['net.fc1.bias']))


def error(p, x, z):
    return (torch.nn.functional.linear(z, p['back.weight'], p['back.bias']) - x) ** 2


# An arm `otherwise` alone, so that a route is a route for origins and nothing else.
DATA = '''route to_a: gradient of z for one.low { otherwise to a }
route to_b: gradient of z for many { otherwise to { a = 0.5; b = 1.0 } } { also }
loss one = mean(error, over = pos) { by_class = low; sum }
loss many = mean(error, over = pos) { by_class = [low, even]; per = 3 }
loss soft = mean(error, over = pos) { by_class = [half, low]; mean_over = even }
loss weighed = mean(error, over = pos) { mean_over = half }
loss both = mean(error, over = pos) { mean_by = half }
loss none = mean(error, over = pos) { mean_over = 0 * w }
'''


def data(p, x, y, w):
    z, low, even = code(p, x), (y <= 1).double(), ((y == 0) | (y == 2)).double()
    e = error(p, x, z).mean(1)
    to_a = error(p, x, mask(z, torch.arange(6) < 2)).mean(1)
    to_b = error(p, x, mask(z, torch.tensor([0.5] * 2 + [1.0] * 4))).mean(1)
    only_even = even * (1 - low)
    n = even.sum().clamp(min=1)
    total = w.sum() if w.sum() > 0 else torch.ones(())
    rest = (1 - w).sum() if (1 - w).sum() > 0 else torch.ones(())
    return {'one.low': (to_a * low).sum(), 'one.otherwise': (e * (1 - low)).sum(),
            'many.low': (to_b * low).sum() / 3, 'many.even': (to_b * only_even).sum() / 3,
            'many.otherwise': (to_b * (1 - low) * (1 - only_even)).sum() / 3,
            'soft.half': (e * w * even).sum() / n, 'soft.low': (e * (1 - w) * low * even).sum() / n,
            'soft.otherwise': (e * (1 - w) * (1 - low) * even).sum() / n,
            'weighed': (e * w).sum() / total, 'both': (e * w).sum() / total + (e * (1 - w)).sum() / rest, 'none': 0 * e.sum()}


# Terms at positions: the denominators are over data and positions.
POSITIONS = '''route code: gradient of z for next.hit { otherwise to a }
loss next = error { by_class = hit }
loss plain = error
loss total = error { sum }
loss tenth = error { per = 10 }
loss hits = error { mean_over = hit }
loss sides = error { mean_by = hit }
loss data_sides = error { mean_by = low }
loss low_only = error { mean_over = low; by_class = [hit, even] }
loss fields = error { mean_by = y }
loss weights = error { mean_over = half }
'''


def positions(p, x, y, w):
    z, hit, low, even = code(p, x), (x > 0.2).double(), (y <= 1).double(), ((y == 0) | (y == 2)).double()
    e, routed = error(p, x, z), error(p, x, mask(z, torch.arange(6) < 2))
    mean = lambda c: (e * c).sum() / c.sum().clamp(min=1)
    wide = lambda c: c[:, None].expand_as(e)
    n = wide(low).sum().clamp(min=1)
    total = 7 * (w.sum() if w.sum() > 0 else torch.ones(()))
    lows = e * wide(low)
    return {'next.hit': (routed * hit).sum() / e.numel(), 'next.otherwise': (e * (1 - hit)).sum() / e.numel(),
            'plain': e.mean(), 'total': e.sum(), 'tenth': e.sum() / 10, 'hits': mean(hit), 'sides': mean(hit) + mean(1 - hit),
            'data_sides': mean(wide(low)) + mean(wide(1 - low)), 'low_only.hit': (lows * hit).sum() / n,
            'low_only.even': (lows * (1 - hit) * wide(even)).sum() / n,
            'low_only.otherwise': (lows * (1 - hit) * wide(1 - even)).sum() / n,
            'fields': sum(mean(wide((y == k).double())) for k in range(5)), 'weights': (e * wide(w)).sum() / total}


def main():
    failed = case('origins by class of the data', DATA, data)
    failed |= case('origins by class of the positions', POSITIONS, positions)
    return failed


sys.exit(main())
