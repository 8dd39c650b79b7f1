# SPDX-License-Identifier: Apache-2.0
"""Policies for parameters that no datum reaches, against PyTorch's own optimizers: `zero_grad` is one optimizer with masked
gradients; `freeze` is one optimizer for each block that a route can close, stepped only when the block is reached;
`mask_update` steps all of them, without decay for closed blocks, and then puts these values back. Batches of one class,
mixed ones, and ones that close everything; regions with policies, decay and bounds of their own."""
import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
import parity  # noqa: E402
from parity import mask, torch  # noqa: E402

INPUTS, HIDDEN, CODE, BATCH = 5, 7, 6, 6
# the classes of each batch: 0 goes to `lower`, 1 to `upper`, 2 nowhere
BATCHES = ['000000', '000000', '111111', '222222', '010101', '111111', '222222', '222222', '000222', '111112', '000000', '012012', '222222', '111111']
OPTIMIZERS = {
    'sgd(lr = 0.05, momentum = 0.9, weight_decay = 0.1)': lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.1),
    'sgd(lr = 0.05, momentum = 0.8, nesterov = true)': lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.8, nesterov=True),
    'adam(lr = 0.01, weight_decay = 0.1)': lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=0.1),
    'adamw(lr = 0.01, betas = [0.9, 0.95], weight_decay = 0.5)':
        lambda p: torch.optim.AdamW(p, lr=0.01, betas=(0.9, 0.95), weight_decay=0.5),
}
SPEC = '''edition 1
data points {
  source = csv("points.csv", x = 0 .. %d, y = %d)
  x: f32[%d] = source.x
  y: int in 0 ..= 2 = source.y
}
model { z = x |> fc1: linear(%d) |> tanh |> fc2: linear(%d); guess = z |> head: linear(3) }
split z { lower = 0 .. 3; upper = rest }
class zero = y == 0
class one = y == 1
route code: gradient of z { when zero to lower; when one to upper; otherwise to none }
loss l = cross_entropy(guess, y) { per = 6 }
''' % (INPUTS, INPUTS, INPUTS, HIDDEN, CODE)
TRAIN = 'train { batch = %d; for = %d steps; shuffle = false; log = 1 steps; checkpoint { every = 1 steps; keep = 0 } }\n' % (BATCH, len(BATCHES))
ROWS = {'lower': slice(0, 3), 'upper': slice(3, 6)}


def table():
    random.seed(23)
    return [[round(random.uniform(-1, 1), 4) for _ in range(INPUTS)] + [int(c)] for batch in BATCHES for c in batch]


def blocks_of(parameters):
    """Blocks that no route's boundary cuts: {(path, half or ''): tensor}."""
    out = {}
    for path, w in parameters.items():
        for half in (ROWS if path.startswith('fc2') else ['']):
            out[path, half] = (w[ROWS[half]] if half else w).clone().requires_grad_()
    return out


def whole(blocks, path):
    return torch.cat([blocks[path, 'lower'], blocks[path, 'upper']]) if path.startswith('fc2') else blocks[path, '']


def loss_of(blocks, x, y):
    h = torch.tanh(torch.nn.functional.linear(x, whole(blocks, 'fc1.weight'), whole(blocks, 'fc1.bias')))
    z = torch.nn.functional.linear(h, whole(blocks, 'fc2.weight'), whole(blocks, 'fc2.bias'))
    lower = torch.arange(CODE) < 3
    z = mask(z, ((y == 0)[:, None] & lower[None, :]) | ((y == 1)[:, None] & ~lower[None, :]))
    logits = torch.nn.functional.linear(z, whole(blocks, 'head.weight'), whole(blocks, 'head.bias'))
    return torch.nn.functional.cross_entropy(logits, y, reduction='sum') / 6


def reached(block, classes):
    path, half = block
    if path.startswith('head'):
        return True
    return any(c in {'lower': '0', 'upper': '1', '': '01'}[half] for c in classes)


