"""What `benchmarks.quality` measures for one dataset and seed: a run of MMGRec, and one peer after the other.

Every function here runs in a process of its own; what is finished is taken from the work folder.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.scoring.dataset_titles import dataset_key
from benchmarks.scoring.run_figures import score_run
from offline.baselines.job import run_baselines
from offline.dataset import load_dataset
from offline.peak_memory import peak_bytes
from offline.run_folder import RunFolder, fingerprint
from offline.train import train
from offline.whole_files import write_json

PEAK_FILE = "peak_memory.json"
TRAINING_STAGES = ("graph", "rec_ids", "generator", "decoder")
STAGES = (*TRAINING_STAGES, "metrics")


def describe(data: Path) -> dict[str, Any]:
    """Counts of a dataset folder, and its `key`, see `dataset_key`.

    Raises:
        BadInputError: the dataset cannot be used.
    """
    dataset = load_dataset(data, judged_by="test")
    digest = fingerprint(data)
    return {
        "name": dataset.name,
        "key": dataset_key(dataset.name, digest),
        "sha256": digest,
        "users": dataset.num_users,
        "items": dataset.num_items,
        "training_interactions": len(dataset.train.users),
        "has_time": dataset.has_time,
        "modalities": sorted(dataset.features),
    }


def measure_run(data: Path, recipe: str, seed: int, folder: Path) -> dict[str, Any]:
    """Train a run, or take the one in `folder` when it is the same; then score it.

    Raises:
        BadInputError: the dataset cannot be used, or the folder holds another run.
    """
    run = RunFolder(folder)
    was_finished = "metrics" in run.stage_seconds()
    train(data, run, recipe, seed)
    if not was_finished:
        run.write_json(PEAK_FILE, {"bytes": max(peak_bytes(), _recorded_peak(run) or 0)})
    figures = score_run(load_dataset(data, seed=seed), run)
    seconds = run.stage_seconds()
    stages = {name: seconds[name] for name in STAGES}
    training = sum(stages[name] for name in TRAINING_STAGES)
    return {
        **asdict(figures),
        "rec_ids": run.read_json("rec_ids.json")["report"],
        "stage_seconds": stages,
        "training_seconds": round(training, 2),
        "peak_bytes": _recorded_peak(run),
        "reused": was_finished,
    }


def measure_peer(data: Path, name: str, seed: int, file: Path) -> dict[str, Any]:
    """The result of one peer: `result` as `offline.baselines.job.PeerResult` has it, or why it was `skipped`.

    Raises:
        BadInputError: nobody has held-out items.
    """
    if file.exists():
        return dict(json.loads(file.read_text()))
    report = run_baselines(load_dataset(data, seed=seed), "test", [name], seed=seed).as_json()
    found = {"result": next(iter(report["peers"]), None), "skipped": report["skipped"].get(name)}
    write_json(file, found)
    return found


def _recorded_peak(run: RunFolder) -> int | None:
    """The peak of the process that trained the run; None where this benchmark did not train it."""
    return int(run.read_json(PEAK_FILE)["bytes"]) if (run.folder / PEAK_FILE).exists() else None
