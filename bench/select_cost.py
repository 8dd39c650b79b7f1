# SPDX-License-Identifier: Apache-2.0
"""What hard selection saves: see select_cost.sh."""
import os
import sys
import tempfile

from routing_runs import arguments, run, table

CASES = [  # name, spec, settings, what is expected of its time beside the mixture of all experts
    ("select, all rows computed", "experts_select.route", ["--set", "packed=false"], ""),
    ("select, rows packed", "experts_select.route", [], "below 1/2"),
]


def check_answers(args, where):
    """Packing changes no bit; a weight of 0 or a branch that is selected away is the same model."""
    mixed = run(args, "experts_mix.route", [], os.path.join(where, "answer-mix"))[0]
    apart = run(args, "experts_select.route", ["--set", "packed=false"], os.path.join(where, "answer-0"))[0]
    packed = run(args, "experts_select.route", [], os.path.join(where, "answer-1"))[0]
    worst = max(abs(p - q) / abs(p) for p, q in zip(mixed, packed))
    if apart != packed:
        sys.exit(f"packed rows give other losses: {packed} beside {apart}")
    if worst > 1e-5 or len(mixed) != len(packed) or packed[-1] >= packed[0]:
        sys.exit(f"mix and select are different models, or nothing is learnt: {packed} beside {mixed}")
    print(f"answers: losses packed and not packed are the same numbers, those of mix agree to {worst:.1e}, after {len(packed)} epochs")


def main():
    args = arguments()
    with tempfile.TemporaryDirectory() as where:
        check_answers(args, where)
        print(f"eight experts of width {args.width}, one a datum, batch 440, {args.threads} thread(s), {args.pairs} pairs; time of a step beside mix")
        table(args, CASES, "experts_mix.route", where)


main()
