# SPDX-License-Identifier: Apache-2.0
"""The built-in plugins against PyTorch: every regularizer's value and gradient, and what a mixture of experts learns through every
gate, over ten steps of Adam. PyTorch's side is written from the definitions."""
import math
import os
import random
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
import parity  # noqa: E402
from parity import TRAIN, philox, torch  # noqa: E402

F = torch.nn.functional
ROWS, BATCH, INPUTS, CLASSES, SEED = 37, 11, 6, 4, 3

HEAD = '''edition 1
data points {
  source = csv("points.csv", x = 0 .. 6, y = 6, id = 7)
  x: f32[6] = source.x
  y: int in 0 ..= 3 = source.y
  id: int in 0 ..= 999 = source.id
}
'''


def table():
    random.seed(5)
    return [[random.uniform(-1, 1) for _ in range(INPUTS)] + [random.randrange(CLASSES), random.randrange(1000)] for _ in range(ROWS)]


def case(name, body, losses, draws=None):
    """losses(p, x, y, id, u) -> {origin: scalar}; draws: the width of the random numbers u that the one gate that draws gets."""
    rows = table()
    text = ''.join(','.join(['%.6f' % v for v in r[:-2]] + ['%d' % v for v in r[-2:]]) + '\n' for r in rows)
    data = torch.tensor([[float('%.6f' % v) for v in r[:-2]] for r in rows]).float().double()
    label, number = torch.tensor([r[-2] for r in rows]), torch.tensor([r[-1] for r in rows])
    spec = HEAD + body + 'optimize adam(lr = 1e-2) { masked = zero_grad }\n' + TRAIN % (BATCH, 10)
    steps = parity.Steps(spec, files=[('points.csv', text)], seed=SEED)
    order = parity.batches(ROWS, BATCH, SEED)
    stream = None
    if draws:
        found = re.findall(r'random \{stream=(\d+)\} f32\[ROWS,%d\]' % draws,
                           parity.routec('check', os.path.join(steps.folder.name, 'parity.route'), '--dump=lower'))
        assert len(set(found)) == 1, 'streams of the gate: %s' % found
        stream = int(found[0])

    def batch(t):
        at = order(t)
        u = torch.tensor([[(philox.philox((i, int(n), t - 1, stream & 0xffffffff), (SEED, 0))[0] >> 8) * 2.0 ** -24
                           for i in range(draws)] for n in at]).double() if draws else None
        return data[at], label[at], number[at], u
    return parity.compare(name, steps, batch, losses, 1e-2)


def linear(p, name, x):
    return F.linear(x, p[name + '.weight'], p.get(name + '.bias'))


# ---- regularizers: one layer each, so that each gradient is of one of them ----
def entropy(q):
    return -(q * torch.where(q == 0, torch.ones_like(q), q).log()).sum(-1).mean()


def group(x):
    return math.sqrt(x.shape[-1]) * x.norm(dim=-1)


def load(w):
    first = F.one_hot(w.argmax(-1), w.shape[-1]).double().mean(0)
    return w.shape[-1] * (first * w.mean(0)).sum()


def importance(w):
    mean = w.mean(0)
    return mean.var(unbiased=False) / mean.mean() ** 2


ACTIVATIONS = (
    ('l1', 'l1(h, lambda = 0.3)', lambda h, w: 0.3 * h.abs().sum(1).mean()),
    ('l2', 'l2(h, lambda = 0.3)', lambda h, w: 0.3 * h.pow(2).sum(1).mean()),
    ('elastic', 'elastic_net(h, lambda = 0.5, alpha = 0.2)', lambda h, w: 0.5 * (0.2 * h.abs() + 0.4 * h ** 2).sum(1).mean()),
    ('group', 'group_lasso(h)', lambda h, w: group(h).mean()),
    ('units', 'group_lasso_units(h)', lambda h, w: h.pow(2).mean(0).sqrt().sum()),
    ('spread', 'activation_entropy(relu(h))', lambda h, w: entropy(h.relu() / h.relu().sum(1, keepdim=True))),
    ('decided', 'attention_entropy(w, lambda = 2)', lambda h, w: 2 * entropy(w)),
    ('load', 'load_balance(w)', lambda h, w: load(w)),
    ('importance', 'importance_balance(w)', lambda h, w: importance(w)),
)
WEIGHTS = (
    ('l1_sum', 'l1_sum(v, lambda = 0.1)', lambda v: 0.1 * v.abs().sum()),
    ('l2_sum', 'l2_sum(v, lambda = 0.1)', lambda v: 0.1 * v.pow(2).sum()),
    ('elastic_sum', 'elastic_net_sum(v, alpha = 0.7)', lambda v: (0.7 * v.abs() + 0.15 * v ** 2).sum()),
    ('group_sum', 'group_lasso_sum(v)', lambda v: group(v).sum()),
)


