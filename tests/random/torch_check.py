# SPDX-License-Identifier: Apache-2.0
"""torch_check.py COUNT [FIRST]: builds random programs (generate.py) in PyTorch from their description, not their text, and
compares losses and routed gradients with those of routec's interpreter (step --interpret), both in double precision.

What a route means is written here a second time, in other terms than the compiler's. For each origin the forward pass is
made anew, with the masks that apply to it (a class of autograd that multiplies the gradient of each datum); the gradients
of the origins are added. Where a program has routes of parameters, every datum has a copy of every use of the weights."""
import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import generate  # noqa: E402
try:
    import torch
except ImportError:
    print('SKIPPED: PyTorch is not installed (Debian: python3-torch)')
    sys.exit(77)
torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)
F = torch.nn.functional
BOUND = 1e-6  # constants of a program are f32 for routec
ACTS = {'relu': torch.relu, 'tanh': torch.tanh, 'gelu': F.gelu, 'silu': F.silu, 'sigmoid': torch.sigmoid, 'softplus': F.softplus,
        'abs': torch.abs}


class Mask(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, m):
        ctx.save_for_backward(m)
        return x.clone()

    @staticmethod
    def backward(ctx, d):
        (m,) = ctx.saved_tensors
        return torch.where(m == 0, torch.zeros_like(d), m * d), None


class Copies(torch.autograd.Function):
    """w once for each datum (and position) of its use; each copy's gradient is multiplied by m, then they are added."""
    @staticmethod
    def forward(ctx, w, m):
        ctx.save_for_backward(m)
        ctx.lead = m.dim() - w.dim()
        return w.expand(m.shape).clone()

    @staticmethod
    def backward(ctx, d):
        (m,) = ctx.saved_tensors
        return torch.where(m == 0, torch.zeros_like(d), m * d).flatten(0, ctx.lead - 1).sum(0), None


