# SPDX-License-Identifier: Apache-2.0
"""Runs of the specifications in bench/routing for routing_cost.py and select_cost.py."""
import argparse
import json
import os
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def arguments():
    p = argparse.ArgumentParser()
    p.add_argument("--routec", required=True)
    p.add_argument("--pairs", type=int, default=7)
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--width", type=int, default=1024)
    return p.parse_args()


def run(args, spec, extra, folder, steps=None):
    """The losses and the speeds of a run, from its JSON lines."""
    command = [args.routec, "run", os.path.join(HERE, "routing", spec), "--json", "--seed", "0", "--threads", str(args.threads),
               "--set", f"width={args.width}", "--run-dir", folder] + extra
    if steps:
        command += ["--steps", str(steps)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode not in (0, 130):
        sys.exit(f"{spec}: exit code {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    with open(os.path.join(folder, "metrics.jsonl")) as f:
        losses = [json.loads(line)["total"] for line in f]
    speeds = [e["steps_per_second"] for e in map(json.loads, done.stdout.splitlines()) if e.get("event") == "progress"]
    return losses, speeds[1:]  # the first epoch looks at magnitudes and tries thread counts


def plan_of(args, spec, extra):
    text = subprocess.run([args.routec, "plan", "--json", os.path.join(HERE, "routing", spec), "--set", f"width={args.width}"] + extra,
                          capture_output=True, text=True, check=True).stdout
    plan = json.loads(text)
    return next(f["flop"] for f in plan["functions"] if f["name"] == "train")


def table(args, cases, base, where):
    """Each case (name, spec, settings, what is wanted) beside the specification `base`, in pairs whose order alternates."""
    flop = plan_of(args, base, [])
    print(f"| {'case':34} | operations | time: median (least .. most) | wanted |")
    print(f"|{'-' * 36}|------------|------------------------------|--------|")
    for i, (name, spec, extra, wanted) in enumerate(cases):
        share = plan_of(args, spec, extra) / flop
        ratios = []
        for k in range(args.pairs):
            pair = [(base, []), (spec, extra)]
            speed = {}
            for which in ((0, 1) if k % 2 == 0 else (1, 0)):
                speeds = run(args, *pair[which], os.path.join(where, f"{i}-{k}-{which}"))[1]
                speed[which] = statistics.median(speeds)
            ratios.append(speed[0] / speed[1])
        print(f"| {name:34} | {share:10.3f} | {statistics.median(ratios):6.3f} ({min(ratios):.3f} .. {max(ratios):.3f})       | {wanted} |", flush=True)
