"""What each request of a batch may be answered with, as the arrays that the decoder's graph takes.

A category filter occupies a row of tables that stay on the device; exclusions and candidates travel with the request as
short lists of nodes (docs/decisions.md, 13).
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from service.contract.allowed_nodes import AllowedNodes, IntArray
from service.contract.decoder_graph import FILTER_SLOTS, ONLY_LISTED, allowed_name, listed_name
from service.contract.node_lists import NodeLists, pad_lists, starts_run
from service.contract.trie import Trie

DEFAULT_TABLE_BYTES = 64 * 2**20
"""Device memory of category filters."""

Int64Array = npt.NDArray[np.int64]

MAX_FILTER_SLOTS = 64
NOTHING = np.empty(0, np.int64)


class ItemFilter(NamedTuple):
    """What one request may be answered with; the parts hold together.

    Attributes:
        excluded: int64 item rows that may not be returned, in any order.
        candidates: int64 item rows that alone may be returned, in any order; None for the whole catalogue.
        allowed: what a category filter leaves (service.category_filter); None for everything.
    """

    excluded: Int64Array = NOTHING
    candidates: Int64Array | None = None
    allowed: AllowedNodes | None = None

    @property
    def needs_table(self) -> bool:
        """Candidates are filtered on the host, one by one; only a filter without them needs a row of the tables."""
        return self.allowed is not None and self.candidates is None


class FilterTables:
    """The tables of category filters: one row per filter, row 0 allows everything, least recently used out first.

    Args:
        trie: the catalogue's Rec-IDs.
        max_bytes: limit of all tables together; there is always room for one filter.

    Attributes:
        arrays: per level bool [slots, nodes + widest node], changed in place.
        changed: set when they were; whoever keeps a copy clears it.
    """

    def __init__(self, trie: Trie, max_bytes: int) -> None:
        columns = [len(tokens) + width for tokens, width in zip(trie.tokens, trie.widths, strict=True)]
        slots = min(max_bytes // sum(columns), MAX_FILTER_SLOTS)
        self.arrays = [np.zeros((max(2, slots), count), bool) for count in columns]
        for array in self.arrays:
            array[0] = True
        self.changed = False
        self._slot_of: OrderedDict[int, tuple[int, AllowedNodes]] = OrderedDict()

    @property
    def capacity(self) -> int:
        """How many different filters one batch may hold."""
        return len(self.arrays[0]) - 1

    def slots(self, batch: Sequence[AllowedNodes | None]) -> Int64Array:
        """The row of each request's filter; at most `capacity` different filters."""
        wanted = {id(allowed): allowed for allowed in batch if allowed is not None}
        for key in wanted.keys() & self._slot_of.keys():
            self._slot_of.move_to_end(key)
        for key, allowed in wanted.items():
            if key not in self._slot_of:
                self._store(key, allowed)
        found = [0 if allowed is None else self._slot_of[id(allowed)][0] for allowed in batch]
        return np.array(found, np.int64)

    def _store(self, key: int, allowed: AllowedNodes) -> None:
        if len(self._slot_of) < self.capacity:
            slot = len(self._slot_of) + 1
        else:
            _, (slot, _) = self._slot_of.popitem(last=False)
        self.changed = True
        for array, nodes in zip(self.arrays, allowed.nodes, strict=True):
            array[slot, : len(nodes)] = nodes
        self._slot_of[key] = (slot, allowed)  # holding it keeps its id from being given to another


class BatchConstraints(NamedTuple):
    """Arrays by graph input, and how many items each request may be answered with."""

    inputs: dict[str, npt.NDArray[Any]]
    num_legal: Int64Array


class ConstraintBuilder:
    """Turns item filters into graph inputs.

    Args:
        trie: the catalogue's Rec-IDs.
        max_table_bytes: limit of the tables of category filters.
    """

    def __init__(self, trie: Trie, max_table_bytes: int) -> None:
        self.tables = FilterTables(trie, max_table_bytes)
        self._row_to_leaf = trie.row_to_leaf()
        self._lists = NodeLists(trie)
        self._num_levels = trie.num_levels

    def build(self, filters: Sequence[ItemFilter]) -> BatchConstraints:
        """Arrays of a batch.

        Raises:
            ValueError: an item row is outside the catalogue.
        """
        listed, num_legal = zip(*map(self._list, filters), strict=True)  # refuses rows before a table is changed
        slots = self.tables.slots([each.allowed if each.needs_table else None for each in filters])
        inputs: dict[str, npt.NDArray[Any]] = {
            FILTER_SLOTS: slots,
            ONLY_LISTED: np.array([[each.candidates is not None] for each in filters]),
        }
        for level, array in enumerate(pad_lists(listed, self._num_levels)):
            inputs[listed_name(level)] = array
        return BatchConstraints(inputs, np.array(num_legal, np.int64))

    def static_inputs(self) -> dict[str, npt.NDArray[Any]]:
        """The tables by graph input; `tables.changed` says when they were changed in place."""
        return {allowed_name(level): array for level, array in enumerate(self.tables.arrays)}

    def _list(self, wanted: ItemFilter) -> tuple[tuple[IntArray, ...], int]:
        """Node lists of one request, and how many items it may be answered with."""
        excluded = self.leaves(wanted.excluded)
        allowed = wanted.allowed
        if wanted.candidates is not None:
            legal = self.leaves(wanted.candidates)
            legal = legal if allowed is None else legal[allowed.leaves[legal]]
            legal = np.setdiff1d(legal, excluded, assume_unique=True)
            return self._lists.alive(legal), len(legal)
        if allowed is not None:
            excluded = excluded[allowed.leaves[excluded]]
        total = len(self._row_to_leaf) if allowed is None else allowed.num_leaves
        return self._lists.dead(excluded, allowed), total - len(excluded)

    def leaves(self, rows: Int64Array) -> Int64Array:
        """Leaf positions of item rows, sorted, none twice.

        Raises:
            ValueError: a row is outside the catalogue.
        """
        if not len(rows):
            return NOTHING
        self.check_rows(rows)
        leaves = self._row_to_leaf[rows]
        leaves.sort()
        return leaves[starts_run(leaves)]

    def check_rows(self, rows: Int64Array) -> None:
        """Refuse item rows outside the catalogue.

        Raises:
            ValueError: there is one.
        """
        # As unsigned numbers negative rows are the largest: one look instead of two.
        if len(rows) and rows.astype(np.int64, copy=False).view(np.uint64).max() >= len(self._row_to_leaf):
            limit = len(self._row_to_leaf) - 1
            raise ValueError(f"item rows span {rows.min()}..{rows.max()}; the limit is 0..{limit}")
