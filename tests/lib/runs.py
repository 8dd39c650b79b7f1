# SPDX-License-Identifier: Apache-2.0
"""What tests ask of run folders and of safetensors files; each command exits 0 for yes.
  same_losses A B            near_losses A B BOUND          rename IN OUT OLD=NEW ...
  permute IN OUT PATH:AXIS=i,j,k ...  (one permutation of units, applied to an axis of each parameter named)
  adds_up BOUND WHOLE PART ... (tensors: the parts' sum is the whole, up to BOUND times the tensor's largest magnitude)
  moved_by BOUND BEFORE AFTER GRADIENT (after = before - gradient, likewise, for each tensor of the gradient)
  set IN OUT PATH=v,v,v ...  zero_gradient A B PATH ... (the tensors are the same in both files, bit for bit)"""
import array
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import safetensors  # noqa: E402


def losses(run):
    with open(os.path.join(run, 'metrics.jsonl')) as f:
        lines = [json.loads(line) for line in f]
    out = [[line['step']] + list(line['loss'].values()) for line in lines if 'loss' in line]
    assert len(out) >= 5, 'too few lines of losses in ' + run
    return out


def same_losses(a, b):
    return losses(a) == losses(b)


def near_losses(a, b, bound):
    x, y = losses(a), losses(b)
    worst = 0.0
    for p, q in zip(x, y):
        for u, v in zip(sorted(p[1:]), sorted(q[1:])):
            worst = max(worst, abs(u - v) / max(abs(u), abs(v), 1e-6))
    print('largest relative difference %.3g' % worst)
    return len(x) == len(y) and worst <= float(bound)


def near(name, want, got, scale, bound):
    worst = max((abs(u - v) for u, v in zip(want, got)), default=0.0)
    if len(want) != len(got) or not worst <= bound * scale:
        print('%s: differs by %.3g, of %.3g' % (name, worst, scale))
        return False
    return True


def adds_up(bound, whole, *parts):
    whole, parts = safetensors.load(whole), [safetensors.load(p) for p in parts]
    ok = bool(whole) and any(v for _, values in whole.values() for v in values)
    for name, (_, values) in whole.items():
        total = [sum(p[name][1][i] for p in parts) for i in range(len(values))]
        scale = max(abs(v) for t in [whole] + parts for v in t[name][1])
        ok = near(name, total, values, scale, float(bound)) and ok
    return ok


def moved_by(bound, before, after, gradient):
    before, after, gradient = (safetensors.load(f) for f in (before, after, gradient))
    ok = bool(gradient)
    for name, (_, values) in gradient.items():
        moved = [a - b for a, b in zip(before[name][1], after[name][1])]
        scale = max(abs(v) for v in before[name][1]) + max(abs(v) for v in values)
        ok = near(name, moved, values, scale, float(bound)) and ok
    return ok


def rename(source, target, *pairs):
    pairs = [p.split('=') for p in pairs]
    out = {}
    for name, entry in safetensors.load(source).items():
        if '#' in name:
            continue
        for old, new in pairs:
            if name.startswith(old):
                name = new + name[len(old):]
                break
        out[name] = entry
    safetensors.save(target, out)
    return True


def permute(source, target, *rules):
    tensors = {k: v for k, v in safetensors.load(source).items() if '#' not in k}
    for rule in rules:
        place, order = rule.split('=')
        path, axis = place.split(':')
        order, axis = [int(i) for i in order.split(',')], int(axis)
        shape, values = tensors[path]
        rows, columns = shape[0], 1
        for d in shape[1:]:
            columns *= d
        if axis == 0:
            data = [values[order[r] * columns + c] for r in range(rows) for c in range(columns)]
        else:
            data = [values[r * columns + order[c]] for r in range(rows) for c in range(columns)]
        assert sorted(order) == list(range(shape[axis])), rule
        tensors[path] = (shape, array.array('f', data))
    safetensors.save(target, tensors)
    return True


def set_values(source, target, *rules):
    tensors = {k: v for k, v in safetensors.load(source).items() if '#' not in k}
    for rule in rules:
        path, values = rule.split('=')
        data = array.array('f', [float(v) for v in values.split(',')])
        assert len(data) == len(tensors[path][1]), rule
        tensors[path] = (tensors[path][0], data)
    safetensors.save(target, tensors)
    return True


def zero_gradient(a, b, *paths):
    x, y = safetensors.load(a), safetensors.load(b)
    return all(safetensors.raw(x[p]) == safetensors.raw(y[p]) for p in paths)


def values(source, path, *want):
    got = list(safetensors.load(source)[path][1])
    print(path, got)
    return got == [float(v) for v in want]


def near_values(bound, source, path, *want):
    got = list(safetensors.load(source)[path][1])
    print(path, got)
    return len(got) == len(want) and all(abs(a - float(b)) <= float(bound) * max(1, abs(a)) for a, b in zip(got, want))


commands = dict(same_losses=same_losses, near_losses=near_losses, rename=rename, permute=permute, set=set_values,
                zero_gradient=zero_gradient, values=values, near_values=near_values, adds_up=adds_up, moved_by=moved_by)
if __name__ == '__main__':
    sys.exit(0 if commands[sys.argv[1]](*sys.argv[2:]) else 1)
