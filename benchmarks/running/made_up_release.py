"""A release of what was made up for a benchmark, or taken from elsewhere."""

from typing import Any

import numpy as np
import numpy.typing as npt

from service.contract.item_table import ItemTable
from service.contract.manifest import DECODER_ARRAY, ITEM_VECTORS_ARRAY, Manifest, ModelSettings
from service.contract.release_store import ReleaseStore
from service.contract.trie import Trie


def release_arrays(
    decoder: npt.NDArray[np.uint8], trie: Trie, item_vectors: npt.NDArray[np.float32], items: ItemTable
) -> dict[str, npt.NDArray[Any]]:
    """What a service loads, by name."""
    return {
        **trie.arrays(),
        **items.arrays(),
        DECODER_ARRAY: decoder,
        ITEM_VECTORS_ARRAY: item_vectors,
    }


def write_release(
    store: ReleaseStore,
    version: str,
    arrays: dict[str, npt.NDArray[Any]],
    settings: ModelSettings,
    item_encoder_config: dict[str, Any] | None = None,
) -> None:
    """Write a release without activating it; it takes new items where `arrays` has an item encoder of that kind."""
    manifest = Manifest(
        version=version,
        created="2026-01-01T00:00:00Z",
        parent=None,
        dataset="made up",
        model=settings,
        arrays=store.write_arrays(arrays),
        metrics={},
        gate={},
        item_encoder_config=item_encoder_config or {},
    )
    store.write_manifest(manifest)
