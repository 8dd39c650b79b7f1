#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What hard selection saves: steps of a mixture of eight experts of which each datum takes one, by `select` with packed rows and
with all rows computed, beside the same by `mix`; in rounds that take turns, after the answers were compared.

    bench/select_cost.py [--rounds 7] [--threads 1] [--width 1024]"""
import argparse
import os

import common
from common import Model, compare, markdown, spread

CASES = [  # name, spec, settings
    ('mix', 'experts_mix.route', []),
    ('`select`, all rows computed', 'experts_select.route', ['packed=false']),
    ('`select`, rows packed', 'experts_select.route', []),
]


def check_answers(models, threads, steps=40):
    """Packing changes no bit; a weight of 0 and a branch that is selected away are the same model."""
    mixed, apart, packed = (m.losses(threads, steps) for m in models)
    if apart != packed:
        raise SystemExit('packed rows give other losses: %s beside %s' % (packed, apart))
    worst = compare('mix and select', mixed, packed)
    if packed[-1] >= packed[0]:
        raise SystemExit('nothing is learnt: %s' % packed)
    print('answers: losses packed and not packed are the same numbers, those of mix agree to %.1e, over %d steps' % (worst, steps), flush=True)


def main():
    p = common.arguments(argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter))
    p.add_argument('--rounds', type=int, default=7)
    p.add_argument('--threads', type=int, default=1)
    p.add_argument('--width', type=int, default=1024)
    a = p.parse_args()
    common.ready(a)
    samples = common.Samples(a, 'select.jsonl')
    models = [Model(a, os.path.join('routing', spec), settings + ['width=%d' % a.width]) for _, spec, settings in CASES]
    check_answers(models, a.threads)
    n = models[0].steps_for(a.threads, 0.3 if a.quick else 1.5)
    got = common.turns({k: lambda m=m: m.sample(a.threads, n)[0] for k, m in enumerate(models)}, a.rounds)
    samples.add(row='select', threads=a.threads, width=a.width, steps=n, cases=[c[0] for c in CASES], seconds_a_step=[got[k] for k in range(len(CASES))])
    flop, products = [m.train()['flop'] for m in models], [m.products() for m in models]
    print('eight experts of width %d, one a datum, batch 440, %d thread(s), %d rounds; time of a step beside mix' % (a.width, a.threads, a.rounds))
    print(markdown(['', 'operations by the plan', 'products counted as they ran', 'time, median (least to most)'],
                   [[CASES[k][0], '%.3f' % (flop[k] / flop[0]), '%.3f' % (products[k][1] / products[0][1]),
                     spread([x / y for x, y in zip(got[k], got[0])], '%.3f')] for k in range(1, len(CASES))]))
    print('samples: ' + samples.path)


if __name__ == '__main__':
    main()
