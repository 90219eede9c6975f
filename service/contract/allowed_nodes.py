"""What a filter leaves of a trie: for every node, whether an allowed item is below it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from service.contract.trie import Trie

BoolArray = npt.NDArray[np.bool_]
Int64Array = npt.NDArray[np.int64]
IntArray = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True, eq=False)
class AllowedNodes:
    """A filter over the leaves of one trie, counted once: O(items) bytes, made in O(items).

    Attributes:
        nodes: D arrays bool; nodes[d][i] says whether node i of depth d + 1 has an allowed leaf below it.
        running: int32 [N + 1], how many of the first leaf positions are allowed.
    """

    nodes: tuple[BoolArray, ...]
    running: npt.NDArray[np.int32]

    @staticmethod
    def of(trie: Trie, leaves: BoolArray) -> "AllowedNodes":
        """Count a filter.

        Args:
            trie: the catalogue's Rec-IDs.
            leaves: bool [N], which leaf positions are allowed.
        """
        running = np.zeros(len(leaves) + 1, np.int32)
        np.cumsum(leaves, out=running[1:])
        starts = trie.leaf_starts()[1:]
        return AllowedNodes(tuple(np.diff(running[at]) > 0 for at in starts), running)

    @property
    def leaves(self) -> BoolArray:
        """Which leaf positions are allowed: bool [N]."""
        return self.nodes[-1]

    @property
    def num_leaves(self) -> int:
        """How many items the filter leaves."""
        return int(self.running[-1])

    @property
    def num_bytes(self) -> int:
        """Memory of all arrays."""
        return self.running.nbytes + sum(array.nbytes for array in self.nodes)

    def leaves_between(self, low: IntArray, high: IntArray) -> Int64Array:
        """How many leaf positions in each range low .. high - 1 are allowed."""
        return (self.running[high] - self.running[low]).astype(np.int64)
