"""What every part of MMGRec is worth: the ablations of issue 4, in a runner that resumes.

    .venv/bin/python -m benchmarks.ablations --data ../shared/data/lastfm-2k --seeds 0,1,2 --out ablations.jsonl \
        [--only "without graph,codebooks"] [--plot FILE.png] [--table]

Every variant is the full recipe with one thing changed; it is trained to the end and scored as it would be served. Each
result is appended to --out as one line of JSON when it is finished, and what stands there is not measured again, so the
command can be stopped and repeated. Stages that a variant shares with the full recipe are copied from its run and not
trained again. Runs are kept in the user's cache folder under a hash of the sources, or in --run-folder. Beam widths are
scored on the run of the full recipe. A change of the recipe is noticed in --out, a change of the code is not: take
another file then. Every line has its commit and a hash of the sources; processes are started for every run, so study a
checkout that nobody edits meanwhile (`git worktree add`).

Without --data nothing is measured: --table and --plot show what --out holds, every content of a dataset by itself. A
line of --out that is no result is named on stderr and left out. Prints one JSON object, or the table.
Exit status 1 when a variant failed; its line says why, and the next call tries it again. Other exit codes are those of
the offline jobs.
"""

import argparse
import json
import sys
from importlib.util import find_spec
from pathlib import Path

from benchmarks.quality import INSTALL, NEEDED, names, numbers
from benchmarks.scoring.provenance import work_folder

PLOT_INSTALL = "pip install -e '.[offline,bench]' -c constraints.txt"


def arguments_of(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append", metavar="DIR", help="dataset folder; several are allowed")
    parser.add_argument("--seeds", type=numbers, default=(0,), metavar="0,1,2", help="seeds of the runs (default 0)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="file of results, one JSON object per line")
    parser.add_argument(
        "--only", type=names, default=(), metavar="NAME,...", help="variants or groups of variants (default: all)"
    )
    parser.add_argument("--recipe", default="standard", help="the full recipe (default standard)")
    parser.add_argument("--run-folder", type=Path, metavar="DIR", help="keep the runs here and reuse what is here")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the results into this file")
    parser.add_argument("--table", action="store_true", help="print the results as a Markdown table")
    arguments = parser.parse_args(argv)
    for option in ("data", "table", "plot"):
        if getattr(arguments, option) and arguments.out is None:
            parser.error(f"--{option} needs --out FILE, the file that results are written to and read from")
    if arguments.only and not arguments.data:
        parser.error("--only needs --data DIR, the datasets to measure these variants on")
    return arguments


def main(argv: list[str] | None = None) -> int:
    """Measure what is missing, then show what there is."""
    arguments = arguments_of(argv)
    if arguments.out is None:
        print(json.dumps({"benchmark": "ablations", "skipped": "takes hours; name --data DIR and --out FILE"}))
        return 0
    needed = (*NEEDED, "matplotlib") if arguments.plot else NEEDED
    missing = [name for name in needed if find_spec(name) is None]
    if missing:
        install = PLOT_INSTALL if "matplotlib" in missing else INSTALL
        print(json.dumps({"benchmark": "ablations", "missing": missing, "install": install}))
        return 1
    from offline.exit_codes import exit_code_of  # after the check: it and all that follows import what is needed

    return exit_code_of(lambda: _study(arguments))


def _study(arguments: argparse.Namespace) -> int:
    """Measure what is missing, show what there is; 1 when a variant failed."""
    from benchmarks.ablating.results import Results
    from benchmarks.ablating.runner import Study, run_study
    from benchmarks.ablating.study_table import as_markdown
    from offline.output_files import require_writable

    if arguments.data:
        require_writable(arguments.out, "--out", "a file of JSON lines")
    if arguments.plot:
        require_writable(arguments.plot, "--plot", "a PNG file")
    work, results = work_folder(arguments.run_folder), Results(arguments.out)
    study = Study(arguments.data or [], arguments.seeds, arguments.recipe, arguments.only, work)
    outcome = run_study(study, results)
    if arguments.plot:
        from benchmarks.ablating.study_plot import draw

        draw(results.lines(), arguments.plot)
    if arguments.table:
        print(as_markdown(results.lines()))
    else:
        print(json.dumps({"benchmark": "ablations", "out": str(arguments.out), **outcome._asdict()}))
    return 1 if outcome.failed else 0


if __name__ == "__main__":
    sys.exit(main())
