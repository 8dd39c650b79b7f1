# SPDX-License-Identifier: Apache-2.0
"""Runs a spec for ten steps with a checkpoint after each, and compares losses, every gradient and every update with
PyTorch in double precision.

Gradients are read out of the first moments: m_t = b1 m_{t-1} + (1 - b1) g_t, so g_t = (m_t - b1 m_{t-1}) / (1 - b1). They
are compared from the very weights that routec had before the step, so that rounding does not add up; the trajectory is
compared separately, from the same initial weights."""
import array
import csv
import gzip
import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.environ.get('ROUTEC_ROOT', os.path.join(HERE, '..', '..', '..'))
sys.path.insert(0, os.path.join(ROOT, 'tests', 'lib'))
import philox  # noqa: E402
import safetensors  # noqa: E402

os.environ.setdefault('OPENBLAS_CORETYPE', 'Haswell')
os.environ['OPENBLAS_NUM_THREADS'] = os.environ['OMP_NUM_THREADS'] = '1'
try:
    import torch
except ImportError:
    print('SKIPPED: PyTorch is not installed (Debian: python3-torch)')
    sys.exit(77)
torch.set_num_threads(1)

TRAIN = 'train { batch = %d; for = %d steps; log = 1 steps; checkpoint { every = 1 steps; keep = 0 } }\n'


def double(entry):
    shape, values = entry
    return torch.tensor(list(values), dtype=torch.float64).view(shape)


