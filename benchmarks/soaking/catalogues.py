"""Two releases that cannot be taken for one another: half of the item ids, and every title, name their release.

The other half of the ids is shared, so that histories mean something in both. The category of an item follows from its
id, so that answers can be judged without looking anything up.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks.running.made_up_release import release_arrays, write_release
from service.contract.blobs import ChunkAddress, read_arrays
from service.contract.item_table import ItemTable
from service.contract.manifest import DECODER_ARRAY, ITEM_VECTORS_ARRAY, Manifest, ModelSettings
from service.contract.release_store import ReleaseStore
from service.contract.trie import Trie

VERSIONS = ("red", "blue")
NUM_CATEGORIES = 7


class Parts(NamedTuple):
    """What a release is made of, but for its item table."""

    decoder: npt.NDArray[np.uint8]
    trie: Trie
    item_vectors: npt.NDArray[np.float32]
    settings: ModelSettings


def made_up_parts(num_items: int, seed: int) -> list[Parts]:
    """Two made-up catalogues and the decoder that all benchmarks use; torch exports it unless it is cached."""
    from benchmarks.decoding.catalogue import make_catalogue
    from benchmarks.decoding.graphs import PendingGraphs
    from benchmarks.decoding.subject import SETTINGS

    decoder = np.frombuffer(PendingGraphs(0).wait().decoder, np.uint8)
    made = [make_catalogue(num_items, seed + number) for number in range(len(VERSIONS))]
    return [Parts(decoder, catalogue.trie, catalogue.item_vectors, SETTINGS) for catalogue in made]


def frozen_parts(folder: Path) -> list[Parts]:
    """The frozen release of the tests (tests/fixtures), twice: a trained model without torch."""

    def read(address: ChunkAddress) -> bytes:
        return (folder / "blobs" / f"{address.sha256}-{address.chunk}").read_bytes()

    manifest = Manifest.from_json((folder / "manifest.json").read_bytes())
    arrays = read_arrays(manifest.arrays, read)
    trie = Trie.from_arrays(arrays, manifest.model.space)
    return [Parts(arrays[DECODER_ARRAY], trie, arrays[ITEM_VECTORS_ARRAY], manifest.model)] * len(VERSIONS)


def item_id(version: str, row: int) -> str:
    """Even rows are shared, odd ones name their release."""
    return f"{version}-{row}" if row % 2 else f"item-{row}"


def title_of(version: str, item: str) -> str:
    """The title that a release gives an item."""
    return f"{item} as {version} has it"


def category_of(item: str) -> str:
    """The one category of an item."""
    return f"category-{int(item.rpartition('-')[2]) % NUM_CATEGORIES}"


def publish(store: ReleaseStore, version: str, parts: Parts) -> tuple[str, ...]:
    """Write a release without activating it; gives its item ids."""
    ids = tuple(item_id(version, row) for row in range(parts.trie.num_items))
    items = ItemTable(
        item_ids=ids,
        titles=tuple(title_of(version, item) for item in ids),
        categories=tuple((category_of(item),) for item in ids),
        train_counts=np.arange(len(ids)),
    )
    arrays = release_arrays(parts.decoder, parts.trie, parts.item_vectors, items)
    write_release(store, version, arrays, parts.settings)
    return ids
