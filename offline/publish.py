"""Publish a run as a release: verify, write everything under a new version, read it back, then flip one pointer."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from model.item_encoder import ItemEncoder, ItemEncoderConfig
from offline.artefacts import load_catalogue, load_settings
from offline.checkpoint import load_checkpoint, module_bytes
from offline.errors import BadInputError, GateRefusedError
from offline.retraining.gate import in_words, promises_of
from offline.run_folder import DECODER_FILES, METRICS_FILES, RunFolder
from service.contract.item_table import ItemTable
from service.contract.manifest import (
    DECODER_ARRAY,
    ITEM_ENCODER_ARRAY,
    ITEM_VECTORS_ARRAY,
    TEXT_SPACE_PREFIX,
    Manifest,
)
from service.contract.redis_keys import MAIN_ARM
from service.contract.release_store import ReleaseStore


def publish(
    run: RunFolder,
    store: ReleaseStore,
    *,
    arm: str = MAIN_ARM,
    share: float = 1.0,
    before_flip: Callable[[], None] = lambda: None,
    gate: Mapping[str, Any] | None = None,
) -> str:
    """Publish a finished run and activate it; returns the version.

    Args:
        run: finished.
        store: where to.
        arm: that is to serve it.
        share: of the users, for a canary.
        before_flip: called when everything is written and before anybody sees it; may raise.
        gate: what another judge says of it, for the manifest.

    Raises:
        BadInputError: the run is not finished or damaged.
        GateRefusedError: the candidate does not hold what a release promises; nothing was written.
    """
    run.require("metrics")
    for stage, files in (("decoder", DECODER_FILES), ("metrics", METRICS_FILES)):
        if not run.is_whole(stage, files):
            raise BadInputError(
                f"{run.folder}: {', '.join(files)} are not what stage {stage!r} left; train the run again, which makes "
                "anew what has changed"
            )
    verdict = {**check_gate(run), **(gate or {})}
    encoder = load_checkpoint(ItemEncoder, ItemEncoderConfig, run.item_encoder)
    arrays = release_arrays(run, encoder)
    version, created = new_version(arrays)
    trained = run.read_json("run.json")
    encoders = dict(trained.get("encoders", {}))
    manifest = Manifest(
        version=version,
        created=created,
        parent=store.active_version(),
        dataset=str(trained["dataset"]),
        model=load_settings(run),
        arrays=store.write_arrays(arrays),
        metrics={name: float(value) for name, value in run.read_json("metrics.json").items()},
        gate=verdict,
        item_encoder_config=asdict(encoder.config),
        encoders={name: encoders[name] for name in encoder.config.feature_dims if name in encoders},
        blobs=store.blobs,
    )
    store.write_manifest(manifest)
    before_flip()
    store.activate(version, arm, share)
    return version


def new_version(arrays: Mapping[str, npt.NDArray[Any]]) -> tuple[str, str]:
    """Version of a release with these arrays, and when it was created (ISO 8601); versions sort by age."""
    created = datetime.now(UTC)
    digest = hashlib.sha256(arrays[DECODER_ARRAY].tobytes() + arrays["trie.leaf_to_row"].tobytes()).hexdigest()
    return f"{created:%Y%m%dT%H%M%S%f}-{digest[:8]}", created.isoformat(timespec="seconds")


def release_arrays(run: RunFolder, encoder: ItemEncoder) -> dict[str, npt.NDArray[Any]]:
    """Everything that a release of this run holds, by name.

    Raises:
        BadInputError: a file of the run is missing or damaged.
    """
    catalogue = load_catalogue(run)
    try:
        table = ItemTable.from_arrays(run.load_arrays("item_table"))
    except ValueError as error:
        raise BadInputError(f"{run.folder}: item_table.npz cannot be used ({error}); train the run again") from error
    return {
        DECODER_ARRAY: np.frombuffer(run.decoder.read_bytes(), np.uint8),
        ITEM_ENCODER_ARRAY: np.frombuffer(module_bytes(encoder), np.uint8),
        ITEM_VECTORS_ARRAY: catalogue.items.numpy(),
        **catalogue.trie.arrays(),
        **table.arrays(),
        **{f"{TEXT_SPACE_PREFIX}{name}": array for name, array in run.load_arrays("text_space").items()},
    }


def check_gate(run: RunFolder) -> dict[str, Any]:
    """What must hold before anything is written; the facts go into the manifest. See `offline.retraining.gate`.

    Raises:
        BadInputError: a file of the run is missing or damaged, or its Rec-IDs are not unique and legal.
        GateRefusedError: naming every reason.
    """
    reasons, facts = promises_of(run)
    if reasons:
        raise GateRefusedError(f"the gate refused {run.folder}: {in_words(reasons)}. The served release stays")
    return {"passed": True, **facts}
