"""The offline jobs as the log grows: throughput and peak memory of every stage at 1, 2, 4 and 8 million interactions.

    .venv/bin/python -m benchmarks.offline [--sizes 1,2,4,8] [--sets] [--quick] [--seed 0] [--json]

Prints one JSON object; what is going on stands on stderr. Every size is a made-up log (benchmarks/scaling) and has a
process of its own. The jobs themselves run, with a few steps of every training; what the `standard` recipe would take
is projected from seconds per step, and throughput is of that. `growth`: time per interaction (item, user) at the
largest size over that at the smallest, linear = 1. `--quick`: two small logs, under two minutes on a quiet machine.
A busy machine spoils all of these figures: `load_average` tells. Exit codes are those of the offline jobs.
"""

import argparse
import json
import sys
from importlib.util import find_spec
from typing import Any

from benchmarks.quality import INSTALL, NEEDED

MILLION = 1_000_000


def sizes_of(text: str) -> tuple[int, ...]:
    """Interactions, from millions with commas between."""
    try:
        sizes = tuple(round(float(part) * MILLION) for part in text.split(","))
    except ValueError:
        sizes = ()
    if not sizes or min(sizes) < 10_000 or list(sizes) != sorted(set(sizes)):
        raise argparse.ArgumentTypeError(
            f"{text!r}: give rising millions of interactions, .01 at least, such as 1,2,4,8"
        )
    return sizes


def main(argv: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="as always; there is no other output")
    parser.add_argument("--sizes", type=sizes_of, metavar="MILLIONS", help="of interactions (default 1,2,4,8)")
    parser.add_argument("--sets", action="store_true", help="logs without times, so that a history is a set")
    parser.add_argument("--quick", action="store_true", help="two small logs")
    parser.add_argument("--seed", type=int, default=0, help="of the logs and the trainings")
    arguments = parser.parse_args(argv)
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        print(json.dumps({"benchmark": "offline", "missing": missing, "install": INSTALL}))
        return 1
    from offline.exit_codes import exit_code_of  # after the check: it and all that follows import what is needed

    return exit_code_of(lambda: print(json.dumps(measured(arguments))))


def measured(arguments: argparse.Namespace) -> dict[str, Any]:
    """The whole report."""
    from benchmarks.scaling.growth import bars, growth
    from benchmarks.scaling.stages import FULL, QUICK, measure
    from benchmarks.scoring.isolated import isolated

    plan = QUICK if arguments.quick else FULL
    sizes = arguments.sizes or plan.sizes
    reports = [isolated(measure, size, plan, seed=arguments.seed, has_time=not arguments.sets) for size in sizes]
    grown = growth(reports)
    return {
        "benchmark": "offline",
        "quick": arguments.quick,
        "has_time": not arguments.sets,
        "sizes": reports,
        "growth": grown,
        **bars(grown),
    }


if __name__ == "__main__":
    sys.exit(main())
