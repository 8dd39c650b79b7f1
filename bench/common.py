# SPDX-License-Identifier: Apache-2.0
"""What the benches share: runs of routec and their step times, the PyTorch process beside them, the FMA probe, files of
samples, tables, and their places in the documentation."""
import array
import collections
import json
import os
import random
import shlex
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
sys.path.insert(0, os.path.join(ROOT, 'tests', 'lib'))
import safetensors  # noqa: E402

PYTHON = '/usr/bin/python3'  # Debian's, which has Debian's PyTorch
LOSS_BOUND = 3e-5            # relative; of the first steps' losses beside the reference's
CHECK_STEPS = 6              # as peer.py has it
CORETYPES = {'set': 'Haswell', 'unset': None}


def arguments(parser):
    """Options that the benches have in common."""
    parser.add_argument('--routec', default=os.path.join(ROOT, 'build', 'routec'))
    parser.add_argument('--programs', help='folder of bench_gemm and bench_peak (default: bench/ beside routec)')
    parser.add_argument('--out', help='folder for samples, tables and plots (default: bench-results beside routec)')
    parser.add_argument('--peer', default=shlex.join([PYTHON, os.path.join(HERE, 'peer.py')]), help='the program of the PyTorch half')
    parser.add_argument('--no-peer', action='store_true', help='without PyTorch: no ratios, and losses are only held against each other')
    parser.add_argument('--quick', action='store_true', help='fewer and shorter samples: to try the bench, not to quote')
    parser.add_argument('--write', metavar='FILE', help='put the result between the marks of this Markdown page')
    return parser


def ready(a):
    """Fills in what depends on other options, and looks whether all is there."""
    a.routec = os.path.abspath(a.routec)
    a.programs = a.programs or os.path.join(os.path.dirname(a.routec), 'bench')
    a.out = a.out or os.path.join(os.path.dirname(a.routec), 'bench-results')
    for path in (a.routec, os.path.join(a.programs, 'bench_peak'), os.path.join(a.programs, 'bench_gemm')):
        if not os.access(path, os.X_OK):
            raise SystemExit('no program %s: build the project, or name it by --routec and --programs' % path)
    os.makedirs(a.out, exist_ok=True)
    os.environ.setdefault('ROUTEC_DATA', os.path.join(ROOT, 'data'))


def environment(coretype):
    """That of routec: as it is, but for the BLAS kernels."""
    env = dict(os.environ)
    env.pop('OPENBLAS_CORETYPE', None)
    if CORETYPES[coretype]:
        env['OPENBLAS_CORETYPE'] = CORETYPES[coretype]
    return env


def tuned_environment(threads):
    """That in which Debian's PyTorch is fast: OpenMP's OpenBLAS with the CPU's own kernels, vectorised element-wise code,
    and an allocator that keeps freed activations."""
    env = environment('unset')
    env.pop('OPENBLAS_L2_SIZE', None)
    with open('/proc/cpuinfo') as f:
        flags = next((line for line in f if line.startswith('flags')), '')
    env.setdefault('ATEN_CPU_CAPABILITY', 'avx512' if 'avx512f' in flags else 'avx2')
    env.update(MALLOC_MMAP_THRESHOLD_='4000000000', MALLOC_TRIM_THRESHOLD_='8000000000', MALLOC_TOP_PAD_='268435456')
    env['LD_LIBRARY_PATH'] = '/usr/lib/x86_64-linux-gnu/openblas-openmp'
    env['OMP_NUM_THREADS'] = env['OPENBLAS_NUM_THREADS'] = str(threads)
    return env


# ---- routec ---------------------------------------------------------------------------------------------------------------
Ran = collections.namedtuple('Ran', 'events resident mapped')


