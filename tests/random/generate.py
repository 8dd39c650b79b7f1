# SPDX-License-Identifier: Apache-2.0
"""Random programs: generate.py FOLDER FIRST COUNT [smooth] writes for each seed n in FIRST ..< FIRST + COUNT
  n.route        a random net with random splits, classes, routes, losses and optimizer
  n.plain.route  the same, extended without its `gradient of` and `parameters of` routes
  n.json         the same as data, from which tests/random/torch_check.py builds the PyTorch twin
  n-*.npy, n.csv its data
and prints a line for each program: what tests/random/step reads. A seed gives the same program for ever as long as this
file does not change."""
import itertools
import json
import os
import random
import struct
import sys

ROUGH = ['relu', 'tanh', 'gelu', 'silu', 'sigmoid', 'softplus', 'abs']
SMOOTH = ['tanh', 'gelu']


# ---- conditions: nested lists ['in', field, lo, hi], ['eq', field, v], ['not', c], ['and', a, b], ['or', a, b],
# ['class', name], ['seen', label]; and a weight from 0 to 1: ['soft', field, highest value] ----
def cond_text(c):
    if c[0] == 'in':
        return '%s in %d ..= %d' % tuple(c[1:])
    if c[0] == 'eq':
        return '%s == %d' % tuple(c[1:])
    if c[0] == 'class':
        return c[1]
    if c[0] == 'soft':
        return 'soft_' + c[1]
    if c[0] == 'seen':
        return 'seen is ' + {1: 'yes', 0: 'no', -1: 'unlabelled'}[c[1]]
    if c[0] == 'not':
        return 'not (%s)' % cond_text(c[1])
    return '(%s) %s (%s)' % (cond_text(c[1]), c[0], cond_text(c[2]))


def cond_holds(c, fields, classes):
    if c[0] == 'in':
        return c[2] <= fields[c[1]] <= c[3]
    if c[0] == 'eq':
        return fields[c[1]] == c[2]
    if c[0] == 'class':
        return cond_holds(classes[c[1]], fields, classes)
    if c[0] == 'not':
        return not cond_holds(c[1], fields, classes)
    a, b = cond_holds(c[1], fields, classes), cond_holds(c[2], fields, classes)
    return (a and b) if c[0] == 'and' else (a or b)


