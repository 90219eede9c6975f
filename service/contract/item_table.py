"""What a release knows of each item beside its Rec-ID, as flat arrays in item order (new items append)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

MAX_ID_LENGTH = 256
"""Characters of a user or item id, at every boundary."""


@dataclass(frozen=True, eq=False)
class ItemTable:
    """Ids, titles, categories and training counts; row r of each belongs to item row r.

    Raises:
        ValueError: the columns differ in length, or an item id occurs twice.
    """

    item_ids: tuple[str, ...]
    titles: tuple[str, ...]
    categories: tuple[tuple[str, ...], ...]
    train_counts: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        lengths = {
            "item_ids": len(self.item_ids),
            "titles": len(self.titles),
            "categories": len(self.categories),
            "train_counts": len(self.train_counts),
        }
        if len(set(lengths.values())) != 1:
            raise ValueError(f"the columns of the item table differ in length: {lengths}")
        if len(set(self.item_ids)) != len(self.item_ids):
            raise ValueError("an item id occurs twice in the item table; ids must be unique")

    def __len__(self) -> int:
        return len(self.item_ids)

    def row_of(self) -> dict[str, int]:
        """Item id to row number."""
        return {item_id: row for row, item_id in enumerate(self.item_ids)}

    def popular_rows(self) -> npt.NDArray[np.int64]:
        """Rows by training interactions, most first, ties by item id."""
        by_id = np.argsort(np.asarray(self.item_ids, dtype=object), kind="stable")
        return by_id[np.argsort(-self.train_counts[by_id], kind="stable")].astype(np.int64)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Names and arrays as a release stores them; `ItemTable.from_arrays` is the inverse."""
        flat = [category for names in self.categories for category in names]
        ends = np.cumsum([0, *map(len, self.categories)])
        return {
            **_pack_strings("items.id", self.item_ids),
            **_pack_strings("items.title", self.titles),
            **_pack_strings("items.category", flat),
            "items.category_start": ends.astype(np.int64),
            "items.train_count": self.train_counts.astype(np.int64),
        }

    @staticmethod
    def from_arrays(named: Mapping[str, npt.NDArray[Any]]) -> "ItemTable":
        """Rebuild and validate an item table.

        Raises:
            ValueError: an array is missing or the columns disagree.
        """
        try:
            flat = _unpack_strings("items.category", named)
            starts = named["items.category_start"].tolist()
            return ItemTable(
                item_ids=tuple(_unpack_strings("items.id", named)),
                titles=tuple(_unpack_strings("items.title", named)),
                categories=tuple(tuple(flat[lo:hi]) for lo, hi in pairwise(starts)),
                train_counts=named["items.train_count"].astype(np.int64),
            )
        except KeyError as error:
            raise ValueError(f"item table array {error} is missing; republish the release") from error


def _pack_strings(name: str, strings: Iterable[str]) -> dict[str, npt.NDArray[Any]]:
    encoded = [text.encode() for text in strings]
    ends = np.cumsum([0, *map(len, encoded)])
    return {
        f"{name}.bytes": np.frombuffer(b"".join(encoded), np.uint8),
        f"{name}.start": ends.astype(np.int64),
    }


def _unpack_strings(name: str, named: Mapping[str, npt.NDArray[Any]]) -> Sequence[str]:
    joined = named[f"{name}.bytes"].tobytes()
    starts = named[f"{name}.start"].tolist()
    return [joined[lo:hi].decode() for lo, hi in pairwise(starts)]
