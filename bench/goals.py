#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The goals of speed, and what is reached: matrix products beside OpenBLAS, training steps beside PyTorch, routed models beside
the same without routes, starts. One command:

    bench/goals.py                      everything, both with and without OPENBLAS_CORETYPE (about 15 minutes)
    bench/goals.py --quick --row mlp    one row, to try

Before a clock is believed, the losses of the first six steps from the same weights on the same batches must be those of PyTorch,
within 3e-5. Then routec, PyTorch and a probe of the FMA peak take turns, in an order that turns about from round to round. Every
sample goes to goals.jsonl, the tables to goals.md, a plot to goals.svg. docs/performance.md says how to read them."""
import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile

import common
import plot
import start as starts
from common import Model, Peer, compare, markdown, spread

LEVELS = ('must', 'target', 'beyond')
CORE = {'set': '`OPENBLAS_CORETYPE=Haswell`', 'unset': '`OPENBLAS_CORETYPE` unset'}


class Line:
    """One figure beside its goals (None: there is none at that level). stat: which of the values counts, `median` or `least`."""

    def __init__(self, row, threads, core, what, values, goals, form='%.2f', higher=True, stat='median', note=''):
        self.row, self.threads, self.core, self.what, self.values, self.goals = row, threads, core, what, values, goals
        self.form, self.higher, self.note, self.stat = form, higher, note, stat
        self.value = statistics.median(values) if stat == 'median' else min(values)

    def reached(self):
        best, asked = 'below', False
        for level, goal in zip(LEVELS, self.goals):
            if goal is None:
                continue
            asked = True
            if not (self.value >= goal if self.higher else self.value <= goal):
                break
            best = level
        return best if asked else ''

    def cells(self):
        said = spread(self.values, self.form)
        if self.stat == 'least':
            said = '%s; median %s' % (self.form % self.value, self.form % statistics.median(self.values))
        goals = ['' if g is None else self.form % g for g in self.goals]
        return [self.row, str(self.threads), self.what, said + self.note, *goals, self.reached()]


class Bench:
    def __init__(self, a):
        self.a, self.samples = a, common.Samples(a, 'goals.jsonl')
        self.lines, self.times, self.shapes, self.notes, self.warnings, self.profiles, self.parts, self.apart = [], [], [], [], [], [], [], []
        self.cores = ['set', 'unset'] if a.coretype == 'both' else [a.coretype]

    def turns(self, contestants):
        return common.turns(contestants, self.a.rounds)

    def say(self, text):
        print(text.replace('`', ''), flush=True)

    def warn(self, text):
        print('warning: ' + text, file=sys.stderr)
        self.warnings.append(text)


# m, n, k, transposed; tile | GFLOP/s and share of the peak | the same of OpenBLAS | ratio | ...
GEMM_LINE = re.compile(r' *(\d+) +(\d+) +(\d+) +([01][01]) ([^|]*)\| *([\d.]+) +([\d.]+)% *\| *([\d.]+) +([\d.]+)% *\| *([\d.]+) *\|')


PARTS = ['arithmetic', 'unused lanes and rows', 'tile', 'packing A', 'packing B', 'turning C', 'operands', 'C']
GEMM_PARTS = re.compile(r' *time, %: ' + ', '.join(re.escape(p) + r' (-?[\d.]+)' for p in PARTS) + '$')


# ---- matrix products ------------------------------------------------------------------------------------------------------
def gemm_run(b, threads, core, target):
    """One run of bench_gemm: [(shape, ours, share of the peak, times OpenBLAS)]; it interleaves, and checks results, itself. On one
    thread it says where the time of shapes below target goes: the BLAS has no part in that, so that one run will do."""
    command = [os.path.join(b.a.programs, 'bench_gemm'), '-t', str(threads), '-r', str(b.a.gemm_rounds)]
    if threads == 1 and core == b.cores[0]:
        command += ['-B', str(target)]
    for shape in b.a.shape or []:
        command += shape.split()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=common.environment(core))
    if done.returncode:
        raise SystemExit('bench_gemm: exit code %d\n%s' % (done.returncode, done.stderr))
    found = []
    for line in done.stdout.splitlines()[1:]:
        m, parts = GEMM_LINE.match(line), GEMM_PARTS.match(line)
        if parts and found:
            b.parts.append((found[-1][0], found[-1][2], [float(x) for x in parts.groups()]))
            b.samples.add(what='parts of a product', threads=threads, coretype=core, shape=found[-1][0], percent=dict(zip(PARTS, b.parts[-1][2])))
            continue
        if not m:
            raise SystemExit('bench_gemm printed a line that nobody understands: ' + line)
        form = {'00': '', '01': ', B transposed', '10': ', A transposed', '11': ', both transposed'}[m.group(4)]
        shape = '%s x %s x %s%s' % (m.group(1), m.group(2), m.group(3), form)
        ours, share, blas, ratio = float(m.group(6)), float(m.group(7)), float(m.group(8)), float(m.group(10))
        found.append((shape, ours, share, ratio))
        b.samples.add(row='gemm', threads=threads, coretype=core, shape=shape, kernel=m.group(5).strip(), gflops=ours, blas=blas,
                      share=share / 100, ratio=ratio)
    if not found:
        raise SystemExit('bench_gemm measured no shape')
    return found


def gemm(b):
    for threads in b.a.threads:
        for core in b.cores:
            target = 95 if threads == 1 else 93
            found = gemm_run(b, threads, core, target)
            shares, ratios = [f[2] for f in found], [f[3] for f in found]
            worst, least = found[ratios.index(min(ratios))], found[shares.index(min(shares))]
            row = 'matrix products, %d shapes' % len(found)
            b.lines.append(Line(row, threads, core, 'times OpenBLAS, worst shape', ratios, (0.98, None, None), stat='least',
                                note=' (worst: %s)' % worst[0]))
            note = '; %d of %d at target; least: %s' % (sum(s >= target for s in shares), len(found), least[0])
            b.lines.append(Line(row, threads, core, 'share of the FMA peak, median shape, %', shares, (None, target, 97), '%.0f', note=note))
            b.shapes += [(core, threads, *f) for f in found]
            b.say('gemm, %d threads, %s: least %.2f times OpenBLAS, median %.0f %% of the peak' % (
                threads, CORE[core], worst[3], statistics.median(shares)))


# ---- training steps beside PyTorch ---------------------------------------------------------------------------------------
TRAINING = {  # row: (name, spec, settings, peer's model, batch, goals of the ratio, goals of the share in %)
    'ae2048': ('autoencoder, batch 2048', 'ae.route', ['rows=2048'], 'autoencoder', 2048, (1.15, 1.25, 1.35), (80, 86, 91)),
    'ae64': ('autoencoder, batch 64', 'ae.route', ['rows=64'], 'autoencoder', 64, (1.8, 2.3, 2.6), (47, 62, 68)),
    'mlp': ('MLP 784-128-10, batch 64', 'mlp.route', ['rows=64'], 'mlp', 64, (2.3, 3.2, 3.8), (None, 57, None)),
}


def answers(b, what, model, threads, weights, reference):
    """Holds the first losses of every kind of run against the reference's; without one, against each other."""
    worst = 0
    for core in b.cores:
        ours = model.losses(threads, common.CHECK_STEPS, core, ['--init', weights])
        reference = reference or ours
        worst = max(worst, compare('%s, %s' % (what, CORE[core]), ours, reference))
    b.samples.add(what='answers', of=what, threads=threads, worst=worst, reference='none' if b.a.no_peer else 'PyTorch',
                  losses=reference)
    b.notes.append((what, threads, worst))
    return reference


