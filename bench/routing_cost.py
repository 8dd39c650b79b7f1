# SPDX-License-Identifier: Apache-2.0
"""What routing costs and saves: see routing_cost.sh."""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
CASES = [  # name, spec, settings, what is expected of its time beside the model without routes
    ("gradient (A), rows as they come", "gradient.route", [], "at most 1.03"),
    ("parameters (P), rows as they come", "parameters.route", [], "at most 1.03"),
    ("three regions, rows as they come", "regions.route", ["--set", "grouped=false"], ""),
    ("three regions, rows grouped", "regions.route", [], "below 1"),
]


def run(args, spec, extra, folder, steps=None):
    """The events of a run, from its JSON lines."""
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


def check_answers(args, where):
    """Grouped and ungrouped rows train alike but for rounding; a route that blocks something trains differently."""
    plain = run(args, "none.route", [], os.path.join(where, "answer-none"))[0]
    apart = run(args, "regions.route", ["--set", "grouped=false"], os.path.join(where, "answer-0"))[0]
    grouped = run(args, "regions.route", [], os.path.join(where, "answer-1"))[0]
    worst = max(abs(p - q) / abs(p) for p, q in zip(apart, grouped))
    if worst > 1e-3 or len(apart) != len(grouped):
        sys.exit(f"grouped rows give other losses: {grouped} beside {apart}")
    if all(abs(p - q) < 1e-6 * abs(p) for p, q in zip(plain, apart)):
        sys.exit("the routes change nothing")
    print(f"answers: losses with and without grouping agree to {worst:.1e}, after {len(apart)} epochs")


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--routec", required=True)
    p.add_argument("--pairs", type=int, default=7)
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--width", type=int, default=1024)
    args = p.parse_args()
    with tempfile.TemporaryDirectory() as where:
        check_answers(args, where)
        flop = plan_of(args, "none.route", [])
        print(f"width {args.width}, batch 440, {args.threads} thread(s), {args.pairs} pairs; time of a step beside the model without routes")
        print(f"| {'case':34} | operations | time: median (least .. most) | wanted |")
        print(f"|{'-' * 36}|------------|------------------------------|--------|")
        for i, (name, spec, extra, wanted) in enumerate(CASES):
            share = plan_of(args, spec, extra) / flop
            ratios = []
            for k in range(args.pairs):
                pair = [("none.route", []), (spec, extra)]
                speed = {}
                for which in ((0, 1) if k % 2 == 0 else (1, 0)):
                    speeds = run(args, *pair[which], os.path.join(where, f"{i}-{k}-{which}"))[1]
                    speed[which] = statistics.median(speeds)
                ratios.append(speed[0] / speed[1])
            print(f"| {name:34} | {share:10.3f} | {statistics.median(ratios):6.3f} ({min(ratios):.3f} .. {max(ratios):.3f})       | {wanted} |", flush=True)


main()
