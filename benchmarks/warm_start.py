"""What a warm start saves, and what it costs: the same day trained cold and from the run of the day before.

    .venv/bin/python -m benchmarks.warm_start --data ../shared/data/tiktok [--seeds 0,1] [--json FILE]

Yesterday is the dataset without 5 % of its training interactions (with time the last ones of some users, else any) and
without 2 % of its items, trained cold; today is the dataset as it is, trained cold and from yesterday's run. Prints one
JSON object: seconds by stage, served list and generator alone, and the shares of items that kept codes and Rec-IDs.
Without --data nothing is measured. Runs are kept like those of `benchmarks.quality`: a call that was stopped goes on.
Exit codes are those of the offline jobs.
"""

import argparse
import json
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.quality import INSTALL, NEEDED, numbers
from benchmarks.scoring.provenance import machine, sources, work_folder

if TYPE_CHECKING:
    from offline.recipe_settings import Recipe

TRAINED = ("graph", "rec_ids", "generator")
"""Stages that a warm start shortens; exporting and scoring take what they take."""


def arguments_of(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, action="append", metavar="DIR", help="dataset folder that brings its split"
    )
    parser.add_argument("--seeds", type=numbers, default=(0,), metavar="0,1,2", help="seeds of the runs (default 0)")
    parser.add_argument("--recipe", default="standard", help="recipe of the runs (default standard)")
    parser.add_argument("--new-interactions", type=float, default=0.05, metavar="SHARE", help="default 0.05")
    parser.add_argument("--new-items", type=float, default=0.02, metavar="SHARE", help="default 0.02")
    parser.add_argument("--json", type=Path, nargs="?", metavar="FILE", help="write the report to FILE; else stdout")
    parser.add_argument("--run-folder", type=Path, metavar="DIR", help="keep runs here and reuse what is here")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Measure, write, print."""
    arguments = arguments_of(argv)
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        print(json.dumps({"benchmark": "warm_start", "missing": missing, "install": INSTALL}))
        return 1
    if not arguments.data:
        print(json.dumps({"benchmark": "warm_start", "skipped": "takes minutes; name --data DIR"}))
        return 0
    from offline.exit_codes import exit_code_of  # after the check: it and all that follows import what is needed

    return exit_code_of(lambda: _report(arguments))


def _report(arguments: argparse.Namespace) -> None:
    from offline.output_files import require_writable
    from offline.whole_files import write_json

    if arguments.json:
        require_writable(arguments.json, "--json", "a JSON file")
    results = [measure(data, seed, arguments) for data in arguments.data for seed in arguments.seeds]
    report = {"benchmark": "warm_start", "results": results, **sources(), "machine": machine()}
    if arguments.json:
        write_json(arguments.json, report)
    else:
        print(json.dumps(report))


def measure(data: Path, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Three runs of one dataset and seed, and what they say beside each other."""
    from benchmarks.scoring.isolated import isolated
    from benchmarks.scoring.yesterday import write_yesterday
    from offline.dataset import load_dataset
    from offline.run_folder import fingerprint

    load_dataset(data, seed=seed, judged_by="test")  # refuses before anything is written
    work = work_folder(arguments.run_folder)
    share = f"{arguments.new_interactions:g}-{arguments.new_items:g}"
    key = f"{data.resolve().name}-{fingerprint(data)[:8]}-{share}"
    runs = {name: work.run(key, f"{arguments.recipe}-{name}", seed) for name in ("yesterday", "cold", "warm")}
    before = work.runs / key / f"yesterday-data-{seed}"
    shutil.rmtree(before, ignore_errors=True)
    write_yesterday(data, before, new_interactions=arguments.new_interactions, new_items=arguments.new_items, seed=seed)
    isolated(train_and_score, before, runs["yesterday"], arguments.recipe, seed)
    cold = isolated(train_and_score, data, runs["cold"], arguments.recipe, seed)
    warm = isolated(train_and_score, data, runs["warm"], arguments.recipe, seed, runs["yesterday"])
    return {"dataset": data.resolve().name, "seed": seed, "cold": cold, "warm": warm, **compared(cold, warm)}


def train_and_score(data: Path, folder: Path, recipe: str, seed: int, previous: Path | None = None) -> dict[str, Any]:
    """One run, trained to the end unless it is there, and what it comes to on the test split."""
    from benchmarks.scoring.run_figures import score_run
    from offline.dataset import load_dataset
    from offline.recipes import RECIPES
    from offline.run_folder import RunFolder
    from offline.train import train_recipe

    dataset, run = load_dataset(data, seed=seed, judged_by="test"), RunFolder(folder)
    settings: Recipe = RECIPES[recipe](dataset, seed)
    train_recipe(data, dataset, run, settings, previous=None if previous is None else RunFolder(previous))
    lists = score_run(dataset, run).lists
    names = {"recall@20", "ndcg@20"}
    return {
        "stage_seconds": run.stage_seconds(),
        **{
            name: {metric: lists[name][metric] for metric in sorted(names)} for name in ("served", "generator", "dense")
        },
        "rec_ids": run.read_json("rec_ids.json")["report"],
    }


def compared(cold: dict[str, Any], warm: dict[str, Any]) -> dict[str, Any]:
    """How much of the training time is saved, and by how much the figures differ."""
    seconds = [sum(each["stage_seconds"][stage] for stage in TRAINED) for each in (cold, warm)]
    return {
        "training_seconds": {"cold": round(seconds[0], 1), "warm": round(seconds[1], 1)},
        "saved_share": round(1 - seconds[1] / seconds[0], 3),
        "warm_less_cold": {
            name: {metric: round(warm[name][metric] - cold[name][metric], 5) for metric in cold[name]}
            for name in ("served", "generator", "dense")
        },
        "kept_codes_share": warm["rec_ids"]["kept_codes_share"],
        "kept_rec_ids_share": warm["rec_ids"]["kept_rec_ids_share"],
    }


if __name__ == "__main__":
    sys.exit(main())