def clip(blocks, groups):
    """groups: [(test, bound)]; a block is in the first group whose test it passes."""
    members = [[] for _ in groups]
    for block, w in blocks.items():
        for k, (test, _) in enumerate(groups):
            if test(block):
                members[k].append(w)
                break
    for (_, bound), group in zip(groups, members):
        if bound and group:
            torch.nn.utils.clip_grad_norm_(group, bound)


def case(name, optimizer, policy_of, settings, regions='', no_decay=lambda b: False, groups=()):
    rows = table()
    files = [('points.csv', ''.join(','.join('%g' % v for v in r) + '\n' for r in rows))]
    steps = parity.Steps(SPEC + regions + 'optimize %s { %s }\n' % (optimizer, settings) + TRAIN, steps=len(BATCHES), files=files)
    x = torch.tensor([r[:-1] for r in rows]).float().double()
    y = torch.tensor([r[-1] for r in rows])
    report = parity.Report('%s, %s' % (optimizer, name))
    blocks = blocks_of(steps.parameters(0))
    optimizers = {b: OPTIMIZERS[optimizer]([w]) for b, w in blocks.items()}
    decay = {b: 0.0 if no_decay(b) else o.param_groups[0]['weight_decay'] for b, o in optimizers.items()}
    for t, classes in enumerate(BATCHES, 1):
        part = slice((t - 1) * BATCH, t * BATCH)
        for w in blocks.values():
            w.grad = None
        loss_of(blocks, x[part], y[part]).backward()
        clip(blocks, groups)
        for b, w in blocks.items():
            closed, policy = not reached(b, classes), policy_of(b)
            if closed:
                assert float(w.grad.abs().max()) == 0
            if closed and policy == 'freeze':
                continue
            before = w.detach().clone()
            optimizers[b].param_groups[0]['weight_decay'] = 0.0 if closed and policy == 'mask_update' else decay[b]
            optimizers[b].step()
            if closed and policy == 'mask_update':
                with torch.no_grad():
                    w.copy_(before)
        got, was = steps.parameters(t), steps.parameters(t - 1)
        for path in got:
            start, want = double(steps, path), whole(blocks, path).detach()
            moved = max(float((want - start).norm()), 1e-3)
            report.check('trajectory', float((got[path] - want).norm()) / moved, 2e-4, '%s at step %d' % (path, t))
            for half, part in ROWS.items() if path.startswith('fc2') else [('', slice(None))]:
                if not reached((path, half), classes) and policy_of((path, half)) != 'zero_grad':
                    report.check('closed blocks', float((got[path][part] - was[path][part]).abs().max()), 0.0, '%s %s at step %d' % (path, half, t))
    return report.end()


def double(steps, path):
    return parity.double(steps.initial[path])


def main():
    failed = False
    for optimizer in OPTIMIZERS:
        for policy in ('freeze', 'zero_grad', 'mask_update'):
            failed |= case(policy, optimizer, lambda b: policy, 'masked = ' + policy)
        failed |= case('clipped', optimizer, lambda b: 'freeze', 'masked = freeze; clip = 0.05', groups=[(lambda b: True, 0.05)])
        failed |= case('regions', optimizer, lambda b: {'lower': 'zero_grad', 'upper': 'mask_update'}.get(b[1], 'freeze'),
                       'masked = freeze; clip = 0.06',
                       'region low = z.lower.made_by { masked = zero_grad; decay = false }\n'
                       'region high = z.upper.made_by { masked = mask_update; clip = 0.02 }\n'
                       'region first = fc1 { clip = 0.03 }\n',
                       no_decay=lambda b: b[1] == 'lower',
                       groups=[(lambda b: b[1] == 'upper', 0.02), (lambda b: b[0].startswith('fc1'), 0.03), (lambda b: True, 0.06)])
    return failed


sys.exit(main())
