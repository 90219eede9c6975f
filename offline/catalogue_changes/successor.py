"""A changed catalogue as a release of its own: gate, write what is new, read back, flip."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from offline import progress
from offline.catalogue_changes.base_release import BaseRelease
from offline.errors import GateRefusedError
from offline.publish import new_version
from service.constraints import ItemFilter
from service.contract.blobs import CHUNK_BYTES, ChunkAddress
from service.contract.item_table import ItemTable
from service.contract.manifest import DECODER_ARRAY, FORMAT_VERSION, ITEM_VECTORS_ARRAY, Manifest
from service.contract.redis_keys import MAIN_ARM
from service.contract.release_store import ReleaseStore
from service.contract.trie import Trie
from service.decoder import BeamDecoder

IntArray = npt.NDArray[np.int64]

GATE_BATCH = 64


@dataclass(frozen=True, eq=False, kw_only=True)
class ChangedCatalogue:
    """What a change makes of a release; row r of everything belongs to item row r.

    Attributes:
        items: ids, titles, categories, training counts.
        vectors: [N, vector_dim].
        trie: of the Rec-IDs.
        new_rows: int64, rows of items that the release did not have.
    """

    items: ItemTable
    vectors: npt.NDArray[Any]
    trie: Trie
    new_rows: IntArray


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where a changed release goes.

    Attributes:
        store: of the namespace.
        arm: that is to serve it.
        share: of the users, for a canary.
        before_flip: called when everything is written and before anybody sees it; may raise.
    """

    store: ReleaseStore
    arm: str = MAIN_ARM
    share: float = 1.0
    before_flip: Callable[[], None] = lambda: None


def check_changed(base: BaseRelease, changed: ChangedCatalogue) -> None:
    """What must hold before anything is written.

    The decoder opens with the new trie, answers an empty history with as many items as there are, and every new item is
    the answer where nothing else may be.

    Raises:
        GateRefusedError: naming what does not hold; the served release stays.
    """
    try:
        decoder = BeamDecoder(
            base.unchanged[DECODER_ARRAY].tobytes(),
            trie=changed.trie,
            item_vectors=changed.vectors,
            settings=base.manifest.model,
            threads=torch.get_num_threads(),
        )
        beam_width = base.manifest.model.beam_widths[0]
        nothing = np.empty(0, np.int64)
        alive = decoder.decode([nothing], [ItemFilter()], beam_width=beam_width).alive
        missing: list[int] = []
        for start in range(0, len(changed.new_rows), GATE_BATCH):
            rows = changed.new_rows[start : start + GATE_BATCH]
            only = [ItemFilter(candidates=rows[at : at + 1]) for at in range(len(rows))]
            leaves = decoder.decode([nothing] * len(rows), only, beam_width=1).leaves[:, 0]
            missing += rows[leaves != decoder.row_to_leaf[rows]].tolist()
    except Exception as error:  # a runtime may raise anything on a graph that it cannot run
        raise GateRefusedError(
            f"the gate refused a change of release {base.version}: its decoder does not run with the changed catalogue "
            f"({error}). The served release stays; publish the run again"
        ) from error
    expected = min(beam_width, len(changed.items))
    if alive.sum() != expected:
        raise GateRefusedError(
            f"the gate refused a change of release {base.version}: an empty history got {alive.sum()} of {expected} "
            "items. The served release stays; publish the run again"
        )
    if missing:
        raise GateRefusedError(
            f"the gate refused a change of release {base.version}: {len(missing)} new items cannot be decoded, the "
            f"first is {changed.items.item_ids[missing[0]]!r}. The served release stays; train with these items"
        )


def publish_changed(
    base: BaseRelease, changed: ChangedCatalogue, target: Target, facts: dict[str, Any]
) -> dict[str, Any]:
    """Write a changed release and activate it; what it shares with its base is neither written nor read again.

    Args:
        base: as it was read a moment ago.
        changed: passed `check_changed`.
        target: where to.
        facts: of the change, for the verdict of the gate in the manifest.

    Returns:
        Version, and the bytes that were written and shared.
    """
    store = target.store
    arrays = {
        **base.unchanged,
        ITEM_VECTORS_ARRAY: changed.vectors,
        **changed.trie.arrays(),
        **changed.items.arrays(),
    }
    version, created = new_version(arrays)
    manifest = replace(
        base.manifest,
        version=version,
        created=created,
        parent=store.active_version(),
        arrays=store.write_arrays(arrays, verified_in=base.manifest),
        gate={**base.manifest.gate, "passed": True, "items": len(changed.items), "base": base.version, **facts},
        blobs=store.blobs,
        signature=None,
        format_version=FORMAT_VERSION,
    )
    store.write_manifest(manifest)
    target.before_flip()
    store.activate(version, target.arm, target.share)
    shared, total = shared_bytes(manifest, base.manifest), sum(chunk_bytes(manifest).values())
    progress.say(f"release {version}: {total - shared} bytes written, {shared} shared with {base.version}")
    return {"version": version, "bytes_written": total - shared, "bytes_shared": shared}


def shared_bytes(manifest: Manifest, base: Manifest) -> int:
    """Bytes of a release that lie there already for another."""
    if manifest.blobs != base.blobs:
        return 0
    there = chunk_bytes(base)
    return sum(size for address, size in chunk_bytes(manifest).items() if address in there)


def chunk_bytes(manifest: Manifest) -> dict[ChunkAddress, int]:
    """Chunks of a release and their sizes."""
    sizes = {}
    for spec in manifest.arrays.values():
        num_bytes = int(np.dtype(spec.dtype).itemsize * np.prod(spec.shape, dtype=np.int64))
        for address in spec.addresses:
            sizes[address] = min(CHUNK_BYTES, num_bytes - address.chunk * CHUNK_BYTES)
    return sizes
