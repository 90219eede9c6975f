"""Which trie nodes a request's exclusions kill, found on the host and passed to the beam decoder as short lists.

A node is dead when every leaf below it is excluded. The decoder never spends a beam on a dead node, so with
`beam_width >= n` an answer holds exactly `min(n, number of legal items)` items (design, invariant 2).
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from service.contract.trie import Trie

Int64Array = npt.NDArray[np.int64]


class DeadNodeFinder:
    """Finds the dead nodes of every depth for a set of excluded leaf positions, in O(excluded · levels · log items)."""

    def __init__(self, trie: Trie) -> None:
        self._trie = trie
        self._leaf_starts = trie.leaf_starts()

    def find(self, excluded: Int64Array) -> tuple[Int64Array, ...]:
        """Dead nodes at depth 1 .. D whose parent is alive.

        Args:
            excluded: int64 leaf positions, sorted and unique.

        Returns:
            D arrays of int64 [num_dead, 2]: (parent node at depth d - 1, index of the dead child among its children).
        """
        dead: list[Int64Array] = []
        parents = np.zeros(len(excluded), np.int64)
        parent_dead = np.zeros(len(excluded), bool)
        for depth in range(1, self._trie.num_levels + 1):
            starts = self._leaf_starts[depth]
            nodes = np.searchsorted(starts, excluded, side="right") - 1
            is_dead = _excluded_below(nodes) == starts[nodes + 1] - starts[nodes]
            first = np.ones(len(nodes), bool)
            first[1:] = nodes[1:] != nodes[:-1]
            chosen = is_dead & first & ~parent_dead
            offsets = nodes[chosen] - self._trie.child_start[depth - 1][parents[chosen]]
            dead.append(np.stack([parents[chosen], offsets], axis=1))
            parents, parent_dead = nodes, is_dead
        return tuple(dead)


def _excluded_below(nodes: Int64Array) -> Int64Array:
    """For each entry of a sorted node list, how many entries name the same node."""
    _, inverse, counts = np.unique(nodes, return_inverse=True, return_counts=True)
    return counts[inverse].astype(np.int64)


def pad_dead_nodes(batch: Sequence[tuple[Int64Array, ...]], num_levels: int) -> list[Int64Array]:
    """Stack the dead nodes of a batch into one array per level, padded with parent -1.

    The length is rounded up to 1, 8, 64, 512, ... so that few shapes occur.

    Returns:
        `num_levels` arrays of int64 [batch, length, 2].
    """
    padded = []
    for level in range(num_levels):
        longest = max((len(dead[level]) for dead in batch), default=0)
        length = 1
        while length < longest:
            length *= 8
        array = np.full((len(batch), length, 2), -1, np.int64)
        array[:, :, 1] = 0
        for row, dead in enumerate(batch):
            array[row, : len(dead[level])] = dead[level]
        padded.append(array)
    return padded
