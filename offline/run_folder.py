"""The folder of one run: where each stage puts its output, and which stages are finished.

A stage is finished when it stands in `stages.json`, which is written after the stage's files. A killed job therefore
resumes at the first stage that did not finish.
"""

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from offline.checkpoint import write_json
from offline.errors import BadInputError
from offline.recipes import Recipe


class RunFolder:
    """Paths and finished stages of one run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.graph_rqvae = folder / "graph_rqvae"
        self.generator = folder / "generator"
        self.decoder = folder / "decoder.onnx"
        self._stages = folder / "stages.json"

    def begin(self, recipe: Recipe, dataset_fingerprint: str, dataset: str) -> None:
        """Start or resume a run.

        Raises:
            BadInputError: the folder holds a run of another recipe or other data, or cannot be made.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInputError(f"{self.folder} cannot be the folder of a run ({error}); give another --run") from error
        wanted = {"recipe": asdict(recipe), "dataset": dataset, "dataset_sha256": dataset_fingerprint}
        wanted = json.loads(json.dumps(wanted))  # tuples become lists, as they will come back
        path = self.folder / "run.json"
        if path.exists():
            found = self.read_json("run.json")
            differing = sorted(key for key in wanted if found.get(key) != wanted[key])
            if differing:
                raise BadInputError(
                    f"{self.folder} holds a run that differs in {differing}; take another --run or remove that folder"
                )
        write_json(path, wanted)

    @contextmanager
    def stage(self, name: str) -> Iterator[bool]:
        """Yields whether the stage has to be done; when its body ends without an error it counts as finished."""
        seconds = self.stage_seconds()
        if name in seconds:
            yield False
            return
        started = time.monotonic()
        yield True
        write_json(self._stages, {**seconds, name: round(time.monotonic() - started, 3)})

    def stage_seconds(self) -> dict[str, float]:
        """Finished stages and how long each took, in seconds."""
        return self.read_json(self._stages.name) if self._stages.exists() else {}

    def require(self, stage: str) -> None:
        """Refuse a run in which a stage is not finished.

        Raises:
            BadInputError: naming the stage and the cure.
        """
        if stage not in self.stage_seconds():
            raise BadInputError(
                f"{self.folder} holds no finished run: stage {stage!r} is missing; "
                f"run: python -m offline train --data DIR --run {self.folder}"
            )

    def read_json(self, name: str) -> dict[str, Any]:
        """One of the run's JSON files.

        Raises:
            BadInputError: it is missing or damaged.
        """
        try:
            return dict(json.loads((self.folder / name).read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise BadInputError(f"{self.folder / name} cannot be read ({error}); train the run again") from error

    def write_json(self, name: str, value: Any) -> None:
        """Write one of the run's JSON files, whole or not at all."""
        write_json(self.folder / name, value)

    def save_arrays(self, name: str, arrays: dict[str, npt.NDArray[Any]]) -> None:
        """Write arrays as `<name>.npz`."""
        np.savez(self.folder / f"{name}.npz", allow_pickle=False, **arrays)

    def load_arrays(self, name: str) -> dict[str, npt.NDArray[Any]]:
        """Read arrays of `<name>.npz`.

        Raises:
            BadInputError: the file is missing or damaged.
        """
        path = self.folder / f"{name}.npz"
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                return dict(arrays)
        except (OSError, ValueError, EOFError, BadZipFile) as error:
            raise BadInputError(f"{path} cannot be read ({error}); train the run again") from error


def fingerprint(folder: Path) -> str:
    """sha256 over the names and bytes of a dataset's files."""
    digest = hashlib.sha256()
    files = [folder / "interactions.parquet", folder / "items.parquet", *sorted((folder / "features").glob("*.npy"))]
    for path in files:
        digest.update(path.name.encode())
        with path.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()
