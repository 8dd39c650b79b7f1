# SPDX-License-Identifier: Apache-2.0
"""From the start of the process to the first step: see start.sh."""
import argparse
import hashlib
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SPECS = [  # name, arguments
    ("ae-64", ["bench/ae.route", "--set", "rows=64"]),
    ("ae-2048", ["bench/ae.route", "--set", "rows=2048"]),
    ("mnist_split", ["examples/mnist_split.route"]),
    ("digits_split", ["examples/digits_split.route"]),
]
KINDS = [  # name, what the cache holds
    ("empty", "nothing: the very first start"),
    ("miss", "what is known of the machine"),
    ("hit", "the code"),
]


def arguments():
    p = argparse.ArgumentParser()
    p.add_argument("--routec", required=True)
    p.add_argument("--starts", type=int, default=7)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--only", action="append", help="one of: " + ", ".join(name for name, _ in SPECS))
    return p.parse_args()


def cache_for(kind, cache):
    """Leaves of the cache what the kind of start may find."""
    if kind == "empty":
        shutil.rmtree(cache, ignore_errors=True)
    elif kind == "miss":
        folder = os.path.join(cache, "routec")
        for name in os.listdir(folder):
            if not name.startswith(("host-", "blas-")):
                os.unlink(os.path.join(folder, name))


def start(args, spec, cache, where):
    """One start and one step: (phases in milliseconds, seconds to the first step, hash of the parameters, from the cache)."""
    run = os.path.join(where, "run")
    command = [os.path.abspath(args.routec), "run", *spec, "--steps", "1", "--threads", str(args.threads), "--run-dir", run, "-v", "--json"]
    done = subprocess.run(command, cwd=HERE, env={**os.environ, "XDG_CACHE_HOME": cache}, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    phases = {m[1].strip(): float(m[2]) for m in re.finditer(r"^  (\S[\S ]*?) +([0-9.]+)(?:$|   )", done.stderr, re.M)}
    first = next(e for e in map(json.loads, done.stdout.splitlines()) if e.get("event") == "first_step")
    phases["wait for data"], phases["memory, initial values"] = 1e3 * first["data"], 1e3 * first["setup"]
    digest = hashlib.sha256()
    for name in sorted(os.listdir(run)):
        if name.endswith(".safetensors"):
            with open(os.path.join(run, name), "rb") as f:
                f.seek(int.from_bytes(f.read(8), "little"), os.SEEK_CUR)  # the header has times in it
                digest.update(f.read())
    shutil.rmtree(run)
    return phases, first["after"], digest.hexdigest(), "from the cache" in done.stderr


def spread(values):
    return f"{statistics.median(values):7.1f} ({min(values):.1f} to {max(values):.1f})"


def main():
    args = arguments()
    specs = [s for s in SPECS if not args.only or s[0] in args.only]
    samples = {}
    with tempfile.TemporaryDirectory() as where:
        for i in range(args.starts + 1):  # the first round warms the page cache, and is compared
            for name, spec in specs:
                cache, answers = os.path.join(where, "cache-" + name), set()
                for kind, _ in KINDS:
                    cache_for(kind, cache)
                    phases, after, digest, cached = start(args, spec, cache, where)
                    answers.add(digest)
                    if cached != (kind == "hit"):
                        sys.exit(f"{name}, {kind}: code {'came' if cached else 'did not come'} from the cache")
                    if i == 0:
                        continue
                    phases["first step begins"] = 1e3 * after
                    print(json.dumps({"spec": name, "kind": kind, "threads": args.threads, "phases": phases}))
                    for phase, ms in phases.items():
                        samples.setdefault((name, kind), {}).setdefault(phase, []).append(ms)
                if len(answers) != 1:
                    sys.exit(f"{name}: the parameters after one step depend on the cache")
    print(f"\n{args.starts} starts each, {args.threads} thread(s); milliseconds from the start of the process, median (least to most)\n")
    for kind, holds in KINDS:
        print(f"the cache holds {holds}:")
        for name, _ in specs:
            print(f"  {name:14s} {spread(samples[name, kind]['first step begins'])}")
    print("\nphases, medians:")
    for name, _ in specs:
        table = [samples[name, kind] for kind, _ in KINDS]
        print(f"  {name:24s}" + "".join(f"{kind:>10s}" for kind, _ in KINDS))
        for phase in table[0]:
            row = [statistics.median(t.get(phase, [0])) for t in table]
            if max(row) >= 0.5:
                print(f"    {phase:22s}" + "".join(f"{ms:10.1f}" for ms in row))


if __name__ == "__main__":
    main()