def topk(x, k):
    return (x.abs() * (1 - largest(x.abs(), k))).sum(1).mean()


def hsic(a, b, wide_a, wide_b):
    def kernel(x, width):
        return torch.exp(-(x[:, None] - x[None]).pow(2).sum(-1) / (2 * width ** 2 * x.shape[1]))
    n = len(a)
    centre = torch.eye(n).double() - 1 / n
    return (kernel(a, wide_a) @ centre @ kernel(b, wide_b) @ centre).trace() / (n - 1) ** 2


# statistics over the batch: layers h and g for each; tanh, since a bias alone would change neither correlation nor HSIC
REDUCTIONS = (
    ('alike', 'correlation_penalty(h, g, lambda = 0.5)', lambda h, g: 0.5 * parity.correlation(h, g).abs().mean()),
    ('between', 'orthogonality_between(h, g)', lambda h, g: (h.T @ g / len(h)).pow(2).sum()),
    ('depends', 'hsic(h, g, lambda = 3, sigma_a = 0.5)', lambda h, g: 3 * hsic(h, g, 0.5, 1)),
    ('sparse', 'topk_sparsity(h, k = 2)', lambda h, g: topk(h, 2)),
)
MATRICES = (
    ('normal', 'orthogonality(v)', lambda v: (v @ v.T - torch.eye(4).double()).pow(2).sum()),
    ('apart', 'orthogonality(v, off_diagonal = 1)', lambda v: (v @ v.T).fill_diagonal_(0).pow(2).sum()),
)


def reductions():
    body = 'model {\n'
    for name, text, _ in REDUCTIONS:
        body += '  h_%s = x |> f_%s: linear(5) |> tanh\n' % (name, name)
        body += '  g_%s = x |> q_%s: linear(3) |> tanh\n' % (name, name) if ', g' in text else ''
    body += '}\n'
    for name, text, _ in REDUCTIONS:
        body += 'regularize r_%s = %s\n' % (name, re.sub(r'\b(h|g)\b', r'\1_' + name, text))
    for name, text, _ in MATRICES:
        body += 'parameter v_%s: f32[4, 7] = normal(std = 0.5)\nregularize r_%s = %s\n' % (name, name, re.sub(r'\bv\b', 'v_' + name, text))

    def losses(p, x, y, number, u):
        out = {'r_' + name: of(p['v_' + name]) for name, _, of in MATRICES}
        for name, text, of in REDUCTIONS:
            out['r_' + name] = of(linear(p, 'f_' + name, x).tanh(), linear(p, 'q_' + name, x).tanh() if ', g' in text else None)
        return out
    return case('statistics over the batch', body, losses)


def regularizers():
    body = 'model {\n'
    for name, _, _ in ACTIVATIONS:
        body += '  h_%s = x |> f_%s: linear(5)\n  w_%s = softmax(h_%s)\n' % ((name,) * 4)
    body += '}\n'
    for name, text, _ in ACTIVATIONS:
        body += 'regularize r_%s = %s\n' % (name, re.sub(r'\b(h|w)\b', r'\1_' + name, text))
    for name, text, _ in WEIGHTS:
        body += 'parameter v_%s: f32[4, 7] = normal(std = 0.5)\nregularize r_%s = %s\n' % (name, name, re.sub(r'\bv\b', 'v_' + name, text))
    body = re.sub(r'.*\bw_(?!decided|load|importance).* = softmax.*\n', '', body)

    def losses(p, x, y, number, u):
        out = {}
        for name, _, of in ACTIVATIONS:
            h = linear(p, 'f_' + name, x)
            out['r_' + name] = of(h, F.softmax(h, 1))
        for name, _, of in WEIGHTS:
            out['r_' + name] = of(p['v_' + name])
        return out
    return case('regularizers', body, losses)


# ---- gates: three experts each, mixed by the gate's weights ----
def straight(hard, soft):
    return hard + soft - soft.detach()


def largest(z, k=1):
    return torch.zeros_like(z).scatter(1, z.topk(k, 1).indices, 1.0)


def gumbel(s, u):
    return s - (-u.clamp(min=2.0 ** -25).log()).log()


GATES = (
    ('uniform', 'uniform_gate(s)', lambda s, x, y, number, p: torch.full_like(s, 1 / 3)),
    ('sigmoid', 'sigmoid_gate(s, temperature = 0.5)', lambda s, *_: torch.sigmoid(s / 0.5)),
    ('softmax', 'softmax_gate(s, temperature = 0.3)', lambda s, *_: F.softmax(s / 0.3, 1)),
    ('straight', 'straight_gate(s, temperature = 0.3)', lambda s, *_: straight(largest(s), F.softmax(s / 0.3, 1))),
)


def chosen(s, k, t):
    """Softmax over the k largest."""
    return F.softmax((s / t).masked_fill(largest(s, k) == 0, -math.inf), 1)


