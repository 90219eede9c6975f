"""MMGRec beside every peer, on any dataset folder: the bars of issue 4.

    .venv/bin/python -m benchmarks.quality --data ../shared/data/lastfm-2k --seeds 0,1,2 --json quality.json --table

Trains the recipe with every seed (or takes the runs that an earlier call finished), scores the exported ONNX at the
default tier, and beside it the generator alone, exhaustive dense search over the same vectors, the recall of the beam,
and all peers of `python -m offline baselines`; with what recall does not say, seconds per stage and peak memory.
Prints one JSON object, or with --table a Markdown table of it; what is going on stands on stderr. `verdict` says which
bars of the issue are met, for the datasets that have some; the exit status does not: it is that of an offline job.

Finished runs and peers are kept in the user's cache folder under a hash of the sources, so that a call that was stopped
goes on and nothing old is taken after a change of the code. With --run-folder they are kept in that folder, whatever
the sources.
"""

import argparse
import json
import sys
from importlib.util import find_spec
from pathlib import Path

from benchmarks.scoring.provenance import work_folder

DEFAULT_DATA = Path("../shared/data/lastfm-2k")
NEEDED = ("onnx", "polars", "scipy", "torch")
INSTALL = "pip install -e '.[offline]' -c constraints.txt"
MOST_SEED = 2**32 - 1
"""scikit-learn takes no larger one."""


def arguments_of(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append", metavar="DIR", help="dataset folder; several are allowed")
    parser.add_argument("--seeds", type=numbers, default=(0,), metavar="0,1,2", help="seeds of the runs (default 0)")
    parser.add_argument("--recipe", default="standard", help="recipe of the runs (default standard)")
    parser.add_argument("--json", type=Path, nargs="?", metavar="FILE", help="write the report to FILE; else stdout")
    parser.add_argument("--table", action="store_true", help="print a Markdown table")
    parser.add_argument(
        "--run-folder", type=Path, metavar="DIR", help="keep runs and peers here and reuse what is here"
    )
    parser.add_argument("--no-peers", action="store_true", help="MMGRec alone")
    parser.add_argument("--only-peers", type=names, metavar="NAME,...", help="some of the peers")
    parser.add_argument(
        "--peer-seeds", type=numbers, metavar="0", help="seeds of the peers (default: those of the runs)"
    )
    arguments = parser.parse_args(argv)
    for option, given in (("--only-peers", arguments.only_peers), ("--peer-seeds", arguments.peer_seeds)):
        if arguments.no_peers and given:
            parser.error(f"{option} says what to do with peers, and --no-peers leaves all out; give one of the two")
    return arguments


def numbers(text: str) -> tuple[int, ...]:
    """Seeds from `0,1,2`, each once."""
    try:
        found = tuple(dict.fromkeys(int(number) for number in text.split(",")))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of whole numbers; give some, such as 0,1,2") from error
    outside = [number for number in found if not 0 <= number <= MOST_SEED]
    if outside:
        raise argparse.ArgumentTypeError(f"{outside[0]} is no seed; give whole numbers from 0 to {MOST_SEED}")
    return found


def names(text: str) -> tuple[str, ...]:
    """Names from `one,another`, each once; "" would read as "all" although it names nothing."""
    found = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} names nothing; leave the option out to take all")
    return found


def main(argv: list[str] | None = None) -> int:
    """Measure, write, print."""
    arguments = arguments_of(argv)
    folders = arguments.data or [DEFAULT_DATA]
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        print(json.dumps({"benchmark": "quality", "missing": missing, "install": INSTALL}))
        return 1
    if not arguments.data and not DEFAULT_DATA.is_dir():
        print(json.dumps({"benchmark": "quality", "skipped": f"{DEFAULT_DATA} does not exist; name one with --data"}))
        return 0
    from offline.exit_codes import exit_code_of  # after the check: it and all that follows import what is needed

    return exit_code_of(lambda: _measure(arguments, folders))


def _measure(arguments: argparse.Namespace, folders: list[Path]) -> None:
    """Measure all datasets, and write or print the report."""
    from benchmarks.scoring.quality_report import Plan, quality
    from benchmarks.scoring.quality_table import as_markdown
    from offline.baselines.registry import REGISTRY
    from offline.output_files import require_writable
    from offline.whole_files import write_json

    peers = () if arguments.no_peers else arguments.only_peers or tuple(REGISTRY)
    work = work_folder(arguments.run_folder)
    if arguments.json:
        require_writable(arguments.json, "--json", "a JSON file")
    peer_seeds = arguments.peer_seeds or arguments.seeds
    report = quality(Plan(folders, arguments.recipe, arguments.seeds, peers, peer_seeds, work))
    if arguments.json:
        write_json(arguments.json, report)
    if arguments.table:
        print(as_markdown(report))
    elif not arguments.json:
        print(json.dumps(report))


if __name__ == "__main__":
    sys.exit(main())
