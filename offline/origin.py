"""What made a run, and of what: versions, machine and the size of its dataset, in `origin.json` beside `run.json`.

`run.json` decides whether a run may be resumed; nothing in here does. A run that is resumed by other versions has them
all, in their order.
"""

import functools
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from offline.dataset import Dataset
from offline.run_folder import RunFolder

ORIGIN_FILE = "origin.json"
PACKAGES = ("mmgrec", "torch", "numpy", "polars", "scipy", "onnx")
GIT_TIMEOUT_SECONDS = 10


def record_origin(dataset: Dataset, run: RunFolder) -> None:
    """Write down what is at work, unless the run has it already.

    Raises:
        BadInputError: what is there cannot be read.
    """
    found = run.read_json(ORIGIN_FILE) if (run.folder / ORIGIN_FILE).exists() else {}
    used = list(found.get("versions", []))
    if not used or used[-1] != versions():
        used.append(versions())
    wanted = {"versions": used, "data": data_counts(dataset)}
    if wanted != found:
        run.write_json(ORIGIN_FILE, wanted)


def data_counts(dataset: Dataset) -> dict[str, Any]:
    """How large a dataset is and what it brings."""
    return {
        "users": dataset.num_users,
        "items": dataset.num_items,
        "train": len(dataset.train.users),
        "valid": len(dataset.valid.users),
        "test": len(dataset.test.users),
        "has_time": dataset.has_time,
        "features": {name: int(values.shape[1]) for name, values in dataset.features.items()},
        "items_with_title": sum(map(bool, dataset.titles)),
        "items_with_categories": sum(map(bool, dataset.categories)),
        "items_without_interactions": int((dataset.train_counts() == 0).sum()),
    }


@functools.cache
def versions() -> dict[str, str]:
    """Versions of what decides a run's figures, and the machine."""
    import onnxruntime

    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # run from a checkout that nobody installed
            found[name] = "not installed"
    found["onnxruntime"] = str(onnxruntime.__version__)
    if commit := _git_commit(Path(__file__).parents[1]):
        found["git commit"] = commit
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{os.cpu_count()} CPUs"
    found["machine"] = f"{platform.system()} {platform.machine()}, {device}"
    return found


def _git_commit(folder: Path) -> str | None:
    """The commit of this checkout, "-dirty" where it was changed; None where the code is no checkout."""
    if not (folder / ".git").exists():  # else git would tell of a repository around an installed package
        return None
    command = ("git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*")
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=GIT_TIMEOUT_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