def routec(*arguments, **kw):
    done = subprocess.run([os.environ['ROUTEC'], *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kw)
    if done.returncode:
        raise SystemExit('routec %s: exit code %d\n%s%s' % (' '.join(arguments), done.returncode, done.stdout, done.stderr))
    return done.stdout


def shapes(spec):
    return {p['path']: p['shape'] for p in json.loads(routec('plan', '--json', spec))['parameters']}


def random_weights(spec, seed=1):
    """F32 values for every parameter; PyTorch's default distribution, biases of the same size."""
    generator = torch.Generator().manual_seed(seed)
    out = {}
    for path, shape in sorted(shapes(spec).items()):
        count = 1
        for d in shape:
            count *= d
        bound = (1.0 / (count / shape[0] if len(shape) > 1 else 8)) ** 0.5
        values = (torch.rand(count, generator=generator) * 2 - 1) * bound
        out[path] = (shape, array.array('f', values.tolist()))
    return out


class Steps:
    """What routec did: losses[t] by origin of step t, values[t] of every tensor after t steps (0: initial)."""

    def __init__(self, spec_text, steps=10, seed=3, weights=None, arguments=(), files=()):
        self.folder = tempfile.TemporaryDirectory()
        at = self.folder.name
        for name, text in files:
            with open(os.path.join(at, name), 'w') as f:
                f.write(text)
        spec = os.path.join(at, 'parity.route')
        with open(spec, 'w') as f:
            f.write(spec_text)
        self.initial = weights or random_weights(spec)
        safetensors.save(os.path.join(at, 'init.safetensors'), self.initial)
        run = os.path.join(at, 'run')
        train = ('run', spec, '--init', os.path.join(at, 'init.safetensors'), '--seed', str(seed), '-q', *arguments)
        routec(*train, '--run-dir', run, '--threads', '1')
        self.check_avx2(train, run, os.path.join(at, 'avx2'), 'checkpoint-%d.safetensors' % steps)
        with open(os.path.join(run, 'metrics.jsonl')) as f:
            lines = [json.loads(line) for line in f]
        self.losses = {line['step']: line['loss'] for line in lines if 'loss' in line}
        self.values = [self.initial] + [safetensors.load(os.path.join(run, 'checkpoint-%d.safetensors' % t)) for t in range(1, steps + 1)]
        self.steps = steps

    def check_avx2(self, train, run, other, last):
        """What is found about this processor's code holds for AVX2 code too: on two threads it gives the same bits."""
        routec(*train, '--run-dir', other, '--threads', '2', '--target', 'x86-64-v3')
        a, b = (safetensors.load(os.path.join(folder, last)) for folder in (run, other))
        different = [k for k in a if a[k][0] != b[k][0] or bytes(a[k][1]) != bytes(b[k][1])]
        if a.keys() != b.keys() or different:
            raise SystemExit('AVX2 code on two threads ends with other bits: ' + ', '.join(different))

    def parameters(self, t):
        return {k: double(self.values[t][k]) for k in self.initial}

    def state(self, t, path, k):
        name = '%s#state%d' % (path, k)
        if name not in self.values[t]:  # before the first step; and what no loss reaches has no moments
            return torch.zeros_like(double(self.initial[path]))
        return double(self.values[t][name])

    def gradient(self, t, path, beta1=0.9):
        """Of step t (1 ..), coupled decay included."""
        return (self.state(t, path, 0) - beta1 * self.state(t - 1, path, 0)) / (1 - beta1)

    def gradient_rounding(self, t, path, beta1=0.9):
        """What of it the moments' being floats may hide, as a norm: three roundings, multiplied by 1 / (1 - beta1)."""
        old, new = beta1 * self.state(t - 1, path, 0), self.state(t, path, 0)
        return 2.0 ** -24 * float((new.abs() + old.abs() + (new - old).abs()).norm()) / (1 - beta1)


def distance(a, b):
    scale = float(b.norm())
    return float((a - b).norm()) / scale if scale > 0 else float(a.norm())


class Report:
    def __init__(self, name):
        self.name, self.worst, self.failed = name, {}, False

    def check(self, what, found, bound, where=''):
        if not found <= self.worst.get(what, (-1.0, ''))[0]:
            self.worst[what] = (found, where)
        if not found <= bound:
            print('%s: %s %s: %.3g is beyond %.3g' % (self.name, what, where, found, bound))
            self.failed = True

    def end(self):
        print(self.name + ': ' + ', '.join('%s %.2g' % (k, v[0]) for k, v in self.worst.items()))
        return self.failed


def compare(name, steps, batch_of, losses_of, lr, decay=0.0, beta1=0.9, gradient_bound=2e-5, exact_zero=()):
    """batch_of(t) -> arguments of losses_of(parameters, *batch) -> {origin: scalar}. exact_zero: paths whose gradient
    must be 0 in every bit."""
    r = Report(name)
    free = {k: v.clone().requires_grad_() for k, v in steps.parameters(0).items()}
    optimizer = torch.optim.Adam(free.values(), lr=lr, weight_decay=decay)
    for t in range(1, steps.steps + 1):
        forced = {k: v.requires_grad_() for k, v in steps.parameters(t - 1).items()}
        parts = losses_of(forced, *batch_of(t))
        for origin, value in parts.items():
            r.check('loss', abs(float(value) - steps.losses[t][origin]) / max(abs(float(value)), 1e-3), 2e-5, '%s at step %d' % (origin, t))
        gradients = torch.autograd.grad(sum(parts.values()), list(forced.values()), allow_unused=True)
        for (path, w), g in zip(forced.items(), gradients):
            want = (torch.zeros_like(w) if g is None else g) + decay * w.detach()
            got = steps.gradient(t, path, beta1)
            hidden = steps.gradient_rounding(t, path, beta1) / max(float(want.norm()), 1e-30)
            r.check('gradient', max(0.0, distance(got, want) - hidden), gradient_bound, '%s at step %d' % (path, t))
            if path in exact_zero and float(steps.state(t, path, 0).abs().max()) != 0:
                r.check('blocked gradient', float(got.abs().max()), 0.0, '%s at step %d' % (path, t))
            check_update(r, steps, t, path, got, lr, beta1)
        optimizer.zero_grad()
        sum(losses_of(free, *batch_of(t)).values()).backward()
        optimizer.step()
        for path, w in free.items():
            start, now = double(steps.initial[path]), double(steps.values[t][path])
            moved = float((w.detach() - start).norm())
            r.check('trajectory', float((now - w.detach()).norm()) / max(moved, 1e-12), 5e-3, '%s at step %d' % (path, t))
    return r.end()


def check_update(r, steps, t, path, gradient, lr, beta1, beta2=0.999, eps=1e-8):
    """v_t and w_t from what was stored before: Adam's formulas, element by element."""
    v_before, v = steps.state(t - 1, path, 1), steps.state(t, path, 1)
    want_v = beta2 * v_before + (1 - beta2) * gradient ** 2
    r.check('second moment', distance(v, want_v), 1e-4, '%s at step %d' % (path, t))
    m = steps.state(t, path, 0)
    moved = lr * (m / (1 - beta1 ** t)) / ((v / (1 - beta2 ** t)).sqrt() + eps)
    want = double(steps.values[t - 1][path]) - moved
    r.check('update', float((double(steps.values[t][path]) - want).abs().max()), 3e-7, '%s at step %d' % (path, t))


def mlp(p, prefix, x, names, activation=torch.relu):
    """Linear layers prefix.name.weight [out, in] (and .bias, if there is one) with an activation between them."""
    for i, name in enumerate(names):
        bias = p.get('%s.%s.bias' % (prefix, name))
        x = torch.nn.functional.linear(x, p['%s.%s.weight' % (prefix, name)], bias)
        x = activation(x) if i < len(names) - 1 else x
    return x


def class_mean(per_datum, weight):
    return (per_datum * weight).sum() / weight.sum().clamp(min=1)


class Mask(torch.autograd.Function):
    """y = x; dx = m * dy, where m == 0 selects 0."""
    @staticmethod
    def forward(ctx, x, m):
        ctx.save_for_backward(m)
        return x.clone()

    @staticmethod
    def backward(ctx, d):
        (m,) = ctx.saved_tensors
        return torch.where(m == 0, torch.zeros_like(d), m * d), None


def mask(x, m):
    return Mask.apply(x, m.to(x.dtype).expand_as(x))


def correlation(a, b):
    def unit(v):
        centred, deviation = v - v.mean(0), v.std(0)
        alive = deviation > 0
        return torch.where(alive, centred / torch.where(alive, deviation, torch.ones_like(deviation)), torch.zeros_like(v))
    return unit(a).T @ unit(b) / len(a)


def digits(holdout=359):
    """The vendored digits as examples/digits_split.route sees them: pixels of the part `train`, labels."""
    with gzip.open(os.path.join(ROOT, 'data', 'digits.csv.gz'), 'rt') as f:
        rows = [[float(v) for v in row] for row in csv.reader(f)]
    kept = philox.holdout_order(len(rows))[:len(rows) - holdout]
    table = torch.tensor([rows[i] for i in kept], dtype=torch.float64)
    return table[:, :64] / 8 - 1, table[:, 64].long()


def batches(n, batch, seed):
    """The rows of step t (1 ..), as the runtime orders them."""
    per_epoch = (n + batch - 1) // batch
    orders = {}

    def rows(t):
        epoch, at = (t - 1) // per_epoch, (t - 1) % per_epoch
        if epoch not in orders:
            orders[epoch] = philox.shuffle(n, seed, epoch)
        return torch.tensor(orders[epoch][at * batch:(at + 1) * batch])
    return rows
