# SPDX-License-Identifier: Apache-2.0
"""split_table.py FOLDER digits|mnist ROWS SEEDS [EPOCHS]: prints the table of what bench/split_table.sh has run."""
import json
import math
import os
import sys

# row: (setting, published squared error of the certificate of the half of 5-9 on 0-4, on 5-9)
PUBLISHED = {
    1: ('gradient routing', '.32', '.08'),
    2: ('with separate decoders', '.33', '.07'),
    3: ('no correlation penalty', '.28', '.11'),
    4: ('no regularization', '.32', '.32'),
    5: ('no regularization, separate decoders', '.09', '.08'),
    6: ('0-4 may touch both halves, L1 2e-2 on one', '.23', '.13'),
    7: ('no routing, L1 1e-3, 5-9 only', '.27', '.11'),
    8: ('no routing, no regularization, 5-9 only', '.08', '.08'),
    9: ('no routing, regularization', '.13', '.13'),
    10: ('neither', '.08', '.09'),
}
T = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}  # Student's 97.5 % points


def group(keys, metric, digits):
    n = sum(keys[str(d)]['n'] for d in digits)
    return sum(keys[str(d)]['n'] * keys[str(d)][metric] for d in digits) / n


def routec_run(folder, row, seed):
    """{lower: [on 0-4, on 5-9], upper: ...} of the last evaluation, and whether the run was reported as diverging."""
    run = os.path.join(folder, 'row%d-seed%d' % (row, seed))
    if not os.path.exists(os.path.join(run, 'metrics.jsonl')):
        return None
    keys = None
    with open(os.path.join(run, 'metrics.jsonl')) as f:
        for line in f:
            entry = json.loads(line)
            if entry.get('evaluation') == 'halves':
                keys = entry['keys']
    with open(run + '.txt') as f:
        diverging = 'W075' in f.read()
    table = {m: [group(keys, m, d) for d in (range(5), range(5, 10))] for m in ('lower', 'upper')}
    return dict(table, diverging=diverging)


def twin_run(folder, row, seed):
    path = os.path.join(folder, 'twin-row%d-seed%d.json' % (row, seed))
    if not os.path.exists(path):
        return None
    with open(path) as f:
        return json.load(f)


def interval(values):
    mean = sum(values) / len(values)
    if len(values) < 2:
        return '%.3f' % mean
    deviation = math.sqrt(sum((x - mean) ** 2 for x in values) / (len(values) - 1))
    return '%.3f +- %.3f' % (mean, T.get(len(values) - 1, 1.96) * deviation / math.sqrt(len(values)))


def ratio(run):
    """Geometric mean over both halves of (error on the other group / error on its own)."""
    return math.sqrt(run['lower'][1] / run['lower'][0] * run['upper'][0] / run['upper'][1])


def cells(runs):
    runs = [r for r in runs if r]
    if not runs:
        return ['not run'] * 3
    out = [interval([r['upper'][i] for r in runs]) for i in (0, 1)] + [interval([ratio(r) for r in runs])]
    n = sum(r.get('diverging', False) for r in runs)
    if n:
        out[2] += ', diverging' if n == len(runs) else ', %d of %d diverging' % (n, len(runs))
    return out


def main():
    folder, data, rows, seeds = sys.argv[1], sys.argv[2], [int(r) for r in sys.argv[3].split(',')], int(sys.argv[4])
    size = 'digits, 64-256-128-16' if data == 'digits' else 'MNIST, 784-256-128-32'
    print('Squared error of the certificate of the half that should know 5-9, and the ratio (geometric mean over both halves of')
    print('the error on the other group / on its own). %s; %d seed%s%s; +- is a 95 %% interval.\n'
          % (size, seeds, 's' if seeds > 1 else '', '; %s epochs only' % sys.argv[5] if len(sys.argv) > 5 else ''))
    columns = ['row'] + ['%s: %s' % (who, what) for who, whats in (('published', ('on 0-4', 'on 5-9')),
                         ('routec', ('on 0-4', 'on 5-9', 'ratio')), ('PyTorch', ('on 0-4', 'on 5-9', 'ratio'))) for what in whats]
    twins = any(twin_run(folder, row, seed) for row in rows for seed in range(seeds))
    columns = columns if twins else columns[:-3]
    print('| ' + ' | '.join(columns) + ' |\n|' + '---|' * len(columns))
    for row in rows:
        setting, on_low, on_high = PUBLISHED[row]
        line = ['%d %s' % (row, setting), on_low, on_high] + cells([routec_run(folder, row, s) for s in range(seeds)])
        line += cells([twin_run(folder, row, s) for s in range(seeds)]) if twins else []
        print('| ' + ' | '.join(line) + ' |')


if __name__ == "__main__":
    main()