def splitmix(seed, number, branches):
    z = (seed << 32) + number + 0x9E3779B97F4A7C15 & 2 ** 64 - 1
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & 2 ** 64 - 1
    z = (z ^ z >> 27) * 0x94D049BB133111EB & 2 ** 64 - 1
    return ((z ^ z >> 31) >> 32) * branches >> 32


CALLED = (
    ('soft2', 'topk_gate(s, k = 2, temperature = 0.4)', lambda s, *_: chosen(s, 2, 0.4)),
    ('dense2', 'topk_gate(s, k = 2, temperature = 0.4, dense = 1)',
     lambda s, *_: straight(chosen(s, 2, 0.4).detach(), F.softmax(s / 0.4, 1))),
    ('hard2', 'topk_gate(s, k = 2, hard = 1)', lambda s, *_: straight(largest(s, 2) / 2, chosen(s, 2, 1))),
    ('hard1', 'topk_gate(s, k = 1, hard = 1, dense = 1)', lambda s, *_: straight(largest(s), F.softmax(s, 1))),
)
GIVEN = (
    ('labels', 'label_gate(y, branches = 3, width = 2)', lambda s, x, y, *_: F.one_hot(y // 2, 3).double()),
    ('hashes', 'hash_gate(id, branches = 3, seed = 9)',
     lambda s, x, y, number, u: F.one_hot(torch.tensor([splitmix(9, int(n), 3) for n in number]), 3).double()),
)


def experts(p, name, x, w, how):
    """`select` has nothing of a branch whose weight is 0, so the gate hears nothing of it either."""
    taken = (w != 0).double().detach() if how == 'select' else torch.ones_like(w)
    return sum(w[:, k:k + 1] * (taken[:, k:k + 1] * linear(p, 'e%d_%s' % (k, name), x)) for k in range(3))


def mixtures(gates, how='mix'):
    body = 'model {\n'
    for name, text, _ in gates:
        body += '  s_%s = x |> g_%s: linear(3)\n' % (name, name) if '(s' in text else ''
        body += '  w_%s = %s\n' % (name, re.sub(r'\bs\b', 's_' + name, text))
        body += '  y_%s = %s(w_%s, %s)\n' % (name, how, name, ', '.join('b%d = x |> e%d_%s: linear(4)' % (k, k, name) for k in range(3)))
    body += '}\n' + ''.join('loss l_%s = cross_entropy(y_%s, y)\n' % (name, name) for name, _, _ in gates)

    def losses(p, x, y, number, u):
        out = {}
        for name, text, of in gates:
            w = of(linear(p, 'g_' + name, x) if '(s' in text else None, x, y, number, u)
            out['l_' + name] = F.cross_entropy(experts(p, name, x, w, how), y)
        return out
    return body, losses


def gumbel_cases():
    failed = False
    for name, text, of in (
            ('gumbel', 'gumbel_gate(s, temperature = 0.7)', lambda s, x, y, n, u: F.softmax(gumbel(s, u) / 0.7, 1)),
            ('drawn', 'gumbel_gate(s, temperature = 0.7, hard = 1)',
             lambda s, x, y, n, u: straight(largest(gumbel(s, u)), F.softmax(gumbel(s, u) / 0.7, 1)))):
        failed |= case('gate ' + name, *mixtures([(name, text, of)]), draws=3)
    return failed


def two_branches():
    """Gates with one weight for each datum."""
    body = '''parameter direction: f32[6] = normal(std = 1)
model {
  y_shut = mix(threshold_gate(x, direction, threshold = 0.1), a = x |> a1: linear(4), b = x |> b1: linear(4))
  y_open = mix(threshold_gate(x, direction, threshold = 0.1, soft = 1, temperature = 0.4), a = x |> a2: linear(4), b = x |> b2: linear(4))
  y_fixed = mix(constant_gate(x, value = 0.3), a = x |> a3: linear(4), b = x |> b3: linear(4))
}
loss shut = cross_entropy(y_shut, y)
loss open = cross_entropy(y_open, y)
loss fixed = cross_entropy(y_fixed, y)
'''

    def losses(p, x, y, number, u):
        s = x @ p['direction'] - 0.1
        out = {}
        for k, name, w in ((1, 'shut', (s > 0).double()), (2, 'open', torch.sigmoid(s / 0.4)), (3, 'fixed', torch.full_like(s, 0.3))):
            out[name] = F.cross_entropy(w[:, None] * linear(p, 'a%d' % k, x) + (1 - w[:, None]) * linear(p, 'b%d' % k, x), y)
        return out
    return case('gates with one weight', body, losses)


def main():
    failed = regularizers()
    failed |= reductions()
    for how in ('mix', 'select'):
        failed |= case('formula gates in ' + how, *mixtures(GATES, how))
        failed |= case('called gates in ' + how, *mixtures(CALLED + GIVEN, how))
    failed |= gumbel_cases()
    failed |= two_branches()
    return failed


sys.exit(main())