class Twin:
    def __init__(self, program, values):
        self.p, self.rows = program, values['rows']
        # columns that nothing reads are not there
        self.fields = {k.split(' ', 1)[1]: torch.tensor(v) for k, v in values.items() if k.startswith('column ')}
        self.params = {k.split(' ', 1)[1]: v for k, v in values.items() if k.startswith('param ')}
        self.modules = {m['name']: m for m in program['modules']}
        if 'x' in self.fields:
            self.fields['x'] = self.fields['x'].view([self.rows] + list(program['image'] or program['seq'] or [program['n_in']]))
        for f in program['ranges']:
            self.fields[f] = self.fields[f].long() if f in self.fields else torch.zeros(self.rows * (program['seq'] or [1])[0]).long()
            self.fields[f] = self.fields[f].view(self.rows, -1) if f == 'tok' else self.fields[f][:self.rows]

    def holds(self, c):
        """[rows], or [rows, positions] where the condition reads `tok`."""
        if c[0] == 'class':
            return self.holds(self.p['classes'][c[1]])
        if c[0] == 'soft':
            return self.fields[c[1]] / c[2]
        if c[0] == 'seen':
            return self.fields['class seen'] == c[1]
        if c[0] == 'not':
            return ~self.holds(c[1])
        if c[0] in ('and', 'or'):
            a, b = self.holds(c[1]), self.holds(c[2])
            a, b = (v[:, None] if v.dim() < max(a.dim(), b.dim()) else v for v in (a, b))
            return a & b if c[0] == 'and' else a | b
        x = self.fields[c[1]]
        return x == c[2] if c[0] == 'eq' else (x >= c[2]) & (x <= c[3])

    # ---- routes ----
    def factor(self, route, parts):
        """[rows, 1 or positions, units]: the first arm whose condition holds; a weight of w takes so much of what is left."""
        s = 1.0 if route['strength'] is None else route['strength']

        def row(weights):
            m = torch.zeros(sum(len(u) for u in parts.values()))
            for name, units in parts.items():
                m[units] = 1 + s * (weights[name] - 1)
            return m
        m = row(route['other']).expand(self.rows, 1, -1)
        for arm in reversed(route['arms']):
            c = self.holds(arm['cond'])
            c = (c if c.dim() == 2 else c[:, None])[:, :, None]
            m = torch.where(c, row(arm['weights']), m) if c.dtype == torch.bool else c * row(arm['weights']) + (1 - c) * m
        return m

    def masked(self, place, x, part=None, primitives=('value', 'gradient')):
        for primitive in primitives:
            for route in self.p['routes']:
                if route['place'] != place or route['primitive'] != primitive or bool(route['mix']) != bool(part):
                    continue
                if primitive == 'gradient' and not self.applies(route):
                    continue
                m = self.factor(route, {part: [0]} if part else self.p['splits'][place])
                m = m[:, 0, :, None, None] if x.dim() == 4 else m[:, 0] if x.dim() == 2 else m  # units are channels, or the last axis
                m = m.expand_as(x)
                x = Mask.apply(x, m) if primitive == 'gradient' else torch.where(m == 0, torch.zeros_like(x), m * x)
        return x

    def applies(self, route):
        if not self.origin['routed']:
            return False
        return route['origins'] is None or self.origin_name in route['origins']

    # ---- statements ----
    def used(self, path, lead):
        """A use of a parameter, with the axes `lead` in front: a copy for each of them; and whether there are copies at all."""
        w = self.free[path]
        factors = [self.entries(r, path, w.shape, len(lead)).expand(list(lead) + list(w.shape)) for r in self.p['routes']
                   if r['primitive'] == 'parameters' and path in r['owners'] and self.applies(r)]
        if not factors:
            return w.expand(list(lead) + list(w.shape))
        for m in factors:
            w = Copies.apply(w, m) if w.dim() < m.dim() else Mask.apply(w, m)
        return w

    def entries(self, route, path, shape, n_lead):
        """The factor of each entry: [rows, 1 or positions, *shape], or [rows, *shape] where the use has no positions."""
        names = sorted(route['other'])
        m = self.factor(route, {name: [i] for i, name in enumerate(names)})  # [rows, 1 or positions, parts]
        how = route['owners'][path]
        index = torch.zeros(list(shape)).long() + names.index('shared' if how[0] == 'shared' else names[0])
        if how[0] != 'shared':
            axis = 0 if how[0] == 'row' else 1
            of = torch.tensor([names.index(name) for name in how[1]])
            index = of.view([-1 if i == axis else 1 for i in range(len(shape))]).expand(list(shape))
        m = m[:, :, index.flatten()].view(list(m.shape[:2]) + list(shape))
        return m[:, 0] if n_lead == 1 else m

    def layer(self, s, prefix, x):
        name, op = '%s%s' % (prefix, s['layer']), s['op']
        lead = x.shape if op == 'embedding' else x.shape[:1] if op == 'conv' else x.shape[:-1]
        w = lambda k: self.used('%s.%s' % (name, k), lead)
        if op == 'linear':
            y = torch.einsum('...oi,...i->...o', w('weight'), x)
            return y + w('bias') if s['bias'] else y
        if op == 'conv':  # a group for each datum
            y = F.conv2d(x.reshape([1, -1] + list(x.shape[2:])), w('weight').flatten(0, 1), stride=s['stride'], padding=s['padding'],
                         groups=self.rows)
            y = y.view([self.rows, -1] + list(y.shape[2:]))
            return y + w('bias')[:, :, None, None] if s['bias'] else y
        if op == 'embedding':
            table = w('weight')
            return torch.gather(table, -2, x[..., None, None].expand(list(lead) + [1, table.shape[-1]])).squeeze(-2)
        y = F.layer_norm(x, x.shape[-1:], eps=1e-5) if op == 'layer_norm' else x / (x.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt()
        y = y * w('weight') if s['affine'] else y
        return y + w('bias') if s['affine'] and op == 'layer_norm' else y

    def value(self, s, prefix, a):
        op = s['op']
        if 'layer' in s:
            return self.layer(s, prefix, a[0])
        if op == 'act':
            return ACTS[s['kind']](a[0])
        if op == 'call':
            m = self.modules[s['module']]
            return self.run(m['body'], {'v': a[0]}, s['module'] + '.')['out']
        if op == 'mix' and s.get('select'):
            total = 0
            for i, (x, part) in enumerate(zip(a[1:], s['names'])):
                w = a[0][..., i]
                while w.dim() < x.dim():
                    w = w.unsqueeze(-1)
                total = total + torch.where(w != 0, w * self.masked(s['out'], x, part), torch.zeros_like(x))
            return total
        if op == 'mix':
            left, right = (self.masked(s['out'], x, part) for x, part in zip(a[1:], s['names']))
            w = a[0].unsqueeze(-1) if a[0].dim() < left.dim() else a[0]
            return w * left + (1 - w) * right
        if op == 'reshape':
            return a[0].reshape([self.rows] + s['dims'])
        return {
            'hard': lambda: F.one_hot(a[0].argmax(-1), s['n']).to(a[0].dtype) * torch.softmax(a[0], -1),
            'open': lambda: torch.where(a[0] > 0, torch.sigmoid(a[0]), torch.zeros_like(a[0])),
            'pick': lambda: F.one_hot(a[0].long(), 6)[..., :s['n']].double(),
            'add': lambda: a[0] + a[1], 'scale': lambda: s['by'] * a[0], 'flatten': lambda: a[0].flatten(1),
            'matmul': lambda: a[0] @ a[1], 'matmul_t': lambda: a[0] @ a[1].transpose(1, 2),
            'softmax': lambda: torch.softmax(a[0], -1), 'slice': lambda: a[0][:, s['lo']:s['hi']],
            'concat': lambda: torch.cat(a, -1), 'stop': lambda: a[0].detach(), 'pool': lambda: a[0].mean(1), 'last': lambda: a[0].mean(-1)}[op]()

    def run(self, body, env, prefix=''):
        for s in body:
            args = [env[n] if n in env else self.fields[n] for n in s['args']]
            env[s['out']] = self.gated(prefix + s['out'], self.value(s, prefix, args), env)
        return env

    # ---- gates ----
    def wide(self, cond, v):
        """A condition as a number for each datum, or position, of v's number of axes."""
        c = self.holds(cond).to(v.dtype)
        while c.dim() < v.dim():
            c = c.unsqueeze(-1)
        return c

    def gated(self, place, v, env):
        gate = next((o for o in self.p['gates'] if o['value'] == place), None)
        if not gate:
            return self.masked(place, v)
        env[gate['name']] = self.masked(place, v, primitives=['gradient'])  # what its own loss reads
        t, d, u = gate['train'], gate['gradient'], v
        if t:
            if t['value'] == 'hard':
                x = F.one_hot(v.argmax(-1), gate['n']).to(v.dtype) if gate['n'] > 1 else (v > 0.5).to(v.dtype)
            elif t['value'] == 'choice':
                x = F.one_hot(1 - self.holds(t['cond']).long(), gate['n']).to(v.dtype)
                x = x.unsqueeze(1) if x.dim() < v.dim() else x
            else:
                x = torch.full_like(v, float(t['value']))
            passes = d['word'] == 'pass' or d['when'] or d['origins'] if d else t['value'] == 'hard'
            x = x + (v - v.detach()) if passes else x + 0 * v.detach()
            c = self.either(t['when'], v)
            u = c * x + (1 - c) * v
        if d and self.origin_name != gate['name'] and (self.origin['routed'] if d['origins'] is None else self.origin_name in d['origins']):
            held = self.either(d['when'], v)
            if d['word'] == 'stop':
                u = Mask.apply(u, (1 - held).expand_as(u))
            elif d['when']:
                u = Mask.apply(u, held.expand_as(u))
        return self.masked(place, u)

    def either(self, conds, v):
        if not conds:
            return torch.ones_like(v)
        out = torch.zeros_like(v)
        for c in conds:
            out = torch.maximum(out, self.wide(c, v).expand_as(v))
        return out

    def gate_loss(self, gate, env):
        v, target = env[gate['name']], gate['target']
        log = lambda w: w.clamp(1e-6, 1 - 1e-6).log()
        if gate['n'] > 1:
            index = 1 - self.holds(target['cond']).long()
            index = index[:, None].expand(v.shape[:-1]) if index.dim() < v.dim() - 1 else index
            e = -torch.gather(log(v), -1, index[..., None])[..., 0]
        else:
            w = v[..., 0] if gate['shape'] and gate['shape'][-1] == 1 else v
            c = self.wide(target['cond'], w)
            e = -(c * log(w) + (1 - c) * log(1 - w))
        c = self.wide(target['when'], e).expand_as(e) if target['when'] else torch.ones_like(e)
        return target['weight'] * (e * c).sum() / c.sum().clamp(min=1)

    # ---- origins ----
    def mean_over(self, e, share, weight):
        weight = weight.expand_as(e)
        return (e * share * weight).sum() / weight.sum().clamp(min=1)

    def terms(self, value, e):
        """A condition or number for each datum as one for each term of the loss."""
        value = value.to(e.dtype)
        return (value[:, None] if value.dim() < e.dim() else value).expand_as(e)

    def share(self, o, name, e):
        """What of each term belongs to this origin: to the first class of `by_class` that holds."""
        left = torch.ones_like(e)
        for c in o['by_class']:
            held = left * self.terms(self.holds(['class', c]), e)
            if name == '%s.%s' % (o['name'], c):
                return held
            left = left - held
        return left

    def loss(self, o, name, env):
        x = env[o['args'][0]]
        if o['kind'] == 'ce':
            e = F.cross_entropy(x, self.fields['label'], reduction='none')
        elif o['kind'] == 'positions':
            e = ((x - self.fields['x']) ** 2).mean(-1)
        else:
            d = (x - (self.fields['x'].flatten(1) if self.p['image'] else self.fields['x'])).flatten(1)
            e = (d ** 2 if o['kind'] == 'mse' else d.abs()).mean(1)
        e = e * (o['weight'] or 1)
        share, d = self.share(o, name, e), o['denominator']
        if d['kind'] == 'mean_by' and d['by'] == 'label':
            return sum(self.mean_over(e, share, self.terms(self.fields['label'] == v, e)) for v in range(self.p['ranges']['label'] + 1))
        if d['kind'] in ('mean_by', 'mean_over'):
            c = self.terms(self.holds(['class', d['by']]), e)
            return self.mean_over(e, share, c) + (self.mean_over(e, share, 1 - c) if d['kind'] == 'mean_by' else 0)
        e = e * share
        return {'mean': lambda: e.mean(), 'sum': lambda: e.sum(), 'per': lambda: e.sum() / d['per']}[d['kind']]()

    def penalty(self, o, env):
        x = env[o['args'][0]]
        half = o['n'] // 2
        return o['weight'] * {'l1': lambda: x.abs().mean(0).sum(), 'l2': lambda: (x ** 2).mean(0).sum(),
                              'square': lambda: (x ** 2).mean(), 'square_at': lambda: (x ** 2).mean(),
                              'correlation': lambda: correlation(x[:, :half], x[:, half:]).abs().mean()}[o['kind']]()

    def gradients(self):
        """{origin: loss}, {path: gradient}."""
        losses, total = {}, {}
        shapes = shapes_of(self.p)
        gates = [o for o in self.p['gates'] if o['target']]
        for o, name in [(o, n) for o in self.p['losses'] + self.p['regs'] + gates for n in generate.origins_of(o)]:
            self.origin, self.origin_name = o, name
            self.free = {k: torch.tensor(v).view(shapes[k]).requires_grad_() for k, v in self.params.items()}
            env = self.run(self.p['model'], {})
            value = self.gate_loss(o, env) if 'target' in o else self.loss(o, name, env) if 'denominator' in o else self.penalty(o, env)
            losses[name] = float(value)
            if not value.requires_grad:
                continue
            for (k, w), g in zip(self.free.items(), torch.autograd.grad(value, list(self.free.values()), allow_unused=True)):
                if g is not None:
                    total[k] = total.get(k, 0) + g
        return losses, total


class Degenerate(Exception):
    """A unit of a correlation that varies by rounding errors alone: no two computations agree about it."""


def correlation(a, b):
    def unit(v):
        centred, deviation = v - v.mean(0), v.std(0)
        alive = deviation > 0
        if bool((deviation < 1e-9 * (1 + v.abs().max())).any()):
            raise Degenerate()
        return torch.where(alive, centred / torch.where(alive, deviation, torch.ones_like(deviation)), torch.zeros_like(v))
    return unit(a).T @ unit(b) / len(a)


def shapes_of(p):
    """Of every parameter, by path."""
    out = {}

    def walk(body, shape, prefix):
        for s in body:
            a = [shape[n] for n in s['args'] if n in shape]
            name = prefix + s.get('layer', '')
            n_in = a[0][-1] if a and a[0] else 0
            if s['op'] == 'linear':
                out[name + '.weight'], out[name + '.bias'] = [s['n'], n_in], [s['n']]
                shape[s['out']] = a[0][:-1] + [s['n']]
            elif s['op'] == 'conv':
                out[name + '.weight'], out[name + '.bias'] = [s['n'], a[0][0], s['kernel'], s['kernel']], [s['n']]
                size = (a[0][1] + 2 * s['padding'] - s['kernel']) // s['stride'] + 1
                shape[s['out']] = [s['n'], size, size]
            elif s['op'] == 'embedding':
                out[name + '.weight'] = [s['vocab'], s['d']]
                shape[s['out']] = a[0] + [s['d']]
            elif s['op'] == 'call':
                m = next(m for m in p['modules'] if m['name'] == s['module'])
                walk(m['body'], {'v': a[0]}, m['name'] + '.')
                shape[s['out']] = list(m['gives'])
            elif s['op'] == 'mix':
                shape[s['out']] = a[1]
            elif s['op'] == 'pick':
                shape[s['out']] = [s['n']]
            elif s['op'] == 'reshape':
                shape[s['out']] = s['dims']
            elif s['op'] == 'flatten':
                n = 1
                for d in a[0]:
                    n *= d
                shape[s['out']] = [n]
            elif s['op'] == 'matmul_t':
                shape[s['out']] = [a[0][0], a[1][0]]
            elif s['op'] == 'matmul':
                shape[s['out']] = [a[0][0], a[1][1]]
            elif s['op'] == 'pool':
                shape[s['out']] = a[0][1:]
            elif s['op'] == 'last':
                shape[s['out']] = a[0][:-1]
            elif s['op'] == 'slice':
                shape[s['out']] = [s['hi'] - s['lo']]
            elif s['op'] == 'concat':
                shape[s['out']] = a[0][:-1] + [a[0][-1] + a[1][-1]]
            else:
                shape[s['out']] = a[0]
                if s['op'] in ('layer_norm', 'rms_norm'):
                    out[name + '.weight'] = out[name + '.bias'] = [n_in]
    walk(p['model'], {'x': list(p['image'] or p['seq'] or [p['n_in']]), 'label': [], 'kind': [], 'tok': (p['seq'] or [0])[:1]}, '')
    return out


def compare(program, values):
    """Messages of what differs, and the worst distance."""
    twin = Twin(program, values)
    losses, gradients = twin.gradients()
    bad, worst = [], 0.0
    want = {k.split(' ', 1)[1]: torch.tensor(v) for k, v in values.items() if k.startswith('grad ')}
    scale = max([float(g.abs().max()) for g in want.values()] + [1e-6])
    for name, value in losses.items():
        found = abs(values['loss ' + name][0] - value) / max(abs(value), 1e-3)
        worst = max(worst, found)
        if not found <= BOUND:
            bad.append('loss of %s: %.9g, PyTorch %.9g' % (name, values['loss ' + name][0], value))
    for path in twin.params:
        g = gradients.get(path)
        mine = want.get(path, torch.zeros(1))
        found = float((mine - (g.flatten() if g is not None else 0)).abs().max()) / scale
        worst = max(worst, found)
        if not found <= BOUND:
            bad.append('gradient of %s: %.3g of the largest away' % (path, found))
    return bad, worst


def main():
    count, first = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1
    failed, worst, degenerate = 0, 0.0, 0
    with tempfile.TemporaryDirectory() as folder:
        listing = ''
        for seed in range(first, first + count):
            p = generate.Generator(seed).program()
            generate.write(folder, p)
            listing += '%s/%d.route\n' % (folder, seed)
        done = subprocess.run([os.environ['RANDOM_STEP'], '--interpret', '1'], input=listing, text=True, stdout=subprocess.PIPE)
        if done.returncode:
            print(done.stdout)
            return 1
        for seed in range(first, first + count):
            at = os.path.join(folder, '%d' % seed)
            with open(at + '.json') as f, open(at + '.route.values') as g:
                try:
                    bad, found = compare(json.load(f), json.load(g))
                except Degenerate:
                    degenerate += 1
                    continue
            worst = max(worst, found)
            for message in bad:
                print('FAILED seed %d: %s' % (seed, message))
            failed += bool(bad)
    print('%d programs against PyTorch, seeds %d to %d: %d failed, worst %.3g; %d degenerate'
          % (count, first, first + count - 1, failed, worst, degenerate))
    return 1 if failed or degenerate > count / 20 + 1 else 0


if __name__ == '__main__':
    sys.exit(main())
