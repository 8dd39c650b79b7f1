# SPDX-License-Identifier: Apache-2.0
"""moe_table.py FOLDER VARIANTS SEEDS: prints the tables of what bench/moe_table.sh has run."""
import json
import math
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from split_table import T

PAIRS = ['first'] * 2 + ['second'] * 2 + ['third'] * 2 + ['fourth'] * 2 + ['fifth'] * 2
OWNER = {'digits_two': ['first'] * 5 + ['second'] * 5,
         'digits_eight': ['first', 'second', 'third', 'fourth', 'fifth', 'sixth', 'seventh', 'seventh', 'eighth', 'eighth']}


def tables(folder):
    """The last table of each evaluation: {name: {'all': {...}, 'keys': {...}}}."""
    last = {}
    with open(os.path.join(folder, 'metrics.jsonl')) as f:
        for line in f:
            row = json.loads(line)
            if 'evaluation' in row:
                last[row['evaluation']] = row
    return last


def mean_over(table, metric, digits):
    n = sum(table['keys'][str(d)]['n'] for d in digits)
    return sum(table['keys'][str(d)]['n'] * table['keys'][str(d)][metric(d)] for d in digits) / n if n else math.nan


def figures(variant, folder):
    """Accuracy as trained and deployed; weight of a digit's own expert: mean, least digit; hits without the second expert on its digits, on the others."""
    t, owner, digits = tables(folder), OWNER.get(variant, PAIRS), range(10)
    routed = 'unrouted' not in variant
    own = [t['experts']['keys'][str(d)][owner[d]] for d in digits]
    gone = [d for d in digits if owner[d] == 'second']
    rest = [d for d in digits if owner[d] != 'second']
    hits = lambda d: 'hits'
    return [t['experts']['all']['hits'], t['deployed']['all']['hits'],
            mean_over(t['experts'], lambda d: owner[d], digits) if routed else math.nan, min(own) if routed else math.nan,
            mean_over(t['deployed'], hits, gone), mean_over(t['without_second'], hits, gone),
            mean_over(t['deployed'], hits, rest), mean_over(t['without_second'], hits, rest)]


def text(values):
    n, mean = len(values), sum(values) / len(values)
    if math.isnan(mean):
        return ''
    if n < 2:
        return '%.3f' % mean
    spread = math.sqrt(sum((v - mean) ** 2 for v in values) / (n - 1)) * T.get(n - 1, 1.96) / math.sqrt(n)
    return '%.3f +- %.3f' % (mean, spread)


def main():
    out, variants, seeds = sys.argv[1], sys.argv[2].split(), sys.argv[3].split()
    print('| variant | accuracy | deployed | own expert\'s weight | of the worst digit | second expert\'s digits: deployed | without it '
          '| other digits: deployed | without it |')
    print('|---|---|---|---|---|---|---|---|---|')
    for v in variants:
        rows = [figures(v, os.path.join(out, '%s-%s' % (v, s))) for s in seeds]
        print('| %s | %s |' % (v, ' | '.join(text(list(column)) for column in zip(*rows))))
    table = tables(os.path.join(out, '%s-%s' % (variants[0], seeds[0])))['experts']['keys']
    names = [k for k in table['0'] if k not in ('n', 'hits')]
    print('\nMean weight of each expert on each digit: %s, seed %s.\n' % (variants[0], seeds[0]))
    print('| digit | %s |\n|---|%s' % (' | '.join(names), '---|' * len(names)))
    for d in range(10):
        print('| %d | %s |' % (d, ' | '.join('%.3f' % table[str(d)][k] for k in names)))


if __name__ == '__main__':
    main()
