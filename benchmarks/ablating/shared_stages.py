"""Take over the stages of a run that another run would repeat to the letter.

A stage is a function of the dataset and of some sections of the recipe. Where these are equal its files are, too, so
they are copied, held against the checksums that the stage left, and recorded as finished with the time they once took.
"""

import shutil
from pathlib import Path
from typing import Any

from offline.recipe_settings import Recipe
from offline.run_folder import RunFolder, fingerprint

STAGES = ("graph", "rec_ids", "generator")


def adopt_stages(source: RunFolder, target: RunFolder, recipe: Recipe, data: Path) -> list[str]:
    """Begin the run of `recipe` in `target` with what `source` has finished of it; returns the stages in common.

    A target that has finished a stage itself keeps it. Neither run may be in work meanwhile.

    Raises:
        BadInputError: the target holds another run.
    """
    with target.locked():
        target.begin(recipe, fingerprint(data), data.resolve().name)
        mine, theirs = target.read_json("run.json"), source.read_json("run.json")
        for stage in STAGES:
            if stage_inputs(stage, mine) != stage_inputs(stage, theirs) or stage in target.stage_seconds():
                break
            if not _copy_stage(stage, source, target):
                break
        return _in_common(source, target)


def stage_inputs(stage: str, run: dict[str, Any]) -> list[Any]:
    """All that decides what a stage leaves, out of a `run.json`.

    The graph encoder sees histories of `max_history`, and of the Rec-IDs only what it is trained with jointly.
    """
    recipe = run["recipe"]
    inputs = [run["dataset_sha256"], run.get("warm_start"), recipe["seed"], recipe["graph"]]
    inputs.append(recipe["generator"]["max_history"])
    if stage != "graph" or recipe["graph"]["quantization"] == "joint":
        inputs.append(recipe["rec_ids"])
    if stage == "generator":
        inputs.append(recipe["generator"])
    return inputs


def _in_common(source: RunFolder, target: RunFolder) -> list[str]:
    """Stages that left the same files in the same time, this time or at a call before: nothing trained twice does."""
    there, here = (
        {stage: (entry["seconds"], entry["sha256"]) for stage, entry in _finished(run).items()}
        for run in (source, target)
    )
    return [stage for stage in STAGES if stage in here and here[stage] == there.get(stage)]


def _finished(run: RunFolder) -> dict[str, Any]:
    return run.read_json("stages.json") if (run.folder / "stages.json").exists() else {}


def _copy_stage(stage: str, source: RunFolder, target: RunFolder) -> bool:
    """Whether the source has the stage whole; then its files are copied and recorded."""
    entry = _finished(source).get(stage)
    if entry is None or not source.is_whole(stage, tuple(entry["sha256"])):
        return False
    for file in entry["sha256"]:
        shutil.copyfile(source.folder / file, target.folder / file)
    target.record(stage, tuple(entry["sha256"]), entry["seconds"])
    return True
