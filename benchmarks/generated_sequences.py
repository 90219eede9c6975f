"""MMGRec beside its peers on generated sequences: a shop whose figures no recipe was made by.

    .venv/bin/python -m benchmarks.generated_sequences [--users 1000] [--items 1500] [--interactions 40] [--table]

Writes a shop of users with tastes and a mild order (benchmarks/scoring/sequence_shop.py) into a temporary folder,
trains the recipe on it and scores the exported ONNX at the default tier; beside it the generator alone, exhaustive
dense search and six peers under the same protocol: the last interaction of every user is the test, the one before it
validation. Prints one JSON object, or with --table a Markdown table of it. Every row has its ratio to the best peer of
that metric: above 1 it is better than all of them. Nothing is kept. Exit codes are those of the offline jobs.
"""

import argparse
import json
import sys
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.quality import INSTALL, NEEDED
from benchmarks.scoring.provenance import WorkFolder


def arguments_of(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=1000, metavar="N", help="of the shop (default 1000)")
    parser.add_argument("--items", type=int, default=1500, metavar="N", help="of its catalogue (default 1500)")
    parser.add_argument("--interactions", type=int, default=40, metavar="N", help="of every user (default 40)")
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of the shop, the run and the peers (default 0)"
    )
    parser.add_argument("--recipe", default="standard", help="recipe of the run (default standard)")
    parser.add_argument("--table", action="store_true", help="print a Markdown table")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Generate, measure, print."""
    arguments = arguments_of(argv)
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        print(json.dumps({"benchmark": "generated_sequences", "missing": missing, "install": INSTALL}))
        return 1
    from offline.exit_codes import exit_code_of  # after the check: it and all that follows import what is needed

    return exit_code_of(lambda: _measure(arguments))


def _measure(arguments: argparse.Namespace) -> None:
    from benchmarks.scoring.peer_ratios import PEERS, as_markdown, compared
    from benchmarks.scoring.quality_report import Plan, quality
    from benchmarks.scoring.sequence_shop import ShopSize, generate_shop, write_shop

    size, seeds = ShopSize(arguments.users, arguments.items, arguments.interactions), (arguments.seed,)
    with TemporaryDirectory(prefix="mmgrec-sequences-") as folder:
        data, work = Path(folder, "generated-sequences"), Path(folder, "work")
        write_shop(generate_shop(size, arguments.seed), data)
        report = quality(Plan([data], arguments.recipe, seeds, PEERS, seeds, WorkFolder(work, work)))
    report = compared(report, {**size._asdict(), "seed": arguments.seed})
    print(as_markdown(report) if arguments.table else json.dumps(report))


if __name__ == "__main__":
    sys.exit(main())
