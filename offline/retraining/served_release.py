"""The release that is served now, opened from the store: what a candidate is compared with."""

from dataclasses import dataclass

import torch

from service.contract.item_table import ItemTable
from service.contract.manifest import DECODER_ARRAY, ITEM_VECTORS_ARRAY
from service.contract.release_store import ReleaseStore
from service.contract.trie import Trie
from service.decoder import BeamDecoder
from service.onnx_session import DecoderError


@dataclass(frozen=True, eq=False, kw_only=True)
class OpenDecoder:
    """A decoder with the catalogue that it answers from.

    Attributes:
        decoder: open, with as many threads as torch has.
        trie: its Rec-IDs.
        item_ids: by item row.
    """

    decoder: BeamDecoder
    trie: Trie
    item_ids: tuple[str, ...]


class UnusableReleaseError(ValueError):
    """The served release cannot be read or opened; the message names it and what is wrong."""


def open_release(store: ReleaseStore, version: str) -> OpenDecoder:
    """Read and open a release.

    Raises:
        UnusableReleaseError: its manifest, its bytes or its decoder are not what they must be.
    """
    try:
        manifest = store.read_manifest(version)
        wanted = [name for name in manifest.arrays if name.startswith(("trie.", "items."))]
        arrays = store.read_named(manifest, [*wanted, DECODER_ARRAY, ITEM_VECTORS_ARRAY])
        trie = Trie.from_arrays(arrays, manifest.model.space)
        decoder = BeamDecoder(
            arrays[DECODER_ARRAY].tobytes(),
            trie=trie,
            item_vectors=arrays[ITEM_VECTORS_ARRAY],
            settings=manifest.model,
            threads=torch.get_num_threads(),
        )
        return OpenDecoder(decoder=decoder, trie=trie, item_ids=ItemTable.from_arrays(arrays).item_ids)
    except (ValueError, LookupError, DecoderError) as error:
        raise UnusableReleaseError(f"release {version}: {error}") from error


def item_ids_of(store: ReleaseStore, version: str) -> tuple[str, ...]:
    """Items of a release by item row, read without the rest of it.

    Raises:
        UnusableReleaseError: its manifest or its item table cannot be read.
    """
    try:
        return ItemTable.from_arrays(store.read_arrays(store.read_manifest(version), "items.")).item_ids
    except (ValueError, LookupError) as error:
        raise UnusableReleaseError(f"release {version}: {error}") from error
