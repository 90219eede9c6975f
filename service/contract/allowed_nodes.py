"""What a filter leaves of a trie: for every node, how many allowed items are below it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from service.contract.trie import Trie

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True, eq=False)
class AllowedNodes:
    """A filter over the leaves of one trie, counted once: O(items) bytes, made in O(items).

    Attributes:
        leaves: bool [N], which leaf positions are allowed.
        below: D - 1 arrays int32; below[d][i] is how many allowed leaves node i of depth d + 1 has.
        num_leaves: how many items the filter leaves.
    """

    leaves: BoolArray
    below: tuple[npt.NDArray[np.int32], ...]
    num_leaves: int

    @staticmethod
    def of(trie: Trie, leaves: BoolArray) -> "AllowedNodes":
        """Count a filter.

        Args:
            trie: the catalogue's Rec-IDs.
            leaves: bool [N], which leaf positions are allowed.
        """
        running = np.zeros(len(leaves) + 1, np.int32)
        np.cumsum(leaves, out=running[1:])
        return AllowedNodes(leaves, tuple(np.diff(running[at]) for at in trie.leaf_starts()[1:-1]), int(running[-1]))

    @property
    def nodes(self) -> tuple[BoolArray, ...]:
        """For depth 1 .. D, which nodes have an allowed leaf below them."""
        return (*(counts > 0 for counts in self.below), self.leaves)

    @property
    def num_bytes(self) -> int:
        """Memory of all arrays."""
        return self.leaves.nbytes + sum(counts.nbytes for counts in self.below)
