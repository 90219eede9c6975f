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


class CategoryIndex:
    """The filters of one catalogue.

    Args:
        trie: the catalogue's Rec-IDs.
        categories: of every item, in item-row order.
        max_bytes: limit for the counted filters that are kept; the last one always is.
    """

    def __init__(self, trie: Trie, categories: Sequence[Sequence[str]], max_bytes: int) -> None:
        self._trie = trie
        self._leaves_of = _leaves_by_category(trie, categories)
        self._max_bytes = max_bytes
        self._kept: OrderedDict[CategoryFilter, AllowedNodes] = OrderedDict()

    @property
    def num_bytes(self) -> int:
        """Memory of the counted filters that are kept."""
        return sum(allowed.num_bytes for allowed in self._kept.values())

    def __contains__(self, category: str) -> bool:
        return category in self._leaves_of

    def allowed(self, wanted: CategoryFilter) -> AllowedNodes:
        """What a filter leaves of the catalogue. A category that no item has is one that no item has: no error."""
        if wanted in self._kept:
            self._kept.move_to_end(wanted)
            return self._kept[wanted]
        allowed = AllowedNodes.of(self._trie, self._matching(wanted))
        self._kept[wanted] = allowed
        while self.num_bytes > self._max_bytes and len(self._kept) > 1:
            self._kept.popitem(last=False)
        return allowed

    def _matching(self, wanted: CategoryFilter) -> BoolArray:
        matching = self._having(wanted.any) if wanted.any else np.ones(self._trie.num_items, bool)
        for category in wanted.all:
            matching &= self._having({category})
        return matching & ~self._having(wanted.none)

    def _having(self, categories: frozenset[str] | set[str]) -> BoolArray:
        having = np.zeros(self._trie.num_items, bool)
        for category in categories:
            having[self._leaves_of.get(category, [])] = True
        return having


def _leaves_by_category(trie: Trie, categories: Sequence[Sequence[str]]) -> dict[str, npt.NDArray[np.int64]]:
    row_to_leaf = trie.row_to_leaf().tolist()
    leaves: dict[str, list[int]] = {}
    for row, names in enumerate(categories):
        for name in names:
            leaves.setdefault(name, []).append(row_to_leaf[row])
    return {name: np.array(positions, np.int64) for name, positions in leaves.items()}