def training(b, key):
    name, spec, settings, peer_model, batch, ratio_goals, share_goals = TRAINING[key]
    model = Model(b.a, spec, settings)
    with tempfile.TemporaryDirectory() as folder:
        weights = os.path.join(folder, 'weights.safetensors')
        model.weights(weights)
        for threads in b.a.threads:
            peer = None if b.a.no_peer else Peer(b.a, peer_model, batch, threads, weights)
            answers(b, name, model, threads, weights, peer and peer.losses(common.CHECK_STEPS))
            n = model.steps_for(threads, b.a.seconds, b.cores[0])
            contestants = {'probe': lambda: common.probe(b.a, threads)}
            if threads > 1 and len(os.sched_getaffinity(0)) > 1:
                contestants['line'] = lambda: common.line_time(b.a)
            if peer:
                peer.steps(max(2, n // 4))
                contestants['torch'] = lambda: peer.steps(n)[0] / n
            for core in b.cores:
                contestants[core] = lambda core=core: model.sample(threads, n, core)[0]
            got = b.turns(contestants)
            if peer:
                peer.close()
            b.samples.add(row=key, threads=threads, steps=n, seconds_a_step={k: v for k, v in got.items() if k not in ('probe', 'line')},
                          peak_gflops=got['probe'], line_ns=got.get('line'))
            if 'line' in got:
                b.apart.append((name, threads, got))
            training_lines(b, name, threads, model.product_flop() * 1e-9, got, ratio_goals, share_goals)
            b.profiles.append((name, threads, b.cores[-1], model.profile(threads, 5 * n // 4 + 1, b.cores[-1])))


def training_lines(b, name, threads, gflop, got, ratio_goals, share_goals):
    peak = statistics.median(got['probe'])
    if any(gflop / r > 1.02 * p for core in b.cores for r, p in zip(got[core], got['probe'])):
        b.warn('%s, %d threads: more than the FMA peak measured beside it cannot be; other programs disturbed the probe' % (name, threads))
    theirs = got.get('torch')
    for core in b.cores:
        ours = got[core]
        if theirs:
            b.lines.append(Line(name, threads, core, 'times as fast as tuned PyTorch', [t / r for t, r in zip(theirs, ours)], ratio_goals))
        shares = [100 * gflop / r / p for r, p in zip(ours, got['probe'])]
        b.lines.append(Line(name, threads, core, 'share of the FMA peak, %', shares, share_goals, '%.0f'))
        said = spread([1e3 * r for r in ours]), spread([1e3 * t for t in theirs]) if theirs else ''
        room = '%.2f' % (statistics.median(theirs) * peak / gflop) if theirs else ''
        b.times.append((core, [name, str(threads), *said, common.short(1e3 * gflop / peak), room, '%.1f' % (gflop / statistics.median(ours)),
                               spread(got['probe'], '%.0f')]))
        b.say('%s, %d threads, %s: %s ms a step%s, %.0f %% of the peak' % (
            name, threads, CORE[core], said[0], '; PyTorch ' + said[1] if theirs else '', statistics.median(shares)))


# ---- routed beside un-routed ----------------------------------------------------------------------------------------------
ROUTED = [  # (spec, settings, peer's case, what it is, goals)
    ('none.route', [], 'none', '', None),
    ('gradient.route', [], 'gradient', '`gradient of`, rows as they come', (1.03, 1.01, None)),
    ('parameters.route', [], 'parameters', '`parameters of`, rows as they come', (1.03, 1.01, None)),
    ('regions.route', ['grouped=false'], 'regions', 'three regions of a sixteenth, rows as they come', (1.03, 1.01, None)),
    ('regions.route', [], 'regions', 'three regions of a sixteenth, rows grouped by class', (None, None, 1.0)),
]


def routing_answers(b, models, folder):
    """Each case beside PyTorch's, and that the routes change what is learnt; grouped and not, the losses are the same."""
    weights, courses = os.path.join(folder, 'weights.safetensors'), {}
    models[0].weights(weights)
    for (spec, settings, case, what, _), model in zip(ROUTED, models):
        peer = None if b.a.no_peer else Peer(b.a, 'routing', 440, 1, weights, case, b.a.width)
        reference = peer.losses(common.CHECK_STEPS) if peer else courses.get(case)
        if peer:
            peer.close()
        courses[case] = answers(b, what or 'without routes', model, 1, weights, reference)
    for case in ('gradient', 'parameters', 'regions'):
        if all(abs(p - q) <= 1e-6 * abs(q) for p, q in zip(courses[case], courses['none'])):
            raise SystemExit('%s: the routes change nothing: %s' % (case, courses[case]))


def routing(b):
    models = [Model(b.a, os.path.join('routing', spec), settings + ['width=%d' % b.a.width]) for spec, settings, *_ in ROUTED]
    with tempfile.TemporaryDirectory() as folder:
        routing_answers(b, models, folder)
    flop, products = [m.train()['flop'] for m in models], [m.products() for m in models]
    for threads in b.a.threads:
        n = models[0].steps_for(threads, b.a.seconds / 2, b.cores[0])
        got = b.turns({(core, k): lambda m=m, core=core: m.sample(threads, n, core)[0] for core in b.cores for k, m in enumerate(models)})
        b.samples.add(row='routing', threads=threads, steps=n, width=b.a.width, cases=[what or 'without routes' for _, _, _, what, _ in ROUTED],
                      seconds_a_step={'%s %d' % (core, k): v for (core, k), v in got.items()}, flop=flop, products=products)
        for core in b.cores:
            for k, (_, _, _, what, goals) in enumerate(ROUTED):
                if goals is None:
                    continue
                ratios = [r / base for r, base in zip(got[core, k], got[core, 0])]
                line = Line('routed beside un-routed', threads, core, what, ratios, goals, '%.3f', higher=False,
                            note='; operations by the plan: %.3f, its products: %.3f, counted as they ran: %.3f'
                            % (flop[k] / flop[0], products[k][0] / products[0][0], products[k][1] / products[0][1]))
                b.lines.append(line)
                b.say('%s, %d threads, %s: %s%s' % (what, threads, CORE[core], spread(ratios, '%.3f'), line.note))


# ---- from the start of the process to the first step ------------------------------------------------------------------------
STARTS = {  # kind of starts.KINDS: (what it is, goals in seconds)
    'empty': ('cache empty', (0.5, 0.3, 0.15)),
    'miss': ('specification new, machine known', (0.5, 0.3, 0.15)),
    'hit': ('code from the cache', (None, 0.1, None)),
}


def start_once(model, threads, core, kind, cache):
    """Seconds until the first step began, by our own clock: when it was reported, less what it took."""
    starts.cache_for(kind, cache)
    event = next(e for e in model.run(threads, 1, 1, core, cache=cache).events if e['event'] == 'first_step')
    return event['at'] - event['seconds']


def start(b):
    model, threads = Model(b.a, 'ae.route', ['rows=%d' % b.a.start_batch]), max(b.a.threads)
    with tempfile.TemporaryDirectory() as cache:
        for core in b.cores:  # files come into memory, and what is known of the machine into the cache
            start_once(model, threads, core, 'empty', cache)
        got = {(core, kind): [] for core in b.cores for kind in STARTS}
        for r in range(b.a.rounds):
            for core in b.cores if r % 2 == 0 else b.cores[::-1]:
                for kind in STARTS:  # always in this order: each leaves what the next one finds
                    got[core, kind].append(start_once(model, threads, core, kind, cache))
    b.samples.add(row='start', threads=threads, seconds={' '.join(k): v for k, v in got.items()})
    for core in b.cores:
        for kind, (what, goals) in STARTS.items():
            b.lines.append(Line('start to first step, autoencoder', threads, core, what + ', s', got[core, kind], goals, '%.3f', higher=False))
            b.say('start, %s, %s: %s s' % (what, CORE[core], spread(got[core, kind])))


# ---- what is shown -----------------------------------------------------------------------------------------------------------
def tables(b):
    a, out = b.a, []
    out.append('%s, %d CPUs; load at the start %.2f.%s' % (
        common.cpu_name(), len(os.sched_getaffinity(0)), a.load, ' **Quick: not to be quoted.**' if a.quick else ''))
    if b.notes:
        beside = 'of runs beside each other, PyTorch not asked' if a.no_peer else 'beside PyTorch'
        out.append('Losses of the first %d steps, %s: within %.1g (bound: %g). Rounds: %d; those of matrix products: %d.' % (
            common.CHECK_STEPS, beside, max(n[2] for n in b.notes), common.LOSS_BOUND, a.rounds, a.gemm_rounds))
    out += ['', *('Warning: %s.' % w for w in b.warnings)] if b.warnings else []
    for core in b.cores:
        rows = [line.cells() for line in b.lines if line.core == core]
        out += ['', 'With %s:' % CORE[core], '', markdown(['', 'threads', 'figure', 'median (least to most)', *LEVELS, 'reached'], rows)]
        times = [cells for c, cells in b.times if c == core]
        head = ['milliseconds a step', 'threads', 'routec', 'PyTorch, tuned', 'at the FMA peak', 'PyTorch over that', 'GFLOP/s', 'FMA peak, GFLOP/s']
        out += ['', markdown(head, times)] if times else []
    return '\n'.join(out) + '\n'


def profiles(b):
    """Where the time of training steps goes that do not reach their target."""
    out = []
    for name, threads, core, text in b.profiles:
        lines = [line for line in b.lines if (line.row, line.threads, line.core) == (name, threads, core)]
        if any(line.goals[1] and line.reached() in ('below', 'must') for line in lines):
            said = '%s, %d thread%s, with %s, as `run --profile` sees it:' % (name, threads, 's' * (threads > 1), CORE[core])
            out += ['', said, '', '```', text.strip('\n'), '```']
    return '\n'.join(out) + '\n' if out else ''


NEAR = 80  # ns: cores that share a cache hand over a line in 20 to 60, others in 100 to 200


def cpus_apart(b):
    """Steps on several threads by where the CPUs were: a host may move those of a virtual machine about."""
    rows = []
    for name, threads, got in b.apart:
        for what, near in (('under %d' % NEAR, True), ('more', False)):
            rounds = [i for i, ns in enumerate(got['line']) if (ns < NEAR) == near]
            if rounds:
                of = {k: [v[i] for i in rounds] for k, v in got.items()}
                ms = [spread([1e3 * t for t in of[k]]) if k in of else '' for k in (*b.cores, 'torch')]
                ratio = [spread([t / r for t, r in zip(of['torch'], of[c])]) if 'torch' in of else '' for c in b.cores]
                rows.append([name, str(threads), what, spread(of['line'], '%.0f'), str(len(rounds)), *ms, *ratio])
    if not rows:
        return ''
    head = ['', 'threads', 'a line from CPU to CPU, ns', 'median', 'rounds', *('routec, %s, ms' % CORE[c] for c in b.cores), 'PyTorch, ms',
            *('ratio, %s' % CORE[c] for c in b.cores)]
    return '\nSteps on several threads by the time that a cache line took from one CPU to the other in the same round:\n\n' + markdown(head, rows) + '\n'


def gemm_parts(b):
    """Where the time of products goes that do not reach their target."""
    if not b.parts:
        return ''
    rows = [[shape, '%.1f' % share, *('%.1f' % x for x in parts)] for shape, share, parts in b.parts]
    return '\nMatrix products below target, one thread: % of the time that each part takes, by leaving it out:\n\n' + markdown(
        ['m x n x k', '% of the FMA peak', *PARTS], rows) + '\n'


def shape_table(b):
    rows = [[CORE[c], str(t), s, '%.1f' % ours, '%.1f' % share, '%.2f' % ratio] for c, t, s, ours, share, ratio in b.shapes]
    return '\n' + markdown(['', 'threads', 'm x n x k', 'GFLOP/s a thread', '% of the FMA peak', 'times OpenBLAS'], rows) + '\n' if rows else ''


def show(b):
    text = tables(b) + cpus_apart(b) + gemm_parts(b) + profiles(b)
    with open(os.path.join(b.a.out, 'goals.md'), 'w') as f:
        f.write(text + shape_table(b))
    picture = os.path.join(b.a.out, 'goals.svg')
    panels = []
    for title, start_of, top in (('times as fast as tuned PyTorch', 'times as fast', None), ('share of the FMA peak, %', 'share of the FMA', 100)):
        bars = []
        for line in b.lines:
            if line.what.startswith(start_of):
                name = '%s, %d thread%s%s' % (line.row, line.threads, 's' * (line.threads > 1), '' if len(b.cores) == 1 else ', ' + line.core)
                bars.append((name, line.value, min(line.values), max(line.values), line.goals))
        panels += [(title, bars, top)] if bars else []
    plot.bars(picture, panels)
    print('\n' + text + '\nsamples: %s\ntables: %s\nplot: %s' % (b.samples.path, os.path.join(b.a.out, 'goals.md'), picture))
    if b.a.write:
        common.write_between(b.a.write, 'goals', text)


ROWS = {'gemm': gemm, **{key: lambda b, key=key: training(b, key) for key in TRAINING}, 'routing': routing, 'start': start}


def main():
    p = common.arguments(argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter))
    p.add_argument('--rows', '--row', dest='rows', action='append', choices=ROWS, help='only these rows; may be repeated')
    p.add_argument('--threads', type=int, action='append', help='may be repeated (default: 1 and 2)')
    p.add_argument('--coretype', choices=['set', 'unset', 'both'], default='both', help="OPENBLAS_CORETYPE of routec; PyTorch's is never set")
    p.add_argument('--rounds', type=int, help='default: 9; quick: 3')
    p.add_argument('--gemm-rounds', type=int, help='default: 11; quick: 3')
    p.add_argument('--seconds', type=float, help='of a sample (default: 1.5; quick: 0.4)')
    p.add_argument('--shape', action='append', help='"M N K FORM": measure this product, and not the list; may be repeated')
    p.add_argument('--width', type=int, default=1024, help='of the routed models')
    p.add_argument('--start-batch', type=int, default=2048, help='of the autoencoder that is started')
    a = p.parse_args()
    a.threads = a.threads or [1, 2]
    a.rounds, a.gemm_rounds = a.rounds or (3 if a.quick else 9), a.gemm_rounds or (3 if a.quick else 11)
    a.seconds = a.seconds or (0.4 if a.quick else 1.5)
    if min(a.threads) < 1 or a.rounds < 1 or a.gemm_rounds < 1 or not a.seconds > 0:
        p.error('threads, rounds and seconds must be above 0')
    common.ready(a)
    a.load = common.load_at_start()
    b = Bench(a)
    for row in a.rows or ROWS:
        ROWS[row](b)
    show(b)


if __name__ == '__main__':
    main()
