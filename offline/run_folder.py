"""The folder of one run: where each stage puts its output, and which stages are finished.

A stage is finished when it stands in `stages.json`, which is written after the stage's files, and these are still what
it left (sha256). A killed job therefore resumes at the first stage that did not finish, and training a damaged run
again mends it.
"""

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
from torch import nn

from offline.checkpoint import save_checkpoint
from offline.errors import BadInputError, OtherRunError
from offline.file_digest import sha256_of_file
from offline.folder_lock import locked_folder
from offline.json_differences import json_differences
from offline.peak_memory import PeakMemory
from offline.recipe_settings import Recipe
from offline.whole_files import write_json

GRAPH_FILES = ("graph_encoder.safetensors", "graph_encoder.json", "vectors.npz", "text_space.npz", "losses.graph.json")
REC_ID_FILES = (
    *("graph_rqvae.safetensors", "graph_rqvae.json", "rec_ids.npz", "rec_ids.json", "item_table.npz"),
    *("item_encoder.safetensors", "item_encoder.json", "losses.rec_ids.json"),
)
GENERATOR_FILES = ("generator.safetensors", "generator.json", "teacher.json", "losses.generator.json")
DECODER_FILES = ("decoder.onnx", "settings.json", "parity.json")
METRICS_FILES = ("metrics.json", "recommended.npz")


