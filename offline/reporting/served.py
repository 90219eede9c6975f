"""What a run is compared with: a release that is served, as far as the comparison needs it."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from service.contract.item_table import ItemTable
from service.contract.rec_id import Int32Array
from service.contract.release_store import ReleaseStore
from service.contract.trie import Trie

TOLERANCE = 0.05


class Served(NamedTuple):
    """A release beside which a run is put.

    Attributes:
        version: of the release.
        metrics: that stand in its manifest.
        item_ids: of its items.
        codes: int32 [N, L], of its items in the same order, without the popularity token.
        tolerance: how far a metric may be below, relative to the release, before it is highlighted.
    """

    version: str
    metrics: Mapping[str, float]
    item_ids: tuple[str, ...]
    codes: Int32Array
    tolerance: float = TOLERANCE

    @staticmethod
    def from_store(store: ReleaseStore, version: str, *, tolerance: float = TOLERANCE) -> "Served":
        """Read what is compared of a release.

        Raises:
            ReleaseMissingError: there is no such version.
            CorruptBlobError: bytes are missing or wrong.
            BlobsUnreachableError: the place of the blobs cannot be read.
            ValueError: the manifest or its arrays cannot be used.
        """
        manifest = store.read_manifest(version)
        trie = Trie.from_arrays(store.read_arrays(manifest, "trie."), manifest.model.space)
        table = ItemTable.from_arrays(store.read_arrays(manifest, "items."))
        codes = np.ascontiguousarray(trie.rec_ids()[trie.row_to_leaf(), :-1])
        return Served(version, manifest.metrics, table.item_ids, codes, tolerance)
