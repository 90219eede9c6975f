"""Category filters: which items they allow, and a bounded memory of those that were asked for.

A filter is counted over the trie once (O(items)) and kept under its categories, least recently used out first.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from service.contract.allowed_nodes import AllowedNodes
from service.contract.trie import Trie

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class CategoryFilter:
    """Which categories an item must or may not have; all three conditions hold together.

    Attributes:
        any: at least one of these, unless it is empty.
        all: every one of these.
        none: not one of these.
    """

    any: frozenset[str] = frozenset()
    all: frozenset[str] = frozenset()
    none: frozenset[str] = frozenset()

    @property
    def is_empty(self) -> bool:
        """Nothing is asked."""
        return not (self.any or self.all or self.none)


NOTHING = CategoryFilter(any=frozenset(["\ud800"]))  # no text has such a name
"""Stands for every filter that leaves nothing because no item has a category that it asks for."""

ENTRY_BYTES, NAME_BYTES = 2048, 256
"""What a kept filter takes beside its arrays, and what each of its names does at most."""


class CategoryIndex:
    """The filters of one catalogue.

    Args:
        trie: the catalogue's Rec-IDs.
        categories: of every item, in item-row order.
        max_bytes: limit for the counted filters that are kept; the last one always is.

    Attributes:
        num_bytes: memory of the counted filters that are kept, keys and bookkeeping included by estimate.
    """

    def __init__(self, trie: Trie, categories: Sequence[Sequence[str]], max_bytes: int) -> None:
        self._trie = trie
        self._leaves_of = _leaves_by_category(trie, categories)
        self._max_bytes = max_bytes
        self._kept: OrderedDict[CategoryFilter, AllowedNodes] = OrderedDict()
        self.num_bytes = 0

    def allowed(self, wanted: CategoryFilter) -> AllowedNodes:
        """What a filter leaves of the catalogue. A category that no item has is one that no item has: no error."""
        wanted = self._known(wanted)
        if wanted in self._kept:
            self._kept.move_to_end(wanted)
            return self._kept[wanted]
        allowed = AllowedNodes.of(self._trie, self._matching(wanted))
        self._kept[wanted] = allowed
        self.num_bytes += _bytes_kept(wanted, allowed)
        while self.num_bytes > self._max_bytes and len(self._kept) > 1:
            self.num_bytes -= _bytes_kept(*self._kept.popitem(last=False))
        return allowed

    def _known(self, wanted: CategoryFilter) -> CategoryFilter:
        """The same filter without names that no item has, so that made-up names take no room."""
        names = self._leaves_of.keys()
        known = CategoryFilter(any=wanted.any.intersection(names), all=wanted.all, none=wanted.none.intersection(names))
        nothing = (wanted.any and not known.any) or not known.all <= names
        return NOTHING if nothing else known

    def _matching(self, wanted: CategoryFilter) -> BoolArray:
        if wanted is NOTHING:
            return np.zeros(self._trie.num_items, bool)
        matching = self._having(wanted.any) if wanted.any else np.ones(self._trie.num_items, bool)
        for category in wanted.all:
            matching &= self._having({category})
        return matching & ~self._having(wanted.none)

    def _having(self, categories: frozenset[str] | set[str]) -> BoolArray:
        having = np.zeros(self._trie.num_items, bool)
        for category in categories:
            having[self._leaves_of.get(category, [])] = True
        return having


def _bytes_kept(wanted: CategoryFilter, allowed: AllowedNodes) -> int:
    names = len(wanted.any) + len(wanted.all) + len(wanted.none)
    return allowed.num_bytes + ENTRY_BYTES + NAME_BYTES * names


def _leaves_by_category(trie: Trie, categories: Sequence[Sequence[str]]) -> dict[str, npt.NDArray[np.int64]]:
    row_to_leaf = trie.row_to_leaf().tolist()
    leaves: dict[str, list[int]] = {}
    for row, names in enumerate(categories):
        for name in names:
            leaves.setdefault(name, []).append(row_to_leaf[row])
    return {name: np.array(positions, np.int64) for name, positions in leaves.items()}
