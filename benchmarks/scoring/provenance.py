"""What a figure was made by: commit, sources, machine; and the folder where finished work waits for the next call."""

import hashlib
import os
import platform
import subprocess
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RUN_SOURCES = (
    "benchmarks/ablating/__init__.py",
    "benchmarks/ablating/shared_stages.py",
    "model/*.py",
    "offline/*.py",
    "offline/baselines/*.py",
    "offline/encoding/__init__.py",
    "offline/encoding/fingerprints.py",
    "offline/reporting/*.py",
    "service/__init__.py",
    "service/buckets.py",
    "service/constraints.py",
    "service/contract/*.py",
    "service/decoder.py",
    "service/device.py",
    "service/onnx_session.py",
)
"""All that `offline.train` imports, and what copies stages from run to run."""
PEER_SOURCES = (
    "offline/__init__.py",
    "offline/array_header.py",
    "offline/available_memory.py",
    "offline/baselines/*.py",
    "offline/beyond_accuracy.py",
    "offline/dataset*.py",
    "offline/devices.py",
    "offline/errors.py",
    "offline/feature_files.py",
    "offline/losses.py",
    "offline/metrics.py",
    "offline/peak_memory.py",
    "offline/processes.py",
    "offline/progress.py",
    "offline/splits.py",
    "service/__init__.py",
    "service/contract/__init__.py",
    "service/contract/item_table.py",
)
"""All that `offline.baselines.job` imports."""
PACKAGES = ("numpy", "onnxruntime", "onnxruntime-gpu", "scipy", "torch")


@dataclass(frozen=True)
class WorkFolder:
    """Where runs and the results of peers are kept, so that a benchmark that was stopped goes on.

    Attributes:
        runs: holds a folder per dataset, and in it one per run.
        peers: holds a folder per dataset, and in it a file per peer.
    """

    runs: Path
    peers: Path

    def run(self, dataset: str, name: str, seed: int) -> Path:
        """The folder of a run."""
        return self.runs / dataset / f"{name}-seed-{seed}"

    def peer(self, dataset: str, name: str, seed: int) -> Path:
        """The file with the result of a peer."""
        return self.peers / dataset / f"peer-{name}-seed-{seed}.json"


def work_folder(given: Path | None) -> WorkFolder:
    """The folder that was given, as it is; else one in the user's cache that belongs to the sources as they are now.

    So nothing is reused after a change of the code, unless the caller names a folder and vouches for what it holds.
    """
    if given is not None:
        return WorkFolder(given, given)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mmgrec-bench"
    return WorkFolder(cache / "runs" / sources_digest(RUN_SOURCES), cache / "peers" / sources_digest(PEER_SOURCES))


def sources_digest(patterns: tuple[str, ...]) -> str:
    """16 hexadecimal digits over the names and bytes of source files of this checkout."""
    digest = hashlib.sha256()
    for path in source_files(patterns):
        digest.update(f"{path.relative_to(ROOT).as_posix()}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def source_files(patterns: tuple[str, ...]) -> list[Path]:
    """The files of this checkout that some patterns name, sorted, each once."""
    return sorted({path for pattern in patterns for path in ROOT.glob(pattern)})


def commit() -> str:
    """The commit of this checkout, with `-dirty` where files differ from it; "unknown" outside a checkout."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    try:
        found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return "unknown"
    return found.stdout.strip() or "unknown"


def sources() -> dict[str, str]:
    """The commit, and a hash of what a run is made by: a tree that is being edited has one commit and many states."""
    return {"commit": commit(), "sources_sha256": sources_digest(RUN_SOURCES)}


def machine() -> dict[str, Any]:
    """Cores, how busy they are, threads that were asked for, and versions."""
    installed = {each.metadata["Name"].lower(): each.version for each in metadata.distributions()}
    return {
        "cores": os.cpu_count(),
        "load_average": os.getloadavg(),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: installed[name] for name in PACKAGES if name in installed},
    }