class RunFolder:
    """Paths and finished stages of one run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.graph_encoder = folder / "graph_encoder"
        self.graph_rqvae = folder / "graph_rqvae"
        self.item_encoder = folder / "item_encoder"
        self.generator = folder / "generator"
        self.decoder = folder / "decoder.onnx"
        self._stages = folder / "stages.json"
        self._passed: list[str] = []

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder and hold it for one job; the lock ends with the process. Windows has no such lock.

        Raises:
            BadInputError: the folder cannot be made or opened.
            LockedError: another process trains in it.
        """
        self._make()
        busy = f"another process trains in {self.folder}; wait for it or take another --run"
        with ExitStack() as held:
            try:
                held.enter_context(locked_folder(self.folder, busy))
            except OSError as error:
                raise self._unusable(error) from error
            yield

    def _make(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: OSError) -> BadInputError:
        return BadInputError(f"{self.folder} cannot be the folder of a run ({error}); give another --run")

    def begin(
        self,
        recipe: Recipe,
        dataset_fingerprint: str,
        dataset: str,
        *,
        encoders: Mapping[str, str] | None = None,
        warm_start: str | None = None,
    ) -> None:
        """Start or resume a run.

        Args:
            recipe: of the run.
            dataset_fingerprint: see `fingerprint`.
            dataset: its name.
            encoders: modality to the fingerprint of what made its features, where it is known.
            warm_start: digest of the run that this one starts from, see `digest`.

        Raises:
            OtherRunError: the folder holds a run of another recipe, other data, other encoders or another start.
            BadInputError: it cannot be made.
        """
        self._make()
        for left in self.folder.glob("*.part"):  # by a writer that was killed
            left.unlink(missing_ok=True)
        wanted: dict[str, Any] = {"recipe": asdict(recipe), "dataset": dataset, "dataset_sha256": dataset_fingerprint}
        wanted |= {"encoders": dict(encoders or {}), "warm_start": warm_start}
        wanted = json.loads(json.dumps(wanted))  # tuples become lists, as they will come back
        path = self.folder / "run.json"
        if path.exists():
            found = self.read_json("run.json")
            kept = {"dataset": found.get("dataset")}  # its name may change
            found.setdefault("encoders", wanted["encoders"])  # an earlier version did not write them down
            differing = json_differences(found, {**wanted, **kept})
            if differing:
                more = f" (and {len(differing) - 1} more)" if len(differing) > 1 else ""
                raise OtherRunError(
                    f"{self.folder} holds a run that differs in {differing[0]}{more}; another version of MMGRec may "
                    "have other defaults; take another --run or remove that folder"
                )
        write_json(path, wanted)

    @contextmanager
    def stage(self, name: str, files: Sequence[str] = ()) -> Iterator[bool]:
        """Yields whether the stage has to be done; when its body ends without an error it counts as finished.

        A job enters its stages in their order. One that has to be done makes all that it has not entered yet
        unfinished, because they would build on what the earlier attempt left.

        Args:
            name: the stage.
            files: names of the files that it leaves in the folder; it is done again when one of them has changed.
        """
        finished = self._finished()
        if name in self._passed:
            del self._passed[self._passed.index(name) :]
        if name in finished and self._is_whole(finished[name], files):
            self._passed.append(name)
            yield False
            return
        kept = {passed: finished[passed] for passed in self._passed if passed in finished}
        if kept != finished:
            write_json(self._stages, kept)
        started, memory = time.monotonic(), PeakMemory()
        yield True
        seconds, peak = round(time.monotonic() - started, 3), memory.bytes()
        digests = {file: sha256_of_file(self.folder / file) for file in files}
        entry = {"seconds": seconds, "sha256": digests, "peak_bytes": peak, "finished": _now()}
        write_json(self._stages, {**kept, name: entry})
        self._passed.append(name)

    def reopen(self, *names: str) -> None:
        """Make stages unfinished, because a job is going to write their files anew."""
        write_json(self._stages, {name: entry for name, entry in self._finished().items() if name not in names})

    def forget(self) -> None:
        """Make the folder that of no run, so that the next training may have another start; its files stay."""
        self._stages.unlink(missing_ok=True)  # first: without the other, they would count for whatever comes
        (self.folder / "run.json").unlink(missing_ok=True)

    def record(self, name: str, files: Sequence[str], seconds: float) -> None:
        """Say that a job has finished a stage, so that `train` takes its files as they are."""
        digests = {file: sha256_of_file(self.folder / file) for file in files}
        entry = {"seconds": seconds, "sha256": digests, "finished": _now()}
        write_json(self._stages, {**self._finished(), name: entry})

    def is_whole(self, name: str, files: Sequence[str]) -> bool:
        """Whether a stage is finished and its files are what it left."""
        entry = self._finished().get(name)
        return entry is not None and self._is_whole(entry, files)

    def digest(self, *stages: str) -> str:
        """sha256 over the names and bytes of the files that some stages left: the run's identity, wherever it stands.

        Raises:
            BadInputError: a stage is not finished, or a file of it is missing or not what the stage left.
        """
        whole = hashlib.sha256()
        for stage in stages:
            self.require(stage)
            entry = self._finished()[stage]
            if not isinstance(entry, dict) or not isinstance(entry.get("sha256"), dict):
                raise self._unreadable(self._stages.name, ValueError(f"stage {stage!r} has no checksums"))
            for name, left in sorted(entry["sha256"].items()):
                try:
                    found = sha256_of_file(self.folder / name)
                except OSError as error:
                    raise self._unreadable(name, error) from error
                if found != left:
                    raise self._unreadable(name, ValueError(f"it is not what stage {stage!r} left: its sha256 differs"))
                whole.update(f"{name} {found}\n".encode())
        return whole.hexdigest()

    def stage_seconds(self) -> dict[str, float]:
        """Finished stages and how long each took, in seconds."""
        finished = self._finished()
        try:
            return {
                name: float(entry["seconds"] if isinstance(entry, dict) else entry) for name, entry in finished.items()
            }
        except (KeyError, TypeError, ValueError) as error:
            raise self._unreadable(self._stages.name, error) from error

    def stage_records(self) -> dict[str, dict[str, Any]]:
        """Finished stages with what is noted of each: `seconds`, `peak_bytes` and `finished` (ISO 8601) where known."""
        entries = self._finished()
        return {
            name: {"seconds": seconds, **(entries[name] if isinstance(entries[name], dict) else {})}
            for name, seconds in self.stage_seconds().items()
        }

    def _finished(self) -> dict[str, Any]:
        """What `stages.json` says of each finished stage, `seconds` and more; the first version wrote these alone."""
        return self.read_json(self._stages.name) if self._stages.exists() else {}

    def _is_whole(self, entry: Any, files: Sequence[str]) -> bool:
        """Whether the files of a finished stage are there and, where digests were written, unchanged."""
        digests = entry.get("sha256") if isinstance(entry, dict) else None
        if not isinstance(digests, dict):
            return all((self.folder / name).is_file() for name in files)
        try:
            return all(sha256_of_file(self.folder / name) == digests.get(name) for name in files)
        except OSError:
            return False

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
            raise self._unreadable(name, error) from error

    def _unreadable(self, name: str, error: Exception) -> BadInputError:
        """Files of a stage are made again by training; those that say what was trained are not."""
        cure = f"remove {self.folder} and " if name in ("run.json", self._stages.name) else ""
        return BadInputError(f"{self.folder / name} cannot be read ({error}); {cure}train the run again")

    def write_json(self, name: str, value: Any) -> None:
        """Write one of the run's JSON files, whole or not at all."""
        write_json(self.folder / name, value)

    def save_checkpoint(self, module: nn.Module, config: Any, stem: Path) -> None:
        """Write a module of the run: see `offline.checkpoint`."""
        save_checkpoint(module, config, stem)

    def save_arrays(self, name: str, arrays: dict[str, npt.NDArray[Any]]) -> None:
        """Write arrays as `<name>.npz`."""
        named: dict[str, Any] = dict(arrays)  # else mypy takes them for the argument `allow_pickle`
        np.savez(self.folder / f"{name}.npz", **named)

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
            raise self._unreadable(path.name, error) from error


def fingerprint(folder: Path) -> str:
    """sha256 over the names and bytes of a dataset's files."""
    digest = hashlib.sha256()
    files = [folder / "interactions.parquet", folder / "items.parquet", *sorted((folder / "features").glob("*.npy"))]
    for path in files:
        digest.update(path.name.encode())
        digest.update(bytes.fromhex(sha256_of_file(path)))
    return digest.hexdigest()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
