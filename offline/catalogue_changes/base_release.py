"""The release that a change starts from, read and verified whole."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from model.item_encoder import ItemEncoder, ItemEncoderConfig
from offline.checkpoint import module_from_bytes
from offline.errors import BadInputError
from offline.text_features import TextSpace
from service.contract.item_table import ItemTable
from service.contract.manifest import (
    DECODER_ARRAY,
    ITEM_ENCODER_ARRAY,
    ITEM_VECTORS_ARRAY,
    TEXT_SPACE_PREFIX,
    Manifest,
)
from service.contract.rec_id import Int32Array
from service.contract.release_store import ReleaseStore
from service.contract.trie import Trie


@dataclass(frozen=True, eq=False, kw_only=True)
class BaseRelease:
    """A release in memory; row r of everything belongs to item row r.

    Attributes:
        manifest: of the release.
        items: ids, titles, categories, training counts.
        vectors: [N, vector_dim], key and context side by side.
        trie: of the Rec-IDs.
        unchanged: the arrays that a change of the catalogue leaves as they are, by name.
    """

    manifest: Manifest
    items: ItemTable
    vectors: npt.NDArray[Any]
    trie: Trie
    unchanged: dict[str, npt.NDArray[Any]]

    @property
    def version(self) -> str:
        """Its version."""
        return self.manifest.version

    def rec_ids(self) -> Int32Array:
        """Rec-IDs by item row, int32 [N, levels]."""
        return self.trie.rec_ids()[self.trie.row_to_leaf()]

    def item_encoder(self) -> ItemEncoder:
        """The frozen encoder.

        Raises:
            BadInputError: the release has none, or one that this version cannot use.
        """
        if ITEM_ENCODER_ARRAY not in self.unchanged:
            raise BadInputError(
                f"release {self.version} (format_version {self.manifest.format_version}) holds no item encoder, so no "
                "item can be added to it: publish its run again with this version (python -m offline publish)"
            )
        weights = self.unchanged[ITEM_ENCODER_ARRAY].tobytes()
        encoder = module_from_bytes(ItemEncoder, ItemEncoderConfig, self.manifest.item_encoder_config, weights)
        if 2 * encoder.config.dim != self.manifest.model.vector_dim:
            raise BadInputError(
                f"release {self.version}: its item encoder makes keys of {encoder.config.dim} columns, its vectors "
                f"have {self.manifest.model.vector_dim // 2}; publish its run again"
            )
        return encoder.requires_grad_(False)

    def text_space(self) -> TextSpace | None:
        """What makes vectors of titles and categories; None where the features come with the dataset."""
        named = {
            name.removeprefix(TEXT_SPACE_PREFIX): array
            for name, array in self.unchanged.items()
            if name.startswith(TEXT_SPACE_PREFIX)
        }
        return TextSpace.from_arrays(named) if named else None


def open_base(store: ReleaseStore, version: str = "") -> BaseRelease:
    """Read a release; every byte of what a change needs is verified.

    Args:
        store: where it is.
        version: which; "" for what the main arm serves.

    Raises:
        BadInputError: nothing is published, or the release does not hold together.
        ReleaseMissingError: there is no such version.
        ValueError: its signature, its manifest or its bytes are not what they must be.
    """
    version = version or store.active_version() or ""
    if not version:
        raise BadInputError(
            "nothing is published in this namespace, so there is no release to change; publish one first: "
            "python -m offline publish --run DIR"
        )
    manifest = store.read_manifest(version)
    arrays = store.read_named(manifest, [name for name in manifest.arrays if _is_known(name)])
    trie = Trie.from_arrays(arrays, manifest.model.space)
    items, vectors = ItemTable.from_arrays(arrays), arrays[ITEM_VECTORS_ARRAY]
    if len(items) != trie.num_items or vectors.shape != (trie.num_items, manifest.model.vector_dim):
        raise BadInputError(
            f"release {version}: its parts disagree ({trie.num_items} items in the trie, {len(items)} in the item "
            f"table, vectors {vectors.shape}); publish its run again"
        )
    unchanged = {name: array for name, array in arrays.items() if _is_unchanged(name)}
    return BaseRelease(manifest=manifest, items=items, vectors=vectors, trie=trie, unchanged=unchanged)


def _is_unchanged(name: str) -> bool:
    return name in (DECODER_ARRAY, ITEM_ENCODER_ARRAY) or name.startswith(TEXT_SPACE_PREFIX)


def _is_known(name: str) -> bool:
    return name == ITEM_VECTORS_ARRAY or name.startswith(("trie.", "items.")) or _is_unchanged(name)


def halves(vectors: npt.NDArray[Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and contexts [N, D] of item vectors [N, 2 D], float32."""
    keys, contexts = torch.from_numpy(np.asarray(vectors, np.float32)).chunk(2, dim=1)
    return keys, contexts
