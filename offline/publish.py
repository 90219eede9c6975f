"""Publish a run as a release: verify, write everything under a new version, read it back, then flip one pointer."""

import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from model.graph_rqvae import GraphRQVAE, GraphRQVAEConfig
from offline.artefacts import load_catalogue, load_settings
from offline.checkpoint import load_checkpoint
from offline.errors import BadInputError, GateRefusedError
from offline.retraining.gate import in_words, promises_of
from offline.run_folder import DECODER_FILES, METRICS_FILES, RunFolder
from service.contract.item_table import ItemTable
from service.contract.manifest import DECODER_ARRAY, GRAPH_RQVAE_ARRAY, ITEM_VECTORS_ARRAY, Manifest
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
    arrays = release_arrays(run)
    created = datetime.now(UTC)
    digest = hashlib.sha256(arrays[DECODER_ARRAY].tobytes() + arrays["trie.leaf_to_row"].tobytes()).hexdigest()
    version = f"{created:%Y%m%dT%H%M%S%f}-{digest[:8]}"
    manifest = Manifest(
        version=version,
        created=created.isoformat(timespec="seconds"),
        parent=store.active_version(),
        dataset=str(run.read_json("run.json")["dataset"]),
        model=load_settings(run),
        arrays=store.write_arrays(arrays),
        metrics={name: float(value) for name, value in run.read_json("metrics.json").items()},
        gate=verdict,
        graph_rqvae_config=run.read_json("graph_rqvae.json"),
        blobs=store.blobs,
    )
    store.write_manifest(manifest)
    before_flip()
    store.activate(version, arm, share)
    return version


def release_arrays(run: RunFolder) -> dict[str, npt.NDArray[Any]]:
    """Everything that a release of this run holds, by name.

    Raises:
        BadInputError: a file of the run is missing or damaged.
    """
    catalogue = load_catalogue(run)
    load_checkpoint(GraphRQVAE, GraphRQVAEConfig, run.graph_rqvae)  # refuses damaged files
    try:
        table = ItemTable.from_arrays(run.load_arrays("item_table"))
    except ValueError as error:
        raise BadInputError(f"{run.folder}: item_table.npz cannot be used ({error}); train the run again") from error
    return {
        DECODER_ARRAY: np.frombuffer(run.decoder.read_bytes(), np.uint8),
        GRAPH_RQVAE_ARRAY: np.frombuffer(run.graph_rqvae.with_suffix(".safetensors").read_bytes(), np.uint8),
        ITEM_VECTORS_ARRAY: catalogue.items.numpy(),
        **catalogue.trie.arrays(),
        **table.arrays(),
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
