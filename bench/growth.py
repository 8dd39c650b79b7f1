#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""How the time of a step and the memory of a run grow with batch, width and depth (bench/growth.route), beside their bounds:

    bench/growth.py                         all points, with one thread and two (about 4 minutes)
    bench/growth.py --quick --axis depth    one axis, to try

FMA bound: 2 m n k of every matrix product of the step over the FMA peak, measured in the same rounds. Memory bound: parameters, moments and
planned activations once read and once written, over the bandwidth of triad; what stays in caches may be faster. Losses must be finite
everywhere, and at three points those of the first six steps must be PyTorch's. Every sample goes to growth.jsonl, a table
to growth.md, plots to growth_*.svg; --write puts them into a page and the folder `pictures` beside it."""
import argparse
import math
import os
import random
import statistics
import struct
import tempfile

import common
import plot
from common import Model, Peer, compare, markdown

DATA = 16384
BASE = {'rows': 512, 'width': 512, 'depth': 2}
AXES = {  # axis: (param, values, what is written under the plot)
    'batch': ('rows', [16, 64, 256, 1024, 4096, 8192], 'batch (width 512, 3 layers of it)'),
    'width': ('width', [64, 256, 512, 1024, 2048, 4096], 'width (batch 512, 3 layers of it)'),
    'depth': ('depth', [1, 2, 4, 8, 16], 'layers of width 512 behind the first (batch 512)'),
}
FEW = {'batch': [16, 256], 'width': [64, 256], 'depth': [1, 4]}
CHECKED = [dict(BASE, rows=16, width=64), dict(BASE, rows=256, width=128), dict(BASE, rows=64, width=64, depth=16)]


def npy(path, shape, data):
    """An array of bytes in NumPy's format, version 1.0."""
    head = "{'descr': '|u1', 'fortran_order': False, 'shape': %s, }" % (shape,)
    head += ' ' * (-(len(head) + 11) % 64) + '\n'
    with open(path, 'wb') as f:
        f.write(b'\x93NUMPY\x01\x00' + struct.pack('<H', len(head)) + head.encode() + data)


def make_data(folder):
    r = random.Random(1)
    npy(os.path.join(folder, 'x.npy'), (DATA, 64), r.randbytes(DATA * 64))
    npy(os.path.join(folder, 'y.npy'), (DATA,), bytes(r.randrange(10) for _ in range(DATA)))
    os.environ['GROWTH_DATA'] = folder


def model_of(a, point):
    return Model(a, 'growth.route', ['%s=%d' % s for s in point.items()])


def check(a, samples, folder):
    """The first losses of a few points beside PyTorch's; without it, of two threads beside one."""
    worst = 0
    for point in CHECKED:
        model, weights = model_of(a, point), os.path.join(folder, 'weights.safetensors')
        model.weights(weights)
        if a.no_peer:
            reference = model.losses(1, common.CHECK_STEPS, more=['--init', weights])
        else:
            peer = Peer(a, 'growth', point['rows'], 1, weights, folder, point['depth'])
            reference = peer.losses(common.CHECK_STEPS)
            peer.close()
        for threads in a.threads:
            ours = model.losses(threads, common.CHECK_STEPS, more=['--init', weights])
            worst = max(worst, compare('%s, %d threads' % (point, threads), ours, reference))
        samples.add(what='answers', of=point, worst=worst, reference='none' if a.no_peer else 'PyTorch', losses=reference)
    return worst


