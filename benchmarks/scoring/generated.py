"""What the benchmarks on generated shops have in common: their command line, and MMGRec beside its peers on one."""

import argparse
import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.quality import INSTALL, NEEDED
from benchmarks.scoring.provenance import WorkFolder
from benchmarks.scoring.shop_size import ShopSize

Write = Callable[[ShopSize, int, Path], None]
"""Makes a shop of a size up by a seed, and writes it into a folder."""


def measured(benchmark: str, description: str, usual: ShopSize, write: Write, argv: list[str] | None) -> int:
    """Generate, train, score, print; gives the exit code, that of an offline job.

    Args:
        benchmark: its name.
        description: for `--help`.
        usual: size without options.
        write: makes the shop.
        argv: arguments; None = those of the command line.
    """
    arguments = _arguments_of(description, usual, argv)
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        print(json.dumps({"benchmark": benchmark, "missing": missing, "install": INSTALL}))
        return 1
    from offline.exit_codes import exit_code_of  # after the check: it and all that follows import what is needed

    return exit_code_of(lambda: _measure(benchmark, write, arguments))


def _arguments_of(description: str, usual: ShopSize, argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    helps = {"users": "of the shop", "items": "of its catalogue", "interactions": "of every user"}
    for name, usual_number in usual._asdict().items():
        parser.add_argument(
            f"--{name}", type=int, default=usual_number, metavar="N", help=f"{helps[name]} (default {usual_number})"
        )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of the shop, the run and the peers (default 0)"
    )
    parser.add_argument("--recipe", default="standard", help="recipe of the run (default standard)")
    parser.add_argument("--table", action="store_true", help="print a Markdown table")
    return parser.parse_args(argv)


def _measure(benchmark: str, write: Write, arguments: argparse.Namespace) -> None:
    from benchmarks.scoring.peer_ratios import PEERS, as_markdown, compared
    from benchmarks.scoring.quality_report import Plan, quality

    size, seeds = ShopSize(arguments.users, arguments.items, arguments.interactions), (arguments.seed,)
    with TemporaryDirectory(prefix="mmgrec-generated-") as folder:
        data, work = Path(folder, benchmark.replace("_", "-")), Path(folder, "work")
        write(size, arguments.seed, data)
        report = quality(Plan([data], arguments.recipe, seeds, PEERS, seeds, WorkFolder(work, work)))
    report = compared(benchmark, report, {**size._asdict(), "seed": arguments.seed})
    print(as_markdown(report) if arguments.table else json.dumps(report))
