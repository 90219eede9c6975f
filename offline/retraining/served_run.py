"""Which run the served release came of: also under a changed catalogue, and where somebody published it by hand."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from offline.errors import BadInputError
from offline.origin import ORIGIN_FILE
from offline.retraining.run_record import RunRecord
from offline.run_folder import RunFolder
from service.contract.blobs import ArraySpec, cut_array
from service.contract.manifest import DECODER_ARRAY
from service.contract.release_store import ReleaseStore


class ServedRun(NamedTuple):
    """What is known of it.

    Attributes:
        name: of its folder among the runs; None where there is none.
        unknown_because: why there is none, in words.
    """

    name: str | None
    unknown_because: str | None


def find_served_run(runs: Path, records: Sequence[RunRecord], store: ReleaseStore, version: str | None) -> ServedRun:
    """The run behind a release.

    Its own record names it, or the verdict of the gate, which `add-items` and `remove-items` carry on; else it is the
    run with the same decoder, which nothing but training changes.

    Args:
        runs: where run folders are.
        records: of those that `retrain` made.
        store: of the namespace.
        version: of the release; None where nothing is served.
    """
    if version is None:
        return ServedRun(None, "nothing is served yet")
    for record in reversed(records):
        if record.version == version:
            return ServedRun(record.name, None)
    try:
        manifest = store.read_manifest(version)
    except (ValueError, LookupError) as error:
        return ServedRun(None, f"release {version} cannot be read ({error})")
    if manifest.gate.get("run") in {record.name for record in records}:
        return ServedRun(str(manifest.gate["run"]), None)
    decoder = manifest.arrays.get(DECODER_ARRAY)
    for path in sorted(runs.glob("*/decoder.onnx"), reverse=True):
        if decoder is not None and _is(path, decoder):
            return ServedRun(path.parent.name, None)
    return ServedRun(None, f"no run in {runs} made release {version}: it was published from elsewhere, or is gone")


def interactions_of(folder: Path, records: Sequence[RunRecord]) -> int:
    """Interactions that a run was made of; 0 where nobody knows."""
    for record in records:
        if record.name == folder.name and (found := record.result("snapshot").get("interactions")):
            return int(found)
    try:
        counts = RunFolder(folder).read_json(ORIGIN_FILE)["data"]
        return sum(int(counts[name]) for name in ("train", "valid", "test"))
    except (BadInputError, KeyError, TypeError, ValueError):
        return 0


def _is(path: Path, spec: ArraySpec) -> bool:
    """Whether a file's bytes are those of an array of bytes."""
    try:
        same_size = (path.stat().st_size,) == tuple(spec.shape)
        return same_size and cut_array(np.fromfile(path, np.uint8))[0].chunks == tuple(spec.chunks)
    except OSError:
        return False
