#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Time of a training step: routec against PyTorch on the autoencoder of bench/ae.route, paired and interleaved.

Before the clock is believed, both train some steps from the same weights on the same batches, and their losses must
agree. Then repetitions alternate; every sample is printed, and the table holds medians. PyTorch runs with the settings
that make Debian's build fast: OpenMP's OpenBLAS, the CPU's own kernels, AVX-512 element-wise code if the CPU has it, and
an allocator that keeps freed activations. OPENBLAS_CORETYPE is left as the caller has it.

    bench/autoencoder.py --routec build/routec --batch 2048 --batch 64 --threads 1 --threads 2
"""
import argparse
import array
import gzip
import json
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '..', 'tests', 'lib'))
import philox  # noqa: E402
import safetensors  # noqa: E402

SPEC = os.path.join(HERE, 'ae.route')
LAYERS = [('encoder.fc1', 784, 2048), ('encoder.fc2', 2048, 512), ('encoder.top', 512, 32),
          ('decoder.fc1', 32, 512), ('decoder.fc2', 512, 2048), ('decoder.top', 2048, 784)]


def tuned_environment():
    env = dict(os.environ)
    with open('/proc/cpuinfo') as f:
        flags = next((line for line in f if line.startswith('flags')), '')
    env.setdefault('ATEN_CPU_CAPABILITY', 'avx512' if 'avx512f' in flags else 'avx2')
    env['MALLOC_MMAP_THRESHOLD_'], env['MALLOC_TRIM_THRESHOLD_'], env['MALLOC_TOP_PAD_'] = '4000000000', '8000000000', '268435456'
    openmp = '/usr/lib/x86_64-linux-gnu/openblas-openmp'
    if os.path.isdir(openmp):
        env['LD_LIBRARY_PATH'] = openmp
    return env


def read_mnist(torch):
    folder = os.path.join(os.environ.get('ROUTEC_DATA', os.path.join(HERE, '..', 'data')), 'mnist')

    def read(stem):
        path = os.path.join(folder, stem)
        with (open(path, 'rb') if os.path.exists(path) else gzip.open(path + '.gz', 'rb')) as f:
            blob = f.read()
        dims = struct.unpack('>' + 'I' * blob[3], blob[4:4 + 4 * blob[3]])
        return torch.frombuffer(bytearray(blob[4 + 4 * blob[3]:]), dtype=torch.uint8).view(dims)
    return read('train-images-idx3-ubyte').flatten(1).float() / 255, read('train-labels-idx1-ubyte').long()


# ---- the PyTorch half: a process that answers "N steps" with seconds and the last loss ------------------------------
def torch_worker(batch, threads, weights):
    import torch
    torch.set_num_threads(threads)
    images, labels = read_mnist(torch)
    layers = {name: torch.nn.Linear(n_in, n_out) for name, n_in, n_out in LAYERS}
    start = safetensors.load(weights)
    with torch.no_grad():
        for name, layer in layers.items():
            for which in ('weight', 'bias'):
                shape, values = start['%s.%s' % (name, which)]
                getattr(layer, which).copy_(torch.frombuffer(bytearray(values.tobytes()), dtype=torch.float32).view(shape))
    relu = torch.relu
    optimizer = torch.optim.AdamW([p for l in layers.values() for p in l.parameters()], lr=1e-3, weight_decay=5e-5)
    opened = torch.zeros(10, 32)
    opened[:5, :16] = opened[5:, 16:] = 1
    state = dict(epoch=0, at=0, order=torch.tensor(philox.shuffle(len(images), 0, 0)))

    def step():
        if state['at'] + batch > len(images):
            state['epoch'] += 1
            generator = torch.Generator().manual_seed(state['epoch'])
            state.update(at=0, order=torch.randperm(len(images), generator=generator))
        rows = state['order'][state['at']:state['at'] + batch]
        state['at'] += batch
        x = images[rows]
        z = layers['encoder.top'](relu(layers['encoder.fc2'](relu(layers['encoder.fc1'](x)))))
        m = opened[labels[rows]]
        routed = z.clone()
        routed.register_hook(lambda g: g * m)
        y = layers['decoder.top'](relu(layers['decoder.fc2'](relu(layers['decoder.fc1'](routed)))))
        loss = (y - x).abs().mean() + 1e-3 * z.abs().sum(1).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss
    print('ready', flush=True)
    for line in sys.stdin:
        n = int(line)
        began = time.perf_counter()
        for _ in range(n):
            loss = step()
        print(json.dumps([time.perf_counter() - began, float(loss)]), flush=True)


class Torch:
    def __init__(self, batch, threads, weights):
        env = tuned_environment()
        env['OMP_NUM_THREADS'] = env['OPENBLAS_NUM_THREADS'] = str(threads)
        command = ['/usr/bin/python3', os.path.abspath(__file__), '--worker', str(batch), str(threads), weights]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
        assert self.process.stdout.readline() == 'ready\n', 'the PyTorch half did not start'

    def steps(self, n):
        self.process.stdin.write('%d\n' % n)
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


# ---- the routec half -------------------------------------------------------------------------------------------------
def routec(a, batch, threads, weights, steps, log=None):
    with tempfile.TemporaryDirectory() as folder:
        run = os.path.join(folder, 'run')
        spec = SPEC
        if log:
            spec = os.path.join(folder, 'logged.route')
            with open(SPEC) as f, open(spec, 'w') as g:
                g.write(f.read().replace('log = 100000 steps', 'log = 1 steps'))
        command = [a.routec, 'run', spec, '--set', 'rows=%d' % batch, '--threads', str(threads), '--steps', str(steps),
                   '--seed', '0', '--init', weights, '--run-dir', run, '-q'] + (['--blas'] if a.blas else [])
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=tuned_environment())
        if done.returncode:
            raise SystemExit('%s: exit code %d\n%s' % (' '.join(command), done.returncode, done.stderr))
        with open(os.path.join(run, 'manifest.json')) as f:
            manifest = json.load(f)
        losses = []
        if log:
            with open(os.path.join(run, 'metrics.jsonl')) as f:
                losses = [sum(json.loads(line)['loss'].values()) for line in f if '"loss"' in line]
        return manifest['seconds'], losses


def make_weights(path):
    import random
    random.seed(7)
    tensors = {}
    for name, n_in, n_out in LAYERS:
        bound = n_in ** -0.5
        tensors[name + '.weight'] = ([n_out, n_in], array.array('f', [random.uniform(-bound, bound) for _ in range(n_in * n_out)]))
        tensors[name + '.bias'] = ([n_out], array.array('f', [random.uniform(-bound, bound) for _ in range(n_out)]))
    safetensors.save(path, tensors)


def measure(a, batch, threads, weights):
    peer = Torch(batch, threads, weights)
    n_check = 6
    ours = routec(a, batch, threads, weights, n_check, log=True)[1]
    theirs = [peer.steps(1)[1] for _ in range(n_check)]
    worst = max(abs(p - q) / q for p, q in zip(ours, theirs))
    print('batch %d, %d threads: losses of the first %d steps agree within %.2g' % (batch, threads, n_check, worst), flush=True)
    if len(ours) != n_check or not worst < 1e-3:
        raise SystemExit('the answers differ: %s and %s' % (ours, theirs))
    short, long_ = a.steps // 4 or 1, a.steps // 4 + a.steps
    peer.steps(2)
    samples = {'routec': [], 'torch': []}
    for _ in range(a.reps):  # the difference of two runs has neither start-up nor cold caches in it
        samples['torch'].append(1e3 * peer.steps(a.steps)[0] / a.steps)
        brief = routec(a, batch, threads, weights, short)[0]
        samples['routec'].append(1e3 * (routec(a, batch, threads, weights, long_)[0] - brief) / a.steps)
    peer.close()
    print(json.dumps(dict(batch=batch, threads=threads, milliseconds=samples)), flush=True)
    return {k: statistics.median(v) for k, v in samples.items()}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--routec', default=os.path.join(HERE, '..', 'build', 'routec'))
    p.add_argument('--batch', type=int, action='append')
    p.add_argument('--threads', type=int, action='append')
    p.add_argument('--steps', type=int, default=0, help='timed steps a repetition (default: about 3 seconds of them)')
    p.add_argument('--reps', type=int, default=5)
    p.add_argument('--blas', action='store_true', help="routec with the BLAS for every matrix product")
    a = p.parse_args()
    chosen, table = a.steps, []
    with tempfile.TemporaryDirectory() as folder:
        weights = os.path.join(folder, 'weights.safetensors')
        make_weights(weights)
        for batch in a.batch or [2048, 64]:
            for threads in a.threads or [1, 2]:
                a.steps = chosen or max(8, 20000 // batch)
                m = measure(a, batch, threads, weights)
                table.append((batch, threads, m['routec'], m['torch']))
    print('\n%8s %8s %14s %14s %10s' % ('batch', 'threads', 'routec ms', 'PyTorch ms', 'ratio'))
    for batch, threads, ours, theirs in table:
        print('%8d %8d %14.3f %14.3f %10.2f' % (batch, threads, ours, theirs, theirs / ours))


if __name__ == '__main__':
    if sys.argv[1:2] == ['--worker']:
        torch_worker(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
    else:
        main()
