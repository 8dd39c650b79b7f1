#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What `--profile` costs: milliseconds of a step with and without it, in interleaved pairs; losses are compared first.
   bench/profile_cost.py [--routec build/routec] [--pairs 9] [--threads 1] [SPEC ...]"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))


def run(args, spec, steps, where, extra):
    """Seconds of training up to `steps`, and the losses."""
    folder = os.path.join(where, f"run-{len(os.listdir(where))}")
    command = [args.routec, "run", spec, "-q", "-q", "--seed", "0", "--threads", str(args.threads), "--steps", str(steps), "--run-dir", folder]
    done = subprocess.run(command + extra, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr[-2000:]}")
    with open(os.path.join(folder, "manifest.json")) as f:
        seconds = json.load(f)["seconds"]
    with open(os.path.join(folder, "metrics.jsonl")) as f:
        return seconds, f.read()


def step_ms(args, spec, where, extra):
    """Of the steps between a short run and a long one."""
    short, long = run(args, spec, args.steps, where, extra), run(args, spec, 5 * args.steps, where, extra)
    return 1e3 * (long[0] - short[0]) / (4 * args.steps), long[1]


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--routec", default=os.path.join(HERE, "../build/routec"))
    p.add_argument("--pairs", type=int, default=9)
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--steps", type=int, default=1000, help="of the short run; the long one takes five times as many")
    p.add_argument("specs", nargs="*", default=[os.path.join(HERE, "../examples/digits_split.route"), os.path.join(HERE, "mlp.route")])
    args = p.parse_args()
    print("| spec | without, ms a step: median (least to most) | with | ratio of the medians |\n|---|---|---|---|")
    for spec in args.specs:
        off, on = [], []
        with tempfile.TemporaryDirectory() as where:
            for k in range(args.pairs):
                both = {}
                for profiled in ((False, True) if k % 2 == 0 else (True, False)):
                    both[profiled] = step_ms(args, spec, where, ["--profile"] if profiled else [])
                if both[False][1] != both[True][1]:
                    sys.exit(f"{spec}: other losses with a profile")
                off.append(both[False][0]), on.append(both[True][0])
        a, b = statistics.median(off), statistics.median(on)
        print(f"| {os.path.basename(spec)} | {a:.4f} ({min(off):.4f} to {max(off):.4f}) "
              f"| {b:.4f} ({min(on):.4f} to {max(on):.4f}) | {b / a:.3f} |", flush=True)


main()
