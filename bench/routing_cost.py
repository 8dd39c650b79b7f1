# SPDX-License-Identifier: Apache-2.0
"""What routing costs and saves: see routing_cost.sh."""
import os
import sys
import tempfile

from routing_runs import arguments, run, table

CASES = [  # name, spec, settings, what is expected of its time beside the model without routes
    ("gradient (A), rows as they come", "gradient.route", [], "at most 1.03"),
    ("parameters (P), rows as they come", "parameters.route", [], "at most 1.03"),
    ("three regions, rows as they come", "regions.route", ["--set", "grouped=false"], ""),
    ("three regions, rows grouped", "regions.route", [], "below 1"),
]


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
    args = arguments()
    with tempfile.TemporaryDirectory() as where:
        check_answers(args, where)
        print(f"width {args.width}, batch 440, {args.threads} thread(s), {args.pairs} pairs; time of a step beside the model without routes")
        table(args, CASES, "none.route", where)


main()
