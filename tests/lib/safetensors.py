# SPDX-License-Identifier: Apache-2.0
"""A small reader and writer of the safetensors format, F32 only, for tests: 8 bytes of header length (little endian),
a JSON header {name: {dtype, shape, data_offsets}}, then the data. Tensors are (shape, array('f')) pairs."""
import array
import json
import struct
import sys


def load(path):
    with open(path, 'rb') as f:
        blob = f.read()
    (n,) = struct.unpack('<Q', blob[:8])
    header = json.loads(blob[8:8 + n])
    tensors = {}
    for name, entry in header.items():
        if name == '__metadata__':
            continue
        lo, hi = entry['data_offsets']
        raw = blob[8 + n + lo:8 + n + hi]
        if entry['dtype'] != 'F32':
            tensors[name] = (entry['shape'], raw)
            continue
        values = array.array('f')
        values.frombytes(raw)
        tensors[name] = (entry['shape'], values)
    return tensors


def save(path, tensors):
    header, at, blobs = {}, 0, []
    for name, (shape, values) in sorted(tensors.items()):
        raw = values.tobytes() if isinstance(values, array.array) else bytes(values)
        header[name] = {'dtype': 'F32', 'shape': list(shape), 'data_offsets': [at, at + len(raw)]}
        at += len(raw)
        blobs.append(raw)
    text = json.dumps(header).encode()
    text += b' ' * (-len(text) % 8)
    with open(path, 'wb') as f:
        f.write(struct.pack('<Q', len(text)) + text + b''.join(blobs))


def raw(entry):
    values = entry[1]
    return values.tobytes() if isinstance(values, array.array) else values


def main():
    """safetensors.py same A B [OLD=NEW ...]: are all tensors of A, with path prefixes renamed, in B, bit for bit?
    safetensors.py same_parameters A B ...: the same without optimizer states.
    safetensors.py near A B: are the tensors of A in B, no number further away than 1e-4?
    safetensors.py differ A B NAME: does the tensor differ?  safetensors.py list A"""
    command, a = sys.argv[1], load(sys.argv[2])
    if command == 'list':
        for name, (shape, _) in sorted(a.items()):
            print(name, shape)
        return 0
    b = load(sys.argv[3])
    if command == 'differ':
        return 0 if raw(a[sys.argv[4]]) != raw(b[sys.argv[4]]) else 1
    if command == 'near':
        far = [k for k in a if k not in b or a[k][0] != b[k][0] or not all(abs(x - y) <= 1e-4 for x, y in zip(a[k][1], b[k][1]))]
        print('far:', far)
        return 1 if far or not a else 0
    if command == 'same_parameters':  # moments may differ
        a = {k: v for k, v in a.items() if '#' not in k}
    renames = [r.split('=') for r in sys.argv[4:]]
    if not a:
        print('no tensors in', sys.argv[2])
        return 1
    for name, entry in sorted(a.items()):
        other = name
        for old, new in renames:
            if other.startswith(old):
                other = new + other[len(old):]
        if other not in b:
            print(f'{other} is missing in {sys.argv[3]}')
            return 1
        if entry[0] != b[other][0] or raw(entry) != raw(b[other]):
            print(f'{name} differs from {other}')
            return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