class Generator:
    def __init__(self, seed, smooth=False):
        self.r = random.Random(seed)
        self.seed, self.smooth = seed, smooth
        self.acts = SMOOTH if smooth else ROUGH
        self.shape, self.body, self.modules = {}, [], []
        self.n_names = self.n_layers = 0
        self.no_place = set()  # detached values: a route there would do nothing
        self.places = []       # extra places: insides of modules
        self.between = set()   # values between positions
        self.selects = random.Random(7919 * seed).random() < 0.2
        self.classes = {}

    def chance(self, p):
        return self.r.random() < p

    # ---- statements ----
    def put(self, op, args, shape, out=None, **attrs):
        self.n_names += 1
        out = out or 'h%d' % self.n_names
        self.body.append(dict(attrs, out=out, op=op, args=list(args)))
        self.shape[out] = tuple(shape)
        if op in ('matmul_t', 'softmax', 'scale'):
            self.between.add(out)
        return out

    def layer(self):
        self.n_layers += 1
        return 'l%d' % self.n_layers

    def linear(self, x, n):
        return self.put('linear', [x], self.shape[x][:-1] + (n,), layer=self.layer(), n=n, bias=self.chance(0.7))

    def act(self, x):
        return self.put('act', [x], self.shape[x], kind=self.r.choice(self.acts))

    # ---- blocks: a value of one axis in, one of one axis out ----
    def block_dense(self, h):
        return self.act(self.linear(h, self.r.randint(3, 11)))

    def block_residual(self, h):
        branch = self.act(self.linear(h, self.r.randint(3, 9)))
        return self.put('add', [h, self.linear(branch, self.shape[h][-1])], self.shape[h])

    def block_norm(self, h):
        kind = self.r.choice(['layer_norm', 'rms_norm'])
        return self.put(kind, [h], self.shape[h], layer=self.layer(), affine=self.chance(0.7))

    def block_embedding(self, h):
        field = 'tok' if self.seq else self.r.choice(['label', 'kind'])
        e = self.put('embedding', [field], self.shape[h], layer=self.layer(), vocab=self.ranges[field] + 1, d=self.shape[h][-1])
        return self.put('add', [h, e], self.shape[h])

    def block_tied(self, h):
        """A module that is called twice, so its weights are tied."""
        shape = self.shape[h]
        name = self.module(shape, shape[-1])
        first = self.put('call', [h], shape, module=name)
        between = self.act(first) if self.chance(0.3) else first
        return self.put('call', [between], shape, module=name)

    def block_module(self, h):
        n, lead = self.r.randint(3, 9), self.shape[h][:-1]
        name = self.module(self.shape[h], n)
        inside = self.modules[-1]['body'][0]
        place = '%s.%s' % (name, inside['out'])
        self.places.append(place)
        self.shape[place] = lead + (inside['n'],)
        return self.put('call', [h], lead + (n,), module=name)

    def module(self, shape, n_out):
        name = 'm%d' % (len(self.modules) + 1)
        saved, self.body = self.body, []
        self.shape['v'] = shape
        x = self.linear('v', self.r.randint(3, 8))
        self.put('linear', [self.act(x)], shape[:-1] + (n_out,), out='out', layer=self.layer(), n=n_out, bias=True)
        body, self.body = self.body, saved
        self.modules.append(dict(name=name, takes=shape, gives=shape[:-1] + (n_out,), body=body))
        return name

    def block_mix(self, h):
        d = self.r.randint(3, 8)
        gate = self.linear(h, 1)
        if self.seq and self.chance(0.5):  # one number for each position, or an axis of 1
            gate = self.put('last', [gate], self.shape[gate][:-1])
        gate = self.put('act', [gate], self.shape[gate], kind='sigmoid')
        a, b = self.linear(h, d), self.act(self.linear(h, d))
        return self.put('mix', [gate, a, b], self.shape[a], names=['left', 'right'])

    def gate(self, h, n):
        """Weights of n branches, most of them 0; of each datum, or sometimes of each position."""
        if self.seq and self.chance(0.8):
            h = self.put('pool', [h], self.shape[h][1:])
        kind, lead = self.r.choice(['hard', 'hard', 'open', 'data']), self.shape[h][:-1]
        if kind == 'data':
            field = self.r.choice(['label', 'kind'])
            return self.put('pick', [field], (n,), n=n)
        return self.put(kind, [self.linear(h, n)], lead + (n,), n=n)

    def block_select(self, h, depth=0):
        """Branches that some data take: two or three, of layers, of layers called twice, or of a select of their own."""
        d, names = self.r.randint(3, 8), ['left', 'right', 'third'][:self.r.randint(2, 3)]
        gate = self.gate(h, len(names)) if depth == 0 or self.chance(0.5) else None
        operands = []
        for i, _ in enumerate(names):
            x = self.act(self.linear(h, self.r.randint(3, 9))) if self.chance(0.6) else h
            if depth == 0 and i == 0 and self.chance(0.4) and not self.image:
                x = self.block_select(x, 1)
            operands.append(self.act(self.linear(x, d)) if self.chance(0.5) else self.linear(x, d))
        gate = gate or self.gate(h, len(names))
        return self.put('mix', [gate] + operands, self.shape[operands[0]], names=names, select=True)

    def block_attention(self, h):
        t, d = self.r.randint(2, 4), self.r.randint(2, 5)
        x = h
        if self.seq:
            t = self.seq[0]
        else:
            x = self.put('reshape', [self.linear(h, t * d)], (t, d), dims=[t, d])
        q, k, v = self.linear(x, d), self.linear(x, d), self.linear(x, d)
        scores = self.put('scale', [self.put('matmul_t', [q, k], (t, t))], (t, t), by=0.5)
        mixed = self.put('matmul', [self.put('softmax', [scores], (t, t)), v], (t, d))
        return mixed if self.seq else self.put('flatten', [mixed], (t * d,))

    def block_concat(self, h):
        if self.seq:
            other = self.act(self.linear(h, 3))
            return self.put('concat', [other, h], self.shape[h][:-1] + (3 + self.shape[h][-1],))
        n = self.shape[h][-1]
        part = self.put('slice', [h], (max(1, n // 2),), lo=0, hi=max(1, n // 2))
        other = self.act(self.linear(h, 3))
        return self.put('concat', [other, part], (3 + self.shape[part][-1],))

    def start(self):
        if not self.image:
            return 'x'
        h, (c, size, _) = 'x', self.image
        for _ in range(self.r.randint(1, 2)):
            n, k, p = self.r.randint(2, 5), self.r.choice([1, 2, 3]), self.r.randint(0, 1)
            stride = self.r.choice([1, 1, 2])
            if size + 2 * p < k:
                break
            size = (size + 2 * p - k) // stride + 1
            h = self.put('conv', [h], (n, size, size), layer=self.layer(), n=n, kernel=k, stride=stride, padding=p,
                         bias=self.chance(0.7))
            h = self.act(h)
        return self.put('flatten', [h], (self.shape[h][0] * size * size,))

    def net(self):
        blocks = [self.block_dense, self.block_dense, self.block_residual, self.block_norm, self.block_embedding, self.block_tied,
                  self.block_module, self.block_mix, self.block_attention, self.block_concat]
        h = self.start()
        self.trail = []
        if h == 'x':
            h = self.block_dense(h)
        for _ in range(self.r.randint(1, 4)):
            h = self.r.choice(blocks)(h)
            self.trail.append(h)
        if self.selects:
            h = self.block_select(h)
            self.trail.append(h)
        return h

    # ---- the rest of a program ----
    def data(self):
        r = self.r
        self.rows, self.batch = r.randint(11, 23), r.randint(3, 9)
        self.image = (r.randint(1, 3), r.randint(3, 5)) if self.chance(0.25) else None
        if self.image:
            self.image = (self.image[0], self.image[1], self.image[1])
        self.seq = (r.randint(2, 5), r.randint(2, 4)) if not self.image and self.chance(0.3) else None
        self.ranges = {'label': r.randint(2, 5), 'kind': r.randint(1, 3)}
        if self.seq:
            self.ranges['tok'] = r.randint(2, 4)
        self.n_in = self.image[0] * self.image[1] ** 2 if self.image else r.randint(3, 9)
        self.n_in = self.seq[0] * self.seq[1] if self.seq else self.n_in
        self.shape['x'] = self.image or self.seq or (self.n_in,)
        self.shape.update({'label': (), 'kind': (), 'tok': self.seq and self.seq[:1]})
        self.reader = r.choice(['csv', 'npy'])
        self.table = [[struct.unpack('f', struct.pack('f', round(r.uniform(-1.5, 1.5), 4)))[0] for _ in range(self.n_in)]
                      for _ in range(self.rows)]
        width = lambda f: self.seq[0] if f == 'tok' else 1
        self.ints = {f: [r.randint(0, hi) for _ in range(self.rows * width(f))] for f, hi in sorted(self.ranges.items())}

    def at_positions(self, c):
        """Does the condition vary over positions, not only over data?"""
        if c[0] == 'class':
            return self.at_positions(self.classes[c[1]])
        return c[1] == 'tok' if c[0] in ('in', 'eq') else any(self.at_positions(x) for x in c[1:])

    def has_positions(self, name):
        """May a condition at positions speak of this value? Between positions (attention's scores) it may not."""
        return bool(self.seq) and len(self.shape[name]) == 2 and name not in self.between

    def random_cond(self, depth=0):
        r = self.r
        kind = r.choice(['in', 'in', 'eq', 'class', 'not', 'and', 'or'])
        if kind == 'class' and self.classes:
            return ['class', r.choice(sorted(self.classes))]
        if kind == 'not' and depth < 2:
            return ['not', self.random_cond(depth + 1)]
        if kind in ('and', 'or') and depth < 2:
            return [kind, self.random_cond(depth + 1), self.random_cond(depth + 1)]
        field = r.choice(sorted(self.ranges))
        lo = r.randint(0, self.ranges[field])
        return ['in', field, lo, r.randint(lo, self.ranges[field])] if kind == 'in' else ['eq', field, lo]

    def every_datum(self):
        names = sorted(self.ranges)
        for values in itertools.product(*[range(self.ranges[f] + 1) for f in names]):
            yield dict(zip(names, values))

    def truth(self, c):
        return tuple(cond_holds(c, f, self.classes) for f in self.every_datum())

    def useful_cond(self, positions):
        """A condition that some data meet and some do not."""
        while True:
            c = self.random_cond()
            if len(set(self.truth(c))) == 2 and (positions or not self.at_positions(c)):
                return c

    def class_for(self, positions):
        return self.r.choice([c for c in sorted(self.classes) if positions or not self.at_positions(['class', c])])

    def parts_of(self, place):
        """Parts of the units: slices, lists, what is left."""
        n = self.shape[place][0] if len(self.shape[place]) == 3 else self.shape[place][-1]
        units, r = list(range(n)), self.r
        k = min(n, r.randint(1, 3))
        if self.chance(0.5):
            cuts = sorted(r.sample(range(1, n), k - 1)) if n > 1 else []
            groups = [units[a:b] for a, b in zip([0] + cuts, cuts + [n])]
        else:
            r.shuffle(units)
            groups = [sorted(units[i::k]) for i in range(k)]
        return {'abc'[i]: g for i, g in enumerate(groups)}

    def weights(self, parts):
        style = self.r.random()
        if style < 0.15:
            return {p: 1.0 for p in parts}
        if style < 0.25:
            return {p: 0.0 for p in parts}
        if style < 0.65:
            inside = self.r.sample(sorted(parts), self.r.randint(1, len(parts)))
            return {p: float(p in inside) for p in parts}
        return {p: self.r.choice([0.0, 1.0, 0.5, -0.75, 2.0, 0.125]) for p in parts}

    def observed(self):
        """How the labels of c0 are drawn: wrong ones only where there are enough data for them."""
        r, members = self.r, 0
        out = dict(recall=r.choice([0.3, 0.6, 1.0]), no=r.choice([0.0, 0.3, 0.6, 1.0]), precision=r.choice([None, 0.7]))
        for i in range(self.rows):
            members += cond_holds(self.classes['c0'], {f: v[i] for f, v in self.ints.items() if f != 'tok'}, self.classes)
        wrong, others = out['recall'] * members * (1 / 0.7 - 1) + 2, self.rows - members
        if wrong > others * (1 - out['no']):
            out['precision'] = None
        return out

    def observed_arms(self, parts):
        """On the labels of an observed class: yes, perhaps no, and none."""
        labels = [1, 0, -1] if self.chance(0.5) else [1, -1]
        return [dict(cond=['seen', v], weights=self.weights(parts)) for v in labels], False

    def blended_arms(self, parts, positions):
        """A weight for each datum or position, perhaps before or behind a condition."""
        field = self.r.choice([f for f in sorted(self.ranges) if positions or f != 'tok'])
        self.soft.add(field)
        out = [dict(cond=['soft', field, self.ranges[field]], weights=self.weights(parts))]
        if self.chance(0.5):
            out.insert(self.r.randint(0, 1), dict(cond=self.useful_cond(positions), weights=self.weights(parts)))
        return out, True

    def arms(self, parts, positions):
        if self.chance(0.15):
            return self.blended_arms(parts, positions)
        if self.seen and self.chance(0.6):
            return self.observed_arms(parts)
        conds, ordered = [self.useful_cond(positions) for _ in range(self.r.choice([0, 1, 1, 2, 3]))], False
        taken, kept = [False] * len(list(self.every_datum())), []
        for c in conds:
            t = self.truth(c)
            if not any(a and not b for a, b in zip(t, taken)):
                continue  # nothing would reach this arm
            ordered |= any(a and b for a, b in zip(t, taken))
            taken = [a or b for a, b in zip(t, taken)]
            kept.append(c)
        return [dict(cond=c, weights=self.weights(parts)) for c in kept], ordered

    def route(self, name, place, primitive, origins):
        mix = next((s for s in self.body if s['out'] == place and s['op'] == 'mix'), None)
        if mix:
            parts = {n: [] for n in mix['names']}
        else:
            self.splits.setdefault(place, self.parts_of(place))
            parts = self.splits[place]
        arms, ordered = self.arms(parts, self.has_positions(place))
        one = self.chance(0.2)
        strength = self.r.choice([0.0, 0.25, 0.5, 1.0]) if one else None
        return dict(name=name, place=place, primitive=primitive, mix=bool(mix), arms=arms, ordered=ordered,
                    other=self.weights(parts), strength=strength, origins=origins)

    # ---- routes of parameters ----
    def layers(self):
        """path: (statement, name of its module or '')."""
        out = {s['layer']: s for s in self.body if 'layer' in s and s.get('affine', True)}
        for m in self.modules:
            out.update({'%s.%s' % (m['name'], s['layer']): s for s in m['body'] if 'layer' in s})
        return out

    def parameters_of_layer(self):
        """All of a layer or of a module."""
        path = self.r.choice(sorted(self.layers()) + [m['name'] for m in self.modules])
        covers = [p for p in self.layers() if p == path or p.startswith(path + '.')]
        s = self.layers().get(path)
        if s and s['op'] in ('linear', 'conv') and '.' not in path and s['n'] > 1 and self.chance(0.6):
            name, k = self.region(s), self.r.randint(1, s['n'] - 1)
            self.regions[name]['text'] = '%s[0 .. %d].made_by' % (s['out'], k)
            of = ['row', [name if u < k else 'shared' for u in range(s['n'])]]
            return path, {name: [], 'shared': []}, {path + '.weight': of, path + '.bias': of}
        return path, {'shared': []}, {p + k: ['shared'] for p in covers for k in ('.weight', '.bias')}

    # ---- regions ----
    def region(self, s):
        """Its name: of parameters of this layer, which no other region has settings for."""
        name, settings = 'g%d' % len(self.regions), []
        if s['layer'] not in self.settled and self.chance(0.7):
            self.settled.add(s['layer'])
            settings += ['masked = ' + self.r.choice(['freeze', 'zero_grad', 'mask_update'])] if self.chance(0.6) else []
            settings += ['decay = ' + self.r.choice(['false', 'true'])] if self.chance(0.4) else []
            settings += ['clip = ' + self.r.choice(['0.01', '5.0'])] if self.chance(0.3) else []
        self.regions[name] = dict(settings=settings)
        return name

    def regions_with_settings(self):
        for _ in range(self.r.choice([0, 0, 1, 2])):
            path = self.r.choice(sorted(p for p in self.layers() if '.' not in p))
            s = self.layers()[path]
            units = s['op'] in ('linear', 'conv') and self.chance(0.5)
            self.regions[self.region(s)]['text'] = '%s[0 .. %d].made_by' % (s['out'], self.r.randint(1, s['n'])) if units else path

    def parameters_of_units(self):
        """Units of a linear layer (channels of a convolution) whose readers are linear layers and convolutions, through functions
        of single numbers: the rows that make them and the columns that read them; the readers' biases are shared."""
        maker = self.r.choice([s for s in self.body if s['op'] in ('linear', 'conv')])
        places, reached, readers = [maker['out']], [(maker['out'], 1)], []
        for value, entries in reached:  # entries of the value for each unit, once it is flat
            for s in [s for s in self.body if value in s['args']]:
                if s['op'] in ('linear', 'conv'):
                    readers.append((s, entries))
                elif s['op'] == 'act':
                    reached.append((s['out'], entries))
                elif s['op'] == 'flatten' and maker['op'] == 'conv':
                    reached.append((s['out'], self.shape[value][1] * self.shape[value][2]))
                else:
                    return None
        if not readers:
            return None
        after = [s for s in self.body if maker['out'] in s['args']]
        if len(after) == 1 and after[0]['op'] == 'act':
            places.append(after[0]['out'])
        place = self.r.choice(places)
        self.splits.setdefault(place, self.parts_of(place))
        parts = dict(self.splits[place])
        of = [name for _, name in sorted((u, name) for name, units in parts.items() for u in units)]
        owners = {maker['layer'] + '.weight': ['row', of], maker['layer'] + '.bias': ['row', of]}
        for s, entries in readers:
            owners[s['layer'] + '.weight'] = ['column', [name for name in of for _ in range(entries)]]
            owners[s['layer'] + '.bias'] = ['shared']
        if any(s['bias'] for s, _ in readers):
            parts['shared'] = []
        return place, parts, owners

    def route_of_parameters(self, name, origins, covered):
        found = self.parameters_of_layer() if self.chance(0.3) else None
        for _ in range(8):
            found = found or self.parameters_of_units()
        if not found or covered & set(found[2]):
            return None
        place, parts, owners = found
        covered |= set(owners)
        positions = bool(self.seq) and all(self.at_every_position(path) for path in owners)
        arms, ordered = self.arms(parts, positions)
        return dict(name=name, place=place, primitive='parameters', mix=False, arms=arms, ordered=ordered, other=self.weights(parts),
                    strength=self.r.choice([0.0, 0.5, 1.0]) if self.chance(0.2) else None, origins=origins, owners=owners)

    def at_every_position(self, parameter):
        """Is each use of it at positions? Then a condition at positions can mask it."""
        path = parameter.rsplit('.', 1)[0]
        if '.' in path:
            return True  # a module is called on positions where there are any
        s = next(s for s in self.body if s.get('layer') == path)
        return self.has_positions(s['out'])

    def routes(self):
        self.splits, self.regions, self.settled, self.soft = {}, {}, set(), set()
        self.regions_with_settings()
        values = [s['out'] for s in self.body if s['out'] not in self.no_place and s['op'] != 'slice'] + self.places
        names = [n for o in self.losses + self.regs if o['routed'] for n in origins_of(o)]
        out, used = [], set()
        covered = set()
        for i in range(self.r.choice([0, 0, 1, 1, 2])):
            origins = sorted(self.r.sample(names, self.r.randint(1, len(names)))) if names and self.chance(0.3) else None
            out += [r for r in [self.route_of_parameters('p%d' % i, origins, covered)] if r]
        for i in range(self.r.choice([1, 1, 2, 2, 3, 4])):
            place, primitive = self.r.choice(values), 'value' if self.chance(0.2) else 'gradient'
            if (place, primitive) in used:
                continue
            used.add((place, primitive))
            origins = sorted(self.r.sample(names, self.r.randint(1, len(names)))) if names and self.chance(0.3) and primitive == "gradient" else None
            out.append(self.route('r%d' % i, place, primitive, origins))
        return out

    def denominator(self, fixed, positions):
        kind = self.r.choice(['per', 'per', 'sum']) if fixed else self.r.choice(['mean', 'mean_by', 'mean_by', 'mean_over', 'per', 'sum'])
        by = 'label' if kind == 'mean_by' and self.chance(0.3) else self.class_for(positions)
        return dict(kind=kind, by=by, per=self.r.randint(2, 9))

    def loss(self, i, h, flat):
        """On a head of the net: (x - head)^2 at each position, or one term for each datum."""
        kind, source = self.r.choice(['mse', 'ce'] if self.smooth else ['mse', 'mae', 'ce']), self.r.choice([h, h] + self.trail)
        detached = self.chance(0.15)
        if detached:
            source = self.put('stop', [source], self.shape[source])
            self.no_place.add(source)
        if self.seq and kind == 'ce':
            source = self.put('pool', [source], self.shape[source][-1:])
        elif self.seq and self.chance(0.6):
            kind = 'positions'
        head = self.linear(source, self.ranges['label'] + 1 if kind == 'ce' else self.shape[flat][-1])
        by = sorted({self.class_for(kind == 'positions') for _ in range(self.r.randint(1, 2))}) if self.chance(0.25) else []
        return dict(name='loss%d' % i, kind=kind, args=[head, 'label' if kind == 'ce' else flat], weight=self.r.choice([None, None, 0.5, 2.0]),
                    denominator=self.denominator(self.fixed, kind == 'positions'), by_class=by, routed=not self.chance(0.15),
                    probe=detached and self.chance(0.5))

    def objectives(self, h):
        """Losses on heads of the net, and penalties on values within it."""
        self.fixed = self.chance(0.4)  # denominators that do not depend on the batch: mixed = sum of homogeneous
        flat = 'x'
        if self.image:
            flat = self.put('flatten', ['x'], (self.n_in,))
            self.no_place.add(flat)
        self.losses, self.regs = [self.loss(i, h, flat) for i in range(self.r.choice([1, 1, 2, 3]))], []
        for i in range(0 if self.fixed else self.r.choice([0, 0, 1, 2])):
            kind = self.r.choice(['l2', 'square'] if self.smooth else ['l1', 'l2', 'square', 'correlation'])
            at = self.r.choice(self.trail)
            if kind == 'correlation' and (self.shape[at][-1] < 2 or self.seq):
                kind = 'l2'
            if kind == 'square' and self.seq:
                kind = 'square_at'
            self.regs.append(dict(name='reg%d' % i, kind=kind, args=[at], n=self.shape[at][-1], weight=self.r.choice([0.01, 0.1]),
                                  routed=self.chance(0.5)))

    # ---- gates ----
    def gates(self):
        """Policies of the weights of some mixes. They have a stream of their own: the rest of a program does not depend on them."""
        self.r, saved = random.Random(104729 * self.seed), self.r
        out, taken = [], set()
        names = [n for o in self.losses + self.regs if o['routed'] for n in origins_of(o)]
        for s in [s for s in self.body if s['op'] == 'mix']:
            place = s['args'][0]
            if place in taken or self.chance(0.4):
                continue
            taken.add(place)
            at, n = self.has_positions(place), len(s['names']) if s.get('select') else 1
            when = lambda: [self.useful_cond(at) for _ in range(self.r.randint(1, 2))]
            gate = dict(name='gate%d' % len(out), value=place, n=n, shape=self.shape[place], train=None, gradient=None, target=None, routed=True)
            if self.chance(0.5):
                values = ['0.25'] + ([] if self.smooth else ['hard', 'hard'] + (['choice'] if n > 1 else []))
                gate['train'] = dict(value=self.r.choice(values), cond=self.useful_cond(at), when=when() if self.chance(0.5) else [])
            if self.chance(0.7):
                gate['gradient'] = dict(word=self.r.choice(['stop', 'stop', 'pass']), when=when() if self.chance(0.6) else [], origins=None)
                if gate['gradient']['word'] == 'stop' and names and self.chance(0.3):
                    gate['gradient']['origins'] = sorted(self.r.sample(names, self.r.randint(1, len(names))))
            if self.smooth and gate['gradient']:
                gate['train'] = None  # straight through adds a number that is always 0
            if not self.fixed and self.chance(0.6):
                gate['target'] = dict(cond=self.useful_cond(at), weight=self.r.choice([1, 0.5]), when=self.useful_cond(at) if self.chance(0.6) else None)
            if gate['train'] or gate['gradient'] or gate['target']:
                out.append(gate)
        self.r = saved
        return out

    def optimizer(self):
        r = self.r
        kind = r.choice(['sgd', 'sgd', 'adam', 'adam', 'adamw'])
        args = ['lr = %s' % r.choice(['1e-2', '1e-3'])]
        if kind == 'sgd' and self.chance(0.5):
            args.append('momentum = 0.9')
        if self.chance(0.4):
            args.append('weight_decay = %s' % r.choice(['1e-2', '5e-5']))
        settings = ['masked = %s' % r.choice(['freeze', 'zero_grad', 'mask_update'])]
        if self.chance(0.2):
            settings.append('clip = %s' % r.choice(['0.1', '10.0']))
        return '%s(%s) { %s }' % (kind, ', '.join(args), '; '.join(settings))

    def program(self):
        self.data()
        h = self.net()
        for i in range(self.r.randint(1, 3)):
            self.classes['c%d' % i] = self.useful_cond(i > 0)  # c0 is one for each datum
        self.seen = self.observed() if self.chance(0.3) else None
        self.objectives(h)
        routes = self.routes()
        gates = self.gates()
        return dict(gates=gates, seed=self.seed, rows=self.rows, batch=self.batch, n_in=self.n_in, image=self.image, seq=self.seq, ranges=self.ranges,
                    reader=self.reader, modules=self.modules, model=self.body, classes=self.classes, soft={f: self.ranges[f] for f in sorted(self.soft)},
                    regions=self.regions, seen=self.seen, splits=self.splits,
                    routes=routes, losses=self.losses, regs=self.regs, optimizer=self.optimizer(), fixed=self.fixed,
                    group=self.r.choice(['', '', '; group = true', '; group = false']),
                    pack='; pack = true' if self.selects else '',
                    table=self.table, ints=self.ints)


def origins_of(o):
    return ['%s.%s' % (o['name'], c) for c in o['by_class'] + ['otherwise']] if o.get('by_class') else [o['name']]


# ---- as text -------------------------------------------------------------------------------------------------------
def statement(s):
    a, layer = s['args'], s.get('layer')
    bias = '' if s.get('bias', True) else ', bias = false'
    affine = '' if s.get('affine', True) else 'affine = false'
    text = {
        'linear': lambda: '%s |> %s: linear(%d%s)' % (a[0], layer, s['n'], bias),
        'conv': lambda: '%s |> %s: conv2d(%d, kernel = %d, stride = %d, padding = %d%s)'
                        % (a[0], layer, s['n'], s['kernel'], s['stride'], s['padding'], bias),
        'act': lambda: '%s(%s)' % (s['kind'], a[0]),
        'add': lambda: '%s + %s' % tuple(a),
        'scale': lambda: '%s * %s' % (s['by'], a[0]),
        'layer_norm': lambda: '%s |> %s: layer_norm(%s)' % (a[0], layer, affine),
        'rms_norm': lambda: '%s |> %s: rms_norm(%s)' % (a[0], layer, affine),
        'embedding': lambda: '%s |> %s: embedding(%d, %d)' % (a[0], layer, s['vocab'], s['d']),
        'call': lambda: '%s(%s)' % (s['module'], a[0]),
        'mix': lambda: '%s(%s, %s)' % ('select' if s.get('select') else 'mix', a[0],
                                       ', '.join('%s = %s' % pair for pair in zip(s['names'], a[1:]))),
        'hard': lambda: 'one_hot(argmax(%s), %d) * softmax(%s)' % (a[0], s['n'], a[0]),
        'open': lambda: 'where(%s > 0, sigmoid(%s), 0)' % (a[0], a[0]),
        'pick': lambda: 'one_hot(%s, 6)[0 .. %d]' % (a[0], s['n']),
        'reshape': lambda: 'reshape(%s, [%s])' % (a[0], ', '.join(map(str, s['dims']))),
        'flatten': lambda: 'flatten(%s)' % a[0],
        'matmul': lambda: 'matmul(%s, %s)' % tuple(a),
        'matmul_t': lambda: 'matmul(%s, transpose(%s))' % tuple(a),
        'softmax': lambda: 'softmax(%s)' % a[0],
        'slice': lambda: '%s[%d .. %d]' % (a[0], s['lo'], s['hi']),
        'concat': lambda: 'concat(%s, %s)' % tuple(a),
        'stop': lambda: 'stop(%s)' % a[0],
        'last': lambda: 'mean(%s, over = -1)' % a[0],
        'pool': lambda: 'mean(%s, over = 0)' % a[0],
    }[s['op']]()
    return '  %s = %s\n' % (s['out'], text)


def weights_text(w, parts):
    if parts and all(v == 1 for v in w.values()):
        return 'all'
    if all(v == 0 for v in w.values()):
        return 'none'
    if all(v in (0, 1) for v in w.values()):
        return ' + '.join(p for p in sorted(w) if w[p])
    return '{ %s }' % '; '.join('%s = %s' % (p, w[p]) for p in sorted(w))


def split_text(place, parts):
    rows = []
    for i, (name, units) in enumerate(sorted(parts.items())):
        run = units == list(range(units[0], units[-1] + 1))
        text = 'rest' if i == len(parts) - 1 and i else '%d .. %d' % (units[0], units[-1] + 1) if run else str(units)
        rows.append('%s = %s' % (name, text))
    return 'split %s { %s }\n' % (place, '; '.join(rows))


def route_text(r):
    words = {'gradient': 'gradient of', 'value': 'value of', 'parameters': 'parameters of'}[r['primitive']]
    head = 'route %s: %s %s%s %s{\n' % (r['name'], words, r['place'], ' for ' + ', '.join(r['origins']) if r['origins'] else '',
                                        'ordered ' if r['ordered'] else '')
    for arm in r['arms']:
        when = 'unlabelled' if arm['cond'] == ['seen', -1] else 'when ' + cond_text(arm['cond'])
        head += '  %s to %s\n' % (when, weights_text(arm['weights'], True))
    head += '  otherwise to %s\n}' % weights_text(r['other'], True)
    if r['strength'] is not None:
        head += ' { strength = %s }' % r['strength']
    return head + '\n'


def loss_text(o):
    call = {'mse': 'mse(%s, %s)', 'mae': 'mae(%s, %s)', 'ce': 'cross_entropy(%s, %s)',
            'positions': 'mean(square(%s - %s), over = -1)'}[o['kind']] % tuple(o['args'])
    d = o['denominator']
    settings = {'mean': [], 'sum': ['sum'], 'per': ['per = %d' % d['per']], 'mean_by': ['mean_by = ' + d['by']],
                'mean_over': ['mean_over = ' + d['by']]}[d['kind']]
    settings += [] if o['routed'] else ['gradient = unrouted']
    settings += ['by_class = [%s]' % ', '.join(o['by_class'])] if o['by_class'] else []
    settings += ['probe'] if o['probe'] else []
    return 'loss %s = %s%s%s\n' % (o['name'], '%s * ' % o['weight'] if o['weight'] else '', call,
                                   ' { %s }' % '; '.join(settings) if settings else '')


def reg_text(o):
    x, half = o['args'][0], o['n'] // 2
    call = {'l1': 'l1_norm(%s)' % x, 'l2': 'l2_norm(%s)' % x, 'square': 'mean(square(%s))' % x,
            'square_at': 'mean(square(%s), over = [0, 1])' % x,
            'correlation': 'mean(abs(correlation(%s[0 .. %d], %s[%d .. %d], over = example)))' % (x, half, x, half, o['n'])}[o['kind']]
    return 'regularize %s = %s * %s { gradient = %s }\n' % (o['name'], o['weight'], call, 'routed' if o['routed'] else 'unrouted')


def gate_text(o):
    out, t, d, target = 'gate %s {\n  value = %s\n' % (o['name'], o['value']), o['train'], o['gradient'], o['target']
    when = lambda conds: ' when ' + ', '.join(map(cond_text, conds)) if conds else ''
    choice = lambda cond: 'if %s then 0 else 1' % cond_text(cond) if o['n'] > 1 else cond_text(cond)
    if t:
        out += '  train = %s%s\n' % (choice(t['cond']) if t['value'] == 'choice' else t['value'], when(t['when']))
    if d:
        out += '  gradient = %s%s%s\n' % (d['word'], when(d['when']), ' for ' + ', '.join(d['origins']) if d['origins'] else '')
    if target:
        out += '  target = %s\n  weight = %s\n' % (choice(target['cond']), target['weight'])
        out += '  when = %s\n' % cond_text(target['when']) if target['when'] else ''
    return out + '}\n'


def data_text(p):
    name, n, t = str(p['seed']), p['n_in'], p['seq'][0] if p['seq'] else 0
    fields = ['x'] + sorted(p['ranges'])
    if p['reader'] == 'csv':
        source, at = 'csv("%s.csv"' % name, 0
        for f in fields:
            width = n if f == 'x' else t if f == 'tok' else 1
            source += ', %s = %s' % (f, '%d .. %d' % (at, at + width) if f in ('x', 'tok') else at)
            at += width
        source += ')'
    else:
        source = 'npy(%s)' % ', '.join('%s = "%s-%s.npy"' % (f, name, f) for f in fields)
    dims = p['image'] or p['seq'] or [n]
    x = 'source.x'
    if len(dims) > 1 and p['reader'] == 'csv':
        x = 'reshape(source.x, [%s])' % ', '.join(map(str, dims))
    typed = ', '.join(map(str, dims)) if not p['seq'] else 'pos = %d, %d' % tuple(dims)
    out = 'data points {\n  source = %s\n  x: f32[%s] = %s\n' % (source, typed, x)
    for f, hi in sorted(p['ranges'].items()):
        out += '  %s: int%s in 0 ..= %d = source.%s\n' % (f, '[pos = %d]' % t if f == 'tok' else '', hi, f)
    return out + '}\n'


def spec_text(p):
    out = '# tests/random/generate.py, seed %d\nedition 1\n' % p['seed'] + data_text(p)
    typed = lambda shape: 'f32[%s]' % ', '.join(map(str, shape))
    for m in p['modules']:
        out += 'module %s(v: %s) -> %s {\n%s}\n' % (m['name'], typed(m['takes']), typed(m['gives']), ''.join(map(statement, m['body'])))
    out += 'model {\n%s}\n' % ''.join(map(statement, p['model']))
    out += ''.join(split_text(*s) for s in sorted(p['splits'].items()))
    out += ''.join('class %s = %s\n' % (n, cond_text(c)) for n, c in sorted(p['classes'].items()))
    out += ''.join('class soft_%s = real(%s) / %d\n' % (f, f, hi) for f, hi in sorted(p['soft'].items()))
    out += ''.join('region %s = %s%s\n' % (n, g['text'], ' { %s }' % '; '.join(g['settings']) if g['settings'] else '')
                   for n, g in sorted(p['regions'].items()))
    if p['seen']:
        precise = ', precision = %s' % p['seen']['precision'] if p['seen']['precision'] else ''
        out += 'class seen = observe(c0, recall = %s, no = %s%s, seed = 7)\n' % (p['seen']['recall'], p['seen']['no'], precise)
    out += ''.join(map(route_text, p['routes'])) + ''.join(map(loss_text, p['losses'])) + ''.join(map(reg_text, p['regs']))
    out += ''.join(map(gate_text, p['gates']))
    return out + 'optimize %s\ntrain { batch = %d; for = 3 steps; log = 1 steps%s; checkpoint { every = 3 steps } }\n' % (
        p['optimizer'], p['batch'], p['group'] + p['pack'])


def plain_text(p):
    drops = ''.join('drop %s\n' % r['name'] for r in p['routes'] if r['primitive'] != 'value')
    return 'edition 1\nextend "%d.route"\n%s' % (p['seed'], drops)


def save_npy(path, kind, shape, values):
    head = "{'descr': '%s', 'fortran_order': False, 'shape': (%s,), }" % (kind, ', '.join(map(str, shape)))
    head += ' ' * (-(len(head) + 11) % 64) + '\n'
    with open(path, 'wb') as f:
        f.write(b'\x93NUMPY\x01\x00' + struct.pack('<H', len(head)) + head.encode())
        f.write(struct.pack('<%d%s' % (len(values), 'f' if kind == '<f4' else 'i'), *values))


def write(folder, p):
    at = lambda suffix: os.path.join(folder, '%d%s' % (p['seed'], suffix))
    width = lambda f: p['seq'][0] if f == 'tok' else 1
    if p['reader'] == 'csv':
        with open(at('.csv'), 'w') as f:
            for i, row in enumerate(p['table']):
                ints = [v for name in sorted(p['ranges']) for v in p['ints'][name][i * width(name):(i + 1) * width(name)]]
                f.write(','.join(['%.9g' % v for v in row] + ['%d' % v for v in ints]) + '\n')
    else:
        save_npy(at('-x.npy'), '<f4', [p['rows']] + list(p['image'] or p['seq'] or [p['n_in']]), [v for row in p['table'] for v in row])
        for f in p['ranges']:
            save_npy(at('-%s.npy' % f), '<i4', [p['rows']] + ([width(f)] if f == 'tok' else []), p['ints'][f])
    with open(at('.route'), 'w') as f:
        f.write(spec_text(p))
    with open(at('.plain.route'), 'w') as f:
        f.write(plain_text(p))
    if p['pack']:
        with open(at('.apart.route'), 'w') as f:
            f.write(spec_text(dict(p, pack='; pack = false')))
    with open(at('.json'), 'w') as f:
        json.dump(p, f)


def main():
    folder, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    for seed in range(first, first + count):
        p = Generator(seed, 'smooth' in sys.argv[4:]).program()
        write(folder, p)
        print('%s/%d.route%s' % (folder, seed, ' fixed' if p['fixed'] else ''))


if __name__ == '__main__':
    main()
