# SPDX-License-Identifier: Apache-2.0
"""`routec grad` against PyTorch in double, for each primitive: the whole gradient, that of each class's data and of each loss.
PyTorch makes a pass of its own for each class, with detached copies in place of routes."""
import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
import parity  # noqa: E402
from parity import mask, safetensors, torch  # noqa: E402

ROWS, BATCH, SEED, INDEX = 53, 17, 3, 2
CLASSES = ('first', 'second', 'otherwise')
SPEC = '''edition 1
data points {
  source = csv("points.csv", x = 0 .. 7, y = 7)
  x: f32[7] = source.x
  y: int in 0 ..= 4 = source.y
}
module net(v: f32[7]) -> f32[7] { out = v |> fc1: linear(11) |> tanh |> fc2: linear(7) }
module back(v: f32[n]) -> f32[7] { out = v |> fc: linear(7) }
model { z = net(x); recon = back(z) }
split z { a = [0, 3, 6]; b = [1, 4]; c = rest }
class first = y == 0
class second = y in 1 ..= 2
route r: %s of z {
  when first to { a = 1.0; b = 0.5; c = -0.75%s }
  when second to { b = 1.0%s }
  otherwise to { c = 2.0%s }
}
loss l = mse(recon, x) { mean_by = first }
loss m = 0.25 * mean(abs(recon)) { per = 10 }
optimize sgd(lr = 1e-2) { masked = zero_grad }
train { batch = 17; for = 3 steps }
'''
FACTORS = torch.zeros(3, 7, dtype=torch.float64)
FACTORS[0, [0, 3, 6]], FACTORS[0, [1, 4]], FACTORS[0, [2, 5]] = 1.0, 0.5, -0.75
FACTORS[1, [1, 4]], FACTORS[2, [2, 5]] = 1.0, 2.0


def kept(w, factor):
    """w, with the factor on its gradient."""
    return factor * w + (1 - factor) * w.detach()


def forward(p, x, primitive, factor):
    """One class's data; factor: of the seven units of z."""
    linear = torch.nn.functional.linear
    rows = factor[:, None] if primitive == 'parameters' else 1.0
    z = linear(torch.tanh(linear(x, p['net.fc1.weight'], p['net.fc1.bias'])), kept(p['net.fc2.weight'], rows),
               kept(p['net.fc2.bias'], factor) if primitive == 'parameters' else p['net.fc2.bias'])
    if primitive == 'value':
        z = factor * z
    if primitive == 'gradient':
        z = mask(z, factor.expand(z.shape))
    return linear(z, kept(p['back.fc.weight'], factor[None, :] if primitive == 'parameters' else 1.0), p['back.fc.bias'])


def losses(p, x, y, primitive, k):
    """Both losses' terms of class k, with the denominators of the batch."""
    of = torch.where(y == 0, 0, torch.where(y <= 2, 1, 2))
    mine = of == k
    recon = forward(p, x[mine], primitive, FACTORS[k])
    count = (y == 0).sum() if k == 0 else (y != 0).sum()
    return {'l': ((recon - x[mine]) ** 2).mean(1).sum() / count.clamp(min=1), 'm': 0.25 * recon.abs().mean(1).sum() / 10}


def case(primitive, shared):
    random.seed(11)
    rows = [[random.uniform(-1, 1) for _ in range(7)] + [random.randrange(5)] for _ in range(ROWS)]
    with open('points.csv', 'w') as f:
        f.writelines(','.join(['%.6f' % v for v in r[:-1]] + ['%d' % r[-1]]) + '\n' for r in rows)
    with open('grad.route', 'w') as f:
        f.write(SPEC % (primitive, *[shared] * 3))
    weights = parity.random_weights('grad.route')
    safetensors.save('init.safetensors', weights)
    order = parity.batches(ROWS, BATCH, SEED)(INDEX + 1)
    x = torch.tensor([[float('%.6f' % v) for v in r[:-1]] for r in rows]).float().double()[order]
    y = torch.tensor([r[-1] for r in rows])[order]
    assert all(((y == 0).any(), (y == 1).any() or (y == 2).any(), (y > 2).any())), 'the batch lacks a class'
    report = parity.Report('grad, ' + primitive)
    for chosen in ('l', 'm', None):
        for name in CLASSES + (None,):
            arguments = ['--class', name] if name else []
            arguments += ['--loss', chosen] if chosen else []
            parity.routec('grad', 'grad.route', '-q', '-o', 'g.safetensors', '--init', 'init.safetensors', '--seed', str(SEED),
                          '--batch-index', str(INDEX), *arguments)
            p = {path: parity.double(w).requires_grad_() for path, w in weights.items()}
            parts = [losses(p, x, y, primitive, k) for k in range(3) if name in (CLASSES[k], None)]
            total = sum(v for part in parts for key, v in part.items() if chosen in (key, None))
            got = safetensors.load('g.safetensors')
            for (path, w), want in zip(p.items(), torch.autograd.grad(total, list(p.values()), allow_unused=True)):
                want = torch.zeros_like(w) if want is None else want
                report.check('gradient', parity.distance(parity.double(got[path]), want), 3e-6,
                             '%s, class %s, loss %s' % (path, name, chosen))
    return report.end()


if __name__ == '__main__':
    import tempfile
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        failed = [case('gradient', ''), case('value', ''), case('parameters', '; shared = 1.0')]
        os.chdir('/')
    sys.exit(any(failed))