def measure(a, samples, point):
    """Of one point: {threads: (ms a step, ms at the FMA peak)}, planned and resident bytes, bytes that must move."""
    model = model_of(a, point)
    gflop, peaks = model.product_flop() * 1e-9, {t: common.probe(a, t, 0.05) for t in a.threads}
    losses = [e['total'] for e in model.run(1, 4, 1).events if e['event'] == 'progress']  # its code is in the cache now
    steps = {t: max(4, int(a.seconds * peaks[t] / (1.5 * gflop)) // 4 * 4) for t in a.threads}
    contestants = {('probe', t): lambda t=t: common.probe(a, t, 0.05) for t in a.threads}
    contestants.update({t: lambda t=t: model.sample(t, steps[t]) for t in a.threads})
    got = common.turns(contestants, a.rounds)
    if not losses or not all(math.isfinite(x) for x in losses):
        raise SystemExit('%s: losses that are no numbers: %s' % (point, losses))
    resident, mapped = (max(getattr(run, what) for t in a.threads for _, run in got[t]) for what in ('resident', 'mapped'))
    planned = model.planned_bytes()
    samples.add(point=point, steps=steps, gflop=gflop, seconds_a_step={t: [s for s, _ in got[t]] for t in a.threads},
                resident=resident, mapped=mapped, planned=planned, peak_gflops={t: got['probe', t] for t in a.threads}, losses=losses)
    times = {t: (1e3 * statistics.median(s for s, _ in got[t]), 1e3 * gflop / statistics.median(got['probe', t])) for t in a.threads}
    said = ', '.join('%.3g ms with %d thread(s), %.3g at the peak' % (times[t][0], t, times[t][1]) for t in a.threads)
    print('%s: %s; %.1f MB planned, %.1f mapped, %.1f resident' % (point, said, planned / 1e6, mapped / 1e6, resident / 1e6), flush=True)
    return dict(times=times, resident=resident, mapped=mapped, planned=planned, moved=2 * (model.plan()['store_bytes'] + model.train()['work_bytes']))


def draw(a, axis, found, triad):
    """Two plots of an axis; their file names."""
    label = AXES[axis][2]
    times = []
    for k, t in enumerate(a.threads):
        plural = 's' * (t > 1)
        times.append(('routec, %d thread%s' % (t, plural), [(x, f['times'][t][0]) for x, f in found], True, k))
        times.append(('FMA peak, %d thread%s' % (t, plural), [(x, f['times'][t][1]) for x, f in found], False, k))
    most = max(a.threads)
    times.append(('memory, %d thread%s' % (most, 's' * (most > 1)),
                  [(x, 1e3 * f['moved'] / (triad[most] * 1e9)) for x, f in found], False, len(a.threads)))
    memory = [('resident at most', [(x, f['resident'] / 1e6) for x, f in found], True, 0),
              ('mapped at most', [(x, f['mapped'] / 1e6) for x, f in found], True, 2),
              ('planned', [(x, f['planned'] / 1e6) for x, f in found], False, 1)]
    names = ['growth_time_%s.svg' % axis, 'growth_memory_%s.svg' % axis]
    plot.curves(os.path.join(a.pictures, names[0]), 'time of a step', label, 'milliseconds', times)
    plot.curves(os.path.join(a.pictures, names[1]), 'memory of a run', label, 'megabytes', memory)
    return names


def show(a, results, worst, triad):
    counts = ['%d thread%s' % (t, 's' * (t > 1)) for t in a.threads]
    head = ['', *[c + ', ms' for c in counts], *['% of the FMA peak'] * len(counts), 'planned, MB', 'mapped, MB', 'resident, MB']
    rows, pictures = [], []
    for axis, found in results.items():
        for x, f in found:
            times = [f['times'][t] for t in a.threads]
            rows.append(['%s %d' % (axis, x), *[common.short(ms) for ms, _ in times], *['%.0f' % (100 * bound / ms) for ms, bound in times],
                         *['%.1f' % (f[what] / 1e6) for what in ('planned', 'mapped', 'resident')]])
        pictures += ['![%s](pictures/%s)' % (name[:-4].replace('_', ' '), name) for name in draw(a, axis, found, triad)]
    beside = 'of runs beside each other' if a.no_peer else 'beside PyTorch'
    text = '\n'.join([
        '%s, %d CPUs; load at the start %.2f.%s' % (common.cpu_name(), len(os.sched_getaffinity(0)), a.load,
                                                   ' **Quick: not to be quoted.**' if a.quick else ''),
        'Losses of the first %d steps at three points, %s: within %.1g (bound: %g). Rounds: %d.' % (
            common.CHECK_STEPS, beside, worst, common.LOSS_BOUND, a.rounds),
        'Triad: %s.' % ', '.join('%.1f GB/s with %s' % (triad[t], c) for t, c in zip(a.threads, counts)),
        '', *pictures, '', markdown(head, rows), ''])
    with open(os.path.join(a.out, 'growth.md'), 'w') as f:
        f.write(text)
    print('\n' + text)
    if a.write:
        common.write_between(a.write, 'growth', text)


def main():
    p = common.arguments(argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter))
    p.add_argument('--axis', action='append', choices=AXES, help='only this; may be repeated')
    p.add_argument('--threads', type=int, action='append', help='may be repeated (default: 1 and 2)')
    p.add_argument('--rounds', type=int, help='default: 3; quick: 1')
    p.add_argument('--seconds', type=float, help='of a sample, about (default: 0.6; quick: 0.2)')
    p.add_argument('--few', action='store_true', help='two small points of each axis')
    a = p.parse_args()
    a.threads = a.threads or [1, 2]
    a.rounds, a.seconds = a.rounds or (1 if a.quick else 3), a.seconds or (0.2 if a.quick else 0.6)
    if min(a.threads) < 1 or a.rounds < 1 or not a.seconds > 0:
        p.error('threads, rounds and seconds must be above 0')
    common.ready(a)
    a.load = common.load_at_start()
    a.pictures = os.path.join(os.path.dirname(a.write), 'pictures') if a.write else a.out
    os.makedirs(a.pictures, exist_ok=True)
    samples, results, known = common.Samples(a, 'growth.jsonl'), {}, {}
    bandwidth = common.bandwidth(a, a.threads, 1 if a.quick else 5)
    samples.add(what='bandwidth', GB_per_second={'%s, %d' % k: v for k, v in bandwidth.items()})
    triad = {t: bandwidth['triad', t] for t in a.threads}
    with tempfile.TemporaryDirectory() as folder:
        make_data(folder)
        worst = check(a, samples, folder)
        for axis in a.axis or AXES:
            param, values, _ = AXES[axis]
            results[axis] = []
            for x in FEW[axis] if a.few else values:
                point = dict(BASE, **{param: x})
                key = tuple(point.items())
                known[key] = known.get(key) or measure(a, samples, point)
                results[axis].append((x, known[key]))
    show(a, results, worst, triad)


if __name__ == '__main__':
    main()