class Model:
    """A specification with settings. Its losses are logged each `every`, a param that all specifications here have."""

    def __init__(self, a, spec, settings=(), seed=0):
        self.a, self.spec, self.seed = a, os.path.join(HERE, spec), seed
        self.settings = [x for s in settings for x in ('--set', s)]
        self.loaded = None

    def command(self, what, *more):
        return [self.a.routec, what, self.spec, *self.settings, *more]

    def plan(self):
        if not self.loaded:
            done = subprocess.run(self.command('plan', '--json'), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            if done.returncode:
                raise SystemExit('%s: exit code %d\n%s%s' % (self.spec, done.returncode, done.stdout[-2000:], done.stderr[-2000:]))
            self.loaded = json.loads(done.stdout)
        return self.loaded

    def train(self):
        return next(f for f in self.plan()['functions'] if f['name'] == 'train')

    def planned_bytes(self):
        """What a run maps at most, as planned."""
        done = subprocess.run(self.command('plan', '--json', '--memory'), stdout=subprocess.PIPE, text=True, check=True)
        return json.loads(done.stdout)['memory']['peak']

    def profile(self, threads, steps, coretype):
        """What `run --profile` says."""
        with tempfile.TemporaryDirectory() as folder:
            command = self.command('run', '--profile', '-q', '--seed', str(self.seed), '--steps', str(steps), '--threads', str(threads),
                                   '--run-dir', os.path.join(folder, 'run'))
            return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment(coretype)).stdout

    def product_flop(self):
        """2 m n k of every product of a step, from the printed shapes, of a model without row sets: what the FMA peak bounds."""
        total = 0
        for g in self.train()['gemms']:
            flop = 2
            for word in g['shape'].split(' x '):
                flop *= self.train()['rows'] if word == 'rows' else int(word)
            total += flop
        return total

    def weights(self, path):
        """Writes initial values for every parameter, uniform within the root of 1 / fan-in."""
        r, tensors = random.Random(7), {}
        for p in self.plan()['parameters']:
            count = 1
            for d in p['shape']:
                count *= d
            bound = (p['shape'][1] if len(p['shape']) > 1 else p['shape'][0]) ** -0.5
            tensors[p['path']] = (p['shape'], array.array('f', [(2 * r.random() - 1) * bound for _ in range(count)]))
        safetensors.save(path, tensors)

    def run(self, threads, steps, every, coretype='unset', more=(), cache=None):
        """One run. Events have the time since the process was started ('at'); memory is the most that was resident as the kernel
        saw it (what wait4 tells includes what this process had before it became the other), and mapped as the run counted."""
        with tempfile.TemporaryDirectory() as folder:
            command = self.command('run', '--json', '--seed', str(self.seed), '--steps', str(steps), '--set', 'every=%d steps' % every,
                                   '--run-dir', os.path.join(folder, 'run'), *(['--threads', str(threads)] if threads else []), *more)
            env = dict(environment(coretype), **({'XDG_CACHE_HOME': cache} if cache else {}))
            began = time.perf_counter()
            with open(os.path.join(folder, 'errors'), 'w+') as errors:
                process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=env)
                lines, memory = [], 0
                for line in process.stdout:
                    lines.append((time.perf_counter() - began, line))
                    memory = max(memory, resident_at_most(process.pid))
                code = process.wait()
                errors.seek(0)
                if code:
                    raise SystemExit('%s: exit code %d\n%s' % (shlex.join(command), code, errors.read()[-3000:]))
            with open(os.path.join(folder, 'run', 'manifest.json')) as f:
                mapped = json.load(f)['memory']['mapped_peak']
            return Ran([dict(json.loads(line), at=at) for at, line in lines], memory, mapped)

    def losses(self, threads, steps, coretype='unset', more=()):
        found = [e['total'] for e in self.run(threads, steps, 1, coretype, more).events if e['event'] == 'progress']
        if len(found) != steps:
            raise SystemExit('%s: %d losses of %d steps were logged' % (self.spec, len(found), steps))
        return found

    def sample(self, threads, steps, coretype='unset', more=()):
        """Seconds a step over at least `steps` of them, from the run's own clock between two logged losses; a quarter as many
        steps before are not counted, so neither start-up nor cold caches are in it. And the run."""
        every = max(1, (steps + 3) // 4)
        run = self.run(threads, 5 * every, every, coretype, more)
        age = {e['step']: e['step'] / e['steps_per_second'] for e in run.events if e['event'] == 'progress'}
        return (age[5 * every] - age[every]) / (4 * every), run

    def products(self, steps=12):
        """FLOP of the products of a step: as the plan expects them, and counted by the extents that each was called with."""
        event = next(e for e in self.run(1, steps, steps, more=('--profile',))[0] if e['event'] == 'profile')
        train = event['functions'][0]
        return train['products_expected'], train['products_counted']

    def steps_for(self, threads, seconds, coretype='unset'):
        """How many steps take about so long."""
        once = self.sample(threads, 4, coretype)[0]
        if once < 0.01:
            once = self.sample(threads, max(8, int(0.1 / once)), coretype)[0]
        return max(4, int(seconds / once) // 4 * 4)


def resident_at_most(pid):
    """Bytes, up to now; 0 if the process is gone."""
    with open('/proc/%d/status' % pid) as f:
        return next((1024 * int(line.split()[1]) for line in f if line.startswith('VmHWM:')), 0)


class Peer:
    """The PyTorch half: a process that answers "N steps" with seconds and the last loss."""

    def __init__(self, a, model, batch, threads, weights, *more):
        command = shlex.split(a.peer) + [model, str(batch), str(threads), weights] + [str(m) for m in more]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=tuned_environment(threads))
        if self.process.stdout.readline() != 'ready\n':
            raise SystemExit('the PyTorch half did not start: %s (Debian: python3-torch; or --no-peer)' % shlex.join(command))

    def steps(self, n):
        self.process.stdin.write('%d\n' % n)
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit('the PyTorch half ended')
        return json.loads(answer)

    def losses(self, n):
        return [self.steps(1)[1] for _ in range(n)]

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def compare(what, ours, theirs, bound=LOSS_BOUND):
    """The largest relative difference of two courses of losses; ends the bench where it is beyond the bound."""
    worst = max(abs(p - q) / max(abs(q), 1e-30) for p, q in zip(ours, theirs))
    if len(ours) != len(theirs) or not worst <= bound:
        raise SystemExit('%s: the answers differ by more than %g: %s and %s' % (what, bound, ours, theirs))
    return worst


def probe(a, threads, seconds=0.1):
    """GFLOP/s of multiply-adds in registers, now."""
    done = subprocess.run([os.path.join(a.programs, 'bench_peak'), '-p', '-t', str(threads), '-s', str(seconds)],
                          stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)['gflops']


def line_time(a):
    """Nanoseconds that a cache line takes from one CPU to another, now."""
    done = subprocess.run([os.path.join(a.programs, 'bench_peak'), '-l'], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)['ns']


def bandwidth(a, threads, rounds):
    """{(what, threads): median} of bench_peak's table."""
    command = [os.path.join(a.programs, 'bench_peak'), '-j', '-r', str(rounds)]
    for t in threads:
        command += ['-t', str(t)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return {(line['what'], line['threads']): line['median'] for line in map(json.loads, done.stdout.splitlines())}


# ---- samples, tables --------------------------------------------------------------------------------------------------------
class Samples:
    """All that was measured, one JSON object a line; the first says where and when."""

    def __init__(self, a, name):
        self.path = os.path.join(a.out, name)
        self.file = open(self.path, 'w')
        self.add(what='machine', cpu=cpu_name(), cpus=len(os.sched_getaffinity(0)), load=os.getloadavg()[0], at=time.strftime('%Y-%m-%dT%H:%M:%S%z'),
                 version=subprocess.run([a.routec, '--version'], stdout=subprocess.PIPE, text=True).stdout.split('\n')[0], arguments=sys.argv[1:])

    def add(self, **fields):
        self.file.write(json.dumps(fields) + '\n')
        self.file.flush()


def turns(contestants, rounds):
    """Rounds in which the contestants {name: function} take turns, backwards in every second; {name: [result of each round]}."""
    got = {name: [] for name in contestants}
    for r in range(rounds):
        names = list(contestants)
        for name in names if r % 2 == 0 else reversed(names):
            got[name].append(contestants[name]())
    return got


def load_at_start():
    load = os.getloadavg()[0]
    if load > 0.5:
        print('warning: the machine is busy (load %.2f): times are too long, and differ' % load, file=sys.stderr)
    return load


def cpu_name():
    with open('/proc/cpuinfo') as f:
        return next((line.split(':', 1)[1].strip() for line in f if line.startswith('model name')), 'unknown CPU')


def short(x):
    """Three digits, and no exponent where there are more."""
    return '%.0f' % x if x >= 100 else '%.3g' % x


def spread(values, form=None):
    """Median (least to most)."""
    return '%s (%s to %s)' % tuple(form % v if form else short(v) for v in (statistics.median(values), min(values), max(values)))


def markdown(head, rows):
    return '\n'.join('| ' + ' | '.join(cells) + ' |' for cells in [head, ['---'] * len(head)] + rows)


def write_between(path, mark, text):
    """Replaces what stands between <!-- MARK: begin --> and <!-- MARK: end --> in a page."""
    begin, end = '<!-- %s: begin -->\n' % mark, '<!-- %s: end -->' % mark
    with open(path) as f:
        page = f.read()
    if page.count(begin) != 1 or page.count(end) != 1 or page.index(begin) > page.index(end):
        raise SystemExit('%s has no place for the result: one line %s and one %s behind it' % (path, begin.strip(), end))
    with open(path, 'w') as f:
        f.write(page[:page.index(begin) + len(begin)] + text.rstrip('\n') + '\n' + page[page.index(end):])
